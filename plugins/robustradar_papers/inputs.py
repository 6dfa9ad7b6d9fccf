"""What a network can take."""

from __future__ import annotations


def image(where: str, shape: tuple[int, ...], multiple: int = 1) -> tuple[int, int, int]:
    """Channels, height and width of image inputs.

    Args:
        where: The network's name, for the message.
        shape: One input's shape.
        multiple: What height and width must be multiples of.

    Raises:
        ValueError: The inputs are no images, or have sides that the network cannot halve.

    Example:
        >>> image("cnn", (1, 8, 8))
        (1, 8, 8)
        >>> image("cnn", (64,))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: cnn: got inputs of shape [64], expected images [channels, height, width]. ...
    """
    if len(shape) != 3:
        raise ValueError(
            f"{where}: got inputs of shape {list(shape)}, expected images [channels, height, width]. "
            "Use papers/linear or papers/mlp, which take features."
        )
    channels, height, width = shape
    if height % multiple or width % multiple:
        raise ValueError(
            f"{where}: got images of {height}x{width} pixels, expected sides that are multiples of {multiple}. Resize or pad the data."
        )
    return channels, height, width
