"""Training-free scores of backward passes: how strongly weights and inputs of the untrained network answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from robustradar import Bench, Column, Metric, Needs, Outcome, Task, Threat, fixed
from robustradar_baselines import untrained

if TYPE_CHECKING:
    from torch import Tensor, nn

FLAT = "a sample's input gradient is the same for every feature, and correlates with nothing"
_K = 1e-5  # Mellor et al. 2020
_SYNFLOW_EVIDENCE = (
    "τ .61 [.59, .63] over 1,614 networks of one search space, where parameters have .64 [.62, .66], and .42 [.03, .76] "
    "over 19 small ones of several families on CIFAR-10, where parameters have .21 [−.12, .52]."
)
_GRADIENTS_EVIDENCE = (
    "zico has τ .67 [.63, .71] over 300 networks of one search space, jacov .63 [.59, .66], snip .14 [.07, .21] and "
    "grad_norm .09 [.01, .16], where parameters have .65 [.61, .70]."
)


@dataclass(frozen=True)
class SynFlow(Metric):
    """Synaptic flow: the logarithm of the signal that all paths of the untrained network carry. Needs no data."""

    name: str = fixed("synflow")
    columns: tuple[Column, ...] = fixed((Column("synflow", "higher", "1"),))
    evidence: str = fixed(_SYNFLOW_EVIDENCE)
    repeats: untrained.Repeats = 1

    def needs(self, task: Task, threat: Threat) -> Needs:
        """Nothing."""
        return Needs()

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """The flow of an input of ones."""
        x, _ = bench.splits["train"].spread(1)
        return untrained.averaged(self.columns, bench, self.repeats, lambda network: {"synflow": flow(network, x)})


def flow(network: nn.Module, x: Tensor) -> float | str:
    """Logarithm of Σ θ·∂R/∂θ over weights, R the sum of the outputs."""
    import torch

    weights = [theta for theta in untrained.linearised(network).parameters() if theta.ndim > 1]
    total = network(torch.ones_like(x[:1], dtype=torch.float64)).sum()
    if not (weights and total.requires_grad):
        return untrained.DEAD
    pulls = torch.autograd.grad(total, weights, materialize_grads=True)
    found = sum(float((theta.detach() * pull).sum()) for theta, pull in zip(weights, pulls, strict=True))
    return math.log(found) if found > 0 else untrained.DEAD


@dataclass(frozen=True)
class Gradients(Metric):
    """ZiCo, SNIP, gradient norm, JacCov and input-gradient norm of the untrained network, from a backward pass a batch.

    See docs/baselines.md for the formulas.
    """

    name: str = fixed("gradients")
    columns: tuple[Column, ...] = fixed(
        (
            Column("zico", "higher", "1"),
            Column("snip", "higher", "loss"),
            Column("grad_norm", "higher", "1"),
            Column("jacov", "higher", "1"),
            Column("input_gradient_norm", "none", "1"),
        )
    )
    evidence: str = fixed(_GRADIENTS_EVIDENCE)
    batch: untrained.Batch = 64
    batches: Annotated[int, Field(ge=2, description="how many batches, over whose gradients the deviation is taken")] = 2
    repeats: untrained.Repeats = 1

    def needs(self, task: Task, threat: Threat) -> Needs:
        """Nothing."""
        return Needs()

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Of the task's own loss: cross-entropy, or the squared error."""
        x, y = bench.splits["train"].spread(self.batch * self.batches)
        parts = [(x[k :: self.batches], y[k :: self.batches]) for k in range(self.batches)]
        return untrained.averaged(self.columns, bench, self.repeats, lambda net: scores(untrained.on_batches(net), parts, bench.loss))


def scores(network: nn.Module, batches: list[tuple[Tensor, Tensor]], loss: Callable[[Tensor, Tensor], Tensor]) -> untrained.Found:
    """All columns; all but ZiCo from the first batch."""
    import torch

    names = [column.name for column in Gradients.columns]
    weights = [layer.weight for layer in untrained.layers(network)]
    if not weights:
        return dict.fromkeys(names, untrained.NO_LAYER)
    first, y = batches[0]
    x = first.clone().requires_grad_()
    z = network(x)
    (pulls,) = torch.autograd.grad(z.sum(), x, retain_graph=True, materialize_grads=True)
    *g, of_inputs = torch.autograd.grad(loss(z, y).mean(), [*weights, x], materialize_grads=True)
    if not any(bool(each.any()) for each in g):
        return dict.fromkeys(names, untrained.DEAD)
    others = [torch.autograd.grad(loss(network(x), y).mean(), weights, materialize_grads=True) for x, y in batches[1:]]
    return {
        "zico": zico([g, *others]),
        "snip": sum(float((theta.detach() * each).abs().sum()) for theta, each in zip(weights, g, strict=True)),
        "grad_norm": sum(float(each.norm()) for each in g),
        "jacov": jacov(pulls.flatten(1)),
        "input_gradient_norm": float(of_inputs.flatten(1).norm(dim=1).mean()) * len(x),  # the loss is the mean over samples
    }


def zico(batches: Sequence[Sequence[Tensor]]) -> float:
    """Σ over layers ln Σ over weights mean |g| / std g, mean and deviation over batches."""
    import torch

    total = 0.0
    for of_layer in zip(*batches, strict=True):
        g = torch.stack(of_layer).double()
        deviation = g.std(0, correction=0)
        ratio = (g.abs().mean(0) / deviation)[deviation > 0].sum()
        total += float(ratio.log()) if ratio > 0 else 0.0
    return total


def jacov(pulls: Tensor) -> float | str:
    """−Σ (ln(v + k) + 1/(v + k)) over the eigenvalues v of the correlation of the samples' input gradients [N, d]."""
    import torch

    pulls = pulls.double()
    if not bool((pulls.std(1, correction=0) > 0).all()):
        return FLAT
    v = torch.linalg.eigvalsh(torch.corrcoef(pulls)).clamp(min=0) + _K
    return -float((v.log() + 1 / v).sum())
