"""Outcomes over seeds: means with intervals, and one failed seed fails the cell."""

from typing import Any

import numpy as np
import pytest

from robustradar import Failed, Measured, Skipped
from robustradar.numerics.agreement import bootstrap_mean, wilson
from robustradar.numerics.seeds import seed_interval
from robustradar.scores import over_seeds, table

Lab = Any


def test_one_seed_is_left_as_it_is() -> None:
    for outcome in (Measured(1.0, 0.5, 1.5, ("f",), {"n": 1}, np.ones(3)), Skipped("why"), Failed("why", "who")):
        assert over_seeds([(0, outcome)]) is outcome


def test_one_seed_with_samples_and_no_interval_gets_theirs() -> None:
    samples = np.random.default_rng(0).random(50)
    found = over_seeds([(0, Measured(float(samples.mean()), flags=("f",), samples=samples))])
    assert isinstance(found, Measured)
    assert ((found.low, found.high), found.flags) == (bootstrap_mean(samples[None], draws=1000, seed=0), ("f",))
    assert found.samples is samples
    single = Measured(1.0, samples=np.ones(1))
    assert over_seeds([(0, single)]) is single, "one sample tells no interval"


def test_where_all_answers_are_alike_the_interval_is_wilson_s() -> None:
    for right, interval in ((np.zeros(100, bool), wilson(0, 100)), (np.ones(100, bool), wilson(100, 100))):
        found = over_seeds([(s, Measured(float(right.mean()), samples=right)) for s in range(3)])
        assert isinstance(found, Measured)
        assert (found.low, found.high) == interval


def test_without_samples_the_interval_is_over_seeds() -> None:
    found = over_seeds([(0, Measured(1.0)), (1, Measured(2.0)), (2, Measured(3.0))])
    assert isinstance(found, Measured)
    assert found.value == 2.0
    assert (found.low, found.high) == pytest.approx((-0.4841, 4.4841), abs=1e-4)
    assert (found.low, found.high) == seed_interval(np.array([1.0, 2.0, 3.0]))


def test_with_samples_the_interval_is_over_seeds_and_samples() -> None:
    rng = np.random.default_rng(0)
    samples = rng.random((3, 400)) < 0.7
    found = over_seeds([(s, Measured(float(row.mean()), samples=row)) for s, row in enumerate(samples)])
    assert isinstance(found, Measured)
    assert found.value == pytest.approx(samples.mean())
    assert (found.low, found.high) == seed_interval(samples.mean(axis=1), samples)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_an_accuracy_s_interval_stays_among_accuracies() -> None:
    samples = np.ones((2, 50), dtype=bool)
    samples[0, :9] = False
    found = over_seeds([(s, Measured(float(row.mean()), samples=row)) for s, row in enumerate(samples)])
    assert isinstance(found, Measured)
    assert (found.low, found.high) == (0.0, 1.0)
    losses = over_seeds([(s, Measured(float(row.mean()), samples=row.astype(float))) for s, row in enumerate(samples)])
    assert isinstance(losses, Measured)
    assert (losses.low, losses.high) == seed_interval(samples.mean(axis=1), samples)


@pytest.mark.parametrize("S", [2, 3, 5, 10])
def test_over_few_seeds_accuracies_lie_in_their_intervals_as_often_as_stated(S: int) -> None:
    """Networks whose accuracies spread by two per cent, on so many samples that seeds are most of the chance."""
    rng, hits = np.random.default_rng(S), []
    for _ in range(200):
        ease, n = rng.beta(1.4, 1.4, 4000), 4000
        right = [rng.random(n) < np.clip(ease + rng.normal(0, 0.02), 0, 1) for _ in range(S)]
        found = over_seeds([(s, Measured(float(row.mean()), samples=row)) for s, row in enumerate(right)])
        hits.append(isinstance(found, Measured) and (found.low or 0.0) <= 0.5 <= (found.high or 0.0))
    assert np.mean(hits) >= 0.945


def test_samples_of_one_seed_alone_do_not_count() -> None:
    found = over_seeds([(0, Measured(1.0, samples=np.ones(3))), (1, Measured(3.0))])
    assert isinstance(found, Measured)
    assert (found.low, found.high) == seed_interval(np.array([1.0, 3.0]))


def test_samples_of_other_lengths_are_not_paired() -> None:
    found = over_seeds([(0, Measured(1.0, samples=np.ones(3))), (1, Measured(3.0, samples=np.ones(4)))])
    assert isinstance(found, Measured)
    assert (found.low, found.high) == seed_interval(np.array([1.0, 3.0]))


def test_a_failed_seed_fails_the_cell_and_is_named() -> None:
    found = over_seeds([(0, Measured(1.0)), (1, Skipped("no")), (2, Failed("diverged", "training"))])
    assert found == Failed("seed 2: diverged", "training")


def test_a_skipped_seed_skips_the_cell() -> None:
    assert over_seeds([(0, Measured(1.0)), (1, Skipped("no"))]) == Skipped("seed 1: no")


def test_flags_are_joined_and_every_seed_is_told() -> None:
    found = over_seeds([(0, Measured(1.0, 0.5, 1.5, ("a", "b"), {"n": 2})), (1, Measured(3.0, flags=("b", "c")))])
    assert isinstance(found, Measured)
    assert found.flags == ("a", "b", "c")
    assert found.details == {
        "seeds": [
            {"seed": 0, "value": 1.0, "low": 0.5, "high": 1.5, "details": {"n": 2}},
            {"seed": 1, "value": 3.0, "low": None, "high": None, "details": {}},
        ]
    }


def test_the_table_has_every_cell_in_the_order_asked_for_and_samples_by_seed(lab: Lab) -> None:
    candidates, metrics = ("menagerie/normed", "menagerie/unbuildable", "menagerie/linear"), ("size", "accuracy")
    made = lab.plan(candidates, metrics, seeds=(0, 1))
    found = table(made, lab.execution().run(made).outcomes, lab.catalog)
    cells = [(score.candidate, score.column.name, type(score.outcome)) for score in found.scores]
    assert cells == [
        (candidate, column, Failed if candidate == "menagerie/unbuildable" else Measured)
        for candidate in candidates
        for column in ("size", "accuracy")
    ]
    assert {key: values.shape for key, values in found.samples.items()} == {
        (candidate, "menagerie/accuracy", "accuracy"): (2, 32) for candidate in ("menagerie/normed", "menagerie/linear")
    }
