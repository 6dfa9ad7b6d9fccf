"""Training recipes. Short runs anneal their learning rate: truncated long schedules rank badly."""

from __future__ import annotations

from robustradar import Recipe


class Quick(Recipe):
    """For small networks on small data, such as digits or tables: AdamW, few epochs. A first look, in seconds or minutes."""


class Standard(Recipe):
    """For image networks of full size: the usual SGD of adversarial training, longer, averaged weights, shifted and mirrored images."""


# Learning rates chosen here. `standard` averages weights against robust overfitting.
RECIPES = (
    Quick(name="quick", optimizer="adamw", lr=3e-3, weight_decay=1e-2, epochs=15, batch=64),
    Standard(
        name="standard", lr=0.1, weight_decay=5e-4, epochs=50, batch=128, average=0.999, augment="crop-flip", clip=1.0, channels_last=True
    ),
)
