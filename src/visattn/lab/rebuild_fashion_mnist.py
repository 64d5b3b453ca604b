"""Rebuild the embedded part of Fashion-MNIST from the original files.

    python -m visattn.lab.rebuild_fashion_mnist --source DIR [--output FILE]

DIR holds the four ``*-ubyte.gz`` files, for example /usr/share/datasets/fashion-mnist
of Debian's package dataset-fashion-mnist. The first 500 training and the first 100 test
images of each class are kept, in their order. The arrays are compared with the hashes
below; the bytes of the file also depend on the versions of zlib and NumPy.
"""

import argparse
import gzip
import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HASHES = {
    "x_train": "219e0834d6dbbfcccb72e61d67310bfef387e43aba6c40b2bc63758d7ad925c9",
    "y_train": "4e5c0e8f28b58a4a5a035b2c3ca5c4e9b9dcd1ae36ad28d9ac24bdc36dc09cf1",
    "x_test": "3d7f6d64869a3f2d1afe64ae33ffb9b20670a91b31e3bbf0657e3999ec7b35cf",
    "y_test": "6b25654537ff83dd6c40fe0a122c7778d8219b2a88ff02c36dbdd21152fdb075",
}


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read one gzipped IDX file of unsigned bytes.

    Raises:
        ValueError: The file is not one, or its length does not fit its header.
    """
    content = gzip.decompress(path.read_bytes())
    zero, kind, axes = struct.unpack_from(">HBB", content)
    if zero != 0 or kind != 8:
        raise ValueError(f"{path} is not an IDX file of bytes: header {content[:4]!r}")
    shape = struct.unpack_from(f">{axes}I", content, 4)
    body = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if body.size != np.prod(shape):
        raise ValueError(f"{path} should hold {shape}, has {body.size} bytes")
    return body.reshape(shape)


def first_of_each_class(labels: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Indices, in order, of the first ``count`` of each label."""
    rank = np.zeros(len(labels), int)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        rank[places] = np.arange(len(places))
    return np.flatnonzero(rank < count)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file, after the arrays were compared with their hashes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--source", type=Path, required=True)
    default = Path(__file__).parent / "assets" / "fashion_mnist_6k.npz"
    parser.add_argument("--output", type=Path, default=default)
    options = parser.parse_args(arguments)

    arrays = {}
    for part, prefix, count in (("train", "train", 500), ("test", "t10k", 100)):
        labels = read_idx(options.source / f"{prefix}-labels-idx1-ubyte.gz")
        images = read_idx(options.source / f"{prefix}-images-idx3-ubyte.gz")
        kept = first_of_each_class(labels, count)
        arrays[f"x_{part}"], arrays[f"y_{part}"] = images[kept], labels[kept]
    for name, array in arrays.items():
        found = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        if found != HASHES[name]:
            raise SystemExit(
                f"{name} differs: SHA-256 {found}, expected {HASHES[name]}"
            )
    np.savez_compressed(options.output, **arrays)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
