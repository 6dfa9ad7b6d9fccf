"""Losses of networks sample by sample, and what resampling makes of them."""

from __future__ import annotations

import numpy as np
import torch

from robustradar import AttackNeed, Bench, Fit, Objective, Threat
from robustradar.analysis import batches
from robustradar_transition.link import Floats

DRAWS = 1000
# Draws at a time: bounds the memory that indices take.
_CHUNK = 2**20


def losses(bench: Bench, fit: Fit, split: str, objective: Objective, threat: Threat | None = None, limit: int = 0) -> Floats:
    """An objective's losses [n] of a fit in evaluation mode, under the study's attack at a threat.

    Args:
        bench: What the metric has.
        fit: The network.
        split: ``train`` or ``evaluation``.
        objective: Whose loss.
        threat: None for an objective that needs no attack.
        limit: Samples, spread evenly over the split; 0: all.
    """
    attack = None if threat is None else bench.attack(AttackNeed(threat=threat))
    found = [bench.losses(fit.model, x, y, objective, attack) for x, y in batches(bench, split, limit)]
    values: Floats = torch.cat(found).double().cpu().numpy()
    return values


def resampled(columns: Floats, rng: np.random.Generator) -> Floats:
    """Means of bootstrap draws of samples: [n, k] to [DRAWS, k], the columns of a draw from the same samples."""
    n = len(columns)
    step = max(1, _CHUNK // n)
    chunks = [columns[rng.integers(n, size=(min(step, DRAWS - start), n))].mean(1) for start in range(0, DRAWS, step)]
    return np.concatenate(chunks)
