"""render(scene): the picture of a scene, differentiable by its instances.

Runs the compiled extension where there is one for the device, else the plain-torch reference; `implementation` says
which, and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from krita_diffbmp.engine import extension, reference
from krita_diffbmp.engine.scene import Scene

Name = Literal["extension", "reference"]


@dataclass(frozen=True)
class Implementation:
    """Which renderer runs."""

    name: Name
    reason: str = ""  # why it is not the extension: a sentence without a full stop, for the artist


@dataclass(frozen=True)
class Rendering:
    """A picture before it lies on any background."""

    color: Tensor  # [C, H, W] premultiplied
    transmittance: Tensor  # [H, W] what is left of the background's light

    @property
    def alpha(self) -> Tensor:
        """[H, W]"""
        return 1 - self.transmittance

    def over(self, background: Tensor | float) -> Tensor:
        """[C, H, W]: color + transmittance * background, which is one value, one per channel [C], or [C, H, W]."""
        if not isinstance(background, Tensor):
            return self.color + self.transmittance * background
        if background.dim() == 1:
            background = background[:, None, None]
        return torch.addcmul(self.color, self.transmittance, background)


def implementation(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Implementation:
    """What `render` uses on a device, for texels of a type."""
    status = extension.status()
    if not status.available:
        return Implementation("reference", status.reason)
    kind = torch.device(device).type
    if kind == "cuda" and dtype != torch.float32:
        return Implementation("reference", f"the CUDA kernels take float32, not {dtype}")
    if kind == "cpu" or (kind == "cuda" and status.cuda):
        return Implementation("extension")
    return Implementation("reference", f"the extension is built without kernels for {kind}")


def render(scene: Scene, use: Name | None = None) -> Rendering:
    """Draws a scene; gradients flow to position, rotation, scale, opacity and colour of its instances.

    And to their stretch, except through the CUDA kernels. The equation is in csrc/render.h. Instances that are not
    finite, or not larger than nothing, draw nothing.
    `use` names an implementation instead of the one that `implementation` would choose.

    Raises RuntimeError if the extension was named and is not available; ValueError, TypeError or IndexError for
    tensors that do not fit together, and ValueError for a gradient where there is none: by texels, by stretch on CUDA.
    """
    bitmaps = scene.bitmaps
    chosen = implementation(bitmaps.texels.device, bitmaps.texels.dtype)
    if bitmaps.texels.requires_grad:
        raise ValueError("bitmaps have no gradient: texels must not require one")
    if (use or chosen.name) == "reference":
        return Rendering(*reference.render(scene))
    if chosen.name != "extension":
        raise RuntimeError(chosen.reason)
    instances = scene.instances
    if bitmaps.texels.is_cuda and instances.stretch is not None and instances.stretch.requires_grad:
        raise ValueError("the CUDA kernels have no gradient by stretch")
    texels, levels = bitmaps.texels, bitmaps.levels
    if texels.is_cuda:
        colors = scene.mu_blend > 0 or instances.mu_blend is not None
        texels, levels = bitmaps.color_cells if colors else bitmaps.mask_cells
    color, transmittance, *_ = torch.ops.diffbmp.render(
        texels,
        levels,
        instances.position,
        instances.rotation,
        instances.scale,
        instances.opacity,
        instances.color,
        instances.bitmap,
        scene.height,
        scene.width,
        scene.alpha_max,
        scene.mu_blend,
        instances.stretch,
        instances.mu_blend,
    )
    return Rendering(color, transmittance)
