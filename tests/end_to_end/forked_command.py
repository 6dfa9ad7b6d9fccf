"""The command line in a forked process. A module of its own: there are several conftest.py, and a process finds its target by name."""

import os
import sys


def run(folder: str, output: str, arguments: list[str]) -> None:
    """Runs the command line with its streams in two files."""
    os.chdir(folder)
    for stream, name in ((1, f"{output}.out"), (2, f"{output}.err")):
        os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), stream)
    sys.argv = ["robustradar", *arguments]
    from robustradar.cli import main

    main()
