"""Sums and shapes of vectors of parameters."""

import math

import pytest
import torch

from robustradar.numerics import vector

# Sums


@pytest.mark.parametrize("d", [1, 8191, 8192, 8193, 3_000_000])
def test_dot_products_stay_exact_at_millions_of_entries(d: int) -> None:
    rng = torch.Generator().manual_seed(0)
    u, v = torch.rand(d, generator=rng), torch.rand(d, generator=rng)
    assert float(vector.dot(u, v)) == pytest.approx(float(u.double() @ v.double()), rel=3e-7)
    assert float(vector.length(u)) == pytest.approx(float(u.double().norm()), rel=3e-7)
    rows = torch.stack([u, v])
    torch.testing.assert_close(vector.dots(rows, u), rows.double() @ u.double(), rtol=3e-7, atol=0)


@pytest.mark.parametrize("entry", [0.1, 1 / 3, 0.7, 2.3, 1e10])
def test_rounding_does_not_add_up(entry: float) -> None:
    """Equal entries are all rounded the same way, which a long float32 sum accumulates."""
    v = torch.full((20_000,), entry)
    assert float(vector.length(v)) == pytest.approx(float(v.double().norm()), rel=1e-5)


@pytest.mark.parametrize("entry", [1e-25, 1e-10, 1e10, 1e18])
@pytest.mark.parametrize("d", [100, 20_000])
def test_lengths_neither_underflow_nor_overflow(d: int, entry: float) -> None:
    """The gradient of a network that fits its data can be this small."""
    assert float(vector.length(torch.full((d,), entry))) == pytest.approx(entry * math.sqrt(d), rel=1e-4, abs=0)


def test_flattening_and_its_inverse() -> None:
    parts = [torch.randn(2, 3), torch.randn(()), torch.randn(4, 1, 1)]
    v = vector.flat(parts)
    assert v.shape == (11,)
    for part, back in zip(parts, vector.like(v, parts), strict=True):
        assert torch.equal(part, back)
