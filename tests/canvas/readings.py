"""A group of instances that was written, and how far from that is what is read back. Runs inside Krita."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from known import take
from krita_harness.inside import layout, refresh, write_pixels
from pieces import blob, live, painted
from written import group_of, scene, write

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.readback import read_back
from krita_diffbmp.canvas.reading import Part, Reading
from krita_diffbmp.problem import Settings
from krita_diffbmp.qt import QTransform

VALUES = [(70.3 + 8 * i, 60.6 + 5 * i, 0.4 * i - 1.5, 0.7 + 0.06 * i, 0.35 + 0.05 * i) for i in range(12)]


def written(
    form: str, values: Sequence[tuple[float, ...]] = VALUES, **options: Any
) -> Generator[Any, None, tuple[Any, Any, Any, Any]]:
    """A document, its target, the group of primitives and the result."""
    document, target, leaves, _ = yield from scene(**options)
    leaf = leaves.childNodes()[0]
    kind, channels = layout(leaf)
    full = np.iinfo(kind).max if np.issubdtype(kind, np.integer) else 1
    pixels = np.full((12, 16, channels), full, kind)
    pixels[6:, 8:, :-1] = 0  # the same in no other position
    write_pixels(leaf, pixels, 4, 4)
    write_pixels(leaf, np.zeros((13, 1, channels), kind), 3, 4)
    refresh(document)
    place = take(document, target, leaves, Settings(max_size=0.0)).place
    make = live if form == "live" else painted
    done = yield from write(place, [make(blob(place.space.channels), *value) for value in values], values)
    return document, target, leaves, group_of(document, done)


def read(document: Any, group: Any, **options: Any) -> Reading:
    return read_back(Document(document), Layer(group), **options)


def errors(
    parts: Sequence[Part],
    values: Sequence[tuple[float, ...]] = VALUES,
    change: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """px, radians and relative scale by which poses differ at most from what was written.

    change: what the whole image went through, and the bitmaps with it: scale, turn, shift x, shift y.
    """
    size, turn, dx, dy = change or (1, 0, 0, 0)
    worst = np.zeros(3)
    for part, (x, y, rotation, scale, _) in zip(parts, values, strict=True):
        c, s = size * math.cos(turn), size * math.sin(turn)
        place = c * x - s * y + dx, s * x + c * y + dy
        angle = (part.rotation - rotation + math.pi) % (2 * math.pi) - math.pi
        found = math.dist(part.position, place), abs(angle), abs(part.scale / scale - 1)
        worst = np.maximum(worst, found)
        assert part.stretch is None
    return worst


def close(worst: np.ndarray) -> bool:
    """Within what the issue asks of a read-back."""
    return bool((worst <= (0.01, 1e-4, 1e-4)).all())


def transformed(node: Any, m: Sequence[float]) -> None:
    """Puts the image of a live layer under an affine map of the canvas, at 72 pixels per inch."""
    (shape,) = node.shapes()
    shape.update()
    shape.setTransformation(shape.transformation() * QTransform(*m))
    shape.update()
