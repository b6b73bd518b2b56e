"""Pieces made by hand, with what they must look like worked out independently of the engine. Runs inside Krita."""

from __future__ import annotations

import math

import numpy as np

from krita_diffbmp.problem import LivePiece, PaintedPiece, Placements
from krita_diffbmp.qt import QBuffer, QByteArray, QImage, QIODevice

Matrix = tuple[float, float, float, float, float, float]  # a b c d e f: x' = a x + c y + e, y' = b x + d y + f
SIDE = 33  # px of the test bitmap: odd and off-centre, so that no symmetry hides an error


def blob() -> np.ndarray:
    """[SIDE, SIDE + 8, 4] straight alpha: a soft spot that fades out before the edges, centroid off the middle."""
    y, x = np.mgrid[0:SIDE, 0 : SIDE + 8] + 0.5
    alpha = np.exp(-(((x - 18.3) / 6) ** 2) - ((y - 15.1) / 5) ** 2)
    alpha[alpha < 0.004] = 0
    pixels = np.empty((*alpha.shape, 4), np.float32)
    pixels[..., :3] = (0.8, 0.4, 0.2)
    pixels[..., 3] = alpha
    return pixels


def png(pixels: np.ndarray) -> bytes:
    """[h, w, 4] straight alpha in [0, 1] as an 8-bit PNG."""
    levels = np.ascontiguousarray(np.rint(pixels * 255).astype(np.uint8))
    height, width = levels.shape[:2]
    image = QImage(levels.tobytes(), width, height, width * 4, QImage.Format.Format_RGBA8888)
    data = QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    assert image.save(buffer, "PNG")
    return bytes(data)


def matrix(width: int, height: int, x: float, y: float, rotation: float, scale: float) -> Matrix:
    """a b c d e f that puts the bitmap's centre at (x, y): p' = R(rotation) * scale * (p - centre) + (x, y)."""
    a, b = scale * math.cos(rotation), scale * math.sin(rotation)
    return a, b, -b, a, x - a * width / 2 + b * height / 2, y - b * width / 2 - a * height / 2


def live(pixels: np.ndarray, x: float, y: float, rotation: float, scale: float, opacity: float = 1.0) -> LivePiece:
    height, width = pixels.shape[:2]
    return LivePiece(png(pixels), width, height, matrix(width, height, x, y, rotation, scale), opacity)


def resample(pixels: np.ndarray, m: Matrix, width: int, height: int) -> np.ndarray:
    """[height, width, C + 1] straight alpha: the exact affine image under the matrix, by supersampled bilinear
    interpolation of premultiplied texels; slow and plain."""
    a, b, c, d, e, f = m
    inverse = np.linalg.inv(np.array([[a, c, e], [b, d, f], [0, 0, 1]]))
    n = 4
    steps = (np.arange(n) + 0.5) / n
    total = np.zeros((height, width, pixels.shape[2]))
    texels = pixels.astype(np.float64).copy()
    texels[..., :-1] *= texels[..., -1:]
    texels = np.pad(texels, ((1, 1), (1, 1), (0, 0)))
    for oy in steps:
        for ox in steps:
            y, x = np.mgrid[0:height, 0:width].astype(np.float64)
            u = inverse[0, 0] * (x + ox) + inverse[0, 1] * (y + oy) + inverse[0, 2] + 0.5
            v = inverse[1, 0] * (x + ox) + inverse[1, 1] * (y + oy) + inverse[1, 2] + 0.5
            u, v = np.clip(u, 0, texels.shape[1] - 1.001), np.clip(v, 0, texels.shape[0] - 1.001)
            i, j = u.astype(int), v.astype(int)
            s, t = (u - i)[..., None], (v - j)[..., None]
            top = texels[j, i] * (1 - s) + texels[j, i + 1] * s
            bottom = texels[j + 1, i] * (1 - s) + texels[j + 1, i + 1] * s
            total += top * (1 - t) + bottom * t
    total /= n * n
    alpha = total[..., -1:]
    total[..., :-1] = np.divide(total[..., :-1], alpha, out=np.zeros_like(total[..., :-1]), where=alpha > 0)
    return total.astype(np.float32)


def painted(
    pixels: np.ndarray, x: float, y: float, rotation: float, scale: float, opacity: float = 1.0
) -> PaintedPiece:
    """The bitmap's transformed pixels, in the box that holds them."""
    height, width = pixels.shape[:2]
    radius = math.ceil(scale * math.hypot(width, height) / 2) + 2
    left, top = math.floor(x) - radius, math.floor(y) - radius
    m = matrix(width, height, x - left, y - top, rotation, scale)
    return PaintedPiece(left, top, resample(pixels, m, 2 * radius, 2 * radius), opacity)


def placements(values: list[tuple[float, float, float, float, float]], channels: int = 3) -> Placements:
    """Of (x, y, rotation, scale, opacity) each, all of bitmap 0."""
    table = np.array(values, np.float32).reshape(-1, 5)
    color = np.full((len(table), channels), 0.5, np.float32)
    return Placements(table[:, :2], table[:, 2], table[:, 3], table[:, 4], color, np.zeros(len(table), np.int32))


def centroid(alpha: np.ndarray) -> tuple[float, float]:
    """x, y of the centre of mass, in px."""
    y, x = np.mgrid[0 : alpha.shape[0], 0 : alpha.shape[1]] + 0.5
    return float((alpha * x).sum() / alpha.sum()), float((alpha * y).sum() / alpha.sum())


def over(pictures: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """Porter-Duff over of (straight pixels [H, W, C + 1], opacity), the backmost first; premultiplied result."""
    result = np.zeros_like(pictures[0][0], dtype=np.float64)
    for pixels, opacity in pictures:
        alpha = pixels[..., -1:].astype(np.float64) * opacity
        source = np.concatenate([pixels[..., :-1] * alpha, alpha], axis=-1)
        result = source + result * (1 - alpha)
    return result
