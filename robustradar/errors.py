"""What can go wrong, told to the user without a traceback.

Every message reads ``where: what was got, what was expected. What to do.`` and every class carries the exit code
of the command that it ends. Anything else that is raised is a bug, which ends a command with exit code 70.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path

# How the name of a module begins that a user gave as a file.
FILE_MODULE = "robustradar_file_"

# Names that are still read at one look; chosen here.
_LISTED = 12


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


class DeviceLost(RobustRadarError):
    """The accelerator failed for good: no candidate is to blame, and nothing more can be computed in this process (exit code 3).

    Args:
        reason: What the accelerator said.
    """

    exit_code = 3

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"--device: the accelerator failed ({reason}), and whatever this process asked it next would fail, too. Finished work is kept: "
            "run the same command again. If it fails at the same place, try --device cpu, which says what is wrong there."
        )


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
        self.lasting = lasting
        self._reason = reason

    @property
    def reason(self) -> str:
        """Why; with the line, where it was a lasting exception that passed through a file given by ``--plugin``."""
        frames = traceback.walk_tb(self.__cause__.__traceback__ if self.__cause__ and self.lasting else None)
        given = [(frame, line) for frame, line in frames if str(frame.f_globals.get("__name__")).startswith(FILE_MODULE)]
        places = [f" ({Path(frame.f_code.co_filename).name}:{line})" for frame, line in given[-1:]]
        return "".join([self._reason, *places])


class OutOfMemory(Failure):
    """Memory ran out, on the host or on an accelerator; another try, or a smaller batch, may do.

    Args:
        culprit: What failed.
        least: What there is no less of to do at once, such as ``a single sample``; empty where a smaller batch may do.
    """

    def __init__(self, culprit: str, least: str = "") -> None:
        smaller = "out of memory. Use a smaller batch, or a device with more memory."
        reason = f"out of memory even for {least}. Use a smaller network, or a device with more memory." if least else smaller
        super().__init__(culprit, reason, lasting=False)
        self.least = least


def unknown(where: str, name: str, known: Iterable[str], listing: str = "") -> str:
    """The message for a name that nobody declared. Where a command, `listing`, shows the names, many are only counted.

    >>> unknown("--recipe", "quik", ["quick", "standard"])
    "--recipe: got 'quik', expected one of quick, standard. Did you mean 'quick'?"
    >>> unknown("NAME", "nett9", [f"net{n}" for n in range(30)], "robustradar plugins list")
    "NAME: got 'nett9'. Did you mean 'net9' or 'net29' or 'net19'? Expected one of 30 names (robustradar plugins list shows them)."
    """
    names = sorted(known)
    close = _close(name, names)
    hint = f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    if not listing or len(names) <= _LISTED:
        return f"{where}: got {name!r}, expected one of {', '.join(names) or 'nothing: none is declared'}.{hint}"
    # A long list hides the suggestion that matters.
    counted = f"xpected one of {len(names)} names ({listing} shows them)."
    return f"{where}: got {name!r}.{hint} E{counted}" if hint else f"{where}: got {name!r}, e{counted}"


def _close(name: str, names: Iterable[str]) -> list[str]:
    """The three names that are closest, whatever the case; where no plugin was typed, in what stands behind the plugin.

    >>> _close("pdg", ["art/deepfool", "native/apgd-ce", "native/pgd", "torchattacks/PGD"])
    ['native/pgd', 'torchattacks/PGD']
    """
    forms: dict[str, list[str]] = {}
    for known in names:
        forms.setdefault(known.lower() if "/" in name else known.lower().rpartition("/")[2], []).append(known)
    close = difflib.get_close_matches(name.lower(), forms, n=3, cutoff=0.5)
    return [known for form in close for known in forms[form]][:3]
