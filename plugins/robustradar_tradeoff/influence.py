"""The influence function of adversarial attack [T, Theorem 1, section 3.1] as a metric: the price of robustness by clean training alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from robustradar import CLEAN, Bench, Column, FitNeed, Measured, Metric, Needs, Outcome, Skipped, Task, Threat, fixed
from robustradar.analysis import ByCurvature, analysed, asked, caveats, obstacle

if TYPE_CHECKING:
    from robustradar.numerics.influence import Influence as Found

MIXED = "mixed-curvature"
# Chosen here: an order that changes over three decades of damping is one of dampings, not of architectures.
_TAU = 0.8
_PRICES = ("delta_influence", "delta_first_order")
_SPECTRA = ("lambda_min_train", "lambda_max_train", "lambda_min_eval", "lambda_max_eval")
_COLUMNS = (
    *(Column(name, "lower", "loss") for name in _PRICES),
    Column("phi_norm", "none", "1"),
    Column("ifa_norm", "none", "1"),
    *(Column(name, "none", "loss") for name in ("bound_low", "bound_high")),
    *(Column(name, "none", "1") for name in _SPECTRA),
)
_EVIDENCE = (
    "no use in ranking was found: over 19 small networks on CIFAR-10 delta_influence has τ −.17 [−.50, .17] and "
    "delta_first_order −.35 [−.68, −.01], where parameters have .21 [−.12, .52]; on digits it was withheld, as the order "
    "hung on the damping."
)


@dataclass(frozen=True)
class Influence(ByCurvature, Metric):
    """What adversarial training at the study's strength would cost in clean loss, by the curvature of the cleanly trained network.

    Φ is how an infinitesimal attack turns the training gradient, IFA = −(H_t + μI)⁻¹Φ how the trained weights would answer.
    `delta_influence` is ½ε²·IFAᵀ H_e IFA, `delta_first_order` adds ε·∇α·IFA, which is not zero on a finite evaluation split.
    `bound_low` and `bound_high` bound `delta_influence` by both Hessians' spectra [T, section 3.1, with its lower side corrected].
    """

    name: str = fixed("influence")
    columns: tuple[Column, ...] = fixed(_COLUMNS)
    evidence: str = fixed(_EVIDENCE)
    density: Annotated[int, Field(ge=0, description="random starts for the spectral density in the details, 50 products each; 0: none")] = 0

    def needs(self, task: Task, threat: Threat) -> Needs:
        """The clean fit."""
        return Needs(fits={"model": FitNeed(CLEAN)})

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Prices with a bootstrap over evaluation samples, eigenvalues with their error; what cannot be trusted is withheld."""
        from robustradar.numerics.problem import UnavailableError

        fit = bench.fits["model"]
        try:
            found = analysed(bench, fit, asked(self, bench, self.density))
        except UnavailableError as error:
            return {column.name: Skipped(str(error)) for column in self.columns}
        flags = caveats(found, fit, bench.threat.eps)
        details = _details(found, bench.threat.eps)
        measured: dict[str, Outcome] = {"phi_norm": Measured(details["phi_norm"], flags=flags, details=details)}
        for name, extreme in zip(_SPECTRA, (*found.train, *found.evaluation), strict=True):
            still = () if extreme.still else ("unsettled-eigenvalue",)
            measured[name] = Measured(extreme.value, extreme.value - extreme.error, extreme.value + extreme.error, (*flags, *still))
        if (reason := obstacle(found, self.residual)) is not None:
            return measured | {column.name: Skipped(reason) for column in self.columns if column.name not in measured}
        for name in _PRICES:
            measured[name] = _price(name, found, details, flags)
        measured["ifa_norm"] = Measured(details["ifa_norm"], flags=flags)
        for name in ("bound_low", "bound_high"):
            value = details[name]
            vague = "the training Hessian's smallest eigenvalue is not known well enough for a bound"
            measured[name] = Skipped(vague) if value is None else Measured(value, flags=flags)
        return measured

    def review(self, outcomes: Mapping[str, Mapping[str, Outcome]]) -> Mapping[str, Mapping[str, Outcome]]:
        """Withholds prices whose order hangs on the damping, and flags those of different kinds of derivative."""
        reviewed = {candidate: dict(columns) for candidate, columns in outcomes.items()}
        if (reason := unsteady(reviewed)) is not None:
            for columns in reviewed.values():
                columns |= {name: Skipped(reason) for name in _PRICES if isinstance(columns[name], Measured)}
        rungs = {columns["phi_norm"].details["curvature"] for columns in reviewed.values() if isinstance(columns["phi_norm"], Measured)}
        if len(rungs) > 1:
            for columns in reviewed.values():
                columns |= {n: replace(o, flags=(*o.flags, MIXED)) for n, o in columns.items() if isinstance(o, Measured)}
        return reviewed


def unsteady(outcomes: Mapping[str, Mapping[str, Outcome]]) -> str | None:
    """Why the order of candidates by `delta_influence` is one of dampings; None where it is not.

    The dampings of the candidates' sweeps are compared factor by factor; a candidate whose Hessian is indefinite at one is left out there.
    """
    import numpy as np

    from robustradar.numerics.agreement import kendall

    sweeps = [o.details["sweep"] for columns in outcomes.values() if isinstance(o := columns["delta_influence"], Measured)]
    by_factor = [{entry["factor"]: entry["delta_influence"] for entry in sweep} for sweep in sweeps]
    for factor in by_factor[0] if by_factor else ():
        pairs = [(values[1.0], values[factor]) for values in by_factor if values.get(factor) is not None]
        if len(pairs) < 2:
            continue
        here, there = np.array(pairs).T
        tau = kendall(here, there)
        if tau < _TAU:  # and not where it is NaN: prices that are all alike have no order to lose
            return f"the candidates' order changes with the damping: Kendall's tau between μ and {factor:.3g}·μ is {tau:.2f}, below {_TAU}"
    return None


def _price(name: str, found: Found, details: Mapping[str, Any], flags: tuple[str, ...]) -> Measured:
    """A price with its interval over evaluation samples, where each sample's part is known."""
    from robustradar.numerics.agreement import bootstrap_mean

    eps = details["eps"]
    value, low, high, samples = details[name], None, None, None
    if found.first is not None and found.second is not None:
        parts = eps**2 / 2 * found.second.double()
        parts = parts + eps * found.first.double() if name == "delta_first_order" else parts
        samples = parts.cpu().numpy()
        low, high = bootstrap_mean(samples[None], seed=0)
    return Measured(value, low, high, flags, details if name == "delta_influence" else {}, samples)


def _details(found: Found, eps: float) -> dict[str, Any]:
    """What explains an analysis, as JSON."""
    half = eps**2 / 2

    def scaled(form: float | None) -> float | None:
        return None if form is None else half * form

    def ends(bound: tuple[float, float] | None) -> tuple[float | None, float | None]:
        return (scaled(bound[0]), scaled(bound[1])) if bound else (None, None)

    first = None if found.first_order is None or found.form is None else eps * found.first_order + half * found.form
    spectra = {name: extreme.value for name, extreme in zip(_SPECTRA, (*found.train, *found.evaluation), strict=True)}
    bounds, tighter = ends(found.spectrum_bound()), ends(found.length_bound())
    mean, error = found.mean_eigenvalue
    return {
        "eps": eps,
        "phi_norm": float(found.attack.Phi.double().norm()),
        "ifa_norm": None if found.ifa is None else float(found.ifa.double().norm()),
        "delta_influence": scaled(found.form),
        "delta_first_order": first,
        "bound_low": bounds[0],
        "bound_high": bounds[1],
        "bound_low_by_ifa_norm": tighter[0],
        "bound_high_by_ifa_norm": tighter[1],
        **spectra,
        "damping": found.damping,
        "mean_eigenvalue": mean,
        "mean_eigenvalue_error": error,
        "negative_ritz_values": found.negative,
        "least_damping": found.least_damping,
        "sweep": [{"factor": f, "damping": f * found.damping, "delta_influence": scaled(form)} for f, form in found.sweep.items()],
        "phi_solution": None if found.bracket is None else asdict(found.bracket),
        "phi_spectrum": asdict(found.seen),
        "density": None if found.density is None else asdict(found.density),
        "residual": found.residual,
        "gradient_norm": found.gradient_norm,
        "zero_gradient_samples": found.attack.zero_gradient_samples,
        "samples": found.attack.samples,
        "slope": found.attack.slope,
        "bend": found.attack.bend,
        "curvature": found.curvature,
        "hessian_products": found.products,
    }
