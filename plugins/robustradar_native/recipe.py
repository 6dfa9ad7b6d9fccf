"""Training recipes: short runs must anneal their learning rate, or they rank badly."""

from __future__ import annotations

from robustradar import Recipe

# Chosen here on digits and a CIFAR-10 subset: `quick` is the shortest run whose ranking of the quickstart's networks is that of `standard`.
RECIPES = (
    Recipe(name="quick", optimizer="adamw", lr=3e-3, weight_decay=1e-2, epochs=15, batch=64),
    Recipe(name="standard", optimizer="sgd", lr=0.1, weight_decay=5e-4, epochs=50, batch=128),
)
