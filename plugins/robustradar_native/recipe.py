"""Training recipes. Short runs anneal their learning rate: truncated long schedules rank badly."""

from __future__ import annotations

from robustradar import Recipe

# Learning rates chosen here: `quick` for small networks on small data, `standard` for image networks (the usual SGD of the adversarial
# training literature, with weights averaged against robust overfitting).
RECIPES = (
    Recipe(name="quick", optimizer="adamw", lr=3e-3, weight_decay=1e-2, epochs=15, batch=64),
    Recipe(
        name="standard", lr=0.1, weight_decay=5e-4, epochs=50, batch=128, average=0.999, augment="crop-flip", clip=1.0, channels_last=True
    ),
)
