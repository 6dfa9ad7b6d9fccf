"""The contract's version: what a plugin states, in a file or a package, and what it is told where it is another's."""

from pathlib import Path

import pytest

from robustradar import host, version

HOOK = "import robustradar\n@robustradar.hookimpl\ndef robustradar_attacks():\n    return ()\n"
OLD = "written for contract 0.0, expected 0.1. Update it: see what changed in docs/plugins.md, then set robustradar_contract = '0.1'."
ODD = "expected a text such as '0.1'. Set it to the contract that the plugin was written for."


def error(folder: Path, text: str) -> str | None:
    file = folder / "signs.py"
    file.write_text(text, encoding="utf-8")
    (plugin,) = host.load(given=[str(file)], entry_points=[])
    return plugin.error


@pytest.mark.parametrize("stated", ["", f"robustradar_contract = {version.CONTRACT!r}\n"])
def test_the_contract_of_this_release_or_none_is_taken(stated: str, tmp_path: Path) -> None:
    assert error(tmp_path, HOOK + stated) is None


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("'0.0'", OLD),
        ("'0.2'", "written for contract 0.2, expected 0.1. Update RobustRadar: pip install --upgrade robustradar."),
        ("'1.0'", "written for contract 1.0, expected 0.1. Update RobustRadar: pip install --upgrade robustradar."),
        ("'0.10'", "written for contract 0.10, expected 0.1. Update RobustRadar: pip install --upgrade robustradar."),
        ("0.1", f"robustradar_contract: got 0.1, {ODD}"),
        ("'new'", f"robustradar_contract: got 'new', {ODD}"),
    ],
)
def test_another_contract_is_refused_with_what_to_do(stated: str, message: str, tmp_path: Path) -> None:
    assert error(tmp_path, f"{HOOK}robustradar_contract = {stated}\n") == message


def test_it_is_told_before_hooks_that_are_gone(tmp_path: Path) -> None:
    assert error(tmp_path, HOOK.replace("attacks", "attackers") + "robustradar_contract = '0.0'\n") == OLD


def test_it_is_told_where_the_import_fails_before_it_is_stated(tmp_path: Path) -> None:
    found = error(tmp_path, "from robustradar import Gone\nrobustradar_contract = '0.0'\n")
    assert found is not None
    assert found.startswith(f"{OLD} It fails with: import: ImportError: cannot import name 'Gone' from 'robustradar' (")
    now = error(tmp_path, "from robustradar import Gone\nrobustradar_contract = '0.1'\n")
    assert now is not None
    assert now.startswith("import: ImportError: cannot import name 'Gone'")


def test_a_package_is_updated_by_its_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, info = tmp_path / "signs_package", tmp_path / "robustradar_signs-1.2.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("from signs_package.old import robustradar_attacks\nrobustradar_contract = '0.0'\n")
    (package / "old.py").write_text("from robustradar import Gone\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: robustradar-signs\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[robustradar]\nsigns = signs_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugin = next(p for p in host.load() if p.name == "signs")
    assert (plugin.origin, plugin.contract, plugin.place) == ("robustradar-signs 1.2", "0.0", f"{package / 'old.py'}:1")
    assert plugin.error is not None
    assert plugin.error.startswith(
        "written for contract 0.0, expected 0.1. Update it: pip install --upgrade robustradar-signs. It fails with: import: ImportError: "
    )


def test_a_file_that_is_no_python_states_nothing(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("def (")
    assert version.written(tmp_path / "odd.py") == ""
    assert version.written(tmp_path / "missing.py") == ""
