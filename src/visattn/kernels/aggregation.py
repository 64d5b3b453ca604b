"""Sums and relations over K x K windows whose weights differ from pixel to pixel.

A loop over the K*K places of the window: each turn takes the padded map shifted by one
place, and adds to a result that stays in the cache. The K*K copies that unfolding makes
never exist, in neither pass. The work goes in chunks of images and channel groups.

Both operators have their own backward pass. A second derivative is refused.

Shapes: B batch, C channels, G groups, S = C/G channels that share a weight, R channels
of a relation, H W map, I J rows and columns of the output, K window, P = K*K places.
Channel c belongs to group c % G, so C splits into [S, G].
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from visattn.kernels._precision import working_dtype
from visattn.kernels._transforms import refuse_tangent

_CHUNK = {"cpu": 262_144, "cuda": 64_000_000}  # elements that are worked on at once

RELATIONS = ("summation", "subtraction", "hadamard", "dot", "concatenation")
"""What `relate` knows; a concatenation has the centre first."""


@dataclass(frozen=True)
class Windows:
    """The windows of a map: K x K places, ``dilation`` apart, one each ``stride``."""

    kernel_size: int
    stride: int = 1
    dilation: int = 1
    reflect: bool = True

    @property
    def reach(self) -> int:
        """Pixels from the centre of a window to its edge: what is padded."""
        return self.dilation * (self.kernel_size // 2)

    def count(self, length: int) -> int:
        """Windows along an axis."""
        return (length - 1) // self.stride + 1

    def pad(self, x: Tensor) -> Tensor:
        """[..., H, W] -> [..., H + 2*reach, W + 2*reach]."""
        if self.reach == 0:
            return x
        lead, pad = x.shape[:-2], (self.reach,) * 4
        flat = x.reshape(1, -1, *x.shape[-2:])
        flat = F.pad(flat, pad, mode="reflect" if self.reflect else "constant")
        return flat.view(*lead, *flat.shape[-2:])

    def fold(self, x: Tensor) -> Tensor:
        """The transposed map of `pad`: what lies in the border is added inside."""
        if self.reflect:
            return _fold(_fold(x, self.reach, -2), self.reach, -1)
        r = self.reach
        return x[..., r : x.shape[-2] - r, r : x.shape[-1] - r]

    def shifts(self, x: Tensor, height: int, width: int) -> Iterator[Tensor]:
        """Views [..., I, J] of a padded map, one for each place of the window."""
        s, d = self.stride, self.dilation
        tall, wide = (self.count(height) - 1) * s + 1, (self.count(width) - 1) * s + 1
        for a in range(0, self.kernel_size * d, d):
            for b in range(0, self.kernel_size * d, d):
                yield x[..., a : a + tall : s, b : b + wide : s]

    def sums(self, x: Tensor, height: int, width: int) -> Tensor:
        """Of a padded map, the sum of each view of `shifts`: [..., P]."""
        s, d = self.stride, self.dilation
        tall, wide = (self.count(height) - 1) * s + 1, (self.count(width) - 1) * s + 1
        starts = range(0, self.kernel_size * d, d)
        across = [x[..., b : b + wide : s].sum(-1) for b in starts]  # [..., H']
        lines = torch.stack(across, dim=-1)  # [..., H', K]
        down = [lines[..., a : a + tall : s, :].sum(-2) for a in starts]  # [..., K]
        return torch.stack(down, dim=-2).flatten(-2)


def _fold(x: Tensor, reach: int, axis: int) -> Tensor:
    """Add the mirrored borders of one axis to the pixels they were copied from."""
    length = x.shape[axis] - 2 * reach
    inside = x.narrow(axis, reach, length)
    if reach == 0:
        return inside
    inside = inside.clone()
    inside.narrow(axis, 1, reach).add_(x.narrow(axis, 0, reach).flip(axis))
    after = x.narrow(axis, reach + length, reach).flip(axis)
    inside.narrow(axis, length - 1 - reach, reach).add_(after)
    return inside


def chunks(
    images: int, groups: int, each: int, device: torch.device
) -> Iterator[tuple[slice, slice]]:
    """Slices over images and over groups of ``each`` elements that fit in one chunk."""
    room = max(1, _CHUNK.get(device.type, _CHUNK["cuda"]) // each)
    b_step, g_step = max(1, room // groups), min(room, groups)
    for b in range(0, images, b_step):
        for g in range(0, groups, g_step):
            yield slice(b, min(b + b_step, images)), slice(g, min(g + g_step, groups))


# The sum of the values ----------------------------------------------------------------


@torch.library.custom_op("visattn::aggregate", mutates_args=())
def aggregate(
    weights: Tensor,
    values: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    reflect: bool,
) -> Tensor:
    """Weighted sums over windows: [B, G, P, I, J] and [B, C, H, W] -> [B, C, I, J].

    Args:
        weights: One weight for each group, place and window.
        values: The map.
        kernel_size: Side K of the window, odd.
        stride: Pixels from one window to the next.
        dilation: Pixels from one place of a window to the next.
        reflect: Whether the map is mirrored at its border; else zeros follow.
    """
    windows = Windows(kernel_size, stride, dilation, reflect)
    dtype = working_dtype(values.dtype)
    B, C, H, W = values.shape
    G = weights.shape[1]
    split = values.unflatten(1, (C // G, G))  # [B, S, G, H, W]
    y = values.new_empty(B, C // G, G, *weights.shape[3:])
    for b, g in chunks(B, G, C // G * H * W, values.device):
        w = weights[b, None, g].to(dtype)  # [b, 1, g, P, I, J]
        v = windows.pad(split[b, :, g].to(dtype))  # [b, S, g, H', W']
        total = torch.zeros_like(y[b, :, g], dtype=dtype)
        for place, shifted in enumerate(windows.shifts(v, H, W)):
            total.addcmul_(w[..., place, :, :], shifted)
        y[b, :, g] = total
    return y.flatten(1, 2)


@aggregate.register_fake
def _(
    weights: Tensor,
    values: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    reflect: bool,
) -> Tensor:
    return values.new_empty(*values.shape[:2], *weights.shape[3:])


@torch.library.custom_op("visattn::aggregate_backward", mutates_args=())
def aggregate_backward(
    g: Tensor,
    weights: Tensor,
    values: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    reflect: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of `aggregate` for the cotangent ``g``: of weights and of values."""
    windows = Windows(kernel_size, stride, dilation, reflect)
    dtype = working_dtype(values.dtype)
    B, C, H, W = values.shape
    G = weights.shape[1]
    splits = values.unflatten(1, (C // G, G)), g.unflatten(1, (C // G, G))
    d_weights = torch.empty_like(weights, memory_format=torch.contiguous_format)
    d_values = values.new_empty(B, C // G, G, H, W)
    for b, part in chunks(B, G, C // G * H * W, values.device):
        v, up = (x[b, :, part].to(dtype) for x in splits)  # [b, S, g, ...]
        w = weights[b, None, part].to(dtype)
        v = windows.pad(v)
        up = up.contiguous()
        d_v, product = torch.zeros_like(v), torch.empty_like(up)
        shifts = zip(windows.shifts(v, H, W), windows.shifts(d_v, H, W), strict=True)
        for place, (shifted, d_shifted) in enumerate(shifts):
            torch.mul(up, shifted, out=product)
            d_weights[b, part, place] = product.sum(1)
            d_shifted.addcmul_(w[..., place, :, :], up)
        d_values[b, :, part] = windows.fold(d_v)
    return d_weights, d_values.flatten(1, 2)


@aggregate_backward.register_fake
def _(
    g: Tensor,
    weights: Tensor,
    values: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    reflect: bool,
) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(weights, memory_format=torch.contiguous_format),
        torch.empty_like(values, memory_format=torch.contiguous_format),
    )


def _setup_aggregate(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    weights, values, *ctx.options = inputs
    ctx.save_for_backward(weights, values)


def _backward_aggregate(ctx, g):  # type: ignore[no-untyped-def]
    refuse_tangent(g)
    gradients = aggregate_backward(g, *ctx.saved_tensors, *ctx.options)
    return *gradients, None, None, None, None


aggregate.register_autograd(_backward_aggregate, setup_context=_setup_aggregate)


def plain_aggregate(weights: Tensor, values: Tensor, windows: Windows) -> Tensor:
    """`aggregate` in PyTorch's own operators, which have every derivative."""
    padded = windows.pad(values).unflatten(1, (-1, weights.shape[1]))
    shifts = windows.shifts(padded, *values.shape[2:])
    turns = [weights[:, None, :, place] * v for place, v in enumerate(shifts)]
    return torch.stack(turns).sum(0).flatten(1, 2)


# The relation of the centre with its neighbours ---------------------------------------


@torch.library.custom_op("visattn::relate", mutates_args=())
def relate(
    centre: Tensor,
    values: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    reflect: bool,
    relation: str,
) -> Tensor:
    """Relation of each centre with each place of its window: [B, D, P, I, J].

    Args:
        centre: [B, R, I, J], one vector for each window.
        values: [B, R, H, W], the map that the windows are cut from.
        kernel_size: Side K of the window, odd.
        stride: Pixels from one window to the next.
        dilation: Pixels from one place of a window to the next.
        reflect: Whether the map is mirrored at its border; else zeros follow.
        relation: One of `RELATIONS`. D is 1 for the dot product, 2R for the
            concatenation, else R.
    """
    windows = Windows(kernel_size, stride, dilation, reflect)
    dtype = working_dtype(values.dtype)
    B, R, H, W = values.shape
    y = values.new_empty(_relation_shape(centre, kernel_size, relation))
    for b, _ in chunks(B, 1, R * H * W, values.device):
        c, v = centre[b].to(dtype), windows.pad(values[b].to(dtype))
        for place, shifted in enumerate(windows.shifts(v, H, W)):
            if relation == "concatenation":
                y[b, :R, place] = c
                y[b, R:, place] = shifted
            else:
                y[b, :, place] = _of_place(c, shifted, relation)
    return y


def _of_place(centre: Tensor, shifted: Tensor, relation: str) -> Tensor:
    """The relation with one place of the windows: [B, D, I, J]."""
    if relation == "summation":
        return centre + shifted
    if relation == "subtraction":
        return centre - shifted
    if relation == "hadamard":
        return centre * shifted
    if relation == "dot":
        return (centre * shifted).sum(1, keepdim=True)
    return torch.cat([centre, shifted], dim=1)


def _relation_shape(centre: Tensor, kernel_size: int, relation: str) -> list[int]:
    B, R, rows, cols = centre.shape
    D = {"dot": 1, "concatenation": 2 * R}.get(relation, R)
    return [B, D, kernel_size**2, rows, cols]


@relate.register_fake
def _(
    centre: Tensor,
    values: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    reflect: bool,
    relation: str,
) -> Tensor:
    return values.new_empty(_relation_shape(centre, kernel_size, relation))


@torch.library.custom_op("visattn::relate_backward", mutates_args=())
def relate_backward(
    g: Tensor,
    centre: Tensor,
    values: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    reflect: bool,
    relation: str,
) -> tuple[Tensor, Tensor]:
    """Gradients of `relate` for the cotangent ``g``: of the centre and of the map."""
    windows = Windows(kernel_size, stride, dilation, reflect)
    dtype = working_dtype(values.dtype)
    B, R, H, W = values.shape
    d_centre = torch.empty_like(centre, memory_format=torch.contiguous_format)
    d_values = torch.empty_like(values, memory_format=torch.contiguous_format)
    for b, _ in chunks(B, 1, R * H * W, values.device):
        c, v = centre[b].to(dtype), windows.pad(values[b].to(dtype))
        d_c = torch.zeros_like(c, memory_format=torch.contiguous_format)
        d_v = torch.zeros_like(v)
        shifts = zip(windows.shifts(v, H, W), windows.shifts(d_v, H, W), strict=True)
        for place, (shifted, d_shifted) in enumerate(shifts):
            up = g[b, :, place].to(dtype)
            if relation in ("hadamard", "dot"):
                d_c.addcmul_(up, shifted)
                d_shifted.addcmul_(up, c)
            elif relation == "concatenation":
                d_c.add_(up[:, :R])
                d_shifted.add_(up[:, R:])
            else:
                d_c.add_(up)
                d_shifted.add_(up, alpha=-1 if relation == "subtraction" else 1)
        d_centre[b] = d_c
        d_values[b] = windows.fold(d_v)
    return d_centre, d_values


@relate_backward.register_fake
def _(
    g: Tensor,
    centre: Tensor,
    values: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    reflect: bool,
    relation: str,
) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(centre, memory_format=torch.contiguous_format),
        torch.empty_like(values, memory_format=torch.contiguous_format),
    )


def _setup_relate(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    centre, values, *ctx.options = inputs
    ctx.save_for_backward(centre, values)


def _backward_relate(ctx, g):  # type: ignore[no-untyped-def]
    refuse_tangent(g)
    gradients = relate_backward(g, *ctx.saved_tensors, *ctx.options)
    return *gradients, None, None, None, None, None


relate.register_autograd(_backward_relate, setup_context=_setup_relate)


def plain_relate(
    centre: Tensor, values: Tensor, windows: Windows, relation: str
) -> Tensor:
    """`relate` in PyTorch's own operators, which have every derivative."""
    shifts = windows.shifts(windows.pad(values), *values.shape[2:])
    return torch.stack([_of_place(centre, v, relation) for v in shifts], dim=2)


# Counting -----------------------------------------------------------------------------
# PyTorch's counter sees only operators that it has a formula for. A multiply-add counts
# as two operations. Sums and differences are not counted, like elsewhere.


@register_flop_formula(torch.ops.visattn.aggregate)
def _aggregate_flops(  # type: ignore[no-untyped-def]
    weights, values, *args, out_shape=None, **kwargs
) -> int:
    B, _, P, rows, cols = weights
    return int(2 * B * values[1] * P * rows * cols)


@register_flop_formula(torch.ops.visattn.aggregate_backward)
def _aggregate_backward_flops(  # type: ignore[no-untyped-def]
    g, weights, values, *args, out_shape=None, **kwargs
) -> int:
    return 2 * _aggregate_flops(weights, values)


@register_flop_formula(torch.ops.visattn.relate)
def _relate_flops(  # type: ignore[no-untyped-def]
    centre, values, kernel_size, stride, dilation, reflect, relation, **kwargs
) -> int:
    B, R, rows, cols = centre
    return int(2 * B * R * kernel_size**2 * rows * cols) if relation == "dot" else 0


@register_flop_formula(torch.ops.visattn.relate_backward)
def _relate_backward_flops(  # type: ignore[no-untyped-def]
    g, centre, values, kernel_size, stride, dilation, reflect, relation, **kwargs
) -> int:
    options = kernel_size, stride, dilation, reflect, relation
    return 2 * _relate_flops(centre, values, *options)
