"""The gate explorer: two gates along the axes, and the gate that they multiply to.

Shapes: N channels or examples, H W grid of the gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from visattn.explore._checks import check_gates, check_image, check_query
from visattn.explore._page import (
    Explorer,
    colour_table,
    image_uri,
    is_thumbnail,
    page,
)
from visattn.explore.maps import heatmap, photo
from visattn.explore.picture import check_alt, show
from visattn.explore.style import ATTENTION, PALETTE, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_GATES = 224
"""Largest number of gates along one axis."""


def gate_explorer(
    image: Float[Tensor, "3 H0 W0"],
    gate_rows: Float[Tensor, "... H"],
    gate_columns: Float[Tensor, "... W"],
    *,
    alt: str,
    names: Sequence[str] | None = None,
    query: tuple[int, int] | None = None,
    title: str | None = None,
) -> Explorer:
    r"""Let the reader draw two gates along the axes, and see their product.

    .. math:: g_{ij} = g^h_i \, g^w_j

    The gates of the rows stand along the left edge of the photograph, those of the
    columns along its top. The photograph is shown times the gate, beside a map of the
    gate itself. A reader may also start from one object, from two objects, or from a
    channel gate, which is the same everywhere. The H x W grid covers the photograph.

    Args:
        image: The photograph, values in [0, 1].
        gate_rows: g^h from a network, in [0, 1]: [H], or [N, H] for N channels.
        gate_columns: g^w from the network: [W], or [N, W].
        alt: One or two sentences that say what can be seen.
        names: One name per channel; by default "From the network".
        query: (row, column) of the first number that is read; by default the centre.
        title: A short heading.

    Raises:
        TypeError: If image or gates are not tensors, or alt is not a string.
        ValueError: If a shape is wrong, a gate is outside [0, 1], or alt has fewer
            than 20 characters.
    """
    alt = check_alt(alt)
    picture = check_image(image)
    rows = check_gates("gate_rows", gate_rows, MAX_GATES)  # [N, H]
    columns = check_gates("gate_columns", gate_columns, MAX_GATES)  # [N, W]
    if len(rows) != len(columns):
        raise ValueError(
            f"gate_rows and gate_columns must have as many channels, got {len(rows)} "
            f"and {len(columns)}"
        )
    labels = _check_labels(names, len(rows))
    H, W = rows.shape[1], columns.shape[1]
    start = check_query((H // 2, W // 2) if query is None else query, H, W)

    data: dict[str, Any] = {
        "height": H,
        "width": W,
        "query": start,
        "alt": alt,
        "title": title,
        "names": labels,
        "rows": rows.tolist(),
        "columns": columns.tolist(),
        "aspect": picture.shape[2] / picture.shape[1],
        "image": image_uri(picture),
        "thumbnail": is_thumbnail(picture),
        "colours": colour_table(ATTENTION),
    }
    fallback = show(
        _static_view(picture, rows[0], columns[0]),
        alt=f"{alt} The gates of the rows and columns as curves, their product as a "
        "map, and the photograph times this product.",
    )
    hint = "both gates can be drawn here."
    html = page(data, fallback._repr_html_(), "gate_explorer.js", hint)
    return Explorer(html, alt)


def _check_labels(names: Sequence[str] | None, channels: int) -> list[str]:
    if names is None:
        if channels == 1:
            return ["From the network"]
        return [f"From the network, {n + 1}" for n in range(channels)]
    if isinstance(names, str) or len(names) != channels:
        raise ValueError(f"names must be {channels} names, got {names!r}")
    return [str(name) for name in names]


def _static_view(picture: Tensor, rows: Tensor, columns: Tensor) -> Figure:
    gate = rows[:, None] * columns  # [H, W]
    H0, W0 = picture.shape[1:]
    at_row, at_column = (
        (torch.arange(full) * short) // full
        for full, short in ((H0, len(rows)), (W0, len(columns)))
    )
    height = 2.0 * H0 / W0 + 0.5
    fig, (curves, product, kept) = subplots(1, 3, width=7.0, height=height)
    for gates, colour, name in (
        (rows, PALETTE.value, "rows"),
        (columns, PALETTE.key, "columns"),
    ):
        along = np.linspace(0, 1, len(gates))
        curves.plot(along, gates.numpy(), color=colour, label=name)
    curves.set_ylim(0, 1)
    curves.set_xticks([0, 1], ["start", "end"])
    curves.legend(fontsize=8)
    curves.set_title("Gates", fontsize=9.5)
    heatmap(product, gate, cmap=ATTENTION, vmin=0, vmax=1)
    product.set_aspect("auto" if H0 != W0 else "equal")
    product.set_box_aspect(H0 / W0)
    product.set_xticks([])
    product.set_yticks([])
    product.set_title("Product", fontsize=9.5)
    photo(kept, picture * gate[at_row][:, at_column].float())
    kept.set_title("Photograph × gate", fontsize=9.5)
    return fig
