"""What [T] states of its figures 2 and 3, beside what the small studies of the registry yield: yes, no, or not distinguishable.

Every number is a mean over training seeds; ± is half a 95 % interval: Student's t over the seeds, and the evaluation samples' own interval,
added in quadrature. A difference is taken seed by seed, and its samples' intervals are added as if they were of different samples,
though they are the same: too wide rather than too narrow. What the store has is not trained again, so the studies can be run one by one.

    python benchmarks/bench_tradeoff_studies.py [--only width] [--seeds 3] [--store DIR] [--out DIR]
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustradar import filing
from robustradar.numerics.seeds import seed_interval

PANELS = ("width", "depth", "norm-l2", "norm-linf", "eps-low", "eps-high", "architecture", "cnn-width")
HEADLINE = "toc_hypervolume"
# Chosen here: accuracies are close where their difference lies within so much, and not where it lies beyond.
CLOSE = 0.05
VERDICTS = YES, NO, OPEN, MISSING = "yes", "no", "not distinguishable", "not measured"
Document = Mapping[str, Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Quantity:
    """A number of one candidate.

    Attributes:
        name: What it is.
        values: One a seed [S], S ≥ 2.
        sampling: Half the width of the interval over evaluation samples.
    """

    name: str
    values: Floats
    sampling: float

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(self.values.mean())

    @property
    def reach(self) -> float:
        """Half the interval's width, seeds and samples together."""
        low, high = seed_interval(self.values) or (math.nan, math.nan)
        return math.hypot((high - low) / 2, self.sampling)

    def __sub__(self, other: Quantity) -> Quantity:
        """The difference, seed by seed."""
        return Quantity(self.name, self.values - other.values, math.hypot(self.sampling, other.sampling))

    def __str__(self) -> str:
        return f"{self.mean:.3f} ±{self.reach:.3f}"


@dataclass(frozen=True)
class Finding:
    """A statement's row: what it is of, the numbers, and whether it holds."""

    statement: str
    of: str
    numbers: str
    holds: str


def raised(differences: Sequence[Quantity], steps: Sequence[Quantity] = ()) -> str:
    """Whether all differences are above zero, and no step is below."""
    if any(d.mean + d.reach < 0 for d in (*differences, *steps)):
        return NO
    return YES if all(d.mean - d.reach > 0 for d in differences) else OPEN


def climbed(values: Sequence[Quantity]) -> str:
    """Whether the last lies above the first, and no step leads down."""
    return raised([values[-1] - values[0]], [b - a for a, b in zip(values, values[1:], strict=False)])


def close(difference: Quantity) -> str:
    """Whether a difference of accuracies is small."""
    low, high = difference.mean - difference.reach, difference.mean + difference.reach
    if -CLOSE < low and high < CLOSE:
        return YES
    return NO if low > CLOSE or high < -CLOSE else OPEN


def candidates(document: Document) -> list[str]:
    """In the study's order, which is that of capacity where a study is about it."""
    return list(document["study"]["candidates"])


def _seeds(document: Document, candidate: str, column: str) -> list[dict[str, Any]] | None:
    """A column's seeds as scores.json holds them; None where it was not measured."""
    row = next(row for row in document["scores"] if row["candidate"] == candidate and row["column"] == column)
    return row["details"]["seeds"] if row["state"] == "measured" else None


def scalar(document: Document, candidate: str, column: str) -> Quantity | None:
    """A column of a candidate."""
    if (seeds := _seeds(document, candidate, column)) is None:
        return None
    reach = np.mean([(seed["high"] - seed["low"]) / 2 for seed in seeds])
    return Quantity(column.replace("_", " "), np.array([seed["value"] for seed in seeds]), float(reach))


def point(document: Document, candidate: str, name: str, chosen: Callable[[list[Any]], Any], label: str) -> Quantity | None:
    """A number of one point of the curve."""
    if (seeds := _seeds(document, candidate, HEADLINE)) is None:
        return None
    points = [chosen(seed["details"]["curve"]) for seed in seeds]
    reach = np.mean([(p[f"{name}_high"] - p[f"{name}_low"]) / 2 for p in points])
    return Quantity(label, np.array([p[name] for p in points]), float(reach))


def clean(document: Document, candidate: str) -> Quantity | None:
    """The accuracy that the network of ξ ≈ 0 has on clean inputs."""
    return point(document, candidate, "clean_accuracy", lambda curve: curve[0], "clean accuracy of P1")


def robust(document: Document, candidate: str) -> Quantity | None:
    """The best adversarial accuracy on the curve."""
    best = "adversarial_accuracy"
    return point(document, candidate, best, lambda curve: max(curve, key=lambda p: p[best]), "best adversarial accuracy")


def attacked(document: Document, candidate: str) -> Quantity | None:
    """The accuracy that the network of ξ ≈ 0 has under attack."""
    return point(document, candidate, "adversarial_accuracy", lambda curve: curve[0], "adversarial accuracy of P1")


_PRICES = (("larger price", partial(scalar, column="price")), ("larger price in accuracy", partial(scalar, column="price_accuracy")))
# By the influence function. Along strengths it says nothing: it is their square times the same number.
_PREDICTED = ("larger price predicted", partial(scalar, column="delta_influence"))


def tension(document: Document) -> list[Finding]:
    """P1 is better on clean inputs and P2 under attack, in losses and in accuracies, for every candidate."""
    found = []
    for candidate in candidates(document):
        for suffix in ("", "_accuracy"):
            ends = [scalar(document, candidate, f"{name}{suffix}") for name in ("price", "gain")]
            of = f"{candidate}, {threat(document)}"
            found.append(_finding("tension: P1 better clean, P2 under attack", of, ends, raised))
    return found


def capacity(document: Document) -> list[Finding]:
    """More capacity: higher accuracy on both, and a larger price. The last candidate against the first; a step down refutes it."""
    names = candidates(document)
    return [
        _finding(f"more capacity: {more}", ", ".join(names), [read(document, name) for name in names], climbed)
        for more, read in (("better clean", clean), ("better under attack", robust), *_PRICES, _PREDICTED)
    ]


def stronger(documents: Sequence[Document], words: str) -> list[Finding]:
    """Along attacks on one candidate: a larger price."""
    of = f"{candidates(documents[0])[0]}, {', '.join(threat(document) for document in documents)}"
    return [
        _finding(f"{words}: {more}", of, [read(document, candidates(document)[0]) for document in documents], climbed)
        for more, read in _PRICES
    ]


def severe(mild: Document, harsh: Document) -> list[Finding]:
    """The second attack leaves less accuracy than the first, to clean and to adversarial training, and costs more."""
    of = f"{candidates(mild)[0]}, {threat(mild)}, {threat(harsh)}"
    rows = [
        _finding(
            f"linf more severe: {words}",
            of,
            [read(document, candidates(document)[0]) for document in (mild, harsh)],
            lambda values: raised([values[0] - values[1]]),
        )
        for words, read in (("less accuracy of P1", attacked), ("less of the best", robust))
    ]
    return [*rows, *stronger([mild, harsh], "linf more severe")]


def alike(document: Document) -> list[Finding]:
    """VGG-16's best adversarial accuracy is close to ResNet-50's."""
    names = candidates(document)
    values = [robust(document, name) for name in names]
    return [_finding(f"close, within {CLOSE}", ", ".join(names), values, lambda found: close(found[0] - found[1]))]


def threat(document: Document) -> str:
    """A study's threat in words."""
    return f"{document['study']['threat']['norm']} {document['study']['threat']['eps']:g}"


def _finding(statement: str, of: str, values: Sequence[Quantity | None], holds: Callable[[list[Quantity]], str]) -> Finding:
    """A row; where a number is missing, that."""
    known = [value for value in values if value is not None]
    name = ", ".join(dict.fromkeys(value.name for value in known))
    numbers = f"{name}: {', '.join(MISSING if value is None else str(value) for value in values)}".removeprefix(": ")
    return Finding(statement, of, numbers, holds(known) if len(known) == len(values) else MISSING)


def findings(documents: Mapping[str, Document]) -> list[Finding]:
    """All that [T] states of the studies that are there, by their panels' names; a curve that is in several of them is asked once."""
    there = documents.__contains__
    found = list(dict.fromkeys(finding for document in documents.values() for finding in tension(document)))
    found += [finding for name in ("width", "depth", "cnn-width") if there(name) for finding in capacity(documents[name])]
    if all(map(there, sizes := ("eps-low", "norm-l2", "eps-high"))):
        found += stronger([documents[name] for name in sizes], "larger attack")
    if there("norm-l2") and there("norm-linf"):
        found += severe(documents["norm-l2"], documents["norm-linf"])
    return found + (alike(documents["architecture"]) if there("architecture") else [])


def curves(documents: Mapping[str, Document]) -> list[str]:
    """Every curve once, as a row of a Markdown table: means over seeds, and how many points are dominated, of all seeds'."""
    rows = []
    for document in documents.values():
        for candidate in candidates(document):
            if (seeds := _seeds(document, candidate, HEADLINE)) is None:
                rows.append(f"| {threat(document)} | {candidate} | not measured | | | | |")
                continue
            by_seed = [seed["details"]["curve"] for seed in seeds]
            shown = [
                ", ".join(f"{np.mean([curve[i][f'{of}_{what}'] for curve in by_seed]):.3f}" for i in range(len(by_seed[0])))
                for what, of in (("loss", "clean"), ("loss", "adversarial"), ("accuracy", "clean"), ("accuracy", "adversarial"))
            ]
            dominated = sum(p["dominated"] for curve in by_seed for p in curve)
            rows.append(f"| {threat(document)} | {candidate} | {' | '.join(shown)} | {dominated} of {sum(map(len, by_seed))} |")
    return list(dict.fromkeys(rows))


def tally(found: Sequence[Finding]) -> list[str]:
    """How often each statement holds, as rows of a Markdown table."""
    counts = {finding.statement: Counter(f.holds for f in found if f.statement == finding.statement) for finding in found}
    return [f"| {statement} | {' | '.join(str(count[verdict]) for verdict in VERDICTS)} |" for statement, count in counts.items()]


def run(panel: str, options: argparse.Namespace) -> Document:
    """A small study's document, from the store as far as that goes; written beside it as JSON."""
    from robustradar.registry import Request
    from robustradar.screening import prepare, rank

    prepared = prepare(f"tradeoff/{panel}-small", Request(seeds=options.seeds))
    document: Document = rank(prepared, store=options.store, device=options.device).json()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{panel}.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    return document


def main() -> None:
    """Prints the curves, then what [T] states of them, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", action="append", choices=PANELS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", type=Path, default=filing.STORE)
    parser.add_argument("--out", type=Path, default=filing.RESULTS / "tradeoff-studies")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error(f"--seeds: got {options.seeds}, expected at least 2. One seed has no spread.")
    documents = {panel: run(panel, options) for panel in options.only or PANELS}
    losses = "clean losses, ξ rising | adversarial losses | clean accuracies | adversarial accuracies"
    print(f"| threat | network | {losses} | dominated |\n|---|---|---|---|---|---|---|")
    print("\n".join(curves(documents)))
    found = findings(documents)
    print("\n| [T] states | of | found | holds |\n|---|---|---|---|")
    for finding in found:
        print(f"| {finding.statement} | {finding.of} | {finding.numbers} | {finding.holds} |")
    print(f"\n| [T] states | {' | '.join(VERDICTS)} |\n|---|---|---|---|---|")
    print("\n".join(tally(found)))


if __name__ == "__main__":
    main()
