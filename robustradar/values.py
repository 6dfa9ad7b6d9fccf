"""The values that flow through a run: frozen, comparable, and JSON both ways.

A run reads from top to bottom: a `Study` says what is asked; a plan turns it into `FitSpec`s and `Measurement`s; these
yield `FitRecord`s and outcomes (`Measured`, `Skipped`, `Failed`); outcomes over seeds become `Score`s; scores become a
`Ranking`; a `Result` is all of it with its provenance. Nothing here imports torch, reads a file or knows a plugin.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

Direction = Literal["higher", "lower", "none"]
JSON = Any


def canonical(value: JSON) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN.

    >>> canonical({"b": 1, "a": (1, 2)})
    '{"a":[1,2],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest(value: JSON) -> str:
    """The content key of a JSON value: 40 hexadecimal digits of the SHA-256 of its canonical text.

    Equal numbers have equal keys, whole floats and integers too.

    >>> digest({"eps": 1}) == digest({"eps": 1.0})
    True
    """
    plain = json.loads(canonical(value), parse_float=_number)
    return hashlib.sha256(canonical(plain).encode()).hexdigest()[:40]


def _number(text: str) -> int | float:
    """A JSON number, as an integer where it is whole."""
    value = float(text)
    return int(value) if value.is_integer() else value


def number_text(number: float) -> str:
    """A number as a user would type it; multiples of 1/255 as fractions.

    >>> number_text(8 / 255), number_text(0.3), number_text(2.0), number_text(float("inf"))
    ('8/255', '0.3', '2', 'inf')
    """
    if math.isfinite(number) and len(repr(number)) > 8:
        quarters = round(number * 255 * 4)
        if 0 < abs(quarters) < 10**5 and float(Fraction(quarters, 4 * 255)) == number:
            return f"{quarters / 4:.8g}/255"
    # A plus sign joins the values of a tuple.
    return (f"{number:g}" if float(f"{number:g}") == number else repr(number)).replace("e+", "e")


def number(text: str) -> float:
    """A number as a user types it: decimal, or a fraction, exactly parsed before it is rounded once.

    Raises:
        ValueError: It is neither, or it is not finite.

    >>> number("8/255") == 8 / 255, number("1e-3")
    (True, 0.001)
    """
    top, slash, bottom = text.partition("/")
    value = float(Fraction(top) / Fraction(bottom)) if slash and Fraction(bottom) else float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not finite")
    return value


def norm_order(text: str) -> float:
    """The order p of a norm's name.

    Raises:
        ValueError: It is no norm, or p < 1.

    >>> norm_order("linf"), norm_order("l2"), norm_order("1.5")
    (inf, 2.0, 1.5)
    """
    name = text.lower().removeprefix("l")
    p = math.inf if name in ("inf", "infinity", "∞") else number(name)
    if p < 1:
        raise ValueError(f"p = {p:g} gives no norm")
    return p


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
class Weights:
    """A network that was trained elsewhere.

    Attributes:
        digest: SHA-256 of the file's content; part of every key.
        path: Where the file lies.
    """

    digest: str
    path: str = field(compare=False)


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
    """One metric on one candidate at one seed (None where no fit and no chance is involved)."""

    candidate: Ref
    metric: Ref
    task: Task
    threat: Threat
    fits: tuple[tuple[str, FitSpec], ...]
    attacks: tuple[tuple[str, AttackUse], ...]
    seed: int | None
    engine: str

    @property
    def key(self) -> str:
        """The outcome's name in the store."""
        return digest(
            {
                "candidate": self.candidate.json(),
                "metric": self.metric.json(),
                "data": self.task.json(),
                "threat": self.threat.json(),
                "fits": {label: spec.key for label, spec in self.fits},
                "attacks": {label: use.json() for label, use in self.attacks},
                "seed": self.seed,
                "engine": self.engine,
            }
        )


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


@dataclass(frozen=True)
class Cost:
    """Work done.

    Attributes:
        forward: Samples passed forward through the network, by training, attacks and evaluations together.
        backward: Samples passed backward.
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
        selected_epoch: The epoch with the smallest evaluation loss of the objective, counted from 1.
        cost: What the training cost.
        flags: What is to be known before the fit is trusted.
    """

    key: str
    spec: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]
    selected_epoch: int
    cost: Cost
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A number with its uncertainty.

    Attributes:
        value: Finite.
        low: Lower end of the 95 % interval or bound; None where the value is exact or no interval is known.
        high: Upper end.
        flags: What is to be known before the value is trusted; they stay with it wherever it is shown.
        details: JSON values that explain it.
        samples: Per-sample values [n] whose mean is `value`, or None. Kept beside the JSON, for paired comparisons.
    """

    value: float
    low: float | None = None
    high: float | None = None
    flags: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    samples: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Skipped:
    """The metric does not apply here, and says why."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """Something broke. Never a number."""

    reason: str
    culprit: str = ""


Outcome = Measured | Skipped | Failed


@dataclass(frozen=True)
class Column:
    """One number that a metric yields.

    Attributes:
        name: As rankers and tables name it: lower-case words joined by underscores.
        direction: Whether higher or lower is better, or neither.
        unit: ``fraction``, ``nats``, ``1`` or the like.
    """

    name: str
    direction: Direction
    unit: str


@dataclass(frozen=True)
class Score:
    """One cell of the result: a metric's column for a candidate, over all seeds."""

    candidate: str
    metric: str
    column: Column
    outcome: Outcome

    def json(self) -> JSON:
        """The flat row of the published schema."""
        row: dict[str, Any] = {
            "candidate": self.candidate,
            "metric": self.metric,
            "column": self.column.name,
            "state": type(self.outcome).__name__.lower(),
            "value": None,
            "low": None,
            "high": None,
            "unit": self.column.unit,
            "direction": self.column.direction,
            "flags": [],
            "reason": None,
            "details": {},
        }
        match self.outcome:
            case Measured():
                row |= {name: getattr(self.outcome, name) for name in ("value", "low", "high")}
                row |= {"flags": list(self.outcome.flags), "details": dict(self.outcome.details)}
            case Skipped():
                row["reason"] = self.outcome.reason
            case Failed():
                row["reason"] = f"{self.outcome.culprit}: {self.outcome.reason}" if self.outcome.culprit else self.outcome.reason
        return row


@dataclass(frozen=True)
class RankingRow:
    """One candidate's place: 1 is best; equal scores share a rank; low and high are the rank's 95 % interval."""

    rank: int
    rank_low: int
    rank_high: int
    candidate: str
    score: float


@dataclass(frozen=True)
class Ranking:
    """Candidates in order, with the columns that decided, and those that could not be placed.

    Attributes:
        rows: By rank, then by name.
        columns: The names of the columns that were ranked on.
        unranked: Candidate and reason.
    """

    rows: tuple[RankingRow, ...]
    columns: tuple[str, ...]
    unranked: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class FitUse:
    """A fit as a result shows it."""

    record: FitRecord
    cached: bool
    weights: str


@dataclass(frozen=True)
class Result:
    """All that a run found. Its JSON is the truth; every other form is a rendering of it."""

    study: Study
    scores: tuple[Score, ...]
    ranking: Ranking
    fits: tuple[FitUse, ...]
    provenance: Mapping[str, Any]

    @property
    def failed(self) -> tuple[Score, ...]:
        """The cells that broke."""
        return tuple(score for score in self.scores if isinstance(score.outcome, Failed))

    def json(self) -> JSON:
        """The document of schema ``robustradar/1``."""
        return {
            "schema": "robustradar/1",
            "study": self.study.json(),
            "scores": [score.json() for score in self.scores],
            "ranking": [
                {"rank": r.rank, "rank_low": r.rank_low, "rank_high": r.rank_high, "candidate": r.candidate, "score": r.score}
                for r in self.ranking.rows
            ],
            "ranked_by": list(self.ranking.columns),
            "unranked": [{"candidate": candidate, "reason": reason} for candidate, reason in self.ranking.unranked],
            "fits": [
                {
                    "key": fit.record.key,
                    "spec": dict(fit.record.spec),
                    "cached": fit.cached,
                    "seconds": fit.record.cost.seconds,
                    "epochs": [dict(epoch) for epoch in fit.record.epochs],
                    "selected_epoch": fit.record.selected_epoch,
                    "weights": fit.weights,
                    "cost": {name: value for name, value in vars(fit.record.cost).items() if name != "seconds"},
                    "flags": list(fit.record.flags),
                }
                for fit in self.fits
            ],
            "provenance": dict(self.provenance),
        }
