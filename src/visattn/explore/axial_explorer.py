"""The axial explorer: the column pass, the row pass, and what both do together.

Shapes: H W grid of the photograph, N channels of the gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from visattn.explore._checks import (
    check_gates,
    check_image,
    check_query,
    check_weights,
    wrong_sums,
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
from visattn.explore.maps import ALPHA, DIM, GAMMA, mark, overlay, photo, pixels
from visattn.explore.picture import check_alt, show
from visattn.explore.style import ATTENTION, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_LINE = 128
"""Largest number of rows or columns of the grid."""


def axial_explorer(
    image: Float[Tensor, "3 H0 W0"],
    columns: Float[Tensor, "W H H"],
    rows: Float[Tensor, "H W W"],
    *,
    alt: str,
    gate_rows: Float[Tensor, "... H"] | None = None,
    gate_columns: Float[Tensor, "... W"] | None = None,
    names: Sequence[str] | None = None,
    query: tuple[int, int] | None = None,
    title: str | None = None,
) -> Explorer:
    r"""Let the reader pick a pixel and see its column map, its row map, and both.

    The column pass runs first, the row pass on its result. Pixel (a, b) then enters
    the result at (i, j) with the weight

    .. math:: A_{ij,ab} = R_{ijb}\, C_{bia}

    because it travels along column b, to row i, and then along row i, to column j. The
    column map in it is that of column b, not that of the query's own column. A place
    in this joint map shows the two steps of its way. The H x W grid covers the
    photograph.

    A gate after the column pass, one number per row, and a gate after the row pass,
    one per column, multiply all weights of a query by the same number.

    Each line of weights is stored as bytes relative to its largest weight, so a
    displayed weight is off by at most 1/510 of the largest one of its line. The
    largest weights and the entropies are computed before that, in float64.

    Args:
        image: The photograph, values in [0, 1].
        columns: C [column, query row, key row]. Of the weights [B, N, H, W, H] that
            `axial_attention` returns it is ``attention[0, n].transpose(0, 1)``.
        rows: R [row, query column, key column]: ``attention[0, n]`` of the width pass.
        alt: One or two sentences that say what can be seen.
        gate_rows: The gate after the column pass, in [0, 1]: [H], or [N, H] for N
            channels.
        gate_columns: The gate after the row pass: [W], or [N, W].
        names: One name per channel of the gates; by default "Channel 1", ...
        query: (row, column) at the start, counted from 0; by default the centre.
        title: A short heading.

    Raises:
        TypeError: If image, weights or gates are not tensors, or alt is not a string.
        ValueError: If a shape is wrong, the weights of a line do not sum to 1 (or to
            0, where everything is masked), a gate is outside [0, 1], alt has fewer
            than 20 characters, or the output would be larger than `MAX_BYTES`.
    """
    alt = check_alt(alt)
    picture = check_image(image)
    C = _check_lines("columns", columns, "W, H, H")
    R = _check_lines("rows", rows, "H, W, W")
    W, H = C.shape[:2]
    if tuple(R.shape) != (H, W, W):
        raise ValueError(
            f"columns [W, H, H] and rows [H, W, W] must belong to one map, got shapes "
            f"{tuple(C.shape)} and {tuple(R.shape)}"
        )
    start = check_query((H // 2, W // 2) if query is None else query, H, W)
    gates = _check_both_gates(gate_rows, gate_columns, H, W)
    _check_size(H, W)

    data: dict[str, Any] = {
        "height": H,
        "width": W,
        "query": start,
        "alt": alt,
        "title": title,
        "columns": _encode(C),
        "rows": _encode(R),
        "gates": gates,
        "names": _check_names(names, gates),
        "dim": DIM,
        "alpha": ALPHA,
        "gamma": GAMMA,
        "aspect": picture.shape[2] / picture.shape[1],
        "colours": colour_table(ATTENTION),
        "image": image_uri(picture),
        "thumbnail": is_thumbnail(picture),
    }
    fallback = show(
        _static_view(picture, C, R, start),
        alt=f"{alt} The query in row {start[0]}, column {start[1]}; its column map, "
        "its row map, and the weights of both passes together.",
    )
    hint = "the query pixel can be moved here."
    html = page(data, fallback._repr_html_(), "axial_explorer.js", hint)
    return Explorer(html, alt)


def joint_map(
    columns: Float[Tensor, "W H H"],
    rows: Float[Tensor, "H W W"],
    query: tuple[int, int],
) -> Float[Tensor, "H W"]:
    """The weight of every pixel on a query, after the column and the row pass."""
    i, j = query
    return rows[i, j] * columns[:, i].mT  # [a, b]: R[i, j, b] C[b, i, a]


def _check_lines(name: str, weights: object, axes: str) -> Tensor:
    if not isinstance(weights, Tensor):
        kind = type(weights).__name__
        raise TypeError(f"{name} must be a tensor [{axes}], got {kind}")
    shape = tuple(weights.shape)
    if len(shape) != 3 or 0 in shape or shape[1] != shape[2]:
        raise ValueError(
            f"{name} must be [{axes}]: line, query, key; got shape {shape}"
        )
    if max(shape) > MAX_LINE:
        raise ValueError(
            f"{name} must have at most {MAX_LINE} rows and columns, got shape {shape}"
        )
    checked = check_weights(name, weights)
    total = checked.sum(dim=-1)
    wrong = wrong_sums(total, weights.dtype)
    if wrong.any():
        line, query = torch.nonzero(wrong)[0].tolist()
        raise ValueError(
            f"{name}[line, query] must sum to 1 (or 0 where all is masked), got "
            f"{total[line, query].item():.4g} for line {line}, query {query}"
        )
    return checked


def _check_both_gates(
    gate_rows: object, gate_columns: object, H: int, W: int
) -> dict[str, list[list[float]] | None]:
    """The gates as lists [N][length], or None where one is not given."""
    gates: dict[str, list[list[float]] | None] = {"rows": None, "columns": None}
    for key, given, length in (("rows", gate_rows, H), ("columns", gate_columns, W)):
        if given is None:
            continue
        checked = check_gates(f"gate_{key}", given, MAX_LINE)
        if checked.shape[1] != length:
            raise ValueError(
                f"gate_{key} must have one gate for each of {length} {key}, got shape "
                f"{tuple(checked.shape)}"
            )
        gates[key] = checked.tolist()
    channels = {len(gate) for gate in gates.values() if gate is not None}
    if len(channels) > 1:
        raise ValueError(
            "gate_rows and gate_columns must have as many channels, got "
            f"{len(gates['rows'] or [])} and {len(gates['columns'] or [])}"
        )
    return gates


def _check_names(
    names: Sequence[str] | None, gates: dict[str, list[list[float]] | None]
) -> list[str]:
    channels = max(len(gate or []) for gate in gates.values())
    if names is None:
        return [f"Channel {n + 1}" for n in range(channels)]
    if isinstance(names, str) or len(names) != channels:
        raise ValueError(
            f"names must be {channels} names, one per channel of the gates, got "
            f"{names!r}"
        )
    return [str(name) for name in names]


def _check_size(H: int, W: int) -> None:
    weights = (W * H * H + H * W * W + 16 * H * W) * 4 // 3  # base64: 4 for 3 bytes
    if weights > MAX_BYTES - SPARE_BYTES:
        raise ValueError(
            f"a {H} x {W} grid makes about {weights / 1e6:.1f} MB of HTML, the limit "
            f"is {MAX_BYTES / 1e6:.0f} MB; make the grid smaller"
        )


def _encode(lines: Tensor) -> dict[str, str]:
    """Weights as bytes relative to the peak; peaks and entropies as float32."""
    peaks = lines.amax(dim=-1, keepdim=True)
    levels = (lines / peaks.clamp(min=1e-30) * 255).round().byte()
    entropy = torch.special.entr(lines).sum(dim=-1)
    return {
        "levels": to_base64(levels.numpy()),
        "peaks": to_base64(peaks.numpy().astype("<f4")),
        "entropy": to_base64(entropy.numpy().astype("<f4")),
    }


def _static_view(
    picture: Tensor, C: Tensor, R: Tensor, query: tuple[int, int]
) -> Figure:
    i, j = query
    column, row = torch.zeros(2, R.shape[0], R.shape[1], dtype=C.dtype)
    column[:, j] = C[j, i]
    row[i] = R[i, j]
    aspect = picture.shape[1] / picture.shape[2]
    fig, axes = subplots(1, 4, width=7.0, height=1.75 * aspect + 0.36)
    photo(axes[0], picture)
    mark(axes[0], query, column.shape, pixels(picture).shape)
    axes[0].set_title(f"Query ({i}, {j})", fontsize=9.5)
    for ax, weights, name in (
        (axes[1], column, "Column"),
        (axes[2], row, "Row"),
        (axes[3], joint_map(C, R, query), "Both"),
    ):
        overlay(ax, picture, weights, query)
        ax.set_title(f"{name}: max {float(weights.max()):.2g}", fontsize=9.5)
    return fig
