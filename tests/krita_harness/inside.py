"""What checks are written with, inside Krita: documents with known pixels, undo, ticks, pictures of the window."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
from krita import Krita

from krita_diffbmp.qt import QApplication, QByteArray, QTimer, QtWidgets
from krita_harness.steps import is_nested

DTYPES = {"U8": np.uint8, "U16": np.uint16, "F16": np.float16, "F32": np.float32}
CHANNELS = {"GRAYA": 2, "RGBA": 4, "CMYKA": 5}
_numbers = itertools.count(1)


def new_document(
    width: int = 128,
    height: int = 96,
    model: str = "RGBA",
    depth: str = "U8",
    profile: str = "",
    view: bool = True,
    resolution: float = 72.0,
) -> Any:
    """A document without layers; with a view (and so the active one) unless told otherwise or in kritarunner."""
    krita = Krita.instance()
    document = krita.createDocument(width, height, f"check {next(_numbers)}", model, depth, profile, resolution)
    document.setBatchmode(True)
    for node in document.topLevelNodes():
        node.remove()
    document.waitForDone()
    document.setModified(False)
    if view and krita.activeWindow() is not None:
        krita.activeWindow().addView(document)
    return document


def layout(node: Any) -> tuple[type, int]:
    """numpy type and number of channels, alpha included, of a node's or document's pixels."""
    return DTYPES[node.colorDepth()], CHANNELS[node.colorModel()]


def write_pixels(node: Any, pixels: np.ndarray, x: int = 0, y: int = 0) -> None:
    """Raw pixels [h, w, C] in Krita's own channel order and type into a paint layer or mask."""
    height, width = pixels.shape[:2]
    node.setPixelData(QByteArray(np.ascontiguousarray(pixels).tobytes()), x, y, width, height)


def paint_layer(document: Any, name: str, pixels: np.ndarray, x: int = 0, y: int = 0, parent: Any = None) -> Any:
    """A new paint layer on top of the others (or of `parent`'s) with these raw pixels."""
    node = document.createNode(name, "paintlayer")
    (parent or document.rootNode()).addChildNode(node, None)
    write_pixels(node, pixels, x, y)
    return node


def group_layer(document: Any, name: str, parent: Any = None) -> Any:
    node = document.createGroupLayer(name)
    (parent or document.rootNode()).addChildNode(node, None)
    return node


def refresh(document: Any) -> None:
    """Brings the projection up to date with pixels written through the API, which update nothing."""
    document.refreshProjection()
    document.waitForDone()


def composite(document: Any) -> np.ndarray:
    """The document's raw pixels [H, W, C] in Krita's own channel order and type."""
    kind, channels = layout(document)
    width, height = document.width(), document.height()
    return np.frombuffer(bytes(document.pixelData(0, 0, width, height)), kind).reshape(height, width, channels)


def undo_rows() -> int:
    """Rows in the undo history of the document in front."""
    for docker in Krita.instance().dockers():
        if docker.objectName() == "History":
            return int(docker.findChild(QtWidgets.QListView).model().rowCount())
    raise LookupError("no undo history docker")


def trigger(name: str) -> None:
    Krita.instance().action(name).trigger()


def screenshot(path: str) -> None:
    """The whole screen as a picture file."""
    assert QApplication.primaryScreen().grabWindow(0).save(path)


class Ticks:
    """Watches a 20 ms timer: how long the window could not have answered.

    Ticks inside a call into Krita do not count: input has to wait there.
    """

    def __init__(self, interval: float = 0.02) -> None:
        self.times = [time.monotonic()]
        self.timer = QTimer()
        self.timer.timeout.connect(self.tick)
        self.timer.start(round(interval * 1000))

    def tick(self) -> None:
        if not is_nested():
            self.times.append(time.monotonic())
        elif self.timer.isActive():
            QTimer.singleShot(1, self.tick)

    def stop(self) -> np.ndarray:
        """The gaps between ticks, in seconds."""
        self.timer.stop()
        self.times.append(time.monotonic())
        return np.diff(self.times)


def memory() -> float:
    """MB that this process holds."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def forget_peak_memory() -> None:
    """From now on `peak_memory` counts anew."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def peak_memory() -> float:
    """The most MB that this process has held."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 2**10 for line in file if line.startswith("VmHWM"))
