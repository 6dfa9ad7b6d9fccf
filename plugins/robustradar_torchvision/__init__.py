"""Every torchvision classification network by its name, adapted to the data; nothing is ever downloaded.

The names are those of `models.txt`, so that listing them needs neither torch nor torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata, resources
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from robustradar import Architecture, Dataset, file_digest, hookimpl
from robustradar_torchvision import dataset

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class TorchvisionModel(Architecture):
    """A torchvision classification network: its own layers, with the first and the last one adapted to the data."""

    stem: Annotated[
        Literal["auto", "cifar", "imagenet"],
        Field(description="imagenet: as published; cifar: 3x3 of stride 1, no pooling after it; auto: cifar up to 64 pixels."),
    ] = "auto"
    resize: Annotated[int, Field(ge=0, description="Side in pixels to which images are resized inside the network; 0: not at all.")] = 0
    pretrained: Annotated[str, Field(description="A local file of weights (.safetensors, or a state dict in .pt); empty: none.")] = ""

    def content(self) -> str:
        """Torchvision's version and the weights' digest."""
        return f"torchvision {metadata.version('torchvision')} {file_digest(self.pretrained)}".strip()

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network."""
        from robustradar_torchvision import adapted

        return adapted.network(self, shape, outputs)


@hookimpl
def robustradar_architectures() -> tuple[Architecture, ...]:
    """One declaration for every name of the table."""
    table = resources.files(__package__).joinpath("models.txt").read_text(encoding="utf-8")
    return tuple(TorchvisionModel(name=name) for name in table.split())


@hookimpl
def robustradar_datasets() -> tuple[Dataset, ...]:
    """The small image classification sets of torchvision."""
    return dataset.datasets()
