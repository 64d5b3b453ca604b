"""HaloNet: residual networks whose spatial layers are blocked local attention.

A stem, up to four stages of bottlenecks, perhaps a last 1x1 convolution, and a linear
classifier. The first block of each stage after the first halves the map by attention:
only every second query of a row and of a column is asked.

Shapes: B batch, C channels, H W map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visattn.mechanisms._checks import check_divisible, check_map, check_positive
from visattn.mechanisms.halo import Border, HaloAttention2d
from visattn.models._layers import conv, conv_stem

__all__ = [
    "HaloBlock",
    "HaloNet",
    "halonet_h0",
    "halonet_h1",
    "halonet_h2",
    "halonet_h3",
    "halonet_h4",
    "halonet_h5",
    "halonet_h6",
    "halonet_h7",
]


@dataclass(frozen=True)
class Family:
    """Settings of one member of the family.

    Attributes:
        block_size: b, side of the blocks.
        halo_size: h, width of the halo around each block.
        value_ratio: r_v, channels of the values in widths of the stage.
        output_ratio: r_b, channels of a block's output in widths of the stage.
        depth: l_3, blocks of the third stage; the others have three.
        features: d_f, channels of the last 1x1 convolution, or None without one.
        image_size: Side of the images.
    """

    block_size: int
    halo_size: int
    value_ratio: float
    output_ratio: float
    depth: int
    features: int | None
    image_size: int


FAMILY = (
    Family(8, 3, 1.0, 0.5, 7, None, 256),
    Family(8, 3, 1.0, 1.0, 10, None, 256),
    Family(8, 3, 1.0, 1.25, 11, None, 256),
    Family(10, 3, 1.0, 1.5, 12, 1024, 320),
    Family(12, 2, 1.0, 3.0, 12, 1280, 384),
    Family(14, 2, 2.5, 2.0, 23, 1536, 448),
    Family(8, 4, 3.0, 2.75, 24, 1536, 512),
    Family(10, 3, 4.0, 3.5, 26, 2048, 600),
)
NUM_HEADS = (4, 8, 8, 8)


def _channels(width: int, ratio: float, name: str) -> int:
    channels = width * ratio
    if channels < 1 or channels != int(channels):
        raise ValueError(
            f"{name} times the width of a stage must be a positive integer, got "
            f"{name}={ratio}, width={width}"
        )
    return int(channels)


class HaloBlock(nn.Module):
    r"""1x1 convolution, halo attention, 1x1 convolution; batch norm after each.

    .. math:: y = \mathrm{ReLU}\big(\beta_3 W_3\, \mathrm{ReLU}(\beta_2 A(
        \mathrm{ReLU}(\beta_1 W_1 x))) + R x\big)

    Args:
        in_channels: Channels of the input.
        width: Channels of queries and keys.
        value_channels: Channels of the values, and so of the attention's output.
        out_channels: Channels of the output.
        block_size: Side of the blocks.
        halo_size: Width of the halo.
        num_heads: Heads; they divide the width and the value channels.
        stride: 1 asks every query, 2 every second one of a row and of a column.
        border: ``"mask"`` or ``"zero"``, as in `HaloAttention2d`.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Sizes that do not fit.

    Source: [vaswani2021]. Chapter: scaling/halonets.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        value_channels: int,
        out_channels: int,
        block_size: int = 8,
        halo_size: int = 3,
        num_heads: int = 8,
        stride: int = 1,
        border: Border = "mask",
    ) -> None:
        super().__init__()
        check_positive(
            in_channels=in_channels,
            width=width,
            value_channels=value_channels,
            out_channels=out_channels,
            num_heads=num_heads,
        )
        check_divisible("width", width, "num_heads", num_heads)
        self.conv1 = conv(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.attention = HaloAttention2d(
            width,
            value_channels,
            block_size,
            halo_size,
            num_heads,
            width // num_heads,
            stride,
            border,
        )
        self.bn2 = nn.BatchNorm2d(value_channels)
        self.conv3 = conv(value_channels, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                conv(in_channels, out_channels, stride=stride),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """Residual branch plus shortcut, then ReLU."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.attention(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + self.shortcut(x))


class HaloNet(nn.Module):
    """A residual network of `HaloBlock`.

    Convolutions outside the attention start from a Kaiming normal distribution with
    fan_out; the attention keeps its own start.

    Args:
        depths: Blocks of each stage; one to four stages.
        block_size: Side b of the blocks; even, where a stage halves the map.
        halo_size: Width h of the halo.
        value_ratio: r_v: the values have r_v times the stage's width.
        output_ratio: r_b: a block's output has r_b times the stage's width.
        features: Channels of a last 1x1 convolution; None leaves it out.
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Channels of the stem and width of the first stage; each stage doubles it.
        num_heads: Heads of each stage.
        border: ``"mask"`` or ``"zero"``, as in `HaloAttention2d`.
        stem: Makes the layers before the first stage from (in_channels, width).

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Sizes that do not fit, no stage, more than four stages.

    Source: [vaswani2021]. Chapter: scaling/halonets.
    """

    def __init__(
        self,
        depths: Sequence[int],
        block_size: int = 8,
        halo_size: int = 3,
        value_ratio: float = 1.0,
        output_ratio: float = 1.0,
        features: int | None = None,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        num_heads: Sequence[int] = NUM_HEADS,
        border: Border = "mask",
        stem: Callable[[int, int], nn.Module] = conv_stem,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        if not 1 <= len(depths) <= 4 or len(num_heads) < len(depths):
            raise ValueError(
                "depths must have one entry for each of 1 to 4 stages, and num_heads "
                f"as many, got {tuple(depths)}, {tuple(num_heads)}"
            )
        for number, depth in enumerate(depths):
            check_positive(**{f"depths[{number}]": depth})
        self.in_channels = in_channels
        self.stem = stem(in_channels, width)
        stages, channels = [], width
        for stage, (depth, heads) in enumerate(zip(depths, num_heads, strict=False)):
            inner, blocks = width * 2**stage, []
            for number in range(depth):
                out = _channels(inner, output_ratio, "output_ratio")
                blocks.append(
                    HaloBlock(
                        channels,
                        inner,
                        _channels(inner, value_ratio, "value_ratio"),
                        out,
                        block_size,
                        halo_size,
                        heads,
                        2 if stage > 0 and number == 0 else 1,
                        border,
                    )
                )
                channels = out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head: nn.Module = nn.Identity()
        if features is not None:
            check_positive(features=features)
            self.head = nn.Sequential(
                conv(channels, features), nn.BatchNorm2d(features), nn.ReLU()
            )
            channels = features
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Class logits of a batch of images of any size.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, or an empty batch.
        """
        check_map(x, self.in_channels)
        x = self.head(self.stages(self.stem(x)))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def _halonet(number: int, size: str) -> Callable[..., HaloNet]:
    row = FAMILY[number]

    def build(
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        depths: Sequence[int] = (3, 3, row.depth, 3),
        block_size: int = row.block_size,
        halo_size: int = row.halo_size,
        num_heads: Sequence[int] = NUM_HEADS,
        border: Border = "mask",
    ) -> HaloNet:
        return HaloNet(
            depths,
            block_size,
            halo_size,
            row.value_ratio,
            row.output_ratio,
            row.features,
            num_classes,
            in_channels,
            width,
            num_heads,
            border,
        )

    build.__name__ = build.__qualname__ = f"halonet_h{number}"
    build.__doc__ = f"""HaloNet-H{number}: {size}M parameters, {row.image_size} pixels.

    Value ratio {row.value_ratio}, output ratio {row.output_ratio}, last 1x1
    convolution: {row.features} channels. Images of other sizes work, too.

    Args:
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Channels of the stem and width of the first stage.
        depths: Blocks of each stage; fewer entries make fewer stages.
        block_size: Side of the blocks, even.
        halo_size: Width of the halo.
        num_heads: Heads of each stage.
        border: ``"mask"`` or ``"zero"``, as in `HaloAttention2d`.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Sizes that do not fit.

    Differences from the paper: those of `HaloAttention2d`. We know of no official code;
    the order of layers is a ResNet's, with a batch norm after the attention. Cut off
    after one digit, the counts of the family are the published sizes; rounded, they are
    for all but H6, which has 43.46M.

    Source: [vaswani2021]; the settings as two public implementations have them, which
    the published sizes confirm. Chapter: scaling/halonets.
    """
    return build


halonet_h0 = _halonet(0, "5.5")
halonet_h1 = _halonet(1, "8.1")
halonet_h2 = _halonet(2, "9.4")
halonet_h3 = _halonet(3, "11.8")
halonet_h4 = _halonet(4, "19.1")
halonet_h5 = _halonet(5, "30.7")
halonet_h6 = _halonet(6, "43.4")
halonet_h7 = _halonet(7, "67.4")
