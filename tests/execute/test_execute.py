"""Running plans: a failure is an outcome with a name, nothing is done twice, and nobody sees another's changes."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustradar import Data, Failed, Measured, Skipped, guard
from robustradar.errors import DeviceLost, OutOfMemory
from robustradar.store import Store
from robustradar.values import Ref

Lab = Any
FITTED = "menagerie/linear"


def calls(lab: Lab, metric: str) -> list[str]:
    """The metric's own list of its calls."""
    _, declaration = lab.catalog.declared("metric")[f"menagerie/{metric}"]
    return type(declaration).calls  # type: ignore[no-any-return]


def origin(lab: Lab) -> str:
    return str(lab.catalog.plugins[0].origin)


@pytest.fixture(autouse=True)
def _forgotten(lab: Lab) -> None:
    for metric in ("accuracy", "size", "odd"):
        calls(lab, metric).clear()


@pytest.fixture(autouse=True)
def _burnt(menagerie: Any) -> None:
    """The fuses of all networks are burnt from the start."""
    module(menagerie).Fuse.left = 0


def module(catalog: Any) -> Any:
    """The plugin's module."""
    _, declaration = catalog.declared("metric")["menagerie/odd"]
    return sys.modules[type(declaration).__module__]


# The good case


def test_a_run_yields_an_outcome_for_every_measurement_and_the_fits(lab: Lab) -> None:
    found, executed = lab.run((FITTED, "menagerie/normed:width=4"), ("accuracy", "attacked", "size"))
    assert found["linear accuracy"].value > 0.5
    assert found["linear size"] == Measured(15.0)
    assert isinstance(found["normed:width=4 attacked_loss"], Measured)
    assert len(found) == 6
    fits = [(fit.record.spec["architecture"]["id"], fit.record.spec["objective"]["xi"], fit.cached) for fit in executed.fits]
    assert sorted(fits) == [(f"menagerie/{a}", xi, False) for a in ("linear", "normed") for xi in (0.0, 1.0)]
    assert all(Path(fit.weights).is_file() for fit in executed.fits)


# Wild architectures, metrics and attacks


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ("unbuildable", "ValueError: needs images of 32 pixels (menagerie.py:28)"),
        ("crooked", "maps a batch of 2 to [2, 4], expected [2, 3]."),
        ("picky", "RuntimeError: Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [2, 4]"),
        ("nothing", "build() returned NoneType, expected a torch.nn.Module."),
    ],
)
def test_a_network_that_cannot_be_built_fails_and_the_others_go_on(lab: Lab, architecture: str, reason: str) -> None:
    found, executed = lab.run((f"menagerie/{architecture}", FITTED), ("accuracy", "size"))
    expected = Failed(reason, f"architecture menagerie/{architecture} ({origin(lab)})")
    assert found[f"{architecture} accuracy"] == found[f"{architecture} size"] == expected
    assert isinstance(found["linear accuracy"], Measured)
    assert isinstance(found["linear size"], Measured)
    assert len(executed.fits) == 1


def test_a_network_that_breaks_in_training_fails_and_the_others_go_on(lab: Lab) -> None:
    found, _ = lab.run(("menagerie/fused", FITTED), ("accuracy", "size"))
    assert found["fused accuracy"] == Failed(
        "RuntimeError: the fuse is burnt (menagerie.py:55)", f"architecture menagerie/fused ({origin(lab)})"
    )
    assert isinstance(found["fused size"], Measured)
    assert isinstance(found["linear accuracy"], Measured)


COLUMNS = "['a', 'b']"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("none", f"measure() returned NoneType, expected a mapping with the columns {COLUMNS}."),
        ("list", f"measure() returned list, expected a mapping with the columns {COLUMNS}."),
        ("missing", f"measure() returned columns ['a'], expected a mapping with the columns {COLUMNS}."),
        ("extra", f"measure() returned columns ['a', 'b', 'c'], expected a mapping with the columns {COLUMNS}."),
        ("number", "measure() returned float for 'a', expected Measured, Skipped or Failed."),
        ("nan", "measured [nan] for 'a', expected finite numbers. Return Skipped(reason) instead."),
        ("truth", "measured [True] for 'a', expected numbers, no truth values. Return 1.0 or 0.0 if that is meant."),
        ("below", "measured 1 with low=2 and high=3 for 'a', expected low <= value <= high."),
        ("above", "measured 1 with low=None and high=0.5 for 'a', expected low <= value <= high."),
        ("infinite-end", "measured [1.0, 0.0, inf] for 'a', expected finite numbers. Return Skipped(reason) instead."),
        ("tensor", "measured [tensor(1.)] for 'a', expected finite numbers. Return Skipped(reason) instead."),
        ("text", "measured ['1'] for 'a', expected finite numbers. Return Skipped(reason) instead."),
        ("details", "the flags or details of 'a' are no JSON: Object of type ndarray is not JSON serializable."),
        ("nan-details", "the flags or details of 'a' are no JSON: Out of range float values are not JSON compliant"),
        ("flags", "the flags or details of 'a' are no JSON: Object of type set is not JSON serializable."),
        ("samples", "the samples of 'a' are float64 [2, 2], expected finite numbers, one a sample."),
        ("nan-samples", "the samples of 'a' are float64 [2], expected finite numbers, one a sample."),
        ("text-samples", "the samples of 'a' are <U1 [1], expected finite numbers, one a sample."),
        ("raise", "KeyError: 'key'"),
    ],
)
def test_a_metric_that_breaks_its_contract_fails_whole_and_the_others_go_on(lab: Lab, answer: str, reason: str) -> None:
    found, _ = lab.run((FITTED,), (f"odd:answer={answer}", "size"))
    culprit = f"metric menagerie/odd ({origin(lab)})"
    for column in "ab":
        failed = found[f"linear {column}"]
        assert isinstance(failed, Failed)
        assert failed.culprit == culprit
        assert failed.reason.startswith(reason)
    assert found["linear size"] == Measured(15.0)


def test_numbers_of_other_libraries_are_taken(lab: Lab) -> None:
    found, _ = lab.run((FITTED,), ("odd:answer=fine",))
    assert found["linear a"] == Measured(0.5)
    assert type(found["linear a"].value) is float
    assert found["linear a"].samples.tolist() == [1, 1, 1]
    assert found["linear b"] == Skipped("does not apply")


def test_bounds_are_taken_and_intervals_that_rounding_moved_hold_their_value(lab: Lab) -> None:
    found, _ = lab.run((FITTED,), ("odd:answer=bounds",))
    assert found["linear a"] == Measured(0.5, low=0.5)
    assert found["linear b"] == Measured(0.5, low=0.5, high=0.5)


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        ("menagerie/wild", "left the linf 0.05 ball: got ‖δ‖ = 3·ε, expected at most ε."),
        ('"menagerie/wild:how=raise"', "IndexError: no such pixel (menagerie.py:161)"),
        (
            '"menagerie/wild:how=nan"',
            "perturb() returned NaN or infinity, expected finite inputs. Does it divide by a gradient of zero?",
        ),
    ],
)
def test_a_wild_attack_is_named_and_the_metric_that_used_it_fails(lab: Lab, attack: str, reason: str) -> None:
    unbounded = replace(lab.study((FITTED,), ()).threat, bounds=None)
    found, _ = lab.run((FITTED,), (f"attacked:attack={attack}", "accuracy"), threat=unbounded)
    assert found["linear attacked_loss"] == Failed(reason, f"attack menagerie/wild ({origin(lab)})")
    assert isinstance(found["linear accuracy"], Measured)


# Nothing twice


def test_outcomes_are_kept_and_not_measured_again(lab: Lab) -> None:
    first, _ = lab.run((FITTED,), ("accuracy", "size"))
    again, executed = lab.run((FITTED,), ("accuracy", "size"))
    assert calls(lab, "accuracy") == ["accuracy"]
    assert calls(lab, "size") == ["size"]
    assert again == first
    assert again["linear accuracy"].samples.tolist() == first["linear accuracy"].samples.tolist()
    assert [fit.cached for fit in executed.fits] == [True]


def test_what_measuring_cost_is_counted_and_kept(lab: Lab) -> None:
    # 32 evaluation samples of 4 features to 3 classes: 2·4·3 operations each.
    first, again = (lab.run(("linear", "nothing"), ("accuracy", "attacked"))[1] for _ in range(2))
    plain, attacked = first.measurements
    assert [(use.candidate, use.metric, use.seed) for use in first.measurements] == [
        ("menagerie/linear", "menagerie/accuracy", 0),
        ("menagerie/linear", "menagerie/attacked", 0),
    ]
    assert (plain.cost.forward, plain.cost.backward, plain.cost.flops, plain.cost.memory) == (32, 0, 32 * 24, None)
    assert attacked.cost.forward > plain.cost.forward
    assert attacked.cost.backward == 32
    assert plain.cost.seconds > 0
    assert not plain.cached
    assert [use.cost for use in again.measurements] == [use.cost for use in first.measurements]
    assert all(use.cached for use in again.measurements)


def test_a_fit_is_trained_once_for_several_metrics_and_runs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    original = type(lab.execution())._train
    monkeypatch.setattr("robustradar.execute.Execution._train", lambda self, spec: (trained.append(str(spec)), original(self, spec)))
    lab.run((FITTED,), ("accuracy", "vandal"))
    lab.run((FITTED,), ("vandal", "accuracy", "attacked"))
    assert trained == ["menagerie/linear [clean, seed 0]", "menagerie/linear [adversarial linf 0.05 menagerie/sign, seed 0]"]


def test_a_failed_measurement_is_made_again(lab: Lab) -> None:
    for _ in range(2):
        lab.run((FITTED,), ("odd:answer=nan",))
    assert calls(lab, "odd") == ["nan", "nan"]


def test_a_lasting_failure_of_a_fit_is_remembered_and_said_to_be(lab: Lab) -> None:
    first, _ = lab.run(("menagerie/fused",), ("accuracy", "attacked"))
    module(lab.catalog).Fuse.left = 1000  # it would succeed now
    again, _ = lab.run(("menagerie/fused",), ("accuracy",))
    reason = "RuntimeError: the fuse is burnt (menagerie.py:55)"
    assert first["fused accuracy"] == Failed(reason, f"architecture menagerie/fused ({origin(lab)})")
    assert len(first) > 1  # the second metric meets the failure in the store, but of this run
    assert all(outcome == first["fused accuracy"] for outcome in first.values())
    remembered = "(kept from an earlier run; it is tried again with another --store)"
    assert again == {"fused accuracy": Failed(f"{reason} {remembered}", f"architecture menagerie/fused ({origin(lab)})")}


def test_a_failure_in_which_an_interrupt_ended_is_not_remembered(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code may turn an interrupt into an error of its own; whoever listens knows of it."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("robustradar.progress.Silent.fitted", interrupted)
        lab.run(("menagerie/fused",), ("accuracy",))
    module(lab.catalog).Fuse.left = 1000
    found, _ = lab.run(("menagerie/fused",), ("accuracy",))
    assert isinstance(found["fused accuracy"], Measured)


def test_running_out_of_memory_is_not_remembered(lab: Lab) -> None:
    first, _ = lab.run(("menagerie/frail",), ("accuracy",))
    reason = "out of memory even for a single sample. Use a smaller network, or a device with more memory."
    culprit = f"architecture menagerie/frail ({origin(lab)})"
    assert first == {"frail accuracy": Failed(reason, culprit)}
    module(lab.catalog).Fuse.left = 1000
    again, _ = lab.run(("menagerie/frail",), ("accuracy",))
    assert isinstance(again["frail accuracy"], Measured)


def test_an_accelerator_that_is_lost_ends_the_run_and_blames_nobody(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    fuse = module(lab.catalog).Fuse
    told = (
        "--device: the accelerator failed (RuntimeError: CUDA error: device-side assert triggered), and whatever this process asked it "
        "next would fail, too. Finished work is kept: run the same command again. If it fails at the same place, try --device cpu, which "
        "says what is wrong there."
    )
    monkeypatch.setattr(fuse, "left", 0)
    with monkeypatch.context() as patched:
        patched.setattr(fuse, "message", "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported")
        with pytest.raises(DeviceLost) as error:
            lab.run(("menagerie/fused",), ("accuracy",))
    assert (str(error.value), error.value.exit_code) == (told, 3)
    monkeypatch.setattr(fuse, "left", 1000)
    again, _ = lab.run(("menagerie/fused",), ("accuracy",))
    assert isinstance(again["fused accuracy"], Measured)


def test_an_accelerator_may_be_lost_outside_of_plugins_too() -> None:
    with pytest.raises(DeviceLost, match="illegal memory access"), guard.device_watched():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="^another$"), guard.device_watched():
        raise RuntimeError("another")


@pytest.mark.parametrize("status", ["CUDA error: CUBLAS_STATUS_ALLOC_FAILED", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"])
def test_libraries_without_memory_are_out_of_memory(status: str) -> None:
    with pytest.raises(OutOfMemory):
        guard.call("network", partial(_raise, RuntimeError(status)))


def _raise(error: Exception) -> None:
    raise error


def test_damaged_weights_are_trained_again(lab: Lab) -> None:
    first, executed = lab.run((FITTED,), ("accuracy",))
    (fit,) = executed.fits
    Path(fit.weights).write_bytes(b"damaged")
    again, executed = lab.run((FITTED,), ("accuracy", "vandal"))
    assert again["linear accuracy"] == first["linear accuracy"]
    assert again["linear vandal"] == Measured(0.0, flags=("selected-on-evaluation",))
    assert [fit.cached for fit in executed.fits] == [False]


def test_repeated_training_gives_the_same_numbers(lab: Lab, tmp_path: Path) -> None:
    first, _ = lab.run(("menagerie/normed",), ("accuracy", "attacked"))
    lab.root = tmp_path / "another store"
    again, _ = lab.run(("menagerie/normed",), ("accuracy", "attacked"))
    assert first == again


# One candidate's numbers never are another's


def test_candidates_and_metrics_share_no_cached_number(lab: Lab) -> None:
    """Two models, one store: a well-known harness gave the second one the first one's scores."""
    alone = {width: lab.run((f"menagerie/normed:width={width}",), ("size",))[0] for width in (2, 3)}
    together, _ = lab.run(("menagerie/normed:width=2", "menagerie/normed:width=3", FITTED), ("size",))
    assert [together[f"normed:width={w} size"].value for w in (2, 3)] == [4 * w + w + 2 * w + 3 * w + 3 for w in (2, 3)]
    assert together == alone[2] | alone[3] | {"linear size": Measured(15.0)}


def test_no_two_measurements_of_a_plan_share_a_key(lab: Lab) -> None:
    candidates = (FITTED, "menagerie/linear:bias=false", "menagerie/normed", "menagerie/normed:width=4")
    plan = lab.plan(candidates, ("accuracy", "attacked", "size"), seeds=(0, 1))
    keys = [m.key for m in plan.measurements]
    assert len(set(keys)) == len(keys) == 4 * (2 + 2 + 1)
    assert len({spec.key for spec in plan.fits}) == len(plan.fits) == 4 * 2 * 2


def test_other_data_of_the_same_name_are_measured_anew(lab: Lab, make_lab: Callable[[Data], Lab]) -> None:
    first, _ = lab.run((FITTED,), ("accuracy",))
    x = lab.data.train.x.copy()
    x[0, 0] += 0.01
    other = make_lab(replace(lab.data, train=replace(lab.data.train, x=x)))
    assert other.root == lab.root
    other.run((FITTED,), ("accuracy",))
    assert calls(lab, "accuracy") == ["accuracy", "accuracy"]
    assert len(list((lab.root / "fits").glob("*/*"))) == 2


# Privacy


def test_a_metric_that_destroys_its_model_harms_nobody(lab: Lab) -> None:
    alone, _ = lab.run((FITTED,), ("accuracy", "attacked"))
    lab.root = lab.root.with_name("other")
    torch.rand(1)  # moves the global generator, which must not matter
    beside, _ = lab.run((FITTED, "menagerie/normed"), ("vandal", "accuracy", "attacked"))
    assert beside["linear accuracy"] == alone["linear accuracy"]
    assert beside["linear attacked_loss"] == alone["linear attacked_loss"]
    assert isinstance(beside["normed attacked_loss"], Measured)
    assert torch.is_grad_enabled()


def test_global_generators_are_left_alone(lab: Lab) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    expected = (torch.rand(1).item(), np.random.rand())
    torch.manual_seed(5)
    np.random.seed(5)
    lab.run(("menagerie/normed",), ("vandal", "attacked"))
    assert (torch.rand(1).item(), np.random.rand()) == expected


# Flags


def test_without_a_final_split_what_was_selected_on_evaluation_is_flagged(lab: Lab, make_lab: Callable[[Data], Lab]) -> None:
    found, _ = lab.run((FITTED,), ("accuracy", "size"))
    assert found["linear accuracy"].flags == ("selected-on-evaluation",)
    assert found["linear size"].flags == ()
    held = make_lab(replace(lab.data, final=lab.data.evaluation))
    found, _ = held.run((FITTED,), ("accuracy",))
    assert found["linear accuracy"].flags == ()


def test_a_fits_flags_stay_with_what_is_measured_on_it(lab: Lab) -> None:
    plan = lab.plan((FITTED,), ("accuracy",))
    execution = lab.execution()
    (spec,) = plan.fits
    execution.fit(spec)
    store = Store(lab.root)
    record, state = store.fit(spec.key), store.state(spec.key)
    assert state is not None
    store._discard(store._entry("fits", spec.key))
    store.save_fit(replace(record, flags=("odd-fit",)), state)  # type: ignore[type-var]
    found, _ = lab.run((FITTED,), ("accuracy",))
    assert found["linear accuracy"].flags == ("odd-fit", "selected-on-evaluation")


# Seeds


def test_seeds_are_measured_apart_and_what_needs_no_fit_once(lab: Lab) -> None:
    found, executed = lab.run((FITTED,), ("accuracy", "size"), seeds=(0, 1))
    assert sorted(found) == ["linear accuracy 0", "linear accuracy 1", "linear size None"]
    assert sorted(fit.record.spec["seed"] for fit in executed.fits) == [0, 1]
    assert calls(lab, "size") == ["size"]


def test_a_key_holds_its_engine_and_its_plugins_source(lab: Lab) -> None:
    plan = lab.plan((FITTED,), ("accuracy",))
    (spec,) = plan.fits
    assert spec.engine == "engine 1"
    assert isinstance(spec.architecture, Ref)
    assert lab.catalog.plugins[0].digest in spec.architecture.source
