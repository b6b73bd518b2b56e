"""Whether anything in a group has changed: far cheaper than to read what."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer

READ = 2**22  # px of a group's picture that are looked at; of a larger one some rows are


def pulse(document: Document, group: Layer) -> int:
    """A number that changes with what the group shows on the canvas, and with the state of the layers in it.

    Waits for nothing: while Krita is at work the number belongs to some moment of that. About 12 ms for 1000 layers on
    a canvas of 1024 x 1024.
    """
    number = 0
    for layer in layers_in(group):
        node, box = layer.node, layer.bounds
        state = (
            layer.id,
            layer.opacity,
            layer.visible,
            node.locked(),
            node.colorLabel(),
            node.blendingMode(),
            *(box.x(), box.y(), box.width(), box.height()),
        )
        number = zlib.crc32(repr(state).encode(), number)
    width, height = document.width, document.height
    step = -(-width * height // READ)
    if step == 1:
        return zlib.crc32(group.node.projectionPixelData(0, 0, width, height), number)
    for y in range(0, height, step):
        number = zlib.crc32(group.node.projectionPixelData(0, y, width, 1), number)
    return number


def layers_in(group: Layer) -> Iterator[Layer]:
    """All layers in a group, those of its sub-groups too."""
    for layer in group.children():
        yield layer
        if layer.is_group:
            yield from layers_in(layer)
