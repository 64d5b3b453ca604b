"""Counting and measuring, on cases whose answer is known."""

import sys
import time

import pytest
import torch

from visattn.lab import Ratio, count_macs, hardware, peak_bytes, ratio, seconds

N = 1000  # 4,000,000 bytes for N * N float32 numbers
SLACK = 4096  # scalars that operators allocate beside their results


@pytest.fixture
def a():
    return torch.randn(N, N)


@pytest.mark.parametrize(
    ("work", "matrices"),
    [
        (lambda a: a + a, 1),
        (lambda a: (a + a) + a, 2),  # the first sum lives until the second is there
        (lambda a: a.add_(1), 0),
        (lambda a: a.T[3:], 0),
        (lambda a: torch.stack([a, a, a]), 3),
        (lambda a: [a + 1 for _ in range(4)], 4),
        (lambda a: sum((a + 1).sum() for _ in range(4)), 1),
    ],
    ids=["result", "temporary", "in place", "view", "stack", "kept", "freed"],
)
def test_peak_bytes(a, work, matrices):
    assert abs(peak_bytes(lambda: work(a)) - 4 * N * N * matrices) < SLACK


def test_peak_bytes_sees_what_autograd_keeps(a):
    w = torch.randn(N, N, requires_grad=True)
    kept = peak_bytes(lambda: (w * a).exp().exp().exp())  # each exp keeps its result
    forgotten = peak_bytes(lambda: (w.detach() * a).exp().exp().exp())
    assert abs(kept - 4 * N * N * 4) < 4 * N * N + SLACK
    assert abs(forgotten - 4 * N * N * 2) < SLACK


def test_peak_bytes_sees_inside_operators():
    x = torch.randn(1, 8, 64, 64)
    unfolded = peak_bytes(lambda: torch.nn.functional.unfold(x, 3, padding=1).sum())
    assert unfolded >= 9 * x.numel() * 4


def test_peak_bytes_is_quiet_and_raises_what_the_function_raises(a, capfd):
    peak_bytes(lambda: a + a)
    with pytest.raises(ZeroDivisionError):
        peak_bytes(lambda: 1 / 0)
    print("still there", file=sys.stderr)
    assert capfd.readouterr().err == "still there\n"


@pytest.mark.gpu
def test_peak_bytes_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    a = torch.randn(N, N, device="cuda")
    assert abs(peak_bytes(lambda: a + a) - 4 * N * N) < 2**20


@pytest.mark.parametrize(
    ("work", "macs"),
    [
        (lambda: torch.ones(3, 4) @ torch.ones(4, 5), 3 * 4 * 5),
        (lambda: torch.ones(2, 3, 4) @ torch.ones(2, 4, 5), 2 * 3 * 4 * 5),
        (
            lambda: torch.einsum(
                "btd,bsd->bts", torch.ones(2, 3, 4), torch.ones(2, 5, 4)
            ),
            2 * 3 * 5 * 4,
        ),
        (
            lambda: torch.nn.functional.conv2d(
                torch.ones(2, 3, 8, 8), torch.ones(4, 3, 3, 3), padding=1
            ),
            2 * 64 * 4 * 3 * 9,
        ),
        (
            lambda: torch.nn.functional.scaled_dot_product_attention(
                *torch.ones(3, 2, 4, 7, 5)
            ),
            2 * (2 * 4 * 7 * 7 * 5),
        ),
    ],
    ids=["matmul", "batched", "einsum", "conv2d", "attention"],
)
def test_count_macs(work, macs):
    assert count_macs(work) == macs


def test_count_macs_of_fused_attention_backward():
    q = torch.randn(2, 4, 7, 5, requires_grad=True)
    sdpa = torch.nn.functional.scaled_dot_product_attention
    once = count_macs(lambda: sdpa(q, q, q))
    both = count_macs(lambda: sdpa(q, q, q).sum().backward())
    assert once == 2 * (2 * 4 * 7 * 7 * 5)
    assert both == once + 5 * once // 2  # two products for each of three, one is shared


@pytest.mark.parametrize(
    ("work", "macs"),
    [
        (lambda: torch.ones(4, 5) @ torch.ones(5), 4 * 5),
        (lambda: torch.ones(4) @ torch.ones(4, 5), 4 * 5),
        (lambda: torch.addmv(torch.ones(4), torch.ones(4, 5), torch.ones(5)), 4 * 5),
        (lambda: torch.ones(5) @ torch.ones(5), 5),
        (lambda: torch.vdot(torch.ones(5), torch.ones(5)), 5),
        (lambda: torch.ones(5) * torch.ones(5), 0),
    ],
    ids=["matrix vector", "vector matrix", "addmv", "dot", "vdot", "elements"],
)
def test_count_macs_of_vectors(work, macs):
    assert count_macs(work) == macs


def test_count_macs_forward_and_backward():
    q, k, v = torch.ones(3, 1, 2, 7, 4, requires_grad=True).unbind()
    attention = torch.nn.functional.scaled_dot_product_attention
    forward = 2 * (2 * 7 * 7 * 4)
    # Backward: dA, dV, dQ, dK, and the map once more, since it was not kept.
    assert count_macs(lambda: attention(q, k, v).sum().backward()) == forward * 3.5


def test_count_macs_of_the_fast_path():
    mha = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(1, 5, 8)
    enabled = torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        assert count_macs(lambda: mha(x, x, x)) == 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8
    assert torch.backends.mha.get_fastpath_enabled() is enabled


def test_seconds_and_ratio_count_calls():
    calls = []
    assert seconds(lambda: calls.append("a"), repeats=3, warmup=2) >= 0
    assert calls == ["a"] * 5

    calls.clear()
    found = ratio(
        lambda: (calls.append("slow"), time.sleep(0.004)),
        lambda: calls.append("fast"),
        repeats=2,
        warmup=0,
    )
    assert calls == ["slow", "fast"] * 2, "in turns"
    assert found.low <= found.median <= found.high


def test_ratio_as_text():
    assert str(Ratio(3.14159, 2.9, 3.5)) == "3.1 (2.9 to 3.5)"


def test_hardware_names_threads_and_version():
    assert "thread" in hardware()
    assert torch.__version__ in hardware()


@pytest.mark.bad_input
def test_refusals():
    with pytest.raises(TypeError, match="int"):
        seconds(3)
    with pytest.raises(ValueError, match="repeats.*0"):  # noqa: RUF043
        seconds(print, repeats=0)
    with pytest.raises(TypeError, match=r"1\.5"):
        seconds(print, repeats=1.5)
    with pytest.raises(ValueError, match="at least 2"):
        ratio(print, print, repeats=1)
    with pytest.raises(TypeError, match="str"):
        peak_bytes("work")
    with pytest.raises(TypeError, match="NoneType"):
        count_macs(None)
