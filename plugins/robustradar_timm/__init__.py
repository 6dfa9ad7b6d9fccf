"""Every timm network by its name, adapted to the data; nothing is ever downloaded.

The names are those of `models.txt` (timm 1.0.31), so that listing them needs neither torch nor timm.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata, resources
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from robustradar import Architecture, Dataset, file_digest, hookimpl
from robustradar_timm import dataset

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class TimmModel(Architecture):
    """A timm network, told the data's channels and number of outputs and, where its layers depend on it, the size."""

    patch: Annotated[
        int, Field(ge=0, description="Side in pixels of the patches that images are cut into; 0: as published, smaller for small images.")
    ] = 0
    resize: Annotated[int, Field(ge=0, description="Side in pixels to which images are resized inside the network; 0: not at all.")] = 0
    pretrained: Annotated[str, Field(description="A local file of weights (.safetensors, or a state dict in .pt); empty: none.")] = ""

    def content(self) -> str:
        """Timm's version and the weights' digest."""
        return f"timm {metadata.version('timm')} {file_digest(self.pretrained)}".strip()

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network."""
        from robustradar_timm import adapted

        return adapted.network(self, shape, outputs)


@hookimpl
def robustradar_architectures() -> tuple[Architecture, ...]:
    """One declaration for every name of the table."""
    table = resources.files(__package__).joinpath("models.txt").read_text(encoding="utf-8")
    return tuple(TimmModel(name=name) for name in table.split())


@hookimpl
def robustradar_datasets() -> tuple[Dataset, ...]:
    """What timm's readers read from local files."""
    return dataset.datasets()
