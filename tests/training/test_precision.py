"""Low precision, memory formats, compilation and the statistics of inner attacks: the mathematics stay the same."""

import math
from collections.abc import Callable

import pytest
import torch
from small_fits import ADVERSARIAL, CLEAN, PGD3, STEADY, Fitting, images, largest_difference, mlp, normed
from torch import Tensor, nn

from robustradar import Attack, Objective, Recipe, Threat, Victim
from robustradar.judge import Guarded
from robustradar.training.loss import cross_entropy
from robustradar.training.network import doubled


def recipe(**changes: object) -> Recipe:
    return Recipe(**{**vars(STEADY), **changes})


@pytest.mark.parametrize("objective", [CLEAN, ADVERSARIAL, Objective(1.0, "trades", 2.0)], ids=str)
def test_bfloat16_trains_about_as_float32_does(objective: Objective) -> None:
    full, low = (Fitting(normed, recipe(precision=name, epochs=8), objective).train() for name in ("float32", "bf16"))
    assert all(value.dtype != torch.bfloat16 for value in low.state.values())
    assert largest_difference(full.state, low.state) > 0
    last = [trained.record.epochs[-1]["evaluation_objective_loss"] for trained in (full, low)]
    assert last[1] == pytest.approx(last[0], rel=0.15)
    assert last[1] < low.record.epochs[0]["evaluation_objective_loss"]


class Watch(Attack):
    """PGD, and what it met."""

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        z = victim.model(x)
        self.met.append((z.dtype, victim.loss(z, y).dtype, x.dtype))  # type: ignore[attr-defined]
        return PGD3.perturb(victim, x, y)


def test_under_bfloat16_losses_are_float32_and_adversarial_inputs_are_float32_inside_the_ball() -> None:
    watch = Watch(name="watch")
    met: list[tuple[torch.dtype, ...]] = []
    object.__setattr__(watch, "met", met)
    loop = Fitting(mlp, recipe(precision="bf16"), ADVERSARIAL, threat=Threat(math.inf, 8 / 255, (0.0, 1.0)), attack=watch).loop()
    assert loop.attack is not None
    found: list[tuple[Tensor, Tensor]] = []
    perturb = loop.attack.perturb

    def watched(model: nn.Module, x: Tensor, y: Tensor, *rest: object) -> Tensor:
        found.append((x, perturb(model, x, y)))
        return found[-1][1]

    loop.attack.perturb = watched  # type: ignore[method-assign, assignment]
    tally = loop.epoch()
    assert met == [(torch.bfloat16, torch.float32, torch.float32)] * 3
    for x, x_adv in found:
        assert x_adv.dtype == torch.float32
        assert (x_adv - x).abs().max() <= 8 / 255 * (1 + 1e-6)
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1
    assert {total.dtype for total in tally._sums["adversarial"]} == {torch.float32}
    assert all(p.dtype == torch.float32 for p in loop.network.parameters())


def test_channels_last_is_the_same_within_rounding() -> None:
    plain, last = (Fitting(normed, recipe(channels_last=flag, augment="crop-flip"), ADVERSARIAL).train() for flag in (False, True))
    assert largest_difference(plain.state, last.state) < 1e-3
    loop = Fitting(normed, recipe(channels_last=True)).loop()
    assert loop.network[0].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[index]


def test_channels_last_does_not_matter_to_tables() -> None:
    from small_fits import table

    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).numpy()
    states = [
        Fitting(lambda: nn.Linear(4, 2), recipe(channels_last=flag), data=table(x, (x[:, 0] > 0).astype(int), 2)).train().state
        for flag in (False, True)
    ]
    assert largest_difference(*states) == 0


def test_batch_statistics_change_what_the_inner_attack_finds_and_nothing_else() -> None:
    network = normed().train()
    network(torch.rand(16, 2, 8, 8) * 3)  # so that running statistics are not those of the batch
    x, y = torch.rand(8, 2, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 3
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = {}
    for statistics in ("evaluation", "batch"):
        attack = Guarded(PGD3, "attack", Threat(math.inf, 0.1, (0.0, 1.0)), 3, 0)
        attack.batch_statistics = statistics == "batch"
        found[statistics] = attack.perturb(network, x, y)
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert network.training
        assert network[1].track_running_stats
    assert not torch.equal(found["evaluation"], found["batch"])


def test_a_recipe_asks_for_batch_statistics_while_training_and_never_while_evaluating() -> None:
    fitting = Fitting(normed, recipe(inner_statistics="batch"), ADVERSARIAL)
    training, evaluation = fitting.loop().attack, fitting.guarded()
    assert training is not None
    assert evaluation is not None
    assert training.batch_statistics
    assert not evaluation.batch_statistics
    assert largest_difference(fitting.train().state, Fitting(normed, objective=ADVERSARIAL).train().state) > 0


def test_a_float64_network_is_attacked_in_float64() -> None:
    network = doubled(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
    x, y = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    assert network(x).dtype == torch.float64
    attack = Guarded(PGD3, "attack", Threat(2.0, 0.1, None), 3, 0)
    found = attack(network, x, y)
    attack.verify()
    assert found.x.dtype == found.loss.dtype == torch.float64
    torch.testing.assert_close(found.loss, cross_entropy(network(found.x), y), rtol=1e-15, atol=0)
    assert attack.perturb(network, x, y).dtype == torch.float64
    assert (torch.linalg.vector_norm(found.x - x, 2, 1) <= 0.1 * (1 + 1e-12)).all()


@pytest.mark.gpu
def test_compiled_fits_are_the_same_within_rounding() -> None:
    for objective in (CLEAN, ADVERSARIAL, Objective(0.5), Objective(1.0, "trades", 2.0)):
        plain, compiled = (Fitting(mlp, recipe(compile=m), objective, where="cuda").train() for m in ("no", "default"))
        assert largest_difference(plain.state, compiled.state) < 1e-3
        counts = [(t.record.cost.forward, t.record.cost.backward, t.record.cost.flops) for t in (plain, compiled)]
        assert counts[0] == counts[1]


@pytest.mark.gpu
def test_a_gpu_fits_about_as_the_cpu_does() -> None:
    for changes in ({}, {"channels_last": True, "augment": "crop-flip", "average": 0.9}):
        here, there = (Fitting(mlp, recipe(**changes), ADVERSARIAL, images(), where=w).train() for w in ("cpu", "cuda"))
        ends = [t.record.epochs[-1]["evaluation_clean_loss"] for t in (here, there)]
        assert ends[1] == pytest.approx(ends[0], rel=0.05)
        assert there.record.cost.memory is not None


def strided(side: int) -> Callable[[], nn.Module]:
    """A network whose strided convolution has an image of so many pixels a side."""

    def built() -> nn.Module:
        torch.manual_seed(0)
        layers = [nn.AdaptiveAvgPool2d(side), nn.Conv2d(2, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(16, 3))

    return built


def test_where_bfloat16_garbles_a_gradient_the_fit_is_in_float32_and_says_so() -> None:
    full, low = (Fitting(strided(1), recipe(precision=name)).train() for name in ("float32", "bf16"))
    assert low.record.flags == ("float32:3.weight",)
    assert full.record.flags == ()
    assert largest_difference(full.state, low.state) == 0


def test_a_strided_convolution_of_more_pixels_has_its_true_gradient_in_bfloat16() -> None:
    full, low = (Fitting(strided(2), recipe(precision=name)).train() for name in ("float32", "bf16"))
    assert low.record.flags == ()
    last = [trained.record.epochs[-1]["train_objective_loss"] for trained in (full, low)]
    assert last[1] == pytest.approx(last[0], rel=0.05)
