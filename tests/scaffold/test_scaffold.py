"""What `plugins new` writes installs, is found, keeps its contract and passes its tests at once: all six kinds, away from the checkout."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from robustradar import UsageError, scaffold
from robustradar.errors import StoreError

KINDS = ("attack", "architecture", "dataset", "metric", "ranker", "reporter")


def name(kind: str) -> str:
    return f"new-{kind}"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("written")
    for kind in KINDS:
        scaffold.write(kind, name(kind), root / kind)
    return root


@pytest.fixture(scope="module")
def installed(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The wheels of all six, unpacked."""
    dist, site = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    for kind in KINDS:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)]
        subprocess.run(command, cwd=written / kind, check=True, capture_output=True)
    for wheel in dist.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    yield site


def run(arguments: list[str], folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_are_those_of_a_distribution(kind: str, written: Path) -> None:
    package = f"robustradar_new_{kind}"
    files = sorted(file.relative_to(written / kind).as_posix() for file in (written / kind).rglob("*") if file.is_file())
    assert files == sorted(["README.md", "pyproject.toml", f"{package}/__init__.py", f"{package}/py.typed", f"tests/test_{package}.py"])
    project = tomllib.loads((written / kind / "pyproject.toml").read_text())["project"]
    assert project["name"] == f"robustradar-new-{kind}"
    assert project["entry-points"] == {"robustradar": {f"new-{kind}": package}}
    texts = "".join(file.read_text() for file in (written / kind).rglob("*") if file.is_file())
    assert "$" not in texts
    assert f'test_contract = contract_test("new-{kind}"' in texts


def test_all_six_pass_their_tests_once_they_are_installed(written: Path, installed: Path) -> None:
    folders = [f"{kind}/tests" for kind in KINDS]
    done = run(["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", f"--rootdir={written}", *folders], written, installed)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 100
    assert "skipped" not in done.stdout


def test_an_installed_one_is_ranked_by(installed: Path, tmp_path: Path) -> None:
    command = (
        "-m robustradar rank --arch new-architecture --arch papers/linear --data new-dataset:samples=100 --attack new-attack --eps 0.05 "
        "--metric new-metric --metric robust-accuracy --ranker new-ranker --recipe quick:epochs=1 --json"
    )
    done = run(command.split(), tmp_path, installed)
    assert done.returncode == 0, done.stderr
    assert '"candidate": "new-architecture/new-architecture"' in done.stdout
    assert '"column": "new_metric"' in done.stdout


def test_what_is_written_is_typed_and_formatted(written: Path, tmp_path: Path) -> None:
    packages = [str(written / kind / f"robustradar_new_{kind}") for kind in KINDS]
    typed = run(["-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}", *packages], written, written)
    assert typed.stdout == f"Success: no issues found in {len(KINDS)} source files\n"
    rules = ["--isolated", "--line-length=140"]
    for kind in KINDS:
        for command in (["check", "--select=E,F,I,D,UP,B,ANN", '--config=lint.pydocstyle.convention="google"'], ["format", "--check"]):
            done = run(["-m", "ruff", *command, *rules, "."], written / kind, written)
            assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("wrong", ["Signs", "my_signs", "1st", "a--b", "", "../x", "ein-ä"])
def test_a_name_that_is_none_is_refused(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        scaffold.write("attack", wrong, tmp_path / "new")
    assert str(caught.value) == f"NAME: got {wrong!r}, expected lower-case words joined by hyphens, such as noisy-signs."
    assert not (tmp_path / "new").exists()


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        scaffold.write("attack", "native", tmp_path / "new")
    assert str(caught.value) == "NAME: got 'native', which is an installed plugin of robustradar. Choose another name."


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UsageError) as caught:
        scaffold.write("metric", "flatness", tmp_path)
    assert str(caught.value) == f"--out: got {str(tmp_path)!r}, which is there already, expected a new or empty folder. Choose another."
    assert [file.name for file in tmp_path.iterdir()] == ["note.txt"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        scaffold.write("metric", "flatness", tmp_path / "file" / "new")
    where = str(tmp_path / "file" / "new")
    assert str(caught.value) == f"--out: got {where!r}, which cannot be written (Not a directory). Choose another folder."


def test_names_that_are_words_of_python_do(tmp_path: Path) -> None:
    scaffold.write("architecture", "none", tmp_path / "none")
    source = (tmp_path / "none/robustradar_none/__init__.py").read_text()
    compile(source, "none", "exec")
    assert "class NoneArchitecture(Architecture):" in source
