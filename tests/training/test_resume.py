"""A fit that is killed again and again ends where an undisturbed one ends."""

import hashlib
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_fits import ADVERSARIAL, CLEAN, STEADY, Fitting, assert_same, images, mlp, normed

from robustradar import Objective, Recipe
from robustradar.errors import StoreError
from robustradar.store import Store
from robustradar.training import train as training
from robustradar.training.train import Checkpoint, Trained


class Killed(BaseException):
    """Nothing catches it."""


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Any:
    return Store(tmp_path / "store").checkpoint("0" * 40)


def interrupted(fitting: Fitting, checkpoint: Checkpoint) -> tuple[Trained, int]:
    """Killed in every process at the second epoch that it ends."""
    processes = 0
    while True:
        processes += 1
        assert processes < 30
        ended = 0

        def told(epoch: int) -> None:
            nonlocal ended
            ended += 1
            if ended == 2:
                raise Killed

        try:
            return fitting.train(told, checkpoint), processes
        except Killed:
            torch.rand(3)  # the next process has another global state
            continue


def recipe(**changes: Any) -> Recipe:
    return Recipe(**{**vars(STEADY), "epochs": 4, **changes})


FITS: dict[str, Callable[[], Fitting]] = {
    "sgd": lambda: Fitting(mlp, recipe()),
    "sgd without momentum": lambda: Fitting(mlp, recipe(momentum=0.0, select="loss")),
    "adamw": lambda: Fitting(normed, recipe(optimizer="adamw", lr=0.01, select="accuracy")),
    "average": lambda: Fitting(normed, recipe(average=0.9)),
    "crop-flip": lambda: Fitting(normed, recipe(augment="crop-flip", channels_last=True)),
    "adversarial": lambda: Fitting(normed, recipe(average=0.5, augment="crop-flip", clip=1.0), ADVERSARIAL),
    "mixture in bf16": lambda: Fitting(normed, recipe(precision="bf16", inner_statistics="batch"), Objective(0.5)),
    "trades": lambda: Fitting(mlp, recipe(optimizer="adamw", lr=0.01), Objective(1.0, "trades", 2.0)),
    "lbfgs": lambda: Fitting(mlp, recipe(optimizer="lbfgs", epochs=3), ADVERSARIAL, images(20)),
}


@pytest.mark.parametrize("name", FITS)
def test_a_fit_killed_in_every_epoch_ends_in_the_same_weights_and_record(name: str, checkpoint: Any) -> None:
    fitting = FITS[name]()
    whole = fitting.train()
    pieces, processes = interrupted(fitting, checkpoint)
    assert processes >= 3
    assert_same(pieces.state, whole.state)
    one, other = vars(pieces.record), vars(whole.record)
    assert {k: v for k, v in one.items() if k != "cost"} == {k: v for k, v in other.items() if k != "cost"}
    # All work but what the kills lost is counted, and nothing twice.
    counted = [{k: v for k, v in vars(r.record.cost).items() if k != "seconds"} for r in (pieces, whole)]
    assert counted[0] == counted[1]


def test_early_stopping_goes_on_where_it_stood(checkpoint: Any) -> None:
    fitting = Fitting(mlp, recipe(epochs=40, patience=2, lr=0.3, select="loss"))
    whole = fitting.train()
    assert len(whole.record.epochs) < 40
    assert len(whole.record.epochs) == whole.record.selected_epoch + 2
    pieces, _ = interrupted(fitting, checkpoint)
    assert_same(pieces.state, whole.state)
    assert pieces.record.epochs == whole.record.epochs


def test_a_fit_that_diverged_goes_on_at_the_tenth(checkpoint: Any) -> None:
    """It neither starts anew at the rate that diverges, nor forgets to say so."""
    calm = Fitting(mlp, recipe(lr=0.05))
    diverging = Fitting(mlp, recipe(lr=0.5))

    def told(epoch: int) -> None:
        if epoch == 3:
            raise Killed

    with pytest.raises(Killed):
        calm.train(told, checkpoint)
    state = checkpoint.read()
    assert state["lr"] == 0.05
    begun: list[int] = []
    trained = diverging.train(begun.append, checkpoint)
    assert begun == [3, 4]
    assert trained.record.flags == ("diverged-once:lr=0.05",)
    assert_same(trained.state, calm.train().state)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "short": lambda content: content[:20],
    "cut": lambda content: content[:-100],
    "flipped": lambda content: content[:500] + bytes([content[500] ^ 1]) + content[501:],
    "noise": lambda content: bytes(range(256)) * 8,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_counts_as_none(damage: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    checkpoint = store.checkpoint("1" * 40)
    checkpoint.write({"key": "a", "x": torch.arange(100)})
    (file,) = (tmp_path / "progress").iterdir()
    whole = file.read_bytes()
    kept = checkpoint.read()
    assert kept is not None
    assert torch.equal(kept["x"], torch.arange(100))
    file.write_bytes(DAMAGES[damage](whole))
    assert checkpoint.read() is None


@pytest.mark.parametrize("foreign", [{"key": "another", "lr": 0.05}, [1, 2], torch.zeros(2)], ids=["fit", "list", "tensor"])
def test_a_checkpoint_of_something_else_is_ignored(foreign: Any, checkpoint: Any) -> None:
    checkpoint.write(foreign)
    fitting = Fitting(mlp, recipe(epochs=1))
    assert_same(fitting.train(checkpoint=checkpoint).state, fitting.train().state)


def test_a_checkpoint_of_another_kind_of_device_is_ignored(checkpoint: Any) -> None:
    """The states of generators differ: chance could not go on."""
    fitting = Fitting(mlp, recipe(), ADVERSARIAL)
    state = fitting.loop().state()
    kept = {"lr": fitting.recipe.lr, "loop": {**state, "attack": torch.zeros(16, dtype=torch.uint8)}, "history": None, "cost": None}
    checkpoint.write({"key": fitting.loop().spec.key, "device": "cuda", **kept})
    assert_same(fitting.train(checkpoint=checkpoint).state, fitting.train().state)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    checkpoint = Store(tmp_path).checkpoint("2" * 40)
    checkpoint.write({})
    (file,) = (tmp_path / "progress").iterdir()
    for content in (pickle.dumps({"key": Bomb(tmp_path / "executed")}, protocol=2), _saved(Bomb(tmp_path / "executed"))):
        file.write_bytes(hashlib.sha256(content).digest() + content)
        assert checkpoint.read() is None
        assert not (tmp_path / "executed").exists()


def _saved(value: Any) -> bytes:
    content = io.BytesIO()
    torch.save({"key": value}, content)
    return content.getvalue()


def test_a_checkpoint_that_cannot_be_written_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Store(tmp_path).checkpoint("3" * 40)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError) as error:
        checkpoint.write({})
    assert str(error.value) == (
        f"store {tmp_path}: a checkpoint could not be written ([Errno 28] No space left on device). What was finished is kept: "
        "make room or mend the permissions, and run the same command again."
    )
    assert list((tmp_path / "progress").iterdir()) == []


def test_without_a_checkpoint_nothing_is_kept() -> None:
    assert_same(Fitting(mlp, recipe()).train().state, Fitting(mlp, recipe()).train().state)
    assert Fitting(mlp, recipe(), CLEAN).train().record.flags == ()


@pytest.mark.parametrize("where", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_an_attacks_chance_goes_on(where: str) -> None:
    """On a device that is named without its number, too."""
    one, other = (Fitting(mlp, recipe(), ADVERSARIAL, where=where).loop() for _ in range(2))
    one.epoch()
    other.restore(one.state())
    x, y = next(iter(one.data.splits["train"]))
    found = []
    for loop in (one, other):
        assert loop.attack is not None
        found.append(loop.attack.perturb(loop.network, x, y))
    assert torch.equal(*found)
