"""Mobile networks, and the same with a gate in their blocks.

MobileNetV2 widens inside a block (the inverted residual), MobileNeXt narrows (the
sandglass). A gate stands behind a depthwise convolution, where a block is widest.

Shapes: B batch, C channels, H W map.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from visattn.mechanisms._checks import (
    check_map,
    check_positive,
)
from visattn.mechanisms.coordinate import CoordinateAttention
from visattn.mechanisms.gates import CBAM, SqueezeExcitation

__all__ = [
    "InvertedResidual",
    "MobileNeXt",
    "MobileNetV2",
    "Sandglass",
    "mobilenet_v2",
    "mobilenet_v2_cbam",
    "mobilenet_v2_coordinate",
    "mobilenet_v2_se",
    "mobilenext",
    "mobilenext_coordinate",
    "round_channels",
]

Gate = Callable[[int], nn.Module]
"""Makes a gate for a number of channels."""

Stage = tuple[int, int, int, int]
"""Expansion (or squeeze) t, channels c, blocks n, stride s of the first block."""

Placement = Literal["first", "last"]

V2_STAGES: tuple[Stage, ...] = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Table 2 of [sandler2018]."""

NEXT_STAGES: tuple[Stage, ...] = (
    (2, 96, 1, 2),
    (6, 144, 1, 1),
    (6, 192, 3, 2),
    (6, 288, 3, 2),
    (6, 384, 4, 1),
    (6, 576, 4, 2),
    (6, 960, 3, 1),
    (6, 1280, 1, 1),
)
"""The stages of MobileNeXt in the code of the authors of [hou2021]."""


def round_channels(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of the divisor, at least one, and never below 90 percent.

    Example:
        >>> round_channels(24 * 0.75), round_channels(10)
        (24, 16)
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def _conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
    linear: bool = False,
) -> nn.Sequential:
    """Convolution, batch norm and, if not linear, ReLU6."""
    layers = [
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            kernel_size // 2,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
    ]
    return nn.Sequential(*layers) if linear else nn.Sequential(*layers, nn.ReLU6())


class InvertedResidual(nn.Module):
    """Widen, convolve each channel, gate, narrow; plus the input where shapes allow.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Of the depthwise convolution.
        expansion: t; the block is t times as wide inside. With 1 there is no widening
            convolution and no gate.
        gate: Makes the gate; None for none.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1.

    Source: section 3.3 of [sandler2018]; the gate's place: section 3.3 of [hou2021].
    Chapter: gates/mobile.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        expansion: int = 6,
        gate: Gate | None = None,
    ) -> None:
        super().__init__()
        check_positive(
            in_channels=in_channels,
            out_channels=out_channels,
            stride=stride,
            expansion=expansion,
        )
        hidden = in_channels * expansion
        wide, gated = expansion > 1, gate if expansion > 1 else None
        self.residual = stride == 1 and in_channels == out_channels
        self.expand = _conv(in_channels, hidden, 1) if wide else nn.Identity()
        self.depthwise = _conv(hidden, hidden, 3, stride, groups=hidden)
        self.gate = nn.Identity() if gated is None else gated(hidden)
        self.project = _conv(hidden, out_channels, 1, linear=True)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """The block's branch, plus x where it is residual."""
        y: Tensor = self.project(self.gate(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


class Sandglass(nn.Module):
    """Convolve each channel, narrow, widen, convolve each channel; plus the input.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Of the last depthwise convolution.
        squeeze: t; the block is t times as narrow inside, but at least a sixth of
            out_channels wide (rounded to a multiple of 16).
        both: Whether both depthwise convolutions are there. If not, the first is
            missing, and the last is there for a stride only.
        gate: Makes the gate; None for none. A block without the depthwise convolution
            of the gate's place has no gate.
        placement: Behind which depthwise convolution the gate stands.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1, an unknown placement.

    Source: section 3.2 of [zhou2020]. Chapter: gates/mobile.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        squeeze: int = 6,
        both: bool = True,
        gate: Gate | None = None,
        placement: Placement = "last",
    ) -> None:
        super().__init__()
        check_positive(
            in_channels=in_channels,
            out_channels=out_channels,
            stride=stride,
            squeeze=squeeze,
        )
        if placement not in ("first", "last"):
            raise ValueError(f"placement must be 'first' or 'last', got {placement!r}")
        hidden = in_channels // squeeze
        if hidden < out_channels / 6:
            hidden = round_channels(math.ceil(out_channels / 6), 16)
        self.residual = stride == 1 and in_channels == out_channels

        first: list[nn.Module] = []
        last: list[nn.Module] = []
        if both:
            first.append(_conv(in_channels, in_channels, 3, groups=in_channels))
        if both or stride > 1:
            last.append(
                _conv(out_channels, out_channels, 3, stride, out_channels, linear=True)
            )
        if first and gate is not None and placement == "first":
            first.append(gate(in_channels))
        if last and gate is not None and placement == "last":
            last.append(gate(out_channels))
        self.first = nn.Sequential(*first)
        self.reduce = _conv(in_channels, hidden, 1, linear=True)
        self.expand = _conv(hidden, out_channels, 1)
        self.last = nn.Sequential(*last)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """The block's branch, plus x where it is residual."""
        y: Tensor = self.last(self.expand(self.reduce(self.first(x))))
        return x + y if self.residual else y


def _check_parts(gate: object, stages: Sequence[Stage]) -> None:
    """Refuse a gate that makes none, and stages that are not rows of four numbers."""
    if gate is not None and (isinstance(gate, nn.Module) or not callable(gate)):
        raise TypeError(
            "gate must be a function or class that makes a gate from its channels, got "
            f"{gate!r}"
        )
    if len(stages) == 0:
        raise ValueError("stages must have at least one row (t, c, n, s), got none")
    for row in stages:
        if not isinstance(row, tuple | list) or len(row) != 4:
            raise ValueError(f"a stage must be a row (t, c, n, s), got {row!r}")
        check_positive(**dict(zip("tcns", row, strict=True)))


class _MobileNet(nn.Module):
    """What both networks share: stem, blocks, head, classifier."""

    def __init__(self, num_classes: int, in_channels: int, width: float) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, in_channels=in_channels)
        if isinstance(width, bool) or not isinstance(width, int | float):
            raise TypeError(f"width must be a number, got {width!r}")
        if not 0 < width < math.inf:
            raise ValueError(f"width must be positive and finite, got {width}")
        self.in_channels = in_channels
        self.stem: nn.Module
        self.blocks: nn.Module
        self.head: nn.Module = nn.Identity()

    def _finish(self, channels: int, num_classes: int, dropout: float) -> None:
        """Add the classifier and draw the first weights."""
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu"
                )
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def features(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """The last map, before it is averaged.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, or an empty batch.
        """
        check_map(x, self.in_channels)
        y: Tensor = self.head(self.blocks(self.stem(x)))
        return y

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Class logits of a batch of images of any size.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, or an empty batch.
        """
        pooled = self.features(x).mean(dim=(2, 3))
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


class MobileNetV2(_MobileNet):
    """MobileNetV2 with a gate in its widening blocks.

    Args:
        gate: Makes the gate of a block from its channels; None for none.
        stages: A row (t, c, n, s) for each stage: expansion, channels before the width
            multiplier, number of blocks, stride of the first block.
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Multiplies all channels; each is rounded to a multiple of 8.
        stem_stride: Stride of the first convolution.
        dropout: Share of the pooled features that is dropped in training.

    Raises:
        TypeError: A size that is not an integer, a width that is not a number, a gate
            that is not a function or class.
        ValueError: A size below 1, a width that is not positive, stages that are not
            rows of four.

    Source: table 2 of [sandler2018]. Chapter: gates/mobile.
    """

    def __init__(
        self,
        gate: Gate | None = None,
        stages: Sequence[Stage] = V2_STAGES,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        stem_stride: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(num_classes, in_channels, width)
        check_positive(stem_stride=stem_stride)
        _check_parts(gate, stages)
        channels = round_channels(32 * width)
        self.stem = _conv(in_channels, channels, 3, stem_stride)
        blocks: list[nn.Module] = []
        for t, c, n, s in stages:
            out_channels = round_channels(c * width)
            for number in range(n):
                stride = s if number == 0 else 1
                blocks.append(InvertedResidual(channels, out_channels, stride, t, gate))
                channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        last = round_channels(1280 * max(1.0, width))
        self.head = _conv(channels, last, 1)
        self._finish(last, num_classes, dropout)


class MobileNeXt(_MobileNet):
    """MobileNeXt with a gate in its sandglass blocks.

    Args:
        gate: Makes the gate of a block from its channels; None for none.
        placement: Behind which depthwise convolution the gate stands.
        stages: A row (t, c, n, s) for each stage, as in `MobileNetV2`; t divides.
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Multiplies all channels; the last stage has at least those of width 1.
        stem_stride: Stride of the first convolution.
        dropout: Share of the pooled features that is dropped in training.

    Raises:
        TypeError: A size that is not an integer, a width that is not a number, a gate
            that is not a function or class.
        ValueError: A size below 1, a width that is not positive, stages that are not
            rows of four, an unknown placement.

    Differences from the paper: as in the authors' code, a block that changes the number
    of channels has no first depthwise convolution, and the last only for a stride. The
    first two stages and the last, which have one block each, keep both. At widths whose
    rounding leaves the channels of such a stage equal, there is a shortcut here and
    none in that code; and channels are rounded to multiples of 8 at every width.

    Source: section 3.3 of [zhou2020]. Chapter: gates/mobile.
    """

    def __init__(
        self,
        gate: Gate | None = None,
        placement: Placement = "last",
        stages: Sequence[Stage] = NEXT_STAGES,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        stem_stride: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(num_classes, in_channels, width)
        check_positive(stem_stride=stem_stride)
        _check_parts(gate, stages)
        channels = round_channels(32 * width)
        self.stem = _conv(in_channels, channels, 3, stem_stride)
        blocks: list[nn.Module] = []
        for row, (t, c, n, s) in enumerate(stages, start=1):
            wide = width if row < len(stages) else max(1.0, width)
            out_channels = round_channels(c * wide)
            for number in range(n):
                stride = s if number == 0 else 1
                alone = n == 1 and s == 1
                both = t == 2 or channels == out_channels or alone
                blocks.append(
                    Sandglass(channels, out_channels, stride, t, both, gate, placement)
                )
                channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self._finish(channels, num_classes, dropout)


def mobilenet_v2(
    *, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0
) -> MobileNetV2:
    """MobileNetV2 of [sandler2018]: 3.5M parameters, 300M multiply-adds."""
    return MobileNetV2(None, V2_STAGES, num_classes, in_channels, width)


def mobilenet_v2_se(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    width: float = 1.0,
    reduction: int = 24,
) -> MobileNetV2:
    """MobileNetV2 with squeeze-and-excitation in 16 blocks: 3.89M parameters.

    The reduction is that of the code of the authors of [hou2021], whose gate has ReLU6
    where this one has ReLU.
    """
    gate = partial(SqueezeExcitation, reduction=reduction)
    return MobileNetV2(gate, V2_STAGES, num_classes, in_channels, width)


def mobilenet_v2_cbam(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    width: float = 1.0,
    reduction: int = 24,
    kernel_size: int = 7,
) -> MobileNetV2:
    """MobileNetV2 with CBAM in 16 blocks: 3.89M parameters.

    No source states the place and the reduction. These are the ones of the
    squeeze-and-excitation network; their count is the published one.
    """
    gate = partial(CBAM, reduction=reduction, kernel_size=kernel_size)
    return MobileNetV2(gate, V2_STAGES, num_classes, in_channels, width)


def mobilenet_v2_coordinate(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    width: float = 1.0,
    reduction: int = 32,
) -> MobileNetV2:
    """MobileNetV2 with coordinate attention in 16 blocks: 3.95M parameters."""
    gate = partial(CoordinateAttention, reduction=reduction)
    return MobileNetV2(gate, V2_STAGES, num_classes, in_channels, width)


def mobilenext(
    *, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0
) -> MobileNeXt:
    """MobileNeXt of [zhou2020], in the reading of `MobileNeXt`: 3.5M parameters."""
    return MobileNeXt(None, "last", NEXT_STAGES, num_classes, in_channels, width)


def mobilenext_coordinate(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    width: float = 1.0,
    reduction: int = 32,
    placement: Placement = "last",
) -> MobileNeXt:
    """MobileNeXt with coordinate attention: 4.09M parameters.

    The sources contradict each other: the official README recommends the place behind
    the first depthwise convolution, but the published size is that of the last
    (4,088,113). Behind the first there are 3,971,626 parameters, or 4,108,336 with
    reduction 24. The official network was not released.
    """
    gate = partial(CoordinateAttention, reduction=reduction)
    return MobileNeXt(gate, placement, NEXT_STAGES, num_classes, in_channels, width)
