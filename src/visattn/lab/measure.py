"""Counting and measuring: time, memory, operations, and on which machine."""

import contextlib
import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

Work = Callable[[], object]
Shape = torch.Size


def _check(function: object, **counts: int) -> None:
    if not callable(function):
        raise TypeError(f"expected a function, got {type(function).__name__}")
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"{name} must be an integer, got {count!r}")
        if count < (0 if name == "warmup" else 1):
            raise ValueError(f"{name} is too small: {count}")


def _once(function: Work) -> float:
    """Seconds of one call, with the GPU's work finished before and after."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def seconds(function: Work, *, repeats: int = 5, warmup: int = 1) -> float:
    """Median time of a call.

    Args:
        function: Called without arguments.
        repeats: Number of calls that count.
        warmup: Number of calls before, that do not.

    Raises:
        TypeError: function cannot be called.
        ValueError: No repeat.
    """
    _check(function, repeats=repeats, warmup=warmup)
    for _ in range(warmup):
        function()
    return statistics.median(_once(function) for _ in range(repeats))


@dataclass(frozen=True)
class Ratio:
    """How many times longer one function takes than another.

    Attributes:
        median: Median of the paired ratios.
        low: First quartile.
        high: Third quartile.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """For example ``3.1 (2.9 to 3.4)``."""
        return f"{self.median:.2g} ({self.low:.2g} to {self.high:.2g})"


def ratio(slow: Work, fast: Work, *, repeats: int = 9, warmup: int = 1) -> Ratio:
    """Time of ``slow`` divided by time of ``fast``, measured in turns.

    On a machine that others use too, a ratio of neighbours is worth more than two
    times: both see the same load.

    Args:
        slow: Called without arguments.
        fast: Called without arguments.
        repeats: Number of pairs.
        warmup: Number of pairs before, that do not count.

    Raises:
        TypeError: A function cannot be called.
        ValueError: Fewer than two pairs.
    """
    _check(slow, repeats=repeats, warmup=warmup)
    _check(fast)
    if repeats < 2:
        raise ValueError(f"repeats must be at least 2, got {repeats}")
    for _ in range(warmup):
        slow()
        fast()
    pairs = [_once(slow) / _once(fast) for _ in range(repeats)]
    low, median, high = statistics.quantiles(pairs, n=4, method="inclusive")
    return Ratio(median, low, high)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what the profiler's C++ part writes to the process's error stream."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _peak_on_cpu(function: Work) -> int:
    """Follow the CPU allocator's events, in the order in which they happened."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    profile = torch.profiler.profile(activities=activities, profile_memory=True)
    with _quiet():
        profile.start()
    try:
        function()
    finally:
        with _quiet():
            profile.stop()
    assert profile.profiler is not None
    assert profile.profiler.kineto_results is not None
    events = [
        event
        for event in profile.profiler.kineto_results.events()
        if event.name() == "[memory]" and event.device_type().name == "CPU"
    ]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += int(event.nbytes())  # type: ignore[attr-defined]
        peak = max(peak, held)
    return peak


def peak_bytes(function: Work) -> int:
    """Most bytes that the call had allocated at one time, beyond what was there before.

    These are the allocator's own numbers, on the CPU and on CUDA, with all that
    operators allocate inside. A Python number in an expression costs some bytes too:
    PyTorch makes a tensor of it. Where a CUDA device took part, its memory is the
    answer; there the allocator rounds each block up to 512 bytes.

    Args:
        function: Called without arguments, on CUDA twice. What it returns is dropped.
            It should not free what was there before.

    Raises:
        TypeError: function cannot be called.
    """
    _check(function)
    gc.collect()  # else garbage of others may be freed while we count
    if torch.cuda.is_initialized():
        function()  # the first call also allocates workspaces, which stay
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() - before
        if peak > 0:
            return peak
    return _peak_on_cpu(function)


def _fused_forward(
    q: Shape, k: Shape, v: Shape, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    return int(sdpa_flop_count(q, k, v))


def _fused_backward(
    g: Shape, q: Shape, k: Shape, v: Shape, *args: Any, out_shape: Any = None, **kw: Any
) -> int:
    return int(sdpa_backward_flop_count(g, q, k, v))


def _dot(a: Shape, b: Shape, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * a[0]


def _matrix_vector(
    a: Shape, b: Shape, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    return 2 * a[0] * a[1]


def _add_matrix_vector(
    y: Shape, a: Shape, b: Shape, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    return 2 * a[0] * a[1]


_aten = torch.ops.aten
# PyTorch's counter knows neither the fused attention of the CPU nor products with a
# vector: it takes them as nothing.
_ALSO = {
    _aten.dot: _dot,
    _aten.vdot: _dot,
    _aten.mv: _matrix_vector,
    _aten.addmv: _add_matrix_vector,
    _aten._scaled_dot_product_flash_attention_for_cpu: _fused_forward,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _fused_backward,
}


def count_macs(function: Work) -> int:
    """Multiply-adds of matrix products, convolutions and attention in one call.

    Counted by ``torch.utils.flop_counter``, which takes a multiply-add as two
    operations; this is half its number. Softmax, additions, norms and products of
    elements (``a * b``) are not counted.

    Args:
        function: Called without arguments.

    Raises:
        TypeError: function cannot be called.
    """
    _check(function)
    counter = FlopCounterMode(display=False, custom_mapping=_ALSO)
    # The fast path of nn.MultiheadAttention is one operator, which nobody counts.
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with counter:
            function()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return int(counter.get_total_flops()) // 2


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def hardware() -> str:
    """The machine in one line, to stand beside a measured number."""
    threads = torch.get_num_threads()
    text = f"{_processor()}, {threads} thread" + ("s" if threads > 1 else "")
    if torch.cuda.is_available():
        text += f"; {torch.cuda.get_device_name()}"
    return f"{text}; torch {torch.__version__}"
