"""Exercises on channel gates: squeeze-and-excitation, CBAM, BAM.

Shapes: B batch, C channels, M hidden channels, H W map, K kernel.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.gates import (
    bam_gate_loop,
    channel_gate_loop,
    spatial_gate_loop,
    squeeze_excitation_loop,
)

_GATES = "gates/gates.html"
_FORMULA = f"{_GATES}#the-formula"
_HAND = f"{_GATES}#by-hand"
_LOOP = f"{_GATES}#the-loop"
_LADDER = f"{_GATES}#the-ladder"
_COST = f"{_GATES}#the-cost"
_WRONG = f"{_GATES}#right-shape-still-wrong"

Pool = Callable[[Tensor], Tensor]


# --- channel_means --------------------------------------------------------------


def channel_means(x: Tensor) -> Tensor:
    """Mean over the pixels of every channel, [B, C]."""
    B, C, H, W = x.shape
    sums = [
        sum((x[n, c, i, j] for i in range(H) for j in range(W)), x.new_zeros(()))
        for n in range(B)
        for c in range(C)
    ]
    return torch.stack(sums).reshape(B, C) / (H * W)


def _first_square(x: Tensor) -> Tensor:
    """Mean over squares of side H, as F.avg_pool2d(x, H) cuts them from the left."""
    return F.avg_pool2d(x, x.shape[2], stride=x.shape[2]).flatten(1)


def _one_for_the_batch(x: Tensor) -> Tensor:
    return x.mean(dim=(0, 2, 3)).expand(x.shape[:2]).clone()


CHANNEL_MEANS = Exercise(
    name="channel_means",
    oracle=channel_means,
    draw=lambda random, B, C, H, W: {"x": random.normal(B, C, H, W)},
    sizes=(
        {"B": 1, "C": 2, "H": 1, "W": 2},
        {"B": 2, "C": 3, "H": 2, "W": 3},
        {"B": 2, "C": 2, "H": 4, "W": 4},
        {"B": 3, "C": 2, "H": 4, "W": 3},
        {"B": 3, "C": 4, "H": 3, "W": 5},
    ),
    variants=(
        Variant(
            "first_square_only",
            _first_square,
            "Only a square of side H is averaged: the columns from H on are ignored,"
            " and a narrow map fails. Average over all H*W pixels.",
            _WRONG,
        ),
        Variant(
            "over_the_batch_too",
            _one_for_the_batch,
            "The images of the batch are averaged together. Every image has means of"
            " its own: leave axis 0 alone.",
            _WRONG,
        ),
        Variant(
            "over_the_channels",
            lambda x: x.mean(1),
            "The mean runs over the channels. It runs over the pixels, axes 2 and 3.",
            _FORMULA,
        ),
        Variant(
            "rows_only",
            lambda x: x.mean(3),
            "Only one axis of the map is averaged. Average over rows and columns.",
            _FORMULA,
            also=(lambda x: x.mean(2),),
        ),
        Variant(
            "summed",
            lambda x: x.sum(dim=(2, 3)),
            "The pixels are summed. Divide by their number H*W.",
            _FORMULA,
        ),
        Variant(
            "maximum",
            lambda x: x.amax(dim=(2, 3)),
            "This is the largest pixel of each channel. The squeeze is the mean; the"
            " maximum comes with CBAM.",
            _FORMULA,
        ),
        Variant(
            "axes_kept",
            lambda x: x.mean(dim=(2, 3), keepdim=True),
            "The axes of the map are kept: [B, C, 1, 1]. Here the shape is [B, C].",
            _FORMULA,
        ),
        Variant(
            "divided_by_one_side",
            lambda x: x.sum(dim=(2, 3)) / x.shape[2],
            "The sum is divided by one side of the map. There are H*W pixels.",
            _FORMULA,
            also=(lambda x: x.sum(dim=(2, 3)) / x.shape[3],),
        ),
    ),
    section=_FORMULA,
)


# --- squeeze_excitation_parameters ----------------------------------------------


def squeeze_excitation_parameters(channels: int, reduction: int, biases: bool) -> int:
    """Numbers that one squeeze-and-excitation learns."""
    hidden = channels // reduction
    weights = 2 * channels * hidden
    return weights + hidden + channels if biases else weights


def _draw_parameters(random: Draw, hidden: int, reduction: int, biases: bool) -> Inputs:
    return {
        "channels": hidden * reduction,
        "reduction": reduction,
        "biases": biases,
    }


SQUEEZE_EXCITATION_PARAMETERS = Exercise(
    name="squeeze_excitation_parameters",
    oracle=squeeze_excitation_parameters,
    draw=_draw_parameters,
    sizes=(
        {"hidden": 1, "reduction": 3, "biases": False},
        {"hidden": 4, "reduction": 4, "biases": False},
        {"hidden": 2, "reduction": 5, "biases": True},
        {"hidden": 16, "reduction": 16, "biases": True},
        {"hidden": 128, "reduction": 16, "biases": False},
    ),
    variants=(
        Variant(
            "biases_forgotten",
            lambda channels, reduction, biases: squeeze_excitation_parameters(
                channels, reduction, False
            ),
            "The biases are not counted: one for every hidden channel and one for every"
            " channel.",
            _COST,
        ),
        Variant(
            "biases_always",
            lambda channels, reduction, biases: squeeze_excitation_parameters(
                channels, reduction, True
            ),
            "The biases are counted where there are none.",
            _COST,
        ),
        Variant(
            "one_bias_vector",
            lambda channels, reduction, biases: (
                2 * channels * (channels // reduction) + channels * biases
            ),
            "Only one of the two layers has biases. Both have them.",
            _COST,
            also=(
                lambda channels, reduction, biases: (
                    2 * channels * (channels // reduction)
                    + channels // reduction * biases
                ),
            ),
        ),
        Variant(
            "one_layer",
            lambda channels, reduction, biases: (
                channels * (channels // reduction) + channels * biases
            ),
            "Only one layer is counted. There are two: down to C/r, and up again.",
            _COST,
        ),
        Variant(
            "no_reduction",
            lambda channels, reduction, biases: 2 * channels**2 + 2 * channels * biases,
            "The layers have C hidden channels. They have C/r.",
            _COST,
        ),
        Variant(
            "reduced_twice",
            lambda channels, reduction, biases: (
                2 * (channels // reduction) ** 2
                + (channels // reduction + channels) * biases
            ),
            "Both sides of the matrices are divided by r. One side keeps C channels.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- squeeze_excitation ---------------------------------------------------------


def _means(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3))


def _se(
    x: Tensor,
    reduce: Tensor,
    reduce_bias: Tensor | None,
    expand: Tensor,
    expand_bias: Tensor | None,
    *,
    pool: Pool = _means,
    inner: Pool = torch.relu,
    outer: Pool = torch.sigmoid,
    biases: bool = True,
    residual: bool = False,
    gate_only: bool = False,
) -> Tensor:
    """Squeeze-and-excitation with every part to choose."""
    if not biases:
        reduce_bias = expand_bias = None
    hidden = inner(F.linear(pool(x), reduce, reduce_bias))
    gate = outer(F.linear(hidden, expand, expand_bias))[:, :, None, None]
    if gate_only:
        return gate
    return x * gate + x if residual else x * gate


def _draw_perceptron(
    random: Draw,
    B: int,
    C: int,
    M: int,
    H: int,
    W: int,
    biases: bool = False,
    large: bool = False,
) -> Inputs:
    return {
        "x": random.normal(B, C, H, W) + random.normal(B, C, 1, 1),
        "reduce": random.normal(M, C) * (20 if large else 1),
        "reduce_bias": random.normal(M) + 0.5 if biases else None,
        "expand": random.normal(C, M) / (20 if large else 1),
        "expand_bias": random.normal(C) if biases else None,
    }


_PERCEPTRON_SIZES = (
    {"B": 1, "C": 2, "M": 2, "H": 1, "W": 2},
    {"B": 1, "C": 4, "M": 3, "H": 2, "W": 2},
    {"B": 2, "C": 3, "M": 2, "H": 3, "W": 4},
    {"B": 2, "C": 4, "M": 3, "H": 4, "W": 3},
    {"B": 2, "C": 5, "M": 4, "H": 3, "W": 3, "biases": True},
    {"B": 3, "C": 4, "M": 4, "H": 3, "W": 5, "biases": True},
    {"B": 2, "C": 4, "M": 4, "H": 2, "W": 3, "large": True},
)

SQUEEZE_EXCITATION = Exercise(
    name="squeeze_excitation",
    oracle=squeeze_excitation_loop,
    draw=_draw_perceptron,
    sizes=_PERCEPTRON_SIZES,
    variants=(
        Variant(
            "no_sigmoid",
            partial(_se, outer=torch.nn.Identity()),
            "The gate has no sigmoid. A gate lies between 0 and 1; this one can be"
            " negative, or large.",
            _WRONG,
        ),
        Variant(
            "over_the_batch_too",
            partial(_se, pool=_one_for_the_batch),
            "The means run over the batch, too: one gate for all images. Every image"
            " has a gate of its own.",
            _WRONG,
        ),
        Variant(
            "first_square_only",
            partial(_se, pool=_first_square),
            "Only a square of side H is averaged: the columns from H on are ignored,"
            " and a narrow map fails. Average over all pixels.",
            _WRONG,
        ),
        Variant(
            "no_relu",
            partial(_se, inner=torch.nn.Identity()),
            "There is no ReLU between the layers. Without it, two matrices are one.",
            _FORMULA,
        ),
        Variant(
            "relu6",
            partial(_se, inner=F.relu6),
            "The hidden channels are cut at 6. Some mobile networks do that; the"
            " formula has a plain ReLU.",
            _FORMULA,
        ),
        Variant(
            "biases_dropped",
            partial(_se, biases=False),
            "The biases are not used. Add them where they are given.",
            _FORMULA,
        ),
        Variant(
            "maximum_squeezed",
            partial(_se, pool=lambda x: x.amax(dim=(2, 3))),
            "The squeeze takes the largest pixel. It takes the mean; the maximum comes"
            " with CBAM.",
            _FORMULA,
        ),
        Variant(
            "sum_squeezed",
            partial(_se, pool=lambda x: x.sum(dim=(2, 3))),
            "The squeeze sums the pixels. Divide by their number H*W.",
            _FORMULA,
        ),
        Variant(
            "softmax",
            partial(_se, outer=partial(torch.softmax, dim=1)),
            "The gates are a softmax and compete for one. A sigmoid lets several"
            " channels be open at once.",
            _FORMULA,
        ),
        Variant(
            "input_added",
            partial(_se, residual=True),
            "The input is added to the output. The result is the gated map alone; BAM"
            " is the one that adds.",
            _FORMULA,
        ),
        Variant(
            "gate_only",
            partial(_se, gate_only=True),
            "This is the gate. Multiply the map by it.",
            _FORMULA,
        ),
        Variant(
            "hard_sigmoid",
            partial(_se, outer=F.hardsigmoid),
            "The gate is a hard sigmoid, as in some mobile networks. Here it is"
            " 1 / (1 + exp(-u)).",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
)


# --- channel_gate ---------------------------------------------------------------


def _maxima(x: Tensor) -> Tensor:
    return x.amax(dim=(2, 3))


def _cbam_channel(
    x: Tensor,
    reduce: Tensor,
    reduce_bias: Tensor | None,
    expand: Tensor,
    expand_bias: Tensor | None,
    *,
    pools: tuple[Pool, ...] = (_means, _maxima),
    inner: Pool = torch.relu,
    outer: Pool = torch.sigmoid,
    biases: bool = True,
    how: str = "",
) -> Tensor:
    """The channel gate of CBAM with every part to choose."""
    if not biases:
        reduce_bias = expand_bias = None
    hidden = [F.linear(pool(x), reduce, reduce_bias) for pool in pools]
    if how == "relu of the sum":
        logits = F.linear(inner(hidden[0] + hidden[1]), expand, expand_bias)
    elif how == "hidden summed":
        logits = F.linear(inner(hidden[0]) + inner(hidden[1]), expand, expand_bias)
    else:
        parts = [F.linear(inner(h), expand, expand_bias) for h in hidden]
        if how == "sigmoid of each":
            parts = [torch.sigmoid(part) for part in parts]
            outer = torch.nn.Identity()
        stacked = torch.stack(parts)
        if how == "multiplied":
            logits = stacked.prod(0)
        elif how == "averaged":
            logits = stacked.mean(0)
        else:
            logits = stacked.sum(0)
    return outer(logits)[:, :, None, None]


CHANNEL_GATE = Exercise(
    name="channel_gate",
    oracle=channel_gate_loop,
    draw=_draw_perceptron,
    sizes=_PERCEPTRON_SIZES[:-1],
    variants=(
        Variant(
            "maximum_missing",
            partial(_cbam_channel, pools=(_means,)),
            "The maxima are missing: this is the gate of squeeze-and-excitation.",
            _FORMULA,
        ),
        Variant(
            "mean_missing",
            partial(_cbam_channel, pools=(_maxima,)),
            "The means are missing. Both poolings go through the layers.",
            _FORMULA,
        ),
        Variant(
            "bias_counted_once",
            partial(_cbam_channel, how="hidden summed"),
            "The hidden values are summed before the second layer, so its bias counts"
            " once. Both poolings pass the whole perceptron: it counts twice.",
            _LADDER,
        ),
        Variant(
            "pooled_before_the_layers",
            partial(_cbam_channel, pools=(lambda x: _means(x) + _maxima(x),)),
            "Mean and maximum are added before the perceptron. Send each through it,"
            " then add.",
            _FORMULA,
            also=(
                partial(_cbam_channel, pools=(lambda x: (_means(x) + _maxima(x)) / 2,)),
            ),
        ),
        Variant(
            "relu_after_the_sum",
            partial(_cbam_channel, how="relu of the sum"),
            "The two hidden vectors are added before the ReLU. Each has a ReLU of its"
            " own.",
            _FORMULA,
        ),
        Variant(
            "sigmoid_of_each",
            partial(_cbam_channel, how="sigmoid of each"),
            "Each branch has a sigmoid, so their sum can be as large as 2. Add the"
            " logits, then one sigmoid.",
            _FORMULA,
        ),
        Variant(
            "branches_multiplied",
            partial(_cbam_channel, how="multiplied"),
            "The branches are multiplied. CBAM adds them before the sigmoid.",
            _FORMULA,
        ),
        Variant(
            "branches_averaged",
            partial(_cbam_channel, how="averaged"),
            "The branches are averaged. Their sum goes into the sigmoid.",
            _FORMULA,
        ),
        Variant(
            "no_perceptron",
            lambda x, reduce, reduce_bias, expand, expand_bias: torch.sigmoid(
                _means(x) + _maxima(x)
            )[:, :, None, None],
            "Mean and maximum go into the sigmoid without the two layers between.",
            _WRONG,
        ),
        Variant(
            "no_sigmoid",
            partial(_cbam_channel, outer=torch.nn.Identity()),
            "The gate has no sigmoid. A gate lies between 0 and 1.",
            _WRONG,
        ),
        Variant(
            "no_relu",
            partial(_cbam_channel, inner=torch.nn.Identity()),
            "There is no ReLU between the layers.",
            _FORMULA,
        ),
        Variant(
            "biases_dropped",
            partial(_cbam_channel, biases=False),
            "The biases are not used. Add them where they are given.",
            _FORMULA,
        ),
        Variant(
            "over_the_batch_too",
            partial(
                _cbam_channel,
                pools=(
                    _one_for_the_batch,
                    lambda x: x.amax(dim=(0, 2, 3)).expand(x.shape[:2]),
                ),
            ),
            "The pooling runs over the batch, too. Every image has a gate of its own.",
            _WRONG,
        ),
        Variant(
            "map_multiplied",
            lambda x, *weights: x * _cbam_channel(x, *weights),
            "This is the gated map. The gate itself is asked for: [B, C, 1, 1].",
            _FORMULA,
        ),
        Variant(
            "axes_missing",
            lambda x, *weights: _cbam_channel(x, *weights)[..., 0, 0],
            "The axes of the map are missing. The shape is [B, C, 1, 1], so that the"
            " gate can be multiplied with the map.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
)


# --- spatial_gate ---------------------------------------------------------------


def _mean_and_maximum(x: Tensor) -> Tensor:
    """The maximum over the channels first, then the mean: [B, 2, H, W]."""
    return torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)


def _cbam_spatial(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
    *,
    eps: float = 1e-5,
    pool: Pool = _mean_and_maximum,
    outer: Pool = torch.sigmoid,
    norm: str = "",
    padding: str = "constant",
) -> Tensor:
    """The spatial gate of CBAM with every part to choose."""
    reach = weight.shape[-1] // 2
    pooled = pool(x)
    if padding != "none":
        pooled = F.pad(pooled, (reach,) * 4, mode=padding)
    u = F.conv2d(pooled, weight)
    if norm == "none":
        return outer(u)
    if mean is None or variance is None or norm == "of this batch":
        axes = (2, 3) if norm == "of each image" else (0, 2, 3)
        mean = u.mean(dim=axes, keepdim=True)
        divisor = u.numel() / mean.numel() - (norm == "unbiased")
        variance = ((u - mean) ** 2).sum(dim=axes, keepdim=True) / max(divisor, 1)
    if norm == "eps":
        eps = 1e-5
    if norm == "variance":
        return outer(scale * (u - mean) / (variance + eps) + shift)
    if norm == "affine":
        return outer((u - mean) / torch.sqrt(variance + eps))
    return outer(scale * (u - mean) / torch.sqrt(variance + eps) + shift)


def _draw_spatial(
    random: Draw,
    B: int,
    C: int,
    H: int,
    W: int,
    reach: int,
    statistics: bool = False,
    large_eps: bool = False,
) -> Inputs:
    K = 2 * reach + 1
    inputs: Inputs = {
        "x": random.normal(B, C, H, W),
        "weight": random.normal(1, 2, K, K),
        "scale": 1 + random.uniform(1),
        "shift": random.normal(1),
    }
    if statistics:
        inputs |= {"mean": random.normal(1), "variance": 0.5 + random.uniform(1)}
    if large_eps:
        inputs["eps"] = 0.1
    return inputs


SPATIAL_GATE = Exercise(
    name="spatial_gate",
    oracle=spatial_gate_loop,
    draw=_draw_spatial,
    sizes=(
        {"B": 1, "C": 2, "H": 2, "W": 3, "reach": 0},
        {"B": 1, "C": 3, "H": 3, "W": 4, "reach": 1},
        {"B": 2, "C": 3, "H": 4, "W": 3, "reach": 1},
        {"B": 2, "C": 2, "H": 4, "W": 5, "reach": 1, "statistics": True},
        {"B": 1, "C": 4, "H": 5, "W": 6, "reach": 2, "statistics": True},
        {"B": 2, "C": 2, "H": 3, "W": 3, "reach": 1, "large_eps": True},
    ),
    variants=(
        Variant(
            "mean_first",
            partial(_cbam_spatial, pool=lambda x: _mean_and_maximum(x).flip(1)),
            "The mean comes first, as in the paper's formula. In the official code"
            " plane 0 of the kernel meets the maximum.",
            _WRONG,
        ),
        Variant(
            "no_batch_norm",
            partial(_cbam_spatial, norm="none"),
            "The batch norm is missing between the convolution and the sigmoid.",
            _FORMULA,
        ),
        Variant(
            "no_sigmoid",
            partial(_cbam_spatial, outer=torch.nn.Identity()),
            "The gate has no sigmoid. A gate lies between 0 and 1.",
            _WRONG,
        ),
        Variant(
            "statistics_ignored",
            partial(_cbam_spatial, norm="of this batch"),
            "The given mean and variance are not used. Use those of the batch only when"
            " none are given.",
            _LADDER,
        ),
        Variant(
            "statistics_of_each_image",
            partial(_cbam_spatial, norm="of each image"),
            "Every image is normalised by itself. A batch norm takes its statistics"
            " over all images and pixels.",
            _LADDER,
        ),
        Variant(
            "unbiased_variance",
            partial(_cbam_spatial, norm="unbiased"),
            "The variance is divided by n - 1, the default of `Tensor.var`. A batch"
            " norm divides by n.",
            _LADDER,
        ),
        Variant(
            "variance_not_deviation",
            partial(_cbam_spatial, norm="variance"),
            "The logits are divided by the variance. Divide by its square root.",
            _LADDER,
        ),
        Variant(
            "scale_and_shift_dropped",
            partial(_cbam_spatial, norm="affine"),
            "The scale and the shift of the batch norm are not used.",
            _FORMULA,
        ),
        Variant(
            "eps_ignored",
            partial(_cbam_spatial, norm="eps"),
            "The argument `eps` is not used. It is added to the variance.",
            _LADDER,
        ),
        Variant(
            "no_padding",
            partial(_cbam_spatial, padding="none"),
            "The convolution has no padding, so the gate is smaller than the map. Pad"
            " K//2 zeros on every side.",
            _FORMULA,
        ),
        Variant(
            "border_repeated",
            partial(_cbam_spatial, padding="replicate"),
            "The border pixels are repeated outside the map. Outside there are zeros.",
            _LOOP,
        ),
        Variant(
            "sum_for_mean",
            partial(
                _cbam_spatial,
                pool=lambda x: torch.stack([x.amax(1), x.sum(1)], 1),
            ),
            "The channels are summed. Take their mean.",
            _FORMULA,
        ),
        Variant(
            "kernel_flipped",
            lambda x, weight, *rest, **options: _cbam_spatial(
                x, weight.flip(2, 3), *rest, **options
            ),
            "The kernel is flipped. In deep learning it slides as it stands.",
            _LOOP,
        ),
        Variant(
            "map_multiplied",
            lambda x, *rest, **options: x * _cbam_spatial(x, *rest, **options),
            "This is the gated map. The gate itself is asked for: [B, 1, H, W].",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
    gradients=False,  # F.batch_norm has none for given statistics
)


# --- bam_gate -------------------------------------------------------------------


def _bam(
    channel: Tensor,
    spatial: Tensor,
    combine: str = "multiply",
    *,
    always: str | None = None,
    how: str = "",
) -> Tensor:
    """The factor of BAM with its parts to choose."""
    m_c = channel[:, :, None, None]
    if how == "sigmoid of each":
        m_c, spatial = torch.sigmoid(m_c), torch.sigmoid(spatial)
    if how == "swapped":
        combine = "add" if combine == "multiply" else "multiply"
    combine = always or combine
    logit = m_c + spatial if combine == "add" else m_c * spatial
    if how in ("no sigmoid", "sigmoid of each"):
        return 1 + logit
    if how == "tanh":
        return 1 + torch.tanh(logit)
    return torch.sigmoid(logit) + {"one missing": 0, "input twice": 2}.get(how, 1)


def _draw_bam(
    random: Draw, B: int, C: int, H: int, W: int, add: bool = False
) -> Inputs:
    inputs: Inputs = {
        "channel": random.normal(B, C),
        "spatial": random.normal(B, 1, H, W),
    }
    return inputs | {"combine": "add"} if add else inputs


BAM_GATE = Exercise(
    name="bam_gate",
    oracle=bam_gate_loop,
    draw=_draw_bam,
    sizes=(
        {"B": 1, "C": 2, "H": 1, "W": 2},
        {"B": 2, "C": 3, "H": 2, "W": 3},
        {"B": 3, "C": 3, "H": 4, "W": 3},
        {"B": 2, "C": 2, "H": 2, "W": 2, "add": True},
        {"B": 3, "C": 4, "H": 3, "W": 2, "add": True},
    ),
    variants=(
        Variant(
            "always_added",
            partial(_bam, always="add"),
            "The logits are always added, as in the paper. With 'multiply' they are"
            " multiplied, as in the official code.",
            _FORMULA,
        ),
        Variant(
            "always_multiplied",
            partial(_bam, always="multiply"),
            "The logits are always multiplied, as in the official code. With 'add' they"
            " are added, as in the paper.",
            _FORMULA,
        ),
        Variant(
            "combined_the_other_way",
            partial(_bam, how="swapped"),
            "'multiply' adds and 'add' multiplies: the two cases are exchanged.",
            _FORMULA,
        ),
        Variant(
            "one_missing",
            partial(_bam, how="one missing"),
            "The 1 is missing: BAM's factor lies between 1 and 2, because the input is"
            " added.",
            _FORMULA,
        ),
        Variant(
            "input_added_twice",
            partial(_bam, how="input twice"),
            "The input counts twice. The factor is 1 + sigmoid; the 1 is the input.",
            _WRONG,
        ),
        Variant(
            "sigmoid_of_each",
            partial(_bam, how="sigmoid of each"),
            "Each branch has a sigmoid. Combine the logits, then one sigmoid.",
            _FORMULA,
        ),
        Variant(
            "no_sigmoid",
            partial(_bam, how="no sigmoid"),
            "There is no sigmoid, so the factor has no bounds.",
            _WRONG,
        ),
        Variant(
            "tanh",
            partial(_bam, how="tanh"),
            "The gate is a tanh, between -1 and 1. It is a sigmoid.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
)


# --- dilated_padding ------------------------------------------------------------


def dilated_padding(kernel_size: int, dilation: int) -> int:
    """Zeros on every side that keep the size of a map under a dilated convolution."""
    span = 1 + (kernel_size - 1) * dilation
    return span // 2


DILATED_PADDING = Exercise(
    name="dilated_padding",
    oracle=dilated_padding,
    draw=lambda random, reach, dilation: {
        "kernel_size": 2 * reach + 1,
        "dilation": dilation,
    },
    sizes=(
        {"reach": 1, "dilation": 2},
        {"reach": 1, "dilation": 4},
        {"reach": 2, "dilation": 3},
        {"reach": 3, "dilation": 1},
        {"reach": 3, "dilation": 5},
    ),
    variants=(
        Variant(
            "dilation_ignored",
            lambda kernel_size, dilation: kernel_size // 2,
            "This is the padding without dilation, so the map shrinks. The places of"
            " the kernel are `dilation` pixels apart.",
            _WRONG,
        ),
        Variant(
            "always_one",
            lambda kernel_size, dilation: 1,
            "A padding of 1 keeps the map for a kernel of 3 without dilation only.",
            _WRONG,
        ),
        Variant(
            "dilation_alone",
            lambda kernel_size, dilation: dilation,
            "The dilation alone is right for a kernel of 3. A wider kernel reaches"
            " further.",
            _WRONG,
        ),
        Variant(
            "whole_kernel",
            lambda kernel_size, dilation: dilation * kernel_size,
            "The kernel reaches over half of its places, not over all: K//2 of them.",
            _WRONG,
        ),
        Variant(
            "both_sides",
            lambda kernel_size, dilation: dilation * (kernel_size - 1),
            "This is the padding of both sides together. It is asked for one side.",
            _WRONG,
        ),
        Variant(
            "added",
            lambda kernel_size, dilation: kernel_size // 2 + dilation - 1,
            "Reach and dilation are added. Each of the K//2 steps is `dilation` wide:"
            " multiply.",
            _WRONG,
        ),
    ),
    section=_WRONG,
    gradients=False,
)


# --- bam_parameters -------------------------------------------------------------


def bam_parameters(channels: int, reduction: int) -> int:
    """Numbers that one BAM learns: every bias, and two for each batch-norm channel."""
    M = channels // reduction
    channel = channels * M + M + 2 * M + M * channels + channels
    dilated = 9 * M * M + M + 2 * M
    spatial = channels * M + M + 2 * M + 2 * dilated + M + 1
    return channel + spatial


def _bam_parameters(
    channels: int,
    reduction: int,
    *,
    biases: bool = True,
    norms: bool = True,
    convolutions: int = 2,
    kernel: int = 3,
    outputs: int = 1,
    hidden: bool = True,
) -> int:
    M = channels // reduction if hidden else channels
    n, b = 2 * norms, int(biases)
    channel = 2 * channels * M + (M + channels) * b + n * M
    dilated = kernel**2 * M * M + b * M + n * M
    spatial = channels * M + b * M + n * M + convolutions * dilated
    return channel + spatial + outputs * (M + b)


BAM_PARAMETERS = Exercise(
    name="bam_parameters",
    oracle=bam_parameters,
    draw=lambda random, hidden, reduction: {
        "channels": hidden * reduction,
        "reduction": reduction,
    },
    sizes=(
        {"hidden": 2, "reduction": 2},
        {"hidden": 3, "reduction": 4},
        {"hidden": 4, "reduction": 16},
        {"hidden": 32, "reduction": 16},
    ),
    variants=(
        Variant(
            "norms_forgotten",
            partial(_bam_parameters, norms=False),
            "The batch norms are not counted: a scale and a shift for every channel.",
            _COST,
        ),
        Variant(
            "biases_forgotten",
            partial(_bam_parameters, biases=False),
            "The biases are not counted. The official code has one in every layer.",
            _COST,
        ),
        Variant(
            "one_dilated_convolution",
            partial(_bam_parameters, convolutions=1),
            "Only one 3x3 convolution is counted. There are two.",
            _COST,
        ),
        Variant(
            "three_dilated_convolutions",
            partial(_bam_parameters, convolutions=3),
            "Three 3x3 convolutions are counted, as in one public version. There are"
            " two.",
            _WRONG,
        ),
        Variant(
            "kernels_of_one_pixel",
            partial(_bam_parameters, kernel=1),
            "The dilated convolutions have kernels of 3x3: nine weights for each pair"
            " of channels.",
            _COST,
        ),
        Variant(
            "dilation_counted",
            partial(_bam_parameters, kernel=9),
            "The gaps of a dilated kernel are counted. It has nine weights; the gaps"
            " have none.",
            _COST,
        ),
        Variant(
            "channel_branch_only",
            lambda channels, reduction: (
                2 * channels * (channels // reduction)
                + 3 * (channels // reduction)
                + channels
            ),
            "Only the channel branch is counted.",
            _COST,
        ),
        Variant(
            "spatial_gate_of_all_channels",
            lambda channels, reduction: _bam_parameters(
                channels, reduction, outputs=channels
            ),
            "The last convolution has C outputs. The spatial branch ends in one"
            " channel.",
            _COST,
        ),
        Variant(
            "no_reduction",
            partial(_bam_parameters, hidden=False),
            "The branches have C hidden channels. They have C/r.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)

EXERCISES = (
    CHANNEL_MEANS,
    SQUEEZE_EXCITATION_PARAMETERS,
    SQUEEZE_EXCITATION,
    CHANNEL_GATE,
    SPATIAL_GATE,
    BAM_GATE,
    DILATED_PADDING,
    BAM_PARAMETERS,
)
