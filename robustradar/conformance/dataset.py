"""The clauses of data sets."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from robustradar import Data, Split
from robustradar import data as datum
from robustradar.conformance import trace
from robustradar.conformance.clause import Breach, Inapplicable, Subject
from robustradar.errors import DataError, PluginError, RobustRadarError

_SHARED = 0.1  # of the evaluation samples may be in train, too, as near copies are in many public data sets


@lru_cache(maxsize=1)
def loaded(subject: Subject) -> Data:
    """The data once.

    Raises:
        Inapplicable: They are not here.
        Breach: load() returned something else.
    """
    try:
        found = subject.declaration.load()
    except RobustRadarError as error:  # files that are not here, told by the plugin itself
        raise Inapplicable(f"its data cannot be read here: {error}") from None
    if not isinstance(found, Data):
        raise Breach(f"{type(found).__name__} from load()", "robustradar.Data", "Return Data(train, evaluation, final, …).")
    return found


def loads_sound_data(subject: Subject) -> None:
    """load() returns Data that the host accepts: shapes, ranges, labels, splits."""
    data = loaded(subject)
    if not all(isinstance(split, Split) for split in data.splits.values()):
        raise Breach("splits of another type", "robustradar.Split(x, y) for train and evaluation, and for final or None")
    try:
        datum.check(data, "load()")
    except DataError as error:
        raise PluginError(str(error).removeprefix("load(): ")) from None


def loads_the_same_again(subject: Subject) -> None:
    """Every call of load() gives the same content, whatever the global generators hold."""
    first = datum.fingerprint(loaded(subject))
    with trace.other_chance(1):
        second = datum.fingerprint(subject.declaration.load())
    if first != second:
        advice = "Draw from numpy.random.default_rng(seed) made inside load(), and sort the names of files."
        raise Breach(f"fingerprints {first[:8]}… and {second[:8]}… from two calls", "the same content", advice)


def keeps_splits_apart(subject: Subject) -> None:
    """What is evaluated on, or held out, was not trained on."""
    data = loaded(subject)
    known = {row.tobytes() for row in np.ascontiguousarray(data.train.x)}
    for name, split in data.splits.items():
        if name != "train":
            shared = sum(row.tobytes() in known for row in np.ascontiguousarray(split.x))
            if shared > _SHARED * len(split.x):
                raise Breach(
                    f"{shared} of {len(split.x)} samples of {name} in train, too",
                    "none or few",
                    "Split before anything else, and augment train alone.",
                )


def leaves_no_trace(subject: Subject) -> None:
    """Loading changes no setting or generator of the process and prints nothing."""
    with trace.silent(), trace.unchanged():
        subject.declaration.load()


CLAUSES = (loads_sound_data, loads_the_same_again, keeps_splits_apart, leaves_no_trace)
