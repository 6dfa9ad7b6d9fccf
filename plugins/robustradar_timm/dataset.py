"""Images that timm's readers read: nested folders, or tar files that need no unpacking."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

from pydantic import Field

from robustradar import Data, DataError, Dataset, Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EVALUATION = ("test", "val", "validation")


@dataclass(frozen=True)
class Reader(Dataset):
    """Image folders or tar files, by timm's readers: root/train and root/test (or val, validation), and root/final where there is one.

    Each is a folder of any depth or a tar file; an image's innermost folder is its class, in timm's natural order. Nothing is downloaded.
    """

    root: Annotated[str, Field(description="The folder that holds train and test, each a folder or a .tar file.")] = ""
    size: Annotated[int, Field(ge=1, description="The largest central square of every image is brought to so many pixels a side.")] = 32
    train_limit: Annotated[int, Field(ge=0, description="Train on at most so many samples, chosen by class; 0: all.")] = 0
    eval_limit: Annotated[int, Field(ge=0, description="Measure on at most so many samples, chosen by class; 0: all.")] = 0

    def load(self) -> Data:
        """The images, decoded in colour.

        Raises:
            DataError: A split is missing, empty or truncated, has a class that train lacks, or holds a file that is no image
                or in no class.
        """
        places = self._places()
        readers = {name: self._reader(place) for name, place in places.items()}
        classes = {name: label for label, name in enumerate(_names(readers["train"]))}
        limits = {"train": self.train_limit, "evaluation": self.eval_limit, "final": 0}
        found = {name: self._split(reader, classes, limits[name], places[name]) for name, reader in readers.items()}
        return Data(found["train"], found["evaluation"], found.get("final"), classes=max(2, len(classes)), bounds=(0.0, 1.0))

    @property
    def _where(self) -> str:
        return f"timm/reader {self.root}".rstrip()

    def _places(self) -> dict[str, Path]:
        """Where the splits are."""
        if not self.root:
            raise DataError(f"{self._where}: got no root, expected a folder. Write timm/reader:root=DIR.")
        there = {
            path.name.removesuffix(".tar"): path for path in sorted(Path(self.root).glob("*")) if path.is_dir() or path.suffix == ".tar"
        }
        evaluation = [there[name] for name in _EVALUATION if name in there]
        if "train" not in there or len(evaluation) != 1:
            got = ", ".join(path.name for path in there.values()) or "no folder and no .tar file"
            raise DataError(
                f"{self._where}: got {got}, expected train, one of test, val and validation, and final if there is one. Rename them."
            )
        return {"train": there["train"], "evaluation": evaluation[0]} | ({"final": there["final"]} if "final" in there else {})

    def _reader(self, place: Path) -> Any:
        """Timm's reader of one split."""
        import tarfile

        from timm.data.readers.reader_factory import create_reader

        try:
            if place.is_file():
                with place.open("rb") as file:
                    self._check_tar(file, place)
            return create_reader("", root=str(place))
        except (RuntimeError, ValueError, OSError, AssertionError, tarfile.TarError) as error:  # a ValueError where a tar file is empty
            raise DataError(
                f"{self._where}: {place.name}: got no image, expected one folder a class with images in it. Check it."
            ) from error

    def _check_tar(self, file: IO[bytes], place: Path) -> None:
        """Refuses a tar file that ends early, of which timm would read a part in silence: two empty blocks must follow its last member."""
        import tarfile

        with tarfile.open(fileobj=file, mode="r:") as archive:
            try:
                for member in archive:
                    if member.isfile() and member.name.lower().endswith(".tar") and (inner := archive.extractfile(member)):
                        self._check_tar(inner, place)
                file.seek(archive.offset)
                whole = file.read(2 * tarfile.BLOCKSIZE) == bytes(2 * tarfile.BLOCKSIZE)
            except tarfile.ReadError:  # a member that goes on behind the end
                whole = False
        if not whole:
            raise DataError(f"{self._where}: {place.name}: got a truncated or damaged tar file, expected a whole one. Copy it again.")

    def _split(self, reader: Any, classes: dict[str, int], limit: int, place: Path) -> Split:
        """One split, with train's labels: timm would drop the images of other classes in silence."""
        import numpy as np
        from PIL import Image, ImageOps

        from robustradar.data import stratified

        names = _names(reader)
        if stray := {"", "."} & {*names}:
            path = reader.filename([names[label] for label in _labels(reader)].index(stray.pop()))
            raise DataError(f"{self._where}: {place.name}: {path}: got an image in no class, expected it in a class's folder. Move it.")
        if extra := [name for name in names if name not in classes]:
            expected = ", ".join(list(classes)[:10]) + (", …" if len(classes) > 10 else "")
            raise DataError(
                f"{self._where}: {place.name}: got class {extra[0]!r}, expected one of train's: {expected}. Rename or remove it."
            )
        y: NDArray[np.int64] = np.array([classes[names[label]] for label in _labels(reader)], np.int64)
        order = stratified(y)[: limit or None]
        x = np.empty((len(order), 3, self.size, self.size), np.uint8)
        for row, index in zip(x, order, strict=True):
            try:
                with reader[index][0] as file, Image.open(file) as image:
                    square = ImageOps.fit(image.convert("RGB"), (self.size, self.size), method=Image.Resampling.BILINEAR)
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                name = reader.filename(index)
                raise DataError(
                    f"{self._where}: {place.name}: {name}: got no readable image, expected one. Repair or remove it."
                ) from error
            row[...] = np.asarray(square).transpose(2, 0, 1)
        if (archive := getattr(getattr(reader, "tar_state", None), "tf", None)) is not None:
            archive.close()
        return Split(x, y[order])


def _names(reader: Any) -> list[str]:
    """The class names by label."""
    labels: dict[str, int] = getattr(reader, "class_to_idx", None) or reader.class_name_to_idx
    return sorted(labels, key=labels.__getitem__)


def _labels(reader: Any) -> list[int]:
    """The labels by sample."""
    return list(reader.targets) if hasattr(reader, "targets") else [label for _, label in reader.samples]


def datasets() -> tuple[Dataset, ...]:
    """The data sets of this plugin."""
    return (Reader(name="reader"),)
