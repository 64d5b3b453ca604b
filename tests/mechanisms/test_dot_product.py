"""Proofs of scaled dot-product attention."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visattn import SelfAttention, attend, attend_loop

SHAPES = [  # leading axes, T, S, D, E
    ((), 1, 1, 1, 1),
    ((2,), 3, 5, 4, 4),
    ((2,), 5, 3, 7, 2),
    ((2, 3), 4, 4, 3, 5),
    ((1, 2, 2), 2, 3, 2, 2),
]


def make_qkv(randn, lead, T, S, D, E):
    return randn(*lead, T, D), randn(*lead, S, D), randn(*lead, S, E)


@pytest.mark.parametrize(("lead", "T", "S", "D", "E"), SHAPES)
@pytest.mark.parametrize("extra", ["plain", "bias", "mask", "both", "scale"])
@pytest.mark.parametrize("return_attention", [False, True])
def test_equals_the_loop(
    randn, device, assert_equal, lead, T, S, D, E, extra, return_attention
):
    q, k, v = make_qkv(randn, lead, T, S, D, E)
    inputs, options = [q, k, v], {}
    if extra in ("bias", "both"):
        options["bias"] = randn(*lead, T, S)
        inputs.append(options["bias"])
    if extra in ("mask", "both"):
        mask = torch.arange(T * S, device=device).reshape(T, S) % 3 != 1
        options["mask"] = mask | (S == 1)
    if extra == "scale":
        options["scale"] = 0.37

    def fast():
        y = attend(q, k, v, return_attention=return_attention, **options)
        return y[0] if return_attention else y

    assert_equal(fast, lambda: attend_loop(q, k, v, **options), inputs)


def test_attention_equals_the_loops(randn):
    q, k, v = make_qkv(randn, (2,), 4, 5, 3, 2)
    mask = torch.rand(4, 5, generator=torch.Generator().manual_seed(3)) > 0.4
    mask = mask.to(q.device)
    _, ours = attend(q, k, v, mask=mask, return_attention=True)
    _, loop = attend_loop(q, k, v, mask=mask, return_attention=True)
    torch.testing.assert_close(ours, loop)
    assert (ours[:, ~mask] == 0).all()


def test_golden(golden):
    g = golden("mhsa/sdpa_plain")
    y, attention = attend(g["q"], g["k"], g["v"], return_attention=True)
    torch.testing.assert_close(y, g["y"], rtol=0, atol=1e-9)
    torch.testing.assert_close(attention, g["attn"], rtol=0, atol=1e-9)
    fused = attend(g["q"], g["k"], g["v"])
    torch.testing.assert_close(fused, g["y"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("return_attention", [False, True])
def test_fully_masked_query_gives_zeros_and_finite_gradients(
    randn, device, with_bias, return_attention
):
    q, k, v = make_qkv(randn, (2,), 3, 4, 5, 6)
    mask = torch.ones(3, 4, dtype=torch.bool, device=device)
    mask[1] = False
    bias = randn(3, 4) if with_bias else None
    result = attend(q, k, v, bias=bias, mask=mask, return_attention=return_attention)
    y = result[0] if return_attention else result
    assert (y[:, 1] == 0).all()
    assert (y[:, 0] != 0).all()
    y.sum().backward()
    assert all(x.grad.isfinite().all() for x in (q, k, v))
    assert (q.grad[:, 1] == 0).all()
    torch.testing.assert_close(y, attend_loop(q, k, v, bias=bias, mask=mask))
    if return_attention:
        rows = result[1].sum(-1)
        torch.testing.assert_close(rows[:, 0], torch.ones_like(rows[:, 0]))
        assert (rows[:, 1] == 0).all()


@pytest.mark.parametrize("return_attention", [False, True])
def test_bias_of_minus_infinity_is_a_mask(randn, device, return_attention):
    q, k, v = make_qkv(randn, (2,), 3, 3, 4, 4)
    causal = torch.ones(3, 3, dtype=torch.bool, device=device).tril()
    causal[2] = False
    bias = torch.zeros(3, 3, dtype=q.dtype, device=device).masked_fill(
        ~causal, -math.inf
    )
    ours = attend(q, k, v, bias=bias, return_attention=return_attention)
    ours = ours[0] if return_attention else ours
    torch.testing.assert_close(ours, attend(q, k, v, mask=causal))
    assert (ours[:, 2] == 0).all()


def test_masked_keys_cannot_be_seen(randn, device):
    q, k, v = make_qkv(randn, (), 4, 4, 3, 3)
    mask = torch.ones(4, 4, dtype=torch.bool, device=device).tril()
    before = attend(q, k, v, mask=mask)
    with torch.no_grad():
        k[3] += 100.0
        v[3] += 100.0
    after = attend(q, k, v, mask=mask)
    torch.testing.assert_close(before[:3], after[:3])
    assert not torch.allclose(before[3], after[3])


def test_gradient_of_the_returned_map(randn):
    q, k, v = make_qkv(randn, (2,), 3, 4, 5, 2)
    g = randn(2, 3, 4).detach()
    ours, loop = (
        torch.autograd.grad((f(q, k, v, return_attention=True)[1] * g).sum(), (q, k))
        for f in (attend, attend_loop)
    )
    for mine, theirs in zip(ours, loop, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_half_precision_does_not_overflow_before_the_scale(device):
    q = torch.full((1, 2, 256), 20.0, dtype=torch.float16, device=device)
    v = torch.ones(1, 2, 3, dtype=torch.float16, device=device)
    for y in (attend(q, q, v), attend(q, q, v, return_attention=True)[0]):
        torch.testing.assert_close(y, v)


def test_weights_are_a_softmax_over_the_keys(randn):
    q, k, v = make_qkv(randn, (2,), 3, 7, 5, 4)
    _, attention = attend(q, k, v, return_attention=True)
    torch.testing.assert_close(attention.sum(-1), torch.ones_like(attention[..., 0]))
    assert not torch.allclose(attention.sum(-2), torch.ones_like(attention[0, 0]))


def test_large_logits_do_not_overflow(randn):
    q, k, v = make_qkv(randn, (), 3, 4, 5, 2)
    y = attend(q, k, v, scale=1e6)
    best = (q @ k.mT).argmax(-1)
    torch.testing.assert_close(y, v[best])
    torch.testing.assert_close(attend_loop(q, k, v, scale=1e6), y)


def test_gradcheck(randn, device):
    q, k, v = make_qkv(randn, (2,), 2, 3, 2, 2)
    mask = torch.tensor([[True, False, True], [False, False, False]], device=device)
    for return_attention in (False, True):
        assert torch.autograd.gradcheck(
            lambda q, k, v, r=return_attention: attend(
                q, k, v, mask=mask, return_attention=r
            ),
            (q, k, v),
        )


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    T=st.integers(1, 6),
    S=st.integers(1, 6),
    D=st.integers(1, 5),
    E=st.integers(1, 4),
    lead=st.lists(st.integers(1, 3), max_size=2),
    seed=st.integers(0, 999),
)
def test_any_shape_equals_the_loop(T, S, D, E, lead, seed):
    generator = torch.Generator().manual_seed(seed)

    def make(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    q, k, v = make(*lead, T, D), make(*lead, S, D), make(*lead, S, E)
    mask = torch.rand(*lead, T, S, generator=generator) > 0.3
    torch.testing.assert_close(
        attend(q, k, v, mask=mask), attend_loop(q, k, v, mask=mask)
    )


def test_order_of_keys_does_not_matter(randn, device):
    q, k, v = make_qkv(randn, (2,), 3, 5, 4, 4)
    order = torch.tensor([3, 0, 4, 1, 2], device=device)
    torch.testing.assert_close(attend(q, k[:, order], v[:, order]), attend(q, k, v))


def test_low_precision_keeps_its_dtype(device):
    x = torch.randn(2, 5, 8, device=device, dtype=torch.bfloat16)
    y, attention = attend(x, x, x, return_attention=True)
    assert y.dtype == attention.dtype == torch.bfloat16


def test_module_is_projections_and_attend(randn, device, assert_equal):
    module = SelfAttention(6, 4).double().to(device)
    x = randn(2, 5, 6)
    mask = torch.ones(2, 5, 5, dtype=torch.bool, device=device).tril()
    wq, wk, wv = module.query.weight, module.key.weight, module.value.weight
    assert_equal(
        lambda: module(x, mask=mask),
        lambda: attend_loop(x @ wq.mT, x @ wk.mT, x @ wv.mT, mask=mask),
        [x, wq, wk, wv],
    )
    y, attention = module(x, mask=mask, return_attention=True)
    assert y.shape == (2, 5, 4)
    assert attention.shape == (2, 1, 5, 5)
    expected = attend(x @ wq.mT, x @ wk.mT, x @ wv.mT, mask=mask, return_attention=True)
    torch.testing.assert_close(attention[:, 0], expected[1])
    gradients = torch.autograd.grad(attention[:, :, 2, 1].sum(), (wq, wk))
    assert all((g != 0).any() for g in gradients)
    torch.testing.assert_close(y, module(x, mask=mask))
    assert "dim=6, dim_head=4" in repr(module)
    assert sum(p.numel() for p in module.parameters()) == 3 * 6 * 4


@pytest.mark.bad_input
class TestBadInput:
    """Every refusal prints what came."""

    q = torch.zeros(2, 3, 4)
    k = torch.zeros(2, 5, 4)
    v = torch.zeros(2, 5, 6)

    @pytest.mark.parametrize("function", [attend, attend_loop])
    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"q": torch.zeros(4)}, ValueError, r"q must have at least 2 axes.*\[4\]"),
            ({"q": torch.zeros(2, 3, 5)}, ValueError, r"same last axis.*\[2, 3, 5\]"),
            ({"q": torch.zeros(1, 3, 4)}, ValueError, r"leading axes.*\[1, 3, 4\]"),
            ({"k": torch.zeros(2, 6, 4)}, ValueError, r"number of keys.*\[2, 6, 4\]"),
            ({"q": torch.zeros(2, 0, 4)}, ValueError, r"empty.*\[2, 0, 4\]"),
            ({"v": torch.zeros(2, 5, 0)}, ValueError, r"empty.*\[2, 5, 0\]"),
            ({"q": torch.zeros(2, 3, 4).int()}, TypeError, "int32"),
            ({"q": torch.zeros(2, 3, 4).double()}, TypeError, "one dtype.*float64"),
            ({"q": [[1.0]]}, TypeError, "list"),
            ({"mask": torch.ones(3, 5)}, TypeError, "bool.*float32"),
            ({"mask": torch.ones(3, 4).bool()}, ValueError, r"\[3, 5\].*\[3, 4\]"),
            ({"mask": torch.ones(5).bool()}, ValueError, r"got \[5\]"),
            ({"bias": torch.zeros(2, 2, 3, 5)}, ValueError, r"\[2, 2, 3, 5\]"),
            ({"bias": torch.zeros(3, 5).long()}, TypeError, "int64"),
            ({"v": torch.zeros(1, 5, 6)}, ValueError, r"leading axes.*\[1, 5, 6\]"),
            ({"bias": torch.zeros(3, 5).double()}, TypeError, "one dtype.*float64"),
            (
                {"mask": torch.ones(3, 5, dtype=torch.bool, device="meta")},
                ValueError,
                "mask is on meta, q is on cpu",
            ),
            (
                {"k": torch.zeros(2, 5, 4, device="meta")},
                ValueError,
                "one device.*meta",
            ),
            ({"scale": "1"}, TypeError, "'1'"),
            ({"scale": np.float32(0.5)}, TypeError, r"0\.5"),
            ({"scale": 2**2000}, ValueError, "finite"),
            ({"scale": math.nan}, ValueError, "nan"),
        ],
    )
    def test_function(self, function, changes, error, message):
        arguments = {"q": self.q, "k": self.k, "v": self.v} | changes
        with pytest.raises(error, match=message):
            function(**arguments)

    def test_mask_of_images_does_not_line_up_with_heads(self):
        x = torch.zeros(2, 2, 3, 4)
        with pytest.raises(ValueError, match=r"all 4 axes written out.*\[2, 3, 3\]"):
            attend(x, x, x, mask=torch.ones(2, 3, 3, dtype=torch.bool))

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [((0, 4), ValueError, "dim.*0"), ((4, 2.0), TypeError, "dim_head.*2.0")],
    )
    def test_constructor(self, arguments, error, message):
        with pytest.raises(error, match=message):
            SelfAttention(*arguments)

    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (torch.zeros(2, 4), ValueError, r"3 axes.*\[2, 4\]"),
            (torch.zeros(2, 3, 5), ValueError, r"dim=4.*\[2, 3, 5\]"),
            (torch.zeros(2, 0, 4), ValueError, r"empty.*\[2, 0, 4\]"),
            (torch.zeros(2, 3, 4).long(), TypeError, "int64"),
        ],
    )
    def test_forward(self, x, error, message):
        with pytest.raises(error, match=message):
            SelfAttention(4, 4)(x)
