"""`robustradar plugins` and `--plugin`: what is declared is shown, what is broken is named, and everything else goes on working."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import robustradar

Run = Callable[[str], Any]

PGD = """\
name           type              default    meaning
-------------  ----------------  ---------  -----------------------------------------------------------------------------------
native/pgd     attack                       Projected gradient ascent that keeps every sample's best point (Madry et al. 2018).
steps          int >= 1          10         gradient steps of one start
relative_step  float | None > 0  none       a step's length over eps; none: 2.5 / steps (Madry et al. 2018)
restarts       int >= 1          1          starts; the best point of all is kept, sample by sample
random_start   bool              true       start at a random point of the ball, not at the clean input
keep           best|last         best       the point kept of each sample; last saves a pass, as is usual in training
"""

# The whole of what an author writes for a network of their own.
TINY = """\
import robustradar
from torch import nn

def tiny(shape, outputs, width: int = 4):
    "One hidden layer."
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.Linear(width, outputs))

@robustradar.hookimpl
def robustradar_architectures():
    return (robustradar.architecture(tiny),)
"""


def test_show_explains_a_declaration_with_its_parameters(run: Run) -> None:
    done = run("plugins show native/pgd")
    assert (done.code, done.out, done.err) == (0, PGD, "")
    assert run("plugins show pgd").out == PGD


def test_show_as_json_has_the_same_rows(run: Run) -> None:
    rows = run("plugins show native/pgd --json").json
    assert [row["name"] for row in rows] == ["native/pgd", "steps", "relative_step", "restarts", "random_start", "keep"]
    assert rows[1] == {"name": "steps", "type": "int >= 1", "default": "10", "meaning": "gradient steps of one start"}


def test_show_names_the_kind_and_summary_of_every_kind(run: Run) -> None:
    for name, kind, meaning in [
        (
            "native/quick",
            "recipe",
            "For small networks on small data, such as digits or tables: AdamW, few epochs. A first look, in seconds or minutes.",
        ),
        (
            "native/standard",
            "recipe",
            "For image networks of full size: the usual SGD of adversarial training, longer, averaged weights, shifted and "
            "mirrored images.",
        ),
        ("native/fgsm", "attack", "One step of eps along the gradient's sign, inside the box (Goodfellow et al. 2015)."),
        ("baselines/parameters", "metric", "Number of trainable parameters."),
    ]:
        row = run(f"plugins show {name} --json").json[0]
        assert (row["name"], row["type"], row["meaning"]) == (name, kind, meaning)


def test_show_of_a_plugin_lists_what_it_declares(run: Run) -> None:
    done = run("plugins show baselines --json")
    assert (done.json[0]["plugin"], done.json[0]["state"]) == ("baselines", "ok")
    assert "baselines/clean-accuracy" in [row["plugin"] for row in done.json]


def test_list_shows_every_plugin_with_distribution_version_and_state(run: Run) -> None:
    rows = {row["plugin"]: row for row in run("plugins list --json").json}
    assert {"baselines", "native", "papers", "timm", "torchattacks", "torchvision"} <= set(rows)
    found = {(row["distribution"], row["version"], row["state"], row["error"]) for row in rows.values()}
    assert found == {("robustradar", robustradar.__version__, "ok", None)}


def test_list_of_a_kind_shows_declarations_and_aliases(run: Run) -> None:
    rows = {row["id"]: row for row in run("plugins list attack --json").json}
    assert rows["native/fgm"]["summary"].startswith("One step to where the linearised loss is largest")
    assert rows["pgd-20"]["summary"] == "short for native/pgd:steps=20"


def test_list_of_studies_shows_ones_own_too(run: Run) -> None:
    Path("mine.yaml").write_text("studies:\n  small:\n    architectures: [linear]\n    metrics: [baselines/parameters]\n    seeds: 3\n")
    rows = {row["id"]: row for row in run("plugins list study --registry mine.yaml --json").json}
    assert rows["quickstart"] == {
        "id": "quickstart",
        "data": "native/digits",
        "threat": "linf 0.1",
        "candidates": 7,
        "metrics": 6,
        "seeds": 3,
    }
    assert rows["small"] == {"id": "small", "data": "", "threat": "", "candidates": 1, "metrics": 1, "seeds": 3}
    shown = run("plugins list study").out.splitlines()
    assert shown[0].split() == ["id", "data", "threat", "candidates", "metrics", "seeds"]
    assert shown[2].split() == ["quickstart", "native/digits", "linf", "0.1", "7", "6", "3"]


def test_list_of_a_kind_shows_ones_own_aliases(run: Run) -> None:
    Path("mine.yaml").write_text("attacks:\n  mine: native/pgd:steps=3\n")
    rows = {row["id"]: row for row in run("plugins list attack --registry mine.yaml --json").json}
    assert rows["mine"]["summary"] == "short for native/pgd:steps=3"


# --plugin


def test_a_network_of_ones_own_is_ranked_from_a_file_and_from_a_module(run: Run, tiny: str) -> None:
    Path("mynets.py").write_text(TINY)
    done = run(f"rank {tiny} --plugin mynets.py --arch mynets/tiny:width=6 --arch linear --json")
    assert done.code == 0
    assert {row["candidate"] for row in done.json["ranking"]} == {"mynets/tiny:width=6", "papers/linear"}
    assert done.json["provenance"]["plugins"]["mynets"] == "mynets.py"
    again = run(f"rank {tiny} --plugin mynets --arch mynets/tiny:width=6 --arch linear")
    assert again.code == 0


def test_a_file_may_be_called_like_a_module_of_python_itself(run: Run, tiny: str) -> None:
    Path("types.py").write_text("from __future__ import annotations\n" + TINY.replace("width: int", "width: Width").replace(
        "from torch import nn\n", "from typing import Annotated\nfrom pydantic import Field\nfrom torch import nn\n"
        "Width = Annotated[int, Field(ge=1, description='units')]\n"))  # fmt: skip
    done = run(f"rank {tiny} --plugin ./types.py --arch types/tiny:width=0")
    assert done.message == (
        "--arch types/tiny: parameter 'width': got '0', expected greater than or equal to 1. Accepted: width: int >= 1 = 4."
    )


BROKEN = [
    ("1/0", "import: ZeroDivisionError: division by zero"),
    ("import sys\nsys.exit(5)", "import: SystemExit: 5"),
    ("def (", "import: SyntaxError: invalid syntax (broken.py, line 1)"),
    ("import no_such_library", "import: ModuleNotFoundError: No module named 'no_such_library'"),
    (
        "import robustradar\n@robustradar.hookimpl\ndef robustradar_metrix():\n    return ()",
        "hook: got 'robustradar_metrix', expected one of robustradar_architectures, robustradar_attacks, robustradar_datasets, "
        "robustradar_fitted, robustradar_measured, robustradar_metrics, robustradar_planned, robustradar_rankers, robustradar_recipes, "
        "robustradar_reporters. Did you mean 'robustradar_metrics'",
    ),
    (
        "def robustradar_metrics():\n    return ()",
        "robustradar_metrics is not marked as a hook. Put @robustradar.hookimpl above it.",
    ),
    (
        "import robustradar\n@robustradar.hookimpl\ndef robustradar_attacks():\n    return (1,)",
        "robustradar_attacks: got ",
    ),
    (
        "from __future__ import annotations\nimport dataclasses, robustradar\n@dataclasses.dataclass(frozen=True)\n"
        "class Lost(robustradar.Recipe):\n    where: Nowhere = 1\n"
        "@robustradar.hookimpl\ndef robustradar_recipes():\n    return (Lost(name='lost'),)",
        "robustradar_recipes: annotations of Lost: NameError: name 'Nowhere' is not defined",
    ),
]


def install(site: Path, name: str) -> None:
    """A distribution whose entry point names the module of this name."""
    info = site / f"rr_{name}-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: rr-{name}\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(f"[robustradar]\n{name} = {name}\n")
    Path(f"{name}.py").rename(site / f"{name}.py")


@pytest.mark.parametrize(("source", "reason"), BROKEN)
def test_a_broken_plugin_is_named_and_the_rest_goes_on_working(
    source: str, reason: str, run: Run, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("broken.py").write_text(source)
    listed = run("plugins list --plugin broken.py")
    assert listed.code == 0
    assert listed.out.splitlines()[-1].startswith(f"broken (broken.py): {reason}")
    states = {row["plugin"]: row["state"] for row in run("plugins list --plugin broken.py --json").json}
    assert states.pop("broken") == "broken"
    assert set(states.values()) == {"ok"}

    install(Path("site"), "broken")
    monkeypatch.syspath_prepend("site")
    unneeded = run(f"rank {tiny} --arch linear --metric parameters --json")
    assert unneeded.code == 0
    assert unneeded.err.startswith(f"plugin 'broken' (rr-broken 2.0) is broken and left out: {reason}")
    assert unneeded.json["provenance"]["broken_plugins"]["broken"].startswith(reason)

    needed = run(f"rank {tiny} --arch broken/net")
    assert needed.code == 4
    assert needed.message.startswith(f"--arch: got 'broken/net', whose plugin 'broken' (rr-broken 2.0) is broken: {reason}")


def test_a_name_that_may_be_a_broken_plugins_is_answered_with_that_plugin(run: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("broken.py").write_text("1/0\n" + TINY)
    install(Path("site"), "broken")
    monkeypatch.syspath_prepend("site")
    done = run(f"rank {tiny} --arch tiny")
    assert done.code == 2
    assert done.message.endswith(" Plugin 'broken' (rr-broken 2.0) is broken and was left out: import: ZeroDivisionError: division by zero")


# What is wrong with a file that a user names, and where that is seen: `place` stands after the name.
NAMED = [
    ("import math\n1 / 0", " (at mine.py:2): import: ZeroDivisionError: division by zero. Mend it, or leave it out."),
    ("\n\ndef (", " (at mine.py:3): import: SyntaxError: invalid syntax (mine.py, line 3). Mend it, or leave it out."),
    (
        "import no_such_library",
        " (at mine.py:1): import: ModuleNotFoundError: No module named 'no_such_library'. Mend it, or leave it out.",
    ),
    (
        "def robustradar_metrics():\n    return ()",
        ": robustradar_metrics is not marked as a hook. Put @robustradar.hookimpl above it. Mend it, or leave it out.",
    ),
]


@pytest.mark.parametrize("command", ["rank", "plan", "doctor"])
@pytest.mark.parametrize(("source", "told"), NAMED)
def test_a_broken_plugin_that_is_named_is_needed(source: str, told: str, command: str, run: Run) -> None:
    Path("mine.py").write_text(source)
    done = run(f"{command} --plugin mine.py --arch linear --metric parameters")
    assert (done.code, done.message) == (4, f"--plugin: got 'mine.py', which is broken{told}")


@pytest.mark.parametrize("line", ["plugins list attack", "data show digits", "zoo truth --arch linear --out truth.csv"])
def test_every_command_that_works_with_a_named_plugin_needs_it(line: str, run: Run) -> None:
    Path("empty.py").write_text("import robustradar\n")
    done = run(f"{line} --plugin ./empty.py")
    assert (done.code, done.out) == (4, "")
    assert done.message == (
        "--plugin: got './empty.py', which declares nothing and hears of nothing, expected a hook. "
        "Write one: robustradar.hookimpl above robustradar_…()."
    )


def test_a_disabled_plugin_that_is_named_is_left_out(run: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text("1 / 0")
    monkeypatch.setenv("ROBUSTRADAR_DISABLE", "mine")
    done = run(f"rank {tiny} --plugin mine.py --arch linear --metric parameters")
    assert done.code == 0
    assert "plugin 'mine' (mine.py) is disabled and left out: disabled by ROBUSTRADAR_DISABLE." in done.err


def test_a_plugin_cannot_take_the_name_of_another(run: Run) -> None:
    Path("native.py").write_text(TINY)
    done = run("plugins list --plugin native.py")
    assert done.code == 0
    assert done.out.splitlines()[-1] == (
        "native (native.py): its name 'native' is taken by robustradar 0.1.0. Rename its entry point, or uninstall one of the two."
    )
    assert run("plugins show native/pgd --plugin native.py").out == PGD


def test_on_a_terminal_a_list_is_no_wider_and_parameters_stand_last(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    piped = run("plugins list attack").out
    monkeypatch.setenv("COLUMNS", "80")
    assert run("plugins list attack").out == piped
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    shown = run("plugins list attack").out
    assert (piped.split()[:3], shown.split()[:3]) == (["id", "parameters", "summary"], ["id", "summary", "parameters"])
    assert max(map(len, shown.splitlines())) <= 80 < max(map(len, piped.splitlines()))
    assert {line.split()[0] for line in piped.splitlines()[2:]} <= set(shown.split())
