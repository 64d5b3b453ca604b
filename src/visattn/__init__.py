"""visattn: self-attention for vision, from the printed formula to the fast module.

Every name below is imported when it is first used.
"""

from typing import TYPE_CHECKING

from visattn._lazy import lazy_getattr

__version__ = "0.1.0"

_EXPORTS = {
    "AAConv2d": "visattn.mechanisms.augmented",
    "AttentionStem2d": "visattn.mechanisms.local",
    "Conv2d": "visattn.mechanisms.convolution",
    "LearnedPosition2d": "visattn.mechanisms.positions",
    "LearnedRelativeAttention2d": "visattn.mechanisms.convolution",
    "LocalAttention2d": "visattn.mechanisms.local",
    "MultiHeadSelfAttention": "visattn.mechanisms.multi_head",
    "QuadraticAttention2d": "visattn.mechanisms.convolution",
    "SelfAttention": "visattn.mechanisms.dot_product",
    "aa_resnet101": "visattn.models",
    "aa_resnet34": "visattn.models",
    "aa_resnet50": "visattn.models",
    "attend": "visattn.mechanisms.dot_product",
    "attend_loop": "visattn.mechanisms.dot_product",
    "attention_cnn": "visattn.models",
    "attention_stem": "visattn.mechanisms.local",
    "attention_stem_loop": "visattn.mechanisms.local",
    "augmented_attention": "visattn.mechanisms.augmented",
    "augmented_attention_loop": "visattn.mechanisms.augmented",
    "check": "visattn.exercises",
    "conv2d": "visattn.mechanisms.convolution",
    "conv2d_loop": "visattn.mechanisms.convolution",
    "conv_to_attention": "visattn.mechanisms.convolution",
    "convert": "visattn.checkpoints",
    "coord_channels": "visattn.mechanisms.positions",
    "create_model": "visattn.models",
    "learned_relative_attention": "visattn.mechanisms.convolution",
    "learned_relative_attention_loop": "visattn.mechanisms.convolution",
    "list_models": "visattn.models",
    "local_attention": "visattn.mechanisms.local",
    "local_attention_loop": "visattn.mechanisms.local",
    "merge_heads": "visattn.mechanisms.multi_head",
    "multi_head": "visattn.mechanisms.multi_head",
    "multi_head_loop": "visattn.mechanisms.multi_head",
    "quadratic_attention": "visattn.mechanisms.convolution",
    "quadratic_attention_loop": "visattn.mechanisms.convolution",
    "quadratic_encoding": "visattn.mechanisms.positions",
    "quadratic_encoding_loop": "visattn.mechanisms.positions",
    "relative_logits_1d": "visattn.mechanisms.positions",
    "relative_logits_1d_loop": "visattn.mechanisms.positions",
    "relative_logits_2d": "visattn.mechanisms.positions",
    "relative_logits_2d_loop": "visattn.mechanisms.positions",
    "relative_offsets_2d": "visattn.mechanisms.positions",
    "relative_scores": "visattn.mechanisms.positions",
    "relative_scores_loop": "visattn.mechanisms.positions",
    "relative_to_absolute": "visattn.mechanisms.positions",
    "relative_to_absolute_loop": "visattn.mechanisms.positions",
    "resnet18_cifar": "visattn.models",
    "resnet26": "visattn.models",
    "resnet38": "visattn.models",
    "resnet50": "visattn.models",
    "sasa_resnet26": "visattn.models",
    "sasa_resnet38": "visattn.models",
    "sasa_resnet50": "visattn.models",
    "separable_attention": "visattn.mechanisms.convolution",
    "separable_attention_loop": "visattn.mechanisms.convolution",
    "shift_weights": "visattn.mechanisms.convolution",
    "sinusoidal_1d": "visattn.mechanisms.positions",
    "sinusoidal_1d_loop": "visattn.mechanisms.positions",
    "sinusoidal_2d": "visattn.mechanisms.positions",
    "sinusoidal_2d_loop": "visattn.mechanisms.positions",
    "spatial_pooling": "visattn.mechanisms.convolution",
    "spatial_pooling_loop": "visattn.mechanisms.convolution",
    "split_heads": "visattn.mechanisms.multi_head",
}
__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from visattn.checkpoints import convert as convert
    from visattn.exercises import check as check
    from visattn.mechanisms.augmented import AAConv2d as AAConv2d
    from visattn.mechanisms.augmented import augmented_attention as augmented_attention
    from visattn.mechanisms.augmented import (
        augmented_attention_loop as augmented_attention_loop,
    )
    from visattn.mechanisms.convolution import Conv2d as Conv2d
    from visattn.mechanisms.convolution import (
        LearnedRelativeAttention2d as LearnedRelativeAttention2d,
    )
    from visattn.mechanisms.convolution import (
        QuadraticAttention2d as QuadraticAttention2d,
    )
    from visattn.mechanisms.convolution import conv2d as conv2d
    from visattn.mechanisms.convolution import conv2d_loop as conv2d_loop
    from visattn.mechanisms.convolution import conv_to_attention as conv_to_attention
    from visattn.mechanisms.convolution import (
        learned_relative_attention as learned_relative_attention,
    )
    from visattn.mechanisms.convolution import (
        learned_relative_attention_loop as learned_relative_attention_loop,
    )
    from visattn.mechanisms.convolution import (
        quadratic_attention as quadratic_attention,
    )
    from visattn.mechanisms.convolution import (
        quadratic_attention_loop as quadratic_attention_loop,
    )
    from visattn.mechanisms.convolution import (
        separable_attention as separable_attention,
    )
    from visattn.mechanisms.convolution import (
        separable_attention_loop as separable_attention_loop,
    )
    from visattn.mechanisms.convolution import shift_weights as shift_weights
    from visattn.mechanisms.convolution import spatial_pooling as spatial_pooling
    from visattn.mechanisms.convolution import (
        spatial_pooling_loop as spatial_pooling_loop,
    )
    from visattn.mechanisms.dot_product import SelfAttention as SelfAttention
    from visattn.mechanisms.dot_product import attend as attend
    from visattn.mechanisms.dot_product import attend_loop as attend_loop
    from visattn.mechanisms.local import AttentionStem2d as AttentionStem2d
    from visattn.mechanisms.local import LocalAttention2d as LocalAttention2d
    from visattn.mechanisms.local import attention_stem as attention_stem
    from visattn.mechanisms.local import attention_stem_loop as attention_stem_loop
    from visattn.mechanisms.local import local_attention as local_attention
    from visattn.mechanisms.local import local_attention_loop as local_attention_loop
    from visattn.mechanisms.multi_head import (
        MultiHeadSelfAttention as MultiHeadSelfAttention,
    )
    from visattn.mechanisms.multi_head import merge_heads as merge_heads
    from visattn.mechanisms.multi_head import multi_head as multi_head
    from visattn.mechanisms.multi_head import multi_head_loop as multi_head_loop
    from visattn.mechanisms.multi_head import split_heads as split_heads
    from visattn.mechanisms.positions import LearnedPosition2d as LearnedPosition2d
    from visattn.mechanisms.positions import coord_channels as coord_channels
    from visattn.mechanisms.positions import quadratic_encoding as quadratic_encoding
    from visattn.mechanisms.positions import (
        quadratic_encoding_loop as quadratic_encoding_loop,
    )
    from visattn.mechanisms.positions import relative_logits_1d as relative_logits_1d
    from visattn.mechanisms.positions import (
        relative_logits_1d_loop as relative_logits_1d_loop,
    )
    from visattn.mechanisms.positions import relative_logits_2d as relative_logits_2d
    from visattn.mechanisms.positions import (
        relative_logits_2d_loop as relative_logits_2d_loop,
    )
    from visattn.mechanisms.positions import relative_offsets_2d as relative_offsets_2d
    from visattn.mechanisms.positions import relative_scores as relative_scores
    from visattn.mechanisms.positions import (
        relative_scores_loop as relative_scores_loop,
    )
    from visattn.mechanisms.positions import (
        relative_to_absolute as relative_to_absolute,
    )
    from visattn.mechanisms.positions import (
        relative_to_absolute_loop as relative_to_absolute_loop,
    )
    from visattn.mechanisms.positions import sinusoidal_1d as sinusoidal_1d
    from visattn.mechanisms.positions import sinusoidal_1d_loop as sinusoidal_1d_loop
    from visattn.mechanisms.positions import sinusoidal_2d as sinusoidal_2d
    from visattn.mechanisms.positions import sinusoidal_2d_loop as sinusoidal_2d_loop
    from visattn.models import aa_resnet34 as aa_resnet34
    from visattn.models import aa_resnet50 as aa_resnet50
    from visattn.models import aa_resnet101 as aa_resnet101
    from visattn.models import attention_cnn as attention_cnn
    from visattn.models import create_model as create_model
    from visattn.models import list_models as list_models
    from visattn.models import resnet18_cifar as resnet18_cifar
    from visattn.models import resnet26 as resnet26
    from visattn.models import resnet38 as resnet38
    from visattn.models import resnet50 as resnet50
    from visattn.models import sasa_resnet26 as sasa_resnet26
    from visattn.models import sasa_resnet38 as sasa_resnet38
    from visattn.models import sasa_resnet50 as sasa_resnet50
else:
    __getattr__ = lazy_getattr(__name__, _EXPORTS, globals())


def __dir__() -> list[str]:
    return [*globals(), *_EXPORTS]
