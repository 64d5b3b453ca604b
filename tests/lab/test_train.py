"""The small training loop."""

import builtins
import os
import random
import sys
import types

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nbclient import NotebookClient
from torch import nn

from visattn.lab import (
    History,
    accuracy,
    as_tensors,
    fit,
    load_dataset,
    predict,
    setup,
)


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
        ({"y": torch.zeros(2).long()}, ValueError, r"\[3, 1, 8, 8\] and \[2\]"),
        ({"y": torch.zeros(3, 8).long()}, TypeError, r"\[N, H, W\].*\[3, 8\]"),
        ({"y": torch.zeros(3, 0, 8).long()}, ValueError, r"\[3, 0, 8\]"),
        ({"y": torch.zeros(3, 8, 8).long()}, ValueError, r"got \[3, 10\]"),
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


# A class for each pixel -------------------------------------------------------------


def pixels(number=24, side=6):
    """Images [N, 3, S, S] whose brightest channel is the class of the pixel."""
    x = torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(0))
    return x, x.argmax(dim=1)


def test_learns_pixels():
    x, y = pixels()
    torch.manual_seed(0)
    model = nn.Conv2d(3, 3, 1)
    before = accuracy(model, x, y)
    history = fit(model, x, y, steps=150, batch_size=8, lr=0.1)
    assert history.loss[-1] < 0.2 < history.loss[0]
    assert before < 0.9 < accuracy(model, x, y)
    assert predict(model, x).shape == y.shape


def test_pixels_weigh_the_same_as_images_of_one_pixel():
    x, y = pixels(4, 3)
    torch.manual_seed(0)
    models = [nn.Conv2d(3, 3, 1) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    one = fit(models[0], x, y, steps=1, batch_size=4)
    many = x.permute(0, 2, 3, 1).reshape(-1, 3, 1, 1), y.reshape(-1, 1, 1)
    other = fit(models[1], *many, steps=1, batch_size=36)
    assert one.loss == pytest.approx(other.loss, rel=1e-5)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(108, 3)),  # one class for the image
        nn.Conv2d(3, 2, 1),  # too few classes
        nn.Conv2d(3, 3, 3),  # a smaller map
        nn.Conv2d(3, 3, (1, 6)),
    ],
)
def test_logits_must_fit_the_pixels(model):
    x, y = pixels()
    with pytest.raises(ValueError, match=r"logits \[8, 3, 6, 6\], got"):
        fit(model, x, y, steps=1, batch_size=8)


@pytest.mark.bad_input
def test_accuracy_does_not_spread_a_class_over_pixels():
    x, y = pixels(6, 6)
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 3))  # predicts [6]
    with pytest.raises(ValueError, match=r"\[6, 6, 6\].*got \[6\]"):
        accuracy(model, x, y)


def test_accuracy_counts_pixels():
    logits = F.one_hot(torch.tensor([[0, 1], [2, 2]]), 3).permute(2, 0, 1)[None].float()
    y = torch.tensor([[[0, 1], [2, 0]]])
    assert accuracy(nn.Identity(), logits, y) == 0.75


def test_predict_goes_in_parts_and_in_evaluation():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))
    x, _ = pixels()
    found = predict(model, x, batch_size=5)
    assert found.dtype == torch.int64
    assert torch.equal(found, model.eval()(x).argmax(dim=1))


@pytest.mark.bad_input
def test_predict_refuses():
    with pytest.raises(TypeError, match="list"):
        predict(nn.Identity(), [1])
    with pytest.raises(TypeError, match="builtin"):
        predict(print, torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"\[0, 2\]"):
        predict(nn.Identity(), torch.zeros(0, 2))
    with pytest.raises(ValueError, match=r"batch_size.*0"):
        predict(nn.Identity(), torch.zeros(1, 2), batch_size=0)


# The bar ----------------------------------------------------------------------------


def train(**options):
    return fit(nn.Conv2d(3, 3, 1), *pixels(), steps=3, batch_size=8, **options)


def test_no_bar_where_nobody_watches(capfd):
    train()
    train(progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_bar_where_it_is_asked_for(capfd):
    train(progress=True)
    said = capfd.readouterr()
    assert "0/3" in said.err + said.out


def test_a_bar_at_a_terminal_but_not_on_a_page(capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("VISATTN_STATIC", "1")
    train()
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("VISATTN_STATIC", "0")
    train()
    said = capfd.readouterr()
    assert "0/3" in said.err + said.out


def test_the_bar_changes_no_number():
    losses = []
    for progress in (True, False):
        torch.manual_seed(0)
        losses.append(train(progress=progress).loss)
    assert losses[0] == losses[1]


@pytest.mark.bad_input
def test_without_tqdm(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "tqdm":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"visattn\[book\]"):
        train(progress=True)
    shell = types.SimpleNamespace(kernel=None)
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert len(train().loss) == 3  # it would like to show one, and does without


@pytest.mark.filterwarnings("ignore")  # of the client's own libraries
@pytest.mark.parametrize("static", ["1", ""])
def test_a_bar_in_a_live_notebook_and_none_on_the_page(static):
    code = (
        "import torch\nfrom torch import nn\nfrom visattn.lab import fit\n"
        "x = torch.zeros(8, 2)\n"
        "history = fit(nn.Linear(2, 2), x, torch.arange(8) % 2, steps=3)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    environment = os.environ | {"VISATTN_STATIC": static, "PYTHONWARNINGS": "ignore"}
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(
        env=environment
    )
    outputs = notebook.cells[0].outputs
    errors = [o for o in outputs if o.get("name") == "stderr"]
    assert not errors, errors
    assert bool(outputs) is (static == ""), outputs
