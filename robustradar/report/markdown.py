"""The page in Markdown, for pull requests: the same answers in the same order, with tables in place of the figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tabulate import tabulate

from robustradar.report import account, comparison
from robustradar.report.document import Document
from robustradar.report.figure import figures
from robustradar.report.grid import Cell, Grid, Head
from robustradar.report.svg import printable
from robustradar.report.view import FORECASTS, View
from robustradar.values import counted

_ARROWS = {"higher": " ↑", "lower": " ↓", "none": ""}
_SIGNS = re.compile(r"([\\`*_\[\]<>|#~$&]|(?<=\w):(?=//)|(?<=www)\.)")
_BEGINNING = re.compile(r"^(\d*)([-+.)])(?=[\s-]|$)")  # of a list, or a rule


def markdown(documents: Sequence[Document], rows: int = 0) -> str:
    """The whole text. Every name stays text, and mentions nobody.

    Args:
        documents: At least one run.
        rows: Rows of a table at most; 0: all.
    """
    if len(documents) == 1:
        blocks = [_run(documents[0], "##", rows)]
        heads = [f"# Ranking: {escaped(documents[0].json['study']['name'])}"]
    else:
        heads = ["# Runs side by side", escaped(comparison.sentence(documents))]
        heads += [_table(comparison.runs(documents), 0), _table(comparison.candidates(documents), rows)]
        blocks = [
            [f"## {name}: {escaped(document.label)}", *_run(document, "###", rows)]
            for name, document in zip(comparison.names(documents), documents, strict=True)
        ]
    return printable("\n\n".join([*heads, *(block for run in blocks for block in run)])) + "\n"


def escaped(words: str) -> str:
    r"""Text that Markdown shows as it is, in one line: names come from strangers.

    >>> escaped("a|b <i> @you")
    'a\\|b \\<i\\> @\u200byou'
    """
    line = _BEGINNING.sub(r"\1\\\2", _SIGNS.sub(r"\\\1", " ".join(words.split())))
    # A space without width: a backslash does not keep a forge from telling people, or linking an issue.
    return re.sub(r"([@#])(?=\w)", "\\1\u200b", line)


def table(rows: Sequence[Sequence[object]], head: Sequence[str], *, numbers: Sequence[int] = ()) -> str:
    """A table, as `robustradar.report.terminal.table` draws one for a terminal.

    Args:
        rows: Their cells.
        head: The headings.
        numbers: Places of the columns that are numbers: on the right.
    """
    cells = [[escaped(str(cell)) for cell in row] for row in rows]
    sides = ["right" if place in numbers else "left" for place in range(len(head))] if numbers else None
    return tabulate(cells, [escaped(name) for name in head], tablefmt="github", disable_numparse=True, colalign=sides)


def console(command: str) -> str:
    """A command as it was typed, whatever it holds."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", command)), default=0))
    return f"{fence}console\n{command}\n{fence}"


def _run(document: Document, level: str, rows: int) -> list[str]:
    """One run's blocks: five sections."""
    view = View(document)
    made = (_which(view, rows), _why(view, level, rows), _cost(document, rows), _trust(view, rows), _repeat(document, rows))
    titles = ("Which to take, and how sure", "Why", "What it cost", "What not to trust", "How to repeat it")
    found = [view.introduction] if level == "##" else []
    return [*map(escaped, found), *(block for title, blocks in zip(titles, made, strict=True) for block in (f"{level} {title}", *blocks))]


def _which(view: View, rows: int) -> Iterator[str]:
    """The answer, and the table behind it."""
    yield view.lead(lambda name: f"**{escaped(name)}**")
    if view.doubts:
        yield _list(view.doubts)
    if view.claims:
        yield f"On samples that were used for no selection, {escaped(view.document.order[0])} has (intervals span the seeds' own):"
        yield _list(view.claims)
    yield _table(view.ranking, rows)
    yield escaped(f"{view.signs} Bold are those that cannot be told from the first. Letters are flags, explained below.")
    if view.agreement:
        yield escaped(view.agreement)
    if view.unranked:
        yield "Without a rank:"
        yield _list(f"{who}: {reason}" for reason, who in view.unranked)


def _why(view: View, level: str, rows: int) -> Iterator[str]:
    """The figures' numbers, then all numbers."""
    found = figures(view.document)
    if not found:
        yield "The run has no data for a figure."
    for figure in found:
        yield f"{level}# {escaped(figure.title)}"
        yield escaped(figure.caption)
        yield from (_table(grid, rows, captioned=len(figure.tables) > 1) for grid in figure.tables)
    yield _folded("All numbers", [_table(grid, rows, captioned=True) for grid in view.numbers])


def _cost(document: Document, rows: int) -> Iterator[str]:
    """What it took."""
    yield escaped(account.spent(document))
    yield _folded("Cost of each candidate", [_table(account.cost(document), rows)])
    each = (account.metrics(document), account.trainings(document))
    yield _folded("Cost of each training and measurement", [_table(grid, rows, captioned=True) for grid in each])


def _trust(view: View, rows: int) -> Iterator[str]:
    """Flags, cells without a number, confounders, what is known of the metrics, and plugins that were left out."""
    if view.flags:
        yield "Flags, and whose numbers have them:"
        yield "\n".join(f"- *{letter}*: {escaped(sentence)}. {escaped(where)}" for letter, sentence, where in view.flags)
    else:
        yield "No number has a flag."
    yield _table(view.broken, rows) if view.broken else "No cell failed or was skipped."
    sentence, columns = view.confounding
    yield escaped(sentence)
    if columns:
        yield _list(columns)
    if view.evidence:
        yield escaped(FORECASTS)
        yield _list(view.evidence)
    if left := view.document.json["provenance"]["broken_plugins"]:
        yield _list(f"Plugin {plugin} was left out: {reason}" for plugin, reason in left.items())


def _repeat(document: Document, rows: int) -> Iterator[str]:
    """The command, the facts and the keys."""
    if command := document.json["provenance"]["command"]:
        yield console(command)
    weights = [f"weights of {name}: SHA-256 {digest}" for name, digest in document.json["study"]["weights"].items()]
    yield _list([*(f"{name}: {text}" for name, text in account.facts(document)), *weights])
    if document.json["fits"]:
        yield _folded("Trained networks and their keys in the store", [_table(account.keys(document), rows)])


def _table(grid: Grid, rows: int, *, captioned: bool = False) -> str:
    """A table, of so many rows at most."""
    shown = grid.rows[:rows] if rows else grid.rows
    lines = [_line(map(_head, grid.heads)), _line("---" if head.words else "---:" for head in grid.heads)]
    lines += [
        _line(_cell(cell, bold=place in grid.marked and n == grid.named) for n, cell in enumerate(row)) for place, row in enumerate(shown)
    ]
    caption = [f"**{escaped(grid.caption)}**", ""] if captioned else []
    more = len(grid.rows) - len(shown)
    left = ["", f"{counted(more, 'more row')} {'is' if more == 1 else 'are'} left out."] if more else []
    return "\n".join([*caption, *lines, *left])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _head(head: Head) -> str:
    """A heading with its better direction, and whether it was ranked by."""
    return escaped(f"{head.title}{_ARROWS[head.direction]}{'*' * head.ranked}")


def _cell(cell: Cell, *, bold: bool) -> str:
    """A number with its interval and the letters of its flags."""
    words = f"**{escaped(cell.text)}**" if bold else escaped(cell.text)
    flags = f"*{', '.join(cell.flags)}*" if cell.flags else ""
    return " ".join(filter(None, [words, escaped(cell.interval), flags]))


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {escaped(item)}" for item in items)


def _folded(title: str, blocks: Sequence[str]) -> str:
    """What opens by a click where HTML is understood, and stands there where it is not."""
    return "\n\n".join([f"<details><summary>{title}</summary>", *blocks, "</details>"])
