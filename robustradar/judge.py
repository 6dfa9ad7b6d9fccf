"""Runs an attack under the guard and judges what comes back: ball, box, losses and success are the host's to say."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from robustradar import guard
from robustradar.contract.attack import Attack, Kind, Loss, Victim
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

    Attributes:
        met: The models that it was measured on so far.
    """

    # Whether BatchNorm uses the batch's statistics while `perturb` runs; a recipe may ask for it.
    batch_statistics = False

    def __init__(self, attack: Attack, culprit: str, threat: Threat, classes: int | None, seed: int) -> None:
        self.attack, self.culprit, self.threat, self.classes = attack, culprit, threat, classes
        self.loss = losses.of(classes)
        self.seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}
        self._worst: list[Tensor] = []
        self.met: list[nn.Module] = []

    def variant(self, *, eps: float | None = None, attack: Attack | None = None) -> Guarded:
        """A fresh one of the same chance, at another strength or with another attack in its place."""
        threat = self.threat if eps is None else self.threat.at(eps)
        return Guarded(attack or self.attack, self.culprit, threat, self.classes, self.seed)

    @property
    def kind(self) -> Kind:
        """What the attack estimates."""
        return self.attack.kind

    def reseed(self) -> None:
        """Starts the attack's generator again, so that one pass over the data repeats another."""
        self._generators.clear()

    def forget(self) -> None:
        """Starts anew, as if it had never been called."""
        self.reseed()
        self._worst.clear()

    def chance(self) -> Tensor | None:
        """The state of the attack's generator, for a checkpoint; None before its first use."""
        return next((generator.get_state() for generator in self._generators.values()), None)

    def resume(self, chance: Tensor | None, where: torch.device) -> None:
        """Goes back to a state of the generator."""
        self._generators.clear()
        if chance is not None:
            where = torch.empty(0, device=where).device  # with its number, as inputs have it
            self._generators[where] = torch.Generator(where)
            self._generators[where].set_state(chance)

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, loss: Loss | None = None) -> Tensor:
        """Perturbed inputs inside ball and box [N, *shape], without a look at losses.

        Args:
            model: In any mode; it comes back in the same.
            x: Clean inputs [N, *shape].
            y: Targets [N].
            loss: What the adversary increases instead of the task's loss.

        Raises:
            Failure: The attack raised, changed the model, or returned something else than inputs. Whether they were finite is told by
                `verify`, once for all batches.
        """
        x = _exact_enough(x, model)
        if self.threat.eps == 0:
            return x
        raw = self._raw(model, x, y, loss or self.loss, batch_statistics=self.batch_statistics)
        self._worst.append(0 * losses.widened(raw).sum())  # NaN where a value is NaN or infinite
        return self._confined(x, raw, self.threat.eps * self.attack.reach)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Attacked:
        """The attack's outcome on a batch, judged by the host.

        Raises:
            Failure: As for `perturb`. Whether the ball was kept is told by `verify`, once for all batches.
        """
        self.meet(model)
        x = _exact_enough(x, model)
        with torch.no_grad():
            z = model(x)
            clean, right = self.loss(z, y), losses.correct(z, y, self.classes)
        if self.threat.eps == 0:
            return Attacked(x, clean, right, clean, right)
        raw = self._raw(model, x, y, self.loss)
        distance = balls.norm(losses.widened(raw) - losses.widened(x), self.threat.p) / self.threat.eps
        if self.attack.kind == "min_norm":
            # What lies beyond the ball is no attack within it; a NaN is neither, and stays for `verify` to find.
            beyond = distance > 1 + 1e-6
            raw = torch.where(_column(beyond, x), x, raw)
            distance = torch.where(beyond, 0.0, distance)
        self._worst.append(distance.amax() / self.attack.reach)
        x_adv = self._confined(x, raw, self.threat.eps)
        with torch.no_grad():
            z = model(x_adv)
            adversarial = self.loss(z, y)
            robust = right & losses.correct(z, y, self.classes)
        if self.attack.kind == "max_loss":
            worse = adversarial > clean
            x_adv = torch.where(_column(worse, x), x_adv, x)
            adversarial = torch.where(worse | adversarial.isnan(), adversarial, clean)
        return Attacked(x_adv, adversarial, robust, clean, right)

    def meet(self, model: nn.Module) -> None:
        """Notes that it is measured on a model."""
        if not any(model is other for other in self.met):
            self.met.append(model)

    def verify(self) -> None:
        """Says whether every perturbation so far was finite and kept to the ball. One look for all, so an accelerator need not wait.

        Raises:
            Failure: It did not.
        """
        worst = torch.stack(self._worst).amax().item() if self._worst else 0.0
        self._worst.clear()
        if not math.isfinite(worst):
            raise Failure(self.culprit, "perturb() returned NaN or infinity, expected finite inputs. Does it divide by a gradient of zero?")
        if worst > 1 + TOLERANCE:
            raise Failure(self.culprit, f"left the {self.threat} ball: got ‖δ‖ = {worst:.4g}·ε, expected at most ε.")

    def _raw(self, model: nn.Module, x: Tensor, y: Tensor, loss: Loss, *, batch_statistics: bool = False) -> Tensor:
        """What the attack returns, its form checked."""
        if x.device not in self._generators:
            self._generators[x.device] = torch.Generator(x.device).manual_seed(self.seed)
        threat, generator = self.threat, self._generators[x.device]
        victim = Victim(model, loss, threat.p, threat.eps, threat.bounds, generator)
        with guard.untouched(self.culprit, model, batch_statistics=batch_statistics):
            raw = guard.call(self.culprit, lambda: self.attack.perturb(victim, x.detach(), y))
        return self._formed(raw, x)

    def _formed(self, raw: object, x: Tensor) -> Tensor:
        """What came back, if it has the form of inputs: whatever its annotation says, a plugin may return anything."""
        if not isinstance(raw, Tensor) or raw.shape != x.shape:
            got = list(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
            raise Failure(self.culprit, f"perturb() returned {got}, expected a tensor of shape {list(x.shape)}.")
        return raw.detach().to(x.device)

    def _confined(self, x: Tensor, raw: Tensor, eps: float) -> Tensor:
        """Inside ball and box, in float32 at least. What is not finite stays where it was, so that a loss that is not is the network's."""
        wide = losses.widened(x)
        delta = (raw.to(wide.dtype) - wide).nan_to_num_(0.0, 0.0, 0.0)
        return (wide + balls.confine(wide, delta, self.threat.p, eps, self.threat.bounds)).to(x.dtype)


def _exact_enough(x: Tensor, model: nn.Module) -> Tensor:
    """The inputs in the precision of a model that has more than they: what a float64 network is asked is answered to float64."""
    weight = next(model.parameters(), x)
    return x.to(torch.promote_types(x.dtype, weight.dtype)) if weight.dtype == torch.float64 else x


def _column(mask: Tensor, x: Tensor) -> Tensor:
    """A per-sample mask [N] that broadcasts over x [N, *shape]."""
    return mask.view(-1, *[1] * (x.ndim - 1))
