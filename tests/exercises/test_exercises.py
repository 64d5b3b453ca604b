"""Every oracle passes its own check; every known mistake is caught and named."""

import itertools
import re
import time
from functools import cache
from pathlib import Path

import pytest

import visattn
from visattn.exercises import check, find, names
from visattn.exercises._engine import run

ROOT = Path(__file__).parents[2]
STEMS = (
    "dot_product",
    "multi_head",
    "positions",
    "convolution",
    "augmented",
    "local",
    "equivalence",
    "gates",
    "pairwise",
    "patchwise",
    "san",
    "coordinate",
    "mobile",
    "non_local",
    "axial",
    "channelized",
    "segmentation",
    "halo",
    "halonets",
    "side_by_side",
)
VARIANTS = [
    pytest.param(name, variant, form, id=f"{name}-{variant.name}-{number}")
    for name in names()
    for variant in find(name).variants
    for number, form in enumerate(variant.forms)
]


def test_every_mechanism_has_exercises():
    assert all(len(names(stem)) >= 4 for stem in STEMS)
    assert len(set(names())) == len(names())


@pytest.mark.parametrize("name", names())
def test_the_oracle_passes(name):
    exercise = find(name)
    start = time.process_time()
    result = check(name, exercise.oracle)
    assert result, result
    assert time.process_time() - start < 3  # about 0.2 s, and the first use of autograd


@pytest.mark.parametrize("name", sorted(set(names()) & set(visattn.__all__)))
def test_the_vectorised_function_passes(name):
    assert check(name, getattr(visattn, name))


@pytest.mark.parametrize(("name", "variant", "form"), VARIANTS)
def test_a_known_mistake_is_caught_and_named(name, variant, form):
    result = check(name, form)
    assert not result.passed
    assert result.variant == variant.name
    assert result.message == variant.message
    assert result.section == variant.section


@pytest.mark.parametrize("name", names())
def test_no_two_mistakes_look_alike(name):
    exercise = find(name)
    outcomes = [
        (variant, [run(exercise, form, case.inputs) for case in exercise.cases])
        for variant in exercise.variants
        for form in variant.forms
    ]
    for (one, a), (other, b) in itertools.combinations(outcomes, 2):
        if one.name != other.name:
            alike = all(x.same_as(y) for x, y in zip(a, b, strict=True))
            assert not alike, (one.name, other.name)


@pytest.mark.parametrize("name", names())
def test_a_declaration_is_complete(name):
    exercise = find(name)
    known = [variant.name for variant in exercise.variants]
    assert len(set(known)) == len(known) >= 3
    for variant in exercise.variants:
        assert re.fullmatch(r"[a-z0-9_]+", variant.name)
        assert variant.message.endswith((".", ".)"))
        assert len(variant.message) <= 220
    small = exercise.cases[0]
    assert all(type(size) in (int, bool) for size in small.sizes.values())
    assert exercise.case(small.sizes).inputs.keys() == small.inputs.keys()


@pytest.mark.parametrize("name", names())
def test_every_argument_is_used_in_some_case(name):
    exercise = find(name)
    asked = {parameter.name for parameter in exercise.parameters}
    used = set().union(*(case.inputs.keys() for case in exercise.cases))
    assert used == asked


# --- sections -------------------------------------------------------------------


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a chapter: its headings as slugs, and its explicit targets."""
    text = re.sub(r"^(`{3,}|~{3,}).*?^\1", "", page.read_text(), flags=re.S | re.M)
    found = set(re.findall(r"^\(([\w-]+)\)=\s*$", text, flags=re.M))
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*$", text, flags=re.M):
        found.add(re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-"))
    return found


@pytest.mark.parametrize("name", names())
def test_sections_exist(name):
    exercise = find(name)
    missing = []
    for section in {exercise.section, *(v.section for v in exercise.variants)}:
        page, _, anchor = section.partition("#")
        assert page.endswith(".html")
        assert anchor
        source = ROOT / "book" / page.replace(".html", ".md")
        if source.exists() and anchor not in anchors(source):
            missing.append(section)
    assert not missing
