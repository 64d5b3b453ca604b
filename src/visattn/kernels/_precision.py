"""The precision that operators of our own work in: autocast would change it."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Half precision is worked on in float32, chunk by chunk."""
    half = dtype in (torch.float16, torch.bfloat16)
    return torch.float32 if half else dtype


def without_autocast(
    function: Callable[Concatenate[Tensor, P], R],
) -> Callable[Concatenate[Tensor, P], R]:
    """Let a function choose its own precision; its first argument tells the device.

    What works on half precision in float32 would otherwise get its matrix products in
    half precision again: logits of size 30 are then wrong by up to 0.1.
    """

    @wraps(function)
    def inside(first: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> R:
        kind = first.device.type
        known = torch.amp.autocast_mode.is_autocast_available(kind)
        if not known or not torch.is_autocast_enabled(kind):
            return function(first, *args, **kwargs)
        with torch.autocast(kind, enabled=False):
            return function(first, *args, **kwargs)

    return inside
