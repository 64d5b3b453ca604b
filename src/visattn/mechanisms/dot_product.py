"""Scaled dot-product attention: one weighted sum of values for each query.

Shapes: ... any leading axes, T queries, S keys, D query/key dim, E value dim.
"""

import math
from typing import Literal, overload

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from visattn.mechanisms._checks import (
    check_broadcast,
    check_positive,
    check_same_kind,
    check_tensor,
    shape_of,
)

__all__ = ["SelfAttention", "attend", "attend_loop"]


def check_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, mask: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Check the arguments of `attend`; expand bias and mask to [..., T, S]."""
    check_tensor(q, "q", "... T D")
    check_tensor(k, "k", "... S D")
    check_tensor(v, "v", "... S E")
    check_same_kind(q=q, k=k, v=v)
    shapes = f"q {shape_of(q)}, k {shape_of(k)}, v {shape_of(v)}"
    if not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        raise ValueError(f"q, k and v must have the same leading axes, got {shapes}")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q and k must have the same last axis D, got {shapes}")
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"k and v must have the same number of keys S, got {shapes}")

    target = (*q.shape[:-1], k.shape[-2])
    if bias is not None:
        check_tensor(bias, "bias", "... T S")
        if torch.is_autocast_enabled(q.device.type):
            bias = bias.to(q.dtype)  # a learned bias stays float32, q does not
        check_same_kind(q=q, bias=bias)
        check_broadcast(bias, "bias", target, "... T S")
        bias = bias.expand(target)
    if mask is not None:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(f"mask must be a bool tensor (True = keep), got {got}")
        check_broadcast(mask, "mask", target, "... T S")
        if mask.device != q.device:
            raise ValueError(f"mask is on {mask.device}, q is on {q.device}")
        mask = mask.expand(target)
    return bias, mask


def _check_scale(scale: float | None, D: int) -> float:
    """The scale of the formula, 1/sqrt(D), where none is given."""
    if scale is None:
        return 1.0 / math.sqrt(D)
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise TypeError(f"scale must be a number or None, got {scale!r}")
    try:
        number = float(scale)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"scale must be finite, got {str(scale)[:20]}")
    return number


def attend_loop(
    q: Float[Tensor, "*B T D"],
    k: Float[Tensor, "*B S D"],
    v: Float[Tensor, "*B S E"],
    *,
    bias: Float[Tensor, "..."] | None = None,
    mask: Bool[Tensor, "..."] | None = None,
    scale: float | None = None,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Scaled dot-product attention, written as the formula: one i, one j at a time.

    Same arguments, result and errors as `attend`, of which it is the oracle.
    """
    bias, mask = check_attention(q, k, v, bias, mask)
    scale = _check_scale(scale, q.shape[-1])
    *lead, T, D = q.shape
    S, E = v.shape[-2:]

    outputs, maps = [], []
    for n in range(math.prod(lead)):
        q_n, k_n, v_n = (x.reshape(-1, *x.shape[-2:])[n] for x in (q, k, v))
        for i in range(T):
            logits, kept = [], []
            for j in range(S):
                logit = q.new_zeros(())
                for d in range(D):
                    logit = logit + scale * q_n[i, d] * k_n[j, d]
                if bias is not None:
                    logit = logit + bias.reshape(-1, T, S)[n, i, j]
                logits.append(logit)
                keep = mask is None or bool(mask.reshape(-1, T, S)[n, i, j])
                if keep and logit.item() != -math.inf:
                    kept.append(j)

            # Softmax over the kept keys; subtracting the largest logit changes nothing
            # but keeps exp finite. No key kept: all weights and the output are zero.
            top = max((logits[j].item() for j in kept), default=0.0)
            total = q.new_zeros(())
            for j in kept:
                total = total + torch.exp(logits[j] - top)
            weights = [q.new_zeros(()) for _ in range(S)]
            y_i = q.new_zeros(E)
            for j in kept:
                weights[j] = torch.exp(logits[j] - top) / total
                y_i = y_i + weights[j] * v_n[j]
            outputs.append(y_i)
            maps.append(torch.stack(weights))

    y = torch.stack(outputs).reshape(*lead, T, E)
    attention = torch.stack(maps).reshape(*lead, T, S)
    return (y, attention) if return_attention else y


@overload
def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bias: Tensor | None = ...,
    mask: Tensor | None = ...,
    scale: float | None = ...,
    return_attention: Literal[False] = ...,
) -> Tensor: ...
@overload
def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bias: Tensor | None = ...,
    mask: Tensor | None = ...,
    scale: float | None = ...,
    return_attention: bool,
) -> Tensor | tuple[Tensor, Tensor]: ...
def attend(
    q: Float[Tensor, "*B T D"],
    k: Float[Tensor, "*B S D"],
    v: Float[Tensor, "*B S E"],
    *,
    bias: Float[Tensor, "..."] | None = None,
    mask: Bool[Tensor, "..."] | None = None,
    scale: float | None = None,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Scaled dot-product attention.

    .. math:: y_i = \sum_j \operatorname{softmax}_j\!\left(
        \frac{q_i^\top k_j}{\sqrt{D}} + b_{ij}\right) v_j

    Without ``return_attention`` it runs PyTorch's fused kernel, which never stores
    the T x S map where the device has such a kernel.

    Args:
        q: Queries [..., T, D].
        k: Keys [..., S, D].
        v: Values [..., S, E].
        bias: Added to the scaled logits; [T, S], or all axes of [..., T, S] written
            out, each of full length or 1.
        mask: True = keep; shapes as for ``bias``. A query whose keys are all masked
            has weights zero and output zero. Masked keys and values must still be
            finite: zero times infinity is not zero.
        scale: Factor of the dot product; 1/sqrt(D) when None.
        return_attention: Also return the weights.

    Returns:
        y [..., T, E], or (y, attention [..., T, S]). Rows of attention sum to 1, or to
        0 where every key is masked.

    Raises:
        TypeError: Not a tensor, an integer dtype, different dtypes, a mask that is not
            bool.
        ValueError: Shapes that do not fit, an empty tensor, different devices.

    Differences from the paper: the bias (none there) and the rule for fully masked
    queries (not stated there; a plain softmax gives NaN).

    Source: eq. 1 of [vaswani2017]. Chapter: foundations/dot_product.

    Example:
        >>> import torch
        >>> q = k = torch.eye(2)
        >>> y, attention = attend(q, k, torch.tensor([[1.0], [3.0]]),
        ...                       scale=50.0, return_attention=True)
        >>> y.flatten().tolist()
        [1.0, 3.0]
    """
    bias, mask = check_attention(q, k, v, bias, mask)
    scale = _check_scale(scale, q.shape[-1])
    if return_attention:
        logits = (
            scale * q
        ) @ k.mT  # [..., T, S]; scaled first: half precision is small
        if bias is not None:
            logits = logits + bias
        if mask is not None:
            logits = logits.masked_fill(~mask, -math.inf)
        dead = (logits == -math.inf).all(dim=-1, keepdim=True)  # [..., T, 1]
        attention = torch.softmax(logits.masked_fill(dead, 0.0), dim=-1)
        attention = attention.masked_fill(dead, 0.0)
        return attention @ v, attention

    if bias is None and mask is None:
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    if bias is None:
        assert mask is not None
        dead = ~mask.any(dim=-1, keepdim=True)
        keep = mask | dead
    else:
        keep = bias if mask is None else bias.masked_fill(~mask, -math.inf)
        dead = (keep == -math.inf).all(dim=-1, keepdim=True)
        keep = keep.masked_fill(dead, 0.0)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=keep, scale=scale)
    return y.masked_fill(dead, 0.0)


class SelfAttention(nn.Module):
    r"""One head of self-attention: three linear maps, then `attend`.

    .. math:: Q = X W_q,\quad K = X W_k,\quad V = X W_v,\quad
        Y = \operatorname{softmax}(Q K^\top / \sqrt{d}) V

    Args:
        dim: Width of the input.
        dim_head: Width d of queries, keys, values and output.

    Raises:
        TypeError: A width that is not an integer.
        ValueError: A width below 1.

    Differences from the paper: none; the maps have no bias, as printed.

    Source: section 3.2.2 of [vaswani2017]. Chapter: foundations/dot_product.

    Example:
        >>> import torch
        >>> SelfAttention(16, 8)(torch.zeros(2, 5, 16)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, dim: int, dim_head: int) -> None:
        super().__init__()
        check_positive(dim=dim, dim_head=dim_head)
        self.dim, self.dim_head = dim, dim_head
        self.query = nn.Linear(dim, dim_head, bias=False)
        self.key = nn.Linear(dim, dim_head, bias=False)
        self.value = nn.Linear(dim, dim_head, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Bool[Tensor, "..."] | None = None,
        return_attention: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend over a sequence.

        Args:
            x: Tokens [B, T, dim].
            mask: True = keep; [T, T] or [B, T, T].
            return_attention: Also return the weights.

        Returns:
            y [B, T, dim_head], or (y, attention [B, 1, T, T]).

        Raises:
            TypeError: x is not a floating-point tensor, mask is not bool.
            ValueError: Wrong rank or width, an empty sequence.
        """
        check_tensor(x, "x", "B T D")
        if x.shape[-1] != self.dim:
            raise ValueError(f"x must have width dim={self.dim}, got {shape_of(x)}")
        q, k, v = self.query(x), self.key(x), self.value(x)  # [B, T, d]
        if not return_attention:
            return attend(q, k, v, mask=mask)
        y, attention = attend(q, k, v, mask=mask, return_attention=True)
        return y, attention[:, None]  # [B, 1, T, T]

    def extra_repr(self) -> str:
        """Widths, for ``print(module)``."""
        return f"dim={self.dim}, dim_head={self.dim_head}"
