"""A document as the rest of the project sees it, and what is selected in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from krita import Krita

from krita_diffbmp.canvas.layers import Layer, owned
from krita_diffbmp.canvas.space import Space
from krita_diffbmp.qt import QByteArray, QRect, QtCore


class Document:
    """An open document: a typed view of Krita's Document.

    It may be kept: `is_open` says whether the document still is, and nothing else may be asked of one that
    is not.
    """

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Document) and bool(self.handle == other.handle)

    __hash__ = None  # type: ignore[assignment]  # Krita gives equal documents no common hash

    @staticmethod
    def active() -> Document | None:
        """The document of the window in front; None when there is none."""
        handle = Krita.instance().activeDocument()
        return Document(handle) if handle is not None else None

    @property
    def is_open(self) -> bool:
        return any(self.handle == other for other in Krita.instance().documents())

    @property
    def name(self) -> str:
        return str(self.handle.name())

    @property
    def width(self) -> int:
        """px"""
        return int(self.handle.width())

    @property
    def height(self) -> int:
        """px"""
        return int(self.handle.height())

    @property
    def area(self) -> QRect:
        """The canvas, in its own pixels."""
        return QRect(0, 0, self.width, self.height)

    @property
    def space(self) -> Space:
        """The colour space in which it composites."""
        return Space.of(self.handle)

    @property
    def active_layer(self) -> Layer | None:
        node = self.handle.activeNode()
        return Layer(node) if node is not None else None

    def layer(self, layer_id: str) -> Layer | None:
        """The layer of that unique id, anywhere in the document; None when there is none."""
        node = self.handle.nodeByUniqueID(QtCore.QUuid(f"{{{layer_id}}}"))
        return Layer(node) if node is not None else None

    def layer_ids(self) -> frozenset[str]:
        """The unique ids of all layers."""
        pending = [Layer(node) for node in owned(self.handle.topLevelNodes())]
        ids = set()
        while pending:
            layer = pending.pop()
            ids.add(layer.id)
            if layer.is_group:
                pending += layer.children()
        return frozenset(ids)

    def selection(self, box: QRect) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
        """How much of each pixel of a box is selected, [h, w] of 255; None where nothing is selected at all."""
        selection = self.handle.selection()
        if selection is None:
            return None
        data = selection.pixelData(box.x(), box.y(), box.width(), box.height())
        return np.frombuffer(bytes(data), np.uint8).reshape(box.height(), box.width())

    def annotation(self, key: str) -> bytes:
        """What is stored in the document under that key; empty when nothing is."""
        return bytes(self.handle.annotation(key)) if key in self.handle.annotationTypes() else b""

    def set_annotation(self, key: str, description: str, data: bytes) -> None:
        """Stores bytes in the document; they are saved with it."""
        self.handle.setAnnotation(key, description, QByteArray(data))


@dataclass(frozen=True)
class Selection:
    """What the artist has picked in the layer docker."""

    document: Document
    active: Layer | None  # a picked mask stands for the layer that it lies on
    selected: tuple[Layer, ...]  # with the active one


def find_selection() -> Selection | None:
    """What is picked now, in the window in front; None without a document. Costs microseconds: poll it."""
    window = Krita.instance().activeWindow()
    view = window.activeView() if window is not None else None
    handle = view.document() if view is not None else None
    if view is None or handle is None:
        return None
    document = Document(handle)
    selected = tuple(dict.fromkeys(owner(Layer(node)) for node in owned(view.selectedNodes())))
    active = document.active_layer
    return Selection(document, owner(active) if active is not None else None, selected)


def owner(layer: Layer) -> Layer:
    """The layer that a mask lies on; a layer is its own."""
    above = layer.parent
    return owner(above) if layer.is_mask and above is not None else layer
