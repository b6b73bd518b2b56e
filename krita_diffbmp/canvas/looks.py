"""What a layer looks like: its picture with its masks, its style and its opacity, in the document's colour space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.scratch import scratch
from krita_diffbmp.canvas.space import Space
from krita_diffbmp.problem import DiffBmpError, FloatArray
from krita_diffbmp.qt import QByteArray, QRect

MAX_PIXELS = 2**26  # 8192 x 8192 px: 1 GB in float32
BAND = 2**22  # px that are read at once while the content of a large layer is searched
STYLE_REACH = 300  # px that a layer style may draw beyond the layer
OPAQUE = 255  # Krita's opacity of 1


@dataclass(frozen=True)
class Look:
    """A picture on the canvas, cropped to where its alpha is over 0."""

    x: int  # canvas px of its left edge; it may lie outside the canvas
    y: int
    pixels: FloatArray  # [h, w, C + 1] straight alpha
    clipped: bool  # values outside [0, 1] were cut off


@dataclass(frozen=True)
class Raw:
    """Krita's own pixels of a layer, in the layer's colour space, cropped to content."""

    box: QRect
    data: QByteArray
    space: Space


@dataclass(frozen=True)
class Part:
    """A layer that a picture is put together from."""

    layer: Layer
    raw: Raw
    opacity: int  # of 255


def look_of(layer: Layer, document: Document, within: QRect | None = None, opaque: bool = False) -> Look | None:
    """How the document composites a layer by itself, at normal blending; None where nothing of it is seen.

    within: only this part of the canvas. opaque: as if the layer's opacity were 1.
    Raises DiffBmpError for more than MAX_PIXELS pixels and for colour models that are not read.
    """
    opacity = OPAQUE if opaque else layer.node.opacity()
    if layer.passes_through:
        layers = picture_layers(layer, OPAQUE, opacity)
        parts = [Part(part, raw, at) for part, at in layers if (raw := read(part, document, within)) is not None]
        return composite(document, parts, blend=True) if parts else None
    raw = read(layer, document, within)
    if raw is None:
        return None
    if raw.space != document.space or layer.style:
        return composite(document, [Part(layer, raw, opacity)], blend=False)
    pixels, clipped = raw.space.decode(raw.data, raw.box.height(), raw.box.width())
    pixels[..., -1] *= np.float32(opacity / OPAQUE)
    return Look(raw.box.x(), raw.box.y(), pixels, clipped) if opacity > 0 else None


def picture_layers(group: Layer, around: int, own: int) -> Iterator[tuple[Layer, int]]:
    """The layers that a pass-through group hands on to what is below it, the backmost first, and their opacities there.

    around, own: the opacities of what is around the group and of the group. A group that has no picture itself has its
    opacity in those of its layers.
    """
    opacity = around * own // OPAQUE
    for child in group.children():
        if child.visible and child.passes_through:
            yield from picture_layers(child, opacity, child.node.opacity())
        elif child.visible and child.has_picture:
            yield child, opacity * child.node.opacity() // OPAQUE


def leaves_filters_out(layer: Layer) -> bool:
    """Whether its look lacks filter layers: those of a pass-through group change what lies below the group, too."""
    return layer.passes_through and any(
        child.visible and (not child.has_picture or leaves_filters_out(child)) for child in layer.children()
    )


def read(layer: Layer, document: Document, within: QRect | None) -> Raw | None:
    """A layer's projection, cropped to content."""
    layer.space.check(f"The layer “{layer.name}”")
    # Krita reports the bounds before masks, and computes what masks do on the canvas alone.
    box = document.area if layer.is_masked else layer.bounds
    if within is not None:
        box = box.intersected(within)
    if box.isEmpty():
        return None
    if area(box) <= BAND:
        data = layer.node.projectionPixelData(box.x(), box.y(), box.width(), box.height())
        inner = content(layer.space.alpha(data, box.height(), box.width()))
        return Raw(inner.translated(box.topLeft()), crop(data, layer.space, box, inner), layer.space) if inner else None
    found = search(layer, box)
    if found is None:
        return None
    check_size(found, f"The layer “{layer.name}”")
    data = layer.node.projectionPixelData(found.x(), found.y(), found.width(), found.height())
    return Raw(found, data, layer.space)


def search(layer: Layer, box: QRect) -> QRect | None:
    """The box of what is not transparent, read in bands so that memory stays small."""
    rows = max(1, BAND // box.width())
    found = QRect()
    for top in range(box.y(), box.y() + box.height(), rows):
        height = min(rows, box.y() + box.height() - top)
        data = layer.node.projectionPixelData(box.x(), top, box.width(), height)
        inner = content(layer.space.alpha(data, height, box.width()))
        if inner is not None:
            found = found.united(inner.translated(box.x(), top))
    return None if found.isEmpty() else found


def content(alpha: np.ndarray[Any, Any]) -> QRect | None:
    """The box in which alpha [h, w] is over 0."""
    opaque = alpha > 0
    rows, columns = np.flatnonzero(opaque.any(axis=1)), np.flatnonzero(opaque.any(axis=0))
    if not len(rows):
        return None
    x, y = int(columns[0]), int(rows[0])
    return QRect(x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1)


def crop(data: QByteArray, space: Space, box: QRect, inner: QRect) -> QByteArray:
    if inner.size() == box.size():
        return data
    pixels = np.frombuffer(data, f"V{space.pixel_size}").reshape(box.height(), box.width())
    part = pixels[inner.y() : inner.y() + inner.height(), inner.x() : inner.x() + inner.width()]
    return QByteArray(part.tobytes())


def composite(document: Document, parts: list[Part], blend: bool) -> Look | None:
    """Has Krita itself put pictures together (the backmost first): conversion, style and opacity are its own.

    blend: with their blending modes and inherited alpha, which one layer by itself has no use for.
    """
    box = QRect()
    for part in parts:
        reach = STYLE_REACH if part.layer.style else 0
        box = box.united(part.raw.box.adjusted(-reach, -reach, reach, reach))
    check_size(box, f"The layer “{parts[0].layer.name}”")
    with scratch(box.width(), box.height(), document.space) as handle:
        for part in parts:
            layer, raw = part.layer, part.raw
            node = handle.createNode("", "paintlayer")
            node.setColorSpace(raw.space.model, raw.space.depth, raw.space.profile)
            if Space.of(node) != raw.space:  # and pixels of another size would be read beyond their end
                raise DiffBmpError(
                    f"Krita does not find the colour profile “{raw.space.profile}” of the layer “{layer.name}”: "
                    "convert it with Layer > Convert > Convert Layer Color Space."
                )
            place = raw.box.translated(-box.topLeft())
            node.setPixelData(raw.data, place.x(), place.y(), place.width(), place.height())
            node.setOpacity(part.opacity)
            if layer.style:
                node.setLayerStyleFromAsl(layer.style)
            if blend:
                node.setBlendingMode(layer.node.blendingMode())
                node.setInheritAlpha(layer.node.inheritAlpha())
            handle.rootNode().addChildNode(node, None)
        handle.refreshProjection()
        handle.waitForDone()
        data = handle.pixelData(0, 0, box.width(), box.height())
    space = document.space
    inner = content(space.alpha(data, box.height(), box.width()))
    if inner is None:
        return None
    pixels, clipped = space.decode(crop(data, space, box, inner), inner.height(), inner.width())
    return Look(box.x() + inner.x(), box.y() + inner.y(), pixels, clipped)


def area(box: QRect) -> int:
    return int(box.width() * box.height())


def check_size(box: QRect, what: str) -> None:
    if area(box) > MAX_PIXELS:
        raise DiffBmpError(
            f"{what} shows {box.width()} x {box.height()} pixels, more than fit in memory "
            f"({MAX_PIXELS >> 20} megapixels): crop it, or scale a copy of the image down."
        )
