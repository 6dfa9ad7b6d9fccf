"""The page in Markdown: the same answers as the page, in the same order; and names stay text, by a Markdown parser's word."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Any

import pytest
import recorded
from markdown_it import MarkdownIt

from robustradar.report.document import Document
from robustradar.report.markdown import escaped, markdown
from robustradar.report.page import page
from robustradar_native.reporter import Html, Markdown

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
A, B, C = recorded.NAMES


class Seen(HTMLParser):
    """What a reader of the rendered text sees: texts by tag, and all tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.texts: dict[str, list[str]] = {}
        self.feed(PARSER.render(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        while self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data


def table(document: Document, head: str) -> list[str]:
    """The first table with this in its heading, without escapes."""
    lines = markdown([document]).replace("\\", "").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("|") and head in line)
    return [line for line in lines[start : start + 12] if line.startswith("|")]


def test_it_answers_in_this_order() -> None:
    seen = Seen(markdown([recorded.document()]))
    assert seen.texts["h1"] == ["Ranking: by hand"]
    assert seen.texts["h2"] == ["Which to take, and how sure", "Why", "What it cost", "What not to trust", "How to repeat it"]
    assert seen.texts["h3"] == [
        *("Strengths and weaknesses", "What robustness costs", "Critical attack strength", "Where the losses cross"),
        *("Ends of the Hessian's spectrum", "Density of the Hessian's spectrum", "The predicted price", "Training"),
    ]
    assert seen.texts["summary"] == [
        *("All numbers", "Cost of each candidate", "Cost of each training and measurement"),
        "Trained networks and their keys in the store",
    ]


def test_it_says_what_the_page_says() -> None:
    """Every cell and sentence of the page, but for what belongs to drawings and the screen, is in the text."""
    made = recorded.document()
    made.json["scores"][0]["details"] = {"held_out": {"value": 0.8, "low": 0.7, "high": 0.9, "n": 10}}
    made.json["study"]["weights"] = {A: "ab" * 32}
    made.json["provenance"]["broken_plugins"] = {"theirs": "ImportError: <no>"}
    told = " ".join(re.sub(r"</?[a-z].*?>|\s+", " ", PARSER.render(markdown([made]))).split())
    body = page([made]).partition("<main>")[2].partition("</main>")[0]
    body = re.sub(r"<nav.*?</nav>|<svg.*?</svg>|<figcaption>.*?</figcaption>|<caption>.*?</caption>", "", body, flags=re.DOTALL)
    for pattern in (
        r"<td[^>]*>(.*?)</td>",
        r"<th[^>]*scope=\"row\"[^>]*>(.*?)</th>",
        r"<p>(.*?)</p>",
        r"<li>(.*?)</li>",
        r"<dd>(.*?)</dd>",
    ):
        found = re.findall(pattern, body, flags=re.DOTALL)
        assert found
        for part in found:
            words = re.sub(r"<sup>.*?</sup>", "", part).replace("<wbr>", "")
            assert html.unescape(" ".join(re.sub(r"<[^>]+>", " ", words).split())).rstrip(".") in html.unescape(told), part


def test_the_main_table() -> None:
    assert table(recorded.document(), "95 % interval") == [
        "| rank | 95 % interval | candidate | clean accuracy % ↑* | toc hypervolume % ↑ | eps star (1/255) ↑ | delta influence ↓ "
        "| delta exact ↓ | parameters |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        f"| 1 | 1–2 | **{A}** | 90.0 [86.0, 94.0] *c* | 50 | 10.20 [7.65, 12.75] | 0.30 [0.20, 0.40] *a, b* | 0.25 | 1k |",
        f"| 2 | 1–2 | **{B}** | 85.0 [81.0, 89.0] *c* | 51 | 9.95 [7.65, ∞) | 0.30 [0.20, 0.40] *a, b* | 0.25 | 999 |",
        f"| – |  | {C} | failed | 52 | 9.69 [7.65, 12.75] | 0.30 [0.20, 0.40] *a, b* | 0.25 | 998 |",
    ]


def test_figures_are_told_as_tables() -> None:
    made = recorded.document()
    assert table(made, "clean accuracy, 0 to 1")[2:] == [
        f"| {A} | 1.00 | 0.00 | 1.00 |",
        f"| {B} | 0.00 | 0.50 | 0.50 |",
        f"| {C} | none | 1.00 | 0.00 |",
    ]
    assert table(made, "| adversarial loss")[2:5] == [
        f"| {A} | P1 | 0.2 [0.15, 0.25] | 1.6 [1.55, 1.65] |",
        f"| {A} | 2, dominated | 0.4 [0.35, 0.45] | 1.2 [1.15, 1.25] |",
        f"| {A} | P2 | 0.6 [0.55, 0.65] | 0.8 [0.75, 0.85] |",
    ]
    assert table(made, "its lower bound")[3] == f"| {B} | 9.95 [7.65, ∞) | 5.1 |"
    assert table(made, "loss by strength")[2] == (
        f"| {A} |  | 0: 0.1, 20.4: 0.5 | 0.3 | 10.20 [7.65, 12.75] | 5.10 [0.00, ∞) | fast, isotonic, measured |"
    )
    assert table(made, "evaluation loss |")[2] == f"| {A} | -0.2 to 30 | -0.2 to 30 |"
    assert table(made, "near 0 (%)")[2] == f"| {A} | 70.0 | 0.0 | 3.18 | -0.2 | 30 |"
    assert table(made, "bound by the spectra")[2] == f"| {A} | -0.5 to 12 | 0.30 [0.20, 0.40] | 0.25 |"
    assert table(made, "training loss there")[2] == f"| {A} | clean | 0 | 3 | 2 | 0.75 | 1 |"


def test_costs_of_trainings_and_metrics_are_tables() -> None:
    made = recorded.document()
    assert table(made, "| metric | measurements")[2:3] == ["| baselines/clean-accuracy | 3 | 3 | 300 | 0 | 3M | 1.5 |  |"]
    assert table(made, "| state | samples forward")[2:4] == [
        f"| {A} | clean | 0 | trained | 2k | 1k | 1G | 1.5 |  |",
        f"| {A} | adversarial, linf 8/255 | 0 | trained | 2k | 1k | 1G | 1.5 |  |",
    ]


def test_rows_beyond_the_most_are_left_out_and_counted() -> None:
    made = recorded.document(tuple(f"papers/cnn:width={n}" for n in range(300)))
    whole, short = markdown([made]), Markdown().render(made.result)
    assert whole.count("| papers/cnn:width=299 |") > 5
    assert short.count("| papers/cnn:width=299 |") == 0
    assert short.count("270 more rows are left out.") == 7
    assert len(short) < 65536 < len(whole), "it fits into a comment on GitHub"
    assert Markdown(rows=0).render(made.result) == whole


def test_several_runs_stand_side_by_side() -> None:
    other = recorded.document((B, A, "papers/new"))
    other.json["study"]["threat"]["eps"] = 0.1
    text = markdown([recorded.document(), Document(other.json, "results/<b>")])
    seen = Seen(text)
    assert seen.texts["h1"] == ["Runs side by side"]
    assert seen.texts["h2"] == ["A: by-hand", "B: results/<b>"]
    assert len(seen.texts["h3"]) == 10
    assert "The runs differ in threat: compare numbers with that in mind." in text
    assert "| **threat (differs)** | linf 8/255 in \\[0, 1\\] | linf 0.1 in \\[0, 1\\] |" in text
    assert f"| {A} | 1 \\[1, 2\\] | 2 \\[1, 2\\] | 90.0 \\[86.0, 94.0\\] | 85.0 \\[81.0, 89.0\\] |" in text


HOSTILE = (
    "<script>alert(1)</script> | <!-- ``` [x](http://e.vil) ![y](z)",
    "</details>\n\n# Title\n- @someone #1 www.e.vil https://e.vil $x$ ~~y~~ **z** __u__",
    "1. one &amp; <img src=x onerror=alert(1)>\\|`c`",
)


@pytest.mark.parametrize("others", [False, True])
def test_hostile_texts_stay_text_wherever_they_stand(others: bool) -> None:
    made = recorded.document(HOSTILE)
    made.json["study"] |= {"name": HOSTILE[1], "attack": HOSTILE[0], "ranker": HOSTILE[2]}
    made.json["provenance"]["command"] = f"```\n{HOSTILE[0]}"
    made.json["provenance"]["broken_plugins"] = {HOSTILE[1]: HOSTILE[2]}
    for row in made.json["scores"]:
        row["metric"] = f"{row['metric']}:{HOSTILE[0]}"
        row["flags"] = [HOSTILE[2]] if row["flags"] else []
        row["reason"] = HOSTILE[1] if row["reason"] else None
    text = markdown([made, Document(made.json, HOSTILE[0])] if others else [made])
    seen, plain = Seen(text), Seen(markdown([recorded.document()]))
    assert seen.tags <= plain.tags | {"h4"}, "no tag of their own"
    assert not seen.tags & {"a", "img", "script", "s"}
    assert "Title" not in seen.texts["h1"]
    cells = {" ".join(cell.replace("\u200b", "").split()) for cell in seen.texts["td"]}
    assert {" ".join(name.split()) for name in HOSTILE} <= cells
    assert not re.search(r"[@#]\w", text.replace("```", "").partition("## How to repeat it")[0]), "nobody is told, no issue linked"
    rows = [line.replace("\\\\", "").replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    for line, before in zip(rows[1:], rows, strict=False):
        assert not re.fullmatch(r"[|: -]+", line) or line.count("|") == before.count("|")


@pytest.mark.parametrize(
    "words", ["- x", "+ x", "1. x", "12) x", "---", "# x", "> x", "* x", "~~~", "&lt;", "a\u0000b", "_x_", "$x$", "a\\", "-0.5", "3.14"]
)
def test_a_text_is_shown_as_it_is(words: str) -> None:
    for before in ("", "- "):
        seen = Seen(before + escaped(words))
        assert seen.texts["p" if not before else "li"] == [words.replace("\u0000", "\ufffd")]
        assert seen.tags <= {"p", "ul", "li"}


def test_numbers_need_no_escape() -> None:
    assert [escaped(words) for words in ("-0.5", "3.14", "1–2", "90.0")] == ["-0.5", "3.14", "1–2", "90.0"]


def test_a_run_without_blemish_or_figure_says_so() -> None:
    made = recorded.document((A, B))
    made.json["scores"] = [row | {"flags": [], "details": {}} for row in made.json["scores"] if row["column"] == "clean_accuracy"]
    made.json["fits"], made.json["provenance"]["command"] = [], ""
    text = markdown([made])
    for sentence in ("No number has a flag.", "No cell failed or was skipped.", "The run has no data for a figure."):
        assert f"\n{sentence}\n" in text
    assert "```" not in text and "keys in the store" not in text and "\n\n\n" not in text


def test_the_reporter_renders_the_results_own_json() -> None:
    made = recorded.document()
    assert Markdown().render(made.result) == markdown([Document(made.json)], 30)
    assert Markdown().filename == "ranking.md"
    runs: Any = [("by-hand", made.result), ("by-hand", made.result)]
    assert Markdown().compare(runs) == markdown([made, made], 30)
    assert Html().compare(runs) == page([made, made])
