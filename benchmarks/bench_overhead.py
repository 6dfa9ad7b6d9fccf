"""What the engine costs over a bare training loop: time of a fit over that of the same loop written by hand.

The hand-written loop does the same work: the same network, batches, PGD function, optimizer and schedule, the same evaluation after
every epoch and the same
copy of the best weights, without guard, tally, cost meter, record or store. Both run in turn, and the medians' ratio is printed.

    python benchmarks/bench_overhead.py [--device cuda] [--rounds 5]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import torch
from torch import Tensor, nn

from robustradar import ADVERSARIAL, CLEAN, Objective, Recipe, Victim
from robustradar.execute import Execution
from robustradar.plan import make
from robustradar.progress import Silent
from robustradar.provenance import engine
from robustradar.registry import Request
from robustradar.screening import Prepared, prepare
from robustradar.store import Store
from robustradar.training.device import DeviceData, threads
from robustradar.training.loss import cross_entropy
from robustradar.training.schedule import share
from robustradar.values import FitSpec
from robustradar_native.gradient import Climb, pgd

RECIPE = "quick"


def clock() -> float:
    """CPU seconds, which a busy machine does not stretch; wall-clock seconds where an accelerator does the work."""
    return perf_counter() if torch.cuda.is_initialized() else process_time()


def bare(network: nn.Module, data: DeviceData, spec: FitSpec) -> float:
    """Seconds of the loop by hand."""
    recipe = dict(spec.recipe.parameters)
    numbers = Recipe(**recipe)
    xi, epochs, batch = spec.objective.xi, recipe["epochs"], recipe["batch"]
    x, y = (torch.cat(part) for part in zip(*data.splits["train"], strict=True))
    generator = torch.Generator(data.where).manual_seed(0)
    order = torch.Generator().manual_seed(0)

    def perturbed(x: Tensor, y: Tensor) -> Tensor:
        if spec.threat is None:
            return x
        network.eval()
        network.requires_grad_(False)
        victim = Victim(network, cross_entropy, spec.threat.p, spec.threat.eps, spec.threat.bounds, generator)
        found, _ = pgd(victim, x, y, Climb(steps=10, length=2.5 * spec.threat.eps / 10))
        network.requires_grad_(True)
        return found

    start = clock()
    optimizer = torch.optim.AdamW(network.parameters(), recipe["lr"], weight_decay=recipe["weight_decay"])
    steps = epochs * -(-len(x) // batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: share(numbers, (n + 0.5) / steps))
    best = float("inf")
    for _ in range(epochs):
        for part in torch.randperm(len(x), generator=order).split(batch):
            xb, yb = x[part], y[part]
            adversarial = perturbed(xb, yb)
            network.train()
            cross_entropy(network(adversarial), yb).mean().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
        network.eval()
        total = torch.zeros((), device=data.where)
        for xb, yb in data.splits["evaluation"]:
            with torch.no_grad():
                total += cross_entropy(network(xb), yb).sum() * (1 - xi)
            if spec.threat is not None:
                adversarial = perturbed(xb, yb)
                with torch.no_grad():
                    total += cross_entropy(network(adversarial), yb).sum() * xi
        if float(total) < best:
            best = float(total)
            copy.deepcopy(network.state_dict())
    return clock() - start


def fitted(execution: Execution, spec: FitSpec) -> float:
    """Seconds of the same fit by the engine, the writing of the store included."""
    start = clock()
    execution.fit(spec)
    return clock() - start


def spec_of(prepared: Prepared, objective: Objective, seed: int) -> FitSpec:
    """The fit of the first candidate for an objective; a new seed every time, so that it is never found in the store."""
    plan = make(prepared.study, prepared.catalog, engine())
    spec = next(s for s in plan.fits if s.objective == objective)
    return FitSpec(**{**vars(spec), "seed": seed})


def main() -> None:
    """Prints a line for each network and objective."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--arch", action="append")
    options = parser.parse_args()
    where = torch.device(options.device)
    print(f"{'network':28} {'objective':12} {'bare s':>8} {'engine s':>9} {'ratio':>6}")
    for arch in options.arch or ["papers/mlp:width=256", "papers/cnn:width=16", "papers/cnn:width=32,depth=3"]:
        flags = Request((arch,), "digits", "linf", "0.1", recipe=RECIPE, metrics=("clean-accuracy", "robust-accuracy-trained"))
        prepared = prepare(None, flags)
        with tempfile.TemporaryDirectory() as folder, threads(prepared.study.task):
            data = DeviceData.of(prepared.data, prepared.study.task, where)
            execution = Execution(prepared.catalog, data, Store(Path(folder)), Silent())
            for objective in (CLEAN, ADVERSARIAL):
                pairs = []
                for round_ in range(options.rounds + 1):
                    spec = spec_of(prepared, objective, seed=round_)
                    network = execution.network(spec.architecture, spec.seed)
                    pairs.append((bare(network, data, spec), fitted(execution, spec)))
                # The first round warms up and is not counted.
                hand, ours = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
                ratio = statistics.median(b / a for a, b in pairs[1:])
                print(f"{arch:28} {objective!s:12} {hand:8.3f} {ours:9.3f} {ratio:6.3f}", flush=True)


if __name__ == "__main__":
    main()
