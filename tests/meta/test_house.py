"""The rules of the house, held by reading the source: sizes, annotations, the direction of imports, and what may be imported when."""

import ast
import doctest
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import robustradar
from robustradar import hookspecs
from robustradar.provenance import ENGINE

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "robustradar").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
SOURCES = [*CORE, *PLUGINS]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in SOURCES}

FILE_LINES, CODE_LINES, PARAMETERS = 400, 60, 6
BANNED_NAMES = {"util", "utils", "helper", "helpers", "common", "base", "misc", "manager", "core", "tools", "stuff", "impl"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def shown(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def functions() -> Iterator[tuple[str, Function]]:
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{shown(file)}:{node.lineno} {node.name}", node


# Size


def test_files_are_short() -> None:
    lengths = {shown(file): len(file.read_text(encoding="utf-8").splitlines()) for file in SOURCES}
    assert {name: n for name, n in lengths.items() if n > FILE_LINES} == {}


def test_functions_are_short() -> None:
    def code_lines(node: Function) -> int:
        documented = ast.get_docstring(node) is not None
        return sum((s.end_lineno or s.lineno) - s.lineno + 1 for s in node.body[int(documented) :])

    assert [name for name, node in functions() if code_lines(node) > CODE_LINES] == []


def is_command(name: str, node: Function) -> bool:
    """Whether the command line's library calls it: decorated, or registered in cli/__init__.py, with one parameter an option."""
    if not name.startswith("robustradar/cli/"):
        return False
    registered = re.findall(r"\)\((\w+)\.(\w+)\)", (ROOT / "robustradar/cli/__init__.py").read_text())
    return bool(node.decorator_list) or (Path(name.partition(":")[0]).stem, node.name) in registered


def test_functions_have_few_parameters() -> None:
    def parameters(node: Function) -> list[str]:
        a = node.args
        names = [arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
        return [name for name in names if name not in ("self", "cls")]

    assert [name for name, node in functions() if len(parameters(node)) > PARAMETERS and not is_command(name, node)] == []


def test_functions_are_annotated() -> None:
    def bare(node: Function) -> list[str]:
        a = node.args
        args = [arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if arg is not None]
        missing = [arg.arg for arg in args if arg.annotation is None and arg.arg not in ("self", "cls")]
        return missing + (["return"] if node.returns is None else [])

    assert {name: missing for name, node in functions() if (missing := bare(node))} == {}


def test_modules_are_named_for_what_they_are() -> None:
    assert [shown(file) for file in SOURCES if file.stem in BANNED_NAMES or file.parent.name in BANNED_NAMES] == []


# Direction

# From the ground up: a module imports what stands in a line above its own, or its own package's modules in the same line.
LAYERS = [
    "errors values numerics",
    "contract filing",
    "hookspecs guard progress data registry analysis adapter version disabling source",
    "training.loss training.augment training.schedule training.lbfgs training.device",
    "robustradar host judge training.network yielded",
    "catalog provenance trust training notice events",
    "plan store",
    "desk",
    "execute scores report",
    "screening",
    "forecast inventory gate conformance scaffold fidelity funnel",
    "doctor",
    "cli",
    "__main__",
]
RANKS = {name: rank for rank, line in enumerate(LAYERS) for name in line.split()}


def module(file: Path) -> str:
    """Its dotted name."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer(name: str) -> str:
    """The longest name in LAYERS that a module falls under."""
    parts = (name.removeprefix("robustradar.")).split(".")
    return next((key for n in range(len(parts), 0, -1) if (key := ".".join(parts[:n])) in RANKS), "")


def imports(tree: ast.AST) -> set[str]:
    """Modules and names that are imported anywhere in a file, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


MODULES = {module(file) for file in CORE}


def known(name: str) -> str:
    """The module that an imported name is, or is of."""
    return name if name in MODULES else name.rpartition(".")[0]


def test_every_module_of_the_core_has_its_layer() -> None:
    assert [name for name in MODULES if not layer(name)] == []
    assert [key for key in RANKS if not any(name == "robustradar" or layer(name) == key for name in MODULES)] == []


def test_imports_go_one_way() -> None:
    wrong = []
    for file in CORE:
        own = layer(module(file))
        for target in {layer(known(name)) for name in imports(TREES[file]) if name.split(".")[0] == "robustradar"}:
            same = RANKS[target] == RANKS[own] and target.split(".")[0] == own.split(".")[0]
            if RANKS[target] >= RANKS[own] and not same:
                wrong.append(f"{shown(file)} imports {target}")
    assert wrong == []


def test_numerics_stand_on_their_own() -> None:
    for file in (ROOT / "robustradar/numerics").glob("*.py"):
        ours = {name for name in imports(TREES[file]) if name.startswith("robustradar") and not name.startswith("robustradar.numerics")}
        assert ours == set(), shown(file)


# The one list of public modules; the reference shows it, too.
PUBLIC = tuple(re.findall(r"^- ``(robustradar\.\w+)``: ", str(robustradar.__doc__), re.M))


def test_public_modules_are_there() -> None:
    assert PUBLIC
    assert {*PUBLIC} <= MODULES


@pytest.mark.parametrize("file", PLUGINS, ids=shown)
def test_our_plugins_use_only_what_a_stranger_could(file: Path) -> None:
    names = {f"robustradar.{name}" for name in robustradar.__all__}
    package = file.relative_to(ROOT / "plugins").parts[0]
    ours = {name for name in imports(TREES[file]) if name.split(".")[0].startswith("robustradar")}
    allowed = {name for name in ours if name in names or name.startswith(PUBLIC) or name.split(".")[0] == package}
    assert ours - allowed - {"robustradar"} == set()


# Modules that the engine or our plugins import and that decide no number, or whose part in it is in the keys by other means.
KEYLESS = {
    "values": "specifications are the keys",
    "plan": "makes specifications",
    "catalog": "binds declarations, which are in the specifications",
    "data": "reads samples, which are in the keys by their content",
    "store": "keeps",
    "errors": "words",
    "progress": "words",
    "report": "shows",
}


def test_what_decides_numbers_is_in_every_key() -> None:
    def top(name: str) -> str:
        return name.removeprefix("robustradar.").partition(".")[0]

    assert [name for name in ENGINE if not any(top(other) == name for other in MODULES)] == []
    users = [file for file in SOURCES if file in PLUGINS or top(module(file)) in ENGINE]
    used = {top(known(name)) for file in users for name in imports(TREES[file]) if name.startswith("robustradar.")}
    assert used - {"robustradar"} - {*ENGINE} == {*KEYLESS}


def test_only_the_guard_and_the_outermost_frame_catch_everything() -> None:
    """The guard, because plugins raise what they like; `main`, because Python would end a bug with 1, which is a regression's exit code."""

    def broad(node: ast.ExceptHandler) -> bool:
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        return any(kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")) for kind in kinds)

    catching = [
        shown(file) for file, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and broad(node)
    ]
    assert sorted(catching) == ["robustradar/cli/__init__.py", "robustradar/guard.py"]


# What the user waits for

HEAVY = ("torch", "numpy", "scipy", "sklearn", "timm", "torchvision", "torchattacks")


def loaded(program: str) -> list[str]:
    """The heavy libraries that a program has imported when it ends."""
    listing = f"\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program + listing], capture_output=True, text=True, check=True)
    return list(ast.literal_eval(done.stderr.strip().splitlines()[-1]))


def test_the_command_line_starts_without_heavy_libraries() -> None:
    assert loaded("import robustradar.cli") == []


def test_listing_plugins_starts_without_torch() -> None:
    program = "from robustradar.cli import app\napp(['plugins', 'list'], standalone_mode=False)"
    assert set(loaded(program)) <= {"numpy", "scipy"}


def test_rendering_a_result_needs_no_torch() -> None:
    assert "torch" not in loaded("import robustradar.report.table, robustradar.report.write")


# Documents


def test_public_names_are_documented() -> None:
    assert robustradar.__all__ == sorted(set(robustradar.__all__), key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in robustradar.__all__:
        value = getattr(robustradar, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name
            if inspect.isclass(value):
                assert not str(value.__doc__).startswith(f"{value.__name__}("), f"{name} has only the docstring that dataclass made"


HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("robustradar_"))


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_and_tested(name: str) -> None:
    text = inspect.getdoc(getattr(hookspecs, name)) or ""
    assert "Called once a run" in text
    assert re.search(r"Since \d+\.\d+\.", text)
    example = doctest.DocTestParser().get_examples(text)
    assert example, "an example that doctest runs"
    assert name in "".join(line.source for line in example)
    tests = "\n".join(file.read_text(encoding="utf-8") for file in TESTS)
    assert f"def test_hook_{name.removeprefix('robustradar_')}(" in tests


def test_there_are_hooks() -> None:
    assert len(HOOKS) == 10
