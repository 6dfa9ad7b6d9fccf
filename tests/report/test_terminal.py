"""Tables that fit a terminal, literally, and text that cannot steer it."""

import sys
from itertools import pairwise

import pytest

from robustradar.report import terminal

HEAD = ("rank", "candidate", "robust accuracy trained % ↑", "macs")
ROWS = [(1, "papers/cnn:width=32,depth=3", "43.1 ±3.0", "610k"), (10, "papers/linear", "98.6 [97.0, 99.1]", None)]

WIDE = """\
  rank  candidate                      robust accuracy trained % ↑    macs
------  ---------------------------  -----------------------------  ------
     1  papers/cnn:width=32,depth=3                      43.1 ±3.0    610k
    10  papers/linear                            98.6 [97.0, 99.1]"""

WRAPPED = """\
  rank  candidate               robust accuracy    macs
                                    trained % ↑
------  --------------------  -----------------  ------
     1  papers/cnn:width=32,          43.1 ±3.0    610k
        depth=3
    10  papers/linear         98.6 [97.0, 99.1]"""

BELOW = """\
  rank  candidate               robust accuracy
                                    trained % ↑
------  --------------------  -----------------
     1  papers/cnn:width=32,          43.1 ±3.0
        depth=3
    10  papers/linear         98.6 [97.0, 99.1]

  rank  candidate               macs
------  --------------------  ------
     1  papers/cnn:width=32,    610k
        depth=3
    10  papers/linear"""


@pytest.mark.parametrize(("most", "expected"), [(None, WIDE), (74, WIDE), (60, WRAPPED), (50, BELOW)])
def test_a_table_fits(most: int | None, expected: str) -> None:
    assert terminal.table(ROWS, HEAD, most, numbers=(0, 2, 3), kept=2) == expected


@pytest.mark.parametrize("most", range(1, 100))
def test_nothing_is_lost_and_no_number_broken_at_any_width(most: int) -> None:
    shown = terminal.table(ROWS, HEAD, most, numbers=(0, 2, 3), kept=2)
    for whole in ("43.1 ±3.0", "98.6 [97.0, 99.1]", "610k", "papers/linear"):
        assert whole in shown
    if most >= 50:
        assert max(map(len, shown.splitlines())) <= most


def test_names_that_no_mark_divides_stay_whole_up_to_a_length() -> None:
    name = "plugin/AutoProjectedGradientDescent"
    (row,) = terminal.table([[name, "words " * 20]], ["id", "summary"], 60).splitlines()[2:3]
    assert row.startswith(f"{name}  words words")
    long = "x" * 50
    assert [line[:36].strip() for line in terminal.table([[long, "words " * 20]], ["id", "summary"], 60).splitlines()[2:4]] == [
        "x" * 36,
        "x" * 14,
    ]


def test_a_table_without_rows_is_its_heading() -> None:
    assert terminal.table([], ["id"], 80) == "id\n----"


@pytest.mark.parametrize("name", ["red\x1b[31m", "c1\x9b31m", "back\x08", "null\x00", "over\u202eride"])
def test_what_steers_a_terminal_is_replaced(name: str) -> None:
    (row,) = terminal.table([[name, "1"]], ["id", "n"]).splitlines()[2:]
    assert row.isprintable() and "\ufffd" in row


def test_a_cell_is_one_line() -> None:
    (row,) = terminal.table([["a\n\tb\r\u2028c"]], ["id"]).splitlines()[2:]
    assert row == "a b c"


def test_the_width_is_the_terminals_and_none_elsewhere(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "91")
    assert terminal.width() is None
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    assert terminal.width() == 91


def test_wider_terminals_never_need_more_lines() -> None:
    lines = [terminal.table(ROWS, HEAD, most, numbers=(0, 2, 3), kept=2).count("\n") for most in range(45, 100)]
    assert all(before >= after for before, after in pairwise(lines))
