"""Official weights of coordinate attention, CBAM and BAM into ours."""

import pytest
import torch
from torch import nn

from visattn.checkpoints import convert
from visattn.mechanisms.coordinate import CoordinateAttention
from visattn.mechanisms.gates import BAM, CBAM
from visattn.models.gated import resnet50_bam, resnet50_cbam
from visattn.models.mobilenet import InvertedResidual, mobilenet_v2_coordinate

MODULES = [
    ("coordatt/coordatt_c64_r32_eval", "coordatt", lambda: CoordinateAttention(64)),
    (
        "coordatt/inverted_residual_ca_16_16_s1_t6_eval",
        "coordatt",
        lambda: InvertedResidual(16, 16, gate=CoordinateAttention),
    ),
    ("se_cbam_bam/cbam_c32_r16_eval", "cbam", lambda: CBAM(32)),
    ("se_cbam_bam/bam_c32_r16_eval", "bam", lambda: BAM(32)),
]


@pytest.mark.parametrize(("name", "source", "make"), MODULES)
def test_golden(golden, name, source, make):
    """Converted weights give the official output, and the official gradients."""
    g = golden(name)
    state = {k: v for k, v in g.items() if k.startswith(("param/", "buffer/"))}
    module = make().double().eval()
    module.load_state_dict(convert(state, source), strict=True)
    x = g["input/x"].requires_grad_()
    y = module(x)
    (y * g["upstream/g"]).sum().backward()
    torch.testing.assert_close(y, g["output/y"], rtol=0, atol=1e-9)
    torch.testing.assert_close(x.grad, g["grad_input/x"], rtol=0, atol=1e-9)
    gradients = {
        k.removeprefix("grad_"): v for k, v in g.items() if k.startswith("grad_param/")
    }
    converted = convert(gradients | state_of_marks(state), source)
    for name, p in module.named_parameters():
        torch.testing.assert_close(p.grad, converted[name], rtol=0, atol=1e-9)


def state_of_marks(state):
    """The buffers, by which `convert` knows a batch norm."""
    return {k: v for k, v in state.items() if k.startswith("buffer/")}


def conv_norm(cin, cout, kernel=1, groups=1):
    """Two official layers, made small: only names and shapes matter."""
    return nn.Conv2d(cin, cout, kernel, groups=groups, bias=False), nn.BatchNorm2d(cout)


def official_mobilenet():
    """A state with the names of the official network, from our own shapes."""

    class Gate(nn.Module):
        def __init__(self, channels, hidden):
            super().__init__()
            self.conv1 = nn.Conv2d(channels, hidden, 1)
            self.bn1 = nn.BatchNorm2d(hidden)
            self.conv2 = nn.Conv2d(hidden, channels, 1)
            self.conv3 = nn.Conv2d(hidden, channels, 1)

    class Block(nn.Module):
        def __init__(self, ours):
            super().__init__()
            hidden = ours.depthwise[0].out_channels
            cin = ours.depthwise[0].in_channels
            layers = []
            if not isinstance(ours.expand, nn.Identity):
                cin = ours.expand[0].in_channels
                layers += [*conv_norm(cin, hidden), nn.ReLU6()]
            layers += [*conv_norm(hidden, hidden, 3, hidden), nn.ReLU6()]
            if not isinstance(ours.gate, nn.Identity):
                layers.append(Gate(hidden, ours.gate.reduce.out_channels))
            layers += conv_norm(hidden, ours.project[0].out_channels)
            self.conv = nn.Sequential(*layers)

    ours = mobilenet_v2_coordinate(num_classes=5, width=0.25)
    network = nn.Module()
    stem = nn.Sequential(*conv_norm(3, ours.stem[0].out_channels, 3))
    network.features = nn.Sequential(stem, *(Block(b) for b in ours.blocks))
    network.conv = nn.Sequential(*conv_norm(ours.head[0].in_channels, 1280))
    network.classifier = nn.Sequential(nn.Dropout(), nn.Linear(1280, 5))
    return ours, network


@pytest.mark.parametrize("prefix", ["", "module."])
def test_whole_mobile_network(prefix):
    ours, network = official_mobilenet()
    state = {f"{prefix}{name}": value for name, value in network.state_dict().items()}
    found = convert(state, "coordatt")
    ours.load_state_dict(found, strict=True)
    official = network.features[3].conv
    block = ours.blocks[2]
    torch.testing.assert_close(block.expand[0].weight, official[0].weight)
    torch.testing.assert_close(block.gate.expand_h.weight, official[6].conv2.weight)
    torch.testing.assert_close(block.gate.expand_w.weight, official[6].conv3.weight)
    torch.testing.assert_close(block.project[0].weight, official[7].weight)
    first = network.features[1].conv
    torch.testing.assert_close(ours.blocks[0].project[0].weight, first[3].weight)
    torch.testing.assert_close(ours.head[0].weight, network.conv[0].weight)


CBAM_NAMES = {
    "channel.reduce": "ChannelGate.mlp.1",
    "channel.expand": "ChannelGate.mlp.3",
    "spatial.conv": "SpatialGate.spatial.conv",
    "spatial.norm": "SpatialGate.spatial.bn",
}
BAM_NAMES = {
    "channel.0": "channel_att.gate_c.gate_c_fc_0",
    "channel.1": "channel_att.gate_c.gate_c_bn_1",
    "channel.3": "channel_att.gate_c.gate_c_fc_final",
    "spatial.0": "spatial_att.gate_s.gate_s_conv_reduce0",
    "spatial.1": "spatial_att.gate_s.gate_s_bn_reduce0",
    "spatial.3": "spatial_att.gate_s.gate_s_conv_di_0",
    "spatial.4": "spatial_att.gate_s.gate_s_bn_di_0",
    "spatial.6": "spatial_att.gate_s.gate_s_conv_di_1",
    "spatial.7": "spatial_att.gate_s.gate_s_bn_di_1",
    "spatial.9": "spatial_att.gate_s.gate_s_conv_final",
}


def official_resnet_names(ours):
    """Our name -> the official name, written down from the official listing."""
    ends = {0: 3, 1: 4, 2: 6}  # blocks of the stages that BAM ends
    names = {}
    for name in ours:
        part = name.split(".")
        leaf = part[-1]
        if part[0] == "stem":
            theirs = ("conv1" if part[1] == "0" else "bn1") + f".{leaf}"
        elif part[0] == "classifier":
            theirs = f"fc.{leaf}"
        else:
            stage, block, rest = int(part[1]), int(part[2]), ".".join(part[3:-1])
            if rest.startswith("gate."):
                rest = f"cbam.{CBAM_NAMES[rest.removeprefix('gate.')]}"
            theirs = f"layer{stage + 1}.{block}.{rest}.{leaf}"
            theirs = theirs.replace("shortcut", "downsample")
            if ends.get(stage) == block:
                theirs = f"bam{stage + 1}.{BAM_NAMES[rest]}.{leaf}"
        names[name] = theirs
    return names


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    ("source", "make"), [("cbam", resnet50_cbam), ("bam", resnet50_bam)]
)
def test_whole_residual_network(source, make, prefix):
    model = make(num_classes=5, width=16)
    state = model.state_dict()
    names = official_resnet_names(state)
    assert len(set(names.values())) == len(state)
    official = {f"{prefix}{names[name]}": value for name, value in state.items()}
    found = convert(official, source)
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert found[name] is value, name
    model.load_state_dict(found, strict=True)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("source", "state", "message"),
    [
        ("coordatt", {"conv1.weight": torch.zeros(1)}, "bn1.running_mean.*conv1"),
        ("cbam", {"mlp.1.weight": torch.zeros(1)}, "ChannelGate.*mlp.1.weight"),
        ("bam", {"gate.weight": torch.zeros(1)}, r"gate_c_fc_0.*gate\.weight"),
        (
            "coordatt",
            {
                "conv.6.bn1.running_mean": torch.zeros(1),
                "conv.6.conv1.bias": torch.zeros(1),
                "conv.7.weight": torch.zeros(1),
                "conv.9.weight": torch.zeros(1),
            },
            r"conv\.9\.weight: layer 9",
        ),
    ],
)
def test_bad_input(source, state, message):
    with pytest.raises(ValueError, match=message):
        convert(state, source)
