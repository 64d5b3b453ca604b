"""The networks of the papers, assembled from `visattn.mechanisms`."""

from collections.abc import Callable
from typing import Any

from torch import nn

from visattn.models.attention_only import AttentionCNN, attention_cnn, resnet18_cifar
from visattn.models.axial import AxialResNet, CAANet, axial_resnet26s, caa_resnet50
from visattn.models.gated import resnet50_bam, resnet50_cbam, resnet50_se
from visattn.models.halonet import (
    HaloNet,
    halonet_h0,
    halonet_h1,
    halonet_h2,
    halonet_h3,
    halonet_h4,
    halonet_h5,
    halonet_h6,
    halonet_h7,
)
from visattn.models.mobilenet import (
    MobileNetV2,
    MobileNeXt,
    mobilenet_v2,
    mobilenet_v2_cbam,
    mobilenet_v2_coordinate,
    mobilenet_v2_se,
    mobilenext,
    mobilenext_coordinate,
)
from visattn.models.resnet import (
    ResNet,
    aa_resnet34,
    aa_resnet50,
    aa_resnet101,
    resnet26,
    resnet34,
    resnet38,
    resnet50,
    resnet101,
    sasa_resnet26,
    sasa_resnet38,
    sasa_resnet50,
)
from visattn.models.san import (
    SAN,
    san10_pairwise,
    san10_patchwise,
    san15_pairwise,
    san15_patchwise,
    san19_pairwise,
    san19_patchwise,
)
from visattn.models.vit import VisionTransformer, vit_b16, vit_s16, vit_ti16

__all__ = [
    "SAN",
    "AttentionCNN",
    "AxialResNet",
    "CAANet",
    "HaloNet",
    "MobileNeXt",
    "MobileNetV2",
    "ResNet",
    "VisionTransformer",
    "aa_resnet34",
    "aa_resnet50",
    "aa_resnet101",
    "attention_cnn",
    "axial_resnet26s",
    "caa_resnet50",
    "create_model",
    "halonet_h0",
    "halonet_h1",
    "halonet_h2",
    "halonet_h3",
    "halonet_h4",
    "halonet_h5",
    "halonet_h6",
    "halonet_h7",
    "list_models",
    "mobilenet_v2",
    "mobilenet_v2_cbam",
    "mobilenet_v2_coordinate",
    "mobilenet_v2_se",
    "mobilenext",
    "mobilenext_coordinate",
    "resnet18_cifar",
    "resnet26",
    "resnet34",
    "resnet38",
    "resnet50",
    "resnet50_bam",
    "resnet50_cbam",
    "resnet50_se",
    "resnet101",
    "san10_pairwise",
    "san10_patchwise",
    "san15_pairwise",
    "san15_patchwise",
    "san19_pairwise",
    "san19_patchwise",
    "sasa_resnet26",
    "sasa_resnet38",
    "sasa_resnet50",
    "vit_b16",
    "vit_s16",
    "vit_ti16",
]

_MODELS: dict[str, Callable[..., nn.Module]] = {
    build.__name__: build
    for build in (
        attention_cnn,
        resnet18_cifar,
        axial_resnet26s,
        caa_resnet50,
        resnet50_bam,
        resnet50_cbam,
        resnet50_se,
        halonet_h0,
        halonet_h1,
        halonet_h2,
        halonet_h3,
        halonet_h4,
        halonet_h5,
        halonet_h6,
        halonet_h7,
        mobilenet_v2,
        mobilenet_v2_cbam,
        mobilenet_v2_coordinate,
        mobilenet_v2_se,
        mobilenext,
        mobilenext_coordinate,
        aa_resnet34,
        aa_resnet50,
        aa_resnet101,
        resnet26,
        resnet34,
        resnet38,
        resnet50,
        resnet101,
        sasa_resnet26,
        sasa_resnet38,
        sasa_resnet50,
        san10_pairwise,
        san10_patchwise,
        san15_pairwise,
        san15_patchwise,
        san19_pairwise,
        san19_patchwise,
        vit_b16,
        vit_s16,
        vit_ti16,
    )
}


def list_models() -> list[str]:
    """Names that `create_model` knows."""
    return sorted(_MODELS)


def create_model(
    name: str, *, num_classes: int = 1000, in_channels: int = 3, **kwargs: Any
) -> nn.Module:
    """Build a network by its name.

    Args:
        name: One of `list_models`.
        num_classes: Classes of the output.
        in_channels: Channels of the image.
        **kwargs: Further arguments of the model function.

    Raises:
        ValueError: Unknown name, or sizes that do not fit.
        TypeError: An argument that the model function does not have.

    Example:
        >>> model = create_model("resnet26", num_classes=10)
        >>> sum(p.numel() for p in model.parameters()) // 1000
        11668
    """
    if name not in _MODELS:
        raise ValueError(f"unknown model {name!r}; known: {list_models()}")
    return _MODELS[name](num_classes=num_classes, in_channels=in_channels, **kwargs)
