"""Networks with axial attention: their sizes, their maps, their gradients."""

import pytest
import torch

from visattn.lab import count_macs
from visattn.models.axial import CAAHead, axial_resnet26s, caa_resnet50


def size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_sizes():
    with torch.device("meta"):
        assert size(axial_resnet26s()) == 5_944_936
        assert size(CAAHead(2048)) == 11_473_152


def test_the_backbone_has_stride_16():
    with torch.device("meta"):
        model = caa_resnet50()
        features = model.backbone(torch.zeros(1, 3, 1025, 1025))
    assert features.shape == (1, 2048, 65, 65)
    dilations = [block.conv2.dilation for block in model.backbone[1][3]]
    assert dilations == [(2, 2), (4, 4), (8, 8)]


def test_gates_cost_no_multiply_adds_to_speak_of():
    with torch.device("meta"):
        x = torch.zeros(1, 2048, 65, 65)
        with_gates = CAAHead(2048).eval()
        without = CAAHead(2048, channel_attention=False).eval()
        more = count_macs(lambda: with_gates(x)) - count_macs(lambda: without(x))
        assert 0 < more < 0.001 * count_macs(lambda: without(x))


@pytest.mark.parametrize(
    ("make", "x", "shape"),
    [
        (
            lambda: axial_resnet26s(num_classes=5, width=16, size=(32, 64)),
            (3, 3, 32, 64),
            (3, 5),
        ),
        (
            lambda: caa_resnet50(num_classes=5, width=8, channels=16, depth=2),
            (3, 3, 33, 50),
            (3, 5, 33, 50),
        ),
    ],
)
def test_every_parameter_learns(device, make, x, shape):
    torch.manual_seed(0)
    model = make().to(device)
    for name, parameter in model.named_parameters():
        if name.endswith("bn2.weight"):  # starts at zero, which stops the gradient
            torch.nn.init.ones_(parameter)
    y = model(torch.randn(*x, device=device))
    assert y.shape == shape
    (y * torch.randn_like(y)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.bad_input
def test_bad_input():
    with pytest.raises(ValueError, match="size=40"):
        axial_resnet26s(size=40)
    model = axial_resnet26s(width=16, size=32)
    with pytest.raises(
        ValueError, match=r"size=\(32, 32\), got shape \[1, 3, 64, 32\]"
    ):
        model(torch.zeros(1, 3, 64, 32))
    with pytest.raises(ValueError, match="in_channels=3"):
        caa_resnet50(width=8, channels=16)(torch.zeros(1, 1, 32, 32))
