"""How an explorer becomes HTML: its data, its script, and what stands there without."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from torch import Tensor

from visattn.explore.style import PALETTE

MAX_BYTES = 3_000_000
"""Largest size of an explorer's HTML."""

SPARE_BYTES = 300_000
"""What the photographs and the script may take of it."""

_LONGEST = 560  # pixels of the photograph inside an explorer


@dataclass(frozen=True)
class Explorer:
    """An explorer as HTML. Put it last in a cell, and it is shown.

    Attributes:
        html: The whole output; it refers to nothing outside itself.
        alt: What the explorer shows, for readers who do not see it.
    """

    html: str = field(repr=False)
    alt: str

    def _repr_html_(self) -> str:
        """Show the explorer in a notebook or on a page."""
        return self.html

    def __repr__(self) -> str:
        return f"Explorer: {self.alt}"


def page(data: dict[str, Any], fallback: str, script: str, hint: str) -> str:
    """Put an explorer together: styles, static view, data and script.

    Args:
        data: What the script needs; "alt" and "title" are among it.
        fallback: The static view, as HTML.
        script: Name of the explorer's own script among the assets.
        hint: What a reader could do here with JavaScript.
    """
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    text = text.replace("<", "\\u003c")  # a name may hold "</script>"
    key = hashlib.sha256((script + text).encode()).hexdigest()[:10]
    style = _asset("explorer.css").replace("QUERY_COLOUR", PALETTE.query)
    code = "\n".join([_asset("common.js").replace("EXPLORER_KEY", key), _asset(script)])
    label = html.escape(data["title"] or data["alt"])
    return (
        f'<div class="visattn-explorer" data-key="{key}" role="group" '
        f'aria-label="{label}"><style>{style}</style>'
        f'<div class="ve-static">{fallback}<p class="ve-note">Static view. '
        f"With JavaScript {hint}</p></div>"
        f'<script type="application/json">{text}</script>'
        f'<script>(function (script) {{\n"use strict";\n{code}\n'
        f"}})(document.currentScript);</script></div>"
    )


def to_base64(array: np.ndarray[Any, Any]) -> str:
    """The bytes of an array as text."""
    return base64.b64encode(array.tobytes()).decode()


def colour_table(name: str) -> str:
    """256 colours of a colour map, three bytes each."""
    from matplotlib import colormaps

    table = colormaps[name](np.arange(256))[:, :3]
    return to_base64((table * 255).round().astype(np.uint8))


def image_uri(image: Tensor) -> str:
    """The photograph as a data address: JPEG, or PNG for a thumbnail."""
    from PIL import Image

    array = (image * 255).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(array)
    buffer = io.BytesIO()
    if is_thumbnail(image):
        picture.save(buffer, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    picture.save(buffer, "JPEG", quality=86)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def is_thumbnail(image: Tensor) -> bool:
    """Whether a photograph is so small that its pixels are shown as squares."""
    return max(image.shape[1:]) < 128


@cache
def _asset(name: str) -> str:
    source = files("visattn.explore").joinpath("assets", name)
    return source.read_text(encoding="utf-8").strip()
