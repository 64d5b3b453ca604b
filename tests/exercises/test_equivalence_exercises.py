"""Oracles against the package, and the likely mistakes as a reader writes them."""

import math

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from visattn.exercises import check, find, names
from visattn.exercises.equivalence import (
    attention_cnn_parameters,
    attention_to_kernel,
    center_gradient,
    conv_to_attention,
    effective_pixels,
    head_centers,
    pixel_blocks,
    quadratic_attention,
    quadratic_maps,
    quadratic_vector_1d,
)
from visattn.mechanisms import convolution
from visattn.mechanisms.convolution import QuadraticAttention2d


@pytest.fixture
def normal():
    generator = torch.Generator().manual_seed(4)
    return lambda *shape: torch.randn(*shape, generator=generator).double()


def test_every_exercise_of_the_two_chapters_is_here():
    assert len(names("equivalence")) == 11


@pytest.mark.parametrize(
    "name", ["separable_attention", "quadratic_attention", "conv_to_attention"]
)
def test_the_function_of_the_package_passes(name):
    assert check(name, getattr(convolution, name))


# --- oracles --------------------------------------------------------------------


def replicating(C, D, kernel_size, dilation, bias=True):
    return nn.Conv2d(
        C,
        D,
        kernel_size,
        padding=dilation * (kernel_size // 2),
        dilation=dilation,
        bias=bias,
        padding_mode="replicate",
    ).double()


@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (3, 1), (3, 2), (5, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_hard_heads_are_the_convolution(normal, kernel_size, dilation, bias):
    conv = replicating(2, 3, kernel_size, dilation, bias)
    x = normal(2, 2, 5, 6)
    torch.testing.assert_close(conv_to_attention(conv)(x), conv(x))


def test_soft_heads_are_those_of_the_package(normal):
    conv = replicating(2, 3, 3, 2)
    x = normal(1, 2, 4, 5)
    ours, theirs = (
        conv_to_attention(conv, 0.4),
        convolution.conv_to_attention(conv, 0.4),
    )
    torch.testing.assert_close(ours(x), theirs(x))
    assert (ours(x) - conv(x)).abs().max() > 0.1


def test_the_kernel_of_the_heads_is_the_kernel():
    conv = replicating(2, 3, 5, 1)
    layer = convolution.conv_to_attention(conv)
    matrices = layer.value.weight.detach().reshape(3, 25, 2).transpose(0, 1)
    kernel = attention_to_kernel(layer.centers.round().long(), matrices, 5)
    torch.testing.assert_close(kernel, conv.weight.detach())
    assert torch.equal(layer.centers.long(), head_centers(5, 1))


def test_two_heads_on_one_place_are_the_sum_of_their_kernels(normal):
    x, matrices = normal(1, 2, 5, 4), normal(4, 3, 2)
    centers = torch.tensor([[0, 1], [-1, 0], [0, 1], [1, -1]])
    hard = torch.full((4,), 10.0).double()
    y = quadratic_attention(x, centers.double(), hard, matrices)
    weight = attention_to_kernel(centers, matrices, 3)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    torch.testing.assert_close(y, F.conv2d(padded, weight))


@pytest.mark.parametrize(("center", "alpha"), [(1.5, 0.7), (-2.0, 3.0)])
def test_the_vector_gives_the_squared_distance(center, alpha):
    d = torch.arange(-4, 5).double()
    score = torch.stack([d**2, d], dim=-1) @ quadratic_vector_1d(center, alpha)
    gap = score + alpha * (d - center) ** 2
    torch.testing.assert_close(gap, gap[:1].expand_as(gap))


def test_the_maps_are_those_of_the_package(normal):
    centers, spreads = normal(3, 2), normal(3)
    _, attention = convolution.quadratic_attention_loop(
        normal(1, 1, 3, 4), centers, spreads, normal(3, 1, 1), return_attention=True
    )
    torch.testing.assert_close(quadratic_maps(centers, spreads, 3, 4), attention[0])


@pytest.mark.parametrize(("i", "j"), [(0, 0), (2, 1)])
def test_the_gradient_is_autograd_s(normal, i, j):
    x, center, upstream = normal(2, 3, 4), normal(2).requires_grad_(), normal(2)
    alpha = 0.45
    y = quadratic_attention(
        x[None],
        center[None],
        torch.tensor([math.sqrt(2 * alpha)]).double(),
        torch.eye(2).double()[None],
    )
    (expected,) = torch.autograd.grad(y[0, :, i, j] @ upstream, center)
    found = center_gradient(x, center.detach(), alpha, i, j, upstream)
    torch.testing.assert_close(found, expected)


def test_counting_pixels():
    even = torch.full((2, 3, 4), 1 / 12)
    torch.testing.assert_close(effective_pixels(even), torch.full((2,), 12.0))
    hard = torch.zeros(3, 4)
    hard[1, 2] = 1
    assert effective_pixels(hard) == 1


def test_the_parameters_are_the_published_number():
    assert attention_cnn_parameters(400, 6, 9, 512, 3, 2, 10) == 12_086_844


def test_the_parameters_are_those_of_the_layers():
    hidden, wide = 12, 7
    block = [
        QuadraticAttention2d(hidden, hidden, 4),
        nn.Linear(hidden, hidden),
        nn.LayerNorm(hidden),
        nn.Linear(hidden, wide),
        nn.Linear(wide, hidden),
        nn.LayerNorm(hidden),
    ]
    network = nn.ModuleList(
        [nn.Linear(3 * 2 * 2, hidden), *block, nn.Linear(hidden, 5)]
    )
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == attention_cnn_parameters(hidden, 1, 4, wide, 3, 2, 5)


# --- the published shortcut -----------------------------------------------------


def shortcut(x, centers, spreads, matrices):
    """Blur kernels of 7 x 7, one grouped convolution, renormalised at the border."""
    C, place = x.shape[1], torch.arange(-3, 4).double()
    kernels = []
    for (d1, d2), spread in zip(centers, spreads, strict=True):
        squared = (place[:, None] - d2) ** 2 + (place - d1) ** 2  # d1 along the columns
        kernels.append((-(spread**2) / 2 * squared).exp())
    weight = torch.stack(kernels).repeat_interleave(C, dim=0)[:, None]  # [N*C, 1, 7, 7]
    y = F.conv2d(x, weight, padding=3, groups=C)
    y = y / F.conv2d(torch.ones_like(x), weight, padding=3, groups=C)
    return F.conv2d(y, rearrange(matrices, "n d c -> d (n c) 1 1"))


def test_the_published_shortcut_is_named():
    result = check("quadratic_attention", shortcut)
    assert result.variant == "published_blur_shortcut"


def test_a_grouped_convolution_in_one_order_passes():
    def repaired(x, centers, spreads, matrices):
        C, H, W = x.shape[1:]
        rows = torch.arange(1 - H, H).double()
        columns = torch.arange(1 - W, W).double()
        weights = []
        for (d1, d2), spread in zip(centers, spreads, strict=True):
            squared = (rows[:, None] - d1) ** 2 + (columns - d2) ** 2
            weights.append((-(spread**2) / 2 * squared).exp())
        weight = torch.stack(weights).repeat(C, 1, 1)[:, None]  # o % N
        padding = (H - 1, W - 1)
        y = F.conv2d(x, weight, padding=padding, groups=C)
        y = y / F.conv2d(torch.ones_like(x), weight, padding=padding, groups=C)
        return F.conv2d(y, rearrange(matrices, "n d c -> d (c n) 1 1"))

    assert check("quadratic_attention", repaired)


# --- conv_to_attention as a reader writes it ------------------------------------


def answer(
    conv,
    alpha=46.0,
    *,
    layer=QuadraticAttention2d,
    centers=lambda centers: centers,
    spread=lambda alpha: (2 * alpha) ** 0.5,
    weight=lambda weight: weight.permute(0, 2, 3, 1).flatten(1),
    with_bias=lambda conv: conv.bias is not None,
    copy_bias=True,
):
    K, dilation = conv.kernel_size[0], conv.dilation[0]
    layer = layer(conv.in_channels, conv.out_channels, K * K, bias=with_bias(conv))
    place = torch.cartesian_prod(torch.arange(K), torch.arange(K))
    with torch.no_grad():
        layer.centers.copy_(centers(dilation * (place - K // 2)))
        layer.spreads.fill_(spread(alpha))
        layer.value.weight.copy_(weight(conv.weight)[..., None, None])
        if copy_bias and conv.bias is not None:
            layer.value.bias.copy_(conv.bias)
    return layer


def graded(**mistake):
    return check(
        "conv_to_attention", lambda conv, alpha=46.0: answer(conv, alpha, **mistake)
    )


def test_a_right_layer_passes():
    assert graded()
    assert check(
        "conv_to_attention",
        lambda conv, alpha=46.0: answer(conv, alpha).to(conv.weight.dtype).eval(),
    )


def test_a_plain_function_passes():
    def as_function(conv, alpha=46.0):
        layer = answer(conv, alpha)
        return lambda x: layer(x)

    assert check("conv_to_attention", as_function)


@pytest.mark.parametrize(
    ("variant", "mistake"),
    [
        ("row_and_column_exchanged", {"centers": lambda c: c.flip(1)}),
        (
            "row_and_column_exchanged",
            {"weight": lambda w: w.permute(0, 3, 2, 1).flatten(1)},
        ),
        ("mirrored", {"centers": lambda c: -c}),
        (
            "mirrored",
            {"weight": lambda w: w.flip(2, 3).permute(0, 2, 3, 1).flatten(1)},
        ),
        ("not_centred", {"centers": lambda c: c - c[0]}),
        ("bias_forgotten", {"copy_bias": False}),
        ("bias_forgotten", {"copy_bias": False, "with_bias": lambda conv: True}),
        ("bias_forgotten", {"copy_bias": False, "with_bias": lambda conv: False}),
        ("bias_left_over", {"with_bias": lambda conv: True}),
        ("alpha_used_as_spread", {"spread": lambda alpha: alpha}),
        ("factor_two_forgotten", {"spread": math.sqrt}),
        ("spread_inverted", {"spread": lambda alpha: (2 * alpha) ** -0.5}),
        ("alpha_ignored", {"spread": lambda alpha: 92**0.5}),
        ("weights_channel_by_channel", {"weight": lambda w: w.flatten(1)}),
    ],
)
def test_a_likely_mistake_is_named(variant, mistake):
    assert graded(**mistake).variant == variant


@pytest.mark.parametrize(
    ("variant", "parameter"),
    [
        ("centres_not_set", "centers"),
        ("spreads_not_set", "spreads"),
        ("weights_not_set", "value.weight"),
        ("bias_forgotten", "value.bias"),
    ],
)
def test_a_forgotten_parameter_is_named(variant, parameter):
    def forgets(conv, alpha=46.0):
        sizes = conv.in_channels, conv.out_channels, conv.kernel_size[0] ** 2
        layer = QuadraticAttention2d(*sizes, bias=conv.bias is not None)
        state = answer(conv, alpha).state_dict()
        state.pop(parameter, None)
        layer.load_state_dict(state, strict=False)
        return layer

    assert check("conv_to_attention", forgets).variant == variant


def test_the_convolution_itself_is_no_answer():
    result = check("conv_to_attention", lambda conv, alpha=46.0: conv)
    assert result.variant == "alpha_ignored"


def test_dilation_forgotten_is_named():
    def forgets(conv, alpha=46.0):
        K = conv.kernel_size[0]
        layer = answer(conv, alpha)
        with torch.no_grad():
            layer.centers.copy_(head_centers(K, 1))
        return layer

    result = check("conv_to_attention", forgets)
    assert result.variant == "dilation_forgotten"
    assert "Conv2d(2, 2, kernel_size=(3, 3)" in dict(result.details)["smallest"]


# --- other likely answers -------------------------------------------------------


def test_blocks_with_einops_pass():
    pattern = "b c (i r) (j s) -> b ({}) i j"

    def blocks(order):
        return lambda x, block: rearrange(x, pattern.format(order), r=block, s=block)

    assert check("pixel_blocks", blocks("r s c"))
    assert check("pixel_blocks", blocks("c r s")).variant == "colour_first"
    assert check("pixel_blocks", blocks("s r c")).variant == "columns_first"
    unfolded = check(
        "pixel_blocks",
        lambda x, block: F.unfold(x, block, stride=block).unflatten(
            -1, (x.shape[2] // block, x.shape[3] // block)
        ),
    )
    assert unfolded.variant == "colour_first"
    assert pixel_blocks(torch.zeros(1, 3, 4, 6), 2).shape == (1, 12, 2, 3)


def test_a_small_constant_in_the_logarithm_passes():
    def guarded(attention):
        logarithm = attention.clamp_min(1e-30).log()
        return (-attention * logarithm).sum((-2, -1)).exp()

    assert check("effective_pixels", guarded)
    unguarded = check(
        "effective_pixels", lambda a: (-(a * a.log()).sum((-2, -1))).exp()
    )
    assert unguarded.variant == "zero_times_minus_infinity"


def test_a_gradient_by_autograd_passes():
    def by_autograd(x, center, alpha, i, j, upstream):
        center = center.clone().requires_grad_()
        spreads = torch.tensor([(2 * alpha) ** 0.5], dtype=x.dtype)
        y = convolution.quadratic_attention(
            x[None], center[None], spreads, torch.eye(len(x), dtype=x.dtype)[None]
        )
        return torch.autograd.grad(y[0, :, i, j] @ upstream, center)[0]

    assert check("center_gradient", by_autograd)


def test_two_softmaxes_are_the_softmax_of_a_quadratic_head():
    def by_lines(centers, spreads, height, width):
        lines = []
        for axis, size in enumerate((height, width)):
            place = torch.arange(size)
            offset = place - place[:, None] - centers[:, axis, None, None]
            alpha = spreads[:, None, None].square() / 2
            lines.append((-alpha * offset.square()).softmax(-1))
        return torch.einsum("nia,njb->nijab", *lines)

    assert check("quadratic_maps", by_lines)


def test_a_vector_may_be_float32():
    assert check(
        "quadratic_vector_1d", lambda c, alpha: torch.tensor([-alpha, 2 * alpha * c])
    )


def test_every_page_is_one_of_the_two_chapters():
    pages = {
        section.partition("#")[0]
        for name in names("equivalence")
        for section in [find(name).section, *(v.section for v in find(name).variants)]
    }
    assert pages == {"equivalence/theorem.html", "equivalence/heads.html"}
