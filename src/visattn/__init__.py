"""visattn: self-attention for vision, from the printed formula to the fast module.

Every name below is imported when it is first used.
"""

from typing import TYPE_CHECKING

from visattn._lazy import lazy_getattr

__version__ = "0.1.0"

_EXPORTS = {
    "AAConv2d": "visattn.mechanisms.augmented",
    "AttentionStem2d": "visattn.mechanisms.local",
    "AxialAttention2d": "visattn.mechanisms.axial",
    "BAM": "visattn.mechanisms.gates",
    "CBAM": "visattn.mechanisms.gates",
    "ChannelGate": "visattn.mechanisms.gates",
    "ChannelizedAxialAttention2d": "visattn.mechanisms.axial",
    "Conv2d": "visattn.mechanisms.convolution",
    "CoordinateAttention": "visattn.mechanisms.coordinate",
    "CrissCrossAttention2d": "visattn.mechanisms.non_local",
    "HaloAttention2d": "visattn.mechanisms.halo",
    "LearnedPosition2d": "visattn.mechanisms.positions",
    "LearnedRelativeAttention2d": "visattn.mechanisms.convolution",
    "LocalAttention2d": "visattn.mechanisms.local",
    "MultiHeadSelfAttention": "visattn.mechanisms.multi_head",
    "NonLocal2d": "visattn.mechanisms.non_local",
    "PairwiseAttention2d": "visattn.mechanisms.san",
    "PatchwiseAttention2d": "visattn.mechanisms.san",
    "PositionSensitiveAxialAttention2d": "visattn.mechanisms.axial",
    "QuadraticAttention2d": "visattn.mechanisms.convolution",
    "SelfAttention": "visattn.mechanisms.dot_product",
    "SpatialGate": "visattn.mechanisms.gates",
    "SqueezeExcitation": "visattn.mechanisms.gates",
    "aa_resnet101": "visattn.models",
    "aa_resnet34": "visattn.models",
    "aa_resnet50": "visattn.models",
    "aggregate": "visattn.mechanisms.san",
    "aggregate_loop": "visattn.mechanisms.san",
    "attend": "visattn.mechanisms.dot_product",
    "attend_loop": "visattn.mechanisms.dot_product",
    "attention_cnn": "visattn.models",
    "attention_stem": "visattn.mechanisms.local",
    "attention_stem_loop": "visattn.mechanisms.local",
    "augmented_attention": "visattn.mechanisms.augmented",
    "augmented_attention_loop": "visattn.mechanisms.augmented",
    "axial_attention": "visattn.mechanisms.axial",
    "axial_attention_loop": "visattn.mechanisms.axial",
    "axial_resnet26s": "visattn.models",
    "bam_gate": "visattn.mechanisms.gates",
    "bam_gate_loop": "visattn.mechanisms.gates",
    "caa_resnet50": "visattn.models",
    "channel_gate": "visattn.mechanisms.gates",
    "channel_gate_loop": "visattn.mechanisms.gates",
    "channelized_axial_attention": "visattn.mechanisms.axial",
    "channelized_axial_attention_loop": "visattn.mechanisms.axial",
    "check": "visattn.exercises",
    "conv2d": "visattn.mechanisms.convolution",
    "conv2d_loop": "visattn.mechanisms.convolution",
    "conv_to_attention": "visattn.mechanisms.convolution",
    "convert": "visattn.checkpoints",
    "coord_channels": "visattn.mechanisms.positions",
    "coordinate_attention": "visattn.mechanisms.coordinate",
    "coordinate_attention_loop": "visattn.mechanisms.coordinate",
    "coordinate_pool": "visattn.mechanisms.coordinate",
    "coordinate_pool_loop": "visattn.mechanisms.coordinate",
    "create_model": "visattn.models",
    "criss_cross_attention": "visattn.mechanisms.non_local",
    "criss_cross_attention_loop": "visattn.mechanisms.non_local",
    "halo_attention": "visattn.mechanisms.halo",
    "halo_attention_loop": "visattn.mechanisms.halo",
    "halonet_h0": "visattn.models",
    "halonet_h1": "visattn.models",
    "halonet_h2": "visattn.models",
    "halonet_h3": "visattn.models",
    "halonet_h4": "visattn.models",
    "halonet_h5": "visattn.models",
    "halonet_h6": "visattn.models",
    "halonet_h7": "visattn.models",
    "learned_relative_attention": "visattn.mechanisms.convolution",
    "learned_relative_attention_loop": "visattn.mechanisms.convolution",
    "list_models": "visattn.models",
    "local_attention": "visattn.mechanisms.local",
    "local_attention_loop": "visattn.mechanisms.local",
    "merge_heads": "visattn.mechanisms.multi_head",
    "mobilenet_v2": "visattn.models",
    "mobilenet_v2_cbam": "visattn.models",
    "mobilenet_v2_coordinate": "visattn.models",
    "mobilenet_v2_se": "visattn.models",
    "mobilenext": "visattn.models",
    "mobilenext_coordinate": "visattn.models",
    "multi_head": "visattn.mechanisms.multi_head",
    "multi_head_loop": "visattn.mechanisms.multi_head",
    "non_local_attention": "visattn.mechanisms.non_local",
    "non_local_attention_loop": "visattn.mechanisms.non_local",
    "pairwise_attention": "visattn.mechanisms.san",
    "pairwise_attention_loop": "visattn.mechanisms.san",
    "pairwise_relation": "visattn.mechanisms.san",
    "pairwise_relation_loop": "visattn.mechanisms.san",
    "patchwise_attention": "visattn.mechanisms.san",
    "patchwise_attention_loop": "visattn.mechanisms.san",
    "patchwise_relation": "visattn.mechanisms.san",
    "patchwise_relation_loop": "visattn.mechanisms.san",
    "position_sensitive_attention": "visattn.mechanisms.axial",
    "position_sensitive_attention_loop": "visattn.mechanisms.axial",
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
    "resnet50_bam": "visattn.models",
    "resnet50_cbam": "visattn.models",
    "resnet50_se": "visattn.models",
    "san10_pairwise": "visattn.models",
    "san10_patchwise": "visattn.models",
    "san15_pairwise": "visattn.models",
    "san15_patchwise": "visattn.models",
    "san19_pairwise": "visattn.models",
    "san19_patchwise": "visattn.models",
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
    "spatial_gate": "visattn.mechanisms.gates",
    "spatial_gate_loop": "visattn.mechanisms.gates",
    "spatial_pooling": "visattn.mechanisms.convolution",
    "spatial_pooling_loop": "visattn.mechanisms.convolution",
    "split_heads": "visattn.mechanisms.multi_head",
    "squeeze_excitation": "visattn.mechanisms.gates",
    "squeeze_excitation_loop": "visattn.mechanisms.gates",
    "vit_b16": "visattn.models",
    "vit_s16": "visattn.models",
    "vit_ti16": "visattn.models",
    "window_coordinates": "visattn.mechanisms.san",
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
    from visattn.mechanisms.axial import AxialAttention2d as AxialAttention2d
    from visattn.mechanisms.axial import (
        ChannelizedAxialAttention2d as ChannelizedAxialAttention2d,
    )
    from visattn.mechanisms.axial import (
        PositionSensitiveAxialAttention2d as PositionSensitiveAxialAttention2d,
    )
    from visattn.mechanisms.axial import axial_attention as axial_attention
    from visattn.mechanisms.axial import axial_attention_loop as axial_attention_loop
    from visattn.mechanisms.axial import (
        channelized_axial_attention as channelized_axial_attention,
    )
    from visattn.mechanisms.axial import (
        channelized_axial_attention_loop as channelized_axial_attention_loop,
    )
    from visattn.mechanisms.axial import (
        position_sensitive_attention as position_sensitive_attention,
    )
    from visattn.mechanisms.axial import (
        position_sensitive_attention_loop as position_sensitive_attention_loop,
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
    from visattn.mechanisms.coordinate import CoordinateAttention as CoordinateAttention
    from visattn.mechanisms.coordinate import (
        coordinate_attention as coordinate_attention,
    )
    from visattn.mechanisms.coordinate import (
        coordinate_attention_loop as coordinate_attention_loop,
    )
    from visattn.mechanisms.coordinate import coordinate_pool as coordinate_pool
    from visattn.mechanisms.coordinate import (
        coordinate_pool_loop as coordinate_pool_loop,
    )
    from visattn.mechanisms.dot_product import SelfAttention as SelfAttention
    from visattn.mechanisms.dot_product import attend as attend
    from visattn.mechanisms.dot_product import attend_loop as attend_loop
    from visattn.mechanisms.gates import BAM as BAM
    from visattn.mechanisms.gates import CBAM as CBAM
    from visattn.mechanisms.gates import ChannelGate as ChannelGate
    from visattn.mechanisms.gates import SpatialGate as SpatialGate
    from visattn.mechanisms.gates import SqueezeExcitation as SqueezeExcitation
    from visattn.mechanisms.gates import bam_gate as bam_gate
    from visattn.mechanisms.gates import bam_gate_loop as bam_gate_loop
    from visattn.mechanisms.gates import channel_gate as channel_gate
    from visattn.mechanisms.gates import channel_gate_loop as channel_gate_loop
    from visattn.mechanisms.gates import spatial_gate as spatial_gate
    from visattn.mechanisms.gates import spatial_gate_loop as spatial_gate_loop
    from visattn.mechanisms.gates import squeeze_excitation as squeeze_excitation
    from visattn.mechanisms.gates import (
        squeeze_excitation_loop as squeeze_excitation_loop,
    )
    from visattn.mechanisms.halo import HaloAttention2d as HaloAttention2d
    from visattn.mechanisms.halo import halo_attention as halo_attention
    from visattn.mechanisms.halo import halo_attention_loop as halo_attention_loop
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
    from visattn.mechanisms.non_local import (
        CrissCrossAttention2d as CrissCrossAttention2d,
    )
    from visattn.mechanisms.non_local import NonLocal2d as NonLocal2d
    from visattn.mechanisms.non_local import (
        criss_cross_attention as criss_cross_attention,
    )
    from visattn.mechanisms.non_local import (
        criss_cross_attention_loop as criss_cross_attention_loop,
    )
    from visattn.mechanisms.non_local import non_local_attention as non_local_attention
    from visattn.mechanisms.non_local import (
        non_local_attention_loop as non_local_attention_loop,
    )
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
    from visattn.mechanisms.san import PairwiseAttention2d as PairwiseAttention2d
    from visattn.mechanisms.san import PatchwiseAttention2d as PatchwiseAttention2d
    from visattn.mechanisms.san import aggregate as aggregate
    from visattn.mechanisms.san import aggregate_loop as aggregate_loop
    from visattn.mechanisms.san import pairwise_attention as pairwise_attention
    from visattn.mechanisms.san import (
        pairwise_attention_loop as pairwise_attention_loop,
    )
    from visattn.mechanisms.san import pairwise_relation as pairwise_relation
    from visattn.mechanisms.san import pairwise_relation_loop as pairwise_relation_loop
    from visattn.mechanisms.san import patchwise_attention as patchwise_attention
    from visattn.mechanisms.san import (
        patchwise_attention_loop as patchwise_attention_loop,
    )
    from visattn.mechanisms.san import patchwise_relation as patchwise_relation
    from visattn.mechanisms.san import (
        patchwise_relation_loop as patchwise_relation_loop,
    )
    from visattn.mechanisms.san import window_coordinates as window_coordinates
    from visattn.models import aa_resnet34 as aa_resnet34
    from visattn.models import aa_resnet50 as aa_resnet50
    from visattn.models import aa_resnet101 as aa_resnet101
    from visattn.models import attention_cnn as attention_cnn
    from visattn.models import axial_resnet26s as axial_resnet26s
    from visattn.models import caa_resnet50 as caa_resnet50
    from visattn.models import create_model as create_model
    from visattn.models import halonet_h0 as halonet_h0
    from visattn.models import halonet_h1 as halonet_h1
    from visattn.models import halonet_h2 as halonet_h2
    from visattn.models import halonet_h3 as halonet_h3
    from visattn.models import halonet_h4 as halonet_h4
    from visattn.models import halonet_h5 as halonet_h5
    from visattn.models import halonet_h6 as halonet_h6
    from visattn.models import halonet_h7 as halonet_h7
    from visattn.models import list_models as list_models
    from visattn.models import mobilenet_v2 as mobilenet_v2
    from visattn.models import mobilenet_v2_cbam as mobilenet_v2_cbam
    from visattn.models import mobilenet_v2_coordinate as mobilenet_v2_coordinate
    from visattn.models import mobilenet_v2_se as mobilenet_v2_se
    from visattn.models import mobilenext as mobilenext
    from visattn.models import mobilenext_coordinate as mobilenext_coordinate
    from visattn.models import resnet18_cifar as resnet18_cifar
    from visattn.models import resnet26 as resnet26
    from visattn.models import resnet38 as resnet38
    from visattn.models import resnet50 as resnet50
    from visattn.models import resnet50_bam as resnet50_bam
    from visattn.models import resnet50_cbam as resnet50_cbam
    from visattn.models import resnet50_se as resnet50_se
    from visattn.models import san10_pairwise as san10_pairwise
    from visattn.models import san10_patchwise as san10_patchwise
    from visattn.models import san15_pairwise as san15_pairwise
    from visattn.models import san15_patchwise as san15_patchwise
    from visattn.models import san19_pairwise as san19_pairwise
    from visattn.models import san19_patchwise as san19_patchwise
    from visattn.models import sasa_resnet26 as sasa_resnet26
    from visattn.models import sasa_resnet38 as sasa_resnet38
    from visattn.models import sasa_resnet50 as sasa_resnet50
    from visattn.models import vit_b16 as vit_b16
    from visattn.models import vit_s16 as vit_s16
    from visattn.models import vit_ti16 as vit_ti16
else:
    __getattr__ = lazy_getattr(__name__, _EXPORTS, globals())


def __dir__() -> list[str]:
    return [*globals(), *_EXPORTS]
