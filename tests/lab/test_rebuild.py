"""The scripts that made the files of the package."""

import gzip
import struct

import numpy as np
import pytest

from visattn.lab import rebuild_fashion_mnist as fashion
from visattn.lab import rebuild_photos as photos
from visattn.lab.photos import list_photos, photo_credit


def write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_read_idx(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "x.gz", array)
    assert (fashion.read_idx(tmp_path / "x.gz") == array).all()
    (tmp_path / "y.gz").write_bytes(gzip.compress(b"\x01\x02\x03\x04 text"))
    with pytest.raises(ValueError, match="not an IDX file"):
        fashion.read_idx(tmp_path / "y.gz")


def test_first_of_each_class():
    labels = np.array([1, 0, 1, 1, 0, 2])
    assert fashion.first_of_each_class(labels, 2).tolist() == [0, 1, 2, 4, 5]


def test_other_images_are_refused(tmp_path):
    for prefix, count in (("train", 20), ("t10k", 10)):
        write_idx(
            tmp_path / f"{prefix}-labels-idx1-ubyte.gz", np.zeros(count, np.uint8)
        )
        images = np.zeros((count, 28, 28), np.uint8)
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", images)
    output = tmp_path / "out.npz"
    with pytest.raises(SystemExit, match=r"x_train differs: SHA-256"):
        fashion.main(["--source", str(tmp_path), "--output", str(output)])
    assert not output.exists()


def test_photo_credits_are_those_of_the_script():
    assert sorted(photos.CREDITS) == list_photos()
    assert all(photo_credit(name) == text for name, text in photos.CREDITS.items())
