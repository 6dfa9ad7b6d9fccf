"""Trains one `FitSpec`: epochs, selection, checkpoints, and what to do when the loss runs away."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from robustradar import guard
from robustradar.contract.recipe import Recipe
from robustradar.errors import Failure
from robustradar.judge import Guarded
from robustradar.training import loss as losses
from robustradar.training import rounding
from robustradar.training.convex import Convex
from robustradar.training.cost import Meter
from robustradar.training.device import DeviceData
from robustradar.training.loop import SINGLE, Loop
from robustradar.training.objective import Passes, loss, passes
from robustradar.training.tally import Tally
from robustradar.values import Cost, FitRecord, FitSpec, Objective

# A fit that is killed loses about this much work; shorter fits are never written in between.
CHECKPOINT_SECONDS = 20.0
RETRY_SHARE = 0.1
# Chosen here: so many times the loss of the untrained network, or of one constant answer if that is larger, on both splits, is divergence.
# On the training split alone it may be a start from which training recovered, its losses being means over an epoch; on the evaluation
# split alone it may be overfitting, or an attack that only the inner one does not find.
RUNAWAY = 10.0


@dataclass(frozen=True, eq=False)
class Trained:
    """What training yields.

    Attributes:
        record: Its history and cost.
        state: The selected epoch's weights and buffers, on the CPU.
    """

    record: FitRecord
    state: dict[str, Tensor]


class Checkpoint(Protocol):
    """Where a fit in progress is kept."""

    def read(self) -> dict[str, Any] | None:
        """What was written last, or None."""

    def write(self, state: dict[str, Any]) -> None:
        """Replaces what was written before."""


@dataclass(eq=False)
class _History:
    """What is known of a fit so far."""

    epochs: list[dict[str, Any]]
    best: float
    selected: int
    state: dict[str, Tensor]

    def add(self, means: dict[str, Any], network: nn.Module, recipe: Recipe) -> None:
        """One more epoch; its weights are kept where the selection rule prefers them."""
        self.epochs.append({"epoch": len(self.epochs) + 1, **means})
        value = -math.inf if recipe.select == "last" else selection(means, recipe)
        if recipe.select == "last" or value < self.best:
            self.best, self.selected = value, len(self.epochs)
            self.state = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}

    def stalled(self, recipe: Recipe) -> bool:
        """Whether early stopping ends the fit."""
        return bool(recipe.patience) and len(self.epochs) - self.selected >= recipe.patience


def train(
    loop: Loop,
    evaluation: Guarded | None,
    told: Callable[[int], None],
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Trains a network and keeps the weights that the recipe's selection rule prefers.

    A fit whose loss is not finite after an epoch, or far above the untrained network's at the one that is kept, is started once more at a
    tenth of the learning rate, and flagged, if the rate may be to blame. One whose gradients bfloat16 garbles is trained in float32, and
    flagged.

    Args:
        loop: The fit, at its start.
        evaluation: The attack of the evaluations, for objectives that need one.
        told: Called with the number of the epoch that has ended, from 1.
        checkpoint: Where to keep the fit in progress; a fit that is found there goes on where it stood.

    Raises:
        Failure: The loss ran away, twice, or where no other rate would help; or a plugin failed.
    """
    start = copy.deepcopy({name: value.cpu() for name, value in loop.network.state_dict().items()})
    kept, spent = _kept(checkpoint, loop), Cost(0, 0, 0.0)
    loop, flags = _sound(loop)
    calmer = replace(loop.recipe, lr=loop.recipe.lr * RETRY_SHARE)
    if kept is None or kept["lr"] != calmer.lr:
        try:
            return _flagged(_train(loop, evaluation, told, _Progress(checkpoint, kept)), flags)
        except _Diverged as first:
            if advice := _rateless(loop):
                raise Failure("training", f"diverged: {first}. {advice}") from None
            kept, spent = None, first.cost
    loop.network.load_state_dict(start)
    again = begin(loop.spec, loop.network, calmer, loop.data, loop.attack, loop.culprit)
    for attack in filter(None, (again.attack, evaluation)):
        attack.forget()
    try:
        trained = _train(again, evaluation, told, _Progress(checkpoint, kept, spent))
    except _Diverged as second:
        raise Failure("training", f"diverged: {second}, also at a tenth of the learning rate. Use a smaller lr.") from None
    return _flagged(trained, (*flags, f"diverged-once:lr={calmer.lr:g}"))


def _rateless(loop: Loop) -> str:
    """What to do about a divergence that no learning rate is to blame for; empty where it may be."""
    if not math.isfinite(loop.first):
        return "It was so before the first step. Look for an overflow: values too large in the data, or in the network's outputs."
    if loop.recipe.optimizer == "lbfgs":
        return "optimizer=lbfgs has no lr to lower. Look for values too large in the data, or raise weight_decay."
    return ""


def _sound(loop: Loop) -> tuple[Loop, tuple[str, ...]]:
    """The fit in a precision that its gradients stand, at its start, and the flag where that is not the recipe's."""
    if loop.recipe.precision != "bf16":
        return loop, ()
    x, _ = loop.data.splits["train"].spread(2)
    with guard.generators_restored():
        name = guard.call(loop.culprit, lambda: rounding.garbled(loop.network, x))
    if not name:
        return loop, ()
    full = replace(loop.recipe, precision="float32")
    return begin(loop.spec, loop.network, full, loop.data, loop.attack, loop.culprit), (f"float32:{name}",)


def _flagged(trained: Trained, flags: tuple[str, ...]) -> Trained:
    """The same, with flags beside its own."""
    return replace(trained, record=replace(trained.record, flags=(*trained.record.flags, *flags)))


def begin(spec: FitSpec, network: nn.Module, recipe: Recipe, data: DeviceData, attack: Guarded | None, culprit: str) -> Loop:
    """A fit at its start, as the recipe's optimizer wants it."""
    return (Convex if recipe.optimizer == "lbfgs" else Loop)(spec, network, recipe, data, attack, culprit)


class _Diverged(Exception):
    """The loss ran away."""

    def __init__(self, reason: str, cost: Cost) -> None:
        super().__init__(reason)
        self.cost = cost


@dataclass(frozen=True, eq=False)
class _Progress:
    """What an attempt starts with.

    Attributes:
        checkpoint: Where it is kept.
        kept: What was found there of this very attempt.
        spent: What earlier attempts have cost.
    """

    checkpoint: Checkpoint | None
    kept: dict[str, Any] | None = None
    spent: Cost = Cost(0, 0, 0.0)


def _kept(checkpoint: Checkpoint | None, loop: Loop) -> dict[str, Any] | None:
    """What is kept of this fit; None where it is of another, or from another kind of device, whose chance cannot go on here."""
    kept = None if checkpoint is None else checkpoint.read()
    ours = {"key": loop.spec.key, "device": loop.data.where.type}
    return kept if isinstance(kept, dict) and all(kept.get(name) == value for name, value in ours.items()) else None


def _train(loop: Loop, evaluation: Guarded | None, told: Callable[[int], None], progress: _Progress) -> Trained:
    """One attempt."""
    spec, recipe, data = loop.spec, loop.recipe, loop.data
    meter, history = Meter(data), _History([], math.inf, 0, {})
    meter.add(progress.spent)

    def ended() -> bool:
        return loop.finished or len(history.epochs) >= recipe.length or history.stalled(recipe)

    with guard.generators_restored(), guard.call(loop.culprit, lambda: meter.on(loop.network, loop.running, loop.evaluated), SINGLE):
        torch.manual_seed(spec.seed)
        if progress.kept is not None:
            loop.restore(progress.kept["loop"])
            history = _History(**progress.kept["history"])
            meter.add(Cost(**progress.kept["cost"]))
        saved = time.monotonic()
        while not ended():
            tally = loop.epoch()
            means = {**tally.means("train"), **Tally(data.task.classes).means("evaluation"), **loop.facts}
            looked = recipe.evaluate == "each" or loop.finished or len(history.epochs) + 1 == recipe.length
            if looked:
                means |= loop.look(lambda batches: evaluate(loop.evaluated, batches, spec.objective, evaluation))
            if means["train_objective_loss"] is None or (looked and means["evaluation_objective_loss"] is None):
                raise _Diverged(f"the loss is not finite after epoch {len(history.epochs) + 1} of {recipe.length}", meter.cost)
            for attack in filter(None, (loop.attack, evaluation)):
                attack.verify()
            history.add(means, loop.judged, recipe)
            told(len(history.epochs))
            if progress.checkpoint is not None and time.monotonic() - saved >= CHECKPOINT_SECONDS and not ended():
                saved = time.monotonic()
                state = {"lr": recipe.lr, "loop": loop.state(), "history": vars(history), "cost": vars(meter.cost)}
                progress.checkpoint.write({"key": spec.key, "device": data.where.type, **state})
        if reason := _runaway(loop, history.epochs[history.selected - 1]):
            raise _Diverged(reason, meter.cost)
    return Trained(FitRecord(spec.key, spec.json(), tuple(history.epochs), history.selected, meter.cost, loop.flags), history.state)


def _runaway(loop: Loop, kept: dict[str, Any]) -> str:
    """What speaks for divergence in the losses of the epoch that is kept, all finite; empty where nothing does."""
    data, lower = loop.data, min(kept["train_objective_loss"], kept["evaluation_objective_loss"] or 0.0)
    classes = data.task.classes
    constant = data.splits["train"].variance if classes is None else math.log(classes)
    if lower <= RUNAWAY * constant or lower <= RUNAWAY * loop.first:
        return ""
    return f"the loss is {lower:.2g} after epoch {kept['epoch']} of {loop.recipe.length}, and was {loop.first:.2g} before the first step"


def selection(means: dict[str, Any], recipe: Recipe) -> float:
    """What the selection rule minimises."""
    if recipe.select == "accuracy":
        adversarial = means["evaluation_adversarial_accuracy"]
        accuracy = means["evaluation_clean_accuracy"] if adversarial is None else adversarial
        if accuracy is not None:
            return -float(accuracy)
    return float(means["evaluation_objective_loss"])


def evaluate(network: nn.Module, data: DeviceData, objective: Objective, attack: Guarded | None) -> dict[str, float | None]:
    """Clean and, where the objective needs it, adversarial loss and accuracy on the evaluation split, in evaluation mode and float32.

    The adversarial loss is the worst of what the attack found, the clean input included; the objective's own loss is beside it.
    """
    network.eval()
    tally = Tally(data.task.classes)
    if attack is not None:
        attack.reseed()
    for x, y in data.splits["evaluation"]:
        if objective.form != "mixture":
            with torch.no_grad():
                found = passes(network, x, y, objective, attack)
                tally.passes(found, y, loss(objective, found, y, data.task.classes))
            continue
        if attack is None:
            with torch.no_grad():
                z = network(x)
                clean = losses.of(data.task.classes)(z, y)
                tally.passes(Passes(z, None), y, clean, plain=True)
            continue
        attacked = attack(network, x, y)
        tally.add("clean", attacked.clean_loss, attacked.clean_correct)
        tally.add("adversarial", attacked.loss, attacked.correct)
        xi = objective.xi
        tally.add("objective", attacked.loss if xi == 1 else (1 - xi) * attacked.clean_loss + xi * attacked.loss)
    return tally.means("evaluation")


def trial(loop: Loop, evaluation: Guarded | None, steps: int) -> float:
    """About how many seconds `train` would take, from a few steps and one evaluation batch after a warm-up.

    Raises:
        Failure: A plugin failed.
    """
    data, recipe = loop.data, loop.recipe
    samples = len(data.splits["train"])
    batch = min(recipe.batch, samples)
    counted = min(steps, math.ceil(samples / batch))

    def taken(count: int) -> float:
        _wait(data.where)
        start = time.perf_counter()
        for x, y in islice(data.splits["train"].shuffled(loop.order, batch), count):
            loop.step(x, y, Tally(data.task.classes))
        _wait(data.where)
        return time.perf_counter() - start

    def evaluated() -> float:
        loop.network.eval()
        return loop.look(looked)

    def looked(batches: DeviceData) -> float:
        x, y = next(iter(batches.splits["evaluation"]))
        start = time.perf_counter()
        if evaluation is not None:
            evaluation(loop.network, x, y)
        with torch.no_grad():
            loop.network(x)
        _wait(data.where)
        return (time.perf_counter() - start) * len(data.splits["evaluation"]) / len(x)

    def timed() -> float:
        loop.running.train()
        taken(1)
        looks = recipe.length if recipe.evaluate == "each" else 1
        return recipe.length * loop.passes * taken(counted) / counted * samples / batch + looks * evaluated()

    with guard.generators_restored():
        return guard.call(loop.culprit, timed)


def _wait(where: torch.device) -> None:
    """Waits for an accelerator, so that a clock tells the truth."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)
    elif where.type == "mps":
        torch.mps.synchronize()
