"""The command in processes of its own, on data so small that little but the start takes time.

Where many processes are needed they are forked from a server that has imported torch already: each is a process that can be killed,
and takes a moment to start instead of several seconds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import forked_command
import numpy as np
import pytest

# Enough work for a second or two, so that there is something to interrupt.
OPTIONS = [
    *("--data", "npz:path=tiny.npz", "--recipe", "quick:epochs=10,lr=0.03", "--device", "cpu", "--seeds", "2", "--json"),
    *("--arch", "linear", "--arch", "mlp:width=4", "--arch", "mlp:width=8", "--attack", "native/pgd:steps=20"),
    *("--metric", "clean-accuracy", "--metric", "robust-accuracy-trained"),
]


@dataclass
class Workplace:
    """A folder with data in which commands are started."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    forks: list[ForkServerProcess] = field(default_factory=list)

    def rank(self, store: str) -> subprocess.Popen[str]:
        """Starts `robustradar rank` on a store, as a user does."""
        return self.start("-m", "robustradar", "rank", *OPTIONS, "--store", store, "--out", f"{store}-out")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts Python."""
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, *arguments], cwd=self.folder, env=environment, **streams)
        self.started.append(process)
        return process

    def fork(self, store: str, output: str) -> ForkServerProcess:
        """Starts `robustradar rank` on a store, quickly."""
        arguments = ["rank", *OPTIONS, "--store", store, "--out", f"{output}-out"]
        process = multiprocessing.get_context("forkserver").Process(target=forked_command.run, args=(str(self.folder), output, arguments))
        process.start()
        self.forks.append(process)
        return process

    def result(self, process: ForkServerProcess, output: str) -> Any:
        """What a forked command printed."""
        process.join(120)
        assert process.exitcode == 0, (self.folder / f"{output}.err").read_text()
        return json.loads((self.folder / f"{output}.out").read_text())

    def fits(self, store: str) -> int:
        """How many fits a store has."""
        return len(list(self.folder.glob(f"{store}/fits/*/*/fit.json")))

    def until(self, reached: Callable[[], bool]) -> None:
        """Waits, but not for ever."""
        deadline = time.monotonic() + 120
        while not reached():
            assert time.monotonic() < deadline
            time.sleep(0.002)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    folder = tmp_path_factory.mktemp("workplace")
    random = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = np.clip(random.normal(0.3 + 0.4 * y[:, None, None, None], 0.25, (60, 1, 4, 4)), 0, 1).astype(np.float32)
    np.savez(folder / "tiny.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    multiprocessing.get_context("forkserver").set_forkserver_preload(["torch._dynamo", "robustradar.execute"])
    place = Workplace(folder)
    yield place
    for process in place.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    for fork in place.forks:
        if fork.is_alive():
            fork.kill()
        fork.join()


@pytest.fixture(scope="module")
def undisturbed(workplace: Workplace) -> Any:
    """What a run says that nobody disturbs."""
    process = workplace.rank("undisturbed")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err.startswith("120 epochs to train, 12 measurements to make\n")
    return json.loads(out)  # JSON and nothing else
