"""The papers' recipes by name."""

from __future__ import annotations

from typing import Any

from robustradar import Recipe


class PaperP(Recipe):
    """As [P] trains from scratch: 200 epochs of SGD, its rate divided by ten at epochs 100 and 150, shifted and mirrored images."""


class PaperPSvhn(Recipe):
    """As [P] trains on SVHN: like `paper-p`, at a tenth of its rate, images as they are."""


class PaperPFinetune(Recipe):
    """As [P] fine-tunes: 40 epochs with a rate that rises and falls."""


class PaperT(Recipe):
    """For the studies of [T], which states no recipe that we know of: as [P] trains from scratch."""


# [P], section 4: batch 128, lr 0.1 (SVHN 0.01); the epoch with the smallest adversarial evaluation loss. The highest rate of its
# fine-tuning (algorithm A.1) is chosen here.
_SCRATCH: dict[str, Any] = {
    "lr": 0.1,
    "weight_decay": 5e-4,
    "epochs": 200,
    "batch": 128,
    "schedule": "step",
    "milestones": (0.5, 0.75),
    "augment": "crop-flip",
}
RECIPES = (
    PaperP(**_SCRATCH, name="paper-p"),
    PaperPSvhn(**_SCRATCH | {"lr": 0.01, "augment": "none"}, name="paper-p-svhn"),
    PaperPFinetune(**_SCRATCH | {"lr": 0.01, "epochs": 40, "schedule": "rise-and-fall", "warmup": 0.5}, name="paper-p-finetune"),
    PaperT(**_SCRATCH, name="paper-t"),
)
