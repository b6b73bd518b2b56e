"""Colour spaces: Krita's raw pixels and the project's float32 pixels, each way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from krita_diffbmp.problem import DiffBmpError, FloatArray, PaintedPiece

SUPPORTED = "RGB, grayscale and CMYK"
CHANNELS = {"GRAYA": 1, "RGBA": 3, "CMYKA": 4}  # without alpha
DTYPES: dict[str, type[np.generic]] = {"U8": np.uint8, "U16": np.uint16, "F16": np.float16, "F32": np.float32}
PROBE_PROFILE = "sRGB-elle-V2-srgbtrc.icc"  # the sRGB that Krita renders vector layers in


@dataclass(frozen=True)
class RawPiece:
    """A PaintedPiece in Krita's own terms."""

    x: int  # px, left edge in the target
    y: int
    width: int  # px
    height: int
    raw: bytes  # empty where nothing is seen
    opacity: int  # of 255


@dataclass(frozen=True)
class Space:
    """Krita's names of a colour space: its model ("RGBA"), channel depth ("U8") and profile."""

    model: str
    depth: str
    profile: str

    @staticmethod
    def of(handle: Any) -> Space:
        """Of a Krita Document or Node."""
        return Space(str(handle.colorModel()), str(handle.colorDepth()), str(handle.colorProfile()))

    def has_colors_of(self, other: Space) -> bool:
        """Whether the same numbers mean the same colours there, at whatever depth."""
        return (self.model, self.profile) == (other.model, other.profile)

    @property
    def channels(self) -> int:
        """Colour channels C, without alpha."""
        return CHANNELS[self.model]

    @property
    def is_float(self) -> bool:
        return self.depth.startswith("F")

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(DTYPES[self.depth])

    @property
    def pixel_size(self) -> int:
        """bytes"""
        return (self.channels + 1) * self.dtype.itemsize

    def check(self, what: str) -> None:
        """Raises DiffBmpError when `what` ("The document") is in a model or depth that is not read."""
        if self.model not in CHANNELS or self.depth not in DTYPES:
            raise DiffBmpError(
                f"{what} uses the colour model {self.model} ({self.depth}), but only {SUPPORTED} are read: "
                "convert it with Image > Convert Image Color Space."
            )

    def order(self) -> list[int]:
        """At [i], which of Krita's channels is our channel i: integer RGB lies in memory as B, G, R."""
        swapped = self.model == "RGBA" and not self.is_float
        return [2, 1, 0, 3] if swapped else list(range(self.channels + 1))

    def full(self) -> list[float]:
        """At [i], the value of our channel i that means 1: float CMYK counts ink in percent."""
        if not self.is_float:
            return [float(np.iinfo(self.dtype).max)] * (self.channels + 1)
        return [100.0 if self.model == "CMYKA" else 1.0] * self.channels + [1.0]

    def alpha(self, raw: Any, height: int, width: int) -> np.ndarray[Any, Any]:
        """The alpha channel of raw pixels as it is, [height, width]."""
        return np.frombuffer(raw, self.dtype).reshape(height, width, self.channels + 1)[..., -1]

    def decode(self, raw: Any, height: int, width: int) -> tuple[FloatArray, bool]:
        """Raw pixels as [height, width, C + 1] in [0, 1], and whether values outside had to be clipped."""
        values = np.frombuffer(raw, self.dtype).reshape(height, width, self.channels + 1)
        full = np.array(self.full(), np.float32)
        pixels: FloatArray = np.divide(values[..., self.order()], full, dtype=np.float32, casting="same_kind")
        if not self.is_float:
            return pixels, False
        np.nan_to_num(pixels, copy=False)
        slack = 1e-3  # half-float rounding is not worth a note
        clipped = bool(pixels.min(initial=0.0) < -slack or pixels.max(initial=1.0) > 1 + slack)
        np.clip(pixels, 0, 1, out=pixels)
        return pixels, clipped

    def encode(self, pixels: FloatArray) -> bytes:
        """Pixels [h, w, C + 1] in [0, 1] as raw pixels, rounded to the nearest value."""
        values = np.empty(pixels.shape, self.dtype)
        for i, (channel, full) in enumerate(zip(self.order(), self.full(), strict=True)):
            scaled = np.clip(pixels[..., i], 0, 1) * np.float32(full)
            values[..., channel] = scaled if self.is_float else np.rint(scaled)
        return values.tobytes()

    def raw_piece(self, piece: PaintedPiece) -> RawPiece:
        """The piece in raw pixels of this space.

        Krita keeps a layer's opacity in 255 steps; what the next step up is too much is taken off the pixels' alpha.
        """
        opacity = int(np.ceil(255 * piece.opacity))
        height, width = piece.pixels.shape[:2]
        raw = b""
        if opacity:
            pixels = piece.pixels.copy()
            pixels[..., -1] *= np.float32(255 * piece.opacity / opacity)
            raw = self.encode(pixels)
        return RawPiece(piece.x, piece.y, width, height, raw, opacity)
