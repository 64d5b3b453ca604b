"""Build the HTML from the executed chapters, warnings as errors.

python book/tools/build.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from chapters import HTML, ROOT, chapters, pages, say
from execute import environment, missing


def unbuilt() -> list[str]:
    """Return the pages of the table of contents that have no HTML page."""
    return [page.docname for page in pages() if not page.html.exists()]


def main() -> int:
    """Run Jupyter Book and check that every page is there."""
    started = time.monotonic()
    if names := missing(ROOT, chapters()):
        say(f"not executed yet: {names}; run `make execute`")
        return 1
    program = Path(sys.executable).with_name("jupyter-book")
    command = [str(program), "build", str(ROOT)]
    command += ["-W", "-n", "--keep-going", "-q"]
    say(f"building {len(pages())} pages")
    # warnings come on stderr; stdout holds only banners
    run = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
    )
    if run.returncode:
        # Sphinx would not read these pages again, and so not warn again
        shutil.rmtree(ROOT / "_build" / ".doctrees", ignore_errors=True)
        say("the build failed: every warning above is an error")
        return run.returncode
    if names := unbuilt():
        say(f"no HTML page for {names}")
        return 1
    say(f"built {len(pages())} pages in {time.monotonic() - started:.0f} s")
    say(f"open {ROOT / HTML / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
