"""The plugins: which are broken, where and why, and what of the others deserves a word."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from robustradar import disabling, host
from robustradar.doctor.environment import extras
from robustradar.host import Plugin, Unloaded
from robustradar.report import terminal

# Chosen here: half a second is what a user of `robustradar --help` would notice.
SLOW = 0.5
_CLASHES = 3
PATIENCE = 60.0


def checkup(given: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Every plugin: what `plugins list` says, where it broke, seconds that its import takes in a fresh interpreter, and notes.

    Args:
        given: Files or modules beside the installed plugins.

    Raises:
        UsageError: A given file does not exist.
    """
    listed, without = host.unloaded(given), disabling.disabled()
    waiting = [index for index, each in enumerate(listed) if each.name not in without]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        probes = dict(zip(waiting, pool.map(lambda index: _probed(index, given), waiting), strict=True))
    fatal = {listed[index].name: probe["error"] for index, probe in probes.items() if probe["error"]}
    plugins = host.load(given, without=without | fatal)
    return [_row(found, each, probes.get(i, _NOTHING), plugins) for i, (found, each) in enumerate(zip(plugins, listed, strict=True))]


def text(rows: Sequence[dict[str, Any]], width: int | None = None) -> str:
    """A table no wider than that, then what is broken, with the place, then the notes."""
    names = ("plugin", "distribution", "version", "contract", "state")
    table = [[*(row[name] for name in names), "" if row["seconds"] is None else f"{row['seconds']:.2f}"] for row in rows]
    told = [
        f"{row['plugin']} ({row['distribution']} {row['version']}".rstrip()
        + f"): {row['error'].rstrip('.')}.{f' At {place}.' if (place := row['place']) else ''}"
        for row in rows
        if row["error"]
    ]
    told += [f"{row['plugin']}: {note}" for row in rows for note in row["notes"]]
    broken = sum(row["state"] == "broken" for row in rows)
    shown = terminal.table(table, [*names, "import s"], width, numbers=[5])
    return "\n".join([shown, "", *told, *([""] if told else []), f"{len(rows)} plugins, {broken} broken."])


_NOTHING: dict[str, Any] = {"seconds": None, "torch": None, "error": ""}


def _probed(index: int, given: Sequence[str]) -> dict[str, Any]:
    """What importing one plugin takes; an error where it takes the interpreter with it."""
    command = [sys.executable, "-m", "robustradar.doctor.probe", str(index), *given]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return _NOTHING | {"error": f"its import takes more than {PATIENCE:.0f} s."}
    if done.returncode or not done.stdout.strip():
        return _NOTHING | {"error": f"its import ends the interpreter with exit code {done.returncode}."}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return _NOTHING | found


def _row(plugin: Plugin, unloaded: Unloaded, probe: dict[str, Any], plugins: Sequence[Plugin]) -> dict[str, Any]:
    """One plugin."""
    return {
        "plugin": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "contract": plugin.contract,
        "state": "broken" if probe["error"] else plugin.state,
        "seconds": probe["seconds"],
        "torch": probe["torch"],
        "error": plugin.error and _explained(plugin, unloaded),
        "place": plugin.place,
        "notes": list(_notes(plugin, probe, plugins)),
    }


def _explained(plugin: Plugin, unloaded: Unloaded) -> str:
    """Why it is broken, with what to do about a module that is not there."""
    reason = plugin.error or ""
    missing = re.search(r"ModuleNotFoundError: No module named '([^']+)'", reason)
    if not missing:
        return reason
    if unloaded.target == missing[1] or unloaded.target.startswith(f"{missing[1]}."):
        return f"its entry point names {unloaded.target!r}, which is not there. Install {plugin.distribution} again, or uninstall it."
    top = missing[1].partition(".")[0].replace("_", "-").lower()
    for extra, lacking in extras(plugin.distribution).items():
        if top in (name.replace("_", "-").lower() for name in lacking):
            return f"{reason}. Install its extra: pip install '{plugin.distribution}[{extra}]'."
    return f"{reason}. Install what provides it."


def _notes(plugin: Plugin, probe: dict[str, Any], plugins: Sequence[Plugin]) -> Iterator[str]:
    """What deserves a word, though it works."""
    if probe["torch"]:
        yield f"importing it takes {probe['seconds']:.1f} s and imports torch. Import torch inside functions."
    elif (probe["seconds"] or 0) > SLOW:
        yield f"importing it takes {probe['seconds']:.1f} s. Import what is heavy inside functions."
    if plugin.error:
        return
    if not any(plugin.declarations.values()) and not plugin.hears:
        yield "it declares nothing and hears of nothing."
    alone = sum(other.distribution == plugin.distribution for other in plugins) == 1
    for extra, lacking in extras(plugin.distribution).items():
        if lacking and (alone or extra == plugin.name):
            yield f"its extra is not installed, which brings {', '.join(lacking)}: pip install '{plugin.distribution}[{extra}]'."
    clashes = {  # those within a distribution are its makers' choice
        item.name: f"{other.name}/{item.name}"
        for kind, items in plugin.declarations.items()
        for item in items
        for other in plugins
        if other.distribution != plugin.distribution and any(item.name == theirs.name for theirs in other.declarations.get(kind, ()))
    }
    if clashes:
        shown = ", ".join(list(clashes.values())[:_CLASHES]) + (", …" if len(clashes) > _CLASHES else "")
        names = "1 of its names is another's" if len(clashes) == 1 else f"{len(clashes)} of its names are others'"
        yield f"{names} too ({shown}): users type {plugin.name}/ in front."
