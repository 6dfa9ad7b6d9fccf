"""Traps of torchattacks: first that the library has each, where that is quick to show, then that it does not get through."""

import copy
import dataclasses
import math

import pytest
import torch
import torchattacks
from attacked_digits import ATTACKS, own_norm, quick, trained
from torch import nn

from robustradar import Threat, Victim
from robustradar.contract.attack import obstacle
from robustradar.errors import Failure
from robustradar.judge import Guarded
from robustradar.numerics import balls

Batch = tuple[nn.Module, torch.Tensor, torch.Tensor]


@pytest.fixture
def digits() -> Batch:
    return trained()


def victim(model: nn.Module, p: float, eps: float, seed: int = 0, bounds: tuple[float, float] | None = (0.0, 1.0)) -> Victim:
    return Victim(model, nn.functional.cross_entropy, p, eps, bounds, torch.Generator().manual_seed(seed))


def judge(name: str, p: float, eps: float) -> Guarded:
    return Guarded(quick(name), name, Threat(p, eps, (0.0, 1.0)), 10, 0)


def test_trap_01_first_success_attacks_return_clean_inputs_and_are_no_source_of_losses(digits: Batch) -> None:
    model, x, y = digits
    pgd = judge("PGD", math.inf, 0.01)(model, x, y)
    for name in ("APGD", "APGDT", "Square", "MultiAttack"):
        unbroken = judge(name, math.inf, 0.01)(model, x, y)
        assert unbroken.correct.all()
        assert torch.equal(unbroken.x, x), name
        assert unbroken.loss.mean() < pgd.loss.mean()
    assert {name for name, attack in ATTACKS.items() if attack.kind == "first_success"} == {
        "APGD", "APGDT", "AutoAttack", "MultiAttack", "OnePixel", "Pixle", "Square",
    }  # fmt: skip
    assert {name for name, attack in ATTACKS.items() if attack.kind == "min_norm"} == {
        "CW", "DeepFool", "EADEN", "EADL1", "FAB", "JSMA", "SparseFool",
    }  # fmt: skip


def test_trap_01_smallest_perturbations_count_only_inside_the_ball(digits: Batch) -> None:
    model, x, y = digits
    far = ATTACKS["FAB"].perturb(victim(model, math.inf, 10.0, bounds=None), x, y)
    needed = balls.norm(far - x, math.inf)
    outcome = judge("DeepFool", 2.0, 0.05)(model, x, y)
    assert outcome.correct.all()
    assert torch.equal(outcome.x, x)
    eps = float(needed.median())
    assert 0 < judge("FAB", math.inf, eps)(model, x, y).correct.sum() < len(x)


def test_trap_02_step_sizes_scale_with_the_ball(digits: Batch) -> None:
    model, x, y = digits
    stuck = (torchattacks.PGD(model, eps=0.3, random_start=False)(x, y) - x).abs().max()
    assert stuck == pytest.approx(10 * 2 / 255, abs=1e-5)
    for name, attack in ATTACKS.items():
        if attack.kind == "max_loss" and math.inf in (attack.norms or ()):
            assert (attack.perturb(victim(model, math.inf, 0.3), x, y) - x).abs().max() == pytest.approx(0.3, abs=1e-5), name


def test_trap_02_steps_that_cannot_reach_the_surface_are_refused(digits: Batch) -> None:
    model, x, y = digits
    message = (
        r"^torchattacks/BIM: got steps=4 and relative_step=0\.2, which reach 0\.8·ε, expected steps·relative_step >= 1\. "
        r"Raise one of them, or leave relative_step out for 2\.5/steps\.$"
    )
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ATTACKS["BIM"], steps=4, relative_step=0.2).perturb(victim(model, math.inf, 0.1), x, y)
    exact = dataclasses.replace(ATTACKS["BIM"], steps=4, relative_step=0.25).perturb(victim(model, math.inf, 0.1), x, y)
    assert (exact - x).abs().max() == pytest.approx(0.1, abs=1e-6)


def test_trap_03_cw_moves_pixels_that_are_exactly_0_or_1(digits: Batch) -> None:
    model, x, y = digits
    x = (x > 0.5).float()
    right = model(x).argmax(1) == y
    x, y = x[right], y[right]
    assert len(x) >= 4
    assert torch.equal(torchattacks.CW(model)(x, y), x)
    broken = model(ATTACKS["CW"].perturb(victim(model, 2.0, 2.0), x, y)).argmax(1) != y
    assert broken.float().mean() >= 0.5


def test_trap_04_inputs_outside_the_box_are_refused_not_clipped(digits: Batch) -> None:
    model, x, y = digits
    normalised = (x - 0.5) * 4
    assert not torch.equal(torchattacks.PGD(model, eps=0)(normalised, y), normalised)
    message = r"^torchattacks/PGD: got inputs from -2 to 2, expected them in \(0\.0, 1\.0\)\. Put the normalisation inside the network\.$"
    with pytest.raises(ValueError, match=message):
        ATTACKS["PGD"].perturb(victim(model, math.inf, 0.1), normalised, y)
    unclipped = ATTACKS["PGD"].perturb(victim(model, math.inf, 0.1, bounds=(-2.0, 2.0)), normalised, y)
    assert (unclipped - normalised).abs().max() <= 0.1 + 1e-6


def test_trap_05_strengths_in_the_wrong_units_are_refused(digits: Batch) -> None:
    model, x, y = digits
    with pytest.raises(
        ValueError, match=r"^torchattacks/FGSM: got ε = 8 in the box \(0\.0, 1\.0\), expected at most 1\. For 8/255, write 8/255\.$"
    ):
        ATTACKS["FGSM"].perturb(victim(model, math.inf, 8.0), x, y)
    negative = r"^torchattacks/FGSM: got ε = -0\.1, expected at least 0\. Give the radius in the data's own units, such as 8/255\.$"
    with pytest.raises(ValueError, match=negative):
        ATTACKS["FGSM"].perturb(victim(model, math.inf, -0.1), x, y)


def test_trap_06_an_exception_leaves_the_model_as_it_was(digits: Batch) -> None:
    model, x, y = copy.deepcopy(digits[0]), *digits[1:]
    model.train()
    model[1].eval()
    with pytest.raises(Failure, match="IndexError"):
        judge("PGD", math.inf, 0.1).perturb(model, x, y + 10)
    assert model.training
    assert not model[1].training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["APGD", "APGDT", "Square", "AutoAttack"])
def test_trap_06_attacks_that_seed_themselves_follow_the_generator(name: str, digits: Batch) -> None:
    model, x, y = digits
    first, again, other = (quick(name).perturb(victim(model, math.inf, 0.3, seed), x, y) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not first.requires_grad


def test_trap_07_its_autoattack_has_ten_iterations_and_says_so() -> None:
    parts = torchattacks.AutoAttack(nn.Linear(2, 2), seed=0)._autoattack.attacks
    assert [getattr(part, "steps", None) for part in parts] == [10, 10, 10, None]
    assert ATTACKS["AutoAttack"].summary == "APGD, APGDT, FAB and Square of 10 iterations each, where the reference AutoAttack has 100."


def test_trap_08_too_few_classes_are_refused_before_the_crash() -> None:
    few = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    x = torch.rand(4, 1, 8, 8)
    with pytest.raises(IndexError):
        torchattacks.APGDT(few, n_classes=3)(x, few(x).argmax(1))
    assert {name: attack.min_classes for name, attack in ATTACKS.items() if attack.min_classes > 2} == {
        "APGDT": 4,
        "AutoAttack": 4,
        "JSMA": 10,
    }
    assert obstacle(ATTACKS["APGDT"], math.inf, (1, 8, 8), 3) == "got 3 classes, expected at least 4"
    assert obstacle(ATTACKS["PGD"], math.inf, (4,), None) == "got regression, expected classes"
    assert obstacle(ATTACKS["Square"], 2.0, (64,), 10) == "got inputs of shape [64], expected images [channels, height, width]"
    assert obstacle(ATTACKS["PGD"], 2.0, (1, 8, 8), 10) == "got norm l2, expected linf"


def test_trap_08_two_classes_suffice_for_the_others() -> None:
    torch.manual_seed(0)
    two = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    x = torch.rand(4, 1, 8, 8)
    y = two(x).argmax(1)
    for name, attack in ATTACKS.items():
        if attack.min_classes == 2:
            Guarded(quick(name), name, Threat(own_norm(attack), 0.1, (0.0, 1.0)), 2, 0)(two, x, y)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_trap_08_channels_last_and_no_grad_do_no_harm(name: str) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    x = torch.rand(2, 3, 8, 8)
    y = plain(x).argmax(1)
    p = own_norm(ATTACKS[name])
    with torch.no_grad():
        found = quick(name).perturb(victim(last, p, 0.1), x.contiguous(memory_format=torch.channels_last), y)
    assert found.shape == x.shape


def test_trap_08_bfloat16_inputs_are_attacked_in_float32(digits: Batch) -> None:
    model, x, y = digits
    half = x.bfloat16()
    found = ATTACKS["PGD"].perturb(victim(model, math.inf, 8 / 255), half, y)
    assert found.dtype == torch.float32
    assert (found - half.float()).abs().max() <= 8 / 255 + 1e-6


class _Saturated(nn.Module):
    """Sure of its answer, with a gradient that is 0."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x)
        return logits.detach().round() + 0 * logits


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_trap_09_gradients_that_vanish_give_no_nan(name: str, digits: Batch) -> None:
    model, x, y = digits
    flat = _Saturated(model).eval()
    assert quick(name).perturb(victim(flat, own_norm(ATTACKS[name]), 0.1), x, y).isfinite().all()
    outcome = judge(name, own_norm(ATTACKS[name]), 0.1)(flat, x, y)
    assert outcome.x.isfinite().all()
    assert outcome.loss.isfinite().all()


def test_trap_10_tpgd_ignores_labels_and_says_so(digits: Batch) -> None:
    model, x, y = digits
    found = [ATTACKS["TPGD"].perturb(victim(model, math.inf, 0.1), x, labels) for labels in (y, (y + 1) % 10)]
    assert torch.equal(*found)
    assert ATTACKS["TPGD"].summary == "PGD on the KL divergence to the clean output (TRADES): ignores the labels."


def test_trap_11_the_attack_is_built_anew_where_the_inputs_are(digits: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    model, x, y = digits
    torchattacks.FGSM(nn.Flatten())
    assert capsys.readouterr().out.startswith("Failed to set device automatically")
    bare = nn.Flatten().eval()
    found = ATTACKS["FGSM"].perturb(victim(bare, math.inf, 0.1), x, y)
    assert found.device == x.device
    assert capsys.readouterr().out == ""
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[-1].weight.neg_()
    swapped = [ATTACKS["FGSM"].perturb(victim(m, math.inf, 0.1), x, y) for m in (model, other)]
    assert not torch.equal(*swapped)


@pytest.mark.parametrize("name", sorted(ATTACKS))
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_trap_11_every_attack_runs_on_its_inputs_device(name: str, device: str) -> None:
    model, x, y = copy.deepcopy(trained()[0]).to(device), *(t.to(device) for t in trained()[1:])
    attack = quick(name)
    generator = torch.Generator(device).manual_seed(0)
    found = attack.perturb(Victim(model, nn.functional.cross_entropy, own_norm(attack), 0.1, (0.0, 1.0), generator), x, y)
    assert found.device == x.device


def test_deepfool_crosses_the_boundary_of_a_linear_network() -> None:
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    x = 0.4 + 0.2 * torch.rand(8, 1, 4, 4)
    z = linear(x).detach()
    y = z.argmax(1)
    distance = (z[:, 0] - z[:, 1]).abs() / (linear[1].weight[0] - linear[1].weight[1]).norm().detach()
    eps = float(distance.max()) * 1.05
    attack = Guarded(ATTACKS["DeepFool"], "DeepFool", Threat(2.0, eps, (0.0, 1.0)), 2, 0)
    assert not attack(linear, x, y).correct.any()
