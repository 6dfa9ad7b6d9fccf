"""Every block of the README that a reader may copy runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)(?: title=(\S+))?\n(.*?)```", README, re.S)
# The README ranks with the recipes that users get; here it is enough that the commands run.
SHORT = ["--recipe", "quick:epochs=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("readme")
    for _, title, text in BLOCKS:
        if title:
            (where / title).write_text(text, encoding="utf-8")
    return where


def commands() -> list[str]:
    return [line for kind, _, text in BLOCKS if kind == "console" for line in text.strip().splitlines()]


def run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:robustradar", "-m", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_has_commands_and_plugins() -> None:
    assert len(commands()) >= 6
    assert {title for _, title, _ in BLOCKS if title} == {"mynets.py", "signs.py"}


def test_every_command_of_the_readme_runs_and_its_results_load_into_pandas(folder: Path) -> None:
    for command in commands():
        arguments = shlex.split(command)
        extra = SHORT if arguments[1] == "rank" else []
        if arguments[1:] == ["rank", "quickstart"]:  # a study that options change has a folder of its own
            extra = [*extra, "--out", "robustradar-results/quickstart"]
        assert run([*arguments, *extra], folder).strip()
    (snippet,) = [text for kind, title, text in BLOCKS if kind == "python" and not title]
    shown = snippet + "\nprint(len(scores), sorted(scores.columns)[:3])"
    done = subprocess.run([sys.executable, "-c", shown], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "['candidate', 'column', 'details']" in done.stdout


def test_links_of_the_readme_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_are_targets_of_the_makefile(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
