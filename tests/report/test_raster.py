"""Figures as images: their size, their ground, their words, and what is told where the extra is not installed."""

from __future__ import annotations

import io
from importlib.util import find_spec as found_spec
from typing import Any

import numpy as np
import pytest
import recorded

from robustradar import UsageError
from robustradar.report import raster
from robustradar.report.page import drawings
from robustradar.report.svg import element, text

image = pytest.importorskip("PIL.Image", reason="needs Pillow, which reads the images")
pytest.importorskip("resvg_py", reason="needs the extra png")


def pixels(svg: str) -> Any:
    """[height, width, 3], in 0 to 255."""
    return np.asarray(image.open(io.BytesIO(raster.png(svg))).convert("RGB"))


def drawn(words: str, **attributes: Any) -> str:
    look = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": "0 0 100 20", "width": 100, "height": 20, "font_family": "sans-serif"}
    return str(element("svg", text(2, 15, words, font_size=12, **attributes), **look))


def test_an_image_is_twice_the_drawing_on_white() -> None:
    svg = drawings(recorded.document())["training-1-clean.svg"]
    width, height = (float(svg.partition(f' {side}="')[2].partition('"')[0]) for side in ("width", "height"))
    found = pixels(svg)
    assert found.shape == (round(2 * height), 2 * round(width), 3)
    assert (found[0, 0] == 255).all() and (found[-1, -1] == 255).all()
    blue = (found == (0x00, 0x72, 0xB2)).all(axis=2)
    assert blue.sum() > 500, "the first series is drawn in its colour"


@pytest.mark.parametrize("words", ["candidate", "ε*", "λ max", "−∞ ≥ ≤ τ ξ μ", "(1/255)"])
def test_words_are_there_without_the_machines_fonts(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import resvg_py

    draw = resvg_py.svg_to_bytes
    monkeypatch.setattr(resvg_py, "svg_to_bytes", lambda **options: draw(**options, skip_system_fonts=True))
    ink = [(pixels(drawn(part)) < 128).any() for part in words.split()]
    assert all(ink)
    assert not (pixels(drawn("")) < 128).any()


def test_titles_are_bold() -> None:
    assert (pixels(drawn("candidate", font_weight="bold")) < 128).sum() > 1.2 * (pixels(drawn("candidate")) < 128).sum()


@pytest.mark.parametrize(
    ("lacking", "told"), [({"resvg_py"}, "resvg_py"), ({"resvg_py", "fontpkg_open_sans"}, "resvg_py and no fontpkg_open_sans")]
)
def test_without_the_extra_it_is_told_what_to_do(lacking: set[str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster, "find_spec", lambda name: None if name in lacking else found_spec(name))
    with pytest.raises(UsageError) as error:
        raster.png("<svg/>")
    assert str(error.value) == f"--png: got no {told}, which images need. Run: pip install 'robustradar[png]'"
