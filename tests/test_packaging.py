"""The distribution: what the wheel holds, that it works away from the checkout, and that the pins are usable.

Nothing here needs a network: the wheel is built by the installed hatchling and tried from an unpacked folder.
"""

import ast
import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from configparser import ConfigParser
from email.parser import Parser
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PLUGIN_PACKAGES = sorted(path.name for path in (ROOT / "plugins").iterdir() if path.is_dir() and path.name != "__pycache__")
CORE_PACKAGES = ["robustradar", "robustradar_pytest"]
PACKAGES = [*CORE_PACKAGES, *PLUGIN_PACKAGES]
PLUGIN_NAMES = [package.removeprefix("robustradar_") for package in PLUGIN_PACKAGES]
DATA_FILES = [
    "robustradar/registry.yaml",
    *(f"robustradar/report/{name}" for name in ("scores.schema.json", "page.html", "page.css", "page.js")),
]
NOT_FOR_USERS = ["test", "tests", "test_*.py", "*_test.py", "conftest.py", "benchmarks", "bench_*.py"]


def run_python(arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run this interpreter, show its streams where it fails, and return its standard output."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\nstdout:\n{done.stdout}\nstderr:\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run_python(["-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def away(unpacked: Path) -> dict[str, str]:
    """Environment for `python -S -P`: the unpacked wheel, then the installed libraries, and no checkout.

    -S leaves .pth files unread, so an editable install of the checkout is out of sight.
    """
    libraries = [entry for entry in sys.path if Path(entry).name in {"site-packages", "dist-packages"}]
    return {"PYTHONPATH": os.pathsep.join([str(unpacked), *libraries])}


def imported_packages(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return {node.module.split(".")[0]}
    return set()


def metadata_file(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (member,) = [entry for entry in archive.namelist() if fnmatch(entry, f"robustradar-*.dist-info/{name}")]
        return archive.read(member).decode()


# The wheel's content


def test_the_wheel_holds_the_core_and_every_plugin_folder_and_nothing_else(names: list[str]) -> None:
    top = {PurePosixPath(name).parts[0] for name in names}
    (dist_info,) = [name for name in top if name.endswith(".dist-info")]
    assert top - {dist_info} == set(PACKAGES)


def test_every_source_and_data_file_is_in_the_wheel(names: list[str]) -> None:
    sources = {
        path.relative_to(base).as_posix()
        for base, package in [
            *((ROOT, package) for package in CORE_PACKAGES),
            *((ROOT / "plugins", package) for package in PLUGIN_PACKAGES),
        ]
        for path in (base / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources - set(names) == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_that_it_is_typed(names: list[str], package: str) -> None:
    assert f"{package}/__init__.py" in names
    assert f"{package}/py.typed" in names


@pytest.mark.parametrize("name", DATA_FILES)
def test_data_files_are_in_the_wheel(names: list[str], name: str) -> None:
    assert name in names


def test_tests_and_benchmarks_stay_out_of_the_wheel(names: list[str]) -> None:
    astray = [name for name in names for part in PurePosixPath(name).parts if any(fnmatch(part, pattern) for pattern in NOT_FOR_USERS)]
    assert astray == []


def test_every_plugin_folder_has_an_entry_point_and_every_entry_point_a_folder(wheel: Path) -> None:
    entry_points = ConfigParser()
    entry_points.read_string(metadata_file(wheel, "entry_points.txt"))
    assert dict(entry_points["robustradar"]) == dict(zip(PLUGIN_NAMES, PLUGIN_PACKAGES, strict=True))
    assert dict(entry_points["console_scripts"]) == {"robustradar": "robustradar.cli:main"}
    assert dict(entry_points["pytest11"]) == {"robustradar_pytest": "robustradar_pytest"}


def test_the_licence_travels_with_the_wheel(wheel: Path) -> None:
    assert Parser().parsestr(metadata_file(wheel, "METADATA"))["License-Expression"] == "Apache-2.0"
    assert metadata_file(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()


def test_the_package_knows_its_own_version(wheel: Path, away: dict[str, str], tmp_path: Path) -> None:
    printed = run_python(["-S", "-P", "-c", "import robustradar; print(robustradar.__version__)"], cwd=tmp_path, env=away)
    assert printed.strip() == Parser().parsestr(metadata_file(wheel, "METADATA"))["Version"]


# The wheel at work, away from the checkout


def test_an_installed_wheel_is_found_with_all_its_plugins(unpacked: Path, away: dict[str, str], tmp_path: Path) -> None:
    program = (
        "import importlib.metadata, importlib.util, json\n"
        "found = {entry.name: importlib.util.find_spec(entry.value).origin\n"
        "         for entry in importlib.metadata.entry_points(group='robustradar') if entry.dist.name == 'robustradar'}\n"
        "print(json.dumps(found))\n"
    )
    found = json.loads(run_python(["-S", "-P", "-c", program], cwd=tmp_path, env=away))
    assert found == {name: str(unpacked / package / "__init__.py") for name, package in zip(PLUGIN_NAMES, PLUGIN_PACKAGES, strict=True)}


def test_an_installed_wheel_lists_its_plugins(away: dict[str, str], tmp_path: Path) -> None:
    printed = run_python(["-S", "-P", "-m", "robustradar", "plugins", "list", "--json"], cwd=tmp_path, env=away)
    json.loads(printed)
    assert [name for name in PLUGIN_NAMES if f'"{name}"' not in printed] == []


# The pins


def test_constraints_pin_every_declared_dependency_and_hold_no_address() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert [str(pin) for pin in pins if pin.url or pin.extras or [part.operator for part in pin.specifier] != ["=="]] == []
    pinned: dict[str, list[str]] = {}
    for pin in pins:
        pinned.setdefault(canonicalize_name(pin.name), []).extend(part.version for part in pin.specifier)
    for requirement in map(Requirement, declared):
        versions = pinned.get(canonicalize_name(requirement.name), [])
        assert versions, f"constraints.txt does not pin {requirement.name}: compile it again as CONTRIBUTING.md says"
        assert all(requirement.specifier.contains(version) for version in versions), f"constraints.txt contradicts {requirement}"


# torchattacks pins an old requests; overrides.txt lifts the pin, which is right only while these hold


def test_torchattacks_still_pins_requests() -> None:
    pins = [Requirement(text) for text in importlib.metadata.requires("torchattacks") or []]
    (requests,) = [pin for pin in pins if pin.name == "requests"]
    lifted = Requirement((ROOT / "overrides.txt").read_text().splitlines()[-1])
    assert lifted.name == "requests"
    assert not requests.specifier.contains("2.32.0"), "torchattacks admits a current requests: overrides.txt can go"


def test_torchattacks_never_imports_requests() -> None:
    """Nor robustbench, a copy of which comes in the same distribution and does import requests."""
    files = [path for path in importlib.metadata.files("torchattacks") or [] if path.parts[0] == "torchattacks" and path.suffix == ".py"]
    assert files
    importing = [
        str(path)
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if imported_packages(node) & {"requests", "robustbench"}
    ]
    assert importing == []


def test_torchattacks_runs_where_requests_cannot_be_imported(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules['requests'] = None\n"
        "import torch, torchattacks\n"
        "torch.manual_seed(0)\n"
        "model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()\n"
        "x, y = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0])\n"
        "attacked = torchattacks.PGD(model, eps=8 / 255, alpha=2 / 255, steps=4)(x, y)\n"
        "loss = torch.nn.functional.cross_entropy\n"
        "print((attacked - x).abs().max().item() <= 8 / 255 + 1e-6, loss(model(attacked), y).item() > loss(model(x), y).item())\n"
    )
    assert run_python(["-c", program], cwd=tmp_path).strip() == "True True"
