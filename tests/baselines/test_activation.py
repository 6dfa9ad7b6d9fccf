"""Scores of one forward pass, on networks small enough to follow by hand."""

import math
from typing import Any

import pytest
import torch
from small_benches import Make, bench, layer, values
from torch import Tensor, nn

from robustradar.conformance import contract_test
from robustradar_baselines.activation import ALIKE, NO_RELU, STILL, Activations

test_contract = contract_test("baselines/activations:batch=8,repeats=2")

X = torch.tensor([[-1.0], [1.0], [3.0]])


def two_units() -> nn.Module:
    """On above 0 and above 2: the samples' codes are 00, 10 and 11."""
    return nn.Sequential(layer([[1.0], [1.0]], [0.0, -2.0]), nn.ReLU(), nn.Linear(2, 2))


def scores(make: Make, x: Tensor) -> dict[str, Any]:
    return values(Activations(batch=len(x)).measure(bench(make, x)))


def test_nwot_is_the_log_determinant_of_how_many_units_agree() -> None:
    """Agreements [[2, 1, 0], [1, 2, 1], [0, 1, 2]]: the determinant is 2·3 − 1·2 = 4."""
    assert scores(two_units, X)["nwot"] == pytest.approx(math.log(4))


def test_swap_counts_different_units_not_units() -> None:
    """Patterns over the samples: 011 and 001; a third unit that is on for the same samples as the first adds none."""
    three = lambda: nn.Sequential(layer([[1.0], [1.0], [5.0]], [0.0, -2.0, -0.5]), nn.ReLU(inplace=True), nn.Linear(3, 2))  # noqa: E731
    assert scores(two_units, X)["swap"] == 2
    assert scores(three, X)["swap"] == 2


def test_codes_of_more_samples_than_a_word_has_bits() -> None:
    """Units that switch on at 0, 1, … 99: each sample's code is another, and each unit's pattern."""
    x = torch.arange(100.0)[:, None] + 0.5
    steps = lambda: nn.Sequential(layer([[1.0]] * 100, [-float(k) for k in range(100)]), nn.ReLU(), nn.Linear(100, 2))  # noqa: E731
    assert scores(steps, x)["swap"] == 100
    assert scores(steps, x[:70])["swap"] == 71  # units 70 to 99 are never on: one pattern


def test_two_samples_with_one_code_have_no_nwot() -> None:
    x = torch.tensor([[-1.0], [1.0], [3.0], [4.0]])
    found = scores(two_units, x)
    assert found["nwot"] == ALIKE.format(n=4, rank=3)
    assert (
        found["nwot"]
        == "the activation codes of the 4 samples span only 3 dimensions, so that the determinant is 0; a smaller batch may do"
    )
    assert found["swap"] == 2


def test_networks_without_relu_modules_have_no_codes() -> None:
    found = scores(lambda: nn.Sequential(layer([[1.0], [1.0]], [0.0, -2.0]), nn.Tanh(), nn.Linear(2, 2)), X)
    assert found["nwot"] == found["swap"] == NO_RELU
    assert NO_RELU == "no nn.ReLU in the network (functional ones are not seen), and the codes say which of them are on"
    assert isinstance(found["meco"], float)


CROSS = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])


def test_uncorrelated_channels_have_the_entropy_of_all_and_the_eigenvalue_1() -> None:
    found = scores(lambda: layer([[1.0, 0.0], [0.0, 1.0]]), CROSS)
    assert found["expressivity"] == pytest.approx(math.log(2))
    assert (found["effective_rank"], found["meco"]) == (pytest.approx(2), pytest.approx(1))


def test_channels_of_unequal_spread_have_less_entropy_and_the_same_correlation() -> None:
    """Variances 9 : 1, that is shares of .9 and .1."""
    found = scores(lambda: layer([[3.0, 0.0], [0.0, 1.0]]), CROSS)
    assert found["expressivity"] == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))
    assert (found["effective_rank"], found["meco"]) == (pytest.approx(2), pytest.approx(1))


def test_half_correlated_channels() -> None:
    """Channels a and (a + √3·b)/2: correlation ½, eigenvalues 1½ and ½, in shares ¾ and ¼."""
    found = scores(lambda: layer([[1.0, 0.0], [0.5, math.sqrt(0.75)]]), CROSS)
    assert found["effective_rank"] == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
    assert found["meco"] == pytest.approx(0.5)


def test_channels_that_say_the_same_count_nothing() -> None:
    found = scores(lambda: layer([[1.0, 0.0], [2.0, 0.0]]), CROSS)
    assert found["expressivity"] == pytest.approx(0, abs=1e-6)
    assert found["effective_rank"] == pytest.approx(1)
    assert found["meco"] == pytest.approx(0, abs=1e-6)


def test_layers_add_up() -> None:
    found = scores(lambda: nn.Sequential(layer([[1.0, 0.0], [0.0, 1.0]]), layer([[1.0, 0.0], [0.0, 1.0]])), CROSS)
    assert (found["effective_rank"], found["expressivity"], found["meco"]) == pytest.approx((4, 2 * math.log(2), 2))


def test_a_convolution_s_channels_are_compared_over_samples_and_pixels() -> None:
    """A 1x1 convolution sees each pixel alone: the same numbers as a linear layer on the pixels."""
    image = CROSS.T.reshape(2, 2, 2).unsqueeze(0)  # one image, two channels, 2x2 pixels
    images = torch.cat([image, image])

    def convolution() -> nn.Module:
        conv = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            conv.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 1.0]])[:, :, None, None])
        return conv

    assert scores(convolution, images)["expressivity"] == pytest.approx(
        scores(lambda: layer([[3.0, 0.0], [0.0, 1.0]]), CROSS)["expressivity"]
    )


def test_one_channel_counts_as_one() -> None:
    """Such as the output of a regression."""
    found = scores(lambda: layer([[1.0, 0.0]]), CROSS)
    assert (found["effective_rank"], found["expressivity"], found["meco"]) == pytest.approx((1, 0, 1))


def test_a_channel_that_never_varies_has_no_correlation() -> None:
    found = scores(lambda: layer([[1.0, 0.0], [0.0, 0.0]]), CROSS)
    assert found["effective_rank"] == found["expressivity"] == found["meco"] == STILL
    assert STILL == "no convolution or linear layer all of whose channels vary"


def test_batch_normalisation_uses_the_batch() -> None:
    """With its initial running statistics the units would be on for all or for none of the inputs 10, 11, 12, 13."""
    shifted = torch.tensor([[10.0], [11.0], [12.0], [13.0]])
    make = lambda: nn.Sequential(layer([[1.0]]), nn.BatchNorm1d(1), nn.ReLU(), nn.Dropout(0.9), nn.Linear(1, 2))  # noqa: E731
    assert scores(make, shifted)["swap"] == 1
    codes = scores(make, shifted[1:3])
    assert codes["nwot"] == pytest.approx(0)  # agreements [[1, 0], [0, 1]]


def test_no_hook_remains() -> None:
    network = two_units().eval()
    Activations(batch=3).measure(bench(lambda: network, X))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
