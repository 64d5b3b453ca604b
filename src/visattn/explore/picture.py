"""From a matplotlib figure to a picture on the page: inline SVG with alt text."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from visattn.explore.style import FONT_SIZE, PIXELS_PER_INCH, is_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIN_ALT = 20  # characters
PHOTO = "visattn-photo"  # the gid of an image that may be stored as JPEG
_MIN_SCALE = 0.64  # 10 pt text is then still 9 pixels high
_PHONE = 330  # pixels that a phone has for a figure

_RENDERING = {
    "font.size": FONT_SIZE,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "svg.fonttype": "path",  # the same glyphs for every reader
    "svg.hashsalt": "visattn",  # the same ids in every run
    "svg.image_inline": True,
    "image.composite_image": False,
}

# Themes put a white card behind notebook outputs in dark mode; the ink follows the
# page instead, so the card has to go.
_STYLE = (
    "<style>.text_html:has(.visattn-figure-box){background:none!important;"
    "color:inherit!important;padding:0!important}</style>"
)


@dataclass(frozen=True)
class Picture:
    """A figure as inline SVG. Its text takes the colour of the page's text.

    Attributes:
        svg: The `<svg>` element.
        alt: What the picture shows, for readers who do not see it.
        min_width: The picture is never shown narrower than this many pixels; on a
            narrower screen it scrolls sideways inside its own box.
    """

    svg: str = field(repr=False)
    alt: str
    min_width: int = 0

    def _repr_html_(self) -> str:
        """Show the picture in a notebook or on a page."""
        # A box that can scroll has to be reachable by keyboard.
        focus = ' tabindex="0"' if self.min_width > _PHONE else ""
        return (
            f'<div class="visattn-figure-box"{focus} '
            f'style="overflow-x:auto;overflow-y:hidden;max-width:100%">'
            f"{_STYLE}{self.svg}</div>"
        )

    def __repr__(self) -> str:
        return f"Picture: {self.alt}"


def show(fig: Figure, alt: str, *, min_width: int | None = None) -> Picture:
    """Turn a figure into a picture for the page, and close the figure.

    Black is taken as ink and follows the page's light or dark theme; every other
    colour stays. The same figure gives the same bytes in every run.

    Args:
        fig: A matplotlib figure, best made by `visattn.explore.subplots`.
        alt: One or two sentences that say what the picture shows.
        min_width: Smallest width in pixels; by default the width at which text of
            10 points is still 9 pixels high.

    Raises:
        TypeError: If `fig` is not a figure or `alt` is not a string.
        ValueError: If `alt` has fewer than 20 characters, or `min_width` is negative.
    """
    if not is_figure(fig):
        hint = "; pass the figure of `fig, ax = subplots()`"
        raise TypeError(f"show expects a matplotlib figure, got {_kind(fig)}{hint}")
    alt = check_alt(alt)
    if min_width is not None and min_width < 0:
        raise ValueError(f"min_width is a number of pixels >= 0, got {min_width}")
    natural = round(fig.get_figwidth() * PIXELS_PER_INCH)
    if min_width is None:
        min_width = round(_MIN_SCALE * natural)
    min_width = min(min_width, natural)
    svg = _tidy(_render(fig), alt, natural, min_width)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(fig)
    return Picture(svg, alt, min_width)


def check_alt(alt: object) -> str:
    """Return the alt text, stripped, or say what is wrong with it."""
    if not isinstance(alt, str):
        raise TypeError(f"alt must be a string, got {_kind(alt)}")
    alt = " ".join(alt.split())
    if len(alt) < MIN_ALT:
        raise ValueError(
            f"alt must say what the picture shows in at least {MIN_ALT} characters, "
            f"got {len(alt)}: {alt!r}"
        )
    return alt


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _render(fig: Figure) -> str:
    from matplotlib import rc_context
    from matplotlib.legend import Legend

    for legend in fig.findobj(Legend):
        assert isinstance(legend, Legend)
        legend.get_frame().set(facecolor="none", edgecolor="none")
    buffer = io.StringIO()
    nothing: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context(_RENDERING):  # type: ignore[arg-type]
        fig.savefig(buffer, format="svg", transparent=True, dpi=144, metadata=nothing)
    return buffer.getvalue()


def _tidy(svg: str, alt: str, natural: int, min_width: int) -> str:
    """Make matplotlib's SVG fit to stand inside a page, next to others."""
    svg = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    body = svg[svg.index(">") + 1 : svg.rindex("</svg>")]
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # matplotlib's only style sheet is `*{...}`: it would hold for the whole page.
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<image [^>]*>", _shrink_photo, body)
    body = body.replace("xlink:href", "href").replace("#000000", "currentColor")
    body = re.sub(r' d="[^"]*"', _round_numbers, body)
    body = re.sub(r">\s+<", "><", re.sub(r"\s+", " ", body)).strip()
    body = body.replace("<defs></defs>", "")
    body = _own_ids(body, alt)

    label = html.escape(alt)
    size = f"width:100%;min-width:{min_width}px;max-width:{natural}px;height:auto"
    lines = "stroke-linejoin:round;stroke-linecap:butt"
    return (
        f'<svg class="visattn-figure" role="img" aria-label="{label}" '
        f'viewBox="{box[1]}" fill="currentColor" '
        f'style="display:block;margin:0 auto;{size};{lines}">'
        f"<title>{label}</title>{body}</svg>"
    )


def _shrink_photo(match: re.Match[str]) -> str:
    """Drop line breaks of the data; store photographs as JPEG, where smaller."""
    element = re.sub(r"base64,\s+", "base64,", match[0])
    if f'id="{PHOTO}"' not in element:
        return element
    from PIL import Image

    element = re.sub(r' style="[^"]*"', "", element)  # smooth, not pixelated
    data = re.search(r"data:image/png;base64,([^\"]*)", element)
    assert data is not None
    png = base64.b64decode(data[1])
    image = Image.open(io.BytesIO(png))
    if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
        return element
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=88, subsampling=0)
    jpeg = buffer.getvalue()
    if len(jpeg) >= len(png):
        return element
    uri = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    return element.replace(data[0], uri)


def _round_numbers(match: re.Match[str]) -> str:
    return re.sub(
        r"-?\d+\.\d{3,}",
        lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."),
        match[0],
    )


def _own_ids(body: str, alt: str) -> str:
    """Keep only ids that are used, under a prefix that no other picture has."""
    digest = hashlib.sha256((alt + body).encode()).hexdigest()[:10]
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))

    def rename(match: re.Match[str]) -> str:
        return f' id="va{digest}-{match[1]}"' if match[1] in used else ""

    body = re.sub(r' id="([^"]*)"', rename, body)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>va{digest}-", body)
