"""New places for instances: several are tried for each, and the one that gains most is taken.

An instance in front of a picture I, with opacity o and mask M, leaves I (1 - o M) + o ((1 - mu_blend) c M + mu_blend S)
of it, which is linear in its tint c. So the best tint of a place is known in closed form, and with it what the place
gains: no gradient reaches from one place to another, or from one angle to a far one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from krita_diffbmp.engine import pyramid
from krita_diffbmp.engine.initialize import COLOR_MARGIN, Parameters, sample_pixels
from krita_diffbmp.engine.losses import SquaredError
from krita_diffbmp.engine.render import Rendering
from krita_diffbmp.engine.scene import Bitmaps

CANDIDATES = 8  # places that are tried for an instance
CELLS = 8  # of a bitmap along either side, that its gain is measured by
REACH = 0.35  # of a bitmap's sides, from the pixel that it is to mend to its centre
OPACITY_START = 1.0  # logit
# The gain counts per area to this power: the largest instance gains most, but is the first to be in others' way.
AREA_POWER = 0.75
BATCH = 1024  # instances at once, for the memory's sake
ERROR_WINDOW = 9  # px, side of the square that errors are averaged over


@dataclass(frozen=True)
class Thumbnails:
    """P bitmaps as CELLS x CELLS cells of equal size, premultiplied."""

    cells: Tensor  # [P, C + 1, CELLS, CELLS]
    sizes: Tensor  # [P, 2] height and width in bitmap px

    def slimness(self) -> Tensor:
        """How far each bitmap reaches across, relative to along: [P] from 0, a line, to 1; standard deviations."""
        alpha = self.cells[:, -1] / self.cells[:, -1].sum((1, 2), keepdim=True).clamp(min=1e-12)
        centre = (torch.arange(CELLS, device=alpha.device) + 0.5) / CELLS - 0.5
        height, width = self.sizes.T
        y, x = height[:, None] * (alpha.sum(2) * centre), width[:, None] * (alpha.sum(1) * centre)
        mean_y, mean_x = y.sum(1), x.sum(1)
        cell = 1 / (12 * CELLS * CELLS)  # the variance within one
        by_y = height.square() * ((alpha.sum(2) * centre.square()).sum(1) + cell) - mean_y.square()
        by_x = width.square() * ((alpha.sum(1) * centre.square()).sum(1) + cell) - mean_x.square()
        both = height * width * torch.einsum("pij,i,j->p", alpha, centre, centre) - mean_y * mean_x
        middle, reach = (by_y + by_x) / 2, torch.hypot((by_y - by_x) / 2, both)
        slimness: Tensor = ((middle - reach) / (middle + reach)).clamp(min=0).sqrt()
        return slimness


def thumbnails(bitmaps: Bitmaps) -> Thumbnails:
    """Of the finest level that there is of each bitmap."""
    cells, sizes = [], []
    for index in range(len(bitmaps.levels)):
        width, height = pyramid.level_size(bitmaps, index, 0)
        sizes.append((float(height), float(width)))
        count = pyramid.level_count(width, height)
        levels = (pyramid.level_texels(bitmaps, index, level) for level in range(count))
        finest = next((texels for texels in levels if texels is not None), bitmaps.texels.new_zeros(1, 1, 1))
        planes = finest.expand(bitmaps.texels.shape[0], -1, -1)
        cells.append(F.adaptive_avg_pool2d(planes, CELLS))
    return Thumbnails(torch.stack(cells), torch.tensor(sizes, device=bitmaps.texels.device))


def error_density(planes: Tensor, wanted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Where the picture is worst: [H, W], for `SquaredError.planes` of it, those wanted, and a target [C + 1, H, W].

    The square of the squared error averaged over a window; nothing where the target is transparent. `weight` [H, W] is
    what the error of each pixel counts.
    """
    error = (planes - wanted).square().sum(0)
    error = F.avg_pool2d(error[None, None], ERROR_WINDOW, stride=1, padding=ERROR_WINDOW // 2)[0, 0]
    density = error.square() * target[-1]
    return density if weight is None else density * weight


@torch.no_grad()
def propose(
    bitmap: Tensor,
    rendering: Rendering,
    compared: SquaredError,
    target: Tensor,
    thumbs: Thumbnails,
    log_sizes: tuple[float, float],
    alpha_max: float,
    mu_blend: float,
    generator: torch.Generator,
) -> Parameters | None:
    """Instances of the bitmaps `bitmap` [n] to be put in front of a picture, where they mend most.

    None where nothing is wrong with the picture. `log_sizes` are natural logarithms of px.
    """
    picture, wanted = compared.planes(rendering.color, rendering.transmittance), compared.target_planes()
    density = error_density(picture, wanted, target, compared.weight)
    if not density.sum() > 0:
        return None
    look = alpha_max, mu_blend
    parts = (bitmap[begin : begin + BATCH] for begin in range(0, len(bitmap), BATCH))
    found = [
        _best_places(part, picture, wanted, density, compared.weight, thumbs, log_sizes, look, generator)
        for part in parts
    ]
    names = (field.name for field in fields(Parameters) if field.name != "aspect")
    return Parameters(**{name: torch.cat([getattr(part, name) for part in found]) for name in names})


def _best_places(
    bitmap: Tensor,
    picture: Tensor,
    wanted: Tensor,
    density: Tensor,
    weight: Tensor | None,
    thumbs: Thumbnails,
    log_sizes: tuple[float, float],
    look: tuple[float, float],
    generator: torch.Generator,
) -> Parameters:
    """`propose`, for planes of the picture and of the target, and a density of places; `look`: alpha_max, mu_blend."""
    count, channels, device = len(bitmap), len(picture) - 1, picture.device
    alpha_max, mu_blend = look
    row, column = sample_pixels(density, count, generator)
    low, high = log_sizes
    chances = torch.rand(4, count, CANDIDATES, generator=generator).to(device)
    log_size = low + (high - low) * chances[0]
    rotation = (chances[1] * 2 - 1) * torch.pi
    sizes = thumbs.sizes[bitmap.long()]
    scale = torch.exp(log_size) / sizes.amax(1)[:, None]
    height, width = sizes[:, :1] * scale, sizes[:, 1:] * scale
    cosine, sine = torch.cos(rotation), torch.sin(rotation)

    def placed(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Turned about the pixel to mend."""
        extra = [1] * (x.dim() - 2)
        c, s = (values.view(*values.shape, *extra) for values in (cosine, sine))
        return c * x - s * y, s * x + c * y

    x, y = placed((chances[2] * 2 - 1) * REACH * width, (chances[3] * 2 - 1) * REACH * height)
    _, rows, columns = picture.shape
    x = (x + column[:, None] + 0.5).clamp(0, columns)
    y = (y + row[:, None] + 0.5).clamp(0, rows)

    cells = (torch.arange(CELLS, device=device) + 0.5) / CELLS - 0.5
    dx, dy = placed(width[..., None, None] * cells, height[..., None, None] * cells[:, None])  # [n, K, CELLS, CELLS]
    cell_x, cell_y = x[..., None, None] + dx, y[..., None, None] + dy
    inside = (cell_x >= 0) & (cell_x < columns) & (cell_y >= 0) & (cell_y < rows)
    pixel = cell_y.long().clamp(0, rows - 1) * columns + cell_x.long().clamp(0, columns - 1)
    counts = inside if weight is None else inside * weight.flatten()[pixel]

    opacity = alpha_max / (1 + math.exp(-OPACITY_START))
    thumb = thumbs.cells[bitmap.long()][:, None] * opacity  # [n, 1, C + 1, CELLS, CELLS]
    alpha = thumb[:, :, -1]
    before = picture.flatten(1)[:, pixel] - wanted.flatten(1)[:, pixel]  # [C + 1, n, K, CELLS, CELLS]
    after = before - alpha * picture.flatten(1)[:, pixel]
    after[:channels] += mu_blend * thumb[:, :, :-1].movedim(2, 0)
    tinted = (1 - mu_blend) * alpha * counts
    shares = ((1 - mu_blend) * alpha * tinted).sum((2, 3)).clamp(min=1e-12)
    color = (-(tinted * after[:channels]).sum((3, 4)) / shares).clamp(0, 1)  # [C, n, K]
    after[:channels] += (1 - mu_blend) * alpha * color[..., None, None]
    gain = ((before.square() - after.square()).sum(0) * counts).mean((2, 3)) * (height * width) ** (1 - AREA_POWER)
    best = gain.argmax(1, keepdim=True)

    def chosen(values: Tensor) -> Tensor:
        return values.gather(1, best)[:, 0]

    tint = torch.stack([chosen(values) for values in color], 1)
    return Parameters(
        position=torch.stack([chosen(x), chosen(y)], 1),
        rotation=chosen(rotation),
        log_size=chosen(log_size),
        opacity=torch.full((count,), OPACITY_START, device=device),
        color=torch.logit(tint, eps=COLOR_MARGIN),
        bitmap=bitmap,
    )
