"""Proofs of convolution and of the pooling that it shares with attention."""

import pytest
import torch
import torch.nn.functional as F

from visattn import (
    Conv2d,
    MultiHeadSelfAttention,
    conv2d,
    conv2d_loop,
    shift_weights,
    spatial_pooling,
    spatial_pooling_loop,
)


@pytest.mark.parametrize(
    ("B", "C", "D", "H", "W", "kernel", "options"),
    [
        (1, 1, 1, 1, 1, (1, 1), {}),
        (2, 3, 4, 5, 7, (3, 3), {"padding": 1}),
        (1, 2, 3, 6, 5, (3, 2), {"stride": (2, 1), "padding": (0, 1)}),
        (2, 4, 6, 7, 6, (2, 3), {"groups": 2, "dilation": (1, 2)}),
        (1, 4, 4, 5, 4, (3, 3), {"groups": 4, "padding": 2, "stride": 3}),
        (1, 2, 2, 9, 8, (3, 3), {"dilation": 2, "padding": (2, 1)}),
    ],
)
@pytest.mark.parametrize("with_bias", [False, True])
def test_equals_the_loop(
    randn, assert_equal, B, C, D, H, W, kernel, options, with_bias
):
    x = randn(B, C, H, W)
    weight = randn(D, C // options.get("groups", 1), *kernel)
    bias = randn(D) if with_bias else None
    inputs = [x, weight, *([bias] if with_bias else [])]
    assert_equal(
        lambda: conv2d(x, weight, bias, **options),
        lambda: conv2d_loop(x, weight, bias, **options),
        inputs,
    )


def test_translation_equivariance(randn):
    x, weight = randn(1, 2, 6, 7), randn(3, 2, 3, 3)
    moved = torch.roll(x, (2, 1), dims=(2, 3))
    y, y_moved = conv2d(x, weight), conv2d(moved, weight)
    torch.testing.assert_close(y_moved[..., 2:, 1:], y[..., :-2, :-1])


def test_the_kernel_is_not_flipped(randn):
    x, weight = randn(1, 1, 5, 5), randn(1, 1, 3, 3)
    y = conv2d(x, weight)
    torch.testing.assert_close(y[0, 0, 0, 0], (x[0, 0, :3, :3] * weight[0, 0]).sum())
    assert not torch.allclose(y, conv2d(x, weight.flip(2, 3)))


@pytest.mark.parametrize(("Bw", "N"), [(1, 1), (2, 3)])
def test_pooling_equals_the_loop(randn, assert_equal, Bw, N):
    x, weights, matrices = randn(2, 3, 2, 4), randn(Bw, N, 3, 2, 2, 4), randn(N, 2, 3)
    assert_equal(
        lambda: spatial_pooling(x, weights, matrices),
        lambda: spatial_pooling_loop(x, weights, matrices),
        [x, weights, matrices],
    )


@pytest.mark.parametrize("K", [1, 3, 5])
@pytest.mark.parametrize(("H", "W"), [(1, 1), (2, 3), (5, 4)])
def test_convolution_is_a_spatial_pooling(randn, assert_equal, device, K, H, W):
    x, weight = randn(2, 3, H, W), randn(4, 3, K, K)
    maps = shift_weights(H, W, K, device=device, dtype=x.dtype)
    assert maps.shape == (1, K * K, H, W, H, W)
    assert_equal(
        lambda: spatial_pooling(x, maps, weight.flatten(2).permute(2, 0, 1)),
        lambda: F.conv2d(x, weight, padding=K // 2),
        [x, weight],
    )


def test_attention_is_a_spatial_pooling(randn, device):
    module = MultiHeadSelfAttention(6, 2, bias=False).double().to(device)
    x = randn(2, 6, 3, 4)
    y, attention = module(x, return_attention=True)
    values = module.value.weight.reshape(2, 3, 6)  # [N, d, C]
    out = module.out.weight.reshape(6, 2, 3)  # [C, N, d]
    matrices = torch.einsum("cnd,nde->nce", out, values)
    torch.testing.assert_close(spatial_pooling(x, attention, matrices), y)


def test_conv2d_module_is_the_librarys():
    assert Conv2d is torch.nn.Conv2d


@pytest.mark.bad_input
@pytest.mark.parametrize("function", [conv2d, conv2d_loop])
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": torch.zeros(3, 5, 5)}, ValueError, r"4 axes.*\[3, 5, 5\]"),
        ({"x": torch.zeros(1, 4, 5, 5)}, ValueError, r"C/groups = 4.*\[2, 3, 3, 3\]"),
        ({"x": torch.zeros(1, 3, 0, 5)}, ValueError, r"empty.*\[1, 3, 0, 5\]"),
        ({"x": torch.zeros(1, 3, 2, 5)}, ValueError, "spans 3 pixels of axis H.*has 2"),
        ({"x": torch.zeros(1, 3, 5, 5).int()}, TypeError, "int32"),
        ({"x": torch.zeros(1, 3, 5, 5).double()}, TypeError, "float64"),
        ({"bias": torch.zeros(3)}, ValueError, r"\[2\].*\[3\]"),
        ({"stride": 0}, ValueError, "stride.*0"),
        ({"padding": -1}, ValueError, "padding.*-1"),
        ({"padding": "same"}, TypeError, "padding.*'same'"),
        ({"dilation": (1, 2, 3)}, ValueError, "dilation"),
        ({"groups": 2}, ValueError, "channels=3, groups=2"),
        ({"groups": 0}, ValueError, "groups.*0"),
        ({"stride": 2.0}, TypeError, r"stride.*2\.0"),
        ({"stride": True}, TypeError, "stride.*True"),
        ({"dilation": None}, TypeError, "dilation.*None"),
        ({"bias": torch.zeros(2).double()}, TypeError, "one dtype.*float64"),
        (
            {
                "x": torch.zeros(1, 4, 5, 5),
                "weight": torch.zeros(5, 2, 3, 3),
                "groups": 2,
            },
            ValueError,
            "output channels=5, groups=2",
        ),
    ],
)
def test_bad_convolution(function, changes, error, message):
    arguments = {"x": torch.zeros(1, 3, 5, 5), "weight": torch.zeros(2, 3, 3, 3)}
    with pytest.raises(error, match=message):
        function(**(arguments | changes))


@pytest.mark.bad_input
@pytest.mark.parametrize("function", [spatial_pooling, spatial_pooling_loop])
def test_bad_pooling(function):
    x, matrices = torch.zeros(2, 3, 4, 4), torch.zeros(1, 5, 3)
    with pytest.raises(ValueError, match=r"\[2 or 1, N, I, J, 4, 4\].*\[3, 1, 4, 4"):
        function(x, torch.zeros(3, 1, 4, 4, 4, 4), matrices)
    with pytest.raises(TypeError, match=r"one dtype.*float64"):
        function(x, torch.zeros(1, 1, 4, 4, 4, 4).double(), matrices)
    with pytest.raises(ValueError, match=r"N=2 and C=3.*\[1, 5, 3\]"):
        function(x, torch.zeros(1, 2, 4, 4, 4, 4), matrices)


def test_shift_weights_have_the_default_dtype(device):
    maps = shift_weights(2, 3, 3, device=device)
    assert maps.dtype == torch.float32
    assert maps.device.type == device.type


@pytest.mark.bad_input
def test_bad_shift_weights():
    with pytest.raises(ValueError, match="odd, got 4"):
        shift_weights(3, 3, 4)
    with pytest.raises(ValueError, match=r"height.*0"):
        shift_weights(0, 3, 3)
