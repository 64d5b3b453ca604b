"""The theorem explorer: any convolution is attention, with a reader at the controls.

The browser computes the attention itself, in double precision. `filtered` computes
the same numbers here. Shapes: H W grid of the photograph, K1 K2 kernel, N = K1 * K2
heads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from visattn.explore._checks import check_image, check_query
from visattn.explore._page import Explorer, colour_table, image_uri, page, to_base64
from visattn.explore.maps import heatmap, mark, photo
from visattn.explore.picture import check_alt, show
from visattn.explore.style import ATTENTION, DIVERGING, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_KERNEL = 5
"""Largest number of rows or columns of a kernel."""

ALPHAS = (0.1, 60.0)
"""Range of the width alpha."""

GRIDS = (12, 64)
"""Smallest and largest longer side of the grid on which the explorer computes."""

REACH = 4
"""Maps and kernels are drawn up to this many pixels around the query."""


def theorem_explorer(
    image: Float[Tensor, "3 H0 W0"],
    kernel: Float[Tensor, "K1 K2"] | None = None,
    *,
    alt: str,
    alpha: float = 1.0,
    size: int = 40,
    query: tuple[int, int] | None = None,
    title: str | None = None,
) -> Explorer:
    r"""Let the reader turn attention heads into a convolution, and measure the rest.

    Head n attends to the pixel at the displacement D_n from the query:

    .. math:: y_q = \sum_n w_n \sum_k p_n(q, k)\, x_k, \qquad
        p_n(q, \cdot) = \operatorname{softmax}_k(-\alpha \|k - q - D_n\|^2)

    With one head per place of the kernel, D_n that place and w_n its weight, this
    becomes the convolution as alpha grows. The reader chooses the kernel, its size and
    alpha, and may move a head away from its place. The explorer draws the heads' maps,
    the kernel that they add up to around the query, the photograph filtered by
    convolution and by attention, and the largest difference between the two.

    The photograph is made grey and small; its border is replicated for the
    convolution. An even kernel covers one pixel more to the right and below.

    Args:
        image: The photograph, values in [0, 1].
        kernel: A kernel of your own, at most 5 x 5, shown first. The reader can go on
            to kernels that are built in: sharpen, blur, edges, shift and random.
        alt: One or two sentences that say what can be seen.
        alpha: The width at the start, from 0.1 to 60.
        size: Longer side of the grid, in pixels.
        query: (row, column) at the start, counted from 0; by default the centre.
        title: A short heading.

    Raises:
        TypeError: If image or kernel are not tensors, or alt is not a string.
        ValueError: If a shape is wrong, a number is out of range, or alt has fewer
            than 20 characters.
    """
    alt = check_alt(alt)
    picture = check_image(image)
    given = None if kernel is None else _check_kernel(kernel)
    if not ALPHAS[0] <= alpha <= ALPHAS[1]:
        raise ValueError(
            f"alpha must be from {ALPHAS[0]:g} to {ALPHAS[1]:g}, got {alpha!r}"
        )
    grid = grey_grid(picture, size)
    H, W = grid.shape
    start = check_query((H // 2, W // 2) if query is None else query, H, W)
    shown = torch.stack([grid] * 3)

    data: dict[str, Any] = {
        "height": H,
        "width": W,
        "query": start,
        "alt": alt,
        "title": title,
        "alpha": float(alpha),
        "alphas": ALPHAS,
        "reach": REACH,
        "kernels": _kernel_table(given),
        "grey": to_base64((grid * 255).round().byte().numpy()),
        "image": image_uri(shown),
        "thumbnail": True,
        "sequential": colour_table(ATTENTION),
        "diverging": colour_table(DIVERGING),
    }
    first = named_kernels(3)["Sharpen"] if given is None else given
    fallback = show(
        _static_view(shown, first, alpha, start),
        alt=f"{alt} Static view for alpha = {alpha:.3g}: the photograph, the kernel "
        "that the heads add up to, and both filtered photographs.",
    )
    hint = "alpha, the kernel and the heads' centres can be changed here."
    html = page(data, fallback._repr_html_(), "theorem_explorer.js", hint)
    return Explorer(html, alt)


def filtered(
    image: Float[Tensor, "H W"],
    kernel: Float[Tensor, "K1 K2"],
    alpha: float,
    centers: Float[Tensor, "N 2"] | None = None,
) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """Filter a grey picture by attention and by convolution, as the explorer does.

    Args:
        image: Grey values.
        kernel: Weights; head n = row-major place in the kernel.
        alpha: Width: a score is -alpha times the squared distance to the centre.
        centers: (row, column) of each head, by default the places of the kernel.

    Returns:
        The attention's picture and the convolution's, in float64. The convolution
        replicates the border.
    """
    H, W = image.shape
    x, weight = image.double(), kernel.double().flatten()  # [N]
    places = kernel_places(*kernel.shape)  # [N, 2]
    rows, columns = torch.arange(H), torch.arange(W)

    attention = torch.zeros_like(x)
    for w, (row, column) in zip(
        weight, places if centers is None else centers.double(), strict=True
    ):
        p_rows = _axis_softmax(rows, row, alpha)  # [H queries, H keys]
        p_columns = _axis_softmax(columns, column, alpha)  # [W, W]
        attention += w * (p_rows @ x @ p_columns.mT)

    convolution = torch.zeros_like(x)
    for w, (row, column) in zip(weight, places.long(), strict=True):
        i = (rows + row).clamp(0, H - 1)
        j = (columns + column).clamp(0, W - 1)
        convolution += w * x[i][:, j]
    return attention, convolution


def kernel_places(height: int, width: int) -> Float[Tensor, "N 2"]:
    """The displacements (row, column) that a kernel covers, in row-major order."""
    rows, columns = (torch.arange(n) - (n - 1) // 2 for n in (height, width))
    return torch.cartesian_prod(rows, columns).reshape(-1, 2).double()


def named_kernels(size: int) -> dict[str, Float[Tensor, "K K"]]:
    """The kernels that are built in, at one size.

    Sharpen is twice the pixel minus the mean; blur is the mean; edges is the right
    side minus the left one; shift takes the pixel at the lower right; random is
    normal noise of standard deviation 1/K.
    """
    place = (size - 1) // 2
    blur = torch.full((size, size), 1 / size**2, dtype=torch.float64)
    pixel = torch.zeros_like(blur)
    pixel[place, place] = 1
    shift = torch.zeros_like(blur)
    shift[-1, -1] = 1
    slope = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    edges = (slope / slope.abs().sum().clamp(min=1)).repeat(size, 1) / size
    noise = np.random.default_rng(size).normal(size=(size, size)) / size
    return {
        "Sharpen": 2 * pixel - blur,
        "Blur": blur,
        "Edges": edges,
        "Shift": shift,
        "Random": torch.from_numpy(noise),
    }


def grey_grid(image: Float[Tensor, "3 H0 W0"], size: int) -> Float[Tensor, "H W"]:
    """A photograph as a small grey one: multiples of 1/255, longer side `size`."""
    from PIL import Image

    low, high = GRIDS
    if isinstance(size, bool) or not isinstance(size, int) or not low <= size <= high:
        raise ValueError(f"size must be an integer from {low} to {high}, got {size!r}")
    grey = torch.einsum("chw,c->hw", image, image.new_tensor([0.2126, 0.7152, 0.0722]))
    H0, W0 = grey.shape
    H, W = (max(8, round(n * size / max(H0, W0))) for n in (H0, W0))
    levels = Image.fromarray((grey * 255).round().byte().numpy())
    small = np.array(levels.resize((W, H), Image.Resampling.LANCZOS))
    return torch.from_numpy(small).double() / 255


def _axis_softmax(places: Tensor, shift: Tensor, alpha: float) -> Tensor:
    """Softmax along one axis of the picture, [queries, keys]."""
    delta = places[None, :] - places[:, None] - shift
    return (-alpha * delta**2).softmax(dim=-1)


def _check_kernel(kernel: object) -> Tensor:
    if not isinstance(kernel, Tensor):
        kind = type(kernel).__name__
        raise TypeError(f"kernel must be a tensor [K1, K2], got {kind}")
    shape = tuple(kernel.shape)
    if len(shape) != 2 or min(shape) < 1 or max(shape) > MAX_KERNEL:
        raise ValueError(
            f"kernel must be [K1, K2] with sizes from 1 to {MAX_KERNEL}, "
            f"got shape {shape}"
        )
    kernel = kernel.detach().cpu().double()
    if not kernel.isfinite().all():
        raise ValueError(f"kernel must be finite, got {kernel.flatten().tolist()}")
    return kernel


def _kernel_table(given: Tensor | None) -> list[dict[str, Any]]:
    """Every kernel at every size: {"name", "sizes": {K: rows}, "fixed"}."""
    table: list[dict[str, Any]] = []
    if given is not None:
        table.append({"name": "This chapter’s", "given": given.tolist()})
    for name in named_kernels(1):
        sizes = [named_kernels(K)[name].tolist() for K in range(1, MAX_KERNEL + 1)]
        table.append({"name": name, "sizes": sizes})
    return table


def _window(
    kernel: Tensor, alpha: float, query: tuple[int, int], grid: Tensor
) -> Tensor:
    """The kernel that the heads add up to around a query; NaN outside the picture."""
    H, W = grid.shape
    row, column = query
    total = torch.zeros(H, W, dtype=torch.float64)
    for w, place in zip(kernel.flatten(), kernel_places(*kernel.shape), strict=True):
        p_row = _axis_softmax(torch.arange(H), place[0], alpha)[row]
        p_column = _axis_softmax(torch.arange(W), place[1], alpha)[column]
        total += w * p_row[:, None] * p_column
    padded = F.pad(total, [REACH] * 4, value=math.nan)
    span = 2 * REACH + 1
    return padded[row : row + span, column : column + span]


def _static_view(
    shown: Tensor, kernel: Tensor, alpha: float, query: tuple[int, int]
) -> Figure:
    grid = shown[0]
    attention, convolution = filtered(grid, kernel, alpha)
    low, high = convolution.min().item(), convolution.max().item()
    fig, axes = subplots(1, 4, width=7.0, height=2.2 * shown.shape[1] / shown.shape[2])
    photo(axes[0], shown)
    H, W = grid.shape
    mark(axes[0], query, (H, W), (H, W))
    axes[0].set_title("Photograph", fontsize=9.5)
    around = _window(kernel, alpha, query, grid)
    limit = max(around.nan_to_num().abs().max().item(), 1e-12)
    heatmap(axes[1], around, cmap=DIVERGING, vmin=-limit, vmax=limit)
    axes[1].set_xticks([])
    axes[1].set_yticks([])
    axes[1].set_title("Kernel of attention", fontsize=9.5)
    for ax, values, name in (
        (axes[2], convolution, "Convolution"),
        (axes[3], attention, "Attention"),
    ):
        ax.imshow(
            values.numpy(), cmap="gray", vmin=low, vmax=high, interpolation="none"
        )
        ax.set_axis_off()
        ax.set_title(name, fontsize=9.5)
    return fig
