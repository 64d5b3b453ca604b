"""Attributes that are imported when they are first asked for (PEP 562)."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_getattr(
    package: str, exports: Mapping[str, str], namespace: dict[str, Any]
) -> Callable[[str], Any]:
    """Make a module's ``__getattr__`` that imports ``exports[name]`` on first use.

    Args:
        package: Name of the package, for the error message.
        exports: Public name -> module that defines it.
        namespace: The package's ``globals()``; found names are kept there.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        namespace[name] = getattr(import_module(exports[name]), name)
        return namespace[name]

    return __getattr__
