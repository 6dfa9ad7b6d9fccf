"""What a clause is, what it is checked on, and what checking it yields."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from robustradar import guard
from robustradar.catalog import Catalog
from robustradar.contract.declaration import Declaration
from robustradar.errors import Failure, PluginError, RobustRadarError
from robustradar.values import Ref

State = Literal["kept", "broken", "not tried"]


class Breach(PluginError):
    """A clause is broken.

    Args:
        got: What was found.
        expected: What the clause promises.
        advice: What to do, in sentences.
        where: The part of the declaration, where it has several.
    """

    def __init__(self, got: str, expected: str, advice: str = "", where: str = "") -> None:
        super().__init__(f"{where and where + ': '}got {got}, expected {expected}.{advice and ' ' + advice}")


class Inapplicable(RobustRadarError):
    """A clause says nothing about a declaration, for a reason."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A declaration that is checked.

    Attributes:
        kind: ``attack``, ``architecture`` and so on.
        ref: Its name and parameters.
        declaration: With its parameters bound.
        catalog: Everything that is installed, and what the kit brings along.
    """

    kind: str
    ref: Ref
    declaration: Any
    catalog: Catalog = field(repr=False)

    @property
    def culprit(self) -> str:
        """Who is to be named."""
        return self.catalog.culprit(self.kind, self.ref)

    def __str__(self) -> str:
        return f"{self.kind} {self.ref.label}"


Clause = Callable[[Subject], None]


@dataclass(frozen=True)
class Verdict:
    """What checking a clause yielded.

    Attributes:
        subject: Kind and name of what was checked.
        clause: The clause's name.
        state: ``kept``, ``broken``, or ``not tried``, where the clause says nothing here.
        text: What was promised and kept; else what was got, what was expected and what to do; or why it was not tried.
        error: What was raised, for a traceback.
    """

    subject: str
    clause: str
    state: State
    text: str
    error: BaseException | None = None

    def json(self) -> dict[str, str]:
        """The verdict without its traceback."""
        return {"subject": self.subject, "clause": self.clause, "state": self.state, "text": self.text}


def name(clause: Clause) -> str:
    """A clause's name, from its function's."""
    return clause.__name__.replace("_", "-")


def promise(clause: Clause) -> str:
    """What a plugin promises by it: the first line of the function's docstring."""
    return (clause.__doc__ or "").strip().partition("\n")[0]


def verdict(clause: Clause, subject: Subject) -> Verdict:
    """Checks one clause on one declaration, under the guard."""
    about = (str(subject), name(clause))
    try:
        guard.call(subject.culprit, lambda: clause(subject))
    except PluginError as breach:
        return Verdict(*about, "broken", str(breach), breach)
    except Failure as failure:
        if declined(failure.__cause__):
            return Verdict(*about, "not tried", str(failure.__cause__), failure)
        return Verdict(*about, "broken", _told(failure, clause, subject.declaration), failure)
    except RobustRadarError as refusal:  # the plugin declines in words that are meant for the user, or the clause says nothing here
        return Verdict(*about, "not tried", str(refusal), refusal)
    return Verdict(*about, "kept", promise(clause))


def declined(error: BaseException | None) -> bool:
    """Whether a plugin says in words what it cannot do, as it may where nothing that it can declare does: ``got …, expected …``."""
    return isinstance(error, ValueError) and "got " in str(error) and ", expected " in str(error)


def _told(failure: Failure, clause: Clause, declaration: Declaration) -> str:
    """The host's own words, or an exception with its place in the plugin's code."""
    if failure.__cause__ is None:
        return failure.reason
    where = _place(failure.__cause__, declaration)
    return f"got {failure.reason}{where}, expected no exception. Promised is: {promise(clause)}"


def _place(error: BaseException, declaration: Declaration) -> str:
    """The innermost line of the plugin's own package in a traceback."""
    module = sys.modules.get(type(declaration).__module__)
    folder = Path(getattr(module, "__file__", None) or "/nowhere/at.py").parent
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == folder]
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
