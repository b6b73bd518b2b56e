"""Turns finished pieces into one group of layers above the target, in one undo step.

Every change through Krita's API is an undo step of its own, and there is no macro. So the group is built in a scratch
document, in short steps between Krita's own events, and one clone of it is added to the artist's document.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from krita_diffbmp.canvas.capture import Place
from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.forms import live_layer, painted_layer, wait_until_drawn
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.records import Instance, Record, add_record, load
from krita_diffbmp.canvas.scratch import close_scratch, open_scratch
from krita_diffbmp.problem import DiffBmpError, LivePiece, PaintedPiece, Placements, Settings
from krita_diffbmp.qt import QObject, QTimer, pyqtSignal

BUDGET = 0.015  # s of work before Krita's events have their turn
BREATH = 2  # ms until the next step: many API calls spin the event loop, and timers that are due fire in there instead
PAUSE = 10  # ms between two looks at something that Krita does meanwhile
UNGROUPED = 1000  # more layers than this go into sub-groups, without which edits in the group become slow
SUBGROUP = 50  # layers


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
        pieces: Sequence[LivePiece | PaintedPiece],
        placements: Placements,
        settings: Settings,
        name: str = "",
        parent: QObject | None = None,
    ) -> None:
        """name: of the new group; by default made of the target's name and the settings."""
        super().__init__(parent)
        self.place, self.pieces, self.placements, self.settings = place, pieces, placements, settings
        self.form = "live" if pieces and isinstance(pieces[0], LivePiece) else "painted"
        self.name = (
            name or f"{place.target.name} from {len(pieces)} {place.group.name} ({self.form}, seed {settings.seed})"
        )
        self.steps: Generator[bool, None, str] | None = None
        self.is_cancelled = False
        self.is_attached = False

    def start(self) -> None:
        """Begins; returns at once."""
        self.steps = self.build()
        QTimer.singleShot(0, self.advance)

    def cancel(self) -> None:
        """Gives up; `cancelled` follows, unless it is over already."""
        self.is_cancelled = True

    def advance(self) -> None:
        """Works for a moment and comes back after Krita's events."""
        assert self.steps is not None
        until = time.monotonic() + BUDGET
        try:
            waits = False
            while not waits and time.monotonic() < until:
                if self.is_cancelled and not self.is_attached:
                    self.steps.close()
                    self.cancelled.emit()
                    return
                waits = next(self.steps)
        except StopIteration as end:
            self.done.emit(end.value)
        except DiffBmpError as problem:
            self.failed.emit(str(problem))
        except Exception:
            self.failed.emit("Writing the layers failed in a way that was not foreseen; nothing was changed.")
            raise
        else:
            QTimer.singleShot(PAUSE if waits else BREATH, self.advance)

    def build(self) -> Generator[bool, None, str]:
        """The work in steps; yields whether it waits for Krita, returns the new group's id."""
        self.check_place()
        place, document = self.place, self.place.document
        load(document)  # records that cannot be added to are told of before anything is written
        scratch = open_scratch(place.canvas_width, place.canvas_height, place.space, document.resolution)
        try:
            group = collapsed_group(scratch, self.name)
            nodes = []
            for node in self.make_layers(scratch, group):
                if node is not None:
                    nodes.append(node)
                    self.progress.emit(len(nodes), len(self.pieces))
                yield node is None
                self.check_open()
            if self.form == "live":
                pieces = [piece for piece in self.pieces if isinstance(piece, LivePiece)]
                for waits in wait_until_drawn(nodes, pieces, place):
                    yield waits
                    self.check_open()
            scratch.waitForDone()
            copy = group.clone()
            yield False
            return (yield from self.attach(copy))
        finally:
            close_scratch(scratch)

    def make_layers(self, scratch: Any, group: Any) -> Iterator[Any]:
        """One layer after the other, in the group or, where there are many, in sub-groups; None to wait."""
        count, parent = len(self.pieces), group
        for index, piece in enumerate(self.pieces):
            if count > UNGROUPED and index % SUBGROUP == 0:
                parent = collapsed_group(scratch, f"{index + 1:04d} to {min(index + SUBGROUP, count):04d}")
                group.addChildNode(parent, None)
            while self.form == "live" and Document.active() is None:
                yield None  # Krita cannot read a shape, and crashes, without any document in front
            if isinstance(piece, LivePiece):
                node = live_layer(scratch, self.layer_name(index), piece, self.place)
            else:
                node = painted_layer(scratch, self.layer_name(index), piece, self.place)
            parent.addChildNode(node, None)
            yield node

    def layer_name(self, index: int) -> str:
        primitive = self.place.primitives[int(self.placements.bitmap[index])]
        return f"{primitive.name} {index + 1:04d}"

    def check_open(self) -> None:
        if not self.place.document.is_open:
            raise DiffBmpError("The document was closed before the result could be written; nothing was changed.")

    def check_place(self) -> Layer:
        """The target, if the result still belongs above it. Raises DiffBmpError where it does not."""
        self.check_open()
        document, place = self.place.document, self.place
        if (document.width, document.height) != (place.canvas_width, place.canvas_height):
            raise DiffBmpError(
                f"The canvas was {place.canvas_width} x {place.canvas_height} pixels when the run began and is "
                f"{document.width} x {document.height} now; nothing was changed. Run again on the new canvas."
            )
        if document.space != place.space:
            raise DiffBmpError(
                "The document's colour space has changed since the run began; nothing was changed. Run again."
            )
        target = document.layer(place.target.id)
        if target is None:
            raise DiffBmpError(
                f"The target “{place.target.name}” was deleted before the result could be written; "
                "nothing was changed. Undo the deletion and run again."
            )
        return target

    def attach(self, group: Any) -> Generator[bool, None, str]:
        """Adds the finished group above the target, in steps as `build`."""
        document = self.place.document
        target, picked, result = self.check_place(), document.active_layer, Layer(group)
        add_record(document, self.record(result))  # first, so that nobody meets the group without its record
        target.node.parentNode().addChildNode(group, target.node)  # the one change to the artist's layers
        self.is_attached = True
        yield True
        if document.is_open:
            document.handle.refreshProjection()  # without it, layers that were cloned show nothing
        yield True
        if document.is_open and picked is not None:
            # Krita picks the new group, a little after it was added; the artist's pick is put back.
            still_there = document.layer(picked.id)
            if still_there is not None:
                document.handle.setActiveNode(still_there.node)
        yield True
        return result.id

    def record(self, group: Layer) -> Record:
        layers = [layer for child in group.children() for layer in (child.children() if child.is_group else [child])]
        return Record(
            group_id=group.id,
            form=self.form,
            target=self.place.target,
            primitive_group=self.place.group,
            primitives=self.place.primitives,
            region=(self.place.x, self.place.y, self.place.width, self.place.height),
            settings=self.settings,
            instances={layer.id: self.instance(index) for index, layer in enumerate(layers)},
        )

    def instance(self, index: int) -> Instance:
        placements = self.placements
        x, y = placements.position[index]
        return Instance(
            position=(short(x + self.place.x), short(y + self.place.y)),
            rotation=short(placements.rotation[index]),
            scale=short(placements.scale[index]),
            opacity=short(placements.opacity[index]),
            color=tuple(short(value) for value in placements.color[index]),
            bitmap=int(placements.bitmap[index]),
        )


def collapsed_group(document: Any, name: str) -> Any:
    """Krita spends seconds on the rows of a large group in its layer list unless the group is collapsed."""
    group = document.createGroupLayer(name)
    group.setCollapsed(True)
    return group


def short(value: Any) -> float:
    """What a float32 knows, without the digits that it does not."""
    return float(f"{value:.8g}")
