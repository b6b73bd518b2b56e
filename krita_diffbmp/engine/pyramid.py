"""Bitmaps to texels: premultiplied mip pyramids, sharp or softened, in the layout of csrc/render.h.

Level k of a bitmap of w x h pixels is max(1, round(w 2^(-k/2))) x max(1, round(h 2^(-k/2))) texels that
cover the same rectangle, down to a single texel. Every reduction is the exact average over the area of the
new texel, so the sum of alpha times texel area is the same in every level and no edge is renormalised.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from krita_diffbmp.engine.scene import LEVEL_FIELDS, Bitmaps
from krita_diffbmp.problem import FloatArray

BLUR_REACH = 3.0  # a blurred bitmap is padded by this many standard deviations
BLUR_TEXELS = 6.0  # a standard deviation of so many texels blurs a coarser level as well as a finer one, and far faster
SMALL = 1 << 19  # values of a bitmap, all channels, below which one thread is faster than several
SCALE_MARGIN = 1.01  # on scales, so that rounding never asks for a level that was left out

# [P] the smallest and the largest scale that each bitmap is drawn at, canvas px per bitmap px.
Scales = Sequence[tuple[float, float]]


def pack(
    bitmaps: Sequence[FloatArray],
    *,
    sigma: float = 0.0,
    scales: Scales | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Bitmaps:
    """Builds the pyramids of P bitmaps, each [h, w, C + 1] straight alpha.

    `sigma` blurs, see `soften`. Levels too fine or too coarse for `scales` are left out.

    Raises ValueError for no bitmaps, or bitmaps with different numbers of channels.
    """
    if not bitmaps:
        raise ValueError("pack needs at least one bitmap")
    if len({pixels.shape[2] for pixels in bitmaps}) > 1:
        raise ValueError("the bitmaps have different numbers of channels")
    sizes = [(pixels.shape[1], pixels.shape[0]) for pixels in bitmaps]
    pyramids = []
    with _threads_for(max(pixels.size for pixels in bitmaps)):
        for index, pixels in enumerate(bitmaps):
            count = level_count(*sizes[index])
            drawn = _drawn_levels(scales, index, count)
            levels = _sharp_pyramid(_premultiplied(pixels, dtype), drawn)
            pyramids.append(levels + [None] * (count - len(levels)))
        packed = _lay_out(sizes, pyramids, device, bitmaps[0].shape[2])
    return soften(packed, sigma) if sigma > 0 else packed


def soften(bitmaps: Bitmaps, sigma: float, *, color: bool = True, scales: Scales | None = None) -> Bitmaps:
    """Blurs every bitmap by a Gaussian whose standard deviation is `sigma` times its longest side.

    Relative to the bitmap, so that the blur reaches the same fraction of an instance whatever resolution the
    artist painted in. The bitmap grows by 3 standard deviations of transparency on all sides: its centre stays,
    and a scale means the same for the sharp and the softened bitmap. Without `color` only alpha is, and the planes of
    colour are left at 0: nothing draws them where mu_blend is 0. `scales` are those of `pack`, for what is drawn
    softened.
    """
    sizes, pyramids = [], []
    weights = functools.cache(_blur_weights)  # bitmaps of one size share theirs
    with _threads_for(int(bitmaps.levels[:, 0, 1:3].prod(1).max()) * (bitmaps.channels + 1)):
        for index in range(bitmaps.levels.shape[0]):
            width, height = level_size(bitmaps, index, 0)
            spread = sigma * max(width, height)
            pad = math.ceil(BLUR_REACH * spread)
            soft_width, soft_height = width + 2 * pad, height + 2 * pad
            every = range(level_count(width, height))
            sharp = {level: texels for level in every if (texels := level_texels(bitmaps, index, level)) is not None}
            ample = math.floor(2 * math.log2(max(spread / BLUR_TEXELS, 1.0)))
            count = level_count(soft_width, soft_height)
            drawn = _drawn_levels(scales, index, count)
            levels: list[Tensor | None] = []
            for level in range(count):
                if level not in drawn or level < min(sharp, default=count):
                    levels.append(None)
                    continue
                # The padded bitmap has more levels than the sharp one: the last of those serves them all.
                source = sharp[min(max(level, ample), max(sharp))]
                rows = weights(source.shape[1], height, size_at(soft_height, level), pad, spread)
                columns = weights(source.shape[2], width, size_at(soft_width, level), pad, spread)
                levels.append(rows.to(source) @ (source if color else source[-1:]) @ columns.to(source).T)
            sizes.append((soft_width, soft_height))
            pyramids.append(levels)
        return _lay_out(sizes, pyramids, bitmaps.texels.device, bitmaps.texels.shape[0])


@contextlib.contextmanager
def _threads_for(values: int) -> Iterator[None]:
    """One thread for work on arrays of few values: to wake the others for each takes longer than they save."""
    before = torch.get_num_threads()
    if values < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _drawn_levels(scales: Scales | None, index: int, count: int) -> range:
    """Those, of `count`, that are ever drawn of a bitmap."""
    if scales is None:
        return range(count)
    least, most = scales[index]
    return range(nearest_level(most * SCALE_MARGIN, count), nearest_level(least / SCALE_MARGIN, count) + 1)


def size_at(size: int, level: int) -> int:
    """Texels of a level along a side of `size` bitmap pixels."""
    return max(1, math.floor(size * math.exp2(-level / 2) + 0.5))


def level_count(width: int, height: int) -> int:
    """Number of levels of a bitmap, the last being a single texel."""
    level = 0
    while size_at(max(width, height), level) > 1:
        level += 1
    return level + 1


def nearest_level(scale: float, count: int) -> int:
    """The level that is drawn at a scale (canvas px per bitmap px), of a bitmap of `count` levels."""
    return min(max(round(-2.0 * math.log2(scale)), 0), count - 1) if scale > 0 else count - 1


def nearest_levels(bitmaps: Bitmaps, bitmap: Tensor, scale: Tensor) -> Tensor:
    """`nearest_level` for N instances: [N] int64, from bitmap [N] and scale [N] > 0."""
    count = (bitmaps.levels[:, :, 1] > 0).sum(1).to(scale.device)[bitmap.long()]
    level = torch.round(-2.0 * torch.log2(scale.detach())).long()
    return torch.minimum(level.clamp(min=0), count - 1)


def level_size(bitmaps: Bitmaps, index: int, level: int) -> tuple[int, int]:
    """(width, height) of a level in texels; those of level 0 are the bitmap's pixels."""
    width, height = bitmaps.levels[index, level, 1:3].tolist()
    return width, height


def level_texels(bitmaps: Bitmaps, index: int, level: int) -> Tensor | None:
    """View of a level's texels, [C + 1, height, width] premultiplied without border; None where left out."""
    offset, width, height, x0, _, x1, _ = bitmaps.levels[index, level].tolist()
    if x0 >= x1:
        return None
    block = bitmaps.texels[:, offset : offset + (width + 2) * (height + 2)]
    return block.view(-1, height + 2, width + 2)[:, 1:-1, 1:-1]


def _premultiplied(pixels: FloatArray, dtype: torch.dtype) -> Tensor:
    """Straight [h, w, C + 1] to premultiplied planes [C + 1, h, w]."""
    straight = torch.from_numpy(pixels)
    height, width, count = straight.shape
    planes = torch.empty(count, height, width, dtype=dtype)
    alpha = planes[-1].copy_(straight[..., -1])
    transparent = alpha <= 0
    for index in range(count - 1):
        # The colour of a transparent pixel is unspecified and may be anything, even NaN.
        planes[index].copy_(straight[..., index]).mul_(alpha).masked_fill_(transparent, 0)
    return planes


def _sharp_pyramid(planes: Tensor, drawn: range) -> list[Tensor | None]:
    """Levels of a premultiplied [C + 1, h, w] up to the last in `drawn`; those that are not in it are None."""
    _, height, width = planes.shape
    levels: list[Tensor | None] = [planes]
    for level in range(1, drawn.stop):
        if level < drawn.start and level % 2 == 1:
            levels.append(None)
            continue
        # Even levels form a chain of halvings, which smears nothing; odd levels are cut from it, not from each other.
        source = levels[level - 2 if level % 2 == 0 else max(level - 3, 0)]
        assert source is not None
        smaller = area_resize(source, size_at(height, level), dim=1)
        levels.append(area_resize(smaller, size_at(width, level), dim=2))
    levels[: drawn.start] = [None] * drawn.start
    return levels


def area_resize(planes: Tensor, size: int, dim: int) -> Tensor:
    """Averages along a dimension over `size` equal cells of it."""
    old = planes.shape[dim]
    if size == old:
        return planes
    edges = torch.arange(size + 1, dtype=torch.float64) * (old / size)
    low, high = edges[:-1], edges[1:]
    first = low.floor().long()
    shape = [1] * planes.dim()
    shape[dim] = size
    out: Tensor | None = None
    for tap in range(math.ceil(old / size) + 1):
        texel = first + tap
        overlap = (torch.minimum(high, texel + 1.0) - torch.maximum(low, texel.double())).clamp(min=0)
        weight = (overlap * (size / old)).to(planes).view(shape)
        term = planes.index_select(dim, texel.clamp(max=old - 1)).mul_(weight)
        out = term if out is None else out.add_(term)
    assert out is not None
    return out


def _blur_weights(source: int, size: int, cells: int, pad: int, spread: float) -> Tensor:
    """Weights [cells, source] that blur one side of a bitmap while padding and resampling it.

    The side is `size` bitmap px in `source` texels; the cells cover size + 2 pad px around the same centre. The
    weight of a texel in a cell is the mean over the cell of the Gaussian's integral over the texel.
    """
    cell = (size + 2 * pad) / cells
    cell_edges = torch.arange(cells + 1, dtype=torch.float64) * cell - pad
    texel_edges = torch.arange(source + 1, dtype=torch.float64) * (size / source)
    z = (cell_edges[:, None] - texel_edges[None, :]) / spread
    density = torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    # The Gaussian integrated twice: z Phi(z) + phi(z).
    twice = z * torch.special.ndtr(z) + density
    weights = torch.diff(-torch.diff(twice, dim=1), dim=0) * (spread / cell)
    return weights.clamp(min=0)


def _lay_out(
    sizes: Sequence[tuple[int, int]],
    pyramids: Sequence[Sequence[Tensor | None]],
    device: torch.device | str,
    count: int,
) -> Bitmaps:
    """`count` texel planes, and the level table of pyramids of that many or, the first ones being 0, fewer planes.

    `sizes` are the (width, height) of the bitmaps.
    """
    table = np.zeros((len(pyramids), max(map(len, pyramids)), LEVEL_FIELDS), dtype=np.int32)
    stored = [texels for levels in pyramids for texels in levels if texels is not None]
    total = sum((texels.shape[1] + 2) * (texels.shape[2] + 2) for texels in stored)
    planes = torch.zeros(count, total, dtype=stored[0].dtype)
    offset = 0
    for index, levels in enumerate(pyramids):
        width, height = sizes[index]
        for level, texels in enumerate(levels):
            w, h = size_at(width, level), size_at(height, level)
            if texels is None:
                table[index, level] = (0, w, h, 0, 0, 0, 0)
                continue
            block = (w + 2) * (h + 2)
            planes[-len(texels) :, offset : offset + block].view(-1, h + 2, w + 2)[:, 1:-1, 1:-1] = texels
            table[index, level] = (offset, w, h, *_content_box(texels[-1]))
            offset += block
    return Bitmaps(texels=planes.to(device), levels=torch.from_numpy(table))


def _content_box(alpha: Tensor) -> tuple[int, int, int, int]:
    """Half-open box x0, y0, x1, y1 of the texels with alpha > 0; zeros where there are none."""
    filled = (alpha > 0).numpy()
    columns, rows = np.flatnonzero(filled.any(0)), np.flatnonzero(filled.any(1))
    if not len(columns):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
