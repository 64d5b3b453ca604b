"""Exercises on channelized axial attention.

Shapes: B batch, H W map, L length of the axis, C channels, G groups of rows.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.axial import (
    channelized_axial_attention,
    channelized_axial_attention_loop,
)

_PAGE = "far/channelized.html"
_LOOK = f"{_PAGE}#look-first"
_FORMULA = f"{_PAGE}#the-formula"
_HAND = f"{_PAGE}#by-hand"
_LADDER = f"{_PAGE}#the-ladder"
_COST = f"{_PAGE}#the-cost"
_PROOF = f"{_PAGE}#prove-it"
_WRONG = f"{_PAGE}#right-shape-still-wrong"
_TABLE = f"{_PAGE}#paper-official-code-timm-ours"
_MODULE = f"{_PAGE}#the-module"

Number = Callable[..., int]


class _Layers(tuple[Tensor, ...]):
    """The matrices of a gate; a message prints their shapes only."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"[{', '.join(f'{list(weight.shape)}' for weight in self)}]"


def _draw_layers(random: Draw, C: int, layers: int, scale: float) -> _Layers:
    """Matrices of a gate whose logits have about the size 1."""
    widths = [C, *[C + 1] * (layers - 1), C]
    matrices = [random.normal(b, a) for a, b in pairwise(widths)]
    return _Layers([scale * matrices[0], *matrices[1:]])


def _draw_columns(random: Draw, B: int, H: int, W: int, C: int) -> Inputs:
    return {
        "attention": (2 * random.normal(B, H, W, H)).softmax(-1),
        "v": random.normal(B, H, W, C),
    }


def _columns(attention: Tensor, v: Tensor) -> Tensor:
    """Plain attention along the columns, [B, H, W, C]."""
    return torch.einsum("bijm,bmjc->bijc", attention, v)


def _mlp(
    z: Tensor,
    weights: Sequence[Tensor],
    *,
    slope: float = 0.2,
    at_the_end: bool = False,
) -> Tensor:
    """The layers of a gate, over the last axis; a slope of 1 leaves them linear."""
    for weight in weights[:-1]:
        z = F.leaky_relu(z @ weight.mT, slope)
    z = z @ weights[-1].mT
    return F.leaky_relu(z, slope) if at_the_end else z


# --- channelized_gate_mean ------------------------------------------------------


def channelized_gate_mean(attention: Tensor, v: Tensor) -> Tensor:
    """The mean of all products of each row of queries, [B, H, C]."""
    B, H, W, C = v.shape
    rows = []
    for i in range(H):
        total = v.new_zeros(B, C)
        for j in range(W):
            for m in range(H):
                total = total + attention[:, i, j, m, None] * v[:, m, j]
        rows.append(total / (H * W))
    return torch.stack(rows, dim=1)


def _mean(attention: Tensor, v: Tensor, how: str) -> Tensor:
    """The same with one thing wrong."""
    _, H, W, _ = v.shape
    y = _columns(attention, v)
    if how == "sums":
        return y.mean(2)
    if how == "sum":
        return y.sum(2)
    if how == "height":
        return y.sum(2) / H
    if how == "map":
        return (y.mean((1, 2)) / H)[:, None].expand(-1, H, -1)
    if how == "values":
        return v.mean(2)
    if how == "exchanged":
        return torch.einsum("bmji,bmjc->bic", attention, v) / (H * W)
    if how == "columns":
        return y.mean(1) / H  # one mean for each column
    raise ValueError(how)


CHANNELIZED_GATE_MEAN = Exercise(
    name="channelized_gate_mean",
    oracle=channelized_gate_mean,
    draw=_draw_columns,
    sizes=(
        {"B": 1, "H": 2, "W": 1, "C": 1},
        {"B": 1, "H": 2, "W": 3, "C": 1},
        {"B": 1, "H": 3, "W": 3, "C": 3},
        {"B": 2, "H": 3, "W": 4, "C": 2},
        {"B": 2, "H": 5, "W": 2, "C": 3},
    ),
    variants=(
        Variant(
            "mean_of_the_sums",
            partial(_mean, how="sums"),
            "This is the mean of the pixels of plain attention. Each of them is the sum"
            " of H products, so divide by H once more.",
            _HAND,
        ),
        Variant(
            "sum_of_the_products",
            partial(_mean, how="sum"),
            "The products are summed. Divide by their number, H*W.",
            _FORMULA,
        ),
        Variant(
            "divided_by_the_height_only",
            partial(_mean, how="height"),
            "The sum is divided by H only. A row of queries has W pixels with H"
            " products each.",
            _FORMULA,
        ),
        Variant(
            "mean_of_the_map",
            partial(_mean, how="map"),
            "Every row gets the mean of the whole map, as a channel gate would. Each"
            " row of queries has a mean of its own.",
            _LOOK,
        ),
        Variant(
            "mean_of_the_values",
            partial(_mean, how="values"),
            "The weights are not used: this is the mean of the values of a row. The"
            " mean runs over products of weights and values.",
            _FORMULA,
        ),
        Variant(
            "query_and_key_exchanged",
            partial(_mean, how="exchanged"),
            "Query and key are exchanged. The first of the two rows in `attention` is"
            " the query's, the last axis is the key's.",
            _FORMULA,
        ),
        Variant(
            "mean_of_each_column",
            partial(_mean, how="columns"),
            "This is one mean for each column. In the pass along columns the queries of"
            " one row share a gate: average over the columns, axis 2.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
)


# --- line_gate ------------------------------------------------------------------


def line_gate(y: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """The gates of the rows from plain column attention, [B, H, C]."""
    B, H, W, _ = y.shape
    gates = []
    for n in range(B):
        for i in range(H):
            z = y[n, i, 0] / (H * W)
            for j in range(1, W):
                z = z + y[n, i, j] / (H * W)
            for weight in weights[:-1]:
                z = F.leaky_relu(weight @ z, 0.2)
            gates.append(1 / (1 + torch.exp(-(weights[-1] @ z))))
    return torch.stack(gates).reshape(B, H, -1)


def _gate(
    y: Tensor,
    weights: Sequence[Tensor],
    *,
    mean: str = "row",
    end: Callable[[Tensor], Tensor] = torch.sigmoid,
    slope: float = 0.2,
    at_the_end: bool = False,
) -> Tensor:
    """The same with every part to choose."""
    H = y.shape[1]
    z = {
        "row": lambda: y.mean(2) / H,
        "no height": lambda: y.mean(2),
        "width": lambda: y.mean(2) / y.shape[2],
        "map": lambda: (y.mean((1, 2)) / H)[:, None].expand(-1, H, -1),
        "largest": lambda: y.amax(2) / H,
        "column": lambda: y.mean(1) / H,
    }[mean]()
    return end(_mlp(z, weights, slope=slope, at_the_end=at_the_end))


def _draw_line_gate(
    random: Draw, B: int, H: int, W: int, C: int, layers: int
) -> Inputs:
    return {
        "y": random.normal(B, H, W, C),
        "weights": _draw_layers(random, C, layers, 2.0 * H),
    }


LINE_GATE = Exercise(
    name="line_gate",
    oracle=line_gate,
    draw=_draw_line_gate,
    sizes=(
        {"B": 1, "H": 2, "W": 1, "C": 1, "layers": 1},
        {"B": 1, "H": 2, "W": 3, "C": 2, "layers": 2},
        {"B": 1, "H": 4, "W": 4, "C": 3, "layers": 3},
        {"B": 2, "H": 3, "W": 5, "C": 3, "layers": 2},
        {"B": 2, "H": 5, "W": 2, "C": 2, "layers": 3},
    ),
    variants=(
        Variant(
            "height_forgotten",
            partial(_gate, mean="no height"),
            "The mean runs over products, and H of them make one pixel of y. Divide the"
            " mean of a row by H.",
            _PROOF,
        ),
        Variant(
            "divided_by_the_width",
            partial(_gate, mean="width"),
            "The mean of a row is divided by W once more. The sum over the keys of a"
            " column has H terms, so the factor is 1/H.",
            _PROOF,
        ),
        Variant(
            "one_gate_for_the_map",
            partial(_gate, mean="map"),
            "All rows share the mean of the map. That is the separate channel gate;"
            " here each row has its own.",
            _LOOK,
        ),
        Variant(
            "largest_pixel",
            partial(_gate, mean="largest"),
            "This takes the largest pixel of a row. Take the mean.",
            _FORMULA,
        ),
        Variant(
            "gates_of_the_columns",
            partial(_gate, mean="column"),
            "These are gates of the columns. After attention along columns the gate"
            " belongs to a row: average over axis 2.",
            _FORMULA,
        ),
        Variant(
            "relu",
            partial(_gate, slope=0.0),
            "Between the layers stands a ReLU. The official code declares a leaky ReLU"
            " of slope 0.2.",
            _TABLE,
        ),
        Variant(
            "slope_of_pytorch",
            partial(_gate, slope=0.01),
            "The leaky ReLU has PyTorch's slope of 0.01. TensorFlow's default, which"
            " the official code uses, is 0.2.",
            _TABLE,
        ),
        Variant(
            "no_activation",
            partial(_gate, slope=1.0),
            "There is no activation between the layers, so they are one matrix.",
            _FORMULA,
        ),
        Variant(
            "activation_at_the_end",
            partial(_gate, at_the_end=True),
            "The activation also follows the last layer. Only the sigmoid comes there.",
            _FORMULA,
        ),
        Variant(
            "no_sigmoid",
            partial(_gate, end=lambda z: z),
            "These are the logits. The gate is their sigmoid.",
            _FORMULA,
        ),
        Variant(
            "softmax",
            partial(_gate, end=lambda z: z.softmax(-1)),
            "A softmax makes the channels compete. Each channel has its own sigmoid.",
            _FORMULA,
        ),
    ),
    section=_PROOF,
)


# --- grouped_channelization -----------------------------------------------------


def grouped_channelization(
    attention: Tensor, v: Tensor, weights: Sequence[Tensor], groups: int
) -> Tensor:
    """Channelized attention along the columns; the groups change nothing."""
    return channelized_axial_attention_loop(attention, v, weights, "height")


def _grouped(
    attention: Tensor,
    v: Tensor,
    weights: Sequence[Tensor],
    groups: int,
    *,
    how: str = "",
) -> Tensor:
    """The published scheme with one thing wrong."""
    H = attention.shape[1]
    size = -(-H // groups)
    if how == "remainder":  # the rows that do not fill a group stay zero
        size = max(H // groups, 1)
    rows = []
    for start in range(0, H, size):
        part = attention[:, start : start + size].permute(1, 0, 3, 2)
        if how == "remainder" and start >= groups * size:
            rows.append(v.new_zeros(v.shape[0], part.shape[0], *v.shape[2:]))
            continue
        alpha = part[..., None] * v  # [rows, B, H, W, C]
        axes = (0, 2, 3) if how == "group mean" else (2, 3)
        mean = alpha.mean(axes, keepdim=True)
        if how == "padded mean":  # zeros fill the last group
            mean = alpha.sum((0, 2, 3), keepdim=True) / (size * H * v.shape[2])
        if how == "key mean":
            mean = alpha.mean(2, keepdim=True)
        gate = torch.sigmoid(_mlp(mean, weights))
        rows.append((gate * alpha).sum(2).transpose(0, 1))
    if how == "order":
        rows = rows[::-1]
    y = torch.cat(rows, dim=1)
    if how == "padding kept":
        missing = size * len(rows) - H
        y = torch.cat([y, v.new_zeros(y.shape[0], missing, *y.shape[2:])], dim=1)
    return y


def _groups_of_places(
    attention: Tensor, v: Tensor, weights: Sequence[Tensor], groups: int
) -> Tensor:
    """Groups of columns, where groups of rows were meant."""
    parts = zip(
        attention.tensor_split(groups, dim=2),
        v.tensor_split(groups, dim=2),
        strict=True,
    )
    done = [
        channelized_axial_attention(a, b, weights, "height")
        for a, b in parts
        if a.shape[2]
    ]
    return torch.cat(done, dim=2)


def _groups_of_keys(
    attention: Tensor, v: Tensor, weights: Sequence[Tensor], groups: int
) -> Tensor:
    """Groups of keys, each with a gate of its own."""
    total = torch.zeros_like(v)
    keys = zip(
        attention.tensor_split(groups, dim=3),
        v.tensor_split(groups, dim=1),
        strict=True,
    )
    for a, b in keys:
        if a.shape[3]:
            y = _columns(a, b)
            gate = torch.sigmoid(_mlp(y.mean(2, keepdim=True) / a.shape[3], weights))
            total = total + gate * y
    return total


def _draw_grouped(
    random: Draw, B: int, H: int, W: int, C: int, layers: int, groups: int
) -> Inputs:
    return {
        **_draw_columns(random, B, H, W, C),
        "weights": _draw_layers(random, C, layers, 3.0 * H),
        "groups": min(groups, H),
    }


GROUPED_CHANNELIZATION = Exercise(
    name="grouped_channelization",
    oracle=grouped_channelization,
    draw=_draw_grouped,
    sizes=(
        {"B": 1, "H": 2, "W": 1, "C": 1, "layers": 1, "groups": 1},
        {"B": 1, "H": 2, "W": 3, "C": 2, "layers": 2, "groups": 2},
        {"B": 1, "H": 4, "W": 4, "C": 2, "layers": 2, "groups": 2},
        {"B": 2, "H": 5, "W": 3, "C": 3, "layers": 2, "groups": 3},
        {"B": 2, "H": 7, "W": 4, "C": 2, "layers": 3, "groups": 3},
    ),
    variants=(
        Variant(
            "one_gate_for_a_group",
            partial(_grouped, how="group mean"),
            "The mean runs over all rows of a group, so the result changes with the"
            " number of groups. Each row has its own mean.",
            _WRONG,
        ),
        Variant(
            "rows_left_over",
            partial(_grouped, how="remainder"),
            "The rows that do not fill a group are left at zero. H need not be a"
            " multiple of the number of groups.",
            _LADDER,
        ),
        Variant(
            "padding_in_the_mean",
            partial(_grouped, how="padded mean"),
            "The zeros that fill the last group are counted in its mean. And each row"
            " has its own mean.",
            _LADDER,
        ),
        Variant(
            "padding_kept",
            partial(_grouped, how="padding kept"),
            "The rows that fill the last group are still in the output. Cut it to H"
            " rows.",
            _LADDER,
        ),
        Variant(
            "groups_in_reverse",
            partial(_grouped, how="order"),
            "The groups are joined in the reverse order.",
            _LADDER,
        ),
        Variant(
            "gate_for_each_pixel",
            partial(_grouped, how="key mean"),
            "Every pixel has a gate of its own. The mean runs over the keys *and* over"
            " the pixels of the row.",
            _FORMULA,
        ),
        Variant(
            "groups_of_columns",
            _groups_of_places,
            "The columns are cut into groups. The mean of a row needs all columns, so"
            " cut the rows of queries.",
            _LADDER,
        ),
        Variant(
            "groups_of_keys",
            _groups_of_keys,
            "The keys are cut into groups. The mean of a row needs all keys, so cut the"
            " rows of queries.",
            _LADDER,
        ),
    ),
    section=_LADDER,
)


# --- intermediate_bytes ---------------------------------------------------------


def intermediate_bytes(
    batch: int, height: int, width: int, channels: int, groups: int, itemsize: int
) -> int:
    """Bytes of the products of the largest group of rows."""
    rows = max(len(range(group, height, groups)) for group in range(groups))
    return rows * batch * height * width * channels * itemsize


def _bytes(
    batch: int,
    height: int,
    width: int,
    channels: int,
    groups: int,
    itemsize: int,
    *,
    how: str = "",
) -> int:
    rows = -(-height // groups)
    if how == "down":
        rows = height // groups
    if how == "all":
        rows = height
    if how == "groups":
        rows = groups
    if how == "width":
        rows = -(-width // groups)
    total = rows * height * width * channels
    if how == "no keys":
        total = rows * width * channels
    if how == "pairs":
        total *= width
    if how == "no channels":
        total //= channels
    if how != "one image":
        total *= batch
    return total if how == "numbers" else total * itemsize


INTERMEDIATE_BYTES = Exercise(
    name="intermediate_bytes",
    oracle=intermediate_bytes,
    draw=lambda random, batch, height, width, channels, groups, itemsize: {
        "batch": batch,
        "height": height,
        "width": width,
        "channels": channels,
        "groups": min(groups, height),
        "itemsize": itemsize,
    },
    sizes=(
        {
            "batch": 1,
            "height": 4,
            "width": 6,
            "channels": 2,
            "groups": 1,
            "itemsize": 4,
        },
        {
            "batch": 2,
            "height": 9,
            "width": 5,
            "channels": 8,
            "groups": 4,
            "itemsize": 8,
        },
        {
            "batch": 3,
            "height": 65,
            "width": 49,
            "channels": 512,
            "groups": 16,
            "itemsize": 2,
        },
        {
            "batch": 2,
            "height": 65,
            "width": 97,
            "channels": 256,
            "groups": 65,
            "itemsize": 4,
        },
    ),
    variants=(
        Variant(
            "rounded_down",
            partial(_bytes, how="down"),
            "H/G is rounded down. If something remains, the largest group has one row"
            " more: round up.",
            _COST,
        ),
        Variant(
            "not_in_groups",
            partial(_bytes, how="all"),
            "This is the tensor of all rows. Only one group of rows is held at a time.",
            _COST,
        ),
        Variant(
            "groups_for_rows",
            partial(_bytes, how="groups"),
            "The number of groups is taken as the number of rows in a group.",
            _COST,
        ),
        Variant(
            "keys_forgotten",
            partial(_bytes, how="no keys"),
            "This is the size of the sums. A product exists for each key of the column"
            " as well: one more factor H.",
            _COST,
        ),
        Variant(
            "along_the_rows",
            partial(_bytes, how="width"),
            "This is the pass along rows. Along columns the queries and the keys of a"
            " pixel lie in H rows.",
            _COST,
        ),
        Variant(
            "all_pairs_of_pixels",
            partial(_bytes, how="pairs"),
            "Here each query meets the whole map. In axial attention it meets the H"
            " pixels of its column.",
            _COST,
        ),
        Variant(
            "channels_forgotten",
            partial(_bytes, how="no channels"),
            "This is the size of the weights. A product is a vector with a number for"
            " each channel.",
            _COST,
        ),
        Variant(
            "one_image",
            partial(_bytes, how="one image"),
            "The batch is not counted.",
            _COST,
        ),
        Variant(
            "numbers_not_bytes",
            partial(_bytes, how="numbers"),
            "These are numbers. Multiply by the bytes of one.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- line_gate_parameters -------------------------------------------------------


def line_gate_parameters(channels: int, depth: int) -> int:
    """Numbers that the gates of both passes learn."""
    widths = [channels, *[channels // 4] * depth, channels]
    return 2 * sum(a * b for a, b in pairwise(widths))


def _parameters(
    channels: int,
    depth: int,
    *,
    gates: int = 2,
    hidden: int = 4,
    biases: bool = False,
    shared: bool = False,
) -> int:
    inside = channels // hidden
    between = 0 if shared else (depth - 1) * inside**2
    total = 2 * channels * inside + between
    return gates * (total + (depth * inside + channels if biases else 0))


LINE_GATE_PARAMETERS = Exercise(
    name="line_gate_parameters",
    oracle=line_gate_parameters,
    draw=lambda random, channels, depth: {"channels": channels, "depth": depth},
    sizes=(
        {"channels": 16, "depth": 1},
        {"channels": 24, "depth": 2},
        {"channels": 512, "depth": 5},
        {"channels": 96, "depth": 3},
    ),
    variants=(
        Variant(
            "one_gate",
            partial(_parameters, gates=1),
            "This is one gate. The rows and the columns have one each.",
            _MODULE,
        ),
        Variant(
            "one_layer_too_many",
            lambda channels, depth: _parameters(channels, depth + 1),
            "There is one matrix too many: between `depth` hidden layers stand"
            " `depth - 1` square ones.",
            _MODULE,
        ),
        Variant(
            "one_layer_too_few",
            lambda channels, depth: _parameters(channels, max(depth - 1, 1)),
            "`depth` counts hidden layers, without the output: there are `depth + 1`"
            " matrices.",
            _MODULE,
        ),
        Variant(
            "two_layers_only",
            partial(_parameters, shared=True),
            "Only the first and the last matrix are counted.",
            _MODULE,
        ),
        Variant(
            "biases_counted",
            partial(_parameters, biases=True),
            "The layers of the gate have no biases.",
            _TABLE,
        ),
        Variant(
            "reduction_of_squeeze_and_excitation",
            partial(_parameters, hidden=16),
            "The hidden width is C/4. A sixteenth is the default of squeeze-and-"
            "excitation.",
            _FORMULA,
        ),
        Variant(
            "full_width_inside",
            partial(_parameters, hidden=1),
            "The hidden layers are as wide as the map here. Their width is C/4.",
            _FORMULA,
        ),
    ),
    section=_MODULE,
    gradients=False,
)


# --- gate_at_another_height -----------------------------------------------------


def gate_at_another_height(gate: Tensor, height: int, other: int) -> Tensor:
    """The gate of the same row means on a map of another height."""
    logits = torch.log(gate) - torch.log(1 - gate)
    return 1 / (1 + torch.exp(-logits * height / other))


def _draw_heights(random: Draw, B: int, C: int, height: int, other: int) -> Inputs:
    return {
        "gate": torch.sigmoid(2 * random.normal(B, C)),
        "height": height,
        "other": other,
    }


def _resized(gate: Tensor, height: int, other: int, *, how: str = "") -> Tensor:
    ratio = height / other
    if how == "gate":
        return gate * ratio
    if how == "distance":
        return 0.5 + (gate - 0.5) * ratio
    if how == "inverse":
        ratio = 1 / ratio
    if how == "root":
        ratio = ratio**0.5
    if how == "square":
        ratio = ratio**2
    if how == "power":
        return gate**ratio
    if how == "unchanged":
        return gate.clone()
    if how == "not log":
        return torch.sigmoid(gate * ratio)
    scaled = torch.logit(gate) * ratio
    return scaled if how == "logit" else torch.sigmoid(scaled)


GATE_AT_ANOTHER_HEIGHT = Exercise(
    name="gate_at_another_height",
    oracle=gate_at_another_height,
    draw=_draw_heights,
    sizes=(
        {"B": 1, "C": 1, "height": 4, "other": 8},
        {"B": 1, "C": 3, "height": 12, "other": 4},
        {"B": 2, "C": 4, "height": 33, "other": 65},
    ),
    variants=(
        Variant(
            "gate_unchanged",
            partial(_resized, how="unchanged"),
            "The gate stays as it is. Its logit contains the factor 1/H.",
            _PROOF,
        ),
        Variant(
            "gate_scaled",
            partial(_resized, how="gate"),
            "The gate itself is scaled. The factor 1/H stands inside the sigmoid: scale"
            " the logit.",
            _PROOF,
        ),
        Variant(
            "wrong_way_round",
            partial(_resized, how="inverse"),
            "The ratio is upside down: on a larger map the logit is smaller.",
            _PROOF,
        ),
        Variant(
            "logit_returned",
            partial(_resized, how="logit"),
            "This is the new logit. The gate is its sigmoid.",
            _PROOF,
        ),
        Variant(
            "gate_taken_for_a_logit",
            partial(_resized, how="not log"),
            "The sigmoid is taken of the gate. First find the logit of the gate.",
            _PROOF,
        ),
        Variant(
            "distance_from_one_half",
            partial(_resized, how="distance"),
            "The distance from one half is scaled. That is nearly right for small"
            " logits only.",
            _PROOF,
        ),
        Variant(
            "power_of_the_gate",
            partial(_resized, how="power"),
            "The gate is raised to a power. This scales its logarithm, not its logit"
            " log g - log(1 - g).",
            _PROOF,
        ),
        Variant(
            "square_root",
            partial(_resized, how="root"),
            "The logit is scaled by the square root of the ratio. A mean of products"
            " has the plain factor 1/H.",
            _PROOF,
        ),
        Variant(
            "squared",
            partial(_resized, how="square"),
            "The factor stands twice. Only the number of keys changes the mean; the"
            " mean of plain attention over a row stays.",
            _PROOF,
        ),
    ),
    section=_PROOF,
)


# --- channelized_axial_attention ------------------------------------------------


def _channelized(
    attention: Tensor,
    v: Tensor,
    weights: Sequence[Tensor],
    axis: str = "height",
    *,
    mean: str = "line",
    end: Callable[[Tensor], Tensor] = torch.sigmoid,
    slope: float = 0.2,
    exchanged: bool = False,
    gated: str = "output",
    turned_back: bool = True,
) -> Tensor:
    """Channelized attention with every part to choose."""
    if axis == "width":
        attention, v = attention.transpose(1, 2), v.transpose(1, 2)
    # Lines of queries along axis 1, places on the line along axis 2.
    L = attention.shape[-1]
    sums = "bijm,bmjc->bijc" if not exchanged else "bmji,bmjc->bijc"
    y = torch.einsum(sums, attention, v)
    z = {
        "line": lambda: y.mean(2, keepdim=True) / L,
        "sums": lambda: y.mean(2, keepdim=True),
        "sum": lambda: y.sum(2, keepdim=True),
        "map": lambda: y.mean((1, 2), keepdim=True) / L,
        "place": lambda: y.mean(1, keepdim=True) / L,
        "pixel": lambda: y / L,
        "values": lambda: v.mean(2, keepdim=True),
        "batch": lambda: y.mean((0, 2), keepdim=True) / L,
    }[mean]()
    gate = end(_mlp(z, weights, slope=slope))
    if gated == "output":
        y = y * gate
    elif gated == "added":
        y = y + gate
    elif gated == "values":
        y = torch.einsum(sums, attention, v * gate)
    elif gated == "twice":
        y = y * gate * gate
    return y.transpose(1, 2) if axis == "width" and turned_back else y


def _always_along_columns(
    attention: Tensor, v: Tensor, weights: Sequence[Tensor], axis: str = "height"
) -> Tensor:
    return _channelized(attention, v, weights, "height")


def _draw_channelized(
    random: Draw, B: int, H: int, W: int, C: int, layers: int, along_rows: bool
) -> Inputs:
    L = W if along_rows else H
    inputs: Inputs = {
        "attention": (2 * random.normal(B, H, W, L)).softmax(-1),
        "v": random.normal(B, H, W, C),
        "weights": _draw_layers(random, C, layers, 3.0 * L),
    }
    if along_rows:
        inputs["axis"] = "width"
    return inputs


CHANNELIZED_AXIAL_ATTENTION = Exercise(
    name="channelized_axial_attention",
    oracle=channelized_axial_attention_loop,
    draw=_draw_channelized,
    sizes=tuple(
        {"B": B, "H": H, "W": W, "C": C, "layers": layers, "along_rows": along_rows}
        for B, H, W, C, layers, along_rows in (
            (1, 2, 1, 1, 1, False),
            (1, 2, 3, 2, 2, False),
            (1, 3, 3, 2, 2, True),
            (2, 3, 4, 2, 3, False),
            (2, 4, 3, 3, 2, True),
        )
    ),
    variants=(
        Variant(
            "mean_of_the_sums",
            partial(_channelized, mean="sums"),
            "The gate reads the mean of plain attention. The mean of the *products* is"
            " smaller by the number of keys, L.",
            _PROOF,
        ),
        Variant(
            "sum_of_the_products",
            partial(_channelized, mean="sum"),
            "The gate reads the sum of the products. It reads their mean.",
            _FORMULA,
        ),
        Variant(
            "one_gate_for_the_map",
            partial(_channelized, mean="map"),
            "The mean runs over the whole map: this is the separate channel gate. Each"
            " line has its own.",
            _LOOK,
        ),
        Variant(
            "one_gate_for_the_batch",
            partial(_channelized, mean="batch"),
            "The images of the batch are averaged together. Leave axis 0 alone.",
            _FORMULA,
        ),
        Variant(
            "gates_of_the_other_axis",
            partial(_channelized, mean="place"),
            "The lines run the wrong way. Attention along columns has a gate for each"
            " row, attention along rows one for each column.",
            _FORMULA,
        ),
        Variant(
            "gate_for_each_pixel",
            partial(_channelized, mean="pixel"),
            "Every pixel has its own gate. The mean runs over all pixels of the line as"
            " well.",
            _PROOF,
        ),
        Variant(
            "gate_from_the_values",
            partial(_channelized, mean="values"),
            "The gate reads the values. It reads the products, after the weights.",
            _FORMULA,
        ),
        Variant(
            "values_gated",
            partial(_channelized, gated="values"),
            "The gate weighs the values of the *key's* line before the sum. It belongs"
            " to the line of the query.",
            _FORMULA,
        ),
        Variant(
            "gate_forgotten",
            partial(_channelized, gated="no"),
            "This is axial attention without a gate.",
            _FORMULA,
        ),
        Variant(
            "gate_added",
            partial(_channelized, gated="added"),
            "The gate is added. Multiply.",
            _FORMULA,
        ),
        Variant(
            "gate_twice",
            partial(_channelized, gated="twice"),
            "The gate stands twice. If it weighs the products, their sum needs none.",
            _PROOF,
        ),
        Variant(
            "query_and_key_exchanged",
            partial(_channelized, exchanged=True),
            "Query and key are exchanged. The last axis of `attention` is the key.",
            _FORMULA,
        ),
        Variant(
            "axis_ignored",
            _always_along_columns,
            '`axis` is not used: for "width" this still attends along columns.',
            _LADDER,
        ),
        Variant(
            "not_turned_back",
            partial(_channelized, turned_back=False),
            'For "width" rows and columns are still exchanged in the result. Exchange'
            " them back.",
            _LADDER,
        ),
        Variant(
            "relu",
            partial(_channelized, slope=0.0),
            "Between the layers stands a ReLU. The official code declares a leaky ReLU"
            " of slope 0.2.",
            _TABLE,
        ),
        Variant(
            "slope_of_pytorch",
            partial(_channelized, slope=0.01),
            "The leaky ReLU has PyTorch's slope of 0.01. TensorFlow's default, which"
            " the official code uses, is 0.2.",
            _TABLE,
        ),
        Variant(
            "no_activation",
            partial(_channelized, slope=1.0),
            "There is no activation between the layers, so they are one matrix.",
            _FORMULA,
        ),
        Variant(
            "no_sigmoid",
            partial(_channelized, end=lambda z: z),
            "The products are multiplied by logits. Take their sigmoid.",
            _FORMULA,
        ),
        Variant(
            "softmax",
            partial(_channelized, end=lambda z: z.softmax(-1)),
            "A softmax makes the channels compete. Each channel has its own sigmoid.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
)


EXERCISES = (
    CHANNELIZED_GATE_MEAN,
    LINE_GATE,
    GROUPED_CHANNELIZATION,
    INTERMEDIATE_BYTES,
    LINE_GATE_PARAMETERS,
    GATE_AT_ANOTHER_HEIGHT,
    CHANNELIZED_AXIAL_ATTENTION,
)
