"""Write the notebook of every chapter: `chapter.md` -> `chapter.ipynb`.

The notebooks are what Colab opens and what the tests execute. They hold no outputs,
and their code cells equal those of the source. `--check` writes nothing, names the
stale files and exits with 1.

    python book/tools/notebooks.py [--check] [CHAPTER ...]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from chapters import ROOT, Page, chapters, say, select
from plain_markdown import Converter, Index

BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
FOLDED_TAGS = {"solution", "hide-input", "hide-cell", "remove-input"}


def build(page: Page, index: Index) -> dict[str, Any]:
    """Return the notebook of one page in the notebook format 4.5."""
    converter = Converter(index, page)
    source = page.read()
    cells = [_markdown(_badge(page, index))]
    in_solution = False
    for cell in source.cells:
        if cell.cell_type == "markdown":
            in_solution = _inside_solution(cell.source, in_solution)
            text = converter.convert(cell.source)
            if text.strip():
                cells.append(_markdown(text))
            continue
        metadata = _plain(cell.metadata)
        figure = metadata.get("mystnb", {}).get("figure", {})
        cells.append(_code(cell.source, metadata, in_solution))
        if figure.get("caption"):
            cells.append(_markdown(converter.caption(figure)))
    _number_cells(cells)
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": _plain(source.metadata.get("kernelspec", {})),
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def render(page: Page, index: Index) -> str:
    """Return the text of the notebook file."""
    notebook = build(page, index)
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _badge(page: Page, index: Index) -> str:
    badge = f"[![Open in Colab]({BADGE})]({index.colab_url(page.docname)})"
    return f"{badge} · [this chapter in the book]({index.url(page.docname)})"


def _inside_solution(text: str, inside: bool) -> bool:
    """Return whether the cells after this text belong to a solution."""
    starts, ends = text.rfind("{solution-start}"), text.rfind("{solution-end}")
    return inside if starts == ends == -1 else starts > ends


def _plain(value: Any) -> Any:
    """Return notebook nodes as plain dictionaries and lists."""
    return json.loads(json.dumps(value))


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": _lines(text)}


def _code(text: str, metadata: dict[str, Any], in_solution: bool) -> dict[str, Any]:
    if in_solution or FOLDED_TAGS & set(metadata.get("tags", [])):
        # JupyterLab and Colab each have their own mark for a folded cell
        metadata |= {"jupyter": {"source_hidden": True}, "cellView": "form"}
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": metadata,
        "outputs": [],
        "source": _lines(text),
    }


def _number_cells(cells: list[dict[str, Any]]) -> None:
    """Give each cell an id that depends on its content alone.

    A new cell leaves the ids of all others as they are, so that changes stay
    readable.
    """
    seen: dict[str, int] = {}
    for cell in cells:
        content = cell["cell_type"] + "\0" + "".join(cell["source"])
        digest = hashlib.sha256(content.encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell["id"] = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def stale(root: Path = ROOT, names: list[str] | None = None) -> dict[Path, str]:
    """Return path -> right content of every notebook that differs from its source.

    A notebook without a chapter maps to the empty string.
    """
    index = Index(root)
    found = chapters(root)
    wrong = {}
    for page in select(names or [], found):
        text = render(page, index)
        path = page.notebook
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            wrong[path] = text
    if not names:
        wanted = {page.notebook for page in found}
        folder = root / "book"
        for path in folder.rglob("*.ipynb"):
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if path not in wanted and "node_modules" not in path.parts and not hidden:
                wrong[path] = ""
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """Write the stale notebooks, or name them with `--check`."""
    parser = argparse.ArgumentParser(description="Generate the notebooks.")
    parser.add_argument("chapters", nargs="*", help="stems; all when left out")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    wrong = stale(options.root, options.chapters)
    for path, text in sorted(wrong.items()):
        name = path.relative_to(options.root)
        if options.check:
            say(f"stale: {name}" + ("" if text else " (no such chapter)"))
        elif text:
            path.write_text(text, encoding="utf-8")
            say(f"written: {name}")
        else:
            say(f"left alone: {name} (no chapter of _toc.yml; remove it by hand)")
    if options.check and wrong:
        say("run `make notebooks` and commit the result")
    count = len(chapters(options.root))
    if not wrong:
        say(f"notebooks: {count} up to date")
    return int(options.check and bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
