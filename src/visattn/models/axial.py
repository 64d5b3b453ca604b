"""Networks with axial attention: for classification and for segmentation.

Shapes: B batch, C channels, H W map, K classes.
"""

from itertools import count

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visattn.mechanisms._checks import (
    check_divisible,
    check_map,
    check_pair,
    check_positive,
    check_tensor,
    shape_of,
)
from visattn.mechanisms.axial import (
    ChannelizedAxialAttention2d,
    PositionSensitiveAxialAttention2d,
)
from visattn.models._layers import conv, conv_stem
from visattn.models.resnet import DEPTHS, Bottleneck, ResNet

__all__ = [
    "AxialBlock",
    "AxialResNet",
    "CAAHead",
    "CAANet",
    "axial_resnet26s",
    "caa_resnet50",
]


# Classification ---------------------------------------------------------------------


class AxialBlock(nn.Module):
    """1x1 convolution, attention along the height, along the width, 1x1 convolution.

    Args:
        in_channels: Channels of the input.
        width: Channels inside; the output has twice as many.
        num_heads: Heads of each attention.
        size: Height and width of the map.
        stride: Side of the average pooling after the attention along the width.
    """

    expansion = 2

    def __init__(
        self,
        in_channels: int,
        width: int,
        num_heads: int,
        size: tuple[int, int],
        stride: int,
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = conv(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.height = PositionSensitiveAxialAttention2d(
            width, width, num_heads, size[0], "height"
        )
        self.width = PositionSensitiveAxialAttention2d(
            width, width, num_heads, size[1], "width", stride
        )
        self.conv2 = conv(width, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        nn.init.zeros_(self.bn2.weight)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                conv(in_channels, out_channels, stride=stride),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """Residual branch plus shortcut, then ReLU."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.width(self.height(y)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class AxialResNet(nn.Module):
    """A residual network whose blocks attend along both axes.

    Args:
        depths: Blocks of the four stages.
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Channels of the stem; the first stage has twice as many inside.
        num_heads: Heads of each attention.
        size: Height and width of the image, or one number for both; multiples of 32.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1, heads that do not divide the channels, an image
            whose sides are not multiples of 32.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        num_classes: int,
        in_channels: int,
        width: int,
        num_heads: int,
        size: int | tuple[int, int],
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        self.size = check_pair("size", size)
        for side in self.size:
            check_divisible("size", side, "the stride of the network", 32)
        self.in_channels = in_channels
        self.stem = conv_stem(in_channels, width)
        stages, channels = [], width
        height, across = (side // 4 for side in self.size)
        for stage, depth in enumerate(depths):
            blocks, inner = [], 2 * width * 2**stage
            for number in range(depth):
                stride = 2 if stage > 0 and number == 0 else 1
                map_size = (height, across)
                blocks.append(AxialBlock(channels, inner, num_heads, map_size, stride))
                height, across = height // stride, across // stride
                channels = inner * AxialBlock.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Class logits of a batch of images.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank, channels or size, or an empty batch.
        """
        check_tensor(x, "x", "B C H W")
        if x.shape[1] != self.in_channels or tuple(x.shape[2:]) != self.size:
            raise ValueError(
                f"x must have in_channels={self.in_channels} and size={self.size}, got "
                f"shape {shape_of(x)}"
            )
        x = self.stages(self.stem(x))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def axial_resnet26s(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    width: int = 32,
    num_heads: int = 8,
    size: int | tuple[int, int] = 224,
) -> AxialResNet:
    """Axial-ResNet-26-S of the official PyTorch code: 5.9M parameters.

    Args:
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Channels of the stem.
        num_heads: Heads of each attention.
        size: Height and width of the image, or one number for both. The tables of
            positions have a row for each offset of these maps.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Sizes that do not fit.

    Source: section 4 of [wang2020] and its official PyTorch code. Chapter: far/axial.
    """
    return AxialResNet(DEPTHS[26], num_classes, in_channels, width, num_heads, size)


# Segmentation -----------------------------------------------------------------------


def _conv_bn_relu(cin: int, cout: int, kernel_size: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel_size, 1, kernel_size // 2, bias=False),
        nn.BatchNorm2d(cout, eps=1e-3),
        nn.ReLU(),
    )


class CAAHead(nn.Module):
    """Channelized axial attention on features, beside the features' mean.

    Args:
        in_channels: Channels of the features.
        channels: Channels inside; the output has twice as many.
        key_channels: Channels of queries and keys.
        depth: Hidden layers of each gate.
        channel_attention: Whether there are gates.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1.

    In training a batch needs two images: the branch of the mean has a batch norm, and
    one image gives it one number per channel.

    Source: [huang2022] and its official code. Chapter: far/channelized.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 512,
        key_channels: int = 64,
        depth: int = 5,
        channel_attention: bool = True,
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, channels=channels)
        self.entry = _conv_bn_relu(in_channels, channels, 3)
        self.attention = ChannelizedAxialAttention2d(
            channels, channels, key_channels, depth, channel_attention
        )
        self.exit = _conv_bn_relu(channels, channels)
        self.image = _conv_bn_relu(in_channels, channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Attended features, then those of the whole image, spread over the map."""
        y = self.exit(self.attention(self.entry(x)))
        mean = self.image(x.mean(dim=(2, 3), keepdim=True))
        return torch.cat([y, mean.expand(-1, -1, *x.shape[2:])], dim=1)


class CAANet(nn.Module):
    """A dilated ResNet-50 with a `CAAHead`, for segmentation.

    Args:
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Width of the first stage.
        channels: Channels of the head.
        depth: Hidden layers of each gate.
        channel_attention: Whether there are gates.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        width: int,
        channels: int,
        depth: int,
        channel_attention: bool,
    ) -> None:
        super().__init__()
        last = count()  # the blocks of the last stage, for their dilations

        def spatial(cin: int, cout: int, stride: int, stage: int) -> nn.Module:
            dilation = 2 * (1, 2, 4)[next(last)] if stage == 4 else 1
            return nn.Conv2d(cin, cout, 3, stride, dilation, dilation, bias=False)

        network = ResNet(
            DEPTHS[50],
            Bottleneck,
            spatial,
            num_classes=1,
            in_channels=in_channels,
            width=width,
            strides=(1, 2, 2, 1),
        )
        self.in_channels = in_channels
        self.backbone = nn.Sequential(network.stem, network.stages)
        self.head = CAAHead(
            32 * width, channels, depth=depth, channel_attention=channel_attention
        )
        self.project = nn.Sequential(
            _conv_bn_relu(2 * channels, channels // 2), nn.Dropout(0.1)
        )
        self.classifier = nn.Conv2d(channels // 2, num_classes, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        """Class logits of each pixel, enlarged to the image.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, or an empty batch.
        """
        check_map(x, self.in_channels)
        y = self.classifier(self.project(self.head(self.backbone(x))))
        return F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=False)


def caa_resnet50(
    *,
    num_classes: int = 19,
    in_channels: int = 3,
    width: int = 64,
    channels: int = 512,
    depth: int = 5,
    channel_attention: bool = True,
) -> CAANet:
    """CAA on a ResNet-50 of output stride 16, for segmentation.

    The last stage has no stride; its three blocks have dilations 2, 4 and 8.

    Args:
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Width of the first stage.
        channels: Channels of the head.
        depth: Hidden layers of each gate.
        channel_attention: Whether there are gates.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1.

    Differences from the official code: the auxiliary head, which is used in training
    only, is left out.

    Source: [huang2022] and its official code. Chapter: far/channelized.
    """
    return CAANet(num_classes, in_channels, width, channels, depth, channel_attention)
