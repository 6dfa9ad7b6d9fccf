"""Mode connectivity [P, section 5.2]: whether a path of low clean loss leads from the clean to the adversarially trained network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from robustradar import ADVERSARIAL, CLEAN, Bench, Column, Failed, FitNeed, Measured, Metric, Needs, Outcome, Skipped, Task, Threat, fixed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from robustradar_transition.path import Corners, Profile, State, Surface

    Floats = NDArray[np.float64]

GIVEN = "the weights were given, and a path needs a clean and an adversarially trained network"
SAME = "the clean and the adversarially trained network have the same parameters, and no path leads from one to the other"
STRANGERS = "the networks differ in the buffers {names}, which are neither parameters nor BatchNorm's, so that none lies between them"
ENDLESS = "the clean training loss is not finite all along the {way}. Use a smaller lr, here if it is the path, else in the recipe"
FALLING = "barrier-still-falling"

# A barrier that is higher by more than this share of it after half the epochs is still falling; chosen here.
_FALLING = 0.1
_PLANE = 512
_DRAWS, _TAILS = 1000, (0.025, 0.975)
# Counts that one block of draws may hold at once, chosen here: 16 MB.
_BLOCK = 1 << 21


@dataclass(frozen=True)
class Connectivity(Metric):
    """The barrier on a path with one trained bend from the clean to the adversarially trained network (Garipov et al. 2018).

    With L(t) the clean training loss at t in [0, 1] on the path, `barrier` is max L(t) − max(L(0), L(1)) over `points` equally spaced t,
    the ends included: at least 0, and 0 where no point is above the higher end. `barrier_line` is the same on the straight line. The
    bend starts at the midpoint and is trained to minimise the mean of L over t: the clean training loss, whatever the networks were
    trained for.

    BatchNorm's running statistics belong to one network alone, so L takes them anew from the training samples at every t, the ends
    included: else the adversarially trained network's, of attacked inputs, would make a step at t = 1 that is no barrier. The losses with
    the networks' own are in the details. Dropout is off, also while the bend is trained.

    Intervals resample the training samples, the same ones for all t, and look for the highest t anew in every draw. Such a maximum is a
    little too high in the mean, by about `bootstrap_bias` in the details. They say nothing of other trainings of the bend. Where a
    barrier remains, a second bend is trained for half the epochs, and `barrier-still-falling` flags that its barrier is higher by more
    than a tenth: more epochs would lower it further. Details: losses along both ways, distances, and the loss in the three points' plane.
    """

    name: str = fixed("connectivity")
    columns: tuple[Column, ...] = fixed((Column("barrier", "lower", "loss"), Column("barrier_line", "lower", "loss")))
    curve: Annotated[Literal["bezier", "chain"], Field(description="the path: a quadratic Bézier curve, or two straight pieces")] = "bezier"
    epochs: Annotated[int, Field(ge=2, description="passes over the training split that train the bend")] = 30
    lr: Annotated[float, Field(gt=0, description="highest rate of Adam, relative to each parameter tensor's root mean square")] = 0.1
    points: Annotated[int, Field(ge=3, description="places on the path where losses are measured, both ends included")] = 21
    grid: Annotated[int, Field(description="points on each axis of the plane's picture, at least 2; 0: no picture")] = 15
    limit: Annotated[int, Field(ge=0, description="samples of each split to use; 0: all. The plane's picture takes at most 512")] = 0
    inner: Annotated[str | None, Field(description="attack to train with, e.g. native/n-fgsm; none: the study's")] = None

    def __post_init__(self) -> None:
        """Raises ValueError for a grid of one point, or fewer than none."""
        if self.grid < 0 or self.grid == 1:
            raise ValueError(f"grid: got {self.grid}, expected 0 or at least 2")

    def needs(self, task: Task, threat: Threat) -> Needs:
        """Both ends."""
        return Needs(fits={"clean": FitNeed(CLEAN), "adversarial": FitNeed(ADVERSARIAL, attack=self.inner)})

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Trains the bend, and measures along the path and the line."""
        from robustradar_transition import path

        start, end = (path.parameters(bench.fits[label].model) for label in ("clean", "adversarial"))
        if (reason := _obstacle(bench, start, end)) is not None:
            return {column.name: Skipped(reason) for column in self.columns}
        surface, evaluation = _surface(bench, self.limit), _samples(bench, "evaluation", self.limit)

        def bent(epochs: int) -> tuple[Corners, list[float], Profile]:
            corners, losses = path.train(surface, start, end, path.Training(self.curve, epochs, self.lr, bench.seed))
            return corners, losses, path.profile(surface, corners, self.curve, self.points, evaluation)

        corners, losses, profile = bent(self.epochs)
        details: dict[str, Any] = {"curve": self.curve, "training": _numbers(losses), "ends": _ends(bench, self.limit)}
        flags: tuple[str, ...] = ()
        if profile.barrier > 0:
            half = bent(self.epochs // 2)[2].barrier
            details["barrier_after_half_the_epochs"] = _number(half)
            flags = () if half <= (1 + _FALLING) * profile.barrier else (FALLING,)
        details |= _distances(corners) | {"plane": self._plane(bench, corners)}
        line = path.profile(surface, path.Corners(start, start, end), "line", self.points, evaluation)
        return {"barrier": barrier(profile, "path", details, flags), "barrier_line": barrier(line, "line", {}, ())}

    def _plane(self, bench: Bench, corners: Corners) -> dict[str, Any] | None:
        """What a picture of the plane takes; None where none is wanted, or the bend lies on the line."""
        from robustradar_transition import path

        plane = path.Plane.of(corners)
        if plane is None or not self.grid:
            return None
        surface = _surface(bench, min(self.limit or _PLANE, _PLANE))
        x, y = plane.axes(self.grid)
        points = {"clean": plane.at((1, 0, 0)), "bend": plane.at((0, 1, 0)), "adversarial": plane.at((0, 0, 1))}
        way = [plane.at(path.weights(self.curve, i / (self.points - 1))) for i in range(self.points)]
        loss = [_numbers(row) for row in path.contour(surface, corners, plane, self.grid)]
        return {"x": x, "y": y, "loss": loss, "points": points, "path": way, "samples": len(surface.x)}


def _obstacle(bench: Bench, start: State, end: State) -> str | None:
    """Why there is no path; None where there is one."""
    import torch

    from robustradar_transition import path

    if any(fit.record.spec["weights"] for fit in bench.fits.values()):
        return GIVEN
    if all(torch.equal(p, end[name]) for name, p in start.items()):
        return SAME
    names = path.strangers(bench.fits["clean"].model, bench.fits["adversarial"].model)
    return STRANGERS.format(names=", ".join(names)) if names else None


def _samples(bench: Bench, split: str, limit: int) -> tuple[Tensor, Tensor]:
    """A split, or so many of its samples."""
    whole = bench.splits[split]
    return whole.spread(limit or len(whole))


def _surface(bench: Bench, limit: int) -> Surface:
    """The clean training loss of the candidate's network."""
    from robustradar_transition import path

    return path.Surface.of(bench.fits["clean"].model, bench.loss, *_samples(bench, "train", limit), bench.seed)


def _ends(bench: Bench, limit: int) -> dict[str, dict[str, float | None]]:
    """The mean clean losses of both networks as they are, with running statistics of their own."""
    from robustradar_transition import path

    def mean(model: nn.Module, split: str) -> float | None:
        return _number(float(path.losses_of(bench.loss, model, *_samples(bench, split, limit)).mean()))

    return {label: {split: mean(fit.model, split) for split in ("train", "evaluation")} for label, fit in bench.fits.items()}


def _distances(corners: Corners) -> dict[str, float | None]:
    """How far the ends are apart, and the bend from the midpoint, where it began."""
    from robustradar.numerics import vector
    from robustradar_transition import path

    start, bend, end = (path.flat(corner) for corner in (corners.start, corners.bend, corners.end))
    ways = {"distance": end - start, "bend_distance": bend - (start + end) / 2}
    return {name: _number(float(vector.length(way))) for name, way in ways.items()}


def barrier(profile: Profile, way: str, details: Mapping[str, Any], flags: tuple[str, ...]) -> Outcome:
    """A barrier with its interval, and the losses that it was read off."""
    import numpy as np

    losses, rest = profile.train.cpu().numpy(), profile.evaluation.mean(1).tolist()
    if not np.isfinite(losses).all():
        return Failed(ENDLESS.format(way=way))
    means = losses.mean(1)
    peak, end = int(means.argmax()), -1 if means[-1] > means[0] else 0
    value, drawn = float(_excess(means)), _excess(_drawn(losses))
    low, high = np.quantile(drawn, _TAILS)
    along = {"t": list(profile.t), "train": means.tolist(), "evaluation": _numbers(rest)}
    facts = {"highest_at": profile.t[peak], "bootstrap_bias": float(drawn.mean()) - value, "n": losses.shape[1]}
    return Measured(
        value, min(value, float(low)), max(value, float(high)), flags, {way: along, **facts, **details}, losses[peak] - losses[end]
    )


def _excess(means: Floats) -> Floats:
    """The highest of means [..., T] over the higher of both ends [...]."""
    found: Floats = means.max(-1) - means[..., [0, -1]].max(-1)
    return found


def _drawn(losses: Floats) -> Floats:
    """Means of samples drawn with replacement, the same ones at every place [T, n]: [draws, T]. In blocks, to bound the memory."""
    import numpy as np

    n, chance = losses.shape[1], np.random.default_rng(0)
    size = max(1, _BLOCK // n)
    sizes = [min(size, _DRAWS - done) for done in range(0, _DRAWS, size)]
    return np.concatenate([chance.multinomial(n, np.full(n, 1 / n), some) @ losses.T / n for some in sizes])


def _numbers(values: Iterable[float]) -> list[float | None]:
    """Numbers as JSON has them."""
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    """A number, or None where it is not finite."""
    return value if math.isfinite(value) else None
