import datetime
import io

import pytest
import torch
from synthetic_attention import picture

from visattn.explore import Picture, live, show, subplots


def plot(heads=2, window=3):
    fig, ax = subplots(width=3)
    ax.bar(range(heads), [window] * heads)
    return show(fig, f"Bars of {heads} heads, each of the height {window}.")


@pytest.fixture
def static(monkeypatch):
    monkeypatch.setenv("VISATTN_STATIC", "1")


@pytest.fixture
def kernel(monkeypatch):
    monkeypatch.delenv("VISATTN_STATIC", raising=False)
    return pytest.importorskip("ipywidgets")


def controls(view):
    return list(view.widget.children[0].children)


def shown(view):
    return view.widget.children[1].outputs


@pytest.mark.usefixtures("static")
def test_static_page_shows_the_first_result_and_a_hint():
    view = live(plot, heads=(1, 8), window=[5, 7])
    assert view.widget is None
    assert isinstance(view.result, Picture)
    bundle = view._repr_mimebundle_()
    assert bundle["text/html"].startswith(view.result._repr_html_())
    assert (
        "Run this chapter to move the controls: heads, window." in bundle["text/html"]
    )
    assert "Run this chapter" in bundle["text/plain"]


@pytest.mark.usefixtures("static")
def test_start_values():
    def function(a, b, c, d=True, e=0.5, f="y", g=99):
        return (a, b, c, d, e, f, g)

    view = live(
        function,
        a=(2, 9),
        b=["x", "y"],
        c=True,
        d=False,
        e=(0.0, 1.0, 0.1),
        f=["x", "y"],
        g=(1, 3),
    )
    assert view.result == (2, "x", True, True, 0.5, "y", 1)


@pytest.mark.usefixtures("static")
def test_plain_results_are_escaped():
    view = live(lambda n: "<b>", n=(1, 2))
    assert "<pre>&#x27;&lt;b&gt;&#x27;</pre>" in view._repr_mimebundle_()["text/html"]


def test_controls_run_the_function_again(kernel):
    view = live(plot, heads=(1, 8), window=(1, 9, 2))
    heads, window = controls(view)
    assert isinstance(heads, kernel.IntSlider)
    assert (heads.value, heads.min, heads.max) == (2, 1, 8)
    assert window.step == 2
    assert "2 heads" in shown(view)[0]["data"]["text/plain"]
    heads.value = 5
    assert "5 heads" in shown(view)[0]["data"]["text/plain"]
    assert "<svg" in shown(view)[0]["data"]["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in view._repr_mimebundle_()


def test_kinds_of_controls(kernel):
    calls = []

    def function(**values):
        calls.append(values)
        print("ran")

    view = live(function, alpha=(0.5, 2.0), kind=["dot", "sum"], scaled=True)
    alpha, kind, scaled = controls(view)
    assert isinstance(alpha, kernel.FloatSlider)
    assert isinstance(kind, kernel.Dropdown)
    assert isinstance(scaled, kernel.Checkbox)
    kind.value = "sum"
    scaled.value = False
    assert calls[-1] == {"alpha": 0.5, "kind": "sum", "scaled": False}
    assert shown(view) == (
        {"output_type": "stream", "name": "stdout", "text": "ran\n"},
    )


def test_an_error_after_a_move_is_shown_not_lost(kernel):
    def function(n):
        if n > 1:
            raise ValueError(f"too many: {n}")
        return n

    view = live(function, n=(1, 4))
    controls(view)[0].value = 3
    assert "ValueError: too many: 3" in shown(view)[0]["text"]
    controls(view)[0].value = 1
    assert shown(view)[0]["data"] == {"text/plain": "1"}


def test_an_error_at_the_start_stops_the_cell(kernel):
    def function(n):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        live(function, n=(1, 4))


def upload(widget, size):
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", size, (255, 0, 0)).save(buffer, "PNG")
    file = {
        "name": "mine.png",
        "type": "image/png",
        "size": len(buffer.getvalue()),
        "content": memoryview(buffer.getvalue()),
        "last_modified": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    }
    widget.set_trait("value", (file,))


@pytest.mark.parametrize(
    ("default", "expected"), [((48, 64), (32, 64)), ((64, 64), (64, 64))]
)
def test_the_readers_own_photograph(kernel, default, expected):
    seen = []
    view = live(lambda photo: seen.append(photo), photo=picture(*default))
    assert torch.equal(seen[0], picture(*default))
    (button,) = controls(view)
    assert isinstance(button, kernel.FileUpload)
    upload(button, (200, 100))
    assert seen[-1].shape == (3, *expected)
    assert torch.equal(seen[-1][0], torch.ones(expected))
    assert seen[-1][1:].abs().max() == 0


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("control", "error", "message"),
    [
        ("dot", TypeError, "got str: 'dot'"),
        ((3, 1), ValueError, r"first < last.*\(3, 1\)"),
        ((1, 2, 0), ValueError, r"step > 0.*\(1, 2, 0\)"),
        ((1,), ValueError, r"\(1,\)"),
        (("a", "b"), ValueError, r"\('a', 'b'\)"),
        ([], ValueError, "menu n is empty"),
        (torch.zeros(2, 2), ValueError, r"\(2, 2\)"),
    ],
)
def test_refuses_controls(control, error, message):
    with pytest.raises(error, match=message):
        live(lambda n: n, n=control)


@pytest.mark.bad_input
def test_refuses_no_function_and_no_control():
    with pytest.raises(TypeError, match="got int"):
        live(3, n=(1, 2))
    with pytest.raises(ValueError, match="at least one control"):
        live(plot)
