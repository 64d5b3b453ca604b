"""Exercises on halo attention.

Shapes: B batch, N heads, H W map, D query/key dim, E value dim, b block, h halo,
U = b + 2h side of a neighbourhood, s stride, I J rows and columns of blocks.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.halo import halo_attention_loop

_PAGE = "scaling/halo.html"
_FORMULA = f"{_PAGE}#the-formula"
_LADDER = f"{_PAGE}#the-ladder"
_COST = f"{_PAGE}#the-cost"
_WRONG = f"{_PAGE}#right-shape-still-wrong"
_TABLE = f"{_PAGE}#paper-official-code-timm-ours"


def _blocks(length: int, block: int) -> int:
    return -(-length // block)


# --- block_windows --------------------------------------------------------------


def block_windows(x: Tensor, block_size: int, halo_size: int) -> Tensor:
    """The neighbourhood of every block, [I, J, U, U, D], zeros outside the map."""
    H, W, D = x.shape
    U = block_size + 2 * halo_size
    places = []
    for i in range(_blocks(H, block_size)):
        for j in range(_blocks(W, block_size)):
            for u in range(U):
                for w in range(U):
                    a = i * block_size - halo_size + u
                    b = j * block_size - halo_size + w
                    inside = 0 <= a < H and 0 <= b < W
                    places.append(x[a, b] if inside else x.new_zeros(D))
    shape = (_blocks(H, block_size), _blocks(W, block_size), U, U, D)
    return torch.stack(places).reshape(shape)


def _gathered(
    x: Tensor,
    block_size: int,
    halo_size: int,
    *,
    side: Callable[[int, int], int] = lambda b, h: b + 2 * h,
    start: Callable[[int, int], int] = lambda b, h: h,
    step: Callable[[int, int], int] = lambda b, h: b,
    count: Callable[[int, int], int] = _blocks,
    outside: str = "zero",
    exchanged: str = "",
) -> Tensor:
    """The windows with one switch for each place where they can go wrong."""
    U = side(block_size, halo_size)
    places, inside = [], []
    for length in x.shape[:2]:
        first = torch.arange(count(length, block_size)) * step(block_size, halo_size)
        place = first[:, None] - start(block_size, halo_size) + torch.arange(U)
        inside.append((place >= 0) & (place < length))
        if outside == "around":
            places.append(place % length)
        else:
            places.append(place.clamp(0, length - 1))
    y = x[places[0]][:, :, places[1]].permute(0, 2, 1, 3, 4)  # [I, J, U, U, D]
    if outside == "zero":
        keep = inside[0][:, None, :, None] & inside[1][None, :, None]
        y = y * keep[..., None].to(y.dtype)
    if exchanged == "windows":
        return y.transpose(2, 3)
    return y.transpose(0, 1) if exchanged == "blocks" else y


BLOCK_WINDOWS = Exercise(
    name="block_windows",
    oracle=block_windows,
    draw=lambda random, H, W, D, block, halo: {
        "x": random.normal(H, W, D),
        "block_size": block,
        "halo_size": halo,
    },
    sizes=(
        {"H": 2, "W": 4, "D": 1, "block": 2, "halo": 1},
        {"H": 4, "W": 4, "D": 1, "block": 2, "halo": 1},
        {"H": 6, "W": 9, "D": 2, "block": 3, "halo": 2},
        {"H": 5, "W": 7, "D": 2, "block": 3, "halo": 1},
        {"H": 3, "W": 4, "D": 1, "block": 1, "halo": 2},
    ),
    variants=(
        Variant(
            "starts_at_the_block",
            partial(_gathered, start=lambda b, h: 0),
            "The windows start at their block, so the halo lies below and right only."
            " Start halo_size pixels earlier.",
            _FORMULA,
        ),
        Variant(
            "no_halo",
            partial(_gathered, side=lambda b, h: b, start=lambda b, h: 0),
            "These are the blocks alone. Each side gets halo_size more pixels.",
            _FORMULA,
        ),
        Variant(
            "halo_on_one_side",
            partial(_gathered, side=lambda b, h: b + h),
            "The windows have b + h rows. The halo is on both sides: b + 2h.",
            _FORMULA,
            also=(partial(_gathered, side=lambda b, h: b + h, start=lambda b, h: 0),),
        ),
        Variant(
            "steps_of_a_window",
            partial(_gathered, step=lambda b, h: b + 2 * h),
            "The windows lie side by side. Blocks do that; their windows overlap, one"
            " starts block_size pixels after the other.",
            _FORMULA,
        ),
        Variant(
            "window_per_pixel",
            partial(_gathered, step=lambda b, h: 1, count=lambda n, b: n),
            "There is a window for every pixel. All pixels of a block share one.",
            _FORMULA,
        ),
        Variant(
            "last_blocks_dropped",
            partial(_gathered, count=lambda n, b: n // b),
            "Blocks that the map does not fill are missing. Round their number up.",
            _LADDER,
        ),
        Variant(
            "border_repeated",
            partial(_gathered, outside="repeat"),
            "Outside the map the nearest pixel is repeated. Put zeros there.",
            _FORMULA,
        ),
        Variant(
            "around_the_map",
            partial(_gathered, outside="around"),
            "What leaves the map comes in again on the other side. Put zeros there.",
            _FORMULA,
        ),
        Variant(
            "rows_and_columns_exchanged",
            partial(_gathered, exchanged="windows"),
            "Rows and columns of a window are exchanged.",
            _LADDER,
            also=(partial(_gathered, exchanged="blocks"),),
        ),
    ),
    section=_LADDER,
)


# --- halo_mask ------------------------------------------------------------------


def halo_mask(height: int, width: int, block_size: int, halo_size: int) -> Tensor:
    """Which places of each window lie in the image, [I, J, U, U]."""
    U = block_size + 2 * halo_size
    tall, wide = _blocks(height, block_size), _blocks(width, block_size)
    mask = torch.zeros(tall, wide, U, U, dtype=torch.bool)
    for i in range(tall):
        for j in range(wide):
            for u in range(U):
                for w in range(U):
                    a = i * block_size - halo_size + u
                    b = j * block_size - halo_size + w
                    mask[i, j, u, w] = 0 <= a < height and 0 <= b < width
    return mask


def _mask(
    height: int,
    width: int,
    block_size: int,
    halo_size: int,
    *,
    inside: Callable[[Tensor, int, int], Tensor] = lambda p, n, b: (p >= 0) & (p < n),
    join: Callable[[Tensor, Tensor], Tensor] = torch.logical_and,
    count: Callable[[int, int], int] = _blocks,
) -> Tensor:
    axes = []
    for length in (height, width):
        first = torch.arange(count(length, block_size)) * block_size - halo_size
        place = first[:, None] + torch.arange(block_size + 2 * halo_size)
        axes.append(inside(place, length, block_size))
    return join(axes[0][:, None, :, None], axes[1][None, :, None])


def _core(height: int, width: int, block_size: int, halo_size: int) -> Tensor:
    """True on the block alone, wherever it lies."""
    right = torch.ones(block_size, dtype=torch.bool)
    core = F.pad(right, (halo_size, halo_size))
    shape = (_blocks(height, block_size), _blocks(width, block_size), -1, -1)
    return (core[:, None] & core).expand(shape)


HALO_MASK = Exercise(
    name="halo_mask",
    oracle=halo_mask,
    draw=lambda random, height, width, block, halo: {
        "height": height,
        "width": width,
        "block_size": block,
        "halo_size": halo,
    },
    sizes=(
        {"height": 2, "width": 4, "block": 2, "halo": 1},
        {"height": 4, "width": 4, "block": 2, "halo": 1},
        {"height": 6, "width": 9, "block": 3, "halo": 2},
        {"height": 5, "width": 7, "block": 3, "halo": 1},
        {"height": 3, "width": 4, "block": 1, "halo": 2},
    ),
    variants=(
        Variant(
            "inverted",
            lambda height, width, block_size, halo_size: (
                ~halo_mask(height, width, block_size, halo_size)
            ),
            "The mask is inverted: it is True where there is no image. True means that"
            " the key may be seen.",
            _WRONG,
        ),
        Variant(
            "block_only",
            _core,
            "The mask is True on the block and False on its whole halo. Only pixels"
            " that do not exist are masked.",
            _FORMULA,
            also=(
                lambda height, width, block_size, halo_size: (
                    _core(height, width, block_size, halo_size)
                    & halo_mask(height, width, block_size, halo_size)
                ),
            ),
        ),
        Variant(
            "one_border_only",
            partial(_mask, inside=lambda p, n, b: p >= 0),
            "Only one side is tested. A window can leave the image above and below,"
            " left and right.",
            _FORMULA,
            also=(partial(_mask, inside=lambda p, n, b: p < n),),
        ),
        Variant(
            "one_pixel_too_many",
            partial(_mask, inside=lambda p, n, b: (p >= 0) & (p <= n)),
            "The row (or column) after the last one counts as image. Rows go from 0 to"
            " H - 1.",
            _FORMULA,
        ),
        Variant(
            "filled_blocks_are_image",
            partial(_mask, inside=lambda p, n, b: (p >= 0) & (p < _blocks(n, b) * b)),
            "Pixels that only fill up the last block count as image. They do not exist"
            " either.",
            _LADDER,
        ),
        Variant(
            "last_blocks_dropped",
            partial(_mask, count=lambda n, b: n // b),
            "Blocks that the map does not fill are missing. Round their number up.",
            _LADDER,
        ),
        Variant(
            "row_or_column",
            partial(_mask, join=torch.logical_or),
            "A pixel exists if its row *and* its column exist.",
            _FORMULA,
        ),
        Variant(
            "rows_only",
            partial(_mask, join=lambda a, b: a & torch.ones_like(b)),
            "Only one axis is tested. A pixel needs a row and a column.",
            _FORMULA,
            also=(partial(_mask, join=lambda a, b: torch.ones_like(a) & b),),
        ),
    ),
    section=_FORMULA,
    gradients=False,
)


# --- halo_relative_index --------------------------------------------------------


def halo_relative_index(block_size: int, halo_size: int) -> Tensor:
    """The table's row for query place m and key place u of one axis, [b, U]."""
    U = block_size + 2 * halo_size
    index = torch.empty(block_size, U, dtype=torch.int64)
    for m in range(block_size):
        for u in range(U):
            offset = (u - halo_size) - m
            index[m, u] = offset + U - 1
    return index


def _index(
    block_size: int, halo_size: int, rule: Callable[[Tensor, Tensor, int, int], Tensor]
) -> Tensor:
    m = torch.arange(block_size)[:, None]
    return rule(m, torch.arange(block_size + 2 * halo_size), block_size, halo_size)


HALO_RELATIVE_INDEX = Exercise(
    name="halo_relative_index",
    oracle=halo_relative_index,
    draw=lambda random, block, halo: {"block_size": block, "halo_size": halo},
    sizes=(
        {"block": 2, "halo": 1},
        {"block": 1, "halo": 2},
        {"block": 4, "halo": 1},
        {"block": 3, "halo": 3},
    ),
    variants=(
        Variant(
            "counted_from_the_window",
            partial(_index, rule=lambda m, u, b, h: u - m + b + 2 * h - 1),
            "Key places count from the corner of the window, query places from the"
            " corner of the block: h apart. timm's table has this origin.",
            _TABLE,
        ),
        Variant(
            "offsets",
            partial(_index, rule=lambda m, u, b, h: u - h - m),
            "These are the offsets themselves. Row p of the table belongs to offset"
            " p - (U - 1): add U - 1.",
            _FORMULA,
        ),
        Variant(
            "mirrored",
            partial(_index, rule=lambda m, u, b, h: m - (u - h) + b + 2 * h - 1),
            "The offset is mirrored: query minus key. It is key minus query.",
            _FORMULA,
        ),
        Variant(
            "starts_at_zero",
            partial(_index, rule=lambda m, u, b, h: u - m + b - 1),
            "The smallest index is 0. The table has 2U - 1 rows, and its first h rows"
            " are never reached.",
            _FORMULA,
        ),
        Variant(
            "origin_of_the_block",
            partial(_index, rule=lambda m, u, b, h: u - h - m + b - 1),
            "b - 1 is added. Offset 0 has row U - 1, the middle of the table.",
            _FORMULA,
        ),
        Variant(
            "one_row_too_far",
            partial(_index, rule=lambda m, u, b, h: u - h - m + b + 2 * h),
            "Every index is one too large: offset 0 has row U - 1.",
            _FORMULA,
        ),
        Variant(
            "transposed",
            lambda block_size, halo_size: halo_relative_index(block_size, halo_size).mT,
            "The axes are exchanged. Queries come first, [b, U].",
            _LADDER,
        ),
    ),
    section=_FORMULA,
    gradients=False,
)


# --- strided_offsets ------------------------------------------------------------


def strided_offsets(block_size: int, halo_size: int, stride: int) -> Tensor:
    """Key minus query, in pixels, for the kept queries of a block, [b/s, U]."""
    U = block_size + 2 * halo_size
    offsets = torch.empty(block_size // stride, U, dtype=torch.int64)
    for m in range(block_size // stride):
        for u in range(U):
            offsets[m, u] = (u - halo_size) - stride * m
    return offsets


def _strided(
    block_size: int,
    halo_size: int,
    stride: int,
    rule: Callable[[Tensor, Tensor, int, int], Tensor],
) -> Tensor:
    m = torch.arange(block_size // stride)[:, None]
    return rule(m, torch.arange(block_size + 2 * halo_size), halo_size, stride)


STRIDED_OFFSETS = Exercise(
    name="strided_offsets",
    oracle=strided_offsets,
    draw=lambda random, places, halo, stride: {
        "block_size": places * stride,
        "halo_size": halo,
        "stride": stride,
    },
    sizes=(
        {"places": 2, "halo": 1, "stride": 2},
        {"places": 3, "halo": 1, "stride": 1},
        {"places": 4, "halo": 3, "stride": 2},
        {"places": 2, "halo": 2, "stride": 3},
    ),
    variants=(
        Variant(
            "steps_not_pixels",
            partial(_strided, rule=lambda m, u, h, s: u - h - m),
            "The queries are counted 0, 1, 2, ... They stand on pixels 0, s, 2s, ...:"
            " with stride 2 these offsets are wrong by almost half a block at the end.",
            _WRONG,
        ),
        Variant(
            "steps_from_the_window",
            partial(_strided, rule=lambda m, u, h, s: u - m),
            "The queries are counted in steps, and the keys from the corner of the"
            " window: u - m, as in timm. In pixels it is u - h - s m.",
            _WRONG,
        ),
        Variant(
            "halo_forgotten",
            partial(_strided, rule=lambda m, u, h, s: u - s * m),
            "The window starts h pixels before its block: key u stands on pixel u - h.",
            _FORMULA,
        ),
        Variant(
            "keys_strided_too",
            partial(_strided, rule=lambda m, u, h, s: s * (u - h) - s * m),
            "The keys are strided as well. Only queries are left out; the keys are"
            " those of the full map.",
            _FORMULA,
            also=(partial(_strided, rule=lambda m, u, h, s: s * u - h - s * m),),
        ),
        Variant(
            "last_pixel_of_a_step",
            partial(_strided, rule=lambda m, u, h, s: u - h - (s * m + s - 1)),
            "The last pixel of each step is kept. Keep the first: 0, s, 2s, ...",
            _FORMULA,
        ),
        Variant(
            "mirrored",
            partial(_strided, rule=lambda m, u, h, s: s * m - (u - h)),
            "The offset is mirrored: query minus key. It is key minus query.",
            _FORMULA,
        ),
        Variant(
            "all_queries",
            lambda block_size, halo_size, stride: strided_offsets(
                block_size, halo_size, 1
            ),
            "There is a row for every pixel of the block. Keep every stride-th.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
    gradients=False,
)


# --- halo_macs ------------------------------------------------------------------


def halo_macs(
    height: int, width: int, channels: int, block_size: int, halo_size: int
) -> int:
    """Multiply-adds of logits and weighted sums; blocks are computed in full."""
    blocks = _blocks(height, block_size) * _blocks(width, block_size)
    pairs = blocks * block_size**2 * (block_size + 2 * halo_size) ** 2
    return 2 * pairs * channels


def _macs(
    height: int,
    width: int,
    channels: int,
    block_size: int,
    halo_size: int,
    *,
    queries: Callable[[int, int], int] = lambda n, b: _blocks(n, b) * b,
    keys: Callable[[int, int], int] = lambda b, h: (b + 2 * h) ** 2,
    products: int = 2,
) -> int:
    count = queries(height, block_size) * queries(width, block_size)
    return products * count * keys(block_size, halo_size) * channels


HALO_MACS = Exercise(
    name="halo_macs",
    oracle=halo_macs,
    draw=lambda random, height, width, channels, block, halo: {
        "height": height,
        "width": width,
        "channels": channels,
        "block_size": block,
        "halo_size": halo,
    },
    sizes=(
        {"height": 4, "width": 6, "channels": 1, "block": 2, "halo": 1},
        {"height": 5, "width": 6, "channels": 3, "block": 2, "halo": 3},
        {"height": 56, "width": 56, "channels": 64, "block": 8, "halo": 3},
        {"height": 30, "width": 45, "channels": 48, "block": 14, "halo": 2},
    ),
    variants=(
        Variant(
            "window_of_one_pixel",
            partial(_macs, keys=lambda b, h: (2 * h + 1) ** 2),
            "Every query meets (2h + 1)^2 keys, a window of its own. It meets all"
            " (b + 2h)^2 keys of its block.",
            _COST,
        ),
        Variant(
            "no_halo",
            partial(_macs, keys=lambda b, h: b**2),
            "Only the keys of the block are counted. The halo belongs to them:"
            " (b + 2h)^2.",
            _COST,
        ),
        Variant(
            "halo_on_one_side",
            partial(_macs, keys=lambda b, h: (b + h) ** 2),
            "The halo is on both sides of the block: (b + 2h)^2 keys.",
            _COST,
        ),
        Variant(
            "one_axis",
            partial(_macs, keys=lambda b, h: b + 2 * h),
            "The side of the neighbourhood is not squared: it has (b + 2h)^2 keys.",
            _COST,
        ),
        Variant(
            "one_product",
            partial(_macs, products=1),
            "One product is missing: q.k for the logits, and weight times value.",
            _COST,
        ),
        Variant(
            "multiplications_and_additions",
            partial(_macs, products=4),
            "Multiplications and additions are counted apart. Here the two together"
            " count as one.",
            _COST,
        ),
        Variant(
            "pixels_only",
            partial(_macs, queries=lambda n, b: n),
            "Only the pixels of the map ask. A block at the edge is computed in full,"
            " also where it leaves the map.",
            _COST,
        ),
        Variant(
            "last_blocks_dropped",
            partial(_macs, queries=lambda n, b: n // b * b),
            "Blocks that the map does not fill are missing. Round their number up.",
            _COST,
        ),
        Variant(
            "one_query_per_block",
            partial(_macs, queries=_blocks),
            "One query for each block is counted. A block has b^2 of them.",
            _COST,
        ),
        Variant(
            "global_attention",
            lambda height, width, channels, block_size, halo_size: (
                2 * (height * width) ** 2 * channels
            ),
            "Every query meets the whole map. It meets the (b + 2h)^2 keys around its"
            " block.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- halo_attention -------------------------------------------------------------


def _halo(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relative_height: Tensor | None,
    relative_width: Tensor | None,
    block_size: int,
    halo_size: int,
    stride: int = 1,
    border: str = "mask",
    *,
    scale: str = "both",
    window: str = "block",
    outside: str = "",
    offset: str = "true",
    tables: str = "",
    softmax: str = "keys",
    kept: str = "first",
    heads: str = "",
) -> Tensor:
    """Halo attention with one switch for each place where it can go wrong."""
    (H, W, D), b, h = q.shape[2:], block_size, halo_size
    U = b + 2 * h
    s = 1 if kept == "pooled" else stride
    at, keys, offsets, inside = [], [], [], []
    for length in (H, W):
        i = torch.arange(0, length, s)
        if kept == "last":
            i = (i + s - 1).clamp(max=length - 1)
        first = i // b * b - (0 if window == "starts at the block" else h)
        key = first[:, None] + torch.arange(U)  # [H', U]
        d = key - i[:, None]
        if offset == "steps":
            d = key - first[:, None] - h - (i % b // s)[:, None]
        if offset == "window":
            d = key - first[:, None] - (i % b)[:, None]
        if offset == "timm":
            d = key - first[:, None] - (i % b // s)[:, None]
        exists = (key >= 0) & (key < length)
        if window == "own":
            exists = exists & (d.abs() <= h)
        if window == "no halo":
            exists = (
                exists & (key >= first[:, None] + h) & (key < first[:, None] + U - h)
            )
        at.append(i)
        keys.append(key.clamp(0, length - 1))
        offsets.append((-d if offset == "mirrored" else d).clamp(1 - U, U - 1))
        inside.append(exists)
    q = q[:, :, at[0]][:, :, :, at[1]]  # [B, N, H', W', D]
    keep = inside[0][:, None, :, None] & inside[1][None, :, None]  # [H', W', U, U]
    k, v = (
        x[:, :, keys[0]][:, :, :, :, keys[1]].permute(0, 1, 2, 4, 3, 5, 6)
        * keep[..., None].to(x.dtype)
        for x in (k, v)
    )  # [B, N, H', W', U, U, D]
    content = torch.einsum("bnijd,bnijuwd->bnijuw", q, k)
    position = torch.zeros_like(content)
    if relative_height is not None and relative_width is not None:
        if tables == "exchanged":
            relative_height, relative_width = relative_width, relative_height
        rows = relative_height[offsets[0] + U - 1]  # [H', U, D]
        cols = relative_width[offsets[1] + U - 1]
        if tables != "columns only":
            row = torch.einsum("bnijd,iud->bniju", q, rows)
            position = position + row[..., :, None]
        if tables != "rows only":
            col = torch.einsum("bnijd,jwd->bnijw", q, cols)
            position = position + col[..., None, :]
        if tables == "forgotten":
            position = 0 * position
    if heads == "summed":
        content = content.sum(1, keepdim=True).expand_as(content)
        position = position.sum(1, keepdim=True).expand_as(position)
    factor = D**-0.5
    logits = {
        "none": content + position,
        "content": content * factor + position,
        "position": content + position * factor,
        "1/D": (content + position) / D,
        "both": (content + position) * factor,
    }[scale]
    if window in ("own", "no halo") and border == "zero":
        logits = logits.masked_fill(~keep, -math.inf)
    if outside == "inverted":
        seen = ~keep if border == "mask" else torch.ones_like(keep)
    else:
        seen = keep if (outside or border) == "mask" else torch.ones_like(keep)
    fill = torch.finfo(logits.dtype).min if outside == "inverted" else -math.inf
    logits = logits.masked_fill(~seen, fill)
    if softmax == "rows":  # of the window, one at a time
        weights = logits.softmax(-1).nan_to_num()
    else:
        weights = logits.flatten(-2).softmax(-1).view(logits.shape)
    y = torch.einsum("bnijuw,bnijuwe->bnije", weights, v)
    if kept == "pooled" and stride > 1:
        y = y.flatten(0, 1).permute(0, 3, 1, 2)
        y = F.avg_pool2d(y, stride, ceil_mode=True, count_include_pad=False)
        y = y.permute(0, 2, 3, 1).unflatten(0, (q.shape[0], q.shape[1]))
    return y


def _draw(
    random: Draw,
    B: int,
    N: int,
    H: int,
    W: int,
    D: int,
    E: int,
    places: int,
    halo: int,
    stride: int,
    positions: bool,
    zero: bool,
) -> Inputs:
    rows = 2 * (places * stride + 2 * halo) - 1
    tables = random.normal(rows, D), random.normal(rows, D)
    return {
        "q": random.normal(B, N, H, W, D),
        "k": random.normal(B, N, H, W, D),
        "v": random.normal(B, N, H, W, E),
        "relative_height": tables[0] if positions else None,
        "relative_width": tables[1] if positions else None,
        "block_size": places * stride,
        "halo_size": halo,
        "stride": stride,
        "border": "zero" if zero else "mask",
    }


_ATTENTION_SIZES = (
    (1, 1, 2, 4, 2, 1, 2, 1, 1, False, False),
    (1, 1, 2, 4, 2, 2, 2, 1, 1, True, False),
    (1, 2, 4, 4, 2, 2, 2, 1, 1, True, False),
    (1, 2, 3, 4, 3, 2, 2, 1, 1, True, True),
    (2, 2, 3, 5, 3, 2, 1, 2, 1, True, False),
    (1, 1, 5, 4, 2, 3, 2, 1, 2, True, False),
    (1, 2, 6, 6, 2, 2, 2, 1, 2, True, True),
)

HALO_ATTENTION = Exercise(
    name="halo_attention",
    oracle=halo_attention_loop,
    draw=_draw,
    sizes=tuple(
        dict(zip(list(inspect.signature(_draw).parameters)[1:], sizes, strict=True))
        for sizes in _ATTENTION_SIZES
    ),
    variants=(
        Variant(
            "inverted_mask",
            partial(_halo, outside="inverted"),
            "The mask is inverted: the pixels of the image are masked, and what lies"
            " outside is seen. Where all is masked, the weights are equal.",
            _WRONG,
        ),
        Variant(
            "positions_not_scaled",
            partial(_halo, scale="content"),
            "Only q.k is divided by sqrt(D). The relative term is q.r with the same"
            " scaled query. timm has this by default.",
            _TABLE,
        ),
        Variant(
            "not_scaled",
            partial(_halo, scale="none"),
            "The division by sqrt(D) is missing.",
            _FORMULA,
            also=(partial(_halo, scale="position"),),
        ),
        Variant(
            "divided_by_d",
            partial(_halo, scale="1/D"),
            "The logits are divided by D. Divide by its root.",
            _FORMULA,
        ),
        Variant(
            "window_per_pixel",
            partial(_halo, window="own"),
            "Every query has a window of its own, h pixels to each side. It sees the"
            " whole neighbourhood of its block.",
            _FORMULA,
        ),
        Variant(
            "halo_forgotten",
            partial(_halo, window="no halo"),
            "Only the keys of the block are seen. Add h pixels on each side.",
            _FORMULA,
        ),
        Variant(
            "starts_at_the_block",
            partial(_halo, window="starts at the block"),
            "The neighbourhood starts at the block, so the halo lies below and right"
            " only. Start h pixels earlier.",
            _FORMULA,
        ),
        Variant(
            "border_ignored",
            partial(_halo, outside="zero"),
            "Keys outside the image take part as zeros, whatever `border` says. With"
            ' "mask" they are left out of the softmax.',
            _FORMULA,
            also=(partial(_halo, outside="mask"),),
        ),
        Variant(
            "offsets_from_the_window",
            partial(_halo, offset="window"),
            "The offsets count keys from the corner of the window and queries from the"
            " corner of the block: they are h too large.",
            _TABLE,
        ),
        Variant(
            "steps_not_pixels",
            partial(_halo, offset="steps"),
            "With a stride the queries are counted 0, 1, 2, ... They stand on pixels"
            " 0, s, 2s, ... of the block: the offsets are wrong.",
            _WRONG,
        ),
        Variant(
            "steps_from_the_window",
            partial(_halo, offset="timm"),
            "The offsets are those of timm: keys from the corner of the window, queries"
            " in steps of the stride. Use key minus query, in pixels.",
            _WRONG,
        ),
        Variant(
            "mirrored",
            partial(_halo, offset="mirrored"),
            "The offsets are mirrored: query minus key. They are key minus query.",
            _FORMULA,
        ),
        Variant(
            "tables_exchanged",
            partial(_halo, tables="exchanged"),
            "The two tables are exchanged: row offsets read relative_width.",
            _FORMULA,
        ),
        Variant(
            "one_table_only",
            partial(_halo, tables="rows only"),
            "One of the two tables is not used. Add the row part and the column part.",
            _FORMULA,
            also=(partial(_halo, tables="columns only"),),
        ),
        Variant(
            "positions_forgotten",
            partial(_halo, tables="forgotten"),
            "The relative term is missing: add q.r of the row and the column offset.",
            _FORMULA,
        ),
        Variant(
            "softmax_per_row",
            partial(_halo, softmax="rows"),
            "Each row of the window has a softmax of its own. One softmax runs over"
            " all its keys.",
            _FORMULA,
        ),
        Variant(
            "pooled",
            partial(_halo, kept="pooled"),
            "All queries are computed, and the result is averaged. With a stride every"
            " stride-th query is kept.",
            _FORMULA,
        ),
        Variant(
            "last_pixel_of_a_step",
            partial(_halo, kept="last"),
            "The last pixel of each step asks. Keep the first: 0, s, 2s, ...",
            _FORMULA,
        ),
        Variant(
            "one_map_for_all_heads",
            partial(_halo, heads="summed"),
            "The logits are summed over the heads, so all share one map. Each head has"
            " a softmax of its own.",
            _LADDER,
        ),
    ),
    section=_FORMULA,
)

EXERCISES = (
    BLOCK_WINDOWS,
    HALO_MASK,
    HALO_RELATIVE_INDEX,
    STRIDED_OFFSETS,
    HALO_MACS,
    HALO_ATTENTION,
)
