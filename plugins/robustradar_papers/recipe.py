"""The papers' recipes by name."""

from __future__ import annotations

from robustradar import Recipe

# [P], section 4: 200 epochs of SGD, batch 128, lr 0.1 (SVHN 0.01) divided by ten at epochs 100 and 150; the epoch with the smallest
# adversarial evaluation loss. Its fine-tuning (algorithm A.1) takes 40 epochs with a rate that rises and falls; the highest rate is
# chosen here. [T] gives no numbers that we know of: its studies are trained like [P]'s.
_SCRATCH = Recipe(
    name="paper-p", lr=0.1, weight_decay=5e-4, epochs=200, batch=128, schedule="step", milestones=(0.5, 0.75), augment="crop-flip"
)
RECIPES = (
    _SCRATCH,
    Recipe(**{**vars(_SCRATCH), "name": "paper-p-svhn", "lr": 0.01, "augment": "none"}),
    Recipe(**{**vars(_SCRATCH), "name": "paper-p-finetune", "lr": 0.01, "epochs": 40, "schedule": "rise-and-fall", "warmup": 0.5}),
    Recipe(**{**vars(_SCRATCH), "name": "paper-t"}),
)
