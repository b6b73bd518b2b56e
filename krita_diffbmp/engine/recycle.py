"""Instances that hardly show are taken out and begin anew, in front, where the picture is worst.

Gradients do not reach an instance that is hidden behind others, off the canvas or almost transparent: without this,
a part of the N would be spent for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from krita_diffbmp.engine.initialize import Parameters
from krita_diffbmp.engine.render import render
from krita_diffbmp.engine.scene import Bitmaps, Scene

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


def least_visible(share: Tensor, count: int, block: slice = EVERY) -> Tensor:
    """The `count` of a block of the instances that show least: [count] indices."""
    first, _, _ = block.indices(len(share))
    return first + torch.argsort(share[block], stable=True)[:count]


@torch.no_grad()
def recycle(
    chosen: Tensor,
    fresh: Parameters,
    parameters: Parameters,
    moments: Mapping[Tensor, Mapping[str, Tensor]],
    block: slice = EVERY,
) -> None:
    """Begins the instances `chosen` of a block anew, as `fresh`, in front of all others of it, in place.

    They have no momentum of what they were: `moments` are an optimizer's, by parameter.
    """
    count = len(parameters.rotation)
    first, end, _ = block.indices(count)
    kept = torch.ones(count, dtype=torch.bool, device=chosen.device)
    kept[chosen] = False
    kept[:first] = kept[end:] = False
    front = torch.arange(count, device=chosen.device)
    back_to_front = torch.cat([front[:first], kept.nonzero()[:, 0], chosen, front[end:]])
    for field in fields(parameters):
        values, begun = getattr(parameters, field.name), getattr(fresh, field.name)
        if values is None:
            continue
        values[chosen] = 0 if begun is None else begun
        values.copy_(values[back_to_front])
        for name, moment in moments.get(values, {}).items():
            if name != "step":
                moment[chosen] = 0
                moment.copy_(moment[back_to_front])
