"""Foolbox's attacks through the host's judge: the contract first, then the library's traps."""

import dataclasses
import functools
import inspect
import math
import subprocess
import sys
from importlib import metadata

import pytest
import torch
from second_library import assert_every_generator_is_the_victim_s, assert_only_the_generator_matters, linear, trained, victim
from torch import nn

from robustradar import Attack, Attacked, Threat, UsageError, Victim, host
from robustradar.catalog import Catalog
from robustradar.contract.declaration import parameters
from robustradar.errors import Failure
from robustradar.judge import Guarded
from robustradar.numerics import balls
from robustradar_foolbox import robustradar_attacks
from robustradar_foolbox.table import ROWS, Row

foolbox = pytest.importorskip("foolbox.attacks", reason="needs the extra foolbox")

ATTACKS = {attack.name: attack for attack in robustradar_attacks()}
EACH = [(row.name, p) for row in ROWS for p in row.classes]
STRENGTHS = {math.inf: (0.05, 0.15, 0.3), 2.0: (0.4, 1.2, 2.5), 1.0: (2.0, 6.0, 15.0)}
# Settings that keep the slow ones quick; everything else runs as declared.
QUICK = {
    "CarliniWagner": {"binary_search_steps": 5, "steps": 20, "stepsize": 0.05},
    "DDN": {"steps": 30},
    "DeepFool": {"steps": 10, "candidates": 4},
    "EAD": {"binary_search_steps": 5, "steps": 20, "stepsize": 0.05},
    "ProjectedGradientDescent": {"steps": 10},
}
each = pytest.mark.parametrize(("name", "p"), EACH)


def quick(name: str) -> Attack:
    return dataclasses.replace(ATTACKS[name], **QUICK.get(name, {}))


def guarded(name: str, p: float, eps: float, classes: int = 10) -> Guarded:
    return Guarded(quick(name), name, Threat(p, eps, (0.0, 1.0)), classes, 0)


@functools.cache
def judged(name: str, p: float, eps: float) -> Attacked:
    guard = guarded(name, p, eps)
    outcome = guard(*trained())
    guard.verify()
    return outcome


# The contract


@each
def test_each_row_fits_its_classes(name: str, p: float) -> None:
    (row,) = [row for row in ROWS if row.name == name]
    accepted = inspect.signature(getattr(foolbox, row.classes[p])).parameters
    words = [word.partition("=") for word in row.arguments.split()]
    assert {argument for argument, _, _ in words} <= set(accepted)
    sources = {"relative_step" if source == "share" else source or argument for argument, _, source in words}
    assert sources == {field.name for field in parameters(ATTACKS[name])}
    assert issubclass(getattr(foolbox, row.classes[p]), foolbox.base.MinimizationAttack) == (row.kind == "min_norm")


def test_declaring_imports_neither_foolbox_nor_torch() -> None:
    code = "import sys, robustradar_foolbox as f; f.robustradar_attacks(); print(sorted({'torch', 'numpy', 'foolbox'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "foolbox", None)
    message = r"^foolbox/DDN: got no foolbox, expected it installed\. Run: pip install 'robustradar\[foolbox\]'\.$"
    with pytest.raises(UsageError, match=message):
        guarded("DDN", 2.0, 0.1)(*trained())


@each
def test_the_result_lies_in_box_and_ball_and_zero_strength_is_the_identity(name: str, p: float) -> None:
    model, x, y = trained()
    found = quick(name).perturb(victim(model, p, STRENGTHS[p][1]), x, y)
    assert (found.dtype, found.shape, found.requires_grad) == (torch.float32, x.shape, False)
    assert 0 <= found.min() <= found.max() <= 1
    if ATTACKS[name].kind == "max_loss":
        assert balls.norm(found - x, p).max() <= STRENGTHS[p][1] * (1 + 1e-5)
    assert torch.equal(ATTACKS[name].perturb(victim(model, p, 0.0), x, y), x)


@each
def test_strength_grows_with_the_ball_and_breaks_the_network(name: str, p: float) -> None:
    small, middle, large = (judged(name, p, eps) for eps in STRENGTHS[p])
    assert large.correct.sum() <= middle.correct.sum() <= small.correct.sum()
    assert large.correct.float().mean() <= 0.25


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_everything_is_restored_and_nothing_but_the_generator_matters(row: Row) -> None:
    model, x, y = trained()
    p = next(iter(row.classes))
    guard = guarded(row.name, p, STRENGTHS[p][0])
    assert_only_the_generator_matters(guard, model, x, y)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_global_generator_is_seeded(name: str) -> None:
    assert_every_generator_is_the_victim_s(quick(name), (ATTACKS[name].norms or ())[0])


def test_the_library_s_version_is_part_of_every_key() -> None:
    known = Catalog(host.load(), {})
    for name in ATTACKS:
        assert known.resolve("attack", f"foolbox/{name}", "a").source.endswith(f" foolbox {metadata.version('foolbox')}")


def test_another_seed_starts_elsewhere() -> None:
    model, x, y = trained()
    first, other = (ATTACKS["ProjectedGradientDescent"].perturb(victim(model, 2.0, 0.1, seed=seed), x, y) for seed in (0, 1))
    assert not torch.equal(first, other)


# Oracles: a linear network of two classes


@pytest.mark.parametrize(("name", "p"), [pair for pair in EACH if ATTACKS[pair[0]].kind == "min_norm"])
def test_the_smallest_perturbation_of_a_linear_network_is_found(name: str, p: float) -> None:
    model, x, y, w = linear()
    dual = {math.inf: 1.0, 2.0: 2.0, 1.0: math.inf}[p]
    z = model(x).detach()
    distance = (z[:, 0] - z[:, 1]).abs() / torch.linalg.vector_norm(w, dual)
    eps = float(distance.max())
    for strength, broken in ((1.3 * eps, True), (0.98 * float(distance.min()), False)):
        outcome = Guarded(ATTACKS[name], name, Threat(p, strength, (0.0, 1.0)), 2, 0)(model, x, y)
        assert (outcome.correct != broken).all()


@pytest.mark.parametrize("name", ["FastGradient", "BasicIterative", "ProjectedGradientDescent", "MomentumIterative"])
@pytest.mark.parametrize("p", [math.inf, 2.0])
def test_the_worst_loss_of_a_linear_network_is_found(name: str, p: float) -> None:
    model, x, y, w = linear()
    eps = 0.02 if math.isinf(p) else 0.1
    signs = (1 - 2 * y.float()).view(-1, 1, 1, 1)
    exact = x + eps * signs * balls.ascent(w[None], p).view(1, 1, 4, 4)
    loss = nn.functional.cross_entropy(model(exact), y, reduction="none")
    torch.testing.assert_close(guarded(name, p, eps, 2)(model, x, y).loss, loss, rtol=2e-3, atol=1e-5)


# The library's traps


def test_inputs_and_strengths_in_the_wrong_units_are_refused() -> None:
    model, x, y = trained()
    message = r"^foolbox/DDN: got inputs from -2 to 2, expected them in \(0\.0, 1\.0\)\. Put the normalisation inside the network\.$"
    with pytest.raises(ValueError, match=message):
        ATTACKS["DDN"].perturb(victim(model, 2.0, 0.1), (x - 0.5) * 4, y)
    message = r"^foolbox/DDN: got ε = -0\.1, expected at least 0\. Give the radius in the data's own units, such as 8/255\.$"
    with pytest.raises(ValueError, match=message):
        ATTACKS["DDN"].perturb(victim(model, 2.0, -0.1), x, y)
    message = r"^foolbox/FastGradient: got ε = 8 in the box \(0\.0, 1\.0\), expected at most 1\. For 8/255, write 8/255\.$"
    with pytest.raises(ValueError, match=message):
        ATTACKS["FastGradient"].perturb(victim(model, math.inf, 8.0), x, y)
    assert ATTACKS["FastGradient"].perturb(victim(model, 2.0, 8.0), x, y).isfinite().all()  # as long as the diagonal of 64 pixels


def test_steps_that_cannot_reach_the_surface_are_refused() -> None:
    attack = dataclasses.replace(ATTACKS["BasicIterative"], steps=4, relative_step=0.2)
    message = (
        r"^foolbox/BasicIterative: got steps=4 and relative_step=0\.2, which reach 0\.8·ε, expected steps·relative_step >= 1\. "
        r"Raise one of them, or leave relative_step out for 2\.5/steps\.$"
    )
    with pytest.raises(ValueError, match=message):
        attack.perturb(victim(trained()[0], math.inf, 0.1), *trained()[1:])


@pytest.mark.parametrize("bounds", [(-2.0, 3.0), None])
def test_other_boxes_scale_with_the_data(bounds: tuple[float, float] | None) -> None:
    model, x, y = trained()
    wide = nn.Sequential(_Shifted(), model).eval()
    plain = ATTACKS["FastGradient"].perturb(victim(model, math.inf, 0.02, None), x, y)
    shifted = ATTACKS["FastGradient"].perturb(victim(wide, math.inf, 0.1, bounds), x * 5 - 2, y)
    if bounds:
        plain = plain.clamp(0, 1)
    torch.testing.assert_close((shifted + 2) / 5, plain, atol=1e-5, rtol=0)


class _Shifted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + 2) / 5


@pytest.mark.parametrize("name", ["CarliniWagner", "EAD"])
def test_a_search_that_finds_nothing_returns_the_input_not_a_black_image(name: str) -> None:
    _, x, y = trained()
    sure = _Sure(y).eval()
    raw, _, found = getattr(foolbox, "L2CarliniWagnerAttack" if name == "CarliniWagner" else name + "Attack")(
        binary_search_steps=1, steps=2
    )(__import__("foolbox").PyTorchModel(sure, bounds=(0, 1), device="cpu"), x, y, epsilons=None)
    assert not found.any()
    assert not raw.any()
    assert torch.equal(quick(name).perturb(victim(sure, ATTACKS[name].norms[0], 100.0), x, y), x)  # type: ignore[index]


class _Sure(nn.Module):
    """Right whatever it sees, with a gradient that is 0."""

    def __init__(self, y: torch.Tensor) -> None:
        super().__init__()
        self.y = y

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer = self.y.repeat(len(x) // len(self.y)) if len(x) >= len(self.y) else self.y[: len(x)]
        return nn.functional.one_hot(answer, 10).float() + 0 * x.sum()


@each
def test_gradients_that_vanish_give_no_nan(name: str, p: float) -> None:
    _, x, y = trained()
    outcome = guarded(name, p, STRENGTHS[p][0])(_Sure(y).eval(), x, y)
    assert outcome.x.isfinite().all()
    assert outcome.correct.all()


def test_a_network_s_own_exception_becomes_a_failure() -> None:
    model, x, y = trained()
    with pytest.raises(Failure):
        guarded("ProjectedGradientDescent", 2.0, 0.1).perturb(model, x, y + 10)


@each
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_every_attack_runs_on_its_inputs_device(name: str, p: float, device: str) -> None:
    model, x, y = (t.to(device) for t in trained())
    lent = Victim(model, nn.functional.cross_entropy, p, 0.1, (0.0, 1.0), torch.Generator(device).manual_seed(0))
    assert quick(name).perturb(lent, x, y).device == x.device
    model.cpu()
