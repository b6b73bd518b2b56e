"""What is drawn: bitmaps with their mip pyramids, instances of them, and the canvas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

LEVEL_FIELDS = 7  # offset, width, height, x0, y0, x1, y1 of one mip level; see csrc/render.h
OPACITY_LIMIT = 0.9999  # alpha_max is held below this, so that transmittance never reaches 0


@dataclass(frozen=True)
class Bitmaps:
    """P bitmaps of any size, premultiplied, each as a pyramid of half-octave mip levels.

    Level k of a bitmap of w x h pixels has about w * 2^(-k/2) x h * 2^(-k/2) texels and serves the scales
    around 2^(-k/2): the nearest level is drawn, bilinearly, with one texel per canvas pixel within a
    factor 2^(1/4) either way, so minified bitmaps do not alias. Levels finer than any scale in use may be left
    out: they are listed with their size, an empty box and offset 0, and draw nothing.
    """

    texels: Tensor  # [C + 1, T] premultiplied colour planes, then alpha; each level has a border of one zero texel
    levels: Tensor  # [P, L, LEVEL_FIELDS] int32, CPU or the texels' device

    @property
    def channels(self) -> int:
        return self.texels.shape[0] - 1

    def to(self, device: torch.device | str) -> Bitmaps:
        """With the texels on a device; the small table of levels stays where it is."""
        return Bitmaps(self.texels.to(device), self.levels)

    @cached_property
    def mask_cells(self) -> tuple[Tensor, Tensor]:
        """What the CUDA kernels sample, and its levels: of alpha alone. Made once; the extension must be loaded."""
        cells: tuple[Tensor, Tensor] = torch.ops.diffbmp.cells(self.texels, self.levels, False)
        return cells

    @cached_property
    def color_cells(self) -> tuple[Tensor, Tensor]:
        """The same of alpha and the colour planes, for mu_blend > 0."""
        cells: tuple[Tensor, Tensor] = torch.ops.diffbmp.cells(self.texels, self.levels, True)
        return cells


@dataclass(frozen=True)
class Instances:
    """N placed bitmaps; index 0 is the backmost."""

    position: Tensor  # [N, 2] canvas px, the bitmap's centre
    rotation: Tensor  # [N] rad, clockwise on screen
    scale: Tensor  # [N] canvas px per bitmap px
    opacity: Tensor  # [N] logit nu; alpha = alpha_max * sigmoid(nu) * M
    color: Tensor  # [N, C] in [0, 1]
    bitmap: Tensor  # [N] int32, in [0, P)
    stretch: Tensor | None = None  # [N, 2, 2] S: q of the bitmap lies at position + scale R(rotation) S q
    mu_blend: Tensor | None = None  # [N] in [0, 1] instead of the scene's


@dataclass(frozen=True)
class Scene:
    bitmaps: Bitmaps
    instances: Instances
    height: int  # px
    width: int  # px
    alpha_max: float = 1.0
    mu_blend: float = 0.0
