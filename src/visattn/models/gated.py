"""ResNet-50 with a gate: squeeze-and-excitation, CBAM or BAM.

The first two gate the residual branch of every block, after its last batch norm and
before the addition. BAM stands between the stages.
"""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visattn.mechanisms.gates import BAM, CBAM, Combine, SqueezeExcitation
from visattn.models.resnet import DEPTHS, Bottleneck, ResNet, SpatialLayer

__all__ = ["GatedBottleneck", "resnet50_bam", "resnet50_cbam", "resnet50_se"]


class GatedBottleneck(Bottleneck):
    """A bottleneck whose residual branch ends with a gate, the identity at first."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        stage: int,
        spatial: SpatialLayer,
    ) -> None:
        super().__init__(in_channels, width, stride, stage, spatial)
        self.gate: nn.Module = nn.Identity()

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """Gated residual branch plus shortcut, then ReLU."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.gate(self.bn3(self.conv3(y)))
        return F.relu(y + self.shortcut(x))


def _start(gate: nn.Module) -> nn.Module:
    """The official start: He's normal numbers for convolutions, zero for biases."""
    for module in gate.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return gate


def _resnet50(
    gate: Callable[[int], nn.Module], num_classes: int, in_channels: int, width: int
) -> ResNet:
    model = ResNet(
        DEPTHS[50],
        GatedBottleneck,
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
    )
    for block in model.modules():
        if isinstance(block, GatedBottleneck):
            block.gate = _start(gate(block.conv3.out_channels))
    return model


def resnet50_se(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    reduction: int = 16,
) -> ResNet:
    """SE-ResNet-50: squeeze-and-excitation in every block, 28.1M parameters.

    Args:
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Width of the first stage.
        reduction: r of the gates.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Sizes that do not fit.

    Source: section 4 of [hu2018]. Chapter: gates/gates.
    """
    return _resnet50(
        lambda channels: SqueezeExcitation(channels, reduction),
        num_classes,
        in_channels,
        width,
    )


def resnet50_cbam(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    reduction: int = 16,
    kernel_size: int = 7,
) -> ResNet:
    """ResNet-50 with CBAM in every block, 28.09M parameters.

    The batch norm of each spatial gate starts with weight zero, as in the official
    code: the gate is one half everywhere at first.

    Args:
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Width of the first stage.
        reduction: r of the channel gates.
        kernel_size: Kernel of the spatial gates, odd.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Sizes that do not fit.

    Source: section 3 of [woo2018]. Chapter: gates/gates.
    """
    model = _resnet50(
        lambda channels: CBAM(channels, reduction, kernel_size),
        num_classes,
        in_channels,
        width,
    )
    for module in model.modules():
        if isinstance(module, CBAM):
            nn.init.zeros_(module.spatial.norm.weight)
    return model


def resnet50_bam(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    reduction: int = 16,
    combine: Combine = "multiply",
) -> ResNet:
    """ResNet-50 with a BAM at the end of stages 1 to 3, 25.92M parameters.

    Args:
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Width of the first stage.
        reduction: r of the BAMs.
        combine: ``"multiply"``, as in the official code, or ``"add"``, as in the paper.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Sizes that do not fit, an unknown way to combine.

    Source: section 3 of [park2018]. Chapter: gates/gates.
    """
    model = ResNet(
        DEPTHS[50],
        Bottleneck,
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
    )
    for number, stage in enumerate(list(model.stages)[:3]):
        assert isinstance(stage, nn.Sequential)
        channels = width * 2**number * Bottleneck.expansion
        stage.append(_start(BAM(channels, reduction, combine)))
    return model
