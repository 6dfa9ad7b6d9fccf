"""The tables of a small hand-made result, literally."""

import math
from dataclasses import replace
from typing import Any

import pytest

from robustradar import Column, Failed, Measured, Ranking, RankingRow, Result, Score, Skipped
from robustradar.report import table
from robustradar_native.reporter import Csv

TERMINAL = """\
  rank  95 %    candidate              clean accuracy % ↑*    parameters
------  ------  -------------------  ---------------------  ------------
     1  1–2     papers/cnn            87.5 [80.0, 90.0] ab           850
     2  1–2     papers/mlp:width=32            75.0 ±5.0 b         1.23M
     –          papers/linear                       failed        failed

* ranked by clean_accuracy. ± is half the 95 % interval, brackets hold one that lies askew; '95 %' is the interval of the rank.
a = my-<b>own
b = selected-on-evaluation: the epoch was selected on the samples that it was measured on, and no split is held out for a final claim

No rank: papers/linear: clean_accuracy failed

papers/linear failed: architecture papers/linear (robustradar 0.1.0): ValueError: | <b>not</b> today
  clean_accuracy, clean_loss, parameters
papers/cnn skipped: no losses
  clean_loss"""

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
    assert "\npapers/cnn skipped: no network\n  clean_accuracy, clean_loss" in told


def test_a_metrics_first_column_is_shown_though_it_is_skipped_for_all_and_why_there_is_no_rank(result: Result) -> None:
    columns = Column("eps_star", "higher", "strength"), Column("clean_evaluation_loss", "none", "loss")
    outcomes = Skipped("below-zero: it is above already"), Measured(2.294, 2.258, 2.33)
    scores = tuple(Score("a", "m", column, outcome) for column, outcome in zip(columns, outcomes, strict=True))
    told = table.text(replace(result, scores=scores, ranking=Ranking((), (), (("a", "no metric yields a number"),))))
    assert (
        told
        == """\
  rank  95 %    candidate      eps star (1/255) ↑    clean evaluation loss
------  ------  -----------  --------------------  -----------------------
     –          a                         skipped             2.294 ±0.036

No rank: a: no metric yields a number

a skipped: below-zero: it is above already
  eps_star"""
    )


def test_reasons_are_few_and_each_is_told_once(result: Result) -> None:
    column, failed = Column("size", "none", "1"), [Failed(f"reason {n}") for n in range(8)]
    scores = [Score(f"net-{n}", "m", column, failed[max(n - 4, 0)]) for n in range(12)]
    unranked = tuple((s.candidate, f"size failed: {s.outcome.reason}") for s in scores if isinstance(s.outcome, Failed))
    told = table.text(replace(result, scores=tuple(scores), ranking=Ranking((), (), unranked))).split("\n\n")
    assert told[1].splitlines() == [
        "No rank: net-0, net-1, net-2 and 7 more: size failed",
        "No rank: net-10: size failed: reason 6",
        "No rank: net-11: size failed: reason 7",
    ]
    assert told[2].splitlines() == [
        "net-0, net-1, net-2 and 2 more failed: reason 0",
        "  size",
        *(line for n in range(1, 6) for line in (f"net-{4 + n} failed: reason {n}", "  size")),
        "… and 2 more reasons; the report has all.",
    ]


def test_who_may_be_first_is_doubted_where_the_attack_failed(result: Result) -> None:
    flags = ("zero-gradients:47%", "clean-trained", "flat-in-eps")
    scores = tuple(Score(name, "m", Column("robust", "higher", "fraction"), Measured(0.5, flags=flags)) for name in "abc")
    rows = (RankingRow(1, 1, 2, "a", 1.0), RankingRow(2, 1, 2, "b", 2.0), RankingRow(3, 3, 3, "c", 3.0))
    told = table.text(replace(result, scores=scores, ranking=Ranking(rows, ("robust",), ())))
    end = "by its flags (zero-gradients:47%, flat-in-eps) the attack failed on it, which looks just like robustness."
    assert [line for line in told.splitlines() if line.startswith("Doubt ")] == [f"Doubt {name}: {end}" for name in "ab"]
    told = table.text(replace(result, scores=scores, ranking=Ranking(rows, ("size",), ())))
    assert "Doubt" not in told, "nobody was ranked by it"


def test_names_and_reasons_cannot_steer_the_terminal(result: Result) -> None:
    name, column = "n:tag=\x1b[31m\nred", Column("size", "none", "1")
    scores = (Score(name, "m", column, Failed("\x1b]0;title\x07 no\nnet")), Score("b\x9b1m", "m", column, Measured(1.0, flags=("\x1bc",))))
    told = table.text(replace(result, scores=scores, ranking=Ranking((), ("size",), ((name, "no\x1b\nreason"),), notes=("\x1b[2J",))))
    assert all(line.isprintable() for line in told.splitlines())
    assert "n:tag=\ufffd[31m red failed: \ufffd]0;title\ufffd no net" in told


def test_a_table_for_a_narrow_terminal_is_no_wider(result: Result) -> None:
    shown, _ = table.text(result, 60).split("\n\n* ranked")
    assert max(map(len, shown.splitlines())) <= 60
    assert [part.split()[:4] for part in shown.split("\n\n")] == [["rank", "95", "%", "candidate"]] * 2


def test_a_clean_result_has_no_empty_parts(result: Result) -> None:
    scores = (Score("a", "m", Column("size", "none", "1"), Measured(3.0)),)
    plain = replace(result, scores=scores, ranking=Ranking((RankingRow(1, 1, 1, "a", 1.0),), (), ()))
    expected = ["  rank  95 %    candidate      size", "------  ------  -----------  ------", "     1  1–1     a                 3"]
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
    assert shown(result, Measured(3.55 / 255, 3 / 255, 4 / 255)) == ("eps star (1/255) ↑", "3.55 ±0.50")
    assert shown(result, Measured(3.33 / 255, 3 / 255, 4 / 255)) == ("eps star (1/255) ↑", "3.33 [3.00, 4.00]")


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


@pytest.mark.parametrize(
    ("right", "of", "told"),
    [(0, 100, "0.0 [0.0, 3.7]"), (4, 100, "4.0 [1.6, 9.8]"), (75, 100, "75.0 ±8.4"), (100, 100, "100.0 [96.3, 100.0]")],
)
def test_an_interval_that_lies_askew_is_shown_by_its_ends(result: Result, right: int, of: int, told: str) -> None:
    """Wilson's interval, written anew: askew near 0 and 1, where robust accuracies lie."""
    z, share = 1.959964, right / of
    centre = (share + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * math.sqrt(share * (1 - share) / of + (z / (2 * of)) ** 2)
    found = Measured(share, centre - half, centre + half)
    asked = replace(result, scores=(Score("a", "m", replace(STRENGTH, unit="fraction"), found),), ranking=Ranking((), (), (("a", "no"),)))
    assert table.text(asked).splitlines()[2].endswith(f" {told}")


def test_a_metric_whose_first_column_is_skipped_shows_its_next_one_too(result: Result) -> None:
    flipped = tuple(result.scores[i] for i in (4, 3))  # the skipped loss first, then the accuracy
    head = table.text(replace(result, scores=flipped)).splitlines()[0]
    assert head.index("clean loss") < head.index("clean accuracy")
