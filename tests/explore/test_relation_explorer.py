import base64

import numpy as np
import pytest
import torch
from synthetic_attention import picture

from visattn.explore import relation_explorer

ALT = "A bright disc, and the weights that two relations give to a window."
PICKER = ".ve-pick .ve-stage"
H, W = 5, 7


def relations():
    """A pairwise relation that sums to 1, and a patchwise one with signs."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, H, W, 9, generator=generator, dtype=torch.float64)
    signed = torch.randn(2, H, W, 5, 5, generator=generator, dtype=torch.float64)
    pairwise = scores.softmax(-1).reshape(3, H, W, 3, 3)
    return {"subtraction": pairwise, "clique product": signed / 3}


@pytest.fixture(scope="module")
def explorer():
    return relation_explorer(picture(), relations(), alt=ALT, query=(2, 3))


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


# ---- the output ----


def test_embedded_data_reproduce_the_weights(explorer, data_of):
    data = data_of(explorer)
    assert [one["name"] for one in data["relations"]] == list(relations())
    for one, exact in zip(data["relations"], relations().values(), strict=True):
        G, K = one["groups"], one["size"]
        levels = np.frombuffer(base64.b64decode(one["levels"]), np.uint8)
        levels = levels.reshape(G, H, W, K, K).astype(float)
        rows = exact.flatten(3).numpy()
        high, low = (floats(one[key]).reshape(G, H, W) for key in ("high", "low"))
        assert np.allclose(high, rows.max(-1), rtol=1e-6)
        assert np.allclose(low, rows.min(-1), rtol=1e-6)
        assert np.allclose(floats(one["sums"]), rows.sum(-1).ravel(), atol=1e-5)
        largest = np.abs(rows).max(-1)[..., None, None]
        share = (levels - 128) / 127 if one["signed"] else levels / 255
        assert np.abs(share * largest - exact.numpy()).max() <= (largest / 253).max()
    assert [one["signed"] for one in data["relations"]] == [False, True]
    assert [one["normalised"] for one in data["relations"]] == [True, False]


def test_output(explorer, assert_self_contained):
    assert_self_contained(explorer)
    again = relation_explorer(picture(), relations(), alt=ALT, query=(2, 3))
    assert explorer.html == again.html
    assert len(explorer.html) < 250_000


def test_names_cannot_break_out_of_the_page(data_of):
    evil = "</script><script>alert(1)</script>"
    weights = {evil: relations()["subtraction"]}
    explorer = relation_explorer(picture(), weights, alt=ALT, title=evil)
    assert "alert(1)</script>" not in explorer.html
    assert data_of(explorer)["relations"][0]["name"] == evil


@pytest.mark.bad_input
def test_refuses_bad_input():
    image, weights = picture(), relations()
    one = weights["subtraction"]

    def refuses(error, match, weights=weights, **options):
        with pytest.raises(error, match=match):
            relation_explorer(image, weights, **{"alt": ALT, **options})

    refuses(TypeError, "name -> tensor, got Tensor", one)
    refuses(TypeError, "ndarray", {"one": one.numpy()})
    refuses(ValueError, "got none", {})
    refuses(ValueError, r"K odd, got shape \(3, 5, 7, 2, 2\)", {"a": one[..., :2, :2]})
    refuses(ValueError, "take one image of the batch", {"a": one[None]})
    refuses(ValueError, "torch.int64", {"a": one.long()})
    refuses(ValueError, r"\(5, 7\).*\(4, 7\)", {"a": one, "b": one[:, :4]})
    bad = one.clone()
    bad[1, 2, 3, 0, 1] = float("inf")
    refuses(ValueError, r"inf at index \(1, 2, 3, 0, 1\)", {"a": bad})
    refuses(ValueError, r"one of \['subtraction', .*got 'sum'", relation="sum")
    refuses(ValueError, "5 x 7 grid", query=(5, 0))
    refuses(ValueError, "at least 20 characters", alt="disc")
    large = torch.zeros(1).expand(16, 56, 56, 7, 7)
    refuses(ValueError, r"about 4\.1 MB of HTML, the limit is 3 MB", {"a": large})


# ---- in the browser ----


def centre(page, selector, row, col, size, nth=0):
    box = page.locator(selector).nth(nth).bounding_box()
    return (
        box["x"] + box["width"] * (col + 0.5) / size[1],
        box["y"] + box["height"] * (row + 0.5) / size[0],
    )


def value(text):
    return float(text.replace("−", "-"))


def test_weights_are_those_of_the_tensors(open_html, explorer):
    page = open_html(explorer.html)
    pairwise, signed = relations().values()
    cards = page.locator(".ve-card .ve-caption")
    texts = cards.all_inner_texts()
    assert len(texts) == 4  # the window and three groups
    for text, group in zip(texts[1:], pairwise, strict=True):
        assert text == f"max {group[2, 3].max():.2f}"
    page.mouse.move(*centre(page, ".ve-card .ve-stage", 0, 2, (3, 3), nth=2))
    said = page.locator(".ve-readout").inner_text()
    assert "Group 2 gives the pixel at the offset (−1, 1) the weight" in said
    exact = pairwise[1, 2, 3, 0, 2].item()
    assert value(said.split()[-1].rstrip(".")) == pytest.approx(exact, abs=6e-3)

    page.get_by_label("Relation", exact=True).select_option("1")
    page.mouse.move(1, 1)
    texts = cards.all_inner_texts()
    assert len(texts) == 3
    for text, group in zip(texts[1:], signed, strict=True):
        low, high = map(value, text.split(" to "))
        assert low == pytest.approx(group[2, 3].min().item(), abs=6e-3)
        assert high == pytest.approx(group[2, 3].max().item(), abs=6e-3)
    total = signed[0, 2, 3].sum().item()
    said = page.locator(".ve-readout").inner_text()
    assert value(said.split()[-1].rstrip(".")) == pytest.approx(total, abs=6e-3)
    for row, col in ((0, 0), (4, 3), (2, 2)):
        page.mouse.move(*centre(page, ".ve-card .ve-stage", row, col, (5, 5), nth=1))
        exact = signed[0, 2, 3, row, col].item()
        here = cards.nth(1).inner_text().removeprefix("here ")
        assert value(here) == pytest.approx(exact, abs=0.01)


def test_ends_and_zero_are_exact(open_html):
    window = torch.tensor([[-1.0, 0.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    weights = {"signed": window.expand(1, H, W, 3, 3)}
    page = open_html(relation_explorer(picture(), weights, alt=ALT).html)
    meta = page.locator(".ve-card .ve-caption").nth(1)
    for col, said in ((0, "here −1.00"), (1, "here 0"), (2, "here 0.50")):
        page.mouse.move(*centre(page, ".ve-card .ve-stage", 0, col, (3, 3), nth=1))
        assert meta.inner_text() == said


def test_canvas_shows_the_window(open_html, explorer):
    page = open_html(explorer.html)
    read = """(nth) => {
      const canvas = document.querySelectorAll('.ve-map canvas')[nth];
      const {width, height} = canvas;
      return [width, height, ...canvas.getContext('2d')
        .getImageData(0, 0, width, height).data];
    }"""
    width, height, *rgba = page.evaluate(read, 1)
    assert (width, height) == (3, 3)
    light = np.array(rgba).reshape(3, 3, 4)[..., :3].sum(-1)
    assert light.argmax() == relations()["subtraction"][1, 2, 3].argmax().item()

    page.get_by_label("Relation", exact=True).select_option("1")
    width, height, *rgba = page.evaluate(read, 1)
    assert (width, height) == (5, 5)
    pixels = np.array(rgba).reshape(5, 5, 4).astype(int)
    warm = pixels[..., 0] - pixels[..., 2]  # red minus blue
    exact = relations()["clique product"][1, 2, 3].numpy()
    strong = np.abs(exact) > 0.1 * np.abs(exact).max()
    assert (np.sign(warm) == np.sign(exact))[strong].all()

    assert not page.locator(".ve-map img").first.is_visible()
    page.get_by_role("button", name="Over the photo").click()
    assert page.locator(".ve-map img").first.is_visible()


def test_legend_and_shared_scale(open_html, explorer):
    page = open_html(explorer.html)
    legend = page.locator(".ve-legend")
    assert legend.inner_text().split("\n")[0] == "0"
    page.get_by_label("Relation", exact=True).select_option("1")
    assert "+ largest" in legend.inner_text()
    page.get_by_label("Shared scale").check()
    largest = relations()["clique product"][:, 2, 3].abs().max()
    assert f"−{largest:.2f}" in legend.inner_text()


def test_keys_pointer_and_the_frame(open_html, explorer):
    page = open_html(explorer.html)
    where = page.locator(".ve-pick .ve-name")
    assert where.inner_text() == "Query: row 2, column 3"
    page.locator(PICKER).focus()
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    assert where.inner_text() == "Query: row 0, column 2"
    said = page.locator(".ve-live").get_by_text("Query row 0, column 2. Group 1 gives")
    said.wait_for(state="attached")
    page.mouse.click(*centre(page, PICKER, 4, 1, (H, W)))
    page.mouse.move(1, 1)
    assert where.inner_text() == "Query: row 4, column 1"
    frame = page.locator(".ve-frame").bounding_box()
    photo = page.locator(PICKER).bounding_box()
    assert frame["x"] == pytest.approx(photo["x"], abs=1)
    assert frame["width"] == pytest.approx(photo["width"] * 3 / 7, abs=1)
    middle = frame["y"] + frame["height"] / 2
    assert middle == pytest.approx(photo["y"] + photo["height"] * 4.5 / 5, abs=1)


def test_start_with_another_relation(open_html):
    explorer = relation_explorer(
        picture(), relations(), alt=ALT, relation="clique product"
    )
    page = open_html(explorer.html)
    assert page.get_by_label("Relation", exact=True).input_value() == "1"
    assert page.locator(".ve-card").count() == 3


def test_phone(open_html, explorer, assert_fits_a_phone):
    page = open_html(explorer.html, dark=True, wide=390, has_touch=True, is_mobile=True)
    assert_fits_a_phone(page)
    page.touchscreen.tap(*centre(page, PICKER, 0, 6, (H, W)))
    assert page.locator(".ve-pick .ve-name").inner_text() == "Query: row 0, column 6"


def test_static_view_without_javascript(open_html, explorer):
    page = open_html(explorer.html, java_script_enabled=False)
    view = page.locator(".ve-static svg.visattn-figure")
    assert view.is_visible()
    assert "query in row 2, column 3" in view.get_attribute("aria-label")
