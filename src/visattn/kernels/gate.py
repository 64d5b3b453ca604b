"""The product of a map with gates of its rows and columns, and its own backward pass.

Written with broadcasting, x * g_h * g_w keeps a second map, and its backward pass makes
four more. Here the map is worked through in chunks that stay in the cache: nothing of
the size of the map is kept but x, and the backward pass makes only the gradient of x.

The chunks pay on a CPU, from about two million numbers on; elsewhere, and where a
program is exported, the product is broadcast.

Shapes: B batch, C channels, H W map, n channels of one chunk.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from visattn.kernels._transforms import needs_plain_form

_CHUNK = 262_144
"""Numbers that are worked on at once."""

_LEAST = 2_000_000
"""Maps with fewer numbers are broadcast."""

_exporting: Callable[[], bool] = getattr(
    torch.compiler, "is_exporting", torch.compiler.is_compiling
)


def gate(x: Tensor, g_h: Tensor, g_w: Tensor) -> Tensor:
    """The product x * g_h * g_w, by the faster way.

    Args:
        x: Map [B, C, H, W].
        g_h: Gates of the rows [B, C, H, 1].
        g_w: Gates of the columns [B, C, 1, W].
    """
    if _exporting() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return x * g_h * g_w  # sizes are symbols, and other runtimes have no such op
    if (
        x.device.type == "cpu"
        and x.dtype == g_h.dtype == g_w.dtype
        and x.numel() >= _LEAST
        and x.is_contiguous()
        and not needs_plain_form(x, g_h, g_w)
    ):
        y: Tensor = chunked_gate(x, g_h, g_w)
        return y
    return x * g_h * g_w


def _chunks(x: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Pieces of the tensors, as matrices [n, H, W], [n, H, 1] or [n, 1, W]."""
    flat = [t.reshape(-1, *t.shape[2:]) for t in (x, *others)]
    n = max(1, _CHUNK // (x.shape[2] * x.shape[3]))
    return zip(*(t.split(n) for t in flat), strict=True)


@torch.library.custom_op("visattn::gate", mutates_args=())
def chunked_gate(x: Tensor, g_h: Tensor, g_w: Tensor) -> Tensor:
    """The product x * g_h * g_w in chunks."""
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    for y_n, x_n, h_n, w_n in _chunks(y, x, g_h, g_w):
        torch.mul(x_n, h_n, out=y_n)
        y_n *= w_n
    return y


@chunked_gate.register_fake
def _(x: Tensor, g_h: Tensor, g_w: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.custom_op("visattn::gate_backward", mutates_args=())
def chunked_gate_backward(
    g: Tensor, x: Tensor, g_h: Tensor, g_w: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `chunked_gate` for the cotangent ``g``."""
    d_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    d_h = torch.empty_like(g_h, memory_format=torch.contiguous_format)
    d_w = torch.empty_like(g_w, memory_format=torch.contiguous_format)
    parts = _chunks(d_x, d_h, d_w, g, x, g_h, g_w)
    for d_x_n, d_h_n, d_w_n, g_n, x_n, h_n, w_n in parts:
        torch.mul(g_n, x_n, out=d_x_n)
        torch.bmm(d_x_n, w_n.mT, out=d_h_n)  # sum over the columns
        torch.bmm(h_n.mT, d_x_n, out=d_w_n)  # sum over the rows
        torch.mul(g_n, h_n, out=d_x_n)
        d_x_n *= w_n
    return d_x, d_h, d_w


@chunked_gate_backward.register_fake
def _(g: Tensor, x: Tensor, g_h: Tensor, g_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    new = [
        torch.empty_like(t, memory_format=torch.contiguous_format)
        for t in (x, g_h, g_w)
    ]
    return new[0], new[1], new[2]


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs)


def _backward(ctx, g):  # type: ignore[no-untyped-def]
    x, g_h, g_w = ctx.saved_tensors
    if not torch.is_grad_enabled() and not needs_plain_form(g, x, g_h, g_w):
        return chunked_gate_backward(g, x, g_h, g_w)
    # Another derivative is asked for: the same, in operators that have all of them.
    d = g * x
    return g * g_h * g_w, (d * g_w).sum(3, keepdim=True), (d * g_h).sum(2, keepdim=True)


chunked_gate.register_autograd(_backward, setup_context=_setup)
