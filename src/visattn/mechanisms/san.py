r"""Vector attention over windows, pairwise and patchwise (SAN).

.. math:: y_i = \sum_{j \in \mathcal{R}(i)} \alpha_j \odot \beta(x_j), \qquad
    \alpha = \gamma(\delta)

The relation delta compares features, gamma turns it into weights, and the weights are a
vector: one number for each group of channels. Channel c belongs to group c % G.

Shapes: B batch, R relation channels, C value channels, G groups, H W map, I J rows and
columns of windows, K window, P = K*K its places row by row, D channels of a relation.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visattn.kernels import aggregation as kernel
from visattn.kernels import patches
from visattn.kernels._precision import working_dtype
from visattn.kernels._transforms import needs_plain_form
from visattn.mechanisms._checks import (
    check_divisible,
    check_map,
    check_positive,
    check_same_kind,
    check_tensor,
    shape_of,
)

__all__ = [
    "PairwiseAttention2d",
    "PatchwiseAttention2d",
    "aggregate",
    "aggregate_loop",
    "pairwise_attention",
    "pairwise_attention_loop",
    "pairwise_relation",
    "pairwise_relation_loop",
    "patchwise_attention",
    "patchwise_attention_loop",
    "patchwise_relation",
    "patchwise_relation_loop",
    "window_coordinates",
]

Pairwise = Literal["summation", "subtraction", "concatenation", "hadamard", "dot"]
Patchwise = Literal["star", "clique", "concatenation"]
Padding = Literal["reflect", "zeros"]
Gamma = Callable[[Tensor], Tensor]
"""Maps [B, D, n, m] to other channels, each of its n*m vectors by itself."""

PAIRWISE = ("summation", "subtraction", "concatenation", "hadamard", "dot")
PATCHWISE = ("star", "clique", "concatenation")
PADDINGS = ("reflect", "zeros")


# Checks and windows -------------------------------------------------------------------


def _check_window(kernel_size: int, stride: int, dilation: int, padding: str) -> None:
    check_positive(kernel_size=kernel_size, stride=stride, dilation=dilation)
    if kernel_size % 2 == 0:
        raise ValueError(
            "kernel_size must be odd, so that a pixel is the centre of its window; "
            f"got {kernel_size}"
        )
    if padding not in PADDINGS:
        raise ValueError(f"padding_mode must be one of {PADDINGS}, got {padding!r}")


def _check_relation(relation: str, known: tuple[str, ...]) -> None:
    if relation not in known:
        raise ValueError(f"relation must be one of {known}, got {relation!r}")


def _check_mirrored(
    x: Tensor, name: str, kernel_size: int, dilation: int, padding: str
) -> None:
    """Refuse a map that is too small to be mirrored at its border."""
    check_tensor(x, name, "B C H W")
    reach = dilation * (kernel_size // 2)
    if padding == "reflect" and min(x.shape[2:]) <= reach:
        raise ValueError(
            f"reflection pads {reach} pixels (kernel_size={kernel_size}, "
            f"dilation={dilation}), so height and width must be at least {reach + 1}; "
            f"got {x.shape[2]} x {x.shape[3]}"
        )


def _check_pair(
    phi: Tensor,
    psi: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    padding: str,
) -> None:
    _check_window(kernel_size, stride, dilation, padding)
    _check_mirrored(phi, "phi", kernel_size, dilation, padding)
    _check_mirrored(psi, "psi", kernel_size, dilation, padding)
    check_same_kind(phi=phi, psi=psi)
    if phi.shape != psi.shape:
        raise ValueError(
            "phi and psi must have the same shape [B, R, H, W], got "
            f"{shape_of(phi)}, {shape_of(psi)}"
        )


def _check_values(beta: Tensor, phi: Tensor) -> None:
    check_tensor(beta, "beta", "B C H W")
    check_same_kind(phi=phi, beta=beta)
    if beta.shape[0] != phi.shape[0] or beta.shape[2:] != phi.shape[2:]:
        raise ValueError(
            "beta [B, C, H, W] must have the batch and the map of phi [B, R, H, W], "
            f"got {shape_of(beta)}, {shape_of(phi)}"
        )


def _check_groups(channels: int, groups: int) -> None:
    if groups == 0:
        raise ValueError("the weights have no group: got 0 channels from gamma")
    check_divisible("channels of the values", channels, "groups of the weights", groups)


def _places(
    i: int, j: int, x: Tensor, kernel_size: int, dilation: int, padding: str
) -> Iterator[tuple[int, int] | None]:
    """Pixels (a, b) of the window around pixel (i, j), mirrored at the border.

    None stands for a place outside a map that zeros follow.
    """
    H, W = x.shape[2:]
    reach = kernel_size // 2
    for m in range(-reach, reach + 1):
        for n in range(-reach, reach + 1):
            a, b = i + m * dilation, j + n * dilation
            if padding == "zeros" and not (0 <= a < H and 0 <= b < W):
                yield None
                continue
            a = -a if a < 0 else 2 * (H - 1) - a if a >= H else a
            b = -b if b < 0 else 2 * (W - 1) - b if b >= W else b
            yield a, b


def _pixel(x: Tensor, place: tuple[int, int] | None) -> Tensor:
    """The vectors [B, C] of a place; zeros outside the map."""
    return x.new_zeros(x.shape[:2]) if place is None else x[:, :, place[0], place[1]]


def _centres(x: Tensor, stride: int) -> tuple[range, range]:
    return range(0, x.shape[2], stride), range(0, x.shape[3], stride)


def _assemble(columns: list[Tensor], x: Tensor, stride: int) -> Tensor:
    """Results of the windows, row by row, put together: [..., I, J]."""
    rows, cols = _centres(x, stride)
    shape = *columns[0].shape, len(rows), len(cols)
    return torch.stack(columns, dim=-1).reshape(shape)


# Aggregation --------------------------------------------------------------------------


def _check_aggregate(
    weights: Tensor,
    values: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    padding: str,
) -> None:
    _check_window(kernel_size, stride, dilation, padding)
    _check_mirrored(values, "values", kernel_size, dilation, padding)
    check_tensor(weights, "weights", "B G K*K H W")
    check_same_kind(weights=weights, values=values)
    B, C, H, W = values.shape
    rows, cols = (H - 1) // stride + 1, (W - 1) // stride + 1
    wanted = [B, weights.shape[1], kernel_size**2, rows, cols]
    if list(weights.shape) != wanted:
        raise ValueError(
            f"weights must be [B, G, K*K, H_out, W_out] = {wanted} for values "
            f"{shape_of(values)}, kernel_size={kernel_size} and stride={stride}, got "
            f"{shape_of(weights)}"
        )
    _check_groups(C, weights.shape[1])


def aggregate_loop(
    weights: Float[Tensor, "B G P I J"],
    values: Float[Tensor, "B C H W"],
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    padding_mode: Padding = "reflect",
) -> Float[Tensor, "B C I J"]:
    """Feature aggregation, one pixel, one channel and one place at a time.

    Same arguments, result and errors as `aggregate`, of which it is the oracle.
    """
    _check_aggregate(weights, values, kernel_size, stride, dilation, padding_mode)
    C, G = values.shape[1], weights.shape[1]
    rows, cols = _centres(values, stride)
    columns = []
    for i in rows:
        for j in cols:
            places = list(_places(i, j, values, kernel_size, dilation, padding_mode))
            y_ij = []
            for c in range(C):
                total = values.new_zeros(values.shape[0])
                for p, place in enumerate(places):
                    weight = weights[:, c % G, p, i // stride, j // stride]
                    total = total + weight * _pixel(values, place)[:, c]
                y_ij.append(total)
            columns.append(torch.stack(y_ij, dim=-1))  # [B, C]
    return _assemble(columns, values, stride)


def aggregate(
    weights: Float[Tensor, "B G P I J"],
    values: Float[Tensor, "B C H W"],
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    padding_mode: Padding = "reflect",
) -> Float[Tensor, "B C I J"]:
    r"""Feature aggregation: weighted sums of a window's values, group by group.

    .. math:: y_{i,c} = \sum_{j \in \mathcal{R}(i)} w_{i,\,c \bmod G,\,j}\, v_{j,c}

    The windows are never copied: neither pass holds K*K copies of the values.

    Args:
        weights: [B, G, K*K, H_out, W_out], H_out = ceil(H / stride).
        values: [B, C, H, W]. Channel c takes the weights of group c % G.
        kernel_size: Side K of the window, odd; its places are numbered row by row.
        stride: Pixels from one window's centre to the next.
        dilation: Pixels from one place of a window to the next.
        padding_mode: Outside the image ``"reflect"`` mirrors it without repeating the
            border pixel, as the official code does; ``"zeros"`` has zero vectors.

    Returns:
        [B, C, H_out, W_out].

    Raises:
        TypeError: Not floating-point tensors, different dtypes, sizes that are not
            integers.
        ValueError: Shapes that do not fit, an even window, groups that do not divide
            the channels, an unknown padding, a map too small to be mirrored.

    Differences from the paper: it does not say how channels are grouped, nor what lies
    outside the image. Both are the official code's here.

    Source: section 3 of [zhao2020]. Chapter: exploring/pairwise.
    """
    _check_aggregate(weights, values, kernel_size, stride, dilation, padding_mode)
    options = kernel_size, stride, dilation, padding_mode == "reflect"
    if needs_plain_form(weights, values):
        return kernel.plain_aggregate(weights, values, kernel.Windows(*options))
    y: Tensor = kernel.aggregate(weights, values, *options)
    return y


# Relations ----------------------------------------------------------------------------


def _relation_of_two(phi_i: Tensor, psi_j: Tensor, relation: str) -> Tensor:
    """Pairwise delta of vectors [B, R]: [B, D]."""
    if relation == "summation":
        return phi_i + psi_j
    if relation == "subtraction":
        return phi_i - psi_j
    if relation == "concatenation":
        return torch.cat([phi_i, psi_j], dim=1)
    if relation == "hadamard":
        return phi_i * psi_j
    return (phi_i * psi_j).sum(1, keepdim=True)


def pairwise_relation_loop(
    phi: Float[Tensor, "B R H W"],
    psi: Float[Tensor, "B R H W"],
    kernel_size: int,
    relation: Pairwise = "subtraction",
    stride: int = 1,
    dilation: int = 1,
    padding_mode: Padding = "reflect",
) -> Float[Tensor, "B D P I J"]:
    """Pairwise relations, one pixel and one place of its window at a time.

    Same arguments, result and errors as `pairwise_relation`, of which it is the oracle.
    """
    _check_pair(phi, psi, kernel_size, stride, dilation, padding_mode)
    _check_relation(relation, PAIRWISE)
    rows, cols = _centres(phi, stride)
    columns = []
    for i in rows:
        for j in cols:
            deltas = []
            for place in _places(i, j, psi, kernel_size, dilation, padding_mode):
                phi_i, psi_j = phi[:, :, i, j], _pixel(psi, place)
                deltas.append(_relation_of_two(phi_i, psi_j, relation))
            columns.append(torch.stack(deltas, dim=-1))  # [B, D, P]
    return _assemble(columns, phi, stride)


def pairwise_relation(
    phi: Float[Tensor, "B R H W"],
    psi: Float[Tensor, "B R H W"],
    kernel_size: int,
    relation: Pairwise = "subtraction",
    stride: int = 1,
    dilation: int = 1,
    padding_mode: Padding = "reflect",
) -> Float[Tensor, "B D P I J"]:
    r"""Relation of each pixel with each pixel of its window.

    ============= ====================================== ==
    relation      delta(x_i, x_j)                        D
    ============= ====================================== ==
    summation     :math:`\varphi(x_i) + \psi(x_j)`       R
    subtraction   :math:`\varphi(x_i) - \psi(x_j)`       R
    concatenation :math:`[\varphi(x_i), \psi(x_j)]`      2R
    hadamard      :math:`\varphi(x_i) \odot \psi(x_j)`   R
    dot           :math:`\varphi(x_i)^\top \psi(x_j)`    1
    ============= ====================================== ==

    Args:
        phi: Features of the centre, varphi(x) [B, R, H, W].
        psi: Features of the neighbours, psi(x) [B, R, H, W].
        kernel_size: Side K of the window, odd.
        relation: One of the five above.
        stride: Pixels from one window's centre to the next.
        dilation: Pixels from one place of a window to the next.
        padding_mode: ``"reflect"`` or ``"zeros"``, as in `aggregate`.

    Returns:
        [B, D, K*K, H_out, W_out].

    Raises:
        TypeError: Not floating-point tensors, different dtypes, sizes that are not
            integers.
        ValueError: Shapes that do not fit, an even window, an unknown relation or
            padding, a map too small to be mirrored.

    Source: section 3.1 of [zhao2020]. Chapter: exploring/pairwise.
    """
    _check_pair(phi, psi, kernel_size, stride, dilation, padding_mode)
    _check_relation(relation, PAIRWISE)
    windows = kernel.Windows(kernel_size, stride, dilation, padding_mode == "reflect")
    return _relate(phi[:, :, ::stride, ::stride], psi, windows, relation)


def _relate(
    centre: Tensor, values: Tensor, windows: kernel.Windows, relation: str
) -> Tensor:
    """[B, R, I, J] and [B, R, H, W] -> [B, D, P, I, J]."""
    if needs_plain_form(centre, values):
        return kernel.plain_relate(centre, values, windows, relation)
    w = windows
    options = w.kernel_size, w.stride, w.dilation, w.reflect
    delta: Tensor = kernel.relate(centre, values, *options, relation)
    return delta


def _relation_of_window(
    phi: Tensor,
    psi: Tensor,
    centre: tuple[int, int],
    places: list[tuple[int, int] | None],
    relation: str,
) -> Tensor:
    """Patchwise delta of one window: [B, D]."""
    phi_i = _pixel(phi, centre)
    around = [_pixel(psi, k) for k in places]
    if relation == "star":
        return torch.stack([(phi_i * psi_j).sum(1) for psi_j in around], dim=1)
    if relation == "clique":
        phis = [_pixel(phi, j) for j in places]
        pairs = [(phi_j * psi_k).sum(1) for phi_j in phis for psi_k in around]
        return torch.stack(pairs, dim=1)
    return torch.cat([phi_i, torch.stack(around, dim=2).flatten(1)], dim=1)


def patchwise_relation_loop(
    phi: Float[Tensor, "B R H W"],
    psi: Float[Tensor, "B R H W"],
    kernel_size: int,
    relation: Patchwise = "concatenation",
    stride: int = 1,
    dilation: int = 1,
    padding_mode: Padding = "reflect",
) -> Float[Tensor, "B D I J"]:
    """Patchwise relations, one window at a time.

    Same arguments, result and errors as `patchwise_relation`, of which it is the
    oracle.
    """
    _check_pair(phi, psi, kernel_size, stride, dilation, padding_mode)
    _check_relation(relation, PATCHWISE)
    rows, cols = _centres(phi, stride)
    columns = []
    for i in rows:
        for j in cols:
            places = list(_places(i, j, psi, kernel_size, dilation, padding_mode))
            columns.append(_relation_of_window(phi, psi, (i, j), places, relation))
    return _assemble(columns, phi, stride)


def patchwise_relation(
    phi: Float[Tensor, "B R H W"],
    psi: Float[Tensor, "B R H W"],
    kernel_size: int,
    relation: Patchwise = "concatenation",
    stride: int = 1,
    dilation: int = 1,
    padding_mode: Padding = "reflect",
) -> Float[Tensor, "B D I J"]:
    r"""Relation of each pixel with its window as a whole.

    ============= ================================================= ============
    relation      delta(x_R(i))                                     D
    ============= ================================================= ============
    star          :math:`[\varphi(x_i)^\top \psi(x_j)]_j`           K*K
    clique        :math:`[\varphi(x_j)^\top \psi(x_k)]_{j,k}`       (K*K)**2
    concatenation :math:`[\varphi(x_i), [\psi(x_j)]_j]`             R + R*K*K
    ============= ================================================= ============

    Channel ``j * K*K + k`` of the clique product is the pair (j, k). In the
    concatenation the R channels of varphi come first, then channel ``R + r * K*K + j``
    is channel r of psi at place j.

    Args:
        phi: varphi(x) [B, R, H, W], of the centre; the clique product takes it at every
            place of the window.
        psi: psi(x) [B, R, H, W], of the window.
        kernel_size: Side K of the window, odd.
        relation: One of the three above.
        stride: Pixels from one window's centre to the next.
        dilation: Pixels from one place of a window to the next.
        padding_mode: ``"reflect"`` or ``"zeros"``, as in `aggregate`.

    Returns:
        [B, D, H_out, W_out].

    Raises:
        TypeError: Not floating-point tensors, different dtypes, sizes that are not
            integers.
        ValueError: Shapes that do not fit, an even window, an unknown relation or
            padding, a map too small to be mirrored.

    Source: section 3.2 of [zhao2020]. Chapter: exploring/patchwise.
    """
    _check_pair(phi, psi, kernel_size, stride, dilation, padding_mode)
    _check_relation(relation, PATCHWISE)
    windows = kernel.Windows(kernel_size, stride, dilation, padding_mode == "reflect")
    centre = phi[:, :, ::stride, ::stride]  # [B, R, I, J]
    if relation == "star":
        return _relate(centre, psi, windows, "dot").squeeze(1)
    nothing = torch.zeros_like(centre)
    around = _relate(nothing, psi, windows, "summation")  # [B, R, P, I, J]
    if relation == "clique":
        phis = _relate(nothing, phi, windows, "summation")
        return torch.einsum("brpij,brqij->bpqij", phis, around).flatten(1, 2)
    return torch.cat([centre, around.flatten(1, 2)], dim=1)


# Attention ----------------------------------------------------------------------------


def window_coordinates(
    height: int,
    width: int,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "2 H W"]:
    """Coordinates of the pixels, each axis from -1 to 1: column x first, then row y.

    Args:
        height: H.
        width: W.
        device: Where to put them.
        dtype: Their dtype.

    Raises:
        TypeError: Sizes that are not integers.
        ValueError: A size below 1.

    Source: section 3.1 of [zhao2020]. Chapter: exploring/pairwise.
    """
    check_positive(height=height, width=width)
    y = torch.linspace(-1, 1, height, device=device, dtype=dtype)
    x = torch.linspace(-1, 1, width, device=device, dtype=dtype)
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])


def _check_position(position: Tensor | None, phi: Tensor) -> None:
    if position is None:
        return
    check_tensor(position, "position", "P H W")
    check_same_kind(phi=phi, position=position)
    if position.shape[1:] != phi.shape[2:]:
        raise ValueError(
            f"position [P, H, W] must have the map of phi [B, R, H, W], got "
            f"{shape_of(position)}, {shape_of(phi)}"
        )


def _check_mapped(found: object, wanted: list[int], what: str) -> None:
    """Refuse what a gamma returned; -1 stands for any length."""
    if not isinstance(found, Tensor):
        got = type(found).__name__
        raise TypeError(f"gamma must return {what} as a tensor, got {got}")
    pairs = zip(found.shape, wanted, strict=False)
    if found.ndim != len(wanted) or any(w not in (-1, f) for f, w in pairs):
        text = str(wanted).replace("-1", "G")
        raise ValueError(f"gamma must return {what} {text}, got {shape_of(found)}")


def _windows_last(weights: Tensor, kernel_size: int) -> Tensor:
    """[B, G, P, I, J] -> [B, G, I, J, K, K]."""
    places = kernel_size, kernel_size
    return torch.unflatten(weights, 2, places).permute(0, 1, 4, 5, 2, 3)


def pairwise_attention_loop(
    phi: Float[Tensor, "B R H W"],
    psi: Float[Tensor, "B R H W"],
    beta: Float[Tensor, "B C H W"],
    gamma: Gamma,
    kernel_size: int,
    relation: Pairwise = "subtraction",
    *,
    position: Float[Tensor, "P H W"] | None = None,
    stride: int = 1,
    dilation: int = 1,
    padding_mode: Padding = "reflect",
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Pairwise attention, one pixel and one place of its window at a time.

    Same arguments, result and errors as `pairwise_attention`, of which it is the
    oracle. Here gamma sees one vector a time, as [B, D, 1, 1].
    """
    _check_pair(phi, psi, kernel_size, stride, dilation, padding_mode)
    _check_relation(relation, PAIRWISE)
    _check_values(beta, phi)
    _check_position(position, phi)
    B, C = beta.shape[:2]
    rows, cols = _centres(phi, stride)
    columns, maps = [], []
    for i in rows:
        for j in cols:
            logits, values = [], []
            for place in _places(i, j, psi, kernel_size, dilation, padding_mode):
                delta = _relation_of_two(phi[:, :, i, j], _pixel(psi, place), relation)
                if position is not None:
                    offset = position[None, :, i, j] - _pixel(position[None], place)
                    delta = torch.cat([delta, offset.expand(B, -1)], dim=1)
                logit = gamma(delta[:, :, None, None])
                _check_mapped(logit, [B, -1, 1, 1], "logits")
                logits.append(logit[:, :, 0, 0])  # [B, G]
                values.append(_pixel(beta, place))  # [B, C]
            weights = torch.softmax(torch.stack(logits, dim=-1), dim=-1)  # [B, G, P]
            G = weights.shape[1]
            _check_groups(C, G)
            y_ij = []
            for c in range(C):
                total = beta.new_zeros(B)
                for p, value in enumerate(values):
                    total = total + weights[:, c % G, p] * value[:, c]
                y_ij.append(total)
            columns.append(torch.stack(y_ij, dim=-1))  # [B, C]
            maps.append(weights)
    y = _assemble(columns, phi, stride)
    weights = _assemble(maps, phi, stride)
    return (y, _windows_last(weights, kernel_size)) if return_attention else y


def pairwise_attention(
    phi: Float[Tensor, "B R H W"],
    psi: Float[Tensor, "B R H W"],
    beta: Float[Tensor, "B C H W"],
    gamma: Gamma,
    kernel_size: int,
    relation: Pairwise = "subtraction",
    *,
    position: Float[Tensor, "P H W"] | None = None,
    stride: int = 1,
    dilation: int = 1,
    padding_mode: Padding = "reflect",
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Pairwise self-attention: vector weights from pairs of pixels.

    .. math:: y_i = \sum_{j \in \mathcal{R}(i)} \operatorname{softmax}_j\!\left(
        \gamma\!\left([\delta(x_i, x_j),\, p_i - p_j]\right)\right) \odot \beta(x_j)

    A set operation: without ``position`` the order of the window's pixels does not
    matter, and each weight depends on the two pixels and the softmax only.

    Args:
        phi: Features of the centre, varphi(x) [B, R, H, W].
        psi: Features of the neighbours, psi(x) [B, R, H, W].
        beta: Values beta(x) [B, C, H, W].
        gamma: Maps relations to logits, each vector by itself: it gets
            [B, D + P, K*K, H_out*W_out] and returns [B, G, K*K, H_out*W_out], where G
            divides C. For example two 1x1 convolutions with a ReLU between them.
        kernel_size: Side K of the window, odd.
        relation: One of the five of `pairwise_relation`, with D channels.
        position: p [P, H, W]; its differences join the relation. None leaves it out.
        stride: Pixels from one window's centre to the next.
        dilation: Pixels from one place of a window to the next.
        padding_mode: ``"reflect"`` or ``"zeros"``, as in `aggregate`.
        return_attention: Also return the weights.

    Returns:
        y [B, C, H_out, W_out], or (y, attention [B, G, H_out, W_out, K, K]).

    Raises:
        TypeError: Not floating-point tensors, different dtypes, sizes that are not
            integers.
        ValueError: Shapes that do not fit, an even window, an unknown relation or
            padding, a map too small to be mirrored, a gamma of another shape.

    Differences from the paper: the softmax over the window and the interleaved groups
    are the official code's.

    Source: section 3.1 of [zhao2020]. Chapter: exploring/pairwise.
    """
    options = stride, dilation, padding_mode
    _check_pair(phi, psi, kernel_size, *options)
    _check_values(beta, phi)
    _check_position(position, phi)
    delta = pairwise_relation(phi, psi, kernel_size, relation, *options)
    if position is not None:
        p = position[None]
        offset = pairwise_relation(p, p, kernel_size, "subtraction", *options)
        delta = torch.cat([delta, offset.expand(phi.shape[0], -1, -1, -1, -1)], dim=1)
    B, _, P, rows, cols = delta.shape
    logits = gamma(delta.flatten(3))  # [B, G, P, I*J]
    _check_mapped(logits, [B, -1, P, rows * cols], "logits")
    _check_groups(beta.shape[1], logits.shape[1])
    weights = torch.softmax(logits, dim=2).to(beta.dtype).unflatten(3, (rows, cols))
    y = aggregate(weights, beta, kernel_size, *options)
    return (y, _windows_last(weights, kernel_size)) if return_attention else y


def patchwise_attention_loop(
    phi: Float[Tensor, "B R H W"],
    psi: Float[Tensor, "B R H W"],
    beta: Float[Tensor, "B C H W"],
    gamma: Gamma,
    kernel_size: int,
    relation: Patchwise = "concatenation",
    *,
    stride: int = 1,
    dilation: int = 1,
    padding_mode: Padding = "reflect",
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Patchwise attention, one window at a time.

    Same arguments, result and errors as `patchwise_attention`, of which it is the
    oracle. Here gamma sees one vector a time, as [B, D, 1, 1].
    """
    _check_pair(phi, psi, kernel_size, stride, dilation, padding_mode)
    _check_relation(relation, PATCHWISE)
    _check_values(beta, phi)
    B, C = beta.shape[:2]
    rows, cols = _centres(phi, stride)
    columns, maps = [], []
    for i in rows:
        for j in cols:
            places = list(_places(i, j, psi, kernel_size, dilation, padding_mode))
            delta = _relation_of_window(phi, psi, (i, j), places, relation)  # [B, D]
            weights = gamma(delta[:, :, None, None])
            _check_patch_weights(weights, [B, -1, 1, 1], kernel_size)
            weights = weights[:, :, 0, 0].unflatten(1, (-1, kernel_size**2))
            G = weights.shape[1]  # [B, G, P]
            _check_groups(C, G)
            y_ij = []
            for c in range(C):
                total = beta.new_zeros(B)
                for p, place in enumerate(places):
                    total = total + weights[:, c % G, p] * _pixel(beta, place)[:, c]
                y_ij.append(total)
            columns.append(torch.stack(y_ij, dim=-1))  # [B, C]
            maps.append(weights)
    y = _assemble(columns, phi, stride)
    weights = _assemble(maps, phi, stride)
    return (y, _windows_last(weights, kernel_size)) if return_attention else y


def _check_patch_weights(weights: Tensor, wanted: list[int], kernel_size: int) -> None:
    _check_mapped(weights, wanted, "weights, G a multiple of K*K,")
    check_divisible("channels of gamma", weights.shape[1], "K*K", kernel_size**2)


def patchwise_attention(
    phi: Float[Tensor, "B R H W"],
    psi: Float[Tensor, "B R H W"],
    beta: Float[Tensor, "B C H W"],
    gamma: Gamma,
    kernel_size: int,
    relation: Patchwise = "concatenation",
    *,
    stride: int = 1,
    dilation: int = 1,
    padding_mode: Padding = "reflect",
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Patchwise self-attention: the weights of a window from the window as a whole.

    .. math:: y_i = \sum_{j \in \mathcal{R}(i)} \gamma\!\left(
        \delta(x_{\mathcal{R}(i)})\right)_j \odot \beta(x_j)

    No longer a set operation: the weight of a place may depend on what stands at every
    other place. There is no softmax, and position needs no features of its own.

    Args:
        phi: Features of the centre, varphi(x) [B, R, H, W].
        psi: Features of the window, psi(x) [B, R, H, W].
        beta: Values beta(x) [B, C, H, W].
        gamma: Maps relations to weights, each vector by itself: it gets
            [B, D, 1, H_out*W_out] and returns [B, G*K*K, 1, H_out*W_out], where G
            divides C; channel ``g * K*K + j`` is the weight of group g at place j.
        kernel_size: Side K of the window, odd.
        relation: One of the three of `patchwise_relation`, with D channels.
        stride: Pixels from one window's centre to the next.
        dilation: Pixels from one place of a window to the next.
        padding_mode: ``"reflect"`` or ``"zeros"``, as in `aggregate`.
        return_attention: Also return the weights.

    Returns:
        y [B, C, H_out, W_out], or (y, attention [B, G, H_out, W_out, K, K]).

    Raises:
        TypeError: Not floating-point tensors, different dtypes, sizes that are not
            integers.
        ValueError: Shapes that do not fit, an even window, an unknown relation or
            padding, a map too small to be mirrored, a gamma of another shape.

    Differences from the paper: the interleaved groups are the official code's.

    Source: section 3.2 of [zhao2020]. Chapter: exploring/patchwise.
    """
    options = stride, dilation, padding_mode
    _check_pair(phi, psi, kernel_size, *options)
    _check_values(beta, phi)
    delta = patchwise_relation(phi, psi, kernel_size, relation, *options)
    B, _, rows, cols = delta.shape
    weights = gamma(delta.flatten(2)[:, :, None])  # [B, G*P, 1, I*J]
    _check_patch_weights(weights, [B, -1, 1, rows * cols], kernel_size)
    weights = weights.reshape(B, -1, kernel_size**2, rows, cols).to(beta.dtype)
    _check_groups(beta.shape[1], weights.shape[1])
    y = aggregate(weights, beta, kernel_size, *options)
    return (y, _windows_last(weights, kernel_size)) if return_attention else y


def _concatenation_hidden(
    phi: Tensor,
    psi: Tensor,
    norm: nn.BatchNorm2d,
    linear: nn.Conv2d,
    windows: kernel.Windows,
) -> Tensor:
    """``linear(relu(norm(delta)))`` of the patchwise concatenation: [B, M, I, J].

    The relation has a copy of psi for each place of the window; here none is made. The
    norm's channels fall into those of phi and those of psi, and so does the linear map.
    """
    w, R, s = windows, phi.shape[1], windows.stride
    options = w.kernel_size, w.stride, w.dilation, w.reflect
    matrix = linear.weight.flatten(1)  # [M, R + R*P]
    centre = phi[:, :, ::s, ::s]
    scale, shift = _fold_norm(norm, centre, psi, options)
    phi_part = centre * scale[:R, None, None] + shift[:R, None, None]
    y = F.conv2d(phi_part.relu().to(phi.dtype), matrix[:, :R, None, None].to(phi.dtype))
    places = (-1, w.kernel_size**2)
    psi_part: Tensor = patches.window_linear(
        psi,
        scale[R:].unflatten(0, places),
        shift[R:].unflatten(0, places),
        matrix[:, R:].unflatten(1, places).to(scale.dtype),
        *options,
    )
    return y + psi_part


def _fold_norm(
    norm: nn.BatchNorm2d,
    centre: Tensor,
    psi: Tensor,
    options: tuple[int, int, int, bool],
) -> tuple[Tensor, Tensor]:
    """Scale and shift of each channel of the concatenation; statistics move along."""
    dtype = working_dtype(psi.dtype)
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    if norm.training:
        of_phi = torch.var_mean(centre.to(dtype), dim=(0, 2, 3), correction=0)
        of_psi = patches.window_moments(psi, *options)
        count = centre[:, 0].numel()
        fresh = torch.cat([of_phi[1], of_psi[0].flatten()])
        spread = torch.cat([of_phi[0], of_psi[1].flatten()])
        with torch.no_grad():
            assert norm.momentum is not None
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
            mean.lerp_(fresh.to(mean.dtype), norm.momentum)
            unbiased = spread * (count / (count - 1))
            variance.lerp_(unbiased.to(variance.dtype), norm.momentum)
        mean, variance = fresh, spread
    else:  # a later step of training changes them in place
        mean, variance = mean.clone(), variance.clone()
    scale = norm.weight.to(dtype) * (variance.to(dtype) + norm.eps).rsqrt()
    return scale, norm.bias.to(dtype) - mean.to(dtype) * scale


def _as_built(gamma: nn.Module) -> tuple[nn.BatchNorm2d, nn.Conv2d] | None:
    """Norm and linear map, if they are layers `_concatenation_hidden` can stand for.

    A layer of another kind, or one that somebody watches with a hook, must really run.
    """
    if type(gamma) is not nn.Sequential or len(gamma) < 3:
        return None
    norm, relu, linear = gamma[0], gamma[1], gamma[2]
    if type(relu) is not nn.ReLU or any(map(_is_watched, (gamma, norm, relu, linear))):
        return None
    if type(norm) is not nn.BatchNorm2d or type(linear) is not nn.Conv2d:
        return None
    usual = norm.affine and norm.track_running_stats and norm.momentum is not None
    pointwise = (
        linear.bias is None
        and linear.groups == 1
        and tuple(linear.kernel_size) == tuple(linear.stride) == (1, 1)
        and tuple(linear.padding) == (0, 0)
    )
    return (norm, linear) if usual and pointwise else None


def _is_watched(layer: nn.Module) -> bool:
    """Whether the layer has a hook, or a forward put in place of its own."""
    own = vars(layer)
    hooks = any(value for name, value in own.items() if name.endswith("_hooks"))
    return hooks or "forward" in own


# Modules ------------------------------------------------------------------------------


def _gamma(width: int, hidden: int, out: int) -> nn.Sequential:
    """Norm, ReLU, linear, norm, ReLU, linear, over the vectors of [B, D, n, m]."""
    return nn.Sequential(
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, hidden, 1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, out, 1),
    )


class _WindowAttention2d(nn.Module):
    """What both kinds of attention share: three projections and the sizes."""

    def __init__(
        self,
        in_channels: int,
        relation_channels: int,
        out_channels: int,
        kernel_size: int,
        share: int,
        stride: int,
        dilation: int,
        relation: str,
    ) -> None:
        super().__init__()
        check_positive(
            in_channels=in_channels,
            relation_channels=relation_channels,
            out_channels=out_channels,
            share=share,
        )
        _check_window(kernel_size, stride, dilation, "reflect")
        check_divisible("out_channels", out_channels, "share", share)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.relation_channels, self.share = relation_channels, share
        self.kernel_size, self.stride = kernel_size, stride
        self.dilation, self.relation = dilation, relation
        self.phi = nn.Conv2d(in_channels, relation_channels, 1)
        self.psi = nn.Conv2d(in_channels, relation_channels, 1)
        self.beta = nn.Conv2d(in_channels, out_channels, 1)

    @property
    def groups(self) -> int:
        """Weights of one place: out_channels / share."""
        return self.out_channels // self.share

    def _check_input(self, x: Tensor) -> None:
        _check_mirrored(x, "x", self.kernel_size, self.dilation, "reflect")
        check_map(x, self.in_channels)

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return (
            f"{self.in_channels}, {self.relation_channels}, {self.out_channels}, "
            f"kernel_size={self.kernel_size}, share={self.share}, "
            f"stride={self.stride}, dilation={self.dilation}, "
            f"relation={self.relation!r}"
        )


class PairwiseAttention2d(_WindowAttention2d):
    r"""Pairwise self-attention of SAN, with learned projections, gamma and positions.

    .. math:: \varphi, \psi, \beta = \text{1x1 convolutions}, \quad
        \gamma = \text{Linear} \circ \text{ReLU} \circ \text{Norm} \circ
        \text{Linear} \circ \text{ReLU} \circ \text{Norm}

    Positions are coordinates in [-1, 1] (x, y) under a learned 2 x 2 map; a mirrored
    neighbour has the position of the pixel it mirrors. The hidden width of gamma is
    ``relation_channels``. Its norms count every pair of a pixel and a neighbour.

    Args:
        in_channels: Channels of the input.
        relation_channels: R, channels of varphi and psi.
        out_channels: C, channels of beta and of the output.
        kernel_size: Side K of the window, odd.
        share: Channels that share a weight; there are C / share groups, and channel c
            belongs to group c % (C / share).
        stride: Pixels from one window's centre to the next.
        dilation: Pixels from one place of a window to the next.
        relation: ``"summation"``, ``"subtraction"``, ``"concatenation"``,
            ``"hadamard"`` or ``"dot"``.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A share that does not divide out_channels, an even window, an
            unknown relation.

    Differences from the paper: its gamma is Linear, ReLU, Linear; the norms, and the
    ReLU before the first Linear, are the official code's. That code has the relation
    ``"subtraction"`` only, and with it this module equals it; for the other four, gamma
    is the same with the input width of their relation, which is our reading.

    Source: sections 3.1 and 4 of [zhao2020]. Chapter: exploring/pairwise.

    Example:
        >>> import torch
        >>> layer = PairwiseAttention2d(16, 4, 32, kernel_size=3)
        >>> y, attention = layer(torch.zeros(2, 16, 5, 6), return_attention=True)
        >>> y.shape, attention.shape
        (torch.Size([2, 32, 5, 6]), torch.Size([2, 4, 5, 6, 3, 3]))
    """

    relation: Pairwise

    def __init__(
        self,
        in_channels: int,
        relation_channels: int,
        out_channels: int,
        kernel_size: int,
        share: int = 8,
        stride: int = 1,
        dilation: int = 1,
        relation: Pairwise = "subtraction",
    ) -> None:
        _check_relation(relation, PAIRWISE)
        super().__init__(
            in_channels,
            relation_channels,
            out_channels,
            kernel_size,
            share,
            stride,
            dilation,
            relation,
        )
        R = relation_channels
        width = {"concatenation": 2 * R, "dot": 1}.get(relation, R)
        self.position = nn.Conv2d(2, 2, 1)
        self.gamma = _gamma(width + 2, R, self.groups)

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend over the window of each pixel.

        Args:
            x: Map [B, in_channels, H, W], larger than the mirrored border.
            return_attention: Also return the weights.

        Returns:
            y [B, out_channels, H_out, W_out], H_out = ceil(H / stride), or (y,
            attention [B, out_channels / share, H_out, W_out, K, K]). The weights of a
            window sum to 1.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, a map too small to be mirrored.
        """
        self._check_input(x)
        coordinates = window_coordinates(*x.shape[2:], device=x.device, dtype=x.dtype)
        return pairwise_attention(
            self.phi(x),
            self.psi(x),
            self.beta(x),
            self.gamma,
            self.kernel_size,
            self.relation,
            position=self.position(coordinates[None])[0],
            stride=self.stride,
            dilation=self.dilation,
            return_attention=return_attention,
        )


class PatchwiseAttention2d(_WindowAttention2d):
    r"""Patchwise self-attention of SAN, with learned projections and gamma.

    .. math:: \varphi, \psi, \beta = \text{1x1 convolutions}, \quad
        \gamma = \text{Linear} \circ \text{ReLU} \circ \text{Norm} \circ
        \text{Linear} \circ \text{ReLU} \circ \text{Norm}

    No softmax and no positions. The hidden width of gamma is ``out_channels / share``.

    Args:
        in_channels: Channels of the input.
        relation_channels: R, channels of varphi and psi.
        out_channels: C, channels of beta and of the output.
        kernel_size: Side K of the window, odd.
        share: Channels that share a weight; there are C / share groups, and channel c
            belongs to group c % (C / share).
        stride: Pixels from one window's centre to the next.
        dilation: Pixels from one place of a window to the next.
        relation: ``"star"``, ``"clique"`` or ``"concatenation"``.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A share that does not divide out_channels, an even window, an
            unknown relation.

    Differences from the paper: its gamma is Linear, ReLU, Linear; the norms, and the
    ReLU before the first Linear, are the official code's. That code has the relation
    ``"concatenation"`` only, and with it this module equals it at dilation 1; for the
    other two, gamma is the same with the input width of their relation, which is our
    reading. At a larger dilation the official code pads the relation by K//2 pixels and
    the values by dilation * (K//2), which do not fit; here both are the latter.

    Source: sections 3.2 and 4 of [zhao2020]. Chapter: exploring/patchwise.

    Example:
        >>> import torch
        >>> layer = PatchwiseAttention2d(16, 4, 32, kernel_size=3)
        >>> y, attention = layer(torch.zeros(2, 16, 5, 6), return_attention=True)
        >>> y.shape, attention.shape
        (torch.Size([2, 32, 5, 6]), torch.Size([2, 4, 5, 6, 3, 3]))
    """

    relation: Patchwise

    def __init__(
        self,
        in_channels: int,
        relation_channels: int,
        out_channels: int,
        kernel_size: int,
        share: int = 8,
        stride: int = 1,
        dilation: int = 1,
        relation: Patchwise = "concatenation",
    ) -> None:
        _check_relation(relation, PATCHWISE)
        super().__init__(
            in_channels,
            relation_channels,
            out_channels,
            kernel_size,
            share,
            stride,
            dilation,
            relation,
        )
        R, P = relation_channels, kernel_size**2
        width = {"star": P, "clique": P * P}.get(relation, R * (P + 1))
        self.gamma = _gamma(width, self.groups, self.groups * P)

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend over the window of each pixel.

        Args:
            x: Map [B, in_channels, H, W], larger than the mirrored border.
            return_attention: Also return the weights.

        Returns:
            y [B, out_channels, H_out, W_out], H_out = ceil(H / stride), or (y,
            attention [B, out_channels / share, H_out, W_out, K, K]). The weights may be
            negative, and need not sum to 1.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, a map too small to be mirrored.
        """
        self._check_input(x)
        phi, psi, beta = self.phi(x), self.psi(x), self.beta(x)
        first = self._without_relation(phi)
        if first is None:
            return patchwise_attention(
                phi,
                psi,
                beta,
                self.gamma,
                self.kernel_size,
                self.relation,
                stride=self.stride,
                dilation=self.dilation,
                return_attention=return_attention,
            )
        K, s, d = self.kernel_size, self.stride, self.dilation
        hidden = _concatenation_hidden(phi, psi, *first, kernel.Windows(K, s, d))
        rows, cols = hidden.shape[2:]
        hidden = hidden.flatten(2)[:, :, None]  # [B, M, 1, I*J], as gamma is used to
        for layer in list(self.gamma)[3:]:
            hidden = layer(hidden)
        weights = hidden.reshape(len(x), -1, K * K, rows, cols).to(beta.dtype)
        y = aggregate(weights, beta, K, s, d)
        return (y, _windows_last(weights, K)) if return_attention else y

    def _without_relation(self, phi: Tensor) -> tuple[nn.BatchNorm2d, nn.Conv2d] | None:
        """The first norm and linear map, if the relation need not be made for them."""
        if self.relation != "concatenation":
            return None
        if needs_plain_form(phi, *self.parameters()):
            return None
        first = _as_built(self.gamma)
        alone = phi[:, 0, :: self.stride, :: self.stride].numel() == 1
        return None if first is None or (alone and first[0].training) else first
