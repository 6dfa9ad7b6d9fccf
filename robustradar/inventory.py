"""What is installed, as plain JSON values and as tables, broken plugins included."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tabulate import tabulate

from robustradar import catalog as cat
from robustradar import host, registry
from robustradar.contract.declaration import Declaration, parameters
from robustradar.errors import UsageError, unknown
from robustradar.report import terminal

_CLASSES_SHOWN = 20


def plugins(given: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Every plugin: name, distribution, version, state and what it declares."""
    return [
        {
            "plugin": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "contract": plugin.contract,
            "state": plugin.state,
            "declares": ", ".join(f"{len(items)} {kind}{'s' * (len(items) > 1)}" for kind, items in plugin.declarations.items() if items),
            "hears": ", ".join(plugin.hears),
            "error": plugin.error,
        }
        for plugin in host.load(tuple(given))
    ]


def declarations(kind: str, given: Iterable[str] = (), file: Path | None = None) -> list[dict[str, Any]]:
    """Every declaration of a kind, and the aliases of the registry, a user's own included."""
    known = _catalog(given, file)
    rows = [{"id": i, "parameters": cat.signature(d), "summary": d.summary} for i, (_, d) in known.declared(kind).items()]
    aliases = known.aliases.get(kind, {})
    return rows + [{"id": alias, "parameters": "", "summary": f"short for {text}"} for alias, text in aliases.items()]


def studies(file: Path | None = None) -> list[dict[str, Any]]:
    """Every named study of the registry, a user's own included: what it says itself, and of how many candidates and metrics.

    Raises:
        RegistryError: A file is missing or malformed.
    """
    return [
        {
            "id": name,
            "data": study.data or "",
            "threat": " ".join(filter(None, [study.norm, study.eps])),
            "candidates": len(study.architectures or ()),
            "metrics": len(study.metrics or ()),
            "seeds": study.seeds,
        }
        for name, study in registry.load(file).studies.items()
    ]


def show(name: str, given: Iterable[str] = ()) -> list[dict[str, Any]]:
    """One plugin, or one declaration with a row a parameter.

    Raises:
        UsageError: Nothing has that name.
    """
    known = cat.Catalog(host.load(tuple(given)), registry.load().aliases)  # a broken one is shown, too
    if any(plugin.name == name for plugin in known.plugins):
        found = [row for row in plugins(given) if row["plugin"] == name]
        return found + [
            {
                "plugin": f"{name}/{d.name}",
                "distribution": kind,
                "version": "",
                "contract": "",
                "state": "",
                "declares": d.summary,
                "error": None,
            }
            for plugin in known.plugins
            if plugin.name == name
            for kind, items in plugin.declarations.items()
            for d in items
        ]
    declared = [(kind, identifier, d) for kind in host.KINDS for identifier, (_, d) in known.declared(kind).items()]
    matches = [found for found in declared if name in (found[1], found[1].partition("/")[2])]
    if not matches:
        names = [*(plugin.name for plugin in known.plugins), *(i for _, i, _ in declared)]
        raise UsageError(unknown("NAME", name, names, "robustradar plugins list"))
    return [row for found in matches for row in _parameters(*found)]


def text(rows: list[dict[str, Any]], width: int | None = None) -> str:
    """Rows as a table; columns that are empty everywhere are left out, and errors stand below in full.

    Args:
        rows: What to show, by column.
        width: How wide the table may be; None: any. Where it counts, parameters, which may be long, stand last.
    """
    names = [name for name in (rows[0] if rows else {}) if name != "error" and any(row.get(name) for row in rows)]
    if width is not None:
        names.sort(key="parameters".__eq__)
    table = terminal.table([[row.get(name) for name in names] for row in rows], names, width)
    errors = [terminal.plain(f"{row['plugin']} ({_origin(row)}): {row['error']}") for row in rows if row.get("error")]
    return "\n".join([table, *([""] if errors else []), *errors])


def content(typed: str, given: Iterable[str] = ()) -> dict[str, Any]:
    """What is in a data set, read and checked as for a ranking.

    Raises:
        UsageError: The name or a parameter is unknown.
        DataError: The data are missing or could only give wrong numbers.
        PluginError: The data set failed.
    """
    from robustradar import data, screening

    known = _catalog(given)
    ref = known.resolve("dataset", typed, "--data")
    found = screening.loaded(known, ref)
    return {"id": ref.label, **data.summary(found), "fingerprint": data.fingerprint(found)}


def content_text(found: dict[str, Any], width: int | None = None) -> str:
    """The same for a terminal of this width: facts, then a row a split."""
    bounds = found["bounds"]
    facts = {
        "data": found["id"],
        "shape": " x ".join(map(str, found["shape"])),
        "dtype": found["dtype"],
        "bounds": f"{bounds[0]:g} to {bounds[1]:g}" if bounds else "none",
        "classes": found["classes"] or "none: regression",
        "fingerprint": found["fingerprint"],
    }
    rows = [{"split": name, "samples": split["samples"], **_targets(split)} for name, split in found["splits"].items()]
    return f"{tabulate(facts.items(), tablefmt='plain', disable_numparse=True)}\n\n{text(rows, width)}"


def _targets(split: dict[str, Any]) -> dict[str, str]:
    """One split's targets; many classes as their smallest and largest."""
    if "targets" in split:
        return {"targets": "{:g} to {:g}".format(*split["targets"])}
    counts = split["counts"]
    return {"samples of each class": " ".join(map(str, counts)) if len(counts) <= _CLASSES_SHOWN else f"{min(counts)} to {max(counts)}"}


def _origin(row: dict[str, Any]) -> str:
    """Distribution and version; a file has no version."""
    return f"{row['distribution']} {row['version']}".strip()


def _catalog(given: Iterable[str], file: Path | None = None) -> cat.Catalog:
    return cat.Catalog(host.needed(tuple(given)), registry.load(file).aliases)


def _parameters(kind: str, identifier: str, declaration: Declaration) -> list[dict[str, Any]]:
    """A row for the declaration, then one a parameter."""
    hints = typing.get_type_hints(type(declaration), include_extras=True)
    rows = [{"name": identifier, "type": kind, "default": "", "meaning": declaration.summary}]
    if evidence := getattr(declaration, "evidence", ""):
        rows.append({"name": "evidence", "type": "", "default": "", "meaning": evidence})
    for field in parameters(declaration):
        hint = hints[field.name]
        value = cat.shown(getattr(declaration, field.name))
        rows.append({"name": field.name, "type": cat.type_text(hint), "default": value, "meaning": cat.description(hint)})
    return rows
