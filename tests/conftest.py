"""Fixtures and comparisons shared by all tests."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(
    params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)],
)
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU always, a CUDA device where there is one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


@pytest.fixture
def golden() -> Callable[[str], dict[str, Tensor]]:
    """Load ``tests/golden/<name>.npz`` as tensors."""

    def load(name: str) -> dict[str, Tensor]:
        with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays.files}

    return load


@pytest.fixture
def randn(device: torch.device) -> Callable[..., Tensor]:
    """Normal float64 numbers with a gradient, from a seed of their own."""
    generator = torch.Generator().manual_seed(0)

    def make(*shape: int) -> Tensor:
        x = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return x.to(device).requires_grad_()

    return make


@pytest.fixture
def assert_equal() -> Callable[..., None]:
    """Same outputs and, for a fixed cotangent, same gradients of all inputs."""

    def compare(
        fast: Callable[[], Tensor] | Sequence[Callable[[], Tensor]],
        slow: Callable[[], Tensor],
        inputs: Sequence[Tensor],
        tolerance: float = 1e-12,
    ) -> None:
        def run(function: Callable[[], Tensor]) -> list[Tensor]:
            y = function()
            generator = torch.Generator().manual_seed(1)
            g = torch.randn(y.shape, generator=generator, dtype=y.dtype).to(y.device)
            return [y, *torch.autograd.grad((y * g).sum(), list(inputs))]

        expected = run(slow)
        assert expected[0].abs().max() > 0, "an output of zeros proves nothing"
        for function in [fast] if callable(fast) else fast:
            for ours, theirs in zip(run(function), expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)

    return compare
