"""Paths with one trained bend from one network to another in the space of weights (Garipov et al. 2018), and the loss on them.

Every network on a path, or in the plane of its three points, is a weighted sum of the three, with weights that add up to 1. Running
statistics of BatchNorm cannot be summed: they are taken anew for each network.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase

from robustradar.numerics import vector

Curve = Literal["line", "bezier", "chain"]
Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
State: TypeAlias = Mapping[str, Tensor]
Weights: TypeAlias = tuple[float, float, float]

_BATCH = 256
# The share of the steps in which the rate rises; chosen here, as a bend that leaps off at first takes long to come back.
_RISE = 0.1
# The rate of a parameter is relative to its root mean square, and to at least this, as in Adafactor (Shazeer and Stern 2018).
_LEAST = 1e-3
# Room around the three points in a plane's picture, as a share of the longer side; chosen here.
_MARGIN = 0.2


@dataclass(frozen=True, eq=False)
class Surface:
    """The loss on training samples as a function of a network's parameters. Make it by `Surface.of`, of a copy.

    Attributes:
        model: In evaluation mode. Its own parameters are never used, its running statistics overwritten.
        loss: (outputs, targets) to losses [N].
        x: Training inputs [N, ...].
        y: Training targets [N] or [N, T].
        order: A random order of the samples for taking statistics, as batches of sorted data have statistics of their own.
    """

    model: nn.Module
    loss: Loss
    x: Tensor
    y: Tensor
    order: Tensor

    @classmethod
    def of(cls, model: nn.Module, loss: Loss, x: Tensor, y: Tensor, seed: int) -> Surface:
        """The surface of a copy of a model, which itself stays as it is."""
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        return cls(copy.deepcopy(model).eval(), loss, x, y, order.to(x.device))

    def __call__(self, theta: State, x: Tensor) -> Tensor:
        """The outputs for x of the network with parameters theta."""
        found: Tensor = functional_call(self.model, dict(theta), (x,))
        return found

    def losses(self, theta: State, *samples: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Losses [N], in float64, of the network with parameters theta and running statistics of the training samples.

        Args:
            theta: By name.
            samples: Inputs and targets of several splits, for which statistics are taken once.
        """
        with torch.no_grad():
            self._take_statistics(theta)
            return [losses_of(self.loss, lambda x: self(theta, x), *split) for split in samples]

    @contextmanager
    def batch_statistics(self) -> Iterator[None]:
        """Normalises by each batch's own statistics. All else, dropout included, stays as in evaluation."""
        for norm in self._norms:
            norm.training = True
        try:
            yield
        finally:
            for norm in self._norms:
                norm.training = False

    @cached_property
    def _norms(self) -> list[Any]:
        """The layers with running statistics."""
        return [m for m in self.model.modules() if isinstance(m, _NormBase) and m.running_mean is not None]

    def _take_statistics(self, theta: State) -> None:
        """Makes running statistics means over all training samples, of batches of nearly equal sizes (Izmailov et al. 2018)."""
        if not self._norms:
            return
        seen = 0
        with self.batch_statistics():
            for chosen in self.order.tensor_split(math.ceil(len(self.order) / _BATCH)):
                seen += len(chosen)
                for norm in self._norms:
                    norm.momentum = len(chosen) / seen
                self(theta, self.x[chosen])


@dataclass(frozen=True, eq=False)
class Corners:
    """The three points that make a path, each a network's parameters by name."""

    start: State
    bend: State
    end: State

    def at(self, weights: Weights) -> State:
        """The sum with these weights; the very point where its weight is 1 and the others' 0."""
        used = [(w, corner) for w, corner in zip(weights, (self.start, self.bend, self.end), strict=True) if w]
        if len(used) == 1:
            return used[0][1]
        return {name: reduce(add, (w * corner[name] for w, corner in used)) for name in self.start}


def weights(curve: Curve, t: float) -> Weights:
    """The weights of start, bend and end at t in [0, 1].

    line: (1 - t, 0, t). bezier: ((1 - t)², 2t(1 - t), t²). chain: from start to bend for t <= 1/2, then from bend to end, both straight.

    >>> weights("line", 0.25), weights("bezier", 0.5), weights("chain", 0.25)
    ((0.75, 0.0, 0.25), (0.25, 0.5, 0.25), (0.5, 0.5, 0.0))
    """
    match curve:
        case "line":
            return 1 - t, 0.0, t
        case "bezier":
            return (1 - t) ** 2, 2 * t * (1 - t), t**2
    return max(1 - 2 * t, 0.0), 1 - abs(1 - 2 * t), max(2 * t - 1, 0.0)


def parameters(model: nn.Module) -> State:
    """A model's parameters by name: views, detached."""
    return {name: p.detach() for name, p in model.named_parameters()}


def flat(theta: State) -> Tensor:
    """All parameters as one vector [d]."""
    return vector.flat(theta.values())


def losses_of(loss: Loss, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Losses [N] in float64, one a sample."""
    with torch.no_grad():
        parts = [loss(model(xs), ys) for xs, ys in zip(x.split(_BATCH), y.split(_BATCH), strict=True)]
    found = torch.cat(parts)
    return found.to(vector.wide(found))


def strangers(start: nn.Module, end: nn.Module) -> list[str]:
    """The buffers in which two networks differ and that no pass over data gives anew: all but running statistics."""
    known = {id(buffer) for m in start.modules() if isinstance(m, _NormBase) for buffer in m.buffers(recurse=False)}
    return [name for name, b in start.named_buffers() if id(b) not in known and not torch.equal(b, end.get_buffer(name))]


@dataclass(frozen=True)
class Training:
    """How a bend is trained.

    Attributes:
        curve: Of which path.
        epochs: Passes over the training samples.
        lr: The highest rate of Adam, relative to the root mean square of each parameter tensor. It rises for a tenth of the steps and
            falls to 0 as a cosine.
        seed: Of the order of samples and of the places on the path.
        batch: Samples a step.
    """

    curve: Curve
    epochs: int
    lr: float
    seed: int
    batch: int = 128

    def share(self, done: float) -> float:
        """The share of `lr` after a share of all steps."""
        return min(done / _RISE, (1 + math.cos(math.pi * done)) / 2)


def train(surface: Surface, start: State, end: State, how: Training) -> tuple[Corners, list[float]]:
    """Trains the bend, from the midpoint on, to minimise the expected training loss at t ~ U(0, 1) (Garipov et al. 2018, equation 2).

    Each step has one t. Those of an epoch lie in as many equal parts of [0, 1] as it has steps, one in each, in random order: every t is
    uniform, and their mean varies less than that of independent ones.

    Returns:
        The path's points, and the mean loss of every epoch.
    """
    bend = {name: (p + end[name]) / 2 for name, p in start.items()}
    corners = Corners(start, bend, end)
    trained = [bend[name].requires_grad_() for name, p in surface.model.named_parameters() if p.requires_grad]
    groups = [{"params": [p], "lr": how.lr * max(float(p.detach().square().mean().sqrt()), _LEAST)} for p in trained]
    n, steps = len(surface.x), math.ceil(len(surface.x) / how.batch)
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: how.share((k + 0.5) / (how.epochs * steps)))
    chance, found = torch.Generator().manual_seed(how.seed), []
    with surface.batch_statistics(), torch.enable_grad():
        for _ in range(how.epochs):
            order = torch.randperm(n, generator=chance).to(surface.x.device)
            places = (torch.randperm(steps, generator=chance) + torch.rand(steps, generator=chance)) / steps
            total = torch.zeros((), device=surface.x.device)
            for chosen, t in zip(order.tensor_split(steps), places.tolist(), strict=True):
                optimizer.zero_grad()
                loss = surface.loss(surface(corners.at(weights(how.curve, t)), surface.x[chosen]), surface.y[chosen]).mean()
                loss.backward()
                optimizer.step()
                schedule.step()
                total = total + loss.detach() * len(chosen) / n
            found.append(float(total))
    return Corners(start, {name: p.detach() for name, p in bend.items()}, end), found


@dataclass(frozen=True, eq=False)
class Profile:
    """The losses of every sample along a way, in float64.

    Attributes:
        t: The places [T], from 0 to 1.
        train: [T, N].
        evaluation: [T, M].
    """

    t: tuple[float, ...]
    train: Tensor
    evaluation: Tensor

    @property
    def barrier(self) -> float:
        """The highest mean training loss over the higher of its ends', at least 0; NaN where one is."""
        means = self.train.mean(1)
        return float(means.max() - means[[0, -1]].max())


def profile(surface: Surface, corners: Corners, curve: Curve, points: int, evaluation: tuple[Tensor, Tensor]) -> Profile:
    """The losses at so many equally spaced places on a path, or on the straight line between its ends."""
    places = tuple(i / (points - 1) for i in range(points))
    train = surface.x, surface.y
    found = [surface.losses(corners.at(weights(curve, t)), train, evaluation) for t in places]
    on_train, on_evaluation = (torch.stack(rows) for rows in zip(*found, strict=True))
    return Profile(places, on_train, on_evaluation)


@dataclass(frozen=True)
class Plane:
    """The plane of a path's three points: start at (0, 0), end at (length, 0), bend at (along, height); distances as in all weights."""

    length: float
    along: float
    height: float

    @classmethod
    def of(cls, corners: Corners) -> Plane | None:
        """The plane, or None where the bend lies on the line through the ends."""
        start = flat(corners.start)
        across, bend = flat(corners.end) - start, flat(corners.bend) - start
        length = float(vector.length(across))
        along = float(vector.dot(bend, across)) / length
        height = float(vector.length(bend - across * (along / length)))
        return cls(length, along, height) if height > 1e-6 * length else None

    def weights(self, u: float, v: float) -> Weights:
        """The weights of start, bend and end that make the network at (u, v)."""
        bend = v / self.height
        end = (u - bend * self.along) / self.length
        return 1 - bend - end, bend, end

    def at(self, weights: Weights) -> tuple[float, float]:
        """Where the network with these weights lies."""
        _, bend, end = weights
        return bend * self.along + end * self.length, bend * self.height

    def axes(self, k: int) -> tuple[list[float], list[float]]:
        """Coordinates [k] of a grid around the three points, along both axes."""
        left, right = min(0.0, self.along), max(self.length, self.along)
        room = _MARGIN * max(right - left, self.height)
        spans = (left - room, right + room), (-room, self.height + room)
        us, vs = ([low + (high - low) * i / (k - 1) for i in range(k)] for low, high in spans)
        return us, vs


def contour(surface: Surface, corners: Corners, plane: Plane, k: int) -> list[list[float]]:
    """The mean training loss on a k x k grid of the plane, a row for every v of `Plane.axes`."""
    us, vs = plane.axes(k)
    here = surface.x, surface.y
    return [[float(surface.losses(corners.at(plane.weights(u, v)), here)[0].mean()) for u in us] for v in vs]
