"""`robustradar COMMAND --help` shows two examples, and each is a command line that the command takes."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from snippets import DOCS, parsed
from typer.testing import CliRunner

from robustradar import host, registry
from robustradar.catalog import Catalog
from robustradar.cli import app, exit_code

sys.path.insert(0, str(DOCS))
import built

PATHS = [
    path
    for path in built.command_paths()
    if path and not any(other[: len(path)] == path and other != path for other in built.command_paths())
]


# Options and arguments whose values are references, and to what.
REFERENCES = {
    "arch": "architecture",
    "data": "dataset",
    "ref": "dataset",
    "attack": "attack",
    "recipe": "recipe",
    "metric": "metric",
    "ranker": "ranker",
    "reporter": "reporter",
}


def examples(path: list[str]) -> list[str]:
    """The command lines below a command's help."""
    shown = CliRunner().invoke(app, [*path, "--help"], terminal_width=400, prog_name="robustradar")
    assert shown.exit_code == 0
    _, _, below = shown.output.partition("Examples:")
    return re.findall(r"^ *(?:[A-Z_]+=\S+ )?(robustradar .*)$", below, re.M)


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_has_two_examples_that_the_command_takes(path: list[str]) -> None:
    found = examples(path)
    assert len(found) == 2, found
    assert path in [parsed(example)[0] for example in found]


@pytest.fixture(scope="module")
def known() -> tuple[registry.Registry, Catalog]:
    shipped = registry.load()
    return shipped, Catalog(host.load(without={}), shipped.aliases)


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_names_in_examples_are_declared(
    path: list[str], known: tuple[registry.Registry, Catalog], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a file of the user's aside: torchvision/cifar10 is spelt torchvision/CIFAR10."""
    monkeypatch.chdir(tmp_path)
    Path("mine.npz").touch()  # its content is part of its reference, and not looked at
    shipped, catalog = known
    for example in examples(path):
        of, given = parsed(example)
        theirs = tuple(f"{Path(plugin).stem}/" for plugin in given.get("plugin") or ())
        for option, kind in REFERENCES.items():
            texts: Any = given.get(option) or ()
            for text in catalog.expanded(kind, [texts] if isinstance(texts, str) else texts, example):
                if not text.startswith(theirs):
                    catalog.resolve(kind, text, example)
        for text in given.get("weights") or ():
            catalog.resolve("architecture", text.partition("=")[0], example)
        if given.get("study"):
            shipped.study(given["study"], registry.Request(), example)
        if of in (["plugins", "show"], ["plugins", "check"]) and "/" in given["name"]:
            assert any(given["name"].partition(":")[0] in catalog.declared(kind) for kind in host.KINDS), example


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_ends_with_the_exit_codes(path: list[str]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], terminal_width=400, prog_name="robustradar").output
    last = shown.strip().splitlines()[-1].strip()
    assert re.fullmatch(r"Exit codes: 0 .*, 2 wrong usage(, .*)?\.", last)
    codes = [int(code) for code in re.findall(r"(?<=[ ,])\d+(?= )", last)]
    assert codes == sorted(set(codes))
    assert set(codes) <= set(exit_code.MEANINGS)


def test_exit_codes_say_what_they_mean_for_the_command() -> None:
    told = {
        "rank": "Exit codes: 0 complete, 2 wrong usage, 3 something failed, 4 a needed plugin is broken, 130 interrupted.",
        "plan": "Exit codes: 0 complete, 2 wrong usage, 4 a needed plugin is broken.",
        "check": "Exit codes: 0 no regression, 1 a regression, 2 wrong usage, 3 something could not be judged, "
        "4 a needed plugin is broken, 130 interrupted.",
    }
    for command, line in told.items():
        assert line in CliRunner().invoke(app, [command, "--help"], terminal_width=400).output


def test_there_are_commands_and_groups() -> None:
    assert len(PATHS) >= 12
    assert ["plugins", "check"] in PATHS
    assert ["plugins"] not in PATHS


def test_the_top_shows_every_command_and_the_exit_codes() -> None:
    shown = CliRunner().invoke(app, ["--help"], terminal_width=400, prog_name="robustradar").output
    assert re.search(r"Exit codes: 0 complete, 1 .*, 2 wrong usage, 3 .*, 4 .*, 70 .*, 130 interrupted, 141 ", shown)
    for path in PATHS:
        assert f"\n  {path[0]} " in shown
