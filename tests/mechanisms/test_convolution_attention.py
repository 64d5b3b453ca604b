"""Attention by position: Theorem 1, the separable form, learned relative vectors."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from visattn.checkpoints import convert
from visattn.mechanisms.convolution import (
    LearnedRelativeAttention2d,
    QuadraticAttention2d,
    conv_to_attention,
    learned_relative_attention,
    learned_relative_attention_loop,
    quadratic_attention,
    quadratic_attention_loop,
    separable_attention,
    separable_attention_loop,
)

SIZES = [(1, 1, 1, 1, 1, 1), (2, 3, 2, 4, 5, 3), (1, 2, 3, 5, 3, 2)]  # B C D H W N


@pytest.mark.parametrize(("B", "C", "D", "H", "W", "N"), SIZES)
def test_separable_equals_loop(randn, assert_equal, B, C, D, H, W, N):
    x, rows, columns = randn(B, C, H, W), randn(N, 3, H), randn(N, 2, W)
    assert_equal(
        lambda: separable_attention(x, rows, columns),
        lambda: separable_attention_loop(x, rows, columns),
        [x, rows, columns],
    )


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize(("B", "C", "D", "H", "W", "N"), SIZES)
def test_quadratic_equals_loop(randn, assert_equal, isotropic, B, C, D, H, W, N):
    x, centers, matrices = randn(B, C, H, W), randn(N, 2), randn(N, D, C)
    spreads = randn(N) if isotropic else randn(N, 2, 2)
    inputs = [x, centers, spreads, matrices]
    assert_equal(
        [
            lambda: quadratic_attention(*inputs),
            lambda: quadratic_attention(*inputs, return_attention=True)[0],
        ],
        lambda: quadratic_attention_loop(*inputs),
        inputs if H * W > 1 else [x, matrices],
    )
    maps = quadratic_attention(*inputs, return_attention=True)[1]
    loop = quadratic_attention_loop(*inputs, return_attention=True)[1]
    assert maps.shape == (B, N, H, W, H, W)
    torch.testing.assert_close(maps, loop, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(maps.sum((-2, -1)), torch.ones_like(maps[..., 0, 0]))


@pytest.mark.parametrize("isotropic", [True, False])
def test_queries_may_lie_anywhere(randn, assert_equal, isotropic):
    x, centers, matrices = randn(2, 3, 4, 5), randn(2, 2), randn(2, 2, 3)
    spreads = randn(2) if isotropic else randn(2, 2, 2)
    queries = (
        torch.tensor([-1.0, 0.5, 6.0]).to(x),
        torch.tensor([2.0, 9.0]).to(x),
    )
    inputs = [x, centers, spreads, matrices]
    assert_equal(
        lambda: quadratic_attention(*inputs, queries=queries),
        lambda: quadratic_attention_loop(*inputs, queries=queries),
        inputs,
    )


def test_isotropic_is_a_case_of_general(randn):
    x, centers, spreads, matrices = (
        randn(2, 3, 4, 6),
        randn(5, 2),
        randn(5),
        randn(5, 2, 3),
    )
    full = spreads[:, None, None] * torch.eye(2).to(x)
    torch.testing.assert_close(
        quadratic_attention(x, centers, spreads, matrices),
        quadratic_attention(x, centers, full, matrices),
    )


KINDS = ["alone", "query", "query and key", "alone, query and key"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("B", "C", "D", "H", "W", "N"), SIZES)
def test_learned_equals_loop(randn, assert_equal, kind, B, C, D, H, W, N):
    M, P = max(H, W) + 1, 3
    x, matrices = randn(B, C, H, W), randn(N, D, C)
    rel_rows, rel_cols = randn(2 * M - 1, P), randn(2 * M - 1, P)
    named = {}
    if "alone" in kind:
        named |= {"head_rows": randn(N, P), "head_cols": randn(N, P)}
    if "query" in kind:
        named["query"] = randn(B, N, H, W, 4 if "alone" in kind else 2 * P)
    if "key" in kind:
        named["key"] = randn(*named["query"].shape)
    inputs = [x, rel_rows, rel_cols, matrices]
    every = [*inputs, *named.values()] if H * W > 1 else [x, matrices]
    assert_equal(
        [
            lambda: learned_relative_attention(*inputs, **named),
            lambda: learned_relative_attention(*inputs, **named, return_attention=True)[
                0
            ],
        ],
        lambda: learned_relative_attention_loop(*inputs, **named),
        every,
    )
    maps = learned_relative_attention(*inputs, **named, return_attention=True)[1]
    loop = learned_relative_attention_loop(*inputs, **named, return_attention=True)[1]
    assert maps.shape == (B, N, H, W, H, W)
    torch.testing.assert_close(maps, loop, rtol=1e-12, atol=1e-12)


# Golden -----------------------------------------------------------------------------

GOLDEN = {
    "quadratic_isotropic": lambda: QuadraticAttention2d(6, 6, 4),
    "learned_position_only_5x5": lambda: LearnedRelativeAttention2d(6, 6, 4, 8),
    "learned_q_r_plus_content_5x5": lambda: LearnedRelativeAttention2d(
        6, 6, 4, 8, content=True, query_relative=True
    ),
}


@pytest.mark.parametrize("name", list(GOLDEN))
@pytest.mark.parametrize("with_attention", [False, True])
def test_golden(golden, device, name, with_attention):
    data = golden(f"attention_cnn/{name}")
    official = {k: v for k, v in data.items() if k.startswith(("param/", "buffer/"))}
    layer = GOLDEN[name]().double()
    layer.load_state_dict(convert(official, "attention-cnn"))
    layer.to(device)
    x = data["input/x"].permute(0, 3, 1, 2).to(device).requires_grad_()
    y = layer(x, with_attention)
    if with_attention:
        y, attention = y
        theirs = data["mid/attn_probs"]
        order = (2, 0, 1, 3, 4) if theirs.ndim == 5 else (0, 3, 1, 2, 4, 5)
        theirs = theirs.permute(*order).to(device).expand_as(attention)
        torch.testing.assert_close(attention, theirs, rtol=1e-9, atol=1e-9)
    expected = data["output/y"].permute(0, 3, 1, 2).to(device)
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    (y * data["upstream/g"].permute(0, 3, 1, 2).to(device)).sum().backward()
    torch.testing.assert_close(
        x.grad.permute(0, 2, 3, 1).cpu(), data["grad_input/x"], rtol=1e-9, atol=1e-9
    )
    grads = {k.removeprefix("grad_"): v for k, v in data.items() if "grad_param" in k}
    grads = convert(grads, "attention-cnn")
    ours = {k: p.grad.cpu() for k, p in layer.named_parameters()}
    assert set(ours) == set(grads)
    for key, grad in grads.items():
        torch.testing.assert_close(ours[key], grad, rtol=1e-9, atol=1e-9)


def test_golden_theorem(golden, device):
    data = {
        k: v.to(device) for k, v in golden("attention_cnn/theorem1_k3_alpha46").items()
    }
    x, weight = data["x"], data["conv_weight"]
    for mode, key in (
        ("replicate", "mhsa_no_padding"),
        ("zeros", "mhsa_zero_padded_cropped"),
    ):
        conv = nn.Conv2d(3, 5, 3, padding=1, padding_mode=mode).to(device).double()
        conv.load_state_dict({"weight": weight, "bias": data["conv_bias"]})
        y = conv_to_attention(conv)(x)
        torch.testing.assert_close(y, data[key], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(conv(x), y, rtol=1e-12, atol=1e-12)
    assert (data["conv_replicate"] - data["conv_zeropad"]).abs().max() > 0.1


# Theorem 1 --------------------------------------------------------------------------

PAIRS = st.tuples(st.integers(1, 4), st.integers(1, 4))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    kernel=PAIRS,
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    padding=st.one_of(
        st.tuples(st.integers(0, 4), st.integers(0, 4)),
        st.just("same"),
        st.just("valid"),
    ),
    mode=st.sampled_from(["zeros", "replicate", "reflect", "circular"]),
    groups=st.integers(1, 2),
    channels=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    bias=st.booleans(),
    size=st.tuples(st.integers(2, 9), st.integers(2, 9)),
)
def test_any_convolution(
    kernel, stride, dilation, padding, mode, groups, channels, bias, size
):
    if padding == "same":
        stride = (1, 1)
    conv = nn.Conv2d(
        groups * channels[0],
        groups * channels[1],
        kernel,
        stride,
        padding,
        dilation,
        groups,
        bias,
        mode,
    ).double()
    x = torch.randn(2, groups * channels[0], *size, dtype=torch.float64)
    layer = conv_to_attention(conv)
    try:
        expected = conv(x)
    except RuntimeError:  # the map is too small for the kernel or for the padding
        with pytest.raises(ValueError, match=r"kernel spans|pixels needs a map"):
            layer(x)
        return
    error = (layer(x) - expected).abs().max().item()
    assert layer(x).shape == expected.shape
    assert error < 1e-10
    if bias or mode != "zeros":  # else every tap may lie on the zeros of the padding
        assert expected.abs().max() > 0


def test_gradients_equal_those_of_the_convolution(device):
    conv = nn.Conv2d(2, 3, 3, padding=2, dilation=2).to(device).double()
    layer = conv_to_attention(conv)
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, device=device, requires_grad=True)
    g = torch.randn(1, 3, 5, 6, dtype=torch.float64, device=device)
    theirs = torch.autograd.grad((conv(x) * g).sum(), [x, conv.weight, conv.bias])
    ours = torch.autograd.grad(
        (layer(x) * g).sum(), [x, layer.value.weight, layer.value.bias]
    )
    torch.testing.assert_close(ours[0], theirs[0])
    kernel = ours[1].reshape(3, 3, 3, 2).permute(0, 3, 1, 2)  # [D, K1, K2, C]
    torch.testing.assert_close(kernel, theirs[1])
    torch.testing.assert_close(ours[2], theirs[2])


@pytest.mark.parametrize("alpha", [2.0, 5.0, 10.0, 20.0])
def test_error_shrinks_as_promised(alpha):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="replicate").double()
    x = torch.randn(1, 3, 7, 8, dtype=torch.float64)
    error = (conv_to_attention(conv, alpha)(x) - conv(x)).abs().max().item()
    # All weight beside the place of one head: two lines of a geometric-like series.
    beside = 2 * sum(math.exp(-alpha * d * d) for d in range(1, 8))
    missed = 1 - 1 / (1 + beside) ** 2
    spread = (x.max() - x.min()).item()
    bound = missed * spread * conv.weight.abs().sum((1, 2, 3)).max().item()
    assert 0 < error <= bound


def test_the_layer_keeps_dtype_mode_and_numbers():
    conv = nn.Conv2d(2, 2, 3).half().eval()
    layer = conv_to_attention(conv)
    assert isinstance(layer, QuadraticAttention2d)
    assert layer.value.weight.dtype == torch.float16
    assert not layer.training
    before = conv.weight.clone()
    with torch.no_grad():
        layer.value.weight.zero_()
    assert torch.equal(conv.weight, before)


def test_half_precision_keeps_its_places():
    x = torch.zeros(1, 1, 1, 600, dtype=torch.bfloat16)
    x[..., 501] = 1
    conv = nn.Conv2d(1, 1, (1, 3), padding=(0, 1), bias=False).bfloat16()
    torch.testing.assert_close(conv_to_attention(conv)(x), conv(x))
    layer = QuadraticAttention2d(1, 1, 1)
    with torch.no_grad():  # a centre that bfloat16 cannot hold
        layer.centers.copy_(torch.tensor([[0.0, 1.3125 + 2**-9]]))
    low = quadratic_attention(
        x, layer.centers, layer.spreads, torch.ones(1, 1, 1).bfloat16()
    )
    high = quadratic_attention(
        x.float(), layer.centers, layer.spreads, torch.ones(1, 1, 1)
    )
    torch.testing.assert_close(low, high.bfloat16())


def test_far_places_in_half_precision():
    conv = nn.Conv2d(1, 1, (1, 3), padding=(0, 257), dilation=(1, 257), bias=False)
    conv = conv.bfloat16()
    x = torch.zeros(1, 1, 1, 400, dtype=torch.bfloat16)
    x[..., 300] = 1
    torch.testing.assert_close(conv_to_attention(conv)(x), conv(x))


def test_a_convolution_changed_after_it_was_made():
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False).double()
    conv.dilation = conv.padding = (2, 2)  # as segmentation networks do
    x = torch.randn(1, 1, 8, 9, dtype=torch.float64)
    torch.testing.assert_close(conv_to_attention(conv)(x), conv(x))


def test_conversion_leaves_the_random_state_alone():
    conv = nn.Conv2d(2, 2, 3)
    state = torch.random.get_rng_state()
    conv_to_attention(conv)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("given", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("places", [torch.float32, torch.float64])
@pytest.mark.parametrize("isotropic", [True, False])
def test_dtypes_of_map_and_places(given, places, isotropic):
    torch.manual_seed(0)
    x, matrices = torch.randn(1, 2, 3, 4).to(given), torch.randn(2, 3, 2).to(given)
    centers = torch.randn(2, 2).to(places)
    spreads = (
        torch.randn(2).to(places) if isotropic else torch.randn(2, 2, 2).to(places)
    )
    results = [
        function(x, centers, spreads, matrices, return_attention=True)
        for function in (quadratic_attention, quadratic_attention_loop)
    ]
    for fast, slow in zip(*results, strict=True):
        assert fast.dtype == slow.dtype == given
        torch.testing.assert_close(fast, slow, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("bias", [True, False])
def test_dtype_under_autocast_does_not_depend_on_the_bias(bias):
    layer = QuadraticAttention2d(2, 3, 4, bias=bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(1, 2, 5, 6)).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_transforms_derivatives():
    layer = LearnedRelativeAttention2d(
        2, 3, 2, content=True, query_relative=True
    ).double()
    x, t = (torch.randn(1, 2, 4, 5, dtype=torch.float64) for _ in range(2))
    _, tangent = torch.func.jvp(layer, (x,), (t,))
    step = 1e-6
    difference = (layer(x + step * t) - layer(x - step * t)) / (2 * step)
    torch.testing.assert_close(tangent, difference)


def test_float32_is_exact_too():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 5, padding=2, padding_mode="replicate")
    x = torch.randn(1, 3, 40, 30)
    torch.testing.assert_close(
        conv_to_attention(conv)(x), conv(x), rtol=1e-5, atol=1e-5
    )


# Modules ----------------------------------------------------------------------------

MODULES = {
    "quadratic": lambda: QuadraticAttention2d(4, 6, 3),
    "general": lambda: QuadraticAttention2d(4, 6, 3, isotropic=False),
    "learned": lambda: LearnedRelativeAttention2d(4, 6, 3),
    "content": lambda: LearnedRelativeAttention2d(4, 6, 3, content=True),
    "q.r": lambda: LearnedRelativeAttention2d(4, 6, 3, query_relative=True),
    "q.r, content": lambda: LearnedRelativeAttention2d(
        4, 6, 3, content=True, query_relative=True
    ),
    "theorem": lambda: conv_to_attention(nn.Conv2d(4, 6, 3, 2, 1)),
}


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_every_parameter_gets_a_gradient(device, make):
    torch.manual_seed(0)
    layer = make().to(device)
    layer(torch.randn(2, 4, 5, 7, device=device)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        hard = layer.__class__.__name__.startswith("_") and "value" not in name
        assert parameter.grad is not None, name
        assert hard or parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_attention_is_returned(make):
    layer = make().double()
    x = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    y, attention = layer(x, return_attention=True)
    torch.testing.assert_close(y, layer(x))
    assert attention.shape[0] == 2
    assert attention.shape[1] == layer.num_heads
    torch.testing.assert_close(
        attention.sum((-2, -1)), torch.ones_like(attention[..., 0, 0])
    )


@pytest.mark.compiled
@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_compile_export_autocast(make):
    torch.manual_seed(0)
    layer = make()
    x = torch.randn(2, 4, 5, 7)
    y = layer(x)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), y)
    exported = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(exported(x), y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = layer(x)
    torch.testing.assert_close(low.float(), y, rtol=0.1, atol=0.1)


def test_no_map_of_pairs_is_made():
    from visattn.lab import peak_bytes

    layer = QuadraticAttention2d(2, 2, 9)
    x = torch.randn(1, 2, 64, 64)
    with torch.no_grad():
        peak = peak_bytes(lambda: layer(x))
    maps = 9 * (64 * 64) ** 2 * 4  # bytes of the weights of all pairs
    assert peak < maps / 40


# Refusals ---------------------------------------------------------------------------


@pytest.mark.bad_input
def test_bad_input():
    x = torch.zeros(1, 4, 5, 7)
    with pytest.raises(ValueError, match=r"\[1, 3, 5, 7\]"):
        QuadraticAttention2d(4, 6, 3)(x[:, :3])
    with pytest.raises(ValueError, match="max_position=6"):
        LearnedRelativeAttention2d(4, 6, 3, max_position=6)(x)
    with pytest.raises(ValueError, match="in_channels=5"):
        LearnedRelativeAttention2d(5, 6, 3, query_relative=True)
    with pytest.raises(ValueError, match="num_heads must be at least 1"):
        QuadraticAttention2d(4, 6, 0)
    with pytest.raises(TypeError, match="Conv1d"):
        conv_to_attention(nn.Conv1d(2, 2, 3))
    with pytest.raises(TypeError, match="LazyConv2d"):
        conv_to_attention(nn.LazyConv2d(2, 3))
    for alpha in (0, -1.0, float("inf"), float("nan"), 1e39, 10**400):
        with pytest.raises(ValueError, match=re.escape(str(alpha))):
            conv_to_attention(nn.Conv2d(2, 2, 3), alpha)

    class Standardised(nn.Conv2d):
        def forward(self, x):
            return super().forward(x - x.mean())

    with pytest.raises(TypeError, match="Standardised"):
        conv_to_attention(Standardised(2, 2, 3))
    hooked = nn.Conv2d(2, 2, 3)
    hooked.register_forward_hook(lambda module, inputs, y: 2 * y)
    with pytest.raises(TypeError, match="forward hook"):
        conv_to_attention(hooked)
    with pytest.raises(TypeError, match=r"torch.float64 and torch.float32"):
        QuadraticAttention2d(4, 6, 3)(x.double())
    with pytest.raises(ValueError, match="queries must be"):
        quadratic_attention(
            x,
            torch.zeros(3, 2),
            torch.ones(3),
            torch.zeros(3, 6, 4),
            queries=(torch.ones(2),),
        )
    with pytest.raises(TypeError, match="'hard'"):
        conv_to_attention(nn.Conv2d(2, 2, 3), "hard")
    centers, matrices = torch.zeros(3, 2), torch.zeros(3, 6, 4)
    with pytest.raises(ValueError, match=r"\[3, 2\]"):
        quadratic_attention(x, centers, torch.ones(3, 2), matrices)
    with pytest.raises(ValueError, match=r"\[2, 2\]"):
        quadratic_attention(x, centers[:2], torch.ones(3), matrices)
    with pytest.raises(ValueError, match="N, I, 5"):
        separable_attention(x, torch.ones(1, 5, 7), torch.ones(1, 5, 7))
    tables = torch.zeros(13, 2)
    with pytest.raises(ValueError, match="give head_rows"):
        learned_relative_attention(x, tables, tables, matrices)
    with pytest.raises(ValueError, match=r"2 P = 4"):
        learned_relative_attention(
            x, tables, tables, matrices, query=torch.zeros(1, 3, 5, 7, 6)
        )
    with pytest.raises(TypeError, match=r"head_rows: torch.float64"):
        learned_relative_attention(
            x,
            tables,
            tables,
            matrices,
            head_rows=torch.zeros(3, 2).double(),
            head_cols=torch.zeros(3, 2),
        )
    with pytest.raises(ValueError, match="M at least 7"):
        learned_relative_attention(
            x, tables[:5], tables[:5], matrices, query=torch.zeros(1, 3, 5, 7, 4)
        )
