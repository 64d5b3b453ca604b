import math
import re

import pytest

from visattn.explore import memory_calculator
from visattn.lab.memory import (
    largest_map,
    memory_bytes,
    memory_formulas,
    memory_variables,
)

ALT = "A calculator of the memory that attention layers need."
CHART = ".ve-lines"
OTHER = {"B": 8, "C": 96, "N": 3, "H": 40, "W": 72, "K": 5, "b": 12, "h": 2, "s": 8}


@pytest.fixture(scope="module")
def explorer():
    return memory_calculator(alt=ALT, title="What fits?")


def forms(formula):
    return ["package"] if formula.textbook is None else ["package", "textbook"]


# ---- the output ----


def test_output(explorer, assert_self_contained, data_of):
    assert_self_contained(explorer)
    assert explorer.html == memory_calculator(alt=ALT, title="What fits?").html
    assert len(explorer.html) < 250_000
    data = data_of(explorer)
    assert list(data["variables"]) == list(memory_variables())
    assert [row["key"] for row in data["formulas"]] == list(memory_formulas())
    for row in data["formulas"]:
        for device in ("cpu", "cuda"):
            formula = memory_formulas(device)[row["key"]]
            assert (row["textbook"] is None) == (formula.textbook is None)
            for form in forms(formula):
                strings = row[form].get(device, row[form]["cuda"])
                assert strings["forward"] == getattr(formula, form).forward
                assert strings["training"] == getattr(formula, form).training


@pytest.mark.bad_input
def test_refuses_bad_input():
    with pytest.raises(ValueError, match="at least 20 characters, got 4: 'memo'"):
        memory_calculator(alt="memo")
    with pytest.raises(TypeError, match="alt must be a string"):
        memory_calculator(alt=3)
    evil = "</script><script>alert(1)</script>"
    assert "alert(1)</script>" not in memory_calculator(alt=ALT, title=evil).html


# ---- in the browser ----


def field(page, name):
    return page.get_by_label(re.compile(f"^{name}: "))


def enter(page, **numbers):
    for name, number in numbers.items():
        if name == "s":
            field(page, name).select_option(label=str(number))
        else:
            field(page, name).fill(str(number))


def cells(page):
    """What the table holds: {mechanism: {form: (bytes, largest map, fits)}}."""
    found = page.eval_on_selector_all(
        ".ve-fits tr",
        """all => all.slice(1).map(line => [...line.querySelectorAll('td')].map(
          ({dataset: {bytes, largest, fits}}) => bytes === undefined ? null
            : [Number(bytes), Number(largest), fits === 'true']))""",
    )
    return {
        key: {form: row[i] for i, form in enumerate(forms(formula))}
        for (key, formula), row in zip(memory_formulas().items(), found, strict=True)
    }


@pytest.mark.parametrize("numbers", [{}, OTHER])
def test_numbers_are_those_of_python(open_html, explorer, numbers):
    page = open_html(explorer.html)
    enter(page, **numbers)
    for device, training in (("cuda", False), ("cpu", True)):
        page.get_by_label("Computed on").select_option(
            label=f"a {'G' if device == 'cuda' else 'C'}PU"
        )
        page.get_by_role("button", name="Training" if training else "Forward").click()
        for key, row in cells(page).items():
            for form, (found, side, fits) in row.items():
                options = {"form": form, "training": training, "device": device}
                exact = memory_bytes(key, **options, **numbers)
                assert found == pytest.approx(exact, rel=1e-12), (key, options)
                assert fits == (exact <= 16e9)
                rest = {k: v for k, v in numbers.items() if k not in "HW"}
                largest = largest_map(key, 16 * 10**9, **options, **rest)
                assert side == largest, (key, options)


def test_what_fits(open_html, explorer):
    page = open_html(explorer.html)
    enter(page, H=160, W=160)
    needed = memory_bytes("multi_head", form="textbook", device="cuda", H=160, W=160)
    assert 16e9 < needed < 24e9  # else choose another map
    line = page.locator(".ve-fits tr", has_text="Multi-head")
    assert line.locator("td").nth(1).inner_text().startswith("✗ ")
    assert line.locator("td").nth(0).inner_text().startswith("✓ ")
    page.get_by_label("Device", exact=True).select_option(label="RTX 4090, 24 GB")
    assert page.get_by_label("Its memory in GB").input_value() == "24"
    assert line.locator("td").nth(1).inner_text().startswith("✓ ")
    page.get_by_label("Its memory in GB").fill("0.5")
    chosen = page.get_by_label("Device", exact=True).locator("option:checked")
    assert chosen.inner_text() == "Another one"
    assert cells(page)["multi_head"]["textbook"][1] == largest_map(
        "multi_head", 5 * 10**8, form="textbook", device="cuda"
    )
    page.get_by_label("Its memory in GB").fill("0.001")
    enter(page, B=1024, C=4096)
    assert "no map fits" in line.inner_text()
    live = page.locator(".ve-live")
    live.get_by_text("Multi-head, forward, map 160 × 160: ✗").wait_for(state="attached")


def test_numbers_out_of_range_are_not_used(open_html, explorer):
    page = open_html(explorer.html)
    before = cells(page)
    window = field(page, "K")
    live = page.locator(".ve-live")
    for wrong in ("0", "8", "99", ""):
        window.fill(wrong)
        assert window.get_attribute("aria-invalid") == "true"
        assert cells(page) == before
    live.get_by_text("K: side of the window: from 1 to 63 in steps of 2.").wait_for(
        state="attached"
    )
    window.blur()
    assert window.input_value() == "7"
    assert window.get_attribute("aria-invalid") == "false"
    window.fill("9")
    assert cells(page)["local"] != before["local"]
    assert cells(page)["multi_head"] == before["multi_head"]
    enter(page, N=5)
    said = page.locator(".ve-readout").inner_text()
    assert "5 heads do not divide 64 channels" in said


def test_chart(open_html, explorer):
    page = open_html(explorer.html)
    picture = "document.querySelector('canvas').toDataURL()"
    said, rows = page.locator(".ve-readout"), field(page, "H")
    assert said.inner_text().startswith("Multi-head, forward, map 56 × 56: ✓ ")
    first = page.evaluate(picture)
    box = page.locator(CHART).bounding_box()

    def at(side):  # 8 to 1024, seven doublings
        share = (len(bin(side)) - len(bin(8))) / 7
        return box["x"] + share * box["width"], box["y"] + box["height"] / 2

    page.mouse.move(*at(128))
    assert page.evaluate(picture) != first
    assert "map 128 × 128" in said.inner_text()
    assert rows.input_value() == "56"  # only a look
    page.mouse.move(1, 1)
    assert "map 56 × 56" in said.inner_text()
    page.mouse.click(*at(256))
    assert (rows.input_value(), field(page, "W").input_value()) == (
        "256",
        "256",
    )
    found, _, _ = cells(page)["multi_head"]["package"]
    assert found == memory_bytes("multi_head", device="cuda", H=256, W=256)

    chart = page.get_by_role("slider", name="Side of a square map")
    chart.focus()
    assert chart.evaluate("e => getComputedStyle(e).outlineWidth") == "3px"
    page.mouse.move(1, 1)
    before = page.evaluate(picture)
    page.keyboard.press("ArrowRight")
    assert page.evaluate(picture) != before
    assert chart.get_attribute("aria-valuenow") == "272"
    page.locator(".ve-live").get_by_text("map 272 × 272").wait_for(state="attached")
    page.keyboard.press("ArrowDown")
    assert chart.get_attribute("aria-valuenow") == "255"
    page.keyboard.press("Home")
    assert rows.input_value() == "8"
    page.keyboard.press("End")
    assert chart.get_attribute("aria-valuetext") == "1024 pixels"


def test_curves_are_where_the_numbers_are(open_html, explorer):
    page = open_html(explorer.html)
    page.get_by_label("Drawn in colour").select_option(label="Axial")
    height, *rgba = page.evaluate(
        """() => {
          const canvas = document.querySelector('canvas'), {width, height} = canvas;
          const x = Math.round(width * Math.log(128 / 8) / Math.log(128));
          return [height, ...canvas.getContext('2d')
            .getImageData(x, 0, 1, height).data];
        }"""
    )
    column = [tuple(rgba[4 * y : 4 * y + 3]) for y in range(height)]
    for form, colour in (("package", (213, 94, 0)), ("textbook", (42, 143, 212))):
        needed = memory_bytes("axial", form=form, device="cuda", H=128, W=128)
        places = [y for y in range(height) if column[y] == colour]
        share = 1 - math.log(needed / 1e4) / math.log(1e13 / 1e4)
        if places:  # a dashed line may have its gap here
            assert sum(places) / len(places) == pytest.approx(share * height, abs=4)
        else:
            assert form == "textbook"


def test_choose_a_mechanism(open_html, explorer):
    page = open_html(explorer.html)
    page.locator(".ve-fits tr", has_text="Criss-cross").click()
    said = page.locator(".ve-readout").inner_text()
    assert said.startswith("Criss-cross, forward")
    holds = memory_formulas("cuda")["criss_cross"].package.holds
    assert holds in said
    assert "It depends on B, C, H, W, s." in said
    chosen = page.get_by_label("Drawn in colour").locator("option:checked")
    assert chosen.inner_text() == "Criss-cross"


def test_two_of_them(open_html, explorer):
    page = open_html(explorer.html * 2)
    assert page.locator(".ve-view").count() == 2
    ids = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
    assert len(ids) == len(set(ids)) == 28


def test_phone(open_html, explorer, assert_fits_a_phone):
    page = open_html(explorer.html, dark=True, wide=390, has_touch=True, is_mobile=True)
    assert_fits_a_phone(page)
    for one in page.locator("input").all():
        assert one.bounding_box()["height"] >= 40
    box = page.locator(CHART).bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 7, box["y"] + box["height"] / 2)
    assert field(page, "H").input_value() == "16"
    enter(page, B=1024, C=4096, H=4096, W=4096)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_static_view_without_javascript(open_html, explorer):
    page = open_html(explorer.html, java_script_enabled=False)
    view = page.locator(".ve-static svg.visattn-figure")
    assert view.is_visible()
    assert "Bars of the memory" in view.get_attribute("aria-label")
