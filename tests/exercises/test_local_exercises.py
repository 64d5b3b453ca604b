"""Oracles against the modules, and the published mistakes as a reader writes them."""

import math

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from visattn import AAConv2d, LocalAttention2d
from visattn.exercises import check
from visattn.exercises.augmented import augmented_parameters
from visattn.exercises.local import (
    pool_after_attention,
    receptive_field,
    sasa_operations,
    sasa_parameters,
)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    "sizes",
    [(6, 10, 3, 8, 4, 2, 5, 7), (3, 8, 5, 6, 8, 1, 1, 4), (4, 9, 1, 6, 3, 3, 2, 2)],
)
def test_augmented_parameters_are_those_of_the_module(sizes):
    *layer, height, width = sizes
    assert augmented_parameters(*sizes) == parameters(AAConv2d(*layer, (height, width)))


@pytest.mark.parametrize("sizes", [(6, 12, 7, 3), (16, 16, 3, 8), (1, 2, 1, 1)])
def test_sasa_parameters_are_those_of_the_module(sizes):
    assert sasa_parameters(*sizes) == parameters(LocalAttention2d(*sizes))


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 2)])
def test_the_pooling_is_that_of_the_module(size):
    torch.manual_seed(0)
    layer = LocalAttention2d(4, 4, 3, num_heads=2).double()
    x = torch.randn(1, 4, *size, dtype=torch.float64)
    whole = layer(x)
    layer.stride = 2
    torch.testing.assert_close(layer(x), pool_after_attention(whole, 2))


def test_the_receptive_field_is_that_of_stacked_layers():
    torch.manual_seed(0)
    layers = [LocalAttention2d(2, 2, 3, num_heads=1) for _ in range(3)]
    x = torch.randn(1, 2, 11, 11, requires_grad=True)
    y = x
    for layer in layers:
        y = layer(y)
    (gradient,) = torch.autograd.grad(y[..., 5, 5].sum(), x)
    touched = gradient[0].abs().sum(0) > 0
    assert int(touched.any(0).sum()) == receptive_field(3, 3) == 7


def test_the_operations_give_the_published_total():
    """2 x multiply-adds of SASA-ResNet-50 with the convolution stem: 7.0 G."""
    total, channels, side = 112**2 * 64 * 3 * 49, 64, 56
    for stage, depth in enumerate((3, 4, 6, 3)):
        inner = 64 * 2**stage
        for block in range(depth):
            out = side // 2 if stage and not block else side
            total += side**2 * channels * inner
            total += sasa_operations(side, side, inner, inner, 7)
            total += out**2 * inner * 4 * inner
            if not block:
                total += out**2 * channels * 4 * inner
            channels, side = 4 * inner, out
    total += channels * 1000
    assert round(2 * total / 1e9, 1) == 7.0


# --- published mistakes, written with unfold ------------------------------------


def windows(x, kernel_size):
    reach = kernel_size // 2
    x = F.pad(x, (0, 0, reach, reach, reach, reach))
    x = x.unfold(2, kernel_size, 1).unfold(3, kernel_size, 1)
    return rearrange(x, "B N H W D x y -> B N H W (x y) D")


def embeddings(rows, cols):
    K = len(rows)
    r = torch.cat([rows[:, None].expand(-1, K, -1), cols.expand(K, -1, -1)], dim=-1)
    return r.flatten(0, 1)  # [K*K, D]


def right(q, k, v, relative_rows, relative_cols, kernel_size):
    keys = windows(k, kernel_size) + embeddings(relative_rows, relative_cols)
    logits = torch.einsum("bnijd,bnijpd->bnijp", q, keys)
    inside = windows(torch.ones_like(k[..., :1]), kernel_size)[..., 0] > 0
    weights = logits.masked_fill(~inside, -math.inf).softmax(-1)
    return torch.einsum("bnijp,bnijpd->bnijd", weights, windows(v, kernel_size))


def not_summed(q, k, v, relative_rows, relative_cols, kernel_size):
    keys = windows(k, kernel_size) + embeddings(relative_rows, relative_cols)
    weights = (q[..., None, :] * keys).softmax(-2)
    return (weights * windows(v, kernel_size)).sum(-2)


def one_map(q, k, v, relative_rows, relative_cols, kernel_size):
    keys = windows(k, kernel_size) + embeddings(relative_rows, relative_cols)
    weights = torch.einsum("bnijd,bnijpd->bijp", q, keys).softmax(-1)
    return torch.einsum("bijp,bnijpd->bnijd", weights, windows(v, kernel_size))


def halves_swapped(q, k, v, relative_rows, relative_cols, kernel_size):
    half = q.shape[-1] // 2
    q, k = (torch.cat([x[..., half:], x[..., :half]], dim=-1) for x in (q, k))
    return right(q, k, v, relative_rows, relative_cols, kernel_size)


def added_to_values(q, k, v, relative_rows, relative_cols, kernel_size):
    logits = torch.einsum("bnijd,bnijpd->bnijp", q, windows(k, kernel_size))
    inside = windows(torch.ones_like(k[..., :1]), kernel_size)[..., 0] > 0
    weights = logits.masked_fill(~inside, -math.inf).softmax(-1)
    values = windows(v, kernel_size) + embeddings(relative_rows, relative_cols)
    return torch.einsum("bnijp,bnijpd->bnijd", weights, values)


def zero_keys(q, k, v, relative_rows, relative_cols, kernel_size):
    keys = windows(k, kernel_size) + embeddings(relative_rows, relative_cols)
    weights = torch.einsum("bnijd,bnijpd->bnijp", q, keys).softmax(-1)
    return torch.einsum("bnijp,bnijpd->bnijd", weights, windows(v, kernel_size))


def test_local_attention_with_unfold_passes():
    assert check("local_attention", right)


@pytest.mark.parametrize(
    ("function", "variant"),
    [
        (not_summed, "not_summed_over_channels"),
        (one_map, "one_map_for_all_heads"),
        (halves_swapped, "halves_swapped"),
        (added_to_values, "positions_added_to_values"),
        (zero_keys, "zero_keys_kept"),
    ],
)
def test_a_published_mistake_is_named(function, variant):
    assert check("local_attention", function).variant == variant


def test_the_published_reshape_is_named():
    def published(x, height, width):
        B, N, _, D = x.shape
        return x.reshape(B, N, height, width, D).reshape(B, N * D, height, width)

    assert check("combine_heads_2d", published).variant == "reshape_without_transpose"
