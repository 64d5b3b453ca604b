"""Channel gates: numbers between 0 and 1 that weigh the channels of a map.

Squeeze-and-excitation gates channels; CBAM gates channels, then pixels; BAM computes
both at once.

Shapes: B batch, C channels, M hidden channels, H W map, K kernel.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visattn.mechanisms._checks import (
    check_map,
    check_positive,
    check_same_kind,
    check_tensor,
    shape_of,
)
from visattn.mechanisms._norm import batch_norm

__all__ = [
    "BAM",
    "CBAM",
    "ChannelGate",
    "SpatialGate",
    "SqueezeExcitation",
    "bam_gate",
    "bam_gate_loop",
    "channel_gate",
    "channel_gate_loop",
    "spatial_gate",
    "spatial_gate_loop",
    "squeeze_excitation",
    "squeeze_excitation_loop",
]

Combine = Literal["multiply", "add"]


def _hidden(channels: int, reduction: int) -> int:
    """Hidden channels C // r, at least one."""
    check_positive(channels=channels, reduction=reduction)
    if channels < reduction:
        raise ValueError(
            "channels // reduction must be at least 1, got "
            f"channels={channels}, reduction={reduction}"
        )
    return channels // reduction


def _check_shape(x: Tensor, name: str, axes: str, wanted: list[int]) -> None:
    check_tensor(x, name, axes)
    if list(x.shape) != wanted:
        raise ValueError(f"{name} must be [{axes}] = {wanted}, got {shape_of(x)}")


def _check_perceptron(
    x: Tensor,
    reduce: Tensor,
    reduce_bias: Tensor | None,
    expand: Tensor,
    expand_bias: Tensor | None,
) -> None:
    """Refuse weights that are not two linear layers C -> M -> C."""
    check_tensor(x, "x", "B C H W")
    check_tensor(reduce, "reduce", "M C")
    C, M = x.shape[1], reduce.shape[0]
    tensors = {"x": x, "reduce": reduce, "expand": expand}
    _check_shape(reduce, "reduce", "M C", [M, C])
    _check_shape(expand, "expand", "C M", [C, M])
    if reduce_bias is not None:
        _check_shape(reduce_bias, "reduce_bias", "M", [M])
        tensors["reduce_bias"] = reduce_bias
    if expand_bias is not None:
        _check_shape(expand_bias, "expand_bias", "C", [C])
        tensors["expand_bias"] = expand_bias
    check_same_kind(**tensors)


def _perceptron_loop(
    z: Tensor,
    reduce: Tensor,
    reduce_bias: Tensor | None,
    expand: Tensor,
    expand_bias: Tensor | None,
) -> list[Tensor]:
    """Two linear layers with a ReLU between, one number at a time: z [C] -> C."""
    M, C = reduce.shape
    hidden = []
    for m in range(M):
        u = z.new_zeros(()) if reduce_bias is None else reduce_bias[m]
        for c in range(C):
            u = u + reduce[m, c] * z[c]
        hidden.append(torch.relu(u))
    outputs = []
    for c in range(C):
        u = z.new_zeros(()) if expand_bias is None else expand_bias[c]
        for m in range(M):
            u = u + expand[c, m] * hidden[m]
        outputs.append(u)
    return outputs


# Squeeze-and-excitation --------------------------------------------------------------


def squeeze_excitation_loop(
    x: Float[Tensor, "B C H W"],
    reduce: Float[Tensor, "M C"],
    reduce_bias: Float[Tensor, "M"] | None,
    expand: Float[Tensor, "C M"],
    expand_bias: Float[Tensor, "C"] | None,
    *,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Squeeze-and-excitation, one image, one channel and one pixel at a time.

    Same arguments, result and errors as `squeeze_excitation`, of which it is the
    oracle.
    """
    _check_perceptron(x, reduce, reduce_bias, expand, expand_bias)
    B, C, H, W = x.shape
    outputs, gates = [], []
    for n in range(B):
        squeezed = []
        for c in range(C):
            total = x.new_zeros(())
            for i in range(H):
                for j in range(W):
                    total = total + x[n, c, i, j]
            squeezed.append(total / (H * W))
        z = torch.stack(squeezed)
        weights = (reduce, reduce_bias, expand, expand_bias)
        for c, logit in enumerate(_perceptron_loop(z, *weights)):
            gate = 1 / (1 + torch.exp(-logit))
            gates.append(gate)
            outputs.append(gate * x[n, c])
    y = torch.stack(outputs).reshape(B, C, H, W)
    gate = torch.stack(gates).reshape(B, C, 1, 1)
    return (y, gate) if return_attention else y


def squeeze_excitation(
    x: Float[Tensor, "B C H W"],
    reduce: Float[Tensor, "M C"],
    reduce_bias: Float[Tensor, "M"] | None,
    expand: Float[Tensor, "C M"],
    expand_bias: Float[Tensor, "C"] | None,
    *,
    return_attention: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Weigh each channel by a gate that is computed from all channel means.

    .. math:: z_c = \frac{1}{HW} \sum_{i,j} x_{cij}, \qquad
        s = \sigma(W_2\, \operatorname{ReLU}(W_1 z + b_1) + b_2), \qquad
        y_{cij} = s_c\, x_{cij}

    Args:
        x: Map [B, C, H, W].
        reduce: W_1 [M, C].
        reduce_bias: b_1 [M], or None for zero.
        expand: W_2 [C, M].
        expand_bias: b_2 [C], or None for zero.
        return_attention: Also return the gates.

    Returns:
        y [B, C, H, W], or (y, gate [B, C, 1, 1]).

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit, different devices.

    Differences from the paper: its formula has no biases; the official network has
    them.

    Source: eq. 2 to 4 of [hu2018]. Chapter: gates/gates.
    """
    _check_perceptron(x, reduce, reduce_bias, expand, expand_bias)
    z = x.mean(dim=(2, 3))  # [B, C]
    hidden = F.relu(F.linear(z, reduce, reduce_bias))  # [B, M]
    gate = torch.sigmoid(F.linear(hidden, expand, expand_bias))  # [B, C]
    gate = gate[:, :, None, None]  # [B, C, 1, 1]
    y = x * gate
    return (y, gate) if return_attention else y


class SqueezeExcitation(nn.Module):
    r"""Squeeze-and-excitation: a gate for each channel from the means of all channels.

    .. math:: s = \sigma(W_2\, \operatorname{ReLU}(W_1 z + b_1) + b_2), \qquad
        y_{cij} = s_c\, x_{cij}

    Args:
        channels: C.
        reduction: r; the hidden layer has C // r channels.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1, or fewer channels than the reduction.

    Differences from the paper: `squeeze_excitation`.

    Source: section 3 of [hu2018]. Chapter: gates/gates.

    Example:
        >>> import torch
        >>> y, gate = SqueezeExcitation(32)(torch.zeros(2, 32, 5, 7), True)
        >>> y.shape, gate.shape
        (torch.Size([2, 32, 5, 7]), torch.Size([2, 32, 1, 1]))
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = _hidden(channels, reduction)
        self.channels, self.reduction = channels, reduction
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Weigh the channels of a map of any size.

        Args:
            x: Map [B, channels, H, W].
            return_attention: Also return the gates.

        Returns:
            y [B, channels, H, W], or (y, gate [B, channels, 1, 1]).

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty map.
        """
        check_map(x, self.channels, "channels")
        z = x.mean(dim=(2, 3))  # [B, C]
        gate = torch.sigmoid(self.expand(F.relu(self.reduce(z))))
        gate = gate[:, :, None, None]  # [B, C, 1, 1]
        y = x * gate
        return (y, gate) if return_attention else y

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return f"{self.channels}, reduction={self.reduction}"


# CBAM: channels, then pixels ---------------------------------------------------------


def channel_gate_loop(
    x: Float[Tensor, "B C H W"],
    reduce: Float[Tensor, "M C"],
    reduce_bias: Float[Tensor, "M"] | None,
    expand: Float[Tensor, "C M"],
    expand_bias: Float[Tensor, "C"] | None,
) -> Float[Tensor, "B C 1 1"]:
    """The channel gate of CBAM, one image and one channel at a time.

    Same arguments, result and errors as `channel_gate`, of which it is the oracle.
    """
    _check_perceptron(x, reduce, reduce_bias, expand, expand_bias)
    B, C, H, W = x.shape
    gates = []
    for n in range(B):
        means, maxima = [], []
        for c in range(C):
            pixels = [x[n, c, i, j] for i in range(H) for j in range(W)]
            means.append(torch.stack(pixels).sum() / (H * W))
            maxima.append(torch.stack(pixels).max())
        weights = (reduce, reduce_bias, expand, expand_bias)
        from_means = _perceptron_loop(torch.stack(means), *weights)
        from_maxima = _perceptron_loop(torch.stack(maxima), *weights)
        for a, b in zip(from_means, from_maxima, strict=True):
            gates.append(1 / (1 + torch.exp(-(a + b))))
    return torch.stack(gates).reshape(B, C, 1, 1)


def channel_gate(
    x: Float[Tensor, "B C H W"],
    reduce: Float[Tensor, "M C"],
    reduce_bias: Float[Tensor, "M"] | None,
    expand: Float[Tensor, "C M"],
    expand_bias: Float[Tensor, "C"] | None,
) -> Float[Tensor, "B C 1 1"]:
    r"""The channel gate of CBAM: one perceptron sees the means and the maxima.

    .. math:: M_c = \sigma\left(\mathrm{MLP}(\operatorname{mean}_{ij} x)
        + \mathrm{MLP}(\max_{ij} x)\right), \qquad
        \mathrm{MLP}(z) = W_2 \operatorname{ReLU}(W_1 z + b_1) + b_2

    Args:
        x: Map [B, C, H, W].
        reduce: W_1 [M, C].
        reduce_bias: b_1 [M], or None for zero.
        expand: W_2 [C, M].
        expand_bias: b_2 [C], or None for zero. It counts twice.

    Returns:
        The gate [B, C, 1, 1].

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit, different devices.

    Differences from the paper: the biases, which the official code has.

    Source: eq. 2 of [woo2018]. Chapter: gates/gates.
    """
    _check_perceptron(x, reduce, reduce_bias, expand, expand_bias)
    pooled = torch.stack([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))])  # [2, B, C]
    hidden = F.relu(F.linear(pooled, reduce, reduce_bias))  # [2, B, M]
    logits = F.linear(hidden, expand, expand_bias).sum(dim=0)  # [B, C]
    return torch.sigmoid(logits)[:, :, None, None]  # [B, C, 1, 1]


def _check_spatial(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
) -> None:
    check_tensor(x, "x", "B C H W")
    check_tensor(weight, "weight", "1 2 K K")
    K = weight.shape[-1]
    if K % 2 == 0:
        raise ValueError(f"the kernel of weight must be odd, got {shape_of(weight)}")
    _check_shape(weight, "weight", "1 2 K K", [1, 2, K, K])
    tensors = {"x": x, "weight": weight, "scale": scale, "shift": shift}
    if (mean is None) != (variance is None):
        raise ValueError("mean and variance must both be given or both be None")
    if mean is not None and variance is not None:
        tensors |= {"mean": mean, "variance": variance}
    for name in list(tensors)[2:]:
        _check_shape(tensors[name], name, "1", [1])
    check_same_kind(**tensors)


def spatial_gate_loop(
    x: Float[Tensor, "B C H W"],
    weight: Float[Tensor, "1 2 K K"],
    scale: Float[Tensor, "1"],
    shift: Float[Tensor, "1"],
    mean: Float[Tensor, "1"] | None = None,
    variance: Float[Tensor, "1"] | None = None,
    *,
    eps: float = 1e-5,
) -> Float[Tensor, "B 1 H W"]:
    """The spatial gate of CBAM, one pixel and one kernel place at a time.

    Same arguments, result and errors as `spatial_gate`, of which it is the oracle.
    """
    _check_spatial(x, weight, scale, shift, mean, variance)
    B, C, H, W = x.shape
    K = weight.shape[-1]
    sums = []
    for n in range(B):
        for i in range(H):
            for j in range(W):
                u = x.new_zeros(())
                for a in range(K):
                    for b in range(K):
                        row, column = i + a - K // 2, j + b - K // 2
                        if not (0 <= row < H and 0 <= column < W):
                            continue  # outside the image: a zero
                        pixel = x[n, :, row, column]
                        u = u + weight[0, 0, a, b] * pixel.max()
                        u = u + weight[0, 1, a, b] * pixel.sum() / C
                sums.append(u)
    u = torch.stack(sums)
    if mean is None or variance is None:
        mean = u.sum() / len(sums)
        variance = ((u - mean) ** 2).sum() / len(sums)
    logits = scale * (u - mean) / torch.sqrt(variance + eps) + shift
    return (1 / (1 + torch.exp(-logits))).reshape(B, 1, H, W)


def spatial_gate(
    x: Float[Tensor, "B C H W"],
    weight: Float[Tensor, "1 2 K K"],
    scale: Float[Tensor, "1"],
    shift: Float[Tensor, "1"],
    mean: Float[Tensor, "1"] | None = None,
    variance: Float[Tensor, "1"] | None = None,
    *,
    eps: float = 1e-5,
) -> Float[Tensor, "B 1 H W"]:
    r"""The spatial gate of CBAM: a convolution sees the channels' maximum and mean.

    .. math:: M_s = \sigma\left(\mathrm{BN}\left(f^{K \times K}\left(
        [\max_c x;\ \operatorname{mean}_c x]\right)\right)\right)

    Args:
        x: Map [B, C, H, W].
        weight: Kernel of f [1, 2, K, K], K odd. Plane 0 meets the maximum, plane 1 the
            mean.
        scale: Weight of the batch norm [1].
        shift: Bias of the batch norm [1].
        mean: Mean of the batch norm [1]; that of this batch when None.
        variance: Its variance [1]; that of this batch when None.
        eps: Added to the variance.

    Returns:
        The gate [B, 1, H, W].

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit, an even kernel, a mean without a variance,
            different devices.

    One pixel in all has no variance: without a given mean it is refused by PyTorch.

    Differences from the paper: its formula puts the mean first and has no batch norm;
    the official code puts the maximum first and has one.

    Source: eq. 3 of [woo2018]. Chapter: gates/gates.
    """
    _check_spatial(x, weight, scale, shift, mean, variance)
    pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
    u = F.conv2d(pooled, weight, padding=weight.shape[-1] // 2)  # [B, 1, H, W]
    return torch.sigmoid(batch_norm(u, mean, variance, scale, shift, eps))


class ChannelGate(nn.Module):
    """The channel gate of CBAM as a module: `channel_gate` with its weights.

    Args:
        channels: C.
        reduction: r; the hidden layer has C // r channels.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1, or fewer channels than the reduction.

    Source: eq. 2 of [woo2018]. Chapter: gates/gates.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = _hidden(channels, reduction)
        self.channels = channels
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C 1 1"]:
        """The gate, not yet multiplied.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty map.
        """
        check_map(x, self.channels, "channels")
        pooled = torch.stack([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))])  # [2, B, C]
        logits = self.expand(F.relu(self.reduce(pooled))).sum(dim=0)  # [B, C]
        return torch.sigmoid(logits)[:, :, None, None]


class SpatialGate(nn.Module):
    """The spatial gate of CBAM as a module: `spatial_gate` with its weights.

    Args:
        kernel_size: Side K of the convolution, odd.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1 or even.

    Source: eq. 3 of [woo2018]. Chapter: gates/gates.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        check_positive(kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(1, eps=1e-5, momentum=0.01)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
        """The gate, not yet multiplied.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank, an empty map.
        """
        check_tensor(x, "x", "B C H W")
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return torch.sigmoid(self.norm(self.conv(pooled)))


class CBAM(nn.Module):
    r"""Convolutional block attention module: gate the channels, then the pixels.

    .. math:: x' = M_c(x)\, x, \qquad y = M_s(x')\, x'

    The spatial gate sees the map that the channel gate has weighed.

    Args:
        channels: C.
        reduction: r; the hidden layer of the channel gate has C // r channels.
        kernel_size: Side of the spatial gate's convolution, odd.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1, fewer channels than the reduction, an even kernel.

    Differences from the paper: `channel_gate` and `spatial_gate`.

    Source: eq. 1 of [woo2018]. Chapter: gates/gates.

    Example:
        >>> import torch
        >>> y, (channel, spatial) = CBAM(32)(torch.zeros(2, 32, 5, 7), True)
        >>> channel.shape, spatial.shape
        (torch.Size([2, 32, 1, 1]), torch.Size([2, 1, 5, 7]))
    """

    def __init__(
        self, channels: int, reduction: int = 16, kernel_size: int = 7
    ) -> None:
        super().__init__()
        self.channels, self.reduction = channels, reduction
        self.kernel_size = kernel_size
        self.channel = ChannelGate(channels, reduction)
        self.spatial = SpatialGate(kernel_size)

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """Gate the channels, then the pixels, of a map of any size.

        Args:
            x: Map [B, channels, H, W].
            return_attention: Also return the gates.

        Returns:
            y [B, channels, H, W], or (y, (channel [B, channels, 1, 1], spatial
            [B, 1, H, W])).

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty map.
        """
        channel = self.channel(x)
        weighed = x * channel
        spatial = self.spatial(weighed)
        y = weighed * spatial
        return (y, (channel, spatial)) if return_attention else y

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return (
            f"{self.channels}, reduction={self.reduction}, "
            f"kernel_size={self.kernel_size}"
        )


# BAM: channels and pixels at once ----------------------------------------------------


def _check_bam(channel: Tensor, spatial: Tensor, combine: str) -> None:
    check_tensor(channel, "channel", "B C")
    check_tensor(spatial, "spatial", "B 1 H W")
    check_same_kind(channel=channel, spatial=spatial)
    if spatial.shape[:2] != (channel.shape[0], 1):
        raise ValueError(
            "channel must be [B, C] and spatial [B, 1, H, W] of one batch, got "
            f"{shape_of(channel)} and {shape_of(spatial)}"
        )
    _check_combine(combine)


def _check_combine(combine: str) -> None:
    if combine not in ("multiply", "add"):
        raise ValueError(f"combine must be 'multiply' or 'add', got {combine!r}")


def bam_gate_loop(
    channel: Float[Tensor, "B C"],
    spatial: Float[Tensor, "B 1 H W"],
    combine: Combine = "multiply",
) -> Float[Tensor, "B C H W"]:
    """The factor of BAM, one channel and one pixel at a time.

    Same arguments, result and errors as `bam_gate`, of which it is the oracle.
    """
    _check_bam(channel, spatial, combine)
    (B, C), (H, W) = channel.shape, spatial.shape[2:]
    factors = []
    for n in range(B):
        for c in range(C):
            for i in range(H):
                for j in range(W):
                    m_c, m_s = channel[n, c], spatial[n, 0, i, j]
                    logit = m_c + m_s if combine == "add" else m_c * m_s
                    factors.append(1 + 1 / (1 + torch.exp(-logit)))
    return torch.stack(factors).reshape(B, C, H, W)


def bam_gate(
    channel: Float[Tensor, "B C"],
    spatial: Float[Tensor, "B 1 H W"],
    combine: Combine = "multiply",
) -> Float[Tensor, "B C H W"]:
    r"""The factor, between 1 and 2, by which BAM multiplies a map.

    .. math:: 1 + \sigma(M_c M_s) \quad \text{(the official code)}, \qquad
        1 + \sigma(M_c + M_s) \quad \text{(the paper)}

    Args:
        channel: Logits M_c [B, C].
        spatial: Logits M_s [B, 1, H, W].
        combine: ``"multiply"`` or ``"add"``.

    Returns:
        The factor [B, C, H, W].

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit, an unknown way to combine, different
            devices.

    Source: eq. 1 and 2 of [park2018]. Chapter: gates/gates.
    """
    _check_bam(channel, spatial, combine)
    m_c = channel[:, :, None, None]  # [B, C, 1, 1]
    return 1 + torch.sigmoid(m_c + spatial if combine == "add" else m_c * spatial)


class BAM(nn.Module):
    r"""Bottleneck attention module: one factor from a channel and a spatial branch.

    .. math:: y = \left(1 + \sigma(M_c(x) \circ M_s(x))\right) x

    The channel branch is a perceptron on the channel means; the spatial branch is a
    1x1 convolution to C // r channels, two 3x3 convolutions of dilation 4, and a 1x1
    convolution to one channel. Both have a batch norm and a ReLU after every layer but
    the last. Networks have one BAM between two stages.

    Args:
        channels: C.
        reduction: r.
        combine: What the small circle is: ``"multiply"``, as in the official code, or
            ``"add"``, as in the paper.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1, fewer channels than the reduction, an unknown way to
            combine.

    Differences from the paper: the product. The official code averages over squares of
    side H, so it takes square maps only; here any map works. In training mode the batch
    norm of the channel branch needs at least two images.

    Source: section 3 of [park2018]. Chapter: gates/gates.

    Example:
        >>> import torch
        >>> y, factor = BAM(32)(torch.zeros(2, 32, 5, 7), return_attention=True)
        >>> factor.shape
        torch.Size([2, 32, 5, 7])
    """

    def __init__(
        self, channels: int, reduction: int = 16, combine: Combine = "multiply"
    ) -> None:
        super().__init__()
        M = _hidden(channels, reduction)
        _check_combine(combine)
        self.channels, self.reduction, self.combine = channels, reduction, combine
        self.channel = nn.Sequential(
            nn.Linear(channels, M),
            nn.BatchNorm1d(M),
            nn.ReLU(),
            nn.Linear(M, channels),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, M, 1),
            nn.BatchNorm2d(M),
            nn.ReLU(),
            nn.Conv2d(M, M, 3, padding=4, dilation=4),
            nn.BatchNorm2d(M),
            nn.ReLU(),
            nn.Conv2d(M, M, 3, padding=4, dilation=4),
            nn.BatchNorm2d(M),
            nn.ReLU(),
            nn.Conv2d(M, 1, 1),
        )

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Multiply a map of any size by its factor.

        Args:
            x: Map [B, channels, H, W].
            return_attention: Also return the factor.

        Returns:
            y [B, channels, H, W], or (y, factor [B, channels, H, W]).

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty map; one image in training
                mode.
        """
        check_map(x, self.channels, "channels")
        if self.training and x.shape[0] == 1:
            raise ValueError(
                "in training mode the batch norm of the channel branch needs at least "
                f"two images, got shape {shape_of(x)}"
            )
        channel, spatial = self.channel(x.mean(dim=(2, 3))), self.spatial(x)
        factor = bam_gate(channel, spatial, self.combine)
        y = x * factor
        return (y, factor) if return_attention else y

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return f"{self.channels}, reduction={self.reduction}, combine={self.combine!r}"
