"""Data sets: what is asked for is what comes."""

import builtins
import sys
import types

import numpy as np
import pytest
import torch

from visattn.lab import DatasetUnavailable, Images, as_tensors, load_dataset
from visattn.lab import data as module


def test_fashion_mnist():
    images = load_dataset()
    assert images.x_train.shape == (5000, 28, 28, 1)
    assert images.x_test.shape == (1000, 28, 28, 1)
    assert images.x_train.dtype == np.uint8
    assert np.bincount(images.y_train).tolist() == [500] * 10
    assert np.bincount(images.y_test).tolist() == [100] * 10
    assert len(images.classes) == 10
    assert "Zalando" in images.licence
    assert "fashion-mnist" in repr(images)
    assert images.x_train.max() == 255


def test_a_damaged_file_is_noticed(monkeypatch):
    monkeypatch.setattr(module, "FASHION_SHA256", "0" * 64)
    with pytest.raises(DatasetUnavailable, match=r"damaged.*0000"):
        load_dataset("fashion-mnist")


def test_digits():
    images = load_dataset("digits")
    assert len(images.x_train) + len(images.x_test) == 1797
    assert images.x_train.shape[1:] == (8, 8, 1)
    assert images.x_train.max() == 255
    assert set(images.y_test) == set(range(10))


class FakeRows(dict):
    """What the library `datasets` gives, in small."""


def fake_datasets(monkeypatch, load):
    library = types.ModuleType("datasets")
    library.load_dataset = load
    monkeypatch.setitem(sys.modules, "datasets", library)


def test_cifar10_is_loaded_once_and_kept(monkeypatch, tmp_path):
    calls = []
    small = {
        name: (shape[0] // 1000, *shape[1:])
        for name, shape in module._CIFAR10_SHAPES.items()
    }
    monkeypatch.setattr(module, "_CIFAR10_SHAPES", small)

    def load(repository, *, split, revision):
        calls.append((repository, split, revision))
        count = 50 if split == "train" else 10
        picture = np.full((32, 32, 3), len(calls), np.uint8)
        return FakeRows(img=[picture] * count, label=[3] * count)

    fake_datasets(monkeypatch, load)
    first = load_dataset("cifar10", cache=tmp_path)
    assert first.x_train.shape == (50, 32, 32, 3)
    assert first.x_test[0, 0, 0, 0] == 2
    assert first.y_train.dtype == np.int64
    assert {call[2] for call in calls} == {module.CIFAR10_REVISION}
    again = load_dataset("cifar10", cache=tmp_path)
    assert len(calls) == 2, "the second time it comes from the cache"
    assert (again.x_test == first.x_test).all()
    assert len(list(tmp_path.iterdir())) == 1, "no partial file is left"


def test_a_damaged_cache_is_named(tmp_path):
    path = tmp_path / f"cifar10_{module.CIFAR10_REVISION[:8]}.npz"
    path.write_bytes(b"PK not a zip file")
    with pytest.raises(DatasetUnavailable, match=r"cifar10_.*damaged.*delete it"):
        load_dataset("cifar10", cache=tmp_path)


def test_cifar10_of_another_shape_is_refused(monkeypatch, tmp_path):
    def load(repository, *, split, revision):
        return FakeRows(img=[np.zeros((32, 32, 3), np.uint8)] * 20, label=[0] * 20)

    fake_datasets(monkeypatch, load)
    with pytest.raises(DatasetUnavailable, match=r"\(20, 32, 32, 3\).*50000"):
        load_dataset("cifar10", cache=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ConnectionError, RuntimeError])
def test_cifar10_without_a_network(monkeypatch, tmp_path, error):
    def load(repository, *, split, revision):
        raise error("Couldn't reach the hub")

    fake_datasets(monkeypatch, load)
    with pytest.raises(DatasetUnavailable, match=r"reach the hub.*fashion-mnist"):
        load_dataset("cifar10", cache=tmp_path)


@pytest.mark.parametrize(
    ("name", "library"), [("cifar10", "datasets"), ("digits", "sklearn")]
)
def test_a_missing_library_is_named(monkeypatch, tmp_path, name, library):
    real = builtins.__import__

    def without(wanted, *args, **kwargs):
        if wanted.split(".")[0] == library:
            raise ImportError(f"No module named {wanted}")
        return real(wanted, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DatasetUnavailable, match=r"pip install.*fashion-mnist"):
        load_dataset(name, cache=tmp_path)


@pytest.mark.bad_input
def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"'imagenet'.*fashion-mnist.*digits.*cifar10"):
        load_dataset("imagenet")


def test_as_tensors():
    images = np.zeros((2, 3, 4, 1), np.uint8)
    images[1, 2, 3, 0] = 255
    x = as_tensors(images)
    assert x.shape == (2, 1, 3, 4)
    assert x.dtype == torch.float32
    assert x.min() == -1
    assert x[1, 0, 2, 3] == 1


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((2, 3, 4, 1)), TypeError, "float64"),
        (np.zeros((2, 3, 4), np.uint8), ValueError, r"\[2, 3, 4\]"),
        (np.zeros((0, 3, 4, 1), np.uint8), ValueError, r"\[0, 3, 4, 1\]"),
        ([1], TypeError, "list"),
    ],
)
def test_as_tensors_refuses(images, error, message):
    with pytest.raises(error, match=message):
        as_tensors(images)


def test_images_is_what_comes():
    assert isinstance(load_dataset(), Images)
