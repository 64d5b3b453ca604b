"""The book as data: its settings, its table of contents and its chapters.

Every other tool asks this module where a page lies, which pages hold code and in
which order and with which number they appear.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import yaml
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig

ROOT = Path(__file__).resolve().parents[2]
# nbmake refuses every path with `_build` in it, so executed copies lie beside it.
EXECUTED = "_executed"
REPORTS = "_build/reports"
HTML = "_build/html"


@dataclasses.dataclass(frozen=True)
class Page:
    """One page of the book: its source and its place in the table of contents."""

    root: Path
    docname: str  # path below the root, without suffix
    number: int | None  # chapter number; None in an unnumbered part

    @property
    def source(self) -> Path:
        """The MyST source."""
        return self.root / f"{self.docname}.md"

    @property
    def notebook(self) -> Path:
        """The committed notebook beside the source."""
        return self.root / f"{self.docname}.ipynb"

    @property
    def executed(self) -> Path:
        """The copy that is executed."""
        return self.root / EXECUTED / f"{self.docname}.ipynb"

    @property
    def html(self) -> Path:
        """The built page."""
        return self.root / HTML / f"{self.docname}.html"

    @functools.cached_property
    def text(self) -> str:
        """The source text."""
        return self.source.read_text(encoding="utf-8")

    @property
    def has_code(self) -> bool:
        """Whether the page is a notebook, so that it is executed."""
        return bool(is_myst_markdown_notebook(self.text))

    def read(self) -> nbformat.NotebookNode:
        """Read the source as a notebook, by the reader that the build uses too."""
        return read_myst(self.text, settings(self.root), self.source)


def read_myst(
    text: str, config: dict[str, Any], path: Path | None = None
) -> nbformat.NotebookNode:
    """Read MyST text as a notebook with the syntax extensions of the book."""
    extensions = config.get("parse", {}).get("myst_enable_extensions", [])
    syntax = MdParserConfig(enable_extensions=set(extensions))
    notebook: nbformat.NotebookNode = read_myst_markdown_notebook(
        text, config=syntax, add_source_map=True, path=path
    )
    return notebook


def settings(root: Path = ROOT) -> dict[str, Any]:
    """Return the content of `_config.yml`."""
    loaded: dict[str, Any] = yaml.safe_load(
        (root / "_config.yml").read_text(encoding="utf-8")
    )
    return loaded


def _entries(
    entries: list[dict[str, Any]], numbered: bool
) -> Iterator[tuple[str, bool, bool]]:
    """Yield (file, numbered, is a chapter of the top level), depth first."""
    for entry in entries:
        if "file" in entry:
            yield entry["file"], numbered, True
        for below in ("sections", "entries", "chapters"):
            for name, _, _ in _entries(entry.get(below, []), numbered):
                yield name, numbered, False
        for subtree in entry.get("subtrees", []):
            for below in ("sections", "entries", "chapters"):
                for name, _, _ in _entries(subtree.get(below, []), numbered):
                    yield name, numbered, False


def pages(root: Path = ROOT) -> list[Page]:
    """Return every page of `_toc.yml` in reading order.

    Raises:
        ValueError: a page of the table of contents does not exist.
    """
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    parts = toc.get("parts", [{"chapters": toc.get("chapters", [])}])
    found = [Page(root, _docname(toc["root"]), None)]
    number = 0
    for part in parts:
        numbered = bool(part.get("numbered", False))
        for file, counts, top in _entries(part.get("chapters", []), numbered):
            number += int(counts and top)
            found.append(Page(root, _docname(file), number if counts else None))
    missing = [f"{page.docname}.md" for page in found if not page.source.exists()]
    if missing:
        raise ValueError(f"_toc.yml names pages that do not exist: {missing}")
    return found


def chapters(root: Path = ROOT) -> list[Page]:
    """Return the pages that hold code."""
    return [page for page in pages(root) if page.has_code]


def _docname(file: str) -> str:
    return re.sub(r"\.(md|rst|ipynb)$", "", file)


def select(names: list[str], candidates: list[Page]) -> list[Page]:
    """Return the pages with these names: a stem, a document name or a path.

    Raises:
        ValueError: a name fits no page.
    """
    if not names:
        return candidates
    chosen = []
    for name in names:
        wanted = _docname(name)
        fits = [
            page
            for page in candidates
            if wanted in (page.docname, Path(page.docname).name)
        ]
        if not fits:
            known = [page.docname for page in candidates]
            raise ValueError(f"no chapter {name!r}; known are {known}")
        chosen += [page for page in fits if page not in chosen]
    return chosen


def say(text: str = "") -> None:
    """Print one line at once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
