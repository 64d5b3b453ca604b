"""The generator of the notebooks: every piece of MyST becomes plain Markdown."""

import json
import shutil
from pathlib import Path
from textwrap import dedent

import nbformat
import pytest

import notebooks
from chapters import ROOT, Page, chapters, pages
from plain_markdown import Converter, Index, blocks

BOOK = "https://example.org/book"
REPOSITORY = "https://github.com/someone/something"
CONFIG = f"""
repository: {{url: "{REPOSITORY}", branch: main}}
html: {{baseurl: "{BOOK}/"}}
bibtex_bibfiles: [book/references.bib]
parse: {{myst_enable_extensions: [colon_fence, dollarmath, amsmath]}}
"""
TOC = """
format: jb-book
root: book/index
parts:
  - caption: Before
    chapters:
      - file: book/notation
  - caption: Foundations
    numbered: 1
    chapters:
      - file: book/part/one
      - file: book/part/two
"""
REFERENCES = """
@article{one2017, author = {One, Ada}, title = {A}, year = {2017},
  url = {https://example.org/a}}
@article{two2018, author = {One, Ada and Two, Bo}, title = {B}, year = {2018},
  eprint = {1801.00001}}
@article{many2019, author = {One, Ada and Two, Bo and Three, Cy}, title = {C},
  year = {2019}}
"""
HEADER = """---
jupytext:
  text_representation: {extension: .md, format_name: myst, format_version: 0.13}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
"""
ONE = (
    HEADER
    + '''
(chapter-one)=
# Chapter one

% a comment

```{math}
:label: eq-first
a = b
```

```{code-cell} ipython3
:tags: [setup]
x = 1
```

(sec-inside)=
## A section

$$
c = d
$$ (eq-second)

````{prf:theorem} Convex
:label: thm-convex
Rows sum to one.
````

```{code-cell} ipython3
---
mystnb:
  figure: {name: fig-cell, caption: "What {eq}`eq-first` draws."}
---
x + 1
```

```{figure} ../static/picture.png
:name: fig-file
:alt: A picture
The caption.
```

```{exercise} Title
:label: ex-one
Write it.
```

```{solution-start} ex-one
:class: dropdown
```

```{code-cell} ipython3
"""the solution"""
```

```{solution-end}
```
'''
)
TWO = (
    HEADER
    + """
# Chapter two

```{math}
:label: eq-other
e = f
```

```{code-cell} ipython3
y = 2
```
"""
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small book of its own."""
    files = {
        "_config.yml": CONFIG,
        "_toc.yml": TOC,
        "book/references.bib": REFERENCES,
        "book/index.md": "# The book\n",
        "book/notation.md": "# Notation\n\n(sec-shapes)=\n## Shapes\n",
        "book/part/one.md": ONE,
        "book/part/two.md": TWO,
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def page(root: Path) -> Page:
    return next(page for page in chapters(root) if page.docname == "book/part/one")


@pytest.fixture
def converter(root: Path, page: Page) -> Converter:
    return Converter(Index(root), page)


ONE_URL = f"{BOOK}/book/part/one.html"
CASES = {
    "note": ("```{note}\nText.\n```", "> **Note**\n>\n> Text."),
    "note on one line": ("```{note} Text.\n```", "> **Note**\n>\n> Text."),
    "titled admonition": (
        "```{admonition} Why *so*\nText.\n```",
        "> **Why *so***\n>\n> Text.",
    ),
    "colon fence": (":::{tip}\nText.\n:::", "> **Tip**\n>\n> Text."),
    "nested": (
        "````{warning}\n```{math}\n:label: eq-first\na = b\n```\n````",
        "> **Warning**\n>\n> $$\n> a = b \\tag{1.1}\n> $$",
    ),
    "dropdown class": (
        "```{admonition} Hint\n:class: dropdown tip\nText.\n```",
        "<details>\n<summary>Hint</summary>\n\nText.\n\n</details>",
    ),
    "dropdown": (
        "```{dropdown} More\nText.\n```",
        "<details>\n<summary>More</summary>\n\nText.\n\n</details>",
    ),
    "exercise": (
        "```{exercise} ⭐ Title\n:label: ex-one\nWrite.\n```",
        "**Exercise 1.1. ⭐ Title**\n\nWrite.",
    ),
    "solution": (
        "```{solution} ex-one\nDone.\n```",
        "<details>\n<summary>Solution to Exercise 1.1</summary>\n\nDone.\n\n</details>",
    ),
    "solution around cells": (
        "```{solution-start} ex-one\n:class: dropdown\n```",
        "**Solution to Exercise 1.1** "
        "(the code is folded; open it when you have tried)",
    ),
    "end of a solution": ("```{solution-end}\n```", ""),
    "theorem": (
        "```{prf:theorem} Convex\n:label: thm-convex\nRows.\n```",
        "> **Theorem 1.1 (Convex).**\n>\n> Rows.",
    ),
    "proof": ("```{prf:proof}\nClear.\n```", "> **Proof.**\n>\n> Clear."),
    "labelled mathematics": (
        "```{math}\n:label: eq-first\na = b\n```",
        "$$\na = b \\tag{1.1}\n$$",
    ),
    "mathematics of two lines": (
        "```{math}\n:label: eq-first\na &= b \\\\\nc &= d\n```",
        "$$\n\\begin{aligned}\na &= b \\\\\nc &= d\n\\end{aligned} \\tag{1.1}\n$$",
    ),
    "dollars with a label": ("$$\nc = d\n$$ (eq-second)", "$$\nc = d \\tag{1.2}\n$$"),
    "dollars without": ("$$\nc = d\n$$", "$$\nc = d\n$$"),
    "figure": (
        "```{figure} ../static/p.png\n:name: fig-file\n:alt: A picture\nCaption.\n```",
        "![A picture](https://raw.githubusercontent.com/someone/something/main/"
        "book/static/p.png)\n\n*Figure 1.2. Caption.*",
    ),
    "image": (
        "```{image} /book/static/p.png\n:alt: A picture\n```",
        "![A picture](https://raw.githubusercontent.com/someone/something/main/"
        "book/static/p.png)",
    ),
    "list table": (
        "```{list-table}\n:header-rows: 1\n* - a\n  - b\n* - c\n  - d\n    e\n```",
        "| a | b |\n| --- | --- |\n| c | d e |",
    ),
    "table": (
        "```{table} A title\n| a |\n|---|\n```",
        "*Table. A title*\n\n| a |\n|---|",
    ),
    "label": ("(sec-inside)=\n## A section", "## A section"),
    "comment": ("% hidden\nshown", "shown"),
    "dropped": ("```{raw} html\n<b>x</b>\n```\nrest", "rest"),
    "verbatim code": ("```python\n{eq}`x`\n```", "```python\n{eq}`x`\n```"),
    "code block": ("```{code-block} python\nx = 1\n```", "```python\nx = 1\n```"),
    "in a list": (
        "- item\n\n  ```{note}\n  Text.\n  ```",
        "- item\n\n  > **Note**\n  >\n  > Text.",
    ),
    "equation here": ("see {eq}`eq-first`", "see (1.1)"),
    "equation elsewhere": (
        "see {eq}`eq-other`",
        f"see [(2.1)]({BOOK}/book/part/two.html#eq-other)",
    ),
    "numref": (
        "{numref}`fig-cell` and {numref}`Fig. %s <fig-file>`",
        f"[Figure 1.1]({ONE_URL}#fig-cell) and [Fig. 1.2]({ONE_URL}#fig-file)",
    ),
    "ref": (
        "{ref}`sec-inside`, {ref}`here <sec-inside>`, {ref}`ex-one`",
        f"[A section]({ONE_URL}#sec-inside), [here]({ONE_URL}#sec-inside), "
        f"[Exercise 1.1]({ONE_URL}#ex-one)",
    ),
    "prf:ref": ("{prf:ref}`thm-convex`", f"[Theorem 1.1]({ONE_URL}#thm-convex)"),
    "doc": ("{doc}`../notation`", f"[Notation]({BOOK}/book/notation.html)"),
    "link to a label": (
        "[](sec-shapes) and [words](sec-shapes)",
        f"[Shapes]({BOOK}/book/notation.html#sec-shapes) and "
        f"[words]({BOOK}/book/notation.html#sec-shapes)",
    ),
    "link to a page": (
        "[](../notation.md) and [words](two.md#part)",
        f"[Notation]({BOOK}/book/notation.html) and "
        f"[words]({BOOK}/book/part/two.html#part)",
    ),
    "outside link": ("[x](https://example.org)", "[x](https://example.org)"),
    "cite in a sentence": (
        "{cite:t}`one2017` and {cite:t}`two2018`",
        "[One (2017)](https://example.org/a) and "
        "[One and Two (2018)](https://arxiv.org/abs/1801.00001)",
    ),
    "cite in brackets": (
        "{cite:p}`one2017,many2019`",
        "([One, 2017](https://example.org/a); One et al., 2019)",
    ),
    "glue": (
        "is {glue:text}`one_value:.2f` here",
        f"is [`one_value`]({ONE_URL}) here",
    ),
    "mathematics role": ("{math}`a^2`", "$a^2$"),
    "term": ("{term}`window`", "**window**"),
    "code role": ("{py:func}`~visattn.attend`", "`attend`"),
    "inline code": ("`{eq}` and ``{eq}`x` ``", "`{eq}` and ``{eq}`x` ``"),
    "inline mathematics": ("$a_{ij}[k](l)$", "$a_{ij}[k](l)$"),
    "attributes": ("![a](/b.png){width=3em}", "![a](https://raw.githubusercontent.com"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_piece_of_myst(case: str, converter: Converter) -> None:
    source, expected = CASES[case]
    made = converter.convert(source)
    if case == "attributes":
        assert made.startswith(expected)
        assert "width" not in made
    else:
        assert made == expected


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("```{mystery}\n```", r"book/part/one.md uses the directive \{mystery\}"),
        ("{cite:t}`nobody1900`", "cites an unknown 'nobody1900'"),
        ("{eq}`eq-none`", "refers to an unknown 'eq-none'"),
        ("[](nowhere.md)", "links to an unknown 'nowhere.md'"),
    ],
)
def test_what_is_unknown_is_refused(
    source: str, words: str, converter: Converter
) -> None:
    with pytest.raises(ValueError, match=words):
        converter.convert(source)


def test_blocks_keep_every_line() -> None:
    text = dedent("""\
        one
        ````{note}
        ```python
        x
        ```
        ````
        two""")
    first, fence, last = blocks(text)
    assert (first, last) == ("one", "two")
    assert not isinstance(fence, str)
    assert fence.raw in text


def test_code_cells_equal_the_source(page: Page, root: Path) -> None:
    made = nbformat.reads(notebooks.render(page, Index(root)), 4)
    nbformat.validate(made)
    code = [cell.source for cell in made.cells if cell.cell_type == "code"]
    wanted = [cell.source for cell in page.read().cells if cell.cell_type == "code"]
    assert code == wanted
    assert all(not cell.get("outputs") for cell in made.cells)


def test_the_notebook_begins_with_its_colab_badge(page: Page, root: Path) -> None:
    cell = notebooks.build(page, Index(root))["cells"][0]
    address = "colab.research.google.com/github/someone/something/blob/main/"
    assert f"{address}book/part/one.ipynb" in "".join(cell["source"])


def test_figure_of_a_cell_gets_its_caption(page: Page, root: Path) -> None:
    cells = notebooks.build(page, Index(root))["cells"]
    assert ["*Figure 1.1. What (1.1) draws.*"] in [cell["source"] for cell in cells]


def test_solutions_are_folded_and_stay_code(page: Page, root: Path) -> None:
    cells = notebooks.build(page, Index(root))["cells"]
    folded = [cell for cell in cells if "cellView" in cell["metadata"]]
    assert [cell["source"] for cell in folded] == [['"""the solution"""']]
    assert folded[0]["metadata"]["jupyter"] == {"source_hidden": True}


def test_cell_ids_depend_on_content_alone(page: Page, root: Path) -> None:
    before = [cell["id"] for cell in notebooks.build(page, Index(root))["cells"]]
    assert len(set(before)) == len(before)
    changed = ONE.replace("% a comment", "```{code-cell}\nnew = 0\n```")
    page.source.write_text(changed, encoding="utf-8")
    again = next(one for one in chapters(root) if one.docname == page.docname)
    after = [cell["id"] for cell in notebooks.build(again, Index(root))["cells"]]
    # the text around the new cell is split in two; all other cells keep their ids
    assert len(set(before) - set(after)) == 1


def test_check_names_what_is_stale(
    root: Path, page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--root", str(root)]
    assert notebooks.main([*arguments, "--check"]) == 1
    assert "stale: book/part/one.ipynb" in capsys.readouterr().out
    assert not page.notebook.exists()

    assert notebooks.main(arguments) == 0
    assert notebooks.main([*arguments, "--check"]) == 0

    content = json.loads(page.notebook.read_text(encoding="utf-8"))
    content["cells"][1]["source"] = ["changed by hand"]
    page.notebook.write_text(json.dumps(content), encoding="utf-8")
    capsys.readouterr()
    assert notebooks.main([*arguments, "--check"]) == 1
    assert "stale: book/part/one.ipynb" in capsys.readouterr().out


def test_check_names_a_notebook_without_chapter(
    root: Path, page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--root", str(root)]
    notebooks.main(arguments)
    shutil.copyfile(page.notebook, page.notebook.with_name("old.ipynb"))
    assert notebooks.main([*arguments, "--check"]) == 1
    assert "old.ipynb (no such chapter)" in capsys.readouterr().out


def test_one_chapter_is_chosen_by_its_stem(root: Path) -> None:
    wrong = notebooks.stale(root, ["two"])
    assert [path.name for path in wrong] == ["two.ipynb"]
    with pytest.raises(ValueError, match=r"no chapter 'three'; known are \["):
        notebooks.stale(root, ["three"])


def test_chapters_are_numbered_in_numbered_parts_only(root: Path) -> None:
    numbers = {page.docname: page.number for page in pages(root)}
    assert numbers == {
        "book/index": None,
        "book/notation": None,
        "book/part/one": 1,
        "book/part/two": 2,
    }


def test_a_page_that_does_not_exist_is_named(root: Path) -> None:
    (root / "book/part/two.md").unlink()
    with pytest.raises(ValueError, match=r"'book/part/two\.md'"):
        pages(root)


def test_committed_notebooks_are_those_of_the_chapters() -> None:
    names = [str(path.relative_to(ROOT)) for path in notebooks.stale()]
    assert not names, f"run `make notebooks`; stale: {names}"
