"""The page: what it says in which order, that it stands alone, and that names stay text."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import recorded

from robustradar import Column, Measured, Result, Score
from robustradar.report.account import trainings
from robustradar.report.document import Document, read
from robustradar.report.markdown import escaped, markdown
from robustradar.report.page import page
from robustradar.report.view import View
from robustradar_native.reporter import Html

VOID = {"meta", "wbr"}


class Tree(HTMLParser):
    """Elements with their attributes, the texts of some, and whether every one is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data


def said(document: Document, tag: str = "body") -> str:
    """A page's text, white space as single spaces."""
    return " ".join(" ".join(Tree(page([document])).texts[tag]).split())


def changed(**changes: Any) -> Document:
    return recorded.document(**changes)


def ranking(*rows: tuple[int, int, int, str]) -> list[dict[str, Any]]:
    return [{"rank": r, "rank_low": low, "rank_high": high, "candidate": c, "score": float(r)} for r, low, high, c in rows]


A, B, C = recorded.NAMES


def test_it_answers_in_this_order() -> None:
    tree = Tree(page([recorded.document()]))
    assert tree.texts["h1"] == ["Ranking: by hand"]
    assert tree.texts["h2"] == ["Which to take, and how sure", "Why", "What it cost", "What not to trust", "How to repeat it"]
    assert tree.texts["title"][0] == "Ranking: by hand – RobustRadar"
    text = said(recorded.document())
    assert "3 candidates on native/digits (100 train, 20 evaluation, 10 final samples), threat linf 8/255 in [0, 1]" in text


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (
            ranking((1, 1, 2, A), (2, 1, 2, B)),
            f"{A} is first. These cannot be told from it, since their 95 % rank intervals reach 1: {B}.",
        ),
        (ranking((1, 1, 1, A), (2, 2, 3, B)), f"Take {A}: no other candidate's 95 % rank interval reaches 1."),
        (ranking((1, 1, 2, A), (1, 1, 2, B)), f"{A}, {B} share rank 1."),
        (
            ranking((1, 1, 1, A), (2, 2, 2, B)),
            f"{A} is first. No rank has an interval here; by the 95 % intervals of the columns that decided "
            f"these are not plainly behind it: {B}.",
        ),
        (ranking((1, 1, 1, A)), f"{A} is the only candidate with a rank: there is nothing to choose between."),
        ([], "Nothing could be ranked."),
    ],
)
def test_the_verdict(rows: list[dict[str, Any]], verdict: str) -> None:
    assert f"Which to take, and how sure {verdict} " in said(changed(ranking=rows))


def test_an_answer_that_rests_on_a_failed_attack_is_doubted() -> None:
    document = changed(ranking=ranking((1, 1, 1, A), (2, 2, 3, B)))
    for row in document.json["scores"]:
        if row["column"] in document.json["ranked_by"] and row["state"] == "measured":
            row["flags"] = ["zero-gradients:100%"]
    doubt = f"Doubt {A}: by its flags (zero-gradients:100%) the attack failed on it, which looks just like robustness."
    assert f"{A} is first: no other candidate's 95 % rank interval reaches 1. {doubt} " in said(document)
    assert f"- {escaped(doubt)}" in markdown([document])


@pytest.mark.parametrize(
    ("accuracy", "loss", "told"),
    [
        ((0.4, 0.6), (0.3, 0.4), "Take"),  # behind in accuracy, level in loss
        ((0.4, 0.6), (0.1, 0.15), "not plainly behind it"),  # behind in one, ahead in the other
        ((0.8, 0.9), (0.2, 0.5), "not plainly behind it"),  # level in both
    ],
)
def test_ranks_without_intervals_leave_it_to_the_columns(accuracy: tuple[float, float], loss: tuple[float, float], told: str) -> None:
    made = changed(ranking=ranking((1, 1, 1, A), (2, 2, 2, B)), ranked_by=["clean_accuracy", "delta_influence"])
    for row in made.json["scores"]:
        ends = {"clean_accuracy": accuracy, "delta_influence": loss}.get(row["column"])
        if ends and row["candidate"] == B:
            row |= {"value": sum(ends) / 2, "low": ends[0], "high": ends[1]}
    sentences = {
        "Take": f"Take {A}: no rank has an interval here, but by the 95 % intervals of the columns that decided every other candidate is "
        "behind it in at least one and ahead in none.",
        "not plainly behind it": f"the columns that decided these are not plainly behind it: {B}.",
    }
    assert sentences[told] in said(made)


@pytest.mark.parametrize(("side", "told"), [("low", "not plainly behind it"), ("high", "Take")])
def test_a_bound_is_open_where_columns_tell_who_is_behind(side: str, told: str) -> None:
    made = changed(ranking=ranking((1, 1, 1, A), (2, 2, 2, B)), ranked_by=["clean_accuracy"])
    for row in made.json["scores"]:
        if row["column"] == "clean_accuracy" and row["candidate"] == B:
            row |= {"value": 0.4, "low": None, "high": None, side: 0.4}
    assert told in said(made)


def test_the_table_shows_ties_intervals_bounds_and_states() -> None:
    view = View(changed(ranking=ranking((1, 1, 2, A), (1, 1, 2, B))))
    rows = [[cell.text for cell in row[:4]] for row in view.ranking.rows]
    assert rows == [["1=", "1–2", A, "90.0"], ["1=", "1–2", B, "85.0"], ["–", "", C, "failed"]]
    strengths = [row[5] for row in view.ranking.rows]
    assert [(cell.text, cell.interval) for cell in strengths] == [
        ("10.20", "[7.65, 12.75]"),
        ("9.95", "[7.65, ∞)"),
        ("9.69", "[7.65, 12.75]"),
    ]
    assert view.ranking.marked == {0, 1}
    bound = changed()
    for row in bound.json["scores"]:
        if row["column"] == "eps_star":
            row |= {"value": 0.04, "low": 0.04, "high": None}
    assert [row[5].text for row in View(bound).ranking.rows] == ["≥ 10.20"] * 3


def test_tables_are_tables() -> None:
    tree = Tree(page([recorded.document()]))
    tables = [attributes for tag, attributes in tree.elements if tag == "table"]
    assert (
        len(tables)
        == len(tree.texts["caption"])
        == len([t for t, a in tree.elements if a.get("role") == "region" and a["tabindex"] == "0"])
    )
    assert all(a["scope"] in ("col", "row") for tag, a in tree.elements if tag == "th")
    sorted_by = [a for _, a in tree.elements if "aria-sort" in a]
    assert [a["aria-sort"] for a in sorted_by] == ["ascending"]
    heads = [" ".join(text.split()) for text in tree.texts["th"]]
    assert "clean accuracy % ↑ (higher is better)* (ranked by)" in heads
    ids = [a["id"] for _, a in tree.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = {str(a["href"]) for tag, a in tree.elements if tag == "a"}
    assert {link.removeprefix("#") for link in links} <= set(ids)
    for _, attributes in tree.elements:
        assert set((attributes.get("aria-labelledby") or "").split()) <= set(ids)
    drawn = [a for tag, a in tree.elements if tag == "svg"]
    assert all(a.get("role") == "img" or a.get("aria-hidden") == "true" for a in drawn)


def test_what_not_to_trust() -> None:
    text = said(recorded.document())
    assert "a damping-raised:0.3: the training Hessian has negative eigenvalues, so" in text
    assert f"b my-own. delta influence of {A}, {B}, {C}" in text
    assert f"failed training: diverged {C} clean accuracy 1" in text
    assert f"Without a rank: {C}: clean_accuracy failed: training: diverged" in text
    assert "With fewer than five ranked candidates it is not tested" in text


def test_a_run_without_blemish_says_so() -> None:
    made = recorded.document((A, B))
    for row in made.json["scores"]:
        row["flags"] = []
    text = said(made)
    assert "No number has a flag. No cell failed or was skipped." in text


def test_a_ranking_that_is_the_order_by_size_is_told() -> None:
    names = tuple(f"papers/cnn:width={n}" for n in range(8))
    told = "The ranking is mostly the order by these columns, which are no merit; what it says beyond them is little: parameters"
    assert f"{told}: Kendall's τ 1.00 over 7 candidates" in said(recorded.document(names))
    made = recorded.document(names)
    for row in made.json["scores"]:
        if row["column"] == "parameters":
            row["value"] = 5.0 + (int(row["value"]) * 5) % 7
    assert "No column that is no merit, such as a size, orders the candidates as the ranking does" in said(made)


def test_how_the_ranking_agrees_with_merits_that_it_was_not_made_of_is_told() -> None:
    made = recorded.document(tuple(f"papers/cnn:width={n}" for n in range(8)))
    places = {row["candidate"]: row["rank"] for row in made.json["ranking"]}
    for row in made.json["scores"]:
        if row["column"] == "delta_exact" and row["candidate"] in places:  # less is better, and least at rank 1
            row.update(value=float(places[row["candidate"]]), low=None, high=None)
    told = "toc hypervolume, Kendall's τ -1.00 over 7 candidates; eps star, Kendall's τ 1.00 over 7 candidates"
    wanted = f"How the ranking agrees with what it was not made of: {told}; delta exact, Kendall's τ 1.00 over 7 candidates."
    assert wanted in said(made)
    assert "not made of" not in said(recorded.document((A, B)))


def test_what_is_known_of_the_metrics_is_told_and_what_is_not() -> None:
    text = said(recorded.document())
    assert "What is known of these metrics as forecasts of robustness after adversarial training" in text
    assert "baselines/clean-accuracy: τ .79 on others' networks. " in text
    assert "tradeoff/toc, transition/eps-star, tradeoff/delta: nothing is known. " in text
    assert "tradeoff/influence: no use was found. " in text
    assert "baselines/parameters:" not in text, "a metric that has no direction predicts nothing"


def test_broken_plugins_are_told() -> None:
    made = recorded.document()
    made.json["provenance"]["broken_plugins"] = {"theirs": "ImportError: <no>"}
    assert "Plugin theirs was left out: ImportError: <no>" in said(made)


def test_what_it_cost_and_how_to_repeat_it() -> None:
    made = recorded.document()
    made.json["fits"][0]["cost"]["memory"] = 2 * 10**9
    made.json["study"]["weights"] = {A: "ab" * 32}
    made.json["provenance"]["git"] = {"commit": "c" * 40, "clean": False}
    text = said(made)
    assert (
        "6 networks were trained in 9.0 s (0 of them taken from the store), and 3 measurements made in 1.5 s (3 from the store): "
        "12.3k samples forward, 6k backward, 6G floating-point operations. What was taken from the store is counted with what it cost when "
        "it was made. The most memory in use on the accelerator was 2GB."
    ) in text
    assert "robustradar rank 'by hand'" in said(made, "pre")
    for fact in (f"data fingerprint {recorded.KEY.format(1)}", "versions robustradar 0.1.0, torch 2.9.0", f"weights of {A} SHA-256 abab"):
        assert fact in text
    assert f"git {'c' * 40}, with changes that are not committed" in text
    assert f"adversarial, linf 8/255 0 trained 3 2 {recorded.KEY.format(1)}" in text


def test_what_each_training_and_each_metric_cost() -> None:
    made = recorded.document()
    fits, uses = made.json["fits"], made.json["measurements"]
    fits[1] |= {"cached": True, "seconds": 90.0, "cost": {"forward": 12_000, "backward": 11_000, "flops": 10**12, "memory": 2 * 10**9}}
    uses[0]["cost"]["memory"], uses[1]["cached"] = 10**6, False
    text = said(made)
    costs = "samples forward samples backward FLOPs seconds peak memory"
    assert "Cost of each training and measurement Cost of each metric " in text
    assert f"metric measurements from the store {costs} baselines/clean-accuracy 3 2 300 0 3M 1.5 1MB " in text
    dearest = f"{A} adversarial, linf 8/255 0 from the store 12k 11k 1T 90 2GB {A} clean 0 trained 2k 1k 1G 1.5 {B} clean 0 trained 2k 1k"
    assert f"Cost of each training, most FLOPs first candidate objective seed state {costs} {dearest}" in text


def test_of_thousands_of_trainings_the_page_shows_the_dearest() -> None:
    made = recorded.document()
    made.json["fits"] = [fit | {"cost": fit["cost"] | {"flops": n}} for n, fit in enumerate(made.json["fits"] * 60)]
    grid = trainings(made, 300)
    assert grid.caption == "Cost of each training, most FLOPs first (60 more are in scores.json)"
    assert [row[6].sort for row in grid.rows] == list(range(359, 59, -1))
    assert grid.caption in page([made])
    assert len(trainings(made).rows) == 360


def test_the_held_out_claim_is_of_the_first() -> None:
    made = recorded.document()
    made.json["scores"][0]["details"] = {"held_out": {"value": 0.8, "low": 0.7, "high": 0.9, "n": 10}}
    claim = "clean accuracy: 80.0 % [70.0, 90.0], n = 10"
    assert f"On samples that were used for no selection, {A} has (intervals span the seeds' own): {claim}" in said(made)


def test_nothing_is_loaded_and_only_its_own_script_may_run() -> None:
    text = page([recorded.document()])
    tree = Tree(text)
    assert not [a for _, a in tree.elements if {"src", "srcset", "style", "action", "ping"} & set(a)]
    assert not [a for tag, a in tree.elements if tag in ("link", "iframe", "object", "embed", "base", "form", "img", "image", "use")]
    assert "url(" not in text and "@import" not in text and "http:" not in text and "https:" not in text
    policy = next(str(a["content"]) for _, a in tree.elements if a.get("http-equiv") == "Content-Security-Policy")
    for kind, tag in (("style-src", "style"), ("script-src", "script")):
        (inside,) = tree.texts[tag]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


HOSTILE = (
    "<script>alert(1)</script>",
    "</title></style></script><svg onload=alert(1)>",
    "\"'><img src=x onerror=alert(1)>{{ 7*7 }}{% raw %}",
)


def test_hostile_texts_stay_text_wherever_they_stand() -> None:
    made = recorded.document(HOSTILE)
    made.json["study"] |= {"name": HOSTILE[0], "attack": HOSTILE[1], "ranker": HOSTILE[2]}
    made.json["provenance"]["command"] = HOSTILE[1]
    made.json["evidence"] = {f"tradeoff/influence:{HOSTILE[2]}": HOSTILE[0]}
    for row in made.json["scores"]:
        row["metric"] = f"{row['metric']}:{HOSTILE[2]}"
        row["flags"] = [HOSTILE[0]] if row["flags"] else []
        row["reason"] = HOSTILE[1] if row["reason"] else None
    text = page([made])
    tree = Tree(text)
    assert not [a for _, a in tree.elements if any(name.startswith("on") for name in a)]
    assert [tag for tag, _ in tree.elements if tag in ("script", "style", "img")] == ["style", "script"]
    assert html.escape(HOSTILE[0], quote=False) in text
    assert "49" not in tree.texts["h1"][0]


def test_what_utf8_cannot_hold_is_replaced() -> None:
    text = page([recorded.document(("a\ud800b", "c\x00d", "e"))])
    text.encode("utf-8")
    assert "a\ufffdb" in text


def test_the_page_is_a_pure_function_of_its_documents() -> None:
    made = recorded.document()
    before = json.dumps(made.json)
    assert page([made]) == page([recorded.document()])
    assert json.dumps(made.json) == before


def test_the_reporter_renders_the_results_own_json(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Result, "json", lambda _: recorded.document().json)
    assert Html().render(result) == page([recorded.document()])
    assert Html().filename == "report.html"


def test_several_runs_stand_side_by_side() -> None:
    first, second = recorded.document(), recorded.document((B, A, "papers/new"))
    second.json["study"]["threat"]["eps"] = 0.1
    text = page([first, Document(second.json, "results/<b>")])
    tree = Tree(text)
    assert tree.texts["h1"] == ["Runs side by side"]
    assert tree.texts["h2"] == ["Side by side", "A: by-hand", "B: results/<b>"]
    assert len(tree.texts["h3"]) == 10
    words = " ".join(" ".join(tree.texts["body"]).split())
    assert "The runs differ in threat: compare numbers with that in mind." in words
    assert "threat (differs) linf 8/255 in [0, 1] linf 0.1 in [0, 1]" in words
    assert f"{A} 1 [1, 2] 2 [1, 2] 90.0 [86.0, 94.0] 85.0 [81.0, 89.0]" in words
    assert "papers/new – – – failed" in words
    ids = [a["id"] for _, a in tree.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_runs_of_one_protocol_are_of_one_kind() -> None:
    assert "The runs have the same protocol: their numbers are of one kind." in page([recorded.document(), recorded.document()])


def test_three_hundred_candidates_make_a_page_that_opens() -> None:
    text = page([recorded.document(tuple(f"papers/cnn:width={n}" for n in range(300)))])
    assert len(text) < 2_000_000
    assert text.count('<th scope="row"') > 300
    assert "The first 7 of 300 candidates are shown." in text


def test_cells_are_read_back_as_they_were_written() -> None:
    score = Score("a", "m", Column("c", "higher", "1"), Measured(1.0, 0.5, None, ("f",), {"x": [1]}))
    made = recorded.document()
    made.json["scores"] = [json.loads(json.dumps(score.json()))]
    assert made.scores == (score,)


def test_made_documents_are_valid(tmp_path: Path) -> None:
    for made in (recorded.document(), recorded.document(HOSTILE)):
        (tmp_path / "scores.json").write_text(json.dumps(made.json))
        assert read(str(tmp_path), "RUN").json == made.json


@pytest.mark.parametrize("options", [["--figures"], ["--reporter", "html", "--reporter", "markdown", "--reporter", "csv"]])
def test_reports_need_no_torch(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "scores.json").write_text(json.dumps(recorded.document().json))
    program = (
        "import sys\nfrom robustradar.cli import app\n"
        f"app({['report', str(tmp_path), *options]}, standalone_mode=False)\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert re.search(r"^Written: \S+/report.html, ", done.stdout)
    assert (tmp_path / "report.html").read_text() == page([recorded.document()])
