"""Mobile networks: the papers' sizes, the official block, any image size."""

import pytest
import torch
from torch import nn

from visattn.lab import count_macs
from visattn.mechanisms.coordinate import CoordinateAttention
from visattn.mechanisms.gates import CBAM, SqueezeExcitation
from visattn.models.mobilenet import (
    InvertedResidual,
    MobileNetV2,
    MobileNeXt,
    Sandglass,
    mobilenet_v2,
    mobilenet_v2_cbam,
    mobilenet_v2_coordinate,
    mobilenet_v2_se,
    mobilenext,
    mobilenext_coordinate,
    round_channels,
)

NETWORKS = [
    mobilenet_v2,
    mobilenet_v2_se,
    mobilenet_v2_cbam,
    mobilenet_v2_coordinate,
    mobilenext,
    mobilenext_coordinate,
]

# Published millions, and the exact count.
PARAMETERS = [
    (mobilenet_v2, {}, 3.5, 3_504_872),
    (mobilenet_v2_se, {}, 3.89, 3_888_208),
    (mobilenet_v2_cbam, {}, 3.89, 3_889_808),
    (mobilenet_v2_coordinate, {}, 3.95, 3_950_648),
    (mobilenext, {}, 3.5, 3_535_416),
    (mobilenext_coordinate, {}, 4.09, 4_088_113),
]


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("make", "options", "published", "exact"), PARAMETERS)
def test_published_parameters(make, options, published, exact):
    with torch.device("meta"):
        found = count(make(**options))
    assert found == exact
    digits = len(str(published).split(".")[1])
    assert round(found / 1e6, digits) == published


def test_the_other_reading_of_mobilenext_has_another_size():
    """Behind the first depthwise convolution no reduction gives 4.09M."""
    with torch.device("meta"):
        found = {
            r: count(mobilenext_coordinate(placement="first", reduction=r))
            for r in range(8, 65)
        }
    assert found[32] == 3_971_626
    assert found[24] == 4_108_336
    assert 4.09 not in {round(n / 1e6, 2) for n in found.values()}


def test_mobilenext_with_all_depthwise_convolutions():
    """What the official reading leaves out: 3.57M instead of 3.54M."""
    with torch.device("meta"):
        model = mobilenext()
        missing = 0
        for block in model.blocks:
            channels_in = block.reduce[0].in_channels
            channels_out = block.expand[0].out_channels
            missing += 11 * channels_in * (len(block.first) == 0)
            missing += 11 * channels_out * (len(block.last) == 0)
    assert count(model) + missing == 3_567_624


@pytest.mark.parametrize(
    ("make", "exact"),
    [
        (mobilenet_v2, 300_774_272),
        (mobilenet_v2_coordinate, 306_666_368),
        (mobilenext, 311_342_592),
        (mobilenext_coordinate, 317_705_984),
    ],
)
def test_multiply_adds(make, exact):
    """Of convolutions and the classifier, at 224 x 224. The paper: 300M and 310M."""
    with torch.device("meta"):
        model, x = make().eval(), torch.zeros(1, 3, 224, 224)
    with torch.no_grad():
        assert count_macs(lambda: model(x)) == exact


def test_gates_stand_in_the_widening_blocks():
    with torch.device("meta"):
        model = mobilenet_v2_coordinate()
    gates = [block.gate for block in model.blocks]
    assert isinstance(gates[0], nn.Identity)
    assert all(isinstance(gate, CoordinateAttention) for gate in gates[1:])
    assert len(gates) == 17
    for block in list(model.blocks)[1:]:
        assert block.gate.channels == block.depthwise[0].out_channels
    assert [gate.reduce.out_channels for gate in gates[-3:]] == [30, 30, 30]


def test_gates_stand_behind_the_chosen_depthwise_convolution():
    for placement, blocks in (("first", 15), ("last", 18)):
        with torch.device("meta"):
            model = mobilenext_coordinate(placement=placement)
        gated = [list(getattr(block, placement)) for block in model.blocks]
        found = [layers for layers in gated if layers]
        assert len(found) == blocks
        assert all(isinstance(layers[1], CoordinateAttention) for layers in found)
        assert all(isinstance(layers[0], nn.Sequential) for layers in found)


GOLDEN_BLOCK = {
    "conv.0": "expand.0",
    "conv.1": "expand.1",
    "conv.3": "depthwise.0",
    "conv.4": "depthwise.1",
    "conv.6.conv1": "gate.reduce",
    "conv.6.bn1": "gate.norm",
    "conv.6.conv2": "gate.expand_h",
    "conv.6.conv3": "gate.expand_w",
    "conv.7": "project.0",
    "conv.8": "project.1",
}


def test_inverted_residual_golden(golden):
    g = golden("coordatt/inverted_residual_ca_16_16_s1_t6_eval")

    def ours(name):
        layer, _, kind = name.rpartition(".")
        return f"{GOLDEN_BLOCK[layer]}.{kind}"

    state, gradients = {}, {}
    for name, value in g.items():
        kind, _, rest = name.partition("/")
        if kind in ("param", "buffer"):
            state[ours(rest)] = value
        if kind == "grad_param":
            gradients[ours(rest)] = value
    block = InvertedResidual(16, 16, gate=CoordinateAttention).double().eval()
    block.load_state_dict(state)
    x = g["input/x"].requires_grad_()
    y = block(x)
    (y * g["upstream/g"]).sum().backward()
    torch.testing.assert_close(y, g["output/y"], rtol=0, atol=1e-9)
    torch.testing.assert_close(x.grad, g["grad_input/x"], rtol=0, atol=1e-9)
    found = dict(block.named_parameters())
    assert found.keys() == gradients.keys()
    for name, p in found.items():
        torch.testing.assert_close(p.grad, gradients[name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("make", NETWORKS)
def test_every_parameter_gets_a_gradient(make, device):
    """At a width where two hidden channels could both be dead, the gates get more."""
    torch.manual_seed(0)
    more = {"reduction": 2} if make in (mobilenet_v2_se, mobilenet_v2_cbam) else {}
    model = make(num_classes=3, in_channels=2, width=0.25, **more).to(device)
    y = model(torch.randn(4, 2, 64, 48, device=device))
    nn.functional.cross_entropy(y, torch.tensor([0, 1, 2, 0], device=device)).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.abs().max() > 0, name


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("size", [(33, 40), (1, 7), (65, 32)])
def test_any_size(make, size, device):
    model = make(num_classes=7, in_channels=2, width=0.25).eval().to(device)
    x = torch.zeros(2, 2, *size, device=device)
    assert model(x).shape == (2, 7)
    height, width = (-(-n // 32) for n in size)
    assert model.features(x).shape == (2, 1280, height, width)


def test_a_small_network():
    """A reader's own stages, at the resolution of small images."""
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 1, 2))
    for gate in (None, CoordinateAttention, CBAM, SqueezeExcitation):
        model = MobileNetV2(gate, stages, 10, 1, width=0.5, stem_stride=1).eval()
        assert model.features(torch.zeros(1, 1, 28, 28)).shape == (1, 1280, 7, 7)
        assert model(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    model = MobileNeXt(None, "last", ((2, 32, 1, 2), (6, 48, 2, 2)), 10, 1).eval()
    assert model(torch.zeros(1, 1, 28, 28)).shape == (1, 10)


def test_residual_connections():
    assert InvertedResidual(8, 8).residual
    assert not InvertedResidual(8, 8, stride=2).residual
    assert not InvertedResidual(8, 16).residual
    for block in (InvertedResidual(8, 8), Sandglass(24, 24)):
        x = torch.randn(
            2, block.reduce[0].in_channels if hasattr(block, "reduce") else 8, 5, 4
        )
        last = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)][-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize(
    ("channels", "rounded"),
    [(32, 32), (8, 8), (1, 8), (12, 16), (11.9, 16), (10, 16), (24.0, 24), (18, 24)],
)
def test_round_channels(channels, rounded):
    """Never below 90 percent: 10 becomes 16, as 8 would be 80 percent."""
    assert round_channels(channels) == rounded
    assert rounded >= 0.9 * channels


@pytest.mark.parametrize(("width", "first", "last"), [(0.5, 16, 1280), (1.4, 48, 1792)])
def test_width(width, first, last):
    with torch.device("meta"):
        model = mobilenet_v2(width=width)
        assert model.stem[0].out_channels == first
        assert model.classifier.in_features == last
        model = mobilenext(width=width)
        assert model.stem[0].out_channels == first
        assert model.classifier.in_features == last


def test_start():
    """He's rule on the outputs for convolutions; 0.01 for the classifier."""
    torch.manual_seed(0)
    model = mobilenet_v2_coordinate()
    assert model.classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert (model.classifier.bias == 0).all()
    conv = model.head[0]
    assert conv.weight.std().item() == pytest.approx((2 / 1280) ** 0.5, rel=0.05)
    gate = model.blocks[-1].gate
    assert (gate.expand_h.bias == 0).all()
    assert gate.expand_h.weight.std().item() == pytest.approx(
        (2 / 960) ** 0.5, rel=0.05
    )


@pytest.mark.bad_input
@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_classes": 0}, ValueError, "num_classes.*0"),
        ({"in_channels": 1.5}, TypeError, r"in_channels.*1\.5"),
        ({"width": 0}, ValueError, "width.*0"),
        ({"width": float("inf")}, ValueError, "width.*inf"),
        ({"width": "1"}, TypeError, "width.*'1'"),
        ({"heads": 8}, TypeError, "heads"),
    ],
)
def test_bad_input(make, options, error, message):
    with pytest.raises(error, match=message):
        make(**options)


@pytest.mark.bad_input
def test_bad_blocks():
    with pytest.raises(ValueError, match="'middle'"):
        mobilenext_coordinate(placement="middle")
    with pytest.raises(ValueError, match="expansion.*0"):  # noqa: RUF043
        InvertedResidual(8, 8, expansion=0)
    with pytest.raises(ValueError, match="squeeze.*0"):  # noqa: RUF043
        Sandglass(8, 8, squeeze=0)
    with pytest.raises(ValueError, match="reduction.*0"):  # noqa: RUF043
        mobilenet_v2_se(reduction=0)
    with pytest.raises(ValueError, match="stem_stride.*0"):  # noqa: RUF043
        MobileNetV2(stem_stride=0)
    for make in (MobileNetV2, MobileNeXt):
        with pytest.raises(ValueError, match="got none"):
            make(stages=())
        with pytest.raises(ValueError, match=r"got \(1, 16, 1\)"):
            make(stages=((1, 16, 1),))
        with pytest.raises(ValueError, match="n must be at least 1, got 0"):
            make(stages=((1, 16, 0, 1),))
        with pytest.raises(TypeError, match="CoordinateAttention"):
            make(gate=CoordinateAttention(8))
        with pytest.raises(TypeError, match="'ca'"):
            make(gate="ca")


@pytest.mark.bad_input
def test_bad_image():
    model = mobilenet_v2(width=0.25)
    with pytest.raises(ValueError, match=r"in_channels=3.*\[1, 4, 64, 64\]"):
        model(torch.zeros(1, 4, 64, 64))
    with pytest.raises(ValueError, match=r"4 axes.*\[3, 64, 64\]"):
        model(torch.zeros(3, 64, 64))
    with pytest.raises(TypeError, match="uint8"):
        model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
