"""Every mechanism on the same map: what it costs, what it sees, what it respects.

`inspect_layer` asks the layer itself: it counts parameters and multiply-adds, measures
memory, finds the pixels that an output depends on by their gradient, and tests
symmetries. No verdict is written down anywhere. Each test gives a relative error; the
verdict is whether the error is below a tolerance.

Shapes: B batch, C channels, H W map.
"""

import copy
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from visattn.lab.measure import count_macs, peak_bytes
from visattn.mechanisms._checks import check_divisible, check_pair, check_positive
from visattn.mechanisms.augmented import AAConv2d
from visattn.mechanisms.axial import (
    AxialAttention2d,
    ChannelizedAxialAttention2d,
    PositionSensitiveAxialAttention2d,
)
from visattn.mechanisms.convolution import QuadraticAttention2d
from visattn.mechanisms.coordinate import CoordinateAttention
from visattn.mechanisms.gates import BAM, CBAM, SqueezeExcitation
from visattn.mechanisms.halo import HaloAttention2d
from visattn.mechanisms.local import LocalAttention2d
from visattn.mechanisms.multi_head import MultiHeadSelfAttention
from visattn.mechanisms.non_local import CrissCrossAttention2d, NonLocal2d
from visattn.mechanisms.san import PairwiseAttention2d, PatchwiseAttention2d

Layer = Callable[[Tensor], Tensor]

# The layers ---------------------------------------------------------------------------

_BUILD: dict[str, Callable[..., nn.Module]] = {
    "convolution": lambda C, N, H, W, K, b, h: nn.Conv2d(C, C, K, padding=K // 2),
    "multi_head": lambda C, N, H, W, K, b, h: MultiHeadSelfAttention(C, N),
    "quadratic": lambda C, N, H, W, K, b, h: QuadraticAttention2d(C, C, N),
    "augmented": lambda C, N, H, W, K, b, h: AAConv2d(
        C, C, K, C // 2, C // 4, N, (H, W)
    ),
    "local": lambda C, N, H, W, K, b, h: LocalAttention2d(C, C, K, N),
    "halo": lambda C, N, H, W, K, b, h: HaloAttention2d(C, C, b, h, N),
    "pairwise": lambda C, N, H, W, K, b, h: PairwiseAttention2d(C, C // 4, C, K),
    "patchwise": lambda C, N, H, W, K, b, h: PatchwiseAttention2d(C, C // 4, C, K),
    "squeeze_excitation": lambda C, N, H, W, K, b, h: SqueezeExcitation(C),
    "cbam": lambda C, N, H, W, K, b, h: CBAM(C),
    "bam": lambda C, N, H, W, K, b, h: BAM(C),
    "coordinate": lambda C, N, H, W, K, b, h: CoordinateAttention(C),
    "non_local": lambda C, N, H, W, K, b, h: NonLocal2d(C),
    "criss_cross": lambda C, N, H, W, K, b, h: CrissCrossAttention2d(C),
    "axial": lambda C, N, H, W, K, b, h: nn.Sequential(
        AxialAttention2d(C, C, N, "height"), AxialAttention2d(C, C, N, "width")
    ),
    "position_sensitive": lambda C, N, H, W, K, b, h: nn.Sequential(
        PositionSensitiveAxialAttention2d(C, C, N, H, "height"),
        PositionSensitiveAxialAttention2d(C, C, N, W, "width"),
    ),
    "channelized": lambda C, N, H, W, K, b, h: ChannelizedAxialAttention2d(
        C, C, C // 8
    ),
}


def build_layer(
    name: str,
    *,
    channels: int = 64,
    num_heads: int = 4,
    height: int = 56,
    width: int = 56,
    kernel_size: int = 7,
    block_size: int = 8,
    halo_size: int = 3,
) -> nn.Module:
    """The layer of a mechanism that the comparisons are about.

    Input and output have ``channels`` channels. What the mechanism does not need is
    not used. The widths inside are those of the papers' networks: an augmented
    convolution has half of the channels in its keys and a quarter in its values,
    pairwise and patchwise attention have a quarter in their relation and eight
    channels a weight, channelized attention an eighth in its keys. Axial mechanisms
    are two layers, along the height and along the width.
    """
    if name not in _BUILD:
        raise ValueError(f"name must be one of {', '.join(_BUILD)}, got {name!r}")
    check_positive(channels=channels, num_heads=num_heads, height=height, width=width)
    check_divisible("channels", channels, "8", 8)
    sizes = num_heads, height, width, kernel_size, block_size, halo_size
    return _BUILD[name](channels, *sizes)


def list_layers() -> list[str]:
    """The names that `build_layer` knows, in the order of the comparison."""
    return list(_BUILD)


def awaken(layer: nn.Module, *, seed: int = 0) -> nn.Module:
    """Give random values to whatever starts as a constant, in place.

    A block that starts at zero is the identity, and the identity respects everything:
    a test of it proves nothing. The statistics of batch norms get random values too.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(x: Tensor, mean: float, std: float) -> None:
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        x.copy_(mean + std * noise)

    with torch.no_grad():
        for x in layer.parameters():
            if x.numel() == 1 or x.min() == x.max():
                normal(x, 1.0 if x.min() == 1 else 0.0, 0.5)
        for module in layer.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                normal(module.running_mean, 0.0, 0.2)
                normal(module.running_var, 0.0, 0.2)
                module.running_var.abs_().add_(0.5)
    return layer


# The tests ----------------------------------------------------------------------------


def _error(found: Tensor, expected: Tensor) -> float:
    """Largest difference, as a share of the largest number."""
    found, expected = found.detach(), expected.detach()
    scale = expected.abs().max().clamp_min(1e-300)
    return float((found - expected).abs().max() / scale)


def permutation_error(
    layer: Layer, x: Float[Tensor, "B C H W"], *, seed: int = 0
) -> float:
    """How much it matters whether pixels are shuffled before or after the layer."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(x[0, 0].numel(), generator=generator).to(x.device)

    def shuffle(u: Tensor) -> Tensor:
        return u.flatten(2)[:, :, order].view(u.shape)

    return _error(layer(shuffle(x)), shuffle(layer(x)))


def translation_error(
    layer: Layer, x: Float[Tensor, "B C H W"], step: int = 1, margin: int = 0
) -> float:
    """How much it matters whether the map is moved before or after the layer.

    The map is moved down by ``step`` pixels, and to the right by ``step`` pixels; what
    leaves it comes back on the other side. The larger of the two errors counts.

    Args:
        layer: Keeps the size of its map.
        x: Map [B, C, H, W].
        step: Pixels.
        margin: Only output pixels that are at least so far from every border, before
            and after the move, are compared. 0 compares all of them, on a torus.

    Raises:
        ValueError: A margin that leaves no pixel.
    """
    H, W = x.shape[2:]
    first = margin + step if margin else 0
    if margin < 0 or first + margin >= min(H, W):
        raise ValueError(
            f"margin={margin} leaves no pixel of a map of {H} x {W} moved by {step}"
        )
    inside = (..., slice(first, H - margin), slice(first, W - margin))
    y = layer(x)
    errors = []
    for axis in (2, 3):
        found, expected = layer(x.roll(step, axis)), y.roll(step, axis)
        errors.append(_error(found[inside], expected[inside]))
    return max(errors)


def transposition_error(
    layer: Layer, x: Float[Tensor, "B C H W"], partner: Layer
) -> float:
    """How much ``partner(x^T)`` differs from the transpose of ``layer(x)``."""
    return _error(partner(x.mT), layer(x).mT)


def content_error(layer: Layer, x: Float[Tensor, "B C H W"]) -> float:
    """How far the layer is from ``A x + b`` with an A that does not see x.

    Weights that do not depend on the content give f(x + z) = f(x) + f(z) - f(0).
    """
    z = x.flip(0, 1, 2, 3)
    return _error(layer(x + z), layer(x) + layer(z) - layer(torch.zeros_like(x)))


def receptive_field(
    layer: Layer,
    x: Float[Tensor, "B C H W"],
    query: tuple[int, int],
    *,
    least: float = 1e-12,
) -> Bool[Tensor, "H W"]:
    """The pixels that the output at a pixel depends on, by their gradient.

    Args:
        layer: Any function of a map.
        x: Map [B, C, H, W]; only the first image is used.
        query: Row and column of the output pixel.
        least: A pixel counts where the gradient of some channel is larger than this
            share of the largest one.
    """
    x = x[:1].detach().clone().requires_grad_()
    pixel = layer(x)[0, :, query[0], query[1]]
    mixture = torch.linspace(0.5, 1.5, len(pixel), dtype=x.dtype, device=x.device)
    (gradient,) = torch.autograd.grad((mixture * pixel).sum(), x)
    size = gradient[0].abs().amax(dim=0)  # [H, W]
    return size > least * size.max()


_SWAPS = (
    ("relative_rows", "relative_cols"),
    ("relative_height", "relative_width"),
    ("key_rel_h", "key_rel_w"),
    ("expand_h", "expand_w"),
    ("column_key", "row_key"),
    ("column_gate", "row_gate"),
)


def transposed(layer: nn.Module) -> nn.Module:
    """A copy of a layer of this book with its row and column parameters swapped.

    Kernels are transposed, tables and modules of rows and columns change places, and
    an axis becomes the other one. What has neither stays as it is.
    """
    layer = copy.deepcopy(layer)
    with torch.no_grad():
        for module in layer.modules():
            _transpose(module)
    return layer


def _transpose(module: nn.Module) -> None:
    for rows, cols in _SWAPS:
        if getattr(module, rows, None) is not None:
            ours, theirs = getattr(module, rows), getattr(module, cols)
            setattr(module, rows, theirs)
            setattr(module, cols, ours)
    if isinstance(module, nn.Conv2d):
        module.weight.copy_(module.weight.mT.clone())
    elif isinstance(module, LocalAttention2d):
        for projection in (module.query, module.key):  # rows: half of a head's channels
            halves = projection.weight.unflatten(0, (module.num_heads, 2, -1))
            projection.weight.copy_(halves.flip(1).flatten(0, 2))
    elif isinstance(module, AAConv2d):
        module.size = module.size[::-1]
    elif isinstance(module, AxialAttention2d | PositionSensitiveAxialAttention2d):
        module.axis = "width" if module.axis == "height" else "height"
    elif isinstance(module, QuadraticAttention2d):
        module.centers.copy_(module.centers.flip(1))
    elif isinstance(module, PairwiseAttention2d):
        module.position.weight.copy_(module.position.weight.flip(1))
    elif isinstance(module, PatchwiseAttention2d):
        _transpose_places(module)


def _transpose_places(layer: PatchwiseAttention2d) -> None:
    """Reorder what gamma of the relation "concatenation" gives to each place."""
    K, R, G = layer.kernel_size, layer.relation_channels, layer.groups
    places = torch.arange(K * K).view(K, K).T.flatten()
    window = R + (torch.arange(R)[:, None] * K * K + places).flatten()
    inputs = torch.cat([torch.arange(R), window])
    outputs = (torch.arange(G)[:, None] * K * K + places).flatten()
    norm, first, last = layer.gamma[0], layer.gamma[2], layer.gamma[5]
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(first, nn.Conv2d)
    assert isinstance(last, nn.Conv2d)
    for x in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert x is not None
        x.copy_(x[inputs].clone())
    first.weight.copy_(first.weight[:, inputs].clone())
    last.weight.copy_(last.weight[outputs].clone())
    assert last.bias is not None
    last.bias.copy_(last.bias[outputs].clone())


# The report ---------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerReport:
    """What a layer costs, sees and respects on one map.

    Attributes:
        parameters: Trained numbers.
        macs: Multiply-adds of matrix products and convolutions, forward, one image.
        forward_bytes: Peak memory of the forward pass, beyond input and parameters.
        training_bytes: Peak memory of the forward and the backward pass.
        receptive_field: [H, W], the pixels that the output of the middle pixel depends
            on, in evaluation mode.
        permutation: Error of shuffled pixels.
        translation: Error of a move by one pixel, on the whole map, on a torus.
        interior: The same, only for output pixels far from the border.
        block_translation: As ``interior``, for a move by one block.
        transposition: Error of the transposed map, with row and column parameters
            swapped.
        content: How far the layer is from fixed weights.
        any_size: Whether it takes a map of another size.
        tolerance: Errors below this are called zero.
    """

    parameters: int
    macs: int
    forward_bytes: int
    training_bytes: int
    receptive_field: Bool[Tensor, "H W"]
    permutation: float
    translation: float
    interior: float
    block_translation: float
    transposition: float
    content: float
    any_size: bool
    tolerance: float

    @property
    def respects_permutation(self) -> bool:
        """Whether shuffled pixels give shuffled outputs."""
        return self.permutation < self.tolerance

    @property
    def respects_translation(self) -> str:
        """``"everywhere"``, ``"inside"``, ``"by blocks"`` or ``"no"``."""
        for error, verdict in (
            (self.translation, "everywhere"),
            (self.interior, "inside"),
            (self.block_translation, "by blocks"),
        ):
            if error < self.tolerance:
                return verdict
        return "no"

    @property
    def respects_transposition(self) -> bool:
        """Whether rows and columns are treated alike."""
        return self.transposition < self.tolerance

    @property
    def sees_content(self) -> bool:
        """Whether the weights depend on the image."""
        return self.content > self.tolerance

    @property
    def seen(self) -> int:
        """Pixels in the receptive field."""
        return int(self.receptive_field.sum())


def inspect_layer(
    layer: nn.Module,
    channels: int,
    size: int | tuple[int, int] = (32, 40),
    *,
    block_size: int = 8,
    margin: int = 10,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> LayerReport:
    """Ask a layer what it costs, what it sees and what it respects.

    The layer stays as it is; copies are tested, in float64 and in evaluation mode,
    with random values in place of what starts as a constant. Memory is measured in
    float32 and training mode, for two images.

    Args:
        layer: Keeps the size of the map and the number of channels.
        channels: C.
        size: Rows and columns of the map, or one number for both.
        block_size: Step of the translation by a block; it should divide the size.
        margin: Distance from the border that counts as inside. The map moves on a
            torus, so a window that reaches further than this fails.
        tolerance: Relative errors below this are called zero.
        seed: Of the map.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below one, or a margin that leaves no pixel.
    """
    check_positive(channels=channels, block_size=block_size)
    H, W = check_pair("size", size)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, channels, H, W, generator=generator, dtype=torch.float64)
    tested = awaken(copy.deepcopy(layer).double().eval())
    partner = transposed(tested)
    field = receptive_field(tested, x, (H // 2, W // 2))
    with torch.no_grad():
        report = {
            "permutation": permutation_error(tested, x),
            "translation": translation_error(tested, x),
            "interior": translation_error(tested, x, margin=margin),
            "block_translation": translation_error(tested, x, block_size, margin),
            "transposition": _attempt(lambda: transposition_error(tested, x, partner)),
            "content": content_error(tested, 10 * x),  # some weights start small
        }
        other = _attempt(lambda: tested(x[:, :, : H - 1, : W - 2]).sum().item())
        macs = count_macs(lambda: tested(x))
    two = x.float().repeat(2, 1, 1, 1)
    costs = _memory(copy.deepcopy(layer).float().train(), two)
    return LayerReport(
        parameters=sum(p.numel() for p in layer.parameters() if p.requires_grad),
        macs=macs,
        forward_bytes=costs[0],
        training_bytes=costs[1],
        receptive_field=field,
        any_size=math.isfinite(other),
        tolerance=tolerance,
        **report,
    )


def _attempt(work: Callable[[], float]) -> float:
    """Its result; infinity where it refuses its argument."""
    with suppress(ValueError):
        return work()
    return math.inf


def _memory(layer: nn.Module, x: Tensor) -> tuple[int, int]:
    """Peak bytes of the forward pass, and of both passes."""
    g = torch.randn_like(x)
    source = x.clone().requires_grad_()
    inputs: list[Tensor] = [source, *layer.parameters()]

    def forward() -> Tensor:
        with torch.no_grad():
            y: Tensor = layer(x)
            return y

    def both() -> object:
        y: Tensor = layer(source)
        return torch.autograd.grad(y, inputs, g, allow_unused=True)

    both()  # the first call may allocate what stays
    return peak_bytes(forward), peak_bytes(both)
