"""Convolution by its formula, and the pooling that it shares with attention.

Shapes: B batch, C input channels, D output channels, H W map, I J output map,
K1 K2 kernel, N maps (kernel places or heads).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn import Conv2d

from visattn.mechanisms._checks import (
    check_divisible,
    check_float_dtype,
    check_positive,
    check_same_kind,
    check_tensor,
    shape_of,
)

__all__ = [
    "Conv2d",  # the library's own module is the third tier of this mechanism
    "conv2d",
    "conv2d_loop",
    "shift_weights",
    "spatial_pooling",
    "spatial_pooling_loop",
]

Pair = int | tuple[int, int]


def _pair(name: str, value: Pair, least: int) -> tuple[int, int]:
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or any(
        isinstance(n, bool) or not isinstance(n, int) for n in pair
    ):
        raise TypeError(f"{name} must be an integer or a pair of them, got {value!r}")
    if min(pair) < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return pair[0], pair[1]


def _check_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Check the arguments of `conv2d`; return the pairs and the output's size."""
    check_tensor(x, "x", "B C H W")
    check_tensor(weight, "weight", "D C K1 K2")
    check_same_kind(x=x, weight=weight)
    check_positive(groups=groups)
    strides = _pair("stride", stride, 1)
    paddings = _pair("padding", padding, 0)
    dilations = _pair("dilation", dilation, 1)
    C, D = x.shape[1], weight.shape[0]
    check_divisible("channels", C, "groups", groups)
    check_divisible("output channels", D, "groups", groups)
    if weight.shape[1] * groups != C:
        raise ValueError(
            f"weight must be [D, C/groups, K1, K2] with C/groups = {C // groups} for "
            f"x {shape_of(x)} and groups={groups}, got {shape_of(weight)}"
        )
    if bias is not None:
        check_tensor(bias, "bias", "D")
        check_same_kind(x=x, bias=bias)
        if bias.shape[0] != D:
            raise ValueError(f"bias must be [{D}], got {shape_of(bias)}")
    size = []
    for axis in range(2):
        span = dilations[axis] * (weight.shape[2 + axis] - 1) + 1
        room = x.shape[2 + axis] + 2 * paddings[axis] - span
        if room < 0:
            raise ValueError(
                f"the kernel spans {span} pixels of axis {'HW'[axis]}, the padded map "
                f"has {room + span}: x {shape_of(x)}, weight {shape_of(weight)}, "
                f"padding={padding}, dilation={dilation}"
            )
        size.append(room // strides[axis] + 1)
    return strides, paddings, dilations, (size[0], size[1])


def conv2d_loop(
    x: Float[Tensor, "B C H W"],
    weight: Float[Tensor, "D Cg K1 K2"],
    bias: Float[Tensor, "D"] | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Float[Tensor, "B D I J"]:
    """Two-dimensional convolution, one output pixel and one kernel place at a time.

    Same arguments, result and errors as `conv2d`, of which it is the oracle.
    """
    strides, paddings, dilations, size = _check_conv(
        x, weight, bias, stride, padding, dilation, groups
    )
    B, C, H, W = x.shape
    D, _, K1, K2 = weight.shape
    rows = []
    for i in range(size[0]):
        for j in range(size[1]):
            y_ij = x.new_zeros(B, D) if bias is None else bias.expand(B, D)
            for a in range(K1):
                for b in range(K2):
                    row = i * strides[0] + a * dilations[0] - paddings[0]
                    column = j * strides[1] + b * dilations[1] - paddings[1]
                    if not (0 <= row < H and 0 <= column < W):
                        continue  # outside the image: a zero
                    parts = [
                        x[:, g * C // groups : (g + 1) * C // groups, row, column]
                        @ weight[g * D // groups : (g + 1) * D // groups, :, a, b].mT
                        for g in range(groups)
                    ]
                    y_ij = y_ij + torch.cat(parts, dim=1)  # [B, D]
            rows.append(y_ij)
    return torch.stack(rows, dim=-1).reshape(B, D, *size)


def conv2d(
    x: Float[Tensor, "B C H W"],
    weight: Float[Tensor, "D Cg K1 K2"],
    bias: Float[Tensor, "D"] | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Float[Tensor, "B D I J"]:
    r"""Two-dimensional convolution, as deep learning uses the word.

    .. math:: y_{ij} = \beta + \sum_{a,b} W_{ab}\,
        x_{\,i s + a \ell - p,\; j s + b \ell - p}

    with stride s, dilation l and padding p; pixels outside the image are zero. The
    kernel is not flipped (strictly this is a cross-correlation). The work is done by
    ``torch.nn.functional.conv2d``; this function adds the checks.

    Args:
        x: Map [B, C, H, W].
        weight: Kernel [D, C/groups, K1, K2].
        bias: [D].
        stride: Step between output pixels, in pixels of the input.
        padding: Rows and columns of zeros added on each side.
        dilation: Step between kernel places.
        groups: Number of channel groups that do not see each other.

    Returns:
        [B, D, I, J].

    Raises:
        TypeError: Not floating-point tensors, different dtypes, sizes that are not
            integers.
        ValueError: Channels that do not fit, a kernel larger than the padded map,
            different devices.

    Source: eq. 5 of [cordonnier2020], which centres the kernel at its middle (padding
    K // 2 here). Chapter: foundations/convolution.
    """
    strides, paddings, dilations, _ = _check_conv(
        x, weight, bias, stride, padding, dilation, groups
    )
    return F.conv2d(x, weight, bias, strides, paddings, dilations, groups)


def _check_pooling(x: Tensor, weights: Tensor, matrices: Tensor) -> None:
    check_tensor(x, "x", "B C H W")
    check_tensor(weights, "weights", "B N I J H W")
    check_tensor(matrices, "matrices", "N D C")
    check_same_kind(x=x, weights=weights, matrices=matrices)
    B, C, H, W = x.shape
    if weights.shape[0] not in (1, B) or weights.shape[-2:] != (H, W):
        raise ValueError(
            f"weights must be [{B} or 1, N, I, J, {H}, {W}] for x {shape_of(x)}, "
            f"got {shape_of(weights)}"
        )
    if matrices.shape[0] != weights.shape[1] or matrices.shape[2] != C:
        raise ValueError(
            f"matrices must be [N, D, C] with N={weights.shape[1]} and C={C}, "
            f"got {shape_of(matrices)}"
        )


def spatial_pooling_loop(
    x: Float[Tensor, "B C H W"],
    weights: Float[Tensor, "Bw N I J H W"],
    matrices: Float[Tensor, "N D C"],
) -> Float[Tensor, "B D I J"]:
    """Spatial pooling, one output pixel and one input pixel at a time.

    Same arguments, result and errors as `spatial_pooling`, of which it is the oracle.
    """
    _check_pooling(x, weights, matrices)
    B, _, H, W = x.shape
    _, N, out_height, out_width = weights.shape[:4]
    images = []
    for n in range(B):
        pixels = []
        for i in range(out_height):
            for j in range(out_width):
                y_ij = x.new_zeros(matrices.shape[1])
                for h in range(N):
                    for a in range(H):
                        for b in range(W):
                            weight = weights.expand(B, *weights.shape[1:])[
                                n, h, i, j, a, b
                            ]
                            y_ij = y_ij + weight * (matrices[h] @ x[n, :, a, b])
                pixels.append(y_ij)
        images.append(torch.stack(pixels, dim=-1))
    return torch.stack(images).reshape(B, -1, out_height, out_width)


def spatial_pooling(
    x: Float[Tensor, "B C H W"],
    weights: Float[Tensor, "Bw N I J H W"],
    matrices: Float[Tensor, "N D C"],
) -> Float[Tensor, "B D I J"]:
    r"""The pooling of which convolution and attention are two cases.

    .. math:: y_{ij} = \sum_{a,b} f(i,j,a,b)\, x_{ab}, \qquad
        f(i,j,a,b) = \sum_n w_n(i,j,a,b)\, M_n

    A convolution has one map per kernel place: w_n is 1 at the pixel that place covers
    and 0 elsewhere, whatever the image shows (`shift_weights`). Attention has one map
    per head: w_n is the softmax over the image's own pixels.

    Args:
        x: Map [B, C, H, W].
        weights: w, [B, N, I, J, H, W], or [1, ...] when it is the same for every image.
        matrices: M, [N, D, C].

    Returns:
        [B, D, I, J].

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit, different devices.

    Every pixel enters every sum, with weight zero where it is not covered; so pixels
    must be finite.

    Source: section 2.1 of [vaswani2021]. Chapter: foundations/convolution.
    """
    _check_pooling(x, weights, matrices)
    weights = weights.expand(x.shape[0], *weights.shape[1:])
    pooled = torch.einsum("bnijhw,bchw->bncij", weights, x)  # [B, N, C, I, J]
    return torch.einsum("ndc,bncij->bdij", matrices, pooled)


def shift_weights(
    height: int,
    width: int,
    kernel_size: int,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "1 N H W H W"]:
    r"""The maps of a zero-padded convolution: one shifted identity per kernel place.

    .. math:: w_n(i,j,a,b) = 1 \text{ if } (a,b) = (i + n_1 - \lfloor K/2 \rfloor,\,
        j + n_2 - \lfloor K/2 \rfloor), \text{ else } 0, \qquad n = n_1 K + n_2

    A place that falls outside the image has a map of zeros: this is zero padding.

    Args:
        height: Rows H.
        width: Columns W.
        kernel_size: K, odd.
        device: Of the result.
        dtype: Of the result.

    Returns:
        [1, K*K, H, W, H, W].

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1, an even kernel.

    Source: section 2.1 of [vaswani2021]. Chapter: foundations/convolution.
    """
    check_positive(height=height, width=width, kernel_size=kernel_size)
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd, got {kernel_size}")
    dtype = check_float_dtype(dtype)
    reach = kernel_size // 2
    offset = torch.arange(-reach, reach + 1, device=device)  # [K]

    def along(length: int) -> Tensor:
        i = torch.arange(length, device=device)
        delta = i[None, :] - i[:, None]  # [L, L], key - query
        return delta[None] == offset[:, None, None]  # [K, L, L]

    rows, columns = along(height), along(width)
    weights = (
        rows[:, None, :, None, :, None] & columns[None, :, None, :, None, :]
    )  # [K, K, H, W, H, W]
    return weights.flatten(0, 1)[None].to(dtype)
