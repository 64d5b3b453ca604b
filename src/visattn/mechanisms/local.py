"""Local self-attention: each pixel attends to the K x K window around it.

Shapes: B batch, N heads, H W map, D head dim, K window, C channels.
Offsets are key minus query, (row, column), from -(K//2) to K//2.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from visattn.kernels import local as blocks
from visattn.kernels import shifts
from visattn.kernels._transforms import needs_plain_form
from visattn.mechanisms._checks import (
    check_divisible,
    check_map,
    check_positive,
    check_same_kind,
    check_tensor,
    shape_of,
)

__all__ = [
    "AttentionStem2d",
    "LocalAttention2d",
    "attention_stem",
    "attention_stem_loop",
    "local_attention",
    "local_attention_loop",
]

Border = Literal["mask", "zero"]


def _check_window(kernel_size: int, border: str) -> None:
    check_positive(kernel_size=kernel_size)
    if kernel_size % 2 == 0:
        raise ValueError(
            f"kernel_size must be odd, so that the query is the centre of its window; "
            f"got {kernel_size}"
        )
    if border not in ("mask", "zero"):
        raise ValueError(f"border must be 'mask' or 'zero', got {border!r}")


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relative_rows: Tensor | None,
    relative_cols: Tensor | None,
    kernel_size: int,
    border: str,
) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_tensor(x, name, "B N H W D")
    check_same_kind(q=q, k=k, v=v)
    if not q.shape == k.shape == v.shape:
        raise ValueError(
            "q, k and v must have the same shape [B, N, H, W, D], got "
            f"{shape_of(q)}, {shape_of(k)}, {shape_of(v)}"
        )
    _check_window(kernel_size, border)
    if (relative_rows is None) != (relative_cols is None):
        raise ValueError(
            "relative_rows and relative_cols must both be given or both be None"
        )
    if relative_rows is None or relative_cols is None:
        return
    check_tensor(relative_rows, "relative_rows", "K D/2")
    check_tensor(relative_cols, "relative_cols", "K D/2")
    check_same_kind(q=q, relative_rows=relative_rows, relative_cols=relative_cols)
    check_divisible("head dim", q.shape[-1], "the row half and the column half", 2)
    wanted = [kernel_size, q.shape[-1] // 2]
    for name, x in (("relative_rows", relative_rows), ("relative_cols", relative_cols)):
        if list(x.shape) != wanted:
            raise ValueError(
                f"{name} must be [kernel_size, D/2] = {wanted} for q {shape_of(q)}, "
                f"got {shape_of(x)}"
            )


def local_attention_loop(
    q: Float[Tensor, "B N H W D"],
    k: Float[Tensor, "B N H W D"],
    v: Float[Tensor, "B N H W D"],
    relative_rows: Float[Tensor, "K D2"] | None,
    relative_cols: Float[Tensor, "K D2"] | None,
    kernel_size: int,
    border: Border = "mask",
    *,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Local attention, one query pixel and one key pixel at a time.

    Same arguments, result and errors as `local_attention`, of which it is the oracle.
    """
    _check(q, k, v, relative_rows, relative_cols, kernel_size, border)
    B, N, H, W, D = q.shape
    reach = kernel_size // 2
    outputs, maps = [], []
    for n in range(B):
        for h in range(N):
            for i in range(H):
                for j in range(W):
                    logits, values, places = [], [], []
                    for a in range(i - reach, i + reach + 1):
                        for b in range(j - reach, j + reach + 1):
                            inside = 0 <= a < H and 0 <= b < W
                            if not inside and border == "mask":
                                continue
                            k_ab = k[n, h, a, b] if inside else q.new_zeros(D)
                            v_ab = v[n, h, a, b] if inside else q.new_zeros(D)
                            logit = q[n, h, i, j] @ k_ab
                            if relative_rows is not None and relative_cols is not None:
                                r_row = relative_rows[a - i + reach]
                                r_col = relative_cols[b - j + reach]
                                logit = logit + q[n, h, i, j] @ torch.cat(
                                    [r_row, r_col]
                                )
                            logits.append(logit)
                            values.append(v_ab)
                            places.append(
                                (a - i + reach) * kernel_size + (b - j + reach)
                            )
                    weights = torch.softmax(torch.stack(logits), dim=0)
                    y_ij = q.new_zeros(D)
                    for weight, value in zip(weights, values, strict=True):
                        y_ij = y_ij + weight * value
                    outputs.append(y_ij)
                    window = q.new_zeros(kernel_size**2)
                    maps.append(window.index_put((torch.tensor(places),), weights))
    y = torch.stack(outputs).reshape(B, N, H, W, D)
    if not return_attention:
        return y
    shape = (B, N, H, W, kernel_size, kernel_size)
    return y, torch.stack(maps).reshape(shape)


def _windows(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relative_rows: Tensor | None,
    relative_cols: Tensor | None,
    kernel_size: int,
    border: str,
) -> tuple[Tensor, Tensor]:
    """Output and attention by K*K shifts of the padded map.

    Like the blocks, it works on half precision in float32.
    """
    given = q.dtype
    if given in (torch.float16, torch.bfloat16):
        q, k, v = q.float(), k.float(), v.float()
    H, W, _ = q.shape[2:]
    reach = kernel_size // 2
    pad = (0, 0, reach, reach, reach, reach)
    k, v = F.pad(k, pad), F.pad(v, pad)  # [B, N, H+2*reach, W+2*reach, D]
    inside = F.pad(torch.ones(H, W, dtype=torch.bool, device=q.device), (reach,) * 4)
    shifts = [(a, b) for a in range(kernel_size) for b in range(kernel_size)]
    logits = []
    for a, b in shifts:
        key = k[:, :, a : a + H, b : b + W]
        if relative_rows is not None and relative_cols is not None:
            key = key + torch.cat([relative_rows[a], relative_cols[b]])
        logit = (q * key).sum(-1)  # [B, N, H, W]
        if border == "mask":
            logit = logit.masked_fill(~inside[a : a + H, b : b + W], -math.inf)
        logits.append(logit)
    attention = torch.softmax(torch.stack(logits, dim=-1), dim=-1)  # [B, N, H, W, K*K]
    y = torch.zeros_like(q)
    for place, (a, b) in enumerate(shifts):
        y = y + attention[..., place, None] * v[:, :, a : a + H, b : b + W]
    attention = attention.unflatten(-1, (kernel_size, kernel_size))
    return y.to(given), attention.to(given)


def local_attention(
    q: Float[Tensor, "B N H W D"],
    k: Float[Tensor, "B N H W D"],
    v: Float[Tensor, "B N H W D"],
    relative_rows: Float[Tensor, "K D2"] | None,
    relative_cols: Float[Tensor, "K D2"] | None,
    kernel_size: int,
    border: Border = "mask",
    *,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Self-attention of each pixel over its K x K window, with relative embeddings.

    .. math:: y_{ij} = \sum_{(a,b) \in \mathcal{N}_K(i,j)} \operatorname{softmax}_{ab}
        \!\left(q_{ij}^\top k_{ab} + q_{ij}^\top r_{a-i,\,b-j}\right) v_{ab},
        \qquad r_{\delta} = \operatorname{concat}(r^{row}_{\delta_1},
        r^{col}_{\delta_2})

    There is no 1/sqrt(D) in this formula. Without ``return_attention`` the windows are
    never copied: neither pass holds K*K copies of keys or values.

    Args:
        q: Queries [B, N, H, W, D].
        k: Keys [B, N, H, W, D].
        v: Values [B, N, H, W, D].
        relative_rows: [K, D/2], shared by the heads; entry m belongs to row offset
            m - K//2. None, with relative_cols None, leaves positions out.
        relative_cols: [K, D/2], for column offsets and the last half of the channels.
        kernel_size: Side K of the window, odd.
        border: ``"mask"`` leaves keys outside the image out of the softmax; ``"zero"``
            keeps them as zero vectors, whose logit is q.r.
        return_attention: Also return the weights.

    Returns:
        y [B, N, H, W, D], or (y, attention [B, N, H, W, K, K]).

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit, an even window, an unknown border, an odd D
            with embeddings.

    Differences from the paper: none in the formula. The paper does not say what happens
    outside the image; both readings are here.

    Source: eq. 2 and 3 of [ramachandran2019]. Chapter: local/local.
    """
    _check(q, k, v, relative_rows, relative_cols, kernel_size, border)
    if return_attention:
        return _windows(q, k, v, relative_rows, relative_cols, kernel_size, border)
    tables = [x for x in (relative_rows, relative_cols) if x is not None]
    if needs_plain_form(q, k, v, *tables):
        return _windows(q, k, v, relative_rows, relative_cols, kernel_size, border)[0]
    B, D = q.shape[0], q.shape[-1]
    if relative_rows is None or relative_cols is None:
        relative_rows = q.new_zeros(kernel_size, D // 2)
        relative_cols = q.new_zeros(kernel_size, D - D // 2)
    # Measured: for a small window the blocks spend their work on keys outside it.
    few = kernel_size <= 3
    attend = shifts.shifted_local_attention if few else blocks.local_attention
    y: Tensor = attend(
        q.flatten(0, 1),
        k.flatten(0, 1),
        v.flatten(0, 1),
        relative_rows,
        relative_cols,
        kernel_size,
        border == "mask",
    )
    return torch.unflatten(y, 0, (B, -1))


class LocalAttention2d(nn.Module):
    r"""Multi-head local self-attention: the drop-in for a spatial convolution.

    .. math:: q = W_Q x, \quad k = W_K x, \quad v = W_V x, \quad
        y = \operatorname{concat}_h \mathrm{local\_attention}(q^h, k^h, v^h)

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, and of queries, keys and values.
        kernel_size: Side K of the window, odd.
        num_heads: N; head h owns contiguous channels.
        stride: Side of the average pooling after the attention; 1 is none.
        border: ``"mask"`` or ``"zero"``, as in `local_attention`.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Heads that do not divide out_channels, an odd head width, an even
            window, an unknown border.

    Differences from the paper: its text gives each head a slice of the input; its
    tables of parameters are those of full projections, which are used here. The last
    row or column of a map that the stride does not divide is averaged over the pixels
    that exist. The tables start from a normal distribution of variance 1/D, which the
    paper does not state.

    Source: sections 2.2 and 3.1 of [ramachandran2019]. Chapter: local/local.

    Example:
        >>> import torch
        >>> layer = LocalAttention2d(16, 32, kernel_size=7, num_heads=4)
        >>> y, attention = layer(torch.zeros(2, 16, 5, 6), return_attention=True)
        >>> y.shape, attention.shape
        (torch.Size([2, 32, 5, 6]), torch.Size([2, 4, 5, 6, 7, 7]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 7,
        num_heads: int = 8,
        stride: int = 1,
        border: Border = "mask",
    ) -> None:
        super().__init__()
        check_positive(
            in_channels=in_channels,
            out_channels=out_channels,
            num_heads=num_heads,
            stride=stride,
        )
        _check_window(kernel_size, border)
        check_divisible("out_channels", out_channels, "num_heads", num_heads)
        head_dim = out_channels // num_heads
        check_divisible("head dim", head_dim, "the row half and the column half", 2)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.num_heads = kernel_size, num_heads
        self.stride, self.border = stride, border
        self.query = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.key = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.value = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.relative_rows = nn.Parameter(torch.empty(kernel_size, head_dim // 2))
        self.relative_cols = nn.Parameter(torch.empty(kernel_size, head_dim // 2))
        nn.init.normal_(self.relative_rows, std=head_dim**-0.5)
        nn.init.normal_(self.relative_cols, std=head_dim**-0.5)

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend around each pixel.

        Args:
            x: Map [B, in_channels, H, W], of any size.
            return_attention: Also return the weights.

        Returns:
            y [B, out_channels, H', W'] with H' = ceil(H / stride), or (y, attention
            [B, N, H, W, K, K]): the weights before the pooling.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty map.
        """
        check_map(x, self.in_channels)
        q, k, v = (
            rearrange(f(x), "B (N D) H W -> B N H W D", N=self.num_heads)
            for f in (self.query, self.key, self.value)
        )
        result = local_attention(
            q,
            k,
            v,
            self.relative_rows.to(q.dtype),
            self.relative_cols.to(q.dtype),
            self.kernel_size,
            self.border,
            return_attention=return_attention,
        )
        y, attention = result if isinstance(result, tuple) else (result, None)
        y = rearrange(y, "B N H W D -> B (N D) H W")
        if self.stride > 1:
            y = F.avg_pool2d(y, self.stride, ceil_mode=True, count_include_pad=False)
        return y if attention is None else (y, attention)

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"num_heads={self.num_heads}, stride={self.stride}, border={self.border!r}"
        )


def _check_stem(
    x: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixture: Tensor,
) -> None:
    check_tensor(x, "x", "B C H W")
    check_tensor(query, "query", "D C")
    check_tensor(key, "key", "D C")
    check_tensor(value, "value", "M D C")
    check_tensor(mixture, "mixture", "K K M")
    check_same_kind(x=x, query=query, key=key, value=value, mixture=mixture)
    M, _, C = value.shape
    K = mixture.shape[0]
    if x.shape[1] != C or query.shape != key.shape or query.shape[1] != C:
        raise ValueError(
            f"x [B, C, H, W], query and key [D, C] and value [M, D, C] must agree, got "
            f"{shape_of(x)}, {shape_of(query)}, {shape_of(key)}, {shape_of(value)}"
        )
    if list(mixture.shape) != [K, K, M]:
        raise ValueError(f"mixture must be [K, K, {M}], got {shape_of(mixture)}")


def attention_stem_loop(
    x: Float[Tensor, "B C H W"],
    query: Float[Tensor, "D1 C"],
    key: Float[Tensor, "D1 C"],
    value: Float[Tensor, "M D C"],
    mixture: Float[Tensor, "K K M"],
) -> Float[Tensor, "B D H W"]:
    """The attention stem, one query pixel and one key pixel at a time.

    Same arguments, result and errors as `attention_stem`, of which it is the oracle.
    """
    _check_stem(x, query, key, value, mixture)
    B, _, H, W = x.shape
    K = mixture.shape[0]
    pixels = []
    for i in range(H):
        for j in range(W):
            top, left = i - i % K, j - j % K
            logits, values = [], []
            for a in range(top, min(top + K, H)):
                for b in range(left, min(left + K, W)):
                    x_ab = x[:, :, a, b]  # [B, C]
                    q_ij, k_ab = x[:, :, i, j] @ query.mT, x_ab @ key.mT
                    logits.append((q_ij * k_ab).sum(-1))
                    mixed = value.new_zeros(value.shape[1:])
                    for m in range(value.shape[0]):
                        mixed = mixed + mixture[a - top, b - left, m] * value[m]
                    values.append(x_ab @ mixed.mT)
            weights = torch.softmax(torch.stack(logits), dim=0)  # [keys, B]
            y_ij = x.new_zeros(B, value.shape[1])
            for weight, v_ab in zip(weights, values, strict=True):
                y_ij = y_ij + weight[:, None] * v_ab
            pixels.append(y_ij)
    return torch.stack(pixels, dim=-1).reshape(B, -1, H, W)


def attention_stem(
    x: Float[Tensor, "B C H W"],
    query: Float[Tensor, "D1 C"],
    key: Float[Tensor, "D1 C"],
    value: Float[Tensor, "M D C"],
    mixture: Float[Tensor, "K K M"],
) -> Float[Tensor, "B D H W"]:
    r"""Attention inside non-overlapping K x K blocks, with values mixed by place.

    .. math:: y_{ij} = \sum_{ab} \operatorname{softmax}_{ab}(q_{ij}^\top k_{ab})
        \left(\sum_m p(a,b,m)\, W_V^m\right) x_{ab}

    Here a, b are the place inside the block. Blocks that leave the image are cut off.

    Args:
        x: Map [B, C, H, W].
        query: W_Q [D, C].
        key: W_K [D, C].
        value: W_V^m [M, D, C].
        mixture: p [K, K, M].

    Returns:
        [B, D, H, W].

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit.

    Source: section 3.2 and appendix A.1 of [ramachandran2019]. Chapter: local/networks.
    """
    _check_stem(x, query, key, value, mixture)
    H, W = x.shape[2:]
    K = mixture.shape[0]
    tall, wide = -(-H // K) * K, -(-W // K) * K
    x = F.pad(x, (0, wide - W, 0, tall - H))
    blocks = rearrange(x, "B C (I A) (J Z) -> B I J (A Z) C", A=K, Z=K)
    q, k = blocks @ query.mT, blocks @ key.mT  # [B, I, J, K*K, D]
    values = torch.einsum("pm,mdc->pdc", mixture.flatten(0, 1), value)
    v = torch.einsum("pdc,bijpc->bijpd", values, blocks)
    logits = q @ k.mT  # [B, I, J, K*K, K*K]
    inside = F.pad(torch.ones(H, W, device=x.device), (0, wide - W, 0, tall - H))
    keep = rearrange(inside, "(I A) (J Z) -> I J 1 (A Z)", A=K, Z=K) > 0
    y = torch.softmax(logits.masked_fill(~keep, -math.inf), dim=-1) @ v
    y = rearrange(y, "B I J (A Z) D -> B D (I A) (J Z)", A=K)
    return y[:, :, :H, :W]


class AttentionStem2d(nn.Module):
    r"""The attention stem's layer: `attention_stem` with a learned mixture.

    .. math:: p(a,b,m) = \operatorname{softmax}_m\!\left(
        (e^{row}_a + e^{col}_b)^\top \nu^m\right)

    Pixels near the input say little alone; the mixture lets the value depend on the
    place in the block, as a convolution's kernel does. In the network a batch norm and
    a max pooling of the same K x K blocks follow.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the output.
        kernel_size: Side K of the blocks.
        mixtures: Number M of value matrices.
        embedding_dim: Width of the embeddings e and nu; out_channels when None.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1.

    Differences from the paper: one head, where its appendix reports four; the width
    of the embeddings is our choice.

    Source: section 3.2 and appendix A.1 of [ramachandran2019]. Chapter: local/networks.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 4,
        mixtures: int = 4,
        embedding_dim: int | None = None,
    ) -> None:
        super().__init__()
        if embedding_dim is None:
            embedding_dim = out_channels
        check_positive(
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            mixtures=mixtures,
            embedding_dim=embedding_dim,
        )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.mixtures = kernel_size, mixtures
        self.query = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.key = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.value = nn.Parameter(torch.empty(mixtures, out_channels, in_channels))
        self.embedding_rows = nn.Parameter(torch.empty(kernel_size, embedding_dim))
        self.embedding_cols = nn.Parameter(torch.empty(kernel_size, embedding_dim))
        self.mixture_vectors = nn.Parameter(torch.empty(mixtures, embedding_dim))
        for weight in self.value:
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        for table in (self.embedding_rows, self.embedding_cols, self.mixture_vectors):
            nn.init.normal_(table, std=embedding_dim**-0.5)

    def mixture(self) -> Float[Tensor, "K K M"]:
        """The weights p(a, b, m) of the value matrices at each place of a block."""
        places = self.embedding_rows[:, None] + self.embedding_cols[None]  # [K, K, E]
        return torch.softmax(places @ self.mixture_vectors.mT, dim=-1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Attend inside the blocks.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty map.
        """
        return attention_stem(
            x,
            self.query.weight.flatten(1).to(x.dtype),
            self.key.weight.flatten(1).to(x.dtype),
            self.value.to(x.dtype),
            self.mixture().to(x.dtype),
        )

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"mixtures={self.mixtures}"
        )
