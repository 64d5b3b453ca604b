"""The networks have the papers' sizes, and run on maps of any size."""

import pytest
import torch

from visattn import create_model, list_models
from visattn.lab import count_macs
from visattn.mechanisms.augmented import AAConv2d
from visattn.mechanisms.local import AttentionStem2d, LocalAttention2d
from visattn.models import resnet
from visattn.models.resnet import augmented_channels

# Parameters in millions as the papers print them.
PUBLISHED = [
    ("resnet26", {}, 13.7),
    ("resnet38", {}, 19.6),
    ("resnet50", {}, 25.6),
    ("resnet34", {}, 21.8),
    ("resnet101", {}, 44.5),
    ("sasa_resnet26", {}, 10.3),
    ("sasa_resnet38", {}, 14.1),
    ("sasa_resnet50", {}, 18.0),
    ("sasa_resnet26", {"stem": "attention"}, 10.3),
    ("sasa_resnet38", {"stem": "attention"}, 14.1),
    ("sasa_resnet50", {"stem": "attention"}, 18.0),
    ("aa_resnet34", {}, 20.7),
    ("aa_resnet50", {}, 25.8),
    ("aa_resnet101", {}, 45.4),
]
# These two come out above the printed figure by less than its last digit: the paper's
# figure is then the count cut off, not rounded (14.17 and 20.76).
CUT_OFF = {"sasa_resnet38", "aa_resnet34"}

# Stages with attention in SASA-ResNet-50 (table 3 of the paper).
GROUPS = [
    ((1, 2, 3, 4), 18.0),
    ((2, 3, 4), 18.1),
    ((3, 4), 18.5),
    ((4,), 20.8),
    ((), 25.6),
    ((1,), 25.5),
    ((1, 2), 25.0),
    ((1, 2, 3), 22.7),
]


def millions(model):
    return sum(p.numel() for p in model.parameters()) / 1e6


@pytest.mark.parametrize(("name", "options", "published"), PUBLISHED)
def test_published_parameters(name, options, published):
    found = millions(create_model(name, **options))
    if name in CUT_OFF:
        assert int(found * 10) / 10 == pytest.approx(published)
    else:
        assert round(found, 1) == pytest.approx(published)


def test_resnet50_is_exact():
    assert sum(p.numel() for p in create_model("resnet50").parameters()) == 25_557_032


@pytest.mark.parametrize(("groups", "published"), GROUPS)
def test_published_parameters_of_attention_groups(groups, published):
    found = millions(create_model("sasa_resnet50", groups=groups))
    # The paper prints 25.0 for groups 1 and 2; the count is 25.09.
    assert found == pytest.approx(published, abs=0.1 if groups == (1, 2) else 0.05)


def attention_macs(model, size):
    """Multiply-adds of the windows, which the counter of operators cannot see."""
    found = 0

    def hook(module, inputs, output):
        nonlocal found
        H, W = inputs[0].shape[2:]
        # q.k, q.r and the sum of values: the relative part is counted per window place
        found += 3 * H * W * module.kernel_size**2 * module.out_channels

    for module in model.modules():
        if isinstance(module, LocalAttention2d):
            module.register_forward_hook(hook)
    with torch.no_grad():
        seen = count_macs(lambda: model(torch.zeros(1, 3, size, size)))
    return seen + found


# 2 * multiply-adds at 224x224, in billions (table 1; table 4 for the window).
OPERATIONS = [
    ("resnet26", {}, 4.7, 0.1),
    ("resnet38", {}, 6.5, 0.1),
    ("resnet50", {}, 8.2, 0.1),
    ("sasa_resnet26", {}, 4.5, 0.3),
    ("sasa_resnet38", {}, 5.7, 0.3),
    ("sasa_resnet50", {}, 7.0, 0.3),
]


@pytest.mark.parametrize(("name", "options", "published", "slack"), OPERATIONS)
def test_published_operations(name, options, published, slack):
    found = 2 * attention_macs(create_model(name, **options).eval(), 224) / 1e9
    assert found == pytest.approx(published, abs=slack)


def augmented_macs(layer, side, tables):
    """Multiply-adds of an AAConv2d's attention over side x side pixels.

    Projections, q.k and values over all pairs, and q.r with each row of the tables,
    as the paper's listing makes the relative logits.
    """
    d_k, d_v = layer.key_channels, layer.value_channels
    pixel = layer.in_channels * (2 * d_k + d_v) + d_v**2 + side**2 * (d_k + d_v)
    return side**2 * (pixel + tables * (2 * side - 1) * d_k)


@pytest.mark.parametrize("stride", [1, 2])
def test_macs_of_augmented_convolution(stride):
    layer = AAConv2d(12, 24, 3, 16, 8, 4, 10, relative=False, stride=stride)
    with torch.no_grad():
        found = count_macs(lambda: layer(torch.zeros(1, 12, 10, 10)))
    convolution = (10 // stride) ** 2 * 9 * 12 * (24 - 8)
    assert found == convolution + augmented_macs(layer, 10, tables=0)


# The counter sees in the fused relative form the longer vectors of its trick. So the
# network is counted without tables, and each attention is exchanged for its formula.
# The paper's figure depends on the map over which a layer with a stride attends:
# the entering one (ours), the strided one, or that one cut to 14 x 14. None of the
# three gives the printed digit; the last misses it by 0.1 to 0.2.
AUGMENTED = [  # depth, printed figure, the three counts
    (34, 7.1, (12.64, 8.38, 7.21)),
    (50, 8.3, (13.55, 9.49, 8.38)),
    (101, 16.1, (21.49, 17.43, 16.32)),
]


@pytest.mark.parametrize(("depth", "published", "counts"), AUGMENTED)
def test_operations_of_augmented_networks(depth, published, counts):
    with torch.device("meta"):
        model = create_model(f"aa_resnet{depth}", relative=False).eval()
        image = torch.zeros(1, 3, 224, 224)
    sides = []

    def hook(layer, inputs, output):
        sides.append((layer, inputs[0].shape[-1], output.shape[-1]))

    for module in model.modules():
        if isinstance(module, AAConv2d):
            module.register_forward_hook(hook)
    with torch.no_grad():
        plain = count_macs(lambda: model(image))
    rest = plain - sum(augmented_macs(layer, side, 0) for layer, side, _ in sides)
    assert {before for _, before, _ in sides} == {56, 28, 14, 7}

    def total(reading):
        attention = sum(augmented_macs(layer, reading(*s), 2) for layer, *s in sides)
        return 2 * (rest + attention) / 1e9

    found = [total(max), total(min), total(lambda *s: min(*s, 14))]
    assert found == pytest.approx(counts, abs=0.005)
    assert all(round(count, 1) != published for count in found)
    assert abs(found[2] - published) < 0.25
    # The excess of ours is mostly the one layer that attends over 56 x 56 pixels.
    widest = [augmented_macs(layer, side, 2) for layer, side, _ in sides if side == 56]
    assert len(widest) == 1
    assert 2 * widest[0] / 1e9 > (found[0] - published) / 2


def test_convolutions_start_with_fan_out():
    torch.manual_seed(0)
    model = create_model("sasa_resnet26", stem="attention")
    checked = 0
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.numel() > 10_000:
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            std = (2 / fan_out) ** 0.5
            assert module.weight.std().item() == pytest.approx(std, rel=0.05)
            checked += 1
    layer = next(m for m in model.modules() if isinstance(m, LocalAttention2d))
    weight = layer.query.weight  # a projection of an attention, 64 -> 64
    assert checked > 20
    assert weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.1)
    stem = next(m for m in model.modules() if isinstance(m, AttentionStem2d))
    assert stem.value.abs().max() <= 3**-0.5  # uniform, its own start


@pytest.mark.parametrize("name", [n for n in resnet.__all__ if n.islower()])
def test_builders_are_named(name):
    builder = getattr(resnet, name)
    assert builder.__name__ == builder.__qualname__ == name
    assert "resnet" in builder.__doc__.splitlines()[0].lower()


@pytest.mark.parametrize(
    "name", [n for n in list_models() if n.startswith(("resnet", "sasa_resnet"))]
)
@pytest.mark.parametrize("size", [(33, 40)])
def test_any_size(name, size):
    model = create_model(name, num_classes=7, in_channels=2, width=16).eval()
    assert model(torch.zeros(2, 2, *size)).shape == (2, 7)


@pytest.mark.parametrize("stem", ["conv", "attention"])
def test_both_stems_learn(stem):
    torch.manual_seed(0)
    model = create_model("sasa_resnet26", num_classes=3, stem=stem, width=16)
    y = model(torch.randn(4, 3, 32, 32))
    torch.nn.functional.cross_entropy(y, torch.tensor([0, 1, 2, 0])).backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() for p in model.parameters()
    )


@pytest.mark.parametrize("name", ["aa_resnet34", "aa_resnet50"])
def test_augmented_networks_take_their_own_size(name):
    model = create_model(name, num_classes=5, width=16, size=(48, 40)).eval()
    assert model(torch.zeros(1, 3, 48, 40)).shape == (1, 5)
    free = create_model(name, num_classes=5, width=16, relative=False).eval()
    assert free(torch.zeros(1, 3, 37, 50)).shape == (1, 5)


def test_channels_of_augmented_convolutions():
    assert [augmented_channels(f, 0.2, 0.1, 8) for f in (128, 256, 512)] == [
        (160, 16),
        (160, 24),
        (160, 48),
    ]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("resnet152", {}, ValueError, "'resnet152'.*resnet50"),
        ("resnet50", {"num_classes": 0}, ValueError, "num_classes.*0"),
        ("resnet50", {"heads": 8}, TypeError, "heads"),
        ("sasa_resnet26", {"stem": "patch"}, ValueError, "'patch'"),
        ("sasa_resnet26", {"kernel_size": 6}, ValueError, "odd.*6"),
        ("sasa_resnet26", {"groups": (4, 5)}, ValueError, r"\(4, 5\)"),
        ("aa_resnet50", {"size": (0, 8)}, ValueError, "height.*0"),
        ("aa_resnet50", {"size": (8,)}, ValueError, r"\(8,\)"),
        ("aa_resnet50", {"size": 8.0}, TypeError, r"height.*8\.0"),
    ],
)
def test_bad_input(name, options, error, message):
    with pytest.raises(error, match=message):
        create_model(name, **options)


@pytest.mark.bad_input
def test_bad_image():
    model = create_model("aa_resnet50", width=16, size=64).eval()
    with pytest.raises(ValueError, match=r"in_channels=3.*\[1, 4, 64, 64\]"):
        model(torch.zeros(1, 4, 64, 64))
    with pytest.raises(ValueError, match=r"made for maps of 16 x 16, got 8 x 8"):
        model(torch.zeros(1, 3, 32, 32))
