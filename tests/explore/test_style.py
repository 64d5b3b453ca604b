import re
import subprocess
import sys

import pytest

from visattn.explore import INK, PALETTE, Picture, show, subplots

ALT = "A line that rises from the lower left to the upper right."


def line_figure():
    fig, ax = subplots(width=5)
    ax.plot([0, 1, 2], [0, 1, 4], label="measured")
    ax.axhline(2, color=INK)
    ax.annotate("limit", (0, 2))
    ax.set_title("Time of $T^2$ scores")
    ax.set_xlabel("tokens")
    ax.legend()
    return fig


def test_importing_the_package_does_not_import_matplotlib():
    code = (
        "import sys, visattn.explore\n"
        "assert not {'matplotlib', 'PIL', 'ipywidgets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_palette_by_key_and_attribute():
    assert PALETTE["query"] == PALETTE.query
    assert set(PALETTE) >= {"query", "key", "value", "content", "position", "neutral"}
    colours = list(PALETTE.values())
    assert len(set(colours)) == len(colours) == len(PALETTE)
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in PALETTE.heads)
    with pytest.raises(KeyError, match=r"'quarry'.*query"):
        PALETTE["quarry"]


def test_subplots_leaves_global_settings_alone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    show(line_figure(), ALT)
    assert dict(mpl.rcParams) == before


def test_subplots_shapes():
    _, axes = subplots(2, 3)
    assert axes.shape == (2, 3)
    fig, ax = subplots(width=4.5, height=2)
    assert tuple(fig.get_size_inches()) == (4.5, 2)
    assert ax.get_facecolor()[3] == 0


def test_show_gives_one_accessible_svg():
    picture = show(line_figure(), "  A line that rises,\n and <more> & so on. ")
    assert isinstance(picture, Picture)
    page = picture._repr_html_()
    assert page.count("<svg") == 1
    assert 'role="img"' in page
    assert 'class="visattn-figure"' in page
    assert 'aria-label="A line that rises, and &lt;more&gt; &amp; so on."' in page
    assert "<title>A line that rises" in page
    assert repr(picture) == "Picture: A line that rises, and <more> & so on."


def test_ink_is_the_colour_of_the_page():
    fig, (left, right) = subplots(1, 2)
    left.imshow([[0.0, 1.0], [2.0, 3.0]])
    fig.colorbar(left.images[0], ax=left, label="weight")
    right.bar(["a", "b"], [1, 2], label="bars")
    right.legend(title="legend")
    right.text(0, 1, "text")
    fig.suptitle("title")
    svg = show(fig, ALT).svg
    assert "#000000" not in svg
    assert "black" not in svg
    assert 'fill="currentColor"' in svg
    assert "stroke: currentColor" in svg
    # No card behind the figure, the axes or the legend.
    assert "#ffffff" not in svg


def test_svg_is_fit_for_a_page():
    svg = show(line_figure(), ALT).svg
    assert "<style" not in svg  # matplotlib's would hold for the whole page
    assert "<metadata" not in svg
    assert "http" not in svg
    assert "viewBox" in svg
    assert "height:auto" in svg


def test_same_figure_same_bytes():
    assert show(line_figure(), ALT).svg == show(line_figure(), ALT).svg


def test_ids_of_two_figures_differ_and_resolve():
    fig, ax = subplots(width=5)
    ax.plot([0, 1, 2], [4, 1, 0])
    pictures = [show(line_figure(), ALT).svg, show(fig, ALT).svg]
    found = []
    for svg in pictures:
        ids = re.findall(r' id="([^"]+)"', svg)
        assert ids
        assert len(set(ids)) == len(ids)
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg)) == set(ids)
        found += ids
    assert len(set(found)) == len(found)


def test_show_closes_figures_of_pyplot():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots()
    ax.plot([1, 2])
    show(fig, ALT)
    assert plt.get_fignums() == []


def test_wide_figures_scroll_in_their_own_box_and_take_the_focus():
    fig, _ = subplots(width=7)
    wide = show(fig, ALT)
    fig, _ = subplots(width=4)
    narrow = show(fig, ALT)
    assert 'tabindex="0"' in wide._repr_html_()
    assert "tabindex" not in narrow._repr_html_()
    assert f"min-width:{wide.min_width}px" in wide.svg


def test_large_matrix_is_an_image_not_paths():
    fig, ax = subplots()
    ax.imshow([[i * j % 7 for i in range(200)] for j in range(200)])
    svg = show(fig, ALT).svg
    assert svg.count("<image") == 1
    assert svg.count("<path") < 60


@pytest.mark.bad_input
@pytest.mark.parametrize("alt", ["", "short", " " * 40])
def test_show_refuses_a_short_alt(alt):
    with pytest.raises(ValueError, match=r"at least 20 characters, got \d+"):
        show(line_figure(), alt)


@pytest.mark.bad_input
def test_show_refuses_what_is_no_figure():
    with pytest.raises(TypeError, match=r"matplotlib figure, got builtins\.str"):
        show("figure", ALT)
    with pytest.raises(TypeError, match="alt must be a string"):
        show(line_figure(), None)
    with pytest.raises(TypeError, match="alt"):
        show(line_figure())
    with pytest.raises(ValueError, match="-3"):
        show(line_figure(), ALT, min_width=-3)


@pytest.mark.bad_input
def test_subplots_refuses_sizes():
    with pytest.raises(ValueError, match="rows=0, cols=2"):
        subplots(0, 2)
    with pytest.raises(ValueError, match="width=-1"):
        subplots(width=-1)
