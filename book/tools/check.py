"""Run the stages of `make book` and `make test`, and say at the end what they found.

    python book/tools/check.py STAGE ...     these stages, as `make book` does
    python book/tools/check.py --all         every check, as `make test` does
    python book/tools/check.py --only lint   single checks, with the counts

The first failing stage stops the run. The table of results is printed in any case.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import build
import chromium
import execute
import notebooks
import vendor
from chapters import REPORTS, ROOT, chapters, pages, say

PY = sys.executable
# Two workers on two cores; the property tests use the same seeds on every run.
PARALLEL = ("-n", "2", "--dist", "loadscope")


@dataclasses.dataclass
class Result:
    """What one stage found."""

    stage: str
    code: int
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    note: str = ""


def command(*arguments: str) -> int:
    """Run a command in the root of the repository."""
    env = execute.environment()
    return subprocess.run(arguments, check=False, cwd=ROOT, env=env).returncode


def pytest(name: str, *arguments: str) -> int:
    """Run pytest and keep its report for the counts."""
    report = ROOT / REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    options = ("-q", "--no-header", f"--junitxml={report}", "-o", "junit_family=xunit1")
    return command(PY, "-m", "pytest", *options, *arguments)


def run_lint() -> int:
    """Ruff's rules."""
    return command(PY, "-m", "ruff", "check", ".")


def run_format() -> int:
    """Ruff's format."""
    return command(PY, "-m", "ruff", "format", "--check", ".")


def run_types() -> int:
    """Check the types strictly."""
    return command(PY, "-m", "mypy")


def run_unit() -> int:
    """Unit and property tests, but for those of the built pages."""
    return pytest("unit", "tests", "--ignore=tests/book", *PARALLEL)


def run_shapes() -> int:
    """The tests of the mechanisms with every annotated shape checked in each call."""
    hook = "--jaxtyping-packages=visattn,beartype.beartype"
    marks = "not (bad_input or compiled)"
    return pytest("shapes", "tests/mechanisms", "-m", marks, hook, *PARALLEL)


def run_doctest() -> int:
    """Run the examples in the docstrings."""
    return pytest("doctest", "--doctest-modules", "src/visattn")


def run_fresh() -> int:
    """Check that the committed notebooks are those of the chapters."""
    return notebooks.main(["--check"])


def run_notebooks() -> int:
    """Execute all chapters with nbmake, whatever was executed before."""
    (ROOT / REPORTS / "notebooks.xml").unlink(missing_ok=True)
    if code := execute.main(["--all"]):
        return code
    executed, wanted = count_tests("notebooks")[0], len(chapters())
    if executed != wanted or not wanted:
        say(f"nbmake executed {executed} notebooks, the book has {wanted} chapters")
        return 1
    return 0


def run_pages() -> int:
    """Chapter lint, the tools' own tests, and every page in headless Chromium."""
    if message := chromium.provide():
        say(message)
        return 1
    return pytest("pages", "tests/book")


def write_notebooks() -> int:
    """Write the notebooks that are stale."""
    return notebooks.main([])


def execute_stale() -> int:
    """Execute the chapters that changed."""
    return execute.main([])


STAGES: dict[str, Callable[[], int]] = {
    "vendor": vendor.main,
    "lint": run_lint,
    "format": run_format,
    "types": run_types,
    "unit": run_unit,
    "shapes": run_shapes,
    "doctest": run_doctest,
    "fresh": run_fresh,
    "nbmake": run_notebooks,
    "html": build.main,
    "pages": run_pages,
}
BOOK: dict[str, Callable[[], int]] = {
    "vendor": vendor.main,
    "notebooks": write_notebooks,
    "execute": execute_stale,
    "html": build.main,
}
# stages whose report lies under another name
REPORT_OF = {"nbmake": "notebooks"}


def count_tests(report: str) -> tuple[int, int, int]:
    """Return (passed, failed, skipped) of a pytest report; zeros without one."""
    path = ROOT / REPORTS / f"{report}.xml"
    if not path.exists():
        return 0, 0, 0
    total = failed = skipped = 0
    for suite in ET.parse(path).getroot().iter("testsuite"):
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return total - failed - skipped, failed, skipped


def run(stage: str, work: Callable[[], int]) -> Result:
    """Run one stage and count what it tested.

    A stage that is no pytest run counts as one check. A pytest stage that tested
    nothing has failed.
    """
    started = time.monotonic()
    code = work()
    result = Result(stage, code, time.monotonic() - started)
    tested = stage in ("unit", "shapes", "doctest", "nbmake", "pages")
    if tested:
        counts = count_tests(REPORT_OF.get(stage, stage))
        result.passed, result.failed, result.skipped = counts
    if code and not result.failed:
        result.failed = 1
    elif not code and not tested:
        result.passed = 1
    if stage == "nbmake":
        result.note = f"{result.passed} of {len(chapters())} notebooks executed"
    elif stage == "html":
        built = len(pages()) - len(build.unbuilt())
        result.note = f"{built} of {len(pages())} pages built"
    elif stage == "pages" and not code:
        result.note = f"{len(pages())} pages checked"
    return result


def summary(results: list[Result], planned: list[str]) -> str:
    """Return the table of results; its last line holds the counts."""
    head = f"{'stage':<10}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}"
    lines = ["", head, "-" * len(head)]
    for item in results:
        counts = f"{item.passed:>8}{item.failed:>8}{item.skipped:>9}"
        note = f"  {item.note}" if item.note else ""
        lines.append(f"{item.stage:<10}{counts}{item.seconds:>9.1f}{note}")
    lines += [f"{name:<10}  not run" for name in planned[len(results) :]]
    passed = sum(item.passed for item in results)
    failed = sum(item.failed for item in results)
    skipped = sum(item.skipped for item in results)
    lines += ["-" * len(head), f"{passed} passed, {failed} failed, {skipped} skipped"]
    return "\n".join(lines)


def run_stages(stages: dict[str, Callable[[], int]], counts: bool) -> int:
    """Run stages in order until one fails."""
    results: list[Result] = []
    try:
        for stage, work in stages.items():
            say(f"== {stage}")
            results.append(run(stage, work))
            if results[-1].code:
                break
    finally:
        if counts:
            say(summary(results, list(stages)))
    return next((item.code for item in results if item.code), 0)


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description="Run the stages of the build.")
    parser.add_argument("stages", nargs="*", choices=[[], *BOOK])
    parser.add_argument("--all", action="store_true", help="every check")
    parser.add_argument("--only", nargs="+", choices=list(STAGES), default=[])
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    if options.all:
        shutil.rmtree(ROOT / REPORTS, ignore_errors=True)
    Path(REPORTS).mkdir(parents=True, exist_ok=True)
    if options.all:
        return run_stages(STAGES, counts=True)
    if options.only:
        return run_stages({name: STAGES[name] for name in options.only}, counts=True)
    chosen = options.stages or list(BOOK)
    return run_stages({name: BOOK[name] for name in chosen}, counts=False)


if __name__ == "__main__":
    sys.exit(main())
