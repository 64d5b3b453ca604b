"""Proofs of attention-augmented convolution."""

import math

import pytest
import torch
import torch.nn.functional as F

from visattn import AAConv2d, attend, augmented_attention, augmented_attention_loop


@pytest.mark.parametrize(
    ("B", "N", "H", "W", "D", "E"),
    [(1, 1, 1, 1, 1, 1), (2, 1, 3, 5, 4, 2), (1, 3, 4, 2, 3, 5), (1, 2, 1, 6, 2, 2)],
)
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("return_attention", [False, True])
def test_equals_the_loop(
    randn, assert_equal, B, N, H, W, D, E, relative, return_attention
):
    q, k, v = randn(B, N, H, W, D), randn(B, N, H, W, D), randn(B, N, H, W, E)
    tables = (randn(2 * H - 1, D), randn(2 * W - 1, D)) if relative else ()

    def fast():
        y = augmented_attention(q, k, v, *tables, return_attention=return_attention)
        return y[0] if return_attention else y

    assert_equal(
        fast, lambda: augmented_attention_loop(q, k, v, *tables), [q, k, v, *tables]
    )


@pytest.mark.parametrize("E", [1, 8, 40])
def test_the_kernel_gets_one_width(randn, monkeypatch, E):
    """Narrow or wide values: a fused kernel takes only vectors of one width."""
    widths = []
    sdpa = F.scaled_dot_product_attention

    def spy(*args, **kwargs):
        widths.append({x.shape[-1] for x in args[:3]})
        return sdpa(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    q, k, v = randn(1, 2, 3, 4, 1), randn(1, 2, 3, 4, 1), randn(1, 2, 3, 4, E)
    tables = randn(5, 1), randn(7, 1)
    y = augmented_attention(q, k, v, *tables)
    torch.testing.assert_close(y, augmented_attention_loop(q, k, v, *tables))
    assert widths == [{max(1 + 3 + 4, E)}]


def test_attention_equals_the_loops(randn):
    q, k, v = randn(1, 2, 3, 4, 2), randn(1, 2, 3, 4, 2), randn(1, 2, 3, 4, 3)
    tables = randn(5, 2), randn(7, 2)
    ours = augmented_attention(q, k, v, *tables, return_attention=True)[1]
    loop = augmented_attention_loop(q, k, v, *tables, return_attention=True)[1]
    assert ours.shape == (1, 2, 3, 4, 3, 4)
    torch.testing.assert_close(ours, loop)


def test_without_positions_it_is_attention(randn):
    q, k, v = randn(2, 2, 3, 4, 5), randn(2, 2, 3, 4, 5), randn(2, 2, 3, 4, 3)
    tokens = attend(*(x.flatten(2, 3) for x in (q, k, v)))
    torch.testing.assert_close(augmented_attention(q, k, v).flatten(2, 3), tokens)


@pytest.mark.parametrize("return_attention", [False, True])
def test_golden(golden, return_attention):
    g = golden("aa/aaconv_relative")
    module = AAConv2d(6, 20, 3, 8, 8, 2, (4, 5)).double()
    module.load_state_dict(
        {k.removeprefix("param/"): v for k, v in g.items() if k.startswith("param/")}
    )
    x = g["input/x"].requires_grad_()
    result = module(x, return_attention=return_attention)
    y = result[0] if return_attention else result
    torch.testing.assert_close(y, g["output/y"], rtol=0, atol=1e-9)
    if return_attention:
        maps = result[1].flatten(4).flatten(2, 3)
        torch.testing.assert_close(maps, g["mid/attn"], rtol=0, atol=1e-9)
    (y * g["upstream/g"]).sum().backward()
    torch.testing.assert_close(x.grad, g["grad_input/x"], rtol=0, atol=1e-9)
    for name, parameter in module.named_parameters():
        expected = g[f"grad_param/{name}"]
        torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=1e-9)


def test_convolution_comes_first(randn, device):
    layer = AAConv2d(4, 10, 3, 4, 4, 2, (5, 6)).double().to(device)
    x = randn(2, 4, 5, 6)
    torch.testing.assert_close(layer(x)[:, :6], layer.conv(x))


def test_full_attention_has_no_convolution(randn, device):
    layer = AAConv2d(4, 8, 3, 4, 8, 2, 5).double().to(device)
    assert layer.conv is None
    assert layer(randn(1, 4, 5, 5)).shape == (1, 8, 5, 5)


@pytest.mark.parametrize(("H", "W", "stride"), [(6, 8, 2), (5, 7, 2), (7, 7, 3)])
def test_stride(randn, device, H, W, stride):
    layer = AAConv2d(4, 10, 3, 4, 4, 2, (H, W), stride=stride).double().to(device)
    x = randn(2, 4, H, W)
    y = layer(x)
    assert y.shape == (2, 10, math.ceil(H / stride), math.ceil(W / stride))
    full = AAConv2d(4, 10, 3, 4, 4, 2, (H, W)).double().to(device)
    full.load_state_dict(layer.state_dict())
    attended = full(x)[:, 6:]
    pooled = F.avg_pool2d(attended, 3, stride, 1, count_include_pad=False)
    torch.testing.assert_close(y[:, 6:], pooled)
    torch.testing.assert_close(y[:, :6], layer.conv(x))


def test_any_size_without_positions(randn, device):
    layer = AAConv2d(4, 8, 3, 4, 4, 2, 5, relative=False).double().to(device)
    assert layer(randn(1, 4, 3, 9)).shape == (1, 8, 3, 9)
    assert not any("rel" in name for name, _ in layer.named_parameters())


def test_relative_logits_are_translation_equivariant(randn):
    """With constant content the logits between two pixels depend on their offset."""
    q = torch.ones(1, 1, 4, 5, 3, dtype=torch.float64)
    tables = randn(7, 3).cpu(), randn(9, 3).cpu()
    _, attention = augmented_attention(q, q, q, *tables, return_attention=True)
    logits = attention[0, 0].log()
    ratio = logits - logits[..., :1, :1]  # removes each query's own normaliser
    other = logits[1:, 1:, 1:, 1:] - logits[1:, 1:, 1:2, 1:2]
    torch.testing.assert_close(other, ratio[:-1, :-1, :-1, :-1])


def test_gradcheck(randn):
    q, k, v = randn(1, 1, 2, 3, 2), randn(1, 1, 2, 3, 2), randn(1, 1, 2, 3, 1)
    tables = randn(3, 2), randn(5, 2)
    assert torch.autograd.gradcheck(augmented_attention, (q, k, v, *tables))


@pytest.mark.compiled
@pytest.mark.parametrize("size", [(7, 9)])
def test_compile_export_autocast(device, size):
    layer = AAConv2d(4, 12, 3, 16, 8, 2, size).to(device)
    x = torch.randn(2, 4, *size, device=device)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))
    compiled(x).sum().backward()
    exported = torch.export.export(layer, (x,))
    torch.testing.assert_close(exported.module()(x), layer(x))
    with torch.autocast(device.type, torch.bfloat16):
        y = layer(x)
    torch.testing.assert_close(y.float(), layer(x), rtol=0.1, atol=0.1)


@pytest.mark.bad_input
class TestBadInput:
    """Every refusal prints what came."""

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ((4, 8, 3, 6, 4, 4, 5), ValueError, "key_channels=6, num_heads=4"),
            ((4, 8, 3, 4, 6, 4, 5), ValueError, "value_channels=6, num_heads=4"),
            ((4, 8, 3, 4, 12, 4, 5), ValueError, "12.*8"),
            ((4, 8, 2, 4, 4, 4, 5), ValueError, "odd, got 2"),
            ((4, 8, 3, 4, 4, 4, (5, 0)), ValueError, r"size.*\(5, 0\)"),
            ((4, 8, 3, 4, 4, 4.0, 5), TypeError, r"num_heads.*4\.0"),
            ((4, 8, 3, 4, 4, 4, 5.0), TypeError, r"size.*5\.0"),
            ((4, 8, 3, 4, 4, 4, None), TypeError, "size.*None"),
            ((4, 8, 3, 4, 4, 4, (5,)), ValueError, r"size.*\(5,\)"),
            ((4, 8, 3, 4, 4, 4, [5, 6, 7]), ValueError, r"size.*\[5, 6, 7\]"),
        ],
    )
    def test_constructor(self, arguments, error, message):
        with pytest.raises(error, match=message):
            AAConv2d(*arguments)

    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (torch.zeros(1, 4, 7, 5), ValueError, "5 x 6, got 7 x 5"),
            (torch.zeros(1, 3, 5, 6), ValueError, r"in_channels=4.*\[1, 3, 5, 6\]"),
            (torch.zeros(4, 5, 6), ValueError, r"4 axes.*\[4, 5, 6\]"),
            (torch.zeros(1, 4, 5, 6).int(), TypeError, "int32"),
        ],
    )
    def test_forward(self, x, error, message):
        with pytest.raises(error, match=message):
            AAConv2d(4, 8, 3, 4, 4, 2, (5, 6))(x)

    @pytest.mark.parametrize(
        "function", [augmented_attention, augmented_attention_loop]
    )
    def test_function(self, function):
        x = torch.zeros(1, 2, 3, 4, 2)
        with pytest.raises(ValueError, match=r"\[5, 2\].*\[7, 2\].*\[5, 2\]"):
            function(x, x, x, torch.zeros(5, 2), torch.zeros(5, 2))
        with pytest.raises(ValueError, match="both"):
            function(x, x, x, torch.zeros(5, 2))
        with pytest.raises(ValueError, match=r"\[1, 2, 3, 3, 2\]"):
            function(x, x[:, :, :, :3], x)
