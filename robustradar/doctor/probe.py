"""Loads one plugin in a process of its own and prints what that took: ``python -m robustradar.doctor.probe INDEX [FILE|MODULE …]``."""

from __future__ import annotations

import contextlib
import json
import sys
import time

from robustradar import guard, host
from robustradar.errors import Failure


def main() -> None:
    """Prints a line of JSON: seconds, and whether torch was imported."""
    index, *given = sys.argv[1:]
    found = host.unloaded(given)[int(index)]
    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(Failure):  # what is wrong with it is the host's to tell
        guard.call("import", found.load)
    print(json.dumps({"seconds": time.perf_counter() - start, "torch": "torch" in sys.modules}))


if __name__ == "__main__":
    main()
