"""The mechanisms in the form that a textbook writes: every copy and every map is made.

Each function takes a layer of `visattn.mechanisms` and a map, and returns what
``layer(x)`` returns. It is there to be measured: unfolding copies the window of every
pixel, and global attention keeps the map of all pairs.

Shapes: B batch, N heads, C channels, D head dim, H W map, T = H*W pixels, K window,
P = K*K places, R relation channels.
"""

import math
from collections.abc import Callable
from typing import Any

import einops
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visattn.mechanisms.positions import relative_logits_2d

Form = Callable[[Any, Tensor], Tensor]


def rearrange(x: Tensor, pattern: str, **axes: int) -> Tensor:
    """``einops.rearrange``, of a tensor."""
    y: Tensor = einops.rearrange(x, pattern, **axes)
    return y


def convolution(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """One matrix product over unfolded windows."""
    H, W = x.shape[2:]
    assert isinstance(layer.padding, tuple)
    columns = F.unfold(x, layer.kernel_size, padding=layer.padding)  # [B, C*P, T]
    y: Tensor = layer.weight.flatten(1) @ columns  # [B, D, T]
    if layer.bias is not None:
        y = y + layer.bias[:, None]
    return torch.unflatten(y, 2, (H, W))


def quadratic(layer: Any, x: Tensor) -> Tensor:
    """The maps of all heads, then the means, then the value matrix."""
    H, W = x.shape[2:]
    rows = torch.arange(H, dtype=x.dtype, device=x.device)
    cols = torch.arange(W, dtype=x.dtype, device=x.device)
    down = rows - rows[:, None] - layer.centers[:, 0, None, None]  # [N, H, H]
    right = cols - cols[:, None] - layer.centers[:, 1, None, None]  # [N, W, W]
    half = layer.spreads[:, None, None].square() / 2
    down, right = -half * down.square(), -half * right.square()
    logits = down[:, :, None, :, None] + right[:, None, :, None, :]
    maps = logits.flatten(3).flatten(1, 2).softmax(dim=-1)  # [N, T, T]
    means = x.flatten(2)[:, None] @ maps.mT  # [B, N, C, T]
    y: Tensor = layer.value(means.flatten(1, 2).unflatten(2, (H, W)))
    return y


def _heads(x: Tensor, num_heads: int) -> Tensor:
    return rearrange(x, "B (N D) H W -> B N (H W) D", N=num_heads)


def multi_head(layer: Any, x: Tensor) -> Tensor:
    """Logits, softmax and weighted sum over all pairs of pixels."""
    H = x.shape[2]
    tokens = rearrange(x, "B C H W -> B (H W) C")
    q, k, v = (
        rearrange(f(tokens), "B T (N D) -> B N T D", N=layer.num_heads)
        for f in (layer.query, layer.key, layer.value)
    )
    attention = (layer.dim_head**-0.5 * q @ k.mT).softmax(dim=-1)  # [B, N, T, T]
    y = layer.out(rearrange(attention @ v, "B N T D -> B T (N D)"))
    return rearrange(y, "B (H W) C -> B C H W", H=H)


def augmented(layer: Any, x: Tensor) -> Tensor:
    """Relative logits and attention of all pairs, beside the convolution."""
    H, W = x.shape[2:]
    d_k, d_v = layer.key_channels, layer.value_channels
    k, q, v = (
        _heads(part, layer.num_heads)
        for part in layer.kqv(x).split([d_k, d_k, d_v], dim=1)
    )
    q = q * q.shape[-1] ** -0.5
    places = q.unflatten(2, (H, W))
    logits = q @ k.mT
    logits = logits + relative_logits_2d(places, layer.key_rel_h, layer.key_rel_w)
    attention = logits.softmax(dim=-1)  # [B, N, T, T]
    y = rearrange(attention @ v, "B N (H W) D -> B (N D) H W", H=H)
    return torch.cat([layer.conv(x), layer.proj(y)], dim=1)


def _unfold(x: Tensor, kernel_size: int, num_heads: int) -> Tensor:
    """The window of every pixel: [B, N*D, H, W] -> [B, N, T, D, P]."""
    columns = F.unfold(x, kernel_size, padding=kernel_size // 2)
    return rearrange(columns, "B (N D P) T -> B N T D P", N=num_heads, P=kernel_size**2)


def local(layer: Any, x: Tensor) -> Tensor:
    """Keys and values unfolded: K*K copies of each."""
    H, W = x.shape[2:]
    K, N = layer.kernel_size, layer.num_heads
    q = _heads(layer.query(x), N)  # [B, N, T, D]
    k, v = _unfold(layer.key(x), K, N), _unfold(layer.value(x), K, N)
    rows = layer.relative_rows[:, None].expand(-1, K, -1)
    cols = layer.relative_cols[None].expand(K, -1, -1)
    places = torch.cat([rows, cols], dim=-1).flatten(0, 1)  # [P, D]
    logits = (q[:, :, :, None] @ k)[:, :, :, 0] + q @ places.mT  # [B, N, T, P]
    if layer.border == "mask":
        inside = F.unfold(x.new_ones(1, 1, H, W), K, padding=K // 2)[0].mT > 0
        logits = logits.masked_fill(~inside, -math.inf)
    weights = logits.softmax(dim=-1)
    y = (v @ weights[..., None])[..., 0]  # [B, N, T, D]
    return rearrange(y, "B N (H W) D -> B (N D) H W", H=H)


def _mirrored(x: Tensor, kernel_size: int) -> Tensor:
    """Windows of the mirrored map: [B, C, H, W] -> [B, C, P, T]."""
    padded = F.pad(x, (kernel_size // 2,) * 4, mode="reflect")
    return torch.unflatten(F.unfold(padded, kernel_size), 1, (x.shape[1], -1))


def _aggregate(weights: Tensor, beta: Tensor, kernel_size: int) -> Tensor:
    """Sum over unfolded windows with weights [B, G, P, T]; channel c in c % G."""
    windows = _mirrored(beta, kernel_size).unflatten(1, (-1, weights.shape[1]))
    y = (weights[:, None] * windows).sum(dim=3)  # [B, S, G, T]
    return torch.unflatten(y.flatten(1, 2), 2, beta.shape[2:])


def pairwise(layer: Any, x: Tensor) -> Tensor:
    """Neighbours and values unfolded; the difference with every neighbour is made."""
    from visattn.mechanisms.san import window_coordinates

    K = layer.kernel_size
    phi, psi, beta = layer.phi(x), layer.psi(x), layer.beta(x)
    delta = phi.flatten(2)[:, :, None] - _mirrored(psi, K)  # [B, R, P, T]
    place = window_coordinates(*x.shape[2:], device=x.device, dtype=x.dtype)
    place = layer.position(place[None])
    offset = place.flatten(2)[:, :, None] - _mirrored(place, K)  # [1, 2, P, T]
    delta = torch.cat([delta, offset.expand(len(x), -1, -1, -1)], dim=1)
    weights = layer.gamma(delta).softmax(dim=2)  # [B, G, P, T]
    return _aggregate(weights, beta, K)


def patchwise(layer: Any, x: Tensor) -> Tensor:
    """Window and values unfolded; the window is one long vector."""
    K = layer.kernel_size
    phi, psi, beta = layer.phi(x), layer.psi(x), layer.beta(x)
    window = _mirrored(psi, K).flatten(1, 2)  # [B, R*P, T]
    delta = torch.cat([phi.flatten(2), window], dim=1)[:, :, None]
    weights = layer.gamma(delta).unflatten(1, (-1, K * K))[:, :, :, 0]
    return _aggregate(weights, beta, K)


def non_local(layer: Any, x: Tensor) -> Tensor:
    """The map of all pairs; one head."""
    q, k, v = (f(x).flatten(2) for f in (layer.query, layer.key, layer.value))
    attention = (q.mT @ k).softmax(dim=-1)  # [B, T, T]
    y = (v @ attention.mT).unflatten(2, x.shape[2:])
    z: Tensor = x + layer.norm(layer.out(y))
    return z


def _axis(layer: Any, x: Tensor) -> Tensor:
    q, k, v = (
        rearrange(f(x), "B (N D) H W -> B N H W D", N=layer.num_heads)
        for f in (layer.query, layer.key, layer.value)
    )
    if layer.axis == "height":
        q, k, v = (part.transpose(2, 3) for part in (q, k, v))
    attention = (q.shape[-1] ** -0.5 * q @ k.mT).softmax(dim=-1)
    y = attention @ v
    if layer.axis == "height":
        y = y.transpose(2, 3)
    return rearrange(y, "B N H W D -> B (N D) H W")


def axial(layers: nn.Sequential, x: Tensor) -> Tensor:
    """The maps of all columns, then those of all rows."""
    return _axis(layers[1], _axis(layers[0], x))


def channelized(layer: Any, x: Tensor) -> Tensor:
    """All products of a weight and a value, before they are gated and summed."""
    q_column, q_row, v = (
        f(x).permute(0, 2, 3, 1) for f in (layer.column_key, layer.row_key, layer.value)
    )
    lines = q_column.transpose(1, 2)  # [B, W, H, D]
    column = (lines @ lines.mT).softmax(dim=-1)
    row = (q_row @ q_row.mT).softmax(dim=-1)  # [B, H, W, W]
    y = _products(column, v.transpose(1, 2), layer.column_gate)  # [B, W, H, C]
    y = _products(row, y.transpose(1, 2), layer.row_gate)  # [B, H, W, C]
    return y.permute(0, 3, 1, 2)


def _products(attention: Tensor, v: Tensor, gate: nn.Module) -> Tensor:
    """Along the last line axis: [B, S, L, L] and [B, S, L, C] -> [B, S, L, C]."""
    alpha = attention[..., None] * v[:, :, None]  # [B, S, query, key, C]
    hidden = alpha.mean(dim=(1, 3))  # [B, query, C]
    weights = list(gate.parameters())
    for weight in weights[:-1]:
        hidden = F.leaky_relu(F.linear(hidden, weight), 0.2)
    beta = torch.sigmoid(F.linear(hidden, weights[-1]))
    return (beta[:, None, :, None] * alpha).sum(dim=3)


TEXTBOOK: dict[str, Form] = {
    "convolution": convolution,
    "quadratic": quadratic,
    "multi_head": multi_head,
    "augmented": augmented,
    "local": local,
    "pairwise": pairwise,
    "patchwise": patchwise,
    "non_local": non_local,
    "axial": axial,
    "channelized": channelized,
}
"""The mechanisms that have such a form; the others are in it already."""
