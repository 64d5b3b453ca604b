"""Checks of arguments. Every message prints what came and what was expected."""

from collections.abc import Sequence

import torch
from torch import Tensor


def shape_of(x: Tensor) -> str:
    """Shape as text: ``[2, 8, 7, 5]``."""
    return str(list(x.shape))


def check_tensor(x: object, name: str, axes: str) -> None:
    """Refuse what is not a floating-point tensor with the axes ``axes``.

    Args:
        x: The argument.
        name: Its name, for the message.
        axes: Axis letters such as ``"B T D"``; a leading ``...`` stands for any
            number of axes.

    Raises:
        TypeError: Not a tensor, or not of a floating-point dtype.
        ValueError: Wrong number of axes, or an axis of length zero.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(
            f"{name} must have a floating-point dtype, got {x.dtype} "
            f"with shape {shape_of(x)}"
        )
    letters = axes.split()
    if letters[0] == "...":
        if x.ndim < len(letters) - 1:
            raise ValueError(
                f"{name} must have at least {len(letters) - 1} axes [{axes}], "
                f"got shape {shape_of(x)}"
            )
    elif x.ndim != len(letters):
        raise ValueError(
            f"{name} must have {len(letters)} axes [{axes}], got shape {shape_of(x)}"
        )
    if x.numel() == 0:
        raise ValueError(f"{name} is empty: got shape {shape_of(x)}")


def check_map(x: object, channels: int, name: str = "in_channels") -> None:
    """Refuse what is not a map [B, C, H, W] with as many channels as the layer has.

    Args:
        x: The argument of ``forward``.
        channels: C.
        name: What the layer calls it, for the message.

    Raises:
        TypeError: Not a tensor, or not of a floating-point dtype.
        ValueError: Wrong number of axes, an empty map, other channels.
    """
    check_tensor(x, "x", "B C H W")
    assert isinstance(x, Tensor)
    if x.shape[1] != channels:
        raise ValueError(f"x must have {name}={channels}, got shape {shape_of(x)}")


def check_same_kind(**tensors: Tensor) -> None:
    """Refuse tensors that differ in dtype or device.

    Raises:
        TypeError: Different dtypes.
        ValueError: Different devices.
    """
    kinds = {name: (x.dtype, x.device) for name, x in tensors.items()}
    if len({dtype for dtype, _ in kinds.values()}) > 1:
        got = ", ".join(f"{name}: {dtype}" for name, (dtype, _) in kinds.items())
        raise TypeError(f"expected one dtype, got {got}")
    if len({device for _, device in kinds.values()}) > 1:
        got = ", ".join(f"{name}: {device}" for name, (_, device) in kinds.items())
        raise ValueError(f"expected one device, got {got}")


def check_positive(**numbers: int) -> None:
    """Refuse what is not an integer of at least one.

    Raises:
        TypeError: Not an integer.
        ValueError: Below one.
    """
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(
                f"{name} must be an integer, got {number!r} ({type(number).__name__})"
            )
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")


def check_pair(name: str, value: object, least: int = 1) -> tuple[int, int]:
    """One integer for both axes of a map, or two: (rows, columns).

    Raises:
        TypeError: Neither an integer nor a pair of them.
        ValueError: Below ``least``.
    """
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be one integer or two, got {value!r}")
    rows, columns = pair
    for number in pair:
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{name} must be one integer or two, got {value!r}")
        if number < least:
            raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return rows, columns


def check_divisible(name: str, number: int, by: str, divisor: int) -> None:
    """Refuse a number that the divisor does not divide.

    Raises:
        ValueError: There is a remainder.
    """
    if number % divisor:
        raise ValueError(
            f"{name} must be divisible by {by}, got {name}={number}, {by}={divisor}"
        )


def check_multiple(name: str, number: int, of: int, reason: str) -> None:
    """Refuse a number that is not a multiple of ``of``.

    Raises:
        ValueError: There is a remainder.
    """
    if number % of:
        raise ValueError(
            f"{name} must be a multiple of {of} ({reason}), got {name}={number}"
        )


def check_float_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """The dtype asked for, or the default one; refuse what cannot hold fractions.

    Raises:
        TypeError: Not a floating-point dtype.
    """
    if dtype is None:
        return torch.get_default_dtype()
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating-point dtype, got {dtype}")
    return dtype


def check_broadcast(x: Tensor, name: str, target: Sequence[int], axes: str) -> None:
    """Refuse a mask or bias that does not fit ``target`` in a clear way.

    Two axes, or as many as ``target`` has. Anything between would line up by the
    accident of equal lengths, for example a batch axis with the heads.

    Args:
        x: The mask or bias.
        name: Its name, for the message.
        target: Shape of the logits.
        axes: The letters of ``target``, for the message.

    Raises:
        ValueError: Wrong number of axes, or a length that is neither 1 nor equal.
    """
    wanted = list(target)
    tail = wanted[-x.ndim :] if x.ndim else []
    fits = x.ndim in (2, len(wanted)) and all(
        got in (1, want) for got, want in zip(x.shape, tail, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{name} must have shape {wanted[-2:]} or one that broadcasts to "
            f"{wanted} [{axes}] with all {len(wanted)} axes written out, "
            f"got {shape_of(x)}"
        )
