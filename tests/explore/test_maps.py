import numpy as np
import pytest
import torch
from synthetic_attention import attention, picture

from visattn.explore import attention_grid, heatmap, overlay, photo, show, subplots
from visattn.explore.maps import blend, columns


def test_heatmap_writes_readable_values():
    fig, ax = subplots(width=4)
    heatmap(
        ax,
        torch.tensor([[0.0, 0.5], [1.0, float("-inf")]]),
        annotate=True,
        row_labels=["q1", "q2"],
        col_labels=["k1", "k2"],
        colorbar=True,
    )
    texts = {text.get_text(): text.get_color() for text in ax.texts}
    assert texts["0.00"] == "#ffffff"  # on dark violet
    assert texts["1.00"] == "#111111"  # on yellow
    assert "–" in texts
    assert "weight" in repr(show(fig, "Four weights of two queries, as numbers."))


def test_heatmap_centres_signed_values():
    _, ax = subplots()
    image = heatmap(ax, [[-1.0, 3.0]], annotate=True)
    assert image.get_clim() == (-3.0, 3.0)
    assert ax.texts[0].get_text() == "−1.00"


def test_heatmap_writes_no_negative_zero():
    _, ax = subplots()
    heatmap(ax, [[-0.001, 1.0]], annotate=True)
    assert ax.texts[0].get_text() == "0.00"


@pytest.mark.bad_input
def test_heatmap_refuses():
    _, ax = subplots()
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        heatmap(ax, torch.ones(3))
    with pytest.raises(ValueError, match=r"row_labels must have 2 entries.*got 1"):
        heatmap(ax, torch.ones(2, 2), row_labels=["a"])


def test_blend_is_brightest_where_the_weight_is_largest():
    base = np.full((40, 60, 3), 100, dtype=np.uint8)
    share = np.zeros((4, 6))
    share[1, 2] = 1
    mixed = blend(base, share)
    assert mixed.shape[0] % 4 == 0
    rows, cols = mixed.shape[0] // 4, mixed.shape[1] // 6
    cell = mixed[rows : 2 * rows, 2 * cols : 3 * cols]
    assert (cell == cell[0, 0]).all()
    assert cell.mean() > 2 * mixed[0, 0].mean()


def test_overlay_and_photo_become_images_in_the_picture():
    fig, axes = subplots(1, 2)
    photo(axes[0], picture(300, 400))
    overlay(axes[1], picture(300, 400), attention()[0, 2, 3], (2, 3))
    svg = show(fig, "A disc, and the attention of one query laid over it.").svg
    assert svg.count("<image") == 2
    assert "data:image/png;base64" in svg or "data:image/jpeg;base64" in svg


def test_grid_names_the_heads_and_the_largest_weight():
    weights = attention(2)
    fig = attention_grid(picture(), weights, (1, 2), head_names=["near", "far"])
    titles = [ax.get_title() for ax in fig.axes]
    assert titles[0] == "Query (1, 2)"
    assert titles[1] == f"near: max {weights[0, 1, 2].max():.2g}"
    assert titles[2].startswith("far")


@pytest.mark.parametrize(
    ("panels", "expected"), [(2, 2), (5, 5), (6, 3), (8, 4), (9, 3), (13, 5)]
)
def test_columns_leave_few_gaps(panels, expected):
    assert columns(panels) == expected


@pytest.mark.bad_input
def test_overlay_refuses():
    _, ax = subplots()
    with pytest.raises(ValueError, match=r"image must be \[3, H, W\].*\(1, 4, 4\)"):
        photo(ax, torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="from 0 to 255"):
        photo(ax, torch.tensor([0.0, 255.0, 1.0]).reshape(3, 1, 1))
    with pytest.raises(ValueError, match="from nan"):
        photo(ax, torch.full((3, 2, 2), float("nan")))
    with pytest.raises(ValueError, match=r"from -1 to -1"):
        overlay(ax, picture(), -torch.ones(2, 2))
    with pytest.raises(ValueError, match="row 5, column 0"):
        overlay(ax, picture(), torch.ones(2, 2), (5, 0))
    with pytest.raises(ValueError, match=r"dtype torch\.uint8"):
        photo(ax, torch.zeros(3, 2, 2, dtype=torch.uint8))
