"""The demo's stages, run inside Krita by the tests' driver (tests/krita_harness/steps.py); tools/demo.py starts them.

They do what an artist does: make layers current in the layer list, and start the job by the plugin's own action.
Environment: DIFFBMP_DEMO_OUT is the folder for what the demo leaves, DIFFBMP_DEMO_SAMPLE that of photo and bitmaps.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from krita import InfoObject, Krita
from krita_harness.inside import group_layer, paint_layer, refresh, trigger
from krita_harness.steps import Until, limit
from PIL import Image

import krita_diffbmp
from krita_diffbmp.qt import QApplication

OUT = Path(os.environ.get("DIFFBMP_DEMO_OUT", "."))
SAMPLE = Path(os.environ.get("DIFFBMP_DEMO_SAMPLE", "."))
START = 60.0  # s until the job's first step: torch is imported before it
PATIENCE = 270.0  # s for the job


def pixels(image: Image.Image) -> np.ndarray:
    """[h, w, 4] as an 8-bit RGBA layer of Krita has them: blue first, straight alpha."""
    return np.asarray(image.convert("RGBA"))[..., [2, 1, 0, 3]]


def palette(images: Sequence[Image.Image], width: int, height: int) -> list[tuple[int, int]]:
    """Where to put the images so that they lie in rows, evenly spread: their left upper corners."""
    lines: list[list[Image.Image]] = [[]]
    for image in images:
        if lines[-1] and sum(i.width for i in [*lines[-1], image]) > 0.9 * width:
            lines.append([])
        lines[-1].append(image)
    tall = [max(i.height for i in line) for line in lines]
    gap = (height - sum(tall)) // (len(lines) + 1)
    places, y = [], gap
    for line, rise in zip(lines, tall, strict=True):
        room = (width - sum(i.width for i in line)) // (len(line) + 1)
        x = room
        for image in line:
            places.append((x, y + (rise - image.height) // 2))
            x += image.width + room
        y += rise + gap
    return places


def build() -> dict[str, Any]:
    """The sample document as an artist would have it: white paper, a group of bitmaps, the photo on top."""
    photo = Image.open(SAMPLE / "photo.jpg")
    document = Krita.instance().createDocument(*photo.size, "sample", "RGBA", "U8", "sRGB-elle-V2-srgbtrc.icc", 72.0)
    document.setBatchmode(True)
    for node in document.topLevelNodes():
        node.remove()
    paint_layer(document, "paper", np.full((photo.height, photo.width, 4), 255, np.uint8))
    group = group_layer(document, "brushes")
    files = sorted((SAMPLE / "bitmaps").glob("*.png"))
    images = [Image.open(file) for file in files]
    for file, image, place in zip(files, images, palette(images, *photo.size), strict=True):
        paint_layer(document, file.stem, pixels(image), *place, parent=group)
    group.setCollapsed(True)
    paint_layer(document, "photo", pixels(photo))
    refresh(document)
    save(document, "sample.kra")
    document.close()
    return {"pixels": photo.size, "bitmaps": len(files)}


def show() -> Any:
    """Opens the sample in the window, with the plugin's docker in front."""
    krita = Krita.instance()
    window = krita.activeWindow()
    frame = window.qwindow()
    frame.showMaximized()
    frame.setGeometry(QApplication.primaryScreen().availableGeometry())  # where no window manager heeds the above
    document = krita.openDocument(str(OUT / "sample.kra"))
    assert document is not None, f"Krita cannot open {OUT / 'sample.kra'}"
    document.setBatchmode(True)
    window.addView(document)
    yield Until(lambda: active().activeNode() is not None, 60, "the document to show")
    trigger("diffbmp_show")
    yield 0.5
    trigger("zoom_to_fit")
    return krita.version()


def select() -> Any:
    """Makes the group current and then the photo, as clicks in the layer list do."""
    for name in ("brushes", "photo"):
        active().setActiveNode(active().nodeByName(name))
        yield Until(partial(is_current, name), 10, f"layer {name} to be current")
        yield 0.5  # the plugin looks every so often
    picked = krita_diffbmp.session().picked
    assert not picked.problem, f"the plugin is not content with the selection: {picked.problem}"
    return {"target": picked.target.name, "primitives": len(picked.primitives)}


@limit(START + PATIENCE)
def optimize() -> Any:
    """Starts the job by its action and waits until the layers are there."""
    session = krita_diffbmp.session()
    before = {node.uniqueId() for node in active().topLevelNodes()}
    begun = time.monotonic()
    trigger("diffbmp_optimize")
    yield Until(lambda: session.job.progress or not session.job.busy, START, "the first step")
    first = time.monotonic()
    settings = session.choices.settings
    yield Until(
        lambda: not session.job.busy or session.job.progress.step >= settings.steps * 0.4, PATIENCE, "the first half"
    )
    yield 0.1
    screenshot("running.png")
    yield Until(lambda: not session.job.busy or session.job.progress.step == settings.steps, PATIENCE, "the last step")
    last = time.monotonic()
    yield Until(lambda: not session.job.busy, PATIENCE, "the layers")
    notice = session.notice
    assert notice is not None and notice.kind != "error", f"the job failed: {notice}"
    groups = [node for node in active().topLevelNodes() if node.uniqueId() not in before]
    assert len(groups) == 1, f"the job made {len(groups)} groups at the top of the layers instead of one"
    return {
        "group": groups[0].name(),
        "instances": len(groups[0].childNodes()),
        "steps": settings.steps,
        "first step after": seconds(begun, first),
        "steps took": seconds(first, last),
        "layers took": seconds(last, time.monotonic()),
        "notice": notice.text,
    }


def keep() -> Any:
    """Hides the artist's own layers, so that the result alone is seen on the paper, and saves everything."""
    document = active()
    for name in ("photo", "brushes"):
        document.nodeByName(name).setVisible(False)
    refresh(document)
    yield 0.5
    save(document, "result.kra")
    assert document.exportImage(str(OUT / "result.png"), InfoObject()), f"Krita cannot write {OUT / 'result.png'}"
    yield 0.5
    screenshot("screenshot.png")


def close() -> None:
    """Ends Krita, as the artist would."""
    for document in Krita.instance().documents():
        document.setModified(False)
        document.close()
    trigger("file_quit")


def active() -> Any:
    return Krita.instance().activeDocument()


def is_current(name: str) -> bool:
    node = active().activeNode()
    return node is not None and bool(node.name() == name)


def save(document: Any, name: str) -> None:
    assert document.saveAs(str(OUT / name)), f"Krita cannot write {OUT / name}"
    document.waitForDone()
    document.setModified(False)


def screenshot(name: str) -> None:
    """Writes what the Krita window shows."""
    window = Krita.instance().activeWindow().qwindow()
    assert window.grab().save(str(OUT / name)), f"{OUT / name} cannot be written"


def seconds(begin: float, end: float) -> float:
    return round(end - begin, 2)
