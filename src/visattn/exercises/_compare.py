"""Compare two outputs, and say in words how they differ."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}
_COARSE = 2e-2  # float16 and bfloat16
_SHOWN = 8  # show a tensor in full up to this many numbers

Details = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Difference:
    """How an output differs from the expected one."""

    kind: str  # "type", "shape", "dtype", "nan" or "value"
    message: str
    details: Details = ()


def equal(got: Any, want: Any) -> bool:
    """True when type, shape, kind of dtype and numbers agree (NaN equals NaN)."""
    if isinstance(got, Tensor) and isinstance(want, Tensor):
        if got.shape != want.shape or dtype_kind(got) != dtype_kind(want):
            return False
        return bool(_close(got, want).all())
    if is_number(got) and is_number(want):
        return math.isclose(got, want, rel_tol=1e-12)
    return False


def difference(got: Any, want: Any, any_float: bool = False) -> Difference | None:
    """None when the output is right; otherwise the first thing that is not."""
    if is_number(want):
        return _number_difference(got, want)
    if not isinstance(got, Tensor):
        return Difference("type", _wrong_type(got))
    if got.shape != want.shape:
        return _shape_difference(got, want)
    wrong_dtype = got.dtype != want.dtype and not (
        any_float and got.is_floating_point() and want.is_floating_point()
    )
    if wrong_dtype and dtype_kind(got) == dtype_kind(want) == "int":
        wrong_dtype = False
    if not bool(_close(got, want).all()):
        return _value_difference(got, want)
    return _dtype_difference(got, want) if wrong_dtype else None


def largest_error(got: Any, want: Any) -> float:
    """The largest absolute difference of two outputs of one shape."""
    if not isinstance(got, Tensor):
        return abs(float(got) - float(want))
    if got.numel() == 0:
        return 0.0
    gap = (_plain(got) - _plain(want)).abs().nan_to_num(nan=0.0)  # inf - inf
    return float(gap.max())


def is_number(value: Any) -> bool:
    """True for a Python int or float."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def dtype_kind(tensor: Tensor) -> str:
    """`bool`, `int`, `float` or `complex`."""
    if tensor.dtype == torch.bool:
        return "bool"
    if tensor.is_complex():
        return "complex"
    return "float" if tensor.is_floating_point() else "int"


def shape_text(tensor: Tensor) -> str:
    """The shape as in the book: [2, 3, 4]."""
    return str(list(tensor.shape))


def describe(value: Any) -> str:
    """An argument in a few characters: a shape, or the value itself."""
    if isinstance(value, Tensor):
        kind = "" if value.dtype == torch.float64 else f" {_dtype(value)}"
        return shape_text(value) + kind
    return f"= {value!r}"


def numbers(tensor: Tensor) -> str | None:
    """All numbers of a small tensor, or None when it is too large to print."""
    if tensor.numel() > _SHOWN or tensor.numel() == 0:
        return None
    if dtype_kind(tensor) == "float":
        tensor = (tensor.detach().double() * 1e4).round() / 1e4 + 0.0
    return str(tensor.tolist())


def _plain(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    return tensor if tensor.is_complex() else tensor.to(torch.float64)


def _close(got: Tensor, want: Tensor) -> Tensor:
    tolerance = max(
        _TOLERANCE.get(tensor.dtype, _COARSE) if tensor.is_floating_point() else 1e-8
        for tensor in (got, want)
    )
    return torch.isclose(
        _plain(got), _plain(want), rtol=tolerance, atol=tolerance, equal_nan=True
    )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _wrong_type(got: Any) -> str:
    text = f"A tensor was expected; your function returned {type(got).__name__}."
    if isinstance(got, tuple | list) and any(isinstance(part, Tensor) for part in got):
        return f"{text} Return the one tensor that the exercise asks for."
    return text


def _number_difference(got: Any, want: int | float) -> Difference | None:
    if isinstance(got, Tensor) and got.numel() == 1:
        got = got.item()
    if not is_number(got):
        kind = type(got).__name__
        return Difference("type", f"A number was expected; got {kind}.")
    if equal(got, want):
        return None
    factor = f"; that is {got / want:.6g} times the right one" if want else ""
    return Difference("value", f"Expected {want:.10g}, got {got:.10g}{factor}.", ())


def _shape_difference(got: Tensor, want: Tensor) -> Difference:
    text = (
        f"The shape is {shape_text(got)}; {shape_text(want)} was expected."
        f" {_shape_hint(got, want)}"
    )
    return Difference("shape", text.strip())


def _shape_hint(got: Tensor, want: Tensor) -> str:
    if sorted(got.shape) == sorted(want.shape) and got.ndim <= 6:
        return _permutation_hint(got, want)
    if [n for n in got.shape if n != 1] == [n for n in want.shape if n != 1]:
        return "Only axes of length 1 differ: look at `keepdim`, `None` or `squeeze`."
    if got.numel() == want.numel():
        return "The number of elements is right: axes are merged or split otherwise."
    if got.ndim != want.ndim:
        return f"Your output has {got.ndim} axes; {want.ndim} were expected."
    axes = [n for n in range(got.ndim) if got.shape[n] != want.shape[n]]
    return f"Axis {axes[0]} is the first that differs."


def _permutation_hint(got: Tensor, want: Tensor) -> str:
    fitting = [
        order
        for order in itertools.permutations(range(got.ndim))
        if all(got.shape[a] == n for a, n in zip(order, want.shape, strict=True))
    ]
    for order in fitting:
        if bool(_close(got.permute(order), want).all()):
            return f"After `.permute{order}` the numbers are right, too."
    if len(fitting) == 1:
        return f"The axes are permuted; `.permute{fitting[0]}` gives the right shape."
    return "The axes are permuted."


def _dtype_difference(got: Tensor, want: Tensor) -> Difference:
    text = f"The numbers are right, but the dtype is {_dtype(got)}; "
    if dtype_kind(want) == "float":
        text += (
            f"{_dtype(want)} was expected, the dtype of the input. Create tensors"
            " with `dtype=x.dtype`."
        )
    else:
        text += f"{_dtype(want)} was expected."
    return Difference("dtype", text)


def _value_difference(got: Tensor, want: Tensor) -> Difference:
    wrong = ~_close(got, want)
    where = tuple(int(n) for n in wrong.nonzero()[0])
    got_value, want_value = (float(_plain(part)[where]) for part in (got, want))
    place = f"at {list(where)} " if where else ""
    missing = int((_plain(got).isnan() & ~_plain(want).isnan()).sum())
    details = [
        ("first difference", f"{place}got {got_value:.6g}, expected {want_value:.6g}")
    ]
    if missing:
        text = f"{missing} of {got.numel()} numbers are NaN."
        return Difference("nan", text, tuple(details))
    details.append(("largest error", f"{largest_error(got, want):.3g}"))
    text = f"{int(wrong.sum())} of {got.numel()} numbers differ from the loop's."
    for label, tensor in (("your output", got), ("expected", want)):
        shown = numbers(tensor)
        if shown is not None and tensor.numel() > 1:
            details.append((label, shown))
    return Difference("value", text, tuple(details))


def relation(got: Any, want: Any) -> str:
    """A sentence on how two outputs are related everywhere, or nothing."""
    if not isinstance(got, Tensor) or not isinstance(want, Tensor):
        return ""
    if got.numel() != want.numel() or got.numel() < 3 or dtype_kind(got) == "bool":
        return ""
    a, b = _plain(got), _plain(want)
    if a.is_complex() or not bool(a.isfinite().all() & b.isfinite().all()):
        return ""
    if a.shape != b.shape:
        return _axes_hint(got, want)
    factor = float((a * b).sum() / b.square().sum().clamp_min(1e-300))
    if abs(factor) > 1e-8 and bool(torch.isclose(a, factor * b, atol=1e-8).all()):
        return f" Every number is {factor:.6g} times the right one."
    return _axes_hint(got, want)


def _axes_hint(got: Tensor, want: Tensor) -> str:
    if not 1 < got.ndim <= 5:
        return ""
    for order in itertools.permutations(range(got.ndim)):
        same_shape = got.permute(order).shape == want.shape
        if same_shape and bool(_close(got.permute(order), want).all()):
            return f" After `.permute{order}` your output is right."
    return ""
