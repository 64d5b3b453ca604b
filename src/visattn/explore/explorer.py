"""The attention explorer: one HTML output in which a reader moves the query pixel.

It needs no kernel, no network and no library: the weights are in the output, one
byte each. Without JavaScript it shows the static grid of `attention_grid`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from visattn.explore._checks import (
    check_attention,
    check_image,
    check_names,
    check_query,
)
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
from visattn.explore.maps import ALPHA, DIM, GAMMA, attention_grid
from visattn.explore.picture import check_alt, show
from visattn.explore.style import ATTENTION


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
        "colours": colour_table(ATTENTION),
        "image": image_uri(picture),
        "thumbnail": is_thumbnail(picture),
        **_encode(weights),
    }
    fallback = show(
        attention_grid(picture, attention, start, head_names=names),
        alt=f"{alt} Attention maps of the query in row {start[0]}, column {start[1]}.",
    )
    hint = "the query pixel can be moved here."
    html = page(data, fallback._repr_html_(), "explorer.js", hint)
    return Explorer(html, alt)


def _check_size(N: int, H: int, W: int) -> None:
    weights = N * (H * W) ** 2 * 4 // 3  # base64 takes 4 characters for 3 bytes
    if weights > MAX_BYTES - SPARE_BYTES:
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
        "levels": to_base64(levels.numpy()),
        "peaks": to_base64(rows.amax(dim=-1).numpy().astype("<f4")),
        "spreads": to_base64(spread.numpy().astype("<f4")),
    }
