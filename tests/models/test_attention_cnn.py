"""The attention-only network: sizes, its official weights, its gradients."""

import math

import pytest
import torch

from visattn.checkpoints import convert
from visattn.lab import count_macs
from visattn.models import attention_cnn, create_model, resnet18_cifar
from visattn.models.attention_only import AttentionCNN

ENCODINGS = ["quadratic", "learned", "learned_content"]


def size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_sizes():
    with torch.device("meta"):
        assert size(attention_cnn()) == 12_086_844
        assert round(size(attention_cnn(encoding="learned")) / 1e6, 1) == 12.3
        assert round(size(attention_cnn(encoding="learned_content")) / 1e6, 1) == 29.5
        assert size(resnet18_cifar()) == 11_173_962


@pytest.mark.parametrize(
    ("encoding", "published", "linear"),
    [("quadratic", 6.2, 3_087_978_400), ("learned_content", 15.0, 7_511_658_400)],
)
def test_published_operations_are_those_of_linear_layers(encoding, published, linear):
    model = attention_cnn(encoding=encoding).eval()
    counted = 0

    def hook(module, inputs, output):
        nonlocal counted
        weight = module.weight
        counted += output.numel() // weight.shape[0] * weight.numel()

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(hook)
    x = torch.zeros(1, 3, 32, 32)
    with torch.no_grad():
        total = count_macs(lambda: model(x))
    layers = [layer.attention for layer in model.layers]
    for attention in layers:  # pointwise maps that ours keeps as 1x1 convolutions
        for name in ("query", "key", "value"):
            part = getattr(attention, name, None)
            if part is not None:
                counted += 16 * 16 * part.weight.numel()
    assert counted == linear
    assert round(2 * counted / 1e9, 1) == published
    assert total > counted  # the averages themselves


def official(model: AttentionCNN) -> dict[str, torch.Tensor]:
    """The same weights under the official names."""
    names = {
        "embed.": "features_upscale.",
        "layers.": "encoder.layer.",
        ".dense.": ".attention.output.dense.",
        ".norm1.": ".attention.output.LayerNorm.",
        ".widen.": ".intermediate.dense.",
        ".narrow.": ".output.dense.",
        ".norm2.": ".output.LayerNorm.",
        ".attention.centers": ".attention.self.attention_centers",
        ".attention.spreads": ".attention.self.attention_spreads",
        ".attention.value.": ".attention.self.value.",
    }
    state = {}
    for name, value in model.state_dict().items():
        theirs = name
        for here, there in names.items():
            theirs = theirs.replace(here, there)
        if name.endswith("attention.value.weight"):
            value = value[:, :, 0, 0]
        state[theirs] = value
    state["encoder.layer.0.attention.self.R"] = torch.zeros(5)
    state["attention_mask"] = torch.tensor(1.0)
    return state


def test_official_network_loads():
    torch.manual_seed(0)
    theirs = attention_cnn(hidden=8, depth=2, intermediate=12)
    ours = attention_cnn(hidden=8, depth=2, intermediate=12)
    state = official(theirs)
    assert "encoder.layer.1.attention.output.LayerNorm.weight" in state
    assert "encoder.layer.1.output.LayerNorm.weight" in state
    ours.load_state_dict(convert(state, "attention-cnn"))
    x = torch.randn(2, 3, 8, 10)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_parameter_learns(device, encoding):
    torch.manual_seed(0)
    model = attention_cnn(encoding=encoding, hidden=8, depth=2, num_heads=4).to(device)
    model(torch.randn(3, 3, 8, 12, device=device)).square().sum().backward()
    for name, parameter in model.named_parameters():
        # A shift of all logits of a query changes no softmax.
        silent = name.endswith("key.bias")
        assert silent or parameter.grad.abs().max() > 0, name


def test_pixels_become_channels_row_column_colour():
    model = attention_cnn(hidden=8, depth=1, in_channels=2)
    seen = []
    model.embed.register_forward_hook(lambda m, inputs, y: seen.append(inputs[0]))
    x = torch.arange(2 * 4 * 6.0).reshape(1, 2, 4, 6)
    model(x)
    assert seen[0].shape == (1, 2, 3, 8)
    wanted = [
        x[0, c, 2 + p, 4 + q] for p in range(2) for q in range(2) for c in range(2)
    ]
    assert torch.equal(seen[0][0, 1, 2], torch.stack(wanted))


def test_registry():
    model = create_model(
        "attention_cnn", num_classes=7, in_channels=1, hidden=6, depth=1
    )
    assert model(torch.zeros(1, 1, 4, 6)).shape == (1, 7)
    small = create_model("resnet18_cifar", num_classes=3, in_channels=1, width=8)
    assert small(torch.zeros(2, 1, 28, 28)).shape == (2, 3)
    assert math.isfinite(small(torch.zeros(2, 1, 28, 28)).sum().item())


@pytest.mark.bad_input
def test_bad_input():
    with pytest.raises(ValueError, match="'sine'"):
        attention_cnn(encoding="sine")
    model = attention_cnn(hidden=6, depth=1)
    with pytest.raises(ValueError, match=r"block=2, got shape \[1, 3, 5, 6\]"):
        model(torch.zeros(1, 3, 5, 6))
    with pytest.raises(ValueError, match="in_channels=3"):
        model(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="hidden must be at least 1"):
        attention_cnn(hidden=0)
    with pytest.raises(ValueError, match="max_position must be"):
        attention_cnn(max_position=0)
