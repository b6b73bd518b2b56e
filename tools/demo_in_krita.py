"""The demo's stages, run inside Krita by the tests' driver (tests/krita_harness/steps.py); tools/demo.py starts them.

They do what an artist does: make layers current in the layer list, and start the job by the plugin's own action.
Environment: DIFFBMP_DEMO_OUT is the folder for what the demo leaves, DIFFBMP_DEMO_SAMPLE that of photo and bitmaps.
"""

from __future__ import annotations

import os
from collections.abc import Callable
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
from tools.demo_layout import palette

OUT = Path(os.environ.get("DIFFBMP_DEMO_OUT", "."))
SAMPLE = Path(os.environ.get("DIFFBMP_DEMO_SAMPLE", "."))
PATIENCE = 280.0  # s for each stage of the job: enough for a slow machine
patient: Callable[[Callable[[], Any]], Callable[[], Any]] = limit(PATIENCE)
# Dockers that stand beside ours in a fresh profile; without them it shows all of its settings.
CROWDING = ("PresetDocker", "ColorSelectorNg", "sharedtooldocker")
before: set[Any] = set()  # the layers at the top of the document before the job


def pixels(image: Image.Image) -> np.ndarray:
    """[h, w, 4] as an 8-bit RGBA layer of Krita has them: blue first, straight alpha."""
    return np.asarray(image.convert("RGBA"))[..., [2, 1, 0, 3]]


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
    for file, image, place in zip(files, images, palette([i.size for i in images], *photo.size), strict=True):
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
    for docker in krita.dockers():
        if docker.objectName() in CROWDING:
            docker.hide()
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


@patient
def start() -> Any:
    """Starts the job by its action and waits for the first step: torch is imported before it."""
    session, document = krita_diffbmp.session(), active()
    before.update(node.uniqueId() for node in document.topLevelNodes())
    trigger("diffbmp_optimize")
    yield Until(lambda: session.job.progress or not session.job.busy, PATIENCE, "the first step")
    check_job()


@patient
def first_half() -> Any:
    """Runs until the picture has formed, and takes a picture of the docker at work."""
    session = krita_diffbmp.session()
    half = session.choices.settings.steps // 2
    yield Until(lambda: not session.job.busy or session.job.progress.step >= half, PATIENCE, f"step {half}")
    yield 0.2  # for the docker to show it
    screenshot("running.png")
    check_job()


@patient
def second_half() -> Any:
    session = krita_diffbmp.session()
    steps = session.choices.settings.steps
    yield Until(lambda: not session.job.busy or session.job.progress.step == steps, PATIENCE, f"step {steps}")
    check_job()
    return {"steps": steps}


@patient
def write_back() -> Any:
    """Waits until the layers are there."""
    session = krita_diffbmp.session()
    yield Until(lambda: not session.job.busy, PATIENCE, "the layers")
    check_job()
    groups = [node for node in active().topLevelNodes() if node.uniqueId() not in before]
    assert len(groups) == 1, f"the job made {len(groups)} groups at the top of the layers instead of one"
    return {"instances": len(groups[0].childNodes()), "group": groups[0].name(), "notice": session.notice.text}


def keep() -> Any:
    """Saves what the job left, and the result alone on white paper as a picture."""
    yield 1.5  # for the thumbnails
    screenshot("screenshot.png")
    document = active()
    save(document, "result.kra")
    artist = [document.nodeByName(name) for name in ("photo", "brushes")]
    for node in artist:
        node.setVisible(False)
    refresh(document)
    yield 0.2
    written = document.exportImage(str(OUT / "result.png"), InfoObject())
    for node in artist:
        node.setVisible(True)
    refresh(document)
    document.setModified(False)
    assert written, f"Krita cannot write {OUT / 'result.png'}"


def close() -> None:
    """Ends Krita, as the artist would."""
    for document in Krita.instance().documents():
        document.setModified(False)
        document.close()
    trigger("file_quit")


def active() -> Any:
    return Krita.instance().activeDocument()


def check_job() -> None:
    """Raises what the plugin has told the artist if the job has ended in an error."""
    session = krita_diffbmp.session()
    if not session.job.busy and (session.notice is None or session.notice.kind == "error"):
        raise AssertionError(f"the job failed: {session.notice}")


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
