"""Writes a result: the JSON, which is the truth, and every rendering that was asked for."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from robustradar import guard
from robustradar.contract.reporter import Reporter
from robustradar.errors import Failure, PluginError, StoreError
from robustradar.filing import RESULT, put
from robustradar.values import Result


def writable(out: Path) -> None:
    """Makes an output folder and tries it, before any work is done.

    Raises:
        StoreError: It cannot be written.
    """
    probe = out / f".{uuid.uuid4().hex}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StoreError(f"--out: got {str(out)!r}, which cannot be written ({error.strerror}). Choose another folder.") from None


def as_json(result: Result) -> str:
    """The document of schema ``robustradar/1``."""
    return json.dumps(result.json(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write(result: Result, reporters: Iterable[tuple[str, Reporter]], out: Path) -> list[Path]:
    """Writes ``scores.json`` first and then each rendering; each file is replaced as a whole.

    Args:
        result: What was found.
        reporters: Who is to be named when it fails, and the reporter.
        out: The folder.

    Returns:
        The files written.

    Raises:
        StoreError: A file cannot be written.
        PluginError: A reporter failed; the JSON and the files before it are written.
    """
    written = [put(out / RESULT, as_json(result))]
    complete = f"{out / RESULT} is written and complete."
    for culprit, reporter in reporters:
        text = rendered(culprit, reporter, partial(reporter.render, result), complete)
        if not isinstance(text, str):
            raise PluginError(f"{culprit}: render() returned {type(text).__name__}, expected str. {complete}")
        written.append(put(out / reporter.filename, text))
    return written


def rendered(culprit: str, reporter: Reporter, render: Callable[[], object], left: str) -> object:
    """What a reporter makes of a result, or of several.

    Args:
        culprit: Who is to be named when it fails.
        reporter: Whose file must not be the result's own.
        render: The call.
        left: What holds although it failed.

    Raises:
        PluginError: It failed, or would take the place of the result.
    """
    if reporter.filename == RESULT:
        raise PluginError(f"{culprit}: got the filename {RESULT!r}, which is the result's own, expected another. {left}")
    try:
        return guard.call(culprit, render)
    except Failure as failure:
        raise PluginError(f"{failure}. {left}") from None
