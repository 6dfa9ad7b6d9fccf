"""NAS-Bench-201: notation, wiring and published sizes."""

import dataclasses

import pytest
import torch

from robustradar_papers.cell import operations
from robustradar_papers.declared import NasBench201
from robustradar_papers.nasbench201 import Cell

DECLARED = NasBench201(name="nasbench201")
EMPTY = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@pytest.mark.parametrize(
    ("cell", "millions"),
    [
        ("|avg_pool_3x3~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|avg_pool_3x3~0|avg_pool_3x3~1|avg_pool_3x3~2|", 0.07331),
        ("|avg_pool_3x3~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|avg_pool_3x3~0|avg_pool_3x3~1|nor_conv_1x1~2|", 0.10131),
        ("|avg_pool_3x3~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|avg_pool_3x3~0|none~1|skip_connect~2|", 0.07331),
        ("|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|nor_conv_1x1~0|nor_conv_3x3~1|nor_conv_3x3~2|", 0.61539),
        ("|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|", 1.10147),
    ],
)
def test_parameter_counts_on_cifar10_are_the_published_ones(cell: str, millions: float) -> None:
    with torch.device("meta"):
        network = dataclasses.replace(DECLARED, cell=cell).build((3, 32, 32), 10)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=5.1e-6)


@pytest.mark.parametrize(
    ("index", "cell"),
    [
        (0, "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"),
        (1, "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"),
        (9, "|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"),
        (123, "|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"),
    ],
)
def test_an_index_is_the_benchmarks_own(index: int, cell: str) -> None:
    """Places that its authors' code asserts, or its README shows."""
    assert operations(str(index)) == operations(cell)


def test_indices_name_every_cell_once() -> None:
    assert len({operations(str(index)) for index in range(15_625)}) == 15_625


@pytest.mark.parametrize(
    "cell", ["15625", "-1", "", "²", "|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|", EMPTY.replace("~2", "~1"), EMPTY + "|"]
)
def test_other_texts_are_refused(cell: str) -> None:
    with pytest.raises(ValueError) as refusal:
        dataclasses.replace(DECLARED, cell=cell)
    assert str(refusal.value) == (
        f"cell: got {cell!r}, expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2| with operations among "
        "none, skip_connect, nor_conv_1x1, nor_conv_3x3, avg_pool_3x3, or NAS-Bench-201's index, 0 to 15624"
    )


@pytest.mark.parametrize(
    ("alive", "factor"),
    [
        ("111111", 4),  # nodes x, x, 2x, 4x
        ("000100", 1),  # 0 to 3
        ("100010", 1),  # 0 to 1 to 3
        ("010001", 1),  # 0 to 2 to 3
        ("101001", 1),  # 0 to 1 to 2 to 3
        ("111001", 2),
        ("100001", 0),
        ("010010", 0),
    ],
)
def test_operations_join_the_nodes_that_the_string_names(alive: str, factor: float) -> None:
    ops = tuple("skip_connect" if flag == "1" else "none" for flag in alive)
    x = torch.rand(1, 2, 4, 4)
    torch.testing.assert_close(Cell(ops, 2)(x), factor * x)


def test_a_cell_of_nothing_has_zero_gradients_but_has_them() -> None:
    network = dataclasses.replace(DECLARED, cell=EMPTY, channels=4, cells=1).build((3, 8, 8), 2)
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    assert gradient.abs().max() == 0


def test_pooling_leaves_out_the_padding() -> None:
    ops = ("none", "none", "none", "avg_pool_3x3", "none", "none")
    torch.testing.assert_close(Cell(ops, 1)(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))
