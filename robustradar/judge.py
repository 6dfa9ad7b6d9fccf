"""Runs an attack under the guard and judges what comes back: ball, box, losses and success are the host's to say."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustradar import guard
from robustradar.contract.attack import Attack, Kind, Victim
from robustradar.contract.metric import Attacked
from robustradar.errors import Failure
from robustradar.numerics import balls
from robustradar.training import loss as losses
from robustradar.values import Threat

# An attack may miss the ball by rounding (bfloat16 and long sums do); what is farther out is a breach of contract.
TOLERANCE = 1e-3


class Guarded:
    """An attack bound to a threat: `perturb` for training, a call for measuring.

    Args:
        attack: The declaration.
        culprit: Who is to be named when it fails.
        threat: Ball and box.
        classes: Number of classes; None for regression.
        seed: Of the attack's own generator.
    """

    def __init__(self, attack: Attack, culprit: str, threat: Threat, classes: int | None, seed: int) -> None:
        self.attack, self.culprit, self.threat, self.classes = attack, culprit, threat, classes
        self.loss = losses.squared if classes is None else losses.cross_entropy
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}
        self._worst: list[Tensor] = []

    @property
    def kind(self) -> Kind:
        """What the attack estimates."""
        return self.attack.kind

    def reseed(self) -> None:
        """Starts the attack's generator again, so that one pass over the data repeats another."""
        self._generators.clear()

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Perturbed inputs inside ball and box [N, *shape], without a look at losses.

        Raises:
            Failure: The attack raised, changed the model, or returned something else than inputs.
        """
        if self.threat.eps == 0:
            return x
        raw = self._raw(model, x, y)
        return self._confined(x, raw)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Attacked:
        """The attack's outcome on a batch, judged by the host.

        Raises:
            Failure: As for `perturb`. Whether the ball was kept is told by `verify`, once for all batches.
        """
        with torch.no_grad():
            z = model(x)
            clean, right = self.loss(z, y), losses.correct(z, y, self.classes)
        if self.threat.eps == 0:
            return Attacked(x, clean, right)
        raw = self._raw(model, x, y)
        if self.attack.kind == "min_norm":
            # What lies beyond the ball is no attack within it.
            inside = balls.norm(raw.float() - x.float(), self.threat.p) <= self.threat.eps * (1 + 1e-6)
            raw = torch.where(_column(inside, x), raw, x)
        else:
            self._worst.append((balls.norm(raw.float() - x.float(), self.threat.p) / self.threat.eps).amax())
        x_adv = self._confined(x, raw)
        with torch.no_grad():
            z = model(x_adv)
            adversarial = self.loss(z, y)
            right = right & losses.correct(z, y, self.classes)
        if self.attack.kind == "max_loss":
            worse = adversarial > clean
            x_adv = torch.where(_column(worse, x), x_adv, x)
            adversarial = torch.where(worse | adversarial.isnan(), adversarial, clean)
        return Attacked(x_adv, adversarial, right)

    def verify(self) -> None:
        """Says whether every perturbation so far kept to the ball. One look for all batches, so that an accelerator need not wait.

        Raises:
            Failure: It did not.
        """
        worst = torch.stack(self._worst).amax().item() if self._worst else 0.0
        if not worst <= 1 + TOLERANCE:  # so that a NaN is no member of the ball
            raise Failure(self.culprit, f"left the {self.threat} ball: got ‖δ‖ = {worst:.4g}·ε, expected at most ε.")
        self._worst.clear()

    def _raw(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """What the attack returns, its form checked."""
        if x.device not in self._generators:
            self._generators[x.device] = torch.Generator(x.device).manual_seed(self._seed)
        threat, generator = self.threat, self._generators[x.device]
        victim = Victim(model, self.loss, threat.p, threat.eps, threat.bounds, generator)
        with guard.untouched(self.culprit, model):
            raw = guard.call(self.culprit, lambda: self.attack.perturb(victim, x.detach(), y))
        shape = getattr(raw, "shape", None)  # whatever its annotation says, a plugin may return anything
        if shape != x.shape:
            got = type(raw).__name__ if shape is None else list(shape)
            raise Failure(self.culprit, f"perturb() returned {got}, expected a tensor of shape {list(x.shape)}.")
        return raw.detach().to(x.device)

    def _confined(self, x: Tensor, raw: Tensor) -> Tensor:
        """Inside ball and box, in float32."""
        delta = raw.float() - x.float()
        return (x.float() + balls.confine(x.float(), delta, self.threat.p, self.threat.eps, self.threat.bounds)).to(x.dtype)


def _column(mask: Tensor, x: Tensor) -> Tensor:
    """A per-sample mask [N] that broadcasts over x [N, *shape]."""
    return mask.view(-1, *[1] * (x.ndim - 1))
