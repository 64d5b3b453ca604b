"""The build: what depends on what, one execution per chapter, honest counts."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import nbformat
import pytest
from sphinx.errors import ExtensionError

import chapters
import check
import chromium
import dependencies
import execute
import sphinx_outputs
import vendor
from dependencies import Package, chapter_code

MODULES = {
    "__init__.py": """
        _EXPORTS = {"one": "pack.low.one", "two": "pack.low.two"}
        def __getattr__(name): return import_module(_EXPORTS[name])
    """,
    "low/__init__.py": "",
    "low/one.py": "from . import shared\nfrom typing import TYPE_CHECKING\n"
    "if TYPE_CHECKING:\n    from pack.low import two\n",
    "low/two.py": "from pack.low.one import something\n",
    "low/shared.py": "import torch\n",
    "lab/__init__.py": "from pack.lab.data import load\n",
    "lab/data.py": "def load(): ...\n",
    "lab/assets/photo.txt": "a picture",
    "drills/__init__.py": "import importlib, pkgutil\n"
    "def check(name): importlib.import_module(f'{__name__}.{name}')\n",
    "drills/first.py": "import pack.low.one\nEXERCISE = dict(name='add')\n",
    "drills/second.py": "import pack.low.two\nEXERCISE = dict(name='times')\n",
}


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A small package with every form that the analysis understands."""
    folder = tmp_path / "pack"
    for name, text in MODULES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (line.removeprefix("        ") for line in text.split("\n"))
        path.write_text("\n".join(lines), encoding="utf-8")
    return Package(folder)


def needs(package: Package, *cells: str) -> set[str]:
    return {
        name.removeprefix("pack.")
        for name in package.closure(chapter_code("chapter", cells))
    } - {"pack"}


LOW_ONE = {"low", "low.one", "low.shared"}
LOW_TWO = LOW_ONE | {"low.two"}


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("x = 1", set()),
        ("import numpy", set()),
        ("import pack", set()),
        ("from pack import one", LOW_ONE),
        ("from pack import two as too", LOW_TWO),
        ("import pack\npack.one()", LOW_ONE),
        ("import pack as p\np.two()", LOW_TWO),
        ("from pack import *", LOW_TWO),
        ("from pack.low import one", LOW_ONE),
        ("from pack.low.shared import f", {"low", "low.shared"}),
        ("import pack.low.two", LOW_TWO),
        ("def f():\n    from pack import one", LOW_ONE),
        ("try:\n    import pack\nexcept ImportError:\n    %pip install pack", set()),
        ("from pack.lab import load", {"lab", "lab.data"}),
        ("name = 'pack.low.one'", LOW_ONE),
        ("from pack.drills import check", {"drills"}),
        (
            "from pack.drills import check\ncheck('add')",
            {"drills", "drills.first"} | LOW_ONE,
        ),
        (
            "from pack.drills import check\ncheck('times')",
            {"drills", "drills.second"} | LOW_TWO,
        ),
    ],
)
def test_what_a_chapter_depends_on(
    cell: str, expected: set[str], package: Package
) -> None:
    assert needs(package, cell) == expected


def test_an_import_by_a_computed_name_depends_on_everything(package: Package) -> None:
    cell = "import importlib\nimportlib.import_module(name)"
    assert needs(package, cell) == {
        name.removeprefix("pack.") for name in package.files
    } - {"pack"}


def test_a_new_entry_of_a_lazy_table_changes_nothing(package: Package) -> None:
    before = package.digest("pack")
    path = package.files["pack"]
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("{", '{"new": "pack.low.shared", ', 1), "utf-8")
    assert Package(package.folder).digest("pack") == before
    path.write_text(text + "\nflag = 1\n", "utf-8")
    assert Package(package.folder).digest("pack") != before


@pytest.mark.parametrize("changed", ["lab/assets/photo.txt", "lab/__init__.py"])
def test_data_files_count_for_their_package(changed: str, package: Package) -> None:
    names = ("pack", "pack.low", "pack.lab")
    before = {name: package.digest(name) for name in names}
    path = package.folder / changed
    path.write_text(path.read_text(encoding="utf-8") + "\n#", encoding="utf-8")
    after = {name: Package(package.folder).digest(name) for name in names}
    assert [name for name in names if before[name] != after[name]] == ["pack.lab"]


def test_data_files_of_a_nested_package_are_not_the_parent_s(package: Package) -> None:
    assert dependencies.data_files(package.folder) == []


def test_the_reason_for_a_new_run_is_named() -> None:
    old = {"code": "1", "pack.low.one": "2", "version torch": "3"}
    assert execute.difference(None, old) == "not executed yet"
    assert execute.difference(old, dict(old)) == ""
    assert execute.difference(old, old | {"pack.low.one": "4"}) == "pack.low.one"
    assert execute.difference({}, old | {"z": ""}).endswith("and 1 more")


SOURCE = """---
jupytext:
  text_representation: {extension: .md, format_name: myst, format_version: 0.13}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
# A chapter

```{code-cell} ipython3
1 + 1
```

Text.

```{code-cell} ipython3
:tags: [two]
2 + 2
```
"""


@pytest.fixture
def page(tmp_path: Path) -> chapters.Page:
    """A chapter with its executed copy, in a book of one page."""
    (tmp_path / "_config.yml").write_text("parse: {}\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/a\n")
    page = chapters.Page(tmp_path, "book/a", None)
    page.source.parent.mkdir()
    page.source.write_text(SOURCE)
    write_executed(page, ["1 + 1", "2 + 2"])
    return page


def write_executed(page: chapters.Page, cells: list[str]) -> None:
    made = nbformat.v4.new_notebook(metadata={"language_info": {"name": "python"}})
    for count, cell in enumerate(cells, 1):
        output = nbformat.v4.new_output("stream", name="stdout", text=f"{count}")
        made.cells.append(
            nbformat.v4.new_code_cell(cell, execution_count=count, outputs=[output])
        )
    page.executed.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(made, page.executed)


def test_the_build_finds_the_outputs_of_nbmake(page: chapters.Page) -> None:
    assert execute.missing(page.root, [page]) == ["book/a"]
    execute.fill_cache(page.root, [page])
    assert execute.missing(page.root, [page]) == []
    texts = [
        cell.outputs[0].text
        for cell in execute.outputs_of(page).cells
        if cell.cell_type == "code"
    ]
    assert texts == ["1", "2"]


def test_other_code_has_no_outputs(page: chapters.Page) -> None:
    execute.fill_cache(page.root, [page])
    page.source.write_text(SOURCE.replace("2 + 2", "2 + 3"))
    changed = chapters.Page(page.root, page.docname, None)
    assert execute.missing(page.root, [changed]) == ["book/a"]
    with pytest.raises(ValueError, match=r"a\.ipynb is not what book/a\.md gives"):
        execute.outputs_of(changed)


def test_a_cell_that_was_not_executed_is_refused(page: chapters.Page) -> None:
    made = nbformat.read(page.executed, 4)
    made.cells[1].execution_count = None
    nbformat.write(made, page.executed)
    with pytest.raises(ValueError, match=r"a cell was not executed: 2 \+ 2"):
        execute.outputs_of(page)


def test_only_passed_chapters_are_kept(page: chapters.Page) -> None:
    report = page.root / execute.REPORT
    report.parent.mkdir(parents=True)
    case = f'<testcase file="{execute.EXECUTED}/book/a.ipynb" name="a">'
    report.write_text(f"<testsuite>{case}</testcase></testsuite>")
    assert execute.passed(page.root, [page]) == [page]
    report.write_text(f"<testsuite>{case}<failure/></testcase></testsuite>")
    assert execute.passed(page.root, [page]) == []


def test_the_build_executes_nothing() -> None:
    with pytest.raises(ExtensionError, match="make execute"):
        sphinx_outputs.refuse()


def test_signatures_of_several_lines_are_no_definition_list() -> None:
    markup = "<dt><dl>\n<dd>x,</dd>\n</dl></dt>"
    made = sphinx_outputs.mend_signature(markup)
    assert "<d" not in made.replace("<dt>", "")
    assert '<span class="sig-line">x,</span>' in made


def suite(path: Path, tests: int, failures: int, errors: int, skipped: int) -> None:
    root = ET.Element("testsuites")
    counts = {"tests": tests, "failures": failures, "errors": errors}
    attributes = counts | {"skipped": skipped}
    text = {name: str(value) for name, value in attributes.items()}
    ET.SubElement(root, "testsuite", text)
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(root).write(path)


def test_counts_come_from_the_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "ROOT", tmp_path)
    assert check.count_tests("unit") == (0, 0, 0)
    suite(tmp_path / check.REPORTS / "unit.xml", 10, 1, 2, 3)
    assert check.count_tests("unit") == (4, 3, 3)


def test_the_first_failing_stage_stops_and_the_summary_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran = []

    def work(name: str, code: int) -> int:
        ran.append(name)
        return code

    stages = {
        "lint": lambda: work("lint", 0),
        "types": lambda: work("types", 3),
        "fresh": lambda: work("fresh", 0),
    }
    assert check.run_stages(stages, counts=True) == 3
    assert ran == ["lint", "types"]
    lines = capsys.readouterr().out.strip().split("\n")
    assert lines[-1] == "1 passed, 1 failed, 0 skipped"
    assert any(line.split() == ["fresh", "not", "run"] for line in lines)


def test_no_chromium_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
    assert chromium.find() is None
    assert "Install the package `chromium`" in chromium.provide()


def test_vendored_versions_are_those_of_the_lock_file() -> None:
    lock = json.loads((vendor.SOURCE / "package-lock.json").read_text("utf-8"))
    wanted = json.loads((vendor.SOURCE / "package.json").read_text("utf-8"))
    for name, version in wanted["dependencies"].items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
    assert not any("resolved" in entry for entry in lock["packages"].values())
    assert set(vendor.COPIES) == set(wanted["dependencies"])
