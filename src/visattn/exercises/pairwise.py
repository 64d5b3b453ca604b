"""Exercises on pairwise attention: groups, positions, relations, aggregation."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.san import (
    PAIRWISE,
    aggregate_loop,
    pairwise_attention_loop,
    pairwise_relation_loop,
    window_coordinates,
)

_PAGE = "exploring/pairwise.html"
_FORMULA = f"{_PAGE}#the-formula"
_HAND = f"{_PAGE}#by-hand"
_LOOP = f"{_PAGE}#the-loop"
_LADDER = f"{_PAGE}#the-ladder"
_COST = f"{_PAGE}#the-cost"
_PROOF = f"{_PAGE}#prove-it"
_WRONG = f"{_PAGE}#right-shape-still-wrong"

Gamma = Callable[[Tensor], Tensor]
Number = Callable[..., int]


# --- windows, with one switch for each place where they can go wrong -------------


def _outside(a: Tensor, length: int, border: str) -> Tensor:
    """Coordinates inside the map, and -1 for those that a zero follows."""
    if border == "reflect":
        a = a.abs()
        return torch.where(a < length, a, 2 * (length - 1) - a)
    if border == "repeat":  # the border pixel comes twice
        a = torch.where(a < 0, -1 - a, a)
        return torch.where(a < length, a, 2 * length - 1 - a)
    if border == "replicate":
        return a.clamp(0, length - 1)
    if border == "wrap":
        return a % length
    return torch.where((a >= 0) & (a < length), a, -1)


def _windows(
    x: Tensor,
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    border: str = "reflect",
    *,
    flipped: bool = False,
    by_column: bool = False,
) -> Tensor:
    """All windows of a map: [B, C, H, W] -> [B, C, P, I, J]."""
    H, W = x.shape[2:]
    steps = dilation * (torch.arange(kernel_size) - kernel_size // 2)
    steps = steps.flip(0) if flipped else steps
    # One more row and one more column, of zeros, is where -1 points.
    x = F.pad(x, (0, 1, 0, 1))
    rows = _outside(torch.arange(0, H, stride) + steps[:, None], H, border)  # [K, I]
    cols = _outside(torch.arange(0, W, stride) + steps[:, None], W, border)  # [K, J]
    windows = x[:, :, rows[:, None, :, None], cols[None, :, None, :]]
    windows = windows.transpose(2, 3) if by_column else windows
    return windows.flatten(2, 3)


def _border(padding_mode: str, border: str) -> str:
    """The border to use: a mistaken one, or the one that was asked for."""
    return border or padding_mode


# --- channel_group --------------------------------------------------------------


def channel_group(channels: int, share: int) -> Tensor:
    """Group of each channel, int64 [channels]: channel c goes to c % groups."""
    return torch.arange(channels) % (channels // share)


CHANNEL_GROUP = Exercise(
    name="channel_group",
    oracle=channel_group,
    draw=lambda random, share, groups: {"channels": share * groups, "share": share},
    sizes=(
        {"share": 2, "groups": 2},
        {"share": 2, "groups": 3},
        {"share": 4, "groups": 3},
        {"share": 3, "groups": 5},
        {"share": 8, "groups": 4},
        {"share": 1, "groups": 6},
    ),
    variants=(
        Variant(
            "groups_contiguous",
            lambda channels, share: torch.arange(channels) // share,
            "The groups are neighbouring channels. The official kernel interleaves"
            " them: channel c takes the weights of group c % G.",
            _WRONG,
        ),
        Variant(
            "modulo_share",
            lambda channels, share: torch.arange(channels) % share,
            "This is c % share. There are channels / share groups, and the remainder"
            " is taken by their number: c % G.",
            _FORMULA,
        ),
        Variant(
            "share_and_groups_exchanged",
            lambda channels, share: torch.arange(channels) // (channels // share),
            "Each run of channels / share channels got one group. `share` says how"
            " many channels have one weight, and they are G apart.",
            _FORMULA,
        ),
        Variant(
            "counted_from_one",
            lambda channels, share: channel_group(channels, share) + 1,
            "The groups are counted from one. Count from zero, as `c % G` does.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
    gradients=False,
)


# --- window_coordinates ---------------------------------------------------------


def _coordinates(
    height: int,
    width: int,
    axis: Callable[[int], Tensor],
    *,
    row_first: bool = False,
) -> Tensor:
    x = axis(width).expand(height, width)
    y = axis(height)[:, None].expand(height, width)
    return torch.stack([y, x] if row_first else [x, y])


def _corners(length: int) -> Tensor:
    return torch.linspace(-1, 1, length)


WINDOW_COORDINATES = Exercise(
    name="window_coordinates",
    oracle=window_coordinates,
    draw=lambda random, height, width: {"height": height, "width": width},
    sizes=(
        {"height": 2, "width": 3},
        {"height": 3, "width": 2},
        {"height": 4, "width": 4},
        {"height": 7, "width": 5},
        {"height": 1, "width": 2},
    ),
    variants=(
        Variant(
            "row_first",
            partial(_coordinates, axis=_corners, row_first=True),
            "The row comes first. Channel 0 is the column, x, and channel 1 the row,"
            " y, as in the official code.",
            _FORMULA,
        ),
        Variant(
            "zero_to_one",
            partial(_coordinates, axis=lambda length: torch.linspace(0, 1, length)),
            "The coordinates run from 0 to 1. They run from -1 to 1.",
            _FORMULA,
        ),
        Variant(
            "pixel_centres",
            partial(
                _coordinates,
                axis=lambda length: (2 * torch.arange(length) + 1) / length - 1,
            ),
            "The outermost pixels are half a pixel inside the interval. Here their"
            " coordinates are exactly -1 and 1.",
            _FORMULA,
        ),
        Variant(
            "one_end_missing",
            partial(
                _coordinates, axis=lambda length: 2 * torch.arange(length) / length - 1
            ),
            "The last pixel does not reach 1. A map of W pixels has W - 1 steps.",
            _FORMULA,
        ),
        Variant(
            "in_pixels",
            partial(_coordinates, axis=lambda length: torch.arange(length).float()),
            "These are pixel numbers. The coordinates run from -1 to 1 on every map.",
            _FORMULA,
        ),
        Variant(
            "height_and_width_exchanged",
            lambda height, width: _coordinates(width, height, _corners),
            "Height and width are exchanged: the map is [2, W, H]. It is [2, H, W].",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
    gradients=False,
    any_float=True,
)


# --- pairwise_relation ----------------------------------------------------------


def _sizes_of_map(
    h: int, w: int, reach: int, stride: bool, dilation: bool
) -> tuple[int, int, Inputs]:
    """Height and width that can be mirrored, and the options that are on."""
    step = 2 if dilation else 1
    options: Inputs = {"kernel_size": 2 * reach + 1}
    if stride:
        options["stride"] = 2
    if dilation:
        options["dilation"] = step
    return h + step * reach, w + step * reach, options


def _draw_relation(
    random: Draw,
    B: int,
    R: int,
    h: int,
    w: int,
    reach: int,
    relation: int,
    stride: bool = False,
    dilation: bool = False,
    zeros: bool = False,
) -> Inputs:
    H, W, options = _sizes_of_map(h, w, reach, stride, dilation)
    options["relation"] = PAIRWISE[(relation - 1) % len(PAIRWISE)]
    if zeros:
        options["padding_mode"] = "zeros"
    maps = {"phi": random.normal(B, R, H, W), "psi": random.normal(B, R, H, W)}
    return maps | options


def _delta(phi: Tensor, psi: Tensor, relation: str, wrong: str = "") -> Tensor:
    """The relation of vectors along channel axis 1, psi as large as the result."""
    phi = phi.expand_as(psi)
    if relation == "summation":
        return phi + psi
    if relation == "subtraction":
        return psi - phi if wrong == "sign" else phi - psi
    if relation == "concatenation":
        return torch.cat([psi, phi] if wrong == "order" else [phi, psi], dim=1)
    product = phi * psi
    if relation == "hadamard":
        return product.sum(1, keepdim=True) if wrong == "summed" else product
    if wrong == "not summed":
        return product
    scale = phi.shape[1] ** -0.5 if wrong == "scaled" else 1.0
    return scale * product.sum(1, keepdim=True)


def _relation(
    phi: Tensor,
    psi: Tensor,
    kernel_size: int,
    relation: str = "subtraction",
    stride: int = 1,
    dilation: int = 1,
    padding_mode: str = "reflect",
    *,
    wrong: str = "",
    border: str = "",
    by_column: bool = False,
    flipped: bool = False,
    ignored: str = "",
) -> Tensor:
    """`pairwise_relation` with one switch for each mistake."""
    stride = 1 if ignored == "stride" else stride
    dilation = 1 if ignored == "dilation" else dilation
    relation = "subtraction" if ignored == "relation" else relation
    if wrong == "exchanged":
        phi, psi = psi, phi
    around = _windows(
        psi,
        kernel_size,
        stride,
        dilation,
        _border(padding_mode, border),
        by_column=by_column,
        flipped=flipped,
    )
    centre = phi[:, :, None, ::stride, ::stride]
    return _delta(centre, around, relation, wrong)


def _centre_walks(
    phi: Tensor,
    psi: Tensor,
    kernel_size: int,
    relation: str = "subtraction",
    stride: int = 1,
    dilation: int = 1,
    padding_mode: str = "reflect",
) -> Tensor:
    """Psi of the centre with phi of the neighbours, in their right roles otherwise."""
    around = _windows(phi, kernel_size, stride, dilation, padding_mode)
    centre = psi[:, :, None, ::stride, ::stride].expand_as(around)
    return _delta(around, centre, relation)


PAIRWISE_RELATION = Exercise(
    name="pairwise_relation",
    oracle=pairwise_relation_loop,
    draw=_draw_relation,
    sizes=(
        {"B": 1, "R": 2, "h": 1, "w": 2, "reach": 1, "relation": 2},
        {"B": 1, "R": 2, "h": 2, "w": 1, "reach": 1, "relation": 1},
        {"B": 2, "R": 3, "h": 2, "w": 3, "reach": 1, "relation": 3},
        {"B": 1, "R": 3, "h": 2, "w": 2, "reach": 1, "relation": 4},
        {"B": 2, "R": 2, "h": 1, "w": 2, "reach": 1, "relation": 5},
        {"B": 1, "R": 2, "h": 2, "w": 3, "reach": 2, "relation": 2},
        {"B": 1, "R": 2, "h": 3, "w": 2, "reach": 1, "relation": 2, "stride": True},
        {"B": 1, "R": 2, "h": 2, "w": 3, "reach": 1, "relation": 2, "dilation": True},
        {"B": 1, "R": 2, "h": 2, "w": 2, "reach": 1, "relation": 2, "zeros": True},
    ),
    variants=(
        Variant(
            "neighbour_minus_centre",
            partial(_relation, wrong="sign"),
            "The subtraction is the other way round. It is centre minus neighbour,"
            " phi(x_i) - psi(x_j).",
            _FORMULA,
        ),
        Variant(
            "neighbour_first",
            partial(_relation, wrong="order"),
            "The concatenation begins with the neighbour. The centre comes first:"
            " [phi(x_i), psi(x_j)].",
            _FORMULA,
        ),
        Variant(
            "phi_and_psi_exchanged",
            partial(_relation, wrong="exchanged"),
            "phi and psi are exchanged. phi belongs to the centre of the window, psi"
            " to its pixels.",
            _FORMULA,
            also=(_centre_walks,),
        ),
        Variant(
            "hadamard_summed",
            partial(_relation, wrong="summed"),
            "The Hadamard product is summed over the channels. That is the dot"
            " product; here all R products stay.",
            _FORMULA,
        ),
        Variant(
            "dot_not_summed",
            partial(_relation, wrong="not summed"),
            "The dot product is not summed over the channels. It is one number, D = 1.",
            _FORMULA,
        ),
        Variant(
            "dot_scaled",
            partial(_relation, wrong="scaled"),
            "The dot product is divided by the root of R. There is no scale in this"
            " relation; gamma can learn one.",
            _FORMULA,
        ),
        Variant(
            "border_zeros",
            partial(_relation, border="zeros"),
            "Zeros lie outside the map. With `reflect` it is mirrored there, as in the"
            " official code.",
            _WRONG,
        ),
        Variant(
            "border_replicated",
            partial(_relation, border="replicate"),
            "The nearest border pixel stands outside the map. A mirror does not stop"
            " at the border: row -2 is row 2.",
            _HAND,
        ),
        Variant(
            "border_repeated",
            partial(_relation, border="repeat"),
            "The mirror shows the border pixel twice: row -1 is row 0. With `reflect`"
            " row -1 is row 1.",
            _HAND,
        ),
        Variant(
            "padding_mode_ignored",
            partial(_relation, border="reflect"),
            "`padding_mode` is not used. With `zeros` the vectors outside are zero.",
            _FORMULA,
        ),
        Variant(
            "places_by_column",
            partial(_relation, by_column=True),
            "The places of the window are counted column by column. They are counted"
            " row by row.",
            _LADDER,
        ),
        Variant(
            "window_mirrored",
            partial(_relation, flipped=True),
            "The window is mirrored: its first place must be the neighbour above and"
            " to the left.",
            _LADDER,
        ),
        Variant(
            "dilation_ignored",
            partial(_relation, ignored="dilation"),
            "The dilation is not used: the places of the window are neighbours. They"
            " are `dilation` pixels apart.",
            _LADDER,
        ),
        Variant(
            "stride_ignored",
            partial(_relation, ignored="stride"),
            "The stride is not used: there is a window for every pixel.",
            _LADDER,
        ),
        Variant(
            "always_subtraction",
            partial(_relation, ignored="relation"),
            "The argument `relation` is not used: it is always the subtraction.",
            _FORMULA,
        ),
    ),
    section=_LOOP,
)


# --- aggregate ------------------------------------------------------------------


def _draw_aggregate(
    random: Draw,
    B: int,
    share: int,
    G: int,
    h: int,
    w: int,
    reach: int,
    stride: bool = False,
    dilation: bool = False,
    zeros: bool = False,
) -> Inputs:
    H, W, options = _sizes_of_map(h, w, reach, stride, dilation)
    if zeros:
        options["padding_mode"] = "zeros"
    step = options.get("stride", 1)
    shape = B, G, options["kernel_size"] ** 2, -(-H // step), -(-W // step)
    maps = {
        "weights": random.normal(*shape).softmax(2),
        "values": random.normal(B, share * G, H, W),
    }
    return maps | options


def _by_group(weights: Tensor, channels: int, groups: str = "") -> Tensor:
    """A weight for every channel: [B, G, ...] -> [B, C, ...]."""
    G = weights.shape[1]
    channel = torch.arange(channels)
    if groups == "contiguous":
        return weights[:, channel // (channels // G)]
    if groups == "first":
        return weights[:, :1].expand(-1, channels, *weights.shape[2:])
    if groups == "mean":
        weights = weights.mean(1, keepdim=True)
        return weights.expand(-1, channels, *weights.shape[2:])
    return weights[:, channel % G]


def _aggregate(
    weights: Tensor,
    values: Tensor,
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    padding_mode: str = "reflect",
    *,
    groups: str = "",
    border: str = "",
    by_column: bool = False,
    flipped: bool = False,
    dilated: bool = True,
    again: str = "",
) -> Tensor:
    """`aggregate` with one switch for each mistake."""
    windows = _windows(
        values,
        kernel_size,
        stride,
        dilation if dilated else 1,
        _border(padding_mode, border),
        by_column=by_column,
        flipped=flipped,
    )
    if again == "softmax":
        weights = weights.softmax(2)
    y = (_by_group(weights, values.shape[1], groups) * windows).sum(2)
    return y / kernel_size**2 if again == "mean" else y


AGGREGATE = Exercise(
    name="aggregate",
    oracle=aggregate_loop,
    draw=_draw_aggregate,
    sizes=(
        {"B": 1, "share": 1, "G": 1, "h": 1, "w": 2, "reach": 1},
        {"B": 1, "share": 2, "G": 2, "h": 2, "w": 1, "reach": 1},
        {"B": 2, "share": 2, "G": 3, "h": 2, "w": 3, "reach": 1},
        {"B": 1, "share": 3, "G": 2, "h": 3, "w": 2, "reach": 2},
        {"B": 1, "share": 1, "G": 2, "h": 3, "w": 2, "reach": 1, "stride": True},
        {"B": 1, "share": 2, "G": 1, "h": 1, "w": 3, "reach": 1, "dilation": True},
        {"B": 1, "share": 1, "G": 2, "h": 2, "w": 2, "reach": 1, "zeros": True},
    ),
    variants=(
        Variant(
            "groups_contiguous",
            partial(_aggregate, groups="contiguous"),
            "Neighbouring channels share a weight. In the official kernel the groups"
            " are interleaved: channel c takes the weights of group c % G.",
            _WRONG,
        ),
        Variant(
            "border_zeros",
            partial(_aggregate, border="zeros"),
            "Zeros lie outside the map, so the border gets darker. With `reflect` the"
            " map is mirrored there, as in the official code.",
            _WRONG,
        ),
        Variant(
            "border_replicated",
            partial(_aggregate, border="replicate"),
            "The nearest border pixel stands outside the map. A mirror does not stop"
            " at the border: row -2 is row 2.",
            _HAND,
        ),
        Variant(
            "border_repeated",
            partial(_aggregate, border="repeat"),
            "The mirror shows the border pixel twice: row -1 is row 0. With `reflect`"
            " row -1 is row 1.",
            _HAND,
        ),
        Variant(
            "border_wrapped",
            partial(_aggregate, border="wrap"),
            "What leaves the map on one side comes back on the other. With `reflect`"
            " the map is mirrored at its border.",
            _HAND,
        ),
        Variant(
            "padding_mode_ignored",
            partial(_aggregate, border="reflect"),
            "`padding_mode` is not used. With `zeros` the values outside are zero.",
            _FORMULA,
        ),
        Variant(
            "first_group_for_all",
            partial(_aggregate, groups="first"),
            "All channels take the weights of group 0. Channel c takes those of group"
            " c % G.",
            _FORMULA,
        ),
        Variant(
            "groups_averaged",
            partial(_aggregate, groups="mean"),
            "The groups are averaged, so every channel has the same weights: scalar"
            " attention. Channel c takes the weights of group c % G.",
            _FORMULA,
        ),
        Variant(
            "places_by_column",
            partial(_aggregate, by_column=True),
            "Weights that count the window row by row meet values that count it column"
            " by column.",
            _LADDER,
        ),
        Variant(
            "window_mirrored",
            partial(_aggregate, flipped=True),
            "The window is mirrored: the first weight belongs to the neighbour above"
            " and to the left.",
            _LADDER,
        ),
        Variant(
            "dilation_ignored",
            partial(_aggregate, dilated=False),
            "The dilation is not used: the places of the window are neighbours. They"
            " are `dilation` pixels apart.",
            _LADDER,
        ),
        Variant(
            "softmax_again",
            partial(_aggregate, again="softmax"),
            "The weights go through a softmax here. They are used as they come.",
            _FORMULA,
        ),
        Variant(
            "averaged",
            partial(_aggregate, again="mean"),
            "The sum is divided by the number of places. The weights alone decide how"
            " much a pixel counts.",
            _FORMULA,
        ),
    ),
    section=_LADDER,
)


# --- pairwise_operations --------------------------------------------------------


def pairwise_operations(
    height: int,
    width: int,
    in_channels: int,
    relation_channels: int,
    out_channels: int,
    kernel_size: int,
    share: int,
) -> int:
    """Multiply-adds of one image in `PairwiseAttention2d` with the subtraction."""
    R, C, G = relation_channels, out_channels, out_channels // share
    pixel = in_channels * (2 * R + C) + 4
    pair = (R + 2) * R + R * G + C
    return height * width * (pixel + kernel_size**2 * pair)


def _operations(
    height: int,
    width: int,
    in_channels: int,
    relation_channels: int,
    out_channels: int,
    kernel_size: int,
    share: int,
    *,
    wrong: str,
) -> int:
    """The same with one mistake."""
    R, C, G = relation_channels, out_channels, out_channels // share
    maps = 1 if wrong == "phi is psi" else 2
    pixel = in_channels * (maps * R + C)
    pixel += 0 if wrong == "no positions" else 4
    first = R if wrong == "no offset" else R + 2
    last = {"per channel": R * C, "share": R * share}.get(wrong, R * G)
    gamma = first * R + last
    values = {"dense": C * C, "one per group": G}.get(wrong, C)
    places = 1 if wrong == "once" else kernel_size**2
    around = kernel_size if wrong == "one side" else kernel_size**2
    total = pixel + places * gamma + around * values
    if wrong == "one side":
        total = pixel + around * (gamma + values)
    if wrong == "parameters":
        return pixel + gamma
    return height * width * total * (2 if wrong == "twice" else 1)


def _counted(wrong: str) -> Number:
    return partial(_operations, wrong=wrong)


PAIRWISE_OPERATIONS = Exercise(
    name="pairwise_operations",
    oracle=pairwise_operations,
    draw=lambda random, H, W, C, R, share, G, reach: {
        "height": H,
        "width": W,
        "in_channels": C,
        "relation_channels": R,
        "out_channels": share * G,
        "kernel_size": 2 * reach + 1,
        "share": share,
    },
    sizes=(
        {"H": 2, "W": 3, "C": 4, "R": 3, "share": 2, "G": 3, "reach": 1},
        {"H": 7, "W": 5, "C": 8, "R": 2, "share": 4, "G": 2, "reach": 1},
        {"H": 14, "W": 9, "C": 48, "R": 3, "share": 3, "G": 5, "reach": 2},
        {"H": 28, "W": 28, "C": 256, "R": 16, "share": 8, "G": 8, "reach": 3},
    ),
    variants=(
        Variant(
            "gamma_once_per_pixel",
            _counted("once"),
            "gamma is counted once for a pixel. It runs for every pair, K*K times.",
            _COST,
        ),
        Variant(
            "weight_per_channel",
            _counted("per channel"),
            "gamma makes a weight for every channel here. It makes one for each of the"
            " out_channels / share groups.",
            _COST,
        ),
        Variant(
            "share_for_groups",
            _counted("share"),
            "gamma makes `share` weights here. There are out_channels / share of them.",
            _COST,
        ),
        Variant(
            "offset_forgotten",
            _counted("no offset"),
            "The two numbers of the relative position are missing from the input of"
            " gamma: it is R + 2 wide.",
            _COST,
        ),
        Variant(
            "position_map_forgotten",
            _counted("no positions"),
            "The 2 x 2 map of the coordinates is missing: 4 multiply-adds per pixel.",
            _COST,
        ),
        Variant(
            "dense_aggregation",
            _counted("dense"),
            "The aggregation mixes channels here, as a convolution does. It multiplies"
            " each channel by its weight: C per pair.",
            _COST,
        ),
        Variant(
            "values_per_group",
            _counted("one per group"),
            "The aggregation is counted once per group. A group shares its weight, but"
            " each channel is multiplied: C per pair.",
            _COST,
        ),
        Variant(
            "phi_is_psi",
            _counted("phi is psi"),
            "One projection is missing: phi and psi are two, each of R channels.",
            _COST,
        ),
        Variant(
            "window_side_once",
            _counted("one side"),
            "A window has K*K places, not K.",
            _COST,
        ),
        Variant(
            "parameters_counted",
            _counted("parameters"),
            "This counts entries of the matrices. Multiply them by how often each is"
            " used: per pixel, or per pair.",
            _COST,
        ),
        Variant(
            "adds_counted_too",
            _counted("twice"),
            "Multiplications and additions are counted apart. A multiply-add is one.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- pairwise_attention ---------------------------------------------------------


def _linear(random: Draw, inputs: int, outputs: int) -> nn.Conv2d:
    layer: nn.Conv2d = torch.nn.utils.skip_init(
        nn.Conv2d, inputs, outputs, 1, dtype=torch.float64, device="cpu"
    )
    layer.requires_grad_(False)
    layer.weight.copy_(random.normal(outputs, inputs, 1, 1))
    assert layer.bias is not None
    layer.bias.copy_(random.normal(outputs))
    return layer


def _draw_attention(
    random: Draw,
    B: int,
    R: int,
    share: int,
    G: int,
    h: int,
    w: int,
    reach: int,
    relation: int,
    position: bool = False,
    stride: bool = False,
    dilation: bool = False,
    zeros: bool = False,
) -> Inputs:
    inputs = _draw_relation(
        random, B, R, h, w, reach, relation, stride, dilation, zeros
    )
    H, W = inputs["phi"].shape[2:]
    if inputs["relation"] == "subtraction":  # the default need not be passed
        del inputs["relation"]
    inputs["beta"] = random.normal(B, share * G, H, W)
    if position:
        inputs["position"] = random.normal(2, H, W)
    name = inputs.get("relation", "subtraction")
    width = {"concatenation": 2 * R, "dot": 1}.get(name, R) + 2 * position
    first, last = _linear(random, width, 3), _linear(random, 3, G)
    inputs["gamma"] = nn.Sequential(first, nn.ReLU(), last)
    return inputs


def _offsets(
    position: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    border: str,
    wrong: str,
) -> Tensor:
    """Differences of the position map, [1, Q, P, I, J]."""
    p = position[None]
    around = _windows(p, kernel_size, stride, dilation, border)
    centre = p[:, :, None, ::stride, ::stride]
    if wrong == "position of the neighbour":
        return around
    return around - centre if wrong == "position sign" else centre - around


def _normalised(logits: Tensor, over: str) -> Tensor:
    if over == "groups":
        return logits.softmax(1)
    if over == "pixels":
        return logits.flatten(3).softmax(3).view_as(logits)
    if over == "everything":
        return logits.flatten(1).softmax(1).view_as(logits)
    if over == "sigmoid":
        return logits.sigmoid()
    return logits if over == "nothing" else logits.softmax(2)


def _attention(
    phi: Tensor,
    psi: Tensor,
    beta: Tensor,
    gamma: Gamma,
    kernel_size: int,
    relation: str = "subtraction",
    *,
    position: Tensor | None = None,
    stride: int = 1,
    dilation: int = 1,
    padding_mode: str = "reflect",
    over: str = "window",
    groups: str = "",
    border: str = "",
    wrong: str = "",
) -> Tensor:
    """`pairwise_attention` with one switch for each mistake."""
    border = _border(padding_mode, border)
    options = kernel_size, stride, dilation, border
    delta = _relation(phi, psi, kernel_size, relation, *options[1:], wrong=wrong)
    if position is not None and wrong != "position ignored":
        offset = _offsets(position, *options, wrong)
        offset = offset.expand(len(delta), -1, -1, -1, -1)
        delta = torch.cat([delta, offset], dim=1)
    elif position is not None:
        nothing = delta.new_zeros(len(delta), len(position), *delta.shape[2:])
        delta = torch.cat([delta, nothing], dim=1)
    logits = gamma(delta.flatten(3)).unflatten(3, delta.shape[3:])
    weights = _normalised(logits, over)
    values = _windows(beta, *options)
    if wrong == "value of the centre":
        centre = beta[:, :, None, ::stride, ::stride]
        values = centre.expand_as(values)
    return (_by_group(weights, beta.shape[1], groups) * values).sum(2)


_SMALL = {"B": 1, "R": 2, "share": 2, "G": 2, "reach": 1}

PAIRWISE_ATTENTION = Exercise(
    name="pairwise_attention",
    oracle=pairwise_attention_loop,
    draw=_draw_attention,
    sizes=(
        {**_SMALL, "share": 1, "G": 1, "h": 1, "w": 2, "relation": 2},
        {**_SMALL, "B": 2, "h": 2, "w": 1, "relation": 2},
        {**_SMALL, "share": 3, "h": 2, "w": 3, "relation": 2, "position": True},
        {**_SMALL, "h": 1, "w": 2, "relation": 1},
        {**_SMALL, "h": 1, "w": 2, "relation": 3, "position": True},
        {**_SMALL, "h": 2, "w": 2, "relation": 4},
        {**_SMALL, "h": 2, "w": 1, "relation": 5},
        {**_SMALL, "h": 3, "w": 2, "relation": 2, "stride": True},
        {**_SMALL, "h": 1, "w": 3, "relation": 2, "dilation": True},
        {**_SMALL, "h": 2, "w": 2, "relation": 2, "zeros": True},
    ),
    variants=(
        Variant(
            "groups_contiguous",
            partial(_attention, groups="contiguous"),
            "Neighbouring channels share a weight. In the official kernel the groups"
            " are interleaved: channel c takes the weights of group c % G.",
            _WRONG,
        ),
        Variant(
            "softmax_over_groups",
            partial(_attention, over="groups"),
            "The softmax runs over the groups. It runs over the places of the window,"
            " for each group alone.",
            _WRONG,
        ),
        Variant(
            "softmax_over_pixels",
            partial(_attention, over="pixels"),
            "The softmax runs over the pixels of the map. It runs over the places of"
            " one window.",
            _FORMULA,
        ),
        Variant(
            "softmax_over_everything",
            partial(_attention, over="everything"),
            "One softmax runs over groups, places and pixels together. Each window and"
            " each group has its own.",
            _FORMULA,
        ),
        Variant(
            "no_softmax",
            partial(_attention, over="nothing"),
            "The softmax is missing. In pairwise attention the weights of a window sum"
            " to one.",
            _FORMULA,
        ),
        Variant(
            "sigmoid",
            partial(_attention, over="sigmoid"),
            "The weights are sigmoids of the logits. Here it is a softmax over the"
            " window.",
            _FORMULA,
        ),
        Variant(
            "border_zeros",
            partial(_attention, border="zeros"),
            "Zeros lie outside the map. With `reflect` features, values and positions"
            " are mirrored, as in the official code.",
            _WRONG,
        ),
        Variant(
            "border_replicated",
            partial(_attention, border="replicate"),
            "The nearest border pixel stands outside the map. A mirror does not stop"
            " at the border: row -2 is row 2.",
            _HAND,
        ),
        Variant(
            "border_repeated",
            partial(_attention, border="repeat"),
            "The mirror shows the border pixel twice: row -1 is row 0. With `reflect`"
            " row -1 is row 1.",
            _HAND,
        ),
        Variant(
            "padding_mode_ignored",
            partial(_attention, border="reflect"),
            "`padding_mode` is not used. With `zeros` all vectors outside are zero.",
            _FORMULA,
        ),
        Variant(
            "value_of_the_centre",
            partial(_attention, wrong="value of the centre"),
            "Every weight meets the value of the centre. Weight j belongs to the value"
            " of pixel j.",
            _FORMULA,
        ),
        Variant(
            "neighbour_minus_centre",
            partial(_attention, wrong="sign"),
            "The subtraction is the other way round. It is centre minus neighbour,"
            " phi(x_i) - psi(x_j).",
            _FORMULA,
        ),
        Variant(
            "phi_and_psi_exchanged",
            partial(_attention, wrong="exchanged"),
            "phi and psi are exchanged. phi belongs to the centre of the window, psi"
            " to its pixels.",
            _FORMULA,
        ),
        Variant(
            "offset_mirrored",
            partial(_attention, wrong="position sign"),
            "The relative position is mirrored. It is p_i - p_j, centre minus"
            " neighbour.",
            _FORMULA,
        ),
        Variant(
            "position_absolute",
            partial(_attention, wrong="position of the neighbour"),
            "gamma sees the position of the neighbour. It must see the difference"
            " p_i - p_j.",
            _PROOF,
        ),
        Variant(
            "position_ignored",
            partial(_attention, wrong="position ignored"),
            "The position is not used. p_i - p_j joins the relation before gamma.",
            _FORMULA,
        ),
    ),
    section=_LOOP,
)

EXERCISES = (
    CHANNEL_GROUP,
    WINDOW_COORDINATES,
    PAIRWISE_RELATION,
    AGGREGATE,
    PAIRWISE_OPERATIONS,
    PAIRWISE_ATTENTION,
)
