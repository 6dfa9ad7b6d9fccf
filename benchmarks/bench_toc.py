"""How far a trade-off curve walked as a warm-started path agrees with one of separately trained networks, and what each costs.

For every network and point: its four numbers (losses and accuracies, clean and adversarial, means over the seeds) on the path less those of
separate training, over the width of one seed's 95 % interval; in brackets how far separate trainings of different seeds lie from their
mean, in the same unit. Cost is counted in samples passed forward and backward while training.

    python benchmarks/bench_toc.py [--arch papers/mlp:width=32] [--seeds 3] [--epochs 15] [--short 5] [--recipe quick:optimizer=lbfgs]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustradar.registry import Request
from robustradar.screening import prepare, rank
from robustradar.values import Measured, Score

NUMBERS = ("clean_loss", "adversarial_loss", "clean_accuracy", "adversarial_accuracy")
Floats = NDArray[np.float64]


def curves(score: Score) -> Sequence[dict[str, Any]]:
    """The headline's details, a seed each."""
    assert isinstance(score.outcome, Measured), score.outcome
    details = score.outcome.details
    return [seed["details"] for seed in details["seeds"]] if "seeds" in details else [dict(details)]


def measured(arch: str, epochs: int, options: argparse.Namespace, *, path: bool) -> tuple[Floats, Floats, list[float], int, int]:
    """Numbers and widths of intervals [seeds, points, 4], the hypervolumes, dominated points in all, and passes of training."""
    recipe = f"{options.recipe}{',' if ':' in options.recipe else ':'}epochs={epochs}"
    metric = f"tradeoff/toc:path={str(path).lower()},inner=native/pgd:steps=5"
    flags = Request((arch,), "digits", "linf", options.eps, recipe=recipe, metrics=(f'{metric},xi="{options.xi}"',), seeds=options.seeds)
    with tempfile.TemporaryDirectory() as store:
        result = rank(prepare(None, flags), store=Path(store), device=options.device)
    headline = next(score for score in result.scores if score.column.name == "toc_hypervolume")
    points = [details["curve"] for details in curves(headline)]
    values = np.array([[[p[name] for name in NUMBERS] for p in curve] for curve in points])
    widths = np.array([[[p[f"{name}_high"] - p[f"{name}_low"] for name in NUMBERS] for p in curve] for curve in points])
    dominated = sum(p["dominated"] for curve in points for p in curve)
    assert isinstance(headline.outcome, Measured)
    seeds = headline.outcome.details.get("seeds", [{"value": headline.outcome.value}])
    passes = sum(fit.record.cost.forward + fit.record.cost.backward for fit in result.fits)
    return values, widths, [seed["value"] for seed in seeds], dominated, passes


def main() -> None:
    """Prints a table for every network and length of path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--arch", action="append")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--eps", default="0.1")
    parser.add_argument("--xi", default="0.001+0.25+0.5+0.75+0.999")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--short", type=int, default=5, help="epochs a network of a shorter path")
    options = parser.parse_args()
    for arch in options.arch or ["papers/mlp:width=32", "papers/cnn:width=8"]:
        apart, widths, value, dominated, passes = measured(arch, options.epochs, options, path=False)
        spread = np.abs(apart - apart.mean(0)).mean(0) / widths.mean(0)
        print(f"\n{arch}, apart, {options.epochs} epochs: hypervolume {np.mean(value):.3f}, {dominated} dominated, {passes:.3g} passes")
        for epochs in (options.epochs, options.short):
            walked, _, value, dominated, taken = measured(arch, epochs, options, path=True)
            off = (walked.mean(0) - apart.mean(0)) / widths.mean(0)
            ratio = taken / passes
            print(f"path, {epochs} epochs each: hypervolume {np.mean(value):.3f}, {dominated} dominated, passes {ratio:.2f} of those apart")
            print(f"{'xi':>6} " + " ".join(f"{name:>21}" for name in NUMBERS))
            for xi, row, noise in zip(options.xi.split("+"), off, spread, strict=True):
                print(f"{xi:>6} " + " ".join(f"{a:+12.2f} (±{b:5.2f})" for a, b in zip(row, noise, strict=True)), flush=True)


if __name__ == "__main__":
    main()
