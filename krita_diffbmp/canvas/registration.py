"""Which map the whole image went through since its layers were written: scaled, cropped, turned, mirrored. numpy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from krita_diffbmp.canvas.poses import Array, affine, after

IDENTITY = affine((1, 0, 0, 1, 0, 0))  # the functions here return this very one where nothing happened
SHARE = 0.5  # of the layers must have gone through it
Canvas = tuple[int, int]  # width, height in px


def image_map(was: Canvas, now: Canvas, found: Array) -> Array:
    """The one map [2, 3] that more than half of the layers went through, if the image did and not the artist's hand.

    found: [N, 2, 3] what each live layer went through. The image did where its size has changed, or where the map
    takes the canvas to itself, turned or mirrored.
    """
    if not len(found):
        return IDENTITY
    rough = np.concatenate([np.rint(found[..., :2] * 1e6), np.rint(found[..., 2:] * 1e3)], axis=-1).reshape(-1, 6)
    _, first, counts = np.unique(rough, axis=0, return_index=True, return_counts=True)
    most = int(counts.argmax())
    if counts[most] <= SHARE * len(found):
        return IDENTITY
    common: Array = found[first[most]]
    if np.abs(common - IDENTITY).max() < 1e-9:
        return IDENTITY
    return common if was != now or is_symmetry(common, was) else IDENTITY


def is_symmetry(candidate: Array, canvas: Canvas) -> bool:
    return any(np.abs(candidate - symmetry).max() < 1e-3 for symmetry in symmetries(canvas))


def symmetries(canvas: Canvas) -> Iterator[Array]:
    """The maps that turn a canvas by right angles and mirror it, so that its corner comes to (0, 0) again."""
    width, height = canvas
    for mirrored in (False, True):
        flip = affine((-1, 0, 0, 1, width, 0)) if mirrored else IDENTITY
        yield after(IDENTITY, flip)
        yield after(affine((0, 1, -1, 0, height, 0)), flip)
        yield after(affine((-1, 0, 0, -1, width, height)), flip)
        yield after(affine((0, -1, 1, 0, 0, width)), flip)


def image_map_of_boxes(was: Canvas, now: Canvas, before: Array, since: Array) -> Array:
    """The same for painted layers, from their boxes [N, 4] of x, y, width, height, before and since.

    Whole pixels are all that boxes tell: scales are those of canvas to canvas, or from the boxes' own sizes where the
    canvas was cropped as well. What a crop leaves of a layer counts, too.
    """
    if not len(before) or np.array_equal(before, since):
        return IDENTITY
    best, most = IDENTITY, SHARE * len(before)
    for symmetry in symmetries(was):
        turned = through(symmetry, before)
        canvas = was if symmetry[0, 1] == 0 else was[::-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            sizes = np.median(since[:, 2:] / turned[:, 2:], axis=0)
        for scale in ((1.0, 1.0), (now[0] / canvas[0], now[1] / canvas[1]), tuple(sizes)):
            if not np.isfinite(scale).all() or min(scale) <= 0:
                continue
            scaled = after(affine((scale[0], 0, 0, scale[1], 0, 0)), symmetry)
            guess = through(scaled, before)
            whole = np.abs(guess[:, 2:] - since[:, 2:]).max(axis=1) <= max(scale)
            if not whole.any():
                continue
            centres = since[:, :2] + since[:, 2:] / 2 - guess[:, :2] - guess[:, 2:] / 2
            shift = np.median(centres[whole], axis=0)
            if (scale[0], scale[1]) == (1.0, 1.0):
                shift = np.rint(shift)
            elif np.abs(shift).max() < 1:
                shift = np.zeros(2)
            candidate = after(affine((1, 0, 0, 1, *shift)), scaled)
            expected = through(candidate, before)
            off = [np.abs(boxes - since).max(axis=1) for boxes in (expected, on_canvas(expected, now))]
            fits = np.minimum(*off) <= 1 + max(scale)
            if fits.sum() > most:
                best, most = candidate, float(fits.sum())
    return best if was != now or is_symmetry(best, was) else IDENTITY


def through(change: Array, boxes: Array) -> Array:
    """Boxes [N, 4] under a map that keeps their sides upright."""
    low = np.concatenate([boxes[:, :2], np.ones((len(boxes), 1))], axis=1) @ change.T
    high = np.concatenate([boxes[:, :2] + boxes[:, 2:], np.ones((len(boxes), 1))], axis=1) @ change.T
    corner = np.minimum(low, high)
    return np.concatenate([corner, np.abs(high - low)], axis=1)


def on_canvas(boxes: Array, canvas: Canvas) -> Array:
    """What of boxes [N, 4] lies on the canvas; sizes are not above 0 where nothing does."""
    corner = np.maximum(boxes[:, :2], 0)
    return np.concatenate([corner, np.minimum(boxes[:, :2] + boxes[:, 2:], canvas) - corner], axis=1)
