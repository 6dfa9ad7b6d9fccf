"""What a plugin must not change or touch: the process's settings, the global generators, files, the network."""

from __future__ import annotations

import contextlib
import io
import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from robustradar import guard
from robustradar.conformance.clause import Breach


def settings() -> dict[str, Any]:
    """Settings of the process that a plugin's call could leave changed, by name; the host restores none of them."""
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "cuDNN's benchmark mode": torch.backends.cudnn.benchmark,
        "NumPy's error handling": np.geterr(),
        "the working directory": os.getcwd(),
    }


_PUT_BACK: dict[str, Callable[[Any], Any]] = {
    "torch's default dtype": torch.set_default_dtype,
    "torch's number of threads": torch.set_num_threads,
    "torch's deterministic mode": torch.use_deterministic_algorithms,
    "cuDNN's benchmark mode": lambda value: setattr(torch.backends.cudnn, "benchmark", value),
    "NumPy's error handling": lambda value: np.seterr(**value),
    "the working directory": os.chdir,
}


def generators() -> dict[str, Any]:
    """The states of the global generators."""
    return {
        "Python's global generator": random.getstate(),
        "NumPy's global generator": [np.asarray(part).tolist() for part in np.random.get_state()],
        "torch's global generator": torch.get_rng_state().tolist(),
    }


@contextmanager
def settled() -> Iterator[None]:
    """Puts the process's settings and the global generators back, whatever happens."""
    before = settings()
    try:
        with guard.generators_restored():
            yield
    finally:
        for name, value in settings().items():
            if value != before[name]:
                _PUT_BACK[name](before[name])


@contextmanager
def unchanged(*, chance: bool = True) -> Iterator[None]:
    """Puts the process's settings back, and says if a plugin has changed one.

    Args:
        chance: Whether the global generators must be where they were, too; the host restores them for attacks and metrics.

    Raises:
        Breach: Something was changed.
    """
    before = settings()
    with settled(), other_chance(7):  # a state that a fixed seed does not lead back to
        drawn = generators()
        yield
        after, now = settings(), generators()
    for name, value in before.items():
        if after[name] != value:
            raise Breach(f"{name} changed from {value} to {after[name]}", "it as it was", "Put it back in a finally block.")
    moved = [name for name, state in drawn.items() if now[name] != state] if chance else []
    if moved:
        raise Breach(f"{moved[0]} moved on", "it as it was", "Draw from a generator of your own, such as numpy.random.default_rng(0).")


@contextmanager
def other_chance(seed: int) -> Iterator[None]:
    """Global generators in another state, and then as they were."""
    with guard.generators_restored():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield


@contextmanager
def silent() -> Iterator[None]:
    """Says if something is printed.

    Raises:
        Breach: Something was.
    """
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        yield
    if text := out.getvalue().strip():
        raise Breach(f"{text.splitlines()[0]!r:.60} printed", "no output", "Return what is to be said.")


@contextmanager
def offline(advice: str) -> Iterator[None]:
    """Cuts the network off, and says if something asked for it.

    Args:
        advice: What to do about it.

    Raises:
        Breach: Something did, even if it went on without.
    """
    asked: list[str] = []

    def refuse(*arguments: Any, **_: Any) -> Any:
        asked.append(str(next((a for a in arguments if isinstance(a, str | tuple)), "somewhere")))
        raise OSError("the conformance kit allows no network")

    kept: dict[str, Callable[..., Any]] = {"getaddrinfo": socket.getaddrinfo, "create_connection": socket.create_connection}
    try:
        for name in kept:
            setattr(socket, name, refuse)
        with contextlib.suppress(OSError):
            yield
    finally:
        for name, function in kept.items():
            setattr(socket, name, function)
    if asked:
        raise Breach(f"a connection to {asked[0]}", "none", advice)
