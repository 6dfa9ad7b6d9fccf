"""Killed, interrupted and simultaneous runs: the same command goes on, and ends with the numbers of an undisturbed run."""

import json
import random
import signal
import time
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


def same(document: Any, undisturbed: Any) -> bool:
    """Whether two results differ in nothing but times, places and what was taken from the store."""
    numbers = ("epochs", "key", "spec", "selected_epoch", "flags")
    fits = [[[fit[name] for name in numbers] for fit in found["fits"]] for found in (document, undisturbed)]
    parts = ("study", "scores", "ranking", "ranked_by", "unranked")
    return fits[0] == fits[1] and all(document[part] == undisturbed[part] for part in parts)


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_scores(workplace: Any, undisturbed: Any) -> None:
    moments = random.Random(0)
    kept = 0
    for _ in range(4):
        process = workplace.fork("killed", "killed")
        before = kept
        workplace.until(lambda before=before: workplace.fits("killed") > before)  # type: ignore[misc]
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        kept = workplace.fits("killed")
        assert kept > before
    document = workplace.result(workplace.fork("killed", "killed"), "killed")
    assert same(document, undisturbed)
    assert [fit["cached"] for fit in document["fits"]].count(True) == kept
    assert json.loads((workplace.folder / "killed-out" / "scores.json").read_text()) == document


def test_two_processes_share_a_store_and_say_the_same(workplace: Any, undisturbed: Any) -> None:
    outputs = ["one", "other"]
    both = [workplace.fork("shared", output) for output in outputs]
    for process, output in zip(both, outputs, strict=True):
        assert same(workplace.result(process, output), undisturbed)
    assert workplace.fits("shared") == len(undisturbed["fits"])
    assert not list((workplace.folder / "shared" / "tmp").iterdir())


def test_an_interrupted_run_says_that_it_can_be_continued(workplace: Any) -> None:
    process = workplace.rank("interrupted")
    workplace.until(lambda: workplace.fits("interrupted") > 0 or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "Interrupted. What was finished is kept: the same command continues."
    assert "Traceback" not in err
