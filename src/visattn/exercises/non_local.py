"""Exercises on non-local and criss-cross attention.

Shapes: B batch, N heads, H W map, I J map of the keys, D query/key dim, E value dim,
C channels.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.non_local import (
    criss_cross_attention_loop,
    non_local_attention_loop,
)

_PAGE = "far/non_local.html"
_FORMULA = f"{_PAGE}#the-formula"
_HAND = f"{_PAGE}#by-hand"
_LOOP = f"{_PAGE}#the-loop"
_LADDER = f"{_PAGE}#the-ladder"
_COST = f"{_PAGE}#the-cost"
_PROOF = f"{_PAGE}#prove-it"
_WRONG = f"{_PAGE}#right-shape-still-wrong"
_TABLE = f"{_PAGE}#paper-official-code-timm-ours"

Softmax = Callable[[Tensor], Tensor]


# --- non_local_attention --------------------------------------------------------


def _over_keys(logits: Tensor) -> Tensor:
    """The softmax over both axes of the keys; logits [B, N, H, W, I, J]."""
    return logits.flatten(4).softmax(-1).view_as(logits)


def _over_queries(logits: Tensor) -> Tensor:
    return logits.flatten(2, 3).softmax(2).view_as(logits)


def _all_pixels(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float = 1.0,
    softmax: Softmax = _over_keys,
    factor: Callable[[float, int], float] = lambda scale, D: scale,
) -> Tensor:
    """The same with every part to choose; `factor(scale, D)` multiplies the logits."""
    logits = torch.einsum("bnhwd,bnijd->bnhwij", q, k)
    weights = softmax(factor(scale, q.shape[-1]) * logits)
    return torch.einsum("bnhwij,bnije->bnhwe", weights, v)


def _one_map_for_all_heads(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float = 1.0
) -> Tensor:
    logits = scale * torch.einsum("bnhwd,bnijd->bhwij", q, k)
    weights = _over_keys(logits[:, None])[:, 0]
    return torch.einsum("bhwij,bnije->bnhwe", weights, v)


def _columns_first(q: Tensor, k: Tensor, v: Tensor, *, scale: float = 1.0) -> Tensor:
    """Keys flattened column by column, values row by row."""
    k = k.transpose(2, 3).flatten(2, 3).view_as(k)
    return _all_pixels(q, k, v, scale=scale)


def _draw_maps(
    random: Draw,
    B: int,
    N: int,
    H: int,
    W: int,
    I: int,  # noqa: E741 - the axis I of the keys
    J: int,
    D: int,
    E: int,
    scaled: bool,
) -> Inputs:
    inputs: Inputs = {
        "q": random.normal(B, N, H, W, D),
        "k": random.normal(B, N, I, J, D),
        "v": random.normal(B, N, I, J, E),
    }
    return {**inputs, "scale": 0.6} if scaled else inputs


def _map_sizes(*numbers: int, scaled: bool) -> dict[str, int | bool]:
    return {**dict(zip("BNHWIJDE", numbers, strict=True)), "scaled": scaled}


NON_LOCAL_ATTENTION = Exercise(
    name="non_local_attention",
    oracle=non_local_attention_loop,
    draw=_draw_maps,
    sizes=(
        _map_sizes(1, 1, 1, 1, 1, 2, 1, 1, scaled=False),
        _map_sizes(1, 1, 1, 2, 1, 2, 2, 1, scaled=True),
        _map_sizes(1, 1, 2, 2, 2, 2, 3, 3, scaled=False),
        _map_sizes(2, 1, 2, 3, 2, 3, 2, 3, scaled=True),
        _map_sizes(1, 2, 4, 3, 2, 3, 3, 2, scaled=False),
        _map_sizes(2, 2, 3, 4, 3, 2, 2, 2, scaled=True),
    ),
    variants=(
        Variant(
            "softmax_over_queries",
            partial(_all_pixels, softmax=_over_queries),
            "The softmax runs over the queries. For every query the weights of the keys"
            " must sum to one: it runs over the last two axes together.",
            _WRONG,
        ),
        Variant(
            "softmax_over_one_axis",
            partial(_all_pixels, softmax=lambda logits: logits.softmax(-1)),
            "The softmax runs over one axis of the map of keys, so the weights of a"
            " query sum to the length of the other. Flatten both axes first.",
            _LADDER,
            also=(partial(_all_pixels, softmax=lambda logits: logits.softmax(-2)),),
        ),
        Variant(
            "divided_by_the_scale",
            partial(_all_pixels, factor=lambda scale, D: 1 / scale),
            "The logits are divided by `scale`. Multiply: the published line"
            " `logits /= d**-0.5` made this mistake.",
            _WRONG,
        ),
        Variant(
            "scale_forgotten",
            partial(_all_pixels, factor=lambda scale, D: 1.0),
            "The argument `scale` has no effect. The logits are multiplied by it.",
            _TABLE,
        ),
        Variant(
            "always_scaled",
            partial(_all_pixels, factor=lambda scale, D: scale * D**-0.5),
            "The logits are divided by the root of the width, too. The formula has no"
            " such factor; who wants it passes `scale`.",
            _TABLE,
        ),
        Variant(
            "scale_used_twice",
            partial(_all_pixels, factor=lambda scale, D: scale**2),
            "The scale is used twice, on the queries and on the keys or the logits."
            " Once is enough.",
            _TABLE,
        ),
        Variant(
            "no_softmax",
            partial(
                _all_pixels, softmax=lambda logits: logits / logits[0, 0, 0, 0].numel()
            ),
            "This is the dot product of equation 4 of the paper: logits divided by the"
            " number of keys. The embedded Gaussian has a softmax.",
            _WRONG,
            also=(partial(_all_pixels, softmax=lambda logits: logits),),
        ),
        Variant(
            "sigmoid",
            partial(_all_pixels, softmax=torch.sigmoid),
            "Each weight is a sigmoid of its own logit. The weights of a query must sum"
            " to one: use a softmax.",
            _FORMULA,
        ),
        Variant(
            "keys_read_by_columns",
            _columns_first,
            "Keys and values are flattened in different orders, so a weight meets the"
            " value of another pixel. Read both row by row.",
            _LADDER,
        ),
        Variant(
            "one_map_for_all_heads",
            _one_map_for_all_heads,
            "The logits are summed over the heads, so all heads share one map. Sum over"
            " the channels of one head only.",
            _LADDER,
        ),
        Variant(
            "values_averaged",
            partial(_all_pixels, factor=lambda scale, D: 0.0),
            "This is the mean of the values: the logits have no effect.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
)


# --- criss_cross_attention ------------------------------------------------------


def _logits(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Of the column [B, N, H, W, H] and of the row [B, N, H, W, W]."""
    column = torch.einsum("...ijd,...ajd->...ija", q, k)
    return column, q @ k.mT


def _sum(to_column: Tensor, to_row: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("...ija,...ajd->...ijd", to_column, v) + to_row @ v


def _diagonal(length: int) -> Tensor:
    return torch.eye(length, dtype=torch.bool)[:, None]  # [H, 1, H]: a = i


def _cross(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    in_column: float | None = -torch.inf,
    in_row: float | None = None,
    scale: float = 1.0,
    lines: str = "joint",
) -> Tensor:
    """The same; `in_column`, `in_row` replace the logit of the pixel itself."""
    H, W = q.shape[2:4]
    column, row = _logits(scale * q, k)
    if in_column is not None:
        column = column.masked_fill(_diagonal(H), in_column)
    if in_row is not None:
        row = row.masked_fill(torch.eye(W, dtype=torch.bool), in_row)
    if lines == "added":
        return _sum(column.softmax(-1), row.softmax(-1), v)
    if lines == "averaged":
        return _sum(column.softmax(-1), row.softmax(-1), v) / 2
    weights = torch.cat([column, row], -1).softmax(-1)
    to_column, to_row = weights.split([H, W], -1)
    if lines == "transposed":
        return _sum(to_column.transpose(2, 4), to_row.transpose(3, 4), v)
    if lines == "exchanged":  # the row's part first, cut as if the column's were
        to_column, to_row = torch.cat([to_row, to_column], -1).split([H, W], -1)
    return _sum(to_column, to_row, v)


def _one_line(q: Tensor, k: Tensor, v: Tensor, *, column: bool) -> Tensor:
    to_column, to_row = (part.softmax(-1) for part in _logits(q, k))
    return _sum(to_column, 0 * to_row, v) if column else _sum(0 * to_column, to_row, v)


def _two_passes(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _cross(q, k, _cross(q, k, v))


def _draw_map(random: Draw, B: int, N: int, H: int, W: int, D: int, E: int) -> Inputs:
    return {
        "q": random.normal(B, N, H, W, D),
        "k": random.normal(B, N, H, W, D),
        "v": random.normal(B, N, H, W, E),
    }


def _cross_sizes(*numbers: int) -> dict[str, int]:
    return dict(zip("BNHWDE", numbers, strict=True))


def _root_scaled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _cross(q, k, v, scale=q.shape[-1] ** -0.5)


CRISS_CROSS_ATTENTION = Exercise(
    name="criss_cross_attention",
    oracle=criss_cross_attention_loop,
    draw=_draw_map,
    sizes=(
        _cross_sizes(1, 1, 1, 2, 1, 1),
        _cross_sizes(1, 1, 2, 2, 2, 1),
        _cross_sizes(1, 1, 3, 3, 2, 2),
        _cross_sizes(2, 1, 2, 4, 3, 2),
        _cross_sizes(1, 2, 4, 3, 2, 3),
        _cross_sizes(2, 2, 3, 5, 4, 2),
    ),
    variants=(
        Variant(
            "itself_twice",
            partial(_cross, in_column=None),
            "The pixel itself is counted twice, in its column and in its row. Set its"
            " logit in one of the two to minus infinity.",
            _WRONG,
        ),
        Variant(
            "itself_never",
            partial(_cross, in_column=-1e30, in_row=-1e30),
            "The pixel itself is left out of both lines. It belongs to the cross once.",
            _FORMULA,
        ),
        Variant(
            "masked_with_zero",
            partial(_cross, in_column=0.0),
            "The second logit of the pixel itself is set to zero, but exp(0) is 1, so"
            " it still takes weight. Use minus infinity.",
            _LADDER,
        ),
        Variant(
            "two_softmaxes_added",
            partial(_cross, in_column=None, lines="added"),
            "Column and row have a softmax each and are added, so the weights sum to 2."
            " One softmax runs over the whole cross.",
            _FORMULA,
        ),
        Variant(
            "two_softmaxes_averaged",
            partial(_cross, in_column=None, lines="averaged"),
            "Column and row have a softmax each, and the mean is taken. Then each line"
            " gets half of the weight. One softmax runs over the whole cross.",
            _FORMULA,
        ),
        Variant(
            "scaled",
            _root_scaled,
            "The logits are divided by the root of the width. CCNet has no scale.",
            _FORMULA,
        ),
        Variant(
            "all_pixels",
            partial(_all_pixels, scale=1.0),
            "This is non-local attention: every pixel takes part. Keep only those of"
            " the same row or the same column.",
            _FORMULA,
        ),
        Variant(
            "row_only",
            partial(_one_line, column=False),
            "Only the row takes part. The cross has the column, too.",
            _FORMULA,
        ),
        Variant(
            "column_only",
            partial(_one_line, column=True),
            "Only the column takes part. The cross has the row, too.",
            _FORMULA,
        ),
        Variant(
            "weights_transposed",
            partial(_cross, lines="transposed"),
            "Query and key are exchanged when the weights meet the values. The weights"
            " of one query must be summed over its keys.",
            _LADDER,
        ),
        Variant(
            "cut_in_the_wrong_order",
            partial(_cross, lines="exchanged"),
            "Column and row are joined in one order and cut in the other. The shape is"
            " right because H + W = W + H.",
            _LADDER,
        ),
        Variant(
            "two_passes",
            _two_passes,
            "This is the result of two passes. The function does one; the module"
            " repeats it.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
)


# --- criss_cross_sources --------------------------------------------------------


def criss_cross_sources(
    i: int, j: int, height: int, width: int, recurrence: int
) -> Tensor:
    """Which pixels reach (i, j) in so many passes, Boolean [H, W]."""
    reached = {(i, j)}
    for _ in range(recurrence):
        reached |= {(a, b) for _, b in reached for a in range(height)} | {
            (a, b) for a, _ in reached for b in range(width)
        }
    return torch.tensor(
        [[(a, b) in reached for b in range(width)] for a in range(height)]
    )


def _distances(i: int, j: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    rows = (torch.arange(height) - i).abs()[:, None]
    return rows, (torch.arange(width) - j).abs()[None]


def _sources(
    i: int, j: int, height: int, width: int, recurrence: int, *, how: str
) -> Tensor:
    rows, columns = _distances(i, j, height, width)
    both = torch.ones(height, width, dtype=torch.bool)
    cross = (rows == 0) | (columns == 0)
    itself = (rows == 0) & (columns == 0)
    answers = {
        "cross always": cross,
        "all always": both,
        "one too late": cross if recurrence <= 2 else both,
        "window": (rows <= recurrence) & (columns <= recurrence),
        "diamond": rows + columns <= recurrence,
        "row": (rows == 0) & both,
        "column": (columns == 0) & both,
        "without itself": (cross if recurrence == 1 else both) & ~itself,
        "off the cross": cross if recurrence == 1 else ~cross | itself,
        "diagonals": cross | (rows == columns) if recurrence == 1 else both,
    }
    return answers[how]


def _exchanged(i: int, j: int, height: int, width: int, recurrence: int) -> Tensor:
    rows, columns = _distances(j, i, height, width)
    cross = (rows == 0) | (columns == 0)
    return cross if recurrence == 1 else torch.ones_like(cross)


def _draw_place(
    random: Draw, i: int, j: int, height: int, width: int, recurrence: int
) -> Inputs:
    return {
        "i": min(i, height) - 1,
        "j": min(j, width) - 1,
        "height": height,
        "width": width,
        "recurrence": recurrence,
    }


CRISS_CROSS_SOURCES = Exercise(
    name="criss_cross_sources",
    oracle=criss_cross_sources,
    draw=_draw_place,
    sizes=(
        {"i": 1, "j": 1, "height": 2, "width": 3, "recurrence": 1},
        {"i": 2, "j": 2, "height": 3, "width": 3, "recurrence": 1},
        {"i": 2, "j": 4, "height": 4, "width": 6, "recurrence": 1},
        {"i": 1, "j": 1, "height": 3, "width": 4, "recurrence": 2},
        {"i": 3, "j": 5, "height": 5, "width": 8, "recurrence": 2},
        {"i": 5, "j": 1, "height": 6, "width": 4, "recurrence": 3},
    ),
    variants=(
        Variant(
            "always_the_cross",
            partial(_sources, how="cross always"),
            "The number of passes has no effect. After two passes every pixel has"
            " arrived.",
            _PROOF,
        ),
        Variant(
            "always_everything",
            partial(_sources, how="all always"),
            "After one pass only the cross has arrived, its row and its column.",
            _PROOF,
        ),
        Variant(
            "one_pass_too_late",
            partial(_sources, how="one too late"),
            "Two passes are enough for every pixel: one along the row, one along the"
            " column.",
            _PROOF,
        ),
        Variant(
            "growing_window",
            partial(_sources, how="window"),
            "This is the window of a stack of 3 x 3 convolutions. A cross reaches the"
            " end of its lines in one pass.",
            _PROOF,
        ),
        Variant(
            "growing_diamond",
            partial(_sources, how="diamond"),
            "This moves by one pixel for each pass. A pass moves along a whole line.",
            _PROOF,
        ),
        Variant(
            "row_only",
            partial(_sources, how="row"),
            "Only the row arrives. A pass looks along the column, too.",
            _FORMULA,
        ),
        Variant(
            "column_only",
            partial(_sources, how="column"),
            "Only the column arrives. A pass looks along the row, too.",
            _FORMULA,
        ),
        Variant(
            "without_itself",
            partial(_sources, how="without itself"),
            "The pixel itself is missing. It is part of its cross.",
            _FORMULA,
        ),
        Variant(
            "only_the_corners_after_two",
            partial(_sources, how="off the cross"),
            "After two passes the pixels of the cross still arrive, for example those"
            " that were there after one.",
            _PROOF,
        ),
        Variant(
            "with_diagonals",
            partial(_sources, how="diagonals"),
            "The diagonals do not belong to the cross: only a = i or b = j.",
            _FORMULA,
        ),
        Variant(
            "row_and_column_exchanged",
            _exchanged,
            "i and j are exchanged: i is the row of the pixel, j its column.",
            _FORMULA,
        ),
    ),
    section=_PROOF,
    gradients=False,
)


# --- criss_cross_ways -----------------------------------------------------------


def criss_cross_ways(i: int, j: int, height: int, width: int) -> Tensor:
    """Number of ways from every pixel to (i, j) in two passes, int64 [H, W]."""

    def sees(p: tuple[int, int], other: tuple[int, int]) -> bool:
        return p[0] == other[0] or p[1] == other[1]

    pixels = [(a, b) for a in range(height) for b in range(width)]
    ways = [
        sum(sees((i, j), middle) and sees(middle, p) for middle in pixels)
        for p in pixels
    ]
    return torch.tensor(ways).view(height, width)


def _ways(
    i: int,
    j: int,
    height: int,
    width: int,
    *,
    values: Callable[[int, int], tuple[int, int, int, int]],
) -> Tensor:
    """From the numbers of (the pixel itself, its row, its column, the others)."""
    itself, row, column, others = values(height, width)
    ways = torch.full((height, width), others)
    ways[i, :], ways[:, j] = row, column
    ways[i, j] = itself
    return ways


def _draw_pixel(random: Draw, i: int, j: int, height: int, width: int) -> Inputs:
    place = _draw_place(random, i, j, height, width, 1)
    return {name: place[name] for name in ("i", "j", "height", "width")}


CRISS_CROSS_WAYS = Exercise(
    name="criss_cross_ways",
    oracle=criss_cross_ways,
    draw=_draw_pixel,
    sizes=(
        {"i": 1, "j": 1, "height": 2, "width": 3},
        {"i": 2, "j": 3, "height": 3, "width": 3},
        {"i": 3, "j": 2, "height": 4, "width": 6},
        {"i": 1, "j": 4, "height": 7, "width": 5},
    ),
    variants=(
        Variant(
            "two_everywhere",
            partial(_ways, values=lambda H, W: (2, 2, 2, 2)),
            "Two ways hold off the cross. Inside a line there is a way over each pixel"
            " of that line.",
            _PROOF,
        ),
        Variant(
            "one_pass",
            partial(_ways, values=lambda H, W: (1, 1, 1, 0)),
            "This is one pass. Count the ways of two steps, with every pixel as a"
            " possible middle.",
            _HAND,
        ),
        Variant(
            "one_corner",
            partial(_ways, values=lambda H, W: (H + W - 1, W, H, 1)),
            "Off the cross one way is counted. A rectangle has two more corners, (a, j)"
            " and (i, b), and each is a way.",
            _PROOF,
        ),
        Variant(
            "lengths_exchanged",
            partial(_ways, values=lambda H, W: (H + W - 1, H, W, 2)),
            "The lengths are exchanged: a pixel of the same row is reached over the W"
            " pixels of that row.",
            _PROOF,
        ),
        Variant(
            "ends_left_out",
            partial(
                _ways,
                values=lambda H, W: (H + W - 2, max(W - 2, 0), max(H - 2, 0), 2),
            ),
            "The two ends are not counted as middles. A pixel sees itself, so a step"
            " may stay where it is.",
            _HAND,
        ),
        Variant(
            "itself_in_both_lines",
            partial(_ways, values=lambda H, W: (H + W, W, H, 2)),
            "The pixel itself is counted in its row and in its column. Its cross has"
            " H + W - 1 pixels.",
            _FORMULA,
        ),
        Variant(
            "off_the_cross_only",
            partial(_ways, values=lambda H, W: (0, 0, 0, 2)),
            "The pixels of the cross have no ways here. They are reached in two steps,"
            " too.",
            _HAND,
        ),
        Variant(
            "cross_of_the_pixel_everywhere",
            partial(
                _ways,
                values=lambda H, W: (H + W - 1, H + W - 1, H + W - 1, 2),
            ),
            "The whole cross gets H + W - 1 ways. That holds for the pixel itself; for"
            " a pixel of its row the middle must lie in that row.",
            _PROOF,
        ),
    ),
    section=_PROOF,
    gradients=False,
)


# --- subsampled_attention -------------------------------------------------------


def subsampled_attention(
    x: Tensor, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """Non-local attention with the input of keys and values pooled, [B, E, H, W]."""
    rows = []
    for i in range(x.shape[2] // 2):
        cells = []
        for j in range(x.shape[3] // 2):
            cells.append(x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].amax((2, 3)))
        rows.append(torch.stack(cells, dim=-1))
    pooled = torch.stack(rows, dim=2)  # [B, C, H // 2, W // 2]
    q, k, v = (
        torch.einsum("dc,bchw->bhwd", matrix, source)[:, None]
        for matrix, source in ((query, x), (key, pooled), (value, pooled))
    )
    y = non_local_attention_loop(q, k, v)
    assert isinstance(y, Tensor)
    return y[:, 0].permute(0, 3, 1, 2)


Pool = Callable[[Tensor], Tensor]


def _max_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2)


def _same(x: Tensor) -> Tensor:
    return x


def _subsampled(
    x: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    before: Pool = _max_pool,
    after: Pool = _same,
    queries: Pool = _same,
    scale: Callable[[int, int], float] = lambda C, D: 1.0,
) -> Tensor:
    """The same with the poolings to choose: of the input, and after the matrices."""
    pooled = before(x)
    q, k, v = (
        torch.einsum("dc,bchw->bdhw", matrix, source)
        for matrix, source in ((query, queries(x)), (key, pooled), (value, pooled))
    )
    q = q * scale(*reversed(query.shape))
    q, k, v = (t.permute(0, 2, 3, 1)[:, None] for t in (q, after(k), after(v)))
    y = _all_pixels(q, k, v)[:, 0].permute(0, 3, 1, 2)
    return F.interpolate(y, x.shape[2:]) if y.shape[2:] != x.shape[2:] else y


def _draw_image(random: Draw, B: int, C: int, H: int, W: int, D: int) -> Inputs:
    return {
        "x": random.normal(B, C, H + 1, W + 1),  # at least one cell to pool
        "query": random.normal(D, C),
        "key": random.normal(D, C),
        "value": random.normal(D + 1, C),
    }


SUBSAMPLED_ATTENTION = Exercise(
    name="subsampled_attention",
    oracle=subsampled_attention,
    draw=_draw_image,
    sizes=(
        {"B": 1, "C": 1, "H": 1, "W": 3, "D": 1},
        {"B": 1, "C": 2, "H": 3, "W": 3, "D": 2},
        {"B": 2, "C": 3, "H": 3, "W": 5, "D": 2},
        {"B": 1, "C": 3, "H": 4, "W": 5, "D": 3},
        {"B": 2, "C": 4, "H": 6, "W": 4, "D": 2},
    ),
    variants=(
        Variant(
            "pooled_after",
            partial(_subsampled, before=_same, after=_max_pool),
            "The maximum is taken of keys and values, after the matrices. That is the"
            " text of the paper and a public port; here the input is pooled.",
            _TABLE,
        ),
        Variant(
            "pooled_twice",
            partial(_subsampled, after=lambda t: F.max_pool2d(t, 2, ceil_mode=True)),
            "The maps are pooled before the matrices and again after them. Pool once.",
            _FORMULA,
        ),
        Variant(
            "not_pooled",
            partial(_subsampled, before=_same),
            "Nothing is pooled. Keys and values come from half the rows and half the"
            " columns.",
            _FORMULA,
        ),
        Variant(
            "mean_instead_of_maximum",
            partial(_subsampled, before=lambda x: F.avg_pool2d(x, 2)),
            "This is average pooling. The code takes the maximum of 2 x 2 pixels.",
            _TABLE,
        ),
        Variant(
            "every_second_pixel",
            partial(
                _subsampled,
                before=lambda x: x[:, :, :-1:2, :-1:2],
            ),
            "Every second pixel is taken. The code takes the maximum of 2 x 2 pixels.",
            _TABLE,
        ),
        Variant(
            "queries_pooled_too",
            partial(_subsampled, queries=_max_pool),
            "The queries are pooled, too, and the result is enlarged. Every pixel keeps"
            " its own query.",
            _FORMULA,
        ),
        Variant(
            "border_kept",
            partial(_subsampled, before=lambda x: F.max_pool2d(x, 2, ceil_mode=True)),
            "The last row or column of an odd map gets a cell of its own. The pooling"
            " of the code drops it.",
            _TABLE,
        ),
        Variant(
            "sliding_maximum",
            partial(_subsampled, before=lambda x: F.max_pool2d(x, 2, stride=1)),
            "The windows of the maximum overlap, so almost no key is saved. Their"
            " stride is 2.",
            _FORMULA,
        ),
        Variant(
            "scaled",
            partial(_subsampled, scale=lambda C, D: D**-0.5),
            "The logits are divided by the root of the inner width, as in the official"
            " code. This exercise follows the formula: no scale.",
            _TABLE,
        ),
        Variant(
            "scaled_by_all_channels",
            partial(_subsampled, scale=lambda C, D: C**-0.5),
            "The logits are divided by the root of C, as in timm. This exercise follows"
            " the formula: no scale.",
            _TABLE,
        ),
    ),
    section=_FORMULA,
)


# --- non_local_parameters -------------------------------------------------------


def non_local_parameters(channels: int, inner_channels: int) -> int:
    """Numbers that a non-local block learns."""
    total = 0
    for inputs, outputs in (
        (channels, inner_channels),  # queries
        (channels, inner_channels),  # keys
        (channels, inner_channels),  # values
        (inner_channels, channels),  # the way back
    ):
        total += inputs * outputs + outputs
    return total + 2 * channels  # batch norm


def _parameters(
    channels: int,
    inner_channels: int,
    *,
    matrices: int = 4,
    inner_biases: int = 3,
    outer_bias: int = 1,
    norm: int = 2,
) -> int:
    total = matrices * channels * inner_channels + inner_biases * inner_channels
    return total + (outer_bias + norm) * channels


NON_LOCAL_PARAMETERS = Exercise(
    name="non_local_parameters",
    oracle=non_local_parameters,
    draw=lambda random, channels, inner_channels: {
        "channels": channels,
        "inner_channels": inner_channels,
    },
    sizes=(
        {"channels": 4, "inner_channels": 3},
        {"channels": 8, "inner_channels": 4},
        {"channels": 64, "inner_channels": 8},
        {"channels": 512, "inner_channels": 256},
    ),
    variants=(
        Variant(
            "biases_forgotten",
            partial(_parameters, inner_biases=0, outer_bias=0),
            "The biases are not counted. All four convolutions have one.",
            _TABLE,
        ),
        Variant(
            "last_bias_forgotten",
            partial(_parameters, outer_bias=0),
            "The last convolution has a bias, too, although a batch norm follows.",
            _TABLE,
        ),
        Variant(
            "norm_forgotten",
            partial(_parameters, norm=0),
            "The batch norm is not counted: a scale and a shift for every channel.",
            _FORMULA,
        ),
        Variant(
            "running_statistics_counted",
            partial(_parameters, norm=4),
            "The running mean and variance are counted. They are not learned.",
            _FORMULA,
        ),
        Variant(
            "way_back_forgotten",
            partial(_parameters, matrices=3, outer_bias=0),
            "The last matrix is missing, from the inner channels back to those of x.",
            _FORMULA,
        ),
        Variant(
            "one_matrix_for_queries_and_keys",
            partial(_parameters, matrices=3, inner_biases=2),
            "Queries and keys share a matrix here. Each has its own.",
            _FORMULA,
        ),
        Variant(
            "always_half",
            lambda channels, inner_channels: _parameters(channels, channels // 2),
            "The inner width is always half the channels. It is an argument.",
            _FORMULA,
        ),
        Variant(
            "one_inner_channel",
            lambda channels, inner_channels: _parameters(
                channels, inner_channels // inner_channels
            ),
            "The inner width is 1, whatever the argument: the published"
            " `ratio // ratio`.",
            _WRONG,
        ),
        Variant(
            "full_width",
            lambda channels, inner_channels: _parameters(channels, channels),
            "All matrices are square. Queries, keys and values have the inner width.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
    gradients=False,
)


EXERCISES = (
    NON_LOCAL_ATTENTION,
    CRISS_CROSS_ATTENTION,
    CRISS_CROSS_SOURCES,
    CRISS_CROSS_WAYS,
    SUBSAMPLED_ATTENTION,
    NON_LOCAL_PARAMETERS,
)
