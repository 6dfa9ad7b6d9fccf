"""Scores that need no data: how large and how deep a network is, and how much it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from robustradar import Bench, Column, Measured, Metric, Needs, Outcome, Task, Threat, fixed
from robustradar_baselines import untrained


@dataclass(frozen=True)
class Parameters(Metric):
    """Number of trainable parameters."""

    name: str = fixed("parameters")
    columns: tuple[Column, ...] = fixed((Column("parameters", "none", "1"),))

    def needs(self, task: Task, threat: Threat) -> Needs:
        """Nothing."""
        return Needs()

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Exact."""
        return {"parameters": Measured(sum(p.numel() for p in bench.network().parameters() if p.requires_grad))}


@dataclass(frozen=True)
class Macs(Metric):
    """Multiply–accumulate operations of one input's forward pass, in convolutions and matrix products (PyTorch's FLOP counter, halved)."""

    name: str = fixed("macs")
    columns: tuple[Column, ...] = fixed((Column("macs", "none", "1"),))

    def needs(self, task: Task, threat: Threat) -> Needs:
        """Nothing."""
        return Needs()

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Exact, for the operations that are counted."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        network = bench.network()
        x, _ = next(iter(bench.splits["evaluation"]))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(x[:1])
        return {"macs": Measured(counter.get_total_flops() / 2)}


@dataclass(frozen=True)
class Layers(Metric):
    """Number of convolutions and linear layers, those on parallel paths included: what many training-free scores count in other words."""

    name: str = fixed("layers")
    columns: tuple[Column, ...] = fixed((Column("layers", "none", "1"),))

    def needs(self, task: Task, threat: Threat) -> Needs:
        """Nothing."""
        return Needs()

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Exact."""
        return {"layers": Measured(len(untrained.layers(bench.network())))}
