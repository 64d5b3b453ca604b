"""What `check` answers, as text and as accessible HTML."""

import html
import os
import re
from dataclasses import dataclass

# The published book. While the book itself is built, VISATTN_BOOK_ROOT is set to a
# relative path (".." for a chapter in a part folder), so that links stay inside it.
BOOK_ROOT = "https://visattn.github.io/visattn/book"

_ACCENT = {"passed": "#1b9e77", "not yet": "#d95f02"}
_ICON = {"passed": "✓", "not yet": "→"}


@dataclass(frozen=True)
class Result:
    """The answer of `check`.

    Attributes:
        passed: True when the function agrees with the loop.
        variant: the name of the recognised mistake, or None.
        message: what happened and what to try, in a few short sentences.
        section: page and anchor of the book that explains it, or None.
        name: the exercise.
        details: pairs of label and text, for example the first difference.
    """

    passed: bool
    variant: str | None
    message: str
    section: str | None
    name: str = ""
    details: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return self.passed

    @property
    def verdict(self) -> str:
        """`passed` or `not yet`."""
        return "passed" if self.passed else "not yet"

    @property
    def url(self) -> str | None:
        """The address of the section, or None."""
        if self.section is None:
            return None
        root = os.environ.get("VISATTN_BOOK_ROOT", BOOK_ROOT).rstrip("/")
        return f"{root}/{self.section}"

    def __repr__(self) -> str:
        lines = [f"{self.verdict}: {self.name}", f"  {self.message}"]
        if self.variant is not None:
            lines.append(f"  recognised: {_words(self.variant)}")
        lines += [f"  {label}: {text}" for label, text in self.details]
        if self.url is not None:
            lines.append(f"  read: {self.url}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        label = html.escape(f"Check of {self.name}: {self.verdict}", quote=True)
        parts = [
            f'<div class="visattn-check" data-passed="{str(self.passed).lower()}"'
            f' role="group" aria-label="{label}"'
            f' style="{_box_style(self.verdict)}">',
            '<p style="margin:0 0 .35em">'
            f'<span aria-hidden="true">{_ICON[self.verdict]}</span> '
            f"<strong>{self.verdict}</strong>: {_code(self.name)}"
            f"{self._html_variant()}</p>",
            f'<p style="margin:0 0 .35em">{_rich(self.message)}</p>',
            self._html_details(),
            self._html_link(),
            "</div>",
        ]
        return "\n".join(part for part in parts if part)

    def _html_variant(self) -> str:
        if self.variant is None:
            return ""
        return f", recognised: <em>{html.escape(_words(self.variant))}</em>"

    def _html_details(self) -> str:
        if not self.details:
            return ""
        rows = "".join(
            f"<li>{_rich(label)}: {_rich(text)}</li>" for label, text in self.details
        )
        unfolded = "" if self.passed else " open"
        return (
            f'<details{unfolded} style="margin:0 0 .35em"><summary>Details</summary>'
            f'<ul style="margin:.2em 0">{rows}</ul></details>'
        )

    def _html_link(self) -> str:
        if self.url is None or self.section is None:
            return ""
        page, _, anchor = self.section.partition("#")
        stem = page.rsplit("/", 1)[-1].removesuffix(".html")
        text = html.escape(f"{_words(stem)}: {anchor.replace('-', ' ')}")
        link = html.escape(self.url, quote=True)
        return (
            '<p style="margin:0">Read '
            f'<a href="{link}" style="text-decoration:underline">{text}</a></p>'
        )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _code(text: str) -> str:
    # The theme's own code colours may not fit a notebook's: keep the text's.
    return (
        f'<code style="color:inherit;background:transparent">{html.escape(text)}</code>'
    )


def _rich(text: str) -> str:
    """Escape text and turn `this` into code."""
    pieces = re.split(r"`([^`]+)`", text)
    return "".join(
        _code(piece) if position % 2 else html.escape(piece)
        for position, piece in enumerate(pieces)
    )


def _box_style(verdict: str) -> str:
    return (
        "color:inherit;background:transparent;padding:.6em .9em;margin:.5em 0;"
        "border:1px solid currentColor;border-radius:4px;"
        f"border-left:6px solid {_ACCENT[verdict]};overflow-wrap:anywhere"
    )
