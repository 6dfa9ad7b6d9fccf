"""Auto-PGD (Croce and Hein 2020): momentum, a step that is halved sample by sample, restarts from the best point."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from robustradar import Victim
from robustradar_native.cascade import Member, cascade
from robustradar_native.gradient import better, column, losses
from robustradar_native.region import Region

# Section 3 of the paper: the share of the plain step in the momentum step, and of rising steps that a window must reach.
_PLAIN, _RISING = 0.75, 0.75
_TINY = 1e-12


@dataclass(frozen=True)
class Goal:
    """What a search maximises, for how long.

    Attributes:
        score: (outputs [N, K], labels [N], targets [N]) to scores [N].
        steps: Gradient steps, >= 1.
        stop: Whether a sample is done when its answer is wrong; else it goes on to the last step.
    """

    score: Callable[[Tensor, Tensor, Tensor], Tensor]
    steps: int
    stop: bool


@dataclass(frozen=True)
class Walk:
    """Where a search stands; the first axis of every tensor is that of the samples.

    Attributes:
        region: Where the search may go.
        y: True targets.
        target: Classes to reach; the true targets where there is none.
        point: The current points.
        before: The points one step earlier.
        value: The scores at the current points.
        slope: Their gradients.
        best: The points of largest score so far.
        top: Their scores.
        best_slope: Their gradients.
        length: Step lengths [N, 1, ...].
        rises: How many steps raised the score since the last checkpoint.
        halved: Whether the last checkpoint halved the step.
        top_then: `top` at the last checkpoint.
        fallen: Whether the answer has been wrong at some point.
        witness: A point with a wrong answer, where there was one.
        index: Which sample of the batch this is.
    """

    region: Region
    y: Tensor
    target: Tensor
    point: Tensor
    before: Tensor
    value: Tensor
    slope: Tensor
    best: Tensor
    top: Tensor
    best_slope: Tensor
    length: Tensor
    rises: Tensor
    halved: Tensor
    top_then: Tensor
    fallen: Tensor
    witness: Tensor
    index: Tensor

    def rows(self, keep: Tensor) -> Walk:
        """The walk of the chosen samples."""
        kept = {f.name: getattr(self, f.name)[keep] for f in dataclasses.fields(self) if f.name != "region"}
        return Walk(region=self.region.rows(keep), **kept)


def apgd(victim: Victim, x: Tensor, y: Tensor, goal: Goal, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """One search from a random start, for p = 2 and inf.

    z = P(point + length * ascent(slope)); point <- P(point + 0.75 * (z - point) + 0.25 * (point - before)), P the way back into ball and
    box, length = 2 eps at first. At the checkpoints 0.22, 0.41, 0.57, ... of the steps a sample's length is halved, and it goes on from its
    best point, if fewer than 0.75 of the steps since the last checkpoint raised its score, or if neither its length nor its best score has
    changed since then (Croce and Hein 2020, algorithm 1 and section 3.1).

    Args:
        victim: Model and threat.
        x: Clean inputs [N, *shape].
        y: True targets [N].
        goal: What to maximise.
        target: Classes [N] to reach, for a score that uses them.

    Returns:
        Points and scores. If the goal stops, a point with a wrong answer where one was met, else x, and -inf; samples are dropped at
        the checkpoints after they fell. If it does not stop, the points of largest score and these scores.
    """
    walk = _begun(victim, x, y, goal, y if target is None else target)
    checkpoints = windows(goal.steps)
    points, tops = x.clone(), torch.full_like(walk.top, -torch.inf)
    for step in range(1, goal.steps + 1):
        walk = _advanced(victim, goal, walk, last=step == goal.steps)
        if goal.stop and (step in checkpoints or step == goal.steps):
            left = (~walk.fallen).nonzero().flatten()  # the only wait for the device
            if len(left) < len(walk.index):
                points[walk.index] = torch.where(column(walk.fallen, x), walk.witness, points[walk.index])
                walk = walk.rows(left)
            if not len(left):
                break
        if step in checkpoints:
            walk = _checked(walk, checkpoints[step])
    return (points, tops) if goal.stop else (walk.best, walk.top)


def windows(steps: int) -> dict[int, int]:
    """The checkpoints, as steps done, and how many steps lie between each and the one before.

    >>> list(windows(100).items())[:4]
    [(22, 22), (41, 19), (57, 16), (70, 13)]
    """
    window, shrink, least = (max(percent * steps // 100, 1) for percent in (22, 3, 6))
    found: dict[int, int] = {}
    done = window
    while done < steps:
        found[done] = window
        window = max(window - shrink, least)
        done += window
    return found


def dlr(outputs: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Difference of logits ratio: -(z_y - max_{i != y} z_i) / (z_1st - z_3rd), at least 3 classes; not changed by scale and shift.

    >>> dlr(torch.tensor([[4.0, 3.0, 2.0]]), torch.tensor([0]), torch.tensor([0]))
    tensor([-0.5000])
    """
    high = outputs.topk(3, dim=1).values
    own = outputs.gather(1, y[:, None])
    other = outputs.scatter(1, y[:, None], -torch.inf).amax(1)
    return (other - own[:, 0]) / (high[:, 0] - high[:, 2] + _TINY)


def targeted_dlr(outputs: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The same towards one class t: -(z_y - z_t) / (z_1st - (z_3rd + z_4th) / 2), at least 4 classes.

    >>> targeted_dlr(torch.tensor([[4.0, 3.0, 2.0, 0.0]]), torch.tensor([0]), torch.tensor([2]))
    tensor([-0.6667])
    """
    high = outputs.topk(4, dim=1).values
    gap = outputs.gather(1, target[:, None]) - outputs.gather(1, y[:, None])
    return gap[:, 0] / (high[:, 0] - (high[:, 2] + high[:, 3]) / 2 + _TINY)


def largest_loss(victim: Victim, x: Tensor, y: Tensor, steps: int, restarts: int) -> tuple[Tensor, Tensor]:
    """The points of largest loss of the victim among the clean inputs and all searches, and these losses [N]."""
    goal = Goal(lambda outputs, y, _: victim.loss(outputs, y), steps, stop=False)
    best, top = x, losses(victim, x, y)
    for _ in range(restarts):
        best, top = better(best, top, *apgd(victim, x, y, goal))
    return best, top


def untargeted(victim: Victim, score: Callable[[Tensor, Tensor, Tensor], Tensor], steps: int, restarts: int) -> list[Member]:
    """Searches for a wrong answer, to be run as a cascade."""

    def search(x: Tensor, y: Tensor) -> Tensor:
        return apgd(victim, x, y, Goal(score, steps, stop=True))[0]

    return [search] * restarts


def targeted(victim: Victim, classes: int, steps: int, restarts: int) -> list[Member]:
    """Searches towards each of the `classes` likeliest wrong classes, in that order, to be run as a cascade."""

    def search(rank: int, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            others = victim.model(x).scatter(1, y[:, None], -torch.inf)
        target = others.argsort(dim=1, descending=True, stable=True)[:, rank]
        return apgd(victim, x, y, Goal(targeted_dlr, steps, stop=True), target)[0]

    return [partial(search, rank) for rank in range(classes) for _ in range(restarts)]


def towards_all(victim: Victim, x: Tensor, y: Tensor, steps: int, restarts: int) -> Tensor:
    """Searches towards the nine likeliest wrong classes, or as many as there are: APGD-T."""
    with torch.no_grad():
        outputs = victim.model(x[:1]).shape[1]
    return cascade(victim, x, y, targeted(victim, min(9, outputs - 1), steps, restarts))


def _begun(victim: Victim, x: Tensor, y: Tensor, goal: Goal, target: Tensor) -> Walk:
    """The walk at its random start."""
    region = Region.around(victim, x)
    point = region.drawn(victim.generator)
    value, slope, wrong = _measured(victim, goal, point, y, target)
    return Walk(
        region=region,
        y=y,
        target=target,
        point=point,
        before=point,
        value=value,
        slope=slope,
        best=point,
        top=value,
        best_slope=slope,
        length=column(torch.full_like(value, 2 * victim.eps), x),
        rises=torch.zeros_like(value),
        halved=torch.ones_like(wrong),
        top_then=value,
        fallen=wrong,
        witness=point,
        index=torch.arange(len(x), device=x.device),
    )


def _advanced(victim: Victim, goal: Goal, walk: Walk, *, last: bool) -> Walk:
    """The walk one step further; the last step needs no slope."""
    point = walk.region.stepped(walk.point, walk.slope, walk.length)
    if walk.before is not walk.point:  # the first step has no momentum
        momentum = (walk.point - walk.before).mul_(1 - _PLAIN)
        point = walk.region.confined(torch.lerp(walk.point, point, _PLAIN).add_(momentum))
    value, slope, wrong = _measured(victim, goal, point, walk.y, walk.target, sloped=not last)
    best, top = better(walk.best, walk.top, point, value)
    best_slope = slope if last else torch.where(column(value > walk.top, slope), slope, walk.best_slope)
    witness = torch.where(column(wrong & ~walk.fallen, point), point, walk.witness) if goal.stop else walk.witness
    return dataclasses.replace(
        walk,
        point=point,
        before=walk.point,
        value=value,
        slope=slope,
        best=best,
        top=top,
        best_slope=best_slope,
        rises=walk.rises + (value > walk.value),
        fallen=walk.fallen | wrong,
        witness=witness,
    )


def _checked(walk: Walk, window: int) -> Walk:
    """The walk after a checkpoint: samples that stalled take half the step from their best point."""
    stalled = (walk.rises < _RISING * window) | (~walk.halved & (walk.top_then >= walk.top))
    wide = column(stalled, walk.point)
    return dataclasses.replace(
        walk,
        point=torch.where(wide, walk.best, walk.point),
        value=torch.where(stalled, walk.top, walk.value),
        slope=torch.where(wide, walk.best_slope, walk.slope),
        length=torch.where(wide, walk.length / 2, walk.length),
        rises=torch.zeros_like(walk.rises),
        halved=stalled,
        top_then=walk.top,
    )


def _measured(
    victim: Victim, goal: Goal, point: Tensor, y: Tensor, target: Tensor, *, sloped: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores [N], their gradients (zero unless sloped), and whether answers are wrong (never, where the goal does not stop)."""
    with torch.set_grad_enabled(sloped):
        leaf = point.detach().requires_grad_(sloped)
        outputs = victim.model(leaf)
        value = goal.score(outputs, y, target)
        slope = torch.autograd.grad(value.sum(), leaf)[0] if sloped else torch.zeros_like(point)
    wrong = outputs.detach().argmax(1) != y if goal.stop else torch.zeros_like(value, dtype=torch.bool)
    return value.detach(), slope, wrong
