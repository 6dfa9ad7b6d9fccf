"""An epoch of PGD-7 adversarial training: the engine beside a loop by hand with torchattacks' PGD, and beside one with native PGD.

    python benchmarks/bench_engine.py [--device cuda] [--rounds 5] [--samples 256] [--width 64] [--recipe channels_last=true]

All three train the same network on the same random images (3x32x32, 10 classes) by SGD in float32, one after the other in turns
(A B C A B C ...). Only the epoch is timed: no evaluation, no store. Printed are the times' least values, and the medians over turns of the
ratios engine / torchattacks and engine / native by hand; the latter is the engine's overhead. Every attack keeps its last iterate, as
torchattacks does; with --best the native one keeps every sample's best instead, at a pass more. Times are wall times on a GPU, and the
process's own time with one thread on a CPU, which other processes disturb less.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torchattacks
from torch import nn
from torch.nn import functional

from robustradar import ADVERSARIAL, Architecture, Data, Recipe, Split, Threat, Victim
from robustradar.catalog import bind, split_reference
from robustradar.data import task
from robustradar.judge import Guarded
from robustradar.training.device import DeviceData
from robustradar.training.loop import Loop
from robustradar.training.loss import cross_entropy
from robustradar.training.network import build
from robustradar.values import FitSpec, Ref
from robustradar_native.attack import PGD
from robustradar_native.gradient import Climb, pgd
from robustradar_papers.declared import Cnn, PreActResNet18

STEPS = 7
THREAT = Threat(math.inf, 8 / 255, (0.0, 1.0))
LENGTH = 2.5 * THREAT.eps / STEPS
RECIPE = Recipe(name="bench", lr=0.01, epochs=100, batch=128, schedule="constant")


def images(samples: int) -> Data:
    """Random pictures and labels."""
    rng = np.random.default_rng(0)
    split = Split(rng.random((samples, 3, 32, 32), dtype=np.float32), rng.integers(0, 10, samples))
    return Data(split, Split(split.x[:32], split.y[:32]), None, 10, (0.0, 1.0))


def engine(network: nn.Module, data: DeviceData, recipe: Recipe, *, best: bool) -> Callable[[], object]:
    """One epoch by the engine."""
    ref = Ref("bench/bench", (), "bench", "bench/bench")
    spec = FitSpec(ref, data.task, ref, ADVERSARIAL, THREAT, ref, 0, "bench")
    attack = PGD(name="pgd", steps=STEPS, keep="best" if best else "last")
    return Loop(spec, network, recipe, data, Guarded(attack, "attack", THREAT, 10, 0), "network").epoch


def by_hand(network: nn.Module, data: DeviceData, attack: str, *, best: bool) -> Callable[[], object]:
    """One epoch of the loop that is usually written, with either attack."""
    optimizer = torch.optim.SGD(network.parameters(), RECIPE.lr, RECIPE.momentum, weight_decay=RECIPE.weight_decay, nesterov=True)
    theirs = torchattacks.PGD(network, eps=THREAT.eps, alpha=LENGTH, steps=STEPS, random_start=True)
    generator = torch.Generator(data.where).manual_seed(0)
    order = torch.Generator().manual_seed(0)

    def perturbed(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if attack == "torchattacks":
            return theirs(x, y)  # type: ignore[no-any-return]
        network.eval().requires_grad_(False)
        victim = Victim(network, cross_entropy, THREAT.p, THREAT.eps, THREAT.bounds, generator)
        found, _ = pgd(victim, x, y, Climb(STEPS, LENGTH, best=best))
        network.train().requires_grad_(True)
        return found

    def epoch() -> None:
        network.train()
        for x, y in data.splits["train"].shuffled(order, RECIPE.batch):
            x_adv = perturbed(x, y)
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(network(x_adv), y).backward()
            optimizer.step()

    return epoch


def seconds(epoch: Callable[[], object], where: torch.device) -> float:
    """What one epoch takes."""
    if where.type != "cuda":
        start = time.process_time()
        epoch()
        return time.process_time() - start
    torch.cuda.synchronize(where)
    start = time.perf_counter()
    epoch()
    torch.cuda.synchronize(where)
    return time.perf_counter() - start


def main() -> None:
    """Prints one line a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--best", action="store_true", help="the native attack keeps every sample's best iterate")
    parser.add_argument("--width", type=int, help="of preact-resnet18: 64 on a GPU, 16 on a CPU unless given")
    parser.add_argument("--recipe", default="", help="of the engine alone, e.g. channels_last=true,precision=bf16 or compile=default")
    parser.add_argument("--only", default="", help="networks whose names contain this")
    options = parser.parse_args()
    where = torch.device(options.device)
    if where.type == "cpu":
        torch.set_num_threads(1)
    _, changes = split_reference(f"bench:{options.recipe}", "--recipe")
    recipe = bind(RECIPE, changes, "--recipe")
    given = images(options.samples)
    data = DeviceData.of(given, task(given, Ref("bench/images", (), "bench", "bench/images")), where)
    width = options.width or (64 if where.type == "cuda" else 16)
    networks: dict[str, Architecture] = {
        "papers/cnn:width=32,depth=3": Cnn(name="cnn", width=32, depth=3),
        f"papers/preact-resnet18:width={width}": PreActResNet18(name="preact-resnet18", width=width),
    }
    print(f"{'network':32} {'torchattacks s':>14} {'native s':>9} {'engine s':>9} {'/ torchattacks':>14} {'/ native':>9}")
    for name, architecture in networks.items():
        if options.only not in name:
            continue
        epochs = [
            by_hand(build(architecture, name, data, 0), data, "torchattacks", best=options.best),
            by_hand(build(architecture, name, data, 0), data, "native", best=options.best),
            engine(build(architecture, name, data, 0), data, recipe, best=options.best),
        ]
        turns = [[seconds(epoch, where) for epoch in epochs] for _ in range(options.rounds + 1)][1:]  # the first warms up
        theirs, native, ours = (min(column) for column in zip(*turns, strict=True))
        ratios = [statistics.median(turn[2] / turn[other] for turn in turns) for other in (0, 1)]
        print(f"{name:32} {theirs:14.3f} {native:9.3f} {ours:9.3f} {ratios[0]:14.3f} {ratios[1]:9.3f}", flush=True)


if __name__ == "__main__":
    main()
