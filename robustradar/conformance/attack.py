"""The clauses of attacks, on a network whose answers are known, under the host's judge."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from robustradar.conformance import toy, trace
from robustradar.conformance.clause import Breach, Inapplicable, Subject, declined
from robustradar.contract.attack import Attack, Victim
from robustradar.contract.metric import Attacked
from robustradar.errors import Failure
from robustradar.judge import TOLERANCE, Guarded
from robustradar.numerics import balls
from robustradar.training import loss as losses
from robustradar.values import Threat, number_text

SAMPLES = 8
_BOX = (0.0, 1.0)
_IMAGES = (1, 8, 8)
_WEAK, _MIDDLE, _STRONG = toy.STRENGTHS


@dataclass(frozen=True, eq=False)
class Scene:
    """A network, samples that it knows, and a threat.

    Attributes:
        classes: None for regression.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    threat: Threat
    classes: int | None

    @classmethod
    def of(cls, attack: Attack, p: float, eps: float, shape: tuple[int, ...] = _IMAGES, classes: int = 0) -> Scene:
        """Eight samples of the toy victim, and a radius that is as strong as eps is for p = ∞."""
        classes = classes or max(10, attack.min_classes)
        x, y = toy.samples(shape, classes, SAMPLES)
        return cls(toy.victim(shape, classes), x, y, Threat(p, toy.radius(eps, p, shape), _BOX), classes)

    def lent(self, seed: int = 0) -> Victim:
        """What the host would lend."""
        loss = losses.of(self.classes)
        chance, threat = torch.Generator().manual_seed(seed), self.threat
        return Victim(self.model, loss, threat.p, threat.eps, threat.bounds, chance)


def norms(attack: Attack) -> tuple[float, ...]:
    """The orders to try: those that an attack declares, or some of all."""
    return (math.inf, 2.0, 1.5, 1.0) if attack.norms is None else attack.norms


def raw(subject: Subject, scene: Scene, seed: int = 0) -> Tensor:
    """What perturb() returns, before the host brings it into ball and box."""
    found: Tensor = subject.declaration.perturb(scene.lent(seed), scene.x.clone(), scene.y.clone())
    return found.detach()


def judged(subject: Subject, scene: Scene, seed: int = 0) -> Attacked:
    """What the host makes of it."""
    guarded = Guarded(subject.declaration, subject.culprit, scene.threat, scene.classes, seed)
    return guarded(scene.model, scene.x.clone(), scene.y.clone())


def returns_inputs(subject: Subject) -> None:
    """perturb() returns finite float32 inputs of the shape of x, detached, at every norm that it declares."""
    attack = subject.declaration
    for p in norms(attack):
        scene = Scene.of(attack, p, _MIDDLE)
        judged(subject, scene)  # the host's own look at the form
        found = attack.perturb(scene.lent(), scene.x.clone(), scene.y.clone())
        if found.dtype != scene.x.dtype:
            raise Breach(f"{found.dtype} for inputs of {scene.x.dtype}", "the same", "Compute in x's dtype, or end with .to(x.dtype).")
        if not found.isfinite().all():
            raise Breach(f"{_count(~found.isfinite())} of {found.numel()} values NaN or infinite at {scene.threat}", "finite ones")
        if found.requires_grad:
            raise Breach("a tensor that requires grad", "a constant", "End with .detach(), or the whole graph stays in memory.")


def keeps_the_ball(subject: Subject) -> None:
    """No perturbation is longer than eps, at every norm that it declares and three strengths."""
    attack = subject.declaration
    if attack.kind == "min_norm":
        raise Inapplicable("min_norm attacks may leave the ball: the host counts what lies inside.")
    for p in norms(attack):
        for eps in toy.STRENGTHS:
            scene = Scene.of(attack, p, eps)
            size = float(balls.norm(raw(subject, scene) - scene.x, p).max() / scene.threat.eps)
            if not size <= attack.reach * (1 + TOLERANCE):
                most = "eps" if attack.reach == 1 else f"{attack.reach:g}·eps, its reach"
                advice = "Project with robustradar.numerics.balls.confine, or declare only the norms that it can do."
                raise Breach(f"a perturbation of {size:.4g}·eps at {_shown(scene.threat)}", f"at most {most}", advice)


def keeps_the_box(subject: Subject) -> None:
    """Nothing leaves the data's range, victim.bounds."""
    for p in norms(subject.declaration):
        scene = Scene.of(subject.declaration, p, _STRONG)
        # Every pixel at a wall, a quarter of them at the wrong one, beyond which an ascent of the loss would lead.
        wrong = torch.rand(scene.x.shape, generator=torch.Generator().manual_seed(7)) < 0.25
        scene = replace(scene, x=((scene.x > 0.5) ^ wrong).float())
        found = raw(subject, scene)
        low, high = float(found.min()), float(found.max())
        if low < -1e-6 or high > 1 + 1e-6:
            raise Breach(f"values from {low:.4g} to {high:.4g}", "0 to 1", "End with .clamp(*victim.bounds) where there are bounds.")


def does_nothing_at_zero(subject: Subject) -> None:
    """With eps = 0 it returns the inputs as they are."""
    attack = subject.declaration
    if attack.kind == "min_norm":
        raise Inapplicable("min_norm attacks look for the nearest wrong answer whatever eps is.")
    for p in norms(attack):
        scene = Scene.of(attack, p, 0.0)
        moved = (raw(subject, scene) - scene.x).abs().max()
        if moved.isnan():
            raise Breach("NaN at eps = 0", "the inputs as they are", "Do not divide by victim.eps.")
        if moved > 1e-6:
            raise Breach(f"inputs moved by {float(moved):.3g} at eps = 0", "them as they are", "Scale every step by victim.eps.")


def grows_with_eps(subject: Subject) -> None:
    """A larger ball never makes it weaker: losses rise, or answers fall, with eps."""
    attack = subject.declaration
    for p in norms(attack):
        scenes = [Scene.of(attack, p, eps) for eps in toy.STRENGTHS]
        found = [judged(subject, scene) for scene in scenes]
        for less, more, small, large in zip(found, found[1:], scenes, scenes[1:], strict=False):
            pair = f"eps = {number_text(round(small.threat.eps, 4))} and {number_text(round(large.threat.eps, 4))} ({large.threat.norm})"
            right = int(less.correct.sum()), int(more.correct.sum())
            if right[1] > right[0] + 1:  # one of eight, for those that draw
                raise Breach(f"{right[0]} and {right[1]} right answers of {SAMPLES} at {pair}", "no more at the larger", _SCALE)
            loss = float(less.loss.mean()), float(more.loss.mean())
            if attack.kind == "max_loss" and loss[1] < 0.95 * loss[0]:
                raise Breach(f"mean losses {loss[0]:.4g} and {loss[1]:.4g} at {pair}", "no less at the larger", _SCALE)


_SCALE = "Scale steps with victim.eps, and keep the best point found."


def follows_its_seed(subject: Subject) -> None:
    """victim.generator is its only chance: the same seed gives the same result, whatever the global generators hold."""
    for p in norms(subject.declaration):
        scene, found = Scene.of(subject.declaration, p, _MIDDLE), []
        for seed in (1, 2):
            with trace.other_chance(seed):
                found.append(raw(subject, scene))
        if not torch.equal(*found):
            advice = "Pass generator=victim.generator to every draw (rand, randn, randint, randperm), and use neither random nor NumPy."
            raise Breach(f"two results from one seed, {_apart(*found):.3g} apart at most", "the same", advice)


def ignores_its_batch(subject: Subject) -> None:
    """A sample's perturbation does not depend on the samples beside it."""
    attack = subject.declaration
    for p in norms(attack):
        scene = Scene.of(attack, p, _MIDDLE)
        parts = [replace(scene, x=scene.x[i : i + 1], y=scene.y[i : i + 1]) for i in range(SAMPLES)]
        whole = judged(subject, scene)
        if torch.equal(raw(subject, scene, 0), raw(subject, scene, 1)):  # no chance: the results can be compared one by one
            loss = torch.cat([judged(subject, part).loss for part in parts])
            if not torch.allclose(loss, whole.loss, rtol=1e-2, atol=1e-3):
                worst = int((loss - whole.loss).abs().argmax())
                got = f"loss {float(whole.loss[worst]):.4g} for a sample in a batch of {SAMPLES} and {float(loss[worst]):.4g} for it alone"
                raise Breach(got, "the same", _SUM)
        elif attack.kind == "max_loss":
            rise = [_rise([whole]), _rise([judged(subject, part, seed) for seed, part in enumerate(parts)])]
            if max(rise) > 3 * min(rise) + 0.1:
                got = f"losses that rise by {rise[0]:.4g} in a batch of {SAMPLES} and by {rise[1]:.4g} one by one"
                raise Breach(got, "about the same", _SUM)


_SUM = "Take the gradient of the losses' sum, not of their mean, and normalise each sample by itself."


def leaves_no_trace(subject: Subject) -> None:
    """Weights, hooks, inputs and the process's settings are as before; modes, gradients and global generators the host restores."""
    attack = subject.declaration
    scene = Scene.of(attack, norms(attack)[0], _MIDDLE)
    x, y, before = scene.x.clone(), scene.y.clone(), _hooks(scene.model)
    guarded = Guarded(attack, subject.culprit, scene.threat, scene.classes, 0)
    with trace.unchanged(chance=False):
        guarded.perturb(scene.model, x, y)
    if not (torch.equal(x, scene.x) and torch.equal(y, scene.y)):
        which = "labels" if torch.equal(x, scene.x) else "inputs"
        raise Breach(f"{which} that were written to", "them as they were", "Work on a copy: x.clone().")
    if left := _hooks(scene.model) - before:
        raise Breach(f"hooks left on the network ({left})", "none", "Call handle.remove() in a finally block.")


def takes_every_shape(subject: Subject) -> None:
    """It does images of one and three channels, not all square, and flat features unless it declares images=True."""
    attack = subject.declaration
    shapes = [(3, 8, 8), (1, 10, 6)] if attack.images else [(3, 8, 8), (1, 10, 6), (20,)]
    for shape in shapes:
        scene = Scene.of(attack, norms(attack)[0], _MIDDLE, shape)
        advice = "Broadcast over x.shape[1:], or declare images=True." if len(shape) == 1 else "Broadcast over x.shape[1:]."
        _does(subject, scene, f"inputs [N, {', '.join(map(str, shape))}]", advice)


def takes_every_task(subject: Subject) -> None:
    """It does as few classes as it declares by min_classes; with min_classes=0 regression, too."""
    attack = subject.declaration
    p, fewest = norms(attack)[0], max(2, attack.min_classes)
    judged(subject, Scene.of(attack, p, _MIDDLE, classes=fewest))
    if attack.min_classes == 0:
        scene = Scene.of(attack, p, _MIDDLE, classes=2)
        judged(subject, replace(scene, y=torch.linspace(-1, 1, 2 * SAMPLES).view(SAMPLES, 2), classes=None))


def survives_flat_losses(subject: Subject) -> None:
    """Where the gradient is 0 everywhere, it returns finite inputs."""
    for p in norms(subject.declaration):
        scene = Scene.of(subject.declaration, p, _MIDDLE)
        flat = replace(scene, model=toy.Constant(scene.classes or 1).eval())
        if not raw(subject, flat).isfinite().all():
            raise Breach("NaN or infinity where the gradient is 0", "finite inputs", "Divide by norm.clamp_min(1e-12).")


def does_without_a_box(subject: Subject) -> None:
    """Where victim.bounds is None, the data have no range, and nothing is clamped."""
    scene = Scene.of(subject.declaration, norms(subject.declaration)[0], _MIDDLE)
    scene = replace(scene, x=scene.x - 0.5, threat=replace(scene.threat, bounds=None))
    _does(subject, scene, "victim.bounds = None", "Write x.clamp(*victim.bounds) if victim.bounds else x.")


CLAUSES = (
    returns_inputs,
    keeps_the_ball,
    keeps_the_box,
    does_nothing_at_zero,
    grows_with_eps,
    follows_its_seed,
    ignores_its_batch,
    leaves_no_trace,
    takes_every_shape,
    takes_every_task,
    survives_flat_losses,
    does_without_a_box,
)


def _shown(threat: Threat) -> str:
    return f"{threat.norm} {threat.eps:.3g}"


def _count(mask: Tensor) -> int:
    return int(mask.sum())


def _apart(one: Tensor, other: Tensor) -> float:
    """The largest difference of two results."""
    return float((one - other).abs().max())


def _rise(found: list[Attacked]) -> float:
    """By how much the mean loss is above the clean one."""
    return float(torch.cat([a.loss - a.clean_loss for a in found]).mean())


def _hooks(model: nn.Module) -> int:
    """The number of hooks on modules and parameters."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    on_modules = sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)
    return on_modules + sum(len(p._backward_hooks or ()) for p in model.parameters())


def _does(subject: Subject, scene: Scene, what: str, advice: str) -> None:
    """Says what to do where a scene makes an attack raise.

    Raises:
        Breach: It does, and not in words of its own.
        Failure: It declines, or breaks the contract by what it returns.
    """
    try:
        judged(subject, scene)
    except Failure as failure:
        if failure.__cause__ is None or declined(failure.__cause__):
            raise
        raise Breach(f"{failure.reason} for {what}", "perturbed inputs", advice) from failure
