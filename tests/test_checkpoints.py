"""Official weights into ours. The golden outputs are in tests/mechanisms."""

import numpy as np
import pytest
import torch

from visattn import MultiHeadSelfAttention, convert
from visattn.checkpoints import sources


def test_arrays_and_prefixes_of_a_whole_network():
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16)
    state = {
        f"param/layers.0.{name}": value.numpy()
        for name, value in layer.state_dict().items()
    }
    ours = convert(state, "torch-mha")
    weight = layer.self_attn.in_proj_weight
    names = ("query", "key", "value")
    for name, part in zip(names, weight.chunk(3), strict=True):
        torch.testing.assert_close(ours[f"layers.0.self_attn.{name}.weight"], part)
    torch.testing.assert_close(
        ours["layers.0.self_attn.out.weight"], layer.self_attn.out_proj.weight
    )
    torch.testing.assert_close(ours["layers.0.linear1.bias"], layer.linear1.bias)


def test_other_modules_pass_unchanged():
    weight = torch.zeros(4, 4)
    state = {"attn.in_proj_weight": torch.zeros(12, 4), "mlp.out_proj.weight": weight}
    assert convert(state, "torch-mha")["mlp.out_proj.weight"] is weight


def test_strict_loading():
    official = torch.nn.MultiheadAttention(8, 4, bias=False)
    module = MultiHeadSelfAttention(8, 4, bias=False)
    module.load_state_dict(convert(official.state_dict(), "torch-mha"), strict=True)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("state", "source", "error", "message"),
    [
        (
            {"in_proj_weight": torch.zeros(6, 2)},
            "keras",
            ValueError,
            "keras.*torch-mha",
        ),
        ({"weight": torch.zeros(2)}, "torch-mha", ValueError, r"\['weight'\]"),
        ({"in_proj_weight": torch.zeros(5, 2)}, "torch-mha", ValueError, r"\[5, 2\]"),
        ({"in_proj_weight": torch.zeros(9, 2)}, "torch-mha", ValueError, r"\[9, 2\]"),
        ({"in_proj_weight": torch.zeros(6)}, "torch-mha", ValueError, r"\[6\]"),
        ({"in_proj_bias": torch.zeros(6)}, "torch-mha", ValueError, "in_proj_weight"),
        ({3: torch.zeros(6)}, "torch-mha", TypeError, "got 3"),
        ({"in_proj_weight": torch.zeros(6, 2)}, ["a"], ValueError, r"\['a'\]"),
        (
            {"param/x": torch.zeros(1), "buffer/x": torch.zeros(1)},
            "torch-mha",
            ValueError,
            "two entries.*'x'",
        ),
        (
            {
                "in_proj_weight": torch.zeros(6, 2),
                "out.weight": torch.zeros(2, 2),
                "out_proj.weight": torch.zeros(2, 2),
            },
            "torch-mha",
            ValueError,
            "two entries.*'out.weight'",
        ),
        ({"in_proj_weight": [1.0]}, "torch-mha", TypeError, "list"),
        ({}, "torch-mha", ValueError, "empty"),
        ([], "torch-mha", TypeError, "list"),
    ],
)
def test_bad_input(state, source, error, message):
    with pytest.raises(error, match=message):
        convert(state, source)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "options", [{"kdim": 4}, {"add_bias_kv": True}], ids=lambda o: next(iter(o))
)
def test_what_has_no_counterpart_is_refused(options):
    official = torch.nn.MultiheadAttention(8, 2, **options)
    with pytest.raises(ValueError, match="counterpart"):
        convert(official.state_dict(), "torch-mha")


def test_sources_are_listed():
    assert sources() == sorted(sources())
    assert {"torch-mha", "attention-cnn", "san", "coordatt"} <= set(sources())
    assert np.all([isinstance(name, str) for name in sources()])
