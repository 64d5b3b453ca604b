"""The attention-only network of [cordonnier2020], and its convolutional rival.

Shapes: B batch, C channels, H W map, K classes.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from visattn.mechanisms._checks import (
    check_map,
    check_positive,
    shape_of,
)
from visattn.mechanisms.convolution import (
    LearnedRelativeAttention2d,
    QuadraticAttention2d,
)
from visattn.models.resnet import BasicBlock, ResNet

__all__ = ["AttentionBlock", "AttentionCNN", "attention_cnn", "resnet18_cifar"]

Encoding = Literal["quadratic", "learned", "learned_content"]


class AttentionBlock(nn.Module):
    """Attention and two pointwise layers, each with shortcut and layer norm after it.

    Args:
        attention: Maps [B, C, H, W] to [B, C, H, W].
        hidden: Channels C.
        intermediate: Channels between the two pointwise layers.
        dropout: Share of zeros before each shortcut is added.
    """

    def __init__(
        self, attention: nn.Module, hidden: int, intermediate: int, dropout: float
    ) -> None:
        super().__init__()
        self.attention = attention
        self.dense = nn.Linear(hidden, hidden)
        self.norm1 = nn.LayerNorm(hidden, eps=1e-12)
        self.widen = nn.Linear(hidden, intermediate)
        self.narrow = nn.Linear(intermediate, hidden)
        self.norm2 = nn.LayerNorm(hidden, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Attention, shortcut, norm; pointwise layers, shortcut, norm."""
        y = self.attention(rearrange(x, "B H W C -> B C H W"))
        y = rearrange(y, "B C H W -> B H W C")
        x = self.norm1(x + self.dropout(self.dense(y)))
        y = self.narrow(F.gelu(self.widen(x)))
        return self.norm2(x + self.dropout(y))  # type: ignore[no-any-return]


class AttentionCNN(nn.Module):
    """Blocks of pixels, attention layers, the mean over the map, a classifier.

    Args:
        attention: Makes the attention of one layer.
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        hidden: Channels of all layers.
        depth: Number of layers.
        intermediate: Channels between the pointwise layers of a block.
        block: Side of the blocks of pixels that become one position.
        dropout: Share of zeros before each shortcut is added.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1.
    """

    def __init__(
        self,
        attention: Callable[[], nn.Module],
        num_classes: int,
        in_channels: int,
        hidden: int,
        depth: int,
        intermediate: int,
        block: int,
        dropout: float,
    ) -> None:
        super().__init__()
        check_positive(
            num_classes=num_classes,
            in_channels=in_channels,
            hidden=hidden,
            depth=depth,
            intermediate=intermediate,
            block=block,
        )
        self.in_channels, self.block = in_channels, block
        self.embed = nn.Linear(block * block * in_channels, hidden)
        self.layers = nn.ModuleList(
            AttentionBlock(attention(), hidden, intermediate, dropout)
            for _ in range(depth)
        )
        self.classifier = nn.Linear(hidden, num_classes)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Class logits of a batch of images.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an empty batch, or sides that the block
                does not divide.
        """
        check_map(x, self.in_channels)
        if x.shape[2] % self.block or x.shape[3] % self.block:
            raise ValueError(
                f"height and width must be divisible by block={self.block}, got shape "
                f"{shape_of(x)}"
            )
        # Nothing is lost: a block's pixels become channels (row, column, colour).
        y = rearrange(x, "B C (H p) (W q) -> B H W (p q C)", p=self.block, q=self.block)
        y = self.embed(y)  # [B, H', W', hidden]
        for layer in self.layers:
            y = layer(y)
        return self.classifier(y.mean(dim=(1, 2)))  # type: ignore[no-any-return]


def attention_cnn(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    encoding: Encoding = "quadratic",
    hidden: int = 400,
    depth: int = 6,
    num_heads: int = 9,
    intermediate: int = 512,
    block: int = 2,
    max_position: int = 16,
    dropout: float = 0.1,
) -> AttentionCNN:
    """Six layers of nine heads without any convolution: 12.1M, 12.3M or 29.5M.

    Args:
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        encoding: ``"quadratic"``: heads look at learned shifts
            (`QuadraticAttention2d`); ``"learned"``: a learned vector for each offset;
            ``"learned_content"``: these meet the queries, and the content is added
            (`LearnedRelativeAttention2d`).
        hidden: Channels of all layers.
        depth: Number of layers.
        num_heads: Heads of each layer.
        intermediate: Channels between the pointwise layers.
        block: Side of the blocks of pixels that become one position.
        max_position: Largest height and width of the map of blocks, for the learned
            encodings.
        dropout: Share of zeros before each shortcut is added, in training.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Sizes that do not fit, an unknown encoding.

    Differences from the official code: no dropout on the attention weights, which are
    not made; the layer norm is the library's.

    Source: section 4.1 of [cordonnier2020]. Chapter: equivalence/heads.
    """
    if encoding not in get_args(Encoding):
        raise ValueError(
            f"encoding must be one of {get_args(Encoding)}, got {encoding!r}"
        )
    check_positive(max_position=max_position)

    def attention() -> nn.Module:
        if encoding == "quadratic":
            return QuadraticAttention2d(hidden, hidden, num_heads)
        content = encoding == "learned_content"
        return LearnedRelativeAttention2d(
            hidden, hidden, num_heads, max_position, content, query_relative=content
        )

    return AttentionCNN(
        attention,
        num_classes,
        in_channels,
        hidden,
        depth,
        intermediate,
        block,
        dropout,
    )


def _stem(in_channels: int, width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, 1, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


def resnet18_cifar(
    *, num_classes: int = 10, in_channels: int = 3, width: int = 64
) -> ResNet:
    """ResNet-18 for small images, the rival in [cordonnier2020]: 11.2M parameters.

    Its stem is one 3x3 convolution without stride or pooling.

    Args:
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        width: Width of the first stage.
    """
    return ResNet(
        (2, 2, 2, 2),
        BasicBlock,
        stem=_stem,
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
    )
