"""The models of [T] that have closed forms: linear regression under attack, and the quadratic network of its Example 1.

Everything is for the squared loss and data without a box, in the tensors' dtype; float64 where results are to serve as an oracle.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from robustradar.numerics.balls import ascent, dual, norm


def losses(theta: Tensor, x: Tensor, y: Tensor, eps: float, p: float) -> Tensor:
    """Return every sample's adversarial loss: the largest (y - (x + delta) theta)² over norm(delta, p) <= eps [T, section 3.2].

    Exactly (abs(y - x theta) + eps * norm(theta, q))². Convex in theta; not smooth where a residual is 0, or theta (for p = inf, any of
    its entries). Autograd may differentiate it.

    Args:
        theta: [m].
        x: [N, m].
        y: [N].
        eps: >= 0; 0 gives the clean losses.
        p: order of the ball, 1 <= p <= inf.

    Returns:
        [N].

    Raises:
        ValueError: if p is below 1.

    Example:
        >>> losses(torch.tensor([3.0, -4.0]), torch.tensor([[1.0, 1.0]]), torch.tensor([1.0]), 0.5, 2)
        tensor([20.2500])
    """
    return ((y - x @ theta).abs() + eps * norm(theta[None], dual(p))).square()


def mixture(theta: Tensor, x: Tensor, y: Tensor, xi: float, eps: float, p: float) -> Tensor:
    """Return (1 - xi) * alpha + xi * beta, whose minimiser over theta is theta_xi, a point of the trade-off curve [T, section 2].

    Args:
        theta: [m].
        x: [N, m].
        y: [N].
        xi: 0 <= xi <= 1.
        eps: >= 0.
        p: order of the ball, 1 <= p <= inf.

    Returns:
        A scalar.

    Raises:
        ValueError: if p is below 1.

    Example:
        >>> mixture(torch.tensor([3.0, -4.0]), torch.tensor([[1.0, 1.0]]), torch.tensor([1.0]), 0.5, 0.5, 2)
        tensor(12.1250)
    """
    return (1 - xi) * losses(theta, x, y, 0.0, p).mean() + xi * losses(theta, x, y, eps, p).mean()


def residual(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return b = sqrt(mean((y - x theta)²)), the radius of the constraint that theta meets with equality [T, Theorem 2].

    Args:
        theta: [m].
        x: [N, m].
        y: [N].

    Returns:
        A scalar >= 0.

    Example:
        >>> residual(torch.tensor([1.0]), torch.tensor([[1.0], [2.0]]), torch.tensor([2.0, 1.0]))
        tensor(1.)
    """
    return (y - x @ theta).square().mean().sqrt()


def residual_bound(theta_star: Tensor, xi: float, eps: float, p: float) -> Tensor:
    """Return sqrt(xi) * eps * norm(theta_star, q): no theta_xi has a larger residual b, where y = x theta_star [T, Theorems 2 and 3].

    Without noise the mixture at theta_star is the bound's square, and at theta_xi it is at most that and at least b². So it holds for
    every x and p, and for every theta with a mixture no larger than theta_star's.

    Args:
        theta_star: [m], without a residual.
        xi: 0 <= xi <= 1.
        eps: >= 0.
        p: order of the ball, 1 <= p <= inf.

    Returns:
        A scalar.

    Raises:
        ValueError: if p is below 1.

    Example:
        >>> residual_bound(torch.tensor([3.0, -4.0]), 0.25, 0.5, float("inf"))
        tensor(1.7500)
    """
    return norm(xi**0.5 * eps * theta_star[None], dual(p))[0]


def restricted_eigenvalue(x: Tensor) -> Tensor:
    """Return tau, the least eigenvalue of xᵀx / N: norm(theta_xi - theta_star, 2) <= b / sqrt(tau) [T, Corollary 1].

    Exact, as the mean of (x v)² is at least tau * norm(v, 2)² for every v. [T] restricts v to a cone around sparse vectors, where tau
    may be larger; its minimum over a cone is not computed here, so with fewer samples than inputs tau is 0 and the bound void.

    Args:
        x: [N, m].

    Returns:
        A scalar >= 0.

    Example:
        >>> restricted_eigenvalue(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        tensor(0.5000)
    """
    if len(x) < x.shape[1]:
        return x.new_zeros(())
    least: Tensor = torch.linalg.svdvals(x)[-1].square() / len(x)
    return least


@dataclass(frozen=True, eq=False)
class QuadraticNetwork:
    """Derivatives of L at W, with theta = W.flatten() [d], d = width * m.

    Attributes:
        gradient: [d], of L in theta.
        H: [d, d], Hessian of L in theta.
        mixed: [N, d, m], d/dtheta d/dx of every sample's loss.
        Phi: [d], mean over samples of mixed @ phi, phi the direction of steepest ascent in x [T, Theorem 1].
        ifa: [d], influence function of the attack, -inv(H) Phi: the derivative of L's minimiser in eps at eps = 0, where the gradient is 0.
    """

    gradient: Tensor
    H: Tensor
    mixed: Tensor
    Phi: Tensor
    ifa: Tensor


def quadratic_network(W: Tensor, a: Tensor, x: Tensor, y: Tensor, mu: float, p: float) -> QuadraticNetwork:
    """Return the derivatives of the quadratic network f(x, W) = sum_j a_j (w_j x)² [T, Example 1], all in closed form.

    For L = mean(l) + mu / 2 * norm(W, 2)² with l = (y - f)² and r = y - f:
    df/dw_j = 2 a_j (w_j x) x; df/dx = sum_j 2 a_j (w_j x) w_j; H = mean(2 df/dtheta (df/dtheta)ᵀ - 2 r d²f/dtheta²) + mu I, where
    d²f/dw_j² = 2 a_j x xᵀ; mixed = 2 df/dtheta (df/dx)ᵀ - 2 r d²f/dtheta dx, where d²f/dw_j dx = 2 a_j ((w_j x) I + x w_jᵀ). [T] prints the
    inverse of H without d²f/dtheta², and signs that are corrected here.

    Args:
        W: [width, m].
        a: [width].
        x: [N, m].
        y: [N].
        mu: weight decay, >= 0.
        p: order of the ball, 1 <= p <= inf.

    Raises:
        ValueError: if p is below 1.
        torch.linalg.LinAlgError: H is singular.

    Example:
        >>> one = torch.ones(1, 1)
        >>> found = quadratic_network(one, torch.ones(1), 2 * one, torch.ones(1), 0.5, 2)  # L = (1 - 4 w²)² + w² / 4
        >>> found.gradient, found.H, found.mixed
        (tensor([48.5000]), tensor([[176.5000]]), tensor([[[112.]]]))
    """
    (N, m), width = x.shape, len(W)
    s = x @ W.T  # [N, width]
    r = y - s.square() @ a
    in_theta = (2 * a * s)[:, :, None] * x[:, None]  # [N, width, m]
    in_x = (2 * a * s) @ W
    flat = in_theta.flatten(1)
    gradient = (-2 * r[:, None] * flat).mean(0) + mu * W.flatten()
    bend = torch.kron(a.diag(), -4 / N * (x.T * r) @ x)
    H = 2 / N * flat.T @ flat + bend + mu * torch.eye(width * m).to(W)
    diagonal = s[:, :, None, None] * torch.eye(m).to(W)
    both = 2 * a[:, None, None] * (diagonal + x[:, None, :, None] * W[:, None])  # [N, width, m, m]
    mixed = 2 * flat[:, :, None] * in_x[:, None] - 2 * r[:, None, None] * both.flatten(1, 2)
    phi = ascent(-2 * r[:, None] * in_x, p)
    Phi = (mixed @ phi[:, :, None]).mean(0)[:, 0]
    return QuadraticNetwork(gradient, H, mixed, Phi, -torch.linalg.solve(H, Phi))
