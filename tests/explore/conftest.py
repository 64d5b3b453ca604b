"""A page in headless Chromium, with the network cut, for the tests of the explorers."""

import json
import os
import re
import shutil

import pytest

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
HARMLESS = ("data:", "about:", "Canvas2D: Multiple readback")  # the tests read it


@pytest.fixture(scope="module")  # another folder starts Chromium too, not beside it
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_html(browser):
    """Open a page with this body; the test fails if the page complains or asks."""
    contexts, troubles = [], []

    def note(text):
        if not text.startswith(HARMLESS):
            troubles.append(text[:200])

    def opened(body, *, dark=False, wide=900, **options):
        context = browser.new_context(
            viewport={"width": wide, "height": 800}, offline=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: note(message.text))
        page.on("request", lambda request: note(request.url))
        paper, ink = ("#121212", "#dddddd") if dark else ("#ffffff", "#222222")
        page.set_content(PAGE.format(paper=paper, ink=ink, body=body))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture
def data_of():
    """The data inside an explorer."""

    def read(explorer):
        found = re.search(
            r'<script type="application/json">(.*?)</script>', explorer.html, re.DOTALL
        )
        return json.loads(found[1])

    return read


@pytest.fixture
def assert_self_contained():
    """The output of an explorer refers to nothing outside itself."""

    def check(explorer):
        page = explorer._repr_html_()
        text = re.sub(r"base64,[^\"]*", "", page)
        assert not re.search(r"https?:|//\w+\.\w", text)
        for source in re.findall(r'(?:src|href)="([^"]*)"', page):
            assert source.startswith(("data:", "#"))
        assert not re.search(r"\beval\(|new Function|blob:|fetch\(|import\(", page)
        assert 'class="visattn-explorer"' in page
        assert "visattn-figure" in page  # the static view

    return check


@pytest.fixture
def assert_fits_a_phone():
    """No sideways scrolling, controls that a finger can hit, text in the page's ink."""

    def check(page):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        controls = ".visattn-explorer :is(button, select, input[type=range], .ve-check)"
        assert page.locator(controls).count() > 0
        for control in page.locator(controls).all():
            assert control.bounding_box()["height"] >= 40
        colours = page.eval_on_selector_all(
            ".ve-name, .ve-readout, .ve-control label, .ve-value, button, select",
            "all => all.map(e => getComputedStyle(e).color)",
        )
        assert set(colours) == {"rgb(221, 221, 221)"}

    return check
