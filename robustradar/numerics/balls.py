"""Geometry of the threat model {delta : norm(delta, p) <= eps}, one ball a sample, for every 1 <= p <= inf.

Every function is batched over the first axis, runs on its input's device without waiting for it, returns the input's dtype and
computes in at least float32. Apart from :func:`norm`, which autograd may differentiate, results are constants: no graph is recorded.
"""

import math

import torch
from torch import Tensor

Box = tuple[float, float]

# Boxes whose walls a float reaches exactly: x + (hi - x), rounded to nearest, cannot pass a power of two this near.
_EXACT_BOXES: tuple[Box, ...] = ((0.0, 1.0), (-1.0, 1.0))

# Newton steps for general p, chosen here: float64 accuracy for 1.02 <= p <= 100 and 1e-5 beyond, see test_project_is_optimal_for_general_p.
_OUTER, _INNER = 16, 6


def dual(p: float) -> float:
    """Return the conjugate order q = p / (p - 1), for which 1/p + 1/q = 1 (Hoelder).

    Args:
        p: order of a norm, 1 <= p <= inf.

    Returns:
        q, 1 <= q <= inf; ``dual(dual(p)) == p`` up to rounding.

    Raises:
        ValueError: if p is below 1 or not a number.

    Example:
        >>> dual(1), dual(2), dual(math.inf), dual(4)
        (inf, 2.0, 1.0, 1.3333333333333333)
    """
    if not p >= 1:
        raise ValueError(f"balls: got p = {p}, expected 1 <= p <= inf. Give the order of a norm, such as 1, 2 or inf.")
    if p == 1:
        return math.inf
    return 1.0 if p == math.inf else p / (p - 1)


def norm(delta: Tensor, p: float) -> Tensor:
    """Return the p-norm of every sample, sum(abs(delta) ** p) ** (1 / p), or max(abs(delta)) for p = inf.

    Entries are divided by the sample's largest first, so no power over- or underflows. The derivative at delta = 0 is 0.

    Args:
        delta: [N, ...].
        p: order, 1 <= p <= inf.

    Returns:
        [N], non-negative, in delta's dtype.

    Raises:
        ValueError: if p is below 1, or delta has no sample axis or is not floating point.

    Example:
        >>> norm(torch.tensor([[3.0, -4.0], [0.0, 0.0]]), 2)
        tensor([5., 0.])
    """
    _check(p, delta)
    return _norm(_flat(delta), p).squeeze(1).to(delta.dtype)


@torch.no_grad()
def project(delta: Tensor, p: float, eps: float | Tensor) -> Tensor:
    """Return the nearest point, in Euclidean distance, of the ball {norm(delta, p) <= eps}.

    argmin over norm(v, p) <= eps of norm(v - delta, 2): a clamp for p = inf, a rescaling for p = 2, a soft threshold found
    by sorting for p = 1 (Duchi et al. 2008), else the root of the optimality conditions. Idempotent and non-expansive up to rounding.

    Args:
        delta: [N, ...].
        p: order, 1 <= p <= inf.
        eps: radius >= 0 in the data's units, one for all or [N].

    Returns:
        [N, ...], norm over eps by a few units in the last place of delta's dtype at most.

    Raises:
        ValueError: if p is below 1, eps is negative or of the wrong shape, or delta has no sample axis.

    Example:
        >>> project(torch.tensor([[3.0, 1.0]]), 1, 2.0), project(torch.tensor([[3.0, 4.0]]), 2, 1.0)
        (tensor([[2., 0.]]), tensor([[0.6000, 0.8000]]))
    """
    _check(p, delta)
    if p == math.inf:
        r = _radius(eps, delta)
        return torch.clamp(delta, -r, r) if isinstance(r, Tensor) else delta.clamp(-r, r)
    flat = _flat(delta)
    r = _radius(eps, flat)
    if p == 2:
        out = flat * _shrinkage(_length(flat), r).to(flat.dtype)
    else:
        out = _soft_threshold(flat, r) if p == 1 else _power_projection(flat.to(_wide(flat)), p, r)
        out = out * _shrinkage(_norm(out, p), r)
    return out.reshape(delta.shape).to(delta.dtype)


@torch.no_grad()
def confine(x: Tensor, delta: Tensor, p: float, eps: float | Tensor, bounds: Box | None) -> Tensor:
    """Return delta brought into the ball of radius eps and x + delta into the box: a feasible point, not the nearest one.

    clip(project(delta, p, eps), lo - x, hi - x): clipping moves every coordinate towards 0, which shrinks every p-norm.

    Args:
        x: [N, ...], inside bounds.
        delta: [N, ...].
        p: order, 1 <= p <= inf.
        eps: radius >= 0, one for all or [N].
        bounds: (lo, hi), or None for data without a box.

    Returns:
        [N, ...]; ``x + delta``, as computed in x's dtype, lies in [lo, hi] exactly (both rounded to that dtype), and
        norm(delta, p) <= eps as :func:`project` has it.

    Raises:
        ValueError: as :func:`project`; and if bounds are not lo < hi.

    Example:
        >>> confine(torch.tensor([[0.9, 0.5]]), torch.tensor([[0.5, -0.5]]), math.inf, 0.25, (0.0, 1.0))
        tensor([[ 0.1000, -0.2500]])
    """
    delta = project(delta, p, eps)
    return delta if bounds is None else delta.clamp_(*_room(x, bounds))


@torch.no_grad()
def ascent(g: Tensor, p: float, x: Tensor | None = None, bounds: Box | None = None) -> Tensor:
    """Return phi, the direction of unit p-norm along which the loss rises fastest [T, Theorem 1, with the sign restored].

    phi = sign(g) * b ** (q - 1) / sum(b ** q) ** (1 / p), b = abs(g): sign(g) for p = inf, g / norm(g, 2) for p = 2, all mass on the
    largest b for p = 1, ties shared. Then sum(g * phi) = norm(g, q). Where x sits at a wall and g points out, g counts as 0: the limit,
    as the radius goes to 0, of the attack that is confined to the box.

    Args:
        g: [N, ...], gradient of the loss in x.
        p: order of the ball, 1 <= p <= inf.
        x: [N, ...], inside bounds; unused without bounds.
        bounds: (lo, hi), or None for data without a box.

    Returns:
        [N, ...], of p-norm 1, or all 0 for a sample where g is 0.

    Raises:
        ValueError: if p is below 1, g has no sample axis, bounds come without x, or are not lo < hi.

    Example:
        >>> ascent(torch.tensor([[3.0, -4.0]]), 2), ascent(torch.tensor([[3.0, -4.0]]), 1)
        (tensor([[ 0.6000, -0.8000]]), tensor([[ 0., -1.]]))
    """
    q = _check(p, g)
    if bounds is not None:
        down, up = _room(x, bounds)
        # Three arithmetic kernels instead of six boolean ones: g is clamped at 0 towards a wall it touches, and not at all elsewhere.
        huge = torch.finfo(down.dtype).max
        g = torch.clamp(g, down.mul_(huge), up.mul_(huge))
    if p == math.inf:
        return g.sign()
    b, _ = _scaled(_flat(g))
    if p == 2:
        phi = b.div_(b.square().sum(1, keepdim=True).clamp_min_(1).sqrt_())
    elif p == 1:
        peak = b.abs() == 1
        phi = b.sign() * peak / peak.sum(1, keepdim=True).clamp_min_(1)
    else:
        w = b.abs().pow(q - 1)
        phi = b.sign() * w / w.pow(p).sum(1, keepdim=True).clamp_min_(1).pow_(1 / p)
    return phi.reshape(g.shape).to(g.dtype)


@torch.no_grad()
def steepest(g: Tensor, p: float, radius: float | Tensor, x: Tensor | None = None, bounds: Box | None = None) -> Tensor:
    """Return the delta that maximises sum(g * delta) in the ball of the radius, and with x + delta in the box: exact for every p.

    Without a box, radius * ascent(g, p). With room_k the distance from x_k to the wall that g_k points to: sign(g_k) * min(radius, room_k)
    for p = inf; for p = 1 the budget is spent in the order of falling abs(g_k) (a fractional knapsack; ties in index order);
    else sign(g_k) * min(room_k, c * abs(g_k) ** (q - 1)), c the scale at which the radius is used up.

    Args:
        g: [N, ...], gradient of the loss in x.
        p: order of the ball, 1 <= p <= inf.
        radius: >= 0, one for all or [N].
        x: [N, ...], inside bounds; unused without bounds.
        bounds: (lo, hi), or None for data without a box.

    Returns:
        [N, ...], 0 where g is 0; ``x + delta`` in the box as in :func:`confine`.

    Raises:
        ValueError: if p is below 1, radius is negative or of the wrong shape, bounds come without x, or are not lo < hi.

    Example:
        >>> steepest(torch.tensor([[3.0, -1.0, 2.0]]), 1, 1.0, torch.tensor([[0.75, 0.5, 0.5]]), (0.0, 1.0))
        tensor([[ 0.2500, -0.2500,  0.5000]])
    """
    q = _check(p, g)
    r = _radius(radius, g)
    if bounds is None:
        return (r * ascent(g, p)).to(g.dtype)
    down, up = _room(x, bounds)
    if p == math.inf:
        return g.sign().mul_(r).clamp_(down, up)
    b, _ = _scaled(_flat(g))
    sign = b.sign()
    # Distance to the wall ahead, 0 where there is no slope.
    room = (torch.where(b > 0, _flat(up), -_flat(down)) * sign.abs()).clamp_min(0).to(_wide(b))
    b, r = b.abs().to(room.dtype), _radius(radius, room)
    size = _greedy(b, room, r) if p == 1 else _water_filling(b, room, p, q, r)
    return (sign * size).reshape(g.shape).to(g.dtype)


@torch.no_grad()
def random_in_ball(like: Tensor, p: float, eps: float | Tensor, generator: torch.Generator) -> Tensor:
    """Draw a point uniformly from the ball of radius eps, for every sample.

    eps * t / (sum(abs(t) ** p) + e) ** (1 / p), with t_k of density proportional to exp(-abs(t_k) ** p) and e standard exponential
    (Barthe et al. 2005); uniform in the cube for p = inf. t_k is drawn as u * G ** (1 / p), u uniform on (-1, 1) and
    G ~ Gamma(1 + 1/p), which does not underflow at large p as Gamma(1/p) does.

    Args:
        like: [N, ...], gives shape, dtype and device.
        p: order, 1 <= p <= inf.
        eps: radius >= 0, one for all or [N].
        generator: the only source of randomness; draws are made on its device and moved to like's.

    Returns:
        [N, ...], norm at most eps up to a few units in the last place.

    Raises:
        ValueError: if p is below 1, eps is negative or of the wrong shape, or like has no sample axis.

    Example:
        >>> bool(norm(random_in_ball(torch.zeros(5, 3), 2, 0.5, torch.Generator().manual_seed(0)), 2).max() <= 0.5)
        True
    """
    _check(p, like)
    flat = _flat(like)
    r = _radius(eps, flat)
    shape, device = flat.shape, generator.device
    if p == math.inf:
        t = torch.empty(shape, dtype=flat.dtype, device=device).uniform_(-1, 1, generator=generator)
    else:
        e = torch.empty(shape[0], 1, dtype=flat.dtype, device=device).exponential_(generator=generator)
        if p == 2:
            t = torch.empty(shape, dtype=flat.dtype, device=device).normal_(generator=generator)
            t = t / (t.square().sum(1, keepdim=True) + 2 * e).sqrt_()
        else:
            t = torch.empty(shape, dtype=flat.dtype, device=device).uniform_(-1, 1, generator=generator)
            G = torch._standard_gamma(torch.full(shape, 1 + 1 / p, dtype=flat.dtype, device=device), generator=generator)
            mass = (t.abs().pow(p) * G).sum(1, keepdim=True)
            t = t * (G / (mass + e)).pow_(1 / p)
    return (t.to(like.device) * r).reshape(like.shape).to(like.dtype)


def _check(p: float, delta: Tensor) -> float:
    """Return q; refuse a tensor that is not a batch of floats."""
    if delta.ndim < 2 or not delta.is_floating_point():
        got = f"a tensor of shape {tuple(delta.shape)} and {delta.dtype}"
        raise ValueError(f"balls: got {got}, expected floating point [N, ...]. Add a leading sample axis, or convert with .float().")
    return dual(p)


def _flat(delta: Tensor) -> Tensor:
    """Return delta as [N, m] in at least float32."""
    return delta.flatten(1).to(torch.promote_types(delta.dtype, torch.float32))


def _wide(flat: Tensor) -> torch.dtype:
    """Return the dtype for sums that cancel: float64, which Apple's devices lack."""
    return flat.dtype if flat.device.type == "mps" else torch.float64


def _radius(eps: float | Tensor, like: Tensor) -> float | Tensor:
    """Return eps in a form that multiplies like [N, ...]."""
    if isinstance(eps, Tensor):
        if eps.ndim and eps.shape != like.shape[:1]:
            raise ValueError(f"balls: got a radius of shape {tuple(eps.shape)}, expected [{like.shape[0]}]. Give one radius a sample.")
        return eps.to(like).reshape(-1, *[1] * (like.ndim - 1))
    if not eps >= 0:
        raise ValueError(f"balls: got a radius of {eps}, expected a number >= 0. Give it in the data's own units, such as 8/255.")
    return float(eps)


def _room(x: Tensor | None, bounds: Box) -> tuple[Tensor, Tensor]:
    """Return (lo - x, hi - x), shortened by an ulp where x plus it would round to a point outside."""
    if x is None:
        raise ValueError(f"balls: got bounds {bounds} without x, expected both. Pass the inputs that the box is around.")
    lo, hi = bounds
    if not lo < hi:
        raise ValueError(f"balls: got bounds ({lo}, {hi}), expected lo < hi. Give the least and the greatest value of the data.")
    down, up = lo - x, hi - x
    if bounds not in _EXACT_BOXES:
        inward = 1 - torch.finfo(x.dtype).eps
        down = torch.where(x + down < lo, down * inward, down)
        up = torch.where(x + up > hi, up * inward, up)
    return down, up


def _scaled(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Return flat [N, m] over its largest magnitude, and that [N, 1]; a row of zeros stays one."""
    top = flat.detach().abs().amax(1, keepdim=True)
    return flat / torch.where(top > 0, top, 1), top


def _norm(flat: Tensor, p: float) -> Tensor:
    """Return the p-norm [N, 1] of flat [N, m]."""
    if p == math.inf:
        return flat.abs().amax(1, keepdim=True)
    b, top = _scaled(flat)
    # A row of zeros gets a sum of 1, which stops an infinite derivative.
    return top * (b.abs().pow(p).sum(1, keepdim=True) + (top == 0)).pow(1 / p)


def _length(flat: Tensor) -> Tensor:
    """Return the 2-norm [N, 1] of flat [N, m] in float64, whose range holds any squared float32: fewer kernels than scaling."""
    if flat.dtype == _wide(flat):  # sum adds in pairs, where vector_norm loses a digit on long rows
        return flat.square().sum(1, keepdim=True).sqrt_()
    size: Tensor = torch.linalg.vector_norm(flat, 2, 1, True, dtype=torch.float64)
    return size


def _shrinkage(size: Tensor, r: float | Tensor) -> Tensor:
    """Return min(1, r / size) [N, 1]."""
    return (r / size.clamp_min(torch.finfo(size.dtype).tiny)).clamp_(max=1)


def _soft_threshold(flat: Tensor, r: float | Tensor) -> Tensor:
    """Return the projection of flat [N, m] on the l1 ball in float64: sign * max(abs - tau, 0)."""
    total = flat.abs().sort(1, descending=True).values.cumsum(1, dtype=_wide(flat))
    k = torch.arange(1, flat.shape[1] + 1, dtype=total.dtype, device=flat.device)
    # The largest of these secants is the root of sum(max(abs - tau, 0)) = r; inside the ball all are negative.
    tau = ((total - r) / k).amax(1, keepdim=True).clamp_min_(0)
    return flat - torch.clamp(flat, -tau, tau)


def _power_projection(wide: Tensor, p: float, r: float | Tensor) -> Tensor:
    """Return the projection of wide [N, m] on the p-ball, 1 < p < inf, by Newton on lam in z + lam * z ** (p - 1) = a.

    a = abs(wide) / r. On lam in [max(a) - 1, norm(a, q)] every z <= 1, so no power overflows; psi = norm(z, p) ** (1 - p) is nearly linear
    in lam (exactly so at p = 2), which is why Newton solves psi = 1.
    """
    tiny = torch.finfo(wide.dtype).tiny
    r = r.to(wide.dtype) if isinstance(r, Tensor) else wide.new_full((1, 1), r)  # filled there: a copy from the host would wait
    a = wide.abs() / r.clamp_min(tiny**0.5)
    q = dual(p)
    low, high = (a.amax(1, keepdim=True) - 1).clamp_min_(tiny), _norm(a, q)
    lam = low
    for _ in range(_OUTER):
        z, w = _resolvent(a, lam, p)
        S = (z * w).sum(1, keepdim=True)
        psi = S.pow(-1 / q)
        slope = (p - 1) * psi / S * (w * w * z / (z + (p - 1) * lam * w).clamp_min_(tiny)).sum(1, keepdim=True)
        low, high = torch.where(psi < 1, lam, low), torch.where(psi < 1, high, lam)
        step = lam + (1 - psi) / slope
        lam = torch.where((step >= low) & (step <= high), step, (low + high) / 2)
    z, _ = _resolvent(a, lam, p)
    return torch.where(_norm(a, p) <= 1, wide, wide.sign() * z * r)


def _resolvent(a: Tensor, lam: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Return z and w = z ** (p - 1) that solve z + lam * w = a, by Newton from above on the convex one of its two forms."""
    s = max(p - 1, 1 / (p - 1))
    one = torch.ones_like(lam)
    A, B = (lam, one) if p >= 2 else (one, lam)
    v = torch.minimum(a / B, (a / A).pow(1 / s))
    for _ in range(_INNER):
        t = v.pow(s - 1)
        v = (A * (s - 1) * v * t + a) / (A * s * t + B)
    return (v, v.pow(s)) if p >= 2 else (v.pow(s), v)


def _greedy(b: Tensor, room: Tensor, r: float | Tensor) -> Tensor:
    """Return magnitudes [N, m] that spend the budget r on the largest b first, each up to its room."""
    order = b.argsort(dim=1, descending=True, stable=True)
    room = room.gather(1, order)
    spent = room.cumsum(1) - room
    return torch.zeros_like(room).scatter_(1, order, torch.minimum(room, (r - spent).clamp_min_(0)))


def _water_filling(b: Tensor, room: Tensor, p: float, q: float, r: float | Tensor) -> Tensor:
    """Return min(room, c * b ** (q - 1)) [N, m] with the c that gives it p-norm r, or room where all of it fits.

    In t = c ** p the p-th power of the norm is concave and piecewise linear, the least of the lines that take the k coordinates of least
    room / b ** (q - 1) as full: so t is the largest root of those lines. Logarithms, since b ** q spans hundreds of decades at p near 1.
    """
    tiny = torch.finfo(room.dtype).tiny
    r = r.to(room.dtype) if isinstance(r, Tensor) else room.new_full((1, 1), r)
    walls, room = room, (room / r.clamp_min(tiny)).clamp_max_(1)
    log_b = b.clamp_min(tiny).log()
    order = (p * room.log() - q * log_b).argsort(1)
    full = room.pow(p).gather(1, order)
    left = (1 - (full.cumsum(1) - full)).clamp_min_(0)
    rest = (q * log_b).gather(1, order).flip(1).logcumsumexp(1).flip(1)
    log_t = (left.log() - rest).amax(1, keepdim=True)
    return torch.minimum(walls, torch.minimum(room, (log_t / p + (q - 1) * log_b).exp()) * r)
