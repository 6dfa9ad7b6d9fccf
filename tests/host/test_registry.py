"""registry.yaml: read as it is written, refused with file and line, and the shipped one resolves as a whole."""

from pathlib import Path

import pytest

from robustradar import host, registry
from robustradar.catalog import Catalog
from robustradar.errors import RegistryError, UsageError
from robustradar.plan import Metric
from robustradar.registry import Registry, Request
from robustradar.values import norm_order, number
from robustradar_native.ranker import RankMean

FIELDS = "architectures, attack, data, eps, metrics, norm, ranker, recipe, reporters, seeds, tau"
SECTIONS = "architectures, attacks, datasets, defaults, metrics, rankers, recipes, reporters, studies"


def refused(text: str) -> str:
    with pytest.raises(RegistryError) as error:
        registry.parse(text, "mine.yaml")
    return str(error.value)


MALFORMED = {
    "attacks: [a, b]": "mine.yaml:1: attacks: got a list, expected a mapping.",
    "attacks:": "mine.yaml:1: attacks: got nothing, expected a mapping.",
    "attacks: pgd": "mine.yaml:1: attacks: got 'pgd', expected a mapping.",
    "- a": "mine.yaml:1: document: got a list, expected a mapping.",
    "---\n": "mine.yaml:2: document: got nothing, expected a mapping.",
    "just words": "mine.yaml:1: document: got 'just words', expected a mapping.",
    "attacks:\n  pgd:\n": "mine.yaml:2: attacks.pgd: got nothing, expected a text.",
    "attacks:\n  pgd: [native/pgd]\n": "mine.yaml:2: attacks.pgd: got a list, expected a text.",
    "attacks:\n  pgd:\n    steps: 3\n": "mine.yaml:3: attacks.pgd: got a mapping, expected a text.",
    "attacks:\n  a: x\n  b: y\n  a: z\n": "mine.yaml:4: attacks.a: got this key twice, expected it once.",
    "attacks: {a: x}\nattacks: {b: y}\n": "mine.yaml:2: attacks: got this key twice, expected it once.",
    "atacks:\n  a: x\n": f"mine.yaml:2: atacks: key: got 'atacks', expected one of {SECTIONS}. Did you mean 'attacks'",
    "studies:\n  mine:\n    epsilon: 1\n": f"mine.yaml:3: studies.mine.epsilon: key: got 'epsilon', expected one of {FIELDS}.",
    "studies:\n  mine:\n    metrics: a\n": "mine.yaml:3: studies.mine.metrics: got 'a', expected a list.",
    "studies:\n  mine:\n    metrics: [a, [b]]\n": "mine.yaml:3: studies.mine.metrics: got a list, expected a text.",
    "studies:\n  mine:\n    metrics: [a, '']\n": "mine.yaml:3: studies.mine.metrics: got nothing, expected a text.",
    "studies:\n  mine:\n    eps: [1]\n": "mine.yaml:3: studies.mine.eps: got a list, expected a text.",
    "studies:\n  mine:\n    seeds: 0\n": "mine.yaml:3: studies.mine.seeds: got '0', expected a whole number of at least 1.",
    "studies:\n  mine:\n    seeds: many\n": "mine.yaml:3: studies.mine.seeds: got 'many', expected a whole number of at least 1.",
    "studies:\n  mine:\n    seeds: 2.0\n": "mine.yaml:3: studies.mine.seeds: got '2.0', expected a whole number of at least 1.",
    "studies:\n  mine:\n    tau: 1\n": "mine.yaml:3: studies.mine.tau: got '1', expected a number between 0 and 1, both excluded.",
    "studies:\n  mine:\n    tau: high\n": "mine.yaml:3: studies.mine.tau: got 'high', expected a number between 0 and 1, both excluded.",
    "studies: {mine: }\n": "mine.yaml:1: studies.mine: got nothing, expected a mapping.",
    "defaults:\n  seeds: 1\n  seeds: 2\n": "mine.yaml:3: defaults.seeds: got this key twice, expected it once.",
    "[a]: b": "mine.yaml:1: document: got a list, expected a text.",
    "attacks:\n\ta: x\n": "mine.yaml:2: not YAML: found character '\\t' that cannot start any token.",
    "attacks: {a: x\n": "mine.yaml:2: not YAML: expected ',' or '}', but got '<stream end>'.",
    "attacks: 'x\n": "mine.yaml:2: not YAML: found unexpected end of stream.",
    "a: *nowhere\n": "mine.yaml:1: not YAML: found undefined alias 'nowhere'.",
    "a: b\n---\nc: d\n": "mine.yaml:2: not YAML: but found another document.",
    "attacks:\n  a: x\x00y\n": "mine.yaml:2: not YAML: special characters are not allowed.",
}


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_file_is_refused_with_line_key_and_reason(text: str) -> None:
    assert refused(text).startswith(MALFORMED[text])


def test_scalars_are_read_as_they_are_written() -> None:
    """YAML 1.1 makes a text of 1e-3, false of no, 8 o'clock of 8:00, and an octal of 010."""
    text = "recipes:\n  a: 1e-3\n  b: no\n  c: 8/255\n  no: on\n  d: 010\n  e: 8:00\n  f: ~\n  g: null\n  h: 2024-01-01\n"
    found = registry.parse(text, "mine.yaml").aliases["recipe"]
    assert found == {
        "a": "1e-3", "b": "no", "c": "8/255", "no": "on", "d": "010", "e": "8:00", "f": "~", "g": "null", "h": "2024-01-01",
    }  # fmt: skip
    assert registry.parse("defaults: {eps: 8/255, norm: 2, seeds: 3}", "mine.yaml").defaults == Request(eps="8/255", norm="2", seeds=3)


def test_an_empty_file_says_nothing() -> None:
    for text in ("", "# only a comment\n"):
        assert registry.parse(text, "mine.yaml") == Registry()


def test_lists_keep_their_order() -> None:
    study = registry.parse("studies:\n  s:\n    metrics: [b, a]\n    architectures:\n      - z:x=1,y=2\n      - y\n", "f").studies["s"]
    assert study == Request(metrics=("b", "a"), architectures=("z:x=1,y=2", "y"))


# Files of one's own


def test_ones_own_file_overrides_by_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("attacks:\n  pgd-20: native/pgd:steps=21\n  own: native/fgsm\ndefaults:\n  eps: 0.3\nstudies:\n  mine: {norm: l2}\n")
    shipped, found = registry.load(), registry.load(file)
    assert found.aliases["attack"] == {**shipped.aliases["attack"], "pgd-20": "native/pgd:steps=21", "own": "native/fgsm"}
    assert found.defaults == Request(eps="0.3").over(shipped.defaults)
    assert found.studies == {**shipped.studies, "mine": Request(norm="l2")}


def test_flags_go_over_the_study_and_the_study_over_the_defaults() -> None:
    known = Registry({}, Request(eps="1", norm="l1", data="d"), {"s": Request(eps="2", norm="l2")})
    assert known.study("s", Request(eps="3")) == Request(eps="3", norm="l2", data="d")
    assert known.study(None, Request()) == known.defaults


def test_a_fields_place_is_where_it_was_written(tmp_path: Path) -> None:
    known = registry.parse("defaults:\n  eps: 1\nstudies:\n  s:\n    norm: l2\n", "mine.yaml")
    assert known.place("s", Request(), "norm", "--norm") == "mine.yaml:5: studies.s.norm"
    assert known.place("s", Request(), "eps", "--eps") == "mine.yaml:2: defaults.eps"
    assert known.place("s", Request(eps="3"), "eps", "--eps") == "--eps"
    assert known.place(None, Request(), "data", "--data") == "--data"


def test_an_unknown_study_suggests_known_ones() -> None:
    with pytest.raises(UsageError) as error:
        Registry({}, Request(), {"quickstart": Request()}).study("quickstrat", Request())
    assert str(error.value) == "STUDY: got 'quickstrat', expected one of quickstart. Did you mean 'quickstart'?"


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe")
    for path, why in ((tmp_path / "none.yaml", "No such file or directory"), (tmp_path, "Is a directory"), (binary, "no text in UTF-8")):
        with pytest.raises(RegistryError) as error:
            registry.load(path)
        assert str(error.value) == f"--registry: got {str(path)!r}, which cannot be read ({why}), expected a YAML file. Check the path."


# The shipped registry

SHIPPED = registry.load()
CATALOG = Catalog(host.load(), SHIPPED.aliases)


@pytest.mark.parametrize(("kind", "alias"), [(kind, alias) for kind, names in SHIPPED.aliases.items() for alias in names])
def test_every_shipped_alias_resolves(kind: str, alias: str) -> None:
    assert CATALOG.resolve(kind, alias, "test").id


@pytest.mark.parametrize("name", [None, *SHIPPED.studies])
def test_every_shipped_study_resolves(name: str | None) -> None:
    study = SHIPPED.study(name, Request())
    for kind, texts in (("architecture", study.architectures), ("metric", study.metrics), ("reporter", study.reporters)):
        for text in CATALOG.expanded(kind, texts or (), "test"):
            assert CATALOG.resolve(kind, text, "test").id
    for kind, text in (("dataset", study.data), ("attack", study.attack), ("recipe", study.recipe), ("ranker", study.ranker)):
        assert CATALOG.resolve(kind, text or "", "test").id
    assert norm_order(study.norm or "") >= 1
    assert number(study.eps or "") > 0
    assert (study.seeds or 0) >= 1
    # Commands that take their candidates from elsewhere have studies, too, which say the rest.
    whole = name and not name.startswith(("fidelity/", "funnel/", "zoo/"))
    assert study.architectures if whole else study.architectures is None
    columns = [c.name for text in study.metrics or () for c in CATALOG.bound("metric", CATALOG.resolve("metric", text, ""), Metric).columns]
    ranked = CATALOG.bound("ranker", CATALOG.resolve("ranker", study.ranker or "", ""), RankMean).columns
    assert [name for name in ranked if columns.count(name) != 1] == []


def test_a_shipped_name_hides_no_declaration() -> None:
    for kind, names in SHIPPED.aliases.items():
        short = {identifier.partition("/")[2] for identifier in CATALOG.declared(kind)}
        assert set(names) & (short | set(CATALOG.declared(kind))) == set()
