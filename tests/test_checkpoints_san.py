"""Official weights of SAN. The golden outputs are in the tests of the modules."""

import pytest
import torch

from visattn import convert
from visattn.models import san

PLACES = {"phi": "conv1", "psi": "conv2", "beta": "conv3", "gamma": "conv_w"}
PLACES["position"] = "conv_p"


def official_name(name):
    """The official repository's name of one of our parameters or buffers."""
    part, rest = name.split(".", 1)
    if part == "stem":
        return {"0": "conv_in.", "1": "bn_in."}[rest[0]] + rest[2:]
    if part == "classifier":
        return f"fc.{rest}"
    stage, kind, rest = rest.split(".", 2)
    if kind in ("conv", "bn"):
        return f"{kind}{stage}.{rest}"
    block, rest = rest.split(".", 1)
    if rest.startswith("attention."):
        _, layer, rest = rest.split(".", 2)
        rest = f"sam.{PLACES[layer]}.{rest}"
    return f"layer{stage}.{block}.{rest}"


@pytest.mark.parametrize("name", ["san10_pairwise", "san19_patchwise"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_whole_network(name, prefix):
    with torch.device("meta"):
        model = getattr(san, name)()
    state = {prefix + official_name(n): v for n, v in model.state_dict().items()}
    assert f"{prefix}layer3.0.sam.conv_w.2.weight" in state
    assert f"{prefix}conv4.weight" in state
    ours = convert(state, "san")
    assert set(ours) == set(model.state_dict())
    for ours_name, value in model.state_dict().items():
        assert ours[ours_name] is state[prefix + official_name(ours_name)]
        assert ours[ours_name].shape == value.shape
    model.load_state_dict(ours, assign=True)


def test_names_of_the_official_file():
    """Written down from the official code, not from a rule."""
    names = {
        "conv_in.weight": "stem.0.weight",
        "bn_in.running_var": "stem.1.running_var",
        "conv0.weight": "stages.0.conv.weight",
        "bn4.bias": "stages.4.bn.bias",
        "layer0.1.bn1.weight": "stages.0.blocks.1.bn1.weight",
        "layer2.1.bn2.num_batches_tracked": "stages.2.blocks.1.bn2.num_batches_tracked",
        "layer2.1.conv.bias": "stages.2.blocks.1.conv.bias",
        "layer0.1.sam.conv1.weight": "stages.0.blocks.1.attention.phi.weight",
        "layer0.1.sam.conv2.bias": "stages.0.blocks.1.attention.psi.bias",
        "layer0.1.sam.conv3.bias": "stages.0.blocks.1.attention.beta.bias",
        "layer0.1.sam.conv_w.0.weight": "stages.0.blocks.1.attention.gamma.0.weight",
        "layer0.1.sam.conv_w.5.bias": "stages.0.blocks.1.attention.gamma.5.bias",
        "layer0.1.sam.conv_p.bias": "stages.0.blocks.1.attention.position.bias",
        "fc.weight": "classifier.weight",
    }
    state = {name: torch.zeros(1) for name in names}
    assert list(convert(state, "san")) == list(names.values())


def test_the_dtype_stays():
    state = {"conv_w.0.weight": torch.zeros(3), "conv1.weight": torch.ones(2).half()}
    ours = convert(state, "san")
    assert ours["gamma.0.weight"].dtype == torch.float32
    assert ours["phi.weight"] is state["conv1.weight"]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["conv1.weight"], r"conv_w\.0\.weight.*\['conv1.weight'\]"),
        (["conv_w.0.weight", "conv4.bias"], r"conv4\.bias: 'conv4' is none of conv1"),
        (["conv_w.0.weight", "param/conv_w.0.weight"], "two entries"),
    ],
)
def test_bad_input(names, message):
    with pytest.raises(ValueError, match=message):
        convert({name: torch.zeros(1) for name in names}, "san")


@pytest.mark.bad_input
def test_no_state_is_half_translated():
    model = san.san10_pairwise(
        num_classes=2, width=32, share=4, depths=(1, 1), kernel_sizes=(3, 3)
    )
    good = {official_name(n): v for n, v in model.state_dict().items()}
    convert(good, "san")
    lacking = {n: v for n, v in good.items() if n != "layer0.0.sam.conv_w.0.weight"}
    with pytest.raises(ValueError, match=r"layer0\.0\.sam"):
        convert(lacking, "san")
    for name in ("foo.bar", "layer7.0.x", "conv9.weight"):
        with pytest.raises(ValueError, match=name):
            convert({**good, name: torch.zeros(1)}, "san")
    without = {n: v for n, v in good.items() if n != "conv_in.weight"}
    assert all(
        n.startswith(("stem.", "stages.", "cl")) for n in convert(without, "san")
    )
    with pytest.raises(TypeError, match=r"is state_dict\['state_dict'\] what"):
        convert({"state_dict": good, "epoch": 3}, "san")
