"""Every flag has a sinner that is caught for it, and attacks that work on networks that are trained as usual are left alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from robustradar import Attack, Split, Threat, Victim, fixed, trust
from robustradar.errors import Failure, OutOfMemory
from robustradar.judge import Guarded
from robustradar.report.flag import FAILED_ATTACK, MEANING, meaning
from robustradar.training.device import DeviceBatches
from robustradar.training.loss import cross_entropy
from robustradar_native import attack as native
from robustradar_papers.plain import cnn, mlp

BOX = (0.0, 1.0)
LINF = Threat(math.inf, 0.1, BOX)
PGD = native.PGD(name="pgd", min_classes=0)
SQUARE = replace(next(a for a in native.attacks() if a.name == "square"), queries=100)  # type: ignore[call-arg]
DLR = native.APGDDLR(name="apgd-dlr", kind="first_success", steps=10)
Batch = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def digits() -> tuple[Batch, Batch]:
    """Digits to train on, and a head of 64 others."""
    found = load_digits()
    x, y = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16, torch.tensor(found.target)
    return (x[:1437], y[:1437]), (x[1437:][::5][: trust.HEAD], y[1437:][::5][: trust.HEAD])


@pytest.fixture(scope="module")
def head(digits: tuple[Batch, Batch]) -> Batch:
    return digits[1]


def fit(network: nn.Module, x: Tensor, y: Tensor, adversary: Guarded | None = None, epochs: int = 8) -> nn.Module:
    """The network, trained."""
    steps = epochs * (len(x) // 64)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    annealed = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps + 1)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x))[: 64 * (len(x) // 64)].split(64):
            inputs = adversary.perturb(network, x[chosen], y[chosen]) if adversary else x[chosen]
            optimizer.zero_grad()
            cross_entropy(network(inputs), y[chosen]).mean().backward()
            optimizer.step()
            annealed.step()
    return network.eval()


@pytest.fixture(scope="module")
def network(digits: tuple[Batch, Batch]) -> nn.Module:
    torch.manual_seed(0)
    return fit(mlp((1, 8, 8), 10, [32], "relu"), *digits[0])


def flagged(model: nn.Module, head: Batch, attack: Attack = PGD, threat: Threat = LINF, **rest: Any) -> tuple[str, ...]:
    return trust.flags(Guarded(attack, "attack zoo/odd", threat, rest.pop("classes", 10), 0), model, *head, **rest)


# False alarms


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("adversarial", [False, True])
def test_attacks_that_work_are_not_flagged(digits: tuple[Batch, Batch], seed: int, adversarial: bool) -> None:
    torch.manual_seed(seed)
    inner = Guarded(replace(PGD, steps=4), "attack", LINF, 10, 1) if adversarial else None
    fresh = mlp((1, 8, 8), 10, [64], "relu") if adversarial else cnn((1, 8, 8), 10, [4, 8], "relu")
    model = fit(fresh, *digits[0], inner, epochs=4)
    for threat in (LINF.at(0.025), LINF, LINF.at(0.3), Threat(2.0, 0.5, BOX)):
        assert flagged(model, digits[1], threat=threat) == (), threat
    assert flagged(model, digits[1], native.FGM(name="fgm"), LINF.at(0.0125)) == ()
    assert flagged(model, digits[1], DLR) == ()


def test_regression_is_not_flagged() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 5)
    y = x.sum(1, keepdim=True) + 0.1 * torch.randn(64, 1)
    assert flagged(nn.Linear(5, 1), (x, y), threat=Threat(2.0, 0.1, None), classes=None) == ()


def test_data_without_a_box_count_as_unlimited_where_any_input_can_become_any_other() -> None:
    torch.manual_seed(0)
    y = torch.arange(64) % 2
    x = torch.randn(64, 5) + 3.0 * y[:, None]
    assert flagged(fit(nn.Linear(5, 2), x, y, epochs=100), (x, y), threat=Threat(2.0, 0.01, None), classes=2) == ()


def test_strength_zero_has_nothing_to_be_trusted(network: nn.Module, head: Batch) -> None:
    assert flagged(nn.Sequential(network, nn.Softmax(1)), head, threat=LINF.at(0)) == ()


# Networks


class Scaled(nn.Module):
    """Outputs times a number: large ones saturate the softmax, whose gradients underflow to exactly 0 where the answer is right."""

    def __init__(self, inside: nn.Module, factor: float) -> None:
        super().__init__()
        self.inside, self.factor = inside, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.inside(x)  # type: ignore[no-any-return]


class Stairs(nn.Module):
    """Inputs in eight levels: true to the network inside, with gradients that are 0 everywhere."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return self.inside((8 * x).round() / 8)  # type: ignore[no-any-return]


class Severed(Stairs):
    """No graph at all."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.inside(x)  # type: ignore[no-any-return]


class Noisy(Stairs):
    """Dropout that stays on."""

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(nn.functional.dropout(x, 0.1, training=True))  # type: ignore[no-any-return]


def test_saturated_networks_have_zero_gradients(network: nn.Module, head: Batch) -> None:
    (first, *_) = flagged(Scaled(network, 1e4), head)
    name, _, share = first.partition(":")
    right = (network(head[0]).argmax(1) == head[1]).float().mean().item()
    assert name == "zero-gradients"
    assert float(share.removesuffix("%")) == pytest.approx(100 * right, abs=8)


@pytest.mark.parametrize("masked", [Stairs, Severed])
def test_masked_gradients_are_seen_through(masked: type[Stairs], network: nn.Module, head: Batch) -> None:
    found = flagged(masked(network), head, Walk())
    assert found == ("zero-gradients:100%", "black-box-beats-white-box", "unbounded-fails", "flat-in-eps")


def test_blind_search_breaks_what_pgd_on_stairs_does_not(network: nn.Module, head: Batch) -> None:
    assert "black-box-beats-white-box" in flagged(Stairs(network), head, threat=LINF.at(0.25))


def test_an_attack_without_gradients_is_not_fooled_by_stairs(network: nn.Module, head: Batch) -> None:
    assert flagged(Stairs(network), head, SQUARE) == ("zero-gradients:100%",)


def test_dropout_that_stays_on_is_random_output(network: nn.Module, head: Batch) -> None:
    before = torch.get_rng_state()
    found = flagged(Noisy(network), head)
    assert "random-output" in found
    assert flagged(Noisy(network), head) == found
    assert torch.equal(torch.get_rng_state(), before)


def test_probabilities_are_softmax_output(network: nn.Module, head: Batch) -> None:
    assert "softmax-output" in flagged(nn.Sequential(network, nn.Softmax(1)), head)


# Attacks


@dataclass(frozen=True)
class Walk(Attack):
    """Signed steps of a length that knows no strength, as a fixed alpha takes; without gradients it stands still."""

    name: str = fixed("walk")
    length: float = 0.02
    count: int = 3

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        point = x
        for _ in range(self.count):
            point = (point + self.length * trust.slope(victim.model, victim.loss, point, y).sign()).clamp(*(victim.bounds or BOX))
            point = x + (point - x).clamp(-victim.eps, victim.eps)
        return point


@dataclass(frozen=True)
class Scripted(Attack):
    """Does what the test says, with steps."""

    name: str = fixed("scripted")
    action: Callable[[Victim, Tensor, int], Tensor] = fixed()
    steps: int = 10

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        return self.action(victim, x, self.steps)


def test_a_fixed_step_size_is_flat_in_eps_and_beaten_by_one_step(network: nn.Module, head: Batch) -> None:
    assert flagged(network, head, Walk(), LINF.at(0.2)) == (
        "one-step-beats-many",
        "black-box-beats-white-box",
        "unbounded-fails",
        "flat-in-eps",
    )


def test_a_fixed_step_size_that_reaches_the_ball_is_fine_until_it_does_not(network: nn.Module, head: Batch) -> None:
    assert flagged(network, head, Walk(), LINF.at(0.06)) == ("unbounded-fails",)


def test_too_few_steps_are_still_rising(network: nn.Module, head: Batch) -> None:
    found = flagged(network, head, replace(PGD, steps=3, relative_step=0.1, random_start=False))
    assert {"one-step-beats-many", "still-rising"} <= set(found)
    assert "flat-in-eps" not in found


def test_an_attack_after_wrong_answers_is_judged_by_what_it_breaks(network: nn.Module, head: Batch) -> None:
    weak = Walk(name="weak", length=0.001, kind="first_success")
    assert flagged(network, head, weak, LINF.at(0.2)) == ("one-step-beats-many", "black-box-beats-white-box")


def test_noise_is_no_attack(network: nn.Module, head: Batch) -> None:
    noise = Scripted(action=lambda victim, x, _: x + victim.eps * (torch.rand(x.shape, generator=victim.generator) - 0.5))
    assert {"one-step-beats-many", "black-box-beats-white-box", "unbounded-fails"} <= set(flagged(network, head, noise))


def test_what_is_broken_everywhere_is_not_flat(network: nn.Module, head: Batch) -> None:
    assert flagged(nn.Sequential(network, nn.Softmax(1)), head, threat=LINF.at(0.9)) == ("softmax-output",)


# Training


def test_an_accuracy_that_only_the_inner_attack_finds_is_catastrophic_overfitting(network: nn.Module, head: Batch) -> None:
    weak = LINF.at(0.3)
    assert flagged(network, head, threat=weak, inner=0.8) == ("catastrophic-overfitting",)
    assert flagged(network, head, threat=weak, inner=0.05) == ()
    assert flagged(network, head, threat=LINF.at(0.01), inner=0.95) == ()


# Failures


def test_a_check_that_the_attack_does_not_survive_says_so(network: nn.Module, head: Batch) -> None:
    def act(victim: Victim, x: Tensor, steps: int) -> Tensor:
        if steps > 10 or victim.eps > 0.5:
            raise IndexError("too far")
        return PGD.perturb(victim, x, head[1])

    found = flagged(network, head, Scripted(action=act))
    assert found == ("unchecked:unbounded-fails", "unchecked:still-rising")


def test_a_network_that_cannot_be_differentiated_is_unchecked(network: nn.Module, head: Batch) -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            raise RuntimeError("no derivative")

    class Opaque(Stairs):
        def forward(self, x: Tensor) -> Tensor:
            return self.inside(Once.apply(x))  # type: ignore[no-any-return]

    assert flagged(Opaque(network), head, SQUARE) == ("unchecked:zero-gradients", "unchecked:one-step-beats-many")


def test_memory_that_runs_out_is_no_verdict(network: nn.Module, head: Batch) -> None:
    def act(victim: Victim, x: Tensor, steps: int) -> Tensor:
        raise MemoryError

    with pytest.raises(OutOfMemory, match="out of memory") as caught:
        flagged(network, head, Scripted(action=act))
    assert isinstance(caught.value, Failure)


# In a run


def flags_of(lab: Any, metrics: tuple[str, ...], column: str, **changes: Any) -> tuple[str, ...]:
    found, _ = lab.run(("menagerie/linear",), metrics, **changes)
    return found[f"linear {column}"].flags  # type: ignore[no-any-return]


def test_flags_travel_with_every_score_that_used_the_attack_and_no_other(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def fake(guarded: Guarded, model: nn.Module, x: Tensor, y: Tensor, inner: float | None) -> tuple[str, ...]:
        asked.append((str(guarded.threat), len(x)))
        assert inner is not None
        return ("still-rising",)

    monkeypatch.setattr(trust, "flags", fake)
    found, _ = lab.run(("menagerie/linear",), ("accuracy", "attacked", "attacked:attack=menagerie/sign", "size"))
    assert "still-rising" in found["linear attacked_loss"].flags
    assert "still-rising" not in found["linear accuracy"].flags + found["linear size"].flags
    assert asked == [("linf 0.05", 32)]
    assert "still-rising" in flags_of(lab, ("attacked",), "attacked_loss")  # from the store
    assert len(asked) == 1


def test_a_run_flags_a_fooled_attack(lab: Any) -> None:
    assert flags_of(lab, ("attacked",), "attacked_loss") == ("selected-on-evaluation",)
    assert "unbounded-fails" in flags_of(lab, ("attacked:attack=menagerie/timid",), "attacked_loss")


@pytest.mark.parametrize("inner", ["", ":inner=menagerie/beyond"])
def test_a_score_of_a_network_that_an_attack_trained_is_as_trusted_as_the_attack(
    lab: Any, monkeypatch: pytest.MonkeyPatch, inner: str
) -> None:
    """Though the metric attacks nothing. An attack for training alone, which leaves the ball, is stood for by the study's."""
    asked: list[str] = []

    def fake(guarded: Guarded, *_: Any) -> tuple[str, ...]:
        asked.append(guarded.attack.name)
        return ("zero-gradients:100%",)

    monkeypatch.setattr(trust, "flags", fake)
    assert "zero-gradients:100%" in flags_of(lab, (f"hardened{inner}",), "hardened")
    assert asked == ["sign"]


def test_samples_are_spread_over_a_split_that_may_be_sorted() -> None:
    x = np.arange(10, dtype=np.float32)[:, None]
    batches = DeviceBatches(Split(x, np.arange(10)), torch.device("cpu"), 4, 10)
    assert batches.spread(4)[1].tolist() == [0, 2, 5, 7]
    assert batches.spread(10)[1].tolist() == batches.spread(64)[1].tolist() == list(range(10))


@pytest.mark.parametrize("flag", ["zero-gradients:12%", "unchecked:still-rising", "flat-in-eps"])
def test_flags_with_values_are_explained_by_their_stem(flag: str) -> None:
    assert meaning(flag) == f"{flag}: {MEANING[flag.partition(':')[0]]}"


def test_every_check_is_explained(network: nn.Module, head: Batch) -> None:
    checks = trust.Trial(Guarded(PGD, "attack", LINF, 10, 0), network, *head, 0.5).checks()
    assert len(checks) == 9
    assert {*FAILED_ATTACK} < {*checks}
    assert all(len(MEANING[name]) > 30 for name in checks)
