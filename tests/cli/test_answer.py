"""Standard output holds the answer alone; where it cannot be written, and where a bug ends a command, one line says so. Never with 1."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from robustradar import guard, inventory
from robustradar.errors import Failure, RobustRadarError

Run = Callable[[str], Any]

FULL = Path("/dev/full")
NO_ROOM = (
    "standard output: it cannot be written (No space left on device), and the answer is not complete. Finished work is kept: "
    "make room, or send the answer elsewhere, and run the same command again."
)
full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, which Linux has")


def process(line: str, stdout: Any, **variables: str) -> tuple[int, str]:
    """Exit code and standard error of the command in a process of its own, which also shows what Python says when it ends."""
    command = [sys.executable, "-m", "robustradar", *line.split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": "", **variables}
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment, timeout=120, check=False)
    return done.returncode, done.stderr


@full
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_where_there_is_no_room_for_the_answer_that_is_told(unbuffered: str) -> None:
    with FULL.open("w") as stream:
        assert process("rank --help", stream, PYTHONUNBUFFERED=unbuffered) == (2, f"robustradar: {NO_ROOM}\n")


@pytest.mark.parametrize("line", ["plugins list architecture", "rank --help"])
def test_a_reader_that_has_gone_ends_a_command_quietly(line: str) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        assert process(line, write) == (141, "")
    finally:
        os.close(write)


@full
def test_a_gate_whose_answer_is_lost_does_not_end_like_a_regression(run: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(f"rank {tiny} --arch linear --metric clean-accuracy").code == 0
    assert run("baseline save --run out --store store --baseline base.json").code == 0
    for line in ("check --baseline base.json --run out --store store", "rank --store store --arch linear --data npz:path=tiny.npz --json"):
        with monkeypatch.context() as patched, FULL.open("w") as stream:
            patched.setattr(sys, "stdout", stream)
            done = run(line)
        assert (done.code, done.message) == (2, NO_ROOM)


def test_a_standard_output_that_is_closed_is_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    done = run("plugins list ranker")
    assert (done.code, done.err) == (0, "")


# Bugs


def test_an_internal_error_is_one_line_and_has_a_code_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("lost\nand more")

    monkeypatch.setattr(inventory, "plugins", broken)
    monkeypatch.delenv("ROBUSTRADAR_TRACEBACK", raising=False)
    done = run("plugins list --json")
    told = "robustradar: internal error: KeyError: 'lost\\nand more'. Finished work is kept."
    assert (done.code, done.out) == (70, "")
    assert done.err == f"{told} Run the same command again with ROBUSTRADAR_TRACEBACK=1, and report what it shows.\n"
    monkeypatch.setenv("ROBUSTRADAR_TRACEBACK", "1")
    done = run("plugins list --json")
    first, *_, last = done.err.splitlines()
    assert (done.code, first, last) == (70, "Traceback (most recent call last):", f"{told} Please report it.")
    assert "in broken" in done.err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (EOFError("Ran out of input"), "EOFError: Ran out of input"),
        (ValueError(), "ValueError"),
    ],
)
def test_what_else_is_raised_is_an_internal_error(error: Exception, told: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(inventory, "plugins", broken)
    done = run("plugins list")
    assert (done.code, done.message.partition(". Finished")[0]) == (70, f"internal error: {told}")


# What plugins print

LOUD = """
import sys

import numpy as np
import robustradar as rr
from torch import nn

print("LOUD import")

class Net(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.last = nn.Linear(16, outputs)

    def forward(self, x):
        print("LOUD forward", flush=True)
        return self.last(x.flatten(1))

def net(shape, outputs):
    "Prints."
    print("LOUD build")
    return Net(outputs)

class Tiny(rr.Dataset):
    "Prints."
    def load(self):
        print("LOUD load")
        a = np.load("tiny.npz")
        train, evaluation = rr.Split(a["x_train"], a["y_train"]), rr.Split(a["x_test"], a["y_test"])
        return rr.Data(train, evaluation, None, classes=2, bounds=(0.0, 1.0))

class Nothing(rr.Attack):
    "Prints."
    def perturb(self, victim, x, y):
        print("LOUD perturb")
        return x

class Count(rr.Metric):
    "Prints."
    def needs(self, task, threat):
        print("LOUD needs")
        return rr.Needs(fits={"model": rr.FitNeed(rr.CLEAN)})

    def measure(self, bench):
        sys.stdout.write("LOUD measure\\n")
        return {"count": rr.Measured(1.0)}

class First(rr.Ranker):
    "Prints."
    def rank(self, table):
        print("LOUD rank")
        names = sorted({score.candidate for score in table.scores})
        return rr.Ranking(tuple(rr.RankingRow(i, i, i, n, i) for i, n in enumerate(names, 1)), columns=())

class Text(rr.Reporter):
    "Prints."
    def render(self, result):
        print("LOUD render")
        return "text"

@rr.hookimpl
def robustradar_planned(epochs):
    print("LOUD planned")

@rr.hookimpl
def robustradar_fitted(spec):
    print("LOUD fitted")

@rr.hookimpl
def robustradar_measured(measurement):
    print("LOUD measured")

@rr.hookimpl
def robustradar_architectures():
    print("LOUD architectures")
    return (rr.architecture(net),)

@rr.hookimpl
def robustradar_datasets():
    return (Tiny(name="tiny"),)

@rr.hookimpl
def robustradar_attacks():
    return (Nothing(name="nothing"),)

@rr.hookimpl
def robustradar_metrics():
    return (Count(name="count", columns=(rr.Column("count", "higher", "1"),)),)

@rr.hookimpl
def robustradar_rankers():
    return (First(name="first"),)

@rr.hookimpl
def robustradar_reporters():
    return (Text(name="text", filename="loud.txt"),)
"""
STUDIES = """
defaults:
  data: loud/tiny
  recipe: quick:epochs=1
  attack: loud/nothing
  ranker: loud/first
  reporters: [loud/text]
  architectures: [loud/net]
studies:
  one:
    metrics: [loud/count, robust-accuracy]
    tau: 0.5
  two:
    metrics: [loud/count]
"""
PLACES = "--store store --device cpu --registry studies.yaml --plugin loud.py"
COMMANDS = {
    f"rank one {PLACES} --out out --json": "import architectures load build forward perturb needs measure rank render "
    "planned fitted measured",
    f"plan one {PLACES} --json": "load needs build forward",
    f"doctor one {PLACES} --json": "load build forward",
    f"funnel one two {PLACES} --out out --json": "build forward perturb measure rank render",
    "plugins list --plugin loud.py --json": "import",
    "plugins check loud.py --json": "load build perturb measure rank render",
    "data show loud/tiny --plugin loud.py --json": "load",
}


@pytest.mark.parametrize("line", COMMANDS)
def test_what_plugins_print_goes_to_standard_error(line: str, run: Run, tiny: str) -> None:
    Path("loud.py").write_text(LOUD)
    Path("studies.yaml").write_text(STUDIES)
    done = run(line)
    assert json.loads(done.out)
    heard = {words.removeprefix("LOUD ") for words in done.err.splitlines() if words.startswith("LOUD ")}
    assert set(COMMANDS[line].split()) - heard == set()


def test_what_plugins_print_is_not_in_a_gates_or_a_reports_answer(run: Run, tiny: str) -> None:
    Path("loud.py").write_text(LOUD)
    Path("studies.yaml").write_text(STUDIES)
    assert run(f"rank one {PLACES} --out out --quiet").code == 0
    assert run("baseline save --run out --store store --baseline base.json").code == 0
    for line, heard in {
        f"check --baseline base.json {PLACES.replace('--store store', '--store other')} --json": "LOUD forward",
        "report out --reporter loud/text --plugin loud.py --json": "LOUD render",
    }.items():
        done = run(line)
        assert (done.code, bool(json.loads(done.out))) == (0, True)
        assert heard in done.err.splitlines()


def test_who_uses_the_library_alone_keeps_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    def loud() -> bool:
        print("LOUD")
        return guard.asked()

    assert guard.call("somebody", loud)
    assert capsys.readouterr() == ("LOUD\n", "")
    for error in (RobustRadarError, ValueError):
        with pytest.raises((RobustRadarError, Failure)):
            guard.call("somebody", partial(raised, error))
        assert not guard.asked()


def raised(error: type[Exception]) -> None:
    raise error
