"""What benchmarks/quality.py rebuilds: targets and bitmaps of many kinds, the same every time.

Nothing is fetched: the sample's photo and bitmaps, pictures drawn here, photographs of scikit-image where that is
installed, and, given a folder, the masks and targets that the paper's own code was measured with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from krita_diffbmp.problem import Bitmap, FloatArray, Problem, Settings

SAMPLE = Path(__file__).resolve().parents[1] / "sample"
SIDE = 512  # px, long side of the targets
FINE = 4  # what is drawn is drawn so many times larger
PEER_SETTINGS = {"instances": 1000, "min_size": 4 / 512, "max_size": 100 / 512, "background": "white"}
PEER_PSNR = {  # dB of the paper's own code after 100 and 500 iterations
    "peer-astronaut-fingerprint": (19.1, 19.87),
    "peer-astronaut-brush": (21.7, 22.59),
    "peer-astronaut-balls": (19.1, 20.04),
    "peer-chelsea-fingerprint": (24.5, 25.13),
    "peer-chelsea-brush": (27.2, 27.78),
    "peer-chelsea-balls": (24.9, 25.75),
}
PEER_MASKS = {"fingerprint": ("fingerprint",), "brush": ("paint_brush",), "balls": ("soccerball2", "circle")}


@dataclass(frozen=True)
class Case:
    """One picture to rebuild; `settings` are what differs from the docker's defaults."""

    name: str
    target: Callable[[], FloatArray]
    bitmaps: Callable[[], tuple[Bitmap, ...]]
    settings: dict[str, Any] = field(default_factory=dict)

    def problem(self, **settings: Any) -> Problem:
        return Problem(self.target(), self.bitmaps(), Settings(**{**self.settings, **settings}))


def straight(image: Image.Image) -> FloatArray:
    """A picture as [h, w, 4] in [0, 1]."""
    return np.asarray(image.convert("RGBA"), np.float32) / np.float32(255)


def fitted(image: Image.Image) -> Image.Image:
    """With a long side of SIDE px."""
    ratio = SIDE / max(image.size)
    size = max(1, round(image.width * ratio)), max(1, round(image.height * ratio))
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def mask(alpha: Image.Image, name: str) -> Bitmap:
    """A gray picture as the alpha of a white bitmap."""
    values = np.asarray(alpha.convert("L"), np.float32) / np.float32(255)
    return Bitmap(name, np.stack([*[np.ones_like(values)] * 3, values], 2))


def photo() -> Image.Image:
    return Image.open(SAMPLE / "photo.jpg")


def sample_bitmaps() -> tuple[Bitmap, ...]:
    return tuple(Bitmap(path.stem, straight(Image.open(path))) for path in sorted((SAMPLE / "bitmaps").glob("*.png")))


def gradient() -> Image.Image:
    """Colours that change slowly, and nothing else."""
    y, x = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) / SIDE
    waves = [0.5 + 0.45 * np.sin(2.2 * x + 3.1 * y + 2 * c) * np.cos(1.7 * y - c) for c in range(3)]
    return Image.fromarray((np.stack(waves, 2) * 255).round().astype(np.uint8))


def line_art() -> Image.Image:
    """Thin black curves on white."""
    size = SIDE * FINE
    image = Image.new("L", (size, size), 255)
    draw = ImageDraw.Draw(image)
    random = np.random.default_rng(5)
    for _ in range(14):
        phase, turns, radius = random.uniform(0, 7), random.uniform(0.3, 1.6), random.uniform(0.1, 0.45)
        center = random.uniform(0.2, 0.8, 2)
        angles = np.linspace(0, 2 * math.pi * turns, 200)
        reach = radius * (1 + 0.3 * np.sin(3 * angles + phase))
        points = center + reach[:, None] * np.stack([np.cos(angles + phase), np.sin(angles + phase)], 1)
        draw.line(
            [tuple(point) for point in points * size], fill=0, width=round(random.uniform(2, 6) * FINE), joint="curve"
        )
    return image.resize((SIDE, SIDE), Image.Resampling.BOX)


def text() -> Image.Image:
    """Letters of several sizes."""
    image = Image.new("RGB", (SIDE, SIDE * 3 // 4), (250, 246, 232))
    draw = ImageDraw.Draw(image)
    top = 8
    for size, words in (
        (96, "Dabs"),
        (64, "of paint"),
        (40, "and paper leaves"),
        (28, "each one a layer of its own"),
        (20, "0123456789 & so on: far smaller letters"),
    ):
        draw.text((14, top), words, fill=(30, 30, 60), font=ImageFont.load_default(size))
        top += round(size * 1.35)
    return image


def poster() -> Image.Image:
    """Flat colours with sharp edges."""
    size = SIDE * FINE
    image = Image.new("RGB", (size, size), (240, 200, 90))
    draw = ImageDraw.Draw(image)
    random = np.random.default_rng(3)
    for _ in range(24):
        center, corners = random.uniform(0, size, 2), int(random.integers(3, 7))
        angles = np.sort(random.uniform(0, 2 * math.pi, corners))
        points = center + random.uniform(0.08, 0.3) * size * np.stack([np.cos(angles), np.sin(angles)], 1)
        draw.polygon([tuple(point) for point in points], fill=tuple(int(v) for v in random.integers(0, 256, 3)))
    return image.resize((SIDE, SIDE), Image.Resampling.BOX)


def night() -> Image.Image:
    """Black, with small lights."""
    image = Image.new("RGB", (SIDE, SIDE))
    draw = ImageDraw.Draw(image)
    random = np.random.default_rng(8)
    for _ in range(160):
        x, y = random.uniform(0, SIDE, 2)
        radius, color = random.uniform(0.5, 3), random.integers(100, 256, 3)
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=tuple(int(v) for v in color))
    glow = sum(np.asarray(image.filter(ImageFilter.GaussianBlur(sigma)), np.float32) for sigma in (1, 3, 9))
    return Image.fromarray(np.clip(glow, 0, 255).astype(np.uint8))


def cutout() -> Image.Image:
    """The photo's head in a soft oval, transparent around it."""
    image = fitted(photo()).convert("RGB")
    alpha = Image.new("L", image.size, 0)
    ImageDraw.Draw(alpha).ellipse([image.width * 0.18, 10, image.width * 0.8, image.height - 10], fill=255)
    image.putalpha(alpha.filter(ImageFilter.GaussianBlur(4)))
    return image


def dot() -> tuple[Bitmap, ...]:
    y, x = (np.mgrid[0:12, 0:12] + 0.5) / 12 - 0.5
    return (mask(Image.fromarray((np.clip(2.5 - 5 * np.hypot(x, y), 0, 1) * 255).astype(np.uint8)), "dot"),)


def leaf() -> tuple[Bitmap, ...]:
    """A leaf far larger than any target."""
    y, x = (np.mgrid[0:900, 0:2000] + 0.5) / np.array([900, 2000])[:, None, None] * 2 - 1
    outline = (1 - x**2) ** 0.8 * (1 - 0.25 * x) * (1 + 0.05 * np.sin(40 * x))
    veins = np.abs(np.abs(y) - (x * 3 % 1) * outline) < 0.012
    alpha = np.where(np.abs(y) < outline, np.where(veins | (np.abs(y) < 0.015), 0.35, 1.0), 0.0)
    return (mask(Image.fromarray((alpha * 255).astype(np.uint8)), "leaf"),)


def strokes() -> tuple[Bitmap, ...]:
    """Thin strokes as of a pen."""
    found = []
    random = np.random.default_rng(2)
    for index in range(4):
        image = Image.new("L", (160 * FINE, 100 * FINE), 0)
        draw = ImageDraw.Draw(image)
        t = np.linspace(0, 1, 120)
        y = 0.5 + 0.35 * np.sin(t * random.uniform(2, 9) + random.uniform(0, 6)) * (0.4 + 0.6 * t)
        width = 3 + 6 * np.sin(math.pi * t) ** 2
        for place in range(120):
            cx, cy, r = (6 + 148 * t[place]) * FINE, 100 * FINE * y[place], width[place] * FINE / 2
            draw.ellipse([cx - r, cy - r, cx + r, cy + r], fill=255)
        found.append(mask(image.resize((160, 100), Image.Resampling.BOX), f"stroke {index}"))
    return tuple(found)


def _case(
    name: str, picture: Callable[[], Image.Image], bitmaps: Callable[[], tuple[Bitmap, ...]], **settings: Any
) -> Case:
    return Case(name, lambda: straight(fitted(picture())), bitmaps, settings)


def own_cases() -> list[Case]:
    """Those that need nothing but the project."""
    return [
        Case("sample", lambda: straight(photo()), sample_bitmaps),
        Case("sample-half", lambda: straight(photo()), sample_bitmaps, {"mu_blend": 0.5}),
        Case("sample-own", lambda: straight(photo()), sample_bitmaps, {"mu_blend": 1.0}),
        _case("photo-sample", photo, sample_bitmaps, instances=1000, min_size=0.01),
        _case("photo-dots", photo, dot, instances=1000, min_size=0.01, max_size=0.06),
        _case("photo-leaf", photo, leaf, instances=30, min_size=0.1, max_size=0.8),
        _case("photo-strokes", photo, strokes, instances=1000, max_size=0.25),
        _case("photo-many", photo, sample_bitmaps, instances=5000, min_size=0.01, max_size=0.1),
        _case("gradient-sample", gradient, sample_bitmaps, instances=100),
        _case("lines-strokes", line_art, strokes, instances=500),
        _case("lines-dots", line_art, dot, instances=1000, min_size=0.01, max_size=0.05),
        _case("text-strokes", text, strokes, instances=1000, min_size=0.01, max_size=0.15),
        _case("poster-sample", poster, sample_bitmaps),
        _case("night-dots", night, dot, max_size=0.1),
        _case("cutout-sample", cutout, sample_bitmaps),
    ]


def scikit_cases() -> list[Case]:
    """Those of photographs that scikit-image brings along, all free to use; none where it is not installed."""
    try:
        from skimage import data
    except ImportError:
        return []

    def read(name: str) -> Callable[[], Image.Image]:
        return lambda: Image.fromarray(getattr(data, name)())

    return [
        _case("coffee-sample", read("coffee"), sample_bitmaps),
        _case("rocket-strokes", read("rocket"), strokes, instances=1000, min_size=0.01),
        _case("hubble-dots", read("hubble_deep_field"), dot, instances=1000, min_size=0.01, max_size=0.1),
        _case("page-strokes", read("page"), strokes, instances=1000, min_size=0.01, max_size=0.15),
        _case("moon-leaf", read("moon"), leaf, min_size=0.04, max_size=0.4),
        _case("grass-sample", read("grass"), sample_bitmaps, instances=1000, min_size=0.01, max_size=0.1),
    ]


def peer_cases(folder: Path) -> list[Case]:
    """The paper's: N = 1000 tints on white, longest sides of 4 to 100 px of 512, its half-sizes of 2 to 50 px.

    The folder holds targets/astronaut.png, targets/chelsea.png and masks/fingerprint.png, paint_brush.png,
    soccerball2.png and circle.png.
    """

    def picture(name: str) -> Callable[[], FloatArray]:
        return lambda: straight(Image.open(folder / "targets" / f"{name}.png"))

    def bitmaps(names: tuple[str, ...]) -> Callable[[], tuple[Bitmap, ...]]:
        return lambda: tuple(mask(Image.open(folder / "masks" / f"{name}.png"), name) for name in names)

    return [
        Case(name, picture(name.split("-")[1]), bitmaps(PEER_MASKS[name.split("-")[2]]), dict(PEER_SETTINGS))
        for name in PEER_PSNR
    ]


def all_cases(peer: Path | None = None) -> dict[str, Case]:
    """By name."""
    cases = [*own_cases(), *scikit_cases(), *(peer_cases(peer) if peer else [])]
    return {case.name: case for case in cases}
