"""A map cut into blocks of queries, and neighbourhoods of keys around the blocks.

Shapes: B images times heads, H W map, H' W' the map of queries, D head dim, b block,
M query places of a block, U side of a neighbourhood, I J rows and columns of blocks,
n blocks of one chunk.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FORBIDDEN = -1e30
"""Added to a forbidden logit: for logits of a sane size the weight is exactly zero."""


@dataclass(frozen=True)
class Axis:
    """How one axis of a map is cut into blocks of queries and neighbourhoods."""

    length: int
    block: int
    halo: int
    stride: int

    @property
    def count(self) -> int:
        """Blocks."""
        return -(-self.length // self.block)

    @property
    def places(self) -> int:
        """Queries of a block."""
        return self.block // self.stride

    @property
    def side(self) -> int:
        """Keys of a neighbourhood."""
        return self.block + 2 * self.halo

    @property
    def pad(self) -> tuple[int, int]:
        """Padding before and after the map, so that every neighbourhood is full."""
        return self.halo, self.count * self.block - self.length + self.halo

    @property
    def tiles(self) -> int:
        """Tiles of block size that hold the padded axis."""
        return self.count - 1 - (-self.side // self.block)

    def offsets(self, device: torch.device) -> Tensor:
        """Key minus query for each place of a block: [M, U]."""
        query = torch.arange(self.places, device=device) * self.stride
        return torch.arange(self.side, device=device) - self.halo - query[:, None]

    def border(self, like: Tensor) -> Tensor:
        """FORBIDDEN at the key places of each block outside the image: [count, U]."""
        first = torch.arange(self.count, device=like.device)[:, None] * self.block
        place = first - self.halo + torch.arange(self.side, device=like.device)
        outside = (place < 0) | (place >= self.length)
        zeros = torch.zeros(outside.shape, dtype=like.dtype, device=like.device)
        return zeros.masked_fill(outside, FORBIDDEN)


@dataclass(frozen=True)
class Cut:
    """How a map is cut into blocks of queries and neighbourhoods of keys."""

    tall: Axis
    wide: Axis

    def queries(self, x: Tensor) -> Tensor:
        """[B, H', W', D] -> [B, I, J, M, M, D]; zeros where a block leaves the map."""
        right = self.wide.count * self.wide.places - x.shape[2]
        bottom = self.tall.count * self.tall.places - x.shape[1]
        x = F.pad(x, (0, 0, 0, right, 0, bottom))
        x = x.unflatten(2, (self.wide.count, self.wide.places))
        x = x.unflatten(1, (self.tall.count, self.tall.places))
        return x.transpose(2, 3)

    def map(self, x: Tensor, height: int, width: int) -> Tensor:
        """[B, I, J, M, M, D] -> [B, H', W', D]: the inverse of `queries`."""
        x = x.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return x[:, :height, :width]

    def keys(self, x: Tensor) -> Tensor:
        """[B, H, W, D] -> a view [B, I, J, U, U, D] of the map padded with zeros."""
        x = F.pad(x, (0, 0, *self.wide.pad, *self.tall.pad))
        x = x.unfold(1, self.tall.side, self.tall.block)
        x = x.unfold(2, self.wide.side, self.wide.block)  # [B, I, J, D, U, U]
        return x.movedim(3, 5)

    def sums(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Zeros for `add_keys`: a padded map, cut into tiles [B, I', J', b, b, D]."""
        tall, wide = self.tall, self.wide
        shape = (tall.tiles, wide.tiles, tall.block, wide.block, x.shape[-1])
        return x.new_zeros((x.shape[0], *shape), dtype=dtype)

    def add_keys(self, sums: Tensor, parts: Tensor, first: int) -> None:
        """Add neighbourhoods [b, i, J, U, U, D], the first in block row ``first``."""
        b1, b2, rows = self.tall.block, self.wide.block, parts.shape[1]
        for u in range(0, self.tall.side, b1):
            for w in range(0, self.wide.side, b2):
                tile = parts[:, :, :, u : u + b1, w : w + b2]
                i, j = first + u // b1, w // b2
                place = sums[:, i : i + rows, j : j + self.wide.count]
                place[:, :, :, : tile.shape[3], : tile.shape[4]].add_(tile)

    def sums_to_map(self, sums: Tensor) -> Tensor:
        """[B, I', J', b, b, D] -> [B, H, W, D]: `keys` undone, overlaps added."""
        top, left = self.tall.halo, self.wide.halo
        x = sums.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return x[:, top : top + self.tall.length, left : left + self.wide.length]


def matrices(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A chunk [b, i, J, M, M, D] as one matrix for each block: [n, M*M, D]."""
    return x.to(dtype).flatten(3, 4).flatten(0, 2)
