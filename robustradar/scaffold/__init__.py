"""Writes a new plugin: a distribution that installs, is found and passes its tests at once."""

from __future__ import annotations

import re
from importlib import metadata, resources
from pathlib import Path
from string import Template

import robustradar
from robustradar.errors import StoreError, UsageError
from robustradar.host import GROUP
from robustradar.version import CONTRACT

# What is written, and the template of it; `{kind}` and `{package}` are filled in.
FILES = {
    "pyproject.toml": "pyproject",
    "README.md": "readme",
    "{package}/__init__.py": "{kind}",
    "{package}/py.typed": "typed",
    "tests/test_{package}.py": "{kind}-test",
}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_ARTICLE = {"attack": "an attack", "architecture": "an architecture", "dataset": "a data set"}
_USE = {
    "attack": "robustradar rank --arch papers/linear --arch papers/mlp --attack $name/$name --metric robust-accuracy",
    "architecture": "robustradar rank --arch $name/$name --arch $name/$name:width=64 --arch papers/linear",
    "dataset": "robustradar rank --arch papers/linear --arch papers/mlp --data $name/$name",
    "metric": "robustradar rank --arch papers/linear --arch papers/mlp --metric $name/$name",
    "ranker": "robustradar rank --arch papers/linear --arch papers/mlp --ranker $name/$name",
    "reporter": "robustradar rank mine --registry registry.yaml   # a study with reporters: [$name/$name]",
}


def write(kind: str, name: str, folder: Path) -> list[Path]:
    """Writes a distribution.

    Args:
        kind: What it declares: ``attack``, ``architecture``, ``dataset``, ``metric``, ``ranker`` or ``reporter``.
        name: Of the plugin and of what it declares: lower-case words joined by hyphens.
        folder: Where; it must not exist yet, or be empty.

    Returns:
        The files written.

    Raises:
        UsageError: The name is no name, or is taken by an installed plugin; or there is something in the folder.
        StoreError: The folder cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"NAME: got {name!r}, expected lower-case words joined by hyphens, such as noisy-signs.")
    taken = {entry.name: entry.dist for entry in metadata.entry_points(group=GROUP)}
    if name in taken:
        holder = taken[name]
        raise UsageError(
            f"NAME: got {name!r}, which is an installed plugin of {holder.name if holder else 'another'}. Choose another name."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--out: got {str(folder)!r}, which is there already, expected a new or empty folder. Choose another.")
    texts = rendered(kind, name)
    try:
        for file, text in texts.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"--out: got {str(folder)!r}, which cannot be written ({error.strerror}). Choose another folder.") from None
    return [folder / file for file in texts]


def rendered(kind: str, name: str) -> dict[str, str]:
    """The files of a distribution, by their place in it."""
    package = f"robustradar_{name.replace('-', '_')}"
    words = {
        "name": name,
        "package": package,
        "kind": kind,
        "article": _ARTICLE.get(kind, f"a {kind}"),
        "title": "".join(word.capitalize() for word in name.split("-")),
        "column": name.replace("-", "_"),
        "version": robustradar.__version__,
        "contract": CONTRACT,
        "use": Template(_USE[kind]).substitute(name=name),
    }
    templates = resources.files("robustradar.scaffold") / "template"
    return {
        file.format(package=package): Template((templates / f"{source.format(kind=kind)}.txt").read_text(encoding="utf-8")).substitute(
            words
        )
        for file, source in FILES.items()
    }
