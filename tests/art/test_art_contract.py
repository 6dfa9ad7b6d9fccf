"""The toolbox's attacks through the host's judge: the contract first, then the library's traps."""

import dataclasses
import inspect
import math
import subprocess
import sys
from importlib import metadata

import pytest
import torch
from second_library import assert_every_generator_is_the_victim_s, assert_only_the_generator_matters, linear, trained, victim
from torch import nn

from robustradar import Attack, Threat, UsageError, Victim, host
from robustradar.catalog import Catalog
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
    monkeypatch.setitem(sys.modules, "art.attacks.evasion", None)
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
    guard = guarded(row.name, p, STRENGTHS[p][1])
    assert_only_the_generator_matters(guard, model, x, y)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_global_generator_is_seeded(name: str) -> None:
    assert_every_generator_is_the_victim_s(quick(name), (ATTACKS[name].norms or ())[0])


def test_the_library_s_version_is_part_of_every_key() -> None:
    known = Catalog(host.load(), {})
    for name in ATTACKS:
        assert known.resolve("attack", f"art/{name}", "a").source.endswith(
            f" adversarial-robustness-toolbox {metadata.version('adversarial-robustness-toolbox')}"
        )


def test_another_seed_starts_elsewhere() -> None:
    model, x, y = trained()
    first, other = (ATTACKS["ProjectedGradientDescent"].perturb(victim(model, 2.0, 0.1, seed=seed), x, y) for seed in (0, 1))
    assert not torch.equal(first, other)


# Oracles: a linear network of two classes


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
    message = r"^art/FastGradientMethod: got ε = 8 in the box \(0\.0, 1\.0\), expected at most 1\. For 8/255, write 8/255\.$"
    with pytest.raises(ValueError, match=message):
        ATTACKS["FastGradientMethod"].perturb(victim(model, math.inf, 8.0), x, y)
    assert ATTACKS["FastGradientMethod"].perturb(victim(model, 2.0, 8.0), x, y).isfinite().all()  # as long as the diagonal of 64 pixels


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


@each
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_every_attack_runs_on_its_inputs_device(name: str, p: float, device: str) -> None:
    model, x, y = (t.to(device) for t in trained())
    lent = Victim(model, nn.functional.cross_entropy, p, 0.1, (0.0, 1.0), torch.Generator(device).manual_seed(0))
    assert quick(name).perturb(lent, x, y).device == x.device
    model.cpu()
