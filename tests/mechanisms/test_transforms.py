"""Function transforms see through our own operators, or find the plain form.

Each operator with its own backward is compared with the same function in PyTorch's
operators, under ``torch.func`` and in forward mode, eager and compiled.
"""

import pytest
import torch
from torch.autograd import forward_ad

from visattn.kernels import gate as gates
from visattn.mechanisms.local import local_attention
from visattn.mechanisms.san import PatchwiseAttention2d, aggregate, pairwise_relation

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


def draw(*shape: int) -> torch.Tensor:
    """Numbers without a pattern; vmap allows no random ones."""
    count = torch.Size(shape).numel()
    x = torch.arange(count, dtype=torch.float64) + sum(shape)
    return (12.9898 * x).sin().reshape(shape)


def through_local(x):  # [1, 2, 4, 5, 4]
    return local_attention(x, draw(*x.shape), 2 * x, None, None, 3)


def plain_local(x):
    key = draw(*x.shape)
    options = (None, None, 3)
    return local_attention(x, key, 2 * x, *options, return_attention=True)[0]


def windows(x):  # [B, C, H, W] -> [B, C, 9, H, W]
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    H, W = x.shape[2:]
    places = [padded[..., a : a + H, b : b + W] for a in range(3) for b in range(3)]
    return torch.stack(places, dim=2)


def through_aggregate(x):  # [1, 4, 4, 5]
    return aggregate(draw(1, 4, 9, 4, 5) * x.mean(), x, 3)


def plain_aggregate(x):
    return (draw(1, 4, 9, 4, 5) * x.mean() * windows(x)).sum(2)


def through_relation(x):
    return pairwise_relation(x, 3 * x, 3, "hadamard")


def plain_relation(x):
    return x[:, :, None] * windows(3 * x)


def through_gate(x):
    return gates.gate(x, x.mean(3, keepdim=True), draw(1, 4, 1, 5))


def plain_gate(x):
    return x * x.mean(3, keepdim=True) * draw(1, 4, 1, 5)


MAP, HEADS = (1, 4, 4, 5), (1, 2, 4, 5, 4)
PAIRS = {
    "local": (through_local, plain_local, HEADS),
    "aggregate": (through_aggregate, plain_aggregate, MAP),
    "relation": (through_relation, plain_relation, MAP),
    "gate": (through_gate, plain_gate, MAP),
}


@pytest.fixture(autouse=True)
def small_maps_take_the_chunks(monkeypatch):
    monkeypatch.setattr(gates, "_LEAST", 0)


def jvp(function, x):
    return torch.func.jvp(function, (x,), (draw(*x.shape).flip(-1),))[1]


def grad(function, x):
    return torch.func.grad(lambda x: function(x).square().sum())(x)


def vmapped(function, x):
    return torch.func.vmap(function)(torch.stack([x, 2 * x, -x]))


def hessian_product(function, x):
    return jvp(lambda x: grad(function, x), x)


@pytest.mark.parametrize("transform", [jvp, grad, vmapped, hessian_product])
@pytest.mark.parametrize("name", PAIRS)
def test_transform(name, transform):
    ours, plain, shape = PAIRS[name]
    x = draw(*shape)
    expected = transform(plain, x)
    assert expected.abs().max() > 0
    torch.testing.assert_close(transform(ours, x), expected)


@pytest.mark.parametrize("name", PAIRS)
def test_tangent_of_a_cotangent(name):
    """Forward over reverse: right, or refused, but never silently lost."""
    ours, plain, shape = PAIRS[name]

    def tangent(function):
        x = draw(*shape).requires_grad_()
        y = function(x)
        with forward_ad.dual_level():
            g = forward_ad.make_dual(torch.ones_like(y), draw(*y.shape))
            (d_x,) = torch.autograd.grad(y, x, g)
            return forward_ad.unpack_dual(d_x).tangent

    if name == "gate":
        torch.testing.assert_close(tangent(ours), tangent(plain))
    else:
        with pytest.raises(NotImplementedError, match="forward mode over"):
            tangent(ours)


@pytest.mark.compiled
@pytest.mark.parametrize("name", PAIRS)
def test_compiled_tangent(name):
    ours, plain, shape = PAIRS[name]
    x = draw(*shape)
    compiled = torch.compile(lambda x: jvp(ours, x), backend="eager")
    torch.testing.assert_close(compiled(x), jvp(plain, x))


def test_patchwise_layer():
    torch.manual_seed(0)
    layer = PatchwiseAttention2d(4, 2, 8, 3, share=4).double().eval()
    x, t, step = draw(2, 4, 5, 6), draw(2, 4, 5, 6).flip(2), 1e-6
    tangent = torch.func.jvp(layer, (x,), (t,))[1]
    difference = (layer(x + step * t) - layer(x - step * t)) / (2 * step)
    torch.testing.assert_close(tangent, difference, rtol=1e-6, atol=1e-8)
