"""The example's distribution, installed beside RobustRadar's wheel away from the checkout: found, checked, tested and ranked with."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "robustradar-example"


def python(arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-S", "-P", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Both wheels unpacked, then the libraries; -S leaves .pth files unread, so an editable install of the checkout is out of sight."""
    dist, site = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    for source in (ROOT, EXAMPLE):
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)]
        subprocess.run(command, cwd=source, check=True, capture_output=True)
    for wheel in dist.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    libraries = [entry for entry in sys.path if Path(entry).name in {"site-packages", "dist-packages"}]
    return {"PYTHONPATH": os.pathsep.join([str(site), *libraries])}


def test_it_passes_its_own_tests(away: dict[str, str], tmp_path: Path) -> None:
    tests = (EXAMPLE / "tests" / "test_example.py").read_text(encoding="utf-8")
    (tmp_path / "test_example.py").write_text(tests, encoding="utf-8")
    printed = python(["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_example.py"], tmp_path, away)
    assert " passed" in printed
    assert "skipped" not in printed


def test_it_is_ranked_with(away: dict[str, str], tmp_path: Path) -> None:
    command = (
        "-m robustradar rank --arch example/maxout:width=8 --arch papers/linear --attack example/corners --metric example/distance "
        "--metric robust-accuracy --data digits:train_limit=100,eval_limit=50 --recipe quick:epochs=1 --json"
    )
    printed = python(command.split(), tmp_path, away)
    assert '"example": "robustradar-example 0.1.0"' in printed
    assert '"column": "boundary_distance"' in printed


def test_declaring_imports_no_heavy_library(away: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import sys, robustradar_example as e; e.robustradar_attacks(), e.robustradar_architectures(), e.robustradar_metrics();"
        "print(sorted({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    assert python(["-c", code], tmp_path, away) == "[]\n"
