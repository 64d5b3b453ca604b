"""Exercises on attention that is a convolution, and on what its heads look at.

Shapes: B batch, C input channels, D output channels, H W map, I J output map, K kernel,
N heads. Centres and offsets are (row, column), key minus query.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visattn.exercises._declare import Draw, Exercise, Function, Inputs, Variant
from visattn.mechanisms.convolution import (
    QuadraticAttention2d,
    quadratic_attention_loop,
    separable_attention_loop,
)

_THEOREM = "equivalence/theorem.html"
_THEOREM_FORMULA = f"{_THEOREM}#the-formula"
_THEOREM_HAND = f"{_THEOREM}#by-hand"
_THEOREM_LOOP = f"{_THEOREM}#the-loop"
_THEOREM_LADDER = f"{_THEOREM}#the-ladder"
_THEOREM_COST = f"{_THEOREM}#the-cost"
_THEOREM_PROVE = f"{_THEOREM}#prove-it"
_THEOREM_WRONG = f"{_THEOREM}#right-shape-still-wrong"

_HEADS = "equivalence/heads.html"
_HEADS_FORMULA = f"{_HEADS}#the-formula"
_HEADS_HAND = f"{_HEADS}#by-hand"
_HEADS_LOOP = f"{_HEADS}#the-loop"
_HEADS_LADDER = f"{_HEADS}#the-ladder"
_HEADS_COST = f"{_HEADS}#the-cost"
_HEADS_WRONG = f"{_HEADS}#right-shape-still-wrong"
_HEADS_MODULE = f"{_HEADS}#the-module"


# ========================== from kernel to attention ============================
# --- head_centers ---------------------------------------------------------------


def head_centers(kernel_size: int, dilation: int) -> Tensor:
    """Centre (row, column) of each head of a K x K kernel, row by row: [K*K, 2]."""
    K, middle = kernel_size, kernel_size // 2
    return torch.tensor(
        [
            (dilation * (n // K - middle), dilation * (n % K - middle))
            for n in range(K * K)
        ]
    )


HEAD_CENTERS = Exercise(
    name="head_centers",
    oracle=head_centers,
    draw=lambda random, reach, dilation: {
        "kernel_size": 2 * reach + 1,
        "dilation": dilation,
    },
    sizes=(
        {"reach": 1, "dilation": 1},
        {"reach": 0, "dilation": 1},
        {"reach": 1, "dilation": 2},
        {"reach": 2, "dilation": 1},
        {"reach": 2, "dilation": 3},
        {"reach": 3, "dilation": 2},
    ),
    variants=(
        Variant(
            "row_and_column_exchanged",
            lambda kernel_size, dilation: head_centers(kernel_size, dilation).flip(-1),
            "Rows and columns are exchanged. Heads are counted row by row: head n has"
            " row n // K and column n % K.",
            _THEOREM_WRONG,
        ),
        Variant(
            "mirrored",
            lambda kernel_size, dilation: -head_centers(kernel_size, dilation),
            "The centres are mirrored. They are key minus query: the first place of"
            " the kernel lies above and to the left.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "not_centred",
            lambda kernel_size, dilation: (
                head_centers(kernel_size, dilation) + dilation * (kernel_size // 2)
            ),
            "The centres start at the query. The kernel is centred on it: subtract"
            " K // 2 from row and column.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "dilation_ignored",
            lambda kernel_size, dilation: head_centers(kernel_size, 1),
            "The dilation is not used. It multiplies every centre.",
            _THEOREM_PROVE,
        ),
        Variant(
            "middle_not_dilated",
            lambda kernel_size, dilation: (
                head_centers(kernel_size, dilation)
                + (dilation - 1) * (kernel_size // 2)
            ),
            "The place is multiplied by the dilation, the middle of the kernel is not."
            " Subtract K // 2 first, then multiply.",
            _THEOREM_PROVE,
        ),
        Variant(
            "dilation_counted_as_gap",
            lambda kernel_size, dilation: head_centers(kernel_size, dilation + 1),
            "The dilation is read as the number of pixels left out. It is the step"
            " between two places: dilation 1 means neighbours.",
            _THEOREM_PROVE,
        ),
        Variant(
            "half_a_pixel_off",
            lambda kernel_size, dilation: (
                head_centers(kernel_size, dilation) - 0.5 * dilation
            ),
            "All centres are half a step off: the middle is K / 2. Use the whole"
            " number K // 2.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "last_place_missing",
            lambda kernel_size, dilation: (
                head_centers(kernel_size, dilation)
                .reshape(kernel_size, kernel_size, 2)[:-1, :-1]
                .flatten(0, 1)
            ),
            "The last row and the last column of the kernel are missing. `range` stops"
            " before its end: use `range(K)`, then subtract K // 2.",
            _THEOREM_HAND,
        ),
        Variant(
            "places_not_flattened",
            lambda kernel_size, dilation: head_centers(kernel_size, dilation).reshape(
                kernel_size, kernel_size, 2
            ),
            "The centres stand in a grid [K, K, 2]. List them row by row: [K*K, 2].",
            _THEOREM_FORMULA,
        ),
        Variant(
            "rows_and_columns_apart",
            lambda kernel_size, dilation: head_centers(kernel_size, dilation).mT,
            "There is one row of all row offsets and one of all column offsets. Give"
            " each head its own pair: [K*K, 2].",
            _THEOREM_FORMULA,
            also=(
                lambda kernel_size, dilation: head_centers(
                    kernel_size, dilation
                ).mT.flip(0),
            ),
        ),
    ),
    section=_THEOREM_FORMULA,
    gradients=False,
)


# --- quadratic_vector_1d --------------------------------------------------------


def quadratic_vector_1d(center: float, alpha: float) -> Tensor:
    """The vector v [2] with v . (d^2, d) = -alpha (d - center)^2 + a constant."""
    return _vector(-alpha, 2 * alpha * center)


def _vector(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


QUADRATIC_VECTOR_1D = Exercise(
    name="quadratic_vector_1d",
    oracle=quadratic_vector_1d,
    draw=lambda random, place, sharpness: {
        "center": place - 2.5,
        "alpha": 0.75 * sharpness,
    },
    sizes=(
        {"place": 4, "sharpness": 1},
        {"place": 1, "sharpness": 2},
        {"place": 2, "sharpness": 4},
        {"place": 7, "sharpness": 3},
    ),
    variants=(
        Variant(
            "sign_forgotten",
            lambda center, alpha: _vector(alpha, -2 * alpha * center),
            "The sign is turned: the score would be smallest at the centre. It is"
            " minus alpha times the squared distance.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "mirrored",
            lambda center, alpha: _vector(-alpha, -2 * alpha * center),
            "The largest score lies at -center. Multiply out -alpha (d - center)^2:"
            " the term in d is +2 alpha center d.",
            _THEOREM_HAND,
        ),
        Variant(
            "factor_two_forgotten",
            lambda center, alpha: _vector(-alpha, alpha * center),
            "The factor 2 of the middle term is missing, so the largest score lies at"
            " half the centre.",
            _THEOREM_HAND,
        ),
        Variant(
            "order_exchanged",
            lambda center, alpha: _vector(2 * alpha * center, -alpha),
            "The two numbers are exchanged. The first one meets d^2, the second d.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "halved",
            lambda center, alpha: _vector(-alpha / 2, alpha * center),
            "The score has a factor 1/2 in front. That one belongs to the spread:"
            " alpha = s^2 / 2 holds it already.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "alpha_on_the_square_only",
            lambda center, alpha: _vector(-alpha, 2 * center),
            "Alpha multiplies only one term. It stands in front of the bracket, so it"
            " multiplies both.",
            _THEOREM_HAND,
            also=(lambda center, alpha: _vector(-1.0, 2 * alpha * center),),
        ),
        Variant(
            "alpha_ignored",
            lambda center, alpha: _vector(-1.0, 2 * center),
            "Alpha is not used. It says how hard the head looks.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "constant_kept",
            lambda center, alpha: _vector(
                -alpha, 2 * alpha * center, -alpha * center**2
            ),
            "The constant -alpha center^2 is kept. The softmax does not see what all"
            " keys share, so two numbers are enough.",
            _THEOREM_HAND,
            also=(
                lambda center, alpha: _vector(
                    -alpha * center**2, 2 * alpha * center, -alpha
                ),
            ),
        ),
        Variant(
            "two_dimensional",
            lambda center, alpha: _vector(-alpha, 2 * alpha * center, 0.0),
            "This vector is for an image: (|d|^2, row, column). A line has one"
            " direction, so two numbers are enough.",
            _THEOREM_FORMULA,
            also=(
                lambda center, alpha: _vector(
                    -alpha, 2 * alpha * center, 2 * alpha * center
                ),
            ),
        ),
    ),
    section=_THEOREM_HAND,
    gradients=False,
    any_float=True,
)


# --- attention maps with a switch for each mistake ------------------------------


_ALPHA: dict[str, Callable[[Tensor], Tensor]] = {
    "half the square": lambda spreads: spreads.square() / 2,
    "half": lambda spreads: spreads / 2,
    "the square": lambda spreads: spreads.square(),
    "the spread": lambda spreads: spreads,
    "inverse": lambda spreads: 1 / (2 * spreads.square()),
    "negative": lambda spreads: -spreads.square() / 2,
}

_FAR = 40  # offsets beyond this have no weight, whatever the drawn spread


def _maps(
    centers: Tensor,
    spreads: Tensor,
    height: int,
    width: int,
    *,
    alpha: str = "half the square",
    sign: int = 1,
    centre: str = "row, column",
    query: str = "used",
    root: bool = False,
    over: str = "keys",
    reach: int | None = None,
) -> Tensor:
    """Maps [N, H, W, H, W] of quadratic heads, with the mistakes as switches."""
    decay = _ALPHA[alpha](spreads)
    if centre == "column, row":
        centers = centers.flip(-1)
    if centre == "ignored":
        centers = 0 * centers
    d1, d2 = (
        _distances(centers[:, axis], size, sign, query, reach)
        for axis, size in enumerate((height, width))
    )
    squared = d1[:, :, None, :, None].square() + d2[:, None, :, None, :].square()
    logits = -decay[:, None, None, None, None] * (squared.sqrt() if root else squared)
    if over in ("whole plane", "offset table", "density"):
        total = _total(centers, decay, over, height, width)
        return logits.exp() / total[:, None, None, None, None]
    if over == "keys":
        return logits.flatten(3).softmax(-1).view_as(logits)
    if over == "queries":
        return logits.flatten(1, 2).softmax(1).view_as(logits)
    if over in ("nothing", "logits"):
        return logits.exp() if over == "nothing" else logits
    return logits.softmax({"heads": 0, "key rows": 3, "key columns": 4}[over])


def _distances(
    centre: Tensor, size: int, sign: int, query: str, reach: int | None
) -> Tensor:
    """Offset minus centre on a line, [N, query, key]; infinite beyond the reach."""
    place = torch.arange(size, dtype=centre.dtype)
    offset = sign * (place - place[:, None] * (query == "used"))
    distance = offset - centre[:, None, None]
    if reach is None:
        return distance
    return distance.masked_fill(offset.abs() > reach, math.inf)


def _total(
    centers: Tensor, decay: Tensor, over: str, height: int, width: int
) -> Tensor:
    """The sum [N] of all weights of a head that does not know the image's border."""
    if over == "density":
        return math.pi / decay
    ends = (_FAR, _FAR) if over == "whole plane" else (height - 1, width - 1)
    lines = []
    for axis, end in enumerate(ends):
        offset = torch.arange(-end, end + 1, dtype=centers.dtype)
        squared = (offset - centers[:, axis, None]).square()
        lines.append((-decay[:, None] * squared).exp().sum(-1))
    return lines[0] * lines[1]


def _map_variants(
    wrong: Callable[..., Function], formula: str, loop: str, trap: str
) -> tuple[Variant, ...]:
    """The mistakes in the weights: `wrong(**switches)` makes a function of them."""
    return (
        Variant(
            "row_and_column_exchanged",
            wrong(centre="column, row"),
            "Row and column of the centres are exchanged. `centers[n]` is (row,"
            " column), and the row runs along the first axis of the map.",
            trap,
        ),
        Variant(
            "mirrored",
            wrong(sign=-1),
            "The heads look in the opposite direction. The offset is key minus query:"
            " (a - i, b - j).",
            formula,
        ),
        Variant(
            "query_and_key_exchanged",
            wrong(sign=-1, over="queries"),
            "Query and key are exchanged in the maps. The first two pixel axes are the"
            " query; the weights of the last two sum to 1.",
            formula,
        ),
        Variant(
            "softmax_over_queries",
            wrong(over="queries"),
            "The softmax runs over the queries. For each query the weights of the keys"
            " sum to 1: take the last two axes.",
            formula,
        ),
        Variant(
            "softmax_over_one_axis",
            wrong(over="key columns"),
            "The softmax runs over one axis of the keys. All pixels share one softmax:"
            " flatten the last two axes first.",
            formula,
            also=(wrong(over="key rows"),),
        ),
        Variant(
            "softmax_over_heads",
            wrong(over="heads"),
            "The softmax runs over the heads. Each head has its own softmax, over the"
            " keys.",
            formula,
        ),
        Variant(
            "border_not_renormalised",
            wrong(over="whole plane"),
            "The weights are those of an endless image, so near the border they do not"
            " sum to 1. The softmax runs over the pixels that exist.",
            loop,
            also=(wrong(over="offset table"), wrong(over="density")),
        ),
        Variant(
            "not_normalised",
            wrong(over="nothing"),
            "The weights are exponentials that do not sum to 1. Divide by their sum"
            " over all keys: that is the softmax.",
            formula,
        ),
        Variant(
            "no_softmax",
            wrong(over="logits"),
            "The logits are used as weights. Take the softmax over all keys.",
            formula,
        ),
        Variant(
            "spread_not_squared",
            wrong(alpha="half"),
            "The spread is not squared: alpha = s^2 / 2.",
            formula,
        ),
        Variant(
            "half_forgotten",
            wrong(alpha="the square"),
            "The factor 1/2 is missing: alpha = s^2 / 2.",
            formula,
        ),
        Variant(
            "spread_used_as_alpha",
            wrong(alpha="the spread"),
            "The spread itself stands where alpha should stand: alpha = s^2 / 2.",
            formula,
        ),
        Variant(
            "spread_inverted",
            wrong(alpha="inverse"),
            "The squared distance is divided by s^2, as for a standard deviation. Here"
            " s is its inverse: multiply by s^2 / 2.",
            formula,
        ),
        Variant(
            "sign_forgotten",
            wrong(alpha="negative"),
            "The far pixels win. The logit is minus alpha times the squared distance.",
            formula,
        ),
        Variant(
            "distance_not_squared",
            wrong(root=True),
            "The logit uses the distance. It is the squared distance.",
            formula,
        ),
        Variant(
            "centre_ignored",
            wrong(centre="ignored"),
            "Every head looks at the query itself. Subtract its centre from the"
            " offset; the term that holds both decides.",
            formula,
        ),
        Variant(
            "query_ignored",
            wrong(query="ignored"),
            "All queries look at the same pixel. The centre is an offset from the"
            " query: compare it with (a - i, b - j).",
            formula,
        ),
    )


# --- quadratic_maps -------------------------------------------------------------


def quadratic_maps(centers: Tensor, spreads: Tensor, height: int, width: int) -> Tensor:
    """Weights [N, H, W, H, W] of heads with centres [N, 2] and spreads [N]."""
    maps = []
    for centre, spread in zip(centers, spreads, strict=True):
        for i in range(height):
            for j in range(width):
                logits = [
                    -(spread**2)
                    / 2
                    * ((a - i - centre[0]) ** 2 + (b - j - centre[1]) ** 2)
                    for a in range(height)
                    for b in range(width)
                ]
                maps.append(torch.softmax(torch.stack(logits), dim=0))
    return torch.stack(maps).reshape(-1, height, width, height, width)


def _draw_heads(random: Draw, N: int) -> Inputs:
    return {
        "centers": 1.3 * random.normal(N, 2),
        "spreads": 0.6 + random.uniform(N),
    }


QUADRATIC_MAPS = Exercise(
    name="quadratic_maps",
    oracle=quadratic_maps,
    draw=lambda random, N, H, W: _draw_heads(random, N) | {"height": H, "width": W},
    sizes=(
        {"N": 1, "H": 1, "W": 2},
        {"N": 1, "H": 2, "W": 2},
        {"N": 2, "H": 2, "W": 3},
        {"N": 3, "H": 4, "W": 2},
        {"N": 2, "H": 3, "W": 4},
    ),
    variants=(
        *_map_variants(
            lambda **mistake: partial(_maps, **mistake),
            _THEOREM_FORMULA,
            _THEOREM_LOOP,
            _THEOREM_WRONG,
        ),
        Variant(
            "pixels_flattened",
            lambda centers, spreads, height, width: (
                _maps(centers, spreads, height, width).flatten(3).flatten(1, 2)
            ),
            "Pixels are listed in one axis: [N, H*W, H*W]. Unflatten both axes:"
            " [N, H, W, H, W].",
            _THEOREM_LADDER,
        ),
        Variant(
            "rows_and_columns_of_the_map_exchanged",
            lambda centers, spreads, height, width: _maps(
                centers, spreads, height, width
            ).permute(0, 2, 1, 4, 3),
            "Rows and columns of the pixels are exchanged. The order of the axes is"
            " head, query row, query column, key row, key column.",
            _THEOREM_LADDER,
        ),
    ),
    section=_THEOREM_FORMULA,
)


# --- separable_attention --------------------------------------------------------


def _separable(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return torch.einsum("nix,njy,bcxy->bncij", rows, columns, x)


SEPARABLE_ATTENTION = Exercise(
    name="separable_attention",
    oracle=separable_attention_loop,
    draw=lambda random, B, C, N, I, J, H, W: {  # noqa: E741
        "x": random.normal(B, C, H, W),
        "rows": random.normal(N, I, H),
        "columns": random.normal(N, J, W),
    },
    sizes=(
        {"B": 1, "C": 1, "N": 1, "I": 1, "J": 1, "H": 1, "W": 2},
        {"B": 1, "C": 1, "N": 2, "I": 2, "J": 2, "H": 2, "W": 2},
        {"B": 1, "C": 2, "N": 1, "I": 3, "J": 2, "H": 3, "W": 2},
        {"B": 2, "C": 2, "N": 3, "I": 3, "J": 3, "H": 3, "W": 3},
        {"B": 2, "C": 3, "N": 2, "I": 2, "J": 3, "H": 4, "W": 2},
    ),
    variants=(
        Variant(
            "rows_and_columns_exchanged",
            lambda x, rows, columns: _separable(x, columns, rows),
            "Rows and columns are exchanged: `rows` weighs the rows a of the map,"
            " `columns` its columns b.",
            _THEOREM_LADDER,
            also=(lambda x, rows, columns: _separable(x.mT, rows, columns),),
        ),
        Variant(
            "weights_transposed",
            lambda x, rows, columns: _separable(x, rows.mT, columns.mT),
            "The weights are transposed. `rows[n, i, a]`: query first, then key; the"
            " sum runs over the key.",
            _THEOREM_FORMULA,
            also=(
                lambda x, rows, columns: _separable(x, rows.mT, columns),
                lambda x, rows, columns: _separable(x, rows, columns.mT),
            ),
        ),
        Variant(
            "output_transposed",
            lambda x, rows, columns: _separable(x, rows, columns).mT,
            "The last two axes of the output are exchanged. They are [I, J], row"
            " first.",
            _THEOREM_LADDER,
        ),
        Variant(
            "channels_before_heads",
            lambda x, rows, columns: _separable(x, rows, columns).transpose(1, 2),
            "The channels stand before the heads. The order is [B, N, C, I, J].",
            _THEOREM_LADDER,
        ),
        Variant(
            "reshaped_without_permute",
            lambda x, rows, columns: (
                _separable(x, rows, columns).permute(0, 1, 3, 4, 2).flatten(1)
            ).reshape(len(x), len(rows), x.shape[1], rows.shape[1], columns.shape[1]),
            "The shape is right, but [I, J, C] was reshaped to [C, I, J]. Move the"
            " channel axis with `permute`.",
            _THEOREM_WRONG,
        ),
        Variant(
            "heads_and_images_mixed",
            lambda x, rows, columns: (
                _separable(x, rows, columns)
                .transpose(0, 1)
                .reshape(len(x), len(rows), x.shape[1], rows.shape[1], columns.shape[1])
            ),
            "The shape is right, but [N, B] was reshaped to [B, N]. Exchange the two"
            " axes with `transpose`.",
            _THEOREM_WRONG,
        ),
        Variant(
            "weights_added",
            lambda x, rows, columns: torch.einsum(
                "nijxy,bcxy->bncij",
                rows[:, :, None, :, None] + columns[:, None, :, None, :],
                x,
            ),
            "The row part and the column part are added. Their logits add, so the"
            " weights multiply.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "softmax_again",
            lambda x, rows, columns: _separable(
                x, rows.softmax(-1), columns.softmax(-1)
            ),
            "The weights go through a softmax once more. They are used as given.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "rows_only",
            lambda x, rows, columns: torch.einsum("nix,bcxy->bnciy", rows, x),
            "Only one of the two products is done. First pool along one axis, then"
            " along the other.",
            _THEOREM_LADDER,
            also=(
                lambda x, rows, columns: torch.einsum("njy,bcxy->bncxj", columns, x),
            ),
        ),
        Variant(
            "first_head_for_all",
            lambda x, rows, columns: _separable(
                x, rows[:1].expand_as(rows), columns[:1].expand_as(columns)
            ),
            "All heads use the weights of the first. Head n has `rows[n]` and"
            " `columns[n]`.",
            _THEOREM_FORMULA,
            also=(
                lambda x, rows, columns: _separable(
                    x, rows[:1].expand_as(rows), columns
                ),
                lambda x, rows, columns: _separable(
                    x, rows, columns[:1].expand_as(columns)
                ),
            ),
        ),
        Variant(
            "heads_summed",
            lambda x, rows, columns: _separable(x, rows, columns).sum(1),
            "The heads are summed. Each still needs its own value matrix: keep their"
            " axis, [B, N, C, I, J].",
            _THEOREM_FORMULA,
            also=(lambda x, rows, columns: _separable(x, rows, columns).mean(1),),
        ),
        Variant(
            "averaged_over_pixels",
            lambda x, rows, columns: (
                _separable(x, rows, columns) / (x.shape[-2] * x.shape[-1])
            ),
            "The sum is divided by the number of pixels. The weights alone decide how"
            " much a pixel counts.",
            _THEOREM_FORMULA,
        ),
    ),
    section=_THEOREM_COST,
)


# --- attention_to_kernel --------------------------------------------------------


def attention_to_kernel(centers: Tensor, matrices: Tensor, kernel_size: int) -> Tensor:
    """The kernel [D, C, K, K] of hard heads with whole-number centres [N, 2]."""
    return _kernel(centers, matrices, kernel_size)


def _kernel(
    centers: Tensor,
    matrices: Tensor,
    kernel_size: int,
    *,
    sign: int = 1,
    swapped: bool = False,
    middle: int | None = None,
    outside: str = "left out",
    shared: str = "added",
) -> Tensor:
    """Place one matrix after the other, with a switch for each mistake."""
    K, reach = kernel_size, kernel_size // 2
    middle = reach if middle is None else middle
    places: dict[tuple[int, int], list[Tensor]] = {}
    for centre, matrix in zip(centers, matrices, strict=True):
        row, column = (sign * int(number) + middle for number in centre)
        if outside == "clamped":
            row, column = (min(max(n, 0), K - 1) for n in (row, column))
        if outside == "wrapped":
            row, column = row % K, column % K
        if outside == "counted from the end":
            row, column = (n % K if n < 0 else n for n in (row, column))
        place = (column, row) if swapped else (row, column)
        places.setdefault(place, []).append(matrix)
    kernel = matrices.new_zeros(*matrices.shape[1:], K, K)
    for (row, column), found in places.items():
        if 0 <= row < K and 0 <= column < K:
            total = {
                "added": sum(found, torch.zeros_like(found[0])),
                "averaged": torch.stack(found).mean(0),
                "last": found[-1],
                "first": found[0],
            }[shared]
            kernel[:, :, row, column] = total
    return kernel


def _draw_kernel(
    random: Draw,
    N: int,
    D: int,
    C: int,
    reach: int,
    shared: bool = False,
    outside: bool = False,
) -> Inputs:
    limit = reach + 1 if outside else reach
    side = 2 * limit + 1
    order = random.uniform(side * side).argsort()[torch.arange(N) % (side * side)]
    centers = torch.stack([order // side, order % side], dim=-1) - limit  # [N, 2]
    if outside:
        centers[0, 0] = -limit
        centers[-1] = torch.tensor([1 - reach, limit])
    if shared:
        centers[N // 2] = centers[0]
    return {
        "centers": centers,
        "matrices": random.normal(N, D, C),
        "kernel_size": 2 * reach + 1,
    }


ATTENTION_TO_KERNEL = Exercise(
    name="attention_to_kernel",
    oracle=attention_to_kernel,
    draw=_draw_kernel,
    sizes=(
        {"N": 1, "D": 1, "C": 1, "reach": 1},
        {"N": 2, "D": 2, "C": 1, "reach": 1},
        {"N": 4, "D": 2, "C": 2, "reach": 1},
        {"N": 5, "D": 2, "C": 3, "reach": 2},
        {"N": 4, "D": 2, "C": 2, "reach": 1, "shared": True},
        {"N": 5, "D": 2, "C": 1, "reach": 1, "outside": True},
        {"N": 7, "D": 1, "C": 2, "reach": 2, "shared": True, "outside": True},
    ),
    variants=(
        Variant(
            "mirrored",
            partial(_kernel, sign=-1),
            "The kernel is turned round. A head with centre (D1, D2) stands at place"
            " (K//2 + D1, K//2 + D2).",
            _THEOREM_FORMULA,
        ),
        Variant(
            "row_and_column_exchanged",
            partial(_kernel, swapped=True),
            "Rows and columns of the kernel are exchanged. The first number of a"
            " centre is the row.",
            _THEOREM_WRONG,
        ),
        Variant(
            "not_centred",
            partial(_kernel, middle=0),
            "The centres are used as places of the kernel. Add K//2: the centre (0, 0)"
            " is the middle.",
            _THEOREM_FORMULA,
            also=(
                partial(_kernel, middle=0, outside="wrapped"),
                partial(_kernel, middle=0, outside="counted from the end"),
            ),
        ),
        Variant(
            "heads_overwrite",
            partial(_kernel, shared="last"),
            "Of two heads on one place only one is left. Their matrices add up: use"
            " `+=`.",
            _THEOREM_FORMULA,
            also=(partial(_kernel, shared="first"),),
        ),
        Variant(
            "heads_averaged",
            partial(_kernel, shared="averaged"),
            "Two heads on one place are averaged. The layer adds its heads, so their"
            " matrices add up.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "outside_wraps_round",
            partial(_kernel, outside="counted from the end"),
            "A head outside the kernel comes back on the other side: a negative index"
            " counts from the end. Leave these heads out.",
            _THEOREM_PROVE,
            also=(partial(_kernel, outside="wrapped"),),
        ),
        Variant(
            "outside_moved_to_the_edge",
            partial(_kernel, outside="clamped"),
            "A head outside the kernel is moved to its edge. Leave these heads out.",
            _THEOREM_PROVE,
        ),
        Variant(
            "in_and_out_exchanged",
            lambda centers, matrices, kernel_size: _kernel(
                centers, matrices.mT, kernel_size
            ),
            "Input and output channels are exchanged. Matrices are [D, C], the kernel"
            " is [D, C, K, K]: output first in both.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "places_first",
            lambda centers, matrices, kernel_size: _kernel(
                centers, matrices, kernel_size
            ).permute(2, 3, 0, 1),
            "The places of the kernel come first. The order is [D, C, K, K].",
            _THEOREM_FORMULA,
        ),
        Variant(
            "heads_in_order",
            lambda centers, matrices, kernel_size: _kernel(
                head_centers(kernel_size, 1)[: len(matrices)],
                matrices[: kernel_size**2],
                kernel_size,
            ),
            "The heads fill the kernel row by row. Trained heads stand in any order:"
            " the centre of a head says where its matrix goes.",
            _THEOREM_FORMULA,
        ),
    ),
    section=_THEOREM_FORMULA,
)


# --- conv_to_attention ----------------------------------------------------------


class _Heads(nn.Module):
    """Quadratic heads by their maps, with one matrix each and a bias."""

    def __init__(
        self,
        centers: Tensor,
        spread: float,
        matrices: Tensor,
        bias: Tensor | None,
        border: str = "bare",
        reach: int = 0,
    ) -> None:
        super().__init__()
        N, D, _ = matrices.shape
        bias = matrices.new_zeros(D) if bias is None else bias
        self.centers = nn.Parameter(centers.to(matrices.dtype))
        self.spreads = nn.Parameter(matrices.new_full((N,), spread))
        self.matrices = nn.Parameter(matrices.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())
        self.border, self.reach = border, reach

    def forward(self, x: Tensor) -> Tensor:
        padding = 0 if self.border == "bare" else self.reach
        if padding:
            x = F.pad(x, (padding,) * 4, mode=self.border)
        H, W = x.shape[2:]
        maps = _maps(self.centers, self.spreads, H, W)
        y = torch.einsum("nijxy,ndc,bcxy->bdij", maps, self.matrices, x)
        y = y[..., padding : H - padding, padding : W - padding]
        return y + self.bias[:, None, None]


_SPREAD: dict[str, Callable[[float], float]] = {
    "sqrt(2 alpha)": lambda alpha: math.sqrt(2 * alpha),
    "alpha": lambda alpha: alpha,
    "2 alpha": lambda alpha: 2 * alpha,
    "sqrt(alpha)": math.sqrt,
    "sqrt(alpha / 2)": lambda alpha: math.sqrt(alpha / 2),
    "1 / sqrt(2 alpha)": lambda alpha: 1 / math.sqrt(2 * alpha),
    "fixed": lambda alpha: math.sqrt(2 * 46.0),
}


def conv_to_attention(conv: nn.Conv2d, alpha: float = 46.0) -> nn.Module:
    """The attention layer of Theorem 1: one hard head for each place of the kernel.

    The kernel is odd and square, the stride 1, the padding dilation * (K // 2) with
    the nearest pixel.
    """
    return _converted(conv, alpha)


def _converted(
    conv: nn.Conv2d,
    alpha: float = 46.0,
    *,
    spread: str = "sqrt(2 alpha)",
    centre: str = "place - K//2",
    weights: str = "head after head",
    bias: bool = True,
    border: str = "bare",
) -> nn.Module:
    """Theorem 1 with a switch for each mistake."""
    K, dilation = conv.kernel_size[0], conv.dilation[0]
    reach = dilation * (K // 2)
    centers = head_centers(K, 1 if centre == "not dilated" else dilation)
    if centre == "mirrored":
        centers = -centers
    if centre == "column, row":
        centers = centers.flip(-1)
    if centre == "place":
        centers = centers + reach
    D, C = conv.weight.shape[:2]
    matrices = conv.weight.flatten(2).permute(2, 0, 1)  # [K*K, D, C]
    if weights == "channel after channel":
        matrices = conv.weight.reshape(D, K * K, C).transpose(0, 1)
    if weights == "transposed":
        matrices = matrices.mT
    return _Heads(
        centers,
        _SPREAD[spread](alpha),
        matrices,
        conv.bias if bias else None,
        border,
        reach,
    )


def _filled(
    conv: nn.Conv2d,
    alpha: float = 46.0,
    *,
    left: str,
    bias: str = "as in conv",
) -> nn.Module:
    """The package's layer with one of its parameters left at its random start."""
    C, D, K = conv.in_channels, conv.out_channels, conv.kernel_size[0]
    has_bias = bias == "always" or conv.bias is not None
    layer = QuadraticAttention2d(C, D, K * K, bias=has_bias)
    weight = conv.weight.permute(0, 2, 3, 1).reshape(D, -1, 1, 1)
    with torch.no_grad():
        if left != "centers":
            layer.centers.copy_(head_centers(K, conv.dilation[0]))
        if left != "spreads":
            layer.spreads.fill_(math.sqrt(2 * alpha))
        if left != "weights":
            layer.value.weight.copy_(weight)
        if left != "bias" and conv.bias is not None and layer.value.bias is not None:
            layer.value.bias.copy_(conv.bias)
    return layer


def _draw_module(
    random: Draw,
    C: int,
    D: int,
    reach: int,
    bias: bool = False,
    dilation: bool = False,
    soft: bool = False,
) -> Inputs:
    step = 2 if dilation else 1
    conv = torch.nn.utils.skip_init(
        nn.Conv2d,
        C,
        D,
        2 * reach + 1,
        padding=step * reach,
        dilation=step,
        bias=bias,
        padding_mode="replicate",
        device="cpu",
        dtype=torch.float32,
    )
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.copy_(random.normal(*parameter.shape))
    return {"conv": conv, "alpha": 1.5} if soft else {"conv": conv}


def _on_an_image(layer: object, inputs: Inputs) -> object:
    """Run a returned module on two small images, in float64; answer in float32."""
    if not callable(layer):
        raise TypeError(
            "return a module that can be called on an image, for example a"
            f" QuadraticAttention2d; got {type(layer).__name__}"
        )
    conv = inputs["conv"]
    x = Draw(conv.in_channels).normal(2, conv.in_channels, 4, 5)
    if isinstance(layer, nn.Module):
        layer.double()
    else:
        x = x.to(conv.weight.dtype)
    with torch.no_grad():
        y = layer(x)
    return y.float() if isinstance(y, Tensor) else y


CONV_TO_ATTENTION = Exercise(
    name="conv_to_attention",
    oracle=conv_to_attention,
    draw=_draw_module,
    sizes=(
        {"C": 1, "D": 1, "reach": 1},
        {"C": 2, "D": 2, "reach": 1},
        {"C": 1, "D": 2, "reach": 0, "bias": True},
        {"C": 2, "D": 3, "reach": 1, "bias": True},
        {"C": 2, "D": 2, "reach": 1, "dilation": True},
        {"C": 2, "D": 1, "reach": 1, "soft": True},
        {"C": 3, "D": 2, "reach": 2, "bias": True, "soft": True},
    ),
    variants=(
        Variant(
            "row_and_column_exchanged",
            partial(_converted, centre="column, row"),
            "Rows and columns are exchanged: in the centres, or in the order of the"
            " kernel's places. Head n is place (n // K, n % K); its centre is (row,"
            " column).",
            _THEOREM_WRONG,
        ),
        Variant(
            "mirrored",
            partial(_converted, centre="mirrored"),
            "The centres are mirrored, or the kernel is flipped. The centre is key"
            " minus query, place - K//2, and the kernel stays as it stands.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "bias_forgotten",
            partial(_converted, bias=False),
            "The bias of the convolution is not copied.",
            _THEOREM_FORMULA,
            also=(
                partial(_filled, left="bias"),
                partial(_filled, left="bias", bias="always"),
            ),
        ),
        Variant(
            "bias_left_over",
            partial(_filled, left="nothing", bias="always"),
            "The convolution has no bias; the bias of the layer stays at its random"
            " start. Build the layer with `bias=conv.bias is not None`.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "dilation_forgotten",
            partial(_converted, centre="not dilated"),
            "The dilation is not used. It multiplies every centre.",
            _THEOREM_PROVE,
        ),
        Variant(
            "not_centred",
            partial(_converted, centre="place"),
            "The heads start at the query. The kernel is centred on it: subtract K//2"
            " from every place.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "alpha_used_as_spread",
            partial(_converted, spread="alpha"),
            "Alpha is stored as the spread. The layer computes alpha = s^2 / 2, so the"
            " spread is sqrt(2 alpha).",
            _THEOREM_FORMULA,
            also=(partial(_converted, spread="2 alpha"),),
        ),
        Variant(
            "factor_two_forgotten",
            partial(_converted, spread="sqrt(alpha)"),
            "The factor between alpha and the spread is not right. From alpha = s^2 / 2"
            " the spread is sqrt(2 alpha).",
            _THEOREM_FORMULA,
            also=(partial(_converted, spread="sqrt(alpha / 2)"),),
        ),
        Variant(
            "spread_inverted",
            partial(_converted, spread="1 / sqrt(2 alpha)"),
            "The spread is set like a standard deviation. It is the inverse of one: a"
            " hard head has a large spread, sqrt(2 alpha).",
            _THEOREM_FORMULA,
        ),
        Variant(
            "alpha_ignored",
            partial(_converted, spread="fixed"),
            "Alpha has no effect: this is a convolution whatever it is. Set all"
            " spreads to sqrt(2 alpha); a small alpha gives soft heads.",
            _THEOREM_PROVE,
            also=(lambda conv, alpha=46.0: conv,),
        ),
        Variant(
            "weights_channel_by_channel",
            partial(_converted, weights="channel after channel"),
            "The weights of `value` are in the wrong order. `conv.weight` is [D, C, K,"
            " K]; `value` takes head after head, [D, K*K*C]: permute before you"
            " flatten.",
            _THEOREM_WRONG,
        ),
        Variant(
            "in_and_out_exchanged",
            partial(_converted, weights="transposed"),
            "Input and output channels of the kernel are exchanged. Output channels"
            " come first in `conv.weight` and in `value.weight`.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "border_of_zeros",
            partial(_converted, border="constant"),
            "Zeros stand round the image. This convolution repeats the border pixel,"
            " and so does the softmax over the bare image: pad nothing.",
            _THEOREM_PROVE,
        ),
        Variant(
            "padded_before_attention",
            partial(_converted, border="replicate"),
            "The image is padded before the attention. Do without: over the bare image"
            " a head that aims outside finds the nearest pixel.",
            _THEOREM_PROVE,
        ),
        Variant(
            "centres_not_set",
            partial(_filled, left="centers"),
            "The centres stay at their random start. Copy them with"
            " `layer.centers.copy_(...)` under `torch.no_grad()`.",
            _THEOREM_FORMULA,
        ),
        Variant(
            "spreads_not_set",
            partial(_filled, left="spreads"),
            "The spreads stay at their random start. Fill them with sqrt(2 alpha).",
            _THEOREM_FORMULA,
        ),
        Variant(
            "weights_not_set",
            partial(_filled, left="weights"),
            "The weights of `value` stay at their random start. Copy the kernel into"
            " them.",
            _THEOREM_FORMULA,
        ),
    ),
    section=_THEOREM_FORMULA,
    gradients=False,
    then=_on_an_image,
)


# ============================ what heads look at ================================
# --- pixel_blocks ---------------------------------------------------------------


def pixel_blocks(x: Tensor, block: int) -> Tensor:
    """Blocks of a map [B, C, H, W] as channels: [B, block*block*C, H/block, W/block].

    The channel order is row in the block, column in the block, colour.
    """
    B, C, H, W = x.shape
    y = x.new_zeros(B, block * block * C, H // block, W // block)
    for i in range(H):
        for j in range(W):
            for c in range(C):
                place = (i % block * block + j % block) * C + c
                y[:, place, i // block, j // block] = x[:, c, i, j]
    return y


def _blocks(x: Tensor, block: int, order: str, apart: bool = False) -> Tensor:
    """The same with an order of row r, column s and colour c to choose."""
    sizes = (block, -1) if apart else (-1, block)
    parts = x.unflatten(3, sizes).unflatten(2, sizes)  # [B, C, i, r, j, s]
    names = "bcrisj" if apart else "bcirjs"
    return torch.einsum(f"{names}->b{order}ij", parts).flatten(1, 3)


PIXEL_BLOCKS = Exercise(
    name="pixel_blocks",
    oracle=pixel_blocks,
    draw=lambda random, B, C, rows, columns, block: {
        "x": random.normal(B, C, rows * block, columns * block),
        "block": block,
    },
    sizes=(
        {"B": 1, "C": 1, "rows": 1, "columns": 2, "block": 1},
        {"B": 1, "C": 2, "rows": 1, "columns": 1, "block": 2},
        {"B": 1, "C": 3, "rows": 2, "columns": 2, "block": 2},
        {"B": 2, "C": 3, "rows": 2, "columns": 3, "block": 2},
        {"B": 1, "C": 2, "rows": 2, "columns": 1, "block": 3},
    ),
    variants=(
        Variant(
            "colour_first",
            lambda x, block: F.pixel_unshuffle(x, block),
            "The colour comes first, as in `F.pixel_unshuffle` and `F.unfold`. Here it"
            " comes last: row in the block, column in the block, colour.",
            _HEADS_LADDER,
        ),
        Variant(
            "columns_first",
            lambda x, block: _blocks(x, block, "src"),
            "The column in the block comes before the row. The order is row, column,"
            " colour.",
            _HEADS_LADDER,
        ),
        Variant(
            "colour_between",
            lambda x, block: _blocks(x, block, "rcs"),
            "The colour stands between row and column. It comes last: row, column,"
            " colour.",
            _HEADS_LADDER,
            also=(lambda x, block: _blocks(x, block, "scr"),),
        ),
        Variant(
            "pixels_far_apart",
            lambda x, block: _blocks(x, block, "rsc", apart=True),
            "The pixels of a block are H / block apart. Neighbours belong together:"
            " split H into (H / block, block), in this order.",
            _HEADS_LADDER,
        ),
        Variant(
            "only_reshaped",
            lambda x, block: x.reshape(
                len(x), -1, x.shape[2] // block, x.shape[3] // block
            ),
            "The shape is right, but the memory is only read anew: a block becomes a"
            " piece of one row. Split the axes, permute, then merge.",
            _HEADS_WRONG,
        ),
        Variant(
            "map_transposed",
            lambda x, block: pixel_blocks(x, block).mT,
            "Rows and columns of the blocks are exchanged.",
            _HEADS_LADDER,
        ),
        Variant(
            "averaged",
            lambda x, block: F.avg_pool2d(x, block),
            "Each block is averaged. Nothing is lost here: the pixels of a block become"
            " channels.",
            _HEADS_FORMULA,
        ),
        Variant(
            "one_pixel_of_each_block",
            lambda x, block: x[..., ::block, ::block],
            "One pixel of each block is kept. Keep them all, as channels.",
            _HEADS_FORMULA,
        ),
        Variant(
            "channels_last",
            lambda x, block: pixel_blocks(x, block).permute(0, 2, 3, 1),
            "The channels come last. Images are [B, C, H, W] here.",
            _HEADS_FORMULA,
        ),
        Variant(
            "blocks_listed",
            lambda x, block: pixel_blocks(x, block).flatten(2),
            "The blocks are in one axis. Keep the map: [B, C, H / block, W / block].",
            _HEADS_FORMULA,
        ),
    ),
    section=_HEADS_MODULE,
)


# --- effective_pixels -----------------------------------------------------------


def effective_pixels(attention: Tensor) -> Tensor:
    """The exponential of the entropy of each map [..., H, W]."""
    maps = attention.reshape(-1, *attention.shape[-2:])
    numbers = []
    for weights in maps:
        entropy = weights.new_zeros(())
        for weight in weights.flatten():
            if weight > 0:
                entropy = entropy - weight * weight.log()
        numbers.append(entropy.exp())
    return torch.stack(numbers).reshape(attention.shape[:-2])


def _entropy(attention: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(attention).sum((-2, -1))
    return entropy


def _draw_attention(
    random: Draw,
    N: int,
    T: int,
    H: int,
    W: int,
    zeros: bool = False,
    single: bool = False,
) -> Inputs:
    logits = 1.5 * random.normal(N, T, H * W)
    if zeros:
        logits = logits.masked_fill(~random.keep(N, T, H * W), -math.inf)
    maps = logits.softmax(-1).unflatten(-1, (H, W))
    return {"attention": maps[0, 0] if single else maps}


EFFECTIVE_PIXELS = Exercise(
    name="effective_pixels",
    oracle=effective_pixels,
    draw=_draw_attention,
    sizes=(
        {"N": 1, "T": 1, "H": 1, "W": 2},
        {"N": 1, "T": 2, "H": 2, "W": 2},
        {"N": 2, "T": 3, "H": 3, "W": 4},
        {"N": 1, "T": 1, "H": 3, "W": 2, "single": True},
        {"N": 2, "T": 2, "H": 3, "W": 3, "zeros": True},
    ),
    variants=(
        Variant(
            "entropy_only",
            _entropy,
            "This is the entropy. Its exponential is the number of pixels.",
            _HEADS_FORMULA,
        ),
        Variant(
            "zero_times_minus_infinity",
            lambda attention: (-attention * attention.log()).sum((-2, -1)).exp(),
            "A weight of zero gives 0 * log 0 = NaN. Count it as zero:"
            " `torch.special.entr` or `torch.xlogy` does.",
            _HEADS_FORMULA,
        ),
        Variant(
            "bits_and_nats_mixed",
            lambda attention: (_entropy(attention) / math.log(2)).exp(),
            "The logarithm and the power have different bases. Use the natural"
            " logarithm with `exp`.",
            _HEADS_FORMULA,
            also=(lambda attention: 2 ** _entropy(attention),),
        ),
        Variant(
            "sign_forgotten",
            lambda attention: (-_entropy(attention)).exp(),
            "The result is below 1. The entropy is minus the sum of p log p.",
            _HEADS_FORMULA,
        ),
        Variant(
            "negative_entropy",
            lambda attention: -_entropy(attention),
            "This is the sum of p log p. Take minus the sum, then its exponential.",
            _HEADS_FORMULA,
        ),
        Variant(
            "maps_mixed",
            lambda attention: torch.special.entr(attention).sum().exp(),
            "All maps are taken together. Each map has its own number: sum over the"
            " last two axes only.",
            _HEADS_FORMULA,
            also=(
                lambda attention: _entropy(attention).exp().mean(),
                lambda attention: _entropy(attention).mean().exp(),
            ),
        ),
        Variant(
            "one_axis_only",
            lambda attention: torch.special.entr(attention).sum(-1).exp(),
            "The sum runs over one axis of the map. A map has two: sum over the last"
            " two axes.",
            _HEADS_FORMULA,
            also=(lambda attention: torch.special.entr(attention).sum(-2).exp(),),
        ),
        Variant(
            "mean_not_sum",
            lambda attention: torch.special.entr(attention).mean((-2, -1)).exp(),
            "The terms p log p are averaged over the pixels. The entropy is their sum.",
            _HEADS_FORMULA,
        ),
        Variant(
            "rows_and_columns_apart",
            lambda attention: (
                torch.special.entr(attention.sum(-1)).sum(-1)
                + torch.special.entr(attention.sum(-2)).sum(-1)
            ).exp(),
            "The entropies of rows and of columns are added. That is right only for a"
            " map that is a row part times a column part.",
            _HEADS_FORMULA,
        ),
        Variant(
            "inverse_of_squares",
            lambda attention: 1 / attention.square().sum((-2, -1)),
            "This is one over the sum of squares, another count of pixels. Here it is"
            " the exponential of the entropy.",
            _HEADS_FORMULA,
        ),
        Variant(
            "inverse_of_the_largest",
            lambda attention: 1 / attention.amax((-2, -1)),
            "This is one over the largest weight. All weights count: take the"
            " exponential of the entropy.",
            _HEADS_FORMULA,
        ),
        Variant(
            "softmax_again",
            lambda attention: _entropy(
                attention.flatten(-2).softmax(-1).view_as(attention)
            ).exp(),
            "The weights go through a softmax once more. They are used as given.",
            _HEADS_FORMULA,
        ),
    ),
    section=_HEADS_FORMULA,
    gradients=False,  # the slope of p log p at p = 0 is infinite
)


# --- quadratic_attention --------------------------------------------------------


def quadratic_attention(
    x: Tensor, centers: Tensor, spreads: Tensor, matrices: Tensor
) -> Tensor:
    """Quadratic heads, one pixel at a time: y [B, D, H, W]; spreads are [N]."""
    y = quadratic_attention_loop(x, centers, spreads, matrices)
    assert isinstance(y, Tensor)
    return y


def _attend(maps: Tensor, x: Tensor) -> Tensor:
    return torch.einsum("nijxy,bcxy->bncij", maps, x)


def _project(pooled: Tensor, matrices: Tensor) -> Tensor:
    return torch.einsum("bncij,ndc->bdij", pooled, matrices)


def _quadratic(**mistake: object) -> Function:
    """Quadratic attention with these switches of `_maps`."""

    def attention(
        x: Tensor, centers: Tensor, spreads: Tensor, matrices: Tensor
    ) -> Tensor:
        maps = _maps(centers, spreads, *x.shape[2:], **mistake)  # type: ignore[arg-type]
        return _project(_attend(maps, x), matrices)

    return attention


def _blur_shortcut(
    x: Tensor,
    centers: Tensor,
    spreads: Tensor,
    matrices: Tensor,
    *,
    reach: int | None,
    centre: str = "row, column",
) -> Tensor:
    """One grouped convolution whose channels and kernels are in different order.

    Output channel o of the convolution reads input channel o // N, but gets the kernel
    of head o // C.
    """
    C, N = x.shape[1], len(centers)
    maps = _maps(centers, spreads, *x.shape[2:], centre=centre, reach=reach)
    channel = torch.arange(N * C)
    pooled = torch.einsum("oijxy,boxy->boij", maps[channel // C], x[:, channel // N])
    return _project(pooled.unflatten(1, (N, C)), matrices)


def _right(
    x: Tensor, centers: Tensor, spreads: Tensor, matrices: Tensor
) -> tuple[Tensor, Tensor]:
    """Maps [N, H, W, H, W] and means [B, N, C, H, W], without a mistake."""
    maps = _maps(centers, spreads, *x.shape[2:])
    return maps, _attend(maps, x)


def _heads_and_channels_mixed(
    x: Tensor, centers: Tensor, spreads: Tensor, matrices: Tensor
) -> Tensor:
    """The means listed channel after channel, the matrices head after head."""
    _, pooled = _right(x, centers, spreads, matrices)
    B, N, C, H, W = pooled.shape
    return _project(pooled.transpose(1, 2).reshape(B, N, C, H, W), matrices)


QUADRATIC_ATTENTION = Exercise(
    name="quadratic_attention",
    oracle=quadratic_attention,
    draw=lambda random, B, C, D, N, H, W: {
        "x": random.normal(B, C, H, W),
        **_draw_heads(random, N),
        "matrices": random.normal(N, D, C),
    },
    sizes=(
        {"B": 1, "C": 1, "D": 1, "N": 1, "H": 1, "W": 2},
        {"B": 1, "C": 1, "D": 1, "N": 1, "H": 2, "W": 2},
        {"B": 1, "C": 2, "D": 2, "N": 2, "H": 3, "W": 2},
        {"B": 2, "C": 2, "D": 3, "N": 3, "H": 2, "W": 3},
        {"B": 1, "C": 3, "D": 2, "N": 2, "H": 1, "W": 6},
    ),
    variants=(
        *_map_variants(_quadratic, _HEADS_FORMULA, _HEADS_LOOP, _HEADS_WRONG),
        Variant(
            "published_blur_shortcut",
            partial(_blur_shortcut, reach=3, centre="column, row"),
            "Channels and heads are in different order: output o of the grouped"
            " convolution reads channel o // N, but gets the kernel of head o // C.",
            _THEOREM_WRONG,
            also=(
                partial(_blur_shortcut, reach=3),
                partial(_blur_shortcut, reach=None),
                partial(_blur_shortcut, reach=None, centre="column, row"),
            ),
        ),
        Variant(
            "window_cut_off",
            _quadratic(reach=3),
            "The heads see only a window round the query. Every pixel of the image"
            " takes part, far ones with a small weight.",
            _THEOREM_WRONG,
            also=(_quadratic(reach=1), _quadratic(reach=2)),
        ),
        Variant(
            "heads_and_channels_mixed",
            _heads_and_channels_mixed,
            "The means are listed channel after channel, the matrices head after head."
            " Mean n belongs to matrix n.",
            _THEOREM_WRONG,
        ),
        Variant(
            "one_matrix_for_all",
            lambda x, centers, spreads, matrices: _project(
                _right(x, centers, spreads, matrices)[1],
                matrices[:1].expand_as(matrices),
            ),
            "All heads use the first matrix. Head n has `matrices[n]`.",
            _HEADS_FORMULA,
        ),
        Variant(
            "heads_averaged",
            lambda x, centers, spreads, matrices: (
                _project(_right(x, centers, spreads, matrices)[1], matrices)
                / len(matrices)
            ),
            "The heads are averaged. The formula adds them.",
            _HEADS_FORMULA,
        ),
        Variant(
            "heads_summed_before_the_matrices",
            lambda x, centers, spreads, matrices: torch.einsum(
                "bncij,mdc->bdij", _right(x, centers, spreads, matrices)[1], matrices
            ),
            "Means and matrices are summed apart, so every mean meets every matrix."
            " Multiply mean n by matrix n, then sum over n.",
            _HEADS_FORMULA,
        ),
        Variant(
            "matrices_transposed",
            lambda x, centers, spreads, matrices: _project(
                _right(x, centers, spreads, matrices)[1], matrices.mT
            ),
            "The matrices are transposed. They are [N, D, C]: output channels first.",
            _HEADS_FORMULA,
        ),
        Variant(
            "heads_kept_apart",
            lambda x, centers, spreads, matrices: torch.einsum(
                "bncij,ndc->bndij", _right(x, centers, spreads, matrices)[1], matrices
            ),
            "The output still has an axis of heads. Sum over it: [B, D, H, W].",
            _HEADS_FORMULA,
        ),
    ),
    section=_HEADS_LOOP,
)


# --- center_gradient ------------------------------------------------------------


def center_gradient(
    x: Tensor,
    center: Tensor,
    alpha: float,
    i: int,
    j: int,
    upstream: Tensor,
) -> Tensor:
    """Derivative [2] of upstream . y_ij with respect to the centre of one head.

    The weights are the softmax of -alpha |delta - center|^2 over the pixels of
    x [C, H, W]; upstream is [C].
    """
    _, H, W = x.shape
    pixels = [(a, b) for a in range(H) for b in range(W)]
    offsets = [torch.tensor([a - i, b - j]).to(x.dtype) for a, b in pixels]
    logits = [-alpha * (offset - center).square().sum() for offset in offsets]
    weights = torch.softmax(torch.stack(logits), dim=0)
    mean = torch.zeros_like(center)
    for weight, offset in zip(weights, offsets, strict=True):
        mean = mean + weight * offset
    gradient = torch.zeros_like(center)
    for weight, offset, (a, b) in zip(weights, offsets, pixels, strict=True):
        gradient = gradient + weight * (offset - mean) * (upstream @ x[:, a, b])
    return 2 * alpha * gradient


def _center_gradient(
    x: Tensor,
    center: Tensor,
    alpha: float,
    i: int,
    j: int,
    upstream: Tensor,
    *,
    factor: str = "2 alpha",
    less: str = "weighted mean",
    sign: int = 1,
    centre: str = "row, column",
    query: str = "used",
    channels: str = "bcij",
    softmax: str = "whole",
) -> Tensor:
    """The same, vectorised, with a switch for each mistake."""
    _, H, W = x.shape
    if centre == "column, row":
        center = center.flip(0)
    place = torch.cartesian_prod(torch.arange(H), torch.arange(W)).to(x.dtype)
    start = torch.tensor([i, j], dtype=x.dtype) * (query == "used")
    offset = sign * (place - start)  # [H*W, 2]
    weights = (-alpha * (offset - center).square().sum(-1)).softmax(0)  # [H*W]
    subtrahend = {
        "weighted mean": (weights[:, None] * offset).sum(0),
        "plain mean": offset.mean(0),
        "centre": center,
        "nothing": torch.zeros_like(center),
    }[less]
    if softmax == "diagonal":
        weights = weights * (1 - weights)
    if softmax == "left out":
        weights = torch.ones_like(weights)
    scale = {
        "2 alpha": 2 * alpha,
        "alpha": alpha,
        "2": 2.0,
        "1": 1.0,
        "minus": -2 * alpha,
    }[factor]
    if channels == "kept":
        upstream = torch.eye(len(upstream), dtype=x.dtype)
    if channels == "summed":
        upstream = torch.ones_like(upstream)
    worth = upstream @ x.flatten(1)  # [H*W], or [C, H*W]
    return scale * ((worth * weights) @ (offset - subtrahend))


CENTER_GRADIENT = Exercise(
    name="center_gradient",
    oracle=center_gradient,
    draw=lambda random, C, H, W, i, j, sharpness: {
        "x": random.normal(C, H, W),
        "center": 0.8 * random.normal(2),
        "alpha": 0.3 * sharpness,
        "i": min(i, H - 1),
        "j": min(j, W - 1),
        "upstream": random.normal(C),
    },
    sizes=(
        {"C": 1, "H": 1, "W": 2, "i": 0, "j": 1, "sharpness": 1},
        {"C": 1, "H": 2, "W": 2, "i": 1, "j": 0, "sharpness": 2},
        {"C": 2, "H": 3, "W": 3, "i": 1, "j": 2, "sharpness": 1},
        {"C": 3, "H": 3, "W": 4, "i": 2, "j": 1, "sharpness": 3},
    ),
    variants=(
        Variant(
            "factor_two_forgotten",
            partial(_center_gradient, factor="alpha"),
            "The factor 2 is missing. The derivative of a square brings it down.",
            _HEADS_HAND,
        ),
        Variant(
            "alpha_forgotten",
            partial(_center_gradient, factor="2"),
            "The factor alpha is missing. The derivative of a logit is 2 alpha (delta"
            " - center).",
            _HEADS_HAND,
            also=(partial(_center_gradient, factor="1"),),
        ),
        Variant(
            "sign_flipped",
            partial(_center_gradient, factor="minus"),
            "The sign is turned. The logit has a minus, and so has the inner derivative"
            " of delta - center: together a plus.",
            _HEADS_HAND,
        ),
        Variant(
            "denominator_forgotten",
            partial(_center_gradient, less="centre"),
            "Only the numerator of the softmax is differentiated. When one weight"
            " grows, the others shrink: subtract the mean offset, not the centre.",
            _HEADS_FORMULA,
        ),
        Variant(
            "mean_forgotten",
            partial(_center_gradient, less="nothing"),
            "The mean offset is not subtracted. It comes from the denominator of the"
            " softmax.",
            _HEADS_FORMULA,
        ),
        Variant(
            "plain_mean",
            partial(_center_gradient, less="plain mean"),
            "The mean offset counts all pixels alike. It is the mean under the weights:"
            " the sum of p times delta.",
            _HEADS_FORMULA,
        ),
        Variant(
            "softmax_diagonal_only",
            partial(_center_gradient, softmax="diagonal", less="centre"),
            "Each weight is treated as if it depended on its own logit only: p (1 - p)."
            " A weight also falls when another logit rises.",
            _HEADS_FORMULA,
            also=(partial(_center_gradient, softmax="diagonal"),),
        ),
        Variant(
            "weights_left_out",
            partial(_center_gradient, softmax="left out"),
            "The weights are missing in the sum. A pixel counts as much as the head"
            " looks at it.",
            _HEADS_FORMULA,
        ),
        Variant(
            "upstream_ignored",
            partial(_center_gradient, channels="summed"),
            "The channels are summed. Each counts as much as `upstream` says: take the"
            " dot product.",
            _HEADS_FORMULA,
        ),
        Variant(
            "channels_kept",
            partial(_center_gradient, channels="kept"),
            "There is one gradient for each channel. Multiply by `upstream` and sum"
            " over the channels: two numbers.",
            _HEADS_FORMULA,
            also=(lambda *arguments: _center_gradient(*arguments, channels="kept").mT,),
        ),
        Variant(
            "row_and_column_exchanged",
            lambda *arguments: _center_gradient(*arguments).flip(0),
            "Row and column are exchanged. The first number belongs to the row, and to"
            " `center[0]`.",
            _HEADS_WRONG,
            also=(
                partial(_center_gradient, centre="column, row"),
                lambda *arguments: _center_gradient(
                    *arguments, centre="column, row"
                ).flip(0),
            ),
        ),
        Variant(
            "mirrored",
            partial(_center_gradient, sign=-1),
            "The offset is taken as query minus key. It is key minus query:"
            " (a - i, b - j).",
            _HEADS_FORMULA,
        ),
        Variant(
            "query_ignored",
            partial(_center_gradient, query="ignored"),
            "The query's pixel is not used. The offset of a key is (a - i, b - j).",
            _HEADS_FORMULA,
        ),
    ),
    section=_HEADS_FORMULA,
    gradients=False,  # a reader may let autograd find the answer
)


# --- attention_cnn_parameters ---------------------------------------------------


def attention_cnn_parameters(
    hidden: int,
    depth: int,
    num_heads: int,
    intermediate: int,
    in_channels: int,
    block: int,
    num_classes: int,
) -> int:
    """All parameters of the attention network with the quadratic encoding."""
    embedding = in_channels * block**2 * hidden + hidden
    heads = num_heads * (2 + 1)  # a centre and a spread
    value = num_heads * hidden * hidden + hidden
    dense = hidden * hidden + hidden
    norms = 2 * (hidden + hidden)
    wide = hidden * intermediate + intermediate
    narrow = intermediate * hidden + hidden
    classifier = hidden * num_classes + num_classes
    layer = heads + value + dense + norms + wide + narrow
    return embedding + depth * layer + classifier


_Counts = Callable[..., int]
_CNN_SIZES = tuple(inspect.signature(attention_cnn_parameters).parameters)


def _more(
    in_a_layer: _Counts = lambda **size: 0, elsewhere: _Counts = lambda **size: 0
) -> Function:
    """The number of parameters and a mistake: in each layer, and outside them."""

    def count(*sizes: int) -> int:
        size = dict(zip(_CNN_SIZES, sizes, strict=True))
        right = attention_cnn_parameters(*sizes)
        return right + size["depth"] * in_a_layer(**size) + elsewhere(**size)

    return count


ATTENTION_CNN_PARAMETERS = Exercise(
    name="attention_cnn_parameters",
    oracle=attention_cnn_parameters,
    draw=lambda random, **sizes: sizes,
    sizes=(
        {"hidden": 4, "depth": 1, "num_heads": 1, "intermediate": 5}
        | {"in_channels": 1, "block": 1, "num_classes": 2},
        {"hidden": 6, "depth": 2, "num_heads": 3, "intermediate": 11}
        | {"in_channels": 3, "block": 2, "num_classes": 7},
        {"hidden": 20, "depth": 3, "num_heads": 4, "intermediate": 33}
        | {"in_channels": 1, "block": 3, "num_classes": 5},
        {"hidden": 400, "depth": 6, "num_heads": 9, "intermediate": 512}
        | {"in_channels": 3, "block": 2, "num_classes": 10},
    ),
    variants=(
        Variant(
            "heads_share_the_width",
            _more(lambda hidden, num_heads, **_: (1 - num_heads) * hidden**2),
            "The heads share the hidden channels. Here every head is as wide as the"
            " layer: `value` maps num_heads * hidden channels to hidden.",
            _HEADS_COST,
        ),
        Variant(
            "queries_and_keys_counted",
            _more(lambda hidden, num_heads, **_: 2 * num_heads * (hidden**2 + hidden)),
            "Query and key projections are counted. The weights come from positions"
            " alone: there are none.",
            _HEADS_COST,
            also=(
                _more(lambda hidden, num_heads, **_: 2 * num_heads * hidden**2),
                _more(lambda hidden, **_: 2 * (hidden**2 + hidden)),
                _more(lambda hidden, **_: 2 * hidden**2),
            ),
        ),
        Variant(
            "centres_and_spreads_forgotten",
            _more(lambda num_heads, **_: -3 * num_heads),
            "Centres and spreads are missing: three numbers for each head in each"
            " layer.",
            _HEADS_COST,
        ),
        Variant(
            "spreads_forgotten",
            _more(lambda num_heads, **_: -num_heads),
            "The spreads are missing: one number for each head in each layer.",
            _HEADS_COST,
        ),
        Variant(
            "spreads_as_matrices",
            _more(lambda num_heads, **_: 3 * num_heads),
            "Every spread is counted as a 2 x 2 matrix. The heads are round: one number"
            " each.",
            _HEADS_COST,
        ),
        Variant(
            "dense_forgotten",
            _more(lambda hidden, **_: -(hidden**2 + hidden)),
            "A linear layer is missing. After the attention layer each block has"
            " another one, hidden to hidden, before the first norm.",
            _HEADS_MODULE,
        ),
        Variant(
            "norms_forgotten",
            _more(lambda hidden, **_: -4 * hidden),
            "The two layer norms are missing: a weight and a bias for each channel.",
            _HEADS_MODULE,
        ),
        Variant(
            "one_norm_only",
            _more(lambda hidden, **_: -2 * hidden),
            "Half of the layer norms is missing. Each block has two, and each has a"
            " weight and a bias for every channel.",
            _HEADS_MODULE,
        ),
        Variant(
            "biases_forgotten",
            _more(
                lambda hidden, intermediate, **_: -(3 * hidden + intermediate),
                lambda hidden, num_classes, **_: -(hidden + num_classes),
            ),
            "The biases of the linear layers are missing. All of them have one.",
            _HEADS_COST,
        ),
        Variant(
            "value_bias_for_every_head",
            _more(lambda hidden, num_heads, **_: (num_heads - 1) * hidden),
            "Every head has its own bias. The heads are added, and one bias of hidden"
            " numbers with them.",
            _HEADS_COST,
        ),
        Variant(
            "block_not_squared",
            _more(
                elsewhere=lambda hidden, in_channels, block, **_: (
                    (block - block**2) * in_channels * hidden
                )
            ),
            "The block has `block` rows and `block` columns. The first layer takes"
            " in_channels * block * block numbers.",
            _HEADS_MODULE,
        ),
        Variant(
            "blocks_ignored",
            _more(
                elsewhere=lambda hidden, in_channels, block, **_: (
                    (1 - block**2) * in_channels * hidden
                )
            ),
            "The first layer takes one pixel. It takes a whole block: in_channels *"
            " block * block numbers.",
            _HEADS_MODULE,
        ),
        Variant(
            "embedding_forgotten",
            _more(
                elsewhere=lambda hidden, in_channels, block, **_: (
                    -(in_channels * block**2 + 1) * hidden
                )
            ),
            "The first linear layer is missing. It maps a block of pixels to hidden"
            " channels.",
            _HEADS_MODULE,
        ),
        Variant(
            "classifier_forgotten",
            _more(
                elsewhere=lambda hidden, num_classes, **_: -(hidden + 1) * num_classes
            ),
            "The classifier is missing: hidden to num_classes, with a bias.",
            _HEADS_MODULE,
        ),
        Variant(
            "one_layer_only",
            lambda hidden, depth, *others: attention_cnn_parameters(hidden, 1, *others),
            "One block is counted. The blocks do not share parameters: multiply by the"
            " depth.",
            _HEADS_COST,
        ),
    ),
    section=_HEADS_COST,
    gradients=False,
)


EXERCISES = (
    HEAD_CENTERS,
    QUADRATIC_VECTOR_1D,
    QUADRATIC_MAPS,
    SEPARABLE_ATTENTION,
    ATTENTION_TO_KERNEL,
    CONV_TO_ATTENTION,
    PIXEL_BLOCKS,
    EFFECTIVE_PIXELS,
    QUADRATIC_ATTENTION,
    CENTER_GRADIENT,
    ATTENTION_CNN_PARAMETERS,
)
