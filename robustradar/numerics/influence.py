"""The influence function of adversarial attack, IFA [T, Theorem 1], and what it says of the price of robustness [T, section 3.1].

theta_hat(eps) minimises the adversarial loss at strength eps; IFA is its derivative at eps = 0: -H_t⁻¹ Phi. No network is trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robustradar.numerics import vector
from robustradar.numerics.balls import Box, ascent
from robustradar.numerics.curvature import LADDER, MEMORY, Hessian, Rung, graph, hessian
from robustradar.numerics.difference import agreed, doubled
from robustradar.numerics.directional import directional
from robustradar.numerics.krylov import Bracket, Extreme, Krylov
from robustradar.numerics.problem import Problem, UnavailableError, derivative, still
from robustradar.numerics.spectrum import Density, density, mean_eigenvalue

# Dampings of the sweep over the chosen one: three decades, half a decade apart.
SWEEP = tuple(10.0 ** (k / 2) for k in range(-3, 4))
# Automatic damping: this share of the mean eigenvalue, or this multiple of the most negative one (both chosen here, see `damping`).
SHARE, RAISE = 1.0, 2.0
_SLACK = 1.1
# Largest |uᵀ H v - vᵀ H u| over the norm of H: float32 stays below 1e-4 (chosen here).
_ASYMMETRY = 1e-3
# Products for each random start of the spectral density (chosen here).
_STEPS = 50


@dataclass(frozen=True, eq=False)
class AttackGradient:
    """The gradient in theta of the loss's rise under an infinitesimal attack, and that rise to second order.

    Attributes:
        Phi: (1/N) Σ ∇_theta ∇_x l_i phi_i, [d]: the theta-gradient of `slope`.
        slope: (1/N) Σ norm(∇_x l_i, q): the loss's rise per eps.
        bend: (1/N) Σ phi_iᵀ ∇²_x l_i phi_i; the loss rises by eps · slope + eps²/2 · bend.
        zero_gradient_samples: Samples with ∇_x l = 0 (after the box), which contribute nothing and to which Theorem 1 does not apply.
        samples: N.
        rung: How the derivatives were taken.
    """

    Phi: Tensor
    slope: float
    bend: float
    zero_gradient_samples: int
    samples: int
    rung: Rung


def attack_gradient(problem: Problem, p: float, bounds: Box | None = None, *, rung: Rung | None = None) -> AttackGradient:
    """Phi of [T, Theorem 1]: how the gradient turns when every input moves along its steepest ascent.

    One double backward pass a micro-batch; no Jacobian is formed. Where autograd has no second derivative, central differences along phi.

    Args:
        problem: The loss; its ridge does not matter, as it does not depend on x.
        p: Order of the ball, 1 <= p <= inf.
        bounds: (lo, hi) of the inputs, or None. At a wall, ascent out of the box counts as 0.
        rung: ``exact`` or ``finite-differences``; None: the first that works.

    Raises:
        UnavailableError: Neither works, or the result is not finite.
        ValueError: p is below 1, or there are no data.

    Example:
        >>> net = torch.nn.Linear(2, 1, bias=False)
        >>> net.weight.data = torch.tensor([[1.0, -2.0]])
        >>> data = [(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0]]))]
        >>> found = attack_gradient(Problem(net, lambda z, y: (z - y).square().sum(1), data), math.inf)
        >>> found.slope, found.Phi  # l = (theta·x)², ∇_x l = 2 (theta·x) theta
        (6.0, tensor([ 8., -2.]))
    """
    with still(problem.model):
        try:
            if rung == "finite-differences":
                raise UnavailableError("asked for finite differences")
            with derivative("mixed derivative"):
                found = _mixed(problem, p, bounds)
        except UnavailableError:
            if rung == "exact":
                raise
            found = _differenced(problem, p, bounds)
    if not (torch.isfinite(found.Phi).all() and math.isfinite(found.slope)):
        raise UnavailableError("the loss's gradient in x is not finite")
    return found


def _mixed(problem: Problem, p: float, bounds: Box | None) -> AttackGradient:
    """By double backward."""
    parameters, count = problem.parameters, problem.samples
    Phi, sums = None, torch.zeros(3, dtype=vector.wide(parameters[0]), device=parameters[0].device)
    for inputs, y in problem.inputs():
        x = inputs.detach().requires_grad_()
        (g,) = torch.autograd.grad(problem.losses(x, y).sum(), x, create_graph=True)
        if Phi is None:
            graph([g])  # shows whether there is a second derivative
        phi = ascent(g.detach(), p, x.detach(), bounds)
        rise = (g * phi).flatten(1).sum(1)
        if rise.requires_grad:
            *parts, turn = torch.autograd.grad(rise.sum(), [*parameters, x], materialize_grads=True)
        else:  # a loss that is linear in x with a fixed slope
            parts, turn = [torch.zeros_like(q) for q in parameters], torch.zeros_like(x)
        part = vector.flat(parts) / count
        Phi = part if Phi is None else Phi.add_(part)
        sums += torch.stack([rise.detach().sum(), (turn * phi).sum(), (phi.flatten(1) == 0).all(1).sum()]).to(sums)
    slope, bend, zero = sums.tolist()
    return AttackGradient(torch.cat([]) if Phi is None else Phi, slope / count, bend / count, round(zero), count, "exact")


def _differenced(problem: Problem, p: float, bounds: Box | None) -> AttackGradient:
    """By central differences along phi, of first derivatives in float64."""
    twin = doubled(problem)
    parameters, count = twin.parameters, twin.samples
    sums = torch.zeros(2, dtype=torch.float64, device=parameters[0].device)
    moves = []
    for inputs, y in twin.inputs():
        x = inputs.detach().requires_grad_()
        (g,) = torch.autograd.grad(twin.losses(x, y).sum(), x)
        phi = ascent(g, p, x.detach(), bounds)
        moves.append(phi)
        sums += torch.stack([(g * phi).sum(), (phi.flatten(1) == 0).all(1).sum()])

    def gradients(step: float) -> Tensor:
        """The gradient in theta with all inputs moved, and last the rise along phi."""
        total = torch.zeros(sum(q.numel() for q in parameters) + 1, dtype=torch.float64, device=sums.device)
        for (x, y), phi in zip(twin.inputs(), moves, strict=True):
            moved = (x + step * phi).detach().requires_grad_()
            *parts, g = torch.autograd.grad(twin.losses(moved, y).sum(), [*parameters, moved], materialize_grads=True)
            total += torch.cat([vector.flat(parts), (g * phi).sum().reshape(1)])
        return total

    found = agreed(lambda h: (gradients(h) - gradients(-h)) / (2 * h * count))
    slope, zero = sums.tolist()
    Phi = found[:-1].to(problem.parameters[0].dtype)
    return AttackGradient(Phi, slope / count, float(found[-1]), round(zero), count, "finite-differences")


@dataclass(frozen=True)
class Settings:
    """What to compute, and how well.

    Attributes:
        p: Order of the ball, 1 <= p <= inf.
        bounds: The inputs' range, or None for unbounded inputs.
        damping: mu >= 0 of H_t + mu I; None: chosen by `influence`.
        residual: Relative residual at which solutions are taken, in (0, 1).
        products: Largest number of products with H_t, and again with H_e, apart from `probes`.
        probes: Random vectors for the mean eigenvalue of H_t (Hutchinson 1990).
        rung: How to take derivatives; None: the first of the ladder that works.
        memory: Bytes that gradient graphs may hold.
        vectors: How many vectors of a Krylov space may be stored; None: all.
        density: Random starts for the spectral density of H_t, 50 products each; 0: none is made.
        seed: Of the probes and the starts.
    """

    p: float
    bounds: Box | None = None
    damping: float | None = None
    residual: float = 1e-4
    products: int = 200
    probes: int = 8
    rung: Rung | None = None
    memory: int = MEMORY
    vectors: int | None = None
    density: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        for name, ok, wanted in (
            ("damping", self.damping is None or 0 <= self.damping < math.inf, "None or a finite number of at least 0"),
            ("residual", 0 < self.residual < 1, "a number between 0 and 1"),
            ("products", self.products >= 1, "at least 1"),
            ("probes", self.probes >= 2, "at least 2"),
            ("vectors", self.vectors is None or self.vectors >= 2, "None or at least 2"),
        ):
            if not ok:
                raise ValueError(f"influence: got {name}={getattr(self, name)}, expected {wanted}.")


@dataclass(frozen=True, eq=False)
class Influence:
    """What one trained network says of its own adversarial training, to first order.

    All of it is about A = H_t + damping · I, H_t the Hessian of the training objective (weight decay included) at the network's
    parameters and H_e that of the clean evaluation loss. For a strength eps the price of robustness Delta is about eps²/2 · `form`.

    Attributes:
        attack: Phi and what came with it.
        ifa: -A⁻¹ Phi, [d]; None where A is not positive definite.
        form: IFAᵀ H_e IFA; None with `ifa`.
        first: IFA·∇ of every evaluation sample's loss, [n]; None with `ifa`, or where there is no forward derivative.
        second: IFAᵀ ∇² IFA of every evaluation sample's loss, [n], whose mean is `form`; None with `first`.
        first_order: IFA·∇ of the mean evaluation loss; None with `ifa`.
        bracket: Phiᵀ A⁻¹ Phi between bounds; None with `ifa`.
        damping: mu.
        raised: Whether an automatic damping had to be raised above its share of the mean eigenvalue to make A positive definite.
        mean_eigenvalue: trace(H_t)/d by Hutchinson's estimate, and its standard error.
        negative: Number of Ritz values of H_t below -damping: where it is not 0, A is indefinite.
        least_damping: What the damping must exceed.
        sweep: Factor to `form` at the damping factor · mu, over three decades; None where A would be indefinite.
        residual: norm(Phi - A x) / norm(Phi) of the solution, by one more product; None with `ifa`.
        gradient_norm: Norm of the training objective's gradient: 0 at a minimum.
        train: The smallest and the largest eigenvalue of H_t.
        evaluation: The same of H_e.
        seen: H_t's spectrum weighted by Phi: the curvature that the attack's gradient meets. Not the spectral density.
        density: H_t's spectral density, if it was asked for.
        asymmetry: Largest |uᵀ H v - vᵀ H u| met, over the norm of H.
        products: Products with H_t and H_e, all told.
        curvature: The lowest rung of the ladder that was taken.
    """

    attack: AttackGradient
    ifa: Tensor | None
    form: float | None
    first: Tensor | None
    second: Tensor | None
    first_order: float | None
    bracket: Bracket | None
    damping: float
    raised: bool
    mean_eigenvalue: tuple[float, float]
    negative: int
    least_damping: float
    sweep: dict[float, float | None]
    residual: float | None
    gradient_norm: float
    train: tuple[Extreme, Extreme]
    evaluation: tuple[Extreme, Extreme]
    seen: Density
    density: Density | None
    asymmetry: float
    products: int
    curvature: Rung

    @property
    def definite(self) -> bool:
        """Whether A is positive definite, as far as the Krylov space shows."""
        return self.ifa is not None

    def spectrum_bound(self) -> tuple[float, float] | None:
        """Bounds on `form` by the ends of both spectra and the length of Phi [T, section 3.1, corrected]; None where A is not definite.

        With s and S the ends of A's spectrum: λ_min(H_e)/S² · |Phi|² from below, λ_max(H_e)/s² · |Phi|² from above, where a negative
        eigenvalue of H_e changes s for S. Loose: 20 to 28,000 times the value on small networks.
        """
        (low, high), (bottom, top) = (_ends(spectrum) for spectrum in (self.train, self.evaluation))
        s, S = low + self.damping, high + self.damping
        if not self.definite or s <= 0:
            return None
        square = float(vector.dot(self.attack.Phi, self.attack.Phi))
        return bottom * square / (S if bottom >= 0 else s) ** 2, top * square / (s if top >= 0 else S) ** 2

    def length_bound(self) -> tuple[float, float] | None:
        """Bounds on `form` by the ends of H_e's spectrum and the length of IFA: tighter, 4 to 46 times the value; None without IFA."""
        if self.ifa is None:
            return None
        square = float(vector.dot(self.ifa, self.ifa))
        bottom, top = _ends(self.evaluation)
        return bottom * square, top * square


def influence(train: Problem, evaluation: Problem, settings: Settings) -> Influence:
    """IFA, its quadratic form and its bounds, from one Krylov space of the training Hessian and one of the evaluation Hessian.

    The automatic damping is `SHARE` of the mean eigenvalue of H_t, as the scale of H depends on how a network is parameterised; or `RAISE`
    times its most negative eigenvalue where that is more: below, A is indefinite, and Phiᵀ A⁻¹ Phi hangs on whichever eigenvalues happen to
    lie near -mu. On trained networks that is the rule: the most negative one was 5 to 60 times the mean on small convolutional networks.
    A damping that is asked for is never raised.

    Args:
        train: The training objective at the network's parameters, weight decay as ridge.
        evaluation: The clean loss on the evaluation split, of the same network.
        settings: What to compute, and how well.

    Raises:
        UnavailableError: Every sample's gradient in x is zero, or a derivative cannot be had.
        ValueError: There are no data or no parameters.
    """
    attack = attack_gradient(train, settings.p, settings.bounds, rung=settings.rung if settings.rung == "finite-differences" else None)
    if attack.zero_gradient_samples == attack.samples:
        raise UnavailableError(f"the loss's gradient in x is zero on all {attack.samples} samples")
    with hessian(train, rung=settings.rung, memory=settings.memory) as H:
        space = Krylov(H, attack.Phi, settings.vectors)
        space.grow(top=1e-3, bottom=1e-2, steps=settings.products)
        mean = mean_eigenvalue(H, attack.Phi, probes=settings.probes, seed=settings.seed)
        mu, raised = _damped(space, mean[0], settings)
        gradient_norm = float(vector.length(H.gradient))
        x = space.solution(mu) if space.definite(mu) else None
        residual = None if x is None else _residual(H, mu, x, attack.Phi)
        whole = density(H, attack.Phi, probes=settings.density, steps=_STEPS, seed=settings.seed) if settings.density else None
        products, rungs = H.products, [attack.rung, H.rung]
    start = attack.Phi if x is None else -x
    with hessian(evaluation, rung=settings.rung, memory=settings.memory) as H_e:
        other = Krylov(H_e, start, settings.vectors)
        other.grow(top=1e-3, bottom=1e-2, steps=settings.products)
        form = None if x is None else other.first.alpha[0] * other.first.size**2
        sweep = {f: form if f == 1 else _form(H_e, space, mu * f) for f in (SWEEP if mu else (1.0,))}
        first_order = None if x is None else -float(vector.dot(H_e.gradient, x))
        rungs.append(H_e.rung)
        products += H_e.products
    asymmetry = max(space.asymmetry, other.asymmetry)
    if asymmetry > _ASYMMETRY:
        raise UnavailableError(f"products are not symmetric, by {asymmetry:.1e} of their size: an operation has a wrong second derivative")
    lowest: Rung = max(rungs, key=LADDER.index)
    first, second = _samples(evaluation, None if x is None else -x, form) if lowest == "exact" else (None, None)
    return Influence(
        attack,
        None if x is None else -x,
        form,
        first,
        second,
        first_order,
        None if x is None else space.form(mu),
        mu,
        raised,
        mean,
        space.negative(mu),
        space.least_damping,
        sweep,
        residual,
        gradient_norm,
        (space.bottom, space.top),
        (other.bottom, other.top),
        Density(tuple(space.first.ritz.tolist()), tuple(space.first.weights.tolist())),
        whole,
        asymmetry,
        products,
        lowest,
    )


def _damped(space: Krylov, mean: float, settings: Settings) -> tuple[float, bool]:
    """Chooses the damping, and grows the space until the sweep around it is solved; whether it was raised."""
    if settings.damping is not None:
        _solve(space, settings.damping, settings)
        return settings.damping, False
    share = max(SHARE * mean, space.noise * space.top.value)
    while True:
        mu = max(share, RAISE * space.least_damping)
        _solve(space, mu, settings)
        # Solving may have found a smaller eigenvalue; a space that was restarted keeps the dampings that it has.
        if RAISE * space.least_damping <= _SLACK * mu or space.restarted or space.steps >= settings.products:
            return mu, mu > share


def _solve(space: Krylov, mu: float, settings: Settings) -> None:
    """Grows the space until the solutions at a sweep of dampings are twice as good as asked: rounding may take some of it."""
    space.grow(dampings=tuple(mu * f for f in SWEEP), residual=settings.residual / 2, steps=settings.products)


def _residual(H: Hessian, mu: float, x: Tensor, b: Tensor) -> float:
    """norm(b - (H + mu I) x) / norm(b)."""
    return float(vector.length((H @ x).add_(x, alpha=mu).sub_(b)) / vector.length(b))


def _form(H: Hessian, space: Krylov, mu: float) -> float | None:
    """xᵀ H x of the solution at mu; None where there is none."""
    if not space.definite(mu):
        return None
    x = space.solution(mu)
    return float(vector.dot(x, H @ x))


def _samples(problem: Problem, v: Tensor | None, form: float | None) -> tuple[Tensor | None, Tensor | None]:
    """Every sample's derivatives along v; None where there is no v or no forward derivative."""
    if v is None:
        return None, None
    try:
        return directional(problem, v, form=form)
    except UnavailableError:
        return None, None


def _ends(spectrum: tuple[Extreme, Extreme]) -> tuple[float, float]:
    """The ends of a spectrum, moved out by their errors."""
    bottom, top = spectrum
    return bottom.value - bottom.error, top.value + top.error
