"""The comparison's verdicts are test results, and a wrong module changes them."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visattn import (
    AAConv2d,
    AxialAttention2d,
    CoordinateAttention,
    CrissCrossAttention2d,
    HaloAttention2d,
    LearnedPosition2d,
    LocalAttention2d,
    MultiHeadSelfAttention,
    NonLocal2d,
    PatchwiseAttention2d,
    SqueezeExcitation,
)
from visattn.lab import (
    awaken,
    build_layer,
    content_error,
    inspect_layer,
    list_layers,
    measure_bytes,
    permutation_error,
    receptive_field,
    translation_error,
    transposed,
    transposition_error,
)

C, SIZE = 32, (32, 40)

# permutation, translation, transposition, content, any size, pixels seen
EXPECTED = {
    "convolution": (False, "inside", True, False, True, 49),
    "multi_head": (True, "everywhere", True, True, True, 1280),
    "quadratic": (False, "inside", True, False, True, None),
    "augmented": (False, "no", True, True, False, 1280),
    "local": (False, "inside", True, True, True, 49),
    "halo": (False, "by blocks", True, True, True, 14 * 14),
    "pairwise": (False, "inside", True, True, True, 49),
    "patchwise": (False, "inside", True, True, True, 49),
    "squeeze_excitation": (True, "everywhere", True, True, True, 1280),
    "cbam": (False, "inside", True, True, True, 1280),
    "bam": (False, "inside", True, True, True, 1280),
    "coordinate": (False, "everywhere", True, True, True, 32 + 40 - 1),
    "non_local": (True, "everywhere", True, True, True, 1280),
    "criss_cross": (False, "everywhere", True, True, True, 1280),
    "axial": (False, "everywhere", True, True, True, 1280),
    "position_sensitive": (False, "no", True, True, False, 1280),
    # Columns come first, whatever the parameters are.
    "channelized": (False, "everywhere", False, True, True, 1280),
}


@pytest.fixture
def x():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(1, C, *SIZE, generator=generator, dtype=torch.float64)


def made(layer):
    """Ready for a test: float64, evaluation mode, nothing constant."""
    return awaken(layer.double().eval())


def test_all_are_compared():
    assert list(EXPECTED) == list_layers()


@pytest.mark.parametrize("name", EXPECTED)
def test_verdicts(name):
    torch.manual_seed(0)
    layer = build_layer(name, channels=C, height=SIZE[0], width=SIZE[1])
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    report = inspect_layer(layer, C, SIZE)
    verdict = (
        report.respects_permutation,
        report.respects_translation,
        report.respects_transposition,
        report.sees_content,
        report.any_size,
    )
    assert verdict == EXPECTED[name][:5]
    assert report.seen == (EXPECTED[name][5] or report.seen)
    # No verdict hangs on the tolerance: the errors are far from it on either side.
    errors = {
        report.permutation,
        report.translation,
        report.interior,
        report.block_translation,
        report.transposition,
        report.content,
    }
    assert not [error for error in errors if 1e-8 < error < 1e-4]
    assert report.parameters == sum(p.numel() for p in layer.parameters())
    after = layer.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_costs_are_those_of_the_layer():
    report = inspect_layer(nn.Conv2d(C, C, 3, padding=1), C, (32, 36))
    assert report.parameters == 9 * C * C + C
    assert report.macs == 9 * C * C * 32 * 36
    numbers = {"B": 2, "C": C, "H": 32, "W": 36, "K": 3}
    for training in (False, True):
        expected = measure_bytes("convolution", training=training, **numbers)
        found = report.training_bytes if training else report.forward_bytes
        assert found == pytest.approx(expected, rel=0.01)


# Wrong modules ------------------------------------------------------------------------


def test_positions_end_permutation(x):
    layer = made(MultiHeadSelfAttention(C, 4))
    position = made(LearnedPosition2d(C, *SIZE))
    assert permutation_error(layer, x) < 1e-12
    assert translation_error(layer, x) < 1e-12
    for error in (permutation_error, translation_error):
        assert error(lambda u: layer(position(u)), x) > 0.01


def test_a_softmax_over_queries_keeps_permutation_but_shows_in_a_residue(x):
    """Symmetry alone does not prove a formula: this mistake is symmetric too."""
    layer = made(MultiHeadSelfAttention(C, 1))

    def wrong(u):
        tokens = u.flatten(2).mT
        q, k, v = layer.query(tokens), layer.key(tokens), layer.value(tokens)
        weights = (q @ k.mT / C**0.5).softmax(dim=1)  # over queries
        return layer.out(weights @ v).mT.unflatten(2, u.shape[2:])

    assert permutation_error(wrong, x) < 1e-12
    assert (wrong(x) - layer(x)).abs().max() > 0.01


def test_zeros_around_the_map_end_the_torus(x):
    zeros = made(nn.Conv2d(C, C, 3, padding=1))
    circle = made(nn.Conv2d(C, C, 3, padding=1, padding_mode="circular"))
    circle.load_state_dict(zeros.state_dict())
    assert translation_error(zeros, x) > 0.01
    assert translation_error(zeros, x, margin=1) < 1e-12
    assert translation_error(circle, x) < 1e-12


def test_the_margin_must_hold_the_window(x):
    layer = made(nn.Conv2d(C, C, 7, padding=3))
    assert translation_error(layer, x, margin=2) > 0.01
    assert translation_error(layer, x, margin=3) < 1e-12


@pytest.mark.parametrize(("block", "step"), [(4, 4), (8, 8), (4, 8)])
def test_blocks_move_by_blocks(x, block, step):
    layer = made(HaloAttention2d(C, C, block, 1, 4))
    assert translation_error(layer, x, step, margin=10) < 1e-12
    assert translation_error(layer, x, step - 1, margin=10) > 0.01


def test_blocks_of_one_pixel_move_by_one(x):
    layer = made(HaloAttention2d(C, C, 1, 2, 4))
    assert translation_error(layer, x, 1, margin=4) < 1e-12


def test_a_table_that_is_read_wrongly_ends_transposition(x):
    layer = made(LocalAttention2d(C, C, 5, 4))
    partner = transposed(layer)
    assert transposition_error(layer, x, partner) < 1e-12
    assert transposition_error(layer, x, layer) > 0.01  # tables not swapped
    mirrored = copy.deepcopy(layer)
    mirrored.relative_rows.data = layer.relative_rows.data.flip(0)
    assert transposition_error(mirrored, x, partner) > 0.01


class _Squared(CoordinateAttention):
    """Rows count twice: not the same for both axes."""

    def forward(self, x):
        y, (rows, _) = super().forward(x, return_attention=True)
        return y * rows


def test_axes_that_differ_end_transposition(x):
    right, wrong = made(CoordinateAttention(C)), made(_Squared(C))
    assert transposition_error(right, x, transposed(right)) < 1e-12
    assert transposition_error(wrong, x, transposed(wrong)) > 0.001


def test_order_of_the_axes(x):
    layer = made(nn.Sequential(*(AxialAttention2d(C, C, 4, a) for a in AXES)))
    partner = transposed(layer)
    assert [part.axis for part in partner] == ["width", "height"]
    assert transposition_error(layer, x, partner) < 1e-12
    swapped = nn.Sequential(partner[1], partner[0])
    assert transposition_error(layer, x, swapped) > 0.01


AXES = ("height", "width")


def test_places_of_a_patch_are_transposed(x):
    layer = made(PatchwiseAttention2d(C, 8, C, 3))
    assert transposition_error(layer, x, transposed(layer)) < 1e-12
    assert transposition_error(layer, x, layer) > 0.01


def test_content(x):
    layer = made(MultiHeadSelfAttention(C, 2))
    _, attention = layer(x, return_attention=True)
    maps = attention.flatten(4).flatten(2, 3)  # those of one image, for all others

    def frozen(u):
        v = layer.value(u.flatten(2).mT).unflatten(2, (2, -1)).transpose(1, 2)
        y = (maps @ v).transpose(1, 2).flatten(2)
        return layer.out(y).mT.unflatten(2, u.shape[2:])

    torch.testing.assert_close(frozen(x), layer(x))
    assert content_error(layer, x) > 0.01
    assert content_error(frozen, x) < 1e-12
    conv = made(nn.Conv2d(C, C, 3, padding=1))
    assert content_error(conv, x) < 1e-12
    assert content_error(lambda u: F.relu(conv(u)), x) > 0.01


def test_a_block_that_starts_at_zero_proves_nothing(x):
    layer = NonLocal2d(C).double().eval()
    torch.testing.assert_close(layer(x), x)  # so it respects everything
    assert content_error(layer, x) < 1e-12
    assert content_error(awaken(layer), 10 * x) > 1e-4


def test_any_size():
    fixed = AAConv2d(C, C, 3, 16, 16, 4, SIZE)
    free = AAConv2d(C, C, 3, 16, 16, 4, SIZE, relative=False)
    assert not inspect_layer(fixed, C, SIZE).any_size
    assert inspect_layer(free, C, SIZE).any_size


# Receptive fields ---------------------------------------------------------------------


def test_receptive_fields(x):
    def window(top, left, tall, wide):
        expected = torch.zeros(SIZE, dtype=torch.bool)
        expected[top : top + tall, left : left + wide] = True
        return expected

    query = (13, 21)
    conv = made(nn.Conv2d(C, C, 3, padding=1))
    twice = nn.Sequential(conv, conv)
    assert torch.equal(receptive_field(conv, x, query), window(12, 20, 3, 3))
    assert torch.equal(receptive_field(twice, x, query), window(11, 19, 5, 5))
    halo = made(HaloAttention2d(C, C, 8, 2, 4))
    assert torch.equal(receptive_field(halo, x, query), window(6, 14, 12, 12))
    cross = window(13, 0, 1, 40) | window(0, 21, 32, 1)
    once = made(CrissCrossAttention2d(C, recurrence=1))
    assert torch.equal(receptive_field(once, x, query), cross)
    coordinate = made(CoordinateAttention(C))
    assert torch.equal(receptive_field(coordinate, x, query), cross)
    assert receptive_field(made(SqueezeExcitation(C)), x, query).all()


@pytest.mark.bad_input
def test_bad_input(x):
    with pytest.raises(ValueError, match="one of convolution"):
        build_layer("attention")
    with pytest.raises(ValueError, match="channels"):
        build_layer("local", channels=12)
    with pytest.raises(ValueError, match="leaves no pixel"):
        translation_error(nn.Identity(), x, margin=20)
    with pytest.raises(TypeError):
        inspect_layer(nn.Identity(), 2.0)
