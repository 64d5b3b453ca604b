"""The vision transformer: an image as a sequence of patches.

Shapes: B batch, C channels of the image, H W image, P side of a patch, D width of a
token, T patches, L blocks, N heads.
"""

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from visattn.mechanisms._checks import (
    check_divisible,
    check_map,
    check_pair,
    check_positive,
    shape_of,
)
from visattn.mechanisms.multi_head import MultiHeadSelfAttention

__all__ = ["TransformerBlock", "VisionTransformer", "vit_b16", "vit_s16", "vit_ti16"]


class TransformerBlock(nn.Module):
    r"""One block of the encoder: attention, then a perceptron, each with a shortcut.

    .. math:: z' = z + \mathrm{MHSA}(\mathrm{LN}(z)), \qquad
        z'' = z' + \mathrm{MLP}(\mathrm{LN}(z'))

    Args:
        dim: Width D of a token.
        num_heads: N.
        mlp_dim: Hidden width of the perceptron.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: Heads that do not divide the width.

    Source: eq. 2 and 3 of [dosovitskiy2021]. Chapter: scaling/side_by_side.
    """

    def __init__(self, dim: int, num_heads: int, mlp_dim: int) -> None:
        super().__init__()
        check_positive(dim=dim, num_heads=num_heads, mlp_dim=mlp_dim)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = MultiHeadSelfAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, dim)
        )

    def forward(
        self, z: Float[Tensor, "B T D"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend and transform, token by token.

        Args:
            z: Tokens [B, T, D].
            return_attention: Also return the weights.

        Returns:
            z [B, T, D], or (z, attention [B, N, T, T]).
        """
        result = self.attention(self.norm1(z), return_attention=return_attention)
        y, attention = result if isinstance(result, tuple) else (result, None)
        z = z + y
        z = z + self.mlp(self.norm2(z))
        return z if attention is None else (z, attention)


class VisionTransformer(nn.Module):
    r"""Vision transformer: patches become tokens, and all tokens attend to all.

    .. math:: z_0 = [x_{class};\ E x_1;\ \dots;\ E x_T] + E_{pos}, \qquad
        y = \mathrm{Linear}(\mathrm{LN}(z_L^0))

    The image is cut into P x P patches that do not overlap; a convolution of stride P
    maps each of them to a token. A learned token goes in front and collects what the
    classifier reads. Positions are learned, one vector for each patch of the one image
    size that the network takes.

    Args:
        size: Height and width of the images, or one number for both.
        patch_size: P; divides the size.
        dim: Width D of a token.
        depth: Number L of blocks.
        num_heads: N.
        mlp_dim: Hidden width of the perceptrons; 4 D when None.
        num_classes: Classes.
        in_channels: Channels of the images.

    Raises:
        TypeError: A size that is not an integer or a pair of them.
        ValueError: Patches that do not tile the image, heads that do not divide the
            width.

    Differences from the paper: no dropout, and no hidden layer in the classifier, as
    in the paper's fine-tuned networks.

    Source: section 3.1 of [dosovitskiy2021]. Chapter: scaling/side_by_side.

    Example:
        >>> import torch
        >>> network = VisionTransformer(32, 8, dim=24, depth=2, num_heads=3)
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 1000])
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_dim: int | None = None,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        height, width = check_pair("size", size)
        check_positive(
            patch_size=patch_size,
            depth=depth,
            num_classes=num_classes,
            in_channels=in_channels,
        )
        check_divisible("height", height, "patch_size", patch_size)
        check_divisible("width", width, "patch_size", patch_size)
        mlp_dim = 4 * dim if mlp_dim is None else mlp_dim
        self.size, self.patch_size, self.in_channels = (
            (height, width),
            patch_size,
            in_channels,
        )
        patches = (height // patch_size) * (width // patch_size)
        self.patch = nn.Conv2d(in_channels, dim, patch_size, patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(torch.empty(1, 1 + patches, dim))
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, num_heads, mlp_dim) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.classifier = nn.Linear(dim, num_classes)
        nn.init.normal_(self.position, std=0.02)

    def tokens(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B T D"]:
        """Class token and patches, with positions: z_0.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an image of another size.
        """
        check_map(x, self.in_channels)
        if tuple(x.shape[2:]) != self.size:
            raise ValueError(
                f"the positions are made for images of {self.size[0]} x "
                f"{self.size[1]}, got {shape_of(x)}"
            )
        z = rearrange(self.patch(x), "B D I J -> B (I J) D")
        z = torch.cat([self.class_token.expand(len(z), -1, -1).to(z.dtype), z], dim=1)
        return z + self.position

    def forward(
        self, x: Float[Tensor, "B C H W"], return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Class scores.

        Args:
            x: Images [B, in_channels, H, W] of the network's size.
            return_attention: Also return the weights of all blocks.

        Returns:
            Scores [B, num_classes], or (scores, attention [B, L, N, T+1, T+1]); token
            0 is the class token.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, an image of another size.
        """
        z, maps = self.tokens(x), []
        for block in self.blocks:
            if return_attention:
                z, attention = block(z, return_attention=True)
                maps.append(attention)
            else:
                z = block(z)
        y: Tensor = self.classifier(self.norm(z[:, 0]))
        return (y, torch.stack(maps, dim=1)) if return_attention else y

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return f"size={self.size}, patch_size={self.patch_size}"


def vit_ti16(**options: Any) -> VisionTransformer:
    """ViT-Ti/16: width 192, 3 heads; 5.7 million parameters.

    Args:
        **options: Of `VisionTransformer`, for example num_classes, in_channels, size.

    Source: table 1 of [touvron2021].
    """
    return VisionTransformer(**{"dim": 192, "num_heads": 3} | options)


def vit_s16(**options: Any) -> VisionTransformer:
    """ViT-S/16: width 384, 6 heads; 22 million parameters.

    Args:
        **options: Of `VisionTransformer`, for example num_classes, in_channels, size.

    Source: table 1 of [touvron2021].
    """
    return VisionTransformer(**{"dim": 384, "num_heads": 6} | options)


def vit_b16(**options: Any) -> VisionTransformer:
    """ViT-B/16: width 768, 12 heads; 86 million parameters.

    Args:
        **options: Of `VisionTransformer`, for example num_classes, in_channels, size.

    Source: table 1 of [dosovitskiy2021].
    """
    return VisionTransformer(**{"dim": 768, "num_heads": 12} | options)
