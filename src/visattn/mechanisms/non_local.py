"""Attention inserted into a convolutional network: to all pixels, or along a cross.

Shapes: B batch, N heads, H W map, I J map of the keys, D query/key dim, E value dim,
C channels.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from visattn.mechanisms._checks import (
    check_map,
    check_positive,
    check_same_kind,
    check_tensor,
    shape_of,
)
from visattn.mechanisms.dot_product import attend

__all__ = [
    "CrissCrossAttention2d",
    "NonLocal2d",
    "criss_cross_attention",
    "criss_cross_attention_loop",
    "non_local_attention",
    "non_local_attention_loop",
]


# To all pixels ----------------------------------------------------------------------


def _check_non_local(q: Tensor, k: Tensor, v: Tensor) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_tensor(x, name, "B N H W D")
    check_same_kind(q=q, k=k, v=v)
    fits = q.shape[:2] == k.shape[:2] == v.shape[:2]
    if not fits or q.shape[-1] != k.shape[-1] or k.shape[2:4] != v.shape[2:4]:
        raise ValueError(
            "q must be [B, N, H, W, D], k [B, N, I, J, D] and v [B, N, I, J, E], got "
            f"{shape_of(q)}, {shape_of(k)}, {shape_of(v)}"
        )


def non_local_attention_loop(
    q: Float[Tensor, "B N H W D"],
    k: Float[Tensor, "B N I J D"],
    v: Float[Tensor, "B N I J E"],
    *,
    scale: float = 1.0,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention of a map to a map, one query and one key pixel at a time.

    Same arguments, result and errors as `non_local_attention`, of which it is the
    oracle.
    """
    _check_non_local(q, k, v)
    B, N, H, W, _ = q.shape
    height, width = k.shape[2:4]
    outputs, maps = [], []
    for n in range(B):
        for h in range(N):
            for i in range(H):
                for j in range(W):
                    logits, values = [], []
                    for a in range(height):
                        for b in range(width):
                            logits.append(scale * (q[n, h, i, j] @ k[n, h, a, b]))
                            values.append(v[n, h, a, b])
                    weights = torch.softmax(torch.stack(logits), dim=0)
                    y_ij = v.new_zeros(v.shape[-1])
                    for weight, value in zip(weights, values, strict=True):
                        y_ij = y_ij + weight * value
                    outputs.append(y_ij)
                    maps.append(weights)
    y = torch.stack(outputs).reshape(B, N, H, W, -1)
    attention = torch.stack(maps).reshape(B, N, H, W, height, width)
    return (y, attention) if return_attention else y


def non_local_attention(
    q: Float[Tensor, "B N H W D"],
    k: Float[Tensor, "B N I J D"],
    v: Float[Tensor, "B N I J E"],
    *,
    scale: float = 1.0,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Attention of every pixel of one map to every pixel of another.

    .. math:: y_{ij} = \sum_{a,b} \operatorname{softmax}_{ab}
        \left(s\, q_{ij}^\top k_{ab}\right) v_{ab}

    Args:
        q: Queries [B, N, H, W, D].
        k: Keys [B, N, I, J, D].
        v: Values [B, N, I, J, E].
        scale: s.
        return_attention: Also return the weights.

    Returns:
        y [B, N, H, W, E], or (y, attention [B, N, H, W, I, J]).

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit.

    Source: eq. 1 and 3 of [wang2018], embedded Gaussian. Chapter: far/non_local.
    """
    _check_non_local(q, k, v)
    (H, W), (height, width) = q.shape[2:4], k.shape[2:4]
    flat = (x.flatten(2, 3) for x in (q, k, v))
    result = attend(*flat, scale=scale, return_attention=return_attention)
    if not isinstance(result, tuple):
        return torch.unflatten(result, 2, (H, W))
    y, attention = result
    attention = attention.unflatten(3, (height, width)).unflatten(2, (H, W))
    return y.unflatten(2, (H, W)), attention


class NonLocal2d(nn.Module):
    r"""Non-local block: attention to all pixels, added to a convolutional network.

    .. math:: z = x + \mathrm{BN}(W_z\, y), \qquad y = \mathrm{non\_local\_attention}
        (W_\theta x,\, W_\phi x',\, W_g x')

    where x' is x, or x after 2x2 max pooling.

    Args:
        channels: Channels C of input and output.
        inner_channels: Channels of queries, keys and values; by default C // 2.
        subsample: Pool the input of keys and values.
        scale: Divide the logits by the root of inner_channels.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1.

    The batch norm starts at zero, so that a new block changes nothing. The official
    code divides the logits; the paper's formula does not. The pooling is of the input,
    as in the paper's formula for it and in the official code; a widely used port pools
    keys and values instead, as a sentence of the paper says, which is not the same.

    Source: section 3 of [wang2018]. Chapter: far/non_local.

    Example:
        >>> import torch
        >>> layer = NonLocal2d(8, subsample=True)
        >>> y, attention = layer(torch.zeros(2, 8, 6, 9), return_attention=True)
        >>> y.shape, attention.shape
        (torch.Size([2, 8, 6, 9]), torch.Size([2, 1, 6, 9, 3, 4]))
    """

    def __init__(
        self,
        channels: int,
        inner_channels: int | None = None,
        subsample: bool = False,
        scale: bool = False,
    ) -> None:
        super().__init__()
        check_positive(channels=channels)
        inner = max(channels // 2, 1) if inner_channels is None else inner_channels
        check_positive(inner_channels=inner)
        self.channels, self.inner_channels = channels, inner
        self.subsample, self.scale = subsample, scale
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.norm.weight)

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend to all pixels and add.

        Args:
            x: Map [B, channels, H, W]; with subsample at least 2 x 2.
            return_attention: Also return the weights.

        Returns:
            z [B, channels, H, W], or (z, attention [B, 1, H, W, I, J]) with I = H and
            J = W, or half of them.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty map, or one too small to pool.
        """
        check_map(x, self.channels, "channels")
        pooled = x
        if self.subsample:
            if min(x.shape[2:]) < 2:
                raise ValueError(
                    f"subsample=True needs at least 2 x 2 pixels, got {shape_of(x)}"
                )
            pooled = F.max_pool2d(x, 2)
        q, k, v = (
            layer(source)[:, None].permute(0, 1, 3, 4, 2)  # [B, 1, H, W, D]
            for layer, source in (
                (self.query, x),
                (self.key, pooled),
                (self.value, pooled),
            )
        )
        result = non_local_attention(
            q,
            k,
            v,
            scale=self.inner_channels**-0.5 if self.scale else 1.0,
            return_attention=return_attention,
        )
        y, attention = result if isinstance(result, tuple) else (result, None)
        z = x + self.norm(self.out(rearrange(y, "B 1 H W D -> B D H W")))
        return z if attention is None else (z, attention)

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return (
            f"{self.channels}, inner_channels={self.inner_channels}, "
            f"subsample={self.subsample}, scale={self.scale}"
        )


# Along a cross ----------------------------------------------------------------------


def _check_cross(q: Tensor, k: Tensor, v: Tensor) -> None:
    _check_non_local(q, k, v)
    if q.shape != k.shape:
        raise ValueError(
            "q and k must be [B, N, H, W, D] and v [B, N, H, W, E] of one map, got "
            f"{shape_of(q)}, {shape_of(k)}, {shape_of(v)}"
        )


def criss_cross_attention_loop(
    q: Float[Tensor, "B N H W D"],
    k: Float[Tensor, "B N H W D"],
    v: Float[Tensor, "B N H W E"],
    *,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention along row and column, one query and one key pixel at a time.

    Same arguments, result and errors as `criss_cross_attention`, of which it is the
    oracle.
    """
    _check_cross(q, k, v)
    B, N, H, W, _ = q.shape
    outputs, maps = [], []
    for n in range(B):
        for h in range(N):
            for i in range(H):
                for j in range(W):
                    cross = [(a, j) for a in range(H) if a != i]
                    cross += [(i, b) for b in range(W)]  # the pixel itself is here
                    logits = [q[n, h, i, j] @ k[n, h, a, b] for a, b in cross]
                    weights = torch.softmax(torch.stack(logits), dim=0)
                    y_ij = v.new_zeros(v.shape[-1])
                    for weight, (a, b) in zip(weights, cross, strict=True):
                        y_ij = y_ij + weight * v[n, h, a, b]
                    outputs.append(y_ij)
                    zero = weights.new_zeros(1)
                    maps.append(torch.cat([weights[:i], zero, weights[i:]]))
    y = torch.stack(outputs).reshape(v.shape)
    attention = torch.stack(maps).reshape(B, N, H, W, H + W)
    return (y, attention) if return_attention else y


def criss_cross_attention(
    q: Float[Tensor, "B N H W D"],
    k: Float[Tensor, "B N H W D"],
    v: Float[Tensor, "B N H W E"],
    *,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Attention of each pixel to the H + W - 1 pixels of its column and its row.

    .. math:: y_{ij} = \sum_{(a,b) \in \mathcal{C}(i,j)} \operatorname{softmax}_{ab}
        \left(q_{ij}^\top k_{ab}\right) v_{ab}, \qquad \mathcal{C}(i,j) = \{(a, b) :
        a = i \text{ or } b = j\}

    One softmax for both lines; the pixel itself counts once. There is no scale.

    Args:
        q: Queries [B, N, H, W, D].
        k: Keys [B, N, H, W, D].
        v: Values [B, N, H, W, E].
        return_attention: Also return the weights.

    Returns:
        y [B, N, H, W, E], or (y, attention [B, N, H, W, H + W]). The weights are those
        of the column, in which the pixel itself has zero, then those of the row.

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit.

    Source: section 3 of [huang2019ccnet]. Chapter: far/non_local.
    """
    _check_cross(q, k, v)
    H, W = q.shape[2:4]
    by_column = [x.transpose(2, 3) for x in (q, k, v)]  # [B, N, W, H, D]
    column = by_column[0] @ by_column[1].mT  # [B, N, W, H, H]
    itself = torch.eye(H, dtype=torch.bool, device=q.device)
    column = column.masked_fill(itself, -math.inf).transpose(2, 3)  # [B, N, H, W, H]
    row = q @ k.mT  # [B, N, H, W, W]
    attention = torch.cat([column, row], dim=-1).softmax(dim=-1)
    to_column, to_row = attention.split([H, W], dim=-1)
    y = (to_column.transpose(2, 3) @ by_column[2]).transpose(2, 3) + to_row @ v
    return (y, attention) if return_attention else y


class CrissCrossAttention2d(nn.Module):
    r"""Criss-cross attention, applied several times with the same weights.

    .. math:: x \leftarrow \gamma\, \mathrm{criss\_cross\_attention}(W_Q x, W_K x,
        W_V x) + x

    After one pass a pixel has seen its row and column, after two passes every pixel.

    Args:
        channels: Channels C of input and output. Queries and keys have C // 8, at
            least 1.
        recurrence: Number of passes.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1.

    The factor gamma starts at zero, so that a new block changes nothing.

    Source: section 3 of [huang2019ccnet]. Chapter: far/non_local.

    Example:
        >>> import torch
        >>> layer = CrissCrossAttention2d(16)
        >>> layer(torch.zeros(2, 16, 5, 7)).shape
        torch.Size([2, 16, 5, 7])
    """

    def __init__(self, channels: int, recurrence: int = 2) -> None:
        super().__init__()
        check_positive(channels=channels, recurrence=recurrence)
        self.channels, self.recurrence = channels, recurrence
        inner = max(channels // 8, 1)
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend along row and column, and add; ``recurrence`` times.

        Args:
            x: Map [B, channels, H, W], of any size.
            return_attention: Also return the weights.

        Returns:
            y [B, channels, H, W], or (y, attention [B, 1, H, W, H + W]), of the last
            pass.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty map.
        """
        check_map(x, self.channels, "channels")
        attention = x
        for _ in range(self.recurrence):
            q, k, v = (
                layer(x)[:, None].permute(0, 1, 3, 4, 2)
                for layer in (self.query, self.key, self.value)
            )
            result = criss_cross_attention(q, k, v, return_attention=return_attention)
            y, attention = result if isinstance(result, tuple) else (result, x)
            x = self.gamma * rearrange(y, "B 1 H W D -> B D H W") + x
        return (x, attention) if return_attention else x

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return f"{self.channels}, recurrence={self.recurrence}"
