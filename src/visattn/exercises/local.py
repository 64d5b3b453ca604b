"""Exercises on local attention: memory blocks, relative embeddings, networks."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.local import attention_stem_loop, local_attention_loop

_BLOCKS = "local/local.html"
_BLOCKS_FORMULA = f"{_BLOCKS}#the-formula"
_BLOCKS_HAND = f"{_BLOCKS}#by-hand"
_BLOCKS_LOOP = f"{_BLOCKS}#the-loop"
_BLOCKS_LADDER = f"{_BLOCKS}#the-ladder"
_BLOCKS_COST = f"{_BLOCKS}#the-cost"
_BLOCKS_WRONG = f"{_BLOCKS}#right-shape-still-wrong"

_RELATIVE = "local/relative.html"
_RELATIVE_FORMULA = f"{_RELATIVE}#the-formula"
_RELATIVE_HAND = f"{_RELATIVE}#by-hand"
_RELATIVE_LOOP = f"{_RELATIVE}#the-loop"
_RELATIVE_LADDER = f"{_RELATIVE}#the-ladder"
_RELATIVE_WRONG = f"{_RELATIVE}#right-shape-still-wrong"

_NETWORKS = "local/networks.html"
_NETWORKS_FORMULA = f"{_NETWORKS}#the-formula"
_NETWORKS_LOOP = f"{_NETWORKS}#the-loop"
_NETWORKS_LADDER = f"{_NETWORKS}#the-ladder"
_NETWORKS_COST = f"{_NETWORKS}#the-cost"
_NETWORKS_WRONG = f"{_NETWORKS}#right-shape-still-wrong"

Number = Callable[..., int]


# ================================ memory blocks =================================
# --- neighbourhood --------------------------------------------------------------


def neighbourhood(i: int, j: int, kernel_size: int, height: int, width: int) -> Tensor:
    """Places (a, b) of the window around (i, j) that lie in the image, int64 [M, 2]."""
    reach = kernel_size // 2
    places = [
        (a, b)
        for a in range(i - reach, i + reach + 1)
        for b in range(j - reach, j + reach + 1)
        if 0 <= a < height and 0 <= b < width
    ]
    return torch.tensor(places)


def _neighbourhood(
    i: int,
    j: int,
    kernel_size: int,
    height: int,
    width: int,
    *,
    before: int | None = None,
    after: int | None = None,
    border: str = "cut",
) -> Tensor:
    """The same from `before` pixels in front of the query to `after` behind it."""
    reach = kernel_size // 2
    before, after = (
        reach if before is None else before,
        reach if after is None else after,
    )
    if border == "shifted":
        i = min(max(i, reach), max(height - 1 - reach, reach))
        j = min(max(j, reach), max(width - 1 - reach, reach))
    rows = torch.arange(i - before, i + after + 1)
    cols = torch.arange(j - before, j + after + 1)
    if border == "cut":
        rows = rows[(rows >= 0) & (rows < height)]
        cols = cols[(cols >= 0) & (cols < width)]
    if border == "wrapped":
        rows, cols = rows % height, cols % width
    if border == "clamped":
        rows, cols = rows.clamp(0, height - 1), cols.clamp(0, width - 1)
    return torch.cartesian_prod(rows, cols)


def _draw_place(
    random: Draw, i: int, j: int, reach: int, height: int, width: int
) -> Inputs:
    return {
        "i": min(i, height - 1),
        "j": min(j, width - 1),
        "kernel_size": 2 * reach + 1,
        "height": height,
        "width": width,
    }


def _without_query(i: int, j: int, kernel_size: int, height: int, width: int) -> Tensor:
    places = neighbourhood(i, j, kernel_size, height, width)
    return places[(places != torch.tensor([i, j])).any(1)]


NEIGHBOURHOOD = Exercise(
    name="neighbourhood",
    oracle=neighbourhood,
    draw=_draw_place,
    sizes=(
        {"i": 0, "j": 1, "reach": 1, "height": 2, "width": 3},
        {"i": 2, "j": 2, "reach": 1, "height": 5, "width": 5},
        {"i": 1, "j": 3, "reach": 1, "height": 3, "width": 4},
        {"i": 0, "j": 5, "reach": 2, "height": 4, "width": 6},
        {"i": 3, "j": 0, "reach": 3, "height": 4, "width": 9},
        {"i": 4, "j": 3, "reach": 2, "height": 9, "width": 7},
    ),
    variants=(
        Variant(
            "not_centred",
            lambda i, j, kernel_size, height, width: _neighbourhood(
                i, j, kernel_size, height, width, before=0, after=kernel_size - 1
            ),
            "The window starts at the query. It is centred on it: from i - K//2 to"
            " i + K//2.",
            _BLOCKS_FORMULA,
            also=(
                lambda i, j, kernel_size, height, width: _neighbourhood(
                    i, j, kernel_size, height, width, before=kernel_size - 1, after=0
                ),
            ),
        ),
        Variant(
            "outside_included",
            partial(_neighbourhood, border="kept"),
            "Places outside the image are in the list. Keep 0 <= a < H and 0 <= b < W.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "wraps_round",
            partial(_neighbourhood, border="wrapped"),
            "Places outside the image come back on the other side: Python counts"
            " negative indices from the end. Leave them out.",
            _BLOCKS_HAND,
        ),
        Variant(
            "border_repeated",
            partial(_neighbourhood, border="clamped"),
            "Places outside the image are moved to the border, so some places appear"
            " several times. Leave them out.",
            _BLOCKS_HAND,
        ),
        Variant(
            "window_pushed_inside",
            partial(_neighbourhood, border="shifted"),
            "At the border the window moves so that it fits in. It stays around the"
            " query and loses the places outside.",
            _BLOCKS_HAND,
        ),
        Variant(
            "query_excluded",
            _without_query,
            "The query's own pixel is missing. A pixel attends to itself, too.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "one_too_small",
            lambda i, j, kernel_size, height, width: _neighbourhood(
                i, j, kernel_size, height, width, after=kernel_size // 2 - 1
            ),
            "The last row and column of the window are missing. `range` stops before"
            " its end: add 1.",
            _BLOCKS_LOOP,
        ),
        Variant(
            "reach_is_the_whole_window",
            lambda i, j, kernel_size, height, width: _neighbourhood(
                i, j, kernel_size, height, width, before=kernel_size, after=kernel_size
            ),
            "The window reaches K pixels to each side. It reaches K//2, so that it is"
            " K pixels wide.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "row_and_column_exchanged",
            lambda i, j, kernel_size, height, width: neighbourhood(
                i, j, kernel_size, height, width
            ).flip(1),
            "The pairs are (column, row). Write (a, b): the row first.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "column_by_column",
            lambda i, j, kernel_size, height, width: neighbourhood(
                j, i, kernel_size, width, height
            ).flip(1),
            "The places are right, but listed column by column. List them row by row.",
            _BLOCKS_LOOP,
        ),
        Variant(
            "height_and_width_exchanged",
            lambda i, j, kernel_size, height, width: neighbourhood(
                i, j, kernel_size, width, height
            ),
            "Height and width are exchanged: a row is below `height`, a column below"
            " `width`.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "offsets_not_places",
            lambda i, j, kernel_size, height, width: (
                neighbourhood(i, j, kernel_size, height, width) - torch.tensor([i, j])
            ),
            "These are offsets from the query. The places are asked for: add (i, j).",
            _BLOCKS_FORMULA,
        ),
    ),
    section=_BLOCKS_FORMULA,
    gradients=False,
)


# --- receptive_field ------------------------------------------------------------


def receptive_field(layers: int, kernel_size: int) -> int:
    """Side of the window of input pixels that one pixel sees through the layers."""
    side = 1
    for _ in range(layers):
        side += kernel_size - 1
    return side


RECEPTIVE_FIELD = Exercise(
    name="receptive_field",
    oracle=receptive_field,
    draw=lambda random, layers, reach: {
        "layers": layers,
        "kernel_size": 2 * reach + 1,
    },
    sizes=(
        {"layers": 1, "reach": 1},
        {"layers": 2, "reach": 1},
        {"layers": 3, "reach": 2},
        {"layers": 4, "reach": 3},
        {"layers": 9, "reach": 5},
    ),
    variants=(
        Variant(
            "windows_multiplied",
            lambda layers, kernel_size: kernel_size**layers,
            "The windows are multiplied. The second layer looks K//2 pixels further to"
            " each side: K - 1 in all.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "windows_added",
            lambda layers, kernel_size: layers * kernel_size,
            "The windows are added. They overlap in a pixel: each layer adds K - 1.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "pixel_forgotten",
            lambda layers, kernel_size: layers * (kernel_size - 1),
            "The pixel itself is not counted. Start from 1.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "one_side_only",
            lambda layers, kernel_size: layers * (kernel_size // 2) + 1,
            "Only one side of the window grows. It grows by K//2 on each side.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "one_layer",
            lambda layers, kernel_size: kernel_size,
            "This is the window of one layer. Each further layer adds K - 1.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "area",
            lambda layers, kernel_size: receptive_field(layers, kernel_size) ** 2,
            "This is the number of pixels in the window. Its side is asked for.",
            _BLOCKS_FORMULA,
        ),
    ),
    section=_BLOCKS_FORMULA,
    gradients=False,
)


# --- window_keys ----------------------------------------------------------------


def window_keys(k: Tensor, i: int, j: int, kernel_size: int) -> Tensor:
    """Keys k [H, W, D] of the window around (i, j), zeros outside: [K, K, D]."""
    H, W, D = k.shape
    reach = kernel_size // 2
    keys = [
        k[a, b] if 0 <= a < H and 0 <= b < W else k.new_zeros(D)
        for a in range(i - reach, i + reach + 1)
        for b in range(j - reach, j + reach + 1)
    ]
    return torch.stack(keys).reshape(kernel_size, kernel_size, D)


def _window_keys(
    k: Tensor,
    i: int,
    j: int,
    kernel_size: int,
    *,
    first: int | None = None,
    border: str = "zero",
) -> Tensor:
    """The same with the first place of the window and the border to choose."""
    H, W, _ = k.shape
    first = -(kernel_size // 2) if first is None else first
    steps = torch.arange(first, first + kernel_size)
    rows, cols = i + steps, j + steps
    inside_rows, inside_cols = (rows >= 0) & (rows < H), (cols >= 0) & (cols < W)
    if border == "cut":
        rows, cols = rows[inside_rows], cols[inside_cols]
    if border == "wrapped":
        return k[rows % H][:, cols % W]
    window = k[rows.clamp(0, H - 1)][:, cols.clamp(0, W - 1)]
    if border == "zero":
        window = window * (inside_rows[:, None] & inside_cols)[..., None]
    return window


WINDOW_KEYS = Exercise(
    name="window_keys",
    oracle=window_keys,
    draw=lambda random, i, j, reach, H, W, D: {
        "k": random.normal(H, W, D),
        "i": min(i, H - 1),
        "j": min(j, W - 1),
        "kernel_size": 2 * reach + 1,
    },
    sizes=(
        {"i": 0, "j": 1, "reach": 1, "H": 2, "W": 3, "D": 1},
        {"i": 2, "j": 1, "reach": 1, "H": 4, "W": 3, "D": 2},
        {"i": 2, "j": 3, "reach": 1, "H": 5, "W": 6, "D": 3},
        {"i": 0, "j": 4, "reach": 2, "H": 3, "W": 5, "D": 2},
        {"i": 3, "j": 0, "reach": 3, "H": 4, "W": 4, "D": 3},
    ),
    variants=(
        Variant(
            "not_centred",
            partial(_window_keys, first=0),
            "The window starts at the query. In the padded map the query has moved by"
            " K//2, so the slice of its window starts at i, not at i + K//2.",
            _BLOCKS_LADDER,
            also=(
                lambda k, i, j, kernel_size: _window_keys(
                    k, i, j, kernel_size, first=1 - kernel_size
                ),
            ),
        ),
        Variant(
            "wraps_round",
            partial(_window_keys, border="wrapped"),
            "Keys outside the image come from the other side of it. They are zero.",
            _BLOCKS_HAND,
        ),
        Variant(
            "border_repeated",
            partial(_window_keys, border="repeated"),
            "The keys at the border are repeated outside. Outside the image keys are"
            " zero.",
            _BLOCKS_HAND,
        ),
        Variant(
            "window_cut_off",
            partial(_window_keys, border="cut"),
            "The window loses the places outside the image, so its shape changes. Fill"
            " them with zeros: always [K, K, D].",
            _BLOCKS_HAND,
        ),
        Variant(
            "row_and_column_exchanged",
            lambda k, i, j, kernel_size: window_keys(k, i, j, kernel_size).transpose(
                0, 1
            ),
            "Rows and columns of the window are exchanged. The first axis is the row.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "window_turned",
            lambda k, i, j, kernel_size: window_keys(k, i, j, kernel_size).flip(0, 1),
            "The window is turned round. Its first row lies above the query:"
            " a = i - K//2.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "channels_first",
            lambda k, i, j, kernel_size: window_keys(k, i, j, kernel_size).movedim(
                -1, 0
            ),
            "The channels come first: [D, K, K]. Here they come last.",
            _BLOCKS_LADDER,
        ),
        Variant(
            "places_flattened",
            lambda k, i, j, kernel_size: window_keys(k, i, j, kernel_size).flatten(
                0, 1
            ),
            "The places of the window are in one axis. Keep two: [K, K, D].",
            _BLOCKS_LADDER,
        ),
    ),
    section=_BLOCKS_FORMULA,
)


# --- window_mask ----------------------------------------------------------------


def window_mask(height: int, width: int, kernel_size: int) -> Tensor:
    """True [H, W, K, K] where the place of a pixel's window lies in the image."""
    reach = kernel_size // 2
    mask = torch.zeros(height, width, kernel_size, kernel_size, dtype=torch.bool)
    for i in range(height):
        for j in range(width):
            for m in range(kernel_size):
                for n in range(kernel_size):
                    a, b = i + m - reach, j + n - reach
                    mask[i, j, m, n] = 0 <= a < height and 0 <= b < width
    return mask


def _window_mask(
    height: int,
    width: int,
    kernel_size: int,
    *,
    first: int | None = None,
    low: int = 0,
    high: int = 0,
    ends: str = "both",
    axes: str = "both",
) -> Tensor:
    """The mask from `first`, with limits 0 - low and size + high."""
    first = -(kernel_size // 2) if first is None else first

    def inside(size: int) -> Tensor:
        place = torch.arange(size)[:, None] + torch.arange(kernel_size) + first
        above, below = place >= -low, place < size + high
        return {"both": above & below, "low": above, "high": below}[ends]

    rows, cols = inside(height)[:, None, :, None], inside(width)[:, None, :]
    if axes == "either":
        return rows | cols
    if axes == "rows":
        return rows.expand(-1, width, -1, kernel_size)
    if axes == "columns":
        return cols.expand(height, -1, kernel_size, -1)
    return rows & cols


WINDOW_MASK = Exercise(
    name="window_mask",
    oracle=window_mask,
    draw=lambda random, height, width, reach: {
        "height": height,
        "width": width,
        "kernel_size": 2 * reach + 1,
    },
    sizes=(
        {"height": 1, "width": 2, "reach": 1},
        {"height": 3, "width": 3, "reach": 1},
        {"height": 4, "width": 5, "reach": 1},
        {"height": 3, "width": 2, "reach": 2},
        {"height": 5, "width": 7, "reach": 2},
    ),
    variants=(
        Variant(
            "inverted",
            lambda height, width, kernel_size: ~window_mask(height, width, kernel_size),
            "The mask is True outside the image. Here True means keep.",
            _BLOCKS_HAND,
        ),
        Variant(
            "nothing_masked",
            lambda height, width, kernel_size: torch.ones(
                height, width, kernel_size, kernel_size, dtype=torch.bool
            ),
            "Every place is kept. Places outside the image are False.",
            _BLOCKS_HAND,
        ),
        Variant(
            "not_centred",
            partial(_window_mask, first=0),
            "The window starts at the query. Subtract K//2: it is centred on it.",
            _BLOCKS_FORMULA,
            also=(
                lambda height, width, kernel_size: _window_mask(
                    height, width, kernel_size, first=1 - kernel_size
                ),
            ),
        ),
        Variant(
            "one_side_only",
            partial(_window_mask, ends="low"),
            "Only one end is tested. A place can lie before the first pixel or behind"
            " the last one.",
            _BLOCKS_HAND,
            also=(partial(_window_mask, ends="high"),),
        ),
        Variant(
            "one_too_far",
            partial(_window_mask, high=1),
            "The limit is one pixel too far. Places are counted from 0 to H - 1 and to"
            " W - 1.",
            _BLOCKS_HAND,
            also=(partial(_window_mask, low=1), partial(_window_mask, low=1, high=1)),
        ),
        Variant(
            "one_axis_only",
            partial(_window_mask, axes="rows"),
            "Only one axis is tested. Row and column must both lie in the image.",
            _BLOCKS_HAND,
            also=(partial(_window_mask, axes="columns"),),
        ),
        Variant(
            "or_for_and",
            partial(_window_mask, axes="either"),
            "A place is kept if its row or its column lies in the image. Both must.",
            _BLOCKS_HAND,
        ),
        Variant(
            "window_axes_exchanged",
            lambda height, width, kernel_size: (
                window_mask(height, width, kernel_size).mT
            ),
            "Rows and columns of the window are exchanged. The last two axes are its"
            " row and its column.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "image_axes_exchanged",
            lambda height, width, kernel_size: window_mask(
                height, width, kernel_size
            ).transpose(0, 1),
            "Height and width are exchanged. The first two axes are the query's row"
            " and column.",
            _BLOCKS_FORMULA,
            also=(
                lambda height, width, kernel_size: window_mask(
                    width, height, kernel_size
                ),
            ),
        ),
        Variant(
            "window_before_image",
            lambda height, width, kernel_size: window_mask(
                height, width, kernel_size
            ).permute(2, 3, 0, 1),
            "The window comes before the image: [K, K, H, W]. Here it comes last.",
            _BLOCKS_LADDER,
        ),
    ),
    section=_BLOCKS_LADDER,
    gradients=False,
)


# --- local_attention_memory -----------------------------------------------------


def local_attention_memory(
    height: int, width: int, channels: int, kernel_size: int, bytes_per_number: int
) -> int:
    """Bytes of the unfolded keys and values of one image: K*K copies of each map."""
    return 2 * height * width * kernel_size**2 * channels * bytes_per_number


def _memory(
    height: int,
    width: int,
    channels: int,
    kernel_size: int,
    bytes_per_number: int,
    *,
    maps: int = 2,
    window: Number = lambda kernel_size: kernel_size**2,
) -> int:
    copies = window(kernel_size)
    return maps * height * width * copies * channels * bytes_per_number


LOCAL_ATTENTION_MEMORY = Exercise(
    name="local_attention_memory",
    oracle=local_attention_memory,
    draw=lambda random, height, width, channels, reach, bytes_per_number: {
        "height": height,
        "width": width,
        "channels": channels,
        "kernel_size": 2 * reach + 1,
        "bytes_per_number": bytes_per_number,
    },
    sizes=(
        {"height": 1, "width": 2, "channels": 3, "reach": 1, "bytes_per_number": 2},
        {"height": 3, "width": 5, "channels": 7, "reach": 1, "bytes_per_number": 4},
        {"height": 14, "width": 9, "channels": 6, "reach": 2, "bytes_per_number": 2},
        {"height": 56, "width": 56, "channels": 64, "reach": 3, "bytes_per_number": 4},
    ),
    variants=(
        Variant(
            "keys_only",
            partial(_memory, maps=1),
            "This is one of two tensors. Keys and values are unfolded.",
            _BLOCKS_COST,
        ),
        Variant(
            "queries_too",
            partial(_memory, maps=3),
            "Queries are counted as well. Each query is used at its own place: only"
            " keys and values are unfolded.",
            _BLOCKS_COST,
        ),
        Variant(
            "window_counted_once",
            partial(_memory, window=lambda kernel_size: 1),
            "These are keys and values before they are unfolded. Every pixel gets K*K"
            " of each.",
            _BLOCKS_COST,
        ),
        Variant(
            "one_side_of_the_window",
            partial(_memory, window=lambda kernel_size: kernel_size),
            "The window has K rows and K columns: K*K places.",
            _BLOCKS_COST,
        ),
        Variant(
            "channels_forgotten",
            lambda height, width, channels, kernel_size, bytes_per_number: _memory(
                height, width, 1, kernel_size, bytes_per_number
            ),
            "There is one number per place of the window. Each place holds a vector of"
            " `channels` numbers.",
            _BLOCKS_COST,
            also=(
                lambda height, width, channels, kernel_size, bytes_per_number: _memory(
                    height, width, 1, kernel_size, bytes_per_number, maps=1
                ),
            ),
        ),
        Variant(
            "numbers_not_bytes",
            lambda height, width, channels, kernel_size, bytes_per_number: _memory(
                height, width, channels, kernel_size, 1
            ),
            "This counts numbers. Multiply by the bytes of one number.",
            _BLOCKS_COST,
        ),
        Variant(
            "square_map_assumed",
            lambda height, width, channels, kernel_size, bytes_per_number: _memory(
                height, height, channels, kernel_size, bytes_per_number
            ),
            "Height and width are taken to be equal. The pixels are H*W.",
            _BLOCKS_COST,
            also=(
                lambda height, width, channels, kernel_size, bytes_per_number: _memory(
                    width, width, channels, kernel_size, bytes_per_number
                ),
            ),
        ),
        Variant(
            "global_attention",
            lambda height, width, channels, kernel_size, bytes_per_number: _memory(
                height,
                width,
                channels,
                kernel_size,
                bytes_per_number,
                window=lambda kernel_size: height * width,
            ),
            "Every pixel gets the keys and values of the whole image. A window has K*K"
            " of them.",
            _BLOCKS_COST,
        ),
    ),
    section=_BLOCKS_COST,
    gradients=False,
)


# --- local attention with a switch for each mistake -----------------------------


def _unfold(x: Tensor, kernel_size: int, first: int, mode: str = "constant") -> Tensor:
    """Windows [..., H, W, K, K, D] of maps [..., H, W, D], from place `first` on."""
    before, after = -first, kernel_size - 1 + first
    if mode == "constant":
        x = F.pad(x, (0, 0, before, after, before, after))
    else:
        for axis in (-3, -2):
            place = torch.arange(-before, x.shape[axis] + after)
            size = x.shape[axis]
            place = place % size if mode == "wrapped" else place.clamp(0, size - 1)
            x = x.index_select(axis, place)
    x = x.unfold(-3, kernel_size, 1).unfold(-3, kernel_size, 1)
    return x.movedim(-3, -1)


def _embeddings(relative_rows: Tensor, relative_cols: Tensor, how: str) -> Tensor:
    """The vectors r [K, K, D] of a window, right or wrong."""
    rows, cols = relative_rows[:, None], relative_cols[None]
    if how in ("mirrored", "rows mirrored"):
        rows = rows.flip(0)
    if how in ("mirrored", "columns mirrored"):
        cols = cols.flip(1)
    if how == "offsets exchanged":
        rows, cols = relative_rows[None], relative_cols[:, None]
    if how == "rows missing":
        rows = 0 * rows
    if how == "columns missing":
        cols = 0 * cols
    K = len(relative_rows)
    rows, cols = rows.expand(K, K, -1), cols.expand(K, K, -1)
    if how == "added":
        return torch.cat([rows + cols, rows + cols], dim=-1)
    if how == "halves swapped":
        rows, cols = cols, rows
    if how == "interleaved":
        return torch.stack([rows, cols], dim=-1).flatten(-2)
    return torch.cat([rows, cols], dim=-1)


def _halves_of_all_channels(
    relative_rows: Tensor, relative_cols: Tensor, num_heads: int
) -> Tensor:
    """The vectors r [N, K, K, D] when the first N*D/2 channels see the rows alone."""
    rows = relative_rows.repeat(1, num_heads)
    cols = relative_cols.repeat(1, num_heads)
    r = _embeddings(rows, cols, "right")  # [K, K, N*D]
    return torch.unflatten(r, -1, (num_heads, -1)).movedim(-2, 0)


def _softmax(logits: Tensor, axes: tuple[int, ...]) -> Tensor:
    """A softmax over several axes; where everything is masked it gives zeros."""
    top = logits.amax(axes, keepdim=True).clamp_min(-1e300)
    weights = (logits - top).exp()
    return weights / weights.sum(axes, keepdim=True).clamp_min(1e-300)


def _local(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relative_rows: Tensor | None,
    relative_cols: Tensor | None,
    kernel_size: int,
    *,
    content: bool = True,
    border: str = "mask",
    first: int | None = None,
    window: int = 0,
    scale: str = "none",
    per_channel: bool = False,
    heads: str = "own",
    softmax: str = "window",
    values: str = "content",
    unfold: str = "right",
    query: str = "in",
    embedding: str = "right",
    asks: str = "query",
) -> Tensor:
    """Local attention with one switch for each place where it can go wrong."""
    N, H, W, D = q.shape[1:]
    K = kernel_size + window
    if K < 1:
        raise ValueError(f"a window of {K} pixels has no places")
    first = -(K // 2) if first is None else first
    mode = border if border in ("wrapped", "repeated") else "constant"
    keys, v_ab = _unfold(k, K, first, mode), _unfold(v, K, first, mode)
    if unfold == "mixed":
        keys, v_ab = (
            x.movedim(-1, -3).reshape(x.shape) for x in (keys, v_ab)
        )  # [D, K, K] read as [K, K, D]
    if unfold == "misaligned":
        v_ab = v_ab.transpose(-2, -3)
    if values == "query":
        v_ab = v[..., None, None, :].expand_as(v_ab)

    products = torch.zeros_like(keys)  # [B, N, H, W, K, K, D]
    if content:
        products = q[..., None, None, :] * keys
    if scale == "content":
        products = products * D**-0.5
    if relative_rows is not None and relative_cols is not None:
        if embedding == "halves of all channels":
            r = _halves_of_all_channels(relative_rows, relative_cols, N)
        else:
            r = _embeddings(relative_rows, relative_cols, embedding)
        r = r.expand(N, K, K, D)[:, None, None]  # [N, 1, 1, K, K, D]
        if embedding != "missing" and values != "positioned":
            asking = {
                "query": q[..., None, None, :],
                "key": keys,
                "nothing": torch.ones((), dtype=q.dtype),
            }[asks]
            products = products + asking * r
        if values in ("positioned", "positioned too"):
            v_ab = v_ab + r
    if scale == "all":
        products = products * D**-0.5
    if scale == "full width":
        products = products * (N * D) ** -0.5

    logits = products if per_channel else products.sum(-1, keepdim=True)
    if heads == "one map":
        logits = logits.sum(1, keepdim=True).expand_as(logits)
    inside = _unfold(torch.ones(H, W, 1), K, first) > 0  # [H, W, K, K, 1]
    if query == "left out":
        inside[:, :, -first, -first] = False
    if border == "mask":
        logits = logits.masked_fill(~inside, -math.inf)
    axes = {"window": (4, 5), "columns": (5,), "rows": (4,), "none": ()}[softmax]
    weights = _softmax(logits, axes) if axes else logits.masked_fill(~inside, 0)
    return (weights * v_ab).sum((-3, -2))


def _global(q: Tensor, k: Tensor, v: Tensor, kernel_size: int, *, then: str) -> Tensor:
    """Attention over the whole image, then perhaps cut to the window."""
    H, W = q.shape[2:4]
    logits = torch.einsum("bnijd,bnxyd->bnijxy", q, k)
    weights = _softmax(logits, (4, 5))
    if then == "cut":
        rows = (torch.arange(H)[:, None] - torch.arange(H)).abs() <= kernel_size // 2
        cols = (torch.arange(W)[:, None] - torch.arange(W)).abs() <= kernel_size // 2
        weights = weights * (rows[:, None, :, None] & cols[:, None])
    return torch.einsum("bnijxy,bnxyd->bnijd", weights, v)


# --- memory_block ---------------------------------------------------------------


def memory_block(q: Tensor, k: Tensor, v: Tensor, kernel_size: int) -> Tensor:
    """Local attention without positions: the softmax runs over the pixels that exist.

    q, k and v are [B, N, H, W, D]; so is the result.
    """
    y = local_attention_loop(q, k, v, None, None, kernel_size)
    assert isinstance(y, Tensor)
    return y


def _block(**mistake: object) -> Callable[[Tensor, Tensor, Tensor, int], Tensor]:
    """A memory block with these switches of `_local`."""

    def block(q: Tensor, k: Tensor, v: Tensor, kernel_size: int) -> Tensor:
        return _local(q, k, v, None, None, kernel_size, **mistake)  # type: ignore[arg-type]

    return block


MEMORY_BLOCK = Exercise(
    name="memory_block",
    oracle=memory_block,
    draw=lambda random, B, N, H, W, D, reach: {
        "q": random.normal(B, N, H, W, D),
        "k": random.normal(B, N, H, W, D),
        "v": random.normal(B, N, H, W, D),
        "kernel_size": 2 * reach + 1,
    },
    sizes=(
        {"B": 1, "N": 1, "H": 1, "W": 2, "D": 1, "reach": 1},
        {"B": 1, "N": 1, "H": 2, "W": 3, "D": 2, "reach": 0},
        {"B": 1, "N": 2, "H": 3, "W": 3, "D": 2, "reach": 1},
        {"B": 2, "N": 1, "H": 3, "W": 5, "D": 3, "reach": 1},
        {"B": 1, "N": 2, "H": 4, "W": 3, "D": 3, "reach": 2},
    ),
    variants=(
        Variant(
            "zero_keys_kept",
            _block(border="zero"),
            "Keys outside the image are zero vectors that still take part in the"
            " softmax. Set their logits to minus infinity before it.",
            _BLOCKS_WRONG,
        ),
        Variant(
            "scaled",
            _block(scale="all"),
            "The logits are divided by sqrt(D). This paper's formula has no scale.",
            _BLOCKS_FORMULA,
            also=(_block(scale="full width"),),
        ),
        Variant(
            "not_summed_over_channels",
            _block(per_channel=True),
            "Each channel has a softmax of its own: `q` times `k` is not summed. A"
            " logit is the sum over the D channels of a head.",
            _BLOCKS_WRONG,
            also=(_block(per_channel=True, border="zero"),),
        ),
        Variant(
            "one_map_for_all_heads",
            _block(heads="one map"),
            "The logits are summed over the heads, so all heads share one map. Each"
            " head needs its own softmax.",
            _BLOCKS_WRONG,
            also=(_block(heads="one map", border="zero"),),
        ),
        Variant(
            "window_ignored",
            partial(_global, then="keep"),
            "Every pixel attends to the whole image. Only the keys of its window take"
            " part.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "softmax_before_the_window",
            partial(_global, then="cut"),
            "The softmax runs over the whole image and is then cut to the window, so"
            " the weights do not sum to 1. Cut first.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "window_too_large",
            _block(window=2),
            "The window is two pixels too wide. It reaches K//2 pixels to each side.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "window_too_small",
            _block(window=-2),
            "The window is too small. It reaches K//2 pixels to each side; `range`"
            " stops before its end.",
            _BLOCKS_FORMULA,
            also=(
                lambda q, k, v, kernel_size: _local(
                    q, k, v, None, None, kernel_size, window=-1
                ),
            ),
        ),
        Variant(
            "not_centred",
            _block(first=0),
            "The window starts at the query. It is centred on it: pad K//2 on every"
            " side.",
            _BLOCKS_LADDER,
            also=(
                lambda q, k, v, kernel_size: _local(
                    q, k, v, None, None, kernel_size, first=1 - kernel_size
                ),
            ),
        ),
        Variant(
            "query_left_out",
            _block(query="left out"),
            "The query's own pixel takes no part. A pixel attends to itself, too.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "values_not_windowed",
            _block(values="query"),
            "All values are that of the query's pixel, so the output is `v`. Take the"
            " values of the window, like the keys.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "keys_and_values_exchanged",
            lambda q, k, v, kernel_size: _local(q, v, k, None, None, kernel_size),
            "Keys and values are exchanged. The query meets the keys; the weights meet"
            " the values.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "queries_and_keys_exchanged",
            lambda q, k, v, kernel_size: _local(k, q, v, None, None, kernel_size),
            "Queries and keys are exchanged: each pixel asks with its key. The query"
            " belongs to the centre, the keys to the window.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "border_repeated",
            _block(border="repeated"),
            "The pixels at the border are repeated outside the image. There are no"
            " keys outside: mask them.",
            _BLOCKS_HAND,
        ),
        Variant(
            "wraps_round",
            _block(border="wrapped"),
            "The window goes on at the other side of the image. There are no keys"
            " outside: mask them.",
            _BLOCKS_HAND,
        ),
        Variant(
            "softmax_over_one_axis",
            _block(softmax="columns"),
            "The softmax runs over one axis of the window. All K*K places share one"
            " softmax: flatten them first.",
            _BLOCKS_LADDER,
            also=(_block(softmax="rows"),),
        ),
        Variant(
            "no_softmax",
            _block(softmax="none"),
            "The logits are used as weights. Take the softmax over the window.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "unfold_axes_mixed",
            _block(unfold="mixed"),
            "`F.unfold` gives the channels first, then the places: [D, K*K]. Here the"
            " same memory is read as [K*K, D].",
            _BLOCKS_LADDER,
        ),
        Variant(
            "keys_and_values_misaligned",
            _block(unfold="misaligned"),
            "Keys and values list the places of the window in different order: one row"
            " by row, the other column by column.",
            _BLOCKS_LADDER,
        ),
    ),
    section=_BLOCKS_LOOP,
)


# ============================= relative embeddings ==============================
# --- window_offsets -------------------------------------------------------------


def window_offsets(kernel_size: int) -> Tensor:
    """Offsets key minus query (row, column) of a window, int64 [K, K, 2]."""
    reach = kernel_size // 2
    return torch.tensor(
        [
            [(m - reach, n - reach) for n in range(kernel_size)]
            for m in range(kernel_size)
        ]
    )


WINDOW_OFFSETS = Exercise(
    name="window_offsets",
    oracle=window_offsets,
    draw=lambda random, reach: {"kernel_size": 2 * reach + 1},
    sizes=({"reach": 1}, {"reach": 0}, {"reach": 2}, {"reach": 3}),
    variants=(
        Variant(
            "mirrored",
            lambda kernel_size: -window_offsets(kernel_size),
            "The offsets are query minus key. They are key minus query: the top left"
            " place has (-(K//2), -(K//2)).",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "row_and_column_exchanged",
            lambda kernel_size: window_offsets(kernel_size).flip(-1),
            "Rows and columns are exchanged. The row offset comes first; it changes"
            " along the first axis.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "counted_from_zero",
            lambda kernel_size: window_offsets(kernel_size) + kernel_size // 2,
            "The offsets count from 0. These are the rows of the tables; the offset of"
            " the centre is (0, 0).",
            _RELATIVE_HAND,
            also=(lambda kernel_size: window_offsets(kernel_size) + kernel_size,),
        ),
        Variant(
            "distances",
            lambda kernel_size: window_offsets(kernel_size).abs(),
            "The signs are missing. A key above the query and one below it have"
            " different offsets.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "offsets_of_a_map",
            lambda kernel_size: window_offsets(2 * kernel_size - 1),
            "These are the 2K-1 offsets between two pixels of a K x K map. A window"
            " has its query in the centre: K offsets.",
            _RELATIVE_HAND,
        ),
        Variant(
            "places_flattened",
            lambda kernel_size: window_offsets(kernel_size).flatten(0, 1),
            "The places of the window are in one axis. Keep two: [K, K, 2].",
            _RELATIVE_FORMULA,
        ),
    ),
    section=_RELATIVE_FORMULA,
    gradients=False,
)


# --- relative_window ------------------------------------------------------------


def relative_window(relative_rows: Tensor, relative_cols: Tensor) -> Tensor:
    """Vectors r [K, K, D] of a window: half of the row, half of the column."""
    window = [
        torch.stack([torch.cat([row, col]) for col in relative_cols])
        for row in relative_rows
    ]
    return torch.stack(window)


def _draw_tables(random: Draw, half: int, reach: int) -> Inputs:
    return {
        "relative_rows": random.normal(2 * reach + 1, half),
        "relative_cols": random.normal(2 * reach + 1, half),
    }


_HALVES_SWAPPED = (
    "The halves are swapped. The first half of the channels holds the row's vector, the"
    " second half the column's."
)
_OFFSETS_EXCHANGED = (
    "Row and column offset are exchanged: the row's vector changes along the columns of"
    " the window."
)

RELATIVE_WINDOW = Exercise(
    name="relative_window",
    oracle=relative_window,
    draw=_draw_tables,
    sizes=(
        {"half": 1, "reach": 1},
        {"half": 2, "reach": 0},
        {"half": 3, "reach": 1},
        {"half": 2, "reach": 3},
    ),
    variants=(
        Variant(
            "halves_swapped",
            partial(_embeddings, how="halves swapped"),
            _HALVES_SWAPPED,
            _RELATIVE_WRONG,
        ),
        Variant(
            "offsets_exchanged",
            partial(_embeddings, how="offsets exchanged"),
            _OFFSETS_EXCHANGED,
            _RELATIVE_WRONG,
        ),
        Variant(
            "rows_and_columns_swapped",
            lambda relative_rows, relative_cols: relative_window(
                relative_cols, relative_rows
            ),
            "The two tables are swapped: rows of the window read `relative_cols`. They"
            " read `relative_rows`, and use the first half.",
            _RELATIVE_WRONG,
        ),
        Variant(
            "mirrored",
            partial(_embeddings, how="mirrored"),
            "Both offsets are mirrored. The first row of a table belongs to the offset"
            " -(K//2): above the query, or left of it.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "rows_mirrored",
            partial(_embeddings, how="rows mirrored"),
            "The row offset is mirrored. The first row of the table belongs to the"
            " places above the query.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "columns_mirrored",
            partial(_embeddings, how="columns mirrored"),
            "The column offset is mirrored. The first row of the table belongs to the"
            " places left of the query.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "added",
            partial(_embeddings, how="added"),
            "The two vectors are added. Here they are concatenated, so that each has"
            " its own half of the channels.",
            _RELATIVE_FORMULA,
            also=(
                lambda relative_rows, relative_cols: (
                    relative_rows[:, None] + relative_cols
                ),
            ),
        ),
        Variant(
            "interleaved",
            partial(_embeddings, how="interleaved"),
            "The channels of row and column alternate. The row has the first half, the"
            " column the second.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "channels_first",
            lambda relative_rows, relative_cols: relative_window(
                relative_rows, relative_cols
            ).movedim(-1, 0),
            "The channels come first: [D, K, K]. Here they come last.",
            _RELATIVE_LADDER,
        ),
    ),
    section=_RELATIVE_FORMULA,
)


# --- window_logits --------------------------------------------------------------


def window_logits(q: Tensor, relative_rows: Tensor, relative_cols: Tensor) -> Tensor:
    """Position logits q.r [H, W, K, K] of queries [H, W, D], for every place."""
    H, W, _ = q.shape
    r = relative_window(relative_rows, relative_cols)  # [K, K, D]
    K = r.shape[0]
    logits = [
        q[i, j] @ r[m, n]
        for i in range(H)
        for j in range(W)
        for m in range(K)
        for n in range(K)
    ]
    return torch.stack(logits).reshape(H, W, K, K)


def _window_logits(
    q: Tensor, relative_rows: Tensor, relative_cols: Tensor, *, embedding: str = "right"
) -> Tensor:
    r = _embeddings(relative_rows, relative_cols, embedding)
    return torch.einsum("ijd,mnd->ijmn", q, r)


def _one_half(
    q: Tensor, relative_rows: Tensor, relative_cols: Tensor, *, how: str
) -> Tensor:
    """Row logits and column logits from the halves of q, put together wrongly."""
    half = q.shape[-1] // 2
    rows = torch.einsum("ijd,md->ijm", q[..., :half], relative_rows)[..., None]
    cols = torch.einsum("ijd,nd->ijn", q[..., half:], relative_cols)[..., None, :]
    if how == "multiplied":
        return rows * cols
    first = torch.einsum("ijd,nd->ijn", q[..., :half], relative_cols)[..., None, :]
    return rows + first  # both read the first half of q


def _border_masked(
    q: Tensor, relative_rows: Tensor, relative_cols: Tensor, *, value: float
) -> Tensor:
    logits = _window_logits(q, relative_rows, relative_cols)
    mask = _window_mask(q.shape[0], q.shape[1], relative_rows.shape[0])
    return logits.masked_fill(~mask, value)


WINDOW_LOGITS = Exercise(
    name="window_logits",
    oracle=window_logits,
    draw=lambda random, H, W, half, reach: {
        "q": random.normal(H, W, 2 * half),
        **_draw_tables(random, half, reach),
    },
    sizes=(
        {"H": 1, "W": 1, "half": 1, "reach": 1},
        {"H": 1, "W": 2, "half": 2, "reach": 1},
        {"H": 3, "W": 3, "half": 1, "reach": 1},
        {"H": 4, "W": 3, "half": 3, "reach": 2},
        {"H": 2, "W": 5, "half": 2, "reach": 0},
    ),
    variants=(
        Variant(
            "halves_swapped",
            partial(_window_logits, embedding="halves swapped"),
            _HALVES_SWAPPED,
            _RELATIVE_WRONG,
        ),
        Variant(
            "offsets_exchanged",
            partial(_window_logits, embedding="offsets exchanged"),
            _OFFSETS_EXCHANGED,
            _RELATIVE_WRONG,
        ),
        Variant(
            "rows_and_columns_swapped",
            lambda q, relative_rows, relative_cols: _window_logits(
                q, relative_cols, relative_rows
            ),
            "The two tables are swapped: rows of the window read `relative_cols`. They"
            " read `relative_rows`, and use the first half of `q`.",
            _RELATIVE_WRONG,
        ),
        Variant(
            "mirrored",
            partial(_window_logits, embedding="mirrored"),
            "Both offsets are mirrored. The first row of a table belongs to the offset"
            " -(K//2): above the query, or left of it.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "rows_mirrored",
            partial(_window_logits, embedding="rows mirrored"),
            "The row offset is mirrored. The first row of the table belongs to the"
            " places above the query.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "columns_mirrored",
            partial(_window_logits, embedding="columns mirrored"),
            "The column offset is mirrored. The first row of the table belongs to the"
            " places left of the query.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "rows_missing",
            partial(_window_logits, embedding="rows missing"),
            "The row offset has no effect. The first half of `q` meets"
            " `relative_rows`.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "columns_missing",
            partial(_window_logits, embedding="columns missing"),
            "The column offset has no effect. The second half of `q` meets"
            " `relative_cols`.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "added",
            partial(_window_logits, embedding="added"),
            "Row and column vectors are added over all channels. Each has its own half"
            " of them.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "one_half_of_the_query",
            partial(_one_half, how="first half twice"),
            "Rows and columns both meet the first half of `q`. The columns meet the"
            " second half.",
            _RELATIVE_WRONG,
        ),
        Variant(
            "multiplied",
            partial(_one_half, how="multiplied"),
            "Row logit and column logit are multiplied. A dot product of joined"
            " vectors is the sum of the two parts.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "not_summed_over_channels",
            lambda q, relative_rows, relative_cols: (
                q[:, :, None, None] * _embeddings(relative_rows, relative_cols, "right")
            ),
            "`q` times `r` is not summed, so every channel has a logit. Sum over the D"
            " channels.",
            _RELATIVE_WRONG,
        ),
        Variant(
            "scaled",
            lambda q, relative_rows, relative_cols: (
                _window_logits(q, relative_rows, relative_cols) * q.shape[-1] ** -0.5
            ),
            "The logits are divided by sqrt(D). This paper's formula has no scale.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "border_masked",
            partial(_border_masked, value=-math.inf),
            "Places outside the image are masked already. Here every place of the"
            " window gets its logit; the mask comes later.",
            _RELATIVE_LADDER,
            also=(partial(_border_masked, value=0.0),),
        ),
        Variant(
            "image_axes_exchanged",
            lambda q, relative_rows, relative_cols: _window_logits(
                q.transpose(0, 1), relative_rows, relative_cols
            ),
            "Height and width are exchanged. The first two axes are the query's row"
            " and column.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "window_before_image",
            lambda q, relative_rows, relative_cols: _window_logits(
                q, relative_rows, relative_cols
            ).permute(2, 3, 0, 1),
            "The window comes before the image: [K, K, H, W]. Here it comes last.",
            _RELATIVE_LADDER,
        ),
    ),
    section=_RELATIVE_LOOP,
)


# --- position_only_attention ----------------------------------------------------


def position_only_attention(
    q: Tensor,
    v: Tensor,
    relative_rows: Tensor,
    relative_cols: Tensor,
    kernel_size: int,
) -> Tensor:
    """Local attention whose logits are q.r alone; q and v are [B, N, H, W, D]."""
    k = torch.zeros_like(q)
    y = local_attention_loop(q, k, v, relative_rows, relative_cols, kernel_size)
    assert isinstance(y, Tensor)
    return y


def _position_only(
    **mistake: object,
) -> Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]:
    """Attention by position with these switches of `_local`."""

    def attention(
        q: Tensor,
        v: Tensor,
        relative_rows: Tensor,
        relative_cols: Tensor,
        kernel_size: int,
    ) -> Tensor:
        k = torch.zeros_like(q)
        tables = (relative_rows, relative_cols)
        return _local(q, k, v, *tables, kernel_size, **mistake)  # type: ignore[arg-type]

    return attention


_HALVES_OF_ALL = (
    "The rows have the first half of all channels, so the first heads see only rows and"
    " the last only columns. Cut each head into halves."
)
_SIZES = (
    {"B": 1, "N": 1, "H": 1, "W": 2, "half": 1, "reach": 1},
    {"B": 1, "N": 1, "H": 2, "W": 2, "half": 2, "reach": 0},
    {"B": 1, "N": 2, "H": 3, "W": 3, "half": 1, "reach": 1},
    {"B": 2, "N": 1, "H": 3, "W": 4, "half": 2, "reach": 1},
    {"B": 1, "N": 3, "H": 4, "W": 3, "half": 1, "reach": 2},
)

POSITION_ONLY_ATTENTION = Exercise(
    name="position_only_attention",
    oracle=position_only_attention,
    draw=lambda random, B, N, H, W, half, reach: {
        "q": random.normal(B, N, H, W, 2 * half),
        "v": random.normal(B, N, H, W, 2 * half),
        **_draw_tables(random, half, reach),
        "kernel_size": 2 * reach + 1,
    },
    sizes=_SIZES,
    variants=(
        Variant(
            "zero_keys_kept",
            _position_only(border="zero"),
            "Places outside the image take part in the softmax with the value zero."
            " Set their logits to minus infinity before it.",
            _BLOCKS_WRONG,
        ),
        Variant(
            "query_forgotten",
            _position_only(asks="nothing"),
            "The weights do not depend on the query, so every pixel has the same: that"
            " is a fixed kernel. Multiply `r` by `q`.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "values_as_keys",
            lambda q, v, relative_rows, relative_cols, kernel_size: _local(
                q, v, v, relative_rows, relative_cols, kernel_size
            ),
            "The content takes part: `q` is multiplied by the values. Only q.r is in"
            " the softmax.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "queries_as_keys",
            lambda q, v, relative_rows, relative_cols, kernel_size: _local(
                q, q, v, relative_rows, relative_cols, kernel_size
            ),
            "The content takes part: `q` is multiplied by the queries of the window."
            " Only q.r is in the softmax.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "halves_swapped",
            _position_only(embedding="halves swapped"),
            _HALVES_SWAPPED,
            _RELATIVE_WRONG,
        ),
        Variant(
            "offsets_exchanged",
            _position_only(embedding="offsets exchanged"),
            _OFFSETS_EXCHANGED,
            _RELATIVE_WRONG,
        ),
        Variant(
            "halves_of_all_channels",
            _position_only(embedding="halves of all channels"),
            _HALVES_OF_ALL,
            _RELATIVE_WRONG,
        ),
        Variant(
            "mirrored",
            _position_only(embedding="mirrored"),
            "Both offsets are mirrored: query minus key. They are key minus query.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "not_summed_over_channels",
            _position_only(per_channel=True),
            "Each channel has a softmax of its own: `q` times `r` is not summed over"
            " the D channels of a head.",
            _RELATIVE_WRONG,
        ),
        Variant(
            "one_map_for_all_heads",
            _position_only(heads="one map"),
            "The logits are summed over the heads, so all heads share one map. Each"
            " head needs its own softmax.",
            _RELATIVE_WRONG,
        ),
        Variant(
            "scaled",
            _position_only(scale="all"),
            "The logits are divided by sqrt(D). This paper's formula has no scale.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "no_softmax",
            _position_only(softmax="none"),
            "The logits are used as weights. Take the softmax over the window.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "softmax_over_one_axis",
            _position_only(softmax="columns"),
            "The softmax runs over one axis of the window. All K*K places share one"
            " softmax: flatten them first.",
            _RELATIVE_LADDER,
            also=(_position_only(softmax="rows"),),
        ),
    ),
    section=_RELATIVE_LOOP,
)


# --- local_attention ------------------------------------------------------------


def local_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relative_rows: Tensor,
    relative_cols: Tensor,
    kernel_size: int,
) -> Tensor:
    """Local attention with relative embeddings; keys outside the image are masked."""
    y = local_attention_loop(q, k, v, relative_rows, relative_cols, kernel_size)
    assert isinstance(y, Tensor)
    return y


LOCAL_ATTENTION = Exercise(
    name="local_attention",
    oracle=local_attention,
    draw=lambda random, B, N, H, W, half, reach: {
        "q": random.normal(B, N, H, W, 2 * half),
        "k": random.normal(B, N, H, W, 2 * half),
        "v": random.normal(B, N, H, W, 2 * half),
        **_draw_tables(random, half, reach),
        "kernel_size": 2 * reach + 1,
    },
    sizes=_SIZES,
    variants=(
        Variant(
            "not_summed_over_channels",
            partial(_local, per_channel=True),
            "Each channel has a softmax of its own: `q` times `k + r` is not summed. A"
            " logit is the sum over the D channels of a head.",
            _RELATIVE_WRONG,
            also=(
                partial(_local, per_channel=True, border="zero"),
                partial(
                    _local,
                    per_channel=True,
                    embedding="halves of all channels",
                    border="zero",
                ),
            ),
        ),
        Variant(
            "one_map_for_all_heads",
            partial(_local, heads="one map"),
            "The logits are summed over the heads, so all heads share one map. Each"
            " head needs its own softmax.",
            _RELATIVE_WRONG,
            also=(partial(_local, heads="one map", border="zero"),),
        ),
        Variant(
            "halves_of_all_channels",
            partial(_local, embedding="halves of all channels"),
            _HALVES_OF_ALL,
            _RELATIVE_WRONG,
            also=(partial(_local, embedding="halves of all channels", border="zero"),),
        ),
        Variant(
            "halves_swapped",
            partial(_local, embedding="halves swapped"),
            _HALVES_SWAPPED,
            _RELATIVE_WRONG,
        ),
        Variant(
            "offsets_exchanged",
            partial(_local, embedding="offsets exchanged"),
            _OFFSETS_EXCHANGED,
            _RELATIVE_WRONG,
        ),
        Variant(
            "rows_and_columns_swapped",
            lambda q, k, v, relative_rows, relative_cols, kernel_size: _local(
                q, k, v, relative_cols, relative_rows, kernel_size
            ),
            "The two tables are swapped: rows of the window read `relative_cols`. They"
            " read `relative_rows`, and use the first half.",
            _RELATIVE_WRONG,
        ),
        Variant(
            "mirrored",
            partial(_local, embedding="mirrored"),
            "Both offsets are mirrored: query minus key. They are key minus query.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "rows_mirrored",
            partial(_local, embedding="rows mirrored"),
            "The row offset is mirrored. It is key minus query, a - i.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "columns_mirrored",
            partial(_local, embedding="columns mirrored"),
            "The column offset is mirrored. It is key minus query, b - j.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "added",
            partial(_local, embedding="added"),
            "Row and column vectors are added over all channels. Each has its own half"
            " of them.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "rows_missing",
            partial(_local, embedding="rows missing"),
            "The row offset has no effect. Concatenate the row's and the column's"
            " vector.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "columns_missing",
            partial(_local, embedding="columns missing"),
            "The column offset has no effect. Concatenate the row's and the column's"
            " vector.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "positions_missing",
            partial(_local, embedding="missing"),
            "The embeddings have no effect. Add q.r to each logit.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "content_missing",
            partial(_local, content=False),
            "The keys have no effect. Add q.k to each logit.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "positions_added_to_values",
            partial(_local, values="positioned"),
            "The embeddings are added to the values. They belong to the logits: q.r.",
            _RELATIVE_WRONG,
            also=(partial(_local, values="positioned too"),),
        ),
        Variant(
            "offset_meets_key",
            partial(_local, asks="key"),
            "The embedding is multiplied by the key. It meets the query: q.r.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "query_forgotten",
            partial(_local, asks="nothing"),
            "The embedding is summed without the query, as a fixed bias. It meets the"
            " query: q.r.",
            _RELATIVE_FORMULA,
        ),
        Variant(
            "zero_keys_kept",
            partial(_local, border="zero"),
            "Keys outside the image are zero vectors that still take part in the"
            " softmax. Set their logits to minus infinity before it.",
            _BLOCKS_WRONG,
        ),
        Variant(
            "scaled",
            partial(_local, scale="all"),
            "The logits are divided by sqrt(D). This paper's formula has no scale.",
            _RELATIVE_FORMULA,
            also=(
                partial(_local, scale="content"),
                partial(_local, scale="full width"),
            ),
        ),
        Variant(
            "not_centred",
            partial(_local, first=0),
            "The window starts at the query. It is centred on it: pad K//2 on every"
            " side.",
            _BLOCKS_LADDER,
            also=(
                lambda q, k, v, relative_rows, relative_cols, kernel_size: _local(
                    q,
                    k,
                    v,
                    relative_rows,
                    relative_cols,
                    kernel_size,
                    first=1 - kernel_size,
                ),
            ),
        ),
        Variant(
            "values_not_windowed",
            partial(_local, values="query"),
            "All values are that of the query's pixel, so the output is `v`. Take the"
            " values of the window, like the keys.",
            _BLOCKS_FORMULA,
        ),
        Variant(
            "softmax_over_one_axis",
            partial(_local, softmax="columns"),
            "The softmax runs over one axis of the window. All K*K places share one"
            " softmax: flatten them first.",
            _BLOCKS_LADDER,
            also=(partial(_local, softmax="rows"),),
        ),
        Variant(
            "unfold_axes_mixed",
            partial(_local, unfold="mixed"),
            "`F.unfold` gives the channels first, then the places: [D, K*K]. Here the"
            " same memory is read as [K*K, D].",
            _BLOCKS_LADDER,
        ),
    ),
    section=_RELATIVE_LOOP,
)


# =================================== networks ===================================
# --- value_mixture --------------------------------------------------------------


def value_mixture(
    embedding_rows: Tensor, embedding_cols: Tensor, mixture_vectors: Tensor
) -> Tensor:
    """Weights p(a, b, m) [K, K, M] of the value matrices at each place of a block."""
    places = [
        [
            torch.softmax(
                torch.stack([(row + col) @ vector for vector in mixture_vectors]), dim=0
            )
            for col in embedding_cols
        ]
        for row in embedding_rows
    ]
    return torch.stack([torch.stack(row) for row in places])


def _mixture(
    embedding_rows: Tensor,
    embedding_cols: Tensor,
    mixture_vectors: Tensor,
    *,
    axes: tuple[int, ...] = (2,),
    place: str = "sum",
    power: float = 0.0,
) -> Tensor:
    """The mixture with one switch for each place where it can go wrong."""
    rows, cols = embedding_rows[:, None], embedding_cols[None]
    e = {
        "sum": rows + cols,
        "product": rows * cols,
        "rows": rows + 0 * cols,
        "columns": 0 * rows + cols,
        "swapped": embedding_rows[None] + embedding_cols[:, None],
    }[place]
    logits = e @ mixture_vectors.mT * embedding_rows.shape[-1] ** power  # [K, K, M]
    return _softmax(logits, axes) if axes else logits


VALUE_MIXTURE = Exercise(
    name="value_mixture",
    oracle=value_mixture,
    draw=lambda random, K, E, M: {
        "embedding_rows": random.normal(K, E),
        "embedding_cols": random.normal(K, E),
        "mixture_vectors": random.normal(M, E),
    },
    sizes=(
        {"K": 1, "E": 2, "M": 2},
        {"K": 2, "E": 1, "M": 2},
        {"K": 3, "E": 2, "M": 3},
        {"K": 4, "E": 3, "M": 4},
        {"K": 3, "E": 4, "M": 2},
    ),
    variants=(
        Variant(
            "softmax_over_places",
            partial(_mixture, axes=(0, 1)),
            "The softmax runs over the places of the block. At each place it runs over"
            " the M matrices, the last axis.",
            _NETWORKS_FORMULA,
            also=(partial(_mixture, axes=(0,)), partial(_mixture, axes=(1,))),
        ),
        Variant(
            "softmax_over_everything",
            partial(_mixture, axes=(0, 1, 2)),
            "One softmax runs over everything. Each place has its own, over the M"
            " matrices.",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "no_softmax",
            partial(_mixture, axes=()),
            "These are logits. Take the softmax over the M matrices.",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "embeddings_multiplied",
            partial(_mixture, place="product"),
            "The row's and the column's vectors are multiplied. They are added.",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "columns_missing",
            partial(_mixture, place="rows"),
            "The column has no effect. Add `embedding_cols`.",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "rows_missing",
            partial(_mixture, place="columns"),
            "The row has no effect. Add `embedding_rows`.",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "row_and_column_exchanged",
            partial(_mixture, place="swapped"),
            "Rows and columns are exchanged. The first axis is the row of the block.",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "mixtures_first",
            lambda embedding_rows, embedding_cols, mixture_vectors: _mixture(
                embedding_rows, embedding_cols, mixture_vectors
            ).movedim(-1, 0),
            "The matrices come first: [M, K, K]. Here they come last.",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "scaled",
            partial(_mixture, power=-0.5),
            "The logits are divided by sqrt(E). This formula has no scale.",
            _NETWORKS_FORMULA,
        ),
    ),
    section=_NETWORKS_FORMULA,
)


# --- pool_after_attention -------------------------------------------------------


def pool_after_attention(y: Tensor, stride: int) -> Tensor:
    """Average stride x stride windows of a map [B, C, H, W].

    Windows that the border cuts average the pixels that exist.
    """
    H, W = y.shape[2:]
    pixels = [
        y[:, :, i : i + stride, j : j + stride].mean((2, 3))
        for i in range(0, H, stride)
        for j in range(0, W, stride)
    ]
    return torch.unflatten(torch.stack(pixels, dim=-1), -1, (-(-H // stride), -1))


def _padded(y: Tensor, stride: int, mode: str) -> Tensor:
    bottom, right = -y.shape[2] % stride, -y.shape[3] % stride
    return F.avg_pool2d(F.pad(y, (0, right, 0, bottom), mode=mode), stride)


POOL_AFTER_ATTENTION = Exercise(
    name="pool_after_attention",
    oracle=pool_after_attention,
    draw=lambda random, B, C, H, W, stride: {
        "y": random.normal(B, C, H, W),
        "stride": stride,
    },
    sizes=(
        {"B": 1, "C": 1, "H": 2, "W": 2, "stride": 2},
        {"B": 1, "C": 2, "H": 4, "W": 6, "stride": 2},
        {"B": 2, "C": 1, "H": 3, "W": 5, "stride": 2},
        {"B": 1, "C": 2, "H": 7, "W": 8, "stride": 3},
        {"B": 1, "C": 2, "H": 2, "W": 3, "stride": 1},
    ),
    variants=(
        Variant(
            "subsampled",
            lambda y, stride: y[:, :, ::stride, ::stride],
            "One pixel of each window is kept and the others are dropped. Average the"
            " window.",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "maximum",
            lambda y, stride: F.max_pool2d(y, stride, ceil_mode=True),
            "The maximum of each window is taken. Here it is the average.",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "summed",
            lambda y, stride: stride**2 * _padded(y, stride, "constant"),
            "The pixels of a window are added. Divide by their number.",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "rest_dropped",
            lambda y, stride: F.avg_pool2d(y, stride),
            "Rows or columns that fill no whole window are dropped. They give a window"
            " of their own, averaged over the pixels that exist.",
            _NETWORKS_LADDER,
        ),
        Variant(
            "zeros_counted",
            partial(_padded, mode="constant"),
            "Windows cut by the border are filled with zeros, which take part in the"
            " average. Average over the pixels that exist.",
            _NETWORKS_LADDER,
        ),
        Variant(
            "windows_overlap",
            lambda y, stride: F.avg_pool2d(y, 3, stride, 1, count_include_pad=False),
            "The windows are 3 x 3 and overlap. Here they are as large as the stride.",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "one_axis_only",
            lambda y, stride: F.avg_pool2d(y, (stride, 1), ceil_mode=True),
            "Only one axis is pooled. A window has `stride` rows and `stride` columns.",
            _NETWORKS_FORMULA,
            also=(lambda y, stride: F.avg_pool2d(y, (1, stride), ceil_mode=True),),
        ),
        Variant(
            "stride_one",
            lambda y, stride: F.avg_pool2d(y, stride, 1, ceil_mode=True),
            "The window moves by one pixel. It moves by its own side.",
            _NETWORKS_FORMULA,
        ),
    ),
    section=_NETWORKS_FORMULA,
)


# --- sasa_parameters ------------------------------------------------------------


def sasa_parameters(
    in_channels: int, out_channels: int, kernel_size: int, num_heads: int
) -> int:
    """Parameters of `LocalAttention2d`: three projections and two tables."""
    projections = 3 * in_channels * out_channels  # no biases
    head_dim = out_channels // num_heads
    tables = 2 * kernel_size * (head_dim // 2)  # rows and columns, for all heads
    return projections + tables


def _sasa_count(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    num_heads: int,
    *,
    matrices: int = 3,
    tables: Number = lambda K, d, N: K * d,
    extra: Number = lambda cin, cout, K: 0,
) -> int:
    return (
        matrices * in_channels * out_channels
        + tables(kernel_size, out_channels // num_heads, num_heads)
        + extra(in_channels, out_channels, kernel_size)
    )


SASA_PARAMETERS = Exercise(
    name="sasa_parameters",
    oracle=sasa_parameters,
    draw=lambda random, cin, half, reach, N: {
        "in_channels": N * cin,
        "out_channels": 2 * half * N,
        "kernel_size": 2 * reach + 1,
        "num_heads": N,
    },
    sizes=(  # cin is the share of one head, half one of its halves
        {"cin": 1, "half": 1, "reach": 1, "N": 1},
        {"cin": 3, "half": 1, "reach": 1, "N": 2},
        {"cin": 5, "half": 2, "reach": 2, "N": 4},
        {"cin": 8, "half": 4, "reach": 3, "N": 8},
    ),
    variants=(
        Variant(
            "block_diagonal",
            lambda in_channels, out_channels, kernel_size, num_heads: (
                3 * in_channels * out_channels // num_heads
                + kernel_size * (out_channels // num_heads)
            ),
            "Each head projects only its own slice of the input. The text says so, but"
            " the paper's numbers are those of full projections.",
            _NETWORKS_COST,
        ),
        Variant(
            "tables_per_head",
            partial(_sasa_count, tables=lambda K, d, N: N * K * d),
            "Each head has tables of its own. The heads share them.",
            _NETWORKS_COST,
        ),
        Variant(
            "biases_counted",
            partial(_sasa_count, extra=lambda cin, cout, K: 3 * cout),
            "Biases are counted. The projections have none.",
            _NETWORKS_COST,
        ),
        Variant(
            "tables_forgotten",
            partial(_sasa_count, tables=lambda K, d, N: 0),
            "The embeddings are forgotten. They are parameters, too.",
            _NETWORKS_COST,
        ),
        Variant(
            "halves_forgotten",
            partial(_sasa_count, tables=lambda K, d, N: 2 * K * d),
            "Both tables have the full width of a head. Each has half of it.",
            _NETWORKS_COST,
        ),
        Variant(
            "a_vector_per_place",
            partial(_sasa_count, tables=lambda K, d, N: K * K * d),
            "There is a vector for each of the K*K places. Two tables of K rows are"
            " enough: their vectors are joined.",
            _NETWORKS_COST,
        ),
        Variant(
            "offsets_of_a_map",
            partial(_sasa_count, tables=lambda K, d, N: (2 * K - 1) * d),
            "The tables have 2K-1 rows. In a window the query is the centre: K"
            " offsets.",
            _NETWORKS_COST,
        ),
        Variant(
            "matrices_forgotten",
            partial(_sasa_count, matrices=2),
            "A projection is missing: queries, keys and values have one each.",
            _NETWORKS_COST,
            also=(partial(_sasa_count, matrices=1),),
        ),
        Variant(
            "output_projection_counted",
            partial(_sasa_count, extra=lambda cin, cout, K: cout * cout),
            "A fourth matrix is counted, behind the heads. This layer has none: the 1x1"
            " convolution of the block follows.",
            _NETWORKS_COST,
        ),
        Variant(
            "grows_with_the_window",
            lambda in_channels, out_channels, kernel_size, num_heads: (
                kernel_size**2 * in_channels * out_channels
            ),
            "This is a K x K convolution. In attention the window costs no matrices,"
            " only K rows in each table.",
            _NETWORKS_COST,
        ),
    ),
    section=_NETWORKS_COST,
    gradients=False,
)


# --- sasa_operations ------------------------------------------------------------


def sasa_operations(
    height: int, width: int, in_channels: int, out_channels: int, kernel_size: int
) -> int:
    """Multiply-adds of local attention on one image.

    A multiplication with its addition counts as one. Counted are the three
    projections of each pixel, and for each place of its window q.k, q.r and the
    weighted sum of the values. Windows at the border count in full; the softmax does
    not count.
    """
    projections = 3 * in_channels * out_channels
    window = 3 * kernel_size**2 * out_channels
    return height * width * (projections + window)


def _operations(
    height: int,
    width: int,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    matrices: int = 3,
    products: int = 3,
    places: Number = lambda K, pixels: K * K,
    times: int = 1,
) -> int:
    """The count with one switch for each place where it can go wrong."""
    pixels = height * width
    window = products * places(kernel_size, pixels) * out_channels
    return times * pixels * (matrices * in_channels * out_channels + window)


SASA_OPERATIONS = Exercise(
    name="sasa_operations",
    oracle=sasa_operations,
    draw=lambda random, height, width, in_channels, out_channels, reach: {
        "height": height,
        "width": width,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "kernel_size": 2 * reach + 1,
    },
    sizes=(
        {"height": 1, "width": 2, "in_channels": 1, "out_channels": 2, "reach": 1},
        {"height": 3, "width": 4, "in_channels": 5, "out_channels": 2, "reach": 1},
        {"height": 7, "width": 5, "in_channels": 16, "out_channels": 24, "reach": 2},
        {"height": 56, "width": 40, "in_channels": 64, "out_channels": 64, "reach": 3},
    ),
    variants=(
        Variant(
            "multiplications_and_additions",
            partial(_operations, times=2),
            "Multiplications and additions are counted apart, as the paper does. Here"
            " the two together count as one.",
            _NETWORKS_COST,
        ),
        Variant(
            "positions_forgotten",
            partial(_operations, products=2),
            "The position logits are forgotten. For each place there are three"
            " products: q.k, q.r, and weight times value.",
            _NETWORKS_COST,
        ),
        Variant(
            "values_forgotten",
            partial(_operations, products=1),
            "Only one product per place is counted. There are three: q.k, q.r, and"
            " weight times value.",
            _NETWORKS_COST,
        ),
        Variant(
            "projections_forgotten",
            partial(_operations, matrices=0),
            "The projections are forgotten: three matrices for each pixel.",
            _NETWORKS_COST,
        ),
        Variant(
            "one_projection",
            partial(_operations, matrices=1),
            "A projection is missing: queries, keys and values have one each.",
            _NETWORKS_COST,
            also=(partial(_operations, matrices=2),),
        ),
        Variant(
            "one_side_of_the_window",
            partial(_operations, places=lambda K, pixels: K),
            "The window has K rows and K columns: K*K places.",
            _NETWORKS_COST,
        ),
        Variant(
            "global_attention",
            partial(_operations, places=lambda K, pixels: pixels),
            "Every pixel looks at the whole image. It looks at the K*K places of its"
            " window.",
            _NETWORKS_COST,
        ),
        Variant(
            "projected_in_every_window",
            lambda height, width, in_channels, out_channels, kernel_size: (
                height
                * width
                * out_channels
                * (in_channels * (1 + 2 * kernel_size**2) + 3 * kernel_size**2)
            ),
            "Keys and values are projected anew in every window. They are projected"
            " once for each pixel and then shared.",
            _NETWORKS_COST,
        ),
        Variant(
            "convolution",
            lambda height, width, in_channels, out_channels, kernel_size: (
                height * width * kernel_size**2 * in_channels * out_channels
            ),
            "This is a K x K convolution. Attention needs no product of K*K and the"
            " two numbers of channels.",
            _NETWORKS_COST,
        ),
    ),
    section=_NETWORKS_COST,
    gradients=False,
)


# --- attention_stem -------------------------------------------------------------


def _stem(
    x: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixture: Tensor,
    *,
    window: str = "block",
    mixed: str = "by key",
    exchanged: bool = False,
    scaled: bool = False,
    border: str = "mask",
) -> Tensor:
    """The stem with one switch for each place where it can go wrong."""
    H, W = x.shape[2:]
    K = mixture.shape[0]
    q = torch.einsum("dc,bcij->bijd", query, x)
    k = torch.einsum("dc,bcxy->bxyd", key, x)
    if exchanged:
        q, k = k, q
    logits = torch.einsum("bijd,bxyd->bijxy", q, k)
    if scaled:
        logits = logits * query.shape[0] ** -0.5

    i, a = torch.arange(H)[:, None], torch.arange(H)
    j, b = torch.arange(W)[:, None], torch.arange(W)
    if window == "around the query":
        rows, cols = a - i + K // 2, b - j + K // 2  # place in the window
        same = ((rows >= 0) & (rows < K))[:, None, :, None]
        same = same & ((cols >= 0) & (cols < K))[:, None]
    else:
        rows, cols = (a % K).expand(H, H), (b % K).expand(W, W)  # place in the block
        same = (i // K == a // K)[:, None, :, None] & (j // K == b // K)[:, None]
    if mixed == "by query":
        rows, cols = (i % K).expand(H, H), (j % K).expand(W, W)
    keep = torch.ones_like(same) if window == "image" else same  # [H, W, H, W]
    logits = logits.masked_fill(~keep, -math.inf)
    if border == "zero":  # the places outside the image: logit 0, value 0
        absent = (K * K - keep.sum((2, 3))).to(x.dtype)  # [H, W]
        exponents = logits.exp()
        total = exponents.sum((3, 4), keepdim=True) + absent[:, :, None, None]
        weights = exponents / total
    else:
        weights = _softmax(logits, (3, 4))

    first = F.one_hot(torch.zeros(K, K, dtype=torch.long), mixture.shape[-1])
    p = {
        "first": first.to(x.dtype),
        "equally": torch.full_like(mixture, 1 / mixture.shape[-1]),
        "summed": torch.ones_like(mixture),
        "transposed": mixture.transpose(0, 1),
        "softmax again": mixture.softmax(-1),
    }.get(mixed, mixture)
    rows, cols = rows.clamp(0, K - 1), cols.clamp(0, K - 1)
    p = p[rows[:, None, :, None], cols[:, None]]  # [H, W, H, W, M]
    values = torch.einsum("mdc,bcxy->bmxyd", value, x)
    return torch.einsum("bijxy,ijxym,bmxyd->bdij", weights, p, values)


ATTENTION_STEM = Exercise(
    name="attention_stem",
    oracle=attention_stem_loop,
    draw=lambda random, B, C, D, E, M, H, W, K: {
        "x": random.normal(B, C, H, W),
        "query": random.normal(E, C),
        "key": random.normal(E, C),
        "value": random.normal(M, D, C),
        "mixture": random.normal(K, K, M).softmax(-1),
    },
    sizes=(
        {"B": 1, "C": 1, "D": 1, "E": 1, "M": 1, "H": 1, "W": 2, "K": 2},
        {"B": 1, "C": 2, "D": 2, "E": 2, "M": 2, "H": 4, "W": 2, "K": 2},
        {"B": 2, "C": 3, "D": 2, "E": 3, "M": 3, "H": 3, "W": 6, "K": 3},
        {"B": 1, "C": 2, "D": 3, "E": 2, "M": 2, "H": 3, "W": 5, "K": 2},
        {"B": 1, "C": 1, "D": 2, "E": 2, "M": 3, "H": 4, "W": 5, "K": 4},
    ),
    variants=(
        Variant(
            "first_matrix_only",
            partial(_stem, mixed="first"),
            "Only the first value matrix is used. Mix all of them with p(a, b, m).",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "matrices_averaged",
            partial(_stem, mixed="equally"),
            "The value matrices are averaged, whatever the place. Weight them with"
            " p(a, b, m).",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "matrices_summed",
            partial(_stem, mixed="summed"),
            "The value matrices are summed without weights. Weight them with"
            " p(a, b, m).",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "mixture_of_the_query",
            partial(_stem, mixed="by query"),
            "The mixture is that of the query's place. It belongs to the place (a, b)"
            " of the key, where the value comes from.",
            _NETWORKS_WRONG,
        ),
        Variant(
            "mixture_transposed",
            partial(_stem, mixed="transposed"),
            "Rows and columns of the mixture are exchanged. Its first axis is the row"
            " inside the block.",
            _NETWORKS_WRONG,
        ),
        Variant(
            "softmax_again",
            partial(_stem, mixed="softmax again"),
            "The mixture goes through a softmax once more. It is used as given.",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "window_around_the_query",
            partial(_stem, window="around the query"),
            "Each pixel has a window around itself. In the stem the blocks are fixed:"
            " pixel (i, j) lies in block (i//K, j//K).",
            _NETWORKS_LOOP,
        ),
        Variant(
            "blocks_ignored",
            partial(_stem, window="image"),
            "Every pixel attends to the whole image. Only the keys of its own block"
            " take part.",
            _NETWORKS_LOOP,
        ),
        Variant(
            "zero_keys_kept",
            partial(_stem, border="zero"),
            "Blocks that leave the image are filled with zeros, and these take part in"
            " the softmax. Set their logits to minus infinity.",
            _NETWORKS_LADDER,
        ),
        Variant(
            "queries_and_keys_exchanged",
            partial(_stem, exchanged=True),
            "Queries and keys are exchanged. The pixel (i, j) asks with W_Q, the pixel"
            " (a, b) answers with W_K.",
            _NETWORKS_FORMULA,
        ),
        Variant(
            "scaled",
            partial(_stem, scaled=True),
            "The logits are divided by sqrt(D). This paper's formula has no scale.",
            _NETWORKS_FORMULA,
        ),
    ),
    section=_NETWORKS_LOOP,
)

EXERCISES = (
    NEIGHBOURHOOD,
    RECEPTIVE_FIELD,
    WINDOW_KEYS,
    WINDOW_MASK,
    LOCAL_ATTENTION_MEMORY,
    MEMORY_BLOCK,
    WINDOW_OFFSETS,
    RELATIVE_WINDOW,
    WINDOW_LOGITS,
    POSITION_ONLY_ATTENTION,
    LOCAL_ATTENTION,
    VALUE_MIXTURE,
    POOL_AFTER_ATTENTION,
    SASA_PARAMETERS,
    SASA_OPERATIONS,
    ATTENTION_STEM,
)
