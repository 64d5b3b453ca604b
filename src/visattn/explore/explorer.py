"""The attention explorer: one HTML output in which a reader moves the query pixel.

It needs no kernel, no network and no library: the weights are in the output, one
byte each. Without JavaScript it shows the static grid of `attention_grid`.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from visattn.explore._checks import (
    check_attention,
    check_image,
    check_names,
    check_query,
)
from visattn.explore.maps import ALPHA, DIM, GAMMA, attention_grid
from visattn.explore.picture import check_alt, show
from visattn.explore.style import ATTENTION, PALETTE

MAX_BYTES = 3_000_000
"""Largest size of an explorer's HTML."""

_LONGEST = 560  # pixels of the photograph inside an explorer


@dataclass(frozen=True)
class Explorer:
    """An attention explorer as HTML. Put it last in a cell, and it is shown.

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


def attention_explorer(
    image: Float[Tensor, "3 H0 W0"],
    attention: Float[Tensor, "N H W H W"],
    *,
    alt: str,
    query: tuple[int, int] | None = None,
    head_names: Sequence[str] | None = None,
    title: str | None = None,
    mean: bool = True,
) -> Explorer:
    """Let the reader move a query pixel and see the attention map of every head.

    Hover previews a query, click or tap pins it, the arrow keys move it. Hover over
    a map reads one weight. The H x W grid covers the whole photograph.

    Each row of weights is stored as bytes relative to its largest weight, so a
    displayed weight is off by at most 1/510 of the largest one. The largest weight
    and the entropy are computed before that, in float64.

    Args:
        image: The photograph, values in [0, 1].
        attention: Weights [heads, query row, query column, key row, key column].
        alt: One or two sentences that say what can be seen.
        query: (row, column) at the start, counted from 0; by default the centre.
        head_names: One name per head; by default "Head 1", "Head 2", ...
        title: A short heading.
        mean: Also show the mean of the heads, where there are several. Leave it out
            where the maps are not heads of one attention.

    Raises:
        TypeError: If image or attention are not tensors, or alt is not a string.
        ValueError: If a shape is wrong, if the weights of a query do not sum to 1
            (or to 0, where everything is masked), if alt has fewer than 20
            characters, or if the output would be larger than `MAX_BYTES`.
    """
    alt = check_alt(alt)
    picture = check_image(image)
    weights = check_attention(attention)
    N, H, W = weights.shape[:3]
    start = check_query((H // 2, W // 2) if query is None else query, H, W)
    names = check_names(head_names, N)
    _check_size(N, H, W)

    data: dict[str, Any] = {
        "heads": names,
        "height": H,
        "width": W,
        "query": start,
        "alt": alt,
        "title": title,
        "mean": bool(mean),
        "dim": DIM,
        "alpha": ALPHA,
        "gamma": GAMMA,
        "colours": _colour_table(),
        "image": _image_uri(picture),
        "thumbnail": max(picture.shape[1:]) < 128,
        **_encode(weights),
    }
    fallback = show(
        attention_grid(picture, attention, start, head_names=names),
        alt=f"{alt} Attention maps of the query in row {start[0]}, column {start[1]}.",
    )
    return Explorer(_page(data, fallback._repr_html_()), alt)


def _check_size(N: int, H: int, W: int) -> None:
    weights = N * (H * W) ** 2 * 4 // 3  # base64 takes 4 characters for 3 bytes
    if weights > MAX_BYTES - 300_000:  # the photographs and the script
        raise ValueError(
            f"{N} heads on a {H} x {W} grid make about {weights / 1e6:.1f} MB of HTML, "
            f"the limit is {MAX_BYTES / 1e6:.0f} MB; make the grid smaller (average "
            "pooling of the feature map before the attention) or show fewer heads"
        )


def _encode(weights: Tensor) -> dict[str, str]:
    """Weights as bytes relative to the row's peak; peaks and spreads as float32.

    The last row of peaks and spreads belongs to the mean over the heads.
    """
    rows = weights.flatten(3).flatten(1, 2)  # [N, H*W queries, H*W keys]
    peaks = rows.amax(dim=-1, keepdim=True)
    levels = (rows / peaks.clamp(min=1e-30) * 255).round().byte()
    rows = torch.cat([rows, rows.mean(dim=0, keepdim=True)])
    entropy = torch.special.entr(rows).sum(dim=-1)
    spread = torch.where(rows.sum(dim=-1) > 0, entropy.exp(), 0)
    return {
        "levels": _base64(levels.numpy()),
        "peaks": _base64(rows.amax(dim=-1).numpy().astype("<f4")),
        "spreads": _base64(spread.numpy().astype("<f4")),
    }


def _base64(array: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _colour_table() -> str:
    from matplotlib import colormaps

    table = colormaps[ATTENTION](np.arange(256))[:, :3]
    return _base64((table * 255).round().astype(np.uint8))


def _image_uri(image: Tensor) -> str:
    """The photograph as a data address: JPEG, or PNG for a thumbnail."""
    from PIL import Image

    array = (image * 255).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(array)
    buffer = io.BytesIO()
    if max(picture.size) < 128:
        picture.save(buffer, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    picture.save(buffer, "JPEG", quality=86)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


@cache
def _asset(name: str) -> str:
    source = files("visattn.explore").joinpath("assets", name)
    return source.read_text(encoding="utf-8").strip()


def _page(data: dict[str, Any], fallback: str) -> str:
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    text = text.replace("<", "\\u003c")  # a name may hold "</script>"
    key = hashlib.sha256(text.encode()).hexdigest()[:10]
    style = _asset("explorer.css").replace("QUERY_COLOUR", PALETTE.query)
    label = html.escape(data["title"] or data["alt"])
    return (
        f'<div class="visattn-explorer" data-key="{key}" role="group" '
        f'aria-label="{label}"><style>{style}</style>'
        f'<div class="ve-static">{fallback}<p class="ve-note">Static view. '
        f"With JavaScript the query pixel can be moved here.</p></div>"
        f'<script type="application/json">{text}</script>'
        f"<script>{_asset('explorer.js').replace('EXPLORER_KEY', key)}</script></div>"
    )
