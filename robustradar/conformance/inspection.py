"""Checks the clauses of what a plugin declares, in order; after a kind's first clause is broken, its others are not tried."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustradar.catalog import Catalog, split_reference
from robustradar.conformance import architecture, attack, dataset, declaration, laboratory, metric, ranker, reporter, trace
from robustradar.conformance.clause import Clause, Subject, Verdict, name, verdict
from robustradar.contract.declaration import Declaration
from robustradar.errors import UsageError, unknown
from robustradar.host import KINDS

CLAUSES: dict[str, tuple[Clause, ...]] = {
    "architecture": architecture.CLAUSES,
    "dataset": dataset.CLAUSES,
    "recipe": (),
    "attack": attack.CLAUSES,
    "metric": metric.CLAUSES,
    "ranker": ranker.CLAUSES,
    "reporter": reporter.CLAUSES,
}
KIT = "conformance"


@dataclass(frozen=True, eq=False)
class Inspection:
    """One declaration and its clauses.

    Attributes:
        subject: What is checked; a name where it is broken.
        broken: Why the plugin could not be loaded; None where it could.
        hears: The notices of a plugin that declares nothing.
    """

    subject: Subject | str
    broken: str | None = None
    hears: tuple[str, ...] = ()
    _verdicts: dict[str, Verdict] = field(default_factory=dict)

    @property
    def clauses(self) -> tuple[str, ...]:
        """Names of what is checked, in order."""
        return ("loads",) if isinstance(self.subject, str) else tuple(map(name, (*declaration.CLAUSES, *CLAUSES[self.subject.kind])))

    def verdict(self, clause: str) -> Verdict:
        """The verdict on one clause, found once."""
        if clause not in self._verdicts:
            self._verdicts[clause] = self._judge(clause)
        return self._verdicts[clause]

    def _judge(self, clause: str) -> Verdict:
        subject = self.subject
        if isinstance(subject, str) and self.hears:
            return Verdict(f"plugin {subject}", "loads", "kept", f"It declares nothing and hears of {', '.join(self.hears)}.")
        if isinstance(subject, str):
            return Verdict(f"plugin {subject}", "loads", "broken", self.broken or "")
        of_kind = {name(each): each for each in CLAUSES[subject.kind]}
        first = next(iter(of_kind), clause)
        if clause in of_kind and clause != first and (before := self.verdict(first)).state != "kept":
            why = before.text if before.state == "not tried" else f"{first} comes first."
            return Verdict(str(subject), clause, "not tried", why)
        with trace.settled(), contextlib.redirect_stdout(sys.stderr):  # the answer alone is for standard output
            return verdict({name(each): each for each in (*declaration.CLAUSES, *of_kind.values())}[clause], subject)


def inspections(names: Iterable[str], plugins: Iterable[str] = ()) -> list[Inspection]:
    """What is to be checked.

    Args:
        names: ``plugin``, ``plugin/name:parameter=value``, or a Python file, which stands for all that it declares.
        plugins: Files or modules to load beside the installed plugins.

    Raises:
        UsageError: Nothing has that name, or a parameter is wrong.
    """
    typed = list(names)
    files = [text for text in typed if text.endswith(".py")]
    for text in (*files, *(text for text in typed if "/" in text and Path(text).is_dir())):
        if not Path(text).is_file() or Path(text).name == "__init__.py":
            advice = "Check the path; a package is installed (pip install -e .) and then checked by its plugin's name."
            raise UsageError(f"NAME: got {text!r}, expected a plugin's name or a single Python file. {advice}")
    catalog = laboratory.catalog(list(dict.fromkeys([*plugins, *files])))
    found: list[Inspection] = []
    for text in typed:
        given = Path(text).stem if text in files else text
        found += _of_plugin(catalog, given) or _of_name(catalog, given)
    return found


def check(names: Iterable[str], plugins: Iterable[str] = ()) -> Iterator[Verdict]:
    """Checks every clause of what is named, and yields each verdict as it is found.

    Args:
        names: As for `inspections`.
        plugins: Files or modules to load beside the installed plugins.

    Raises:
        UsageError: Nothing has that name, or a parameter is wrong.
    """
    for inspection in inspections(names, plugins):
        yield from map(inspection.verdict, inspection.clauses)


def contract_test(*names: str, plugins: Iterable[str] = ()) -> Callable[..., None]:
    """A test for pytest with one case a clause, to be bound to a name that begins with ``test_``.

    A broken clause fails with its line, below the traceback of what the plugin raised; one that was not tried is skipped with the reason.

    Args:
        names: ``plugin``, ``plugin/name:parameter=value``, or a Python file.
        plugins: Files or modules to load beside the installed plugins.
    """
    import pytest

    cases = [pytest.param(i, clause, id=f"{i.subject}: {clause}") for i in inspections(names, plugins) for clause in i.clauses]

    @pytest.mark.parametrize(("inspection", "clause"), cases)
    def test(inspection: Inspection, clause: str) -> None:
        """A clause is kept."""
        found = inspection.verdict(clause)
        if found.state == "not tried":
            pytest.skip(found.text)
        if found.state == "broken":
            line = f"{found.subject}: {found.clause}: {found.text}"
            if found.error is None or found.error.__cause__ is None:
                pytest.fail(line, pytrace=False)
            raise AssertionError(line) from found.error.__cause__

    return test


def _of_plugin(catalog: Catalog, text: str) -> list[Inspection]:
    """All that a plugin declares, or why it cannot be loaded; nothing where there is no such plugin."""
    for plugin in catalog.plugins:
        if plugin.name == text and text != KIT:
            if plugin.error:
                return [Inspection(text, plugin.error)]
            declared = [(kind, f"{text}/{item.name}") for kind in KINDS for item in plugin.declarations.get(kind, ())]
            if not declared and plugin.hears:
                return [Inspection(text, hears=plugin.hears)]
            if not declared:
                reason = (
                    "got nothing declared, expected at least one declaration. Write a hook: robustradar.hookimpl above robustradar_…()."
                )
                return [Inspection(text, reason)]
            return [_of(catalog, kind, identifier) for kind, identifier in declared]
    return []


def _of_name(catalog: Catalog, text: str) -> list[Inspection]:
    """Declarations of a name, of whatever kind."""
    bare, _ = split_reference(text, "NAME")
    declared = {kind: [i for i in catalog.declared(kind) if not i.startswith(f"{KIT}/")] for kind in KINDS}
    fitting = [(k, i) for k, ids in declared.items() for i in ids if bare in (i, i.partition("/")[2], catalog.aliases.get(k, {}).get(bare))]
    kinds = dict.fromkeys(kind for kind, _ in fitting)
    if not kinds:
        broken = [p for p in catalog.plugins if p.error and bare.startswith(f"{p.name}/")]
        if broken:
            return [Inspection(broken[0].name, broken[0].error)]
        names = [plugin.name for plugin in catalog.plugins if plugin.name != KIT] + [i for ids in declared.values() for i in ids]
        raise UsageError(unknown("NAME", bare, names, "robustradar plugins list"))
    return [_of(catalog, kind, text) for kind in kinds]


def _of(catalog: Catalog, kind: str, text: str) -> Inspection:
    """One declaration with its parameters bound."""
    ref = catalog.resolve(kind, text, "NAME")
    expected: type[Any] = KINDS[kind]
    bound: Declaration = catalog.bound(kind, ref, expected)
    return Inspection(Subject(kind, ref, bound, catalog))
