"""Composed scenes, and their score."""

import builtins
import hashlib
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from visattn.lab import (
    Overlap,
    garment_mask,
    list_photos,
    load_dataset,
    load_scenes,
    mean_iou,
    photo_credit,
)
from visattn.lab import scenes as module


@pytest.fixture(scope="module")
def scenes():
    return load_scenes(60, 30)


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def test_kinds_and_sizes(scenes):
    assert scenes.x_train.shape == (60, 48, 48, 3)
    assert scenes.y_train.shape == (60, 48, 48)
    assert scenes.x_test.shape == (30, 48, 48, 3)
    assert scenes.y_test.shape == (30, 48, 48)
    assert scenes.x_train.dtype == scenes.x_test.dtype == np.uint8
    assert scenes.y_train.dtype == scenes.y_test.dtype == np.int64
    assert len(scenes.classes) == 6
    assert "Zalando" in scenes.licence
    assert "CC0" in scenes.licence
    assert "60, 48, 48, 3" in repr(scenes)


def test_the_same_numbers_as_ever(scenes):
    """The labels need no JPEG decoder; the images do, and its numbers are fixed."""
    assert digest(scenes.y_train) == "6d3e0043d96c5a5e"
    assert digest(scenes.y_test) == "f5e4495220060787"
    assert digest(scenes.x_train) == "87414f38c8f0f17e"
    assert digest(scenes.x_test) == "201ed2824ab33dcb"


def test_fewer_scenes_are_the_first_of_more(scenes):
    few = load_scenes(7, 3)
    assert np.array_equal(few.x_train, scenes.x_train[:7])
    assert np.array_equal(few.y_train, scenes.y_train[:7])
    assert np.array_equal(few.x_test, scenes.x_test[:3])
    assert np.array_equal(few.y_test, scenes.y_test[:3])


def test_another_seed_other_scenes(scenes):
    other = load_scenes(20, 20, seed=1)
    assert not np.array_equal(other.x_train, scenes.x_train[:20])
    same = (other.y_test == scenes.y_test[:20]).all(axis=(1, 2))
    assert not same.any()


def test_parts_share_neither_garments_nor_photographs(monkeypatch):
    assert not set(module.TRAIN_PHOTOS) & set(module.TEST_PHOTOS)
    assert set(module.TRAIN_PHOTOS) | set(module.TEST_PHOTOS) == set(list_photos())
    for name in list_photos():
        assert "CC0" in photo_credit(name) or "public domain" in photo_credit(name)
    real = load_dataset()
    seen = []

    def compose(random, wardrobe, grounds, size, garments, dim):
        seen.append((wardrobe, grounds))
        return np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.int64)

    monkeypatch.setattr(module, "_compose", compose)
    load_scenes(1, 1)
    (train, train_grounds), (test, test_grounds) = seen
    for mine, pictures, kinds in (
        (train, real.x_train, real.y_train),
        (test, real.x_test, real.y_test),
    ):
        assert [len(group) for group in mine] == [
            int((module._GROUPS[kinds] == group).sum()) for group in range(1, 6)
        ]
        assert sum(map(len, mine)) == len(pictures)
    prints = [{digest(g) for group in part for g in group} for part in (train, test)]
    assert not prints[0] & prints[1], "no picture lies in both parts of Fashion-MNIST"
    grounds = [{digest(g) for g in part} for part in (train_grounds, test_grounds)]
    assert not grounds[0] & grounds[1]


def test_a_label_is_where_its_garment_is():
    """The fault this catches: image and labels cut at different rows or columns."""
    scenes = load_scenes(40, 1, dim=0)  # black ground: what is not black is garment
    lit = scenes.x_train.max(axis=-1) > 0
    assert not (lit & (scenes.y_train == 0)).any(), "only garments are lit"
    covered = (lit & (scenes.y_train > 0)).sum() / (scenes.y_train > 0).sum()
    assert 0.9 < covered < 1, "a garment is lit, but for its holes and dark prints"


def test_groups_are_even_and_all_occur(scenes):
    more = load_scenes(300, 1)
    seen = [(more.y_train == c).any(axis=(1, 2)).mean() for c in range(6)]
    assert seen[0] == 1
    assert all(0.2 < share < 0.36 for share in seen[1:])
    assert 0.7 < (more.y_train == 0).mean() < 0.85


def test_garments_may_hang_over_every_edge():
    labels = load_scenes(150, 1).y_train > 0
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        assert edge.any()


def test_size_and_number_and_brightness():
    small = load_scenes(20, 2, size=28, garments=1)
    assert small.x_train.shape == (20, 28, 28, 3)
    assert max(len(set(y.flatten())) for y in small.y_train) == 2, "one garment each"
    large = load_scenes(2, 1, size=80)
    assert large.y_train.shape == (2, 80, 80)
    bright, dim = (load_scenes(10, 1, dim=dim) for dim in (1.0, 0.25))
    ground = bright.y_train == 0
    assert np.array_equal(bright.y_train, dim.y_train)
    means = [part.x_train[ground].mean() for part in (bright, dim)]
    assert abs(means[1] / means[0] - 0.25) < 0.01


def test_a_whole_number_is_a_brightness_as_well():
    """The fault this catches: an integer array cuts the garments' colours off."""
    for whole in (0, 1):
        one, other = (load_scenes(5, 2, dim=dim) for dim in (whole, float(whole)))
        assert np.array_equal(one.x_train, other.x_train)
        assert np.array_equal(one.x_test, other.x_test)


def test_mask_fills_holes_but_no_bays():
    picture = np.zeros((6, 7), np.uint8)
    picture[1:5, 1:4] = 200
    picture[2, 2] = 12  # a hole, as bright as the ground may be
    picture[1:5, 5] = 13  # a leg, just bright enough, with a bay between
    picture[1, 4] = 90
    expected = picture > 12
    expected[2, 2] = True
    assert np.array_equal(garment_mask(picture), expected)
    assert not garment_mask(np.full((3, 3), 12, np.uint8)).any()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train": 0}, ValueError, "train.*1.*got 0"),
        ({"test": 1.5}, TypeError, r"test.*1\.5"),
        ({"garments": 0}, ValueError, "garments.*got 0"),
        ({"size": 27}, ValueError, "size.*28.*80.*got 27"),
        ({"size": 81}, ValueError, "got 81"),
        ({"size": True}, TypeError, "True"),
        ({"seed": -1}, ValueError, "seed.*-1"),
        ({"dim": "dark"}, TypeError, "dark"),
        ({"dim": 1.1}, ValueError, r"1\.1"),
        ({"dim": float("nan")}, ValueError, "nan"),
    ],
)
def test_refused_scenes(changes, error, message):
    with pytest.raises(error, match=message):
        load_scenes(**({"train": 1, "test": 1} | changes))


@pytest.mark.bad_input
def test_refused_pictures():
    with pytest.raises(TypeError, match="float64"):
        garment_mask(np.zeros((3, 3)))
    with pytest.raises(TypeError, match="list"):
        garment_mask([[1]])
    with pytest.raises(ValueError, match=r"\[1, 3, 3\]"):
        garment_mask(np.zeros((1, 3, 3), np.uint8))


@pytest.mark.bad_input
@pytest.mark.parametrize(("library", "call"), [
    ("scipy", lambda: garment_mask(np.zeros((3, 3), np.uint8))),
    ("sklearn", lambda: mean_iou(torch.tensor([0]), torch.tensor([0]), 1)),
])  # fmt: skip
def test_a_missing_library_is_named(monkeypatch, library, call):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == library:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"visattn\[book\]"):
        call()


# Score ------------------------------------------------------------------------------


def random_labels(classes, *shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, classes, shape))


def test_by_hand():
    target = torch.tensor([[0, 0, 1], [1, 1, 2]])
    predicted = torch.tensor([[0, 1, 1], [1, 0, 2]])
    overlap = mean_iou(predicted, target, 3)
    assert overlap.confusion.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 1]]
    assert overlap.classes == (1 / 3, 2 / 4, 1.0)
    assert overlap.mean == (1 / 3 + 1 / 2 + 1) / 3
    assert repr(overlap) == "Overlap(mean 0.611; 0.333, 0.500, 1.000)"


def test_as_the_jaccard_score_of_scikit_learn():
    target, predicted = (random_labels(5, 3, 8, 9, seed=s) for s in (0, 1))
    wanted = jaccard_score(target.flatten(), predicted.flatten(), average=None)
    overlap = mean_iou(predicted, target, 5)
    assert np.allclose(overlap.classes, wanted, rtol=1e-12)
    assert math.isclose(overlap.mean, wanted.mean(), rel_tol=1e-12)


def test_truth_and_prediction_are_not_confused():
    target, predicted = torch.tensor([0, 0, 0]), torch.tensor([1, 1, 0])
    assert mean_iou(predicted, target, 2).confusion.tolist() == [[1, 2], [0, 0]]


def test_absent_classes():
    zeros, ones = torch.zeros(4).long(), torch.ones(4).long()
    perfect = mean_iou(zeros, zeros, 3)  # neither 1 nor 2 occurs: left out
    assert perfect.mean == 1
    assert perfect.classes[0] == 1
    assert all(math.isnan(score) for score in perfect.classes[1:])
    assert repr(perfect) == "Overlap(mean 1.000; 1.000, -, -)"
    assert mean_iou(ones, zeros, 3).mean == 0  # predicted only: counts, with 0
    missed = mean_iou(zeros, torch.tensor([0, 0, 0, 1]), 3)  # true only: counts too
    assert missed.classes[:2] == (3 / 4, 0)
    assert missed.mean == 3 / 8


def test_pixels_are_pooled_and_not_images():
    """The mean of two images' scores is another number."""
    target = torch.tensor([[0, 0, 0, 1], [1, 1, 1, 1]])
    predicted = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1]])
    pooled = mean_iou(predicted, target, 2)
    assert pooled.classes == (3 / 4, 4 / 5)
    one_by_one = [
        mean_iou(p, t, 2).mean for p, t in zip(predicted, target, strict=True)
    ]
    assert pooled.mean != sum(one_by_one) / 2


def test_ignored_pixels_count_nowhere():
    target = torch.tensor([0, 1, 255, 255])
    predicted = torch.tensor([0, 1, 0, 1])
    assert mean_iou(predicted, target, 2, ignore=255).mean == 1
    assert mean_iou(predicted, target, 2, ignore=255).confusion.sum() == 2
    # a class may be ignored that the network can predict
    target, predicted = torch.tensor([0, 1, 2]), torch.tensor([2, 1, 2])
    overlap = mean_iou(predicted, target, 3, ignore=0)
    assert overlap.classes[1:] == (1, 1)
    assert math.isnan(overlap.classes[0])


def test_symmetric_and_blind_to_order():
    target, predicted = (random_labels(4, 200, seed=s) for s in (0, 1))
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    first = mean_iou(predicted, target, 4)
    assert mean_iou(target, predicted, 4).classes == first.classes
    assert mean_iou(predicted[order], target[order], 4).classes == first.classes


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8, torch.int64])
def test_kinds_of_labels(kind):
    target, predicted = (random_labels(4, 50, seed=s) for s in (0, 1))
    wanted = mean_iou(predicted, target, 4).mean
    assert mean_iou(predicted.to(kind), target.to(kind), 4).mean == wanted
    assert mean_iou(predicted.numpy(), target, 4).mean == wanted


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"predicted": torch.zeros(2)}, TypeError, "predicted.*float32"),
        ({"target": [0, 1]}, TypeError, "target.*list"),
        ({"target": torch.zeros(2).bool()}, TypeError, "bool"),
        ({"target": torch.zeros(3).long()}, ValueError, r"\[2\] and \[3\]"),
        ({"predicted": torch.tensor([0, 3])}, ValueError, r"predicted.*2.*0 ... 3"),
        ({"target": torch.tensor([-1, 0])}, ValueError, r"target.*-1"),
        ({"target": torch.tensor([0, 255])}, ValueError, "255"),
        ({"ignore": 0}, ValueError, "no pixel counts.*2.*0"),
        ({"ignore": 0.5}, TypeError, r"ignore.*0\.5"),
        ({"ignore": "255"}, TypeError, "ignore.*255"),
        ({"num_classes": 0}, ValueError, "num_classes.*0"),
        ({"num_classes": 2.0}, TypeError, r"2\.0"),
    ],
)
def test_refused_labels(changes, error, message):
    arguments = {
        "predicted": torch.zeros(2).long(),
        "target": torch.zeros(2).long(),
        "num_classes": 3,
    } | changes
    with pytest.raises(error, match=message):
        mean_iou(**arguments)


@pytest.mark.bad_input
def test_empty():
    empty = torch.zeros(0, 4, 4).long()
    with pytest.raises(ValueError, match="0 pixels"):
        mean_iou(empty, empty, 2)


def test_overlap_cannot_be_changed():
    with pytest.raises(AttributeError):
        Overlap(1.0, (1.0,), np.ones((1, 1))).mean = 0
