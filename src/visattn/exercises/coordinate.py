"""Exercises on coordinate attention.

Shapes: B batch, C channels, M hidden channels, H W map.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.coordinate import (
    coordinate_attention_loop,
    coordinate_pool_loop,
)

_PAGE = "gates/coordinate.html"
_FORMULA = f"{_PAGE}#the-formula"
_HAND = f"{_PAGE}#by-hand"
_LADDER = f"{_PAGE}#the-ladder"
_COST = f"{_PAGE}#the-cost"
_PROOF = f"{_PAGE}#prove-it"
_WRONG = f"{_PAGE}#right-shape-still-wrong"
_TABLE = f"{_PAGE}#paper-official-code-timm-ours"

Unary = Callable[[Tensor], Tensor]


# --- directional_pooling --------------------------------------------------------


def _pooled(x: Tensor, how: str = "") -> Tensor:
    """The directional means with every part to choose."""
    rows, columns = x.mean(3), x.mean(2)
    if how == "summed":
        rows, columns = x.sum(3), x.sum(2)
    if how == "maximum":
        rows, columns = x.amax(3), x.amax(2)
    if how == "all pixels":
        rows, columns = rows / x.shape[2], columns / x.shape[3]
    if how == "other length":
        rows, columns = x.sum(3) / x.shape[2], x.sum(2) / x.shape[3]
    if how == "one mean":
        mean = x.mean((2, 3))[..., None]
        rows, columns = mean.expand_as(rows), mean.expand_as(columns)
    if how == "over the batch":
        rows, columns = (t.mean(0).expand_as(t) for t in (rows, columns))
    if how == "columns first":
        rows, columns = columns, rows
    if how == "rows twice":
        columns = rows
    if how == "on another axis":
        return torch.cat([rows, columns], dim=1)
    return torch.cat([rows, columns], dim=2)


DIRECTIONAL_POOLING = Exercise(
    name="directional_pooling",
    oracle=coordinate_pool_loop,
    draw=lambda random, B, C, H, W: {"x": random.normal(B, C, H, W)},
    sizes=(
        {"B": 1, "C": 1, "H": 1, "W": 2},
        {"B": 1, "C": 1, "H": 2, "W": 3},
        {"B": 2, "C": 3, "H": 4, "W": 4},
        {"B": 2, "C": 2, "H": 4, "W": 3},
        {"B": 3, "C": 2, "H": 3, "W": 5},
    ),
    variants=(
        Variant(
            "columns_first",
            partial(_pooled, how="columns first"),
            "The columns come first. The shape is the same, but the first H places"
            " belong to the rows: the mean over the width, axis 3.",
            _WRONG,
        ),
        Variant(
            "rows_twice",
            partial(_pooled, how="rows twice"),
            "Both parts are the means of the rows. The second one averages each column,"
            " over axis 2.",
            _FORMULA,
        ),
        Variant(
            "summed",
            partial(_pooled, how="summed"),
            "Rows and columns are summed. Divide a row by W and a column by H.",
            _FORMULA,
        ),
        Variant(
            "divided_by_the_other_side",
            partial(_pooled, how="other length"),
            "A row has W pixels, so its sum is divided by W, and that of a column by H."
            " Here it is the other way round.",
            _FORMULA,
        ),
        Variant(
            "divided_by_all_pixels",
            partial(_pooled, how="all pixels"),
            "The sums are divided by H*W. A row has W pixels, a column has H.",
            _FORMULA,
        ),
        Variant(
            "maximum",
            partial(_pooled, how="maximum"),
            "This is the largest pixel of each row and column. Take the mean.",
            _FORMULA,
        ),
        Variant(
            "one_mean",
            partial(_pooled, how="one mean"),
            "Every place has the mean of the whole channel, the squeeze of the last"
            " chapter. Average over one axis only.",
            _FORMULA,
        ),
        Variant(
            "over_the_batch_too",
            partial(_pooled, how="over the batch"),
            "The images of the batch are averaged together. Leave axis 0 alone.",
            _FORMULA,
        ),
        Variant(
            "joined_as_channels",
            partial(_pooled, how="on another axis"),
            "The two parts are joined along the channels. Join them along the last"
            " axis, which has H + W places.",
            _LADDER,
        ),
    ),
    section=_FORMULA,
)


# --- h_swish --------------------------------------------------------------------


def h_swish(u: Tensor) -> Tensor:
    """The activation of MobileNetV3, one number at a time."""
    values = []
    for value in u.flatten():
        six = torch.minimum(torch.maximum(value + 3, u.new_zeros(())), u.new_tensor(6))
        values.append(value * six / 6)
    return torch.stack(values).reshape(u.shape)


H_SWISH = Exercise(
    name="h_swish",
    oracle=h_swish,
    draw=lambda random, B, M, P: {"u": 5 * random.normal(B, M, P)},
    sizes=(
        {"B": 1, "M": 1, "P": 3},
        {"B": 1, "M": 2, "P": 4},
        {"B": 2, "M": 3, "P": 9},
    ),
    variants=(
        Variant(
            "relu",
            F.relu,
            "This is a ReLU: everything below zero is lost. h-swish is u ReLU6(u+3)/6,"
            " which is negative between -3 and 0.",
            _WRONG,
        ),
        Variant(
            "relu6",
            F.relu6,
            "This is a ReLU6. In h-swish it stands around u + 3, is divided by 6 and"
            " multiplied by u.",
            _FORMULA,
        ),
        Variant(
            "h_sigmoid",
            F.hardsigmoid,
            "This is the factor ReLU6(u+3)/6 alone. Multiply it by u.",
            _FORMULA,
        ),
        Variant(
            "swish",
            F.silu,
            "This is the smooth swish, u times the sigmoid of u. h-swish replaces the"
            " sigmoid by ReLU6(u+3)/6.",
            _FORMULA,
        ),
        Variant(
            "sigmoid",
            torch.sigmoid,
            "This is the sigmoid of the gates. Between the layers stands h-swish.",
            _FORMULA,
        ),
        Variant(
            "not_divided",
            lambda u: u * F.relu6(u + 3),
            "The division by 6 is missing: above 3 h-swish is the identity.",
            _FORMULA,
        ),
        Variant(
            "no_shift",
            lambda u: u * F.relu6(u) / 6,
            "The 3 is missing: ReLU6 is taken of u + 3.",
            _FORMULA,
        ),
        Variant(
            "no_upper_bound",
            lambda u: u * F.relu(u + 3) / 6,
            "The upper bound is missing: ReLU6 ends at 6, a ReLU does not.",
            _FORMULA,
        ),
        Variant(
            "shifted_factor",
            lambda u: (u + 3) * F.relu6(u + 3) / 6,
            "The factor in front is u itself, without the 3.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
)


# --- gate_map -------------------------------------------------------------------


def gate_map(g_h: Tensor, g_w: Tensor) -> Tensor:
    """The gate of every pixel, [B, C, H, W]."""
    B, C, H = g_h.shape
    W = g_w.shape[2]
    pixels = [g_h[..., i] * g_w[..., j] for i in range(H) for j in range(W)]
    return torch.stack(pixels, dim=-1).reshape(B, C, H, W)


def _draw_gates(random: Draw, B: int, C: int, H: int, W: int) -> Inputs:
    return {
        "g_h": torch.sigmoid(random.normal(B, C, H)),
        "g_w": torch.sigmoid(random.normal(B, C, W)),
    }


def _row(g_h: Tensor) -> Tensor:
    return g_h[..., :, None]


def _column(g_w: Tensor) -> Tensor:
    return g_w[..., None, :]


GATE_MAP = Exercise(
    name="gate_map",
    oracle=gate_map,
    draw=_draw_gates,
    sizes=(
        {"B": 1, "C": 1, "H": 1, "W": 2},
        {"B": 1, "C": 1, "H": 2, "W": 2},
        {"B": 2, "C": 3, "H": 3, "W": 3},
        {"B": 2, "C": 2, "H": 3, "W": 4},
    ),
    variants=(
        Variant(
            "added",
            lambda g_h, g_w: _row(g_h) + _column(g_w),
            "The gates are added, so a pixel can get more than 1. Multiply them.",
            _FORMULA,
        ),
        Variant(
            "averaged",
            lambda g_h, g_w: (_row(g_h) + _column(g_w)) / 2,
            "This is the mean of both gates. Then one open gate keeps half of a pixel;"
            " the product asks both.",
            _FORMULA,
        ),
        Variant(
            "smaller_one",
            lambda g_h, g_w: torch.minimum(_row(g_h), _column(g_w)),
            "This is the smaller of both gates. Multiply them.",
            _FORMULA,
        ),
        Variant(
            "rows_and_columns_exchanged",
            lambda g_h, g_w: _column(g_h) * _row(g_w),
            "Rows and columns are exchanged: the gate of a row is the same for all its"
            " columns, so g_h needs its new axis at the end.",
            _HAND,
        ),
        Variant(
            "diagonal_only",
            lambda g_h, g_w: _column(g_h * g_w).expand(-1, -1, g_h.shape[2], -1),
            "The gates are multiplied place by place, which also needs a square map."
            " Every row meets every column.",
            _HAND,
        ),
        Variant(
            "one_gate_only",
            lambda g_h, g_w: _row(g_h).expand(-1, -1, -1, g_w.shape[2]),
            "Only one of the gates is used.",
            _FORMULA,
            also=(lambda g_h, g_w: _column(g_w).expand(-1, -1, g_h.shape[2], -1),),
        ),
        Variant(
            "sigmoid_again",
            lambda g_h, g_w: torch.sigmoid(_row(g_h) * _column(g_w)),
            "A second sigmoid stands around the product. These are gates already.",
            _FORMULA,
        ),
        Variant(
            "logits_added",
            lambda g_h, g_w: torch.sigmoid(
                torch.logit(_row(g_h)) + torch.logit(_column(g_w))
            ),
            "This is one sigmoid of the summed logits, timm's `SimpleCoordAttn`. Here"
            " the gates themselves are multiplied.",
            _TABLE,
        ),
    ),
    section=_FORMULA,
)


# --- coordinate_parameters ------------------------------------------------------


def coordinate_parameters(channels: int, reduction: int) -> int:
    """Numbers that one coordinate attention learns."""
    M = max(8, channels // reduction)
    shared = channels * M + M  # a matrix and its bias
    norm = 2 * M
    last = M * channels + channels
    return shared + norm + 2 * last


def _parameters(
    channels: int,
    reduction: int,
    *,
    hidden: Callable[[int, int], int] = lambda C, r: max(8, C // r),
    matrices: int = 3,
    biases: bool = True,
    norm: int = 2,
) -> int:
    M = hidden(channels, reduction)
    last = matrices - 1
    total = matrices * channels * M + norm * M
    return total + (M + last * channels if biases else 0)


COORDINATE_PARAMETERS = Exercise(
    name="coordinate_parameters",
    oracle=coordinate_parameters,
    draw=lambda random, channels, reduction: {
        "channels": channels,
        "reduction": reduction,
    },
    sizes=(
        {"channels": 16, "reduction": 32},
        {"channels": 36, "reduction": 4},
        {"channels": 96, "reduction": 32},
        {"channels": 300, "reduction": 24},
        {"channels": 512, "reduction": 32},
        {"channels": 960, "reduction": 32},
    ),
    variants=(
        Variant(
            "no_minimum",
            partial(_parameters, hidden=lambda C, r: max(1, C // r)),
            "The smallest width is missing: there are at least 8 hidden channels.",
            _FORMULA,
            also=(partial(_parameters, hidden=lambda C, r: C // r),),
        ),
        Variant(
            "always_eight",
            partial(_parameters, hidden=lambda C, r: 8),
            "The width is always 8. It is the larger of 8 and C//r.",
            _FORMULA,
            also=(partial(_parameters, hidden=lambda C, r: min(8, C // r)),),
        ),
        Variant(
            "rounded_up",
            partial(_parameters, hidden=lambda C, r: max(8, -(-C // r))),
            "C/r is rounded up. The official code rounds down.",
            _FORMULA,
        ),
        Variant(
            "multiple_of_eight",
            partial(_parameters, hidden=lambda C, r: max(8, (C // r + 4) // 8 * 8)),
            "The width is rounded to a multiple of 8, as timm does. Here it is"
            " max(8, C//r).",
            _TABLE,
        ),
        Variant(
            "one_last_layer",
            partial(_parameters, matrices=2),
            "Only one last layer is counted. Rows and columns have one each.",
            _COST,
        ),
        Variant(
            "two_first_layers",
            lambda channels, reduction: (
                _parameters(channels, reduction)
                + (channels + 1) * max(8, channels // reduction)
            ),
            "The first layer is counted twice. Rows and columns share it.",
            _COST,
        ),
        Variant(
            "biases_forgotten",
            partial(_parameters, biases=False),
            "The biases are not counted. The official code has one in every layer; only"
            " timm has none.",
            _TABLE,
        ),
        Variant(
            "norm_forgotten",
            partial(_parameters, norm=0),
            "The batch norm is not counted: a scale and a shift for every hidden"
            " channel.",
            _COST,
        ),
        Variant(
            "running_statistics_counted",
            partial(_parameters, norm=4),
            "Four numbers per channel are counted for the norm. A scale and a shift are"
            " learned; the running statistics are not, and there is one norm only.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- joint_norm -----------------------------------------------------------------


def joint_norm(rows: Tensor, columns: Tensor, eps: float) -> Tensor:
    """Normalise rows and columns with common statistics, [B, M, H+W]."""
    B, _, H = rows.shape
    places = [rows[n, :, i] for n in range(B) for i in range(H)]
    places += [columns[n, :, j] for n in range(B) for j in range(columns.shape[2])]
    mean = torch.stack(places).sum(0) / len(places)
    squares = torch.stack([(place - mean) ** 2 for place in places])
    deviation = torch.sqrt(squares.sum(0) / len(places) + eps)
    z = torch.cat([rows, columns], dim=2)
    return (z - mean[:, None]) / deviation[:, None]


def _norm(
    z: Tensor, eps: float, axes: tuple[int, ...] = (0, 2), how: str = ""
) -> Tensor:
    mean = z.mean(axes, keepdim=True)
    square = ((z - mean) ** 2).sum(axes, keepdim=True)
    number = z.numel() // mean.numel()
    variance = square / (max(number - 1, 1) if how == "unbiased" else number)
    if how == "variance":
        return (z - mean) / (variance + eps)
    if how == "eps outside":
        return (z - mean) / (torch.sqrt(variance) + eps)
    if how == "mean kept":
        return z / torch.sqrt(variance + eps)
    return (z - mean) / torch.sqrt(variance + (0.0 if how == "no eps" else eps))


def _norm_of_both(
    rows: Tensor,
    columns: Tensor,
    eps: float,
    *,
    axes: tuple[int, ...] = (0, 2),
    how: str = "",
) -> Tensor:
    if how == "columns first":
        rows, columns = columns, rows
    return _norm(torch.cat([rows, columns], dim=2), eps, axes, how)


def _norm_of_rows(rows: Tensor, columns: Tensor, eps: float) -> Tensor:
    """The statistics of the rows, for rows and columns."""
    mean = rows.mean((0, 2))[:, None]
    deviation = torch.sqrt(rows.var((0, 2), correction=0) + eps)[:, None]
    return (torch.cat([rows, columns], dim=2) - mean) / deviation


def _averaged_statistics(rows: Tensor, columns: Tensor, eps: float) -> Tensor:
    """Both parts count the same, whatever their lengths."""
    mean = (rows.mean((0, 2)) + columns.mean((0, 2)))[:, None] / 2
    variance = sum(
        (((part - mean) ** 2).mean((0, 2)) for part in (rows, columns)),
        rows.new_zeros(()),
    )
    deviation = torch.sqrt(variance / 2 + eps)[:, None]
    return (torch.cat([rows, columns], dim=2) - mean) / deviation


JOINT_NORM = Exercise(
    name="joint_norm",
    oracle=joint_norm,
    draw=lambda random, B, M, H, W: {
        "rows": 2 * random.normal(B, M, H) + 1,
        "columns": random.normal(B, M, W),
        "eps": 0.1,
    },
    sizes=(
        {"B": 1, "M": 1, "H": 2, "W": 3},
        {"B": 2, "M": 1, "H": 2, "W": 3},
        {"B": 2, "M": 3, "H": 4, "W": 4},
        {"B": 3, "M": 2, "H": 3, "W": 5},
    ),
    variants=(
        Variant(
            "two_norms",
            lambda rows, columns, eps: torch.cat(
                [_norm(rows, eps), _norm(columns, eps)], dim=2
            ),
            "Rows and columns are normalised separately. Then quiet columns become as"
            " loud as the rows. Join first, and normalise once.",
            _WRONG,
        ),
        Variant(
            "statistics_of_the_rows",
            _norm_of_rows,
            "Mean and variance are those of the rows only. Take them over rows and"
            " columns.",
            _WRONG,
        ),
        Variant(
            "statistics_averaged",
            _averaged_statistics,
            "Rows and columns count half each. Every *place* counts the same, so the"
            " longer side counts more.",
            _WRONG,
        ),
        Variant(
            "of_each_image",
            partial(_norm_of_both, axes=(2,)),
            "Every image is normalised by itself. A batch norm takes its statistics"
            " over the images, too: axes 0 and 2.",
            _LADDER,
        ),
        Variant(
            "over_the_channels_too",
            partial(_norm_of_both, axes=(0, 1, 2)),
            "One mean and one variance serve all channels. Every channel has its own:"
            " leave axis 1 alone.",
            _LADDER,
        ),
        Variant(
            "unbiased_variance",
            partial(_norm_of_both, how="unbiased"),
            "The variance is divided by n - 1, the default of `Tensor.var`. A batch"
            " norm divides by n.",
            _LADDER,
        ),
        Variant(
            "variance_not_deviation",
            partial(_norm_of_both, how="variance"),
            "The values are divided by the variance. Divide by its square root.",
            _LADDER,
        ),
        Variant(
            "eps_outside_the_root",
            partial(_norm_of_both, how="eps outside"),
            "`eps` is added to the deviation. Add it to the variance, under the root.",
            _LADDER,
        ),
        Variant(
            "eps_ignored",
            partial(_norm_of_both, how="no eps"),
            "The argument `eps` is not used. Add it to the variance.",
            _LADDER,
        ),
        Variant(
            "mean_kept",
            partial(_norm_of_both, how="mean kept"),
            "The mean is not subtracted.",
            _LADDER,
        ),
        Variant(
            "columns_first",
            partial(_norm_of_both, how="columns first"),
            "The columns come first. The first H places belong to the rows.",
            _WRONG,
        ),
    ),
    section=_LADDER,
)


# --- fourth_corner --------------------------------------------------------------


def fourth_corner(at_ij: Tensor, at_kl: Tensor, at_il: Tensor) -> Tensor:
    """G at (k, j), where G is an outer product."""
    return at_ij * at_kl / at_il


def _draw_corners(random: Draw, B: int, C: int) -> Inputs:
    g_h = torch.sigmoid(random.normal(2, B, C))
    g_w = torch.sigmoid(random.normal(2, B, C))
    return {
        "at_ij": g_h[0] * g_w[0],
        "at_kl": g_h[1] * g_w[1],
        "at_il": g_h[0] * g_w[1],
    }


FOURTH_CORNER = Exercise(
    name="fourth_corner",
    oracle=fourth_corner,
    draw=_draw_corners,
    sizes=({"B": 1, "C": 1}, {"B": 1, "C": 3}, {"B": 2, "C": 4}),
    variants=(
        Variant(
            "added_like_a_sum",
            lambda at_ij, at_kl, at_il: at_ij + at_kl - at_il,
            "This is right where gates are *added*: G_ij + G_kl = G_il + G_kj. Here"
            " they are multiplied.",
            _PROOF,
        ),
        Variant(
            "wrong_way_round",
            lambda at_ij, at_kl, at_il: at_il / (at_ij * at_kl),
            "The fraction is upside down. Solve G_ij G_kl = G_il G_kj for G_kj.",
            _PROOF,
        ),
        Variant(
            "not_divided",
            lambda at_ij, at_kl, at_il: at_ij * at_kl,
            "This is G_il G_kj. Divide by the corner that you know.",
            _PROOF,
        ),
        Variant(
            "same_as_the_third",
            lambda at_ij, at_kl, at_il: at_il.clone(),
            "The two other corners are equal only by chance: it is their product that"
            " is fixed.",
            _PROOF,
        ),
        Variant(
            "mean_of_the_diagonal",
            lambda at_ij, at_kl, at_il: torch.sqrt(at_ij * at_kl),
            "This is what both other corners would be if they were equal. One of them"
            " is given.",
            _PROOF,
        ),
        Variant(
            "other_pairs",
            lambda at_ij, at_kl, at_il: at_ij * at_il / at_kl,
            "The wrong pair is multiplied. The two ends of a diagonal belong together:"
            " (i, j) and (k, l).",
            _PROOF,
            also=(lambda at_ij, at_kl, at_il: at_kl * at_il / at_ij,),
        ),
        Variant(
            "closed",
            lambda at_ij, at_kl, at_il: torch.zeros_like(at_ij),
            "This corner is not closed: its row is open, and so is its column.",
            _PROOF,
        ),
    ),
    section=_PROOF,
)


# --- coordinate_attention -------------------------------------------------------


def _draw_attention(
    random: Draw,
    B: int,
    C: int,
    M: int,
    H: int,
    W: int,
    statistics: bool = False,
    large_eps: bool = False,
) -> Inputs:
    inputs: Inputs = {
        "x": random.normal(B, C, H, W),
        "reduce": 2 * random.normal(M, C),
        "reduce_bias": random.normal(M),
        "scale": 1 + random.uniform(M),
        "shift": random.normal(M),
        "expand_h": random.normal(C, M),
        "expand_h_bias": random.normal(C),
        "expand_w": random.normal(C, M),
        "expand_w_bias": random.normal(C),
    }
    if statistics:
        inputs |= {"mean": random.normal(M), "variance": 0.5 + random.uniform(M)}
    if large_eps:
        inputs["eps"] = 0.1
    return inputs


def _attention(
    x: Tensor,
    reduce: Tensor,
    reduce_bias: Tensor,
    scale: Tensor,
    shift: Tensor,
    expand_h: Tensor,
    expand_h_bias: Tensor,
    expand_w: Tensor,
    expand_w_bias: Tensor,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
    *,
    eps: float = 1e-5,
    pool: Unary = _pooled,
    delta: Unary = F.hardswish,
    outer: Unary = torch.sigmoid,
    norm: str = "",
    biases: str = "all",
    combine: str = "product",
) -> Tensor:
    """Coordinate attention with every part to choose."""
    H, W = x.shape[2:]
    if biases == "none":
        expand_h_bias, expand_w_bias = 0 * expand_h_bias, 0 * expand_w_bias
    if biases != "all":
        reduce_bias = 0 * reduce_bias
    u = reduce @ pool(x) + reduce_bias[:, None]  # [B, M, H+W]

    def normalise(v: Tensor) -> Tensor:
        m, s = mean, variance
        if m is None or s is None or norm == "of this batch":
            axes = (2,) if norm == "of each image" else (0, 2)
            m = v.mean(axes, keepdim=True)
            number = v.numel() / m.numel() - (norm == "unbiased")
            s = ((v - m) ** 2).sum(axes, keepdim=True) / max(number, 1)
        else:
            m, s = m[:, None], s[:, None]
        v = (v - m) / torch.sqrt(s + (1e-5 if norm == "eps" else eps))
        return v if norm == "affine" else scale[:, None] * v + shift[:, None]

    if norm == "two":
        u = torch.cat([normalise(part) for part in u.split([H, W], dim=2)], dim=2)
    elif norm != "none":
        u = normalise(u)
    f_h, f_w = delta(u).split([H, W], dim=2)
    if combine == "layers exchanged":
        expand_h, expand_w = expand_w, expand_h
        expand_h_bias, expand_w_bias = expand_w_bias, expand_h_bias
    if combine == "one layer":
        expand_w, expand_w_bias = expand_h, expand_h_bias
    a_h = _row(expand_h @ f_h + expand_h_bias[:, None])
    a_w = _column(expand_w @ f_w + expand_w_bias[:, None])
    if combine == "logits added":
        return x * outer(a_h + a_w)
    if combine == "averaged":
        return x * (outer(a_h) + outer(a_w)) / 2
    gate = outer(a_h) * outer(a_w)
    if combine == "gate only":
        return gate
    return x + x * gate if combine == "input added" else x * gate


COORDINATE_ATTENTION = Exercise(
    name="coordinate_attention",
    oracle=coordinate_attention_loop,
    draw=_draw_attention,
    sizes=(
        {"B": 1, "C": 1, "M": 1, "H": 2, "W": 2},
        {"B": 1, "C": 2, "M": 2, "H": 2, "W": 3},
        {"B": 2, "C": 3, "M": 2, "H": 3, "W": 3},
        {"B": 2, "C": 2, "M": 3, "H": 4, "W": 3},
        {"B": 2, "C": 3, "M": 2, "H": 3, "W": 5, "statistics": True},
        {"B": 2, "C": 2, "M": 2, "H": 3, "W": 4, "large_eps": True},
    ),
    variants=(
        Variant(
            "no_sigmoid",
            partial(_attention, outer=nn.Identity()),
            "The gates have no sigmoid, as in one public version. A gate lies between 0"
            " and 1.",
            _WRONG,
        ),
        Variant(
            "relu",
            partial(_attention, delta=F.relu),
            "The activation is a ReLU. It is h-swish, u ReLU6(u+3)/6.",
            _WRONG,
        ),
        Variant(
            "no_sigmoid_and_relu",
            partial(_attention, outer=nn.Identity(), delta=F.relu),
            "There is a ReLU for h-swish, and no sigmoid: both faults of one public"
            " version.",
            _WRONG,
        ),
        Variant(
            "swish",
            partial(_attention, delta=F.silu),
            "The activation is the smooth swish. It is h-swish, u ReLU6(u+3)/6.",
            _FORMULA,
        ),
        Variant(
            "no_activation",
            partial(_attention, delta=nn.Identity()),
            "There is no activation after the batch norm. It is h-swish.",
            _FORMULA,
        ),
        Variant(
            "columns_first",
            partial(_attention, pool=partial(_pooled, how="columns first")),
            "Columns are joined first, but the first part is used for the rows. On a"
            " square map they change places, on others they mix.",
            _WRONG,
        ),
        Variant(
            "last_layers_exchanged",
            partial(_attention, combine="layers exchanged"),
            "The last layers are exchanged: `expand_h` belongs to the rows.",
            _PROOF,
        ),
        Variant(
            "one_last_layer",
            partial(_attention, combine="one layer"),
            "`expand_w` is not used. Only the first layer is shared; rows and columns"
            " have a last layer each.",
            _FORMULA,
        ),
        Variant(
            "two_norms",
            partial(_attention, norm="two"),
            "Rows and columns are normalised separately. One batch norm takes its"
            " statistics over all H + W places.",
            _WRONG,
        ),
        Variant(
            "no_batch_norm",
            partial(_attention, norm="none"),
            "The batch norm is missing, or built and never called.",
            _WRONG,
        ),
        Variant(
            "statistics_ignored",
            partial(_attention, norm="of this batch"),
            "The given mean and variance are not used. Take those of the batch only"
            " when none are given.",
            _LADDER,
        ),
        Variant(
            "statistics_of_each_image",
            partial(_attention, norm="of each image"),
            "Every image is normalised by itself. A batch norm takes its statistics"
            " over the images, too.",
            _LADDER,
        ),
        Variant(
            "unbiased_variance",
            partial(_attention, norm="unbiased"),
            "The variance is divided by n - 1, the default of `Tensor.var`. A batch"
            " norm divides by n.",
            _LADDER,
        ),
        Variant(
            "scale_and_shift_dropped",
            partial(_attention, norm="affine"),
            "The scale and the shift of the batch norm are not used.",
            _FORMULA,
        ),
        Variant(
            "eps_ignored",
            partial(_attention, norm="eps"),
            "The argument `eps` is not used. It is added to the variance.",
            _LADDER,
        ),
        Variant(
            "no_biases",
            partial(_attention, biases="none"),
            "The biases are not used, as in timm's layer.",
            _TABLE,
        ),
        Variant(
            "first_bias_dropped",
            partial(_attention, biases="last"),
            "The bias of the first layer is not used. In training the batch norm"
            " removes it, but with fixed statistics it counts.",
            _FORMULA,
        ),
        Variant(
            "input_added",
            partial(_attention, combine="input added"),
            "The input is added. The layer has no residual inside.",
            _TABLE,
        ),
        Variant(
            "logits_added",
            partial(_attention, combine="logits added"),
            "The logits are added and share one sigmoid, as in timm's"
            " `SimpleCoordAttn`. Each gate has a sigmoid of its own; then multiply.",
            _TABLE,
        ),
        Variant(
            "gates_averaged",
            partial(_attention, combine="averaged"),
            "The gates are averaged. Multiply them.",
            _FORMULA,
        ),
        Variant(
            "gate_only",
            partial(_attention, combine="gate only"),
            "This is the gate of each pixel. Multiply the map by it.",
            _FORMULA,
        ),
        Variant(
            "maximum_pooled",
            partial(_attention, pool=partial(_pooled, how="maximum")),
            "Rows and columns are pooled with the maximum. Take the mean.",
            _FORMULA,
        ),
        Variant(
            "summed",
            partial(_attention, pool=partial(_pooled, how="summed")),
            "Rows and columns are summed. Take the mean.",
            _FORMULA,
        ),
        Variant(
            "one_mean",
            partial(_attention, pool=partial(_pooled, how="one mean")),
            "All places have the mean of the whole channel, as in squeeze-and-"
            "excitation. Average each row and each column.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
    gradients=False,  # F.batch_norm has none for given statistics
)

EXERCISES = (
    DIRECTIONAL_POOLING,
    H_SWISH,
    GATE_MAP,
    COORDINATE_PARAMETERS,
    JOINT_NORM,
    FOURTH_CORNER,
    COORDINATE_ATTENTION,
)
