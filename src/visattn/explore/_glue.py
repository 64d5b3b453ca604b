"""Numbers that the prose quotes: computed by a cell, printed by the page."""

import importlib.util
from typing import Any

_MIME = "application/papermill.record/"


def glue(name: str, value: object) -> None:
    """Keep a value under a name, so that the page's text can print it.

    On the built page the text prints the value and the cell shows nothing. Where the
    book's builder is not installed (on Colab, for example) the cell prints
    ``name = value``, so that the reader sees the number that the text speaks of.

    Args:
        name: Letters, digits and underscores; begins with the chapter's stem.
        value: A number or a string.

    Raises:
        TypeError: value is neither a number nor a string.
        ValueError: name is not an identifier.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(
            f"name must be an identifier such as 'chapter_speed': {name!r}"
        )
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(f"value of {name} must be a number or a string, got {value!r}")
    if importlib.util.find_spec("myst_nb") is None:
        print(
            f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
        )
        return

    from IPython.display import display

    data: dict[str, Any] = {f"{_MIME}text/plain": repr(value)}
    record = {"name": name, "mime_prefix": _MIME}
    display(data, raw=True, metadata={"scrapbook": record})
