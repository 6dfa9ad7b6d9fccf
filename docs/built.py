"""What the site's reference pages hold, read from the code: declarations, commands, names for Python, and the schema of scores.json.

`text("metrics")` is what stands for ``<!-- built: metrics -->``. torch is not needed. ``python docs/built.py metrics`` prints it.
"""

from __future__ import annotations

import json
import math
import sys
import typing
from collections.abc import Iterator
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

import robustradar
from robustradar import catalog, host
from robustradar.cli import app
from robustradar.contract.attack import Attack
from robustradar.contract.declaration import Declaration, parameters
from robustradar.contract.metric import Metric

# Of declarations beyond this, with the same parameters, the first few stand for all.
MANY = 12

# The menu, in order.
CONTENTS = {
    "Tutorials": ("tutorials/pre-screen", "tutorials/plugin", "tutorials/ci"),
    "Use": ("architectures", "data", "attacks", "training", "rankers", "funnel", "fidelity", "report", "gate", "plugins", "faq"),
    "What is measured": ("evidence", "metrics", "baselines", "tradeoff", "transition", "flags", "benchmarks"),
    "Reference": ("reference/commands", "reference/registry", "reference/scores", "reference/python"),
    "Declarations": tuple(f"reference/{kind}" for kind in ("architectures", "datasets", "recipes", "attacks", "metrics", "output")),
}


def text(name: str) -> str:
    """What a mark is replaced by.

    Raises:
        ValueError: Nothing of this name can be built.
    """
    kinds = {f"{kind}s": kind for kind in host.KINDS}
    if name in kinds:
        return declarations(kinds[name])
    whole = {"commands": commands, "contents": contents, "modules": modules, "schema": schema}
    if name in whole:
        return whole[name]()
    word, _, module = name.partition(" ")
    if word == "python" and module:
        return python(module)
    raise ValueError(f"docs: got {name!r} to build, expected one of {', '.join([*kinds, *whole])}, or python MODULE.")


def contents() -> str:
    """The menu; pages that nobody put into it come last."""
    here = Path(__file__).parent
    listed = {"index", *(page for pages in CONTENTS.values() for page in pages)}
    others = sorted({page.relative_to(here).with_suffix("").as_posix() for page in here.rglob("*.md")} - listed)
    parts = [
        f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{chr(10).join(pages)}\n```\n"
        for caption, pages in (CONTENTS | {"More": others}).items()
        if pages
    ]
    return "\n".join(parts)


# Declarations


def declarations(kind: str) -> str:
    """Every declaration of a kind, with its parameters; those of one plugin that have the same come together where they are many."""
    parts = []
    for plugin in host.load():
        declared = plugin.declarations.get(kind, ())
        parts += [f"## {plugin.name}\n"] if declared else []
        for _, group in groupby(declared, key=lambda d: (type(d).__name__, str(_parameters(d)))):
            alike = list(group)
            parts += [_several(alike)] if len(alike) > MANY else [_one(plugin.name, d) for d in alike]
    return "\n".join(parts)


def _one(plugin: str, declared: Declaration) -> str:
    """A declaration."""
    parts = [f"### `{plugin}/{declared.name}`", declared.summary]
    if isinstance(declared, Attack):
        norms = "any" if declared.norms is None else ", ".join("linf" if math.isinf(p) else f"l{p:g}" for p in declared.norms)
        parts.append(f"Kind: `{declared.kind}`. Norms: {norms}.")
    if isinstance(declared, Metric):
        rows = [[f"`{c.name}`", {"none": "–"}.get(c.direction, c.direction), c.unit] for c in declared.columns]
        parts.append(table(["column", "better", "unit"], rows))
        parts += [f"As a forecast of robustness: {declared.evidence}"] if declared.evidence else []
    return "\n\n".join([*parts, _parameters(declared)]) + "\n"


def _several(alike: list[Declaration]) -> str:
    """Many declarations with the same parameters."""
    names = ", ".join(f"`{d.name}`" for d in alike[:MANY])
    return f"{len(alike)}, {names} and so on; `robustradar plugins list` names them all.\n\n{_parameters(alike[0])}\n"


def _parameters(declared: Declaration) -> str:
    """A table of a declaration's parameters."""
    hints = typing.get_type_hints(type(declared), include_extras=True)
    rows = []
    for field in parameters(declared):
        hint, default = hints[field.name], catalog.shown(getattr(declared, field.name))
        rows.append([f"`{field.name}`", f"`{catalog.type_text(hint)}`", f"`{default}`" if default else "", catalog.description(hint)])
    return table(["parameter", "type", "default", "meaning"], rows) if rows else "No parameters."


# Commands


def commands() -> str:
    """Every command's help, as it is printed."""
    runner = CliRunner()
    parts = []
    for path in command_paths():
        shown = runner.invoke(app, [*path, "--help"], terminal_width=100, prog_name="robustradar")
        parts.append(f"## `{' '.join(['robustradar', *path])}`\n\n```text\n{shown.output.strip()}\n```\n")
    return "\n".join(parts)


def command_paths() -> list[list[str]]:
    """Every command, the top first, groups before what is in them."""

    def below(command: Any, path: list[str]) -> Iterator[list[str]]:
        yield path
        for name, inner in getattr(command, "commands", {}).items():
            yield from below(inner, [*path, name])

    return list(below(typer.main.get_command(app), []))


# Python


def modules() -> str:
    """The public modules, as the package's docstring lists them."""
    lines = [line.replace("``", "`") for line in str(robustradar.__doc__).splitlines() if line.startswith("- ``robustradar.")]
    return "\n".join(lines)


def python(module: str) -> str:
    """A module's public names from its source: signatures, and docstrings as they are written."""
    import griffe

    root = griffe.load("robustradar", search_paths=[Path(__file__).parents[1]], docstring_parser="google")
    found = root[module.partition(".")[2]] if "." in module else root
    names = [str(name) for name in found.exports or () if not str(name).startswith("__")]
    hooks = [name for name, member in found.members.items() if name.startswith("robustradar_") and not member.is_alias]
    return "\n".join(_documented(found[name], name, 3) for name in names or hooks)


def _documented(item: Any, name: str, level: int) -> str:
    """A name's signature, text, and for a class its public methods and properties."""
    item = item.final_target if item.is_alias else item
    parts = [f"{'#' * level} `{name}`", _signature(item, name)]
    parts += [_section(section, item) for section in (item.docstring.parsed if item.docstring else ())]
    if item.is_class:
        members = [(key, member) for key, member in item.members.items() if not key.startswith("_") and not member.is_alias]
        parts += [
            _documented(member, f"{name}.{key}", level + 1) for key, member in members if member.is_function or "property" in member.labels
        ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _signature(item: Any, name: str) -> str:
    """How it is called, or what it is."""
    if item.is_function:
        arguments = [_argument(p) for p in item.parameters if p.name not in {"self", "cls"}]
        return f"```python\n{name}({', '.join(arguments)}) -> {item.returns}\n```"
    if item.is_class:
        bases = ", ".join(str(base) for base in item.bases)
        return f"```python\nclass {name}({bases})\n```" if bases else ""
    return f"```python\n{name} = {item.value}\n```" if item.is_attribute and "property" not in item.labels else ""


def _argument(parameter: Any) -> str:
    """One parameter of a function."""
    stars = {"variadic positional": "*", "variadic keyword": "**"}.get(parameter.kind.value if parameter.kind else "", "")
    annotation = f": {parameter.annotation}" if parameter.annotation else ""
    return f"{stars}{parameter.name}{annotation}{f' = {parameter.default}' if parameter.default and not stars else ''}"


def _section(section: Any, item: Any) -> str:
    """A part of a docstring."""
    match section.kind.value:
        case "text":
            return str(section.value)
        case "parameters" | "attributes" | "raises" | "returns" as kind:
            lines = [f"- {_label(kind, row, item)}{' '.join(row.description.split())}" for row in section.value]
            return "\n".join([f"*{kind.capitalize()}*", "", *lines])
        case "admonition" if section.title == "Example":
            return f"```pycon\n{section.value.contents}\n```"
        case "examples":
            return "\n\n".join(f"```pycon\n{value}\n```" if kind.value == "examples" else str(value) for kind, value in section.value)
    raise ValueError(
        f"docs: got a docstring's {section.kind.value} of {item.path}, expected text, Args, Attributes, Raises, Returns or Example."
    )


def _label(kind: str, row: Any, item: Any) -> str:
    """What a line of a section begins with; a result's type stands in the signature."""
    if kind == "returns":
        return ""
    if kind == "raises":
        return f"`{row.annotation}`: "
    annotation = getattr(item.members.get(row.name), "annotation", None) if kind == "attributes" else None
    return f"`{row.name}: {annotation}`: " if annotation else f"`{row.name}`: "


# scores.json


def schema() -> str:
    """The fields of scores.json, a table for each object."""
    document = json.loads((resources.files("robustradar.report") / "scores.schema.json").read_text(encoding="utf-8"))
    parts = [_object("scores.json", document)]
    parts += [_object(name, found) for name, found in document["$defs"].items() if "properties" in found]
    return "\n".join(parts)


def _object(name: str, found: dict[str, Any]) -> str:
    """One object."""
    required = found.get("required", [])
    rows = [[f"`{path}`", kind, note] for path, kind, note in _fields(found, "")]
    optional = sorted(set(found["properties"]) - set(required))
    note = f"\n\nMay be absent: {', '.join(f'`{key}`' for key in optional)}." if optional else ""
    return f"## `{name}`\n\n{found.get('description', '')}{note}\n\n{table(['field', 'type', 'meaning'], rows)}\n"


def _fields(found: dict[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    """Path, type and description of every field; those of inner objects are joined by a point."""
    for key, inner in found.get("properties", {}).items():
        yield f"{path}{key}", _kind(inner), inner.get("description", "")
        yield from _fields(inner, f"{path}{key}.")
        yield from _fields(inner.get("items", {}), f"{path}{key}[].")


def _kind(found: dict[str, Any]) -> str:
    """A field's type in words."""
    if "$ref" in found:
        return f"`{found['$ref'].rpartition('/')[2]}`"
    if "const" in found:
        return f"`{json.dumps(found['const'])}`"
    if "enum" in found:
        return ", ".join(f"`{json.dumps(value)}`" for value in found["enum"])
    if "oneOf" in found:
        return " or ".join(_kind(choice) for choice in found["oneOf"])
    kinds = found.get("type", "any")
    kind = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    return f"{kind} of {_kind(found['items'])}" if kind == "array" and isinstance(found.get("items"), dict) else kind


# Markdown


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    print(text(" ".join(sys.argv[1:])))
