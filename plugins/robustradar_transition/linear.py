"""What [P] states of linear regression under an ℓ2 attack, simulated: metrics that look at no candidate, and at no data but their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from robustradar import Bench, Column, Measured, Metric, Needs, Outcome, Skipped, Task, Threat, fixed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robustradar_transition.simulation import Sample

Inputs = Annotated[int, Field(ge=1, description="inputs")]
Samples = Annotated[int, Field(ge=2, description="training samples")]
Signal = Annotated[float, Field(gt=0, description="norm of the true vector, over the noise's standard deviation")]
Repeats = Annotated[int, Field(ge=20, description="samples drawn anew")]
Strength = Annotated[float, Field(gt=0, description="attack strength, over the noise's standard deviation over that of an input")]
Steps = Annotated[int, Field(ge=1, description="steps of gradient descent")]

NO_STRENGTH = (
    "at no strength does the adversarial training loss reach the clean evaluation loss: the vector 0 has a smaller one. "
    "Use a larger signal, or d/n further from 1"
)
NO_SLOPE = (
    "got fewer than two ratios d/n that have a critical strength, and an exponent takes two. Use more values of d or n, or a larger signal"
)

# The p-value of clean training itself is 1/2 in the mean; half of it counts as the drop. Chosen here.
_DROP = 0.25
# Strengths at which p-values are taken, as ln(ε/ε*); chosen here to hold both ends of figure 3.
_SPAN, _POINTS = 4.0, 17


@dataclass(frozen=True)
class LinearExponent(Metric):
    """The exponent of d/n in the critical strength ε* [P, Theorem 1]: 1/2 is claimed.

    The slope of ln ε* on ln d/n over every d with every n, by least squares; its interval resamples the repeats. Details: ε* of
    every setting.
    """

    name: str = fixed("linear-exponent")
    columns: tuple[Column, ...] = fixed((Column("eps_star_exponent", "none", "1"),))
    d: Annotated[tuple[Inputs, ...], Field(min_length=1, description="numbers of inputs, joined by +")] = (5, 10, 20)
    n: Annotated[tuple[Samples, ...], Field(min_length=1, description="numbers of training samples, joined by +")] = (200, 400, 800)
    signal: Signal = 1.25
    weak: Annotated[bool, Field(description="whether the true vector's norm falls as the root of d/n, times `signal`")] = False
    repeats: Repeats = 100

    def needs(self, task: Task, threat: Threat) -> Needs:
        """Nothing."""
        return Needs()

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Finds ε* of every setting."""
        import numpy as np

        from robustradar.numerics.agreement import bootstrap_mean
        from robustradar_transition import simulation

        ratios, logs, settings = [], [], []
        for d, n in ((d, n) for d in self.d for n in self.n):
            signal = self.signal * (math.sqrt(d / n) if self.weak else 1)
            found = simulation.crossing(simulation.drawn(d, n, signal, self.repeats, bench.seed))
            low, high = bootstrap_mean(found.values[None], seed=bench.seed) if found else (None, None)
            settings.append({"d": d, "n": n, "signal": signal, "eps_star": found.eps if found else None, "low": low, "high": high})
            if found:
                ratios.append(d / n)
                logs.append(math.log(found.eps) + found.values / found.eps - 1)
        if len(set(ratios)) < 2:
            return {"eps_star_exponent": Skipped(NO_SLOPE)}
        u = np.log(ratios) - np.log(ratios).mean()
        slopes = u @ np.array(logs) / (u @ u)
        low, high = bootstrap_mean(slopes[None], seed=bench.seed)
        return {"eps_star_exponent": Measured(float(slopes.mean()), low, high, ("claimed-1/2",), {"settings": settings})}


@dataclass(frozen=True)
class LinearTrajectory(Metric):
    """How far adversarial training strays from clean training: ‖θ^(t)(ε) − θ^(t)(0)‖/‖θ^(t)(0)‖ [P, Theorem 2, figure 2].

    By gradient descent from 0: the largest over t, and of that the mean over repeats. It is claimed to be small for ε ≪ ε* and not for
    ε ≫ ε*. Details: the ratio at every step.
    """

    name: str = fixed("linear-trajectory")
    columns: tuple[Column, ...] = fixed((Column("trajectory_ratio", "lower", "1"),))
    d: Inputs = 20
    n: Samples = 1000
    eps: Strength = 0.01
    signal: Signal = 1.25
    steps: Steps = 200
    repeats: Repeats = 50

    def needs(self, task: Task, threat: Threat) -> Needs:
        """Nothing."""
        return Needs()

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Descends with and without attack."""
        from robustradar_transition import simulation

        ratios = simulation.trajectory(simulation.drawn(self.d, self.n, self.signal, self.repeats, bench.seed), self.eps, self.steps)
        return {"trajectory_ratio": _mean(ratios.max(0), {"ratio": ratios.mean(1).tolist()})}


@dataclass(frozen=True)
class LinearPValue(Metric):
    """Where adversarial training can be told from clean training: ln(ε/ε*) at which a p-value drops [P, figure 3]; 0 is claimed.

    The p-value is that of the adversarial training loss among clean training losses (large is extreme), or of ‖θ̂(ε)‖ among clean norms
    (small is extreme), at convergence and on samples of their own. It drops where its mean over repeats has gone from 1/2 to 1/4; if
    that is not within the strengths looked at, it is skipped. Beside them ε* itself. Details: both means at every strength.
    """

    name: str = fixed("linear-p-value")
    columns: tuple[Column, ...] = fixed(
        (Column("loss_drop", "none", "1"), Column("theta_drop", "none", "1"), Column("eps_star", "none", "1"))
    )
    d: Inputs = 20
    n: Samples = 1000
    signal: Signal = 1.25
    clean: Annotated[int, Field(ge=20, description="clean trainings to compare with")] = 300
    repeats: Repeats = 100

    def needs(self, task: Task, threat: Threat) -> Needs:
        """Nothing."""
        return Needs()

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Finds ε*, then trains around it."""
        import numpy as np

        from robustradar.numerics.agreement import bootstrap_mean
        from robustradar_transition import simulation

        sample = simulation.drawn(self.d, self.n, self.signal, self.repeats, bench.seed)
        found = simulation.crossing(sample)
        if found is None:
            return {column.name: Skipped(NO_STRENGTH) for column in self.columns}
        null = simulation.drawn(self.d, self.n, self.signal, self.clean, bench.seed + 1)
        at = np.linspace(-_SPAN, _SPAN, _POINTS)
        p = _p_values(sample, null, found.eps * np.exp(at))
        details = {"log_ratio": at.tolist(), "loss": p[0].mean(1).tolist(), "theta": p[1].mean(1).tolist()}
        low, high = bootstrap_mean(found.values[None], seed=bench.seed)
        facts = {"clean_training_loss": found.train, "clean_evaluation_loss": found.threshold}
        drops = {name: _drop(at, values, details, bench.seed) for name, values in zip(("loss_drop", "theta_drop"), p, strict=True)}
        return {**drops, "eps_star": Measured(found.eps, low, high, details=facts)}


@dataclass(frozen=True)
class LinearWidth(Metric):
    """The trajectory's ratio for the widest two-layer network over the linear model's [P, Proposition 1]: 1 is claimed.

    The first layer is trained from almost 0, the second is fixed, with tanh between them; after the last step, the mean over repeats.
    Details: the same for every width, and how far the network's linear part ends from the linear model.
    """

    name: str = fixed("linear-width")
    columns: tuple[Column, ...] = fixed((Column("width_ratio", "none", "1"),))
    widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, description="hidden units, joined by +")] = (
        4,
        16,
        64,
        256,
    )
    d: Inputs = 10
    n: Samples = 100
    eps: Strength = 0.1
    signal: Signal = 1.25
    steps: Steps = 100
    repeats: Repeats = 20

    def needs(self, task: Task, threat: Threat) -> Needs:
        """Nothing."""
        return Needs()

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Trains every width."""
        from robustradar_transition import simulation

        sample = simulation.drawn(self.d, self.n, self.signal, self.repeats, bench.seed)
        widths = sorted(self.widths)
        found = [simulation.network_ratio(sample, self.eps, width, self.steps, bench.seed) for width in widths]
        rows = [{"width": w, "ratio": float(r.mean()), "distance": float(d.mean())} for w, (r, d) in zip(widths, found, strict=True)]
        return {"width_ratio": _mean(found[-1][0], {"widths": rows}, ("claimed-1",))}


def metrics() -> tuple[Metric, ...]:
    """The linear theory's metrics."""
    return (LinearExponent(), LinearTrajectory(), LinearPValue(), LinearWidth())


def _p_values(sample: Sample, null: Sample, strengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of loss and norm [2, strengths, repeats]."""
    import numpy as np

    from robustradar_transition import simulation

    plain = simulation.clean(null)
    losses, norms = simulation.losses(plain, null, 0.0), np.linalg.norm(plain, axis=1)
    found = np.empty((2, len(strengths), len(sample.y)))
    for i, eps in enumerate(strengths):
        theta = simulation.minimiser(sample, float(eps))
        found[0, i] = simulation.p_values(simulation.losses(theta, sample, float(eps)), losses)
        found[1, i] = simulation.p_values(-np.linalg.norm(theta, axis=1), -norms)
    return found


def _drop(at: NDArray[np.float64], p: NDArray[np.float64], details: Mapping[str, object], seed: int) -> Outcome:
    """Where the mean of p [strengths, repeats] first falls below the mark; the bootstrap's interval is over repeats."""
    import numpy as np

    def falls(curve: NDArray[np.float64]) -> float:
        i = int(np.argmax(curve < _DROP))
        return math.nan if i == 0 else float(np.interp(_DROP, curve[i - 1 : i + 1][::-1], at[i - 1 : i + 1][::-1]))

    value, rng = falls(p.mean(1)), np.random.default_rng(seed)
    if math.isnan(value):
        where = f"below {_DROP} at ln(ε/ε*) = {at[0]:g} already" if p[0].mean() < _DROP else f"not below {_DROP} by ln(ε/ε*) = {at[-1]:g}"
        return Skipped(f"the mean p-value is {where}")
    draws = [falls(p[:, rng.integers(p.shape[1], size=p.shape[1])].mean(1)) for _ in range(1000)]
    low, high = np.nanquantile(draws, (0.025, 0.975))
    return Measured(value, min(float(low), value), max(float(high), value), ("claimed-0",), details)


def _mean(values: NDArray[np.float64], details: Mapping[str, object], flags: tuple[str, ...] = ()) -> Measured:
    """The mean over repeats with Student's interval."""
    from robustradar.numerics.seeds import seed_interval

    low, high = seed_interval(values) or (None, None)
    return Measured(float(values.mean()), low, high, flags, details)
