"""Numbers that the prose quotes."""

import importlib.util

import IPython.display
import pytest

from visattn.explore import glue


def test_is_kept_for_the_page(monkeypatch):
    shown = []
    monkeypatch.setattr(
        IPython.display, "display", lambda data, **kw: shown.append((data, kw))
    )
    glue("chapter_ratio", 2.5)
    [(data, options)] = shown
    assert data == {"application/papermill.record/text/plain": "2.5"}
    assert options["metadata"]["scrapbook"]["name"] == "chapter_ratio"


def test_is_printed_where_the_builder_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    glue("chapter_ratio", 2.5)
    glue("chapter_count", 12)
    printed = capsys.readouterr().out
    assert printed == "chapter_ratio = 2.5\nchapter_count = 12\n"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("two words", 1, ValueError),
        (3, 1, ValueError),
        ("flag", True, TypeError),
        ("list", [1], TypeError),
    ],
)
def test_bad_input(name, value, error):
    with pytest.raises(error, match=str(name) if error is ValueError else name):
        glue(name, value)
