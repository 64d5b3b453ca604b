"""Small networks for segmentation, and the longer run of the chapter about them.

    python -m visattn.lab.segmentation [--steps N] [--seeds N] [--output FILE]

trains every network of `HEADS` with every seed on the scenes of `load_scenes`, and
writes what came out, with where it was measured, as JSON. `load_record` reads the file
that comes with the package: one run with the defaults.

Shapes: B batch, C channels, H W map, S side of a scene, K classes.
"""

import argparse
import datetime
import json
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visattn.lab.data import as_tensors
from visattn.lab.measure import count_macs, hardware
from visattn.lab.scenes import CLASSES, TEST_PHOTOS, TRAIN_PHOTOS, load_scenes, mean_iou
from visattn.lab.train import fit, predict
from visattn.mechanisms.axial import ChannelizedAxialAttention2d
from visattn.mechanisms.gates import CBAM, SqueezeExcitation

FORMAT = 1
SETTINGS: dict[str, Any] = {
    "train": 2000,
    "test": 400,
    "size": 48,
    "garments": 2,
    "dim": 0.5,
    "scenes_seed": 0,
    "channels": 32,
    "key_channels": 16,
    "depth": 2,
    "steps": 600,
    "batch_size": 16,
    "lr": 5e-3,
    "seeds": 8,
}
_LIBRARIES = ("torch", "numpy", "scikit-learn", "scipy", "pillow")
_PROVENANCE = {"command", "date", "hardware", "python", "visattn", *_LIBRARIES}
SHOWN = 4  # test scenes whose predicted masks are kept, for the first seed


def conv(
    in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1
) -> nn.Sequential:
    """A convolution without bias, a batch norm, a ReLU."""
    layer = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False
    )
    return nn.Sequential(layer, nn.BatchNorm2d(out_channels, eps=1e-3), nn.ReLU())


class SumHead(nn.Module):
    """Axial attention, and beside it each pixel's own value; both are added.

    Args:
        channels: Channels of the map.
        key_channels: Channels of queries and keys.
        gate: Whether a channel gate weighs the pixel's own value.
    """

    def __init__(self, channels: int, key_channels: int, gate: bool) -> None:
        super().__init__()
        self.spatial = ChannelizedAxialAttention2d(
            channels, channels, key_channels, channel_attention=False
        )
        self.own = conv(channels, channels)
        self.gate = SqueezeExcitation(channels, 4) if gate else nn.Identity()

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The sum of both."""
        y: Tensor = self.spatial(x) + self.gate(self.own(x))
        return y


Head = Callable[[int, int, int], nn.Module]

# From (channels, key_channels, depth); each maps [B, C, H, W] to [B, C, H, W].
HEADS: dict[str, Head] = {
    "none": lambda C, D, L: conv(C, C),
    "gates": lambda C, D, L: nn.Sequential(conv(C, C), CBAM(C, 4)),
    "axial": lambda C, D, L: ChannelizedAxialAttention2d(
        C, C, D, channel_attention=False
    ),
    "shortcut": lambda C, D, L: SumHead(C, D, gate=False),
    "sum": lambda C, D, L: SumHead(C, D, gate=True),
    "channelized": lambda C, D, L: ChannelizedAxialAttention2d(C, C, D, depth=L),
}


class SceneNet(nn.Module):
    """A common trunk, one head, a classifier of pixels.

    Three 3x3 convolutions, two of them with stride 2; the head; a 1x1 convolution; the
    classes, enlarged to the image. Networks of one seed share the first weights of all
    that is not the head.

    Args:
        head: One of `HEADS`: ``"none"``, a 1x1 convolution; ``"gates"``, then CBAM;
            ``"axial"``, attention along columns and rows; ``"shortcut"``, the same plus
            each pixel's own value; ``"sum"``, the same plus that value behind a channel
            gate; ``"channelized"``, the gates inside the attention.
        num_classes: K.
        channels: C.
        key_channels: Channels of queries and keys.
        depth: Hidden layers of each channelized gate.

    Raises:
        ValueError: An unknown head.

    Chapter: Segmentation.
    """

    def __init__(
        self,
        head: str,
        num_classes: int = len(CLASSES),
        channels: int = 32,
        key_channels: int = 16,
        depth: int = 2,
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ValueError(f"unknown head {head!r}; known: {list(HEADS)}")
        C = channels
        self.trunk = nn.Sequential(conv(3, C, 3, 2), conv(C, C, 3, 2), conv(C, C, 3))
        self.exit = conv(C, C)
        self.classifier = nn.Conv2d(C, num_classes, 1)
        self.head = HEADS[head](C, key_channels, depth)  # last: it draws what is left

    def forward(self, x: Float[Tensor, "B 3 S T"]) -> Float[Tensor, "B K S T"]:
        """Class logits of each pixel."""
        y = self.classifier(self.exit(self.head(self.trunk(x))))
        return F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=False)


def build(head: str, seed: int, **sizes: int) -> SceneNet:
    """A `SceneNet` with its first weights from a seed.

    Args:
        head: One of `HEADS`.
        seed: Of the weights; the global generator stays as it is.
        **sizes: As `SceneNet` takes them.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return SceneNet(head, **sizes)


def measure(settings: dict[str, Any], progress: bool | None = None) -> dict[str, Any]:
    """Train all heads with all seeds and tell what came out.

    Args:
        settings: As `SETTINGS`.
        progress: As `fit` takes it.

    Returns:
        The record, in the form that `check_record` describes.
    """
    scenes = load_scenes(
        settings["train"],
        settings["test"],
        size=settings["size"],
        garments=settings["garments"],
        dim=settings["dim"],
        seed=settings["scenes_seed"],
    )
    x, x_test = as_tensors(scenes.x_train), as_tensors(scenes.x_test)
    y, y_test = torch.from_numpy(scenes.y_train), torch.from_numpy(scenes.y_test)
    sizes = {name: settings[name] for name in ("channels", "key_channels", "depth")}
    heads: dict[str, Any] = {}
    for head in HEADS:
        net = build(head, 0, **sizes).eval()
        with torch.no_grad():
            macs = count_macs(lambda: net(x_test[:1]))  # noqa: B023 - called at once
        heads[head] = {
            "parameters": sum(p.numel() for p in net.parameters()),
            "macs": macs,
            "runs": [],
        }
    for seed in range(settings["seeds"]):
        for head, entry in heads.items():
            net, start = build(head, seed, **sizes), time.process_time()
            history = fit(
                net,
                x,
                y,
                steps=settings["steps"],
                batch_size=settings["batch_size"],
                lr=settings["lr"],
                seed=seed,
                progress=progress,
            )
            spent = time.process_time() - start
            found = predict(net, x_test, batch_size=100)
            overlap = mean_iou(found, y_test, len(CLASSES))
            last = history.loss[-50:]
            entry["runs"].append(
                {
                    "seed": seed,
                    "loss": round(sum(last) / len(last), 4),
                    "confusion": overlap.confusion.tolist(),
                    "cpu_seconds": round(spent, 1),
                }
            )
            if seed == 0:
                entry["masks"] = [_digits(mask) for mask in found[:SHOWN]]
            print(f"seed {seed} {head:12s} {overlap} in {spent:.0f} s", flush=True)
    return {
        "format": FORMAT,
        "provenance": _provenance(),
        "settings": settings,
        "classes": list(CLASSES),
        "photos": {"train": list(TRAIN_PHOTOS), "test": list(TEST_PHOTOS)},
        "heads": heads,
    }


def _digits(mask: Tensor) -> str:
    """The classes of a mask [S, S], row by row, one digit each."""
    return "".join(str(int(label)) for label in mask.flatten())


def _provenance() -> dict[str, str]:
    return {
        "command": "python -m visattn.lab.segmentation",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": hardware(),
        "python": platform.python_version(),
        "visattn": metadata.version("visattn"),
        **{name: metadata.version(name) for name in _LIBRARIES},
    }


def check_record(record: dict[str, Any]) -> None:
    """Refuse a record that is not what this script writes.

    A record has ``format``; ``provenance``, with the date, the hardware and the
    versions; ``settings``, with the keys of `SETTINGS`; ``classes``; ``photos``; and
    ``heads``: for each of `HEADS` its ``parameters``, its multiply-adds for one scene
    (``macs``), its ``runs``, and the ``masks`` of the first test scenes, a digit for
    each pixel. A run has its ``seed``; the mean ``loss`` of its last steps; the number
    of test pixels by true and predicted class (``confusion``); and ``cpu_seconds``.

    Raises:
        ValueError: Another format, or parts that do not fit together.
    """

    def refuse_unless(condition: bool, message: str) -> None:
        if not condition:
            raise ValueError(f"this is no record of segmentation: {message}")

    known = {"format", "provenance", "settings", "classes", "photos", "heads"}
    refuse_unless(set(record) == known, f"parts {sorted(record)}")
    refuse_unless(record["format"] == FORMAT, f"format {record['format']}")
    given = record["provenance"]
    refuse_unless(
        given.keys() == _PROVENANCE and all(given.values()),
        f"provenance {sorted(given)}",
    )
    settings = record["settings"]
    refuse_unless(settings.keys() == SETTINGS.keys(), f"settings {sorted(settings)}")
    refuse_unless(record["classes"] == list(CLASSES), f"classes {record['classes']}")
    photos = {"train": list(TRAIN_PHOTOS), "test": list(TEST_PHOTOS)}
    refuse_unless(record["photos"] == photos, f"photos {record['photos']}")
    refuse_unless(list(record["heads"]) == list(HEADS), f"heads {set(record['heads'])}")
    K, side = len(CLASSES), settings["size"]
    pixels = settings["test"] * side**2
    truth: list[int] = []  # pixels of each class: the same in all runs
    for head, entry in record["heads"].items():
        keys = {"parameters", "macs", "runs", "masks"}
        refuse_unless(set(entry) == keys, f"{head} has {sorted(entry)}")
        seeds = [run["seed"] for run in entry["runs"]]
        refuse_unless(seeds == list(range(settings["seeds"])), f"{head}: seeds {seeds}")
        for run in entry["runs"]:
            keys = {"seed", "loss", "confusion", "cpu_seconds"}
            refuse_unless(set(run) == keys, f"a run of {head} has {sorted(run)}")
            table = run["confusion"]
            square = [len(row) for row in table] == [K] * K
            total = sum(sum(row) for row in table)
            refuse_unless(
                square and total == pixels,
                f"{head}, seed {run['seed']}: {total} pixels in {len(table)} rows, "
                f"expected {pixels} in {K}",
            )
            rows = [sum(row) for row in table]
            truth = truth or rows
            refuse_unless(
                rows == truth and min(map(min, table)) >= 0,
                f"{head}, seed {run['seed']}: {rows} true pixels, expected {truth}, "
                f"the fewest in a cell are {min(map(min, table))}",
            )
        masks = entry["masks"]
        digits = {str(label) for label in range(K)}
        refuse_unless(
            len(masks) == min(SHOWN, settings["test"])
            and all(len(m) == side**2 and set(m) <= digits for m in masks),
            f"{head}: masks of {[len(mask) for mask in masks]} pixels",
        )


def record_text(record: dict[str, Any]) -> str:
    """A record as JSON: lists of numbers take one line, all else a line an entry."""
    text = json.dumps(record, indent=1) + "\n"
    return re.sub(r"\[[\d,\s]+\]", lambda found: " ".join(found[0].split()), text)


def load_record() -> dict[str, Any]:
    """The longer run that comes with the package, as `check_record` describes it.

    Raises:
        ValueError: The file is not what `measure` gives.
    """
    file = resources.files("visattn.lab") / "assets" / "segmentation.json"
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    check_record(record)
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write.

    Raises:
        ValueError: The folder of the output is missing, or no record came out.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    default = Path(__file__).parent / "assets" / "segmentation.json"
    parser.add_argument("--output", type=Path, default=default)
    for name in ("steps", "seeds", "train", "test"):
        parser.add_argument(f"--{name}", type=int, default=SETTINGS[name])
    options = vars(parser.parse_args(arguments))
    output = options.pop("output")
    if not output.parent.is_dir():  # told before the run, not after it
        raise ValueError(f"there is no folder {output.parent.name!r} for {output.name}")
    record = measure(SETTINGS | options)
    check_record(record)
    partial = output.with_suffix(f".{os.getpid()}.part")
    try:
        partial.write_text(record_text(record), encoding="utf-8")
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
    print(f"wrote {output.name}")


if __name__ == "__main__":
    main()
