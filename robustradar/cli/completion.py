"""What the shell offers for names. It never fails and prints nothing: a broken plugin's names are just not there."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from robustradar.errors import RobustRadarError


def studies(ctx: typer.Context, incomplete: str) -> list[str]:
    """Named studies."""
    from robustradar import registry

    return _offered(lambda: registry.load(_registry(ctx)).studies, incomplete)


def references(kind: str) -> Callable[[typer.Context, str], list[str]]:
    """Short names and ``plugin/name`` of a kind, those of the ``--plugin`` that was typed before included."""

    def offered(ctx: typer.Context, incomplete: str) -> list[str]:
        return _offered(lambda: _known(kind, ctx, incomplete), incomplete)

    return offered


def _known(kind: str, ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of a kind. Of those with a plugin in front, only that plugin's are asked for, which is quicker."""
    from robustradar import disabling, host, registry

    given = tuple(ctx.params.get("plugin") or ())
    asked, slash, _ = incomplete.partition("/")
    if slash:
        others = {c.name: "not asked" for c in host.candidates(given) if c.name != asked}
        return [f"{p.name}/{d.name}" for p in host.load(given, without=others | disabling.disabled()) for d in p.declarations.get(kind, ())]
    declared = [(p.name, d.name) for p in host.load(given) for d in p.declarations.get(kind, ())]
    times = Counter(name for _, name in declared)
    short = [*registry.load(_registry(ctx)).aliases.get(kind, {}), *(name for name, count in times.items() if count == 1)]
    return [*dict.fromkeys(short), *(f"{plugin}/{name}" for plugin, name in declared)]


def plugins(ctx: typer.Context, incomplete: str) -> list[str]:
    """Installed plugins, broken and disabled ones too; none is loaded."""
    from robustradar import host

    return _offered(lambda: [candidate.name for candidate in host.candidates()], incomplete)


def _registry(ctx: typer.Context) -> Path | None:
    """The ``--registry`` that was typed before."""
    given = ctx.params.get("registry")
    return Path(given) if given else None


def _offered(names: Callable[[], Iterable[str]], incomplete: str) -> list[str]:
    """Those names that begin with what was typed."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        try:
            return [name for name in names() if name.startswith(incomplete)]
        except RobustRadarError:
            return []
