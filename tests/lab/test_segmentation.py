"""The networks for scenes, and the record of the longer run."""

import copy
import json

import pytest
import torch
from torch import nn

from visattn.lab import count_macs, load_scenes, mean_iou
from visattn.lab import segmentation as module
from visattn.lab.segmentation import (
    HEADS,
    SETTINGS,
    SceneNet,
    build,
    check_record,
    load_record,
    main,
    measure,
)

TINY = SETTINGS | {"train": 6, "test": 5, "steps": 2, "batch_size": 3, "seeds": 2}


@pytest.fixture(scope="module")
def tiny():
    return measure(TINY, progress=False)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [(48, 48), (28, 37), (4, 9)])
def test_logits_for_every_pixel(head, size):
    assert build(head, 0)(torch.zeros(2, 3, *size)).shape == (2, 6, *size)


def test_only_the_head_differs():
    states = {head: build(head, 3).state_dict() for head in HEADS}
    shared = [key for key in states["none"] if not key.startswith("head.")]
    assert len(shared) > 20
    for state in states.values():
        assert [key for key in state if not key.startswith("head.")] == shared
        for key in shared:
            assert torch.equal(state[key], states["none"][key]), key
    other = build("none", 4).state_dict()
    assert not torch.equal(other["exit.0.weight"], states["none"]["exit.0.weight"])


def test_building_leaves_the_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    build("sum", 1)
    assert torch.equal(torch.get_rng_state(), before)


def reach(head):
    """Pixels of the image on which one pixel of the last map depends."""
    net = build(head, 0).double().eval()
    x = torch.randn(1, 3, 60, 60, dtype=torch.float64, requires_grad=True)
    net.head(net.trunk(x))[0, :, 7, 7].sum().backward()
    return x.grad.abs().sum(dim=(0, 1)) > 0


def test_reach_of_the_heads():
    near = reach("none").nonzero()
    assert (near.amax(0) - near.amin(0) + 1).tolist() == [15, 15]
    assert (near.amin(0) + 7).tolist() == [28, 28], "around the pixel itself"
    for head in ("axial", "shortcut", "sum", "channelized"):
        assert reach(head).all(), head


def test_sum_is_the_sum():
    head = build("sum", 0).head.eval()
    x = torch.randn(2, 32, 5, 6)
    assert torch.equal(head(x), head.spatial(x) + head.gate(head.own(x)))
    assert isinstance(build("shortcut", 0).head.gate, nn.Identity)


@pytest.mark.bad_input
def test_unknown_head():
    with pytest.raises(ValueError, match=r"'conv'.*channelized"):
        SceneNet("conv")


# The record -------------------------------------------------------------------------


def test_what_is_measured_is_a_record(tiny):
    check_record(tiny)
    scenes = load_scenes(6, 5)
    for head in HEADS:
        run, masks = tiny["heads"][head]["runs"][0], tiny["heads"][head]["masks"]
        rows = [sum(row) for row in run["confusion"]]
        truth = torch.from_numpy(scenes.y_test)
        assert rows == truth.flatten().bincount(minlength=6).tolist()
        first = torch.tensor([[int(digit) for digit in mask] for mask in masks])
        table = mean_iou(first, truth[:4].flatten(1), 6).confusion
        assert (table <= torch.tensor(run["confusion"]).numpy()).all()


def test_the_same_seed_the_same_numbers(tiny):
    again = measure(TINY | {"seeds": 1}, progress=False)
    for head, entry in again["heads"].items():
        assert entry["masks"] == tiny["heads"][head]["masks"]
        run, other = entry["runs"][0], tiny["heads"][head]["runs"][0]
        assert run["confusion"] == other["confusion"]
        assert other["confusion"] != tiny["heads"][head]["runs"][1]["confusion"]


def test_the_script_writes_what_it_measures(tmp_path, capsys):
    file = tmp_path / "record.json"
    options = {"steps": 1, "seeds": 1, "train": 4, "test": 3, "output": file}
    main([f"--{name}={value}" for name, value in options.items()])
    record = json.loads(file.read_text())
    check_record(record)
    assert record["settings"]["steps"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    assert "wrote record.json" in capsys.readouterr().out


def test_the_record_of_the_package_is_of_these_networks():
    record = load_record()
    assert record["settings"] == SETTINGS, "a run with the defaults"
    assert record["provenance"]["command"] == "python -m visattn.lab.segmentation"
    for head, entry in record["heads"].items():
        net = build(head, 0).eval()
        assert entry["parameters"] == sum(p.numel() for p in net.parameters())
        with torch.no_grad():
            x = torch.zeros(1, 3, 48, 48)
            assert entry["macs"] == count_macs(lambda: net(x))  # noqa: B023
    truth = torch.from_numpy(load_scenes(1, SETTINGS["test"]).y_test)
    pixels = truth.flatten().bincount(minlength=6).tolist()
    for entry in record["heads"].values():
        for run in entry["runs"]:
            assert [sum(row) for row in run["confusion"]] == pixels


def test_the_record_names_no_place():
    text = json.dumps(load_record()["provenance"])
    assert "/home" not in text
    assert "\\\\" not in text


def test_a_record_is_read_where_the_libraries_are_missing(monkeypatch):
    """Only measuring needs them; what it needed then is in the record."""

    def missing(name):
        raise module.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.metadata, "version", missing)
    assert load_record()["settings"] == SETTINGS


@pytest.mark.bad_input
def test_a_folder_that_is_missing_is_told_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "measure", lambda settings: pytest.fail("it ran"))
    with pytest.raises(ValueError, match="nowhere"):
        main([f"--output={tmp_path / 'nowhere' / 'record.json'}"])


def spoil_format(record):
    record["format"] += 1


def spoil_part(record):
    del record["photos"]


def spoil_version(record):
    record["provenance"]["torch"] = ""


def spoil_setting(record):
    record["settings"]["more"] = 1


def spoil_classes(record):
    record["classes"][0] = "ground"


def spoil_head(record):
    record["heads"]["conv"] = record["heads"].pop("none")


def spoil_entry(record):
    record["heads"]["axial"]["accuracy"] = 1.0


def spoil_seed(record):
    record["heads"]["axial"]["runs"][1]["seed"] = 0


def spoil_number(record):
    record["heads"]["axial"]["runs"].pop()


def spoil_run(record):
    del record["heads"]["axial"]["runs"][0]["loss"]


def spoil_pixels(record):
    record["heads"]["axial"]["runs"][0]["confusion"][2][3] += 1


def spoil_row(record):
    record["heads"]["axial"]["runs"][0]["confusion"][2].append(0)


def spoil_sign(record):
    table = record["heads"]["axial"]["runs"][0]["confusion"]
    table[2] = [sum(table[2]) + 5, -5, 0, 0, 0, 0]


def spoil_truth(record):  # the same pixels, but other classes than in the other runs
    table = record["heads"]["axial"]["runs"][0]["confusion"]
    table[0][0] -= 1
    table[2][0] += 1


def spoil_photos(record):
    record["photos"]["train"].append(record["photos"]["test"][0])


def spoil_masks(record):
    record["heads"]["axial"]["masks"].pop()


def spoil_mask(record):
    record["heads"]["axial"]["masks"][0] += "0"


def spoil_digit(record):
    masks = record["heads"]["axial"]["masks"]
    masks[0] = "6" + masks[0][1:]


SPOILERS = [value for name, value in globals().items() if name.startswith("spoil_")]


@pytest.mark.bad_input
@pytest.mark.parametrize("spoil", SPOILERS)
def test_another_record_is_refused(tiny, spoil):
    record = copy.deepcopy(tiny)
    spoil(record)
    with pytest.raises(ValueError, match="no record of segmentation"):
        check_record(record)


def test_a_failed_run_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "measure", lambda settings: {})
    with pytest.raises(ValueError, match="no record"):
        main([f"--output={tmp_path / 'record.json'}"])
    assert not list(tmp_path.iterdir())
