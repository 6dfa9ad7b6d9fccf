"""Which files a module is in: what it imports from its own folder, and nothing of what is installed."""

import sysconfig
from pathlib import Path

import pytest

from robustradar.source import reached


def written(root: Path, **files: str) -> None:
    for name, text in files.items():
        file = root / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def names(root: Path, file: str, name: str = "") -> list[str]:
    return [found.relative_to(root.resolve()).as_posix() for found in reached(root / file, name)]


def test_imports_are_followed_wherever_they_stand(tmp_path: Path) -> None:
    written(
        tmp_path,
        nets="import math, torch\ndef late():\n    from layers import act\n",
        layers="import pack.part as p\n",
        other="import nets\n",
    )
    written(
        tmp_path,
        pack__part="from . import near\nfrom .deep.far import x\n",
        pack__near="",
        pack__deep__far="import nets\n",
        pack__unused="",
    )
    assert names(tmp_path, "nets.py") == ["nets.py", "layers.py", "pack/deep/far.py", "pack/near.py", "pack/part.py"]


def test_a_module_within_a_package_is_read_from_the_folder_of_the_package(tmp_path: Path) -> None:
    written(tmp_path, mine__radar="from mine.layers import act\nimport beside\n", mine__layers="", beside="", layers="")
    (tmp_path / "mine" / "__init__.py").touch()
    assert names(tmp_path, "mine/radar.py", "mine.radar") == ["mine/radar.py", "beside.py", "mine/__init__.py", "mine/layers.py"]


def test_of_what_is_installed_only_its_own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, mine__radar="import mine.layers, other\n", mine__layers="", other="")
    monkeypatch.setattr("robustradar.source._INSTALLED", {tmp_path.resolve()})
    assert names(tmp_path, "mine/radar.py", "mine.radar") == ["mine/radar.py", "mine/layers.py"]


def test_nothing_of_robustradar_and_of_the_libraries(tmp_path: Path) -> None:
    written(tmp_path, nets="import robustradar, robustradar.errors\n", robustradar__errors="")
    assert names(tmp_path, "nets.py") == ["nets.py"]
    assert len(reached(Path(sysconfig.get_path("purelib")) / "pluggy" / "_hooks.py", "pluggy._hooks")) < 12


def test_what_is_no_python_is_a_file_and_no_more(tmp_path: Path) -> None:
    written(tmp_path, nets="import broken\nimport absent\n", broken="def (:\n")
    assert names(tmp_path, "nets.py") == ["nets.py", "broken.py"]
    assert reached(tmp_path / "absent.py") == [(tmp_path / "absent.py").resolve()]
