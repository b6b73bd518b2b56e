"""What the checks of the main job share: a document as an artist would have it, the docker, and a hand on the mouse."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from krita import Krita
from krita_harness.inside import group_layer, new_document, paint_layer, refresh, trigger
from krita_harness.steps import Until

import krita_diffbmp
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.job import Phase
from krita_diffbmp.qt import QImage, QtCore, QtWidgets
from krita_diffbmp.ui import session as session_module
from krita_diffbmp.ui.store import Choices, RefineChoices

SAMPLE = Path(__file__).resolve().parents[2] / "sample"
OUT = Path(os.environ.get("DIFFBMP_TEST_OUT", Path(__file__).resolve().parents[2] / "build/tests"))
WAIT = 12  # s in which a refinement after an edit is done, on a busy machine


def session() -> Any:
    return krita_diffbmp.session()


def warms_up() -> bool:
    """Whether torch is being loaded before a run was asked for."""
    return any(thread.name == "krita_diffbmp warm-up" for thread in threading.enumerate())


def docker() -> Any:
    [found] = [d for d in Krita.instance().activeWindow().dockers() if d.objectName() == krita_diffbmp.DOCKER]
    return found


def panel() -> Any:
    return docker().widget()


def show_docker() -> Any:
    """The docker by itself beside Krita's window, of a usual size; a generator."""
    Krita.instance().activeWindow().qwindow().setGeometry(0, 0, 1260, 980)
    docker().setFloating(True)
    docker().resize(300, 620)
    docker().move(1280, 20)
    docker().show()
    docker().raise_()
    yield Until(lambda: panel().isVisible(), 5, "the docker to show")
    yield 0.2


def save_picture(name: str) -> Any:
    """The docker as it looks once laid out, for a person to look at; a generator."""
    yield 0.25
    OUT.mkdir(parents=True, exist_ok=True)
    assert docker().grab().save(str(OUT / f"{name}.png"))


def photo(width: int, height: int) -> np.ndarray:
    """A picture with a gradient, a disc and a dark bar: uint8 [h, w, 4], B G R A."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.empty((height, width, 4), np.uint8)
    pixels[..., 0] = 255 * y // height
    pixels[..., 1] = 255 * x // width
    pixels[..., 2] = 120
    pixels[..., 3] = 255
    disc = (x - width * 0.35) ** 2 + (y - height * 0.45) ** 2 < (0.25 * height) ** 2
    pixels[disc] = (30, 200, 240, 255)
    pixels[int(height * 0.75) : int(height * 0.85), int(width * 0.1) : int(width * 0.9)] = (40, 20, 20, 255)
    return pixels


def dab(side: int, colour: tuple[int, int, int]) -> np.ndarray:
    """A round soft spot: uint8 [side, side, 4], B G R A."""
    y, x = np.mgrid[0:side, 0:side] + 0.5
    distance = np.hypot(x - side / 2, y - side / 2) / (side / 2)
    pixels = np.empty((side, side, 4), np.uint8)
    pixels[..., :3] = colour
    pixels[..., 3] = np.clip(2 * (1 - distance), 0, 1) * 255
    return pixels


class Easel:
    """A document with a layer "photo" above a group "dabs" of three bitmaps."""

    def __init__(self, width: int = 96, height: int = 72, depth: str = "U8") -> None:
        self.document = new_document(width, height, depth=depth)
        self.group = group_layer(self.document, "dabs")
        pixels = photo(width, height)
        colours = ((30, 60, 200), (40, 160, 60), (220, 200, 90))
        spots = [dab(16 + 4 * i, colour) for i, colour in enumerate(colours)]
        pixels, spots = in_depth(pixels, depth), [in_depth(spot, depth) for spot in spots]
        self.dabs = [
            paint_layer(self.document, f"dab {i + 1}", spot, x=20 * i, parent=self.group)
            for i, spot in enumerate(spots)
        ]
        self.photo = paint_layer(self.document, "photo", pixels)
        refresh(self.document)

    def choose(self) -> Any:
        """Picks the group and the photo; a generator."""
        yield from click_through(self.document, self.group, self.photo)
        assert (picked_names()) == ("photo", "dabs")

    def results(self) -> list[Any]:
        """The groups that runs have made."""
        return [node for node in self.document.topLevelNodes() if node.type() == "grouplayer" and node != self.group]

    def state(self) -> tuple[Any, ...]:
        """All that a run must leave alone: the layers in their order, their pixels and names, and what is shown."""
        whole = (0, 0, self.document.width(), self.document.height())
        layers = [self.photo, self.group, *self.dabs]
        return (
            [node.name() for node in self.document.topLevelNodes()],
            [(node.name(), node.uniqueId().toString(), node.opacity(), node.visible()) for node in layers],
            [bytes(node.pixelData(*whole)) for node in layers],
            bytes(self.document.pixelData(*whole)),
        )


def sample(side: int, depth: str = "U8") -> Any:
    """The sample photo, `side` px long, above a group of the sample bitmaps, in a document and picked; a generator.

    Returns the document.
    """
    photo, *bitmaps = [SAMPLE / "photo.jpg", *sorted((SAMPLE / "bitmaps").glob("*.png"))]
    target = in_depth(picture(photo, side), depth)
    document = new_document(target.shape[1], target.shape[0], depth=depth)
    group = group_layer(document, "bitmaps")
    for file in bitmaps:
        paint_layer(document, file.stem, in_depth(picture(file), depth), parent=group)
    layer = paint_layer(document, "photo", target)
    refresh(document)
    yield from click_through(document, group, layer)
    return document


def in_depth(pixels: np.ndarray, depth: str) -> np.ndarray:
    """uint8 pixels as an integer document of that depth has them."""
    return pixels.astype(np.uint16) * 257 if depth == "U16" else pixels


def click_through(document: Any, *nodes: Any) -> Any:
    """Makes one node after the other current, as clicks in the layer docker would; a generator."""
    yield Until(lambda: document.activeNode() is not None, 5, "a current layer")
    yield 0.2
    for node in nodes:
        document.setActiveNode(node)
        yield Until(lambda node=node: document.activeNode() == node, 5, f"{node.name()} to be current")
        session().look()


def picture(file: Path, side: int | None = None) -> np.ndarray:
    """The pixels of a file, uint8 [h, w, 4] in Krita's order, scaled to a long side if that is given."""
    image = QImage(str(file)).convertToFormat(QImage.Format.Format_ARGB32)
    if side is not None:
        mode = QtCore.Qt.TransformationMode.SmoothTransformation
        image = image.scaled(side, side, QtCore.Qt.AspectRatioMode.KeepAspectRatio, mode)
    bits = image.constBits().asstring(image.sizeInBytes())
    return np.frombuffer(bits, np.uint8).reshape(image.height(), image.width(), 4)


def picked_names() -> tuple[str, str]:
    """Of target and group; "" where none is picked."""

    def name(layer: Layer | None) -> str:
        return layer.name if layer else ""

    return name(session().picked.target), name(session().picked.group)


def set_form(**values: Any) -> None:
    """Edits the fields of the form of that name: numbers as the artist would, choices by their key."""
    form = panel().form
    form.set_choices(Choices())
    form.changed.emit()
    for name, value in {"instances": 12, "steps": 20, "working_size": 96, **values}.items():
        field = getattr(form, name)
        if isinstance(value, str):
            field.setCurrentIndex(field.findData(value))
            field.activated.emit(field.currentIndex())
        else:
            field.setValue(value)


def phase() -> Phase:
    found: Phase = session().job.phase
    return found


def at_step(step: int) -> Until:
    """Until the run has done that many steps, and the docker knows that it is under way."""

    def reached() -> bool:
        progress = session().job.progress
        return progress is not None and progress.step >= step and phase() is not Phase.STARTING

    return Until(reached, 40, f"step {step}")


def start(easel: Easel, step: int = 2, **values: Any) -> Any:
    """A long run, with `values` in the form, until it has done that many steps; a generator."""
    set_form(**{"steps": 20000, **values})
    yield from easel.choose()
    trigger("diffbmp_optimize")
    yield at_step(step)


def over() -> Until:
    return Until(lambda: phase() is Phase.IDLE, 60, "the run to end")


def notice() -> str:
    """What the docker says about the last run."""
    found = session().notice
    return found.text if found else ""


def mouse(*words: str) -> Any:
    """Moves and clicks with xdotool, in a process of its own that Krita's events can answer; a generator."""
    process = subprocess.Popen(["xdotool", *words])
    yield Until(lambda: process.poll() is not None, 10, "xdotool")
    assert process.returncode == 0
    yield 0.15


def click(widget: Any, position: Any = None, *, ctrl: bool = False) -> Any:
    """A click with the left button in the middle of a widget, or at `position` (QPoint) in it; a generator."""
    point = widget.mapToGlobal(position if position is not None else widget.rect().center())
    words = ["mousemove", str(point.x()), str(point.y())]
    if ctrl:
        words += ["keydown", "ctrl"]
    words += ["click", "1"]
    if ctrl:
        words += ["keyup", "ctrl"]
    yield from mouse(*words)


def layer_list() -> Any:
    """The list in Krita's layer docker."""
    [box] = [d for d in Krita.instance().dockers() if d.objectName() == "KisLayerBox"]
    box.show()
    box.raise_()
    return box.findChild(QtCore.QObject, "listLayers")


def click_layer(name: str, *, ctrl: bool = False) -> Any:
    """A click on a layer in Krita's layer docker; a generator."""
    view = layer_list()
    [index] = view.model().match(
        view.model().index(0, 0), QtCore.Qt.ItemDataRole.DisplayRole, name, 1, QtCore.Qt.MatchFlag.MatchRecursive
    ) or [None]
    assert index is not None, f"no layer named {name} in the layer docker"
    view.scrollTo(index)
    yield 0.05
    yield from click(view.viewport(), view.visualRect(index).center(), ctrl=ctrl)


def set_refine(**values: Any) -> None:
    """Edits the fields of the refine form of that name, from the defaults; choices by their key."""
    form = panel().refine_form
    form.set_choices(RefineChoices())
    form.changed.emit()
    for name, value in {"steps": 20, **values}.items():
        field = getattr(form, name)
        if isinstance(field, QtWidgets.QComboBox):
            field.setCurrentIndex(field.findData(value))
            field.activated.emit(field.currentIndex())
        else:
            field.setValue(value)


def first_run(easel: Easel, **values: Any) -> Any:
    """A finished run, of 20 instances unless told otherwise, and its group picked; a generator that returns that."""
    set_form(**{"instances": 20, "steps": 30, **values})
    set_refine()
    yield from easel.choose()
    trigger("diffbmp_optimize")
    yield over()
    [group] = easel.results()
    yield from click_through(easel.document, group)
    yield Until(lambda: session().picked.result is not None, 3, "the result to be picked")
    return group


def start_refining(step: int = 2, **values: Any) -> Any:
    """A long refinement of what is picked, until it has done that many steps; a generator."""
    set_refine(**{"steps": 20000, **values})
    trigger("diffbmp_refine")
    yield at_step(step)


def switched_on(easel: Easel, **values: Any) -> Any:
    """A first run, and the mode; a generator that returns the group."""
    yield from show_docker()
    group = yield from first_run(easel, **{"instances": 40, "max_size": 12, **values})
    set_refine(steps=20)
    box = panel().refine_form.continuous
    if not box.isChecked():
        yield from click(box, QtCore.QPoint(8, box.height() // 2))
    assert session().continuous.is_on
    yield 2.5
    assert easel.results() == [group], "nothing was done by hand"
    return group


@contextmanager
def long_rounds() -> Any:
    """Refinements after an edit that begin meanwhile take so long that something can come between."""
    steps = session_module.CONTINUOUS_STEPS
    session_module.CONTINUOUS_STEPS = 20000
    set_refine(steps=20000)
    try:
        yield
    finally:
        session_module.CONTINUOUS_STEPS = steps
        set_refine(steps=20)
