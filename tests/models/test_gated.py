"""ResNet-50 with gates: the papers' sizes, where the gates stand, how they start."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visattn.mechanisms.gates import BAM, CBAM, SqueezeExcitation
from visattn.models.gated import (
    GatedBottleneck,
    resnet50_bam,
    resnet50_cbam,
    resnet50_se,
)
from visattn.models.resnet import resnet50

NETWORKS = [resnet50_se, resnet50_cbam, resnet50_bam]


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("make", "published", "exact"),
    [
        (resnet50_se, 28.1, 28_088_024),
        (resnet50_cbam, 28.09, 28_089_624),
        (resnet50_bam, 25.92, 25_915_099),
    ],
)
def test_published_parameters(make, published, exact):
    with torch.device("meta"):
        found = count(make())
    assert found == exact
    assert round(found / 1e6, len(str(published).split(".")[1])) == published


@pytest.mark.parametrize(
    ("make", "layer"), [(resnet50_se, SqueezeExcitation), (resnet50_cbam, CBAM)]
)
def test_every_block_ends_with_its_gate(make, layer):
    with torch.device("meta"):
        model = make()
    blocks = [m for m in model.modules() if isinstance(m, GatedBottleneck)]
    assert len(blocks) == 16
    for block in blocks:
        assert isinstance(block.gate, layer)
        assert block.gate.channels == block.bn3.num_features


def test_the_gate_is_on_the_branch_before_the_sum(randn, device):
    """The block by hand: relu(gate(bn(conv(...))) + shortcut)."""
    model = resnet50_cbam(width=4, reduction=4).double().to(device).eval()
    block = model.stages[1][0]
    nn.init.ones_(block.gate.spatial.norm.weight)
    x = randn(2, 16, 6, 5)
    y = F.relu(block.bn1(block.conv1(x)))
    y = F.relu(block.bn2(block.conv2(y)))
    y, gates = block.gate(block.bn3(block.conv3(y)), return_attention=True)
    assert gates[1].std() > 0
    torch.testing.assert_close(block(x), F.relu(y + block.shortcut(x)))


def test_spatial_gates_start_at_one_half():
    torch.manual_seed(0)
    model = resnet50_cbam(width=16).eval()
    found = [m for m in model.modules() if isinstance(m, CBAM)]
    assert len(found) == 16
    for gate in found:
        x = torch.randn(2, gate.channels, 5, 6)
        _, (_, spatial) = gate(x, return_attention=True)
        assert (spatial == 0.5).all()
        assert (gate.spatial.norm.weight == 0).all()
        assert (gate.channel.reduce.bias == 0).all()


@pytest.mark.parametrize("combine", ["multiply", "add"])
def test_bam_ends_the_first_three_stages(combine):
    with torch.device("meta"):
        model = resnet50_bam(combine=combine)
    found = [
        (number, place, module.channels)
        for number, stage in enumerate(model.stages)
        for place, module in enumerate(stage)
        if isinstance(module, BAM)
    ]
    assert found == [(0, 3, 256), (1, 4, 512), (2, 6, 1024)]
    assert all(m.combine == combine for m in model.modules() if isinstance(m, BAM))


@pytest.mark.parametrize("make", NETWORKS)
def test_without_its_gates_it_is_the_resnet(make, device):
    torch.manual_seed(0)
    gated, plain = (
        make(width=16).to(device).eval(),
        resnet50(width=16).to(device).eval(),
    )
    x = torch.randn(2, 3, 37, 40, device=device)
    state = plain.state_dict()
    missing, unexpected = gated.load_state_dict(state, strict=False)
    assert not unexpected
    assert missing
    assert not torch.allclose(gated(x), plain(x))
    for module in gated.modules():
        if isinstance(module, GatedBottleneck):
            module.gate = nn.Identity()
    for stage in gated.stages:
        if isinstance(stage[-1], BAM):
            stage[-1] = nn.Identity()
    torch.testing.assert_close(gated(x), plain(x))


@pytest.mark.parametrize("make", NETWORKS)
def test_every_parameter_gets_a_gradient(make, device):
    torch.manual_seed(0)
    model = make(num_classes=3, in_channels=2, width=16).to(device)
    y = model(torch.randn(4, 2, 40, 33, device=device))
    F.cross_entropy(y, torch.tensor([0, 1, 2, 0], device=device)).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        # A spatial gate's kernel has to wait until its batch norm has left zero. BAM's
        # branches start with zero biases, and one may be dead on four images.
        waits = "spatial" in name or "channel" in name
        assert waits or p.grad.abs().max() > 0, name


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("size", [(33, 40), (97, 20)])
def test_any_size(make, size, device):
    model = make(num_classes=7, in_channels=2, width=16).eval().to(device)
    assert model(torch.zeros(2, 2, *size, device=device)).shape == (2, 7)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (resnet50_se, {"num_classes": 0}, ValueError, "num_classes.*0"),
        (resnet50_se, {"reduction": 512}, ValueError, "channels=256, reduction=512"),
        (resnet50_cbam, {"kernel_size": 6}, ValueError, "odd.*6"),
        (resnet50_bam, {"combine": "sum"}, ValueError, "'sum'"),
        (resnet50_bam, {"width": 2.5}, TypeError, r"width.*2\.5"),
        (resnet50_bam, {"heads": 8}, TypeError, "heads"),
    ],
)
def test_bad_input(make, options, error, message):
    with pytest.raises(error, match=message):
        make(**options)
