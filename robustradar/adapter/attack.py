"""The contract of attacks on one side, the unit box that other libraries work in on the other."""

from __future__ import annotations

import importlib
import math
import random
import warnings
from abc import abstractmethod
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar

from robustradar.contract.attack import Attack, Victim
from robustradar.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from robustradar.adapter.unit import UnitBox


@dataclass(frozen=True)
class Library:
    """Whose attacks they are.

    Attributes:
        plugin: The plugin's name, with which messages begin.
        distribution: The installed package, whose version is part of every key.
        requirement: What pip is to install where it is missing; empty: the distribution.
    """

    plugin: str
    distribution: str
    requirement: str = ""


@dataclass(frozen=True)
class Stage:
    """What a library's attack is run on, in the unit box.

    Attributes:
        model: The network, for inputs in [0, 1].
        z: The inputs.
        y: The labels.
        p: The norm's order.
        eps: The radius.
        seed: For attacks that seed themselves.
    """

    model: UnitBox
    z: Tensor
    y: Tensor
    p: float
    eps: float
    seed: int

    @property
    def classes(self) -> int:
        """Number of classes."""
        import torch

        with torch.no_grad():
            return int(self.model(self.z[:1]).shape[1])


@dataclass(frozen=True)
class LibraryAttack(Attack):
    """An attack of another library. A subclass sets `library` and writes `search`; its parameters are its fields, as ever.

    Around the search, inputs and ε that the library would take in silence are refused; data's units become the unit box and back; the
    generators of Python, NumPy and torch are seeded by the victim's (the host restores them); what comes back is brought into the box and,
    unless the attack is `min_norm`, into the ball. The library's version is part of every key. The loss is the library's own, mostly the
    cross-entropy, whatever the victim's is.

    A search may use `imported`, `arguments` and `share`. Where a library needs more, `check`, `unit`, `stretch` and `value` are overridden.

    Attributes:
        library: Whose attack it is.

    Example:
        >>> import torch
        >>> class Brighter(LibraryAttack):
        ...     library = Library("mine", "torch")
        ...     def search(self, stage): return stage.z + stage.eps
        >>> victim = Victim(torch.nn.Flatten(), None, math.inf, 0.5, (-1.0, 1.0), torch.Generator())
        >>> Brighter(name="brighter").perturb(victim, torch.tensor([[-1.0, 0.0, 0.75]]), torch.tensor([0]))
        tensor([[-0.5000,  0.5000,  1.0000]])
    """

    library: ClassVar[Library]

    @abstractmethod
    def search(self, stage: Stage) -> Tensor:
        """What the library's attack makes of ``stage.z``: of its shape, on any device. Where a sample is not finite, nothing was found."""

    # What some libraries need otherwise

    def check(self, victim: Victim, x: Tensor) -> None:
        """Refuses what a library would clip or take in silence, or crash on without saying why.

        Raises:
            ValueError: ε or the inputs are not what the attack can use.
        """
        where, eps, box = self.identifier, victim.eps, victim.bounds
        if not eps >= 0:
            raise ValueError(f"{where}: got ε = {eps:g}, expected at least 0. Give the radius in the data's own units, such as 8/255.")
        if box is None:
            return
        if math.isinf(victim.p) and eps > box[1] - box[0]:
            raise ValueError(f"{where}: got ε = {eps:g} in the box {box}, expected at most {box[1] - box[0]:g}. For 8/255, write 8/255.")
        if not box[0] <= float(x.min()) <= float(x.max()) <= box[1]:
            raise ValueError(
                f"{where}: got inputs from {float(x.min()):.4g} to {float(x.max()):.4g}, expected them in {box}. "
                "Put the normalisation inside the network."
            )

    def unit(self, victim: Victim, x: Tensor, box: tuple[float, float]) -> UnitBox:
        """The network as the library is shown it; the box is wide enough to hold the ball where data have none."""
        from robustradar.adapter.unit import UnitBox

        return UnitBox(victim.model, x, box)

    @property
    def stretch(self) -> float:
        """By how much the whole perturbation is lengthened: more than 1 where a search comes to rest on the near side of the boundary."""
        return 1.0

    def value(self, source: str, stage: Stage) -> Any:
        """What a source of `arguments` stands for."""
        if source in ("p", "eps", "seed", "classes"):
            return getattr(stage, source)
        if source == "alpha":
            return self.share() * stage.eps
        return self.share() if source == "share" else vars(self)[source]

    # What a search may use

    def arguments(self, words: str, stage: Stage) -> dict[str, Any]:
        """The library's arguments by name, from words such as ``eps alpha n_iter=steps``: each ``argument`` or ``argument=source``.

        Sources are ``p``, ``eps``, ``seed``, ``classes``, ``alpha`` (the step size), ``share`` (the same over ε), and the parameters.
        """
        return {argument: self.value(source, stage) for argument, source in sources(words).items()}

    def share(self) -> float:
        """The step size as a share of ε: the parameter ``relative_step``, or 2.5/``steps``.

        Raises:
            ValueError: All steps together do not reach the ball's surface.
        """
        own = vars(self)
        steps: int = own.get("steps", 1)
        share: float = own.get("relative_step") or 2.5 / steps
        if "steps" in own and steps * share < 1:
            raise ValueError(
                f"{self.identifier}: got steps={steps} and relative_step={share:g}, which reach {steps * share:.2g}·ε, "
                f"expected steps·relative_step >= 1. Raise one of them, or leave relative_step out for 2.5/steps."
            )
        return share

    def imported(self, module: str) -> Any:
        """A module of the library.

        Raises:
            UsageError: The library is not installed.
        """
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError:
            raise self._missing() from None

    @property
    def identifier(self) -> str:
        """What users type, and messages begin with: ``plugin/name``."""
        return f"{self.library.plugin}/{self.name}"

    # The contract

    def content(self) -> str:
        """The library's version.

        Raises:
            UsageError: The library is not installed.
        """
        try:
            return f"{self.library.distribution} {metadata.version(self.library.distribution)}"
        except metadata.PackageNotFoundError:
            raise self._missing() from None

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """Runs the search in the unit box, reproducibly, and brings the outcome back into box and (unless `min_norm`) ball.

        Raises:
            UsageError: The library is not installed.
            ValueError: ε, the inputs or a parameter are not what the attack can use.
        """
        import torch

        from robustradar.numerics import balls

        self.check(victim, x)
        if victim.eps == 0:
            return x.detach().clone()
        box = victim.bounds or (float(x.min()) - victim.eps, float(x.max()) + victim.eps)
        model = self.unit(victim, x, box)
        stage = Stage(model, model.enter(x), y, victim.p, victim.eps / model.width, _reseed(victim.generator))
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the libraries' own, mostly of NumPy and SciPy
            found = model.leave(self.search(stage).detach())
        usable = found.flatten(1).isfinite().all(1).view(-1, *[1] * (x.ndim - 1))  # 0/0 where a gradient vanishes
        delta = torch.where(usable, found - x.float(), 0.0) * self.stretch
        radius = math.inf if self.kind == "min_norm" else victim.eps
        return x.float() + balls.confine(x.float(), delta, victim.p, radius, victim.bounds)

    def _missing(self) -> UsageError:
        """What is told where the library is not installed."""
        name, requirement = self.library.distribution, self.library.requirement or self.library.distribution
        return UsageError(f"{self.identifier}: got no {name}, expected it installed. Run: pip install '{requirement}'.")


def sources(words: str) -> dict[str, str]:
    """Argument to source.

    >>> sources("eps n_iter=steps")
    {'eps': 'eps', 'n_iter': 'steps'}
    """
    pairs = (word.partition("=") for word in words.split())
    return {argument: source or argument for argument, _, source in pairs}


def _reseed(generator: torch.Generator) -> int:
    """Seeds the global generators, which libraries draw from, by a number from the given one."""
    import numpy as np
    import torch

    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return seed
