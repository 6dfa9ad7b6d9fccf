"""Files are replaced as a whole: whoever reads one meanwhile, or after a kill, finds the old text or the new one."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path


def replace(file: Path, content: str | bytes) -> None:
    """Writes a file beside its place and renames it there.

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
