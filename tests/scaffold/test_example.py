"""The example's distribution, built outside the repository, installed into a clean environment beside RobustRadar's wheel, and used."""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "robustradar-example"
# An installer that asks the network for anything fails.
OFFLINE = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]


def done(command: Sequence[object], folder: Path) -> str:
    """What a command prints; PYTHONPATH could bring the checkout back in."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    ended = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with both wheels; the libraries are those of this interpreter, by a .pth file.

    What that file adds comes last, and .pth files that lie there are not read: an editable install of the checkout stays out of sight.
    """
    folder = tmp_path_factory.mktemp("clean")
    shutil.copytree(EXAMPLE, folder / "example", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for source in (ROOT, folder / "example"):
        done([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist"], source)
    venv.create(folder / "environment", with_pip=True)
    (bin_folder,) = (found for name in ("bin", "Scripts") if (found := folder / "environment" / name).is_dir())
    done([bin_folder / "python", "-m", "pip", *OFFLINE, *(folder / "dist").glob("*.whl")], folder)
    (site,) = (folder / "environment").rglob("site-packages")
    libraries = [entry for entry in sys.path if Path(entry).name in {"site-packages", "dist-packages"}]
    (site / "libraries.pth").write_text("".join(f"{entry}\n" for entry in libraries))
    return bin_folder


def test_both_are_the_installed_ones(clean: Path, tmp_path: Path) -> None:
    code = "import robustradar, robustradar_example as e; print(robustradar.__file__); print(e.__file__)"
    for file in done([clean / "python", "-c", code], tmp_path).splitlines():
        assert Path(file).is_relative_to(clean.parent)


def test_it_is_found_and_in_order(clean: Path, tmp_path: Path) -> None:
    rows = json.loads(done([clean / "robustradar", "plugins", "list", "--json"], tmp_path))
    (row,) = [row for row in rows if row["plugin"] == "example"]
    assert (row["distribution"], row["version"], row["contract"], row["state"]) == ("robustradar-example", "0.1.0", "0.1", "ok")


def test_it_passes_its_own_tests(clean: Path, tmp_path: Path) -> None:
    tests = (EXAMPLE / "tests" / "test_example.py").read_text(encoding="utf-8")
    (tmp_path / "test_example.py").write_text(tests, encoding="utf-8")
    command = ["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_example.py"]
    printed = done([clean / "python", *command], tmp_path)
    assert " passed" in printed
    assert "skipped" not in printed


def test_it_is_ranked_with(clean: Path, tmp_path: Path) -> None:
    command = (
        "rank --arch example/maxout:width=8 --arch papers/linear --attack example/corners --metric example/distance "
        "--metric robust-accuracy --data digits:train_limit=100,eval_limit=50 --recipe quick:epochs=1 --json"
    )
    printed = done([clean / "robustradar", *command.split()], tmp_path)
    assert '"example": "robustradar-example 0.1.0"' in printed
    assert '"column": "boundary_distance"' in printed


def test_declaring_imports_no_heavy_library(clean: Path, tmp_path: Path) -> None:
    code = (
        "import sys, robustradar_example as e; e.robustradar_attacks(), e.robustradar_architectures(), e.robustradar_metrics();"
        "print(sorted({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    assert done([clean / "python", "-c", code], tmp_path) == "[]\n"
