"""Time and loss of native PGD against torchattacks.PGD at equal steps and step size, measured in turns (A B A B ...).

Usage: python benchmarks/bench_pgd.py [--device cuda] [--steps 10] [--rounds 7] [--batch 64]
Prints, for a small CNN and a ResNet-18 for 32 x 32 images, the median over turns of the times' ratio native / torchattacks, first for
the bare call (native has then evaluated the last iterate as well), then up to the adversarial losses, for which torchattacks needs one
more forward pass and native none; and the ratio of the mean adversarial losses. Times are wall times on a GPU, and the process's own
time on a CPU, which other processes disturb less.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
import torchattacks
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from robustradar import Victim
from robustradar_native.gradient import Climb, losses, pgd

EPS = 8 / 255


def small_cnn() -> nn.Module:
    """Two convolutions and a linear layer."""
    features = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(32 * 64, 10))


def resnet18() -> nn.Module:
    """ResNet-18 with the stem that is usual for 32 x 32 images."""
    model: nn.Module = torchvision.models.resnet18(num_classes=10)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return model


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Losses per sample, in nats."""
    return F.cross_entropy(outputs, y, reduction="none")


def seconds(function: Callable[[], object], device: str) -> float:
    """Time of one call."""
    if device == "cpu":
        start = time.process_time()
        function()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(name: str, model: nn.Module, options: argparse.Namespace) -> None:
    """One line of the table."""
    generator = torch.Generator(options.device).manual_seed(0)
    x = torch.rand(options.batch, 3, 32, 32, device=options.device, generator=generator)
    model = model.to(options.device).eval().requires_grad_(False)
    with torch.no_grad():
        y = model(x).argmax(1)
    victim = Victim(model, cross_entropy, math.inf, EPS, (0.0, 1.0), generator)
    length = 2.5 * EPS / options.steps
    other = torchattacks.PGD(model, eps=EPS, alpha=length, steps=options.steps)
    climb = Climb(options.steps, length)
    contenders: dict[str, Callable[[], object]] = {
        "native": lambda: pgd(victim, x, y, climb),
        "torchattacks": lambda: other(x, y),
        "torchattacks with losses": lambda: losses(victim, other(x, y), y),
    }
    times: dict[str, list[float]] = {key: [] for key in contenders}
    for turn in range(options.rounds + 1):
        for key, function in contenders.items():
            spent = seconds(function, options.device)
            if turn:  # the first turn warms up
                times[key].append(spent)
    native, bare, full = times.values()
    to_point, to_losses = (statistics.median(a / b for a, b in zip(native, rival, strict=True)) for rival in (bare, full))
    reached = [0.0, 0.0]  # several starts, since random starts differ
    for _ in range(options.rounds):
        reached[0] += float(pgd(victim, x, y, climb)[1].mean())
        reached[1] += float(losses(victim, other(x, y), y).mean())
    print(
        f"{name:10s} native {statistics.median(native) * 1e3:8.1f} ms  torchattacks {statistics.median(bare) * 1e3:8.1f} ms"
        f"  ratio {to_point:.3f}  to the losses {to_losses:.3f}  loss ratio {reached[0] / reached[1]:.4f}"
    )


def main() -> None:
    """Reads the options and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    torch.manual_seed(0)
    for name, build in (("small CNN", small_cnn), ("ResNet-18", resnet18)):
        compare(name, build(), options)


if __name__ == "__main__":
    main()
