"""One fit in progress: network, optimizer, schedule, average and streams of chance, and how a batch moves them."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from robustradar import guard
from robustradar.contract.recipe import Recipe
from robustradar.errors import OutOfMemory
from robustradar.judge import Guarded
from robustradar.training import augment, schedule
from robustradar.training.device import DeviceData
from robustradar.training.lbfgs import LBFGS
from robustradar.training.objective import loss, passes
from robustradar.training.tally import Tally
from robustradar.values import FitSpec

# Streams of chance that one seed feeds, so that adversaries, the order of the data and their augmentation do not disturb each other.
ORDER, TRAIN_ATTACK, EVALUATION_ATTACK, METRIC_ATTACK, AUGMENT, TRUST_ATTACK = range(1, 7)
# What there is no less of to do at once.
SINGLE = "a single sample"
SMALL_BATCHES = "small-batches"
_PAD = 8  # a crop shifts by up to an eighth of the side: 4 pixels of 32, as is usual on CIFAR

T = TypeVar("T")


def stream(seed: int, which: int) -> int:
    """The seed of one stream of chance of a fit or measurement.

    >>> stream(0, ORDER) != stream(0, TRAIN_ATTACK) != stream(1, ORDER)
    True
    """
    return seed * 1000 + which


class Loop:
    """A fit in progress.

    Args:
        spec: What is trained.
        network: Freshly built, or started from another fit, on the data's device. Trained in place.
        recipe: The numbers.
        data: Where to train.
        attack: The inner attack, for objectives that need one.
        culprit: Whose network it is, for messages.

    Attributes:
        finished: Whether there is nothing left to do, whatever the number of epochs says.
        passes: About how often an epoch passes over the training split.
        first: The objective's mean loss on the first batch, before the first step; NaN until then.
    """

    finished = False
    passes = 1

    def __init__(self, spec: FitSpec, network: nn.Module, recipe: Recipe, data: DeviceData, attack: Guarded | None, culprit: str) -> None:
        self.spec, self.network, self.recipe, self.data, self.attack, self.culprit = spec, network, recipe, data, attack, culprit
        self.steps = recipe.epochs * data.splits["train"].steps(recipe.batch)
        self.micro, self.looking = recipe.batch, data.size
        self._first: Tally | float = math.nan
        self.order = torch.Generator().manual_seed(stream(spec.seed, ORDER))
        self.augmenting = torch.Generator().manual_seed(stream(spec.seed, AUGMENT))
        if recipe.channels_last and len(data.task.shape) == 3:
            network.to(memory_format=torch.channels_last)
        self.running: nn.Module = torch.compile(network, mode=recipe.compile) if recipe.compile != "no" else network  # type: ignore[assignment]
        self.optimizer = guard.call(self.culprit, lambda: optimizer(network, recipe))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda n: schedule.share(recipe, (n + 0.5) / self.steps))
        self.averaged = AveragedModel(network, multi_avg_fn=self._average, use_buffers=True) if recipe.average else None

    @property
    def judged(self) -> nn.Module:
        """The network that is kept: the average where there is one."""
        return self.network if self.averaged is None else self.averaged.module

    @property
    def evaluated(self) -> nn.Module:
        """The same network as it runs."""
        return self.running if self.averaged is None else self.averaged.module

    @property
    def flags(self) -> tuple[str, ...]:
        """What is to be known of how it went."""
        halved = () if self.micro == self.recipe.batch else (f"micro-batch:{self.micro}",)
        return (*halved, *(() if self.looking == self.data.size else (f"{SMALL_BATCHES}:{self.looking}",)))

    @property
    def first(self) -> float:
        """See `Loop`; an accelerator is waited for only when somebody asks."""
        return self._first.mean("objective") if isinstance(self._first, Tally) else self._first

    def begun(self, tally: Tally) -> None:
        """Notes the first of all batches."""
        if isinstance(self._first, float) and math.isnan(self._first):
            self._first = tally

    @property
    def facts(self) -> dict[str, float]:
        """What an epoch's record holds beside losses and accuracies."""
        return {}

    def epoch(self) -> Tally:
        """One pass over the training split.

        Raises:
            Failure: A plugin failed, or memory ran out even for single samples.
        """
        self.running.train()
        tally = Tally(self.data.task.classes)
        for x, y in self.data.splits["train"].shuffled(self.order, self.recipe.batch):
            self.step(x, y, tally)
        return tally

    def step(self, x: Tensor, y: Tensor, tally: Tally) -> None:
        """One step of the optimizer."""
        x = self._prepared(x)
        part = self.in_memory(partial(self.descend, x, y, len(y)), len(y))
        self.begun(part)
        tally.merge(part)
        guard.call(self.culprit, self._update, "the optimizer's step")

    def _prepared(self, x: Tensor) -> Tensor:
        """Augmented, and in the memory format that was asked for."""
        if self.recipe.augment == "crop-flip":
            x = augment.crop_flip(x, self.augmenting, max(1, x.shape[-1] // _PAD))
        return x.contiguous(memory_format=torch.channels_last) if self.recipe.channels_last and x.ndim == 4 else x

    def in_memory(self, descend: Callable[[Tally], None], size: int) -> Tally:
        """What a descent counts; where memory runs out, it starts anew with batches in halves, and so do all that follow.

        Wherever in a descent that happens, chance and the statistics of normalisation are set back to where it began.

        Args:
            descend: Adds gradients, from none.
            size: Samples in the largest of its batches.

        Raises:
            OutOfMemory: Single samples are too many.
        """
        chance, buffers = self._chance(), [(buffer, buffer.clone()) for buffer in self.network.buffers()]
        while True:
            part = Tally(self.data.task.classes)
            try:
                guard.call(self.culprit, partial(descend, part))
                return part
            except OutOfMemory as error:
                if self.micro == 1:
                    raise OutOfMemory(error.culprit, SINGLE) from error
            self.micro = (min(self.micro, size) + 1) // 2
            self.optimizer.zero_grad(set_to_none=True)
            self._resume(chance)
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            self.data.let_go()

    def look(self, see: Callable[[DeviceData], T]) -> T:
        """What is seen of data in batches; where memory runs out, anew with batches of half the size, and so at all later looks.

        Args:
            see: Starts anew each time and leaves the network as it is.

        Raises:
            Failure: A plugin failed.
            OutOfMemory: Single samples are too many.
        """
        chance = self._chance()
        while True:
            try:
                return guard.call(self.culprit, partial(see, self.data.at(self.looking)))
            except OutOfMemory as error:
                if self.looking == 1:
                    raise OutOfMemory(error.culprit, SINGLE) from error
            self.looking = (self.looking + 1) // 2
            self._resume(chance)
            self.data.let_go()

    def _update(self) -> None:
        """Moves the weights along their gradients."""
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

    def descend(self, x: Tensor, y: Tensor, count: int, tally: Tally) -> None:
        """Adds the gradients of the objective on one batch, of a mean over `count` samples."""
        parts = self._parts(len(y))
        for x_part, y_part in zip(x.tensor_split(parts), y.tensor_split(parts), strict=True):
            with self.precision():
                found = passes(self.running, x_part, y_part, self.spec.objective, self.attack)
            mean = loss(self.spec.objective, found, y_part, self.data.task.classes, self.recipe.label_smoothing)
            (mean.sum() / count).backward()
            lone = self.spec.objective.form == "mixture" and (found.clean is None or found.adversarial is None)
            tally.passes(found, y_part, mean, plain=lone and not self.recipe.label_smoothing)

    def _parts(self, samples: int) -> int:
        """How many parts a batch goes through in: none is a single sample, on which BatchNorm cannot train, unless memory holds no more."""
        if samples <= self.micro + (self.micro == self.recipe.batch):  # a lone last sample has joined its batch
            return 1
        return samples if self.micro == 1 else min(math.ceil(samples / self.micro), samples // 2)

    def precision(self) -> AbstractContextManager[Any]:
        """Autocast to bfloat16 where the recipe says so; losses, projections and statistics stay in float32."""
        if self.recipe.precision == "bf16":
            return torch.autocast(self.data.where.type, torch.bfloat16)
        return nullcontext()

    def _average(self, averaged: Any, current: Any, _: Any) -> None:
        """One step of the moving average; its decay grows with the steps done, else a short fit would mostly keep its first weights."""
        done = self.schedule.last_epoch
        get_ema_multi_avg_fn(min(self.recipe.average, (1 + done) / (10 + done)))(averaged, current, _)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on from here to the same end, to the bit on the CPU."""
        averaged = None if self.averaged is None else self.averaged.state_dict()
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "averaged": averaged,
            "micro": self.micro,
            "looking": self.looking,
            "first": self.first,
            "chance": [g.get_state() for g in (self.order, self.augmenting)],
            **self._chance(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.micro, self.looking, self._first = state["micro"], state["looking"], state["first"]
        for generator, kept in zip((self.order, self.augmenting), state["chance"], strict=True):
            generator.set_state(kept)
        self._resume(state)

    def _chance(self) -> dict[str, Tensor | None]:
        """Where the streams of chance stand that a descent draws from."""
        return {
            "attack": None if self.attack is None else self.attack.chance(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.data.where) if self.data.where.type == "cuda" else None,
        }

    def _resume(self, state: dict[str, Any]) -> None:
        """Goes back to a `_chance`."""
        if self.attack is not None:
            self.attack.resume(state["attack"], self.data.where)
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"], self.data.where)


def optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over all parameters."""
    if recipe.optimizer == "lbfgs":
        return LBFGS(p for p in network.parameters() if p.requires_grad)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), recipe.lr, betas=(recipe.momentum, 0.999), weight_decay=recipe.weight_decay)
    return torch.optim.SGD(network.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.momentum > 0)
