"""The code in the README runs."""

import re
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]


def test_the_example_runs_and_its_shapes_are_right():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict = {}
    exec(code, names)  # the reader would paste it just so
    assert names["attention"].shape == (2, 4, 14, 18, 14, 18)
    assert names["y"].shape == (2, 4, 252, 8)
    assert isinstance(names["y"], torch.Tensor)
