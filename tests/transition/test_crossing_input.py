"""What a critical strength refuses, and what comes with it."""

import contextlib
import io
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from robustradar_transition import Replicates, critical_strength
from robustradar_transition.strength import FitName

Points = list[tuple[float, float]]
FITS: tuple[FitName, ...] = get_args(FitName)
LINKED: tuple[FitName, ...] = ("interpolate", "isotonic", "spline")

# What is refused

GOOD = [(0.0, 0.1), (1.0, 0.2), (2.0, 0.4)]
REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"fit": "linear"},
        "critical_strength: got 'linear', expected one of hermite, interpolate, isotonic, line, spline. Did you mean 'line' or 'spline'?",
    ),
    ({"points": []}, "critical_strength: got 0 points, expected at least 2. Train at one strength more."),
    ({"points": GOOD[:1]}, "critical_strength: got 1 points, expected at least 2. Train at one strength more."),
    (
        {"points": [(0, 0.1), (1, math.nan)]},
        "critical_strength: got [(0, 0.1), (1, nan)], expected pairs of finite numbers, strength and loss. Drop failed trainings first.",
    ),
    (
        {"points": [(0, 0.1), (1, 0.2, 3)]},
        "critical_strength: got [(0, 0.1), (1, 0.2, 3)], expected pairs of finite numbers, strength and loss. Drop failed trainings first.",
    ),
    *(
        (
            {"points": [(eps, 0.1) for eps in strengths], "fit": "line"},
            f"critical_strength: got strengths {strengths}, expected rising ones, none negative. Sort them, and give each once.",
        )
        for strengths in ([0.0, 2.0, 1.0], [0.0, 1.0, 1.0], [-1.0, 0.0])
    ),
    *(
        (
            {"points": GOOD[1:], "fit": fit, "slope": 0.1 if fit == "hermite" else None},
            f"critical_strength: got no point at strength 0, expected one with fit='{fit}'. Add the clean network's, or use fit='line'.",
        )
        for fit in FITS
        if fit != "line"
    ),
    (
        {"threshold": math.inf},
        "critical_strength: got threshold=inf, expected a finite number. Give the clean evaluation loss.",
    ),
    *(
        (
            {"fit": "hermite", "slope": slope},
            f"critical_strength: got slope={slope}, expected a finite number, at least 0, with fit='hermite'. Give the loss's slope at 0.",
        )
        for slope in (None, -1.0, math.nan)
    ),
    (
        {"fit": "line", "slope": 0.1},
        "critical_strength: got slope=0.1, expected none with fit='line'. Only fit='hermite' uses it.",
    ),
    (
        {"fit": "hermite", "slope": 0.1},
        "critical_strength: got 3 points, expected 2 with fit='hermite', at 0 and one more. Choose one.",
    ),
    (
        {"replicates": Replicates(np.zeros((4, 2)), np.zeros(4))},
        "critical_strength: got replicates of shapes [(4, 2), (4,)], expected [B, 3] losses, [B] thresholds and no slopes, B >= 1, "
        "with fit='interpolate'. Draw all of them in every draw.",
    ),
    (
        {"replicates": Replicates(np.zeros((0, 3)), np.zeros(0))},
        "critical_strength: got replicates of shapes [(0, 3), (0,)], expected [B, 3] losses, [B] thresholds and no slopes, B >= 1, "
        "with fit='interpolate'. Draw all of them in every draw.",
    ),
    (
        {"replicates": Replicates(np.zeros((4, 3)), np.zeros(4), np.zeros(4))},
        "critical_strength: got replicates of shapes [(4, 3), (4,), (4,)], expected [B, 3] losses, [B] thresholds and no slopes, B >= 1, "
        "with fit='interpolate'. Draw all of them in every draw.",
    ),
    (
        {"points": GOOD[:2], "fit": "hermite", "slope": 0.1, "replicates": Replicates(np.zeros((4, 2)), np.zeros(4))},
        "critical_strength: got replicates of shapes [(4, 2), (4,)], expected [B, 2] losses, [B] thresholds and [B] slopes, B >= 1, "
        "with fit='hermite'. Draw all of them in every draw.",
    ),
    *(
        (
            {"points": GOOD[:2], "fit": "hermite", "slope": 0.1, "replicates": Replicates(losses, np.zeros(4), slopes)},
            "critical_strength: got replicates out of range, expected finite numbers, and slopes of at least 0. Drop failed draws first.",
        )
        for losses, slopes in ((np.full((4, 2), math.nan), np.zeros(4)), (np.zeros((4, 2)), np.full(4, -1.0)))
    ),
    (
        {"replicates": Replicates(np.zeros((4, 3)), np.zeros(4)), "level": 1.5},
        "critical_strength: got level=1.5, expected 0 < level < 1. Give the coverage, such as 0.95.",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_bad_input_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        critical_strength(**{"points": GOOD, "threshold": 0.3, **arguments})


# What comes with it


def test_importing_the_package_is_quick() -> None:
    code = "import sys, robustradar_transition; assert not {'torch', 'numpy', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_s_example_prints_what_it_says() -> None:
    page = (Path(__file__).parents[2] / "docs/transition.md").read_text(encoding="utf-8")
    (block,) = [text for text in re.findall(r"```python\n(.*?)```", page, re.S) if "critical_strength(" in text]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, "transition.md", "exec"), {})
    assert printed.getvalue().splitlines() == re.findall(r"^print\(.*\)  # (.*)$", block, re.M)
