"""The small training loop."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from visattn.lab import History, accuracy, as_tensors, fit, load_dataset, setup


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


@pytest.fixture(scope="module")
def digits():
    images = load_dataset("digits")
    return (
        as_tensors(images.x_train),
        torch.from_numpy(images.y_train),
        as_tensors(images.x_test),
        torch.from_numpy(images.y_test),
    )


def test_learns_digits(digits):
    x, y, x_test, y_test = digits
    model = make()
    before = accuracy(model, x_test, y_test)
    history = fit(model, x, y, steps=200)
    assert len(history.loss) == 200
    assert np.mean(history.loss[-20:]) < 0.3 < np.mean(history.loss[:5])
    assert before < 0.4
    assert accuracy(model, x_test, y_test) > 0.9


def test_same_seed_same_batches(digits):
    x, y, *_ = digits
    first = fit(make(), x, y, steps=5, seed=3)
    torch.randn(7)  # the global generator has moved
    assert fit(make(), x, y, steps=5, seed=3).loss == first.loss
    assert fit(make(), x, y, steps=5, seed=4).loss != first.loss


def test_each_image_is_seen_once_in_an_epoch():
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))

        def forward(self, x):
            seen.extend(x.flatten().tolist())
            return x * self.weight

    x = torch.arange(12.0)[:, None]
    fit(Spy(), x, torch.zeros(12, dtype=torch.int64), steps=3, batch_size=4)
    assert sorted(seen) == list(range(12))


def test_a_batch_may_be_larger_than_the_set():
    x, y = torch.randn(3, 1, 8, 8), torch.tensor([0, 1, 2])
    assert len(fit(make(), x, y, steps=2, batch_size=64).loss) == 2


@pytest.mark.parametrize("training", [True, False])
def test_mode_is_left_as_it_was(digits, training):
    x, y, *_ = digits
    model = make().train(training)
    fit(model, x, y, steps=1)
    accuracy(model, x, y)
    assert model.training is training


def test_a_frozen_part_stays_frozen():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[1].eval()
    x, y = torch.randn(8, 4), torch.zeros(8, dtype=torch.int64)
    fit(model, x, y, steps=1)
    accuracy(model, x, y)
    assert [module.training for module in model] == [True, False, True]


def test_mode_is_given_back_after_an_error():
    class Broken(nn.Linear):
        def forward(self, x):
            raise RuntimeError("broken")

    model = Broken(4, 2)
    with pytest.raises(RuntimeError, match="broken"):
        accuracy(model, torch.zeros(3, 4), torch.zeros(3).long())
    assert model.training


def test_dropout_starts_from_the_seed():
    x, y = torch.randn(16, 4), torch.arange(16) % 2
    losses = []
    for burn in (0, 7):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2))
        torch.randn(burn)
        state = torch.get_rng_state()
        losses.append(fit(model, x, y, steps=4, batch_size=8).loss)
        assert torch.equal(torch.get_rng_state(), state), "the global one is untouched"
    assert losses[0] == losses[1]


def test_history_shows_first_and_last_loss():
    assert repr(History([2.5, 2.0, 1.25])) == "History(3 steps, loss 2.500 to 1.250)"
    assert repr(History([2.5])) == "History(1 step, loss 2.500 to 2.500)"
    assert repr(History()) == "History(0 steps)"


def test_accuracy_counts():
    x = torch.eye(4)[:, :, None, None]
    y = torch.tensor([0, 1, 2, 0])
    assert accuracy(nn.Flatten(), x, y, batch_size=3) == 0.75


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": print}, TypeError, "builtin_function"),
        ({"x": [1]}, TypeError, "list"),
        ({"y": torch.zeros(3)}, TypeError, "float32"),
        ({"y": torch.zeros(2).long()}, ValueError, "3 and 2"),
        ({"y": torch.tensor([0, 1, 10])}, ValueError, r"11 classes.*got \[3, 10\]"),
        ({"y": torch.tensor([0, 1, -100])}, ValueError, "got -100"),
        ({"model": nn.Conv2d(1, 3, 1)}, ValueError, r"got \[3, 3, 8, 8\]"),
        ({"steps": 0}, ValueError, "steps.*0"),
        ({"batch_size": 2.0}, TypeError, "batch_size.*2.0"),
    ],
)
def test_refusals(changes, error, message):
    arguments = {
        "model": make(),
        "x": torch.zeros(3, 1, 8, 8),
        "y": torch.zeros(3).long(),
        "steps": 1,
    } | changes
    model, x, y = (arguments.pop(name) for name in ("model", "x", "y"))
    with pytest.raises(error, match=message):
        fit(model, x, y, **arguments)


def test_setup_prints_one_line_and_seeds_three_generators(capsys):
    numbers = []
    for _ in range(2):
        device = setup(seed=5)
        numbers.append((torch.rand(1).item(), np.random.rand(), random.random()))  # noqa: NPY002
    assert numbers[0] == numbers[1]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "seed 5" in lines[0]
    assert torch.__version__ in lines[0]
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("seed", "error"), [("0", TypeError), (-1, ValueError), (2**32, ValueError)]
)
def test_bad_seed(seed, error):
    with pytest.raises(error, match=str(seed)):
        setup(seed)
