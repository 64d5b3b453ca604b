"""Weights of timm and halonet-pytorch, against their own numbers."""

import pytest
import torch
from torch import nn

from visattn import HaloAttention2d, convert

CASES = [  # file, source, options of convert, of the layer
    ("halo_attn_timm/b4_h1", "timm-halo", {}, {"border": "zero"}),
    (
        "halo_attn_timm/b4_h1_scalepos",
        "timm-halo",
        {"scale_pos_embed": True},
        {"border": "zero"},
    ),
    (
        "halo_attn_lucidrains/b4_h1_masked_v005",
        "lucidrains-halo",
        {},
        {"projection": True},
    ),
    (
        "bottleneck_attn_timm/basic",
        "timm-bottleneck",
        {},
        {"block_size": 6, "halo_size": 0},
    ),
]


def layer(**options):
    arguments = {"block_size": 4, "halo_size": 1, "num_heads": 2} | options
    return HaloAttention2d(16, 16, **arguments).double()


@pytest.mark.parametrize(("file", "source", "options", "arguments"), CASES)
@pytest.mark.parametrize("return_attention", [False, True])
def test_golden(golden, file, source, options, arguments, return_attention):
    """Output, and the gradients of the input and of all official parameters."""
    g = golden(file)
    official = {n: p.requires_grad_() for n, p in g.items() if n.startswith("param/")}
    module = layer(**arguments)
    ours = convert(official, source, **options)
    module.load_state_dict(ours)
    x = g["input/x"].requires_grad_()
    result = module(x, return_attention=return_attention)
    y = result[0] if return_attention else result
    torch.testing.assert_close(y, g["output/y"], rtol=0, atol=1e-9)

    # The chain rule through convert and through the loading of the tables.
    found = torch.autograd.grad((y * g["upstream/g"]).sum(), [x, *module.parameters()])
    torch.testing.assert_close(found[0], g["grad_input/x"], rtol=0, atol=1e-9)
    by_name = dict(zip(dict(module.named_parameters()), found[1:], strict=True))
    h = module.halo_size
    for axis in ("height", "width"):
        if f"window_{axis}" in ours:
            table = by_name.pop(f"relative_{axis}")
            moved = torch.zeros_like(table)
            moved[h:] = table[: len(table) - h]
            by_name[f"window_{axis}"] = moved
    torch.autograd.backward([ours[n] for n in by_name], list(by_name.values()))
    for name, parameter in official.items():
        theirs = g[name.replace("param/", "grad_param/")]
        torch.testing.assert_close(parameter.grad, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("file", "source", "options", "arguments"), CASES)
def test_inside_a_network(golden, file, source, options, arguments):
    """Layers are found by their tables; what is around them passes unchanged."""
    g = golden(file)
    params = {n.removeprefix("param/"): p for n, p in g.items() if "param/" in n[:6]}
    state = {f"stages.2.self_attn.{n}": p for n, p in params.items()}
    state |= {f"self_attn.{n}": 2 * p for n, p in params.items()}
    state["stem.q.weight"] = torch.ones(3)
    ours = convert(state, source, **options)
    assert ours["stem.q.weight"] is state["stem.q.weight"]
    alone = convert(params, source, **options)
    for name, value in alone.items():
        torch.testing.assert_close(ours[f"stages.2.self_attn.{name}"], value)
        torch.testing.assert_close(ours[f"self_attn.{name}"], 2 * value)
    assert len(ours) == 2 * len(alone) + 1
    network = nn.ModuleDict({"self_attn": layer(**arguments)})
    network.load_state_dict({n: p for n, p in ours.items() if n.startswith("self_")})


def offsets_of_timm(i, u, win_size):
    """The row of timm's table for place i of a block and key u of its window."""
    return u - i + win_size - 1


@pytest.mark.parametrize(("block", "halo"), [(4, 1), (2, 2), (3, 0), (1, 3)])
def test_tables_move_by_the_halo(block, halo):
    """Row by row, for every pair of a query and a key."""
    U = block + 2 * halo
    numbers = torch.arange(2.0 * U - 1)[:, None].expand(-1, 4)
    state = {
        "q.weight": torch.zeros(8, 3, 1, 1),
        "kv.weight": torch.zeros(16, 3, 1, 1),
        "pos_embed.height_rel": numbers,
        "pos_embed.width_rel": 10 * numbers,
    }
    module = HaloAttention2d(3, 8, block, halo, 2)
    module.load_state_dict(convert(state, "timm-halo", scale_pos_embed=True))
    for i in range(block):
        for u in range(U):
            true = u - halo - i
            row = module.relative_height[true + U - 1]
            assert (row == offsets_of_timm(i, u, U)).all()
            assert torch.equal(module.relative_width[true + U - 1], 10 * row)


def test_wider_values_of_timm():
    """qk_ratio: heads are counted by the tables, keys and values lie side by side."""
    D, E, N = 2, 5, 3
    kv = torch.arange(N * (D + E) * 4.0).view(-1, 4, 1, 1)
    state = {
        "q.weight": torch.zeros(N * D, 4, 1, 1),
        "kv.weight": kv,
        "pos_embed.height_rel": torch.zeros(11, D),
        "pos_embed.width_rel": torch.zeros(11, D),
    }
    module = HaloAttention2d(4, N * E, 4, 1, N, dim_head=D, border="zero")
    module.load_state_dict(convert(state, "timm-halo"))
    for n in range(N):
        start = n * (D + E)
        assert torch.equal(module.key.weight[n * D : n * D + D], kv[start : start + D])
        values = kv[start + D : start + D + E]
        assert torch.equal(module.value.weight[n * E : n * E + E], values)


@pytest.mark.parametrize(("H", "W"), [(4, 6), (5, 3), (4, 4)])
def test_bottleneck_on_any_shape_of_map(H, W):
    """The shorter table moves to the middle of one as long as the other."""
    state = {
        "qkv.weight": torch.zeros(18, 3, 1, 1),
        "pos_embed.height_rel": torch.arange(1.0 - H, H)[:, None].expand(-1, 6),
        "pos_embed.width_rel": torch.arange(1.0 - W, W)[:, None].expand(-1, 6),
    }
    ours = convert(state, "timm-bottleneck", scale_pos_embed=True)
    U = max(H, W)
    module = HaloAttention2d(3, 6, U, 0, 1)
    module.load_state_dict(ours)
    for name, length in (("relative_height", H), ("relative_width", W)):
        offset = torch.arange(1.0 - U, U)
        expected = torch.where(offset.abs() < length, offset, 0)
        assert torch.equal(ours[name], expected[:, None].expand(-1, 6))


def test_bottleneck_with_wider_values():
    state = {
        "qkv.weight": torch.arange(18.0).view(18, 1, 1, 1),
        "pos_embed.height_rel": torch.zeros(3, 2),
        "pos_embed.width_rel": torch.zeros(3, 2),
    }
    ours = convert(state, "timm-bottleneck", num_heads=2)
    assert [len(ours[f"{n}.weight"]) for n in ("query", "key", "value")] == [4, 4, 10]
    assert ours["value.weight"].flatten().tolist() == list(range(8, 18))


@pytest.mark.parametrize("stride", [2, 4])
def test_a_strided_layer_of_timm(golden, stride):
    """Its offsets are no true ones; with one query in a block there is one place."""
    g = golden("halo_attn_timm/b4_h1")
    params = {n: p for n, p in g.items() if n.startswith("param/")}
    state = convert(params, "timm-halo")
    module = layer(border="zero", stride=stride)
    if stride == 2:
        with pytest.raises(ValueError, match="stride=2 no table of true offsets"):
            module.load_state_dict(state)
        return
    module.load_state_dict(state)
    y = module(g["input/x"])
    torch.testing.assert_close(y, g["output/y"][..., ::4, ::4])


@pytest.mark.bad_input
class TestBadInput:
    """Every refusal prints what came."""

    good = {  # noqa: RUF012
        "q.weight": torch.zeros(8, 3, 1, 1),
        "kv.weight": torch.zeros(16, 3, 1, 1),
        "qkv.weight": torch.zeros(24, 3, 1, 1),
        "pos_embed.height_rel": torch.zeros(11, 4),
        "pos_embed.width_rel": torch.zeros(11, 4),
        "to_q.weight": torch.zeros(8, 3),
        "to_kv.weight": torch.zeros(16, 3),
        "rel_pos_emb.rel_height": torch.zeros(11, 4),
        "rel_pos_emb.rel_width": torch.zeros(11, 4),
    }

    @pytest.mark.parametrize(
        ("source", "changes", "message"),
        [
            ("timm-halo", {"pos_embed.height_rel": None}, "height_rel"),
            ("timm-halo", {"pos_embed.width_rel": None}, "width_rel"),
            ("timm-halo", {"q.weight": None}, r"without q\.weight"),
            ("timm-halo", {"kv.weight": None}, r"kv\.weight None"),
            ("timm-halo", {"q.weight": torch.zeros(6, 3, 1, 1)}, r"\[6, 3, 1, 1\]"),
            ("timm-halo", {"kv.weight": torch.zeros(17, 3, 1, 1)}, r"\[17, 3, 1, 1\]"),
            ("timm-halo", {"kv.weight": torch.zeros(8, 3, 1, 1)}, "no rows for values"),
            ("timm-halo", {"q.bias": torch.zeros(8)}, "qkv_bias"),
            (
                "timm-halo",
                {"pos_embed.width_rel": torch.zeros(11, 3)},
                r"\[11, 4\], \[11, 3\]",
            ),
            ("timm-bottleneck", {"qkv.weight": None}, r"without qkv\.weight"),
            (
                "timm-bottleneck",
                {"qkv.weight": torch.zeros(25, 3, 1, 1)},
                r"\[25, 3, 1, 1\].*num_heads",
            ),
            (
                "timm-halo",
                {"pos_embed.height_rel": torch.tensor(1.0)},
                r"2U-1, D\], got \[\[\], \[11, 4\]\]",
            ),
            (
                "timm-halo",
                {"pos_embed.width_rel": torch.zeros(10, 4)},
                r"\[11, 4\], \[10, 4\]",
            ),
            (
                "timm-halo",
                {f"pos_embed.{a}_rel": torch.zeros(11, 0) for a in ("height", "width")},
                r"\[11, 0\]",
            ),
            ("timm-halo", {"q.weight": torch.zeros(0, 3, 1, 1)}, r"\[0, 3, 1, 1\]"),
            (
                "timm-bottleneck",
                {"pos_embed.height_rel": torch.zeros(10, 4)},
                r"\[10, 4\], \[11, 4\]",
            ),
            (
                "lucidrains-halo",
                {"rel_pos_emb.rel_width": None},
                r"no rel_pos_emb\.rel_width",
            ),
            (
                "lucidrains-halo",
                {"rel_pos_emb.rel_width": torch.zeros(10, 4)},
                r"\[11, 4\], \[10, 4\]",
            ),
            (
                "lucidrains-halo",
                {"to_q.weight": torch.zeros(8)},
                r"to_q\.weight.*two axes, got \[8\]",
            ),
            ("lucidrains-halo", {"to_kv.weight": None}, r"without to_kv\.weight"),
            (
                "lucidrains-halo",
                {"to_kv.weight": torch.zeros(15, 3)},
                r"to_kv\.weight.*\[7, 7\].*\[15, 3, 1, 1\]",
            ),
            ("lucidrains-halo", {"rel_pos_emb.rel_height": None}, "halonet-pytorch"),
        ],
    )
    def test_states(self, source, changes, message):
        state = self.good | changes
        with pytest.raises(ValueError, match=message):
            convert({n: p for n, p in state.items() if p is not None}, source)

    def test_options(self):
        with pytest.raises(TypeError, match=r"'san' has the options \[\].*'stride'"):
            convert({"x": torch.zeros(1)}, "san", stride=2)
        with pytest.raises(TypeError, match=r"scale_pos_embed.*1"):
            convert(self.good, "timm-halo", scale_pos_embed=1)
        with pytest.raises(ValueError, match=r"qkv\.weight.*rows \[12, 12, 0\]"):
            convert(self.good, "timm-bottleneck", num_heads=3)
        for wrong in (2.0, "2", True):
            with pytest.raises(TypeError, match=f"num_heads must be.*{wrong!r}"):
                convert(self.good, "timm-bottleneck", num_heads=wrong)
        state = self.good | {"qkv.weight": torch.zeros(28, 3, 1, 1)}
        with pytest.raises(ValueError, match=r"qkv\.weight=4, num_heads=3"):
            convert(state, "timm-bottleneck", num_heads=3)
