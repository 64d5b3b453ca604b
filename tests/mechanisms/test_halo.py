"""Proofs of halo attention."""

import copy
import math
import pickle
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad

from visattn import (
    HaloAttention2d,
    attend,
    halo_attention,
    halo_attention_loop,
    local_attention,
    relative_logits_2d,
)
from visattn.kernels import halo as kernel
from visattn.lab import count_macs, peak_bytes

SHAPES = [  # H, W, b, h, stride, N, D, E
    (1, 1, 1, 0, 1, 1, 2, 2),
    (1, 1, 3, 2, 1, 1, 2, 1),
    (5, 7, 4, 1, 1, 2, 3, 2),  # the last blocks leave the map
    (8, 8, 4, 2, 2, 1, 4, 4),
    (7, 3, 2, 3, 2, 2, 2, 3),  # the halo is larger than the block
    (3, 5, 1, 1, 1, 1, 2, 2),
    (4, 6, 6, 0, 1, 1, 2, 2),  # one block
    (7, 5, 6, 1, 3, 1, 2, 2),
    (2, 3, 9, 4, 3, 1, 2, 2),  # everything is larger than the map
    (9, 4, 3, 1, 3, 3, 1, 2),  # one query in a block
    (1, 8, 3, 2, 1, 1, 2, 2),  # the block covers one axis
]


def make(randn, H, W, U, N, D, E, B=1):
    q, k, v = randn(B, N, H, W, D), randn(B, N, H, W, D), randn(B, N, H, W, E)
    return q, k, v, randn(2 * U - 1, D), randn(2 * U - 1, D)


def textbook_form(q, k, v, rel_height, rel_width, block, halo, border):
    """All neighbourhoods cut out by unfold, relative logits by the skew."""
    B, N, H, W, D = q.shape
    U = block + 2 * halo
    tall, wide = H // block, W // block

    def windows(x):
        x = x.permute(0, 1, 4, 2, 3).flatten(1, 2)
        x = F.unfold(x, U, padding=halo, stride=block)
        return x.view(B, N, -1, U * U, tall * wide).permute(0, 1, 4, 3, 2)

    inside = windows(torch.ones_like(k[..., :1]).expand(B, N, H, W, 1))[..., 0] > 0
    q = (
        q.view(B, N, tall, block, wide, block, D).transpose(3, 4).flatten(2, 3)
        * D**-0.5
    )
    big = F.pad(q, (0, 0, halo, halo, halo, halo)).flatten(
        0, 1
    )  # [B*N, blocks, U, U, D]
    relative = relative_logits_2d(big, rel_height, rel_width)
    relative = relative.unflatten(2, (U, U))
    relative = relative[:, :, halo : U - halo, halo : U - halo].flatten(2, 3)
    logits = q.flatten(3, 4) @ windows(k).mT + relative.view(
        B, N, tall * wide, -1, U * U
    )
    if border == "mask":
        logits = logits.masked_fill(~inside[..., None, :], -math.inf)
    y = logits.softmax(-1) @ windows(v)
    y = y.view(B, N, tall, wide, block, block, -1).transpose(3, 4)
    return y.reshape(B, N, H, W, -1)


@pytest.mark.parametrize(("H", "W", "b", "h", "s", "N", "D", "E"), SHAPES)
@pytest.mark.parametrize("border", ["mask", "zero"])
@pytest.mark.parametrize("positions", [True, False])
def test_equals_the_loop(
    randn, assert_equal, H, W, b, h, s, N, D, E, border, positions
):
    q, k, v, *tables = make(randn, H, W, b + 2 * h, N, D, E)
    inputs = [q, k, v, *tables] if positions else [q, k, v]
    tables = tables if positions else (None, None)
    fast = partial(halo_attention, q, k, v, *tables, b, h, s, border)
    assert_equal(
        [fast, lambda: fast(return_attention=True)[0]],
        lambda: halo_attention_loop(q, k, v, *tables, b, h, s, border),
        inputs,
    )


@pytest.mark.parametrize("border", ["mask", "zero"])
def test_attention_equals_the_loops(randn, border):
    inputs = make(randn, 5, 7, 5, 2, 3, 2)
    options = (3, 1, 1, border)
    ours = halo_attention(*inputs, *options, return_attention=True)[1]
    loop = halo_attention_loop(*inputs, *options, return_attention=True)[1]
    assert ours.shape == (1, 2, 5, 7, 5, 5)
    torch.testing.assert_close(ours, loop)
    torch.testing.assert_close(ours.sum((-1, -2)), torch.ones_like(ours[..., 0, 0]))
    outside = ours[:, :, :3, :, 0]  # the row above the map
    assert (outside == 0).all() if border == "mask" else (outside > 0).all()


@pytest.mark.parametrize("border", ["mask", "zero"])
@pytest.mark.parametrize(("H", "W", "b", "h"), [(8, 12, 4, 1), (6, 9, 3, 3)])
def test_equals_the_textbook_form(randn, assert_equal, border, H, W, b, h):
    inputs = make(randn, H, W, b + 2 * h, 2, 4, 4, B=2)
    assert_equal(
        lambda: halo_attention(*inputs, b, h, 1, border),
        lambda: textbook_form(*inputs, b, h, border),
        inputs,
    )


@pytest.mark.parametrize("border", ["mask", "zero"])
@pytest.mark.parametrize("room", [1, 700, 1500, 4000])
def test_chunks_do_not_change_the_result(
    randn, assert_equal, monkeypatch, room, border
):
    """From single rows of queries to several images at once."""
    inputs = make(randn, 11, 9, 6, 2, 3, 2, B=2)
    assert len(_parts(monkeypatch, room, 11, 9)) > 1
    monkeypatch.setattr(kernel, "_CHUNK", {"cpu": room, "cuda": room})
    assert_equal(
        lambda: halo_attention(*inputs, 4, 1, 2, border),
        lambda: halo_attention(*inputs, 4, 1, 2, border, return_attention=True)[0],
        inputs,
    )


def _parts(monkeypatch, room, H, W):
    with monkeypatch.context() as patch:
        patch.setattr(kernel, "_CHUNK", {"cuda": room})
        cut = kernel._Cut(kernel.Axis(H, 4, 1, 2), kernel.Axis(W, 4, 1, 2))
        return list(cut.chunks(4, 5, torch.device("cpu")))


def test_parts_cover_everything_once(monkeypatch):
    for room in (1, 700, 1500, 4000, 10**9):
        seen = torch.zeros(4, 3, 2)
        for part in _parts(monkeypatch, room, 11, 9):
            seen[part] += 1
        assert (seen == 1).all()


# Both ends of the spectrum ------------------------------------------------------------


@pytest.mark.parametrize("border", ["mask", "zero"])
@pytest.mark.parametrize(("H", "W", "K"), [(5, 6, 3), (7, 4, 5), (3, 3, 7), (4, 9, 1)])
def test_blocks_of_one_are_local_attention(randn, assert_equal, border, H, W, K):
    """SASA: half tables become whole ones, and its offsets the middle K rows."""
    D, reach = 4, K // 2
    q, k, v = (randn(2, 2, H, W, D) for _ in range(3))
    rows, cols = randn(K, D // 2), randn(K, D // 2)

    def halo():
        more = (K - 1 - reach, K - 1 - reach)  # offsets that no query reaches
        height = F.pad(rows, (0, D // 2, *more))
        width = F.pad(cols, (D // 2, 0, *more))
        return halo_attention(q, k, v, height, width, 1, reach, 1, border)

    assert_equal(
        halo,
        lambda: local_attention(q * D**-0.5, k, v, rows, cols, K, border),
        [q, k, v, rows, cols],
    )


@pytest.mark.parametrize(("H", "W"), [(4, 4), (3, 5), (6, 1)])
@pytest.mark.parametrize("more", [0, 3])
def test_one_block_is_global_attention(randn, assert_equal, H, W, more):
    """Also if the block is larger than the map: what is outside is masked."""
    b = max(H, W) + more
    q, k, v, height, width = make(randn, H, W, b, 2, 3, 4, B=2)

    def whole():
        tables = height[b - H : b + H - 1], width[b - W : b + W - 1]
        scale = q.shape[-1] ** -0.5
        bias = relative_logits_2d(q * scale, *tables)
        tokens = (x.flatten(2, 3) for x in (q, k, v))
        return attend(*tokens, bias=bias, scale=scale).unflatten(2, (H, W))

    assert_equal(
        lambda: halo_attention(q, k, v, height, width, b, 0),
        whole,
        [q, k, v, height, width],
    )


def test_a_square_block_of_the_map_needs_no_border(randn):
    inputs = make(randn, 4, 4, 4, 2, 3, 3)
    mask, zero = (halo_attention(*inputs, 4, 0, 1, x) for x in ("mask", "zero"))
    torch.testing.assert_close(mask, zero)


def test_a_halo_over_the_whole_map_is_global_attention(randn):
    """Without positions every block then sees the same keys: all of them."""
    q, k, v, *_ = make(randn, 7, 5, 1, 2, 3, 4)
    y = halo_attention(q, k, v, None, None, 2, 7)
    tokens = (x.flatten(2, 3) for x in (q, k, v))
    torch.testing.assert_close(y, attend(*tokens).unflatten(2, (7, 5)))


# Symmetries ---------------------------------------------------------------------------


def turned(layer, x, shift):
    """The layer on a map without borders: continued around, and cut to size."""
    b = layer.block_size
    ring = -(-layer.halo_size // b) * b  # whole blocks: the grid stays in place
    y = layer(F.pad(x, (ring,) * 4, mode="circular"))
    y = y[..., ring:-ring, ring:-ring]
    return torch.roll(y, shift, dims=(2, 3))


@pytest.mark.parametrize("border", ["mask", "zero"])
def test_equivariance_by_whole_blocks_on_a_circle(randn, device, border):
    layer = HaloAttention2d(3, 8, 4, 1, 2, border=border).double().to(device)
    x = randn(1, 3, 12, 16)
    for shift, equal in (((4, 0), True), ((4, -8), True), ((1, 0), False)):
        moved = turned(layer, torch.roll(x, shift, dims=(2, 3)), (0, 0))
        assert torch.allclose(moved, turned(layer, x, shift)) is equal, shift
    for step in (1, 2, 3):
        moved = turned(layer, torch.roll(x, (step, step), dims=(2, 3)), (0, 0))
        assert (moved - turned(layer, x, (step, step))).abs().max() > 1e-3


def test_equivariance_in_the_interior(randn, device):
    """With a masked border, where no neighbourhood leaves the image."""
    layer = HaloAttention2d(3, 8, 4, 2, 2).double().to(device)
    x = randn(1, 3, 20, 16)
    y, moved = layer(x), layer(torch.roll(x, (4, 4), dims=(2, 3)))
    # Blocks 1 to 3 of 5 and 1 to 2 of 4 touch no border; one block later they do.
    torch.testing.assert_close(moved[..., 8:16, 8:12], y[..., 4:12, 4:8])
    assert not torch.allclose(moved[..., 4:8, :], y[..., 0:4, :])


def test_zeros_around_continue_a_map_of_zeros(randn, device):
    """border="zero": what is black at its edge moves by a block without a trace."""
    layer = HaloAttention2d(3, 8, 4, 3, 2, border="zero").double().to(device)
    x = torch.zeros(1, 3, 24, 24, dtype=torch.float64, device=device)
    x[..., 8:16, 8:16] = randn(1, 3, 8, 8)
    y, moved = layer(x), layer(torch.roll(x, (4, -4), dims=(2, 3)))
    assert y.abs().max() > 0
    torch.testing.assert_close(moved, torch.roll(y, (4, -4), dims=(2, 3)))


def test_transposition_exchanges_the_tables(randn, assert_equal):
    q, k, v, height, width = inputs = make(randn, 5, 7, 6, 2, 3, 2)
    turned = (x.transpose(2, 3) for x in (q, k, v))
    y = halo_attention(*turned, width, height, 4, 1)
    torch.testing.assert_close(y.transpose(2, 3), halo_attention(*inputs, 4, 1))


def test_without_positions_and_halo_a_block_is_a_set(randn, device):
    q, k, v, *_ = make(randn, 4, 4, 1, 1, 3, 3)
    order = torch.tensor([2, 0, 3, 1], device=device)

    def shuffled(x):  # the four pixels of each 2x2 block
        x = x.view(1, 1, 2, 2, 2, 2, -1).transpose(3, 4).flatten(4, 5)
        x = x[..., order, :].unflatten(4, (2, 2)).transpose(3, 4)
        return x.reshape(1, 1, 4, 4, -1)

    y = halo_attention(q, k, v, None, None, 2, 0)
    moved = halo_attention(*(shuffled(x) for x in (q, k, v)), None, None, 2, 0)
    torch.testing.assert_close(moved, shuffled(y))


def test_heads_are_independent(randn):
    q, k, v, *tables = make(randn, 5, 4, 4, 2, 2, 2)
    before = halo_attention(q, k, v, *tables, 2, 1)
    with torch.no_grad():
        q[:, 1] += 1.0
        k[:, 1] -= 2.0
    after = halo_attention(q, k, v, *tables, 2, 1)
    torch.testing.assert_close(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])


# Reach --------------------------------------------------------------------------------


@pytest.mark.parametrize("border", ["mask", "zero"])
@pytest.mark.parametrize(
    ("H", "W", "b", "h"), [(9, 6, 3, 2), (5, 8, 4, 1), (4, 4, 2, 0)]
)
def test_exactly_the_keys_of_the_neighbourhood(randn, border, H, W, b, h):
    q, k, v, *tables = make(randn, H, W, b + 2 * h, 1, 2, 1)
    y = halo_attention(q, k, v, *tables, b, h, 1, border)
    for i in range(0, H, 2):
        for j in range(0, W, 3):
            (seen,) = torch.autograd.grad(y[0, 0, i, j, 0], v, retain_graph=True)
            expected = torch.zeros_like(seen, dtype=torch.bool)
            top, left = i // b * b - h, j // b * b - h
            rows = slice(max(top, 0), top + b + 2 * h)
            expected[0, 0, rows, max(left, 0) : left + b + 2 * h] = True
            assert torch.equal(seen != 0, expected)


@pytest.mark.parametrize("border", ["mask", "zero"])
@pytest.mark.parametrize("stride", [1, 2])
def test_rows_of_the_tables_with_a_gradient(randn, border, stride):
    """Exactly the offsets that some query and some key of its window have."""
    b, h, H, W = 4, 2, 12, 3
    U = b + 2 * h
    q, k, v, height, width = make(randn, H, W, U, 1, 2, 2)
    y = halo_attention(q, k, v, height, width, b, h, stride, border)
    for table, length, gradient in zip(
        (height, width),
        (H, W),
        torch.autograd.grad(y.square().sum(), (height, width)),
        strict=True,
    ):
        offsets = set()
        for i in range(0, length, stride):
            top = i // b * b - h
            for a in range(top, top + U):
                if border == "zero" or 0 <= a < length:
                    offsets.add(a - i)
        reached = {m for m in range(2 * U - 1) if (gradient[m] != 0).any()}
        assert reached == {offset + U - 1 for offset in offsets}
        if length == H and stride == 1:
            assert reached == set(range(h, 2 * U - 1 - h))
        assert gradient.shape == table.shape


def test_every_parameter_has_a_gradient_and_every_pixel_an_effect(randn, device):
    layer = HaloAttention2d(3, 8, 4, 1, 2, projection=True).double().to(device)
    x = randn(1, 3, 8, 7)
    layer(x).square().sum().backward()
    assert all((p.grad != 0).any() for p in layer.parameters())
    assert (x.grad != 0).all()


def test_a_wrong_number_stays_in_its_blocks(randn):
    q, k, v, *tables = make(randn, 8, 12, 6, 1, 2, 2)
    with torch.no_grad():
        k[0, 0, 0, 4] = math.nan  # in block (0, 1), and in the halo of (0, 0)
    y = halo_attention(q, k, v, *tables, 4, 1)
    broken = y.isnan().any(-1)[0, 0]
    assert broken[:4, :8].all()
    assert not broken[4:].any()
    assert not broken[:, 8:].any()


# Stride -------------------------------------------------------------------------------


@pytest.mark.parametrize("border", ["mask", "zero"])
@pytest.mark.parametrize(("H", "W", "stride"), [(8, 8, 2), (7, 5, 2), (9, 4, 4)])
def test_stride_leaves_queries_out_and_changes_no_other(
    randn, device, border, H, W, stride
):
    layer = HaloAttention2d(4, 8, 4, 1, 2, stride=stride, border=border)
    layer = layer.double().to(device)
    x = randn(2, 4, H, W)
    y = layer(x)
    layer.stride = 1
    torch.testing.assert_close(y, layer(x)[..., ::stride, ::stride])
    assert y.shape[2:] == (math.ceil(H / stride), math.ceil(W / stride))


# Precision, memory, transforms --------------------------------------------------------


@pytest.mark.parametrize("border", ["mask", "zero"])
def test_gradcheck(randn, border):
    inputs = make(randn, 3, 2, 4, 1, 2, 1)
    assert torch.autograd.gradcheck(
        lambda *t: halo_attention(*t, 2, 1, 1, border), inputs
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 300.0])
def test_half_precision(device, dtype, size):
    generator = torch.Generator().manual_seed(0)
    q, k, v = size * torch.randn(3, 1, 2, 9, 8, 4, generator=generator)
    tables = torch.randn(2, 11, 4, generator=generator)
    given = [x.to(device, dtype) for x in (q, k, v, *tables)]
    whole = halo_attention(*(x.float() for x in given), 4, 1)
    alone = halo_attention(*given, 4, 1)
    y, attention = halo_attention(*given, 4, 1, return_attention=True)
    assert alone.dtype == y.dtype == attention.dtype == dtype
    one_step = torch.finfo(dtype).eps
    torch.testing.assert_close(y, alone, rtol=one_step, atol=one_step * size)
    torch.testing.assert_close(
        alone.float(), whole, rtol=one_step, atol=one_step * size
    )
    total = attention.float().sum((-1, -2))
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=0.03)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precision_of_gradients(device, dtype):
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 2, 9, 8, 4)] * 3 + [(11, 4)] * 2
    exact = [torch.randn(s, generator=generator).to(dtype).double() for s in shapes]
    exact = [x.to(device).requires_grad_() for x in exact]
    rough = [x.detach().to(dtype).requires_grad_() for x in exact]
    for inputs in (exact, rough):
        halo_attention(*inputs, 4, 1).square().sum().backward()
    step = 8 * torch.finfo(dtype).eps
    for x, z in zip(rough, exact, strict=True):
        assert x.grad.dtype == dtype
        torch.testing.assert_close(
            x.grad.double(), z.grad, rtol=step, atol=step * z.grad.abs().max().item()
        )


@pytest.mark.parametrize("carrier", range(5))
def test_one_input_alone_gets_its_gradient(randn, carrier):
    inputs = make(randn, 5, 6, 4, 2, 3, 2)
    together = torch.autograd.grad(halo_attention(*inputs, 2, 1).sum(), inputs)
    alone = [t.detach() for t in inputs]
    alone[carrier].requires_grad_()
    halo_attention(*alone, 2, 1).sum().backward()
    torch.testing.assert_close(alone[carrier].grad, together[carrier])
    assert [t.grad is None for t in alone].count(False) == 1


def test_a_second_derivative_is_refused(randn):
    q, k, v, *tables = make(randn, 5, 5, 4, 1, 2, 2)
    y = halo_attention(q, k, v, *tables, 2, 1)
    (first,) = torch.autograd.grad(y.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="halo_attention_backward"):
        first.sum().backward()


def test_memory_is_a_fraction_of_the_textbook_form():
    """At 4x64x64x64 with blocks of 8 and a halo of 3, forward and backward."""
    shape = (4, 8, 64, 64, 8)
    inputs = [torch.randn(shape, requires_grad=True) for _ in range(3)]
    inputs += [torch.randn(27, 8, requires_grad=True) for _ in range(2)]

    def step(function, *extra):
        function(*inputs, 8, 3, *extra).sum().backward()
        for x in inputs:
            x.grad = None

    ours = peak_bytes(lambda: step(halo_attention))
    theirs = peak_bytes(lambda: step(textbook_form, "mask"))
    print(f"peak bytes: chunks {ours:,}, textbook {theirs:,}, {ours / theirs:.3f}")
    assert ours < theirs / 4


@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_multiply_adds(positions, stride):
    """The plain form does the same products; its backward pass need not repeat."""
    q, k, v = (torch.randn(2, 3, 10, 7, d, requires_grad=True) for d in (5, 5, 2))
    tables = [torch.randn(11, 5, requires_grad=True) for _ in range(2)]
    tables = tables if positions else (None, None)
    given = (q, k, v, *tables, 4, 1, stride, "zero")
    blocks, queries, U = 2 * 3 * 3 * 2, (4 // stride) ** 2, 6
    places = blocks * queries * 2 * U * 5 if positions else 0
    content, values = (blocks * queries * U**2 * d for d in (5, 2))
    forward = content + values + places
    assert count_macs(lambda: halo_attention(*given)) == forward
    plain = count_macs(lambda: halo_attention(*given, return_attention=True))
    assert plain == forward
    both = count_macs(lambda: halo_attention(*given).sum().backward())
    assert both == 4 * content + 3 * values + 4 * places


def test_a_block_beyond_the_map_costs_nothing():
    x = torch.randn(1, 1, 12, 12, 4)
    small = peak_bytes(lambda: halo_attention(x, x, x, None, None, 12, 0))
    large = peak_bytes(lambda: halo_attention(x, x, x, None, None, 5000, 3000))
    assert large < 2 * small


def test_large_blocks_are_cut_into_rows_of_queries():
    """Global attention over 64 x 64 pixels never holds its 16.8 million logits."""
    x = torch.randn(1, 1, 64, 64, 4, requires_grad=True)

    def step():
        halo_attention(x, x, x, None, None, 64, 0).sum().backward()
        x.grad = None

    assert peak_bytes(step) < 4 * 64**4 / 2


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("transform", ["jvp", "grad", "vmap"])
def test_transforms_find_the_plain_form(randn, transform):
    q, k, _, *tables = (x.detach() for x in make(randn, 5, 4, 4, 2, 3, 3))

    def ours(x):
        return halo_attention(x, k, 2 * x, *tables, 2, 1, 2)

    def plain(x):
        given = (x, k, 2 * x, *tables, 2, 1, 2)
        return halo_attention(*given, return_attention=True)[0]

    def run(function):
        if transform == "jvp":
            return torch.func.jvp(function, (q,), (k,))[1]
        if transform == "grad":
            return torch.func.grad(lambda x: function(x).square().sum())(q)
        return torch.func.vmap(function)(torch.stack([q, k]))

    expected = run(plain)
    assert expected.abs().max() > 0
    torch.testing.assert_close(run(ours), expected)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_tangent_of_a_cotangent_is_refused(randn):
    inputs = make(randn, 4, 4, 4, 1, 2, 2)
    y = halo_attention(*inputs, 2, 1)
    with forward_ad.dual_level():
        g = forward_ad.make_dual(torch.ones_like(y), torch.ones_like(y))
        with pytest.raises(NotImplementedError, match="forward mode over"):
            torch.autograd.grad(y, inputs[0], g)


@pytest.mark.compiled
@pytest.mark.parametrize("border", ["mask", "zero"])
def test_operator_keeps_its_promises(border):
    """Fake shapes, no aliases, no mutation, the autograd registration."""
    shapes = [(2, 3, 3, 4), (2, 5, 6, 4), (2, 5, 6, 2), (2, 6, 4), (2, 6, 4)]
    tensors = [torch.randn(s, requires_grad=True) for s in shapes]
    options = ([4, 4], [1, 1], border == "mask", 0.5)
    torch.library.opcheck(kernel.halo_attention, (*tensors, *options))


MODULES = [
    lambda: (HaloAttention2d(4, 8, 4, 1, 2, stride=2), torch.randn(2, 4, 9, 11)),
    lambda: (
        HaloAttention2d(4, 8, 4, 3, 2, 3, border="zero", projection=True),
        torch.randn(2, 4, 8, 8),
    ),
]


@pytest.mark.compiled
@pytest.mark.parametrize("make", MODULES)
def test_compile(make, device):
    module, x = make()
    module, x = module.to(device), x.to(device)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), module(x))
    expected = torch.autograd.grad(module(x).square().sum(), list(module.parameters()))
    found = torch.autograd.grad(compiled(x).square().sum(), list(module.parameters()))
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
@pytest.mark.parametrize("return_attention", [False, True])
def test_autocast_rounds_no_logit(device, dtype, return_attention):
    """It would reach into the operator: logits of size 50 in bfloat16 are noise."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 2, 9, 8, 16)] * 3 + [(11, 16)] * 2
    inputs = [4 * torch.randn(s, generator=generator).to(dtype) for s in shapes]
    inputs = [x.to(device).requires_grad_() for x in inputs]

    def run():
        y = halo_attention(*inputs, 4, 1, return_attention=return_attention)
        y = y[0] if return_attention else y
        return [y] if return_attention else [y, *torch.autograd.grad(y.sum(), inputs)]

    expected = run()
    with torch.autocast(device.type, torch.bfloat16):
        found = run()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", MODULES)
def test_copies(make):
    module, x = make()
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(other(x), module(x))
    torch.testing.assert_close(module(x, return_attention=True)[0], module(x))


def test_parameters():
    """q and k of one width, v of another, two tables shared by the heads."""
    layer = HaloAttention2d(16, 40, 8, 3, 4, dim_head=6)
    count = sum(p.numel() for p in layer.parameters())
    assert count == 16 * (24 + 24 + 40) + 2 * (2 * 14 - 1) * 6
    assert layer(torch.zeros(1, 16, 5, 9)).shape == (1, 40, 5, 9)
    assert "block_size=8, halo_size=3, num_heads=4, dim_head=6" in repr(layer)


@pytest.mark.bad_input
class TestBadInput:
    """Every refusal prints what came."""

    @pytest.mark.parametrize("function", [halo_attention, halo_attention_loop])
    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"block_size": 0}, ValueError, "block_size.*0"),
            ({"block_size": 2.0}, TypeError, r"block_size.*2\.0"),
            ({"halo_size": -1}, ValueError, "halo_size.*-1"),
            ({"halo_size": True}, TypeError, "halo_size.*True"),
            ({"halo_size": 1.5}, TypeError, r"halo_size.*1\.5"),
            ({"stride": 3}, ValueError, "block_size=2, stride=3"),
            ({"stride": 0}, ValueError, "stride.*0"),
            ({"border": "wrap"}, ValueError, "'wrap'"),
            ({"block_size": 3}, ValueError, r"\[9, 4\].*U = .* = 5, got \[7, 4\]"),
            ({"relative_width": None}, ValueError, "both"),
            ({"relative_height": torch.zeros(7, 3)}, ValueError, r"\[7, 4\].*\[7, 3\]"),
            ({"relative_height": torch.zeros(7)}, ValueError, r"2 axes.*\[7\]"),
            ({"k": torch.zeros(1, 2, 5, 4, 4)}, ValueError, r"\[1, 2, 5, 4, 4\]"),
            ({"v": torch.zeros(1, 2, 5, 4, 4)}, ValueError, r"\[1, 2, 5, 4, 4\]"),
            ({"q": torch.zeros(2, 4, 5, 4)}, ValueError, r"5 axes.*\[2, 4, 5, 4\]"),
            ({"v": torch.zeros(1, 2, 4, 0, 4)}, ValueError, "empty"),
            ({"v": torch.zeros(1, 2, 4, 5, 4).int()}, TypeError, "int32"),
            ({"v": torch.zeros(1, 2, 4, 5, 4).double()}, TypeError, "float64"),
            ({"relative_width": torch.zeros(7, 4).half()}, TypeError, "float16"),
        ],
    )
    def test_function(self, function, changes, error, message):
        x = torch.zeros(1, 2, 4, 5, 4)
        arguments = {
            "q": x,
            "k": x,
            "v": x,
            "relative_height": torch.zeros(7, 4),
            "relative_width": torch.zeros(7, 4),
            "block_size": 2,
            "halo_size": 1,
        }
        with pytest.raises(error, match=message):
            function(**(arguments | changes))

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ((8, 65), ValueError, "out_channels=65, num_heads=8"),
            ((8, 65, 8, 3, 8, 4), ValueError, "out_channels=65, num_heads=8"),
            ((8, 64, 8, 3, 8, 0), ValueError, "dim_head.*0"),
            ((8, 64, 8, 3, 8, 2.0), TypeError, r"dim_head.*2\.0"),
            ((8, 64, 8, -2), ValueError, "halo_size.*-2"),
            ((8, 64, 0), ValueError, "block_size.*0"),
            ((8, 64, 8, 3, 0), ValueError, "num_heads.*0"),
            ((8, 64, 8, 3, 8, None, 3), ValueError, "block_size=8, stride=3"),
            ((8, 64, 8, 3, 8, None, 1, "reflect"), ValueError, "'reflect'"),
            ((8.0, 64), TypeError, r"in_channels.*8\.0"),
        ],
    )
    def test_constructor(self, arguments, error, message):
        with pytest.raises(error, match=message):
            HaloAttention2d(*arguments)

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
            HaloAttention2d(4, 8, 2, 1, 2)(x)
