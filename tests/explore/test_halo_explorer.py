import base64
import re

import numpy as np
import pytest
import torch
from synthetic_attention import picture

from visattn import halo_attention
from visattn.explore import halo_explorer
from visattn.explore.halo_explorer import gather_counts, halo_costs, window_costs

ALT = "A bright disc, and the blocks of halo attention over it."
PICKER = ".ve-pick .ve-stage"
H, W = 12, 16  # the picture has 48 x 64 pixels
SETTINGS = [
    (4, 1, 1),
    (8, 3, 1),
    (5, 2, 1),
    (1, 3, 1),
    (16, 0, 1),
    (4, 2, 2),
    (8, 0, 4),
]


@pytest.fixture(scope="module")
def explorer():
    return halo_explorer(picture(), alt=ALT, block=4, halo=1, size=16, query=(5, 9))


def weights():
    """Two heads with blocks of 4 and a halo of 1, [2, H, W, 6, 6]."""
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 2, H, W, 3, generator=generator, dtype=torch.float64)
    _, attention = halo_attention(q, k, k, None, None, 4, 1, return_attention=True)
    return attention[0]


# ---- the numbers ----


def windows(block, halo):
    """Every window as a set of places, also those outside the map."""
    return [
        {
            (a, b)
            for a in range(top - halo, top + block + halo)
            for b in range(left - halo, left + block + halo)
        }
        for top in range(0, H, block)
        for left in range(0, W, block)
    ]


@pytest.mark.parametrize(("block", "halo", "stride"), SETTINGS)
def test_costs_by_counting(block, halo, stride):
    costs, all_windows = halo_costs(H, W, block, halo, stride), windows(block, halo)
    gathered = sum(map(len, all_windows))
    assert costs["keys"] == len(all_windows[0])
    assert costs["gathered"] * H * W == pytest.approx(gathered)
    assert costs["overlap"] == pytest.approx(len(all_windows[0]) / block**2)
    queries = len(range(0, block, stride)) ** 2
    assert costs["logits"] == gathered * queries
    assert costs["bytes"] == 2 * gathered * 64 * 4
    counts = gather_counts(H, W, block, halo)
    for place in ((0, 0), (3, 4), (11, 15)):
        assert counts[place] == sum(place in window for window in all_windows)


def test_a_block_of_one_pixel_costs_what_a_window_per_pixel_costs():
    blocks, per_pixel = halo_costs(H, W, 1, 3), window_costs(H, W, 7)
    assert {key: blocks[key] for key in per_pixel} == per_pixel
    assert window_costs(H, W, 5, stride=2)["logits"] == 6 * 8 * 25


# ---- the output ----


def test_output(explorer, assert_self_contained, data_of):
    assert_self_contained(explorer)
    again = halo_explorer(picture(), alt=ALT, block=4, halo=1, size=16, query=(5, 9))
    assert explorer.html == again.html
    assert len(explorer.html) < 110_000
    data = data_of(explorer)
    assert (data["height"], data["width"], data["weights"]) == (H, W, None)
    assert data_of(halo_explorer(picture(), alt=ALT))["width"] == 32


def test_embedded_weights(data_of):
    exact = weights()
    explorer = halo_explorer(picture(), alt=ALT, block=4, halo=1, attention=exact)
    data = data_of(explorer)
    assert (data["height"], data["width"], data["heads"]) == (H, W, 2)
    levels = np.frombuffer(base64.b64decode(data["weights"]["levels"]), np.uint8)
    peaks = np.frombuffer(base64.b64decode(data["weights"]["peaks"]), "<f4")
    found = levels.reshape(exact.shape) / 255 * peaks.reshape(2, H, W, 1, 1)
    largest = exact.amax((-2, -1), keepdim=True).numpy()
    assert (np.abs(found - exact.numpy()) <= largest / 510 + 1e-7).all()


def test_names_cannot_break_out_of_the_page():
    evil = "</script><script>alert(1)</script>"
    explorer = halo_explorer(picture(), alt=ALT, title=evil)
    assert "alert(1)</script>" not in explorer.html


@pytest.mark.bad_input
def test_refuses_bad_input():
    def refuses(error, match, **options):
        with pytest.raises(error, match=match):
            halo_explorer(picture(), **{"alt": ALT, **options})

    refuses(ValueError, "block must be from 1 to 32, got 33", block=33)
    refuses(ValueError, "block must be from 1 to 32, got 0", block=0)
    refuses(TypeError, "block must be an integer, got 8.0", block=8.0)
    refuses(ValueError, "halo must be from 0 to 16, got 17", halo=17)
    refuses(ValueError, "halo must be from 0 to 16, got -1", halo=-1)
    refuses(TypeError, "halo must be an integer, got True", halo=True)
    refuses(ValueError, "divide the block, got stride 3 and block 8", stride=3)
    refuses(ValueError, "stride must be one of 1, 2, 4, 8, got 3", block=9, stride=3)
    refuses(ValueError, "size must be from 8 to 64, got 100", size=100)
    refuses(ValueError, "24 x 32 grid.*row 24", query=(24, 0))
    refuses(ValueError, "at least 20 characters", alt="disc")

    fit = {"block": 4, "halo": 1}
    exact = weights()
    refuses(TypeError, "got ndarray", attention=exact.numpy(), **fit)
    refuses(ValueError, "take one image of the batch", attention=exact[None], **fit)
    refuses(
        ValueError, r"U, U\], got shape \(2, 12, 16, 6, 5\)", attention=exact[..., :5]
    )
    refuses(
        ValueError, r"block \+ 2 \* halo = 14.*\(2, 12, 16, 6, 6\)", attention=exact
    )
    refuses(ValueError, "and stride 2", attention=exact, stride=2, **fit)
    refuses(
        ValueError, "that of the weights, 16.*got 32", attention=exact, size=32, **fit
    )
    refuses(ValueError, "torch.int64", attention=exact.long(), **fit)
    exact[1, 2, 3] *= 0.5
    refuses(ValueError, r"got 0\.5 for head 1, query \(2, 3\)", attention=exact, **fit)
    large = torch.full((1,), 1 / 196).expand(12, 32, 32, 14, 14)
    refuses(ValueError, r"12 heads with windows of 14 x 14.*3\.3 MB", attention=large)


# ---- in the browser ----


def centre(page, selector, row, col, size=(H, W), nth=0):
    box = page.locator(selector).nth(nth).bounding_box()
    return (
        box["x"] + box["width"] * (col + 0.5) / size[1],
        box["y"] + box["height"] * (row + 0.5) / size[0],
    )


def choose(page, block, halo, stride):
    page.get_by_label("Block b").fill(str(block))
    page.get_by_label("Halo h").fill(str(halo))
    page.get_by_label("Query stride").select_option(label=str(stride))


def value(text):
    unit = {"GB": 1e9, "MB": 1e6, "kB": 1e3}.get(text.split()[-1], 1)
    return float(text.split()[0].replace(",", "")) * unit


def table(page, column):
    cells = page.locator(f".ve-table td:nth-child({column})").all_inner_texts()
    cells = cells[-4:]  # the first column has a cell in the head
    return dict(
        zip(("keys", "gathered", "logits", "bytes"), map(value, cells), strict=True)
    )


def test_numbers_are_those_of_python(open_html, explorer):
    page = open_html(explorer.html)
    for block, halo, stride in SETTINGS:
        choose(page, block, halo, stride)
        ours = halo_costs(H, W, block, halo, stride)
        overlap = ours.pop("overlap")
        assert table(page, 2) == pytest.approx(ours, rel=5e-3)
        assert table(page, 2)["logits"] == ours["logits"]
        for name, window in (
            ("that reaches as far", 2 * halo + 1),
            ("with as many keys", block + 2 * halo),
        ):
            page.get_by_role("button", name=name).click()
            theirs = window_costs(H, W, window, stride)
            assert table(page, 3) == pytest.approx(theirs, rel=5e-3)
            head = page.locator(".ve-table th[scope=col]").last.inner_text()
            assert head == f"{window} × {window} per pixel"
            said = page.locator(".ve-verdict").inner_text()
            found = float(re.search(r"b² = ([\d.]+)\.( |$)", said)[1])
            assert found == pytest.approx(overlap, rel=5e-3)
            ratio = theirs["bytes"] / ours["bytes"]
            if abs(ratio - 1) < 0.004:
                assert "As many bytes" in said
            else:
                word = "fewer" if ratio > 1 else "more"
                found = float(re.search(rf"gather ([\d.,]+) times {word}", said)[1])
                assert found == pytest.approx(max(ratio, 1 / ratio), rel=5e-3)
        assert ("local attention with a window of 7 × 7" in said) == (block == 1)
        assert ("every pixel sees the whole map" in said) == (block == 16)


def test_how_often_a_pixel_is_gathered(open_html, explorer):
    page = open_html(explorer.html)
    for block, halo, stride in SETTINGS:
        choose(page, block, halo, stride)
        width, height, *rgba = page.evaluate(
            """() => {
              const canvas = document.querySelector('.ve-window canvas');
              const {width, height} = canvas;
              return [width, height, ...canvas.getContext('2d')
                .getImageData(0, 0, width, height).data];
            }"""
        )
        assert (height, width) == (H, W)
        light = torch.tensor(rgba).reshape(H, W, 4)[..., :3].sum(-1)
        counts = gather_counts(H, W, block, halo)
        levels = [light[counts == count].unique() for count in counts.unique()]
        assert all(len(level) == 1 for level in levels)  # one colour per count
        levels = [level.item() for level in levels]
        assert levels == sorted(levels)
        text = page.locator(".ve-card", has_text="How often").inner_text()
        assert f"here {counts[5, 9]}" in text
        low, high = counts.min().item(), counts.max().item()
        many = "once" if high == 1 else f"{high} times"
        assert (many if low == high else f"{low} to {many}") in text


def test_block_and_window_of_the_pixel(open_html, explorer):
    page = open_html(explorer.html)
    said = page.locator(".ve-readout")
    assert said.inner_text() == (
        "Block (1, 2): rows 4 to 7, columns 8 to 11. Its 16 queries share 36 keys: "
        "rows 3 to 8, columns 7 to 12."
    )
    photo = page.locator(PICKER).bounding_box()
    frame = page.locator(".ve-frame").bounding_box()
    assert frame["x"] - photo["x"] == pytest.approx(photo["width"] * 7 / W, abs=1)
    assert frame["y"] - photo["y"] == pytest.approx(photo["height"] * 3 / H, abs=1)
    assert frame["width"] == pytest.approx(photo["width"] * 6 / W, abs=1)
    page.mouse.move(*centre(page, PICKER, 0, 15))
    assert said.inner_text() == (
        "Block (0, 3): rows 0 to 3, columns 12 to 15. Its 16 queries share 36 keys, 11 "
        "of them outside the image: rows −1 to 4, columns 11 to 16."
    )
    assert "11 outside" in page.locator(".ve-card").first.inner_text()
    choose(page, 8, 3, 2)
    page.mouse.click(*centre(page, PICKER, 11, 3))
    assert said.inner_text() == (
        "Block (1, 0): rows 8 to 11, columns 0 to 7. Its 8 queries share 196 keys, 119 "
        "of them outside the image: rows 5 to 18, columns −3 to 10. With stride 2 this "
        "pixel is no query."
    )


def test_picture_follows_pixel_and_sliders(open_html, explorer):
    page = open_html(explorer.html)
    read = """all => all.map(canvas => {
      const {width, height} = canvas;
      return [width, height, ...canvas.getContext('2d')
        .getImageData(0, 0, width, height).data];
    })"""

    def grid():
        width, height, *rgba = page.eval_on_selector_all("canvas", read)[0]
        return torch.tensor(rgba).reshape(height, width, 4), width // W

    rgba, dot = grid()
    alpha = rgba[..., 3]

    def cell(row, col):
        return alpha[int((row + 0.5) * dot), int((col + 0.5) * dot)].item()

    assert cell(5, 13) == 128  # outside the window: dark
    assert cell(4, 8) == 0
    assert cell(3, 7) == 0
    assert cell(3, 6) == 128
    assert alpha[2, 4 * dot] > 128  # the border of a block
    gold = torch.tensor([230, 159, 0])
    assert (rgba[8 * dot, 9 * dot, :3] == gold).all()
    blue = torch.tensor([86, 180, 233])  # the pixel's own window: rows 4 to 6
    assert (rgba[7 * dot, 9 * dot, :3] == blue).all()
    page.get_by_label("Block b").fill("6")
    rgba, _ = grid()
    assert (rgba[6 * dot, 7 * dot, :3] == gold).all()


def test_weights_of_the_pixel(open_html):
    exact = weights()
    explorer = halo_explorer(
        picture(), alt=ALT, block=4, halo=1, attention=exact, query=(5, 9)
    )
    page = open_html(explorer.html)
    card = page.locator(".ve-card", has_text="Weights of the pixel")
    meta = card.locator(".ve-caption")
    for head in (0, 1):
        page.mouse.move(1, 1)
        page.get_by_label("Head", exact=True).select_option(str(head))
        window = exact[head, 5, 9]
        most = value(meta.inner_text().removeprefix("max "))
        assert most == pytest.approx(window.max().item(), abs=6e-4)
        opacity = page.evaluate(
            """() => Array.from(document.querySelector('.ve-map canvas')
              .getContext('2d').getImageData(0, 0, 6, 6).data)
              .filter((_, i) => i % 4 == 3)"""
        )
        share = (torch.tensor(opacity).double().reshape(6, 6) / 255 / 0.88) ** (1 / 0.6)
        assert (share - window / window.max()).abs().max() < 0.02
        for row, col in ((0, 0), (2, 4), (5, 5)):
            page.mouse.move(*centre(page, ".ve-map", row, col, (6, 6)))
            here = value(meta.inner_text().removeprefix("here "))
            assert here == pytest.approx(window[row, col].item(), abs=6e-3)
    page.mouse.move(1, 1)
    assert page.get_by_role("button", name="Go back").count() == 0
    page.get_by_label("Halo h").fill("2")
    assert page.locator(".ve-map").is_hidden()
    assert "These weights belong to block 4, halo 1." in card.inner_text()
    page.get_by_role("button", name="Go back").click()
    assert page.locator(".ve-map").is_visible()
    assert page.get_by_label("Halo h").input_value() == "1"


def test_stride_follows_the_block(open_html, explorer):
    page = open_html(explorer.html)
    choose(page, 8, 1, 4)
    options = page.get_by_label("Query stride").locator("option")
    assert options.all_inner_texts() == ["1", "2", "4", "8"]
    page.get_by_label("Block b").fill("6")
    assert options.all_inner_texts() == ["1", "2"]
    assert (
        page.get_by_label("Query stride").locator("option:checked").inner_text() == "2"
    )
    page.get_by_label("Block b").fill("5")
    assert options.all_inner_texts() == ["1"]


def test_keys(open_html, explorer):
    page = open_html(explorer.html)
    maps = "all => all.map(c => c.toDataURL())"
    before = page.eval_on_selector_all("canvas", maps)
    page.locator(PICKER).focus()
    page.keyboard.press("ArrowRight")  # in the same block: the pixel's own window moves
    where = page.locator(".ve-pick .ve-name")
    assert where.inner_text() == "Pixel: row 5, column 10"
    assert page.eval_on_selector_all("canvas", maps) != before
    for _ in range(7):
        page.keyboard.press("ArrowDown")
    assert where.inner_text() == "Pixel: row 11, column 10"
    live = page.locator(".ve-live")
    live.get_by_text("Block (2, 2): rows 8 to 11").wait_for(state="attached")
    page.get_by_label("Block b").focus()
    page.keyboard.press("ArrowRight")
    live.get_by_text("Overlap (b + 2h)² / b² = 1.96").wait_for(state="attached")


def test_two_of_them(open_html, explorer):
    page = open_html(explorer.html * 2)
    assert page.locator(".ve-view").count() == 2
    ids = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
    assert len(ids) == len(set(ids)) == 8


def test_phone(open_html, assert_fits_a_phone):
    explorer = halo_explorer(picture(), alt=ALT, block=4, halo=1, attention=weights())
    page = open_html(explorer.html, dark=True, wide=390, has_touch=True, is_mobile=True)
    assert_fits_a_phone(page)
    page.touchscreen.tap(*centre(page, PICKER, 11, 0))
    where = page.locator(".ve-pick .ve-name")
    assert where.inner_text() == "Pixel: row 11, column 0"
    page.get_by_label("Block b").fill("7")
    page.get_by_role("button", name="with as many keys").tap()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_static_view_without_javascript(open_html, explorer):
    page = open_html(explorer.html, java_script_enabled=False)
    view = page.locator(".ve-static svg.visattn-figure")
    assert view.is_visible()
    assert "blocks of 4 and a halo of 1" in view.get_attribute("aria-label")
