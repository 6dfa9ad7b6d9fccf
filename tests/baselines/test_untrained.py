"""What the training-free metrics share: which samples they read, and the average over draws of the weights."""

import copy
import math

import numpy as np
import pytest
import torch
from small_benches import bench, layer, task
from torch import nn

from robustradar import Column, Measured, Skipped
from robustradar.conformance import measured, patterns
from robustradar.numerics.seeds import seed_interval
from robustradar_baselines import robustradar_metrics, untrained
from robustradar_baselines.activation import Activations
from robustradar_baselines.size import Layers

FREE = {"synflow", "activations", "gradients", "croze", "layers"}
COLUMN = (Column("sum", "higher", "1"),)


def network() -> nn.Module:
    """Three weights that are told apart, and normalisation, whose entries are alike."""
    return nn.Sequential(layer([[1.0, 2.0, 4.0]]), nn.BatchNorm1d(1), nn.Linear(1, 2))


def weighed(net: nn.Module) -> untrained.Found:
    """A number that depends on the order of the weights."""
    first = net[0].weight  # type: ignore[index,union-attr]
    return {"sum": float((first.detach() * torch.tensor([1.0, 10.0, 100.0])).sum())}  # type: ignore[operator]


def test_one_draw_is_the_network_as_it_is_built_and_has_no_interval() -> None:
    assert untrained.averaged(COLUMN, bench(network, torch.zeros(4, 3)), 1, weighed) == {"sum": Measured(421.0)}


def test_further_draws_put_the_same_weights_in_another_order() -> None:
    found: list[float] = []

    def noted(net: nn.Module) -> untrained.Found:
        assert sorted(net[0].weight[0].tolist()) == [1, 2, 4]  # type: ignore[index,union-attr]
        assert torch.equal(net[1].weight, torch.ones(1))  # type: ignore[index,arg-type,union-attr]
        found.append(float(weighed(net)["sum"]))
        return {"sum": found[-1]}

    outcome = untrained.averaged(COLUMN, bench(network, torch.zeros(4, 3)), 6, noted)["sum"]
    assert isinstance(outcome, Measured)
    assert found[0] == 421
    assert len(set(found)) > 2
    assert outcome.value == pytest.approx(np.mean(found))
    assert (outcome.low, outcome.high) == pytest.approx(seed_interval(np.array(found)))
    assert untrained.averaged(COLUMN, bench(network, torch.zeros(4, 3)), 6, weighed)["sum"] == outcome


def test_a_single_draw_without_a_number_is_enough_to_skip() -> None:
    answers = iter([1.0, "too flat", 2.0])
    outcome = untrained.averaged(COLUMN, bench(network, torch.zeros(4, 3)), 3, lambda _: {"sum": next(answers)})["sum"]
    assert outcome == Skipped("too flat")


def test_what_is_not_finite_is_no_score() -> None:
    outcome = untrained.averaged(COLUMN, bench(network, torch.zeros(4, 3)), 1, lambda _: {"sum": math.inf})["sum"]
    assert outcome == Skipped("the score is inf, which is no number to rank by: the signal overflows or dies out in the untrained network")


def test_nothing_is_trained() -> None:
    free = [m for m in robustradar_metrics() if m.name in FREE]
    assert len(free) == len(FREE)
    assert not any(m.needs(task(), bench(network, torch.zeros(2, 3)).threat).fits for m in free)


def test_layers_are_counted_without_normalisation() -> None:
    assert Layers().measure(bench(network, torch.zeros(4, 3))) == {"layers": Measured(2)}


def test_the_host_gives_the_same_numbers() -> None:
    torch.manual_seed(0)
    given = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
    data = patterns()
    picks = [k * len(data.train.x) // 8 for k in range(8)]
    x = torch.from_numpy(np.asarray(data.train.x)[picks])
    expected = Activations(batch=8).measure(bench(lambda: given, x))
    found = measured("baselines/activations:batch=8", given, data)
    assert {name: getattr(o, "value", o) for name, o in found.items()} == {name: getattr(o, "value", o) for name, o in expected.items()}


def test_a_metric_does_not_touch_the_generators() -> None:
    given = nn.Sequential(layer([[1.0, 2.0, 4.0], [1.0, 0.0, -1.0]]), nn.ReLU(), layer([[1.0, -1.0], [0.0, 1.0]]))
    before = torch.get_rng_state()
    for metric in robustradar_metrics():
        if metric.name in FREE:
            metric.measure(bench(lambda: copy.deepcopy(given), torch.eye(3).repeat(4, 1)))
    assert torch.equal(torch.get_rng_state(), before)
