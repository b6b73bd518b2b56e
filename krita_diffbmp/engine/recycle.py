"""Instances that hardly show are taken out and begin anew, in front, where the picture is worst.

Gradients do not reach an instance that is hidden behind others, off the canvas or almost transparent: without this,
a part of the N would be spent for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from krita_diffbmp.engine.initialize import COLOR_MARGIN, Parameters, sample_pixels
from krita_diffbmp.engine.render import Rendering, render
from krita_diffbmp.engine.scene import Bitmaps, Scene

ERROR_WINDOW = 9  # px, side of the square that errors are averaged over
OPACITY_START = -1.0  # logit
EVERY = slice(None)


def coverage(bitmaps: Bitmaps) -> Tensor:
    """The sum of alpha of each bitmap [P], in bitmap px."""
    sums = []
    for levels in bitmaps.levels.tolist():
        _, bitmap_width, bitmap_height, *_ = levels[0]
        offset, width, height, *_ = next(level for level in levels if level[3] < level[5])
        alpha = bitmaps.texels[-1, offset : offset + (width + 2) * (height + 2)]
        sums.append(alpha.sum() * (bitmap_width * bitmap_height / (width * height)))
    return torch.stack(sums)


def visible_share(scene: Scene) -> Tensor:
    """How much of each instance shows in the picture: [N], from 0 for nothing to 1 for all of it, opaque.

    A tint has its instance's part of the picture for a derivative.
    """
    instances = scene.instances
    given = {field.name: getattr(instances, field.name) for field in fields(instances)}
    detached: dict[str, Any] = {name: None if values is None else values.detach() for name, values in given.items()}
    tint = torch.zeros_like(instances.color).requires_grad_()
    changes = {"color": tint, "mu_blend": None}
    bare = replace(scene, instances=replace(instances, **(detached | changes)), mu_blend=0.0)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(render(bare).color[0].sum(), tint)
    whole = coverage(scene.bitmaps)[instances.bitmap.long()] * instances.scale.detach().square()
    share: Tensor = gradient[:, 0] / whole
    return share


def error_density(rendering: Rendering, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Where the picture is worst: [H, W], for a target [C + 1, H, W] (premultiplied colour, alpha).

    `weight` [H, W] is what the error of each pixel counts.

    The square of the squared error that is to be expected over a noise of U[0, 1], averaged over a window; nothing
    where the target is transparent.
    """
    color = rendering.color - target[:-1]
    through = rendering.transmittance - (1 - target[-1])
    error = (color + 0.5 * through).square().mean(0) + through.square() / 12
    reach = ERROR_WINDOW // 2
    error = F.avg_pool2d(error[None, None], ERROR_WINDOW, stride=1, padding=reach)[0, 0]
    density = error.square() * target[-1]
    return density if weight is None else density * weight


@torch.no_grad()
def recycle(
    count: int,
    parameters: Parameters,
    moments: Mapping[Tensor, Mapping[str, Tensor]],
    share: Tensor,
    density: Tensor,
    target: Tensor,
    log_sizes: tuple[float, float],
    generator: torch.Generator,
    block: slice = EVERY,
) -> None:
    """Begins the `count` instances with the smallest visible share anew, in front of all others, in place.

    `block`: only of these, and in front of these.

    They land where `density` is high, with the target's colour there, any size within `log_sizes` (natural
    logarithms of px), and without the momentum of what they were: `moments` are an optimizer's, by parameter.
    """
    first, end, _ = block.indices(len(share))
    if not density.sum() > 0:
        return
    chosen = first + torch.argsort(share[block], stable=True)[:count]
    row, column = sample_pixels(density, count, generator)
    pixel = target[:-1, row, column] / target[-1, row, column]
    low, high = log_sizes
    right, down, turn, size = torch.rand(4, count, generator=generator).to(share.device).unbind()
    parameters.position[chosen] = torch.stack([column + right, row + down], 1)
    parameters.rotation[chosen] = (turn * 2 - 1) * torch.pi
    parameters.log_size[chosen] = low + (high - low) * size
    parameters.opacity[chosen] = OPACITY_START
    parameters.color[chosen] = torch.logit(pixel.T, eps=COLOR_MARGIN)

    kept = torch.ones(len(share), dtype=torch.bool, device=share.device)
    kept[chosen] = False
    kept[:first] = kept[end:] = False
    front = torch.arange(len(share), device=share.device)
    back_to_front = torch.cat([front[:first], kept.nonzero()[:, 0], chosen, front[end:]])
    for field in fields(parameters):
        values = getattr(parameters, field.name)
        values.copy_(values[back_to_front])
        for name, moment in moments.get(values, {}).items():
            if name != "step":
                moment[chosen] = 0
                moment.copy_(moment[back_to_front])
