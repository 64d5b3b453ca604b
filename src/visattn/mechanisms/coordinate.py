"""Coordinate attention: a gate for each row and one for each column of each channel.

Shapes: B batch, C channels, M hidden channels, H W map. Places 0 .. H-1 of the axis
H+W are rows, places H .. H+W-1 columns.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visattn.kernels.gate import gate
from visattn.mechanisms._checks import (
    check_map,
    check_positive,
    check_same_kind,
    check_tensor,
    shape_of,
)
from visattn.mechanisms._norm import batch_norm

__all__ = [
    "CoordinateAttention",
    "coordinate_attention",
    "coordinate_attention_loop",
    "coordinate_pool",
    "coordinate_pool_loop",
]


def coordinate_pool_loop(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H+W"]:
    """The two one-dimensional poolings, one pixel at a time.

    Same arguments, result and errors as `coordinate_pool`, of which it is the oracle.
    """
    check_tensor(x, "x", "B C H W")
    H, W = x.shape[2:]
    places = []
    for i in range(H):
        total = x.new_zeros(x.shape[:2])
        for j in range(W):
            total = total + x[:, :, i, j]
        places.append(total / W)
    for j in range(W):
        total = x.new_zeros(x.shape[:2])
        for i in range(H):
            total = total + x[:, :, i, j]
        places.append(total / H)
    return torch.stack(places, dim=-1)


def coordinate_pool(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H+W"]:
    r"""The mean of each row, then the mean of each column.

    .. math:: z^h_c(i) = \frac{1}{W} \sum_j x_c(i, j), \qquad
        z^w_c(j) = \frac{1}{H} \sum_i x_c(i, j)

    Args:
        x: Map [B, C, H, W].

    Returns:
        [B, C, H + W], the H rows and then the W columns.

    Raises:
        TypeError: x is not a floating-point tensor.
        ValueError: Wrong rank, an empty map.

    Source: eq. 4 and 5 of [hou2021]. Chapter: gates/coordinate.
    """
    check_tensor(x, "x", "B C H W")
    return torch.cat([x.mean(dim=3), x.mean(dim=2)], dim=2)


def _check(
    x: Tensor,
    reduce: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    **weights: Tensor,
) -> None:
    check_tensor(x, "x", "B C H W")
    check_tensor(reduce, "reduce", "M C")
    C, M = x.shape[1], reduce.shape[0]
    sizes = {"M C": [M, C], "C M": [C, M], "M": [M], "C": [C]}
    axes = dict.fromkeys(("reduce_bias", "scale", "shift", "mean", "variance"), "M")
    axes |= {"reduce": "M C", "expand_h": "C M", "expand_w": "C M"}
    axes |= {"expand_h_bias": "C", "expand_w_bias": "C"}
    tensors = {"reduce": reduce, **weights}
    if (mean is None) != (variance is None):
        raise ValueError("mean and variance must both be given or both be None")
    if mean is not None and variance is not None:
        tensors |= {"mean": mean, "variance": variance}
    for name, tensor in tensors.items():
        check_tensor(tensor, name, axes[name])
        wanted = sizes[axes[name]]
        if list(tensor.shape) != wanted:
            raise ValueError(
                f"{name} must be [{axes[name]}] = {wanted} for x {shape_of(x)}, "
                f"got {shape_of(tensor)}"
            )
    check_same_kind(x=x, **tensors)


def coordinate_attention_loop(
    x: Float[Tensor, "B C H W"],
    reduce: Float[Tensor, "M C"],
    reduce_bias: Float[Tensor, "M"],
    scale: Float[Tensor, "M"],
    shift: Float[Tensor, "M"],
    expand_h: Float[Tensor, "C M"],
    expand_h_bias: Float[Tensor, "C"],
    expand_w: Float[Tensor, "C M"],
    expand_w_bias: Float[Tensor, "C"],
    mean: Float[Tensor, "M"] | None = None,
    variance: Float[Tensor, "M"] | None = None,
    *,
    eps: float = 1e-5,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
    """Coordinate attention, one row, one column and one pixel at a time.

    Same arguments, result and errors as `coordinate_attention`, of which it is the
    oracle.
    """
    weights = {"scale": scale, "shift": shift, "reduce_bias": reduce_bias}
    weights |= {"expand_h": expand_h, "expand_h_bias": expand_h_bias}
    weights |= {"expand_w": expand_w, "expand_w_bias": expand_w_bias}
    _check(x, reduce, mean, variance, **weights)
    B, C, H, W = x.shape
    z = coordinate_pool_loop(x)

    reduced = []
    for n in range(B):
        for p in range(H + W):
            reduced.append(reduce @ z[n, :, p] + reduce_bias)
    if mean is None or variance is None:  # of rows and columns together
        mean = torch.stack(reduced).sum(0) / len(reduced)
        variance = sum(((u - mean) ** 2 for u in reduced), x.new_zeros(()))
        variance = variance / len(reduced)

    pixels, gates_h, gates_w = [], [], []
    for n in range(B):
        f = []
        for p in range(H + W):
            u = (reduced[n * (H + W) + p] - mean) / torch.sqrt(variance + eps)
            u = scale * u + shift
            f.append(u * (u + 3).clamp(0, 6) / 6)  # [M], h-swish
        g_h = [torch.sigmoid(expand_h @ f[i] + expand_h_bias) for i in range(H)]
        g_w = [torch.sigmoid(expand_w @ f[H + j] + expand_w_bias) for j in range(W)]
        for i in range(H):
            for j in range(W):
                pixels.append(x[n, :, i, j] * g_h[i] * g_w[j])
        gates_h.append(torch.stack(g_h, dim=-1))  # [C, H]
        gates_w.append(torch.stack(g_w, dim=-1))  # [C, W]
    y = torch.stack(pixels).reshape(B, H, W, C).permute(0, 3, 1, 2)
    if not return_attention:
        return y
    return y, (torch.stack(gates_h)[..., None], torch.stack(gates_w)[:, :, None])


def coordinate_attention(
    x: Float[Tensor, "B C H W"],
    reduce: Float[Tensor, "M C"],
    reduce_bias: Float[Tensor, "M"],
    scale: Float[Tensor, "M"],
    shift: Float[Tensor, "M"],
    expand_h: Float[Tensor, "C M"],
    expand_h_bias: Float[Tensor, "C"],
    expand_w: Float[Tensor, "C M"],
    expand_w_bias: Float[Tensor, "C"],
    mean: Float[Tensor, "M"] | None = None,
    variance: Float[Tensor, "M"] | None = None,
    *,
    eps: float = 1e-5,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
    r"""Weigh each pixel of a channel by the gate of its row and that of its column.

    .. math:: f = \delta\left(\mathrm{BN}(F_1 [z^h, z^w])\right), \quad
        g^h = \sigma(F_h f^h), \quad g^w = \sigma(F_w f^w), \quad
        y_c(i, j) = x_c(i, j)\, g^h_c(i)\, g^w_c(j)

    with z of `coordinate_pool` and h-swish :math:`\delta(u) = u\,
    \mathrm{ReLU6}(u + 3) / 6`. Rows and columns share F_1 and the batch norm's
    statistics.

    Args:
        x: Map [B, C, H, W].
        reduce: Weight of F_1 [M, C].
        reduce_bias: Bias of F_1 [M].
        scale: Weight of the batch norm [M].
        shift: Bias of the batch norm [M].
        expand_h: Weight of F_h [C, M].
        expand_h_bias: Bias of F_h [C].
        expand_w: Weight of F_w [C, M].
        expand_w_bias: Bias of F_w [C].
        mean: Mean of the batch norm [M]; that of this batch when None.
        variance: Its variance [M]; that of this batch when None.
        eps: Added to the variance.
        return_attention: Also return the gates.

    Returns:
        y [B, C, H, W], or (y, (g^h [B, C, H, 1], g^w [B, C, 1, W])). The product of
        the two is the gate of each pixel.

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit, a mean without a variance, different
            devices.

    Differences from the paper: its equations leave the batch norm, which stands in its
    figure of the block, and the biases out.

    Source: eq. 6 to 9 of [hou2021]. Chapter: gates/coordinate.
    """
    weights = {"scale": scale, "shift": shift, "reduce_bias": reduce_bias}
    weights |= {"expand_h": expand_h, "expand_h_bias": expand_h_bias}
    weights |= {"expand_w": expand_w, "expand_w_bias": expand_w_bias}
    _check(x, reduce, mean, variance, **weights)
    H, W = x.shape[2:]
    z = coordinate_pool(x)  # [B, C, H+W]

    f = F.conv1d(z, reduce[..., None], reduce_bias)  # [B, M, H+W]
    f = batch_norm(f, mean, variance, scale, shift, eps)
    f_h, f_w = F.hardswish(f).split([H, W], dim=2)

    g_h = torch.sigmoid(F.conv1d(f_h, expand_h[..., None], expand_h_bias))
    g_w = torch.sigmoid(F.conv1d(f_w, expand_w[..., None], expand_w_bias))
    g_h, g_w = g_h[..., :, None], g_w[..., None, :]  # [B, C, H, 1], [B, C, 1, W]
    y = gate(x, g_h, g_w)
    return (y, (g_h, g_w)) if return_attention else y


class CoordinateAttention(nn.Module):
    r"""Coordinate attention: gates for rows and columns instead of one for the map.

    .. math:: y_c(i, j) = x_c(i, j)\, g^h_c(i)\, g^w_c(j)

    Args:
        channels: C.
        reduction: r; the hidden layer has max(8, C // r) channels.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1.

    Differences from the paper: the lower bound of 8 and the biases are those of the
    official code; the batch norm stands in the paper's figure, not in its equations.

    Source: section 3.2 of [hou2021]. Chapter: gates/coordinate.

    Example:
        >>> import torch
        >>> layer = CoordinateAttention(64)
        >>> y, (rows, columns) = layer(torch.zeros(2, 64, 5, 7), True)
        >>> rows.shape, columns.shape
        (torch.Size([2, 64, 5, 1]), torch.Size([2, 64, 1, 7]))
    """

    def __init__(self, channels: int, reduction: int = 32) -> None:
        super().__init__()
        check_positive(channels=channels, reduction=reduction)
        hidden = max(8, channels // reduction)
        self.channels, self.reduction = channels, reduction
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.norm = nn.BatchNorm2d(hidden)
        self.expand_h = nn.Conv2d(hidden, channels, 1)
        self.expand_w = nn.Conv2d(hidden, channels, 1)

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """Weigh the rows and columns of a map of any size.

        Args:
            x: Map [B, channels, H, W].
            return_attention: Also return the gates.

        Returns:
            y [B, channels, H, W], or (y, (g^h [B, channels, H, 1], g^w
            [B, channels, 1, W])).

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty map.
        """
        check_map(x, self.channels, "channels")
        H, W = x.shape[2:]
        z = coordinate_pool(x)[..., None]  # [B, C, H+W, 1]
        f = F.hardswish(self.norm(self.reduce(z)))  # [B, M, H+W, 1]
        f_h, f_w = f.split([H, W], dim=2)
        g_h = torch.sigmoid(self.expand_h(f_h))  # [B, C, H, 1]
        g_w = torch.sigmoid(self.expand_w(f_w)).transpose(2, 3)  # [B, C, 1, W]
        y = gate(x, g_h, g_w)
        return (y, (g_h, g_w)) if return_attention else y

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return f"{self.channels}, reduction={self.reduction}"
