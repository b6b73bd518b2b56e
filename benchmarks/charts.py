"""Pictures for benchmarks/quality.py: side by side, and curves. Drawn with Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from krita_diffbmp.problem import FloatArray

PANEL = 384  # px, long side of a picture in a row of them
TITLE = 40  # px, height of the text above them
ERROR_GAIN = 4.0  # an error map is so much brighter than the error
CHART = (900, 480)  # px
MARGIN = (60, 24, 290, 50)  # px, left, top, right, bottom
COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _eight_bit(image: FloatArray) -> Image.Image:
    values: npt.NDArray[np.uint8] = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(values if values.shape[2] == 3 else np.repeat(values[..., :1], 3, 2))


def save_side_by_side(path: Path, panels: Sequence[tuple[str, FloatArray]]) -> None:
    """Pictures [h, w, 3 or 1] over white in a row, with a few lines of text above each."""
    height, width, _ = panels[0][1].shape
    ratio = PANEL / max(height, width)
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    sheet = Image.new("RGB", (len(panels) * (size[0] + 8) - 8, size[1] + TITLE), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (title, image) in enumerate(panels):
        left = index * (size[0] + 8)
        draw.text((left + 2, 2), title, fill="black", font=_font(14))
        sheet.paste(_eight_bit(image).resize(size, Image.Resampling.LANCZOS), (left, TITLE))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=88)


def error_map(picture: FloatArray, target: FloatArray) -> FloatArray:
    """The mean absolute difference of two pictures [h, w, C], brighter: [h, w, 1]."""
    difference: FloatArray = np.abs(picture - target).mean(2, keepdims=True)
    return difference * np.float32(ERROR_GAIN)


def _ticks(low: float, high: float) -> list[float]:
    """Four to ten round numbers within a range."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-9)))
    step = next(step * part for part in (0.1, 0.2, 0.5, 1.0) if (high - low) / (step * part) <= 10)
    first = math.ceil(low / step)
    return [tick * step for tick in range(first, math.floor(high / step) + 1)]


def save_curves(
    path: Path,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    across: str,
    up: str,
    logarithmic: bool = False,
) -> None:
    """Lines through points (x, y), named at the right; x in powers of ten where it is `logarithmic`."""

    def scaled(x: float) -> float:
        return math.log10(x) if logarithmic else x

    points = [(scaled(x), y) for curve in curves.values() for x, y in curve]
    low_x, high_x = min(x for x, _ in points), max(x for x, _ in points)
    low_y, high_y = min(y for _, y in points), max(y for _, y in points)
    left, top, right, bottom = MARGIN
    width, height = CHART[0] - left - right, CHART[1] - top - bottom

    def place(x: float, y: float) -> tuple[float, float]:
        part_x = (scaled(x) - low_x) / ((high_x - low_x) or 1)
        part_y = (y - low_y) / ((high_y - low_y) or 1)
        return left + part_x * width, top + (1 - part_y) * height

    image = Image.new("RGB", CHART, "white")
    draw = ImageDraw.Draw(image)
    font = _font(14)
    places = sorted({x for curve in curves.values() for x, _ in curve}) if logarithmic else _ticks(low_x, high_x)
    for x in places:
        at, _ = place(x, low_y)
        draw.line([(at, top), (at, top + height)], fill="#e0e0e0")
        draw.text((at, top + height + 6), f"{x:g}", fill="black", font=font, anchor="mt")
    for y in _ticks(low_y, high_y):
        _, at = place(10**low_x if logarithmic else low_x, y)
        draw.line([(left, at), (left + width, at)], fill="#e0e0e0")
        draw.text((left - 6, at), f"{y:g}", fill="black", font=font, anchor="rm")
    draw.text((left + width / 2, CHART[1] - 8), across, fill="black", font=font, anchor="mb")
    draw.text((6, 4), up, fill="black", font=font)
    ends = sorted(curves, key=lambda name: -curves[name][-1][1])
    for index, name in enumerate(ends):
        color = COLORS[index % len(COLORS)]
        draw.line([place(x, y) for x, y in curves[name]], fill=color, width=2)
        draw.text((left + width + 10, top + index * 20), f"{name}", fill=color, font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
