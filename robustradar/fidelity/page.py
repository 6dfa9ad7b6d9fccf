"""A fidelity as one self-contained HTML file in the look of the report's."""

from __future__ import annotations

from markupsafe import Markup

from robustradar.fidelity import figure, form
from robustradar.fidelity.judgement import Fidelity, Judgement
from robustradar.report.grid import Cell, Grid, Head
from robustradar.report.page import parts, policy
from robustradar.report.svg import printable

NAME = "fidelity.html"
# The one figure has the page's width; intervals stand below their numbers, so that the verdict fits beside them.
_STYLE = (
    ".panels { grid-template-columns: minmax(0, 44rem); }\n.panels svg { max-width: 44rem; }\n"
    "table[data-sort] .interval { display: block; }\n"
)


def page(found: Fidelity) -> str:
    """The whole file. Nothing is loaded from elsewhere, and every name stays text."""
    environment, style, script = parts("fidelity")
    style += _STYLE
    drawn = figure.panel(found)
    made = environment.get_template("page.html").render(
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        found=found,
        subject=form.subject(found),
        remarks=form.remarks(found),
        main=main(found),
        figure=drawn.inline("fidelity") if drawn else None,
        caption=figure.caption(found),
        tables=[
            (
                "Against the trivial scores",
                form.difference_words(),
                _words("Differences", form.difference_heads(found), form.differences(found)),
            ),
            ("Choosing by a score", form.choice_words(), _words("Choices", form.choice_heads(), form.choices(found))),
        ],
    )
    return printable(made).strip() + "\n"


def files(found: Fidelity) -> dict[str, str]:
    """Every rendering by file name; the figure where there is one."""
    drawn = figure.panel(found)
    drawing = {f"{figure.NAME}.svg": drawn.file()} if drawn else {}
    return {"fidelity.json": form.as_json(found), "fidelity.md": form.markdown(found), NAME: page(found), **drawing}


def main(found: Fidelity) -> Grid:
    """The main table, the trivial scores shaded."""
    heads = [
        Head(title, "higher" if title.startswith("τ") else "lower" if title in ("regret", "cost") else "none")
        for title in form.heads(found)
    ]
    heads[0], heads[-1] = Head("score", words=True), Head("verdict", words=True)
    rows = tuple(_row(judgement, found) for judgement in found.judgements)
    marked = frozenset(place for place, judgement in enumerate(found.judgements) if judgement.trivial)
    return Grid("Scores, best first; trivial ones are shaded", tuple(heads), rows, 0, marked)


def _row(judgement: Judgement, found: Fidelity) -> tuple[Cell, ...]:
    """A score with what its cells are sorted by."""
    price = judgement.price
    spent = None if price is None else price.passes if price.share is None else price.share
    sorts = [judgement.candidates, *(judgement.slices[s].tau for s in found.slices), judgement.slices["all"].pool_regret, spent]
    words, *numbers, verdict = form.row(judgement, found)
    parted = (told.partition(" [") for told in numbers)
    cells = (Cell(point, sort, interval=opened.strip() + rest) for (point, opened, rest), sort in zip(parted, sorts, strict=True))
    return (Cell(words), *cells, Cell(verdict))


def _words(caption: str, heads: list[str], rows: list[list[str]]) -> Grid:
    """A table whose cells are ready to be shown."""
    told = tuple(Head(title, words=i < 2) for i, title in enumerate(heads))
    return Grid(caption, told, tuple(tuple(map(Cell, row)) for row in rows))
