"""Attention along one axis of a map, and the gates of channelized axial attention.

Shapes: B batch, N heads, H W map, L length of the axis, D query/key dim, E value dim,
C channels, G hidden width of a gate.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from visattn.mechanisms._checks import (
    check_divisible,
    check_map,
    check_positive,
    check_same_kind,
    check_tensor,
    shape_of,
)
from visattn.mechanisms.positions import relative_logits_1d

__all__ = [
    "AxialAttention2d",
    "ChannelizedAxialAttention2d",
    "PositionSensitiveAxialAttention2d",
    "axial_attention",
    "axial_attention_loop",
    "channelized_axial_attention",
    "channelized_axial_attention_loop",
    "position_sensitive_attention",
    "position_sensitive_attention_loop",
]

Axis = Literal["height", "width"]


def _check_axis(axis: str) -> None:
    if axis not in ("height", "width"):
        raise ValueError(f"axis must be 'height' or 'width', got {axis!r}")


def _check(q: Tensor, k: Tensor, v: Tensor, axis: str) -> None:
    _check_axis(axis)
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_tensor(x, name, "B N H W D")
    check_same_kind(q=q, k=k, v=v)
    if q.shape != k.shape or q.shape[:-1] != v.shape[:-1]:
        raise ValueError(
            "q and k must be [B, N, H, W, D] and v [B, N, H, W, E] of one map, got "
            f"{shape_of(q)}, {shape_of(k)}, {shape_of(v)}"
        )


# One axis ---------------------------------------------------------------------------


def axial_attention_loop(
    q: Float[Tensor, "B N H W D"],
    k: Float[Tensor, "B N H W D"],
    v: Float[Tensor, "B N H W E"],
    axis: Axis = "height",
    *,
    scale: float | None = None,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention along one axis, one query and one key pixel at a time.

    Same arguments, result and errors as `axial_attention`, of which it is the oracle.
    """
    _check(q, k, v, axis)
    B, N, H, W, D = q.shape
    factor = D**-0.5 if scale is None else scale
    outputs, maps = [], []
    for n in range(B):
        for h in range(N):
            for i in range(H):
                for j in range(W):
                    if axis == "height":
                        line = [(a, j) for a in range(H)]
                    else:
                        line = [(i, b) for b in range(W)]
                    logits = [factor * (q[n, h, i, j] @ k[n, h, a, b]) for a, b in line]
                    weights = torch.softmax(torch.stack(logits), dim=0)
                    y_ij = v.new_zeros(v.shape[-1])
                    for weight, (a, b) in zip(weights, line, strict=True):
                        y_ij = y_ij + weight * v[n, h, a, b]
                    outputs.append(y_ij)
                    maps.append(weights)
    y = torch.stack(outputs).reshape(v.shape)
    attention = torch.stack(maps).reshape(B, N, H, W, -1)
    return (y, attention) if return_attention else y


def axial_attention(
    q: Float[Tensor, "B N H W D"],
    k: Float[Tensor, "B N H W D"],
    v: Float[Tensor, "B N H W E"],
    axis: Axis = "height",
    *,
    scale: float | None = None,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Attention of each pixel to its column (height) or to its row (width).

    .. math:: y_{ij} = \sum_a \operatorname{softmax}_a\left(s\, q_{ij}^\top k_{aj}
        \right) v_{aj} \qquad \text{(height)}

    The cost is O(HW (H + W)) for both axes, against O((HW)^2) of all pairs.

    Args:
        q: Queries [B, N, H, W, D].
        k: Keys [B, N, H, W, D].
        v: Values [B, N, H, W, E].
        axis: ``"height"``: along columns, over rows; ``"width"``: along rows.
        scale: s; by default 1 / sqrt(D).
        return_attention: Also return the weights.

    Returns:
        y [B, N, H, W, E], or (y, attention [B, N, H, W, L]) with L = H or W.

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit, an unknown axis.

    Source: section 3 of [wang2020]. Chapter: far/axial.
    """
    _check(q, k, v, axis)
    if axis == "height":
        q, k, v = (x.transpose(2, 3) for x in (q, k, v))  # [B, N, W, H, D]
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    if return_attention:
        attention = (factor * (q @ k.mT)).softmax(dim=-1)
        y = attention @ v
    else:
        attention = None
        gap = v.shape[-1] - q.shape[-1]  # the fused kernels want one width
        q, k = (F.pad(x, (0, max(0, gap))) for x in (q, k))
        long_v = F.pad(v, (0, max(0, -gap)))
        q, k, long_v = (x.flatten(0, 2)[:, None] for x in (q, k, long_v))
        y = F.scaled_dot_product_attention(q, k, long_v, scale=factor)
        y = y[..., : v.shape[-1]].reshape(v.shape)
    if axis == "height":
        y = y.transpose(2, 3)
        attention = None if attention is None else attention.transpose(2, 3)
    return y if attention is None else (y, attention)


def _split(x: Tensor, num_heads: int) -> Tensor:
    return rearrange(x, "B (N D) H W -> B N H W D", N=num_heads)


def _merge(x: Tensor) -> Tensor:
    return rearrange(x, "B N H W D -> B (N D) H W")


class AxialAttention2d(nn.Module):
    r"""Multi-head attention along one axis, without positions.

    .. math:: q = W_Q x, \quad k = W_K x, \quad v = W_V x, \quad
        y = \operatorname{concat}_h \mathrm{axial\_attention}(q^h, k^h, v^h)

    One layer along the height and one along the width reach every pixel from every
    pixel.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, and of queries, keys and values.
        num_heads: N; head h owns contiguous channels.
        axis: ``"height"`` or ``"width"``.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Heads that do not divide out_channels, an unknown axis.

    Source: section 3 of [wang2020]. Chapter: far/axial.

    Example:
        >>> import torch
        >>> layer = AxialAttention2d(16, 24, num_heads=4, axis="width")
        >>> y, attention = layer(torch.zeros(2, 16, 5, 7), return_attention=True)
        >>> y.shape, attention.shape
        (torch.Size([2, 24, 5, 7]), torch.Size([2, 4, 5, 7, 7]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_heads: int = 8,
        axis: Axis = "height",
    ) -> None:
        super().__init__()
        check_positive(
            in_channels=in_channels, out_channels=out_channels, num_heads=num_heads
        )
        check_divisible("out_channels", out_channels, "num_heads", num_heads)
        _check_axis(axis)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.num_heads, self.axis = num_heads, axis
        self.query = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.key = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.value = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend along the axis.

        Args:
            x: Map [B, in_channels, H, W], of any size.
            return_attention: Also return the weights.

        Returns:
            y [B, out_channels, H, W], or (y, attention [B, N, H, W, L]).

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty map.
        """
        check_map(x, self.in_channels)
        q, k, v = (
            _split(layer(x), self.num_heads)
            for layer in (self.query, self.key, self.value)
        )
        result = axial_attention(q, k, v, self.axis, return_attention=return_attention)
        if isinstance(result, tuple):
            return _merge(result[0]), result[1]
        return _merge(result)

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return (
            f"{self.in_channels}, {self.out_channels}, num_heads={self.num_heads}, "
            f"axis={self.axis!r}"
        )


# Positions for queries, keys and values ---------------------------------------------


def _check_sensitive(
    q: Tensor, k: Tensor, v: Tensor, tables: Sequence[Tensor], axis: str
) -> None:
    _check(q, k, v, axis)
    length = q.shape[2 if axis == "height" else 3]
    widths = (q.shape[-1], q.shape[-1], v.shape[-1])
    names = ("rel_query", "rel_key", "rel_value")
    for name, table, width in zip(names, tables, widths, strict=True):
        check_tensor(table, name, "M D")
        check_same_kind(q=q, **{name: table})
        if tuple(table.shape) != (2 * length - 1, width):
            raise ValueError(
                f"{name} must be [{2 * length - 1}, {width}] for a {axis} of {length}, "
                f"got {shape_of(table)}"
            )


def position_sensitive_attention_loop(
    q: Float[Tensor, "B N H W D"],
    k: Float[Tensor, "B N H W D"],
    v: Float[Tensor, "B N H W E"],
    rel_query: Float[Tensor, "M D"],
    rel_key: Float[Tensor, "M D"],
    rel_value: Float[Tensor, "M E"],
    axis: Axis = "height",
    *,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Position-sensitive axial attention, one query and one key pixel at a time.

    Same arguments, result and errors as `position_sensitive_attention`, of which it is
    the oracle.
    """
    _check_sensitive(q, k, v, (rel_query, rel_key, rel_value), axis)
    B, N, H, W, _ = q.shape
    L = H if axis == "height" else W
    outputs, maps = [], []
    for n in range(B):
        for h in range(N):
            for i in range(H):
                for j in range(W):
                    here = i if axis == "height" else j
                    logits, values = [], []
                    for p in range(L):
                        a, b = (p, j) if axis == "height" else (i, p)
                        offset = p - here + L - 1
                        query, key = q[n, h, i, j], k[n, h, a, b]
                        logits.append(
                            query @ key
                            + query @ rel_query[offset]
                            + key @ rel_key[offset]
                        )
                        values.append(v[n, h, a, b] + rel_value[offset])
                    weights = torch.softmax(torch.stack(logits), dim=0)
                    y_ij = v.new_zeros(v.shape[-1])
                    for weight, value in zip(weights, values, strict=True):
                        y_ij = y_ij + weight * value
                    outputs.append(y_ij)
                    maps.append(weights)
    y = torch.stack(outputs).reshape(v.shape)
    attention = torch.stack(maps).reshape(B, N, H, W, L)
    return (y, attention) if return_attention else y


def position_sensitive_attention(
    q: Float[Tensor, "B N H W D"],
    k: Float[Tensor, "B N H W D"],
    v: Float[Tensor, "B N H W E"],
    rel_query: Float[Tensor, "M D"],
    rel_key: Float[Tensor, "M D"],
    rel_value: Float[Tensor, "M E"],
    axis: Axis = "height",
    *,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Axial attention whose queries, keys and values all know the offset.

    .. math:: y_o = \sum_p \operatorname{softmax}_p\left(q_o^\top k_p + q_o^\top
        r^q_{p-o} + k_p^\top r^k_{p-o}\right) \left(v_p + r^v_{p-o}\right)

    where o and p are positions along the axis. There is no scale.

    Args:
        q: Queries [B, N, H, W, D].
        k: Keys [B, N, H, W, D].
        v: Values [B, N, H, W, E].
        rel_query: r^q [2L-1, D]; row m belongs to offset m - (L-1). Shared by heads.
        rel_key: r^k [2L-1, D].
        rel_value: r^v [2L-1, E].
        axis: ``"height"`` or ``"width"``, of length L.
        return_attention: Also return the weights.

    Returns:
        y [B, N, H, W, E], or (y, attention [B, N, H, W, L]).

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit, an unknown axis.

    Source: section 3 of [wang2020]. Chapter: far/axial.
    """
    _check_sensitive(q, k, v, (rel_query, rel_key, rel_value), axis)
    if axis == "height":
        q, k, v = (x.transpose(2, 3) for x in (q, k, v))  # [B, N, W, H, D]
    content, query, key = _similarities(q, k, rel_query, rel_key)
    attention = (content + query + key).softmax(dim=-1)  # [B, N, W, H, H]
    from_values, from_places = _weighted(attention, v, rel_value)
    y = from_values + from_places
    if axis == "height":
        y, attention = y.transpose(2, 3), attention.transpose(2, 3)
    return (y, attention) if return_attention else y


def _similarities(
    q: Tensor, k: Tensor, rel_query: Tensor, rel_key: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The three terms of the logits over lines: each [..., L, L]."""
    return (
        q @ k.mT,
        relative_logits_1d(q, rel_query),
        # Seen from the key, offsets run the other way.
        relative_logits_1d(k, rel_key.flip(0)).mT,
    )


def _weighted(attention: Tensor, v: Tensor, rel_value: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the values and of their positions over lines: each [..., L, E]."""
    index = torch.arange(v.shape[-2], device=v.device)
    places = rel_value[index - index[:, None] + len(index) - 1]  # [query, key, E]
    return attention @ v, torch.einsum("...ij,ijd->...id", attention, places)


class PositionSensitiveAxialAttention2d(nn.Module):
    r"""Position-sensitive axial attention with the batch norms of Axial-DeepLab.

    .. math:: y_o = \mathrm{BN}\Big(\sum_p A_{op}\, v_p\Big) + \mathrm{BN}\Big(\sum_p
        A_{op}\, r^v_{p-o}\Big), \qquad A_{op} = \operatorname{softmax}_p\left(
        \mathrm{BN}(q_o^\top k_p) + \mathrm{BN}(q_o^\top r^q_{p-o}) +
        \mathrm{BN}(k_p^\top r^k_{p-o})\right)

    Queries and keys have half the width of the values. The norms of the logits see one
    channel for each head and term; they take the place of a scale.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output and of the values.
        num_heads: N; head h owns contiguous channels.
        size: Length L of the axis; other maps are refused.
        axis: ``"height"`` or ``"width"``.
        stride: Side of the average pooling after the attention; 1 is none.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Heads that do not divide half of out_channels, an unknown axis.

    Differences from the official code: there the offsets of the query and value tables
    are mirrored; `visattn.convert` turns the tables round.

    Source: section 3 of [wang2020]. Chapter: far/axial.

    Example:
        >>> import torch
        >>> layer = PositionSensitiveAxialAttention2d(16, 32, 4, size=7, axis="width")
        >>> layer(torch.zeros(2, 16, 5, 7)).shape
        torch.Size([2, 32, 5, 7])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_heads: int = 8,
        size: int = 56,
        axis: Axis = "height",
        stride: int = 1,
    ) -> None:
        super().__init__()
        check_positive(
            in_channels=in_channels,
            out_channels=out_channels,
            num_heads=num_heads,
            size=size,
            stride=stride,
        )
        check_divisible("out_channels", out_channels, "2 * num_heads", 2 * num_heads)
        _check_axis(axis)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.num_heads, self.size, self.axis, self.stride = (
            num_heads,
            size,
            axis,
            stride,
        )
        width = out_channels // num_heads
        self.qkv = nn.Conv2d(in_channels, 2 * out_channels, 1, bias=False)
        self.qkv_norm = nn.BatchNorm2d(2 * out_channels)
        self.logit_norm = nn.BatchNorm2d(3 * num_heads)
        self.value_norm = nn.BatchNorm2d(out_channels)
        self.position_norm = nn.BatchNorm2d(out_channels)
        self.rel_query = nn.Parameter(torch.empty(2 * size - 1, width // 2))
        self.rel_key = nn.Parameter(torch.empty(2 * size - 1, width // 2))
        self.rel_value = nn.Parameter(torch.empty(2 * size - 1, width))
        nn.init.normal_(self.qkv.weight, std=in_channels**-0.5)
        for table in (self.rel_query, self.rel_key, self.rel_value):
            nn.init.normal_(table, std=width**-0.5)

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend along the axis.

        Args:
            x: Map [B, in_channels, H, W] whose axis has ``size`` pixels.
            return_attention: Also return the weights.

        Returns:
            y [B, out_channels, H', W'] with H' = H // stride, or (y, attention
            [B, N, H, W, L]): the weights before the pooling.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an axis of another length.
        """
        check_map(x, self.in_channels)
        length = x.shape[2 if self.axis == "height" else 3]
        if length != self.size:
            raise ValueError(
                f"the tables are made for a {self.axis} of {self.size}, got shape "
                f"{shape_of(x)}"
            )
        if min(x.shape[2:]) < self.stride:
            raise ValueError(
                f"the map must have at least stride={self.stride} rows and columns, "
                f"got shape {shape_of(x)}"
            )
        parts = rearrange(
            self.qkv_norm(self.qkv(x)), "B (N D) H W -> B N H W D", N=self.num_heads
        )
        if self.axis == "height":
            parts = parts.transpose(2, 3)  # [B, N, W, H, D]: lines before positions
        half = parts.shape[-1] // 4
        q, k, v = parts.split([half, half, 2 * half], dim=-1)
        kind = q.dtype
        terms = _similarities(q, k, self.rel_query.to(kind), self.rel_key.to(kind))
        logits = torch.cat(terms, dim=1)  # [B, 3 N, lines, L, L]
        normed = self.logit_norm(logits.flatten(3)).view(logits.shape)
        attention = torch.unflatten(normed, 1, (3, -1)).sum(dim=1).softmax(dim=-1)
        means = _weighted(attention, v, self.rel_value.to(kind))
        if self.axis == "height":
            means = means[0].transpose(2, 3), means[1].transpose(2, 3)
        value, position = (_merge(mean) for mean in means)
        y = self.value_norm(value) + self.position_norm(position)
        if self.stride > 1:
            y = F.avg_pool2d(y, self.stride)
        if not return_attention:
            return y  # type: ignore[no-any-return]
        if self.axis == "height":
            attention = attention.transpose(2, 3)
        return y, attention

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return (
            f"{self.in_channels}, {self.out_channels}, num_heads={self.num_heads}, "
            f"size={self.size}, axis={self.axis!r}, stride={self.stride}"
        )


# A gate for each line and channel ---------------------------------------------------


def _check_channelized(
    attention: Tensor, v: Tensor, weights: Sequence[Tensor], axis: str
) -> None:
    _check_axis(axis)
    check_tensor(attention, "attention", "B H W L")
    check_tensor(v, "v", "B H W C")
    check_same_kind(attention=attention, v=v)
    length = v.shape[1 if axis == "height" else 2]
    if tuple(attention.shape) != (*v.shape[:3], length):
        raise ValueError(
            f"attention must be {[*v.shape[:3], length]} for v {shape_of(v)} and axis "
            f"{axis!r}, got {shape_of(attention)}"
        )
    inside = v.shape[-1]
    for number, weight in enumerate(weights):
        check_tensor(weight, f"weights[{number}]", "G1 G2")
        check_same_kind(v=v, weight=weight)
        last = number == len(weights) - 1
        if weight.shape[1] != inside or (last and weight.shape[0] != v.shape[-1]):
            raise ValueError(
                f"weights[{number}] must take {inside} channels (and the last one give "
                f"{v.shape[-1]}), got {shape_of(weight)}"
            )
        inside = weight.shape[0]


def channelized_axial_attention_loop(
    attention: Float[Tensor, "B H W L"],
    v: Float[Tensor, "B H W C"],
    weights: Sequence[Tensor],
    axis: Axis = "height",
) -> Float[Tensor, "B H W C"]:
    """Channelized axial attention with every product of weight and value in memory.

    Same arguments, result and errors as `channelized_axial_attention`, of which it is
    the oracle.
    """
    _check_channelized(attention, v, weights, axis)
    B, H, W, C = v.shape
    L = attention.shape[-1]
    images = []
    for n in range(B):
        lines = []
        for o in range(L):  # the line of queries: a row for height, a column for width
            across = range(W) if axis == "height" else range(H)
            products = []  # alpha, for each place on the line and each key
            for s in across:
                query = (o, s) if axis == "height" else (s, o)
                for p in range(L):
                    a, b = (p, s) if axis == "height" else (s, p)
                    products.append(attention[n, query[0], query[1], p] * v[n, a, b])
            hidden = v.new_zeros(C)
            for product in products:
                hidden = hidden + product / len(products)
            for weight in weights[:-1]:
                hidden = F.leaky_relu(weight @ hidden, 0.2)
            gate = torch.sigmoid(weights[-1] @ hidden) if len(weights) else 1.0
            pixels = []
            for s in range(len(across)):
                y = v.new_zeros(C)
                for p in range(L):
                    y = y + gate * products[s * L + p]
                pixels.append(y)
            lines.append(torch.stack(pixels))
        images.append(torch.stack(lines))
    y = torch.stack(images)  # [B, lines, places, C]
    return y if axis == "height" else y.transpose(1, 2)


def channelized_axial_attention(
    attention: Float[Tensor, "B H W L"],
    v: Float[Tensor, "B H W C"],
    weights: Sequence[Tensor],
    axis: Axis = "height",
) -> Float[Tensor, "B H W C"]:
    r"""Axial attention with a gate for each line of queries and each channel.

    .. math:: Y_{ijc} = g_{ic} \sum_k \alpha_{ijkc}, \qquad \alpha_{ijkc} =
        A_{ijk} V_{kjc}, \qquad g_i = \sigma\Big(W_L\, \lambda \cdots \lambda\,
        W_1 \frac{1}{W H} \sum_{j,k} \alpha_{ijk}\Big) \qquad \text{(height)}

    with the leaky ReLU lambda of slope 0.2. The gate g does not depend on the summed
    index k, so it can be taken out of the sum: what runs is axial attention, and then a
    gate on its own output. Nothing of the size of the products alpha is made.

    Args:
        attention: A [B, H, W, L], the weights along the axis.
        v: Values V [B, H, W, C].
        weights: W_1 [G, C], ..., W_L [C, G]; an empty sequence leaves the gate out.
        axis: ``"height"`` or ``"width"``, of length L.

    Returns:
        [B, H, W, C].

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit, an unknown axis.

    Source: [huang2022] and its official code. Chapter: far/channelized.
    """
    _check_channelized(attention, v, weights, axis)
    if axis == "width":
        attention, v = attention.transpose(1, 2), v.transpose(1, 2)
    # Lines of queries along axis 1, places on the line along axis 2.
    y = (attention.transpose(1, 2) @ v.transpose(1, 2)).transpose(1, 2)
    if len(weights):
        hidden = y.mean(dim=2) / attention.shape[-1]  # [B, lines, C]
        for weight in weights[:-1]:
            hidden = F.leaky_relu(F.linear(hidden, weight), 0.2)
        y = y * torch.sigmoid(F.linear(hidden, weights[-1]))[:, :, None]
    return y if axis == "height" else y.transpose(1, 2)


def _projection(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    nn.init.xavier_uniform_(conv.weight)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels, eps=1e-3), nn.ReLU())


class _Gate(nn.Module):
    """The layers of one gate: depth hidden ones of a quarter of the channels."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        hidden = max(channels // 4, 1)
        widths = [channels, *[hidden] * depth, channels]
        self.layers = nn.ModuleList(
            nn.Linear(inside, outside, bias=False)
            for inside, outside in pairwise(widths)
        )
        for weight in self.parameters():
            nn.init.xavier_uniform_(weight)


class ChannelizedAxialAttention2d(nn.Module):
    r"""Channelized axial attention (CAA): along the height, then along the width.

    .. math:: y = \mathrm{caa}(A^{row}, \mathrm{caa}(A^{col}, V)), \qquad
        A^{col}_{ijk} = \operatorname{softmax}_k\left(q^{col\,\top}_{ij} q^{col}_{kj}
        \right)

    with `channelized_axial_attention` for each axis. Both maps of weights come from the
    input; queries are keys. There is one head, no scale and no position.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output and of the values.
        key_channels: Channels of queries and keys.
        depth: Hidden layers of each gate, a quarter of out_channels wide.
        channel_attention: Whether there are gates.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1.

    Differences from the official code: it forms all products of weights and values, in
    groups of lines; here the gate is taken out of the sum. As released, it fails with
    the gate on; its declared activation is the leaky ReLU of slope 0.2, used here.

    Source: [huang2022] and its official code. Chapter: far/channelized.

    Example:
        >>> import torch
        >>> layer = ChannelizedAxialAttention2d(12, 8, key_channels=4, depth=2)
        >>> y, (column, row) = layer(torch.zeros(2, 12, 5, 7), return_attention=True)
        >>> column.shape, row.shape
        (torch.Size([2, 1, 5, 7, 5]), torch.Size([2, 1, 5, 7, 7]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        key_channels: int = 64,
        depth: int = 5,
        channel_attention: bool = True,
    ) -> None:
        super().__init__()
        check_positive(
            in_channels=in_channels,
            out_channels=out_channels,
            key_channels=key_channels,
            depth=depth,
        )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.key_channels, self.depth = key_channels, depth
        self.channel_attention = channel_attention
        self.column_key = _projection(in_channels, key_channels)
        self.row_key = _projection(in_channels, key_channels)
        self.value = _projection(in_channels, out_channels)
        self.column_gate = _Gate(out_channels, depth) if channel_attention else None
        self.row_gate = _Gate(out_channels, depth) if channel_attention else None

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attend along columns, then along rows.

        Args:
            x: Map [B, in_channels, H, W], of any size.
            return_attention: Also return the weights.

        Returns:
            y [B, out_channels, H, W], or (y, (column [B, 1, H, W, H], row
            [B, 1, H, W, W])).

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty map.
        """
        check_map(x, self.in_channels)
        q_column, q_row, y = (
            layer(x).permute(0, 2, 3, 1)  # [B, H, W, D]
            for layer in (self.column_key, self.row_key, self.value)
        )
        lines = q_column.transpose(1, 2)  # [B, W, H, D]
        column = (lines @ lines.mT).softmax(dim=-1).to(y.dtype).transpose(1, 2)
        row = (q_row @ q_row.mT).softmax(dim=-1).to(y.dtype)  # [B, H, W, W]
        gates = self._weights(self.column_gate, y), self._weights(self.row_gate, y)
        y = channelized_axial_attention(column, y, gates[0], "height")
        y = channelized_axial_attention(row, y, gates[1], "width")
        y = y.permute(0, 3, 1, 2)
        return (y, (column[:, None], row[:, None])) if return_attention else y

    @staticmethod
    def _weights(gate: nn.Module | None, like: Tensor) -> list[Tensor]:
        return [] if gate is None else [w.to(like.dtype) for w in gate.parameters()]

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return (
            f"{self.in_channels}, {self.out_channels}, "
            f"key_channels={self.key_channels}, depth={self.depth}, "
            f"channel_attention={self.channel_attention}"
        )
