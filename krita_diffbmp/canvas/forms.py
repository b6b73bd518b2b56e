"""The two native forms of an instance: a vector layer with an image shape, and a paint layer."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from krita_diffbmp.canvas.capture import Place
from krita_diffbmp.canvas.groups import filled_group
from krita_diffbmp.canvas.space import RawPiece
from krita_diffbmp.problem import DiffBmpError, LivePiece
from krita_diffbmp.qt import QByteArray, QImage, QPainter, QRectF, QTransform

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    ' width="{canvas_width}px" height="{canvas_height}px" viewBox="0 0 {canvas_width} {canvas_height}">'
    '<image transform="matrix({matrix})" width="{width!r}" height="{height!r}"'
    ' xlink:href="data:image/png;base64,{png}"/></svg>'
)
UNIT = 1e-5  # Krita rounds an image that is neither turned nor scaled to whole pixels, and not one scaled by so little
PATIENCE = 0.2  # s without a newly drawn layer after which those that may stay empty are looked at
GIVING_UP = 20.0  # s without a newly drawn layer after which drawing has failed
FAINT = 4  # alpha levels below which a picture may vanish in drawing


def live_layer(document: Any, name: str, piece: LivePiece, place: Place) -> Any:
    """A vector layer that shows the piece's image under its matrix; Krita draws it later, in its event loop."""
    node = document.createVectorLayer(name)
    a, b, c, d, e, f = matrix_on_canvas(piece, place)
    down = document.xRes() / document.yRes()  # Krita reads an SVG as if pixels were square
    svg = SVG.format(
        canvas_width=place.canvas_width,
        canvas_height=place.canvas_height,
        matrix=" ".join(repr(float(value)) for value in (a, down * b, c, down * d, e, down * f)),
        width=float(piece.width),
        height=float(piece.height),
        png=base64.b64encode(piece.png).decode("ascii"),
    )
    for shape in node.addShapesFromSvg(svg):
        shape.update()
    node.setOpacity(round(255 * piece.opacity))
    return node


def matrix_on_canvas(piece: LivePiece, place: Place) -> tuple[float, ...]:
    """The piece's matrix with the region's offset, and with what keeps Krita from rounding it."""
    a, b, c, d, e, f = piece.matrix
    width, height = png_size(piece.png)
    shears = max(abs(b), abs(c)) > UNIT
    if not shears and abs(a * piece.width / width - 1) < UNIT and abs(d * piece.height / height - 1) < UNIT:
        a, d = a * (1 + UNIT), d * (1 + UNIT)
    return a, b, c, d, e + place.x, f + place.y


def png_size(png: bytes) -> tuple[int, int]:
    """Width and height in px, from the header that every PNG begins with."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def painted_layer(document: Any, name: str, piece: RawPiece, place: Place) -> Any:
    """A paint layer with the piece's pixels."""
    node = document.createNode(name, "paintlayer")
    if piece.raw:
        node.setPixelData(QByteArray(piece.raw), piece.x + place.x, piece.y + place.y, piece.width, piece.height)
    node.setOpacity(piece.opacity)
    return node


class Sheet:
    """Live layers that Krita draws together in the background, in a group of a document without a view.

    A vector layer that leaves its document before it was drawn stays empty.
    """

    def __init__(self, document: Any, place: Place) -> None:
        self.nodes: list[Any] = []
        self._document, self._place = document, place
        self._pieces: list[LivePiece] = []
        self._group: Any = None
        self._begun = 0.0  # by the monotonic clock

    def add(self, node: Any, piece: LivePiece) -> None:
        """A layer that shows the piece."""
        self.nodes.append(node)
        self._pieces.append(piece)

    def begin(self) -> None:
        """Has Krita draw them."""
        self._group = filled_group(self._document, "", self.nodes)
        self._begun = time.monotonic()

    def wait(self) -> Generator[bool, None, None]:
        """Yields until every layer that can be seen is drawn: True to wait for Krita, False in between.

        A layer is drawn once it has bounds, which one that shows nothing never gets. Raises DiffBmpError when Krita
        does not come to an end.
        """
        pending = yield from self._chosen(range(len(self.nodes)), self._is_undrawn)
        stalled, looked = 0.0, time.monotonic()
        excused = looked - self._begun > PATIENCE
        if excused:
            pending = yield from self._chosen(pending, self._is_visible)
        while pending:
            yield True
            left = yield from self._chosen(pending, self._is_undrawn)
            # Of a long time between two looks, as while a dialog is open, little counts: Krita had no chance to draw.
            stalled += min(time.monotonic() - looked, PATIENCE)
            looked = time.monotonic()
            if len(left) < len(pending):
                pending, stalled = left, 0.0
            elif stalled > PATIENCE and not excused:
                pending, excused = (yield from self._chosen(pending, self._is_visible)), True
            elif stalled > GIVING_UP:
                raise DiffBmpError(
                    f"Krita has not drawn {len(pending)} of {len(self.nodes)} live layers; nothing was changed. "
                    "Try again, or choose painted layers."
                )
        while not self._document.tryBarrierLock():  # a layer has bounds from the first part of it on that is drawn
            yield True
        self._document.unlock()

    def _is_undrawn(self, index: int) -> bool:
        return bool(self.nodes[index].bounds().isEmpty())

    def _is_visible(self, index: int) -> bool:
        return is_visible(self._pieces[index], self._place)

    def _chosen(self, indices: Sequence[int], test: Callable[[int], bool]) -> Generator[bool, None, list[int]]:
        chosen = []
        for index in indices:
            if test(index):
                chosen.append(index)
            yield False
        return chosen


def is_visible(piece: LivePiece, place: Place) -> bool:
    """Whether drawing this piece must leave something on the canvas that is not too faint to count on."""
    transform = QTransform(*matrix_on_canvas(piece, place))
    shape = QRectF(0, 0, piece.width, piece.height)
    canvas = QRectF(0, 0, place.canvas_width, place.canvas_height)
    seen = transform.mapRect(shape).intersected(canvas).toAlignedRect()
    if seen.isEmpty():
        return False
    picture = QImage(seen.size(), QImage.Format.Format_ARGB32_Premultiplied)
    picture.fill(0)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.translate(-seen.x(), -seen.y())
    painter.setTransform(transform, True)
    painter.drawImage(shape, QImage.fromData(piece.png))
    painter.end()
    bits = picture.constBits()
    bits.setsize(picture.sizeInBytes())
    return bool((np.frombuffer(bits, np.uint32) >> 24).max() >= FAINT)  # 0xAARRGGBB
