"""A training loop of one page, for experiments of seconds."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from visattn.explore.live import STATIC


@dataclass(frozen=True)
class History:
    """What happened during training.

    Attributes:
        loss: Cross-entropy of each step's batch, in nats.
    """

    loss: list[float] = field(default_factory=list)

    def __repr__(self) -> str:
        """First and last loss instead of all of them."""
        if not self.loss:
            return "History(0 steps)"
        steps = f"{len(self.loss)} step" + ("s" if len(self.loss) > 1 else "")
        return f"History({steps}, loss {self.loss[0]:.3f} to {self.loss[-1]:.3f})"


def _check_model(model: object, **counts: int) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"{name} must be an integer, got {count!r}")
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def _check(model: object, x: Tensor, y: Tensor, **counts: int) -> None:
    _check_model(model, **counts)
    if not isinstance(x, Tensor) or not isinstance(y, Tensor):
        raise TypeError(
            f"x and y must be tensors, got {type(x).__name__} and {type(y).__name__}"
        )
    if y.ndim not in (1, 3) or y.dtype != torch.int64:
        raise TypeError(
            f"y must be [N] or [N, H, W] of int64, got {list(y.shape)} of {y.dtype}"
        )
    if len(x) != len(y) or y.numel() == 0:
        raise ValueError(
            f"x and y must have one length, above 0, got {list(x.shape)} and "
            f"{list(y.shape)}"
        )
    if y.min() < 0:
        raise ValueError(f"classes start at 0, got {int(y.min())}")


def _device_of(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


@contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Switch the mode of a model, and give each of its modules its own back."""
    modes = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators, and give them their old state back."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _watched() -> bool:
    """Whether somebody can see a bar: in a live notebook, or at a terminal."""
    if os.environ.get(STATIC, "") not in ("", "0"):
        return False  # the notebook becomes a page of the book
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel") or sys.stderr.isatty()


def _bar(steps: int, progress: bool | None) -> Any:
    """The numbers of the steps, and a bar where it is wanted."""
    if progress or (progress is None and _watched()):
        try:
            from tqdm.auto import (  # type: ignore[import-untyped,unused-ignore]
                tqdm,
            )
        except ImportError as error:
            if progress:
                raise ImportError(
                    "progress needs tqdm: pip install 'visattn[book]'"
                ) from error
        else:
            return tqdm(range(steps), leave=False)
    return range(steps)


def fit(
    model: nn.Module,
    x: Float[Tensor, "N ..."],
    y: Int64[Tensor, "N ..."],
    *,
    steps: int,
    batch_size: int = 64,
    lr: float = 3e-3,
    weight_decay: float = 0.0,
    seed: int = 0,
    progress: bool | None = None,
) -> History:
    """Train a classifier of images, or of pixels, with AdamW and a cosine schedule.

    The same seed gives the same run: the batches come from a generator of their own,
    and dropout starts from the seed too. The global generators stay as they were.

    Args:
        model: Maps a batch of x to logits [B, classes], or [B, classes, H, W] where
            each pixel has a class. Trained where it lies.
        x: Inputs [N, ...].
        y: Classes [N], or [N, H, W].
        steps: Number of batches.
        batch_size: Images in a batch, drawn without replacement within an epoch.
        lr: Largest learning rate; it falls to zero along a half cosine.
        weight_decay: Of AdamW.
        seed: Of the batches and of dropout.
        progress: Whether to show a bar. By default there is one in a live notebook and
            at a terminal, if tqdm is installed, but not on the pages of the book.

    Returns:
        The loss of each step. The model is left in the mode it came in.

    Raises:
        TypeError: model, x or y of the wrong kind.
        ValueError: Different lengths, no step, an empty batch, a class that has no
            logit.
        ImportError: progress is True and tqdm is not installed.
    """
    _check(model, x, y, steps=steps, batch_size=batch_size)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    device, classes = _device_of(model), int(y.max()) + 1

    history, order = History(), torch.empty(0, dtype=torch.int64)
    with _mode(model, training=True), _seeded(seed, device):
        bar = _bar(steps, progress)
        for _ in bar:
            if len(order) < min(batch_size, len(x)):
                order = torch.randperm(len(x), generator=generator)
            batch, order = order[:batch_size], order[batch_size:]
            logits = model(x[batch].to(device))  # [B, classes] or [B, classes, H, W]
            wanted = [len(batch), classes, *y.shape[1:]]
            fits = logits.ndim == len(wanted) and logits.shape[1] >= classes
            if not fits or [len(logits), *logits.shape[2:]] != [wanted[0], *wanted[2:]]:
                raise ValueError(
                    f"{classes} classes need logits {wanted}, got {list(logits.shape)}"
                )
            loss = F.cross_entropy(logits, y[batch].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            history.loss.append(loss.item())
            if not isinstance(bar, range):
                bar.set_postfix(loss=f"{history.loss[-1]:.3f}", refresh=False)
    return history


@torch.no_grad()
def predict(
    model: nn.Module, x: Float[Tensor, "N ..."], *, batch_size: int = 500
) -> Int64[Tensor, "N ..."]:
    """Class of the largest logit: of each image [N], or of each pixel [N, H, W].

    The model is switched to evaluation and back. The classes come to the CPU.

    Raises:
        TypeError: model or x of the wrong kind.
        ValueError: An empty batch.
    """
    _check_model(model, batch_size=batch_size)
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a tensor, got {type(x).__name__}")
    if len(x) == 0:
        raise ValueError(f"x is empty: got shape {list(x.shape)}")
    device = _device_of(model)
    with _mode(model, training=False):
        parts = [
            model(part.to(device)).argmax(dim=1).cpu() for part in x.split(batch_size)
        ]
    return torch.cat(parts)


def accuracy(
    model: nn.Module,
    x: Float[Tensor, "N ..."],
    y: Int64[Tensor, "N ..."],
    *,
    batch_size: int = 500,
) -> float:
    """Share of images, or of pixels, whose largest logit is the right class, in [0, 1].

    The model is switched to evaluation and back.

    Args:
        model: Maps a batch of x to logits [B, classes] or [B, classes, H, W].
        x: Inputs [N, ...].
        y: Classes [N], or [N, H, W].
        batch_size: Images at a time.

    Raises:
        TypeError: model, x or y of the wrong kind.
        ValueError: Different lengths, an empty batch, a prediction of another shape.
    """
    _check(model, x, y, batch_size=batch_size)
    found = predict(model, x, batch_size=batch_size)
    if found.shape != y.shape:  # else a class for the image would count for each pixel
        raise ValueError(
            f"classes {list(y.shape)} need predictions of this shape, got "
            f"{list(found.shape)}"
        )
    return int((found == y.cpu()).sum()) / y.numel()
