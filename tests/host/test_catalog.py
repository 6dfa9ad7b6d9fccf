"""What a user types, and the declaration with its parameters that it means."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from robustradar import Attack, Declaration, Recipe
from robustradar.catalog import Catalog, shown, signature, split_reference
from robustradar.errors import PluginError, UsageError
from robustradar.host import Plugin
from robustradar.values import Ref


@dataclass(frozen=True)
class Toy(Declaration):
    """A declaration with a parameter of every kind."""

    count: Annotated[int, Field(ge=1, le=100, description="how many")] = 3
    rate: Annotated[float, Field(gt=0, description="how fast")] = 0.5
    limit: float | None = None
    on: bool = False
    mode: Literal["fast", "slow"] = "fast"
    path: str = "here"
    words: tuple[str, ...] = ()
    rates: tuple[float, ...] = (0.5, 0.75)

    def __post_init__(self) -> None:
        if self.count == 13 and self.on:
            raise ValueError("count 13 cannot be on")


def plugin(name: str, *declarations: Declaration, kind: str = "recipe", error: str | None = None) -> Plugin:
    return Plugin(name, f"{name}-dist", "1.0", "abc", {kind: declarations}, error)


CATALOG = Catalog(
    (
        plugin("toys", Toy(name="toy"), Toy(name="other", count=7), Toy(name="twice")),
        plugin("more", Toy(name="twice")),
        plugin("broken", error="import: ImportError: no"),
    ),
    {"recipe": {"quick": "toys/toy:count=5,rate=0.25", "gone": "toys/tay"}},
)


def resolve(text: str) -> Ref:
    return CATALOG.resolve("recipe", text, "--recipe")


def refused(text: str) -> str:
    with pytest.raises(UsageError) as error:
        resolve(text)
    return str(error.value)


def bound(text: str) -> Toy:
    return CATALOG.bound("recipe", resolve(text), Toy)


# Names


def test_a_reference_binds_every_parameter() -> None:
    ref = resolve("toys/toy:count=4")
    assert (ref.id, ref.label) == ("toys/toy", "toys/toy:count=4")
    assert dict(ref.parameters) == {
        "count": 4,
        "rate": 0.5,
        "limit": None,
        "on": False,
        "mode": "fast",
        "path": "here",
        "words": (),
        "rates": (0.5, 0.75),
    }
    assert ref.source == "toys-dist 1.0 abc"
    assert CATALOG.culprit("recipe", ref) == "recipe toys/toy (toys-dist 1.0)"


def test_a_short_name_stands_for_the_only_one() -> None:
    assert resolve("toy") == resolve("toys/toy")
    assert resolve(" toy ") == resolve("toy")


def test_a_default_that_is_typed_is_no_other_reference() -> None:
    assert resolve("toy:count=3,rate=1/2,on=no") == resolve("toy")
    assert resolve("toy:count=3").label == "toys/toy"
    assert resolve("other:count=7") == resolve("other")


def test_an_alias_gives_defaults_that_may_be_overridden() -> None:
    assert resolve("quick") == resolve("toys/toy:count=5,rate=0.25")
    assert resolve("quick:count=6").label == "toys/toy:count=6,rate=0.25"
    assert resolve("quick:count=3,rate=0.5") == resolve("toy")


def test_an_ambiguous_name_lists_whom_it_may_mean() -> None:
    assert refused("twice") == "--recipe: got 'twice', which 2 plugins declare. Name one of toys/twice, more/twice."
    assert resolve("more/twice").id == "more/twice"


def test_an_unknown_name_suggests_known_ones() -> None:
    broken = "Plugin 'broken' (broken-dist 1.0) is broken and was left out: import: ImportError: no"
    listed = "expected one of gone, more/twice, quick, toys/other, toys/toy, toys/twice."
    assert refused("toys/tou") == f"--recipe: got 'toys/tou', {listed} Did you mean 'toys/toy' or 'toys/twice' or 'toys/other'? {broken}"
    assert refused("quik").startswith(f"--recipe: got 'quik', {listed} Did you mean 'quick'?")
    assert refused("xyz") == f"--recipe: got 'xyz', {listed} {broken}"


def test_an_alias_of_nothing_is_named() -> None:
    assert refused("gone").startswith("--recipe: alias 'gone': got 'toys/tay', expected one of ")


def test_a_broken_plugins_name_tells_why() -> None:
    with pytest.raises(PluginError) as error:
        resolve("broken/net")
    assert str(error.value) == "--recipe: got 'broken/net', whose plugin 'broken' (broken-dist 1.0) is broken: import: ImportError: no"


def test_kinds_have_names_of_their_own() -> None:
    catalog = Catalog((plugin("toys", Toy(name="toy")),), {})
    with pytest.raises(UsageError, match=r"^--attack: got 'toy', expected one of nothing: none is declared\.$"):
        catalog.resolve("attack", "toy", "--attack")
    with pytest.raises(TypeError, match="toys/toy is no Attack"):
        CATALOG.bound("recipe", resolve("toy"), Attack)
    assert isinstance(CATALOG.bound("recipe", resolve("toy"), Toy), Declaration)
    assert not isinstance(CATALOG.bound("recipe", resolve("toy"), Toy), Recipe)


# Parameters

ACCEPTED = (
    "Accepted: count: int >= 1 <= 100 = 3, rate: float > 0 = 0.5, limit: float | None = none, on: bool = false, mode: fast|slow = fast, "
    "path: str = here, words: list of str = , rates: list of float = 0.5+0.75."
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "toy:cuont=4",
            "parameter: got 'cuont', expected one of count, limit, mode, on, path, rate, rates, words. Did you mean 'count' or 'on'?",
        ),
        ("toy:name=x", "parameter: got 'name', expected one of count, limit, mode, on, path, rate, rates, words."),
        ("toy:count=four", "parameter 'count': got 'four', expected a valid integer, unable to parse string as an integer. "),
        ("toy:count=4.5", "parameter 'count': got '4.5', expected a valid integer, unable to parse string as an integer. "),
        ("toy:count=0", "parameter 'count': got '0', expected greater than or equal to 1. "),
        ("toy:count=101", "parameter 'count': got '101', expected less than or equal to 100. "),
        ("toy:rate=0", "parameter 'rate': got '0', expected greater than 0. "),
        ("toy:rate=inf", "parameter 'rate': got 'inf', expected a valid number, unable to parse string as a number. "),
        ("toy:rate=nan", "parameter 'rate': got 'nan', expected a valid number, unable to parse string as a number. "),
        ("toy:rate=1/0", "parameter 'rate': got '1/0', expected a valid number, unable to parse string as a number. "),
        ("toy:rate=fast", "parameter 'rate': got 'fast', expected a valid number, unable to parse string as a number. "),
        ("toy:mode=medium", "parameter 'mode': got 'medium', expected 'fast' or 'slow'. "),
        ("toy:on=maybe", "parameter 'on': got 'maybe', expected a valid boolean, unable to interpret input. "),
        ("toy:rates=0.5+x", "parameter 'rates': got '0.5+x', expected a valid number, unable to parse string as a number. "),
    ],
)
def test_a_wrong_parameter_is_told_with_what_is_accepted(text: str, message: str) -> None:
    told = refused(text)
    assert told.startswith(f"--recipe toys/toy: {message}")
    assert told.endswith(ACCEPTED) or "Did you mean" in told or "expected one of" in told


def test_parameters_that_do_not_go_together_are_told() -> None:
    assert refused("toy:count=13,on=true") == f"--recipe toys/toy: ValueError: count 13 cannot be on. {ACCEPTED}"


def test_the_signature_is_the_one_line_of_all_parameters() -> None:
    assert signature(Toy(name="toy")) == ACCEPTED.removeprefix("Accepted: ").removesuffix(".")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("toy:count", "--recipe: got 'count' in 'toy:count', expected parameter=value. Separate parameters by commas."),
        ("toy:=4", "--recipe: got '=4' in 'toy:=4', expected parameter=value. Separate parameters by commas."),
        ("toy:count=4,count=5", "--recipe: got 'count' twice in 'toy:count=4,count=5', expected it once."),
        ('toy:count=4"', '--recipe: got \'toy:count=4"\' with a quote that is not closed, expected parameter="value". Close it.'),
    ],
)
def test_a_malformed_reference_is_told(text: str, message: str) -> None:
    assert refused(text) == message


def test_values_may_be_fractions_tuples_and_quoted() -> None:
    toy = bound('toy:rate=8/255,limit=1/3,words=a+b,rates=8/255+1e-3,path="a,b c=d:e",on=yes')
    assert (toy.rate, toy.limit, toy.rates) == (8 / 255, 1 / 3, (8 / 255, 1e-3))
    assert (toy.words, toy.path, toy.on) == (("a", "b"), "a,b c=d:e", True)
    assert bound("toy:limit=none").limit is None
    assert bound("toy:words=").words == ()


def test_a_reference_is_split_at_its_first_colon() -> None:
    assert split_reference("npz:path=C:/a=b.npz, limit=3 ", "--data") == ("npz", {"path": "C:/a=b.npz", "limit": "3"})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8 / 255, "8/255"),
        (1e20, "1e20"),
        (True, "true"),
        (None, "none"),
        (("a", "b"), "a+b"),
        ((8 / 255, 0.5), "8/255+0.5"),
        ("a,b", '"a,b"'),
    ],
)
def test_values_are_shown_as_they_are_typed(value: object, text: str) -> None:
    assert shown(value) == text


# Labels

WORD = st.text(st.characters(blacklist_characters='"+', blacklist_categories=("Cs", "Cc")), min_size=1, max_size=6)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(
    count=st.integers(1, 12),
    rate=st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False),
    limit=st.none() | FINITE,
    on=st.booleans(),
    mode=st.sampled_from(["fast", "slow"]),
    path=WORD | st.just(""),
    words=st.lists(WORD, max_size=3).map(tuple),
    rates=st.lists(FINITE, min_size=1, max_size=3).map(tuple),
)
def test_a_label_resolves_to_its_own_reference(**values: object) -> None:
    """What a result shows can be typed again, whatever the parameters are."""
    toy = Toy(name="toy", **values)  # type: ignore[arg-type]
    catalog = Catalog((plugin("toys", Toy(name="toy")),), {})
    fields = ",".join(f"{name}={shown(getattr(toy, name))}" for name in values)
    ref = catalog.resolve("recipe", f"toys/toy:{fields}", "test")
    again = catalog.resolve("recipe", ref.label, "test")
    assert again == ref
    assert again.label == ref.label
    assert catalog.bound("recipe", ref, Toy) == toy
    assert math.isfinite(catalog.bound("recipe", again, Toy).rate)
