"""The extension point for metrics: what a metric needs, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from robustradar.contract.declaration import Declaration, fixed
from robustradar.values import Column, FitRecord, Objective, Outcome, Task, Threat

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robustradar.contract.attack import Kind, Loss


@dataclass(frozen=True)
class FitNeed:
    """A trained network that a metric reads.

    Attributes:
        objective: What it is trained for.
        threat: For adversarial objectives; None: the study's.
        attack: The inner attack's name; None: the study's.
        start: The fit whose weights it starts from; None: a fresh initialisation.
    """

    objective: Objective
    threat: Threat | None = None
    attack: str | None = None
    start: FitNeed | None = None


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
    """What the host must have ready before `Metric.measure`, under labels of the metric's choice."""

    fits: Mapping[str, FitNeed] = field(default_factory=dict)
    attacks: Mapping[str, AttackNeed] = field(default_factory=dict)


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


class Judged(Protocol):
    """An attack under the guard, bound to its threat."""

    @property
    def kind(self) -> Kind:
        """What the attack estimates; only ``max_loss`` ones give losses that mean anything."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Attacked:
        """Attacks one batch and judges what comes back."""


@dataclass(frozen=True)
class Fit:
    """A trained network as a metric gets it: a private copy in evaluation mode."""

    model: nn.Module
    record: FitRecord


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
    """

    task: Task
    threat: Threat
    fits: Mapping[str, Fit]
    attacks: Mapping[str, Judged]
    splits: Mapping[str, Batches]
    loss: Loss
    network: Callable[[], nn.Module]
    seed: int


@dataclass(frozen=True)
class Metric(Declaration, ABC):
    """A way to score a candidate.

    Attributes:
        columns: The numbers that it yields; the first that applies is its headline, by which rankers rank unless told otherwise.
    """

    columns: tuple[Column, ...] = fixed(())

    @abstractmethod
    def needs(self, task: Task, threat: Threat) -> Needs:
        """The fits and attacks to have ready. Pure: called while planning, before anything is trained."""

    @abstractmethod
    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """One outcome for every declared column. Called once a candidate and seed; without fits and attacks, once a candidate."""
