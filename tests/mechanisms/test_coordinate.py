"""Proofs of coordinate attention."""

import pytest
import torch
import torch.nn.functional as F

from visattn.kernels import gate as kernel
from visattn.lab import peak_bytes
from visattn.mechanisms.coordinate import (
    CoordinateAttention,
    coordinate_attention,
    coordinate_attention_loop,
    coordinate_pool,
    coordinate_pool_loop,
)

SIZES = [  # B, C, M, H, W
    (1, 1, 1, 1, 2),
    (2, 3, 2, 4, 5),
    (1, 4, 8, 7, 2),
    (3, 2, 3, 1, 6),
    (2, 5, 2, 6, 1),
]

GOLDEN_NAMES = {
    "reduce.weight": "conv1.weight",
    "reduce.bias": "conv1.bias",
    "norm.weight": "bn1.weight",
    "norm.bias": "bn1.bias",
    "norm.running_mean": "bn1.running_mean",
    "norm.running_var": "bn1.running_var",
    "norm.num_batches_tracked": "bn1.num_batches_tracked",
    "expand_h.weight": "conv_h.weight",
    "expand_h.bias": "conv_h.bias",
    "expand_w.weight": "conv_w.weight",
    "expand_w.bias": "conv_w.bias",
}


def draw(randn, C, M):
    """Weights in the order of the function's arguments."""
    return [
        randn(M, C),
        randn(M),
        randn(M),
        randn(M),
        randn(C, M),
        randn(C),
        randn(C, M),
        randn(C),
    ]


def weights_of(module):
    layers = module.reduce, module.norm, module.expand_h, module.expand_w
    return [
        p.flatten(1) if p.ndim == 4 else p
        for layer in layers
        for p in layer.parameters()
    ]


def double(channels, device, reduction=32):
    torch.manual_seed(0)
    module = CoordinateAttention(channels, reduction).double().to(device)
    with torch.no_grad():
        module.norm.running_mean.normal_(0, 0.3)
        module.norm.running_var.uniform_(0.5, 2)
        module.norm.weight.uniform_(0.5, 2)
        module.norm.bias.normal_(0, 0.5)
    return module


# --- function against loop ------------------------------------------------------


@pytest.mark.parametrize(("B", "C", "M", "H", "W"), SIZES)
def test_pool_equals_the_loop(randn, assert_equal, B, C, M, H, W):
    x = randn(B, C, H, W)
    assert coordinate_pool(x).shape == (B, C, H + W)
    assert_equal(lambda: coordinate_pool(x), lambda: coordinate_pool_loop(x), [x])


@pytest.mark.parametrize(("B", "C", "M", "H", "W"), SIZES)
@pytest.mark.parametrize("training", [True, False])
def test_equals_the_loop(randn, assert_equal, B, C, M, H, W, training):
    x, weights = randn(B, C, H, W), draw(randn, C, M)
    variance = randn(M).detach().exp().requires_grad_()
    statistics = () if training else (randn(M), variance)
    assert_equal(
        lambda: coordinate_attention(x, *weights, *statistics),
        lambda: coordinate_attention_loop(x, *weights, *statistics),
        [x, *weights, *statistics],
        tolerance=1e-9,
    )


@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_gates_equal_the_loops(randn, eps):
    x, weights = randn(2, 3, 4, 5), draw(randn, 3, 2)
    options = {"eps": eps, "return_attention": True}
    y, (g_h, g_w) = coordinate_attention(x, *weights, **options)
    loop_y, (loop_h, loop_w) = coordinate_attention_loop(x, *weights, **options)
    assert g_h.shape == (2, 3, 4, 1)
    assert g_w.shape == (2, 3, 1, 5)
    torch.testing.assert_close(y, loop_y)
    torch.testing.assert_close(g_h, loop_h)
    torch.testing.assert_close(g_w, loop_w)
    torch.testing.assert_close(y, x * g_h * g_w)


# --- golden tensors, modules ----------------------------------------------------


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_golden(golden, mode):
    g = golden(f"coordatt/coordatt_c64_r32_{mode}")
    module = CoordinateAttention(64, 32).double().train(mode == "train")
    module.load_state_dict(
        {
            ours: g.get(f"param/{theirs}", g.get(f"buffer/{theirs}"))
            for ours, theirs in GOLDEN_NAMES.items()
        }
    )
    x = g["input/x"].requires_grad_()
    y = module(x)
    (y * g["upstream/g"]).sum().backward()
    torch.testing.assert_close(y, g["output/y"], rtol=0, atol=1e-9)
    torch.testing.assert_close(x.grad, g["grad_input/x"], rtol=0, atol=1e-9)
    for name, p in module.named_parameters():
        theirs = g[f"grad_param/{GOLDEN_NAMES[name]}"]
        torch.testing.assert_close(p.grad, theirs, rtol=0, atol=1e-9)
    if mode == "train":
        for name in ("running_mean", "running_var"):
            found, wanted = getattr(module.norm, name), g[f"buffer_after/bn1.{name}"]
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("H", "W"), [(5, 7), (6, 3), (1, 4)])
def test_module_equals_the_loop(randn, device, assert_equal, training, H, W):
    module = double(6, device).train(training)
    x, norm = randn(2, 6, H, W), module.norm
    statistics = () if training else (norm.running_mean, norm.running_var)
    assert_equal(
        [lambda: module(x), lambda: module(x, return_attention=True)[0]],
        lambda: coordinate_attention_loop(x, *weights_of(module), *statistics),
        [x, *module.parameters()],
        tolerance=1e-9,
    )


def test_running_statistics_are_those_of_rows_and_columns_together(randn, device):
    module = double(6, device)
    norm = module.norm
    before = norm.running_mean.clone(), norm.running_var.clone()
    x = randn(2, 6, 5, 3)
    module(x)
    places = module.reduce(coordinate_pool(x)[..., None])  # [B, M, H+W, 1]
    mean, variance = places.mean((0, 2, 3)), places.var((0, 2, 3))
    torch.testing.assert_close(module.norm.running_mean, 0.9 * before[0] + 0.1 * mean)
    torch.testing.assert_close(
        module.norm.running_var, 0.9 * before[1] + 0.1 * variance
    )


def test_hidden_channels():
    hidden = [CoordinateAttention(c, 32).reduce.out_channels for c in (16, 256, 512)]
    assert hidden == [8, 8, 16]


# --- identities -----------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_transposition(randn, device, training):
    """Transpose the map, swap the two last layers: the output is transposed."""
    module, x = double(6, device).train(training), randn(2, 6, 5, 3)
    swapped = double(6, device).train(training)
    swapped.load_state_dict(module.state_dict())
    swapped.expand_h, swapped.expand_w = swapped.expand_w, swapped.expand_h
    expected = module(x).mT
    torch.testing.assert_close(swapped(x.mT), expected)
    assert not torch.allclose(module(x.mT), expected)


def test_permuted_rows_permute_the_gates(randn, device):
    """A gate knows its own row and column, not its neighbours."""
    module, x = double(6, device).eval(), randn(2, 6, 5, 4)
    order = torch.tensor([3, 0, 4, 1, 2], device=device)
    torch.testing.assert_close(module(x[:, :, order]), module(x)[:, :, order])
    order = torch.tensor([2, 0, 3, 1], device=device)
    torch.testing.assert_close(module(x[..., order]), module(x)[..., order])


def test_the_gate_is_an_outer_product(randn, device):
    """The gate of each channel has rank one."""
    module, x = double(6, device), randn(2, 6, 5, 4)
    _, (g_h, g_w) = module(x, return_attention=True)
    singular = torch.linalg.svdvals(g_h * g_w)
    assert (singular[..., 1:] < 1e-12).all()
    assert ((g_h * g_w > 0) & (g_h * g_w < 1)).all()


def test_gates_see_where(randn, device):
    """Two maps with the same channel means, and different gates."""
    module = double(6, device).eval()
    x = torch.zeros(1, 6, 4, 5, dtype=torch.float64, device=device)
    moved = x.clone()
    x[..., 0, 1], moved[..., 2, 3] = 20.0, 20.0
    _, (g_h, g_w) = module(x, return_attention=True)
    _, (moved_h, moved_w) = module(moved, return_attention=True)
    assert not torch.allclose(g_h, moved_h)
    torch.testing.assert_close(moved_h, g_h[:, :, [1, 2, 0, 3]])
    torch.testing.assert_close(moved_w, g_w[:, :, :, [0, 3, 2, 1, 4]])


def test_of_zero_weights(randn):
    """Gates of one half and one half: a quarter of the map."""
    x = randn(1, 3, 4, 5)
    weights = [torch.zeros_like(w) for w in draw(randn, 3, 2)]
    torch.testing.assert_close(coordinate_attention(x, *weights), x / 4)


def test_activation_is_h_swish(randn, device):
    """With identity layers around it, the gate shows the activation itself."""
    x = torch.linspace(-5, 5, 11, dtype=torch.float64, device=device).view(1, 1, 11, 1)
    one, zero = torch.ones(1, 1).to(x), torch.zeros(1).to(x)
    weights = (one, zero, one[0], zero, one, zero, one, zero, zero, one[0])
    _, (g_h, _) = coordinate_attention(x, *weights, eps=0.0, return_attention=True)
    expected = torch.sigmoid(x * F.relu6(x + 3) / 6)
    torch.testing.assert_close(g_h, expected)


def test_gradcheck(randn):
    x, weights = randn(2, 2, 3, 2), draw(randn, 2, 2)
    assert torch.autograd.gradcheck(coordinate_attention, (x, *weights))
    assert torch.autograd.gradcheck(coordinate_pool, (x,))


def test_second_derivative(randn):
    x, weights = randn(1, 2, 3, 2), draw(randn, 2, 1)
    assert torch.autograd.gradgradcheck(lambda x: coordinate_attention(x, *weights), x)


@pytest.mark.parametrize("carrier", range(9))
def test_one_input_alone_gets_its_gradient(randn, carrier):
    """Frozen inputs stay without a gradient, and change nothing for the other."""
    inputs = [randn(2, 3, 4, 5), *draw(randn, 3, 2)]
    y = coordinate_attention(*inputs).square().sum()
    together = torch.autograd.grad(y, inputs)[carrier]
    alone = [t.detach() for t in inputs]
    alone[carrier].requires_grad_()
    coordinate_attention(*alone).square().sum().backward()
    torch.testing.assert_close(alone[carrier].grad, together)
    assert [t.grad is None for t in alone].count(False) == 1


@pytest.mark.parametrize("layout", ["channels_last", "expanded", "sliced"])
def test_any_memory_layout(randn, device, layout):
    module, x = double(6, device), randn(2, 6, 5, 8).detach()
    y = {
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "expanded": x[:1, :, :1].expand(2, 6, 5, 8),
        "sliced": x[:, :, ::2, 1::3],
    }[layout]
    torch.testing.assert_close(module.eval()(y), module(y.contiguous().clone()))


# --- the product in chunks ------------------------------------------------------


@pytest.fixture
def chunked(monkeypatch):
    """Chunks of one or a few channels, for maps of any size."""

    def use(numbers):
        monkeypatch.setattr(kernel, "_LEAST", 0)
        monkeypatch.setattr(kernel, "_CHUNK", numbers)

    return use


@pytest.mark.parametrize("numbers", [1, 50, 10_000])
@pytest.mark.parametrize(
    ("B", "C", "H", "W"), [(1, 1, 1, 1), (2, 3, 4, 5), (1, 7, 3, 1)]
)
def test_chunks_equal_the_product(randn, assert_equal, chunked, numbers, B, C, H, W):
    chunked(numbers)
    x, g_h, g_w = randn(B, C, H, W), randn(B, C, H, 1), randn(B, C, 1, W)
    assert_equal(
        [
            lambda: kernel.gate(x, g_h, g_w),
            lambda: kernel.chunked_gate(x, g_h, g_w),
            lambda: kernel.chunked_gate(x, g_h.mT.contiguous().mT, g_w),
        ],
        lambda: x * g_h * g_w,
        [x, g_h, g_w],
    )


def test_chunks_in_the_module(randn, device, assert_equal, chunked):
    module, x = double(6, device), randn(2, 6, 5, 7)
    assert x.numel() < kernel._LEAST
    y = module(x)
    expected = torch.autograd.grad(y.square().sum(), [x, *module.parameters()])
    chunked(40)
    y = module(x)
    if device.type == "cpu":
        assert "gate" in type(y.grad_fn).__name__.lower()
    found = torch.autograd.grad(y.square().sum(), [x, *module.parameters()])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_chunks_have_two_derivatives(randn, chunked):
    chunked(7)
    inputs = randn(1, 2, 3, 2), randn(1, 2, 3, 1), randn(1, 2, 1, 2)
    assert torch.autograd.gradcheck(kernel.chunked_gate, inputs)
    assert torch.autograd.gradgradcheck(kernel.chunked_gate, inputs)


def test_chunks_only_where_they_fit(randn, chunked):
    """Other layouts and mixed dtypes are broadcast, with the same result."""
    chunked(7)
    x, g_h, g_w = randn(2, 3, 4, 5), randn(2, 3, 4, 1), randn(2, 3, 1, 5)
    last = x.contiguous(memory_format=torch.channels_last)
    for y in (
        kernel.gate(last, g_h, g_w),
        kernel.gate(x, g_h.float(), g_w),
    ):
        assert "MulBackward" in type(y.grad_fn).__name__
        torch.testing.assert_close(y, x * g_h * g_w, rtol=1e-6, atol=1e-6)


def test_frozen_gates_get_no_gradient(randn, chunked):
    chunked(7)
    x, g_h, g_w = randn(2, 3, 4, 5), randn(2, 3, 4, 1).detach(), randn(2, 3, 1, 5)
    kernel.chunked_gate(x, g_h, g_w).sum().backward()
    assert g_h.grad is None
    torch.testing.assert_close(x.grad, (g_h * g_w).expand(x.shape))
    torch.testing.assert_close(g_w.grad, (x * g_h).sum(2, keepdim=True))


@pytest.mark.compiled
def test_chunks_are_an_operator(randn, chunked):
    """Schema, fake tensors, autograd and tracing of both operators."""
    chunked(50)
    inputs = randn(2, 3, 4, 5), randn(2, 3, 4, 1), randn(2, 3, 1, 5)
    torch.library.opcheck(torch.ops.visattn.gate.default, inputs)
    g = randn(2, 3, 4, 5).detach()
    frozen = [t.detach() for t in inputs]
    torch.library.opcheck(torch.ops.visattn.gate_backward.default, (g, *frozen))


def test_memory_is_less_than_that_of_the_product():
    """At 4x64x112x112, forward and backward."""
    torch.manual_seed(0)
    module = CoordinateAttention(64)
    x = torch.randn(4, 64, 112, 112, requires_grad=True)
    assert x.numel() >= kernel._LEAST

    def step(function):
        function(x).sum().backward()
        x.grad = None
        module.zero_grad()

    def official(x):
        H, W = x.shape[2:]
        rows = F.adaptive_avg_pool2d(x, (H, 1))
        columns = F.adaptive_avg_pool2d(x, (1, W)).mT
        f = F.hardswish(module.norm(module.reduce(torch.cat([rows, columns], 2))))
        f_h, f_w = f.split([H, W], 2)
        g_h, g_w = module.expand_h(f_h).sigmoid(), module.expand_w(f_w.mT).sigmoid()
        return x * g_w * g_h

    torch.testing.assert_close(module(x), official(x))
    ours, theirs = peak_bytes(lambda: step(module)), peak_bytes(lambda: step(official))
    print(f"peak bytes: {ours:,} against {theirs:,}, {ours / theirs:.2f}")
    assert ours < 0.8 * theirs


# --- other ways to run it -------------------------------------------------------


@pytest.mark.compiled
@pytest.mark.parametrize("in_chunks", [False, True])
def test_compile(device, chunked, in_chunks):
    if in_chunks:
        chunked(200)
    torch.manual_seed(0)
    module = CoordinateAttention(16).to(device).eval()
    x = torch.randn(2, 16, 9, 11, device=device)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), module(x))
    expected = torch.autograd.grad(module(x).sum(), list(module.parameters()))
    found = torch.autograd.grad(compiled(x).sum(), list(module.parameters()))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore")
def test_export_with_any_size(chunked):
    """Without our own operators: other runtimes do not have them."""
    chunked(200)
    module, x = CoordinateAttention(16).eval(), torch.randn(2, 16, 9, 11)
    height, width = torch.export.Dim("height"), torch.export.Dim("width")
    exported = torch.export.export(
        module, (x,), dynamic_shapes={"x": {2: height, 3: width}}
    )
    assert "visattn" not in str(exported.graph)
    for size in ((9, 11), (14, 5), (3, 21)):
        x = torch.randn(2, 16, *size)
        torch.testing.assert_close(exported.module()(x), module(x))


def test_autocast(device):
    torch.manual_seed(0)
    module = CoordinateAttention(16).to(device)
    x = torch.randn(2, 16, 9, 11, device=device)
    for given in (x, x.bfloat16()):  # as after another layer under autocast
        with torch.autocast(device.type, torch.bfloat16):
            y = module(given)
        torch.testing.assert_close(y.float(), module(x), rtol=0.05, atol=0.05)
        y.sum().backward()
        assert all(p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(device, dtype):
    torch.manual_seed(0)
    module = CoordinateAttention(16).to(device).eval()
    x = torch.randn(2, 16, 9, 11, device=device)
    expected = module(x)
    y = module.to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)


def test_print():
    assert "64, reduction=16" in repr(CoordinateAttention(64, 16))


def test_parameters():
    with torch.device("meta"):
        module = CoordinateAttention(512)
    count = 3 * 512 * 16 + 16 + 2 * 512 + 2 * 16
    assert sum(p.numel() for p in module.parameters()) == count


# --- refusals -------------------------------------------------------------------


@pytest.mark.bad_input
class TestBadInput:
    """Every refusal prints what came."""

    @pytest.mark.parametrize(
        "function", [coordinate_attention, coordinate_attention_loop]
    )
    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"x": torch.zeros(4, 5, 5)}, ValueError, r"4 axes.*\[4, 5, 5\]"),
            ({"x": torch.zeros(1, 4, 0, 5)}, ValueError, r"empty.*\[1, 4, 0, 5\]"),
            ({"x": torch.zeros(1, 4, 5, 5).int()}, TypeError, "int32"),
            ({"x": torch.zeros(1, 3, 5, 5)}, ValueError, r"\[2, 3\].*\[2, 4\]"),
            ({"reduce": torch.zeros(2)}, ValueError, r"reduce.*\[M C\].*\[2\]"),
            ({"reduce_bias": torch.zeros(4)}, ValueError, r"reduce_bias.*\[4\]"),
            ({"scale": torch.zeros(1)}, ValueError, r"scale.*\[2\].*\[1\]"),
            ({"shift": torch.zeros(2, 1)}, ValueError, r"shift.*\[2, 1\]"),
            ({"expand_h": torch.zeros(2, 4)}, ValueError, r"\[4, 2\].*\[2, 4\]"),
            ({"expand_w": torch.zeros(4, 3)}, ValueError, r"\[4, 2\].*\[4, 3\]"),
            ({"expand_h_bias": torch.zeros(2)}, ValueError, r"\[4\].*\[2\]"),
            ({"expand_w_bias": torch.zeros(4).double()}, TypeError, "float64"),
            ({"mean": torch.zeros(2)}, ValueError, "both"),
            (
                {"mean": torch.zeros(2), "variance": torch.ones(4)},
                ValueError,
                r"variance.*\[2\].*\[4\]",
            ),
            ({"shift": None}, TypeError, "NoneType"),
        ],
    )
    def test_function(self, function, changes, error, message):
        arguments = {
            "x": torch.zeros(1, 4, 5, 5),
            "reduce": torch.zeros(2, 4),
            "reduce_bias": torch.zeros(2),
            "scale": torch.ones(2),
            "shift": torch.zeros(2),
            "expand_h": torch.zeros(4, 2),
            "expand_h_bias": torch.zeros(4),
            "expand_w": torch.zeros(4, 2),
            "expand_w_bias": torch.zeros(4),
        }
        with pytest.raises(error, match=message):
            function(**(arguments | changes))

    @pytest.mark.parametrize("function", [coordinate_pool, coordinate_pool_loop])
    def test_pool(self, function):
        with pytest.raises(ValueError, match=r"\[4, 5, 5\]"):
            function(torch.zeros(4, 5, 5))

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ((0,), ValueError, "channels.*0"),
            ((8, 0), ValueError, "reduction.*0"),
            ((8.0,), TypeError, r"channels.*8\.0"),
        ],
    )
    def test_constructor(self, arguments, error, message):
        with pytest.raises(error, match=message):
            CoordinateAttention(*arguments)

    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (torch.zeros(16, 5, 5), ValueError, r"4 axes.*\[16, 5, 5\]"),
            (torch.zeros(1, 3, 5, 5), ValueError, r"channels=16.*\[1, 3, 5, 5\]"),
            (torch.zeros(1, 16, 0, 5), ValueError, r"empty.*\[1, 16, 0, 5\]"),
            (torch.zeros(1, 16, 5, 5).long(), TypeError, "int64"),
        ],
    )
    def test_forward(self, x, error, message):
        with pytest.raises(error, match=message):
            CoordinateAttention(16)(x)
