"""The artist's hands in Krita's window: tools on the canvas by the mouse, and Krita's own actions on layers."""

from __future__ import annotations

from typing import Any

from krita import Krita
from krita_harness.inside import trigger
from krita_harness.steps import Until
from studio import mouse

from krita_diffbmp.qt import QPointF, QtWidgets

MOVE, TRANSFORM, SHAPES = "KritaTransform/KisToolMove", "KisToolTransform", "InteractionTool"
BRUSH = "KritaShape/KisToolBrush"
CANVASES = ("KisQPainterCanvas", "KisOpenGLCanvas2")


def canvas() -> Any:
    """The widget that Krita draws the picture in."""
    window = Krita.instance().activeWindow().qwindow()
    found = [w for w in window.findChildren(QtWidgets.QWidget) if w.metaObject().className() in CANVASES]
    return next(w for w in found if w.isVisible())


def on_screen(x: float, y: float) -> Any:
    """Where a point of the picture, in its pixels, is on the screen: a QPoint."""
    view = Krita.instance().activeWindow().activeView()
    to_canvas = view.flakeToImageTransform().inverted()[0] * view.flakeToCanvasTransform()
    return canvas().mapToGlobal(to_canvas.map(QPointF(x, y)).toPoint())


def take(tool: str) -> Any:
    """Chooses a tool of the toolbox; a generator."""
    button = Krita.instance().activeWindow().qwindow().findChild(QtWidgets.QToolButton, tool)
    if not button.isChecked():
        Krita.instance().action(tool).trigger()
        yield Until(button.isChecked, 5, f"the tool {tool}")
    yield 0.2


def drag(*points: tuple[float, float]) -> Any:
    """Presses at the first point of the picture, goes through the others and lets go at the last; a generator."""
    first, *others = [on_screen(*point) for point in points]
    words = ["mousemove", str(first.x()), str(first.y()), "mousedown", "1"]
    for point in others:
        words += ["mousemove", str(point.x()), str(point.y()), "sleep", "0.03"]
    yield from mouse(*words, "mouseup", "1")


def make_current(document: Any, node: Any) -> Any:
    """As a click in the layer list does; a generator."""
    yield Until(lambda: document.activeNode() is not None, 5, "a current layer")
    document.setActiveNode(node)
    yield Until(lambda: document.activeNode() == node, 5, f"{node.name()} to be current")
    yield 0.1


def settled(document: Any) -> Any:
    """Until Krita has finished what the hands began; a generator."""

    def is_idle() -> bool:
        if not document.tryBarrierLock():
            return False
        document.unlock()
        return True

    yield 0.2
    yield Until(is_idle, 10, "Krita to come to rest")


def middle(node: Any) -> tuple[float, float]:
    """Of what a layer holds, in pixels of the picture."""
    box = node.bounds()
    return box.x() + box.width() / 2, box.y() + box.height() / 2


def room(document: Any, node: Any) -> float:
    """Pixels between what a layer holds and the nearest edge of the picture; negative for what reaches beyond it."""
    box = node.bounds()
    right, bottom = document.width() - box.x() - box.width(), document.height() - box.y() - box.height()
    return float(min(box.x(), box.y(), right, bottom))


def move(document: Any, node: Any, dx: float, dy: float) -> Any:
    """With the Move tool; a generator."""
    yield from make_current(document, node)
    yield from take(MOVE)
    x, y = middle(node)
    yield from drag((x, y), (x + dx / 2, y + dy / 2), (x + dx, y + dy))
    yield from take(BRUSH)  # which ends the move
    yield from settled(document)


def transform(document: Any, node: Any, *, turn: bool) -> Any:
    """With the Transform tool, by the corner of its box or, to turn it, from outside; a generator."""
    yield from make_current(document, node)
    yield from take(TRANSFORM)
    yield 0.3
    box = node.bounds()
    corner = (box.x() + box.width(), box.y() + box.height())
    x, y = (corner[0] + 9, corner[1] + 9) if turn else corner
    yield from drag((x, y), (x + 3, y + 3), (x + 2, y + 12) if turn else (x + 8, y + 8))
    yield from mouse("key", "Return")
    yield 0.3
    yield from take(BRUSH)
    yield from settled(document)


def edit_shape(document: Any, node: Any, dx: float, dy: float) -> Any:
    """With the Select Shapes tool: a click takes the shape, a drag moves it; a generator."""
    yield from make_current(document, node)
    yield from take(SHAPES)
    x, y = middle(node)
    yield from drag((x, y), (x, y))
    yield 0.5  # or it would be a double click
    yield from drag((x, y), (x + dx / 2, y + dy / 2), (x + dx, y + dy))
    yield from take(BRUSH)
    yield from settled(document)


def paint(document: Any, node: Any) -> Any:
    """A stroke with the brush across what the layer holds; a generator."""
    yield from make_current(document, node)
    yield from take(BRUSH)
    x, y = middle(node)
    yield from drag((x - 3, y - 3), (x, y), (x + 3, y + 3))
    yield from settled(document)


def act(document: Any, node: Any, action: str) -> Any:
    """One of Krita's actions on a layer, as its menu and its keys trigger it; a generator."""
    yield from make_current(document, node)
    trigger(action)
    yield from settled(document)


def delete(document: Any, node: Any) -> Any:
    yield from act(document, node, "remove_layer")


def duplicate(document: Any, node: Any) -> Any:
    yield from act(document, node, "duplicatelayer")


def lock(document: Any, node: Any) -> Any:
    yield from act(document, node, "toggle_layer_lock")


def raise_up(document: Any, node: Any) -> Any:
    yield from act(document, node, "move_layer_up")


def undo(document: Any) -> Any:
    trigger("edit_undo")
    yield from settled(document)


def redo(document: Any) -> Any:
    trigger("edit_redo")
    yield from settled(document)
