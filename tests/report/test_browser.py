"""The page in a real browser: figures drawn, sorting and filter at work, nothing in the console, hostile names as text."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import recorded

from robustradar.report.document import Document
from robustradar.report.page import page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("needs Chromium (chromium, chromium-browser or google-chrome on the PATH)", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which drives Chromium")

HOSTILE = ("<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", '"><b>bold</b>')
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens a page of documents from disk; the test fails on any console message, error, dialog or request for anything else."""
    told: list[str] = []

    def open_(*documents: Document, width: int = 1280, **options: Any) -> Any:
        file = tmp_path / "report.html"
        file.write_text(page(documents), encoding="utf-8")
        tab = browser.new_context(viewport={"width": width, "height": 900}, **options).new_page()
        tab.on("console", lambda message: told.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: told.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: told.append(f"dialog: {dialog.message}"))
        tab.on("request", lambda request: told.append(f"request: {request.url}") if request.url != file.as_uri() else None)
        tab.goto(file.as_uri())
        return tab

    yield open_
    for context in browser.contexts:
        context.close()
    assert told == []


def many(count: int = 30) -> Document:
    return recorded.document(tuple(f"papers/cnn:width={n}" for n in range(count)))


def names(tab: Any) -> list[str]:
    """The candidates of the main table that are seen, from top to bottom."""
    found: list[str] = tab.locator("table[data-filter] tbody tr:visible th").all_inner_texts()
    return found


def test_every_figure_is_drawn(opened: Open) -> None:
    tab = opened(recorded.document())
    drawings = tab.locator("figure svg[role=img]")
    assert drawings.count() == 16
    for drawing in drawings.all():
        box = drawing.bounding_box()
        assert box["width"] > 250 and box["height"] > 120
        inside = drawing.evaluate(
            "svg => { const b = svg.getBBox(), v = svg.viewBox.baseVal; return [b.x, b.y, v.width - b.width - b.x, b.height] }"
        )
        assert inside[0] >= 0 and inside[1] >= 0 and inside[2] >= 0, "nothing is cut off"
        assert inside[3] > 100


def test_a_heading_sorts_and_says_so(opened: Open) -> None:
    tab = opened(recorded.document())
    first, second, failed = recorded.NAMES
    head = tab.locator("table[data-filter] thead th", has_text="clean accuracy")
    assert tab.locator("table[data-filter] [aria-sort]").inner_text().startswith("rank")
    head.get_by_role("button").click()
    assert (names(tab), head.get_attribute("aria-sort")) == ([first, second, failed], "descending")
    head.get_by_role("button").click()
    assert (names(tab), head.get_attribute("aria-sort")) == ([second, first, failed], "ascending"), "what failed stays last"
    assert tab.locator("table[data-filter] [aria-sort]").count() == 1


def test_words_sort_in_natural_order_and_by_the_keyboard(opened: Open) -> None:
    tab = opened(many())
    button = tab.locator("table[data-filter] thead th", has_text="candidate").get_by_role("button")
    button.focus()
    tab.keyboard.press("Enter")
    assert names(tab) == [f"papers/cnn:width={n}" for n in range(30)]
    tab.keyboard.press("Space")
    assert names(tab)[0] == "papers/cnn:width=29"


def test_the_filter_shows_rows_with_all_words(opened: Open) -> None:
    tab = opened(many())
    search = tab.get_by_label("Filter by text")
    search.fill("WIDTH=1 90.0")
    assert names(tab) == ["papers/cnn:width=10"]
    assert tab.locator("output").inner_text() == "1 of 30 rows"
    search.fill("no such")
    assert names(tab) == []
    search.fill("")
    assert len(names(tab)) == 30


def test_hostile_names_stay_text(opened: Open) -> None:
    tab = opened(recorded.document(HOSTILE), recorded.document(HOSTILE))
    assert tab.locator("h1").inner_text() == "Runs side by side"
    assert tab.locator("img, b").count() == 0
    assert [text.replace("\u200b", "") for text in names(tab)[:3]] == list(HOSTILE)


def test_the_heading_stays_while_the_rows_scroll(opened: Open) -> None:
    tab = opened(many(300))
    before = tab.locator("table[data-filter] thead th").first.bounding_box()["y"]
    tab.locator(".wide").first.evaluate("box => { box.scrollTop = 3000 }")
    top = tab.locator(".wide").first.bounding_box()["y"]
    after = tab.locator("table[data-filter] thead th").first.bounding_box()["y"]
    assert top <= after <= before


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_width_in_light_and_in_dark(opened: Open, width: int, scheme: str) -> None:
    tab = opened(recorded.document(), width=width, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    paper, ink = tab.evaluate("[getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]")
    assert (paper, ink) == {"light": ("rgb(255, 255, 255)", "rgb(27, 27, 27)"), "dark": ("rgb(21, 24, 28)", "rgb(232, 232, 232)")}[scheme]


def test_it_is_complete_without_scripts(opened: Open) -> None:
    tab = opened(recorded.document(), java_script_enabled=False)
    assert tab.locator("figure svg[role=img]").count() == 16
    assert tab.locator("section").first.locator("tbody tr").count() == 3
    assert tab.locator("button, input").count() == 0


def test_it_prints_without_what_only_a_screen_can_use(opened: Open) -> None:
    tab = opened(many(), width=760)
    tab.emulate_media(media="print")
    assert not tab.locator("nav").first.is_visible()
    assert not tab.locator(".filter").first.is_visible()
    box, table = (tab.locator(name).first.bounding_box() for name in (".wide", ".wide table"))
    assert box["height"] >= table["height"], "all rows are on paper"
    assert table["width"] <= 760


def test_a_screen_reader_gets_tables_figures_and_sections(opened: Open) -> None:
    tab = opened(recorded.document())
    assert tab.get_by_role("table", name="Candidates, best first").count() == 1
    assert tab.get_by_role("rowheader", name="papers/cnn").count() >= 1
    assert tab.get_by_role("img", name="Critical strength by transition/eps-star").count() == 1
    assert tab.get_by_role("region", name="What not to trust").count() == 1
    assert tab.get_by_role("navigation", name="Contents").count() == 1
