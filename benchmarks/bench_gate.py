"""How often the gate raises an alarm where nothing changed, and how often it sees three points of robust accuracy go.

Two small networks are trained on digits, cleanly and adversarially, with many seeds; what they answer to each of the 400 evaluation
samples is the record. A simulated run draws 1,000 samples of it with replacement, the same for baseline and run, and goes through the gate
as a whole: two candidates, accuracy and loss, clean and robust, eight cells in one decision.

- same: the same networks, given by --weights, as after a change of what surrounds them. A drop makes three points of the first candidate's
  right answers under attack wrong.
- replaced: the first candidate, or both, is another network of the record, given like the one before, so that many samples change sides:
  the one that is nearest in robust accuracy, shifted until both are exactly as good on the record; a drop goes beyond that by three
  points. All eight cells are judged, or by --only that one column alone, or with losses free to grow by a fifth.
- retrained: baseline and run are different seeds of the record, as after a change that only moves roundings. A drop takes three points from
  every seed of the run.

    python benchmarks/bench_gate.py [--seeds 24] [--runs 1000]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustradar import gate, screening
from robustradar.gate.form import View, text
from robustradar.numerics.agreement import wilson
from robustradar.registry import Request

SAMPLES, DROP = 1000, 0.03
DROPPED = "robust_accuracy_trained"
Array = NDArray[Any]


def recorded(seeds: int, epochs: int) -> gate.Snapshot:
    """A real run, with its per-sample values."""
    inner = 'baselines/robust-accuracy-trained:inner="native/pgd:steps=3,keep=last"'
    archs = ("papers/mlp:width=64", "papers/cnn:width=8")
    recipe = f"quick:epochs={epochs}"
    flags = Request(archs, "digits", "linf", "0.1", recipe=recipe, metrics=("clean-accuracy", inner), seeds=seeds, reporters=())
    with tempfile.TemporaryDirectory() as folder:
        result = screening.rank(screening.prepare(None, flags), store=Path(folder), device="cpu")
        return gate.of_result(result.json(), Path(folder))


def made(cell: gate.Cell, samples: Array, fits: str) -> gate.Cell:
    """A cell of other samples."""
    values = tuple(samples.mean(axis=1, dtype=np.float64).tolist())
    return replace(cell, samples=samples, values=values, value=float(np.mean(values)), fits=tuple((fits,) for _ in values))


def dropped(answers: Array, points: int, rng: np.random.Generator) -> Array:
    """Answers of which so many more are wrong, or right where the number is negative."""
    changed = answers.copy()
    changed[rng.choice(np.flatnonzero(answers == (points > 0)), abs(points), replace=False)] = points < 0
    return changed


def shifted(other: Array, base: Array, drop: float, rng: np.random.Generator) -> Array:
    """One network's values [n], made exactly as good on the record as another's, or worse by the drop."""
    if base.dtype == np.bool_:
        return dropped(other, int(other.sum()) - int(base.sum()) + round(drop * len(base)), rng)
    moved: Array = other - other.mean() + base.mean()
    return moved


@dataclass(frozen=True)
class Scenario:
    """What is simulated.

    Attributes:
        name: As it is printed.
        seeds: Of baseline and run.
        replaced: How many of the candidates are other, given networks.
        retrained: Whether networks are trained here, all of them anew.
        only: Columns to judge.
        tolerances: As they are typed.
    """

    name: str
    seeds: int = 1
    replaced: int = 0
    retrained: bool = False
    only: tuple[str, ...] = ()
    tolerances: tuple[str, ...] = ()


def simulated(record: gate.Snapshot, scenario: Scenario, drop: float, rng: np.random.Generator) -> gate.Comparison:
    """One baseline and one run, judged."""
    seeds, names = scenario.seeds, record.study["candidates"]
    skill = {cell.candidate: np.array(cell.values) for cell in record.cells if cell.column.name == DROPPED}
    order, columns = rng.permutation(len(record.cells[0].values)), rng.integers(record.study["data"]["sizes"]["evaluation"], size=SAMPLES)
    before, now = [], []
    for cell in record.cells:
        assert cell.samples is not None
        lost = drop if (cell.candidate, cell.column.name) == (names[0], DROPPED) else 0.0
        base, other = cell.samples[order[:seeds]], cell.samples[order[seeds : 2 * seeds]]
        if scenario.retrained:
            other = np.stack([dropped(o, round(lost * len(o)), rng) for o in other]) if lost else other
        elif names.index(cell.candidate) < scenario.replaced:
            distance = np.abs(skill[cell.candidate] - skill[cell.candidate][order[0]])
            distance[order[0]] = np.inf
            other = shifted(cell.samples[distance.argmin()], base[0], lost, rng)[None]
        else:
            other = dropped(base[0], round(lost * len(base[0])), rng)[None] if lost else base
        before.append(made(cell, base[:, columns], "before"))
        now.append(made(cell, other[:, columns], "now"))
    study = record.study | {"weights": {} if scenario.retrained else dict.fromkeys(names, "given")}
    one, two = (gate.Snapshot(study, tuple(cells), record.provenance) for cells in (before, now))
    return gate.compare(one, two, gate.Rule(tuple(map(gate.tolerance, scenario.tolerances)), only=scenario.only))


def share(hits: Iterable[bool]) -> str:
    """A share with its 95 % interval."""
    found = list(hits)
    low, high = wilson(sum(found), len(found))
    return f"{100 * sum(found) / len(found):5.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def lines(record: gate.Snapshot, counts: Sequence[int], runs: int) -> None:
    """Prints one line a scenario."""
    print(f"{'networks':30} {'without change: alarm':>22} {'not judged':>21} {'3 points gone: caught':>22} {'not judged':>21}")
    scenarios = [
        Scenario("the same weights"),
        Scenario("one of two replaced", replaced=1),
        Scenario("one, --only one column", replaced=1, only=(DROPPED,)),
        Scenario("one, --tolerance '*_loss=20%'", replaced=1, tolerances=("*_loss=20%",)),
        Scenario("both replaced", replaced=2),
        *(Scenario(f"retrained, {n} seed(s)", n, retrained=True) for n in counts),
    ]
    for scenario in scenarios:
        rng = np.random.default_rng(0)
        still = [simulated(record, scenario, 0.0, rng) for _ in range(runs)]
        worse = [simulated(record, scenario, DROP, rng) for _ in range(runs)]
        caught = (any(row.column.name == DROPPED for row in found.of("regression")) for found in worse)
        print(
            f"{scenario.name:30} {share(bool(f.of('regression')) for f in still):>22} {share(f.verdict == 'unjudged' for f in still):>21} "
            f"{share(caught):>22} {share(f.verdict == 'unjudged' for f in worse):>21}",
            flush=True,
        )


def main() -> None:
    """Records, then prints the spread of the record and a line for each scenario."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--runs", type=int, default=1000)
    options = parser.parse_args()
    record = recorded(options.seeds, options.epochs)
    for cell in record.cells:
        assert cell.samples is not None
        spread = f"{np.mean(cell.values):.3f}, standard deviation over seeds {np.std(cell.values, ddof=1):.4f}"
        churn = f"; {100 * np.mean(cell.samples[0] != cell.samples[1]):.1f} % of the samples differ between two seeds"
        print(f"{cell.candidate:20} {cell.column.name:24} {spread}{churn if cell.samples.dtype == np.bool_ else ''}")
    print(f"\n{options.runs} simulated runs a number, {SAMPLES} samples, 95 % intervals\n")
    lines(record, [n for n in (1, 3, 5, 7, 8, 12) if 2 * n <= options.seeds], options.runs)
    same = gate.compare(record, record, gate.Rule())
    print(f"\nto the bit the same: {text(same, View('', changed_only=True)).strip()}")


if __name__ == "__main__":
    main()
