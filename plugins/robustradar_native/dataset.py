"""Data sets of the core distribution."""

from __future__ import annotations

from dataclasses import dataclass

from robustradar import Data, Dataset, Split
from robustradar_native.folder import Folder
from robustradar_native.limit import EvalLimit, TrainLimit
from robustradar_native.npz import Npz
from robustradar_native.parquet import Parquet


@dataclass(frozen=True)
class Digits(Dataset):
    """1,797 handwritten digits of 8 x 8 pixels, in three splits of 1,000, 400 and 397 samples with the classes in proportion.

    They ship with scikit-learn (Alpaydin and Kaynak's test set in the UCI repository). Pixels are counts from 0 to 16, divided by 16.
    """

    train_limit: TrainLimit = 0
    eval_limit: EvalLimit = 0

    def load(self) -> Data:
        """The digits, in an order fixed once and for all."""
        import numpy as np
        from sklearn.datasets import load_digits

        from robustradar.data import head, stratified

        digits = load_digits()
        # RandomState's stream is frozen, unlike Generator's. Without the shuffle the splits would differ in who wrote them.
        shuffled = np.random.RandomState(0).permutation(len(digits.target))
        order = shuffled[stratified(digits.target[shuffled])]
        x = (digits.images[order, None] / 16).astype(np.float32)
        y = digits.target[order].astype(np.int64)
        train, evaluation, final = (Split(x[part], y[part]) for part in (slice(1000), slice(1000, 1400), slice(1400, None)))
        return Data(head(train, self.train_limit), head(evaluation, self.eval_limit), final, classes=10, bounds=(0.0, 1.0))


def datasets() -> tuple[Dataset, ...]:
    """The data sets of this plugin."""
    return (Digits(name="digits"), Folder(name="folder"), Npz(name="npz"), Parquet(name="parquet"))
