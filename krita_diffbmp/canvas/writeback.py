"""Turns finished pieces into one group of layers above the target, in one undo step."""

from __future__ import annotations

from collections.abc import Sequence

from krita_diffbmp.canvas.capture import Place
from krita_diffbmp.problem import LivePiece, PaintedPiece, Placements, Settings
from krita_diffbmp.qt import QObject, pyqtSignal


class WriteBack(QObject):
    """Builds the layers of a result in short steps between Krita's own events, then adds them to the document.

    The pieces' type chooses the form: LivePiece becomes a vector layer, PaintedPiece a paint layer. Exactly one of
    `done`, `failed` and `cancelled` is emitted, always from the event loop; after the latter two the document is as
    it was. Keep a reference until then.
    """

    progress = pyqtSignal(int, int)  # layers made, layers in all
    done = pyqtSignal(str)  # the unique id of the new group
    failed = pyqtSignal(str)  # a sentence for the artist
    cancelled = pyqtSignal()

    def __init__(
        self,
        place: Place,
        pieces: Sequence[LivePiece] | Sequence[PaintedPiece],
        placements: Placements,
        settings: Settings,
        name: str = "",
        parent: QObject | None = None,
    ) -> None:
        """name: of the new group; by default made of the target's name and the settings."""
        super().__init__(parent)

    def start(self) -> None:
        """Begins; returns at once."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Gives up; `cancelled` follows, unless it is over already."""
        raise NotImplementedError
