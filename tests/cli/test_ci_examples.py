"""The workflows of `examples/ci` as they stand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

import robustradar_pytest

Run = Callable[[str], Any]
ROOT = Path(__file__).parents[2]


def test_the_examples_for_ci_run_as_they_stand(run: Run) -> None:
    folder = ROOT / "examples" / "ci"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for title, text in re.findall(r"```python title=(\S+)\n(.*?)```", readme, re.S):
        Path(title).write_text(text)
    lines = [line.strip() for line in readme.splitlines()]
    rank, save, update = (line.removeprefix("robustradar ") for line in lines if line.startswith("robustradar "))
    assert run(f"{rank} --recipe quick:epochs=2 --device cpu --quiet").code == 0
    assert run(save).code == 0
    jobs = yaml.safe_load((folder / "github.yml").read_text()), yaml.safe_load((folder / "gitlab.yml").read_text())
    steps = [step.get("run", "") for step in jobs[0]["jobs"]["robustness"]["steps"]] + jobs[1]["robustness"]["script"]
    checks = [step.removeprefix("robustradar ") for step in steps if step.startswith("robustradar ")]
    assert len(checks) == 2
    assert [run(f"{line} --device cpu").code for line in checks] == [0, 0]
    (report,) = jobs[1]["robustness"]["artifacts"]["reports"].values()
    assert ElementTree.parse(report).getroot().attrib["failures"] == "0"
    program: dict[str, Any] = {}
    exec((folder / "test_robustness.py").read_text(), program)
    program["test_robustness"](robustradar_pytest.gate(Path.cwd()))
    Path("mynets.py").write_text(Path("mynets.py").read_text().replace("nn.ReLU(), nn.L", "nn.Dropout(0.99), nn.L"))
    assert [run(f"{line} --device cpu").code for line in checks] == [1, 1]
    assert int(ElementTree.parse(report).getroot().attrib["failures"]) >= 1
    with pytest.raises(pytest.fail.Exception, match="REGRESSION"):
        program["test_robustness"](robustradar_pytest.gate(Path.cwd()))
    assert run(f"{update} --device cpu --quiet").code == 0
    assert [run(f"{line} --device cpu").code for line in checks] == [0, 0]
    assert shlex.split(save)[-1] == "robustness.json"
