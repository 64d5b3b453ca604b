"""Scenes with a label for every pixel, composed from real images, and their score.

Shapes: N M scenes, S side of a scene, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from torch import Tensor

from visattn.lab.data import load_dataset
from visattn.lab.photos import load_photo

Array = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

CLASSES = ("background", "top", "trouser", "dress", "shoe", "bag")
TRAIN_PHOTOS = ("astronaut", "brick", "camera", "grass", "rocket")
TEST_PHOTOS = ("chelsea", "coffee", "gravel")

# The class of each of the ten kinds of Fashion-MNIST.
_GROUPS = np.array([1, 2, 1, 3, 1, 4, 1, 4, 5, 4])
_SIDE = 28  # pixels of a garment
_INK = 12  # a garment's pixels are brighter than this
_OVERHANG = 4  # so far a garment may lie outside the scene
_LARGEST = 80  # the photographs, at half their size, have at least 85 pixels a side


@dataclass(frozen=True)
class Scenes:
    """Images with a class for every pixel, cut into training and test part.

    Attributes:
        x_train: Training images [N, S, S, 3], uint8.
        y_train: The class of each of their pixels [N, S, S].
        x_test: Test images [M, S, S, 3], uint8.
        y_test: The class of each of their pixels [M, S, S].
        classes: Name of each class; 0 is the background.
        name: Name of the set.
        licence: Whose images the scenes are made of, and under which licences.
    """

    x_train: Array
    y_train: Labels
    x_test: Array
    y_test: Labels
    classes: tuple[str, ...]
    name: str
    licence: str

    def __repr__(self) -> str:
        """Sizes instead of numbers."""
        return (
            f"Scenes({self.name}: {list(self.x_train.shape)} to train, "
            f"{list(self.x_test.shape)} to test, {len(self.classes)} classes)"
        )


def load_scenes(
    train: int = 2000,
    test: int = 400,
    *,
    size: int = 48,
    garments: int = 2,
    dim: float = 0.5,
    seed: int = 0,
) -> Scenes:
    """Compose scenes: garments of Fashion-MNIST on crops of the photographs.

    A scene has one to ``garments`` garments. Each is of a group drawn evenly from five,
    is mirrored or not, gets a colour, and lies anywhere, up to 4 pixels over the edge.
    Later ones cover earlier ones. The class of a pixel is the group of the garment
    that is seen there. A garment covers its pixels brighter than 12 of 255, and the
    holes between them.

    Test scenes use other garments and other photographs than training scenes. The same
    arguments give the same scenes, and fewer scenes are the first ones of more.

    Args:
        train: Number of training scenes.
        test: Number of test scenes.
        size: Side of a scene in pixels, from 28 to 80.
        garments: Most garments in a scene.
        dim: Brightness of the photographs, in [0, 1].
        seed: Of everything that is drawn.

    Raises:
        TypeError: A number of the wrong kind.
        ValueError: A number out of range.
        ImportError: SciPy or Pillow is not installed.

    Example:
        >>> load_scenes(3, 2)
        Scenes(fashion-scenes: [3, 48, 48, 3] to train, [2, 48, 48, 3] to test, \
6 classes)
    """
    _check_integer(1, None, train=train, test=test, garments=garments)
    _check_integer(_SIDE, _LARGEST, size=size)
    _check_integer(0, None, seed=seed)
    if isinstance(dim, bool) or not isinstance(dim, int | float):
        raise TypeError(f"dim must be a number, got {dim!r}")
    if not 0 <= dim <= 1:
        raise ValueError(f"dim must be in [0, 1], got {dim}")

    images = load_dataset("fashion-mnist")
    arrays: list[Any] = []
    for part, (number, pictures, kinds, photos) in enumerate(
        (
            (train, images.x_train, images.y_train, TRAIN_PHOTOS),
            (test, images.x_test, images.y_test, TEST_PHOTOS),
        )
    ):
        wardrobe = [
            pictures[_GROUPS[kinds] == group, :, :, 0]
            for group in range(1, len(CLASSES))
        ]
        grounds = [_half_size(name) for name in photos]
        scenes = [
            # A generator of its own for each scene: their number changes none of them.
            _compose(np.random.default_rng([seed, part, n]), wardrobe, grounds, size,
                     garments, dim)
            for n in range(number)
        ]  # fmt: skip
        arrays += [np.stack(kind) for kind in zip(*scenes, strict=True)]
    x_train, y_train, x_test, y_test = arrays
    return Scenes(
        x_train,
        y_train,
        x_test,
        y_test,
        CLASSES,
        "fashion-scenes",
        f"{images.licence}; photographs: CC0 or public domain, see `photo_credit`",
    )


def _check_integer(low: int, high: int | None, **numbers: int) -> None:
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{name} must be an integer, got {number!r}")
        if number < low or (high is not None and number > high):
            end = "" if high is None else f" and at most {high}"
            raise ValueError(f"{name} must be at least {low}{end}, got {number}")


@cache
def _half_size(name: str) -> npt.NDArray[np.int64]:
    """A photograph [H, W, 3]: means of 2 x 2 pixels, in whole numbers."""
    pixels = (255 * load_photo(name)).round().to(torch.int64).permute(1, 2, 0).numpy()
    even = pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2]
    total = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    half: npt.NDArray[np.int64] = (total + 2) // 4
    return half


def _compose(
    random: np.random.Generator,
    wardrobe: Sequence[Array],
    grounds: Sequence[npt.NDArray[np.int64]],
    size: int,
    garments: int,
    dim: float,
) -> tuple[Array, Labels]:
    """One scene [S, S, 3] and the class of each pixel [S, S]."""

    def below(n: int) -> int:  # from `random()` alone, whose stream never changed
        return int(n * random.random())

    ground = grounds[below(len(grounds))]
    top, left = (below(side - size + 1) for side in ground.shape[:2])
    scene = float(dim) * ground[top : top + size, left : left + size]
    labels = np.zeros((size, size), dtype=np.int64)
    for _ in range(1 + below(garments)):
        group = below(len(wardrobe))
        garment = wardrobe[group][below(len(wardrobe[group]))]
        if below(2):
            garment = garment[:, ::-1]
        tint = [0.4 + 0.6 * random.random() for _ in range(3)]
        places = size - _SIDE + 2 * _OVERHANG + 1
        i, j = (below(places) - _OVERHANG for _ in range(2))

        rows, columns = (slice(max(p, 0), min(p + _SIDE, size)) for p in (i, j))
        inside = (
            slice(rows.start - i, rows.stop - i),
            slice(columns.start - j, columns.stop - j),
        )
        seen = garment_mask(garment)[inside]
        scene[rows, columns][seen] = (garment[inside][..., None] * tint)[seen]
        labels[rows, columns][seen] = group + 1
    return np.round(scene).astype(np.uint8), labels


def garment_mask(picture: Array) -> npt.NDArray[np.bool_]:
    """The pixels that a garment covers: all that are brighter than 12, without holes.

    Args:
        picture: One picture [H, W] of Fashion-MNIST, uint8.

    Raises:
        TypeError: Not an array of uint8.
        ValueError: Not two axes.
        ImportError: SciPy is not installed.
    """
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        kind = getattr(picture, "dtype", type(picture).__name__)
        raise TypeError(f"picture must be an array of uint8, got {kind}")
    if picture.ndim != 2:
        raise ValueError(f"picture must be [H, W], got shape {list(picture.shape)}")
    try:
        from scipy.ndimage import (  # type: ignore[import-untyped,unused-ignore]
            binary_fill_holes,
        )
    except ImportError as error:
        raise ImportError("scenes need SciPy: pip install 'visattn[book]'") from error
    filled: npt.NDArray[np.bool_] = binary_fill_holes(picture > _INK)
    return filled


# Score ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Overlap:
    """How well predicted classes cover the true ones.

    Attributes:
        mean: Mean intersection over union of the classes that occur.
        classes: That of each class; NaN for a class that occurs neither in the truth
            nor in the prediction.
        confusion: Number of pixels [K, K] by true class (row) and predicted class.
    """

    mean: float
    classes: tuple[float, ...]
    confusion: Labels

    def __repr__(self) -> str:
        """The scores without the counts."""
        text = ", ".join("-" if math.isnan(c) else f"{c:.3f}" for c in self.classes)
        return f"Overlap(mean {self.mean:.3f}; {text})"


def mean_iou(
    predicted: Int[Tensor, "*shape"] | npt.NDArray[Any],
    target: Int[Tensor, "*shape"] | npt.NDArray[Any],
    num_classes: int,
    *,
    ignore: int | None = None,
) -> Overlap:
    r"""Mean intersection over union, of all pixels of all images together.

    .. math:: \mathrm{IoU}_c = \frac{n_{cc}}{\sum_k n_{ck} + \sum_k n_{kc} - n_{cc}},
        \qquad \mathrm{mIoU} = \frac{1}{|\mathcal{C}|}
        \sum_{c \in \mathcal{C}} \mathrm{IoU}_c

    where n_ck is the number of pixels of true class c with predicted class k, and C are
    the classes that occur in the truth or in the prediction. A class that occurs in
    neither is left out of the mean; one that is only predicted counts with 0. The
    pixels are counted by scikit-learn's ``confusion_matrix``.

    Args:
        predicted: A class for each pixel, of any shape, for example [N, H, W].
        target: The true classes, of the same shape.
        num_classes: K; classes are 0 ... K-1.
        ignore: Pixels of this true class count nowhere, whatever is predicted there.

    Raises:
        TypeError: Not integers, or `ignore` is none.
        ValueError: Different shapes, classes out of range, no pixel that counts.
        ImportError: scikit-learn is not installed.

    Example:
        >>> import torch
        >>> mean_iou(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]), 3)
        Overlap(mean 0.583; 0.500, 0.667, -)
    """
    _check_integer(1, None, num_classes=num_classes)
    if ignore is not None and (isinstance(ignore, bool) or not isinstance(ignore, int)):
        raise TypeError(f"ignore must be an integer or None, got {ignore!r}")
    found, truth = (_integers(predicted, "predicted"), _integers(target, "target"))
    if found.shape != truth.shape:
        raise ValueError(
            f"predicted and target must have one shape, got {list(found.shape)} and "
            f"{list(truth.shape)}"
        )
    counts = np.full(truth.shape, True) if ignore is None else truth != ignore
    found, truth = found[counts], truth[counts]
    if not truth.size:
        raise ValueError(f"no pixel counts: {counts.size} pixels, ignore={ignore}")
    for name, labels in (("predicted", found), ("target", truth)):
        if labels.min() < 0 or labels.max() >= num_classes:
            raise ValueError(
                f"{name} must be in 0 ... {num_classes - 1}, got {labels.min()} ... "
                f"{labels.max()}"
            )
    try:
        from sklearn.metrics import (  # type: ignore[import-untyped,unused-ignore]
            confusion_matrix,
        )
    except ImportError as error:
        raise ImportError(
            "mean_iou needs scikit-learn: pip install 'visattn[book]'"
        ) from error
    n = confusion_matrix(truth, found, labels=np.arange(num_classes)).astype(np.int64)
    both, either = n.diagonal(), n.sum(axis=1) + n.sum(axis=0) - n.diagonal()
    scores = tuple(
        int(b) / int(e) if e else math.nan for b, e in zip(both, either, strict=True)
    )
    occur = [score for score in scores if not math.isnan(score)]
    return Overlap(sum(occur) / len(occur), scores, n)


def _integers(labels: Any, name: str) -> npt.NDArray[Any]:
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        kind = getattr(labels, "dtype", type(labels).__name__)
        raise TypeError(f"{name} must hold integers, got {kind}")
    return labels
