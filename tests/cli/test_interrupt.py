"""An interrupt is never lost, whatever it lands in."""

import contextlib
import os
import signal

import pytest

from robustradar.cli.progress import listener


def test_an_interrupt_that_was_swallowed_stops_the_run_at_the_next_word() -> None:
    """As happens where it lands in a destructor, whose exceptions Python drops."""
    before = signal.getsignal(signal.SIGINT)
    with listener(quiet=True) as told:
        told.note("nothing yet")
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        for word in (lambda: told.note("now"), lambda: told.planned(1, 1)):
            with pytest.raises(KeyboardInterrupt):
                word()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_that_became_another_error_is_still_one() -> None:
    """As happens where it lands in compiled code, which may raise what it likes instead."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), listener(quiet=True):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        raise ValueError("could not determine the shape of object type 'torch.storage.UntypedStorage'")
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(ValueError, match="its own"), listener(quiet=True):
        raise ValueError("its own")
