"""The renderer in plain torch: the oracle of the tests, and what runs without a compiler.

Any dtype, any device; gradients are autograd's own. See csrc/render.h for the drawn equation. The picture is
made tile by tile, each under a checkpoint, so that memory does not grow with picture or instances.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from krita_diffbmp.engine.pyramid import nearest_levels
from krita_diffbmp.engine.scene import OPACITY_LIMIT, Bitmaps, Instances, Scene

TILE = 64  # px
BATCH = 256  # instances evaluated at once in a tile
MOST_STRETCHED = 1e3  # a stretch that changes areas by more than that, or by less than its inverse, draws nothing


def render(scene: Scene) -> tuple[Tensor, Tensor]:
    """Draws a scene: (colour [C, H, W] premultiplied, transmittance [H, W]).

    Instances that are not finite, or not larger than nothing, draw nothing.
    """
    bitmaps, instances = scene.bitmaps, scene.instances
    level = mip_levels(bitmaps, instances)
    boxes = bounding_boxes(bitmaps, instances, level)
    drawable = _drawable(instances) & (level[:, 3] < level[:, 5])

    rows = []
    for top in range(0, scene.height, TILE):
        bottom = min(top + TILE, scene.height)
        row = []
        for left in range(0, scene.width, TILE):
            right = min(left + TILE, scene.width)
            meets = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < bottom) & (boxes[:, 3] > top)
            front_to_back = (drawable & meets).nonzero()[:, 0].flip(0)
            row.append(_tile(scene, level, front_to_back, (left, top, right, bottom)))
        rows.append(torch.cat(row, dim=2))
    image = torch.cat(rows, dim=1)
    return image[:-1], image[-1]


def _tile(scene: Scene, level: Tensor, order: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """Colour and transmittance [C + 1, h, w] of the canvas within a box; `order` lists instances, front first."""
    left, top, right, bottom = box
    like = scene.instances.position
    x = torch.arange(left, right, dtype=like.dtype, device=like.device) + 0.5
    y = torch.arange(top, bottom, dtype=like.dtype, device=like.device) + 0.5
    pixels = torch.cartesian_prod(y, x).flip(1)  # [h w, 2] px, centres, row by row
    color = like.new_zeros(scene.bitmaps.channels, len(pixels))
    transmittance = like.new_ones(len(pixels))
    for batch in torch.split(order, BATCH):
        color, transmittance = checkpoint(
            _over, scene, level, batch, pixels, color, transmittance, use_reentrant=False, preserve_rng_state=False
        )
    return torch.cat([color, transmittance[None]]).view(-1, bottom - top, right - left)


def _over(
    scene: Scene, level: Tensor, batch: Tensor, pixels: Tensor, color: Tensor, transmittance: Tensor
) -> tuple[Tensor, Tensor]:
    """Puts a batch of K instances, front first, behind what has been drawn: Porter-Duff over."""
    instances = scene.instances
    texel_x, texel_y = texel_coordinates(scene.bitmaps, instances, level, batch, pixels)
    opacity = min(scene.alpha_max, OPACITY_LIMIT) * torch.sigmoid(instances.opacity[batch])  # [K]

    def sampled(channels: slice) -> Tensor:
        return bilinear(scene.bitmaps.texels[channels], level[batch], texel_x, texel_y)

    mask = sampled(slice(-1, None))  # [1, K, Q]
    alpha = opacity[:, None] * mask[0]  # [K, Q]
    through = torch.cat([transmittance[None], 1 - alpha]).cumprod(0)  # [K + 1, Q] what is left before each, and after
    mu_blend: Tensor | float = scene.mu_blend
    if instances.mu_blend is not None:
        mu_blend = instances.mu_blend[batch][:, None]
    source = (1 - mu_blend) * instances.color[batch].T[:, :, None] * mask  # [C, K, Q]
    if isinstance(mu_blend, Tensor) or mu_blend > 0:
        source = source + mu_blend * sampled(slice(0, -1))
    color = color + (through[:-1] * opacity[:, None] * source).sum(1)
    return color, through[-1]


def texel_coordinates(
    bitmaps: Bitmaps, instances: Instances, level: Tensor, batch: Tensor, pixels: Tensor
) -> tuple[Tensor, Tensor]:
    """Where Q pixels ([Q, 2] px) fall in the levels of the K instances of a batch: x and y [K, Q].

    The centres of a level's texels are at 0, 1, ... width - 1.
    """
    size = bitmaps.levels.to(level.device)[instances.bitmap[batch].long(), 0, 1:3].to(pixels)  # [K, 2] bitmap px
    texels = level[batch, 1:3].to(pixels)  # [K, 2]
    angle, scale = instances.rotation[batch][:, None], instances.scale[batch][:, None]
    dx, dy = (pixels - instances.position[batch][:, None]).unbind(2)  # [K, Q] px
    cosine, sine = torch.cos(angle), torch.sin(angle)
    u, v = (cosine * dx + sine * dy) / scale, (cosine * dy - sine * dx) / scale
    if instances.stretch is not None:
        back = torch.linalg.inv(instances.stretch[batch])[..., None]  # [K, 2, 2, 1]
        u, v = back[:, 0, 0] * u + back[:, 0, 1] * v, back[:, 1, 0] * u + back[:, 1, 1] * v
    u, v = u + size[:, :1] / 2, v + size[:, 1:] / 2
    return u * (texels / size)[:, :1] - 0.5, v * (texels / size)[:, 1:] - 0.5


def bilinear(texels: Tensor, level: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Samples planes [c, T] at x, y [K, Q] of K levels [K, LEVEL_FIELDS]: [c, K, Q], zero outside."""
    offset, width, height = level[:, :3].unsqueeze(2).unbind(1)  # [K, 1]
    inside = (x > -1) & (x < width) & (y > -1) & (y < height)
    x, y = torch.where(inside, x, 0), torch.where(inside, y, 0)
    column, row = x.detach().floor(), y.detach().floor()
    x, y = x - column, y - row
    stride = width + 2
    first = offset + (row.long() + 1) * stride + column.long() + 1
    upper = texels[:, first] * (1 - x) + texels[:, first + 1] * x
    lower = texels[:, first + stride] * (1 - x) + texels[:, first + stride + 1] * x
    return torch.where(inside, upper * (1 - y) + lower * y, 0)


def _drawable(instances: Instances) -> Tensor:
    finite = instances.position.isfinite().all(1) & instances.color.isfinite().all(1)
    for values in (instances.rotation, instances.scale, instances.opacity, instances.mu_blend):
        if values is not None:
            finite &= values.isfinite()
    if instances.stretch is not None:
        area = torch.linalg.det(instances.stretch.detach()).abs()
        finite &= instances.stretch.isfinite().all(2).all(1) & (area > 1 / MOST_STRETCHED) & (area < MOST_STRETCHED)
    return finite & (instances.scale > 0)


def mip_levels(bitmaps: Bitmaps, instances: Instances) -> Tensor:
    """The rows of the level table that N instances draw: [N, LEVEL_FIELDS] int64."""
    scale = instances.scale.detach()
    index = nearest_levels(bitmaps, instances.bitmap, torch.where(scale.isfinite() & (scale > 0), scale, 1))
    return bitmaps.levels.to(index.device)[instances.bitmap.long(), index].long()


def bounding_boxes(bitmaps: Bitmaps, instances: Instances, level: Tensor) -> Tensor:
    """Canvas boxes [N, 4] (x0, y0, x1, y1) that hold whatever the instances draw."""
    position, angle, scale = (
        values.detach().double() for values in (instances.position, instances.rotation, instances.scale)
    )
    size = bitmaps.levels.to(level.device)[instances.bitmap.long(), 0, 1:3].double()
    # A texel reaches to the centres of its neighbours: half a texel beyond its own edges.
    low, high = level[:, 3:5] - 0.5, level[:, 5:7] + 0.5
    unit = size / level[:, 1:3] * scale[:, None]  # [N, 2] canvas px per texel
    centre = ((low + high) / 2 - level[:, 1:3] / 2) * unit
    half = (high - low) / 2 * unit
    cosine, sine = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
    if instances.stretch is not None:
        turn = turn @ instances.stretch.detach().double()
    middle = position + (turn @ centre[:, :, None])[:, :, 0]
    reach = (turn.abs() @ half[:, :, None])[:, :, 0]
    reach = reach + 1e-3  # px, for rounding in lower precision
    return torch.cat([middle - reach, middle + reach], 1)
