"""The objectives of training, per sample: mixtures of clean and adversarial cross-entropy, TRADES, MART."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustradar import guard
from robustradar.judge import Guarded
from robustradar.training import loss as losses
from robustradar.values import Objective


@dataclass(frozen=True, eq=False)
class Passes:
    """A batch's outputs [N, K], as far as the objective needs them."""

    clean: Tensor | None
    adversarial: Tensor | None


def passes(network: nn.Module, x: Tensor, y: Tensor, objective: Objective, attack: Guarded | None) -> Passes:
    """Runs the inner attack and the network on one batch, in the mode that the network is in.

    TRADES looks for the input whose answer is farthest from the clean one's, in evaluation mode (Zhang et al. 2019); the others for the
    largest loss.
    """
    clean = network(x) if objective.form != "mixture" or objective.xi < 1 else None
    if attack is None:
        return Passes(clean, None)
    x_adv = attack.perturb(network, x, y, _reference(network, x, attack) if objective.form == "trades" else None)
    return Passes(clean, network(x_adv))


def loss(objective: Objective, found: Passes, y: Tensor, classes: int | None, smoothing: float = 0.0) -> Tensor:
    """The objective's loss of each sample [N].

    mixture: (1 − ξ)·l(x) + ξ·l(x′)                                                     [T, section 2]
    trades:  CE(x) + β·KL(p(x) ‖ p(x′))                                                 Zhang et al. 2019, equation 5
    mart:    BCE(x′) + β·KL(p(x) ‖ p(x′))·(1 − p_y(x)),                                 Wang et al. 2020, equation 9
             BCE(x′) = −log p_y(x′) − log(1 − max_{k≠y} p_k(x′)), where 1 − p_k is the sum of the others

    Args:
        objective: Which.
        found: Outputs [N, K].
        y: Targets [N], or [N, T] for regression.
        classes: Number of classes; None for regression with squared loss.
        smoothing: Label smoothing of the cross-entropies of a mixture or of TRADES' first term, in [0, 1).

    Raises:
        TypeError: A pass that the objective needs is missing.
    """
    z, z_adv = found.clean, found.adversarial
    if objective.form == "mixture":
        parts = [(w, part) for w, part in ((1 - objective.xi, z), (objective.xi, z_adv)) if w > 0 and part is not None]
        # A lone part is not weighted: each operation counts in a small network's step.
        terms = [_fit(part, y, classes, smoothing) if w == 1 else w * _fit(part, y, classes, smoothing) for w, part in parts]
        return terms[0] if len(terms) == 1 else terms[0] + terms[1]
    if z is None or z_adv is None:
        raise TypeError(f"{objective} needs both passes")
    if objective.form == "trades":
        return _fit(z, y, classes, smoothing) + objective.beta * divergence(z, z_adv)
    log_p = functional.log_softmax(losses.widened(z_adv), 1)
    rival = log_p.scatter(1, y[:, None], -torch.inf).argmax(1, keepdim=True)
    boosted = -log_p.gather(1, y[:, None])[:, 0] - log_p.scatter(1, rival, -torch.inf).logsumexp(1)
    truth = functional.softmax(losses.widened(z), 1).gather(1, y[:, None])[:, 0]
    return boosted + objective.beta * divergence(z, z_adv) * (1 - truth)


def judged(network: nn.Module, x: Tensor, y: Tensor, objective: Objective, attack: Guarded | None, classes: int | None) -> Tensor:
    """The objective's loss of each sample [N], without gradients, in the mode that the network is in.

    A mixture's adversarial part is the worst of what the attack found, the clean input included.
    """
    if attack is not None and objective.form == "mixture":
        attacked = attack(network, x, y)
        return attacked.loss if objective.xi == 1 else (1 - objective.xi) * attacked.clean_loss + objective.xi * attacked.loss
    if attack is not None:
        attack.meet(network)
    with torch.no_grad():
        return loss(objective, passes(network, x, y, objective, attack), y, classes)


def divergence(z: Tensor, z_adv: Tensor) -> Tensor:
    """KL(p(x) ‖ p(x′)) in nats from logits [N, K], per sample [N].

    >>> divergence(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.0]])).item()
    0.0
    """
    log_p, log_q = (functional.log_softmax(losses.widened(part), 1) for part in (z, z_adv))
    return functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def _fit(z: Tensor, y: Tensor, classes: int | None, smoothing: float) -> Tensor:
    """Cross-entropy with label smoothing, or the squared error."""
    if smoothing and classes is not None:
        return functional.cross_entropy(losses.widened(z), y, reduction="none", label_smoothing=smoothing)
    return losses.of(classes)(z, y)


def _reference(network: nn.Module, x: Tensor, attack: Guarded) -> Callable[[Tensor, Tensor], Tensor]:
    """The divergence from the clean answer, in the mode that the attack meets the network in, as a loss of (outputs, targets)."""
    with guard.untouched(attack.culprit, network, batch_statistics=attack.batch_statistics), torch.no_grad():
        z = network(x)

    def from_clean(z_adv: Tensor, _: Tensor) -> Tensor:
        return divergence(z, z_adv)

    return from_clean
