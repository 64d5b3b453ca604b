"""The vision transformer: sizes, equality with its formula, symmetries."""

import pytest
import torch

from visattn import create_model, list_models, vit_b16, vit_s16, vit_ti16
from visattn.lab import count_macs
from visattn.models.vit import TransformerBlock, VisionTransformer


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("build", "exact", "millions"),
    [
        # touvron2021, table 1, prints 5 M and 22 M. torchvision's published metadata
        # for ViT-B/16 says 86567656; dosovitskiy2021, table 1, prints 86 M.
        (vit_ti16, 5_717_416, 5),
        (vit_s16, 22_050_664, 22),
        (vit_b16, 86_567_656, 86),
    ],
)
def test_sizes(build, exact, millions):
    with torch.device("meta"):
        count = parameters(build())
    assert count == exact
    assert count // 10**6 == millions


def test_multiply_adds_follow_from_the_sizes():
    """12 D^2 for each token, 2 T D for each pair, patches and classifier."""
    with torch.device("meta"):
        model, x = vit_ti16(), torch.zeros(1, 3, 224, 224)
        macs = count_macs(lambda: model(x))
    T, D = 197, 192
    expected = 12 * (12 * T * D * D + 2 * T * T * D) + 196 * 768 * D + 1000 * D
    assert macs == expected


def test_registry():
    assert {"vit_ti16", "vit_s16", "vit_b16"} <= set(list_models())
    model = create_model("vit_ti16", num_classes=7, in_channels=1, size=32)
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


@pytest.fixture
def small():
    torch.manual_seed(0)
    return VisionTransformer((12, 20), 4, 16, 2, 2, 32, 5, 2).double().eval()


def test_patches_are_a_matrix_product(small):
    x = torch.randn(3, 2, 12, 20, dtype=torch.float64)
    tokens = small.tokens(x) - small.position
    weight = small.patch.weight.flatten(1)
    for number, (i, j) in enumerate([(a, b) for a in range(3) for b in range(5)]):
        patch = x[:, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].flatten(1)
        expected = patch @ weight.mT + small.patch.bias
        torch.testing.assert_close(tokens[:, 1 + number], expected)
    torch.testing.assert_close(tokens[:, 0], small.class_token[0].expand(3, -1))


def test_equals_the_library_s_encoder(small):
    """torch.nn.TransformerEncoderLayer with norm_first is the same block."""
    block = small.blocks[0]
    theirs = torch.nn.TransformerEncoderLayer(
        16, 2, 32, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True
    ).double()
    a = block.attention
    theirs.self_attn.in_proj_weight.data = torch.cat(
        [a.query.weight, a.key.weight, a.value.weight]
    )
    theirs.self_attn.in_proj_bias.data = torch.cat(
        [a.query.bias, a.key.bias, a.value.bias]
    )
    theirs.self_attn.out_proj.load_state_dict(a.out.state_dict())
    theirs.norm1.load_state_dict(block.norm1.state_dict())
    theirs.norm2.load_state_dict(block.norm2.state_dict())
    theirs.linear1.load_state_dict(block.mlp[0].state_dict())
    theirs.linear2.load_state_dict(block.mlp[2].state_dict())
    z = torch.randn(3, 7, 16, dtype=torch.float64)
    torch.testing.assert_close(block(z), theirs(z))


def test_attention_of_every_block(small):
    x = torch.randn(3, 2, 12, 20, dtype=torch.float64)
    y, attention = small(x, return_attention=True)
    assert attention.shape == (3, 2, 2, 16, 16)
    torch.testing.assert_close(attention.sum(-1), torch.ones(3, 2, 2, 16).double())
    torch.testing.assert_close(small(x), y)


def test_only_positions_know_the_order_of_patches(small):
    x = torch.randn(1, 2, 12, 20, dtype=torch.float64)
    moved = x.roll(4, dims=3)  # patches change places, whole
    assert (small(moved) - small(x)).abs().max() > 1e-3
    torch.nn.init.zeros_(small.position)
    torch.testing.assert_close(small(moved), small(x))
    assert (small(x.roll(1, dims=3)) - small(x)).abs().max() > 1e-3


def test_every_parameter_learns(small):
    small(torch.randn(3, 2, 12, 20, dtype=torch.float64)).square().sum().backward()
    for name, parameter in small.named_parameters():
        if name.endswith("key.bias"):  # adds one number to all logits of a query
            assert parameter.grad.abs().max() < 1e-9
        else:
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.bad_input
def test_bad_input(small):
    with pytest.raises(ValueError, match="12 x 20"):
        small(torch.zeros(1, 2, 12, 16))
    with pytest.raises(ValueError, match="in_channels=2"):
        small(torch.zeros(1, 3, 12, 20))
    with pytest.raises(ValueError, match="divisible by patch_size"):
        VisionTransformer(30, 16)
    with pytest.raises(ValueError, match="num_heads"):
        TransformerBlock(10, 3, 20)
    with pytest.raises(TypeError):
        VisionTransformer(32, 8.0)
