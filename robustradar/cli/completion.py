"""What the shell offers for names. It never fails and prints nothing: a broken plugin's names are just not there."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from robustradar.errors import RobustRadarError

if TYPE_CHECKING:
    from robustradar.host import Plugin

# Of COMP_WORDBREAKS, at which bash ends a word, those that references have.
_BREAKS = ":="


def studies(ctx: typer.Context, incomplete: str) -> list[str]:
    """Named studies."""
    from robustradar import registry

    return _offered(lambda: registry.load(_registry(ctx)).studies, incomplete)


def references(kind: str) -> Callable[[typer.Context, str], list[str]]:
    """Short names and ``plugin/name`` of a kind, those of the ``--plugin`` that was typed before included; after a colon, parameters."""

    def offered(ctx: typer.Context, incomplete: str) -> list[str]:
        return _offered(lambda: (_parameters if ":" in incomplete else _known)(kind, ctx, incomplete), incomplete)

    return offered


@contextlib.contextmanager
def mended(variables: MutableMapping[str, str]) -> Iterator[None]:
    """Where bash asks, makes one word again of what it has broken at colons and equals signs, and answers with what follows the last."""
    words = variables.get("COMP_WORDS", "").split("\n")
    if variables.get("_ROBUSTRADAR_COMPLETE") != "complete_bash" or len(words) == 1:
        yield
        return
    joined: list[str] = []
    for word in words[: int(variables["COMP_CWORD"]) + 1]:
        if joined and word and (word[0] in _BREAKS or joined[-1][-1:] in (*_BREAKS,)):
            joined[-1] += word
        else:
            joined.append(word)
    variables.update({"COMP_WORDS": "\n".join(joined), "COMP_CWORD": str(len(joined) - 1)})
    value = re.sub("^--[a-z-]+=", "", joined[-1])
    kept = value[: max(map(value.rfind, _BREAKS)) + 1]
    answer = io.StringIO()
    try:
        with contextlib.redirect_stdout(answer):
            yield
    finally:
        print(*(line.removeprefix(kept) for line in answer.getvalue().splitlines()), sep="\n")


def _parameters(kind: str, ctx: typer.Context, incomplete: str) -> list[str]:
    """What was typed with each parameter that is not set yet, at its default."""
    from robustradar import registry
    from robustradar.catalog import Catalog, shown

    name, _, rest = incomplete.partition(":")
    if rest.count('"') % 2:  # inside of a value
        return []
    *before, last = rest.split(",")
    known = Catalog(_plugins(ctx, name), registry.load(_registry(ctx)).aliases)
    given = {part.partition("=")[0] for part in before}
    lead = incomplete.removesuffix(last)
    return [f"{lead}{n}={shown(value)}" for n, value in known.resolve(kind, name, kind).parameters if n not in given]


def _plugins(ctx: typer.Context, name: str) -> tuple[Plugin, ...]:
    """All plugins; of a name with a plugin in front only that one is asked, which is quicker."""
    from robustradar import disabling, host

    given = tuple(ctx.params.get("plugin") or ())
    asked, slash, _ = name.partition("/")
    others = {c.name: "not asked" for c in host.unloaded(given) if c.name != asked} if slash else {}
    return host.load(given, without=others | disabling.disabled())


def _known(kind: str, ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of a kind."""
    from robustradar import registry

    declared = [(p.name, d.name) for p in _plugins(ctx, incomplete) for d in p.declarations.get(kind, ())]
    times = Counter(name for _, name in declared)
    short = [*registry.load(_registry(ctx)).aliases.get(kind, {}), *(name for name, count in times.items() if count == 1)]
    return [*dict.fromkeys(short), *(f"{plugin}/{name}" for plugin, name in declared)]


def plugins(ctx: typer.Context, incomplete: str) -> list[str]:
    """Installed plugins, broken and disabled ones too; none is loaded."""
    from robustradar import host

    return _offered(lambda: [each.name for each in host.unloaded()], incomplete)


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
