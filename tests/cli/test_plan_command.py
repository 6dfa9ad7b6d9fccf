"""`robustradar plan`: what would be trained, what is shared, what is stored, and about how long the rest takes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[[str], Any]

METRICS = "--metric clean-accuracy --metric fgsm-accuracy --metric robust-accuracy-trained --metric parameters"
BAD = """
import math
import robustradar
from torch import nn

def net(shape, outputs):
    '''Its layers do not fit.'''
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape) + 1, outputs))

@robustradar.hookimpl
def robustradar_architectures():
    return (robustradar.architecture(net),)
"""
TABLE = """\
candidate           objective    seed    epochs    state     about s
------------------  -----------  ------  --------  --------  ---------
papers/linear       clean        0       2         to train  #
papers/linear       adversarial  0       2         to train  #
papers/mlp:width=4  clean        0       2         to train  #
papers/mlp:width=4  adversarial  0       2         to train  #

4 networks for 6 needs of the metrics; 4 to train, 0 in the store; 8 measurements to make. About # s of training, forecast from 4 of 4 \
networks timed on a few batches.
"""


def test_a_table_tells_what_is_shared_and_how_long_it_takes(run: Run, tiny: str) -> None:
    done = run(f"plan {tiny} --arch linear --arch mlp:width=4 --arch linear {METRICS}")
    assert done.code == 0
    assert re.sub(r"(?<=About )\d+|\d+\.\d$", "#", done.out, flags=re.MULTILINE) == TABLE
    assert not list(Path("store").glob("fits/*/*"))
    assert not Path("out").exists()


def test_json_counts_what_is_shared_and_forecasts_seconds(run: Run, tiny: str) -> None:
    plan = run(f"plan {tiny} --arch linear --arch mlp:width=4 {METRICS} --seeds 2 --json").json
    assert (len(plan["fits"]), plan["requested"], plan["measurements"], plan["timed"]) == (8, 12, 14, 8)
    assert {fit["state"] for fit in plan["fits"]} == {"to train"}
    assert all(fit["seconds"] > 0 for fit in plan["fits"])
    assert abs(plan["seconds"] - sum(fit["seconds"] for fit in plan["fits"])) < 1e-9


def test_what_rank_has_stored_is_not_forecast(run: Run, tiny: str) -> None:
    run(f"rank {tiny} --arch linear {METRICS}")
    plan = run(f"plan {tiny} --arch linear --arch mlp:width=4 {METRICS} --json").json
    assert [(fit["candidate"], fit["state"], fit["seconds"] is None) for fit in plan["fits"]] == [
        ("papers/linear", "stored", True),
        ("papers/linear", "stored", True),
        ("papers/mlp:width=4", "to train", False),
        ("papers/mlp:width=4", "to train", False),
    ]
    assert (plan["requested"], plan["measurements"], plan["timed"]) == (6, 4, 2)
    closing = run(f"plan {tiny} --arch linear {METRICS}").out.splitlines()[-1]
    assert closing == "2 networks for 3 needs of the metrics; 0 to train, 2 in the store; 0 measurements to make."


def test_what_failed_before_is_said_to_have(run: Run, tiny: str) -> None:
    Path("bad.py").write_text(BAD)
    assert run(f"rank {tiny} --plugin bad.py --arch bad/net --metric clean-accuracy --quiet").code == 3
    told = run(f"plan {tiny} --plugin bad.py --arch bad/net --metric clean-accuracy").out.splitlines()
    assert re.fullmatch(r"bad/net +clean +0 +2 +failed before", told[2])
    assert told[-1] == (
        "1 network for 1 need of the metrics; 0 to train, 1 in the store; 1 measurement to make. "
        "1 of those in the store failed before: another --store tries them again."
    )


def test_networks_that_results_will_call_for_are_announced(run: Run, tiny: str) -> None:
    metric = "--metric transition/eps-star"
    closing = run(f"plan {tiny} --arch linear {metric} --no-timing").out.splitlines()[-1]
    assert closing == (
        "1 network for 1 need of the metrics; 1 to train, 0 in the store; 1 measurement to make. "
        "Up to 6 networks more as results call for them."
    )
    assert run(f"plan {tiny} --arch linear {metric} --seeds 2 --no-timing --json").json["further"] == 12


def test_without_timing_nothing_is_built(run: Run, tiny: str) -> None:
    Path("nets.py").write_text(
        "import robustradar\n"
        "def bomb(shape, outputs):\n    raise SystemExit('built')\n"
        "@robustradar.hookimpl\ndef robustradar_architectures():\n    return (robustradar.architecture(bomb),)\n"
    )
    done = run(f"plan {tiny} --plugin nets.py --arch nets/bomb --metric clean-accuracy --no-timing --json")
    assert done.code == 0
    assert (done.json["seconds"], done.json["timed"], done.json["fits"][0]["seconds"]) == (None, 0, None)


def test_a_candidate_that_cannot_be_timed_is_left_to_rank(run: Run, tiny: str) -> None:
    Path("bad.py").write_text(BAD)
    plan = run(f"plan {tiny} --plugin bad.py --arch linear --arch bad/net --metric clean-accuracy --json").json
    assert plan["timed"] == 1
    assert plan["fits"][1]["seconds"] == plan["fits"][0]["seconds"]


def test_a_store_that_cannot_be_written_is_refused(run: Run, tiny: str) -> None:
    done = run(f"plan {tiny} --arch linear --store tiny.npz/store")
    assert done.message == "--store: got 'tiny.npz/store', which cannot be written (Not a directory). Choose another folder."
    assert done.code == 2
