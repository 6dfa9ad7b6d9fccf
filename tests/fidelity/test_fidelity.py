"""Judging: which scores there are, what they are compared with, what they cost, and what is said of them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from judged_runs import NAMES, cell, fit, run, table, use
from scipy.stats import kendalltau

from robustradar.errors import UsageError
from robustradar.fidelity import Entries, Fidelity, Judgement, Price, fidelity
from robustradar.fidelity.form import markdown, text
from robustradar.fidelity.page import page

UP = [0.1 * n for n in range(1, 13)]
RNG = np.random.default_rng(0)


def of(found: Fidelity, name: str) -> Judgement:
    return next(judgement for judgement in found.judgements if judgement.name == name)


def texts(values: list[float]) -> list[str]:
    return ["" if math.isnan(value) else str(value) for value in values]


def column(name: str, values: list[float | None], metric: str = "m/x", direction: str = "higher") -> list[dict[str, object]]:
    return [cell(candidate, metric, name, value, direction) for candidate, value in zip(NAMES, values, strict=False)]


def test_columns_of_the_table_are_turned_so_that_higher_is_better() -> None:
    noisy = [value + 0.3 * float(RNG.normal()) for value in UP]
    found = fidelity(table(UP, loss=texts([-value for value in noisy]), gain=texts(noisy)), entries=Entries(("loss:lower", "gain:higher")))
    wanted = kendalltau(noisy, UP).statistic
    assert [j.slices["all"].tau for j in found.judgements] == pytest.approx([wanted, wanted])
    assert [j.direction for j in found.judgements] == ["higher", "lower"]  # equal taus stand by name
    assert of(found, "gain").slices["all"].spearman == pytest.approx(of(found, "loss").slices["all"].spearman)
    assert of(found, "gain").price is None
    assert of(found, "gain").verdict == "nothing trivial to compare with"
    assert "No parameter counts are known" in text(found)


def test_mean_ranks_of_table_and_run() -> None:
    first, second = [3.0, 1, 2, 4, 5, 6], [1.0, 2, 3, 6, 4, 5]
    truth = table(UP[:6], s=texts(second))
    asked = Entries(("s:higher+speed", "s:higher + speed"))
    found = fidelity(truth, [run(column("speed", [-v for v in first], direction="lower"))], asked)
    mean = np.array([4, 3, 5, 10, 9, 11])  # ranks 3 1 2 4 5 6 and 1 2 3 6 4 5, added
    assert of(found, "s + speed").slices["all"].tau == pytest.approx(kendalltau(mean, UP[:6]).statistic)
    assert [j.name for j in found.judgements if "+" in j.name] == ["s + speed"]
    assert of(found, "s + speed").direction == "rank"


def test_scores_that_differ_in_direction_alone_are_all_judged_and_say_it() -> None:
    noisy = [value + 0.5 * float(RNG.normal()) for value in UP]
    truth = table(UP, x=texts(noisy), z=texts(UP[::-1]))
    asked = ("x:higher", "x:lower", "x:higher+z:higher", "x:higher+z:lower", "x:lower", "x:higher + z:lower")
    found = fidelity(truth, entries=Entries(asked, ("z:higher",)))
    wanted = kendalltau(noisy, UP).statistic
    assert {j.name: round(j.tau, 6) for j in found.judgements if "+" not in j.name} == {
        "x:higher": round(wanted, 6),
        "x:lower": round(-wanted, 6),
        "z": -1.0,
    }
    assert {j.name for j in found.judgements if "+" in j.name} == {"x:higher + z:higher", "x:higher + z:lower"}
    assert {d.to for d in of(found, "x:lower").differences} == {"z"}
    both = fidelity(truth, entries=Entries(("x:higher",), ("z:higher", "z:lower")))
    assert of(both, "x").verdict == "no better than z:lower"
    assert {j.trivial for j in both.judgements} == {"", "z:higher", "z:lower"}


def test_the_other_direction_of_a_trivial_score_is_a_score() -> None:
    found = fidelity(table(UP, params=texts(UP)), entries=Entries(("params:lower", "params:higher")))
    assert {j.name: (j.tau, j.verdict) for j in found.judgements} == {
        "params:higher": (1.0, "trivial"),
        "params:lower": (-1.0, "no better than parameter count"),
    }


def test_a_column_of_a_run_takes_the_direction_that_is_typed() -> None:
    made = run([*column("speed", UP), *column("size", UP, "m/z", "none")])
    found = fidelity(table(UP), [made], Entries(("speed", "speed:higher", "speed:lower", "size:lower")))
    assert {j.name: (j.direction, j.tau) for j in found.judgements} == {
        "speed:higher": ("higher", 1.0),
        "speed:lower": ("lower", -1.0),
        "size": ("lower", -1.0),
    }
    with pytest.raises(UsageError) as error:
        fidelity(table(UP), [made], Entries(("size",)))
    assert str(error.value) == "--score: got 'size' without a direction, expected size:higher or size:lower."


def test_a_column_of_the_table_is_another_score_than_a_run_s_without_a_direction() -> None:
    sizes = run(column("parameters", UP, direction="none"))
    found = fidelity(table(UP, parameters=texts(UP[::-1])), [sizes], Entries(("parameters:higher",)))
    assert {j.name: j.tau for j in found.judgements} == {"parameters": 1.0, "parameters [t.csv]": -1.0}


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ("s", "--score: got 's' without a direction, expected s:higher or s:lower."),
        ("sped", "--score: got 'sped', expected one of candidate, s, speed, truth. Did you mean 'speed'?"),
        ("s:higher+sped:lower", "--score: got 'sped', expected one of candidate, s, speed, truth. Did you mean 'speed'?"),
        ("candidate:higher", "t.csv:2: candidate: got 'papers/mlp:width=1', expected a number, or nothing where it is not known."),
    ],
)
def test_scores_that_are_none(score: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        fidelity(table(UP, s=texts(UP)), [run(column("speed", UP))], Entries((score,)))
    assert str(error.value) == message


def test_nothing_to_judge() -> None:
    with pytest.raises(UsageError) as error:
        fidelity(table(UP))
    assert str(error.value) == "fidelity: got nothing to judge, expected a score. Give --metric, --run or --score."
    with pytest.raises(UsageError) as error:
        fidelity(table(UP, s=texts(UP)), entries=Entries(("s:higher",), rankers=("rank-mean",)))
    assert str(error.value) == "--ranker: got a ranker and no run, expected numbers that it can rank by. Give --metric or --run."


def test_trivial_scores_stand_beside_and_name_the_verdict() -> None:
    noise = [value + 0.4 * float(RNG.normal()) for value in UP]
    scores = [
        *column("clean_accuracy", noise),
        *column("fgsm_accuracy", noise, "m/y"),
        *column("perfect", UP, "m/z"),
        *column("mad", [1, 0] * 6, "m/q"),
    ]
    sizes = texts([100.0] * 11 + [101])
    found = fidelity(table(UP, params=sizes, flops=texts(UP[::-1])), [run(scores)])
    assert {j.name: j.trivial for j in found.judgements if j.trivial} == {
        "params": "parameter count",
        "flops": "MACs",
        "clean_accuracy": "clean accuracy",
        "clean_accuracy + fgsm_accuracy": "the mean rank of clean accuracy and one weak step",
    }
    assert [j.name for j in found.judgements][0] == "perfect"
    assert of(found, "clean_accuracy").verdict == "trivial"
    assert of(found, "mad").verdict.startswith("no better than parameter count or ")
    assert of(found, "perfect").verdict == "better than every trivial score"
    assert {d.to for d in of(found, "perfect").differences} == {j.name for j in found.judgements if j.trivial}
    over_all = next(d for d in of(found, "perfect").differences if (d.to, d.slice) == ("flops", "all"))
    assert (over_all.tau, over_all.low, over_all.high, over_all.candidates) == (2.0, 2.0, 2.0, 12)
    assert of(found, "perfect").slices["size-matched"].pairs == 66


def test_what_a_score_tells_beyond_a_trivial_one_is_its_partial_tau() -> None:
    sizes = [value + 0.2 * float(RNG.normal()) for value in UP]
    scores = [*column("copy", sizes, "m/y"), *column("perfect", UP, "m/z")]
    found = fidelity(table(UP, params=texts(sizes)), [run(scores)])
    beyond = {(j.name, d.slice): d for j in found.judgements for d in j.differences}
    assert beyond["copy", "all"].partial is None  # it is the trivial score itself
    assert (beyond["perfect", "all"].partial, beyond["perfect", "all"].partial_low) == (pytest.approx(1.0), pytest.approx(1.0))
    assert beyond["perfect", "top half"].partial is None
    assert "partial τ" in markdown(found)
    assert "about 0 is nothing, however high its own τ" in markdown(found)


def test_a_score_that_equals_a_trivial_one_is_no_better() -> None:
    found = fidelity(table(UP, params=texts(UP), s=texts(UP)), entries=Entries(("s:higher",)))
    assert of(found, "s").verdict == "no better than parameter count"
    assert of(found, "s").differences[0].low == 0
    worse = fidelity(table(UP, s=texts(UP), mine=texts(UP[::-1])), entries=Entries(("mine:higher",), ("s:higher",)))
    assert of(worse, "mine").verdict == "no better than s"
    assert of(worse, "s").verdict == "trivial"


def test_what_is_missing_is_left_out_counted_and_flagged() -> None:
    truth = table([*UP, 0.05], (*NAMES, "papers/linear"), params=texts([*UP, 9.0]), s=texts([*UP[:-1], math.nan, math.nan]))
    scores = [*column("speed", [*UP[:10], None, None]), cell("papers/linear", "m/x", "speed", None, state="skipped", reason="too flat")]
    found = fidelity(truth, [run(scores)], Entries(("s:higher",)))
    speed = of(found, "speed")
    assert (speed.candidates, speed.missing, speed.failed, speed.slices["all"].tau) == (10, 3, 2, 1.0)
    assert speed.reasons == {"training: diverged": 2, "too flat": 1}
    assert speed.flags == ["missing: 23.1 % of the candidates have no number"]
    assert found.failed == [speed]
    # The difference is that of the ten candidates which have both, in whose order the trivial score is perfect, too.
    assert next(d for d in speed.differences if d.slice == "all").tau == 0
    assert (
        "speed: 3 of 13 candidates have no number and are left out: training: diverged (2); too flat (1). "
        "More than 5 % are missing: who is left out may be who is hard to predict."
    ) in text(found)
    assert "s: 2 of 13 candidates have no number and are left out: no number in t.csv (2)." in text(found)
    assert "10 of 13" in text(found)


def test_many_scores_are_remarked_on_everywhere() -> None:
    words = (
        "6 scores were judged: each interval and verdict is of one score alone, and the best of so many looks better than it is. "
        "Report it on a part of the table that it was not chosen on (--part)."
    )
    columns = {f"s{k}": texts([value + 0.1 * k * float(RNG.normal()) for value in UP]) for k in range(6)}
    truth = table(UP, flat=texts([1.0] * 12), params=texts(UP[::-1]), **columns)
    many = fidelity(truth, entries=Entries((*(f"{name}:higher" for name in columns), "flat:higher")))  # what is not judged is not counted
    assert many.json()["warnings"] == [words]
    assert f"\n{words}\n" in text(many) + "\n"
    assert words in markdown(many)
    assert words in page(many)
    few = fidelity(truth, entries=Entries(tuple(f"s{k}:higher" for k in range(5))))
    assert few.json()["warnings"] == []
    assert "scores were judged" not in text(few) + markdown(few) + page(few)


def test_a_few_missing_are_told_without_a_flag() -> None:
    names = tuple(f"c{i}" for i in range(40))
    found = fidelity(table(list(np.arange(40.0)), names, s=["", *map(str, range(1, 40))]), entries=Entries(("s:higher",)))
    assert of(found, "s").flags == []
    assert "s: 1 of 40 candidates have no number" in text(found)
    assert "More than" not in text(found)


def test_what_cannot_be_judged_says_why() -> None:
    truth = table(UP, flat=texts([1.0] * 12), few=texts([1.0, 2, 3, 4] + [math.nan] * 8))
    found = fidelity(truth, entries=Entries(("flat:higher", "few:higher")))
    assert of(found, "flat").verdict == "not judged: all its numbers are the same"
    assert of(found, "few").verdict == "not judged: fewer than 5 candidates have a number"
    assert of(found, "flat").slices["all"].tau is None
    level = fidelity(table([1.0] * 6 + UP[6:], s=texts([*UP[:6], *[math.nan] * 6])), entries=Entries(("s:higher",)))
    assert of(level, "s").verdict == "not judged: all the truths of the candidates that have a number are the same"


def test_small_slices_have_no_tau() -> None:
    found = fidelity(table(UP[:6], params=texts([100, 110, 200, 300, 400, 500]), s=texts(UP[:6])), entries=Entries(("s:higher",)))
    assert {name: on.tau for name, on in of(found, "s").slices.items()} == {
        "all": 1,
        "top half": None,
        "top quarter": None,
        "size-matched": None,
    }
    assert of(found, "s").slices["size-matched"].pairs == 1


def test_costs_count_shared_fits_once_for_each_score() -> None:
    names = NAMES[:6]
    clean = [cell(c, "m/clean", "clean_accuracy", UP[i]) for i, c in enumerate(names)]
    weak = [cell(c, "m/weak", "fgsm_accuracy", UP[i]) for i, c in enumerate(names)]
    uses = [u for i, c in enumerate(names) for u in (use(c, "m/clean", [f"tuned{i}"], 10), use(c, "m/weak", [f"tuned{i}"], 30))]
    fits = [f for i in range(6) for f in (fit(f"tuned{i}", 100, f"start{i}"), fit(f"start{i}", 400))]
    found = fidelity(
        table(UP[:6], cost=10_000.0), [run([*clean, *weak], fits=fits, measurements=[{**u, "key": str(i)} for i, u in enumerate(uses)])]
    )
    prices = {j.name: j.price for j in found.judgements}
    assert {name: price and price.passes for name, price in prices.items()} == {
        "clean_accuracy": 1010,
        "fgsm_accuracy": 1030,
        "clean_accuracy + fgsm_accuracy": 1040,
    }
    both = prices["clean_accuracy + fgsm_accuracy"]
    assert both
    assert (both.share, both.flops, both.flops_share) == (pytest.approx(0.104), 5040, None)


def test_what_columns_of_the_table_took_counts_once_for_those_that_came_at_once() -> None:
    spent = {"clean": ("clean+weak", 400), "weak": ("clean+weak", 400), "free": ("free", 0)}
    truth = replace(table(UP, cost=1000.0, clean=texts(UP), weak=texts(UP), free=texts(UP), other=texts(UP)), spent=spent)
    asked = Entries(("clean:higher", "clean:higher+weak:lower", "free:higher+weak:higher", "free:higher", "other:higher"))
    prices = {j.name: j.price for j in fidelity(truth, [], asked).judgements}
    assert {name: price and price.share for name, price in prices.items()} == {
        "clean": 0.4,
        "clean + weak": 0.4,
        "free + weak": 0.4,
        "free": 0.0,
        "other": None,
    }
    assert prices["clean"] == Price(400.0, pytest.approx(0.4), None, None)


def test_runs_of_one_protocol_share_candidates_out_and_others_stand_apart() -> None:
    early = run([cell(c, "m/x", "speed", UP[i]) for i, c in enumerate(NAMES[:7])], "early")
    late = run([cell(c, "m/x", "speed", UP[i + 7]) for i, c in enumerate(NAMES[7:])], "late")
    other = run([cell(c, "m/x", "speed", -UP[i]) for i, c in enumerate(NAMES)], "other", "native/long")
    found = fidelity(table(UP), [early, late, other])
    assert {j.name: (j.candidates, j.tau) for j in found.judgements} == {"speed [early]": (12, 1.0), "speed [other]": (12, -1.0)}
    alone = fidelity(table(UP), [early])
    assert of(alone, "speed").reasons == {"not in the runs given": 5}
    two = [cell(c, metric, "speed", UP[i]) for metric in ("m/x:k=1", "m/x:k=2") for i, c in enumerate(NAMES)]
    assert [j.name for j in fidelity(table(UP), [run(two)]).judgements] == ["speed [m/x:k=1]", "speed [m/x:k=2]"]


@pytest.mark.parametrize(("first", "which"), [(None, "given and with trained"), ("b" * 64, "different")])
def test_runs_with_other_weights_of_a_candidate_are_refused_in_any_order(first: str | None, which: str) -> None:
    scores = column("speed", UP)
    one, two = run(scores, "one", weights={NAMES[0]: first} if first else {}), run(scores, "two", weights={NAMES[0]: "a" * 64})
    for runs in ([one, two], [two, one]):
        with pytest.raises(UsageError) as error:
            fidelity(table(UP), runs)
        assert str(error.value) == (
            f"--run: got runs of one protocol with {which} weights of {NAMES[0]}, expected the same in all. Judge these runs one at a time."
        )
    assert [j.candidates for j in fidelity(table(UP), [two, two]).judgements] == [12]
    apart = [run(scores[:6], weights={NAMES[0]: "a" * 64}), run(scores[6:])]  # share the candidates out
    assert [j.candidates for j in fidelity(table(UP), apart).judgements] == [12]
    other = run(scores, "other", "native/long")
    assert {j.name for j in fidelity(table(UP), [two, other]).judgements} == {"speed [two]", "speed [other]"}


def test_candidates_are_found_under_what_runs_call_them() -> None:
    plain = tuple(f"papers/mlp:depth=2,width={n}" for n in range(1, 7))  # depth=2 is the default, which a run's label leaves out
    found = fidelity(table(UP[:6], plain), [run([cell(c, "m/x", "speed", UP[i]) for i, c in enumerate(NAMES[:6])])])
    assert of(found, "speed").candidates == 6
    with pytest.raises(UsageError) as error:
        fidelity(table(UP[:6], tuple("abcdef")), [run(column("speed", UP))])
    assert str(error.value) == "--run: got 1 run(s) that hold none of the 6 candidates of t.csv, expected 'a' or others. Check --candidate."


def test_rankers_orders_are_scores() -> None:
    back = [13 - 12 * value for value in UP]
    scores = [*column("speed", UP), *column("drag", back, "m/y", "lower"), *column("size", UP, "m/z", "none")]
    uses = [use(c, metric, [], 5) | {"key": c + metric} for c in NAMES for metric in ("m/x", "m/y", "m/z")]
    found = fidelity(table(UP), [run(scores, measurements=uses)], Entries(rankers=("rank-mean", "native/rank-mean:columns=speed")))
    both = of(found, "ranker native/rank-mean")
    assert (both.tau, both.direction) == (1.0, "rank")
    assert both.price and both.price.passes == 10
    alone = of(found, "ranker native/rank-mean:columns=speed")
    assert alone.price and alone.price.passes == 5
    with pytest.raises(UsageError, match=r"^--ranker: got 'rank-men', expected one of"):
        fidelity(table(UP), [run(scores)], Entries(rankers=("rank-men",)))


def test_runs_of_several_protocols_are_ordered_each_by_itself() -> None:
    labels = (("good", "bad"), ("", ""))  # results that were never written have no label
    for (one, two), names in zip(labels, (("good", "bad"), ("run 1", "run 2")), strict=True):
        runs = [run(column("speed", UP), one), run(column("speed", UP[::-1]), two, "native/long")]
        found = fidelity(table(UP), runs, Entries(rankers=("rank-mean", "rank-mean")))
        assert {j.name: j.tau for j in found.judgements} == {
            f"speed [{names[0]}]": 1.0,
            f"speed [{names[1]}]": -1.0,
            f"ranker native/rank-mean [{names[0]}]": 1.0,
            f"ranker native/rank-mean [{names[1]}]": -1.0,
        }


def test_a_column_of_the_table_that_a_run_has_too_is_another_score() -> None:
    found = fidelity(table(UP, speed=texts(UP[::-1])), [run(column("speed", UP))], Entries(("speed:higher",)))
    assert {j.name: j.tau for j in found.judgements} == {"speed": 1.0, "speed [t.csv]": -1.0}


def test_the_ceiling_is_there_where_noise_is_known() -> None:
    found = fidelity(table(UP, sd=0.05, s=texts(UP)), entries=Entries(("s:higher",)))
    assert 0.7 < found.ceiling["all"] < 1
    assert "noise ceiling" in text(found)
    some = table(UP, sd=0.05, s=texts(UP))
    some.sd[3:] = math.nan
    found = fidelity(some, entries=Entries(("s:higher",)))
    assert found.ceiling == {}
    assert "The truth's standard deviation is known for 3 of 12 candidates only: there is no noise ceiling." in text(found)
    assert fidelity(table(UP, s=texts(UP)), entries=Entries(("s:higher",))).ceiling == {}
    assert "noise ceiling" not in text(fidelity(table(UP, s=texts(UP)), entries=Entries(("s:higher",))))


def test_equal_seeds_give_equal_documents_without_nan() -> None:
    truth = table(UP, sd=0.05, s=texts([1.0] * 12), t=texts(UP[::-1]), params=texts(UP))
    one, two = (json.dumps(fidelity(truth, entries=Entries(("s:higher", "t:higher"))).json(), allow_nan=False) for _ in range(2))
    assert one == two
    made = json.loads(one)
    assert made["schema"] == "robustradar-fidelity/1"
    assert made["truth"]["candidates"] == 12
    assert [score["name"] for score in made["scores"]] == ["params", "t", "s"]
    assert made["scores"][1]["differences"][0]["better"] is False


def test_order_of_candidates_does_not_matter() -> None:
    noisy = [value + 0.3 * float(RNG.normal()) for value in UP]
    places = RNG.permutation(12)
    straight = fidelity(table(UP, s=texts(noisy)), entries=Entries(("s:higher",)))
    mixed = fidelity(
        table([UP[i] for i in places], [NAMES[i] for i in places], s=texts([noisy[i] for i in places])), entries=Entries(("s:higher",))
    )
    for name in ("tau", "spearman", "regret", "recall", "recall_tenth"):
        assert getattr(of(mixed, "s").slices["all"], name) == pytest.approx(getattr(of(straight, "s").slices["all"], name))


def test_the_markdown_keeps_names_as_text() -> None:
    made = markdown(fidelity(table(UP, **{"a|<b>": texts(UP)}), entries=Entries(("a|<b>:higher",))))
    assert r"a\|\<b\>" in made
    assert "a|<b>" not in made
    typed = "robustradar fidelity --score 'a\n# b\x07'"
    assert "\n```console\nrobustradar fidelity --score 'a\n# b\ufffd'\n```\n" in markdown(
        fidelity(table(UP, s=texts(UP)), entries=Entries(("s:higher",)), command=typed)
    )
    assert made.startswith("# Fidelity\n\nTruth: truth of t.csv, 12 candidates, 0.1 to 1.2, standard deviation 0.3606.\n")
