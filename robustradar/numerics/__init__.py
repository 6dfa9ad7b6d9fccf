"""Free functions on tensors and arrays: no plugins, no settings, no state, no input or output.

Docstrings cite [T], Deng et al., *Architecture Selection via the Trade-off Between Accuracy and Robustness*, and [P],
Xing, Song and Cheng, *Phase Transition from Clean Training to Adversarial Training* (NeurIPS 2022). All modules
share one table of symbols; an axis of every tensor is one of N, C, K, m, d, S, n.

Data and threat
    x [N, ...]      inputs; for images [N, C, H, W] with values in the box, usually [0, 1]
    y [N]           labels (int) or responses (float)
    z [N, K]        logits, K classes
    m               number of coordinates of one input
    delta [N, ...]  perturbation of x
    eps             attack strength, radius of the ball, in the data's own units
    p, q            order of the ball, 1 <= p <= inf, and its conjugate, 1/p + 1/q = 1
    g [N, ...]      gradient of the loss at x, b = abs(g)
    phi [N, ...]    ascent direction: the delta of unit p-norm that maximises sum(g * delta)

Losses
    theta [d]       parameters
    alpha           clean loss, mean of l(theta, x, y)
    beta            adversarial loss, mean of the maximum of l(theta, x + delta, y) over the ball
    xi              weight of beta in the training objective (1 - xi) * alpha + xi * beta
    eps_star        critical attack strength [P]

Curvature
    H [d, d]        Hessian of a loss in theta; H_t on the training split, H_e on the evaluation split
    Phi [d]         mean over samples of (d/dtheta d/dx l) phi, [T, Theorem 1]
    mu              damping: H + mu * I is what is solved with
    lam             eigenvalue, or the multiplier of a constraint

Comparison
    C, K            candidates, and the columns (metrics) that rank them
    S, n            training seeds, and evaluation samples
    level           coverage of an interval, such as 0.95

Nothing is imported here, so that ``robustradar.numerics.agreement`` works where torch is not installed.
"""
