"""What the page checks see: the HTML as a file, and the page in headless Chromium.

`read_html` and `outside_sources` look at the files alone. `Visitor.visit` opens a page
once, in light, dark and phone width, and returns the problems of every check.
"""

from __future__ import annotations

import functools
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

import chromium as provider

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "book" / "vendor" / "node_modules" / "axe-core" / "axe.min.js"

CHECKS = (
    "network",  # nothing from outside, nothing that fails
    "console",  # no error of ours
    "mathematics",  # typeset, without an error
    "alternatives",  # a text for every picture
    "exercises",  # solutions pass, stubs do not
    "axe",  # nothing serious in the article
    "contrast",  # of text, in both themes
    "ink",  # of the text in figures, in both themes
    "themes",  # light is light, dark is dark
    "phone",  # no sideways scrolling
    "explorers",  # keyboard, pointer, no JavaScript
    "structure",  # one title, one H1
)
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
MIN_INK = 3.0  # contrast of text in a figure against what lies behind it

# Errors that every page of this theme reports, with the reason why they may stay.
THEME_ERRORS = {
    "Identifier 'THEBE_JS_URL' has already been declared": (
        "sphinx-thebe, which Jupyter Book loads, puts its settings on a page twice; "
        "they only matter after a click on a launch button that this book does not have"
    ),
}
# Findings of axe (rule, part of the element's HTML) that may stay, with the reason.
AXE_EXCEPTIONS: dict[tuple[str, str], str] = {
    ("aria-required-children", 'class="citation-list"'): (
        "docutils marks the entries of a bibliography as doc-biblioentry, which used "
        "to be a kind of list item, and the list around them as a plain list"
    ),
}
AXE_IMPACTS = ("serious", "critical")


# ---------------------------------------------------------------------------------
# Files


@dataclass
class Html:
    """What one HTML file says."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    # attributes that make a browser fetch something
    SOURCES = frozenset(
        {"src", "srcset", "poster", "data", "background", "xlink:href", "action"}
    )
    FETCHED = frozenset(
        {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect"}
        | {"dns-prefetch", "manifest", "apple-touch-icon"}
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.html = Html()
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_style = tag == "style"
        given = {name: value or "" for name, value in attrs}
        for name in ("id", "name"):
            if name in given and (name == "id" or tag == "a"):
                self.html.ids.add(given[name])
        if tag == "a" and "href" in given:
            self.html.links.append(given["href"])
        if tag == "link" and self.FETCHED & set(given.get("rel", "").split()):
            self._source(tag, given.get("href", ""))
        if tag in {"image", "use"}:
            self._source(tag, given.get("href", ""))
        for name in self.SOURCES & set(given):
            for part in given[name].split(",") if name == "srcset" else [given[name]]:
                self._source(tag, part.strip())
        if "style" in given:
            self._style(tag, given["style"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "style":
            self.in_style = False

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self._style("style", data)

    def _source(self, tag: str, address: str) -> None:
        if re.match(r"(?:https?:|wss?:|ftp:)?//", address, re.I):
            self.html.outside.append(f"<{tag}> {address}")

    def _style(self, tag: str, css: str) -> None:
        self.html.outside += [f"<{tag}> {address}" for address in outside_css(css)]


def outside_css(css: str) -> list[str]:
    """Addresses outside the book that a style sheet makes a browser fetch."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    pattern = r"(?:url\(\s*|@import\s+)[\"']?((?:https?:)?//[^\"')\s;]+)"
    return re.findall(pattern, css, re.I)


@functools.cache
def read_html(path: Path) -> Html:
    """Read one HTML file."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    return reader.html


def broken_links(
    path: Path, html: Path, root: Path, repository: str, book: str
) -> list:
    """Links of one file that lead nowhere.

    Args:
        path: The file.
        html: The folder of the built book.
        root: The repository.
        repository: Its public address; a link into it must name a file of ours.
        book: The book's public address; a link to it must name a page of ours.
    """
    found = []
    for link in sorted(set(read_html(path).links)):
        if problem := _broken(link, path, html, root, repository, book):
            found.append(f"{link}: {problem}")
    return found


def _broken(
    link: str, path: Path, html: Path, root: Path, repository: str, book: str
) -> str:
    for prefix in (repository, repository.replace("https://github.com", COLAB)):
        inside = re.match(rf"{re.escape(prefix)}/(?:blob|edit|tree)/[^/]+/(.+)", link)
        if inside and not (root / unquote(urlsplit(inside[1]).path)).exists():
            return f"the repository has no {inside[1]}"
    if link.startswith(book.rstrip("/") + "/"):
        link = "/" + link.removeprefix(book.rstrip("/") + "/")
        base = html
    else:
        base = path.parent
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or link in {"", "#"}:
        return ""
    target = path
    if parts.path:
        target = (base / unquote(parts.path).lstrip("/")).resolve()
        target = target / "index.html" if target.is_dir() else target
        if not target.is_relative_to(html.resolve()):
            return "leads out of the book"
        if not target.exists():
            return "no such file"
    wanted = unquote(parts.fragment) if target.suffix == ".html" else ""
    if wanted and wanted not in read_html(target).ids:
        return f"no element #{wanted}"
    return ""


COLAB = "https://colab.research.google.com/github"


# ---------------------------------------------------------------------------------
# Server and browser


class _Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of this machine."""
    handler = functools.partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def launch() -> Iterator[Browser]:
    """Start Chromium; fail, and say how to get it, where there is none."""
    path = provider.find()
    if path is None:
        pytest.fail(provider.HELP)
    if not AXE.exists():
        pytest.fail("axe-core is missing; run `python book/tools/vendor.py`")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


class Traffic:
    """Everything that a page asks for and complains about."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.pending: set[Request] = set()
        self.network: list[str] = []
        self.console: list[str] = []
        page.on("request", self._asked_for)
        page.on("requestfinished", lambda request: self.pending.discard(request))
        page.on("requestfailed", lambda request: self.pending.discard(request))
        page.on("websocket", lambda socket: self._asked(socket.url))
        page.on("response", lambda got: self._answered(got.url, got.status))
        page.on("requestfailed", lambda lost: self._failed(lost.url, lost.failure))
        page.on("console", lambda said: self._said(said.type, said.text))
        page.on("pageerror", lambda error: self._said("error", error.message))

    def _is_ours(self, url: str) -> bool:
        return url.startswith((self.base, "data:", "blob:", "about:"))

    def settle(self) -> None:
        """Wait until everything is loaded and the mathematics is typeset."""
        for promise in ("window.MathJax?.startup?.promise", "document.fonts.ready"):
            self.page.evaluate(f"Promise.resolve({promise}).then(() => null)")
        quiet = 0
        for _ in range(300):
            self.page.wait_for_timeout(100)
            quiet = 0 if self.pending else quiet + 1
            if quiet == 3:
                return
        self.network.append(f"still loading: {[one.url for one in self.pending]}")

    def _asked_for(self, request: Request) -> None:
        self.pending.add(request)
        self._asked(request.url)

    def _asked(self, url: str) -> None:
        if not self._is_ours(url):
            self.network.append(f"asks for an outside address: {url}")

    def _answered(self, url: str, status: int) -> None:
        if status >= 400:
            self.network.append(f"status {status}: {url}")

    def _failed(self, url: str, why: str | None) -> None:
        if self._is_ours(url):
            self.network.append(f"failed, {why}: {url}")

    def _said(self, kind: str, text: str) -> None:
        if kind == "error" and text not in THEME_ERRORS:
            self.console.append(text)


def cut_off(context: BrowserContext, base: str) -> None:
    """Let nothing through but the book itself."""
    outside = re.compile(rf"^(?!{re.escape(base)}|data:|blob:|about:)")
    context.route(outside, lambda route: route.abort())


# ---------------------------------------------------------------------------------
# Questions that are asked inside the page

MATHEMATICS = r"""
() => {
  const found = [];
  const cut = (e) => e.textContent.trim().replace(/\s+/g, " ").slice(0, 70);
  for (const e of document.querySelectorAll(".math")) {
    if (!e.querySelector("mjx-container")) found.push("not typeset: " + cut(e));
    const red = "mjx-merror, [data-mjx-error], mjx-mtext[style*='color: red']";
    if (e.querySelector(red)) found.push("MathJax reports an error in: " + cut(e));
  }
  const body = document.querySelector("article.bd-article") || document.body;
  const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  const skip = "script, style, pre, code, textarea, noscript, mjx-container";
  while (walker.nextNode()) {
    const text = walker.currentNode;
    if (text.parentElement.closest(skip)) continue;
    if (/\\\(|\\\[|\$\$|\\begin\{|\\frac|\\mathrm/.test(text.data))
      found.push("raw mathematics: " + text.data.trim().slice(0, 70));
  }
  return found;
}
"""

ALTERNATIVES = r"""
() => {
  const found = [];
  const cut = (e) => e.outerHTML.replace(/\s+/g, " ").slice(0, 120);
  const named = (e) => (e.getAttribute("aria-label") || "").trim()
    || [...e.children].some((c) => c.tagName === "title" && c.textContent.trim())
    || (e.getAttribute("aria-labelledby") || "").split(" ")
      .some((id) => id && document.getElementById(id));
  const hidden = (e) => e.closest("[aria-hidden='true']")
    || ["presentation", "none"].includes(e.getAttribute("role"));
  const labelled = (e) => {
    const above = e.parentElement && e.parentElement.closest("[role='img']");
    return above && named(above);
  };
  for (const e of document.querySelectorAll("img")) {
    const alt = e.getAttribute("alt");
    if (alt === null) found.push("no alt: " + cut(e));
    // the photograph under a labelled map is only a background
    const under = e.parentElement.querySelector(":scope > canvas[aria-label]");
    if (alt !== null && !alt.trim() && !hidden(e) && !under)
      found.push("empty alt: " + cut(e));
  }
  const article = document.querySelector("article.bd-article") || document.body;
  for (const e of article.querySelectorAll("svg, [role='img'], object, embed")) {
    if (e.parentElement.closest("svg, mjx-container") || e.closest("mjx-container"))
      continue;
    if (e.tagName === "IMG" || hidden(e) || named(e) || labelled(e)) continue;
    const control = e.closest("button, summary, a"); // an icon beside its words
    if (control && (named(control) || control.textContent.trim())) continue;
    found.push("no text alternative: " + cut(e));
  }
  for (const e of document.querySelectorAll("canvas"))
    if (!hidden(e) && !named(e)) found.push("a canvas without aria-label: " + cut(e));
  for (const e of article.querySelectorAll("iframe, video"))
    if (!named(e) && !(e.title || "").trim()) found.push("no title: " + cut(e));
  return found;
}
"""

EXERCISES = r"""
() => {
  const found = [];
  const asks = (e) => /\bcheck\(/.test(e.querySelector("pre")?.textContent);
  const passed = (e) => e.querySelector(".visattn-check[data-passed='true']");
  const first = (e) => e.textContent.trim().replace(/\s+/g, " ").slice(0, 60);
  for (const e of document.querySelectorAll(".cell.tag_solution"))
    if (asks(e) && !passed(e)) found.push("a solution does not pass: " + first(e));
  for (const e of document.querySelectorAll(".cell.tag_exercise")) {
    if (passed(e)) found.push("a stub passes: " + first(e));
    if (!e.querySelector(".visattn-check"))
      found.push("a stub shows no answer of check: " + first(e));
  }
  return found;
}
"""

STRUCTURE = r"""
() => {
  const found = [];
  const article = document.querySelector("article.bd-article");
  if (!article) return ["no article.bd-article on the page"];
  const count = article.querySelectorAll("h1").length;
  if (count !== 1) found.push(`${count} h1 in the article`);
  if (!document.title.trim()) found.push("no title");
  if (!document.documentElement.lang) found.push("no language");
  return found;
}
"""

UNFOLD = r"""
() => {
  document.querySelectorAll("details").forEach((e) => { e.open = true; });
  document.querySelectorAll(".toggle-hidden").forEach(
    (e) => e.classList.remove("toggle-hidden"));
}
"""

# Glyphs and the words of code are thousands of elements that axe need not see one by
# one. INK reads the figures. In formulas, code and signatures one word of each kind and
# place stands for all the others.
THIN_OUT = r"""
() => {
  for (const e of document.querySelectorAll("svg.visattn-figure")) {
    e.style.aspectRatio = e.viewBox.baseVal.width / e.viewBox.baseVal.height || "auto";
    e.replaceChildren();
  }
  for (const e of document.querySelectorAll("mjx-container")) {
    e.style.lineHeight = "normal";
    e.replaceChildren("formula");
  }
  const seen = new Set();
  const places = ".cell_input, .cell_output, .highlight, .admonition, details,"
    + " .solution, table, figcaption, dl, pre";
  for (const e of document.querySelectorAll("span.math, pre span, dt.sig span")) {
    const parent = e.parentElement, place = parent.closest(places);
    const kind = [e.className, e.getAttribute("style"), parent.tagName,
      parent.className, place ? place.className : ""].join("|");
    const text = e.classList.contains("math") ? ["formula"] : e.childNodes;
    if (seen.has(kind)) e.replaceWith(...text);
    seen.add(kind);
  }
  document.querySelector("article.bd-article")?.normalize();
}
"""

# Both scripts report where text is too faint. Figures hold glyphs, not text, so axe
# does not see them.
INK = r"""
(least) => {
  const found = [];
  const parse = (text) => {
    const part = (text.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
    return { rgb: part.slice(0, 3), alpha: part.length > 3 ? part[3] : 1 };
  };
  const blend = (top, alpha, below) =>
    below.map((b, i) => alpha * top[i] + (1 - alpha) * b);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, two) => {
    const [a, b] = [light(one), light(two)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const behind = (e) => {
    if (!e) return [255, 255, 255];
    const { rgb, alpha } = parse(getComputedStyle(e).backgroundColor);
    return alpha >= 1 ? rgb : blend(rgb, alpha, behind(e.parentElement));
  };
  const opacity = (e, stop) => {
    let value = 1;
    for (; e && e !== stop; e = e.parentElement) value *= +getComputedStyle(e).opacity;
    return value;
  };
  const glyph = (e) => e.tagName === "text" || (e.tagName === "use"
    && /DejaVu|STIX|Cmr|Cmmi|Cmsy|Cmex|Computer/i.test(
      e.getAttribute("href") || e.getAttribute("xlink:href") || ""));
  const covers = (e, x, y) => {
    const box = e.getBoundingClientRect();
    if (x < box.left || x > box.right || y < box.top || y > box.bottom) return false;
    if (!e.isPointInFill || e.tagName === "image") return true;
    const point = new DOMPoint(x, y).matrixTransform(e.getScreenCTM().inverse());
    return e.isPointInFill(point);
  };
  let texts = 0;
  const article = document.querySelector("article.bd-article") || document.body;
  for (const svg of article.querySelectorAll("svg[role='img']")) {
    const page = behind(svg.parentElement);
    const label = (svg.getAttribute("aria-label") || "").slice(0, 50);
    const kinds = "path, rect, polygon, circle, image, use, text";
    const drawn = [...svg.querySelectorAll(kinds)]
      .filter((e) => !e.closest("defs, clipPath"));
    const shapes = [], done = new Set();
    for (const e of drawn) {
      const style = getComputedStyle(e);
      if (!glyph(e)) {
        if (e.tagName === "image" || style.fill !== "none") shapes.push(e);
        continue;
      }
      if (e.tagName === "use" && done.has(e.parentElement)) continue;
      done.add(e.parentElement);
      const box = e.getBoundingClientRect();
      if (!box.width || !box.height) continue;
      texts += 1;
      const x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
      let below = page;
      for (const shape of shapes.filter((s) => covers(s, x, y))) {
        if (shape.tagName === "image") { below = null; continue; }
        const look = getComputedStyle(shape), fill = parse(look.fill);
        const alpha = fill.alpha * look.fillOpacity * opacity(shape, svg.parentElement);
        if (alpha >= 1) below = fill.rgb;
        else if (below) below = blend(fill.rgb, alpha, below);
      }
      if (!below) continue; // on a photograph: no one colour to compare with
      const fill = parse(style.fill);
      const alpha = fill.alpha * style.fillOpacity * opacity(e, svg.parentElement);
      const ratio = contrast(blend(fill.rgb, alpha, below), below);
      if (ratio < least) found.push(
        `contrast ${ratio.toFixed(2)} of ${style.fill} on ` +
        `rgb(${below.map(Math.round)}) in "${label}"`);
    }
  }
  const figures = article.querySelectorAll("svg.visattn-figure").length;
  if (figures && !texts) found.push("no text found in any figure: is the check blind?");
  return [...new Set(found)];
}
"""

PHONE_WIDTH = r"""
() => {
  const found = [], wide = document.scrollingElement.scrollWidth;
  if (wide > innerWidth) found.push(`the page is ${wide} px wide on ${innerWidth} px`);
  const article = document.querySelector("article.bd-article") || document.body;
  const clipped = (e) => {
    for (e = e.parentElement; e && e !== article; e = e.parentElement)
      if (getComputedStyle(e).overflowX !== "visible") return true;
    return false;
  };
  for (const e of article.querySelectorAll("*")) {
    const box = e.getBoundingClientRect();
    if (!box.width || !box.height || box.right <= innerWidth + 1) continue;
    if (e.closest("mjx-assistive-mml, .visually-hidden") || clipped(e)) continue;
    found.push(`reaches to ${Math.round(box.right)} px: ${e.outerHTML.slice(0, 90)}`);
    if (found.length > 4) break;
  }
  return found;
}
"""

AXE_RUN = r"""
async ([rules, impacts, exceptions]) => {
  if (!document.querySelector("article.bd-article")) return ["no article.bd-article"];
  const options = { resultTypes: ["violations", "incomplete"], preload: false };
  if (rules.length) options.runOnly = { type: "rule", values: rules };
  const result = await axe.run({ include: [["article.bd-article"]] }, options);
  // axe is not sure about text in the colour of its background; a reader is
  const invisible = result.incomplete
    .filter((v) => v.id === "color-contrast")
    .map((v) => ({ ...v, impact: "serious", nodes: v.nodes.filter((node) =>
      node.any.some((c) => c.data && c.data.messageKey === "equalRatio")) }));
  const found = [];
  for (const v of [...result.violations, ...invisible]) {
    if (!impacts.includes(v.impact)) continue;
    for (const node of v.nodes) {
      if (exceptions.some(([id, part]) => id === v.id && node.html.includes(part)))
        continue;
      const failed = [...node.any, ...node.all, ...node.none];
      const why = failed.length ? failed[0].message : v.help;
      const where = node.html.replace(/\s+/g, " ").slice(0, 120);
      found.push(`${v.id} (${v.impact}): ${why} ${where}`);
    }
  }
  return found.slice(0, 20);
}
"""

# No colour on its way from one theme to the other while it is measured.
AT_ONCE = "* { transition: none !important; animation: none !important }"

THEME = r"""
(mode) => {
  localStorage.setItem("mode", mode);
  localStorage.setItem("theme", mode);
  document.documentElement.dataset.mode = mode;
  document.documentElement.dataset.theme = mode;
}
"""

MAPS = r"""
(e) => [...e.querySelectorAll("canvas")].map((c) => c.toDataURL()).join()
"""


# ---------------------------------------------------------------------------------
# A visit


class Visitor:
    """Opens pages of one site, in one context, and looks at each from all sides."""

    def __init__(self, browser: Browser, base: str, html: Path, shots: Path) -> None:
        self.browser, self.base, self.html, self.shots = browser, base, html, shots
        self.context = browser.new_context(
            viewport=DESKTOP, color_scheme="light", reduced_motion="reduce"
        )
        cut_off(self.context, base)
        shots.mkdir(parents=True, exist_ok=True)

    def visit(self, name: str) -> dict[str, list[str]]:
        """Return the problems of a page (its path without .html) by check."""
        if not (self.html / f"{name}.html").exists():
            pytest.fail(f"_build/html has no {name}.html; run `make book`")
        found: dict[str, list[str]] = {check: [] for check in CHECKS}
        page = self.context.new_page()
        try:
            traffic = Traffic(page, self.base)
            page.goto(f"{self.base}/{name}.html", wait_until="load")
            page.evaluate(THEME, "light")
            traffic.settle()
            page.add_style_tag(content=AT_ONCE)
            self._look(page, name, found)
            explorers = page.locator(".visattn-explorer").count()
            found["network"] += traffic.network
            found["console"] += traffic.console
        finally:
            page.close()
        if explorers:
            found["explorers"] += self._without_javascript(name, explorers)
        outside = read_html(self.html / f"{name}.html").outside
        found["network"] += [f"the HTML names an outside source: {o}" for o in outside]
        return found

    def _look(self, page: Page, name: str, found: dict[str, list[str]]) -> None:
        found["structure"] += page.evaluate(STRUCTURE)
        found["mathematics"] += page.evaluate(MATHEMATICS)
        found["alternatives"] += page.evaluate(ALTERNATIVES)
        found["exercises"] += page.evaluate(EXERCISES)
        found["ink"] += page.evaluate(INK, MIN_INK)
        light = self._shoot(page, name, "light")
        found["explorers"] += explore(page)

        page.evaluate(THEME, "dark")
        found["ink"] += [f"dark: {one}" for one in page.evaluate(INK, MIN_INK)]
        dark = self._shoot(page, name, "dark")
        found["themes"] += compare_themes(light, dark)

        page.evaluate(THEME, "light")
        page.set_viewport_size(PHONE)
        found["phone"] += page.evaluate(PHONE_WIDTH)
        self._shoot(page, name, "phone")

        page.set_viewport_size(DESKTOP)
        page.evaluate(UNFOLD)
        page.evaluate(THIN_OUT)
        page.evaluate(AXE.read_text(encoding="utf-8"))
        every = [[], AXE_IMPACTS, list(AXE_EXCEPTIONS)]
        contrast = [["color-contrast"], AXE_IMPACTS, []]
        for line in page.evaluate(AXE_RUN, every):
            found["contrast" if line.startswith("color-contrast") else "axe"].append(
                line
            )
        page.evaluate(THEME, "dark")
        lines = page.evaluate(AXE_RUN, contrast)
        found["contrast"] += [f"dark: {line}" for line in lines]

    def _shoot(self, page: Page, name: str, kind: str) -> bytes:
        """Keep a picture of the whole page, and return it."""
        page.evaluate("scrollTo(0, 0)")
        path = self.shots / f"{name.replace('/', '.')}.{kind}.jpeg"
        return page.screenshot(path=path, type="jpeg", quality=80, full_page=True)

    def _without_javascript(self, name: str, count: int) -> list[str]:
        context = self.browser.new_context(viewport=DESKTOP, java_script_enabled=False)
        cut_off(context, self.base)
        try:
            page = context.new_page()
            page.goto(f"{self.base}/{name}.html", wait_until="load")
            found = []
            for i in range(count):
                explorer = page.locator(".visattn-explorer").nth(i)
                pictures = explorer.locator("img, svg[role='img']")
                boxes = [
                    box.bounding_box() for box in pictures.all() if box.is_visible()
                ]
                if not any(
                    box and min(box["width"], box["height"]) > 40 for box in boxes
                ):
                    found.append(
                        f"explorer {i + 1}: no static picture without JavaScript"
                    )
            return found
        finally:
            context.close()


def compare_themes(light: bytes, dark: bytes) -> list[str]:
    """The light page is light and the dark one dark."""
    found = []
    brightness = [_brightness(picture) for picture in (light, dark)]
    if brightness[0] < 170:
        found.append(f"the light page has a mean brightness of {brightness[0]:.0f}")
    if brightness[1] > 100:
        found.append(f"the dark page has a mean brightness of {brightness[1]:.0f}")
    return found


def _brightness(picture: bytes) -> float:
    with Image.open(io.BytesIO(picture)) as image:
        first_screen = image.crop((0, 0, DESKTOP["width"], DESKTOP["height"]))
        counts = first_screen.convert("L").histogram()
    return sum(level * count for level, count in enumerate(counts)) / sum(counts)


def explore(page: Page) -> list[str]:
    """Use every explorer with the keyboard and with the pointer."""
    found = []
    for i, explorer in enumerate(page.locator(".visattn-explorer").all(), start=1):
        name = f"explorer {i}"
        label = explorer.get_attribute("aria-label")
        if not explorer.get_attribute("role") or not label:
            found.append(f"{name} has no role or no label")
        target = explorer.locator("[tabindex='0']").first
        live = explorer.locator("[aria-live]")
        if explorer.locator("canvas").count() == 0 or target.count() == 0:
            found.append(f"{name} did not start: no map, or nothing to focus")
            continue
        if live.count() == 0:
            found.append(f"{name} announces nothing: no aria-live")
            continue
        found += [
            f"{name}: {one}" for one in _by_keyboard(page, explorer, target, live)
        ]
        found += [f"{name}: {one}" for one in _by_pointer(page, explorer, target)]
    return found


def _by_keyboard(page: Page, explorer: Any, target: Any, live: Any) -> list[str]:
    maps, said = explorer.evaluate(MAPS), live.first.text_content()
    target.focus()
    page.keyboard.press("ArrowRight")
    if explorer.evaluate(MAPS) == maps:  # it stood at the right edge
        page.keyboard.press("ArrowLeft")
    found = []
    if explorer.evaluate(MAPS) == maps:
        found.append("an arrow key changes no map")
    for _ in range(20):  # the announcement may wait until the keys rest
        if live.first.text_content() != said:
            break
        page.wait_for_timeout(50)
    else:
        found.append("an arrow key announces nothing")
    return found


def _by_pointer(page: Page, explorer: Any, target: Any) -> list[str]:
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    seen = set()
    for across, down in ((0.15, 0.2), (0.85, 0.75)):
        page.mouse.move(
            box["x"] + across * box["width"], box["y"] + down * box["height"]
        )
        seen.add(explorer.evaluate(MAPS))
    page.mouse.move(0, 0)
    return ["hovering over the photograph changes no map"] if len(seen) < 2 else []
