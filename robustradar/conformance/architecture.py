"""The clauses of architectures, on small images and features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from robustradar import data as datum
from robustradar import guard
from robustradar.conformance import toy, trace
from robustradar.conformance.clause import Breach, Subject
from robustradar.errors import Failure
from robustradar.training import network
from robustradar.training.device import DeviceData
from robustradar.values import Ref

# Tried in this order; the last only where nothing before it will do.
_SHAPES = ((3, 32, 32), (1, 8, 8), (20,))
_LARGE = (3, 224, 224)
_CLASSES = 4


@lru_cache(maxsize=8)
def _data(shape: tuple[int, ...], classes: int) -> DeviceData:
    """A few samples of a shape, where a network is built."""
    drawn = toy.classification(shape, classes)
    return DeviceData.of(drawn, datum.task(drawn, Ref("conformance/patterns", (), "", "")), torch.device("cpu"), size=8)


def built(subject: Subject, shape: tuple[int, ...], seed: int = 0, outputs: int = _CLASSES) -> nn.Module:
    """A network as the host builds it, in evaluation mode."""
    return network.build(subject.declaration, subject.culprit, _data(shape, outputs), seed).eval()


@lru_cache(maxsize=1)
def accepted(subject: Subject) -> tuple[int, ...]:
    """The first shape that the architecture takes.

    Raises:
        Breach: It takes none, or refuses one by something else than a ValueError.
    """
    return shapes(subject)[0]


@lru_cache(maxsize=1)
def shapes(subject: Subject) -> tuple[tuple[int, ...], ...]:
    """The shapes that the architecture takes, of those that are tried."""
    found: list[tuple[int, ...]] = []
    refusals: list[str] = []
    for shape in (*_SHAPES, _LARGE):
        if shape is _LARGE and found:
            break
        try:
            built(subject, shape)
            found.append(shape)
        except Failure as failure:
            if not isinstance(failure.__cause__, ValueError | RuntimeError):
                raise
            refusals.append(f"{_text(shape)}: {failure.reason}")
            if not isinstance(failure.__cause__, ValueError):
                advice = "Check the shape in build(), and raise ValueError with what the network needs."
                raise Breach(f"{failure.reason:.120} for inputs of {_text(shape)}", "a network or a ValueError", advice) from failure
    if not found:
        raise Breach(f"no network for any of {', '.join(map(_text, (*_SHAPES, _LARGE)))}", f"one at least ({refusals[0]})")
    return tuple(found)


def builds(subject: Subject) -> None:
    """build() returns a network from [N, *shape] to [N, outputs], or raises ValueError for inputs that it cannot take."""
    for shape in shapes(subject):
        for outputs in (_CLASSES, 2):
            model = built(subject, shape, outputs=outputs)
            for count in (1, 5):
                z = model(_inputs(shape, count))
                if z.shape != (count, outputs):
                    raise Breach(
                        f"{list(z.shape)} for {count} inputs of {_text(shape)}", f"[{count}, {outputs}]", "Flatten from dimension 1."
                    )
                if not (z.dtype == torch.float32 and z.isfinite().all()):
                    raise Breach(f"{z.dtype} with {int((~z.isfinite()).sum())} values not finite", "finite float32")


def returns_logits(subject: Subject) -> None:
    """Its outputs are logits: they do not sum to one like probabilities."""
    z = built(subject, accepted(subject))(_inputs(accepted(subject), 5)).detach()
    for values, last in ((z, "softmax"), (z.exp(), "log_softmax")):
        if torch.allclose(values.sum(1), torch.ones(5), atol=1e-4) and bool((values >= 0).all()):
            raise Breach(f"outputs of a {last}", "logits", f"Leave out the {last}: the host's losses have their own.")


def trains(subject: Subject) -> None:
    """In training mode it is differentiable in its inputs and its parameters."""
    model = built(subject, accepted(subject)).train()
    x = _inputs(accepted(subject), 6).requires_grad_()
    z = model(x)
    if not isinstance(z, Tensor) or z.shape != (6, _CLASSES):
        got = list(z.shape) if isinstance(z, Tensor) else type(z).__name__
        raise Breach(f"{got} in training mode", f"[6, {_CLASSES}] as in evaluation mode", "Return the logits alone.")
    learned = [p for p in model.parameters() if p.requires_grad]
    if not learned:
        raise Breach("no parameter that requires a gradient", "a network that can be trained", "Leave requires_grad as it is.")
    if z.grad_fn is None:
        raise Breach("outputs without a graph", "differentiable ones", "Leave out no_grad() and detach() in forward().")
    slopes: Sequence[Tensor | None] = torch.autograd.grad((z * torch.linspace(-1, 1, _CLASSES)).sum(), [x, *learned], allow_unused=True)
    if slopes[0] is None or not slopes[0].isfinite().all() or not slopes[0].any():
        got = "no gradient" if slopes[0] is None else "a gradient that is 0 or not finite"
        raise Breach(f"{got} in the inputs", "one that attacks can follow", "Leave out round, argmax, detach and the like.")
    if all(slope is None for slope in slopes[1:]):
        raise Breach("no gradient in any parameter", "at least one", "Use them in forward().")


def starts_by_the_seed(subject: Subject) -> None:
    """The seed of torch decides the initial weights, and nothing else does."""
    shape, found = accepted(subject), []
    for chance in (1, 2):
        with trace.other_chance(chance):
            found.append(built(subject, shape, seed=0).state_dict())
    if other := next((name for name, value in found[0].items() if not torch.equal(value, found[1][name])), None):
        raise Breach(f"two initial values of {other} from one seed", "the same", "Draw weights with torch, not with random or NumPy.")
    third = built(subject, shape, seed=1).state_dict()
    weights = [name for name, value in third.items() if value.ndim > 1 and value.numel() > 1]
    if len(weights) > 1 and all(torch.equal(third[name], found[0][name]) for name in weights):
        raise Breach("the same initial weights from seeds 0 and 1", "others", "Do not call torch.manual_seed in build().")


def is_its_state(subject: Subject) -> None:
    """Its state_dict holds all of it: loaded into another network, it gives the same answers."""
    shape = accepted(subject)
    one, other = built(subject, shape, seed=0), built(subject, shape, seed=1)
    state = one.state_dict()
    if strange := next((name for name, value in state.items() if not isinstance(value, Tensor)), None):
        raise Breach(f"{type(state[strange]).__name__} under {strange!r} in state_dict()", "tensors only", "Use register_buffer.")
    other.load_state_dict(state)
    answers = []
    for model in (one, other):
        with trace.other_chance(1):
            answers.append(model(_inputs(shape, 5)))
    if not torch.allclose(answers[0], answers[1], rtol=1e-4, atol=1e-6):
        advice = "Keep layers in nn.ModuleList, parameters in nn.Parameter and other tensors in register_buffer."
        raise Breach("other answers after state_dict() was loaded into a second network", "the same", advice)


def answers_alike(subject: Subject) -> None:
    """In evaluation mode an input's answer is the same at every call, alone and in a batch."""
    shape = accepted(subject)
    model, x = built(subject, shape), _inputs(shape, 5)
    with torch.no_grad():
        first, second = model(x), model(x)
        alone = torch.cat([model(x[i : i + 1]) for i in range(5)])
    if not torch.equal(first, second):
        raise Breach("two answers to one input in evaluation mode", "the same", "Pass training=self.training to functional.dropout.")
    if not torch.allclose(first, alone, rtol=1e-3, atol=1e-4):
        advice = "BatchNorm needs track_running_stats=True; normalise nothing over the batch."
        raise Breach(f"answers that depend on the batch by up to {float((first - alone).abs().max()):.3g}", "none that do", advice)


def leaves_no_trace(subject: Subject) -> None:
    """Building changes no setting of the process and prints nothing."""
    shape = accepted(subject)
    with trace.silent(), trace.unchanged(chance=False):
        built(subject, shape)


def stays_offline(subject: Subject) -> None:
    """Building asks for nothing over the network."""
    shape = accepted(subject)
    with trace.offline("Build an untrained network: weights=None or pretrained=False."):
        guard.call(subject.culprit, lambda: subject.declaration.build(shape, _CLASSES))


CLAUSES = (builds, returns_logits, trains, starts_by_the_seed, answers_alike, is_its_state, leaves_no_trace, stays_offline)


def _inputs(shape: tuple[int, ...], count: int) -> Tensor:
    """Inputs in [0, 1], all different."""
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(5))


def _text(shape: tuple[int, ...]) -> str:
    """A shape as a user writes it."""
    return " x ".join(map(str, shape)) if len(shape) > 1 else f"{math.prod(shape)} features"
