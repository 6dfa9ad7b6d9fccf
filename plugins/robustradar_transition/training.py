"""The networks that adversarial training losses are read from: from scratch, or fine-tuned from the clean one [P, algorithm A.1]."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from robustradar import Bench, Fit, FitNeed, Objective, Threat
from robustradar.errors import Failure

if TYPE_CHECKING:
    from robustradar_transition.eps_star import EpsStar

# Steps between the learning rates that the range test tries, chosen here: half a decade. It tries three.
_STRIDE = 3.0
TRIALS = 3
# Near a trained network few steps make up for many: a fine-tuning of so many got as low as ten in trials.
_PGD = "native/pgd:steps=3,keep=last"
_FGM = "native/fgm"


@dataclass(frozen=True)
class Trainer:
    """How networks are trained at a strength.

    Attributes:
        objective: What for.
        start: The network that fine-tuning starts from; None: training from scratch, as the study's recipe has it.
        attack: The inner attack; None: the study's.
        recipe: What fine-tuning changes in the recipe.
    """

    objective: Objective
    start: FitNeed | None = None
    attack: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def need(self, threat: Threat) -> FitNeed:
        """The network at a threat."""
        return FitNeed(self.objective, threat, self.attack, self.start, self.recipe)


def fine_tuner(metric: EpsStar, fit: Fit, clean: FitNeed) -> Trainer:
    """Fine-tuning from the clean fit for a share of its recipe's epochs, in which the rate rises and falls.

    L-BFGS, which has neither rate nor epochs, goes from the clean minimum to the adversarial one.
    """
    recipe = fit.record.spec["recipe"]["parameters"]
    changes: dict[str, Any] = {}
    if recipe["optimizer"] != "lbfgs":
        changes = {"epochs": max(2, round(metric.tuned * recipe["epochs"])), "lr": recipe["lr"] if metric.lr == "auto" else metric.lr}
        changes |= {"schedule": "rise-and-fall", "warmup": 0.5, "stop": 0, "average": 0.0}
        # The rate has fallen at the end, where the training loss is lowest: no epoch before it need be looked at.
        changes |= {"select": "last", "evaluate": "last", "patience": 0}
    # The minimum that L-BFGS goes to is that of the attack, and so the study's, as from scratch.
    iterated = metric.inner or (_PGD if changes else None)
    return Trainer(metric.trained_on, clean, _FGM if metric.attack == "fgm" else iterated, changes)


def range_test(bench: Bench, trainer: Trainer, threat: Threat) -> tuple[Trainer, dict[str, float]]:
    """The trainer with the learning rate that gets lowest in training against a one-step attack, and the loss that each rate got to.

    R̂(θ̂(ε), ε) is a minimum over θ, so of several trainings the lowest is the nearest to it. The recipe's rate is tried, three times that,
    and then once more in the direction that was better, each for half the epochs: much shorter trials prefer rates that are too small.
    The trainer does not go on from the best trial: a second rise and fall of the rate gains little.

    Args:
        bench: What the metric has.
        trainer: Fine-tunes.
        threat: Where to try.

    Raises:
        UnavailableError: All of them diverge.
    """
    from robustradar.numerics.problem import UnavailableError

    # The divergence of TRADES and MART has no gradient at the clean input, where a single step starts.
    attack = _FGM if trainer.objective.form == "mixture" else _PGD
    epochs = max(2, trainer.recipe["epochs"] // 2)
    found: dict[float, float] = {}

    def tried(lr: float) -> float:
        short = replace(trainer, attack=attack, recipe={**trainer.recipe, "lr": lr, "epochs": epochs})
        found[lr] = _reached(bench, short.need(threat))
        return found[lr]

    lr = float(trainer.recipe["lr"])
    better = tried(_STRIDE * lr) < tried(lr)
    tried(_STRIDE**2 * lr if better else lr / _STRIDE)
    best = min(found, key=lambda lr: found[lr])
    if math.isinf(found[best]):
        rates = ", ".join(f"{lr:g}" for lr in sorted(found))
        raise UnavailableError(f"fine-tuning diverges at the learning rates {rates}. Give a smaller lr")
    told = {f"{lr:g}": found[lr] for lr in sorted(found) if math.isfinite(found[lr])}
    return replace(trainer, recipe={**trainer.recipe, "lr": best}), told


def _reached(bench: Bench, need: FitNeed) -> float:
    """The loss of the last epoch; infinity where training diverges, or went on at another rate after it had."""
    try:
        record = bench.train(need).record
    except Failure as failure:
        if not failure.lasting:
            raise
        return math.inf
    retried = any(flag.startswith("diverged-once") for flag in record.flags)
    return math.inf if retried else float(record.epochs[-1]["train_objective_loss"])
