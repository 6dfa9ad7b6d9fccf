"""How far adversarial training strays from clean training on the way [P, section 5.2], for the candidate's own network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from robustradar import ADVERSARIAL, CLEAN, Bench, Column, Fit, FitNeed, Measured, Metric, Needs, Outcome, Skipped, Task, Threat, fixed

if TYPE_CHECKING:
    from torch import Tensor, nn

GIVEN = "the weights were given, and a trajectory needs a training"
OTHER_RATES = (
    "some of the trainings diverged and were started again at a tenth of the rate, others not, so that these are not states of one "
    "training. Use a smaller lr"
)
NO_LENGTH = "the clean network's parameters are all 0 at epoch {epoch}, and there is nothing to relate a distance to"
NO_TRAVEL = "clean training has left the parameters where they began, and there is nothing to relate a distance to"


@dataclass(frozen=True)
class Trajectory(Metric):
    """The distance of adversarial from clean training by step: ‖θ^(t)(ε) − θ^(t)(0)‖/‖θ^(t)(0)‖ [P, Theorem 2 and section 5.2].

    Both trainings have one seed, so that initialisation, order of batches and augmentation are the same and only the attack differs. θ
    are all parameters as one vector, in the 2-norm; BatchNorm's running statistics are none. `trajectory_distance` is the ratio after the
    last epoch, `trajectory_largest` the largest of all snapshots. As ‖θ‖ is mostly that of the initialisation for wide networks,
    `relative_travel` relates the last distance to the way that clean training went: ‖θ^(T)(ε) − θ^(T)(0)‖/‖θ^(T)(0) − θ^(0)‖.

    Snapshots are trainings of their own on the same schedule that end early: after all E epochs, E/2, E/4 and so on, which together cost
    less than the whole once more. Where weights are averaged, it is the averages that are compared. Given the seed all is exact; the
    interval is over seeds. Details: distances and norms by epoch.
    """

    name: str = fixed("trajectory")
    columns: tuple[Column, ...] = fixed(
        tuple(Column(name, "lower", "1") for name in ("trajectory_distance", "trajectory_largest", "relative_travel"))
    )
    snapshots: Annotated[int, Field(ge=1, le=32, description="epochs to look at: the last, half of it, a quarter and so on")] = 5
    eps: Annotated[float | None, Field(gt=0, description="strength of the adversarial training; none: the study's")] = None
    inner: Annotated[str | None, Field(description="attack to train with, e.g. native/n-fgsm; none: the study's")] = None

    def needs(self, task: Task, threat: Threat) -> Needs:
        """Both fits as the last epoch leaves them; how long they are, and so which others, their records tell."""
        return Needs(fits=self._pair(threat), further=2 * (self.snapshots - 1))

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Trains for the snapshots."""
        spec = bench.fits["clean"].record.spec
        if spec["weights"]:
            return {column.name: Skipped(GIVEN) for column in self.columns}
        recipe: Mapping[str, Any] = spec["recipe"]["parameters"]
        last = recipe["stop"] or recipe["epochs"]
        pairs: dict[int, Mapping[str, Fit]] = {}
        for epoch in sorted({last >> i for i in range(1, self.snapshots)} - {0}):
            pairs[epoch] = {label: bench.train(need) for label, need in self._pair(bench.threat, stop=epoch).items()}
        pairs[last] = bench.fits
        if len({_restarted(fit.record.flags) for pair in pairs.values() for fit in pair.values()}) > 1:
            return {column.name: Skipped(OTHER_RATES) for column in self.columns}
        start = _theta(bench.network())
        rows = [_row(epoch, _theta(pair["clean"].model), _theta(pair["adversarial"].model), start) for epoch, pair in pairs.items()]
        return _outcomes([row | {"step": row["epoch"] * _steps(bench, recipe)} for row in rows])

    def _pair(self, threat: Threat, **stop: int) -> dict[str, FitNeed]:
        """Clean and adversarial training, whose last weights are kept."""
        recipe, strength = {"select": "last", **stop}, None if self.eps is None else threat.at(self.eps)
        return {"clean": FitNeed(CLEAN, recipe=recipe), "adversarial": FitNeed(ADVERSARIAL, strength, self.inner, recipe=recipe)}


def _theta(model: nn.Module) -> Tensor:
    """All parameters as one vector [d], in float64 where the device has it."""
    from robustradar.numerics import vector

    theta = vector.flat(p.detach() for p in model.parameters())
    return theta.to(vector.wide(theta))


def _row(epoch: int, clean: Tensor, adversarial: Tensor, start: Tensor) -> dict[str, Any]:
    """The distance at an epoch, and what it may be related to."""
    lengths = {"distance": adversarial - clean, "norm": clean, "travel": clean - start.to(clean.dtype)}
    return {"epoch": epoch, **{name: float(v.norm()) for name, v in lengths.items()}}


def _outcomes(rows: list[dict[str, Any]]) -> dict[str, Outcome]:
    """The columns, from the snapshots in order."""
    last, details = rows[-1], {"snapshots": rows}
    found: dict[str, Outcome] = {"relative_travel": Skipped(NO_TRAVEL)}
    if last["travel"]:
        found["relative_travel"] = Measured(last["distance"] / last["travel"], details=details)
    for row in rows:
        if not row["norm"]:
            return found | dict.fromkeys(("trajectory_distance", "trajectory_largest"), Skipped(NO_LENGTH.format(epoch=row["epoch"])))
        row["ratio"] = row["distance"] / row["norm"]
    largest = max(rows, key=lambda row: row["ratio"])
    return found | {
        "trajectory_distance": Measured(last["ratio"], details=details),
        "trajectory_largest": Measured(largest["ratio"], details={"epoch": largest["epoch"]}),
    }


def _steps(bench: Bench, recipe: Mapping[str, Any]) -> int:
    """Steps of the optimizer in an epoch; a lone last sample joins the batch before it. L-BFGS has 20, and may end before."""
    n, batch = len(bench.splits["train"]), recipe["batch"]
    if recipe["optimizer"] == "lbfgs":
        return 20
    return max(1, n // batch + (n % batch > 1)) if batch > 1 else n


def _restarted(flags: tuple[str, ...]) -> tuple[str, ...]:
    """What says that training began anew at another rate."""
    return tuple(flag for flag in flags if flag.startswith("diverged-once"))
