"""What the artist's hand is doing: a change that is still being made is not yet there to be read."""

from __future__ import annotations

from krita import Krita

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.qt import QApplication, Qt, QToolButton

MOVE = "KritaTransform/KisToolMove"  # Krita's name of the tool, and of its button


def is_hand_on() -> bool:
    """Whether the artist is drawing or dragging."""
    return bool(QApplication.mouseButtons() != Qt.MouseButton.NoButton)


def is_at_rest(document: Document) -> bool:
    """Whether what the layers hold is what the artist means them to hold.

    It is not while a button is down, while Krita is at work, and while a tool has something pending, as the Transform
    tool has until its box is accepted. The Move tool, too, keeps its move open for more of it; but what it has moved
    has moved.
    """
    return not is_hand_on() and not is_dialog_open() and (is_idle(document) or is_active(MOVE))


def is_dialog_open() -> bool:
    """Whether a dialog waits for the artist's answer before anything else may be done.

    Krita keeps back events of its own until then, so that a layer added meanwhile leaves its layer list behind.
    """
    return QApplication.activeModalWidget() is not None


def is_idle(document: Document) -> bool:
    """Whether Krita is done with all that was asked of the image."""
    if not document.handle.tryBarrierLock():
        return False
    document.handle.unlock()
    return True


def is_active(tool: str) -> bool:
    """Whether that tool is chosen in the window in front."""
    window = Krita.instance().activeWindow()
    button = window.qwindow().findChild(QToolButton, tool) if window is not None else None
    return button is not None and bool(button.isChecked())
