"""The command line as a user meets it: start-up against bare Python, and the quickstart's time and memory.

python benchmarks/bench_command.py            # start-up, then the quickstart from an empty store, then again from a full one
python benchmarks/bench_command.py --startup  # start-up alone
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

HELP = [sys.executable, "-m", "robustradar", "--help"]
BARE = [sys.executable, "-c", "pass"]
HEAVY = ("torch", "numpy", "timm", "torchvision", "torchattacks")
IMPORTED = f"import sys, robustradar.cli; print(*(n for n in {HEAVY} if n in sys.modules))"


def run(command: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in MiB of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def startup(rounds: int) -> None:
    """Prints what ``--help`` takes over bare Python, and which heavy packages it imports."""
    pairs = [(run(BARE)[0], run(HELP)[0]) for _ in range(rounds)]
    bare, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    heavy = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True).stdout.strip()
    print(f"robustradar --help: {ours:.3f} s, {ours / bare:.1f} times bare Python's {bare:.3f} s; heavy imports: {heavy or 'none'}")


def quickstart() -> None:
    """Prints time and memory of the quickstart, first from nothing and then from its own store."""
    with tempfile.TemporaryDirectory() as folder:
        where = ["--store", f"{folder}/store", "--out", f"{folder}/out", "--quiet"]
        command = [sys.executable, "-m", "robustradar", "rank", "quickstart", *where]
        first, memory = run(command)
        second, _ = run(command)
    print(f"rank quickstart: {first:.1f} s, peak {memory:.0f} MiB; again from its store: {second:.1f} s, {second / first:.2f} of the time")


def main() -> None:
    """Prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--startup", action="store_true", help="start-up alone")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    startup(options.rounds)
    if not options.startup:
        quickstart()


if __name__ == "__main__":
    main()
