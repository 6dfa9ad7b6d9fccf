"""Plugins that a user has put out of action: by a file of this Python environment, or by an environment variable for a while.

The file lies where the plugins are, in the environment, so that it follows neither a user nor a project to another machine. Whoever lists
plugins, and every result, names what is disabled and by what.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from robustradar import filing
from robustradar.errors import UsageError, unknown

VARIABLE = "ROBUSTRADAR_DISABLE"


def file() -> Path:
    """Where `disable` writes: a name a line."""
    return Path(sys.prefix) / "etc" / "robustradar" / "disabled.txt"


def disabled() -> dict[str, str]:
    """Names of plugins, and what is to be told of each: by what it is disabled and how to enable it.

    Raises:
        UsageError: The file cannot be read.
    """
    found = {name: f"disabled in {file()}. Enable it: robustradar plugins enable {name}." for name in _names()}
    given = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    return found | {name: f"disabled by {VARIABLE}. Enable it: take it out of that variable." for name in given if name}


def disable(name: str, known: Iterable[str]) -> None:
    """Puts a plugin out of action from now on, whether it can be loaded or not.

    Raises:
        UsageError: There is no such plugin, or the file cannot be read or written.
    """
    if name not in (names := set(known)):
        raise UsageError(unknown("NAME", name, names))
    _write(sorted({*_names(), name}))


def enable(name: str, now: Mapping[str, str]) -> None:
    """Takes a plugin back into action.

    Raises:
        UsageError: It is not disabled, or by the variable, or the file cannot be read or written.
    """
    names = _names()
    if name not in names:
        if name in now:
            raise UsageError(f"NAME: got {name!r}, which {VARIABLE} disables, expected one of {file()}. Take it out of that variable.")
        raise UsageError(f"NAME: got {name!r}, expected a plugin that is disabled: {', '.join(names) or 'there is none'}.")
    _write([other for other in names if other != name])


def _names() -> list[str]:
    """What the file says.

    Raises:
        UsageError: It is there and cannot be read: what is disabled must not come back without a word.
    """
    try:
        return [line.strip() for line in file().read_text(encoding="utf-8").splitlines() if line.strip()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
        raise UsageError(
            f"plugins: got {str(file())!r}, which cannot be read ({reason}), expected a name a line. Mend it, or take it away."
        ) from None


def _write(names: list[str]) -> None:
    """Replaces the file; an empty one is removed.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        if names:
            file().parent.mkdir(parents=True, exist_ok=True)
            filing.replace(file(), "".join(f"{name}\n" for name in names))
        else:
            file().unlink()
    except OSError as error:
        advice = f"Set {VARIABLE}=NAME,… instead."
        raise UsageError(f"plugins: {str(file())!r} cannot be written ({error.strerror}), expected a file. {advice}") from None
