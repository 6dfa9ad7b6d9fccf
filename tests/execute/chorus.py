"""A plugin for the tests of what metrics know of one another: analyses that they share, and reviews of all candidates."""

import gc
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

import robustradar as rr
from robustradar import ADVERSARIAL, CLEAN, AttackNeed, Column, Failed, FitNeed, Measured, Needs, Objective, Outcome, Skipped


@dataclass(frozen=True)
class Setting:
    """The key of an analysis."""

    name: str


class Found:
    """What an analysis returns; unlike a number, it can be watched by a weak reference."""

    def __init__(self, value: float) -> None:
        self.value = value


@dataclass(frozen=True)
class Sharing(rr.Metric):
    """The mean output of a fit, by an analysis that is shared.

    Attributes:
        key: What the analysis is asked for by.
        how: Whether something goes wrong, and what.
    """

    made: ClassVar[list[str]] = []
    found: ClassVar[list[object]] = []
    models: ClassVar[list[weakref.ref[nn.Module]]] = []
    key: str = "mean"
    how: str = "fine"
    fit: str = "clean"

    def needs(self, task: rr.Task, threat: rr.Threat) -> Needs:
        return Needs(fits={"model": FitNeed(CLEAN if self.fit == "clean" else ADVERSARIAL)})

    def measure(self, bench: rr.Bench) -> Mapping[str, Outcome]:
        fit = bench.fits["model"]
        self._prepare(fit.model)
        torch.manual_seed(0)
        found = fit.analysis([self.key] if self.how == "unhashable" else Setting(self.key), lambda: self._compute(bench))  # type: ignore[arg-type]
        self.found.append(found)
        self.models.append(weakref.ref(fit.model))
        drawn = torch.rand(1).item()
        column = self.columns[0].name
        return {column: Measured(0.0 if found is None else found.value, details={"drawn": drawn})}

    def _prepare(self, model: nn.Module) -> None:
        """What happens to the model before it is analysed."""
        if self.how == "zeroed":
            for parameter in model.parameters():
                parameter.data.zero_()
        if self.how == "training":
            model.train()
        if self.how == "doubled":
            model.double()
        if self.how == "extended":
            model.add_module("head", nn.Linear(3, 3))

    def _compute(self, bench: rr.Bench) -> Found | None:
        fit = bench.fits["model"]
        self.made.append(f"{self.name} {self.key} {fit.record.key}")
        torch.rand(3)
        if self.how == "raise":
            raise ArithmeticError("no convergence")
        if self.how == "none":
            return None
        with torch.no_grad():
            return Found(torch.cat([fit.model(x) for x, _ in bench.splits["evaluation"]]).mean().item())


@dataclass(frozen=True)
class Witness(rr.Metric):
    """Notes which of the others' findings and models are still alive when its turn comes."""

    alive: ClassVar[list[tuple[int, int]]] = []
    findings: ClassVar[list[weakref.ref[Any]]] = []
    name: str = rr.fixed("witness")
    columns: tuple[Column, ...] = rr.fixed((Column("alive", "none", "1"),))

    def needs(self, task: rr.Task, threat: rr.Threat) -> Needs:
        return Needs()

    def measure(self, bench: rr.Bench) -> Mapping[str, Outcome]:
        self.findings.extend(map(weakref.ref, Sharing.found))
        Sharing.found.clear()
        gc.collect()
        self.alive.append((sum(f() is not None for f in self.findings), sum(m() is not None for m in Sharing.models)))
        return {"alive": Measured(0.0)}


Table = Mapping[str, Mapping[str, Any]]


def changed(change: Callable[[Any], Any], column: str = "a") -> Callable[[Table], Table]:
    """A review that changes one column of every candidate."""
    return lambda outcomes: {name: {**columns, column: change(columns[column])} for name, columns in outcomes.items()}


def overwritten(outcomes: Table) -> Table:
    """Writes into what it was given."""
    for columns in outcomes.values():
        columns["a"].samples[:] = 7
        columns["a"].details["n"] = 7
    return outcomes


REVIEWS: dict[str, Callable[[Table], Any]] = {
    "nothing": lambda outcomes: outcomes,
    "withhold": changed(lambda o: Skipped("the order changes with the damping")),
    "flag": changed(lambda o: replace(o, flags=["mixed-rungs", *o.flags])),
    "flag-others": lambda found: changed(lambda o: replace(o, flags=(*o.flags, f"of-{len(found)}")))(found),
    "list": lambda outcomes: list(outcomes.values()),
    "none": lambda outcomes: None,
    "drop": lambda outcomes: dict(list(outcomes.items())[1:]),
    "add": lambda outcomes: {**outcomes, "stranger": {}},
    "columns-list": lambda outcomes: {name: list(columns) for name, columns in outcomes.items()},
    "drop-column": lambda outcomes: {name: {"a": columns["a"]} for name, columns in outcomes.items()},
    "add-column": lambda outcomes: {name: {**columns, "c": Skipped("")} for name, columns in outcomes.items()},
    "raise": lambda outcomes: 1 / 0,
    "memory": lambda outcomes: (_ for _ in ()).throw(MemoryError()),
    "value": changed(lambda o: replace(o, value=o.value + 1)),
    "interval": changed(lambda o: replace(o, low=None, high=9.0)),
    "samples": changed(lambda o: replace(o, samples=np.zeros(3))),
    "no-samples": changed(lambda o: replace(o, samples=None)),
    "overwrite": overwritten,
    "unflag": changed(lambda o: replace(o, flags=())),
    "text-flags": changed(lambda o: replace(o, flags="fg")),
    "number-flag": changed(lambda o: replace(o, flags=(*o.flags, 1))),
    "number": changed(lambda o: 1.0),
    "fail": changed(lambda o: Failed("why")),
    "excuse": changed(lambda o: Skipped("for another reason"), "b"),
    "unskip": changed(lambda o: Measured(1.0), "b"),
    "heal": lambda outcomes: {
        name: {column: Measured(1.0) if isinstance(o, Failed) else o for column, o in columns.items()} for name, columns in outcomes.items()
    },
}


@dataclass(frozen=True)
class Reviewing(rr.Metric):
    """Measures one column, skips another, and reviews as its parameter says."""

    sittings: ClassVar[list[Table]] = []
    columns: tuple[Column, ...] = rr.fixed((Column("a", "higher", "1"), Column("b", "none", "1")))
    how: str = "nothing"

    def needs(self, task: rr.Task, threat: rr.Threat) -> Needs:
        return Needs()

    def measure(self, bench: rr.Bench) -> Mapping[str, Outcome]:
        size = float(sum(p.numel() for p in bench.network().parameters()))
        return {"a": Measured(size, size - 1, size + 1, ("f",), {"n": 3}, np.full(3, size)), "b": Skipped("does not apply")}

    def review(self, outcomes: Table) -> Table:
        self.sittings.append(outcomes)
        return REVIEWS[self.how](outcomes)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Fitted(Reviewing):
    """The same for a fit, so at every seed; it reviews as its parameter says at seed 1 alone."""

    def needs(self, task: rr.Task, threat: rr.Threat) -> Needs:
        return Needs(fits={"model": FitNeed(CLEAN)})

    def measure(self, bench: rr.Bench) -> Mapping[str, Outcome]:
        return {"a": Measured(1.0, details={"seed": bench.seed}), "b": Skipped("does not apply")}

    def review(self, outcomes: Table) -> Table:
        if any(columns["a"].details["seed"] == 1 for columns in outcomes.values()):
            return super().review(outcomes)
        self.sittings.append(outcomes)
        return outcomes


@dataclass(frozen=True)
class Seeking(rr.Metric):
    """Asks for networks at twice, then at half the study's strength; its number is the last one's loss.

    Attributes:
        how: What it asks for.
    """

    steps: ClassVar[list[str]] = []
    name: str = rr.fixed("seeking")
    columns: tuple[Column, ...] = rr.fixed((Column("seeking", "none", "loss"),))
    how: str = "fine"
    further: int = 2

    def needs(self, task: rr.Task, threat: rr.Threat) -> Needs:
        return Needs(fits={"clean": FitNeed(CLEAN)}, further=self.further)

    def measure(self, bench: rr.Bench) -> Mapping[str, Outcome]:
        torch.manual_seed(0)
        threats = [bench.threat.at(bench.threat.eps * factor) for factor in (2, 0.5)]
        wanted = [FitNeed(ADVERSARIAL, threat, self._inner(), recipe=self._recipe()) for threat in threats]
        with torch.no_grad():
            fits = [bench.train(need) for need in (*wanted, wanted[0], FitNeed(CLEAN))]
        self.steps.extend(fit.record.key for fit in fits)
        drawn = torch.rand(1).item()
        need = AttackNeed("nobody/knows" if self.how == "attack" else None, bench.threat.at(0.1))
        one, other = bench.attack(need), bench.attack(need)
        objective = Objective(form="trades", beta=1.0) if self.how == "trades" else ADVERSARIAL
        x, y = next(iter(bench.splits["evaluation"]))
        found = bench.losses(fits[1].model, x, y, objective, (lambda *_: None) if self.how == "stranger" else one)  # type: ignore[arg-type]
        again = bench.losses(fits[1].model, x, y, objective, other)
        same = [torch.equal(found, again), torch.equal(bench.loss(fits[-1].model(x), y), bench.losses(fits[-1].model, x, y, CLEAN, None))]
        return {"seeking": Measured(found.mean().item(), details={"drawn": drawn, "same": same})}

    def _recipe(self) -> dict[str, Any]:
        """Changes of the recipe."""
        changes = {"recipe": {"lr": -1.0}, "diverge": {"lr": 1e38, "weight_decay": 10.0}}
        return {"epochs": 3, "lr": 0.05, **changes.get(self.how, {})}

    def _inner(self) -> str | None:
        """The attack of training."""
        return "nobody/knows" if self.how == "inner" else None


def forget() -> None:
    """Empties all notes."""
    for notes in (Sharing.made, Sharing.found, Sharing.models, Witness.alive, Witness.findings, Reviewing.sittings, Seeking.steps):
        notes.clear()


@rr.hookimpl
def robustradar_metrics() -> tuple[rr.Metric, ...]:
    first, second = (Sharing(name=name, columns=(Column(name, "none", "1"),)) for name in ("first", "second"))
    return (first, second, Witness(), Reviewing(name="reviewing"), Fitted(name="fitted"), Seeking())
