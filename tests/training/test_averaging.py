"""The moving average of weights and buffers, beside one computed by hand."""

import pytest
import torch
from small_fits import STEADY, Fitting, assert_same, normed
from torch import Tensor

from robustradar import Recipe
from robustradar.training import train as training


def averaging(decay: float) -> Recipe:
    return Recipe(**{**vars(STEADY), "average": decay})


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_what_is_kept_is_the_average_of_all_steps(decay: float) -> None:
    loop = Fitting(normed, averaging(decay)).loop()
    steps: list[dict[str, Tensor]] = []
    assert loop.averaged is not None
    update = loop.averaged.update_parameters

    def recorded(network: torch.nn.Module) -> None:
        steps.append({name: value.clone() for name, value in network.state_dict().items()})
        update(network)

    loop.averaged.update_parameters = recorded  # type: ignore[method-assign, assignment]
    trained = training.train(loop, None, lambda _: None)
    assert len(steps) == 9
    for name, kept in trained.state.items():
        if not kept.is_floating_point():
            continue
        average = steps[0][name].double()  # the first step's weights are where the average starts
        for done, step in enumerate(steps[1:], 2):  # early on a step counts for more, else a short fit would keep its first weights
            d = min(decay, (1 + done) / (10 + done))
            average = d * average + (1 - d) * step[name].double()
        torch.testing.assert_close(kept.double(), average, rtol=1e-5, atol=1e-6)
    assert not torch.equal(trained.state["1.running_mean"], steps[-1]["1.running_mean"])
    assert trained.state["1.running_var"].gt(0).all()


def test_the_average_does_not_disturb_the_training() -> None:
    fitting, plain = Fitting(normed, averaging(0.9)), Fitting(normed)
    loop = fitting.loop()
    training.train(loop, None, lambda _: None)
    assert_same(loop.network.state_dict(), plain.train().state)


def test_evaluations_are_those_of_the_average() -> None:
    loop = Fitting(normed, averaging(0.9)).loop()
    trained = training.train(loop, None, lambda _: None)
    network = normed()
    network.load_state_dict(trained.state)
    found = training.evaluate(network, loop.data, loop.spec.objective, None)
    assert {name: trained.record.epochs[-1][name] for name in found} == found
