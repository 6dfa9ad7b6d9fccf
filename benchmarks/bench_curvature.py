"""Second derivatives in units of one gradient of the same loss on the same data.

    python benchmarks/bench_curvature.py [--only cnn|resnet] [--device cpu] [--threads 1] [--repeat 5] [--peers]

1 g is one torch.autograd.grad(loss, parameters). Each figure is the smallest of some repetitions over the smallest of gradients that were
timed between them. The networks are trained for some steps of Adam on random images, with cross-entropy.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from functools import partial

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.nn import functional

from robustradar.numerics import vector
from robustradar.numerics.curvature import hessian
from robustradar.numerics.influence import SWEEP, attack_gradient
from robustradar.numerics.krylov import Krylov
from robustradar.numerics.problem import Problem


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """In nats, per sample."""
    return functional.cross_entropy(z, y, reduction="none")


def small_cnn() -> nn.Module:
    """About 0.1 M parameters."""
    features = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(4096, 19), nn.ReLU(), nn.Linear(19, 10))


def resnet() -> nn.Module:
    """ResNet-18 with the stem for small images: 11.2 M parameters."""
    from torchvision.models import resnet18

    network: nn.Module = resnet18(num_classes=10)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return network


def problem(build: Callable[[], nn.Module], images: int, steps: int, device: str) -> Problem:
    """A network after a few steps, and its data in one batch."""
    torch.manual_seed(0)
    network = build().to(device).train()
    x, y = torch.rand(images, 3, 32, 32).to(device), torch.randint(10, (images,)).to(device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(network(x), y).mean().backward()
        optimizer.step()
    return Problem(network.eval(), cross_entropy, [(x, y)])


def gradient(of: Problem) -> Tensor:
    """The unit of all figures."""
    ((x, y),) = of.batches
    return vector.flat(torch.autograd.grad(of.losses(x, y).mean(), of.parameters))


def seconds(work: Callable[[], object]) -> float:
    """Once: wall time on a GPU, and the process's own time on a CPU, which other processes disturb less."""
    if not torch.cuda.is_available():
        start = time.process_time()
        work()
        return time.process_time() - start
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def in_gradients(of: Problem, work: Callable[[], object], repeat: int) -> float:
    """The least time of some work over the least time of a gradient, taken in turn."""
    work()
    pairs = [(seconds(work), min(seconds(partial(gradient, of)) for _ in range(3))) for _ in range(repeat)]
    return min(spent for spent, _ in pairs) / min(g for _, g in pairs)


def largest(of: Problem) -> Krylov:
    """λ_max to 1e-3, standing still included, from the attack's gradient, whose cost is not counted."""
    with hessian(of) as H:
        space = Krylov(H, START[id(of)])
        space.grow(top=1e-3)
    return space


def solved(of: Problem, mu: float) -> Krylov:
    """(H + mu I)⁻¹ Phi to 1e-4, and one more product that verifies it."""
    with hessian(of) as H:
        space = Krylov(H, START[id(of)])
        space.grow(dampings=(mu,), residual=1e-4)
        x = space.solution(mu)
        vector.length(H @ x + mu * x - space.b)
    return space


def parcel(of: Problem) -> Krylov:
    """Phi, both ends of the spectrum, seven dampings to 1e-4, one quadratic form by a product, brackets of another: from one space."""
    attack = attack_gradient(of, math.inf, (0.0, 1.0))
    with hessian(of) as H:
        space = Krylov(H, attack.Phi)
        space.grow(top=1e-3, bottom=1e-2)
        mu = 2 * max(space.least_damping, 0.0)
        space.grow(dampings=tuple(mu * f for f in SWEEP), residual=1e-4)
        x = space.solution(mu)
        vector.dot(x, H @ x)
        for f in SWEEP:
            if space.definite(mu * f):
                space.form(mu * f)
    return space


START: dict[int, Tensor] = {}


def speed(name: str, of: Problem, repeat: int, *, peers: bool) -> list[list[object]]:
    """The rows of one network."""
    START[id(of)] = attack_gradient(of, math.inf, (0.0, 1.0)).Phi
    v = torch.randn_like(START[id(of)])
    turned = partial(in_gradients, of, repeat=repeat)
    rows: list[list[object]] = [[name, "one gradient", 1.0, "", ""]]
    with hessian(of) as H:
        rows.append([name, "one product, graph kept", turned(lambda: H @ v), "", ""])
    with hessian(of, memory=0) as H:
        rows.append([name, "one product, graph rebuilt", turned(lambda: H @ v), "", ""])
    rows.append([name, "Phi", turned(lambda: attack_gradient(of, math.inf, (0.0, 1.0))), "", ""])
    if peers:
        rows.append([name, "one product, curvlinops", turned(peer(of, v)), "", ""])
    space = largest(of)
    exact = reference(of)
    rows.append([name, "λ_max to 1e-3", turned(lambda: largest(of)), space.steps, f"off by {abs(space.top.value / exact - 1):.0e}"])
    whole = parcel(of)
    for kappa in (39, 150):
        mu = (whole.top.value + kappa * whole.least_damping) / (kappa - 1)
        found = solved(of, mu)
        rows.append([name, "solution to 1e-4, verified", turned(partial(solved, of, mu)), found.steps + 1, f"κ = {kappa}"])
    rows.append([name, "the parcel", turned(lambda: parcel(of)), parcel(of).steps + 1, "7 dampings"])
    return rows


def reference(of: Problem) -> float:
    """λ_max in float64."""
    ((x, y),) = of.batches
    twin = Problem(copy.deepcopy(of.model).double(), of.loss, [(x, y)])
    with hessian(twin) as H:
        space = Krylov(H, START[id(of)].double())
        space.grow(top=1e-9)
    return space.top.value


def peer(of: Problem, v: Tensor) -> Callable[[], Tensor]:
    """The product of curvlinops."""
    from curvlinops import HessianLinearOperator

    operator = HessianLinearOperator(of.model, nn.CrossEntropyLoss(), of.parameters, of.batches, check_deterministic=False)
    return lambda: operator @ v


def precision(of: Problem) -> str:
    """λ_max in float32, run to rounding, against float64."""
    with hessian(of) as H:
        space = Krylov(H, START[id(of)])
        space.grow(top=1e-6)
    return f"λ_max in float32 is off by {abs(space.top.value / reference(of) - 1):.0e} after {space.steps} products"


def main() -> None:
    """Prints the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", choices=["cnn", "resnet"])
    options.add_argument("--device", default="cpu")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--repeat", type=int, default=5)
    options.add_argument("--peers", action="store_true", help="curvlinops' product, too")
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    rows, notes = [], []
    for name, build, images, steps in (("cnn", small_cnn, 128, 132), ("resnet", resnet, 16, 12)):
        if asked.only in (None, name):
            of = problem(build, images, steps, asked.device)
            rows += speed(name, of, asked.repeat, peers=asked.peers)
            notes.append(f"{name}: {precision(of)}")
    print(tabulate(rows, headers=["network", "what", "gradients", "products", ""], floatfmt=".2f"))
    print(*notes, sep="\n")


if __name__ == "__main__":
    main()
