"""What instances went through since they were written: live ones by their matrices, painted ones by their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.fingerprint import Seen, cells_from, edges, grid, premultiplied
from krita_diffbmp.canvas.layers import Layer, owned
from krita_diffbmp.canvas.leaves import Book, Leaf
from krita_diffbmp.canvas.poses import Array, affine, after, inverse
from krita_diffbmp.canvas.reading import Change, Kind
from krita_diffbmp.canvas.records import Instance, Record, Source
from krita_diffbmp.canvas.registration import IDENTITY, image_map, image_map_of_boxes, on_canvas, through
from krita_diffbmp.canvas.space import Space
from krita_diffbmp.problem import FloatArray

STILL = 1e-3  # px that a point near an instance may lie off
NEAR = affine((64, 0, 0, 64, 0, 0))[..., :2] @ np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]])  # px from its position
# By how much the mean of a cell may differ once Krita has resampled it: a little, and by what crosses its edges.
SAME = 6 / 255
CROSSING = 90 / 255  # over the cell's shorter side in px
EDGE = 1e-6  # px
COARSE = 4.0  # px: cells smaller than this are taken together
EARLIER = "An earlier version of DiffBMP wrote the instances: whether they were scaled by hand since cannot be told."


def follow(leaves: Sequence[Leaf], book: Book, record: Record | None) -> Array:
    """Sets what each instance went through, and turns those that cannot be told any more into bitmaps of their own.

    Returns the map [2, 3] that the whole image went through.
    """
    document = book.document
    for leaf in leaves:
        if leaf.kind is not Kind.INSTANCE:
            continue
        is_masked = leaf.is_live and leaf.layer.is_masked
        if leaf.seen is None and (is_masked or not leaf.is_live):
            leaf.seen = Seen.of(leaf.layer, document)
        if is_masked and not looks_as_written(leaf):
            become_own(leaf)
    instances = [leaf for leaf in leaves if leaf.kind is Kind.INSTANCE]
    live = [leaf for leaf in instances if leaf.is_live]
    painted = [leaf for leaf in instances if not leaf.is_live]
    now = (document.width, document.height)
    was = record.canvas if record is not None and record.canvas is not None else now
    common = IDENTITY
    if live:
        maps = live_maps(live, book)
        common = image_map(was, now, maps)
        follow_live(live, maps, common)
    boxed = [leaf for leaf in painted if leaf.seen is not None and leaf.instance is not None and leaf.instance.box]
    if boxed:
        before = np.array([boxed_at(leaf) for leaf in boxed], np.float64)
        since = np.array([leaf.seen.box for leaf in boxed if leaf.seen is not None], np.float64)
        if np.array_equal(common, IDENTITY):
            common = image_map_of_boxes(was, now, before, since)
        expected = through(common, before)
        for i, leaf in enumerate(boxed):
            follow_painted(leaf, common, expected[i], now, space_of(leaf, book))
    for leaf in painted:
        if leaf.seen is None and (looks_as_written(leaf) or is_cut_away(leaf, common, now)):
            leaf.map = common
        if leaf.map is None:
            become_own(leaf)
    return common


def looks_as_written(leaf: Leaf) -> bool:
    """Whether its pixels are those that it was written with; those that show nothing are equal."""
    assert leaf.instance is not None
    return (leaf.seen.print if leaf.seen is not None else "") == leaf.instance.print


def is_cut_away(leaf: Leaf, common: Array, canvas: tuple[int, int]) -> bool:
    """Whether a layer shows nothing because Krita has cropped the image to a canvas beyond which it lies."""
    assert leaf.instance is not None
    if leaf.instance.box is None or np.array_equal(common, IDENTITY):
        return False
    return is_cut(None, through(common, np.array([leaf.instance.box], np.float64))[0], canvas)


def become_own(leaf: Leaf) -> None:
    leaf.kind = Kind.OWN
    leaf.changed |= Change.REPAINTED


# --- live


def matrix_of(layer: Layer, resolution: tuple[float, float]) -> tuple[float, ...]:
    """a b c d e f of a live layer's image, from its own units to canvas px."""
    found = owned(layer.node.shapes())[0].absoluteTransformation()
    x, y = resolution[0] / 72, resolution[1] / 72
    return found.m11() * x, found.m12() * y, found.m21() * x, found.m22() * y, found.dx() * x, found.dy() * y


def resolution_of(document: Document) -> tuple[float, float]:
    """Pixels per inch in x and y; Krita keeps shapes in points."""
    return float(document.handle.xRes()), float(document.handle.yRes())


def live_maps(live: Sequence[Leaf], book: Book) -> Array:
    """[N, 2, 3] what the matrix of each went through since it was written."""
    resolution = resolution_of(book.document)
    for leaf in live:
        leaf.matrix = matrix_of(leaf.layer, resolution)
    now = affine([leaf.matrix for leaf in live])
    was = np.empty_like(now)
    for i, leaf in enumerate(live):
        assert leaf.instance is not None
        if leaf.instance.matrix is not None:
            was[i] = affine(leaf.instance.matrix)
        else:
            book.notes.append(EARLIER)
            was[i] = matrix_without_record(leaf, leaf.instance, now[i], resolution)
    return after(now, inverse(was))


def matrix_without_record(leaf: Leaf, instance: Instance, now: Array, resolution: tuple[float, float]) -> Array:
    """The matrix that an instance was written with, given that it was not scaled since."""
    box = owned(leaf.layer.node.shapes())[0].boundingBox()
    center = np.array([box.center().x() * resolution[0] / 72, box.center().y() * resolution[1] / 72])
    angle = np.arctan2(now[1, 0], now[0, 0]) - instance.rotation
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = np.concatenate([turn, (center - turn @ instance.position)[:, None]], axis=1)
    return after(inverse(moved), now)


def follow_live(live: Sequence[Leaf], maps: Array, common: Array) -> None:
    positions = np.array([leaf.instance.position for leaf in live if leaf.instance is not None])
    points = positions[:, None, :] + NEAR.T
    difference = (maps - common)[:, None]
    apart = np.abs((difference[..., :2] @ points[..., None])[..., 0] + difference[..., 2])
    for leaf, change, off in zip(live, maps, apart.max(axis=(1, 2)), strict=True):
        if off > STILL:
            leaf.map = change
            leaf.changed |= Change.MOVED
        else:
            leaf.map = common


# --- painted


def boxed_at(leaf: Leaf) -> tuple[int, int, int, int]:
    assert leaf.instance is not None and leaf.instance.box is not None
    return leaf.instance.box


def space_of(leaf: Leaf, book: Book) -> Space | None:
    """The colour space in which an instance was written; None where that is not known."""
    owner = book.record(leaf.owner)
    return Space(*owner.space) if owner is not None and owner.space is not None else None


def follow_painted(leaf: Leaf, common: Array, expected: Array, canvas: tuple[int, int], written: Space | None) -> None:
    """common: what the image went through. expected: the box that it gives the layer. written: in that space."""
    instance, seen = leaf.instance, leaf.seen
    assert instance is not None and seen is not None
    found = np.array(seen.box, np.float64)
    moved = found[:2] + found[2:] / 2 - expected[:2] - expected[2:] / 2
    elsewhere = after(affine((1, 0, 0, 1, *moved)), common)
    quarters = quarters_of(common)
    if quarters is not None and seen.turned(quarters) == instance.print:
        leaf.map = elsewhere if moved.any() else common
        leaf.changed |= Change.MOVED if moved.any() else Change.NONE
    elif quarters is not None and instance.mu_blend == 0 and seen.turned(quarters, shape=True) == instance.shape:
        leaf.color = seen.color
        if leaf.color is not None:
            leaf.map = elsewhere
            leaf.changed |= Change.RECOLORED | (Change.MOVED if moved.any() else Change.NONE)
    elif common is not IDENTITY or written != seen.raw.space:
        before = cells_from(instance.cells, written or seen.raw.space)
        if looks_alike(before, boxed_at(leaf), seen, common, expected, canvas, written):
            leaf.map = common
        elif looks_alike(before, boxed_at(leaf), seen, common, np.add(expected, (*moved, 0, 0)), canvas, written):
            leaf.map = elsewhere
            leaf.changed |= Change.MOVED


def looks_alike(
    before: FloatArray | None,
    was: tuple[int, int, int, int],
    seen: Seen,
    common: Array,
    box: Array,
    canvas: tuple[int, int],
    written: Space | None,
) -> bool:
    """Whether a picture is in this box what the image's map makes of the one whose cells and box were kept.

    written: in that colour space; of a picture that was converted to other colours, the alpha alone is looked at.
    """
    if before is None:
        return False
    pixels = premultiplied(seen.raw)
    if written is not None and not written.has_colors_of(seen.raw.space):
        before, pixels = before[..., -1:], pixels[..., -1:]
    linear = common[:, :2]
    frame = (*seen.box[2:],)
    corner = np.array([*seen.box[:2], 0, 0])
    x, y, width, height = upright(np.array(box) - corner, frame, linear)
    left, top, wide, high = upright(np.array([0, 0, *canvas]) - corner, frame, linear)
    columns, rows = x + edges(was[2]) * (width / was[2]), y + edges(was[3]) * (height / was[3])
    across = (np.diff(columns) > 0) & (columns[:-1] >= left - EDGE) & (columns[1:] <= left + wide + EDGE)
    down = (np.diff(rows) > 0) & (rows[:-1] >= top - EDGE) & (rows[1:] <= top + high + EDGE)
    now = grid(unturned(pixels, linear), rows, columns)
    known = down[:, None] & across  # what lay beyond the canvas may have been cut off
    if not known.any():
        return is_cut(seen, box, canvas)
    step = 1
    while min(width, height) * step / len(before) < COARSE and step < len(before):
        step = {1: 2, 2: 3, 3: 6}[step]
    parts = len(before) // step
    areas = np.diff(rows)[:, None] * np.diff(columns) * known
    difference = np.abs(blocks((now - before) * areas[..., None], parts)).max(axis=-1)
    whole = blocks(areas, parts)
    tolerance = SAME + CROSSING * parts / min(width, height)
    return bool((difference <= tolerance * whole).all())


def blocks(values: Any, parts: int) -> Any:
    """Sums over parts x parts equal blocks of an array [n, n, ...]."""
    step = len(values) // parts
    return values.reshape(parts, step, parts, step, *values.shape[2:]).sum(axis=(1, 3))


def is_cut(seen: Seen | None, box: Array, canvas: tuple[int, int]) -> bool:
    """Whether a picture that should be in this box may be what a canvas has left of it."""
    left = on_canvas(box[None], canvas)[0]
    if np.abs(left - box).max() <= 1:
        return False
    if seen is None:
        return True
    found = np.array(seen.box, np.float64)
    return bool((found[:2] >= left[:2] - 1).all() and (found[:2] + found[2:] <= left[:2] + left[2:] + 1).all())


def is_primitive_cut(source: Source, seen: Seen, common: Array, canvas: tuple[int, int]) -> bool:
    """Whether Krita has cropped the image to a canvas that the bitmap of a primitive reaches beyond."""
    if source.box is None or seen.print == source.print or np.array_equal(common, IDENTITY):
        return False
    return is_cut(seen, through(common, np.array([source.box], np.float64))[0], canvas)


def follow_primitive(
    source: Source, seen: Seen, common: Array, canvas: tuple[int, int], is_converted: bool
) -> tuple[Array, bool]:
    """From the bitmap of a primitive as it is to the one that instances were written of, [2, 3], px from their centres.

    With it, whether the primitive was repainted. What the whole image went through its layers went through as well; a
    repainted one keeps its centre where the instance's was. is_converted: to another colour space since, in which a
    fingerprint says nothing.
    """
    if not source.print or source.box is None or seen.print == source.print:
        return IDENTITY, False
    before = None if is_converted else cells_from(source.cells, seen.raw.space)
    if np.array_equal(common[:, :2], np.eye(2)):
        return IDENTITY, not is_converted
    turn = np.concatenate([common[:, :2], np.zeros((2, 1))], axis=1)
    expected = through(common, np.array([source.box], np.float64))[0]
    found = np.array(seen.box, np.float64)
    off = found[:2] + found[2:] / 2 - expected[:2] - expected[2:] / 2
    quarters = quarters_of(common)
    if (
        is_converted
        or (quarters is not None and seen.turned(quarters) == source.print)
        or (quarters is None and looks_alike(before, source.box, seen, common, expected, canvas, None))
    ):
        return after(inverse(turn), affine((1, 0, 0, 1, *off))), False
    return inverse(turn), True


def quarters_of(common: Array) -> Any:
    """What undoes a turn by right angles, mirrored or not, in an array [h, w]; None for other maps."""
    linear = common[:, :2]
    if np.abs(np.abs(linear).sum(axis=0) - 1).max() > 1e-9 or np.abs(linear - np.rint(linear)).max() > 1e-9:
        return None
    return lambda pixels: unturned(pixels, linear)


def unturned(pixels: Any, linear: Array) -> Any:
    """An array [h, w, ...] that shows what went through a map, as it was before."""
    if abs(linear[0, 0]) < abs(linear[0, 1]):
        pixels = np.swapaxes(pixels, 0, 1)
        across, down = linear[1, 0], linear[0, 1]
    else:
        across, down = linear[0, 0], linear[1, 1]
    if across < 0:
        pixels = pixels[:, ::-1]
    return pixels[::-1] if down < 0 else pixels


def upright(box: Array, size: tuple[int, ...], linear: Array) -> tuple[float, float, float, float]:
    """A box in a picture of that width and height, once `unturned` has turned the picture back."""
    (x, y, width, height), (wide, high) = map(float, box), size
    if abs(linear[0, 0]) < abs(linear[0, 1]):
        x, y, width, height, wide, high = y, x, height, width, high, wide
        across, down = linear[1, 0], linear[0, 1]
    else:
        across, down = linear[0, 0], linear[1, 1]
    return (wide - x - width if across < 0 else x), (high - y - height if down < 0 else y), width, height
