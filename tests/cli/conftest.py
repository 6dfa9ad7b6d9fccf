"""The command line in this process: `main()` with arguments, its streams and its exit code; and data so small that a run takes a moment."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustradar.cli import main


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def message(self) -> str:
        """The one line that ends a command, without the program's name."""
        lines = self.err.splitlines()
        assert lines[-1].startswith("robustradar: "), self.err
        return lines[-1].removeprefix("robustradar: ")


Run = Callable[[str], Done]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test has a working folder of its own, and leaves sys.path and sys.modules as they were."""
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line as a shell would split it."""

    def command(line: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["robustradar", *shlex.split(line)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        streams = capsys.readouterr()
        code = ended.value.code or 0
        assert isinstance(code, int)
        return Done(code, streams.out, streams.err)

    return command


def arrays(**other: Any) -> dict[str, Any]:
    """Sixty images of 1x4x4: bright ones against dark ones."""
    random = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = np.clip(random.normal(0.3 + 0.4 * y[:, None, None, None], 0.25, (60, 1, 4, 4)), 0, 1).astype(np.float32)
    return {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:], **other}


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """Options of a run on tiny.npz, to be completed by candidates."""
    np.savez(tmp_path / "tiny.npz", **arrays())
    return "--data npz:path=tiny.npz --recipe quick:epochs=2,lr=0.03 --store store --out out --device cpu"
