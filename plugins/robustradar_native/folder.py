"""Image files in folders as a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from robustradar import Data, DataError, Dataset, Split
from robustradar_native.limit import EvalLimit, TrainLimit
from robustradar_native.picture import Picture, decode


@dataclass(frozen=True)
class Folder(Dataset):
    """Image files as root/train/CLASS/FILE, root/test/CLASS/FILE (or val for test) and, where there is one, root/final/CLASS/FILE.

    Classes are train's folders in the order of their names. The samples of a split are mixed by class, in the order of file names.
    """

    root: Annotated[str, Field(description="The folder that holds train and test.")] = ""
    resize: Annotated[int, Field(ge=0, description="Bring images to so many pixels a side; 0: all have one size already.")] = 0
    train_limit: TrainLimit = 0
    eval_limit: EvalLimit = 0

    def load(self) -> Data:
        """The images, decoded.

        Raises:
            DataError: A folder is missing or empty, a class is not in train, or a file is no image or in no class.
        """
        import numpy as np

        from robustradar.data import stratified

        where = f"native/folder {self.root}".rstrip()
        folders = split_folders(self.root, where)
        classes = sorted(entries(folders["train"]))
        limits = {"train": self.train_limit, "evaluation": self.eval_limit, "final": 0}
        pictures: dict[str, list[Picture]] = {}
        labels = {}
        for name, folder in folders.items():
            found, y = listing(folder, classes, where)
            if name == "train" and (empty := sorted(set(range(len(classes))) - set(y))):
                raise DataError(
                    f"{where}: train/{classes[empty[0]]}: got an empty folder, expected images in it. Remove it, or put some there."
                )
            order = stratified(np.array(y, np.int64))[: limits[name] or None]
            pictures[name], labels[name] = [found[i] for i in order], np.array(y, np.int64)[order]
        x = decode(pictures, self.resize, where)
        splits = {name: Split(x[name], labels[name]) for name in folders}
        return Data(splits["train"], splits["evaluation"], splits.get("final"), classes=len(classes), bounds=(0.0, 1.0))


def split_folders(root: str, where: str) -> dict[str, Path]:
    """The folders of the splits.

    Raises:
        DataError: There is no train, or not exactly one of test and val.
    """
    if not root:
        raise DataError(f"{where}: got no root, expected a folder. Write folder:root=DIR.")
    if not Path(root).is_dir():
        raise DataError(f"{where}: got no such folder, expected one with train and test. Check the path.")
    there = entries(Path(root))
    if "train" not in there or ("test" in there) == ("val" in there):
        raise DataError(f"{where}: got {shown(there)}, expected train, one of test and val, and final if there is one. Rename the folders.")
    folders = {"train": there["train"], "evaluation": there.get("test") or there["val"]}
    return {**folders, "final": there["final"]} if "final" in there else folders


def listing(folder: Path, classes: list[str], where: str) -> tuple[list[Picture], list[int]]:
    """A split's files and labels, class by class; names that begin with a dot do not count.

    Raises:
        DataError: There is no file, one is in no class, or a class is not among those of train.
    """
    there = entries(folder)
    if stray := sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        raise DataError(f"{where}: {folder.name}/{stray[0]}: got a file in no class, expected it in a class's folder. Move or remove it.")
    if extra := sorted(set(there) - set(classes)):
        raise DataError(f"{where}: {folder.name}: got class {extra[0]!r}, expected one of train's: {shown(classes)}. Rename or remove it.")
    files = [(path, label) for label, name in enumerate(classes) if name in there for path in sorted(there[name].iterdir())]
    files = [(path, label) for path, label in files if not path.name.startswith(".")]
    if not files:
        raise DataError(f"{where}: {folder.name}: got no image, expected one folder a class with images in it. Check the path.")
    return [Picture("/".join(path.parts[-3:]), path) for path, _ in files], [label for _, label in files]


def entries(folder: Path) -> dict[str, Path]:
    """The sub-folders by name, without hidden ones."""
    return {path.name: path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}


def shown(names: list[str] | dict[str, Path]) -> str:
    """Names for a message, at most ten."""
    listed = sorted(names)
    return ", ".join(listed[:10]) + (f", … ({len(listed)} in all)" if len(listed) > 10 else "") or "no folders"
