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
import numpy.typing as npt

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.looks import Raw, read
from krita_diffbmp.canvas.space import Space
from krita_diffbmp.problem import FloatArray

SIDE = 6  # cells
DIGEST = 9  # bytes of the hash


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
    height, width = raw.box.height(), raw.box.width()
    rows, columns = edges(height), edges(width)
    sums = premultiplied(raw)
    for axis, cuts in ((0, rows), (1, columns)):
        sums = np.add.reduceat(sums, cuts[:-1].clip(max=sums.shape[axis] - 1), axis=axis)
    areas = np.diff(rows)[:, None] * np.diff(columns)
    means = np.where(areas[..., None] > 0, sums / np.maximum(areas, 1)[..., None], 0)
    return base64.b64encode(np.rint(255 * means).astype(np.uint8).tobytes()).decode("ascii")


def edges(length: int) -> npt.NDArray[np.int64]:
    """Where the cells along a side of so many pixels begin and end, [SIDE + 1] whole pixels; some may be empty."""
    return np.arange(SIDE + 1) * length // SIDE


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


def grid(pixels: FloatArray, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> FloatArray:
    """Means of premultiplied pixels [h, w, C + 1] over the cells between these edges in px; 0 beyond the pixels."""
    down, across = coverage(pixels.shape[0], rows), coverage(pixels.shape[1], columns)
    means: Any = down @ np.moveaxis(pixels, -1, 0) @ across.T
    return np.moveaxis(means, 0, -1)


def coverage(length: int, cuts: npt.NDArray[Any]) -> FloatArray:
    """[SIDE, length]: which fraction of each cell lies in each pixel."""
    pixels = np.arange(length)
    low, high = np.maximum(cuts[:-1, None], pixels), np.minimum(cuts[1:, None], pixels + 1)
    extents = np.maximum(np.diff(cuts)[:, None], 1e-9)
    shares: FloatArray = (np.maximum(high - low, 0) / extents).astype(np.float32)
    return shares
