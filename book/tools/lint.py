"""Lint of the chapters and of the house.

``lint_chapter`` reads one page of the book and holds it against the chapter
template. ``lint_house`` looks at the repository as a whole: the four rooms of every
mechanism, the import floors, the table of contents. On the command line::

    python book/tools/lint.py            # everything
    python book/tools/lint.py FILE...    # these pages only

prints ``file:line: message`` for every problem and exits with 1 if there is one.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]

EXECUTED = "_executed"  # where the executed copies of the notebooks lie

SECTIONS = (
    "Look first",
    "The formula",
    "By hand",
    "The loop",
    "The ladder",
    "The cost",
    "See it",
    "Prove it",
    "Right shape, still wrong",
    "Paper, official code, timm, ours",
    "The module",
    "Exercises",
    "Summary",
)
PROSE_WORDS = (2000, 3000)
CODE_CELLS = (18, 26)
FIGURES = (4, 6)
CELL_LINES = 25
ALT_LENGTH = 20
EQUATIONS = 2
EXERCISES = 3
QUESTIONS = 5
ABILITIES = (1, 5)

# The first code cell of every chapter. Only the seed may differ.
SETUP_CELL = """\
try:
    import visattn
except ImportError:  # for example on Colab; an installed torch stays as it is
    %pip install --quiet "visattn[book] @ git+{url}"
    import visattn

from visattn.lab import setup

device = setup(seed=0)
"""

# Directives whose body is not Markdown.
RAW_DIRECTIVES = frozenset(
    """bibliography code code-block code-cell csv-table eval-rst include
    literalinclude math mermaid raw sourcecode toctree""".split()  # noqa: SIM905
)
FOLDS = frozenset({"dropdown", "toggle"})
EXPLORERS = frozenset(
    {
        "attention_explorer",
        "axial_explorer",
        "gate_explorer",
        "halo_explorer",
        "memory_calculator",
        "relation_explorer",
        "theorem_explorer",
    }
)
# Calls that draw for the page, and so must be given a text alternative.
DRAWING_CALLS = EXPLORERS | {"show"}
# Calls that return a bare matplotlib figure.
FIGURE_MAKERS = frozenset({"attention_grid", "figure", "subplots"})

# Who may import whom: a file may import its own floor and the floors below.
FLOORS = {
    "kernels": 0,
    "mechanisms": 1,
    "checkpoints": 2,
    "models": 2,
    "exercises": 3,
    "explore": 3,
    "lab": 3,
}
# What the two lowest floors may import from outside.
GROUND = frozenset({"einops", "jaxtyping", "numpy", "torch", "triton"})

# Mechanisms that stand in the package, with their tests, before their chapter does.
# The entry goes when the chapter and its exercises come.
AWAITING_CHAPTER: frozenset[str] = frozenset()

# Split, so that this file is not its own first finding.
BANNED_TEXT = {
    "a machine path": re.compile("(?<![\\w.~-])/(?:" + "work|root" + ")/"),
    "a registry host": re.compile(
        "registry" + r"\.npmjs\.org|"
        "registry" + r"\.yarnpkg\.com|"
        "pypi" + r"\.org/simple|"
        "files" + r"\.pythonhosted\.org"
    ),
}


@dataclass(frozen=True, order=True)
class Problem:
    """One finding, at one line of one file."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        path = self.path
        if path.is_relative_to(Path.cwd()):
            path = path.relative_to(Path.cwd())
        return f"{path}:{self.line}: {self.message}"


# --------------------------------------------------------------------------------
# Reading MyST


@dataclass
class Node:
    """A piece of a page: a heading, a unit of text, a fence, a directive, maths.

    ``text`` is the title of a heading, the words of a unit (one paragraph, one list
    item or one table row), the body of everything else.
    """

    kind: str
    line: int
    text: str
    name: str = ""
    level: int = 0
    argument: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    @property
    def classes(self) -> set[str]:
        """The words of the ``:class:`` option."""
        return set(re.split(r"[\s,]+", str(self.options.get("class", ""))))

    @property
    def tags(self) -> list[str]:
        """The tags of a code cell."""
        tags = self.options.get("tags") or []
        return [tags] if isinstance(tags, str) else [str(tag) for tag in tags]

    @property
    def figure(self) -> dict[str, Any] | None:
        """The figure metadata of a code cell."""
        mystnb = self.options.get("mystnb")
        found = mystnb.get("figure") if isinstance(mystnb, dict) else None
        return found if isinstance(found, dict) else None


_FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,}|:{3,})(?P<info>.*)$")
_HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+\S")
_TARGET = re.compile(r"^\([^()\s]+\)=\s*$")


def parse(lines: Sequence[str], first: int = 1) -> list[Node]:
    """Split Markdown into nodes; ``first`` is the number of the first line."""
    nodes: list[Node] = []
    unit: list[str] = []

    def flush(end: int) -> None:
        if unit:
            nodes.append(Node("text", first + end - len(unit), "\n".join(unit)))
            unit.clear()

    i = 0
    while i < len(lines):
        line, bare = lines[i], lines[i].strip()
        heading = _HEADING.match(line)
        if (opening := _FENCE.match(line)) and _opens(opening):
            flush(i)
            end = _closing(lines, i + 1, opening["mark"])
            nodes.append(_block(opening, lines[i + 1 : end], first + i))
            i = end
        elif bare.startswith("$$") or bare.startswith("\\begin{"):
            flush(i)
            end, node = _display_math(lines, i, first)
            nodes.append(node)
            i = end
        elif heading:
            flush(i)
            level = len(heading[1])
            nodes.append(Node("heading", first + i, heading[2], level=level))
        elif bare.startswith("<!--"):
            flush(i)
            while i < len(lines) - 1 and "-->" not in lines[i]:
                i += 1
        elif not bare or bare[0] in "%" or bare == "+++" or _TARGET.match(bare):
            flush(i)
        else:
            if _ITEM.match(line) or bare.startswith("|"):
                flush(i)
            unit.append(line)
        i += 1
    flush(len(lines))
    return nodes


def _opens(fence: re.Match[str]) -> bool:
    info = fence["info"].strip()
    if fence["mark"][0] == ":":  # a lone ::: only ever closes
        return bool(info)
    return "`" not in info


def _closing(lines: Sequence[str], start: int, mark: str) -> int:
    """Index of the line that closes a fence (the end of the page if none does)."""
    for j in range(start, len(lines)):
        bare = lines[j].strip()
        if len(bare) >= len(mark) and set(bare) == {mark[0]}:
            return j
    return len(lines)


def _display_math(lines: Sequence[str], i: int, first: int) -> tuple[int, Node]:
    """Read ``$$ ... $$ (label)`` or a bare AMS environment from line ``i`` on."""
    bare = lines[i].strip()
    end = i
    if bare.startswith("$$"):
        if "$$" not in bare[2:]:
            end = i + 1
            while end < len(lines) - 1 and "$$" not in lines[end]:
                end += 1
    else:
        name = bare[len("\\begin{") :].split("}")[0]
        while end < len(lines) - 1 and f"\\end{{{name}}}" not in lines[end]:
            end += 1
    text = "\n".join(lines[i : end + 1])
    label = re.search(r"\$\$\s*\(([^()\s]+)\)\s*$", text)
    options = {"label": label[1]} if label else {}
    return end, Node("math", first + i, text, options=options)


def _block(fence: re.Match[str], body: Sequence[str], line: int) -> Node:
    """A node for a fence with its body."""
    indent = len(fence["indent"])
    body = [row[indent:] if not row[:indent].strip() else row for row in body]
    info = fence["info"].strip()
    directive = re.match(r"\{([^}]+)\}\s*(.*)$", info)
    if not directive and fence["mark"][0] != ":":
        return Node("fence", line, "\n".join(body), name=info)
    if directive:
        name, argument = directive[1].strip(), directive[2].strip()
    else:
        name, argument = info.strip("{}"), ""
    options, used = _options(body)
    node = Node("directive", line, "\n".join(body[used:]), name, 0, argument, options)
    if name == "math":
        node.kind = "math"
    elif name not in RAW_DIRECTIVES:
        node.children = parse(body[used:], line + 1 + used)
    return node


def _options(body: Sequence[str]) -> tuple[dict[str, Any], int]:
    """The options at the head of a directive, and the number of lines they take."""
    if body and body[0].strip() == "---":
        for end in range(1, len(body)):
            if body[end].strip() == "---":
                loaded = _yaml("\n".join(body[1:end]))
                return (loaded if isinstance(loaded, dict) else {}), end + 1
        return {}, 0
    options: dict[str, Any] = {}
    used, key = 0, ""
    for row in body:
        if found := re.match(r"^:([\w-]+):\s*(.*)$", row):
            key = found[1]
            options[key] = found[2].strip()
        elif key and row.startswith((" ", "\t")) and row.strip():
            options[key] += " " + row.strip()
        else:
            break
        used += 1
    for key in ("tags", "mystnb"):
        if isinstance(options.get(key), str):
            options[key] = _yaml(options[key])
    return options, used


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


@dataclass
class Item:
    """A node in reading order, with the place where it stands."""

    node: Node
    section: str | None = None  # the H2 above it; None in the header
    subsection: str | None = None  # the H3 above it
    folded: bool = False  # inside something that the page folds away

    @property
    def is_cell(self) -> bool:
        """Whether this is a code cell."""
        return self.node.kind == "directive" and self.node.name == "code-cell"


@dataclass
class Chapter:
    """A page of the book, read once."""

    path: Path
    root: Path
    meta: dict[str, Any]
    items: list[Item]
    titles: list[Node]  # the H1 headings

    @classmethod
    def read(cls, path: Path, root: Path) -> Chapter:
        """Read ``path``, a page of the repository at ``root``."""
        lines = path.read_text(encoding="utf-8").splitlines()
        meta: dict[str, Any] = {}
        start = 0
        if lines and lines[0].strip() == "---":
            for end in range(1, len(lines)):
                if lines[end].strip() == "---":
                    loaded = _yaml("\n".join(lines[1:end]))
                    meta = loaded if isinstance(loaded, dict) else {}
                    start = end + 1
                    break
        items: list[Item] = []
        _flatten(parse(lines[start:], start + 1), items, _Place())
        titles = [i.node for i in items if i.node.kind == "heading"]
        titles = [node for node in titles if node.level == 1]
        return cls(path, root, meta, items, titles)

    @property
    def mechanism(self) -> str | None:
        """The stem of the mechanism, where the page is a chapter of one."""
        stem = self.meta.get("mechanism")
        return None if stem is None else str(stem)

    @property
    def cells(self) -> list[Item]:
        """The code cells in order."""
        return [item for item in self.items if item.is_cell]

    @property
    def text(self) -> list[Item]:
        """The units of text in order."""
        return [item for item in self.items if item.node.kind == "text"]

    def inside(self, section: str | None) -> list[Item]:
        """The items of one section; ``None`` is the header."""
        return [item for item in self.items if item.section == section]


@dataclass
class _Place:
    section: str | None = None
    subsection: str | None = None
    solution: bool = False


def _flatten(
    nodes: list[Node], items: list[Item], place: _Place, folded: bool = False
) -> None:
    for node in nodes:
        if node.kind == "heading" and node.level == 2:
            place.section, place.subsection = template_name(node.text), None
        elif node.kind == "heading" and node.level == 3:
            place.subsection = node.text
        if node.kind == "directive" and node.name == "solution-end":
            place.solution = False
        hidden = folded or place.solution
        items.append(Item(node, place.section, place.subsection, hidden))
        if node.kind == "directive" and node.name == "solution-start":
            place.solution = True
        folds = bool(node.name in FOLDS | {"solution"} or node.classes & FOLDS)
        _flatten(node.children, items, place, hidden or folds)


def template_name(heading: str) -> str:
    """The template's name of an H2 (a suffix after a colon is free)."""
    for name in SECTIONS:
        if heading == name or heading.startswith(name + ":"):
            return name
    return heading


# --------------------------------------------------------------------------------
# Words and numbers

_MATH_SPACES = re.compile(r"\\[,;:! ]|~|\\quad|\\qquad")
_ROLE = re.compile(r"\{([\w:.-]+)\}(`+)(.*?)\2", re.S)
_CITE = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")


def _keep_lines(word: str) -> Callable[[re.Match[str]], str]:
    """A replacement that keeps the number of line breaks."""
    return lambda found: word + "\n" * found[0].count("\n")


def _role(found: re.Match[str]) -> str:
    role, content = found[1], found[3]
    breaks = "\n" * found[0].count("\n")
    if role in {"doc", "ref", "numref", "term", "download"} and "<" in content:
        return content.split("<")[0].replace("\n", " ") + breaks
    return "word" + breaks


def _plain_math(found: re.Match[str]) -> str:
    """Inline maths as plain text, so that a unit inside it is still seen."""
    text = _MATH_SPACES.sub(" ", found[1])
    text = re.sub(
        r"\\(?:mathrm|text|operatorname|mathit|,)\s*\{([^{}]*)\}", r" \1", text
    )
    text = text.replace("\\times", " × ").replace("\\%", "%").replace("\\mu", "µ")
    return re.sub(r"(µ)\s+(?=s\b)", r"\1", re.sub(r"[{}]", "", text))


def plain(text: str, math: bool = False) -> str:
    """Text without its markup; inline maths is dropped or made readable."""
    text = re.sub(r"<!--.*?-->", _keep_lines(" "), text, flags=re.S)
    text = _ROLE.sub(_role, text)
    text = re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", _keep_lines("word"), text)
    text = re.sub(r"\$\$.*?\$\$", _keep_lines(" "), text, flags=re.S)
    inline = r"(?<![\\$])\$(?!\s)((?:[^$\\]|\\.)+?)(?<!\s)\$(?!\d)"
    text = re.sub(inline, _plain_math if math else _keep_lines(" "), text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", _keep_lines(" "), text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"<https?://[^>]*>|https?://\S+", _keep_lines(" "), text)
    text = re.sub(r"</?[a-zA-Z][^>]*>", _keep_lines(" "), text)
    return text.replace("\\%", "%").replace("**", "")


def words(text: str) -> int:
    """How many words a reader reads in this text."""
    return len(re.findall(r"[^\W\d_][\w'’-]*", plain(text)))


_NUMBER = r"(?<![\w.])\d+(?:[.,]\d+)*(?:e[+-]?\d+)?"
_GAP = r"[\s~-]{0,2}"
_BIG = r"(?:[kKMGTP]|(?:thousand|million|billion|trillion)\s+)"
_THAN = (
    r"(?:faster|slower|quicker|smaller|larger|bigger|cheaper|lower|higher|less|more"
    r"|fewer|speed|as\s+(?:fast|slow|much|many|large|long|cheap))"
)
MEASUREMENTS = {
    "a time": re.compile(
        rf"{_NUMBER}{_GAP}(?:ns|[µμu]s|ms|(?:nano|micro|milli)?seconds?|secs?|mins?"
        rf"|minutes?|hours?|hrs?|days?)\b|{_NUMBER}\s+s\b|(?<![\w.])\d+\.\d+s\b"
    ),
    "a size in memory": re.compile(
        rf"{_NUMBER}{_GAP}(?:[kKMGT]i?B|(?:kilo|mega|giga|tera)bytes?)\b"
        r"|(?<![\w.])\d(?:[\d,.]*\d)(?:\s?\w+)?\s+bytes\b"
    ),
    "a percentage": re.compile(rf"{_NUMBER}{_GAP}(?:%|per\s?cent\b)"),
    "an operation count": re.compile(
        rf"{_NUMBER}{_GAP}{_BIG}\s?(?:FLOPs?|FLOPS|flops|MACs?)\b"
        r"|(?<![\w.])\d(?:[\d,.]*\d)\s+(?:FLOPs?|FLOPS|flops|MACs?)\b"
    ),
    "a rate": re.compile(rf"{_NUMBER}{_GAP}\w+\s?(?:/\s?s|per\s+second)\b"),
    "a speed-up": re.compile(
        rf"{_NUMBER}\s?-?(?:x|×|times|fold)\s+{_THAN}\b"
        rf"|{_NUMBER}[x×](?![\w×])(?!\s*\d)"
        rf"|\b(?:speed-?up|faster|slower)\s+(?:of|by)\s+(?:a\s+factor\s+(?:of\s+)?)?"
        rf"(?:about\s+)?{_NUMBER}"
    ),
    "an accuracy": re.compile(r"\baccurac(?:y|ies)\W+(?:[a-z]+\s+){0,3}0?\.\d+"),
    "a parameter count": re.compile(
        rf"{_NUMBER}{_GAP}{_BIG}\s?(?:parameters|params|weights)\b"
    ),
}


def measurements(text: str) -> list[tuple[int, str, str]]:
    """Hand-typed measurements in a unit of text: (line offset, kind, words)."""
    if _CITE.search(text):  # a published number, with its source beside it
        return []
    readable = plain(text, math=True)
    found = []
    for kind, pattern in MEASUREMENTS.items():
        for hit in pattern.finditer(readable):
            offset = readable.count("\n", 0, hit.start())
            found.append((offset, kind, " ".join(hit[0].split())))
    return sorted(found)


# --------------------------------------------------------------------------------
# Code cells


def python(source: str) -> ast.Module | None:
    """The syntax tree of a cell, with IPython's own lines blanked; None if broken."""
    lines = []
    for line in source.splitlines():
        bare = line.lstrip()
        if bare.startswith(("%", "!")):
            line = line[: len(line) - len(bare)] + "pass"
        lines.append(line)
    try:
        return ast.parse("\n".join(lines))
    except SyntaxError:
        return None


def called(call: ast.Call) -> str:
    """The last part of the name that is called."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def calls(tree: ast.AST, names: Collection[str]) -> list[ast.Call]:
    """Every call of one of ``names`` below ``tree``, in order of lines."""
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    found = [call for call in found if called(call) in names]
    return sorted(found, key=lambda call: (call.lineno, call.col_offset))


def _literal_length(value: ast.expr) -> int | None:
    """Characters of the literal parts of a string; None if it is no literal."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return len(value.value.strip())
    if isinstance(value, ast.JoinedStr):
        return sum(_literal_length(part) or 0 for part in value.values)
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        left, right = _literal_length(value.left), _literal_length(value.right)
        return None if left is None or right is None else left + right
    return None


def _is_pyplot_show(call: ast.Call) -> bool:
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    return isinstance(owner, ast.Name) and owner.id in {"plt", "pyplot", "fig"}


def _module_level(tree: ast.Module, names: Collection[str]) -> list[ast.Call]:
    """Calls of ``names`` that run with the cell, not inside a function."""
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            inner |= {id(child) for child in ast.walk(node)}
    return [call for call in calls(tree, names) if id(call) not in inner]


def check_names(cell: Node) -> list[str]:
    """The exercise names that a cell passes to ``check``."""
    tree = python(cell.text)
    if tree is None:
        return []
    found = []
    for call in calls(tree, {"check"}):
        first = call.args[0] if call.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            found.append(first.value)
    return found


# --------------------------------------------------------------------------------
# The rules of a chapter

Found = Iterator[tuple[int, str]]


def _lint_sections(chapter: Chapter) -> Found:
    headings = [i.node for i in chapter.items if i.node.kind == "heading"]
    headings = [node for node in headings if node.level == 2]
    omits = chapter.meta.get("omits") or {}
    if not isinstance(omits, dict):
        yield 1, f"`omits` needs a reason each, as in {{The cost: why}}; got {omits!r}"
        omits = {}
    for name, reason in omits.items():
        if name not in SECTIONS:
            yield 1, f"`omits` names {name!r}, which is no section of the template"
        if not str(reason or "").strip():
            yield 1, f"`omits` gives no reason for leaving out {name!r}"
    wanted = [name for name in SECTIONS if name not in omits]
    present: dict[str, int] = {}
    for node in headings:
        name = template_name(node.text)
        if name not in SECTIONS:
            yield node.line, f"section {node.text!r} is not in the chapter template"
        elif name in present:
            yield node.line, f"section {name!r} stands twice"
        elif name in omits:
            yield node.line, f"section {name!r} is here and in `omits`"
        present.setdefault(name, node.line)
    for name in wanted:
        if name not in present:
            yield 1, f"section {name!r} is missing (and not in `omits` with a reason)"
    order = [name for name in present if name in wanted]
    for before, after in itertools.pairwise(order):
        if SECTIONS.index(before) > SECTIONS.index(after):
            yield present[after], f"section {after!r} must stand before {before!r}"


def _lint_header(chapter: Chapter) -> Found:
    if len(chapter.titles) != 1:
        line = chapter.titles[1].line if len(chapter.titles) > 1 else 1
        yield line, f"a page has one H1 title, got {len(chapter.titles)}"
    top = chapter.titles[0].line if chapter.titles else 1
    units = [item.node for item in chapter.inside(None) if item.node.kind == "text"]
    units = [unit for unit in units if unit.line > top]
    promise = units[0].text.strip() if units else ""
    if not promise or _ITEM.match(promise) or promise.startswith(("**", "|")):
        yield top, "the header starts with a promise: one plain sentence"
    yield from _abilities(units, top)
    before = [unit.text for unit in units if "Before you start" in unit.text]
    rest = [unit for unit in units if "Before you start" in unit.text]
    if not before:
        yield top, "the header has no 'Before you start'"
    else:
        after = "\n".join(u.text for u in units if u.line >= rest[0].line)
        linked = re.search(r"\]\([^)]+\)|\{(?:doc|ref)\}`", after)
        if not linked and not re.search(r"\bnothing\b", after, re.I):
            yield rest[0].line, "'Before you start' links to nothing that comes before"
    minutes = r"\b\d+\s*(?:(?:-|–|to)\s*\d+\s*)?min(?:utes?)?\b"
    if not any(re.search(minutes, plain(unit.text)) for unit in units):
        yield top, "the header does not say how many minutes the chapter takes"


def _abilities(units: list[Node], top: int) -> Found:
    """The list under "You will be able to"."""
    starts = [i for i, u in enumerate(units) if "You will be able to" in u.text]
    if not starts:
        yield top, "the header has no 'You will be able to'"
        return
    count = 0
    for unit in units[starts[0] + 1 :]:
        if not _ITEM.match(unit.text):
            break
        count += not unit.text.startswith((" ", "\t"))
    least, most = ABILITIES
    if not least <= count <= most:
        line = units[starts[0]].line
        yield line, f"'You will be able to' lists {least} to {most} items, got {count}"


def _lint_setup(chapter: Chapter) -> Found:
    if not chapter.cells:
        yield 1, "the chapter has no code cell"
        return
    first = chapter.cells[0]
    if "setup" not in first.node.tags:
        yield first.node.line, "the first code cell has no tag `setup`"
    if first.section is not None:
        yield first.node.line, "the set-up cell stands in the header, before any H2"
    url = str(book_config(chapter.root).get("repository", {}).get("url", ""))
    if not url:
        yield first.node.line, "_config.yml has no repository.url to install from"
    wanted = SETUP_CELL.format(url=url).strip().splitlines()
    text = re.sub(r"setup\(seed=\d+\)", "setup(seed=0)", first.node.text.strip())
    got = [line.rstrip() for line in text.splitlines()]
    if got != wanted:
        pairs = enumerate(zip(wanted, got, strict=False))
        same = min(len(wanted), len(got))
        at = next((i for i, (a, b) in pairs if a != b), same)
        asked = wanted[at] if at < len(wanted) else "nothing more"
        has = got[at] if at < len(got) else "nothing more"
        yield (
            first.node.line,
            f"the set-up cell is not the standard one: expected {asked!r}, got {has!r}",
        )


def prose_words(chapter: Chapter) -> int:
    """Words outside code, maths, folded boxes and the Exercises section."""
    counted = 0
    for item in chapter.items:
        if item.folded or item.section == "Exercises":
            continue
        if item.node.kind in {"text", "heading"}:
            counted += words(item.node.text)
    return counted


def _lint_budgets(chapter: Chapter) -> Found:
    count = prose_words(chapter)
    if not PROSE_WORDS[0] <= count <= PROSE_WORDS[1]:
        yield 1, f"{count} words of prose; the budget is {_span(PROSE_WORDS)}"
    before = _before_exercises(chapter)
    cells = [item for item in before if item.is_cell]
    if not CODE_CELLS[0] <= len(cells) <= CODE_CELLS[1]:
        yield (
            1,
            f"{len(cells)} code cells before 'Exercises'; the budget is "
            f"{_span(CODE_CELLS)}",
        )
    for item in chapter.cells:
        length = len(item.node.text.strip("\n").splitlines())
        if length > CELL_LINES:
            yield item.node.line, f"a cell of {length} lines; at most {CELL_LINES}"
    figures = sum(map(_is_figure, before))
    if not FIGURES[0] <= figures <= FIGURES[1]:
        yield 1, f"{figures} figures before 'Exercises'; the budget is {_span(FIGURES)}"


def _span(budget: tuple[int, int]) -> str:
    return f"{budget[0]} to {budget[1]}"


def _before_exercises(chapter: Chapter) -> list[Item]:
    found = []
    for item in chapter.items:
        if item.section == "Exercises":
            break
        found.append(item)
    return found


def _is_figure(item: Item) -> bool:
    """A cell with figure metadata, an explorer, or a figure directive: one each."""
    if item.is_cell:
        tree = python(item.node.text)
        drawn = tree is not None and _module_level(tree, EXPLORERS)
        return bool(item.node.figure or drawn)
    return item.node.kind == "directive" and item.node.name == "figure"


def _lint_drawing(chapter: Chapter) -> Found:
    """Text alternatives, captions, and no figure that bypasses ``show``."""
    figures: set[str] = set()
    for item in chapter.cells:
        cell = item.node
        tree = python(cell.text)
        if tree is None:
            yield cell.line, "the cell is not valid Python"
            continue
        yield from _lint_calls(cell, tree)
        figures |= _figure_variables(tree)
        if tree.body and _is_bare_figure(tree.body[-1], figures):
            yield cell.line, "the cell ends in a bare figure: end it in show(fig, alt=)"
    for item in chapter.items:
        yield from _lint_images(item.node)


def _lint_calls(cell: Node, tree: ast.Module) -> Found:
    shown = False
    for call in calls(tree, DRAWING_CALLS):
        name = called(call)
        if name == "show" and _is_pyplot_show(call):
            yield cell.line, "pyplot's show() leaves no text alternative: use show(fig)"
            continue
        given = [word.value for word in call.keywords if word.arg == "alt"]
        if name == "show":
            given += call.args[1:2]
        length = _literal_length(given[0]) if given else 0
        if not given:
            yield cell.line, f"{name}(...) has no alt="
        elif length is None:
            yield cell.line, f"the alt of {name}(...) is not written out as a string"
        elif length < ALT_LENGTH:
            yield (
                cell.line,
                f"the alt of {name}(...) has {length} characters; at least "
                f"{ALT_LENGTH} that say what the picture shows",
            )
        shown = shown or name == "show"
    runs = _module_level(tree, {"show", "live"})
    if shown and runs and not cell.figure:
        yield cell.line, "a cell that shows a figure needs mystnb figure metadata"
    if cell.figure is not None:
        for key in ("name", "caption"):
            if not str(cell.figure.get(key) or "").strip():
                yield cell.line, f"the figure metadata has no {key}"


def _figure_variables(tree: ast.Module) -> set[str]:
    """Names that hold a matplotlib figure after the cell has run."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        if called(node.value) not in FIGURE_MAKERS:
            continue
        for target in node.targets:
            if isinstance(target, ast.Tuple) and target.elts:
                target = target.elts[0]
            if isinstance(target, ast.Name):
                found.add(target.id)
    return found


def _is_bare_figure(last: ast.stmt, figures: set[str]) -> bool:
    if not isinstance(last, ast.Expr):
        return False
    value = last.value
    if isinstance(value, ast.Name):
        return value.id in figures or bool(re.search(r"(^|_)fig(ure)?\d*$", value.id))
    return isinstance(value, ast.Call) and called(value) in FIGURE_MAKERS


def _lint_images(node: Node) -> Found:
    is_picture = node.kind == "directive" and node.name in {"figure", "image"}
    if is_picture and not str(node.options.get("alt") or "").strip():
        yield node.line, f"the {node.name} {node.argument!r} has no :alt:"
    if node.kind == "text":
        text = re.sub(r"(`+)[^`]*\1", "", node.text)
        for image in re.finditer(r"!\[([^\]]*)\]\(([^)]*)\)", text):
            if not image[1].strip():
                yield node.line, f"the image {image[2]!r} has no alt text"
        for tag in re.finditer(r"<img\b[^>]*>", text, re.S):
            if not re.search(r"\balt\s*=\s*[\"'][^\"']+[\"']", tag[0]):
                yield node.line, "an <img> has no alt text"


def _lint_equations(chapter: Chapter) -> Found:
    labelled = {
        str(item.node.options["label"]): item
        for item in chapter.items
        if item.node.kind == "math" and item.node.options.get("label")
    }
    if len(labelled) < EQUATIONS:
        yield 1, f"{len(labelled)} numbered equations; at least {EQUATIONS}"
    here = [item for item in labelled.values() if item.section == "The formula"]
    omitted = "The formula" in (chapter.meta.get("omits") or {})
    if not here and not omitted:
        yield 1, "the section 'The formula' has no numbered equation"
    texts = [item.node.text for item in chapter.text]
    texts += [str(item.node.figure or "") for item in chapter.cells]
    cited = "\n".join(texts)
    roles = re.findall(r"\{(?:eq|ref|numref)\}`(?:[^`<]*<)?([^`>]+)>?`", cited)
    links = re.findall(r"\]\(#?([^)\s]+)\)", cited)
    used = {name.strip() for name in [*roles, *links]}
    for label, item in labelled.items():
        if label not in used:
            yield (
                item.node.line,
                f"the equation {label!r} is never referred to by {{eq}}",
            )


def _lint_measurements(chapter: Chapter) -> Found:
    for item in chapter.items:
        node = item.node
        texts = [node.text] if node.kind in {"text", "heading"} else []
        if item.is_cell and node.figure:
            texts.append(str(node.figure.get("caption") or ""))
        for text in texts:
            for offset, kind, said in measurements(text):
                if item.section is None and re.search(r"\bmin(ute)?s?$", said):
                    continue  # the header says how long the chapter takes
                yield (
                    node.line + offset,
                    f"hand-typed {kind}: {said!r}. Glue it, or cite who measured it",
                )


def _lint_exercises(chapter: Chapter, names: Collection[str] | None) -> Found:
    starts = [
        i
        for i, item in enumerate(chapter.items)
        if item.node.kind == "directive"
        and item.node.name in {"exercise", "exercise-start"}
    ]
    if len(starts) < EXERCISES:
        yield 1, f"{len(starts)} exercises; at least {EXERCISES}"
    if starts and names is None:
        yield 1, "visattn.exercises.names() cannot be read; the names stay unchecked"
    for at, end in itertools.pairwise([*starts, len(chapter.items)]):
        group = [chapter.items[at]]
        section = group[0].section
        for item in chapter.items[at + 1 : end]:
            if item.section != section:
                break
            group.append(item)
        if section != "Exercises":
            yield group[0].node.line, "an exercise outside the section 'Exercises'"
        yield from _lint_exercise(group, names)
    labels = {str(chapter.items[i].node.options.get("label", "")) for i in starts}
    for item in chapter.items:
        if item.node.name == "solution-start" and item.node.argument not in labels:
            yield item.node.line, f"a solution of no exercise: {item.node.argument!r}"


def _lint_exercise(group: list[Item], names: Collection[str] | None) -> Found:
    head = group[0].node
    label = str(head.options.get("label") or "")
    if not label:
        yield head.line, "the exercise has no :label:"
    if not re.match(r"^[⭐★]{1,3}(?![⭐★])", head.argument.replace("\ufe0f", "")):
        yield (
            head.line,
            f"the exercise's title starts with 1 to 3 stars: {head.argument!r}",
        )
    hints = [item.node for item in group if item.node.kind == "directive"]
    hints = [n for n in hints if re.match(r"Hint", n.argument) or n.name == "hint"]
    if not hints:
        yield head.line, f"the exercise {label!r} has no hint"
    for hint in hints:
        if not hint.classes & FOLDS and hint.name not in FOLDS:
            yield hint.line, "a hint is folded (class dropdown)"
    stubs = [i.node for i in group if i.is_cell and "exercise" in i.node.tags]
    stub_names = {name for cell in stubs for name in check_names(cell)}
    if not stubs:
        yield head.line, f"the exercise {label!r} has no stub cell tagged `exercise`"
    elif not stub_names:
        yield stubs[0].line, 'the stub cell calls no check("name", ...)'
    yield from _lint_solution(group, label, stub_names)
    for name in sorted(stub_names):
        if names is not None and name not in names:
            known = ", ".join(sorted(names))
            yield head.line, f"check({name!r}) is no known exercise; known: {known}"


def _lint_solution(group: list[Item], label: str, stub_names: set[str]) -> Found:
    head = group[0].node
    opened = [i for i, item in enumerate(group) if item.node.name == "solution-start"]
    closed = [i for i, item in enumerate(group) if item.node.name == "solution-end"]
    if len(opened) != 1 or len(closed) != 1 or closed[0] < opened[0]:
        yield (
            head.line,
            f"the exercise {label!r} needs one solution-start ... solution-end",
        )
        return
    start = group[opened[0]].node
    if start.argument != label:
        yield start.line, f"the solution is of {start.argument!r}, not of {label!r}"
    if "dropdown" not in start.classes:
        yield start.line, "a solution is folded (:class: dropdown)"
    inside = group[opened[0] : closed[0]]
    cells = [i.node for i in inside if i.is_cell and "solution" in i.node.tags]
    if not cells:
        yield start.line, "the solution has no cell tagged `solution`"
        return
    solved = {name for cell in cells for name in check_names(cell)}
    if not solved:
        yield cells[0].line, 'the solution cell calls no check("name", ...)'
    elif solved != stub_names:
        yield (
            cells[0].line,
            f"the solution checks {sorted(solved)}, the stub {sorted(stub_names)}",
        )


def _lint_summary(chapter: Chapter) -> Found:
    items = chapter.inside("Summary")
    if not items:
        return
    top = items[0].node.line
    asked = [i for i in items if (i.subsection or "").startswith("Five questions")]
    if not asked:
        yield top, "the Summary has no '### Five questions'"
    else:
        open_text = [
            i.node.text for i in asked if i.node.kind == "text" and not i.folded
        ]
        count = sum(bool(re.match(r"^\d+[.)]\s", text)) for text in open_text)
        if count != QUESTIONS:
            yield asked[0].node.line, f"'Five questions' numbers {count} questions"
        if not any(i.folded and i.node.kind == "text" for i in asked):
            yield (
                asked[0].node.line,
                "the answers to the five questions are not folded in",
            )
    sources = [i for i in items if (i.subsection or "").startswith("References")]
    if not sources:
        yield top, "the Summary has no '### References'"
    elif not any(_CITE.search(i.node.text) for i in sources if i.node.kind == "text"):
        yield sources[0].node.line, "'References' cites nothing"


def _lint_citations(chapter: Chapter) -> Found:
    known = bibliography(chapter.root)
    for item in chapter.text:
        for cite in _CITE.finditer(item.node.text):
            for key in re.split(r"\s*,\s*", cite[1].strip()):
                if key not in known:
                    yield item.node.line, f"{key!r} is not in book/references.bib"


def lint_chapter(
    path: Path | str,
    *,
    root: Path | str = ROOT,
    names: Collection[str] | None = None,
) -> list[Problem]:
    """Hold one page against the chapter template.

    A page without ``mechanism:`` in its front matter is no chapter of a mechanism:
    only its pictures, cells and citations are looked at.

    Args:
        path: The page, a MyST Markdown file.
        root: The repository, for ``_config.yml`` and ``book/references.bib``.
        names: The known exercise names; by default ``visattn.exercises.names()``.

    Returns:
        The problems, in the order of their lines.
    """
    path, root = Path(path).resolve(), Path(root).resolve()
    chapter = Chapter.read(path, root)
    found = [*_lint_drawing(chapter), *_lint_citations(chapter)]
    if chapter.mechanism is not None:
        if names is None:
            names = exercise_names()
        found += _lint_sections(chapter)
        found += _lint_header(chapter)
        found += _lint_setup(chapter)
        found += _lint_budgets(chapter)
        found += _lint_equations(chapter)
        found += _lint_measurements(chapter)
        found += _lint_exercises(chapter, names)
        found += _lint_summary(chapter)
    return sorted({Problem(path, line, message) for line, message in found})


def lint_executed(path: Path | str, *, root: Path | str = ROOT) -> list[Problem]:
    """Hold the executed notebook of a page against the page's exercises.

    Cells are matched by their source, so a notebook of an older run says nothing
    about a cell that was edited since. Without an executed notebook there is nothing
    to say: the page checks look at the built page in any case.
    """
    path, root = Path(path).resolve(), Path(root).resolve()
    notebook = executed_notebook(path, root)
    if not notebook.exists():
        return []
    found: list[Problem] = []
    outputs: dict[str, Mapping[str, Any]] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            outputs["".join(cell["source"]).strip()] = cell
    for item in Chapter.read(path, root).cells:
        run = outputs.get(item.node.text.strip())
        if run is None:
            continue
        passed = says_passed(output_text(run))
        if "solution" in item.node.tags and check_names(item.node) and not passed:
            found.append(Problem(path, item.node.line, "the solution does not pass"))
        if "exercise" in item.node.tags and passed:
            found.append(Problem(path, item.node.line, "the stub passes its own check"))
        if kinds := _bare_images(run):
            message = f"the cell outputs a bare {kinds[0]}: end it in show(fig, alt=)"
            found.append(Problem(path, item.node.line, message))
    return found


def executed_notebook(path: Path, root: Path) -> Path:
    """Where the executed notebook of a page lies."""
    relative = path.relative_to(root).with_suffix(".ipynb")
    return root / EXECUTED / relative


def output_text(cell: Mapping[str, Any]) -> str:
    """What an executed cell printed and returned, as plain text."""
    parts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        text = output.get("text") or data.get("text/plain") or data.get("text/html", "")
        parts.append("".join(text))
    return "\n".join(parts)


def says_passed(text: str) -> bool:
    """Whether the output of ``check`` reports success."""
    return bool(re.search(r"^passed: ", text, re.M))


def _bare_images(cell: Mapping[str, Any]) -> list[str]:
    kinds: list[str] = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "text/html" in data or "application/vnd.jupyter.widget-view+json" in data:
            continue
        kinds += [kind for kind in ("image/png", "image/jpeg") if kind in data]
        drawing = "".join(data.get("image/svg+xml", ""))
        if drawing and not ('role="img"' in drawing and "aria-label=" in drawing):
            kinds.append("image/svg+xml")
    return kinds


def exercise_names() -> list[str] | None:
    """The names that ``visattn.exercises.check`` knows; None if it has none."""
    try:
        return list(importlib.import_module("visattn.exercises").names())
    except (ImportError, AttributeError):
        return None


def book_config(root: Path) -> dict[str, Any]:
    """``_config.yml`` as a mapping (empty if there is none)."""
    path = root / "_config.yml"
    loaded = _yaml(path.read_text(encoding="utf-8")) if path.exists() else None
    return loaded if isinstance(loaded, dict) else {}


def bibliography(root: Path) -> set[str]:
    """The keys of ``book/references.bib``."""
    path = root / "book" / "references.bib"
    if not path.exists():
        return set()
    text = path.read_text(encoding="utf-8")
    entries = re.findall(r"^\s*@(\w+)\s*\{\s*([^,\s}]+)\s*,", text, re.M)
    return {key for kind, key in entries if kind.lower() != "comment"}


# --------------------------------------------------------------------------------
# The rules of the house


def toc_files(root: Path) -> list[str]:
    """Every page of ``_toc.yml``, in order, without suffix."""
    found: list[str] = []

    def visit(entry: Any) -> None:
        if isinstance(entry, list):
            for part in entry:
                visit(part)
        elif isinstance(entry, dict):
            for key in ("root", "file"):
                if key in entry:
                    found.append(str(entry[key]).removesuffix(".md"))
            for key in ("parts", "chapters", "subtrees", "entries", "sections"):
                visit(entry.get(key))

    path = root / "_toc.yml"
    visit(_yaml(path.read_text(encoding="utf-8")) if path.exists() else None)
    return found


def pages(root: Path) -> list[Path]:
    """Every Markdown page below ``book``."""
    skipped = {"node_modules", "static", "tools", "vendor"}
    found = sorted((root / "book").rglob("*.md"))
    return [p for p in found if not skipped & set(p.relative_to(root).parts)]


def mechanisms(root: Path) -> list[Path]:
    """Every mechanism file, without the private helpers."""
    folder = root / "src" / "visattn" / "mechanisms"
    return [path for path in sorted(folder.glob("*.py")) if path.name[0] != "_"]


def _house_rooms(root: Path) -> Iterator[Problem]:
    """Four rooms of one name: chapter, module, tests, exercises."""
    chapters = {path: Chapter.read(path, root).mechanism for path in pages(root)}
    stems = {path.stem for path in mechanisms(root)}
    for module in mechanisms(root):
        stem = module.stem
        homes = [p for p, m in chapters.items() if m == stem]
        exercises = root / "src" / "visattn" / "exercises" / f"{stem}.py"
        awaiting = stem in AWAITING_CHAPTER
        if awaiting and (homes or exercises.exists()):
            message = "has a chapter or exercises now: take it out of AWAITING_CHAPTER"
            yield Problem(module, 1, message)
        # A mechanism has one chapter of its name, and may have more under other names.
        if not awaiting and [path.stem for path in homes].count(stem) != 1:
            got = ", ".join(str(path.relative_to(root)) for path in homes) or "none"
            message = f"needs one chapter book/**/{stem}.md with `mechanism: {stem}`"
            yield Problem(module, 1, f"{message}; got {got}")
        tests = root / "tests" / "mechanisms" / f"test_{stem}.py"
        if not tests.exists() or "def test_" not in tests.read_text(encoding="utf-8"):
            yield Problem(module, 1, f"has no tests in tests/mechanisms/test_{stem}.py")
        if not awaiting and not exercises.exists():
            place = f"src/visattn/exercises/{stem}.py"
            yield Problem(module, 1, f"has no exercises in {place}")
        yield from _house_tiers(module)
    for path, mechanism in chapters.items():
        if mechanism is not None and mechanism not in stems:
            message = f"src/visattn/mechanisms/{mechanism}.py does not exist"
            yield Problem(path, 1, message)


def _house_tiers(module: Path) -> Iterator[Problem]:
    """The loop, the vectorised function, the Module."""
    text = module.read_text(encoding="utf-8")
    tree = ast.parse(text)
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    loops = [name for name in functions if name.endswith("_loop") and name[0] != "_"]
    if not loops:
        yield Problem(module, 1, "has no *_loop function: the formula, literally")
    for name in loops:
        loop, fast = functions[name], functions.get(name.removesuffix("_loop"))
        if fast is None:
            stem = name.removesuffix("_loop")
            yield Problem(module, loop.lineno, f"{name} has no vectorised {stem}")
            continue
        wanted = [arg.arg for arg in [*loop.args.posonlyargs, *loop.args.args]]
        given = [arg.arg for arg in [*fast.args.posonlyargs, *fast.args.args]]
        if given[: len(wanted)] != wanted:
            yield Problem(
                module,
                fast.lineno,
                f"{fast.name}({', '.join(given)}) does not start with the parameters "
                f"of {name}({', '.join(wanted)})",
            )
    if not _module_classes(text):
        yield Problem(module, 1, "has no nn.Module class (nor re-exports torch.nn's)")


def _module_classes(text: str) -> set[str]:
    """Classes that derive from nn.Module, and documented re-exports of torch.nn."""
    found: set[str] = set()
    tree = ast.parse(text)
    exported = _string_list(tree, "__all__")
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base) for base in node.bases}
            if any(map(_is_torch_nn, node.bases)) or bases & {"Module", *found}:
                found.add(node.name)
            continue
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and (node.module or "") == "torch.nn":
            names = [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.Assign) and _is_torch_nn(node.value):
            names = [t.id for t in node.targets if isinstance(t, ast.Name)]
        found |= {n for n in names if n in exported and _is_explained(n, text, tree)}
    return found


def _is_torch_nn(value: ast.expr) -> bool:
    return ast.unparse(value).startswith(("nn.", "torch.nn."))


def _is_explained(name: str, text: str, tree: ast.Module) -> bool:
    """Whether the module's docstring, or a comment in ``__all__``, says why."""
    commented = re.search(rf"[\"']{re.escape(name)}[\"'],?\s*#\s*\S", text)
    return bool(commented or name in (ast.get_docstring(tree) or ""))


def _string_list(tree: ast.Module, name: str) -> list[str]:
    """The strings of a top-level list or tuple called ``name``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            parts = ast.walk(node.value)
            constants = [part for part in parts if isinstance(part, ast.Constant)]
            return [c.value for c in constants if isinstance(c.value, str)]
    return []


def _house_docstrings(root: Path) -> Iterator[Problem]:
    for path in sorted((root / "src" / "visattn").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            marks = [ast.unparse(mark) for mark in node.decorator_list]
            if node.name[0] == "_" or any(mark.endswith("overload") for mark in marks):
                continue
            if not ast.get_docstring(node):
                yield Problem(path, node.lineno, f"{node.name} has no docstring")


def _house_exports(root: Path) -> Iterator[Problem]:
    """Every name in ``visattn._EXPORTS`` is defined where the table says."""
    init = root / "src" / "visattn" / "__init__.py"
    if not init.exists():
        yield Problem(init, 1, "is missing")
        return
    exports: dict[str, str] = {}
    line = 1
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        target = node.target if isinstance(node, ast.AnnAssign) else target
        if isinstance(target, ast.Name) and target.id == "_EXPORTS":
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            assert node.value is not None
            exports, line = ast.literal_eval(node.value), node.lineno
    if not exports:
        yield Problem(init, 1, "has no table _EXPORTS")
    for name, module in exports.items():
        place = root.joinpath("src", *module.split("."))
        files = (place.with_suffix(".py"), place / "__init__.py")
        source = next((path for path in files if path.exists()), None)
        if source is None:
            yield Problem(init, line, f"_EXPORTS: {module} (of {name}) does not exist")
        elif name not in _top_level_names(source):
            yield Problem(init, line, f"_EXPORTS: {module} does not define {name}")


def _top_level_names(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            found |= {ast.unparse(target) for target in node.targets}
            # A lazy package lists what it hands out in a table of names.
            if ast.unparse(node.targets[0]).endswith("_EXPORTS"):
                found |= set(ast.literal_eval(node.value))
        elif isinstance(node, ast.AnnAssign):
            found.add(ast.unparse(node.target))
    return found


def _house_floors(root: Path) -> Iterator[Problem]:
    """Nothing below imports anything above."""
    package = root / "src" / "visattn"
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts == ("__init__",):
            continue  # the lazy table of the whole package
        floor = FLOORS.get(parts[0])
        if floor is None and not parts[0].startswith("_"):
            message = f"visattn.{parts[0]} has no floor; give it one in lint.py"
            yield Problem(path, 1, message)
            continue
        floor = -1 if floor is None else floor  # a private helper of everyone
        for line, module in _imports(path, parts):
            yield from _judge_import(path, line, module, parts[0], floor)


def _judge_import(
    path: Path, line: int, module: str, own: str, floor: int
) -> Iterator[Problem]:
    first, *rest = module.split(".")
    if first != "visattn":
        if floor <= FLOORS["mechanisms"] and not (
            first in GROUND or first in sys.stdlib_module_names
        ):
            allowed = ", ".join(sorted(GROUND))
            yield Problem(path, line, f"imports {first}; down here only {allowed}")
        return
    target = rest[0] if rest else ""
    if target.startswith("_") and target != "__init__":
        return
    if target == "" and floor < FLOORS["lab"]:
        message = "imports from the package's own front door, which leads upstairs"
        yield Problem(path, line, message)
    elif target and FLOORS.get(target, floor) > floor:
        yield Problem(path, line, f"visattn.{own} may not import visattn.{target}")


def _imports(path: Path, parts: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Every import of a file as (line, absolute module name)."""
    package = ("visattn", *parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package[: len(package) - node.level + 1]
                base = ".".join([*up, base]).rstrip(".")
            if base == "visattn":  # from visattn import lab
                for alias in node.names:
                    below = alias.name in FLOORS or alias.name.startswith("_")
                    yield node.lineno, f"visattn.{alias.name}" if below else "visattn"
            else:
                yield node.lineno, base


def _house_toc(root: Path) -> Iterator[Problem]:
    toc = root / "_toc.yml"
    if not toc.exists():
        yield Problem(toc, 1, "is missing")
        return
    listed = toc_files(root)
    for path in pages(root):
        name = str(path.relative_to(root).with_suffix(""))
        if listed.count(name) != 1:
            yield Problem(path, 1, f"stands {listed.count(name)} times in _toc.yml")
    for name in listed:
        if not (root / f"{name}.md").exists():
            yield Problem(toc, 1, f"lists {name}, which has no .md file")


def _house_hygiene(root: Path) -> Iterator[Problem]:
    """No text file names the machine it was written on, or a package registry."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=False,
    )
    if listing.returncode:
        message = f"git ls-files failed: {listing.stderr.decode().strip()}"
        yield Problem(root, 1, message)
        return
    for name in sorted(set(listing.stdout.decode().split("\0")) - {""}):
        path = root / name
        if not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for what, pattern in BANNED_TEXT.items():
            if hit := pattern.search(text):
                line = text.count("\n", 0, hit.start()) + 1
                yield Problem(path, line, f"names {what}: {hit[0]!r}")


def lint_house(root: Path | str = ROOT) -> list[Problem]:
    """Look at the repository as a whole.

    Every mechanism has its four rooms and three tiers; everything public has a
    docstring; the table of exports is true; imports go downstairs only; every page
    stands in ``_toc.yml``; no file names a machine path or a package registry.
    """
    root = Path(root).resolve()
    found = [
        *_house_rooms(root),
        *_house_docstrings(root),
        *_house_exports(root),
        *_house_floors(root),
        *_house_toc(root),
        *_house_hygiene(root),
    ]
    return sorted(set(found))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every problem; return 1 if there is one."""
    parser = argparse.ArgumentParser(description="Lint the chapters and the house.")
    parser.add_argument("files", nargs="*", type=Path, help="pages (default: all)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository")
    parser.add_argument("--words", action="store_true", help="print the word counts")
    options = parser.parse_args(arguments)
    files = options.files or pages(options.root)
    found: list[Problem] = [] if options.files else lint_house(options.root)
    for path in files:
        found += lint_chapter(path, root=options.root)
        found += lint_executed(path, root=options.root)
        if options.words:
            chapter = Chapter.read(path, options.root)
            print(f"{path}: {prose_words(chapter)} words of prose")
    for problem in found:
        print(problem)
    print(f"{len(files)} pages, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
