"""What several networks begin with and are joined by.

Shapes: B batch, C channels, H W map.
"""

from torch import nn


def conv(
    in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1
) -> nn.Conv2d:
    """A convolution without bias, started as residual networks start theirs."""
    layer = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False
    )
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def conv_stem(in_channels: int, width: int) -> nn.Module:
    """A convolution of stride 2, norm, ReLU and pooling: a quarter of the side."""
    return nn.Sequential(
        conv(in_channels, width, 7, 2),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    )
