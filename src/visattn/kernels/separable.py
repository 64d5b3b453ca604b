"""Attention whose weights are a row part times a column part.

Where the logits of a query are a sum of a part for the key's row and a part for its
column, the softmax over the map is the product of two softmaxes over lines. The
pooling is then two small matrix products, and no map of weights is ever made.

Shapes: B batch, N heads, I J queries, H W keys, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 1e-30
"""Weights below this become zero.

A tail like exp(-100) is a denormal number in single precision, and matrix products
with many of them are several times slower. Beside a weight of one, 1e-30 changes no
digit of any floating-point type.
"""


def line_softmax(logits: Tensor) -> Tensor:
    """Softmax over the last axis, without the tails that nobody can see."""
    return F.threshold(logits.softmax(dim=-1), SMALLEST, 0.0)


def separable_pooling(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pool with the weights rows[n, i, a] * columns[n, j, b].

    Args:
        x: Map [B, H, W, C].
        rows: [N, I, H].
        columns: [N, J, W].

    Returns:
        [B, N, I, J, C].
    """
    B, H, W, C = x.shape
    N, height, _ = rows.shape
    # The rows of all heads are one matrix: one product for each image.
    y = torch.matmul(rows.flatten(0, 1), x.reshape(B, H, W * C))  # [B, N*I, W*C]
    y = y.reshape(B, N, height, W, C)
    # Spread over images and lines by a view; the products are batched.
    columns = columns[None, :, None].expand(B, N, height, -1, -1)
    return torch.matmul(columns, y)
