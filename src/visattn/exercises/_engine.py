"""Grade a reader's function: run it, compare it, name the mistake."""

import copy
import inspect
import linecache
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from visattn.exercises._compare import (
    Details,
    Difference,
    describe,
    difference,
    equal,
    is_number,
    largest_error,
    numbers,
    relation,
)
from visattn.exercises._declare import (
    Case,
    Exercise,
    Function,
    Inputs,
    Variant,
    unwritten,
)
from visattn.exercises._result import Result

_SHRINK_TRIES = 60  # a number and not a time: the same answer, the same result


@dataclass(frozen=True)
class Attempt:
    """What one call of a function gave: a value or an error."""

    value: Any = None
    error: Exception | None = None
    changed: str | None = None  # the input that the call overwrote

    def same_as(self, other: "Attempt") -> bool:
        """True when both calls failed, or both gave equal outputs."""
        if self.error is not None or other.error is not None:
            return self.error is not None and other.error is not None
        return equal(self.value, other.value)

    def without_traceback(self) -> "Attempt":
        """The same, without the frames that the error keeps alive."""
        if self.error is None:
            return self
        return Attempt(error=self.error.with_traceback(None))


@dataclass(frozen=True)
class _Trial:
    """A function that fails, with everything that is known about it."""

    exercise: Exercise
    function: Function
    cases: Sequence[Case]
    attempts: Sequence[Attempt]
    wanted: Sequence[Any]
    failing: Sequence[int]  # the numbers of the cases that fail


def grade(exercise: Exercise, function: Function) -> Result:
    """Run a function on every case of an exercise and explain what came out."""
    with (
        torch.random.fork_rng(devices=[]),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.device("cpu"),
    ):
        return _grade(exercise, function)


def _grade(exercise: Exercise, function: Function) -> Result:
    cases, wanted = exercise.cases, exercise.answers
    # A Result is false unless it passed: compare with None, never with `or`.
    early = _signature_problem(exercise, function, cases)
    if early is not None:
        return early
    attempts = []
    for case in cases:
        attempts.append(run(exercise, function, case.inputs))
        early = _unusable(exercise, case, attempts[-1])
        if early is not None:
            return early
    early = _unsteady(exercise, function, cases, attempts)
    if early is not None:
        return early

    failing = [
        number
        for number in range(len(cases))
        if _problem(exercise, attempts[number], wanted[number]) is not None
    ]
    if failing:
        trial = _Trial(exercise, function, cases, attempts, wanted, failing)
        named = _named(trial)
        return _unnamed(trial) if named is None else named
    cut_off = _gradient_problem(exercise, function, cases)
    return _passed(exercise, attempts, wanted) if cut_off is None else cut_off


def run(exercise: Exercise, function: Function, inputs: Inputs) -> Attempt:
    """Call a function on copies of the inputs."""
    copies = {name: _copy(value) for name, value in inputs.items()}
    try:
        value = exercise.call(function, copies)
    except Exception as error:
        return Attempt(error=error)
    changed = [name for name in inputs if not _untouched(copies[name], inputs[name])]
    if isinstance(value, Tensor):
        value = value.detach().clone()
    return Attempt(value=value, changed=changed[0] if changed else None)


def _copy(value: Any) -> Any:
    if isinstance(value, nn.Module):
        return copy.deepcopy(value)
    return value.clone() if isinstance(value, Tensor) else value


def _untouched(after: Any, before: Any) -> bool:
    if isinstance(after, Tensor):
        return after.shape == before.shape and equal(after, before)
    if isinstance(after, nn.Module):
        now, then = after.state_dict(), before.state_dict()
        same = now.keys() == then.keys() and repr(after) == repr(before)
        return same and all(_untouched(now[name], then[name]) for name in now)
    return True


def _problem(exercise: Exercise, got: Attempt, want: Any) -> Difference | None:
    if got.error is not None:
        return Difference("error", _error_text(got.error))
    return difference(got.value, want, exercise.any_float)


# --- before any comparison ------------------------------------------------------


def _signature_problem(
    exercise: Exercise, function: Function, cases: Sequence[Case]
) -> Result | None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # built in: its call will tell
        return None
    for case in cases:
        positional, keyword = exercise.arguments(case.inputs)
        try:
            signature.bind(*positional, **keyword)
        except TypeError as error:
            plain = [
                parameter.replace(annotation=inspect.Parameter.empty)
                for parameter in signature.parameters.values()
            ]
            message = (
                f"The arguments do not fit ({error})."
                f" Write the function as `{exercise.signature}`."
            )
            details = (("yours takes", f"`{inspect.Signature(plain)}`"),)
            return _not_yet(exercise, message, details)
    return None


def _unusable(exercise: Exercise, case: Case, attempt: Attempt) -> Result | None:
    unfinished = _unfinished(exercise, attempt)
    if unfinished is not None:
        return unfinished
    return _overwritten(exercise, case, attempt)


def _unfinished(exercise: Exercise, attempt: Attempt) -> Result | None:
    stub = isinstance(attempt.error, NotImplementedError) and _is_stub(attempt.error)
    empty = attempt.error is None and unwritten(attempt.value)
    if stub:
        message = "Nothing here yet. Write the body, then run this cell again."
    elif empty:
        message = (
            f"Nothing here yet: the function returned {attempt.value}."
            " If you wrote a body, it may lack a `return`."
        )
    else:
        return None
    return _not_yet(exercise, message, (("to write", f"`{exercise.signature}`"),))


def _is_stub(error: NotImplementedError) -> bool:
    """Tell `raise NotImplementedError` from a kernel that torch does not have."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return not error.args or "raise" in (last.line or "")


def _overwritten(exercise: Exercise, case: Case, attempt: Attempt) -> Result | None:
    if attempt.changed is None:
        return None
    message = (
        f"Your function overwrites its input `{attempt.changed}`."
        " The caller may still need it. Replace the in-place step (`x *= ...`,"
        " `x[...] = ...`, a method that ends in `_`) by one that makes a new tensor."
    )
    return _not_yet(exercise, message, (("input", _describe(case.inputs)),))


def _unsteady(
    exercise: Exercise,
    function: Function,
    cases: Sequence[Case],
    attempts: Sequence[Attempt],
) -> Result | None:
    for number in {0, len(cases) - 1}:
        again = run(exercise, function, cases[number].inputs)
        value = attempts[number].value
        known = value is None or isinstance(value, Tensor) or is_number(value)
        if known and not again.same_as(attempts[number]):
            message = (
                "The same input gave two different answers. Look for random numbers,"
                " dropout, uninitialised memory (`torch.empty`), or a variable that"
                " survives from one call to the next."
            )
            details = (("input", _describe(cases[number].inputs)),)
            return _not_yet(exercise, message, details)
    return None


# --- right numbers --------------------------------------------------------------


def _passed(
    exercise: Exercise, attempts: Sequence[Attempt], wanted: Sequence[Any]
) -> Result:
    error = max(
        largest_error(got.value, want)
        for got, want in zip(attempts, wanted, strict=True)
    )
    checked = "outputs and gradients" if exercise.gradients else "outputs"
    message = f"Your function agrees with the loop on every input: {checked}."
    details = (
        ("inputs tried", str(len(attempts))),
        ("largest error", f"{error:.1e}" if error else "0"),
    )
    return Result(True, None, message, None, exercise.name, details)


def _gradient_problem(
    exercise: Exercise, function: Function, cases: Sequence[Case]
) -> Result | None:
    if not exercise.gradients:
        return None
    for case, want in zip(cases, _wanted_gradients(exercise), strict=True):
        try:
            got, attached = _gradients(exercise, function, case.inputs)
        except Exception as error:
            message = (
                "The numbers are right, but with inputs that require gradients "
                f"this happens: {_error_text(error)}"
            )
            return _not_yet(exercise, message, _error_details(function, error))
        for name in want:
            message, detached = _gradient_message(name, got[name], want[name], attached)
            if message:
                details = (("input", _describe(case.inputs)),)
                variant = "detached" if detached else None
                return _not_yet(exercise, message, details, variant)
    return None


@cache
def _wanted_gradients(exercise: Exercise) -> list[dict[str, Tensor]]:
    return [
        _gradients(exercise, exercise.oracle, case.inputs)[0] for case in exercise.cases
    ]


def _gradients(
    exercise: Exercise, function: Function, inputs: Inputs
) -> tuple[dict[str, Tensor], bool]:
    """The gradient for every floating input, and whether the output has a graph."""
    leaves = {
        name: value.clone().requires_grad_()
        for name, value in inputs.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    output = exercise.call(function, {**inputs, **leaves})
    if not output.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}, False
    steps = torch.arange(output.numel(), dtype=torch.float64).reshape(output.shape)
    found = torch.autograd.grad(
        output,
        list(leaves.values()),
        (steps * 0.7 + 0.3).cos().to(output.dtype),
        allow_unused=True,
    )
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }, True


def _gradient_message(
    name: str, got: Tensor, want: Tensor, attached: bool
) -> tuple[str, bool]:
    if equal(got, want):
        return "", False
    right = "The numbers are right, but"
    if not attached:
        return (
            f"{right} no gradient flows: the output is cut off from its inputs."
            " Look for `detach`, `.data`, `.item()`, `torch.tensor(...)` or `no_grad`."
        ), True
    if bool(got.isnan().any() & ~want.isnan().any()):
        return (
            f"{right} the gradient for `{name}` is NaN. A NaN or infinity that is"
            " replaced later still reaches the backward pass; keep it from arising."
        ), False
    if not bool(got.any()):
        return (
            f"{right} no gradient reaches `{name}`. Somewhere on its way the"
            " computation is detached."
        ), True
    return (
        f"{right} the gradient for `{name}` is not: part of the computation is"
        " detached, or a step has no useful derivative."
    ), False


# --- wrong numbers --------------------------------------------------------------


@dataclass(frozen=True)
class _Mistake:
    """One form of a variant: what it gives on every case, and where that is wrong."""

    variant: Variant
    outcomes: tuple[Attempt, ...]
    where: frozenset[int]


@dataclass(frozen=True)
class _Match:
    variant: Variant
    where: frozenset[int]  # the cases in which the variant is wrong
    agrees: frozenset[int]  # those of them in which the reader's output is the same


@cache
def _mistakes(exercise: Exercise) -> list[_Mistake]:
    """The outcomes of every form of every variant; they never change."""
    found = []
    for variant in exercise.variants:
        for form in variant.forms:
            outcomes = tuple(
                run(exercise, form, case.inputs).without_traceback()
                for case in exercise.cases
            )
            where = frozenset(
                number
                for number, outcome in enumerate(outcomes)
                if _problem(exercise, outcome, exercise.answers[number]) is not None
            )
            found.append(_Mistake(variant, outcomes, where))
    return found


def _matches(trial: _Trial) -> Iterator[_Match]:
    for mistake in _mistakes(trial.exercise):
        outcomes = mistake.outcomes
        # Where the mistake cannot run, any failure of the reader's agrees with it.
        agrees = frozenset(
            number
            for number in mistake.where
            if outcomes[number].same_as(trial.attempts[number])
            or (outcomes[number].error is not None and number in trial.failing)
        )
        # A form that only raises says nothing about the numbers.
        if any(outcomes[number].error is None for number in agrees):
            yield _Match(mistake.variant, mistake.where, agrees)


def _named(trial: _Trial) -> Result | None:
    """A variant that explains the failures, on all cases or on the plain ones."""
    matches = list(_matches(trial))
    whole = [match for match in matches if match.agrees == match.where]
    if whole:
        return _explained(trial, max(whole, key=lambda match: len(match.where)))

    # Two mistakes at once: look at the plain inputs first, then at one option alone.
    stages = dict.fromkeys(case.options for case in trial.cases)
    for stage in sorted(stages, key=len):
        known = [match for match in matches if _explains(match, trial, stage)]
        if known:
            return _explained(trial, max(known, key=lambda match: len(match.agrees)))
    return None


def _explains(match: _Match, trial: _Trial, stage: frozenset[str]) -> bool:
    """True when a variant explains all failures among cases of these options."""
    within = {n for n, case in enumerate(trial.cases) if case.options <= stage}
    failing = within.intersection(trial.failing)
    return bool(failing) and failing == match.where & within <= match.agrees


def _explained(trial: _Trial, match: _Match) -> Result:
    cases = trial.cases
    details = [
        ("inputs that show it", f"{len(match.agrees)} of {len(cases)}"),
        ("smallest", _describe(cases[min(match.agrees)].inputs)),
    ]
    left = sum(number not in match.agrees for number in trial.failing)
    if left:
        text = f"{left} more inputs fail for another reason; take this one first"
        details.append(("not all", text))
    return Result(
        False,
        match.variant.name,
        match.variant.message,
        match.variant.section,
        trial.exercise.name,
        tuple(details),
    )


def _unnamed(trial: _Trial) -> Result:
    exercise, function = trial.exercise, trial.function
    number, problem = _telling(trial)
    case, problem = _smallest(exercise, function, trial.cases[number], problem)
    details = list(problem.details)
    error = run(exercise, function, case.inputs).error
    if error is not None:
        details += _error_details(function, error)
    label = "input" if problem.kind == "shape" else "smallest failing input"
    details.append((label, _describe(case.inputs)))
    if problem.kind in ("value", "nan", "error"):
        details += list(_small_inputs(case.inputs))
    right = len(trial.cases) - len(trial.failing)
    details.append(("right", f"{right} of {len(trial.cases)} inputs"))
    relation_hint = _relation_hint(trial) if problem.kind == "value" else ""
    message = problem.message + relation_hint + _option_hint(trial)
    return _not_yet(exercise, message, tuple(details))


def _telling(trial: _Trial) -> tuple[int, Difference]:
    """The failing case to show: the first; for a shape, that of most unlike lengths."""
    problems = {
        number: _problem(trial.exercise, trial.attempts[number], trial.wanted[number])
        for number in trial.failing
    }
    found = {n: problem for n, problem in problems.items() if problem is not None}
    first = trial.failing[0]
    if found[first].kind != "shape":
        return first, found[first]
    shapes = [n for n, problem in found.items() if problem.kind == "shape"]
    clear = max(shapes, key=lambda n: len(set(trial.wanted[n].shape)))
    return clear, found[clear]


def _relation_hint(trial: _Trial) -> str:
    """How the largest wrong output is related to the right one, if it is."""
    pairs = [
        (trial.attempts[number].value, trial.wanted[number])
        for number in trial.failing
        if isinstance(trial.wanted[number], Tensor)
    ]
    if not pairs:
        return ""
    return relation(*max(pairs, key=lambda pair: pair[1].numel()))


def _option_hint(trial: _Trial) -> str:
    """Say so when exactly the cases with a mask (a bias, ...) fail."""
    failing = [trial.cases[number].options for number in trial.failing]
    right = [
        case.options
        for number, case in enumerate(trial.cases)
        if number not in trial.failing
    ]
    shared = frozenset.intersection(*failing)
    candidates = [{option} for option in sorted(shared)] + [set(shared)]
    for options in candidates:
        if options and right and not any(options <= others for others in right):
            words = " and ".join(sorted(options)).replace("_", " ")
            return f" Only inputs with {words} fail; the others are right."
    return ""


def _smallest(
    exercise: Exercise, function: Function, case: Case, problem: Difference
) -> tuple[Case, Difference]:
    """Make the sizes of a failing case smaller while it fails in the same way."""
    if problem.kind == "shape":  # equal lengths would hide which axis is which
        return case, problem
    tries = 0
    progress = True
    while progress:
        progress = False
        for sizes in _smaller(case.sizes):
            tries += 1
            if tries > _SHRINK_TRIES:
                return case, problem
            found = _fails_alike(exercise, function, sizes, problem)
            if found is not None:
                case, problem = found
                progress = True
                break
    return case, problem


def _smaller(sizes: Any) -> Iterator[dict[str, Any]]:
    for name, size in sizes.items():
        if isinstance(size, bool):
            candidates: list[Any] = [False] if size else []
        elif isinstance(size, int) and size > 1:
            candidates = sorted({1, size // 2, size - 1})
        else:
            candidates = []
        for candidate in candidates:
            yield {**sizes, name: candidate}


def _fails_alike(
    exercise: Exercise, function: Function, sizes: dict[str, Any], problem: Difference
) -> tuple[Case, Difference] | None:
    try:
        case = exercise.case(sizes)
        want = exercise.answer(case)
    except (ValueError, IndexError, RuntimeError):  # not a size of this exercise
        return None
    got = run(exercise, function, case.inputs)
    found = _problem(exercise, got, want)
    if found is None or found.kind != problem.kind:
        return None
    if found.kind == "error" and found.message != problem.message:
        return None
    return case, found


# --- words ----------------------------------------------------------------------


def _not_yet(
    exercise: Exercise,
    message: str,
    details: Details = (),
    variant: str | None = None,
) -> Result:
    return Result(False, variant, message, exercise.section, exercise.name, details)


def _describe(inputs: Inputs) -> str:
    return ", ".join(f"{name} {describe(value)}" for name, value in inputs.items())


def _small_inputs(inputs: Inputs) -> Iterator[tuple[str, str]]:
    for name, value in inputs.items():
        shown = numbers(value) if isinstance(value, Tensor) else None
        if shown is not None:
            yield f"`{name}`", shown


def _error_text(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    first = f": {text[0]}" if text else ""
    return f"Your code raised {type(error).__name__}{first.rstrip('.')}."


def _error_details(function: Function, error: BaseException) -> Details:
    """The deepest line of the reader's own code."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    steps = list(traceback.walk_tb(error.__traceback__))
    own = [
        (frame, line)
        for frame, line in steps
        if code is not None and frame.f_code.co_filename == code.co_filename
    ]
    if not own:
        own = [(frame, line) for frame, line in steps if not _ours(frame)]
    if not own:
        return ()
    frame, line = own[-1]
    source = linecache.getline(frame.f_code.co_filename, line).strip()
    where = f"line {line} of `{frame.f_code.co_name}`"
    return (("where", f"{where}: `{source}`" if source else where),)


def _ours(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    return name.startswith(("visattn.exercises.", "torch."))
