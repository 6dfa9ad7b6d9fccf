"""Arrays of one .npz file as a data set."""

from __future__ import annotations

import difflib
import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from robustradar import Data, DataError, Dataset, Split
from robustradar_native.limit import EvalLimit, TrainLimit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NEEDED = ("x_train", "y_train", "x_test", "y_test")
_HELD_OUT = ("x_final", "y_final")
MAPPED = 2**24  # bytes from which on an array stays on disk


@dataclass(frozen=True)
class Npz(Dataset):
    """Arrays of one .npz file: x_train, y_train, x_test, y_test and, where there is a third split, x_final and y_final.

    Inputs are [N, channels, height, width], [N, height, width] (one channel) or [N, features], uint8 or floats in [0, 1]. Integer targets
    are labels from 0, float targets are regression with squared loss.
    """

    path: Annotated[str, Field(description="The .npz file.")] = ""
    bounded: Annotated[bool, Field(description="Whether the inputs lie in [0, 1] and an adversary must keep to that.")] = True
    train_limit: TrainLimit = 0
    eval_limit: EvalLimit = 0

    def load(self) -> Data:
        """The file's arrays.

        Raises:
            DataError: There is no such file, it is damaged, or it holds other arrays.
        """
        import numpy as np

        from robustradar.data import head

        where = f"native/npz {self.path}".rstrip()
        arrays = read(self.path, where)
        check_names(list(arrays), where)
        train = Split(channels_first(arrays["x_train"], "x_train", where), arrays["y_train"])
        evaluation = Split(channels_first(arrays["x_test"], "x_test", where), arrays["y_test"])
        final = Split(channels_first(arrays["x_final"], "x_final", where), arrays["y_final"]) if "x_final" in arrays else None
        labels = [split.y for split in (train, evaluation, final) if split is not None and split.y.size]
        is_labels = bool(labels) and all(np.issubdtype(y.dtype, np.integer) for y in labels)
        return Data(
            head(train, self.train_limit),
            head(evaluation, self.eval_limit),
            final,
            classes=max(2, *(int(y.max()) + 1 for y in labels)) if is_labels else None,
            bounds=(0.0, 1.0) if self.bounded else None,
        )


def read(path: str, where: str) -> dict[str, NDArray[np.generic]]:
    """All arrays of an .npz file, by name, in this machine's byte order.

    Raises:
        DataError: There is no such file, or it is damaged or no .npz file, or an array holds Python objects.
    """
    import numpy as np

    if not path:
        raise DataError(f"{where}: got no path, expected an .npz file. Write npz:path=FILE.")
    if not Path(path).is_file():
        raise DataError(f"{where}: got no such file, expected an .npz file. Check the path.")
    try:
        with Path(path).open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise DataError(f"{where}: got a single array, expected an .npz file. Store with numpy.savez_compressed.")
            arrays = {name: array if (array := mapped(path, archive.zip, name)) is not None else archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # Runtime: encrypted, odd method
        if "allow_pickle" in str(error) and zipfile.is_zipfile(path):
            raise DataError(f"{where}: got an array of Python objects, expected numbers. Store arrays of one dtype.") from None
        raise DataError(f"{where}: got a damaged file or no .npz file, expected a whole one. Copy or store it again.") from error
    return {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in arrays.items()}


def mapped(path: str, archive: zipfile.ZipFile, name: str) -> NDArray[np.generic] | None:
    """A large array that is stored uncompressed, left on disk and read-only; None for any other.

    Raises:
        BadZipFile: Its checksum is wrong.
    """
    import numpy as np

    info = archive.getinfo(f"{name}.npy" if f"{name}.npy" in archive.namelist() else name)
    if info.file_size < MAPPED or info.compress_type != zipfile.ZIP_STORED:
        return None
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        shape, fortran, dtype = header(member) if header else ((), False, np.dtype(object))
        start = member.tell()
        if dtype.hasobject or start + math.prod(shape) * dtype.itemsize != info.file_size:
            return None
        while member.read(MAPPED):  # at its end zipfile compares the checksum
            pass
    with Path(path).open("rb") as file:  # the member's own header: its name and extra field may be of other lengths than the directory's
        file.seek(info.header_offset)
        lengths = struct.unpack("<26xHH", file.read(30))
    offset = info.header_offset + 30 + sum(lengths) + start
    return np.asarray(np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C"))


def check_names(found: list[str], where: str) -> None:
    """Refuses missing and unknown arrays.

    Raises:
        DataError: There are others than the four that are needed and the two that may be.
    """
    needed = (*_NEEDED, *_HELD_OUT) if set(found) & set(_HELD_OUT) else _NEEDED
    missing, extra = [name for name in needed if name not in found], [name for name in found if name not in needed]
    if missing or extra:
        close = [(name, match) for name in extra for match in difflib.get_close_matches(name, missing, n=1)]
        advice = f"Did you mean {close[0][1]!r} by {close[0][0]!r}?" if close else "Rename or drop arrays."
        raise DataError(f"{where}: got {', '.join(found) or 'no arrays'}, expected {', '.join(needed)}. {advice}")


def channels_first(x: NDArray[np.generic], name: str, where: str) -> NDArray[np.generic]:
    """Images without a channel axis get one; channels in the last place are refused, not guessed at.

    Raises:
        DataError: The last axis looks like channels.
    """
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        raise DataError(
            f"{where}: got {name} of shape {list(x.shape)}, expected [N, channels, height, width]. Store {name}.transpose(0, 3, 1, 2)."
        )
    return x
