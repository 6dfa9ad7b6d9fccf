"""Coded images (PNG, JPEG, whatever Pillow reads) to one array, all of them alike."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from robustradar import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

_GRAY = {"1", "L", "LA", "La"}
_DEEP = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


@dataclass(frozen=True)
class Picture:
    """A coded image: its name for messages, and the file or its bytes."""

    name: str
    file: Path | bytes


def decode(splits: Mapping[str, Sequence[Picture]], resize: int, where: str) -> dict[str, NDArray[np.uint8]]:
    """Every split's images as uint8 [N, channels, height, width]: one channel if all images are gray, else three. Alpha is dropped.

    Args:
        splits: The images by split.
        resize: Side in pixels to which the central square is brought, with antialiasing; 0: images stay as they are.
        where: The data set, for messages.

    Raises:
        DataError: An image cannot be read, has more than 8 bits a channel, or another size than the first (without resize).
    """
    import numpy as np
    from PIL import Image, ImageOps

    gray, size = True, (resize, resize)
    for picture in (picture for pictures in splits.values() for picture in pictures):
        with opened(picture, where) as image:
            if image.mode in _DEEP:
                raise DataError(f"{where}: {picture.name}: got pixels of mode {image.mode}, expected 8 bits a channel. Convert the image.")
            gray = gray and image.mode in _GRAY
            size = image.size if size == (0, 0) else size
            if not resize and image.size != size:
                got, expected = (f"{width} x {height}" for width, height in (image.size, size))
                raise DataError(
                    f"{where}: {picture.name}: got {got} pixels, expected {expected} as in the first image. Give resize=PIXELS."
                )
    arrays: dict[str, NDArray[np.uint8]] = {}
    for name, pictures in splits.items():
        array = np.empty((len(pictures), 1 if gray else 3, size[1], size[0]), np.uint8)
        for row, picture in zip(array, pictures, strict=True):
            with opened(picture, where) as image:
                pixels: Image.Image = image.convert("L" if gray else "RGB")
                if resize:
                    pixels = ImageOps.fit(pixels, size, method=Image.Resampling.BILINEAR)
                row[...] = np.asarray(pixels) if gray else np.asarray(pixels).transpose(2, 0, 1)
        arrays[name] = array
    return arrays


@contextmanager
def opened(picture: Picture, where: str) -> Iterator[Image]:
    """An image to be read inside the block.

    Raises:
        DataError: It cannot be opened, or not be read inside the block.
    """
    from PIL import Image

    try:
        with Image.open(BytesIO(picture.file) if isinstance(picture.file, bytes) else picture.file) as image:
            yield image
    except (OSError, EOFError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: {picture.name}: got no readable image, expected one. Repair or remove it.") from error
