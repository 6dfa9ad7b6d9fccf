"""Critical attack strengths by methods that need little training, beside those of training from scratch: error, cost, order.

A case is an architecture on a data set of one size. Its reference is the mean of `method=scratch` over the training seeds; a method's error
is that of its own mean, and its cost the samples that it passes forward and backward, in training, attacks and measuring together, over
those of scratch. The clean training that all methods start from is in neither. What the store has is not trained again.

    python benchmarks/bench_eps_star.py [--seeds 3] [--store DIR] [--out DIR]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from robustradar import filing
from robustradar.numerics.agreement import kendall
from robustradar.numerics.seeds import seed_interval

STUDIES = ("transition/table4-small", "transition/table4-small-500")
REFERENCE = "method=scratch"
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """One method in one case.

    Attributes:
        case: Candidate and data set.
        method: The metric's parameters.
        values: A critical strength for each seed; empty where there is none.
        passes: Samples passed forward and backward, over all seeds, without the clean training.
        flags: What is said of it.
    """

    case: str
    method: str
    values: tuple[float, ...]
    passes: int
    flags: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Over the seeds; NaN where there is none."""
        return float(np.mean(self.values)) if self.values else float("nan")


def results(document: Document) -> list[Result]:
    """All methods in all cases of a study."""
    data = document["study"]["data"]["id"]
    spent = _passes(document)
    found = []
    for score in document["scores"]:
        if score["column"] == "eps_star":
            seeds = score["details"].get("seeds", [])
            method = score["metric"].partition(":")[2] or "method=fast"
            case = f"{score['candidate']}, {data}"
            values = tuple(seed["value"] for seed in seeds)
            found.append(Result(case, method, values, spent[score["candidate"], score["metric"]], tuple(score["flags"])))
    return found


def _passes(document: Document) -> dict[tuple[str, str], int]:
    """Samples passed by each measurement and its fits, the clean ones left out."""
    fits = {fit["key"]: fit for fit in document["fits"]}
    found: dict[tuple[str, str], int] = {}
    for use in document["measurements"]:
        further = [fits[key]["cost"] for key in use["fits"] if fits[key]["spec"]["threat"] is not None]
        passes = sum(cost["forward"] + cost["backward"] for cost in (use["cost"], *further))
        key = (use["candidate"], use["metric"])
        found[key] = found.get(key, 0) + passes
    return found


def row(method: str, found: Sequence[Result], reference: Mapping[str, Result]) -> list[str]:
    """A method over all cases: error, cost, and agreement with the reference's order."""
    pairs = [(result, reference[result.case]) for result in found if result.values and reference[result.case].values]
    errors = np.array([result.mean / true.mean - 1 for result, true in pairs])
    costs = np.array([result.passes / true.passes for result, true in pairs])
    tau = kendall(np.array([result.mean for result, _ in pairs]), np.array([true.mean for _, true in pairs]))
    middle, worst = np.median(abs(errors)), errors[abs(errors).argmax()]
    shown = [f"{100 * middle:.0f} %", f"{100 * np.median(errors):+.0f} %", f"{100 * worst:+.0f} %", f"{100 * np.median(costs):.1f} %"]
    return [method, f"{len(pairs)} of {len(found)}", *shown, f"{tau:.2f}"]


def case_row(case: str, found: Sequence[Result]) -> list[str]:
    """All methods in one case, in 1/255, with the reference's interval over seeds."""
    cells = []
    for result in found:
        interval = seed_interval(np.array(result.values)) if result.method == REFERENCE and len(result.values) > 1 else None
        half = f" ±{255 * (interval[1] - interval[0]) / 2:.1f}" if interval else ""
        outside = any(flag.startswith("outside-regime") for flag in result.flags)
        cells.append(f"{255 * result.mean:.1f}{half}{' (outside its regime)' if outside else ''}" if result.values else "none")
    return [case, *cells]


def run(study: str, options: argparse.Namespace) -> Document:
    """A study's document, from the store as far as that goes; written beside it as JSON."""
    from robustradar.registry import Request
    from robustradar.screening import prepare, rank

    document: Document = rank(prepare(study, Request(seeds=options.seeds)), store=options.store, device=options.device).json()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{study.rpartition('/')[2]}.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    return document


def main() -> None:
    """Prints a row for each method, then one for each case, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", type=Path, default=filing.STORE)
    parser.add_argument("--out", type=Path, default=filing.RESULTS / "eps-star")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error(f"--seeds: got {options.seeds}, expected at least 2. One seed has no spread.")
    found = [result for study in STUDIES for result in results(run(study, options))]
    reference = {result.case: result for result in found if result.method == REFERENCE}
    methods = list(dict.fromkeys(result.method for result in found))
    rows = [row(method, [result for result in found if result.method == method], reference) for method in methods]
    head = ["method", "cases", "median error", "median signed", "worst", "median cost", "tau"]
    print(tabulate(rows, head, tablefmt="github", disable_numparse=True))
    cases = [case_row(case, [result for result in found if result.case == case]) for case in reference]
    print()
    print(tabulate(cases, ["case", *methods], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
