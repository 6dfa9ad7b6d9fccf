"""What the papers' networks cost at 3x32x32: parameters, MACs of one image, and time forward and backward relative to papers/cnn.

Run `python benchmarks/bench_architectures.py`, with `--full` for published widths instead of an eighth of them; one thread is used.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from robustradar import Architecture
from robustradar_papers import robustradar_architectures

SHAPE = (3, 32, 32)
BATCH = 128
NARROW: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("vgg5", "vgg16", "vgg19", "resnet50", "preact-resnet18"), {"width": 8}),
    "wide-resnet34": {"width": 1},
    "nasbench201": {"channels": 4},
}


def macs(network: nn.Module) -> int:
    """Multiplications of one image's forward pass, in convolutions and matrix products."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(torch.rand(1, *SHAPE))
    return int(counter.get_total_flops()) // 2


def seconds(network: nn.Module, repeats: int = 3) -> float:
    """The fastest of some forward and backward passes over 128 images, after one to warm up."""
    network.train()
    x, y = torch.rand(BATCH, *SHAPE), torch.randint(10, (BATCH,))
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        nn.functional.cross_entropy(network(x), y).backward()
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def main() -> None:
    """Prints one line a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="published widths (minutes)")
    full = parser.parse_args().full
    torch.set_num_threads(1)
    declared: dict[str, Architecture] = {a.name: a for a in robustradar_architectures()}
    unit = seconds(declared["cnn"].build(SHAPE, 10))
    print(f"{'network':<36}{'parameters':>12}{'MACs':>14}{'time':>9}   (1 = papers/cnn: {unit * 1e3:.0f} ms for {BATCH} images)")
    for name, architecture in declared.items():
        changes = {} if full else NARROW.get(name, {})
        network = dataclasses.replace(architecture, **changes).build(SHAPE, 10)
        label = ":".join(filter(None, [f"papers/{name}", ",".join(f"{k}={v}" for k, v in changes.items())]))
        count = sum(p.numel() for p in network.parameters())
        print(f"{label:<36}{count:>12,}{macs(network):>14,}{seconds(network) / unit:>9.2f}")


if __name__ == "__main__":
    main()
