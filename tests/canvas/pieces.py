"""Pieces made by hand, with what they must look like worked out independently of the engine. Runs inside Krita."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from krita_diffbmp.problem import LivePiece, PaintedPiece, Placements
from krita_diffbmp.qt import QBuffer, QByteArray, QImage, QIODevice

Matrix = tuple[float, float, float, float, float, float]  # a b c d e f: x' = a x + c y + e, y' = b x + d y + f
HEIGHT, WIDTH = 36, 44  # px of the test bitmap


def blob(channels: int = 3) -> np.ndarray:
    """[HEIGHT, WIDTH, C + 1] straight alpha: a soft spot off the middle that fades out before the edges."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    alpha = np.exp(-(((x - 18.3) / 6) ** 2) - ((y - 15.1) / 5) ** 2)
    alpha[alpha < 0.004] = 0
    pixels = np.empty((HEIGHT, WIDTH, channels + 1), np.float32)
    pixels[..., :-1] = (0.8, 0.4, 0.2, 0.1)[:channels]
    pixels[..., -1] = alpha
    return pixels


def scrap() -> np.ndarray:
    """[HEIGHT, WIDTH, 4] a torn, striped scrap: hard edges, several colours, holes."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.float32)
    pixels[..., 0] = (x // 6) % 2
    pixels[..., 1] = y / HEIGHT
    pixels[..., 2] = 0.3
    pixels[..., 3] = (np.abs(x - WIDTH / 2) + np.abs(y - HEIGHT / 2) < 18) & ((x - 20) ** 2 + (y - 14) ** 2 > 16)
    return pixels


def shrunk(pixels: np.ndarray, by: int) -> np.ndarray:
    """The mean of by x by blocks, premultiplied as it must be."""
    height, width, channels = pixels.shape
    colour = pixels.astype(np.float64).copy()
    colour[..., :-1] *= colour[..., -1:]
    blocks = colour.reshape(height // by, by, width // by, by, channels).mean(axis=(1, 3))
    alpha = blocks[..., -1:]
    blocks[..., :-1] = np.divide(blocks[..., :-1], alpha, out=np.zeros_like(blocks[..., :-1]), where=alpha > 0)
    result: np.ndarray = blocks.astype(np.float32)
    return result


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


def matrix(
    width: int, height: int, x: float, y: float, rotation: float, scale: float, stretch: np.ndarray | None = None
) -> Matrix:
    """a b c d e f that puts the bitmap's centre at (x, y): p' = scale R(rotation) stretch (p - centre) + (x, y)."""
    cosine, sine = scale * math.cos(rotation), scale * math.sin(rotation)
    linear = np.array([[cosine, -sine], [sine, cosine]]) @ (np.eye(2) if stretch is None else stretch)
    a, c, b, d = map(float, linear.ravel())
    return a, b, c, d, x - a * width / 2 - c * height / 2, y - b * width / 2 - d * height / 2


def live(
    pixels: np.ndarray, x: float, y: float, rotation: float, scale: float, opacity: float = 1.0, shrink: int = 1
) -> LivePiece:
    """shrink: the PNG holds the bitmap reduced so many times, and is shown at the bitmap's size all the same."""
    height, width = pixels.shape[:2]
    image = png(shrunk(pixels, shrink) if shrink > 1 else pixels)
    return LivePiece(image, width, height, matrix(width, height, x, y, rotation, scale), opacity)


def resample(pixels: np.ndarray, m: Matrix, width: int, height: int) -> np.ndarray:
    """[height, width, C + 1] straight alpha: the exact affine image under the matrix, by supersampled bilinear
    interpolation of premultiplied texels."""
    a, b, c, d, e, f = m
    inverse = np.linalg.inv(np.array([[a, c, e], [b, d, f], [0, 0, 1]]))
    corners = np.array([[0, 0], [pixels.shape[1], 0], [0, pixels.shape[0]], pixels.shape[1::-1]])
    reached = corners @ np.array([[a, b], [c, d]]) + (e, f)
    low, high = np.floor(reached.min(0)).astype(int) - 2, np.ceil(reached.max(0)).astype(int) + 2
    x0, y0 = np.clip(low, 0, (width, height))
    x1, y1 = np.clip(high, 0, (width, height))
    texels = pixels.astype(np.float64).copy()
    texels[..., :-1] *= texels[..., -1:]
    texels = np.pad(texels, ((1, 1), (1, 1), (0, 0)))
    n = 4
    total = np.zeros((y1 - y0, x1 - x0, pixels.shape[2]))
    for oy in (np.arange(n) + 0.5) / n:
        for ox in (np.arange(n) + 0.5) / n:
            y, x = np.mgrid[y0:y1, x0:x1].astype(np.float64)
            u = inverse[0, 0] * (x + ox) + inverse[0, 1] * (y + oy) + inverse[0, 2] + 0.5
            v = inverse[1, 0] * (x + ox) + inverse[1, 1] * (y + oy) + inverse[1, 2] + 0.5
            u, v = np.clip(u, 0, texels.shape[1] - 1.001), np.clip(v, 0, texels.shape[0] - 1.001)
            i, j = u.astype(int), v.astype(int)
            s, t = (u - i)[..., None], (v - j)[..., None]
            top = texels[j, i] * (1 - s) + texels[j, i + 1] * s
            bottom = texels[j + 1, i] * (1 - s) + texels[j + 1, i + 1] * s
            total += top * (1 - t) + bottom * t
    result = np.zeros((height, width, pixels.shape[2]), np.float32)
    alpha = total[..., -1:] / n**2
    colour = np.divide(total[..., :-1], n**2 * alpha, out=np.zeros_like(total[..., :-1]), where=alpha > 0)
    result[y0:y1, x0:x1] = np.concatenate([colour, alpha], axis=-1)
    return result


def painted(
    pixels: np.ndarray, x: float, y: float, rotation: float, scale: float, opacity: float = 1.0
) -> PaintedPiece:
    """The bitmap's transformed pixels, in the box that holds them."""
    height, width = pixels.shape[:2]
    radius = math.ceil(scale * math.hypot(width, height) / 2) + 2
    left, top = math.floor(x) - radius, math.floor(y) - radius
    m = matrix(width, height, x - left, y - top, rotation, scale)
    return PaintedPiece(left, top, resample(pixels, m, 2 * radius, 2 * radius), opacity)


def painted_under(pixels: np.ndarray, m: Matrix, opacity: float) -> PaintedPiece:
    """The bitmap's pixels under a matrix, in the box that holds them."""
    height, width = pixels.shape[:2]
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)]) @ np.array([m[0:2], m[2:4]]) + m[4:]
    left, top = np.floor(corners.min(0)).astype(int) - 1
    right, bottom = np.ceil(corners.max(0)).astype(int) + 1
    moved = (*m[:4], m[4] - left, m[5] - top)
    return PaintedPiece(int(left), int(top), resample(pixels, moved, right - left, bottom - top), opacity)


def placements(values: Sequence[tuple[float, ...]], channels: int = 3) -> Placements:
    """Of (x, y, rotation, scale, opacity, ...) each, all of bitmap 0."""
    table = np.array([value[:5] for value in values], np.float32).reshape(-1, 5)
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


def psnr(shown: np.ndarray, expected: np.ndarray) -> float:
    """dB between two pictures in [0, 1]"""
    return float(-10 * np.log10(max(float(np.mean((shown - expected) ** 2)), 1e-12)))
