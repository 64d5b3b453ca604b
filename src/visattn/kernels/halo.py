"""Blocked local attention: the queries of a block share one neighbourhood of keys.

The logits of a block are one matrix product, and no window of a single query is cut
out. Blocks are worked through in chunks, large blocks in rows of queries, and the
backward pass computes the weights again: nothing but the inputs is kept between the
passes, and only the neighbourhoods of one chunk are ever copied.

Zero times NaN is NaN: a key or value that is not finite reaches all queries of the
blocks whose neighbourhoods hold it.

Shapes: B images times heads, H W map, D query/key dim, E value dim, b block, h halo,
M query places of a block, U side of a neighbourhood, I J rows and columns of blocks,
n blocks of one chunk, m rows of query places in one chunk.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from visattn.kernels._blocks import Axis, Cut, matrices
from visattn.kernels._precision import without_autocast, working_dtype
from visattn.kernels._transforms import refuse_tangent

_CHUNK = {"cpu": 1_300_000, "cuda": 64_000_000}  # numbers that are worked on at once


Part = tuple[slice, slice, slice]
"""Images, rows of blocks, rows of query places."""


class _Cut(Cut):
    """Chunks of blocks, of large ones some rows of queries."""

    def chunks(self, B: int, dims: int, device: torch.device) -> Iterator[Part]:
        """Parts whose logits and neighbourhoods fit into one chunk."""
        room = _CHUNK.get(device.type, _CHUNK["cuda"])
        keys = self.wide.count * self.tall.side * self.wide.side
        room = room // keys  # queries of a column of blocks, with their copies
        rows = room // (self.tall.places * self.wide.places + dims)
        places = self.tall.places
        if rows < 1:
            places = max(1, min(places, (room - dims) // self.wide.places))
        rows = max(1, rows)
        images = max(1, rows // self.tall.count)
        rows = min(rows, self.tall.count)
        for b in range(0, B, images):
            for i in range(0, self.tall.count, rows):
                for x in range(0, self.tall.places, places):
                    yield (
                        slice(b, min(b + images, B)),
                        slice(i, min(i + rows, self.tall.count)),
                        slice(x, min(x + places, self.tall.places)),
                    )


def _cut(
    k: Tensor, rows: Tensor, cols: Tensor, block: Sequence[int], halo: Sequence[int]
) -> _Cut:
    tall = Axis(k.shape[1], block[0], halo[0], block[0] // rows.shape[0])
    return _Cut(tall, Axis(k.shape[2], block[1], halo[1], block[1] // cols.shape[0]))


class _Position:
    """Relative logits and forbidden places, per axis."""

    def __init__(self, cut: _Cut, rows: Tensor, cols: Tensor, masked: bool) -> None:
        self.cut, self.rows, self.cols = cut, rows, cols  # [M, U, D]
        self.border = (cut.tall.border(rows), cut.wide.border(cols)) if masked else None

    def weights(self, q: Tensor, k: Tensor, part: Part) -> Tensor:
        """Attention of n blocks: q [n, m*M, D], k [n, U*U, D] -> [n, m*M, U*U]."""
        b, i, x = part
        tall, wide = self.cut.tall, self.cut.wide
        places = q.unflatten(1, (-1, wide.places))  # [n, m, M, D]
        if self.rows.shape[-1]:
            row = torch.einsum("nxyd,xud->nxyu", places, self.rows[x])
            col = torch.einsum("nxyd,ywd->nxyw", places, self.cols)
        else:
            row = q.new_zeros(*places.shape[:3], tall.side)
            col = q.new_zeros(*places.shape[:3], wide.side)
        if self.border is not None:
            lead = (b.stop - b.start, i.stop - i.start, wide.count)
            border = self.border[0][i][:, None, None, None]  # [i, 1, 1, 1, U]
            row.view(*lead, *row.shape[1:]).add_(border)
            col.view(*lead, *col.shape[1:]).add_(self.border[1][:, None, None])

        logits = (q @ k.mT).view(*places.shape[:3], tall.side, wide.side)
        logits += row[..., :, None]
        logits += col[..., None, :]
        return torch.softmax(logits.flatten(3).flatten(1, 2), dim=-1)

    def gradients(
        self, q: Tensor, g: Tensor, part: Part, d_rows: Tensor, d_cols: Tensor
    ) -> Tensor:
        """From gradients g [n, m*M, U*U] of the logits: that of q; tables are added."""
        if not self.rows.shape[-1]:
            return torch.zeros_like(q)
        tall, wide, x = self.cut.tall, self.cut.wide, part[2]
        places = q.unflatten(1, (-1, wide.places))  # [n, m, M, D]
        g = g.view(*places.shape[:3], tall.side, wide.side)
        g_row, g_col = g.sum(-1), g.sum(-2)  # [n, m, M, U]
        d_rows[x] += torch.einsum("nxyu,nxyd->xud", g_row, places)
        d_cols += torch.einsum("nxyw,nxyd->ywd", g_col, places)
        d_q = torch.einsum("nxyu,xud->nxyd", g_row, self.rows[x])
        d_q += torch.einsum("nxyw,ywd->nxyd", g_col, self.cols)
        return d_q.flatten(1, 2)


@torch.library.custom_op("visattn::halo_attention", mutates_args=())
@without_autocast
def halo_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rows: Tensor,
    cols: Tensor,
    block: Sequence[int],
    halo: Sequence[int],
    masked: bool,
    scale: float,
) -> Tensor:
    """Blocked local attention over maps [B, H, W, D].

    Args:
        q: Queries [B, H', W', D]: every stride-th pixel of the map. The stride of an
            axis is block / M.
        k: Keys [B, H, W, D].
        v: Values [B, H, W, E].
        rows: Position vectors of each query row and key row of a block [M, U, D];
            [M, U, 0] for no positions.
        cols: The same for columns.
        block: Rows and columns of a block.
        halo: Rows and columns around it.
        masked: Whether keys outside the image are forbidden; else they are zeros.
        scale: Factor of the queries.
    """
    dtype = working_dtype(q.dtype)
    cut = _cut(k, rows, cols, block, halo)
    position = _Position(cut, rows.to(dtype), cols.to(dtype), masked)
    queries, keys, values = cut.queries(q), cut.keys(k), cut.keys(v)
    y = queries.new_empty((*queries.shape[:-1], v.shape[-1]))
    for part in cut.chunks(len(q), k.shape[-1] + v.shape[-1], q.device):
        b, i, x = part
        q_n = matrices(queries[b, i, :, x], dtype) * scale
        k_n, v_n = matrices(keys[b, i], dtype), matrices(values[b, i], dtype)
        attention = position.weights(q_n, k_n, part)
        y_part = y[b, i, :, x]
        y_part.copy_((attention @ v_n).view(y_part.shape))
    return cut.map(y, q.shape[1], q.shape[2]).contiguous()


@halo_attention.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rows: Tensor,
    cols: Tensor,
    block: Sequence[int],
    halo: Sequence[int],
    masked: bool,
    scale: float,
) -> Tensor:
    return q.new_empty((*q.shape[:-1], v.shape[-1]))


@torch.library.custom_op("visattn::halo_attention_backward", mutates_args=())
@without_autocast
def halo_attention_backward(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rows: Tensor,
    cols: Tensor,
    block: Sequence[int],
    halo: Sequence[int],
    masked: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `halo_attention` for the cotangent ``g``."""
    dtype = working_dtype(q.dtype)
    cut = _cut(k, rows, cols, block, halo)
    position = _Position(cut, rows.to(dtype), cols.to(dtype), masked)
    gs, queries = cut.queries(g), cut.queries(q)
    keys, values = cut.keys(k), cut.keys(v)
    d_q = torch.empty_like(queries, memory_format=torch.contiguous_format)
    d_k, d_v = cut.sums(k, dtype), cut.sums(v, dtype)
    d_rows, d_cols = torch.zeros_like(position.rows), torch.zeros_like(position.cols)
    for part in cut.chunks(len(q), k.shape[-1] + v.shape[-1], q.device):
        b, i, x = part
        g_n = matrices(gs[b, i, :, x], dtype)
        q_n = matrices(queries[b, i, :, x], dtype) * scale
        k_n, v_n = matrices(keys[b, i], dtype), matrices(values[b, i], dtype)
        attention = position.weights(q_n, k_n, part)  # [n, m*M, U*U]

        cut.add_keys(d_v[b], (attention.mT @ g_n).view(values[b, i].shape), i.start)
        d_logits = g_n @ v_n.mT
        d_logits -= (d_logits * attention).sum(dim=-1, keepdim=True)
        d_logits *= attention
        cut.add_keys(d_k[b], (d_logits.mT @ q_n).view(keys[b, i].shape), i.start)
        d_q_n = d_logits @ k_n
        d_q_n += position.gradients(q_n, d_logits, part, d_rows, d_cols)
        d_q_part = d_q[b, i, :, x]
        d_q_part.copy_((d_q_n * scale).view(d_q_part.shape))
    return (
        cut.map(d_q, q.shape[1], q.shape[2]).contiguous(),
        cut.sums_to_map(d_k).to(
            k.dtype, memory_format=torch.contiguous_format, copy=True
        ),
        cut.sums_to_map(d_v).to(
            v.dtype, memory_format=torch.contiguous_format, copy=True
        ),
        d_rows.to(rows.dtype),
        d_cols.to(cols.dtype),
    )


@halo_attention_backward.register_fake
def _(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rows: Tensor,
    cols: Tensor,
    block: Sequence[int],
    halo: Sequence[int],
    masked: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    new = [
        torch.empty_like(x, memory_format=torch.contiguous_format)
        for x in (q, k, v, rows, cols)
    ]
    return new[0], new[1], new[2], new[3], new[4]


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.block, ctx.halo, ctx.masked, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, g):  # type: ignore[no-untyped-def]
    refuse_tangent(g)
    gradients = halo_attention_backward(
        g, *ctx.saved_tensors, ctx.block, ctx.halo, ctx.masked, ctx.scale
    )
    return *gradients, None, None, None, None


halo_attention.register_autograd(_backward, setup_context=_setup)


# Counting ---------------------------------------------------------------------------


def _products(  # type: ignore[no-untyped-def]
    q, k, v, rows, cols, block, content: int, values: int, positions: int
) -> int:
    """Multiply-adds: so many products of queries with keys, values and positions."""
    blocks = q[0] * -(-k[1] // block[0]) * -(-k[2] // block[1])
    queries, keys = rows[0] * cols[0], rows[1] * cols[1]
    pairs = keys * (content * k[-1] + values * v[-1])
    places = positions * rows[-1] * (rows[1] + cols[1])
    return int(blocks * queries * (pairs + places))


@register_flop_formula(torch.ops.visattn.halo_attention)
def _flops(  # type: ignore[no-untyped-def]
    q, k, v, rows, cols, block, *args, out_shape=None, **kwargs
) -> int:
    return 2 * _products(q, k, v, rows, cols, block, 1, 1, 1)


@register_flop_formula(torch.ops.visattn.halo_attention_backward)
def _backward_flops(  # type: ignore[no-untyped-def]
    g, q, k, v, rows, cols, block, *args, out_shape=None, **kwargs
) -> int:
    return 2 * _products(q, k, v, rows, cols, block, 3, 2, 3)
