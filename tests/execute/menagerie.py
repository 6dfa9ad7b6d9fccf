"""A plugin for the tests of execution: tiny networks and metrics, tame ones and wild ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

import robustradar as rr
from robustradar import ADVERSARIAL, CLEAN, AttackNeed, Column, FitNeed, Measured, Needs, Skipped


def linear(shape: tuple[int, ...], outputs: int, bias: bool = True) -> nn.Module:
    """A linear map."""
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), outputs, bias=bias))


def normed(shape: tuple[int, ...], outputs: int, width: int = 8) -> nn.Module:
    """One hidden layer with batch statistics and dropout."""
    inside = nn.Linear(int(np.prod(shape)), width)
    return nn.Sequential(nn.Flatten(), inside, nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, outputs))


def unbuildable(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Raises while it is built."""
    raise ValueError("needs images of 32 pixels")


def crooked(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """One output too many."""
    return linear(shape, outputs + 1)


def nothing(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Forgets its return."""
    return None  # type: ignore[return-value]


class Fuse(nn.Module):
    """Raises after some training passes."""

    left = 0
    message = "the fuse is burnt"

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            Fuse.left -= 1
            if Fuse.left < 0:
                raise RuntimeError(self.message)
        return self.inside(x)  # type: ignore[no-any-return]


def fused(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Raises while it is trained."""
    return Fuse(linear(shape, outputs))


class Frail(Fuse):
    """Runs out of memory after some training passes."""

    message = "CUDA out of memory. Tried to allocate 2.00 GiB"


class Narrow(nn.Module):
    """Takes few samples at a time while it is trained."""

    limit = 8

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > self.limit:
            raise RuntimeError(Frail.message)
        return self.inside(x)  # type: ignore[no-any-return]


def narrow(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Runs out of memory for more than eight samples."""
    return Narrow(linear(shape, outputs))


class Cramped(nn.Module):
    """Takes few samples at a time while it is not trained."""

    limit = 1000
    seen: ClassVar[list[int]] = []

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            self.seen.append(len(x))
            if len(x) > self.limit:
                raise RuntimeError(Frail.message)
        return self.inside(x)  # type: ignore[no-any-return]


def cramped(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Runs out of memory for more samples than there is room for just now."""
    return Cramped(linear(shape, outputs))


def picky(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Wants images."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.LazyLinear(outputs))


def frail(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Runs out of memory while it is trained."""
    return Frail(linear(shape, outputs))


@dataclass(frozen=True)
class Sign(rr.Attack):
    """Steps along the gradient's sign; together they are as long as the ball's radius."""

    steps: int = 1

    def perturb(self, victim: rr.Victim, x: Tensor, y: Tensor) -> Tensor:
        for _ in range(self.steps):
            x = x.detach().requires_grad_()
            (g,) = torch.autograd.grad(victim.loss(victim.model(x), y).sum(), x)
            x = x.detach() + victim.eps / self.steps * g.sign()
            x = x.clamp(*victim.bounds) if victim.bounds else x
        return x


@dataclass(frozen=True)
class Beyond(Sign):
    """For training alone."""

    reach: float = rr.fixed(2.0)


@dataclass(frozen=True)
class Timid(rr.Attack):
    """Stays where it is."""

    def perturb(self, victim: rr.Victim, x: Tensor, y: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class Wild(rr.Attack):
    """Leaves the ball, raises, or answers NaN."""

    how: str = "leave"

    def perturb(self, victim: rr.Victim, x: Tensor, y: Tensor) -> Tensor:
        if self.how == "raise":
            raise IndexError("no such pixel")
        if self.how == "nan":
            return x * torch.nan
        return x - 3 * victim.eps


@dataclass(frozen=True)
class Accuracy(rr.Metric):
    """Share of right answers of the clean fit, one value a sample."""

    calls: ClassVar[list[str]] = []
    name: str = rr.fixed("accuracy")
    columns: tuple[Column, ...] = rr.fixed((Column("accuracy", "higher", "fraction"),))

    def needs(self, task: rr.Task, threat: rr.Threat) -> Needs:
        return Needs(fits={"model": FitNeed(CLEAN)})

    def measure(self, bench: rr.Bench) -> Mapping[str, rr.Outcome]:
        self.calls.append("accuracy")
        assert not any(module.training for module in bench.fits["model"].model.modules())
        with torch.no_grad():
            right = torch.cat([bench.fits["model"].model(x).argmax(1) == y for x, y in bench.splits["evaluation"]]).numpy()
        return {"accuracy": Measured(float(right.mean()), samples=right)}


@dataclass(frozen=True)
class Attacked(rr.Metric):
    """Mean adversarial loss of the adversarially trained fit."""

    name: str = rr.fixed("attacked")
    columns: tuple[Column, ...] = rr.fixed((Column("attacked_loss", "lower", "loss"),))
    attack: str = "menagerie/sign"

    def needs(self, task: rr.Task, threat: rr.Threat) -> Needs:
        return Needs(fits={"model": FitNeed(ADVERSARIAL)}, attacks={"attack": AttackNeed(self.attack)})

    def measure(self, bench: rr.Bench) -> Mapping[str, rr.Outcome]:
        model, attack = bench.fits["model"].model, bench.attacks["attack"]
        return {"attacked_loss": Measured(torch.cat([attack(model, x, y).loss for x, y in bench.splits["evaluation"]]).mean().item())}


@dataclass(frozen=True)
class Hardened(rr.Metric):
    """Clean accuracy of the adversarially trained fit: nothing is attacked."""

    name: str = rr.fixed("hardened")
    columns: tuple[Column, ...] = rr.fixed((Column("hardened", "higher", "fraction"),))
    inner: str | None = None

    def needs(self, task: rr.Task, threat: rr.Threat) -> Needs:
        return Needs(fits={"model": FitNeed(ADVERSARIAL, attack=self.inner)})

    def measure(self, bench: rr.Bench) -> Mapping[str, rr.Outcome]:
        with torch.no_grad():
            right = torch.cat([bench.fits["model"].model(x).argmax(1) == y for x, y in bench.splits["evaluation"]])
        return {"hardened": Measured(right.double().mean().item())}


@dataclass(frozen=True)
class Size(rr.Metric):
    """Number of parameters: needs no fit."""

    calls: ClassVar[list[str]] = []
    name: str = rr.fixed("size")
    columns: tuple[Column, ...] = rr.fixed((Column("size", "none", "1"),))

    def needs(self, task: rr.Task, threat: rr.Threat) -> Needs:
        return Needs()

    def measure(self, bench: rr.Bench) -> Mapping[str, rr.Outcome]:
        self.calls.append("size")
        return {"size": Measured(sum(p.numel() for p in bench.network().parameters()))}


@dataclass(frozen=True)
class Vandal(rr.Metric):
    """Destroys the model, the generators and the gradient mode that it was given."""

    name: str = rr.fixed("vandal")
    columns: tuple[Column, ...] = rr.fixed((Column("vandal", "none", "1"),))

    def needs(self, task: rr.Task, threat: rr.Threat) -> Needs:
        return Needs(fits={"model": FitNeed(CLEAN)})

    def measure(self, bench: rr.Bench) -> Mapping[str, rr.Outcome]:
        for parameter in bench.fits["model"].model.parameters():
            parameter.data.zero_()
        bench.fits["model"].model.train()
        torch.manual_seed(0)
        torch.set_grad_enabled(False)
        return {"vandal": Measured(0.0)}


@dataclass(frozen=True)
class Head(rr.Metric):
    """Share of the first class among the answers to so many samples, all at once."""

    name: str = rr.fixed("head")
    columns: tuple[Column, ...] = rr.fixed((Column("head", "none", "1"),))
    batch: int = 16

    def needs(self, task: rr.Task, threat: rr.Threat) -> Needs:
        return Needs(fits={"model": FitNeed(CLEAN)})

    def measure(self, bench: rr.Bench) -> Mapping[str, rr.Outcome]:
        x, _ = bench.splits["evaluation"].spread(self.batch)
        return {"head": Measured((bench.fits["model"].model(x).argmax(1) == 0).float().mean().item())}


ANSWERS: dict[str, Any] = {
    "none": lambda: None,
    "list": lambda: [Measured(1.0)],
    "missing": lambda: {"a": Measured(1.0)},
    "extra": lambda: {"a": Measured(1.0), "b": Measured(1.0), "c": Measured(1.0)},
    "number": lambda: {"a": 1.0, "b": Measured(1.0)},
    "nan": lambda: {"a": Measured(float("nan")), "b": Measured(1.0)},
    "truth": lambda: {"a": Measured(True), "b": Measured(1.0)},
    "below": lambda: {"a": Measured(1.0, low=2.0, high=3.0), "b": Measured(1.0)},
    "above": lambda: {"a": Measured(1.0, high=0.5), "b": Measured(1.0)},
    "bounds": lambda: {"a": Measured(0.5, low=0.5), "b": Measured(0.5, low=0.5 + 1e-9, high=0.5)},
    "infinite-end": lambda: {"a": Measured(1.0, 0.0, float("inf")), "b": Measured(1.0)},
    "tensor": lambda: {"a": Measured(torch.tensor(1.0)), "b": Measured(1.0)},  # type: ignore[arg-type]
    "text": lambda: {"a": Measured("1"), "b": Measured(1.0)},  # type: ignore[arg-type]
    "details": lambda: {"a": Measured(1.0, details={"x": np.ones(2)}), "b": Measured(1.0)},
    "nan-details": lambda: {"a": Measured(1.0, details={"x": float("nan")}), "b": Measured(1.0)},
    "flags": lambda: {"a": Measured(1.0, flags=({1},)), "b": Measured(1.0)},  # type: ignore[arg-type]
    "samples": lambda: {"a": Measured(1.0, samples=np.ones((2, 2))), "b": Measured(1.0)},
    "nan-samples": lambda: {"a": Measured(1.0, samples=[1.0, float("nan")]), "b": Measured(1.0)},
    "text-samples": lambda: {"a": Measured(1.0, samples=["x"]), "b": Measured(1.0)},
    "fine": lambda: {"a": Measured(np.float32(0.5), samples=torch.ones(3)), "b": Skipped("does not apply")},  # type: ignore[arg-type]
    "raise": lambda: {}["key"],
}


@dataclass(frozen=True)
class Odd(rr.Metric):
    """Returns what its parameter says."""

    calls: ClassVar[list[str]] = []
    name: str = rr.fixed("odd")
    columns: tuple[Column, ...] = rr.fixed((Column("a", "none", "1"), Column("b", "none", "1")))
    answer: str = "none"

    def needs(self, task: rr.Task, threat: rr.Threat) -> Needs:
        if self.answer == "needs":
            raise LookupError("cannot say")
        return Needs() if self.answer != "needs-none" else None  # type: ignore[return-value]

    def measure(self, bench: rr.Bench) -> Mapping[str, rr.Outcome]:
        self.calls.append(self.answer)
        return ANSWERS[self.answer]()  # type: ignore[no-any-return]


@rr.hookimpl
def robustradar_architectures() -> tuple[rr.Architecture, ...]:
    return tuple(rr.architecture(f) for f in (linear, normed, unbuildable, crooked, nothing, picky, fused, frail, narrow, cramped))


@rr.hookimpl
def robustradar_attacks() -> tuple[rr.Attack, ...]:
    first = Sign(name="first", kind="first_success")
    return (Sign(name="sign"), Beyond(name="beyond"), Timid(name="timid"), Wild(name="wild"), first, Sign(name="images-only", images=True))


@rr.hookimpl
def robustradar_metrics() -> tuple[rr.Metric, ...]:
    return (Accuracy(), Attacked(), Hardened(), Size(), Vandal(), Head(), Odd())


@rr.hookimpl
def robustradar_recipes() -> tuple[rr.Recipe, ...]:
    return (rr.Recipe(name="brief", optimizer="sgd", lr=0.1, epochs=2, batch=16, weight_decay=0.0),)


@dataclass(frozen=True)
class ByName(rr.Ranker):
    """Alphabetical."""

    name: str = rr.fixed("by-name")
    weights: tuple[float, ...] = field(default=())

    def rank(self, table: rr.ScoreTable) -> rr.Ranking:
        names = sorted({score.candidate for score in table.scores})
        return rr.Ranking(tuple(rr.RankingRow(i, i, i, n, i) for i, n in enumerate(names, 1)), columns=())


@rr.hookimpl
def robustradar_rankers() -> tuple[rr.Ranker, ...]:
    return (ByName(),)
