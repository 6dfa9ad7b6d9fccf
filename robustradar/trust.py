"""Whether an attack's word can be taken: signs that it failed on a network, which looks just like robustness.

After AutoAttack's checks (Croce and Hein 2020) and *Indicators of Attack Failure* (Pintor et al. 2022). The attack is set beside a simpler,
a blind, a longer, a weaker and an unlimited one on a few samples; where one of these does better than it may, the score gets a flag.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from robustradar import guard
from robustradar.contract.attack import Attack, Loss, Victim
from robustradar.contract.declaration import parameters
from robustradar.contract.metric import Attacked
from robustradar.errors import Failure
from robustradar.judge import Guarded
from robustradar.numerics.balls import norm, steepest

# Chosen here: one sample more or less of 64 is 1.6 points, about what is to be told apart, and the checks cost about what the attack costs
# on six times as many samples.
HEAD = 64
# Chosen here: AutoAttack warns of a single sample, but a trained network may well have one whose gradient underflows.
ZERO_SHARE = 0.05
# Of outputs of length 1; AutoAttack's check_randomized and check_range_output have the same.
SAME_OUTPUT = 1e-4
PROBABILITY = 1e-5
# Share of the loss gained over clean that counts as better, and the standard errors of the paired difference that it must exceed. The share
# is that of Pintor et al. for a loss that still moves; see test_attacks_that_work_are_not_flagged for both.
SHARE, ERRORS = 0.05, 2.0
# Chosen here: of 64, samples that a working attack may leave for another start to break; 2 at most in 336 trials.
LUCK = 2
# Chosen here: forward passes of the blind search. A masked network that is no better than a random corner of the ball needs no more.
QUERIES = 32
# Chosen here: accuracy under the measuring attack over that under the attack trained with, below which training has fooled the latter.
COLLAPSE = 0.5


@dataclass(frozen=True)
class Step(Attack):
    """The exact point of largest linearised loss, from the clean input."""

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """One step."""
        box = (x, victim.bounds) if victim.bounds else (None, None)
        return x + steepest(slope(victim.model, victim.loss, x, y), victim.p, victim.eps, *box)


@dataclass(frozen=True)
class Search(Attack):
    """The best of random extreme points, by outputs alone; for images every other one is striped, as Square Attack starts."""

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """The points of largest loss."""
        box = (x, victim.bounds) if victim.bounds else (None, None)
        best, top = x, torch.full_like(x.flatten(1)[:, 0], -torch.inf)
        for query in range(QUERIES):
            striped = x.ndim == 4 and query % 2 == 1
            shape = (*x.shape[:2], 1, x.shape[3]) if striped else x.shape
            drawn = torch.randn(shape, generator=victim.generator, device=x.device).expand(x.shape)
            point = x + steepest(drawn, victim.p, victim.eps, *box)
            with torch.no_grad():
                loss = victim.loss(victim.model(point), y)
            won = loss > top
            best, top = torch.where(won.view(-1, *[1] * (x.ndim - 1)), point, best), torch.where(won, loss, top)
        return best


def slope(model: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of the loss in x [N, *shape]; zeros where the outputs do not depend on x in a way that can be differentiated."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        value = loss(model(x), y).sum()
    if not value.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(value, x, allow_unused=True, materialize_grads=True)
    return gradient


def flags(guarded: Guarded, model: nn.Module, x: Tensor, y: Tensor, inner: float | None = None) -> tuple[str, ...]:
    """What speaks against scores that an attack gave on a network; empty where nothing does.

    Args:
        guarded: The attack; it is not run itself, only fresh copies of it.
        model: A trained network in evaluation mode.
        x: A few inputs [N, *shape], `HEAD` for the thresholds to be apt.
        y: Their targets.
        inner: For a network that was trained with an attack on the same threat: its evaluation accuracy under that attack.

    Returns:
        Flags in the order of `Trial.checks`. ``unchecked:CHECK`` stands for a check during which the attack or the network failed.

    Raises:
        Failure: Memory ran out.
    """
    if guarded.threat.eps == 0:
        return ()
    trial, verdicts, unchecked = Trial(guarded, model, x, y, inner), {}, []
    with guard.generators_restored():
        torch.manual_seed(guarded.seed)  # for networks that draw from the global generators
        for name, check in trial.checks().items():
            try:
                verdicts[name] = guard.call(guarded.culprit, check)
            except Failure as failure:
                if not failure.lasting:
                    raise
                unchecked.append(f"unchecked:{name}")
    found = torch.stack([verdict.float() for verdict in verdicts.values()]).tolist() if verdicts else []  # the only wait for the device
    shares = dict(zip(verdicts, found, strict=True))
    zeros = shares.pop("zero-gradients", 0.0)
    still = (f"zero-gradients:{100 * zeros:.0f}%",) if zeros > ZERO_SHARE else ()
    return (*still, *(name for name, fired in shares.items() if fired), *unchecked)


class Trial:
    """An attack on a few samples, and what it is set beside; each part is computed once, when a check first needs it.

    Args:
        guarded: The attack.
        model: A trained network in evaluation mode.
        x: Inputs [N, *shape].
        y: Targets.
        inner: Accuracy under the attack that it was trained with, or None.
    """

    def __init__(self, guarded: Guarded, model: nn.Module, x: Tensor, y: Tensor, inner: float | None) -> None:
        self.guarded, self.model, self.x, self.y, self.inner = guarded, model, x, y, inner
        self.exact = guarded.kind == "max_loss"

    def checks(self) -> dict[str, Callable[[], Tensor]]:
        """The checks that apply, each a number on the device: whether it fires, or for ``zero-gradients`` the share of samples."""
        checks = {"zero-gradients": self.zero_gradients, "random-output": self.random_output}
        classes = self.guarded.classes is not None
        if classes:
            checks["softmax-output"] = self.softmax_output
        checks |= {"one-step-beats-many": self.one_step_beats_many, "black-box-beats-white-box": self.black_box_beats_white_box}
        if self.exact and classes:
            checks["unbounded-fails"] = self.unbounded_fails
        if any(field.name == "steps" for field in parameters(self.guarded.attack)):
            checks["still-rising"] = self.still_rising
        if self.exact:
            checks["flat-in-eps"] = self.flat_in_eps
        if self.inner is not None:
            checks["catastrophic-overfitting"] = self.catastrophic_overfitting
        return checks

    @cached_property
    def outputs(self) -> Tensor:
        """Of the clean inputs [N, K]."""
        with torch.no_grad():
            z: Tensor = self.model(self.x)
        return z

    @cached_property
    def clean(self) -> Tensor:
        """Clean losses [N]."""
        return self.guarded.loss(self.outputs, self.y)

    @cached_property
    def attacked(self) -> Attacked:
        """By the attack as it is."""
        return self._by(self.guarded.variant())

    def zero_gradients(self) -> Tensor:
        """The share of samples whose loss has a gradient of exactly zero, so that gradient attacks stand still."""
        still: Tensor = (slope(self.model, self.guarded.loss, self.x, self.y) == 0).flatten(1).all(1)
        return still.float().mean()

    def random_output(self) -> Tensor:
        """Two passes over the same inputs differ."""
        first = self.outputs
        with torch.no_grad():
            second = self.model(self.x)
        moved: Tensor = torch.linalg.vector_norm(second - first, dim=1) > SAME_OUTPUT * torch.linalg.vector_norm(first, dim=1)
        return moved.any()

    def softmax_output(self) -> Tensor:
        """Outputs are probabilities, of which cross-entropy takes the softmax again: gradients shrink, losses are capped."""
        z = self.outputs
        return (z > -PROBABILITY).all() & ((z.sum(1) - 1).abs() < PROBABILITY).all()

    def one_step_beats_many(self) -> Tensor:
        """One exact step has clearly larger losses; or, where the attack is not after losses, breaks more samples."""
        step = self._by(self.guarded.variant(attack=Step()))
        return self._louder(step) if self.exact else self._breaks(step)

    def black_box_beats_white_box(self) -> Tensor:
        """Blind search, sample by sample beside the attack, adds clearly to it."""
        blind, found = self._by(self.guarded.variant(attack=Search())), self.attacked
        return self._better(dataclasses.replace(blind, loss=torch.maximum(blind.loss, found.loss), correct=blind.correct & found.correct))

    def unbounded_fails(self) -> Tensor:
        """In a ball that reaches from every input to every other, answers are right clearly more often than a constant answer's are."""
        threat, n = self.guarded.threat, len(self.y)
        low, high = (torch.full(self.x.shape[1:], end) for end in threat.bounds) if threat.bounds else (self.x.amin(0), self.x.amax(0))
        right = self._by(self.guarded.variant(eps=max(norm((high - low)[None], threat.p).item(), threat.eps))).correct.sum()
        chance = torch.bincount(self.y).max() / n
        return right > n * chance + ERRORS * (n * chance * (1 - chance)).sqrt()

    def still_rising(self) -> Tensor:
        """Twice the steps do clearly better."""
        steps = 2 * getattr(self.guarded.attack, "steps")  # noqa: B009 (declared by the plugin)
        longer = dataclasses.replace(self.guarded.attack, **{"steps": steps})
        return self._better(self._by(self.guarded.variant(attack=longer)))

    def flat_in_eps(self) -> Tensor:
        """The loss gained at half the strength is all that is gained, although not every sample is broken."""
        half = (self._by(self.guarded.variant(eps=self.guarded.threat.eps / 2)).loss - self.clean).mean()
        whole = (self.attacked.loss - self.clean).mean()
        standing = self.attacked.correct.any() if self.guarded.classes is not None else True
        return (half >= (1 - SHARE) * whole) & standing

    def catastrophic_overfitting(self) -> Tensor:
        """Right answers under the attack are clearly fewer than under the one that the network was trained with (Wong et al. 2020)."""
        inner, accuracy = self.inner or 0.0, self.attacked.correct.float().mean()
        error = math.sqrt(inner * (1 - inner) / len(self.y))
        return (accuracy < COLLAPSE * inner) & (accuracy < inner - ERRORS * error)

    def _by(self, other: Guarded) -> Attacked:
        return other(self.model, self.x, self.y)

    def _better(self, other: Attacked) -> Tensor:
        """Whether another attack breaks more samples or, where the attack is after losses, has larger ones."""
        return self._breaks(other) | self._louder(other) if self.exact else self._breaks(other)

    def _breaks(self, other: Attacked) -> Tensor:
        """Whether another attack breaks more samples than luck explains."""
        return self.attacked.correct.sum() - other.correct.sum() > LUCK

    def _louder(self, other: Attacked) -> Tensor:
        """Whether another attack's losses are larger by more than a share of what it gained, and by more than chance explains."""
        gain, more = other.loss - self.clean, other.loss - self.attacked.loss
        error = more.std(correction=0) / math.sqrt(len(more))
        return (more.mean() > SHARE * gain.mean()) & (more.mean() > ERRORS * error)
