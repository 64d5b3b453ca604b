"""Exercises that say why an answer is wrong.

`check(name, function)` runs your function against the loop of the chapter and
against a collection of known mistakes. `names()` lists the exercises.
"""

import difflib
import importlib
import pkgutil
from functools import cache
from typing import Any

from visattn.exercises._declare import Exercise
from visattn.exercises._engine import grade
from visattn.exercises._result import Result

__all__ = ["Result", "check", "names"]


def check(name: str, fn: Any) -> Result:
    """Grade a function and say why it is wrong, if it is.

    The function runs on small random inputs in float64. Its output and its
    gradients are compared with the loop of the chapter. When they differ, the output
    is compared with known mistakes. The global random state stays as it is.

    Args:
        name: an exercise, one of `names()`.
        fn: your function, with the signature that the exercise asks for.

    Returns:
        A `Result`; it is true when the function passed.

    Raises:
        TypeError: `name` is not a string, or `fn` cannot be called.
        ValueError: there is no exercise of this name.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"check(name, fn): name must be a string such as 'attend', got {name!r}"
        )
    exercise = find(name)
    if not callable(fn):
        raise TypeError(
            f"check({name!r}, fn): fn must be a function, got"
            f" {type(fn).__name__} {fn!r}; pass the function itself, without calling it"
        )
    return grade(exercise, fn)


def names(mechanism: str | None = None) -> list[str]:
    """List the exercises, all of them or those of one mechanism.

    Args:
        mechanism: the stem of a chapter, such as `multi_head`.

    Raises:
        ValueError: there are no exercises for this mechanism.
    """
    if mechanism is None:
        return list(_exercises())
    if mechanism not in _stems():
        raise ValueError(
            f"no exercises for mechanism {mechanism!r}; known: {', '.join(_stems())}"
        )
    return [exercise.name for exercise in _of(mechanism)]


def find(name: str) -> Exercise:
    """Return the declaration of an exercise."""
    known = _exercises()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no exercise {name!r}{guess}; known: {', '.join(known)}")
    return known[name]


def _stems() -> list[str]:
    """The files of this folder that declare exercises: all without underscore."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(stem for stem in found if not stem.startswith("_"))


def _of(stem: str) -> tuple[Exercise, ...]:
    module = importlib.import_module(f"{__name__}.{stem}")
    exercises: tuple[Exercise, ...] = module.EXERCISES
    return exercises


@cache
def _exercises() -> dict[str, Exercise]:
    declared = [exercise for stem in _stems() for exercise in _of(stem)]
    return {exercise.name: exercise for exercise in declared}
