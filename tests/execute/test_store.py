"""The store: whole entries or none, damage found and put away, several processes at once."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustradar.errors import Failure, StoreError
from robustradar.store import Store
from robustradar.values import Cost, Failed, FitRecord, Measured, Outcome, Skipped

KEY = "ab" * 20
OTHER = "cd" * 20
RECORD = FitRecord(
    KEY, {"seed": 0}, ({"epoch": 1, "train_clean_loss": 0.5, "evaluation_adversarial_loss": None},), 1, Cost(8, 4, 0.25), ("odd",)
)
STATE = {"weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(7)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def left_over(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "tmp").iterdir())


def entry(store: Store, kind: str = "fits", key: str = KEY) -> Path:
    return store.root / kind / key[:2] / key


# Both ways


def test_a_fit_comes_back_as_it_went_in(store: Store) -> None:
    assert store.fit(KEY) is None
    assert not store.has_fit(KEY)
    store.save_fit(RECORD, STATE)
    assert store.has_fit(KEY)
    assert store.fit(KEY) == RECORD
    state = store.state(KEY)
    assert state is not None
    assert list(state) == sorted(STATE)
    assert all(torch.equal(state[name], value) and state[name].dtype == value.dtype for name, value in STATE.items())
    assert store.weights(KEY) == entry(store) / "weights.safetensors"
    assert left_over(store) == []


def test_tied_weights_and_slices_are_kept(store: Store) -> None:
    tied = torch.arange(12.0).reshape(3, 4)
    store.save_fit(RECORD, {"a": tied, "b": tied, "c": tied.T, "d": tied[:, 1]})
    state = store.state(KEY)
    assert state is not None
    assert torch.equal(state["b"], tied)
    assert torch.equal(state["c"], tied.T)
    assert torch.equal(state["d"], tied[:, 1])


def test_outcomes_come_back_with_their_samples(store: Store) -> None:
    outcomes: dict[str, Outcome] = {
        "a": Measured(0.5, 0.25, 0.75, ("flag",), {"n": 2, "deep": [1, {"x": None}]}, np.array([True, False])),
        "b": Measured(1e-300, samples=np.array([1.5, 2.5], dtype=np.float32)),
        "c": Skipped("no classes"),
        "d": Measured(3.0),
    }
    assert store.outcome(KEY) is None
    assert not store.has_outcome(KEY)
    store.save_outcome(KEY, outcomes)
    assert store.has_outcome(KEY)
    found = store.outcome(KEY)
    assert found == outcomes
    a, b, d = found["a"], found["b"], found["d"]
    assert isinstance(a, Measured)
    assert isinstance(b, Measured)
    assert isinstance(d, Measured)
    assert (a.samples.dtype, a.samples.tolist()) == (np.bool_, [True, False])
    assert (b.samples.dtype, b.samples.tolist()) == (np.float32, [1.5, 2.5])
    assert d.samples is None


def test_samples_that_are_a_view_are_kept(store: Store) -> None:
    store.save_outcome(KEY, {"a": Measured(1.0, samples=np.arange(10)[::-2])})
    found = store.outcome(KEY)
    assert found is not None
    assert found["a"].samples.tolist() == [9, 7, 5, 3, 1]  # type: ignore[union-attr]


def test_a_failed_column_comes_back(store: Store) -> None:
    store.save_outcome(KEY, {"a": Failed("broke", "metric x/y"), "b": Skipped("why")})
    assert store.outcome(KEY) == {"a": Failed("broke", "metric x/y"), "b": Skipped("why")}


def test_a_failure_comes_back(store: Store) -> None:
    store.save_failure(KEY, {"seed": 0}, Failure("training", "diverged"))
    found = store.fit(KEY)
    assert isinstance(found, Failure)
    assert (found.culprit, found.reason, found.lasting) == ("training", "diverged", True)


def test_nothing_is_pickled(store: Store) -> None:
    store.save_fit(RECORD, STATE)
    store.save_outcome(KEY, {"a": Measured(1.0, samples=np.ones(2))})
    files = [path.name for path in store.root.rglob("*") if path.is_file() and path.name != "format"]
    assert sorted(files) == ["fit.json", "outcome.json", "samples.safetensors", "weights.safetensors"]


# Atomic


@pytest.mark.parametrize("point", ["write", "sync", "rename"])
def test_a_kill_at_any_moment_leaves_only_scraps(store: Store, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """KeyboardInterrupt stands for the kill: nothing below cleans up after it, as nothing could after SIGKILL."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    name = {"write": "robustradar.store._write_json", "sync": "robustradar.store._sync", "rename": "robustradar.store.os.rename"}[point]
    with monkeypatch.context() as patch:
        patch.setattr(name, killed)
        with pytest.raises(KeyboardInterrupt):
            store.save_fit(RECORD, STATE)
    assert store.fit(KEY) is None
    assert not entry(store).exists()
    assert len(left_over(store)) == 1
    again = Store(store.root)
    again.save_fit(RECORD, STATE)
    assert again.fit(KEY) == RECORD


def test_old_scraps_are_swept_and_new_ones_left(store: Store) -> None:
    old, new = store.root / "tmp" / "old", store.root / "tmp" / "new"
    for scrap in (old, new):
        scrap.mkdir()
        (scrap / "weights.safetensors").write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    Store(store.root)
    assert left_over(store) == ["new"]


def test_a_scrap_that_goes_away_while_sweeping_is_none_of_ours(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process renames its entry into place between the listing and the look at its age."""
    gone = store.root / "tmp" / "gone"
    monkeypatch.setattr(Path, "iterdir", lambda self: iter([gone]))
    Store(store.root)


# Full disks and missing permissions


def test_a_full_disk_is_told_and_leaves_nothing_half_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("robustradar.store._write_json", full)
    saves: list[Callable[[], None]] = [
        lambda: store.save_fit(RECORD, STATE),
        lambda: store.save_failure(KEY, {}, Failure("a", "b")),
        lambda: store.save_outcome(KEY, {"a": Measured(1.0, samples=np.ones(3))}),
    ]
    for save in saves:
        with pytest.raises(StoreError) as error:
            save()
        assert str(error.value) == (
            f"store {store.root}: writing failed (No space left on device). What was finished is kept: "
            "make room or mend the permissions, and run the same command again."
        )
    assert left_over(store) == []
    assert not entry(store).exists()
    assert not entry(store, "outcomes").exists()


def test_a_disk_that_fills_up_under_the_weights_is_told(store: Store) -> None:
    """Safetensors has an error of its own for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StoreError, match=r"^store .*: writing failed \(.*File too large.*\)\. What was finished is kept"):
            store.save_fit(RECORD, {"weight": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert left_over(store) == []
    assert store.fit(KEY) is None


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as error:
        Store(tmp_path / "file" / "store")
    assert str(error.value) == (
        f"--store: got {str(tmp_path / 'file' / 'store')!r}, which cannot be written (Not a directory). Choose another folder."
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_told(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o500)
    with pytest.raises(StoreError, match=r"which cannot be written \(Permission denied\)\. Choose another folder\.$"):
        Store(tmp_path / "store")


def test_a_lock_that_cannot_be_written_is_told(store: Store) -> None:
    (store.root / "locks").rmdir()
    (store.root / "locks").write_text("")
    with pytest.raises(StoreError, match=r"^store .*: writing failed \(.*\)\. What was finished is kept"), store.lock(KEY):
        pass


def test_another_format_is_refused(store: Store) -> None:
    (store.root / "format").write_text("2\n")
    with pytest.raises(StoreError) as error:
        Store(store.root)
    assert str(error.value) == f"--store: got {str(store.root)!r} of format 2, expected 1. Choose another folder."


@pytest.mark.parametrize("content", [b"", b"\xff\x00\x9c", b"one"])
def test_a_damaged_format_is_refused(store: Store, content: bytes) -> None:
    (store.root / "format").write_bytes(content)
    with pytest.raises(StoreError) as error:
        Store(store.root)
    assert str(error.value) == (
        f"--store: got {str(store.root)!r} with a damaged file 'format', expected the number 1 in it. "
        "If this version of RobustRadar wrote the store, write 1 into that file; else choose another folder."
    )
    (store.root / "format").write_text("1")
    Store(store.root)


# Damage


@pytest.mark.parametrize("content", [b"", b'{"spec": {', b"\0" * 40, b"[]", b"\xff\xfe", b"null"])
def test_a_damaged_record_counts_as_absent_and_is_put_away(store: Store, content: bytes) -> None:
    store.save_fit(RECORD, STATE)
    (entry(store) / "fit.json").write_bytes(content)
    assert store.fit(KEY) is None
    assert not entry(store).exists()
    assert (store.root / "damaged" / KEY / "fit.json").read_bytes() == content
    store.save_fit(RECORD, STATE)
    assert store.fit(KEY) == RECORD


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damaged_weights_are_found_and_put_away(store: Store, damage: str) -> None:
    store.save_fit(RECORD, STATE)
    weights = store.weights(KEY)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    match damage:
        case "flip":
            weights.write_bytes(content)
        case "truncate":
            weights.write_bytes(content[:-3])
        case "remove":
            weights.unlink()
    assert store.state(KEY) is None
    assert not store.has_fit(KEY)
    assert (store.root / "damaged" / KEY / "fit.json").is_file()


def test_damage_twice_keeps_the_later_one(store: Store) -> None:
    for content in (b"first", b"second"):
        store.save_fit(RECORD, STATE)
        store.weights(KEY).write_bytes(content)
        assert store.state(KEY) is None
    assert (store.root / "damaged" / KEY / "weights.safetensors").read_bytes() == b"second"


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "json"])
def test_damaged_samples_are_found_and_put_away(store: Store, damage: str) -> None:
    """Without its samples an outcome would get another interval, in silence."""
    store.save_outcome(KEY, {"a": Measured(1.0, samples=np.ones(3))})
    file = entry(store, "outcomes") / "samples.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    match damage:
        case "flip":
            file.write_bytes(content)
        case "truncate":
            file.write_bytes(content[:10])
        case "remove":
            file.unlink()
        case "json":
            (file.parent / "outcome.json").write_text("{")
    assert store.outcome(KEY) is None
    assert not store.has_outcome(KEY)


# Several processes


WRITER = """
import sys
import numpy as np
from pathlib import Path
from robustradar.store import Store
from robustradar.values import Measured
store, key = Store(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for n in range(20):
    store.save_outcome(key[:-2] + f"{n:02d}", {"a": Measured(float(n), samples=np.full(1000, n))})
"""


def test_two_processes_may_publish_the_same_keys_at_once(store: Store) -> None:
    command = [sys.executable, "-c", WRITER, str(store.root), KEY]
    writers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n", timeout=60)
        assert writer.returncode == 0
    for n in range(20):
        found = store.outcome(KEY[:-2] + f"{n:02d}")
        assert found == {"a": Measured(float(n))}
        assert found["a"].samples.tolist() == [n] * 1000  # type: ignore[union-attr]
    assert left_over(store) == []


HOLDER = """
import sys
from pathlib import Path
from robustradar.store import Store
with Store(Path(sys.argv[1])).lock(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_locked_key_makes_others_wait_and_a_dead_holder_lets_go(store: Store) -> None:
    from filelock import FileLock, Timeout

    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store.root), KEY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Timeout):
            FileLock(store.root / "locks" / f"{KEY}.lock").acquire(timeout=0)
        with store.lock(OTHER):  # another key is free
            pass
        holder.kill()
    with store.lock(KEY):
        pass


def test_the_json_is_canonical(store: Store) -> None:
    store.save_outcome(KEY, {"b": Skipped("x"), "a": Measured(1.0)})
    text = (entry(store, "outcomes") / "outcome.json").read_text()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) + "\n"
