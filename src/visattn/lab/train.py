"""A training loop of one page, for experiments of seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn


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


def _check(model: object, x: Tensor, y: Tensor, **counts: int) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    if not isinstance(x, Tensor) or not isinstance(y, Tensor):
        raise TypeError(
            f"x and y must be tensors, got {type(x).__name__} and {type(y).__name__}"
        )
    if y.ndim != 1 or y.dtype != torch.int64:
        raise TypeError(f"y must be [N] of int64, got {list(y.shape)} of {y.dtype}")
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"x and y must have one length, got {len(x)} and {len(y)}")
    if y.min() < 0:
        raise ValueError(f"classes start at 0, got {int(y.min())}")
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"{name} must be an integer, got {count!r}")
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


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


def fit(
    model: nn.Module,
    x: Float[Tensor, "N ..."],
    y: Int64[Tensor, "N"],
    *,
    steps: int,
    batch_size: int = 64,
    lr: float = 3e-3,
    weight_decay: float = 0.0,
    seed: int = 0,
) -> History:
    """Train a classifier with AdamW and a cosine schedule.

    The same seed gives the same run: the batches come from a generator of their own,
    and dropout starts from the seed too. The global generators stay as they were.

    Args:
        model: Maps a batch of x to logits [B, classes]. Trained where it lies.
        x: Inputs [N, ...].
        y: Classes [N].
        steps: Number of batches.
        batch_size: Images in a batch, drawn without replacement within an epoch.
        lr: Largest learning rate; it falls to zero along a half cosine.
        weight_decay: Of AdamW.
        seed: Of the batches and of dropout.

    Returns:
        The loss of each step. The model is left in the mode it came in.

    Raises:
        TypeError: model, x or y of the wrong kind.
        ValueError: Different lengths, no step, an empty batch, a class that has no
            logit.
    """
    _check(model, x, y, steps=steps, batch_size=batch_size)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    device, classes = _device_of(model), int(y.max()) + 1

    history, order = History(), torch.empty(0, dtype=torch.int64)
    with _mode(model, training=True), _seeded(seed, device):
        for _ in range(steps):
            if len(order) < min(batch_size, len(x)):
                order = torch.randperm(len(x), generator=generator)
            batch, order = order[:batch_size], order[batch_size:]
            logits = model(x[batch].to(device))  # [B, classes]
            if logits.ndim != 2 or logits.shape[1] < classes:
                raise ValueError(
                    f"{classes} classes need logits [B, {classes}], "
                    f"got {list(logits.shape)}"
                )
            loss = F.cross_entropy(logits, y[batch].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            history.loss.append(loss.item())
    return history


@torch.no_grad()
def accuracy(
    model: nn.Module,
    x: Float[Tensor, "N ..."],
    y: Int64[Tensor, "N"],
    *,
    batch_size: int = 500,
) -> float:
    """Share of inputs whose largest logit is the right class, in [0, 1].

    The model is switched to evaluation and back.

    Raises:
        TypeError: model, x or y of the wrong kind.
        ValueError: Different lengths, an empty batch.
    """
    _check(model, x, y, batch_size=batch_size)
    device, right = _device_of(model), 0
    parts = zip(x.split(batch_size), y.split(batch_size), strict=True)
    with _mode(model, training=False):
        for part, classes in parts:
            found = model(part.to(device)).argmax(dim=1)
            right += int((found.cpu() == classes.cpu()).sum())
    return right / len(y)
