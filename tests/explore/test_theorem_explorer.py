import pytest
import torch
import torch.nn.functional as F
from synthetic_attention import picture

from visattn.explore import theorem_explorer
from visattn.explore.theorem_explorer import (
    filtered,
    grey_grid,
    kernel_places,
    named_kernels,
)

ALT = "A bright disc, filtered by a convolution and by attention heads."
PICKER = ".ve-pick .ve-stage"


@pytest.fixture(scope="module")
def grid():
    return grey_grid(picture(), 24)


@pytest.fixture(scope="module")
def explorer():
    return theorem_explorer(picture(), alt=ALT, size=24, title="Theorem 1")


# ---- the numbers ----


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", named_kernels(1))
def test_convolution_is_that_of_torch(grid, name, size):
    kernel = named_kernels(size)[name]
    _, ours = filtered(grid, kernel, 1.0)
    low, high = (size - 1) // 2, size // 2  # an even kernel reaches further on
    padded = F.pad(grid[None, None], (low, high, low, high), mode="replicate")
    torch.testing.assert_close(ours, F.conv2d(padded, kernel[None, None])[0, 0])


def test_attention_is_a_softmax_over_all_pixels(grid):
    kernel = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64)
    centers = torch.tensor([[0.3, -1.2], [2.0, 0.0], [-0.5, 1.5]], dtype=torch.float64)
    ours, _ = filtered(grid, kernel, 0.7, centers)
    H, W = grid.shape
    i, j = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    place = torch.stack([i, j], dim=-1).reshape(-1, 2)
    delta = place[None, :] - place[:, None]  # [queries, keys, 2]
    dense = sum(
        w * (-0.7 * (delta - center).square().sum(-1)).softmax(-1) @ grid.flatten()
        for w, center in zip(kernel[0], centers, strict=True)
    )
    torch.testing.assert_close(ours.flatten(), dense)


def test_attention_becomes_the_convolution(grid):
    kernel = named_kernels(3)["Sharpen"]
    errors = []
    for alpha in (1.0, 5.0, 20.0, 60.0):
        attention, convolution = filtered(grid, kernel, alpha)
        errors.append((attention - convolution).abs().max().item())
    assert errors[0] > 0.05
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-14


def test_places_of_a_kernel():
    assert kernel_places(1, 1).tolist() == [[0, 0]]
    assert kernel_places(2, 2).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert kernel_places(1, 4)[:, 1].tolist() == [-1, 0, 1, 2]
    assert kernel_places(3, 3)[0].tolist() == [-1, -1]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_what_the_kernels_do_to_a_grey_wall(size):
    sums = {name: k.sum().item() for name, k in named_kernels(size).items()}
    for name in ("Sharpen", "Blur", "Shift"):
        assert sums[name] == pytest.approx(1)
    assert sums["Edges"] == pytest.approx(0)


# ---- the output ----


def test_output(explorer, assert_self_contained, data_of):
    assert_self_contained(explorer)
    assert len(explorer.html) < 120_000
    data = data_of(explorer)
    assert (data["height"], data["width"]) == (18, 24)
    assert data["query"] == [9, 12]
    names = ["Sharpen", "Blur", "Edges", "Shift", "Random"]
    assert [one["name"] for one in data["kernels"]] == names


def test_own_kernel_comes_first(data_of):
    kernel = torch.tensor([[1.0, 0.0], [0.0, -1.0], [2.0, 0.5]])
    explorer = theorem_explorer(picture(), kernel, alt=ALT)
    assert data_of(explorer)["kernels"][0]["given"] == kernel.tolist()


@pytest.mark.bad_input
def test_refuses_bad_input():
    image = picture()
    with pytest.raises(TypeError, match="ndarray"):
        theorem_explorer(image, torch.ones(3, 3).numpy(), alt=ALT)
    for shape in ((3,), (7, 3), (1, 1, 3, 3), (0, 3)):
        with pytest.raises(ValueError, match=r"from 1 to 5, got shape \("):
            theorem_explorer(image, torch.ones(shape), alt=ALT)
    with pytest.raises(ValueError, match=r"finite, got .*nan"):
        theorem_explorer(image, torch.tensor([[1.0, float("nan")]]), alt=ALT)
    for alpha in (0.0, 61.0, float("nan")):
        with pytest.raises(ValueError, match=f"from 0.1 to 60, got {alpha}"):
            theorem_explorer(image, alt=ALT, alpha=alpha)
    for size in (8, 100, 20.5, True):
        with pytest.raises(ValueError, match=f"from 12 to 64, got {size}"):
            theorem_explorer(image, alt=ALT, size=size)
    with pytest.raises(ValueError, match=r"18 x 24 grid.*row 18"):
        theorem_explorer(image, alt=ALT, size=24, query=(18, 0))
    with pytest.raises(ValueError, match="at least 20 characters"):
        theorem_explorer(image, alt="disc")


# ---- in the browser ----


def shown_error(page):
    return float(page.locator("[role=meter]").get_attribute("data-error"))


def error(grid, kernel, alpha, centers=None):
    attention, convolution = filtered(grid, kernel, alpha, centers)
    return (attention - convolution).abs().max().item()


def canvases(page):
    return page.eval_on_selector_all(
        ".ve-card canvas", "all => all.map(c => c.toDataURL())"
    )


@pytest.mark.parametrize("position", [-1, -0.3, 0.5, 1.2, 1.77])
def test_error_is_that_of_torch_for_every_alpha(open_html, explorer, grid, position):
    page = open_html(explorer.html)
    page.get_by_label("Sharpness α").fill(str(position))
    # the slider stands on steps from its lower end
    alpha = 10 ** float(page.get_by_label("Sharpness α").input_value())
    expected = error(grid, named_kernels(3)["Sharpen"], alpha)
    assert shown_error(page) == pytest.approx(expected, rel=1e-9, abs=4e-15)


def test_error_is_that_of_torch_for_every_kernel(open_html, explorer, grid):
    page = open_html(explorer.html)
    for number, name in enumerate(named_kernels(1)):
        page.get_by_label("Kernel", exact=True).select_option(str(number))
        for size in range(1, 6):
            page.get_by_label("Kernel size").fill(str(size))
            expected = error(grid, named_kernels(size)[name], 1.0)
            assert shown_error(page) == pytest.approx(expected, rel=1e-9, abs=4e-15)
            heads = page.get_by_label("Head", exact=True)
            assert heads.locator("option").count() == size**2
            assert page.locator(".ve-dot").count() == size**2


def test_a_head_that_leaves_its_place(open_html, explorer, grid):
    page = open_html(explorer.html)
    kernel, centers = named_kernels(3)["Sharpen"], kernel_places(3, 3)
    back = page.get_by_role("button", name="Centres of Theorem 1")
    assert back.is_disabled()
    page.get_by_label("Head", exact=True).select_option("4")
    page.get_by_label("Its centre, rows down").fill("1.5")
    page.get_by_label("Its centre, columns right").fill("-2.25")
    centers[4] = torch.tensor([1.5, -2.25])
    assert shown_error(page) == pytest.approx(error(grid, kernel, 1.0, centers))
    live = page.locator(".ve-live")
    live.get_by_text("Largest difference: ").wait_for(state="attached")
    back.click()
    assert shown_error(page) == pytest.approx(error(grid, kernel, 1.0))


def test_drag_a_dot(open_html, explorer, grid):
    page = open_html(explorer.html)
    window = page.locator(".ve-window").first.bounding_box()
    cell = window["width"] / 9

    def at(row, column):  # a displacement in the window
        return window["x"] + cell * (column + 4.5), window["y"] + cell * (row + 4.5)

    page.mouse.move(*at(-1, 1))
    page.mouse.down()
    page.mouse.move(*at(1, 0), steps=4)
    page.mouse.move(*at(2, 3), steps=4)
    page.mouse.up()
    page.mouse.move(5, 5)
    assert page.get_by_label("Head", exact=True).input_value() == "2"
    centers = kernel_places(3, 3)
    for axis, name in enumerate(("Its centre, rows down", "Its centre, columns right")):
        centers[2, axis] = float(page.get_by_label(name).input_value())
    assert centers[2].tolist() == pytest.approx([2, 3], abs=0.11)
    expected = error(grid, named_kernels(3)["Sharpen"], 1.0, centers)
    assert shown_error(page) == pytest.approx(expected)


def test_choose_a_head_by_its_map(open_html, explorer):
    page = open_html(explorer.html)
    box = page.locator(".ve-tiles").bounding_box()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.5 * box["height"])
    assert page.get_by_label("Head", exact=True).input_value() == "5"
    assert "head 6" in page.locator(".ve-card").nth(4).inner_text()


def test_query_by_keys_and_pointer(open_html, explorer, grid):
    page = open_html(explorer.html)
    before = canvases(page)
    page.locator(PICKER).focus()
    page.keyboard.press("ArrowRight")
    where = page.locator(".ve-pick .ve-name")
    assert where.inner_text() == "Query: row 9, column 13"
    live = page.locator(".ve-live")
    said = "Query row 9, column 13. Here the convolution gives"
    live.get_by_text(said).wait_for(state="attached")
    after = canvases(page)
    assert before[:4] == after[:4]  # far from the border the kernels stay the same
    assert before[4] != after[4]  # the maps lie over the photograph
    attention, convolution = filtered(grid, named_kernels(3)["Sharpen"], 1.0)
    text = page.locator(".ve-readout").inner_text().replace("−", "-")
    assert f"convolution gives {convolution[9, 13]:.3f}" in text
    assert f"attention {attention[9, 13]:.3f}" in text

    box = page.locator(PICKER).bounding_box()
    page.mouse.click(box["x"] + 2, box["y"] + 2)
    assert where.inner_text() == "Query: row 0, column 0"
    assert canvases(page)[0] != after[0]  # at the border they fold


def test_kernel_around_the_query(open_html):
    kernel = torch.tensor([[1.0, -3.0]])
    page = open_html(theorem_explorer(picture(), kernel, alt=ALT, alpha=60).html)
    assert page.get_by_label("Kernel size").is_disabled()
    texts = page.locator(".ve-card").all_inner_texts()
    assert "at the query 1.000" in texts[0]
    assert "at the query 1.000" in texts[1]
    same = canvases(page)
    assert same[0] == same[1]  # the kernels of attention and convolution
    assert same[2] == same[3]
    meter = page.locator("[role=meter]")
    assert float(meter.get_attribute("data-error")) < 1e-13
    assert "rounding of float64" in page.locator(".ve-verdict").inner_text()


def test_phone(open_html, explorer, assert_fits_a_phone):
    page = open_html(explorer.html, dark=True, wide=390, has_touch=True, is_mobile=True)
    assert_fits_a_phone(page)
    box = page.locator(PICKER).bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] - 3, box["y"] + 3)
    assert page.locator(".ve-pick .ve-name").inner_text() == "Query: row 0, column 23"


def test_static_view_without_javascript(open_html, explorer):
    page = open_html(explorer.html, java_script_enabled=False)
    view = page.locator(".ve-static svg.visattn-figure")
    assert view.is_visible()
    assert "Static view for alpha = 1" in view.get_attribute("aria-label")


def test_two_of_them_and_a_second_kind(open_html, explorer):
    page = open_html(explorer.html * 2)
    assert page.locator(".ve-view").count() == 2
    ids = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
    assert len(ids) == len(set(ids)) == 14
    page.get_by_label("Kernel size").nth(1).fill("2")
    assert page.locator(".ve-dot").count() == 9 + 4
