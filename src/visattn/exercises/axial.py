"""Exercises on axial attention.

Shapes: B batch, N heads, H W map, L length of a line, C channels, D query/key dim,
E value dim.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.axial import (
    Axis,
    axial_attention_loop,
    position_sensitive_attention_loop,
)

_PAGE = "far/axial.html"
_FORMULA = f"{_PAGE}#the-formula"
_HAND = f"{_PAGE}#by-hand"
_LADDER = f"{_PAGE}#the-ladder"
_COST = f"{_PAGE}#the-cost"
_PROOF = f"{_PAGE}#prove-it"
_WRONG = f"{_PAGE}#right-shape-still-wrong"
_TABLE = f"{_PAGE}#paper-official-code-timm-ours"
_MODULE = f"{_PAGE}#the-module"

Term = Callable[[Tensor, Tensor], Tensor]


# --- relative_index -------------------------------------------------------------


def relative_index(length: int) -> Tensor:
    """The row of a table of 2L-1 offsets for query o and key p, int64 [L, L]."""
    rows = [[p - o + length - 1 for p in range(length)] for o in range(length)]
    return torch.tensor(rows)


def _offsets(length: int) -> Tensor:
    return torch.arange(length) - torch.arange(length)[:, None]  # key - query


RELATIVE_INDEX = Exercise(
    name="relative_index",
    oracle=relative_index,
    draw=lambda random, length: {"length": length},
    sizes=({"length": 2}, {"length": 3}, {"length": 4}, {"length": 7}),
    variants=(
        Variant(
            "mirrored",
            lambda length: length - 1 - _offsets(length),
            "This is query minus key. The offset is key minus query: the first query"
            " has its last key at the offset L - 1, the last row of the table.",
            _MODULE,
        ),
        Variant(
            "not_shifted",
            _offsets,
            "These are the offsets themselves, and some are negative. The smallest one,"
            " -(L - 1), has row 0: add L - 1.",
            _FORMULA,
        ),
        Variant(
            "shifted_by_the_length",
            lambda length: _offsets(length) + length,
            "The rows are one too high. There are 2L - 1 of them, so the largest index"
            " is 2L - 2: add L - 1.",
            _FORMULA,
        ),
        Variant(
            "absolute_distance",
            lambda length: _offsets(length).abs(),
            "This is the distance without its sign. Left and right would share a row.",
            _FORMULA,
        ),
        Variant(
            "wrapped_round",
            lambda length: _offsets(length) % length,
            "The offsets wrap round. A line has two ends: every offset from -(L - 1) to"
            " L - 1 has its own row.",
            _FORMULA,
        ),
        Variant(
            "absolute_position",
            lambda length: torch.arange(length).expand(length, length) + length - 1,
            "This is the position of the key, and every query has the same. Subtract"
            " the position of the query.",
            _FORMULA,
        ),
        Variant(
            "floating_point",
            lambda length: (_offsets(length) + length - 1).double(),
            "The numbers are right, but an index must be an integer tensor.",
            _LADDER,
        ),
    ),
    section=_LADDER,
    gradients=False,
)


# --- axial_macs -----------------------------------------------------------------


def axial_macs(height: int, width: int, channels: int) -> int:
    """Multiply-adds of a column layer and a row layer, without projections."""
    column = height * width * height  # pairs of pixels in one column
    row = height * width * width
    return 2 * channels * (column + row)  # logits, and sums of values


AXIAL_MACS = Exercise(
    name="axial_macs",
    oracle=axial_macs,
    draw=lambda random, height, width, channels: {
        "height": height,
        "width": width,
        "channels": channels,
    },
    sizes=(
        {"height": 2, "width": 3, "channels": 1},
        {"height": 4, "width": 6, "channels": 8},
        {"height": 5, "width": 9, "channels": 3},
        {"height": 65, "width": 129, "channels": 512},
    ),
    variants=(
        Variant(
            "global_attention",
            lambda height, width, channels: 2 * channels * (height * width) ** 2,
            "This is global attention: every pixel meets all pixels. Here it meets the"
            " H of its column and the W of its row.",
            _COST,
        ),
        Variant(
            "logits_only",
            lambda height, width, channels: (
                channels * height * width * (height + width)
            ),
            "Only one product is counted for each pair. The logit needs one of C"
            " numbers, the weighted sum of the values another.",
            _COST,
        ),
        Variant(
            "each_line_once",
            lambda height, width, channels: 2 * channels * (height**2 + width**2),
            "This is one column and one row. There are W columns of H^2 pairs and H"
            " rows of W^2 pairs.",
            _COST,
        ),
        Variant(
            "lines_exchanged",
            lambda height, width, channels: 2 * channels * (height**3 + width**3),
            "A column of H pixels has H^2 pairs, and there are W columns, not H; and"
            " the other way round for rows.",
            _COST,
        ),
        Variant(
            "columns_only",
            lambda height, width, channels: 2 * channels * height * width * height,
            "Only one of the two layers is counted.",
            _COST,
            also=(
                lambda height, width, channels: 2 * channels * height * width * width,
            ),
        ),
        Variant(
            "cross_without_itself_twice",
            lambda height, width, channels: (
                2 * channels * height * width * (height + width - 1)
            ),
            "H + W - 1 is the cross of criss-cross attention, with one softmax. Here"
            " the two layers have one each, and the pixel itself is in both.",
            _COST,
        ),
        Variant(
            "operations",
            lambda height, width, channels: (
                4 * channels * height * width * (height + width)
            ),
            "Multiplications and additions are counted apart. A multiply-add is one.",
            _COST,
        ),
        Variant(
            "product_of_the_sides",
            lambda height, width, channels: 2 * channels * height * width,
            "This is one meeting for each pixel. Each pixel meets H + W keys.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- axial_weights --------------------------------------------------------------


def axial_weights(columns: Tensor, rows: Tensor) -> Tensor:
    """Weight of pixel (a, b) for query (i, j): first columns, then rows."""
    W, H, _ = columns.shape
    weights = [
        rows[i, j, b] * columns[b, i, a]
        for i in range(H)
        for j in range(W)
        for a in range(H)
        for b in range(W)
    ]
    return torch.stack(weights).reshape(H, W, H, W)


def _draw_maps(random: Draw, H: int, W: int) -> Inputs:
    return {
        "columns": random.normal(W, H, H).softmax(-1),
        "rows": random.normal(H, W, W).softmax(-1),
    }


def _product(equation: str) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda columns, rows: torch.einsum(equation, columns, rows)


AXIAL_WEIGHTS = Exercise(
    name="axial_weights",
    oracle=axial_weights,
    draw=_draw_maps,
    sizes=(
        {"H": 1, "W": 2},
        {"H": 2, "W": 2},
        {"H": 2, "W": 3},
        {"H": 4, "W": 3},
        {"H": 3, "W": 3},
    ),
    variants=(
        Variant(
            "own_column",
            _product("jia,ijb->ijab"),
            "The column map of the query's own column is used. The first look happened"
            " in the column of (a, b), at the row of the query: the bend.",
            _PROOF,
        ),
        Variant(
            "rows_first",
            _product("jia,ajb->ijab"),
            "This is first rows, then columns: the bend lies at (a, j). The column"
            " layer comes first, so it lies at (i, b).",
            _FORMULA,
        ),
        Variant(
            "column_map_transposed",
            _product("bai,ijb->ijab"),
            "The column map is read with query and key exchanged. Its second axis is"
            " the query, here the row i of the bend.",
            _FORMULA,
        ),
        Variant(
            "row_map_transposed",
            _product("bia,ibj->ijab"),
            "The row map is read with query and key exchanged. Its second axis is the"
            " query j, the last one the key b.",
            _FORMULA,
        ),
        Variant(
            "queries_last",
            _product("bia,ijb->abij"),
            "The pixels that give come first. The first two axes are the query (i, j).",
            _FORMULA,
        ),
        Variant(
            "added",
            lambda columns, rows: (
                columns.permute(1, 2, 0)[:, None] + rows[:, :, None]
            ).expand(-1, -1, columns.shape[1], -1),
            "The two weights are added. A way of two steps has the product.",
            _FORMULA,
        ),
        Variant(
            "averaged_over_the_lines",
            lambda columns, rows: torch.einsum(
                "ia,jb->ijab", columns.mean(0), rows.mean(0)
            ),
            "One column map and one row map serve all lines. Each column and each row"
            " has its own.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
)


# --- key_position_term ----------------------------------------------------------


def key_position_term(k: Tensor, rel_key: Tensor) -> Tensor:
    """The logits k_p . r_{p-o} of one line, [N, L, L]: query o, then key p."""
    L = k.shape[1]
    logits = [k[:, p] @ rel_key[p - o + L - 1] for o in range(L) for p in range(L)]
    return torch.stack(logits, dim=-1).reshape(len(k), L, L)


def _square(table: Tensor, mirrored: bool = False) -> Tensor:
    """A table as a square: entry [o, p] is the vector of p - o, or of o - p."""
    length = (len(table) + 1) // 2
    index = _offsets(length) + length - 1
    return table[index.mT if mirrored else index]


def _of_keys(k: Tensor, rel_key: Tensor, mirrored: bool = False) -> Tensor:
    return torch.einsum("...pd,opd->...op", k, _square(rel_key, mirrored))


def _of_queries(k: Tensor, rel_key: Tensor, mirrored: bool = False) -> Tensor:
    return torch.einsum("...od,opd->...op", k, _square(rel_key, mirrored))


KEY_POSITION_TERM = Exercise(
    name="key_position_term",
    oracle=key_position_term,
    draw=lambda random, N, L, D: {
        "k": random.normal(N, L, D),
        "rel_key": random.normal(2 * L - 1, D),
    },
    sizes=(
        {"N": 1, "L": 2, "D": 1},
        {"N": 1, "L": 3, "D": 2},
        {"N": 2, "L": 4, "D": 3},
        {"N": 3, "L": 3, "D": 3},
    ),
    variants=(
        Variant(
            "not_transposed",
            _of_queries,
            "This is k_o . r_{p-o}: the key of the querying pixel. The key is that of"
            " p, so it varies along the last axis.",
            _WRONG,
        ),
        Variant(
            "not_transposed_and_mirrored",
            partial(_of_queries, mirrored=True),
            "This is k_o . r_{o-p}: the key of the querying pixel, and the offset"
            " mirrored. It is the transpose of what is asked.",
            _WRONG,
        ),
        Variant(
            "mirrored",
            partial(_of_keys, mirrored=True),
            "This is k_p . r_{o-p}. The offset is key minus query, p - o.",
            _LADDER,
        ),
        Variant(
            "absolute_positions",
            lambda k, rel_key: (
                (k * rel_key[-k.shape[1] :]).sum(-1)[:, None].expand(-1, k.shape[1], -1)
            ),
            "Each key meets one vector, whoever asks. The vector belongs to the offset"
            " p - o.",
            _FORMULA,
        ),
        Variant(
            "scaled",
            lambda k, rel_key: _of_keys(k, rel_key) / k.shape[-1] ** 0.5,
            "The term is divided by the square root of D. In position-sensitive"
            " attention there is no scale.",
            _FORMULA,
        ),
        Variant(
            "softmax_taken",
            lambda k, rel_key: _of_keys(k, rel_key).softmax(-1),
            "This is already a softmax. The three terms are added first.",
            _FORMULA,
        ),
        Variant(
            "heads_added",
            lambda k, rel_key: (
                _of_keys(k, rel_key).sum(0, keepdim=True).expand(len(k), -1, -1)
            ),
            "The heads are added. They share the table, but each has its own keys.",
            _FORMULA,
        ),
    ),
    section=_LADDER,
)


# --- axial_attention ------------------------------------------------------------


def _draw_axial(
    random: Draw,
    B: int,
    N: int,
    H: int,
    W: int,
    D: int,
    E: int,
    width: bool,
    scale: bool = False,
) -> Inputs:
    inputs: Inputs = {
        "q": random.normal(B, N, H, W, D),
        "k": random.normal(B, N, H, W, D),
        "v": random.normal(B, N, H, W, E),
        "axis": "width" if width else "height",
    }
    if scale:
        inputs["scale"] = 0.7
    return inputs


def _axial(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    axis: str = "height",
    *,
    scale: float | None = None,
    how: str = "",
) -> Tensor:
    """Axial attention with every part to choose."""
    shape, (H, W, D) = v.shape, q.shape[-3:]
    factor = D**-0.5 if scale is None else scale
    if how == "never scaled":
        factor = 1.0
    if how == "default scale":
        factor = D**-0.5
    if how == "divided by D" and scale is None:
        factor = 1 / D
    if how == "scale of the line" and scale is None:
        factor = (H if axis == "height" else W) ** -0.5
    if how == "other axis":
        axis = "width" if axis == "height" else "height"
    if how in ("height", "width"):
        axis = how
    if how == "cross":
        return _cross(q, k, v, factor)
    if how == "global":
        q, k, v = (t.flatten(2, 3)[:, :, None] for t in (q, k, v))
        axis = "width"
    viewed = axis == "height" and how == "viewed"
    if viewed:
        q, k, v = (t.reshape(*t.shape[:2], W, H, -1) for t in (q, k, v))
    elif axis == "height":
        q, k, v = (t.transpose(2, 3) for t in (q, k, v))
    logits = factor * (q @ k.mT)  # [B, N, lines, L, L]
    if how == "one map":
        logits = logits.sum(2, keepdim=True)
    if how == "keys ask":
        logits = logits.mT
    if how == "without itself" and logits.shape[-1] > 1:
        own = torch.eye(logits.shape[-1], dtype=torch.bool)
        logits = logits.masked_fill(own, float("-inf"))
    attention = logits.softmax(-2 if how == "over queries" else -1)
    if how == "mean":
        attention = torch.ones_like(attention) / attention.shape[-1]
    if how == "no softmax":
        attention = logits
    y = attention @ v
    if axis == "height" and not viewed:
        y = y.transpose(2, 3)
    return y.reshape(shape)


def _cross(q: Tensor, k: Tensor, v: Tensor, factor: float) -> Tensor:
    """One softmax over the column and the row together, the pixel itself once."""
    H, W = q.shape[2:4]
    i, j = (t.flatten() for t in torch.meshgrid(torch.arange(H), torch.arange(W)))
    seen = (i[:, None] == i) | (j[:, None] == j)
    q, k, flat = (t.flatten(2, 3) for t in (q, k, v))
    logits = (factor * (q @ k.mT)).masked_fill(~seen, float("-inf"))
    return (logits.softmax(-1) @ flat).reshape(v.shape)


def _variant(name: str, how: str, message: str, section: str) -> Variant:
    return Variant(name, partial(_axial, how=how), message, section)


AXIAL_ATTENTION = Exercise(
    name="axial_attention",
    oracle=axial_attention_loop,
    draw=_draw_axial,
    sizes=(
        {"B": 1, "N": 1, "H": 2, "W": 3, "D": 1, "E": 1, "width": False},
        {"B": 1, "N": 1, "H": 2, "W": 3, "D": 2, "E": 1, "width": True},
        {"B": 1, "N": 1, "H": 3, "W": 3, "D": 2, "E": 2, "width": False},
        {"B": 1, "N": 2, "H": 4, "W": 2, "D": 3, "E": 2, "width": False},
        {"B": 2, "N": 1, "H": 3, "W": 3, "D": 2, "E": 3, "width": True},
        {
            "B": 1,
            "N": 2,
            "H": 2,
            "W": 4,
            "D": 3,
            "E": 3,
            "width": True,
            "scale": True,
        },
    ),
    variants=(
        _variant(
            "other_axis",
            "other axis",
            "The axes are exchanged. Along the height a pixel looks at its column, over"
            " all rows.",
            _FORMULA,
        ),
        _variant(
            "viewed_not_transposed",
            "viewed",
            "Lines of length H are cut by a reshape. Pixels lie in memory row by row,"
            " so these are pieces of rows: transpose H and W.",
            _WRONG,
        ),
        _variant(
            "always_columns",
            "height",
            "The argument `axis` is not used: this is always attention along columns.",
            _FORMULA,
        ),
        _variant(
            "always_rows",
            "width",
            "The argument `axis` is not used: this is always attention along rows.",
            _FORMULA,
        ),
        _variant(
            "global_attention",
            "global",
            "Every pixel looks at all pixels. It looks at one line only.",
            _FORMULA,
        ),
        _variant(
            "cross",
            "cross",
            "This is one softmax over the column and the row, criss-cross attention."
            " Here one call has one axis.",
            _FORMULA,
        ),
        _variant(
            "one_map_for_all_lines",
            "one map",
            "The logits of all lines are added, so every line gets the same map. Each"
            " line has its own.",
            _WRONG,
        ),
        _variant(
            "over_queries",
            "over queries",
            "The softmax runs over the queries. It runs over the keys, the last axis of"
            " the logits.",
            _FORMULA,
        ),
        _variant(
            "query_and_key_exchanged",
            "keys ask",
            "Queries and keys are exchanged in the logits: they are transposed.",
            _FORMULA,
        ),
        _variant(
            "never_scaled",
            "never scaled",
            "There is no scale. This function has one, 1/sqrt(D) unless another is"
            " given; the chapter's formulas are those with scale=1.",
            _TABLE,
        ),
        _variant(
            "scale_ignored",
            "default scale",
            "The argument `scale` is not used.",
            _TABLE,
        ),
        _variant(
            "divided_by_the_width",
            "divided by D",
            "The logits are divided by D. The default is its square root.",
            _TABLE,
        ),
        _variant(
            "scaled_by_the_line",
            "scale of the line",
            "The logits are divided by the square root of the line's length. The"
            " default is 1/sqrt(D): D numbers are added in a logit.",
            _TABLE,
        ),
        _variant(
            "without_itself",
            "without itself",
            "A pixel does not look at itself. Its own position is on the line.",
            _FORMULA,
        ),
        _variant(
            "plain_mean",
            "mean",
            "All weights are equal: this is the mean of the line.",
            _FORMULA,
        ),
        _variant(
            "no_softmax",
            "no softmax",
            "The logits are used as weights. Take the softmax over the keys.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
)


# --- sequential_axial_attention -------------------------------------------------


def sequential_axial_attention(x: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """A column layer, then a row layer on its output, without scale, [B, H, W, C]."""
    axes: tuple[Axis, Axis] = ("height", "width")
    for axis, matrices in zip(axes, (columns, rows), strict=True):
        q, k, v = (t[:, None] for t in _projected(x, matrices))  # one head
        y = axial_attention_loop(q, k, v, axis, scale=1.0)
        assert isinstance(y, Tensor)
        x = y[:, 0]
    return x


def _draw_two_layers(random: Draw, B: int, H: int, W: int, C: int) -> Inputs:
    return {
        "x": random.normal(B, H, W, C),
        "columns": random.normal(3, C, C),
        "rows": random.normal(3, C, C),
    }


def _attend_lines(
    q: Tensor, k: Tensor, v: Tensor, axis: str, how: str = "", scale: float = 1.0
) -> Tensor:
    q, k, v = (t[:, None] for t in (q, k, v))  # one head
    return _axial(q, k, v, axis, scale=scale, how=how)[:, 0]


def _projected(x: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x @ matrices[0].mT, x @ matrices[1].mT, x @ matrices[2].mT


def _two_layers(x: Tensor, columns: Tensor, rows: Tensor, how: str = "") -> Tensor:
    """Two layers with every part to choose."""
    line = how if how in ("over queries", "viewed", "keys ask") else ""
    scale = x.shape[-1] ** -0.5 if how == "scaled" else 1.0
    first, second = ("width", "height") if how == "rows first" else ("height", "width")
    if how == "rows first":
        columns, rows = rows, columns
    if how == "matrices exchanged":
        columns, rows = rows, columns
    if how == "columns twice":
        second = "height"
    if how == "same matrices":
        rows = columns
    z = _attend_lines(*_projected(x, columns), first, line, scale)
    if how == "one layer":
        return z
    if how == "residual":
        z = z + x
    q, k, v = _projected(z, rows)
    if how in ("parallel", "parallel, bare values"):
        q, k, _ = _projected(x, rows)
    if how in ("bare values", "parallel, bare values"):
        v = z
    if how in ("sum", "values of x"):
        v = x @ rows[2].mT
    if how == "sum":
        q, k = x @ rows[0].mT, x @ rows[1].mT
    y = _attend_lines(q, k, v, second, line, scale)
    return z + y if how == "sum" else y


def _layers(name: str, how: str, message: str, section: str) -> Variant:
    return Variant(name, partial(_two_layers, how=how), message, section)


SEQUENTIAL_AXIAL_ATTENTION = Exercise(
    name="sequential_axial_attention",
    oracle=sequential_axial_attention,
    draw=_draw_two_layers,
    sizes=(
        {"B": 1, "H": 2, "W": 2, "C": 1},
        {"B": 1, "H": 2, "W": 3, "C": 2},
        {"B": 2, "H": 3, "W": 2, "C": 3},
        {"B": 1, "H": 3, "W": 3, "C": 2},
    ),
    variants=(
        Variant(
            "parallel",
            partial(_two_layers, how="parallel"),
            "The row map is computed from x. This is the parallel form; here the second"
            " layer takes queries and keys from the output of the first.",
            _FORMULA,
            also=(partial(_two_layers, how="parallel, bare values"),),
        ),
        _layers(
            "added",
            "sum",
            "Both layers see x, and their outputs are added. Then a pixel reaches its"
            " cross only. The second layer takes the output of the first.",
            _PROOF,
        ),
        _layers(
            "rows_first",
            "rows first",
            "The row layer comes first. The orders give different results: first"
            " columns, then rows.",
            _PROOF,
        ),
        _layers(
            "values_of_the_input",
            "values of x",
            "The values of the row layer come from x, so what the columns brought is"
            " lost, except in the weights. All three projections take z.",
            _FORMULA,
        ),
        _layers(
            "no_second_value_matrix",
            "bare values",
            "The row layer averages z itself. Multiply z with its value matrix first.",
            _FORMULA,
        ),
        _layers(
            "columns_twice",
            "columns twice",
            "Both layers run along columns, so a pixel never leaves its column.",
            _FORMULA,
        ),
        _layers(
            "matrices_exchanged",
            "matrices exchanged",
            "The matrices of the two layers are exchanged.",
            _FORMULA,
        ),
        _layers(
            "same_matrices",
            "same matrices",
            "Both layers have the matrices of the column layer. The row layer has its"
            " own.",
            _FORMULA,
        ),
        _layers(
            "columns_only",
            "one layer",
            "This is the column layer alone. The row layer follows.",
            _FORMULA,
        ),
        _layers(
            "residual_added",
            "residual",
            "The input is added between the layers. Nothing stands between them.",
            _TABLE,
        ),
        _layers(
            "scaled",
            "scaled",
            "The logits are divided by the square root of C. Here there is no scale.",
            _FORMULA,
        ),
        _layers(
            "over_queries",
            "over queries",
            "The softmax runs over the queries. It runs over the keys.",
            _FORMULA,
        ),
        _layers(
            "viewed_not_transposed",
            "viewed",
            "Columns are cut by a reshape, which gives pieces of rows. Transpose H and"
            " W.",
            _WRONG,
        ),
    ),
    section=_FORMULA,
)


# --- position_sensitive_attention -----------------------------------------------


def _draw_sensitive(
    random: Draw, B: int, N: int, H: int, W: int, D: int, E: int, width: bool
) -> Inputs:
    L = W if width else H
    return {
        "q": random.normal(B, N, H, W, D),
        "k": random.normal(B, N, H, W, D),
        "v": random.normal(B, N, H, W, E),
        "rel_query": random.normal(2 * L - 1, D),
        "rel_key": random.normal(2 * L - 1, D),
        "rel_value": random.normal(2 * L - 1, E),
        "axis": "width" if width else "height",
    }


def _sensitive(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_query: Tensor,
    rel_key: Tensor,
    rel_value: Tensor,
    axis: str = "height",
    *,
    mirrored: str = "",
    dropped: str = "",
    key: Term | None = None,
    how: str = "",
) -> Tensor:
    """Position-sensitive attention with every part to choose."""
    shape, (H, W, D) = v.shape, q.shape[-3:]
    if how == "tables exchanged":
        rel_query, rel_key = rel_key, rel_query
    tables = {"query": rel_query, "key": rel_key, "value": rel_value}
    for name in tables:
        if name in mirrored:
            tables[name] = tables[name].flip(0)
        if name in dropped:
            tables[name] = torch.zeros_like(tables[name])
    if how == "other axis":
        axis = "width" if axis == "height" else "height"
    viewed = axis == "height" and how == "viewed"
    if viewed:
        q, k, v = (t.reshape(*t.shape[:2], W, H, -1) for t in (q, k, v))
    elif axis == "height":
        q, k, v = (t.transpose(2, 3) for t in (q, k, v))
    position = _of_queries(q, tables["query"]) + (key or _of_keys)(k, tables["key"])
    content = q @ k.mT
    logits = content + position
    if how == "scaled":
        logits = logits / D**0.5
    if how == "content scaled":
        logits = content / D**0.5 + position
    a = logits.softmax(-2 if how == "over queries" else -1)
    if how == "softmax apart":
        a = content.softmax(-1) + position.softmax(-1)
    places = _square(tables["value"])  # [L, L, E]
    weights = torch.ones_like(a) / a.shape[-1] if how == "places averaged" else a
    if how == "places added":
        weights = torch.ones_like(a)
    y = a @ v + torch.einsum("...op,opd->...od", weights, places)
    if axis == "height" and not viewed:
        y = y.transpose(2, 3)
    return y.reshape(shape)


def _placed(name: str, message: str, section: str, **options: Any) -> Variant:
    return Variant(name, partial(_sensitive, **options), message, section)


POSITION_SENSITIVE_ATTENTION = Exercise(
    name="position_sensitive_attention",
    oracle=position_sensitive_attention_loop,
    draw=_draw_sensitive,
    sizes=(
        {"B": 1, "N": 1, "H": 2, "W": 1, "D": 1, "E": 1, "width": False},
        {"B": 1, "N": 1, "H": 2, "W": 3, "D": 2, "E": 1, "width": True},
        {"B": 1, "N": 1, "H": 3, "W": 3, "D": 2, "E": 2, "width": False},
        {"B": 1, "N": 2, "H": 4, "W": 2, "D": 3, "E": 2, "width": False},
        {"B": 2, "N": 1, "H": 3, "W": 3, "D": 2, "E": 3, "width": True},
    ),
    variants=(
        Variant(
            "key_term_not_transposed",
            partial(_sensitive, key=_of_queries),
            "The key term takes the key of the querying pixel, k_o. It takes that of p:"
            " transpose what you computed from the keys.",
            _WRONG,
            also=(partial(_sensitive, key=partial(_of_queries, mirrored=True)),),
        ),
        _placed(
            "all_mirrored",
            "All offsets are query minus key. The offset is key minus query: row 0 of"
            " the tables belongs to a key L - 1 places before the query.",
            _PROOF,
            mirrored="query key value",
        ),
        _placed(
            "queries_and_values_mirrored",
            "The offsets of the query and value tables are mirrored, as in the official"
            " code. Here all three tables are read with key minus query.",
            _MODULE,
            mirrored="query value",
        ),
        _placed(
            "query_table_mirrored",
            "The offset in the query term is mirrored. It is key minus query.",
            _FORMULA,
            mirrored="query",
        ),
        _placed(
            "key_table_mirrored",
            "The offset in the key term is mirrored: seen from the key, turn the table"
            " round first.",
            _LADDER,
            mirrored="key",
        ),
        _placed(
            "value_table_mirrored",
            "The offset in the value term is mirrored. It is key minus query.",
            _FORMULA,
            mirrored="value",
        ),
        _placed(
            "no_value_term",
            "The value term is missing: v_p + r_{p-o}.",
            _FORMULA,
            dropped="value",
        ),
        _placed(
            "no_key_term",
            "The key term is missing.",
            _FORMULA,
            dropped="key",
        ),
        _placed(
            "no_query_term",
            "The query term is missing.",
            _FORMULA,
            dropped="query",
        ),
        _placed(
            "query_term_only",
            "Only queries know the offset, as in stand-alone attention. Keys and values"
            " know it, too.",
            _FORMULA,
            dropped="key value",
        ),
        _placed(
            "no_positions",
            "The tables are not used at all.",
            _FORMULA,
            dropped="query key value",
        ),
        _placed(
            "tables_exchanged",
            "The tables of queries and keys are exchanged.",
            _FORMULA,
            how="tables exchanged",
        ),
        _placed(
            "scaled",
            "The logits are divided by the square root of D. There is no scale here.",
            _FORMULA,
            how="scaled",
        ),
        _placed(
            "content_scaled",
            "The term of queries and keys is divided by the square root of D. There is"
            " no scale here.",
            _FORMULA,
            how="content scaled",
        ),
        _placed(
            "over_queries",
            "The softmax runs over the queries. It runs over the keys.",
            _FORMULA,
            how="over queries",
        ),
        _placed(
            "two_softmaxes",
            "Content and positions have a softmax each. Add the terms, then take one.",
            _FORMULA,
            how="softmax apart",
        ),
        _placed(
            "places_averaged",
            "The vectors of the value table are averaged with equal weights. They are"
            " weighted by the attention, like the values.",
            _FORMULA,
            how="places averaged",
        ),
        _placed(
            "places_added",
            "The vectors of the value table are added up without weights. They are"
            " weighted by the attention, like the values.",
            _FORMULA,
            how="places added",
        ),
        _placed(
            "other_axis",
            "The axes are exchanged. Along the height a pixel looks at its column.",
            _FORMULA,
            how="other axis",
        ),
        _placed(
            "viewed_not_transposed",
            "Columns are cut by a reshape, which gives pieces of rows. Transpose H and"
            " W.",
            _WRONG,
            how="viewed",
        ),
    ),
    section=_FORMULA,
)

EXERCISES = (
    RELATIVE_INDEX,
    AXIAL_MACS,
    AXIAL_WEIGHTS,
    AXIAL_ATTENTION,
    SEQUENTIAL_AXIAL_ATTENTION,
    KEY_POSITION_TERM,
    POSITION_SENSITIVE_ATTENTION,
)
