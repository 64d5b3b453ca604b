"""SAN: residual networks without any spatial convolution.

A stem, five stages, a linear classifier. Each stage halves the map by max pooling,
changes the channels by a 1x1 convolution, and mixes pixels by pairwise or patchwise
attention in its blocks.

Shapes: B batch, C channels, H W map.
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visattn.mechanisms._checks import (
    check_map,
    check_multiple,
    check_positive,
)
from visattn.mechanisms.san import (
    Pairwise,
    PairwiseAttention2d,
    Patchwise,
    PatchwiseAttention2d,
)

__all__ = [
    "SAN",
    "SANBottleneck",
    "SANStage",
    "san10_pairwise",
    "san10_patchwise",
    "san15_pairwise",
    "san15_patchwise",
    "san19_pairwise",
    "san19_patchwise",
]

WindowAttention = Callable[[int, int, int, int], nn.Module]
"""(in_channels, relation_channels, out_channels, kernel_size) -> attention."""

DEPTHS = {10: (2, 1, 2, 4, 1), 15: (3, 2, 3, 5, 2), 19: (3, 3, 4, 6, 3)}
KERNEL_SIZES = (3, 7, 7, 7, 7)
WIDENING = (1, 4, 8, 16, 32)  # channels of a stage, in widths of the stem


class SANBottleneck(nn.Module):
    r"""Pre-activated residual block around an attention of a quarter of the channels.

    .. math:: x + W\,\mathrm{ReLU}(\mathrm{BN}(\mathrm{attention}(
        \mathrm{ReLU}(\mathrm{BN}(x)))))

    Args:
        channels: Channels in and out, a multiple of 16.
        kernel_size: Side of the attention's windows, odd.
        attention: Makes the attention from (channels, channels / 16, channels / 4,
            kernel_size).

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Sizes that do not fit.

    Source: section 4 of [zhao2020]. Chapter: exploring/san.
    """

    def __init__(
        self, channels: int, kernel_size: int, attention: WindowAttention
    ) -> None:
        super().__init__()
        check_positive(channels=channels)
        check_multiple("channels", channels, 16, "phi and psi have a 16th of them")
        self.bn1 = nn.BatchNorm2d(channels)
        self.attention = attention(channels, channels // 16, channels // 4, kernel_size)
        self.bn2 = nn.BatchNorm2d(channels // 4)
        self.conv = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The input plus its residual branch; no ReLU follows the sum."""
        y = self.attention(F.relu(self.bn1(x)))
        y = self.conv(F.relu(self.bn2(y)))
        total: Tensor = x + y
        return total


class SANStage(nn.Module):
    """2x2 max pooling, 1x1 convolution, attention blocks, batch norm, ReLU."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        depth: int,
        kernel_size: int,
        attention: WindowAttention,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.blocks = nn.Sequential(
            *(SANBottleneck(channels, kernel_size, attention) for _ in range(depth))
        )
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """Halve the map, then attend."""
        x = self.blocks(self.conv(F.max_pool2d(x, 2)))
        return F.relu(self.bn(x))


class SAN(nn.Module):
    """A self-attention network whose attention is given.

    Args:
        attention: Makes the attention of a block, see `SANBottleneck`.
        depths: Blocks of each stage; up to five stages.
        kernel_sizes: Side of the windows in each stage, odd.
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Channels of the stem, a multiple of 16. The stages have 1, 4, 8, 16 and
            32 times as many.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Sizes that do not fit, or no stage, or more than five.

    Source: section 4 of [zhao2020]. Chapter: exploring/san.
    """

    def __init__(
        self,
        attention: WindowAttention,
        depths: Sequence[int],
        kernel_sizes: Sequence[int] = KERNEL_SIZES,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        if not 1 <= len(depths) <= len(WIDENING) or len(depths) != len(kernel_sizes):
            raise ValueError(
                f"depths and kernel_sizes must have one entry for each of 1 to "
                f"{len(WIDENING)} stages, got {tuple(depths)}, {tuple(kernel_sizes)}"
            )
        for number, depth in enumerate(depths):
            check_positive(**{f"depths[{number}]": depth})
        self.in_channels, self.kernel_sizes = in_channels, tuple(kernel_sizes)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        stages, channels = [], width
        for depth, kernel_size, times in zip(
            depths, kernel_sizes, WIDENING, strict=False
        ):
            stages.append(
                SANStage(channels, width * times, depth, kernel_size, attention)
            )
            channels = width * times
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(channels, num_classes)

    def _check(self, x: Tensor) -> None:
        check_map(x, self.in_channels)
        H, W = x.shape[2:]
        for stage, kernel_size in enumerate(self.kernel_sizes):
            H, W = H // 2, W // 2
            if min(H, W) <= kernel_size // 2:
                raise ValueError(
                    f"an image of {x.shape[2]} x {x.shape[3]} gives a map of {H} x {W} "
                    f"in stage {stage}, whose windows of kernel_size={kernel_size} "
                    f"need at least {kernel_size // 2 + 1} pixels each way"
                )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Class logits of a batch of images.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty batch, an image too small for
                the windows of a stage.
        """
        self._check(x)
        x = self.stages(self.stem(x))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


_ARGUMENTS = """
    Args:
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Channels of the stem, a multiple of 16; stages have 1 to 32 times them.
        share: Channels that share an attention weight, a divisor of width / 4.
        relation: One of the relations of `{module}`.
        depths: Blocks of each stage; fewer entries make fewer stages.
        kernel_sizes: Side of the attention's windows in each stage, odd.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Sizes that do not fit, an unknown relation.

    Differences from the paper: those of the attention, `PairwiseAttention2d` or
    `PatchwiseAttention2d`. The defaults are the official code's; its relation is
    ``"{relation}"``.

    Source: section 4 of [zhao2020]. Chapter: exploring/san.
    """


def _pairwise(depth: int) -> Callable[..., SAN]:
    def build(
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        share: int = 8,
        relation: Pairwise = "subtraction",
        depths: Sequence[int] = DEPTHS[depth],
        kernel_sizes: Sequence[int] = KERNEL_SIZES,
    ) -> SAN:
        def attention(cin: int, crel: int, cout: int, kernel_size: int) -> nn.Module:
            return PairwiseAttention2d(
                cin, crel, cout, kernel_size, share, relation=relation
            )

        return SAN(attention, depths, kernel_sizes, num_classes, in_channels, width)

    build.__name__ = build.__qualname__ = f"san{depth}_pairwise"
    build.__doc__ = f"SAN{depth} with pairwise attention.\n" + _ARGUMENTS.format(
        module="PairwiseAttention2d", relation="subtraction"
    )
    return build


def _patchwise(depth: int) -> Callable[..., SAN]:
    def build(
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        share: int = 8,
        relation: Patchwise = "concatenation",
        depths: Sequence[int] = DEPTHS[depth],
        kernel_sizes: Sequence[int] = KERNEL_SIZES,
    ) -> SAN:
        def attention(cin: int, crel: int, cout: int, kernel_size: int) -> nn.Module:
            return PatchwiseAttention2d(
                cin, crel, cout, kernel_size, share, relation=relation
            )

        return SAN(attention, depths, kernel_sizes, num_classes, in_channels, width)

    build.__name__ = build.__qualname__ = f"san{depth}_patchwise"
    build.__doc__ = f"SAN{depth} with patchwise attention.\n" + _ARGUMENTS.format(
        module="PatchwiseAttention2d", relation="concatenation"
    )
    return build


san10_pairwise = _pairwise(10)
san15_pairwise = _pairwise(15)
san19_pairwise = _pairwise(19)
san10_patchwise = _patchwise(10)
san15_patchwise = _patchwise(15)
san19_patchwise = _patchwise(19)
