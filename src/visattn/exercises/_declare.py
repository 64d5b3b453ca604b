"""How an exercise is written down: as data, in one short file per mechanism.

A file `exercises/<stem>.py` holds a tuple `EXERCISES`. Each entry names an oracle
(the loop), a function that draws inputs, the sizes to draw, and the wrong variants
that the checker knows by name.
"""

import inspect
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

Inputs = dict[str, Any]
Function = Callable[..., Any]

# Arguments of our own functions that no reader has to write.
_NOT_ASKED = frozenset({"return_attention", "return_terms", "device", "dtype"})


def unwritten(value: Any) -> bool:
    """True for what a function without a body returns."""
    return value is None or value is Ellipsis or value is NotImplemented


class Draw:
    """Random inputs from a generator of their own: the global state stays as it is."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator(device="cpu").manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers in float64."""
        return torch.randn(
            *shape, generator=self.generator, dtype=torch.float64, device="cpu"
        )

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), in float64."""
        return torch.rand(
            *shape, generator=self.generator, dtype=torch.float64, device="cpu"
        )

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Whole numbers from low to high, both included, in int64."""
        return torch.randint(
            low, high + 1, shape, generator=self.generator, device="cpu"
        )

    def keep(self, *shape: int) -> Tensor:
        """A mask, True = keep, that keeps and drops at least one key of every row.

        A row of a single key keeps it.
        """
        score = self.uniform(*shape)
        keep = score > 0.4
        if shape[-1] > 1:
            keep.scatter_(-1, score.argmin(-1, keepdim=True), False)
        return keep.scatter_(-1, score.argmax(-1, keepdim=True), True)


@dataclass(frozen=True)
class Variant:
    """A wrong answer with a name.

    Attributes:
        name: what `Result.variant` says.
        function: the mistake, written out, with the oracle's signature.
        message: one or two short sentences: what happened, what to do.
        section: page and anchor in the book, for example
            `foundations/multi_head.html#right-shape-still-wrong`.
        also: the same mistake in other forms that give other numbers.
    """

    name: str
    function: Function
    message: str
    section: str
    also: tuple[Function, ...] = ()

    @property
    def forms(self) -> tuple[Function, ...]:
        """Every form of the mistake."""
        return (self.function, *self.also)


@dataclass(frozen=True)
class Case:
    """One input of an exercise: the sizes it was drawn from and the arguments."""

    sizes: Mapping[str, Any]
    inputs: Inputs

    @property
    def options(self) -> frozenset[str]:
        """The switches (a mask, a bias, ...) that are on in this case."""
        return frozenset(name for name, size in self.sizes.items() if size is True)


@dataclass(frozen=True, eq=False)
class Exercise:
    """One exercise, as data.

    Attributes:
        name: what the reader passes to `check`.
        oracle: the loop; it also gives the signature that a reader writes.
        draw: `draw(random, **sizes)` gives the arguments by name. It must accept
            every positive whole number, because the checker makes sizes smaller.
        sizes: one entry per case, from small to large; True or False are switches.
        variants: the wrong answers known by name, the likelier one first.
        section: where the book explains the right answer.
        gradients: compare gradients as well.
        any_float: the reader chooses the floating dtype (no input sets it).
        then: for a function that returns a module (or another thing that is not
            compared as it stands): `then(value, inputs)` runs it and gives what is
            compared. The function and `then` always see the same random numbers, so
            a module's initial weights are the same in every call.
    """

    name: str
    oracle: Function
    draw: Callable[..., Inputs]
    sizes: Sequence[Mapping[str, Any]]
    variants: tuple[Variant, ...]
    section: str
    gradients: bool = True
    any_float: bool = False
    then: Callable[[Any, Inputs], Any] | None = None

    def case(self, sizes: Mapping[str, Any]) -> Case:
        """Draw the case of these sizes; the same sizes give the same numbers."""
        seed = zlib.crc32(f"{self.name} {sorted(sizes.items())}".encode())
        return Case(dict(sizes), self.draw(Draw(seed), **sizes))

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """All cases, from the smallest to the largest."""
        return tuple(self.case(sizes) for sizes in self.sizes)

    @cached_property
    def answers(self) -> tuple[Any, ...]:
        """What the oracle says to each case."""
        return tuple(self.answer(case) for case in self.cases)

    def answer(self, case: Case) -> Any:
        """What the oracle says to a case."""
        return self.call(self.oracle, case.inputs)

    def call(self, function: Function, inputs: Inputs) -> Any:
        """Call a function on inputs, as a reader would; run what it returns."""
        positional, keyword = self.arguments(inputs)
        if self.then is None:
            return function(*positional, **keyword)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            value = function(*positional, **keyword)
            return value if unwritten(value) else self.then(value, inputs)

    @cached_property
    def parameters(self) -> tuple[inspect.Parameter, ...]:
        """The arguments of a reader's function, without annotations."""
        parameters = inspect.signature(self.oracle).parameters.values()
        return tuple(
            parameter.replace(annotation=inspect.Parameter.empty)
            for parameter in parameters
            if parameter.name not in _NOT_ASKED
        )

    @property
    def signature(self) -> str:
        """The signature to write, for example `my_attend(q, k, v, *, mask=None)`."""
        return f"my_{self.name}{inspect.Signature(list(self.parameters))}"

    def arguments(self, inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Split inputs into positional and keyword arguments, as a reader would."""
        by_position: list[Any] = []
        by_keyword: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.name not in inputs:
                continue
            value = inputs[parameter.name]
            keyword_only = parameter.kind is inspect.Parameter.KEYWORD_ONLY
            if keyword_only or len(by_position) + 1 < self._place(parameter.name):
                by_keyword[parameter.name] = value
            else:
                by_position.append(value)
        return tuple(by_position), by_keyword

    def _place(self, name: str) -> int:
        return 1 + [parameter.name for parameter in self.parameters].index(name)
