"""Every page of the built book, as files and in headless Chromium.

One test per page of `_toc.yml`, with every check of `browser.CHECKS`. Below them, small
pages with planted faults prove that every check can fail.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import (
    AXE_EXCEPTIONS,
    CHECKS,
    DESKTOP,
    MATHEMATICS,
    PHONE,
    THEME_ERRORS,
    Traffic,
    Visitor,
    broken_links,
    outside_css,
    read_html,
    serve,
)

from lint import Chapter, book_config, toc_files

pytestmark = pytest.mark.pages

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
PAGES = toc_files(ROOT)
# Written by the builder itself, beside the pages of the table of contents.
BUILDERS_OWN = {"genindex", "index", "prf-prf", "py-modindex", "search"}


def meta(page: str) -> dict:
    """The front matter of a page (empty where the page is missing: that is red too)."""
    source = ROOT / f"{page}.md"
    return Chapter.read(source, ROOT).meta if source.exists() else {}


def listing(problems: list[str]) -> str:
    return "\n" + "\n".join(f"  - {problem}" for problem in problems)


# ---------------------------------------------------------------------------------
# The book as a whole


def test_one_page_per_entry(site: str) -> None:
    assert PAGES, "_toc.yml lists no page"
    assert len(PAGES) == len(set(PAGES)), "_toc.yml lists a page twice"
    built = {str(p.relative_to(HTML).with_suffix("")) for p in HTML.rglob("*.html")}
    built = {name for name in built if not name.startswith(("_static/", "_modules/"))}
    assert built - BUILDERS_OWN - set(PAGES) == set(), "pages that no entry asked for"
    assert set(PAGES) - built == set(), "entries without a page"


def test_start_page_leads_into_the_book(site: str) -> None:
    start = (HTML / "index.html").read_text(encoding="utf-8")
    target = re.search(r"url=([^\"'>\s]+)|href=\"([^\"]+)\"", start)
    assert target, "index.html leads nowhere"
    assert (HTML / (target[1] or target[2])).resolve().exists()


def test_style_sheets_stay_inside(site: str) -> None:
    sheets = sorted((HTML / "_static").rglob("*.css"))
    assert sheets, "no style sheet in _static"
    found = {
        str(path.relative_to(HTML)): outside
        for path in sheets
        if (outside := outside_css(path.read_text(encoding="utf-8")))
    }
    assert not found, f"style sheets that fetch from outside: {found}"


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page: str, site: str) -> None:
    config = book_config(ROOT)
    repository = config["repository"]["url"].rstrip("/")
    book = str(config.get("html", {}).get("baseurl") or "https://book.invalid/")
    assert read_html(HTML / f"{page}.html").links, "a page without any link"
    found = broken_links(HTML / f"{page}.html", HTML, ROOT, repository, book)
    assert not found, listing(found)


@pytest.mark.parametrize("page", [page for page in PAGES if "kernelspec" in meta(page)])
def test_colab_opens_the_notebook_of_the_chapter(page: str, site: str) -> None:
    repository = book_config(ROOT)["repository"]["url"]
    owner = repository.removeprefix("https://github.com/").rstrip("/")
    branch = book_config(ROOT)["repository"].get("branch", "main")
    base = f"https://colab.research.google.com/github/{owner}/blob/{branch}/"
    links = [a for a in read_html(HTML / f"{page}.html").links if "colab.research" in a]
    assert links, "no Colab button"
    assert set(links) == {f"{base}{page}.ipynb"}
    assert (ROOT / f"{page}.ipynb").exists()


# ---------------------------------------------------------------------------------
# Every page, in the browser


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, visitor: Visitor) -> None:
    """All checks of `browser.CHECKS` at one page, from one visit."""
    found = visitor.visit(page)
    assert set(found) == set(CHECKS)
    problems = [f"{check}: {one}" for check in found for one in found[check]]
    assert not problems, listing(problems)


def test_a_page_works_as_a_file(site: str, chromium) -> None:
    """No server: the page is opened with a double click."""
    chapters = [page for page in PAGES if "mechanism" in meta(page)]
    assert chapters, "the book has no chapter of a mechanism"
    texts = {p: (HTML / f"{p}.html").read_text(encoding="utf-8") for p in chapters}
    explored = [p for p in chapters if 'class="visattn-explorer"' in texts[p]]
    page = chromium.new_page(viewport=DESKTOP)
    try:
        traffic = Traffic(page, "file://")
        page.goto((HTML / f"{(explored + chapters)[0]}.html").as_uri())
        traffic.settle()
        assert not traffic.network, listing(traffic.network)
        assert not page.evaluate(MATHEMATICS)
        assert page.locator("mjx-container").count() > 0
        started = page.locator(".visattn-explorer[data-started]").count()
        assert started == page.locator(".visattn-explorer").count()
    finally:
        page.close()


def test_search_finds_a_word(site: str, chromium) -> None:
    assert (HTML / "searchindex.js").stat().st_size > 0
    page = chromium.new_page(viewport=DESKTOP)
    try:
        traffic = Traffic(page, site)
        page.goto(f"{site}/search.html?q=attention")
        page.locator("#search-results li a").first.wait_for(timeout=10_000)
        assert not traffic.network, listing(traffic.network)
    finally:
        page.close()


def test_dark_is_remembered(site: str, chromium) -> None:
    """A reader who chose dark gets the next page dark from the start."""
    context = chromium.new_context(viewport=DESKTOP, color_scheme="light")
    context.add_init_script("localStorage.setItem('mode', 'dark')")
    context.add_init_script("localStorage.setItem('theme', 'dark')")
    try:
        page = context.new_page()
        page.goto(f"{site}/{PAGES[0]}.html")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    finally:
        context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_without_a_choice_the_system_decides(site: str, chromium, theme: str) -> None:
    context = chromium.new_context(viewport=DESKTOP, color_scheme=theme)
    try:
        page = context.new_page()
        page.goto(f"{site}/{PAGES[0]}.html")
        assert page.evaluate("document.documentElement.dataset.theme") == theme
    finally:
        context.close()


def test_exceptions_give_reasons() -> None:
    for reason in [*THEME_ERRORS.values(), *AXE_EXCEPTIONS.values()]:
        assert len(reason) > 40, f"not a reason: {reason!r}"


# ---------------------------------------------------------------------------------
# The checks can fail: one small page per fault

# A one-pixel picture, an explorer and a sound page.
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
STYLE = """
html { background: #fff; color: #111; }
html[data-theme=dark] { background: #111; color: #eee; }
"""
EXPLORER = """
<div class="visattn-explorer" role="group" aria-label="Maps of the heads">
<img alt="A static grid of maps" src="PIXEL" width="80" height="80">
<script>
(function (root) {
  root.querySelector("img").remove();
  const box = document.createElement("div"), map = document.createElement("canvas");
  const live = document.createElement("p");
  box.tabIndex = 0; box.style = "width:100px;height:100px";
  box.setAttribute("role", "application"); box.setAttribute("aria-label", "photo");
  map.setAttribute("role", "img"); map.setAttribute("aria-label", "map");
  live.setAttribute("aria-live", "polite");
  const draw = (x) => {
    map.getContext("2d").fillRect(0, 0, x, x); live.textContent = "column " + x; };
  let at = 1;
  box.addEventListener("keydown", () => { at += 1; draw(at); }); // KEYS
  box.addEventListener("mousemove", (event) => draw(10 + event.offsetX)); // POINTER
  root.append(box, map, live);
})(document.currentScript.parentElement);
</script></div>
""".replace("PIXEL", PIXEL)
SOUND = f"""
<h1>A page</h1>
<p>Some words, and mathematics:
<span class="math"><mjx-container>a</mjx-container></span></p>
<p><img alt="One pixel" src="{PIXEL}"> <canvas aria-label="Nothing yet"></canvas></p>
<svg class="visattn-figure" role="img" aria-label="A word" width="100" height="40"
  fill="currentColor"><text x="5" y="20">word</text></svg>
<div class="cell tag_solution"><pre>check("a", f)</pre>
  <div class="visattn-check" data-passed="true">passed</div></div>
<div class="cell tag_exercise"><pre>check("a", f)</pre>
  <div class="visattn-check" data-passed="false">not yet</div></div>
{EXPLORER}
"""


def faint(colour: str) -> str:
    """A figure whose only word has this colour."""
    return (
        '<svg class="visattn-figure" role="img" aria-label="A faint word" width="99">'
        f'<text x="5" y="20" fill="{colour}">word</text></svg>'
    )


def glyphs(colour: str, under: str = "") -> str:
    """A figure whose only word is made of glyphs, perhaps on something."""
    return (
        '<svg class="visattn-figure" role="img" aria-label="Glyphs" width="99">'
        '<defs><path id="va1-DejaVuSans-41" d="M0 0h9v9h-9z"/></defs>'
        f'{under}<g style="fill: {colour}" transform="translate(20 20)">'
        '<use href="#va1-DejaVuSans-41"/></g></svg>'
    )


PLATE = '<path d="M0 0h90v90h-90z" style="fill: {}"/>'

# check: pairs of a fault, added to one page, and of what the check says about it
FAULTS = {
    "network": [
        ('<script src="https://a.example.org/x.js"></script>', "outside address: http"),
        ('<script src="https://b.example.org/x.js"></script>', "<script> https://b."),
        ('<link rel="stylesheet" href="//c.example.org/x.css">', "<link> //c."),
        ('<link rel="preconnect" href="https://d.example.org">', "<link> https://d."),
        ('<img alt="far away" src="https://e.example.org/x.png">', "<img> https://e."),
        ('<img alt="far" srcset="https://f.example.org/x.png 2x">', "<img> https://f."),
        ("<style>@import 'https://g.example.org/x.css';</style>", "<style> https://g."),
        ('<p style="background: url(https://h.example.org/x)">x</p>', "<p> https://h."),
        ("<script>fetch('https://i.org/x').catch(() => 0)</script>", "https://i.org"),
        ('<script src="missing.js"></script>', "status 404"),
        ("<script>new WebSocket('wss://j.example.org/')</script>", "wss://j."),
    ],
    "console": [
        ("<script>console.error('our own mistake')</script>", "our own mistake"),
        ("<script>throw new Error('thrown here')</script>", "thrown here"),
    ],
    "mathematics": [
        ('<span class="math">\\(a^2\\)</span>', "not typeset: \\(a^2"),
        ("<p>left over \\(b^2\\)</p>", "raw mathematics: left over \\(b"),
        ("<p>left over $$c^2$$</p>", "raw mathematics: left over $$c"),
        (
            '<span class="math"><mjx-container><mjx-merror>d</mjx-merror>'
            "</mjx-container></span>",
            "MathJax reports an error in: d",
        ),
    ],
    "alternatives": [
        (f'<img src="{PIXEL}">', "no alt: <img"),
        (f'<img alt="" src="{PIXEL}">', "empty alt: <img"),
        ('<svg role="img" id="one"></svg>', 'no text alternative: <svg role="img" id='),
        (
            '<div class="cell_output"><svg id="two"><path d="M0 0"/></svg></div>',
            'no text alternative: <svg id="two"',
        ),
        ("<canvas></canvas>", "a canvas without aria-label"),
    ],
    "exercises": [
        (
            '<div class="cell tag_solution"><pre>check("one", f)</pre></div>',
            'a solution does not pass: check("one"',
        ),
        (
            '<div class="cell tag_exercise"><pre>check("two", f)</pre>'
            '<div class="visattn-check" data-passed="true">passed</div></div>',
            'a stub passes: check("two"',
        ),
        (
            '<div class="cell tag_exercise"><pre>check("three", f)</pre></div>',
            'a stub shows no answer of check: check("three"',
        ),
    ],
    "axe": [
        ('<button type="button"></button>', "button-name"),
        ("<ul><p>no item</p></ul>", "list ("),
    ],
    "contrast": [
        ('<p style="background:#fff;color:#ccc">pale</p>', "#ccc"),
        ('<p style="color:#333">good in light only</p>', "dark: color-contrast"),
        ('<p style="color:#111">lost in the dark</p>', "1:1"),
    ],
    "ink": [
        (faint("#dddddd"), "of rgb(221, 221, 221) on rgb(255,255,255)"),
        (faint("#222222"), "dark: contrast 1.19 of rgb(34, 34, 34) on rgb(17,17,17)"),
        (glyphs("#dcdcdc"), "of rgb(220, 220, 220) on rgb(255,255,255)"),
        (
            glyphs("#fefefe", PLATE.format("#eeeeee")),
            "of rgb(254, 254, 254) on rgb(238,238,238)",
        ),
    ],
    "phone": [
        ('<div style="width:700px">wide</div>', "px wide on 390 px"),
        ('<div style="width:701px" id="wide">wide</div>', 'px: <div style="width:701'),
    ],
    "structure": [("<h1>A second title</h1>", "2 h1")],
}


@pytest.fixture(scope="module")
def try_page(tmp_path_factory, chromium) -> Iterator[Callable[..., dict]]:
    """Visit a page with this body."""
    folder = tmp_path_factory.mktemp("site")
    with serve(folder) as address:
        visitor = Visitor(chromium, address, folder, folder / "shots")

        def visit(body: str, title: str = "A page") -> dict:
            number = len(list(folder.glob("*.html")))
            (folder / f"p{number}.html").write_text(
                f'<!doctype html><html lang="en"><head><title>{title}</title>'
                f'<link rel="icon" href="data:,"><style>{STYLE}</style></head><body>'
                f'<main><article class="bd-article">{body}</article></main>'
                "</body></html>",
                encoding="utf-8",
            )
            return visitor.visit(f"p{number}")

        visit.shots = visitor.shots
        yield visit
        visitor.context.close()


def test_a_sound_page_has_no_problems(try_page) -> None:
    assert {k: v for k, v in try_page(SOUND).items() if v} == {}


def test_a_visit_leaves_pictures(try_page) -> None:
    before = set(try_page.shots.glob("*.jpeg"))
    try_page(SOUND)
    taken = sorted(path.name for path in set(try_page.shots.glob("*.jpeg")) - before)
    assert [name.split(".")[1] for name in taken] == ["dark", "light", "phone"]


@pytest.mark.parametrize("check", FAULTS)
def test_faults_are_found(try_page, check: str) -> None:
    faults = "\n".join(fault for fault, _ in FAULTS[check])
    found = try_page("<h1>A page</h1><p>Some words.</p>" + faults)
    for fault, said in FAULTS[check]:
        assert any(said in problem for problem in found[check]), (fault, found[check])
    others = {name for name, problems in found.items() if problems} - {check}
    # one fault may show in several ways: a lost request is a console error too
    assert others <= {"axe", "console", "contrast", "network"}, found


@pytest.mark.parametrize(("colour", "said"), [("#fff", "dark"), ("#111", "light")])
def test_a_theme_that_does_not_change_is_found(try_page, colour, said) -> None:
    body = f"<h1>A page</h1><style>html {{ background: {colour} !important }}</style>"
    assert [f"the {said} page" in one for one in try_page(body)["themes"]] == [True]


def test_every_check_is_tried_with_a_fault() -> None:
    assert set(CHECKS) == {*FAULTS, "explorers", "themes"}


def test_text_on_a_plate_is_compared_with_the_plate(try_page) -> None:
    assert not try_page("<h1>A page</h1>" + glyphs("#fff", PLATE.format("#333")))["ink"]


BROKEN_EXPLORERS = [
    (r' role="group" aria-label="Maps of the heads"', "", "no role or no label"),
    (r"<script>.*</script>", "", "did not start"),
    (r'live.setAttribute\("aria-live", "polite"\);', "", "announces nothing: no aria"),
    (r"[^\n]*// KEYS", "", "an arrow key changes no map"),
    (r"draw\(at\); \}\); // KEYS", "}); // KEYS", "an arrow key announces nothing"),
    (r"[^\n]*// POINTER", "", "hovering over the photograph changes no map"),
    (r"<img[^>]*>", "<img hidden>", "no static picture without JavaScript"),
]


def test_broken_explorers_are_found(try_page) -> None:
    body = "<h1>A page</h1>"
    for old, new, _ in BROKEN_EXPLORERS:
        broken, count = re.subn(old, new, EXPLORER, flags=re.S)
        assert count, f"the fault was not planted: {old}"
        body += broken
    found = try_page(body + EXPLORER)["explorers"]
    for number, (_, _, said) in enumerate(BROKEN_EXPLORERS, start=1):
        assert any(
            one.startswith(f"explorer {number}") and said in one for one in found
        ), (number, said, found)
    sound = f"explorer {len(BROKEN_EXPLORERS) + 1}"
    assert not any(one.startswith(sound) for one in found), found


def test_a_missing_title_is_found(try_page) -> None:
    assert try_page("<h1>A page</h1>", title="")["structure"] == ["no title"]


def test_broken_links_are_found(tmp_path: Path) -> None:
    html = tmp_path / "html"
    (html / "part").mkdir(parents=True)
    (tmp_path / "there.md").touch()
    good = [
        "other.html#here",
        "#own",
        "../part/other.html",
        "https://example.org/x",
        "mailto:a@example.org",
        "https://github.com/o/r/blob/main/there.md",
        "https://book.example/part/other.html#here",
        "#",
    ]
    bad = {
        "gone.html": "no such file",
        "other.html#gone": "no element #gone",
        "#gone": "no element #gone",
        "../../etc.html": "leads out",
        "https://github.com/o/r/blob/main/gone.md": "the repository has no gone.md",
        "https://colab.research.google.com/github/o/r/blob/main/gone.ipynb": "has no",
        "https://book.example/gone.html": "no such file",
    }
    (html / "part" / "other.html").write_text('<p id="here">x</p>')
    page = html / "part" / "page.html"
    anchors = "".join(f'<a href="{link}">x</a>' for link in [*good, *bad])
    page.write_text(f'<p id="own">{anchors}</p>')
    repository, book = "https://github.com/o/r", "https://book.example/"
    found = broken_links(page, html, tmp_path, repository, book)
    assert len(found) == len(bad), found
    for link, said in bad.items():
        assert any(one.startswith(f"{link}: ") and said in one for one in found), link


def test_outside_css() -> None:
    css = "/* url(https://x.org/a) */ a { background: url('https://x.org/b') }"
    assert outside_css(css) == ["https://x.org/b"]
    assert outside_css('@import "//x.org/c";') == ["//x.org/c"]
    assert outside_css("a { background: url(data:image/png;base64,//x) }") == []


def test_the_phone_is_narrower_than_the_desktop() -> None:
    assert PHONE["width"] < 400 < DESKTOP["width"]
