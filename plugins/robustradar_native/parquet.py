"""Images and labels in Parquet files, in the layout of data set hubs."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from robustradar import Data, DataError, Dataset, Split
from robustradar_native.limit import EvalLimit, TrainLimit
from robustradar_native.picture import Picture, decode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IMAGES = ("img", "image")
LABELS = ("label", "fine_label", "labels")


@dataclass(frozen=True)
class Parquet(Dataset):
    """Coded images in Parquet files: a column img or image (bytes, or a struct with bytes) and a column label, fine_label or labels.

    A file name may hold ``*`` for several parts. Needs pyarrow: ``pip install 'robustradar[parquet]'``.
    """

    train: Annotated[str, Field(description="File or pattern of the training split.")] = ""
    test: Annotated[str, Field(description="File or pattern of the evaluation split.")] = ""
    final: Annotated[str, Field(description="File or pattern of the held-out split; empty: none.")] = ""
    resize: Annotated[int, Field(ge=0, description="Bring images to so many pixels a side; 0: all have one size already.")] = 0
    train_limit: TrainLimit = 0
    eval_limit: EvalLimit = 0

    def load(self) -> Data:
        """The images, decoded.

        Raises:
            DataError: pyarrow is missing; a file is missing or damaged; or it holds other columns.
        """
        limits = {"train": self.train_limit, "evaluation": self.eval_limit, "final": 0}
        given = {"train": self.train, "evaluation": self.test, "final": self.final}
        pictures, labels = {}, {}
        for name, pattern in given.items():
            if pattern or name != "final":
                pictures[name], labels[name] = read(pattern, limits[name], f"native/parquet {pattern}".rstrip())
        x = decode(pictures, self.resize, "native/parquet")
        splits = {name: Split(x[name], y) for name, y in labels.items()}
        classes = max(2, *(int(y.max()) + 1 for y in labels.values()))
        return Data(splits["train"], splits["evaluation"], splits.get("final"), classes=classes, bounds=(0.0, 1.0))


def read(pattern: str, limit: int, where: str) -> tuple[list[Picture], NDArray[np.int64]]:
    """The coded images and labels of one split: all in the files' order, or a head by class where there is a limit.

    Raises:
        DataError: As for `Parquet.load`.
    """
    import numpy as np

    from robustradar.data import stratified

    if not pattern:
        raise DataError(f"{where}: got no file for a split, expected train and test. Write parquet:train=FILE,test=FILE.")
    files = [pattern] if Path(pattern).is_file() else sorted(glob.glob(pattern))
    if not files:
        raise DataError(f"{where}: got no such file, expected a Parquet file. Check the path.")
    parts = [columns(file, where) for file in files]
    y = np.concatenate([labels for _, labels in parts])
    images = [(file, row, image) for file, (column, _) in zip(files, parts, strict=True) for row, image in enumerate(column)]
    order = stratified(y)[:limit] if limit else np.arange(len(y))
    if not len(order):
        raise DataError(f"{where}: got no rows, expected at least one. Check the file.")
    pictures = []
    for file, row, image in (images[i] for i in order):
        coded = image.as_py()
        if not coded:
            raise DataError(f"{where}: row {row}: got an image without bytes, expected a coded image. Embed the files' bytes.")
        pictures.append(Picture(f"{file} row {row}", coded))
    return pictures, y[order]


def columns(file: str, where: str) -> tuple[Any, NDArray[np.int64]]:
    """One file's image column, of coded bytes, and its labels.

    Raises:
        DataError: pyarrow is missing, the file is damaged, or a column is missing or of another type.
    """
    try:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(f"{where}: got no pyarrow, expected it installed. Run: pip install 'robustradar[parquet]'.") from None
    try:
        names = pq.read_schema(file).names
        picked = [next((name for name in wanted if name in names), None) for wanted in (IMAGES, LABELS)]
        if None in picked:
            raise DataError(
                f"{where}: got columns {', '.join(names)}, expected {' or '.join(IMAGES)}, and {' or '.join(LABELS)}. Rename the columns."
            )
        table = pq.read_table(file, columns=picked)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{where}: got a damaged file or no Parquet file, expected a whole one. Copy it again.") from error
    image, label = table.column(picked[0]), table.column(picked[1])
    if pa.types.is_struct(image.type) and "bytes" in [image.type.field(i).name for i in range(image.type.num_fields)]:
        image = pc.struct_field(image, "bytes")
    if not (pa.types.is_binary(image.type) or pa.types.is_large_binary(image.type)):
        raise DataError(f"{where}: got {picked[0]} of type {image.type}, expected bytes or a struct with bytes. Store coded images.")
    if not pa.types.is_integer(label.type) or label.null_count:
        raise DataError(f"{where}: got {picked[1]} of type {label.type}, expected integers without gaps. Store labels from 0.")
    return image, label.to_numpy().astype("int64")
