"""The truth table: candidates and how robust they were after full adversarial training, as CSV."""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from robustradar.errors import UsageError, unknown
from robustradar.fidelity.statistic import FEWEST, Floats

_SLOT = re.compile(r"{([^{}]*)}")


@dataclass(frozen=True)
class Reading:
    """How a table is read, and which of its candidates are taken.

    Attributes:
        candidate: A template over the table's columns: ``papers/nasbench201:cell={arch}``.
        truth: The column of the truth, of which more is better.
        sd: The truth's own standard deviation; None: the column ``sd``, where there is one.
        cost: Samples that the truth's training passed forward and backward; None: the column ``cost``, where there is one.
        part: (k, n): the k-th of n parts, by a hash of the candidate's name; None: all.
        sample: How many candidates to take, evenly spaced in the truth's order; None: all.
        seed: Of the sample's offset.
        spent: What columns of the table took, as it is typed: ``a+b=N``, samples passed that gave both columns at once.
    """

    candidate: str = "{candidate}"
    truth: str = "truth"
    sd: float | None = None
    cost: float | None = None
    part: tuple[int, int] | None = None
    sample: int | None = None
    seed: int = 0
    spent: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Truth:
    """A table's candidates with a truth. Arrays have one entry a candidate.

    Attributes:
        file: Where it was read.
        reading: How.
        candidates: Their names.
        values: The truth.
        sd: Its own standard deviation, nan where it is not known.
        cost: Passes of its training, nan where they are not known.
        flops: Floating-point operations of its training, by the column ``cost_flops``.
        columns: The table's texts by column.
        lines: Where each candidate stands in the file.
        untold: How many rows have no truth.
        spent: By column what it took: a key, that of columns which came at once, and the samples passed.
    """

    file: str
    reading: Reading
    candidates: tuple[str, ...]
    values: Floats
    sd: Floats
    cost: Floats
    flops: Floats
    columns: Mapping[str, tuple[str, ...]]
    lines: tuple[int, ...]
    untold: int
    spent: Mapping[str, tuple[str, int]]

    def numbers(self, column: str) -> Floats:
        """A column's numbers, nan where its text is empty.

        Raises:
            UsageError: A text is no number.
        """
        return np.array([_number(text, self.file, n, column) for n, text in zip(self.lines, self.columns[column], strict=True)])

    def taken(self, places: Sequence[int]) -> Truth:
        """Some of the candidates."""
        index = np.asarray(places, dtype=np.intp)
        arrays = {name: getattr(self, name)[index] for name in ("values", "sd", "cost", "flops")}
        texts = {name: tuple(found[i] for i in places) for name, found in self.columns.items()}
        names, lines = (tuple(found[i] for i in places) for found in (self.candidates, self.lines))
        return replace(self, candidates=names, lines=lines, columns=texts, **arrays)  # type: ignore[arg-type]


def read(file: Path, how: Reading) -> Truth:
    """A table's candidates: those with a truth, then of these the part, then of this the sample.

    Raises:
        UsageError: The file is not there or no table, lacks a column, holds a candidate twice or a truth that is no number, or leaves
            fewer than five candidates or truths that are all alike.
    """
    header, rows = _table(file)
    name = str(file)
    slots = _SLOT.findall(how.candidate)
    if set(_SLOT.sub("", how.candidate)) & set("{}"):
        raise UsageError(f"--candidate: got {how.candidate!r}, expected every brace to enclose a column, such as {{arch}}.")
    for option, wanted in [("--truth-column", how.truth), *(("--candidate", slot) for slot in slots)]:
        if wanted not in header:
            raise UsageError(unknown(f"{option}, in {name}", wanted, header))
    place = {column: i for i, column in enumerate(header)}
    named = [(n, _SLOT.sub(lambda slot, row=row: row[place[slot[1]]], how.candidate), row) for n, row in rows]  # type: ignore[misc]
    _check_once(name, named)
    told = [(n, candidate, row) for n, candidate, row in named if row[place[how.truth]].strip()]
    columns = {column: tuple(row[i] for _, _, row in told) for column, i in place.items()}
    lines, candidates = tuple(n for n, _, _ in told), tuple(candidate for _, candidate, _ in told)
    nothing = np.full(len(told), math.nan)
    spent = _spent(how.spent, name, header)
    bare = Truth(name, how, candidates, nothing, nothing, nothing, nothing, columns, lines, len(rows) - len(told), spent)

    def given(constant: float | None, column: str) -> Floats:
        if constant is not None:
            return np.full(len(told), constant)
        found = bare.numbers(column) if column in place else nothing.copy()
        for n, value in zip(lines, found, strict=True):
            if value < 0:
                raise UsageError(f"{name}:{n}: {column}: got {value:g}, expected at least 0, or nothing where it is not known.")
        return found

    truth = replace(
        bare, values=bare.numbers(how.truth), sd=given(how.sd, "sd"), cost=given(how.cost, "cost"), flops=given(None, "cost_flops")
    )
    return _checked(_sampled(_part(truth, how.part), how))


def _table(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and every row with its line; empty lines are no rows.

    Raises:
        UsageError: It cannot be read, or is no table.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or ("no text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error))
        raise UsageError(f"--truth: got {str(file)!r}, which cannot be read ({reason}), expected a CSV file. Check the path.") from None
    if not rows:
        raise UsageError(f"--truth: got {str(file)!r}, which is empty, expected a first line that names the columns.")
    header = [name.strip() for name in rows[0][1]]
    for name in header:
        if header.count(name) > 1:
            raise UsageError(f"{file}:1: got the column {name!r} twice, expected it once. Rename one.")
    for n, row in rows[1:]:
        if len(row) != len(header):
            raise UsageError(f"{file}:{n}: got {len(row)} fields, expected {len(header)}, as the first line has.")
    return header, rows[1:]


def _spent(typed: Sequence[str], file: str, header: Sequence[str]) -> dict[str, tuple[str, int]]:
    """What columns of the table took.

    Raises:
        UsageError: It is not of the form COLUMN=N, or names no column or one twice.
    """
    found: dict[str, tuple[str, int]] = {}
    for text in typed:
        columns, _, passes = text.rpartition("=")
        if not columns or not passes.strip().isdecimal():
            raise UsageError(f"--score-cost: got {text!r}, expected COLUMN=N or COLUMN+COLUMN=N, such as accuracy=20000000.")
        for column in map(str.strip, columns.split("+")):
            if column not in header:
                raise UsageError(unknown(f"--score-cost, in {file}", column, header))
            if column in found:
                raise UsageError(f"--score-cost: got {column!r} twice, expected each column once.")
            found[column] = columns, int(passes)
    return found


def _check_once(file: str, named: Sequence[tuple[int, str, list[str]]]) -> None:
    """Refuses a candidate that stands twice."""
    seen: dict[str, int] = {}
    for n, candidate, _ in named:
        if candidate in seen:
            raise UsageError(
                f"{file}:{n}: got the candidate {candidate!r} of line {seen[candidate]} again, expected it once. "
                "Name its row's own column in --candidate, or take one row out."
            )
        seen[candidate] = n


def _number(text: str, file: str, line: int, column: str) -> float:
    """A cell's number; nan where it is empty."""
    try:
        value = float(text) if text.strip() else math.nan
    except ValueError:
        value = math.inf
    if math.isinf(value) or (math.isnan(value) and text.strip()):
        raise UsageError(f"{file}:{line}: {column}: got {text!r}, expected a number, or nothing where it is not known.")
    return value


def _part(truth: Truth, part: tuple[int, int] | None) -> Truth:
    """The candidates of one part: which part a candidate falls into depends on its name alone."""
    if part is None:
        return truth
    k, n = part
    return truth.taken([i for i, name in enumerate(truth.candidates) if _hash(name) % n == k - 1])


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def part(text: str) -> tuple[int, int]:
    """A part as it is typed.

    >>> part("1/2")
    (1, 2)

    Raises:
        UsageError: It is not of the form K/N.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--part: got {text!r}, expected K/N with 1 <= K <= N, such as 1/2.")
    return int(found[1]), int(found[2])


def _sampled(truth: Truth, how: Reading) -> Truth:
    """Candidates evenly spaced in the truth's order, from an offset by the seed."""
    size, n = how.sample, len(truth.candidates)
    if size is None or size >= n:
        return replace(truth, reading=replace(how, sample=None))
    order = sorted(range(n), key=lambda i: (truth.values[i], truth.candidates[i]))
    offset = float(np.random.default_rng(how.seed).random())
    return truth.taken(sorted(order[place] for place in _spaced(n, size, offset)))


def _spaced(n: int, size: int, offset: float) -> Iterator[int]:
    """Places 0 to n - 1, one in each of `size` equal stretches.

    >>> list(_spaced(10, 5, 0.5))
    [1, 3, 5, 7, 9]
    """
    return (int((i + offset) * n / size) for i in range(size))


def _checked(truth: Truth) -> Truth:
    """The truth, if there is an order to predict.

    Raises:
        UsageError: There are too few candidates, or they are all alike.
    """
    n = len(truth.candidates)
    if n < FEWEST:
        what = f"{n} candidate{'s' * (n != 1)} with a truth"
        raise UsageError(f"{truth.file}: got {what}, expected at least {FEWEST}. A correlation over fewer says nothing.")
    if np.all(truth.values == truth.values[0]):
        column = truth.reading.truth
        raise UsageError(
            f"{truth.file}: {column}: got {truth.values[0]:g} for all {n} candidates, expected a spread: there is no order to predict."
        )
    return truth
