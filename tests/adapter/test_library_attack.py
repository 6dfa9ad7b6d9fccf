"""What `robustradar.adapter` does around a library's search, with a search whose answer is known."""

import dataclasses
import math
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from robustradar import Attack, Threat, UsageError, Victim
from robustradar.adapter import Library, LibraryAttack, Row, Stage, declared
from robustradar.adapter.unit import UnitBox
from robustradar.contract.declaration import parameters
from robustradar.guard import generators_restored
from robustradar.judge import Guarded

X = torch.tensor([[-1.0, 0.0, 0.75], [-1.0, 0.5, 1.0]])  # in the box (-1, 1)
Y = torch.tensor([0, 1])


@dataclass(frozen=True)
class Searching(LibraryAttack):
    """Does what it is told."""

    steps: int = 10
    relative_step: float | None = None
    does: Callable[[Stage], Tensor] = lambda stage: stage.z + stage.eps

    library = Library("mine", "torch")

    def search(self, stage: Stage) -> Tensor:
        return self.does(stage)


def found(does: Callable[[Stage], Tensor], p: float = math.inf, eps: float = 0.5, seed: int = 0, **facts: Any) -> Tensor:
    bounds, x = facts.pop("bounds", (-1.0, 1.0)), facts.pop("x", X)
    victim = Victim(nn.Flatten(), nn.functional.cross_entropy, p, eps, bounds, torch.Generator().manual_seed(seed))
    return Searching(name="walk", does=does, **facts).perturb(victim, x, Y)


def stage_of(**changes: Any) -> Stage:
    """The stage that a search is given."""
    stages: list[Stage] = []

    def keep(stage: Stage) -> Tensor:
        stages.append(stage)
        return stage.z

    found(keep, **changes)
    return stages[0]


# The unit box


def test_a_search_sees_the_unit_box() -> None:
    stage = stage_of(p=2.0)
    assert torch.equal(stage.z, (X + 1) / 2)
    assert (stage.p, stage.eps, stage.classes) == (2.0, 0.25, 3)
    assert torch.equal(stage.y, Y)
    assert torch.equal(stage.model(stage.z), X)


def test_data_without_a_box_get_one_that_holds_the_ball() -> None:
    stage = stage_of(bounds=None)
    assert (stage.model.low, stage.model.width) == (-1.5, 3.0)
    assert torch.allclose(found(lambda stage: stage.z + stage.eps, bounds=None), X + 0.5)


def test_the_network_answers_in_float32_where_it_is_asked_and_with_contiguous_gradients() -> None:
    x = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()).bfloat16().to(memory_format=torch.channels_last).eval()
    shown = UnitBox(nn.Sequential(_Half(), model), x, (0.0, 1.0))
    z = shown.enter(x).requires_grad_()
    logits = shown(z)
    (gradient,) = torch.autograd.grad(logits.sum(), z)
    assert logits.dtype == gradient.dtype == torch.float32
    assert z.is_contiguous()
    assert gradient.is_contiguous()


class _Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.bfloat16()


def test_a_library_can_neither_move_nor_train_what_it_is_lent_but_sees_a_device() -> None:
    model = nn.Linear(3, 2).eval()
    shown = UnitBox(model, X, (-1.0, 1.0))
    shown.train().double()
    assert not model.training
    assert model.weight.dtype == torch.float32
    assert [(parameter.numel(), parameter.device, parameter.requires_grad) for parameter in shown.parameters()] == [(0, X.device, False)]


# What comes back


def test_the_outcome_is_brought_into_box_and_ball() -> None:
    inside = found(lambda stage: stage.z + 10)
    assert torch.equal(inside, torch.tensor([[-0.5, 0.5, 1.0], [-0.5, 1.0, 1.0]]))
    round_ = found(lambda stage: stage.z + 10, p=2.0, bounds=None)
    torch.testing.assert_close((round_ - X).norm(dim=1), torch.full((2,), 0.5))


def test_a_smallest_perturbation_is_brought_into_the_box_alone() -> None:
    assert torch.equal(found(lambda stage: stage.z + 10, kind="min_norm"), torch.ones(2, 3))


@pytest.mark.parametrize("nothing", [math.nan, math.inf])
def test_where_nothing_was_found_the_input_comes_back(nothing: float) -> None:
    def first_only(stage: Stage) -> Tensor:
        z = stage.z + stage.eps
        z[1, 0] = nothing
        return z

    x = torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    outcome = found(first_only, x=x)
    assert torch.equal(outcome[1], x[1])
    torch.testing.assert_close(outcome[0], x[0] + 0.5)


def test_a_subclass_may_lengthen_the_perturbation() -> None:
    class Longer(Searching):
        stretch = 2.0  # type: ignore[assignment]

    victim = Victim(nn.Flatten(), nn.functional.cross_entropy, 2.0, 0.5, None, torch.Generator())
    moved = Longer(name="longer", kind="min_norm", does=lambda stage: stage.z + 0.125).perturb(victim, X, Y)
    torch.testing.assert_close(moved, X + 2 * 0.125 * 3)


def test_strength_zero_is_the_identity_without_a_search() -> None:
    assert torch.equal(found(lambda stage: stage.z / 0, eps=0.0), X)


def test_gradients_can_be_taken_and_the_library_s_deprecations_are_its_own() -> None:
    def differentiating(stage: Stage) -> Tensor:
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        z = stage.z.clone().requires_grad_()
        (slope,) = torch.autograd.grad(stage.model(z).sum(), z)
        return z + stage.eps * slope.sign()

    with torch.no_grad():
        outcome = found(differentiating)
    assert torch.equal(outcome, (X + 0.5).clamp(max=1))
    assert not outcome.requires_grad


# Chance


def test_every_generator_follows_the_victim_s() -> None:
    drawn: list[tuple[float, ...]] = []

    def drawing(stage: Stage) -> Tensor:
        drawn.append((random.random(), np.random.rand(), float(torch.rand(())), stage.seed))
        return stage.z

    with generators_restored():
        for ambient, seed in ((1, 0), (2, 0), (2, 1)):
            random.seed(ambient)
            np.random.seed(ambient)
            torch.manual_seed(ambient)
            found(drawing, seed=seed)
    first, again, other = drawn
    assert first == again
    assert all(one != another for one, another in zip(again, other, strict=True))


def test_the_host_restores_the_generators() -> None:
    guard = Guarded(Searching(name="walk", does=lambda stage: torch.rand_like(stage.z)), "walk", Threat(math.inf, 0.5, (-1.0, 1.0)), 3, 0)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    guard.perturb(nn.Flatten(), X, Y)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": -0.5}, r"^mine/walk: got ε = -0\.5, expected at least 0\. Give the radius in the data's own units, such as 8/255\.$"),
        ({"eps": math.nan}, r"^mine/walk: got ε = nan, expected at least 0\. Give the radius in the data's own units, such as 8/255\.$"),
        ({"eps": 8.0}, r"^mine/walk: got ε = 8 in the box \(-1\.0, 1\.0\), expected at most 2\. For 8/255, write 8/255\.$"),
        (
            {"bounds": (0.0, 1.0)},
            r"^mine/walk: got inputs from -1 to 1, expected them in \(0\.0, 1\.0\)\. Put the normalisation inside the network\.$",
        ),
    ],
)
def test_wrong_units_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        found(lambda stage: stage.z, **changes)


def test_a_ball_as_wide_as_the_box_and_any_round_one_are_not() -> None:
    assert torch.equal(found(lambda stage: stage.z + stage.eps, eps=2.0), torch.ones(2, 3))
    assert found(lambda stage: stage.z + stage.eps, p=2.0, eps=8.0).isfinite().all()


def test_a_step_size_is_a_share_of_eps_that_reaches_the_surface() -> None:
    assert Searching(name="walk", steps=5).share() == 0.5
    assert Searching(name="walk", steps=5, relative_step=0.2).share() == 0.2
    message = (
        r"^mine/walk: got steps=4 and relative_step=0\.2, which reach 0\.8·ε, expected steps·relative_step >= 1\. "
        r"Raise one of them, or leave relative_step out for 2\.5/steps\.$"
    )
    with pytest.raises(ValueError, match=message):
        Searching(name="walk", steps=4, relative_step=0.2).share()


# The library


class _Absent(Searching):
    library = Library("mine", "no-such-library", "robustradar-mine[extra]")


def test_the_library_s_version_is_its_content() -> None:
    assert Searching(name="walk").content() == f"torch {metadata.version('torch')}"


def test_a_library_that_is_missing_is_told_with_what_to_install() -> None:
    message = r"^mine/walk: got no no-such-library, expected it installed\. Run: pip install 'robustradar-mine\[extra\]'\.$"
    with pytest.raises(UsageError, match=message):
        _Absent(name="walk").content()
    with pytest.raises(UsageError, match=message):
        _Absent(name="walk").imported("no_such_library.attacks")
    assert Searching(name="walk").imported("torch.nn") is nn


def test_the_adapter_is_light() -> None:
    code = "import sys, robustradar.adapter; print(sorted({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# Tables


def test_arguments_are_named_by_their_sources() -> None:
    attack = Searching(name="walk", steps=5)
    words = "p eps_step=alpha rel=share n_iter=steps seed classes eps"
    assert attack.arguments(words, stage_of()) == {
        "p": math.inf, "eps_step": 0.125, "rel": 0.5, "n_iter": 5, "seed": stage_of().seed, "classes": 3, "eps": 0.25,
    }  # fmt: skip


class Mine(LibraryAttack):
    """For rows."""

    library = Library("mine", "torch")

    def search(self, stage: Stage) -> Tensor:
        return stage.z


KNOWN = {
    "steps": Annotated[int, Field(ge=1, description="Iterations.")],
    "relative_step": Annotated[float | None, Field(gt=0, description="Step size.")],
}


@pytest.mark.parametrize(
    ("arguments", "defaults", "expected"),
    [
        ("eps", {}, {}),
        ("n_iter=steps", {"steps": 7}, {"steps": 7}),
        ("lr=alpha steps", {"steps": 7}, {"steps": 7, "relative_step": None}),
        ("rel=share", {"relative_step": 1.25}, {"relative_step": 1.25}),
    ],
)
def test_a_row_becomes_a_declaration_with_just_its_parameters(arguments: str, defaults: dict[str, Any], expected: dict[str, Any]) -> None:
    row = Row("Some", "min_norm", (2.0,), "Does this.", arguments, defaults, min_classes=4, images=True)
    attack = declared(Mine, row, KNOWN)
    assert {field.name: getattr(attack, field.name) for field in parameters(attack)} == expected
    assert (attack.name, attack.kind, attack.norms, attack.min_classes, attack.images) == ("Some", "min_norm", (2.0,), 4, True)
    assert (attack.summary, attack.identifier, type(attack).__module__) == ("Does this.", "mine/Some", __name__)
    assert vars(type(attack))["row"] is row
    assert isinstance(attack, Attack)
    with pytest.raises(dataclasses.FrozenInstanceError):
        attack.name = "Other"  # type: ignore[misc]
