"""Residual networks, and the same with attention in place of their convolutions.

A network is a stem, four stages of blocks, and a linear classifier. What changes from
one network to the next is the *spatial layer* of each block: a convolution, an
attention-augmented convolution, or local attention.

Shapes: B batch, C channels, H W map.
"""

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visattn.mechanisms._checks import (
    check_map,
    check_positive,
)
from visattn.mechanisms.augmented import AAConv2d
from visattn.mechanisms.local import AttentionStem2d, Border, LocalAttention2d

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "ResNet",
    "aa_resnet34",
    "aa_resnet50",
    "aa_resnet101",
    "resnet26",
    "resnet34",
    "resnet38",
    "resnet50",
    "resnet101",
    "sasa_resnet26",
    "sasa_resnet38",
    "sasa_resnet50",
]

SpatialLayer = Callable[[int, int, int, int], nn.Module]
"""(in_channels, out_channels, stride, stage 1..4) -> the block's spatial layer."""

DEPTHS = {
    26: (1, 2, 4, 1),
    34: (3, 4, 6, 3),
    38: (2, 3, 5, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
}


def _conv3x3(in_channels: int, out_channels: int, stride: int, stage: int) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class BasicBlock(nn.Module):
    """Two spatial layers; the first one may be replaced. Used by ResNet-34."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        stage: int,
        spatial: SpatialLayer,
    ) -> None:
        super().__init__()
        self.conv1 = spatial(in_channels, width, stride, stage)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(in_channels, width, stride)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """Residual branch plus shortcut, then ReLU."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1 convolution, spatial layer, 1x1 convolution; batch norm after each."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        stage: int,
        spatial: SpatialLayer,
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = spatial(width, width, stride, stage)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """Residual branch plus shortcut, then ReLU."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + self.shortcut(x))


def _conv_stem(in_channels: int, width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    )


def _attention_stem(in_channels: int, width: int) -> nn.Module:
    return nn.Sequential(
        AttentionStem2d(in_channels, width, kernel_size=4, mixtures=4),
        nn.BatchNorm2d(width),
        nn.MaxPool2d(4, 4, ceil_mode=True),
    )


class ResNet(nn.Module):
    """A residual network whose spatial layers are given.

    The weight of every ``nn.Conv2d`` starts from a Kaiming normal distribution with
    fan_out, the 1x1 projections of attention layers included; whatever start such a
    layer gives its projections is overwritten. Biases, relative tables and the value
    matrices of the attention stem keep the start of their own layer.

    Args:
        depths: Blocks of the four stages.
        block: `BasicBlock` or `Bottleneck`.
        spatial: Makes the spatial layer of each block.
        stem: Makes the layers before the first stage from (in_channels, width).
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Channels of the stem and width of the first stage; each stage doubles it.
        strides: Of the first block of each stage.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        block: type[BasicBlock] | type[Bottleneck],
        spatial: SpatialLayer = _conv3x3,
        stem: Callable[[int, int], nn.Module] = _conv_stem,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        strides: tuple[int, int, int, int] = (1, 2, 2, 2),
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        self.in_channels = in_channels
        self.stem = stem(in_channels, width)
        stages, channels = [], width
        for stage, depth in enumerate(depths, start=1):
            blocks = []
            for number in range(depth):
                stride = strides[stage - 1] if number == 0 else 1
                inner = width * 2 ** (stage - 1)
                blocks.append(block(channels, inner, stride, stage, spatial))
                channels = inner * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu"
                )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Class logits of a batch of images.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, or an empty batch.
        """
        check_map(x, self.in_channels)
        x = self.stages(self.stem(x))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


# Convolution: the baselines ----------------------------------------------------------


def _resnet(depth: int, num_classes: int, in_channels: int, width: int) -> ResNet:
    block = BasicBlock if depth == 34 else Bottleneck
    return ResNet(
        DEPTHS[depth],
        block,
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
    )


def resnet26(
    *, num_classes: int = 1000, in_channels: int = 3, width: int = 64
) -> ResNet:
    """ResNet-26: the 26-layer baseline of [ramachandran2019], 13.7M parameters."""
    return _resnet(26, num_classes, in_channels, width)


def resnet34(
    *, num_classes: int = 1000, in_channels: int = 3, width: int = 64
) -> ResNet:
    """ResNet-34: the 34-layer baseline of [bello2019], 21.8M parameters."""
    return _resnet(34, num_classes, in_channels, width)


def resnet38(
    *, num_classes: int = 1000, in_channels: int = 3, width: int = 64
) -> ResNet:
    """ResNet-38: the 38-layer baseline of [ramachandran2019], 19.6M parameters."""
    return _resnet(38, num_classes, in_channels, width)


def resnet50(
    *, num_classes: int = 1000, in_channels: int = 3, width: int = 64
) -> ResNet:
    """ResNet-50: the 50-layer baseline of both papers, 25.6M parameters."""
    return _resnet(50, num_classes, in_channels, width)


def resnet101(
    *, num_classes: int = 1000, in_channels: int = 3, width: int = 64
) -> ResNet:
    """ResNet-101: the 101-layer baseline of [bello2019], 44.5M parameters."""
    return _resnet(101, num_classes, in_channels, width)


# Local attention in place of every spatial convolution -------------------------------


def _sasa_resnet(depth: int) -> Callable[..., ResNet]:
    def build(
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        stem: Literal["conv", "attention"] = "conv",
        kernel_size: int = 7,
        num_heads: int = 8,
        border: Border = "mask",
        groups: tuple[int, ...] = (1, 2, 3, 4),
    ) -> ResNet:
        if stem not in ("conv", "attention"):
            raise ValueError(f"stem must be 'conv' or 'attention', got {stem!r}")
        if not set(groups) <= {1, 2, 3, 4}:
            raise ValueError(f"groups must be stages out of 1, 2, 3, 4, got {groups}")

        def spatial(cin: int, cout: int, stride: int, stage: int) -> nn.Module:
            if stage not in groups:
                return _conv3x3(cin, cout, stride, stage)
            return LocalAttention2d(cin, cout, kernel_size, num_heads, stride, border)

        return ResNet(
            DEPTHS[depth],
            Bottleneck,
            spatial,
            _conv_stem if stem == "conv" else _attention_stem,
            num_classes,
            in_channels,
            width,
        )

    build.__name__ = build.__qualname__ = f"sasa_resnet{depth}"
    build.__doc__ = f"""SASA-ResNet-{depth}: local attention for every 3x3 convolution.

    Args:
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Width of the first stage.
        stem: ``"conv"``: 7x7 convolution and max pooling; ``"attention"``: the
            attention stem, which makes the network free of spatial convolutions.
        kernel_size: Side of the attention windows, odd.
        num_heads: Heads of each attention.
        border: ``"mask"`` or ``"zero"``.
        groups: Stages whose convolutions are replaced; the others keep theirs.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Sizes that do not fit, an unknown stem, a stage out of 1 to 4.

    Differences from the paper: the projections of `LocalAttention2d`. In the attention
    stem (`AttentionStem2d`) one head, where the appendix has four; no relative
    positions in the logits, as in the appendix, though the printed operations fit
    better with them; four mixtures and embeddings as wide as the stem, for which we
    found no number in the paper.

    Source: sections 3.1, 3.2 and 4.1 and appendix A.1 of [ramachandran2019]. Chapter:
    local/networks.
    """
    return build


sasa_resnet26 = _sasa_resnet(26)
sasa_resnet38 = _sasa_resnet(38)
sasa_resnet50 = _sasa_resnet(50)


# Attention-augmented convolution -----------------------------------------------------


def augmented_channels(
    width: int, kappa: float, upsilon: float, num_heads: int, least: int = 20
) -> tuple[int, int]:
    """Key and value channels of an augmented convolution with ``width`` outputs.

    d_k is kappa * width, but at least ``least`` channels for each head; d_v is
    upsilon * width, rounded to a multiple of the heads. The paper states the rule for
    its CIFAR network; its ImageNet sizes follow only if it holds there too.
    """
    keys = max(int(kappa * width / num_heads + 0.5), least) * num_heads
    values = max(int(upsilon * width / num_heads + 0.5), 1) * num_heads
    return keys, values


def _aa_resnet(depth: int, kappa: float, upsilon: float) -> Callable[..., ResNet]:
    def build(
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        size: int | tuple[int, int] = 224,
        num_heads: int = 8,
        relative: bool = True,
    ) -> ResNet:
        pair = size if isinstance(size, tuple | list) else (size, size)
        if len(pair) != 2:
            raise ValueError(f"size must be one integer or two (H, W), got {size!r}")
        check_positive(height=pair[0], width=pair[1])

        def halve(n: int, times: int) -> int:
            for _ in range(times):
                n = -(-n // 2)
            return n

        def spatial(cin: int, cout: int, stride: int, stage: int) -> nn.Module:
            if stage == 1:
                return _conv3x3(cin, cout, stride, stage)
            # The map that enters: halved by convolution and pooling of the stem, then
            # by the first block of each stage after the first.
            times = stage + 1 - (stride == 2)
            keys, values = augmented_channels(cout, kappa, upsilon, num_heads)
            entering = (halve(pair[0], times), halve(pair[1], times))
            return AAConv2d(
                cin, cout, 3, keys, values, num_heads, entering, relative, stride
            )

        return ResNet(
            DEPTHS[depth],
            BasicBlock if depth == 34 else Bottleneck,
            spatial,
            num_classes=num_classes,
            in_channels=in_channels,
            width=width,
        )

    build.__name__ = build.__qualname__ = f"aa_resnet{depth}"
    build.__doc__ = f"""AA-ResNet-{depth}: attention augments the last three stages.

    kappa = {kappa}, upsilon = {upsilon}, with at least 20 key channels for each head
    (see `augmented_channels`); one convolution of each block is augmented.

    Args:
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Width of the first stage.
        size: Height and width of the images: the relative tables depend on it.
        num_heads: Heads of each attention.
        relative: Whether there are relative logits; without them any size works.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Sizes that do not fit.

    Differences from the paper: the initialisation of the tables, see `AAConv2d`.

    Source: section 4.2 of [bello2019]. Chapter: local/augmented.
    """
    return build


aa_resnet34 = _aa_resnet(34, 0.25, 0.25)
aa_resnet50 = _aa_resnet(50, 0.2, 0.1)
aa_resnet101 = _aa_resnet(101, 0.2, 0.1)
