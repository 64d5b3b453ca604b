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
    if not attention.is_floating_point():
        raise ValueError(f"attention must be float, got dtype {attention.dtype}")
    slack = _SLACK.get(attention.dtype, 2e-2)
    attention = attention.detach().cpu().double()
    if not attention.isfinite().all():
        bad = tuple(torch.nonzero(~attention.isfinite())[0].tolist())
        value = attention[bad].item()
        raise ValueError(f"attention must be finite, got {value} at index {bad}")
    if attention.min() < -slack:
        raise ValueError(
            f"attention weights must be >= 0, got a smallest value of "
            f"{attention.min().item():.4g}"
        )
    attention = attention.clamp(min=0)
    total = attention.sum(dim=(-2, -1))  # [N, H, W]
    wrong = ((total - 1).abs() > slack) & (total > slack)
    if wrong.any():
        head, row, col = torch.nonzero(wrong)[0].tolist()
        raise ValueError(
            f"the weights of a query must sum to 1 (or 0 where all is masked), got "
            f"{total[head, row, col].item():.4g} for head {head}, query ({row}, {col})"
        )
    return attention


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
