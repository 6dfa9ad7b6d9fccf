"""The tables of a small hand-made result, literally."""

from dataclasses import replace
from typing import Any

import pytest

from robustradar import Column, Measured, Ranking, Result, Score, Skipped
from robustradar.report import table
from robustradar_native.reporter import Csv

TERMINAL = """\
  rank  95 %    candidate              clean accuracy % ↑*    parameters
------  ------  -------------------  ---------------------  ------------
     1  1–2     papers/cnn                    87.5 ±5.0 ab           850
     2  1–2     papers/mlp:width=32            75.0 ±5.0 b         1.23M
     –          papers/linear                       failed        failed

* ranked by clean_accuracy. ± is half the 95 % interval; '95 %' is the interval of the rank.
a = my-<b>own
b = selected-on-evaluation: the epoch was selected on the samples that it was measured on, and no split is held out for a final claim

candidate      columns                                 state    reason
-------------  --------------------------------------  -------  ------------------------------------------------------------------------------
papers/linear  clean_accuracy, clean_loss, parameters  failed   architecture papers/linear (robustradar 0.1.0): ValueError: | <b>not</b> today

1 cell of columns that are not shown was skipped; the report tells why."""  # noqa: E501 (as it is printed)

BROKEN = "architecture papers/linear (robustradar 0.1.0): ValueError: | <b>not</b> today"
CSV = f"""\
candidate,metric,column,state,value,low,high,unit,direction,flags,reason
papers/mlp:width=32,baselines/clean-accuracy,clean_accuracy,measured,0.75,0.7,0.8,fraction,higher,selected-on-evaluation,
papers/mlp:width=32,baselines/clean-accuracy,clean_loss,measured,0.5,0.4,0.6,loss,lower,,
papers/mlp:width=32,baselines/parameters,parameters,measured,1234567.0,,,1,none,,
papers/cnn,baselines/clean-accuracy,clean_accuracy,measured,0.875,0.8,0.9,fraction,higher,my-<b>own selected-on-evaluation,
papers/cnn,baselines/clean-accuracy,clean_loss,skipped,,,,loss,lower,,no losses
papers/cnn,baselines/parameters,parameters,measured,850.0,,,1,none,,
papers/linear,baselines/clean-accuracy,clean_accuracy,failed,,,,fraction,higher,,{BROKEN}
papers/linear,baselines/clean-accuracy,clean_loss,failed,,,,loss,lower,,{BROKEN}
papers/linear,baselines/parameters,parameters,failed,,,,1,none,,{BROKEN}
"""


def test_the_terminals_table(result: Result) -> None:
    assert table.text(result) == TERMINAL


def test_scores_as_csv(result: Result) -> None:
    assert Csv().render(result) == CSV


def test_a_skipped_cell_that_is_shown_is_told_with_all_of_its_reason(result: Result) -> None:
    names = ("clean_accuracy", "clean_loss")
    skipped = tuple(Score("papers/cnn", "m", Column(name, "higher", "1"), Skipped("no network")) for name in names)
    other = Score("papers/linear", "m", Column("clean_accuracy", "higher", "1"), Measured(0.5))
    told = table.text(replace(result, scores=(*skipped, other)))
    assert "papers/cnn   clean_accuracy, clean_loss  skipped  no network" in told
    assert "not shown" not in told


def test_a_clean_result_has_no_empty_parts(result: Result) -> None:
    scores = (Score("a", "m", Column("size", "none", "1"), Measured(3.0)),)
    plain = replace(result, scores=scores, ranking=Ranking((), (), (("a", "nothing to rank by"),)))
    expected = ["  rank  95 %    candidate      size", "------  ------  -----------  ------", "     –          a                 3"]
    assert table.text(plain).splitlines() == expected


def test_a_held_out_claim_over_seeds_spans_their_intervals(result: Result) -> None:
    details = {"seeds": [{"details": {"held_out": {"value": v, "low": v - 0.1, "high": v + 0.05, "n": 10}}} for v in (0.8, 0.6)]}
    first = replace(result.scores[3], outcome=Measured(0.8, 0.7, 0.9, details=details))
    (claim,) = table.held_out_claims((*result.scores[:3], first, *result.scores[4:]), first.candidate)
    assert claim == "clean accuracy: 70.0 % [50.0, 85.0], n = 10"


def test_more_flags_than_letters(result: Result) -> None:
    scores = tuple(replace(s, outcome=Measured(0.5, flags=(f"flag-{i:02d}",))) for i in range(27) for s in result.scores[:1])
    text = table.text(replace(result, scores=scores))
    assert "\nz = flag-25\naa = flag-26" in text


STRENGTH = Column("eps_star", "higher", "strength")


def shown(result: Result, found: Measured, **task: Any) -> tuple[str, str]:
    """Title and cell of a strength."""
    study = replace(result.study, task=replace(result.study.task, **task))
    asked = replace(result, study=study, scores=(Score("a", "m", STRENGTH, found),), ranking=Ranking((), (), (("a", "no reason"),)))
    head, _, row = table.text(asked).splitlines()[:3]
    title, cell = head.partition("candidate")[2].strip(), row.partition(" a ")[2].strip()
    return title, cell


def test_strengths_on_images_are_in_255ths(result: Result) -> None:
    assert shown(result, Measured(3.33 / 255)) == ("eps star (1/255) ↑", "3.33")
    assert shown(result, Measured(3.33 / 255, 3 / 255, 4 / 255)) == ("eps star (1/255) ↑", "3.33 ±0.50")


@pytest.mark.parametrize("task", [{"bounds": None}, {"bounds": (-1.0, 1.0)}, {"shape": (64,)}])
def test_strengths_on_other_data_are_in_the_datas_units(result: Result, task: dict[str, Any]) -> None:
    assert shown(result, Measured(0.25, 0.2, 0.3), **task) == ("eps star ↑", "0.250 ±0.050")


def test_a_value_that_is_but_a_bound_is_shown_as_one(result: Result) -> None:
    cells = {name: shown(result, found)[1] for name, found in {
        "at least": Measured(12.8 / 255, low=12.8 / 255),
        "at most": Measured(12.8 / 255, high=12.8 / 255),
        "with one end": Measured(12.8 / 255, low=10 / 255),
        "alone": Measured(12.8 / 255),
    }.items()}  # fmt: skip
    assert cells == {"at least": "≥ 12.8", "at most": "≤ 12.8", "with one end": "12.8", "alone": "12.8"}


def test_a_metric_that_was_skipped_shows_its_next_column(result: Result) -> None:
    flipped = tuple(result.scores[i] for i in (4, 3))  # the skipped loss first, then the accuracy
    head = table.text(replace(result, scores=flipped)).splitlines()[0]
    assert "clean accuracy" in head
    assert "clean loss" not in head
