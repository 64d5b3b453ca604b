"""The explorer in headless Chromium, with the network cut."""

import os
import re
import shutil

import pytest
from synthetic_attention import attention, picture

from visattn.explore import attention_explorer

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
ALT = "A bright disc, and how three heads attend to it."
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PAGE = (
    "<!doctype html><html lang=en><head><meta charset=utf-8><title>explorer</title>"
    '<meta name=viewport content="width=device-width">'
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:\">"
    "<style>body{{margin:16px;background:{paper};color:{ink};font-family:sans-serif}}"
    "</style></head><body>{body}</body></html>"
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def explorer():
    return attention_explorer(
        picture(), attention(), alt=ALT, query=(2, 3), title="Three heads"
    )


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, explorer):
    contexts, troubles = [], []
    harmless = ("data:", "about:", "Canvas2D: Multiple readback")  # the tests read it

    def note(text):
        if not text.startswith(harmless):
            troubles.append(text[:200])

    def opened(*, copies=1, dark=False, wide=900, **options):
        context = browser.new_context(
            viewport={"width": wide, "height": 800}, offline=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: note(message.text))
        page.on("request", lambda request: note(request.url))
        paper, ink = ("#121212", "#dddddd") if dark else ("#ffffff", "#222222")
        body = explorer.html * copies
        page.set_content(PAGE.format(paper=paper, ink=ink, body=body))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


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
    playwright.expect(live).to_contain_text(said)  # after the keys rest


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


def test_touch_on_a_phone_without_sideways_scroll(open_page):
    page = open_page(dark=True, wide=390, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.touchscreen.tap(*centre(page, PICKER, 4, 1))
    assert page.locator(".ve-pick .ve-name").inner_text() == "Query: row 4, column 1"
    for control in page.locator(".visattn-explorer button, .ve-check").all():
        assert control.bounding_box()["height"] >= 40
    colours = page.eval_on_selector_all(
        ".ve-name, .ve-readout, button",
        "all => all.map(e => getComputedStyle(e).color)",
    )
    assert set(colours) == {"rgb(221, 221, 221)"}


def test_static_grid_without_javascript(open_page):
    page = open_page(java_script_enabled=False)
    grid = page.locator(".ve-static svg.visattn-figure")
    assert grid.is_visible()
    assert "Attention maps of the query in row 2, column 3." in grid.get_attribute(
        "aria-label"
    )
    assert page.locator(".ve-view").count() == 0
