"""A library's attacks as data: one row an attack, of which declarations are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from robustradar.adapter.attack import LibraryAttack, sources
from robustradar.contract.attack import Kind

A = TypeVar("A", bound=LibraryAttack)


@dataclass(frozen=True)
class Row:
    """One attack of a library. A plugin whose library needs more facts adds them in a subclass.

    Attributes:
        name: What the library calls it, and users too.
        kind: What it really does, read in its source.
        norms: The orders of its ball; None: no lp ball is its own, so that it is used under any, and is weak under all.
        summary: What users read of it.
        arguments: What it is called with, as `LibraryAttack.arguments` reads it.
        parameters: Parameters and their defaults; an attack with an ``alpha`` or a ``share`` has ``relative_step`` besides.
        min_classes: Fewest classes that it can do.
        images: Whether it uses height and width.
    """

    name: str
    kind: Kind
    norms: tuple[float, ...] | None
    summary: str
    arguments: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    min_classes: int = 2
    images: bool = False


def declared(base: type[A], row: Row, parameters: Mapping[str, Any]) -> A:
    """The declaration that a row describes: a frozen dataclass with just the parameters that this attack has, and the row as ``row``.

    Args:
        base: The plugin's own class for its library.
        row: The attack.
        parameters: Type of every parameter that rows name, with limits and description: ``Annotated[int, Field(ge=1, description="…")]``.

    Example:
        >>> from robustradar.adapter import Library
        >>> class Mine(LibraryAttack):
        ...     library = Library("mine", "torch")
        ...     def search(self, stage): return stage.z
        >>> row = Row("Still", "max_loss", None, "Stays where it is.", "n=steps", {"steps": 10})
        >>> attack = declared(Mine, row, {"steps": int})
        >>> attack.identifier, attack.steps, attack.summary
        ('mine/Still', 10, 'Stays where it is.')
    """
    defaults = dict(row.parameters)
    if {"alpha", "share"} & {*sources(row.arguments).values()}:
        defaults.setdefault("relative_step", None)
    fields = [(name, parameters[name], dataclasses.field(default=default)) for name, default in defaults.items()]
    namespace = {"row": row, "__doc__": row.summary, "__module__": base.__module__}
    made: type[A] = dataclasses.make_dataclass(row.name, fields, bases=(base,), namespace=namespace, frozen=True)
    return made(name=row.name, kind=row.kind, norms=row.norms, images=row.images, min_classes=row.min_classes)
