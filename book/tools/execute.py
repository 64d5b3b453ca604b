"""Execute the chapters once, and hand their outputs to the build.

nbmake runs copies of the committed notebooks below `_executed/`. Their outputs go into
the cache that the build reads, under the very code the build will look for; so the
build executes nothing (`sphinx_outputs.py` makes it fail if it would).

A chapter is stale when its code, a module of the package it depends on
(`dependencies.py`), or one of the versions below has changed.

    python book/tools/execute.py [--all] [--list] [CHAPTER ...]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn

from chapters import EXECUTED, REPORTS, ROOT, Page, chapters, say, select, settings
from dependencies import Package, chapter_code

CACHE = "_build/.jupyter_cache"
KEYS = f"{EXECUTED}/keys.json"
REPORT = f"{REPORTS}/notebooks.xml"
VERSIONED = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "matplotlib",
    "pillow",
    "ipywidgets",
    "ipykernel",
)
WORKERS = 2
# One thread per worker: two workers on two cores, and the same sums on every machine.
QUIET = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


# No controls that need a kernel, and links of the checker relative to a chapter's page.
STATIC_PAGE = {"VISATTN_STATIC": "1", "VISATTN_BOOK_ROOT": ".."}


def environment() -> dict[str, str]:
    """Return the environment of every stage that runs our code."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | QUIET | {"PATH": path}


def versions() -> dict[str, str]:
    """Return the versions that decide what a chapter prints and draws."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found


def key(page: Page, package: Package, installed: dict[str, str]) -> dict[str, str]:
    """Return everything that decides the outputs of a chapter, as digests."""
    notebook = page.read()
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    kernel = json.dumps(notebook.metadata.get("kernelspec", {}), sort_keys=True)
    code = hashlib.sha256("\0".join([kernel, *cells]).encode()).hexdigest()
    parts = {f"version {name}": version for name, version in installed.items()}
    modules = package.closure(chapter_code(page.docname, cells))
    return parts | {"code": code} | {name: package.digest(name) for name in modules}


def difference(old: dict[str, str] | None, new: dict[str, str]) -> str:
    """Say in a few words why a chapter is stale; nothing when it is not."""
    if old is None:
        return "not executed yet"
    changed = sorted(
        name for name in old.keys() | new.keys() if old.get(name) != new.get(name)
    )
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return ", ".join(changed[:3]) + more


def read_keys(root: Path) -> dict[str, dict[str, str]]:
    """Return the keys of the chapters executed so far."""
    path = root / KEYS
    loaded: dict[str, dict[str, str]] = (
        json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    )
    return loaded


def write_keys(root: Path, keys: dict[str, dict[str, str]]) -> None:
    """Remember the keys."""
    path = root / KEYS
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(keys, indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def warm_fonts(root: Path) -> None:
    """Build the font cache of matplotlib, which talks on stderr when it is new."""
    subprocess.run(
        [sys.executable, "-c", "import matplotlib.pyplot"],
        check=True,
        cwd=root,
        env=environment(),
        stderr=subprocess.DEVNULL,
    )


def run_nbmake(root: Path, todo: list[Page]) -> int:
    """Execute the copies with nbmake and return its exit code."""
    for page in todo:
        page.executed.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page.notebook, page.executed)
    (root / REPORTS).mkdir(parents=True, exist_ok=True)
    (root / REPORT).unlink(missing_ok=True)
    limit = settings(root).get("execute", {}).get("timeout", 300)
    command = [
        sys.executable,
        *("-m", "pytest", "--nbmake", "--overwrite", f"--nbmake-timeout={limit}"),
        *("-p", "progress", "-p", "no:cacheprovider", "--no-header", "-q"),
        *("-n", str(min(WORKERS, len(todo))), "--dist", "load", "--maxschedchunk=1"),
        *(f"--junitxml={root / REPORT}", "-o", "junit_family=xunit1"),
        f"--rootdir={root}",
        *(str(page.executed) for page in todo),
    ]
    tools = str(Path(__file__).parent)
    paths = [tools, os.environ.get("PYTHONPATH", "")]
    python_path = os.pathsep.join(filter(None, paths))
    env = environment() | STATIC_PAGE | {"PYTHONPATH": python_path}
    return subprocess.run(command, check=False, cwd=root, env=env).returncode


def passed(root: Path, done: list[Page]) -> list[Page]:
    """Return the chapters that nbmake reports as passed."""
    path = root / REPORT
    if not path.exists():
        return []
    cases = ET.parse(path).getroot().iter("testcase")
    good = {str(case.get("file")) for case in cases if len(case) == 0}
    return [page for page in done if str(page.executed.relative_to(root)) in good]


def outputs_of(page: Page) -> nbformat.NotebookNode:
    """Return the source as the build reads it, with the outputs of the executed copy.

    Raises:
        ValueError: source and copy differ in code, or a cell was not executed.
    """
    source = page.read()
    executed = nbformat.read(page.executed, 4)
    wanted = [cell for cell in source.cells if cell.cell_type == "code"]
    cells = [cell for cell in executed.cells if cell.cell_type == "code"]
    if [cell.source for cell in wanted] != [cell.source for cell in cells]:
        name = page.notebook.name
        raise ValueError(f"{name} is not what {page.docname}.md gives: make notebooks")
    for cell, done in zip(wanted, cells, strict=True):
        if done.execution_count is None and cell.source.strip():
            raise ValueError(f"{page.docname}: a cell was not executed: {cell.source}")
        cell.outputs = done.outputs
        cell.execution_count = done.execution_count
    for name in ("language_info", "widgets"):
        if name in executed.metadata:
            source.metadata[name] = executed.metadata[name]
    return source


def executed_digest(page: Page) -> str:
    """Return a digest of the executed copy: it changes when outputs may have."""
    if not page.executed.exists():
        return ""
    return hashlib.sha256(page.executed.read_bytes()).hexdigest()


def fill_cache(root: Path, done: list[Page]) -> None:
    """Write the outputs of the chapters into the cache that the build reads."""
    shutil.rmtree(root / CACHE, ignore_errors=True)
    cache = get_cache(root / CACHE)
    for page in done:
        bundle = CacheBundleIn(outputs_of(page), str(page.source), data={})
        cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    close_cache(cache)


def missing(root: Path, wanted: list[Page]) -> list[str]:
    """Return the chapters whose outputs the build would not find."""
    cache = get_cache(root / CACHE)
    names = []
    for page in wanted:
        try:
            cache.match_cache_notebook(page.read())
        except KeyError:
            names.append(page.docname)
    close_cache(cache)
    return names


def close_cache(cache: Any) -> None:
    """Close the database of the cache; it has no method of its own for that."""
    cache.db.dispose()


def plan(root: Path, everything: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the present key of each chapter, and why each stale one is stale."""
    package = Package(root / "src" / "visattn")
    installed = versions()
    old = read_keys(root)
    keys = {page.docname: key(page, package, installed) for page in chapters(root)}
    reasons = {}
    for page in chapters(root):
        before = old.get(page.docname) if page.executed.exists() else None
        why = difference(before, keys[page.docname])
        if everything or why:
            reasons[page.docname] = "asked for" if everything else why
    return keys, reasons


def main(arguments: list[str] | None = None) -> int:
    """Execute what is stale, then fill the cache of the build."""
    parser = argparse.ArgumentParser(description="Execute the chapters.")
    parser.add_argument("chapters", nargs="*", help="stems; all when left out")
    parser.add_argument("--all", action="store_true", help="also what is fresh")
    parser.add_argument("--list", action="store_true", help="name stale chapters only")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    root: Path = options.root
    known = chapters(root)
    chosen = {page.docname for page in select(options.chapters, known)}
    keys, reasons = plan(root, options.all)
    todo = [page for page in known if page.docname in reasons.keys() & chosen]
    for page in todo:
        say(f"  {Path(page.docname).name}: {reasons[page.docname]}")
    say(f"chapters to execute: {len(todo)} of {len(known)}")
    if options.list:
        return 0
    kept = read_keys(root)
    code = 0
    if todo:
        started = time.monotonic()
        warm_fonts(root)
        write_keys(root, {name: kept[name] for name in kept.keys() - reasons.keys()})
        code = run_nbmake(root, todo)
        todo = passed(root, todo)
        say(f"executed {len(todo)} chapters in {time.monotonic() - started:.0f} s")
    now = {name: kept[name] for name in kept.keys() & keys.keys() - reasons.keys()}
    now |= {page.docname: keys[page.docname] for page in todo}
    if code:
        write_keys(root, now)
        say("a chapter failed; nothing is built")
        return code
    fill_cache(root, [page for page in known if page.docname in now])
    write_keys(root, now)  # the last step: what the cache refuses is not up to date
    return 0


if __name__ == "__main__":
    sys.exit(main())
