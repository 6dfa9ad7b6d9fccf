"""`robustradar plugins doctor`, `disable` and `enable`: what is broken is found, explained and put out of action."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustradar import host
from robustradar.doctor import plugin as doctor

Run = Callable[[str], Any]

HOOK = "@robustradar.hookimpl\ndef {}():\n    {}\n"


def distribution(folder: Path, name: str, source: str | None, requires: str = "") -> None:
    """An installed distribution with one plugin; None: whose module is gone."""
    info = folder / f"rr_{name}-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: rr-{name}\nVersion: 2.0\n{requires}")
    (info / "entry_points.txt").write_text(f"[robustradar]\n{name} = rr_{name}\n")
    if source is not None:
        (folder / f"rr_{name}.py").write_text(f"import robustradar\n{source}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    distribution(folder, "gone", None)
    distribution(folder, "extra", "import nolib_extra\n", "Provides-Extra: more\nRequires-Dist: nolib-extra>=1; extra == 'more'\n")
    distribution(folder, "bare", "import nolib_other\n")
    distribution(folder, "misspelt", HOOK.format("robustradar_atacks", "return ()"))
    distribution(folder, "raises", HOOK.format("robustradar_metrics", "return 1 / 0"))
    distribution(folder, "old", "robustradar_contract = '0.0'\n")
    distribution(folder, "slow", "import time\ntime.sleep(0.8)\nprint('noise')\n" + HOOK.format("robustradar_fitted", "pass"))
    distribution(folder, "heavy", "import torch\nrobustradar_contract = '0.1'\n")
    distribution(folder, "crash", "import os\nos._exit(7)\n")
    (folder / "torch.py").write_text("")  # so that a fresh interpreter need not load the real one
    distribution(folder, "twin", "from robustradar_native import robustradar_rankers\n")
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every kind of trouble, installed."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    return site


@pytest.fixture(autouse=True)
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment whose file of disabled plugins is the test's own."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    monkeypatch.delenv("ROBUSTRADAR_DISABLE", raising=False)
    return tmp_path / "environment"


def test_every_trouble_is_named_with_its_cure(run: Run, installed: Path) -> None:
    done = run("plugins doctor --json")
    rows = {row["plugin"]: row for row in done.json}
    assert done.code == 4
    errors = {name: row["error"] for name, row in rows.items() if row["distribution"] != "robustradar"}
    misspelt = errors.pop("misspelt")
    assert misspelt.startswith("hook: got 'robustradar_atacks', expected one of robustradar_architectures, ")
    assert "Did you mean 'robustradar_attacks'" in misspelt
    assert errors == {
        "gone": "its entry point names 'rr_gone', which is not there. Install rr-gone again, or uninstall it.",
        "extra": "import: ModuleNotFoundError: No module named 'nolib_extra'. Install its extra: pip install 'rr-extra[more]'.",
        "bare": "import: ModuleNotFoundError: No module named 'nolib_other'. Install what provides it.",
        "raises": "robustradar_metrics: ZeroDivisionError: division by zero",
        "old": "written for contract 0.0, expected 0.1. Update it: pip install --upgrade rr-old.",
        "crash": "its import ends the interpreter with exit code 7.",
        "slow": None,
        "heavy": None,
        "twin": None,
    }
    assert {name: row["state"] for name, row in rows.items() if errors.get(name)} == dict.fromkeys(
        ("gone", "extra", "bare", "raises", "old", "crash"), "broken"
    )
    places = {name: Path(row["place"]).name for name, row in rows.items() if row["place"]}
    assert places == {"extra": "rr_extra.py:2", "bare": "rr_bare.py:2", "raises": "rr_raises.py:4"}
    assert (rows["old"]["contract"], rows["heavy"]["contract"], rows["slow"]["contract"]) == ("0.0", "0.1", "")
    assert (rows["heavy"]["torch"], rows["slow"]["torch"], rows["crash"]["torch"]) == (True, False, None)
    assert rows["slow"]["seconds"] >= 0.8
    assert rows["slow"]["notes"] == [f"importing it takes {rows['slow']['seconds']:.1f} s. Import what is heavy inside functions."]
    assert rows["heavy"]["notes"] == [
        f"importing it takes {rows['heavy']['seconds']:.1f} s and imports torch. Import torch inside functions.",
        "it declares nothing and hears of nothing.",
    ]
    assert "2 of its names are others' too (native/calibrated, native/rank-mean): users type twin/ in front." in rows["twin"]["notes"]
    assert "2 of its names are others' too (twin/calibrated, twin/rank-mean): users type native/ in front." in rows["native"]["notes"]


def test_sound_plugins_make_a_table(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = {"seconds": 0.125, "torch": False, "error": ""}
    monkeypatch.setattr(doctor, "_probed", lambda *_: probe)
    done = run("plugins doctor")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0].split() == ["plugin", "distribution", "version", "contract", "state", "import", "s"]
    assert ["native", "robustradar", "0.1.0", "ok", "0.12"] in [line.split() for line in done.out.splitlines()]
    assert done.out.splitlines()[-1].endswith(" plugins, 0 broken.")
    assert " too (" not in done.out, "names that two plugins of one distribution share are its own affair"


def test_a_broken_file_is_shown_with_its_place(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("signs.py").write_text("import math\n1 / 0\n")
    probe = {"seconds": 0.125, "torch": False, "error": ""}
    monkeypatch.setattr(doctor, "_probed", lambda *_: probe)
    done = run("plugins doctor --plugin signs.py")
    assert done.code == 4
    place = Path("signs.py").resolve()
    assert f"signs (signs.py): import: ZeroDivisionError: division by zero. At {place}:2.\n" in done.out


def test_an_import_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("stuck.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(doctor, "PATIENCE", 0.01)
    assert doctor._probed(0, ["stuck.py"])["error"] == "its import takes more than 0 s."


def test_an_import_that_ends_the_interpreter_without_a_word_is_told() -> None:
    Path("silent.py").write_text("import os\nos._exit(0)\n")
    assert doctor._probed(len(host.unloaded()), ["silent.py"])["error"] == "its import ends the interpreter with exit code 0."


def test_what_an_import_prints_need_be_no_text() -> None:
    Path("loud.py").write_text("import os\nos.write(1, b'\\xff\\n')\nos.write(2, b'\\xff\\n')\n")
    assert doctor._probed(len(host.unloaded()), ["loud.py"])["error"] == ""


def test_an_extra_that_a_plugin_lacks_is_a_note(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = {"seconds": 0.1, "torch": False, "error": ""}
    monkeypatch.setattr(doctor, "_probed", lambda *_: probe)
    monkeypatch.setattr(doctor, "extras", lambda name: {"foolbox": ("foolbox",)} if name == "robustradar" else {})
    rows = {row["plugin"]: row for row in run("plugins doctor --json").json}
    note = "its extra is not installed, which brings foolbox: pip install 'robustradar[foolbox]'."
    assert [name for name, row in rows.items() if note in row["notes"]] == ["foolbox"]


# disable


def test_a_plugin_that_breaks_at_import_is_disabled_and_enabled(
    run: Run, prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "bare", "import nolib_other\n")
    monkeypatch.syspath_prepend(tmp_path)
    file = prefix / "etc" / "robustradar" / "disabled.txt"
    done = run("plugins disable bare")
    assert (done.code, done.out) == (0, f"Disabled: bare, in {file}. Enable it: robustradar plugins enable bare.\n")
    reason = f"disabled in {file}. Enable it: robustradar plugins enable bare."
    rows = {row["plugin"]: row for row in run("plugins list --json").json if row["plugin"] in ("bare", "native")}
    assert {name: row["state"] for name, row in rows.items()} == {"bare": "disabled", "native": "ok"}
    assert rows["bare"]["error"] == reason
    assert run("plugins enable bare").out == "Enabled: bare.\n"
    assert not file.exists()
    assert {row["state"] for row in run("plugins list --json").json if row["plugin"] == "bare"} == {"broken"}


def test_what_a_disabled_plugin_declares_is_answered_with_how_to_enable_it(run: Run, tiny: str, prefix: Path) -> None:
    run("plugins disable papers")
    asked = run(f"rank {tiny} --arch papers/linear")
    file = prefix / "etc" / "robustradar" / "disabled.txt"
    reason = f"disabled in {file}. Enable it: robustradar plugins enable papers."
    assert asked.code == 4
    assert asked.message == f"--arch: got 'papers/linear', whose plugin 'papers' (robustradar 0.1.0) is disabled: {reason}"
    bare = run(f"rank {tiny} --arch linear")
    assert bare.message.endswith(f" Plugin 'papers' (robustradar 0.1.0) is disabled and was left out: {reason}")


def test_the_variable_disables_for_a_while_and_results_say_so(run: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTRADAR_DISABLE", "timm, art")
    done = run(f"rank {tiny} --arch linear --metric parameters --json")
    reason = "disabled by ROBUSTRADAR_DISABLE. Enable it: take it out of that variable."
    assert done.code == 0
    assert done.json["provenance"]["broken_plugins"] == {"timm": reason, "art": reason}
    assert f"plugin 'timm' (robustradar 0.1.0) is disabled and left out: {reason}" in done.err
    assert "timm" not in done.json["provenance"]["plugins"]
    refused = run("plugins enable art")
    assert refused.message.startswith("NAME: got 'art', which ROBUSTRADAR_DISABLE disables, expected one of ")


def test_names_that_are_none_are_refused(run: Run) -> None:
    assert run("plugins disable torchatack").message.endswith("Did you mean 'torchattacks'?")
    assert run("plugins enable native").message == "NAME: got 'native', expected a plugin that is disabled: there is none."


def test_an_environment_that_cannot_be_written_is_told(run: Run, prefix: Path) -> None:
    prefix.write_text("")
    file = prefix / "etc" / "robustradar" / "disabled.txt"
    assert run("plugins disable art").message == (
        f"plugins: {str(file)!r} cannot be written (Not a directory), expected a file. Set ROBUSTRADAR_DISABLE=NAME,… instead."
    )


def test_a_list_that_cannot_be_read_is_told_and_nothing_comes_back(run: Run, prefix: Path) -> None:
    file = prefix / "etc" / "robustradar" / "disabled.txt"
    file.parent.mkdir(parents=True)
    message = f"plugins: got {str(file)!r}, which cannot be read (%s), expected a name a line. Mend it, or take it away."
    file.write_bytes(b"\xff")
    done = run("plugins list")
    assert (done.code, done.message) == (2, message % "no text in UTF-8")
    file.unlink()
    file.mkdir()
    assert run("plugins disable art").message == message % "Is a directory"


def test_the_doctor_leaves_disabled_plugins_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTRADAR_DISABLE", "signs")
    Path("signs.py").write_text("import os\nos._exit(1)\n")
    monkeypatch.setattr(doctor, "_probed", lambda *_: json.loads('{"seconds": 0.1, "torch": false, "error": ""}'))
    done = run("plugins doctor --plugin signs.py --json")
    (row,) = [row for row in done.json if row["plugin"] == "signs"]
    assert (done.code, row["state"], row["seconds"]) == (0, "disabled", None)
