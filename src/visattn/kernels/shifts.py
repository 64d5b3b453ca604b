"""Local attention over small windows: a loop over the K*K shifts of the map.

Each turn takes the padded keys or values shifted by one place of the window, and works
on the whole map at once. Channels come before pixels, so that every step runs along
rows of pixels, which lie together in memory. Nothing is kept between the passes but
the inputs: the backward pass computes the weights again. The work goes in chunks.

For windows of 3 x 3 this is faster than blocks of queries: there a block would spend
most of its matrix product on keys outside the query's own window.

Shapes: B images times heads, n of them in a chunk, D head dim, H W map, K window,
P = K*K places.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from visattn.kernels._blocks import FORBIDDEN
from visattn.kernels._precision import without_autocast, working_dtype
from visattn.kernels._transforms import refuse_tangent
from visattn.kernels.aggregation import Windows

_CHUNK = {"cpu": 131_072, "cuda": 64_000_000}  # numbers of one map worked on at once


class _Window:
    """What does not depend on the chunk: the places, the tables, the border."""

    def __init__(
        self, rows: Tensor, cols: Tensor, kernel_size: int, size: torch.Size, mask: bool
    ) -> None:
        self.K, (self.H, self.W) = kernel_size, size
        self.windows = Windows(kernel_size, reflect=False)
        self.rows, self.cols = rows, cols
        self.border: Tensor | None = None
        if mask:
            outside = F.pad(rows.new_zeros(size), (kernel_size // 2,) * 4, value=1.0)
            shifts = torch.stack(list(self.windows.shifts(outside, self.H, self.W)))
            self.border = shifts * FORBIDDEN  # [P, H, W]

    def pad(self, x: Tensor) -> Tensor:
        """[n, D, H, W] -> [n, D, H + 2*reach, W + 2*reach], zeros around."""
        return self.windows.pad(x)

    def shifts(self, padded: Tensor) -> Iterator[Tensor]:
        """K*K views [n, D, H, W]."""
        return self.windows.shifts(padded, self.H, self.W)

    def dots(self, x: Tensor, padded: Tensor) -> Tensor:
        """Scalar products of x with each shifted map: [n, P, H, W]."""
        y = x.new_empty(x.shape[0], self.K**2, self.H, self.W)
        products = torch.empty_like(x)
        for place, shifted in enumerate(self.shifts(padded)):
            torch.mul(x, shifted, out=products)
            torch.sum(products, dim=1, out=y[:, place])
        return y

    def weights(self, q: Tensor, keys: Tensor) -> Tensor:
        """Attention [n, P, H, W] of queries [n, D, H, W] over padded keys."""
        logits = self.dots(q, keys)
        half, flat = self.rows.shape[1], q.flatten(2)
        places = logits.view(-1, self.K, self.K, self.H, self.W)
        row = self.rows @ flat[:, :half]  # [n, K, H*W]
        col = self.cols @ flat[:, half:]
        places += row.view(-1, self.K, 1, self.H, self.W)
        places += col.view(-1, 1, self.K, self.H, self.W)
        if self.border is not None:
            logits += self.border
        return torch.softmax(logits, dim=1)

    def inside(self, padded: Tensor) -> Tensor:
        """The map without its border."""
        return self.windows.fold(padded)


def _chunks(x: Tensor) -> Iterator[slice]:
    """Slices over images and heads: [B, D, H, W]."""
    room = _CHUNK.get(x.device.type, _CHUNK["cuda"])
    step = max(1, room // max(1, x.shape[1:].numel()))
    for b in range(0, len(x), step):
        yield slice(b, b + step)


def _first(x: Tensor) -> Tensor:
    """[B, H, W, D] -> [B, D, H, W], a view."""
    return x.movedim(-1, 1)


def _empty(x: Tensor) -> Tensor:
    """For a result [B, H, W, D] that lies in memory as [B, D, H, W]."""
    B, H, W, D = x.shape
    return x.new_empty(B, D, H, W).movedim(1, -1)


@torch.library.custom_op("visattn::shifted_local_attention", mutates_args=())
@without_autocast
def shifted_local_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rows: Tensor,
    cols: Tensor,
    kernel_size: int,
    masked: bool,
) -> Tensor:
    """Local attention over maps [B, H, W, D]; arguments as in `local_attention`.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        rows: [K, D1], one vector per row offset, for the first D1 channels.
        cols: [K, D2], one per column offset, for the other channels.
        kernel_size: Side K of the window, odd.
        masked: Whether keys outside the image are forbidden; else they are zeros.
    """
    dtype = working_dtype(q.dtype)
    window = _Window(rows.to(dtype), cols.to(dtype), kernel_size, q.shape[1:3], masked)
    y = _empty(q)
    queries, keys, values, result = (_first(x) for x in (q, k, v, y))
    for b in _chunks(queries):
        q_b = queries[b].to(dtype).contiguous()
        attention = window.weights(q_b, window.pad(keys[b].to(dtype)))
        total = torch.zeros_like(q_b)
        padded = window.pad(values[b].to(dtype))
        for place, shifted in enumerate(window.shifts(padded)):
            total.addcmul_(attention[:, place, None], shifted)
        result[b] = total.to(y.dtype)
    return y


@shifted_local_attention.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rows: Tensor,
    cols: Tensor,
    kernel_size: int,
    masked: bool,
) -> Tensor:
    return _empty(q)


@torch.library.custom_op("visattn::shifted_local_attention_backward", mutates_args=())
@without_autocast
def shifted_local_attention_backward(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rows: Tensor,
    cols: Tensor,
    kernel_size: int,
    masked: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `shifted_local_attention` for the cotangent ``g``."""
    dtype = working_dtype(q.dtype)
    table = rows.to(dtype), cols.to(dtype)
    window = _Window(*table, kernel_size, q.shape[1:3], masked)
    K, half = kernel_size, rows.shape[1]
    d_q, d_k, d_v = _empty(q), _empty(k), _empty(v)
    d_rows, d_cols = torch.zeros_like(table[0]), torch.zeros_like(table[1])
    for b in _chunks(_first(q)):
        g_b, q_b = (_first(x)[b].to(dtype).contiguous() for x in (g, q))
        keys, values = (window.pad(_first(x)[b].to(dtype)) for x in (k, v))
        attention = window.weights(q_b, keys)  # [n, P, H, W]

        d_values, d_keys = torch.zeros_like(values), torch.zeros_like(keys)
        d_logits = window.dots(g_b, values)
        d_logits -= (d_logits * attention).sum(dim=1, keepdim=True)
        d_logits *= attention
        d_q_b = torch.zeros_like(q_b)
        views = zip(
            window.shifts(keys),
            window.shifts(d_keys),
            window.shifts(d_values),
            strict=True,
        )
        for place, (key, d_key, d_value) in enumerate(views):
            d_logit = d_logits[:, place, None]
            d_q_b.addcmul_(d_logit, key)
            d_key.addcmul_(d_logit, q_b)
            d_value.addcmul_(attention[:, place, None], g_b)

        places, flat = d_logits.unflatten(1, (K, K)), q_b.flatten(2)
        by_row, by_col = places.sum(2).flatten(2), places.sum(1).flatten(2)
        d_rows += torch.einsum("nkp,ndp->kd", by_row, flat[:, :half])
        d_cols += torch.einsum("nkp,ndp->kd", by_col, flat[:, half:])
        d_flat = d_q_b.flatten(2)  # a view
        d_flat[:, :half] += table[0].mT @ by_row
        d_flat[:, half:] += table[1].mT @ by_col
        parts = d_q_b, window.inside(d_keys), window.inside(d_values)
        for whole, part in zip((d_q, d_k, d_v), parts, strict=True):
            _first(whole)[b] = part.to(whole.dtype)
    return d_q, d_k, d_v, d_rows.to(rows.dtype), d_cols.to(cols.dtype)


@shifted_local_attention_backward.register_fake
def _(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rows: Tensor,
    cols: Tensor,
    kernel_size: int,
    masked: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    tables = torch.empty_like(rows), torch.empty_like(cols)
    return _empty(q), _empty(k), _empty(v), *tables


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.kernel_size, ctx.masked = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, g):  # type: ignore[no-untyped-def]
    refuse_tangent(g)
    gradients = shifted_local_attention_backward(
        g, *ctx.saved_tensors, ctx.kernel_size, ctx.masked
    )
    return *gradients, None, None


shifted_local_attention.register_autograd(_backward, setup_context=_setup)
