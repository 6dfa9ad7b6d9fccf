"""Every animal of the zoo is caught by the clause that is made for it, with the line that tells its author what to do."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from robustradar.conformance.inspection import Inspection, inspections

HERE = Path(__file__).parent
# kind name: clause: message, where ⋯ stands for what a library or the clock says
LINES = (HERE / "zoo.txt").read_text(encoding="utf-8").splitlines()
TAME = {"dataset absent", "attack declining"}


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def zoo() -> dict[str, Inspection]:
    return {str(found.subject).replace("zoo/", ""): found for found in inspections([str(HERE / "zoo.py")])}


@pytest.mark.parametrize("line", LINES, ids=lambda line: ":".join(line.split(":")[:2]))
def test_it_is_caught_with_its_message(line: str) -> None:
    animal, clause, message = line.split(": ", 2)
    found = zoo()[animal].verdict(clause)
    assert found.state == "broken", found
    pattern = re.escape(message).replace("⋯", ".*")
    assert re.fullmatch(pattern, found.text), found.text


def test_no_animal_is_without_its_line() -> None:
    assert set(zoo()) - {line.partition(":")[0] for line in LINES} == TAME
    assert len(LINES) >= 80


def test_what_declines_in_words_is_not_tried() -> None:
    for animal, message in {
        "attack declining": "declining: got 10 classes, expected two. Use another.",
        "dataset absent": "its data cannot be read here: zoo/absent: got no file, expected one. Give path=FILE.",
    }.items():
        inspection = zoo()[animal]
        verdicts = [inspection.verdict(clause) for clause in inspection.clauses]
        assert {(v.state, v.text) for v in verdicts[3:]} == {("not tried", message)}


def test_after_the_first_clause_the_others_of_the_kind_are_not_tried() -> None:
    inspection = zoo()["attack nothing"]
    verdict = inspection.verdict("keeps-the-ball")
    assert (verdict.state, verdict.text) == ("not tried", "returns-inputs comes first.")
    assert inspection.verdict("documented").state == "kept"


def test_nothing_of_the_zoo_leaks_out() -> None:
    assert torch.get_default_dtype() == torch.float32
