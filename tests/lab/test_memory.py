"""The memory formulas, against the memory that the layers take."""

import re

import pytest
import torch

from visattn.lab import (
    build_layer,
    evaluate,
    largest_map,
    list_layers,
    measure_bytes,
    memory_bytes,
    memory_formulas,
    memory_variables,
    variables_of,
)
from visattn.lab.compare import awaken
from visattn.lab.textbook import TEXTBOOK

MECHANISMS = list(memory_formulas())
FORMS = [
    (name, form)
    for name, formula in memory_formulas().items()
    for form in ("package", "textbook")
    if getattr(formula, form) is not None
]


@pytest.fixture
def one_thread():
    """Each further thread of a CPU has scratch memory of its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Expressions --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3 - 4 / 8", 8.5),
        ("-H + 10", 3),
        ("ceil(H / 2) + floor(H / 2)", 7),
        ("min(H, 3, 5) * max(H, 3)", 21),
        ("0.5 * H", 3.5),
    ],
)
def test_evaluate(expression, value):
    assert evaluate(expression, H=7) == value


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "expression",
    [
        "H ** 2",
        "H if H else 1",
        "H.real",
        "abs(H)",
        "[H]",
        "min()",
        "max(H, key=H)",
        "__import__('os')",
        "'H'",
        "True",
        "W",
        "H +",
        "H; H",
    ],
)
def test_evaluate_knows_nothing_else(expression):
    with pytest.raises(ValueError):
        evaluate(expression, H=7)


@pytest.mark.bad_input
def test_evaluate_wants_text():
    with pytest.raises(TypeError, match="as text"):
        evaluate(7)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", MECHANISMS)
def test_formulas_are_plain_arithmetic(name, device):
    """The calculator in the browser hands them to JavaScript."""
    formula = memory_formulas(device)[name]
    for form in (formula.package, formula.textbook):
        for expression in [] if form is None else [form.forward, form.training]:
            words = set(re.findall(r"[A-Za-z_]\w*", expression))
            assert words <= {*memory_variables(), "ceil", "floor", "min", "max"}
            assert re.fullmatch(r"[\w\s+\-*/().,]*", expression)
            assert "**" not in expression
            assert "//" not in expression
            assert set(variables_of(expression)) == words & set(memory_variables())
            assert {"B", "C", "H", "W", "s"} <= set(variables_of(expression))


def test_variables_come_in_their_order():
    assert variables_of("s * W + C * H + max(B, 2)") == ("B", "C", "H", "W", "s")


def test_every_layer_has_a_formula():
    assert list_layers() == MECHANISMS
    with_textbook = [n for n, f in memory_formulas().items() if f.textbook is not None]
    assert with_textbook == [n for n in MECHANISMS if n in TEXTBOOK]


# Agreement with what is measured ------------------------------------------------------

SIZES = [
    {"B": 1, "C": 64, "N": 4, "H": 36, "W": 36, "K": 7, "b": 8, "h": 3},
    {"B": 2, "C": 32, "N": 2, "H": 19, "W": 38, "K": 5, "b": 7, "h": 1},
    {"B": 4, "C": 48, "N": 4, "H": 26, "W": 17, "K": 3, "b": 4, "h": 2},
    {"B": 3, "C": 16, "N": 2, "H": 31, "W": 24, "K": 7, "b": 14, "h": 2},
    {"B": 2, "C": 128, "N": 8, "H": 16, "W": 20, "K": 5, "b": 5, "h": 0},
]


@pytest.mark.parametrize("training", [False, True], ids=["forward", "training"])
@pytest.mark.parametrize("numbers", SIZES, ids=lambda n: "-".join(map(str, n.values())))
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_formulas_agree_with_measurements(one_thread, name, form, numbers, training):
    if name == "bam" and numbers["B"] == 1:
        pytest.skip("in training mode its batch norm needs two images")
    options = {"form": form, "training": training}
    expected = measure_bytes(name, **options, **numbers)
    assert memory_bytes(name, **options, **numbers) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("name", MECHANISMS)
def test_formulas_agree_in_double_precision(one_thread, name):
    numbers = {**SIZES[1], "s": 8}  # convolutions take another way here
    for training in (False, True):
        expected = measure_bytes(name, training=training, **numbers)
        found = memory_bytes(name, training=training, **numbers)
        assert found == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("local", {"H": 96, "W": 96, "K": 3}),  # several chunks
        ("local", {"H": 96, "W": 90, "K": 9}),
        ("halo", {"H": 96, "W": 96}),
        ("halo", {"H": 33, "W": 33, "b": 40}),  # one block
        ("halo", {"H": 60, "W": 56, "b": 28}),  # a chunk is a part of a block
        ("coordinate", {"H": 184, "W": 184}),  # above the size where it is chunked
        ("multi_head", {"B": 2, "C": 32, "H": 80, "W": 80}),
    ],
    ids=str,
)
def test_formulas_agree_where_kernels_change_their_way(one_thread, name, numbers):
    for training in (False, True):
        expected = measure_bytes(name, training=training, **numbers)
        found = memory_bytes(name, training=training, **numbers)
        assert found == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("name", list(TEXTBOOK))
def test_textbook_forms_compute_the_same(name):
    layer = build_layer(name, channels=16, num_heads=2, height=9, width=11)
    layer = awaken(layer.double().eval())
    x = torch.randn(2, 16, 9, 11, dtype=torch.float64)
    y = layer(x)
    assert y.std() > 0
    torch.testing.assert_close(TEXTBOOK[name](layer, x), y, rtol=1e-10, atol=1e-12)


# What fits ----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize("training", [False, True])
def test_largest_map(name, form, training):
    options = {"form": form, "training": training}
    budget = 256 * 2**20
    side = largest_map(name, budget, **options)
    assert side > 8
    assert memory_bytes(name, H=side, W=side, **options) <= budget
    assert memory_bytes(name, H=side + 1, W=side + 1, **options) > budget
    assert largest_map(name, 4 * budget, **options) > side


def test_largest_map_at_the_ends():
    assert largest_map("convolution", 0) == 0
    assert largest_map("squeeze_excitation", 10**18, C=16) == 65_536


def test_windows_outgrow_global_maps():
    """Where the book's story begins: a map of all pairs grows with the fourth power."""
    gigabyte = 2**30
    pairs = largest_map("multi_head", gigabyte, form="textbook")
    windows = largest_map("local", gigabyte, form="textbook")
    assert pairs < windows < largest_map("local", gigabyte)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "numbers", "error"),
    [
        (("attention",), {}, ValueError),
        (("local",), {"Q": 3}, ValueError),
        (("local",), {"H": 0}, ValueError),
        (("local",), {"H": 2.5}, TypeError),
        (("local",), {"form": "official"}, ValueError),
        (("cbam",), {"form": "textbook"}, ValueError),
        (("local",), {"device": "tpu"}, ValueError),
    ],
    ids=str,
)
def test_bad_input(arguments, numbers, error):
    with pytest.raises(error):
        memory_bytes(*arguments, **numbers)
