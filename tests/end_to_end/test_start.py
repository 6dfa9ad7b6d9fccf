"""What a process of its own shows: help without torch, usage errors on one line, and the two ways to start."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROBE = """
import sys
sys.argv = ["robustradar", *{arguments}]
from robustradar.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
heavy = {{"torch", "torchvision", "timm", "torchattacks", "sklearn", "scipy"}} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["rank", "--help"], ["plugins", "list"], ["plugins", "show", "native/pgd"]]
)
def test_help_and_plugins_come_without_torch(arguments: list[str], workplace: Any) -> None:
    process = workplace.start("-c", PROBE.format(arguments=arguments))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out
    assert err == ""


def test_the_version_comes_before_anything_else(workplace: Any) -> None:
    process = workplace.start("-m", "robustradar", "--version", "nope")
    assert process.communicate(timeout=60) == ("robustradar 0.1.0\n", "")
    assert process.returncode == 0


def test_help_names_every_option_and_the_exit_codes(workplace: Any) -> None:
    process = workplace.start("-m", "robustradar", "rank", "--help")
    out, _ = process.communicate(timeout=60)
    options = set(re.findall(r"--[a-z-]+", out))
    expected = "arch data norm eps attack metric recipe ranker seeds device store out registry plugin json quiet"
    assert {f"--{name}" for name in expected.split()} <= options
    process = workplace.start("-m", "robustradar", "--help")
    out, _ = process.communicate(timeout=60)
    epilog = (
        "Exit codes: 0 complete, 1 gate not met, 2 wrong usage, 3 something failed, 4 a needed plugin is broken, "
        "70 an internal error, 130 interrupted, 141 nobody read the answer."
    )
    assert epilog in " ".join(out.split())


def test_the_installed_command_tells_a_mistake_on_one_line(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("robustradar")
    if not command.exists():
        found = shutil.which("robustradar")
        assert found, "the package is not installed"
        command = Path(found)
    done = subprocess.run([command, "rank", "nope"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    expected = r"robustradar: STUDY: got 'nope', expected one of \d+ names \(robustradar plugins list study shows them\)\.\n"
    assert re.fullmatch(expected, done.stderr)
