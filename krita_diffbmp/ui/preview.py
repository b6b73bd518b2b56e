"""Pictures in the docker: the preview of a run, a layer's thumbnail, a strip of thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from krita_diffbmp.qt import QColor, QFontMetrics, QImage, QPainter, QPixmap, QRect, QSize, QSizePolicy, Qt, QWidget

if TYPE_CHECKING:
    from krita_diffbmp.canvas.layers import Layer

TILE = 64  # px, Krita's
CHECKER = 6  # px, one square of the checkerboard behind transparency


def _checkerboard() -> Any:
    """A tile of two light and two dark squares; mid grays, so that it reads in light and dark themes."""
    tile = QPixmap(2 * CHECKER, 2 * CHECKER)
    tile.fill(QColor(204, 204, 204))
    painter = QPainter(tile)
    for x, y in ((0, 0), (CHECKER, CHECKER)):
        painter.fillRect(x, y, CHECKER, CHECKER, QColor(153, 153, 153))
    painter.end()
    return tile


def fitted(size: Any, area: Any) -> Any:
    """The largest rectangle of the aspect of `size` (QSize), centred in `area` (QRect)."""
    inner = size.scaled(area.size(), Qt.AspectRatioMode.KeepAspectRatio)
    inner = inner.expandedTo(QSize(1, 1))
    return QRect(
        area.x() + (area.width() - inner.width()) // 2,
        area.y() + (area.height() - inner.height()) // 2,
        inner.width(),
        inner.height(),
    )


def image_of(pixels: Any) -> Any:
    """A QImage of its own from uint8 [h, w, 4] RGBA with straight alpha."""
    height, width = pixels.shape[:2]
    data = pixels.tobytes()
    return QImage(data, width, height, 4 * width, QImage.Format.Format_RGBA8888).copy()


def thumbnail(layer: Layer, side: int) -> Any:
    """What the layer shows, cut out and at its own aspect, as a QImage of at most side x side px; null if empty.

    Krita makes its thumbnails of whole 64 px tiles, squeezed into the size that is asked for.
    """
    bounds = layer.bounds.size()
    if bounds.isEmpty():
        return QImage()
    longest = max(bounds.width(), bounds.height())
    asked = min(512, side * (longest + 2 * TILE) // longest)
    image = layer.thumbnail(asked, asked).convertToFormat(QImage.Format.Format_ARGB32)
    if image.isNull():
        return image
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    shown = np.frombuffer(bits, np.uint8).reshape(image.height(), image.width(), 4)[..., 3] > 0
    rows, columns = np.flatnonzero(shown.any(axis=1)).tolist(), np.flatnonzero(shown.any(axis=0)).tolist()
    if not rows:
        return QImage()
    box = QRect(columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
    size = bounds.scaled(side, side, Qt.AspectRatioMode.KeepAspectRatio).expandedTo(QSize(1, 1))
    return image.copy(box).scaled(
        size, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
    )


class Picture(QWidget):
    """One picture, as large as the widget allows, at its own aspect, over a checkerboard."""

    def __init__(self, side: int | None = None, parent: Any = None) -> None:
        """`side`: fixed size in px of a square thumbnail; None for a picture that takes what room there is."""
        super().__init__(parent)
        self._image = QImage()
        self._checker = _checkerboard()
        self._framed = side is not None  # an empty thumbnail shows its place
        if side is None:
            self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
            self.setMinimumSize(64, 64)
        else:
            self.setFixedSize(side, side)

    def sizeHint(self) -> Any:
        return QSize(240, 200)

    def image(self) -> Any:
        return self._image

    def set_image(self, image: Any) -> None:
        self._image = image if image is not None else QImage()
        self.update()

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        if self._image.isNull():
            if self._framed:
                painter.setPen(self.palette().mid().color())
                painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
            return
        ratio = self.devicePixelRatioF()
        frame = fitted(self._image.size(), self.rect())
        if self._image.hasAlphaChannel():
            painter.drawTiledPixmap(frame, self._checker)
        # QPainter's own scaling does not average, so a large picture made small would sparkle.
        scaled = self._image.scaled(
            frame.size() * ratio,
            Qt.AspectRatioMode.IgnoreAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
        painter.drawImage(frame, scaled)


class Thumbnails(QWidget):
    """A row of small pictures, as many as fit, then "+12" for the rest."""

    SIDE = 36  # px
    GAP = 4

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._images: list[Any] = []
        self._total = 0
        self._checker = _checkerboard()
        self.setFixedHeight(self.SIDE)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def set_images(self, images: Sequence[Any], total: int) -> None:
        """`images`: QImages of the first few; `total`: how many there are in all."""
        self._images = list(images)
        self._total = total
        self.update()

    def capacity(self) -> int:
        """How many pictures fit side by side."""
        fitting: int = (self.width() + self.GAP) // (self.SIDE + self.GAP)
        return max(1, fitting)

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        shown = min(len(self._images), self.capacity())
        if self._total > shown:
            shown = max(0, min(len(self._images), self.capacity() - 1))
        for index, image in enumerate(self._images[:shown]):
            cell = QRect(index * (self.SIDE + self.GAP), 0, self.SIDE, self.SIDE)
            painter.drawTiledPixmap(cell, self._checker)
            if not image.isNull():
                painter.drawImage(fitted(image.size(), cell), image)
        hidden = self._total - shown
        if hidden > 0:
            rest = QRect(shown * (self.SIDE + self.GAP), 0, self.SIDE, self.SIDE)
            text = QFontMetrics(self.font()).elidedText(f"+{hidden}", Qt.TextElideMode.ElideNone, self.SIDE)
            painter.setPen(self.palette().windowText().color())
            painter.drawText(rest, Qt.AlignmentFlag.AlignCenter, text)
