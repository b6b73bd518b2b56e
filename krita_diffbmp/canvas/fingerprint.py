"""What a layer's picture was like when it was written: enough to tell later whether it is still the same.

The fingerprint is a hash of the stored pixels, cropped to what is not transparent, wherever they lie. It finds any
change, and cannot say how large it is. Where Krita has resampled the whole image, a grid of cells does that: the mean
premultiplied colour and alpha of each of 6 x 6 parts of the picture, in 255 levels.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.looks import Raw, read
from krita_diffbmp.canvas.space import Space
from krita_diffbmp.problem import FloatArray

SIDE = 6  # cells
DIGEST = 9  # bytes of the hash
Box = tuple[float, float, float, float]  # x, y, width, height


@dataclass(frozen=True)
class Seen:
    """A layer's picture as it is now; where it shows nothing there is none."""

    raw: Raw

    @staticmethod
    def of(layer: Layer, document: Document) -> Seen | None:
        raw = read(layer, document, None)
        return Seen(raw) if raw is not None else None

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, width, height of what is not transparent, canvas px"""
        box = self.raw.box
        return box.x(), box.y(), box.width(), box.height()

    @property
    def print(self) -> str:
        return fingerprint(self.raw.data, self.raw.box.width(), self.raw.box.height(), self.raw.space)

    @property
    def shape(self) -> str:
        """The fingerprint of its alpha."""
        width, height, space = self.raw.box.width(), self.raw.box.height(), self.raw.space
        alpha = np.ascontiguousarray(space.alpha(self.raw.data, height, width))
        return fingerprint(alpha.tobytes(), width, height, space)

    @property
    def color(self) -> tuple[float, ...] | None:
        """The one colour of all its pixels; None where they have several."""
        raw = self.raw
        pixels, _ = raw.space.decode(raw.data, raw.box.height(), raw.box.width())
        colors = pixels[..., :-1][pixels[..., -1] > 0]
        return tuple(map(float, colors[0])) if (colors == colors[0]).all() else None

    def turned(self, quarters: Any, shape: bool = False) -> str:
        """The fingerprint of its pixels, or of their alpha, after `quarters`, which turns an array [h, w]."""
        width, height, space = self.raw.box.width(), self.raw.box.height(), self.raw.space
        if shape:
            pixels = space.alpha(self.raw.data, height, width)
        else:
            pixels = np.frombuffer(self.raw.data, f"V{space.pixel_size}").reshape(height, width)
        turned = np.ascontiguousarray(quarters(pixels))
        return fingerprint(turned.data, turned.shape[1], turned.shape[0], space)


def fingerprint(data: Any, width: int, height: int, space: Space) -> str:
    """Of stored pixels."""
    about = hashlib.blake2b(f"{width} {height} {space}".encode(), digest_size=16).digest()
    return base64.b64encode(hashlib.blake2b(data, digest_size=DIGEST, key=about).digest()).decode("ascii")


def cells_of(raw: Raw) -> str:
    """The grid of a picture in its own box, as text."""
    means = grid(premultiplied(raw), (0, 0, raw.box.width(), raw.box.height()))
    return base64.b64encode(np.rint(255 * means).astype(np.uint8).tobytes()).decode("ascii")


def cells_from(text: str, space: Space) -> FloatArray | None:
    """[SIDE, SIDE, C + 1] in [0, 1]; None where the text is of no such grid."""
    data = base64.b64decode(text)
    if len(data) != SIDE * SIDE * (space.channels + 1):
        return None
    levels = np.frombuffer(data, np.uint8).reshape(SIDE, SIDE, space.channels + 1)
    return (levels / np.float32(255)).astype(np.float32)


def premultiplied(raw: Raw) -> FloatArray:
    """[h, w, C + 1]"""
    pixels: FloatArray = raw.space.decode(raw.data, raw.box.height(), raw.box.width())[0]
    pixels[..., :-1] *= pixels[..., -1:]
    return pixels


def grid(pixels: FloatArray, box: Box) -> FloatArray:
    """Means of premultiplied pixels [h, w, C + 1] over SIDE x SIDE equal parts of a box in them; 0 beyond them."""
    x, y, width, height = box
    rows = coverage(pixels.shape[0], y, height)
    columns = coverage(pixels.shape[1], x, width)
    means: FloatArray = np.einsum("jw,iwc->ijc", columns, np.einsum("ih,hwc->iwc", rows, pixels, optimize=True))
    return means


def coverage(length: int, start: float, extent: float) -> FloatArray:
    """[SIDE, length]: which fraction of each of SIDE equal parts of an extent lies in each pixel."""
    edges = start + extent * np.arange(SIDE + 1) / SIDE
    pixels = np.arange(length)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    shares: FloatArray = (np.maximum(high - low, 0) / (extent / SIDE)).astype(np.float32)
    return shares
