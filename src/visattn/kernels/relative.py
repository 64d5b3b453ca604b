"""Global attention with 2D relative logits through a fused kernel, without a bias.

The relative logit of a pair is a sum of a row part and a column part. A part that
depends on the query and on the key's row only is a dot product with a one-hot vector:

    q.k + A[q, row(k)] + C[q, col(k)] = [q, A[q], C[q]] . [k, onehot(row), onehot(col)]

So vectors that are H + W longer carry the whole logit, any fused kernel computes it
exactly, and its gradients reach the tables.

Shapes: B batch, N heads, H W map, D query/key dim, E value dim.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def relative_attention_2d(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, cols: Tensor
) -> Tensor:
    """Attention over all pixels, with logits q.k + rows + cols.

    Args:
        q: Queries [B, N, H, W, D], already scaled.
        k: Keys [B, N, H, W, D].
        v: Values [B, N, H, W, E].
        rows: Relative logits of key rows [B, N, H, W, H].
        cols: Relative logits of key columns [B, N, H, W, W].

    Returns:
        [B, N, H, W, E].
    """
    _, _, H, W, _ = q.shape
    row = torch.eye(H, dtype=k.dtype, device=k.device)[:, None].expand(H, W, H)
    col = torch.eye(W, dtype=k.dtype, device=k.device)[None].expand(H, W, W)
    place = torch.cat([row, col], dim=-1).expand(*k.shape[:2], -1, -1, -1)
    long_q = torch.cat([q, rows, cols], dim=-1).flatten(2, 3)  # [B, N, HW, D+H+W]
    long_k = torch.cat([k, place], dim=-1).flatten(2, 3)
    # The fused kernels want queries, keys and values of one width: pad what is narrower
    # with zeros, which change no product, and crop the result.
    E = v.shape[-1]
    gap = E - long_q.shape[-1]
    long_q, long_k = (F.pad(x, (0, max(0, gap))) for x in (long_q, long_k))
    long_v = F.pad(v.flatten(2, 3), (0, max(0, -gap)))
    y: Tensor = F.scaled_dot_product_attention(long_q, long_k, long_v, scale=1.0)
    return torch.unflatten(y[..., :E], 2, (H, W))
