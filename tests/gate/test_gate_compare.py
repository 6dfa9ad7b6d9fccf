"""What is called a regression: tests against SciPy's, sizes, directions, seeds, states and protocols."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gated_cells import ACCURACY, LOSS, PROVENANCE, SIZE, STUDY, bits, given, run_of, sampled, seeded, stateless
from hypothesis import given as draw
from hypothesis import strategies as st
from scipy import stats

from robustradar import UsageError
from robustradar.gate import Cell, Comparison, Row, Rule, Snapshot, Tolerance, UnlikeError, compare, exit_code, tolerance
from robustradar.gate.chance import FEWEST_SEEDS, corrected, difference, mcnemar
from robustradar.numerics.seeds import student


def only(before: Snapshot, now: Snapshot, rule: Rule | None = None) -> Row:
    (row,) = compare(before, now, rule or Rule()).rows
    return row


# The tests themselves


@draw(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_scipys_binomial_test_of_the_discordant(lost: int, gained: int) -> None:
    expected = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert math.isclose(mcnemar(lost, gained), expected, rel_tol=1e-9)


@draw(st.lists(st.floats(-5, 5), min_size=3, max_size=40).filter(lambda v: np.std(v) > 1e-3))
def test_student_of_one_part_is_scipys_paired_t(differences: list[float]) -> None:
    d = np.array(differences)
    p, reach = student(float(d.mean()), [(float(d.var(ddof=1)) / len(d), len(d) - 1)])
    expected = stats.ttest_1samp(d, 0.0)
    low, high = expected.confidence_interval(0.95)
    assert math.isclose(p, expected.pvalue, rel_tol=1e-8, abs_tol=1e-12)
    assert math.isclose(2 * reach, high - low, rel_tol=1e-8)


def test_student_adds_the_parts_and_takes_the_fewest_degrees_that_matter() -> None:
    error = math.sqrt(0.03 + 0.01)
    assert student(0.5, [(0.03, 4), (0.01, 999)])[0] == pytest.approx(2 * stats.t.sf(0.5 / error, 4))
    error = math.sqrt(0.0001 + 0.01)
    assert student(0.5, [(0.0001, 4), (0.01, 999)])[0] == pytest.approx(2 * stats.t.sf(0.5 / error, 999))


@draw(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_where_nothing_is_tolerated_the_correction_is_holms(ps: list[float], alpha: float) -> None:
    rejected = set()
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        if ps[i] * (len(ps) - rank) > alpha * (1 + 1e-12):
            break
        rejected.add(i)
    ones = [1] * len(ps)
    assert {i for i, p in enumerate(corrected(ps, [1.0] * len(ps), ones)) if p <= alpha * (1 + 1e-12)} == rejected


def test_what_a_tolerance_leaves_to_chance_is_all_that_its_cell_costs_the_others() -> None:
    assert corrected([0.02, 0.5, 0.5], [0.1, 0.0, 0.001], [1, 0, 0])[0] == pytest.approx(0.02 + 0.001)
    # A cell that improved counts among those that got worse, whatever its p.
    assert corrected([0.02, 1e-9], [0.1, 0.1], [1, -1])[0] == pytest.approx(0.02 + 0.02)
    # So does one that is tolerated, and its own p is never less than it was.
    assert corrected([0.02, 1e-9], [0.1, 1e-12], [1, 0]) == pytest.approx([0.02 + 1e-12, 1e-9 + 1e-12], rel=1e-6)


@pytest.mark.parametrize("freedom", [4, 8, 999])
@pytest.mark.parametrize("cells", [2, 12])
@pytest.mark.parametrize("ratios", [(0.0,), (1.0,), (2.0,), (2.5,), (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)])
def test_whatever_is_tolerated_no_more_runs_raise_alarms(freedom: int, cells: int, ratios: tuple[float, ...]) -> None:
    """Cells that have nothing to do with each other, the worst case for a sum; tolerances in standard errors, which are estimated."""
    rng, draws = np.random.default_rng(0), 3000
    sizes = np.resize(ratios, cells)
    changes, errors = rng.normal(size=(draws, cells)), np.sqrt(rng.chisquare(freedom, (draws, cells)) / freedom)
    ps, beyond = stats.t.sf(np.abs(changes) / errors, freedom), stats.t.sf(sizes / errors, freedom)
    sides = np.where(np.abs(changes) > sizes, np.sign(changes), 0).astype(int)
    found = [
        any(p <= 0.05 and side > 0 for p, side in zip(corrected(*run), run[2], strict=True)) for run in zip(ps, beyond, sides, strict=True)
    ]
    assert np.mean(found) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)


@pytest.mark.parametrize(("changed", "tolerance"), [(70, 0.01), (70, 0.0), (7, 0.0), (69, 0.0105), (5, 0.01)])
def test_the_chance_beyond_a_tolerance_is_counted_out(changed: int, tolerance: float) -> None:
    """Of fair coins for the samples that changed, so many bring a net loss, or gain, of more than the tolerance."""
    before, now = bits(500, 1000), bits(500, 1000)
    now[0, 500 - changed // 2 : 500] = False
    now[0, 500 : 500 + changed - changed // 2] = True
    found = difference(sampled(before), sampled(now), True, tolerance)
    nets = 2 * np.arange(changed + 1) - changed
    weights = stats.binom.pmf(np.arange(changed + 1), changed, 0.5)
    assert found.beyond == pytest.approx(weights[np.abs(nets) > 1000 * tolerance + 1e-6].sum(), abs=1e-12)


# Size and significance


def test_a_run_that_is_the_same_to_the_bit_has_p_1() -> None:
    before = run_of(sampled(bits(700, 1000)), seeded([3.0], LOSS), seeded([98.0], SIZE, chance=False))
    now = run_of(sampled(bits(700, 1000), fits="now"), seeded([3.0], LOSS, fits="now"), seeded([98.0], SIZE, chance=False))
    found = compare(before, now, Rule())
    assert {(row.verdict, row.p, row.change, row.test) for row in found.rows} == {("same", 1.0, 0.0, "identical")}
    assert (found.verdict, exit_code(found)) == ("same", 0)


def test_given_networks_are_judged_by_mcnemars_test_on_the_same_samples() -> None:
    row = only(given(sampled(bits(700, 1000))), given(sampled(bits(670, 1000), fits="now")))
    assert (row.verdict, row.test) == ("regression", "McNemar")
    assert row.p == pytest.approx(0.5 * mcnemar(30, 0))
    assert row.change == pytest.approx(-0.03)
    assert row.low is not None and row.high is not None and row.low < -0.03 < row.high < 0


def test_more_of_the_same_drop_unpaired_would_be_noise_and_paired_is_none() -> None:
    """30 of 1,000 answers lost and none gained is no accident; 230 lost and 200 gained may be one."""
    before = bits(700, 1000)
    churned = before.copy()
    churned[0, :230], churned[0, 700:900] = False, True
    row = only(given(sampled(before)), given(sampled(churned, fits="now")))
    assert row.change == pytest.approx(-0.03)
    assert (row.verdict, row.p) == ("same", pytest.approx(0.5 * mcnemar(230, 200)))


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        (Rule(), "regression"),
        (Rule((("robust_accuracy", Tolerance(0.02)),)), "regression"),
        (Rule((("robust_accuracy", Tolerance(0.03)),)), "same"),
        (Rule((("robust_*", Tolerance(0.04)),)), "same"),
        (Rule((("*", Tolerance(0.04)), ("robust_accuracy", Tolerance(0.0)))), "regression"),
        (Rule((("robust_accuracy", Tolerance(0.05, relative=True)),)), "same"),
        (Rule((("robust_accuracy", Tolerance(0.04, relative=True)),)), "regression"),
        (Rule(alpha=1e-12), "same"),
    ],
)
def test_a_regression_needs_size_and_significance(rule: Rule, verdict: str) -> None:
    assert only(given(sampled(bits(700, 1000))), given(sampled(bits(670, 1000))), rule).verdict == verdict


def test_a_drop_of_exactly_the_default_point_is_tolerated() -> None:
    """0.87 − 0.86 is more than 0.01 in floating point."""
    row = only(given(sampled(bits(8700, 10000))), given(sampled(bits(8600, 10000))))
    assert (row.verdict, row.tolerance) == ("same", 0.01)
    assert only(given(sampled(bits(8700, 10000))), given(sampled(bits(8599, 10000)))).verdict == "regression"


@pytest.mark.parametrize(
    ("column", "factor", "verdict"),
    [(LOSS, 1.2, "regression"), (LOSS, 0.8, "improvement"), (LOSS, 1.04, "same"), (replace(LOSS, direction="none"), 1.01, "change")],
)
def test_losses_are_judged_by_a_paired_t_and_their_direction(column: Any, factor: float, verdict: str) -> None:
    losses = np.random.default_rng(0).exponential(2.0, (1, 500)).astype(np.float32)
    row = only(given(sampled(losses, column)), given(sampled(losses * np.float32(factor), column)))
    assert (row.verdict, row.test) == (verdict, "paired t")
    expected = stats.ttest_rel(losses[0].astype(float) * np.float32(factor), losses[0].astype(float)).pvalue
    assert row.p == pytest.approx(expected * (1.0 if column.direction == "none" else 0.5), rel=1e-3)


def test_an_exact_number_that_moved_did_not_move_by_chance() -> None:
    before, now = (run_of(seeded([value], SIZE, chance=False)) for value in (98.0, 99.0))
    row = only(before, now)
    assert (row.verdict, row.p, row.test, row.low) == ("change", 0.0, "exact", None)
    found = compare(before, now, Rule())
    assert [exit_code(found, fail) for fail in ("regression", "change", "never")] == [0, 1, 0]


def test_many_cells_are_corrected_together_and_those_that_did_not_change_are_none() -> None:
    moved = [(sampled(bits(700, 1000), metric=f"m{i}"), sampled(bits(693, 1000), metric=f"m{i}", fits="now")) for i in range(4)]
    still = [(sampled(bits(700, 1000), metric=f"n{i}"), sampled(bits(700, 1000), metric=f"n{i}")) for i in range(50)]
    before, now = zip(*moved, *still, strict=True)
    rule = Rule((("robust_accuracy", Tolerance(0.0)),))
    found = compare(given(*before), given(*now), rule)
    assert [row.p for row in found.rows[:4]] == pytest.approx([4 * 0.5 * mcnemar(7, 0)] * 4)
    assert {row.verdict for row in found.rows[:4]} == {"regression"}
    assert {row.verdict for row in found.rows[4:]} == {"same"}


@draw(st.permutations(range(5)))
def test_the_order_of_cells_does_not_matter(order: list[int]) -> None:
    rng = np.random.default_rng(1)
    cells = [sampled(rng.random((1, 200)) < 0.6, metric=f"m{i}") for i in range(5)]
    others = [sampled(rng.random((1, 200)) < 0.5, metric=f"m{i}") for i in range(5)]
    plain = {row.metric: (row.p, row.verdict) for row in compare(given(*cells), given(*others), Rule()).rows}
    mixed = compare(given(*(cells[i] for i in order)), given(*others), Rule())
    assert {row.metric: (row.p, row.verdict) for row in mixed.rows} == plain


# Networks that are trained anew


def test_one_seed_of_networks_trained_anew_acquits_but_does_not_convict() -> None:
    before = run_of(sampled(bits(700, 1000)))
    assert only(before, run_of(sampled(bits(695, 1000), fits="now"))).verdict == "same"
    row = only(before, run_of(sampled(bits(600, 1000), fits="now")))
    assert (row.verdict, row.reason) == (
        "unjudged",
        "more than the samples explain, but 1 seed(s) say too little of training's own chance. "
        "Run and save the baseline with --seeds 3 or more, better 5",
    )
    assert exit_code(compare(before, run_of(sampled(bits(600, 1000), fits="now")), Rule())) == 3


def test_the_very_same_fits_under_another_attack_are_judged_by_samples() -> None:
    assert only(run_of(sampled(bits(700, 1000))), run_of(sampled(bits(600, 1000)))).verdict == "regression"


def test_three_seeds_are_compared_over_seeds_and_samples_together() -> None:
    rng = np.random.default_rng(0)
    before, now = rng.random((3, 1000)) < 0.7, rng.random((3, 1000)) < np.resize([0.9, 0.1], 1000)
    row = only(run_of(sampled(before), seeds=[0, 1, 2]), run_of(sampled(now, fits="now"), seeds=[0, 1, 2]))
    assert (row.verdict, row.test) == ("regression", "seeds")
    by_sample = now.mean(0) - before.mean(0)
    over_seeds = (before.mean(1).var(ddof=1) + now.mean(1).var(ddof=1)) / 3
    own = by_sample.var(ddof=1) - (before.var(0, ddof=1) + now.var(0, ddof=1)).mean() / 3
    assert own > 0
    assert row.p == pytest.approx(stats.t.sf(abs(by_sample.mean()) / math.sqrt(over_seeds + own / 1000), 4))


@pytest.mark.parametrize("seeds", [FEWEST_SEEDS, 5])
@pytest.mark.parametrize(("skill", "own"), [(0.0, 0.0), (0.01, 0.0), (0.01, 0.5), (0.0, 0.5)])
def test_the_chance_of_seeds_and_of_samples_is_counted_once(seeds: int, skill: float, own: float) -> None:
    """Samples of which some are easy, seeds of which some are good, and changes of single samples that are none on average.

    At most alpha, and, where samples do not change of themselves, no less: the seeds' part is counted once.
    """
    rng, draws, n = np.random.default_rng(0), 3000, 200
    ps = []
    for _ in range(draws):
        easy, change = rng.normal(size=n), own * rng.normal(size=n)
        runs = [easy + skill * rng.normal(size=(seeds, 1)) + 0.3 * rng.normal(size=(seeds, n)) for _ in range(2)]
        found = difference(sampled(runs[0]), sampled(runs[1] + change, fits="now"), False, 0.01)
        ps.append(found.p or 0.0)
    for alpha in (0.05, 0.01):
        assert np.mean(np.array(ps) <= alpha) <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / draws)
    if not own:
        assert np.mean(np.array(ps) <= 0.05) >= 0.03


def test_a_spread_over_seeds_excuses_what_the_samples_would_not() -> None:
    values = [(0.75, 0.60), (0.66, 0.74), (0.69, 0.64)]
    before, now = (np.concatenate([bits(round(1000 * pair[i]), 1000) for pair in values]) for i in (0, 1))
    row = only(run_of(sampled(before), seeds=[0, 1, 2]), run_of(sampled(now, fits="now"), seeds=[0, 1, 2]))
    assert row.change == pytest.approx(-0.04)
    assert row.verdict == "same"


def test_values_without_samples_are_compared_by_seed() -> None:
    before, now = [0.50, 0.52, 0.48, 0.51], [0.40, 0.41, 0.39, 0.42]
    row = only(run_of(seeded(before), seeds=[0, 1, 2, 3]), run_of(seeded(now, fits="now"), seeds=[0, 1, 2, 3]))
    assert (row.verdict, row.test) == ("regression", "seeds")
    assert row.p == pytest.approx(0.5 * stats.ttest_ind(now, before).pvalue)


def test_one_value_without_samples_is_judged_only_within_its_tolerance() -> None:
    assert only(run_of(seeded([0.5])), run_of(seeded([0.495], fits="now"))).verdict == "same"
    row = only(run_of(seeded([0.5])), run_of(seeded([0.4], fits="now")))
    assert (row.verdict, row.p, row.reason) == (
        "unjudged",
        None,
        "neither per-sample values nor enough seeds: how much is chance is not known. "
        "Run and save the baseline with --seeds 3 or more, better 5",
    )


def test_a_bound_is_no_value() -> None:
    bound = seeded([0.5], low=0.5)
    assert only(run_of(bound), run_of(bound)).verdict == "same"
    row = only(run_of(bound), run_of(seeded([0.4], low=0.3, high=0.5, fits="now")))
    assert (row.verdict, row.reason) == ("unjudged", "one of the two values is a bound, which may lie anywhere beyond")


@pytest.mark.parametrize("seeds", [FEWEST_SEEDS, 5])
@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0, 3.0, 30.0])
def test_few_seeds_raise_no_more_alarms(seeds: int, spread: float) -> None:
    """Whichever of samples and seeds has most of the chance, and at the small p that many cells ask for: at most alpha, within noise."""
    rng, draws = np.random.default_rng(0), 20_000
    shared, own = rng.normal(size=draws), rng.normal(size=(draws, 2, seeds)) * spread * math.sqrt(seeds / 2)
    means, variances = shared + own[:, 1].mean(1) - own[:, 0].mean(1), 2 * own.var(2, ddof=1).mean(1) / seeds
    ps = np.array([student(m, [(v, 2 * (seeds - 1)), (1.0, 999)])[0] for m, v in zip(means, variances, strict=True)])
    for alpha in (0.05, 0.01, 0.002):
        assert (ps <= alpha).mean() <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / draws)


def test_a_run_without_change_seldom_raises_an_alarm() -> None:
    """Exchangeable answers and losses, four cells: at most alpha within noise; benchmarks/bench_gate.py measures it on real ones."""
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(300):
        before, now = [], []
        for metric in ("m0", "m1"):
            skill = rng.random(500)
            right = [(rng.random(500) < skill)[None] for _ in range(2)]
            loss = [(2 * skill + rng.exponential(1.0, 500))[None] for _ in range(2)]
            before += [sampled(right[0], metric=metric), sampled(loss[0], LOSS, metric=metric)]
            now += [sampled(right[1], metric=metric), sampled(loss[1], LOSS, metric=metric)]
        rule = Rule((("*", Tolerance(0.0)),))
        alarms += compare(given(*before), given(*now), rule).verdict == "regression"
    assert alarms <= 0.05 * 300 + 3 * math.sqrt(0.05 * 0.95 * 300)


# States


@pytest.mark.parametrize(
    ("before", "now", "verdict", "reason"),
    [
        (seeded([0.5]), stateless("failed", "training: diverged"), "unjudged", "training: diverged"),
        (seeded([0.5]), stateless("skipped", "no classes"), "unjudged", "now skipped: no classes"),
        (stateless("skipped", "no classes"), stateless("skipped", "no classes"), "same", "no classes"),
        (stateless("skipped", "no classes"), seeded([0.5]), "new", None),
        (stateless("skipped", "no classes"), stateless("failed", "kaboom"), "unjudged", "kaboom"),
        (seeded([0.5]), seeded([0.5], replace(ACCURACY, unit="1")), "unjudged", "the column's direction or unit is now higher, 1"),
    ],
)
def test_a_state_is_never_a_number(before: Cell, now: Cell, verdict: str, reason: str | None) -> None:
    row = only(run_of(before), run_of(now))
    assert (row.verdict, row.reason, row.p) == (verdict, reason, None)


def test_a_cell_that_is_gone_is_not_judged_and_one_that_came_is_new() -> None:
    found = compare(run_of(seeded([0.5])), run_of(seeded([0.6], LOSS)), Rule())
    assert [(row.verdict, row.reason, row.column.name) for row in found.rows] == [
        ("unjudged", "this run has no such cell", "robust_accuracy"),
        ("new", None, "robust_loss"),
    ]


def test_a_regression_comes_before_what_could_not_be_judged() -> None:
    before = given(sampled(bits(700, 1000)), seeded([1.0], LOSS))
    found = compare(before, given(sampled(bits(600, 1000)), stateless("failed", "kaboom", LOSS)), Rule())
    assert (found.verdict, exit_code(found)) == ("regression", 1)
    assert exit_code(found, "never") == 0
    assert exit_code(compare(before, given(before.cells[0], stateless("failed", "kaboom", LOSS)), Rule())) == 3


def test_flags_that_are_new_are_told_whatever_follows_their_colon() -> None:
    before = seeded([0.5], flags=("still-rising:2 of 9", "clean-trained"))
    now = seeded([0.5], flags=("still-rising:4 of 9", "zero-gradients:3 of 9"))
    assert only(run_of(before), run_of(now)).flags == ("zero-gradients:3 of 9",)


# Protocols


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"threat": STUDY["threat"] | {"eps": 0.2}}, "threat.eps is 0.2 and was 0.1"),
        ({"attack": "native/fgsm"}, 'attack is "native/fgsm" and was "native/pgd"'),
        ({"data": {"fingerprint": "0" * 40}}, f'data is "{"0" * 40}" and was "{"f" * 40}"'),
        ({"seeds": [0, 1]}, "seeds is [0, 1] and was [0]"),
        (
            {"recipe": {"id": "native/quick:epochs=5", "parameters": {"epochs": 5, "milestones": (0.5, 0.75)}}},
            'recipe.id is "native/quick:epochs=5" and was "native/quick"; recipe.parameters.epochs is 5 and was 15',
        ),
        ({"candidates": []}, "candidates lack papers/mlp"),
        ({"metrics": []}, "metrics lack baselines/robust-accuracy"),
        ({"weights": {"papers/mlp": "0"}}, "weights of papers/mlp are given and were trained"),
    ],
)
def test_unlike_things_are_not_compared_and_the_field_is_named(change: Any, told: str) -> None:
    cell = seeded([0.5])
    with pytest.raises(UnlikeError) as error:
        compare(run_of(cell), run_of(cell, **change), Rule())
    assert str(error.value) == (
        f"check: got another protocol than the baseline's: {told}; expected the same. Compare runs of one protocol, or save a new baseline."
    )
    assert error.value.exit_code == 3


def test_another_name_ranker_path_or_candidate_beside_is_the_same_protocol() -> None:
    cell, beside = seeded([0.5]), seeded([0.7], candidate="papers/cnn")
    data = {"id": "native/npz:path=moved.npz", "fingerprint": "f" * 40}
    found = compare(run_of(cell), run_of(cell, beside, name="other", ranker="x/y", data=data), Rule())
    assert [row.verdict for row in found.rows] == ["same", "new"]


def test_what_else_differs_is_kept() -> None:
    cell = seeded([0.5])
    later = PROVENANCE | {"versions": {"torch": "2.7.0"}, "device": "cuda"}
    found: Comparison = compare(run_of(cell), replace(run_of(cell), provenance=later), Rule())
    assert found.surroundings == ("device: cpu before, cuda now", "torch: 2.6.0 before, 2.7.0 now")


@pytest.mark.parametrize("text", ["robust_accuracy", "=0.1", "robust_accuracy=", "robust_accuracy=-1", "x=1/0", "x=nan"])
def test_a_tolerance_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as error:
        tolerance(text)
    assert str(error.value) == f"--tolerance: got {text!r}, expected column=number, such as robust_accuracy=0.01 or clean_loss=5%."


def test_a_tolerance_of_no_column_is_refused() -> None:
    with pytest.raises(UsageError) as error:
        compare(run_of(seeded([0.5])), run_of(seeded([0.5])), Rule((tolerance("robust_acuracy=0.1"),)))
    assert str(error.value) == ("--tolerance: got 'robust_acuracy', expected one of robust_accuracy. Did you mean 'robust_accuracy'?")
