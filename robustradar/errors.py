"""What can go wrong, told to the user without a traceback.

Every message reads ``where: what was got, what was expected. What to do.`` and every class carries the exit code
of the command that it ends. Anything else that is raised is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RobustRadarError(Exception):
    """The root of all errors that are told to a user."""

    exit_code = 2


class UsageError(RobustRadarError):
    """A name, a parameter, an option or a path given by the user is wrong (exit code 2)."""


class RegistryError(UsageError):
    """A registry file is malformed: ``file:line: key: reason`` (exit code 2)."""


class DataError(UsageError):
    """Data are missing, truncated, mislabelled or out of range (exit code 2)."""


class StoreError(UsageError):
    """A store or an output folder cannot be read or written; finished work is kept (exit code 2)."""


class PluginError(RobustRadarError):
    """A plugin that the run needs is broken or breaks its contract (exit code 4)."""

    exit_code = 4


class Failure(Exception):
    """One fit or measurement came to nothing. It becomes a `Failed` outcome and the run goes on.

    Args:
        culprit: What failed: a plugin's declaration, ``training``, or the machine.
        reason: Why, in a sentence.
        lasting: Whether the same specification would fail again, so that the failure is worth storing.
    """

    def __init__(self, culprit: str, reason: str, *, lasting: bool = True) -> None:
        super().__init__(f"{culprit}: {reason}")
        self.culprit = culprit
        self.reason = reason
        self.lasting = lasting


class OutOfMemory(Failure):
    """Memory ran out, on the host or on an accelerator; another try, or a smaller batch, may do."""

    def __init__(self, culprit: str) -> None:
        super().__init__(culprit, "out of memory. Use a smaller batch, or a device with more memory.", lasting=False)


def unknown(where: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that nobody declared: suggestions first, then what is known.

    >>> unknown("--recipe", "quik", ["quick", "standard"])
    "--recipe: got 'quik', expected one of quick, standard. Did you mean 'quick'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    # A list of a thousand names hides the suggestion that matters.
    shown = ", ".join(names) if len(names) <= 60 else f"{len(names)} names (robustradar plugins list shows them)"
    hint = f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    return f"{where}: got {name!r}, expected one of {shown or 'nothing: none is declared'}.{hint}"
