"""Exercises on convolution and spatial pooling."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.convolution import conv2d_loop, spatial_pooling_loop

_BOOK = "foundations/convolution.html"
_FORMULA = f"{_BOOK}#the-formula-one-sum-two-sources-of-weights"
_LOOP = f"{_BOOK}#the-loop"
_LADDER = f"{_BOOK}#the-ladder-from-the-loop-to-one-matrix-product"
_COST = f"{_BOOK}#the-cost-every-pixel-looks-at-every-pixel"
_WRONG = f"{_BOOK}#right-shape-still-wrong"
_EXERCISES = f"{_BOOK}#exercises"


# --- conv2d ---------------------------------------------------------------------


def _draw_conv(
    random: Draw,
    B: int,
    C: int,
    D: int,
    H: int,
    W: int,
    K1: int,
    K2: int,
    bias: bool = False,
    stride: bool = False,
    padding: bool = False,
    dilation: bool = False,
    groups: bool = False,
) -> Inputs:
    number = 2 if groups else 1
    inputs: Inputs = {
        "x": random.normal(B, number * C, H, W),
        "weight": random.normal(number * D, C, K1, K2),
    }
    if bias:
        inputs["bias"] = random.normal(number * D)
    switches = {"stride": stride, "padding": padding, "dilation": dilation}
    inputs.update({name: 2 for name, on in switches.items() if on})
    if groups:
        inputs["groups"] = number
    return inputs


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    ignored: str = "",
    kernel: str = "",
    border: str = "constant",
) -> Tensor:
    """Convolution with one switch for each place where it can go wrong."""
    if kernel == "flipped":
        weight = weight.flip(-2, -1)
    if kernel == "transposed":
        weight = weight.mT
    if kernel == "first channel":
        weight = torch.cat([weight[:, :1], 0 * weight[:, 1:]], dim=1)
    if ignored != "padding":
        x = F.pad(x, (padding,) * 4, mode=border)
    return F.conv2d(
        x,
        weight,
        None if ignored == "bias" else bias,
        stride=1 if ignored == "stride" else stride,
        dilation=1 if ignored == "dilation" else dilation,
        groups=groups,
    )


def _groups_interleaved(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Channel c in group c % groups, for input and output."""
    x = x.unflatten(1, (-1, groups)).transpose(1, 2).flatten(1, 2)
    weight = weight.unflatten(0, (-1, groups)).transpose(0, 1).flatten(0, 1)
    y = F.conv2d(x, weight, None, stride, padding, dilation, groups)
    channel = torch.arange(y.shape[1]).reshape(groups, -1).mT.flatten()
    return y[:, channel] if bias is None else y[:, channel] + bias[:, None, None]


def _in_and_out_swapped(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


CONV2D = Exercise(
    name="conv2d",
    oracle=conv2d_loop,
    draw=_draw_conv,
    sizes=(
        {"B": 1, "C": 1, "D": 1, "H": 2, "W": 2, "K1": 1, "K2": 2},
        {"B": 1, "C": 1, "D": 1, "H": 3, "W": 3, "K1": 2, "K2": 2},
        {"B": 2, "C": 2, "D": 3, "H": 4, "W": 5, "K1": 3, "K2": 2},
        {"B": 1, "C": 3, "D": 3, "H": 3, "W": 4, "K1": 3, "K2": 3},
        {"B": 2, "C": 2, "D": 2, "H": 3, "W": 3, "K1": 2, "K2": 2, "bias": True},
        {"B": 1, "C": 2, "D": 1, "H": 4, "W": 3, "K1": 3, "K2": 3, "padding": True},
        {"B": 1, "C": 1, "D": 2, "H": 5, "W": 6, "K1": 2, "K2": 3, "stride": True},
        {"B": 1, "C": 2, "D": 1, "H": 5, "W": 4, "K1": 3, "K2": 2, "dilation": True},
        {"B": 1, "C": 2, "D": 2, "H": 3, "W": 3, "K1": 2, "K2": 2, "groups": True},
    ),
    variants=(
        Variant(
            "kernel_flipped",
            partial(_conv2d, kernel="flipped"),
            "The kernel is flipped. That is convolution in the mathematician's sense;"
            " deep learning slides the kernel as it stands.",
            _FORMULA,
        ),
        Variant(
            "kernel_transposed",
            partial(_conv2d, kernel="transposed"),
            "Rows and columns of the kernel are exchanged: `weight[..., a, b]` belongs"
            " to row a and column b of the window.",
            _FORMULA,
        ),
        Variant(
            "in_and_out_swapped",
            _in_and_out_swapped,
            "Input and output channels of the kernel are exchanged. `weight` is"
            " [D, C, K1, K2], output first.",
            _FORMULA,
        ),
        Variant(
            "one_channel_only",
            partial(_conv2d, kernel="first channel"),
            "Only the first input channel is used. Sum over all of them.",
            _FORMULA,
        ),
        Variant(
            "bias_ignored",
            partial(_conv2d, ignored="bias"),
            "The bias is not added.",
            _FORMULA,
        ),
        Variant(
            "padding_ignored",
            partial(_conv2d, ignored="padding"),
            "The padding is not applied, so the output is too small.",
            _LOOP,
        ),
        Variant(
            "border_replicated",
            partial(_conv2d, border="replicate"),
            "The border pixels are repeated outside the image. Padding means zeros"
            " here.",
            _LOOP,
        ),
        Variant(
            "stride_ignored",
            partial(_conv2d, ignored="stride"),
            "The stride is not used: the window moves by one pixel.",
            _FORMULA,
        ),
        Variant(
            "dilation_ignored",
            partial(_conv2d, ignored="dilation"),
            "The dilation is not used: the kernel's places are neighbours. They are"
            " `dilation` pixels apart.",
            _FORMULA,
        ),
        Variant(
            "groups_interleaved",
            _groups_interleaved,
            "Channel c is put into group c % groups. Groups are neighbouring channels:"
            " the first C/groups, the next C/groups, and so on.",
            _EXERCISES,
        ),
    ),
    section=_LOOP,
)


# --- spatial_pooling ------------------------------------------------------------


def _draw_pooling(
    random: Draw,
    B: int,
    C: int,
    D: int,
    N: int,
    Ho: int,
    Wo: int,
    H: int,
    W: int,
    shared: bool = False,
) -> Inputs:
    logits = random.normal(1 if shared else B, N, Ho, Wo, H * W)
    return {
        "x": random.normal(B, C, H, W),
        "weights": logits.softmax(-1).unflatten(-1, (H, W)),
        "matrices": random.normal(N, D, C),
    }


def _pool(x: Tensor, weights: Tensor, matrices: Tensor) -> Tensor:
    if weights.shape[-2:] != x.shape[-2:]:
        raise ValueError("this mistake only runs on maps of equal height and width")
    weights = weights.expand(x.shape[0], *weights.shape[1:])
    return torch.einsum("bnijhw,ndc,bchw->bdij", weights, matrices, x)


def _unflattened_by_columns(y: Tensor) -> Tensor:
    """The map after its pixels were listed row by row and read column by column."""
    B, D, H, W = y.shape
    return y.reshape(B, D, W, H).mT  # [B, D, H, W]


SPATIAL_POOLING = Exercise(
    name="spatial_pooling",
    oracle=spatial_pooling_loop,
    draw=_draw_pooling,
    sizes=(
        {"B": 1, "C": 1, "D": 1, "N": 1, "Ho": 1, "Wo": 1, "H": 1, "W": 2},
        {"B": 1, "C": 2, "D": 2, "N": 2, "Ho": 2, "Wo": 2, "H": 2, "W": 2},
        {"B": 1, "C": 2, "D": 3, "N": 2, "Ho": 2, "Wo": 3, "H": 2, "W": 3},
        {"B": 2, "C": 2, "D": 1, "N": 3, "Ho": 1, "Wo": 2, "H": 3, "W": 2},
        {"B": 2, "C": 1, "D": 2, "N": 2, "Ho": 2, "Wo": 1, "H": 2, "W": 2}
        | {"shared": True},
    ),
    variants=(
        Variant(
            "query_and_key_exchanged",
            lambda x, weights, matrices: _pool(
                x, weights.permute(0, 1, 4, 5, 2, 3), matrices
            ),
            "The weights are read with query and key exchanged. Axes 2 and 3 are the"
            " output pixel, the last two the input pixel.",
            _FORMULA,
        ),
        Variant(
            "key_axes_swapped",
            lambda x, weights, matrices: _pool(x, weights.mT, matrices),
            "Rows and columns of the input pixel are exchanged. The last two axes of"
            " the weights are its row and its column.",
            _WRONG,
        ),
        Variant(
            "query_axes_swapped",
            lambda x, weights, matrices: _pool(x, weights, matrices).mT,
            "Rows and columns of the output are exchanged.",
            _WRONG,
        ),
        Variant(
            "height_and_width_exchanged",
            lambda x, weights, matrices: _unflattened_by_columns(
                _pool(x, weights, matrices)
            ),
            "Between map and tokens, height and width are exchanged. The shape is"
            " right, but pixels are listed row by row and read column by column.",
            _WRONG,
            also=(
                lambda x, weights, matrices: _pool(
                    _unflattened_by_columns(x), weights, matrices
                ),
            ),
        ),
        Variant(
            "one_matrix_for_all",
            lambda x, weights, matrices: _pool(
                x, weights, matrices[:1].expand_as(matrices)
            ),
            "All maps use the first matrix. Map n goes with matrix n.",
            _FORMULA,
        ),
        Variant(
            "maps_and_matrices_mixed",
            lambda x, weights, matrices: _pool(
                x, weights.sum(1, keepdim=True), matrices.sum(0, keepdim=True)
            ),
            "Maps and matrices are summed apart, so every map meets every matrix."
            " Multiply map n by matrix n, then sum over n.",
            _FORMULA,
        ),
        Variant(
            "averaged_over_maps",
            lambda x, weights, matrices: _pool(x, weights, matrices) / weights.shape[1],
            "The maps are averaged. The formula adds them.",
            _FORMULA,
        ),
        Variant(
            "averaged_over_pixels",
            lambda x, weights, matrices: (
                _pool(x, weights, matrices) / (x.shape[-2] * x.shape[-1])
            ),
            "The sum is divided by the number of pixels. The weights alone decide how"
            " much a pixel counts.",
            _FORMULA,
        ),
        Variant(
            "matrices_transposed",
            lambda x, weights, matrices: _pool(x, weights, matrices.mT),
            "The matrices are transposed. They are [N, D, C]: output channels first.",
            _FORMULA,
        ),
        Variant(
            "softmax_again",
            lambda x, weights, matrices: _pool(
                x, weights.flatten(4).softmax(-1).view_as(weights), matrices
            ),
            "The weights go through a softmax once more. They are used as given.",
            _FORMULA,
        ),
    ),
    section=_LOOP,
)


# --- shift_weights --------------------------------------------------------------


def _shift_weights(
    height: int,
    width: int,
    kernel_size: int,
    *,
    sign: int = 1,
    border: str = "zero",
    centred: bool = True,
    column_major: bool = False,
) -> Tensor:
    """One-hot maps of a K x K convolution, one place and one pixel at a time."""
    K, reach = kernel_size, kernel_size // 2 if centred else 0
    weights = torch.zeros(1, K * K, height, width, height, width)
    for n in range(K * K):
        n1, n2 = (n % K, n // K) if column_major else (n // K, n % K)
        for i in range(height):
            for j in range(width):
                a, b = i + sign * (n1 - reach), j + sign * (n2 - reach)
                if border == "replicate":
                    a, b = min(max(a, 0), height - 1), min(max(b, 0), width - 1)
                if border == "wrap":
                    a, b = a % height, b % width
                if 0 <= a < height and 0 <= b < width:
                    weights[0, n, i, j, a, b] = 1
    return weights


def shift_weights(height: int, width: int, kernel_size: int) -> Tensor:
    """One-hot maps [1, K*K, H, W, H, W] of a zero-padded odd K x K convolution."""
    return _shift_weights(height, width, kernel_size)


SHIFT_WEIGHTS = Exercise(
    name="shift_weights",
    oracle=shift_weights,
    draw=lambda random, height, width, reach: {
        "height": height,
        "width": width,
        "kernel_size": 2 * reach + 1,
    },
    sizes=(
        {"height": 1, "width": 2, "reach": 1},
        {"height": 2, "width": 2, "reach": 1},
        {"height": 3, "width": 2, "reach": 1},
        {"height": 3, "width": 4, "reach": 1},
        {"height": 3, "width": 3, "reach": 2},
    ),
    variants=(
        Variant(
            "mirrored",
            partial(_shift_weights, sign=-1),
            "The shift is mirrored. Place (n1, n2) of the kernel looks at row"
            " i + n1 - K//2 and column j + n2 - K//2.",
            _LADDER,
        ),
        Variant(
            "border_replicated",
            partial(_shift_weights, border="replicate"),
            "A place outside the image takes the nearest border pixel. With zero"
            " padding its map is all zeros.",
            _LOOP,
        ),
        Variant(
            "border_wrapped",
            partial(_shift_weights, border="wrap"),
            "A place outside the image comes back on the other side. With zero padding"
            " its map is all zeros.",
            _LOOP,
        ),
        Variant(
            "column_major",
            partial(_shift_weights, column_major=True),
            "The places of the kernel are counted column by column. They are counted"
            " row by row: n = n1*K + n2.",
            _LADDER,
        ),
        Variant(
            "not_centred",
            partial(_shift_weights, centred=False),
            "The kernel starts at the query pixel. It is centred on it: subtract K//2.",
            _FORMULA,
        ),
        Variant(
            "batch_axis_missing",
            lambda height, width, kernel_size: shift_weights(
                height, width, kernel_size
            )[0],
            "The axis of the batch is missing. The shape is [1, K*K, H, W, H, W].",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
    gradients=False,
    any_float=True,
)


# --- attention_memory -----------------------------------------------------------


def attention_memory(height: int, width: int, heads: int, bytes_per_number: int) -> int:
    """Bytes of all attention maps of one image: one number per head and pixel pair."""
    tokens = height * width
    return heads * tokens * tokens * bytes_per_number


ATTENTION_MEMORY = Exercise(
    name="attention_memory",
    oracle=attention_memory,
    draw=lambda random, height, width, heads, bytes_per_number: {
        "height": height,
        "width": width,
        "heads": heads,
        "bytes_per_number": bytes_per_number,
    },
    sizes=(
        {"height": 1, "width": 2, "heads": 1, "bytes_per_number": 2},
        {"height": 3, "width": 5, "heads": 3, "bytes_per_number": 2},
        {"height": 14, "width": 9, "heads": 6, "bytes_per_number": 4},
        {"height": 56, "width": 40, "heads": 8, "bytes_per_number": 4},
    ),
    variants=(
        Variant(
            "pixels_counted_once",
            lambda height, width, heads, bytes_per_number: (
                height * width * heads * bytes_per_number
            ),
            "There is one number per pixel. A map has one per pair of pixels: (H*W)^2.",
            _COST,
        ),
        Variant(
            "heads_forgotten",
            lambda height, width, heads, bytes_per_number: (
                (height * width) ** 2 * bytes_per_number
            ),
            "The heads are forgotten. Each head has a map of its own.",
            _COST,
        ),
        Variant(
            "numbers_not_bytes",
            lambda height, width, heads, bytes_per_number: (
                (height * width) ** 2 * heads
            ),
            "This counts numbers. Multiply by the bytes of one number.",
            _COST,
        ),
        Variant(
            "square_map_assumed",
            lambda height, width, heads, bytes_per_number: (
                height**4 * heads * bytes_per_number
            ),
            "Height and width are taken to be equal. The tokens are H*W.",
            _COST,
            also=(
                lambda height, width, heads, bytes_per_number: (
                    width**4 * heads * bytes_per_number
                ),
            ),
        ),
        Variant(
            "one_axis_only",
            lambda height, width, heads, bytes_per_number: (
                height * width * (height + width) * heads * bytes_per_number
            ),
            "Each pixel looks along its row and its column only. Global attention"
            " looks at all H*W pixels.",
            _COST,
        ),
        Variant(
            "heads_squared",
            lambda height, width, heads, bytes_per_number: (
                (height * width * heads) ** 2 * bytes_per_number
            ),
            "The heads are squared together with the pixels. Only the pixels come in"
            " pairs.",
            _COST,
        ),
        Variant(
            "bits",
            lambda height, width, heads, bytes_per_number: (
                8 * attention_memory(height, width, heads, bytes_per_number)
            ),
            "This counts bits. The exercise asks for bytes.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)

EXERCISES = (CONV2D, SPATIAL_POOLING, SHIFT_WEIGHTS, ATTENTION_MEMORY)
