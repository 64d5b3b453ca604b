"""Exercises on comparing mechanisms: memory, symmetries, patches.

Shapes: B batch, C channels, D width of a token, H W map, K window, P side of a patch,
I J rows and columns of patches, n measurements.
"""

from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant

_PAGE = "scaling/side_by_side.html"
_FORMULA = f"{_PAGE}#the-formula"
_LADDER = f"{_PAGE}#the-ladder"
_COST = f"{_PAGE}#the-cost"
_PROOF = f"{_PAGE}#prove-it"
_MODULE = f"{_PAGE}#the-module"


# --- attention_bytes ------------------------------------------------------------


def attention_bytes(
    images: int, heads: int, height: int, width: int, bytes_per_number: int
) -> int:
    """Bytes of one map of weights of all pixels on all pixels."""
    total = 0
    for _ in range(height * width):  # queries
        total += images * heads * height * width * bytes_per_number  # keys
    return total


def _pair_bytes(
    images: int,
    heads: int,
    height: int,
    width: int,
    bytes_per_number: int,
    *,
    how: str = "",
) -> int:
    """The same with every factor to choose."""
    B, N, s = images, heads, bytes_per_number
    pairs = (height * width) ** 2
    if how == "pixels":
        pairs = height * width
    if how == "lines":
        pairs = height * width * (height + width)
    if how == "sides":
        pairs = height * height + width * width
    if how == "half":
        pairs = height * width * (height * width + 1) // 2
    if how == "one head":
        N = 1
    if how == "one image":
        B = 1
    if how == "numbers":
        s = 1
    if how == "bits":
        s = 8 * s
    return B * N * pairs * s


ATTENTION_BYTES = Exercise(
    name="attention_bytes",
    oracle=attention_bytes,
    draw=lambda random, B, N, H, W, s: {
        "images": B,
        "heads": N,
        "height": H,
        "width": W,
        "bytes_per_number": s,
    },
    sizes=(
        {"B": 2, "N": 3, "H": 2, "W": 3, "s": 4},
        {"B": 1, "N": 1, "H": 7, "W": 7, "s": 2},
        {"B": 3, "N": 2, "H": 5, "W": 4, "s": 8},
        {"B": 2, "N": 8, "H": 14, "W": 21, "s": 4},
    ),
    variants=(
        Variant(
            "pixels_not_pairs",
            partial(_pair_bytes, how="pixels"),
            "One number is counted for each pixel. Each pixel has a weight for every"
            " pixel: the number of pixels is squared.",
            _COST,
        ),
        Variant(
            "one_head",
            partial(_pair_bytes, how="one head"),
            "Every head has a map of its own.",
            _COST,
        ),
        Variant(
            "one_image",
            partial(_pair_bytes, how="one image"),
            "Every image of the batch has a map of its own.",
            _COST,
        ),
        Variant(
            "numbers_not_bytes",
            partial(_pair_bytes, how="numbers"),
            "These are numbers. Each of them takes bytes_per_number bytes.",
            _COST,
        ),
        Variant(
            "bits",
            partial(_pair_bytes, how="bits"),
            "These are bits. A byte has eight of them; bytes_per_number is in bytes.",
            _COST,
        ),
        Variant(
            "rows_and_columns_only",
            partial(_pair_bytes, how="lines"),
            "Each pixel has H + W weights here, as in axial attention. In global"
            " attention it has H*W.",
            _COST,
        ),
        Variant(
            "sides_squared",
            partial(_pair_bytes, how="sides"),
            "The sides are squared and added. The number of pixels H*W is squared.",
            _COST,
        ),
        Variant(
            "symmetric",
            partial(_pair_bytes, how="half"),
            "Half of the map is counted. It is not symmetric: the weight of j for i is"
            " another number than that of i for j.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- memory_of_windows ----------------------------------------------------------


def memory_of_windows(
    images: int,
    channels: int,
    height: int,
    width: int,
    kernel_size: int,
    bytes_per_number: int,
) -> int:
    """Bytes of keys and values, copied once for each place of each window."""
    total = 0
    for _ in range(height * width):  # windows, also those that leave the image
        for _ in range(kernel_size * kernel_size):  # places
            total += 2 * images * channels * bytes_per_number
    return total


def _window_bytes(
    images: int,
    channels: int,
    height: int,
    width: int,
    kernel_size: int,
    bytes_per_number: int,
    *,
    how: str = "",
) -> int:
    """The same with every factor to choose."""
    K, s = kernel_size, bytes_per_number
    maps, places, extra = 2, K * K, 0
    pixels = height * width
    if how == "keys":
        maps = 1
    if how == "queries too":
        maps = 3
    if how == "a side":
        places = K
    if how == "one copy":
        places = 1
    if how == "sources too":
        extra = 2 * images * channels * pixels * s
    if how == "whole windows":
        pixels = max(0, height - K + 1) * max(0, width - K + 1)
    if how == "numbers":
        s = 1
    if how == "weights":
        return images * pixels * places * s
    return maps * images * channels * pixels * places * s + extra


MEMORY_OF_WINDOWS = Exercise(
    name="memory_of_windows",
    oracle=memory_of_windows,
    draw=lambda random, B, C, H, W, K, s: {
        "images": B,
        "channels": C,
        "height": H,
        "width": W,
        "kernel_size": K,
        "bytes_per_number": s,
    },
    sizes=(
        {"B": 2, "C": 3, "H": 4, "W": 5, "K": 3, "s": 4},
        {"B": 1, "C": 1, "H": 7, "W": 6, "K": 5, "s": 2},
        {"B": 3, "C": 8, "H": 9, "W": 8, "K": 7, "s": 8},
        {"B": 2, "C": 16, "H": 14, "W": 21, "K": 7, "s": 4},
    ),
    variants=(
        Variant(
            "keys_only",
            partial(_window_bytes, how="keys"),
            "One unfolded map is counted. Keys and values are both unfolded.",
            _COST,
        ),
        Variant(
            "queries_too",
            partial(_window_bytes, how="queries too"),
            "Queries are counted as copied, too. A pixel has one query; only keys and"
            " values are unfolded.",
            _COST,
        ),
        Variant(
            "one_side",
            partial(_window_bytes, how="a side"),
            "K copies are counted. A window of side K has K*K places.",
            _COST,
        ),
        Variant(
            "not_unfolded",
            partial(_window_bytes, how="one copy"),
            "These are keys and values themselves. Unfolding makes K*K copies of them.",
            _COST,
        ),
        Variant(
            "sources_counted",
            partial(_window_bytes, how="sources too"),
            "Keys and values before the unfolding are counted, too. The question is"
            " about the copies alone.",
            _COST,
        ),
        Variant(
            "whole_windows_only",
            partial(_window_bytes, how="whole windows"),
            "Only windows that lie inside the image are counted. Every pixel has a"
            " window; its places outside are stored as zeros.",
            _COST,
        ),
        Variant(
            "numbers_not_bytes",
            partial(_window_bytes, how="numbers"),
            "These are numbers. Each of them takes bytes_per_number bytes.",
            _COST,
        ),
        Variant(
            "weights_only",
            partial(_window_bytes, how="weights"),
            "These are the weights of one head. A key or a value has C numbers for each"
            " place.",
            _COST,
        ),
    ),
    section=_COST,
    gradients=False,
)


# --- window_to_map --------------------------------------------------------------


def window_to_map(
    attention: Float[Tensor, "H W K K"],
) -> Float[Tensor, "H W H W"]:
    """Weights of windows, written onto the map of all pixels, one at a time."""
    H, W, K, _ = attention.shape
    result = attention.new_zeros(H, W, H, W)
    for i in range(H):
        for j in range(W):
            for m in range(K):
                for n in range(K):
                    a, b = i + m - K // 2, j + n - K // 2
                    if 0 <= a < H and 0 <= b < W:
                        result[i, j, a, b] = attention[i, j, m, n]
    return result


def _written(attention: Tensor, how: str) -> Tensor:
    """The same with the place of every weight to choose."""
    H, W, K, _ = attention.shape
    result = attention.new_zeros(H, W, H, W)
    for i in range(H):
        for j in range(W):
            for m in range(K):
                for n in range(K):
                    a, b = i + m - K // 2, j + n - K // 2
                    if how == "corner":
                        a, b = i + m, j + n
                    if how == "mirrored":
                        a, b = i - m + K // 2, j - n + K // 2
                    if how == "swapped":
                        a, b = i + n - K // 2, j + m - K // 2
                    if how == "absolute":
                        a, b = m, n
                    if how == "wrapped":
                        a, b = a % H, b % W
                    if how == "clamped":
                        a, b = min(max(a, 0), H - 1), min(max(b, 0), W - 1)
                    if 0 <= a < H and 0 <= b < W:
                        place = (a, b, i, j) if how == "keys first" else (i, j, a, b)
                        result[place] = result[place] + attention[i, j, m, n]
    if how == "normalised":
        result = result / result.sum(dim=(2, 3), keepdim=True)
    return result


WINDOW_TO_MAP = Exercise(
    name="window_to_map",
    oracle=window_to_map,
    draw=lambda random, H, W, K: {"attention": 0.1 + random.uniform(H, W, K, K)},
    sizes=(
        {"H": 2, "W": 3, "K": 3},
        {"H": 4, "W": 3, "K": 3},
        {"H": 5, "W": 6, "K": 3},
        {"H": 5, "W": 4, "K": 5},
    ),
    variants=(
        Variant(
            "starts_at_the_query",
            partial(_written, how="corner"),
            "The window starts at the query. Its middle, place K//2, lies there.",
            _LADDER,
        ),
        Variant(
            "mirrored",
            partial(_written, how="mirrored"),
            "The window is turned round: place m lies m - K//2 rows *below* the query.",
            _LADDER,
        ),
        Variant(
            "rows_and_columns_swapped",
            partial(_written, how="swapped"),
            "The first axis of a window counts its rows, the second its columns. Here"
            " they are swapped.",
            _LADDER,
        ),
        Variant(
            "at_the_same_place_for_all",
            partial(_written, how="absolute"),
            "All windows lie in the same corner of the map. Each lies around its own"
            " query.",
            _LADDER,
        ),
        Variant(
            "wrapped",
            partial(_written, how="wrapped"),
            "Places outside the image come back on the other side. They have no pixel:"
            " leave them out.",
            _LADDER,
        ),
        Variant(
            "clamped",
            partial(_written, how="clamped"),
            "Places outside the image are added to the pixel at the border. They have"
            " no pixel: leave them out.",
            _LADDER,
        ),
        Variant(
            "queries_and_keys_swapped",
            partial(_written, how="keys first"),
            "The first two axes are the key here. In [H, W, H, W] the query comes"
            " first.",
            _LADDER,
        ),
        Variant(
            "normalised_again",
            partial(_written, how="normalised"),
            "The weights were divided by their sum. Write them as they are.",
            _LADDER,
        ),
    ),
    section=_LADDER,
)


# --- growth_exponent ------------------------------------------------------------


def growth_exponent(
    sides: Float[Tensor, "n"], values: Float[Tensor, "n"]
) -> Float[Tensor, ""]:
    """Slope of the straight line through the logarithms, by least squares."""
    xs = [torch.log(side) for side in sides]
    ys = [torch.log(value) for value in values]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    above, below = sides.new_zeros(()), sides.new_zeros(())
    for x, y in zip(xs, ys, strict=True):
        above = above + (x - x_mean) * (y - y_mean)
        below = below + (x - x_mean) ** 2
    return above / below


def _slope(sides: Tensor, values: Tensor, how: str) -> Tensor:
    """The same with every step to choose."""
    x = sides if how in ("no logarithms", "sides as they are") else sides.log()
    y = values if how in ("no logarithms", "values as they are") else values.log()
    if how == "pixels":
        x = 2 * x
    if how == "first and last":
        return (y[-1] - y[0]) / (x[-1] - x[0])
    if how == "mean of ratios":
        return (y / x).mean()
    if how == "through the origin":
        return (x * y).sum() / (x * x).sum()
    x, y = x - x.mean(), y - y.mean()
    if how == "axes swapped":
        return (x * y).sum() / (y * y).sum()
    return (x * y).sum() / (x * x).sum()


def _draw_growth(random: Draw, n: int, power: int) -> Inputs:
    sides = 8 * (1 + torch.arange(n + 2, dtype=torch.float64))
    noise = torch.exp(0.2 * random.normal(n + 2))
    return {"sides": sides, "values": 3 * sides**power * noise}


GROWTH_EXPONENT = Exercise(
    name="growth_exponent",
    oracle=growth_exponent,
    draw=_draw_growth,
    sizes=({"n": 1, "power": 2}, {"n": 2, "power": 4}, {"n": 5, "power": 3}),
    variants=(
        Variant(
            "no_logarithms",
            partial(_slope, how="no logarithms"),
            "The line goes through the numbers themselves. A power becomes a straight"
            " line only after taking logarithms of both.",
            _COST,
        ),
        Variant(
            "logarithm_of_the_values_only",
            partial(_slope, how="sides as they are"),
            "Only the values are in logarithms; that fits an exponential. Take the"
            " logarithm of the sides, too.",
            _COST,
        ),
        Variant(
            "logarithm_of_the_sides_only",
            partial(_slope, how="values as they are"),
            "Only the sides are in logarithms. Take the logarithm of the values, too.",
            _COST,
        ),
        Variant(
            "first_and_last_only",
            partial(_slope, how="first and last"),
            "Only the first and the last measurement count. Least squares uses all.",
            _COST,
        ),
        Variant(
            "through_the_origin",
            partial(_slope, how="through the origin"),
            "The line is forced through the origin: subtract the means first. Else the"
            " factor in front of the power changes the exponent.",
            _COST,
        ),
        Variant(
            "ratio_of_logarithms",
            partial(_slope, how="mean of ratios"),
            "The logarithms were divided. That is right only if the factor in front of"
            " the power is one. Take the slope of the line.",
            _COST,
        ),
        Variant(
            "axes_swapped",
            partial(_slope, how="axes swapped"),
            "The line predicts sides from values. Divide by the squares of the sides'"
            " deviations.",
            _COST,
        ),
        Variant(
            "exponent_of_the_pixels",
            partial(_slope, how="pixels"),
            "This is the exponent of the number of pixels, half of the one asked for."
            " Use the side of the map.",
            _COST,
        ),
    ),
    section=_COST,
)


# --- translation_gap ------------------------------------------------------------


class _Placed(nn.Module):
    """A convolution with zeros outside; its output is weighed by place if asked."""

    def __init__(self, weight: Tensor, place: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("place", place)
        self.weight: Tensor
        self.place: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x, self.weight, padding=1)
        return y if self.place is None else y * self.place


def translation_gap(
    layer: nn.Module, x: Float[Tensor, "B C H W"], step: int, margin: int
) -> Float[Tensor, ""]:
    """Largest relative error of a move along either axis, away from the border."""
    H, W = x.shape[2:]
    first = margin + step if margin > 0 else 0
    gaps = []
    for axis in (2, 3):
        found = layer(torch.roll(x, step, dims=axis))
        expected = torch.roll(layer(x), step, dims=axis)
        gap, scale = x.new_zeros(()), x.new_zeros(())
        for i in range(first, H - margin):
            for j in range(first, W - margin):
                difference = found[:, :, i, j] - expected[:, :, i, j]
                gap = torch.maximum(gap, difference.abs().max())
                scale = torch.maximum(scale, expected[:, :, i, j].abs().max())
        gaps.append(gap / scale)
    return torch.stack(gaps).max()


def _gap(layer: nn.Module, x: Tensor, step: int, margin: int, how: str) -> Tensor:
    """The same with every part to choose."""
    H, W = x.shape[2:]
    first = margin + step if margin > 0 else 0
    if how == "no margin":
        first = margin = 0
    if how == "margin before the move":
        first = margin
    gaps = []
    for axis in (
        (2,) if how == "rows only" else (3,) if how == "columns only" else (2, 3)
    ):
        found, y = layer(x.roll(step, axis)), layer(x)
        back = -step if how == "backwards" else step
        expected = y if how == "output stays" else y.roll(back, axis)
        if how == "input stays":
            found = y
        inside = (..., slice(first, H - margin), slice(first, W - margin))
        found, expected = found[inside], expected[inside]
        difference = (found - expected).abs()
        if how == "mean":
            gaps.append(difference.mean() / expected.abs().mean())
        elif how == "absolute":
            gaps.append(difference.max())
        else:
            gaps.append(difference.max() / expected.abs().max())
    together = torch.stack(gaps)
    return together.min() if how == "smaller" else together.max()


def _draw_gap(
    random: Draw, B: int, C: int, H: int, W: int, step: int, margin: int, placed: bool
) -> Inputs:
    margin = margin - 1  # sizes are at least one
    height, width = 2 * margin + step + H, 2 * margin + step + W
    weight = random.normal(C, C, 3, 3)
    place = 1 + 0.5 * random.normal(height, width) if placed else None
    return {
        "layer": _Placed(weight, place),
        "x": random.normal(B, C, height, width),
        "step": step,
        "margin": margin,
    }


TRANSLATION_GAP = Exercise(
    name="translation_gap",
    oracle=translation_gap,
    draw=_draw_gap,
    sizes=(
        {"B": 1, "C": 1, "H": 3, "W": 4, "step": 1, "margin": 1, "placed": False},
        {"B": 1, "C": 2, "H": 2, "W": 3, "step": 1, "margin": 2, "placed": True},
        {"B": 2, "C": 2, "H": 3, "W": 2, "step": 2, "margin": 3, "placed": True},
        {"B": 1, "C": 2, "H": 4, "W": 3, "step": 2, "margin": 2, "placed": False},
    ),
    variants=(
        Variant(
            "output_not_moved",
            partial(_gap, how="output stays"),
            "The output of the moved image is compared with the output as it was. That"
            " tests invariance. Move the expected output along.",
            _PROOF,
        ),
        Variant(
            "moved_the_other_way",
            partial(_gap, how="backwards"),
            "The expected output is moved the other way. Both moves have the same"
            " sign.",
            _PROOF,
        ),
        Variant(
            "input_not_moved",
            partial(_gap, how="input stays"),
            "The image itself was not moved before it went into the layer.",
            _PROOF,
        ),
        Variant(
            "margin_ignored",
            partial(_gap, how="no margin"),
            "The whole map is compared. Leave out what lies within the margin.",
            _PROOF,
        ),
        Variant(
            "margin_before_the_move",
            partial(_gap, how="margin before the move"),
            "The margin holds after the move only. An output pixel must also have been"
            " inside before it: on the upper and left side leave out step more.",
            _PROOF,
        ),
        Variant(
            "rows_only",
            partial(_gap, how="rows only"),
            "The image was moved down only. Move it to the right, too, and take the"
            " larger error.",
            _PROOF,
        ),
        Variant(
            "columns_only",
            partial(_gap, how="columns only"),
            "The image was moved to the right only. Move it down, too, and take the"
            " larger error.",
            _PROOF,
        ),
        Variant(
            "smaller_of_the_two",
            partial(_gap, how="smaller"),
            "The smaller of the two errors was taken. One direction that fails is"
            " enough to fail.",
            _PROOF,
        ),
        Variant(
            "absolute",
            partial(_gap, how="absolute"),
            "The error is not relative. Divide by the largest expected number.",
            _PROOF,
        ),
        Variant(
            "mean_error",
            partial(_gap, how="mean"),
            "These are means. A single wrong pixel is a wrong layer: take the largest"
            " difference, and divide by the largest expected number.",
            _PROOF,
        ),
    ),
    section=_PROOF,
    gradients=False,
)


# --- patch_tokens ---------------------------------------------------------------


def patch_tokens(
    x: Float[Tensor, "B C H W"],
    weight: Float[Tensor, "D C P P"],
    bias: Float[Tensor, "D"],
    position: Float[Tensor, "T D"],
) -> Float[Tensor, "B T D"]:
    """Tokens of the patches of an image, one patch and one pixel at a time."""
    B, C, H, W = x.shape
    D, P = weight.shape[0], weight.shape[-1]
    tokens = []
    for i in range(H // P):
        for j in range(W // P):
            token = bias + position[i * (W // P) + j]
            token = token.expand(B, D)
            for c in range(C):
                for m in range(P):
                    for n in range(P):
                        pixel = x[:, c, i * P + m, j * P + n]
                        token = token + pixel[:, None] * weight[:, c, m, n]
            tokens.append(token)
    return torch.stack(tokens, dim=1)


def _tokens(
    x: Tensor, weight: Tensor, bias: Tensor, position: Tensor, how: str
) -> Tensor:
    """The same by a convolution, with every step to choose."""
    D, P = weight.shape[0], weight.shape[-1]
    if how == "kernel transposed":
        weight = weight.mT
    if how == "kernel flipped":
        weight = weight.flip(2, 3)
    if how == "pixels before channels":
        weight = weight.flatten(1).view(D, P, P, -1).permute(0, 3, 1, 2)
    y = F.conv2d(x, weight, None if how == "no bias" else bias, stride=P)
    if how == "columns first":
        y = y.mT
    if how == "not transposed":
        tokens = y.flatten(2).reshape(len(y), -1, D)
    else:
        tokens = y.flatten(2).mT  # [B, T, D]
    if how == "no positions":
        return tokens
    if how == "one position":
        return tokens + position[:1]
    if how == "positions multiplied":
        return tokens * position
    return tokens + position


def _draw_patches(
    random: Draw, B: int, C: int, rows: int, cols: int, P: int, D: int
) -> Inputs:
    return {
        "x": random.normal(B, C, rows * P, cols * P),
        "weight": random.normal(D, C, P, P),
        "bias": random.normal(D),
        "position": random.normal(rows * cols, D),
    }


PATCH_TOKENS = Exercise(
    name="patch_tokens",
    oracle=patch_tokens,
    draw=_draw_patches,
    sizes=(
        {"B": 1, "C": 2, "rows": 2, "cols": 3, "P": 2, "D": 2},
        {"B": 2, "C": 1, "rows": 2, "cols": 2, "P": 3, "D": 3},
        {"B": 2, "C": 3, "rows": 3, "cols": 2, "P": 2, "D": 4},
    ),
    variants=(
        Variant(
            "not_transposed",
            partial(_tokens, how="not transposed"),
            "[B, D, I, J] was reshaped to [B, T, D] without moving the channels to the"
            " end. Transpose first.",
            _MODULE,
        ),
        Variant(
            "columns_first",
            partial(_tokens, how="columns first"),
            "The patches are counted down the columns. Patch (i, j) is token i*J + j.",
            _MODULE,
        ),
        Variant(
            "no_positions",
            partial(_tokens, how="no positions"),
            "The positions are missing. Without them the network cannot know where a"
            " patch was.",
            _MODULE,
        ),
        Variant(
            "one_position_for_all",
            partial(_tokens, how="one position"),
            "All patches got the position of the first one.",
            _MODULE,
        ),
        Variant(
            "positions_multiplied",
            partial(_tokens, how="positions multiplied"),
            "The positions are multiplied. They are added.",
            _MODULE,
        ),
        Variant(
            "no_bias",
            partial(_tokens, how="no bias"),
            "The bias of the projection is missing.",
            _MODULE,
        ),
        Variant(
            "patches_transposed",
            partial(_tokens, how="kernel transposed"),
            "Rows and columns inside a patch are swapped.",
            _MODULE,
        ),
        Variant(
            "patches_turned",
            partial(_tokens, how="kernel flipped"),
            "The patches are turned by half a turn: the kernel is not flipped.",
            _MODULE,
        ),
        Variant(
            "pixels_before_channels",
            partial(_tokens, how="pixels before channels"),
            "A patch was flattened with its channels last. The weight has them first:"
            " [D, C, P, P].",
            _MODULE,
        ),
    ),
    section=_MODULE,
)


EXERCISES = (
    ATTENTION_BYTES,
    MEMORY_OF_WINDOWS,
    WINDOW_TO_MAP,
    GROWTH_EXPONENT,
    TRANSLATION_GAP,
    PATCH_TOKENS,
)
