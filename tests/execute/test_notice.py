"""Notices: what plugins hear of a run, in which order, and that nothing they do reaches it; and the event log, which is one of them."""

from __future__ import annotations

import copy
import errno
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import robustradar
from robustradar import host, notice, screening
from robustradar.errors import UsageError
from robustradar.events import EventLog
from robustradar.registry import Request
from robustradar.values import Result

Told = list[str]
DOCS = Path(__file__).parents[2] / "docs" / "plugins.md"

EAR = """
import robustradar

HEARD = []

@robustradar.hookimpl
def robustradar_planned(measurements, study):
    HEARD.append(("planned", study.name, measurements))

@robustradar.hookimpl
def robustradar_fitted(spec, record, reason):
    HEARD.append(("fitted", str(spec), None if record is None else len(record.epochs), reason))

@robustradar.hookimpl
def robustradar_measured(measurement, outcomes):
    HEARD.append(("measured", measurement.metric.label, sorted(outcomes)))
"""


class Drawn:
    """Keeps what it is told at once."""

    def __init__(self) -> None:
        self.notes: Told = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


Run = Callable[..., tuple[Result, Told]]


@pytest.fixture
def rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    y = np.arange(30) % 2
    x = np.clip(random.normal(0.3 + 0.4 * y[:, None], 0.2, (30, 3)), 0, 1).astype(np.float32)
    np.savez(tmp_path / "tiny.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])

    def ranked(*plugins: str, store: str = "store", arch: tuple[str, ...] = ("papers/linear",), **listeners: object) -> tuple[Result, Told]:
        metrics = ("clean-accuracy", "robust-accuracy")
        flags = Request(arch, "npz:path=tiny.npz", "linf", "0.1", recipe="quick:epochs=2", metrics=metrics)
        drawn = Drawn()
        prepared = screening.prepare(None, flags, plugins=plugins)
        return screening.rank(prepared, store=Path(store), device="cpu", progress=drawn, listeners=listeners), drawn.notes

    return ranked


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def heard(folder: Path, rank: Run, text: str = EAR) -> list[Any]:
    (folder / "ear.py").write_text(text)
    rank("ear.py")
    found: list[Any] = sys.modules["robustradar_file_ear"].HEARD
    return found


def test_hook_planned(rank: Run, tmp_path: Path) -> None:
    assert heard(tmp_path, rank)[0] == ("planned", "rank", 2)


def test_hook_fitted(rank: Run, tmp_path: Path) -> None:
    assert heard(tmp_path, rank)[1] == ("fitted", "papers/linear [clean, seed 0]", 2, None)


def test_hook_measured(rank: Run, tmp_path: Path) -> None:
    assert heard(tmp_path, rank)[2:] == [
        ("measured", "baselines/clean-accuracy", ["clean_accuracy", "clean_loss"]),
        ("measured", "baselines/robust-accuracy", ["robust_accuracy", "robust_loss"]),
    ]


def test_what_the_store_has_is_no_news(rank: Run, tmp_path: Path) -> None:
    rank()
    assert heard(tmp_path, rank) == [("planned", "rank", 0)]


def test_a_plugin_says_what_it_hears_of(tmp_path: Path) -> None:
    (tmp_path / "ear.py").write_text(EAR)
    (plugin,) = host.load([str(tmp_path / "ear.py")], entry_points=[])
    assert (plugin.error, plugin.hears) == (None, ("planned", "fitted", "measured"))
    assert list(notice.listeners([plugin], {})) == [f"plugin 'ear' ({tmp_path / 'ear.py'})"]


@pytest.mark.parametrize(
    ("arguments", "got"), [("spec, when", "when"), ("spec, reason=None", "reason=None")], ids=["unknown", "with a default"]
)
def test_an_argument_that_nobody_gives_is_refused(arguments: str, got: str, tmp_path: Path) -> None:
    (tmp_path / "ear.py").write_text(f"import robustradar\n@robustradar.hookimpl\ndef robustradar_fitted({arguments}):\n    pass\n")
    (plugin,) = host.load([str(tmp_path / "ear.py")], entry_points=[])
    assert plugin.error == f"robustradar_fitted({arguments}): got {got}, expected some of spec, record, reason, without defaults."


def test_what_a_listener_raises_is_told_once_and_ends_nothing(rank: Run, tmp_path: Path) -> None:
    (tmp_path / "ear.py").write_text(
        "import robustradar\n@robustradar.hookimpl\ndef robustradar_measured():\n    1 / 0\n"
        "@robustradar.hookimpl\ndef robustradar_fitted():\n    raise robustradar.UsageError('not here.')\n"
        "@robustradar.hookimpl\ndef robustradar_planned():\n    raise SystemExit(3)\n"
    )
    result, notes = rank("ear.py")
    assert result.failed == ()
    assert notes == [
        "robustradar_planned of plugin 'ear' (ear.py): SystemExit: 3. The run goes on.",
        "robustradar_fitted of plugin 'ear' (ear.py): not here. The run goes on.",
        "robustradar_measured of plugin 'ear' (ear.py): ZeroDivisionError: division by zero. The run goes on.",
    ]


def test_nothing_that_a_listener_does_reaches_the_run(rank: Run, tmp_path: Path) -> None:
    (tmp_path / "ear.py").write_text(
        "import random, robustradar, torch, numpy\n"
        "@robustradar.hookimpl\ndef robustradar_planned(study):\n    study.task.sizes.clear(); torch.manual_seed(7)\n"
        "@robustradar.hookimpl\ndef robustradar_fitted(spec, record):\n    record.epochs[0].clear(); torch.rand(3); numpy.random.rand()\n"
        "@robustradar.hookimpl\ndef robustradar_measured(outcomes):\n"
        "    [o.details.clear() or o.samples.fill(0) for o in outcomes.values()]; outcomes.clear(); random.random()\n    return 'ignored'\n"
    )
    quiet, _ = rank()
    told, notes = rank("ear.py", store="other")
    assert notes == []
    assert [score.json() for score in told.scores] == [score.json() for score in quiet.scores]
    assert [fit.record.epochs for fit in told.fits] == [fit.record.epochs for fit in quiet.fits]


def test_a_listener_of_one_hook_costs_the_others_nothing(rank: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ear.py").write_text("import robustradar\n@robustradar.hookimpl\ndef robustradar_planned():\n    pass\n")
    copied: list[list[str]] = []
    real = copy.deepcopy

    def counted(value: Any, *rest: Any) -> Any:
        if isinstance(value, dict) and {"study", "spec", "measurement"} & value.keys():
            copied.append(sorted(value))
        return real(value, *rest)

    monkeypatch.setattr(copy, "deepcopy", counted)
    rank("ear.py")
    assert copied == [["epochs", "measurements", "study"]]


# The event log


def test_the_log_tells_a_run_from_plan_to_measurement(rank: Run, tmp_path: Path) -> None:
    result, notes = rank(log=EventLog(tmp_path / "logs" / "events.jsonl"))
    planned, fitted, *measured = lines(tmp_path / "logs" / "events.jsonl")
    assert notes == []
    assert (planned["event"], planned["schema"], planned["epochs"], planned["measurements"]) == ("planned", "robustradar-events/1", 2, 2)
    assert planned["study"] == json.loads(json.dumps(result.study.json()))
    (fit,) = result.fits
    assert (fitted["event"], fitted["state"], fitted["fit"], fitted["reason"]) == ("fitted", "trained", fit.record.key, None)
    assert (fitted["seconds"], fitted["epochs"]) == (fit.record.cost.seconds, [dict(epoch) for epoch in fit.record.epochs])
    values = {score.column.name: score.outcome.value for score in result.scores}  # type: ignore[union-attr]
    assert {name: row["value"] for event in measured for name, row in event["outcomes"].items()} == values
    assert {event["run"] for event in lines(tmp_path / "logs" / "events.jsonl")} == {planned["run"]}
    assert all(event["time"].endswith("+00:00") for event in measured)


def test_a_failure_is_an_event(rank: Run, tmp_path: Path) -> None:
    rank(arch=("nasbench201",), log=EventLog(tmp_path / "events.jsonl"))
    _, fitted, *measured = lines(tmp_path / "events.jsonl")
    assert (fitted["state"], fitted["seconds"], fitted["epochs"]) == ("failed", None, [])
    assert fitted["reason"].startswith("ValueError: nasbench201: got inputs of shape [3]")
    rows = [row for event in measured for row in event["outcomes"].values()]
    whose = "architecture papers/nasbench201 (robustradar 0.1.0): "
    assert {(row["state"], row["value"], row["reason"]) for row in rows} == {("failed", None, whose + fitted["reason"])}


def test_two_runs_share_a_file_and_a_line_cut_short_spoils_no_other(rank: Run, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"event": "meas')
    rank(log=EventLog(file))
    rank(log=EventLog(file))
    cut, *rest = file.read_text(encoding="utf-8").splitlines()
    assert cut == '{"event": "meas'
    assert [json.loads(line)["event"] for line in rest] == ["planned", "fitted", "measured", "measured", "planned"]
    assert len({json.loads(line)["run"] for line in rest}) == 2


class Reluctant(io.BytesIO):
    """Takes seven bytes at a time, as a file may near a quota, and a pipe at any time."""

    def write(self, data: Any) -> int:
        return super().write(bytes(data)[:7])

    def close(self) -> None:
        """What was written is still to be read."""


def test_a_line_that_is_taken_in_pieces_is_whole(rank: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, stream = EventLog(tmp_path / "events.jsonl"), Reluctant()
    monkeypatch.setattr(log, "_file", SimpleNamespace(open=lambda *_, **__: stream))
    rank(log=log)
    told = [json.loads(line)["event"] for line in stream.getvalue().decode().splitlines()]
    assert told == ["planned", "fitted", "measured", "measured"]


def test_what_was_told_before_a_kill_is_there(rank: Run, tmp_path: Path) -> None:
    (tmp_path / "kill.py").write_text(
        "import os, robustradar, signal\n"
        "@robustradar.hookimpl\ndef robustradar_measured(measurement):\n"
        "    'robust' in measurement.metric.id and os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    rank(store="warm")  # writes tiny.npz, and shows that all else is well
    command = (
        "-m robustradar rank --arch linear --data npz:path=tiny.npz --recipe quick:epochs=1 --metric clean-accuracy "
        "--metric robust-accuracy --plugin kill.py --events events.jsonl"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, *command.split()], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [event["event"] for event in lines(tmp_path / "events.jsonl")] == ["planned", "fitted", "measured"]


def test_a_file_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        EventLog(tmp_path)
    assert str(caught.value) == f"--events: got {str(tmp_path)!r}, which cannot be written (Is a directory). Choose another file."


def test_a_disk_that_fills_is_told_and_the_run_goes_on(rank: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path / "events.jsonl")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(log, "_write", full)
    result, notes = rank(**{"--events events.jsonl": log})
    assert result.failed == ()
    assert notes == [
        f"robustradar_{name} of --events events.jsonl: OSError: [Errno 28] No space left on device. The run goes on."
        for name in ("planned", "fitted", "measured")
    ]


def test_every_field_is_documented(rank: Run, tmp_path: Path) -> None:
    rank(log=EventLog(tmp_path / "events.jsonl"))
    section = DOCS.read_text(encoding="utf-8").partition("## Hear of a run")[2].partition("\n## ")[0]
    fields = {name for event in lines(tmp_path / "events.jsonl") for name in event}
    assert [name for name in sorted(fields) if f"`{name}`" not in section] == []


def test_the_log_uses_only_what_a_stranger_could() -> None:
    source = Path(robustradar.__file__).with_name("events.py").read_text(encoding="utf-8")
    assert [line for line in source.splitlines() if "import" in line and "robustradar." in line] == []
