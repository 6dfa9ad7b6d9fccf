"""Where memory runs out, batches go through in halves and the fit ends where it would have ended."""

import math
from collections.abc import Callable

import pytest
import torch
from small_fits import ADVERSARIAL, CLEAN, STEADY, Fitting, assert_same, images, largest_difference, mlp, normed
from torch import Tensor, nn

from robustradar import Attack, Objective, Recipe, Victim
from robustradar.errors import OutOfMemory
from robustradar.training.train import train


class Narrow(nn.Sequential):
    """Runs out of memory where more than `room` samples need gradients of the weights."""

    room = 1000
    seen: list[int]

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and self.training:
            self.seen.append(len(x))
            if len(x) > self.room:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 1.00 GiB total capacity)")
        return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]


def narrow(room: int) -> nn.Module:
    network = Narrow(*mlp())
    network.room, network.seen = room, []
    return network


class Step(Attack):
    """One step, without chance."""

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(victim.loss(victim.model(x), y).sum(), x)
        return (x.detach() + victim.eps * g.sign()).clamp(0, 1)


@pytest.mark.parametrize("objective", [CLEAN, ADVERSARIAL, Objective(0.5), Objective(1.0, "mart", 2.0)], ids=str)
@pytest.mark.parametrize(("room", "micro"), [(15, 8), (7, 4), (1, 1)])
def test_the_batch_is_halved_until_it_fits_and_the_weights_are_the_same(objective: Objective, room: int, micro: int) -> None:
    step = Step(name="step")
    whole = Fitting(mlp, objective=objective, attack=step).train()
    halved = Fitting(lambda: narrow(room), objective=objective, attack=step).train()
    assert halved.record.flags == (f"micro-batch:{micro}",)
    assert largest_difference(halved.state, whole.state) < 2e-6
    for one, other in zip(halved.record.epochs, whole.record.epochs, strict=True):
        assert one["train_objective_loss"] == pytest.approx(other["train_objective_loss"], rel=1e-5)
        assert one["train_clean_accuracy"] == other["train_clean_accuracy"]


class Late(nn.Sequential):
    """Runs out of memory for more than eight samples once they are through all layers."""

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        if self.training and len(x) > 8:
            raise MemoryError
        return z


@pytest.mark.parametrize("objective", [ADVERSARIAL, Objective(0.5)], ids=str)
def test_nothing_tells_where_in_a_batch_memory_ran_out(objective: Objective) -> None:
    """The attack's chance, dropout's and the statistics of BatchNorm go back to where the batch began."""
    halved = Fitting(lambda: Late(*normed()), objective=objective)
    parts = Fitting(normed, objective=objective)
    loop = parts.loop()
    loop.micro = 8
    assert halved.train().record.flags == ("micro-batch:8",)
    assert_same(halved.train().state, train(loop, parts.guarded(), lambda _: None).state)


def test_it_stays_halved_and_fails_once_a_size() -> None:
    loop = Fitting(lambda: narrow(4)).loop()
    loop.epoch()
    loop.epoch()
    assert isinstance(loop.network, Narrow)
    # 40 samples in batches of 16, 16 and 8: the first fails at 16 and 8
    assert loop.network.seen == [16, 8, *[4] * 20]


def test_the_last_small_batch_is_halved_from_its_own_size() -> None:
    """40 samples in batches of 36 and 4; memory runs out at the end of the first epoch."""
    loop = Fitting(lambda: narrow(36), Recipe(**{**vars(STEADY), "batch": 36})).loop()
    loop.epoch()
    assert not loop.flags
    assert isinstance(loop.network, Narrow)
    loop.network.room = 3
    loop.epoch()
    assert loop.network.seen[2:4] == [36, 18]
    assert loop.flags == ("micro-batch:3",)


@pytest.mark.parametrize(
    ("samples", "batch", "room", "seen"),
    [
        (33, 16, 99, [16, 17]),  # the lone last sample joins its batch
        (33, 16, 16, [16, 17, 6, 6, 5]),  # which then is one too many: parts of 8 at most
        (33, 16, 5, [16, 8, 4, 4, 4, 4, 4, 4, 3, 3, 3]),
        (20, 20, 3, [20, 10, 5, 3, 3, 3, 3, 3, 3, 2]),
        (5, 5, 2, [5, 3, 3, 1, 1, 1, 1, 1]),  # of parts of 2, one would be a single sample
    ],
)
def test_no_part_is_a_single_sample_unless_memory_holds_no_more(samples: int, batch: int, room: int, seen: list[int]) -> None:
    loop = Fitting(lambda: narrow(room), Recipe(**{**vars(STEADY), "batch": batch}), data=images(samples)).loop()
    loop.epoch()
    assert loop.network.seen == seen


def test_batchnorm_trains_where_one_sample_is_left_over() -> None:
    """33 samples in batches of 16: PyTorch refuses to normalise a single row."""
    flat = nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    Fitting(lambda: flat, Recipe(**{**vars(STEADY), "batch": 16}), data=images(33)).train()


LEAST = "out of memory even for a single sample. Use a smaller network, or a device with more memory."


def test_memory_for_not_even_one_sample_is_a_failure_that_does_not_last() -> None:
    with pytest.raises(OutOfMemory) as failure:
        Fitting(lambda: narrow(0)).train()
    assert str(failure.value) == f"architecture test/net: {LEAST}"
    assert not failure.value.lasting


def test_the_optimizers_own_memory_counts_too() -> None:
    loop = Fitting().loop()

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    loop.optimizer.register_step_pre_hook(full)
    with pytest.raises(OutOfMemory) as failure:
        loop.epoch()
    assert failure.value.reason == ("out of memory even for the optimizer's step. Use a smaller network, or a device with more memory.")


class Cramped(nn.Sequential):
    """Runs out of memory where more than `room` samples are evaluated at once, after it has drawn from torch's chance."""

    room = 1000
    seen: list[int]

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            self.seen.append(len(x))
            torch.rand(1)
            if len(x) > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]


def cramped(room: int, inside: Callable[[], nn.Sequential] = normed) -> nn.Module:
    network = Cramped(*inside())
    network.room, network.seen = room, []
    return network


@pytest.mark.parametrize("objective", [CLEAN, Objective(0.5), Objective(1.0, "mart", 2.0)], ids=str)
@pytest.mark.parametrize(("room", "size"), [(15, 8), (5, 4), (1, 1)])
def test_evaluations_are_halved_too_and_find_the_same(objective: Objective, room: int, size: int) -> None:
    """The attack takes one step from the input itself, so that its chance is none."""
    step = Step(name="step")
    whole = Fitting(lambda: cramped(1000, mlp), objective=objective, attack=step).train().record
    halved = Fitting(lambda: cramped(room, mlp), objective=objective, attack=step).train().record
    told = [flag for flag in halved.flags if flag.startswith("small-batches")]
    assert told == [f"small-batches:{size}"]
    for one, other in zip(halved.epochs, whole.epochs, strict=True):
        here, there = ({name: math.nan if value is None else value for name, value in epoch.items()} for epoch in (one, other))
        assert here == pytest.approx(there, rel=1e-5, nan_ok=True)


def test_an_evaluation_that_failed_leaves_no_trace() -> None:
    """The weights are those of a fit that evaluates in small batches from the start, to the bit, dropout's chance included."""
    halved = Fitting(lambda: cramped(5), objective=ADVERSARIAL)
    parts = Fitting(lambda: cramped(5), objective=ADVERSARIAL)
    loop = parts.loop()
    loop.looking, loop.micro = 4, 4
    first = halved.loop()
    first.micro = 4
    one, other = train(first, halved.guarded(), lambda _: None), train(loop, parts.guarded(), lambda _: None)
    assert_same(one.state, other.state)
    assert one.record.epochs == other.record.epochs


def test_evaluations_stay_halved() -> None:
    fitting = Fitting(lambda: cramped(5))
    loop = fitting.loop()
    network = loop.network
    assert isinstance(network, Cramped)
    network.seen.clear()
    train(loop, None, lambda _: None)
    # 24 samples in batches of 16 and 8; two samples before, to count operations
    tried = [n for n in network.seen if n > 2]
    assert tried == [16, 8, *[4] * 18]


def test_an_evaluation_of_single_samples_that_fails_says_so() -> None:
    with pytest.raises(OutOfMemory) as failure:
        Fitting(lambda: cramped(0)).train()
    assert (failure.value.reason, failure.value.lasting) == (LEAST, False)


def test_convex_fits_are_halved_too_and_start_the_pass_anew() -> None:
    class Small(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if torch.is_grad_enabled() and len(x) > 3:
                raise MemoryError
            return super().forward(x)

    recipe = Recipe(name="convex", optimizer="lbfgs", weight_decay=0.1, batch=16)

    def built(kind: type[nn.Linear]) -> nn.Module:
        return nn.Sequential(nn.Flatten(), kind(128, 3))

    halved, whole = (Fitting(lambda kind=kind: built(kind), recipe, data=images()).train() for kind in (Small, nn.Linear))  # type: ignore[misc]
    assert halved.record.flags == ("micro-batch:2",)
    assert largest_difference(halved.state, whole.state) < 1e-7
