"""Halo attention: the queries of a block share the keys of the block and its halo.

Shapes: B batch, N heads, H W map, D query/key dim, E value dim, C channels,
H' W' the map of queries, U = block_size + 2 * halo_size, M = block_size / stride,
I J rows and columns of blocks. Offsets are key minus query, (row, column).
"""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from visattn.kernels import halo as kernel
from visattn.kernels._blocks import Axis
from visattn.kernels._precision import without_autocast
from visattn.kernels._transforms import needs_plain_form
from visattn.mechanisms._checks import (
    check_divisible,
    check_map,
    check_positive,
    check_same_kind,
    check_tensor,
    shape_of,
)

__all__ = ["HaloAttention2d", "halo_attention", "halo_attention_loop"]

Border = Literal["mask", "zero"]


def _check_blocks(block_size: int, halo_size: int, stride: int, border: str) -> None:
    check_positive(block_size=block_size, stride=stride)
    if isinstance(halo_size, bool) or not isinstance(halo_size, int):
        raise TypeError(
            f"halo_size must be an integer, got {halo_size!r} "
            f"({type(halo_size).__name__})"
        )
    if halo_size < 0:
        raise ValueError(f"halo_size must be at least 0, got {halo_size}")
    check_divisible("block_size", block_size, "stride", stride)
    if border not in ("mask", "zero"):
        raise ValueError(f"border must be 'mask' or 'zero', got {border!r}")


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relative_height: Tensor | None,
    relative_width: Tensor | None,
    block_size: int,
    halo_size: int,
    stride: int,
    border: str,
) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_tensor(x, name, "B N H W D")
    check_same_kind(q=q, k=k, v=v)
    if q.shape != k.shape or q.shape[:-1] != v.shape[:-1]:
        raise ValueError(
            "q and k must be [B, N, H, W, D] and v [B, N, H, W, E] of one map, got "
            f"{shape_of(q)}, {shape_of(k)}, {shape_of(v)}"
        )
    _check_blocks(block_size, halo_size, stride, border)
    if (relative_height is None) != (relative_width is None):
        raise ValueError(
            "relative_height and relative_width must both be given or both be None"
        )
    if relative_height is None or relative_width is None:
        return
    check_tensor(relative_height, "relative_height", "M D")
    check_tensor(relative_width, "relative_width", "M D")
    check_same_kind(q=q, relative_height=relative_height, relative_width=relative_width)
    U = block_size + 2 * halo_size
    wanted = [2 * U - 1, q.shape[-1]]
    tables = {"relative_height": relative_height, "relative_width": relative_width}
    for name, x in tables.items():
        if list(x.shape) != wanted:
            raise ValueError(
                f"{name} must be [2U-1, D] = {wanted} for q {shape_of(q)} and "
                f"U = block_size + 2 * halo_size = {U}, got {shape_of(x)}"
            )


def halo_attention_loop(
    q: Float[Tensor, "B N H W D"],
    k: Float[Tensor, "B N H W D"],
    v: Float[Tensor, "B N H W E"],
    relative_height: Float[Tensor, "M D"] | None,
    relative_width: Float[Tensor, "M D"] | None,
    block_size: int,
    halo_size: int,
    stride: int = 1,
    border: Border = "mask",
    *,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Halo attention, one query pixel and one key pixel at a time.

    Same arguments, result and errors as `halo_attention`, of which it is the oracle.
    """
    tables = (relative_height, relative_width)
    _check(q, k, v, *tables, block_size, halo_size, stride, border)
    B, N, H, W, D = q.shape
    U = block_size + 2 * halo_size
    scale = D**-0.5
    outputs, maps = [], []
    for n in range(B):
        for head in range(N):
            for i in range(0, H, stride):
                for j in range(0, W, stride):
                    top = i // block_size * block_size - halo_size
                    left = j // block_size * block_size - halo_size
                    logits, values, places = [], [], []
                    for a in range(top, top + U):
                        for b in range(left, left + U):
                            inside = 0 <= a < H and 0 <= b < W
                            if not inside and border == "mask":
                                continue
                            key = k[n, head, a, b] if inside else q.new_zeros(D)
                            value = v[n, head, a, b] if inside else v.new_zeros(())
                            if relative_height is not None:
                                key = key + relative_height[a - i + U - 1]
                            if relative_width is not None:
                                key = key + relative_width[b - j + U - 1]
                            logits.append(scale * (q[n, head, i, j] @ key))
                            values.append(value.expand(v.shape[-1]))
                            places.append((a - top) * U + (b - left))
                    weights = torch.softmax(torch.stack(logits), dim=0)
                    y_ij = v.new_zeros(v.shape[-1])
                    for weight, value in zip(weights, values, strict=True):
                        y_ij = y_ij + weight * value
                    outputs.append(y_ij)
                    window = q.new_zeros(U * U)
                    maps.append(window.index_put((torch.tensor(places),), weights))
    shape = (B, N, -(-H // stride), -(-W // stride))
    y = torch.stack(outputs).reshape(*shape, v.shape[-1])
    if not return_attention:
        return y
    return y, torch.stack(maps).reshape(*shape, U, U)


@without_autocast
def _windows(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relative_height: Tensor | None,
    relative_width: Tensor | None,
    block_size: int,
    halo_size: int,
    stride: int,
    border: str,
) -> tuple[Tensor, Tensor]:
    """Output and attention, all blocks at once; q holds every stride-th pixel.

    Like the chunks, it works on half precision in float32.
    """
    given = q.dtype
    if given in (torch.float16, torch.bfloat16):
        q, k, v = q.float(), k.float(), v.float()
    H, W = k.shape[2:4]
    tall = Axis(H, block_size, halo_size, stride)
    wide = Axis(W, block_size, halo_size, stride)
    pad = (0, 0, *wide.pad, *tall.pad)
    keys, values = (
        F.pad(x, pad).unfold(2, tall.side, block_size).unfold(3, wide.side, block_size)
        for x in (k, v)
    )  # [B, N, I, J, D, U, U]
    Hq, Wq = q.shape[2:4]
    right, bottom = wide.count * wide.places - Wq, tall.count * tall.places - Hq
    q = F.pad(q, (0, 0, 0, right, 0, bottom)) * q.shape[-1] ** -0.5
    q = rearrange(q, "B N (I X) (J Y) D -> B N I J X Y D", I=tall.count, J=wide.count)
    logits = torch.einsum("bnijxyd,bnijduw->bnijxyuw", q, keys)
    if relative_height is not None and relative_width is not None:
        row, col = _vectors(relative_height, tall), _vectors(relative_width, wide)
        row_logits = torch.einsum("bnijxyd,xud->bnijxyu", q, row.to(q.dtype))
        col_logits = torch.einsum("bnijxyd,ywd->bnijxyw", q, col.to(q.dtype))
        logits = logits + row_logits[..., :, None] + col_logits[..., None, :]
    if border == "mask":
        inside = F.pad(torch.ones(H, W, dtype=torch.bool, device=q.device), pad[2:])
        inside = inside.unfold(0, tall.side, block_size)
        inside = inside.unfold(1, wide.side, block_size)  # [I, J, U, U]
        logits = logits.masked_fill(~inside[:, :, None, None], -math.inf)
    attention = torch.softmax(logits.flatten(-2), dim=-1).view(logits.shape)
    y = torch.einsum("bnijxyuw,bnijeuw->bnijxye", attention, values)
    y = rearrange(y, "B N I J X Y E -> B N (I X) (J Y) E")[:, :, :Hq, :Wq]
    attention = rearrange(attention, "B N I J X Y U V -> B N (I X) (J Y) U V")
    return y.to(given), attention[:, :, :Hq, :Wq].to(given)


def _vectors(
    table: Tensor, axis: Axis, reach: int | None = None
) -> Float[Tensor, "M U D"]:
    """Position vectors of an axis; ``reach`` is the offset of the last row."""
    reach = axis.side - 1 if reach is None else reach
    return table[axis.offsets(table.device) + reach]


def _chunks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relative_height: Tensor | None,
    relative_width: Tensor | None,
    block_size: int,
    halo_size: int,
    stride: int,
    border: str,
) -> Tensor:
    """Output by the operator of `kernels`; q holds every stride-th pixel."""
    axes = []
    for length in k.shape[2:4]:
        block, halo = block_size, halo_size
        if border == "mask":  # what no query may see need not be there
            block = min(block, -(-length // stride) * stride)
            halo = 0 if block >= length else min(halo, length - 1)
        axes.append(Axis(length, block, halo, stride))
    vectors = []
    for axis, table in zip(axes, (relative_height, relative_width), strict=True):
        if table is None:
            vectors.append(q.new_zeros(axis.places, axis.side, 0))
        else:
            vectors.append(_vectors(table, axis, len(table) // 2))
    y: Tensor = kernel.halo_attention(
        q.flatten(0, 1),
        k.flatten(0, 1),
        v.flatten(0, 1),
        *vectors,
        [axis.block for axis in axes],
        [axis.halo for axis in axes],
        border == "mask",
        q.shape[-1] ** -0.5,
    )
    return torch.unflatten(y, 0, q.shape[:2])


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relative_height: Tensor | None,
    relative_width: Tensor | None,
    *options: Any,
    return_attention: bool,
) -> Tensor | tuple[Tensor, Tensor]:
    """Halo attention of checked inputs; q holds every stride-th pixel."""
    tables = relative_height, relative_width
    if return_attention:
        return _windows(q, k, v, *tables, *options)
    given = [x for x in tables if x is not None]
    if needs_plain_form(q, k, v, *given):
        return _windows(q, k, v, *tables, *options)[0]
    return _chunks(q, k, v, *tables, *options)


def halo_attention(
    q: Float[Tensor, "B N H W D"],
    k: Float[Tensor, "B N H W D"],
    v: Float[Tensor, "B N H W E"],
    relative_height: Float[Tensor, "M D"] | None,
    relative_width: Float[Tensor, "M D"] | None,
    block_size: int,
    halo_size: int,
    stride: int = 1,
    border: Border = "mask",
    *,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Blocked local self-attention, with relative positions.

    .. math:: y_{ij} = \sum_{(a,b) \in \mathcal{N}(i,j)} \operatorname{softmax}_{ab}
        \!\left(\frac{q_{ij}^\top (k_{ab} + r^H_{a-i} + r^W_{b-j})}{\sqrt{D}}\right)
        v_{ab}

    The map is cut into blocks. N(i, j) is the block of (i, j) with h more pixels on
    each side; all queries of a block have the same one. Without ``return_attention``
    the neighbourhoods are copied for a few blocks at a time only.

    Args:
        q: Queries [B, N, H, W, D], one for every pixel.
        k: Keys [B, N, H, W, D].
        v: Values [B, N, H, W, E].
        relative_height: [2U-1, D], shared by the heads, U = block_size +
            2 * halo_size; row m belongs to row offset m - (U-1). The first and last
            halo_size rows are never used. None, with relative_width None, leaves
            positions out.
        relative_width: [2U-1, D], for column offsets.
        block_size: Side b of a block. The last blocks of a map may leave it.
        halo_size: h, the pixels around a block that are keys for it too.
        stride: Use the queries of rows and columns 0, stride, 2 stride, ...; it
            divides block_size. Keys and offsets stay those of the full map.
        border: ``"mask"`` leaves keys outside the image out of the softmax; ``"zero"``
            keeps them as zero vectors, whose logit is that of the position alone.
        return_attention: Also return the weights.

    Returns:
        y [B, N, H', W', E] with H' = ceil(H / stride), or (y, attention [B, N, H',
        W', U, U]): entry u, w is the key u rows below and w columns right of the
        neighbourhood's first one, which is (i // b * b - h, j // b * b - h).

    Raises:
        TypeError: Not floating-point tensors, different dtypes, sizes that are not
            integers.
        ValueError: Shapes that do not fit, a negative halo, a stride that does not
            divide the block, an unknown border.

    Differences from the paper: it does not say what happens outside the image; both
    readings are here.

    Source: section 2 of [vaswani2021]. Chapter: scaling/halo.
    """
    tables = relative_height, relative_width
    _check(q, k, v, *tables, block_size, halo_size, stride, border)
    return _attend(
        q[:, :, ::stride, ::stride],
        k,
        v,
        *tables,
        block_size,
        halo_size,
        stride,
        border,
        return_attention=return_attention,
    )


class HaloAttention2d(nn.Module):
    r"""Multi-head halo attention: local attention at the price of a matrix product.

    .. math:: q = W_Q x, \quad k = W_K x, \quad v = W_V x, \quad
        y = \operatorname{concat}_n \mathrm{halo\_attention}(q^n, k^n, v^n)

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, and of the values.
        block_size: Side of a block of queries.
        halo_size: Pixels around the block that are keys too.
        num_heads: N; head n owns contiguous channels.
        dim_head: Query and key channels of a head; out_channels // num_heads if None.
        stride: Every stride-th pixel is a query; 1 is all of them.
        border: ``"mask"`` or ``"zero"``, as in `halo_attention`.
        projection: Mix the heads by a 1x1 convolution with bias at the end. The values
            are then as wide as the queries.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Heads that do not divide the channels of the values, a stride that
            does not divide the block, a negative halo, an unknown border.

    Differences from the paper: none known. The tables start from a normal
    distribution of variance 1/D, D = dim_head.

    Source: section 2 of [vaswani2021]. Chapter: scaling/halo.

    Example:
        >>> import torch
        >>> layer = HaloAttention2d(16, 32, block_size=4, halo_size=1, num_heads=4)
        >>> y, attention = layer(torch.zeros(2, 16, 7, 9), return_attention=True)
        >>> y.shape, attention.shape
        (torch.Size([2, 32, 7, 9]), torch.Size([2, 4, 7, 9, 6, 6]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        block_size: int = 8,
        halo_size: int = 3,
        num_heads: int = 8,
        dim_head: int | None = None,
        stride: int = 1,
        border: Border = "mask",
        *,
        projection: bool = False,
    ) -> None:
        super().__init__()
        check_positive(
            in_channels=in_channels, out_channels=out_channels, num_heads=num_heads
        )
        _check_blocks(block_size, halo_size, stride, border)
        if dim_head is None:
            check_divisible("out_channels", out_channels, "num_heads", num_heads)
            dim_head = out_channels // num_heads
        check_positive(dim_head=dim_head)
        width = num_heads * dim_head
        values = width if projection else out_channels
        check_divisible("out_channels", values, "num_heads", num_heads)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.block_size, self.halo_size = block_size, halo_size
        self.num_heads, self.dim_head = num_heads, dim_head
        self.stride, self.border, self.projection = stride, border, projection
        self.query = nn.Conv2d(in_channels, width, 1, bias=False)
        self.key = nn.Conv2d(in_channels, width, 1, bias=False)
        self.value = nn.Conv2d(in_channels, values, 1, bias=False)
        offsets = 2 * (block_size + 2 * halo_size) - 1
        self.relative_height = nn.Parameter(torch.empty(offsets, dim_head))
        self.relative_width = nn.Parameter(torch.empty(offsets, dim_head))
        nn.init.normal_(self.relative_height, std=dim_head**-0.5)
        nn.init.normal_(self.relative_width, std=dim_head**-0.5)
        self.out = nn.Conv2d(width, out_channels, 1) if projection else nn.Identity()

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend from every query pixel to the neighbourhood of its block.

        Args:
            x: Map [B, in_channels, H, W], of any size.
            return_attention: Also return the weights.

        Returns:
            y [B, out_channels, H', W'] with H' = ceil(H / stride), or (y, attention
            [B, N, H', W', U, U]).

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty map.
        """
        check_map(x, self.in_channels)
        asked = x[:, :, :: self.stride, :: self.stride]
        q, k, v = (
            rearrange(t, "B (N D) H W -> B N H W D", N=self.num_heads)
            for t in (self.query(asked), self.key(x), self.value(x))
        )
        result = _attend(
            q,
            k,
            v,
            self.relative_height.to(q.dtype),
            self.relative_width.to(q.dtype),
            self.block_size,
            self.halo_size,
            self.stride,
            self.border,
            return_attention=return_attention,
        )
        y, attention = result if isinstance(result, tuple) else (result, None)
        y = self.out(rearrange(y, "B N H W D -> B (N D) H W"))
        return y if attention is None else (y, attention)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *others: Any
    ) -> None:
        """Accept tables whose offsets are counted from the window's first key.

        `convert` calls them window_height and window_width: their row of the true
        offset m - (U-1) is row m + halo_size.
        """
        for axis in ("height", "width"):
            if f"{prefix}window_{axis}" not in state_dict:
                continue
            if 1 < self.stride < self.block_size:
                raise ValueError(
                    f"{prefix}window_{axis} belongs to a layer that counts the places "
                    f"of its queries in steps of the stride; with stride={self.stride} "
                    "no table of true offsets is equal to it"
                )
            table = state_dict.pop(f"{prefix}window_{axis}")
            table = F.pad(table[self.halo_size :], (0, 0, 0, self.halo_size))
            state_dict[f"{prefix}relative_{axis}"] = table
        super()._load_from_state_dict(state_dict, prefix, *others)

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return (
            f"{self.in_channels}, {self.out_channels}, block_size={self.block_size}, "
            f"halo_size={self.halo_size}, num_heads={self.num_heads}, "
            f"dim_head={self.dim_head}, stride={self.stride}, border={self.border!r}"
        )
