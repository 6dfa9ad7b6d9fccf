"""The training loop: one `FitSpec` to weights and their record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from robustradar import guard
from robustradar.contract.recipe import Recipe
from robustradar.errors import Failure
from robustradar.judge import Guarded
from robustradar.training import loss as losses
from robustradar.training.cost import Meter
from robustradar.training.device import DeviceData
from robustradar.values import FitRecord, FitSpec, Objective

# Streams of chance that one seed feeds: adversary and order of the data do not disturb each other.
ORDER, TRAIN_ATTACK, EVALUATION_ATTACK = 1, 2, 3


def stream(seed: int, which: int) -> int:
    """The seed of one stream of chance of a fit or measurement.

    >>> stream(0, ORDER) != stream(0, TRAIN_ATTACK) != stream(1, ORDER)
    True
    """
    return seed * 1000 + which


@dataclass(frozen=True, eq=False)
class Trained:
    """What training yields.

    Attributes:
        record: Its history and cost.
        state: The selected epoch's weights and buffers, on the CPU.
    """

    record: FitRecord
    state: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Adversary:
    """The inner attack of a fit: one for training, one for the evaluation after each epoch, with chances of their own."""

    training: Guarded
    evaluation: Guarded


def train(
    spec: FitSpec,
    network: nn.Module,
    recipe: Recipe,
    data: DeviceData,
    adversary: Adversary | None,
    told: Callable[[int], None],
) -> Trained:
    """Trains a network and keeps the epoch with the smallest evaluation loss of the objective.

    The loss is (1−ξ)·clean + ξ·adversarial [T, section 2], each the mean over a batch. Losses stay on the device until an epoch ends.

    Args:
        spec: What is trained: gives objective, threat and seed.
        network: Freshly built, on the data's device. It is trained in place.
        recipe: The numbers.
        data: Where to train.
        adversary: For objectives with ξ > 0.
        told: Called with the number of the epoch that has ended, from 1.

    Raises:
        Failure: A loss was not finite at the end of an epoch, or a plugin failed.
    """
    meter = Meter()
    batches = data.splits["train"]
    optimizer = guard.call(spec.architecture.label, lambda: _optimizer(network, recipe))
    steps = recipe.epochs * math.ceil(len(batches) / recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: one_cycle((n + 0.5) / steps, recipe.warmup))
    order = torch.Generator().manual_seed(stream(spec.seed, ORDER))
    epochs: list[dict[str, Any]] = []
    best, selected, state = math.inf, 0, dict[str, Tensor]()
    culprit = spec.architecture.label
    with guard.generators_restored(), meter.on(network):
        torch.manual_seed(spec.seed)
        for epoch in range(1, recipe.epochs + 1):
            network.train()
            tally = Tally(data.task.classes)
            for x, y in batches.shuffled(order, recipe.batch):
                guard.call(culprit, partial(_descend, network, (x, y), spec.objective, adversary, tally))
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                schedule.step()
            means = {**tally.means("train"), **guard.call(culprit, lambda: evaluate(network, data, adversary))}
            loss = _selection_loss(means, spec.objective)
            if not math.isfinite(loss) or not math.isfinite(_selection_loss(means, spec.objective, "train")):
                raise Failure("training", f"diverged: the loss is not finite after epoch {epoch} of {recipe.epochs}. Use a smaller lr.")
            epochs.append({"epoch": epoch, **means})
            if loss < best:
                best, selected = loss, epoch
                state = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
            told(epoch)
    return Trained(FitRecord(spec.key, spec.json(), tuple(epochs), selected, meter.cost), state)


def trial(spec: FitSpec, network: nn.Module, recipe: Recipe, data: DeviceData, adversary: Adversary | None, steps: int) -> float:
    """About how many seconds `train` would take, from a few steps and one evaluation batch after a warm-up.

    Raises:
        Failure: A plugin failed.
    """
    order = torch.Generator().manual_seed(0)
    tally = Tally(data.task.classes)
    batch = min(recipe.batch, len(data.splits["train"]))

    def steps_of(batches: Iterator[tuple[Tensor, Tensor]]) -> float:
        network.train()
        _wait(data.where)
        start = time.perf_counter()
        for x, y in batches:
            step(network, x, y, spec.objective, adversary, tally).backward()
        _wait(data.where)
        return time.perf_counter() - start

    def evaluation() -> float:
        network.eval()
        x, y = next(iter(data.splits["evaluation"]))
        start = time.perf_counter()
        if adversary is not None:
            adversary.evaluation(network, x, y)
        with torch.no_grad():
            network(x)
        _wait(data.where)
        return (time.perf_counter() - start) * len(data.splits["evaluation"]) / len(x)

    def timed() -> float:
        steps_of(islice(data.splits["train"].shuffled(order, batch), 1))
        taken = steps_of(islice(data.splits["train"].shuffled(order, batch), steps))
        counted = min(steps, math.ceil(len(data.splits["train"]) / batch))
        return recipe.epochs * (taken / counted * len(data.splits["train"]) / batch + evaluation())

    with guard.generators_restored():
        return guard.call(spec.architecture.label, timed)


def _wait(where: torch.device) -> None:
    """Waits for an accelerator, so that a clock tells the truth."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)
    elif where.type == "mps":
        torch.mps.synchronize()


def one_cycle(done: float, warmup: float) -> float:
    """The learning rate's share of its maximum after a share of all steps: a linear rise, then a cosine to zero.

    >>> one_cycle(0.1, 0.2), one_cycle(0.2, 0.2), round(one_cycle(1.0, 0.2), 12)
    (0.5, 1.0, 0.0)
    """
    if done < warmup:
        return done / warmup
    return (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))) / 2


class Tally:
    """Losses and right answers summed on the device; one transfer when their means are read.

    Args:
        classes: Number of classes; None for regression with squared loss.
    """

    def __init__(self, classes: int | None) -> None:
        self._classes = classes
        self._loss = losses.squared if classes is None else losses.cross_entropy
        self._totals: dict[str, Tensor] = {}

    def loss(self, kind: str, z: Tensor, y: Tensor) -> Tensor:
        """The losses of one batch [N], which are added to the sums of their kind."""
        loss = self._loss(z, y)
        self.add(kind, loss.detach(), losses.correct(z.detach(), y, self._classes))
        return loss

    def add(self, kind: str, loss: Tensor, right: Tensor) -> None:
        """Adds one batch's losses [N] and right answers [N]."""
        sums = torch.stack([loss.sum(), right.sum().to(loss.dtype), torch.full_like(loss.sum(), len(loss))])
        self._totals[kind] = self._totals[kind] + sums if kind in self._totals else sums

    def means(self, split: str) -> dict[str, float | None]:
        """Mean losses and accuracies by name: ``train_clean_loss`` and so on; None for what was not added or is not finite."""
        named: dict[str, float | None] = {}
        for kind in ("clean", "adversarial"):
            loss, right, count = self._totals[kind].tolist() if kind in self._totals else (math.nan, math.nan, 1)
            named[f"{split}_{kind}_loss"] = loss / count if math.isfinite(loss) else None
            named[f"{split}_{kind}_accuracy"] = right / count if math.isfinite(right) and self._classes is not None else None
        return named


def step(network: nn.Module, x: Tensor, y: Tensor, objective: Objective, adversary: Adversary | None, tally: Tally) -> Tensor:
    """The objective on one batch, as a scalar to go backward from."""
    parts: list[Tensor] = []
    if objective.xi < 1:
        parts.append((1 - objective.xi) * tally.loss("clean", network(x), y).mean())
    if adversary is not None:
        x_adv = adversary.training.perturb(network, x, y)
        parts.append(objective.xi * tally.loss("adversarial", network(x_adv), y).mean())
    return torch.stack(parts).sum()


def _descend(network: nn.Module, batch: tuple[Tensor, Tensor], objective: Objective, adversary: Adversary | None, tally: Tally) -> None:
    """Gradients of the objective on one batch."""
    step(network, *batch, objective, adversary, tally).backward()


def evaluate(network: nn.Module, data: DeviceData, adversary: Adversary | None) -> dict[str, float | None]:
    """Clean and, where there is an adversary, adversarial loss and accuracy on the evaluation split, in evaluation mode."""
    network.eval()
    tally = Tally(data.task.classes)
    if adversary is not None:
        adversary.evaluation.reseed()
    for x, y in data.splits["evaluation"]:
        with torch.no_grad():
            tally.loss("clean", network(x), y)
        if adversary is not None:
            attacked = adversary.evaluation(network, x, y)
            tally.add("adversarial", attacked.loss, attacked.correct)
    return tally.means("evaluation")


def _selection_loss(means: dict[str, float | None], objective: Objective, split: str = "evaluation") -> float:
    """The objective from an epoch's means."""
    clean, adversarial = means[f"{split}_clean_loss"], means[f"{split}_adversarial_loss"]
    parts = [(1 - objective.xi, clean), (objective.xi, adversarial)]
    return sum(weight * (math.nan if loss is None else loss) for weight, loss in parts if weight > 0)


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over all parameters."""
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), recipe.lr, betas=(recipe.momentum, 0.999), weight_decay=recipe.weight_decay)
    return torch.optim.SGD(network.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.momentum > 0)
