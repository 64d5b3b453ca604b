"""Multi-head attention: several attentions side by side, each in its own subspace.

Shapes: B batch, T queries, S keys, N heads, D query/key dim of a head, E value dim of
a head, H W map, C channels.
"""

from typing import Literal, overload

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from visattn.mechanisms._checks import (
    check_divisible,
    check_positive,
    check_tensor,
    shape_of,
)
from visattn.mechanisms.dot_product import attend, attend_loop, check_attention

__all__ = [
    "MultiHeadSelfAttention",
    "merge_heads",
    "multi_head",
    "multi_head_loop",
    "split_heads",
]


def split_heads(x: Float[Tensor, "B T ND"], num_heads: int) -> Float[Tensor, "B N T D"]:
    """Cut the width into heads: channel c belongs to head c // D, place c % D.

    Args:
        x: [B, T, N*D].
        num_heads: N.

    Returns:
        [B, N, T, D].

    Raises:
        TypeError: x is not a floating-point tensor, num_heads is not an integer.
        ValueError: Wrong rank, or a width that num_heads does not divide.

    Source: section 3.2.2 of [vaswani2017]. Chapter: foundations/multi_head.
    """
    check_tensor(x, "x", "B T D")
    check_positive(num_heads=num_heads)
    check_divisible("width", x.shape[-1], "num_heads", num_heads)
    return rearrange(x, "B T (N D) -> B N T D", N=num_heads)


def merge_heads(x: Float[Tensor, "B N T D"]) -> Float[Tensor, "B T ND"]:
    """Put the heads side by side again: the inverse of `split_heads`.

    The token axis must come before the head axis when the two last axes are joined.
    Joining without that transposition gives the right shape and wrong numbers.

    Args:
        x: [B, N, T, D].

    Returns:
        [B, T, N*D].

    Raises:
        TypeError: x is not a floating-point tensor.
        ValueError: Wrong rank or an empty tensor.

    Source: section 3.2.2 of [vaswani2017]. Chapter: foundations/multi_head.
    """
    check_tensor(x, "x", "B N T D")
    return rearrange(x, "B N T D -> B T (N D)")


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    num_heads: int,
    bias: Tensor | None,
    mask: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Check all arguments; return q, k, v as heads, bias and mask as [B, N, T, S]."""
    check_positive(num_heads=num_heads)
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_tensor(x, name, "B T D")
        check_divisible(f"width of {name}", x.shape[-1], "num_heads", num_heads)
    for name, extra in (("bias", bias), ("mask", mask)):
        if isinstance(extra, Tensor) and extra.ndim not in (2, 4):
            raise ValueError(
                f"{name} must be [T, S] or [B, N, T, S] with axes of length 1 where it "
                f"is shared, got {shape_of(extra)}; write {name}[:, None] for one "
                f"{name} per image, {name}[None] for one per head, or "
                f"{name}[:, None, None] for one per key"
            )
    q, k, v = (split_heads(x, num_heads) for x in (q, k, v))  # [B, N, T, D]
    bias, mask = check_attention(q, k, v, bias, mask)
    return q, k, v, bias, mask


def multi_head_loop(
    q: Float[Tensor, "B T ND"],
    k: Float[Tensor, "B S ND"],
    v: Float[Tensor, "B S NE"],
    num_heads: int,
    *,
    bias: Float[Tensor, "..."] | None = None,
    mask: Bool[Tensor, "..."] | None = None,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Multi-head attention, one image and one head at a time.

    Same arguments, result and errors as `multi_head`, of which it is the oracle.
    """
    _, _, _, bias, mask = _check(q, k, v, num_heads, bias, mask)
    B = q.shape[0]
    D, E = q.shape[-1] // num_heads, v.shape[-1] // num_heads

    batch_outputs, batch_maps = [], []
    for n in range(B):
        heads, maps = [], []
        for h in range(num_heads):
            q_h = q[n, :, h * D : (h + 1) * D]  # [T, D]
            k_h = k[n, :, h * D : (h + 1) * D]  # [S, D]
            v_h = v[n, :, h * E : (h + 1) * E]  # [S, E]
            b_h = None if bias is None else bias[n, h]
            m_h = None if mask is None else mask[n, h]
            y_h, a_h = attend_loop(
                q_h, k_h, v_h, bias=b_h, mask=m_h, return_attention=True
            )
            heads.append(y_h)  # [T, E]
            maps.append(a_h)  # [T, S]
        batch_outputs.append(torch.cat(heads, dim=-1))  # [T, N*E]
        batch_maps.append(torch.stack(maps))  # [N, T, S]

    y, attention = torch.stack(batch_outputs), torch.stack(batch_maps)
    return (y, attention) if return_attention else y


@overload
def multi_head(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    num_heads: int,
    *,
    bias: Tensor | None = ...,
    mask: Tensor | None = ...,
    return_attention: Literal[False] = ...,
) -> Tensor: ...
@overload
def multi_head(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    num_heads: int,
    *,
    bias: Tensor | None = ...,
    mask: Tensor | None = ...,
    return_attention: bool,
) -> Tensor | tuple[Tensor, Tensor]: ...
def multi_head(
    q: Float[Tensor, "B T ND"],
    k: Float[Tensor, "B S ND"],
    v: Float[Tensor, "B S NE"],
    num_heads: int,
    *,
    bias: Float[Tensor, "..."] | None = None,
    mask: Bool[Tensor, "..."] | None = None,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Attend in ``num_heads`` subspaces and put the results side by side.

    .. math:: \mathrm{head}_h = \operatorname{softmax}\!\left(
        \frac{Q_h K_h^\top}{\sqrt{D}}\right) V_h, \qquad
        Y = \operatorname{concat}_h(\mathrm{head}_h)

    Head h owns the contiguous channels h*D ... (h+1)*D - 1.

    Args:
        q: Projected queries [B, T, N*D].
        k: Projected keys [B, S, N*D].
        v: Projected values [B, S, N*E].
        num_heads: N.
        bias: Added to the scaled logits; [T, S] or [B|1, N|1, T|1, S|1].
        mask: True = keep; shapes as for ``bias``.
        return_attention: Also return the weights.

    Returns:
        y [B, T, N*E], or (y, attention [B, N, T, S]).

    Raises:
        TypeError: Not a tensor, an integer dtype, different dtypes, a mask that is not
            bool.
        ValueError: Widths that num_heads does not divide, shapes that do not fit.

    Differences from the paper: none. The output projection is the Module's.

    Source: section 3.2.2 of [vaswani2017]. Chapter: foundations/multi_head.
    """
    q, k, v, bias, mask = _check(q, k, v, num_heads, bias, mask)
    if not return_attention:
        return merge_heads(attend(q, k, v, bias=bias, mask=mask))
    y, attention = attend(q, k, v, bias=bias, mask=mask, return_attention=True)
    return merge_heads(y), attention


class MultiHeadSelfAttention(nn.Module):
    r"""Multi-head self-attention over a sequence or over all pixels of a map.

    .. math:: \mathrm{MHSA}(X) = \operatorname{concat}_h\!\left[\operatorname{softmax}
        \!\left(\frac{(X W_q^h)(X W_k^h)^\top}{\sqrt{D}}\right) X W_v^h\right] W_o + b

    An image [B, C, H, W] is read as H*W tokens, pixel (i, j) being token i*W + j. There
    is no position in the formula: permuting the pixels permutes the output.

    Args:
        dim: Width of the tokens, or channels of the map; also the output's.
        num_heads: N.
        dim_head: Width D of a head; dim // num_heads when None.
        bias: Whether the four linear maps have a bias.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: dim not divisible by num_heads where dim_head is None.

    Differences from the paper: the biases, as in ``torch.nn.MultiheadAttention``. Each
    map is initialised by Xavier's rule with its own fan; PyTorch's module applies the
    rule to the stacked [3*dim, dim] matrix. Official weights: ``convert(state,
    "torch-mha")``.

    Source: section 3.2.2 of [vaswani2017]; for images eq. 1 and 2 of [bello2019].
    Chapter: foundations/multi_head.

    Example:
        >>> import torch
        >>> mhsa = MultiHeadSelfAttention(16, num_heads=4)
        >>> y, attention = mhsa(torch.zeros(2, 16, 5, 7), return_attention=True)
        >>> y.shape, attention.shape
        (torch.Size([2, 16, 5, 7]), torch.Size([2, 4, 5, 7, 5, 7]))
    """

    def __init__(
        self, dim: int, num_heads: int, dim_head: int | None = None, bias: bool = True
    ) -> None:
        super().__init__()
        check_positive(dim=dim, num_heads=num_heads)
        if dim_head is None:
            check_divisible("dim", dim, "num_heads", num_heads)
            dim_head = dim // num_heads
        check_positive(dim_head=dim_head)
        self.dim, self.num_heads, self.dim_head = dim, num_heads, dim_head
        inner = num_heads * dim_head
        self.query = nn.Linear(dim, inner, bias=bias)
        self.key = nn.Linear(dim, inner, bias=bias)
        self.value = nn.Linear(dim, inner, bias=bias)
        self.out = nn.Linear(inner, dim, bias=bias)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)
            if bias:
                nn.init.zeros_(linear.bias)

    def forward(
        self,
        x: Float[Tensor, "B T C"] | Float[Tensor, "B C H W"],
        *,
        bias: Float[Tensor, "..."] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
        return_attention: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend over a sequence or a map.

        Args:
            x: Tokens [B, T, dim] or a map [B, dim, H, W].
            bias: Added to the scaled logits; [T, T] or [B|1, N|1, T|1, T|1], with
                T = H*W for a map.
            mask: True = keep; shapes as for ``bias``.
            return_attention: Also return the weights.

        Returns:
            y of the shape of x, or (y, attention). Attention is [B, N, T, T] for a
            sequence, and for a map [B, N, H, W, H, W] (query row, query column, key
            row, key column).

        Raises:
            TypeError: x is not a floating-point tensor, mask is not bool.
            ValueError: Wrong rank or width, an empty map, a mask that does not fit.
        """
        if isinstance(x, Tensor) and x.ndim == 4:
            check_tensor(x, "x", "B C H W")
            H = x.shape[-2]
            tokens = rearrange(x, "B C H W -> B (H W) C")
        else:
            check_tensor(x, "x", "B T C")
            tokens = x
        if tokens.shape[-1] != self.dim:
            raise ValueError(
                f"x must be [B, T, {self.dim}] or [B, {self.dim}, H, W], "
                f"got {shape_of(x)}"
            )

        q, k, v = self.query(tokens), self.key(tokens), self.value(tokens)
        result = multi_head(
            q,
            k,
            v,
            self.num_heads,
            bias=bias,
            mask=mask,
            return_attention=return_attention,
        )
        y, attention = result if isinstance(result, tuple) else (result, None)
        y = self.out(y)  # [B, T, C]
        if x.ndim == 4:
            y = rearrange(y, "B (H W) C -> B C H W", H=H)
            if attention is not None:
                attention = rearrange(
                    attention, "B N (H W) (I J) -> B N H W I J", H=H, I=H
                )
        return y if attention is None else (y, attention)

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return f"dim={self.dim}, num_heads={self.num_heads}, dim_head={self.dim_head}"
