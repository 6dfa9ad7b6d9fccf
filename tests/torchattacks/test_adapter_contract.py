"""What every one of the attacks keeps, whatever torchattacks does inside."""

import copy
import dataclasses
import functools
import inspect
import math
import random
import subprocess
import sys
import typing

import numpy as np
import pytest
import torch
import torchattacks
from attacked_digits import ATTACKS, own_norm, quick, trained
from torch import nn

from robustradar import Attack, Attacked, Threat, Victim
from robustradar.catalog import bind
from robustradar.contract.declaration import parameters
from robustradar.errors import UsageError
from robustradar.judge import Guarded
from robustradar.numerics import balls
from robustradar_torchattacks.table import ROWS
from robustradar_torchattacks.wrapper import Member

STRENGTHS = {math.inf: (0.05, 0.15, 0.3), 2.0: (0.4, 1.2, 2.5), 1.0: (2.0, 6.0, 15.0)}
# Controls, and attacks whose own budget is no lp ball: they may break nothing here.
WEAK = {"VANILA", "GN", "OnePixel", "Pixle", "JSMA", "SparseFool"}
every = pytest.mark.parametrize("name", sorted(ATTACKS))


def victim(model: nn.Module, p: float, eps: float, seed: int = 0, bounds: tuple[float, float] | None = (0.0, 1.0)) -> Victim:
    loss = functools.partial(nn.functional.cross_entropy, reduction="none")
    return Victim(model, loss, p, eps, bounds, torch.Generator().manual_seed(seed))


@functools.cache
def judged(name: str, eps: float) -> Attacked:
    model, x, y = trained()
    guarded = Guarded(quick(name), name, Threat(own_norm(quick(name)), eps, (0.0, 1.0)), 10, 0)
    outcome = guarded(model, x, y)
    guarded.verify()
    return outcome


def test_the_declarations_are_what_torchattacks_exports() -> None:
    assert sorted(ATTACKS) == sorted(torchattacks.__all__)
    assert len(ATTACKS) == 39


def test_each_row_fits_its_constructor() -> None:
    for row in ROWS:
        accepted = inspect.signature(getattr(torchattacks, row.name)).parameters
        words = [word.partition("=") for word in row.arguments.split()]
        assert {argument for argument, _, _ in words} <= set(accepted), row.name
        sources = {source or argument for argument, _, source in words}
        given = {"relative_step" if source == "alpha" else source for source in sources} - {"eps", "norm", "seed", "classes"}
        assert given == {field.name for field in parameters(ATTACKS[row.name])}, row.name


def test_defaults_are_the_library_s_where_the_parameter_has_its_name() -> None:
    # Chosen here: ten steps for SPSA, whose one step of 0.01 cannot cross a ball, and smaller forward passes.
    chosen = {("SPSA", "max_batch_size")}
    for name, attack in ATTACKS.items():
        accepted = inspect.signature(getattr(torchattacks, name)).parameters
        for field in parameters(attack):
            if field.name in accepted and (name, field.name) not in chosen:
                assert getattr(attack, field.name) == accepted[field.name].default, (name, field.name)


def test_importing_and_declaring_imports_no_library() -> None:
    code = (
        "import sys, robustradar_torchattacks as plugin; plugin.robustradar_attacks();"
        "print(sorted({'torch', 'torchattacks', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@every
def test_parameters_bind_from_text(name: str) -> None:
    given = {field.name: "3" for field in parameters(ATTACKS[name]) if field.name in ("steps", "restarts", "relative_step")}
    bound = bind(ATTACKS[name], given, name)
    assert all(getattr(bound, parameter) == 3 for parameter in given)
    assert ATTACKS[name].summary.endswith(".")


def test_a_parameter_that_an_attack_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^a: parameter: got 'steps', expected one of nothing: none is declared\.$"):
        bind(ATTACKS["FGSM"], {"steps": "3"}, "a")
    with pytest.raises(UsageError, match=r"^a: parameter 'relative_step': got '-1', expected greater than 0\. Accepted: "):
        bind(ATTACKS["PGD"], {"relative_step": "-1"}, "a")


@every
def test_the_result_is_a_plain_tensor_in_box_and_ball(name: str) -> None:
    model, x, y = trained()
    attack, before = quick(name), x.clone()
    p = own_norm(attack)
    found = attack.perturb(victim(model, p, STRENGTHS[p][1]), x, y)
    assert (found.dtype, found.shape, found.requires_grad) == (torch.float32, x.shape, False)
    assert 0 <= found.min() <= found.max() <= 1
    assert torch.equal(x, before)
    if attack.kind != "min_norm":
        assert balls.norm(found - x, p).max() <= STRENGTHS[p][1] * (1 + 1e-5)


@every
def test_strength_zero_is_the_identity(name: str) -> None:
    model, x, y = trained()
    assert torch.equal(ATTACKS[name].perturb(victim(model, own_norm(ATTACKS[name]), 0.0), x, y), x)


@every
def test_strength_grows_with_the_ball(name: str) -> None:
    small, middle, large = (judged(name, eps) for eps in STRENGTHS[own_norm(ATTACKS[name])])
    for less, more in ((small, middle), (middle, large)):
        assert more.correct.sum() <= less.correct.sum() + 1  # one of eight samples, for those that draw at random
        if ATTACKS[name].kind == "max_loss":
            assert more.loss.mean() >= 0.95 * less.loss.mean()
    if name not in WEAK:
        assert large.correct.float().mean() <= 0.5


@every
def test_everything_is_restored_and_nothing_but_the_generator_matters(name: str) -> None:
    model, x, y = copy.deepcopy(trained()[0]), *trained()[1:]
    model.train()
    model[1].eval()  # a frozen layer
    modes = [module.training for module in model.modules()]
    gradient = torch.ones_like(model[0].weight)
    model[0].weight.grad = gradient
    p = own_norm(quick(name))
    guarded = Guarded(quick(name), name, Threat(p, STRENGTHS[p][1], (0.0, 1.0)), 10, 0)
    results = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        guarded.reseed()
        results.append(guarded.perturb(model, x, y))
        assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert torch.equal(*results)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model[0].weight.grad is gradient
    assert torch.equal(gradient, torch.ones_like(gradient))
    assert all(parameter.grad is None for parameter in list(model.parameters())[1:])


def test_fgsm_is_its_formula() -> None:
    model, x, y = trained()
    z = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(model(z), y), z)
    found = ATTACKS["FGSM"].perturb(victim(model, math.inf, 0.1), x, y)
    torch.testing.assert_close(found, (x + 0.1 * slope.sign()).clamp(0, 1))


@pytest.mark.parametrize("bounds", [(-3.0, 1.0), None])
def test_other_units_and_unbounded_data(bounds: tuple[float, float] | None) -> None:
    model, x, y = trained()
    stretched = nn.Sequential(_Scale(), model).eval()  # data four times as wide, from -3
    found = ATTACKS["FGSM"].perturb(victim(stretched, math.inf, 0.4, bounds=bounds), 4 * x - 3, y)
    reference = ATTACKS["FGSM"].perturb(victim(model, math.inf, 0.1), x, y)
    moved = (found - (4 * x - 3)).abs()
    if bounds is None:
        assert (moved > 0.39).float().mean() > 0.9  # no wall stops it
    else:
        torch.testing.assert_close((found + 3) / 4, reference)


@pytest.mark.parametrize(("name", "argument", "expected"), [("FGSM", "eps", 0.1), ("APGDT", "n_classes", 10)])
def test_what_the_library_is_told(name: str, argument: str, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """ε in the unit box, of data four times as wide; and ten of twelve classes, so that nine targets are tried."""
    told: list[float] = []
    library = getattr(torchattacks, name)

    def spy(model: nn.Module, **arguments: float) -> torchattacks.attack.Attack:
        told.append(arguments[argument])
        return library(model, **arguments)

    monkeypatch.setattr(torchattacks, name, spy)
    _, x, y = trained()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 12)).eval()
    ATTACKS[name].perturb(victim(model, math.inf, 0.4, bounds=(-3.0, 1.0)), 4 * x - 3, y)
    assert told == [pytest.approx(expected)]


class _Scale(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + 3) / 4


def test_noise_keeps_to_every_ball() -> None:
    model, x, y = trained()
    for p in (1.0, 1.5, 2.0, math.inf):
        size = balls.norm(ATTACKS["GN"].perturb(victim(model, p, 0.5), x, y) - x, p)
        assert (size <= 0.5 * (1 + 1e-5)).all()
        assert (size > 0.2).all()


@pytest.mark.parametrize("name", ["APGD", "APGDT", "FAB", "MIFGSM", "MultiAttack", "PGDL2", "UPGD"])
def test_data_that_are_no_images_will_do(name: str) -> None:
    model, x, y = trained()
    flat = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), model).eval()
    p = own_norm(ATTACKS[name])
    eps = STRENGTHS[p][1]
    same = torch.equal(
        ATTACKS[name].perturb(victim(flat, p, eps), x.flatten(1), y), ATTACKS[name].perturb(victim(model, p, eps), x, y).flatten(1)
    )
    assert same


@pytest.mark.parametrize("name", ["TIFGSM", "PIFGSM", "PIFGSMPP"])
def test_attacks_for_three_channels_do_grey_images_too(name: str) -> None:
    model, x, y = trained()
    colour = nn.Sequential(_Mean(), model).eval()
    grey = ATTACKS[name].perturb(victim(model, math.inf, 0.1), x, y)
    three = ATTACKS[name].perturb(victim(colour, math.inf, 0.1), x.repeat(1, 3, 1, 1), y)
    torch.testing.assert_close(three, grey.repeat(1, 3, 1, 1))
    with pytest.raises(ValueError, match=rf"^torchattacks/{name}: got 5 channels, expected 1 or 3\. Use another attack, such as MIFGSM\.$"):
        ATTACKS[name].perturb(victim(model, math.inf, 0.1), x.repeat(1, 5, 1, 1), y)


class _Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1, keepdim=True)


def test_attacks_for_square_images_refuse_others() -> None:
    model, x, y = trained()
    with pytest.raises(
        ValueError, match=r"^torchattacks/Pixle: got images of 4×8, expected square ones\. Use another attack, such as MIFGSM\.$"
    ):
        ATTACKS["Pixle"].perturb(victim(model, math.inf, 0.1), x[:, :, :4], y)


def test_multiattack_takes_over_what_its_members_need() -> None:
    linf = [row.name for row in ROWS if row.norms is not None and (row.kind != "min_norm" or row.name == "FAB")]
    assert sorted(typing.get_args(Member)) == sorted(linf)
    bound = bind(ATTACKS["MultiAttack"], {"members": "APGDT+Square"}, "a")
    assert (bound.norms, bound.images, bound.min_classes) == ((math.inf, 2.0), True, 4)
    assert dataclasses.replace(bound, members=("PGDL2", "APGD")).norms == (2.0,)
    with pytest.raises(UsageError, match=r"^a: parameter 'members': got 'PGD\+PGDL2', expected attacks that share a norm\."):
        bind(ATTACKS["MultiAttack"], {"members": "PGD+PGDL2"}, "a")
    with pytest.raises(UsageError, match=r"^a: parameter 'members': got 'PGD\+CW', expected 'APGD', "):
        bind(ATTACKS["MultiAttack"], {"members": "PGD+CW"}, "a")


def test_multiattack_breaks_what_any_member_breaks() -> None:
    model, x, y = trained()
    broken = [model(_run(ATTACKS[name], model, x, y)).argmax(1) != y for name in ("FGSM", "PGD", "MultiAttack")]
    assert (broken[2] >= broken[0]).all()
    assert broken[2].sum() >= broken[1].sum()


def _run(attack: Attack, model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return attack.perturb(victim(model, math.inf, 0.1), x, y)


def test_lgv_trains_its_copies_and_shows_no_progress_bar(capfd: pytest.CaptureFixture[str]) -> None:
    model, x, y = trained()
    lgv, bim = dataclasses.replace(ATTACKS["LGV"], epochs=2), ATTACKS["BIM"]
    before = copy.deepcopy(model.state_dict())
    assert not torch.equal(_run(lgv, model, x, y), _run(bim, model, x, y))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert capfd.readouterr() == ("", "")
    with pytest.raises(
        ValueError, match=r"^torchattacks/LGV: got a network without parameters, expected one that can be trained further\. Use BIM\.$"
    ):
        _run(lgv, nn.Flatten().eval(), x, y)
