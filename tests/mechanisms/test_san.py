"""Proofs of pairwise and patchwise attention."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visattn import convert
from visattn.kernels import aggregation as kernel
from visattn.kernels import patches
from visattn.lab import count_macs, peak_bytes
from visattn.mechanisms.san import (
    PAIRWISE,
    PATCHWISE,
    PairwiseAttention2d,
    PatchwiseAttention2d,
    aggregate,
    aggregate_loop,
    pairwise_attention,
    pairwise_attention_loop,
    pairwise_relation,
    pairwise_relation_loop,
    patchwise_attention,
    patchwise_attention_loop,
    patchwise_relation,
    patchwise_relation_loop,
    window_coordinates,
)

SIZES = [  # H, W, K, stride, dilation
    (1, 1, 1, 1, 1),
    (2, 3, 3, 1, 1),
    (5, 6, 3, 1, 1),
    (4, 7, 7, 1, 1),  # as small as a 7 x 7 window allows
    (8, 5, 5, 1, 1),
    (6, 5, 3, 2, 1),
    (7, 6, 3, 1, 2),
    (9, 7, 3, 3, 3),
    (5, 9, 5, 2, 2),
]
PADDINGS = ["reflect", "zeros"]
WIDTHS = {"concatenation": 6, "dot": 1}  # D of a pairwise relation with R = 3


def unfold(x, K, stride=1, dilation=1, padding_mode="reflect"):
    """All windows of a map, copied: [B, C, K*K, I, J]."""
    B, C, H, W = x.shape
    reach = dilation * (K // 2)
    mode = "reflect" if padding_mode == "reflect" else "constant"
    x = F.pad(x, (reach,) * 4, mode=mode)
    x = F.unfold(x, K, dilation=dilation, stride=stride)
    return x.view(B, C, K * K, -(-H // stride), -(-W // stride))


def unfold_aggregate(weights, values, *options):
    """Aggregation as textbooks write it."""
    repeats = values.shape[1] // weights.shape[1]
    windows = unfold(values, *options)
    return (weights.repeat(1, repeats, 1, 1, 1) * windows).sum(2)


def unfold_relation(
    phi, psi, relation, K, stride=1, dilation=1, padding_mode="reflect"
):
    """Every relation from copied windows; patchwise ones have no axis of places."""
    options = K, stride, dilation, padding_mode
    centre = phi[:, :, ::stride, ::stride].unsqueeze(2)
    phis, psis = unfold(phi, *options), unfold(psi, *options)
    if relation == "clique":
        return (phis.unsqueeze(3) * psis.unsqueeze(2)).sum(1).flatten(1, 2)
    return {
        "summation": lambda: centre + psis,
        "subtraction": lambda: centre - psis,
        "hadamard": lambda: centre * psis,
        "dot": lambda: (centre * psis).sum(1, keepdim=True),
        "concatenation": lambda: torch.cat([centre.expand_as(psis), psis], 1),
        "star": lambda: (centre * psis).sum(1),
        "patch": lambda: torch.cat([centre.squeeze(2), psis.flatten(1, 2)], 1),
    }[relation]()


def two_layers(randn, inputs, hidden, outputs):
    """The paper's gamma: linear, ReLU, linear; with its weights."""
    first, second = randn(hidden, inputs, 1, 1), randn(outputs, hidden, 1, 1)
    return lambda x: F.conv2d(F.relu(F.conv2d(x, first)), second), [first, second]


# Aggregation ------------------------------------------------------------------------


@pytest.mark.parametrize(("H", "W", "K", "stride", "dilation"), SIZES)
@pytest.mark.parametrize("padding", PADDINGS)
def test_aggregate_equals_the_loop(
    randn, assert_equal, H, W, K, stride, dilation, padding
):
    weights = randn(2, 2, K * K, -(-H // stride), -(-W // stride))
    values = randn(2, 4, H, W)
    options = K, stride, dilation, padding
    assert_equal(
        [
            lambda: aggregate(weights, values, *options),
            lambda: unfold_aggregate(weights, values, *options),
            lambda: kernel.plain_aggregate(
                weights, values, kernel.Windows(*options[:3], padding == "reflect")
            ),
        ],
        lambda: aggregate_loop(weights, values, *options),
        [weights, values],
    )


@pytest.mark.parametrize(
    ("H", "W", "K", "C", "G"), [(14, 14, 7, 12, 3), (17, 9, 5, 8, 8), (11, 12, 3, 8, 1)]
)
def test_aggregate_equals_unfold(randn, assert_equal, H, W, K, C, G):
    weights, values = randn(2, G, K * K, H, W), randn(2, C, H, W)
    assert_equal(
        lambda: aggregate(weights, values, K),
        lambda: unfold_aggregate(weights, values, K),
        [weights, values],
    )


@pytest.mark.parametrize("images_in_a_chunk", [0.4, 1, 2])
def test_chunks_do_not_change_the_result(
    randn, assert_equal, monkeypatch, images_in_a_chunk
):
    weights, values = randn(3, 4, 9, 5, 6), randn(3, 8, 5, 6)
    phi, psi = randn(3, 2, 5, 6), randn(3, 2, 5, 6)

    def both():
        sums = aggregate(weights, values, 3)
        return torch.cat([sums, pairwise_relation(phi, psi, 3, "hadamard").sum(2)], 1)

    def expected():
        sums = unfold_aggregate(weights, values, 3)
        return torch.cat([sums, unfold_relation(phi, psi, "hadamard", 3).sum(2)], 1)

    room = int(images_in_a_chunk * 8 * 5 * 6)
    monkeypatch.setattr(kernel, "_CHUNK", {"cpu": room, "cuda": room})
    assert_equal(both, expected, [weights, values, phi, psi])


def test_groups_are_interleaved(device):
    """Channel c takes the weights of group c % G, not of group c // (C / G)."""
    weights = torch.zeros(1, 3, 1, 2, 2, device=device)
    weights += torch.arange(3.0, device=device)[None, :, None, None, None]
    y = aggregate(weights, torch.ones(1, 6, 2, 2, device=device), 1)
    assert y[0, :, 0, 0].tolist() == [0, 1, 2, 0, 1, 2]


def test_the_border_is_mirrored(device):
    """The corner sees the pixel at (1, 1), and with zeros it sees nothing."""
    values = torch.arange(12.0, device=device).view(1, 1, 3, 4)
    weights = torch.zeros(1, 1, 9, 3, 4, device=device)
    weights[:, :, 0] = 1.0  # the place up and left
    mirrored = [[5, 4, 5, 6], [1, 0, 1, 2], [5, 4, 5, 6]]
    assert aggregate(weights, values, 3)[0, 0].tolist() == mirrored
    zeros = [[0, 0, 0, 0], [0, 0, 1, 2], [0, 4, 5, 6]]
    y = aggregate(weights, values, 3, padding_mode="zeros")
    assert y[0, 0].tolist() == zeros


@pytest.mark.parametrize("padding", PADDINGS)
def test_gradcheck(randn, padding):
    weights, values = randn(1, 2, 9, 2, 2), randn(1, 4, 3, 4)
    phi, psi = randn(1, 2, 3, 4), randn(1, 2, 3, 4)
    assert torch.autograd.gradcheck(
        lambda w, v: aggregate(w, v, 3, 2, 1, padding), (weights, values)
    )
    for relation in PAIRWISE:
        assert torch.autograd.gradcheck(
            partial(
                pairwise_relation,
                kernel_size=3,
                relation=relation,
                stride=2,
                padding_mode=padding,
            ),
            (phi, psi),
        )


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("relation", [None, *PAIRWISE, "star", "clique"])
def test_transforms_derivative(randn, relation):
    """Of a directional derivative, the plain form; a custom operator would give 0."""

    def function(a, b):
        if relation is None:
            return aggregate(a.expand(1, 2, 9, 4, 5), b, 3)
        if relation in PATCHWISE and relation != "concatenation":
            return patchwise_relation(a, b, 3, relation)
        return pairwise_relation(a, b, 3, relation)

    shape = (1, 2, 9, 4, 5) if relation is None else (1, 4, 4, 5)
    primals = randn(*shape).detach(), randn(1, 4, 4, 5).detach()
    tangents = randn(*shape).detach(), randn(1, 4, 4, 5).detach()
    tangent = torch.func.jvp(function, primals, tangents)[1]
    step = 1e-6
    moved = [
        function(*(x + s * step * t for x, t in zip(primals, tangents, strict=True)))
        for s in (1, -1)
    ]
    expected = (moved[0] - moved[1]) / (2 * step)
    torch.testing.assert_close(tangent, expected, rtol=1e-6, atol=1e-8)


def test_a_second_derivative_is_refused(randn):
    weights, values = randn(1, 2, 9, 4, 5), randn(1, 4, 4, 5)
    y = aggregate(weights, values, 3)
    (first,) = torch.autograd.grad(y.square().sum(), values, create_graph=True)
    with pytest.raises(RuntimeError, match="aggregate_backward"):
        first.sum().backward()
    delta = pairwise_relation(values, values, 3, "hadamard")
    (first,) = torch.autograd.grad(delta.square().sum(), values, create_graph=True)
    with pytest.raises(RuntimeError, match="relate_backward"):
        first.sum().backward()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("make", [PairwiseAttention2d, PatchwiseAttention2d])
def test_transforms_derivative_of_a_module(randn, device, make):
    layer = noisy(make(6, 3, 8, 3, 4), device)
    x, direction = randn(1, 6, 4, 5).detach(), randn(1, 6, 4, 5).detach()
    tangent = torch.func.jvp(layer, (x,), (direction,))[1]
    step = 1e-6
    expected = (layer(x + step * direction) - layer(x - step * direction)) / (2 * step)
    torch.testing.assert_close(tangent, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("carrier", range(2))
@pytest.mark.parametrize("relation", [None, "hadamard"])
def test_one_input_alone_gets_its_gradient(randn, carrier, relation):
    if relation is None:
        inputs, function = [randn(1, 2, 9, 4, 5), randn(1, 4, 4, 5)], aggregate
    else:
        inputs = [randn(1, 4, 4, 5), randn(1, 4, 4, 5)]
        function = partial(pairwise_relation, relation=relation)
    together = torch.autograd.grad(function(*inputs, kernel_size=3).sum(), inputs)
    alone = [t.detach() for t in inputs]
    alone[carrier].requires_grad_()
    function(*alone, kernel_size=3).sum().backward()
    torch.testing.assert_close(alone[carrier].grad, together[carrier])
    assert alone[1 - carrier].grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(device, dtype):
    """Sums of a window are taken in float32."""
    weights = torch.rand(1, 2, 49, 9, 8, device=device).to(dtype)
    values = torch.rand(1, 4, 9, 8, device=device).to(dtype)
    y = aggregate(weights, values, 7)
    assert y.dtype == dtype
    exact = aggregate(weights.double(), values.double(), 7)
    torch.testing.assert_close(y.double(), exact, rtol=torch.finfo(dtype).eps, atol=0)
    dots = pairwise_relation(values, values, 7, "dot")
    exact = pairwise_relation(values.double(), values.double(), 7, "dot")
    rtol = torch.finfo(dtype).eps
    torch.testing.assert_close(dots.double(), exact, rtol=rtol, atol=0)


def test_memory_is_a_fraction_of_the_unfold_form():
    """At 2x64x56x56 with a 7x7 window and groups of 8, forward and backward."""
    weights = torch.randn(2, 8, 49, 56, 56, requires_grad=True)
    values = torch.randn(2, 64, 56, 56, requires_grad=True)

    def step(function):
        function(weights, values, 7).sum().backward()
        weights.grad = values.grad = None

    ours = peak_bytes(lambda: step(aggregate))
    theirs = peak_bytes(lambda: step(unfold_aggregate))
    print(f"peak bytes: shifts {ours:,}, unfold {theirs:,}, {ours / theirs:.3f}")
    assert ours < theirs / 8


def test_multiply_adds_are_counted():
    weights, values = torch.zeros(2, 3, 9, 4, 5), torch.zeros(2, 6, 4, 5)
    products = 2 * 6 * 9 * 4 * 5
    assert count_macs(lambda: aggregate(weights, values, 3)) == products
    assert count_macs(lambda: pairwise_relation(values, values, 3, "dot")) == products
    assert count_macs(lambda: pairwise_relation(values, values, 3)) == 0
    weights.requires_grad_()
    assert count_macs(lambda: aggregate(weights, values, 3).sum().backward()) == (
        3 * products
    )


# Relations --------------------------------------------------------------------------


@pytest.mark.parametrize(("H", "W", "K", "stride", "dilation"), SIZES)
@pytest.mark.parametrize("relation", PAIRWISE)
@pytest.mark.parametrize("padding", PADDINGS)
def test_pairwise_relations_equal_their_loops(
    randn, assert_equal, H, W, K, stride, dilation, relation, padding
):
    phi, psi = randn(2, 3, H, W), randn(2, 3, H, W)
    options = K, relation, stride, dilation, padding
    windows = kernel.Windows(K, stride, dilation, padding == "reflect")
    centre = phi[:, :, ::stride, ::stride]
    assert_equal(
        [
            lambda: pairwise_relation(phi, psi, *options),
            lambda: unfold_relation(phi, psi, relation, K, *options[2:]),
            lambda: kernel.plain_relate(centre, psi, windows, relation),
        ],
        lambda: pairwise_relation_loop(phi, psi, *options),
        [phi, psi],
    )


@pytest.mark.parametrize(
    ("H", "W", "K", "stride", "dilation"), [s for s in SIZES if s[2] < 7]
)
@pytest.mark.parametrize("relation", PATCHWISE)
@pytest.mark.parametrize("padding", PADDINGS)
def test_patchwise_relations_equal_their_loops(
    randn, assert_equal, H, W, K, stride, dilation, relation, padding
):
    phi, psi = randn(1, 2, H, W), randn(1, 2, H, W)
    options = K, relation, stride, dilation, padding
    name = "patch" if relation == "concatenation" else relation
    # The star product at K = 1 uses psi at the centre only, but it uses it.
    assert_equal(
        [
            lambda: patchwise_relation(phi, psi, *options),
            lambda: unfold_relation(phi, psi, name, K, *options[2:]),
        ],
        lambda: patchwise_relation_loop(phi, psi, *options),
        [phi, psi],
    )


GOLDEN_RELATIONS = [
    (pairwise_relation, pairwise_relation_loop, "summation", "pair/summation"),
    (pairwise_relation, pairwise_relation_loop, "subtraction", "pair/subtraction"),
    (
        pairwise_relation,
        pairwise_relation_loop,
        "concatenation",
        "pair/concatenation_phi_then_psi",
    ),
    (pairwise_relation, pairwise_relation_loop, "hadamard", "pair/hadamard"),
    (pairwise_relation, pairwise_relation_loop, "dot", "pair/dot_product"),
    (patchwise_relation, patchwise_relation_loop, "star", "patch/star_product"),
    (patchwise_relation, patchwise_relation_loop, "clique", "patch/clique_product_j_k"),
    (
        patchwise_relation,
        patchwise_relation_loop,
        "concatenation",
        "patch/concatenation",
    ),
]


@pytest.mark.parametrize(("fast", "loop", "relation", "name"), GOLDEN_RELATIONS)
def test_golden_relations(golden, fast, loop, relation, name):
    g = golden("san/relations_own_reference_k3_reflect")
    for function in (fast, loop):
        delta = function(g["phi"], g["psi"], 3, relation)
        expected = g[name].reshape(delta.shape)
        torch.testing.assert_close(delta, expected, rtol=0, atol=1e-9)


def test_golden_coordinates(golden):
    expected = golden("san/relations_own_reference_k3_reflect")[
        "position_ch0_is_x_ch1_is_y"
    ]
    found = window_coordinates(5, 6, dtype=torch.float64)
    torch.testing.assert_close(found, expected[0], rtol=0, atol=1e-9)


# Attention --------------------------------------------------------------------------

ATTENTION_SIZES = [s for s in SIZES if s[0] * s[1] <= 42 and s[2] < 7]


@pytest.mark.parametrize(("H", "W", "K", "stride", "dilation"), ATTENTION_SIZES)
@pytest.mark.parametrize("relation", PAIRWISE)
@pytest.mark.parametrize("positions", [True, False])
def test_pairwise_attention_equals_the_loop(
    randn, assert_equal, H, W, K, stride, dilation, relation, positions
):
    phi, psi, beta = randn(2, 3, H, W), randn(2, 3, H, W), randn(2, 4, H, W)
    width = WIDTHS.get(relation, 3) + 2 * positions
    gamma, weights = two_layers(randn, width, 5, 2)
    options = {
        "position": randn(2, H, W) if positions else None,
        "stride": stride,
        "dilation": dilation,
    }
    inputs = [phi, psi, beta, *weights] + [options["position"]] * positions
    if K == 1:  # a softmax over one place is 1: only the values matter
        inputs = [beta]
    arguments = phi, psi, beta, gamma, K, relation
    assert_equal(
        lambda: pairwise_attention(*arguments, **options),
        lambda: pairwise_attention_loop(*arguments, **options),
        inputs,
    )


@pytest.mark.parametrize(("H", "W", "K", "stride", "dilation"), ATTENTION_SIZES)
@pytest.mark.parametrize("relation", PATCHWISE)
def test_patchwise_attention_equals_the_loop(
    randn, assert_equal, H, W, K, stride, dilation, relation
):
    if relation == "clique" and K > 3:
        pytest.skip("625 channels for the loop")
    phi, psi, beta = randn(2, 2, H, W), randn(2, 2, H, W), randn(2, 4, H, W)
    width = {"star": K * K, "clique": K**4}.get(relation, 2 * (K * K + 1))
    gamma, weights = two_layers(randn, width, 5, 2 * K * K)
    arguments = phi, psi, beta, gamma, K, relation
    options = {"stride": stride, "dilation": dilation}
    assert_equal(
        lambda: patchwise_attention(*arguments, **options),
        lambda: patchwise_attention_loop(*arguments, **options),
        [phi, psi, beta, *weights],
    )


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("kind", ["pairwise", "patchwise"])
def test_returned_attention_equals_the_loops(randn, kind, padding):
    phi, psi, beta = randn(1, 3, 4, 5), randn(1, 3, 4, 5), randn(1, 4, 4, 5)
    fast, loop, width, out = {
        "pairwise": (pairwise_attention, pairwise_attention_loop, 3, 2),
        "patchwise": (patchwise_attention, patchwise_attention_loop, 30, 18),
    }[kind]
    gamma, _ = two_layers(randn, width, 5, out)
    (y, ours), (y_loop, loops) = (
        f(phi, psi, beta, gamma, 3, padding_mode=padding, return_attention=True)
        for f in (fast, loop)
    )
    assert ours.shape == (1, 2, 4, 5, 3, 3)
    torch.testing.assert_close(ours, loops)
    torch.testing.assert_close(y, y_loop)
    summed = aggregate(
        ours.flatten(4).permute(0, 1, 4, 2, 3), beta, 3, padding_mode=padding
    )
    torch.testing.assert_close(summed, y)
    ones = torch.ones_like(ours[..., 0, 0])
    assert torch.allclose(ours.sum((-1, -2)), ones) is (kind == "pairwise")


def shuffled(x, order):
    return x.flatten(2)[:, :, order].view_as(x)


def test_pairwise_attention_is_a_set_operation(randn, device):
    """Neighbours of the centre may change places; with positions they may not."""
    phi, psi, beta = randn(1, 3, 3, 3), randn(1, 3, 3, 3), randn(1, 4, 3, 3)
    order = torch.tensor([8, 0, 1, 2, 4, 3, 5, 7, 6], device=device)
    for position, equal in ((None, True), (randn(2, 3, 3), False)):
        gamma, _ = two_layers(randn, 3 if position is None else 5, 8, 2)
        attend = partial(pairwise_attention, position=position)
        y = attend(phi, psi, beta, gamma, 3)[..., 1, 1]
        z = attend(phi, shuffled(psi, order), shuffled(beta, order), gamma, 3)
        assert torch.allclose(y, z[..., 1, 1]) is equal


@pytest.mark.parametrize("relation", PATCHWISE)
def test_patchwise_attention_is_not(randn, device, relation):
    phi, psi, beta = randn(1, 2, 3, 3), randn(1, 2, 3, 3), randn(1, 4, 3, 3)
    order = torch.tensor([8, 0, 1, 2, 4, 3, 5, 7, 6], device=device)
    width = {"star": 9, "clique": 81, "concatenation": 20}[relation]
    gamma, _ = two_layers(randn, width, 8, 18)
    y = patchwise_attention(phi, psi, beta, gamma, 3, relation)
    maps = (shuffled(x, order) for x in (phi, psi, beta))
    z = patchwise_attention(*maps, gamma, 3, relation)
    assert not torch.allclose(y[..., 1, 1], z[..., 1, 1])


def test_a_convolution_is_patchwise_attention(randn):
    """Constant weights, one group for each channel: a depthwise convolution."""
    x, filters = randn(2, 4, 6, 7), randn(4, 1, 3, 3)

    def gamma(delta):
        return filters.view(1, 36, 1, 1).expand(2, -1, 1, delta.shape[-1])

    y = patchwise_attention(x, x, x, gamma, 3)
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    torch.testing.assert_close(y, F.conv2d(padded, filters, groups=4))


def test_equal_logits_are_a_mean(randn):
    """A gamma that says nothing averages each window."""
    x = randn(1, 4, 5, 6)
    y = pairwise_attention(x, x, x, lambda d: 0 * d[:, :2], 3)
    mean = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 1)
    torch.testing.assert_close(y, mean)


# Modules ----------------------------------------------------------------------------


def official(g):
    return {n: v for n, v in g.items() if n.split("/")[0] in ("param", "buffer")}


@pytest.mark.parametrize("kind", ["pairwise", "patchwise"])
@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("return_attention", [False, True])
def test_golden(golden, kind, mode, return_attention):
    g = golden(f"san/sam_{kind}_k3_{mode}")
    make = PairwiseAttention2d if kind == "pairwise" else PatchwiseAttention2d
    module = make(16, 4, 8, 3, share=4).double()
    module.load_state_dict(convert(official(g), "san"))
    module.train(mode == "train")
    x = g["input/x"].requires_grad_()
    result = module(x, return_attention=return_attention)
    y = result[0] if return_attention else result
    torch.testing.assert_close(y, g["output/y"], rtol=0, atol=1e-9)

    grads = {n[5:]: v for n, v in g.items() if n.startswith("grad_")}
    expected = convert({n: v for n, v in grads.items() if n[0] == "p"}, "san")
    ours = dict(module.named_parameters())
    assert set(ours) == set(expected)
    found = torch.autograd.grad((y * g["upstream/g"]).sum(), [x, *ours.values()])
    theirs = [grads["input/x"], *(expected[n] for n in ours)]
    for gradient, their in zip(found, theirs, strict=True):
        torch.testing.assert_close(gradient, their, rtol=0, atol=1e-9)

    state = module.state_dict()
    after = {n.removeprefix("buffer_after/"): v for n, v in g.items() if "after" in n}
    assert (len(after) == 4) is (mode == "train")
    for name, value in after.items():
        name = name.replace("conv_w", "gamma")
        torch.testing.assert_close(state[name], value, rtol=0, atol=1e-9)
    if return_attention and "mid/attn_weights_N_Cs_kk_HW" in g:
        attention = result[1].flatten(4).flatten(2, 3).transpose(2, 3)
        expected = g["mid/attn_weights_N_Cs_kk_HW"]
        torch.testing.assert_close(attention, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("relation", PAIRWISE)
@pytest.mark.parametrize(
    ("H", "W", "K", "stride", "dilation"), [(6, 5, 3, 2, 1), (4, 5, 7, 1, 1)]
)
def test_pairwise_module_equals_the_loop(
    randn, assert_equal, relation, H, W, K, stride, dilation, device
):
    layer = PairwiseAttention2d(6, 3, 4, K, 2, stride, dilation, relation)
    layer = noisy(layer, device)
    x = randn(1, 6, H, W)

    def loop():
        place = window_coordinates(H, W, device=device, dtype=x.dtype)
        return pairwise_attention_loop(
            layer.phi(x),
            layer.psi(x),
            layer.beta(x),
            layer.gamma,
            K,
            relation,
            position=layer.position(place[None])[0],
            stride=stride,
            dilation=dilation,
        )

    assert_equal(lambda: layer(x), loop, [x, *layer.parameters()], 1e-10)


@pytest.mark.parametrize("relation", PATCHWISE)
@pytest.mark.parametrize(
    ("H", "W", "stride", "dilation"), [(6, 5, 2, 1), (5, 6, 1, 2), (4, 4, 1, 1)]
)
def test_patchwise_module_equals_the_loop(
    randn, assert_equal, relation, H, W, stride, dilation, device
):
    layer = PatchwiseAttention2d(6, 3, 4, 3, 2, stride, dilation, relation)
    layer = noisy(layer, device)
    x = randn(2, 6, H, W)

    def loop():
        maps = layer.phi(x), layer.psi(x), layer.beta(x)
        options = {"stride": stride, "dilation": dilation}
        return patchwise_attention_loop(*maps, layer.gamma, 3, relation, **options)

    assert_equal(lambda: layer(x), loop, [x, *layer.parameters()], 1e-10)


def noisy(layer, device, mode="eval"):
    """With parameters and statistics that no symmetry hides."""
    generator = torch.Generator().manual_seed(3)
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm2d):
            for x in (module.weight, module.bias, module.running_mean):
                x.data = torch.randn(x.shape, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return layer.double().to(device).train(mode == "train")


def unfold_module(layer, x):
    """The official order of operations, with every window copied."""
    K, kind = layer.kernel_size, layer.relation
    options = K, layer.stride, layer.dilation
    phi, psi, beta = layer.phi(x), layer.psi(x), layer.beta(x)
    if isinstance(layer, PairwiseAttention2d):
        place = window_coordinates(*x.shape[2:], device=x.device, dtype=x.dtype)[None]
        p = layer.position(place)
        offset = unfold_relation(p, p, "subtraction", *options)
        offset = offset.expand(x.shape[0], -1, -1, -1, -1)
        delta = torch.cat([unfold_relation(phi, psi, kind, *options), offset], 1)
        weights = (
            layer.gamma(delta.flatten(3))
            .softmax(2)
            .view(x.shape[0], -1, *delta.shape[2:])
        )
    else:
        kind = "patch" if kind == "concatenation" else kind
        delta = unfold_relation(phi, psi, kind, *options)
        weights = layer.gamma(delta.flatten(2).unsqueeze(2)).view(
            x.shape[0], -1, K * K, *delta.shape[2:]
        )
    return unfold_aggregate(weights, beta, *options)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(
    ("make", "relation"),
    [(PairwiseAttention2d, r) for r in PAIRWISE]
    + [(PatchwiseAttention2d, r) for r in PATCHWISE],
)
@pytest.mark.parametrize(
    ("H", "W", "K", "stride", "dilation"),
    [(9, 8, 3, 1, 1), (7, 10, 5, 2, 1), (9, 8, 3, 1, 2), (5, 7, 7, 1, 1)],
)
def test_modules_equal_the_unfold_form(
    randn, assert_equal, make, relation, mode, H, W, K, stride, dilation, device
):
    """In both modes, with all gradients and the running statistics."""
    if relation == "clique" and K > 3:
        pytest.skip("at least 625 channels")
    layers = [
        noisy(make(6, 3, 8, K, 4, stride, dilation, relation), device, mode)
        for _ in range(2)
    ]
    layers[1].load_state_dict(layers[0].state_dict())
    x = randn(2, 6, H, W)
    y, expected = layers[0](x), unfold_module(layers[1], x)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    g = torch.randn_like(y)
    found, theirs = (
        torch.autograd.grad((out * g).sum(), [x, *layer.parameters()])
        for out, layer in zip((y, expected), layers, strict=True)
    )
    for ours, their in zip(found, theirs, strict=True):
        torch.testing.assert_close(ours, their, rtol=1e-9, atol=1e-9)
    for ours, their in zip(layers[0].buffers(), layers[1].buffers(), strict=True):
        torch.testing.assert_close(ours, their)


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
def test_parameters(kernel_size):
    """Three projections, gamma, and for pairs the map of positions."""
    P, G, R, C, D = kernel_size**2, 4, 5, 32, 16

    def count(module):
        return sum(p.numel() for p in module.parameters())

    projections = 2 * R * (D + 1) + C * (D + 1)
    pairs = 2 * (R + 2) + (R + 2) * R + 2 * R + R * G + G + 6
    assert count(PairwiseAttention2d(D, R, C, kernel_size)) == projections + pairs
    width = R * (P + 1)
    patches = 2 * width + width * G + 2 * G + (G + 1) * G * P
    assert count(PatchwiseAttention2d(D, R, C, kernel_size)) == projections + patches


@pytest.mark.parametrize(
    ("make", "relation"),
    [(PairwiseAttention2d, r) for r in PAIRWISE]
    + [(PatchwiseAttention2d, r) for r in PATCHWISE],
)
def test_every_parameter_gets_a_gradient(randn, make, relation, device):
    """None is idle, but biases that cancel in a difference, a softmax or a norm."""
    layer = noisy(make(8, 4, 16, 3, relation=relation), device, "train")
    (layer(randn(2, 8, 6, 7)) * randn(2, 16, 6, 7)).sum().backward()
    idle = set()
    if make is PairwiseAttention2d:
        idle |= {"position.bias", "gamma.5.bias"}
    if relation in ("summation", "subtraction", "concatenation"):
        idle |= {"phi.bias", "psi.bias"}
    for name, parameter in layer.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad.abs().max().item() < 1e-9) is (name in idle), name


@pytest.mark.parametrize("relation", ["summation", "subtraction", "concatenation"])
def test_a_norm_takes_the_bias_away(randn, relation, device):
    """In training, phi's and psi's biases add to a relation what its norm removes."""
    layer = noisy(PairwiseAttention2d(6, 3, 8, 3, 4, 1, 1, relation), device, "train")
    x = randn(2, 6, 5, 6)
    before = layer(x)
    with torch.no_grad():
        layer.phi.bias += 3.0
        layer.psi.bias -= 2.0
    torch.testing.assert_close(layer(x), before)


@pytest.mark.parametrize("images_in_a_chunk", [0.4, 1, 2])
def test_patches_in_chunks(randn, assert_equal, monkeypatch, images_in_a_chunk):
    """A norm, a ReLU and a linear map, with no window copied."""
    values, weight = randn(3, 2, 5, 6), randn(4, 2, 9)
    scale, shift = randn(2, 9), randn(2, 9)
    options = 3, 2, 1, True

    def copied():
        windows = unfold(values, 3, 2)
        z = windows * scale[..., None, None] + shift[..., None, None]
        return torch.einsum("mrp,brpij->bmij", weight, z.relu())

    room = int(images_in_a_chunk * 4 * 5 * 6)
    monkeypatch.setattr(kernel, "_CHUNK", {"cpu": room, "cuda": room})
    assert_equal(
        lambda: patches.window_linear(values, scale, shift, weight, *options),
        copied,
        [values, scale, shift, weight],
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_moments_of_windows(randn, assert_equal, stride):
    values = randn(3, 2, 5, 6)

    def copied():
        windows = unfold(values, 3, stride)
        variance, mean = torch.var_mean(windows, (0, 3, 4), correction=0)
        return torch.stack([mean, variance])

    assert_equal(
        lambda: torch.stack(patches.window_moments(values, 3, stride, 1, True)),
        copied,
        [values],
    )


def watched(layer):
    """The same layer, in which the relation has to be made: a hook asks for it."""
    seen = []
    layer.gamma[0].register_forward_hook(lambda m, i, o: seen.append(i[0].shape))
    return seen


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_hook_sees_the_relation(randn, device, mode):
    """And the result is the one of the form that never makes it."""
    layers = [noisy(PatchwiseAttention2d(6, 3, 8, 3, 4), device, mode) for _ in "ab"]
    layers[1].load_state_dict(layers[0].state_dict())
    seen, x = watched(layers[1]), randn(2, 6, 5, 6)
    y, other = (layer(x, return_attention=True) for layer in layers)
    assert seen == [(2, 30, 1, 30)]
    torch.testing.assert_close(y, other)
    for ours, theirs in zip(layers[0].buffers(), layers[1].buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_other_norms_run(randn, device):
    """A gamma that was taken apart is not guessed at."""
    layer = noisy(PatchwiseAttention2d(6, 3, 8, 3, 4), device)
    x = randn(2, 6, 5, 6)
    layer.gamma[0] = nn.Identity()
    maps = layer.phi(x), layer.psi(x), layer.beta(x)
    torch.testing.assert_close(layer(x), patchwise_attention(*maps, layer.gamma, 3))
    layer.gamma[0] = nn.BatchNorm2d(30, momentum=None).double().to(device)
    layer.train()(x)
    mean = patchwise_relation(*maps[:2], 3).mean((0, 2, 3))
    torch.testing.assert_close(layer.gamma[0].running_mean, mean)


def test_patchwise_memory_is_a_fraction_of_the_unfold_form():
    """A training step at 2x64x28x28 with a 7x7 window."""
    torch.manual_seed(0)
    layer, x = PatchwiseAttention2d(64, 16, 64, 7), torch.randn(2, 64, 28, 28)

    def step(function):
        function().sum().backward()
        layer.zero_grad()

    ours = peak_bytes(lambda: step(lambda: layer(x)))
    theirs = peak_bytes(lambda: step(lambda: unfold_module(layer, x)))
    print(f"peak bytes: shifts {ours:,}, unfold {theirs:,}, {ours / theirs:.3f}")
    assert ours < theirs / 4


def test_a_constant_position_says_nothing(randn, device):
    """The bias of the map of positions cancels in every difference."""
    layer = noisy(PairwiseAttention2d(6, 3, 8, 3, 4), device)
    x = randn(1, 6, 5, 6)
    before = layer(x)
    with torch.no_grad():
        layer.position.bias += 3.0
    torch.testing.assert_close(layer(x), before)


def test_repr():
    text = repr(PairwiseAttention2d(16, 4, 32, 7, relation="dot"))
    assert "16, 4, 32, kernel_size=7, share=8, stride=1, dilation=1" in text
    assert "relation='dot'" in text


MODULES = [
    lambda: PairwiseAttention2d(8, 4, 16, 3),
    lambda: PairwiseAttention2d(8, 4, 16, 5, 4, 2, 1, "hadamard"),
    lambda: PairwiseAttention2d(8, 4, 16, 3, 4, 1, 2, "concatenation"),
    lambda: PatchwiseAttention2d(8, 4, 16, 3),
    lambda: PatchwiseAttention2d(8, 4, 16, 3, relation="star"),
    lambda: PatchwiseAttention2d(8, 4, 16, 3, relation="clique"),
]


@pytest.mark.compiled
@pytest.mark.parametrize("make", MODULES)
def test_compile(make, device):
    torch.manual_seed(0)
    module, x = make().to(device).eval(), torch.randn(2, 8, 9, 11, device=device)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), module(x))
    expected = torch.autograd.grad(module(x).sum(), list(module.parameters()))
    found = torch.autograd.grad(compiled(x).sum(), list(module.parameters()))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.compiled
@pytest.mark.parametrize("make", MODULES)
def test_compile_in_training(make, device):
    """The running statistics move as without compilation."""
    torch.manual_seed(0)
    plain, other = make().to(device), make().to(device)
    other.load_state_dict(plain.state_dict())
    x = torch.randn(2, 8, 9, 11, device=device)
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), plain(x))
    for ours, theirs in zip(other.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.compiled
@pytest.mark.parametrize("make", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_export(make):
    module, x = make().eval(), torch.randn(2, 8, 9, 11)
    exported = torch.export.export(module, (x,))
    torch.testing.assert_close(exported.module()(x), module(x))


@pytest.mark.parametrize("make", MODULES)
def test_autocast(make, device):
    torch.manual_seed(0)
    module, x = make().to(device).eval(), torch.randn(2, 8, 9, 11, device=device)
    with torch.autocast(device.type, torch.bfloat16):
        y, attention = module(x, return_attention=True)
    assert y.dtype == torch.bfloat16
    assert attention.isfinite().all()
    torch.testing.assert_close(y.float(), module(x), rtol=0.1, atol=0.1)
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_autocast_rounds_nothing_inside_the_operator(device):
    """The sum over places is in single precision, and so are its gradients."""
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 4, 9, 8), (4, 9), (4, 9), (6, 4, 9)
    inputs = [torch.randn(s, generator=generator).to(device) for s in shapes]
    for x in inputs:
        x.requires_grad_()

    def run():
        y = torch.ops.visattn.window_linear(*inputs, 3, 1, 1, True)
        return [y, *torch.autograd.grad(y.square().sum(), inputs)]

    expected = run()
    with torch.autocast(device.type, torch.bfloat16):
        found = run()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("padding", PADDINGS)
def test_the_operators_are_well_formed(padding):
    """Schema, shapes without data, and gradients under tracing, by PyTorch's check."""
    values = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 2, 9, 3, 3, dtype=torch.float64, requires_grad=True)
    options = 3, 2, 1, padding == "reflect"
    torch.library.opcheck(kernel.aggregate, (weights, values, *options))
    centre = values[:, :, ::2, ::2]
    for relation in kernel.RELATIONS:
        torch.library.opcheck(kernel.relate, (centre, values, *options, relation))
    torch.library.opcheck(patches.window_moments, (values, *options))
    scale, shift, weight = (
        torch.randn(*shape, 4, 9, dtype=torch.float64, requires_grad=True)
        for shape in ((), (), (3,))
    )
    arguments = values, scale, shift, weight, *options
    torch.library.opcheck(patches.window_linear, arguments)


@pytest.mark.bad_input
class TestBadInput:
    """Every refusal prints what came."""

    @pytest.mark.parametrize("function", [aggregate, aggregate_loop])
    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"kernel_size": 4}, ValueError, "odd.*got 4"),
            ({"kernel_size": 0}, ValueError, "kernel_size.*0"),
            ({"kernel_size": 3.0}, TypeError, r"kernel_size.*3\.0"),
            ({"stride": 0}, ValueError, "stride.*0"),
            ({"dilation": 0}, ValueError, "dilation.*0"),
            ({"dilation": 4}, ValueError, "pads 4 pixels.*at least 5; got 4 x 5"),
            ({"padding_mode": "wrap"}, ValueError, "'wrap'"),
            ({"stride": 2}, ValueError, r"\[1, 2, 9, 2, 3\].*\[1, 2, 9, 4, 5\]"),
            ({"kernel_size": 5}, ValueError, r"\[1, 2, 25, 4, 5\]"),
            ({"values": torch.zeros(1, 5, 4, 5)}, ValueError, "=5.*=2"),
            ({"values": torch.zeros(2, 6, 4, 5)}, ValueError, r"\[2, 2, 9, 4, 5\]"),
            ({"values": torch.zeros(6, 4, 5)}, ValueError, r"4 axes.*\[6, 4, 5\]"),
            ({"values": torch.zeros(1, 6, 1, 5)}, ValueError, "at least 2; got 1 x 5"),
            ({"values": torch.zeros(1, 6, 4, 5).int()}, TypeError, "int32"),
            ({"values": torch.zeros(1, 6, 4, 5).double()}, TypeError, "float64"),
            ({"weights": torch.zeros(1, 2, 9, 20)}, ValueError, "5 axes"),
        ],
    )
    def test_aggregate(self, function, changes, error, message):
        arguments = {
            "weights": torch.zeros(1, 2, 9, 4, 5),
            "values": torch.zeros(1, 6, 4, 5),
            "kernel_size": 3,
        }
        with pytest.raises(error, match=message):
            function(**(arguments | changes))

    @pytest.mark.parametrize(
        "function",
        [
            pairwise_relation,
            pairwise_relation_loop,
            patchwise_relation,
            patchwise_relation_loop,
        ],
    )
    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"kernel_size": 2}, ValueError, "odd.*got 2"),
            ({"kernel_size": 9}, ValueError, "kernel_size=9.*at least 5; got 4 x 5"),
            ({"relation": "cosine"}, ValueError, "'cosine'"),
            ({"psi": torch.zeros(1, 3, 4, 5)}, ValueError, r"\[1, 3, 4, 5\]"),
            ({"psi": torch.zeros(1, 2, 4, 5).double()}, TypeError, "float64"),
            ({"phi": [1.0]}, TypeError, "list"),
        ],
    )
    def test_relation(self, function, changes, error, message):
        x = torch.zeros(1, 2, 4, 5)
        arguments = {"phi": x, "psi": x, "kernel_size": 3}
        with pytest.raises(error, match=message):
            function(**(arguments | changes))

    @pytest.mark.parametrize(
        ("functions", "relation"),
        [
            ((pairwise_relation, pairwise_relation_loop), "star"),
            ((patchwise_relation, patchwise_relation_loop), "subtraction"),
        ],
    )
    def test_a_relation_of_the_other_kind(self, functions, relation):
        x = torch.zeros(1, 2, 4, 5)
        for function in functions:
            with pytest.raises(ValueError, match=relation):
                function(x, x, 3, relation)

    ATTENTIONS = (
        pairwise_attention,
        pairwise_attention_loop,
        patchwise_attention,
        patchwise_attention_loop,
    )

    @pytest.mark.parametrize("function", ATTENTIONS)
    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"beta": torch.zeros(1, 4, 5, 4)}, ValueError, r"\[1, 4, 5, 4\]"),
            ({"beta": torch.zeros(2, 4, 4, 5)}, ValueError, r"\[2, 4, 4, 5\]"),
            ({"beta": torch.zeros(1, 4, 4, 5).double()}, TypeError, "float64"),
            ({"gamma": lambda d: None}, TypeError, "NoneType"),
            ({"gamma": lambda d: d[:, :, 0]}, ValueError, "gamma must return"),
            ({"gamma": lambda d: d.repeat(2, 1, 1, 1)}, ValueError, r"got \[2, "),
        ],
    )
    def test_attention(self, function, changes, error, message):
        x = torch.zeros(1, 2, 4, 5)
        arguments = {
            "phi": x,
            "psi": x,
            "beta": torch.zeros(1, 4, 4, 5),
            "gamma": lambda d: d,
            "kernel_size": 3,
        }
        with pytest.raises(error, match=message):
            function(**(arguments | changes))

    def test_groups_of_gamma(self):
        x = torch.zeros(1, 3, 4, 5)
        beta = torch.zeros(1, 4, 4, 5)
        for function in self.ATTENTIONS[:2]:
            with pytest.raises(ValueError, match=r"=4.*=3"):
                function(x, x, beta, lambda d: d, 3)
        for function in self.ATTENTIONS[2:]:
            with pytest.raises(ValueError, match=r"=30.*K\*K=9"):
                function(x, x, beta, lambda d: d, 3)
            with pytest.raises(ValueError, match=r"=4.*=3"):
                function(x, x, beta, lambda d: d[:, :27], 3)

    @pytest.mark.parametrize("function", ATTENTIONS[:2])
    @pytest.mark.parametrize(
        ("position", "error", "message"),
        [
            (torch.zeros(2, 5, 4), ValueError, r"\[2, 5, 4\]"),
            (torch.zeros(1, 2, 4, 5), ValueError, "3 axes"),
            (torch.zeros(2, 4, 5).double(), TypeError, "float64"),
        ],
    )
    def test_position(self, function, position, error, message):
        x = torch.zeros(1, 2, 4, 5)
        with pytest.raises(error, match=message):
            function(x, x, x, lambda d: d, 3, position=position)

    @pytest.mark.parametrize("make", [PairwiseAttention2d, PatchwiseAttention2d])
    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ((8, 4, 12, 3), ValueError, "out_channels=12, share=8"),
            ((8, 4, 16, 4), ValueError, "odd.*4"),
            ((8, 0, 16, 3), ValueError, "relation_channels.*0"),
            ((8, 4, 16, 3, 0), ValueError, "share.*0"),
            ((8, 4, 16, 3, 8, 0), ValueError, "stride.*0"),
            ((8, 4, 16, 3, 8, 1, 1, "cosine"), ValueError, "'cosine'"),
            ((8.0, 4, 16, 3), TypeError, r"in_channels.*8\.0"),
        ],
    )
    def test_constructor(self, make, arguments, error, message):
        with pytest.raises(error, match=message):
            make(*arguments)

    @pytest.mark.parametrize("make", [PairwiseAttention2d, PatchwiseAttention2d])
    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (torch.zeros(8, 5, 5), ValueError, r"4 axes.*\[8, 5, 5\]"),
            (torch.zeros(1, 3, 5, 5), ValueError, r"in_channels=8.*\[1, 3, 5, 5\]"),
            (torch.zeros(1, 8, 0, 5), ValueError, r"empty.*\[1, 8, 0, 5\]"),
            (torch.zeros(1, 8, 3, 5), ValueError, "pads 3 pixels.*4; got 3 x 5"),
            (torch.zeros(1, 8, 5, 5).long(), TypeError, "int64"),
        ],
    )
    def test_forward(self, make, x, error, message):
        with pytest.raises(error, match=message):
            make(8, 4, 16, 7)(x)

    def test_coordinates(self):
        with pytest.raises(ValueError, match="height.*0"):  # noqa: RUF043
            window_coordinates(0, 3)


# The patchwise concatenation without its relation must be the layers of gamma ---------


def plain_layer(layer, x):
    """The layer through its relation."""
    parts = layer.phi(x), layer.psi(x), layer.beta(x)
    return patchwise_attention(*parts, layer.gamma, layer.kernel_size)


CHANGES = {
    "bias": lambda layer: layer.gamma.__setitem__(2, nn.Conv2d(30, 2, 1)),
    "groups": lambda layer: layer.gamma.__setitem__(
        2, nn.Conv2d(30, 2, 1, groups=2, bias=False)
    ),
    "hook": lambda layer: layer.gamma.register_forward_hook(lambda m, i, y: 2 * y),
    "forward": lambda layer: setattr(layer.gamma[1], "forward", torch.tanh),
    "short": lambda layer: setattr(
        layer, "gamma", nn.Sequential(nn.Conv2d(30, 18, 1), nn.Tanh())
    ),
    "function": lambda layer: setattr(layer, "gamma", nn.Conv2d(30, 18, 1)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_gamma_runs(change):
    torch.manual_seed(0)
    layer = PatchwiseAttention2d(5, 3, 8, 3, share=4).eval()
    x = torch.randn(2, 5, 6, 7)
    before = layer(x)
    change(layer)
    torch.testing.assert_close(layer(x), plain_layer(layer, x))
    assert not torch.allclose(layer(x), before)


def test_later_layers_see_the_shape_of_gamma():
    layer = PatchwiseAttention2d(5, 3, 8, 3, share=4).eval()
    seen = []
    layer.gamma[3].register_forward_hook(lambda m, inputs, y: seen.append(y.shape))
    x = torch.randn(2, 5, 6, 7)
    layer(x)
    plain_layer(layer, x)
    assert seen[0] == seen[1] == (2, 2, 1, 42)


def test_a_training_step_between_forward_and_backward():
    torch.manual_seed(0)
    layer = PatchwiseAttention2d(5, 3, 8, 3, share=4)
    x = torch.randn(2, 5, 6, 7, requires_grad=True)
    y = layer.eval()(x)
    z = layer.train()(x)
    (y.sum() + z.sum()).backward()
    assert x.grad.abs().max() > 0


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "function",
    [
        pairwise_attention,
        pairwise_attention_loop,
        patchwise_attention,
        patchwise_attention_loop,
    ],
)
def test_bad_arguments_of_attention(function):
    x = torch.zeros(1, 2, 4, 5)
    with pytest.raises(TypeError, match="phi"):
        function(None, x, x, lambda z: z, 3)
    with pytest.raises(ValueError, match="0 channels"):
        function(x, x, x, lambda z: z[:, :0], 3)
