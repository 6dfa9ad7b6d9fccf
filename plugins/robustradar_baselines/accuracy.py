"""Accuracies and losses of trained networks, clean and under attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from robustradar import (
    ADVERSARIAL,
    CLEAN,
    AttackNeed,
    Bench,
    Column,
    FitNeed,
    Measured,
    Metric,
    Needs,
    Objective,
    Outcome,
    Skipped,
    Task,
    Threat,
    fixed,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLEAN_TRAINED = "clean-trained"
_DRAWS = 1000


def _columns(prefix: str, suffix: str = "") -> tuple[Column, ...]:
    """An accuracy, which is the headline, and a loss: in nats for classes, squared for regression."""
    return (Column(f"{prefix}_accuracy{suffix}", "higher", "fraction"), Column(f"{prefix}_loss{suffix}", "lower", "loss"))


_TRAINED_EVIDENCE = (
    "no forecast but the thing itself, where networks and training are those that are meant in the end; after one epoch of "
    "networks cut to one cell a stage τ .31 [.11, .49] over 40 networks, where parameters have .59 [.45, .71]."
)
_ROBUST_EVIDENCE = (
    "for given weights no forecast but a measurement; of cleanly trained networks τ .30 at most over 6,144 networks of one "
    "search space, and over small ones of several families .02 [−.34, .40] on CIFAR-10 and .59 [.27, .88] on digits, where "
    "clean accuracy has .65 [.41, .85]."
)
_FGSM_EVIDENCE = (
    "its mean rank with clean_accuracy has τ .84 [.83, .85] over 1,614 networks of one search space that were trained for "
    "200 epochs; after 15 epochs .09 [−.27, .49] over 19 small networks of several families on CIFAR-10 and .69 [.49, .84] "
    "over 34 on digits."
)
_CLEAN_EVIDENCE = (
    "τ .79 [.78, .80] over 1,614 networks of one search space that were trained for 200 epochs; after 15 epochs .08 [−.27, "
    ".42] over 19 small networks of several families on CIFAR-10; after 30 .65 [.41, .85] over 20 on digits."
)


@dataclass(frozen=True)
class CleanAccuracy(Metric):
    """Accuracy and loss of the cleanly trained network on clean inputs."""

    name: str = fixed("clean-accuracy")
    columns: tuple[Column, ...] = fixed(_columns("clean"))
    evidence: str = fixed(_CLEAN_EVIDENCE)

    def needs(self, task: Task, threat: Threat) -> Needs:
        """The clean fit."""
        return Needs(fits={"model": FitNeed(CLEAN)})

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Wilson interval for the accuracy, bootstrap over samples for the loss."""
        return _measured(self.columns, bench)


@dataclass(frozen=True)
class FgsmAccuracy(Metric):
    """Accuracy and loss of the cleanly trained network under one weak gradient step."""

    name: str = fixed("fgsm-accuracy")
    columns: tuple[Column, ...] = fixed(_columns("fgsm"))
    evidence: str = fixed(_FGSM_EVIDENCE)
    eps: Annotated[float | None, Field(gt=0, description="strength; none: an eighth of the study's, 1/255 for 8/255")] = None
    attack: Annotated[str, Field(description="the one-step attack")] = "native/fgm"

    def needs(self, task: Task, threat: Threat) -> Needs:
        """The clean fit, and the one-step attack at its own strength."""
        weak = threat.at(threat.eps / 8 if self.eps is None else self.eps)
        return Needs(fits={"model": FitNeed(CLEAN)}, attacks={"attack": AttackNeed(self.attack, weak, loss=False)})

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Wilson interval for the accuracy, bootstrap over samples for the loss."""
        return _measured(self.columns, bench)


@dataclass(frozen=True)
class RobustAccuracy(Metric):
    """Accuracy and loss of the cleanly trained network under the study's attack. Flagged: weak networks can look robust."""

    name: str = fixed("robust-accuracy")
    columns: tuple[Column, ...] = fixed(_columns("robust"))
    evidence: str = fixed(_ROBUST_EVIDENCE)

    def needs(self, task: Task, threat: Threat) -> Needs:
        """The clean fit and the study's attack."""
        return Needs(fits={"model": FitNeed(CLEAN)}, attacks={"attack": AttackNeed(loss=False)})

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Upper bound of the accuracy, lower bound of the loss: an attack only approximates the worst case."""
        return _measured(self.columns, bench, flags=(CLEAN_TRAINED,))


@dataclass(frozen=True)
class RobustAccuracyTrained(Metric):
    """Accuracy and loss under the study's attack after adversarial training at full strength: the truth that a pre-screen predicts."""

    name: str = fixed("robust-accuracy-trained")
    columns: tuple[Column, ...] = fixed(_columns("robust", "_trained"))
    evidence: str = fixed(_TRAINED_EVIDENCE)
    objective: Annotated[
        Literal["adversarial", "trades", "mart"], Field(description="what is trained: the adversarial loss, TRADES or MART")
    ] = "adversarial"
    beta: Annotated[float, Field(ge=0, description="weight of the divergence in TRADES and MART")] = 6.0
    inner: Annotated[str | None, Field(description="attack to train with, e.g. native/n-fgsm; none: the study's")] = None

    def needs(self, task: Task, threat: Threat) -> Needs:
        """The adversarially trained fit and the study's attack."""
        objective = ADVERSARIAL if self.objective == "adversarial" else Objective(form=self.objective, beta=self.beta)
        return Needs(fits={"model": FitNeed(objective, attack=self.inner)}, attacks={"attack": AttackNeed(loss=False)})

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Upper bound of the accuracy, lower bound of the loss: an attack only approximates the worst case."""
        return _measured(self.columns, bench)


def _measured(columns: tuple[Column, ...], bench: Bench, flags: tuple[str, ...] = ()) -> Mapping[str, Outcome]:
    """Accuracy and loss on the evaluation split, with those on the held-out split in the details."""
    accuracy, loss = columns
    per_sample = {split: _per_sample(bench, split) for split in ("evaluation", "final") if split in bench.splits}
    right, losses = per_sample["evaluation"]
    held_out = per_sample.get("final")
    found: dict[str, Outcome] = {
        accuracy.name: Skipped("an accuracy needs classes, and the data are regression"),
        loss.name: Skipped("a first_success or min_norm attack estimates accuracies, not losses"),
    }
    if bench.task.classes is not None:
        details = {"held_out": _accuracy(held_out[0])} if held_out else {}
        found[accuracy.name] = Measured(**_accuracy(right, n=False), flags=flags, details={"n": len(right), **details}, samples=right)
    if all(attack.kind == "max_loss" for attack in bench.attacks.values()):
        details = {"held_out": _loss(held_out[1])} if held_out else {}
        found[loss.name] = Measured(**_loss(losses, n=False), flags=flags, details={"n": len(losses), **details}, samples=losses)
    return found


def _per_sample(bench: Bench, split: str) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Whether each sample is answered rightly, and its loss, under the bench's attack where there is one."""
    import torch

    model, rights, losses = bench.fits["model"].model, [], []
    for x, y in bench.splits[split]:
        if "attack" in bench.attacks:
            attacked = bench.attacks["attack"](model, x, y)
            right, loss = attacked.correct, attacked.loss
        else:
            with torch.no_grad():
                z = model(x)
            loss = bench.loss(z, y)
            right = z.argmax(1) == y if bench.task.classes is not None else torch.zeros(len(x), dtype=torch.bool, device=x.device)
        rights.append(right)
        losses.append(loss)
    return torch.cat(rights).cpu().numpy(), torch.cat(losses).float().cpu().numpy()


def _accuracy(right: NDArray[np.bool_], *, n: bool = True) -> dict[str, Any]:
    """Share of right answers with its Wilson interval."""
    from robustradar.numerics import agreement

    low, high = agreement.wilson(int(right.sum()), len(right))
    return {"value": float(right.mean()), "low": low, "high": high} | ({"n": len(right)} if n else {})


def _loss(losses: NDArray[np.float32], *, n: bool = True) -> dict[str, Any]:
    """Mean loss with its bootstrap interval over samples."""
    from robustradar.numerics import agreement

    low, high = agreement.bootstrap_mean(losses[None], draws=_DRAWS, seed=0)
    return {"value": float(losses.mean(dtype="float64")), "low": low, "high": high} | ({"n": len(losses)} if n else {})
