"""Proofs of local self-attention."""

import importlib
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from visattn import (
    AttentionStem2d,
    LocalAttention2d,
    attend,
    attention_stem,
    attention_stem_loop,
    local_attention,
    local_attention_loop,
)
from visattn.kernels import local as blocks
from visattn.kernels import shifts
from visattn.lab import peak_bytes

SHAPES = [  # H, W, K, N, D
    (1, 1, 1, 1, 2),
    (1, 1, 3, 1, 2),
    (5, 6, 3, 2, 4),
    (2, 3, 7, 2, 2),  # the window is larger than the map
    (7, 7, 7, 1, 4),
    (3, 9, 5, 2, 6),
    (9, 13, 3, 1, 4),
    (14, 7, 5, 1, 2),
    (8, 5, 1, 1, 2),
]


def unfold_form(q, k, v, rows, cols, kernel_size):
    """Local attention as textbooks write it, with zero keys outside the image."""
    B, N, H, W, D = q.shape
    K = kernel_size

    def windows(x):
        x = x.permute(0, 1, 4, 2, 3).flatten(1, 2)
        x = F.unfold(x, K, padding=K // 2)
        return x.view(B, N, D, K * K, H * W)

    table = torch.cat(
        [rows[:, None].expand(K, K, -1), cols[None].expand(K, K, -1)], -1
    ).flatten(0, 1)
    keys, values, queries = windows(k), windows(v), q.flatten(2, 3)
    logits = torch.einsum("bnpd,bndkp->bnkp", queries, keys)
    logits = logits + torch.einsum("bnpd,kd->bnkp", queries, table)
    y = torch.einsum("bnkp,bndkp->bnpd", logits.softmax(2), values)
    return y.view(B, N, H, W, D)


@pytest.mark.parametrize(("H", "W", "K", "N", "D"), SHAPES)
@pytest.mark.parametrize("border", ["mask", "zero"])
@pytest.mark.parametrize("positions", [True, False])
def test_equals_the_loop(randn, assert_equal, H, W, K, N, D, border, positions):
    q, k, v = randn(1, N, H, W, D), randn(1, N, H, W, D), randn(1, N, H, W, D)
    tables = (randn(K, D // 2), randn(K, D // 2)) if positions else (None, None)
    blocks = partial(local_attention, q, k, v, *tables, K, border)
    assert_equal(
        [blocks, lambda: blocks(return_attention=True)[0]],
        lambda: local_attention_loop(q, k, v, *tables, K, border),
        [q, k, v, *tables] if positions else [q, k, v],
    )


@pytest.mark.parametrize("border", ["mask", "zero"])
def test_attention_equals_the_loops(randn, border):
    q, k, v = randn(1, 2, 4, 5, 4), randn(1, 2, 4, 5, 4), randn(1, 2, 4, 5, 4)
    tables = randn(3, 2), randn(3, 2)
    ours = local_attention(q, k, v, *tables, 3, border, return_attention=True)[1]
    loop = local_attention_loop(q, k, v, *tables, 3, border, return_attention=True)[1]
    assert ours.shape == (1, 2, 4, 5, 3, 3)
    torch.testing.assert_close(ours, loop)
    torch.testing.assert_close(ours.sum((-1, -2)), torch.ones_like(ours[..., 0, 0]))
    outside = ours[:, :, 0, :, 0]
    assert (outside == 0).all() if border == "mask" else (outside > 0).all()


@pytest.mark.parametrize(
    ("H", "W", "K", "N", "D"), [(5, 6, 3, 2, 4), (14, 14, 7, 2, 8), (17, 9, 5, 1, 6)]
)
def test_equals_unfold(randn, assert_equal, H, W, K, N, D):
    q, k, v = randn(2, N, H, W, D), randn(2, N, H, W, D), randn(2, N, H, W, D)
    rows, cols = randn(K, D // 2), randn(K, D // 2)
    assert_equal(
        lambda: local_attention(q, k, v, rows, cols, K, "zero"),
        lambda: unfold_form(q, k, v, rows, cols, K),
        [q, k, v, rows, cols],
    )


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(("form", "K"), [("shifts", 3), ("local", 5)])
def test_chunks_do_not_change_the_result(
    randn, assert_equal, monkeypatch, form, K, parts
):
    kernel = importlib.import_module(f"visattn.kernels.{form}")
    q, k, v = randn(2, 2, 11, 9, 4), randn(2, 2, 11, 9, 4), randn(2, 2, 11, 9, 4)
    rows, cols = randn(K, 2), randn(K, 2)
    # One map of a head, or three blocks in a row: 4x4 queries, 8x8 keys.
    room = parts * {"shifts": 11 * 9 * 4, "local": 3 * 16 * 64}[form]

    def chunked():
        with monkeypatch.context() as patch:
            patch.setattr(kernel, "_CHUNK", {"cpu": room, "cuda": room})
            return local_attention(q, k, v, rows, cols, K)

    monkeypatch.setattr(kernel, "_CHUNK", {"cpu": room, "cuda": room})
    assert_equal(
        chunked,
        lambda: local_attention(q, k, v, rows, cols, K, return_attention=True)[0],
        [q, k, v, rows, cols],
    )


@pytest.mark.parametrize("border", ["mask", "zero"])
@pytest.mark.parametrize("K", [1, 3, 5, 7])
def test_shifts_equal_blocks(randn, assert_equal, K, border):
    inputs = [randn(3, 9, 6, 4) for _ in range(3)] + [randn(K, 1), randn(K, 3)]
    options = K, border == "mask"
    assert_equal(
        lambda: shifts.shifted_local_attention(*inputs, *options),
        lambda: blocks.local_attention(*inputs, *options),
        inputs,
    )


@pytest.mark.compiled
@pytest.mark.parametrize(
    "form", [shifts.shifted_local_attention, blocks.local_attention]
)
def test_the_operators_follow_pytorchs_rules(randn, form):
    inputs = [randn(2, 5, 6, 4) for _ in range(3)] + [randn(3, 2), randn(3, 2)]
    torch.library.opcheck(form, (*inputs, 3, True))


@pytest.mark.parametrize("border", ["mask", "zero"])
def test_golden(golden, border):
    g = golden(f"sasa/sasa_k3_h2_{border}")
    module = LocalAttention2d(8, 16, 3, 2, border=border).double()
    names = {
        "query.weight": "wq",
        "key.weight": "wk",
        "value.weight": "wv",
        "relative_rows": "rel_row",
        "relative_cols": "rel_col",
    }
    ours = dict(module.named_parameters())
    state = {n: g[f"param/{t}"].reshape(ours[n].shape) for n, t in names.items()}
    module.load_state_dict(state)
    x = g["input/x"].requires_grad_()
    for return_attention in (False, True):
        result = module(x, return_attention=return_attention)
        y = result[0] if return_attention else result
        torch.testing.assert_close(y, g["output/y"], rtol=0, atol=1e-9)
        found = torch.autograd.grad((y * g["upstream/g"]).sum(), [x, *ours.values()])
        expected = [g["grad_input/x"], *(g[f"grad_param/{names[n]}"] for n in ours)]
        for gradient, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(
                gradient, theirs.reshape(gradient.shape), rtol=0, atol=1e-9
            )
    attention = result[1].flatten(4).permute(0, 1, 4, 2, 3)
    torch.testing.assert_close(attention, g["mid/attn_B_h_kk_H_W"], rtol=0, atol=1e-9)


def test_memory_is_a_fraction_of_the_unfold_form():
    """At 8x64x56x56 with a 7x7 window, forward and backward."""
    shape = (8, 8, 56, 56, 8)
    q, k, v = (torch.randn(shape, requires_grad=True) for _ in range(3))
    rows, cols = (torch.randn(7, 4, requires_grad=True) for _ in range(2))

    def step(function, *extra):
        function(q, k, v, rows, cols, 7, *extra).sum().backward()
        for x in (q, k, v, rows, cols):
            x.grad = None

    ours = peak_bytes(lambda: step(local_attention, "zero"))
    theirs = peak_bytes(lambda: step(unfold_form))
    print(f"peak bytes: blocks {ours:,}, unfold {theirs:,}, {ours / theirs:.3f}")
    assert ours < theirs / 5


def test_a_window_over_the_whole_map_is_global_attention(randn):
    q, k, v = randn(2, 2, 4, 5, 6), randn(2, 2, 4, 5, 6), randn(2, 2, 4, 5, 6)
    local = local_attention(q, k, v, None, None, 9, "mask")
    tokens = (x.flatten(2, 3) for x in (q, k, v))
    expected = attend(*tokens, scale=1.0).unflatten(2, (4, 5))
    torch.testing.assert_close(local, expected)


def test_a_window_of_one_returns_the_value(randn):
    q, k, v = randn(1, 2, 3, 4, 2), randn(1, 2, 3, 4, 2), randn(1, 2, 3, 4, 2)
    torch.testing.assert_close(local_attention(q, k, v, None, None, 1), v)


@pytest.mark.parametrize("border", ["mask", "zero"])
def test_translation_equivariance_in_the_interior(randn, device, border):
    layer = LocalAttention2d(3, 8, 5, 2, border=border).double().to(device)
    x = randn(1, 3, 11, 12)
    moved = torch.roll(x, (1, 2), dims=(2, 3))
    y, y_moved = layer(x), layer(moved)
    torch.testing.assert_close(y_moved[..., 3:-2, 4:-2], y[..., 2:-3, 2:-4])


def test_without_positions_the_window_is_a_set(randn, device):
    """Permuting the keys of a window changes nothing; with positions it does."""
    q, k, v = randn(1, 1, 3, 3, 4), randn(1, 1, 3, 3, 4), randn(1, 1, 3, 3, 4)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1)).to(device)

    def shuffled(x):
        return x.flatten(2, 3)[:, :, order].reshape(x.shape)

    rows, cols = randn(3, 2), randn(3, 2)
    for tables, equal in (((None, None), True), ((rows, cols), False)):
        y = local_attention(q, k, v, *tables, 3)[:, :, 1, 1]
        z = local_attention(q, shuffled(k), shuffled(v), *tables, 3)[:, :, 1, 1]
        assert torch.allclose(y, z) is equal


def test_heads_are_independent(randn):
    """Head 0 does not change when head 1 does: no similarity is summed over heads."""
    q, k, v = randn(1, 2, 4, 4, 2), randn(1, 2, 4, 4, 2), randn(1, 2, 4, 4, 2)
    rows, cols = randn(3, 1), randn(3, 1)
    before = local_attention(q, k, v, rows, cols, 3)
    with torch.no_grad():
        q[:, 1] += 1.0
        k[:, 1] -= 2.0
    after = local_attention(q, k, v, rows, cols, 3)
    torch.testing.assert_close(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])


def test_channels_of_a_head_share_one_map(randn, device):
    """A rotation of q and k inside a head changes nothing: q.k sums over channels."""
    q, k, v = randn(1, 1, 4, 4, 4), randn(1, 1, 4, 4, 4), randn(1, 1, 4, 4, 4)
    turn = torch.linalg.qr(randn(4, 4).detach()).Q
    torch.testing.assert_close(
        local_attention(q @ turn, k @ turn, v, None, None, 3),
        local_attention(q, k, v, None, None, 3),
    )


def test_row_table_moves_rows_only(randn, device):
    """A row table that prefers one row lights that row, in every column alike."""
    q = torch.ones(1, 1, 5, 5, 4, dtype=torch.float64, device=device)
    rows = torch.zeros(3, 2, dtype=torch.float64, device=device)
    rows[0] = 50.0  # one row above the query
    cols = torch.zeros_like(rows)
    maps = local_attention(q, 0 * q, q, rows, cols, 3, return_attention=True)[1]
    expected = torch.zeros(3, 3, dtype=torch.float64, device=device)
    expected[0] = 1 / 3
    torch.testing.assert_close(maps[0, 0, 2, 2], expected)


@pytest.mark.parametrize("border", ["mask", "zero"])
def test_gradcheck(randn, border):
    q, k, v = randn(1, 1, 3, 2, 2), randn(1, 1, 3, 2, 2), randn(1, 1, 3, 2, 2)
    rows, cols = randn(3, 1), randn(3, 1)
    assert torch.autograd.gradcheck(
        lambda *t: local_attention(*t, 3, border), (q, k, v, rows, cols)
    )


@pytest.mark.parametrize(
    ("H", "W", "stride"), [(6, 8, 2), (5, 7, 2), (7, 4, 3), (1, 1, 2)]
)
def test_stride_is_average_pooling(randn, device, H, W, stride):
    layer = LocalAttention2d(4, 8, 3, 2, stride=stride).double().to(device)
    x = randn(2, 4, H, W)
    y = layer(x)
    layer.stride = 1
    full = layer(x)
    assert y.shape[2:] == (math.ceil(H / stride), math.ceil(W / stride))
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            part = full[
                :, :, i * stride : (i + 1) * stride, j * stride : (j + 1) * stride
            ]
            torch.testing.assert_close(y[:, :, i, j], part.mean((2, 3)))


def test_half_precision(device):
    q, k, v = torch.randn(3, 1, 2, 9, 8, 4, device=device)
    rows, cols = torch.randn(2, 3, 2, device=device)
    whole = local_attention(q, k, v, rows, cols, 3)
    half = local_attention(*(x.bfloat16() for x in (q, k, v, rows, cols)), 3)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), whole, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 300.0])
def test_half_precision_with_attention_is_as_exact(device, dtype, size):
    """Asking for the weights changes no output, and no logit overflows."""
    q, k, v = (size * torch.randn(3, 1, 2, 9, 8, 4, device=device)).to(dtype)
    rows, cols = torch.randn(2, 3, 2, device=device).to(dtype)
    alone = local_attention(q, k, v, rows, cols, 3)
    y, attention = local_attention(q, k, v, rows, cols, 3, return_attention=True)
    assert y.dtype == attention.dtype == dtype
    one_step = torch.finfo(dtype).eps
    torch.testing.assert_close(y, alone, rtol=one_step, atol=one_step * size)
    total = attention.float().sum((-1, -2))
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=0.02)


@pytest.mark.parametrize("carrier", range(5))
def test_one_input_alone_gets_its_gradient(randn, carrier):
    """Frozen inputs stay without a gradient, and change nothing for the other."""
    inputs = [randn(1, 2, 5, 6, 4) for _ in range(3)] + [randn(3, 2), randn(3, 2)]
    together = torch.autograd.grad(local_attention(*inputs, 3).sum(), inputs)[carrier]
    alone = [t.detach() for t in inputs]
    alone[carrier].requires_grad_()
    local_attention(*alone, 3).sum().backward()
    torch.testing.assert_close(alone[carrier].grad, together)
    assert [t.grad is None for t in alone].count(False) == 1


def test_a_second_derivative_is_refused(randn):
    q, k, v = (randn(1, 1, 5, 5, 4) for _ in range(3))
    y = local_attention(q, k, v, None, None, 3)
    (first,) = torch.autograd.grad(y.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="local_attention_backward"):
        first.sum().backward()


@pytest.mark.parametrize(("H", "W"), [(8, 12), (4, 4), (5, 7), (1, 2), (9, 3)])
@pytest.mark.parametrize(("K", "M"), [(4, 4), (3, 1), (2, 5)])
def test_stem_equals_the_loop(randn, assert_equal, H, W, K, M):
    x, query, key = randn(2, 3, H, W), randn(5, 3), randn(5, 3)
    value, mixture = randn(M, 6, 3), randn(K, K, M)
    assert_equal(
        lambda: attention_stem(x, query, key, value, mixture),
        lambda: attention_stem_loop(x, query, key, value, mixture),
        [x, query, key, value, mixture],
    )


def test_stem_golden(golden):
    g = golden("sasa/attention_stem_block_k4_m4")
    module = AttentionStem2d(3, 8, 4, 4, 6).double()
    names = {
        "query.weight": "wq",
        "key.weight": "wk",
        "value": "wv",
        "embedding_rows": "emb_row",
        "embedding_cols": "emb_col",
        "mixture_vectors": "nu",
    }
    ours = dict(module.named_parameters())
    module.load_state_dict(
        {n: g[f"param/{t}"].reshape(ours[n].shape) for n, t in names.items()}
    )
    x = g["input/x"].requires_grad_()
    y = module(x)
    torch.testing.assert_close(y, g["output/y"], rtol=0, atol=1e-9)
    torch.testing.assert_close(
        module.mixture(), g["mid/mixture_p_a_b_m"], rtol=0, atol=1e-9
    )
    (y * g["upstream/g"]).sum().backward()
    torch.testing.assert_close(x.grad, g["grad_input/x"], rtol=0, atol=1e-9)
    for name, theirs in names.items():
        torch.testing.assert_close(
            ours[name].grad,
            g[f"grad_param/{theirs}"].reshape(ours[name].shape),
            rtol=0,
            atol=1e-9,
        )


MODULES = [
    lambda: (LocalAttention2d(4, 8, 7, 2, stride=2), torch.randn(2, 4, 9, 11)),
    lambda: (AttentionStem2d(3, 8), torch.randn(2, 3, 9, 11)),
]


@pytest.mark.compiled
@pytest.mark.parametrize("make", MODULES)
def test_compile(make, device):
    module, x = make()
    module, x = module.to(device), x.to(device)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), module(x))
    expected = torch.autograd.grad(module(x).sum(), list(module.parameters()))
    found = torch.autograd.grad(compiled(x).sum(), list(module.parameters()))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.compiled
@pytest.mark.parametrize("make", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_export(make):
    module, x = make()
    exported = torch.export.export(module, (x,))
    torch.testing.assert_close(exported.module()(x), module(x))


@pytest.mark.parametrize("make", MODULES)
def test_autocast(make, device):
    module, x = make()
    module, x = module.to(device), x.to(device)
    with torch.autocast(device.type, torch.bfloat16):
        y = module(x)
    torch.testing.assert_close(y.float(), module(x), rtol=0.05, atol=0.05)
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("K", [3, 7])  # by shifts, in blocks
def test_autocast_rounds_no_logit(device, dtype, K):
    """It would reach into the operator, and round the logits."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 2, 9, 8, 16)] * 3 + [(K, 8)] * 2
    inputs = [4 * torch.randn(s, generator=generator).to(dtype) for s in shapes]
    inputs = [x.to(device).requires_grad_() for x in inputs]

    def run():
        y = local_attention(*inputs, K)
        return [y, *torch.autograd.grad(y.sum(), inputs)]

    expected = run()
    with torch.autocast(device.type, torch.bfloat16):
        found = run()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.bad_input
class TestBadInput:
    """Every refusal prints what came."""

    @pytest.mark.parametrize("function", [local_attention, local_attention_loop])
    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"kernel_size": 4}, ValueError, "odd.*got 4"),
            ({"kernel_size": 0}, ValueError, "kernel_size.*0"),
            ({"kernel_size": 3.0}, TypeError, r"kernel_size.*3\.0"),
            ({"border": "wrap"}, ValueError, "'wrap'"),
            ({"kernel_size": 5}, ValueError, r"\[5, 2\].*\[3, 2\]"),
            ({"relative_cols": None}, ValueError, "both"),
            ({"relative_rows": torch.zeros(3, 4)}, ValueError, r"\[3, 2\].*\[3, 4\]"),
            ({"k": torch.zeros(1, 2, 5, 4, 4)}, ValueError, r"\[1, 2, 5, 4, 4\]"),
            ({"q": torch.zeros(2, 4, 5, 4)}, ValueError, r"5 axes.*\[2, 4, 5, 4\]"),
            ({"v": torch.zeros(1, 2, 4, 5, 4).int()}, TypeError, "int32"),
            ({"v": torch.zeros(1, 2, 4, 5, 4).double()}, TypeError, "float64"),
        ],
    )
    def test_function(self, function, changes, error, message):
        x = torch.zeros(1, 2, 4, 5, 4)
        arguments = {
            "q": x,
            "k": x,
            "v": x,
            "relative_rows": torch.zeros(3, 2),
            "relative_cols": torch.zeros(3, 2),
            "kernel_size": 3,
        }
        with pytest.raises(error, match=message):
            function(**(arguments | changes))

    @pytest.mark.parametrize("function", [local_attention, local_attention_loop])
    def test_odd_heads_have_no_two_halves(self, function):
        x = torch.zeros(1, 2, 4, 5, 3)
        with pytest.raises(ValueError, match="head dim=3"):
            function(x, x, x, torch.zeros(3, 1), torch.zeros(3, 1), 3)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ((8, 65, 7, 8), ValueError, "out_channels=65, num_heads=8"),
            ((8, 24, 7, 8), ValueError, "head dim=3"),
            ((8, 16, 6, 8), ValueError, "odd.*6"),
            ((8, 16, 7, 0), ValueError, "num_heads.*0"),
            ((8, 16, 7, 8, 0), ValueError, "stride.*0"),
            ((8, 16, 7, 8, 1, "reflect"), ValueError, "'reflect'"),
            ((8.0, 16), TypeError, r"in_channels.*8\.0"),
        ],
    )
    def test_constructor(self, arguments, error, message):
        with pytest.raises(error, match=message):
            LocalAttention2d(*arguments)

    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (torch.zeros(4, 5, 5), ValueError, r"4 axes.*\[4, 5, 5\]"),
            (torch.zeros(1, 3, 5, 5), ValueError, r"in_channels=4.*\[1, 3, 5, 5\]"),
            (torch.zeros(1, 4, 0, 5), ValueError, r"empty.*\[1, 4, 0, 5\]"),
            (torch.zeros(1, 4, 5, 5).long(), TypeError, "int64"),
        ],
    )
    def test_forward(self, x, error, message):
        with pytest.raises(error, match=message):
            LocalAttention2d(4, 8, 3, 2)(x)

    def test_stem(self):
        with pytest.raises(ValueError, match=r"\[2, 5, 8, 8\]"):
            AttentionStem2d(3, 8)(torch.zeros(2, 5, 8, 8))
        with pytest.raises(ValueError, match="mixtures.*0"):  # noqa: RUF043
            AttentionStem2d(3, 8, mixtures=0)
        x, q, v = torch.zeros(1, 3, 4, 4), torch.zeros(2, 3), torch.zeros(4, 2, 3)
        for function in (attention_stem, attention_stem_loop):
            with pytest.raises(ValueError, match=r"\[K, K, 4\]|\[2, 2, 3\]"):
                function(x, q, q, v, torch.zeros(2, 2, 3))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_transforms_derivative(randn):
    q, k, v = (randn(1, 2, 4, 5, 4).detach() for _ in range(3))
    rows, cols = randn(3, 2).detach(), randn(3, 2).detach()
    tangents = tuple(torch.ones_like(x) * 0.5 for x in (q, k, v, rows, cols))

    def attend(*args):
        return local_attention(*args, kernel_size=3)

    y, tangent = torch.func.jvp(attend, (q, k, v, rows, cols), tangents)
    step = 1e-6
    moved = []
    for sign in (1, -1):
        pairs = zip((q, k, v, rows, cols), tangents, strict=True)
        moved.append(attend(*(x + sign * step * t for x, t in pairs)))
    torch.testing.assert_close(y, attend(q, k, v, rows, cols))
    torch.testing.assert_close(tangent, (moved[0] - moved[1]) / (2 * step))
