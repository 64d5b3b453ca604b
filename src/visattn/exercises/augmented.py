"""Exercises on attention-augmented convolution."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.augmented import augmented_attention_loop
from visattn.models import resnet

_BOOK = "local/augmented.html"
_FORMULA = f"{_BOOK}#the-formula"
_HAND = f"{_BOOK}#by-hand"
_LOOP = f"{_BOOK}#the-loop"
_LADDER = f"{_BOOK}#the-ladder"
_COST = f"{_BOOK}#the-cost"
_WRONG = f"{_BOOK}#right-shape-still-wrong"
_MIRRORED = "foundations/positions.html#a-mirrored-offset"
_AXES = "foundations/positions.html#row-scores-on-the-wrong-axes"


# --- augment --------------------------------------------------------------------


def augment(conv: Tensor, attention: Tensor) -> Tensor:
    """Put the channels of two maps [B, C1, H, W] and [B, C2, H, W] side by side."""
    B, C1, H, W = conv.shape
    y = conv.new_zeros(B, C1 + attention.shape[1], H, W)
    y[:, :C1] = conv
    y[:, C1:] = attention
    return y


def _interleaved(conv: Tensor, attention: Tensor) -> Tensor:
    return torch.stack([conv, attention], dim=2).flatten(1, 2)


AUGMENT = Exercise(
    name="augment",
    oracle=augment,
    draw=lambda random, B, C1, C2, H, W: {
        "conv": random.normal(B, C1, H, W),
        "attention": random.normal(B, C2, H, W),
    },
    sizes=(
        {"B": 1, "C1": 1, "C2": 1, "H": 1, "W": 2},
        {"B": 1, "C1": 2, "C2": 2, "H": 2, "W": 3},
        {"B": 2, "C1": 3, "C2": 1, "H": 3, "W": 2},
        {"B": 2, "C1": 2, "C2": 4, "H": 2, "W": 2},
    ),
    variants=(
        Variant(
            "attention_first",
            lambda conv, attention: augment(attention, conv),
            "The attention comes first. The convolution gives the first channels, the"
            " attention the last ones.",
            _FORMULA,
        ),
        Variant(
            "added",
            lambda conv, attention: conv + attention,
            "The two maps are added. They stand side by side: each keeps its own"
            " channels.",
            _FORMULA,
            also=(lambda conv, attention: (conv + attention) / 2,),
        ),
        Variant(
            "interleaved",
            _interleaved,
            "The channels of the two maps alternate. First all channels of the"
            " convolution, then all of the attention.",
            _FORMULA,
        ),
        Variant(
            "wrong_axis",
            lambda conv, attention: torch.cat([conv, attention], dim=-1),
            "The maps are joined along another axis. Channels are axis 1.",
            _FORMULA,
            also=(
                lambda conv, attention: torch.cat([conv, attention], dim=0),
                lambda conv, attention: torch.cat([conv, attention], dim=2),
            ),
        ),
    ),
    section=_FORMULA,
)


# --- combine_heads_2d -----------------------------------------------------------


def combine_heads_2d(x: Tensor, height: int, width: int) -> Tensor:
    """Make one map [B, N*D, H, W] of heads x [B, N, H*W, D], one channel at a time."""
    _, N, _, D = x.shape
    channels = [
        torch.unflatten(x[:, n, :, d], -1, (height, width))
        for n in range(N)
        for d in range(D)
    ]
    return torch.stack(channels, dim=1)


def _unflattened_by_columns(x: Tensor, height: int, width: int) -> Tensor:
    return combine_heads_2d(x, width, height)


COMBINE_HEADS_2D = Exercise(
    name="combine_heads_2d",
    oracle=combine_heads_2d,
    draw=lambda random, B, N, H, W, D: {
        "x": random.normal(B, N, H * W, D),
        "height": H,
        "width": W,
    },
    sizes=(
        {"B": 1, "N": 1, "H": 1, "W": 2, "D": 2},
        {"B": 1, "N": 2, "H": 2, "W": 2, "D": 2},
        {"B": 2, "N": 2, "H": 2, "W": 3, "D": 3},
        {"B": 1, "N": 3, "H": 3, "W": 3, "D": 2},
        {"B": 2, "N": 2, "H": 3, "W": 2, "D": 1},
    ),
    variants=(
        Variant(
            "reshape_without_transpose",
            lambda x, height, width: x.reshape(x.shape[0], -1, height, width),
            "The shape is right, but the memory still lists pixels before channels, so"
            " the picture is scrambled. Exchange the last two axes before you reshape.",
            _WRONG,
        ),
        Variant(
            "merged_then_reshaped",
            lambda x, height, width: x.transpose(1, 2).reshape(
                x.shape[0], -1, height, width
            ),
            "The heads are merged to [B, H*W, N*D], and then reshaped although the"
            " channels come last. Move them in front of the pixels first.",
            _WRONG,
        ),
        Variant(
            "height_and_width_exchanged",
            lambda x, height, width: _unflattened_by_columns(x, height, width).mT,
            "The pixels are read column by column. They are listed row by row:"
            " pixel i*W + j.",
            _LADDER,
            also=(_unflattened_by_columns,),
        ),
        Variant(
            "interleaved",
            lambda x, height, width: (
                x.permute(0, 3, 1, 2).flatten(1, 2).unflatten(2, (height, width))
            ),
            "The heads are mixed channel by channel. Head n owns the channels n*D ..."
            " (n+1)*D - 1.",
            _LADDER,
        ),
        Variant(
            "heads_summed",
            lambda x, height, width: x.sum(1).mT.unflatten(2, (height, width)),
            "The heads are added up. They stand side by side: N*D channels.",
            _FORMULA,
            also=(lambda x, height, width: x.mean(1).mT.unflatten(2, (height, width)),),
        ),
        Variant(
            "channels_last",
            lambda x, height, width: combine_heads_2d(x, height, width).movedim(1, -1),
            "The channels come last: [B, H, W, N*D]. Maps are [B, N*D, H, W] here.",
            _LADDER,
        ),
    ),
    section=_LADDER,
)


# --- augmented_channels ---------------------------------------------------------


def augmented_channels(
    width: int, kappa: float, upsilon: float, num_heads: int
) -> Tensor:
    """Channels (d_k, d_v) of keys and values beside `width` outputs, int64 [2]."""
    return torch.tensor(resnet.augmented_channels(width, kappa, upsilon, num_heads))


def _channels(
    width: int,
    kappa: float,
    upsilon: float,
    num_heads: int,
    *,
    least: int = 20,
    least_value: int = 1,
    rounded: Callable[[float], int] = lambda share: int(share + 0.5),
    cut: str = "per head",
) -> Tensor:
    """The rule with one switch for each place where it can go wrong."""
    if cut == "whole":
        keys = max(rounded(kappa * width), least * num_heads)
        return torch.tensor([keys, max(rounded(upsilon * width), num_heads)])
    keys = max(rounded(kappa * width / num_heads), least)
    values = max(rounded(upsilon * width / num_heads), least_value)
    times = 1 if cut == "one head" else num_heads
    return torch.tensor([keys * times, values * times])


AUGMENTED_CHANNELS = Exercise(
    name="augmented_channels",
    oracle=augmented_channels,
    draw=lambda random, width, kappa, upsilon, num_heads: {
        "width": width,
        "kappa": kappa / 100,
        "upsilon": upsilon / 100,
        "num_heads": num_heads,
    },
    sizes=(  # kappa and upsilon in percent
        {"width": 8, "kappa": 50, "upsilon": 25, "num_heads": 1},
        {"width": 64, "kappa": 20, "upsilon": 10, "num_heads": 8},
        {"width": 128, "kappa": 20, "upsilon": 10, "num_heads": 8},
        {"width": 256, "kappa": 25, "upsilon": 25, "num_heads": 8},
        {"width": 512, "kappa": 20, "upsilon": 10, "num_heads": 8},
        {"width": 1024, "kappa": 20, "upsilon": 10, "num_heads": 4},
        {"width": 48, "kappa": 25, "upsilon": 5, "num_heads": 8},
    ),
    variants=(
        Variant(
            "minimum_forgotten",
            partial(_channels, least=1),
            "The least width of a key is forgotten: 20 channels for each head. Without"
            " it the networks are smaller than the published ones.",
            _COST,
            also=(partial(_channels, least=0),),
        ),
        Variant(
            "minimum_for_all_heads",
            lambda width, kappa, upsilon, num_heads: torch.stack(
                [
                    _channels(width, kappa, upsilon, num_heads, least=1)[0].clamp_min(
                        20
                    ),
                    _channels(width, kappa, upsilon, num_heads)[1],
                ]
            ),
            "The keys get at least 20 channels in all. The rule asks for 20 in each"
            " head.",
            _COST,
        ),
        Variant(
            "minimum_for_the_values",
            partial(_channels, least_value=20),
            "The values get at least 20 channels for each head, too. Only the keys"
            " have this minimum.",
            _COST,
        ),
        Variant(
            "kappa_and_upsilon_exchanged",
            lambda width, kappa, upsilon, num_heads: _channels(
                width, upsilon, kappa, num_heads
            ),
            "kappa and upsilon are exchanged. kappa is the share of the keys, upsilon"
            " the share of the values.",
            _FORMULA,
        ),
        Variant(
            "values_first",
            lambda width, kappa, upsilon, num_heads: _channels(
                width, kappa, upsilon, num_heads
            ).flip(0),
            "The values come first. Return the channels of the keys, then those of the"
            " values.",
            _FORMULA,
        ),
        Variant(
            "rounded_down",
            partial(_channels, rounded=int),
            "The shares are rounded down. Round to the nearest whole number.",
            _COST,
        ),
        Variant(
            "rounded_up",
            partial(_channels, rounded=lambda share: -int(-share // 1)),
            "The shares are rounded up. Round to the nearest whole number.",
            _COST,
        ),
        Variant(
            "not_a_multiple_of_the_heads",
            partial(_channels, cut="whole"),
            "The channels do not divide among the heads. Round the share of one head,"
            " then multiply by `num_heads`.",
            _FORMULA,
        ),
        Variant(
            "channels_of_one_head",
            partial(_channels, cut="one head"),
            "These are the channels of one head. Multiply by `num_heads`.",
            _FORMULA,
        ),
        Variant(
            "heads_without_values",
            partial(_channels, least_value=0),
            "A small upsilon leaves the heads without values. Each head keeps at least"
            " one channel.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- relative_memory and skew_memory --------------------------------------------


def relative_memory(
    height: int, width: int, head_dim: int, bytes_per_number: int
) -> int:
    """Bytes of a vector r for every pair of pixels; all heads share it."""
    tokens = height * width
    return tokens * tokens * head_dim * bytes_per_number


RELATIVE_MEMORY = Exercise(
    name="relative_memory",
    oracle=relative_memory,
    draw=lambda random, height, width, head_dim, bytes_per_number: {
        "height": height,
        "width": width,
        "head_dim": head_dim,
        "bytes_per_number": bytes_per_number,
    },
    sizes=(
        {"height": 1, "width": 2, "head_dim": 3, "bytes_per_number": 2},
        {"height": 3, "width": 5, "head_dim": 4, "bytes_per_number": 4},
        {"height": 14, "width": 9, "head_dim": 20, "bytes_per_number": 4},
        {"height": 28, "width": 28, "head_dim": 20, "bytes_per_number": 2},
    ),
    variants=(
        Variant(
            "pixels_counted_once",
            lambda height, width, head_dim, bytes_per_number: (
                height * width * head_dim * bytes_per_number
            ),
            "There is one vector per pixel. This form has one per pair of pixels:"
            " (H*W)^2.",
            _COST,
        ),
        Variant(
            "tables_only",
            lambda height, width, head_dim, bytes_per_number: (
                2 * (height + width - 1) * head_dim * bytes_per_number
            ),
            "These are the two tables. The question is about the vectors copied out of"
            " them, one for each pair of pixels.",
            _COST,
        ),
        Variant(
            "width_of_the_vector_forgotten",
            lambda height, width, head_dim, bytes_per_number: (
                (height * width) ** 2 * bytes_per_number
            ),
            "There is one number per pair. Here each pair has a vector of `head_dim`"
            " numbers.",
            _COST,
        ),
        Variant(
            "numbers_not_bytes",
            lambda height, width, head_dim, bytes_per_number: (
                (height * width) ** 2 * head_dim
            ),
            "This counts numbers. Multiply by the bytes of one number.",
            _COST,
        ),
        Variant(
            "square_map_assumed",
            lambda height, width, head_dim, bytes_per_number: (
                height**4 * head_dim * bytes_per_number
            ),
            "Height and width are taken to be equal. The pixels are H*W.",
            _COST,
            also=(
                lambda height, width, head_dim, bytes_per_number: (
                    width**4 * head_dim * bytes_per_number
                ),
            ),
        ),
        Variant(
            "width_squared",
            lambda height, width, head_dim, bytes_per_number: (
                (height * width * head_dim) ** 2 * bytes_per_number
            ),
            "The head dimension is squared together with the pixels. Only the pixels"
            " come in pairs.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


def skew_memory(height: int, width: int, num_heads: int, bytes_per_number: int) -> int:
    """Bytes of the logits of one image before the skew: all row and column offsets."""
    offsets = (2 * height - 1) + (2 * width - 1)
    return num_heads * height * width * offsets * bytes_per_number


SKEW_MEMORY = Exercise(
    name="skew_memory",
    oracle=skew_memory,
    draw=lambda random, height, width, num_heads, bytes_per_number: {
        "height": height,
        "width": width,
        "num_heads": num_heads,
        "bytes_per_number": bytes_per_number,
    },
    sizes=(
        {"height": 1, "width": 2, "num_heads": 1, "bytes_per_number": 2},
        {"height": 3, "width": 5, "num_heads": 3, "bytes_per_number": 4},
        {"height": 14, "width": 9, "num_heads": 8, "bytes_per_number": 4},
        {"height": 28, "width": 28, "num_heads": 8, "bytes_per_number": 2},
    ),
    variants=(
        Variant(
            "one_offset_too_many",
            lambda height, width, num_heads, bytes_per_number: (
                num_heads * height * width * 2 * (height + width) * bytes_per_number
            ),
            "There are 2H and 2W offsets. Offset 0 counts once: 2H-1 and 2W-1.",
            _HAND,
        ),
        Variant(
            "after_the_skew",
            lambda height, width, num_heads, bytes_per_number: (
                num_heads * height * width * (height + width) * bytes_per_number
            ),
            "This is the size after the skew, with one column per key. Before it there"
            " is one per offset: 2H-1 and 2W-1.",
            _LADDER,
        ),
        Variant(
            "all_pairs",
            lambda height, width, num_heads, bytes_per_number: (
                num_heads * (height * width) ** 2 * bytes_per_number
            ),
            "This is the attention map, one number per pair of pixels. The skew works"
            " on rows and columns apart.",
            _COST,
        ),
        Variant(
            "offsets_multiplied",
            lambda height, width, num_heads, bytes_per_number: (
                num_heads
                * height
                * width
                * (2 * height - 1)
                * (2 * width - 1)
                * bytes_per_number
            ),
            "This counts pairs of a row and a column offset. There are two arrays: the"
            " numbers of offsets add.",
            _COST,
        ),
        Variant(
            "one_array_forgotten",
            lambda height, width, num_heads, bytes_per_number: (
                num_heads * height * width * (2 * width - 1) * bytes_per_number
            ),
            "This is one of two arrays. Row offsets and column offsets have one each.",
            _COST,
            also=(
                lambda height, width, num_heads, bytes_per_number: (
                    num_heads * height * width * (2 * height - 1) * bytes_per_number
                ),
            ),
        ),
        Variant(
            "queries_forgotten",
            lambda height, width, num_heads, bytes_per_number: (
                num_heads * 2 * (height + width - 1) * bytes_per_number
            ),
            "There is one number per offset. Each of the H*W queries has its own.",
            _COST,
        ),
        Variant(
            "heads_forgotten",
            lambda height, width, num_heads, bytes_per_number: skew_memory(
                height, width, 1, bytes_per_number
            ),
            "The heads are forgotten. They share the tables, but each has its own"
            " queries, and so its own logits.",
            _COST,
        ),
        Variant(
            "numbers_not_bytes",
            lambda height, width, num_heads, bytes_per_number: skew_memory(
                height, width, num_heads, 1
            ),
            "This counts numbers. Multiply by the bytes of one number.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- augmented_parameters -------------------------------------------------------


def augmented_parameters(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    key_channels: int,
    value_channels: int,
    num_heads: int,
    height: int,
    width: int,
) -> int:
    """Parameters of `AAConv2d`: convolutions with biases, two tables for all heads."""
    rest = out_channels - value_channels
    conv = rest * (in_channels * kernel_size**2 + 1)
    kqv = (2 * key_channels + value_channels) * (in_channels + 1)
    proj = value_channels * (value_channels + 1)
    offsets = (2 * height - 1) + (2 * width - 1)
    return conv + kqv + proj + offsets * (key_channels // num_heads)


def _parameters(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    key_channels: int,
    value_channels: int,
    num_heads: int,
    height: int,
    width: int,
    *,
    bias: int = 1,
    whole_conv: bool = False,
    kqv_kernel: bool = False,
    keys: int = 2,
    proj: str = "values",
    tables: str = "shared",
) -> int:
    """The count with one switch for each place where it can go wrong."""
    rest = out_channels if whole_conv else out_channels - value_channels
    total = rest * (in_channels * kernel_size**2 + bias)
    taps = kernel_size**2 if kqv_kernel else 1
    total += (keys * key_channels + value_channels) * (in_channels * taps + bias)
    ends = {"values": value_channels, "none": 0, "all": out_channels}[proj]
    total += ends * (value_channels + bias)
    head_dim = key_channels // num_heads
    return (
        total
        + {
            "shared": 2 * (height + width - 1) * head_dim,
            "per head": 2 * (height + width - 1) * key_channels,
            "absolute": (height + width) * head_dim,
            "too long": 2 * (height + width) * head_dim,
            "all pairs": (2 * height - 1) * (2 * width - 1) * head_dim,
            "none": 0,
        }[tables]
    )


AUGMENTED_PARAMETERS = Exercise(
    name="augmented_parameters",
    oracle=augmented_parameters,
    draw=lambda random, cin, cout, reach, dk, dv, N, H, W: {
        "in_channels": cin,
        "out_channels": N * (dv + cout),
        "kernel_size": 2 * reach + 1,
        "key_channels": N * dk,
        "value_channels": N * dv,
        "num_heads": N,
        "height": H,
        "width": W,
    },
    sizes=(  # cout, dk and dv are channels of one head
        {"cin": 1, "cout": 1, "reach": 0, "dk": 1, "dv": 1, "N": 1, "H": 1, "W": 2},
        {"cin": 2, "cout": 3, "reach": 1, "dk": 3, "dv": 2, "N": 2, "H": 3, "W": 5},
        {"cin": 5, "cout": 2, "reach": 2, "dk": 2, "dv": 3, "N": 3, "H": 4, "W": 2},
        {"cin": 64, "cout": 7, "reach": 1, "dk": 20, "dv": 1, "N": 8, "H": 28, "W": 20},
    ),
    variants=(
        Variant(
            "convolution_keeps_all_channels",
            partial(_parameters, whole_conv=True),
            "The convolution makes all output channels. The attention makes d_v of"
            " them; the convolution makes the rest.",
            _FORMULA,
        ),
        Variant(
            "biases_forgotten",
            partial(_parameters, bias=0),
            "The biases are forgotten. Each of the three convolutions has one number"
            " per output channel.",
            _COST,
        ),
        Variant(
            "output_projection_forgotten",
            partial(_parameters, proj="none"),
            "The last 1x1 convolution is forgotten. It mixes the heads: from d_v to"
            " d_v channels.",
            _FORMULA,
        ),
        Variant(
            "output_projection_too_wide",
            partial(_parameters, proj="all"),
            "The last 1x1 convolution gives all output channels. It gives d_v of them;"
            " the others come from the convolution.",
            _FORMULA,
        ),
        Variant(
            "queries_forgotten",
            partial(_parameters, keys=1),
            "Queries have d_k channels as well: the first 1x1 convolution gives"
            " 2*d_k + d_v.",
            _FORMULA,
        ),
        Variant(
            "projection_with_a_window",
            partial(_parameters, kqv_kernel=True),
            "Queries, keys and values come from a K x K convolution. The paper uses a"
            " 1x1 convolution.",
            _WRONG,
        ),
        Variant(
            "tables_per_head",
            partial(_parameters, tables="per head"),
            "Each head has tables of its own. The heads of a layer share them: the"
            " width is d_k / N.",
            _FORMULA,
        ),
        Variant(
            "tables_of_places",
            partial(_parameters, tables="absolute"),
            "The tables have H and W rows, one per place. They have one per offset:"
            " 2H-1 and 2W-1.",
            _HAND,
        ),
        Variant(
            "one_offset_too_many",
            partial(_parameters, tables="too long"),
            "There are 2H and 2W offsets. Offset 0 counts once: 2H-1 and 2W-1.",
            _HAND,
        ),
        Variant(
            "a_vector_per_offset_pair",
            partial(_parameters, tables="all pairs"),
            "There is one vector for every pair of a row and a column offset. Two"
            " tables are enough: their vectors add.",
            _FORMULA,
        ),
        Variant(
            "tables_forgotten",
            partial(_parameters, tables="none"),
            "The relative tables are forgotten. They are parameters, too.",
            _FORMULA,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- augmented_attention --------------------------------------------------------

Offsets = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _draw_attention(
    random: Draw,
    B: int,
    N: int,
    H: int,
    W: int,
    D: int,
    E: int,
    relative: bool = False,
) -> Inputs:
    inputs: Inputs = {
        "q": 1.5 * random.normal(B, N, H, W, D),
        "k": random.normal(B, N, H, W, D),
        "v": random.normal(B, N, H, W, E),
    }
    if relative:
        inputs["rel_height"] = random.normal(2 * H - 1, D)
        inputs["rel_width"] = random.normal(2 * W - 1, D)
    return inputs


def _augmented(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_height: Tensor | None = None,
    rel_width: Tensor | None = None,
    *,
    power: float = -0.5,
    scaled: str = "both",
    full_width: bool = False,
    asks: str = "query",
    terms: tuple[int, int, int] = (1, 1, 1),
    offsets: Offsets = lambda i, j, a, b: (a - i, b - j),
    square: bool = False,
    heads: str = "own",
    softmax: str = "keys",
    layout: str = "right",
    values: str = "content",
) -> Tensor:
    """Augmented attention with one switch for each place where it can go wrong."""
    B, N, H, W, D = q.shape
    if square and H != W:
        raise ValueError(f"this mistake only runs on square maps, got {H} x {W}")
    scale = (N * D if full_width else D) ** power
    content = scale * torch.einsum("bnijd,bnxyd->bnijxy", q, k) * terms[0]
    logits, r = content, None
    if rel_height is not None and rel_width is not None:
        i, a = torch.arange(H)[:, None, None, None], torch.arange(H)[:, None]
        j, b = torch.arange(W)[:, None, None], torch.arange(W)
        row, column = offsets(i, j, a, b)
        r = terms[1] * rel_height[row + H - 1] + terms[2] * rel_width[column + W - 1]
        r = r.expand(H, W, H, W, D)
        if asks == "query":
            position = torch.einsum("bnijd,ijxyd->bnijxy", q, r)
        else:
            position = torch.einsum("bnxyd,ijxyd->bnijxy", k, r)
        if values != "only positioned":
            logits = content + (scale if scaled == "both" else 1) * position
    if heads == "one map":
        logits = logits.sum(1, keepdim=True).expand_as(logits)
    axis = {"keys": (4, 5), "queries": (2, 3), "key row": (5,), "key column": (4,)}
    weights = logits.sub(logits.amax(axis[softmax], keepdim=True)).exp()
    weights = weights / weights.sum(axis[softmax], keepdim=True)
    y = torch.einsum("bnijxy,bnxye->bnije", weights, v)
    if values != "content" and r is not None:
        y = y + torch.einsum("bnijxy,ijxye->bnije", weights, r)
    if layout == "channels first":
        y = y.permute(0, 1, 4, 2, 3).reshape(v.shape)
    if layout == "by columns":
        y = y.reshape(B, N, W, H, -1).transpose(2, 3)
    return y


def _tables_swapped(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_height: Tensor | None = None,
    rel_width: Tensor | None = None,
) -> Tensor:
    return _augmented(q, k, v, rel_width, rel_height, square=rel_height is not None)


def _positions_missing(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_height: Tensor | None = None,
    rel_width: Tensor | None = None,
) -> Tensor:
    return _augmented(q, k, v)


AUGMENTED_ATTENTION = Exercise(
    name="augmented_attention",
    oracle=augmented_attention_loop,
    draw=_draw_attention,
    sizes=(
        {"B": 1, "N": 1, "H": 1, "W": 2, "D": 2, "E": 1},
        {"B": 1, "N": 2, "H": 2, "W": 3, "D": 2, "E": 2},
        {"B": 1, "N": 1, "H": 2, "W": 2, "D": 2, "E": 2, "relative": True},
        {"B": 2, "N": 2, "H": 3, "W": 3, "D": 3, "E": 3, "relative": True},
        {"B": 1, "N": 3, "H": 3, "W": 2, "D": 2, "E": 3, "relative": True},
        {"B": 1, "N": 2, "H": 2, "W": 4, "D": 3, "E": 2, "relative": True},
    ),
    variants=(
        Variant(
            "relative_not_scaled",
            partial(_augmented, scaled="content"),
            "Only the content is divided by sqrt(D). Here the relative part is, too:"
            " scale `q` before it meets anything.",
            _FORMULA,
        ),
        Variant(
            "no_scale",
            partial(_augmented, power=0.0),
            "The logits are not scaled. Divide by sqrt(D), with D the width of one"
            " head.",
            _FORMULA,
        ),
        Variant(
            "multiplied_by_root",
            partial(_augmented, power=0.5),
            "The logits are multiplied by sqrt(D). Divide by it.",
            _FORMULA,
        ),
        Variant(
            "divided_by_width",
            partial(_augmented, power=-1.0),
            "The logits are divided by D, as if both `q` and the logits were scaled."
            " Divide once by sqrt(D).",
            _FORMULA,
        ),
        Variant(
            "scale_by_full_width",
            partial(_augmented, full_width=True),
            "The scale uses the width of all heads. A logit is a sum over the D"
            " channels of one head: divide by sqrt(D).",
            _FORMULA,
        ),
        Variant(
            "positions_missing",
            _positions_missing,
            "The relative tables have no effect. Add their logits.",
            _FORMULA,
        ),
        Variant(
            "content_missing",
            partial(_augmented, terms=(0, 1, 1)),
            "The content of the keys has no effect. Add q.k to the relative logits.",
            _FORMULA,
        ),
        Variant(
            "height_missing",
            partial(_augmented, terms=(1, 0, 1)),
            "The row offset has no effect. Add the logits of `rel_height`.",
            _FORMULA,
        ),
        Variant(
            "width_missing",
            partial(_augmented, terms=(1, 1, 0)),
            "The column offset has no effect. Add the logits of `rel_width`.",
            _FORMULA,
        ),
        Variant(
            "tables_swapped",
            _tables_swapped,
            "The two tables are swapped: `rel_height` belongs to the row offset,"
            " `rel_width` to the column offset.",
            _WRONG,
        ),
        Variant(
            "height_ignores_key_row",
            partial(_augmented, offsets=lambda i, j, a, b: (b - i, b - j), square=True),
            "The height logits stand on the wrong axis: they vary with the key's"
            " column and not with its row. Give them the shape [H, W, H, 1].",
            _AXES,
            also=(
                partial(
                    _augmented, offsets=lambda i, j, a, b: (b - j, b - j), square=True
                ),
            ),
        ),
        Variant(
            "height_ignores_query_row",
            partial(_augmented, offsets=lambda i, j, a, b: (a - j, b - j), square=True),
            "The height logits use the query's column. Exchange H and W of `q` before"
            " the table of the height, and back afterwards.",
            _AXES,
        ),
        Variant(
            "mirrored",
            partial(_augmented, offsets=lambda i, j, a, b: (i - a, j - b)),
            "Both offsets are mirrored: query minus key. They are key minus query.",
            _MIRRORED,
        ),
        Variant(
            "rows_mirrored",
            partial(_augmented, offsets=lambda i, j, a, b: (i - a, b - j)),
            "The row offset is mirrored. It is key minus query, a - i.",
            _MIRRORED,
        ),
        Variant(
            "columns_mirrored",
            partial(_augmented, offsets=lambda i, j, a, b: (a - i, j - b)),
            "The column offset is mirrored. It is key minus query, b - j.",
            _MIRRORED,
        ),
        Variant(
            "not_skewed",
            partial(_augmented, offsets=lambda i, j, a, b: (a, b)),
            "Every query takes the same rows of the tables, so they hold absolute"
            " places. Row m belongs to offset m - (H-1): this is what the skew is for.",
            _LADDER,
            also=(
                lambda q, k, v, rel_height=None, rel_width=None: _augmented(
                    q,
                    k,
                    v,
                    rel_height,
                    rel_width,
                    offsets=lambda i, j, a, b: (
                        a - q.shape[2] + 1,
                        b - q.shape[3] + 1,
                    ),
                ),
            ),
        ),
        Variant(
            "offset_meets_key",
            partial(_augmented, asks="key"),
            "The offset's vector is multiplied by the key. It meets the query: q.r.",
            _FORMULA,
        ),
        Variant(
            "positions_added_to_values",
            partial(_augmented, values="only positioned"),
            "The offset's vector is added to the values. It belongs to the logits.",
            _FORMULA,
            also=(partial(_augmented, values="positioned too"),),
        ),
        Variant(
            "one_map_for_all_heads",
            partial(_augmented, heads="one map"),
            "The logits are summed over the heads, so all heads share one map. Each"
            " head needs its own softmax.",
            _FORMULA,
        ),
        Variant(
            "softmax_over_queries",
            partial(_augmented, softmax="queries"),
            "The softmax runs over the queries. It runs over the keys.",
            _FORMULA,
        ),
        Variant(
            "softmax_over_one_axis",
            partial(_augmented, softmax="key row"),
            "The softmax runs along one axis of the map. All H*W keys share one"
            " softmax: flatten rows and columns first.",
            _LADDER,
            also=(partial(_augmented, softmax="key column"),),
        ),
        Variant(
            "reshape_without_transpose",
            partial(_augmented, layout="channels first"),
            "The output has the right shape, but channels and pixels are mixed: it was"
            " reshaped where axes had to be exchanged.",
            _WRONG,
        ),
        Variant(
            "height_and_width_exchanged",
            partial(_augmented, layout="by columns"),
            "Between map and tokens, height and width are exchanged: pixels are listed"
            " row by row and read column by column.",
            _WRONG,
        ),
    ),
    section=_LOOP,
)

EXERCISES = (
    AUGMENT,
    COMBINE_HEADS_2D,
    AUGMENTED_CHANNELS,
    RELATIVE_MEMORY,
    SKEW_MEMORY,
    AUGMENTED_PARAMETERS,
    AUGMENTED_ATTENTION,
)
