"""The memory calculator: which mechanism fits on which map, into which device.

The formulas are those of `visattn.lab.memory`, as text. The browser evaluates the same
text, so the page shows the numbers of `visattn.lab.memory_bytes`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from visattn.explore._page import Explorer, page
from visattn.explore.picture import check_alt, show
from visattn.explore.style import PALETTE, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEVICES = (
    ("Laptop, 8 GB", 8),
    ("T4, 16 GB", 16),
    ("RTX 4090, 24 GB", 24),
    ("A100, 40 GB", 40),
    ("A100 or H100, 80 GB", 80),
    ("H200, 141 GB", 141),
)
"""Names of devices and their memory in GB of 10^9 bytes."""

SIDES = (8, 1024)
"""Smallest and largest side of a square map in the chart."""

STEPS = {"K": 2}
"""Steps of the variables that do not take every integer from the smallest on."""

WIDTHS = (2, 4, 8)
"""Bytes that a number can have, as far as the formulas allow them."""

CAP = 65_536
"""Largest side of a map that the search for the largest one looks at."""


def memory_calculator(*, alt: str, title: str | None = None) -> Explorer:
    """Let the reader enter sizes and see which mechanism fits into which device.

    The reader enters batch, channels, heads, map, window, block, halo, bytes of a
    number and the memory of a device. A table gives, for every mechanism of
    `visattn.lab.memory_formulas`, the bytes of one layer in this package's form and in
    the textbook form, whether they fit, and the largest square map that does. A
    chart draws the bytes against the side of a square map; by pointer or by keys the
    reader moves the side in it.

    Args:
        alt: One or two sentences that say what can be seen.
        title: A short heading.

    Raises:
        TypeError: If alt is not a string.
        ValueError: If alt has fewer than 20 characters.
    """
    from visattn.lab import memory

    alt = check_alt(alt)
    variables, table = memory.memory_variables(), _table()
    data: dict[str, Any] = {
        "alt": alt,
        "title": title,
        "variables": {
            name: {**asdict(one), "step": STEPS.get(name, 1)}
            for name, one in variables.items()
        },
        "widths": [
            width
            for width in WIDTHS
            if variables["s"].least <= width <= variables["s"].most
        ],
        "formulas": table,
        "devices": DEVICES,
        "sides": SIDES,
        "cap": CAP,
        "first": [row["key"] for row in table].index("multi_head"),
        "colours": [PALETTE.query, "#2a8fd4", PALETTE.value],
    }
    fallback = show(
        _static_view(),
        alt=f"{alt} Bars of the memory of one layer for every mechanism, forward and "
        "in training, with the sizes at which the calculator starts.",
    )
    hint = "sizes and device can be changed here."
    html = page(data, fallback._repr_html_(), "memory_calculator.js", hint)
    return Explorer(html, alt)


def _table() -> list[dict[str, Any]]:
    """The formulas; those for the CPU only where they differ from those for CUDA."""
    from visattn.lab import memory

    table: list[dict[str, Any]] = []
    on_cpu = memory.memory_formulas("cpu")
    for key, formula in memory.memory_formulas("cuda").items():
        row: dict[str, Any] = {"key": key, "title": formula.title}
        for form in ("package", "textbook"):
            one, other = getattr(formula, form), getattr(on_cpu[key], form)
            if one is None:
                row[form] = None
                continue
            row[form] = {"cuda": asdict(one), "cpu": asdict(other)}
            if one == other:
                del row[form]["cpu"]
        table.append(row)
    return table


def _static_view() -> Figure:
    from visattn.lab import memory

    formulas = memory.memory_formulas("cuda")
    fig, ax = subplots(width=7.0, height=0.3 * len(formulas) + 0.9)
    for place, (key, formula) in enumerate(formulas.items()):
        forms = ["package"] if formula.textbook is None else ["package", "textbook"]
        for form in forms:
            low, high = (
                memory.memory_bytes(key, form=form, training=training, device="cuda")
                / 1e6
                for training in (False, True)
            )
            colour = PALETTE.query if form == "package" else PALETTE.key
            at = place + (-0.15 if form == "package" else 0.15)
            ax.plot([low, high], [at, at], color=colour, linewidth=3, marker="|")
    ax.set_xscale("log")
    ax.set_yticks(range(len(formulas)), [one.title for one in formulas.values()])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=PALETTE.neutral, alpha=0.22)
    for label, colour in (
        ("this package", PALETTE.query),
        ("textbook form", PALETTE.key),
    ):
        ax.plot([], [], color=colour, linewidth=3, label=label)
    ax.legend(fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("MB of one layer, from the forward pass to training")
    return fig
