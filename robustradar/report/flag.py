"""What flags mean, in words."""

from __future__ import annotations

MEANING = {
    "selected-on-evaluation": "the epoch was selected on the samples that it was measured on, and no split is held out for a final claim",
    "given-weights": "the weights were given, not trained here: how they were selected is not known",
    "clean-trained": "measured on a cleanly trained network: weak networks can look robust, so this orders architectures badly",
}


def meaning(flag: str) -> str:
    """A flag's sentence; the flag itself where a plugin made it up.

    >>> meaning("my-own")
    'my-own'
    """
    return f"{flag}: {MEANING[flag]}" if flag in MEANING else flag
