"""A result as pieces of a picture: what becomes the native layer of each instance.

Both forms are cut from the very texels that the engine draws, at the mip level that suits the scale in the
document, so that Krita composites what was optimised.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from krita_diffbmp.engine import pyramid
from krita_diffbmp.engine.reference import bounding_boxes, mip_levels
from krita_diffbmp.engine.scene import Bitmaps, Instances
from krita_diffbmp.problem import DiffBmpError, FloatArray, LivePiece, PaintedPiece, Placements, Problem

PNG_COMPRESSION = 1  # zlib's fastest: Krita reads the file once and compresses it anew
STRIP = 1 << 14  # pixels drawn at once: what they take on the way fits into the processor's cache
SMALLEST = np.finfo(np.float32).tiny

Matrix = tuple[float, float, float, float, float, float]  # x' = a x + c y + e, y' = b x + d y + f


def live_pieces(problem: Problem, placements: Placements, which: Sequence[int] | None = None) -> Iterator[LivePiece]:
    """Every instance, or only these, as an image under a matrix, in this order, which is backmost first.

    Raises DiffBmpError unless the colours are RGB.
    """
    if placements.color.shape[1] != 3:
        raise DiffBmpError("Live layers exist for RGB documents only. Choose painted layers, or convert the document.")
    chosen = _chosen(problem, placements, which)
    for index, level in enumerate(chosen.levels):
        mu_blend = chosen.mu_blend[index]
        framed = _framed(chosen.bitmaps, level, mu_blend)
        yield LivePiece(
            png=_png(_levels(framed, chosen.placements.color[index], mu_blend)),
            width=float(framed.shape[1]),
            height=float(framed.shape[0]),
            matrix=chosen.matrix(index),
            opacity=float(chosen.placements.opacity[index]),
        )


def painted_pieces(
    problem: Problem, placements: Placements, which: Sequence[int] | None = None
) -> Iterator[PaintedPiece]:
    """Every instance, or only these, as the pixels that the engine draws at opacity 1, in order: backmost first.

    An instance wholly outside the picture has its pixels all the same; one too small to meet the centre of a pixel
    has a single transparent one.
    """
    chosen = _chosen(problem, placements, which)
    boxes = bounding_boxes(chosen.bitmaps, chosen.instances, chosen.levels)
    low = (boxes[:, :2] - 0.5).ceil().long()  # the first and the last pixel whose centre is within
    high = torch.maximum((boxes[:, 2:] - 0.5).floor().long(), low)
    for index, level in enumerate(chosen.levels):
        mu_blend = chosen.mu_blend[index]
        framed = _framed(chosen.bitmaps, level, mu_blend)
        left, top = low[index].tolist()
        right, bottom = high[index].tolist()
        x = np.arange(left, right + 1, dtype=np.float32) + np.float32(0.5)
        y = np.arange(top, bottom + 1, dtype=np.float32)[:, None] + np.float32(0.5)
        a, b, c, d, e, f = _inverse(chosen.matrix(index))
        tint = chosen.placements.color[index]
        pixels = np.empty((y.size, x.size, len(tint) + 1), np.float32)
        rows = max(1, STRIP // x.size)
        for start in range(0, y.size, rows):
            part = y[start : start + rows]
            drawn = _bilinear(framed, a * x + c * part + np.float32(e - 0.5), b * x + d * part + np.float32(f - 0.5))
            pixels[start : start + rows] = _straight(drawn, tint, mu_blend)
        yield PaintedPiece(x=left, y=top, pixels=pixels, opacity=float(chosen.placements.opacity[index]))


@dataclass(frozen=True)
class _Chosen:
    """The instances that become pieces, at the resolution of the document."""

    placements: Placements
    mu_blend: list[float]
    bitmaps: Bitmaps  # those in use
    instances: Instances
    levels: Tensor  # [N, LEVEL_FIELDS], what each draws

    def matrix(self, index: int) -> Matrix:
        """From texels of the level, (0, 0) being the corner of its border, to pixels of the document."""
        _, width, height = self.levels[index, :3].tolist()
        bitmap_width, bitmap_height = pyramid.level_size(self.bitmaps, int(self.instances.bitmap[index]), 0)
        x, y = self.placements.position[index].tolist()
        scale, angle = float(self.placements.scale[index]), float(self.placements.rotation[index])
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        if self.placements.stretch is not None:
            turn = turn @ self.placements.stretch[index]
        (a, c), (b, d) = (turn * [scale * bitmap_width / width, scale * bitmap_height / height]).tolist()
        half_width, half_height = width / 2 + 1, height / 2 + 1
        return a, b, c, d, x - a * half_width - c * half_height, y - b * half_width - d * half_height


def _chosen(problem: Problem, placements: Placements, which: Sequence[int] | None) -> _Chosen:
    if which is not None:
        there = {name: values for name, values in vars(placements).items() if values is not None}
        placements = replace(placements, **{name: values[np.asarray(which, np.intp)] for name, values in there.items()})
    # Only the bitmaps in use, since their pyramids are what takes time; the first of all where there are no instances.
    used, bitmap = np.unique(placements.bitmap, return_inverse=True)
    used = used if len(used) else np.zeros(1, np.int32)
    largest = np.full(len(used), SMALLEST)
    np.maximum.at(largest, bitmap, placements.scale)
    smallest = largest.copy()
    np.minimum.at(smallest, bitmap, placements.scale)
    scales = list(zip(smallest.tolist(), largest.tolist(), strict=True))
    bitmaps = pyramid.pack([problem.bitmaps[index].pixels for index in used], scales=scales)
    instances = Instances(
        position=torch.from_numpy(placements.position),
        rotation=torch.from_numpy(placements.rotation),
        scale=torch.from_numpy(placements.scale),
        opacity=torch.from_numpy(placements.opacity),
        color=torch.from_numpy(placements.color),
        bitmap=torch.from_numpy(bitmap.astype(np.int32)),
        stretch=None if placements.stretch is None else torch.from_numpy(placements.stretch),
    )
    mu_blend = placements.mu_blend
    blends = [problem.settings.mu_blend] * len(bitmap) if mu_blend is None else mu_blend.tolist()
    return _Chosen(placements, blends, bitmaps, instances, mip_levels(bitmaps, instances))


def _framed(bitmaps: Bitmaps, level: Tensor, mu_blend: float) -> FloatArray:
    """A level with its border of one transparent texel: premultiplied [rows, columns, C + 1].

    Alpha alone, [rows, columns, 1], where mu_blend leaves nothing of the bitmap's own colours.
    """
    offset, width, height = level[:3].tolist()
    planes = bitmaps.texels[-1:] if mu_blend == 0 else bitmaps.texels
    block = planes[:, offset : offset + (width + 2) * (height + 2)]
    texels: FloatArray = block.view(-1, height + 2, width + 2).permute(1, 2, 0).contiguous().numpy()
    return texels


def _inverse(matrix: Matrix) -> Matrix:
    a, b, c, d, e, f = matrix
    area = a * d - b * c
    return d / area, -b / area, -c / area, a / area, (c * f - d * e) / area, (b * e - a * f) / area


def _bilinear(framed: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Samples [rows, columns, c] at x, y [h, w], texel centres at integers: [h, w, c], zero outside.

    numpy, because hundreds of small tensors would keep waking torch's threads.
    """
    rows, columns, planes = framed.shape
    outside = (x <= 0) | (x >= columns - 1) | (y <= 0) | (y >= rows - 1)
    x, y = np.where(outside, np.float32(0), x), np.where(outside, np.float32(0), y)
    column, row = x.astype(np.int32), y.astype(np.int32)
    x, y = (x - column)[..., None], (y - row)[..., None]
    first = row * columns + column
    flat = framed.reshape(-1, planes)

    def between(start: int) -> FloatArray:
        left = flat.take(first + start, axis=0)
        right: FloatArray = flat.take(first + (start + 1), axis=0)
        right -= left
        right *= x
        right += left
        return right

    upper, lower = between(0), between(columns)
    lower -= upper
    lower *= y
    lower += upper
    lower[outside] = 0
    return lower


def _straight(drawn: FloatArray, tint: FloatArray, mu_blend: float) -> FloatArray:
    """Premultiplied [h, w, C + 1], or alpha alone [h, w, 1] where mu_blend is 0, to tinted pixels of straight alpha."""
    alpha = drawn[..., -1:]
    pixels = np.empty((*alpha.shape[:2], len(tint) + 1), np.float32)
    pixels[..., -1:] = alpha
    pixels[..., :-1] = (1 - mu_blend) * tint
    if mu_blend > 0:
        pixels[..., :-1] += drawn[..., :-1] * (mu_blend / np.maximum(alpha, SMALLEST))
    return pixels


def _levels(framed: FloatArray, tint: FloatArray, mu_blend: float) -> npt.NDArray[np.uint8]:
    """`_straight` in 8 bits."""
    if mu_blend > 0:
        return _eight_bits(_straight(framed, tint, mu_blend))
    levels = np.empty((*framed.shape[:2], 4), np.uint8)
    levels[..., :3], levels[..., 3:] = _eight_bits(tint), _eight_bits(framed)
    return levels


def _eight_bits(values: FloatArray) -> npt.NDArray[np.uint8]:
    return (values.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _png(levels: npt.NDArray[np.uint8]) -> bytes:
    """Straight [h, w, 4] as an 8-bit RGBA file.

    Written here, so that nothing but numpy and torch has to be installed for Krita's Python.
    """
    height, width, _ = levels.shape
    rows = np.ones((height, 1 + 4 * width), np.uint8)  # a row begins with 1: each byte less the one of the pixel before
    rows[:, 1:] = levels.reshape(height, 4 * width)
    rows[:, 5:] -= levels.reshape(height, 4 * width)[:, :-4]
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)  # 8 bits, RGBA
    data = zlib.compress(rows.tobytes(), PNG_COMPRESSION)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
