"""Draws the README's picture: the terminal after `robustradar rank quickstart`, as an SVG that loads nothing.

python docs/picture.py            # writes docs/quickstart.svg
"""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = "robustradar rank quickstart"


def main() -> None:
    """Runs the command and draws what it prints."""
    done = subprocess.run([*COMMAND.split(), "--quiet"], capture_output=True, text=True, check=True)
    lines = done.stdout.rstrip().splitlines()
    # As wide as the table: the files at the end are folded.
    widest = max(len(line) for line in lines if not line.startswith("Written"))
    console = Console(record=True, width=widest + 2, file=io.StringIO())
    console.print(Text(f"$ {COMMAND}", style="bold green"))
    for line in lines:
        console.print(Text(line))
    svg = console.export_svg(title="RobustRadar")
    # No fonts from elsewhere: a reader's own monospace serves.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)
    Path(__file__).with_name("quickstart.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
