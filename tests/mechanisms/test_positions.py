"""Proofs of the position encodings."""

import pytest
import torch

import visattn
from visattn import (
    LearnedPosition2d,
    coord_channels,
    quadratic_encoding,
    quadratic_encoding_loop,
    relative_logits_1d,
    relative_logits_1d_loop,
    relative_logits_2d,
    relative_logits_2d_loop,
    relative_offsets_2d,
    relative_scores,
    relative_scores_loop,
    relative_to_absolute,
    relative_to_absolute_loop,
    sinusoidal_1d,
    sinusoidal_1d_loop,
    sinusoidal_2d,
    sinusoidal_2d_loop,
)

F64 = torch.float64


@pytest.mark.parametrize(("T", "D"), [(1, 2), (7, 6), (50, 16)])
@pytest.mark.parametrize("base", [10000.0, 7.0])
def test_sinusoidal_1d(device, T, D, base):
    ours = sinusoidal_1d(T, D, base=base, device=device, dtype=F64)
    loop = sinusoidal_1d_loop(T, D, base=base, device=device, dtype=F64)
    torch.testing.assert_close(ours, loop, rtol=0, atol=1e-12)
    assert sinusoidal_1d(T, D).dtype == torch.float32


def test_sinusoidal_shift_is_a_rotation():
    """Moving by s turns each (sin, cos) pair by an angle that s alone decides."""
    table = sinusoidal_1d(40, 8, dtype=F64).reshape(40, 4, 2)
    angle = 3 / 10000.0 ** (2 * torch.arange(4, dtype=F64) / 8)
    turn = torch.stack(
        [
            torch.stack([angle.cos(), angle.sin()], -1),
            torch.stack([-angle.sin(), angle.cos()], -1),
        ],
        -2,
    )  # [4, 2, 2]
    moved = torch.einsum("pab,tpb->tpa", turn, table[:-3])
    torch.testing.assert_close(moved, table[3:])


@pytest.mark.parametrize(("H", "W", "D"), [(1, 1, 4), (3, 5, 8), (6, 4, 12)])
def test_sinusoidal_2d(device, H, W, D):
    ours = sinusoidal_2d(H, W, D, device=device, dtype=F64)
    loop = sinusoidal_2d_loop(H, W, D, device=device, dtype=F64)
    assert ours.shape == (D, H, W)
    torch.testing.assert_close(ours, loop, rtol=0, atol=1e-12)


def test_learned_position(randn, device):
    module = LearnedPosition2d(6, 5, 7).double().to(device)
    x = randn(2, 6, 4, 7)
    y = module(x)
    for i in range(4):
        for j in range(7):
            added = torch.cat([module.rows[i], module.columns[j]])
            torch.testing.assert_close(y[:, :, i, j], x[:, :, i, j] + added)
    y.sum().backward()
    assert (module.rows.grad[:4] != 0).all()
    assert (module.rows.grad[4] == 0).all()
    large = LearnedPosition2d(64, 60, 60)
    assert 0.019 < large.rows.std() < 0.021
    assert 0.019 < large.columns.std() < 0.021
    assert module(x.float()).dtype == torch.float32
    assert sum(p.numel() for p in module.parameters()) == (5 + 7) * 3
    assert "channels=6, height=5, width=7" in repr(module)


@pytest.mark.parametrize(("H", "W"), [(1, 1), (1, 4), (3, 5)])
def test_coord_channels(device, H, W):
    c = coord_channels(H, W, radius=True, device=device, dtype=F64)
    for i in range(H):
        for j in range(W):
            row = 2 * i / (H - 1) - 1 if H > 1 else 0.0
            column = 2 * j / (W - 1) - 1 if W > 1 else 0.0
            expected = torch.tensor([row, column, (row**2 + column**2) ** 0.5])
            torch.testing.assert_close(c[:, i, j].cpu(), expected.to(F64))
    torch.testing.assert_close(coord_channels(H, W, device=device, dtype=F64), c[:2])


@pytest.mark.parametrize("L", [1, 2, 5, 8])
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_relative_to_absolute(randn, assert_equal, L, lead):
    x = randn(*lead, L, 2 * L - 1)
    assert_equal(
        lambda: relative_to_absolute(x), lambda: relative_to_absolute_loop(x), [x]
    )
    index = torch.arange(L)[None, :] - torch.arange(L)[:, None] + L - 1
    index = index.to(x.device).expand(*lead, L, L)
    torch.testing.assert_close(relative_to_absolute(x), x.gather(-1, index))


@pytest.mark.parametrize(("L", "D", "lead"), [(1, 1, ()), (5, 3, (2,)), (4, 2, (2, 3))])
def test_relative_logits_1d(randn, assert_equal, L, D, lead):
    q, rel = randn(*lead, L, D), randn(2 * L - 1, D)
    assert_equal(
        lambda: relative_logits_1d(q, rel),
        lambda: relative_logits_1d_loop(q, rel),
        [q, rel],
    )


@pytest.mark.parametrize(
    ("B", "N", "H", "W", "D"),
    [(1, 1, 1, 1, 1), (2, 1, 3, 5, 2), (1, 3, 4, 2, 3), (1, 2, 1, 4, 2)],
)
def test_relative_logits_2d(randn, assert_equal, B, N, H, W, D):
    q = randn(B, N, H, W, D)
    rel_height, rel_width = randn(2 * H - 1, D), randn(2 * W - 1, D)
    assert_equal(
        lambda: relative_logits_2d(q, rel_height, rel_width),
        lambda: relative_logits_2d_loop(q, rel_height, rel_width),
        [q, rel_height, rel_width],
    )


def test_relative_logits_2d_golden(golden):
    g = golden("aa/relative_logits_H6_W4")
    q, rel_h, rel_w = g["q"], g["key_rel_h"], g["key_rel_w"]
    both = relative_logits_2d(q, rel_h, rel_w)
    height = relative_logits_2d(q, rel_h, torch.zeros_like(rel_w))
    width = relative_logits_2d(q, torch.zeros_like(rel_h), rel_w)
    expected = g["rel_logits_h"] + g["rel_logits_w"]
    torch.testing.assert_close(both, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(height, g["rel_logits_h"], rtol=0, atol=1e-9)
    torch.testing.assert_close(width, g["rel_logits_w"], rtol=0, atol=1e-9)


def test_relative_offsets():
    offsets = relative_offsets_2d(3, 4)
    for query in range(12):
        for key in range(12):
            expected = [key // 4 - query // 4, key % 4 - query % 4]
            assert offsets[query, key].tolist() == expected


@pytest.mark.parametrize(
    ("B", "N", "T", "S", "D"), [(1, 1, 1, 1, 1), (2, 3, 4, 5, 2), (1, 2, 5, 3, 4)]
)
def test_relative_scores(randn, assert_equal, B, N, T, S, D):
    q, k, r = randn(B, N, T, D), randn(B, N, S, D), randn(N, T, S, D)
    u, v = randn(N, D), randn(N, D)
    assert_equal(
        lambda: relative_scores(q, k, r, u, v),
        lambda: relative_scores_loop(q, k, r, u, v),
        [q, k, r, u, v],
    )
    scores, terms = relative_scores(q, k, r, u, v, return_terms=True)
    _, loop_terms = relative_scores_loop(q, k, r, u, v, return_terms=True)
    torch.testing.assert_close(sum(terms), scores)
    for ours, loop in zip(terms, loop_terms, strict=True):
        assert ours.shape == (B, N, T, S)
        assert 0 not in ours.stride()
        torch.testing.assert_close(ours, loop)


def test_relative_scores_expand_the_square(randn):
    """(q + u).k + (q + v).r is the same sum: how Transformer-XL computes it."""
    q, k, r = randn(2, 3, 4, 2), randn(2, 3, 5, 2), randn(3, 4, 5, 2)
    u, v = randn(3, 2), randn(3, 2)
    content = (q + u[:, None]) @ k.mT
    position = torch.einsum("bntd,ntsd->bnts", q + v[:, None], r)
    torch.testing.assert_close(relative_scores(q, k, r, u, v), content + position)


def test_quadratic_encoding(randn, assert_equal):
    offsets = randn(4, 3, 2)
    assert_equal(
        lambda: quadratic_encoding(offsets),
        lambda: quadratic_encoding_loop(offsets),
        [offsets],
    )
    whole = relative_offsets_2d(2, 3)
    torch.testing.assert_close(
        quadratic_encoding(whole), quadratic_encoding_loop(whole)
    )


def test_quadratic_encoding_completes_the_square(randn):
    offsets, centre, alpha = randn(9, 2), randn(2), 1.7
    v = -alpha * torch.cat([torch.ones_like(centre[:1]), -2 * centre])
    distance = (offsets - centre).square().sum(-1)
    expected = -alpha * (distance - centre.square().sum())
    torch.testing.assert_close(quadratic_encoding(offsets) @ v, expected)


def shifted_logits(logits, H, W):
    """Logits between the pixels that have a neighbour below and to the right."""
    six = logits.reshape(H, W, H, W)
    return six[1:, 1:, 1:, 1:], six[:-1, :-1, :-1, :-1]


def test_relative_is_translation_equivariant_and_absolute_is_not(randn):
    """Move query and key together: relative logits stay, absolute ones change."""
    H, W, D = 4, 5, 8
    constant = torch.ones(1, 1, H, W, D, dtype=F64)
    relative = relative_logits_2d(
        constant, randn(2 * H - 1, D).cpu(), randn(2 * W - 1, D).cpu()
    )
    torch.testing.assert_close(*shifted_logits(relative, H, W))

    offsets = quadratic_encoding(relative_offsets_2d(H, W).to(F64))
    torch.testing.assert_close(*shifted_logits(offsets[..., 0], H, W))

    learned = LearnedPosition2d(D, H, W).double().table(H, W).flatten(1).mT.detach()
    matrix = torch.randn(D, D, generator=torch.Generator().manual_seed(0), dtype=F64)
    for table in (
        learned,
        coord_channels(H, W, dtype=F64).flatten(1).mT,
        sinusoidal_2d(H, W, D, dtype=F64).flatten(1).mT,
    ):
        size = table.shape[1]
        logits = table @ matrix[:size, :size] @ table.mT
        assert not torch.allclose(*shifted_logits(logits, H, W))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("sinusoidal_1d", (5, 3), ValueError, "dim=3"),
        ("sinusoidal_1d", (0, 4), ValueError, "length.*0"),
        ("sinusoidal_1d", (5.0, 4), TypeError, "length.*5.0"),
        ("sinusoidal_1d_loop", (5, 3), ValueError, "dim=3"),
        ("sinusoidal_2d", (5, 3, 6), ValueError, "dim=6"),
        ("sinusoidal_2d_loop", (5, 3, 6), ValueError, "dim=6"),
        ("coord_channels", (3, 0), ValueError, "width.*0"),
        ("LearnedPosition2d", (5, 3, 3), ValueError, "channels=5"),
        ("LearnedPosition2d", (4, "3", 3), TypeError, "height.*'3'"),
        ("relative_offsets_2d", (0, 3), ValueError, "height.*0"),
        ("relative_to_absolute", (torch.zeros(3, 4),), ValueError, r"5.*\[3, 4\]"),
        ("relative_to_absolute_loop", (torch.zeros(3, 6),), ValueError, r"\[3, 6\]"),
        ("relative_to_absolute", (torch.zeros(3),), ValueError, r"\[3\]"),
        ("relative_to_absolute", (torch.zeros(3, 5).int(),), TypeError, "int32"),
        (
            "relative_logits_1d",
            (torch.zeros(2, 3, 4), torch.zeros(5, 3)),
            ValueError,
            r"\[5, 4\].*\[5, 3\]",
        ),
        (
            "relative_logits_2d",
            (torch.zeros(1, 1, 2, 3, 4), torch.zeros(5, 4), torch.zeros(3, 4)),
            ValueError,
            r"\[3, 4\].*\[5, 4\].*got \[5, 4\] and \[3, 4\]",
        ),
        (
            "relative_logits_2d_loop",
            (torch.zeros(1, 2, 3, 4), torch.zeros(3, 4), torch.zeros(5, 4)),
            ValueError,
            r"5 axes.*\[1, 2, 3, 4\]",
        ),
        (
            "relative_scores",
            (
                torch.zeros(1, 2, 3, 4),
                torch.zeros(1, 2, 5, 4),
                torch.zeros(2, 3, 3, 4),
                torch.zeros(2, 4),
                torch.zeros(2, 4),
            ),
            ValueError,
            r"r must be \[2, 3, 5, 4\].*\[2, 3, 3, 4\]",
        ),
        ("quadratic_encoding", (torch.zeros(4, 3),), ValueError, r"\[4, 3\]"),
        ("quadratic_encoding", (torch.ones(4, 2).bool(),), TypeError, "bool"),
        ("quadratic_encoding_loop", ([1, 2],), TypeError, "list"),
    ],
)
def test_bad_input(name, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(visattn, name)(*arguments)


@pytest.mark.bad_input
@pytest.mark.parametrize("base", [0, -1.0, float("inf"), 10**400, "10"])
def test_bad_base(base):
    error = TypeError if isinstance(base, str) else ValueError
    with pytest.raises(error, match="base"):
        sinusoidal_1d(3, 4, base=base)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["sinusoidal_1d", "sinusoidal_1d_loop"])
def test_a_table_of_integers_is_refused(name):
    with pytest.raises(TypeError, match=r"floating-point dtype, got torch\.int64"):
        getattr(visattn, name)(3, 4, dtype=torch.int64)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("sinusoidal_2d", (3, 4, 8)),
        ("sinusoidal_2d_loop", (3, 4, 8)),
        ("coord_channels", (3, 4)),
        ("shift_weights", (3, 4, 3)),
    ],
)
def test_a_map_of_integers_is_refused(name, sizes):
    with pytest.raises(TypeError, match=r"floating-point dtype, got torch\.int32"):
        getattr(visattn, name)(*sizes, dtype=torch.int32)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, 4, 4, 3), "up to 3 x 3, got 4 x 3"),
        (torch.zeros(1, 6, 3, 3), r"channels=4.*\[1, 6, 3, 3\]"),
        (torch.zeros(4, 3, 3), r"\[4, 3, 3\]"),
    ],
)
def test_bad_map_for_learned_position(x, message):
    with pytest.raises(ValueError, match=message):
        LearnedPosition2d(4, 3, 3)(x)
