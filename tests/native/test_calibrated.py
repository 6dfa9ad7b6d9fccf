"""The calibrated ranker: rank-mean without labels, truths with them, and every word that it says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustradar import Column, Failed, Measured, Outcome, Ranking, Score, ScoreTable, UsageError
from robustradar.numerics import calibration
from robustradar_native.calibrated import Calibrated, Label, read
from robustradar_native.ranker import RankMean

GOOD, LOW, NOISE = Column("good", "higher", "fraction"), Column("low", "lower", "loss"), Column("noise", "higher", "1")


def scored(rows: dict[str, dict[Column, Outcome | float]]) -> ScoreTable:
    cells = [
        Score(name, f"m/{column.name}", column, Measured(found) if isinstance(found, float) else found)
        for name, row in rows.items()
        for column, found in row.items()
    ]
    return ScoreTable(tuple(cells), {})


def zoo(n: int = 24, seed: int = 0) -> tuple[ScoreTable, dict[str, float]]:
    """Candidates with two columns that say something, one that does not, and their truth."""
    rng = np.random.default_rng(seed)
    skill = rng.permutation(np.linspace(-2, 2, n))
    rows: dict[str, dict[Column, Outcome | float]] = {
        f"n{i:02}": {GOOD: float(s + rng.normal(0, 0.2)), LOW: float(-s + rng.normal(0, 0.2)), NOISE: float(rng.random())}
        for i, s in enumerate(skill)
    }
    return scored(rows), {name: float(45 + 2 * s) for name, s in zip(rows, skill, strict=True)}


def written(folder: Path, text: str) -> str:
    file = folder / "labels.csv"
    file.write_text(text, encoding="utf-8")
    return str(file)


def labelled(folder: Path, truth: dict[str, float], names: list[str]) -> str:
    return written(folder, "candidate,truth\n" + "".join(f"{name},{truth[name]!r}\n" for name in names))


def scores(ranking: Ranking) -> dict[str, float]:
    return {row.candidate: row.score for row in ranking.rows}


CELL = st.one_of(st.integers(0, 3).map(float), st.just(Failed("x")))


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6))
def test_without_labels_it_is_the_mean_rank(cells: list[tuple[Outcome | float, Outcome | float]]) -> None:
    table = scored({f"n{i}": {GOOD: a, LOW: b} for i, (a, b) in enumerate(cells)})
    ranking, mean = Calibrated(draws=100).rank(table), RankMean(draws=100).rank(table)
    note = "Not calibrated: 0 labels, and it takes at least 8. The order and the scores are rank-mean's."
    assert ranking == replace(mean, notes=(note,) if mean.rows else ())


def test_labels_turn_ranks_into_predicted_truths(tmp_path: Path) -> None:
    table, truth = zoo()
    names = sorted(truth)[:16]
    ranking = Calibrated(labels=labelled(tmp_path, truth, names)).rank(table)
    found = scores(ranking)
    assert {name: found[name] for name in names} == {name: truth[name] for name in names}
    rest = sorted(set(truth) - set(names))
    assert [found[name] for name in rest] == pytest.approx([truth[name] for name in rest], abs=1.5)
    assert [row.rank for row in ranking.rows] == sorted(row.rank for row in ranking.rows)
    assert ranking.rows[0].score == max(found.values())
    assert all(row.rank_low <= row.rank <= row.rank_high for row in ranking.rows)
    assert ranking.columns == ("good", "low", "noise")


def test_it_agrees_with_the_numerics(tmp_path: Path) -> None:
    table, truth = zoo()
    names = sorted(truth)[4:20]
    ranking = Calibrated(labels=labelled(tmp_path, truth, names)).rank(table)
    order = sorted(truth)
    cells = {(s.candidate, s.column): s.outcome.value for s in table.scores if isinstance(s.outcome, Measured)}
    features = calibration.standings(np.array([[cells[n, c] for c in (GOOD, LOW, NOISE)] for n in order]), [True, False, True])
    chosen = np.array([n in names for n in order])
    fit = calibration.calibration(features[chosen], np.array([truth[n] for n in order])[chosen])
    rest = [n for n in order if n not in names]
    assert [scores(ranking)[n] for n in rest] == pytest.approx(calibration.predicted(fit, features[~chosen])[0])
    assert [w["weight"] for w in ranking.details["weights"]] == pytest.approx(fit.weights)
    assert ranking.details["sd"] == pytest.approx(fit.sd)


def test_it_says_what_the_labels_taught(tmp_path: Path) -> None:
    table, truth = zoo()
    ranking = Calibrated(labels=labelled(tmp_path, truth, sorted(truth)[:16])).rank(table)
    details = ranking.details
    assert json.loads(json.dumps(details)) == details
    assert set(details) == {
        "labels", "weights", "intercept", "penalty", "left_out_tau", "left_out_tau_interval", "left_out_r2", "sd", "predictions",
    }  # fmt: skip
    assert set(details["predictions"]) == set(truth)
    assert all(found["sd"] > details["sd"] for found in details["predictions"].values())
    assert ranking.score == "predicted truth"
    assert [(w["metric"], w["column"]) for w in details["weights"]] == [("m/good", "good"), ("m/low", "low"), ("m/noise", "noise")]
    good, low, noise = (w["weight"] for w in details["weights"])
    assert min(good, low) > 4 * abs(noise)
    (tau, (lower, upper), r2) = (details[f"left_out_{name}"] for name in ("tau", "tau_interval", "r2"))
    assert ranking.notes == (
        f"Calibrated by 16 labels: scores are the predicted truth, ±{1.96 * details['sd']:.3g} at best, "
        "and of labelled candidates their own.",
        f"Truth gained from last to first place: good {good:+.3g}, low {low:+.3g}, noise {noise:+.3g}.",
        f"Each label predicted by the others: Kendall's tau {tau:.2f} [{lower:.2f}, {upper:.2f}], R2 {r2:.2f}.",
    )


def test_columns_that_agree_are_weighted_alike_and_it_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = rng.permutation(np.linspace(0, 1, 12))
    table = scored({f"n{i:02}": {GOOD: float(v), LOW: float(-v)} for i, v in enumerate(values)})
    truth = {f"n{i:02}": float(10 * v + rng.normal(0, 0.1)) for i, v in enumerate(values)}
    ranking = Calibrated(labels=labelled(tmp_path, truth, sorted(truth)[:9])).rank(table)
    assert ranking.details["penalty"] == "infinite"
    weight = ranking.details["weights"][0]["weight"]
    expected = f"good {weight:+.3g}, low {weight:+.3g} (equal: the labels do not tell the columns apart)."
    assert ranking.notes[1] == f"Truth gained from last to first place: {expected}"


def test_columns_that_predict_nothing_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    table = scored({f"n{i:02}": {NOISE: float(rng.random())} for i in range(16)})
    truth = {f"n{i:02}": float(rng.normal()) for i in range(16)}
    ranking = Calibrated(labels=labelled(tmp_path, truth, sorted(truth))).rank(table)
    assert ranking.details["left_out_r2"] <= 0
    assert ranking.notes[-1] == "These columns predict the labels no better than the labels' mean does: do not rely on this order."


def test_labels_that_contradict_every_column_do_not_calibrate(tmp_path: Path) -> None:
    table, truth = zoo()
    path = labelled(tmp_path, {name: -value for name, value in truth.items()}, sorted(truth)[:12])
    ranking = Calibrated(labels=path, columns=("good", "low")).rank(table)
    plain = RankMean(columns=("good", "low")).rank(table)
    assert (ranking.rows, ranking.score) == (plain.rows, plain.score)
    assert ranking.notes == (
        "Not calibrated: the truth of the 12 labels does not rise with these columns. The order and the scores are rank-mean's.",
    )


def test_no_column_counts_against_its_own_direction(tmp_path: Path) -> None:
    table, truth = zoo()
    path = labelled(tmp_path, truth, sorted(truth)[:16])
    turned = ScoreTable(tuple(Score(s.candidate, s.metric, replace(s.column, direction="higher"), s.outcome) for s in table.scores), {})
    ranking = Calibrated(labels=path).rank(turned)
    good, low, noise = (w["weight"] for w in ranking.details["weights"])
    assert good > noise >= 0 == low
    assert ", low +0, " in ranking.notes[1]


@pytest.mark.parametrize(
    ("count", "note"),
    [
        (0, "Not calibrated: 0 labels, and it takes at least 8. The order and the scores are rank-mean's."),
        (1, "Not calibrated: 1 label, and it takes at least 8. The order and the scores are rank-mean's."),
        (7, "Not calibrated: 7 labels, and it takes at least 8. The order and the scores are rank-mean's."),
    ],
)
def test_with_few_labels_it_is_the_mean_rank_and_says_so(tmp_path: Path, count: int, note: str) -> None:
    table, truth = zoo()
    ranking = Calibrated(labels=labelled(tmp_path, truth, sorted(truth)[:count])).rank(table)
    assert (ranking.rows, ranking.unranked) == (RankMean().rank(table).rows, RankMean().rank(table).unranked)
    assert ranking.notes == (note,)


def test_labels_of_others_are_ignored_and_counted(tmp_path: Path) -> None:
    table, truth = zoo()
    text = Path(labelled(tmp_path, truth, sorted(truth)[:8])).read_text()
    one = Calibrated(labels=written(tmp_path, text + "elsewhere,50\n")).rank(table)
    assert one.notes[-1] == "1 label not used: without a truth, or of candidates without a place here."
    two = Calibrated(labels=written(tmp_path, text + f"elsewhere,50\n{max(truth)},\n")).rank(table)
    assert two.notes[-1] == "2 labels not used: without a truth, or of candidates without a place here."
    assert one.rows == two.rows


def test_who_lacks_a_number_is_unranked_and_teaches_nothing(tmp_path: Path) -> None:
    table, truth = zoo()
    names = sorted(truth)
    broken = tuple(
        Score(s.candidate, s.metric, s.column, Failed("diverged")) if (s.candidate, s.column) == (names[0], LOW) else s
        for s in table.scores
    )
    ranking = Calibrated(labels=labelled(tmp_path, truth, names[:9])).rank(ScoreTable(broken, {}))
    assert ranking.unranked == ((names[0], "low failed: diverged"),)
    assert ranking.details["labels"] == 8
    assert ranking.notes[-1] == "1 label not used: without a truth, or of candidates without a place here."


def test_a_label_with_a_spread_of_its_own_holds_its_place_less_firmly(tmp_path: Path) -> None:
    table, truth = zoo()
    names = sorted(truth)
    lines = "".join(f"{name},{truth[name]},{3 if name == names[0] else 0}\n" for name in names)
    ranking = Calibrated(labels=written(tmp_path, f"candidate,truth,sd\n{lines}")).rank(table)
    widths = {row.candidate: row.rank_high - row.rank_low for row in ranking.rows}
    assert widths[names[0]] > 10
    assert all(widths[name] <= 1 for name in names[1:])


@settings(max_examples=4)
@given(st.randoms())
def test_neither_order_nor_names_matter(tmp_path_factory: pytest.TempPathFactory, random: "st.random.Random") -> None:
    folder = tmp_path_factory.mktemp("order")
    table, truth = zoo(14)
    path = labelled(folder, truth, sorted(truth)[:9])
    rows = list(table.scores)
    names = list(truth)
    random.shuffle(names)
    shuffled = sorted(rows, key=lambda score: names.index(score.candidate))
    first = Calibrated(labels=path, draws=100).rank(table)
    assert Calibrated(labels=path, draws=100).rank(ScoreTable(tuple(shuffled), {})) == first
    new = dict(zip(truth, names, strict=True))
    renamed = ScoreTable(tuple(Score(new[s.candidate], s.metric, s.column, s.outcome) for s in rows), {})
    path = labelled(folder, {new[name]: value for name, value in truth.items()}, [new[name] for name in sorted(truth)[:9]])
    again = Calibrated(labels=path, draws=100).rank(renamed)
    places = {row.candidate: (row.rank, row.rank_low, row.rank_high, row.score) for row in again.rows}
    assert {row.candidate: (row.rank, row.rank_low, row.rank_high, row.score) for row in first.rows} == {
        name: places[new[name]] for name in truth
    }


# The file


def test_other_columns_are_ignored_and_names_with_commas_are_quoted(tmp_path: Path) -> None:
    path = written(tmp_path, '\ufeffcost,candidate,truth,note\n3,"papers/cnn:width=4,depth=2",51.5,x\n4,papers/mlp, 40 ,y\n')
    assert read(path) == {"papers/cnn:width=4,depth=2": Label(51.5), "papers/mlp": Label(40.0)}


def test_the_files_content_is_part_of_the_key(tmp_path: Path) -> None:
    path = written(tmp_path, "candidate,truth\na,1\n")
    before = Calibrated(labels=path).content()
    written(tmp_path, "candidate,truth\na,2\n")
    assert before and Calibrated(labels=path).content() != before
    assert Calibrated().content() == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got '{}' without the column candidate, expected candidate and truth. Give a CSV file with the columns candidate and truth."),
        (
            "candidate,robust\na,1\n",
            "got '{}' without the column truth, expected candidate and truth. Give a CSV file with the columns candidate and truth.",
        ),
        ("candidate,truth\na,1\n,2\n", "{}:3: got no candidate, expected its name as in the ranking. Complete the line."),
        ("candidate,truth\na,1\na,2\n", "{}:3: got 'a' twice, expected it once. Give the mean of its truths, and its sd."),
        ("candidate,truth\na,high\n", "{}:2: truth: got 'high', expected a number. Correct the line, or drop it."),
        ("candidate,truth\na,nan\n", "{}:2: truth: got 'nan', expected a number. Correct the line, or drop it."),
        ("candidate,truth,sd\na,1,-1\n", "{}:2: sd: got '-1', expected a number of at least 0. Correct the line, or drop it."),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as error:
        Calibrated(labels=path).rank(zoo()[0])
    assert str(error.value) == f"ranker calibrated: labels: {message.format(path)}"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, why in ((tmp_path / "none.csv", "No such file or directory"), (binary, "no text in UTF-8")):
        with pytest.raises(UsageError) as error:
            Calibrated(labels=str(path)).rank(zoo()[0])
        advice = "Give a CSV file with the columns candidate and truth."
        assert str(error.value) == f"ranker calibrated: labels: got {str(path)!r}, which cannot be read ({why}). {advice}"


def test_a_column_that_is_not_there_is_told() -> None:
    with pytest.raises(UsageError) as error:
        Calibrated(columns=("godo",)).rank(zoo()[0])
    assert str(error.value) == "ranker calibrated: columns: got 'godo', expected one of good, low, noise. Did you mean 'good'?"
