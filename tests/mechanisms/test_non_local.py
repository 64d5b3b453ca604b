"""Non-local and criss-cross attention: loops, official numbers, what they reach."""

import pytest
import torch

from visattn.checkpoints import convert
from visattn.mechanisms.non_local import (
    CrissCrossAttention2d,
    NonLocal2d,
    criss_cross_attention,
    criss_cross_attention_loop,
    non_local_attention,
    non_local_attention_loop,
)

SIZES = [(1, 1, 1, 1, 2), (2, 2, 3, 5, 4), (1, 3, 6, 2, 3)]  # B N H W D


@pytest.mark.parametrize(("B", "N", "H", "W", "D"), SIZES)
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_non_local_equals_loop(randn, assert_equal, scale, B, N, H, W, D):
    q, k, v = randn(B, N, H, W, D), randn(B, N, 2, 3, D), randn(B, N, 2, 3, D + 1)
    assert_equal(
        [
            lambda: non_local_attention(q, k, v, scale=scale),
            lambda: non_local_attention(q, k, v, scale=scale, return_attention=True)[0],
        ],
        lambda: non_local_attention_loop(q, k, v, scale=scale),
        [q, k, v],
    )
    maps = non_local_attention(q, k, v, return_attention=True)[1]
    loop = non_local_attention_loop(q, k, v, return_attention=True)[1]
    torch.testing.assert_close(maps, loop)


@pytest.mark.parametrize(("B", "N", "H", "W", "D"), SIZES)
def test_criss_cross_equals_loop(randn, assert_equal, B, N, H, W, D):
    q, k, v = randn(B, N, H, W, D), randn(B, N, H, W, D), randn(B, N, H, W, D + 1)
    assert_equal(
        lambda: criss_cross_attention(q, k, v),
        lambda: criss_cross_attention_loop(q, k, v),
        [q, k, v],
    )
    maps = criss_cross_attention(q, k, v, return_attention=True)[1]
    loop = criss_cross_attention_loop(q, k, v, return_attention=True)[1]
    torch.testing.assert_close(maps, loop)
    assert maps.shape == (B, N, H, W, H + W)


GOLDEN = [
    ("nonlocal/embedded_gaussian_c8_sub0_eval", "nonlocal", lambda: NonLocal2d(8)),
    ("criss_cross/cc_c16_R1", "ccnet", lambda: CrissCrossAttention2d(16, 1)),
]


@pytest.mark.parametrize(("name", "source", "make"), GOLDEN)
@pytest.mark.parametrize("with_attention", [False, True])
def test_golden(golden, device, name, source, make, with_attention):
    data = golden(name)
    official = {k: v for k, v in data.items() if k.startswith(("param/", "buffer/"))}
    layer = make().double().eval()
    layer.load_state_dict(convert(official, source))
    layer.to(device)
    x = data["input/x"].to(device).requires_grad_()
    y = layer(x, with_attention)
    y = y[0] if with_attention else y
    torch.testing.assert_close(y, data["output/y"].to(device), rtol=1e-9, atol=1e-9)
    (y * data["upstream/g"].to(device)).sum().backward()
    torch.testing.assert_close(
        x.grad, data["grad_input/x"].to(device), rtol=1e-9, atol=1e-9
    )
    grads = {k.removeprefix("grad_"): v for k, v in data.items() if "grad_param" in k}
    grads = convert(grads, source)
    ours = {k: p.grad.cpu() for k, p in layer.named_parameters()}
    assert set(ours) == set(grads)
    for key, grad in grads.items():
        torch.testing.assert_close(ours[key], grad, rtol=1e-9, atol=1e-9)


def test_golden_attention(golden):
    data = golden("nonlocal/embedded_gaussian_c8_sub0_eval")
    official = {k: v for k, v in data.items() if k.startswith(("param/", "buffer/"))}
    layer = NonLocal2d(8).double().eval()
    layer.load_state_dict(convert(official, "nonlocal"))
    attention = layer(data["input/x"], return_attention=True)[1]
    theirs = data["mid/attn_B_HW_keys"].reshape(2, 1, 6, 8, 6, 8)
    torch.testing.assert_close(attention, theirs, rtol=1e-9, atol=1e-9)


def reached(layer, x, i, j):
    """Which pixels the output at (i, j) depends on."""
    x = x.clone().requires_grad_()
    layer(x)[0, :, i, j].square().sum().backward()
    return x.grad[0].abs().amax(0) > 0


def test_two_passes_reach_every_pixel():
    torch.manual_seed(0)
    x = torch.randn(1, 16, 5, 7, dtype=torch.float64)
    for recurrence, whole in ((1, False), (2, True)):
        layer = CrissCrossAttention2d(16, recurrence).double()
        torch.nn.init.ones_(layer.gamma)
        seen = reached(layer, x, 1, 4)
        cross = torch.zeros(5, 7, dtype=torch.bool)
        cross[1], cross[:, 4] = True, True
        assert torch.equal(seen, torch.ones_like(cross) if whole else cross)


def test_new_blocks_change_nothing():
    x = torch.randn(2, 16, 5, 7)
    assert torch.equal(CrissCrossAttention2d(16)(x), x)
    for subsample in (False, True):
        assert torch.equal(NonLocal2d(16, subsample=subsample).eval()(x), x)


def test_subsample_and_scale_by_hand(randn):
    layer = NonLocal2d(4, inner_channels=3, subsample=True, scale=True).double().eval()
    torch.nn.init.ones_(layer.norm.weight)
    for part in (layer.query, layer.key, layer.value, layer.out):
        torch.nn.init.normal_(part.weight)
    x = randn(2, 4, 5, 7).detach().cpu()
    pooled = torch.nn.functional.max_pool2d(x, 2)
    q, k, v = layer.query(x), layer.key(pooled), layer.value(pooled)
    logits = torch.einsum("bdij,bdkl->bijkl", q, k) / 3**0.5
    weights = logits.flatten(3).softmax(-1).unflatten(-1, (2, 3))
    y = torch.einsum("bijkl,bdkl->bdij", weights, v)
    torch.testing.assert_close(layer(x), x + layer.norm(layer.out(y)))


@pytest.mark.compiled
@pytest.mark.parametrize(
    "make", [lambda: NonLocal2d(8, subsample=True), lambda: CrissCrossAttention2d(8)]
)
def test_compile_export_autocast(make):
    torch.manual_seed(0)
    layer = make().eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 8, 5, 7)
    y = layer(x)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), y)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x).float(), y, rtol=0.1, atol=0.1)


@pytest.mark.bad_input
def test_bad_input():
    x = torch.zeros(1, 8, 5, 7)
    with pytest.raises(ValueError, match=r"channels=6, got shape \[1, 8, 5, 7\]"):
        NonLocal2d(6)(x)
    with pytest.raises(ValueError, match=r"channels=6, got shape \[1, 8, 5, 7\]"):
        CrissCrossAttention2d(6)(x)
    with pytest.raises(ValueError, match=r"2 x 2 pixels, got \[1, 8, 1, 7\]"):
        NonLocal2d(8, subsample=True)(x[:, :, :1])
    with pytest.raises(ValueError, match="recurrence must be at least 1, got 0"):
        CrissCrossAttention2d(8, 0)
    with pytest.raises(ValueError, match="inner_channels must be at least 1, got 0"):
        NonLocal2d(8, 0)
    q = torch.zeros(1, 1, 5, 7, 2)
    with pytest.raises(ValueError, match=r"\[1, 1, 5, 6, 2\]"):
        criss_cross_attention(q, q[:, :, :, :6], q)
    with pytest.raises(ValueError, match=r"\[1, 1, 5, 7, 3\]"):
        non_local_attention(q, torch.zeros(1, 1, 5, 7, 3), q)
