"""A norm, a ReLU and a linear map of whole windows, without copying the windows.

A window has R*P numbers, P = K*K. Each of them is a channel: it is normalised over the
batch, cut at zero and multiplied by a column of a matrix. Place by place this is a 1x1
convolution of the map shifted by that place, so P products are summed, and no tensor of
R*P channels is made. The backward pass computes the shifted maps again.

Shapes: B batch, R channels of the map, M channels of the result, H W map, I J rows and
columns of windows, P places.
"""

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from visattn.kernels._precision import without_autocast, working_dtype
from visattn.kernels._transforms import refuse_tangent
from visattn.kernels.aggregation import Windows, chunks


@torch.library.custom_op("visattn::window_moments", mutates_args=())
def window_moments(
    values: Tensor, kernel_size: int, stride: int, dilation: int, reflect: bool
) -> tuple[Tensor, Tensor]:
    """Mean and variance over all windows of each number of a window: two of [R, P].

    Args:
        values: The map [B, R, H, W].
        kernel_size: Side K of the window, odd.
        stride: Pixels from one window to the next.
        dilation: Pixels from one place of a window to the next.
        reflect: Whether the map is mirrored at its border; else zeros follow.
    """
    windows = Windows(kernel_size, stride, dilation, reflect)
    x = values.to(working_dtype(values.dtype))
    # Around the map's own mean, so that the squares lose no digits.
    middle = x.mean(dim=(0, 2, 3))  # [R]
    x = windows.pad(x) - middle[:, None, None]  # [B, R, H', W']
    B, _, H, W = values.shape
    count = B * windows.count(H) * windows.count(W)
    means = windows.sums(x.sum(0), H, W) / count
    variances = windows.sums(x.square().sum(0), H, W) / count - means.square()
    return means + middle[:, None], variances.clamp_min_(0)


@window_moments.register_fake
def _(
    values: Tensor, kernel_size: int, stride: int, dilation: int, reflect: bool
) -> tuple[Tensor, Tensor]:
    shape, dtype = (values.shape[1], kernel_size**2), working_dtype(values.dtype)
    return values.new_empty(shape, dtype=dtype), values.new_empty(shape, dtype=dtype)


@torch.library.custom_op("visattn::window_moments_backward", mutates_args=())
def window_moments_backward(
    g_mean: Tensor,
    g_variance: Tensor,
    values: Tensor,
    means: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    reflect: bool,
) -> Tensor:
    """Gradient of `window_moments` for cotangents of the means and the variances."""
    windows = Windows(kernel_size, stride, dilation, reflect)
    B, _, H, W = values.shape
    count = B * windows.count(H) * windows.count(W)
    padded = windows.pad(values.to(means.dtype))
    d_padded = torch.zeros_like(padded)
    # d/dx of the mean is 1/n; of the variance it is 2 (x - mean) / n.
    slope = 2 * g_variance / count
    level = g_mean / count - slope * means
    shifts = zip(
        windows.shifts(padded, H, W), windows.shifts(d_padded, H, W), strict=True
    )
    for place, (shifted, d_shifted) in enumerate(shifts):
        d_shifted.addcmul_(shifted, slope[:, place, None, None])
        d_shifted.add_(level[:, place, None, None])
    return windows.fold(d_padded).to(
        values.dtype, memory_format=torch.contiguous_format, copy=True
    )


@window_moments_backward.register_fake
def _(
    g_mean: Tensor,
    g_variance: Tensor,
    values: Tensor,
    means: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    reflect: bool,
) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)


def _setup_moments(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    values, *ctx.options = inputs
    ctx.save_for_backward(values, output[0])


def _backward_moments(ctx, g_mean, g_variance):  # type: ignore[no-untyped-def]
    refuse_tangent(g_mean, g_variance)
    saved = ctx.saved_tensors
    gradient = window_moments_backward(g_mean, g_variance, *saved, *ctx.options)
    return gradient, None, None, None, None


window_moments.register_autograd(_backward_moments, setup_context=_setup_moments)


@torch.library.custom_op("visattn::window_linear", mutates_args=())
@without_autocast
def window_linear(
    values: Tensor,
    scale: Tensor,
    shift: Tensor,
    weight: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    reflect: bool,
) -> Tensor:
    """``weight @ relu(scale * window + shift)`` of each window: [B, M, I, J].

    Args:
        values: The map [B, R, H, W].
        scale: [R, P].
        shift: [R, P].
        weight: [M, R, P].
        kernel_size: Side K of the window, odd.
        stride: Pixels from one window to the next.
        dilation: Pixels from one place of a window to the next.
        reflect: Whether the map is mirrored at its border; else zeros follow.
    """
    windows = Windows(kernel_size, stride, dilation, reflect)
    B, R, H, W = values.shape
    rows, cols, M = windows.count(H), windows.count(W), weight.shape[0]
    y = values.new_empty(B, M, rows, cols)
    for b, _ in chunks(B, 1, max(R, M) * H * W, values.device):
        v = windows.pad(values[b].to(scale.dtype))
        total = v.new_zeros(v.shape[0], M, rows * cols)
        for place, shifted in enumerate(windows.shifts(v, H, W)):
            z = _cut(shifted, scale[:, place], shift[:, place])
            total.baddbmm_(weight[:, :, place].expand(v.shape[0], -1, -1), z)
        y[b] = total.unflatten(2, (rows, cols))
    return y


def _cut(shifted: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """relu(scale * shifted + shift) of one place, as [b, R, I*J]."""
    z = torch.addcmul(shift[:, None, None], shifted, scale[:, None, None])
    return z.clamp_min_(0).flatten(2)


@window_linear.register_fake
def _(
    values: Tensor,
    scale: Tensor,
    shift: Tensor,
    weight: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    reflect: bool,
) -> Tensor:
    windows = Windows(kernel_size, stride, dilation, reflect)
    B, _, H, W = values.shape
    return values.new_empty(B, weight.shape[0], windows.count(H), windows.count(W))


@torch.library.custom_op("visattn::window_linear_backward", mutates_args=())
@without_autocast
def window_linear_backward(
    g: Tensor,
    values: Tensor,
    scale: Tensor,
    shift: Tensor,
    weight: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    reflect: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `window_linear`: of values, scale, shift and weight."""
    windows = Windows(kernel_size, stride, dilation, reflect)
    B, R, H, W = values.shape
    d_values = torch.empty_like(values, memory_format=torch.contiguous_format)
    d_scale, d_shift, d_weight = (
        torch.zeros(x.shape, dtype=x.dtype, device=x.device)
        for x in (scale, shift, weight)
    )
    for b, _ in chunks(B, 1, max(R, weight.shape[0]) * H * W, values.device):
        v = windows.pad(values[b].to(scale.dtype))
        up = g[b].to(scale.dtype).flatten(2)  # [b, M, I*J]
        d_v = torch.zeros_like(v)
        shifts = zip(windows.shifts(v, H, W), windows.shifts(d_v, H, W), strict=True)
        for place, (shifted, d_shifted) in enumerate(shifts):
            z = _cut(shifted, scale[:, place], shift[:, place])
            d_weight[:, :, place] += (up @ z.mT).sum(0)
            d_z = weight[:, :, place].mT @ up
            d_z = torch.ops.aten.threshold_backward(d_z, z, 0)  # [b, R, I*J]
            d_shift[:, place] += d_z.sum(2).sum(0)
            d_z = d_z.view(shifted.shape)
            d_scale[:, place] += (d_z * shifted).flatten(2).sum(2).sum(0)
            d_shifted.addcmul_(d_z, scale[:, place, None, None])
        d_values[b] = windows.fold(d_v)
    return d_values, d_scale, d_shift, d_weight


@window_linear_backward.register_fake
def _(
    g: Tensor,
    values: Tensor,
    scale: Tensor,
    shift: Tensor,
    weight: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    reflect: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    a, b, c, d = (
        torch.empty_like(x, memory_format=torch.contiguous_format)
        for x in (values, scale, shift, weight)
    )
    return a, b, c, d


def _setup_linear(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.kernel_size, ctx.stride, ctx.dilation, ctx.reflect = inputs
    ctx.save_for_backward(*tensors)


def _backward_linear(ctx, g):  # type: ignore[no-untyped-def]
    refuse_tangent(g)
    options = ctx.kernel_size, ctx.stride, ctx.dilation, ctx.reflect
    gradients = window_linear_backward(g, *ctx.saved_tensors, *options)
    return *gradients, None, None, None, None


window_linear.register_autograd(_backward_linear, setup_context=_setup_linear)


# Counting ---------------------------------------------------------------------------


@register_flop_formula(torch.ops.visattn.window_linear)
def _linear_flops(  # type: ignore[no-untyped-def]
    values, scale, shift, weight, *args, out_shape=None, **kwargs
) -> int:
    M, R, P = weight
    B, _, rows, cols = out_shape
    return int(2 * B * M * R * P * rows * cols)


@register_flop_formula(torch.ops.visattn.window_linear_backward)
def _linear_backward_flops(  # type: ignore[no-untyped-def]
    g, values, scale, shift, weight, *args, out_shape=None, **kwargs
) -> int:
    return 2 * _linear_flops(values, scale, shift, weight, out_shape=g)
