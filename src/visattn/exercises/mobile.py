"""Exercises on mobile networks: their blocks, their sizes, and pointing.

Shapes: B batch, C channels, M hidden channels, D output channels, H W map.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant

_MOBILE = "gates/mobile.html"
_FORMULA = f"{_MOBILE}#the-formula"
_HAND = f"{_MOBILE}#by-hand"
_LOOP = f"{_MOBILE}#the-loop"
_LADDER = f"{_MOBILE}#the-ladder"
_COST = f"{_MOBILE}#the-cost"
_SEE = f"{_MOBILE}#see-it"
_WRONG = f"{_MOBILE}#right-shape-still-wrong"

Number = Callable[..., int]


# --- round_channels -------------------------------------------------------------


def round_channels(channels: float, divisor: int) -> int:
    """The nearest multiple of the divisor that keeps 90 percent, at least one."""
    below = channels // divisor
    lower, upper = int(below * divisor), int((below + 1) * divisor)
    nearest = lower if channels - lower < upper - channels else upper
    return nearest if nearest >= 0.9 * channels else upper


def _rounded(
    channels: float,
    divisor: int,
    *,
    to: str = "nearest",
    keep: float = 0.9,
    least: int = 1,
) -> int:
    """The same with each rule to choose."""
    parts = channels / divisor
    whole = {
        "nearest": int(parts + 0.5),
        "below": int(parts),
        "above": -int(-parts // 1),
        "even": round(parts),
    }[to]
    found = max(least * divisor, whole * divisor)
    return found + divisor if found < keep * channels else found


ROUND_CHANNELS = Exercise(
    name="round_channels",
    oracle=round_channels,
    draw=lambda random, tenths, divisor: {
        "channels": tenths / 10,
        "divisor": divisor,
    },
    sizes=(
        {"tenths": 30, "divisor": 8},
        {"tenths": 160, "divisor": 8},
        {"tenths": 100, "divisor": 8},
        {"tenths": 336, "divisor": 8},
        {"tenths": 180, "divisor": 8},
        {"tenths": 1000, "divisor": 8},
        {"tenths": 1010, "divisor": 8},
        {"tenths": 450, "divisor": 4},
        {"tenths": 1000, "divisor": 16},
    ),
    variants=(
        Variant(
            "rounded_down",
            partial(_rounded, to="below", keep=0),
            "The number is cut off. Take the nearest multiple: add half a divisor"
            " before the division.",
            _FORMULA,
            also=(partial(_rounded, to="below"),),
        ),
        Variant(
            "rounded_up",
            partial(_rounded, to="above"),
            "The number is always rounded up. Take the nearest multiple, and go up only"
            " if less than 90 percent are left.",
            _FORMULA,
        ),
        Variant(
            "may_lose_more_than_a_tenth",
            partial(_rounded, keep=0),
            "The nearest multiple may lose more than a tenth of the channels. Add a"
            " divisor where the result is below 90 percent.",
            _FORMULA,
        ),
        Variant(
            "half_to_even",
            partial(_rounded, to="even"),
            "Python's `round` takes halves to the even side. Halves go up here: use"
            " `int(channels + divisor / 2) // divisor`.",
            _FORMULA,
        ),
        Variant(
            "divisor_is_always_8",
            lambda channels, divisor: round_channels(channels, 8),
            "The divisor is not used: this rounds to multiples of 8.",
            _FORMULA,
        ),
        Variant(
            "multiples_not_channels",
            lambda channels, divisor: round_channels(channels, divisor) // divisor,
            "This is the number of divisors. Multiply it by the divisor.",
            _FORMULA,
        ),
        Variant(
            "at_least_two",
            partial(_rounded, least=2),
            "The smallest result is one divisor, not two.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
    gradients=False,
)


# --- inverted_residual_parameters -----------------------------------------------


def inverted_residual_parameters(
    in_channels: int, out_channels: int, expansion: int
) -> int:
    """Weights and norms of a block without a gate; no expansion where t = 1."""
    hidden = expansion * in_channels
    total = 0
    if expansion > 1:
        total += in_channels * hidden + 2 * hidden
    total += 9 * hidden + 2 * hidden
    total += hidden * out_channels + 2 * out_channels
    return total


def _block_parameters(
    in_channels: int,
    out_channels: int,
    expansion: int,
    *,
    width: str = "in",
    expands: bool = True,
    always: bool = False,
    depthwise: str = "9",
    norm: int = 2,
    norms: str = "three",
    biases: bool = False,
) -> int:
    """The same with each term to choose."""
    C, D = in_channels, out_channels
    M = expansion * (C if width == "in" else D)
    wide = expands and (always or expansion > 1)
    kernels = {"9": 9 * M, "dense": 9 * M * M, "3": 3 * M, "1": M}[depthwise]
    total = (C * M if wide else 0) + kernels + M * D
    rows = {
        "three": M * wide + M + D,
        "hidden": M * wide + M,
        "last": D,
        "two": M + D,
    }[norms]
    total += norm * rows
    return total + (M * wide + M + D if biases else 0)


INVERTED_RESIDUAL_PARAMETERS = Exercise(
    name="inverted_residual_parameters",
    oracle=inverted_residual_parameters,
    draw=lambda random, C, D, t: {
        "in_channels": C,
        "out_channels": D,
        "expansion": t,
    },
    sizes=(
        {"C": 2, "D": 3, "t": 2},
        {"C": 32, "D": 16, "t": 1},
        {"C": 16, "D": 24, "t": 6},
        {"C": 24, "D": 24, "t": 6},
        {"C": 7, "D": 5, "t": 3},
        {"C": 160, "D": 320, "t": 6},
    ),
    variants=(
        Variant(
            "no_norms",
            partial(_block_parameters, norm=0),
            "The batch norms are missing: a scale and a shift for each channel of each"
            " of them.",
            _COST,
        ),
        Variant(
            "one_number_per_norm",
            partial(_block_parameters, norm=1),
            "One number is counted for each channel of a norm: a bias, or half a batch"
            " norm. A batch norm has a scale and a shift.",
            _COST,
        ),
        Variant(
            "running_statistics_counted",
            partial(_block_parameters, norm=4),
            "The running mean and variance are counted. They are buffers: nothing is"
            " learned there.",
            _COST,
        ),
        Variant(
            "biases_counted",
            partial(_block_parameters, biases=True),
            "Biases are counted. The convolutions have none; the batch norms shift.",
            _COST,
        ),
        Variant(
            "depthwise_is_dense",
            partial(_block_parameters, depthwise="dense"),
            "The depthwise convolution is counted as a dense one. Each channel has one"
            " kernel: 9 weights for each of the hidden channels.",
            _COST,
        ),
        Variant(
            "depthwise_has_three_weights",
            partial(_block_parameters, depthwise="3"),
            "A 3 x 3 kernel has 9 weights, not 3.",
            _COST,
        ),
        Variant(
            "kernel_forgotten",
            partial(_block_parameters, depthwise="1"),
            "A kernel of the depthwise convolution is counted as one weight. It has 9.",
            _COST,
        ),
        Variant(
            "expands_for_t_1",
            partial(_block_parameters, always=True),
            "A block with expansion 1 has no expanding convolution and no norm for it.",
            _COST,
        ),
        Variant(
            "expansion_forgotten",
            partial(_block_parameters, expands=False),
            "The first of the three convolutions, which widens, is missing.",
            _COST,
        ),
        Variant(
            "hidden_from_the_output",
            partial(_block_parameters, width="out"),
            "The hidden width is t times the input's channels, not the output's.",
            _FORMULA,
        ),
        Variant(
            "projection_without_norm",
            partial(_block_parameters, norms="hidden"),
            "The last norm is missing. The projection has no ReLU6, but it has a norm.",
            _FORMULA,
        ),
        Variant(
            "only_the_last_norm",
            partial(_block_parameters, norms="last"),
            "Only the projection's norm is counted. Each of the three convolutions has"
            " one.",
            _COST,
        ),
        Variant(
            "one_norm_inside",
            partial(_block_parameters, norms="two"),
            "The norm of the expansion is missing. Two norms have the hidden width.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- inverted_residual_macs -----------------------------------------------------


def inverted_residual_macs(
    height: int,
    width: int,
    in_channels: int,
    out_channels: int,
    expansion: int,
    stride: int,
) -> int:
    """Multiply-adds of the three convolutions, one place of a map at a time."""
    hidden = expansion * in_channels
    total = 0
    for i in range(height):
        for j in range(width):
            if expansion > 1:
                total += in_channels * hidden
            if i % stride == 0 and j % stride == 0:
                total += 9 * hidden + hidden * out_channels
    return total


def _block_macs(
    height: int,
    width: int,
    in_channels: int,
    out_channels: int,
    expansion: int,
    stride: int,
    *,
    expand_at: str = "in",
    depthwise_at: str = "out",
    project_at: str = "out",
    rounding: str = "up",
    depthwise: str = "9",
    always: bool = False,
    residual: bool = False,
) -> int:
    """The same with the resolution of each convolution to choose."""
    C, D, M = in_channels, out_channels, expansion * in_channels
    up = {
        "up": (-(-height // stride)) * (-(-width // stride)),
        "down": (height // stride) * (width // stride),
        "one axis": -(-height * width // stride),
    }[rounding]
    places = {"in": height * width, "out": up}
    total = 0
    if expansion > 1 or always:
        total += places[expand_at] * C * M
    total += places[depthwise_at] * (9 * M if depthwise == "9" else 9 * M * M)
    return total + places[project_at] * M * D


INVERTED_RESIDUAL_MACS = Exercise(
    name="inverted_residual_macs",
    oracle=inverted_residual_macs,
    draw=lambda random, H, W, C, D, t, s: {
        "height": H,
        "width": W,
        "in_channels": C,
        "out_channels": D,
        "expansion": t,
        "stride": s,
    },
    sizes=(
        {"H": 2, "W": 3, "C": 2, "D": 3, "t": 2, "s": 1},
        {"H": 4, "W": 6, "C": 2, "D": 2, "t": 1, "s": 1},
        {"H": 4, "W": 6, "C": 3, "D": 4, "t": 2, "s": 2},
        {"H": 5, "W": 7, "C": 2, "D": 4, "t": 6, "s": 2},
        {"H": 14, "W": 9, "C": 8, "D": 16, "t": 6, "s": 2},
    ),
    variants=(
        Variant(
            "all_at_the_input_size",
            partial(_block_macs, depthwise_at="in", project_at="in"),
            "All three convolutions are counted at the input's size. From the stride on"
            " the map is smaller: ceil(H / s) x ceil(W / s).",
            _COST,
        ),
        Variant(
            "all_at_the_output_size",
            partial(_block_macs, expand_at="out"),
            "All three convolutions are counted at the output's size. The expansion"
            " comes before the stride and runs over the whole input.",
            _COST,
        ),
        Variant(
            "depthwise_at_the_input_size",
            partial(_block_macs, depthwise_at="in"),
            "The depthwise convolution has the stride: it is computed at the places of"
            " the output only.",
            _COST,
        ),
        Variant(
            "size_rounded_down",
            partial(_block_macs, rounding="down"),
            "An odd side is rounded down. With padding 1, stride 2 leaves ceil(H / 2)"
            " rows.",
            _COST,
        ),
        Variant(
            "stride_on_one_axis",
            partial(_block_macs, rounding="one axis"),
            "The number of places is divided by the stride once. Both axes shrink.",
            _COST,
        ),
        Variant(
            "two_operations_each",
            lambda *sizes: 2 * inverted_residual_macs(*sizes),
            "These are operations. A multiplication with its addition counts as one.",
            _COST,
        ),
        Variant(
            "depthwise_is_dense",
            partial(_block_macs, depthwise="dense"),
            "The depthwise convolution is counted as a dense one. Each output needs 9"
            " multiply-adds, whatever the number of channels.",
            _COST,
        ),
        Variant(
            "expands_for_t_1",
            partial(_block_macs, always=True),
            "A block with expansion 1 has no expanding convolution.",
            _COST,
        ),
        Variant(
            "places_forgotten",
            lambda height, width, in_channels, out_channels, expansion, stride: (
                inverted_residual_macs(
                    1, 1, in_channels, out_channels, expansion, stride
                )
            ),
            "This is the work at one place. Multiply by the number of places.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- sandglass_parameters -------------------------------------------------------


def sandglass_parameters(in_channels: int, hidden: int, out_channels: int) -> int:
    """Weights and norms of a sandglass with both depthwise convolutions."""
    total = 0
    for kernel, entering, leaving, groups in (
        (3, in_channels, in_channels, in_channels),
        (1, in_channels, hidden, 1),
        (1, hidden, out_channels, 1),
        (3, out_channels, out_channels, out_channels),
    ):
        total += kernel**2 * entering * leaving // groups + 2 * leaving
    return total


def _glass_parameters(
    in_channels: int,
    hidden: int,
    out_channels: int,
    *,
    first: int = 9,
    last: int = 9,
    first_at: str = "in",
    last_at: str = "out",
    norm: int = 2,
    norms: tuple[str, ...] = ("first", "hidden", "out", "last"),
) -> int:
    """The same with each term to choose."""
    width = {"in": in_channels, "hidden": hidden, "out": out_channels}
    at = {**width, "first": width[first_at], "last": width[last_at]}
    at["first"] *= first > 0
    at["last"] *= last > 0
    total = first * at["first"] + last * at["last"]
    total += in_channels * hidden + hidden * out_channels
    return total + norm * sum(at[name] for name in norms)


SANDGLASS_PARAMETERS = Exercise(
    name="sandglass_parameters",
    oracle=sandglass_parameters,
    draw=lambda random, C, M, D: {
        "in_channels": C,
        "hidden": M,
        "out_channels": D,
    },
    sizes=(
        {"C": 3, "M": 1, "D": 4},
        {"C": 12, "M": 2, "D": 12},
        {"C": 32, "M": 16, "D": 96},
        {"C": 192, "M": 32, "D": 192},
        {"C": 10, "M": 3, "D": 7},
    ),
    variants=(
        Variant(
            "depthwise_in_the_middle",
            partial(_glass_parameters, first=0, last_at="hidden"),
            "The depthwise convolution stands in the middle, at the hidden width. The"
            " sandglass has two, at both ends.",
            _FORMULA,
            also=(partial(_glass_parameters, first_at="hidden", last_at="hidden"),),
        ),
        Variant(
            "first_depthwise_missing",
            partial(_glass_parameters, first=0),
            "The depthwise convolution at the start is missing, with its norm.",
            _FORMULA,
        ),
        Variant(
            "last_depthwise_missing",
            partial(_glass_parameters, last=0),
            "The depthwise convolution at the end is missing, with its norm.",
            _FORMULA,
        ),
        Variant(
            "last_depthwise_at_the_input_width",
            partial(_glass_parameters, last_at="in"),
            "The last depthwise convolution runs over the output's channels, not over"
            " the input's.",
            _FORMULA,
        ),
        Variant(
            "no_norms",
            partial(_glass_parameters, norm=0),
            "The batch norms are missing: a scale and a shift for each channel of each"
            " of the four.",
            _COST,
        ),
        Variant(
            "running_statistics_counted",
            partial(_glass_parameters, norm=4),
            "The running mean and variance are counted. They are buffers: nothing is"
            " learned there.",
            _COST,
        ),
        Variant(
            "norms_only_with_relu",
            partial(_glass_parameters, norms=("first", "out")),
            "The two linear layers have no ReLU6, but they have a norm.",
            _FORMULA,
        ),
        Variant(
            "depthwise_has_three_weights",
            partial(_glass_parameters, first=3, last=3),
            "A 3 x 3 kernel has 9 weights, not 3.",
            _COST,
        ),
    ),
    section=_FORMULA,
    gradients=False,
)


# --- soft_argmax ----------------------------------------------------------------


def soft_argmax(scores: Tensor) -> Tensor:
    """Mean place (row, column) under the softmax of the scores [B, H, W]: [B, 2]."""
    B, H, W = scores.shape
    places = []
    for n in range(B):
        powers = (scores[n] - scores[n].max().detach()).exp()
        row = sum(
            (i * powers[i, j] for i in range(H) for j in range(W)), scores.new_zeros(())
        )
        column = sum(
            (j * powers[i, j] for i in range(H) for j in range(W)), scores.new_zeros(())
        )
        places.append(torch.stack([row, column]) / powers.sum())
    return torch.stack(places)


def _place(
    weights: Tensor, rows: Tensor | None = None, columns: Tensor | None = None
) -> Tensor:
    """Sum of the places times their weights [B, H, W]."""
    H, W = weights.shape[1:]
    rows = torch.arange(H).to(weights) if rows is None else rows
    columns = torch.arange(W).to(weights) if columns is None else columns
    return torch.stack([weights.sum(2) @ rows, weights.sum(1) @ columns], dim=1)


def _weights(scores: Tensor) -> Tensor:
    return scores.flatten(1).softmax(dim=1).view_as(scores)


def _each_axis_alone(scores: Tensor, axis: int) -> Tensor:
    """Softmax of the mean scores of the rows, and of those of the columns."""
    pooled = scores.mean if axis == 0 else scores.sum
    rows, columns = pooled(dim=2).softmax(dim=1), pooled(dim=1).softmax(dim=1)
    return _place(rows[:, :, None] * columns[:, None])


def _flat_place(scores: Tensor) -> Tensor:
    """Row and column of the mean flat index."""
    H, W = scores.shape[1:]
    index = _weights(scores).flatten(1) @ torch.arange(H * W).to(scores)
    return torch.stack([index // W, index % W], dim=1)


def _largest(scores: Tensor) -> Tensor:
    index = scores.flatten(1).argmax(dim=1)
    W = scores.shape[2]
    return torch.stack([index // W, index % W], dim=1).to(scores)


def _unit(length: int, like: Tensor) -> Tensor:
    return torch.linspace(-1, 1, length).to(like)


SOFT_ARGMAX = Exercise(
    name="soft_argmax",
    oracle=soft_argmax,
    draw=lambda random, B, H, W: {"scores": 2 * random.normal(B, H, W)},
    sizes=(
        {"B": 1, "H": 1, "W": 2},
        {"B": 1, "H": 3, "W": 2},
        {"B": 2, "H": 2, "W": 3},
        {"B": 3, "H": 4, "W": 4},
        {"B": 2, "H": 5, "W": 3},
    ),
    variants=(
        Variant(
            "row_and_column_exchanged",
            lambda scores: soft_argmax(scores).flip(1),
            "The pairs are (column, row). Give (row, column).",
            _SEE,
        ),
        Variant(
            "largest_score",
            _largest,
            "This is the place of the largest score. It has no gradient: take the mean"
            " place under the softmax.",
            _SEE,
        ),
        Variant(
            "no_softmax",
            _place,
            "The scores are used as weights. Take the softmax over all places first.",
            _SEE,
        ),
        Variant(
            "not_divided",
            lambda scores: _place(scores.exp()),
            "The powers are not divided by their sum. The weights of a picture sum"
            " to 1.",
            _SEE,
        ),
        Variant(
            "softmax_over_one_axis",
            lambda scores: _place(scores.softmax(dim=2)),
            "The softmax runs over one axis. All H * W places of a picture share one"
            " softmax: flatten them first.",
            _SEE,
            also=(lambda scores: _place(scores.softmax(dim=1)),),
        ),
        Variant(
            "softmax_over_the_batch",
            lambda scores: _place(scores.flatten().softmax(dim=0).view_as(scores)),
            "One softmax runs over the whole batch. Each picture has its own.",
            _SEE,
            also=(lambda scores: _place(scores.softmax(dim=0)),),
        ),
        Variant(
            "axes_pooled_before_the_softmax",
            partial(_each_axis_alone, axis=0),
            "The scores are pooled along an axis before the softmax. Take the softmax"
            " over all places, and sum its weights afterwards.",
            _SEE,
            also=(partial(_each_axis_alone, axis=1),),
        ),
        Variant(
            "flat_index",
            _flat_place,
            "The mean runs over flat indices, and // and % come after it. Average rows"
            " and columns, each for itself.",
            _SEE,
        ),
        Variant(
            "counted_from_one",
            lambda scores: soft_argmax(scores) + 1,
            "The places are counted from 1. The first row and column have number 0.",
            _SEE,
        ),
        Variant(
            "from_minus_one_to_one",
            lambda scores: _place(
                _weights(scores),
                _unit(scores.shape[1], scores),
                _unit(scores.shape[2], scores),
            ),
            "The places run from -1 to 1. Here rows and columns are counted: 0, 1, 2.",
            _SEE,
        ),
        Variant(
            "mean_of_the_place",
            lambda scores: _place(_weights(scores)) / scores[0].numel(),
            "The result is divided by H * W. The weights sum to 1 already: a sum is"
            " enough.",
            _SEE,
        ),
    ),
    section=_SEE,
)


# --- inverted_residual ----------------------------------------------------------


def inverted_residual(
    x: Tensor, expand: Tensor, kernels: Tensor, gate: Tensor, project: Tensor
) -> Tensor:
    """A block without norms and with stride 1, and a gate for each hidden number.

    x [B, C, H, W], expand [M, C], kernels [M, 3, 3], gate [M, H, W], project [C, M].
    """
    B, C, H, W = x.shape
    M = expand.shape[0]
    pixels = []
    for n in range(B):
        wide = [
            [(expand @ x[n, :, i, j]).clamp(0, 6) for j in range(W)] for i in range(H)
        ]
        for i in range(H):
            for j in range(W):
                total = x.new_zeros(M)
                for a in (-1, 0, 1):
                    for b in (-1, 0, 1):
                        if 0 <= i + a < H and 0 <= j + b < W:
                            tap = kernels[:, 1 + a, 1 + b]
                            total = total + tap * wide[i + a][j + b]
                gated = gate[:, i, j] * total.clamp(0, 6)
                pixels.append(project @ gated + x[n, :, i, j])
    return torch.stack(pixels).reshape(B, H, W, C).permute(0, 3, 1, 2)


def _block(
    x: Tensor,
    expand: Tensor,
    kernels: Tensor,
    gate: Tensor,
    project: Tensor,
    *,
    border: str = "zero",
    gate_at: str = "depthwise",
    narrow: str = "linear",
    inside: str = "relu6",
    first: str = "same",
    second: str = "same",
    residual: str = "plus",
    flip: bool = False,
) -> Tensor:
    """The same with the order of the steps to choose."""
    M = expand.shape[0]

    def bend(y: Tensor, how: str) -> Tensor:
        how = inside if how == "same" else how
        return y if how == "none" else y.clamp(0, 6 if how == "relu6" else None)

    s = gate
    y = bend(torch.einsum("mc,bchw->bmhw", expand, x), first)
    if gate_at == "expansion":
        y = y * s
    mode = {"zero": "constant", "repeated": "replicate", "wrapped": "circular"}[border]
    kernel = (kernels.flip(1, 2) if flip else kernels)[:, None]
    y = F.conv2d(F.pad(y, (1, 1, 1, 1), mode=mode), kernel, groups=M)
    if gate_at == "before the ReLU6":
        y = y * s
    y = bend(y, second)
    if gate_at == "depthwise":
        y = y * s
    if gate_at == "sigmoid":
        y = y * s.sigmoid()
    y = torch.einsum("cm,bmhw->bchw", project, y)
    if narrow == "before the sum":
        y = F.relu6(y)
    y = y + x if residual == "plus" else y
    return F.relu6(y) if narrow == "after the sum" else y


def _draw_block(random: Draw, B: int, C: int, t: int, H: int, W: int) -> Inputs:
    M = t * C
    return {
        "x": 3 * random.normal(B, C, H, W),
        "expand": 2 * random.normal(M, C),
        "kernels": 3 * random.normal(M, 3, 3),
        "gate": random.uniform(M, H, W),
        "project": random.normal(C, M),
    }


INVERTED_RESIDUAL = Exercise(
    name="inverted_residual",
    oracle=inverted_residual,
    draw=_draw_block,
    sizes=(
        {"B": 1, "C": 1, "t": 2, "H": 2, "W": 3},
        {"B": 1, "C": 2, "t": 3, "H": 4, "W": 3},
        {"B": 2, "C": 2, "t": 2, "H": 3, "W": 5},
        {"B": 2, "C": 3, "t": 2, "H": 5, "W": 4},
    ),
    variants=(
        Variant(
            "relu6_behind_the_projection",
            partial(_block, narrow="before the sum"),
            "The narrow end has a ReLU6. It is linear: nothing negative could be added"
            " to the input otherwise.",
            _WRONG,
            also=(partial(_block, narrow="after the sum"),),
        ),
        Variant(
            "no_shortcut",
            partial(_block, residual="none"),
            "The input is not added. Stride 1 and equal channels: the block has a"
            " shortcut.",
            _FORMULA,
        ),
        Variant(
            "gate_behind_the_expansion",
            partial(_block, gate_at="expansion"),
            "The gate stands between the expansion and the depthwise convolution. It"
            " belongs behind the depthwise convolution.",
            _WRONG,
        ),
        Variant(
            "gate_before_the_relu6",
            partial(_block, gate_at="before the ReLU6"),
            "The gate stands before the second ReLU6. Values above 6 are cut before"
            " they are gated.",
            _FORMULA,
        ),
        Variant(
            "gate_left_out",
            partial(_block, gate_at="nowhere"),
            "The gate is not used. Multiply the hidden channels by it, behind the"
            " second ReLU6.",
            _FORMULA,
        ),
        Variant(
            "sigmoid_of_the_gate",
            partial(_block, gate_at="sigmoid"),
            "The gate goes through a sigmoid once more. Its numbers are ready to"
            " multiply.",
            _FORMULA,
        ),
        Variant(
            "relu_for_relu6",
            partial(_block, inside="relu"),
            "This is a ReLU. ReLU6 also cuts at 6.",
            _FORMULA,
            also=(
                partial(_block, first="relu"),
                partial(_block, second="relu"),
            ),
        ),
        Variant(
            "depthwise_is_linear",
            partial(_block, second="none"),
            "There is no ReLU6 behind the depthwise convolution. Only the projection"
            " is linear.",
            _FORMULA,
        ),
        Variant(
            "expansion_is_linear",
            partial(_block, first="none"),
            "There is no ReLU6 behind the expansion. Only the projection is linear.",
            _FORMULA,
            also=(partial(_block, inside="none"),),
        ),
        Variant(
            "kernel_flipped",
            partial(_block, flip=True),
            "The kernels are flipped. In this book, as in PyTorch, a convolution does"
            " not flip them.",
            _LOOP,
        ),
        Variant(
            "border_repeated",
            partial(_block, border="repeated"),
            "The border pixels are repeated outside the map. Zeros stand there.",
            _HAND,
        ),
        Variant(
            "border_wrapped",
            partial(_block, border="wrapped"),
            "The map goes on at its other side. Zeros stand outside it.",
            _HAND,
        ),
    ),
    section=_FORMULA,
)


EXERCISES = (
    ROUND_CHANNELS,
    INVERTED_RESIDUAL_PARAMETERS,
    INVERTED_RESIDUAL_MACS,
    SANDGLASS_PARAMETERS,
    SOFT_ARGMAX,
    INVERTED_RESIDUAL,
)
