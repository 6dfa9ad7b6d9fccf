"""Δ(A), the price of robustness [T, sections 2 and 3.1]: exact from two trained networks, and by what the clean one says of the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from robustradar import ADVERSARIAL, CLEAN, Bench, Column, Fit, FitNeed, Measured, Metric, Needs, Outcome, Skipped, Task, Threat, fixed
from robustradar.analysis import ByCurvature, analysed, asked, batches, caveats, obstacle

if TYPE_CHECKING:
    from torch import Tensor

_BY_CURVATURE = ("delta_quadratic", "delta_first_order")
_BY_INFLUENCE = ("ifa_cosine", "ifa_length_ratio")
_COLUMNS = (
    Column("delta_exact", "lower", "loss"),
    Column("delta_exact_accuracy", "lower", "fraction"),
    *(Column(name, "lower", "loss") for name in _BY_CURVATURE),
    *(Column(name, "none", "1") for name in _BY_INFLUENCE),
)
_EVIDENCE = (
    "it needs the adversarial training that a forecast is to save: delta_exact has τ .73 [.51, .88] over 20 small networks "
    "on digits and .32 [.04, .60] over 19 on CIFAR-10, delta_quadratic .54 [.24, .80] and −.30 [−.64, .05]."
)


@dataclass(frozen=True)
class Delta(ByCurvature, Metric):
    """What adversarial training at the study's strength costs on clean inputs, three ways, from the two ends of the trade-off curve.

    With d = θ̂_ε − θ̂: `delta_exact` is α(θ̂_ε) − α(θ̂) on the evaluation split, `delta_quadratic` ½ dᵀH_e d, `delta_first_order`
    ∇αᵀd + ½ dᵀH_e d. `ifa_cosine` and `ifa_length_ratio` say how well ε·IFA predicted d: the cosine between them, and their
    lengths' ratio (1 and 1 for small ε on a convex problem). The quadratics see parameters only, not BatchNorm's statistics.
    """

    name: str = fixed("delta")
    columns: tuple[Column, ...] = fixed(_COLUMNS)
    evidence: str = fixed(_EVIDENCE)
    inner: Annotated[str | None, Field(description="attack to train with, e.g. native/n-fgsm; none: the study's")] = None
    warm: Annotated[bool, Field(description="start the adversarial training from the clean network")] = False

    def needs(self, task: Task, threat: Threat) -> Needs:
        """The clean and the adversarial fit."""
        clean = FitNeed(CLEAN)
        return Needs(fits={"clean": clean, "adversarial": FitNeed(ADVERSARIAL, attack=self.inner, start=clean if self.warm else None)})

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Bootstrap over evaluation samples; exact values count those alone, not the seeds of training."""
        clean, adversarial = bench.fits["clean"], bench.fits["adversarial"]
        if clean.record.spec["weights"]:
            return {
                column.name: Skipped("the weights were given, and Δ needs a clean and an adversarial network") for column in self.columns
            }
        d = _moved(clean, adversarial)
        return {**_exact(bench, clean, adversarial), **self._quadratic(bench, clean, d), **self._influence(bench, clean, d)}

    def _quadratic(self, bench: Bench, clean: Fit, d: Tensor) -> dict[str, Outcome]:
        """The price by the clean network's derivatives along d; without an interval where they cannot be had sample by sample."""
        from robustradar.numerics import vector
        from robustradar.numerics.curvature import hessian
        from robustradar.numerics.directional import directional
        from robustradar.numerics.problem import Problem, UnavailableError

        problem = Problem(clean.model, bench.loss, batches(bench, "evaluation", self.limit))
        try:
            first, second = directional(problem, d)
            return {"delta_quadratic": _mean(second.double() / 2), "delta_first_order": _mean(first.double() + second.double() / 2)}
        except UnavailableError:
            pass  # some operations have no forward derivative of their derivative, such as SiLU
        try:
            with hessian(problem, memory=0) as H:
                slope, half = float(vector.dot(H.gradient, d)), float(vector.dot(d, H @ d)) / 2
                flags = () if H.rung == "exact" else (f"curvature:{H.rung}",)
        except UnavailableError as error:
            return {name: Skipped(str(error)) for name in _BY_CURVATURE}
        return {"delta_quadratic": Measured(half, flags=flags), "delta_first_order": Measured(slope + half, flags=flags)}

    def _influence(self, bench: Bench, clean: Fit, d: Tensor) -> dict[str, Outcome]:
        """How ε·IFA compares with what training did."""
        from robustradar.numerics import vector
        from robustradar.numerics.problem import UnavailableError

        if bench.threat.eps == 0 or not d.any():
            return {name: Skipped("nothing to predict: eps is 0, or both networks are the same") for name in _BY_INFLUENCE}
        try:
            found = analysed(bench, clean, asked(self, bench))
        except UnavailableError as error:
            return {name: Skipped(str(error)) for name in _BY_INFLUENCE}
        if (reason := obstacle(found, self.residual)) is not None or found.ifa is None:
            return {name: Skipped(reason or "") for name in _BY_INFLUENCE}
        length, ifa = float(vector.length(d)), float(vector.length(found.ifa))
        cosine = float(vector.dot(found.ifa, d)) / (length * ifa)
        details = {"distance": length, "ifa_norm": ifa, "damping": found.damping}
        flags = caveats(found, clean, bench.threat.eps)
        return {
            "ifa_cosine": Measured(max(-1.0, min(1.0, cosine)), flags=flags, details=details),
            "ifa_length_ratio": Measured(bench.threat.eps * ifa / length, flags=flags, details=details),
        }


def _moved(clean: Fit, adversarial: Fit) -> Tensor:
    """D = θ̂_ε − θ̂, [d]."""
    from robustradar.numerics import vector

    ends = (vector.flat(p.detach() for p in fit.model.parameters() if p.requires_grad) for fit in (adversarial, clean))
    after, before = ends
    return after - before


def _exact(bench: Bench, clean: Fit, adversarial: Fit) -> dict[str, Outcome]:
    """The price as measured, on the evaluation split; on the others in the details."""
    import torch

    def measured(split: str) -> tuple[Tensor, Tensor]:
        losses, wrong = [], []
        for x, y in bench.splits[split]:
            with torch.no_grad():
                before, after = clean.model(x), adversarial.model(x)
            losses.append(bench.loss(after, y).double() - bench.loss(before, y).double())
            if bench.task.classes is not None:
                wrong.append((before.argmax(1) == y).double() - (after.argmax(1) == y).double())
        return torch.cat(losses), torch.cat(wrong) if wrong else torch.empty(0)

    by_split = {split: measured(split) for split in bench.splits}
    losses, wrong = by_split["evaluation"]
    others = [split for split in bench.splits if split != "evaluation"]
    found: dict[str, Outcome] = {
        "delta_exact": _mean(losses, {split: float(by_split[split][0].mean()) for split in others}),
        "delta_exact_accuracy": Skipped("an accuracy needs classes, and the data are regression"),
    }
    if bench.task.classes is not None:
        found["delta_exact_accuracy"] = _mean(wrong, {split: float(by_split[split][1].mean()) for split in others})
    return found


def _mean(samples: Tensor, details: Mapping[str, Any] | None = None) -> Measured:
    """The mean of per-sample values, with its bootstrap interval."""
    from robustradar.numerics.agreement import bootstrap_mean

    values = samples.cpu().numpy()
    low, high = bootstrap_mean(values[None], seed=0)
    return Measured(float(values.mean()), low, high, details={"n": len(values), **(details or {})}, samples=values)
