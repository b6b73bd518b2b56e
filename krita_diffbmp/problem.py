"""What crosses between Krita, the engine and the window: frozen dataclasses and numpy arrays.

`canvas` reads layers into a `Problem`, `engine` turns a `Problem` into a stream of `Progress` and a
`Result`, and `canvas` writes the pieces of a `Result` back as layers. This module imports numpy alone,
so that neither side has to know the other.

Conventions, everywhere in the project:

- Pixels are float32 in [0, 1], `[height, width, C + 1]`, straight (not premultiplied) alpha last, in the
  blending space of the document: C = 3 (RGB), 1 (gray) or 4 (CMYK).
- Canvas coordinates are pixels of the target picture, x right, y down, pixel centres at +0.5.
- Angles are radians, positive clockwise on screen.
- `scale` is canvas pixels per bitmap pixel.
- Index 0 is the backmost instance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Background = Literal["noise", "white", "transparent"]
Device = Literal["auto", "cpu", "cuda"]


class DiffBmpError(Exception):
    """Something the artist can understand and act on; its text is shown as it stands."""


@dataclass(frozen=True)
class Bitmap:
    """One primitive: an artist's bitmap, cropped to its content."""

    name: str
    pixels: FloatArray  # [h, w, C + 1] straight alpha


@dataclass(frozen=True)
class Settings:
    """What the artist chooses. Defaults are those of the docker."""

    instances: int = 300
    min_size: float = 0.02  # longest side of the smallest instance, as a fraction of the target's long side
    max_size: float = 0.20  # the same for the largest
    steps: int = 300
    mu_blend: float = 0.0  # 0: each instance takes one optimised tint; 1: the bitmap's own colours
    alpha_max: float = 1.0
    background: Background = "noise"
    seed: int = 0
    device: Device = "auto"
    working_size: int = 1024  # px; a longer target is optimised smaller and written back at full size
    max_stretch: float = 1.0  # by how much the proportions of an instance may differ from its bitmap's; 1: not at all


@dataclass(frozen=True)
class Placements:
    """N instances in plain numbers, in pixels of `Problem.target`; index 0 is the backmost.

    A point q of the bitmap, in bitmap px from its centre, lies at position + scale R(rotation) stretch q.
    """

    position: FloatArray  # [N, 2] px, centre of the bitmap
    rotation: FloatArray  # [N] radians, clockwise on screen
    scale: FloatArray  # [N] canvas px per bitmap px
    opacity: FloatArray  # [N] in (0, 1): alpha_max * sigmoid(nu)
    color: FloatArray  # [N, C] the tint c_i in [0, 1], before mu_blend
    bitmap: npt.NDArray[np.int32]  # [N] index into Problem.bitmaps
    stretch: FloatArray | None = None  # [N, 2, 2] of determinant 1 or, mirrored, -1; None: the identity for all
    mu_blend: FloatArray | None = None  # [N] in [0, 1]; None: Settings.mu_blend for all


class Freeze(IntFlag):
    """What of an instance stays as it is, bit for bit."""

    POSITION = 1
    ROTATION = 2
    SIZE = 4
    OPACITY = 8
    COLOR = 16
    ALL = 31


@dataclass(frozen=True)
class Start:
    """The instances that a refinement begins with.

    Those that do not reach to where Problem.weight is more than 0 count as frozen whole.

    A fixed part of the picture, such as a stroke that was drawn by hand, is an instance like any other, of its own
    bitmap, with mu_blend 1 and all of it frozen.
    """

    placements: Placements
    frozen: npt.NDArray[np.uint8]  # [N] of Freeze
    added: int = 0  # new ones, begun where the error is largest, in front of the frontmost that is not all frozen
    primitives: int = 0  # new instances are made of the first so many of Problem.bitmaps


@dataclass(frozen=True)
class Problem:
    """A picture to rebuild, what to rebuild it from, and how.

    Where the weight is less than 1, a refinement holds the picture that is there, by the rest of the weight.
    """

    target: FloatArray  # [H, W, C + 1] straight alpha, at the document's resolution
    bitmaps: tuple[Bitmap, ...]
    settings: Settings = field(default_factory=Settings)
    start: Start | None = None  # None: a first run, of Settings.instances
    weight: FloatArray | None = None  # [H, W] in [0, 1], what the error of each pixel counts; None: 1 everywhere


@dataclass(frozen=True)
class Progress:
    """One step of a run."""

    step: int  # steps done, 1..total
    total: int
    loss: float  # mean squared error of this step, on its background
    psnr: float  # dB, sharp bitmaps, over white; of the latest evaluation
    seconds_left: float | None  # None: not known yet
    preview: npt.NDArray[np.uint8] | None = None  # [h, w, 4] sRGB-like 8-bit, straight alpha; None on most steps


@dataclass(frozen=True)
class Result:
    """The best state of a run."""

    placements: Placements
    psnr: float  # dB, sharp bitmaps, over white, at working size; weighted where Problem.weight weighs
    step: int
    notes: tuple[str, ...] = ()  # what the artist should know: a slower path that ran, and why
    start_psnr: float | None = None  # dB of Problem.start, by the same measure; psnr is not below it
    source: npt.NDArray[np.int32] | None = None  # [N] index into the start's placements, -1 for a new one


@dataclass(frozen=True)
class LivePiece:
    """An instance as an image under a matrix: x' = a x + c y + e, y' = b x + d y + f in target pixels."""

    png: bytes  # 8-bit RGBA, tinted, from the mip level that suits the scale
    width: float  # user units before the matrix, however many pixels the PNG has
    height: float
    matrix: tuple[float, float, float, float, float, float]  # a b c d e f
    opacity: float


@dataclass(frozen=True)
class PaintedPiece:
    """An instance as transformed pixels: what the engine draws at opacity 1."""

    x: int  # px, left edge in the target
    y: int
    pixels: FloatArray  # [h, w, C + 1] straight alpha
    opacity: float
