"""Proofs of multi-head self-attention."""

import pytest
import torch

from visattn import (
    MultiHeadSelfAttention,
    convert,
    merge_heads,
    multi_head,
    multi_head_loop,
    split_heads,
)


def test_split_gives_each_head_its_contiguous_channels(randn):
    x = randn(2, 5, 12)
    heads = split_heads(x, 3)
    assert heads.shape == (2, 3, 5, 4)
    for c in range(12):
        torch.testing.assert_close(heads[:, c // 4, :, c % 4], x[:, :, c])


def test_merge_is_the_inverse_of_split(randn):
    x = randn(2, 5, 12)
    for num_heads in (1, 2, 3, 12):
        torch.testing.assert_close(merge_heads(split_heads(x, num_heads)), x)


def test_reshape_without_transposition_is_another_function(randn):
    heads = randn(2, 3, 5, 4)
    wrong = heads.reshape(2, 5, 12)
    assert wrong.shape == merge_heads(heads).shape
    assert not torch.allclose(wrong, merge_heads(heads))


@pytest.mark.parametrize(
    ("B", "T", "S", "N", "D", "E"),
    [(1, 1, 1, 1, 1, 1), (2, 3, 5, 1, 4, 3), (2, 5, 3, 3, 2, 1), (1, 4, 4, 2, 3, 3)],
)
@pytest.mark.parametrize("extra", ["plain", "shared", "per head"])
@pytest.mark.parametrize("return_attention", [False, True])
def test_equals_the_loop(
    randn, device, assert_equal, B, T, S, N, D, E, extra, return_attention
):
    q, k, v = randn(B, T, N * D), randn(B, S, N * D), randn(B, S, N * E)
    inputs, options = [q, k, v], {}
    if extra == "shared":
        options["mask"] = torch.arange(T * S, device=device).reshape(T, S) % 4 != 3
    if extra == "per head":
        options["bias"] = randn(1, N, T, S)
        options["mask"] = torch.arange(B * S, device=device).view(B, 1, 1, S) % 5 != 4
        inputs.append(options["bias"])

    def fast():
        y = multi_head(q, k, v, N, return_attention=return_attention, **options)
        return y[0] if return_attention else y

    assert_equal(fast, lambda: multi_head_loop(q, k, v, N, **options), inputs)
    if return_attention:
        ours = multi_head(q, k, v, N, return_attention=True, **options)[1]
        loop = multi_head_loop(q, k, v, N, return_attention=True, **options)[1]
        assert ours.shape == (B, N, T, S)
        torch.testing.assert_close(ours, loop)


@pytest.mark.parametrize("return_attention", [False, True])
@pytest.mark.parametrize(
    "name", ["torch_mha_self_e16_h4_L7", "torch_mha_self_keypadmask"]
)
def test_golden(golden, name, return_attention):
    g = golden(f"mhsa/{name}")
    module = MultiHeadSelfAttention(16, 4).double()
    state = {key: value for key, value in g.items() if key.startswith("param/")}
    module.load_state_dict(convert(state, "torch-mha"))
    x = g["input/x"].requires_grad_()
    ignored = g.get("mid/key_padding_mask_True_is_ignored")
    mask = None if ignored is None else ~ignored[:, None, None, :]
    result = module(x, mask=mask, return_attention=return_attention)
    y = result[0] if return_attention else result
    torch.testing.assert_close(y, g["output/y"], rtol=0, atol=1e-9)
    if return_attention:
        torch.testing.assert_close(result[1], g["mid/attn_B_h_L_L"], rtol=0, atol=1e-9)

    (y * g["upstream/g"]).sum().backward()
    torch.testing.assert_close(x.grad, g["grad_input/x"], rtol=0, atol=1e-9)
    gradients = {
        key.replace("grad_param/", "param/"): value
        for key, value in g.items()
        if key.startswith("grad_param/")
    }
    expected = convert(gradients, "torch-mha")
    ours = dict(module.named_parameters())
    assert expected.keys() == ours.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(ours[key].grad, gradient, rtol=0, atol=1e-9)


@pytest.mark.parametrize("bias", [False, True])
def test_equals_torch(device, randn, bias):
    theirs = torch.nn.MultiheadAttention(
        12, 3, bias=bias, batch_first=True, device=device, dtype=torch.float64
    )
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)  # PyTorch starts the biases at zero
    ours = MultiHeadSelfAttention(12, 3, bias=bias).double().to(device)
    ours.load_state_dict(convert(theirs.state_dict(), "torch-mha"))
    x = randn(2, 7, 12)
    causal = torch.ones(7, 7, dtype=torch.bool, device=device).tril()
    expected = theirs(x, x, x, attn_mask=~causal, need_weights=False)[0]
    torch.testing.assert_close(ours(x, mask=causal), expected)


def test_image_is_a_sequence_in_row_major_order(randn, device):
    module = MultiHeadSelfAttention(6, 2).double().to(device)
    x = randn(2, 6, 3, 5)
    y, attention = module(x, return_attention=True)
    tokens, maps = module(x.flatten(2).mT, return_attention=True)
    torch.testing.assert_close(y, tokens.mT.reshape(2, 6, 3, 5))
    assert attention.shape == (2, 2, 3, 5, 3, 5)
    torch.testing.assert_close(attention.flatten(2, 3).flatten(3), maps)
    torch.testing.assert_close(attention[1, 0, 2, 1, 0, 4], maps[1, 0, 2 * 5 + 1, 4])


def test_permutation_equivariance(randn, device):
    module = MultiHeadSelfAttention(6, 2).double().to(device)
    x = randn(2, 7, 6)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(2)).to(device)
    torch.testing.assert_close(module(x[:, order]), module(x)[:, order])


def test_output_is_a_sum_over_heads(randn, device):
    module = MultiHeadSelfAttention(8, 4).double().to(device)
    x = randn(2, 5, 8)
    q, k, v = module.query(x), module.key(x), module.value(x)
    heads = split_heads(multi_head(q, k, v, 4), 4)  # [B, N, T, D]
    blocks = module.out.weight.reshape(8, 4, 2)  # [C, N, D]
    total = sum(heads[:, h] @ blocks[:, h].mT for h in range(4)) + module.out.bias
    torch.testing.assert_close(total, module(x))


def test_width_of_a_head_may_be_free(randn, device):
    module = MultiHeadSelfAttention(5, num_heads=3, dim_head=7).double().to(device)
    assert module(randn(2, 4, 5)).shape == (2, 4, 5)
    assert module.query.weight.shape == (21, 5)
    assert "num_heads=3, dim_head=7" in repr(module)


def test_a_learned_bias_under_autocast(device):
    module = MultiHeadSelfAttention(16, 2).to(device)
    x = torch.randn(2, 5, 16, device=device)
    bias = torch.zeros(1, 2, 5, 5, device=device, requires_grad=True)
    with torch.autocast(device.type, torch.bfloat16):
        y = module(x, bias=bias)
        z, _ = module(x, bias=bias, return_attention=True)
    assert y.dtype == z.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), module(x), rtol=0.1, atol=0.1)
    y.sum().backward()
    assert bias.grad.isfinite().all()


@pytest.mark.parametrize(("dim", "bias"), [(16, True), (16, False), (12, True)])
def test_parameters(dim, bias):
    module = MultiHeadSelfAttention(dim, 4, bias=bias)
    count = sum(p.numel() for p in module.parameters())
    assert count == 4 * dim**2 + (4 * dim if bias else 0)


@pytest.mark.bad_input
class TestBadInput:
    """Every refusal prints what came."""

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ((65, 8), ValueError, "dim=65, num_heads=8"),
            ((0, 1), ValueError, "dim.*0"),
            ((8, -2), ValueError, "num_heads.*-2"),
            ((8, 2.0), TypeError, "num_heads.*2.0"),
            ((8, 2, 0), ValueError, "dim_head.*0"),
        ],
    )
    def test_constructor(self, arguments, error, message):
        with pytest.raises(error, match=message):
            MultiHeadSelfAttention(*arguments)

    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (torch.zeros(8), ValueError, r"\[8\]"),
            (torch.zeros(2, 3, 9), ValueError, r"\[2, 3, 9\]"),
            (torch.zeros(2, 9, 3, 3), ValueError, r"\[2, 9, 3, 3\]"),
            (torch.zeros(2, 8, 0, 3), ValueError, r"empty.*\[2, 8, 0, 3\]"),
            (torch.zeros(2, 8, 3, 3).int(), TypeError, "int32"),
            ("image", TypeError, "str"),
        ],
    )
    def test_forward(self, x, error, message):
        with pytest.raises(error, match=message):
            MultiHeadSelfAttention(8, 2)(x)

    def test_mask_without_a_head_axis(self):
        mask = torch.ones(2, 3, 3, dtype=torch.bool)
        with pytest.raises(ValueError, match=r"mask\[:, None\]"):
            MultiHeadSelfAttention(8, 2)(torch.zeros(2, 3, 8), mask=mask)

    @pytest.mark.parametrize("function", [multi_head, multi_head_loop])
    def test_functions(self, function):
        x = torch.zeros(2, 3, 6)
        with pytest.raises(ValueError, match="width of q=6, num_heads=4"):
            function(x, x, x, 4)
        with pytest.raises(ValueError, match=r"3 axes.*\[3, 6\]"):
            function(x[0], x, x, 2)
        with pytest.raises(TypeError, match=r"num_heads.*'2'"):
            function(x, x, x, "2")
        with pytest.raises(ValueError, match=r"leading axes.*\[1, 2, 3, 3\]"):
            function(x[:1], x, x, 2)
        with pytest.raises(ValueError, match=r"\[3, 3\].*got \[4, 4\]"):
            function(x, x, x, 2, mask=torch.ones(4, 4).bool())
        with pytest.raises(TypeError, match="list"):
            function(x, x, x, 2, mask=[[True]])
        with pytest.raises(TypeError, match="float"):
            function(x, x, x, 2, bias=1.0)

    def test_split_and_merge(self):
        with pytest.raises(ValueError, match="width=6, num_heads=4"):
            split_heads(torch.zeros(1, 2, 6), 4)
        with pytest.raises(ValueError, match=r"\[2, 6\]"):
            split_heads(torch.zeros(2, 6), 2)
        with pytest.raises(ValueError, match=r"\[1, 2, 6\]"):
            merge_heads(torch.zeros(1, 2, 6))
