"""Exercises on multi-head attention."""

import math
from functools import partial

import torch
from torch import Tensor

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant
from visattn.mechanisms.multi_head import multi_head_loop

_BOOK = "foundations/multi_head.html"
_FORMULA = f"{_BOOK}#the-formula"
_LADDER = f"{_BOOK}#the-ladder"
_WRONG = f"{_BOOK}#right-shape-still-wrong"
_MASKS = "foundations/dot_product.html#masks-and-a-query-with-no-keys"


# --- split_heads and merge_heads ------------------------------------------------


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Cut x [B, T, N*D] into heads [B, N, T, D]; head n owns n*D ... (n+1)*D - 1."""
    D = x.shape[-1] // num_heads
    heads = [x[:, :, n * D : (n + 1) * D] for n in range(num_heads)]
    return torch.stack(heads, dim=1)


def merge_heads(x: Tensor) -> Tensor:
    """Put the heads of x [B, N, T, D] side by side: [B, T, N*D]."""
    return torch.cat([x[:, n] for n in range(x.shape[1])], dim=-1)


def _split(x: Tensor, num_heads: int, how: str) -> Tensor:
    B, T, _ = x.shape
    if how == "view":
        return x.reshape(B, num_heads, T, -1)
    if how == "interleaved":  # channel c belongs to head c % N
        return x.reshape(B, T, -1, num_heads).permute(0, 3, 1, 2)
    return split_heads(x, num_heads)


def _merge(x: Tensor, how: str) -> Tensor:
    B, N, T, D = x.shape
    if how == "view":
        return x.reshape(B, T, N * D)
    if how == "image":  # as if the map were [B, N*D, H, W] already
        return x.reshape(B, N * D, T).mT
    if how == "interleaved":
        return x.permute(0, 2, 3, 1).reshape(B, T, N * D)
    return merge_heads(x)


SPLIT_HEADS = Exercise(
    name="split_heads",
    oracle=split_heads,
    draw=lambda random, B, T, N, D: {"x": random.normal(B, T, N * D), "num_heads": N},
    sizes=(
        {"B": 1, "T": 2, "N": 1, "D": 2},
        {"B": 1, "T": 2, "N": 2, "D": 3},
        {"B": 2, "T": 3, "N": 3, "D": 2},
        {"B": 3, "T": 5, "N": 2, "D": 4},
    ),
    variants=(
        Variant(
            "view_without_transpose",
            partial(_split, how="view"),
            "The memory is cut into heads directly, so a head gets pieces of different"
            " tokens. Cut the width into [N, D] first, then exchange the axes T and N.",
            _WRONG,
        ),
        Variant(
            "interleaved",
            partial(_split, how="interleaved"),
            "Neighbouring channels go to different heads. Here a head owns neighbouring"
            " channels: cut the width as [N, D], in this order.",
            _WRONG,
        ),
        Variant(
            "heads_stay_behind_tokens",
            lambda x, num_heads: split_heads(x, num_heads).transpose(1, 2),
            "The heads come after the tokens: [B, T, N, D]. Exchange these two axes,"
            " so that each head holds a sequence.",
            _LADDER,
        ),
        Variant(
            "heads_and_width_exchanged",
            lambda x, num_heads: split_heads(x, num_heads).permute(0, 3, 2, 1),
            "Axis 1 holds the width of a head and the last axis the heads. It is the"
            " other way round.",
            _LADDER,
            also=(
                lambda x, num_heads: split_heads(x, x.shape[-1] // num_heads),
                lambda x, num_heads: _split(x, num_heads, "interleaved").permute(
                    0, 3, 2, 1
                ),
            ),
        ),
    ),
    section=_LADDER,
)

MERGE_HEADS = Exercise(
    name="merge_heads",
    oracle=merge_heads,
    draw=lambda random, B, T, N, D: {"x": random.normal(B, N, T, D)},
    sizes=SPLIT_HEADS.sizes,
    variants=(
        Variant(
            "reshape_without_transpose",
            partial(_merge, how="view"),
            "The shape is right, but the memory runs through the heads one after the"
            " other. Exchange the axes N and T before you join N and D.",
            _WRONG,
            also=(partial(_merge, how="image"),),
        ),
        Variant(
            "interleaved",
            partial(_merge, how="interleaved"),
            "The heads are mixed channel by channel. They stand side by side: join"
            " [N, D], in this order.",
            _WRONG,
        ),
        Variant(
            "channels_first",
            lambda x: merge_heads(x).mT,
            "The channels come before the tokens: [B, N*D, T]. Here tokens come first.",
            _LADDER,
        ),
        Variant(
            "heads_summed",
            lambda x: x.sum(1),
            "The heads are added up. They stand side by side, so the width grows to"
            " N*D.",
            _FORMULA,
            also=(lambda x: x.mean(1),),
        ),
    ),
    section=_LADDER,
)


# --- multi_head -----------------------------------------------------------------


def _draw_multi_head(
    random: Draw,
    B: int,
    T: int,
    S: int,
    N: int,
    D: int,
    E: int,
    bias: bool = False,
    mask: bool = False,
    padding: bool = False,
) -> Inputs:
    inputs: Inputs = {
        "q": 1.5 * random.normal(B, T, N * D),
        "k": 1.5 * random.normal(B, S, N * D),
        "v": random.normal(B, S, N * E),
        "num_heads": N,
    }
    if bias:
        inputs["bias"] = random.normal(1, N, T, S)
    if mask:
        inputs["mask"] = random.keep(T, S)
    if padding:
        inputs["mask"] = random.keep(B, 1, 1, S)
    return inputs


def _multi_head(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    num_heads: int,
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    split: str = "right",
    merge: str = "right",
    width: str = "head",
    maps: str = "own",
    axis: int = -1,
    mask_how: str = "keep",
) -> Tensor:
    """Multi-head attention with one switch for each place where it can go wrong."""
    q_n, k_n, v_n = (_split(x, num_heads, split) for x in (q, k, v))  # [B, N, T, D]
    scale = {"head": k_n.shape[-1], "full": k.shape[-1], "none": 1}[width] ** -0.5
    logits = scale * (q_n @ k_n.mT)  # [B, N, T, S]
    if bias is not None:
        logits = logits + bias
    if maps == "summed logits":
        logits = logits.sum(1, keepdim=True)
    if mask is not None and mask_how != "ignored":
        hidden = mask if mask_how == "inverted" else ~mask
        logits = logits.masked_fill(hidden, -math.inf)
    weights = logits.softmax(axis).nan_to_num(nan=0.0)
    if maps == "averaged":
        weights = weights.mean(1, keepdim=True)
    if maps == "first":
        weights = weights[:, :1]
    return _merge(weights @ v_n, merge)


def _one_head(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    num_heads: int,
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    return _multi_head(q, k, v, 1, bias=bias, mask=mask)


MULTI_HEAD = Exercise(
    name="multi_head",
    oracle=multi_head_loop,
    draw=_draw_multi_head,
    sizes=(
        {"B": 1, "T": 1, "S": 2, "N": 1, "D": 1, "E": 1},
        {"B": 1, "T": 2, "S": 2, "N": 2, "D": 2, "E": 1},
        {"B": 2, "T": 3, "S": 3, "N": 3, "D": 2, "E": 2},
        {"B": 1, "T": 2, "S": 3, "N": 2, "D": 3, "E": 4},
        {"B": 1, "T": 3, "S": 2, "N": 2, "D": 2, "E": 2, "bias": True},
        {"B": 1, "T": 3, "S": 3, "N": 2, "D": 2, "E": 2, "mask": True},
        {"B": 2, "T": 2, "S": 4, "N": 3, "D": 2, "E": 2, "padding": True},
    ),
    variants=(
        Variant(
            "merge_without_transpose",
            partial(_multi_head, merge="view"),
            "Every head is right, but they are joined by `reshape` alone. The memory"
            " still runs through one head after the other: exchange the axes N and T"
            " first.",
            _WRONG,
            also=(partial(_multi_head, merge="image"),),
        ),
        Variant(
            "split_without_transpose",
            partial(_multi_head, split="view"),
            "The width is cut by one `view` to [B, N, T, D], so a head gets pieces of"
            " different tokens. View as [B, T, N, D], then exchange T and N.",
            _WRONG,
        ),
        Variant(
            "never_transposed",
            partial(_multi_head, split="view", merge="view"),
            "Neither the cut into heads nor the join exchanges the axes T and N. The"
            " shapes are right; the tokens are mixed up.",
            _WRONG,
        ),
        Variant(
            "interleaved",
            partial(_multi_head, split="interleaved", merge="interleaved"),
            "Neighbouring channels go to different heads. Here head n owns the"
            " channels n*D ... (n+1)*D - 1.",
            _WRONG,
            also=(partial(_multi_head, split="interleaved"),),
        ),
        Variant(
            "merge_interleaved",
            partial(_multi_head, merge="interleaved"),
            "Every head is right, but they are joined channel by channel. They stand"
            " side by side: join [N, D], in this order.",
            _WRONG,
        ),
        Variant(
            "scale_by_full_width",
            partial(_multi_head, width="full"),
            "The scale uses the full width N*D. A logit is a sum over the D channels"
            " of one head: scale by `1 / sqrt(D)`.",
            _FORMULA,
        ),
        Variant(
            "no_scale",
            partial(_multi_head, width="none"),
            "The logits are not scaled. Multiply them by `1 / sqrt(D)`, with D the"
            " width of one head.",
            _FORMULA,
        ),
        Variant(
            "heads_ignored",
            _one_head,
            "There is one map for the whole width: `num_heads` has no effect. Cut the"
            " width first, then attend in each piece.",
            _WRONG,
        ),
        Variant(
            "one_map_for_all_heads",
            partial(_multi_head, maps="summed logits"),
            "The logits are summed over the heads, so all heads share one map. Each"
            " head needs its own softmax.",
            _WRONG,
        ),
        Variant(
            "maps_averaged",
            partial(_multi_head, maps="averaged"),
            "The maps are averaged over the heads before they meet the values. Each"
            " head uses its own map.",
            _FORMULA,
        ),
        Variant(
            "first_map_for_all",
            partial(_multi_head, maps="first"),
            "All heads use the map of the first one.",
            _FORMULA,
        ),
        Variant(
            "softmax_over_heads",
            partial(_multi_head, axis=1),
            "The softmax runs over the heads. It runs over the keys, the last axis.",
            _FORMULA,
        ),
        Variant(
            "softmax_over_queries",
            partial(_multi_head, axis=-2),
            "The softmax runs over the queries. It runs over the keys, the last axis.",
            _FORMULA,
        ),
        Variant(
            "bias_ignored",
            lambda q, k, v, num_heads, *, bias=None, mask=None: _multi_head(
                q, k, v, num_heads, mask=mask
            ),
            "The bias is not used. Add it to the scaled logits.",
            _FORMULA,
        ),
        Variant(
            "mask_ignored",
            partial(_multi_head, mask_how="ignored"),
            "The mask is not used: padded or hidden keys still get weight.",
            _MASKS,
        ),
        Variant(
            "mask_inverted",
            partial(_multi_head, mask_how="inverted"),
            "The mask is read the other way round. Here True means keep;"
            " `nn.MultiheadAttention` is one place where True means blocked.",
            _MASKS,
        ),
    ),
    section=f"{_BOOK}#the-loop",
)


# --- key_padding_mask -----------------------------------------------------------


def key_padding_mask(lengths: Tensor, size: int) -> Tensor:
    """Mask [B, 1, 1, S], True for the first lengths[b] keys of sequence b."""
    rows = [[j < int(length) for j in range(size)] for length in lengths]
    return torch.tensor(rows)[:, None, None]


KEY_PADDING_MASK = Exercise(
    name="key_padding_mask",
    oracle=key_padding_mask,
    draw=lambda random, B, S: {"lengths": random.integers(1, S, B), "size": S},
    sizes=({"B": 1, "S": 3}, {"B": 2, "S": 4}, {"B": 3, "S": 3}, {"B": 4, "S": 7}),
    variants=(
        Variant(
            "inverted",
            lambda lengths, size: ~key_padding_mask(lengths, size),
            "The mask is True for the padding. Here True means keep;"
            " `nn.MultiheadAttention` has it the other way round.",
            _MASKS,
        ),
        Variant(
            "one_too_many",
            lambda lengths, size: key_padding_mask(lengths + 1, size),
            "One padded key is kept. Positions start at 0: keep j < length.",
            _MASKS,
        ),
        Variant(
            "padding_in_front",
            lambda lengths, size: key_padding_mask(lengths, size).flip(-1),
            "The last keys are kept. The padding stands at the end.",
            _MASKS,
        ),
        Variant(
            "queries_masked",
            lambda lengths, size: key_padding_mask(lengths, size).mT,
            "The mask lies on the axis of the queries: [B, 1, S, 1]. The keys are the"
            " last axis.",
            _MASKS,
        ),
        Variant(
            "no_room_for_heads",
            lambda lengths, size: key_padding_mask(lengths, size)[:, 0, 0],
            "The mask is [B, S]. Give it axes of length 1 for heads and queries, so"
            " that it broadcasts: [B, 1, 1, S].",
            _MASKS,
        ),
    ),
    section=_MASKS,
    gradients=False,
)


# --- attention_as_sum -----------------------------------------------------------


def attention_as_sum(heads: Tensor, w_out: Tensor) -> Tensor:
    """Sum over heads [B, N, T, D] of head n times its block of w_out [N*D, Dout]."""
    _, N, _, D = heads.shape
    blocks = [w_out[n * D : (n + 1) * D] for n in range(N)]  # each [D, Dout]
    return torch.stack([heads[:, n] @ blocks[n] for n in range(N)]).sum(0)


def _draw_sum(random: Draw, B: int, N: int, T: int, D: int, Dout: int) -> Inputs:
    return {
        "heads": random.normal(B, N, T, D),
        "w_out": random.normal(N * D, Dout),
    }


ATTENTION_AS_SUM = Exercise(
    name="attention_as_sum",
    oracle=attention_as_sum,
    draw=_draw_sum,
    sizes=(
        {"B": 1, "N": 1, "T": 2, "D": 2, "Dout": 1},
        {"B": 1, "N": 2, "T": 2, "D": 2, "Dout": 3},
        {"B": 2, "N": 3, "T": 4, "D": 2, "Dout": 5},
        {"B": 1, "N": 3, "T": 3, "D": 2, "Dout": 6},
    ),
    variants=(
        Variant(
            "one_block_for_all",
            lambda heads, w_out: heads.sum(1) @ w_out[: heads.shape[-1]],
            "Every head is multiplied by the first block. Head n has the rows"
            " n*D ... (n+1)*D - 1 of `w_out`.",
            _FORMULA,
        ),
        Variant(
            "interleaved_blocks",
            lambda heads, w_out: _merge(heads, "interleaved") @ w_out,
            "Head n takes every N-th row of `w_out`. Its rows are neighbours:"
            " n*D ... (n+1)*D - 1.",
            _WRONG,
        ),
        Variant(
            "reshape_without_transpose",
            lambda heads, w_out: _merge(heads, "view") @ w_out,
            "The heads are joined by `reshape` alone, which mixes tokens. Exchange the"
            " axes N and T first, or add up head by head.",
            _WRONG,
        ),
        Variant(
            "averaged",
            lambda heads, w_out: attention_as_sum(heads, w_out) / heads.shape[1],
            "The heads are averaged. The formula adds them.",
            _FORMULA,
        ),
        Variant(
            "blocks_reversed",
            lambda heads, w_out: attention_as_sum(heads.flip(1), w_out),
            "The blocks are taken from the last to the first.",
            _FORMULA,
        ),
        Variant(
            "matrix_transposed",
            lambda heads, w_out: merge_heads(heads) @ w_out.mT,
            "The matrix is transposed. Here `w_out` is [N*D, Dout] and stands on the"
            " right; `nn.Linear` stores the transpose.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
)

EXERCISES = (SPLIT_HEADS, MERGE_HEADS, MULTI_HEAD, KEY_PADDING_MASK, ATTENTION_AS_SUM)
