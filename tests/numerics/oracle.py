"""How the numerics are held to their twins: problems made of cases, directions, distances, and a loss that breaks off."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from twins import CASES, ORDERS, Array, Case

from robustradar.numerics.problem import Problem

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_order = pytest.mark.parametrize("p", ORDERS)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def problem(case: Case, split: str = "train", dtype: torch.dtype = torch.float64, **changes: Any) -> Problem:
    ridge = case.ridge if split == "train" else 0.0
    return Problem(**{**dict(model=case.model(dtype), loss=case.loss, batches=case.batches(split, dtype), ridge=ridge), **changes})


def pair(case: Case, dtype: torch.dtype = torch.float64) -> tuple[Problem, Problem]:
    """Training and evaluation of one network."""
    model = case.model(dtype)
    return problem(case, model=model, dtype=dtype), problem(case, "evaluation", dtype, model=model)


def directions(d: int, dtype: torch.dtype, count: int = 3) -> list[Tensor]:
    drawn = torch.randn(count, d, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return list(drawn.to(dtype))


def off(value: Tensor | Array | None, expected: Array) -> float:
    """The relative error in the 2-norm."""
    assert value is not None
    got = value.double().numpy() if isinstance(value, Tensor) else value
    assert got.shape == expected.shape
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


class Burst(Exception):
    """What no library raises."""


def bursting(loss: Callable[[Tensor, Tensor], Tensor], at: int) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss that breaks off when it is called for the time `at`, counted from 1."""
    calls = 0

    def burst(z: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Burst
        return loss(z, y)

    return burst
