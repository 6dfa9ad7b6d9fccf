"""Learning-rate schedules, as the share of the highest rate after a share of all steps."""

from __future__ import annotations

import math

from robustradar.contract.recipe import Recipe


def share(recipe: Recipe, done: float) -> float:
    """The share of `recipe.lr` after a share `done` in [0, 1] of all steps.

    one-cycle: a linear rise over `warmup`, then a cosine to zero. rise-and-fall: a linear rise over `warmup`, then a linear fall to zero
    ([P], algorithm A.1). cosine: from one to zero. step: divided by ten at each of `milestones`. constant: one.

    >>> share(Recipe(warmup=0.2), 0.1), share(Recipe(schedule="step"), 0.6), round(share(Recipe(), 1.0), 9)
    (0.5, 0.1, 0.0)
    """
    match recipe.schedule:
        case "constant":
            return 1.0
        case "step":
            return 10.0 ** -sum(done >= milestone for milestone in recipe.milestones)
        case "cosine":
            return (1 + math.cos(math.pi * done)) / 2
    if done < recipe.warmup:
        return done / recipe.warmup
    fallen = (done - recipe.warmup) / (1 - recipe.warmup)
    return 1 - fallen if recipe.schedule == "rise-and-fall" else (1 + math.cos(math.pi * fallen)) / 2
