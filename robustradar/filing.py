"""The files that people are handed: where they lie unless told otherwise, written whole or not at all, and read back with their schema."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from pathlib import Path

from robustradar.errors import StoreError, UsageError
from robustradar.values import JSON

# Finished work; results, in a folder a run; and a run's result in its folder.
STORE = Path(".robustradar/store")
RESULTS = Path("robustradar-results")
RESULT = "scores.json"


def replace(file: Path, content: str | bytes) -> None:
    """Writes a file beside its place and renames it there: whoever reads it meanwhile, or after a kill, finds the old text or the new one.

    Raises:
        OSError: It cannot be written; nothing is left beside it.
    """
    scrap = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        scrap.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(scrap, file)
    finally:
        with contextlib.suppress(OSError):
            scrap.unlink()


def put(
    file: Path, content: str | bytes, option: str = "--out", advice: str = "The work is in the store: run again with another --out."
) -> Path:
    """Writes a file whole, or not at all, with the folders that it lies in.

    Args:
        file: The place.
        content: The whole of it.
        option: What it was given by, for messages.
        advice: What to do where it cannot be written.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace(file, content)
    except OSError as error:
        raise StoreError(f"{option}: {file} cannot be written ({error.strerror}). {advice}") from None
    return file


def read(file: Path, schema: str, where: str, advice: str) -> JSON:
    """A document that names its schema; what else the schema asks for is not looked at.

    Args:
        file: The place.
        schema: What it has to name.
        where: What it was given by, for messages.
        advice: What to do where it is no such document.

    Raises:
        UsageError: It cannot be read, or is no such document.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refused)
    except OSError as error:
        raise UsageError(f"{where}: got {str(file)!r}, which cannot be read ({error.strerror}). {advice}") from None
    except ValueError as error:
        raise UsageError(f"{where}: got {str(file)!r}, which is no JSON ({error}), expected {schema}. {advice}") from None
    found = document.get("schema") if isinstance(document, dict) else None
    if found != schema:
        stated = "no schema" if found is None else f"schema {found!r}"
        raise UsageError(f"{where}: got {str(file)!r} of {stated}, expected {schema!r}. {advice}")
    return document


def _refused(name: str) -> None:
    """JSON has no NaN.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"{name} is no number")
