import base64
import re

import numpy as np
import pytest
import torch
from synthetic_attention import picture

from visattn import axial_attention
from visattn.explore import axial_explorer
from visattn.explore.axial_explorer import joint_map

ALT = "A bright disc, and the two passes of axial attention over it."
PICKER = ".ve-pick .ve-stage"
H, W = 5, 7


def features(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 1, H, W, 3, generator=generator, dtype=torch.float64)


def lines():
    """Column maps [W, H, H] and row maps [H, W, W] of a random layer."""
    q, k = features(), features(1)
    _, column = axial_attention(q, k, k, "height", return_attention=True)
    _, row = axial_attention(q, k, k, "width", return_attention=True)
    return column[0, 0].transpose(0, 1), row[0, 0]


def gates(channels=2):
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(channels, H, generator=generator, dtype=torch.float64).sigmoid()
    columns = torch.randn(channels, W, generator=generator, dtype=torch.float64)
    return {"gate_rows": rows, "gate_columns": columns.sigmoid()}


@pytest.fixture(scope="module")
def explorer():
    return axial_explorer(picture(), *lines(), alt=ALT, query=(1, 4), **gates())


# ---- the numbers ----


def test_joint_map_is_that_of_two_passes():
    columns, rows = lines()
    value = torch.eye(H * W, dtype=torch.float64).reshape(1, 1, H, W, H * W)
    q, k = features(), features(1)
    y = axial_attention(q, k, axial_attention(q, k, value, "height"), "width")
    for query in ((0, 0), (1, 4), (4, 6)):
        joint = joint_map(columns, rows, query)
        torch.testing.assert_close(joint.flatten(), y[0, 0][query])
    i, j, a, b = 1, 4, 3, 2
    assert joint_map(columns, rows, (i, j))[a, b] == rows[i, j, b] * columns[b, i, a]


def test_embedded_data_reproduce_the_weights(explorer, data_of):
    data = data_of(explorer)
    for key, exact in zip(("columns", "rows"), lines(), strict=True):
        levels = base64.b64decode(data[key]["levels"])
        peaks = np.frombuffer(base64.b64decode(data[key]["peaks"]), "<f4")
        found = np.frombuffer(levels, np.uint8).reshape(exact.shape) / 255
        found = found * peaks.reshape(*exact.shape[:2], 1)
        largest = exact.amax(-1, keepdim=True).numpy()
        assert (np.abs(found - exact.numpy()) <= largest / 510 + 1e-7).all()
        entropy = np.frombuffer(base64.b64decode(data[key]["entropy"]), "<f4")
        assert np.allclose(entropy, torch.special.entr(exact).sum(-1).flatten())


# ---- the output ----


def test_output(explorer, assert_self_contained, data_of):
    assert_self_contained(explorer)
    again = axial_explorer(picture(), *lines(), alt=ALT, query=(1, 4), **gates())
    assert explorer.html == again.html
    assert len(explorer.html) < 110_000
    data = data_of(explorer)
    assert data["gates"]["rows"] == gates()["gate_rows"].tolist()
    assert data["names"] == ["Channel 1", "Channel 2"]


def test_size_of_a_large_map():
    column = torch.full((65, 65, 65), 1 / 65)
    explorer = axial_explorer(picture(), column, column, alt=ALT)
    assert len(explorer.html) < 900_000


def test_names_cannot_break_out_of_the_page(data_of):
    evil = "</script><script>alert(1)</script>"
    explorer = axial_explorer(
        picture(), *lines(), alt=ALT, names=[evil], title=evil, **gates(1)
    )
    assert "alert(1)</script>" not in explorer.html
    assert data_of(explorer)["names"] == [evil]


@pytest.mark.bad_input
def test_refuses_bad_input():
    columns, rows = lines()

    def refuses(error, match, columns=columns, rows=rows, **options):
        with pytest.raises(error, match=match):
            axial_explorer(picture(), columns, rows, **{"alt": ALT, **options})

    refuses(TypeError, r"columns must be a tensor \[W, H, H\], got list", [1])
    refuses(ValueError, r"rows must be \[H, W, W\].*\(1, 5, 7, 7\)", rows=rows[None])
    refuses(ValueError, r"columns must be.*\(5, 7, 5\)", columns.transpose(0, 1))
    refuses(
        ValueError, r"one map, got shapes \(7, 5, 5\) and \(4, 7, 7\)", rows=rows[1:]
    )
    refuses(ValueError, "torch.int64", columns.long())
    refuses(ValueError, "weights of rows must be >= 0.*-0", rows=rows - 1)
    bad = columns.clone()
    bad[2, 3] *= 0.5
    refuses(ValueError, r"columns\[line, query\].*got 0\.5 for line 2, query 3", bad)
    bad[1, 0, 4] = float("nan")
    refuses(ValueError, r"columns must be finite, got nan at index \(1, 0, 4\)", bad)
    refuses(ValueError, "5 x 7 grid", query=(0, 7))
    refuses(ValueError, "at least 20 characters", alt="disc")

    given = gates()
    refuses(TypeError, "gate_rows must be a tensor, got list", gate_rows=[0.5])
    refuses(
        ValueError,
        r"each of 5 rows, got shape \(2, 7\)",
        gate_rows=given["gate_columns"],
    )
    refuses(
        ValueError, r"gate_columns must lie.* to 2", gate_columns=torch.full((W,), 2.0)
    )
    given["gate_rows"] = given["gate_rows"][:1]
    refuses(ValueError, "as many channels, got 1 and 2", **given)
    refuses(ValueError, "names must be 2 names.*'one'", names=["one"], **gates())
    refuses(ValueError, "names must be 0 names", names=["one"])

    large = torch.full((1,), 1 / 128).expand(128, 128, 128)
    refuses(ValueError, r"128 x 128 grid makes about 5\.\d MB.*3 MB", large, large)
    long = torch.full((1,), 1 / 200).expand(4, 200, 200)
    refuses(ValueError, r"at most 128.*\(4, 200, 200\)", long)


# ---- in the browser ----


def centre(page, selector, row, col, nth=0):
    box = page.locator(selector).nth(nth).bounding_box()
    return (
        box["x"] + box["width"] * (col + 0.5) / W,
        box["y"] + box["height"] * (row + 0.5) / H,
    )


def number(weight):
    if weight < 0.001:
        return f"{weight:.4f}"
    return f"{weight:.3f}" if weight < 0.1 else f"{weight:.2f}"


def shares(page, nth):
    """A map relative to its largest weight, from the opacity of its cells."""
    opacity = page.evaluate(
        """(nth) => {
          const canvas = document.querySelectorAll('.ve-map canvas')[nth];
          const {width, height} = canvas;
          const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
          return Array.from({length: width * height}, (_, i) => data[4 * i + 3]);
        }""",
        nth,
    )
    opacity = torch.tensor(opacity, dtype=torch.float64).reshape(H, W)
    return (opacity / 255 / 0.88) ** (1 / 0.6)


def read(page):
    """Step along the column, step along the row, together, times the gates."""
    said = page.locator(".ve-readout").inner_text()
    return [
        float(found)
        for found in re.findall(r"(?:with|together|gates:) (\d\.\d+)", said)
    ]


def test_maps_are_those_of_the_tensors(open_html, explorer):
    page = open_html(explorer.html)
    columns, rows = lines()
    i, j = 1, 4
    column, row = torch.zeros(2, H, W, dtype=torch.float64)
    column[:, j], row[i] = columns[j, i], rows[i, j]
    joint = joint_map(columns, rows, (i, j))
    assert joint.sum() == pytest.approx(1)
    texts = page.locator(".ve-maps > .ve-card > .ve-caption").all_inner_texts()
    for nth, exact in enumerate((column, row, joint)):
        assert (shares(page, nth) - exact / exact.max()).abs().max() < 0.02
        assert f"max {number(exact.max().item())}" in texts[nth]
    spread = torch.special.entr(joint).sum().exp().item()
    assert f"~{spread:.0f} px" in texts[2]

    a, b = divmod(joint.argmax().item(), W)
    said = page.locator(".ve-readout").inner_text()
    assert said.startswith(f"Most comes from row {a}, column {b}: along column {b}")
    gate = gates()["gate_rows"][0, i] * gates()["gate_columns"][0, j]
    exact = [columns[b, i, a], rows[i, j, b], joint[a, b], joint[a, b] * gate]
    assert read(page) == pytest.approx([x.item() for x in exact], abs=6e-3)


def test_the_column_of_the_source_pixel_is_used(open_html, explorer):
    page = open_html(explorer.html)
    columns, rows = lines()
    i, j = 1, 4
    names = page.locator(".ve-maps .ve-name")
    assert names.nth(0).inner_text() == "1. Map of column 4"
    for a, b in ((3, 2), (0, 6), (1, 1), (4, 4)):
        page.mouse.move(*centre(page, ".ve-map", a, b, nth=2))
        assert names.nth(0).inner_text() == f"1. Map of column {b}"
        column = torch.zeros(H, W, dtype=torch.float64)
        column[:, b] = columns[b, i]
        assert (shares(page, 0) - column / column.max()).abs().max() < 0.02
        said = page.locator(".ve-readout").inner_text()
        assert said.startswith(f"From row {a}, column {b}: along column {b} to row {i}")
        one, two = columns[b, i, a].item(), rows[i, j, b].item()
        assert read(page)[:3] == pytest.approx([one, two, one * two], abs=6e-3)
    page.mouse.move(*centre(page, ".ve-map", 3, 0, nth=0))  # the query's own column
    assert "From row 3, column 4:" in page.locator(".ve-readout").inner_text()
    page.mouse.move(*centre(page, ".ve-map", 4, 2, nth=1))  # the query's row
    assert "From row 1, column 2:" in page.locator(".ve-readout").inner_text()
    page.mouse.move(1, 1)
    assert names.nth(0).inner_text() == "1. Map of column 4"
    words = page.locator(".ve-note").inner_text()
    assert "uses the column map of column b, not that of the query’s own" in words


def test_the_way_of_a_pixel(open_html, explorer):
    page = open_html(explorer.html)
    map_ = page.locator(".ve-map").nth(2).bounding_box()
    cell = map_["width"] / W, map_["height"] / H
    sides = """e => ['Top', 'Right', 'Bottom', 'Left'].map(
      side => parseInt(getComputedStyle(e)['border' + side + 'Width']))"""
    # from the query in row 1, column 4: first the column of the source, then the row
    for (a, b), borders in {
        (3, 2): [2, 0, 0, 2],
        (0, 2): [0, 0, 2, 2],
        (0, 6): [0, 2, 2, 0],
        (3, 6): [2, 2, 0, 0],
        (1, 2): [2, 0, 0, 2],
        (3, 4): [0, 0, 0, 2],
        (1, 4): [0, 0, 0, 0],
    }.items():
        page.mouse.move(*centre(page, ".ve-map", a, b, nth=2))
        way = page.locator(".ve-way")
        assert way.evaluate(sides) == borders
        box = way.bounding_box()
        left, top = (min(b, 4) + 0.5) * cell[0], (min(a, 1) + 0.5) * cell[1]
        assert box["x"] - map_["x"] == pytest.approx(left, abs=2)
        assert box["y"] - map_["y"] == pytest.approx(top, abs=2)
        assert box["width"] == pytest.approx(abs(b - 4) * cell[0], abs=3)
        assert box["height"] == pytest.approx(abs(a - 1) * cell[1], abs=3)


def test_gates(open_html, explorer):
    page = open_html(explorer.html)
    rows, columns = gates().values()
    for channel in (0, 1):
        page.get_by_label("Gates of", exact=True).select_option(str(channel))
        terms = [rows[channel, 1], columns[channel, 4]]
        text = page.locator(".ve-terms").inner_text()
        found = [float(one) for one in re.findall(r"\d\.\d+", text)]
        exact = [*(x.item() for x in terms), (terms[0] * terms[1]).item()]
        assert found == pytest.approx(exact, abs=6e-3)
    only = axial_explorer(picture(), *lines(), alt=ALT, gate_rows=rows[0])
    page = open_html(only.html)
    assert page.locator(".ve-terms").inner_text() == f"row {rows[0, 2]:.2f}"
    assert page.locator(".ve-strip").count() == 1
    assert page.locator("select").count() == 0
    page = open_html(axial_explorer(picture(), *lines(), alt=ALT).html)
    assert page.locator(".ve-card").count() == 3
    assert "gate" not in page.locator(".ve-readout").inner_text()


def test_hover_click_and_keys(open_html, explorer):
    page = open_html(explorer.html)
    where, mode = page.locator(".ve-pick .ve-name"), page.locator(".ve-pick .ve-soft")
    page.mouse.move(*centre(page, PICKER, 3, 5))
    assert where.inner_text() == "Query: row 3, column 5"
    assert mode.inner_text() == "preview"
    page.mouse.move(1, 1)
    assert where.inner_text() == "Query: row 1, column 4"
    page.mouse.click(*centre(page, PICKER, 3, 5))
    page.locator(PICKER).focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)  # stops at the border
    assert where.inner_text() == "Query: row 4, column 6"
    live = page.locator(".ve-live")
    live.get_by_text("Query row 4, column 6. Most").wait_for(state="attached")

    page.mouse.move(1, 1)
    source = page.get_by_role("application", name="Joint map.")
    columns, rows = lines()
    a, b = divmod(joint_map(columns, rows, (4, 6)).argmax().item(), W)
    source.focus()
    page.keyboard.press("ArrowUp" if a else "ArrowDown")
    there = a - 1 if a else 1
    said = page.locator(".ve-readout").inner_text()
    assert said.startswith(f"From row {there}, column {b}: ")
    live.get_by_text(f"From row {there}, column {b}").wait_for(state="attached")
    assert source.evaluate("e => getComputedStyle(e).outlineWidth") == "3px"
    page.locator(PICKER).focus()
    assert page.locator(".ve-readout").inner_text().startswith("Most comes from")


def test_map_only(open_html, explorer):
    page = open_html(explorer.html)
    assert page.locator(".ve-map img").first.is_visible()
    page.get_by_role("button", name="Map only").click()
    assert not page.locator(".ve-map img").first.is_visible()
    assert (shares(page, 2) > 1).all()  # opaque


def test_a_masked_query(open_html):
    columns, rows = lines()
    rows = rows.clone()
    rows[1, 4] = 0
    page = open_html(
        axial_explorer(picture(), columns, rows, alt=ALT, query=(1, 4)).html
    )
    assert "all weights are 0" in page.locator(".ve-readout").inner_text()
    assert shares(page, 2).abs().max() == 0


def test_two_of_them(open_html, explorer):
    page = open_html(explorer.html * 2)
    assert page.locator(".ve-view").count() == 2
    ids = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
    assert len(ids) == len(set(ids)) == 4


def test_phone(open_html, explorer, assert_fits_a_phone):
    page = open_html(explorer.html, dark=True, wide=390, has_touch=True, is_mobile=True)
    assert_fits_a_phone(page)
    page.touchscreen.tap(*centre(page, PICKER, 0, 6))
    assert page.locator(".ve-pick .ve-name").inner_text() == "Query: row 0, column 6"
    page.touchscreen.tap(*centre(page, ".ve-map", 3, 2, nth=2))  # stays when it leaves
    said = page.locator(".ve-readout").inner_text()
    assert said.startswith("From row 3, column 2: ")


def test_static_view_without_javascript(open_html, explorer):
    page = open_html(explorer.html, java_script_enabled=False)
    view = page.locator(".ve-static svg.visattn-figure")
    assert view.is_visible()
    assert "query in row 1, column 4" in view.get_attribute("aria-label")
