"""Random crops and flips: every picture is one of the possible ones, by a generator on the CPU."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from robustradar.training.augment import crop_flip


def possible(x: Tensor, pad: int) -> list[Tensor]:
    """All (2p+1)²·2 shifted and mirrored forms of one picture [C, H, W]."""
    _, height, width = x.shape
    padded = functional.pad(x, (pad,) * 4)
    crops = [padded[:, i : i + height, j : j + width] for i in range(2 * pad + 1) for j in range(2 * pad + 1)]
    return [form for crop in crops for form in (crop, crop.flip(2))]


@pytest.mark.parametrize(("pad", "side"), [(1, (4, 4)), (2, (5, 7))])
def test_every_picture_is_one_of_the_possible_ones_and_all_of_them_come(pad: int, side: tuple[int, int]) -> None:
    x = torch.rand(1, 3, *side, generator=torch.Generator().manual_seed(0)).expand(2000, -1, -1, -1)
    forms = torch.stack(possible(x[0], pad)).flatten(1)
    found = crop_flip(x, torch.Generator().manual_seed(1), pad)
    assert found.shape == x.shape
    same = (found.flatten(1)[:, None] == forms).all(2)
    assert (same.sum(1) == 1).all()
    counts = same.sum(0)
    expected = 2000 / len(forms)
    assert counts.min() > expected * 0.4
    assert counts.max() < expected * 1.8


def test_the_generator_decides_and_nothing_else_is_drawn() -> None:
    x, before = torch.rand(6, 1, 8, 8), torch.get_rng_state()
    one, other = (crop_flip(x, torch.Generator().manual_seed(3), 2) for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, crop_flip(x, torch.Generator().manual_seed(4), 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_channels_of_a_picture_move_together() -> None:
    x = torch.rand(50, 1, 6, 6).expand(-1, 3, -1, -1)
    found = crop_flip(x, torch.Generator().manual_seed(0), 2)
    assert torch.equal(found, found[:, :1].expand(-1, 3, -1, -1))


def test_without_pad_pictures_are_only_mirrored() -> None:
    x = torch.rand(40, 1, 3, 3)
    found = crop_flip(x, torch.Generator().manual_seed(0), 0)
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(2)) for a, b in zip(found, x, strict=True))


@pytest.mark.gpu
def test_a_gpu_gets_the_same_pictures() -> None:
    x = torch.rand(9, 3, 8, 8)
    here, there = (crop_flip(part, torch.Generator().manual_seed(2), 1) for part in (x, x.cuda()))
    assert torch.equal(here, there.cpu())
