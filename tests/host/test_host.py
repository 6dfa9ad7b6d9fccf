"""The host, and a zoo of misbehaving plugins: each is named with what is wrong, and everything else goes on working."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from plugin_texts import HEAD, TAME, hook, loaded, written

from robustradar import host, inventory
from robustradar.errors import PluginError, UsageError

KNOWN = (
    "robustradar_architectures, robustradar_attacks, robustradar_datasets, robustradar_fitted, robustradar_measured, robustradar_metrics, "
    "robustradar_planned, robustradar_rankers, robustradar_recipes, robustradar_reporters"
)
PERTURB = "    def perturb(self, victim, x, y): return x"
ZOO = {
    "missing import": ("import a_library_that_is_not_there", "import: ModuleNotFoundError: No module named 'a_library_that_is_not_there'"),
    "syntax": ("def robustradar_attacks(:\n", "import: SyntaxError: invalid syntax (beast.py, line 1)"),
    "raises at import": ("raise RuntimeError('no licence found\\nask your admin')", "import: RuntimeError: no licence found"),
    "exits at import": ("import sys\nsys.exit('usage: beast [-h]')", "import: SystemExit: usage: beast [-h]"),
    "misspelt hook": (
        hook("return ()", "robustradar_attack"),
        f"hook: got 'robustradar_attack', expected one of {KNOWN}. Did you mean 'robustradar_attacks' or 'robustradar_datasets' or "
        "'robustradar_fitted'?",
    ),
    "unmarked hook": (
        "def robustradar_attacks():\n    return ()",
        "robustradar_attacks is not marked as a hook. Put @robustradar.hookimpl above it.",
    ),
    "hook with an argument": (
        HEAD + "@hookimpl\ndef robustradar_attacks(config):\n    return ()",
        "robustradar_attacks(config): got arguments, expected none.",
    ),
    "hook with a default argument": (
        HEAD + "@hookimpl\ndef robustradar_attacks(config=None):\n    return ()",
        "robustradar_attacks(config=None): got arguments, expected none.",
    ),
    "hook by another name": (
        HEAD + "@hookimpl(specname='robustradar_attack')\ndef offered():\n    return ()",
        "unknown hook 'robustradar_attack' in plugin ",
    ),
    "returns a list of something else": (
        hook("return [1, 2]"),
        "robustradar_attacks: got a int, expected an instance of robustradar.Attack.",
    ),
    "returns another kind": (
        hook("return (rr.Recipe(name='long'),)"),
        "robustradar_attacks: got a Recipe, expected an instance of robustradar.Attack.",
    ),
    "returns a class": (
        hook("return (Still,)"),
        "robustradar_attacks: got the class Still, expected an instance of robustradar.Attack.",
    ),
    "returns one declaration": (hook("return Still(name='still')"), "robustradar_attacks: returned Still, expected a tuple of Attack."),
    "returns a generator": (
        hook("return (Still(name=n) for n in 'ab')"),
        "robustradar_attacks: returned generator, expected a tuple of Attack.",
    ),
    "is a generator": (hook("yield Still(name='still')"), "robustradar_attacks: returned generator, expected a tuple of Attack."),
    "returns a dict": (hook("return {'still': Still()}"), "robustradar_attacks: returned dict, expected a tuple of Attack."),
    "forgets its return": (hook("(Still(name='still'),)"), "robustradar_attacks: returned NoneType, expected a tuple of Attack."),
    "raises in a hook": (hook("return 1 / 0"), "robustradar_attacks: ZeroDivisionError: division by zero"),
    "declares something abstract": (
        hook("return (Attack(name='a'),)"),
        "robustradar_attacks: TypeError: Can't instantiate abstract class Attack",
    ),
    "bad name": (
        hook("return (Still(name='two words'),)"),
        "robustradar_attacks: got the name 'two words', expected letters, digits and _ . + -. Set name=….",
    ),
    "name with a colon": (hook("return (Still(name='a:b'),)"), "robustradar_attacks: got the name 'a:b', expected letters, digits and"),
    "no name": (hook("return (Still(),)"), "robustradar_attacks: got the name '', expected letters, digits and _ . + -. Set name=…."),
    "name that is no text": (
        hook("return (Still(name=None),)"),
        "robustradar_attacks: got the name None, expected letters, digits and _ . + -. Set name=….",
    ),
    "a name twice": (
        hook("return (Still(name='a'), Still(name='b'), Still(name='a', steps=2))"),
        "robustradar_attacks: the name 'a' is declared twice. Names are unique within a plugin and kind.",
    ),
    "fields without a dataclass": (
        hook("return (Soft(name='soft'),)", head=HEAD + f"class Soft(Attack):\n    width: int = 3\n{PERTURB}\n"),
        "robustradar_attacks: Soft has fields of its own, expected @dataclass(frozen=True) above it.",
    ),
    "not frozen": (
        hook("return (Soft(name='soft'),)", head=HEAD + f"@dataclass\nclass Soft(Attack):\n    width: int = 3\n{PERTURB}\n"),
        "import: TypeError: cannot inherit non-frozen dataclass from a frozen one",
    ),
    "annotation of an unknown type": (
        hook("return (Soft(name='s'),)", head=HEAD + f"@dataclass(frozen=True)\nclass Soft(Attack):\n    width: Integer = 3\n{PERTURB}\n"),
        "robustradar_attacks: annotations of Soft: NameError: name 'Integer' is not defined",
    ),
    "parameter that is no value": (
        hook("return (Still(name='still', steps=[1, 2]),)"),
        "robustradar_attacks: still: parameter 'steps' is [1, 2], expected text, a finite number, a bool, None or a tuple.",
    ),
    "infinite parameter": (
        hook("return (Still(name='still', steps=float('inf')),)"),
        "robustradar_attacks: still: parameter 'steps' is inf, expected text, a finite number, a bool, None or a tuple.",
    ),
    "architecture without a default": (
        HEAD + "def net(shape, outputs, width: int): ...\n@hookimpl\ndef robustradar_architectures():\n    return (rr.architecture(net),)",
        "robustradar_architectures: TypeError: architecture 'net': got parameter 'width' without a type or a default, expected both. "
        "Write 'width: int = 1'.",
    ),
    "metric without columns": (
        HEAD
        + "class M(rr.Metric):\n    def needs(self, task, threat): ...\n    def measure(self, bench): ...\n"
        + "@hookimpl\ndef robustradar_metrics():\n    return (M(name='m'),)",
        "robustradar_metrics: m: got columns (), expected a tuple of robustradar.Column. Set columns=….",
    ),
    "evidence that is no text": (
        HEAD
        + "class M(rr.Metric):\n    def needs(self, task, threat): ...\n    def measure(self, bench): ...\n"
        + "@hookimpl\ndef robustradar_metrics():\n    return (M(name='m', columns=(rr.Column('m', 'none', '1'),), evidence=0.8),)",
        "robustradar_metrics: m: got evidence 0.8, expected text. Set evidence=…, or leave it out.",
    ),
    "reporter that writes elsewhere": (
        HEAD
        + "class R(rr.Reporter):\n    def render(self, result): return ''\n"
        + "@hookimpl\ndef robustradar_reporters():\n    return (R(name='r', filename='../r.txt'),)",
        "robustradar_reporters: r: got filename '../r.txt', expected letters, digits and _ . + -. Set filename=….",
    ),
}


@pytest.mark.parametrize("name", ZOO)
def test_a_misbehaving_plugin_is_named_and_harms_nobody(tmp_path: Path, name: str) -> None:
    text, message = ZOO[name]
    plugin = loaded(tmp_path, text)
    assert plugin.error is not None
    assert plugin.error.startswith(message)
    assert "\n" not in plugin.error
    assert (plugin.name, plugin.declarations) == ("beast", {})


def test_a_file_whose_name_is_no_name_is_refused(tmp_path: Path) -> None:
    assert loaded(tmp_path, TAME, "my nets").error == "its name is 'my nets', expected letters, digits and _ . + -."


def test_a_broken_plugin_is_listed_and_shown_with_its_reason(tmp_path: Path) -> None:
    broken, sound = written(tmp_path, "import nowhere", "broken"), written(tmp_path, TAME, "sound")
    rows = {row["plugin"]: row for row in inventory.plugins([broken, sound])}
    assert rows["broken"]["state"] == "broken"
    assert rows["broken"]["error"] == "import: ModuleNotFoundError: No module named 'nowhere'"
    assert (rows["sound"]["state"], rows["sound"]["declares"]) == ("ok", "1 attack")
    assert rows["native"]["state"] == "ok"
    assert f"broken ({broken}): import: ModuleNotFoundError: No module named 'nowhere'" in inventory.text(list(rows.values()))
    assert "sound/still" in [row["id"] for row in inventory.declarations("attack", [sound])]
    place = Path(broken).with_name("broken.py:1")
    with pytest.raises(PluginError) as error:
        inventory.declarations("attack", [broken, sound])
    assert str(error.value) == (
        f"--plugin: got {broken!r}, which is broken (at {place}): import: ModuleNotFoundError: No module named 'nowhere'. "
        "Mend it, or leave it out."
    )


# Entry points


class Point(SimpleNamespace):
    """An installed entry point."""

    def load(self) -> object:
        return self.module


def point(name: str, module: object, distribution: str = "beasts", version: str = "1.0") -> metadata.EntryPoint:
    dist = SimpleNamespace(name=distribution, version=version)
    return Point(name=name, value="beast", dist=dist, module=module)  # type: ignore[return-value]


def tame(name: str = "tame") -> ModuleType:
    module = ModuleType(f"beast_{name}")
    sys.modules[module.__name__] = module  # where its annotations are looked up
    exec(TAME, module.__dict__)
    return module


def test_a_name_that_two_distributions_claim_is_the_firsts(tmp_path: Path) -> None:
    one, two = host.load(entry_points=[point("nets", tame("b"), "b-nets", "2.0"), point("nets", tame("a"), "a-nets")])
    assert (one.distribution, one.error) == ("a-nets", None)
    assert two.distribution == "b-nets"
    assert two.error == "its name 'nets' is taken by a-nets 1.0. Rename its entry point, or uninstall one of the two."


def test_our_own_plugins_come_first() -> None:
    ours, theirs = host.load(entry_points=[point("native", tame("x"), "aaa"), point("native", tame("y"), "robustradar")])
    assert (ours.distribution, ours.error) == ("robustradar", None)
    assert theirs.error == "its name 'native' is taken by robustradar 1.0. Rename its entry point, or uninstall one of the two."


def test_a_given_file_does_not_take_an_installed_name(tmp_path: Path) -> None:
    _, given = host.load(given=[written(tmp_path, TAME, "nets")], entry_points=[point("nets", tame())])
    assert given.error is not None
    assert given.error.startswith("its name 'nets' is taken by beasts 1.0.")


def test_a_module_under_two_names_is_refused() -> None:
    module = tame()
    first, second = host.load(entry_points=[point("one", module), point("two", module)])
    assert first.error is None
    assert second.error == "its module 'beast_tame' is plugin 'one' already. Remove one of the two entry points."


def test_an_entry_point_that_names_no_module_is_refused() -> None:
    (plugin,) = host.load(entry_points=[point("beast", object())])
    assert plugin.error == "its entry point names a object, expected a module. Leave out what follows the colon."


def test_an_entry_point_whose_module_is_gone_is_named() -> None:
    gone = metadata.EntryPoint("gone", "a_module_that_is_not_there", "robustradar")
    (plugin,) = host.load(entry_points=[gone])
    assert plugin.error == "import: ModuleNotFoundError: No module named 'a_module_that_is_not_there'"
    assert plugin.origin == "a_module_that_is_not_there"


def test_the_order_of_entry_points_does_not_matter() -> None:
    points = [point(name, tame(name), dist) for name, dist in (("b", "x"), ("a", "y"), ("native", "robustradar"))]
    for given in (points, points[::-1]):
        assert [p.name for p in host.load(entry_points=given)] == ["native", "a", "b"]


# Given plugins


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.py", tmp_path):
        with pytest.raises(UsageError) as error:
            host.load(given=[str(path)], entry_points=[])
        assert str(error.value) == f"--plugin: got {str(path)!r}, expected a Python file. Check the path."


def test_a_module_that_is_not_there_is_a_broken_plugin() -> None:
    (plugin,) = host.load(given=["no_such_package.nets"], entry_points=[])
    assert (plugin.name, plugin.error) == ("nets", "import: ModuleNotFoundError: No module named 'no_such_package'")


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_beast.py").write_text("NAME = 'from-next-door'\n")
    plugin = loaded(tmp_path, hook("return (Still(name=NAME),)", head=HEAD + "from neighbour_of_beast import NAME\n"))
    assert [a.name for a in plugin.declarations["attack"]] == ["from-next-door"]


def test_a_file_may_have_the_name_of_an_installed_module(tmp_path: Path) -> None:
    """It neither replaces that module nor is confused with it."""
    import random

    plugin = loaded(tmp_path, TAME, "random")
    assert plugin.error is None
    assert sys.modules["random"] is random


def test_a_changed_file_has_another_source(tmp_path: Path) -> None:
    before = loaded(tmp_path, TAME)
    assert loaded(tmp_path, TAME).source == before.source
    assert loaded(tmp_path, TAME + "\n# changed").source != before.source
    assert before.source == f"beast.py  {before.digest}"


def test_files_beside_a_plugin_that_it_imports_are_part_of_its_source(tmp_path: Path) -> None:
    """Or a network whose layers lie in a second file would be taken from the store after it was changed there."""
    (tmp_path / "beast_layers.py").write_text("from beast_deep.part import A\n")
    (tmp_path / "beast_deep").mkdir()
    (tmp_path / "beast_deep" / "__init__.py").touch()
    (tmp_path / "beast_deep" / "part.py").write_text("A = 1\n")
    (tmp_path / "stranger.py").write_text("A = 1\n")
    code = TAME + "\n\ndef late():\n    import beast_layers\n"
    before = loaded(tmp_path, code)
    (tmp_path / "stranger.py").write_text("A = 2\n")
    assert loaded(tmp_path, code).digest == before.digest
    for file in ("beast_layers.py", "beast_deep/__init__.py", "beast_deep/part.py"):
        (tmp_path / file).write_text((tmp_path / file).read_text() + "# changed\n")
        after = loaded(tmp_path, code)
        assert after.digest != before.digest, file
        before = after


def test_every_file_of_a_package_is_part_of_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "beast_package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text(TAME)
    (package / "inner" / "deep.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    (before,) = host.load(given=["beast_package"], entry_points=[])
    (package / "inner" / "deep.py").write_text("A = 2\n")
    (after,) = host.load(given=["beast_package"], entry_points=[])
    assert before.error is None
    assert before.digest != after.digest


# Cheap


def test_asking_all_plugins_imports_no_heavy_library() -> None:
    program = (
        "import sys\nfrom robustradar import host\nplugins = host.load()\n"
        "assert [p.error for p in plugins] == [None] * len(plugins), plugins\n"
        "print([name for name in ('torch', 'torchvision', 'timm', 'torchattacks', 'sklearn') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed == "[]\n"
