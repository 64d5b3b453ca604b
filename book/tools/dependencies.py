"""Which modules of a package a piece of code depends on, read from its text.

Nothing is imported. Four forms are understood beside plain imports:

- a lazy `__init__` that holds a table `_EXPORTS = {"name": "package.module", ...}`:
  `from package import name` depends on that one module;
- a registry, any other module-level table of the same form: the entries whose key
  the chapter mentions count, as in `check("attend", ...)`;
- a folder of plug-ins, a package that imports its modules by computed names: those
  count that declare something (`name="attend"`) that the chapter names as a string;
- package data: files beside the modules of a package (pictures, scripts) count as
  part of that package.

In doubt the answer is too large, never too small.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path


def python_source(cell: str) -> str:
    """Return a notebook cell as plain Python: `%magic` and `!shell` become calls."""
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager().transform_cell(cell)


@dataclasses.dataclass(frozen=True)
class Code:
    """One parsed unit: a module of the package or the cells of a chapter."""

    name: str
    tree: ast.Module
    is_package: bool = False

    @functools.cached_property
    def mentions(self) -> set[str]:
        """Every identifier, attribute, imported name and string in the code."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            match node:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    found.add(name)
                case ast.alias(name=name):
                    found.add(name)
                case ast.Constant(value=str(text)):
                    found.add(text)
        return found

    @functools.cached_property
    def strings(self) -> set[str]:
        """Every string in the code."""
        return {
            node.value
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }

    @functools.cached_property
    def declared(self) -> set[str]:
        """Every string that a call receives as `name`."""
        return {
            str(node.value.value)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.keyword)
            and node.arg == "name"
            and isinstance(node.value, ast.Constant)
        }

    @functools.cached_property
    def computes_imports(self) -> bool:
        """Whether the code imports modules by names that it computes."""
        return any(
            isinstance(node, ast.Call)
            and _imports_by_name(node)
            and not (node.args and isinstance(node.args[0], ast.Constant))
            for node in ast.walk(self.tree)
        )

    @functools.cached_property
    def is_lazy(self) -> bool:
        """Whether the module answers attributes by itself (PEP 562)."""
        return any(
            (isinstance(node, ast.FunctionDef) and node.name == "__getattr__")
            or (isinstance(node, ast.Name) and node.id == "__getattr__")
            for node in ast.walk(self.tree)
        )


class Package:
    """The modules of one package and what each of them imports."""

    def __init__(self, folder: Path) -> None:
        """Index the package that lies in `folder`."""
        self.folder = folder
        self.name = folder.name
        self.files: dict[str, Path] = {}
        for path in sorted(folder.rglob("*.py")):
            parts = [self.name, *path.relative_to(folder).with_suffix("").parts]
            if parts[-1] == "__init__":
                parts.pop()
            self.files[".".join(parts)] = path
        self._code: dict[str, Code] = {}

    def code(self, module: str) -> Code:
        """Return the parsed module."""
        if module not in self._code:
            path = self.files[module]
            tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
            self._code[module] = Code(module, tree, path.name == "__init__.py")
        return self._code[module]

    def tables(self, code: Code) -> dict[str, str]:
        """Return the entries of all module-level tables name -> module of ours."""
        found: dict[str, str] = {}
        for node in code.tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                found |= self._table(node.value)
        return {key: module for key, module in found.items() if module in self.files}

    def _table(self, value: ast.expr | None) -> dict[str, str]:
        """Return a literal {"name": "package.module", ...}; empty for all else."""
        if not isinstance(value, ast.Dict):
            return {}
        try:
            table = ast.literal_eval(value)
        except ValueError:
            return {}
        good = all(
            isinstance(name, str)
            and isinstance(module, str)
            and module.startswith(f"{self.name}.")
            for name, module in table.items()
        )
        return table if good else {}

    def _with_parents(self, module: str) -> Iterator[str]:
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            name = ".".join(parts[:length])
            if name in self.files:
                yield name

    def _from(self, base: str, name: str, code: Code) -> Iterator[str]:
        """Yield the modules behind `from base import name`."""
        table = self.tables(self.code(base)) if base in self.files else {}
        if name == "*":
            yield from table.values()
        elif f"{base}.{name}" in self.files:
            yield from self._plain(f"{base}.{name}", code)
        elif name in table:
            yield table[name]

    def _plain(self, module: str, code: Code) -> Iterator[str]:
        """Yield the modules behind `import module` and the names used of it."""
        yield module
        if module in self.files and self.code(module).is_lazy:
            table = self.tables(self.code(module))
            yield from (table[name] for name in table.keys() & code.mentions)
        used = (f"{module}.{name}" for name in code.mentions)
        yield from (name for name in used if name in self.files)

    def imports(self, code: Code) -> set[str]:
        """Return the modules of this package that the code imports by itself."""
        found: set[str] = set()
        for node in _executed_nodes(_without_tables(code.tree, self)):
            match node:
                case ast.Import(names=names):
                    for alias in names:
                        if alias.name.split(".")[0] == self.name:
                            found.update(self._plain(alias.name, code))
                            found.update(self._plain(self.name, code))
                case ast.ImportFrom(names=names):
                    base = _absolute(node, code)
                    if base.split(".")[0] == self.name:
                        found.add(base)
                        for alias in names:
                            found.update(self._from(base, alias.name, code))
                case ast.Constant(value=str(text)) if text in self.files:
                    found.add(text)
        if found and self.name in self.files:
            found.add(self.name)
        return {name for module in found for name in self._with_parents(module)}

    def _registered(self, code: Code, chapter: Code) -> Iterator[str]:
        """Yield what a module looks up for the chapter in a table or a folder."""
        if code.is_package and code.is_lazy:
            return  # the one who imports a name from it has counted that
        table = self.tables(code)
        yield from (table[name] for name in table.keys() & chapter.mentions)
        helper = code.name == f"{self.name}._lazy"
        if not code.computes_imports or table or helper:
            return
        package = code.name if code.is_package else code.name.rpartition(".")[0]
        for name in self.files:
            if name.startswith(f"{package}."):
                declared = self.code(name).declared
                if not declared or declared & chapter.strings:
                    yield name

    def closure(self, chapter: Code) -> set[str]:
        """Return every module that the chapter depends on, directly or not."""
        if chapter.computes_imports:
            return set(self.files)
        found: set[str] = set()
        waiting = list(self.imports(chapter))
        while waiting:
            module = waiting.pop()
            if module not in found:
                found.add(module)
                code = self.code(module)
                waiting += self.imports(code)
                for name in self._registered(code, chapter):
                    waiting += self._with_parents(name)
        return found

    def digest(self, module: str) -> str:
        """Return a digest of one module and of the data files of its package.

        The tables of a lazy `__init__` are left out: a new entry changes nothing
        for a chapter that does not use it.
        """
        path = self.files[module]
        code = self.code(module)
        digest = hashlib.sha256(module.encode())
        if code.is_package and code.is_lazy:
            digest.update(ast.dump(_without_tables(code.tree, self)).encode())
        else:
            digest.update(path.read_bytes())
        if code.is_package:
            for file in data_files(path.parent):
                digest.update(str(file.relative_to(path.parent)).encode())
                digest.update(file.read_bytes())
        return digest.hexdigest()


def data_files(folder: Path) -> list[Path]:
    """Return the files of a package that are not code, sub-packages left aside."""
    found = []
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder).parts[:-1]
        nested = [folder.joinpath(*inner[: i + 1]) for i in range(len(inner))]
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            own = not any((parent / "__init__.py").exists() for parent in nested)
            if own and "__pycache__" not in inner:
                found.append(path)
    return found


def chapter_code(name: str, cells: Iterable[str]) -> Code:
    """Parse the code cells of a chapter as one unit."""
    source = "\n".join(python_source(cell) for cell in cells)
    return Code(name, ast.parse(source, name))


def _absolute(node: ast.ImportFrom, code: Code) -> str:
    """Return the absolute name of the module that an import statement names."""
    if not node.level:
        return node.module or ""
    parts = code.name.split(".")
    drop = node.level - int(code.is_package)
    base = parts[: len(parts) - drop]
    return ".".join([*base, *([node.module] if node.module else [])])


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _executed_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk the tree without the branches that only a type checker reads."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if _is_type_checking(child):
            assert isinstance(child, ast.If)
            for node in child.orelse:
                yield from _executed_nodes(node)
        else:
            yield from _executed_nodes(child)


def _imports_by_name(call: ast.Call) -> bool:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in ("import_module", "__import__")
    return False


def _without_tables(tree: ast.Module, package: Package) -> ast.Module:
    """Return the module without its tables, `__all__` and type-checking branches."""
    kept: list[ast.stmt] = []
    for node in tree.body:
        if _is_type_checking(node):
            continue
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            if "__all__" in names or package._table(node.value):
                continue
        kept.append(node)
    return ast.Module(body=kept, type_ignores=[])
