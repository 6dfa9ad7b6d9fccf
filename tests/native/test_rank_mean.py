"""The mean-rank ranker: ties are ties, gaps are never ranks, and the order of the rows does not matter."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustradar import Column, Failed, Measured, Outcome, Ranking, Score, ScoreTable, Skipped, UsageError
from robustradar.numerics import agreement
from robustradar_native.ranker import RankMean, _made_up

ACCURACY = Column("accuracy", "higher", "fraction")
LOSS = Column("loss", "lower", "loss")
SIZE = Column("size", "none", "1")


def scored(rows: dict[str, dict[Column, Outcome | float]], samples: dict[tuple[str, str, str], np.ndarray] | None = None) -> ScoreTable:
    """A table; accuracy and loss come from metric m, size from metric s."""
    scores = [
        Score(name, "s" if column is SIZE else "m", column, Measured(found) if isinstance(found, float | int) else found)
        for name, row in rows.items()
        for column, found in row.items()
    ]
    return ScoreTable(tuple(scores), samples or {})


def places(ranking: Ranking) -> list[tuple[int, str, float]]:
    return [(row.rank, row.candidate, row.score) for row in ranking.rows]


def test_the_best_mean_rank_is_first() -> None:
    table = scored({"a": {ACCURACY: 0.9, LOSS: 2.0}, "b": {ACCURACY: 0.8, LOSS: 1.0}, "c": {ACCURACY: 0.7, LOSS: 3.0}})
    ranking = RankMean(columns=("accuracy", "loss")).rank(table)
    assert places(ranking) == [(1, "a", 1.5), (1, "b", 1.5), (3, "c", 3.0)]
    assert ranking.columns == ("accuracy", "loss")
    assert ranking.unranked == ()


def test_lower_is_better_where_the_column_says_so() -> None:
    table = scored({"a": {LOSS: 2.0}, "b": {LOSS: 1.0}})
    assert places(RankMean(columns=("loss",)).rank(table)) == [(1, "b", 1.0), (2, "a", 2.0)]


def test_ties_share_a_rank_and_the_next_one_is_skipped() -> None:
    table = scored({"d": {ACCURACY: 0.1}, "c": {ACCURACY: 0.5}, "b": {ACCURACY: 0.5}, "a": {ACCURACY: 0.9}})
    assert places(RankMean().rank(table)) == [(1, "a", 1.0), (2, "b", 2.5), (2, "c", 2.5), (4, "d", 4.0)]


def test_headlines_that_have_a_direction_are_ranked_by_when_none_is_named() -> None:
    table = scored({"a": {ACCURACY: 0.1, LOSS: 0.0, SIZE: 1.0}, "b": {ACCURACY: 0.2, LOSS: 9.0, SIZE: 5.0}})
    ranking = RankMean().rank(table)
    assert ranking.columns == ("accuracy",)
    assert [row.candidate for row in ranking.rows] == ["b", "a"]


def test_a_metric_is_ranked_by_its_first_column_that_is_not_skipped_for_all() -> None:
    gone = Skipped("no prices")
    ranking = RankMean().rank(scored({"a": {ACCURACY: gone, LOSS: 2.0}, "b": {ACCURACY: 0.5, LOSS: 1.0}}))
    assert ranking.columns == ("accuracy",)
    assert ranking.unranked == (("a", "accuracy skipped: no prices"),)
    assert RankMean().rank(scored({"a": {ACCURACY: gone, LOSS: 2.0}, "b": {ACCURACY: gone, LOSS: 1.0}})).columns == ("loss",)


def test_without_a_column_that_has_a_direction_all_are_unranked_and_told_why() -> None:
    reason = "no metric yields a number of which more or less is better"
    assert RankMean().rank(scored({"a": {SIZE: 1.0}, "b": {SIZE: 2.0}})) == Ranking((), (), (("a", reason), ("b", reason)))


def test_who_lacks_a_number_is_unranked_with_the_reason() -> None:
    table = scored(
        {
            "a": {ACCURACY: 0.5, LOSS: 1.0},
            "b": {ACCURACY: Failed("diverged", "training"), LOSS: 0.1},
            "c": {ACCURACY: 0.4, LOSS: Skipped("no losses here")},
            "d": {ACCURACY: 0.6, LOSS: 1.0},
        }
    )
    ranking = RankMean(columns=("accuracy", "loss")).rank(table)
    assert [row.candidate for row in ranking.rows] == ["d", "a"]
    assert ranking.unranked == (("b", "accuracy failed: diverged"), ("c", "loss skipped: no losses here"))


def test_a_gap_in_a_column_that_is_not_ranked_by_does_not_matter() -> None:
    table = scored({"a": {ACCURACY: 0.5, LOSS: Failed("x")}, "b": {ACCURACY: 0.4, LOSS: 1.0}})
    assert [row.candidate for row in RankMean(columns=("accuracy",)).rank(table).rows] == ["a", "b"]


def test_without_anyone_to_rank_there_are_no_rows() -> None:
    assert RankMean().rank(scored({"a": {ACCURACY: Failed("x")}})) == Ranking((), ("accuracy",), (("a", "accuracy failed: x"),))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("acuracy", "ranker rank-mean: columns: got 'acuracy', expected one of accuracy, loss. Did you mean 'accuracy'?"),
        ("size", "ranker rank-mean: columns: got 'size', expected one of accuracy, loss."),
    ],
)
def test_a_column_that_cannot_be_ranked_by_is_told(column: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        RankMean(columns=(column,)).rank(scored({"a": {ACCURACY: 1.0, LOSS: 1.0, SIZE: 1.0}}))
    assert str(error.value) == message


def sampled(rates: dict[str, float], n: int = 200, seeds: int = 2) -> ScoreTable:
    rng = np.random.default_rng(0)
    draws = {name: rng.random((seeds, n)) < rate for name, rate in rates.items()}
    samples = {(name, "m", "accuracy"): values for name, values in draws.items()}
    return scored({name: {ACCURACY: float(values.mean())} for name, values in draws.items()}, samples)


def test_clear_differences_give_narrow_intervals_and_small_ones_wide() -> None:
    def spans(seeds: int) -> dict[str, tuple[int, int]]:
        rows = RankMean().rank(sampled({"a": 0.9, "b": 0.5, "c": 0.5}, seeds=seeds)).rows
        return {row.candidate: (row.rank_low, row.rank_high) for row in rows}

    for seeds in (1, 4):
        assert spans(seeds) == {"a": (1, 1), "b": (2, 3), "c": (2, 3)}
    assert spans(2)["a"][1] > 1, "the spread of two networks may be small by chance"


def test_it_agrees_with_the_numerics() -> None:
    table = sampled({"a": 0.5, "b": 0.6, "c": 0.55, "d": 0.5})
    values = np.stack([table.samples[name, "m", "accuracy"] for name in "abcd"])
    score = agreement.rank_mean(values.mean((1, 2))[:, None], [True])
    low, high = agreement.rank_intervals([values], [True], draws=1000, seed=0)
    ranks = agreement.competition_ranks(score, higher=False)
    found = {row.candidate: row for row in RankMean().rank(table).rows}
    for i, name in enumerate("abcd"):
        assert (found[name].rank, found[name].score) == (ranks[i], score[i])
        assert (found[name].rank_low, found[name].rank_high) == (low[i], high[i])


def test_samples_of_other_shapes_are_not_paired_and_values_decide() -> None:
    table = sampled({"a": 0.9, "b": 0.1})
    uneven = ScoreTable(table.scores, {**table.samples, ("b", "m", "accuracy"): np.zeros((2, 7))})
    assert [(r.rank_low, r.rank_high) for r in RankMean().rank(uneven).rows] == [(1, 1), (2, 2)]


def test_without_samples_the_cells_own_intervals_decide() -> None:
    def intervals(half: float | None) -> list[tuple[int, int]]:
        ends = {name: (None, None) if half is None else (value - half, value + half) for name, value in VALUES.items()}
        cells: dict[str, dict[Column, Outcome | float]] = {name: {LOSS: Measured(VALUES[name], *ends[name])} for name in VALUES}
        return [(row.rank_low, row.rank_high) for row in RankMean(columns=("loss",)).rank(scored(cells)).rows]

    assert intervals(None) == intervals(0.1) == [(1, 1), (2, 2), (3, 3)]
    assert intervals(1.5) == [(1, 2), (1, 3), (2, 3)]
    assert intervals(20.0) == [(1, 3), (1, 3), (1, 3)]


def test_made_up_values_have_the_mean_and_the_error_of_the_cell() -> None:
    score = Score("a", "m", LOSS, Measured(10.0, 7.0, 13.0))
    values = _made_up(score)
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(4000, len(values)))].mean(1)
    assert values.mean() == pytest.approx(10)
    assert np.quantile(means, [0.025, 0.975]) == pytest.approx([7, 13], abs=0.15)
    assert _made_up(Score("a", "m", LOSS, Measured(10.0, low=10.0))) == pytest.approx(10.0)


def test_made_up_values_are_of_this_cell_alone() -> None:
    cells = [Score(name, m, c, Measured(1.0, 0.0, 2.0)) for name in "ab" for m, c in (("m", ACCURACY), ("m", LOSS), ("n", LOSS))]
    correlations = np.corrcoef([_made_up(cell) for cell in cells])
    assert np.abs(correlations - np.eye(len(cells))).max() < 0.25  # 4 standard errors


@pytest.mark.parametrize("other", ["higher", "lower"])
def test_ranks_without_samples_hold_the_truth_whatever_the_directions(other: Literal["higher", "lower"]) -> None:
    """Eight candidates a fifth of the noise apart, by two columns with errors of their own."""
    rng, hits = np.random.default_rng(0), []
    columns, signs = (Column("first", "higher", "1"), Column("second", other, "1")), (1, 1 if other == "higher" else -1)
    for _ in range(100):
        quality = rng.permutation(8) * 0.02
        scores = []
        for i, q in enumerate(quality):
            for column, sign in zip(columns, signs, strict=True):
                value = sign * (q + rng.normal(0, 0.1))
                scores.append(Score(f"net{i}", column.name, column, Measured(value, value - 0.196, value + 0.196)))
        truth = {f"net{i}": int((quality > q).sum()) + 1 for i, q in enumerate(quality)}
        rows = RankMean(draws=200).rank(ScoreTable(tuple(scores), {})).rows
        hits += [row.rank_low <= truth[row.candidate] <= row.rank_high for row in rows]
    assert 0.94 <= np.mean(hits) <= 0.99


def test_errors_of_opposite_columns_do_not_cancel() -> None:
    wide = {name: {ACCURACY: Measured(v, v - 0.5, v + 0.5), LOSS: Measured(v, v - 0.5, v + 0.5)} for name, v in (("a", 0.6), ("b", 0.5))}
    rows = RankMean(columns=("accuracy", "loss")).rank(scored(wide)).rows
    assert [(row.candidate, row.rank, row.rank_low, row.rank_high) for row in rows] == [("a", 1, 1, 2), ("b", 1, 1, 2)]


def spans(
    cells: dict[str, Measured], column: Column, samples: dict[tuple[str, str, str], np.ndarray] | None = None
) -> dict[str, tuple[int, int]]:
    ranking = RankMean(columns=(column.name,)).rank(scored({name: {column: found} for name, found in cells.items()}, samples))
    return {row.candidate: (row.rank_low, row.rank_high) for row in ranking.rows}


def test_a_bound_may_be_anywhere_beyond_and_others_may_be_passed_by_it() -> None:
    near = {"b": Measured(0.12, 0.118, 0.122), "c": Measured(0.08, 0.078, 0.082), "d": Measured(0.05, 0.048, 0.052)}
    at_least = near | {"a": Measured(0.10, low=0.10)}
    assert spans(at_least, ACCURACY) == {"a": (1, 2), "b": (1, 2), "c": (3, 3), "d": (4, 4)}
    assert spans(at_least, LOSS) == {"a": (3, 4), "b": (3, 4), "c": (2, 2), "d": (1, 1)}
    at_most = near | {"a": Measured(0.10, high=0.10)}
    assert spans(at_most, ACCURACY) == {"a": (2, 4), "b": (1, 1), "c": (2, 3), "d": (3, 4)}
    two = near | {"a": Measured(0.10, low=0.10), "e": Measured(0.06, low=0.06)}
    assert spans(two, ACCURACY) == {"a": (1, 3), "b": (1, 3), "c": (3, 4), "d": (5, 5), "e": (1, 4)}
    samples = {(name, "m", "accuracy"): np.full((1, 9), found.value) for name, found in at_least.items()}
    assert spans(at_least, ACCURACY, samples) == spans(at_least, ACCURACY)


VALUES = {"a": 1.0, "b": 2.0, "c": 3.0}
CELL = st.one_of(st.integers(0, 3).map(float), st.just(Failed("x")))


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6), st.randoms())
def test_the_order_of_the_rows_does_not_matter(cells: list[tuple[Outcome | float, Outcome | float]], random: "st.random.Random") -> None:
    rows = {f"n{i}": {ACCURACY: a, LOSS: b} for i, (a, b) in enumerate(cells)}
    table = scored(rows)
    shuffled = list(table.scores)
    random.shuffle(shuffled)
    ranker = RankMean(columns=("accuracy", "loss"), draws=100)
    first, second = ranker.rank(table), ranker.rank(ScoreTable(tuple(shuffled), {}))
    assert places(first) == places(second)
    assert [name for name, _ in first.unranked] == [name for name, _ in second.unranked]
    assert len(first.rows) + len(first.unranked) == len(cells)
