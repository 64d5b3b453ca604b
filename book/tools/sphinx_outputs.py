"""A Sphinx extension: pages show what nbmake executed, and nothing runs twice.

- A chapter without outputs in the cache stops the build; it is never executed here.
- A chapter whose outputs are new is read again, also when its text is not.
- The reference shows signatures with shapes.
- Two faults of the generated HTML are mended.
- Scripts of a service that the book does not use are left out.
- Changed style sheets and scripts are copied, also when no page has changed.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any, NoReturn

from myst_nb.core.execute import cache as myst_cache
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.pycode import ModuleAnalyzer

from chapters import chapters
from execute import executed_digest, missing


def refuse(*_: Any, **__: Any) -> NoReturn:
    """Stand where myst-nb would execute a notebook during the build."""
    raise ExtensionError(
        "a chapter would be executed by the build itself; run `make execute` first"
    )


def check_outputs(app: Sphinx) -> None:
    """Stop at once when the outputs of a chapter are not in the cache."""
    root = Path(app.srcdir)
    if names := missing(root, chapters(root)):
        raise ExtensionError(f"no outputs for {names}; run `make execute` first")


def digests(root: Path, static: list[str]) -> dict[str, str]:
    """Return docname -> digest of its outputs, and one digest of all static files."""
    found = {page.docname: executed_digest(page) for page in chapters(root)}
    digest = hashlib.sha256()
    for folder in static:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file():
                digest.update(os.path.relpath(path, root).encode())
                digest.update(path.read_bytes())
    return found | {"": digest.hexdigest()}


def outdated(
    app: Sphinx,
    env: BuildEnvironment,
    added: set[str],
    changed: set[str],
    removed: set[str],
) -> list[str]:
    """Name the pages to read again because something beside their text is new."""
    now = digests(Path(app.srcdir), app.config.html_static_path)
    before = getattr(env, "visattn_digests", {})
    env.visattn_digests = now  # type: ignore[attr-defined]
    again = {name for name, digest in now.items() if before.get(name) != digest}
    if "" in again:
        # Static files: Sphinx copies them only when it writes a page; one will do.
        again = again - {""} | {app.config.root_doc}
    if again or added or changed or removed:
        # A bibliography lists what other pages cite.
        again |= {name for name in env.found_docs if name.endswith("/bibliography")}
    entries = bibliography_digest(app)
    if entries != getattr(env, "visattn_bibliography", None):
        again |= env.found_docs  # the links into it are numbered
    env.visattn_bibliography = entries  # type: ignore[attr-defined]
    return sorted(again)


def bibliography_digest(app: Sphinx) -> str:
    """Return the digest of the bibliography's source."""
    digest = hashlib.sha256()
    for name in app.config.bibtex_bibfiles:
        digest.update((Path(app.srcdir) / name).read_bytes())
    return digest.hexdigest()


def drop_thebe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Leave out scripts we do not use; they fail ("already declared") on each page."""
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if "thebe" not in f"{script}{getattr(script, 'attributes', '')}".lower()
    ]


def mend_markup(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Mend two faults of the generated HTML that screen readers stumble over.

    A signature of several lines is a `<dl>` of `<dd>` alone, and the entries of a
    bibliography are no items of the list they stand in.
    """
    body = str(context.get("body", ""))
    body = body.replace('role="doc-biblioentry"', 'role="listitem"')
    context["body"] = re.sub(
        r'<dt class="sig.*?</dt>', lambda sig: mend_signature(sig[0]), body, flags=re.S
    )


def mend_signature(markup: str) -> str:
    """Return a signature with its parameters as plain lines."""
    for old, new in (("dl", "sig-lines"), ("dd", "sig-line")):
        markup = markup.replace(f"<{old}>", f'<span class="{new}">')
        markup = markup.replace(f"</{old}>", "</span>")
    return markup


def hide_overloads() -> None:
    """Let the reference show the signature with the shapes, not its overloads."""
    analyze = ModuleAnalyzer.analyze

    def without_overloads(self: ModuleAnalyzer) -> None:
        analyze(self)
        self.overloads = {}

    ModuleAnalyzer.analyze = without_overloads  # type: ignore[method-assign]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the parts."""
    myst_cache.single_nb_execution = refuse
    hide_overloads()
    app.connect("builder-inited", check_outputs)
    app.connect("env-get-outdated", outdated)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", mend_markup, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
