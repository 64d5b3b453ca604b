"""What the explorers demand of an image, of attention weights, of a query."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor

_SLACK = {torch.float64: 1e-4, torch.float32: 1e-3}  # half precision: 2e-2


def check_image(image: object) -> Tensor:
    """Return the image as float32 on the CPU, or say what is wrong with it."""
    if not isinstance(image, Tensor):
        raise TypeError(f"image must be a tensor [3, H, W], got {type(image).__name__}")
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ValueError(f"image must be [3, H, W], got shape {tuple(image.shape)}")
    if not image.is_floating_point():
        raise ValueError(f"image must be float in [0, 1], got dtype {image.dtype}")
    image = image.detach().cpu().float()
    low, high = image.min().item(), image.max().item()
    if not (low >= -1e-4 and high <= 1 + 1e-4):  # also false for NaN
        raise ValueError(
            f"image must have values in [0, 1], got values from {low:.4g} to {high:.4g}"
        )
    return image.clamp(0, 1)


def check_attention(attention: object) -> Tensor:
    """Return the weights as float64 on the CPU, or say what is wrong with them."""
    if not isinstance(attention, Tensor):
        kind = type(attention).__name__
        raise TypeError(f"attention must be a tensor [N, H, W, H, W], got {kind}")
    shape = tuple(attention.shape)
    if len(shape) != 5 or 0 in shape or shape[1:3] != shape[3:]:
        hint = "; take one image of the batch, [0]" if len(shape) == 6 else ""
        raise ValueError(f"attention must be [N, H, W, H, W], got shape {shape}{hint}")
    weights = check_weights("attention", attention)
    check_sums(weights, attention.dtype)
    return weights


def check_weights(name: str, weights: Tensor) -> Tensor:
    """Return weights of a softmax as float64 on the CPU; their sums are not checked."""
    if not weights.is_floating_point():
        raise ValueError(f"{name} must be float, got dtype {weights.dtype}")
    slack = _SLACK.get(weights.dtype, 2e-2)
    weights = weights.detach().cpu().double()
    if not weights.isfinite().all():
        bad = tuple(torch.nonzero(~weights.isfinite())[0].tolist())
        value = weights[bad].item()
        raise ValueError(f"{name} must be finite, got {value} at index {bad}")
    if weights.min() < -slack:
        raise ValueError(
            f"the weights of {name} must be >= 0, got a smallest value of "
            f"{weights.min().item():.4g}"
        )
    return weights.clamp(min=0)


def check_sums(weights: Tensor, kind: torch.dtype) -> None:
    """Refuse weights [N, H, W, ., .] of which a query's do not sum to 1, or to 0."""
    total = weights.sum(dim=(-2, -1))  # [N, H, W]
    wrong = wrong_sums(total, kind)
    if wrong.any():
        head, row, col = torch.nonzero(wrong)[0].tolist()
        raise ValueError(
            f"the weights of a query must sum to 1 (or 0 where all is masked), got "
            f"{total[head, row, col].item():.4g} for head {head}, query ({row}, {col})"
        )


def wrong_sums(total: Tensor, kind: torch.dtype) -> Tensor:
    """Where a sum of weights is neither 1 nor, with everything masked, 0."""
    slack = _SLACK.get(kind, 2e-2)
    return ((total - 1).abs() > slack) & (total > slack)


def check_gates(name: str, gates: object, most: int) -> Tensor:
    """Return gates [N, length] in float64, or say what is wrong with them."""
    if not isinstance(gates, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(gates).__name__}")
    shape = tuple(gates.shape)
    if len(shape) not in (1, 2) or 0 in shape or shape[-1] > most:
        raise ValueError(
            f"{name} must be [length] or [N, length] with a length up to {most}, "
            f"got shape {shape}"
        )
    if not gates.is_floating_point():
        raise ValueError(f"{name} must be float, got dtype {gates.dtype}")
    gates = gates.detach().cpu().double()
    low, high = gates.min().item(), gates.max().item()
    if not (low >= 0 and high <= 1):  # also false for NaN
        raise ValueError(
            f"{name} must lie in [0, 1], as a sigmoid gives them, got values from "
            f"{low:.4g} to {high:.4g}"
        )
    return gates.reshape(-1, shape[-1])


def check_query(query: Sequence[int], height: int, width: int) -> tuple[int, int]:
    """Return (row, column) as integers inside the grid, or say what is wrong."""
    try:
        row, col = (operator.index(place) for place in query)
    except (TypeError, ValueError):
        raise ValueError(f"query must be (row, column), got {query!r}") from None
    if not (0 <= row < height and 0 <= col < width):
        raise ValueError(
            f"query must lie in the {height} x {width} grid, counted from 0, "
            f"got row {row}, column {col}"
        )
    return row, col


def check_names(names: Sequence[str] | None, heads: int) -> list[str]:
    """Return one name per head, by default "Head 1", "Head 2", ..."""
    if names is None:
        return [f"Head {n + 1}" for n in range(heads)]
    if isinstance(names, str) or len(names) != heads:
        raise ValueError(f"head_names must be {heads} names, got {names!r}")
    return [str(name) for name in names]
