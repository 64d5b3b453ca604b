"""The chapter lint: every rule can be red, and the real book is green.

The fixture is a small chapter that breaks no rule. Each test plants one fault in it
and reads what the lint says.
"""

import itertools
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import chapters
import lint
from lint import Problem, lint_chapter, lint_executed, lint_house

ROOT = Path(__file__).resolve().parents[2]
URL = "https://github.com/example/book"
STEM = "toy"
TICKS = "`" * 3

# ---------------------------------------------------------------------------------
# A chapter that breaks no rule


def words(count: int) -> str:
    return " ".join(
        itertools.islice(itertools.cycle(["plain", "words", "fill"]), count)
    )


def cell(code: str, tags: str = "") -> str:
    head = f":tags: [{tags}]\n" if tags else ""
    return f"{TICKS}{{code-cell}} ipython3\n{head}{code}\n{TICKS}\n"


def figure(number: int) -> str:
    return (
        f"{TICKS}{{code-cell}} ipython3\n---\nmystnb:\n"
        f"  figure: {{name: fig-toy-{number}, caption: A line that rises.}}\n---\n"
        "fig, ax = subplots()\nax.plot([1, 2])\n"
        'show(fig, alt="A straight line that rises from one to two.")\n'
        f"{TICKS}\n"
    )


STUB = 'def mine(x):\n    raise NotImplementedError\ncheck("toy", mine)'


def exercise(number: int) -> str:
    solution = f'solved_{number} = toy\ncheck("toy", solved_{number})'
    return f"""
{TICKS}{{exercise}} ⭐ Number {number}
:label: ex-toy-{number}
Write it.
{TICKS}

{TICKS}{{admonition}} Hint
:class: dropdown tip
Look at the formula.
{TICKS}

{cell(STUB, "exercise")}

{TICKS}{{solution-start}} ex-toy-{number}
:class: dropdown
{TICKS}

{cell(solution, "solution")}

{TICKS}{{solution-end}}
{TICKS}
"""


def good_chapter() -> str:
    setup = lint.SETUP_CELL.format(url=URL)
    sections = {
        "Look first": words(300) + "\n\n" + figure(1),
        "The formula: a weighted sum": (
            f"{TICKS}{{math}}\n:label: eq-toy-one\ny = x\n{TICKS}\n\n"
            "$$\nz = x^2\n$$ (eq-toy-two)\n\n"
            "Equation {eq}`eq-toy-one` and then {eq}`eq-toy-two`.\n\n" + words(200)
        ),
        "By hand": words(200),
        "The loop": words(200) + "\n\n" + cell("y = 1"),
        "The ladder": words(200) + "\n\n" + "\n".join([cell("y = 1")] * 8),
        "The cost": words(200) + "\n\n" + figure(2),
        "See it": words(200) + "\n\n" + figure(3) + "\n" + figure(4),
        "Prove it": words(200) + "\n\n" + "\n".join([cell("y = 1")] * 3),
        "Right shape, still wrong": words(200),
        "Paper, official code, timm, ours": "| a | b |\n|---|---|\n| c | d |\n",
        "The module": words(200) + "\n\n" + cell("y = 1"),
        "Exercises": "\n".join(exercise(number) for number in (1, 2, 3)),
        "Summary": (
            words(100)
            + "\n\n### Five questions\n\n"
            + "\n".join(f"{n}. What is {n}?" for n in range(1, 6))
            + f"\n\n{TICKS}{{admonition}} Answers\n:class: dropdown\n"
            + "\n".join(f"{n}. It is {n}." for n in range(1, 6))
            + f"\n{TICKS}\n\n### References\n\nSee {{cite:t}}`vaswani2017`.\n"
        ),
    }
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items())
    return f"""---
kernelspec: {{display_name: Python 3, language: python, name: python3}}
mechanism: {STEM}
---

# A toy

After this chapter you know how a toy works.

**You will be able to**

- write it,
- test it.

**Before you start**: [the notation](../notation.md). It takes 40 to 50 minutes.

{cell(setup.strip(), "setup")}

{body}
"""


class Book:
    """A repository in a temporary folder, with one chapter."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "book" / "part" / f"{STEM}.md"
        self.text = good_chapter()
        self.path.parent.mkdir(parents=True)
        (root / "book" / "references.bib").write_text(
            "@comment{ignored,\n}\n@article{vaswani2017,\n  title = {T},\n}\n"
        )
        (root / "_config.yml").write_text(f"repository:\n  url: {URL}\n")

    def replace(self, old: str, new: str, count: int = -1) -> None:
        assert old in self.text, f"the fault was not planted: {old!r}"
        self.text = self.text.replace(old, new, count)

    def add(self, text: str, before: str = "## By hand") -> None:
        """Put a paragraph before a heading."""
        self.replace(before, f"{text}\n\n{before}", 1)

    def problems(self) -> list[Problem]:
        self.path.write_text(self.text, encoding="utf-8")
        return lint_chapter(self.path, root=self.root, names=["toy"])

    def said(self) -> str:
        return "\n".join(problem.message for problem in self.problems())


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def test_the_good_chapter_is_clean(book: Book) -> None:
    assert book.problems() == []


# ---------------------------------------------------------------------------------
# One fault at a time: (what is replaced, by what, what the lint says)

CODE = f"{TICKS}{{code-cell}} ipython3\n"
FAULTS = {
    # sections
    "section missing": ("## By hand\n", "\n", "section 'By hand' is missing"),
    "section twice": ("## The loop\n", "## By hand\n", "'By hand' stands twice"),
    "section unknown": ("## By hand\n", "## By foot\n", "'By foot' is not in the"),
    "suffix without colon": ("## By hand\n", "## By hand now\n", "is not in the"),
    "omits without reason": (
        f"mechanism: {STEM}",
        f"mechanism: {STEM}\nomits: [The cost]",
        "`omits` needs a reason",
    ),
    "omits, empty reason": (
        f"mechanism: {STEM}",
        f'mechanism: {STEM}\nomits: {{The cost: ""}}',
        "no reason for leaving out 'The cost'",
    ),
    "omits, but there": (
        f"mechanism: {STEM}",
        f"mechanism: {STEM}\nomits: {{The cost: none}}",
        "'The cost' is here and in `omits`",
    ),
    "omits, unknown": (
        f"mechanism: {STEM}",
        f"mechanism: {STEM}\nomits: {{The price: none}}",
        "'The price', which is no section",
    ),
    # header
    "two titles": ("## By hand\n", "# By hand\n", "one H1 title, got 2"),
    "no promise": ("After this chapter you know how a toy works.\n", "", "promise"),
    "no abilities": ("**You will be able to**", "**You learn**", "no 'You will be"),
    "no ability": ("- write it,\n- test it.\n", "", "items, got 0"),
    "six abilities": ("- test it.", "- a\n- b\n- c\n- d\n- e", "items, got 6"),
    "no prerequisites": ("**Before you start**", "**Also**", "no 'Before you start'"),
    "no link": ("[the notation](../notation.md)", "much", "links to nothing"),
    "no minutes": ("40 to 50 minutes", "a while", "how many minutes"),
    # set-up cell
    "set-up tag": (":tags: [setup]\n", "", "no tag `setup`"),
    "set-up text": ("import setup\n", "import setup as setup\n", "not the standard"),
    "set-up url": (URL, "https://github.com/example/other", "not the standard"),
    "set-up more": ("device = setup", "import torch\ndevice = setup", "the standard"),
    # budgets
    "too few words": (words(200), "x", "words of prose"),
    "too many words": (words(300), words(1900), "words of prose"),
    "too few cells": (cell("y = 1"), "", "code cells before 'Exercises'"),
    "too many cells": (cell("y = 1"), cell("y = 1") * 2, "code cells before"),
    "long cell": ("ax.plot([1, 2])\n", "ax.plot([1, 2])\n" * 24, "a cell of 26 lines"),
    "too few figures": (figure(4), cell("y = 1"), "3 figures before"),
    "too many figures": (figure(1), figure(1) * 4, "7 figures before"),
    # pictures
    "no alt": (
        'show(fig, alt="A straight line that rises from one to two.")',
        "show(fig)",
        "show(...) has no alt=",
    ),
    "short alt": ("A straight line that rises from one to two.", "A line.", "7 chara"),
    "alt is a name": (
        'alt="A straight line that rises from one to two."',
        "alt=words",
        "not written out",
    ),
    "pyplot": ("ax.plot([1, 2])", "plt.show()", "leaves no text alternative"),
    "bare figure": (
        'show(fig, alt="A straight line that rises from one to two.")',
        "fig",
        "ends in a bare figure",
    ),
    "no metadata": (
        "mystnb:\n  figure: {name: fig-toy-1, caption: A line that rises.}",
        "other: 1",
        "needs mystnb figure metadata",
    ),
    "no caption": (", caption: A line that rises.", "", "metadata has no caption"),
    "no figure name": ("name: fig-toy-1, ", "", "figure metadata has no name"),
    "no Python": ("fig, ax = subplots()", "fig, ax = (", "not valid Python"),
    # equations
    "one equation": (":label: eq-toy-one\n", "", "1 numbered equations"),
    "formula without": ("## By hand\n", "## The formula\n", "stands twice"),
    "never referred to": ("{eq}`eq-toy-two`", "below", "'eq-toy-two' is never"),
    # exercises
    "two exercises": (exercise(3), "", "2 exercises; at least 3"),
    "no exercises": (
        "\n".join(exercise(number) for number in (1, 2, 3)),
        "",
        "0 exercises; at least 3",
    ),
    "no label": (":label: ex-toy-1\n", "", "has no :label:"),
    "no stars": ("⭐ Number 1", "Number 1", "1 to 3 stars"),
    "four stars": ("⭐ Number 1", "⭐⭐⭐⭐ Number 1", "1 to 3 stars"),
    "no hint": ("} Hint\n", "} Note\n", "has no hint"),
    "open hint": (":class: dropdown tip", ":class: tip", "a hint is folded"),
    "no stub": (":tags: [exercise]", ":tags: [other]", "no stub cell"),
    "stub, no check": ('check("toy", mine)', "mine", "stub cell calls no check"),
    "no solution": (
        f"{TICKS}{{solution-start}} ex-toy-1\n:class: dropdown\n{TICKS}",
        "",
        "needs one solution-start",
    ),
    "wrong solution": (
        "{solution-start} ex-toy-1",
        "{solution-start} ex-toy-9",
        "a solution of no exercise: 'ex-toy-9'",
    ),
    "open solution": (
        "{solution-start} ex-toy-1\n:class: dropdown",
        "{solution-start} ex-toy-1",
        "a solution is folded",
    ),
    "solution, no cell": (":tags: [solution]", ":tags: [other]", "no cell tagged"),
    "solution, no check": ('check("toy", solved_1)', "solved_1", "cell calls no check"),
    "other check": ('check("toy", solved_1)', 'check("toys", solved_1)', "['toys']"),
    "unknown check": ('check("toy"', 'check("toys"', "no known exercise; known: toy"),
    # summary
    "no questions": ("### Five questions", "### Questions", "no '### Five questions'"),
    "four questions": ("5. What is 5?\n", "", "numbers 4 questions"),
    "open answers": ("Answers\n:class: dropdown", "Answers", "answers to the five"),
    "no references": ("### References", "### More", "no '### References'"),
    "cites nothing": ("{cite:t}`vaswani2017`", "the paper", "cites nothing"),
    "unknown key": ("`vaswani2017`", "`vaswani2018`", "'vaswani2018' is not in"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(book: Book, name: str) -> None:
    old, new, said = FAULTS[name]
    book.replace(old, new)
    assert said in book.said()


def test_sections_out_of_order(book: Book) -> None:
    book.replace("## By hand\n", "## Held\n")
    book.replace("## The loop\n", "## By hand\n")
    book.replace("## Held\n", "## The loop\n")
    assert "section 'By hand' must stand before 'The loop'" in book.said()


def test_a_section_may_be_left_out_with_a_reason(book: Book) -> None:
    book.replace("## By hand\n", "\n")
    book.replace(f"mechanism: {STEM}", f"mechanism: {STEM}\nomits: {{By hand: why}}")
    assert book.problems() == []


def test_the_formula_needs_a_numbered_equation(book: Book) -> None:
    math = f"{TICKS}{{math}}\n:label: eq-toy-one\ny = x\n{TICKS}"
    book.replace(math, "")
    book.replace("$$\nz = x^2\n$$ (eq-toy-two)", "$$ z = x^2 $$")
    book.add(f"{math}\n\n$$ z = x^2 $$ (eq-toy-two)", before="## The loop")
    assert book.said() == "the section 'The formula' has no numbered equation"


def test_the_set_up_cell_stands_in_the_header(book: Book) -> None:
    setup = cell(lint.SETUP_CELL.format(url=URL).strip(), "setup")
    book.replace(setup, "")
    book.replace("## Look first\n", f"## Look first\n\n{setup}")
    assert book.said() == "the set-up cell stands in the header, before any H2"


def test_the_seed_may_differ(book: Book) -> None:
    book.replace("setup(seed=0)", "setup(seed=17)")
    assert book.problems() == []


def test_a_chapter_without_prerequisites_says_nothing(book: Book) -> None:
    book.replace("[the notation](../notation.md)", "nothing")
    assert book.problems() == []


def test_folded_text_and_code_are_no_prose(book: Book) -> None:
    book.path.write_text(book.text)
    before = lint.prose_words(lint.Chapter.read(book.path, book.root))
    many = words(500)
    book.add(f"{TICKS}{{admonition}} More\n:class: dropdown\n{many}\n{TICKS}")
    book.add(f":::{{dropdown}} More\n{many}\n:::")
    book.add(f"{TICKS}python\n{many}\n{TICKS}")
    book.add(f"$$\n{many}\n$$")
    book.add(f"% {many}\n\n<!-- {many} -->")
    book.add(many, before="## Summary")  # the end of the Exercises
    book.add("four more words here, $x + y$ and `some code`")
    book.path.write_text(book.text)
    assert (
        lint.prose_words(lint.Chapter.read(book.path, book.root)) == before + 6
    )  # code is one word


# ---------------------------------------------------------------------------------
# Measurements

MEASURED = [
    "It takes 12 ms here.",
    "It takes 12 seconds.",
    "It takes 12 s in all.",
    "It takes 0.3s in all.",
    "It takes 3 µs.",
    "A 20-second run.",
    "It takes\n40\nminutes.",
    "It is 3.4x faster.",
    "It is 3.4 times faster.",
    "It is 3.4× the speed.",
    "A speed-up of 7.",
    "It is faster by a factor of 12.",
    "It needs 7 MB.",
    "It needs 7.5 GiB of memory.",
    "It needs 4096 bytes.",
    "That is 95 %.",
    "That is 95%.",
    "That is 95 percent.",
    "That is 2.1 GFLOPs.",
    "That is 300 MACs.",
    "It reads 900 images/s.",
    "It reads 900 images per second.",
    "An accuracy of 0.93.",
    "It has 25.6 M parameters.",
    "It has 25 million parameters.",
    r"It takes $12\,\mathrm{ms}$.",
    r"That is $95\,\%$.",
    r"It is $3.4\times$ faster.",
    "| time | 12 ms |",
    "- the fast one: 12 ms",
]
NOT_MEASURED = [
    "A picture of 224 x 224 pixels, or 224x224.",
    "A 3x3 patch, a 3 × 3 patch, a $3 \\times 3$ patch.",
    "In 2D and 1D, for 10 steps.",
    "In the 1990s, in 2017, on page 12.",
    "A float32 has 4 bytes.",
    "One needs $2 d T^2$ operations, twice as many.",
    "It takes {glue:text}`toy_time:.1f` ms.",
    "It took 12 ms {cite:p}`vaswani2017`.",
    "Call `sleep(12)  # 12 ms` first.",
    "Read [these words](https://example.org/12%20ms).",
    "Layer 3 uses 8 heads and 64 channels.",
    "An array of 2 x 3 numbers, a factor of 2.",
]


@pytest.mark.parametrize("text", MEASURED)
def test_a_typed_measurement_is_refused(book: Book, text: str) -> None:
    book.add(text)
    assert re.match(r"hand-typed an? [a-z- ]+: '.*'\. Glue it", book.said())


@pytest.mark.parametrize("text", NOT_MEASURED)
def test_other_numbers_pass(book: Book, text: str) -> None:
    book.add(text)
    assert book.problems() == []


def test_a_citation_covers_its_own_paragraph_only(book: Book) -> None:
    book.add("- 12 ms {cite:p}`vaswani2017`\n- 13 ms")
    assert "'13 ms'" in book.said()
    assert "'12 ms'" not in book.said()


def test_a_measurement_in_a_caption_is_refused(book: Book) -> None:
    book.replace("caption: A line that rises.", "caption: It takes 12 ms.", 1)
    assert "hand-typed a time: '12 ms'" in book.said()


def test_a_problem_says_its_line(book: Book) -> None:
    book.add("A first line.\nIt takes 12 ms.")
    (problem,) = book.problems()
    assert book.text.splitlines()[problem.line - 1] == "It takes 12 ms."
    assert str(problem).startswith(f"{book.path}:{problem.line}: hand-typed")


# ---------------------------------------------------------------------------------
# Pictures in text, explorers, reading MyST

LONG = "Two maps of a photograph."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("![](x.png)", "'x.png' has no alt text"),
        (f"{TICKS}{{image}} x.png\n{TICKS}", "'x.png' has no :alt:"),
        (f"{TICKS}{{figure}} x.png\nA caption.\n{TICKS}", "'x.png' has no :alt:"),
        ('<img src="x.png">', "<img> has no alt text"),
        (cell("attention_explorer(image, a)"), "attention_explorer(...) has no alt="),
        (cell('explore.attention_explorer(i, a, alt="x")'), "has 1 characters"),
        (cell("theorem_explorer(image)"), "theorem_explorer(...) has no alt="),
        (cell("relation_explorer(image, w)"), "relation_explorer(...) has no alt="),
        (cell("gate_explorer(image, r, c)"), "gate_explorer(...) has no alt="),
        (cell("attention_grid(image, a, (0, 0))"), "bare figure"),
        (cell("out = attention_grid(i, a, 0)\nout"), "bare figure"),
    ],
)
def test_a_picture_needs_words(book: Book, text: str, said: str) -> None:
    book.add(text)
    assert said in book.said()


@pytest.mark.parametrize(
    "text",
    [
        "![A dog](x.png)",
        "Write `![](x.png)`.",
        f"{TICKS}{{image}} x.png\n:alt: A dog\n{TICKS}",
        '<img src="x.png" alt="A dog">',
        cell(f'attention_explorer(i, a, alt="{LONG}")'),
        cell('attention_explorer(i, a, alt=f"The {n} maps of a photograph.")'),
        cell('attention_explorer(i, a, alt="The maps " + "of a photograph.")'),
        cell(f'def view(fig):\n    return show(fig, alt="{LONG}")'),
    ],
)
def test_a_picture_with_words_passes(book: Book, text: str) -> None:
    book.add(text)
    assert book.problems() == []


@pytest.mark.parametrize("name", sorted(lint.EXPLORERS))
def test_an_explorer_counts_as_a_figure(book: Book, name: str) -> None:
    explorer = cell(f'{name}(i, a, alt="{LONG}")')
    book.add("\n".join([explorer] * 3))
    assert book.said() == "7 figures before 'Exercises'; the budget is 4 to 6"


def test_nested_fences_are_read() -> None:
    source = """\
::::{note}
:class: dropdown

Words.

:::{tip}
Inner words.
:::
````{code-cell} ipython3
# not a heading
text = '''
```
'''
````
::::
## A heading
~~~
## no heading
~~~
"""
    note, heading, fence = lint.parse(source.splitlines())
    assert [note.name, note.classes] == ["note", {"dropdown"}]
    words, tip, code = note.children
    assert (words.text, words.line) == ("Words.", 4)
    assert (tip.name, tip.children[0].text, tip.line) == ("tip", "Inner words.", 6)
    assert (code.name, code.line) == ("code-cell", 9)
    assert code.text.splitlines()[-2] == TICKS
    assert (heading.text, heading.level, heading.line) == ("A heading", 2, 16)
    assert fence.kind == "fence"


def test_exercise_names_come_from_the_package() -> None:
    names = lint.exercise_names()
    assert names is not None
    assert "attend" in names


def test_unreadable_names_are_a_problem(book: Book, monkeypatch) -> None:
    monkeypatch.setattr(lint, "exercise_names", lambda: None)
    book.path.write_text(book.text)
    found = lint_chapter(book.path, root=book.root)
    assert ["cannot be read" in problem.message for problem in found] == [True]


def test_other_pages_need_alt_and_known_citations_only(book: Book) -> None:
    book.text = "# Credits\n\nIt takes 12 ms. ![](x.png) {cite:t}`nobody1900`\n"
    said = {problem.message for problem in book.problems()}
    assert said == {
        "the image 'x.png' has no alt text",
        "'nobody1900' is not in book/references.bib",
    }


# ---------------------------------------------------------------------------------
# After execution


def executed(book: Book, solution: str, stub: str, extra: list | None = None) -> None:
    """Write the executed notebook of the chapter."""
    book.path.write_text(book.text, encoding="utf-8")
    cells = []
    for item in lint.Chapter.read(book.path, book.root).cells:
        said = {"solution": solution, "exercise": stub}.get(
            "".join(item.node.tags), "nothing"
        )
        output = {"output_type": "execute_result", "data": {"text/plain": [said]}}
        cells.append(
            {
                "cell_type": "code",
                "source": item.node.text.strip().splitlines(keepends=True),
                "outputs": [output, *(extra or [])],
            }
        )
    notebook = lint.executed_notebook(book.path, book.root)
    notebook.parent.mkdir(parents=True, exist_ok=True)
    notebook.write_text(json.dumps({"cells": cells}))


PASSED, NOT_YET = "passed: toy\n  It agrees.", "not yet: toy\n  It has not passed: 1."


def test_executed_chapter_is_clean(book: Book) -> None:
    executed(book, PASSED, NOT_YET)
    assert lint_executed(book.path, root=book.root) == []


def test_a_solution_must_pass(book: Book) -> None:
    executed(book, NOT_YET, NOT_YET)
    found = [p.message for p in lint_executed(book.path, root=book.root)]
    assert found == ["the solution does not pass"] * 3


def test_a_stub_must_not_pass(book: Book) -> None:
    executed(book, PASSED, PASSED)
    found = {p.message for p in lint_executed(book.path, root=book.root)}
    assert found == {"the stub passes its own check"}


@pytest.mark.parametrize(
    "data",
    [{"image/png": "x"}, {"image/jpeg": "x"}, {"image/svg+xml": ["<svg>", "</svg>"]}],
)
def test_a_bare_image_output_is_refused(book: Book, data: dict) -> None:
    executed(book, PASSED, NOT_YET, [{"output_type": "display_data", "data": data}])
    found = {p.message for p in lint_executed(book.path, root=book.root)}
    assert found == {
        f"the cell outputs a bare {next(iter(data))}: end it in show(fig, alt=)"
    }


def test_a_picture_output_passes(book: Book) -> None:
    data = {"text/html": "<svg></svg>", "image/png": "x"}
    executed(book, PASSED, NOT_YET, [{"output_type": "display_data", "data": data}])
    assert lint_executed(book.path, root=book.root) == []


def test_an_older_run_is_not_judged(book: Book) -> None:
    executed(book, NOT_YET, NOT_YET)
    book.replace("solved_1 = toy", "solved_1 = better_toy")
    book.path.write_text(book.text)
    assert len(lint_executed(book.path, root=book.root)) == 2


def test_the_lint_knows_where_executed_notebooks_lie() -> None:
    assert lint.EXECUTED == chapters.EXECUTED


def test_the_lint_reads_the_same_check_output_as_the_package() -> None:
    from visattn.exercises import check
    from visattn.mechanisms.dot_product import attend

    def stub(*arguments: object, **options: object) -> None:
        raise NotImplementedError

    assert lint.says_passed(repr(check("attend", attend)))
    assert not lint.says_passed(repr(check("attend", stub)))


# ---------------------------------------------------------------------------------
# The house

MODULE = '''\
"""A toy."""

from torch import Tensor, nn

from visattn.kernels import fast


def toy_loop(x: Tensor, y: Tensor) -> Tensor:
    """Slow."""


def toy(x: Tensor, y: Tensor, *, fast: bool = True) -> Tensor:
    """Fast."""


class Toy(nn.Module):
    """A module."""
'''


class House:
    """A small repository in which everything is in its place."""

    def __init__(self, root: Path) -> None:
        self.root = root
        package = "src/visattn"
        self.write(
            f"{package}/__init__.py", '_EXPORTS = {"toy": "visattn.mechanisms.toy"}\n'
        )
        self.write(f"{package}/_lazy.py", "import sys\n")
        self.write(f"{package}/mechanisms/toy.py", MODULE)
        self.write(f"{package}/mechanisms/_checks.py", "import torch\n")
        self.write(f"{package}/kernels/__init__.py", "import triton\n")
        self.write(
            f"{package}/lab/__init__.py", "from visattn import toy\nimport PIL\n"
        )
        self.write(f"{package}/exercises/toy.py", "from ..mechanisms.toy import toy\n")
        self.write("tests/mechanisms/test_toy.py", "def test_toy(): ...\n")
        self.write("book/index.md", "# Start\n")
        self.write("book/part/toy.md", "---\nmechanism: toy\n---\n# Toy\n")
        self.write(
            "_toc.yml",
            "format: jb-book\nroot: book/index\nparts:\n"
            "- chapters:\n  - file: book/part/toy\n",
        )
        subprocess.run(["git", "init", "-q", str(root)], check=True)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text(encoding="utf-8")
        assert old in text, f"the fault was not planted: {old!r}"
        self.write(name, text.replace(old, new))

    def said(self) -> list[str]:
        return [
            f"{problem.path.relative_to(self.root)}: {problem.message}"
            for problem in lint_house(self.root)
        ]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_the_good_house_is_clean(house: House) -> None:
    assert house.said() == []


TOY = "src/visattn/mechanisms/toy.py"
HOUSE_FAULTS = {
    "no loop": (TOY, "toy_loop", "_toy_loop", "has no *_loop function"),
    "no vectorised": (TOY, "def toy(", "def toys(", "toy_loop has no vectorised toy"),
    "other parameters": (TOY, "toy(x: Tensor, y", "toy(y: Tensor, x", "does not start"),
    "no module": (TOY, "(nn.Module)", "", "has no nn.Module class"),
    "no docstring": (TOY, '    """Slow."""', "    pass", "toy_loop has no docstring"),
    "class docstring": (TOY, '    """A module."""', "    pass", "Toy has no docstring"),
    "mechanism imports lab": (
        TOY,
        "from visattn.kernels import fast",
        "from visattn.lab import setup",
        "visattn.mechanisms may not import visattn.lab",
    ),
    "hidden in a function": (
        TOY,
        '    """Slow."""',
        '    """Slow."""\n    from ..explore import show',
        "visattn.mechanisms may not import visattn.explore",
    ),
    "front door": (
        TOY,
        "from visattn.kernels import fast",
        "from visattn import attend",
        "the package's own front door",
    ),
    "front door, module": (
        TOY,
        "from visattn.kernels import fast",
        "from visattn import models",
        "visattn.mechanisms may not import visattn.models",
    ),
    "mechanism needs more": (
        TOY,
        "from torch import",
        "import matplotlib\nfrom torch import",
        "imports matplotlib; down here only",
    ),
    "kernel imports mechanism": (
        "src/visattn/kernels/__init__.py",
        "import triton",
        "from visattn.mechanisms import toy",
        "visattn.kernels may not import visattn.mechanisms",
    ),
    "helper climbs": (
        "src/visattn/_lazy.py",
        "import sys",
        "import visattn.mechanisms.toy",
        "visattn._lazy may not import visattn.mechanisms",
    ),
    "export of nothing": (
        "src/visattn/__init__.py",
        '"toy":',
        '"Toys":',
        "does not define Toys",
    ),
    "export from nowhere": (
        "src/visattn/__init__.py",
        "mechanisms.toy",
        "mechanisms.toys",
        "visattn.mechanisms.toys (of toy) does not exist",
    ),
    "no table": ("src/visattn/__init__.py", "_EXPORTS", "_OTHER", "no table _EXPORTS"),
    "no test": ("tests/mechanisms/test_toy.py", "test_", "try_", "has no tests in"),
    "not in the toc": ("_toc.yml", "part/toy", "index", "stands 0 times in _toc.yml"),
    "twice in the toc": ("_toc.yml", "part/toy", "index", "stands 2 times"),
    "toc of nothing": ("_toc.yml", "part/toy", "part/toys", "which has no .md file"),
    "chapter of another": (
        "book/part/toy.md",
        "mechanism: toy",
        "mechanism: toys",
        "needs one chapter book/**/toy.md",
    ),
    "chapter of nothing": (
        "book/part/toy.md",
        "mechanism: toy",
        "mechanism: toys",
        "mechanisms/toys.py does not exist",
    ),
    "machine path": (
        "book/index.md",
        "# Start",
        "See /" + "work/data.",
        "names a machine path",
    ),
    "registry": (
        "book/index.md",
        "# Start",
        "https://registry" + ".npmjs.org/x",
        "names a registry host",
    ),
    "registry of Python": (
        "book/index.md",
        "# Start",
        "https://pypi" + ".org/simple/",
        "names a registry host",
    ),
}


@pytest.mark.parametrize("name", HOUSE_FAULTS)
def test_a_fault_of_the_house_is_found(house: House, name: str) -> None:
    path, old, new, said = HOUSE_FAULTS[name]
    house.edit(path, old, new)
    found = house.said()
    assert any(said in one for one in found), found


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("book/part/toy.md", "needs one chapter"),
        ("tests/mechanisms/test_toy.py", "has no tests in"),
        ("src/visattn/exercises/toy.py", "has no exercises in"),
        ("src/visattn/__init__.py", "is missing"),
        ("_toc.yml", "is missing"),
    ],
)
def test_a_missing_room_is_found(house: House, path: str, said: str) -> None:
    (house.root / path).unlink()
    assert any(said in one for one in house.said())


def test_a_new_mechanism_needs_all_its_rooms(house: House) -> None:
    house.write("src/visattn/mechanisms/new.py", '"""New."""\n')
    said = "\n".join(house.said())
    for part in (
        "one chapter",
        "no tests",
        "no exercises",
        "no *_loop",
        "no nn.Module",
    ):
        assert part in said


def test_a_mechanism_may_await_its_chapter(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lint, "AWAITING_CHAPTER", frozenset({"new"}))
    house.write("src/visattn/mechanisms/new.py", '"""New."""\n')
    said = "\n".join(house.said())
    assert "one chapter" not in said
    assert "no exercises" not in said
    assert "no tests" in said
    house.write("src/visattn/exercises/new.py", "EXERCISES = ()\n")
    assert "take it out of AWAITING_CHAPTER" in "\n".join(house.said())


def test_a_new_folder_needs_a_floor(house: House) -> None:
    house.write("src/visattn/attic/__init__.py", "")
    assert "visattn.attic has no floor" in "\n".join(house.said())


@pytest.mark.parametrize(
    "text",
    [
        "from torch.nn import Conv2d\n",
        "from torch import nn\nConv2d = nn.Conv2d\n",
    ],
)
def test_a_module_of_torch_may_be_the_third_tier(house: House, text: str) -> None:
    plain = MODULE.replace("(nn.Module)", "")
    explained = f'{plain}\n{text}\n__all__ = [\n    "Conv2d",  # torch has it\n]\n'
    house.write(TOY, explained)
    assert house.said() == []
    house.write(TOY, explained.replace("  # torch has it", ""))
    assert any("no nn.Module class" in one for one in house.said())


def test_not_a_repository(house: House, tmp_path_factory) -> None:
    (house.root / ".git").rename(tmp_path_factory.mktemp("away") / "git")
    assert any("git ls-files failed" in one for one in house.said())


def test_command_line(book: Book, capsys) -> None:
    book.path.write_text(book.text.replace("## By hand\n", ""), encoding="utf-8")
    arguments = [str(book.path), "--root", str(book.root), "--words"]
    assert lint.main(arguments) == 1
    printed = capsys.readouterr().out
    assert f"{book.path}:1: section 'By hand' is missing" in printed
    assert "words of prose" in printed
    (book.root / "clean.md").write_text("# Clean\n")
    assert lint.main([str(book.root / "clean.md"), "--root", str(book.root)]) == 0
    assert "1 pages, 0 problems" in capsys.readouterr().out


# ---------------------------------------------------------------------------------
# The real book


def listing(problems: list[Problem]) -> str:
    return "\n" + "\n".join(map(str, problems))


@pytest.mark.parametrize(
    "page", lint.pages(ROOT), ids=lambda path: str(path.relative_to(ROOT))
)
@pytest.mark.parametrize("rules", [lint_chapter, lint_executed])
def test_page_of_the_book(page: Path, rules: Callable[[Path], list[Problem]]) -> None:
    problems = rules(page)
    assert not problems, listing(problems)


def test_the_house() -> None:
    problems = lint_house(ROOT)
    assert not problems, listing(problems)


def test_the_book_has_chapters() -> None:
    mechanisms = {path.stem for path in lint.mechanisms(ROOT)}
    read = [lint.Chapter.read(path, ROOT).mechanism for path in lint.pages(ROOT)]
    assert mechanisms
    assert {name for name in read if name} == mechanisms - lint.AWAITING_CHAPTER
