"""The clauses of every declaration: it is documented, and its parameters can be typed, are described and bounded."""

from __future__ import annotations

import typing
from typing import Any

from robustradar import catalog as cat
from robustradar.conformance.clause import Breach, Subject
from robustradar.contract.declaration import Declaration, parameters
from robustradar.errors import UsageError
from robustradar.host import KINDS


def documented(subject: Subject) -> None:
    """Its class says in a sentence what it is."""
    owner = type(subject.declaration)
    own, inherited = owner.__doc__ or "", [base.__doc__ for base in owner.__mro__[1:] if issubclass(base, Declaration)]
    if owner in KINDS.values():  # a recipe, say, is told by its numbers
        return
    if not own.strip() or own in inherited or own.startswith(f"{owner.__name__}("):
        raise Breach(
            f"{owner.__name__} without a docstring of its own",
            "a sentence that `robustradar plugins list` can show",
            f'Write """…""" below "class {owner.__name__}", or below the factory\'s def.',
        )


def typed(subject: Subject) -> None:
    """Every default can be typed as it is shown, and keeps to its own limits."""
    declaration = subject.declaration
    for field in parameters(declaration):
        value = getattr(declaration, field.name)
        text = cat.shown(value)
        try:
            bound = cat.bind(declaration, {field.name: text.strip('"')}, "default")
        except UsageError as error:
            got, _, expected = str(error).partition(": got ")[2].partition(". Accepted: ")[0].partition(", expected ")
            advice = "Change the default, or the limits in its annotation."
            raise Breach(f"the default {got}", expected, advice, f"parameter {field.name!r}") from None
        if getattr(bound, field.name) != value:
            got = getattr(bound, field.name)
            raise Breach(
                f"{got!r} when its default {value!r} is typed", "the same", "Annotate its type.", where=f"parameter {field.name!r}"
            )


def described(subject: Subject) -> None:
    """Every parameter has a sentence, and every number has limits."""
    hints = typing.get_type_hints(type(subject.declaration), include_extras=True)
    for field in parameters(subject.declaration):
        hint = hints[field.name]
        example = f'{field.name}: Annotated[{_base(hint)}, Field({"ge=…, " if _numeric(hint) else ""}description="…")]'
        if not cat.description(hint):
            raise Breach("no description", "what users should know of it", f"Write {example}.", where=f"parameter {field.name!r}")
        if _numeric(hint) and not any(sign in cat.type_text(hint) for sign in "<>"):
            raise Breach("a number without limits", "ge, gt, le or lt", f"Write {example}.", where=f"parameter {field.name!r}")


def _numeric(hint: Any) -> bool:
    """Whether a parameter is a number, or may be one."""
    base = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    return base in (int, float) or bool({int, float} & set(typing.get_args(base))) and typing.get_origin(base) is not tuple


def _base(hint: Any) -> str:
    """A parameter's bare type, as its author writes it."""
    base = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    return base.__name__ if isinstance(base, type) and not typing.get_args(base) else str(base).replace("typing.", "")


CLAUSES = (documented, typed, described)
