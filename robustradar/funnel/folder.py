"""The folder that a funnel writes into. What an earlier one left there goes first: its stages beside this one's would mislead."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from robustradar.errors import StoreError
from robustradar.filing import put
from robustradar.funnel import SCHEMA, Funneled, Stage, form, stage_folder
from robustradar.report import write

JSON_NAME, MARKDOWN_NAME = "funnel.json", "funnel.md"


def begin(out: Path, stages: Sequence[Stage], keep_best: float) -> None:
    """Makes the folder this funnel's own; its ``funnel.json``, of which nothing is run yet, says from now on what it will hold.

    Raises:
        StoreError: It cannot be written.
    """
    write.writable(out)
    for path in _left(out):
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"--out: {path} of an earlier funnel cannot be removed ({error.strerror}). Choose another folder.") from None
    put(out / JSON_NAME, document(Funneled(len(stages[0].prepared.study.candidates), keep_best, tuple(stages), ())))


def end(out: Path, found: Funneled) -> list[Path]:
    """Writes the funnel's own files.

    Raises:
        StoreError: They cannot be written.
    """
    return [put(out / JSON_NAME, document(found)), put(out / MARKDOWN_NAME, form.markdown(found))]


def document(found: Funneled) -> str:
    """The JSON of schema ``robustradar-funnel/1``."""
    return json.dumps(found.json(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _left(out: Path) -> list[Path]:
    """What an earlier funnel wrote there by its own account: stages and, since its ``funnel.json`` is replaced, the other file."""
    try:
        found = json.loads((out / JSON_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        return []
    names = [row["name"] for row in (*found["stages"], *found["not_run"])]
    return [*(stage_folder(out, number, name) for number, name in enumerate(names, 1)), out / MARKDOWN_NAME]
