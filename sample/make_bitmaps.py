#!/usr/bin/env python3
"""Draw the sample bitmaps: brush strokes, leaves, petals, torn paper and a watercolour blot.

    python3 sample/make_bitmaps.py [FOLDER]      # default: sample/bitmaps

Needs numpy and Pillow. Every bitmap has its own random stream, so the same picture comes out each time and
one can be changed without the others. All are drawn at three times their size and averaged down with
premultiplied alpha, then cropped to what is visible.

Much of what makes a bitmap look hand-made is kept in its alpha (bristles, veins, fibres, granulation): an
instance that is tinted in one flat colour still shows it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float64]
Rng = np.random.Generator

OVERSAMPLING = 3
LIGHT = np.array([-0.6, -0.8])  # from the upper left


def grid(width: int, height: int) -> tuple[Array, Array]:
    """Oversampled pixel centres x, y, [height * 3, width * 3], in pixels of the finished bitmap."""
    x = (np.arange(width * OVERSAMPLING) + 0.5) / OVERSAMPLING
    y = (np.arange(height * OVERSAMPLING) + 0.5) / OVERSAMPLING
    columns, rows = np.meshgrid(x, y)
    return columns, rows


def step(edge0: float | Array, edge1: float | Array, x: Array) -> Array:
    """0 below edge0, 1 above edge1, smooth between."""
    t = np.clip((x - edge0) / (np.asarray(edge1) - edge0), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def blur(image: Array, sigma_y: float, sigma_x: float) -> Array:
    """Periodic Gaussian blur; the standard deviations are in array elements."""
    fy = np.fft.fftfreq(image.shape[0])[:, None]
    fx = np.fft.rfftfreq(image.shape[1])[None, :]
    kernel = np.exp(-2.0 * np.pi**2 * ((fy * sigma_y) ** 2 + (fx * sigma_x) ** 2))
    return np.asarray(np.fft.irfft2(np.fft.rfft2(image) * kernel, s=image.shape))


def noise(rng: Rng, shape: tuple[int, ...], sigma_y: float, sigma_x: float | None = None) -> Array:
    """Smooth noise with mean 0 and standard deviation 1; sigma in array elements."""
    field = blur(rng.standard_normal(shape), sigma_y, sigma_y if sigma_x is None else sigma_x)
    return np.asarray((field - field.mean()) / field.std())


def cloud(rng: Rng, shape: tuple[int, ...], sigma: float, octaves: int = 4) -> Array:
    """Fractal noise, standard deviation 1: sigma is that of the coarsest octave, each finer one has half."""
    field = sum(noise(rng, shape, sigma / 2**k) * 0.55**k for k in range(octaves))
    return np.asarray(field / np.std(field))


def curve(rng: Rng, count: int, sigma: float) -> Array:
    """A smooth random function of one variable, [count], standard deviation 1."""
    return noise(rng, (1, count), 0.0, sigma).ravel()


def sample(texture: Array, u: Array, v: Array) -> Array:
    """Bilinear look-up of texture [rows, columns] at u (columns) and v (rows), both in [0, 1]."""
    rows, columns = texture.shape
    x = np.clip(u, 0.0, 1.0) * (columns - 1)
    y = np.clip(v, 0.0, 1.0) * (rows - 1)
    x0 = np.minimum(x.astype(int), columns - 2)
    y0 = np.minimum(y.astype(int), rows - 2)
    fx, fy = x - x0, y - y0
    top = texture[y0, x0] * (1 - fx) + texture[y0, x0 + 1] * fx
    bottom = texture[y0 + 1, x0] * (1 - fx) + texture[y0 + 1, x0 + 1] * fx
    return np.asarray(top * (1 - fy) + bottom * fy)


def relief(height: Array) -> Array:
    """How much brighter a bumpy surface is under the light; height in pixels."""
    dy, dx = np.gradient(height, 1.0 / OVERSAMPLING)
    return np.asarray(np.tanh(-(dx * LIGHT[0] + dy * LIGHT[1])))


def colours(*stops: tuple[int, int, int]) -> Callable[[Array], Array]:
    """A gradient through the given 8-bit colours: position in [0, 1] -> [..., 3] in [0, 1]."""
    table = np.array(stops, dtype=float) / 255.0
    places = np.linspace(0.0, 1.0, len(stops))
    return lambda t: np.stack([np.interp(t, places, table[:, c]) for c in range(3)], axis=-1)


def finish(rgb: Array, alpha: Array) -> Image.Image:
    """Average down with premultiplied alpha, crop to content, straight 8-bit RGBA."""
    alpha = np.clip(alpha, 0.0, 1.0)
    planes = np.concatenate([np.clip(rgb, 0.0, 1.0) * alpha[..., None], alpha[..., None]], axis=-1)
    h, w = alpha.shape[0] // OVERSAMPLING, alpha.shape[1] // OVERSAMPLING
    planes = planes.reshape(h, OVERSAMPLING, w, OVERSAMPLING, 4).mean(axis=(1, 3))
    a = np.round(planes[..., 3] * 255.0)
    rows, columns = np.flatnonzero(a.max(axis=1) > 2), np.flatnonzero(a.max(axis=0) > 2)
    # Straight colours in steps of 4 levels: invisible, and a third off the file.
    straight = np.round(planes[..., :3] / np.maximum(planes[..., 3:], 1e-6) * 63.0) * (255.0 / 63.0)
    pixels = np.concatenate([np.where(a[..., None] > 0, straight, 0.0), a[..., None]], axis=-1)
    pixels = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Image.fromarray(np.clip(np.round(pixels), 0, 255).astype(np.uint8))


def stroke(
    seed: int,
    size: tuple[int, int],
    half_width: float,
    sag: float,
    dryness: float,
    bristles: int,
    pigment: Callable[[Array], Array],
    taper: float = 0.0,
    cover: float = 1.0,
) -> Image.Image:
    """One pull of a bristle brush from left to right.

    `sag` is how far (px) the middle of its path hangs below its ends, `dryness` how soon the paint breaks
    up, `taper` how much narrower it ends.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    x, y = grid(width, height)
    margin = 7.0
    t = (x - margin) / (width - 2 * margin)  # along the path
    middle = height / 2 - sag / 2 + sag * (1 - (2 * t - 1) ** 2)
    slope = np.cos(np.arctan(sag * 4 * (1 - 2 * t) / (width - 2 * margin)))  # a path that runs uphill is not wider
    pressure = (0.78 + 0.22 * step(0.0, 0.12, t)) * (1.0 - taper * np.clip(t, 0.0, 1.0) ** 1.6)
    s = (y - middle) * slope / (half_width * pressure)  # across it, -1 to 1

    rows, columns = bristles * 5, 320
    hair = np.repeat(curve(rng, rows, 1.6)[:, None], columns, axis=1)
    ridge = 0.62 * hair + 0.5 * noise(rng, (rows, columns), 1.3, 60.0) + 0.22 * noise(rng, (rows, columns), 0.8, 7.0)
    ridge /= ridge.std()
    u, v = t, (s + 1) / 2
    paint = sample(ridge, u, v)

    begin = sample(np.repeat((0.025 + 0.012 * curve(rng, rows, 3.0))[:, None], 2, axis=1), u, v)
    end = 0.95 - 0.07 * np.abs(curve(rng, rows, 2.2)) - 0.05 * np.abs(curve(rng, rows, 9.0))
    end = sample(np.repeat(end[:, None], 2, axis=1), u, v)
    round_start = 0.05 * s**2
    ragged = 1.0 - 0.05 * np.abs(sample(noise(rng, (4, columns), 1.0, 9.0), u, v * 0 + 0.5))

    load = 1.55 + 0.4 * cover - dryness * (0.15 + 2.6 * np.clip(t, 0, 1) ** 1.5) - 0.9 * step(0.72, 1.0, np.abs(s))
    load -= 1.6 * dryness * step(0.75, 1.0, t)
    alpha = step(-0.55, 0.75, 0.85 * paint + load)
    alpha *= step(0.0, 0.018, t - begin - round_start) * (1.0 - step(-0.05, 0.012, t - end))
    alpha *= 1.0 - step(ragged - 0.05, ragged + 0.015, np.abs(s))
    alpha *= 0.86 + 0.14 * step(-1.2, 0.6, paint)

    streak = sample(noise(rng, (rows, columns), 2.4, 90.0), u, v)
    tone = np.clip(0.5 + 0.2 * streak + 0.09 * paint, 0.0, 1.0)
    ridge_light = relief(blur(paint * alpha, 1.2, 1.2) * 0.8)
    rgb = pigment(tone) * (1.0 + 0.16 * ridge_light[..., None]) + 0.05 * np.maximum(ridge_light, 0.0)[..., None]
    return finish(rgb, alpha)


def dab(seed: int, size: tuple[int, int], pigment: Callable[[Array], Array]) -> Image.Image:
    """A round brush pressed down and lifted with a slight turn: thick in the middle, swirled, soft at the rim."""
    rng = np.random.default_rng(seed)
    width, height = size
    x, y = grid(width, height)
    dx, dy = (x - width / 2) / (width / 2 - 6), (y - height / 2) / (height / 2 - 6)
    radius = np.hypot(dx, dy)
    angle = np.arctan2(dy, dx)
    wobble = cloud(rng, x.shape, 60.0, 3)
    radius = radius * (1.0 + 0.045 * wobble)
    turned = (angle + 0.75 * radius + np.pi) / (2 * np.pi) % 1.0
    hairs = noise(rng, (64, 300), 14.0, 3.2) + 0.35 * noise(rng, (64, 300), 6.0, 1.2)
    hairs /= hairs.std()
    seam = sample(np.concatenate([hairs, hairs[:, :1]], axis=1), turned, radius)
    seam = seam * step(0.1, 0.6, radius) + 0.5 * wobble * (1 - step(0.1, 0.6, radius))
    alpha = 1.0 - step(0.84 + 0.035 * seam, 0.97 + 0.025 * seam, radius)
    alpha *= 1.0 - 0.16 * step(0.3, 1.8, seam) * step(0.35, 0.8, radius)
    tone = np.clip(0.45 + 0.07 * seam + 0.18 * wobble, 0.0, 1.0)
    bead = np.exp(-(((radius - 0.72) / 0.14) ** 2))
    light = relief(blur(0.4 * seam + 2.6 * bead + 1.6 * wobble, 2.0, 2.0))
    rgb = pigment(tone) * (1.0 + 0.17 * light[..., None]) + 0.05 * np.maximum(light, 0.0)[..., None]
    return finish(rgb, alpha)


def leaf(
    seed: int,
    size: tuple[int, int],
    outline: Callable[[Array], Array],
    veins: int,
    lobes: float,
    serration: float,
    bend: float,
    pigment: Callable[[Array], Array],
) -> Image.Image:
    """A leaf with its stalk to the left: `outline` is the half width (px) along the blade, `lobes` how deep
    the bays between the side veins are cut, `bend` how far (px) the midrib is bowed.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    x, y = grid(width, height)
    stalk = 0.17 * width
    t = (x - stalk - 4) / (width - stalk - 10)  # along the blade
    inside = np.clip(t, 0.0, 1.0)
    middle = height / 2 + bend * (1 - (2 * np.clip(t, -0.35, 1.0) - 0.7) ** 2) - bend / 2
    across = y - middle + 0.6 * cloud(rng, x.shape, 30.0, 2)
    half = np.maximum(outline(inside), 1e-3)
    d = np.minimum(np.abs(across) / half, 1.5)
    side = np.sign(across)

    # Side veins leave the midrib forwards and curve towards the tip: they run where the phase is whole.
    phase = veins * (t - 0.22 * d + 0.07 * d**2) + 0.25 * side + 0.1 * cloud(rng, x.shape, 40.0, 2)
    py, px = np.gradient(phase, 1.0 / OVERSAMPLING)
    off_vein = np.abs(phase - np.round(phase)) / np.maximum(np.hypot(px, py), 1e-3)  # px
    bay = np.abs(np.sin(np.pi * phase)) ** 3.5
    tooth = np.abs((3.0 * phase) % 1.0 - 0.35)
    edge = half * (1.0 - lobes * bay * step(0.02, 0.25, t) * (1 - step(0.86, 1.0, t))) - serration * tooth
    reach = (edge - np.abs(across)) * 0.8  # px to the edge, roughly
    blade = step(-0.5, 0.8, reach) * step(-0.004, 0.004, t) * (1 - step(0.995, 1.005, t))

    stem_half = 1.5 + 1.4 * step(0.1, 0.0, x / stalk)
    stem = (1 - step(stem_half - 0.6, stem_half + 0.5, np.abs(y - middle))) * step(3.0, 4.2, x) * (t < 0.5)
    rib = 1 - step(0.3, 1.1, np.abs(across) - 1.5 * (1 - inside))
    vein = (1 - step(0.15, 1.0, off_vein - 0.55 * (1 - d))) * (1 - step(0.7, 1.0, d)) * step(0.01, 0.08, t)
    mesh = np.abs(noise(rng, x.shape, 2.2))
    mesh = (1 - step(0.0, 0.28, mesh)) * 0.35

    lines = np.clip(np.maximum(rib, 0.8 * vein), 0, 1)
    alpha = blade * (0.97 - 0.3 * lines - 0.12 * mesh - 0.1 * step(3.0, 0.0, reach))
    alpha = np.maximum(alpha, stem * 0.95)
    bulge = 0.5 - 0.5 * np.cos(2 * np.pi * phase)
    mottle = cloud(rng, x.shape, 26.0, 4)
    tone = np.clip(0.42 + 0.13 * mottle + 0.22 * (d - 0.4) + 0.14 * (inside - 0.5) - 0.1 * side, 0, 1)
    shade = 0.9 + 0.17 * bulge - 0.09 * side * (1 - d) + 0.05 * mesh
    pale = pigment(np.full_like(t, 1.0))
    rgb = pigment(tone) * shade[..., None]
    rgb += (pale - rgb) * (0.6 * np.maximum(lines * blade, stem))[..., None]
    return finish(rgb, alpha)


def petal(seed: int, size: tuple[int, int], pigment: Callable[[Array], Array]) -> Image.Image:
    """A petal, narrow at the left, with a notch at its tip and fine veins that fan out."""
    rng = np.random.default_rng(seed)
    width, height = size
    x, y = grid(width, height)
    t = (x - 4) / (width - 8)
    inside = np.clip(t, 0.0, 1.0)
    across = y - height / 2 + 4.0 * np.sin(2.2 * inside) - 2.0
    half = (height / 2 - 5) * np.sin(np.pi * inside**1.45 * 0.93 + 0.02) ** 0.8
    half *= 1.0 + 0.025 * cloud(rng, x.shape, 50.0, 3)
    d = across / np.maximum(half, 1e-3)
    tip = 1.0 - 0.1 * np.exp(-((across / 7.0) ** 2)) - 0.02 * np.abs(cloud(rng, x.shape, 30.0, 3))
    reach = np.minimum((half - np.abs(across)) * 0.9, (tip - t) * width * 0.9)
    alpha = step(-0.4, 1.0, reach) * step(0.0, 0.01, t)
    fan = noise(rng, (240, 60), 1.4, 9.0)
    fan = sample(fan, inside, (np.clip(d, -1, 1) * (0.9 - 0.2 * inside) + 1) / 2)
    fold = step(0.0, 1.0, 1 - np.abs(d)) * (1 - inside)
    mottle = cloud(rng, x.shape, 40.0, 3)
    alpha *= 0.9 + 0.05 * np.tanh(fan) - 0.12 * step(5.0, 0.0, reach) + 0.05 * fold
    tone = np.clip(0.1 + 0.75 * inside**1.2 + 0.07 * fan * (1 - 0.5 * inside) + 0.06 * mottle, 0, 1)
    shade = 1.0 - 0.1 * d * (1 - 0.4 * inside) - 0.1 * np.exp(-((across / 3.0) ** 2)) * (1 - inside)
    rim = 0.08 * step(4.0, 0.5, reach)
    return finish(pigment(tone) * shade[..., None] + rim[..., None], alpha)


def paper(
    seed: int,
    size: tuple[int, int],
    corners: list[tuple[float, float]],
    cut: set[int],
    face: Callable[[Array], Array],
    print_: Callable[[Array, Array], Array] | None = None,
    printed: tuple[float, float, float] = (0.3, 0.4, 0.6),
) -> Image.Image:
    """A scrap of paper: a convex polygon (corners clockwise, as fractions of the size), torn along every side
    that is not in `cut`, so that the white core shows beyond the coloured face.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    x, y = grid(width, height)
    points = np.array(corners) * np.array([width, height])
    torn = np.full_like(x, np.inf)  # px inside the sheet
    coloured = np.full_like(x, np.inf)  # px inside its face
    fibre = noise(rng, x.shape, 1.6) * 0.5 + noise(rng, x.shape, 0.9, 3.0) * 0.4 + noise(rng, x.shape, 3.0, 0.9) * 0.4
    for k, (a, b) in enumerate(zip(points, np.roll(points, -1, axis=0), strict=True)):
        along = (b - a) / np.hypot(*(b - a))
        distance = (x - a[0]) * -along[1] + (y - a[1]) * along[0]
        if k in cut:
            torn = np.minimum(torn, distance)
            coloured = np.minimum(coloured, distance + 0.5)
            continue
        jag = 2.1 * cloud(rng, x.shape, 30.0, 5)
        lip = 3.2 + 1.8 * cloud(rng, x.shape, 36.0, 4) + 0.5 * fibre
        torn = np.minimum(torn, distance + jag + 0.45 * fibre)
        coloured = np.minimum(coloured, distance + jag - np.maximum(lip, 0.2))

    sheet = step(-0.4, 1.3, torn)
    top = step(-0.35, 0.45, coloured)
    grain = noise(rng, x.shape, 2.0)
    mottle = cloud(rng, x.shape, 40.0, 4)
    tone = np.clip(0.5 + 0.16 * mottle + 0.06 * grain, 0, 1)
    colour = face(tone)
    ink = np.zeros_like(x) if print_ is None else print_(x, y) * np.clip(0.85 + 0.25 * grain, 0, 1)
    colour = colour + (np.array(printed) - colour) * (0.75 * ink)[..., None]
    core = np.clip(0.93 + 0.035 * fibre, 0, 1)[..., None] * np.array([1.0, 0.985, 0.955])
    light = relief(0.35 * mottle + 0.12 * grain + 1.1 * top)
    rgb = core + (colour - core) * top[..., None]
    rgb = rgb * (1.0 + 0.13 * light[..., None])
    alpha = sheet * (0.82 + 0.1 * np.tanh(fibre) + (0.16 - 0.1 * np.tanh(fibre)) * top)
    alpha *= 1.0 - 0.16 * ink * top
    return finish(rgb, alpha)


def blot(seed: int, size: tuple[int, int], pigment: Callable[[Array], Array]) -> Image.Image:
    """Watercolour let fall on rough paper: pigment dried to a dark rim, a back-run, granulation, a few spatters."""
    rng = np.random.default_rng(seed)
    width, height = size
    x, y = grid(width, height)
    dx, dy = x - width * 0.52, y - height * 0.5
    angle = np.arctan2(dy, dx)
    arms = sum(np.cos(k * angle + rng.uniform(0, 6.28)) * 0.15 / k**0.5 for k in range(2, 10))
    radius = min(width, height) * 0.31 * (1.0 + arms)
    reach = radius - np.hypot(dx / 1.12, dy) + 2.6 * cloud(rng, x.shape, 26.0, 5)
    for _ in range(6):
        away, turn, size_px = rng.uniform(0.38, 0.52), rng.uniform(0, 6.28), rng.uniform(1.0, 4.4)
        cx, cy = width * (0.52 + away * 0.8 * np.cos(turn)), height * (0.5 + away * 0.8 * np.sin(turn))
        cx, cy = np.clip(cx, 9, width - 9), np.clip(cy, 9, height - 9)
        reach = np.maximum(reach, size_px - np.hypot(x - cx, y - cy) + 0.4 * noise(rng, x.shape, 4.0))
    wet = step(-0.5, 0.9, reach)
    rim = np.exp(-(((np.maximum(reach, 0) - 0.8) / 1.7) ** 2))
    pool = cloud(rng, x.shape, 60.0, 3)
    back_run = np.exp(-(((reach - 0.42 * radius.mean() + 3.5 * cloud(rng, x.shape, 24.0, 4)) / 2.2) ** 2))
    tooth = noise(rng, x.shape, 2.6)
    deep = np.clip(0.5 + 0.14 * pool + 0.3 * rim + 0.14 * back_run - 0.06 * tooth, 0, 1)
    alpha = wet * np.clip(0.68 + 0.1 * pool + 0.26 * rim + 0.1 * back_run - 0.05 * tooth, 0, 1)
    return finish(pigment(deep), alpha)


def ruled(x: Array, y: Array) -> Array:
    """Lines of an exercise book, a little askew."""
    across = (y + 0.06 * x) % 14.0
    return 1 - step(0.35, 1.0, np.abs(across - 7.0))


def dotted(x: Array, y: Array) -> Array:
    """The dots of a printed pattern."""
    u, v = (x + 0.25 * y) % 16.0 - 8.0, (y - 0.25 * x) % 16.0 - 8.0
    return 1 - step(3.0, 3.9, np.hypot(u, v))


ULTRAMARINE = colours((20, 28, 96), (38, 60, 168), (92, 124, 216))
VERMILION = colours((150, 30, 18), (214, 62, 30), (246, 132, 72))
OCHRE = colours((168, 104, 20), (222, 164, 52), (250, 214, 120))
VIRIDIAN = colours((8, 70, 66), (28, 128, 112), (112, 196, 168))
SPRING = colours((46, 92, 30), (96, 142, 46), (178, 192, 84), (226, 226, 150))
RUST = colours((112, 38, 20), (178, 74, 26), (216, 132, 46), (240, 200, 120))
ROSE = colours((252, 236, 214), (248, 190, 196), (232, 116, 150), (204, 66, 118))
KRAFT = colours((168, 128, 84), (196, 156, 108), (214, 180, 136))
CREAM = colours((232, 222, 198), (246, 240, 222), (253, 250, 240))
TEAL = colours((70, 140, 146), (98, 168, 170), (134, 194, 192))
INDIGO = colours((120, 140, 196), (62, 76, 150), (28, 32, 84))


def draw() -> dict[str, Image.Image]:
    """Every sample bitmap by name, in the order of their layers."""
    return {
        "brush-flat": stroke(11, (216, 76), 29, 6, 0.55, 30, ULTRAMARINE, taper=0.12, cover=1.0),
        "brush-dry": stroke(23, (212, 84), 33, -9, 1.0, 26, VERMILION, taper=0.05, cover=0.4),
        "brush-comma": stroke(37, (170, 92), 21, 34, 0.4, 22, VIRIDIAN, taper=0.72, cover=1.0),
        "dab-round": dab(41, (112, 108), OCHRE),
        "leaf-beech": leaf(53, (206, 112), lambda t: 45.0 * np.sin(np.pi * t**0.82) ** 0.85, 8, 0.03, 2.6, 5.0, SPRING),
        "leaf-oak": leaf(61, (200, 126), lambda t: 56.0 * np.sin(np.pi * t**1.25) ** 0.75, 5, 0.62, 0.0, -6.0, RUST),
        "petal": petal(71, (132, 104), ROSE),
        "paper-kraft": paper(83, (158, 132), [(0.1, 0.14), (0.93, 0.07), (0.88, 0.9), (0.06, 0.8)], set(), KRAFT),
        "paper-ruled": paper(
            89, (190, 92), [(0.05, 0.12), (0.96, 0.1), (0.9, 0.86), (0.06, 0.92)], {0}, CREAM, ruled, (0.42, 0.55, 0.75)
        ),
        "paper-dotted": paper(
            97, (126, 134), [(0.1, 0.08), (0.9, 0.2), (0.74, 0.92), (0.12, 0.84)], {3}, TEAL, dotted, (0.96, 0.94, 0.86)
        ),
        "blot": blot(151, (176, 160), INDIGO),
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "bitmaps"
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in draw().items():
        path = folder / f"{name}.png"
        image.save(path, optimize=True)
        print(f"{path}: {image.width} x {image.height}, {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
