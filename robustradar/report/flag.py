"""What flags mean, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_VALUES = 4
_MARKS = "abcdefghijklmnopqrstuvwxyz"

MEANING = {
    "selected-on-evaluation": "the epoch was selected on the samples that it was measured on, and no split is held out for a final claim",
    "given-weights": "the weights were given, not trained here: how they were selected is not known",
    "clean-trained": "measured on a cleanly trained network: weak networks can look robust, so this orders architectures badly",
    "diverged-once": "training's loss ran away at first, so it was repeated at this learning rate, a tenth of the recipe's",
    "float32": "bfloat16 garbled the gradient of this parameter on this machine, so the network was trained in float32",
    "micro-batch": "memory ran out, so batches went through in parts of this many samples, with the same effective batch",
    "small-batches": "memory ran out while measuring or evaluating, so samples went through in batches of at most this many",
    "zero-gradients": "so many samples have an input gradient of exactly zero, where gradient attacks stand still and fake robustness",
    "random-output": "two passes over the same inputs differ, which misleads attacks that do not average over it",
    "softmax-output": "the network returns probabilities, not logits: gradients shrink and losses are capped",
    "one-step-beats-many": "one exact gradient step does better than the attack, a sign of masked gradients or of a misset attack",
    "black-box-beats-white-box": "random search does what the attack does not, a sign of masked gradients",
    "unbounded-fails": "with no limit on the perturbation the attack still leaves accuracy above chance: it does not work here",
    "still-rising": "with twice the steps the attack does better: it has not converged",
    "flat-in-eps": "at half the strength the attack gains as much loss: it does not use the strength that it is given",
    "catastrophic-overfitting": "less than half of the accuracy under the attack that it was trained with remains under this one",
    "dominated-points": "so many points of the trade-off curve are beaten in both coordinates by another: training fell short, or noise",
    "inverted-ends": "of the trade-off curve, the ξ≈0 end is better under attack or the ξ≈1 end on clean inputs: price or gain below zero",
    "not-converged": "training ended where its objective's gradient still has this norm: short of a minimum, or at a kink",
    "damping-raised": "the training Hessian has negative eigenvalues, so the automatic damping was raised to twice the largest of them",
    "curvature": "autograd has no second derivatives of this network: they were taken in this other way",
    "mixed-curvature": "second derivatives were not taken in the same way for all candidates, so their numbers are of different kinds",
    "unsettled-eigenvalue": "this end of the spectrum still moved when the search for it ended",
    "decoupled-decay": "training's weight decay was decoupled from the gradient (AdamW), so the Hessian does not have it",
    "smoothed-labels": "training smoothed the labels; second derivatives are of the plain loss",
    "augmented": "training augmented its inputs; second derivatives are of the loss on the plain ones",
    "outside-regime": "attacked at this strength, the predicted weights lose this multiple of the rise that the expansion predicts",
    "running-training-losses": "training losses are means over an epoch, in training mode: they lag behind, most so in early epochs",
    "ended-early": "training ended after so many epochs of its schedule, so the last epoch is not the schedule's end",
    "one-step-is-as-good": "at no strength does the study's attack find more than the one trained with, so a collapse could not be seen",
    "beyond-grid": "none of the strengths looked at is large enough: the value is a lower bound",
    "extrapolated": "the value lies outside the strengths that were looked at, on the word of the fit",
    "not-monotone": "a larger strength behaves as if it were smaller",
    "one-step-fooled": "trained against one step at this strength, the network loses twice as much under the iterated attack",
    "clean-unfinished": "trained against an attack, the network loses less than the clean one does without: clean training had not ended",
    "below-bound": "the value is below its lower bound, so the fit through the losses is wrong: take more points",
    "unused-slope": "the loss rises less than its slope at 0 says, as where clean training had not ended: a line was taken instead",
    "decayed-slope": "training had weight decay, with which the loss starts to rise less steeply than the slope that was used",
    "confounded": "the candidates' order is mostly that of their clean evaluation losses (tau): worse generalisation raises it, too",
    "barrier-still-falling": "with half the epochs for the bend the barrier is higher by more than a tenth: more would lower it further",
    "claimed-0": "the paper's claim for this number is 0",
    "claimed-1": "the paper's claim for this number is 1",
    "claimed-1/2": "the paper's claim for this number is 1/2",
    "unchecked": "the attack or the network failed, or memory ran out, during this check of the attack, which so says nothing",
}

# Of these, those by which an attack failed, so that what it left looks like robustness.
FAILED_ATTACK = (
    *("zero-gradients", "random-output", "softmax-output", "one-step-beats-many", "black-box-beats-white-box", "unbounded-fails"),
    "flat-in-eps",
)


def meaning(flag: str) -> str:
    """A flag's sentence, with the value that may follow a colon left in place; the flag itself where a plugin made it up.

    >>> meaning("my-own")
    'my-own'
    """
    stem = flag.partition(":")[0]
    return f"{flag}: {MEANING[stem]}" if stem in MEANING else flag


def by_stem(flags: Iterable[str]) -> dict[str, list[str]]:
    """Flags that differ in their values only, together.

    >>> by_stem(["still-rising:2", "still-rising:4", "my-own"])
    {'still-rising': ['still-rising:2', 'still-rising:4'], 'my-own': ['my-own']}
    """
    stems: dict[str, list[str]] = {}
    for flag in flags:
        stems.setdefault(flag.partition(":")[0], []).append(flag)
    return stems


def joined(stem: str, flags: Sequence[str]) -> str:
    """Flags of one stem as one, with the values that they have.

    >>> joined("still-rising", ["still-rising:2 of 9", "still-rising:4 of 9"])
    'still-rising:2 of 9, 4 of 9'
    """
    values = [value for _, _, value in (flag.partition(":") for flag in flags) if value]
    few = values if len(values) <= _VALUES else [*values[: _VALUES - 1], "…"]
    return f"{stem}:{', '.join(few)}" if few else stem


def letters(count: int) -> list[str]:
    """Marks for footnotes: a to z, then aa to zz.

    >>> letters(28)[-3:]
    ['z', 'aa', 'bb']
    """
    return [_MARKS[i % len(_MARKS)] * (1 + i // len(_MARKS)) for i in range(count)]
