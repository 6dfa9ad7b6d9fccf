"""One Krylov space, many answers: solutions at every damping, extreme eigenvalues, and brackets of quadratic forms.

Lanczos from a vector b gives orthonormal Q [m, d] with Q H Qᵀ = T, tridiagonal. H + mu I has the same space for every mu, so one run serves

solutions    (H + mu I)⁻¹ b ≈ norm(b) Qᵀ (T + mu I)⁻¹ e_1, with the residual known for free (FOM; CG in exact arithmetic)
eigenvalues  those of T, the Ritz values, lie inside the spectrum of H: the largest is a lower, the smallest an upper estimate
brackets     of bᵀ (H + mu I)⁻¹ b, by Gauss and Gauss-Radau quadrature (Golub and Meurant 2010, chapter 6)

Rows of Q are orthogonalised fully, sums run in float64 (`robustradar.numerics.vector`), and no claim goes below the rounding of products.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from robustradar.numerics import vector
from robustradar.numerics.problem import UnavailableError

# Steps over which an extreme Ritz value must stand still: a small residual shows that *an* eigenvalue is near, not the extreme one.
_STILL = 5
# Products between looks at the coefficients on a device where a look waits for it.
_LOOK = 4
_BLOCK = 4


class Operator(Protocol):
    """A symmetric matrix [d, d], known by its products."""

    def __matmul__(self, v: Tensor) -> Tensor:
        """Its product with v [d]."""


@dataclass(frozen=True)
class Extreme:
    """An end of the spectrum, as a Krylov space shows it.

    Attributes:
        value: The Ritz value: inside the spectrum.
        error: An eigenvalue lies about within it; that it is the extreme one is made likely by `still`, not proved.
        still: Whether the value stood still over the last steps.
    """

    value: float
    error: float
    still: bool


@dataclass(frozen=True)
class Bracket:
    """A quadratic form bᵀ (H + mu I)⁻¹ b: low ≤ true ≤ high, as far as the smallest eigenvalue is known."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class Tridiagonal:
    """T [m, m] with diagonal alpha [m] and off-diagonal beta [m]; the last entry of beta couples T to what lies outside.

    Attributes:
        alpha: Diagonal.
        beta: beta[j] = norm of the part of H q_j outside the space of the first j + 1 rows.
        size: Norm of the start vector.
        noise: Relative rounding of products with H.
    """

    alpha: tuple[float, ...]
    beta: tuple[float, ...]
    size: float
    noise: float

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        T = torch.diag(torch.tensor(self.alpha, dtype=torch.float64))
        off = torch.tensor(self.beta[:-1], dtype=torch.float64)
        found = torch.linalg.eigh(T + torch.diag(off, 1) + torch.diag(off, -1))
        return found.eigenvalues, found.eigenvectors

    @property
    def ritz(self) -> Tensor:
        """Ritz values [m], rising."""
        return self._eigen[0]

    @property
    def weights(self) -> Tensor:
        """Weights [m] of the Ritz values in the start vector's spectral measure; they sum to 1."""
        return self._eigen[1][0].square()

    def coefficients(self, mu: float) -> Tensor:
        """(T + mu I)⁻¹ norm(b) e_1, [m]."""
        theta, S = self._eigen
        return S @ (S[0] * self.size / (theta + mu))

    def residual(self, mu: float) -> float:
        """norm(b - (H + mu I) x) / norm(b) of the solution x at mu, no less than the products' rounding."""
        theta, S = self._eigen
        if bool((theta + mu == 0).any()):
            return math.inf
        return max(self.noise, abs(self.beta[-1] * float((S[-1] * S[0] / (theta + mu)).sum())))

    def error(self, end: int) -> float:
        """How far an eigenvalue may be from the Ritz value at one end (0 or -1): the smaller of residual and residual²/gap."""
        theta, S = self._eigen
        residual = self.beta[-1] * abs(float(S[-1, end]))
        gap = abs(float(theta[end] - theta[1 if end == 0 else -2])) - residual if len(theta) > 1 else 0.0
        bound = residual**2 / gap if gap > residual else residual
        return max(bound, self.noise * float(theta.abs().max()))

    def form(self, mu: float, bottom: float) -> Bracket:
        """Brackets bᵀ (H + mu I)⁻¹ b; bottom is a lower bound on the eigenvalues of H, with bottom + mu > 0.

        Gauss quadrature is a lower bound, Gauss-Radau with a node at the bottom an upper one [Golub and Meurant 2010, theorem 6.4].
        """
        theta, S = self._eigen
        low = self.size**2 * float((S[0].square() / (theta + mu)).sum())
        if not self.beta[-1]:  # the space holds all that b sees
            return Bracket(low * (1 - self.noise), low, low * (1 + self.noise))
        # The row and column that give T an eigenvalue at `bottom`: alpha = bottom + beta² e_mᵀ (T - bottom I)⁻¹ e_m.
        below = bottom - self.noise * float(theta.abs().max())
        corner = below + self.beta[-1] ** 2 * float((S[-1].square() / (theta - below)).sum())
        radau = Tridiagonal((*self.alpha, corner), (*self.beta, 0.0), self.size, self.noise)
        nodes, R = radau._eigen
        high = self.size**2 * float((R[0].square() / (nodes + mu)).sum())
        return Bracket(low * (1 - self.noise), low, max(high, low) * (1 + self.noise))


class Krylov:
    """The Krylov space of H and b, grown as far as is asked.

    Args:
        H: A symmetric operator.
        b: Where it starts [d], not zero.
        vectors: How many rows of Q may be stored; None: as many as there are steps. Once full, the space starts anew at the last residual,
            which all dampings share (restarted FOM for shifted systems, Simoncini 2003).

    Raises:
        ValueError: b is zero or not finite, or fewer than 2 vectors may be stored.

    Example:
        >>> H = torch.diag(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
        >>> space = Krylov(H, torch.ones(3, dtype=torch.float64))
        >>> space.grow(dampings=(1.0,), residual=1e-10)
        >>> space.solution(1.0)
        tensor([0.5000, 0.3333, 0.2000], dtype=torch.float64)
        >>> round(space.top.value, 6), round(space.bottom.value, 6), space.steps
        (4.0, 1.0, 3)
    """

    def __init__(self, H: Operator, b: Tensor, vectors: int | None = None) -> None:
        size = float(vector.length(b))
        if not (0 < size < math.inf):
            raise ValueError(f"krylov: got a start vector of length {size}, expected a finite one that is not zero.")
        if vectors is not None and vectors < 2:
            raise ValueError(f"krylov: got vectors={vectors}, expected at least 2.")
        self.H, self.b, self.vectors = H, b, vectors
        self.noise = 8 * torch.finfo(b.dtype).eps
        self.steps = 0
        self.asymmetry = 0.0
        self._size = self._length = size
        self._blocks: list[Tensor] = []
        self._unread: list[tuple[Tensor, Tensor]] = []
        self._alpha: list[float] = []
        self._beta: list[float] = []
        self._stored = 0
        self._next = b / size
        self._exhausted = False
        self._seen: list[tuple[float, float]] = []
        self._ends: list[Tridiagonal] = []  # of the spaces before a restart
        self._restarted: dict[float, tuple[Tensor | None, float]] = {}
        self._T: Tridiagonal | None = None

    # Growing

    def grow(
        self,
        *,
        dampings: tuple[float, ...] = (),
        residual: float = 1e-4,
        top: float | None = None,
        bottom: float | None = None,
        steps: int = 200,
    ) -> None:
        """Adds steps until what is asked for is reached, the space is exhausted, or `steps` products were taken: these, if nothing is.

        Args:
            dampings: Each mu whose relative residual is to reach `residual`; where H + mu I is seen to be indefinite, it is not waited for.
            residual: See there.
            top: Relative accuracy of the largest eigenvalue; None: not asked for.
            bottom: Relative accuracy of the smallest, or 1e-3 of that of the largest in magnitude, whichever is more.
            steps: Largest number of products.
        """
        asked = bool(dampings) or top is not None or bottom is not None
        while not self._exhausted and not (asked and self.steps and self._reached(dampings, residual, top, bottom)):
            room = steps - self.steps
            if room <= 0:
                return
            if self.vectors is not None and self._stored >= self.vectors:
                if not any(self.definite(mu) for mu in dampings):
                    return
                self._restart(dampings)
            self._lanczos(min(room, 1 if self.b.device.type == "cpu" else _LOOK))

    def _lanczos(self, count: int) -> None:
        """A few steps without a look at what they yield, then one look."""
        if self.vectors is not None:
            count = min(count, self.vectors - self._stored)
        for _ in range(count):
            w = self.H @ self._store()
            self.steps += 1
            # The first pass leaves rounding of the size of w, which a small remainder inherits; the second takes it out.
            c = self._project(w) + self._project(w)
            after = vector.length(w)
            self._unread.append((c, after))
            self._stored += 1
            self._next = w.div_(after.clamp_min(torch.finfo(w.dtype).tiny).to(w.dtype))
        self._look()

    def _look(self) -> None:
        """Reads the coefficients in one transfer, and finds out whether the space is exhausted."""
        c = self._unread[-1][0]
        others = c[:-2].abs().amax() if len(c) > 2 else c.new_zeros(())  # a symmetric operator leaves nothing but the last two
        *read, rest = torch.stack([*(part for c, after in self._unread for part in (c[-1], after)), others]).tolist()
        self._unread.clear()
        if not all(map(math.isfinite, read)):
            raise UnavailableError("a product with the matrix is not finite")
        for alpha, beta in zip(read[::2], read[1::2], strict=True):
            scale = max(map(abs, (*self._alpha, *self._beta, alpha, beta))) or 1.0
            self._exhausted = self._exhausted or beta <= self.noise * scale
            self._alpha.append(alpha)
            self._beta.append(0.0 if self._exhausted else beta)
            if self._exhausted:
                break
        self.asymmetry = max(self.asymmetry, rest / scale)
        self._T = Tridiagonal(tuple(self._alpha), tuple(self._beta), self._size, self.noise)
        low, high = float(self._T.ritz[0]), float(self._T.ritz[-1])
        before = self._seen[-1] if self._seen else (low, high)
        self._seen.append((min(low, before[0]), max(high, before[1])))

    def _project(self, w: Tensor) -> Tensor:
        """Takes the stored rows out of w, in place, and returns their coefficients in float64."""
        found = []
        for block in self._rows():
            c = vector.dots(block, w)
            w.addmv_(block.T, c.to(w.dtype), alpha=-1)
            found.append(c)
        return torch.cat(found)

    def _store(self) -> Tensor:
        """Makes the next vector a row of Q. Blocks of a few rows: read as a matrix, and none of them moves when the next is added."""
        used, q = self._stored % _BLOCK, self._next
        if not used:
            self._blocks.append(q.new_empty(_BLOCK if self.vectors is None else min(_BLOCK, self.vectors - self._stored), len(q)))
        self._blocks[-1][used] = q
        self._next = row = self._blocks[-1][used]
        return row

    def _rows(self) -> list[Tensor]:
        """The stored rows, in blocks; while a step is under way, the last of them has no coefficients yet."""
        count = self._stored + 1
        return [block[: max(0, min(_BLOCK, count - _BLOCK * i))] for i, block in enumerate(self._blocks)]

    def _restart(self, dampings: tuple[float, ...]) -> None:
        """Keeps the solutions so far and begins again at the residual's direction, which is the same for all of them."""
        T = self.T
        for mu in [mu for mu in dampings if self.definite(mu)]:
            x, factor = self._partial(mu)
            y = T.coefficients(mu) * (factor / self._size)
            self._restarted[mu] = (self._combination(y, x), -T.beta[-1] * float(y[-1]))
        if not self._ends:
            self._ends.append(T)
        self._size = 1.0
        self._stored = 0
        for kept in (self._blocks, self._alpha, self._beta):
            kept.clear()

    # Answers

    @property
    def T(self) -> Tridiagonal:
        """What the present space is projected to.

        Raises:
            ValueError: No step was taken yet.
        """
        if self._T is None:
            raise ValueError("krylov: got a space without steps, expected at least one. Call grow() first.")
        return self._T

    @property
    def first(self) -> Tridiagonal:
        """What the space from b is projected to; the same as T unless there was a restart."""
        return self._ends[0] if self._ends else self.T

    @property
    def top(self) -> Extreme:
        """The largest eigenvalue."""
        return self._extreme(-1)

    @property
    def bottom(self) -> Extreme:
        """The smallest eigenvalue."""
        return self._extreme(0)

    def residual(self, mu: float) -> float:
        """norm(b - (H + mu I) x) / norm(b) of the solution at mu."""
        _, factor = self._partial(mu)
        return max(self.noise, self.T.residual(mu) * abs(factor) / self._length)

    def solution(self, mu: float) -> Tensor:
        """(H + mu I)⁻¹ b, [d], to `residual(mu)`.

        Raises:
            ValueError: H + mu I is not positive definite, as far as the space shows.
        """
        if not self.definite(mu):
            raise ValueError(f"krylov: got damping {mu:g}, expected more than {self.least_damping:g}: H + mu I is indefinite there.")
        x, factor = self._partial(mu)
        return self._combination(self.T.coefficients(mu) * (factor / self._size), x)

    def form(self, mu: float) -> Bracket:
        """Brackets bᵀ (H + mu I)⁻¹ b.

        Raises:
            ValueError: H + mu I is not positive definite, as far as the space shows.
        """
        if not self.definite(mu):
            raise ValueError(f"krylov: got damping {mu:g}, expected more than {self.least_damping:g}: H + mu I is indefinite there.")
        return self.first.form(mu, -self.least_damping)

    def definite(self, mu: float) -> bool:
        """Whether H + mu I is positive definite, as far as the space shows: by the smallest Ritz value less its error."""
        return mu > self.least_damping and (not self.restarted or mu in self._restarted)

    @property
    def restarted(self) -> bool:
        """Whether the space began anew because no more vectors may be stored; it then knows only the dampings that it was grown for."""
        return bool(self._ends)

    @property
    def least_damping(self) -> float:
        """The mu that must be exceeded for H + mu I to be positive definite; below 0 where H is."""
        return self.bottom.error - self.bottom.value

    def negative(self, mu: float = 0.0) -> int:
        """Number of Ritz values below -mu: by interlacing, H has at least as many eigenvalues there."""
        return int((self.first.ritz < -mu).sum())

    def _extreme(self, end: int) -> Extreme:
        spaces = [*self._ends, self.T]
        T = max(spaces, key=lambda T: float(T.ritz[end]) * (-1 if end == 0 else 1))
        value, error = float(T.ritz[end]), T.error(end)
        return Extreme(value, error, self._exhausted or self._change(end) <= max(error, 1e-2 * abs(value), 1e-5 * self._span))

    @property
    def _span(self) -> float:
        """Size of the largest Ritz value."""
        return max(map(abs, self._seen[-1]))

    def _change(self, end: int) -> float:
        """How far an extreme Ritz value moved over the last steps."""
        back = -1 - math.ceil(_STILL / (1 if self.b.device.type == "cpu" else _LOOK))
        return abs(self._seen[back][end] - self._seen[-1][end]) if len(self._seen) >= -back else math.inf

    def _reached(self, dampings: tuple[float, ...], residual: float, top: float | None, bottom: float | None) -> bool:
        for end, accuracy in ((-1, top), (0, bottom)):
            if accuracy is not None:
                extreme = self._extreme(end)
                goal = accuracy * max(abs(extreme.value), 1e-3 * self._span)
                if extreme.error > goal or self._change(end) > goal:
                    return False
        return all(self.definite(mu) and self.residual(mu) <= residual for mu in dampings if not self.negative(mu))

    def _partial(self, mu: float) -> tuple[Tensor | None, float]:
        """The solution before the last restart, and the length of what it leaves."""
        if mu in self._restarted:
            return self._restarted[mu]
        if self._ends:
            raise ValueError(f"krylov: got damping {mu:g} after a restart, expected one of {sorted(self._restarted)}. Ask for all at once.")
        return None, self._size

    def _combination(self, y: Tensor, start: Tensor | None) -> Tensor:
        """Start + Qᵀ y, [d], in memory of its own."""
        x = torch.zeros_like(self.b) if start is None else start.clone()
        y = y.to(x)
        for i, block in enumerate(self._blocks):
            part = y[_BLOCK * i : _BLOCK * (i + 1)]
            x.addmv_(block[: len(part)].T, part)
        return x
