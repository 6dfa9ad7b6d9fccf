"""The toolbox's attacks through the host's judge: the contract first, then the library's traps."""

import dataclasses
import functools
import inspect
import math
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from robustradar import Attack, Threat, UsageError, Victim
from robustradar.contract.declaration import parameters
from robustradar.judge import Guarded
from robustradar.numerics import balls
from robustradar_art import robustradar_attacks
from robustradar_art.table import ROWS, Row

evasion = pytest.importorskip("art.attacks.evasion", reason="needs the extra art")

ATTACKS = {attack.name: attack for attack in robustradar_attacks()}
EACH = [(row.name, p) for row in ROWS for p in row.norms]
STRENGTHS = {math.inf: (0.05, 0.2, 0.4), 2.0: (0.4, 1.2, 2.5)}
# Settings that keep the slow ones quick; everything else runs as declared.
QUICK = {
    "AutoProjectedGradientDescent": {"steps": 20},
    "CarliniL2Method": {"binary_search_steps": 7, "steps": 5},
    "ProjectedGradientDescent": {"steps": 10},
}
each = pytest.mark.parametrize(("name", "p"), EACH)
every = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def quick(name: str) -> Attack:
    return dataclasses.replace(ATTACKS[name], **QUICK.get(name, {}))


@functools.cache
def trained() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A small network, and eight digits that it classifies rightly."""
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(digits.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(3):
            for batch in torch.randperm(1400).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
    model.eval()
    right = (model(x[1400:]).argmax(1) == y[1400:]).nonzero().flatten()[:8] + 1400
    return model, x[right], y[right]


def victim(model: nn.Module, p: float, eps: float, bounds: tuple[float, float] | None = (0.0, 1.0), seed: int = 0) -> Victim:
    return Victim(model, nn.functional.cross_entropy, p, eps, bounds, torch.Generator().manual_seed(seed))


def guarded(name: str, p: float, eps: float, classes: int = 10) -> Guarded:
    return Guarded(quick(name), name, Threat(p, eps, (0.0, 1.0)), classes, 0)


# The contract


@every
def test_each_row_fits_its_constructor(row: Row) -> None:
    accepted = inspect.signature(getattr(evasion, row.name)).parameters
    words = [word.partition("=") for word in row.arguments.split()]
    assert {argument for argument, _, _ in words} <= set(accepted)
    sources = {"relative_step" if source == "alpha" else source or argument for argument, _, source in words}
    assert sources - {"eps", "norm"} == {field.name for field in parameters(ATTACKS[row.name])}


def test_declaring_imports_neither_the_toolbox_nor_torch() -> None:
    code = "import sys, robustradar_art as a; a.robustradar_attacks(); print(sorted({'torch', 'numpy', 'art'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "art.attacks", None)
    message = (
        r"^art/CarliniL2Method: got no adversarial-robustness-toolbox, expected it installed\. Run: pip install 'robustradar\[art\]'\.$"
    )
    with pytest.raises(UsageError, match=message):
        guarded("CarliniL2Method", 2.0, 0.1)(*trained())


@each
def test_the_result_lies_in_box_and_ball_and_zero_strength_is_the_identity(name: str, p: float, capfd: pytest.CaptureFixture[str]) -> None:
    model, x, y = trained()
    found = quick(name).perturb(victim(model, p, STRENGTHS[p][1]), x, y)
    assert (found.dtype, found.shape, found.requires_grad) == (torch.float32, x.shape, False)
    assert 0 <= found.min() <= found.max() <= 1
    if ATTACKS[name].kind != "min_norm":
        assert balls.norm(found - x, p).max() <= STRENGTHS[p][1] * (1 + 1e-5)
    assert torch.equal(ATTACKS[name].perturb(victim(model, p, 0.0), x, y), x)
    assert capfd.readouterr() == ("", "")  # no progress bars


@each
def test_strength_grows_with_the_ball_and_breaks_the_network(name: str, p: float) -> None:
    outcomes = []
    for eps in STRENGTHS[p]:
        guard = guarded(name, p, eps)
        outcomes.append(guard(*trained()).correct.sum())
        guard.verify()
    small, middle, large = outcomes
    assert large <= middle + 1  # one of eight samples, for those that draw at random
    assert middle <= small + 1
    assert large <= 2


@every
def test_everything_is_restored_and_nothing_but_the_generator_matters(row: Row) -> None:
    model, x, y = trained()
    p = row.norms[0]
    guard, results = guarded(row.name, p, STRENGTHS[p][1]), []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        guard.reseed()
        results.append(guard.perturb(model, x, y))
        assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert torch.equal(*results)
    assert not any(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_another_seed_starts_elsewhere() -> None:
    model, x, y = trained()
    first, other = (ATTACKS["ProjectedGradientDescent"].perturb(victim(model, 2.0, 0.1, seed=seed), x, y) for seed in (0, 1))
    assert not torch.equal(first, other)


# Oracles: a linear network of two classes


def linear() -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A network, inputs far from the walls and near its boundary, their labels, and the logits' difference per unit of each feature."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
        x = 0.45 + 0.1 * torch.rand(8, 1, 4, 4)
    with torch.no_grad():
        z = model(x)
        model[1].bias[0] += (z[:, 1] - z[:, 0]).min() - 0.05
    return model, x, model(x).argmax(1), (model[1].weight[1] - model[1].weight[0]).detach()


def test_the_smallest_perturbation_of_a_linear_network_is_found() -> None:
    model, x, y, w = linear()
    z = model(x).detach()
    distance = (z[:, 0] - z[:, 1]).abs() / w.norm()
    for strength, broken in ((1.3 * float(distance.max()), True), (0.98 * float(distance.min()), False)):
        outcome = Guarded(ATTACKS["CarliniL2Method"], "CarliniL2Method", Threat(2.0, strength, (0.0, 1.0)), 2, 0)(model, x, y)
        assert (outcome.correct != broken).all()


@pytest.mark.parametrize("name", ["FastGradientMethod", "ProjectedGradientDescent", "MomentumIterativeMethod"])
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
    message = (
        r"^art/CarliniL2Method: got inputs from -2 to 2, expected them in \(0\.0, 1\.0\)\. Put the normalisation inside the network\.$"
    )
    with pytest.raises(ValueError, match=message):
        ATTACKS["CarliniL2Method"].perturb(victim(model, 2.0, 0.1), (x - 0.5) * 4, y)
    message = r"^art/CarliniL2Method: got ε = -0\.1, expected at least 0\. Give the radius in the data's own units, such as 8/255\.$"
    with pytest.raises(ValueError, match=message):
        ATTACKS["CarliniL2Method"].perturb(victim(model, 2.0, -0.1), x, y)


def test_steps_that_cannot_reach_the_surface_are_refused() -> None:
    attack = dataclasses.replace(ATTACKS["BasicIterativeMethod"], steps=4, relative_step=0.2)
    message = (
        r"^art/BasicIterativeMethod: got steps=4 and relative_step=0\.2, which reach 0\.8·ε, expected steps·relative_step >= 1\. "
        r"Raise one of them, or leave relative_step out for 2\.5/steps\.$"
    )
    with pytest.raises(ValueError, match=message):
        attack.perturb(victim(trained()[0], math.inf, 0.1), *trained()[1:])


def test_a_sequential_network_is_called_as_a_whole_so_that_its_hooks_run() -> None:
    model, x, y = trained()
    calls: list[int] = []
    handle = model.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    ATTACKS["FastGradientMethod"].perturb(victim(model, math.inf, 0.1), x, y)
    handle.remove()
    assert sum(calls) >= len(x)


def test_gradients_do_not_depend_on_the_size_of_the_batch() -> None:
    model, x, y = trained()
    whole = ATTACKS["BasicIterativeMethod"].perturb(victim(model, math.inf, 0.05), x, y)
    parts = [ATTACKS["BasicIterativeMethod"].perturb(victim(model, math.inf, 0.05), x[i : i + 2], y[i : i + 2]) for i in range(0, 8, 2)]
    torch.testing.assert_close(whole, torch.cat(parts), atol=1e-4, rtol=0)


class _Sure(nn.Module):
    """Always of the same mind, with a gradient that is 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 5 * nn.functional.one_hot(torch.zeros(len(x), dtype=torch.long), 10).float() + 0 * x.flatten(1).sum(1, keepdim=True)


@each
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_gradients_that_vanish_give_no_nan(name: str, p: float) -> None:
    _, x, _ = trained()
    outcome = guarded(name, p, STRENGTHS[p][0])(_Sure().eval(), x, torch.zeros(8, dtype=torch.long))
    assert outcome.x.isfinite().all()
    assert outcome.correct.all()


@pytest.mark.gpu
@each
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_attack_runs_on_its_inputs_device(name: str, p: float, device: str) -> None:
    model, x, y = (t.to(device) for t in trained())
    lent = Victim(model, nn.functional.cross_entropy, p, 0.1, (0.0, 1.0), torch.Generator(device).manual_seed(0))
    assert quick(name).perturb(lent, x, y).device == x.device
    model.cpu()
