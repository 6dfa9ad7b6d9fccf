"""Fits and attacks that a metric asks for while it measures: the same as if they had been planned, within what it announced."""

from typing import Any

import pytest

from robustradar import Bench, Failed, Measured
from robustradar.progress import Silent

Lab = Any
LINEAR = "menagerie/linear"


def culprit(lab: Lab) -> str:
    return f"metric chorus/seeking ({lab.catalog.plugins[1].origin})"


class Counting(Silent):
    """Adds up the epochs that are announced and run."""

    announced = run = 0

    def planned(self, epochs: int, measurements: int) -> None:
        self.announced += epochs

    def added(self, epochs: int) -> None:
        self.announced += epochs

    def epoch(self, *_: object, **__: object) -> None:
        self.run += 1


def test_further_fits_are_trained_kept_and_told(lab: Lab, chorus: Any) -> None:
    found, executed = lab.run((LINEAR,), ("seeking",))
    assert isinstance(found["linear seeking"], Measured)
    assert found["linear seeking"].details["same"] == [True, True]
    first, second, again, clean = chorus.Seeking.steps
    assert first == again
    assert [fit.record.key for fit in executed.fits] == [clean, first, second]
    assert [fit.record.spec["threat"]["eps"] if fit.record.spec["threat"] else None for fit in executed.fits] == [None, 0.1, 0.025]
    assert [len(fit.record.epochs) for fit in executed.fits] == [2, 3, 3]
    (use,) = executed.measurements
    assert use.fits == (clean, first, second)


def test_a_second_run_finds_the_outcome_and_lists_the_same_fits(lab: Lab, chorus: Any) -> None:
    _, before = lab.run((LINEAR,), ("seeking",))
    _, after = lab.run((LINEAR,), ("seeking",))
    assert len(chorus.Seeking.steps) == 4  # measured once
    assert [fit.record.key for fit in after.fits] == [fit.record.key for fit in before.fits]
    assert [fit.cached for fit in after.fits] == [True, True, True]
    assert after.measurements[0].fits == before.measurements[0].fits


def test_an_interrupted_search_finds_its_fits_and_draws_the_same(lab: Lab, chorus: Any) -> None:
    trained, executed = lab.run((LINEAR,), ("seeking",))
    store = lab.execution().store
    store._discard(store._entry("outcomes", lab.plan((LINEAR,), ("seeking",)).measurements[0].key))
    found, again = lab.run((LINEAR,), ("seeking",))
    assert found == trained
    assert all(fit.cached for fit in again.fits)
    assert again.measurements[0].cost.forward == executed.measurements[0].cost.forward


def test_the_cost_of_a_measurement_leaves_out_further_fits(lab: Lab, chorus: Any) -> None:
    _, executed = lab.run((LINEAR,), ("seeking",))
    # Two attacked batches of 16 at 3 passes each (clean, the attack's one step, attacked), and 16 clean ones twice.
    assert executed.measurements[0].cost.forward == 2 * 3 * 16 + 2 * 16
    assert sum(fit.record.cost.forward for fit in executed.fits) > 1000


def test_progress_hears_of_further_epochs_before_they_run(lab: Lab, chorus: Any) -> None:
    execution, counting = lab.execution(), Counting()
    object.__setattr__(execution, "progress", counting)
    execution.run(lab.plan((LINEAR,), ("seeking",)))
    assert counting.announced == counting.run == 2 + 3 + 3


def test_further_fits_make_a_measurement_one_of_its_seed(lab: Lab, chorus: Any) -> None:
    plan = lab.plan((LINEAR,), ("seeking",), seeds=(0, 1))
    assert [m.further for m in plan.measurements] == [2, 2]
    assert len({m.key for m in plan.measurements}) == 2


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("fine,further=1", "bench.train: got a request for one more fit, expected at most 1, as needs() says."),
        ("inner", "bench.train: metric chorus/seeking:how=inner: attack: got 'nobody/knows', expected one of "),
        (
            "recipe",
            "bench.train: metric chorus/seeking:how=recipe: recipe menagerie/brief: parameter 'lr': got '-1', expected ",
        ),
        ("attack", "bench.attack: metric chorus/seeking:how=attack: attack: got 'nobody/knows', expected one of "),
        ("stranger", "bench.losses: got function, expected an attack of the bench's."),
    ],
)
def test_what_cannot_be_had_fails_the_metric(lab: Lab, chorus: Any, how: str, reason: str) -> None:
    found, _ = lab.run((LINEAR,), (f"seeking:how={how}",))
    outcome = found["linear seeking"]
    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith(reason)
    assert outcome.culprit == culprit(lab)


def test_a_further_fit_that_diverges_fails_the_metric_in_its_own_name(lab: Lab, chorus: Any) -> None:
    found, _ = lab.run((LINEAR,), ("seeking:how=diverge",))
    outcome = found["linear seeking"]
    assert isinstance(outcome, Failed)
    assert outcome.culprit == "training"
    assert outcome.reason.startswith("diverged: the loss is not finite after epoch 1 of 3, also at a tenth of the learning rate.")


def test_the_loss_of_another_objective_is_its_own(lab: Lab, chorus: Any) -> None:
    plain, _ = lab.run((LINEAR,), ("seeking",))
    trades, _ = lab.run((LINEAR,), ("seeking:how=trades",))
    assert trades["linear seeking"].value != plain["linear seeking"].value


def test_a_bench_without_a_host_says_so() -> None:
    bench = Bench(*[None] * 8)  # type: ignore[arg-type]
    for ask in (bench.train, bench.attack, bench.losses):
        with pytest.raises(TypeError, match="^bench: got a request for a fit, an attack or losses, expected a bench of the host's. "):
            ask(None)  # type: ignore[call-arg, arg-type]
