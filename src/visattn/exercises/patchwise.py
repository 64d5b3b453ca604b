"""Exercises on patchwise attention: relations of a whole window, and its weights.

Shapes: B batch, R relation channels, C value channels, G groups, S = C/G channels that
share a weight, H W map, I J rows and columns of windows, K window, P = K*K its places
row by row, D channels of a relation, M hidden channels.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.san import (
    Gamma,
    PatchwiseAttention2d,
    patchwise_attention_loop,
    patchwise_relation_loop,
)

_PAGE = "exploring/patchwise.html"
_FORMULA = f"{_PAGE}#the-formula"
_HAND = f"{_PAGE}#by-hand"
_LADDER = f"{_PAGE}#the-ladder"
_COST = f"{_PAGE}#the-cost"
_PROVE = f"{_PAGE}#prove-it"
_WRONG = f"{_PAGE}#right-shape-still-wrong"
_TABLE = f"{_PAGE}#paper-official-code-timm-ours"
_MODULE = f"{_PAGE}#the-module"

_RELATIONS = ("concatenation", "star", "clique")


def _name(relation: int) -> str:
    """The relation of a case: 1, 2, 3 and again from the first."""
    return _RELATIONS[(relation - 1) % 3]


# --- reflect_index --------------------------------------------------------------


def reflect_index(index: int, length: int) -> int:
    """The row inside a map that stands for a row outside, the border not repeated."""
    if index < 0:
        return -index
    return 2 * (length - 1) - index if index >= length else index


def _index_of_case(random: Draw, length: int, outside: int, after: bool) -> Inputs:
    outside = min(outside, length - 1)
    return {
        "index": length - 1 + outside if after else -outside,
        "length": length,
    }


REFLECT_INDEX = Exercise(
    name="reflect_index",
    oracle=reflect_index,
    draw=_index_of_case,
    sizes=(
        {"length": 5, "outside": 1, "after": False},
        {"length": 5, "outside": 1, "after": True},
        {"length": 7, "outside": 3, "after": False},
        {"length": 7, "outside": 3, "after": True},
        {"length": 4, "outside": 3, "after": False},
        {"length": 4, "outside": 3, "after": True},
        {"length": 9, "outside": 0, "after": False},
        {"length": 9, "outside": 0, "after": True},
    ),
    variants=(
        Variant(
            "border_repeated",
            lambda index, length: (
                -index - 1
                if index < 0
                else 2 * length - 1 - index
                if index >= length
                else index
            ),
            "The border row is repeated: row -1 became row 0. The mirror stands in the"
            " border row, so row -1 is row 1.",
            _FORMULA,
        ),
        Variant(
            "nearest_row",
            lambda index, length: min(max(index, 0), length - 1),
            "Every row outside became the border row. Count back into the map: row -2"
            " is row 2.",
            _FORMULA,
        ),
        Variant(
            "wrapped_around",
            lambda index, length: index % length,
            "The map goes on from its other side. It is mirrored: row -1 is row 1.",
            _FORMULA,
        ),
        Variant(
            "far_side_not_mirrored",
            lambda index, length: abs(index),
            "Rows before the first one are right, rows after the last one are not: they"
            " are still outside.",
            _HAND,
        ),
        Variant(
            "near_side_not_mirrored",
            lambda index, length: (
                2 * (length - 1) - index if index >= length else index
            ),
            "Rows after the last one are right, rows before the first one are not: they"
            " are still outside.",
            _HAND,
        ),
        Variant(
            "far_side_repeated",
            lambda index, length: (
                -index
                if index < 0
                else 2 * length - 1 - index
                if index >= length
                else index
            ),
            "After the last row the border row is repeated. The last row is length - 1:"
            " mirror there.",
            _HAND,
        ),
        Variant(
            "far_side_one_too_far",
            lambda index, length: (
                -index
                if index < 0
                else 2 * (length - 1) - index - 1
                if index >= length
                else index
            ),
            "After the last row the result is one row too low. The row after the last"
            " one is length - 2.",
            _HAND,
        ),
    ),
    section=_FORMULA,
    gradients=False,
)


# --- gamma_parameters -----------------------------------------------------------


def _relation_width(kernel_size: int, relation_channels: int, relation: str) -> int:
    P = kernel_size**2
    return {"star": P, "clique": P * P}.get(relation, relation_channels * (P + 1))


def gamma_parameters(
    kernel_size: int, relation_channels: int, groups: int, relation: str
) -> int:
    """Parameters of gamma in `PatchwiseAttention2d`."""
    D = _relation_width(kernel_size, relation_channels, relation)
    return _gamma_count(D, groups, kernel_size**2, groups)


def _gamma_count(
    D: int,
    G: int,
    P: int,
    hidden: int,
    *,
    norms: int = 2,
    first_bias: bool = False,
    second_bias: bool = True,
) -> int:
    count = norms * (D + hidden) + D * hidden + hidden * G * P
    return count + hidden * first_bias + G * P * second_bias


def _count(
    kernel_size: int,
    relation_channels: int,
    groups: int,
    relation: str,
    *,
    width: str = "",
    hidden: str = "groups",
    places: bool = True,
    norms: int = 2,
    first_bias: bool = False,
    second_bias: bool = True,
) -> int:
    """The same with a mistake to choose."""
    P = kernel_size**2
    D = _relation_width(kernel_size, relation_channels, relation)
    if width == "centre forgotten" and relation == "concatenation":
        D = relation_channels * P
    if width == "one centre" and relation == "concatenation":
        D = relation_channels * P + 1
    if width == "clique as star" and relation == "clique":
        D = P
    if width == "clique halved" and relation == "clique":
        D = P * (P + 1) // 2
    if width == "times R" and relation != "concatenation":
        D *= relation_channels
    return _gamma_count(
        D,
        groups,
        P if places else 1,
        groups if hidden == "groups" else relation_channels,
        norms=norms,
        first_bias=first_bias,
        second_bias=second_bias,
    )


GAMMA_PARAMETERS = Exercise(
    name="gamma_parameters",
    oracle=gamma_parameters,
    draw=lambda random, reach, channels, groups, relation: {
        "kernel_size": 2 * reach + 1,
        "relation_channels": channels,
        "groups": groups,
        "relation": _name(relation),
    },
    sizes=(
        {"reach": 1, "channels": 2, "groups": 1, "relation": 1},
        {"reach": 1, "channels": 2, "groups": 3, "relation": 2},
        {"reach": 1, "channels": 2, "groups": 3, "relation": 3},
        {"reach": 2, "channels": 5, "groups": 4, "relation": 1},
        {"reach": 3, "channels": 16, "groups": 8, "relation": 1},
        {"reach": 3, "channels": 16, "groups": 8, "relation": 2},
        {"reach": 3, "channels": 16, "groups": 8, "relation": 3},
    ),
    variants=(
        Variant(
            "norms_forgotten",
            partial(_count, norms=0),
            "The two batch norms are missing: a weight and a bias for each of their"
            " channels.",
            _COST,
        ),
        Variant(
            "norm_without_bias",
            partial(_count, norms=1),
            "Each batch norm is counted with one parameter for a channel. It has two, a"
            " weight and a bias.",
            _COST,
        ),
        Variant(
            "running_statistics_counted",
            partial(_count, norms=4),
            "Running means and variances are counted. They are not learned: a batch"
            " norm has two parameters for each channel.",
            _COST,
        ),
        Variant(
            "first_bias_counted",
            partial(_count, first_bias=True),
            "The first linear map is counted with a bias. A norm follows it, so it has"
            " none.",
            _COST,
        ),
        Variant(
            "second_bias_forgotten",
            partial(_count, second_bias=False),
            "The bias of the second linear map is missing: one number for each group"
            " and place.",
            _COST,
        ),
        Variant(
            "centre_forgotten",
            partial(_count, width="centre forgotten"),
            "In the concatenation the R channels of the centre are missing: it has"
            " R + R*P.",
            _FORMULA,
        ),
        Variant(
            "centre_counted_once",
            partial(_count, width="one centre"),
            "In the concatenation the centre is counted as one channel. It has R of"
            " them.",
            _FORMULA,
        ),
        Variant(
            "clique_counted_as_star",
            partial(_count, width="clique as star"),
            "The clique is counted with P channels. It pairs every place with every"
            " place: P*P.",
            _FORMULA,
        ),
        Variant(
            "clique_counted_as_symmetric",
            partial(_count, width="clique halved"),
            "The clique is counted as symmetric. phi and psi differ, so the pairs"
            " (j, k) and (k, j) are two numbers.",
            _FORMULA,
        ),
        Variant(
            "products_not_summed",
            partial(_count, width="times R"),
            "Star and clique are counted R times. A product of two vectors is one"
            " number, whatever R is.",
            _FORMULA,
        ),
        Variant(
            "hidden_width_of_pairwise",
            partial(_count, hidden="relation_channels"),
            "The hidden width is R, as in the pairwise module. In the patchwise module"
            " it is the number of groups.",
            _COST,
        ),
        Variant(
            "one_weight_for_each_group",
            partial(_count, places=False),
            "gamma gives one number for each group. It gives the weights of all P"
            " places at once.",
            _FORMULA,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- patchwise_relation ---------------------------------------------------------


def _around(
    x: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    mode: str,
) -> Tensor:
    """Windows [B, R, P, I, J] of a map; ``mode`` is one of `F.pad`."""
    padded = F.pad(x, (dilation * (kernel_size // 2),) * 4, mode=mode)
    columns = F.unfold(padded, kernel_size, dilation, stride=stride)
    rows, cols = ((n - 1) // stride + 1 for n in x.shape[2:])
    return columns.reshape(*x.shape[:2], kernel_size**2, rows, cols)


def _columns_first(x: Tensor) -> Tensor:
    """Places [..., P, I, J] counted column by column."""
    K = round(x.shape[-3] ** 0.5)
    grid = x.reshape(*x.shape[:-3], K, K, *x.shape[-2:])
    return grid.transpose(-4, -3).flatten(-4, -3)


def _relate(
    phi: Tensor,
    psi: Tensor,
    kernel_size: int,
    relation: str = "concatenation",
    stride: int = 1,
    dilation: int = 1,
    padding_mode: str = "reflect",
    *,
    wrong: str = "",
    padding: str = "",
) -> Tensor:
    """The relations, with a mistake or another padding to choose."""
    mode = padding or ("reflect" if padding_mode == "reflect" else "constant")
    stride = 1 if wrong == "stride ignored" else stride
    dilation = 1 if wrong == "dilation ignored" else dilation
    cut = partial(
        _around,
        kernel_size=kernel_size,
        stride=stride,
        dilation=dilation,
        mode=mode,
    )
    around, phis = cut(psi), cut(phi)  # [B, R, P, I, J]
    centre = phi[:, :, ::stride, ::stride]
    if wrong == "mirrored":
        around, phis = around.flip(2), phis.flip(2)
    if wrong == "column by column":
        around, phis = _columns_first(around), _columns_first(phis)
    if relation == "star":
        star = torch.einsum("brij,brpij->bpij", centre, around)
        return star / phi.shape[1] ** 0.5 if wrong == "scaled" else star
    if relation == "clique":
        pairs = torch.einsum("brpij,brqij->bpqij", phis, around)
        pairs = pairs.transpose(1, 2) if wrong == "transposed" else pairs
        pairs = pairs / phi.shape[1] ** 0.5 if wrong == "scaled" else pairs
        return pairs.flatten(1, 2)
    flat = (around.transpose(1, 2) if wrong == "place-major" else around).flatten(1, 2)
    return torch.cat([flat, centre] if wrong == "psi first" else [centre, flat], dim=1)


def _relation_inputs(
    random: Draw,
    batch: int,
    channels: int,
    height: int,
    width: int,
    reach: int,
    relation: int,
    stride: int,
    dilation: int,
    zeros: bool,
) -> Inputs:
    small = 1 + reach * dilation
    H, W = max(height, small), max(width, small)
    return {
        "phi": random.normal(batch, channels, H, W),
        "psi": random.normal(batch, channels, H, W),
        "kernel_size": 2 * reach + 1,
        "relation": _name(relation),
        "stride": stride,
        "dilation": dilation,
        "padding_mode": "zeros" if zeros else "reflect",
    }


def _maps(
    batch: int,
    channels: int,
    height: int,
    width: int,
    relation: int,
    stride: int = 1,
    dilation: int = 1,
    zeros: bool = False,
) -> dict[str, int]:
    """Sizes of a case with windows of 3 x 3."""
    sizes = {"batch": batch, "channels": channels, "height": height, "width": width}
    steps = {"stride": stride, "dilation": dilation, "zeros": zeros}
    return sizes | {"reach": 1, "relation": relation} | steps


_RELATION_CASES = (
    _maps(1, 2, 3, 4, 1),
    _maps(1, 2, 3, 4, 2),
    _maps(1, 2, 3, 4, 3),
    _maps(2, 3, 4, 3, 1, zeros=True),
    _maps(1, 3, 4, 3, 2, zeros=True),
    _maps(1, 3, 5, 4, 3, stride=2),
    _maps(1, 2, 5, 6, 1, dilation=2),
    _maps(1, 2, 6, 5, 2, stride=2, dilation=2),
    _maps(1, 2, 5, 3, 1, stride=3),
)

_BORDER = "Use reflection for `padding_mode` 'reflect' and zeros for 'zeros'."

PATCHWISE_RELATION = Exercise(
    name="patchwise_relation",
    oracle=patchwise_relation_loop,
    draw=_relation_inputs,
    sizes=_RELATION_CASES,
    variants=(
        Variant(
            "place_major",
            partial(_relate, wrong="place-major"),
            "In the concatenation the places run slower than the channels of psi. The"
            " package counts channel-major, as `F.unfold` does.",
            _WRONG,
        ),
        Variant(
            "psi_before_phi",
            partial(_relate, wrong="psi first"),
            "In the concatenation psi stands before phi. The centre's phi comes first.",
            _FORMULA,
        ),
        Variant(
            "phi_and_psi_exchanged",
            lambda phi, psi, *options: _relate(psi, phi, *options),
            "phi and psi are exchanged. phi is of the centre, psi of the window.",
            _FORMULA,
        ),
        Variant(
            "psi_twice",
            lambda phi, psi, *options: _relate(psi, psi, *options),
            "phi is not used: the centre is taken from psi as well.",
            _FORMULA,
        ),
        Variant(
            "phi_twice",
            lambda phi, psi, *options: _relate(phi, phi, *options),
            "psi is not used: the window is taken from phi as well.",
            _FORMULA,
        ),
        Variant(
            "clique_transposed",
            partial(_relate, wrong="transposed"),
            "The clique is transposed. Channel j*P + k is phi at place j with psi at"
            " place k.",
            _FORMULA,
        ),
        Variant(
            "scaled",
            partial(_relate, wrong="scaled"),
            "The products are divided by the root of R. There is no scale here: gamma"
            " can learn it.",
            _FORMULA,
        ),
        Variant(
            "window_mirrored",
            partial(_relate, wrong="mirrored"),
            "The places are counted from the last one. Place 0 is the upper left"
            " corner of the window.",
            _FORMULA,
        ),
        Variant(
            "column_by_column",
            partial(_relate, wrong="column by column"),
            "The places are counted column by column. Count them row by row.",
            _FORMULA,
        ),
        Variant(
            "zeros_always",
            partial(_relate, padding="constant"),
            f"Zeros stand outside the map, whatever was asked for. {_BORDER}",
            _TABLE,
        ),
        Variant(
            "reflect_always",
            partial(_relate, padding="reflect"),
            f"The map is mirrored, whatever was asked for. {_BORDER}",
            _TABLE,
        ),
        Variant(
            "border_repeated",
            partial(_relate, padding="replicate"),
            "The border pixel is repeated. Reflection leaves it out: row -1 is row 1."
            f" {_BORDER}",
            _FORMULA,
        ),
        Variant(
            "dilation_ignored",
            partial(_relate, wrong="dilation ignored"),
            "The dilation is not used. It is the step between two places of a window.",
            _TABLE,
        ),
        Variant(
            "stride_ignored",
            partial(_relate, wrong="stride ignored"),
            "The stride is not used. Only every stride-th pixel has a window.",
            _TABLE,
        ),
    ),
    section=_FORMULA,
)


# --- to_place_major -------------------------------------------------------------


def to_place_major(weight: Tensor, relation_channels: int) -> Tensor:
    """Columns [M, R + R*P] for a relation whose psi part is place-major."""
    R = relation_channels
    P = weight.shape[1] // R - 1
    columns = list(range(R)) + [R + r * P + p for p in range(P) for r in range(R)]
    return weight[:, columns]


def _as_table(weight: Tensor, relation_channels: int, wrong: str) -> Tensor:
    """The same through a table, with a mistake to choose."""
    R = relation_channels
    centre, around = weight[:, :R], weight[:, R:]
    P = around.shape[1] // R
    if wrong == "all columns":
        return weight.reshape(-1, R, P + 1).mT.flatten(1)
    if wrong == "direction":
        return torch.cat([centre, around.reshape(-1, P, R).mT.flatten(1)], dim=1)
    table = around.reshape(-1, R, P)
    if wrong == "mirrored":
        return torch.cat([centre, table.flip(2).mT.flatten(1)], dim=1)
    return torch.cat([table.mT.flatten(1), centre], dim=1)


TO_PLACE_MAJOR = Exercise(
    name="to_place_major",
    oracle=to_place_major,
    draw=lambda random, hidden, channels, reach: {
        "weight": random.normal(hidden, channels * ((2 * reach + 1) ** 2 + 1)),
        "relation_channels": channels,
    },
    sizes=(
        {"hidden": 1, "channels": 2, "reach": 1},
        {"hidden": 2, "channels": 3, "reach": 1},
        {"hidden": 3, "channels": 4, "reach": 2},
        {"hidden": 2, "channels": 1, "reach": 1},
    ),
    variants=(
        Variant(
            "nothing_moved",
            lambda weight, relation_channels: weight.clone(),
            "Nothing has moved. Column R + r*P + p has to go to R + p*R + r.",
            _WRONG,
        ),
        Variant(
            "wrong_direction",
            partial(_as_table, wrong="direction"),
            "This goes from place-major to channel-major. The columns come as a table"
            " [R, P] and leave as [P, R].",
            _WRONG,
        ),
        Variant(
            "centre_moved_too",
            partial(_as_table, wrong="all columns"),
            "The columns of the centre were shuffled with the others. The first R"
            " columns stay where they are.",
            _FORMULA,
        ),
        Variant(
            "centre_put_last",
            partial(_as_table, wrong="centre last"),
            "The columns of the centre stand at the end. They stay in front.",
            _FORMULA,
        ),
        Variant(
            "window_mirrored",
            partial(_as_table, wrong="mirrored"),
            "The places are counted from the last one. Keep their order.",
            _WRONG,
        ),
    ),
    section=_WRONG,
)


# --- concatenation_hidden -------------------------------------------------------


def concatenation_hidden(
    phi: Tensor, psi: Tensor, weight: Tensor, bias: Tensor, kernel_size: int
) -> Tensor:
    """First linear map of gamma on the concatenation: [B, M, H, W]."""
    delta = patchwise_relation_loop(phi, psi, kernel_size)
    return torch.einsum("md,bdhw->bmhw", weight, delta) + bias[:, None, None]


def _hidden(
    phi: Tensor,
    psi: Tensor,
    weight: Tensor,
    bias: Tensor,
    kernel_size: int,
    *,
    wrong: str = "",
    padding: str = "reflect",
) -> Tensor:
    """The same as two convolutions, with a mistake to choose."""
    R, K, reach = phi.shape[1], kernel_size, kernel_size // 2
    centre, kernel = weight[:, :R], weight[:, R:].unflatten(1, (R, K, K))
    if wrong == "centre last":
        centre, kernel = weight[:, -R:], weight[:, :-R].unflatten(1, (R, K, K))
    if wrong == "place-major":
        kernel = weight[:, R:].unflatten(1, (K, K, R)).movedim(-1, 1)
    if wrong == "flipped":
        kernel = kernel.flip(2, 3)
    if wrong == "transposed":
        kernel = kernel.mT
    at_centre = F.conv2d(phi, centre[..., None, None])
    around = F.conv2d(F.pad(psi, (reach,) * 4, mode=padding), kernel)
    if wrong == "centre forgotten":
        at_centre = torch.zeros_like(at_centre)
    if wrong == "relu":
        return (at_centre + around + bias[:, None, None]).relu()
    times = {"no bias": 0, "two biases": 2, "bias per place": K * K + 1}.get(wrong, 1)
    return at_centre + around + times * bias[:, None, None]


CONCATENATION_HIDDEN = Exercise(
    name="concatenation_hidden",
    oracle=concatenation_hidden,
    draw=lambda random, batch, channels, hidden, height, width, reach: {
        "phi": random.normal(batch, channels, max(height, reach + 1), width + reach),
        "psi": random.normal(batch, channels, max(height, reach + 1), width + reach),
        "weight": random.normal(hidden, channels * ((2 * reach + 1) ** 2 + 1)),
        "bias": random.normal(hidden),
        "kernel_size": 2 * reach + 1,
    },
    sizes=(
        {"batch": 1, "channels": 1, "hidden": 1, "height": 2, "width": 2, "reach": 1},
        {"batch": 1, "channels": 2, "hidden": 1, "height": 3, "width": 3, "reach": 1},
        {"batch": 2, "channels": 3, "hidden": 4, "height": 5, "width": 4, "reach": 1},
        {"batch": 1, "channels": 2, "hidden": 3, "height": 4, "width": 3, "reach": 2},
    ),
    variants=(
        Variant(
            "place_major",
            partial(_hidden, wrong="place-major"),
            "The kernel is read place-major. In the package's order the channels of psi"
            " run slower than the places.",
            _WRONG,
        ),
        Variant(
            "centre_last",
            partial(_hidden, wrong="centre last"),
            "The last R columns are taken for the centre. It has the first R.",
            _FORMULA,
        ),
        Variant(
            "centre_forgotten",
            partial(_hidden, wrong="centre forgotten"),
            "The part of phi is missing: a 1 x 1 convolution with the first R columns.",
            _LADDER,
        ),
        Variant(
            "phi_and_psi_exchanged",
            lambda phi, psi, *others: _hidden(psi, phi, *others),
            "phi and psi are exchanged. phi is taken at the centre, psi in the window.",
            _FORMULA,
        ),
        Variant(
            "kernel_flipped",
            partial(_hidden, wrong="flipped"),
            "The kernel is flipped. `F.conv2d` does not flip: column R + r*P + p is"
            " place p as it stands.",
            _LADDER,
        ),
        Variant(
            "kernel_transposed",
            partial(_hidden, wrong="transposed"),
            "Rows and columns of the kernel are exchanged. Places are counted row by"
            " row.",
            _LADDER,
        ),
        Variant(
            "bias_forgotten",
            partial(_hidden, wrong="no bias"),
            "The bias is missing.",
            _LADDER,
        ),
        Variant(
            "bias_added_twice",
            partial(_hidden, wrong="two biases"),
            "The bias is added in both convolutions. Add it once.",
            _LADDER,
            also=(partial(_hidden, wrong="bias per place"),),
        ),
        Variant(
            "zeros_at_the_border",
            partial(_hidden, padding="constant"),
            "Zeros stand outside the map. Here it is mirrored: pad with"
            " `mode='reflect'` before the convolution.",
            _FORMULA,
        ),
        Variant(
            "border_repeated",
            partial(_hidden, padding="replicate"),
            "The border pixel is repeated. Reflection leaves it out: row -1 is row 1.",
            _FORMULA,
        ),
        Variant(
            "relu_applied",
            partial(_hidden, wrong="relu"),
            "A ReLU is applied. Asked for is the hidden layer before it.",
            _LADDER,
        ),
    ),
    section=_LADDER,
)


# --- depthwise_to_patchwise -----------------------------------------------------


def depthwise_to_patchwise(weight: Tensor) -> nn.Module:
    """The module that is a depthwise convolution, for a kernel [C, 1, K, K]."""
    return _depthwise(weight)


def _depthwise(
    weight: Tensor, *, leave: str = "", order: str = "", share: int = 1
) -> nn.Module:
    """The same with something left as it was, or the kernel in another order."""
    C, _, K, _ = weight.shape
    layer = PatchwiseAttention2d(C, 2, C, K, share=share).to(weight.dtype)
    kernel = {
        "transposed": weight.mT,
        "flipped": weight.flip(2, 3),
        "place-major": weight.flatten(1).mT,
        "first only": weight[:1].expand_as(weight),
    }.get(order, weight)
    last, beta = layer.gamma[-1], layer.beta
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    assert beta.bias is not None
    with torch.no_grad():
        if leave != "weight of gamma":
            last.weight.zero_()
        last.bias.copy_(kernel.flatten()[: len(last.bias)])
        if leave != "weight of beta":
            beta.weight.copy_(torch.eye(C)[..., None, None])
        if leave == "weight of beta, ones":
            beta.weight.fill_(1.0)
        if leave != "bias of beta":
            beta.bias.zero_()
    return layer


def _both_modes(module: nn.Module, inputs: Inputs) -> Tensor:
    """Outputs of a module in training and in evaluation, for one drawn map."""
    C, _, K, _ = inputs["weight"].shape
    x = Draw(0).normal(2, C, K, K + 1)
    with torch.no_grad():
        return torch.stack([module.train(mode)(x) for mode in (True, False)])


DEPTHWISE_TO_PATCHWISE = Exercise(
    name="depthwise_to_patchwise",
    oracle=depthwise_to_patchwise,
    draw=lambda random, channels, reach: {
        "weight": random.normal(channels, 1, 2 * reach + 1, 2 * reach + 1)
    },
    sizes=(
        {"channels": 1, "reach": 1},
        {"channels": 2, "reach": 1},
        {"channels": 3, "reach": 1},
        {"channels": 5, "reach": 2},
    ),
    variants=(
        Variant(
            "gamma_still_sees",
            partial(_depthwise, leave="weight of gamma"),
            "The weights still depend on the content. Set the matrix of gamma's last"
            " linear map to zero, not only its bias.",
            _PROVE,
        ),
        Variant(
            "values_mixed",
            partial(_depthwise, leave="weight of beta"),
            "The values are still a random mixture of the channels. Set the weight of"
            " `beta` to the identity.",
            _PROVE,
        ),
        Variant(
            "values_summed",
            partial(_depthwise, leave="weight of beta, ones"),
            "Every value is the sum of all channels. `beta` must be the identity: ones"
            " on the diagonal only.",
            _PROVE,
        ),
        Variant(
            "bias_of_values_left",
            partial(_depthwise, leave="bias of beta"),
            "The bias of `beta` is still there. Set it to zero: the convolution has"
            " none.",
            _PROVE,
        ),
        Variant(
            "kernel_transposed",
            partial(_depthwise, order="transposed"),
            "Rows and columns of the kernel are exchanged. Places are counted row by"
            " row.",
            _FORMULA,
        ),
        Variant(
            "kernel_flipped",
            partial(_depthwise, order="flipped"),
            "The kernel is flipped. Convolution does not flip its kernel here: place p"
            " keeps its weight.",
            _PROVE,
        ),
        Variant(
            "groups_fastest",
            partial(_depthwise, order="place-major"),
            "The bias of gamma is place-major. Channel g*P + p is group g at place p.",
            _FORMULA,
        ),
        Variant(
            "one_kernel_for_all",
            partial(_depthwise, order="first only"),
            "All channels got the kernel of the first one. With share=1 each channel is"
            " a group of its own.",
            _PROVE,
        ),
    ),
    section=_PROVE,
    gradients=False,
    then=_both_modes,
)


# --- patchwise_attention --------------------------------------------------------


def _attend(
    phi: Tensor,
    psi: Tensor,
    beta: Tensor,
    gamma: Gamma,
    kernel_size: int,
    relation: str = "concatenation",
    *,
    stride: int = 1,
    dilation: int = 1,
    padding_mode: str = "reflect",
    wrong: str = "",
    padding: str = "",
) -> Tensor:
    """Patchwise attention with a mistake or another padding to choose."""
    P = kernel_size**2
    options = stride, dilation, padding_mode
    cut = partial(_relate, wrong=wrong, padding=padding)
    delta = cut(phi, psi, kernel_size, relation, *options)
    copies = partial(
        _relate, padding=padding, wrong=wrong if wrong in _OF_THE_WINDOWS else ""
    )
    values = copies(beta, beta, kernel_size, "concatenation", *options)
    C = beta.shape[1]
    centre, values = values[:, :C, None], values[:, C:].unflatten(1, (C, P))
    weights = gamma(delta.flatten(2)[:, :, None]).reshape(
        len(beta), -1, *delta.shape[2:]
    )
    if wrong == "gamma place-major":
        weights = weights.unflatten(1, (P, -1)).transpose(1, 2)
    else:
        weights = weights.unflatten(1, (-1, P))  # [B, G, P, I, J]
    G = weights.shape[1]
    if wrong == "softmax":
        weights = weights.softmax(2)
    if wrong == "softmax over groups":
        weights = weights.softmax(1)
    if wrong == "normalised":
        weights = weights / weights.sum(2, keepdim=True)
    if wrong == "averaged":
        weights = weights / P
    if wrong == "sigmoid":
        weights = weights.sigmoid()
    if wrong == "one group":
        weights = weights[:, :1].expand_as(weights)
    if wrong == "values of the centre":
        values = centre.expand_as(values)
    if wrong == "contiguous":
        split = values.reshape(-1, G, C // G, *values.shape[2:])
        return torch.einsum("bgpij,bgspij->bgsij", weights, split).flatten(1, 2)
    split = values.reshape(-1, C // G, G, *values.shape[2:])
    return torch.einsum("bgpij,bsgpij->bsgij", weights, split).flatten(1, 2)


_OF_THE_WINDOWS = ("dilation ignored", "stride ignored")


def _attention_inputs(
    random: Draw,
    batch: int,
    channels: int,
    share: int,
    groups: int,
    height: int,
    width: int,
    reach: int,
    relation: int,
    stride: int,
    dilation: int,
    zeros: bool,
) -> Inputs:
    maps = _relation_inputs(
        random,
        batch,
        channels,
        height,
        width,
        reach,
        relation,
        stride,
        dilation,
        zeros,
    )
    K = maps["kernel_size"]
    D = _relation_width(K, channels, maps["relation"])
    gamma = nn.Sequential(
        nn.Conv2d(D, 3, 1), nn.ReLU(), nn.Conv2d(3, groups * K * K, 1)
    ).double()
    for parameter in gamma.parameters():
        drawn = random.normal(*parameter.shape)
        parameter.data.copy_(drawn / parameter[0].numel() ** 0.5)
        parameter.requires_grad_(False)
    beta = random.normal(batch, share * groups, *maps["phi"].shape[2:])
    return maps | {"beta": beta, "gamma": gamma}


def _layer(share: int, groups: int, sizes: dict[str, int]) -> dict[str, int]:
    return sizes | {"share": share, "groups": groups}


PATCHWISE_ATTENTION = Exercise(
    name="patchwise_attention",
    oracle=patchwise_attention_loop,
    draw=_attention_inputs,
    sizes=(
        _layer(1, 1, _maps(1, 1, 2, 3, 1)),
        _layer(2, 2, _maps(1, 2, 3, 4, 1)),
        _layer(2, 2, _maps(1, 2, 3, 4, 2)),
        _layer(2, 3, _maps(1, 2, 3, 3, 3)),
        _layer(3, 2, _maps(2, 3, 4, 3, 1, zeros=True)),
        _layer(1, 2, _maps(1, 2, 5, 4, 2, stride=2)),
        _layer(2, 2, _maps(1, 2, 5, 6, 1, dilation=2)),
    ),
    variants=(
        Variant(
            "softmax_added",
            partial(_attend, wrong="softmax"),
            "A softmax is applied over the window. Patchwise weights are used as gamma"
            " gives them: they may be negative.",
            _WRONG,
        ),
        Variant(
            "softmax_over_groups",
            partial(_attend, wrong="softmax over groups"),
            "A softmax is applied over the groups. There is none: the weights are used"
            " as gamma gives them.",
            _WRONG,
        ),
        Variant(
            "weights_normalised",
            partial(_attend, wrong="normalised"),
            "The weights are divided by their sum. They need not sum to one: leave them"
            " as they are.",
            _FORMULA,
        ),
        Variant(
            "averaged",
            partial(_attend, wrong="averaged"),
            "The mean over the window is taken. The formula has a sum.",
            _FORMULA,
        ),
        Variant(
            "sigmoid_added",
            partial(_attend, wrong="sigmoid"),
            "A sigmoid is applied to the weights. They are used as gamma gives them.",
            _FORMULA,
        ),
        Variant(
            "contiguous_groups",
            partial(_attend, wrong="contiguous"),
            "Neighbouring channels share a weight. Groups are interleaved: channel c"
            " uses group c % G.",
            _LADDER,
        ),
        Variant(
            "one_group_only",
            partial(_attend, wrong="one group"),
            "All channels use the weights of group 0. Channel c uses group c % G.",
            _LADDER,
        ),
        Variant(
            "gamma_read_place_major",
            partial(_attend, wrong="gamma place-major"),
            "The result of gamma is read as [P, G]. Channel g*P + p is group g at"
            " place p.",
            _FORMULA,
        ),
        Variant(
            "relation_place_major",
            partial(_attend, wrong="place-major"),
            "In the concatenation the places run slower than the channels of psi. The"
            " package counts channel-major, as `F.unfold` does.",
            _WRONG,
        ),
        Variant(
            "psi_before_phi",
            partial(_attend, wrong="psi first"),
            "In the concatenation psi stands before phi. The centre's phi comes first.",
            _FORMULA,
        ),
        Variant(
            "clique_transposed",
            partial(_attend, wrong="transposed"),
            "The clique is transposed. Channel j*P + k is phi at place j with psi at"
            " place k.",
            _FORMULA,
        ),
        Variant(
            "phi_and_psi_exchanged",
            lambda phi, psi, *others, **options: _attend(psi, phi, *others, **options),
            "phi and psi are exchanged. phi is of the centre, psi of the window.",
            _FORMULA,
        ),
        Variant(
            "products_scaled",
            partial(_attend, wrong="scaled"),
            "The products are divided by the root of R. There is no scale here.",
            _FORMULA,
        ),
        Variant(
            "values_of_the_centre",
            partial(_attend, wrong="values of the centre"),
            "The centre's value is taken at every place. Sum over the values of the"
            " window.",
            _FORMULA,
        ),
        Variant(
            "zeros_always",
            partial(_attend, padding="constant"),
            f"Zeros stand outside the map, whatever was asked for. {_BORDER}",
            _TABLE,
        ),
        Variant(
            "reflect_always",
            partial(_attend, padding="reflect"),
            f"The map is mirrored, whatever was asked for. {_BORDER}",
            _TABLE,
        ),
        Variant(
            "border_repeated",
            partial(_attend, padding="replicate"),
            "The border pixel is repeated. Reflection leaves it out: row -1 is row 1."
            f" {_BORDER}",
            _FORMULA,
        ),
        Variant(
            "dilation_ignored",
            partial(_attend, wrong="dilation ignored"),
            "The dilation is not used. It is the step between two places of a window.",
            _TABLE,
        ),
        Variant(
            "stride_ignored",
            partial(_attend, wrong="stride ignored"),
            "The stride is not used. Only every stride-th pixel has a window.",
            _MODULE,
        ),
    ),
    section=_FORMULA,
)


EXERCISES = (
    REFLECT_INDEX,
    GAMMA_PARAMETERS,
    PATCHWISE_RELATION,
    TO_PLACE_MAJOR,
    CONCATENATION_HIDDEN,
    DEPTHWISE_TO_PATCHWISE,
    PATCHWISE_ATTENTION,
)
