"""The package's front door."""

import subprocess
import sys

import pytest

import visattn


@pytest.mark.parametrize("name", visattn.__all__)
def test_every_exported_name_exists_and_is_documented(name):
    assert getattr(visattn, name).__doc__
    assert name in dir(visattn)


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'attention_is'"):
        visattn.attention_is  # noqa: B018


def test_import_is_lazy():
    """`import visattn` loads neither torch nor the book's libraries."""
    code = (
        "import sys, visattn; "
        "print([m for m in ('torch', 'matplotlib', 'ipywidgets') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
