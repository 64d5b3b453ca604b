"""Matrices and attention maps, drawn on axes of the book's style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from visattn.explore._checks import (
    check_attention,
    check_image,
    check_names,
    check_query,
)
from visattn.explore.picture import PHOTO
from visattn.explore.style import ATTENTION, DIVERGING, PALETTE, SEQUENTIAL, subplots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

DIM = 0.6  # brightness of the photograph under a map
ALPHA = 0.88  # opacity of the largest weight
GAMMA = 0.6  # opacity is ALPHA * share**GAMMA: small weights stay visible
_LONGEST = 384  # pixels of a photograph inside a figure


def heatmap(
    ax: Axes,
    matrix: Tensor | np.ndarray[Any, Any] | Sequence[Sequence[float]],
    *,
    annotate: bool = False,
    fmt: str = ".2f",
    row_labels: Sequence[object] | None = None,
    col_labels: Sequence[object] | None = None,
    cmap: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    colorbar: bool = False,
    fontsize: float = 9.0,
) -> AxesImage:
    """Draw a matrix as coloured cells, with its numbers if asked for.

    A matrix with negative entries gets the diverging colours, centred at zero.
    Cells that are not finite (masked scores, for example) stay empty.

    Args:
        ax: Where to draw.
        matrix: [rows, columns].
        annotate: Write each value into its cell, dark or light as the cell needs.
        fmt: Format of these values.
        row_labels: One label per row.
        col_labels: One label per column; written above the matrix.
        cmap: Name of a matplotlib colour map.
        vmin: Value of the first colour.
        vmax: Value of the last colour.
        colorbar: Add a colour bar.
        fontsize: Size of the values, in points.

    Raises:
        ValueError: If the matrix has not two axes, is empty, or a label is missing.
    """
    values = _to_numpy(matrix)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"matrix must be [rows, columns], got shape {values.shape}")
    rows, cols = values.shape
    _check_labels("row_labels", row_labels, rows)
    _check_labels("col_labels", col_labels, cols)
    shown = np.ma.masked_invalid(values)
    low, high = float(shown.min()), float(shown.max())
    signed = low < 0
    if vmin is None:
        vmin = -max(-low, high) if signed else min(0.0, low)
    if vmax is None:
        vmax = max(-low, high) if signed else high
    image = ax.imshow(
        shown,
        cmap=cmap or (DIVERGING if signed else SEQUENTIAL),
        vmin=vmin,
        vmax=vmax,
        interpolation="none",
    )
    _label_cells(ax, row_labels, col_labels)
    if annotate:
        _write_values(ax, image, values, fmt, fontsize)
    if colorbar:
        bar = ax.figure.colorbar(image, ax=ax, shrink=0.85)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=3, width=0.8)
    return image


def photo(ax: Axes, image: Float[Tensor, "3 H W"]) -> AxesImage:
    """Draw a photograph with values in [0, 1], without ticks.

    Raises:
        TypeError: If it is not a tensor.
        ValueError: If it is not [3, H, W] with values in [0, 1].
    """
    return _draw_photo(ax, pixels(check_image(image)))


def overlay(
    ax: Axes,
    image: Float[Tensor, "3 H0 W0"],
    weights: Float[Tensor, "H W"],
    query: tuple[int, int] | None = None,
    *,
    vmax: float | None = None,
) -> AxesImage:
    """Draw an attention map over a dimmed photograph.

    Each cell of the map covers its share of the photograph. The largest weight is
    the brightest colour; zero shows the bare photograph.

    Args:
        ax: Where to draw.
        image: The photograph, values in [0, 1].
        weights: The attention of one query to every key position, not negative.
        query: (row, column) of the query in the grid of `weights`; gets a frame.
        vmax: The weight of the brightest colour; by default the largest one.

    Raises:
        TypeError: If image or weights are not tensors.
        ValueError: If a shape, a weight or the query is out of range.
    """
    if not isinstance(weights, Tensor):
        raise TypeError(f"weights must be a tensor, got {type(weights).__name__}")
    if weights.ndim != 2 or 0 in weights.shape:
        raise ValueError(f"weights must be [H, W], got shape {tuple(weights.shape)}")
    base = pixels(check_image(image))
    share = _to_numpy(weights)
    if not np.isfinite(share).all() or share.min() < 0:
        raise ValueError(
            f"weights must be finite and >= 0, got values from {share.min():.4g} "
            f"to {share.max():.4g}"
        )
    if vmax is None:
        vmax = float(share.max())
    drawn = _draw_photo(ax, blend(base, share / vmax if vmax > 0 else share))
    if query is not None:
        mark(ax, check_query(query, *share.shape), share.shape, base.shape)
    return drawn


def attention_grid(
    image: Float[Tensor, "3 H0 W0"],
    attention: Float[Tensor, "N H W H W"],
    query: tuple[int, int],
    *,
    head_names: Sequence[str] | None = None,
) -> Figure:
    """Draw the photograph and, for one query pixel, the attention map of each head.

    Each map has its own scale: its largest weight is the brightest colour, and the
    number above it says what that weight is.

    Args:
        image: The photograph, values in [0, 1].
        attention: Weights [heads, query row, query column, key row, key column].
        query: (row, column) of the query pixel.
        head_names: One name per head; by default "Head 1", "Head 2", ...

    Raises:
        TypeError: If image or attention are not tensors.
        ValueError: If a shape is wrong, or the weights of a query do not sum to 1
            (or to 0, where everything is masked).
    """
    picture = check_image(image)
    weights = check_attention(attention)
    N, H, W = weights.shape[:3]
    row, col = check_query(query, H, W)
    names = check_names(head_names, N)
    cols = columns(N + 1)
    rows = math.ceil((N + 1) / cols)
    aspect = picture.shape[1] / picture.shape[2]
    cell = 7.0 / cols
    size = rows * (cell * aspect + 0.36)
    fig, axes = subplots(rows, cols, width=7.0, height=size, squeeze=False)
    panels = list(axes.ravel())
    base = pixels(picture)
    _draw_photo(panels[0], base)
    mark(panels[0], (row, col), (H, W), base.shape)
    panels[0].set_title(f"Query ({row}, {col})", fontsize=9.5)
    for name, ax, head in zip(names, panels[1:], weights, strict=False):
        of_query = head[row, col]
        overlay(ax, picture, of_query, (row, col))
        ax.set_title(f"{name}: max {float(of_query.max()):.2g}", fontsize=9.5)
    for ax in panels[N + 1 :]:
        ax.set_axis_off()
    return fig


def columns(panels: int, most: int = 5) -> int:
    """How many columns a grid of panels gets: few gaps, no more than `most`."""
    if panels <= most:
        return panels
    return min(range(3, most + 1), key=lambda cols: (-panels % cols, -cols))


def pixels(image: Tensor) -> np.ndarray[Any, Any]:
    """[3, H, W] in [0, 1] to bytes [H, W, 3], not larger than a figure needs."""
    from PIL import Image

    array = (image * 255).round().byte().permute(1, 2, 0).numpy()
    height, width = array.shape[:2]
    scale = _LONGEST / max(height, width)
    if scale >= 1:
        return array
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(array).resize(size, Image.Resampling.LANCZOS))


def blend(
    base: np.ndarray[Any, Any], share: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Lay a map with values in [0, 1] over a photograph [H, W, 3] of bytes."""
    from matplotlib import colormaps

    height, width = base.shape[:2]
    if height < 128:  # a thumbnail: give the map room for its cells
        factor = math.ceil(128 / height)
        base = base.repeat(factor, 0).repeat(factor, 1)
        height, width = base.shape[:2]
    rows = (np.arange(height) + 0.5) * share.shape[0] / height
    cols = (np.arange(width) + 0.5) * share.shape[1] / width
    share = np.clip(share, 0, 1)[rows.astype(int)][:, cols.astype(int), None]
    grey = base @ np.array([0.2126, 0.7152, 0.0722]) * DIM
    colour = colormaps[ATTENTION](share[..., 0])[..., :3] * 255
    alpha = ALPHA * share**GAMMA
    mixed = grey[..., None] * (1 - alpha) + colour * alpha
    return np.asarray(mixed.round().astype(np.uint8))


def mark(
    ax: Axes, query: tuple[int, int], grid: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    """Frame the query's cell; the photograph fills the unit square of the axes."""
    from matplotlib.patches import Rectangle

    row, col = query
    height, width = grid
    corner = (col / width, 1 - (row + 1) / height)
    for colour, line in (("white", 2.8), (PALETTE.query, 1.4)):
        frame = Rectangle(
            corner,
            1 / width,
            1 / height,
            transform=ax.transAxes,
            fill=False,
            edgecolor=colour,
            linewidth=line,
            joinstyle="round",
            zorder=3,
            clip_on=False,
        )
        ax.add_patch(frame)


def _draw_photo(ax: Axes, array: np.ndarray[Any, Any]) -> AxesImage:
    drawn = ax.imshow(array, interpolation="none")
    drawn.set_gid(PHOTO)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return drawn


def _to_numpy(matrix: object) -> np.ndarray[Any, Any]:
    if isinstance(matrix, Tensor):
        matrix = matrix.detach().cpu().double().numpy()
    return np.asarray(matrix, dtype=float)


def _check_labels(name: str, labels: Sequence[object] | None, length: int) -> None:
    if labels is not None and len(labels) != length:
        raise ValueError(
            f"{name} must have {length} entries, one for each, got {len(labels)}"
        )


def _label_cells(
    ax: Axes, rows: Sequence[object] | None, cols: Sequence[object] | None
) -> None:
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.tick_params(length=0)
    if rows is not None:
        ax.set_yticks(range(len(rows)), [str(label) for label in rows])
    if cols is not None:
        ax.set_xticks(range(len(cols)), [str(label) for label in cols])


def _write_values(
    ax: Axes, image: AxesImage, values: np.ndarray[Any, Any], fmt: str, size: float
) -> None:
    for (row, col), value in np.ndenumerate(values):
        if not np.isfinite(value):
            ax.text(col, row, "–", ha="center", va="center", fontsize=size)
            continue
        colour = _readable(image.cmap(image.norm(value)))
        text = format(value, fmt)
        if not any(digit in text for digit in "123456789"):
            text = text.lstrip("-")  # no minus sign before a zero
        text = text.replace("-", "−")
        ax.text(col, row, text, color=colour, ha="center", va="center", fontsize=size)


def _readable(rgba: Any) -> str:
    """Near-black or white, whichever has the larger contrast to this colour."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgba]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#111111" if luminance > 0.19 else "#ffffff"
