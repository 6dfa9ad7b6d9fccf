"""Robust overfitting, by the epoch [P, section 5.2]: how far a network's loss on new data runs away from that on its training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from robustradar import ADVERSARIAL, CLEAN, Bench, Column, Fit, FitNeed, Measured, Metric, Needs, Outcome, Skipped, Task, Threat, fixed

GIVEN = "the weights were given, and overfitting is read off the epochs of a training"
NO_GAP = (
    "got a generalisation gap of {gap:.3g} at epoch {epoch}, the best, expected one above 0 to compare with. "
    "Training losses lag behind; look at last_gap"
)
NO_ACCURACY = "an accuracy needs classes, and the data are regression"
# Training losses are means over an epoch of batches met on the way, in training mode, with weights that are older than the evaluated ones.
_RUNNING = "running-training-losses"


@dataclass(frozen=True)
class Overfitting(Metric):
    """The generalisation gap of the last epoch over that of the best one, for adversarial and for clean training [P, section 5.2].

    The gap of an epoch is its evaluation loss minus its training loss, adversarial losses for adversarial training and clean ones for
    clean training, and the best epoch has the smallest evaluation loss, whatever rule the recipe selects by. `overfitting` is the ratio
    for adversarial training, `best_gap` and `last_gap` are its parts, `overfitting_clean` the ratio for clean training.
    `robust_accuracy_drop` is how much lower the last robust evaluation accuracy is than the highest of any epoch (Rice et al. 2020): as
    a difference to a maximum never below 0, a little above it by chance alone.

    It is read off the record of the training: there are no intervals but those over seeds. Training losses are running means, which lag
    behind where the loss falls fast: gaps are then too small, that of an early best epoch most, and the ratio too large. Details: both
    losses and the gap at every epoch.
    """

    name: str = fixed("overfitting")
    columns: tuple[Column, ...] = fixed(
        (
            Column("overfitting", "lower", "1"),
            Column("robust_accuracy_drop", "lower", "fraction"),
            Column("last_gap", "lower", "loss"),
            Column("best_gap", "none", "loss"),
            Column("overfitting_clean", "lower", "1"),
        )
    )
    eps: Annotated[float | None, Field(gt=0, description="strength of the adversarial training; none: the study's")] = None
    inner: Annotated[str | None, Field(description="attack to train with, e.g. native/n-fgsm; none: the study's")] = None

    def needs(self, task: Task, threat: Threat) -> Needs:
        """The adversarial and the clean fit, looked at after each epoch."""
        strength, recipe = None if self.eps is None else threat.at(self.eps), {"evaluate": "each"}
        adversarial, clean = FitNeed(ADVERSARIAL, strength, self.inner, recipe=recipe), FitNeed(CLEAN, recipe=recipe)
        return Needs(fits={"adversarial": adversarial, "clean": clean})

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Reads the records."""
        adversarial, clean = bench.fits["adversarial"], bench.fits["clean"]
        if clean.record.spec["weights"]:
            return {column.name: Skipped(GIVEN) for column in self.columns}
        curve, flags = _Curve.of(adversarial, "adversarial"), _flags(adversarial)
        return {
            "overfitting": curve.ratio(flags),
            "robust_accuracy_drop": _drop(adversarial) if bench.task.classes is not None else Skipped(NO_ACCURACY),
            "last_gap": Measured(curve.gaps[-1], flags=flags, details={"epoch": len(curve.gaps)}),
            "best_gap": Measured(curve.gaps[curve.best], flags=flags, details={"epoch": curve.best + 1}),
            "overfitting_clean": _Curve.of(clean, "clean").ratio(_flags(clean)),
        }


@dataclass(frozen=True)
class _Curve:
    """Losses of one training by epoch, on both splits."""

    train: tuple[float, ...]
    evaluation: tuple[float, ...]

    @classmethod
    def of(cls, fit: Fit, kind: str) -> _Curve:
        """The losses of a kind in a fit's record."""
        train, evaluation = ([float(epoch[f"{split}_{kind}_loss"]) for epoch in fit.record.epochs] for split in ("train", "evaluation"))
        return cls(tuple(train), tuple(evaluation))

    @property
    def gaps(self) -> list[float]:
        """Evaluation loss minus training loss."""
        return [new - old for new, old in zip(self.evaluation, self.train, strict=True)]

    @property
    def best(self) -> int:
        """Which epoch has the smallest evaluation loss, from 0."""
        return self.evaluation.index(min(self.evaluation))

    def ratio(self, flags: tuple[str, ...]) -> Outcome:
        """The last gap over the best epoch's."""
        gaps, best = self.gaps, self.best
        if gaps[best] <= 0:
            return Skipped(NO_GAP.format(gap=gaps[best], epoch=best + 1))
        rows = enumerate(zip(self.train, self.evaluation, gaps, strict=True), 1)
        curve = [{"epoch": t, "train_loss": old, "evaluation_loss": new, "gap": gap} for t, (old, new, gap) in rows]
        return Measured(gaps[-1] / gaps[best], flags=flags, details={"best_epoch": best + 1, "epochs": curve})


def _drop(fit: Fit) -> Measured:
    """The highest robust accuracy on the evaluation split minus the last."""
    accuracies = [float(epoch["evaluation_adversarial_accuracy"]) for epoch in fit.record.epochs]
    details = {"best_epoch": accuracies.index(max(accuracies)) + 1, "accuracy": accuracies}
    return Measured(max(accuracies) - accuracies[-1], flags=_flags(fit), details=details)


def _flags(fit: Fit) -> tuple[str, ...]:
    """What speaks against the epochs' losses."""
    recipe: Mapping[str, Any] = fit.record.spec["recipe"]["parameters"]
    if recipe["optimizer"] == "lbfgs":
        return ()  # its training losses are those at an epoch's end, and it ends where the minimum is
    short = len(fit.record.epochs) < recipe["epochs"]
    return (_RUNNING, *((f"ended-early:{len(fit.record.epochs)} of {recipe['epochs']} epochs",) if short else ()))
