"""Reads the target and the primitives out of a document."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.fingerprint import Seen, cells_of
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.looks import MAX_PIXELS, Look, check_size, leaves_filters_out, look_of
from krita_diffbmp.canvas.meanwhile import States
from krita_diffbmp.canvas.reading import Reading
from krita_diffbmp.canvas.records import Source, load
from krita_diffbmp.canvas.scratch import scratch
from krita_diffbmp.canvas.space import PROBE_PROFILE, Space
from krita_diffbmp.problem import Bitmap, DiffBmpError, FloatArray, Placements, Problem, Settings
from krita_diffbmp.qt import QByteArray, QRect

MAX_PRIMITIVES = 1000
MIN_CANVAS = 8  # px, the shorter side


@dataclass(frozen=True)
class Refinement:
    """What a group of instances was when its refinement was captured."""

    reading: Reading
    start: Placements  # of the Problem
    parts: tuple[int, ...]  # at [i], which of reading.parts the start's i-th placement is
    remade: frozenset[int]  # of the start's, that look different now by no change of theirs: their bitmap was repainted
    states: States


@dataclass(frozen=True)
class Place:
    """Where a Problem came from, which is where its result belongs."""

    document: Document
    canvas_width: int  # px, the document when it was captured
    canvas_height: int
    space: Space  # in which the document composites and Problem's pixels are
    x: int  # canvas px of the left edge of Problem.target
    y: int
    width: int  # px, Problem.target
    height: int
    target: Source
    group: Source
    primitives: tuple[Source, ...]  # one for each of Problem.bitmaps
    live_refusal: str  # why the live form is not faithful in this document; empty where it is
    refinement: Refinement | None = None  # None: a first run


@dataclass(frozen=True)
class Capture:
    problem: Problem
    place: Place
    notes: tuple[str, ...]  # what the artist should know: a primitive left out, values clipped


def check_choice(document: Document | None, target: Layer | None, group: Layer | None) -> None:
    """Whether these can be captured, as far as can be told without reading pixels; quick enough for every poll.

    Raises DiffBmpError with a sentence for the docker.
    """
    check_document(document)
    if target is None:
        raise DiffBmpError("Select the layer to rebuild: it is the target.")
    if group is None:
        raise DiffBmpError("Select, along with the target, the group whose layers are the bitmaps to rebuild it from.")
    if not group.is_group:
        raise DiffBmpError(f"“{group.name}” is not a group: put the bitmaps into a group and select that.")
    if target == group:
        raise DiffBmpError(f"“{target.name}” cannot be target and bitmaps at once: select another layer as target.")
    check_target(target, group)
    if not group.children():
        raise DiffBmpError(f"The group “{group.name}” is empty: put at least one painted layer into it.")
    count = len(usable(group))
    if count == 0:
        raise DiffBmpError(
            f"Every layer of the group “{group.name}” is hidden or has no picture of its own: "
            "make at least one painted layer visible."
        )
    if count > MAX_PRIMITIVES:
        raise DiffBmpError(
            f"The group “{group.name}” has {count} visible layers, more than the {MAX_PRIMITIVES} "
            "bitmaps that can be used: hide some or merge them."
        )


def check_document(document: Document | None) -> None:
    """Raises DiffBmpError with a sentence for the docker where no picture can be rebuilt on the canvas."""
    if document is None:
        raise DiffBmpError("Open a document with a photo layer and a group of painted bitmaps.")
    document.space.check("The document")
    if min(document.width, document.height) < MIN_CANVAS:
        raise DiffBmpError(
            f"The canvas is {document.width} x {document.height} pixels; "
            f"it needs at least {MIN_CANVAS} x {MIN_CANVAS} to rebuild a picture on."
        )


def check_target(target: Layer, group: Layer) -> None:
    """Raises DiffBmpError with a sentence for the docker where a layer cannot be the target beside this group."""
    if group in (target, *target.ancestors()):
        raise DiffBmpError(f"The target “{target.name}” lies in the group “{group.name}”: move it out of the group.")
    if target in group.ancestors():
        raise DiffBmpError(f"The group “{group.name}” lies in the target “{target.name}”: move it out of the target.")
    if not target.has_picture:
        raise DiffBmpError(f"“{target.name}” has no picture of its own ({target.kind}): select another target.")
    if not target.shown:
        raise DiffBmpError(f"The target “{target.name}” is hidden: make it visible, with the groups around it.")


def usable(group: Layer) -> list[Layer]:
    """The layers of a group that may become bitmaps, the backmost first."""
    return [layer for layer in group.children() if layer.visible and layer.has_picture]


def capture(document: Document | None, target: Layer | None, group: Layer | None, settings: Settings) -> Capture:
    """The target's picture and the group's visible children as bitmaps, as the document composites them.

    A nested group is one bitmap. The target's region is its content with a margin of half the largest instance,
    cut to the canvas. The layers, the document's undo history, its modified flag and what is selected stay as
    they are. Raises DiffBmpError with a sentence for the docker.
    """
    check_choice(document, target, group)
    assert document is not None and target is not None and group is not None
    load(document)  # a file of a newer version is told of now rather than after the run
    document.handle.waitForDone()
    look = look_of(target, document, within=document.area)
    if look is None:
        raise DiffBmpError(f"The target “{target.name}” shows nothing on the canvas: paint on it or select another.")
    region = region_around(look, settings, document.area)
    check_size(region, f"The target “{target.name}”")
    notes: list[str] = []
    bitmaps, primitives = read_primitives(document, group, notes)
    if not bitmaps:
        raise DiffBmpError(f"Nothing in the group “{group.name}” can be used: " + " ".join(notes))
    notes += remarks(f"The target “{target.name}”", target, look)
    place = place_of(document, target, region, Source(group.id, group.name), primitives)
    return Capture(Problem(padded(look, region), bitmaps, settings), place, tuple(notes))


def place_of(
    document: Document,
    target: Layer,
    region: QRect,
    group: Source,
    primitives: tuple[Source, ...],
    refinement: Refinement | None = None,
) -> Place:
    return Place(
        document=document,
        canvas_width=document.width,
        canvas_height=document.height,
        space=document.space,
        x=region.x(),
        y=region.y(),
        width=region.width(),
        height=region.height(),
        target=Source(target.id, target.name),
        group=group,
        primitives=primitives,
        live_refusal=live_refusal(document),
        refinement=refinement,
    )


def region_around(look: Look, settings: Settings, canvas: QRect) -> QRect:
    height, width = look.pixels.shape[:2]
    margin = math.ceil(settings.max_size * max(height, width) / 2)
    box = QRect(look.x, look.y, width, height)
    return box.adjusted(-margin, -margin, margin, margin).intersected(canvas)


def padded(look: Look, region: QRect) -> FloatArray:
    """The look in its region, transparent around."""
    height, width, channels = look.pixels.shape
    if (height, width) == (region.height(), region.width()):
        return look.pixels
    pixels = np.zeros((region.height(), region.width(), channels), np.float32)
    x, y = look.x - region.x(), look.y - region.y()
    pixels[y : y + height, x : x + width] = look.pixels
    return pixels


def read_primitives(
    document: Document, group: Layer, notes: list[str]
) -> tuple[tuple[Bitmap, ...], tuple[Source, ...]]:
    """The group's visible layers, the backmost first; what is left out is said in `notes`."""
    bitmaps: list[Bitmap] = []
    sources: list[Source] = []
    total = 0
    for layer in group.children():
        if not layer.visible:
            continue
        look = look_of(layer, document) if layer.has_picture else None
        if look is None:
            notes.append(f"“{layer.name}” was left out: nothing of it is seen by itself.")
            continue
        height, width = look.pixels.shape[:2]
        if height * width == 1:
            notes.append(f"“{layer.name}” was left out: it is a single pixel.")
            continue
        total += height * width
        if total > MAX_PIXELS:
            raise DiffBmpError(
                f"The bitmaps in “{group.name}” have more than {MAX_PIXELS >> 20} megapixels together: "
                "scale them down or hide some."
            )
        if width > document.width or height > document.height:
            notes.append(f"“{layer.name}” ({width} x {height} px) is larger than the canvas; it is only used smaller.")
        notes += remarks(f"“{layer.name}”", layer, look)
        bitmaps.append(Bitmap(layer.name, look.pixels))
        sources.append(source_of(layer, document))
    return tuple(bitmaps), tuple(sources)


def source_of(layer: Layer, document: Document) -> Source:
    """A primitive, with what tells later whether it was repainted."""
    seen = Seen.of(layer, document)
    if seen is None:
        return Source(layer.id, layer.name)
    return Source(layer.id, layer.name, seen.print, seen.box, cells_of(seen.raw))


def remarks(what: str, layer: Layer, look: Look) -> Iterator[str]:
    """Where the look is not quite what the document shows of the layer, which `what` calls by its name."""
    if look.clipped:
        yield f"{what} has colours outside 0 to 1, which were cut off."
    if leaves_filters_out(layer):
        yield f"{what} was read without its filter layers: switch the group's pass-through mode off to have them count."


def live_refusal(document: Document) -> str:
    """Why layers in the live form would not look as optimised in this document; empty where they do."""
    return refusal_in(document.space)


@lru_cache(maxsize=64)
def refusal_in(space: Space) -> str:
    if (space.model, space.depth) != ("RGBA", "U8"):
        return "Live layers are drawn in 8-bit sRGB, which this document is not: painted layers keep its full depth."
    if not is_srgb(space):
        return f"Live layers are drawn in sRGB, and this document is in “{space.profile}”: painted layers keep that."
    return ""


def is_srgb(space: Space) -> bool:
    """Whether sRGB colours arrive unchanged (within one level) in this 8-bit RGB space; measured."""
    if space.profile == PROBE_PROFILE:
        return True
    levels = np.linspace(0, 255, 8, dtype=np.uint8)
    blue, green, red = np.meshgrid(levels, levels, levels, indexing="ij")
    colours = np.stack([blue, green, red, np.full_like(blue, 255)], axis=-1).reshape(16, 32, 4)
    try:
        with scratch(32, 16, space) as handle:
            node = handle.createNode("", "paintlayer")
            if not node.setColorSpace("RGBA", "U8", PROBE_PROFILE):
                return False
            node.setPixelData(QByteArray(colours.tobytes()), 0, 0, 32, 16)
            handle.rootNode().addChildNode(node, None)
            handle.refreshProjection()
            handle.waitForDone()
            arrived = np.frombuffer(handle.pixelData(0, 0, 32, 16), np.uint8).reshape(16, 32, 4)
    except DiffBmpError:  # Krita has the profile no more; the capture says so
        return False
    return bool(np.abs(arrived.astype(int) - colours).max() <= 1)
