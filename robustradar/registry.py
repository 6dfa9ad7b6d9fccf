"""registry.yaml: aliases, defaults and named studies, with errors as ``file:line: key: reason``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import yaml

from robustradar.errors import RegistryError, UsageError, unknown
from robustradar.values import number

SECTIONS = {
    "architectures": "architecture",
    "datasets": "dataset",
    "recipes": "recipe",
    "attacks": "attack",
    "metrics": "metric",
    "rankers": "ranker",
    "reporters": "reporter",
}


@dataclass(frozen=True)
class Request:
    """A study as it is typed: every field may be left to a study or to the defaults.

    Attributes:
        architectures: References to candidates.
        data: Reference to a data set.
        norm: ``linf``, ``l2``, ``l1`` or an order p ≥ 1.
        eps: Attack strength in the data's own units: ``8/255``, ``0.1``.
        attack: Reference to the study's attack.
        recipe: Reference to a recipe.
        metrics: References to metrics.
        ranker: Reference to a ranker.
        reporters: References to reporters.
        seeds: Number of seeds, counted from 0.
        tau: Kendall's tau, between 0 and 1, that the study's ranking is taken to have with the truth; what `robustradar funnel` goes by.
    """

    architectures: tuple[str, ...] | None = None
    data: str | None = None
    norm: str | None = None
    eps: str | None = None
    attack: str | None = None
    recipe: str | None = None
    metrics: tuple[str, ...] | None = None
    ranker: str | None = None
    reporters: tuple[str, ...] | None = None
    seeds: int | None = None
    tau: float | None = None

    def over(self, base: Request) -> Request:
        """This request, with what it leaves open taken from another.

        >>> Request(eps="0.1").over(Request(eps="0.2", norm="l2")).norm
        'l2'
        """
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return dataclasses.replace(base, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class Registry:
    """What registry files say.

    Attributes:
        aliases: Kind to short name to reference.
        defaults: What a study leaves open.
        studies: Named studies.
        places: Where a request's field stands, by its key: ``studies.quickstart.eps`` to ``registry.yaml:30``.
    """

    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    defaults: Request = Request()
    studies: Mapping[str, Request] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict, compare=False)

    def study(self, name: str | None, flags: Request, where: str = "STUDY") -> Request:
        """A named study (None: no study) under the flags, over the defaults; `where` is what the name was typed for.

        Raises:
            UsageError: No study has that name.
        """
        if name is not None and name not in self.studies:
            raise UsageError(unknown(where, name, self.studies, "robustradar plugins list study"))
        named = self.studies[name] if name is not None else Request()
        return flags.over(named).over(self.defaults)

    def place(self, name: str | None, flags: Request, wanted: str, option: str) -> str:
        """Where a field of `study` comes from, for messages: the option, or ``file:line: key`` of the registry."""
        if getattr(flags, wanted) is not None:
            return option
        keys = (f"studies.{name}.{wanted}", f"defaults.{wanted}")
        return next((f"{self.places[key]}: {key}" for key in keys if key in self.places), option)


def load(path: Path | None = None) -> Registry:
    """The registry that comes with RobustRadar, overridden entry by entry by a user's own file.

    Raises:
        RegistryError: A file is missing or malformed.
    """
    shipped = resources.files("robustradar") / "registry.yaml"
    registry = parse(shipped.read_text(encoding="utf-8"), "registry.yaml")
    if path is None:
        return registry
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
        raise RegistryError(f"--registry: got {str(path)!r}, which cannot be read ({why}), expected a YAML file. Check the path.") from None
    own = parse(text, str(path))
    return Registry(
        aliases={kind: {**registry.aliases.get(kind, {}), **own.aliases.get(kind, {})} for kind in SECTIONS.values()},
        defaults=own.defaults.over(registry.defaults),
        studies={**registry.studies, **own.studies},
        places={**registry.places, **own.places},
    )


def parse(text: str, file: str) -> Registry:
    """A registry from its text.

    Scalars are read as they are written, so that ``1e-3``, ``no`` and ``8/255`` mean what they say.

    Raises:
        RegistryError: ``file:line: key: reason`` for the first thing that is wrong.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RegistryError(f"{file}:{line}: not YAML: {error.reason}.") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RegistryError(f"{file}:{line}: not YAML: {error.problem or error.context}.") from None
    aliases: dict[str, dict[str, str]] = {}
    defaults, studies = Request(), {}
    reader = _Reader(file)
    for key, node in reader.mapping(root, "") if root is not None else ():
        match key:
            case "defaults":
                defaults = reader.request(node, key)
            case "studies":
                studies = {name: reader.request(inner, f"{key}.{name}") for name, inner in reader.mapping(node, key)}
            case _ if key in SECTIONS:
                aliases[SECTIONS[key]] = {name: reader.text(inner, f"{key}.{name}") for name, inner in reader.mapping(node, key)}
            case _:
                raise reader.error(node, key, unknown("key", key, ["defaults", "studies", *SECTIONS]))
    return Registry(aliases, defaults, studies, reader.places)


@dataclass(frozen=True)
class _Reader:
    """Reads YAML nodes and knows where they stand."""

    file: str
    places: dict[str, str] = field(default_factory=dict)

    def error(self, node: yaml.Node, key: str, reason: str) -> RegistryError:
        return RegistryError(f"{self.file}:{node.start_mark.line + 1}: {key}: {reason}")

    def mapping(self, node: yaml.Node, key: str) -> Iterator[tuple[str, yaml.Node]]:
        """The entries of a mapping, each key once."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, key or "document", f"got {_kind(node)}, expected a mapping.")
        seen: set[str] = set()
        for name_node, value in node.value:
            name = self.text(name_node, key or "document")
            if name in seen:
                raise self.error(name_node, f"{key}.{name}".strip("."), "got this key twice, expected it once.")
            seen.add(name)
            yield name, value

    def text(self, node: yaml.Node, key: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            raise self.error(node, key, f"got {_kind(node)}, expected a text.")
        return str(node.value)

    def texts(self, node: yaml.Node, key: str) -> tuple[str, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(node, key, f"got {_kind(node)}, expected a list.")
        return tuple(self.text(item, key) for item in node.value)

    def request(self, node: yaml.Node, key: str) -> Request:
        """A study's fields."""
        known = {f.name: f for f in dataclasses.fields(Request)}
        values: dict[str, object] = {}
        for name, inner in self.mapping(node, key):
            where = f"{key}.{name}"
            if name not in known:
                raise self.error(inner, where, unknown("key", name, known))
            self.places[where] = f"{self.file}:{inner.start_mark.line + 1}"
            if name in ("architectures", "metrics", "reporters"):
                values[name] = self.texts(inner, where)
            elif name == "seeds":
                text = self.text(inner, where)
                if not text.isdecimal() or int(text) < 1:
                    raise self.error(inner, where, f"got {text!r}, expected a whole number of at least 1.")
                values[name] = int(text)
            elif name == "tau":
                values[name] = correlation(self.text(inner, where))
                if values[name] is None:
                    raise self.error(inner, where, f"got {self.text(inner, where)!r}, expected a number between 0 and 1, both excluded.")
            else:
                values[name] = self.text(inner, where)
        return Request(**values)  # type: ignore[arg-type]


def correlation(text: str) -> float | None:
    """A number between 0 and 1, both excluded; None for anything else.

    >>> correlation("0.65"), correlation("1"), correlation("high")
    (0.65, None, None)
    """
    try:
        value = number(text)
    except (ValueError, ZeroDivisionError):
        return None
    return value if 0 < value < 1 else None


def _kind(node: yaml.Node) -> str:
    """What a node is, as a user calls it."""
    match node:
        case yaml.MappingNode():
            return "a mapping"
        case yaml.SequenceNode():
            return "a list"
    return repr(node.value) if node.value else "nothing"
