"""Every parameter of every module and of every network receives a gradient.

A parameter without one is never trained: a mask that is inverted, a table that is
never read, a projection whose result is dropped. No test of shapes sees that.
"""

import inspect
import math
from collections import defaultdict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import visattn
from visattn.models import _MODELS, create_model, list_models

# A gradient that is a smaller share of its neighbours' is rounding. In float64 what
# mathematics makes zero comes out below 1e-14, and what is alive above 1e-6.
ROUNDING = 1e-11


def awake(module):
    """Module in float64, evaluation mode, without a number that hides another.

    Gains that start at zero (the last norm of a block, a gate's gamma, a bias) stop
    every gradient behind them, by design and only until the first step. So each
    parameter is moved from its start: by a third of its root mean square, or by 0.1
    where that is zero. Batch norms take their statistics from the data, moved too, and
    then stand still: in training they would subtract the bias before them, whose
    gradient is then zero by design.
    """
    module = module.double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            size = parameter.square().mean().sqrt().item() / 3 or 0.1
            noise = torch.randn(parameter.shape, generator=generator).double()
            parameter.add_(size * noise)
    return module.eval()


def settle(module, x):
    """Give each batch norm the statistics of what reaches it, a little beside them."""

    def set_statistics(norm, inputs):
        axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
        variance, mean = torch.var_mean(inputs[0], axes, correction=0)
        norm.running_mean.copy_(mean + 0.1 * variance.sqrt())
        norm.running_var.copy_(1.1 * variance + 1e-3)

    hooks = [
        norm.register_forward_pre_hook(set_statistics)
        for norm in module.modules()
        if isinstance(norm, nn.modules.batchnorm._BatchNorm)
    ]
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()


def gradients(module, x):
    """Largest gradient of each parameter, as a share of the largest of its neighbours.

    Neighbours are the parameters of the same layer and of the layers beside it. Far
    ones do not compare: through a hundred layers gradients grow by many powers of ten.
    """
    settle(awake(module), x)
    y = module(x)
    generator = torch.Generator().manual_seed(1)
    cotangent = torch.randn(y.shape, generator=generator).double()
    module.zero_grad()
    (y * cotangent).sum().backward()
    found = {
        name: 0.0 if p.grad is None else p.grad.abs().max().item()
        for name, p in module.named_parameters()
    }
    assert all(math.isfinite(size) for size in found.values())
    largest = defaultdict(float)
    for name, size in found.items():
        block = ".".join(name.split(".")[:-2])
        largest[block] = max(largest[block], size)
    return {
        name: size and size / largest[".".join(name.split(".")[:-2])]
        for name, size in found.items()
    }


def silent(module, x):
    """Names of the parameters whose gradient is zero, or only rounding."""
    return [name for name, share in gradients(module, x).items() if share < ROUNDING]


def numbers(*shape):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(shape, generator=generator).double()


# The modules --------------------------------------------------------------------------

MAP, TOKENS = (2, 16, 7, 6), (2, 9, 16)
# (arguments, options, input) of each module of the package; one entry for each way
# through its code.
MODULES = {
    "AAConv2d": [
        ((16, 24, 3, 16, 8, 4, (7, 6)), {"relative": relative, "stride": stride})
        for relative in (True, False)
        for stride in (1, 2)
    ],
    "AttentionStem2d": [((16, 8), {})],
    "AxialAttention2d": [((16, 24, 4), {"axis": axis}) for axis in ("height", "width")],
    "BAM": [((16, 4), {"combine": combine}) for combine in ("multiply", "add")],
    "CBAM": [((16, 4), {})],
    "ChannelGate": [((16, 4), {})],
    "ChannelizedAxialAttention2d": [
        ((16, 24, 8), {"channel_attention": gates}) for gates in (True, False)
    ],
    "Conv2d": [((16, 8, 3), {})],
    "CoordinateAttention": [((16,), {})],
    "CrissCrossAttention2d": [((16,), {"recurrence": r}) for r in (1, 2)],
    "HaloAttention2d": [
        ((16, 24, 4, 1, 4), {"stride": stride, "border": border, **more})
        for stride in (1, 2)
        for border in ("mask", "zero")
        for more in ({}, {"dim_head": 3}, {"dim_head": 3, "projection": True})
    ],
    "LearnedPosition2d": [((16, 7, 6), {})],
    "LearnedRelativeAttention2d": [
        ((16, 8, 4), {"content": content, "query_relative": relative})
        for content in (True, False)
        for relative in (True, False)
    ],
    "LocalAttention2d": [
        ((16, 24, 3, 4), {"stride": stride, "border": border})
        for stride in (1, 2)
        for border in ("mask", "zero")
    ],
    "MultiHeadSelfAttention": [((16, 4), {"bias": bias}) for bias in (True, False)],
    "NonLocal2d": [
        ((16,), {"subsample": subsample, "scale": scale})
        for subsample in (True, False)
        for scale in (True, False)
    ],
    "PairwiseAttention2d": [
        ((16, 8, 16, 3, 4), {"relation": relation})
        for relation in ("summation", "subtraction", "concatenation", "hadamard", "dot")
    ],
    "PatchwiseAttention2d": [
        ((16, 8, 16, 3, 4), {"relation": relation})
        for relation in ("star", "clique", "concatenation")
    ],
    "PositionSensitiveAxialAttention2d": [
        ((16, 16, 4, 7, "height"), {"stride": 1}),
        ((16, 16, 4, 6, "width"), {"stride": 2}),
    ],
    "QuadraticAttention2d": [((16, 8, 4), {"isotropic": i}) for i in (True, False)],
    "SelfAttention": [((16, 8), {})],
    "SpatialGate": [((3,), {})],
    "SqueezeExcitation": [((16, 4), {})],
}

# What mathematics makes zero, and nothing else. In each of these the parameter adds the
# same number to all logits of one softmax, which does not see it: a bias of the keys
# adds q.b whatever the key is; so does the last bias before the softmax. The position
# of pairwise attention is only used as a difference of two, in which its bias cancels.
FORCED = {
    "CrissCrossAttention2d": ("key.bias",),
    "LearnedRelativeAttention2d": ("key.bias",),
    "MultiHeadSelfAttention": ("key.bias",),
    "NonLocal2d": ("key.bias",),
    "PairwiseAttention2d": ("position.bias", "gamma.5.bias"),
    "PositionSensitiveAxialAttention2d": ("logit_norm.bias",),
}

CASES = [
    pytest.param(name, *case, id="-".join([name, *map(str, case[1].values())]))
    for name, cases in MODULES.items()
    for case in cases
]


def build(name, arguments, options):
    torch.manual_seed(0)
    return getattr(visattn, name)(*arguments, **options)


def exempt(module):
    """Names of the parameters of a network that `FORCED` names."""
    return {
        f"{path}.{name}" if path else name
        for path, layer in module.named_modules()
        for name in FORCED.get(type(layer).__name__, ())
        if name in dict(layer.named_parameters())
    }


def exported():
    """Names of the modules of the package."""
    names = [n for n in visattn.__all__ if inspect.isclass(getattr(visattn, n))]
    return {n for n in names if issubclass(getattr(visattn, n), nn.Module)}


def test_no_module_is_left_out():
    assert set(MODULES) == exported()


@pytest.mark.parametrize(("name", "arguments", "options"), CASES)
def test_modules(name, arguments, options):
    module = build(name, arguments, options)
    x = numbers(*(TOKENS if name == "SelfAttention" else MAP))
    assert set(silent(module, x)) == exempt(module)


@pytest.mark.parametrize("name", FORCED)
def test_exceptions_are_forced(name):
    """Moving the parameter far changes no output; moving another one does."""
    found = set()
    for arguments, options in MODULES[name]:
        module, x = build(name, arguments, options), numbers(*MAP)
        gradients(module, x)  # wakes it
        before = module(x)
        for parameter, values in module.named_parameters():
            start = values.detach().clone()
            with torch.no_grad():
                values.add_(3 * numbers(*values.shape))
            moved = (module(x) - before).abs().max().item()
            if parameter in FORCED[name]:
                assert moved < 1e-12 * before.abs().max()
                found.add(parameter)
            else:
                assert moved > 1e-6 * before.abs().max(), parameter
            with torch.no_grad():
                values.copy_(start)
    assert found == set(FORCED[name])


# The networks -------------------------------------------------------------------------

# Small widths, where the network has an argument for it. An attention over one pixel
# has one weight, which is 1: all maps keep at least two.
SIZES = {
    "aa": ({"width": 16, "size": (64, 96)}, (64, 96)),
    "attention_cnn": ({"hidden": 36, "depth": 3, "intermediate": 24}, (16, 18)),
    "axial": ({"width": 16, "size": (64, 96)}, (64, 96)),
    "caa": ({"width": 8, "channels": 16}, (64, 48)),
    "mobile": ({"width": 0.25}, (64, 48)),
    "san": ({"width": 32, "share": 4}, (128, 130)),
    "resnet18_cifar": ({"width": 16}, (32, 24)),
    "vit": ({"size": (32, 48), "dim": 24, "num_heads": 3}, (32, 48)),
}


@pytest.mark.parametrize("name", list_models())
def test_networks(name):
    fits = [entry for start, entry in SIZES.items() if name.startswith(start)]
    options, shape = fits[0] if fits else ({"width": 16}, (64, 50))
    torch.manual_seed(0)
    model = create_model(name, num_classes=7, **options)
    assert set(silent(model, numbers(2, 3, *shape))) == exempt(model)


def test_the_registry_is_whole():
    builders = [f for n in visattn.__all__ if callable(f := getattr(visattn, n))]
    networks = {f for f in builders if f.__module__.startswith("visattn.models")}
    networks -= {visattn.create_model, visattn.list_models}
    assert networks <= set(_MODELS.values())


# The search itself --------------------------------------------------------------------


class InvertedHalo(nn.Module):
    """Halo attention on a map of one block, with its mask the wrong way round.

    A public implementation had this mistake for years: pixels are masked, and the
    padding around them is kept. All keys and values that are left are zero.
    """

    def __init__(self, wrong=True):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.out, self.wrong = nn.Linear(16, 16), wrong

    def forward(self, x):
        x = x.movedim(1, -1)
        inside = F.pad(torch.ones(x.shape[1:3]), (1, 1, 1, 1)).flatten() > 0
        pad = (0, 0, 1, 1, 1, 1)
        k, v = (F.pad(f(x), pad).flatten(1, 2) for f in (self.key, self.value))
        logits = self.query(x).flatten(1, 2) @ k.mT  # [B, queries, keys]
        logits = logits.masked_fill(inside if self.wrong else ~inside, -math.inf)
        return self.out(logits.softmax(-1) @ v)


def test_an_inverted_mask_is_found():
    found = silent(InvertedHalo(), numbers(*MAP))
    layers = ("query", "key", "value")
    hidden = {f"{name}.{part}" for name in layers for part in ("weight", "bias")}
    # The output is the bias of the last layer: not even its weight is alive.
    assert set(found) == {*hidden, "out.weight"}
    assert silent(InvertedHalo(wrong=False), numbers(*MAP)) == ["key.bias"]


@pytest.mark.parametrize("mistake", ["detached", "unused", "one key"])
def test_other_mistakes_are_found(mistake):
    class Wrong(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = visattn.MultiHeadSelfAttention(16, 4, bias=False)
            self.table = nn.Parameter(torch.ones(16, 1, 1))
            self.classifier = nn.Linear(16, 3)

        def forward(self, x):
            if mistake == "one key":  # a softmax over a single key is 1
                x = x[:, :, :1, :1]
            y = self.attention(x if mistake == "unused" else x * self.table)
            y = y.detach() if mistake == "detached" else y
            return self.classifier(y.mean((2, 3)))

    layers = [f"attention.{name}.weight" for name in ("query", "key", "value", "out")]
    expected = {
        "detached": ["table", *layers],
        "unused": ["table"],
        "one key": layers[:2],
    }
    assert sorted(silent(Wrong(), numbers(*MAP))) == sorted(expected[mistake])
