"""Convolution by its formula, and the attention that can be one.

Shapes: B batch, C input channels, D output channels, H W map, I J output map,
K1 K2 kernel, N maps (kernel places or heads), E query/key dim, P relative dim.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import Conv2d

from visattn.kernels._transforms import needs_plain_form
from visattn.kernels.relative import relative_attention_2d
from visattn.kernels.separable import line_softmax, separable_pooling
from visattn.mechanisms._checks import (
    check_divisible,
    check_float_dtype,
    check_map,
    check_pair,
    check_positive,
    check_same_kind,
    check_tensor,
    shape_of,
)
from visattn.mechanisms.positions import relative_logits_1d

__all__ = [
    "Conv2d",  # the library's own module is the third tier of this mechanism
    "LearnedRelativeAttention2d",
    "QuadraticAttention2d",
    "conv2d",
    "conv2d_loop",
    "conv_to_attention",
    "learned_relative_attention",
    "learned_relative_attention_loop",
    "quadratic_attention",
    "quadratic_attention_loop",
    "separable_attention",
    "separable_attention_loop",
    "shift_weights",
    "spatial_pooling",
    "spatial_pooling_loop",
]

Pair = int | tuple[int, int]


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
    strides = check_pair("stride", stride, 1)
    paddings = check_pair("padding", padding, 0)
    dilations = check_pair("dilation", dilation, 1)
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


# Attention by position alone ------------------------------------------------------


def _check_separable(x: Tensor, rows: Tensor, columns: Tensor) -> None:
    check_tensor(x, "x", "B C H W")
    check_tensor(rows, "rows", "N I H")
    check_tensor(columns, "columns", "N J W")
    check_same_kind(x=x, rows=rows, columns=columns)
    H, W = x.shape[2:]
    if rows.shape[2] != H or columns.shape[2] != W or len(rows) != len(columns):
        raise ValueError(
            f"rows must be [N, I, {H}] and columns [N, J, {W}] for x {shape_of(x)}, "
            f"got {shape_of(rows)} and {shape_of(columns)}"
        )


def separable_attention_loop(
    x: Float[Tensor, "B C H W"],
    rows: Float[Tensor, "N I H"],
    columns: Float[Tensor, "N J W"],
) -> Float[Tensor, "B N C I J"]:
    """Separable attention, one query and one key pixel at a time.

    Same arguments, result and errors as `separable_attention`, of which it is the
    oracle.
    """
    _check_separable(x, rows, columns)
    B, C, H, W = x.shape
    (N, height), width = rows.shape[:2], columns.shape[1]
    pixels = []
    for n in range(N):
        for i in range(height):
            for j in range(width):
                y_ij = x.new_zeros(B, C)
                for a in range(H):
                    for b in range(W):
                        y_ij = y_ij + rows[n, i, a] * columns[n, j, b] * x[:, :, a, b]
                pixels.append(y_ij)
    return torch.stack(pixels, dim=-1).reshape(B, C, N, height, width).transpose(1, 2)


def separable_attention(
    x: Float[Tensor, "B C H W"],
    rows: Float[Tensor, "N I H"],
    columns: Float[Tensor, "N J W"],
) -> Float[Tensor, "B N C I J"]:
    r"""Pool a map with weights that are a row part times a column part.

    .. math:: y^n_{ij} = \sum_{a,b} R^n_{ia}\, C^n_{jb}\, x_{ab}

    Two matrix products, O(HW (H + W)) for each channel in place of O((HW)^2).

    Args:
        x: Map [B, C, H, W].
        rows: R, [N, I, H].
        columns: C, [N, J, W].

    Returns:
        [B, N, C, I, J], before heads are mixed.

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit, different devices.

    Source: a remark of ours on [cordonnier2020]. Chapter: equivalence/theorem.
    """
    _check_separable(x, rows, columns)
    y = separable_pooling(x.permute(0, 2, 3, 1), rows, columns)  # [B, N, I, J, C]
    return y.permute(0, 1, 4, 2, 3)


Positions = tuple[Tensor, Tensor]
"""Rows [I] and columns [J] of the queries, counted in pixels of the key map."""


def _check_heads(x: Tensor, matrices: Tensor, **heads: Tensor) -> None:
    """Map, value matrices and one entry of each further argument for each head."""
    check_tensor(x, "x", "B C H W")
    check_tensor(matrices, "matrices", "N D C")
    check_same_kind(x=x, matrices=matrices)
    check_same_kind(**heads)  # places may be more precise than the map
    for name, head in heads.items():
        if head.device != x.device:
            raise ValueError(
                f"{name} must be on the device of x, {x.device}, got {head.device}"
            )
    N, _, C = matrices.shape
    if x.shape[1] != C or any(len(head) != N for head in heads.values()):
        got = ", ".join(f"{name} {shape_of(head)}" for name, head in heads.items())
        raise ValueError(
            f"matrices must be [N, D, C] with C of x and N of the heads, got x "
            f"{shape_of(x)}, matrices {shape_of(matrices)}, {got}"
        )


def _check_quadratic(
    x: Tensor,
    centers: Tensor,
    spreads: Tensor,
    matrices: Tensor,
    queries: Positions | None,
) -> Positions:
    """Check the arguments of `quadratic_attention`; return the queries' positions."""
    check_tensor(centers, "centers", "N 2")
    if not isinstance(spreads, Tensor) or spreads.ndim not in (1, 3):
        got = shape_of(spreads) if isinstance(spreads, Tensor) else repr(spreads)
        raise ValueError(f"spreads must be [N] or [N, 2, 2], got {got}")
    check_tensor(spreads, "spreads", "N" if spreads.ndim == 1 else "N 2 2")
    _check_heads(x, matrices, centers=centers, spreads=spreads)
    if centers.shape[1] != 2 or spreads.shape[1:] not in ((), (2, 2)):
        raise ValueError(
            f"centers must be [N, 2] and spreads [N] or [N, 2, 2], got "
            f"{shape_of(centers)} and {shape_of(spreads)}"
        )
    if queries is None:
        return _line(x, x.shape[2]), _line(x, x.shape[3])
    if not isinstance(queries, tuple | list) or len(queries) != 2:
        raise ValueError(f"queries must be (rows, columns), got {queries!r}")
    for name, line in zip(("rows", "columns"), queries, strict=True):
        check_tensor(line, f"{name} of queries", "I")
    check_same_kind(rows=queries[0], columns=queries[1])
    if queries[0].device != x.device:
        raise ValueError(
            f"queries must be on the device of x, {x.device}, got {queries[0].device}"
        )
    return queries


def _precise(*tensors: Tensor) -> torch.dtype:
    """The finest of their dtypes, at least float32."""
    dtype = torch.float32
    for x in tensors:
        dtype = torch.promote_types(dtype, x.dtype)
    return dtype


def _line(x: Tensor, length: int) -> Tensor:
    """Positions along an axis; half precision would round them from 257 on."""
    return torch.arange(length, dtype=_precise(x), device=x.device)


def quadratic_attention_loop(
    x: Float[Tensor, "B C H W"],
    centers: Float[Tensor, "N 2"],
    spreads: Float[Tensor, "N"] | Float[Tensor, "N 2 2"],
    matrices: Float[Tensor, "N D C"],
    *,
    queries: Positions | None = None,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention to a shifted place, one query and one key pixel at a time.

    Same arguments, result and errors as `quadratic_attention`, of which it is the
    oracle.
    """
    rows, columns = _check_quadratic(x, centers, spreads, matrices, queries)
    precise = _precise(x, centers, spreads, rows)
    rows, columns = rows.to(precise), columns.to(precise)
    centers, spreads = centers.to(precise), spreads.to(precise)
    B, _, H, W = x.shape
    N, D, _ = matrices.shape
    outputs, maps = [], []
    for i in rows:
        for j in columns:
            y_ij = x.new_zeros(B, D)
            for n in range(N):
                logits = []
                for a in range(H):
                    for b in range(W):
                        offset = torch.stack([a - i, b - j])  # key - query
                        from_centre = offset - centers[n]
                        if spreads.ndim == 1:
                            steps = spreads[n] * from_centre
                        else:
                            steps = spreads[n].mT @ from_centre
                        logits.append(-(steps @ steps) / 2)
                weights = torch.softmax(torch.stack(logits), dim=0).reshape(H, W)
                weights = weights.to(x.dtype)
                mean = x.new_zeros(B, x.shape[1])
                for a in range(H):
                    for b in range(W):
                        mean = mean + weights[a, b] * x[:, :, a, b]
                y_ij = y_ij + mean @ matrices[n].mT
                maps.append(weights)
            outputs.append(y_ij)
    y = torch.stack(outputs, dim=-1).reshape(B, D, len(rows), len(columns))
    attention = torch.stack(maps).reshape(len(rows), len(columns), N, H, W)
    attention = attention.permute(2, 0, 1, 3, 4).expand(B, -1, -1, -1, -1, -1)
    return (y, attention) if return_attention else y


def _from_centres(
    shape: torch.Size, centers: Tensor, queries: Positions
) -> tuple[Tensor, Tensor]:
    """Key minus query minus centre along both axes: [N, I, H] and [N, J, W]."""
    parts = []
    for axis, line in enumerate(queries):
        offset = _line(line, shape[2 + axis]) - line[:, None]  # [I, H]
        parts.append(offset - centers[:, axis, None, None])
    return parts[0], parts[1]


def quadratic_attention(
    x: Float[Tensor, "B C H W"],
    centers: Float[Tensor, "N 2"],
    spreads: Float[Tensor, "N"] | Float[Tensor, "N 2 2"],
    matrices: Float[Tensor, "N D C"],
    *,
    queries: Positions | None = None,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Heads that look at a fixed shift from the query, with a Gaussian round it.

    .. math:: y_{ij} = \sum_n M_n \sum_{a,b} p_n(i,j,a,b)\, x_{ab}, \qquad
        p_n = \operatorname{softmax}_{ab}\left(-\tfrac12 (\delta - \Delta_n)^\top
        \Sigma_n^{-1} (\delta - \Delta_n)\right), \quad \delta = (a - i, b - j)

    With one spread s for each head, the inverse covariance is s^2 times the identity:
    this is the quadratic encoding with alpha = s^2 / 2. The weights are then a row part
    times a column part, and no map of H x W x H x W weights is made. A full covariance
    does not factorise; there the maps are made, one image's worth for all heads.

    Args:
        x: Map [B, C, H, W].
        centers: Delta, (row, column) in pixels, [N, 2]. Like the spreads, they may have
            a dtype of their own; the logits are computed in the finest one.
        spreads: s [N], or S [N, 2, 2] with inverse covariance S S^T; in 1 / pixels.
        matrices: M, the value matrices, [N, D, C].
        queries: Rows [I] and columns [J] of the queries in pixels of the map, of any
            floating-point dtype; they may lie outside. By default every pixel.
        return_attention: Also return the weights.

    Returns:
        y [B, D, I, J], or (y, attention [B, N, I, J, H, W]); the weights do not depend
        on the image, and are stored once.

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit, different devices.

    Every pixel enters every sum, if only with weight zero; so pixels must be finite.

    Source: eq. 9 and section 4.1 of [cordonnier2020]. Chapter: equivalence/theorem.
    """
    queries = _check_quadratic(x, centers, spreads, matrices, queries)
    precise = _precise(x, centers, spreads, queries[0])
    centers, spreads = centers.to(precise), spreads.to(precise)
    rows, columns = _from_centres(x.shape, centers, queries)
    if spreads.ndim == 1:
        half = spreads[:, None, None].square() / 2
        rows = line_softmax(-half * rows.square()).to(x.dtype)  # [N, I, H]
        columns = line_softmax(-half * columns.square()).to(x.dtype)  # [N, J, W]
        return _mix(x, rows, columns, matrices, return_attention)
    inverse = spreads @ spreads.mT  # [N, 2, 2]
    rows, columns = rows[:, :, None, :, None], columns[:, None, :, None, :]
    aa, ab, bb = (
        inverse[:, m, n, None, None, None, None] for m, n in ((0, 0), (0, 1), (1, 1))
    )
    # A sum of three terms; the middle one is why it does not factorise.
    logits = -(aa * rows**2 + 2 * ab * rows * columns + bb * columns**2) / 2
    attention = logits.flatten(-2).softmax(dim=-1).unflatten(-1, x.shape[2:])
    attention = attention.to(x.dtype)
    pooled = torch.einsum("nijkl,bckl->bnijc", attention, x)
    y = torch.einsum("bnijc,ndc->bdij", pooled, matrices)
    return (y, attention.expand(len(x), *attention.shape)) if return_attention else y


def _mix(
    x: Tensor, rows: Tensor, columns: Tensor, matrices: Tensor, return_attention: bool
) -> Tensor | tuple[Tensor, Tensor]:
    """Pool by lines, then one value matrix for each head, then the sum of heads."""
    pooled = separable_pooling(x.permute(0, 2, 3, 1), rows, columns)  # [B, N, I, J, C]
    y = torch.einsum("bnijc,ndc->bdij", pooled, matrices)
    if not return_attention:
        return y
    attention = rows[:, :, None, :, None] * columns[:, None, :, None, :]
    return y, attention.expand(len(x), *attention.shape)  # [B, N, I, J, H, W]


def _head_matrices(value: nn.Conv2d, num_heads: int) -> Tensor:
    """The weight [D, N*C, 1, 1] as value matrices [N, D, C]."""
    weight = value.weight.flatten(1)  # [D, N*C]
    return torch.unflatten(weight, 1, (num_heads, -1)).transpose(0, 1)


def _add_bias(y: Tensor, value: nn.Conv2d) -> Tensor:
    return y if value.bias is None else y + value.bias[:, None, None].to(y.dtype)


class QuadraticAttention2d(nn.Module):
    r"""Attention with the quadratic encoding: heads look at learned shifts.

    .. math:: y_{ij} = b + \sum_n M_n \sum_{a,b} p_n(i,j,a,b)\, x_{ab}

    with the weights of `quadratic_attention`. They do not depend on the image. With
    hard heads on a grid this is a convolution, see `conv_to_attention`.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_heads: N.
        isotropic: One spread for each head; otherwise a 2 x 2 matrix.
        bias: Whether the output has a bias.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1.

    `value` maps the means of all heads, head after head, to the output: it is the
    paper's W_val W_out, for heads as wide as the input. The centres start with a
    standard deviation of 2 pixels, the spreads at 1 (isotropic) or at the identity
    with a deviation of 0.01, as in the official code. Any map size works.

    Differences from the official code: it keeps a table of offsets for 50 x 50 pixels
    and a map of weights for all pairs; here neither is made for isotropic heads.

    Source: section 3.3 and appendix of [cordonnier2020]. Chapter: equivalence/theorem.

    Example:
        >>> import torch
        >>> layer = QuadraticAttention2d(6, 4, num_heads=9)
        >>> layer(torch.zeros(2, 6, 5, 7)).shape
        torch.Size([2, 4, 5, 7])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_heads: int,
        isotropic: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_positive(
            in_channels=in_channels, out_channels=out_channels, num_heads=num_heads
        )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.num_heads, self.isotropic = num_heads, isotropic
        self.centers = nn.Parameter(torch.empty(num_heads, 2).normal_(0, 2))
        start = (
            torch.ones(num_heads) if isotropic else torch.eye(2).repeat(num_heads, 1, 1)
        )
        self.spreads = nn.Parameter(start + torch.empty_like(start).normal_(0, 0.01))
        self.value = nn.Conv2d(num_heads * in_channels, out_channels, 1, bias=bias)

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend.

        Args:
            x: Map [B, in_channels, H, W].
            return_attention: Also return the weights.

        Returns:
            y [B, out_channels, H, W], or (y, attention [B, N, H, W, H, W]).

        Raises:
            TypeError: x is not a floating-point tensor of the weights' dtype.
            ValueError: Wrong rank or channels, or an empty map.
        """
        _check_input(x, self.in_channels, self.value)
        keys, queries = self._canvas(x)
        result = quadratic_attention(
            keys,
            self.centers,
            self.spreads,
            _head_matrices(self.value, self.num_heads).to(x.dtype),
            queries=queries,
            return_attention=return_attention,
        )
        if isinstance(result, tuple):
            return _add_bias(result[0], self.value), result[1]
        return _add_bias(result, self.value)

    def _canvas(self, x: Tensor) -> tuple[Tensor, Positions | None]:
        """The map of the keys and where in it the queries lie: here, everywhere."""
        return x, None

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return (
            f"{self.in_channels}, {self.out_channels}, num_heads={self.num_heads}, "
            f"isotropic={self.isotropic}"
        )


def _check_input(x: Tensor, in_channels: int, value: nn.Conv2d) -> None:
    check_map(x, in_channels)
    if x.dtype != value.weight.dtype and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(
            f"x and the weights must have one dtype, got {x.dtype} and "
            f"{value.weight.dtype}"
        )


# Theorem 1 ------------------------------------------------------------------------


class _ConvolutionAsAttention(QuadraticAttention2d):
    """The layer that `conv_to_attention` returns: it knows the convolution's border.

    The queries stand where the middle of the kernel would stand, with the
    convolution's stride. Replicate padding needs no padding at all: a head that aims
    outside the image finds the nearest pixel. Other paddings are added first; then no
    head aims outside.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        K1, K2 = _sizes(conv.kernel_size)
        super().__init__(
            conv.in_channels, conv.out_channels, K1 * K2, bias=conv.bias is not None
        )
        self.kernel_size, self.stride = (K1, K2), _sizes(conv.stride)
        self.dilation, self.padding_mode = _sizes(conv.dilation), conv.padding_mode
        self.padding = _sides(conv)

    def _canvas(self, x: Tensor) -> tuple[Tensor, Positions]:
        padding, keys = self.padding, x
        lines = []
        for axis in range(2):
            before, after = padding[2 * axis], padding[2 * axis + 1]
            span = self.dilation[axis] * (self.kernel_size[axis] - 1)
            room = x.shape[2 + axis] + before + after - span - 1
            if room < 0:
                raise ValueError(
                    f"the kernel spans {span + 1} pixels of axis {'HW'[axis]}, the "
                    f"padded map has {room + span + 1}: x {shape_of(x)}, "
                    f"kernel_size={self.kernel_size}, dilation={self.dilation}"
                )
            count = room // self.stride[axis] + 1
            start = self._middle(axis) - before * (self.padding_mode == "replicate")
            lines.append(start + self.stride[axis] * _line(x, count))
        if self.padding_mode != "replicate" and any(padding):
            self._check_padding(x)
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            keys = F.pad(x, (*padding[2:], *padding[:2]), mode=mode)
        return keys, (lines[0], lines[1])

    def _check_padding(self, x: Tensor) -> None:
        """Reflection needs a pixel more than it pads; a circle as many."""
        most = {"reflect": -1, "circular": 0}.get(self.padding_mode)
        for axis in range(2):
            wanted = max(self.padding[2 * axis : 2 * axis + 2])
            if most is not None and wanted > x.shape[2 + axis] + most:
                raise ValueError(
                    f"{self.padding_mode} padding of {wanted} pixels needs a map of at "
                    f"least {wanted - most} on axis {'HW'[axis]}, got {shape_of(x)}"
                )

    def _middle(self, axis: int) -> int:
        """Pixels from the first place of the kernel to the one under the query."""
        return self.dilation[axis] * ((self.kernel_size[axis] - 1) // 2)

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return (
            f"{super().extra_repr()}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"padding_mode={self.padding_mode!r}"
        )


def _sizes(value: tuple[int, ...]) -> tuple[int, int]:
    return value[0], value[1]


def _sides(conv: nn.Conv2d) -> tuple[int, int, int, int]:
    """Pixels that the convolution pads: top, bottom, left, right."""
    if conv.padding_mode != "zeros":  # as it was made, whatever was changed later
        left, right, top, bottom = conv._reversed_padding_repeated_twice
        return top, bottom, left, right
    sides: list[int] = []
    for axis in range(2):
        if conv.padding == "valid":
            sides += [0, 0]
        elif conv.padding == "same":
            total = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
            sides += [total // 2, total - total // 2]
        else:
            sides += [int(conv.padding[axis])] * 2
    return sides[0], sides[1], sides[2], sides[3]


def conv_to_attention(conv: nn.Conv2d, alpha: float = 46.0) -> QuadraticAttention2d:
    r"""Theorem 1: the attention layer that equals a convolution.

    .. math:: \Delta_n = \ell\,(n_1 - m_1,\, n_2 - m_2), \qquad
        M_n = W_{n_1 n_2}, \qquad n = n_1 K_2 + n_2

    One head for each place of the kernel, row by row; it looks at that place's offset
    from the query, and its value matrix is the kernel's matrix there. The kernel's
    middle is m = (K - 1) // 2, the dilation l.

    Args:
        conv: Any convolution in two dimensions: kernels odd, even or rectangular, with
            stride, dilation, groups, bias, and any padding and padding mode. It stays
            as it is; the weights are copied.
        alpha: How hard the heads look: a pixel at distance d from a head's place has
            exp(-alpha d^2) times the weight of the place. At 46 this is 1e-20, below
            the rounding of float64.

    Returns:
        A `QuadraticAttention2d` with K1 * K2 heads, in the dtype, on the device and in
        the mode of ``conv``; centres and spreads are in float32 at least. It can be
        trained further. The keys of its attention are the pixels of the padded map,
        its queries those of the output. The border is not part of its ``state_dict``.

    Raises:
        TypeError: conv is not a ``torch.nn.Conv2d``, has no size yet (a lazy one), or
            has a forward or a forward hook of its own.
        ValueError: alpha is not positive or larger than 1e6.

    The border: over the bare image, a head that aims outside attends to the nearest
    pixel. This is replicate padding exactly. For zeros (or reflection, or a circle) the
    image is padded, attended to, and only the queries of the convolution are kept.

    Source: theorem 1 of [cordonnier2020]; stride and dilation after its remarks; the
    border is ours. Chapter: equivalence/theorem.

    Example:
        >>> import torch
        >>> conv = torch.nn.Conv2d(3, 8, 3, padding=1).double()
        >>> x = torch.randn(1, 3, 6, 7).double()
        >>> bool((conv_to_attention(conv)(x) - conv(x)).abs().max() < 1e-12)
        True
    """
    _check_convolution(conv, alpha)
    weight = conv.weight.detach()
    with torch.random.fork_rng(devices=[]):  # its random start is overwritten
        layer = _ConvolutionAsAttention(conv).to(weight.device, weight.dtype)
    D, Cg, K1, K2 = weight.shape
    # Places stay in float32 at least: half precision has no 257.
    exact = torch.empty(0, device=weight.device, dtype=_precise(weight))
    lines = [
        step * (_line(exact, size) - (size - 1) // 2)
        for step, size in zip(layer.dilation, (K1, K2), strict=True)
    ]
    centers = torch.cartesian_prod(*lines)  # [K1*K2, 2]
    matrices = weight.new_zeros(D, K1 * K2, conv.in_channels)
    for g in range(conv.groups):
        out, inside = (slice(g * n, (g + 1) * n) for n in (D // conv.groups, Cg))
        matrices[out, :, inside] = weight[out].flatten(2).mT
    layer.centers = nn.Parameter(centers)
    layer.spreads = nn.Parameter(exact.new_full((K1 * K2,), (2 * alpha) ** 0.5))
    with torch.no_grad():
        layer.value.weight.copy_(matrices.flatten(1)[:, :, None, None])
        if conv.bias is not None and layer.value.bias is not None:
            layer.value.bias.copy_(conv.bias)
    return layer.train(conv.training)


def _check_convolution(conv: object, alpha: object) -> None:
    if not isinstance(conv, nn.Conv2d) or isinstance(conv, nn.LazyConv2d):
        raise TypeError(
            f"conv must be a torch.nn.Conv2d with its sizes set, got {conv!r}"
        )
    kind = type(conv)
    if (
        kind.forward is not nn.Conv2d.forward
        or kind._conv_forward is not nn.Conv2d._conv_forward
        or conv._forward_hooks
    ):
        raise TypeError(
            f"conv must compute what torch.nn.Conv2d computes, got {kind.__name__} "
            "with a forward or a forward hook of its own"
        )
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise TypeError(f"alpha must be a number, got {alpha!r}")
    if not 0 < alpha <= 1e6:
        raise ValueError(f"alpha must be positive and at most 1e6, got {alpha}")


# Learned relative encoding --------------------------------------------------------


def _check_learned(
    x: Tensor,
    rel_rows: Tensor,
    rel_cols: Tensor,
    matrices: Tensor,
    head_rows: Tensor | None,
    head_cols: Tensor | None,
    query: Tensor | None,
    key: Tensor | None,
) -> None:
    check_tensor(rel_rows, "rel_rows", "M P")
    check_tensor(rel_cols, "rel_cols", "M P")
    _check_heads(x, matrices)
    check_same_kind(x=x, rel_rows=rel_rows, rel_cols=rel_cols)
    H, W = x.shape[2:]
    M, P = rel_rows.shape
    if rel_cols.shape != rel_rows.shape or M % 2 == 0 or max(H, W) > (M + 1) // 2:
        raise ValueError(
            f"rel_rows and rel_cols must be [2 M - 1, P] with M at least {max(H, W)} "
            f"for a map of {H} x {W}, got {shape_of(rel_rows)} and {shape_of(rel_cols)}"
        )
    if (head_rows is None) != (head_cols is None):
        raise ValueError("head_rows and head_cols must both be given or both be None")
    alone = query is None and key is None
    content = query is not None and key is not None
    if (head_rows is None and query is None) or not (
        alone or content or (head_rows is None and key is None)
    ):
        raise ValueError(
            "give head_rows and head_cols (positions alone, or with query and key), or "
            "query (q.r), or query and key (q.r and content)"
        )
    N = len(matrices)
    for name, head in (("head_rows", head_rows), ("head_cols", head_cols)):
        if head is not None:
            check_tensor(head, name, "N P")
            check_same_kind(x=x, **{name: head})
            if tuple(head.shape) != (N, P):
                raise ValueError(f"{name} must be [{N}, {P}], got {shape_of(head)}")
    width = "E" if head_rows is not None or query is None else str(2 * P)
    for name, part in (("query", query), ("key", key)):
        if part is not None:
            check_tensor(part, name, "B N H W E")
            check_same_kind(x=x, **{name: part})
            same = query is not None and part.shape == query.shape
            if tuple(part.shape[:4]) != (len(x), N, H, W) or not same:
                raise ValueError(
                    f"{name} must be [{len(x)}, {N}, {H}, {W}, {width}], "
                    f"got {shape_of(part)}"
                )
    if head_rows is None and query is not None and query.shape[-1] != 2 * P:
        raise ValueError(
            f"query must have 2 P = {2 * P} channels for tables of width {P}, "
            f"got {shape_of(query)}"
        )


def learned_relative_attention_loop(
    x: Float[Tensor, "B C H W"],
    rel_rows: Float[Tensor, "L P"],
    rel_cols: Float[Tensor, "L P"],
    matrices: Float[Tensor, "N D C"],
    *,
    head_rows: Float[Tensor, "N P"] | None = None,
    head_cols: Float[Tensor, "N P"] | None = None,
    query: Float[Tensor, "B N H W E"] | None = None,
    key: Float[Tensor, "B N H W E"] | None = None,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention with learned relative vectors, one query and one key at a time.

    Same arguments, result and errors as `learned_relative_attention`, of which it is
    the oracle.
    """
    heads = (head_rows, head_cols)
    _check_learned(x, rel_rows, rel_cols, matrices, *heads, query, key)
    B, _, H, W = x.shape
    N, D, _ = matrices.shape
    M, P = (len(rel_rows) + 1) // 2, rel_rows.shape[1]
    outputs, maps = [], []
    for image in range(B):
        for i in range(H):
            for j in range(W):
                y_ij = x.new_zeros(D)
                for n in range(N):
                    logits = []
                    for a in range(H):
                        for b in range(W):
                            r_row, r_col = (
                                rel_rows[a - i + M - 1],
                                rel_cols[b - j + M - 1],
                            )
                            logit = x.new_zeros(())
                            if head_rows is not None and head_cols is not None:
                                logit = logit + head_rows[n] @ r_row
                                logit = logit + head_cols[n] @ r_col
                            if query is not None:
                                q = query[image, n, i, j] / query.shape[-1] ** 0.5
                                if head_rows is None:
                                    logit = logit + q[:P] @ r_row + q[P:] @ r_col
                                if key is not None:
                                    logit = logit + q @ key[image, n, a, b]
                            logits.append(logit)
                    weights = torch.softmax(torch.stack(logits), dim=0).reshape(H, W)
                    mean = x.new_zeros(x.shape[1])
                    for a in range(H):
                        for b in range(W):
                            mean = mean + weights[a, b] * x[image, :, a, b]
                    y_ij = y_ij + matrices[n] @ mean
                    maps.append(weights)
                outputs.append(y_ij)
    y = torch.stack(outputs).reshape(B, H, W, D).permute(0, 3, 1, 2)
    attention = torch.stack(maps).reshape(B, H, W, N, H, W).permute(0, 3, 1, 2, 4, 5)
    return (y, attention) if return_attention else y


def _near(table: Tensor, length: int) -> Tensor:
    """The rows of a table that a line needs: [2 M - 1, P] -> [2 L - 1, P]."""
    middle = (len(table) - 1) // 2
    return table[middle - length + 1 : middle + length]


def learned_relative_attention(
    x: Float[Tensor, "B C H W"],
    rel_rows: Float[Tensor, "L P"],
    rel_cols: Float[Tensor, "L P"],
    matrices: Float[Tensor, "N D C"],
    *,
    head_rows: Float[Tensor, "N P"] | None = None,
    head_cols: Float[Tensor, "N P"] | None = None,
    query: Float[Tensor, "B N H W E"] | None = None,
    key: Float[Tensor, "B N H W E"] | None = None,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Attention with a learned vector for each row offset and each column offset.

    .. math:: \text{positions alone:}\quad A_n = w^{row}_n \cdot r^{row}_{a-i} +
        w^{col}_n \cdot r^{col}_{b-j}

    .. math:: \text{with queries:}\quad A_n = \frac{1}{\sqrt{E}} \left(
        q^{row}_{ij} \cdot r^{row}_{a-i} + q^{col}_{ij} \cdot r^{col}_{b-j}
        + q_{ij} \cdot k_{ab} \right)

    where the two halves of a query meet rows and columns. The weights are the softmax
    of A over all pixels, and each head has its value matrix, as in
    `quadratic_attention`. Positions alone factorise into rows and columns. Given head
    vectors, queries and keys together, the content is added to the positions alone.

    Args:
        x: Map [B, C, H, W].
        rel_rows: [L, P] with L = 2 M - 1; row m belongs to row offset m - (M - 1).
        rel_cols: [L, P], for column offsets. M is at least H and W.
        matrices: Value matrices [N, D, C].
        head_rows: w^row [N, P].
        head_cols: w^col [N, P].
        query: [B, N, H, W, E], not scaled; E = 2 P where it meets the tables.
        key: [B, N, H, W, E]. None leaves the content out.
        return_attention: Also return the weights.

    Returns:
        y [B, D, H, W], or (y, attention [B, N, H, W, H, W]).

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit, a map larger than the tables, or a set of
            arguments that is none of the above.

    Source: section 4.1 and 4.3 of [cordonnier2020]. Chapter: equivalence/heads.
    """
    heads = (head_rows, head_cols)
    _check_learned(x, rel_rows, rel_cols, matrices, *heads, query, key)
    H, W = x.shape[2:]
    rel_rows, rel_cols = _near(rel_rows, H), _near(rel_cols, W)
    if head_rows is not None and head_cols is not None:
        # A head asks the same of every query of a line.
        rows = relative_logits_1d(head_rows[:, None].expand(-1, H, -1), rel_rows)
        cols = relative_logits_1d(head_cols[:, None].expand(-1, W, -1), rel_cols)
        if query is None or key is None:
            lines = line_softmax(rows), line_softmax(cols)
            return _mix(x, *lines, matrices, return_attention)
        query = query * query.shape[-1] ** -0.5
        rows = rows[:, :, None].expand(*query.shape[:-1], -1)
        cols = cols[:, None].expand(*query.shape[:-1], -1)
    else:
        assert query is not None
        query = query * query.shape[-1] ** -0.5
        half_row, half_col = query.chunk(2, dim=-1)
        rows = relative_logits_1d(half_row.transpose(2, 3), rel_rows).transpose(2, 3)
        cols = relative_logits_1d(half_col, rel_cols)
    if key is None:
        query, key = query[..., :0], query[..., :0]
    values = x.permute(0, 2, 3, 1)[:, None].expand(-1, len(matrices), -1, -1, -1)
    attention = None
    if return_attention or needs_plain_form(query, key, values, rows, cols):
        logits = query.flatten(2, 3) @ key.flatten(2, 3).mT  # [B, N, HW, HW]
        logits = logits.unflatten(3, (H, W)).unflatten(2, (H, W))
        logits = logits + rows[..., None] + cols[..., None, :]
        attention = logits.flatten(-2).softmax(dim=-1).unflatten(-1, (H, W))
        pooled = torch.einsum("bnijkl,bnklc->bnijc", attention, values)
    else:
        pooled = relative_attention_2d(query, key, values, rows, cols)
    y = torch.einsum("bnijc,ndc->bdij", pooled, matrices)
    return (y, attention) if return_attention and attention is not None else y


class LearnedRelativeAttention2d(nn.Module):
    r"""Attention over a map with learned relative vectors, by row and by column.

    The logits are those of `learned_relative_attention`; every head averages the input
    itself, and `value` maps the means of all heads to the output.

    Args:
        in_channels: Channels of the input; even where queries meet the tables.
        out_channels: Channels of the output.
        num_heads: N.
        max_position: M: the largest height and width of a map.
        content: Add the product of query and key.
        query_relative: The pixel's query meets the relative vectors; otherwise each
            head has a vector of its own for this.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1, an odd number of channels with query_relative.

    Relative vectors have the width of the input, or half of it with query_relative;
    queries and keys have the width of the input in each head, with biases.

    Differences from the official code: `relative_rows` belongs to rows, the first axis
    of the map. In the official code for positions alone it belongs to the second axis;
    `visattn.convert` exchanges the tables.

    Source: section 4.1 of [cordonnier2020]. Chapter: equivalence/heads.

    Example:
        >>> import torch
        >>> layer = LearnedRelativeAttention2d(6, 4, 9, content=True)
        >>> layer(torch.zeros(2, 6, 5, 7)).shape
        torch.Size([2, 4, 5, 7])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_heads: int,
        max_position: int = 16,
        content: bool = False,
        query_relative: bool = False,
    ) -> None:
        super().__init__()
        check_positive(
            in_channels=in_channels,
            out_channels=out_channels,
            num_heads=num_heads,
            max_position=max_position,
        )
        if query_relative and in_channels % 2:
            raise ValueError(
                "in_channels must be even with query_relative=True: half of a query "
                f"meets rows, the other half columns; got in_channels={in_channels}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.num_heads, self.max_position = num_heads, max_position
        self.content, self.query_relative = content, query_relative

        width = in_channels // 2 if query_relative else in_channels
        self.relative_rows = nn.Parameter(torch.randn(2 * max_position - 1, width))
        self.relative_cols = nn.Parameter(torch.randn(2 * max_position - 1, width))
        if query_relative:
            self.register_parameter("head_rows", None)
            self.register_parameter("head_cols", None)
        else:
            bound = width**-0.5
            self.head_rows = nn.Parameter(
                torch.empty(num_heads, width).uniform_(-bound, bound)
            )
            self.head_cols = nn.Parameter(
                torch.empty(num_heads, width).uniform_(-bound, bound)
            )
        wide = num_heads * in_channels
        self.query = (
            nn.Conv2d(in_channels, wide, 1) if content or query_relative else None
        )
        self.key = nn.Conv2d(in_channels, wide, 1) if content else None
        self.value = nn.Conv2d(wide, out_channels, 1)

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend.

        Args:
            x: Map [B, in_channels, H, W], H and W at most max_position.
            return_attention: Also return the weights.

        Returns:
            y [B, out_channels, H, W], or (y, attention [B, N, H, W, H, W]).

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty map, or one larger than the
                tables.
        """
        _check_input(x, self.in_channels, self.value)
        if max(x.shape[2:]) > self.max_position:
            raise ValueError(
                f"x must be at most max_position={self.max_position} pixels high and "
                f"wide, got shape {shape_of(x)}"
            )
        query, key = (
            None
            if layer is None
            else rearrange(layer(x), "B (N E) H W -> B N H W E", N=self.num_heads)
            for layer in (self.query, self.key)
        )
        kind = x.dtype if query is None else query.dtype
        rows, cols = self.head_rows, self.head_cols
        result = learned_relative_attention(
            x.to(kind),
            self.relative_rows.to(kind),
            self.relative_cols.to(kind),
            _head_matrices(self.value, self.num_heads).to(kind),
            head_rows=None if rows is None else rows.to(kind),
            head_cols=None if cols is None else cols.to(kind),
            query=query,
            key=key,
            return_attention=return_attention,
        )
        if isinstance(result, tuple):
            return _add_bias(result[0], self.value), result[1]
        return _add_bias(result, self.value)

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return (
            f"{self.in_channels}, {self.out_channels}, num_heads={self.num_heads}, "
            f"max_position={self.max_position}, content={self.content}, "
            f"query_relative={self.query_relative}"
        )
