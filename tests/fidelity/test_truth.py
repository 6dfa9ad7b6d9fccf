"""Truth tables: what is read, which candidates are taken, and every message for what is wrong."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from robustradar.errors import UsageError
from robustradar.fidelity import Reading, Truth, part, read


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("t.csv")


def many(n: int) -> str:
    """n candidates whose truth is their number over n, in an order of its own."""
    return "candidate,truth\n" + "".join(f"c{i},{i / n}\n" for i in sorted(range(n), key=lambda i: (i * 7919) % n))


def taken(file: Path, text: str, **how: object) -> Truth:
    file.write_text(text, encoding="utf-8")
    return read(file, Reading(**how))  # type: ignore[arg-type]


def test_a_table_with_everything(file: Path) -> None:
    text = "\ufeffarch,acc,sd,cost,cost_flops,width\n" + "\n\n".join(f'"|a~{i}|",0.{i},0.01,{100 * i},,{i}' for i in range(1, 7)) + "\n"
    truth = taken(file, text, candidate="papers/x:cell={arch},w={width}", truth="acc")
    assert truth.candidates[:2] == ("papers/x:cell=|a~1|,w=1", "papers/x:cell=|a~2|,w=2")
    assert truth.values.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert truth.sd.tolist() == [0.01] * 6
    assert truth.cost.tolist() == [100, 200, 300, 400, 500, 600]
    assert np.isnan(truth.flops).all()
    assert truth.columns["width"] == ("1", "2", "3", "4", "5", "6")
    assert truth.lines == (2, 4, 6, 8, 10, 12)
    assert truth.untold == 0


def test_constants_stand_in_for_columns(file: Path) -> None:
    truth = taken(file, many(6), sd=0.02, cost=50.0)
    assert truth.sd.tolist() == [0.02] * 6
    assert truth.cost.tolist() == [50.0] * 6
    assert np.isnan(taken(file, many(6)).sd).all()


def test_what_columns_took_is_told_by_column(file: Path) -> None:
    assert taken(file, many(6)).spent == {}
    told = taken(file, many(6), spent=("truth+candidate=40",)).spent
    assert told == {"truth": ("truth+candidate", 40), "candidate": ("truth+candidate", 40)}


def test_rows_without_a_truth_are_left_out_and_counted(file: Path) -> None:
    truth = taken(file, many(6) + "failed,\nlost, \n")
    assert (len(truth.candidates), truth.untold) == (6, 2)


def test_a_sample_is_evenly_spaced_in_the_truths_order(file: Path) -> None:
    truth = taken(file, many(100), sample=10, seed=1)
    places = sorted(round(100 * value) for value in truth.values)
    assert len(places) == 10
    assert set(np.diff(places)) == {10}
    assert truth.candidates == taken(file, many(100), sample=10, seed=1).candidates
    assert truth.candidates != taken(file, many(100), sample=10, seed=2).candidates
    assert len(taken(file, many(100), sample=100).candidates) == 100
    assert len(taken(file, many(100), sample=37, seed=5).candidates) == 37


def test_parts_share_the_candidates_out_by_name_alone(file: Path) -> None:
    halves = [set(taken(file, many(100), part=(k, 2)).candidates) for k in (1, 2)]
    assert not halves[0] & halves[1]
    assert len(halves[0] | halves[1]) == 100
    assert 30 < len(halves[0]) < 70
    fewer = "\n".join(many(100).splitlines()[:60])
    assert set(taken(file, fewer, part=(1, 2)).candidates) <= halves[0]


def test_a_templates_slots_are_columns_and_nothing_else(file: Path) -> None:
    text = many(6).replace("candidate", "name")
    for template, slot in (("{name.__class__}", "name.__class__"), ("{0}", "0"), ("{nam}", "nam"), ("{}", ""), ("{name!r}", "name!r")):
        with pytest.raises(UsageError) as error:
            taken(file, text, candidate=template)
        assert str(error.value).startswith(f"--candidate, in t.csv: got {slot!r}, expected one of name, truth.")
    assert str(error.value).endswith("Did you mean 'name'?")


ADVICE = "Name its row's own column in --candidate, or take one row out."
WRONG = [
    ("", {}, "--truth: got 't.csv', which is empty, expected a first line that names the columns."),
    (
        "candidate,truth\na,1\n",
        {"truth": "trut"},
        "--truth-column, in t.csv: got 'trut', expected one of candidate, truth. Did you mean 'truth'?",
    ),
    ("a,a\n", {}, "t.csv:1: got the column 'a' twice, expected it once. Rename one."),
    ("candidate,truth\na,1,2\n", {}, "t.csv:2: got 3 fields, expected 2, as the first line has."),
    ("candidate,truth\na,1\nb,1\n\na,2\n", {}, f"t.csv:5: got the candidate 'a' of line 2 again, expected it once. {ADVICE}"),
    ("candidate,truth\na,0.5\nb,high\n", {}, "t.csv:3: truth: got 'high', expected a number, or nothing where it is not known."),
    ("candidate,truth\na,nan\n", {}, "t.csv:2: truth: got 'nan', expected a number, or nothing where it is not known."),
    ("candidate,truth,sd\na,1,inf\n", {}, "t.csv:2: sd: got 'inf', expected a number, or nothing where it is not known."),
    ("candidate,truth,sd\na,1,-0.1\n", {}, "t.csv:2: sd: got -0.1, expected at least 0, or nothing where it is not known."),
    ("candidate,truth\na,1\n", {}, "t.csv: got 1 candidate with a truth, expected at least 5. A correlation over fewer says nothing."),
    (many(4), {}, "t.csv: got 4 candidates with a truth, expected at least 5. A correlation over fewer says nothing."),
    (many(9), {"part": (9, 9)}, "t.csv: got <some> with a truth, expected at least 5. A correlation over fewer says nothing."),
    (
        "candidate,truth\n" + "".join(f"c{i},0.5\n" for i in range(6)),
        {},
        "t.csv: truth: got 0.5 for all 6 candidates, expected a spread: there is no order to predict.",
    ),
    (many(6), {"spent": ("truth",)}, "--score-cost: got 'truth', expected COLUMN=N or COLUMN+COLUMN=N, such as accuracy=20000000."),
    (many(6), {"spent": ("truth=-1",)}, "--score-cost: got 'truth=-1', expected COLUMN=N or COLUMN+COLUMN=N, such as accuracy=20000000."),
    (many(6), {"spent": ("trut=1",)}, "--score-cost, in t.csv: got 'trut', expected one of candidate, truth. Did you mean 'truth'?"),
    (many(6), {"spent": ("truth=1", "truth=2")}, "--score-cost: got 'truth' twice, expected each column once."),
    (many(6), {"candidate": "x{candidate"}, "--candidate: got 'x{candidate', expected every brace to enclose a column, such as {arch}."),
    (
        'candidate,truth\n"a,1\n',
        {},
        "--truth: got 't.csv', which cannot be read (unexpected end of data), expected a CSV file. Check the path.",
    ),
]


@pytest.mark.parametrize(("text", "how", "message"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_what_is_wrong_is_said(file: Path, text: str, how: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as error:
        taken(file, text, **how)
    start, _, end = message.partition("<some>")
    assert str(error.value).startswith(start)
    assert str(error.value).endswith(end)
    assert "<some>" in message or str(error.value) == message


def test_files_that_cannot_be_read(file: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^--truth: got 't\.csv', which cannot be read \(No such file or directory\), expected a CSV file\. Check"
    ):
        read(file, Reading())
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"which cannot be read \(no text in UTF-8\), expected a CSV file\."):
        read(file, Reading())


@pytest.mark.parametrize("text", ["half", "0/2", "3/2", "1/0", "1/2/3", "-1/2"])
def test_a_part_is_one_of_several(text: str) -> None:
    assert part("2/3") == (2, 3)
    with pytest.raises(UsageError) as error:
        part(text)
    assert str(error.value) == f"--part: got {text!r}, expected K/N with 1 <= K <= N, such as 1/2."


def test_a_column_of_numbers_may_have_gaps(file: Path) -> None:
    truth = taken(file, "candidate,truth,s\n" + "".join(f"c{i},{i},{i if i else ''}\n" for i in range(6)))
    found = truth.numbers("s")
    assert math.isnan(found[0])
    assert found[1:].tolist() == [1, 2, 3, 4, 5]
