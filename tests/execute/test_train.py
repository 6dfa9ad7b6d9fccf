"""Training against oracles: steps written out by hand, closed forms of the cost, and the same bits for the same seed."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustradar import ADVERSARIAL, CLEAN, Architecture, Data, Objective, Recipe, Split, Threat
from robustradar.errors import Failure
from robustradar.training import network, schedule
from robustradar.training.device import DeviceBatches, DeviceData
from robustradar.training.loop import ORDER, stream
from robustradar.values import FitRecord, FitSpec, canonical

Lab = Any
N, EVALUATED = 64, 32  # samples of the data in conftest.py


def spec(lab: Lab, recipe: str = "", architecture: str = "linear", objective: Objective = CLEAN, **changes: Any) -> FitSpec:
    attack = lab.ref("attack", changes.pop("attack", "menagerie/sign")) if objective.adversarial else None
    threat = Threat(math.inf, 0.05, lab.task.bounds) if objective.adversarial else None
    wanted = FitSpec(
        architecture=lab.ref("architecture", f"menagerie/{architecture}"),
        task=lab.task,
        recipe=lab.ref("recipe", f"menagerie/brief:{recipe}"),
        objective=objective,
        threat=threat,
        attack=attack,
        seed=0,
        engine="engine 1",
    )
    return replace(wanted, **changes)


def fit(lab: Lab, wanted: FitSpec) -> tuple[FitRecord, dict[str, Tensor]]:
    """A fit's record and weights, trained now."""
    execution = lab.execution()
    execution.fit(wanted)
    record, state = execution.store.fit(wanted.key), execution.store.state(wanted.key)
    assert isinstance(record, FitRecord)
    assert state is not None
    return record, state


def fresh(lab: Lab, wanted: FitSpec) -> tuple[nn.Module, DeviceData]:
    """The network before its first step, and the data."""
    data = DeviceData.of(lab.data, lab.task, torch.device("cpu"), size=16)
    return network.build(lab.catalog.bound("architecture", wanted.architecture, Architecture), "test", data, wanted.seed), data


def close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = 1e-5) -> None:
    assert list(found) == sorted(expected)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=tolerance, atol=tolerance)


def same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    return list(found) == list(expected) and all(torch.equal(value, expected[name]) for name, value in found.items())


def anew(lab: Lab, name: str) -> Lab:
    """The same lab with an empty store."""
    return replace(lab, root=lab.root.with_name(name))


# By hand


@pytest.mark.parametrize("xi", [0.0, 0.5, 1.0])
def test_one_step_is_that_of_a_loop_written_by_hand(lab: Lab, xi: float) -> None:
    """(1−ξ)·clean + ξ·adversarial loss, each the mean over the batch, and plain gradient descent on it."""
    wanted = spec(lab, "epochs=1,batch=64,lr=0.5,momentum=0,schedule=constant", objective=Objective(xi))
    _, found = fit(lab, wanted)
    model, _ = fresh(lab, wanted)
    x, y = torch.from_numpy(lab.data.train.x), torch.from_numpy(lab.data.train.y)
    start = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(functional.cross_entropy(model(start), y, reduction="sum"), start)
    x_adv = (x + 0.05 * g.sign()).clamp(0, 1)
    loss = (1 - xi) * functional.cross_entropy(model(x), y) + xi * functional.cross_entropy(model(x_adv), y)
    loss.backward()
    with torch.no_grad():
        for p in model.parameters():
            p.sub_(0.5 * p.grad)  # type: ignore[operator]
    close(found, model.state_dict())


def test_several_steps_follow_the_schedule_momentum_and_decay(lab: Lab) -> None:
    """Nesterov's momentum as Sutskever et al. write it, on one-cycle's learning rates at the middle of each step."""
    wanted = spec(lab, "epochs=4,batch=64,lr=0.5,momentum=0.9,weight_decay=0.01,warmup=0.25,select=last")
    _, found = fit(lab, wanted)
    model, _ = fresh(lab, wanted)
    x, y = torch.from_numpy(lab.data.train.x), torch.from_numpy(lab.data.train.y)
    speed = [torch.zeros_like(p) for p in model.parameters()]
    for done in (0.125, 0.375, 0.625, 0.875):
        lr = 0.5 * (done / 0.25 if done < 0.25 else (1 + math.cos(math.pi * (done - 0.25) / 0.75)) / 2)
        gradients = torch.autograd.grad(functional.cross_entropy(model(x), y), list(model.parameters()))
        with torch.no_grad():
            for p, v, g in zip(model.parameters(), speed, gradients, strict=True):
                slope = g + 0.01 * p
                v.mul_(0.9).add_(slope)
                p.sub_(lr * (slope + 0.9 * v))
    close(found, model.state_dict())


def test_every_sample_is_seen_once_an_epoch_in_the_order_of_the_seed(lab: Lab) -> None:
    data = DeviceData.of(lab.data, lab.task, torch.device("cpu"))
    order = torch.Generator().manual_seed(stream(3, ORDER))
    expected = torch.randperm(N, generator=torch.Generator().manual_seed(stream(3, ORDER)))
    batches = [y for _, y in data.splits["train"].shuffled(order, 20)]
    assert [len(y) for y in batches] == [20, 20, 20, 4]
    assert torch.equal(torch.cat(batches), torch.from_numpy(lab.data.train.y)[expected])


def test_one_cycle_rises_and_falls() -> None:
    recipe = Recipe(warmup=0.25)
    rates = [schedule.share(recipe, (n + 0.5) / 100) for n in range(100)]
    top = rates.index(max(rates))
    assert top in (24, 25)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[0] == pytest.approx(0.02)
    assert rates[-1] < 1e-3
    assert schedule.share(recipe, 0.625) == pytest.approx(0.5)


# Chance


@pytest.mark.parametrize("objective", [CLEAN, ADVERSARIAL])
def test_the_same_seed_gives_the_same_bits(lab: Lab, objective: Objective) -> None:
    wanted = spec(lab, architecture="normed", objective=objective)
    first, weights = fit(lab, wanted)
    torch.manual_seed(99)  # what was drawn before does not matter
    second, again = fit(anew(lab, "again"), wanted)
    assert same(weights, again)
    assert first.epochs == second.epochs


def test_another_seed_gives_another_network(lab: Lab) -> None:
    states = [fit(lab, spec(lab, seed=seed))[1] for seed in (0, 1)]
    assert not same(*states)
    starts = [fresh(lab, spec(lab, seed=seed))[0].state_dict() for seed in (0, 1)]
    assert not same(*starts)


def test_objectives_start_from_the_same_weights(lab: Lab) -> None:
    clean, adversarial = (fresh(lab, spec(lab, objective=o))[0].state_dict() for o in (CLEAN, ADVERSARIAL))
    assert same(clean, adversarial)


# What is kept


def test_a_fit_may_start_from_another_which_is_then_trained_first(lab: Lab) -> None:
    first = spec(lab, "epochs=3")
    warm = spec(lab, "epochs=1,lr=1e-12", objective=ADVERSARIAL, start=first)
    assert warm.key != spec(lab, "epochs=1,lr=1e-12", objective=ADVERSARIAL).key
    _, state = fit(lab, warm)
    _, expected = fit(lab, first)
    close(state, expected, 1e-6)
    start = fresh(lab, first)[0].state_dict()
    assert max((state[name] - start[name]).abs().max() for name in state) > 1e-3


def test_the_epoch_with_the_smallest_evaluation_loss_is_kept(lab: Lab) -> None:
    wanted = spec(lab, "epochs=8,batch=8,lr=30,momentum=0,schedule=constant")
    record, state = fit(lab, wanted)
    losses = [epoch["evaluation_clean_loss"] for epoch in record.epochs]
    assert [epoch["epoch"] for epoch in record.epochs] == list(range(1, 9))
    assert losses != sorted(losses, reverse=True), "the test needs a loss that rises"
    assert record.selected_epoch == losses.index(min(losses)) + 1 < 8
    model, _ = fresh(lab, wanted)
    model.load_state_dict(state)
    x, y = torch.from_numpy(lab.data.evaluation.x), torch.from_numpy(lab.data.evaluation.y)
    assert functional.cross_entropy(model.eval()(x), y).item() == pytest.approx(min(losses), rel=1e-5)


def test_an_adversarial_fit_is_kept_by_its_adversarial_loss(lab: Lab) -> None:
    record, _ = fit(lab, spec(lab, "epochs=6,lr=10,schedule=constant", objective=ADVERSARIAL))
    losses = [epoch["evaluation_adversarial_loss"] for epoch in record.epochs]
    assert record.selected_epoch == losses.index(min(losses)) + 1
    assert all(epoch["evaluation_adversarial_loss"] >= epoch["evaluation_clean_loss"] for epoch in record.epochs)


def test_a_clean_fit_has_no_adversarial_numbers(lab: Lab) -> None:
    record, _ = fit(lab, spec(lab))
    assert {name for name, value in record.epochs[0].items() if value is None} == {
        f"{split}_adversarial_{number}" for split in ("train", "evaluation") for number in ("loss", "accuracy")
    }
    assert record.spec == json.loads(canonical(spec(lab).json()))
    assert record.flags == ()


# Divergence


def regression(n: int = N) -> Data:
    """A linear map from four features to two targets."""
    rng = np.random.default_rng(0)
    slope = np.array([[1.0, -2.0], [0.5, 0.0], [0.0, 3.0], [-1.0, 1.0]])
    x = rng.standard_normal((n + 16, 4))
    y = x @ slope + np.array([0.5, -0.25])
    return Data(Split(x[:n], y[:n]), Split(x[n:], y[n:]), None, None, None)


def test_a_loss_that_is_not_finite_is_a_failure(make_lab: Callable[[Data], Lab]) -> None:
    lab = make_lab(regression())
    with pytest.raises(Failure) as failure:
        fit(lab, spec(lab, "lr=1e30"))
    reason = "diverged: the loss is not finite after epoch 1 of 2, also at a tenth of the learning rate. Use a smaller lr."
    assert str(failure.value) == f"training: {reason}"
    assert failure.value.lasting


def test_a_step_that_cannot_be_taken_is_a_failure(lab: Lab) -> None:
    wild = spec(lab, "lr=1e300")
    with pytest.raises(Failure) as failure:
        fit(lab, wild)
    culprit = lab.catalog.culprit("architecture", wild.architecture)
    assert str(failure.value) == f"{culprit}: RuntimeError: value cannot be converted to type float without overflow"


def test_what_diverges_once_is_tried_at_a_tenth_and_flagged(make_lab: Callable[[Data], Lab]) -> None:
    lab = make_lab(regression())
    record, state = fit(lab, spec(lab, "epochs=20,batch=16,lr=2,momentum=0,schedule=constant"))
    assert record.flags == ("diverged-once:lr=0.2",)
    calm, expected = fit(lab, spec(lab, "epochs=20,batch=16,lr=0.2,momentum=0,schedule=constant"))
    assert calm.flags == ()
    close(state, expected)


# Data


def test_regression_learns_a_linear_map(make_lab: Callable[[Data], Lab]) -> None:
    lab = make_lab(regression())
    record, state = fit(lab, spec(lab, "epochs=30,lr=0.1,momentum=0.5"))
    last = record.epochs[-1]
    assert last["evaluation_clean_loss"] < 1e-3
    assert last["evaluation_clean_accuracy"] is None
    # In the data's own units the slope is the map's: weight / std.
    slope = state["1.1.weight"] / state["0.std"]
    torch.testing.assert_close(slope.T, torch.tensor([[1.0, -2.0], [0.5, 0.0], [0.0, 3.0], [-1.0, 1.0]]), atol=0.02, rtol=0.0)


def test_one_target_may_be_a_vector_or_a_column(make_lab: Callable[[Data], Lab]) -> None:
    both = regression()
    column = replace(both, train=Split(both.train.x, both.train.y[:, :1]), evaluation=Split(both.evaluation.x, both.evaluation.y[:, :1]))
    vector = replace(both, train=Split(both.train.x, both.train.y[:, 0]), evaluation=Split(both.evaluation.x, both.evaluation.y[:, 0]))
    states = []
    for name, data in (("column", column), ("vector", vector)):
        lab = anew(make_lab(data), name)
        states.append(fit(lab, spec(lab, "lr=0.01"))[1])
    assert same(*states)


def images(kind: str) -> Data:
    """Two classes of 8x8 images, dark and bright."""
    rng = np.random.default_rng(0)
    y = np.arange(48) % 2
    x = (rng.integers(0, 150, (48, 1, 8, 8)) + 100 * y[:, None, None, None]).astype(np.uint8)
    shown = x if kind == "uint8" else x.astype(np.float32) / np.float32(255)
    return Data(Split(shown[:32], y[:32]), Split(shown[32:], y[32:]), None, 2, (0.0, 1.0))


def test_bytes_and_floats_give_the_same_network(make_lab: Callable[[Data], Lab]) -> None:
    states = []
    for kind in ("uint8", "float32"):
        lab = make_lab(images(kind))
        states.append(fit(lab, spec(lab, "batch=8", objective=Objective(0.5)))[1])
    close(states[0], states[1])


def test_streamed_data_give_the_network_that_resident_data_give(make_lab: Callable[[Data], Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    lab = make_lab(images("uint8"))
    resident = fit(lab, spec(lab, "batch=12", objective=Objective(0.5)))[1]
    monkeypatch.setattr("robustradar.training.device.RESIDENT_BYTES", 0)
    assert lab.execution().data.splits["train"]._resident is None
    streamed = fit(anew(lab, "streamed"), spec(lab, "batch=12", objective=Objective(0.5)))[1]
    close(streamed, resident)


def test_batches_come_in_order_and_in_the_datas_own_units() -> None:
    data = images("uint8")
    batches = list(DeviceBatches(data.train, torch.device("cpu"), 10, 2))
    assert [len(x) for x, _ in batches] == [10, 10, 10, 2]
    x = torch.cat([x for x, _ in batches])
    assert x.dtype == torch.float32
    assert torch.equal((x * 255).round().byte(), torch.from_numpy(data.train.x))
    assert torch.equal(torch.cat([y for _, y in batches]), torch.from_numpy(data.train.y))


@pytest.mark.parametrize(("n", "size", "expected"), [(9, 4, [4, 5]), (8, 4, [4, 4]), (10, 4, [4, 4, 2]), (1, 4, [1]), (3, 1, [1, 1, 1])])
def test_no_batch_of_several_leaves_a_single_sample_behind(n: int, size: int, expected: list[int]) -> None:
    """BatchNorm cannot train on one sample."""
    split = Split(np.arange(2.0 * n).reshape(n, 2) / (2 * n), np.zeros(n, dtype=np.int64))
    batches = DeviceBatches(split, torch.device("cpu"), 2, 2)
    found = [len(x) for x, _ in batches.shuffled(torch.Generator().manual_seed(0), size)]
    assert found == expected
    assert batches.steps(size) == len(found)


def test_inputs_are_standardised_inside_the_network(make_lab: Callable[[Data], Lab]) -> None:
    lab = make_lab(images("uint8"))
    model, data = fresh(lab, spec(lab))
    x = torch.cat([x for x, _ in data.splits["train"]])
    inner = model[0](x)  # type: ignore[index]
    assert inner.mean().item() == pytest.approx(0, abs=1e-5)
    assert inner.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_a_constant_feature_is_left_as_it_is(make_lab: Callable[[Data], Lab]) -> None:
    data = regression()
    for split in (data.train, data.evaluation):
        split.x[:, 2] = 7.0
    lab = make_lab(data)
    assert lab.execution().data.std[2] == 1.0


# Cost


def test_the_cost_of_clean_training_is_counted_exactly(lab: Lab) -> None:
    cost = fit(lab, spec(lab, "epochs=3,batch=10"))[0].cost
    assert (cost.forward, cost.backward) == (3 * (N + EVALUATED), 3 * N)
    assert cost.flops == 2 * 4 * 3 * (cost.forward + 2 * cost.backward)
    assert cost.seconds > 0


@pytest.mark.parametrize(("xi", "clean"), [(1.0, 0), (0.5, 1)])
def test_the_cost_of_adversarial_training_is_counted_exactly(lab: Lab, xi: float, clean: int) -> None:
    """k attack steps a batch, the adversarial and, for a mixture, the clean pass; evaluating takes two passes and the attack's."""
    k, epochs = 4, 2
    cost = fit(lab, spec(lab, f"epochs={epochs}", objective=Objective(xi), attack=f"menagerie/sign:steps={k}"))[0].cost
    assert cost.forward == epochs * (N * (k + 1 + clean) + EVALUATED * (k + 2))
    inner, outer = epochs * (N * k + EVALUATED * k), epochs * N * (1 + clean)
    assert cost.backward == inner + outer
    assert cost.flops == 2 * 4 * 3 * (cost.forward + inner + 2 * outer)


# Memory


def test_a_batch_that_does_not_fit_goes_through_in_halves(lab: Lab) -> None:
    record, state = fit(lab, spec(lab, "batch=32", architecture="narrow"))
    assert record.flags == ("micro-batch:8",)
    whole, expected = fit(lab, spec(lab, "batch=32"))
    assert whole.flags == ()
    close({name.replace("inside.", ""): value for name, value in state.items()}, expected)
    assert record.epochs[-1]["train_clean_loss"] == pytest.approx(whole.epochs[-1]["train_clean_loss"], rel=1e-5)


# On an accelerator


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_an_accelerator_starts_alike_and_sees_the_same_order(lab: Lab) -> None:
    wanted = spec(lab)
    there = DeviceData.of(lab.data, lab.task, torch.device("cuda"))
    here, data = fresh(lab, wanted)
    architecture = lab.catalog.bound("architecture", wanted.architecture, Architecture)
    moved = network.build(architecture, "test", there, wanted.seed)
    assert same({name: value.cpu() for name, value in moved.state_dict().items()}, here.state_dict())
    orders = [[y.cpu() for _, y in d.splits["train"].shuffled(torch.Generator().manual_seed(1), 10)] for d in (data, there)]
    assert all(torch.equal(a, b) for a, b in zip(*orders, strict=True))
