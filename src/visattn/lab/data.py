"""Labelled images. What is asked for is what is loaded; nothing stands in for it."""

import hashlib
import io
import os
import zipfile
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

Array = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

FASHION_SHA256 = "5de05f4efcbb2713f7dbeeb1ba7286288c73937220f24d8e0c5b9212aa3732cb"
CIFAR10_REPOSITORY = "uoft-cs/cifar10"
CIFAR10_REVISION = "0b2714987fa478483af9968de7c934580d0bb9a2"
_CIFAR10_SHAPES = {
    "x_train": (50000, 32, 32, 3),
    "y_train": (50000,),
    "x_test": (10000, 32, 32, 3),
    "y_test": (10000,),
}

_FASHION_CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


class DatasetUnavailable(RuntimeError):  # noqa: N818 - it names a state, not a fault
    """A data set that this machine cannot get. The message names one that it can."""


@dataclass(frozen=True)
class Images:
    """A labelled set of images, cut into training and test part.

    Attributes:
        x_train: Training images [N, H, W, C], uint8.
        y_train: Their classes [N].
        x_test: Test images [M, H, W, C], uint8.
        y_test: Their classes [M].
        classes: Name of each class.
        name: Name of the set.
        licence: Who made it, and under which licence it comes.
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
            f"Images({self.name}: {list(self.x_train.shape)} to train, "
            f"{list(self.x_test.shape)} to test, {len(self.classes)} classes)"
        )


def load_dataset(
    name: str = "fashion-mnist", *, cache: str | os.PathLike[str] | None = None
) -> Images:
    """Load a labelled set of images.

    Args:
        name: ``"fashion-mnist"``: 5,000 + 1,000 grey pictures of garments, 28 x 28,
            part of this package. ``"digits"``: 1,797 grey digits, 8 x 8, part of
            scikit-learn. ``"cifar10"``: 50,000 + 10,000 colour photographs, 32 x 32,
            downloaded once through the library ``datasets``.
        cache: Folder for downloads; ``$VISATTN_HOME`` or ``~/.cache/visattn`` if None.

    Raises:
        ValueError: Unknown name.
        DatasetUnavailable: The set needs a package or a network that is not there.

    Example:
        >>> load_dataset()
        Images(fashion-mnist: [5000, 28, 28, 1] to train, [1000, 28, 28, 1] to test, \
10 classes)
    """
    loaders = {"fashion-mnist": _fashion_mnist, "digits": _digits}
    if name in loaders:
        return loaders[name]()
    if name == "cifar10":
        return _cifar10(cache)
    raise ValueError(f"unknown data set {name!r}; known: {[*loaders, 'cifar10']}")


def _fashion_mnist() -> Images:
    file = resources.files("visattn.lab") / "assets" / "fashion_mnist_6k.npz"
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != FASHION_SHA256:
        raise DatasetUnavailable(
            f"fashion_mnist_6k.npz is damaged: its SHA-256 is {found}, expected "
            f"{FASHION_SHA256}; install the package again"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return Images(
            arrays["x_train"][..., None],
            arrays["y_train"].astype(np.int64),
            arrays["x_test"][..., None],
            arrays["y_test"].astype(np.int64),
            _FASHION_CLASSES,
            "fashion-mnist",
            "Fashion-MNIST, (c) 2017 Zalando SE, MIT licence",
        )


def _digits() -> Images:
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError as error:
        raise DatasetUnavailable(
            "digits needs scikit-learn (pip install scikit-learn); 'fashion-mnist' "
            "comes with this package"
        ) from error
    found: Any = load_digits()
    # 16 grey levels become 0 ... 255; every fifth image is for the test.
    x = np.round(found.images * (255 / 16)).astype(np.uint8)[..., None]
    y = found.target.astype(np.int64)
    test = np.arange(len(y)) % 5 == 4
    return Images(
        x[~test], y[~test], x[test], y[test],
        tuple(str(digit) for digit in range(10)),
        "digits",
        "Optical recognition of handwritten digits, UCI, as in scikit-learn",
    )  # fmt: skip


def _cache_folder(cache: str | os.PathLike[str] | None) -> Path:
    if cache is not None:
        return Path(cache)
    home = os.environ.get("VISATTN_HOME")
    return Path(home) if home else Path.home() / ".cache" / "visattn"


def _cifar10(cache: str | os.PathLike[str] | None) -> Images:
    path = _cache_folder(cache) / f"cifar10_{CIFAR10_REVISION[:8]}.npz"
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as arrays:
                parts = {key: arrays[key] for key in arrays.files}
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise DatasetUnavailable(
                f"{path} is damaged ({error}); delete it, then ask again"
            ) from error
    else:
        parts = _download_cifar10()
        _check_cifar10(parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.part")
        try:
            with partial.open("wb") as file:
                np.savez_compressed(file, **parts)  # type: ignore[arg-type]
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    _check_cifar10(parts)
    return Images(
        parts["x_train"], parts["y_train"], parts["x_test"], parts["y_test"],
        _CIFAR10_CLASSES,
        "cifar10",
        "CIFAR-10, Alex Krizhevsky 2009; no licence is stated",
    )  # fmt: skip


def _download_cifar10() -> dict[str, npt.NDArray[Any]]:
    instead = "; 'fashion-mnist' comes with this package"
    try:
        import datasets
    except ImportError as error:
        raise DatasetUnavailable(
            f"cifar10 needs the library datasets (pip install datasets){instead}"
        ) from error
    parts: dict[str, npt.NDArray[Any]] = {}
    try:
        for part in ("train", "test"):
            rows = datasets.load_dataset(
                CIFAR10_REPOSITORY, split=part, revision=CIFAR10_REVISION
            )
            parts[f"x_{part}"] = np.stack(
                [np.asarray(image, dtype=np.uint8) for image in rows["img"]]
            )
            parts[f"y_{part}"] = np.asarray(rows["label"], dtype=np.int64)
    except Exception as error:  # the errors of the hub share no base class
        raise DatasetUnavailable(
            f"cifar10 could not be downloaded ({error}){instead}"
        ) from error
    return parts


def _check_cifar10(parts: dict[str, npt.NDArray[Any]]) -> None:
    found = {key: value.shape for key, value in parts.items()}
    if found != _CIFAR10_SHAPES:
        raise DatasetUnavailable(
            f"what came as cifar10 has the shapes {found}, expected {_CIFAR10_SHAPES}"
        )


def as_tensors(images: npt.NDArray[Any]) -> Float[Tensor, "N C H W"]:
    """Turn uint8 images into network input: [N, H, W, C] -> [N, C, H, W].

    Fixed scaling, the same for every set: 0 ... 255 becomes -1 ... 1.

    Raises:
        TypeError: Not a uint8 array.
        ValueError: Not four axes, or empty.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        kind = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"images must be a uint8 array, got {kind}")
    if images.ndim != 4 or images.size == 0:
        raise ValueError(f"images must be [N, H, W, C], got {list(images.shape)}")
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return x.float() / 127.5 - 1.0
