"""The halo explorer: blocks, halos and the border of the image, on a photograph.

Shapes: H W map, N heads, U = block + 2 * halo, I J rows and columns of blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from visattn.explore._checks import (
    check_image,
    check_query,
    check_sums,
    check_weights,
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
from visattn.explore.maps import ALPHA, DIM, GAMMA, heatmap, mark, photo, pixels
from visattn.explore.picture import check_alt, show
from visattn.explore.style import ATTENTION, PALETTE, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRIDS = (8, 64)
"""Smallest and largest longer side of the map."""

MAX_HALO = 16
"""Largest halo that a reader can choose."""

STRIDES = (1, 2, 4, 8)
"""Strides of the queries that a reader can choose."""

CHANNELS = 64
"""Channels of keys and of values in the count of bytes, with four bytes each."""


def halo_explorer(
    image: Float[Tensor, "3 H0 W0"],
    *,
    alt: str,
    block: int = 8,
    halo: int = 3,
    stride: int = 1,
    size: int | None = None,
    query: tuple[int, int] | None = None,
    attention: Float[Tensor, "N H W U U"] | None = None,
    title: str | None = None,
) -> Explorer:
    """Let the reader move a pixel, and change the blocks and the halo around them.

    The explorer shows the blocks on the photograph, the block of the pixel and the
    window that all its queries share. What lies outside the image is hatched. Beside
    it stands how often each pixel is gathered, and what that costs against a window
    for each pixel: keys per query, keys gathered per pixel, logits and bytes.

    Args:
        image: The photograph, values in [0, 1].
        alt: One or two sentences that say what can be seen.
        block: Side of a block at the start, in pixels of the map.
        halo: Pixels on each side of a block at the start, at most 16.
        stride: Stride of the queries at the start: 1, 2, 4 or 8; divides the block.
        size: Longer side of the map; by default 32, or that of the weights.
        query: (row, column) at the start, counted from 0; by default the centre.
        attention: Weights of a layer with this block and halo and with stride 1: one
            image of what `halo_attention` returns. They are shown for the pixel as
            long as block and halo are these.
        title: A short heading.

    Raises:
        TypeError: If image or attention are not tensors, a size is not an integer, or
            alt is not a string.
        ValueError: If a shape is wrong, a number is out of range, the weights of a
            query do not sum to 1, alt has fewer than 20 characters, or the output
            would be larger than `MAX_BYTES`.
    """
    alt = check_alt(alt)
    picture = check_image(image)
    weights = None if attention is None else _check_window_weights(attention)
    H, W = _grid(picture, size, weights)
    longest = max(H, W)
    _check_range("block", block, 1, longest)
    _check_range("halo", halo, 0, min(MAX_HALO, longest))
    _check_range("stride", stride, 1, block)
    if block % stride:
        raise ValueError(
            f"stride must divide the block, got stride {stride} and block {block}"
        )
    if stride not in STRIDES:
        raise ValueError(
            f"stride must be one of {', '.join(map(str, STRIDES))}, got {stride}"
        )
    if weights is not None:
        _check_fit(weights, block, halo, stride)
    start = check_query((H // 2, W // 2) if query is None else query, H, W)

    data: dict[str, Any] = {
        "height": H,
        "width": W,
        "query": start,
        "alt": alt,
        "title": title,
        "block": block,
        "halo": halo,
        "stride": stride,
        "strides": STRIDES,
        "halos": min(MAX_HALO, longest),
        "channels": CHANNELS,
        "weights": None if weights is None else _encode(weights),
        "heads": 0 if weights is None else len(weights),
        "cell": (picture.shape[2] / W) / (picture.shape[1] / H),
        "dim": DIM,
        "alpha": ALPHA,
        "gamma": GAMMA,
        "colours": colour_table(ATTENTION),
        "image": image_uri(picture),
        "thumbnail": is_thumbnail(picture),
    }
    fallback = show(
        _static_view(picture, (H, W), block, halo, start),
        alt=f"{alt} Static view for blocks of {block} and a halo of {halo}: the blocks "
        "with one window, and how often each pixel is gathered.",
    )
    hint = "the pixel, the block and the halo can be changed here."
    html = page(data, fallback._repr_html_(), "halo_explorer.js", hint)
    return Explorer(html, alt)


def halo_costs(
    height: int, width: int, block: int, halo: int, stride: int = 1
) -> dict[str, float]:
    """What blocks with a halo cost on a map, as the explorer counts it.

    The last blocks may reach beyond the map; they are counted whole.

    Args:
        height: Rows of the map.
        width: Columns of the map.
        block: Side of a block.
        halo: Pixels on each side of a block.
        stride: Stride of the queries.

    Returns:
        "keys": keys per query, (b + 2h)^2. "gathered": keys gathered per pixel of the
        map. "overlap": (b + 2h)^2 / b^2. "logits": logits per head. "bytes": bytes of
        the gathered keys and values.
    """
    side = block + 2 * halo
    blocks = -(-height // block) * -(-width // block)
    return {
        "keys": side**2,
        "gathered": blocks * side**2 / (height * width),
        "overlap": side**2 / block**2,
        "logits": blocks * (block // stride) ** 2 * side**2,
        "bytes": 2 * 4 * CHANNELS * blocks * side**2,
    }


def window_costs(
    height: int, width: int, window: int, stride: int = 1
) -> dict[str, float]:
    """What a window for each query costs, in the terms of `halo_costs`.

    Args:
        height: Rows of the map.
        width: Columns of the map.
        window: Side of the window.
        stride: Stride of the queries.
    """
    queries = -(-height // stride) * -(-width // stride)
    return {
        "keys": window**2,
        "gathered": queries * window**2 / (height * width),
        "logits": queries * window**2,
        "bytes": 2 * 4 * CHANNELS * queries * window**2,
    }


def gather_counts(height: int, width: int, block: int, halo: int) -> Int[Tensor, "H W"]:
    """How many windows hold each pixel of the map."""
    rows, columns = (_along(length, block, halo) for length in (height, width))
    return rows[:, None] * columns


def _along(length: int, block: int, halo: int) -> Tensor:
    place, start = torch.arange(length), torch.arange(0, length, block)[:, None]
    return ((place >= start - halo) & (place < start + block + halo)).sum(dim=0)


def _check_range(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, got {value}")


def _check_window_weights(attention: object) -> Tensor:
    if not isinstance(attention, Tensor):
        kind = type(attention).__name__
        raise TypeError(f"attention must be a tensor [N, H, W, U, U], got {kind}")
    shape = tuple(attention.shape)
    if len(shape) != 5 or 0 in shape or shape[3] != shape[4]:
        hint = "; take one image of the batch, [0]" if len(shape) == 6 else ""
        raise ValueError(f"attention must be [N, H, W, U, U], got shape {shape}{hint}")
    weights = check_weights("attention", attention)
    check_sums(weights, attention.dtype)
    return weights


def _grid(picture: Tensor, size: int | None, weights: Tensor | None) -> tuple[int, int]:
    if weights is not None:
        H, W = weights.shape[1:3]
        if size not in (None, max(H, W)):
            raise ValueError(
                f"size must be that of the weights, {max(H, W)}, or None, got {size!r}"
            )
        _check_range("the longer side of attention", max(H, W), 1, GRIDS[1])
        return H, W
    longest = 32 if size is None else size
    _check_range("size", longest, *GRIDS)
    H0, W0 = picture.shape[1:]
    H, W = (max(1, round(n * longest / max(H0, W0))) for n in (H0, W0))
    return H, W


def _check_fit(weights: Tensor, block: int, halo: int, stride: int) -> None:
    N, H, W, U = weights.shape[:4]
    if block + 2 * halo != U or stride != 1:
        raise ValueError(
            f"attention must have windows of U = block + 2 * halo = {block + 2 * halo} "
            f"and stride 1, got shape {tuple(weights.shape)} and stride {stride}"
        )
    size = N * H * W * (U * U + 4) * 4 // 3  # base64 takes 4 characters for 3 bytes
    if size > MAX_BYTES - SPARE_BYTES:
        raise ValueError(
            f"{N} heads with windows of {U} x {U} on a {H} x {W} map make about "
            f"{size / 1e6:.1f} MB of HTML, the limit is {MAX_BYTES / 1e6:.0f} MB; show "
            "fewer heads or a smaller map"
        )


def _encode(weights: Tensor) -> dict[str, str]:
    """Weights as bytes relative to the largest of a query; that one as float32."""
    rows = weights.flatten(3)
    peaks = rows.amax(dim=-1, keepdim=True)
    levels = (rows / peaks.clamp(min=1e-30) * 255).round().byte()
    return {
        "levels": to_base64(levels.numpy()),
        "peaks": to_base64(peaks.numpy().astype("<f4")),
    }


def _static_view(
    picture: Tensor,
    grid: tuple[int, int],
    block: int,
    halo: int,
    query: tuple[int, int],
) -> Figure:
    from matplotlib.patches import Rectangle

    H, W = grid
    shown = pixels(picture).shape
    fig, (left, right) = subplots(1, 2, width=7.0, height=3.1 * shown[0] / shown[1])
    photo(left, picture)
    for place in range(block, W, block):
        left.plot([place / W] * 2, [0, 1], "w", lw=0.7, transform=left.transAxes)
    for place in range(block, H, block):
        at = 1 - place / H
        left.plot([0, 1], [at, at], "w", lw=0.7, transform=left.transAxes)
    top, column = (q // block * block for q in query)
    for reach, line in ((halo, "--"), (0, "-")):
        side = block + 2 * reach
        frame = Rectangle(
            ((column - reach) / W, 1 - (top - reach + side) / H),
            side / W,
            side / H,
            transform=left.transAxes,
            fill=False,
            edgecolor=PALETTE.position,
            linestyle=line,
            linewidth=2,
        )
        left.add_patch(frame)
    mark(left, query, grid, shown)
    left.set_title(f"Block {block}, halo {halo}", fontsize=9.5)
    counts = gather_counts(H, W, block, halo)
    heatmap(right, counts.double(), cmap=ATTENTION, vmin=0)
    right.set_xticks([])
    right.set_yticks([])
    right.set_aspect("auto")
    right.set_box_aspect(shown[0] / shown[1])
    most = int(counts.max())
    right.set_title(f"Gathered up to {most} times", fontsize=9.5)
    return fig
