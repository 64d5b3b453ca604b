"""Operators of our own have a backward, but no rule for forward-mode derivatives."""

import torch
from torch import Tensor
from torch.autograd import forward_ad


def has_tangent(*tensors: Tensor) -> bool:
    """Whether a forward-mode derivative is being taken of one of these tensors.

    Such an operator would silently give it a tangent of zero, so the plain form must
    run.
    """
    if torch.compiler.is_compiling():
        return False
    return any(forward_ad.unpack_dual(x).tangent is not None for x in tensors)
