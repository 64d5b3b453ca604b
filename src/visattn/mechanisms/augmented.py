"""Attention-augmented convolution: some channels convolve, the others attend.

Shapes: B batch, N heads, H W map, D key dim of a head, E value dim of a head,
C channels.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from visattn.kernels.relative import relative_attention_2d
from visattn.mechanisms._checks import (
    check_divisible,
    check_map,
    check_pair,
    check_positive,
    check_same_kind,
    check_tensor,
    shape_of,
)
from visattn.mechanisms.dot_product import attend
from visattn.mechanisms.positions import (
    check_relative_2d,
    relative_logits_1d,
    relative_logits_2d,
)

__all__ = ["AAConv2d", "augmented_attention", "augmented_attention_loop"]


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_height: Tensor | None,
    rel_width: Tensor | None,
) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_tensor(x, name, "B N H W D")
    check_same_kind(q=q, k=k, v=v)
    if q.shape != k.shape or q.shape[:-1] != v.shape[:-1]:
        raise ValueError(
            "q and k must be [B, N, H, W, D] and v [B, N, H, W, E] of one map, got "
            f"{shape_of(q)}, {shape_of(k)}, {shape_of(v)}"
        )
    if (rel_height is None) != (rel_width is None):
        raise ValueError("rel_height and rel_width must both be given or both be None")
    if rel_height is not None and rel_width is not None:
        check_relative_2d(q, rel_height, rel_width)


def augmented_attention_loop(
    q: Float[Tensor, "B N H W D"],
    k: Float[Tensor, "B N H W D"],
    v: Float[Tensor, "B N H W E"],
    rel_height: Float[Tensor, "M1 D"] | None = None,
    rel_width: Float[Tensor, "M2 D"] | None = None,
    *,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Global attention with relative logits, one query and one key pixel at a time.

    Same arguments, result and errors as `augmented_attention`, of which it is the
    oracle.
    """
    _check(q, k, v, rel_height, rel_width)
    B, N, H, W, D = q.shape
    outputs, maps = [], []
    for n in range(B):
        for h in range(N):
            for i in range(H):
                for j in range(W):
                    logits, values = [], []
                    for a in range(H):
                        for b in range(W):
                            key = k[n, h, a, b]
                            if rel_height is not None and rel_width is not None:
                                key = key + rel_width[b - j + W - 1]
                                key = key + rel_height[a - i + H - 1]
                            logits.append(q[n, h, i, j] @ key / D**0.5)
                            values.append(v[n, h, a, b])
                    weights = torch.softmax(torch.stack(logits), dim=0)
                    y_ij = v.new_zeros(v.shape[-1])
                    for weight, value in zip(weights, values, strict=True):
                        y_ij = y_ij + weight * value
                    outputs.append(y_ij)
                    maps.append(weights)
    y = torch.stack(outputs).reshape(v.shape)
    attention = torch.stack(maps).reshape(B, N, H, W, H, W)
    return (y, attention) if return_attention else y


def augmented_attention(
    q: Float[Tensor, "B N H W D"],
    k: Float[Tensor, "B N H W D"],
    v: Float[Tensor, "B N H W E"],
    rel_height: Float[Tensor, "M1 D"] | None = None,
    rel_width: Float[Tensor, "M2 D"] | None = None,
    *,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Attention over all pixels of a map, with relative logits in two dimensions.

    .. math:: y_i = \sum_j \operatorname{softmax}_j\!\left(\frac{q_i^\top}{\sqrt{D}}
        \left(k_j + r^W_{j_x - i_x} + r^H_{j_y - i_y}\right)\right) v_j

    The scale divides the relative part too.

    Args:
        q: Queries [B, N, H, W, D], not scaled.
        k: Keys [B, N, H, W, D].
        v: Values [B, N, H, W, E].
        rel_height: [2H-1, D]; row m belongs to row offset m - (H-1). Shared by heads.
        rel_width: [2W-1, D], for column offsets. None, with rel_height None, leaves
            positions out.
        return_attention: Also return the weights.

    Returns:
        y [B, N, H, W, E], or (y, attention [B, N, H, W, H, W]).

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit.

    Source: section 3.1 of [bello2019]. Chapter: local/augmented.
    """
    _check(q, k, v, rel_height, rel_width)
    H, W, D = q.shape[2:]
    q = q * D**-0.5
    if return_attention:
        bias = None
        if rel_height is not None and rel_width is not None:
            bias = relative_logits_2d(q, rel_height, rel_width)
        y, attention = attend(
            q.flatten(2, 3),
            k.flatten(2, 3),
            v.flatten(2, 3),
            bias=bias,
            scale=1.0,
            return_attention=True,
        )
        attention = attention.unflatten(3, (H, W)).unflatten(2, (H, W))
        return y.unflatten(2, (H, W)), attention
    if rel_height is None or rel_width is None:
        y = attend(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), scale=1.0)
        return torch.unflatten(y, 2, (H, W))
    cols = relative_logits_1d(q, rel_width)  # [B, N, H, W, W]
    rows = relative_logits_1d(q.transpose(2, 3), rel_height).transpose(2, 3)
    return relative_attention_2d(q, k, v, rows, cols)


class AAConv2d(nn.Module):
    r"""Attention-augmented convolution.

    .. math:: \mathrm{AAConv}(X) = \operatorname{concat}\left[\mathrm{Conv}(X),
        \mathrm{MHA}(X)\right], \qquad \kappa = d_k / F_{out}, \quad
        \upsilon = d_v / F_{out}

    The convolution gives the first ``out_channels - value_channels`` channels, the
    attention the last ``value_channels``. One 1x1 convolution makes keys, queries and
    values, in this order; another mixes the heads.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels F_out of the output.
        kernel_size: Side of the convolution's kernel, odd.
        key_channels: d_k, over all heads.
        value_channels: d_v, over all heads; out_channels leaves no convolution.
        num_heads: N; divides key_channels and value_channels.
        size: Height and width of the input map, or one number for both. The tables
            have a row for each offset of this map.
        relative: Whether there are relative logits. Without them any map size works.
        stride: Of the output: the convolution strides, the attention is averaged over
            3x3 windows with this stride.

    Raises:
        TypeError: A size that is not an integer or a pair of them.
        ValueError: A size of another length than two, heads that do not divide the
            channels, more value channels than output channels, an even kernel.

    Differences from the paper: its listing starts the tables with mean D^-0.5 and
    standard deviation 1, because the first argument of that initialiser is the mean;
    here D^-0.5 is the standard deviation. The listing has
    no stride; here the attention sees the entering map and is averaged after it. The
    operations that the paper reports for its networks are lower than this gives, see
    the chapter local/networks.

    Source: sections 3.1 and 3.2 of [bello2019]. Chapter: local/augmented.

    Example:
        >>> import torch
        >>> layer = AAConv2d(16, 24, 3, 16, 8, num_heads=4, size=(7, 9))
        >>> layer(torch.zeros(2, 16, 7, 9)).shape
        torch.Size([2, 24, 7, 9])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        key_channels: int,
        value_channels: int,
        num_heads: int,
        size: int | tuple[int, int],
        relative: bool = True,
        stride: int = 1,
    ) -> None:
        super().__init__()
        height, width = check_pair("size", size)
        check_positive(
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            key_channels=key_channels,
            value_channels=value_channels,
            num_heads=num_heads,
            stride=stride,
        )
        check_divisible("key_channels", key_channels, "num_heads", num_heads)
        check_divisible("value_channels", value_channels, "num_heads", num_heads)
        if value_channels > out_channels:
            raise ValueError(
                f"value_channels must be at most out_channels, got {value_channels} "
                f"and {out_channels}"
            )
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.num_heads = kernel_size, num_heads
        self.key_channels, self.value_channels = key_channels, value_channels
        self.size, self.relative, self.stride = (height, width), relative, stride

        rest = out_channels - value_channels
        self.conv = (
            nn.Conv2d(in_channels, rest, kernel_size, stride, kernel_size // 2)
            if rest
            else None
        )
        self.kqv = nn.Conv2d(in_channels, 2 * key_channels + value_channels, 1)
        self.proj = nn.Conv2d(value_channels, value_channels, 1)
        if relative:
            head_dim = key_channels // num_heads
            self.key_rel_h = nn.Parameter(torch.empty(2 * height - 1, head_dim))
            self.key_rel_w = nn.Parameter(torch.empty(2 * width - 1, head_dim))
            nn.init.normal_(self.key_rel_h, std=head_dim**-0.5)
            nn.init.normal_(self.key_rel_w, std=head_dim**-0.5)
        else:
            self.register_parameter("key_rel_h", None)
            self.register_parameter("key_rel_w", None)

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Convolve and attend.

        Args:
            x: Map [B, in_channels, H, W].
            return_attention: Also return the weights.

        Returns:
            y [B, out_channels, H', W'] with H' = ceil(H / stride), or (y, attention
            [B, N, H, W, H, W]): the weights before the averaging.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty map, or a map of another size
                than the tables.
        """
        check_map(x, self.in_channels)
        if self.relative and tuple(x.shape[2:]) != self.size:
            raise ValueError(
                f"the relative tables are made for maps of {self.size[0]} x "
                f"{self.size[1]}, got {x.shape[2]} x {x.shape[3]}"
            )
        d_k, d_v = self.key_channels, self.value_channels
        k, q, v = (
            rearrange(part, "B (N D) H W -> B N H W D", N=self.num_heads)
            for part in self.kqv(x).split([d_k, d_k, d_v], dim=1)
        )
        rel_h, rel_w = self.key_rel_h, self.key_rel_w
        result = augmented_attention(
            q,
            k,
            v,
            None if rel_h is None else rel_h.to(q.dtype),
            None if rel_w is None else rel_w.to(q.dtype),
            return_attention=return_attention,
        )
        y, attention = result if isinstance(result, tuple) else (result, None)
        y = self.proj(rearrange(y, "B N H W D -> B (N D) H W"))
        if self.stride > 1:
            y = F.avg_pool2d(y, 3, self.stride, 1, count_include_pad=False)
        if self.conv is not None:
            y = torch.cat([self.conv(x), y], dim=1)
        return y if attention is None else (y, attention)

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"key_channels={self.key_channels}, value_channels={self.value_channels}, "
            f"num_heads={self.num_heads}, size={self.size}, relative={self.relative}, "
            f"stride={self.stride}"
        )
