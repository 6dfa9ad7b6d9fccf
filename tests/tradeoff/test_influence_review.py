"""The influence metric over all candidates, in the tables and at the command line."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_studies import DIGITS, PRICES, SPECTRA, Lab

from robustradar import Measured, Outcome, Skipped
from robustradar.cli import main
from robustradar.report.flag import meaning
from robustradar_tradeoff.influence import Influence

Floats = NDArray[np.float64]

# Reviews


def candidate(*prices: float | None, curvature: str = "exact", flags: tuple[str, ...] = ()) -> dict[str, Outcome]:
    """Outcomes with these prices at a tenth of the damping, at the damping, and at ten times that."""
    sweep = [{"factor": f, "damping": 2 * f, "delta_influence": price} for f, price in zip((0.1, 1.0, 10.0), prices, strict=True)]
    details = {"sweep": sweep, "curvature": curvature}
    value = prices[1]
    assert value is not None
    return {
        "phi_norm": Measured(1.0, flags=flags, details=details),
        "delta_influence": Measured(value, flags=flags, details=details),
        "delta_first_order": Measured(value + 1, flags=flags),
        "ifa_norm": Measured(2.0, flags=flags),
        "bound_low": Skipped("vague"),
    }


def test_an_order_that_the_damping_decides_is_withheld_from_all() -> None:
    given = {"a": candidate(1.0, 1.0, 3.0), "b": candidate(2.0, 2.0, 2.0), "c": candidate(3.0, 3.0, 1.0)}
    given["d"] = {name: Skipped("indefinite") if name.startswith("delta") else o for name, o in given["a"].items()}
    reason = "the candidates' order changes with the damping: Kendall's tau between μ and 10·μ is -1.00, below 0.8"
    found = Influence().review(given)
    for name in ("a", "b", "c"):
        assert found[name] == given[name] | dict.fromkeys(PRICES, Skipped(reason))
    assert found["d"] == given["d"]
    assert isinstance(given["a"]["delta_influence"], Measured), "what was measured is left alone"


@pytest.mark.parametrize(
    "given",
    [
        {"a": candidate(1.0, 1.0, 3.0)},
        {"a": candidate(5.0, 1.0, 0.1), "b": candidate(6.0, 2.0, 0.2)},
        {"a": candidate(None, 1.0, 1.0), "b": candidate(1.0, 2.0, 3.0), "c": candidate(2.0, 3.0, 4.0)},
        {"a": candidate(None, 1.0, 1.0), "b": candidate(None, 2.0, 3.0)},
        {"a": candidate(0.0, 0.0, 0.0), "b": candidate(0.0, 0.0, 0.0)},
        {"a": {name: Skipped("zero") for name in candidate(1.0, 1.0, 1.0)}},
    ],
    ids=["alone", "same order", "left out where indefinite", "indefinite alike", "no strength, no price", "skipped"],
)
def test_an_order_that_holds_is_left_alone(given: dict[str, dict[str, Outcome]]) -> None:
    assert Influence().review(given) == given


def test_different_kinds_of_derivatives_are_flagged_everywhere() -> None:
    given = {"a": candidate(1.0, 1.0, 1.0, flags=("x",)), "b": candidate(2.0, 2.0, 2.0, curvature="gauss-newton")}
    found = Influence().review(given)
    for name, columns in found.items():
        for column, outcome in columns.items():
            before = given[name][column]
            assert outcome == (replace(before, flags=(*before.flags, "mixed-curvature")) if isinstance(before, Measured) else before)


def test_a_run_withholds_what_the_damping_decides(lab: Lab) -> None:
    names = tuple(f"papers/mlp:width={width},depth=1" for width in (4, 8, 12, 16))
    result = lab.result("tradeoff/influence", **DIGITS | {"architectures": names})
    prices = [score.outcome for score in result.scores if score.column.name in PRICES]
    reasons = {outcome.reason for outcome in prices if isinstance(outcome, Skipped)}
    (reason,) = reasons
    assert len(prices) == 8
    number = r"-?\d\.\d\d"
    text = rf"the candidates' order changes with the damping: Kendall's tau between μ and [\d.]+·μ is {number}, below 0\.8"
    assert re.fullmatch(text, reason)
    assert all(isinstance(s.outcome, Measured) for s in result.scores if s.column.name in ("phi_norm", "ifa_norm", *SPECTRA))


# Words

WORDS = {
    "zero-gradients:2/60": "so many samples have an input gradient of exactly zero, where gradient attacks stand still and fake robustness",
    "not-converged:0.43": "training ended where its objective's gradient still has this norm: short of a minimum, or at a kink",
    "damping-raised:1.1": "the training Hessian has negative eigenvalues, so the automatic damping was raised to twice the largest of them",
    "curvature:gauss-newton": "autograd has no second derivatives of this network: they were taken in this other way",
    "mixed-curvature": "second derivatives were not taken in the same way for all candidates, so their numbers are of different kinds",
    "unsettled-eigenvalue": "this end of the spectrum still moved when the search for it ended",
    "decoupled-decay": "training's weight decay was decoupled from the gradient (AdamW), so the Hessian does not have it",
    "smoothed-labels": "training smoothed the labels; second derivatives are of the plain loss",
    "augmented": "training augmented its inputs; second derivatives are of the loss on the plain ones",
}


@pytest.mark.parametrize("flag", WORDS)
def test_flags_have_words(flag: str) -> None:
    assert meaning(flag) == f"{flag}: {WORDS[flag]}"


# The command line


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("damping=-1", "ValueError: damping: got -1, expected auto or a number of at least 0"),
        ("damping=foo", "parameter 'damping': got 'foo', expected a valid number, unable to parse string as a number"),
        ("damping=nan", "parameter 'damping': got 'nan', expected a valid number, unable to parse string as a number"),
        ("products=1", "parameter 'products': got '1', expected greater than or equal to 2"),
        ("residual=1", "parameter 'residual': got '1', expected less than 1"),
        ("memory=-1", "parameter 'memory': got '-1', expected greater than or equal to 0"),
        ("limit=-1", "parameter 'limit': got '-1', expected greater than or equal to 0"),
    ],
)
@pytest.mark.parametrize("metric", ["influence", "delta"])
def test_bad_parameters_are_refused_on_the_command_line(
    metric: str, typed: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["robustradar", "rank", "--arch", "papers/linear", "--metric", f"tradeoff/{metric}:{typed}"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.startswith(f"robustradar: --metric tradeoff/{metric}: {problem}. Accepted: damping: float | auto = auto, residual: ")
    assert ("inner: str | None = none, warm: bool = false." in shown) == (metric == "delta")


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    line = "rank --arch papers/mlp:width=4 --metric tradeoff/influence:damping=auto --recipe quick:epochs=1 --out out --store store"
    monkeypatch.setattr(sys, "argv", ["robustradar", *line.split(), "--data", "digits:train_limit=100,eval_limit=50", "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "delta influence ↓*" in capsys.readouterr().out
    rows = json.loads(Path("out/scores.json").read_text())["scores"]
    assert [(row["column"], row["direction"], row["unit"]) for row in rows] == [
        ("delta_influence", "lower", "loss"),
        ("delta_first_order", "lower", "loss"),
        ("phi_norm", "none", "1"),
        ("ifa_norm", "none", "1"),
        ("bound_low", "none", "loss"),
        ("bound_high", "none", "loss"),
        ("lambda_min_train", "none", "1"),
        ("lambda_max_train", "none", "1"),
        ("lambda_min_eval", "none", "1"),
        ("lambda_max_eval", "none", "1"),
    ]
    assert rows[0]["details"]["damping"] > 0
