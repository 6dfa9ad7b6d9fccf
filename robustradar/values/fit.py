"""What a plan consists of, and what is known of a finished fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robustradar.values.study import Objective, Ref, Task, Threat, Weights
from robustradar.values.text import JSON, digest


@dataclass(frozen=True)
class FitSpec:
    """One network to be trained: equal specifications have equal keys, and only they.

    Attributes:
        start: The fit whose weights it starts from; None: a fresh initialisation.
        weights: Given weights, which are then taken as they are instead of training; objective, attack and recipe do not matter.
    """

    architecture: Ref
    task: Task
    recipe: Ref
    objective: Objective
    threat: Threat | None
    attack: Ref | None
    seed: int
    engine: str
    start: FitSpec | None = None
    weights: Weights | None = None

    def json(self) -> JSON:
        """Everything that decides the weights."""
        return {
            "architecture": self.architecture.json(),
            "data": self.task.json(),
            "recipe": self.recipe.json(),
            "objective": self.objective.json(),
            "threat": self.threat.json() if self.threat else None,
            "attack": self.attack.json() if self.attack else None,
            "seed": self.seed,
            "engine": self.engine,
            "start": self.start.key if self.start else None,
            "weights": self.weights.digest if self.weights else None,
        }

    @property
    def key(self) -> str:
        """The fit's name in the store."""
        return digest(self.json())

    def __str__(self) -> str:
        if self.weights is not None:
            return f"{self.architecture.label} [given weights {self.weights.path}]"
        how = f"{self.objective} {self.threat} {self.attack.label}" if self.threat and self.attack else str(self.objective)
        return f"{self.architecture.label} [{how}, seed {self.seed}]"


@dataclass(frozen=True)
class AttackUse:
    """An attack as a metric uses it."""

    attack: Ref
    threat: Threat

    def json(self) -> JSON:
        """The key's part."""
        return {"attack": self.attack.json(), "threat": self.threat.json()}


@dataclass(frozen=True)
class Measurement:
    """One metric on one candidate at one seed.

    Attributes:
        threat: The study's, as are recipe and attack.
        seed: None where no fit and no chance is involved.
        weights: Given weights of the candidate.
        fits: What is trained before measuring, by the metric's labels.
        attacks: What is bound before measuring.
        further: How many fits the metric may ask for while it measures.
    """

    candidate: Ref
    metric: Ref
    task: Task
    threat: Threat
    recipe: Ref
    attack: Ref
    seed: int | None
    engine: str
    weights: Weights | None = None
    fits: tuple[tuple[str, FitSpec], ...] = ()
    attacks: tuple[tuple[str, AttackUse], ...] = ()
    further: int = 0

    @property
    def key(self) -> str:
        """The outcome's name in the store."""
        given = self.weights.digest if self.weights else None
        return digest(
            {
                "candidate": self.candidate.json(),
                "metric": self.metric.json(),
                "data": self.task.json(),
                "threat": self.threat.json(),
                "fits": {label: spec.key for label, spec in self.fits},
                "attacks": {label: use.json() for label, use in self.attacks},
                # What further fits and attacks come from; without them recipe and attack decide through those above alone.
                "further": {"recipe": self.recipe.json(), "attack": self.attack.json(), "weights": given} if self.further else None,
                "seed": self.seed,
                "engine": self.engine,
            }
        )


@dataclass(frozen=True)
class Cost:
    """Work done.

    Attributes:
        forward: Samples passed forward through the network, by training, attacks and evaluations together.
        backward: Samples passed backward. What differentiates a gradient counts three times, a forward derivative as three forward
            passes: by their operations.
        seconds: Wall-clock time.
        flops: Floating-point operations of these passes in convolutions and matrix products; a backward pass counts as much as a forward
            one for the inputs' gradients, and as much again where the weights' are taken.
        memory: Highest memory in use on an accelerator, in bytes; None on the CPU.
    """

    forward: int
    backward: int
    seconds: float
    flops: int = 0
    memory: int | None = None


@dataclass(frozen=True)
class FitRecord:
    """What is known of a finished fit. The weights lie beside it in the store.

    Attributes:
        key: The specification's key.
        spec: The specification as JSON.
        epochs: One entry an epoch: losses and accuracies, clean and adversarial, on the training split (running means while
            training) and the evaluation split; None where the objective does not need them.
        selected_epoch: The epoch whose weights are kept, as the recipe's `select` says, counted from 1; 0 for given weights.
        cost: What the training cost.
        flags: What is to be known before the fit is trusted.
    """

    key: str
    spec: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]
    selected_epoch: int
    cost: Cost
    flags: tuple[str, ...] = ()
