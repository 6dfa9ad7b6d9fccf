"""Analyses of a fit that metrics share: made once, never of another fit or of a changed model, and gone with the candidate."""

from itertools import count
from typing import Any

import pytest
from torch import nn

from robustradar import Failed, Fit, Measured
from robustradar.store import FREE
from robustradar.values import FitRecord

Lab = Any
LINEAR, NORMED = "menagerie/linear", "menagerie/normed"


def culprit(lab: Lab) -> str:
    return f"metric chorus/first ({lab.catalog.plugins[1].origin})"


# Shared


def test_a_second_metric_gets_the_same_object_at_no_cost(lab: Lab, chorus: Any) -> None:
    found, executed = lab.run((LINEAR,), ("first", "second"))
    assert [made.split()[:2] for made in chorus.Sharing.made] == [["first", "mean"]]
    assert chorus.Sharing.found[0] is chorus.Sharing.found[1]
    assert found["linear first"].value == found["linear second"].value != 0
    assert [(use.cost.forward, use.cost.flops) for use in executed.measurements] == [(32, 32 * 24), (0, 0)]


def test_none_is_a_result_too(lab: Lab, chorus: Any) -> None:
    lab.run((LINEAR,), ("first:how=none", "second:how=none"))
    assert chorus.Sharing.found == [None, None]
    assert len(chorus.Sharing.made) == 1


def test_what_a_metric_draws_later_does_not_depend_on_who_was_first(lab: Lab, chorus: Any) -> None:
    found, _ = lab.run((LINEAR,), ("first", "second"))
    assert found["linear first"].details == found["linear second"].details


def test_a_fit_made_by_hand_computes_every_time() -> None:
    numbers = count(1)
    fit = Fit(nn.Identity(), FitRecord("key", {}, (), 0, FREE))
    assert [fit.analysis("key", lambda: next(numbers)) for _ in range(2)] == [1, 2]
    assert fit == Fit(fit.model, fit.record)


# Apart


def test_other_keys_and_other_fits_share_nothing(lab: Lab, chorus: Any) -> None:
    lab.run((LINEAR, NORMED), ("first", "second:key=other", "second:fit=adversarial"), seeds=(0, 1))
    made = [tuple(made.split()[1:]) for made in chorus.Sharing.made]
    assert len(made) == len(set(made)) == 2 * 2 * 3
    assert len({key for _, key in made}) == 2 * 2 * 2  # every fit: candidates, seeds, clean and adversarial
    assert len({id(found) for found in chorus.Sharing.found}) == len(made)


def test_of_the_previous_candidate_nothing_is_kept_and_of_no_candidate_the_model(lab: Lab, chorus: Any) -> None:
    execution = lab.execution()
    execution.run(lab.plan((LINEAR, NORMED), ("first", "first:key=other", "witness"), seeds=(0, 1)))
    # At the end of a candidate's turn two findings of two seeds are there, its own; none of the models.
    assert chorus.Witness.alive == [(4, 0), (4, 0)]
    assert len(chorus.Witness.findings) == 8
    assert execution.analyses == {}


# What goes wrong


def test_what_raises_is_not_kept(lab: Lab, chorus: Any) -> None:
    found, _ = lab.run((LINEAR,), ("first:how=raise", "second"))
    assert found["linear first"] == Failed("ArithmeticError: no convergence (chorus.py:78)", culprit(lab))
    assert isinstance(found["linear second"], Measured)
    assert [made.split()[0] for made in chorus.Sharing.made] == ["first", "second"]


def test_a_key_that_cannot_be_hashed_is_refused(lab: Lab, chorus: Any) -> None:
    found, _ = lab.run((LINEAR,), ("first:how=unhashable",))
    reason = "TypeError: fit.analysis: got a key with unhashable type: 'list', expected a hashable one. Use a frozen dataclass of settings."
    assert found["linear first"] == Failed(f"{reason} (chorus.py:54)", culprit(lab))
    with pytest.raises(TypeError, match="fit.analysis: got a key with unhashable type: 'dict'"):
        Fit(nn.Identity(), FitRecord("key", {}, (), 0, FREE)).analysis({}, int)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["zeroed", "training", "doubled", "extended"])
def test_a_changed_model_is_not_analysed_for_others(lab: Lab, chorus: Any, how: str) -> None:
    alone, _ = lab.run((NORMED,), ("second",))
    lab.root = lab.root.with_name("other")
    beside, _ = lab.run((NORMED,), (f"first:how={how}", "second"))
    reason = (
        "ValueError: fit.analysis: got a model that this metric has changed, expected it as it was lent. Analyse first, or change a copy."
    )
    assert beside["normed first"] == Failed(f"{reason} (chorus.py:54)", culprit(lab))
    assert beside["normed second"] == alone["normed second"]
