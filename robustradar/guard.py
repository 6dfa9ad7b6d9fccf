"""The one place where other people's code is called and its exceptions are caught."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

from robustradar.errors import DeviceLost, Failure, OutOfMemory, RobustRadarError

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")

_ASKED: ContextVar[bool] = ContextVar("asked", default=False)


def call(culprit: str, function: Callable[[], T], least: str = "") -> T:
    """Calls a plugin's code; whatever it raises becomes a `Failure` that names it.

    Args:
        culprit: Who is asked, for the message: ``attack torchattacks/PGD (robustradar 0.1.0)``.
        function: The call.
        least: What its memory is for, where that does not depend on a batch.

    Raises:
        Failure: It raised; running out of memory is not lasting, anything else is.
        DeviceLost: The accelerator failed, and takes all that follows with it.
        RobustRadarError: It raised an error that is meant for the user as it is.
    """
    before = _ASKED.set(True)
    try:
        return function()
    except (Failure, RobustRadarError):
        raise
    except (Exception, SystemExit) as error:  # a script's sys.exit() ends the plugin, not the run
        if device_lost(error):
            raise DeviceLost(describe(error)) from error
        raise (OutOfMemory(culprit, least) if out_of_memory(error) else Failure(culprit, describe(error))) from error
    finally:
        _ASKED.reset(before)


def asked() -> bool:
    """Whether other people's code is running just now."""
    return _ASKED.get()


def describe(error: BaseException) -> str:
    r"""An exception in one line.

    >>> describe(ValueError("width must be even\nsee docs"))
    'ValueError: width must be even'
    """
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the host or on an accelerator.

    >>> out_of_memory(MemoryError()), out_of_memory(ValueError())
    (True, False)
    """
    text = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "cublas_status_alloc_failed", "cudnn_status_alloc_failed")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(sign in text for sign in signs))


def device_lost(error: BaseException) -> bool:
    """Whether an exception says that the accelerator failed for good, as after an index out of range: it then fails at everything.

    >>> device_lost(RuntimeError("CUDA error: device-side assert triggered")), device_lost(RuntimeError("CUDA error: out of memory"))
    (True, False)
    """
    return isinstance(error, RuntimeError) and "CUDA error" in str(error) and not out_of_memory(error)


@contextmanager
def device_watched() -> Iterator[None]:
    """Around work of our own on an accelerator, which tells of what a plugin did to it as late as when its results are read.

    Raises:
        DeviceLost: The accelerator failed.
        RuntimeError: What else is raised inside.
    """
    try:
        yield
    except RuntimeError as error:
        if device_lost(error):
            raise DeviceLost(describe(error)) from error
        raise


@contextmanager
def untouched(culprit: str, model: nn.Module, *, batch_statistics: bool = False) -> Iterator[None]:
    """Lends out a model in evaluation mode, with parameters that need no gradient, and takes it back as it was.

    Modes, requires_grad flags, gradients, and the global generators of Python, NumPy and torch are restored, also after an exception.
    Weights and buffers are compared by their version counters, which costs nothing.

    Args:
        culprit: The borrower, for messages.
        model: What is lent.
        batch_statistics: Whether BatchNorm normalises by the batch's own statistics instead of the running ones, which stay as they are.

    Raises:
        Failure: The borrower changed weights or buffers, which cannot be undone.
    """
    import torch

    modes = [(module, module.training) for module in model.modules()]
    flags = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    versions = [(t, t._version) for t in (*model.parameters(), *model.buffers())]
    with generators_restored(), torch.enable_grad():
        model.eval()
        norms = [m for m in model.modules() if batch_statistics and isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        tracked = [(norm, norm.track_running_stats) for norm in norms]
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        for p, _, _ in flags:
            p.requires_grad_(False)
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            for norm, tracking in tracked:
                norm.track_running_stats = tracking
            for p, needed, gradient in flags:
                p.requires_grad_(needed)
                p.grad = gradient
    if any(t._version != version for t, version in versions):
        raise Failure(culprit, "changed the weights or buffers of the model that it was lent. A plugin must leave the model as it is.")


@contextmanager
def generators_restored() -> Iterator[None]:
    """Whatever is drawn inside from the global generators of Python, NumPy and torch, they come back as they were."""
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
