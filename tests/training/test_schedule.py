"""Schedules by their literal values."""

import re
from typing import Any

import pytest
from small_fits import ADVERSARIAL, STEADY, Fitting, normed

from robustradar import Recipe
from robustradar.training.schedule import share

VALUES = {
    "constant": {0.0: 1.0, 0.3: 1.0, 1.0: 1.0},
    "cosine": {0.0: 1.0, 1 / 3: 0.75, 0.5: 0.5, 2 / 3: 0.25, 1.0: 0.0},
    "step": {0.0: 1.0, 0.49: 1.0, 0.5: 0.1, 0.74: 0.1, 0.75: 0.01, 1.0: 0.01},
    "one-cycle": {0.0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.6: 0.5, 1.0: 0.0},
    "rise-and-fall": {0.0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.4: 0.75, 0.6: 0.5, 1.0: 0.0},
}


@pytest.mark.parametrize(("schedule", "done", "value"), [(s, d, v) for s, values in VALUES.items() for d, v in values.items()])
def test_shares(schedule: str, done: float, value: float) -> None:
    assert share(Recipe(schedule=schedule), done) == pytest.approx(value, abs=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", ["one-cycle", "rise-and-fall"])
def test_without_warmup_they_start_at_the_top(schedule: str) -> None:
    assert share(Recipe(schedule=schedule, warmup=0.0), 0.0) == 1.0  # type: ignore[arg-type]


def test_milestones() -> None:
    recipe = Recipe(schedule="step", milestones=(0.25,))
    assert [share(recipe, d) for d in (0.24, 0.25, 0.9)] == [1.0, 0.1, 0.1]
    assert share(Recipe(schedule="step", milestones=()), 1.0) == 1.0


def test_the_optimizer_gets_them_step_by_step() -> None:
    """40 samples in batches of 16: 3 steps an epoch, the middle of each is what counts."""
    recipe = Recipe(**{**vars(STEADY), "schedule": "rise-and-fall", "warmup": 0.5, "epochs": 2, "lr": 0.06})
    loop = Fitting(recipe=recipe).loop()
    rates: list[float] = []
    loop.optimizer.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    for _ in range(2):
        loop.epoch()
    assert rates == pytest.approx([0.01, 0.03, 0.05, 0.05, 0.03, 0.01])


def test_a_stopped_fit_is_the_beginning_of_the_whole_one() -> None:
    changes: list[dict[str, Any]] = [{}, {"stop": 2}, {"stop": 2, "epochs": 2}]
    whole, stopped, short = (
        Fitting(normed, Recipe(**{**vars(STEADY), "schedule": "one-cycle", "epochs": 4, **change}), ADVERSARIAL).train()
        for change in changes
    )
    assert stopped.record.epochs == whole.record.epochs[:2] != short.record.epochs
    with pytest.raises(ValueError, match="^stop: got 5, expected at most epochs=4$"):
        Recipe(epochs=4, stop=5)


@pytest.mark.parametrize(("given", "got"), [((2.0,), "2"), ((-1.0,), "-1"), ((0.75, 0.5), "0.75+0.5"), ((0.5, 0.5), "0.5+0.5")])
def test_milestones_that_never_come_or_go_back_are_refused(given: tuple[float, ...], got: str) -> None:
    message = f"milestones: got {got}, expected shares between 0 and 1, each greater than the one before"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Recipe(milestones=given)


def test_looking_at_the_last_epoch_alone_trains_the_same_and_costs_less() -> None:
    each, last = (Fitting(normed, Recipe(**{**vars(STEADY), "evaluate": when}), ADVERSARIAL).train() for when in ("each", "last"))
    assert all(bool((each.state[name] == last.state[name]).all()) for name in each.state)
    assert last.record.epochs[-1] == each.record.epochs[-1]
    for whole, part in zip(each.record.epochs[:-1], last.record.epochs[:-1], strict=True):
        assert part == {name: None if name.startswith("evaluation") else value for name, value in whole.items()}
    spared = 2 * 24 * (3 + 3), 2 * 24 * 3  # the attack runs on the clean inputs, its steps, and is judged
    assert (each.record.cost.forward - last.record.cost.forward, each.record.cost.backward - last.record.cost.backward) == spared


@pytest.mark.parametrize(
    ("changes", "got"), [({"select": "loss"}, "select=loss, patience=0"), ({"patience": 2}, "select=last, patience=2")]
)
def test_no_epoch_is_chosen_that_was_not_looked_at(changes: dict[str, Any], got: str) -> None:
    message = f"^evaluate=last: got {got}, expected select=last, patience=0, as only epochs looked at can be chosen$"
    with pytest.raises(ValueError, match=message):
        Recipe(**{"select": "last", "evaluate": "last", **changes})
