"""Operators of our own have a backward, but no rule for function transforms."""

import torch
from torch import Tensor
from torch.autograd import forward_ad


def needs_plain_form(*tensors: Tensor) -> bool:
    """Whether a derivative is being taken that an operator of our own does not know.

    In forward mode such an operator would silently give a tangent of zero; inside
    ``torch.func`` it is refused. The plain form knows them all. A compiler sees only
    whether some forward-mode derivative is being taken.
    """
    if torch.compiler.is_compiling():
        return bool(forward_ad._current_level >= 0)
    if torch._C._are_functorch_transforms_active():
        return True
    return any(forward_ad.unpack_dual(x).tangent is not None for x in tensors)


def refuse_tangent(*cotangents: Tensor) -> None:
    """Refuse to take a forward-mode derivative of a backward pass of our own.

    Raises:
        NotImplementedError: A cotangent carries a tangent, which would be lost.
    """
    if torch.compiler.is_compiling():
        return
    if any(forward_ad.unpack_dual(g).tangent is not None for g in cotangents):
        raise NotImplementedError(
            "forward mode over this backward pass is not supported; take both "
            "derivatives with torch.func, or ask the layer for its attention, which "
            "uses PyTorch's own operators"
        )
