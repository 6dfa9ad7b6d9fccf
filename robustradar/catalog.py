"""The frozen answer of all plugins: names to declarations, and what a user typed to a declaration with its parameters bound."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from robustradar import guard
from robustradar.contract.declaration import Declaration, parameters
from robustradar.errors import Failure, PluginError, UsageError, unknown
from robustradar.host import Plugin
from robustradar.values import Ref, number, number_text

D = TypeVar("D", bound=Declaration)
_PART = re.compile(r'((?:[^,"]|"[^"]*")+)(?:,|$)')


@dataclass(frozen=True)
class Catalog:
    """Everything that is declared.

    Attributes:
        plugins: All plugins, broken ones too.
        aliases: Kind to short names to references, from the registry.
    """

    plugins: tuple[Plugin, ...]
    aliases: Mapping[str, Mapping[str, str]]

    def declared(self, kind: str) -> dict[str, tuple[Plugin, Declaration]]:
        """Ids of a kind, in order, with who declares them."""
        return {f"{p.name}/{d.name}": (p, d) for p in self.plugins for d in p.declarations.get(kind, ())}

    def resolve(self, kind: str, text: str, where: str) -> Ref:
        """What a user typed, as a reference with every parameter bound.

        Args:
            kind: ``architecture``, ``attack`` and so on.
            text: ``plugin/name``, ``name`` where it is unique, or an alias of the registry; then ``:parameter=value,…``.
            where: What it was typed for, for messages.

        Raises:
            UsageError: The name or a parameter is unknown, or a value has the wrong type or is out of range.
            PluginError: The name belongs to a plugin that is broken.
        """
        name, given = split_reference(text, where)
        place = where
        if name in (aliases := self.aliases.get(kind, {})):
            place = f"{where}: alias {name!r}"
            name, defaults = split_reference(aliases[name], place)
            given = defaults | given
        identifier = self._identifier(kind, name, place)
        plugin, declaration = self.declared(kind)[identifier]
        bound = bind(declaration, given, f"{where} {identifier}")
        values = tuple((f.name, getattr(bound, f.name)) for f in parameters(bound))
        changed = [f"{n}={shown(v)}" for n, v in values if v != getattr(declaration, n)]
        source = f"{plugin.source} {self._content(bound, identifier, plugin)}".strip()
        return Ref(identifier, values, source, ":".join(filter(None, [identifier, ",".join(changed)])))

    def changed(self, kind: str, ref: Ref, changes: Mapping[str, Any], where: str) -> Ref:
        """The same reference with other values of some parameters.

        Raises:
            UsageError: A parameter is unknown, or its value has the wrong type or is out of range.
        """
        _, given = split_reference(ref.label, where)
        given |= {name: _bare(value) for name, value in changes.items()}
        values = ",".join(f'{name}="{value}"' for name, value in given.items())
        return self.resolve(kind, f"{ref.id}:{values}", where)

    def expanded(self, kind: str, texts: Iterable[str], where: str) -> list[str]:
        """References with every pattern such as ``papers/vgg*`` replaced by the ids that it fits.

        Raises:
            UsageError: A pattern fits nothing.
        """
        found: list[str] = []
        for text in texts:
            pattern, colon, rest = text.partition(":")
            fitting = fnmatch.filter(self.declared(kind), pattern) if set(pattern) & set("*?[") else [pattern]
            if not fitting:
                raise UsageError(unknown(where, pattern, self.declared(kind), f"robustradar plugins list {kind}"))
            found += [f"{identifier}{colon}{rest}" for identifier in fitting]
        return found

    def bound(self, kind: str, ref: Ref, expected: type[D]) -> D:
        """The declaration that a reference names, with the reference's parameters."""
        _, declaration = self.declared(kind)[ref.id]
        bound = dataclasses.replace(declaration, **dict(ref.parameters))
        if not isinstance(bound, expected):
            raise TypeError(f"{ref.id} is no {expected.__name__}")
        return bound

    def culprit(self, kind: str, ref: Ref) -> str:
        """Who is to be named when a declaration fails: kind, id, distribution and version."""
        plugin, _ = self.declared(kind)[ref.id]
        return f"{kind} {ref.id} ({plugin.origin})"

    def _content(self, bound: Declaration, identifier: str, plugin: Plugin) -> str:
        """What a declaration says decides its results beside parameters and code."""
        try:
            return guard.call(f"{identifier} ({plugin.origin})", bound.content)
        except Failure as failure:
            raise PluginError(f"content() of {failure}") from None

    def _identifier(self, kind: str, name: str, where: str) -> str:
        """The id that a name stands for."""
        declared = self.declared(kind)
        if name in declared:
            return name
        same = [identifier for identifier in declared if identifier.partition("/")[2] == name]
        if len(same) == 1:
            return same[0]
        if same:
            raise UsageError(f"{where}: got {name!r}, which {len(same)} plugins declare. Name one of {', '.join(same)}.")
        for plugin in self.plugins:
            if plugin.error and name.startswith(f"{plugin.name}/"):
                whose = f"whose plugin {plugin.name!r} ({plugin.origin}) is {plugin.state}"
                raise PluginError(f"{where}: got {name!r}, {whose}: {plugin.error}")
        broken = "".join(f" Plugin {p.name!r} ({p.origin}) is {p.state} and was left out: {p.error}" for p in self.plugins if p.error)
        listing = f"robustradar plugins list {kind}"
        raise UsageError(unknown(where, name, [*declared, *self.aliases.get(kind, {})], listing) + broken)


def split_reference(text: str, where: str) -> tuple[str, dict[str, str]]:
    """A typed reference's name and parameters; a value that holds a comma stands in double quotes.

    >>> split_reference('npz:path="a,b.npz",limit=3', "--data")
    ('npz', {'path': 'a,b.npz', 'limit': '3'})

    Raises:
        UsageError: A parameter is not of the form name=value, or is given twice, or a quote is not closed.
    """
    name, _, rest = text.strip().partition(":")
    if rest.count('"') % 2:
        raise UsageError(f'{where}: got {text!r} with a quote that is not closed, expected parameter="value". Close it.')
    given: dict[str, str] = {}
    for part in _PART.findall(rest):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{where}: got {part!r} in {text!r}, expected parameter=value. Separate parameters by commas.")
        if key.strip() in given:
            raise UsageError(f"{where}: got {key.strip()!r} twice in {text!r}, expected it once.")
        given[key.strip()] = value.strip().strip('"')
    return name, given


def bind(declaration: D, given: Mapping[str, str], where: str) -> D:
    """The declaration with parameters set from their texts.

    Raises:
        UsageError: A parameter is unknown, or its value has the wrong type or is out of range.
    """
    known = {f.name: f for f in parameters(declaration)}
    hints = typing.get_type_hints(type(declaration), include_extras=True)
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in known:
            raise UsageError(unknown(f"{where}: parameter", name, known))
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(_prepared(text, hints[name]))
        except ValidationError as error:
            wanted = error.errors()[0]["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
            raise UsageError(f"{where}: parameter {name!r}: got {text!r}, expected {wanted}. Accepted: {signature(declaration)}.") from None
    try:
        return guard.call(where, lambda: dataclasses.replace(declaration, **values))
    except Failure as failure:  # a declaration may check its parameters against each other
        raise UsageError(f"{failure}. Accepted: {signature(declaration)}.") from None


def signature(declaration: Declaration) -> str:
    """The parameters with their types and defaults, in one line."""
    hints = typing.get_type_hints(type(declaration), include_extras=True)
    return ", ".join(f"{f.name}: {type_text(hints[f.name])} = {shown(getattr(declaration, f.name))}" for f in parameters(declaration))


def type_text(hint: Any) -> str:
    """A parameter's type as a user reads it, with its limits.

    >>> from pydantic import Field
    >>> type_text(typing.Annotated[int, Field(ge=1)]), type_text(float | typing.Literal["auto", "none"])
    ('int >= 1', 'float | auto|none')
    >>> type_text(tuple[typing.Annotated[float, Field(gt=0)], ...])
    'list of float > 0'
    """
    if typing.get_origin(hint) is typing.Annotated:
        base, *notes = typing.get_args(hint)
        return " ".join([type_text(base), *_limits(notes)])
    if typing.get_origin(hint) is typing.Literal:
        return "|".join(str(choice) for choice in typing.get_args(hint))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " | ".join(map(type_text, typing.get_args(hint)))
    if typing.get_origin(hint) is tuple:
        return f"list of {type_text(typing.get_args(hint)[0])}"
    if hint is type(None):
        return "None"
    return str(hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else hint).replace("typing.", "")


def description(hint: Any) -> str:
    """The sentence that a parameter's annotation carries."""
    notes = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
    return next((note.description for note in notes if getattr(note, "description", None)), "")


def _limits(notes: Iterable[Any]) -> list[str]:
    """The limits among an annotation's notes (pydantic's Field or annotated_types)."""
    found: list[str] = []
    for note in notes:
        for limit in getattr(note, "metadata", [note]):
            signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
            found += [f"{sign} {getattr(limit, name):g}" for name, sign in signs.items() if hasattr(limit, name)]
    return found


def _prepared(text: str, hint: Any) -> Any:
    """A text as pydantic should see it: fractions as numbers, ``a+b`` as a list where a tuple is wanted."""
    base = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    if typing.get_origin(base) is tuple:
        return [_prepared(part, typing.get_args(base)[0]) for part in text.split("+") if part]
    if base is float or float in typing.get_args(base):
        try:
            return number(text)
        except (ValueError, ZeroDivisionError):
            return None if text == "none" else text if text.lower() not in ("inf", "-inf", "nan", "infinity") else f"finite, not {text}"
    return None if text == "none" and type(None) in typing.get_args(base) else text


def shown(value: Any) -> str:
    """A parameter's value as a user would type it.

    >>> shown((8 / 255, 0.5)), shown("a,b"), shown(None)
    ('8/255+0.5', '"a,b"', 'none')
    """
    text = _bare(value)
    return f'"{text}"' if "," in text or text != text.strip() else text


def _bare(value: Any) -> str:
    """A value as a user would type it, before it is quoted."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        return number_text(value)
    return "+".join(map(_bare, value)) if isinstance(value, tuple) else str(value)
