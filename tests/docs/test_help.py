"""`robustradar COMMAND --help` shows two examples, and each is a command line that the command takes."""

import re
import sys

import pytest
from snippets import DOCS, parsed
from typer.testing import CliRunner

from robustradar.cli import app, exit_code

sys.path.insert(0, str(DOCS))
import built

PATHS = [
    path
    for path in built.command_paths()
    if path and not any(other[: len(path)] == path and other != path for other in built.command_paths())
]


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_has_two_examples_that_the_command_takes(path: list[str]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], terminal_width=400, prog_name="robustradar")
    assert shown.exit_code == 0
    _, _, below = shown.output.partition("Examples:")
    examples = re.findall(r"^ *(?:[A-Z_]+=\S+ )?(robustradar .*)$", below, re.M)
    assert len(examples) == 2, shown.output
    assert path in [parsed(example)[0] for example in examples]


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
    assert re.search(r"Exit codes: 0 complete, 1 .*, 2 wrong usage, 3 .*, 4 .*, 130 interrupted", shown)
    for path in PATHS:
        assert f"\n  {path[0]} " in shown
