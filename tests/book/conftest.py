"""Shared by the tests of the book: the tools' folder, a server, one browser."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = str(ROOT / "book" / "tools")
if TOOLS not in sys.path:  # the tools are plain scripts, not a package
    sys.path.insert(0, TOOLS)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """One headless Chromium for the whole run."""
    from browser import launch

    with launch() as started:
        yield started


@pytest.fixture(scope="session")
def site(root: Path) -> Iterator[str]:
    """The address of the built book, served from this machine."""
    from browser import serve

    html = root / "_build" / "html"
    if not (html / "index.html").exists():
        pytest.fail("no built book in _build/html; run `make book` first")
    with serve(html) as address:
        yield address


@pytest.fixture(scope="session")
def visitor(root: Path, site: str, chromium: object) -> object:
    """Visits the pages of the book; leaves screenshots in _build/screenshots."""
    from browser import Visitor

    shots = root / "_build" / "screenshots"
    return Visitor(chromium, site, root / "_build" / "html", shots)
