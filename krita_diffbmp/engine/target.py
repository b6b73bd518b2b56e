"""Pictures on their way in and out: the target at working size, and the preview."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from krita_diffbmp.engine.pyramid import area_resize
from krita_diffbmp.problem import DiffBmpError, FloatArray

PREVIEW_SIZE = 512  # px, long side at most


def working_target(target: FloatArray, working_size: int) -> Tensor:
    """The target as [C + 1, h, w] float32, premultiplied colour and alpha in [0, 1].

    A long side of more than `working_size` is reduced to it by averaging areas.
    """
    height, width, planes = target.shape
    ratio = min(1.0, working_size / max(height, width))
    size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    out = torch.empty(planes, *size)
    alpha = np.clip(target[..., -1], 0, 1)
    # Plane by plane: a large target is never held twice.
    for plane in range(planes):
        values = alpha
        if plane < planes - 1:
            values = np.where(alpha > 0, np.clip(target[..., plane], 0, 1) * alpha, np.float32(0))
        rows = area_resize(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)), size[0], dim=0)
        out[plane] = area_resize(rows, size[1], dim=1)
    return out


def working_weight(weight: FloatArray, target: Tensor) -> Tensor:
    """What the error of each pixel of a working target [C + 1, h, w] counts: [h, w] in [0, 1].

    Raises DiffBmpError where nothing counts.
    """
    values = torch.from_numpy(np.clip(weight, 0, 1).astype(np.float32))
    values = area_resize(area_resize(values, target.shape[1], dim=0), target.shape[2], dim=1)
    if not values.mean() > 0:
        raise DiffBmpError("The selection leaves nothing of the target. Select a part of it, or deselect.")
    return values


def coarser(planes: Tensor, ratio: float) -> Tensor:
    """Planes [K, H, W] at a size of 1 / `ratio`, a whole number: areas averaged, at the edges what there is of them."""
    cell = round(1 / ratio)
    return planes if cell == 1 else F.avg_pool2d(planes[None], cell, ceil_mode=True, count_include_pad=False)[0]


def aim(target: Tensor, selected: Tensor, color: Tensor, transmittance: Tensor) -> Tensor:
    """What a change within a selection [H, W] goes for: outside of it, the picture that is there.

    `target` and what is returned are [C + 1, H, W], colour and transmittance. Where it is selected in part, s, a
    squared error from each, weighed by s and 1 - s, is that from their mean.
    """
    return torch.lerp(torch.cat([color, transmittance[None]]), target, selected)


def preview_image(color: Tensor, transmittance: Tensor) -> npt.NDArray[np.uint8]:
    """A picture for the screen: [h, w, 4] 8-bit RGB and straight alpha, at most PREVIEW_SIZE px long."""
    image = torch.cat([color.detach(), 1 - transmittance.detach()[None]])
    factor = math.ceil(max(image.shape[1:]) / PREVIEW_SIZE)
    if factor > 1:
        image = F.avg_pool2d(image[None], factor, ceil_mode=True, count_include_pad=False)[0]
    alpha = image[-1:]
    straight = image[:-1] / alpha.clamp(min=1e-6)
    if len(straight) == 4:
        straight = (1 - straight[:3]) * (1 - straight[3:])
    pixels = torch.cat([straight.expand(3, -1, -1), alpha])
    return (pixels.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
