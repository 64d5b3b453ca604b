"""Eight photographs, free of rights, for figures and explorers."""

import json
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def _folder() -> Traversable:
    return resources.files("visattn.lab") / "assets" / "photos"


@cache
def _credits() -> dict[str, str]:
    text = (_folder() / "credits.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def list_photos() -> list[str]:
    """Names that `load_photo` knows."""
    return sorted(_credits())


def photo_credit(name: str) -> str:
    """Who took the photograph, and under which terms it is free.

    Raises:
        ValueError: Unknown name.
    """
    _check_name(name)
    return _credits()[name]


def _check_name(name: str) -> None:
    if name not in _credits():
        raise ValueError(f"unknown photograph {name!r}; known: {list_photos()}")


def load_photo(
    name: str | Path, size: int = 256, *, square: bool = False
) -> Float[Tensor, "3 H W"]:
    """Load a photograph.

    Args:
        name: One of `list_photos`, or the `pathlib.Path` of a file of your own.
        size: Length of the longer side in pixels; the aspect is kept. The files of the
            package have at most 256 pixels a side; a larger size enlarges them.
        square: Cut out the largest square in the centre first.

    Returns:
        Red, green and blue in [0, 1].

    Raises:
        TypeError: size is not an integer.
        ValueError: Unknown name, a size below 1, a file that is not there or is
            not a picture.
        ImportError: Pillow is not installed.

    Example:
        >>> load_photo("coffee", size=60).shape
        torch.Size([3, 40, 60])
    """
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"size must be an integer, got {size!r}")
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    file: Any
    if isinstance(name, Path):
        if not name.is_file():
            raise ValueError(f"there is no file {name}")
        file = name
    else:
        _check_name(name)
        file = _folder() / f"{name}.jpg"
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            "photographs need Pillow: pip install 'visattn[book]'"
        ) from error

    try:
        with file.open("rb") as stream:
            # A camera may store the photograph lying on its side, and say so.
            picture = ImageOps.exif_transpose(Image.open(stream)).convert("RGB")
    except UnidentifiedImageError as error:
        raise ValueError(f"{file} is not a picture that Pillow can read") from error
    if square:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
    longest = max(picture.size)
    if longest != size:
        wide, high = (max(1, round(s * size / longest)) for s in picture.size)
        picture = picture.resize((wide, high), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(picture))  # [H, W, 3]
    return pixels.permute(2, 0, 1).float() / 255
