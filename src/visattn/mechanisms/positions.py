"""Positions: what is added so that attention knows where a token is.

Shapes: B batch, N heads, T queries, S keys, L length, D dim, H W map.
Offsets are key minus query, in the order (row, column).
"""

import math
import sys

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from visattn.mechanisms._checks import (
    check_float_dtype,
    check_map,
    check_multiple,
    check_positive,
    check_same_kind,
    check_tensor,
    shape_of,
)

__all__ = [
    "LearnedPosition2d",
    "coord_channels",
    "quadratic_encoding",
    "quadratic_encoding_loop",
    "relative_logits_1d",
    "relative_logits_1d_loop",
    "relative_logits_2d",
    "relative_logits_2d_loop",
    "relative_offsets_2d",
    "relative_scores",
    "relative_scores_loop",
    "relative_to_absolute",
    "relative_to_absolute_loop",
    "sinusoidal_1d",
    "sinusoidal_1d_loop",
    "sinusoidal_2d",
    "sinusoidal_2d_loop",
]


# Absolute positions ------------------------------------------------------------------


def _check_base(base: float) -> float:
    if isinstance(base, bool) or not isinstance(base, int | float):
        raise TypeError(f"base must be a number, got {base!r}")
    if not 0 < base < math.inf or base > sys.float_info.max:
        raise ValueError(f"base must be finite and positive, got {str(base)[:20]}")
    return float(base)


def sinusoidal_1d_loop(
    length: int,
    dim: int,
    *,
    base: float = 10000.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "T D"]:
    """Sinusoidal encoding, one position and one pair of channels at a time.

    Same arguments, result and errors as `sinusoidal_1d`, of which it is the oracle.
    """
    check_positive(length=length, dim=dim)
    check_multiple("dim", dim, 2, "sine and cosine")
    base, dtype = _check_base(base), check_float_dtype(dtype)
    rows = []
    for t in range(length):
        row = []
        for i in range(dim // 2):
            angle = t / base ** (2 * i / dim)
            row += [math.sin(angle), math.cos(angle)]
        rows.append(row)
    table = torch.tensor(rows, dtype=torch.float64)
    return table.to(device=device, dtype=dtype)


def sinusoidal_1d(
    length: int,
    dim: int,
    *,
    base: float = 10000.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "T D"]:
    r"""Sinusoidal position encoding of a sequence.

    .. math:: P_{t,2i} = \sin(t / \mathrm{base}^{2i/D}), \qquad
        P_{t,2i+1} = \cos(t / \mathrm{base}^{2i/D})

    Args:
        length: Number of positions T.
        dim: Width D, even.
        base: 10000 in the paper.
        device: Of the result.
        dtype: Of the result; computed in float64 and rounded once.

    Returns:
        [T, D].

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1, an odd dim, a base that is not positive.

    Source: section 3.5 of [vaswani2017]. Chapter: foundations/positions.
    """
    check_positive(length=length, dim=dim)
    check_multiple("dim", dim, 2, "sine and cosine")
    base, dtype = _check_base(base), check_float_dtype(dtype)
    t = torch.arange(length, device=device, dtype=torch.float64)  # [T]
    even = torch.arange(0, dim, 2, device=device, dtype=torch.float64)  # [D/2]
    angle = t[:, None] / base ** (even / dim)  # [T, D/2]
    table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # [T, D]
    return table.to(dtype)


def sinusoidal_2d_loop(
    height: int,
    width: int,
    dim: int,
    *,
    base: float = 10000.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "D H W"]:
    """Two-dimensional sinusoidal encoding, one pixel at a time.

    Same arguments, result and errors as `sinusoidal_2d`, of which it is the oracle.
    """
    check_positive(height=height, width=width, dim=dim)
    check_multiple("dim", dim, 4, "two axes, sine and cosine")
    dtype = check_float_dtype(dtype)
    rows = sinusoidal_1d_loop(height, dim // 2, base=base, dtype=torch.float64)
    columns = sinusoidal_1d_loop(width, dim // 2, base=base, dtype=torch.float64)
    table = torch.zeros(dim, height, width, dtype=torch.float64)
    for i in range(height):
        for j in range(width):
            for c in range(dim // 2):
                table[c, i, j] = rows[i, c]
                table[dim // 2 + c, i, j] = columns[j, c]
    return table.to(device=device, dtype=dtype)


def sinusoidal_2d(
    height: int,
    width: int,
    dim: int,
    *,
    base: float = 10000.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "D H W"]:
    r"""Sinusoidal position encoding of a map.

    .. math:: P_{:,i,j} = \operatorname{concat}(p_i, p_j)

    with p the one-dimensional encoding of width D/2: the first half of the channels
    tells the row, the second half the column.

    Args:
        height: Rows H.
        width: Columns W.
        dim: Channels D, divisible by 4.
        base: 10000 in the paper.
        device: Of the result.
        dtype: Of the result; computed in float64 and rounded once.

    Returns:
        [D, H, W], ready to be added to a map [B, D, H, W].

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1, a dim that 4 does not divide.

    Source: [parmar2018]; compared as "2D Sine" in section 4.5 of [bello2019].
    Chapter: foundations/positions.
    """
    check_positive(height=height, width=width, dim=dim)
    check_multiple("dim", dim, 4, "two axes, sine and cosine")
    dtype = check_float_dtype(dtype)
    half = dim // 2
    rows = sinusoidal_1d(height, half, base=base, device=device, dtype=torch.float64)
    columns = sinusoidal_1d(width, half, base=base, device=device, dtype=torch.float64)
    table = torch.cat(
        [
            rows.mT[:, :, None].expand(half, height, width),
            columns.mT[:, None, :].expand(half, height, width),
        ]
    )  # [D, H, W]
    return table.to(dtype)


class LearnedPosition2d(nn.Module):
    r"""A learned vector for each row and each column, added to the map.

    .. math:: y_{:,i,j} = x_{:,i,j} + \operatorname{concat}(\rho_i, \kappa_j)

    A smaller map uses the first rows and columns of the tables.

    Args:
        channels: Channels C of the map, even.
        height: Largest number of rows.
        width: Largest number of columns.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1, an odd number of channels.

    Differences from the paper: [dosovitskiy2021] learns one vector per pixel; here a
    pixel's vector is made of a row half and a column half, which needs (H + W) C/2
    numbers and not H W C.

    Source: learned tables of [gehring2017]. Chapter: foundations/positions.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        check_positive(channels=channels, height=height, width=width)
        check_multiple("channels", channels, 2, "a row half and a column half")
        self.channels, self.height, self.width = channels, height, width
        self.rows = nn.Parameter(torch.empty(height, channels // 2))
        self.columns = nn.Parameter(torch.empty(width, channels // 2))
        nn.init.trunc_normal_(self.rows, std=0.02)
        nn.init.trunc_normal_(self.columns, std=0.02)

    def table(self, height: int, width: int) -> Float[Tensor, "C H W"]:
        """The encoding of the first ``height`` rows and ``width`` columns.

        Raises:
            ValueError: More rows or columns than the tables have.
        """
        check_positive(height=height, width=width)
        if height > self.height or width > self.width:
            raise ValueError(
                f"the tables cover maps up to {self.height} x {self.width}, "
                f"got {height} x {width}"
            )
        half = self.channels // 2
        rows = self.rows[:height].mT[:, :, None].expand(half, height, width)
        columns = self.columns[:width].mT[:, None, :].expand(half, height, width)
        return torch.cat([rows, columns])  # [C, H, W]

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Add the encoding, in the dtype of x.

        Raises:
            TypeError: x is not a floating-point tensor.
            ValueError: Wrong rank or channels, or a map larger than the tables.
        """
        check_map(x, self.channels, "channels")
        return x + self.table(x.shape[2], x.shape[3]).to(x.dtype)

    def extra_repr(self) -> str:
        """Sizes, for ``print(module)``."""
        return f"channels={self.channels}, height={self.height}, width={self.width}"


def coord_channels(
    height: int,
    width: int,
    *,
    radius: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "C H W"]:
    r"""CoordConv's extra channels: each pixel's row and column, scaled to [-1, 1].

    .. math:: c_0 = \frac{2i}{H-1} - 1, \qquad c_1 = \frac{2j}{W-1} - 1, \qquad
        c_2 = \sqrt{c_0^2 + c_1^2}

    An axis of length 1 has coordinate 0. Use it as
    ``torch.cat([x, coord_channels(H, W).expand(B, -1, -1, -1)], dim=1)``.

    Args:
        height: Rows H.
        width: Columns W.
        radius: Also give the distance from the centre.
        device: Of the result.
        dtype: Of the result.

    Returns:
        [2, H, W], or [3, H, W] with the radius.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1.

    Differences from the paper: its text measures the radius from the point
    (H/2, W/2) in pixels; here it uses the scaled coordinates.

    Source: [liu2018]. Chapter: foundations/positions.
    """
    check_positive(height=height, width=width)
    dtype = check_float_dtype(dtype)
    i = torch.arange(height, device=device, dtype=torch.float64)
    j = torch.arange(width, device=device, dtype=torch.float64)
    rows = 2 * i / (height - 1) - 1 if height > 1 else torch.zeros_like(i)
    columns = 2 * j / (width - 1) - 1 if width > 1 else torch.zeros_like(j)
    channels = list(torch.meshgrid(rows, columns, indexing="ij"))  # each [H, W]
    if radius:
        channels.append(torch.hypot(*channels))
    return torch.stack(channels).to(dtype)


# Relative positions ------------------------------------------------------------------


def _check_relative(x: Tensor) -> int:
    check_tensor(x, "x", "... L M")
    L, M = x.shape[-2:]
    if M != 2 * L - 1:
        raise ValueError(
            f"x must be [..., L, 2L-1]: for L={L} the last axis is {2 * L - 1}, "
            f"got shape {shape_of(x)}"
        )
    return L


def relative_to_absolute_loop(
    x: Float[Tensor, "*B L M"],
) -> Float[Tensor, "*B L L"]:
    """From offsets to positions, one element at a time.

    Same arguments, result and errors as `relative_to_absolute`, of which it is the
    oracle.
    """
    L = _check_relative(x)
    rows = []
    for i in range(L):
        rows.append(torch.stack([x[..., i, j - i + L - 1] for j in range(L)], dim=-1))
    return torch.stack(rows, dim=-2)


def relative_to_absolute(x: Float[Tensor, "*B L M"]) -> Float[Tensor, "*B L L"]:
    r"""The skew: re-cut an array over offsets into an array over positions.

    .. math:: y_{i,j} = x_{i,\; j - i + L - 1}

    No gather and no index table: one column and L-1 numbers are appended, and the same
    memory is cut into rows that are one element shorter, so each row starts one place
    further to the left in its own offsets.

    Args:
        x: [..., L, 2L-1]; column m holds offset m - (L-1).

    Returns:
        [..., L, L].

    Raises:
        TypeError: x is not a floating-point tensor.
        ValueError: The last axis is not 2L-1.

    Source: the skewing of [huang2019], in two dimensions section 3.1.1 of [bello2019].
    Chapter: foundations/positions.

    Example:
        >>> import torch
        >>> x = torch.tensor([[-1.0, 0.0, 1.0]]).repeat(2, 1)  # holds the offset itself
        >>> relative_to_absolute(x).tolist()
        [[0.0, 1.0], [-1.0, 0.0]]
    """
    L = _check_relative(x)
    x = F.pad(x, (0, 1)).flatten(-2)  # [..., L * 2L]
    x = F.pad(x, (0, L - 1))  # [..., (L+1) * (2L-1)]
    x = x.unflatten(-1, (L + 1, 2 * L - 1))
    return x[..., :L, L - 1 :]


def _check_logits_1d(q: Tensor, rel: Tensor, name: str = "rel") -> None:
    check_tensor(q, "q", "... L D")
    check_tensor(rel, name, "M D")
    check_same_kind(**{"q": q, name: rel})
    L, D = q.shape[-2:]
    if rel.shape != (2 * L - 1, D):
        raise ValueError(
            f"{name} must be [2L-1, D] = {[2 * L - 1, D]} for q {shape_of(q)}, "
            f"got {shape_of(rel)}"
        )


def relative_logits_1d_loop(
    q: Float[Tensor, "*B L D"], rel: Float[Tensor, "M D"]
) -> Float[Tensor, "*B L L"]:
    """Relative logits of a sequence, one query and one key at a time.

    Same arguments, result and errors as `relative_logits_1d`, of which it is the
    oracle.
    """
    _check_logits_1d(q, rel)
    L = q.shape[-2]
    rows = []
    for i in range(L):
        row = [(q[..., i, :] * rel[j - i + L - 1]).sum(dim=-1) for j in range(L)]
        rows.append(torch.stack(row, dim=-1))
    return torch.stack(rows, dim=-2)


def relative_logits_1d(
    q: Float[Tensor, "*B L D"], rel: Float[Tensor, "M D"]
) -> Float[Tensor, "*B L L"]:
    r"""Logits of a learned vector per offset.

    .. math:: s_{ij} = q_i^\top r_{j-i}

    Args:
        q: Queries [..., L, D].
        rel: Table [2L-1, D]; row m is r of offset m - (L-1).

    Returns:
        [..., L, L].

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: A table that does not fit.

    Differences from the paper: [shaw2018] clips offsets and adds the vectors also to
    the values; here every offset has its own vector, and only the keys have them.

    Source: eq. 4 of [shaw2018]. Chapter: foundations/positions.
    """
    _check_logits_1d(q, rel)
    return relative_to_absolute(q @ rel.mT)


def check_relative_2d(q: Tensor, rel_height: Tensor, rel_width: Tensor) -> None:
    """Check queries of a map and the tables of its row and column offsets."""
    check_tensor(q, "q", "B N H W D")
    check_tensor(rel_height, "rel_height", "M D")
    check_tensor(rel_width, "rel_width", "M D")
    check_same_kind(q=q, rel_height=rel_height, rel_width=rel_width)
    _, _, H, W, D = q.shape
    if rel_height.shape != (2 * H - 1, D) or rel_width.shape != (2 * W - 1, D):
        raise ValueError(
            f"for q {shape_of(q)} rel_height must be [2H-1, D] = {[2 * H - 1, D]} and "
            f"rel_width [2W-1, D] = {[2 * W - 1, D]}, got {shape_of(rel_height)} "
            f"and {shape_of(rel_width)}"
        )


def relative_logits_2d_loop(
    q: Float[Tensor, "B N H W D"],
    rel_height: Float[Tensor, "M1 D"],
    rel_width: Float[Tensor, "M2 D"],
) -> Float[Tensor, "B N HW HW"]:
    """Relative logits of a map, one query pixel and one key pixel at a time.

    Same arguments, result and errors as `relative_logits_2d`, of which it is the
    oracle.
    """
    check_relative_2d(q, rel_height, rel_width)
    _, _, H, W, _ = q.shape
    rows = []
    for i in range(H):
        for j in range(W):
            row = []
            for a in range(H):
                for b in range(W):
                    r = rel_height[a - i + H - 1] + rel_width[b - j + W - 1]  # [D]
                    row.append((q[:, :, i, j] * r).sum(dim=-1))  # [B, N]
            rows.append(torch.stack(row, dim=-1))
    return torch.stack(rows, dim=-2)


def relative_logits_2d(
    q: Float[Tensor, "B N H W D"],
    rel_height: Float[Tensor, "M1 D"],
    rel_width: Float[Tensor, "M2 D"],
) -> Float[Tensor, "B N HW HW"]:
    r"""Logits of a learned vector per row offset and one per column offset.

    .. math:: s_{(i,j),(a,b)} = q_{ij}^\top \left(r^H_{a-i} + r^W_{b-j}\right)

    The products with the tables are [H, W, 2H-1] and [H, W, 2W-1] numbers for a head;
    no array of (HW)^2 D numbers exists.

    Args:
        q: Queries [B, N, H, W, D]. They are used as given: pass q / sqrt(D) where the
            formula scales the relative term too, as in [bello2019].
        rel_height: [2H-1, D]; row m is r^H of row offset m - (H-1).
        rel_width: [2W-1, D]; row m is r^W of column offset m - (W-1).

    Returns:
        [B, N, H*W, H*W], tokens in row-major order.

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Tables that do not fit.

    Source: section 3.1.1 of [bello2019]. Chapter: foundations/positions.
    """
    check_relative_2d(q, rel_height, rel_width)
    along_width = relative_logits_1d(q, rel_width)  # [B, N, H, W, W]
    along_height = relative_logits_1d(q.transpose(2, 3), rel_height)  # [B, N, W, H, H]
    logits = rearrange(along_height, "B N W H A -> B N H W A 1") + rearrange(
        along_width, "B N H W C -> B N H W 1 C"
    )  # [B, N, H, W, H, W]
    return rearrange(logits, "B N H W A C -> B N (H W) (A C)")


def relative_offsets_2d(
    height: int, width: int, *, device: torch.device | str | None = None
) -> Int64[Tensor, "HW HW 2"]:
    """Offset (row, column) of every key pixel from every query pixel: key - query.

    Args:
        height: Rows H.
        width: Columns W.
        device: Of the result.

    Returns:
        [H*W, H*W, 2], tokens in row-major order.

    Raises:
        TypeError: A size that is not an integer.
        ValueError: A size below 1.

    Source: section 2.3 of [cordonnier2020]. Chapter: foundations/positions.

    Example:
        >>> relative_offsets_2d(1, 2).tolist()
        [[[0, 0], [0, 1]], [[0, -1], [0, 0]]]
    """
    check_positive(height=height, width=width)
    place = torch.stack(
        torch.meshgrid(
            torch.arange(height, device=device),
            torch.arange(width, device=device),
            indexing="ij",
        ),
        dim=-1,
    ).reshape(-1, 2)  # [HW, 2]
    return place[None, :] - place[:, None]


def _check_scores(q: Tensor, k: Tensor, r: Tensor, u: Tensor, v: Tensor) -> None:
    check_tensor(q, "q", "B N T D")
    check_tensor(k, "k", "B N S D")
    check_tensor(r, "r", "N T S D")
    check_tensor(u, "u", "N D")
    check_tensor(v, "v", "N D")
    check_same_kind(q=q, k=k, r=r, u=u, v=v)
    (B, N, T, D), S = q.shape, k.shape[2]
    wanted = {"k": [B, N, S, D], "r": [N, T, S, D], "u": [N, D], "v": [N, D]}
    for name, x in (("k", k), ("r", r), ("u", u), ("v", v)):
        if list(x.shape) != wanted[name]:
            raise ValueError(
                f"{name} must be {wanted[name]} for q {shape_of(q)} and S={S} keys, "
                f"got {shape_of(x)}"
            )


def relative_scores_loop(
    q: Float[Tensor, "B N T D"],
    k: Float[Tensor, "B N S D"],
    r: Float[Tensor, "N T S D"],
    u: Float[Tensor, "N D"],
    v: Float[Tensor, "N D"],
    *,
    return_terms: bool = False,
) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The four terms, one query and one key at a time.

    Same arguments, result and errors as `relative_scores`, of which it is the oracle.
    """
    _check_scores(q, k, r, u, v)
    (B, N, T, _), S = q.shape, k.shape[2]
    terms: list[list[Tensor]] = [[], [], [], []]
    for n in range(B):
        for h in range(N):
            for i in range(T):
                for j in range(S):
                    terms[0].append(q[n, h, i] @ k[n, h, j])
                    terms[1].append(q[n, h, i] @ r[h, i, j])
                    terms[2].append(u[h] @ k[n, h, j])
                    terms[3].append(v[h] @ r[h, i, j])
    content, position, content_bias, position_bias = (
        torch.stack(term).reshape(B, N, T, S) for term in terms
    )
    scores = content + position + content_bias + position_bias
    if return_terms:
        return scores, (content, position, content_bias, position_bias)
    return scores


def relative_scores(
    q: Float[Tensor, "B N T D"],
    k: Float[Tensor, "B N S D"],
    r: Float[Tensor, "N T S D"],
    u: Float[Tensor, "N D"],
    v: Float[Tensor, "N D"],
    *,
    return_terms: bool = False,
) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    r"""Transformer-XL's four terms: content and position of the key, asked twice.

    .. math:: A_{qk} = X_q^\top W_{qry}^\top W_{key} X_k
        + X_q^\top W_{qry}^\top \widehat{W}_{key} r_\delta
        + u^\top W_{key} X_k + v^\top \widehat{W}_{key} r_\delta,
        \qquad \delta = k - q

    Once the query asks (terms 1 and 2), once the head asks for every query alike
    (terms 3 and 4). The result is not scaled.

    Args:
        q: W_qry X, [B, N, T, D].
        k: W_key X, [B, N, S, D].
        r: Position key of every pair, W-hat_key r_delta, [N, T, S, D].
        u: Content bias of each head, already in the space of k, [N, D].
        v: Position bias of each head, already in the space of r, [N, D].
        return_terms: Also return the four terms in the order of the formula, each
            [B, N, T, S].

    Returns:
        Scores [B, N, T, S], or (scores, four terms).

    Raises:
        TypeError: Not floating-point tensors, different dtypes.
        ValueError: Shapes that do not fit.

    Differences from the paper: none. The authors' code of [dai2019] divides the sum by
    sqrt(D) afterwards.

    Source: section 3.3 of [dai2019]; eq. 8 of [cordonnier2020].
    Chapter: foundations/positions.
    """
    _check_scores(q, k, r, u, v)
    B, _, T, _ = q.shape
    content = torch.einsum("bntd,bnsd->bnts", q, k)
    position = torch.einsum("bntd,ntsd->bnts", q, r)
    content_bias = torch.einsum("nd,bnsd->bns", u, k)[:, :, None].expand(-1, -1, T, -1)
    position_bias = torch.einsum("nd,ntsd->nts", v, r).expand(B, -1, -1, -1)
    scores = content + position + content_bias + position_bias
    if return_terms:
        terms = content, position, content_bias.clone(), position_bias.clone()
        return scores, terms
    return scores


def _check_offsets(offsets: Tensor) -> Tensor:
    if not isinstance(offsets, Tensor):
        raise TypeError(f"offsets must be a tensor, got {type(offsets).__name__}")
    if offsets.dtype == torch.bool or offsets.is_complex():
        raise TypeError(f"offsets must be real numbers, got dtype {offsets.dtype}")
    if offsets.ndim < 1 or offsets.shape[-1] != 2 or offsets.numel() == 0:
        raise ValueError(
            "offsets must be [..., 2] = (row, column) and not empty, got shape "
            f"{shape_of(offsets)}"
        )
    if not offsets.is_floating_point():
        offsets = offsets.to(torch.get_default_dtype())
    return offsets


def quadratic_encoding_loop(
    offsets: Shaped[Tensor, "*B 2"],
) -> Float[Tensor, "*B 3"]:
    """The quadratic encoding, one offset at a time.

    Same arguments, result and errors as `quadratic_encoding`, of which it is the
    oracle.
    """
    offsets = _check_offsets(offsets)
    rows = []
    for d1, d2 in offsets.reshape(-1, 2):
        rows.append(torch.stack([d1 * d1 + d2 * d2, d1, d2]))
    return torch.stack(rows).reshape(*offsets.shape[:-1], 3)


def quadratic_encoding(offsets: Shaped[Tensor, "*B 2"]) -> Float[Tensor, "*B 3"]:
    r"""The quadratic encoding of an offset.

    .. math:: r_\delta = \left(\lVert\delta\rVert^2, \delta_1, \delta_2\right)

    With :math:`v = -\alpha\,(1, -2\Delta_1, -2\Delta_2)` the score
    :math:`v^\top r_\delta = -\alpha(\lVert\delta - \Delta\rVert^2 -
    \lVert\Delta\rVert^2)` is largest at the offset :math:`\Delta`.

    Args:
        offsets: [..., 2], key minus query, (row, column). Integers are turned into the
            default floating-point dtype.

    Returns:
        [..., 3].

    Raises:
        TypeError: Not a tensor of real numbers.
        ValueError: The last axis is not 2.

    Source: eq. 9 of [cordonnier2020]. Chapter: foundations/positions.

    Example:
        >>> import torch
        >>> quadratic_encoding(torch.tensor([[1, -2]])).tolist()
        [[5.0, 1.0, -2.0]]
    """
    offsets = _check_offsets(offsets)
    return torch.cat([offsets.square().sum(dim=-1, keepdim=True), offsets], dim=-1)
