"""The extension point for metrics: what a metric needs, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from robustradar.contract.declaration import Declaration, fixed
from robustradar.values import Column, FitRecord, Objective, Outcome, Task, Threat

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robustradar.contract.attack import Kind, Loss

T = TypeVar("T")


@dataclass(frozen=True)
class FitNeed:
    """A trained network that a metric reads.

    Attributes:
        objective: What it is trained for.
        threat: For adversarial objectives; None: the study's.
        attack: The inner attack's name; None: the study's.
        start: The fit whose weights it starts from; None: a fresh initialisation.
        recipe: Numbers of the study's recipe that this fit has otherwise, by name, such as ``{"epochs": 5}``.
    """

    objective: Objective
    threat: Threat | None = None
    attack: str | None = None
    start: FitNeed | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class AttackNeed:
    """An attack that a metric runs.

    Attributes:
        attack: Its name; None: the study's.
        threat: None: the study's.
        loss: Whether the metric reads adversarial losses; only a ``max_loss`` attack may then serve.
    """

    attack: str | None = None
    threat: Threat | None = None
    loss: bool = True


@dataclass(frozen=True)
class Needs:
    """What the host must have ready before `Metric.measure`, under labels of the metric's choice.

    Attributes:
        fits: The networks to train.
        attacks: The attacks to bind.
        further: How many fits `Bench.train` may be asked for at most, for searches whose next step hangs on the last.
    """

    fits: Mapping[str, FitNeed] = field(default_factory=dict)
    attacks: Mapping[str, AttackNeed] = field(default_factory=dict)
    further: int = 0


@dataclass(frozen=True)
class Attacked:
    """What the host found after an attack on one batch.

    Attributes:
        x: The inputs that count [N, *shape], inside ball and box.
        loss: Their losses [N], never below the clean ones for a ``max_loss`` attack.
        correct: Whether the answer on x and on the clean input is right [N]; all false for regression.
        clean_loss: Losses of the clean inputs [N].
        clean_correct: Whether their answers are right [N].
    """

    x: Tensor
    loss: Tensor
    correct: Tensor
    clean_loss: Tensor
    clean_correct: Tensor


class Batches(Protocol):
    """One split on the device, in batches of inputs (float32, the data's own units) and targets; the same at every iteration."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...

    def __len__(self) -> int:
        """The number of samples."""

    def spread(self, limit: int) -> tuple[Tensor, Tensor]:
        """At most so many samples as one batch, evenly over the split, which may be sorted by class; the same at every call."""


class Judged(Protocol):
    """An attack under the guard, bound to its threat."""

    @property
    def kind(self) -> Kind:
        """What the attack estimates; only ``max_loss`` ones give losses that mean anything."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Attacked:
        """Attacks one batch and judges what comes back."""


def _none(*_: object) -> Any:
    """What a bench without a host has to give."""
    raise TypeError("bench: got a request for a fit, an attack or losses, expected a bench of the host's. Measure by robustradar rank.")


def _computed(_: Hashable, compute: Callable[[], Any]) -> Any:
    """An analysis that nobody shares."""
    return compute()


@dataclass(frozen=True)
class Fit:
    """A trained network as a metric gets it: a private copy in evaluation mode.

    Attributes:
        model: The copy.
        record: What is known of the fit.
        share: How `analysis` keeps what it finds. The host's business; by default nothing is kept.
    """

    model: nn.Module
    record: FitRecord
    share: Callable[[Hashable, Callable[[], Any]], Any] = field(default=_computed, repr=False, compare=False)

    def analysis(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What `compute` returns, made once for all metrics of this fit and kept until the next candidate's turn.

        For what is dear and needed more than once, such as the Krylov space of a network. A metric that asks with an equal key gets the
        same object, and what it took is in the cost of the metric that asked first.

        Args:
            key: All that decides the result beside the fit: a frozen dataclass of settings, with threat and seed where they matter. It and
                `compute` belong in one place, so that equal keys mean equal results.
            compute: Makes it from this fit's model, as it was lent. It must not run attacks, whose flags would reach the first metric only,
                and draws from a generator of its own. It returns vectors and numbers, detached and small enough to be kept for
                every seed, which nobody changes; never the network, its parameters or a closure over them, which would stay in memory. What
                it raises goes to the caller, and nothing is kept.

        Raises:
            TypeError: The key is not hashable.
            ValueError: The metric has changed the model, so that what it computes would be wrong for the others.
        """
        try:
            hash(key)
        except TypeError as error:
            raise TypeError(f"fit.analysis: got a key with {error}, expected a hashable one. Use a frozen dataclass of settings.") from None
        found: T = self.share(key, compute)
        return found


@dataclass(frozen=True)
class Bench:
    """All that a metric may use.

    Attributes:
        task: Facts of the data.
        threat: The study's threat.
        fits: The fits that were asked for, by label.
        attacks: The attacks that were asked for, by label, under the guard.
        splits: ``train``, ``evaluation`` and, where there is one, ``final``.
        loss: Losses per sample [N]: cross-entropy in nats, or the squared error summed over targets.
        network: A freshly built, untrained network, normalisation included, on the device and in evaluation mode.
        seed: For any chance of the metric's own.
        train: A fit that the results so far call for: trained now, or taken from the store; at most `Needs.further` different ones. It is
            kept, so that a measurement which is interrupted repeats none of it.
        attack: An attack at a strength that the results so far call for. Each call gives a fresh one of the same chance.
        losses: An objective's loss of each sample [N] of (model, x, y, objective, attack), the network in evaluation mode; the adversary's
            part is never below what the clean input gives where the objective is a mixture.
    """

    task: Task
    threat: Threat
    fits: Mapping[str, Fit]
    attacks: Mapping[str, Judged]
    splits: Mapping[str, Batches]
    loss: Loss
    network: Callable[[], nn.Module]
    seed: int
    train: Callable[[FitNeed], Fit] = field(default=_none, repr=False)
    attack: Callable[[AttackNeed], Judged] = field(default=_none, repr=False)
    losses: Callable[[nn.Module, Tensor, Tensor, Objective, Judged | None], Tensor] = field(default=_none, repr=False)


@dataclass(frozen=True)
class Metric(Declaration, ABC):
    """A way to score a candidate.

    Attributes:
        columns: The numbers that it yields; the first that applies is its headline, by which rankers rank unless told otherwise.
        evidence: What is known of how well its columns order architectures by robustness after adversarial training: a sentence or two with
            the figures, for reports. Empty: nothing is known, which reports say.
    """

    columns: tuple[Column, ...] = fixed(())
    evidence: str = fixed("")

    @abstractmethod
    def needs(self, task: Task, threat: Threat) -> Needs:
        """The fits and attacks to have ready. Pure: called while planning, before anything is trained."""

    @abstractmethod
    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """One outcome for every declared column. Called once a candidate and seed; without fits and attacks, once a candidate."""

    def review(self, outcomes: Mapping[str, Mapping[str, Outcome]]) -> Mapping[str, Mapping[str, Outcome]]:
        """What remains of the outcomes once those of all candidates are known: here all of it.

        For verdicts that no candidate allows alone: an order that hangs on a setting, or numbers of two kinds in one ranking. Called once
        a seed, also for a single candidate, when everything is measured; the store keeps what was measured. Rankers go on to a
        metric's next column where its headline is withheld from all: withhold what means nothing without it, too.

        Args:
            outcomes: Candidate's label to column to outcome, skipped and failed ones included; a copy.

        Returns:
            The same candidates and columns. A `Measured` may have more flags (`dataclasses.replace`), or become `Skipped` with a reason;
            anything else that differs, or an exception, fails the metric for all candidates at this seed.
        """
        return outcomes
