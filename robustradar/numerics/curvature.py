"""Second derivatives of a mean loss in its parameters, as products with vectors, over a whole data set in micro-batches.

Three rungs of a ladder, each for networks on which the one before has no derivative:

exact                H v by differentiating the gradient's graph (double backward). The graph of a micro-batch is kept and used for every
                     product while a stated memory lasts, else built anew: 2 against 3 gradients a product, counted in operations.
gauss-newton         Jᵀ(∇²_z l)J v, J = dz/dtheta, by a forward derivative and a backward one: H without the curvature of the network.
finite-differences   (g(theta + h v) - g(theta - h v)) / 2h, in float64, at two step sizes that must agree.

The network is in evaluation mode meanwhile, and everything is as it was afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from robustradar.numerics import vector
from robustradar.numerics.difference import doubled, hessian_product
from robustradar.numerics.problem import Problem, UnavailableError, derivative, still

Rung = Literal["exact", "gauss-newton", "finite-differences"]
LADDER: tuple[Rung, ...] = ("exact", "gauss-newton", "finite-differences")
MEMORY = 2 * 2**30
# Of one loss between two passes: a fixed network repeats to rounding, dropout that was left on does not (chosen here).
_REPEATABLE = 1e-5


@contextmanager
def hessian(problem: Problem, *, rung: Rung | None = None, memory: int = MEMORY) -> Iterator[Hessian]:
    """Products with the Hessian [d, d] of a mean loss.

    Args:
        problem: The loss.
        rung: The way to take; None: the first of the ladder that works.
        memory: Bytes that the gradients' graphs may hold.

    Yields:
        The Hessian, to be used inside the ``with`` block.

    Raises:
        UnavailableError: The loss is not finite, or the network is random in evaluation mode.
        ValueError: There are no data or no parameters, or the network changes its buffers.

    Example:
        >>> net = nn.Linear(2, 1, bias=False)
        >>> data = [(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0]]))]
        >>> with hessian(Problem(net, lambda z, y: (z - y).square().sum(1), data, ridge=0.5)) as H:
        ...     H @ torch.tensor([1.0, 0.0])  # (2 x xᵀ + 0.5 I) v
        tensor([2.5000, 4.0000])
    """
    with still(problem.model):
        found = Hessian(problem, rung, memory)
        try:
            yield found
        finally:
            found.close()


@dataclass(eq=False)
class Hessian:
    """Products with H, with the gradient and the loss found on the way.

    Attributes:
        asked: The way to take; None: the first of the ladder that works.
        loss: The mean loss, ridge included, a scalar in float64.
        gradient: Its gradient [d], ridge included.
        products: How many were taken.
        samples: N.
        kept: How many micro-batches have their graph kept.
    """

    problem: Problem = field(repr=False)
    asked: Rung | None
    memory: int
    products: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._parameters = self.problem.parameters
        self._graphs: list[tuple[Tensor, ...]] = []
        self._twin: Problem | None = None
        self._ladder = list(LADDER if self.asked is None else [self.asked])
        self.samples = self.problem.samples
        self._begin()

    @property
    def rung(self) -> Rung:
        """The way that products are taken: it may be lower after the first of them."""
        return self._ladder[0]

    @property
    def size(self) -> int:
        """Number d of parameters."""
        return sum(p.numel() for p in self._parameters)

    @property
    def kept(self) -> int:
        """How many micro-batches have their graph kept."""
        return len(self._graphs)

    def __matmul__(self, v: Tensor) -> Tensor:
        """H v [d].

        Raises:
            UnavailableError: No rung that may be taken works.
            ValueError: The vector is of another size.
        """
        if v.shape != self.gradient.shape:
            raise ValueError(f"curvature: got a vector of shape {list(v.shape)}, expected [{self.size}]: an entry for every parameter.")
        self.products += 1
        while True:
            try:
                with derivative(f"{self.rung} product"):
                    found = self._summed(v.detach())
                return found.add_(v, alpha=self.problem.ridge) if self.problem.ridge else found
            except UnavailableError as error:
                self._descend(error)

    def close(self) -> None:
        """Lets go of the graphs."""
        self._graphs.clear()
        self._twin = None

    def _begin(self) -> None:
        """The pass that finds loss and gradient, and keeps graphs while memory lasts."""
        total, loss, room, count = None, torch.zeros(()), self.memory, 0
        for x, y in self.problem.inputs():
            value = self._value(x, y)
            if not count:
                self._check(x, y, value)
            # The first graph is looked at in any case: it may show that there is no second derivative.
            kept = self.rung == "exact" and (not count or (len(self._graphs) == count and room > 0))
            grads = torch.autograd.grad(value, self._parameters, create_graph=kept, materialize_grads=True)
            if kept:
                try:
                    with derivative("exact product"):
                        room -= held(graph(grads))
                except UnavailableError as error:
                    self._descend(error)
                else:
                    if room >= 0:
                        self._graphs.append(grads)
            loss = value.detach() + loss
            total = _added(total, [g.detach() for g in grads], own=not kept)
            count += 1
        self._count = count
        theta = vector.flat(self._parameters).detach()
        self.gradient = torch.add(vector.flat(total or ()), theta, alpha=self.problem.ridge)
        self.loss = loss + self.problem.ridge / 2 * vector.dot(theta, theta)
        if not bool(torch.isfinite(self.loss) & torch.isfinite(self.gradient).all()):
            raise UnavailableError("the loss or its gradient is not finite")

    def _check(self, x: Tensor, y: Tensor, value: Tensor) -> None:
        """Whether the first micro-batch and its loss are the same again.

        Raises:
            ValueError: The data are not.
            UnavailableError: The loss is not.
        """
        again = next(iter(self.problem.inputs()))
        if again[0].shape != x.shape or not torch.equal(again[0], x):
            raise ValueError("curvature: got other data at the second pass, expected the same. Do not shuffle or augment.")
        if not torch.isclose(value, self._value(x, y), rtol=_REPEATABLE, atol=0, equal_nan=True):
            raise UnavailableError("the loss differs between two passes in evaluation mode, so it has no derivative")

    def _descend(self, error: UnavailableError) -> None:
        """Goes to the next rung.

        Raises:
            UnavailableError: There is none.
        """
        if len(self._ladder) == 1:
            raise error
        self._ladder.pop(0)
        self._graphs.clear()

    def _value(self, x: Tensor, y: Tensor) -> Tensor:
        """One micro-batch's part of the mean loss."""
        losses = self.problem.losses(x, y)
        return losses.sum(dtype=vector.wide(losses)) / self.samples

    def _summed(self, v: Tensor) -> Tensor:
        """The product without the ridge, summed over micro-batches; those whose graph is kept need no data."""
        if self.rung == "finite-differences":
            if self._twin is None:
                self._twin = doubled(self.problem)
            return hessian_product(self._twin, vector.flat(self._parameters).detach().double(), v.double()).to(v.dtype)
        total, parts = None, vector.like(v, self._parameters)
        for grads in self._graphs:
            total = _added(total, _differentiated(grads, self._parameters, parts, keep=True))
        for i, (x, y) in enumerate(self.problem.inputs() if self._count > self.kept else ()):
            if i >= self.kept:
                total = _added(total, self._product(x, y, parts))
        return vector.flat(total or ())

    def _product(self, x: Tensor, y: Tensor, parts: list[Tensor]) -> list[Tensor]:
        """One micro-batch's part of the product, without a kept graph."""
        if self.rung == "gauss-newton":
            return self._gauss_newton(x, y, parts)
        grads = torch.autograd.grad(self._value(x, y), self._parameters, create_graph=True, materialize_grads=True)
        return _differentiated(grads, self._parameters, parts, keep=False)

    def _gauss_newton(self, x: Tensor, y: Tensor, parts: list[Tensor]) -> list[Tensor]:
        """Jᵀ(∇²_z l)J v."""
        model = self.problem.model
        named = [name for name, p in model.named_parameters() if p.requires_grad]
        with forward_ad.dual_level():
            pairs = zip(self._parameters, parts, strict=True)
            duals = dict(zip(named, (forward_ad.make_dual(p, v) for p, v in pairs), strict=True))
            z, tangent = forward_ad.unpack_dual(functional_call(model, duals, (x,)))
        moved = torch.zeros_like(z) if tangent is None else tangent.detach()
        top = z.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.problem.loss(top, y).sum() / self.samples, top, create_graph=True)
        (bent,) = _differentiated((slope,), [top], [moved], keep=False)
        return list(torch.autograd.grad(z, self._parameters, bent, materialize_grads=True))


def graph(outputs: Iterable[Tensor]) -> set[torch.autograd.graph.Node]:
    """The operations behind some tensors that can be differentiated.

    Raises:
        RuntimeError: One of them has a derivative once only. Autograd would leave it out instead of saying so.
    """
    nodes = [t.grad_fn for t in outputs if t.grad_fn is not None]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if node.name() == "torch::autograd::Error":
            raise RuntimeError("trying to differentiate twice an operation that has a derivative once only")
        new = {following for following, _ in node.next_functions if following is not None} - seen
        seen |= new
        nodes += new
    return seen


def held(nodes: Iterable[torch.autograd.graph.Node]) -> int:
    """Bytes that operations hold beside the parameters: each saved tensor's storage, once."""
    storages: dict[int, int] = {}
    for node in nodes:
        names = [name for name in dir(node) if name.startswith("_saved_")]
        for value in [getattr(node, name) for name in names] + list(getattr(node, "saved_tensors", ())):
            for t in value if isinstance(value, tuple) else (value,):
                if isinstance(t, Tensor) and not isinstance(t, nn.Parameter):
                    storage = t.untyped_storage()
                    storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _differentiated(grads: Iterable[Tensor], parameters: Sequence[Tensor], parts: list[Tensor], *, keep: bool) -> list[Tensor]:
    """Σ parts · d grads / d parameters, zero where a gradient does not depend on them."""
    pairs = [(g, v) for g, v in zip(grads, parts, strict=True) if g.requires_grad]
    if not pairs:
        return [torch.zeros_like(p) for p in parameters]
    outputs, along = zip(*pairs, strict=True)
    return list(torch.autograd.grad(outputs, parameters, along, retain_graph=keep, materialize_grads=True))


def _added(total: list[Tensor] | None, parts: list[Tensor], *, own: bool = True) -> list[Tensor]:
    """The running sum, in place; the first parts are copied unless they may be written to."""
    if total is None:
        return parts if own else [part.clone() for part in parts]
    torch._foreach_add_(total, parts)
    return total
