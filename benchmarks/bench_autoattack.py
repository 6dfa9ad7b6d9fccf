"""native/autoattack beside the reference implementation of AutoAttack (Croce and Hein 2020), sample by sample, both at the standard budget.

    pip install pyautoattack==0.2.0
    python benchmarks/bench_autoattack.py [--norm l2] [--eps 0.5] [--samples 200] [--seeds 3]
    python benchmarks/bench_autoattack.py --data cifar10.npz --eps 1/255 --samples 100 --seeds 1

pyautoattack is the authors' code as a package, and carries the ResNet-18 for CIFAR-10 of their example. With --data (an npz file with
x_test, uint8 [N, 3, 32, 32], and y_test) that network is attacked; without it a small one, which learns scikit-learn's digits here in
seconds by adversarial training. Printed are the robust accuracies, how many samples each breaks that the other does not, the same between
two seeds of one implementation (what chance alone does), and the ratio of times. Times are the process's own, with one thread.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from pyautoattack import AutoAttack as Reference
from pyautoattack import examples
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from robustradar import Threat, Victim
from robustradar.judge import Guarded
from robustradar.training.loss import cross_entropy
from robustradar_native.attack import AutoAttack
from robustradar_native.gradient import Climb, pgd

EPS = {"linf": 0.15, "l2": 0.6}
Images = tuple[nn.Module, Tensor, Tensor]


def digits(samples: int) -> Images:
    """A CNN after adversarial training (PGD-7, linf, 0.15) on 1,397 digits, and digits that it has not seen."""
    data = load_digits()
    x, y = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    victim = Victim(model, cross_entropy, math.inf, EPS["linf"], (0.0, 1.0), torch.Generator().manual_seed(0))
    for _ in range(20):
        for rows in torch.randperm(1397).split(64):
            found, _ = pgd(victim, x[rows], y[rows], Climb(7, 2.5 * victim.eps / 7))
            optimizer.zero_grad()
            functional.cross_entropy(model(found), y[rows]).backward()
            optimizer.step()
    return model.eval().requires_grad_(False), x[-samples:], y[-samples:]


def resnet18(file: Path, samples: int) -> Images:
    """The network of the authors' example, and the first test images of CIFAR-10."""
    from pyautoattack.examples.resnet import ResNet18

    weights = Path(next(iter(examples.__path__))) / "model_test.pt"
    model: nn.Module = ResNet18()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    data = np.load(file)
    x, y = torch.tensor(data["x_test"][:samples]).float() / 255, torch.tensor(data["y_test"][:samples]).long()
    return model.eval().requires_grad_(False), x, y


def native(images: Images, threat: Threat, seed: int) -> Tensor:
    """Which samples stand our attack [N]."""
    model, x, y = images
    guarded = Guarded(AutoAttack(name="autoattack", kind="first_success", norms=(2.0, math.inf)), "autoattack", threat, 10, seed)
    outcome = guarded(model, x, y)
    guarded.verify()
    return outcome.correct


def reference(images: Images, threat: Threat, seed: int) -> Tensor:
    """Which samples stand theirs [N]."""
    model, x, y = images
    attack = Reference(model, norm="Linf" if math.isinf(threat.p) else "L2", eps=threat.eps, seed=seed, device="cpu")
    found, _ = attack.run_standard_evaluation(x, y, batch_size=len(x))
    with torch.no_grad():
        stands: Tensor = model(found).argmax(1) == y
    return stands


def timed(attack: Callable[[Images, Threat, int], Tensor], images: Images, threat: Threat, seed: int) -> tuple[Tensor, float]:
    """What stands, and the seconds it took."""
    start = time.process_time()
    stands = attack(images, threat, seed)
    spent = time.process_time() - start
    print(f"{attack.__name__}, seed {seed}: robust accuracy {stands.float().mean():.4f}, {spent:.0f} s", flush=True)
    return stands, spent


def main() -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--norm", choices=tuple(EPS), default="linf")
    parser.add_argument("--eps", type=lambda text: float(Fraction(text)), help="radius, on images in [0, 1]; for digits 0.15 or 0.6")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="CIFAR-10 as npz, for the ResNet-18")
    options = parser.parse_args()
    torch.set_num_threads(1)
    threat = Threat(math.inf if options.norm == "linf" else 2.0, options.eps or EPS[options.norm], (0.0, 1.0))
    images = resnet18(options.data, options.samples) if options.data else digits(options.samples)
    model, x, y = images
    with torch.no_grad():
        print(f"{len(x)} samples, {threat}, clean accuracy {(model(x).argmax(1) == y).float().mean():.4f}", flush=True)
    ours, theirs = ([timed(attack, images, threat, seed) for seed in range(options.seeds)] for attack in (native, reference))
    pairs = {"native and the reference": list(itertools.product(ours, theirs))}
    pairs |= {f"two seeds of {name}": list(itertools.combinations(runs, 2)) for name, runs in (("native", ours), ("the reference", theirs))}
    for name, compared in pairs.items():
        only = [(int((~one & other).sum()), int((one & ~other).sum())) for (one, _), (other, _) in compared]
        print(f"broken by one alone, {name}: " + (", ".join(f"{first} | {second}" for first, second in only) or "one seed"))
    print(f"time, native / reference: {sum(spent for _, spent in ours) / sum(spent for _, spent in theirs):.2f}")


if __name__ == "__main__":
    main()
