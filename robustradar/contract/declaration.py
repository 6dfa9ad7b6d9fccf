"""What all declarations share: a name, and parameters that are dataclass fields."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_FIXED = {"fixed": True}


def fixed(default: Any = dataclasses.MISSING) -> Any:
    """A field that the plugin's author sets and a user cannot: a fact of the declaration, not a parameter.

    Args:
        default: The value where the declaration gives none; without it the field must be given.
    """
    return dataclasses.field(default=default, metadata=_FIXED, kw_only=True)


@dataclass(frozen=True)
class Declaration:
    """One thing that a plugin offers. The fields of a declaration, `fixed` ones aside, are its parameters.

    A parameter is annotated with its type, may carry limits and a sentence in ``Annotated[int, Field(ge=1, description="…")]``,
    and has a default. Users set it as ``plugin/name:parameter=value``.

    Attributes:
        name: What users call it, unique within the plugin and the kind: letters, digits and ``_ . + -``.
    """

    name: str = fixed("")

    def content(self) -> str:
        """Digest of what decides results beside parameters and code, part of every key; empty: nothing does.

        A declaration with a parameter that names a file returns `file_digest` of it.
        """
        return ""

    @property
    def summary(self) -> str:
        """What `plugins list` says of it: the first sentence of the class's docstring."""
        return (inspect.getdoc(type(self)) or "").split("\n\n")[0].replace("\n", " ")


def file_digest(path: str) -> str:
    """SHA-256 of a file, for `Declaration.content`; empty where there is no such file, which is told when it is needed."""
    file = Path(path)
    if not path or not file.is_file():
        return ""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parameters(declaration: Declaration | type[Declaration]) -> tuple[dataclasses.Field[Any], ...]:
    """The fields that a user may set, in order."""
    return tuple(f for f in dataclasses.fields(declaration) if not f.metadata.get("fixed"))
