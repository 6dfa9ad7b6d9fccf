"""Figures: where their data are, what stands where, and that any name stays text."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
import recorded

from robustradar.report.chart import Axis, Curve, Item, Point, Row, curves, radar, ranges
from robustradar.report.document import Document
from robustradar.report.figure import figures
from robustradar.report.page import drawings
from robustradar.report.panel import SHOWN, Figure
from robustradar.report.svg import COLOURS, Scale, mark

SVG = "{http://www.w3.org/2000/svg}"
TITLES = [
    "Strengths and weaknesses",
    "What robustness costs",
    "Critical attack strength",
    "Where the losses cross",
    "Ends of the Hessian's spectrum",
    "Density of the Hessian's spectrum",
    "The predicted price",
    "Training",
]


def figure(document: Document, title: str) -> Figure:
    return next(figure for figure in figures(document) if figure.title == title)


def marks(svg: str) -> list[tuple[float, float]]:
    """Where marks stand."""
    return [(float(x), float(y)) for x, y in re.findall(r'transform="translate\(([\d.-]+) ([\d.-]+)\)" fill', svg)]


def without(document: Document, *columns: str) -> Document:
    return Document(document.json | {"scores": [row for row in document.json["scores"] if row["column"] not in columns]})


def test_a_run_with_all_data_has_all_figures() -> None:
    assert [figure.title for figure in figures(recorded.document())] == TITLES


@pytest.mark.parametrize(
    ("columns", "title"),
    [
        (("clean_accuracy", "delta_exact", "eps_star"), TITLES[0]),
        (("toc_hypervolume",), TITLES[1]),
        (("eps_star",), TITLES[2]),
        (("eps_star",), TITLES[3]),
        (("lambda_min_train", "lambda_min_eval"), TITLES[4]),
        (("delta_influence",), TITLES[5]),
        (("bound_low", "delta_influence"), TITLES[6]),
    ],
)
def test_a_figure_is_there_only_where_its_data_are(columns: tuple[str, ...], title: str) -> None:
    assert title not in [figure.title for figure in figures(without(recorded.document(), *columns))]


def test_without_epochs_there_are_no_training_curves() -> None:
    made = recorded.document()
    for fit in made.json["fits"]:
        fit["epochs"] = []
    assert [figure.title for figure in figures(made)] == TITLES[:-1]


def test_a_scale_is_linear_or_logarithmic_on_both_sides_of_zero() -> None:
    straight = Scale(0, 10, 0, 100)
    assert [straight.at(v) for v in (0, 2.5, 10)] == [0, 25, 100]
    bent = Scale(-1000, 1000, 0, 100, bend=1)
    assert bent.at(0) == 50
    assert bent.at(100) - bent.at(10) == pytest.approx(bent.at(1000) - bent.at(100), rel=0.01)
    assert bent.at(-100) == pytest.approx(100 - bent.at(100))
    assert bent.ticks() == [-1000, -100, -10, -1, 0, 1, 10, 100, 1000]
    assert Scale.over([3.0, 3.0], 0, 100).at(3.0) == 50


def test_a_radar_has_the_worst_in_the_middle_and_the_best_at_the_rim() -> None:
    drawing = radar(("a", "b", "c", "d"), (1.0, 0.0, 0.5, None), (None, None, (0.25, 0.75), None), 0)
    assert marks(drawing.body) == [(170, 40), (170, 118), (170, 157)]
    assert "137.5" in drawing.body and "176.5" in drawing.body, "the interval along the third axis"
    assert drawing.body.count("<polygon") == 4, "rings alone: an outline with a gap has no area"


def test_radars_are_normalised_over_all_candidates_by_direction() -> None:
    panels = figure(recorded.document(), TITLES[0]).panels
    assert [panel.title for panel in panels] == ["papers/mlp:width=32", "papers/cnn", "papers/linear"]
    # delta_influence and delta_exact are all alike, and no axes.
    assert panels[0].told == "clean accuracy 1.00; toc hypervolume 0.00; eps star 1.00; 1 is the best of all."
    assert panels[2].told == "clean accuracy none; toc hypervolume 1.00; eps star 0.00; 1 is the best of all."


def test_curves_have_both_ends_named_and_dominated_points_hollow() -> None:
    losses, accuracies = figure(recorded.document(), TITLES[1]).panels
    assert (losses.title, accuracies.title) == ("Adversarial loss against clean loss", "Adversarial accuracy against clean accuracy")
    assert losses.told.startswith("papers/mlp:width=32: P1 0.2, 1.6; P2 0.6, 0.8. papers/cnn: P1 0.3, 1.6")
    assert losses.drawing.body.count(">P1<") == losses.drawing.body.count(">P2<") == 3
    hollow = re.findall(r'<path d="[^"]+" transform="[^"]+" fill="none"', losses.drawing.body)
    assert len(hollow) == 3
    assert 'fill="none" stroke="currentColor"' not in accuracies.drawing.body


def test_over_seeds_points_are_means_and_intervals_span_the_seeds() -> None:
    made = recorded.document()
    row = next(row for row in made.json["scores"] if row["column"] == "toc_hypervolume")
    seeds = [[recorded.point(0, 0.2 + shift, 1.6), recorded.point(1, 0.6, 0.8)] for shift in (0, 0.2)]
    row["details"] = {"seeds": [{"seed": n, "details": {"curve": curve}} for n, curve in enumerate(seeds)]}
    losses = figure(made, TITLES[1]).panels[0]
    assert losses.told.startswith("papers/mlp:width=32: P1 0.3, 1.6; P2 0.6, 0.8.")
    x = Scale.over([0.15, 0.85], 68, 406)  # from the least low to the third candidate's high
    assert f'x1="{x.at(0.15):.1f}"' in losses.drawing.body
    assert f'x2="{x.at(0.45):.1f}"' in losses.drawing.body


@pytest.mark.parametrize("curve", [None, "points", [], [{}], [1, 2], [{"clean_loss": "x"}, {}], [recorded.point(0, 1, 1)]])
def test_a_strangers_details_of_the_same_name_make_no_figure(curve: Any) -> None:
    made = recorded.document()
    for row in made.json["scores"]:
        row["details"] = {"curve": curve} if row["details"] else {}
    assert TITLES[1] not in [figure.title for figure in figures(made)]


def test_the_studys_strength_is_marked_in_the_unit_of_images() -> None:
    found = figure(recorded.document(), TITLES[2])
    assert "The study's ε is 8/255." in found.caption
    (panel,) = found.panels
    assert panel.title == "Critical strength by transition/eps-star"
    told = "papers/mlp:width=32: 10.2; papers/cnn: 9.945; papers/linear: 9.69"
    assert panel.told == f"The study's ε is 8 (1/255). {told}."
    assert ">strength (1/255)<" in panel.drawing.body
    x = Scale.over([0.02 * 255, 0.05 * 255], 12, 408)
    assert re.search(rf'<line x1="{x.at(8):.1f}" [^>]*stroke-dasharray="5 3"', panel.drawing.body)


def test_strengths_on_other_data_are_shown_as_they_are() -> None:
    made = recorded.document()
    made.json["study"]["data"]["shape"] = [64]
    (panel,) = figure(made, TITLES[2]).panels
    assert panel.told.startswith("The study's ε is 0.03137. papers/mlp:width=32: 0.04")


def test_an_open_end_is_an_arrow_to_the_edge() -> None:
    closed = ranges([Row("a", (Item(0, 2.0, 1.0, 3.0),))], ("k",), Axis("x"))
    opened = ranges([Row("a", (Item(0, 2.0, 1.0, None), Item(0, 3.0, None, None)))], ("k",), Axis("x"))
    assert closed.body.count("<path") == 2, "a mark in the row and in the legend"
    assert opened.body.count("<path") == 4
    assert "L408.0," not in closed.body
    assert re.search(r'<path d="M\d+\.\d,[\d.]+L\d+\.\d,[\d.]+L\d+\.\d,', opened.body)


def test_training_curves_are_of_the_study_and_say_what_is_left_out() -> None:
    made = recorded.document()
    other = recorded.fit(90, 1.0)
    other["spec"]["threat"]["eps"] = 0.5
    made.json["fits"].append(other)
    made.json["measurements"][0]["fits"].append(other["key"])
    found = figure(made, TITLES[7])
    assert [panel.title for panel in found.panels] == ["Training: clean", "Training: adversarial"]
    assert found.panels[0].told.startswith("papers/mlp:width=32: 2 at first, 0.6667 at last; papers/cnn: 2.2 at first")
    assert " 1 network at other strengths or with other recipes is not shown." in found.caption
    assert found.panels[0].drawing.body.count("<title>") == 3, "one kept epoch a curve"


def test_training_losses_stand_behind_evaluation_losses() -> None:
    clean = figure(recorded.document(), TITLES[7]).panels[0].drawing.body
    assert clean.count("<polyline") == 9, "two curves a candidate, and one in the legend"
    assert clean.count('stroke-width="1.2"') == 3
    assert clean.index('stroke-width="1.2"') < clean.index('stroke-width="2"')


def test_epochs_without_an_evaluation_are_left_out() -> None:
    made = recorded.document()
    for fit in made.json["fits"]:
        fit["selected_epoch"] = 3
        for epoch in fit["epochs"][:-1]:
            epoch["evaluation_objective_loss"] = None
    found = figure(made, TITLES[7])
    assert found.panels[0].told.startswith("papers/mlp:width=32: 0.6667 at first, 0.6667 at last; ")
    assert found.panels[0].drawing.body.count("<title>") == 3, "the kept epoch"
    for fit in made.json["fits"]:
        fit["epochs"][-1]["evaluation_objective_loss"] = None
    found = figure(made, TITLES[7])
    assert found.panels[0].told.startswith("papers/mlp:width=32: 1.5 at first, 0.5 at last; ")
    assert [cell.text for cell in found.tables[0].rows[0]] == ["papers/mlp:width=32", "clean", "0", "3", "3", "0.5", "–"]


def crossing(**details: Any) -> str:
    """The first candidate's panel, with other details and one seed."""
    made = recorded.document()
    row = next(row for row in made.json["scores"] if row["column"] == "eps_star")
    row["details"] |= details
    return str(figure(made, TITLES[3]).panels[0].drawing.body)


def test_the_crossing_stands_where_the_losses_reach_the_threshold() -> None:
    panel = figure(recorded.document(), TITLES[3]).panels[0]
    assert panel.title == "papers/mlp:width=32"
    assert panel.told == "Losses 0.1 at 0, 0.5 at 20.4; threshold 0.3; ε* 10.2."
    x, y = Scale.over([0, 20.4], 68, 406), Scale.over([0.1, 0.5], 270, 12)
    places = [(round(x.at(eps), 1), round(y.at(loss), 1)) for eps, loss in ((0, 0.1), (20.4, 0.5), (10.2, 0.3), (5.1, 0.3))]
    assert marks(panel.drawing.body)[:4] == places, "two losses, ε*, its bound"
    names = ["adversarial training loss", "threshold", "ε*", "its lower bound, by the clean network"]
    assert [name for name in (*names, "fit: isotonic") if f">{name}<" in panel.drawing.body] == names, "the links are the fit"
    ends = [f"{x.at(end * 255):.1f}".removesuffix(".0") for end in (0.03, 0.05)]
    assert f'<line x1="{ends[0]}" y1="{places[2][1]:g}" x2="{ends[1]}"' in panel.drawing.body, "its interval"


def test_a_crossing_by_another_fit_shows_it() -> None:
    assert ">fit: isotonic<" in crossing(fitted=[0.1, 0.4])
    assert ">fit: line<" in crossing(fit="line", coefficients=[0.1, 0.01])
    assert "stroke-dasharray" in crossing(coefficients=[0.1, 0.01, 0.002])


def test_a_bound_alone_is_hollow_and_without_a_bound_there_is_none() -> None:
    made = recorded.document()
    row = next(row for row in made.json["scores"] if row["column"] == "eps_star")
    row |= {"low": row["value"], "high": None}
    row["details"]["bound"] = None
    body = figure(made, TITLES[3]).panels[0].drawing.body
    assert len(re.findall(r'<path d="[^"]+" transform="[^"]+" fill="none"', body)) == 1
    assert "its lower bound" not in body


def test_every_seed_has_its_own_crossing() -> None:
    made = recorded.document()
    row = next(row for row in made.json["scores"] if row["column"] == "eps_star")
    seeds = [{"seed": n, "value": 0.03 + n / 100, "low": None, "high": None, "details": recorded.course(0.03 + n / 100)} for n in (0, 1)]
    row["details"] = {"seeds": seeds}
    found = figure(made, TITLES[3])
    assert found.panels[0].told.count("; ε* ") == 2
    assert [row[1].text for row in found.tables[0].rows] == ["0", "1", "", ""]
    assert found.panels[0].drawing.body.count(">adversarial training loss<") == 1


@pytest.mark.parametrize(
    "details",
    [{"points": None}, {"points": [[0, 1]]}, {"points": [[0, 1], [1]]}, {"points": [[0, 1], [1, "x"]]}, {"threshold": None}, {"seeds": 3}],
)
def test_details_of_another_kind_make_no_crossing(details: dict[str, Any]) -> None:
    made = recorded.document()
    for row in made.json["scores"]:
        row["details"] = row["details"] | details if row["column"] == "eps_star" and "seeds" not in details else details
    assert TITLES[3] not in [figure.title for figure in figures(made)]


def test_a_density_has_its_mass_where_the_eigenvalues_are() -> None:
    panel = figure(recorded.document(), TITLES[5]).panels[0]
    assert panel.told == "70.0 % of the eigenvalues are near 0 and 0.0 % below; their mean is 3.18."
    (outline,) = re.findall(r'<polyline points="([^"]+)" fill="none" stroke="#0072B2"', panel.drawing.body)[:1]
    heights = [float(point.partition(",")[2]) for point in outline.split()]
    floor = max(heights)
    assert len(heights) == 80
    assert sum(height < floor - 1 for height in heights[::2]) == 4, "four eigenvalues, four bars"
    assert panel.drawing.body.count(">λ min<") == panel.drawing.body.count(">λ max<") == 1


def test_over_seeds_a_density_is_the_mean() -> None:
    made = recorded.document()
    row = next(row for row in made.json["scores"] if row["column"] == "delta_influence")
    one, other = {"values": [-1.0, 1.0], "weights": [0.5, 0.5]}, {"values": [1.0], "weights": [1.0]}
    row["details"] = {"seeds": [{"details": {"density": density}} for density in (one, other)]}
    assert figure(made, TITLES[5]).panels[0].told.startswith("0.0 % of the eigenvalues are near 0 and 25.0 % below; their mean is 0.5.")


@pytest.mark.parametrize("density", [None, [], {"values": [1]}, {"values": [1], "weights": [1, 2]}, {"values": ["x"], "weights": [1]}])
def test_details_of_another_kind_make_no_density(density: Any) -> None:
    made = recorded.document()
    for row in made.json["scores"]:
        row["details"] = {"density": density}
    assert TITLES[5] not in [figure.title for figure in figures(made)]


def test_losses_that_span_decades_are_drawn_logarithmically() -> None:
    points = tuple(Point(float(n), 10.0**-n) for n in range(4))
    drawing = curves([Curve("a", 0, points)], Axis("x"), Axis("y", bent=True))
    ys = [y for _, y in marks(drawing.body)[:4]]
    assert ys == sorted(ys)
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], rel=0.05)


def test_only_the_first_candidates_are_drawn_and_the_caption_says_so() -> None:
    names = tuple(f"papers/cnn:width={n}" for n in range(300))
    made = recorded.document(names)
    for found in figures(made):
        assert found.caption.endswith(f"The first {SHOWN} of 300 candidates are shown.")
        assert 'width=9"' not in "".join(panel.file() for panel in found.panels)
    assert len(figure(made, TITLES[0]).panels) == SHOWN == len(COLOURS)


def test_series_differ_without_their_colours() -> None:
    shapes = {re.search(r' d="([^"]+)"', str(mark(0, 0, n))).group(1) for n in range(SHOWN)}  # type: ignore[union-attr]
    assert len(shapes) == SHOWN
    drawn = curves([Curve(str(n), n, (Point(0, n), Point(1, n))) for n in range(SHOWN)], Axis("x"), Axis("y")).body
    assert len(set(re.findall(r'stroke-dasharray="([^"]+)"', drawn))) == SHOWN


HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a\x00b\ud800]]>&amp;\u202e")


def test_every_figure_is_a_file_of_its_own_with_names_as_text() -> None:
    files = drawings(recorded.document(HOSTILE))
    assert len(files) == 16
    for name, svg in files.items():
        assert re.fullmatch(r"[a-z0-9-]+(-[A-Za-z0-9-]+)?\.svg", name)
        root = ElementTree.fromstring(svg.encode("utf-8"))
        assert root.tag == f"{SVG}svg"
        assert root.get("role") == "img"
        ids = {node.get("id"): node for node in root.iter() if node.get("id")}
        assert list(ids) == root.get("aria-labelledby", "").split()
        assert all(node.text for node in ids.values())
        tags = {node.tag.removeprefix(SVG) for node in root.iter()}
        assert tags <= {"svg", "title", "desc", "rect", "g", "text", "tspan", "line", "polyline", "polygon", "path"}
        assert not [key for node in root.iter() for key in node.attrib if key.startswith("on") or key.endswith("href")]
    assert any(HOSTILE[0] in "".join(ElementTree.fromstring(svg).itertext()) for svg in files.values())
