import base64
import re

import numpy as np
import pytest
import torch
from synthetic_attention import attention, picture

from visattn.explore import attention_explorer
from visattn.explore.explorer import MAX_BYTES

ALT = "A bright disc, and how three heads attend to it."


def decode(data):
    """The weights as the script reads them."""
    N, H, W = len(data["heads"]), data["height"], data["width"]
    levels = np.frombuffer(base64.b64decode(data["levels"]), np.uint8)
    peaks = np.frombuffer(base64.b64decode(data["peaks"]), "<f4").reshape(N + 1, -1)
    spreads = np.frombuffer(base64.b64decode(data["spreads"]), "<f4")
    weights = levels.reshape(N, H * W, H * W) / 255 * peaks[:N, :, None]
    return weights.reshape(N, H, W, H, W), peaks, spreads.reshape(N + 1, H * W)


def test_embedded_data_reproduce_the_attention(data_of):
    weights = attention()
    decoded, peaks, spreads = decode(
        data_of(attention_explorer(picture(), weights, alt=ALT))
    )
    exact = weights.numpy()
    largest = exact.max(axis=(3, 4), keepdims=True)
    assert (np.abs(decoded - exact) <= largest / 510 + 1e-7).all()
    assert np.allclose(peaks[:3], exact.reshape(3, 35, 35).max(-1), rtol=1e-6)
    mean = exact.mean(0).reshape(35, 35)
    assert np.allclose(peaks[3], mean.max(-1), rtol=1e-6)
    assert np.allclose(spreads[3], np.exp(-(mean * np.log(mean)).sum(-1)), rtol=1e-5)


def test_spread_counts_pixels(data_of):
    weights = torch.zeros(1, 2, 2, 2, 2)
    weights[0, 0, 0] = 0.25  # spread over all four
    weights[0, 0, 1, 0, 1] = 1  # one pixel
    weights[0, 1, 0] = torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    explorer = attention_explorer(picture(), weights, alt=ALT)  # (1, 1) is masked
    _, peaks, spreads = decode(data_of(explorer))
    assert spreads[0].tolist() == pytest.approx([4, 1, 2, 0])
    assert peaks[0].tolist() == [0.25, 1, 0.5, 0]


def test_output_is_self_contained(assert_self_contained):
    explorer = attention_explorer(picture(), attention(), alt=ALT)
    assert_self_contained(explorer)
    assert 'aria-label="' + ALT in explorer.html


def test_same_input_same_bytes():
    first, second = (
        attention_explorer(picture(), attention(), alt=ALT).html for _ in range(2)
    )
    assert first == second
    other = attention_explorer(picture(), attention(), alt=ALT, query=(0, 0)).html
    key = 'data-key="([0-9a-f]+)"'
    assert re.search(key, other)[1] != re.search(key, first)[1]


def test_names_cannot_break_out_of_the_page(data_of):
    evil = "</script><script>alert(1)</script>"
    explorer = attention_explorer(
        picture(), attention(1), alt=ALT, head_names=[evil], title=evil
    )
    assert "alert(1)</script>" not in explorer.html
    assert data_of(explorer)["heads"] == [evil]


def test_size_of_a_typical_explorer():
    weights = torch.full((4, 14, 14, 14, 14), 1 / 196)
    explorer = attention_explorer(picture(192, 256), weights, alt=ALT)
    assert len(explorer.html) < 400_000
    assert repr(explorer) == f"Explorer: {ALT}"


def test_half_precision_is_accepted():
    weights = attention().to(torch.bfloat16)
    attention_explorer(picture().half(), weights, alt=ALT)


@pytest.mark.bad_input
def test_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 3, 5\)"):
        attention_explorer(picture(), torch.ones(2, 3, 4, 3, 5), alt=ALT)
    with pytest.raises(ValueError, match="take one image of the batch"):
        attention_explorer(picture(), attention()[None], alt=ALT)
    with pytest.raises(ValueError, match=r"\(48, 64\)"):
        attention_explorer(picture()[0], attention(), alt=ALT)
    with pytest.raises(TypeError, match="ndarray"):
        attention_explorer(picture(), attention().numpy(), alt=ALT)
    with pytest.raises(ValueError, match=r"\(0, 5, 7, 5, 7\)"):
        attention_explorer(picture(), attention()[:0], alt=ALT)


@pytest.mark.bad_input
def test_refuses_wrong_weights():
    weights = attention()
    weights[1, 2, 3] *= 0.5
    with pytest.raises(ValueError, match=r"got 0\.5 for head 1, query \(2, 3\)"):
        attention_explorer(picture(), weights, alt=ALT)
    weights[0, 1, 1, 0, 2] = float("nan")
    with pytest.raises(ValueError, match=r"nan at index \(0, 1, 1, 0, 2\)"):
        attention_explorer(picture(), weights, alt=ALT)
    scores = torch.randn(1, 3, 3, 3, 3)
    with pytest.raises(ValueError, match=f"{scores.min().item():.4g}"):
        attention_explorer(picture(), scores, alt=ALT)


@pytest.mark.bad_input
def test_refuses_other_arguments():
    with pytest.raises(ValueError, match="at least 20 characters, got 4: 'disc'"):
        attention_explorer(picture(), attention(), alt="disc")
    with pytest.raises(ValueError, match=r"5 x 7 grid.*row 5, column 0"):
        attention_explorer(picture(), attention(), alt=ALT, query=(5, 0))
    with pytest.raises(ValueError, match=r"got \(1, 2, 3\)"):
        attention_explorer(picture(), attention(), alt=ALT, query=(1, 2, 3))
    with pytest.raises(ValueError, match="3 names, got"):
        attention_explorer(picture(), attention(), alt=ALT, head_names=["one"])
    with pytest.raises(TypeError, match="alt"):
        attention_explorer(picture(), attention())


@pytest.mark.bad_input
def test_refuses_a_grid_that_is_too_large():
    weights = torch.full((1,), 1 / 1600).expand(1, 40, 40, 40, 40)
    with pytest.raises(ValueError, match=r"1 heads on a 40 x 40 grid.*3\.4 MB.*3 MB"):
        attention_explorer(picture(), weights, alt=ALT)
    assert MAX_BYTES == 3_000_000
