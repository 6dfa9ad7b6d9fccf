"""Every attack of torchattacks on one small network: what it breaks, and how long it takes beside PGD.

A convolutional network learns scikit-learn's digits, enlarged to 32x32 pixels. Each attack runs with its declared defaults under the
first of its norms (linf where it has none of its own), judged by the host.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from robustradar import Attack, Threat
from robustradar.judge import Guarded
from robustradar_torchattacks import robustradar_attacks

EPS = {math.inf: 0.05, 2.0: 1.0, 1.0: 10.0}


def trained(epochs: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The network in evaluation mode, and the held-out digits that it classifies rightly."""
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    x = nn.functional.interpolate(x, size=32, mode="bilinear")
    y = torch.tensor(digits.target)
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()]
    model = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, 10))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(1400).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    optimizer.zero_grad()
    model.eval()
    right = (model(x[1400:]).argmax(1) == y[1400:]).nonzero().flatten() + 1400
    return model, x[right], y[right]


def measure(attack: Attack, model: nn.Module, x: Tensor, y: Tensor) -> tuple[str, float, float]:
    """Threat, robust accuracy and seconds a sample."""
    p = (attack.norms or (math.inf,))[0]
    threat = Threat(p, EPS[p], (0.0, 1.0))
    guarded = Guarded(attack, attack.name, threat, 10, 0)
    start = time.perf_counter()
    outcome = guarded(model, x, y)
    seconds = (time.perf_counter() - start) / len(x)
    guarded.verify()
    return str(threat), float(outcome.correct.float().mean()), seconds


def main() -> None:
    """Prints the table, and writes it where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=16, help="how many digits are attacked")
    parser.add_argument("--epochs", type=int, default=3, help="how long the network is trained")
    parser.add_argument("--only", nargs="*", help="names of attacks; by default all")
    parser.add_argument("--markdown", type=Path, help="a file for the table")
    options = parser.parse_args()
    model, x, y = trained(options.epochs)
    x, y = x[: options.samples], y[: options.samples]
    attacks = {attack.name: attack for attack in robustradar_attacks()}
    measure(attacks["PGD"], model, x, y)  # warm up
    unit = measure(attacks["PGD"], model, x, y)[2]
    lines = ["| attack | kind | threat | robust accuracy | time, PGD = 1 |", "|---|---|---|---:|---:|"]
    print("\n".join(lines))
    for name in options.only or attacks:
        threat, accuracy, seconds = measure(attacks[name], model, x, y)
        lines.append(f"| {name} | {attacks[name].kind} | {threat} | {accuracy:.3f} | {seconds / unit:.3g} |")
        print(lines[-1], flush=True)
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
