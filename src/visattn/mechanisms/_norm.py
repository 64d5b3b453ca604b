"""Batch norm with statistics of the batch, or with given ones."""

import torch
import torch.nn.functional as F
from torch import Tensor


def batch_norm(
    u: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    eps: float,
) -> Tensor:
    """Normalise the channels of [B, C, ...]; given statistics have gradients too."""
    if mean is None or variance is None:
        return F.batch_norm(u, None, None, scale, shift, True, eps=eps)
    factor = scale / torch.sqrt(variance + eps)
    along = (-1, *[1] * (u.ndim - 2))
    return (u - mean.view(along)) * factor.view(along) + shift.view(along)
