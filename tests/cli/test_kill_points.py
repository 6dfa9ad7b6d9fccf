"""A run that dies right before any of its writes becomes final goes on from there, to the same numbers."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustradar.training import train

Run = Callable[[str], Any]


class Killed(BaseException):
    """As good as SIGKILL: nobody handles it."""


class Countdown:
    """Stands in for the calls that make a write durable or final, and dies before one of them."""

    def __init__(self, patched: pytest.MonkeyPatch, last: int) -> None:
        self.calls, self._last = 0, last
        for name in ("fsync", "rename", "replace"):
            patched.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, call: Callable[..., None]) -> Callable[..., None]:
        def counted(*arguments: Any) -> None:
            self.calls += 1
            if self.calls > self._last:
                raise Killed
            call(*arguments)

        return counted


@pytest.fixture
def line(tiny: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0.0)
    options = "--arch linear --arch mlp:width=4 --metric robust-accuracy-trained --attack native/pgd:steps=2 --json --quiet"
    return f"rank {tiny.replace('--store store', '')} {options}"


def test_a_run_killed_at_any_write_ends_with_the_numbers_of_an_undisturbed_one(
    run: Run, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        counted = Countdown(patched, 10**9)
        undisturbed = run(f"{line} --store undisturbed").json
    assert counted.calls > 20
    for last in range(counted.calls):
        with monkeypatch.context() as patched:
            Countdown(patched, last)
            with pytest.raises(Killed):
                run(f"{line} --store store{last}")
        done = run(f"{line} --store store{last}")
        assert done.code == 0
        assert done.json["scores"] == undisturbed["scores"], f"killed before write {last}"
        assert done.json["ranking"] == undisturbed["ranking"]
        for one, other in zip(done.json["fits"], undisturbed["fits"], strict=True):
            assert Path(one["weights"]).read_bytes() == Path(other["weights"]).read_bytes()


def test_a_fit_goes_on_from_its_checkpoint(run: Run, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"{line.replace('--quiet', '')} --recipe quick:epochs=4,lr=0.03 --store store"
    epochs: list[int] = []

    def told(self: Any, spec: Any, epoch: int, epochs_in_all: int) -> None:
        epochs.append(epoch)
        if epochs == [1, 2, 3]:
            raise Killed

    monkeypatch.setattr("robustradar.cli.progress.Lines.epoch", told)
    with pytest.raises(Killed):
        run(line)
    assert len(list(Path("store/progress").iterdir())) == 1
    assert run(line).code == 0
    assert epochs[:5] == [1, 2, 3, 3, 4]
    assert not list(Path("store/progress").iterdir())
