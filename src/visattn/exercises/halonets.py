"""Exercises on HaloNets: their sizes, their view, and the price of a halo.

Shapes: b block, h halo, U = b + 2h side of a neighbourhood, w width of a stage.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant

_PAGE = "scaling/halonets.html"
_LOOK = f"{_PAGE}#look-first"
_FORMULA = f"{_PAGE}#the-formula"
_HAND = f"{_PAGE}#by-hand"
_LOOP = f"{_PAGE}#the-loop"
_LADDER = f"{_PAGE}#the-ladder"
_COST = f"{_PAGE}#the-cost"
_PROOF = f"{_PAGE}#prove-it"
_WRONG = f"{_PAGE}#right-shape-still-wrong"


# --- overlap_ratio --------------------------------------------------------------


def overlap_ratio(block_size: int, halo_size: int) -> float:
    """Mean number of neighbourhoods that hold a pixel, far from the border."""
    b, h = block_size, halo_size
    pixel_in = 0  # neighbourhoods of one axis that hold a pixel of block 0
    for pixel in range(b):
        for block in range(-h, h + 1):
            first = block * b - h
            pixel_in += first <= pixel < first + b + 2 * h
    return (pixel_in / b) ** 2


OVERLAP_RATIO = Exercise(
    name="overlap_ratio",
    oracle=overlap_ratio,
    draw=lambda random, b, h: {"block_size": b, "halo_size": h},
    sizes=(
        {"b": 2, "h": 1},
        {"b": 8, "h": 3},
        {"b": 5, "h": 2},
        {"b": 1, "h": 3},
        {"b": 3, "h": 7},
    ),
    variants=(
        Variant(
            "one_axis",
            lambda block_size, halo_size: (block_size + 2 * halo_size) / block_size,
            "This is the ratio of one axis. A neighbourhood overlaps the next ones in"
            " rows and in columns: take the square.",
            _COST,
        ),
        Variant(
            "halo_on_one_side",
            lambda block_size, halo_size: ((block_size + halo_size) / block_size) ** 2,
            "The halo is counted once for each axis. It lies on both sides of the"
            " block: U = b + 2h.",
            _FORMULA,
        ),
        Variant(
            "upside_down",
            lambda block_size, halo_size: (
                (block_size / (block_size + 2 * halo_size)) ** 2
            ),
            "The fraction is upside down. A neighbourhood is larger than its block, so"
            " the ratio is above 1.",
            _COST,
        ),
        Variant(
            "keys_of_a_query",
            lambda block_size, halo_size: float((block_size + 2 * halo_size) ** 2),
            "These are the keys of one query. Divide by the pixels of a block.",
            _COST,
        ),
        Variant(
            "halo_alone",
            lambda block_size, halo_size: (
                ((block_size + 2 * halo_size) / block_size) ** 2 - 1
            ),
            "The pixel's own block is missing: it lies in that neighbourhood, too.",
            _COST,
        ),
        Variant(
            "whole_blocks",
            lambda block_size, halo_size: (
                (1.0 + 2 * math.ceil(halo_size / block_size)) ** 2
            ),
            "This counts blocks that a neighbourhood touches. A halo may cover only a"
            " part of a block: count pixels.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- halo_receptive_field -------------------------------------------------------

Layers = Sequence[tuple[int, int, int]]
"""(block, halo, stride) of each layer, from the first to the last."""


def halo_receptive_field(index: int, layers: Layers) -> Tensor:
    """First and last pixel of an axis that can move the output pixel ``index``."""
    seen = {index}
    for block, halo, stride in reversed(layers):
        before: set[int] = set()
        for query in seen:
            start = stride * query // block * block
            before.update(range(start - halo, start + block + halo))
        seen = before
    return torch.tensor([min(seen), max(seen)])


def _ends(
    index: int,
    layers: Layers,
    *,
    order: str = "backwards",
    strides: str = "before",
    floor: str = "down",
    halos: str = "both",
    window: str = "block",
    last: int = 1,
) -> Tensor:
    """The same from two ends, with each rule to choose."""
    low = high = index
    path = list(reversed(layers)) if order == "backwards" else list(layers)
    for number, (b, h, s) in enumerate(path):
        if strides == "before":
            low, high = s * low, s * high
        if window == "query":
            low, high = low - (b + 2 * h) // 2, high + (b + 2 * h) // 2
            continue
        if window == "halo" and number > 0:
            low, high = low - h, high + h
            continue
        if floor == "down":
            low, high = low // b * b, high // b * b
        else:  # towards zero
            low, high = int(low / b) * b, int(high / b) * b
        left = h if halos in ("both", "left") else 0
        right = h if halos in ("both", "right") else 0
        low, high = low - left, high + b - last + right
        if strides == "after":
            low, high = s * low, s * high
    return torch.tensor([low, high])


def _draw_view(random: Draw, n: int, b: int, h: int, s: int, i: int) -> Inputs:
    layers = []
    for _ in range(n):
        stride = int(random.integers(1, s))
        block = stride * int(random.integers(1, b))
        layers.append((block, int(random.integers(min(1, h), h)), stride))
    return {"index": i, "layers": layers}


HALO_RECEPTIVE_FIELD = Exercise(
    name="halo_receptive_field",
    oracle=halo_receptive_field,
    draw=_draw_view,
    sizes=(
        {"n": 1, "b": 4, "h": 1, "s": 1, "i": 3},
        {"n": 2, "b": 4, "h": 2, "s": 1, "i": 5},
        {"n": 2, "b": 3, "h": 2, "s": 2, "i": 7},
        {"n": 3, "b": 5, "h": 4, "s": 2, "i": 1},
        {"n": 4, "b": 3, "h": 3, "s": 3, "i": 2},
        {"n": 5, "b": 4, "h": 6, "s": 2, "i": 11},
    ),
    variants=(
        Variant(
            "first_layer_first",
            partial(_ends, order="forwards"),
            "The layers are taken from the first to the last. Ask what the *last* layer"
            " sees, then what the one before saw of that.",
            _LOOP,
        ),
        Variant(
            "stride_ignored",
            partial(_ends, strides="none"),
            "The stride is not used. Output i asks the query at s i.",
            _FORMULA,
        ),
        Variant(
            "stride_last",
            partial(_ends, strides="after"),
            "The stride multiplies the ends of the neighbourhood. It belongs to the"
            " query: first s i, then the block.",
            _FORMULA,
        ),
        Variant(
            "rounded_to_zero",
            partial(_ends, floor="zero"),
            "Negative places are rounded towards zero. Pixel -1 lies in block -1: round"
            " down, as `//` does.",
            _HAND,
        ),
        Variant(
            "grows_by_the_halo",
            partial(_ends, window="halo"),
            "From the second layer on, each side grows by the halo only. A pixel of the"
            " halo lies in another block, and that block looks as a whole.",
            _LADDER,
        ),
        Variant(
            "centred_windows",
            partial(_ends, window="query"),
            "Every query has a window around itself. Here it shares the neighbourhood"
            " of its block.",
            _FORMULA,
        ),
        Variant(
            "no_halo",
            partial(_ends, halos="none"),
            "The halo is missing.",
            _FORMULA,
        ),
        Variant(
            "halo_on_one_side",
            partial(_ends, halos="left"),
            "The halo lies on both sides of the block.",
            _FORMULA,
            also=(partial(_ends, halos="right"),),
        ),
        Variant(
            "one_too_far",
            partial(_ends, last=0),
            "The last pixel of a block is its first plus b - 1.",
            _FORMULA,
        ),
    ),
    section=_LADDER,
    gradients=False,
)


# --- halo_bottleneck_parameters -------------------------------------------------


def halo_bottleneck_parameters(
    in_channels: int,
    width: int,
    value_channels: int,
    out_channels: int,
    num_heads: int,
    block_size: int,
    halo_size: int,
    stride: int,
) -> int:
    """Convolutions, projections, tables and norms of one block."""
    offsets = 2 * (block_size + 2 * halo_size) - 1
    total = in_channels * width + 2 * width
    total += 2 * width * width + width * value_channels
    total += 2 * offsets * (width // num_heads) + 2 * value_channels
    total += value_channels * out_channels + 2 * out_channels
    if stride > 1 or in_channels != out_channels:
        total += in_channels * out_channels + 2 * out_channels
    return total


def _bottleneck(
    in_channels: int,
    width: int,
    value_channels: int,
    out_channels: int,
    num_heads: int,
    block_size: int,
    halo_size: int,
    stride: int,
    *,
    tables: int = 2,
    per_head: bool = False,
    offsets: str = "2U-1",
    norm: int = 2,
    middle_norm: bool = True,
    values: str = "given",
    shortcut: str = "where needed",
    shortcut_norm: bool = True,
    biases: bool = False,
) -> int:
    """The same with each term to choose."""
    C, w, D = in_channels, width, out_channels
    v = w if values == "as keys" else value_channels
    inner = v if values == "all wide" else w
    U = block_size + 2 * halo_size
    rows = {
        "2U-1": 2 * U - 1,
        "U": U,
        "2U": 2 * U,
        "reached": 2 * (block_size + halo_size) - 1,
        "block": 2 * block_size - 1,
    }[offsets]
    total = C * inner + 2 * inner * inner + inner * v + v * D
    total += tables * rows * (inner if per_head else inner // num_heads)
    total += norm * (inner + v * middle_norm + D)
    needed = {
        "where needed": stride > 1 or C != D,
        "always": True,
        "never": False,
        "by stride": stride > 1,
        "by channels": C != D,
    }[shortcut]
    if needed:
        total += C * D + norm * D * shortcut_norm
    return total + (3 * inner + v + D if biases else 0)


HALO_BOTTLENECK_PARAMETERS = Exercise(
    name="halo_bottleneck_parameters",
    oracle=halo_bottleneck_parameters,
    draw=lambda random, C, d, v, D, N, b, h, s: {
        "in_channels": C,
        "width": N * d,
        "value_channels": N * v,
        "out_channels": D,
        "num_heads": N,
        "block_size": s * b,
        "halo_size": h,
        "stride": s,
    },
    sizes=(
        {"C": 4, "d": 2, "v": 4, "D": 6, "N": 1, "b": 2, "h": 1, "s": 1},
        {"C": 12, "d": 3, "v": 3, "D": 12, "N": 2, "b": 4, "h": 1, "s": 1},
        {"C": 12, "d": 3, "v": 6, "D": 12, "N": 2, "b": 2, "h": 3, "s": 2},
        {"C": 64, "d": 16, "v": 40, "D": 128, "N": 4, "b": 14, "h": 2, "s": 1},
        {"C": 128, "d": 16, "v": 16, "D": 128, "N": 8, "b": 4, "h": 3, "s": 2},
    ),
    variants=(
        Variant(
            "no_tables",
            partial(_bottleneck, tables=0),
            "The tables of relative positions are missing: two, with 2U - 1 rows as"
            " wide as a head.",
            _COST,
        ),
        Variant(
            "one_table",
            partial(_bottleneck, tables=1),
            "There is one table. Rows and columns have one each.",
            _COST,
        ),
        Variant(
            "tables_for_each_head",
            partial(_bottleneck, per_head=True),
            "Each head has tables of its own. They share them.",
            _COST,
        ),
        Variant(
            "reached_rows_only",
            partial(_bottleneck, offsets="reached"),
            "The rows that no key reaches are left out. The tables have 2U - 1 rows"
            " all the same.",
            _COST,
        ),
        Variant(
            "rows_of_the_block",
            partial(_bottleneck, offsets="block"),
            "The tables have rows for the offsets of a block. The neighbourhood is"
            " wider: U = b + 2h.",
            _FORMULA,
        ),
        Variant(
            "offsets_of_one_sign",
            partial(_bottleneck, offsets="U"),
            "The tables have U rows. A key lies before or behind its query: 2U - 1"
            " offsets.",
            _COST,
        ),
        Variant(
            "zero_counted_twice",
            partial(_bottleneck, offsets="2U"),
            "The tables have 2U rows. Offset zero is one offset, not two: 2U - 1.",
            _COST,
        ),
        Variant(
            "all_wide",
            partial(_bottleneck, values="all wide"),
            "Queries and keys are as wide as the values. Only the values are widened.",
            _WRONG,
        ),
        Variant(
            "values_as_keys",
            partial(_bottleneck, values="as keys"),
            "The values are as wide as the keys. They have `value_channels`, and so has"
            " the input of the last convolution.",
            _FORMULA,
        ),
        Variant(
            "no_norms",
            partial(_bottleneck, norm=0),
            "The batch norms are missing: a scale and a shift for each channel.",
            _COST,
        ),
        Variant(
            "one_number_per_norm",
            partial(_bottleneck, norm=1),
            "One number is counted for each channel of a norm. A batch norm has a scale"
            " and a shift.",
            _COST,
        ),
        Variant(
            "no_norm_after_the_attention",
            partial(_bottleneck, middle_norm=False),
            "The norm behind the attention is missing.",
            _COST,
        ),
        Variant(
            "no_shortcut",
            partial(_bottleneck, shortcut="never"),
            "The convolution of the shortcut is missing. It is there where the shape"
            " changes.",
            _FORMULA,
        ),
        Variant(
            "shortcut_always",
            partial(_bottleneck, shortcut="always"),
            "The shortcut has a convolution in every block. Where the shape stays it is"
            " the identity.",
            _FORMULA,
        ),
        Variant(
            "shortcut_by_channels",
            partial(_bottleneck, shortcut="by channels"),
            "A stride changes the shape, too: then the shortcut needs its convolution"
            " even if the channels stay.",
            _FORMULA,
        ),
        Variant(
            "shortcut_by_stride",
            partial(_bottleneck, shortcut="by stride"),
            "Other channels change the shape, too: then the shortcut needs its"
            " convolution even without a stride.",
            _FORMULA,
        ),
        Variant(
            "shortcut_without_norm",
            partial(_bottleneck, shortcut_norm=False),
            "The norm of the shortcut is missing.",
            _FORMULA,
        ),
        Variant(
            "biases_counted",
            partial(_bottleneck, biases=True),
            "Biases are counted. The convolutions and projections have none.",
            _HAND,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- shift_period ---------------------------------------------------------------

Blocks = Sequence[tuple[int, int]]
"""(block, stride) of each layer, from the first to the last."""


def shift_period(layers: Blocks) -> int:
    """Smallest shift of the input that no layer notices, tried one by one."""
    shift = 0
    while True:
        shift += 1
        here = shift  # the shift on the map of the layer
        for block, stride in layers:
            if here % block:
                break
            here //= stride
        else:
            return shift


def _jumps(layers: Blocks, own: bool = False) -> list[int]:
    """Pixels of the input between neighbours of each layer's map."""
    found, jump = [], 1
    for _, stride in layers:
        found.append(jump * stride if own else jump)
        jump *= stride
    return found


def _draw_period(random: Draw, n: int, b: int, s: int) -> Inputs:
    layers = []
    for _ in range(n):
        stride = int(random.integers(1, s))
        layers.append((stride * int(random.integers(1, b)), stride))
    return {"layers": layers}


SHIFT_PERIOD = Exercise(
    name="shift_period",
    oracle=shift_period,
    draw=_draw_period,
    sizes=(
        {"n": 1, "b": 4, "s": 1},
        {"n": 2, "b": 3, "s": 2},
        {"n": 3, "b": 4, "s": 2},
        {"n": 3, "b": 5, "s": 3},
        {"n": 4, "b": 3, "s": 2},
        {"n": 4, "b": 4, "s": 2},
    ),
    variants=(
        Variant(
            "blocks_alone",
            lambda layers: math.lcm(*(b for b, _ in layers)),
            "The strides are not used. A pixel of a later map is several pixels of the"
            " image: multiply its block by the strides before it.",
            _PROOF,
        ),
        Variant(
            "strides_alone",
            lambda layers: math.prod(s for _, s in layers),
            "This is the total stride. Each layer also needs a whole number of blocks.",
            _PROOF,
        ),
        Variant(
            "own_stride_counted",
            lambda layers: math.lcm(
                *(
                    jump * b
                    for jump, (b, _) in zip(_jumps(layers, True), layers, strict=True)
                )
            ),
            "The stride of a layer multiplies its own block. Its blocks lie on the map"
            " that enters; the stride counts for the layers behind it.",
            _PROOF,
        ),
        Variant(
            "last_layer_alone",
            lambda layers: _jumps(layers)[-1] * layers[-1][0],
            "Only the last layer is asked. With unequal blocks an earlier one may need"
            " another shift.",
            _PROOF,
        ),
        Variant(
            "largest",
            lambda layers: max(
                jump * b for jump, (b, _) in zip(_jumps(layers), layers, strict=True)
            ),
            "This is the largest of the periods. A shift must be a multiple of *all*:"
            " take their least common multiple.",
            _PROOF,
        ),
        Variant(
            "product",
            lambda layers: math.prod(
                jump * b for jump, (b, _) in zip(_jumps(layers), layers, strict=True)
            ),
            "The periods are multiplied. A smaller shift is a multiple of all of them:"
            " take their least common multiple.",
            _PROOF,
        ),
        Variant(
            "product_of_the_blocks",
            lambda layers: math.prod(b for b, _ in layers),
            "The blocks are multiplied. Take the strides before each layer into"
            " account, and the least common multiple.",
            _PROOF,
        ),
    ),
    section=_PROOF,
    gradients=False,
)


# --- halonet_parameters ---------------------------------------------------------


def halonet_parameters(
    block_size: int,
    halo_size: int,
    value_ratio: float,
    output_ratio: float,
    depth: int,
    features: int | None,
) -> int:
    """All parameters of a network of the family, for 1000 classes."""
    total, channels = 3 * 64 * 49 + 2 * 64, 64
    for stage, heads in enumerate((4, 8, 8, 8)):
        width = 64 * 2**stage
        out = int(output_ratio * width)
        for place in range(depth if stage == 2 else 3):
            total += halo_bottleneck_parameters(
                channels,
                width,
                int(value_ratio * width),
                out,
                heads,
                block_size,
                halo_size,
                2 if stage > 0 and place == 0 else 1,
            )
            channels = out
    if features is not None:
        total += channels * features + 2 * features
        channels = features
    return total + 1000 * channels + 1000


def _network(
    block_size: int,
    halo_size: int,
    value_ratio: float,
    output_ratio: float,
    depth: int,
    features: int | None,
    *,
    heads: tuple[int, ...] = (4, 8, 8, 8),
    deep: tuple[int, ...] = (2,),
    head: str = "1x1 and norm",
    bias: bool = True,
    stem: int = 3 * 64 * 49 + 2 * 64,
    entering: str = "output",
    **parts: object,
) -> int:
    """The same with each part to choose; ``parts`` are those of a block."""
    total, C = stem, 64
    for stage, N in enumerate(heads):
        w = 64 * 2**stage
        out = int(output_ratio * w)
        for place in range(depth if stage in deep else 3):
            total += _bottleneck(
                w if entering == "width" else C,
                w,
                int(value_ratio * w),
                out,
                N,
                block_size,
                halo_size,
                2 if stage > 0 and place == 0 else 1,
                **parts,  # type: ignore[arg-type]
            )
            C = out
    if features is not None and head != "none":
        total += C * features + (2 * features if head == "1x1 and norm" else 0)
        C = features
    return total + 1000 * C + (1000 if bias else 0)


HALONET_PARAMETERS = Exercise(
    name="halonet_parameters",
    oracle=halonet_parameters,
    draw=lambda random, b, h, v, o, n, head: {
        "block_size": b,
        "halo_size": h,
        "value_ratio": v / 2,
        "output_ratio": o / 4,
        "depth": n,
        "features": 512 * o if head else None,
    },
    sizes=(
        {"b": 8, "h": 3, "v": 2, "o": 2, "n": 7, "head": False},
        {"b": 8, "h": 3, "v": 2, "o": 4, "n": 10, "head": False},
        {"b": 14, "h": 2, "v": 5, "o": 8, "n": 23, "head": True},
        {"b": 8, "h": 4, "v": 6, "o": 11, "n": 24, "head": True},
        {"b": 10, "h": 3, "v": 8, "o": 14, "n": 4, "head": False},
    ),
    variants=(
        Variant(
            "all_wide",
            partial(_network, values="all wide"),
            "r_v widens queries and keys, too: the wrong reading of the chapter. It is"
            " the width of the values only.",
            _WRONG,
        ),
        Variant(
            "values_as_keys",
            partial(_network, values="as keys"),
            "r_v is not used.",
            _FORMULA,
        ),
        Variant(
            "no_tables",
            partial(_network, tables=0),
            "The tables of relative positions are missing.",
            _COST,
        ),
        Variant(
            "tables_for_each_head",
            partial(_network, per_head=True),
            "Each head has tables of its own. They share them.",
            _COST,
        ),
        Variant(
            "reached_rows_only",
            partial(_network, offsets="reached"),
            "The rows that no key reaches are left out. That gives the printed sizes,"
            " but our tables have 2U - 1 rows.",
            _COST,
        ),
        Variant(
            "eight_heads",
            partial(_network, heads=(8, 8, 8, 8)),
            "The first stage has 4 heads, not 8, so its tables are wider.",
            _FORMULA,
        ),
        Variant(
            "no_norm_after_the_attention",
            partial(_network, middle_norm=False),
            "The norm behind the attention is missing in every block.",
            _COST,
        ),
        Variant(
            "no_norms_in_the_blocks",
            partial(_network, norm=0),
            "The norms of the blocks are missing.",
            _COST,
        ),
        Variant(
            "depth_of_every_stage",
            partial(_network, deep=(0, 1, 2, 3)),
            "l_3 is the depth of the third stage. The others have three blocks.",
            _FORMULA,
        ),
        Variant(
            "depth_of_the_last_stage",
            partial(_network, deep=(3,)),
            "l_3 is the depth of the third stage, not of the last.",
            _FORMULA,
        ),
        Variant(
            "no_shortcuts",
            partial(_network, shortcut="never"),
            "The convolutions of the shortcuts are missing.",
            _FORMULA,
        ),
        Variant(
            "shortcut_in_every_block",
            partial(_network, shortcut="always"),
            "Every block has a convolution in its shortcut. Where the shape stays it is"
            " the identity.",
            _FORMULA,
        ),
        Variant(
            "shortcuts_by_stride",
            partial(_network, shortcut="by stride"),
            "The first block of the first stage has no stride, but it may change the"
            " channels: then its shortcut needs a convolution.",
            _FORMULA,
        ),
        Variant(
            "blocks_enter_with_the_width",
            partial(_network, entering="width"),
            "A block's input has the channels of the block before it, r_b w, not w.",
            _FORMULA,
        ),
        Variant(
            "last_convolution_forgotten",
            partial(_network, head="none"),
            "The last 1x1 convolution is missing: it leads to d_f channels.",
            _FORMULA,
        ),
        Variant(
            "last_norm_forgotten",
            partial(_network, head="1x1"),
            "The norm of the last 1x1 convolution is missing.",
            _FORMULA,
        ),
        Variant(
            "classifier_without_bias",
            partial(_network, bias=False),
            "The classifier has a bias for each of the 1000 classes.",
            _FORMULA,
        ),
        Variant(
            "stem_forgotten",
            partial(_network, stem=0),
            "The stem is missing: a 7 x 7 convolution from 3 to 64 channels, and a"
            " norm.",
            _FORMULA,
        ),
        Variant(
            "stem_norm_forgotten",
            partial(_network, stem=3 * 64 * 49),
            "The norm of the stem is not counted in full: it has a scale and a shift"
            " for each of 64 channels.",
            _FORMULA,
            also=(partial(_network, stem=3 * 64 * 49 + 64),),
        ),
    ),
    section=_COST,
    gradients=False,
)

EXERCISES = (
    OVERLAP_RATIO,
    HALO_RECEPTIVE_FIELD,
    HALO_BOTTLENECK_PARAMETERS,
    SHIFT_PERIOD,
    HALONET_PARAMETERS,
)
