"""The explorer in headless Chromium, with the network cut."""

import re

import pytest
from synthetic_attention import attention, picture

from visattn.explore import attention_explorer

ALT = "A bright disc, and how three heads attend to it."


@pytest.fixture(scope="module")
def explorer():
    return attention_explorer(
        picture(), attention(), alt=ALT, query=(2, 3), title="Three heads"
    )


@pytest.fixture
def open_page(open_html, explorer):
    def opened(*, copies=1, **options):
        return open_html(explorer.html * copies, **options)

    return opened


def centre(page, selector, row, col, nth=0):
    box = page.locator(selector).nth(nth).bounding_box()
    return (
        box["x"] + box["width"] * (col + 0.5) / 7,
        box["y"] + box["height"] * (row + 0.5) / 5,
    )


def number(weight):
    return f"{weight:.3f}" if weight < 0.1 else f"{weight:.2f}"


PICKER = ".ve-pick .ve-stage"


def test_hover_click_and_keys(open_page):
    page = open_page()
    where, mode = page.locator(".ve-pick .ve-name"), page.locator(".ve-pick .ve-soft")
    assert where.inner_text() == "Query: row 2, column 3"
    assert page.locator(".ve-static").count() == 0
    assert page.locator(".ve-card").count() == 4  # three heads and their mean

    page.mouse.move(*centre(page, PICKER, 1, 5))
    assert where.inner_text() == "Query: row 1, column 5"
    assert "preview" in mode.inner_text()
    page.mouse.move(5, 5)
    assert where.inner_text() == "Query: row 2, column 3"
    assert mode.inner_text() == "pinned"

    page.mouse.click(*centre(page, PICKER, 1, 5))
    page.mouse.move(5, 5)
    assert where.inner_text() == "Query: row 1, column 5"

    page.locator(PICKER).focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)  # stops at the border
    assert where.inner_text() == "Query: row 0, column 6"
    outline = page.locator(PICKER).evaluate("e => getComputedStyle(e).outlineWidth")
    assert outline == "3px"
    live = page.locator(".ve-live")
    assert live.get_attribute("aria-live") == "polite"
    said = "Query row 0, column 6. Head 1 looks most at"
    live.get_by_text(said).wait_for(state="attached")  # after the keys rest


def test_numbers_are_those_of_the_attention(open_page):
    page = open_page()
    weights = attention()
    metas = page.locator(".ve-card .ve-caption").all_inner_texts()
    for text, head in zip(metas, [*weights, weights.mean(0)], strict=True):
        row = head[2, 3]
        spread = (-(row * row.log()).sum()).exp().item()
        peak = row.max().item()
        assert f"max {number(peak)}" in text
        assert (f"~{spread:.1f} px" if spread < 9.95 else f"~{spread:.0f} px") in text
    page.mouse.move(*centre(page, ".ve-map", 3, 4, nth=1))
    here = weights[1, 2, 3, 3, 4].item()
    said = page.locator(".ve-readout").inner_text()
    found = re.search(r"Head 2 gives row 3, column 4 the weight ([0-9.]+);", said)
    assert float(found[1]) == pytest.approx(here, abs=1e-3)  # stored as a byte


def test_canvas_shows_the_map(open_page):
    page = open_page()
    page.get_by_role("button", name="Map only").click()
    brightest = page.evaluate(
        """() => {
          const canvas = document.querySelector('.ve-map canvas');
          const {data} = canvas.getContext('2d').getImageData(0, 0, 7, 5);
          let best = 0;
          for (let i = 0; i < 35; i++)
            if (data[4*i] + data[4*i+1] > data[4*best] + data[4*best+1]) best = i;
          return [best, data[3]];
        }"""
    )
    assert brightest == [attention()[0, 2, 3].flatten().argmax().item(), 255]
    hidden = "getComputedStyle(document.querySelector('.ve-map img')).visibility"
    assert page.evaluate(hidden) == "hidden"
    page.get_by_role("button", name="Over the photo").click()
    assert page.evaluate(hidden) == "visible"


def test_same_scale(open_page):
    page = open_page()
    pixels = (
        "Array.from(document.querySelectorAll('.ve-map canvas')[2]"
        ".getContext('2d').getImageData(0, 0, 7, 5).data).join()"
    )
    before = page.evaluate(pixels)
    page.get_by_label("Shared scale").check()
    assert page.evaluate(pixels) != before
    largest = attention()[:, 2, 3].max().item()
    assert f"{largest:.2f}, largest of all" in page.locator(".ve-legend").inner_text()


def test_two_explorers_and_a_second_start(open_page):
    page = open_page(copies=2)
    assert page.locator(".ve-view").count() == 2
    ids = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
    assert len(set(ids)) == len(ids) == 2
    page.mouse.click(*centre(page, PICKER, 0, 0, nth=1))
    names = page.locator(".ve-pick .ve-name").all_inner_texts()
    assert names == ["Query: row 2, column 3", "Query: row 0, column 0"]


def test_html_inserted_later_with_its_scripts(open_page, explorer):
    page = open_page(copies=0)
    page.evaluate(
        """html => {
          document.body.innerHTML = html;
          for (const old of document.querySelectorAll('script')) {
            const copy = document.createElement('script');
            for (const {name, value} of old.attributes) copy.setAttribute(name, value);
            copy.textContent = old.textContent;
            old.replaceWith(copy);
          }
        }""",
        explorer.html,
    )
    assert page.locator(".ve-view").count() == 1


def test_touch_on_a_phone_without_sideways_scroll(open_page, assert_fits_a_phone):
    page = open_page(dark=True, wide=390, has_touch=True, is_mobile=True)
    assert_fits_a_phone(page)
    page.touchscreen.tap(*centre(page, PICKER, 4, 1))
    assert page.locator(".ve-pick .ve-name").inner_text() == "Query: row 4, column 1"


def test_static_grid_without_javascript(open_page):
    page = open_page(java_script_enabled=False)
    grid = page.locator(".ve-static svg.visattn-figure")
    assert grid.is_visible()
    assert "Attention maps of the query in row 2, column 3." in grid.get_attribute(
        "aria-label"
    )
    assert page.locator(".ve-view").count() == 0
