"""Critical attack strength with no adversarial training: the adversarial training loss to second order around the clean network.

RobustRadar's own, not [P]'s. At the weights theta + eps·IFA, which [T, Theorem 1] predicts of adversarial training at strength eps,
that loss is R + eps·S + eps²·A + O(eps³), and all three numbers are had at the clean network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from robustradar import AttackNeed, Bench, Fit
from robustradar.analysis import Asked, analysed, batches, caveats, obstacle, ridge
from robustradar.numerics import vector
from robustradar.numerics.balls import Box, ascent
from robustradar.numerics.problem import Problem, UnavailableError, derivative, still
from robustradar_transition.link import Floats, parabola
from robustradar_transition.sampled import resampled
from robustradar_transition.strength import interval

# Chosen here: where the loss at the predicted weights has risen by a tenth more or less than predicted, eps_star is off by about as much.
_REGIME = 0.1


@dataclass(frozen=True, eq=False)
class Rise:
    """How the adversarial training loss starts, sample by sample.

    Attributes:
        losses: Clean losses of the training split, [n].
        slopes: norm(∇_x l_i, q), [n]: how fast each grows with the strength of an attack, at strength 0.
    """

    losses: Floats
    slopes: Floats

    @property
    def flags(self) -> tuple[str, ...]:
        """What is to be known of it."""
        flat = int((self.slopes == 0).sum())
        return (f"zero-gradients:{flat}/{len(self.slopes)}",) if flat else ()


@dataclass(frozen=True)
class Expansion:
    """What the clean network alone says of the critical attack strength.

    Attributes:
        value: In the data's own units, not negative; None where there is none.
        low: Lower end of the interval; None where that end is open.
        high: Upper end of the interval, likewise.
        status: ``extrapolated``; ``below-zero``: the clean training loss is above the threshold; ``beyond-grid``: the parabola turns
            before it reaches the threshold, or only falls.
        threshold: The clean evaluation loss.
        coefficients: R, S and A of R + eps·S + eps²·A.
        slope: (1/n) Σ norm(∇_x l_i, q), the part of S that the inputs have.
        pull: -lambda·theta·IFA, the part that the weights have, as decay keeps them off the minimum of the shown loss.
        bend: (1/n) Σ phi_iᵀ ∇²_x l_i phi_i, the part of 2·A that the inputs have.
        relief: What the weights' answer takes off it: Phiᵀ(H_t + mu I)⁻¹Phi + (lambda + mu)·norm(IFA, 2)².
        damping: mu.
        share: eps²·A over eps·S at `value`; None without one.
        shown: How much the loss rises at the weights theta + value·IFA under attack, over the rise that is predicted; None without a rise.
        flags: What is to be known of it.
    """

    value: float | None
    low: float | None
    high: float | None
    status: Literal["extrapolated", "below-zero", "beyond-grid"]
    threshold: float
    coefficients: tuple[float, float, float]
    slope: float
    pull: float
    bend: float
    relief: float
    damping: float
    share: float | None
    shown: float | None
    flags: tuple[str, ...]


def rise(bench: Bench, fit: Fit, bounds: Box | None, limit: int = 0) -> Rise:
    """The training loss of a clean network and its slope in the strength of an attack, at one gradient a sample.

    The slope is that of a mixture's adversarial part, whatever the network's second derivatives. The weights' answer to an attack does not
    change it where the clean loss is at its minimum; where weight decay keeps it from there, `Expansion.pull` is the difference. (TRADES
    starts level, as its divergence grows with the square.)

    Args:
        bench: For threat, loss and training split.
        fit: The clean fit.
        bounds: The inputs' range, as it confines the attack; None for unbounded inputs.
        limit: Samples, spread evenly over the split; 0: all.

    Raises:
        UnavailableError: The loss has no gradient in x, or not a finite one.
    """
    problem = Problem(fit.model, bench.loss, batches(bench, "train", limit))
    losses, slopes = [], []
    with still(fit.model):
        for inputs, y in problem.inputs():
            x = inputs.detach().requires_grad_()
            with derivative("gradient in x"):
                values = problem.losses(x, y)
                (g,) = torch.autograd.grad(values.sum(), x)
            losses.append(values.detach().double())
            slopes.append((g * ascent(g, bench.threat.p, x.detach(), bounds)).flatten(1).sum(1).double())
    found = Rise(*(torch.cat(parts).cpu().numpy() for parts in (losses, slopes)))
    if not (np.isfinite(found.losses).all() and np.isfinite(found.slopes).all()):
        raise UnavailableError("the training loss or its gradient in x is not finite")
    return found


def expanded(bench: Bench, fit: Fit, asked: Asked, evaluation: Floats) -> Expansion:
    """Return the strength at which the expansion reaches the clean evaluation loss.

    With s, Phi, c the mean slope, its gradient in theta and the mean bend of the training losses under an infinitesimal attack, and
    IFA = -(H_t + mu I)⁻¹ Phi, lambda the weight decay that H_t holds and the shown loss leaves out:

        S = s - lambda·theta·IFA,    2·A = c - Phiᵀ(H_t + mu I)⁻¹Phi - (lambda + mu)·norm(IFA, 2)²,

    as at a minimum the gradient of the shown loss is -lambda·theta. Without weight decay or damping, it is then the loss of adversarial
    training up to O(eps³); with weight decay up to O(eps²), as the path of the minimisers bends. With damping, training can find
    weights that do better. Away from a minimum it is taken for granted that adversarial training ends as far from its own.

    The interval is a bootstrap over training samples (R and s together) and evaluation samples (the threshold); Phi, IFA, c and with them A
    are held. Whether the expansion holds as far as `value` is seen by an attack of that strength on a network with the weights
    theta + value·IFA: where the loss rises by a tenth more or less than predicted, the flag ``outside-regime:<shown>`` says so.

    Args:
        bench: What the metric has.
        fit: The clean fit.
        asked: The analysis, to be shared. Its `limit` holds for c, Phi, H_t and the attack.
        evaluation: The clean losses of the evaluation split, [m].

    Raises:
        UnavailableError: A derivative cannot be had, or IFA is not to be trusted.
    """
    start = rise(bench, fit, asked.settings.bounds)
    found = analysed(bench, fit, asked)
    if (reason := obstacle(found, asked.settings.residual)) is not None or found.ifa is None or found.bracket is None:
        raise UnavailableError(reason or "")
    theta = vector.flat(p.detach() for p in fit.model.parameters() if p.requires_grad)
    slope, pull, bend = float(start.slopes.mean()), -ridge(fit) * float(vector.dot(theta, found.ifa)), found.attack.bend
    relief = found.bracket.value + (ridge(fit) + found.damping) * float(vector.dot(found.ifa, found.ifa))
    threshold, half = float(evaluation.mean()), (bend - relief) / 2
    R, S = float(start.losses.mean()), slope + pull
    best = float(parabola(np.array([[R, S, half]]), np.array([threshold]))[0])
    low, high = interval(_draws(start, evaluation, pull, half, bench.seed), 0.95, None)
    value = best if math.isfinite(best) else None
    shown = _shown(bench, fit, value * found.ifa, value, asked.limit) / (threshold - R) if value else None
    regime = (f"outside-regime:{shown:.3g}",) if shown is not None and not abs(shown - 1) <= _REGIME else ()
    return Expansion(
        value=value,
        low=low,
        high=high,
        status="below-zero" if best == -math.inf else "beyond-grid" if value is None else "extrapolated",
        threshold=threshold,
        coefficients=(R, S, half),
        slope=slope,
        pull=pull,
        bend=bend,
        relief=relief,
        damping=found.damping,
        share=value * half / S if value and S else None,
        shown=shown if shown is not None and math.isfinite(shown) else None,
        flags=(*caveats(found, fit, value or bench.threat.eps), *regime),
    )


def _draws(start: Rise, evaluation: Floats, pull: float, half: float, seed: int) -> list[float]:
    """Crossings of resamples: of training samples, and apart from them of evaluation samples."""
    rng = np.random.default_rng(seed)
    starts = resampled(np.stack([start.losses, start.slopes + pull], 1), rng)
    coefficients = np.column_stack([starts, np.full(len(starts), half)])
    thresholds = resampled(evaluation[:, None], rng)[:, 0]
    return list(parabola(coefficients, thresholds).tolist())


def _shown(bench: Bench, fit: Fit, d: Tensor, eps: float, limit: int) -> float:
    """How much the training loss rises when the weights move by d and the inputs are attacked with eps."""
    moved = bench.network()
    moved.load_state_dict(fit.model.state_dict())
    theta = [p for p in moved.parameters() if p.requires_grad]
    with torch.no_grad():
        for p, step in zip(theta, vector.like(d, theta), strict=True):
            p.add_(step)
    attack = bench.attack(AttackNeed(threat=bench.threat.at(eps)))
    rises = []
    for x, y in batches(bench, "train", limit):
        after = attack(moved, x, y).loss
        with torch.no_grad():
            rises.append(after.double() - bench.loss(fit.model(x), y).double())
    return float(torch.cat(rises).mean())
