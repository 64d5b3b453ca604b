"""Official weights into ours: names and shapes are translated, numbers are not."""

import inspect
import re
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from visattn.mechanisms._checks import check_divisible, check_positive

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
            hint = (
                f"; is state_dict[{name!r}] what you want to convert?"
                if isinstance(value, Mapping)
                else ""
            )
            raise TypeError(
                f"state_dict[{name!r}] must be a tensor, got {type(value).__name__}"
                f"{hint}"
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


# hszhao/SAN: inside an attention module, and in the network around it.
_SAN_ATTENTION = {
    "conv1": "phi",
    "conv2": "psi",
    "conv3": "beta",
    "conv_w": "gamma",
    "conv_p": "position",
}
_SAN_NETWORK = [
    (r"conv_in\.", "stem.0."),
    (r"bn_in\.", "stem.1."),
    (r"conv([0-4])\.", r"stages.\1.conv."),
    (r"bn([0-4])\.", r"stages.\1.bn."),
    (r"layer([0-4])\.", r"stages.\1.blocks."),
    (r"fc\.", "classifier."),
]


def _san(state: State) -> State:
    """hszhao/SAN -> the attention of `san.py`, `SANBottleneck` or the whole `SAN`.

    A leading ``module.``, which training on several devices leaves, is dropped.
    """
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    # The network has names like those of an attention; conv_w is in attentions only.
    mark = "conv_w.0.weight"
    attentions = {n.removesuffix(mark) for n in state if n.endswith(mark)}
    if not attentions:
        raise ValueError(
            f"no {mark} found: this is not the state of SAN; its names are "
            f"{sorted(state)}"
        )
    network = any(re.match(r"(layer\d|conv_in|bn_in)\.", name) for name in state)
    ours: State = {}
    for official, value in state.items():
        name = official
        for prefix in attentions:
            if name.startswith(prefix):
                leaf, _, rest = name.removeprefix(prefix).partition(".")
                if leaf not in _SAN_ATTENTION:
                    known = ", ".join(_SAN_ATTENTION)
                    raise ValueError(f"{official}: {leaf!r} is none of {known}")
                place = re.sub(r"\bsam\.$", "attention.", prefix)
                name = f"{place}{_SAN_ATTENTION[leaf]}.{rest}"
                break
        found = 0 if network else 1
        for theirs, here in _SAN_NETWORK if network else ():
            name, found = re.subn(f"^{theirs}", here, name)
            if found:
                break
        if not found or re.search(r"\bsam\.", name):
            raise ValueError(
                f"{official!r} has no counterpart: it is no name of SAN, or the state "
                f"lacks the {mark} that belongs to it"
            )
        _put(ours, name, value)
    return ours


def _renamed(state: State, names: dict[str, str], source: str) -> State:
    """Exchange the last parts of names; a state without any of them is refused."""
    ours: State = {}
    found = False
    for name, value in state.items():
        module, _, leaf = name.rpartition(".")
        for theirs, here in names.items():
            if f".{module}".endswith(f".{theirs}"):
                module, found = module.removesuffix(theirs) + here, True
                break
        _put(ours, f"{module}.{leaf}" if module else leaf, value)
    if not found:
        raise ValueError(
            f"none of {sorted(names)} found: this is not the state of {source}; its "
            f"names are {sorted(state)}"
        )
    return ours


def _ccnet(state: State) -> State:
    """speedinghzl/CCNet -> `CrissCrossAttention2d`."""
    names = {"query_conv": "query", "key_conv": "key", "value_conv": "value"}
    return _renamed(state, names, "CCNet")


def _nonlocal(state: State) -> State:
    """AlexHex7/Non-local_pytorch, embedded Gaussian -> `NonLocal2d`."""
    pooled = [name for name in state if f".{name}".endswith((".g.0.weight",))]
    if pooled:
        raise ValueError(
            f"{pooled[0]}: sub-sampling there pools the values, and `NonLocal2d` pools "
            "their input: the two are not equivalent"
        )
    names = {"theta": "query", "phi": "key", "g": "value", "W.0": "out", "W.1": "norm"}
    return _renamed(state, names, "the non-local block")


# houqb/CoordAttention: the numbers of a block's layers, with and without widening.
_WIDE_BLOCK = {
    "0": "expand.0",
    "1": "expand.1",
    "3": "depthwise.0",
    "4": "depthwise.1",
    "6": "gate",
    "7": "project.0",
    "8": "project.1",
}
_NARROW_BLOCK = {
    "0": "depthwise.0",
    "1": "depthwise.1",
    "3": "project.0",
    "4": "project.1",
}
# The module and the mobile network call the two last convolutions differently.
_COORDATT = {
    "conv1": "reduce",
    "bn1": "norm",
    "conv_h": "expand_h",
    "conv_w": "expand_w",
    "conv2": "expand_h",
    "conv3": "expand_w",
}


def _of_one_device(state: State) -> State:
    """Drop a leading ``module.``, which training on several devices leaves."""
    if not all(name.startswith("module.") for name in state):
        return state
    return {name.removeprefix("module."): value for name, value in state.items()}


def _absent(mark: str, owner: str, state: State) -> ValueError:
    return ValueError(
        f"no {mark} found: this is not the state of {owner}; its names are "
        f"{sorted(state)}"
    )


def _coordatt(state: State) -> State:
    """houqb/CoordAttention -> `CoordinateAttention`, `InvertedResidual`, the network.

    A leading ``module.`` is dropped.
    """
    state = _of_one_device(state)
    mark = "bn1.running_mean"
    gates = {name.removesuffix(mark) for name in state if name.endswith(mark)}
    gates = {gate for gate in gates if f"{gate}conv1.bias" in state}
    if not gates:
        raise _absent(mark, "coordinate attention", state)
    network = any(name.startswith("features.") for name in state)
    ours: State = {}
    for official, value in state.items():
        name = official
        for gate in gates:
            if name.startswith(gate):
                leaf, _, rest = name.removeprefix(gate).partition(".")
                # A block's own layers start with the prefix of a gate that stands alone
                if leaf in _COORDATT:
                    name = f"{gate}{_COORDATT[leaf]}.{rest}"
        block = re.match(r"(features\.(\d+)\.)?conv\.(\d+)\.(.*)", name)
        if block and (block[1] or not network):
            wide = f"{block[1] or ''}conv.7.weight" in state
            layers = _WIDE_BLOCK if wide else _NARROW_BLOCK
            if block[3] not in layers:
                raise ValueError(
                    f"{official}: layer {block[3]} of a block is none of "
                    f"{', '.join(layers)}"
                )
            place = f"blocks.{int(block[2]) - 1}." if block[2] else ""
            name = f"{place}{layers[block[3]]}.{block[4]}"
        elif network:
            name = re.sub(r"^conv\.", "head.", name)
            name = re.sub(r"^features\.0\.", "stem.", name)
            name = re.sub(r"^classifier\.1\.", "classifier.", name)
        _put(ours, name, value)
    return ours


# Jongchan/attention-module: the residual network around the gates.
_GATED_RESNET = [
    (r"^conv1\.", "stem.0."),
    (r"^bn1\.", "stem.1."),
    (r"^fc\.", "classifier."),
    (r"\.downsample\.", ".shortcut."),
]
_CBAM = [
    (r"\bChannelGate\.mlp\.1\.", "channel.reduce."),
    (r"\bChannelGate\.mlp\.3\.", "channel.expand."),
    (r"\bSpatialGate\.spatial\.conv\.", "spatial.conv."),
    (r"\bSpatialGate\.spatial\.bn\.", "spatial.norm."),
    (r"\.cbam\.", ".gate."),
]
_BAM = [
    (r"\bchannel_att\.gate_c\.gate_c_fc_0\.", "channel.0."),
    (r"\bchannel_att\.gate_c\.gate_c_bn_1\.", "channel.1."),
    (r"\bchannel_att\.gate_c\.gate_c_fc_final\.", "channel.3."),
    (r"\bspatial_att\.gate_s\.gate_s_conv_reduce0\.", "spatial.0."),
    (r"\bspatial_att\.gate_s\.gate_s_bn_reduce0\.", "spatial.1."),
    (r"\bspatial_att\.gate_s\.gate_s_conv_di_0\.", "spatial.3."),
    (r"\bspatial_att\.gate_s\.gate_s_bn_di_0\.", "spatial.4."),
    (r"\bspatial_att\.gate_s\.gate_s_conv_di_1\.", "spatial.6."),
    (r"\bspatial_att\.gate_s\.gate_s_bn_di_1\.", "spatial.7."),
    (r"\bspatial_att\.gate_s\.gate_s_conv_final\.", "spatial.9."),
]


def _gated(state: State, mark: str, owner: str, names: list[tuple[str, str]]) -> State:
    """A gate alone, or a residual network with gates."""
    state = _of_one_device(state)
    if not any(name.endswith(mark) for name in state):
        raise _absent(mark, owner, state)
    network = "layer1.0.conv1.weight" in state
    depths: dict[int, int] = {}  # blocks of each stage
    for name in state:
        if found := re.match(r"layer(\d+)\.(\d+)\.", name):
            stage, number = int(found[1]), int(found[2])
            depths[stage] = max(depths.get(stage, 0), number + 1)
    ours: State = {}
    for official, value in state.items():
        name = official
        for theirs, here in [*names, *(_GATED_RESNET if network else [])]:
            name = re.sub(theirs, here, name)
        if found := re.match(r"layer(\d+)\.(.*)", name):
            name = f"stages.{int(found[1]) - 1}.{found[2]}"
        elif found := re.match(r"bam(\d+)\.(.*)", name):
            stage = int(found[1])  # it ends the stage
            name = f"stages.{stage - 1}.{depths.get(stage, 0)}.{found[2]}"
        _put(ours, name, value)
    return ours


def _cbam(state: State) -> State:
    """Jongchan/attention-module -> `CBAM`, or the network `resnet50_cbam`.

    A leading ``module.`` is dropped.
    """
    return _gated(state, "ChannelGate.mlp.1.weight", "CBAM", _CBAM)


def _bam(state: State) -> State:
    """Jongchan/attention-module -> `BAM`, or the network `resnet50_bam`.

    A leading ``module.`` is dropped.
    """
    return _gated(state, "gate_c_fc_0.weight", "BAM", _BAM)


def _axial_deeplab(state: State) -> State:
    """csrhddlam/axial-deeplab -> `PositionSensitiveAxialAttention2d`.

    The official table stacks the vectors of queries, keys and values; the offsets of
    queries and values run the other way there. The last norm has the channels of
    values and of positions in turn.
    """
    modules = {
        n.removesuffix("relative") for n in state if f".{n}".endswith(".relative")
    }
    if not modules:
        raise ValueError(
            "no table called relative found: this is not the state of Axial-DeepLab; "
            f"its names are {sorted(state)}"
        )
    ours: State = {}
    for name, value in state.items():
        prefix = max((m for m in modules if name.startswith(m)), key=len, default=None)
        leaf = name if prefix is None else name[len(prefix) :]
        if prefix is None:
            _put(ours, name, value)
        elif leaf == "relative":
            half = len(value) // 4
            query, key, values = value.split([half, half, 2 * half])
            _put(ours, f"{prefix}rel_query", query.mT.flip(0))
            _put(ours, f"{prefix}rel_key", key.mT)
            _put(ours, f"{prefix}rel_value", values.mT.flip(0))
        elif leaf == "qkv_transform.weight":
            _put(ours, f"{prefix}qkv.weight", value[..., None])
        elif leaf.startswith("bn_output."):
            rest = leaf.removeprefix("bn_output.")
            both = (value, value) if value.ndim == 0 else (value[0::2], value[1::2])
            _put(ours, f"{prefix}value_norm.{rest}", both[0])
            _put(ours, f"{prefix}position_norm.{rest}", both[1])
        elif leaf != "flatten_index":
            leaf = leaf.replace("bn_qkv.", "qkv_norm.")
            leaf = leaf.replace("bn_similarity.", "logit_norm.")
            _put(ours, f"{prefix}{leaf}", value)
    return ours


_CAA = {
    "v_querykey_conv": "column_key",
    "h_querykey_conv": "row_key",
    "value_conv": "value",
    "v_c_attention": "column_gate",
    "h_c_attention": "row_gate",
}
_CAA_LEAVES = {
    "conv/kernel": "0.weight",
    "bn/gamma": "1.weight",
    "bn/beta": "1.bias",
    "bn/moving_mean": "1.running_mean",
    "bn/moving_variance": "1.running_var",
}


def _caa(state: State) -> State:
    """edwardyehuang/CAA (TensorFlow) -> `ChannelizedAxialAttention2d`.

    Kernels there have their output channels last.
    """
    depth = {
        name.partition("/dense_end")[0]: sum(
            other.startswith(f"{name.partition('/dense_end')[0]}/dense")
            for other in state
        )
        for name in state
        if "/dense_end/" in name
    }
    ours: State = {}
    for name, value in state.items():
        path = name.removesuffix(":0").split("/")
        places = [number for number, part in enumerate(path) if part in _CAA]
        if not places:
            raise ValueError(f"{name!r} is not a name of CAA; known: {sorted(_CAA)}")
        module, leaf = _CAA[path[places[0]]], "/".join(path[places[0] + 1 :])
        if leaf in _CAA_LEAVES:
            if leaf == "conv/kernel":
                value = value.permute(3, 2, 0, 1)
            _put(ours, f"{module}.{_CAA_LEAVES[leaf]}", value)
            if leaf == "bn/moving_mean":
                _put(ours, f"{module}.1.num_batches_tracked", torch.tensor(0))
        else:
            number = leaf.removeprefix("dense").partition("/")[0]
            if number == "_end":
                number = str(depth["/".join(name.split("/")[: places[0] + 1])] - 1)
            _put(ours, f"{module}.layers.{number}.weight", value.mT)
    return ours


def _layers(state: State, mark: str, also: str, owner: str) -> list[str]:
    """Prefixes of the attention layers, known by the table of their row offsets."""
    prefixes = [n.removesuffix(mark) for n in state if f".{n}".endswith(f".{mark}")]
    if not prefixes:
        raise _absent(mark, owner, state)
    for prefix in prefixes:
        if f"{prefix}{also}" not in state:
            raise ValueError(
                f"{prefix}{mark} without {prefix}{also}: this is not the state of "
                f"{owner}; its names are {sorted(state)}"
            )
    return prefixes


def _split_rows(name: str, value: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    """Parts of the rows; whatever the sizes leave is refused."""
    if len(value) != sum(sizes) or min(sizes) < 1:
        raise ValueError(f"{name} must have rows {sizes}, got {list(value.shape)}")
    parts: tuple[Tensor, ...] = value.split(sizes)
    return parts


def _tables(state: State, names: list[str]) -> list[Tensor]:
    """The tables of row and column offsets; an even number of rows has no middle."""
    absent = [name for name in names if name not in state]
    if absent:
        raise ValueError(f"no {absent[0]} found beside {sorted(set(names) & {*state})}")
    tables = [state[name] for name in names]
    shapes = [list(table.shape) for table in tables]
    whole = all(x.ndim == 2 and len(x) % 2 == 1 and x.shape[1] > 0 for x in tables)
    if not whole or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"{', '.join(names)} must be [2U-1, D], got {shapes}")
    return tables


def _timm_tables(
    state: State, prefix: str, scale_pos_embed: bool
) -> tuple[Tensor, Tensor]:
    """Tables of row and column offsets for a query that is scaled for them too.

    timm scales the query for the keys alone, unless its layer has scale_pos_embed:
    the tables take up the factor that is missing.
    """
    if not isinstance(scale_pos_embed, bool):
        raise TypeError(
            f"scale_pos_embed must be True or False, got {scale_pos_embed!r}"
        )
    names = [f"{prefix}pos_embed.{axis}_rel" for axis in ("height", "width")]
    tables = _tables(state, names)
    factor = 1.0 if scale_pos_embed else tables[0].shape[1] ** 0.5
    return tables[0] * factor, tables[1] * factor


def _timm(
    state: State, also: str, owner: str, translate: Callable[[str, int], State]
) -> State:
    """Layers of timm that have tables of relative positions; the rest passes."""
    mark = "pos_embed.height_rel"
    layers = _layers(state, mark, also, owner)
    ours: State = {}
    known = {"pos_embed.height_rel", "pos_embed.width_rel", "q.weight", "kv.weight"}
    known.add("qkv.weight")
    for name, value in state.items():
        prefix = max((p for p in layers if name.startswith(p)), key=len, default=None)
        leaf = name if prefix is None else name[len(prefix) :]
        if prefix is not None and leaf in ("q.bias", "kv.bias", "qkv.bias"):
            raise ValueError(f"{name}: qkv_bias=True has no counterpart here")
        if prefix is None or leaf not in known:
            _put(ours, name, value)
        elif leaf == mark:
            tables = _tables(state, [name, f"{prefix}pos_embed.width_rel"])
            for new, part in translate(prefix, tables[0].shape[1]).items():
                _put(ours, f"{prefix}{new}", part)
    return ours


def _timm_halo(state: State, *, scale_pos_embed: bool = False) -> State:
    """``timm.layers.HaloAttn`` -> `HaloAttention2d` with ``border="zero"``.

    Keys and values lie side by side there, head by head. The offsets are counted from
    the first key of the window. The state does not hold the halo that lies between:
    the layer, which knows it, moves the tables when it loads them.

    Args:
        state: The official state.
        scale_pos_embed: What timm's layer was made with; the state does not tell.
    """

    def translate(prefix: str, dim: int) -> State:
        query, both = state[f"{prefix}q.weight"], state.get(f"{prefix}kv.weight")
        height, width = _timm_tables(state, prefix, scale_pos_embed)
        heads = len(query) // dim
        whole = heads > 0 and heads * dim == len(query)
        if both is None or not whole or len(both) % heads:
            found = None if both is None else list(both.shape)
            raise ValueError(
                f"{prefix}q.weight {list(query.shape)} and {prefix}kv.weight {found} "
                f"do not divide into heads of {dim}, the width of the tables"
            )
        by_head = both.unflatten(0, (heads, -1))
        if by_head.shape[1] <= dim:
            raise ValueError(
                f"{prefix}kv.weight {list(both.shape)} has no rows for values: "
                f"{heads} heads with {dim} keys each"
            )
        return {
            "query.weight": query,
            "key.weight": by_head[:, :dim].flatten(0, 1),
            "value.weight": by_head[:, dim:].flatten(0, 1),
            "window_height": height,
            "window_width": width,
        }

    return _timm(state, "q.weight", "timm's HaloAttn", translate)


def _timm_bottleneck(
    state: State, *, scale_pos_embed: bool = False, num_heads: int | None = None
) -> State:
    """``timm.layers.BottleneckAttn`` -> `HaloAttention2d`: one block without a halo.

    The block is as large as the longer side of the map: block_size is (rows + 1) / 2
    of the longer table, halo_size 0, border "mask".

    Args:
        state: The official state.
        scale_pos_embed: What timm's layer was made with; the state does not tell.
        num_heads: Needed only where keys and values of a head differ in width.
    """
    if num_heads is not None:
        check_positive(num_heads=num_heads)

    def translate(prefix: str, dim: int) -> State:
        name = f"{prefix}qkv.weight"
        height, width = _timm_tables(state, prefix, scale_pos_embed)
        rows = len(state[name])
        if num_heads is None and rows % (3 * dim):
            raise ValueError(
                f"{name} {list(state[name].shape)} is not three times heads of {dim}, "
                "the width of the tables: give num_heads"
            )
        keys = rows // 3 if num_heads is None else num_heads * dim
        parts = _split_rows(name, state[name], [keys, keys, rows - 2 * keys])
        check_divisible(f"values of {name}", rows - 2 * keys, "num_heads", keys // dim)
        longest = max(len(height), len(width))
        tables = []
        for table in (height, width):
            more = (longest - len(table)) // 2
            tables.append(F.pad(table, (0, 0, more, more)))
        return {
            **{
                f"{role}.weight": part
                for role, part in zip(("query", "key", "value"), parts, strict=True)
            },
            "relative_height": tables[0],
            "relative_width": tables[1],
        }

    return _timm(state, "qkv.weight", "timm's BottleneckAttn", translate)


def _lucidrains_halo(state: State) -> State:
    """halonet-pytorch -> `HaloAttention2d` with ``projection=True``.

    The offsets are counted from the first key of the window; the layer moves the
    tables when it loads them.
    """
    owner = "halonet-pytorch"
    layers = _layers(state, "rel_pos_emb.rel_height", "to_kv.weight", owner)
    names = {
        "rel_pos_emb.rel_height": "window_height",
        "rel_pos_emb.rel_width": "window_width",
        "to_q.weight": "query.weight",
        "to_out.weight": "out.weight",
    }
    ours: State = {}
    for name, value in state.items():
        prefix = max((p for p in layers if name.startswith(p)), key=len, default=None)
        leaf = name if prefix is None else name[len(prefix) :]
        if prefix is not None and leaf == "rel_pos_emb.rel_height":
            _tables(state, [name, f"{prefix}rel_pos_emb.rel_width"])
        linear = prefix is not None and re.fullmatch(r"to_(q|kv|out)\.weight", leaf)
        if linear and value.ndim != 2:
            raise ValueError(f"{name} must have two axes, got {list(value.shape)}")
        if prefix is not None and leaf in ("to_q.weight", "to_out.weight"):
            _put(ours, f"{prefix}{names[leaf]}", value[:, :, None, None])
        elif prefix is not None and leaf == "to_kv.weight":
            half = len(value) // 2
            key, values = _split_rows(name, value[:, :, None, None], [half, half])
            _put(ours, f"{prefix}key.weight", key)
            _put(ours, f"{prefix}value.weight", values)
        elif prefix is not None and leaf == "to_out.bias":
            _put(ours, f"{prefix}out.bias", value)
        else:
            _put(ours, f"{prefix or ''}{names.get(leaf, leaf)}", value)
    return ours


_SOURCES: dict[str, Callable[..., State]] = {
    "attention-cnn": _attention_cnn,
    "axial-deeplab": _axial_deeplab,
    "caa": _caa,
    "bam": _bam,
    "cbam": _cbam,
    "ccnet": _ccnet,
    "coordatt": _coordatt,
    "lucidrains-halo": _lucidrains_halo,
    "nonlocal": _nonlocal,
    "san": _san,
    "timm-bottleneck": _timm_bottleneck,
    "timm-halo": _timm_halo,
    "torch-mha": _torch_mha,
}


def sources() -> list[str]:
    """Names that `convert` knows."""
    return sorted(_SOURCES)


def convert(state_dict: Mapping[str, object], source: str, **options: object) -> State:
    """Rename and reshape official weights into the names of this package.

    Args:
        state_dict: The official state, of one module or of a whole network. Values are
            tensors or NumPy arrays.
        source: Whose weights they are; one of `sources`.
        **options: What the weights do not tell. ``"timm-halo"`` and
            ``"timm-bottleneck"`` take ``scale_pos_embed=True`` for layers made with
            it, ``"timm-bottleneck"`` also ``num_heads``. The others take none.

    Returns:
        A state dict for the module of this package. Tensors that need no arithmetic
        share memory with those that came.

    Raises:
        TypeError: state_dict is not a mapping of tensors; an option that the source
            does not have.
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
    translate = _SOURCES[source]
    known = [
        name for name in inspect.signature(translate).parameters if name != "state"
    ]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"source {source!r} has the options {known}, got {unknown}")
    return translate(_as_state(state_dict), **options)
