"""Exercises on positions."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.positions import (
    quadratic_encoding_loop,
    relative_logits_2d_loop,
    relative_scores_loop,
    relative_to_absolute_loop,
    sinusoidal_1d_loop,
    sinusoidal_2d_loop,
)

_BOOK = "foundations/positions.html"
_ABSOLUTE = f"{_BOOK}#absolute-a-vector-for-every-place"
_RELATIVE = f"{_BOOK}#relative-a-vector-for-every-offset"
_QUADRATIC = f"{_BOOK}#the-quadratic-encoding"
_LOOP = f"{_BOOK}#the-loop"
_LADDER = f"{_BOOK}#the-ladder"
_MIRRORED = f"{_BOOK}#a-mirrored-offset"
_AXES = f"{_BOOK}#row-scores-on-the-wrong-axes"


# --- sinusoidal_1d and sinusoidal_2d --------------------------------------------


def _sinusoidal_1d(
    length: int,
    dim: int,
    *,
    base: float = 10000.0,
    exponent: Callable[[Tensor, int], Tensor] = lambda channel, dim: (
        2 * (channel // 2) / dim
    ),
    layout: str = "interleaved",
    first: int = 0,
) -> Tensor:
    """The encoding with one switch for each place where it can go wrong."""
    t = torch.arange(first, first + length, dtype=torch.float64)[:, None]
    angle = t / base ** exponent(torch.arange(dim), dim)  # [T, D]
    sine, cosine = angle[:, 0::2].sin(), angle[:, 1::2].cos()
    if layout == "swapped":
        sine, cosine = angle[:, 0::2].cos(), angle[:, 1::2].sin()
    if layout == "blocks":
        return torch.cat([sine, cosine], dim=1)
    return torch.stack([sine, cosine], dim=-1).flatten(1)


SINUSOIDAL_1D = Exercise(
    name="sinusoidal_1d",
    oracle=partial(sinusoidal_1d_loop, dtype=torch.float64),
    draw=lambda random, length, pairs, base=False: (
        {"length": length, "dim": 2 * pairs} | ({"base": 50.0} if base else {})
    ),
    sizes=(
        {"length": 2, "pairs": 1},
        {"length": 3, "pairs": 2},
        {"length": 5, "pairs": 3},
        {"length": 9, "pairs": 4},
        {"length": 6, "pairs": 2, "base": True},
    ),
    variants=(
        Variant(
            "blocks",
            partial(_sinusoidal_1d, layout="blocks"),
            "All sines come first, then all cosines. Here they alternate: sine at even"
            " channels, cosine at odd ones. (Some libraries do use blocks.)",
            _ABSOLUTE,
        ),
        Variant(
            "sine_and_cosine_swapped",
            partial(_sinusoidal_1d, layout="swapped"),
            "The cosine stands at the even channels. It is the sine that does.",
            _ABSOLUTE,
        ),
        Variant(
            "exponent_halved",
            partial(_sinusoidal_1d, exponent=lambda channel, dim: channel // 2 / dim),
            "The exponent is i/D. It is 2i/D, where i counts pairs of channels.",
            _ABSOLUTE,
        ),
        Variant(
            "exponent_of_channel",
            partial(_sinusoidal_1d, exponent=lambda channel, dim: channel / dim),
            "Sine and cosine of a pair have different frequencies. Both use 2i/D, where"
            " i counts pairs.",
            _ABSOLUTE,
        ),
        Variant(
            "exponent_sign",
            partial(
                _sinusoidal_1d, exponent=lambda channel, dim: -2 * (channel // 2) / dim
            ),
            "The position is multiplied by base^(2i/D). Divide by it: later channels"
            " turn more slowly.",
            _ABSOLUTE,
        ),
        Variant(
            "no_frequencies",
            partial(_sinusoidal_1d, exponent=lambda channel, dim: 0.0 * channel),
            "All channels turn at the same speed. Divide the position by base^(2i/D).",
            _ABSOLUTE,
        ),
        Variant(
            "starts_at_one",
            partial(_sinusoidal_1d, first=1),
            "The first position is 1. Count from 0.",
            _ABSOLUTE,
        ),
        Variant(
            "base_ignored",
            lambda length, dim, *, base=10000.0: _sinusoidal_1d(length, dim),
            "The argument `base` is not used.",
            _ABSOLUTE,
        ),
    ),
    section=_LOOP,
    gradients=False,
    any_float=True,
)


def _sinusoidal_2d(
    height: int,
    width: int,
    dim: int,
    *,
    base: float = 10000.0,
    half: int | None = None,
    first: str = "row",
) -> Tensor:
    """Rows in one half of the channels, columns in the other."""
    wide = partial(_sinusoidal_1d, dim=dim // 2 if half is None else half, base=base)
    rows = wide(height)[:, : dim // 2].mT[:, :, None].expand(-1, -1, width)
    columns = wide(width)[:, : dim // 2].mT[:, None].expand(-1, height, -1)
    return torch.cat([rows, columns] if first == "row" else [columns, rows])


def _added(height: int, width: int, dim: int, *, base: float = 10000.0) -> Tensor:
    rows = _sinusoidal_1d(height, dim, base=base).mT[:, :, None]
    return rows + _sinusoidal_1d(width, dim, base=base).mT[:, None]


SINUSOIDAL_2D = Exercise(
    name="sinusoidal_2d",
    oracle=partial(sinusoidal_2d_loop, dtype=torch.float64),
    draw=lambda random, height, width, fours, base=False: (
        {"height": height, "width": width, "dim": 4 * fours}
        | ({"base": 50.0} if base else {})
    ),
    sizes=(
        {"height": 1, "width": 2, "fours": 1},
        {"height": 2, "width": 3, "fours": 2},
        {"height": 3, "width": 3, "fours": 1},
        {"height": 5, "width": 4, "fours": 3},
        {"height": 3, "width": 4, "fours": 2, "base": True},
    ),
    variants=(
        Variant(
            "row_and_column_swapped",
            partial(_sinusoidal_2d, first="column"),
            "The first half of the channels holds the column. It holds the row.",
            _ABSOLUTE,
        ),
        Variant(
            "axes_swapped",
            lambda height, width, dim, *, base=10000.0: _sinusoidal_2d(
                width, height, dim, base=base
            ),
            "Height and width are exchanged: the result is [D, W, H].",
            _ABSOLUTE,
        ),
        Variant(
            "added",
            _added,
            "Row and column encodings are added over all channels. Here each has its"
            " own half, so that they can be told apart.",
            _ABSOLUTE,
        ),
        Variant(
            "frequencies_of_full_width",
            lambda height, width, dim, *, base=10000.0: _sinusoidal_2d(
                height, width, dim, base=base, half=dim
            ),
            "The frequencies are those of width D, cut in half. Each half is a whole"
            " encoding of width D/2.",
            _ABSOLUTE,
        ),
        Variant(
            "channels_last",
            lambda height, width, dim, *, base=10000.0: _sinusoidal_2d(
                height, width, dim, base=base
            ).permute(1, 2, 0),
            "The channels come last: [H, W, D]. Maps are [D, H, W] here.",
            _ABSOLUTE,
        ),
        Variant(
            "base_ignored",
            lambda height, width, dim, *, base=10000.0: _sinusoidal_2d(
                height, width, dim
            ),
            "The argument `base` is not used.",
            _ABSOLUTE,
        ),
    ),
    section=_LOOP,
    gradients=False,
    any_float=True,
)


# --- relative_to_absolute -------------------------------------------------------


def _skew(x: Tensor) -> Tensor:
    """The re-cut memory of the skew, [..., L+1, 2L-1], before the last slice."""
    L = x.shape[-2]
    x = F.pad(F.pad(x, (0, 1)).flatten(-2), (0, L - 1))
    return x.reshape(*x.shape[:-1], L + 1, 2 * L - 1)


def _gather(x: Tensor, sign: int = 1, extra: int = 0) -> Tensor:
    """Column sign * (j - i) + L - 1 + extra of row i; a negative column wraps."""
    L = x.shape[-2]
    place = torch.arange(L)
    column = sign * (place - place[:, None]) + L - 1 + extra  # [L, L]
    return x[..., place[:, None], column % (2 * L - 1)]


RELATIVE_TO_ABSOLUTE = Exercise(
    name="relative_to_absolute",
    oracle=relative_to_absolute_loop,
    draw=lambda random, L, axes=0: {"x": random.normal(*(2, 3)[:axes], L, 2 * L - 1)},
    sizes=(
        {"L": 1},
        {"L": 2},
        {"L": 3},
        {"L": 4, "axes": 1},
        {"L": 5, "axes": 2},
    ),
    variants=(
        Variant(
            "mirrored",
            partial(_gather, sign=-1),
            "The offset is mirrored: query minus key. Offsets are key minus query, so"
            " the column is j - i + L - 1.",
            _MIRRORED,
        ),
        Variant(
            "transposed",
            lambda x: _gather(x).mT,
            "The result is transposed. Rows are queries, columns are keys.",
            _LADDER,
        ),
        Variant(
            "not_skewed",
            lambda x: x[..., x.shape[-2] - 1 :],
            "Every row takes the same columns. Row i starts i places further to the"
            " left: the column is j - i + L - 1.",
            _RELATIVE,
            also=(lambda x: x[..., : x.shape[-2]],),
        ),
        Variant(
            "one_to_the_left",
            lambda x: _skew(x)[..., : x.shape[-2], x.shape[-2] - 2 : -1],
            "Everything is one offset too small. Offset 0 stands in column L - 1.",
            _LADDER,
            also=(partial(_gather, extra=-1),),
        ),
        Variant(
            "one_to_the_right",
            partial(_gather, extra=1),
            "Everything is one offset too large. Offset 0 stands in column L - 1.",
            _LADDER,
            also=(
                lambda x: _skew(F.pad(x, (0, 1))[..., 1:])[
                    ..., : x.shape[-2], x.shape[-2] - 1 :
                ],
            ),
        ),
        Variant(
            "wrong_columns_kept",
            lambda x: _skew(x)[..., : x.shape[-2], : x.shape[-2]],
            "The skew is right, but the first L columns are kept. Keep the last L.",
            _LADDER,
        ),
        Variant(
            "wrong_rows_kept",
            lambda x: _skew(x)[..., 1:, x.shape[-2] - 1 :],
            "The skew is right, but the last L rows are kept. Keep the first L.",
            _LADDER,
        ),
    ),
    section=_LOOP,
)


# --- relative_logits_2d ---------------------------------------------------------

Places = tuple[Tensor, Tensor, Tensor, Tensor]
Offsets = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _places(height: int, width: int) -> Places:
    """Query (i, j) and key (a, b), each shaped to broadcast to [H, W, H, W]."""
    rows, columns = torch.arange(height), torch.arange(width)
    return (
        rows[:, None, None, None],
        columns[:, None, None],
        rows[:, None],
        columns,
    )


def _logits_2d(
    q: Tensor,
    rel_height: Tensor,
    rel_width: Tensor,
    *,
    offsets: Offsets = lambda i, j, a, b: (a - i, b - j),
    square: bool = False,
    parts: tuple[int, int] = (1, 1),
) -> Tensor:
    """Logits [B, N, H, W, H, W] for a choice of offsets."""
    H, W = q.shape[2:4]
    if square and H != W:
        raise ValueError(f"this mistake only runs on square maps, got {H} x {W}")
    row, column = offsets(*_places(H, W))
    r = parts[0] * rel_height[row + H - 1] + parts[1] * rel_width[column + W - 1]
    return torch.einsum("bnijd,ijacd->bnijac", q, r.expand(H, W, H, W, -1))


def _flat(logits: Tensor) -> Tensor:
    return logits.flatten(4).flatten(2, 3)


def _relative(
    q: Tensor,
    rel_height: Tensor,
    rel_width: Tensor,
    *,
    offsets: Offsets = lambda i, j, a, b: (a - i, b - j),
    square: bool = False,
    parts: tuple[int, int] = (1, 1),
    order: tuple[int, ...] = (0, 1, 2, 3, 4, 5),
) -> Tensor:
    logits = _logits_2d(
        q, rel_height, rel_width, offsets=offsets, square=square, parts=parts
    )
    return _flat(logits.permute(order))


def _tables_swapped(q: Tensor, rel_height: Tensor, rel_width: Tensor) -> Tensor:
    return _relative(q, rel_width, rel_height, square=True)


def _query_row_lost(q: Tensor, rel_height: Tensor, rel_width: Tensor) -> Tensor:
    """Height logits computed on the transposed queries and never transposed back."""
    along = _logits_2d(q, rel_height, rel_width, square=True, parts=(1, 0))
    return _flat(
        along.transpose(2, 3) + _logits_2d(q, rel_height, rel_width, parts=(0, 1))
    )


def _rows_on_column_axes(q: Tensor, rel_height: Tensor, rel_width: Tensor) -> Tensor:
    """As above, and the logits of the key's row put on the axis of its column.

    At query (i, j) and key (a, b) the height term is q[j, i] . r_h[b - j]. This is
    the published form of the mistake.
    """
    rows = _logits_2d(
        q,
        rel_height,
        rel_width,
        offsets=lambda i, j, a, b: (b - i, b - j),
        square=True,
        parts=(1, 0),
    )
    return _flat(
        rows.transpose(2, 3) + _logits_2d(q, rel_height, rel_width, parts=(0, 1))
    )


RELATIVE_LOGITS_2D = Exercise(
    name="relative_logits_2d",
    oracle=relative_logits_2d_loop,
    draw=lambda random, B, N, H, W, D: {
        "q": random.normal(B, N, H, W, D),
        "rel_height": random.normal(2 * H - 1, D),
        "rel_width": random.normal(2 * W - 1, D),
    },
    sizes=(
        {"B": 1, "N": 1, "H": 1, "W": 2, "D": 1},
        {"B": 1, "N": 1, "H": 2, "W": 2, "D": 2},
        {"B": 2, "N": 2, "H": 3, "W": 3, "D": 2},
        {"B": 1, "N": 3, "H": 3, "W": 2, "D": 3},
        {"B": 2, "N": 1, "H": 2, "W": 4, "D": 2},
    ),
    variants=(
        Variant(
            "height_ignores_key_row",
            partial(_relative, offsets=lambda i, j, a, b: (b - i, b - j), square=True),
            "The height logits stand on the wrong axis: they vary with the key's"
            " column and not with its row. Give them the shape [H, W, H, 1].",
            _AXES,
            also=(_rows_on_column_axes,),
        ),
        Variant(
            "height_ignores_query_row",
            partial(_relative, offsets=lambda i, j, a, b: (a - j, b - j), square=True),
            "The height logits use the query's column. Exchange the axes H and W of"
            " `q` before the table of the height, and back afterwards.",
            _AXES,
        ),
        Variant(
            "query_not_transposed_back",
            _query_row_lost,
            "The height logits are computed on queries with H and W exchanged and"
            " added without exchanging them back.",
            _AXES,
        ),
        Variant(
            "rows_and_columns_swapped",
            _tables_swapped,
            "The two tables are swapped: `rel_height` belongs to the row offset a - i,"
            " `rel_width` to the column offset b - j.",
            _AXES,
        ),
        Variant(
            "mirrored",
            partial(_relative, offsets=lambda i, j, a, b: (i - a, j - b)),
            "Both offsets are mirrored: query minus key. They are key minus query.",
            _MIRRORED,
        ),
        Variant(
            "rows_mirrored",
            partial(_relative, offsets=lambda i, j, a, b: (i - a, b - j)),
            "The row offset is mirrored. It is key minus query, a - i.",
            _MIRRORED,
        ),
        Variant(
            "columns_mirrored",
            partial(_relative, offsets=lambda i, j, a, b: (a - i, j - b)),
            "The column offset is mirrored. It is key minus query, b - j.",
            _MIRRORED,
        ),
        Variant(
            "column_major_tokens",
            partial(_relative, order=(0, 1, 3, 2, 5, 4)),
            "Tokens are counted column by column. They are counted row by row:"
            " token i*W + j.",
            _LADDER,
            also=(
                partial(_relative, order=(0, 1, 2, 3, 5, 4)),
                partial(_relative, order=(0, 1, 3, 2, 4, 5)),
            ),
        ),
        Variant(
            "transposed",
            lambda q, rel_height, rel_width: _relative(q, rel_height, rel_width).mT,
            "The result is transposed. Rows are queries, columns are keys.",
            _RELATIVE,
        ),
        Variant(
            "height_missing",
            partial(_relative, parts=(0, 1)),
            "The row offset has no effect. Add the logits of `rel_height`.",
            _RELATIVE,
        ),
        Variant(
            "width_missing",
            partial(_relative, parts=(1, 0)),
            "The column offset has no effect. Add the logits of `rel_width`.",
            _RELATIVE,
        ),
        Variant(
            "scaled",
            lambda q, rel_height, rel_width: _relative(
                q * q.shape[-1] ** -0.5, rel_height, rel_width
            ),
            "The logits are divided by sqrt(D). This function uses `q` as it is given;"
            " the caller scales it.",
            _RELATIVE,
        ),
    ),
    section=_LOOP,
)


# --- relative_scores ------------------------------------------------------------


def _draw_scores(random: Draw, B: int, N: int, T: int, S: int, D: int) -> Inputs:
    return {
        "q": random.normal(B, N, T, D),
        "k": random.normal(B, N, S, D),
        "r": random.normal(N, T, S, D),
        "u": random.normal(N, D),
        "v": random.normal(N, D),
    }


def _scores(
    q: Tensor,
    k: Tensor,
    r: Tensor,
    u: Tensor,
    v: Tensor,
    *,
    factors: tuple[int, int, int, int] = (1, 1, 1, 1),
) -> Tensor:
    """The four terms, each with a factor."""
    terms = (
        q @ k.mT,
        torch.einsum("bntd,ntsd->bnts", q, r),
        torch.einsum("nd,bnsd->bns", u, k)[:, :, None],
        torch.einsum("nd,ntsd->nts", v, r),
    )
    total = torch.zeros(())
    for factor, term in zip(factors, terms, strict=True):
        total = total + factor * term
    return total.expand(*q.shape[:-1], k.shape[-2])


def _u_meets_query(q: Tensor, k: Tensor, r: Tensor, u: Tensor, v: Tensor) -> Tensor:
    asked = torch.einsum("nd,bntd->bnt", u, q)[..., None]
    return _scores(q, k, r, u, v, factors=(1, 1, 0, 1)) + asked


RELATIVE_SCORES = Exercise(
    name="relative_scores",
    oracle=relative_scores_loop,
    draw=_draw_scores,
    sizes=(
        {"B": 1, "N": 1, "T": 1, "S": 2, "D": 1},
        {"B": 1, "N": 1, "T": 2, "S": 2, "D": 2},
        {"B": 1, "N": 2, "T": 3, "S": 3, "D": 3},
        {"B": 2, "N": 3, "T": 2, "S": 4, "D": 2},
    ),
    variants=(
        Variant(
            "u_and_v_swapped",
            lambda q, k, r, u, v: _scores(q, k, r, v, u),
            "`u` and `v` are exchanged. `u` meets the content of the key, `v` its"
            " position.",
            _RELATIVE,
        ),
        Variant(
            "content_missing",
            partial(_scores, factors=(0, 1, 1, 1)),
            "The first term, `q` times `k`, is missing.",
            _RELATIVE,
        ),
        Variant(
            "position_missing",
            partial(_scores, factors=(1, 0, 1, 1)),
            "The second term, `q` times `r`, is missing.",
            _RELATIVE,
        ),
        Variant(
            "content_bias_missing",
            partial(_scores, factors=(1, 1, 0, 1)),
            "The third term, `u` times `k`, is missing.",
            _RELATIVE,
        ),
        Variant(
            "position_bias_missing",
            partial(_scores, factors=(1, 1, 1, 0)),
            "The fourth term, `v` times `r`, is missing.",
            _RELATIVE,
        ),
        Variant(
            "both_biases_missing",
            partial(_scores, factors=(1, 1, 0, 0)),
            "The terms of the head are missing: `u` times `k` and `v` times `r`.",
            _RELATIVE,
        ),
        Variant(
            "u_meets_query",
            _u_meets_query,
            "`u` is multiplied by the query. That is one number for all keys, which"
            " the softmax cancels. `u` meets the key.",
            _RELATIVE,
        ),
        Variant(
            "one_bias_for_all_heads",
            lambda q, k, r, u, v: _scores(
                q, k, r, u[:1].expand_as(u), v[:1].expand_as(v)
            ),
            "All heads use `u` and `v` of the first head. Each has its own.",
            _RELATIVE,
        ),
        Variant(
            "offsets_mirrored",
            lambda q, k, r, u, v: _scores(q, k, r.transpose(1, 2), u, v),
            "`r` is read with query and key exchanged, so offsets are mirrored. Its"
            " axes are [N, T, S, D].",
            _MIRRORED,
        ),
        Variant(
            "scaled",
            lambda q, k, r, u, v: _scores(q, k, r, u, v) * q.shape[-1] ** -0.5,
            "The sum is divided by sqrt(D). Equation 8 has no scale; the caller"
            " applies it.",
            _RELATIVE,
        ),
    ),
    section=_LOOP,
)


# --- quadratic_encoding ---------------------------------------------------------


def _with_first(first: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def encode(offsets: Tensor) -> Tensor:
        return torch.cat([first(offsets), offsets], dim=-1)

    return encode


def _squared(offsets: Tensor) -> Tensor:
    return offsets.square().sum(-1, keepdim=True)


QUADRATIC_ENCODING = Exercise(
    name="quadratic_encoding",
    oracle=quadratic_encoding_loop,
    draw=lambda random, rows, axes=1: {
        "offsets": random.integers(-3, 3, *(rows, 2, 3)[:axes], 2).double()
        + 0.1 * random.normal(*(rows, 2, 3)[:axes], 2)
    },
    sizes=(
        {"rows": 1},
        {"rows": 3},
        {"rows": 3, "axes": 2},
        {"rows": 2, "axes": 3},
    ),
    variants=(
        Variant(
            "distance",
            _with_first(lambda offsets: _squared(offsets).sqrt()),
            "The first number is the distance. It is the square of the distance.",
            _QUADRATIC,
        ),
        Variant(
            "absolute_values",
            _with_first(lambda offsets: offsets.abs().sum(-1, keepdim=True)),
            "The first number is |d1| + |d2|. It is d1^2 + d2^2.",
            _QUADRATIC,
        ),
        Variant(
            "square_of_sum",
            _with_first(lambda offsets: offsets.sum(-1, keepdim=True).square()),
            "The first number is (d1 + d2)^2. Square first, then add.",
            _QUADRATIC,
        ),
        Variant(
            "square_last",
            lambda offsets: torch.cat([offsets, _squared(offsets)], dim=-1),
            "The square comes last. The order is (|d|^2, d1, d2).",
            _QUADRATIC,
        ),
        Variant(
            "row_and_column_swapped",
            lambda offsets: torch.cat([_squared(offsets), offsets.flip(-1)], dim=-1),
            "d1 and d2 are exchanged: the row offset comes before the column offset.",
            _QUADRATIC,
        ),
        Variant(
            "mirrored",
            lambda offsets: torch.cat([_squared(offsets), -offsets], dim=-1),
            "d1 and d2 have the wrong sign.",
            _QUADRATIC,
        ),
    ),
    section=_QUADRATIC,
)


# --- relative_offsets_2d --------------------------------------------------------


def relative_offsets_2d(height: int, width: int) -> Tensor:
    """Offsets key - query, [H*W, H*W, 2] = (row, column), tokens row by row."""
    pixels = [(i, j) for i in range(height) for j in range(width)]
    offsets = [[(a - i, b - j) for a, b in pixels] for i, j in pixels]
    return torch.tensor(offsets)


def _column_major(height: int, width: int) -> Tensor:
    order = torch.arange(height * width).reshape(height, width).mT.flatten()
    return relative_offsets_2d(height, width)[order][:, order]


RELATIVE_OFFSETS_2D = Exercise(
    name="relative_offsets_2d",
    oracle=relative_offsets_2d,
    draw=lambda random, height, width: {"height": height, "width": width},
    sizes=(
        {"height": 1, "width": 2},
        {"height": 2, "width": 2},
        {"height": 3, "width": 2},
        {"height": 3, "width": 4},
    ),
    variants=(
        Variant(
            "mirrored",
            lambda height, width: -relative_offsets_2d(height, width),
            "The offsets are query minus key. They are key minus query.",
            _MIRRORED,
        ),
        Variant(
            "row_and_column_swapped",
            lambda height, width: relative_offsets_2d(height, width).flip(-1),
            "The column offset comes first. The order is (row, column).",
            _LOOP,
        ),
        Variant(
            "column_major_tokens",
            _column_major,
            "Tokens are counted column by column. They are counted row by row:"
            " token i*W + j.",
            _LOOP,
        ),
        Variant(
            "height_and_width_swapped",
            lambda height, width: relative_offsets_2d(width, height),
            "Height and width are exchanged.",
            _RELATIVE,
        ),
        Variant(
            "absolute_values",
            lambda height, width: relative_offsets_2d(height, width).abs(),
            "The sign is lost. A key to the left and one to the right have different"
            " offsets.",
            _RELATIVE,
        ),
    ),
    section=_RELATIVE,
    gradients=False,
)

EXERCISES = (
    SINUSOIDAL_1D,
    SINUSOIDAL_2D,
    RELATIVE_OFFSETS_2D,
    RELATIVE_TO_ABSOLUTE,
    RELATIVE_LOGITS_2D,
    RELATIVE_SCORES,
    QUADRATIC_ENCODING,
)
