"""Data sets that torchvision reads: images and labels as they are in the original files, without any transform."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from robustradar import Data, DataError, Dataset, Split, fixed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Arguments = tuple[tuple[str, str | bool], ...]

_BY_FLAG: tuple[Arguments, Arguments] = ((("train", True),), (("train", False),))
_BY_NAME: tuple[Arguments, Arguments] = ((("split", "train"),), (("split", "test"),))
_BALANCED: tuple[Arguments, Arguments] = (
    (("train", True), ("split", "balanced")),
    (("train", False), ("split", "balanced")),
)


@dataclass(frozen=True)
class Vision(Dataset):
    """A torchvision data set: uint8 images; torchvision's test split is the evaluation split unless `holdout` is given.

    Attributes:
        about: What `plugins list` says of it.
        place: Where torchvision looks for the files, under the root.
        classes: Number of classes.
        arguments: What the class named `name` in ``torchvision.datasets`` is called with, for train and for test.
    """

    root: Annotated[str, Field(description="The folder that torchvision keeps data in.")] = "data"
    download: Annotated[bool, Field(description="Whether torchvision may fetch the files if they are not there.")] = False
    holdout: Annotated[
        int, Field(ge=0, description="Evaluate on so many samples held out of train, and keep the test split as the final one; 0: none.")
    ] = 0
    resize: Annotated[int, Field(ge=0, description="Bring images to so many pixels a side; 0: as they are.")] = 0
    train_limit: Annotated[int, Field(ge=0, description="Train on at most so many samples, chosen by class; 0: all.")] = 0
    eval_limit: Annotated[int, Field(ge=0, description="Measure on at most so many samples, chosen by class; 0: all.")] = 0

    about: str = fixed()
    place: str = fixed()
    classes: int = fixed(10)
    arguments: tuple[Arguments, Arguments] = fixed(_BY_FLAG)

    @property
    def summary(self) -> str:
        """What `plugins list` says of it."""
        return self.about

    def load(self) -> Data:
        """The data in two splits, or with `holdout` in three.

        Raises:
            DataError: Files are missing or damaged, cannot be fetched, or `holdout` leaves nothing to train on.
        """
        import numpy as np

        from robustradar.data import head, resized, stratified

        train, test = (self._split(arguments) for arguments in self.arguments)
        evaluation, final = test, None
        if self.holdout and len(train.x) == len(train.y):
            if self.holdout >= len(train.y):
                raise DataError(
                    f"{self._where}: got holdout={self.holdout}, expected less than the {len(train.y)} samples of train. Lower it."
                )
            order = stratified(train.y)
            held, kept = order[: self.holdout], np.sort(order[self.holdout :])
            train, evaluation, final = Split(train.x[kept], train.y[kept]), Split(train.x[held], train.y[held]), test
        train, evaluation = resized(head(train, self.train_limit), self.resize), resized(head(evaluation, self.eval_limit), self.resize)
        return Data(train, evaluation, final and resized(final, self.resize), classes=self.classes, bounds=(0.0, 1.0))

    @property
    def _where(self) -> str:
        return f"torchvision/{self.name} in {self.root}"

    def _split(self, arguments: Arguments) -> Split:
        """One of torchvision's splits; it verifies what it unpickles by checksum."""
        import numpy as np
        from torchvision import datasets

        try:
            source = getattr(datasets, self.name)(self.root, download=self.download, **dict(arguments))
        except (RuntimeError, OSError, EOFError, ValueError, TypeError, AssertionError, pickle.UnpicklingError) as error:
            found = "failed download" if self.download else "missing or damaged files"
            advice = "Check the network, or put the files there." if self.download else "Give download=true, or put the files there."
            raise DataError(f"{self._where}: got {found} ({reason(error)}), expected {self.place}. {advice}") from error
        labels = source.labels if hasattr(source, "labels") else source.targets
        return Split(channels_first(np.asarray(source.data)), np.asarray(labels, np.int64))


def channels_first(x: NDArray[np.generic]) -> NDArray[np.generic]:
    """Images as [N, channels, height, width], from that or from [N, height, width] or [N, height, width, 3]."""
    import numpy as np

    if x.ndim == 3:
        return x[:, None]
    return np.ascontiguousarray(x if x.shape[1] == 3 else x.transpose(0, 3, 1, 2))


def reason(error: BaseException) -> str:
    """An exception's first sentence, or its type where it says nothing."""
    return str(error).split("\n")[0].split(". ")[0].rstrip(".:") or type(error).__name__


def datasets() -> tuple[Dataset, ...]:
    """The data sets of this plugin."""
    idx = "train- and t10k-images-idx3-ubyte and -labels-idx1-ubyte in {}/raw"
    return (
        Vision(name="CIFAR10", about="50,000 + 10,000 colour images of 32 x 32, 10 classes.", place="cifar-10-batches-py"),
        Vision(name="CIFAR100", about="50,000 + 10,000 colour images of 32 x 32, 100 classes.", place="cifar-100-python", classes=100),
        Vision(
            name="SVHN",
            about="73,257 + 26,032 house numbers in colour of 32 x 32, 10 classes.",
            place="train_32x32.mat and test_32x32.mat",
            arguments=_BY_NAME,
        ),
        Vision(name="MNIST", about="60,000 + 10,000 handwritten digits of 28 x 28.", place=idx.format("MNIST")),
        Vision(
            name="FashionMNIST", about="60,000 + 10,000 gray images of clothes of 28 x 28, 10 classes.", place=idx.format("FashionMNIST")
        ),
        Vision(name="KMNIST", about="60,000 + 10,000 cursive Japanese letters of 28 x 28, 10 classes.", place=idx.format("KMNIST")),
        Vision(
            name="EMNIST",
            about="112,800 + 18,800 handwritten letters and digits of 28 x 28, 47 classes alike in number; transposed, as in the files.",
            place="emnist-balanced-train- and -test-images-idx3-ubyte and -labels-idx1-ubyte in EMNIST/raw",
            classes=47,
            arguments=_BALANCED,
        ),
    )
