"""Axial attention in its three forms: loops, official numbers, identities."""

import itertools

import pytest
import torch

from visattn.checkpoints import convert
from visattn.lab import peak_bytes
from visattn.mechanisms.axial import (
    AxialAttention2d,
    ChannelizedAxialAttention2d,
    PositionSensitiveAxialAttention2d,
    axial_attention,
    axial_attention_loop,
    channelized_axial_attention,
    channelized_axial_attention_loop,
    position_sensitive_attention,
    position_sensitive_attention_loop,
)

AXES = ["height", "width"]
SIZES = [(1, 1, 1, 1, 2, 3), (2, 2, 3, 5, 4, 2), (1, 3, 6, 2, 2, 2)]  # B N H W D E


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("scale", [None, 1.0])
@pytest.mark.parametrize(("B", "N", "H", "W", "D", "E"), SIZES)
def test_axial_equals_loop(randn, assert_equal, axis, scale, B, N, H, W, D, E):
    q, k, v = randn(B, N, H, W, D), randn(B, N, H, W, D), randn(B, N, H, W, E)
    assert_equal(
        [
            lambda: axial_attention(q, k, v, axis, scale=scale),
            lambda: axial_attention(q, k, v, axis, scale=scale, return_attention=True)[
                0
            ],
        ],
        lambda: axial_attention_loop(q, k, v, axis, scale=scale),
        [q, k, v],
    )
    maps = axial_attention(q, k, v, axis, return_attention=True)[1]
    loop = axial_attention_loop(q, k, v, axis, return_attention=True)[1]
    torch.testing.assert_close(maps, loop)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize(("B", "N", "H", "W", "D", "E"), SIZES)
def test_position_sensitive_equals_loop(randn, assert_equal, axis, B, N, H, W, D, E):
    L = H if axis == "height" else W
    q, k, v = randn(B, N, H, W, D), randn(B, N, H, W, D), randn(B, N, H, W, E)
    tables = [randn(2 * L - 1, D), randn(2 * L - 1, D), randn(2 * L - 1, E)]
    inputs = [q, k, v, *tables]
    assert_equal(
        lambda: position_sensitive_attention(*inputs, axis),
        lambda: position_sensitive_attention_loop(*inputs, axis),
        inputs,
    )
    maps = position_sensitive_attention(*inputs, axis, return_attention=True)[1]
    loop = position_sensitive_attention_loop(*inputs, axis, return_attention=True)[1]
    torch.testing.assert_close(maps, loop)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize(
    ("B", "H", "W", "C"), [(1, 1, 1, 3), (2, 3, 4, 5), (1, 5, 2, 4)]
)
def test_channelized_equals_loop(randn, assert_equal, axis, depth, B, H, W, C):
    L = H if axis == "height" else W
    attention, v = randn(B, H, W, L), randn(B, H, W, C)
    widths = [C, *[2] * (depth - 1), C] if depth else []
    weights = [randn(b, a) for a, b in itertools.pairwise(widths)]
    assert_equal(
        lambda: channelized_axial_attention(attention, v, weights, axis),
        lambda: channelized_axial_attention_loop(attention, v, weights, axis),
        [attention, v, *weights],
    )


def grouped(attention, v, weights, groups):
    """The published scheme along the height: products in memory, in groups of rows."""
    rows = []
    for part in attention.transpose(1, 2).chunk(groups, dim=2):  # [B, W, rows, H]
        products = torch.einsum("bwik,bkwc->bikwc", part, v)
        hidden = products.mean(dim=(2, 3))
        for weight in weights[:-1]:
            hidden = torch.nn.functional.leaky_relu(hidden @ weight.mT, 0.2)
        gate = torch.sigmoid(hidden @ weights[-1].mT)
        rows.append((gate[:, :, None, None] * products).sum(dim=2))
    return torch.cat(rows, dim=1)


@pytest.mark.parametrize("groups", [1, 2, 3, 7])
def test_grouped_vectorization_is_the_same(randn, assert_equal, groups):
    attention, v = randn(2, 7, 5, 7), randn(2, 7, 5, 6)
    weights = [randn(3, 6), randn(3, 3), randn(6, 3)]
    assert_equal(
        lambda: channelized_axial_attention(attention, v, weights),
        lambda: grouped(attention, v, weights, groups),
        [attention, v, *weights],
        tolerance=1e-10,
    )


def test_nothing_of_the_size_of_all_products():
    attention, v = torch.randn(1, 33, 33, 33), torch.randn(1, 33, 33, 16)
    weights = [torch.randn(4, 16), torch.randn(16, 4)]
    ours = peak_bytes(lambda: channelized_axial_attention(attention, v, weights))
    theirs = peak_bytes(lambda: grouped(attention, v, weights, 1))
    assert ours < theirs / 10


# Golden -----------------------------------------------------------------------------


def check_golden(data, layer, source, device, images, grads=True):
    official = {k: v for k, v in data.items() if k.startswith(("param/", "buffer/"))}
    layer.double().eval().load_state_dict(convert(official, source))
    layer.to(device)
    x = images(data["input/x"]).to(device).requires_grad_()
    y = layer(x)
    expected = images(data["output/y"]).to(device)
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(layer(x, return_attention=True)[0], y)
    (y * images(data["upstream/g"]).to(device)).sum().backward()
    wanted = images(data["grad_input/x"]).to(device)
    torch.testing.assert_close(x.grad, wanted, rtol=1e-9, atol=1e-9)
    if grads:
        named = {k.removeprefix("grad_"): v for k, v in data.items() if "grad_par" in k}
        named = convert(named, source)
        ours = {k: p.grad.cpu() for k, p in layer.named_parameters()}
        assert set(ours) == set(named)
        for key, grad in named.items():
            torch.testing.assert_close(ours[key], grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("axis", AXES)
def test_golden_axial_deeplab(golden, device, axis):
    data = golden(f"axial_deeplab/axial_{axis}_s1_eval")
    layer = PositionSensitiveAxialAttention2d(16, 32, 4, 6, axis)
    check_golden(data, layer, "axial-deeplab", device, lambda x: x)


@pytest.mark.parametrize(
    ("name", "gate"), [("axial_only", False), ("with_channel", True)]
)
def test_golden_caa(golden, device, name, gate):
    data = golden(f"caa/{name}")
    layer = ChannelizedAxialAttention2d(12, 8, 4, 2 if gate else 5, gate)
    check_golden(data, layer, "caa", device, lambda x: x.permute(0, 3, 1, 2), False)


# Modules ----------------------------------------------------------------------------

MODULES = {
    "height": lambda: AxialAttention2d(8, 12, 2),
    "width": lambda: AxialAttention2d(8, 12, 2, "width"),
    "sensitive": lambda: PositionSensitiveAxialAttention2d(8, 16, 2, 5),
    "stride": lambda: PositionSensitiveAxialAttention2d(8, 16, 2, 7, "width", 2),
    "caa": lambda: ChannelizedAxialAttention2d(8, 12, 4, 2),
    "caa without gates": lambda: ChannelizedAxialAttention2d(
        8, 12, 4, channel_attention=False
    ),
}


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_every_parameter_gets_a_gradient(device, make):
    torch.manual_seed(0)
    layer = make().to(device)
    y = layer(torch.randn(3, 8, 5, 7, device=device))
    (y * torch.randn_like(y)).sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.compiled
@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_compile_export_autocast(make):
    torch.manual_seed(0)
    layer = make().eval()
    x = torch.randn(2, 8, 5, 7)
    y = layer(x)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), y)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x).float(), y, rtol=0.1, atol=0.1)


def test_two_axes_reach_every_pixel():
    torch.manual_seed(0)
    height, width = AxialAttention2d(4, 4, 2), AxialAttention2d(4, 4, 2, "width")
    x = torch.randn(1, 4, 5, 7, requires_grad=True)
    for layers, count in (([height], 5), ([width], 7), ([height, width], 35)):
        y = torch.nn.Sequential(*layers)(x)
        (gradient,) = torch.autograd.grad(y[0, :, 1, 2].sum(), x)
        assert int((gradient.abs().amax(1) > 0).sum()) == count


def test_one_line_is_self_attention(randn):
    q, k, v = (randn(2, 3, 1, 6, 4) for _ in range(3))
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(axial_attention(q, k, v, "width"), y)


@pytest.mark.bad_input
def test_bad_input():
    x = torch.zeros(1, 8, 5, 7)
    for make in (
        lambda: AxialAttention2d(6, 12, 2),
        lambda: ChannelizedAxialAttention2d(6, 12),
        lambda: PositionSensitiveAxialAttention2d(6, 16, 2, 5),
    ):
        with pytest.raises(
            ValueError, match=r"in_channels=6, got shape \[1, 8, 5, 7\]"
        ):
            make()(x)
    with pytest.raises(ValueError, match="out_channels=10, num_heads=4"):
        AxialAttention2d(8, 10, 4)
    with pytest.raises(ValueError, match="'depth'"):
        AxialAttention2d(8, 12, 4, "depth")
    with pytest.raises(ValueError, match=r"height of 6, got shape \[1, 8, 5, 7\]"):
        PositionSensitiveAxialAttention2d(8, 16, 2, 6)(x)
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        ChannelizedAxialAttention2d(8, 12, depth=0)
    q = torch.zeros(1, 1, 5, 7, 2)
    with pytest.raises(ValueError, match=r"rel_key must be \[9, 2\]"):
        position_sensitive_attention(
            q, q, q, torch.zeros(9, 2), torch.zeros(8, 2), torch.zeros(9, 2)
        )
    with pytest.raises(ValueError, match=r"attention must be \[1, 5, 7, 7\]"):
        channelized_axial_attention(
            torch.zeros(1, 5, 7, 5), torch.zeros(1, 5, 7, 3), [], "width"
        )
    with pytest.raises(ValueError, match=r"weights\[1\] must take 2 channels"):
        channelized_axial_attention(
            torch.zeros(1, 5, 7, 5),
            torch.zeros(1, 5, 7, 3),
            [torch.zeros(2, 3), torch.zeros(3, 4)],
        )
