"""Each hook: what a plugin declares by it."""

from pathlib import Path

from plugin_texts import HEAD, hook, loaded

from robustradar.host import Plugin


def declares(folder: Path, name: str, body: str, head: str = "") -> Plugin:
    plugin = loaded(folder, hook(body, name, HEAD + head))
    assert plugin.error is None
    return plugin


def test_hook_architectures(tmp_path: Path) -> None:
    head = "def tiny(shape: tuple[int, ...], outputs: int, width: int = 8):\n    'A linear map.'\n    raise AssertionError('built')\n"
    plugin = declares(tmp_path, "robustradar_architectures", "return (rr.architecture(tiny),)", head)
    (architecture,) = plugin.declarations["architecture"]
    assert (architecture.name, architecture.summary, architecture.width) == ("tiny", "A linear map.", 8)  # type: ignore[attr-defined]


def test_hook_datasets(tmp_path: Path) -> None:
    head = "class Coins(rr.Dataset):\n    'Two classes.'\n    def load(self): raise AssertionError('read')\n"
    plugin = declares(tmp_path, "robustradar_datasets", "return (Coins(name='coins'),)", head)
    assert [d.summary for d in plugin.declarations["dataset"]] == ["Two classes."]


def test_hook_recipes(tmp_path: Path) -> None:
    plugin = declares(tmp_path, "robustradar_recipes", "return (rr.Recipe(name='long', epochs=100), rr.Recipe(name='brief', epochs=1))")
    assert [(r.name, r.epochs) for r in plugin.declarations["recipe"]] == [("brief", 1), ("long", 100)]  # type: ignore[attr-defined]


def test_hook_attacks(tmp_path: Path) -> None:
    plugin = declares(tmp_path, "robustradar_attacks", "return [Still(name='still'), Still(name='move', kind='first_success')]")
    assert [a.name for a in plugin.declarations["attack"]] == ["move", "still"]


def test_hook_metrics(tmp_path: Path) -> None:
    head = "class M(rr.Metric):\n    def needs(self, task, threat): ...\n    def measure(self, bench): ...\n"
    plugin = declares(tmp_path, "robustradar_metrics", "return (M(name='m', columns=(rr.Column('m', 'none', '1'),)),)", head)
    assert [m.name for m in plugin.declarations["metric"]] == ["m"]


def test_hook_rankers(tmp_path: Path) -> None:
    head = "class R(rr.Ranker):\n    def rank(self, table): ...\n"
    assert [r.name for r in declares(tmp_path, "robustradar_rankers", "return (R(name='r'),)", head).declarations["ranker"]] == ["r"]


def test_hook_reporters(tmp_path: Path) -> None:
    head = "class R(rr.Reporter):\n    def render(self, result): return ''\n"
    plugin = declares(tmp_path, "robustradar_reporters", "return (R(name='r', filename='r.txt'),)", head)
    assert [r.filename for r in plugin.declarations["reporter"]] == ["r.txt"]  # type: ignore[attr-defined]


def test_a_plugin_may_declare_nothing(tmp_path: Path) -> None:
    for text in ("", hook("return ()")):
        plugin = loaded(tmp_path, text)
        assert plugin.error is None
        assert set(plugin.declarations.values()) == {()}
