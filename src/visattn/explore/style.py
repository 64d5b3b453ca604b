"""One look for every figure: a palette, three colour maps, and axes to draw on.

The colours are those of Okabe and Ito (2008), which readers with the common forms
of colour blindness can tell apart. Black is not among them: black is the ink, and
`visattn.explore.show` gives it the colour of the page's text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#000000"
"""Text, ticks and spines. On a page it becomes the colour of the page's text."""

SEQUENTIAL = "viridis"
"""Colour map of quantities that start at zero."""

DIVERGING = "RdBu_r"
"""Colour map of signed quantities, with zero in the middle."""

ATTENTION = "inferno"
"""Colour map of attention weights over a photograph."""

FONT_SIZE = 10.0  # points; a figure is shown at up to 100 pixels per inch
PIXELS_PER_INCH = 100


@dataclass(frozen=True)
class Palette(Mapping[str, str]):
    """Named colours, by attribute or by key: `PALETTE.query`, `PALETTE["query"]`.

    `heads` is an ordered tuple for things without a name of their own; it is also
    the colour cycle of the axes that `subplots` returns.
    """

    query: str = "#D55E00"
    key: str = "#0072B2"
    value: str = "#009E73"
    content: str = "#CC79A7"
    position: str = "#E69F00"
    output: str = "#56B4E9"
    neutral: str = "#808080"

    @property
    def heads(self) -> tuple[str, ...]:
        """Colours of heads, or of any ordered series."""
        return (
            self.key,
            self.query,
            self.value,
            self.content,
            self.position,
            self.output,
            self.neutral,
        )

    def __getitem__(self, name: str) -> str:
        names = list(self)
        if name not in names:
            raise KeyError(f"no colour named {name!r}; the palette has {names}")
        return str(getattr(self, name))

    def __iter__(self) -> Iterator[str]:
        return (field.name for field in fields(self))

    def __len__(self) -> int:
        return len(fields(self))


PALETTE = Palette()
"""The colours of every figure in the book."""


def subplots(
    rows: int = 1,
    cols: int = 1,
    *,
    width: float = 7.0,
    height: float | None = None,
    **kw: Any,
) -> tuple[Figure, Any]:
    """Make a figure and its axes in the book's style.

    A figure of width 7 fills the text column of the book; on a phone it shrinks,
    but never so far that its text is hard to read. Global settings stay untouched.

    Args:
        rows: Rows of axes.
        cols: Columns of axes.
        width: Width in inches; one inch is shown as at most 100 pixels.
        height: Height in inches; by default it follows from the shape of the grid.
        **kw: Passed on to `Figure.subplots`, for example `sharey` or `width_ratios`.

    Returns:
        The figure, and one `Axes` or an array of them, as `plt.subplots` does.

    Raises:
        ValueError: If a size is not positive.
    """
    if rows < 1 or cols < 1:
        raise ValueError(f"rows and cols must be at least 1, got {rows=}, {cols=}")
    if width <= 0 or (height is not None and height <= 0):
        raise ValueError(
            f"width and height are positive inches, got {width=}, {height=}"
        )
    import numpy as np
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if height is None:
        height = rows * min(3.4, 0.72 * width / cols + 0.5)
    with rc_context({"font.size": FONT_SIZE, "font.family": ["sans-serif"]}):
        fig = Figure(figsize=(width, height), layout="constrained", facecolor="none")
        axes = fig.subplots(rows, cols, **kw)
        for ax in np.ravel(axes):
            _dress(ax)
    return fig, axes


def _dress(ax: Axes) -> None:
    from cycler import cycler

    ax.set_facecolor("none")
    ax.set_prop_cycle(cycler(linewidth=[2.0]) * cycler(color=list(PALETTE.heads)))
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_linewidth(0.8)
    ax.tick_params(length=3, width=0.8)
    ax.grid(axis="y", color=PALETTE.neutral, alpha=0.22, linewidth=0.8)
    ax.set_axisbelow(True)


def is_figure(candidate: object) -> bool:
    """Whether this is a matplotlib figure (False without importing matplotlib)."""
    import sys

    module = sys.modules.get("matplotlib.figure")
    return module is not None and isinstance(candidate, module.Figure)
