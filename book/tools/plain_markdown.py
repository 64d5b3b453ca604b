"""MyST Markdown -> Markdown that Jupyter and Colab show well.

A notebook viewer knows headings, tables, links and mathematics, but no directives,
roles or labels. `Converter` rewrites those of one page:

| MyST                                  | in the notebook                          |
|---------------------------------------|------------------------------------------|
| note, tip, warning, admonition, prf:* | quotation with a bold title              |
| class dropdown, dropdown, solution    | `<details>` with a summary               |
| exercise                              | bold title with its number               |
| labelled mathematics                  | a tag with the number of the book        |
| figure, image                         | picture with an absolute address         |
| list-table                            | Markdown table                           |
| cite, eq, numref, ref, doc, [](label) | author and year, number or title, linked |
| glue                                  | the name of the value, linked to the page |

The value behind `glue` is known only after a run, and the notebook is committed
without outputs; so the name stands there, which the reader finds in the cell above.
An unknown directive is an error: nothing is dropped in silence.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from chapters import Page, pages, settings

ADMONITIONS = {
    "attention": "Attention",
    "caution": "Caution",
    "danger": "Danger",
    "error": "Error",
    "hint": "Hint",
    "important": "Important",
    "note": "Note",
    "seealso": "See also",
    "tip": "Tip",
    "warning": "Warning",
}
DROPPED = {"bibliography", "contents", "eval-rst", "index", "raw", "tableofcontents"}
DROPPED |= {"toctree", "solution-end", "exercise-end"}
CONTAINERS = {"container", "div", "grid", "grid-item", "tab-set"}
TITLED = {"card", "grid-item-card", "margin", "sidebar", "tab-item", "topic"}
AMS_NUMBERED = re.compile(r"^\\begin\{(equation|align|gather|multline|alignat)\}")

OPEN = re.compile(r"^(?P<indent>\s*)(?P<fence>`{3,}|~{3,}|:{3,})(?P<info>.*)$")
DIRECTIVE = re.compile(r"^\{(?P<name>[\w:+-]+)\}\s*(?P<argument>.*)$")
LABEL = re.compile(r"^\((?P<label>[^()\s]+)\)=\s*$")
DOLLARS = re.compile(r"\$\$(?P<body>.+?)\$\$[ \t]*(?:\((?P<label>[\w:.-]+)\))?", re.S)
INLINE = re.compile(
    r"""
      \{(?P<role>[a-zA-Z][\w:+.-]*)\}(?P<tick>`+)(?P<content>.+?)(?P=tick)
    | (?P<code>(?P<mark>`+)(?!`).+?(?<!`)(?P=mark)(?!`))
    | (?P<display>\$\$.+?\$\$(?:[ \t]*\((?P<label>[\w:.-]+)\))?)
    | (?P<math>(?<![\\$])\$(?!\s)(?:\\.|[^$\\])+?\$)
    | (?P<image>!)?\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]
      \((?P<target>[^()\s]*(?:\([^()]*\)[^()\s]*)*)(?P<hint>\s+"[^"]*")?\)
      (?P<attributes>\{[.\#\w][^}`]*\})?
    """,
    re.S | re.X,
)


@dataclasses.dataclass(frozen=True)
class Fence:
    """One fenced block: a directive, or verbatim code (name is empty)."""

    indent: str
    raw: str
    name: str
    argument: str
    options: dict[str, Any]
    body: str

    @property
    def classes(self) -> set[str]:
        """The values of `:class:`."""
        return set(str(self.options.get("class", "")).split())


@dataclasses.dataclass(frozen=True)
class Target:
    """What a label stands for."""

    docname: str
    anchor: str
    kind: str  # equation, figure, table, exercise, section, theorem, ...
    number: str
    title: str

    @property
    def words(self) -> str:
        """How a reference without its own text reads."""
        if self.kind == "equation":
            return f"({self.number})"
        if self.kind == "section" or not self.number:
            return self.title
        return f"{self.kind.capitalize()} {self.number}"


def blocks(text: str) -> Iterator[str | Fence]:
    """Split text into runs of plain lines and fenced blocks."""
    lines = text.split("\n")
    plain: list[str] = []
    at = 0
    while at < len(lines):
        opened = OPEN.match(lines[at])
        if not opened or ("`" in opened["info"] and "`" in opened["fence"]):
            plain.append(lines[at])
            at += 1
            continue
        fence = opened["fence"]
        close = re.compile(rf"^\s*{re.escape(fence[0])}{{{len(fence)},}}\s*$")
        end = at + 1
        while end < len(lines) and not close.match(lines[end]):
            end += 1
        if plain:
            yield "\n".join(plain)
            plain = []
        yield _fence(opened, lines[at : end + 1], lines[at + 1 : end])
        at = end + 1
    if plain:
        yield "\n".join(plain)


def _fence(opened: re.Match[str], raw: list[str], body: list[str]) -> Fence:
    indent = opened["indent"]
    body = [line.removeprefix(indent) for line in body]
    directive = DIRECTIVE.match(opened["info"].strip())
    if not directive:
        return Fence(indent, "\n".join(raw), "", "", {}, "\n".join(body))
    options, body = _options(body)
    return Fence(
        indent,
        "\n".join(raw),
        directive["name"],
        directive["argument"].strip(),
        options,
        "\n".join(body).strip("\n"),
    )


def _options(body: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Split the options off: `:key: value` lines or a YAML block between `---`."""
    if body and body[0].strip() == "---":
        end = next((i for i, line in enumerate(body[1:], 1) if line == "---"), 0)
        if end:
            return yaml.safe_load("\n".join(body[1:end])) or {}, body[end + 1 :]
    options: dict[str, Any] = {}
    while body and (match := re.match(r"^:([\w-]+):\s*(.*)$", body[0])):
        options[match[1]] = match[2]
        body = body[1:]
    return options, body


class Index:
    """The labels of the whole book: what each one is and how it is numbered."""

    def __init__(self, root: Path) -> None:
        """Read every page of the table of contents."""
        config = settings(root)
        self.root = root
        self.base_url = config["html"]["baseurl"].rstrip("/")
        self.repository = config["repository"]["url"].rstrip("/")
        self.branch = config["repository"].get("branch", "main")
        self.titles: dict[str, str] = {}
        self.targets: dict[str, Target] = {}
        self.references = _references(root, config)
        self._counters: dict[str, Counter[str]] = {}
        for page in pages(root):
            self._scan(page)

    def url(self, docname: str, anchor: str = "") -> str:
        """Return the address of a page of the built book."""
        return f"{self.base_url}/{docname}.html" + (f"#{anchor}" if anchor else "")

    def raw_url(self, path: str) -> str:
        """Return the address of a file of the repository."""
        owner = self.repository.removeprefix("https://github.com/")
        return f"https://raw.githubusercontent.com/{owner}/{self.branch}/{path}"

    def colab_url(self, docname: str) -> str:
        """Return the address that opens a notebook of the repository on Colab."""
        owner = self.repository.removeprefix("https://github.com/")
        return (
            "https://colab.research.google.com/github/"
            f"{owner}/blob/{self.branch}/{docname}.ipynb"
        )

    def next_number(self, page: Page, kind: str) -> str:
        """Count one more thing of a kind, as Sphinx does: per numbered chapter."""
        chapter = "" if page.number is None else str(page.number)
        counter = self._counters.setdefault(chapter, Counter())
        counter[kind] += 1
        return f"{chapter}.{counter[kind]}" if chapter else str(counter[kind])

    def add(self, page: Page, label: object, kind: str, title: str = "") -> str:
        """Register a numbered thing and return its number."""
        number = self.next_number(page, kind)
        if label:
            name = str(label)
            self.targets[name] = Target(page.docname, name, kind, number, title)
        return number

    def _scan(self, page: Page) -> None:
        for cell in page.read().cells if page.has_code else [None]:
            if cell is None:
                self._scan_text(page, page.text)
            elif cell.cell_type == "markdown":
                self._scan_text(page, cell.source)
            else:
                figure = cell.metadata.get("mystnb", {}).get("figure", {})
                if figure.get("caption"):
                    name, caption = figure.get("name"), figure["caption"]
                    self.add(page, name, "figure", caption)

    def _scan_text(self, page: Page, text: str) -> None:
        for block in blocks(text):
            if isinstance(block, str):
                self._scan_plain(page, block)
            elif block.name:
                self._scan_fence(page, block)

    def _scan_plain(self, page: Page, text: str) -> None:
        waiting: list[str] = []
        for line in text.split("\n"):
            if label := LABEL.match(line):
                waiting.append(label["label"])
            elif heading := re.match(r"^#{1,6}\s+(.*)$", line):
                title = heading[1].strip()
                self.titles.setdefault(page.docname, title)
                for name in waiting:
                    self.targets[name] = Target(
                        page.docname, name, "section", "", title
                    )
                waiting = []
            elif line.strip():
                for name in waiting:
                    self.targets[name] = Target(page.docname, name, "section", "", name)
                waiting = []
            if AMS_NUMBERED.match(line):
                self.next_number(page, "equation")
        for match in DOLLARS.finditer(_without_code(text)):
            if match["label"]:
                self.add(page, match["label"], "equation")

    def _scan_fence(self, page: Page, fence: Fence) -> None:
        label = fence.options.get("label") or fence.options.get("name")
        numbered = "nonumber" not in fence.options
        kind = _kind(fence)
        if kind == "equation" and label:
            self.add(page, label, kind)
        elif kind and kind != "equation" and numbered:
            self.add(page, label, kind, fence.argument)
        if fence.name.startswith(("prf:", "exercise", "solution")) or (
            fence.name in {"admonition", "dropdown", *ADMONITIONS, *TITLED, *CONTAINERS}
        ):
            self._scan_text(page, fence.body)


def _kind(fence: Fence) -> str:
    """Return what kind of numbered thing a directive makes, or nothing."""
    if fence.name == "math":
        return "equation"
    if fence.name == "figure" and fence.body.strip():
        return "figure"
    if fence.name in ("table", "list-table") and fence.argument:
        return "table"
    if fence.name in ("exercise", "exercise-start"):
        return "exercise"
    if fence.name.startswith("prf:") and fence.name != "prf:proof":
        return fence.name.removeprefix("prf:")
    return ""


def _without_code(text: str) -> str:
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", text, flags=re.S)


def _references(root: Path, config: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Return key -> (authors, year, address) of the bibliography files."""
    from pybtex.database import parse_file

    found: dict[str, tuple[str, str, str]] = {}
    for name in config.get("bibtex_bibfiles", []):
        if not (root / name).exists():
            continue
        for key, entry in parse_file(str(root / name)).entries.items():
            people = [
                " ".join(person.prelast_names + person.last_names).strip("{}")
                for person in entry.persons.get("author", [])
            ]
            fields = entry.fields
            address = fields.get("url", "")
            if not address and "eprint" in fields:
                address = f"https://arxiv.org/abs/{fields['eprint']}"
            if not address and "doi" in fields:
                address = f"https://doi.org/{fields['doi']}"
            found[key] = (_names(people), fields.get("year", ""), address)
    return found


def _names(people: list[str]) -> str:
    if len(people) > 2:
        return f"{people[0]} et al."
    return " and ".join(people) or "Anonymous"


class Converter:
    """Rewrites the Markdown cells of one page."""

    def __init__(self, index: Index, page: Page) -> None:
        """Prepare for one page; numbers are counted from its beginning."""
        self.index = index
        self.page = page
        self._solution_of = ""

    def convert(self, text: str) -> str:
        """Return a Markdown cell in plain Markdown."""
        parts = []
        for block in blocks(text):
            if isinstance(block, str):
                parts.append(self._plain(block))
            elif not block.name:
                parts.append(block.raw)
            else:
                made = f"\n{self._directive(block).strip()}\n".split("\n")
                indented = (f"{block.indent}{line}".rstrip() for line in made)
                parts.append("\n".join(indented))
        joined = re.sub(r"\n[ \t]*\n(?:[ \t]*\n)+", "\n\n", "\n".join(parts))
        return joined.strip("\n")

    def caption(self, figure: dict[str, Any]) -> str:
        """Return the caption of a code cell's figure as a line of text."""
        target = self.index.targets.get(str(figure.get("name")))
        number = f" {target.number}" if target else ""
        return f"*Figure{number}. {self.inline(str(figure['caption']))}*"

    # directives -----------------------------------------------------------------

    def _directive(self, fence: Fence) -> str:
        name = fence.name
        if name in DROPPED or (name == "only" and fence.argument != "html"):
            return ""
        if name.startswith("prf:"):
            return self._theorem(fence)
        if name in ADMONITIONS:
            inner = "\n".join(filter(None, [fence.argument, fence.body]))
            return self._box(fence, ADMONITIONS[name], inner)
        if name in CONTAINERS or name == "only":
            return self.convert(fence.body)
        if name in TITLED:
            return self._box(fence, fence.argument, fence.body)
        handlers: dict[str, Callable[[Fence], str]] = {
            "admonition": self._admonition,
            "code": self._code,
            "code-block": self._code,
            "dropdown": self._dropdown,
            "epigraph": self._quotation,
            "exercise": self._exercise,
            "exercise-start": self._exercise,
            "figure": self._figure,
            "image": self._figure,
            "list-table": self._list_table,
            "math": self._math,
            "pull-quote": self._quotation,
            "solution": self._solution,
            "solution-start": self._solution_start,
            "table": self._table,
        }
        if name not in handlers:
            raise ValueError(
                f"{self.page.docname}.md uses the directive {{{name}}}, which "
                "book/tools/plain_markdown.py cannot turn into plain Markdown"
            )
        return handlers[name](fence)

    def _box(self, fence: Fence, title: str, body: str) -> str:
        if "dropdown" in fence.classes:
            return _details(self.inline(title), self.convert(body))
        heading = f"**{self.inline(title)}**\n\n" if title else ""
        return _quote(heading + self.convert(body))

    def _admonition(self, fence: Fence) -> str:
        return self._box(fence, fence.argument, fence.body)

    def _dropdown(self, fence: Fence) -> str:
        title = fence.argument or "More"
        return _details(self.inline(title), self.convert(fence.body))

    def _quotation(self, fence: Fence) -> str:
        return _quote(self.convert(fence.body))

    def _number(self, fence: Fence) -> str:
        label = fence.options.get("label") or fence.options.get("name")
        target = self.index.targets.get(str(label))
        return f" {target.number}" if target and target.number else ""

    def _exercise(self, fence: Fence) -> str:
        title = f" {self.inline(fence.argument)}" if fence.argument else ""
        head = f"**Exercise{self._number(fence)}.{title}**"
        return f"\n{head}\n\n{self.convert(fence.body)}\n"

    def _solution(self, fence: Fence) -> str:
        target = self.index.targets.get(fence.argument)
        words = f" to {target.words}" if target else ""
        return _details(f"Solution{words}", self.convert(fence.body))

    def _solution_start(self, fence: Fence) -> str:
        target = self.index.targets.get(fence.argument)
        words = f" to {target.words}" if target else ""
        return f"**Solution{words}** (the code is folded; open it when you have tried)"

    def _theorem(self, fence: Fence) -> str:
        kind = fence.name.removeprefix("prf:").capitalize()
        title = f" ({self.inline(fence.argument)})" if fence.argument else ""
        body = self.convert(fence.body)
        if "dropdown" in fence.classes:
            return _details(f"{kind}{self._number(fence)}{title}", body)
        return _quote(f"**{kind}{self._number(fence)}{title}.**\n\n{body}")

    def _code(self, fence: Fence) -> str:
        return f"```{fence.argument}\n{fence.body}\n```"

    def _math(self, fence: Fence) -> str:
        body = "\n".join(filter(None, [fence.argument, fence.body]))
        return self._display(body, fence.options.get("label"))

    def _display(self, body: str, label: object) -> str:
        target = self.index.targets.get(str(label)) if label else None
        tag = f" \\tag{{{target.number}}}" if target else ""
        body = body.strip()
        if tag and "\\\\" in body and "\\begin{" not in body:
            body = f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"
        return f"$$\n{body}{tag}\n$$"

    def _figure(self, fence: Fence) -> str:
        alt = fence.options.get("alt", "")
        picture = f"![{alt}]({self._picture(fence.argument)})"
        if fence.name == "image" or not fence.body.strip():
            return picture
        caption, _, legend = fence.body.strip().partition("\n\n")
        line = f"*Figure{self._number(fence)}. {self.inline(caption)}*"
        return "\n\n".join(filter(None, [picture, line, self.convert(legend)]))

    def _table(self, fence: Fence) -> str:
        body = self.convert(fence.body)
        if not fence.argument:
            return body
        return f"*Table{self._number(fence)}. {self.inline(fence.argument)}*\n\n{body}"

    def _list_table(self, fence: Fence) -> str:
        rows: list[list[str]] = []
        for line in fence.body.split("\n"):
            if row := re.match(r"^[*-]\s+[*-]\s?(.*)$", line):
                rows.append([row[1]])
            elif cell := re.match(r"^\s+[*-]\s?(.*)$", line):
                rows[-1].append(cell[1])
            elif line.strip():
                rows[-1][-1] += " " + line.strip()
        head = int(fence.options.get("header-rows", 0) or 0)
        width = max((len(row) for row in rows), default=0)
        first = rows[:head] or [[""] * width]
        table = [*first, ["---"] * width, *rows[head:]]
        text = "\n".join("| " + " | ".join(row) + " |" for row in table)
        return self._table(dataclasses.replace(fence, body=text))

    # plain text -----------------------------------------------------------------

    def _plain(self, text: str) -> str:
        kept = [
            line
            for line in text.split("\n")
            if not LABEL.match(line)
            and not line.startswith("%")
            and not line.startswith("+++")
            and not re.match(r"^\{[.#][^}]*\}\s*$", line)
        ]
        return self.inline("\n".join(kept))

    def inline(self, text: str) -> str:
        """Rewrite roles, labels of display mathematics, links and pictures."""
        return INLINE.sub(self._inline, text)

    def _inline(self, match: re.Match[str]) -> str:
        if match["role"]:
            return self._role(match["role"], match["content"])
        if match["display"]:
            label = match["label"]
            if not label:
                return match["display"]
            body = match["display"].rpartition("$$")[0].removeprefix("$$")
            return self._display(body, label)
        if match["target"] is not None:
            return self._link(match)
        return match[0]

    def _link(self, match: re.Match[str]) -> str:
        target, hint = match["target"], match["hint"] or ""
        if match["image"]:
            return f"![{match['text']}]({self._picture(target)}{hint})"
        address, words = self._resolve(target)
        text = self.inline(match["text"]) or words
        return f"[{text}]({address}{hint})"

    def _resolve(self, target: str) -> tuple[str, str]:
        """Return the address and the natural words of a link target."""
        if re.match(r"^[a-z]+:", target):
            return target, target
        found = self.index.targets.get(target.removeprefix("#"))
        if found:
            return self.index.url(found.docname, found.anchor), found.words
        path, _, anchor = target.partition("#")
        if not path:
            return self.index.url(self.page.docname, anchor), anchor
        docname = re.sub(r"\.(md|ipynb)$", "", self._below_root(path))
        if docname in self.index.titles:
            return self.index.url(docname, anchor), self.index.titles[docname]
        if (self.index.root / self._below_root(path)).exists():
            place = f"blob/{self.index.branch}/{self._below_root(path)}"
            return f"{self.index.repository}/{place}", posixpath.basename(path)
        raise ValueError(f"{self.page.docname}.md links to an unknown {target!r}")

    def _below_root(self, path: str) -> str:
        if path.startswith("/"):
            return path.lstrip("/")
        return posixpath.normpath(
            posixpath.join(posixpath.dirname(self.page.docname), path)
        )

    def _picture(self, path: str) -> str:
        if re.match(r"^[a-z]+:", path):
            return path
        return self.index.raw_url(self._below_root(path))

    # roles ----------------------------------------------------------------------

    def _role(self, role: str, content: str) -> str:
        words, label = _words_and_label(content)
        if role.startswith("cite"):
            keys = [key.strip() for key in content.split(",")]
            return self._cite(role, keys)
        if role.startswith("glue"):
            name = content.split(":")[0].strip()
            return f"[`{name}`]({self.index.url(self.page.docname)})"
        if role in ("eq", "ref", "numref", "prf:ref", "math:numref"):
            return self._reference(role, words, label)
        if role == "doc":
            address, title = self._resolve(f"{label}.md")
            return f"[{words or title}]({address})"
        if role == "math":
            return f"${content}$"
        if role == "abbr":
            return content
        if role in ("sub", "sup"):
            return f"<{role}>{content}</{role}>"
        if role in ("term", "kbd", "guilabel") or role.startswith("bdg"):
            return f"**{words or content}**"
        # the rest are names of code: func, class, py:meth, code, file, ...
        name = (words or label).removeprefix("~")
        return f"`{name.rpartition('.')[2] if content.startswith('~') else name}`"

    def _cite(self, role: str, keys: list[str]) -> str:
        made = []
        for key in keys:
            if key not in self.index.references:
                raise ValueError(f"{self.page.docname}.md cites an unknown {key!r}")
            people, year, address = self.index.references[key]
            text = f"{people} ({year})" if role.endswith(":t") else f"{people}, {year}"
            made.append(f"[{text}]({address})" if address else text)
        joined = "; ".join(made)
        return joined if role.endswith(":t") else f"({joined})"

    def _reference(self, role: str, words: str, label: str) -> str:
        target = self.index.targets.get(label)
        if target is None:
            raise ValueError(f"{self.page.docname}.md refers to an unknown {label!r}")
        text = target.words
        if words:
            text = words.replace("%s", target.number)
            text = text.replace("{number}", target.number)
            text = text.replace("{name}", target.title)
        if target.docname == self.page.docname and role == "eq":
            return text
        return f"[{text}]({self.index.url(target.docname, target.anchor)})"


def _words_and_label(content: str) -> tuple[str, str]:
    """Split `words <label>`; the words are empty where only a label stands."""
    match = re.match(r"^(?P<words>.+?)\s*<(?P<label>[^<>]+)>$", content, re.S)
    if match:
        return match["words"], match["label"]
    return "", content.strip()


def _quote(text: str) -> str:
    lines = (f"> {line}".rstrip() for line in text.strip().split("\n"))
    return "\n" + "\n".join(lines) + "\n"


def _details(title: str, body: str) -> str:
    summary = re.sub(r"\*\*|`", "", title)
    return (
        f"\n<details>\n<summary>{summary}</summary>\n\n{body.strip()}\n\n</details>\n"
    )
