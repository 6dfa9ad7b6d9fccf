"""The page and its figure: valid, self-contained, names as text, labels that do not cover each other."""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import re
from xml.etree import ElementTree

import pytest
from judged_runs import NAMES, cell, run, table, use

from robustradar.fidelity import Entries, Fidelity, fidelity
from robustradar.fidelity.figure import caption, panel
from robustradar.fidelity.page import files, page

UP = [0.1 * n for n in range(1, 13)]
HOSTILE = "</script><img src=x onerror=alert(1)>"


def made(metrics: int = 3, cost: float = 1000.0, sd: float = 0.08) -> Fidelity:
    """So many metrics with taus alike, at costs that double."""
    scores = [
        cell(c, f"m/{k}", f"{HOSTILE if not k else 'column'}_{k}", UP[i] + (k + i) % 2) for k in range(metrics) for i, c in enumerate(NAMES)
    ]
    uses = [use(c, f"m/{k}", [], 2**k if k else 0) | {"key": f"{c}{k}"} for k in range(metrics) for c in NAMES]
    columns = {"params": [str(value) for value in UP], "free": [str(-value) for value in UP]}
    return fidelity(table(UP, cost=cost, sd=sd, **columns), [run(scores, measurements=uses)], Entries(("free:lower",)))


def test_nothing_is_loaded_and_names_are_text() -> None:
    text = page(made())
    assert HOSTILE not in text
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;_0" in text
    policy = re.search(r'content="(default-src[^"]*)"', text)
    assert policy
    for kind in ("style", "script"):
        body = re.search(rf"<{kind}>(.*?)</{kind}>", text, re.S)
        assert body
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"sha256-{digest}" in policy[1].replace("&#43;", "+")
    assert not re.search(r"(src|href)=\"(?!#)", text)


def test_the_page_says_what_the_table_says() -> None:
    text = page(made())
    assert "<h1>Do the scores predict the truth?</h1>" in text
    assert "Noise ceiling: 0.9" in text
    assert text.count("<figure>") == 1
    assert "1 of 5 scores, whose cost is not known or that come after the first 30, are not shown." in text
    assert 'aria-labelledby="fidelity-tau-over-cost-title' in text
    without = page(fidelity(table(UP, s=[str(v) for v in UP]), entries=Entries(("s:higher",))))
    assert "No score has a known cost: there is no figure of τ over cost." in without


def test_intervals_stand_apart_from_the_numbers_so_that_they_can_stand_below() -> None:
    text = page(made())
    assert re.search(r'<td data-v="1.0">1.00 <span class="interval">\[1.00, 1.00\]</span></td>', text)
    assert "table[data-sort] .interval { display: block; }" in text
    assert '<span class="interval"></span>' not in text
    assert re.search(r"<td[^>]*>12</td>", text)


def test_files() -> None:
    assert list(files(made())) == ["fidelity.json", "fidelity.md", "fidelity.html", "tau-over-cost.svg"]
    assert list(files(fidelity(table(UP, s=[str(v) for v in UP]), entries=Entries(("s:higher",))))) == [
        "fidelity.json",
        "fidelity.md",
        "fidelity.html",
    ]


def test_every_mark_says_its_score_and_cost() -> None:
    drawn = panel(made())
    assert drawn
    root = ElementTree.fromstring(drawn.file())
    titles = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")][1:]
    assert len(titles) == 4
    assert titles[0] == "params: τ 1.00 [1.00, 1.00] at cost 0"
    assert any(re.fullmatch(r"column_2: τ 0\.\d\d \[-?\d\.\d\d, \d\.\d\d\] at cost 0.4 %", title or "") for title in titles)
    assert "cost, % of the truth's training (logarithmic away from 0)" in html.unescape(drawn.file())
    assert caption(made(1)).startswith("Hollow marks are trivial scores; lines are 95 % intervals.")


def test_without_the_truths_cost_passes_are_shown() -> None:
    drawn = panel(made(cost=float("nan")))
    assert drawn
    assert "passes a candidate (logarithmic away from 0)" in html.unescape(drawn.file())
    assert "at cost 4 passes" in drawn.file()


@pytest.mark.parametrize("metrics", [1, 12])
def test_labels_cover_neither_each_other_nor_marks(metrics: int) -> None:
    drawn = panel(made(metrics))
    assert drawn
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" font-size="11">([^<]*)</text>', drawn.file())
    labels = [(float(x), float(x) + 6.2 * len(html.unescape(words)), float(y)) for x, y, words in found if words != "noise ceiling"]
    assert len(labels) == metrics + 1
    for one, two in itertools.combinations(labels, 2):
        assert one[1] <= two[0] or two[1] <= one[0] or abs(one[2] - two[2]) >= 11
