"""CRoZe: how much of the untrained network remains after an adversarial step of its weights and inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from robustradar import Bench, Column, Metric, Needs, Outcome, Task, Threat, fixed
from robustradar_baselines import untrained

if TYPE_CHECKING:
    from torch import Tensor, nn
_EVIDENCE = "τ .65 [.61, .69] over 300 networks of one search space, where parameters have .65 [.61, .70]."


@dataclass(frozen=True)
class Croze(Metric):
    """CRoZe: how consistent features, weights and gradients of the untrained network are with those of an adversarially perturbed twin.

    See docs/baselines.md for the formula.
    """

    name: str = fixed("croze")
    columns: tuple[Column, ...] = fixed((Column("croze", "higher", "1"),))
    evidence: str = fixed(_EVIDENCE)
    batch: untrained.Batch = 16
    eps: Annotated[float, Field(gt=0, description="how far every input value goes, in the data's own units")] = 0.01
    step: Annotated[float, Field(gt=0, description="how far the weights of each layer go, as a multiple of their norm")] = 2.0
    repeats: untrained.Repeats = 1

    def needs(self, task: Task, threat: Threat) -> Needs:
        """Nothing."""
        return Needs()

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """No interval for a single draw of the weights."""
        x, y = bench.splits["train"].spread(self.batch)
        x = x.double()

        def stepped(x: Tensor, g: Tensor) -> Tensor:
            x = x + self.eps * g.sign()
            return x.clamp(*bench.threat.bounds) if bench.threat.bounds else x

        def score(network: nn.Module) -> untrained.Found:
            return {"croze": consistency(untrained.linearised(network), lambda z: bench.loss(z, y).mean(), x, self.step, stepped)}

        return untrained.averaged(self.columns, bench, self.repeats, score)


def consistency(
    network: nn.Module, loss: Callable[[Tensor], Tensor], x: Tensor, step: float, stepped: Callable[[Tensor, Tensor], Tensor]
) -> float | str:
    """Σ over layers (1 + cos(z, z')) · (1 + cos(θ, θ')) · abs(cos(g, g')), the prime for the perturbed twin. Changes the weights.

    Args:
        network: Linearised.
        loss: Of its outputs.
        x: The inputs [N, *shape].
        step: How far weights go, as a multiple of their norm.
        stepped: The perturbed inputs from inputs and the loss's gradient there.
    """
    import torch

    weights = [layer.weight for layer in untrained.layers(network)]
    if not weights:
        return untrained.NO_LAYER
    clean, g, _ = _answer(network, loss, x)
    if not any(bool(each.any()) for each in g):
        return untrained.DEAD
    theta = [each.detach().clone() for each in weights]
    with torch.no_grad():
        for weight, each in zip(weights, g, strict=True):
            weight.add_(step * weight.norm() * each / (each.norm() if each.any() else 1))
    _, _, of_inputs = _answer(network, loss, x)
    perturbed, h, _ = _answer(network, loss, stepped(x, of_inputs))
    total = 0.0
    for k, (before, after) in enumerate(zip(theta, weights, strict=True)):
        if k in clean and k in perturbed:
            total += (1 + _cosine(clean[k], perturbed[k])) * (1 + _cosine(before, after.detach())) * abs(_cosine(g[k], h[k]))
    return total


def _answer(network: nn.Module, loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[dict[int, Tensor], tuple[Tensor, ...], Tensor]:
    """Features of the layers that took part, by place, and the loss's gradients by all layers' weights and by the inputs."""
    import torch

    layers, features = untrained.layers(network), dict[int, "Tensor"]()

    def keep(k: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, __, output: features.update({k: output.detach().clone()})

    handles = [layer.register_forward_hook(keep(k)) for k, layer in enumerate(layers)]
    x = x.clone().requires_grad_()
    try:
        value = loss(network(x))
    finally:
        for handle in handles:
            handle.remove()
    *g, of_inputs = torch.autograd.grad(value, [*(layer.weight for layer in layers), x], materialize_grads=True)
    return features, tuple(g), of_inputs


def _cosine(a: Tensor, b: Tensor) -> float:
    """Of two tensors as vectors; 0 where one is 0."""
    import torch

    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))
