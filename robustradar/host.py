"""Loads plugins, each alone, and asks each what it declares. A broken one is named and everything else goes on working."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
import traceback
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from robustradar import disabling, guard, hookspecs, version
from robustradar.contract.architecture import Architecture
from robustradar.contract.attack import Attack
from robustradar.contract.dataset import Dataset
from robustradar.contract.declaration import NAME, Declaration, parameters
from robustradar.contract.metric import Metric
from robustradar.contract.ranker import Ranker
from robustradar.contract.recipe import Recipe
from robustradar.contract.reporter import Reporter
from robustradar.errors import FILE_MODULE, Failure, PluginError, UsageError, unknown
from robustradar.source import reached
from robustradar.values import Column

GROUP = "robustradar"
KINDS: Mapping[str, type[Declaration]] = {
    "architecture": Architecture,
    "dataset": Dataset,
    "recipe": Recipe,
    "attack": Attack,
    "metric": Metric,
    "ranker": Ranker,
    "reporter": Reporter,
}
# The hooks that tell of a run, with the arguments that a plugin may name.
NOTICES: Mapping[str, tuple[str, ...]] = {
    f"robustradar_{name}": tuple(inspect.signature(getattr(hookspecs, f"robustradar_{name}")).parameters)
    for name in ("planned", "fitted", "measured")
}

# Files of those who call a plugin, in a traceback.
_NOT_THEIRS = ("<frozen", *(str(Path(str(module.__file__)).parent) for module in (guard, pluggy, importlib)), str(typing.__file__))


@dataclass(frozen=True)
class Plugin:
    """A plugin as it was found.

    Attributes:
        name: The first part of its ids.
        distribution: The installed distribution, or the file that it was loaded from.
        version: The distribution's version; empty for a file.
        digest: Of its Python source files.
        declarations: Kind to declarations; empty for a broken plugin.
        error: Why it is broken or disabled, or None.
        place: ``file:line`` where it broke, where that is known.
        contract: The version of the contract that it says it was written for; empty: it says nothing.
        module: What hears of a run; None where it hears of nothing.
        disabled: Whether it was left out because a user wants it so.
    """

    name: str
    distribution: str
    version: str
    digest: str = ""
    declarations: Mapping[str, tuple[Declaration, ...]] = dataclasses.field(default_factory=dict, hash=False)
    error: str | None = None
    place: str = ""
    contract: str = ""
    module: ModuleType | None = dataclasses.field(default=None, compare=False, repr=False)
    disabled: bool = False

    @property
    def state(self) -> str:
        """``ok``, ``broken`` or ``disabled``."""
        return "disabled" if self.disabled else "broken" if self.error else "ok"

    @property
    def origin(self) -> str:
        """Distribution and version."""
        return f"{self.distribution} {self.version}".strip()

    @property
    def source(self) -> str:
        """Part of every key that this plugin's work enters."""
        return f"{Path(self.distribution).name} {self.version} {self.digest}"

    @property
    def hears(self) -> tuple[str, ...]:
        """The notices that it listens to: ``planned``, ``fitted``, ``measured``."""
        return tuple(name.removeprefix("robustradar_") for name in NOTICES if hasattr(self.module, name))


@dataclass(frozen=True)
class Unloaded:
    """A plugin before it is loaded; `target` is the module that its entry point names, empty for a file."""

    name: str
    distribution: str
    version: str
    load: Any
    target: str = ""


def load(
    given: Sequence[str] = (), entry_points: Iterable[metadata.EntryPoint] | None = None, without: Mapping[str, str] | None = None
) -> tuple[Plugin, ...]:
    """All installed plugins, then the given ones, each loaded alone.

    Args:
        given: Paths of Python files, or names of importable modules.
        entry_points: The installed ones; by default those of the group ``robustradar``.
        without: Names of plugins that are not to be loaded, and why; by default those that a user has disabled.

    Raises:
        UsageError: A given file does not exist.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    left_out = disabling.disabled() if without is None else without
    plugins: list[Plugin] = []
    for found in unloaded(given, entry_points):
        holder = next((p for p in plugins if p.name == found.name), None)
        if found.name in left_out and holder is None:
            plugin = Plugin(found.name, found.distribution, found.version, error=left_out[found.name], disabled=True)
        else:
            with contextlib.redirect_stdout(sys.stderr):  # the answer alone is for standard output
                plugin = _load(manager, found, holder)
        plugins.append(plugin)
    return tuple(plugins)


def needed(given: Sequence[str]) -> tuple[Plugin, ...]:
    """The same, for work: whoever names a plugin needs it, so each given one has to be sound, or disabled.

    Raises:
        UsageError: A given file does not exist.
        PluginError: A given plugin is broken, or has no hook.
    """
    plugins = load(given)
    for text, plugin in zip(given, plugins[len(plugins) - len(given) :], strict=True):
        if plugin.state == "broken":
            place = f" (at {plugin.place.replace(str(Path(text).absolute()), text)})" if plugin.place else ""
            told = (plugin.error or "").rstrip(".")
            raise PluginError(f"--plugin: got {text!r}, which is broken{place}: {told}. Mend it, or leave it out.")
        if not plugin.disabled and not plugin.hears and not any(plugin.declarations.values()):
            advice = "Write one: robustradar.hookimpl above robustradar_…()."
            raise PluginError(f"--plugin: got {text!r}, which declares nothing and hears of nothing, expected a hook. {advice}")
    return plugins


def unloaded(given: Sequence[str] = (), entry_points: Iterable[metadata.EntryPoint] | None = None) -> list[Unloaded]:
    """The same plugins in the same order, none of them loaded yet.

    Raises:
        UsageError: A given file does not exist.
    """
    installed = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
    # Our own distribution first, then by name: a later plugin never takes an earlier one's id.
    found = sorted(
        (Unloaded(e.name, e.dist.name if e.dist else e.value, e.dist.version if e.dist else "", e.load, e.module) for e in installed),
        key=lambda c: (c.distribution != "robustradar", c.name, c.distribution),
    )
    return [*found, *map(_given, given)]


def _given(text: str) -> Unloaded:
    """A plugin from a file, or from a module by name."""
    path = Path(text)
    if path.suffix == ".py" or path.exists():
        if not path.is_file():
            raise UsageError(f"--plugin: got {text!r}, expected a Python file. Check the path.")
        return Unloaded(path.stem, str(path), "", lambda: _import_file(path))
    return Unloaded(text.rpartition(".")[2], text, "", lambda: _import_module(text))


def _import_file(path: Path) -> ModuleType:
    """Imports a file under a name that no installed module has; files beside it can be imported from it."""
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    name = f"{FILE_MODULE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and type hints look for it
    spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> ModuleType:
    """Imports a module by name, also from the working directory."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    return importlib.import_module(name)


def _load(manager: pluggy.PluginManager, found: Unloaded, holder: Plugin | None) -> Plugin:
    """One plugin, sound or broken."""
    plugin = Plugin(found.name, found.distribution, found.version)
    if holder is not None:
        return dataclasses.replace(
            plugin, error=f"its name {plugin.name!r} is taken by {holder.origin}. Rename its entry point, or uninstall one of the two."
        )
    if not NAME.fullmatch(found.name):
        return dataclasses.replace(plugin, error=f"its name is {found.name!r}, expected letters, digits and _ . + -.")
    module: ModuleType | None = None
    try:
        module = guard.call("import", found.load)
        _check_module(manager, module)
        stated = getattr(module, version.ATTRIBUTE, None)
        plugin = dataclasses.replace(plugin, contract=str(stated or ""))
        if reason := version.mismatch(stated, plugin.distribution if plugin.version else ""):
            raise _Breach(reason)
        _check_hooks(module)
        manager.register(module, plugin.name)
        manager.check_pending()
        declarations = {kind: _ask(manager, plugin.name, kind) for kind in KINDS}
    except (Failure, pluggy.PluginValidationError, _Breach) as error:
        if module is not None and manager.has_plugin(plugin.name):
            manager.unregister(module)
        return _broken(plugin, error)
    hearing = module if any(hasattr(module, name) for name in NOTICES) else None
    return dataclasses.replace(plugin, digest=source_digest(module), declarations=declarations, module=hearing)


def _broken(plugin: Plugin, error: Exception) -> Plugin:
    """A plugin with what is wrong with it; one that was written for another contract may well fail before it can say so."""
    cause, text = error.__cause__, str(error).replace("\n", " ").strip()
    frames = [f for f in traceback.extract_tb(cause.__traceback__ if cause else None) if not f.filename.startswith(_NOT_THEIRS)]
    stated = next(filter(None, (version.written(Path(frame.filename)) for frame in frames)), "")
    if reason := version.mismatch(stated, plugin.distribution if plugin.version else ""):
        text = f"{reason} It fails with: {text}"
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    if isinstance(cause, SyntaxError):
        place = f"{cause.filename}:{cause.lineno}"
    return dataclasses.replace(plugin, error=text, place=place, contract=plugin.contract or stated)


class _Breach(Exception):
    """A plugin does not keep the contract of the hooks."""


def _check_module(manager: pluggy.PluginManager, module: object) -> None:
    """Refuses what is no plugin, or the same one under a second name."""
    if not isinstance(module, ModuleType):
        raise _Breach(f"its entry point names a {type(module).__name__}, expected a module. Leave out what follows the colon.")
    if manager.is_registered(module):
        raise _Breach(f"its module {module.__name__!r} is plugin {manager.get_name(module)!r} already. Remove one of the two entry points.")


def _check_hooks(module: ModuleType) -> None:
    """Refuses what pluggy would pass over in silence: misspelt hooks, unmarked hooks, arguments with defaults."""
    known = [*(f"robustradar_{kind}s" for kind in KINDS), *NOTICES]
    for name, function in inspect.getmembers(module, callable):
        if not name.startswith("robustradar_"):
            continue
        if not hasattr(function, "robustradar_impl"):
            raise _Breach(f"{name} is not marked as a hook. Put @robustradar.hookimpl above it.")
        if name not in known:
            raise _Breach(unknown("hook", name, known))
        parameters = inspect.signature(function).parameters
        told = NOTICES.get(name, ())
        if wrong := [p for p in parameters.values() if p.name not in told or p.default is not p.empty]:
            expected = f"{wrong[0]}, expected some of {', '.join(told)}, without defaults" if told else "arguments, expected none"
            raise _Breach(f"{name}{inspect.signature(function)}: got {expected}.")


def _ask(manager: pluggy.PluginManager, name: str, kind: str) -> tuple[Declaration, ...]:
    """What one plugin declares of one kind, checked."""
    hook = f"robustradar_{kind}s"
    others = [plugin for other, plugin in manager.list_name_plugin() if other != name and plugin is not None]
    caller = manager.subset_hook_caller(hook, remove_plugins=others)
    answers = guard.call(hook, caller)
    declared: list[Declaration] = []
    # Pluggy drops an answer of None.
    for answer in answers or [None] * len(caller.get_hookimpls()):
        if not isinstance(answer, tuple | list):
            raise _Breach(f"{hook}: returned {type(answer).__name__}, expected a tuple of {KINDS[kind].__name__}.")
        declared += answer
    for item in declared:
        _check(hook, KINDS[kind], item)
    for owner in {type(item) for item in declared}:
        guard.call(f"{hook}: annotations of {owner.__name__}", partial(typing.get_type_hints, owner, include_extras=True))
    names = [item.name for item in declared]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise _Breach(f"{hook}: the name {twice[0]!r} is declared twice. Names are unique within a plugin and kind.")
    return tuple(sorted(declared, key=lambda item: item.name))


def _check(hook: str, expected: type[Declaration], item: object) -> None:
    """One declaration: its type, its name, and that it is frozen."""
    if not isinstance(item, expected):
        shown = f"the class {item.__name__}" if isinstance(item, type) else f"a {type(item).__name__}"
        raise _Breach(f"{hook}: got {shown}, expected an instance of robustradar.{expected.__name__}.")
    if not _named(item.name):
        raise _Breach(f"{hook}: got the name {item.name!r}, expected letters, digits and _ . + -. Set name=….")
    own = type(item).__dict__.get("__dataclass_params__")
    if inspect.get_annotations(type(item)) and (own is None or not own.frozen):
        raise _Breach(f"{hook}: {type(item).__name__} has fields of its own, expected @dataclass(frozen=True) above it.")
    for field in parameters(item):
        if not _plain(value := getattr(item, field.name)):
            raise _Breach(
                f"{hook}: {item.name}: parameter {field.name!r} is {value!r:.40}, expected text, a finite number, a bool, None or a tuple."
            )
    if isinstance(item, Metric) and not isinstance(item.evidence, str):
        raise _Breach(f"{hook}: {item.name}: got evidence {item.evidence!r:.40}, expected text. Set evidence=…, or leave it out.")
    if isinstance(item, Metric) and not (item.columns and all(isinstance(column, Column) for column in item.columns)):
        raise _Breach(f"{hook}: {item.name}: got columns {item.columns!r:.40}, expected a tuple of robustradar.Column. Set columns=….")
    if isinstance(item, Reporter) and not _named(item.filename):
        raise _Breach(f"{hook}: {item.name}: got filename {item.filename!r}, expected letters, digits and _ . + -. Set filename=….")


def _named(value: object) -> bool:
    """Whether it is a name."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _plain(value: object) -> bool:
    """Whether a parameter's value can be typed, compared and part of a key."""
    if isinstance(value, tuple):
        return all(map(_plain, value))
    return math.isfinite(value) if isinstance(value, float) else isinstance(value, str | int | None)


def source_digest(module: ModuleType, *parts: str) -> str:
    """Digest of a package's Python files (`parts`: only those below these names), or of a file's and of those that it imports beside it."""
    origin = getattr(module, "__file__", None)
    file = Path(origin or "")
    if origin and hasattr(module, "__path__"):
        files = sorted(file.parent.rglob("*.py"))
    else:
        files = reached(file, "" if module.__name__.startswith(FILE_MODULE) else module.__name__) if origin else [file]
    if parts:
        files = [f for f in files if f.relative_to(file.parent).parts[0].removesuffix(".py") in parts]
    content = hashlib.sha256()
    for f in files:
        content.update(f.name.encode() + b"\0" + (f.read_bytes() if f.is_file() else b""))
    return content.hexdigest()[:12]
