"""What the checker says about every kind of answer."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from visattn.exercises import check, find, names
from visattn.exercises._compare import difference
from visattn.exercises._declare import Exercise, Variant
from visattn.exercises._engine import grade
from visattn.exercises._result import BOOK_ROOT


def right(q, k, v, *, bias=None, mask=None, scale=None):
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    logits = scale * q @ k.mT
    if bias is not None:
        logits = logits + bias
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    dead = (logits == float("-inf")).all(-1, keepdim=True)
    return logits.masked_fill(dead, 0).softmax(-1).masked_fill(dead, 0) @ v


def test_a_right_answer_passes():
    result = check("attend", right)
    assert result
    assert result.passed
    assert result.variant is None
    assert result.section is None
    assert repr(result).startswith("passed: attend")
    assert 'data-passed="true"' in result._repr_html_()


def test_a_module_or_a_method_may_answer():
    class Softmax(nn.Module):
        def forward(self, logits):
            return logits.softmax(-1)

    assert check("softmax_rows", Softmax())
    assert check("softmax_rows", Softmax().forward)


def test_a_builtin_function_may_answer():
    assert not check("softmax_rows", torch.exp)
    assert check("softmax_rows", torch.exp).variant == "not_normalised"


# --- nothing to grade -----------------------------------------------------------


def raises_bare(*args, **kwargs):
    raise NotImplementedError


def raises_text(*args, **kwargs):
    raise NotImplementedError("TODO: your code here")


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize(
    "stub",
    [raises_bare, raises_text, lambda *a, **k: None, lambda *a, **k: ...],
    ids=["bare", "text", "none", "ellipsis"],
)
def test_a_stub_is_met_kindly(name, stub):
    result = check(name, stub)
    assert not result
    assert "Nothing here yet" in result.message
    assert result.variant is None
    assert result.section is not None
    assert "my_" + name in dict(result.details)["to write"]
    assert repr(result).startswith(f"not yet: {name}")


def test_a_missing_return_is_mentioned():
    def forgets(weights, values):
        weights @ values

    assert "`return`" in check("weighted_sum", forgets).message


def test_a_missing_kernel_of_torch_is_no_stub():
    def half(weights, values):
        return torch.linalg.eigvals(values[:1, :1].half())

    result = check("weighted_sum", half)
    assert "Your code raised" in result.message


# --- bad calls ------------------------------------------------------------------


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="atend") as caught:
        check("atend", right)
    assert "did you mean 'attend'?" in str(caught.value)
    assert all(name in str(caught.value) for name in names())
    with pytest.raises(ValueError, match="known: augmented"):
        names("dot_products")


@pytest.mark.bad_input
@pytest.mark.parametrize("name", [None, 3, right])
def test_a_name_is_a_string(name):
    with pytest.raises(TypeError, match="name must be a string"):
        check(name, right)


@pytest.mark.parametrize("answer", [None, 3, torch.zeros(2), "attend"])
def test_an_answer_can_be_called(answer):
    with pytest.raises(TypeError, match="fn must be a function"):
        check("attend", answer)


def test_names_of_one_mechanism():
    assert names("multi_head")[0] == "split_heads"
    assert set(names("multi_head")) < set(names())
    names().clear()
    assert names()


def test_a_wrong_signature_is_explained():
    result = check("attend", lambda q, k, v: q)
    assert not result
    assert "my_attend(q, k, v, *, bias=None, mask=None, scale=None)" in result.message
    assert "return_attention" not in result.message
    assert dict(result.details)["yours takes"] == "`(q, k, v)`"


# --- errors of the reader's code ------------------------------------------------


def test_an_exception_shows_message_line_and_shapes():
    def breaks(x, num_heads):
        y = x.permute(0, 2, 1)
        return torch.cat([y, x[0]])  # the broken line

    result = check("split_heads", breaks)
    assert "RuntimeError" in result.message
    details = dict(result.details)
    assert "# the broken line" in details["where"]
    assert re.search(r"line \d+ of `breaks`", details["where"])
    assert "x [1, 1, 1]" in details["smallest failing input"]
    assert "num_heads = " in details["smallest failing input"]


def test_the_line_is_in_the_reader_s_file_not_in_torch():
    def breaks(x, num_heads):
        return torch.nn.functional.layer_norm(x, (99,))

    details = dict(check("split_heads", breaks).details)
    assert "layer_norm(x, (99,))" in details["where"]


def test_an_exception_on_masks_only_says_so():
    def breaks(q, k, v, *, bias=None, mask=None, scale=None):
        if mask is not None and bias is None:
            raise KeyError("mask")
        return right(q, k, v, bias=bias, mask=mask, scale=scale)

    result = check("attend", breaks)
    assert "KeyError" in result.message


def test_keyboard_interrupt_is_not_swallowed():
    def stops(*args, **kwargs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("attend", stops)


# --- type, shape, dtype, NaN, numbers -------------------------------------------


def test_a_wrong_type():
    result = check("merge_heads", lambda x: x.numpy())
    assert "A tensor was expected; your function returned ndarray" in result.message
    result = check("weighted_sum", lambda weights, values: (weights @ values, weights))
    assert "Return the one tensor" in result.message
    result = check("attention_memory", lambda *sizes: "many")
    assert "A number was expected; got str" in result.message


def test_a_wrong_shape_shows_both():
    result = check("merge_heads", lambda x: x[:, 0])
    assert re.search(r"The shape is \[.*\]; \[.*\] was expected", result.message)


def test_a_permuted_shape_names_the_permutation():
    result = check("split_heads", lambda x, n: find("split_heads").oracle(x, n).mT)
    assert "After `.permute(0, 1, 3, 2)` your output is right" in result.message


def test_a_permuted_shape_without_length_one():
    result = check("split_heads", lambda x, n: find("split_heads").oracle(x, n)[None])
    assert "Only axes of length 1 differ" in result.message
    table = find("sinusoidal_2d").oracle
    result = check("sinusoidal_2d", lambda *n, **b: table(*n, **b).transpose(0, 1))
    assert "After `.permute(1, 0, 2)` the numbers are right, too" in result.message


def test_axes_of_length_one_are_noticed():
    def keeps(weights, values):
        return (weights @ values)[None]

    assert "axes of length 1" in check("weighted_sum", keeps).message


def test_a_wrong_dtype():
    result = check("softmax_rows", lambda logits: logits.float().softmax(-1))
    assert not result
    assert "dtype is float32; float64 was expected" in result.message
    result = check("causal_mask", lambda length: torch.ones(length, length).tril())
    assert "bool was expected" in result.message
    offsets = find("relative_offsets_2d").oracle
    assert check("relative_offsets_2d", lambda h, w: offsets(h, w).int())
    assert "int64 was expected" in (
        check("relative_offsets_2d", lambda h, w: offsets(h, w).float()).message
    )


def test_a_variant_is_named_in_float32_too():
    result = check("softmax_rows", lambda logits: logits.float().log_softmax(-1))
    assert result.variant == "log_softmax"


def test_a_table_may_have_any_floating_dtype():
    table = find("sinusoidal_1d").oracle
    for dtype in (torch.float32, torch.float64):
        assert check(
            "sinusoidal_1d",
            lambda n, d, *, base=10000.0, t=dtype: table(n, d, base=base).to(t),
        )


def test_nan_is_told():
    result = check("softmax_rows", lambda logits: logits.softmax(-1) + torch.nan)
    assert "NaN" in result.message


def test_wrong_numbers_show_the_first_difference():
    def off(x):
        y = find("merge_heads").oracle(x)
        y[:, -1, -1] += 0.25
        return y

    result = check("merge_heads", off)
    assert not result
    assert result.variant is None
    assert "numbers differ from the loop's" in result.message
    details = dict(result.details)
    assert re.search(r"at \[0, .*\] got .*, expected", details["first difference"])
    assert details["largest error"] == "0.25"
    assert details["smallest failing input"] == "x [1, 1, 1, 1]"
    assert details["right"] == "0 of 4 inputs"


def test_a_constant_factor_is_noticed():
    result = check("weighted_sum", lambda weights, values: 3 * weights @ values)
    assert "Every number is 3 times the right one" in result.message


def test_the_failing_input_is_made_smaller():
    def odd(x, num_heads):
        y = find("split_heads").oracle(x, num_heads)
        return y + 1 if x.shape[1] >= 4 else y

    details = dict(check("split_heads", odd).details)
    assert details["smallest failing input"] == "x [1, 4, 1], num_heads = 1"


def test_only_masks_fail():
    def odd(q, k, v, *, bias=None, mask=None, scale=None):
        y = right(q, k, v, bias=bias, mask=mask, scale=scale)
        return y if scale is None else y + 1

    assert "Only inputs with scale fail" in check("attend", odd).message


def test_only_two_options_together_fail():
    def odd(q, k, v, *, bias=None, mask=None, scale=None):
        y = right(q, k, v, bias=bias, mask=mask, scale=scale)
        return y if bias is None or mask is None else y + 1

    assert "Only inputs with bias and mask fail" in check("attend", odd).message


def test_two_mistakes_start_with_the_plain_one():
    def first_draft(q, k, v, *, bias=None, mask=None, scale=None):
        return (q @ k.mT).softmax(-1) @ v  # no scale, no bias, no mask

    result = check("attend", first_draft)
    assert result.variant == "no_scale"
    assert "fail for another reason" in dict(result.details)["not all"]


def test_the_last_mistakes_are_named_one_by_one():
    def second_draft(q, k, v, *, bias=None, mask=None, scale=None):
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        return (scale * q @ k.mT).softmax(-1) @ v

    def third_draft(q, k, v, *, bias=None, mask=None, scale=None):
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        logits = scale * q @ k.mT + (0 if bias is None else bias)
        return logits.softmax(-1) @ v

    assert check("attend", second_draft).variant == "bias_ignored"
    assert check("attend", third_draft).variant == "mask_ignored"


def test_infinities_can_be_compared():
    x = torch.tensor([0.0, float("-inf")])
    assert difference(x, x) is None
    found = difference(x, torch.zeros(2))
    assert found is not None
    assert found.kind == "value"


# --- side effects ---------------------------------------------------------------


def test_overwritten_inputs_are_told():
    def scales_in_place(q, k, v, *, bias=None, mask=None, scale=None):
        q *= q.shape[-1] ** -0.5 if scale is None else scale
        return right(q, k, v, bias=bias, mask=mask, scale=1.0)

    result = check("attend", scales_in_place)
    assert not result
    assert "overwrites its input `q`" in result.message


def test_inputs_stay_as_they_are_for_the_next_check():
    def wipes(logits):
        return logits.zero_()

    assert not check("softmax_rows", wipes)
    assert check("softmax_rows", lambda logits: logits.softmax(-1))


@pytest.mark.parametrize("kind", ["random", "state"])
def test_different_answers_to_one_input(kind):
    calls = []

    def unsteady(logits):
        calls.append(1)
        noise = torch.rand(()) if kind == "random" else len(calls)
        return logits.softmax(-1) + noise

    assert "two different answers" in check("softmax_rows", unsteady).message


def test_the_random_state_is_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check("softmax_rows", lambda logits: torch.rand_like(logits))
    check("attend", right)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_answer_gets_the_same_result():
    def wrong(x):
        return x.sum(1) + 1

    assert check("merge_heads", wrong) == check("merge_heads", wrong)


def test_the_caller_s_modes_do_not_matter():
    with torch.no_grad():
        assert check("attend", right)
    with torch.inference_mode():
        assert check("attend", right)
    with torch.device("meta"):
        assert check("attend", right)


# --- gradients ------------------------------------------------------------------


def test_a_detached_output_is_told():
    result = check("softmax_rows", lambda logits: logits.detach().softmax(-1))
    assert not result
    assert result.variant == "detached"
    assert "no gradient flows" in result.message


def test_a_detached_input_is_named():
    def half(weights, values):
        return weights.detach() @ values

    result = check("weighted_sum", half)
    assert result.variant == "detached"
    assert "`weights`" in result.message


def test_a_partly_detached_computation_is_told():
    def partly(logits):
        powers = (logits - logits.amax(-1, keepdim=True)).exp()
        return powers / powers.sum(-1, keepdim=True).detach()

    result = check("softmax_rows", partly)
    assert not result
    assert "the gradient for `logits` is not" in result.message


def test_a_detached_maximum_is_fine():
    def stable(logits):
        return (logits - logits.amax(-1, keepdim=True).detach()).softmax(-1)

    assert check("softmax_rows", stable)


def test_numpy_inside_is_told():
    def through_numpy(weights, values):
        return torch.from_numpy(weights.numpy() @ values.numpy())

    result = check("weighted_sum", through_numpy)
    assert not result
    assert "with inputs that require gradients" in result.message


def test_nan_in_the_gradient_is_told():
    def patched(q, k, v, *, bias=None, mask=None, scale=None):
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        logits = scale * q @ k.mT + (0 if bias is None else bias)
        if mask is not None:
            logits = logits + torch.where(mask, 0.0, float("-inf"))
        weights = logits.softmax(-1)
        return torch.where(weights.isnan(), 0.0, weights) @ v

    result = check("attend", patched)
    assert not result
    assert "the gradient for `q` is NaN" in result.message


# --- functions that return a module ---------------------------------------------


def doubled(linear):
    """A layer with twice the weight: what the toy exercise asks for."""
    layer = nn.Linear(linear.in_features, linear.out_features)
    with torch.no_grad():
        layer.weight.copy_(2 * linear.weight)
        layer.bias.copy_(linear.bias)
    return layer


def bias_left(linear):
    layer = nn.Linear(linear.in_features, linear.out_features)
    with torch.no_grad():
        layer.weight.copy_(2 * linear.weight)
    return layer


def draw_linear(random, C, D):
    linear = torch.nn.utils.skip_init(nn.Linear, C, D)
    with torch.no_grad():
        linear.weight.copy_(random.normal(D, C))
        linear.bias.copy_(random.normal(D))
    return {"linear": linear}


@pytest.fixture
def toy():
    return Exercise(
        name="doubled",
        oracle=doubled,
        draw=draw_linear,
        sizes=({"C": 1, "D": 1}, {"C": 2, "D": 3}),
        variants=(Variant("bias_left", bias_left, "The bias is left.", "a.html#b"),),
        section="a.html#b",
        gradients=False,
        then=lambda layer, inputs: layer(torch.ones(2, inputs["linear"].in_features)),
    )


def test_a_returned_module_is_run(toy):
    assert grade(toy, doubled)

    def halved(linear):
        layer = doubled(linear)
        layer.weight.data /= 4
        return layer

    result = grade(toy, halved)
    assert not result
    assert "numbers differ" in result.message
    smallest = dict(result.details)["smallest failing input"]
    assert smallest.startswith("linear = Linear(in_features=1, out_features=1")


def test_a_random_start_is_the_same_in_every_call(toy):
    assert grade(toy, bias_left).variant == "bias_left"
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert toy.answers
    assert grade(toy, lambda linear: bias_left(linear)).variant == "bias_left"
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("value", [None, ..., NotImplemented])
def test_an_unwritten_module_is_not_run(toy, value):
    assert "Nothing here yet" in grade(toy, lambda linear: value).message


def test_an_overwritten_module_is_told(toy):
    def in_place(linear):
        linear.weight.data *= 2
        return linear

    def other_size(linear):
        layer = doubled(linear)
        linear.out_features = 7
        return layer

    for function in (in_place, other_size):
        assert "overwrites its input `linear`" in grade(toy, function).message
        assert grade(toy, doubled)


def test_an_error_of_a_returned_module_shows_its_line(toy):
    class Breaks(nn.Module):
        def forward(self, x):
            return x @ torch.ones(9, 9)  # the broken line

    result = grade(toy, lambda linear: Breaks())
    assert "Your code raised RuntimeError" in result.message
    assert "# the broken line" in dict(result.details)["where"]


def test_a_module_of_the_wrong_kind_is_told():
    result = check("conv_to_attention", lambda conv, alpha=46.0: conv.weight)
    assert "return a module" in result.message
    assert "got Parameter" in result.message
    assert "_on_an_image" not in repr(result)


def test_gradients_pass_through_a_returned_module():
    exercise = Exercise(
        name="scaled",
        oracle=lambda scale: lambda x: scale * x,
        draw=lambda random, D: {"scale": random.normal(D)},
        sizes=({"D": 1}, {"D": 3}),
        variants=(),
        section="a.html#b",
        then=lambda function, inputs: function(torch.full((2, 1), 3.0).double()),
    )
    assert grade(exercise, lambda scale: lambda x: x * scale)
    result = grade(exercise, lambda scale: lambda x: x * scale.detach())
    assert result.variant == "detached"


# --- how it looks ---------------------------------------------------------------


def test_html_is_escaped_and_themed():
    def breaks(x):
        raise RuntimeError("<script>alert('x')</script> & more")

    html = check("merge_heads", breaks)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert 'data-passed="false"' in html
    assert 'class="visattn-check"' in html
    assert "currentColor" in html
    assert "not yet" in html
    assert not re.search(r"background(-color)?:\s*(white|#fff)", html)


def test_links_follow_the_book(monkeypatch):
    result = check("merge_heads", lambda x: x.flatten(2))
    result = check("merge_heads", raises_bare) if result.section is None else result
    monkeypatch.delenv("VISATTN_BOOK_ROOT", raising=False)
    assert result.url == f"{BOOK_ROOT}/{result.section}"
    assert f'href="{result.url}"' in result._repr_html_()
    assert result.url in repr(result)
    monkeypatch.setenv("VISATTN_BOOK_ROOT", "..")
    assert result.url == f"../{result.section}"
    assert 'href="../foundations/multi_head.html#' in result._repr_html_()


def test_the_public_address_is_the_one_of_the_configuration():
    config = Path(__file__).parents[2] / "_config.yml"
    if not config.exists():
        pytest.skip("not in a checkout")
    address = re.search(r"baseurl:\s*(\S+)", config.read_text()).group(1)
    assert f"{address}book" == BOOK_ROOT


def test_a_result_cannot_be_changed():
    result = check("merge_heads", raises_bare)
    with pytest.raises(AttributeError):
        result.passed = True
