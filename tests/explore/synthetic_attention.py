"""A small picture and a plausible attention over it, made without any file."""

import torch
from torch import Tensor


def picture(height: int = 48, width: int = 64) -> Tensor:
    """A bright disc on a gradient, [3, height, width] in [0, 1]."""
    rows = torch.linspace(0, 1, height)[:, None].expand(height, width)
    cols = torch.linspace(0, 1, width)[None, :].expand(height, width)
    disc = ((rows - 0.4) ** 2 + (cols - 0.6) ** 2 < 0.06).float()
    return torch.stack([disc, 0.2 + 0.6 * cols, rows]).clamp(0, 1)


def attention(heads: int = 3, height: int = 5, width: int = 7) -> Tensor:
    """Softmax of minus the squared distance, each head with another radius."""
    rows, cols = torch.meshgrid(
        torch.arange(height), torch.arange(width), indexing="ij"
    )
    place = torch.stack([rows, cols], dim=-1).reshape(-1, 2).double()
    distance = torch.cdist(place, place + 0.3) ** 2
    radius = torch.arange(1, heads + 1)[:, None, None].double()
    return (-distance / radius).softmax(-1).reshape(heads, height, width, height, width)
