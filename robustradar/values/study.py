"""What is asked: references, threats, objectives, tasks, and the study that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from robustradar.values.text import JSON, number_text


@dataclass(frozen=True)
class Ref:
    """One declared thing with all its parameters bound: ``papers/mlp:width=32``.

    Attributes:
        id: ``plugin/name``.
        parameters: Every parameter with its value, in the declaration's order.
        source: Who declared it: distribution, version and digest of the plugin's code. Part of every key, so that a changed plugin
            never meets a number of the old one.
        label: The id with the parameters that differ from their defaults, as a user would type it. Not part of the key.
    """

    id: str
    parameters: tuple[tuple[str, Any], ...]
    source: str
    label: str = field(compare=False)

    def json(self) -> JSON:
        """The key's part of this reference."""
        return {"id": self.id, "parameters": dict(self.parameters), "source": self.source}


@dataclass(frozen=True)
class Threat:
    """The perturbations that an adversary may choose: ‖δ‖_p ≤ ε, and x+δ inside the box where the data have one.

    Attributes:
        p: The norm's order in [1, ∞].
        eps: ε ≥ 0, in the data's own units.
        bounds: The box's lower and upper end, or None for unbounded data.
    """

    p: float
    eps: float
    bounds: tuple[float, float] | None

    @property
    def norm(self) -> str:
        """The norm's name.

        >>> Threat(float("inf"), 0.1, (0.0, 1.0)).norm, Threat(1.5, 0.1, None).norm
        ('linf', 'l1.5')
        """
        return f"l{number_text(self.p)}"

    def at(self, eps: float) -> Threat:
        """The same threat at another strength."""
        return Threat(self.p, eps, self.bounds)

    def __str__(self) -> str:
        return f"{self.norm} {number_text(self.eps)}"

    def json(self) -> JSON:
        """As keys and results hold it."""
        return {"norm": self.norm, "eps": self.eps, "bounds": list(self.bounds) if self.bounds else None}


@dataclass(frozen=True)
class Objective:
    """What training minimises.

    Attributes:
        xi: ξ in [0, 1] of the mixture (1−ξ)·clean + ξ·adversarial loss [T, section 2]; 0 is clean training, 1 adversarial training.
        form: ``mixture``, ``trades`` (Zhang et al. 2019) or ``mart`` (Wang et al. 2020); for the latter two ξ is 1.
        beta: β ≥ 0, the weight of the divergence in TRADES and MART.
    """

    xi: float = 1.0
    form: Literal["mixture", "trades", "mart"] = "mixture"
    beta: float = 0.0

    @property
    def adversarial(self) -> bool:
        """Whether an attack is needed to train with it."""
        return self.xi > 0

    def __str__(self) -> str:
        if self.form != "mixture":
            return f"{self.form}:beta={number_text(self.beta)}"
        return {0.0: "clean", 1.0: "adversarial"}.get(self.xi, f"mixture:xi={number_text(self.xi)}")

    def json(self) -> JSON:
        """The key's part."""
        return {"form": self.form, "xi": self.xi, "beta": self.beta}


CLEAN = Objective(0.0)


ADVERSARIAL = Objective(1.0)


@dataclass(frozen=True)
class Task:
    """What an architecture must fit: facts of a data set, read once.

    Attributes:
        data: The data set with its parameters.
        fingerprint: Digest of every array's content, dtype and shape.
        shape: One input's shape, without the batch: (channels, height, width) or (features,).
        outputs: Number of network outputs: classes, or regression targets.
        classes: Number of classes, or None for regression with squared loss.
        bounds: The inputs' range, or None.
        sizes: Number of samples of the splits: train, evaluation and, where there is one, final.
    """

    data: Ref
    fingerprint: str
    shape: tuple[int, ...]
    outputs: int
    classes: int | None
    bounds: tuple[float, float] | None
    sizes: Mapping[str, int] = field(hash=False)

    def json(self) -> JSON:
        """The key's part: which data, and exactly what was in them."""
        return {**self.data.json(), "fingerprint": self.fingerprint}


@dataclass(frozen=True)
class Weights:
    """A network that was trained elsewhere.

    Attributes:
        digest: SHA-256 of the file's content; part of every key.
        path: Where the file lies.
    """

    digest: str
    path: str = field(compare=False)


@dataclass(frozen=True)
class Study:
    """What is asked, with every name resolved."""

    name: str
    candidates: tuple[Ref, ...]
    task: Task
    threat: Threat
    attack: Ref
    recipe: Ref
    metrics: tuple[Ref, ...]
    ranker: Ref
    reporters: tuple[Ref, ...]
    seeds: tuple[int, ...]
    weights: Mapping[str, Weights] = field(default_factory=dict, hash=False)

    def json(self) -> JSON:
        """As a result holds it: labels that can be typed again."""
        return {
            "name": self.name,
            "candidates": [candidate.label for candidate in self.candidates],
            "data": {
                "id": self.task.data.label,
                "fingerprint": self.task.fingerprint,
                "shape": list(self.task.shape),
                "classes": self.task.classes,
                "bounds": list(self.task.bounds) if self.task.bounds else None,
                "sizes": dict(self.task.sizes),
            },
            "threat": self.threat.json(),
            "attack": self.attack.label,
            "recipe": {"id": self.recipe.label, "parameters": dict(self.recipe.parameters)},
            "metrics": [metric.label for metric in self.metrics],
            "ranker": self.ranker.label,
            "seeds": list(self.seeds),
            "weights": {candidate: given.digest for candidate, given in self.weights.items()},
        }
