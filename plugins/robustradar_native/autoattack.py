"""AutoAttack (Croce and Hein 2020) with its standard budget; FAB is torchattacks', the other members are this package's."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from robustradar import Victim
from robustradar.adapter.unit import UnitBox
from robustradar.numerics.balls import confine
from robustradar_native.apgd import dlr, targeted, untargeted
from robustradar_native.cascade import Member, cascade
from robustradar_native.square import square


def autoattack(victim: Victim, x: Tensor, y: Tensor, steps: int, queries: int) -> Tensor:
    """The four members in a cascade: APGD-CE, targeted APGD, targeted FAB, Square.

    Targets are the nine likeliest wrong classes, or as many as there are. With three classes, where the targeted DLR loss is not defined,
    APGD-DLR and untargeted FAB stand in; with two, where no DLR loss is, untargeted FAB alone.

    Args:
        victim: Model, loss and threat, p = 2 or inf.
        x: Clean images [N, channels, height, width], inside the box.
        y: Labels [N].
        steps: Of each of the first three members and each target; the standard is 100.
        queries: Of Square; the standard is 5000.

    Returns:
        Points with a wrong answer where one was found, else x.
    """
    members: list[Member] = [
        *gradient_members(victim, x, steps),
        partial(fab, victim, steps=steps, targets=_targets(_classes(victim, x))),
        lambda x, y: square(victim, x, y, queries),
    ]
    return cascade(victim, x, y, members)


def gradient_members(victim: Victim, x: Tensor, steps: int) -> list[Member]:
    """The first two members: APGD-CE, and targeted APGD, or with three classes APGD-DLR, or with two nothing."""
    members = untargeted(victim, lambda outputs, y, _: victim.loss(outputs, y), steps, 1)
    classes = _classes(victim, x)
    if targets := _targets(classes):
        return members + targeted(victim, targets, steps, 1)
    return members + (untargeted(victim, dlr, steps, 1) if classes == 3 else [])


def _classes(victim: Victim, x: Tensor) -> int:
    """How many outputs the model has."""
    with torch.no_grad():
        return int(victim.model(x[:1]).shape[1])


def _targets(classes: int) -> int:
    """How many wrong classes are aimed at; none where the targeted DLR loss is not defined."""
    return min(9, classes - 1) if classes > 3 else 0


def fab(victim: Victim, x: Tensor, y: Tensor, steps: int, targets: int) -> Tensor:
    """Fast Adaptive Boundary (Croce and Hein 2020) by torchattacks: the nearest wrong point, where it lies inside the ball.

    Data of any range are mapped to the [0, 1] that torchattacks takes; where there is no box, one is used that holds every ball.

    Args:
        victim: Model and threat, p = 2 or inf.
        x: Clean inputs [N, *shape], inside the box.
        y: Labels [N].
        steps: Iterations of each target.
        targets: How many of the likeliest wrong classes to aim at; 0: untargeted.
    """
    import torchattacks

    box = victim.bounds or (float(x.min()) - victim.eps, float(x.max()) + victim.eps)
    model = UnitBox(victim.model, x, box)
    seed = int(torch.randint(2**31, (), generator=victim.generator, device=victim.generator.device))
    attack = torchattacks.FAB(
        model,
        norm="Linf" if math.isinf(victim.p) else "L2",
        eps=victim.eps / model.width,
        steps=steps,
        seed=seed,
        multi_targeted=targets > 0,
        n_classes=targets + 1,
    )
    with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):  # it reseeds the global generators
        z = attack(model.enter(x), y)
    return x + confine(x, model.leave(z) - x, victim.p, victim.eps, victim.bounds)
