"""Proofs of squeeze-and-excitation, CBAM and BAM."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from visattn.mechanisms.convolution import conv2d_loop
from visattn.mechanisms.gates import (
    BAM,
    CBAM,
    ChannelGate,
    SpatialGate,
    SqueezeExcitation,
    bam_gate,
    bam_gate_loop,
    channel_gate,
    channel_gate_loop,
    spatial_gate,
    spatial_gate_loop,
    squeeze_excitation,
    squeeze_excitation_loop,
)

SIZES = [  # B, C, M, H, W
    (1, 1, 1, 1, 1),
    (2, 4, 2, 3, 5),
    (1, 6, 1, 7, 2),
    (3, 5, 3, 4, 4),
    (2, 3, 4, 1, 6),
]

BATCH_NORM = (
    "weight",
    "bias",
    "running_mean",
    "running_var",
    "num_batches_tracked",
)


def perceptron(randn, C, M, biases=True):
    weights = [randn(M, C), randn(M), randn(C, M), randn(C)]
    return weights if biases else [weights[0], None, weights[2], None]


def weights_of(*layers):
    return [p for layer in layers for p in layer.parameters()]


def given(*tensors):
    return [t for t in tensors if t is not None]


# --- function against loop ------------------------------------------------------


@pytest.mark.parametrize(("B", "C", "M", "H", "W"), SIZES)
@pytest.mark.parametrize("biases", [True, False])
def test_squeeze_excitation_equals_the_loop(randn, assert_equal, B, C, M, H, W, biases):
    x, weights = randn(B, C, H, W), perceptron(randn, C, M, biases)
    if biases:  # else one hidden channel may be dead, which is no fault
        weights[1].data += 1
    assert_equal(
        lambda: squeeze_excitation(x, *weights),
        lambda: squeeze_excitation_loop(x, *weights),
        given(x, *weights),
    )


def test_squeeze_excitation_returns_the_gates(randn):
    x, weights = randn(2, 4, 3, 5), perceptron(randn, 4, 2)
    y, gate = squeeze_excitation(x, *weights, return_attention=True)
    y_loop, gate_loop = squeeze_excitation_loop(x, *weights, return_attention=True)
    assert gate.shape == (2, 4, 1, 1)
    torch.testing.assert_close(gate, gate_loop)
    torch.testing.assert_close(y, y_loop)
    torch.testing.assert_close(y, x * gate)


@pytest.mark.parametrize(("B", "C", "M", "H", "W"), SIZES)
@pytest.mark.parametrize("biases", [True, False])
def test_channel_gate_equals_the_loop(randn, assert_equal, B, C, M, H, W, biases):
    x, weights = randn(B, C, H, W), perceptron(randn, C, M, biases)
    assert_equal(
        lambda: channel_gate(x, *weights),
        lambda: channel_gate_loop(x, *weights),
        given(x, *weights),
    )


@pytest.mark.parametrize(
    ("B", "C", "K", "H", "W"),
    [
        (1, 1, 1, 2, 1),
        (2, 3, 3, 4, 5),
        (1, 4, 5, 6, 3),
        (2, 2, 7, 3, 4),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_spatial_gate_equals_the_loop(randn, assert_equal, B, C, K, H, W, training):
    x, weight = randn(B, C, H, W), randn(1, 2, K, K)
    scale, shift = randn(1), randn(1)
    mean, variance = randn(1), randn(1).detach().exp().requires_grad_()
    statistics = () if training else (mean, variance)
    assert_equal(
        lambda: spatial_gate(x, weight, scale, shift, *statistics),
        lambda: spatial_gate_loop(x, weight, scale, shift, *statistics),
        [x, weight, scale, shift, *statistics],
        tolerance=1e-10,
    )


@pytest.mark.parametrize(("B", "C", "H", "W"), [(1, 1, 1, 1), (2, 3, 4, 5)])
@pytest.mark.parametrize("combine", ["multiply", "add"])
def test_bam_gate_equals_the_loop(randn, assert_equal, B, C, H, W, combine):
    channel, spatial = randn(B, C), randn(B, 1, H, W)
    assert_equal(
        lambda: bam_gate(channel, spatial, combine),
        lambda: bam_gate_loop(channel, spatial, combine),
        [channel, spatial],
    )


# --- golden tensors -------------------------------------------------------------


def assert_golden(g, module, names):
    """Output and all gradients of a module that has the golden weights."""
    wanted = module.state_dict()
    state = {}
    for ours, theirs in names.items():
        value = g.get(f"param/{theirs}", g.get(f"buffer/{theirs}"))
        state[ours] = value.reshape(wanted[ours].shape)
    module.load_state_dict(state)
    x = g["input/x"].requires_grad_()
    y = module(x)
    (y * g["upstream/g"]).sum().backward()
    torch.testing.assert_close(y, g["output/y"], rtol=0, atol=1e-9)
    torch.testing.assert_close(x.grad, g["grad_input/x"], rtol=0, atol=1e-9)
    for name, p in module.named_parameters():
        theirs = g[f"grad_param/{names[name]}"].reshape(p.shape)
        torch.testing.assert_close(p.grad, theirs, rtol=0, atol=1e-9)


def both(layers, kinds=("weight", "bias")):
    return {f"{a}.{k}": f"{b}.{k}" for a, b in layers.items() for k in kinds}


def test_squeeze_excitation_golden(golden):
    names = both({"reduce": "fc1", "expand": "fc2"})
    assert_golden(
        golden("se_cbam_bam/se_c32_r16"), SqueezeExcitation(32).double(), names
    )


def test_cbam_golden(golden):
    names = both(
        {"channel.reduce": "ChannelGate.mlp.1", "channel.expand": "ChannelGate.mlp.3"}
    )
    names |= {"spatial.conv.weight": "SpatialGate.spatial.conv.weight"}
    names |= both({"spatial.norm": "SpatialGate.spatial.bn"}, BATCH_NORM)
    module = CBAM(32).double().eval()
    assert_golden(golden("se_cbam_bam/cbam_c32_r16_eval"), module, names)


def test_bam_golden(golden):
    c, s = "channel_att.gate_c.gate_c", "spatial_att.gate_s.gate_s"
    linear = {"channel.0": f"{c}_fc_0", "channel.3": f"{c}_fc_final"}
    linear |= {"spatial.0": f"{s}_conv_reduce0", "spatial.9": f"{s}_conv_final"}
    linear |= {"spatial.3": f"{s}_conv_di_0", "spatial.6": f"{s}_conv_di_1"}
    norms = {"channel.1": f"{c}_bn_1", "spatial.1": f"{s}_bn_reduce0"}
    norms |= {"spatial.4": f"{s}_bn_di_0", "spatial.7": f"{s}_bn_di_1"}
    names = both(linear) | both(norms, BATCH_NORM)
    module = BAM(32).double().eval()
    assert_golden(golden("se_cbam_bam/bam_c32_r16_eval"), module, names)


# --- module against loops, in both modes ----------------------------------------


def test_squeeze_excitation_module_is_the_function(randn, device, assert_equal):
    module = SqueezeExcitation(8, 2).double().to(device)
    x = randn(2, 8, 3, 5)
    weights = [
        p for layer in (module.reduce, module.expand) for p in layer.parameters()
    ]
    assert_equal(
        [lambda: module(x), lambda: module(x, return_attention=True)[0]],
        lambda: squeeze_excitation_loop(x, *weights),
        [x, *weights],
    )


@pytest.mark.parametrize("training", [True, False])
def test_cbam_is_channels_then_pixels(randn, device, assert_equal, training):
    """The order of operations, on the loops: the spatial gate sees the gated map."""
    module = CBAM(4, 2, 3).double().to(device).train(training)
    module.spatial.norm.running_mean.fill_(0.3)
    module.spatial.norm.running_var.fill_(1.7)
    x = randn(2, 4, 5, 3)
    channel, spatial = module.channel, module.spatial
    mlp = weights_of(channel.reduce, channel.expand)
    norm = spatial.norm
    statistics = () if training else (norm.running_mean, norm.running_var)
    parts = (spatial.conv.weight, norm.weight, norm.bias)

    def loops(order="channel first"):
        if order == "channel first":
            weighed = x * channel_gate_loop(x, *mlp)
            return weighed * spatial_gate_loop(weighed, *parts, *statistics)
        weighed = x * spatial_gate_loop(x, *parts, *statistics)
        return weighed * channel_gate_loop(weighed, *mlp)

    frozen = copy.deepcopy(norm.state_dict())
    assert_equal(lambda: module(x), loops, [x, *mlp, *parts], tolerance=1e-10)
    norm.load_state_dict(frozen)
    assert not torch.allclose(module(x), loops("pixels first"))
    y, (gate_c, gate_s) = module(x, return_attention=True)
    assert gate_c.shape == (2, 4, 1, 1)
    assert gate_s.shape == (2, 1, 5, 3)
    torch.testing.assert_close(y, x * gate_c * gate_s)


def test_cbam_gate_modules_are_the_functions(randn, device):
    x = randn(2, 6, 4, 5)
    channel = ChannelGate(6, 3).double().to(device)
    spatial = SpatialGate(3).double().to(device)
    mlp = weights_of(channel.reduce, channel.expand)
    torch.testing.assert_close(channel(x), channel_gate(x, *mlp))
    parts = spatial.conv.weight, spatial.norm.weight, spatial.norm.bias
    torch.testing.assert_close(spatial(x), spatial_gate(x, *parts))


def test_the_maximum_comes_first(randn, device):
    """A kernel that reads plane 0 only sees the maximum; plane 1 the mean."""
    x = randn(1, 3, 2, 4)
    one = torch.ones(1, dtype=torch.float64, device=device)
    for plane, pooled in ((0, x.amax(1)), (1, x.mean(1))):
        weight = torch.zeros(1, 2, 1, 1, dtype=torch.float64, device=device)
        weight[0, plane] = 1
        gate = spatial_gate(x, weight, one, 0 * one, 0 * one, one, eps=0.0)
        torch.testing.assert_close(gate[:, 0], torch.sigmoid(pooled))


def test_cbam_running_statistics(randn, device):
    """Momentum 0.01, and the unbiased variance, as batch norm keeps them."""
    module = SpatialGate(3).double().to(device)
    x = randn(2, 4, 5, 3)
    module(x)
    pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
    u = F.conv2d(pooled, module.conv.weight, padding=1)
    torch.testing.assert_close(module.norm.running_mean, 0.01 * u.mean().reshape(1))
    torch.testing.assert_close(
        module.norm.running_var, 0.99 + 0.01 * u.var().reshape(1)
    )
    assert module.norm.eps == 1e-5


def bam_by_loops(module, x, training):
    """BAM from its layers: convolutions by the loop, batch norm by hand."""

    def norm(u, layer):
        axes = [a for a in range(u.ndim) if a != 1]
        shape = [1, -1] + [1] * (u.ndim - 2)
        mean, variance = layer.running_mean, layer.running_var
        if training:
            mean, variance = u.mean(axes), u.var(axes, unbiased=False)
        u = (u - mean.view(shape)) / (variance.view(shape) + layer.eps).sqrt()
        return layer.weight.view(shape) * u + layer.bias.view(shape)

    squeeze, norm_c, _, excite = module.channel
    z = x.sum((2, 3)) / (x.shape[2] * x.shape[3])
    hidden = norm(z @ squeeze.weight.mT + squeeze.bias, norm_c).relu()
    channel = hidden @ excite.weight.mT + excite.bias
    u = x
    for k in (0, 3, 6):
        conv, options = module.spatial[k], {"padding": 4, "dilation": 4} if k else {}
        u = norm(
            conv2d_loop(u, conv.weight, conv.bias, **options), module.spatial[k + 1]
        )
        u = u.relu()
    spatial = conv2d_loop(u, module.spatial[9].weight, module.spatial[9].bias)
    return x * bam_gate_loop(channel, spatial, module.combine)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("combine", ["multiply", "add"])
def test_bam_equals_the_loops(randn, device, assert_equal, training, combine):
    torch.manual_seed(0)
    module = BAM(4, 2, combine).double().to(device).train(training)
    x = randn(3, 4, 5, 6)
    assert_equal(
        lambda: module(x),
        lambda: bam_by_loops(module, x, training),
        [x, *module.parameters()],
        tolerance=1e-9,
    )


def test_bam_combinations_differ(randn, device):
    code = BAM(8, 2).double().to(device).eval()
    paper = BAM(8, 2, combine="add").double().to(device).eval()
    paper.load_state_dict(code.state_dict())
    x = randn(2, 8, 6, 5)
    assert not torch.allclose(code(x), paper(x))
    for module in (code, paper):
        y, factor = module(x, return_attention=True)
        assert factor.shape == x.shape
        assert (factor > 1).all()
        assert (factor < 2).all()
        torch.testing.assert_close(y, x * factor)


def test_bam_of_zero_logits():
    """Each half of the product can switch it off: sigmoid(0) leaves 1.5."""
    zero = torch.zeros(2, 3, dtype=torch.float64)
    spatial = torch.randn(2, 1, 4, 5, dtype=torch.float64)
    half = torch.full((2, 3, 4, 5), 1.5, dtype=torch.float64)
    torch.testing.assert_close(bam_gate(zero, spatial), half)
    expected = 1 + torch.sigmoid(spatial).expand(2, 3, 4, 5)
    torch.testing.assert_close(bam_gate(zero, spatial, "add"), expected)


# --- what a gate can and cannot see ---------------------------------------------


def test_channel_gates_do_not_see_where(randn, device):
    """A permutation of the pixels leaves the gates of channels as they are."""
    x = randn(2, 8, 4, 6)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1)).to(device)
    moved = x.flatten(2)[..., order].view(x.shape)
    for module in (SqueezeExcitation(8, 2), ChannelGate(8, 2)):
        module = module.double().to(device)

        def gate(x, module=module):
            is_se = isinstance(module, SqueezeExcitation)
            return module(x, return_attention=True)[1] if is_se else module(x)

        torch.testing.assert_close(gate(moved), gate(x))
    spatial = SpatialGate(3).double().to(device)
    assert not torch.allclose(spatial(moved).sort().values, spatial(x).sort().values)


@pytest.mark.parametrize("make", [lambda: SqueezeExcitation(4, 2), lambda: CBAM(4, 2)])
def test_gradcheck(randn, device, make):
    module = make().double().to(device).eval()
    assert torch.autograd.gradcheck(module, (randn(2, 4, 2, 3),))


def test_gradcheck_functions(randn):
    x, weights = randn(2, 3, 2, 3), perceptron(randn, 3, 2)
    assert torch.autograd.gradcheck(squeeze_excitation, (x, *weights))
    assert torch.autograd.gradcheck(channel_gate, (x, *weights))
    batch = partial(spatial_gate, x, mean=None, variance=None)
    assert torch.autograd.gradcheck(batch, (randn(1, 2, 3, 3), randn(1), randn(1)))


MODULES = [
    lambda: SqueezeExcitation(16),
    lambda: CBAM(16),
    lambda: BAM(16),
    lambda: BAM(16, combine="add"),
]


@pytest.mark.parametrize("make", MODULES)
def test_every_parameter_gets_a_gradient(make, device):
    torch.manual_seed(1)
    module = make().to(device)
    module(torch.randn(4, 16, 9, 7, device=device)).square().sum().backward()
    for name, p in module.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: SqueezeExcitation(64), 2 * 64 * 4 + 4 + 64),
        (lambda: CBAM(64), 2 * 64 * 4 + 4 + 64 + 2 * 49 + 2),
        (lambda: BAM(64), 2 * 64 * 4 + 68 + 8 + 64 * 4 + 4 + 2 * (148) + 24 + 5),
    ],
)
def test_parameters(make, count):
    with torch.device("meta"):
        module = make()
    assert sum(p.numel() for p in module.parameters()) == count


def test_print():
    assert "16, reduction=4" in repr(SqueezeExcitation(16, 4))
    assert "16, reduction=4, kernel_size=3" in repr(CBAM(16, 4, 3))
    assert "16, reduction=4, combine='add'" in repr(BAM(16, 4, "add"))


@pytest.mark.compiled
@pytest.mark.parametrize("make", MODULES)
def test_compile(make, device):
    torch.manual_seed(0)
    module, x = make().to(device).eval(), torch.randn(2, 16, 9, 11, device=device)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), module(x))
    expected = torch.autograd.grad(module(x).sum(), list(module.parameters()))
    found = torch.autograd.grad(compiled(x).sum(), list(module.parameters()))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.compiled
@pytest.mark.parametrize("make", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_export_with_any_size(make):
    module, x = make().eval(), torch.randn(2, 16, 9, 11)
    height, width = torch.export.Dim("height"), torch.export.Dim("width")
    exported = torch.export.export(
        module, (x,), dynamic_shapes={"x": {2: height, 3: width}}
    ).module()
    for size in ((9, 11), (14, 5), (8, 21)):
        x = torch.randn(2, 16, *size)
        torch.testing.assert_close(exported(x), module(x))


@pytest.mark.parametrize("make", MODULES)
def test_autocast(make, device):
    torch.manual_seed(0)
    module, x = make().to(device).eval(), torch.randn(2, 16, 9, 11, device=device)
    for given in (x, x.bfloat16()):  # as after another layer under autocast
        with torch.autocast(device.type, torch.bfloat16):
            y = module(given)
        torch.testing.assert_close(y.float(), module(x), rtol=0.05, atol=0.05)
        y.sum().backward()
        assert all(p.grad.isfinite().all() for p in module.parameters())


# --- refusals -------------------------------------------------------------------


@pytest.mark.bad_input
class TestBadInput:
    """Every refusal prints what came."""

    @pytest.mark.parametrize(
        "function",
        [
            squeeze_excitation,
            squeeze_excitation_loop,
            channel_gate,
            channel_gate_loop,
        ],
    )
    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"x": torch.zeros(4, 5, 5)}, ValueError, r"4 axes.*\[4, 5, 5\]"),
            ({"x": torch.zeros(1, 4, 0, 5)}, ValueError, r"empty.*\[1, 4, 0, 5\]"),
            ({"x": torch.zeros(1, 4, 5, 5).int()}, TypeError, "int32"),
            ({"x": torch.zeros(1, 3, 5, 5)}, ValueError, r"\[2, 3\].*\[2, 4\]"),
            ({"reduce": torch.zeros(2)}, ValueError, r"reduce.*\[M C\].*\[2\]"),
            ({"expand": torch.zeros(2, 4)}, ValueError, r"\[4, 2\].*\[2, 4\]"),
            ({"reduce_bias": torch.zeros(4)}, ValueError, r"reduce_bias.*\[4\]"),
            ({"expand_bias": torch.zeros(2)}, ValueError, r"expand_bias.*\[2\]"),
            ({"expand": torch.zeros(4, 2).double()}, TypeError, "float64"),
            ({"reduce": [[1.0]]}, TypeError, "list"),
        ],
    )
    def test_perceptrons(self, function, changes, error, message):
        arguments = {
            "x": torch.zeros(1, 4, 5, 5),
            "reduce": torch.zeros(2, 4),
            "reduce_bias": torch.zeros(2),
            "expand": torch.zeros(4, 2),
            "expand_bias": torch.zeros(4),
        }
        with pytest.raises(error, match=message):
            function(**(arguments | changes))

    @pytest.mark.parametrize("function", [spatial_gate, spatial_gate_loop])
    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"weight": torch.zeros(1, 2, 4, 4)}, ValueError, r"odd.*\[1, 2, 4, 4\]"),
            ({"weight": torch.zeros(1, 1, 3, 3)}, ValueError, r"\[1, 1, 3, 3\]"),
            ({"weight": torch.zeros(1, 2, 5, 3)}, ValueError, r"\[1, 2, 5, 3\]"),
            ({"scale": torch.ones(2)}, ValueError, r"scale.*\[2\]"),
            ({"mean": torch.zeros(1)}, ValueError, "both"),
            ({"shift": torch.zeros(1).double()}, TypeError, "float64"),
        ],
    )
    def test_spatial_gate(self, function, changes, error, message):
        arguments = {
            "x": torch.zeros(1, 4, 5, 5),
            "weight": torch.zeros(1, 2, 3, 3),
            "scale": torch.ones(1),
            "shift": torch.zeros(1),
        }
        with pytest.raises(error, match=message):
            function(**(arguments | changes))

    @pytest.mark.parametrize("function", [bam_gate, bam_gate_loop])
    def test_bam_gate(self, function):
        channel, spatial = torch.zeros(2, 3), torch.zeros(2, 1, 4, 5)
        with pytest.raises(ValueError, match="'mean'"):
            function(channel, spatial, "mean")
        with pytest.raises(ValueError, match=r"\[2, 3\] and \[2, 3, 4, 5\]"):
            function(channel, torch.zeros(2, 3, 4, 5))
        with pytest.raises(ValueError, match=r"\[1, 3\] and \[2, 1, 4, 5\]"):
            function(channel[:1], spatial)

    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (lambda: SqueezeExcitation(8), ValueError, "channels=8, reduction=16"),
            (lambda: SqueezeExcitation(8, 0), ValueError, "reduction.*0"),
            (lambda: SqueezeExcitation(8.0), TypeError, r"channels.*8\.0"),
            (lambda: CBAM(8), ValueError, "channels=8, reduction=16"),
            (lambda: CBAM(16, kernel_size=4), ValueError, "odd.*4"),
            (lambda: BAM(8), ValueError, "channels=8, reduction=16"),
            (lambda: BAM(16, combine="sum"), ValueError, "'sum'"),
        ],
    )
    def test_constructors(self, make, error, message):
        with pytest.raises(error, match=message):
            make()

    @pytest.mark.parametrize("make", MODULES)
    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (torch.zeros(16, 5, 5), ValueError, r"4 axes.*\[16, 5, 5\]"),
            (torch.zeros(1, 3, 5, 5), ValueError, r"channels=16.*\[1, 3, 5, 5\]"),
            (torch.zeros(1, 16, 0, 5), ValueError, r"empty.*\[1, 16, 0, 5\]"),
            (torch.zeros(1, 16, 5, 5).long(), TypeError, "int64"),
        ],
    )
    def test_forward(self, make, x, error, message):
        with pytest.raises(error, match=message):
            make()(x)

    def test_bam_trains_on_two_images(self):
        with pytest.raises(ValueError, match=r"two images.*\[1, 16, 5, 5\]"):
            BAM(16)(torch.zeros(1, 16, 5, 5))
        assert BAM(16).eval()(torch.zeros(1, 16, 5, 5)).shape == (1, 16, 5, 5)
