"""Official weights into ours: names and shapes are translated, numbers are not."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

__all__ = ["convert", "sources"]

State = dict[str, Tensor]


def _as_state(state_dict: Mapping[str, object]) -> State:
    """Tensors under plain names; ``param/`` and ``buffer/`` in front are dropped."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"state_dict must be a mapping of tensors, got {type(state_dict).__name__}"
        )
    if not state_dict:
        raise ValueError("state_dict is empty")
    state: State = {}
    for name, value in state_dict.items():
        if not isinstance(name, str):
            raise TypeError(f"the names of state_dict must be strings, got {name!r}")
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(np.array(value))
        if not isinstance(value, Tensor):
            raise TypeError(
                f"state_dict[{name!r}] must be a tensor, got {type(value).__name__}"
            )
        _put(state, name.removeprefix("param/").removeprefix("buffer/"), value)
    return state


def _put(state: State, name: str, value: Tensor) -> None:
    """Add an entry; two entries of one name are refused."""
    if name in state:
        raise ValueError(f"two entries would be called {name!r}")
    state[name] = value


def _torch_mha(state: State) -> State:
    """``torch.nn.MultiheadAttention`` -> `MultiHeadSelfAttention`.

    The rows of in_proj are [query; key; value]. Weights of other modules in a whole
    network pass unchanged.
    """
    attentions = {
        name.removesuffix("in_proj_weight")
        for name in state
        if name.rpartition(".")[2] == "in_proj_weight"
    }
    if not attentions:
        separate = [name for name in state if name.endswith("q_proj_weight")]
        raise ValueError(
            f"{separate[0]}: keys or values of another width than the queries (kdim, "
            "vdim) have no self-attention counterpart"
            if separate
            else "no in_proj_weight found: this is not the state of torch.nn."
            f"MultiheadAttention; its names are {sorted(state)}"
        )
    ours: State = {}
    for name, value in state.items():
        inside = [p for p in attentions if name.startswith(p)]
        prefix = max(inside, key=len, default=None)
        leaf = name if prefix is None else name[len(prefix) :]
        if leaf in ("in_proj_weight", "in_proj_bias"):
            kind = leaf.removeprefix("in_proj_")
            width = state[f"{prefix}in_proj_weight"].shape[-1]
            wanted = [3 * width, width] if kind == "weight" else [3 * width]
            if list(value.shape) != wanted or width == 0:
                raise ValueError(
                    f"{name} must stack query, key and value as {wanted}, got shape "
                    f"{list(value.shape)}"
                )
            for role, part in zip(
                ("query", "key", "value"), value.chunk(3), strict=True
            ):
                _put(ours, f"{prefix}{role}.{kind}", part)
        elif leaf in ("bias_k", "bias_v"):
            raise ValueError(f"{name}: add_bias_kv=True has no counterpart here")
        elif prefix is not None and leaf in ("out_proj.weight", "out_proj.bias"):
            _put(ours, f"{prefix}out.{leaf.removeprefix('out_proj.')}", value)
        else:
            _put(ours, name, value)
    return ours


# Parameters of the official attention-cnn that its classifier never uses, and tables
# that ours does not keep.
_UNUSED = ("R", "relative_indices", "attention_mask", "mask_embedding", "cls_embedding")
_ATTENTION_CNN = (
    ("features_upscale.", "embed."),
    ("encoder.layer.", "layers."),
    ("attention.self.", "attention."),
    ("attention.output.dense.", "dense."),
    ("attention.output.LayerNorm.", "norm1."),
    ("intermediate.dense.", "widen."),
    ("output.dense.", "narrow."),
    ("output.LayerNorm.", "norm2."),
)


def _attention_cnn(state: State) -> State:
    """epfml/attention-cnn -> the layers of `convolution.py` and `attention_cnn`.

    For positions alone, the official row tables belong to the second axis of the map;
    ours belong to the first, so rows and columns are exchanged.
    """
    ours: State = {}
    for official, value in state.items():
        prefix, _, leaf = official.rpartition(".")
        first = official.partition(".")[0]
        if leaf in _UNUSED or first in ("features_downscale", "pixelizer"):
            continue
        alone = f"{prefix.rpartition('.')[0]}.".lstrip(".") + "head_keys_row.weight"
        rows, cols = ("cols", "rows") if alone in state else ("rows", "cols")
        kinds = {
            "row_embeddings.weight": f"relative_{rows}",
            "col_embeddings.weight": f"relative_{cols}",
            "head_keys_row.weight": f"head_{rows}",
            "head_keys_col.weight": f"head_{cols}",
            "attention_centers": "centers",
            "attention_spreads": "spreads",
        }
        name = official
        for theirs, here in kinds.items():
            if name == theirs or name.endswith(f".{theirs}"):
                name = name.removesuffix(theirs) + here
        for theirs, here in _ATTENTION_CNN:
            name = name.replace(theirs, here)
        layer = name.rpartition(".")[0].rpartition(".")[2]
        if layer in ("query", "key", "value") and leaf == "weight":
            value = value[:, :, None, None]
        _put(ours, name, value)
    return ours


_SOURCES: dict[str, Callable[[State], State]] = {
    "attention-cnn": _attention_cnn,
    "torch-mha": _torch_mha,
}


def sources() -> list[str]:
    """Names that `convert` knows."""
    return sorted(_SOURCES)


def convert(state_dict: Mapping[str, object], source: str) -> State:
    """Rename and reshape official weights into the names of this package.

    Args:
        state_dict: The official state, of one module or of a whole network. Values are
            tensors or NumPy arrays.
        source: Whose weights they are; one of `sources`.

    Returns:
        A state dict for the module of this package. Its tensors share memory with
        those that came.

    Raises:
        TypeError: state_dict is not a mapping of tensors.
        ValueError: Unknown source, names and shapes that the source does not have, or
            two entries that would get one name.

    Example:
        >>> import torch
        >>> from visattn import MultiHeadSelfAttention
        >>> official = torch.nn.MultiheadAttention(8, 2)
        >>> ours = MultiHeadSelfAttention(8, 2)
        >>> ours.load_state_dict(convert(official.state_dict(), "torch-mha"))
        <All keys matched successfully>
    """
    if not isinstance(source, str) or source not in _SOURCES:
        raise ValueError(f"unknown source {source!r}; known: {', '.join(sources())}")
    return _SOURCES[source](_as_state(state_dict))
