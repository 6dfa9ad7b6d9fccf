"""A plugin that breaks its contract in a run fails its own cells, or ends the run with its name where nothing goes without it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[[str], Any]

PARTS = """
import robustradar as rr

class Count(rr.Metric):
    "Not a number."
    def needs(self, task, threat):
        return rr.Needs()
    def measure(self, bench):
        return {"count": rr.Measured(float("nan"))}

class Needy(Count):
    "Cannot say what it needs."
    def needs(self, task, threat):
        raise ValueError("no idea")

class Odd(rr.Ranker):
    "Returns something else."
    def rank(self, table):
        return 3

class Torn(rr.Ranker):
    "Fails."
    def rank(self, table):
        return 1 / 0

class Nothing(rr.Dataset):
    "Loads something else."
    def load(self):
        return 3

class Lost(rr.Dataset):
    "Fails."
    def load(self):
        raise OSError("disk on fire")

class Mute(rr.Reporter):
    "Returns something else."
    def render(self, result):
        return None

class Broken(rr.Reporter):
    "Fails."
    def render(self, result):
        return 1 / 0

class Far(rr.Attack):
    "Leaves the ball."
    def perturb(self, victim, x, y):
        return x + 1

class Blank(rr.Attack):
    "Divides by zero."
    def perturb(self, victim, x, y):
        return x + 0 / (0 * x)

@rr.hookimpl
def robustradar_metrics():
    column = (rr.Column("count", "higher", "1"),)
    return (Count(name="count", columns=column), Needy(name="needy", columns=column))

@rr.hookimpl
def robustradar_rankers():
    return (Odd(name="odd"), Torn(name="torn"))

@rr.hookimpl
def robustradar_datasets():
    return (Nothing(name="nothing"), Lost(name="lost"))

@rr.hookimpl
def robustradar_reporters():
    return (Mute(name="mute", filename="a.txt"), Broken(name="broken", filename="b.txt"))

@rr.hookimpl
def robustradar_attacks():
    return (Far(name="far"), Blank(name="blank"), Blank(name="blank-first", kind="first_success"))
"""

KEPT = "All measurements are kept in the store: run again with another --ranker."


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--metric parts/needy", "metric parts/needy (parts.py): needs() failed: ValueError: no idea (parts.py:14)"),
        ("--ranker parts/odd", f"ranker parts/odd (parts.py): rank() returned int, expected robustradar.Ranking. {KEPT}"),
        ("--ranker parts/torn", f"ranker parts/torn (parts.py): ZeroDivisionError: division by zero. {KEPT}"),
        ("--data parts/nothing", "dataset parts/nothing (parts.py): load() returned int, expected robustradar.Data."),
        ("--data parts/lost", "dataset parts/lost (parts.py): OSError: disk on fire"),
        (
            "--registry mute.yaml",
            "reporter parts/mute (parts.py): render() returned NoneType, expected str. out/scores.json is written and complete.",
        ),
        (
            "--registry broken.yaml",
            "reporter parts/broken (parts.py): ZeroDivisionError: division by zero. out/scores.json is written and complete.",
        ),
    ],
)
def test_a_plugin_that_a_run_cannot_do_without_ends_it_with_its_name(options: str, expected: str, run: Run, tiny: str) -> None:
    Path("parts.py").write_text(PARTS)
    for name in ("mute", "broken"):
        Path(f"{name}.yaml").write_text(f"defaults: {{reporters: [parts/{name}]}}")
    done = run(f"rank {tiny} --plugin parts.py --arch linear --metric parameters {options}")
    assert (done.code, done.message) == (4, expected)


def test_a_metric_or_attack_that_breaks_its_contract_fails_its_cells(run: Run, tiny: str) -> None:
    Path("parts.py").write_text(PARTS)
    options = "--plugin parts.py --arch linear --metric parts/count --metric robust-accuracy --attack parts/far"
    done = run(f"rank {tiny} {options} --json")
    assert done.code == 3
    assert [row["reason"] for row in done.json["scores"]][:2] == [
        "metric parts/count (parts.py): measured [nan] for 'count', expected finite numbers. Return Skipped(reason) instead.",
        "attack parts/far (parts.py): left the linf 8/255 ball: got ‖δ‖ = 31.87·ε, expected at most ε.",
    ]


@pytest.mark.parametrize(
    ("attack", "metrics"),
    [("blank", "--metric robust-accuracy --metric robust-accuracy-trained"), ("blank-first", "--metric robust-accuracy")],
)
def test_an_attack_that_answers_nan_is_named_in_training_and_in_measuring(attack: str, metrics: str, run: Run, tiny: str) -> None:
    Path("parts.py").write_text(PARTS)
    done = run(f"rank {tiny} --plugin parts.py --arch linear {metrics} --attack parts/{attack} --json")
    reason = "perturb() returned NaN or infinity, expected finite inputs. Does it divide by a gradient of zero?"
    assert {row["reason"] for row in done.json["scores"]} == {f"attack parts/{attack} (parts.py): {reason}"}
