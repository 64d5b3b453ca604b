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
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(np.array(value))
        if not isinstance(value, Tensor):
            raise TypeError(
                f"state_dict[{name!r}] must be a tensor, got {type(value).__name__}"
            )
        state[name.removeprefix("param/").removeprefix("buffer/")] = value
    return state


def _torch_mha(state: State) -> State:
    """``torch.nn.MultiheadAttention`` -> `MultiHeadSelfAttention`.

    The rows of in_proj are [query; key; value]. Weights of other modules in a whole
    network pass unchanged.
    """
    ours: State = {}
    found = False
    for name, value in state.items():
        prefix, _, leaf = name.rpartition(".")
        dot = "." if prefix else ""
        if leaf in ("in_proj_weight", "in_proj_bias"):
            if value.ndim < 1 or value.shape[0] % 3:
                raise ValueError(
                    f"{name} must stack query, key and value: its first axis must be "
                    f"divisible by 3, got shape {list(value.shape)}"
                )
            kind = leaf.removeprefix("in_proj_")
            parts = value.chunk(3)
            for role, part in zip(("query", "key", "value"), parts, strict=True):
                ours[f"{prefix}{dot}{role}.{kind}"] = part
            found = True
        elif leaf in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
            raise ValueError(
                f"{name}: keys or values of another width than the queries "
                "(kdim, vdim) have no self-attention counterpart"
            )
        elif leaf in ("bias_k", "bias_v"):
            raise ValueError(f"{name}: add_bias_kv=True has no counterpart here")
        elif prefix == "out_proj" or prefix.endswith(".out_proj"):
            ours[f"{prefix.removesuffix('out_proj')}out.{leaf}"] = value
        else:
            ours[name] = value
    if not found:
        raise ValueError(
            "no in_proj_weight found: this is not the state of torch.nn."
            f"MultiheadAttention; its names are {sorted(state)}"
        )
    return ours


_SOURCES: dict[str, Callable[[State], State]] = {"torch-mha": _torch_mha}


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
        A state dict for the module of this package.

    Raises:
        TypeError: state_dict is not a mapping of tensors.
        ValueError: Unknown source, or names and shapes that the source does not have.

    Example:
        >>> import torch
        >>> from visattn import MultiHeadSelfAttention
        >>> official = torch.nn.MultiheadAttention(8, 2)
        >>> ours = MultiHeadSelfAttention(8, 2)
        >>> ours.load_state_dict(convert(official.state_dict(), "torch-mha"))
        <All keys matched successfully>
    """
    if source not in _SOURCES:
        raise ValueError(f"unknown source {source!r}; known: {', '.join(sources())}")
    return _SOURCES[source](_as_state(state_dict))
