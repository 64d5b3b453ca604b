import re

import pytest
import torch
from synthetic_attention import picture

from visattn.explore import gate_explorer

ALT = "A bright disc, with gates along its rows and its columns."
PICKER = ".ve-cross > [role=application]"
H, W = 5, 7


def gates():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, H, generator=generator, dtype=torch.float64).sigmoid()
    columns = torch.randn(2, W, generator=generator, dtype=torch.float64).sigmoid()
    return rows, columns


@pytest.fixture(scope="module")
def explorer():
    return gate_explorer(picture(), *gates(), alt=ALT, names=["First", "Second"])


# ---- the output ----


def test_output(explorer, assert_self_contained, data_of):
    assert_self_contained(explorer)
    data = data_of(explorer)
    rows, columns = gates()
    assert data["rows"] == rows.tolist()
    assert data["columns"] == columns.tolist()
    assert data["query"] == [2, 3]
    assert len(explorer.html) < 100_000


def test_one_channel(data_of):
    rows, columns = gates()
    explorer = gate_explorer(picture(), rows[0], columns[0].float(), alt=ALT)
    data = data_of(explorer)
    assert data["names"] == ["From the network"]
    assert data["rows"] == [rows[0].tolist()]
    both = gate_explorer(picture(), rows, columns, alt=ALT)
    assert data_of(both)["names"] == ["From the network, 1", "From the network, 2"]


def test_names_cannot_break_out_of_the_page():
    evil = "</script><script>alert(1)</script>"
    rows, columns = gates()
    explorer = gate_explorer(picture(), rows[0], columns[0], alt=ALT, names=[evil])
    assert "alert(1)</script>" not in explorer.html


@pytest.mark.bad_input
def test_refuses_bad_input():
    rows, columns = gates()

    def refuses(error, match, rows=rows, columns=columns, **options):
        with pytest.raises(error, match=match):
            gate_explorer(picture(), rows, columns, **{"alt": ALT, **options})

    refuses(TypeError, "gate_rows must be a tensor, got list", rows.tolist())
    refuses(ValueError, r"gate_rows must be \[length\].*\(1, 2, 5\)", rows[None])
    refuses(ValueError, r"gate_columns must be.*\(2, 0\)", columns=columns[:, :0])
    refuses(ValueError, "torch.int64", rows.long())
    refuses(ValueError, r"gate_rows must lie in \[0, 1\].* to 2", rows * 0 + 2)
    refuses(ValueError, r"gate_columns must lie.*nan", columns=columns * float("nan"))
    refuses(ValueError, "as many channels, got 1 and 2", rows[:1])
    refuses(ValueError, "names must be 2 names", names=["one"])
    refuses(ValueError, "5 x 7 grid", query=(0, 7))
    refuses(ValueError, "at least 20 characters", alt="disc")


# ---- in the browser ----


def centre(page, selector, row, col, size):
    box = page.locator(selector).bounding_box()
    return (
        box["x"] + box["width"] * (col + 0.5) / size[1],
        box["y"] + box["height"] * (row + 0.5) / size[0],
    )


def read(page):
    """Row gate, column gate and their product, as the page says them."""
    said = page.locator(".ve-readout").inner_text()
    return [float(number) for number in re.findall(r"\d\.\d+", said)]


def product(page):
    """The gate that the photograph is multiplied with, [H, W]."""
    opacity = page.evaluate(
        """() => {
          const canvas = document.querySelector('.ve-cross > .ve-stage canvas');
          const {width, height} = canvas;
          const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
          return Array.from({length: width * height}, (_, i) => data[4 * i + 3]);
        }"""
    )
    return 1 - torch.tensor(opacity, dtype=torch.float64).reshape(H, W) / 255


def strip(page, kind):
    """The gates as the bars show them."""
    across = kind == "columns"
    counts = page.evaluate(
        """([kind, across]) => {
          const canvas = document.querySelector('.ve-' + kind + ' canvas');
          const {width, height} = canvas;
          const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
          const counts = Array(across ? width : height).fill(0);
          for (let i = 0; i < width * height; i++)
            if (data[4 * i + 3] === 255)
              counts[across ? i % width : Math.floor(i / width)] += 1;
          return counts;
        }""",
        [kind, across],
    )
    return torch.tensor(counts) / 100


def start_from(page, choice):
    page.get_by_label("Start from").select_option(choice)


@pytest.mark.parametrize("channel", [0, 1])
def test_product_of_the_gates_of_the_network(open_html, explorer, channel):
    page = open_html(explorer.html)
    start_from(page, str(channel))
    rows, columns = (gate[channel] for gate in gates())
    expected = rows[:, None] * columns
    assert (product(page) - expected).abs().max() <= 0.5 / 255 + 1e-9
    assert (strip(page, "rows") - rows).abs().max() <= 0.0051
    assert (strip(page, "columns") - columns).abs().max() <= 0.0051
    exact = [rows[2].item(), columns[3].item(), expected[2, 3].item()]
    assert read(page) == pytest.approx(exact, abs=6e-4)
    said = page.locator(".ve-card .ve-caption").inner_text()
    summary = [expected.min().item(), expected.max().item(), expected.mean().item()]
    found = [float(number) for number in re.findall(r"\d\.\d+", said)]
    assert found == pytest.approx(summary, abs=6e-3)


def test_presets(open_html, explorer):
    page = open_html(explorer.html)
    start_from(page, "One object, at the mark")
    gate = product(page)
    assert gate.argmax().item() == 2 * W + 3
    assert gate[2, 3] == pytest.approx(0.95**2, abs=0.01)
    assert gate[0, 0] < 0.05

    start_from(page, "Two objects, on a diagonal")
    gate = product(page)  # a product opens the two other corners as well
    assert min(gate[1, 1], gate[4, 5], gate[1, 5], gate[4, 1]) > 4 * gate[2, 3]
    assert torch.linalg.matrix_rank(gate, rtol=0.02) == 1

    start_from(page, "Channel gate, the same everywhere")
    rows, columns = gates()
    expected = (rows[0].mean() * columns[0].mean()).item()
    assert product(page).std() < 1e-9
    assert product(page)[0, 0] == pytest.approx(expected, abs=0.003)


def test_draw_with_the_pointer(open_html, explorer):
    page = open_html(explorer.html)
    before = product(page)
    box = page.locator(".ve-columns").bounding_box()

    def at(column, value):
        x = box["x"] + box["width"] * (column + 0.5) / W
        return x, box["y"] + box["height"] * (1 - value)

    page.mouse.move(*at(1, 0.9))
    page.mouse.down()
    page.mouse.move(*at(5, 0.1))  # one jump: the places between are filled in
    page.mouse.up()
    page.mouse.move(1, 1)
    drawn = strip(page, "columns")
    expected = torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1])
    assert (drawn[1:6] - expected).abs().max() < 0.02
    rows, columns = (gate[0] for gate in gates())
    assert (drawn[[0, 6]] - columns[[0, 6]]).abs().max() <= 0.0051
    assert (strip(page, "rows") - rows).abs().max() <= 0.0051
    after = product(page)
    assert (after[:, 1] / after[:, 5] - 9).abs().max() < 2.5
    assert (after[:, 0] == before[:, 0]).all()
    chosen = page.get_by_label("Start from").locator("option:checked")
    assert chosen.inner_text() == "Your own gates"
    where = page.locator(".ve-pick .ve-name")
    assert where.inner_text() == "Mark: row 2, column 5"

    start_from(page, "First")  # the network's gates are still there
    assert (product(page) - before).abs().max() < 1e-9


def test_draw_with_the_keys(open_html, explorer):
    page = open_html(explorer.html)
    rows = page.get_by_role("slider", name="Gates of the rows")
    columns = page.get_by_role("slider", name="Gates of the columns")
    rows.focus()
    page.keyboard.press("ArrowUp")  # along the strip: the mark
    page.keyboard.press("End")
    assert read(page)[0] == 1
    page.keyboard.press("ArrowLeft")  # across it: the gate
    page.keyboard.press("ArrowLeft")
    assert read(page)[0] == 0.9
    assert rows.get_attribute("aria-valuetext") == "row 1: 0.90"
    columns.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")  # stops at 0
    page.keyboard.press("ArrowUp")
    assert read(page) == [0.9, 0.05, 0.045]
    assert columns.get_attribute("aria-valuenow") == "0.05"
    outline = columns.evaluate("e => getComputedStyle(e).outlineWidth")
    assert outline == "3px"
    said = page.locator(".ve-live").get_by_text("Row 1, column 4. Row gate 0.900")
    said.wait_for(state="attached")


def test_range_inputs_change_the_marked_gates(open_html, explorer):
    page = open_html(explorer.html)
    page.get_by_label("Gate of this row").fill("0.25")
    page.get_by_label("Gate of this column").fill("0.8")
    assert read(page) == [0.25, 0.8, 0.2]
    rows, columns = (gate[0].clone() for gate in gates())
    rows[2], columns[3] = 0.25, 0.8
    assert (product(page) - rows[:, None] * columns).abs().max() <= 0.5 / 255 + 1e-9


def test_read_by_keys_and_pointer(open_html, explorer):
    page = open_html(explorer.html)
    rows, columns = (gate[0] for gate in gates())
    page.locator(PICKER).focus()
    page.keyboard.press("ArrowLeft")
    assert read(page)[1] == pytest.approx(columns[2].item(), abs=6e-4)
    page.mouse.move(*centre(page, PICKER, 4, 6, (H, W)))
    exact = [rows[4].item(), columns[6].item(), (rows[4] * columns[6]).item()]
    assert read(page) == pytest.approx(exact, abs=6e-4)
    page.mouse.move(1, 1)
    where = page.locator(".ve-pick .ve-name")
    assert where.inner_text() == "Mark: row 2, column 2"


def test_phone(open_html, explorer, assert_fits_a_phone):
    page = open_html(explorer.html, dark=True, wide=390, has_touch=True, is_mobile=True)
    assert_fits_a_phone(page)
    page.touchscreen.tap(*centre(page, ".ve-rows", 3, 0.5, (H, 2)))
    assert read(page)[0] == pytest.approx(0.5, abs=0.02)
    page.touchscreen.tap(*centre(page, PICKER, 0, 0, (H, W)))
    where = page.locator(".ve-pick .ve-name")
    assert where.inner_text() == "Mark: row 0, column 0"


def test_static_view_without_javascript(open_html, explorer):
    page = open_html(explorer.html, java_script_enabled=False)
    view = page.locator(".ve-static svg.visattn-figure")
    assert view.is_visible()
    assert "photograph times this product" in view.get_attribute("aria-label")
