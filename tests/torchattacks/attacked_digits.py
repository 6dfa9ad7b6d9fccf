"""The declared attacks, and a small trained network for them."""

import dataclasses
import functools
import math

import torch
from sklearn.datasets import load_digits
from torch import nn

from robustradar import Attack
from robustradar_torchattacks import robustradar_attacks

ATTACKS = {attack.name: attack for attack in robustradar_attacks()}
# Settings that keep the slow ones quick; everything else runs as declared.
QUICK = {
    "AutoAttack": {"version": "rand"},
    "CW": {"steps": 30},
    "DeepFool": {"steps": 10},
    "EADEN": {"max_iterations": 30, "binary_search_steps": 6},
    "EADL1": {"max_iterations": 30, "binary_search_steps": 6},
    "JSMA": {"gamma": 0.2},
    "LGV": {"epochs": 3},
    "OnePixel": {"steps": 3},
    "Pixle": {"restarts": 2},
    "SPSA": {"nb_sample": 32, "steps": 5},
    "SparseFool": {"steps": 2},
    "Square": {"queries": 60},
}


def quick(name: str) -> Attack:
    return dataclasses.replace(ATTACKS[name], **QUICK.get(name, {}))


def own_norm(attack: Attack) -> float:
    return (attack.norms or (math.inf,))[0]


@functools.cache
def trained() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A small network with batch normalisation, and eight digits that it classifies rightly."""
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(digits.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(3):
            for batch in torch.randperm(1400).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
        optimizer.zero_grad()
    model.eval()
    right = (model(x[1400:]).argmax(1) == y[1400:]).nonzero().flatten()[:8] + 1400
    return model, x[right], y[right]
