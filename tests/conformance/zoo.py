"""Plugins that misbehave, each in one way only."""

from __future__ import annotations

import datetime
import math
import random
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

import robustradar as rr
from robustradar import AttackNeed, Column, FitNeed, Measured, Needs, Skipped

# Attacks


def gradient(victim: rr.Victim, x: Tensor, y: Tensor) -> Tensor:
    z = x.detach().requires_grad_()
    (g,) = torch.autograd.grad(victim.loss(victim.model(z), y).sum(), z)
    return g


def boxed(victim: rr.Victim, x: Tensor) -> Tensor:
    return x.clamp(*victim.bounds) if victim.bounds else x


def stepped(victim: rr.Victim, x: Tensor, y: Tensor, length: float = 1.0) -> Tensor:
    """What a tame attack does."""
    return boxed(victim, x + length * victim.eps * gradient(victim, x, y).sign())


def hooked(victim: rr.Victim, x: Tensor, y: Tensor) -> Tensor:
    victim.model.register_forward_hook(lambda *_: None)
    return stepped(victim, x, y)


def written(victim: rr.Victim, x: Tensor, y: Tensor) -> Tensor:
    return x.copy_(stepped(victim, x, y))


def ruined(victim: rr.Victim, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        next(victim.model.parameters()).zero_()
    return x


def widened(victim: rr.Victim, x: Tensor, y: Tensor) -> Tensor:
    torch.set_default_dtype(torch.float64)
    return stepped(victim, x, y)


def leaking(victim: rr.Victim, x: Tensor, y: Tensor) -> Tensor:
    z = x.clone().requires_grad_()
    return z + 0 * stepped(victim, x, y)


def averaged(victim: rr.Victim, x: Tensor, y: Tensor) -> Tensor:
    g = gradient(victim, x, y) / len(x)
    return boxed(victim, x + (20 * victim.eps * g).clamp(-victim.eps, victim.eps))


def normalised(victim: rr.Victim, x: Tensor, y: Tensor) -> Tensor:
    g = gradient(victim, x, y)
    return boxed(victim, x + victim.eps * g / g.abs().amax(tuple(range(1, x.ndim)), keepdim=True))


def runner_up(victim: rr.Victim, x: Tensor, y: Tensor) -> Tensor:
    victim.model(x).topk(3)
    return stepped(victim, x, y)


ATTACKS: dict[str, Callable[[rr.Victim, Tensor, Tensor], Any]] = {
    "nothing": lambda v, x, y: None,
    "cropped": lambda v, x, y: x[:, :, 1:],
    "double": lambda v, x, y: stepped(v, x, y).double(),
    "infinite": lambda v, x, y: x + math.inf,
    "leaking": leaking,
    "raising": lambda v, x, y: {}["step"],
    "outside": lambda v, x, y: stepped(v, x, y, 3.0),
    "unboxed": lambda v, x, y: x + v.eps * gradient(v, x, y).sign(),
    "restless": lambda v, x, y: boxed(v, stepped(v, x, y, 0.5) + 0.01),
    "dividing": lambda v, x, y: boxed(v, x + v.eps * (v.eps * gradient(v, x, y).sign() / v.eps)),
    "tiring": lambda v, x, y: boxed(v, x + min(v.eps, max(0.0, 0.3 - v.eps)) * gradient(v, x, y).sign()),
    "dicing": lambda v, x, y: boxed(v, x + v.eps * (2 * torch.rand(x.shape) - 1)),
    "averaged": averaged,
    "hooked": hooked,
    "written": written,
    "ruined": ruined,
    "widened": widened,
    "flat-footed": lambda v, x, y: boxed(v, x + v.eps * gradient(v, x, y).sign().view(len(x), *x.shape[1:3], -1)),
    "three-classes": runner_up,
    "normalised": normalised,
    "walled": lambda v, x, y: (x + v.eps * gradient(v, x, y).sign()).clamp(*v.bounds),  # type: ignore[misc]
    "declining": lambda v, x, y: (_ for _ in ()).throw(ValueError("declining: got 10 classes, expected two. Use another.")),
}


@dataclass(frozen=True)
class Misled(rr.Attack):
    """Does what its name says."""

    norms: tuple[float, ...] | None = rr.fixed((math.inf,))

    def perturb(self, victim: rr.Victim, x: Tensor, y: Tensor) -> Tensor:
        return ATTACKS[self.name](victim, x, y)  # type: ignore[no-any-return]


class Undocumented(rr.Attack):
    def perturb(self, victim: rr.Victim, x: Tensor, y: Tensor) -> Tensor:
        return stepped(victim, x, y)


@dataclass(frozen=True)
class Undescribed(Misled):
    """Has a parameter that nobody explains."""

    steps: int = 1


@dataclass(frozen=True)
class Unlimited(Misled):
    """Has a number without limits."""

    steps: Annotated[int, Field(description="gradient steps")] = 1


@dataclass(frozen=True)
class Impossible(Misled):
    """Has a default that its own limits exclude."""

    steps: Annotated[int, Field(ge=1, description="gradient steps")] = 0


# Architectures


def net(shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    """What a tame factory builds."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 8), nn.ReLU(), nn.Linear(8, outputs))


class Around(nn.Module):
    """A network with something wrong in its forward pass."""

    def __init__(self, inside: nn.Module, forward: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.inside, self.wrong = inside, forward

    def forward(self, x: Tensor) -> Any:
        return self.wrong(self.inside, x)


class Hidden(nn.Module):
    """Layers in a list of Python's."""

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 8))
        self.rest = [nn.Linear(8, outputs)]

    def forward(self, x: Tensor) -> Tensor:
        return self.rest[0](torch.relu(self.first(x)))  # type: ignore[no-any-return]


def by_numpy(shape: tuple[int, ...], outputs: int) -> nn.Module:
    model = net(shape, outputs)
    with torch.no_grad():
        model[1].weight.copy_(torch.from_numpy(np.random.randn(8, math.prod(shape))))
    return model


def reseeded(shape: tuple[int, ...], outputs: int) -> nn.Module:
    torch.manual_seed(42)
    return net(shape, outputs)


def downloaded(shape: tuple[int, ...], outputs: int) -> nn.Module:
    try:
        socket.create_connection(("weights.example.org", 443), timeout=0.01)
    except OSError:
        pass
    return net(shape, outputs)


def chatty(shape: tuple[int, ...], outputs: int) -> nn.Module:
    print("building …")
    return net(shape, outputs)


def hopeful(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))


def picky(shape: tuple[int, ...], outputs: int) -> nn.Module:
    raise ValueError("needs images of 600 pixels")


def around(forward: Callable[[nn.Module, Tensor], Any]) -> Callable[[tuple[int, ...], int], nn.Module]:
    return lambda shape, outputs: Around(net(shape, outputs), forward)


BUILDERS: dict[str, Callable[[tuple[int, ...], int], Any]] = {
    "nothing": lambda shape, outputs: None,
    "one-more": lambda shape, outputs: net(shape, outputs + 1),
    "hopeful": hopeful,
    "picky": picky,
    "one-row": around(lambda inside, x: inside(x)[:2]),
    "softmax": lambda shape, outputs: net(shape, outputs).append(nn.Softmax(1)),
    "log-softmax": lambda shape, outputs: net(shape, outputs).append(nn.LogSoftmax(1)),
    "two-heads": around(lambda inside, x: (inside(x), inside(x)) if inside.training else inside(x)),
    "rounding": around(lambda inside, x: inside((10 * x).round())),
    "frozen": lambda shape, outputs: net(shape, outputs).requires_grad_(False),
    "detached": around(lambda inside, x: inside(x).detach()),
    "by-numpy": by_numpy,
    "reseeded": reseeded,
    "hidden": Hidden,
    "forgetful": around(lambda inside, x: nn.functional.dropout(inside(x), 0.5)),
    "sociable": around(lambda inside, x: inside(x) - inside(x).mean(0)),
    "chatty": chatty,
    "downloaded": downloaded,
}


@dataclass(frozen=True)
class Built(rr.Architecture):
    """Builds what its name says."""

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        return BUILDERS[self.name](shape, outputs)  # type: ignore[no-any-return]


# Data sets


def halves(seed: Any = 0) -> rr.Data:
    chance = np.random.default_rng(seed)
    train, evaluation = (rr.Split(chance.random((20, 3)), np.arange(20) % 2) for _ in range(2))
    return rr.Data(train, evaluation, None, 2, (0.0, 1.0))


def global_seed() -> rr.Data:
    np.random.seed(0)
    return halves()


LOADERS: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (np.zeros(3), np.zeros(3)),
    "bytes-as-floats": lambda: replace(halves(), train=rr.Split(255 * halves().train.x, halves().train.y)),
    "fresh": lambda: halves(np.random.randint(1000)),
    "leaking": lambda: replace(halves(), evaluation=halves().train),
    "global-seed": global_seed,
    "absent": lambda: (_ for _ in ()).throw(rr.DataError("zoo/absent: got no file, expected one. Give path=FILE.")),
}


@dataclass(frozen=True)
class Loaded(rr.Dataset):
    """Loads what its name says."""

    def load(self) -> rr.Data:
        return LOADERS[self.name]()  # type: ignore[no-any-return]


# Metrics


def losses(bench: rr.Bench) -> Iterator[Tensor]:
    with torch.no_grad():
        for x, y in bench.splits["evaluation"]:
            yield bench.loss(bench.fits["model"].model(x), y)


def scribbled(bench: rr.Bench) -> Any:
    for x, _ in bench.splits["evaluation"]:
        x.add_(1)
    return Measured(1.0)


def classes_only(bench: rr.Bench) -> Any:
    return Measured(float(torch.cat([nn.functional.one_hot(y).float().mean(1) for _, y in bench.splits["evaluation"]]).mean()))


METRICS: dict[str, Callable[[rr.Bench], Any]] = {
    "bare": lambda bench: 1.0,
    "infinite": lambda bench: Measured(math.inf),
    "random": lambda bench: Measured(random.random()),
    "mean-of-means": lambda bench: Measured(float(torch.stack([loss.mean() for loss in losses(bench)]).mean())),
    "beside": lambda bench: Measured(0.5, 0.6, 0.7),
    "sampled": lambda bench: Measured(0.5, samples=np.zeros(25)),
    "percent": lambda bench: Measured(97.0),
    "numbered": lambda bench: Measured(0.5, details={"layers": [{1: 0.5}]}),
    "scribbled": scribbled,
    "classes-only": classes_only,
    "partial": lambda bench: Measured(0.5),
    "unknown-attack": lambda bench: Measured(0.5),
    "moody": lambda bench: Measured(0.5),
    "shouting": lambda bench: Measured(0.5),
}


@dataclass(frozen=True)
class Scored(rr.Metric):
    """Measures what its name says."""

    columns: tuple[Column, ...] = rr.fixed((Column("score", "higher", "fraction"),))

    def needs(self, task: rr.Task, threat: rr.Threat) -> Needs:
        attacks = {"attack": AttackNeed("nowhere/attack")} if self.name == "unknown-attack" else {}
        return Needs(fits={"model": FitNeed(rr.CLEAN)}, attacks=attacks, further=random.randint(0, 99) if self.name == "moody" else 0)

    def measure(self, bench: rr.Bench) -> Mapping[str, rr.Outcome]:
        return {column.name: METRICS[self.name](bench) for column in self.columns}

    def review(self, outcomes: Mapping[str, Mapping[str, rr.Outcome]]) -> Mapping[str, Mapping[str, rr.Outcome]]:
        if self.name != "partial":
            return outcomes
        first = next(iter(outcomes))
        return {name: {"score": Skipped("second")} if name != first else columns for name, columns in outcomes.items()}


# Rankers

Places = Callable[[dict[str, float]], list[tuple[int, str]]]


def shared(values: Mapping[str, float]) -> list[tuple[int, str]]:
    """Competition ranks, higher first."""
    return sorted((1 + sum(other > value for other in values.values()), name) for name, value in values.items())


RANKERS: dict[str, Places] = {
    "alphabet": lambda values: list(enumerate(sorted(values), 1)),
    "first-come": lambda values: list(enumerate(values, 1)),
    "upside-down": lambda values: shared({name: -value for name, value in values.items()}),
    "no-ties": lambda values: list(enumerate(sorted(values, key=lambda name: (-values[name], name)), 1)),
    "dense": lambda values: sorted((1 + len({o for o in values.values() if o > value}), name) for name, value in values.items()),
    "forgetful": lambda values: shared(values)[:2],
    "shuffled": lambda values: shared({name: value + random.random() / 100 for name, value in values.items()}),
    "generous": shared,
}


@dataclass(frozen=True)
class Ranked(rr.Ranker):
    """Ranks as its name says."""

    def rank(self, table: rr.ScoreTable) -> rr.Ranking:
        values: dict[str, float] = {}
        for score in table.scores:
            if score.column.direction == "higher" and (self.name == "generous" or isinstance(score.outcome, Measured)):
                values[score.candidate] = score.outcome.value if isinstance(score.outcome, Measured) else 0.0
        missing = sorted({score.candidate for score in table.scores} - set(values))
        rows = tuple(rr.RankingRow(rank, rank, rank, name, values[name]) for rank, name in RANKERS[self.name](values))
        return rr.Ranking(rows, (), tuple((name, "no number") for name in missing))


# Reporters


def listed(result: rr.Result) -> list[str]:
    return [score.candidate for score in result.scores]


def to_disk(result: rr.Result) -> str:
    Path("extra.txt").write_text("x")
    return "fine"


def printed(result: rr.Result) -> str:
    print("rendering …")
    return "fine"


def emptied(result: rr.Result) -> str:
    result.provenance.clear()  # type: ignore[attr-defined]
    return "fine"


REPORTERS: dict[str, tuple[str, Callable[[rr.Result], Any]]] = {
    "bytes": ("x.txt", lambda result: b"fine"),
    "blank": ("x.txt", lambda result: "\n"),
    "to-disk": ("x.txt", to_disk),
    "printed": ("x.txt", printed),
    "emptied": ("x.txt", emptied),
    "dated": ("x.txt", lambda result: f"at {datetime.datetime.now()}"),
    "raw-page": ("x.html", lambda result: "<html>" + "<br>".join(listed(result)) + "</html>"),
    "raw-notes": ("x.md", lambda result: "\n".join(listed(result))),
    "raw-table": ("x.md", lambda result: "\n".join(f"| {name.replace('<', '&lt;')} | 1 |" for name in listed(result))),
    "raw-rows": ("x.csv", lambda result: "\n".join(f"{name},1" for name in listed(result))),
    "raw-json": ("x.json", lambda result: f'["{listed(result)[0]}"]'),
    "raw-xml": ("x.xml", lambda result: f"<r>{''.join(listed(result))}</r>"),
    "winner": ("x.txt", lambda result: result.ranking.rows[0].candidate),
}


@dataclass(frozen=True)
class Rendered(rr.Reporter):
    """Renders as its name says."""

    def render(self, result: rr.Result) -> str:
        return REPORTERS[self.name][1](result)  # type: ignore[no-any-return]


@rr.hookimpl
def robustradar_attacks() -> tuple[rr.Attack, ...]:
    told = (Undocumented(name="undocumented"), Undescribed(name="undescribed"), Unlimited(name="unlimited"), Impossible(name="impossible"))
    return (*(Misled(name=name) for name in ATTACKS), *told)


@rr.hookimpl
def robustradar_architectures() -> tuple[rr.Architecture, ...]:
    return tuple(Built(name=name) for name in BUILDERS)


@rr.hookimpl
def robustradar_datasets() -> tuple[rr.Dataset, ...]:
    return tuple(Loaded(name=name) for name in LOADERS)


@rr.hookimpl
def robustradar_metrics() -> tuple[rr.Metric, ...]:
    shouting = Scored(name="shouting", columns=(Column("Mean Loss", "lower", "loss"),))
    return (*(Scored(name=name) for name in METRICS if name != "shouting"), shouting)


@rr.hookimpl
def robustradar_rankers() -> tuple[rr.Ranker, ...]:
    return tuple(Ranked(name=name) for name in RANKERS)


@rr.hookimpl
def robustradar_reporters() -> tuple[rr.Reporter, ...]:
    return tuple(Rendered(name=name, filename=filename) for name, (filename, _) in REPORTERS.items())
