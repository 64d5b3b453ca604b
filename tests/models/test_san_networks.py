"""SAN networks: the paper's sizes, the official block, small experiments."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visattn import convert
from visattn.lab import count_macs, peak_bytes
from visattn.mechanisms.san import PairwiseAttention2d, window_coordinates
from visattn.models import san
from visattn.models.san import SAN, SANBottleneck, SANStage

# Parameters in millions and multiply-adds in billions, as the paper prints them.
PUBLISHED = [
    ("san10_pairwise", 10.5, 2.2),
    ("san15_pairwise", 14.1, 3.0),
    ("san19_pairwise", 17.6, 3.8),
    ("san10_patchwise", 11.8, 1.9),
    ("san15_patchwise", 16.2, 2.6),
    ("san19_patchwise", 20.5, 3.3),
]
SMALL = {"width": 32, "share": 4, "depths": (1, 2, 1), "kernel_sizes": (3, 3, 3)}


def on_meta(name, **options):
    """The network without numbers: counting needs none."""
    with torch.device("meta"):
        return getattr(san, name)(**options)


@pytest.mark.parametrize(("name", "parameters", "operations"), PUBLISHED)
def test_published_parameters(name, parameters, operations):
    found = sum(p.numel() for p in on_meta(name).parameters()) / 1e6
    assert round(found, 1) == parameters


def test_san10_is_exact():
    model = on_meta("san10_pairwise")
    assert sum(p.numel() for p in model.parameters()) == 10_531_848


def elements(model, x):
    """What the authors' counter adds to products: two operations for each number that
    a norm writes, one for each of a bias, a ReLU, a difference and a pooled number."""
    found = Counter()

    def hook(module, inputs, output):
        if isinstance(module, nn.BatchNorm2d):
            found["norm"] += 2 * output.numel()
            found["relu"] += output.numel()  # one follows every norm
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            found["bias"] += output.numel()
        elif isinstance(module, PairwiseAttention2d):
            pairs = module.kernel_size**2 * output[0, 0].numel()
            found["difference"] += pairs * (module.relation_channels + 2)
        elif isinstance(module, SANStage):
            found["pooling"] += inputs[0].numel()

    for module in model.modules():
        module.register_forward_hook(hook)
    with torch.no_grad():
        model(x)
    return found


@pytest.mark.parametrize(("name", "parameters", "operations"), PUBLISHED)
def test_published_operations(name, parameters, operations):
    """By the rules of the counter in the authors' repository (util/complexity.py).

    Products alone stay below its figures.
    """
    model, x = on_meta(name).eval(), torch.zeros(1, 3, 224, 224, device="meta")
    with torch.no_grad():
        products = count_macs(lambda: model(x))
    assert 0.92 * operations < products / 1e9 < operations
    total = products + sum(elements(model, x).values())
    assert round(total / 1e9, 1) == operations


def test_golden_bottleneck(golden):
    g = golden("san/bottleneck_pairwise_k7_eval")

    def attention(cin, crel, cout, kernel_size):
        return PairwiseAttention2d(cin, crel, cout, kernel_size)

    block = SANBottleneck(32, 7, attention).double().eval()
    state = {n: v for n, v in g.items() if n.split("/")[0] in ("param", "buffer")}
    block.load_state_dict(convert(state, "san"))
    x = g["input/x"].requires_grad_()
    y = block(x)
    torch.testing.assert_close(y, g["output/y"], rtol=0, atol=1e-9)
    ours = dict(block.named_parameters())
    found = torch.autograd.grad((y * g["upstream/g"]).sum(), [x, *ours.values()])
    gradients = {n[5:]: v for n, v in g.items() if n.startswith("grad_param")}
    theirs = convert(gradients, "san")
    expected = [g["grad_input/x"], *(theirs[n] for n in ours)]
    for gradient, their in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, their, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [p[0] for p in PUBLISHED])
def test_a_small_network_of_any_size(name):
    model = getattr(san, name)(num_classes=7, in_channels=2, **SMALL).eval()
    assert model(torch.zeros(2, 2, 33, 40)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "relation"),
    [("san10_pairwise", r) for r in ("subtraction", "dot", "concatenation")]
    + [("san10_patchwise", r) for r in ("concatenation", "star", "clique")],
)
def test_small_networks_learn(name, relation):
    torch.manual_seed(0)
    model = getattr(san, name)(num_classes=3, relation=relation, **SMALL)
    images, classes = torch.randn(6, 3, 32, 24), torch.tensor([0, 1, 2, 0, 1, 2])
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(model(images), classes)
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_order_of_layers(golden):
    """Pool, 1x1 convolution, blocks, norm, ReLU; no ReLU after a block's sum."""
    torch.manual_seed(0)
    model = san.san10_pairwise(num_classes=3, **SMALL).eval()
    x = torch.randn(1, 3, 32, 32)
    y = model.stem(x)
    for stage in model.stages:
        y = stage.conv(nn.functional.max_pool2d(y, 2))
        for block in stage.blocks:
            inner = block.attention(block.bn1(y).relu())
            y = y + block.conv(block.bn2(inner).relu())
            assert (y < 0).any()
        y = stage.bn(y).relu()
    torch.testing.assert_close(model(x), model.classifier(y.mean((2, 3))))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"width": 40}, ValueError, "multiple of 16.*40"),
        ({"width": 16}, ValueError, "out_channels=4, share=8"),
        ({"num_classes": 0}, ValueError, "num_classes.*0"),
        ({"depths": (1, 1)}, ValueError, r"\(1, 1\), \(3, 7, 7, 7, 7\)"),
        ({"depths": (), "kernel_sizes": ()}, ValueError, r"\(\), \(\)"),
        ({"depths": (1, 0), "kernel_sizes": (3, 3)}, ValueError, r"depths\[1\].*0"),
        ({"kernel_sizes": (3, 7, 7, 7, 6)}, ValueError, "odd.*6"),
        ({"relation": "cosine"}, ValueError, "'cosine'"),
        ({"heads": 8}, TypeError, "heads"),
    ],
)
def test_bad_input(options, error, message):
    for name in ("san10_pairwise", "san19_patchwise"):
        with pytest.raises(error, match=message):
            on_meta(name, **options)


@pytest.mark.bad_input
def test_bad_image():
    model = on_meta("san10_pairwise")
    with pytest.raises(ValueError, match=r"in_channels=3.*\[1, 4, 64, 64\]"):
        model(torch.zeros(1, 4, 64, 64))
    message = r"image of 112 x 128 gives a map of 3 x 4 in stage 4.*=7 need at least 4"
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(1, 3, 112, 128))
    assert SAN(lambda *a: PairwiseAttention2d(*a), (1,), (3,)).kernel_sizes == (3,)


def windows(x, K):
    """All windows of a map, copied: [B, C, K*K, H, W]."""
    B, C, H, W = x.shape
    x = F.pad(x, (K // 2,) * 4, mode="reflect")
    return F.unfold(x, K).view(B, C, K * K, H, W)


def unfolded(layer, x):
    """Pairwise attention by subtraction, with every window copied."""
    K, phi, psi, beta = layer.kernel_size, layer.phi(x), layer.psi(x), layer.beta(x)
    p = layer.position(window_coordinates(*x.shape[2:], dtype=x.dtype)[None])
    offset = (p[:, :, None] - windows(p, K)).expand(len(x), -1, -1, -1, -1)
    delta = torch.cat([phi[:, :, None] - windows(psi, K), offset], dim=1)
    weights = (
        layer.gamma(delta.flatten(3))
        .softmax(2)
        .view(*delta[:, :1].shape[:1], -1, *delta.shape[2:])
    )
    weights = weights.repeat(1, beta.shape[1] // weights.shape[1], 1, 1, 1)
    return (weights * windows(beta, K)).sum(2)


def test_peak_memory_of_a_step_at_224(monkeypatch):
    """SAN10, two images of 224 x 224, forward and backward, on the CPU."""
    torch.manual_seed(0)
    model, x = san.san10_pairwise(), torch.randn(2, 3, 224, 224)

    def step():
        y = model(x)
        y.square().sum().backward()
        gradient = model.stem[0].weight.grad.clone()
        model.zero_grad()
        return y.detach(), gradient

    outputs, peaks = [], []
    for forward in (PairwiseAttention2d.forward, unfolded):
        monkeypatch.setattr(PairwiseAttention2d, "forward", forward)
        outputs.append(step())
        peaks.append(peak_bytes(step))
    # In float32, through ten blocks in training; float64 is compared layer by layer.
    for ours, theirs, bound in zip(*outputs, (1e-3, 1e-2), strict=True):
        assert (ours - theirs).norm() / theirs.norm() < bound
    ratio = peaks[0] / peaks[1]
    print(f"peak bytes: ours {peaks[0]:,}, unfold {peaks[1]:,}, {ratio:.2f}")
    assert ratio < 0.6
