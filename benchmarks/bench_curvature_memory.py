"""Peak memory of second derivatives: over one gradient's on ResNet-18, and in parameter vectors on a model of 100 million parameters.

    python benchmarks/bench_curvature_memory.py [--images 32] [--side 10000] [--steps 6]

Every figure is a process of its own, less one that only builds the network. CPU only: the figure is the resident set's peak.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
from collections.abc import Callable

import torch
from bench_curvature import cross_entropy, gradient, problem, resnet
from torch import Tensor, nn

from robustradar.numerics.curvature import hessian
from robustradar.numerics.influence import attack_gradient
from robustradar.numerics.krylov import Krylov
from robustradar.numerics.problem import Problem

VECTOR = "a gradient, a space of so many steps, and a solution from it"


def wide(side: int) -> Problem:
    """One matrix of side² parameters."""
    torch.manual_seed(0)
    model = nn.Linear(side, side, bias=False)
    return Problem(model, cross_entropy, [(torch.rand(2, side), torch.tensor([0, 1]))])


def product(of: Problem, memory: int) -> None:
    """Two products with one Hessian."""
    v = torch.ones(sum(p.numel() for p in of.parameters))
    with hessian(of, memory=memory) as H:
        H @ (H @ v)


def solved(of: Problem, steps: int) -> Tensor:
    """A solution from a Krylov space of the Hessian."""
    attack = attack_gradient(of, math.inf, (0.0, 1.0))
    with hessian(of) as H:
        space = Krylov(H, attack.Phi)
        space.grow(steps=steps)
        return space.solution(2 * abs(space.top.value) + 2 * max(0.0, space.least_damping))


def work(what: str, images: int, side: int, steps: int) -> Callable[[], object]:
    """What one process does, its network built."""
    of = problem(resnet, images, 0, "cpu") if what.startswith("resnet") else wide(side)
    return {
        "resnet": lambda: None,
        "resnet gradient": lambda: gradient(of),
        "resnet product, graph kept": lambda: product(of, 2**40),
        "resnet product, graph rebuilt": lambda: product(of, 0),
        "resnet Phi": lambda: attack_gradient(of, math.inf, (0.0, 1.0)),
        "wide": lambda: None,
        "wide solution": lambda: solved(of, steps),
    }[what]


def peak(what: str) -> float:
    """MiB that a process of its own comes to."""
    done = subprocess.run([sys.executable, *sys.argv, "--one", what], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Prints the table, or does one process's work."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=int, default=32)
    options.add_argument("--side", type=int, default=10_000)
    options.add_argument("--steps", type=int, default=6)
    options.add_argument("--one", help=argparse.SUPPRESS)
    asked = options.parse_args()
    torch.set_num_threads(1)
    if asked.one:
        run = work(asked.one, asked.images, asked.side, asked.steps)
        run()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    base = peak("resnet")
    one = peak("resnet gradient") - base
    print(f"ResNet-18, {asked.images} images: a gradient takes {one:.0f} MiB beside the network")
    for what in ("product, graph kept", "product, graph rebuilt", "Phi"):
        print(f"  {what}: {(peak(f'resnet {what}') - base) / one:.2f} gradients")
    vector = asked.side**2 * 4 / 2**20
    print(f"{asked.side**2 / 1e6:.0f} M parameters, {VECTOR}:")
    print(f"  {(peak('wide solution') - peak('wide')) / vector:.1f} vectors of {vector:.0f} MiB for {asked.steps} steps")


if __name__ == "__main__":
    main()
