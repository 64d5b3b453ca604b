"""How many bytes a layer allocates: one formula for each mechanism, and what fits.

A formula is a string such as ``"s * 3 * B * C * H * W"``. It is evaluated here, and
the book's memory calculator evaluates the same string in the browser. So a string
holds only names, numbers, ``+ - * / ( )`` and ceil, floor, min and max.

What is counted: all that one layer allocates beyond its input [B, C, H, W], its
parameters and the incoming gradient; the output is counted. Each layer has as many
output channels as input channels. A training pass ends with the gradients of the input
and of every parameter. `visattn.lab.compare.build_layer` says which layer is meant.

Letters: B images, C channels, N heads, H W map, K window, b block, h halo,
s bytes of a number.
"""

import ast
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

from visattn.lab.compare import build_layer
from visattn.lab.measure import peak_bytes
from visattn.lab.textbook import TEXTBOOK

# The expressions ----------------------------------------------------------------------

_FUNCTIONS: dict[str, Callable[..., float]] = {
    "ceil": math.ceil,
    "floor": math.floor,
    "min": min,
    "max": max,
}
_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@cache
def _parse(expression: str) -> ast.expr:
    if not isinstance(expression, str):
        raise TypeError(f"expected an expression as text, got {expression!r}")
    try:
        return ast.parse(expression, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"not an expression: {expression!r}") from error


def _value(node: ast.expr, numbers: dict[str, float]) -> float:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name) if name in numbers:
            return numbers[name]
        case ast.Name(id=name):
            raise ValueError(f"{name} has no value; known: {', '.join(numbers)}")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, numbers)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, numbers), _value(right, numbers))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if (
            name in _FUNCTIONS and arguments
        ):
            return _FUNCTIONS[name](*(_value(part, numbers) for part in arguments))
    raise ValueError(
        f"only numbers, names, + - * / and {', '.join(_FUNCTIONS)} are known, got "
        f"{ast.unparse(node)!r}"
    )


def evaluate(expression: str, **numbers: float) -> float:
    """Value of an expression.

    Args:
        expression: Names, numbers, ``+ - * / ( )``, ceil, floor, min and max.
        **numbers: A value for each name.

    Raises:
        TypeError: Not a string.
        ValueError: Not an expression, something else in it, or a name without a value.

    Example:
        >>> evaluate("s * ceil(H / b) * b", s=4, H=30, b=8)
        128
    """
    return _value(_parse(expression), numbers)


def variables_of(expression: str) -> tuple[str, ...]:
    """The variables that an expression uses, in the order of `memory_variables`.

    Raises:
        TypeError: Not a string.
        ValueError: Not an expression.
    """
    nodes = ast.walk(_parse(expression))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return tuple(name for name in _VARIABLES if name in names)


@dataclass(frozen=True)
class Variable:
    """A quantity that a reader of the calculator chooses.

    Attributes:
        label: What it is.
        default: Where the calculator starts.
        least: Smallest value.
        most: Largest value.
    """

    label: str
    default: int
    least: int
    most: int


_VARIABLES = {
    "B": Variable("images in a batch", 1, 1, 1024),
    "C": Variable("channels", 64, 16, 4096),
    "N": Variable("heads", 4, 1, 64),
    "H": Variable("rows of the map", 56, 8, 4096),
    "W": Variable("columns of the map", 56, 8, 4096),
    "K": Variable("side of the window", 7, 1, 63),
    "b": Variable("side of a block", 8, 1, 256),
    "h": Variable("halo", 3, 0, 64),
    "s": Variable("bytes of a number", 4, 4, 8),
}


def memory_variables() -> dict[str, Variable]:
    """The variables of the formulas, in the order in which they are shown."""
    return dict(_VARIABLES)


@dataclass(frozen=True)
class Pass:
    """Peak memory of one way to compute a layer, as expressions in bytes.

    Attributes:
        forward: Of the forward pass alone, without gradients.
        training: Of the forward and the backward pass.
        holds: What is large at the peak.
    """

    forward: str
    training: str
    holds: str


@dataclass(frozen=True)
class Formula:
    """Peak memory of a mechanism.

    Attributes:
        title: Its name.
        chapter: Where the book explains it.
        package: As this package computes it.
        textbook: With every copy and every map made; None where the package's form is
            that already.
    """

    title: str
    chapter: str
    package: Pass
    textbook: Pass | None = None


# The formulas -------------------------------------------------------------------------
# Each was read off the code: what is alive when the most is alive. In numbers, not
# bytes, unless it says so; `_bytes` multiplies by s.

_CHUNKS = {
    "cpu": {"blocks": 1_300_000, "shifts": 131_072, "windows": 262_144},
    "cuda": dict.fromkeys(("blocks", "shifts", "windows"), 64_000_000),
}

_T = "H * W"
_M = "B * C * H * W"  # the map
_PAIRS = "B * N * H * W * H * W"
_ROW = "B * N * H * W * W"
_COLUMN = "B * N * H * W * H"
_WINDOWS = "B * H * W * K * K"  # one number for each place of each window
_SEVERAL = "min(1, B - 1)"  # 0 for one image: there some copies are views
_HEADS = "min(1, N - 1)"  # 0 for one head
_EITHER = "min(1, B * N - 1)"  # 0 for one image and one head
_BORDERED = "(H + K - 1) * (W + K - 1)"


def _sum(*terms: str) -> str:
    return " + ".join(terms)


def _most(*cases: str) -> str:
    return f"max({', '.join(cases)})"


def _bytes(numbers: str, more: str = "") -> str:
    return f"s * ({numbers})" + (f" + {more}" if more else "")


def _step(quantity: str, at: int) -> str:
    """0 below ``at``, 1 from there on."""
    return f"min(1, floor({quantity} / {at}))"


def _fused(width: str, device: str) -> tuple[str, str]:
    """What PyTorch's fused attention needs beside its results, in both passes.

    On a CPU a thread holds the logits of some queries and 512 keys; the formulas are
    for one thread. On a GPU they stay on the chip.
    """
    if device == "cuda":
        return "0", "0"
    queries = f"(32 + 32 * {_step(_T, 192)} + 192 * {_step(_T, 768)})"
    keys = f"min(512, {_T})"
    return f"{queries} * ({keys} + 2 + {width})", f"2 * {queries} * {keys}"


def _double(device: str) -> str:
    """1 for double precision on a CPU: there a convolution unfolds the whole batch."""
    return "min(1, floor(s / 8))" if device == "cpu" else "0"


def _multi_head(device: str) -> Formula:
    forward, backward = _fused("C / N", device)
    lse = "B * N * H * W"
    package = Pass(
        _bytes(_most(_sum(f"4 * {_M}", lse, forward), f"5 * {_M}")),
        _bytes(_sum(f"(9 + 3 * {_SEVERAL}) * {_M}", lse, backward, "C * C")),
        "queries, keys, values and their gradients",
    )
    textbook = Pass(
        _bytes(_sum(f"2 * {_PAIRS}", f"3 * {_M}")),
        _bytes(
            _sum(f"3 * {_PAIRS}", f"(4 + 3 * {_EITHER} + 3 * {_SEVERAL}) * {_M}"),
        ),
        "the map of all pairs: logits, weights, gradient",
    )
    return Formula("Multi-head", "foundations/multi_head", package, textbook)


def _convolution(device: str) -> Formula:
    weights, columns = "C * C * K * K", f"C * {_WINDOWS}"
    double = _double(device)
    fast = _most(f"4 * {_M} + {weights}", f"2 * {_M} + 2 * {weights}")
    package = Pass(
        _bytes(
            _sum(
                f"2 * {_M}",
                f"(1 - {double}) * {weights}",
                f"{double} * {columns}",
            )
        ),
        _bytes(
            _sum(
                f"(1 - {double}) * {fast}",
                f"{double} * ({columns} + 3 * {_M} + 2 * {weights})",
            )
        ),
        "the map, in PyTorch's order and in that of the library",
    )
    textbook = Pass(
        _bytes(_sum(f"(1 + {_SEVERAL}) * {columns}", f"2 * {_M}")),
        _bytes(_sum(f"(2 + {_SEVERAL}) * {columns}", _M, weights)),
        "K * K copies of the map",
    )
    return Formula("Convolution", "foundations/convolution", package, textbook)


def _quadratic(device: str) -> Formula:
    del device
    lines = "N * (H * H + W * W)"
    pairs = "N * H * W * H * W"
    package = Pass(
        _bytes(
            _sum(
                f"2 * N * {_M}",
                _most(f"{_HEADS} * {_ROW} + {lines}", f"{_HEADS} * (N * C * C + {_M})"),
            ),
        ),
        _bytes(
            _sum(
                f"3 * N * {_M}",
                _most(
                    f"2 * {_HEADS} * {_ROW} + 2 * {_M} + 4 * {lines}",
                    f"2 * N * C * C + (3 + {_HEADS}) * {_M}",
                ),
            ),
        ),
        "the means of every head, and the column weights of every row",
    )
    textbook = Pass(
        _bytes(_sum(f"({_SEVERAL} * {_HEADS} * B + 2) * {pairs}", f"2 * N * {_M}")),
        _bytes(
            _sum(
                f"max(4, (1 + {_HEADS}) * B + 2 - {_HEADS}) * {pairs}",
                f"(3 * N + 1) * {_M}",
            )
        ),
        "the map of all pairs, for every head and image",
    )
    return Formula("Quadratic encoding", "equivalence/theorem", package, textbook)


def _augmented(device: str) -> Formula:
    forward, backward = _fused("C / (2 * N) + H + W", device)
    long = "B * N * H * W * (C / (2 * N) + H + W)"
    skew, place = f"2 * ({_ROW} + {_COLUMN})", "H * W * (H + W)"
    lse, weights = "B * N * H * W", "0.75 * C * C * K * K"
    package = Pass(
        _bytes(
            _most(
                _sum(f"4 * {long}", skew, place, f"1.75 * {_M}", lse, forward),
                f"{_double(device)} * (C * {_WINDOWS} + 4.5 * {_M})",
            )
        ),
        _bytes(
            _most(
                _sum(
                    f"(8 + {_HEADS}) * {long}",
                    place,
                    f"2 * {_M}",
                    weights,
                    lse,
                    backward,
                ),
                f"{_double(device)} * (C * {_WINDOWS} + 4 * {long} + 5.5 * {_M}"
                f" + {weights})",
            )
        ),
        "queries and keys made longer by H + W",
    )
    textbook = Pass(
        _bytes(_sum(f"3 * {_PAIRS}", skew, f"2 * {_M}")),
        _bytes(_sum(f"3 * {_PAIRS}", skew, f"3.5 * {_M}", weights)),
        "the map of all pairs: contents, places and their sum",
    )
    return Formula("Augmented convolution", "local/augmented", package, textbook)


def _again(whole: str, chunk: str) -> str:
    """How full the second chunk is; the first one's results are still alive then."""
    return f"min(1, {whole} / ({chunk}) - 1)"


def _of_chunk(logits: str, near: str, again: str) -> tuple[str, str]:
    """The largest moment of a chunk in both passes.

    It is when weights are made from logits, when keys and values are copied while
    those of the chunk before are alive, or when their gradients are made.
    """
    forward = _most(
        f"max(2, 1 + 2 * {again}) * {logits}", f"{again} * ({logits} + {near})"
    )
    backward = _most(
        f"max(3, 2 + 2 * {again}) * {logits}",
        f"2 * {logits} + 0.5 * {near}",
        f"{again} * (2 * {logits} + {near})",
    )
    return f"{near} + {forward}", f"{near} + {backward}"


def _local_blocks(device: str) -> tuple[str, str]:
    """Local attention by blocks of 4 x 4 queries, see `kernels.local`."""
    tall, wide, side = "ceil(H / 4)", "ceil(W / 4)", "(K + 3)"
    room = _CHUNKS[device]["blocks"]
    rows = f"max(1, floor({room} / ({wide} * 16 * {side} * {side})))"
    images = f"min(B * N, max(1, floor({rows} / {tall})))"
    blocks = f"{images} * min({rows}, {tall}) * {wide}"  # of one chunk
    again = _again(f"B * N * {tall} * {wide}", blocks)
    queries = f"B * C * 16 * {tall} * {wide}"
    keys = f"B * C * (4 * {tall} + K - 1) * (4 * {wide} + K - 1)"
    more = f"(ceil({side} / 4) - 1)"
    sums = f"B * C * 16 * ({tall} + {more}) * ({wide} + {more})"
    logits, near = f"16 * {side} * {side}", f"2 * {side} * {side} * C / N"
    one, two = _of_chunk(logits, near, again)
    one = f"{one} + 16 * C / N + 32 * {side}"
    two = f"{two} + 32 * C / N + 32 * {side}"
    end = f"2 * {logits} + {near} + 32 * C / N"
    forward = _sum(f"3 * {_M}", f"2 * {queries}", f"2 * {keys}", f"{blocks} * ({one})")
    held = _sum(f"4 * {_M}", f"3 * {queries}", f"2 * {keys}", f"2 * {sums}")
    last = _most(f"{blocks} * ({two})", f"{blocks} * ({end}) + 3 * {_M}")
    return forward, _sum(held, last)


def _local_shifts(device: str) -> tuple[str, str]:
    """Local attention by shifts of the map, see `kernels.shifts`."""
    room = _CHUNKS[device]["shifts"]
    maps = f"min(B * N, max(1, floor({room} * N / (C * H * W))))"  # of one chunk
    again = _again("B * N", maps)
    bare, bordered = "C / N * H * W", f"C / N * {_BORDERED}"
    weights = "K * K * H * W"
    values = f"{bare} + {bordered} + {weights}"
    logits = f"{bordered} + 2 * {weights} + 2 * K * H * W + {again} * ({values})"
    one = _most(values, logits)
    two = f"4 * {bordered} + max(3, 2 + 2 * {again}) * {weights} + 2 * {bare}"
    return (
        _sum(f"4 * {_M}", weights, f"{maps} * ({one})"),
        _sum(f"7 * {_M}", weights, f"{maps} * ({two})"),
    )


def _local(device: str) -> Formula:
    few = "min(1, floor(K / 4))"  # 0 for windows of 3 x 3, 1 for larger ones
    both = zip(_local_shifts(device), _local_blocks(device), strict=True)
    forward, training = (
        f"(1 - {few}) * ({shifts}) + {few} * ({blocks})" for shifts, blocks in both
    )
    package = Pass(
        _bytes(forward),
        _bytes(training),
        "the logits of one chunk of blocks; the map a few times",
    )
    textbook = Pass(
        _bytes(
            _sum(
                f"(2 + {_EITHER}) * C * {_WINDOWS}", f"2 * N * {_WINDOWS}", f"2 * {_M}"
            ),
        ),
        _bytes(_sum(f"4 * C * {_WINDOWS}", f"2 * N * {_WINDOWS}", f"5 * {_M}")),
        "K * K copies of keys and of values",
    )
    return Formula("Local", "local/local", package, textbook)


def _halo_axis(length: str) -> tuple[str, str, str]:
    """Blocks, block and halo of an axis: what no query may see is cut off."""
    block = f"min(b, {length})"
    halo = f"min(h, {length} - 1) * (1 - min(1, floor(b / {length})))"
    return f"ceil({length} / {block})", block, f"({halo})"


def _halo(device: str) -> Formula:
    (tall, b1, h1), (wide, b2, h2) = _halo_axis("H"), _halo_axis("W")
    u1, u2 = f"({b1} + 2 * {h1})", f"({b2} + 2 * {h2})"
    room = f"floor({_CHUNKS[device]['blocks']} / ({wide} * {u1} * {u2}))"
    dims = "2 * C / N"
    rows = f"floor({room} / ({b1} * {b2} + {dims}))"
    whole = f"min(1, {rows})"  # 0 where a chunk is a part of a row of blocks
    part = f"max(1, min({b1}, floor(({room} - {dims}) / {b2})))"
    places = f"({whole} * {b1} + (1 - {whole}) * {part}) * {b2}"
    images = f"min(B * N, max(1, floor({rows} / {tall})))"
    blocks = f"{images} * min(max(1, {rows}), {tall}) * {wide}"  # of one chunk
    chunk = f"{blocks} * {places}"
    again = _again(f"B * N * {tall} * {wide} * {b1} * {b2}", chunk)
    queries = f"B * C * {tall} * {b1} * {wide} * {b2}"
    keys = f"B * C * ({tall} * {b1} + 2 * {h1}) * ({wide} * {b2} + 2 * {h2})"
    sums = (
        f"B * C * ({tall} - 1 + ceil({u1} / {b1})) * {b1}"
        f" * ({wide} - 1 + ceil({u2} / {b2})) * {b2}"
    )
    near = f"2 * {blocks} * {u1} * {u2} * C / N"
    logits = f"{chunk} * {u1} * {u2}"
    small = f"{chunk} * ({u1} + {u2})"
    one, two = _of_chunk(logits, near, again)
    one = f"{one} + {small} + {chunk} * C / N"
    two = f"{two} + {small} + 2 * {chunk} * C / N"
    end = f"2 * {logits} + {near} + 3 * {chunk} * C / N + 3 * {_M}"
    held = _sum(f"4 * {_M}", f"3 * {queries}", f"2 * {keys}", f"2 * {sums}")
    package = Pass(
        _bytes(_sum(f"3 * {_M}", f"2 * {queries}", f"2 * {keys}", one)),
        _bytes(_sum(held, _most(two, end))),
        "the logits and the neighbourhoods of one chunk of blocks",
    )
    return Formula("Halo", "scaling/halo", package)


def _aggregation(device: str) -> tuple[str, str]:
    """Numbers of one chunk of `aggregate`, 8 channels a weight: bare and bordered."""
    room = f"max(1, floor({_CHUNKS[device]['windows']} / (8 * H * W)))"
    groups = f"min({room}, C / 8)"
    images = f"min(B, max(1, floor({room} / (C / 8))))"
    bare = f"{images} * {groups} * 8"
    return f"{bare} * H * W", f"{bare} * {_BORDERED}"


def _pairwise(device: str) -> Formula:
    chunk, bordered = _aggregation(device)
    relation, hidden = f"(C / 4 + 2) * {_WINDOWS}", f"C / 4 * {_WINDOWS}"
    weights, places = f"C / 8 * {_WINDOWS}", "2 * H * W * K * K"
    of_gamma = _sum(f"2 * {relation}", f"2 * {hidden}", f"2 * {weights}")
    package = Pass(
        _bytes(_sum(f"2 * {relation}", hidden, places, f"1.5 * {_M}")),
        _bytes(
            _sum(of_gamma, places, f"3.5 * {_M}", f"3 * {bordered}", f"2 * {chunk}")
        ),
        "the relation with each neighbour, before and after each layer of gamma",
    )
    textbook = Pass(
        _bytes(
            _sum(f"2 * C * {_WINDOWS}", relation, weights, places, f"2.5 * {_M}"),
        ),
        _bytes(_sum(f"3 * C * {_WINDOWS}", of_gamma, f"2.5 * {_M}")),
        "K * K copies of the values, and their products with the weights",
    )
    return Formula("Pairwise", "exploring/pairwise", package, textbook)


def _patchwise(device: str) -> Formula:
    chunk, bordered = _aggregation(device)
    relation, window = (
        "C / 4 * B * H * W * (K * K + 1)",
        f"C / 4 * {_WINDOWS}",
    )
    weights = f"C / 8 * {_WINDOWS}"
    package = Pass(
        _bytes(_sum(weights, bordered, chunk, f"2.5 * {_M}")),
        _bytes(
            _sum(f"2 * {weights}", f"3.75 * {_M}", f"3 * {bordered}", f"2 * {chunk}")
        ),
        "the weights, and one chunk of windows",
    )
    textbook = Pass(
        _bytes(
            _sum(f"2 * C * {_WINDOWS}", relation, window, weights, f"2.5 * {_M}"),
        ),
        _bytes(
            _sum(
                f"3 * C * {_WINDOWS}",
                f"2 * {relation}",
                f"2 * {weights}",
                f"2.5 * {_M}",
            )
        ),
        "K * K copies of the values, and their products with the weights",
    )
    return Formula("Patchwise", "exploring/patchwise", package, textbook)


def _squeeze_excitation(device: str) -> Formula:
    del device
    package = Pass(_bytes(_M), _bytes(f"3 * {_M}"), "the map and its gradient")
    return Formula("Squeeze-excitation", "gates/gates", package)


def _cbam(device: str) -> Formula:
    unfolded = f"{_double(device)} * 98 * B * H * W"  # two planes, windows of 7 x 7
    package = Pass(
        _bytes(_sum(_M, _most(f"{_M} + B * H * W", f"{unfolded} + 3 * B * H * W"))),
        _most(
            # One byte a number says where the maximum was.
            _bytes(_sum(f"5 * {_M}", "6 * B * H * W"), _M),
            _bytes(_sum(f"3.1 * {_M}", unfolded)),
        ),
        "the map after each gate, and their gradients",
    )
    return Formula("CBAM", "gates/gates", package)


def _bam(device: str) -> Formula:
    del device
    hidden = "B * H * W * floor(C / 16)"
    package = Pass(
        _bytes(_sum(f"2 * {_M}", "B * H * W")),
        _bytes(_sum(f"5 * {_M}", f"6 * {hidden}")),
        "the factor, before and after the sigmoid, and gradients",
    )
    return Formula("BAM", "gates/gates", package)


def _coordinate(device: str) -> Formula:
    chunked = _step(_M, 2_000_000) if device == "cpu" else "0"
    lines = "B * C * (H + W)"
    package = Pass(
        _bytes(_sum(f"(2 - {chunked}) * {_M}", f"2 * {lines}")),
        _bytes(_sum(f"(4 - {chunked}) * {_M}", f"3 * {lines}")),
        "the map and its gradient",
    )
    return Formula("Coordinate attention", "gates/coordinate", package)


def _non_local(device: str) -> Formula:
    del device
    pairs = "B * H * W * H * W"
    package = Pass(
        _bytes(_sum(f"2 * {pairs}", f"1.75 * {_M}"), pairs),  # one byte: is it masked?
        _bytes(_sum(f"3 * {pairs}", f"2.5 * {_M}")),
        "the map of all pairs",
    )
    textbook = Pass(
        _bytes(_sum(f"2 * {pairs}", f"1.5 * {_M}")),
        _bytes(_sum(f"4 * {pairs}", f"2.5 * {_M}")),
        "the map of all pairs: logits, weights, gradients",
    )
    return Formula("Non-local", "far/non_local", package, textbook)


def _criss_cross(device: str) -> Formula:
    del device
    row, column = "B * H * W * W", "B * H * W * H"
    package = Pass(
        _bytes(
            _most(
                f"2 * {row} + 3 * {column} + 5.25 * {_M}",
                f"{row} + {column} + 6.5 * {_M}",
            )
        ),
        _bytes(
            _sum(
                f"3 * {row}",
                f"(3 + 2 * {_SEVERAL}) * {column}",
                f"(8.5 + 2.75 * {_SEVERAL}) * {_M}",
            )
        ),
        "the weights of row and column",
    )
    return Formula("Criss-cross", "far/non_local", package)


def _axial(device: str) -> Formula:
    del device
    package = Pass(
        _bytes(f"10 * {_M}"),
        _bytes(_sum(f"14 * {_M}", "B * N * H * W", "6 * C * C")),
        "queries, keys and values, as convolutions and as the fused kernel want them",
    )
    textbook = Pass(
        _bytes(
            _most(
                f"2 * {_ROW} + 4 * {_M}",
                f"{_ROW} + 7 * {_M}",
                f"2 * {_COLUMN} + 3 * {_M}",
            )
        ),
        _bytes(
            _most(
                f"3 * {_ROW} + {_COLUMN} + 8 * {_M}",
                f"{_ROW} + {_COLUMN} + 12 * {_M}",
                f"3 * {_COLUMN} + 6 * {_M}",
            )
        ),
        "the weights of rows and columns",
    )
    return Formula("Axial", "far/axial", package, textbook)


def _position_sensitive(device: str) -> Formula:
    del device
    package = Pass(
        _bytes(_most(f"12 * {_ROW} + 10 * {_M}", f"12 * {_COLUMN} + 8 * {_M}")),
        _bytes(
            _most(
                f"12 * {_ROW} + 4 * {_COLUMN} + 22 * {_M}",
                f"12 * {_COLUMN} + 12 * {_M}",
            )
        ),
        "three terms of the logits, before and after their norm",
    )
    return Formula("Position-sensitive axial", "far/axial", package)


def _channelized(device: str) -> Formula:
    del device
    row, column = "B * H * W * W", "B * H * W * H"
    package = Pass(
        _bytes(
            _most(
                f"{row} + {column} + 3.25 * {_M}",
                f"2 * {row} + {column} + 1.25 * {_M}",
            )
        ),
        _bytes(
            _most(
                f"{row} + {column} + 8.75 * {_M} + 2 * C * C",
                f"3 * {row} + {column} + 7.25 * {_M}",
                f"{_SEVERAL} * (2 * {row} + {column} + 9.25 * {_M})",
                f"{_SEVERAL} * ({row} + {column} + 10 * {_M} + 2 * C * C)",
            )
        ),
        "the weights of rows and columns, and the map a few times",
    )
    textbook = Pass(
        _bytes(_sum(f"2 * max(H, W) * {_M}", row, column, f"3.25 * {_M}")),
        _bytes(
            _sum(f"max(3 * W + H, 3 * H) * {_M}", row, column, f"6.5 * {_M}"),
        ),
        "every product of a weight and a value",
    )
    return Formula("Channelized axial", "far/channelized", package, textbook)


_MECHANISMS: dict[str, Callable[[str], Formula]] = {
    "convolution": _convolution,
    "multi_head": _multi_head,
    "quadratic": _quadratic,
    "augmented": _augmented,
    "local": _local,
    "halo": _halo,
    "pairwise": _pairwise,
    "patchwise": _patchwise,
    "squeeze_excitation": _squeeze_excitation,
    "cbam": _cbam,
    "bam": _bam,
    "coordinate": _coordinate,
    "non_local": _non_local,
    "criss_cross": _criss_cross,
    "axial": _axial,
    "position_sensitive": _position_sensitive,
    "channelized": _channelized,
}


# What the book asks of them -----------------------------------------------------------


def memory_formulas(device: str = "cpu") -> dict[str, Formula]:
    """The formula of every mechanism, in the order of the comparison.

    Args:
        device: ``"cpu"`` or ``"cuda"``. The package works in larger chunks on a GPU,
            and there the fused kernels of PyTorch need no memory beside their results.
            The formulas for the CPU, with one thread, are tested against measurements.
            Those for a GPU follow from the same code; its libraries may add workspaces.

    Raises:
        ValueError: Another device.
    """
    if device not in _CHUNKS:
        raise ValueError(f"device must be one of {', '.join(_CHUNKS)}, got {device!r}")
    return {name: formula(device) for name, formula in _MECHANISMS.items()}


def _expression(mechanism: str, form: str, training: bool, device: str) -> str:
    formulas = memory_formulas(device)
    if mechanism not in formulas:
        raise ValueError(
            f"mechanism must be one of {', '.join(formulas)}, got {mechanism!r}"
        )
    if form not in ("package", "textbook"):
        raise ValueError(f"form must be 'package' or 'textbook', got {form!r}")
    formula = formulas[mechanism]
    found = formula.package if form == "package" else formula.textbook
    if found is None:
        raise ValueError(f"{mechanism} has no textbook form of its own")
    return found.training if training else found.forward


def _numbers(given: dict[str, int]) -> dict[str, float]:
    numbers: dict[str, float] = {n: v.default for n, v in _VARIABLES.items()}
    for name, number in given.items():
        if name not in numbers:
            raise ValueError(f"{name} is none of {', '.join(numbers)}")
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{name} must be an integer, got {number!r}")
        if number < (0 if name == "h" else 1):
            raise ValueError(f"{name} is too small: {number}")
        numbers[name] = number
    return numbers


def memory_bytes(
    mechanism: str,
    *,
    form: str = "package",
    training: bool = False,
    device: str = "cpu",
    **numbers: int,
) -> int:
    """Peak memory of a layer, by its formula.

    Args:
        mechanism: A key of `memory_formulas`.
        form: ``"package"`` or ``"textbook"``.
        training: Forward and backward pass; else the forward pass alone.
        device: ``"cpu"`` or ``"cuda"``.
        **numbers: Values of variables; `memory_variables` has those of the others.

    Returns:
        Bytes beyond input, parameters and incoming gradient.

    Raises:
        TypeError: A value that is not an integer.
        ValueError: An unknown name, or a value below one.

    Example:
        >>> memory_bytes("squeeze_excitation", B=2, C=64, H=10, W=10)
        51200
    """
    expression = _expression(mechanism, form, training, device)
    return math.ceil(evaluate(expression, **_numbers(numbers)))


_LARGEST = 65_536


def largest_map(
    mechanism: str,
    budget: int,
    *,
    form: str = "package",
    training: bool = False,
    device: str = "cpu",
    **numbers: int,
) -> int:
    """Side of the largest square map whose layer fits into a budget.

    Args:
        mechanism: A key of `memory_formulas`.
        budget: Bytes.
        form: ``"package"`` or ``"textbook"``.
        training: Forward and backward pass; else the forward pass alone.
        device: ``"cpu"`` or ``"cuda"``.
        **numbers: Values of variables; H and W have no effect.

    Returns:
        H = W; 0 where nothing fits, at most 65,536. Chunks make small steps in the
        formulas: the side is one that fits, and the next one does not.

    Raises:
        TypeError: A value that is not an integer.
        ValueError: An unknown name, or a value below one.
    """
    expression = _expression(mechanism, form, training, device)
    values = _numbers(numbers)

    def fits(side: int) -> bool:
        return evaluate(expression, **{**values, "H": side, "W": side}) <= budget

    low, high = 0, _LARGEST + 1
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


_DTYPES = {2: torch.bfloat16, 4: torch.float32, 8: torch.float64}


def measure_bytes(
    mechanism: str,
    *,
    form: str = "package",
    training: bool = False,
    device: str | torch.device = "cpu",
    **numbers: int,
) -> int:
    """Peak memory of a layer, measured by `peak_bytes` on a random map.

    On a CPU it depends on the number of threads; the formulas are for one.

    Args:
        mechanism: A key of `memory_formulas`.
        form: ``"package"`` or ``"textbook"``.
        training: Forward and backward pass; else the forward pass alone.
        device: Where.
        **numbers: Values of variables, as in `memory_bytes`.

    Raises:
        TypeError: A value that is not an integer.
        ValueError: An unknown name, a value below one, or sizes that the layer refuses.
    """
    _expression(mechanism, form, training, "cpu")  # checks the names
    values = {name: int(number) for name, number in _numbers(numbers).items()}
    if values["s"] not in _DTYPES:
        raise ValueError(f"s must be one of {list(_DTYPES)}, got {values['s']}")
    layer = build_layer(
        mechanism,
        channels=values["C"],
        num_heads=values["N"],
        height=values["H"],
        width=values["W"],
        kernel_size=values["K"],
        block_size=values["b"],
        halo_size=values["h"],
    )
    dtype = _DTYPES[values["s"]]
    layer = layer.to(device, dtype)
    shape = [values[name] for name in "BCHW"]
    x = torch.randn(shape, device=device, dtype=dtype, requires_grad=training)
    g = torch.randn(shape, device=device, dtype=dtype)
    inputs = [x, *layer.parameters()]

    def run() -> torch.Tensor:
        y: torch.Tensor = (
            layer(x) if form == "package" else TEXTBOOK[mechanism](layer, x)
        )
        return y

    def work() -> object:
        if not training:
            with torch.no_grad():
                return run()
        return torch.autograd.grad(run(), inputs, g, allow_unused=True)

    work()  # the first call may allocate what stays
    return peak_bytes(work)
