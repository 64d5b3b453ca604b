"""The relation explorer: the weights that a relation gives to the window of a query.

Shapes: G channel groups, H W grid of queries, K window.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from visattn.explore._checks import check_image, check_query
from visattn.explore._page import (
    MAX_BYTES,
    SPARE_BYTES,
    Explorer,
    colour_table,
    image_uri,
    is_thumbnail,
    page,
    to_base64,
)
from visattn.explore.maps import ALPHA, DIM, GAMMA, heatmap, mark, photo, pixels
from visattn.explore.picture import check_alt, show
from visattn.explore.style import ATTENTION, DIVERGING, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SLACK = 1e-3  # of a sum of weights in float32
_STATIC_GROUPS = 5  # maps of one relation in the static view


def relation_explorer(
    image: Float[Tensor, "3 H0 W0"],
    weights: Mapping[str, Tensor],
    *,
    alt: str,
    query: tuple[int, int] | None = None,
    relation: str | None = None,
    title: str | None = None,
) -> Explorer:
    """Let the reader choose a relation and a query, and see the window's weights.

    Every relation has one map per channel group: the weights of the K x K window
    around the query. Where a relation has negative weights, its colours are diverging
    and the caption of a map gives both ends. The H x W grid covers the whole
    photograph; the part of a window outside it is shown too.

    Each map is stored as bytes relative to its largest magnitude, so a displayed
    weight is off by at most 1/254 of it. The largest, the smallest and the sum are
    computed before that, in float64.

    Args:
        image: The photograph, values in [0, 1].
        weights: Name of a relation -> weights [G, H, W, K, K], K odd. H and W are the
            same for all relations; G and K may differ.
        alt: One or two sentences that say what can be seen.
        query: (row, column) at the start, counted from 0; by default the centre.
        relation: The relation shown at the start; by default the first.
        title: A short heading.

    Raises:
        TypeError: If image or weights are not tensors, or alt is not a string.
        ValueError: If a shape is wrong, a weight is not finite, a name is unknown, alt
            has fewer than 20 characters, or the output would be larger than
            `MAX_BYTES`.
    """
    alt = check_alt(alt)
    picture = check_image(image)
    maps = _check_weights(weights)
    names = list(maps)
    H, W = maps[names[0]].shape[1:3]
    start = check_query((H // 2, W // 2) if query is None else query, H, W)
    if relation is not None and relation not in maps:
        raise ValueError(f"relation must be one of {names}, got {relation!r}")
    _check_size(maps)

    data: dict[str, Any] = {
        "height": H,
        "width": W,
        "query": start,
        "alt": alt,
        "title": title,
        "relations": [_encode(name, one) for name, one in maps.items()],
        "first": names.index(relation) if relation is not None else 0,
        "cell": (picture.shape[2] / W) / (picture.shape[1] / H),
        "dim": DIM,
        "alpha": ALPHA,
        "gamma": GAMMA,
        "image": image_uri(picture),
        "thumbnail": is_thumbnail(picture),
        "sequential": colour_table(ATTENTION),
        "diverging": colour_table(DIVERGING),
    }
    fallback = show(
        _static_view(picture, maps, start),
        alt=f"{alt} Weights of the query in row {start[0]}, column {start[1]}: one row "
        "of maps per relation.",
    )
    hint = "the relation and the query can be changed here."
    html = page(data, fallback._repr_html_(), "relation_explorer.js", hint)
    return Explorer(html, alt)


def _check_weights(weights: object) -> dict[str, Tensor]:
    if not isinstance(weights, Mapping):
        kind = type(weights).__name__
        raise TypeError(f"weights must be a dict: name -> tensor, got {kind}")
    if not weights:
        raise ValueError("weights must hold at least one relation, got none")
    maps = {str(name): _check_one(str(name), one) for name, one in weights.items()}
    grids = {name: tuple(one.shape[1:3]) for name, one in maps.items()}
    if len(set(grids.values())) > 1:
        raise ValueError(f"all relations must have the same grid H, W, got {grids}")
    return maps


def _check_one(name: str, weights: object) -> Tensor:
    if not isinstance(weights, Tensor):
        kind = type(weights).__name__
        raise TypeError(f"weights[{name!r}] must be a tensor, got {kind}")
    shape = tuple(weights.shape)
    if len(shape) != 5 or 0 in shape or shape[3] != shape[4] or shape[3] % 2 == 0:
        hint = "; take one image of the batch, [0]" if len(shape) == 6 else ""
        raise ValueError(
            f"weights[{name!r}] must be [G, H, W, K, K] with K odd, got shape "
            f"{shape}{hint}"
        )
    if not weights.is_floating_point():
        raise ValueError(f"weights[{name!r}] must be float, got dtype {weights.dtype}")
    weights = weights.detach().cpu().double()
    if not weights.isfinite().all():
        bad = tuple(torch.nonzero(~weights.isfinite())[0].tolist())
        raise ValueError(
            f"weights[{name!r}] must be finite, got {weights[bad].item()} at index "
            f"{bad}"
        )
    return weights


def _check_size(maps: Mapping[str, Tensor]) -> None:
    size = 0.0
    for one in maps.values():
        windows = one[..., 0, 0].numel()
        size += (one.numel() + 12 * windows) * 4 / 3  # base64: 4 for 3 bytes
    if size > MAX_BYTES - SPARE_BYTES:
        shapes = {name: list(one.shape) for name, one in maps.items()}
        raise ValueError(
            f"these weights make about {size / 1e6:.1f} MB of HTML, the limit is "
            f"{MAX_BYTES / 1e6:.0f} MB; show fewer relations or groups, or a coarser "
            f"grid of queries: {shapes}"
        )


def _encode(name: str, weights: Tensor) -> dict[str, Any]:
    """Weights as bytes, 0 to 255, or 1 to 255 around 128 where some are negative."""
    G, _, _, K, _ = weights.shape
    rows = weights.flatten(3).flatten(1, 2)  # [G, H*W, K*K]
    signed = _is_signed(weights)
    largest = rows.abs().amax(dim=-1, keepdim=True)
    share = rows / largest.clamp(min=1e-30)
    levels = 128 + 127 * share if signed else 255 * share.clamp(min=0)
    sums = rows.sum(dim=-1)
    return {
        "name": name,
        "groups": G,
        "size": K,
        "signed": signed,
        "normalised": bool(((sums - 1).abs() < _SLACK).all()) and not signed,
        "levels": to_base64(levels.round().byte().numpy()),
        "high": _floats(rows.amax(dim=-1)),
        "low": _floats(rows.amin(dim=-1)),
        "sums": _floats(sums),
    }


def _is_signed(weights: Tensor) -> bool:
    return bool(weights.min() < -1e-6)


def _floats(values: Tensor) -> str:
    return to_base64(values.numpy().astype("<f4"))


def _static_view(
    picture: Tensor, maps: Mapping[str, Tensor], query: tuple[int, int]
) -> Figure:
    """One row per relation: its name, and the maps of its first groups."""
    groups = min(_STATIC_GROUPS, max(len(one) for one in maps.values()))
    rows, cols = len(maps), groups + 1
    size = 7.0 / cols
    fig, axes = subplots(
        rows, cols, width=7.0, height=rows * (size + 0.28), squeeze=False
    )
    for i, (name, weights) in enumerate(maps.items()):
        row = axes[i]
        label = textwrap.fill(name, 16)
        if i == 0:
            photo(row[0], picture)
            mark(row[0], query, tuple(weights.shape[1:3]), pixels(picture).shape)
            row[0].set_title(label, fontsize=9.5)
        else:
            row[0].set_axis_off()
            row[0].text(0, 0.95, label, va="top", fontsize=9.5)
        signed = _is_signed(weights)
        for g, ax in enumerate(row[1:]):
            if g >= len(weights):
                ax.set_axis_off()
                continue
            window = weights[g, query[0], query[1]]
            limit = max(window.abs().max().item(), 1e-30)
            heatmap(
                ax,
                np.asarray(window),
                cmap=DIVERGING if signed else ATTENTION,
                vmin=-limit if signed else 0.0,
                vmax=limit,
            )
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_title(f"{g + 1}: {'±' if signed else 'max '}{limit:.2g}", fontsize=9)
    return fig
