"""Exercises on the SAN networks: block, stages, counts, borders, turns."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.san import PairwiseAttention2d

_PAGE = "exploring/san.html"
_LOOK = f"{_PAGE}#look-first"
_FORMULA = f"{_PAGE}#the-formula"
_HAND = f"{_PAGE}#by-hand"
_LOOP = f"{_PAGE}#the-loop"
_LADDER = f"{_PAGE}#the-ladder"
_COST = f"{_PAGE}#the-cost"
_PROOF = f"{_PAGE}#prove-it"
_WRONG = f"{_PAGE}#right-shape-still-wrong"

Layer = Callable[[Tensor], Tensor]


# --- san_stage_sizes ------------------------------------------------------------


def san_stage_sizes(height: int, width: int, stages: int) -> Tensor:
    """Rows and columns of the map inside each stage, int64 [stages, 2].

    Each stage begins with 2x2 max pooling, which drops an odd last row or column.
    """
    sizes = []
    for _ in range(stages):
        height, width = height // 2, width // 2
        sizes.append((height, width))
    return torch.tensor(sizes)


def _stage_sizes(
    height: int,
    width: int,
    stages: int,
    *,
    first: int = 1,
    factor: int = 2,
    up: bool = False,
) -> Tensor:
    """The same with one switch for each place where it can go wrong."""
    sizes = []
    for stage in range(first, first + stages):
        by = factor**stage
        add = by - 1 if up else 0
        sizes.append(((height + add) // by, (width + add) // by))
    return torch.tensor(sizes)


SAN_STAGE_SIZES = Exercise(
    name="san_stage_sizes",
    oracle=san_stage_sizes,
    draw=lambda random, height, width, stages: {
        "height": height,
        "width": width,
        "stages": stages,
    },
    sizes=(
        {"height": 6, "width": 4, "stages": 1},
        {"height": 16, "width": 24, "stages": 2},
        {"height": 33, "width": 50, "stages": 3},
        {"height": 127, "width": 224, "stages": 5},
    ),
    variants=(
        Variant(
            "first_stage_not_halved",
            partial(_stage_sizes, first=0),
            "The first stage has the size of the image. It, too, begins with a pooling"
            " that halves the map.",
            _FORMULA,
        ),
        Variant(
            "halved_twice",
            partial(_stage_sizes, first=2),
            "The first stage is halved twice. There is one pooling for each stage, and"
            " none in the stem.",
            _FORMULA,
        ),
        Variant(
            "rounded_up",
            partial(_stage_sizes, up=True),
            "Odd sizes are rounded up, as by a convolution with stride. Pooling drops a"
            " last row or column that has no partner.",
            _FORMULA,
        ),
        Variant(
            "a_quarter_of_each_side",
            partial(_stage_sizes, factor=4),
            "Each side is divided by four. Pooling leaves a quarter of the pixels, and"
            " half of each side.",
            _FORMULA,
        ),
        Variant(
            "divided_by_the_stage",
            lambda height, width, stages: torch.tensor(
                [(height // (2 * s), width // (2 * s)) for s in range(1, stages + 1)]
            ),
            "The image is divided by 2, 4, 6, 8. Each stage halves the map of the one"
            " before: 2, 4, 8, 16.",
            _FORMULA,
        ),
        Variant(
            "width_first",
            lambda height, width, stages: san_stage_sizes(height, width, stages).flip(
                1
            ),
            "Rows and columns are exchanged. Write (height, width).",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
    gradients=False,
)


# --- zero_square ----------------------------------------------------------------


def zero_square(x: Tensor, top: int, left: int, side: int) -> Tensor:
    """Copy of x [B, C, H, W] with zeros in a square that the border may cut.

    The square has its first row at `top` and its first column at `left`; both may be
    negative, and the square may reach beyond the other end.
    """
    y = x.clone()
    for i in range(max(top, 0), min(top + side, x.shape[2])):
        for j in range(max(left, 0), min(left + side, x.shape[3])):
            y[:, :, i, j] = 0
    return y


def _inside(x: Tensor, top: int, left: int, rows: int, cols: int) -> Tensor:
    """A mask [H, W] of a rectangle."""
    i, j = torch.arange(x.shape[2])[:, None], torch.arange(x.shape[3])
    return (i >= top) & (i < top + rows) & (j >= left) & (j < left + cols)


def _square_from_the_end(x: Tensor, top: int, left: int, side: int) -> Tensor:
    y = x.clone()
    y[:, :, top : top + side, left : left + side] = 0
    return y


def _square_mean(x: Tensor, top: int, left: int, side: int) -> Tensor:
    mean = x.mean(dim=(2, 3), keepdim=True)
    return torch.where(_inside(x, top, left, side, side), mean, x)


ZERO_SQUARE = Exercise(
    name="zero_square",
    oracle=zero_square,
    draw=lambda random, B, C, H, W, top, left, side, above, before: {
        "x": random.normal(B, C, H, W),
        "top": -min(top, side - 1) if above else min(top, H - 1),
        "left": -min(left, side - 1) if before else min(left, W - 1),
        "side": side,
    },
    sizes=(
        {"B": 1, "C": 1, "H": 3, "W": 4, "top": 1, "left": 2, "side": 1}
        | {"above": False, "before": False},
        {"B": 2, "C": 3, "H": 6, "W": 7, "top": 1, "left": 3, "side": 2}
        | {"above": False, "before": False},
        {"B": 1, "C": 2, "H": 5, "W": 8, "top": 1, "left": 2, "side": 3}
        | {"above": True, "before": False},
        {"B": 2, "C": 1, "H": 7, "W": 5, "top": 3, "left": 2, "side": 4}
        | {"above": False, "before": True},
        {"B": 1, "C": 2, "H": 6, "W": 6, "top": 4, "left": 3, "side": 5}
        | {"above": False, "before": False},
    ),
    variants=(
        Variant(
            "counted_from_the_end",
            _square_from_the_end,
            "A negative start counts from the end in Python. Begin at max(top, 0) and"
            " max(left, 0), and keep the end where it was.",
            _LOOK,
        ),
        Variant(
            "pushed_inside",
            lambda x, top, left, side: zero_square(x, max(top, 0), max(left, 0), side),
            "A square that begins outside is moved into the image. It is cut: only its"
            " part inside becomes zero.",
            _LOOK,
        ),
        Variant(
            "outside_erased",
            lambda x, top, left, side: (
                x * _inside(x, top, left, side, side).to(x.dtype)
            ),
            "Everything but the square is zero. Keep the image, and erase the square.",
            _LOOK,
        ),
        Variant(
            "row_and_column_exchanged",
            lambda x, top, left, side: zero_square(x, left, top, side),
            "The square begins at row `left` and column `top`. Rows are the third"
            " axis, columns the fourth.",
            _LOOK,
        ),
        Variant(
            "one_too_large",
            lambda x, top, left, side: zero_square(x, top, left, side + 1),
            "The square has side + 1 rows and columns. It ends before top + side.",
            _LOOK,
        ),
        Variant(
            "centred",
            lambda x, top, left, side: zero_square(
                x, top - side // 2, left - side // 2, side
            ),
            "The square is centred at (top, left). It begins there.",
            _LOOK,
        ),
        Variant(
            "whole_rows",
            lambda x, top, left, side: x.masked_fill(
                _inside(x, top, 0, side, x.shape[3]), 0
            ),
            "Whole rows are erased. Erase the columns from `left` to left + side only.",
            _LOOK,
        ),
        Variant(
            "filled_with_the_mean",
            _square_mean,
            "The square is filled with the mean of the image. Fill it with zeros.",
            _LOOK,
        ),
    ),
    section=_LOOK,
)


# --- mirrored_counts ------------------------------------------------------------


def _mirror(a: int, length: int) -> int:
    """The pixel that a mirror at the border shows at coordinate a."""
    return min(abs(a), 2 * (length - 1) - abs(a))


def mirrored_counts(
    i: int, j: int, kernel_size: int, height: int, width: int
) -> Tensor:
    """How often each pixel is in the mirrored window around (i, j): int64 [H, W]."""
    reach = kernel_size // 2
    counts = torch.zeros(height, width, dtype=torch.int64)
    for a in range(i - reach, i + reach + 1):
        for b in range(j - reach, j + reach + 1):
            counts[_mirror(a, height), _mirror(b, width)] += 1
    return counts


def _axis_counts(i: int, kernel_size: int, length: int, border: str) -> Tensor:
    """How often each pixel of one axis is in a window around pixel i."""
    a = torch.arange(i - kernel_size // 2, i + kernel_size // 2 + 1)
    if border == "repeat":  # the border pixel comes twice
        a = torch.where(a < 0, -1 - a, a)
        a = torch.where(a < length, a, 2 * length - 1 - a)
    elif border == "clamp":
        a = a.clamp(0, length - 1)
    elif border == "wrap":
        a = a % length
    elif border == "one end":  # mirrored in front, cut behind
        a = a.abs()
    a = a[(a >= 0) & (a < length)]
    return torch.bincount(a, minlength=length)


def _counts(
    i: int, j: int, kernel_size: int, height: int, width: int, *, border: str
) -> Tensor:
    rows = _axis_counts(i, kernel_size, height, border)
    return rows[:, None] * _axis_counts(j, kernel_size, width, border)


def _draw_window(
    random: Draw, i: int, j: int, reach: int, height: int, width: int
) -> Inputs:
    height, width = max(height, reach + 1), max(width, reach + 1)
    return {
        "i": min(i, height) - 1,
        "j": min(j, width) - 1,
        "kernel_size": 2 * reach + 1,
        "height": height,
        "width": width,
    }


MIRRORED_COUNTS = Exercise(
    name="mirrored_counts",
    oracle=mirrored_counts,
    draw=_draw_window,
    sizes=(
        {"i": 1, "j": 1, "reach": 1, "height": 2, "width": 3},
        {"i": 2, "j": 3, "reach": 1, "height": 4, "width": 5},
        {"i": 4, "j": 1, "reach": 2, "height": 4, "width": 6},
        {"i": 1, "j": 2, "reach": 3, "height": 4, "width": 5},
        {"i": 7, "j": 4, "reach": 3, "height": 7, "width": 7},
    ),
    variants=(
        Variant(
            "cut_at_the_border",
            partial(_counts, border="cut"),
            "Places outside the map are left out, or count once with their mirror"
            " image. The mirror puts a pixel at each of them: the counts sum to K*K.",
            _HAND,
        ),
        Variant(
            "border_pixel_repeated",
            partial(_counts, border="repeat"),
            "The mirror stands behind the border pixel and shows it twice. It stands"
            " on it: row -1 is row 1.",
            _HAND,
        ),
        Variant(
            "moved_to_the_border",
            partial(_counts, border="clamp"),
            "Places outside are moved to the border pixel. They are mirrored: row -2 is"
            " row 2.",
            _HAND,
        ),
        Variant(
            "wrapped_round",
            partial(_counts, border="wrap"),
            "Places outside come back on the other side; Python counts negative"
            " indices from the end. They are mirrored: row -1 is row 1.",
            _HAND,
        ),
        Variant(
            "mirrored_at_one_end",
            partial(_counts, border="one end"),
            "Only the first rows and columns are mirrored. At the other end row H is"
            " row H - 2.",
            _HAND,
        ),
        Variant(
            "row_and_column_exchanged",
            lambda i, j, kernel_size, height, width: (
                mirrored_counts(i, j, kernel_size, height, width).mT
            ),
            "Rows and columns are exchanged: i is a row, j a column.",
            _LOOP,
        ),
    ),
    section=_HAND,
    gradients=False,
)


# --- san_bottleneck -------------------------------------------------------------


def san_bottleneck(
    x: Tensor, bn1: Layer, attention: Layer, bn2: Layer, conv: Layer
) -> Tensor:
    """The block x + conv(ReLU(bn2(attention(ReLU(bn1(x)))))) for a map [B, C, H, W]."""
    return x + conv(torch.relu(bn2(attention(torch.relu(bn1(x))))))


def _draw_block(random: Draw, B: int, sixteenths: int, H: int, W: int) -> Inputs:
    C = 16 * sixteenths
    modules: dict[str, nn.Module] = {
        "bn1": nn.BatchNorm2d(C),
        "attention": PairwiseAttention2d(C, C // 16, C // 4, 3, share=2),
        "bn2": nn.BatchNorm2d(C // 4),
        "conv": nn.Conv2d(C // 4, C, 1),
    }
    for module in modules.values():
        module.double().eval().requires_grad_(False)
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                drawn = random.normal(*value.shape)
                spread = name.endswith("running_var")
                value.copy_(0.5 + drawn.square() if spread else drawn)
    x = random.normal(B, C, max(H, 2), max(W, 2))
    return {"x": x, **modules}


SAN_BOTTLENECK = Exercise(
    name="san_bottleneck",
    oracle=san_bottleneck,
    draw=_draw_block,
    sizes=(
        {"B": 1, "sixteenths": 1, "H": 2, "W": 2},
        {"B": 2, "sixteenths": 1, "H": 3, "W": 4},
        {"B": 1, "sixteenths": 2, "H": 4, "W": 3},
    ),
    variants=(
        Variant(
            "relu_after_the_sum",
            lambda x, bn1, attention, bn2, conv: torch.relu(
                san_bottleneck(x, bn1, attention, bn2, conv)
            ),
            "A ReLU follows the sum, as in a ResNet. Here nothing follows: the shortcut"
            " keeps its negative numbers.",
            _WRONG,
        ),
        Variant(
            "shortcut_missing",
            lambda x, bn1, attention, bn2, conv: conv(
                torch.relu(bn2(attention(torch.relu(bn1(x)))))
            ),
            "This is the branch alone. The block adds it to its input x.",
            _FORMULA,
        ),
        Variant(
            "shortcut_from_the_activation",
            lambda x, bn1, attention, bn2, conv: (
                torch.relu(bn1(x))
                + conv(torch.relu(bn2(attention(torch.relu(bn1(x))))))
            ),
            "The shortcut starts behind the first norm and ReLU. It starts at x.",
            _FORMULA,
        ),
        Variant(
            "relu_before_norm",
            lambda x, bn1, attention, bn2, conv: (
                x + conv(bn2(torch.relu(attention(bn1(torch.relu(x))))))
            ),
            "The ReLUs come before the norms. The order is norm, ReLU, and then the"
            " layer.",
            _FORMULA,
        ),
        Variant(
            "norm_after_the_layer",
            lambda x, bn1, attention, bn2, conv: (
                x + bn1(conv(torch.relu(bn2(attention(x)))))
            ),
            "The first norm stands behind the last convolution. It comes first, with"
            " its ReLU, before the attention.",
            _FORMULA,
        ),
        Variant(
            "first_relu_missing",
            lambda x, bn1, attention, bn2, conv: (
                x + conv(torch.relu(bn2(attention(bn1(x)))))
            ),
            "The ReLU between the first norm and the attention is missing.",
            _FORMULA,
        ),
        Variant(
            "second_relu_missing",
            lambda x, bn1, attention, bn2, conv: (
                x + conv(bn2(attention(torch.relu(bn1(x)))))
            ),
            "The ReLU between the second norm and the convolution is missing.",
            _FORMULA,
        ),
        Variant(
            "first_activation_missing",
            lambda x, bn1, attention, bn2, conv: (
                x + conv(torch.relu(bn2(attention(x))))
            ),
            "The attention sees x as it is. The first norm and ReLU come before it.",
            _FORMULA,
        ),
        Variant(
            "second_activation_missing",
            lambda x, bn1, attention, bn2, conv: (
                x + conv(attention(torch.relu(bn1(x))))
            ),
            "Norm and ReLU between the attention and the convolution are missing.",
            _FORMULA,
        ),
    ),
    section=_LADDER,
)


# --- sam_parameters -------------------------------------------------------------


def sam_parameters(
    in_channels: int,
    relation_channels: int,
    out_channels: int,
    kernel_size: int,
    share: int,
    patchwise: bool,
) -> int:
    """Parameters of one attention module, pairwise with subtraction or patchwise.

    phi, psi and beta are 1x1 convolutions with biases. gamma is norm, ReLU, linear
    without bias, norm, ReLU, linear with bias. Pairwise attention also has a 2 x 2 map
    of the positions with a bias; its gamma sees both differences.
    """
    return _sam(
        in_channels, relation_channels, out_channels, kernel_size, share, patchwise
    )


def _sam(
    in_channels: int,
    relation_channels: int,
    out_channels: int,
    kernel_size: int,
    share: int,
    patchwise: bool,
    *,
    bias: int = 1,
    norm: int = 2,
    positions: bool = True,
    extra_bias: bool = False,
    hidden: str = "",
    shared: bool = True,
    windows: str = "",
) -> int:
    """The count with one switch for each place where it can go wrong."""
    R, C = relation_channels, out_channels
    P = kernel_size**2 if windows != "one side" else kernel_size
    G = C // share if shared else C
    projections = 2 * (in_channels + bias) * R + (in_channels + bias) * C
    places = P if windows == "centre forgotten" else P + 1
    seen = R * places if patchwise else R + 2 * positions
    out = G * P if patchwise else G
    if windows == "pairwise weights":
        out = G * P
    M = G if patchwise else R
    if hidden == "exchanged":
        M = R if patchwise else G
    gamma = norm * seen + seen * M + norm * M + (M + bias) * out
    if extra_bias:
        gamma += M
    if not patchwise and positions:
        gamma += 4 + 2 * bias
    return projections + gamma


SAM_PARAMETERS = Exercise(
    name="sam_parameters",
    oracle=sam_parameters,
    draw=lambda random, in_channels, relation, groups, share, reach, patchwise: {
        "in_channels": in_channels,
        "relation_channels": relation,
        "out_channels": groups * share,
        "kernel_size": 2 * reach + 1,
        "share": share,
        "patchwise": patchwise,
    },
    sizes=(
        {"in_channels": 2, "relation": 1, "groups": 2, "share": 2, "reach": 1}
        | {"patchwise": False},
        {"in_channels": 3, "relation": 2, "groups": 1, "share": 3, "reach": 1}
        | {"patchwise": True},
        {"in_channels": 64, "relation": 4, "groups": 2, "share": 8, "reach": 1}
        | {"patchwise": False},
        {"in_channels": 64, "relation": 4, "groups": 2, "share": 8, "reach": 1}
        | {"patchwise": True},
        {"in_channels": 256, "relation": 16, "groups": 8, "share": 8, "reach": 3}
        | {"patchwise": False},
        {"in_channels": 256, "relation": 16, "groups": 8, "share": 8, "reach": 3}
        | {"patchwise": True},
    ),
    variants=(
        Variant(
            "biases_forgotten",
            partial(_sam, bias=0),
            "The biases are missing. phi, psi, beta, the last linear map of gamma and"
            " the map of the positions have one each.",
            _COST,
        ),
        Variant(
            "norms_forgotten",
            partial(_sam, norm=0),
            "The norms of gamma are missing: two numbers for each channel that they"
            " see.",
            _COST,
        ),
        Variant(
            "running_averages_counted",
            partial(_sam, norm=4),
            "The running mean and variance of the norms are counted. They are buffers;"
            " only scale and shift are parameters.",
            _COST,
        ),
        Variant(
            "positions_forgotten",
            partial(_sam, positions=False),
            "The positions are missing: a 2 x 2 map with a bias, and two more inputs of"
            " gamma. Pairwise attention has them, patchwise attention has not.",
            _COST,
        ),
        Variant(
            "first_linear_with_bias",
            partial(_sam, extra_bias=True),
            "The first linear map of gamma has a bias. It has none: a norm follows it.",
            _COST,
        ),
        Variant(
            "hidden_widths_exchanged",
            partial(_sam, hidden="exchanged"),
            "The hidden widths of gamma are exchanged. It is R in pairwise attention,"
            " and the number of groups in patchwise attention.",
            _COST,
        ),
        Variant(
            "share_ignored",
            partial(_sam, shared=False),
            "Each channel has its own weight. Groups of `share` channels have one:"
            " gamma ends with out_channels / share numbers.",
            _COST,
        ),
        Variant(
            "centre_forgotten",
            partial(_sam, windows="centre forgotten"),
            "gamma sees psi at K*K places only. In the patchwise concatenation phi of"
            " the centre joins them: R (K*K + 1) channels.",
            _COST,
        ),
        Variant(
            "one_side_of_the_window",
            partial(_sam, windows="one side"),
            "The window has K*K places, not K.",
            _COST,
        ),
        Variant(
            "pairwise_window_counted",
            partial(_sam, windows="pairwise weights"),
            "Pairwise gamma ends with K*K numbers for each group. It is the same small"
            " network for every place, so the window costs no parameter.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- san_receptive_field --------------------------------------------------------


def san_receptive_field(depths: Sequence[int], kernel_sizes: Sequence[int]) -> int:
    """Side of the square of the image that one pixel of the last map depends on.

    Each stage begins with 2x2 pooling; its blocks have windows of its kernel size.
    Borders do not count.
    """
    return _field(depths, kernel_sizes)


def _field(
    depths: Sequence[int],
    kernel_sizes: Sequence[int],
    *,
    pooling: int = 1,
    late: bool = False,
    growing: bool = True,
    once: bool = False,
    whole: bool = False,
) -> int:
    """The side with one switch for each place where it can go wrong."""
    side, step = 1, 1
    for depth, kernel_size in zip(depths, kernel_sizes, strict=True):
        side += pooling * step
        after = 2 * step if growing else step
        step = step if late else after
        blocks = 1 if once else depth
        side += blocks * (kernel_size - (0 if whole else 1)) * step
        step = after
    return side


def _draw_pyramid(random: Draw, stages: int, depth: int, reach: int) -> Inputs:
    depths = random.integers(1, depth + 1, stages).tolist()
    reaches = random.integers(1, reach + 1, stages).tolist()
    depths[0] += 1
    return {
        "depths": tuple(depths),
        "kernel_sizes": tuple(2 * r + 1 for r in reaches),
    }


SAN_RECEPTIVE_FIELD = Exercise(
    name="san_receptive_field",
    oracle=san_receptive_field,
    draw=_draw_pyramid,
    sizes=(
        {"stages": 1, "depth": 1, "reach": 1},
        {"stages": 2, "depth": 2, "reach": 2},
        {"stages": 3, "depth": 2, "reach": 3},
        {"stages": 5, "depth": 4, "reach": 3},
    ),
    variants=(
        Variant(
            "pooling_sees_one_pixel",
            partial(_field, pooling=0),
            "Pooling widens the view, too: a pixel behind it has seen two pixels in"
            " front of it, along each axis.",
            _FORMULA,
        ),
        Variant(
            "step_doubled_too_late",
            partial(_field, late=True),
            "The step doubles behind the blocks. Pooling comes first, so the blocks of"
            " a stage already move in doubled steps.",
            _FORMULA,
        ),
        Variant(
            "step_never_doubled",
            partial(_field, growing=False),
            "All windows are counted in pixels of the image. After s poolings a step on"
            " the map is 2**s pixels of the image.",
            _FORMULA,
        ),
        Variant(
            "one_block_for_each_stage",
            partial(_field, once=True),
            "Each stage is counted with one block. Every block widens the view again.",
            _FORMULA,
        ),
        Variant(
            "whole_window_added",
            partial(_field, whole=True),
            "Each block adds K steps. Its centre has been seen before: it adds K - 1.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
    gradients=False,
)


# --- turn_weights ---------------------------------------------------------------


def turn_weights(weights: Tensor, turns: int) -> Tensor:
    """Weights of the windows of a map that was turned by quarters, anticlockwise.

    With these weights [B, G, K*K, H, W], `aggregate` of the turned values gives the
    turned result: both the places of a window and the map of windows turn.
    """
    return _turn(weights, turns, turns)


def _turn(weights: Tensor, places: int, pixels: int) -> Tensor:
    K = round(weights.shape[2] ** 0.5)
    windows = torch.unflatten(weights, 2, (K, K)).rot90(places, (2, 3))
    return windows.rot90(pixels, (4, 5)).flatten(2, 3)


def _turn_transposed(weights: Tensor, turns: int) -> Tensor:
    """Exchange rows and columns where they should turn."""
    if turns % 2 == 0:
        return _turn(weights, turns, turns)
    K = round(weights.shape[2] ** 0.5)
    return torch.unflatten(weights, 2, (K, K)).transpose(2, 3).mT.flatten(2, 3)


def _turn_as_one_line(weights: Tensor, turns: int) -> Tensor:
    """Reverse the places for a half turn, and leave them for a quarter."""
    turned = weights.rot90(turns, (3, 4))
    return turned.flip(2) if turns % 4 else turned


TURN_WEIGHTS = Exercise(
    name="turn_weights",
    oracle=turn_weights,
    draw=lambda random, B, G, reach, H, W, turns: {
        "weights": random.normal(B, G, (2 * reach + 1) ** 2, H, W),
        "turns": turns,
    },
    sizes=(
        {"B": 1, "G": 1, "reach": 1, "H": 1, "W": 2, "turns": 1},
        {"B": 1, "G": 2, "reach": 1, "H": 3, "W": 3, "turns": 2},
        {"B": 2, "G": 2, "reach": 1, "H": 3, "W": 4, "turns": 1},
        {"B": 1, "G": 3, "reach": 2, "H": 4, "W": 4, "turns": 3},
        {"B": 1, "G": 1, "reach": 2, "H": 2, "W": 5, "turns": 2},
    ),
    variants=(
        Variant(
            "places_not_turned",
            lambda weights, turns: _turn(weights, 0, turns),
            "The map of windows turns, the places inside a window do not. What was"
            " above a pixel is now beside it: turn the places, too.",
            _PROOF,
        ),
        Variant(
            "pixels_not_turned",
            lambda weights, turns: _turn(weights, turns, 0),
            "The places turn, the windows stay where they were. Turn the map, too.",
            _PROOF,
        ),
        Variant(
            "clockwise",
            lambda weights, turns: _turn(weights, -turns, -turns),
            "The turn goes the other way. `rot90` turns from the first of its two axes"
            " to the second: anticlockwise for rows and columns.",
            _PROOF,
        ),
        Variant(
            "places_the_other_way",
            lambda weights, turns: _turn(weights, -turns, turns),
            "The places turn against the map. Both turn the same way.",
            _PROOF,
        ),
        Variant(
            "transposed",
            _turn_transposed,
            "A quarter turn became a transposition. That is a turn and a reflection.",
            _PROOF,
        ),
        Variant(
            "places_reversed",
            _turn_as_one_line,
            "The places are reversed as one line. That is a half turn; for a quarter"
            " write them as [K, K] first, and turn this square.",
            _PROOF,
        ),
    ),
    section=_PROOF,
)

EXERCISES = (
    SAN_STAGE_SIZES,
    ZERO_SQUARE,
    MIRRORED_COUNTS,
    SAN_BOTTLENECK,
    SAM_PARAMETERS,
    SAN_RECEPTIVE_FIELD,
    TURN_WEIGHTS,
)
