"""Exercises on scaled dot-product attention."""

import math
from functools import partial

import torch
from torch import Tensor

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.dot_product import attend_loop

_BOOK = "foundations/dot_product.html"
_FORMULA = f"{_BOOK}#the-formula-a-sum-weighted-by-similarity"
_HAND = f"{_BOOK}#by-hand-three-tokens"
_LADDER = f"{_BOOK}#the-ladder-from-the-loop-to-matrices"
_ROOT = f"{_BOOK}#why-the-square-root"
_SOFT = f"{_BOOK}#a-soft-dictionary-becomes-hard"
_MASKS = f"{_BOOK}#masks-and-a-query-with-no-keys"
_WRONG = f"{_BOOK}#right-shape-still-wrong"
_EXERCISES = f"{_BOOK}#exercises"


# --- attend ---------------------------------------------------------------------


def _draw_attend(
    random: Draw,
    T: int,
    S: int,
    D: int,
    E: int,
    axes: int = 0,
    bias: bool = False,
    mask: bool = False,
    fully_masked_row: bool = False,
    scale: bool = False,
) -> Inputs:
    lead = (2, 3)[:axes]
    inputs: Inputs = {
        "q": 1.5 * random.normal(*lead, T, D),
        "k": 1.5 * random.normal(*lead, S, D),
        "v": random.normal(*lead, S, E),
    }
    if bias:
        inputs["bias"] = random.normal(*lead, T, S)
    if mask or fully_masked_row:
        inputs["mask"] = random.keep(T, S)
    if fully_masked_row:
        inputs["mask"][T // 2] = False
    if scale:
        inputs["scale"] = 0.3
    return inputs


def _masked(logits: Tensor, mask: Tensor, how: str) -> Tensor:
    if how == "multiply":
        return logits * mask
    if how == "add":
        return logits + mask
    if how == "finite":
        return logits.masked_fill(~mask, -1e9)
    if how in ("keep", "nan", "inverted"):
        return logits.masked_fill(mask if how == "inverted" else ~mask, -math.inf)
    return logits  # ignored, or used later


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    scale: float | None = None,
    power: float = -0.5,
    scale_argument: bool = True,
    axis: int = -1,
    bias_place: str = "logits",
    mask_how: str = "keep",
) -> Tensor:
    """Attention with one switch for each place where it can go wrong."""
    use_default = scale is None or not scale_argument
    factor = k.shape[-1] ** power if scale is None or use_default else scale
    logits = q @ k.mT  # [..., T, S]
    if bias is not None and bias_place == "before the scale":
        logits = logits + bias
    logits = logits * factor
    if bias is not None and bias_place == "logits":
        logits = logits + bias
    if mask is not None:
        logits = _masked(logits, mask, mask_how)
    weights = logits.softmax(axis)
    if mask_how != "nan":
        weights = weights.nan_to_num(nan=0.0)  # rows without any key
    if bias is not None and bias_place == "weights":
        weights = weights + bias
    if mask is not None and mask_how == "weights":
        weights = weights * mask
    return weights @ v


def _weights(
    q: Tensor,
    k: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    scale: float | None,
) -> Tensor:
    """The right weights, for mistakes that come after them."""
    one_hot = torch.eye(k.shape[-2], dtype=k.dtype)
    return _attend(q, k, one_hot, bias=bias, mask=mask, scale=scale)


def _scale_after_softmax(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    factor = k.shape[-1] ** -0.5 if scale is None else scale
    return factor * _weights(q, k, bias, mask, 1.0) @ v


def _no_softmax(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    logits = q @ k.mT * (k.shape[-1] ** -0.5 if scale is None else scale)
    logits = logits if bias is None else logits + bias
    return (logits if mask is None else logits * mask) @ v


def _transposed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    return _weights(q, k, bias, mask, scale).mT @ v


def _no_sum_over_channels(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    factor = k.shape[-1] ** -0.5 if scale is None else scale
    logits = factor * q[..., :, None, :] * k[..., None, :, :]  # [..., T, S, D]
    if bias is not None:
        logits = logits + bias[..., None]
    if mask is not None:
        logits = logits.masked_fill(~mask[..., None], -math.inf)
    weights = logits.softmax(-2).nan_to_num(nan=0.0)
    return (weights * v[..., None, :, :]).sum(-2)


ATTEND = Exercise(
    name="attend",
    oracle=attend_loop,
    draw=_draw_attend,
    sizes=(
        {"T": 1, "S": 2, "D": 1, "E": 1},
        {"T": 2, "S": 3, "D": 2, "E": 1},
        {"T": 3, "S": 3, "D": 3, "E": 3, "axes": 1},
        {"T": 3, "S": 2, "D": 5, "E": 2, "axes": 2},
        {"T": 3, "S": 4, "D": 3, "E": 2, "scale": True},
        {"T": 2, "S": 3, "D": 3, "E": 2, "axes": 1, "bias": True},
        {"T": 3, "S": 3, "D": 2, "E": 2, "mask": True},
        {"T": 2, "S": 5, "D": 2, "E": 3, "axes": 1, "mask": True},
        {"T": 3, "S": 3, "D": 2, "E": 2, "axes": 1, "bias": True, "mask": True},
        {"T": 3, "S": 4, "D": 2, "E": 2, "fully_masked_row": True},
    ),
    variants=(
        Variant(
            "no_scale",
            partial(_attend, power=0.0),
            "The logits are not scaled. Multiply `q @ k.mT` by `1 / sqrt(D)` before"
            " the softmax.",
            _ROOT,
        ),
        Variant(
            "scale_by_width",
            partial(_attend, power=-1.0),
            "The logits are divided by D. The formula divides by its square root,"
            " because that is how the spread of a sum of D products grows.",
            _ROOT,
        ),
        Variant(
            "scale_upside_down",
            partial(_attend, power=0.5),
            "The logits are multiplied by sqrt(D). Divide by it.",
            _ROOT,
        ),
        Variant(
            "scale_after_softmax",
            _scale_after_softmax,
            "The scale comes after the softmax, so the weights no longer sum to 1."
            " Scale the logits.",
            _FORMULA,
        ),
        Variant(
            "scale_argument_ignored",
            partial(_attend, scale_argument=False),
            "The argument `scale` is not used. When it is given, it replaces"
            " `1 / sqrt(D)`.",
            _FORMULA,
        ),
        Variant(
            "softmax_over_queries",
            partial(_attend, axis=-2),
            "The softmax runs over the queries. Each query shares out a weight of 1"
            " over the keys, so it runs over the last axis.",
            _LADDER,
        ),
        Variant(
            "no_softmax",
            _no_softmax,
            "The logits weight the values directly. The softmax over the keys is"
            " missing.",
            _FORMULA,
        ),
        Variant(
            "no_sum_over_channels",
            _no_sum_over_channels,
            "`q` and `k` are multiplied element by element, and every channel gets a"
            " map of its own. A logit is the sum of these products over D.",
            _WRONG,
        ),
        Variant(
            "transposed_attention",
            _transposed_attention,
            "The map is transposed before it meets the values. Row i of the map holds"
            " the weights of query i: use `attention @ v`.",
            _LADDER,
        ),
        Variant(
            "bias_ignored",
            lambda q, k, v, *, bias=None, mask=None, scale=None: _attend(
                q, k, v, mask=mask, scale=scale
            ),
            "The bias is not used. Add it to the scaled logits.",
            _FORMULA,
        ),
        Variant(
            "bias_scaled",
            partial(_attend, bias_place="before the scale"),
            "The bias is scaled together with the dot product. Scale first, then add"
            " the bias.",
            _FORMULA,
        ),
        Variant(
            "bias_after_softmax",
            partial(_attend, bias_place="weights"),
            "The bias is added to the weights. Add it to the logits, before the"
            " softmax.",
            _FORMULA,
        ),
        Variant(
            "mask_ignored",
            partial(_attend, mask_how="ignored"),
            "The mask is not used: masked keys still get weight.",
            _MASKS,
        ),
        Variant(
            "mask_inverted",
            partial(_attend, mask_how="inverted"),
            "The mask is read the other way round. Here True means keep;"
            " `nn.MultiheadAttention` is one place where True means blocked.",
            _MASKS,
        ),
        Variant(
            "mask_after_softmax",
            partial(_attend, mask_how="weights"),
            "The mask is applied after the softmax, so the kept weights no longer sum"
            " to 1. Mask the logits with minus infinity.",
            _MASKS,
        ),
        Variant(
            "mask_multiplies_logits",
            partial(_attend, mask_how="multiply"),
            "The mask multiplies the logits. A logit of 0 is still a vote, because"
            " exp(0) = 1. Set masked logits to minus infinity.",
            _MASKS,
        ),
        Variant(
            "mask_added",
            partial(_attend, mask_how="add"),
            "The mask is added as 0 and 1. Set masked logits to minus infinity.",
            _MASKS,
        ),
        Variant(
            "fully_masked_nan",
            partial(_attend, mask_how="nan"),
            "A query with all keys masked gives NaN: the softmax divides 0 by 0. Here"
            " its weights and its output are zeros.",
            _MASKS,
        ),
        Variant(
            "fully_masked_average",
            partial(_attend, mask_how="finite"),
            "A query with all keys masked gets the plain average of all values, since"
            " a large negative number for every key leaves them equal. Here its output"
            " is zeros.",
            _MASKS,
        ),
    ),
    section=f"{_BOOK}#the-loop",
)


# --- softmax_rows ---------------------------------------------------------------


def softmax_rows(logits: Tensor) -> Tensor:
    """Softmax over the last axis of [..., S], one row at a time."""
    rows = []
    for row in logits.reshape(-1, logits.shape[-1]):
        powers = torch.exp(row - row.max())
        rows.append(powers / powers.sum())
    return torch.stack(rows).reshape(logits.shape)


def _draw_softmax(
    random: Draw, T: int, S: int, axes: int = 0, large_numbers: bool = False
) -> Inputs:
    logits = random.normal(*(2, 3)[:axes], T, S)
    if large_numbers:  # each row far away from the others
        logits = logits + 1500.0 * (1 + torch.arange(T, dtype=logits.dtype))[:, None]
    return {"logits": logits}


def _divided(powers: Tensor) -> Tensor:
    return powers / powers.sum(-1, keepdim=True)


SOFTMAX = Exercise(
    name="softmax_rows",
    oracle=softmax_rows,
    draw=_draw_softmax,
    sizes=(
        {"T": 1, "S": 2},
        {"T": 2, "S": 3},
        {"T": 4, "S": 3},
        {"T": 2, "S": 5, "axes": 1},
        {"T": 3, "S": 2, "axes": 2},
        {"T": 3, "S": 4, "large_numbers": True},
    ),
    variants=(
        Variant(
            "overflow",
            lambda logits: _divided(logits.exp()),
            "Large numbers overflow: exp(1500) is infinite, and infinity over infinity"
            " is NaN. Subtract the largest number of each row first; the result is"
            " the same.",
            _EXERCISES,
        ),
        Variant(
            "one_maximum",
            lambda logits: _divided((logits - logits.max()).exp()),
            "One maximum is subtracted from all rows. A row far below it turns into 0"
            " over 0. Take the maximum of each row.",
            _EXERCISES,
        ),
        Variant(
            "over_columns",
            lambda logits: logits.softmax(-2),
            "The columns sum to 1. Each row should: the softmax runs over the last"
            " axis.",
            _LADDER,
            also=(lambda logits: logits.softmax(0),),
        ),
        Variant(
            "over_axis_1",
            lambda logits: logits.softmax(1),
            "The softmax runs over axis 1. That is the last axis of a matrix, but not"
            " of a batch: use -1.",
            _LADDER,
        ),
        Variant(
            "over_everything",
            lambda logits: logits.flatten().softmax(0).reshape(logits.shape),
            "The whole table sums to 1. Each row should.",
            _FORMULA,
        ),
        Variant(
            "not_normalised",
            lambda logits: (logits - logits.amax(-1, keepdim=True)).exp(),
            "The rows do not sum to 1. Divide each by its sum.",
            _FORMULA,
            also=(lambda logits: logits.exp(),),
        ),
        Variant(
            "no_exponential",
            _divided,
            "The numbers are divided by their sum without `exp`. Negative numbers"
            " would get negative weights.",
            _FORMULA,
        ),
        Variant(
            "log_softmax",
            lambda logits: logits.log_softmax(-1),
            "This is the logarithm of the softmax.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
)


# --- causal_mask ----------------------------------------------------------------


def causal_mask(length: int) -> Tensor:
    """Mask [T, T], True where query i may see key j, that is where j <= i."""
    rows = [[j <= i for j in range(length)] for i in range(length)]
    return torch.tensor(rows)


CAUSAL_MASK = Exercise(
    name="causal_mask",
    oracle=causal_mask,
    draw=lambda random, length: {"length": length},
    sizes=({"length": 1}, {"length": 2}, {"length": 3}, {"length": 6}),
    variants=(
        Variant(
            "transposed",
            lambda length: causal_mask(length).mT,
            "Each query sees itself and what comes after it. Rows are queries,"
            " columns are keys: keep j <= i.",
            _MASKS,
        ),
        Variant(
            "no_diagonal",
            lambda length: causal_mask(length).tril(-1),
            "A query does not see itself, and the first one sees nothing at all. Keep"
            " the diagonal.",
            _MASKS,
        ),
        Variant(
            "inverted",
            lambda length: ~causal_mask(length),
            "The mask is True where a key is hidden. Here True means keep.",
            _MASKS,
        ),
        Variant(
            "additive",
            lambda length: torch.zeros(length, length).masked_fill(
                ~causal_mask(length), -math.inf
            ),
            "This is the additive form, 0 and minus infinity. It would be a right"
            " `bias`; the mask asked for is boolean.",
            _MASKS,
            also=(
                lambda length: torch.zeros(
                    length, length, dtype=torch.float64
                ).masked_fill(~causal_mask(length), -math.inf),
            ),
        ),
    ),
    section=_MASKS,
    gradients=False,
)


# --- weighted_sum ---------------------------------------------------------------


def weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """Output of one query: weights [S] and values [S, E] give y [E]."""
    y = torch.zeros_like(values[0])
    for weight, value in zip(weights, values, strict=True):
        y = y + weight * value
    return y


def _draw_weighted(random: Draw, S: int, E: int) -> Inputs:
    return {"weights": random.normal(S).softmax(0), "values": random.normal(S, E)}


WEIGHTED_SUM = Exercise(
    name="weighted_sum",
    oracle=weighted_sum,
    draw=_draw_weighted,
    sizes=(
        {"S": 2, "E": 1},
        {"S": 3, "E": 2},
        {"S": 3, "E": 3},
        {"S": 2, "E": 5},
    ),
    variants=(
        Variant(
            "plain_average",
            lambda weights, values: values.mean(0),
            "This is the plain average of the values. Each value counts with its own"
            " weight.",
            _HAND,
        ),
        Variant(
            "divided_by_keys",
            lambda weights, values: (weights[:, None] * values).mean(0),
            "The weighted sum is divided by the number of keys. The weights sum to 1"
            " already.",
            _HAND,
        ),
        Variant(
            "softmax_twice",
            lambda weights, values: weights.softmax(0) @ values,
            "The weights go through a softmax once more. They are weights already.",
            _HAND,
        ),
        Variant(
            "hard_choice",
            lambda weights, values: values[weights.argmax()],
            "Only the value with the largest weight is kept. Attention is a soft"
            " choice: every value takes part.",
            _SOFT,
        ),
        Variant(
            "wrong_axis",
            lambda weights, values: values @ weights,
            "The sum runs over the channels. It runs over the keys.",
            _HAND,
            also=(lambda weights, values: (weights[:, None] * values).sum(1),),
        ),
        Variant(
            "weights_on_channels",
            lambda weights, values: (weights * values).sum(0),
            "The weights multiply the channels. Each key has one weight: use"
            " `weights[:, None]`.",
            _HAND,
        ),
        Variant(
            "not_summed",
            lambda weights, values: weights[:, None] * values,
            "These are the weighted values, one row per key. Add the rows.",
            _HAND,
        ),
    ),
    section=_HAND,
)


# --- attention_entropy ----------------------------------------------------------


def attention_entropy(attention: Tensor) -> Tensor:
    """Entropy in nats of each row: [T, S] gives [T], where 0 log 0 counts as 0."""
    rows = []
    for row in attention:
        terms = [-weight * weight.log() for weight in row if weight > 0]
        rows.append(torch.stack(terms).sum())
    return torch.stack(rows)


def _draw_entropy(random: Draw, T: int, S: int, zeros: bool = False) -> Inputs:
    logits = 2 * random.normal(T, S)
    if zeros:
        logits = logits.masked_fill(~random.keep(T, S), -math.inf)
    return {"attention": logits.softmax(-1)}


def _entropy(attention: Tensor, axis: int = -1) -> Tensor:
    return -torch.xlogy(attention, attention).sum(axis)


ENTROPY = Exercise(
    name="attention_entropy",
    oracle=attention_entropy,
    draw=_draw_entropy,
    sizes=(
        {"T": 1, "S": 2},
        {"T": 2, "S": 3},
        {"T": 4, "S": 4},
        {"T": 3, "S": 5, "zeros": True},
    ),
    variants=(
        Variant(
            "zero_weight_nan",
            lambda attention: -(attention * attention.log()).sum(-1),
            "A weight of 0 gives 0 times minus infinity, which is NaN. Such a term"
            " counts as 0; `torch.xlogy` does that.",
            _EXERCISES,
        ),
        Variant(
            "sign_missing",
            lambda attention: -_entropy(attention),
            "The sign is missing. The logarithm of a weight below 1 is negative; the"
            " entropy is not.",
            _EXERCISES,
        ),
        Variant(
            "bits",
            lambda attention: _entropy(attention) / math.log(2),
            "This is the entropy in bits. Use the natural logarithm.",
            _EXERCISES,
        ),
        Variant(
            "over_queries",
            lambda attention: _entropy(attention, -2),
            "The sum runs over the queries. Each query has an entropy, summed over"
            " its keys.",
            _EXERCISES,
        ),
        Variant(
            "mean",
            lambda attention: _entropy(attention) / attention.shape[-1],
            "The terms are averaged. The entropy is their sum.",
            _EXERCISES,
        ),
        Variant(
            "normalised",
            lambda attention: _entropy(attention) / math.log(attention.shape[-1]),
            "The entropy is divided by its largest value, log S. That is a useful"
            " number, but not the one asked for.",
            _EXERCISES,
        ),
    ),
    section=_EXERCISES,
    gradients=False,
)

EXERCISES = (WEIGHTED_SUM, SOFTMAX, ATTEND, CAUSAL_MASK, ENTROPY)
