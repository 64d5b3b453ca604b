"""Local attention in blocks of queries: no k*k copies of keys or values.

A block of M x M queries shares one neighbourhood of U x U keys, U = M + K - 1. Its
logits are one matrix product; those outside a query's own K x K window are forbidden.
Blocks are worked through in chunks, and the backward pass computes the weights again:
nothing but the inputs is kept between the passes.

Zero times NaN is NaN: a key or value that is not finite reaches all queries of the
blocks whose neighbourhoods hold it, also those whose windows do not.

Shapes: B images times heads, H W map, D head dim, K window, M block side, U side of a
neighbourhood, I J rows and columns of blocks, n blocks of one chunk.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from visattn.kernels._blocks import FORBIDDEN, Axis, Cut, matrices
from visattn.kernels._precision import without_autocast, working_dtype
from visattn.kernels._transforms import refuse_tangent

_CHUNK = {"cpu": 1_300_000, "cuda": 64_000_000}  # logits that are worked on at once


class _Cut(Cut):
    """Square blocks, all queries asked, a halo of half a window."""

    def offsets(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Row of the offset table for each (query place, key place), and if it is one.

        [M, U]; query place m and key place u of one axis are u - m - K//2 apart.
        """
        K = 2 * self.tall.halo + 1
        m = torch.arange(self.tall.places, device=device)[:, None]
        index = torch.arange(self.tall.side, device=device) - m
        return index.clamp(0, K - 1), (index >= 0) & (index < K)

    def chunks(self, B: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
        """Slices over B and over block rows whose logits fit into one chunk."""
        room = _CHUNK.get(device.type, _CHUNK["cuda"])
        tall, wide = self.tall, self.wide
        logits = wide.count * tall.block**2 * tall.side**2  # of one row of blocks
        rows = max(1, room // logits)
        images = max(1, rows // tall.count)
        rows = min(rows, tall.count)
        for b in range(0, B, images):
            for i in range(0, tall.count, rows):
                yield slice(b, min(b + images, B)), slice(i, min(i + rows, tall.count))


def _cut(H: int, W: int, K: int) -> _Cut:
    """Blocks of 4 queries a side; of 7 on a small map that they fit exactly."""
    side = 7 if max(H, W) <= 14 and H % 7 == 0 and W % 7 == 0 else 4
    M = min(side, max(H, W))
    return _Cut(Axis(H, M, K // 2, 1), Axis(W, M, K // 2, 1))


class _Position:
    """Relative logits and forbidden places, per axis."""

    def __init__(self, cut: _Cut, rows: Tensor, cols: Tensor, masked: bool) -> None:
        self.cut, self.half = cut, rows.shape[-1]
        self.index, self.valid = cut.offsets(rows.device)
        self.rows, self.cols = rows[self.index], cols[self.index]  # [M, U, D/2]
        window = torch.zeros(self.valid.shape, dtype=rows.dtype, device=rows.device)
        self.window = window.masked_fill(~self.valid, FORBIDDEN)  # [M, U]
        self.border_rows = self.border_cols = None
        if masked:
            self.border_rows = cut.tall.border(rows)  # [I, U]
            self.border_cols = cut.wide.border(rows)  # [J, U]

    def weights(
        self, q: Tensor, k: Tensor, lead: tuple[int, int, int], first: int
    ) -> Tensor:
        """Attention of n = prod(lead) blocks: q [n, M*M, D], k [n, U*U, D]."""
        M, U = self.cut.tall.block, self.cut.tall.side
        places = q.unflatten(1, (M, M))  # [n, M, M, D]
        row = torch.einsum("nxyd,xud->nxyu", places[..., : self.half], self.rows)
        col = torch.einsum("nxyd,ywd->nxyw", places[..., self.half :], self.cols)
        row += self.window[:, None]
        col += self.window
        if self.border_rows is not None and self.border_cols is not None:
            border = self.border_rows[first : first + lead[1]]  # [i, U]
            row.view(*lead, M, M, U).add_(border[:, None, None, None])
            col.view(*lead, M, M, U).add_(self.border_cols[:, None, None])

        logits = (q @ k.mT).view(-1, M, M, U, U)
        logits += row[..., :, None]
        logits += col[..., None, :]
        return torch.softmax(logits.view(-1, M * M, U * U), dim=-1)

    def gradients(self, q: Tensor, g: Tensor, d_rows: Tensor, d_cols: Tensor) -> Tensor:
        """From gradients g [n, M*M, U*U] of the logits: that of q; tables are added."""
        M, U = self.cut.tall.block, self.cut.tall.side
        places = q.unflatten(1, (M, M))
        g = g.view(-1, M, M, U, U)
        g_row, g_col = g.sum(-1), g.sum(-2)  # [n, M, M, U]
        d_rows += torch.einsum("nxyu,nxyd->xud", g_row, places[..., : self.half])
        d_cols += torch.einsum("nxyw,nxyd->ywd", g_col, places[..., self.half :])
        d_q = torch.cat(
            [
                torch.einsum("nxyu,xud->nxyd", g_row, self.rows),
                torch.einsum("nxyw,ywd->nxyd", g_col, self.cols),
            ],
            dim=-1,
        )
        return d_q.flatten(1, 2)

    def table(self, d_places: Tensor, like: Tensor) -> Tensor:
        """[M, U, D/2] -> [K, D/2]: add what belongs to the same offset."""
        table = torch.zeros(like.shape, dtype=d_places.dtype, device=like.device)
        table.index_add_(0, self.index[self.valid], d_places[self.valid])
        return table.to(like.dtype)


@torch.library.custom_op("visattn::local_attention", mutates_args=())
@without_autocast
def local_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rows: Tensor,
    cols: Tensor,
    kernel_size: int,
    masked: bool,
) -> Tensor:
    """Local attention over maps [B, H, W, D] with tables [K, D1], [K, D2], D1 + D2 = D.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        rows: One vector per row offset, for the first D1 channels.
        cols: One vector per column offset, for the last D2 channels.
        kernel_size: Side K of the window, odd.
        masked: Whether keys outside the image are forbidden; else they are zeros.
    """
    dtype = working_dtype(q.dtype)
    B, H, W, _ = q.shape
    cut = _cut(H, W, kernel_size)
    position = _Position(cut, rows.to(dtype), cols.to(dtype), masked)
    queries, keys, values = cut.queries(q), cut.keys(k), cut.keys(v)
    y = torch.empty_like(queries, memory_format=torch.contiguous_format)
    for b, i in cut.chunks(B, q.device):
        q_n, k_n, v_n = (matrices(x[b, i], dtype) for x in (queries, keys, values))
        lead = (b.stop - b.start, i.stop - i.start, cut.wide.count)
        attention = position.weights(q_n, k_n, lead, i.start)
        y[b, i] = (attention @ v_n).view(y[b, i].shape).to(y.dtype)
    return cut.map(y, H, W).contiguous()


@local_attention.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rows: Tensor,
    cols: Tensor,
    kernel_size: int,
    masked: bool,
) -> Tensor:
    return torch.empty_like(q, memory_format=torch.contiguous_format)


@torch.library.custom_op("visattn::local_attention_backward", mutates_args=())
@without_autocast
def local_attention_backward(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rows: Tensor,
    cols: Tensor,
    kernel_size: int,
    masked: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `local_attention` for the cotangent ``g``."""
    dtype = working_dtype(q.dtype)
    B, H, W, _ = q.shape
    cut = _cut(H, W, kernel_size)
    position = _Position(cut, rows.to(dtype), cols.to(dtype), masked)
    gs, queries = cut.queries(g), cut.queries(q)
    keys, values = cut.keys(k), cut.keys(v)
    d_q = torch.empty_like(queries, memory_format=torch.contiguous_format)
    d_k, d_v = cut.sums(k, dtype), cut.sums(v, dtype)
    d_rows, d_cols = torch.zeros_like(position.rows), torch.zeros_like(position.cols)
    for b, i in cut.chunks(B, q.device):
        g_n, q_n = matrices(gs[b, i], dtype), matrices(queries[b, i], dtype)
        k_n, v_n = matrices(keys[b, i], dtype), matrices(values[b, i], dtype)
        lead = (b.stop - b.start, i.stop - i.start, cut.wide.count)
        attention = position.weights(q_n, k_n, lead, i.start)  # [n, M*M, U*U]

        shape = (*lead, cut.tall.side, cut.wide.side, v_n.shape[-1])
        cut.add_keys(d_v[b], (attention.mT @ g_n).view(shape), i.start)
        d_logits = g_n @ v_n.mT
        d_logits -= (d_logits * attention).sum(dim=-1, keepdim=True)
        d_logits *= attention
        cut.add_keys(d_k[b], (d_logits.mT @ q_n).view(shape), i.start)
        d_q_n = d_logits @ k_n
        d_q_n += position.gradients(q_n, d_logits, d_rows, d_cols)
        d_q[b, i] = d_q_n.view(d_q[b, i].shape).to(d_q.dtype)
    return (
        cut.map(d_q, H, W).contiguous(),
        cut.sums_to_map(d_k).to(
            k.dtype, memory_format=torch.contiguous_format, copy=True
        ),
        cut.sums_to_map(d_v).to(
            v.dtype, memory_format=torch.contiguous_format, copy=True
        ),
        position.table(d_rows, rows),
        position.table(d_cols, cols),
    )


@local_attention_backward.register_fake
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
    new = [
        torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v)
    ]
    return new[0], new[1], new[2], torch.empty_like(rows), torch.empty_like(cols)


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.kernel_size, ctx.masked = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, g):  # type: ignore[no-untyped-def]
    refuse_tangent(g)
    gradients = local_attention_backward(
        g, *ctx.saved_tensors, ctx.kernel_size, ctx.masked
    )
    return *gradients, None, None


local_attention.register_autograd(_backward, setup_context=_setup)
