"""Turns finished pieces into one group of layers above the target, in one undo step.

Every change through Krita's API is an undo step of its own, and there is no macro. So the group is built outside the
layer tree, in short steps between Krita's own events, and then added whole.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Any

from krita_diffbmp.canvas.capture import Place
from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.fingerprint import Seen, cells_of
from krita_diffbmp.canvas.following import matrix_of, resolution_of
from krita_diffbmp.canvas.forms import live_layer, painted_layer, wait_until_drawn
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.records import DESCRIPTION, KEY, Instance, Record, load, with_record
from krita_diffbmp.canvas.scratch import close_scratch
from krita_diffbmp.canvas.space import RawPiece
from krita_diffbmp.feed import Feed
from krita_diffbmp.problem import DiffBmpError, LivePiece, Placements, Settings
from krita_diffbmp.qt import QObject, QTimer, pyqtSignal

BUDGET = 0.010  # s of work before Krita's events have their turn
BREATH = 2  # ms until the next step: many API calls spin the event loop, and timers that are due fire in there instead
PAUSE = 10  # ms between two looks at something that Krita does meanwhile
UNGROUPED = 1000  # more layers than this go into sub-groups, without which edits in the group become slow
SUBGROUP = 50  # layers


class WriteBack(QObject):
    """Builds the layers of a result in short steps between Krita's own events, then adds them to the document.

    Each piece is written while the next ones are still being made. LivePieces become vector layers, RawPieces paint
    layers. Exactly one of `done`, `failed` and `cancelled` is emitted, always from the event loop; after the latter
    two the document is as it was. Keep a reference until then, and close the feed afterwards.
    """

    progress = pyqtSignal(int, int)  # layers made, layers in all
    done = pyqtSignal(str)  # the unique id of the new group
    failed = pyqtSignal(object)  # an exception, which the feed may have brought; a DiffBmpError is for the artist
    cancelled = pyqtSignal()

    def __init__(
        self,
        place: Place,
        feed: Feed[Any],
        live: bool,
        placements: Placements,
        settings: Settings,
        name: str = "",
        parent: QObject | None = None,
    ) -> None:
        """feed: of a LivePiece for each placement if `live`, a RawPiece otherwise, the backmost first.
        name: of the new group; by default made of the target's name and the settings.
        """
        super().__init__(parent)
        self.place, self.feed, self.placements, self.settings = place, feed, placements, settings
        self.form = "live" if live else "painted"
        self.total = len(placements.bitmap)
        self.name = (
            name or f"{place.target.name} from {self.total} {place.group.name} ({self.form}, seed {settings.seed})"
        )
        self.instances: dict[str, Instance] = {}  # by layer id, as far as the layers are made
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
        except BaseException as failure:
            self.failed.emit(failure)
        else:
            QTimer.singleShot(PAUSE if waits else BREATH, self.advance)

    def build(self) -> Generator[bool, None, str]:
        """The work in steps; yields whether it waits for Krita or a piece, returns the new group's id."""
        self.check_place()
        load(self.place.document)  # records that cannot be added to are told of before anything is written
        if self.form == "painted":
            group = yield from self.guarded(self.painted_group(self.place.document.handle))
            return (yield from self.attach(group))
        scratch = yield from self.guarded(self.clone())
        try:
            group = yield from self.guarded(self.live_group(scratch))
            return (yield from self.attach(group))
        finally:
            close_scratch(scratch)

    def guarded(self, steps: Generator[bool, None, Any]) -> Generator[bool, None, Any]:
        """The steps, as long as the artist's document is open and unchanged."""
        while True:
            try:
                waits = next(steps)
            except StopIteration as end:
                return end.value
            yield waits
            self.check_document()

    def next_piece(self) -> Generator[bool, None, Any]:
        """The next piece once it is made; raises what has failed in making it."""
        while (piece := self.feed.take()) is None:
            yield True
        return piece

    def clone(self) -> Generator[bool, None, Any]:
        """A document without a view, in which adding shapes leaves no trace in the artist's undo history.

        A clone is made in a few milliseconds, much quicker than a new document, and costs no memory while its pixels
        are those of the original.
        """
        handle = self.place.document.handle
        while not handle.tryBarrierLock():  # the image is at work
            yield True
        try:
            scratch = handle.clone()
        finally:
            handle.unlock()
        scratch.setBatchmode(True)
        return scratch

    def live_group(self, scratch: Any) -> Generator[bool, None, Any]:
        """The finished group of vector layers; Krita draws each in the background once it has a place in a group."""
        workshop = collapsed_group(scratch, self.name)
        drawn: list[Any] = []
        pieces: list[LivePiece] = []
        parent = workshop
        for index in range(self.total):
            piece: LivePiece = yield from self.next_piece()
            if self.starts_subgroup(index):
                parent = collapsed_group(scratch, self.subgroup_name(index))
                workshop.addChildNode(parent, None)
            while Document.active() is None:
                yield True  # Krita cannot read a shape, and crashes, without any document in front
            node = live_layer(scratch, self.layer_name(index), piece, self.place)
            parent.addChildNode(node, None)
            drawn.append(node)
            pieces.append(piece)
            self.progress.emit(index + 1, self.total)
            yield False
        yield from wait_until_drawn(drawn, pieces, self.place)
        scratch.waitForDone()
        copies = []
        for node in drawn:
            copies.append(node.clone())  # Krita may draw a layer anew, which a copy's finished pixels do not feel
            yield False
        return (yield from self.gathered(self.place.document.handle, copies))

    def painted_group(self, document: Any) -> Generator[bool, None, Any]:
        """The finished group of paint layers."""
        layers = []
        for index in range(self.total):
            piece: RawPiece = yield from self.next_piece()
            layers.append(painted_layer(document, self.layer_name(index), piece, self.place))
            self.progress.emit(index + 1, self.total)
            yield False
        return (yield from self.gathered(document, layers))

    def gathered(self, document: Any, layers: list[Any]) -> Generator[bool, None, Any]:
        """Finished layers, the backmost first, in one group; where there are many, in sub-groups."""
        for index, layer in enumerate(layers):
            written = Layer(layer)
            self.instances[written.id] = self.instance(index, written)
            yield False
        if self.total > UNGROUPED:
            subgroups = []
            for start in range(0, self.total, SUBGROUP):
                part = layers[start : start + SUBGROUP]
                subgroups.append(filled_group(document, self.subgroup_name(start), part))
                yield False
            layers = subgroups
        return filled_group(document, self.name, layers)

    def starts_subgroup(self, index: int) -> bool:
        return self.total > UNGROUPED and index % SUBGROUP == 0

    def subgroup_name(self, index: int) -> str:
        """index: of its first layer"""
        return f"{index + 1:04d} to {min(index + SUBGROUP, self.total):04d}"

    def layer_name(self, index: int) -> str:
        primitive = self.place.primitives[int(self.placements.bitmap[index])]
        return f"{primitive.name} {index + 1:04d}"

    def check_document(self) -> None:
        """Raises DiffBmpError unless the document is still open and as it was captured."""
        document, place = self.place.document, self.place
        if not document.is_open:
            raise DiffBmpError("The document was closed before the result could be written; nothing was changed.")
        if (document.width, document.height) != (place.canvas_width, place.canvas_height):
            raise DiffBmpError(
                f"The canvas was {place.canvas_width} x {place.canvas_height} pixels when the run began and is "
                f"{document.width} x {document.height} now; nothing was changed. Run again on the new canvas."
            )
        if document.space != place.space:
            raise DiffBmpError(
                "The document's colour space has changed since the run began; nothing was changed. Run again."
            )

    def check_place(self) -> Layer:
        """The target, if the result still belongs above it. Raises DiffBmpError where it does not."""
        self.check_document()
        target = self.place.document.layer(self.place.target.id)
        if target is None:
            raise DiffBmpError(
                f"The target “{self.place.target.name}” was deleted before the result could be written; "
                "nothing was changed. Undo the deletion and run again."
            )
        return target

    def attach(self, group: Any) -> Generator[bool, None, str]:
        """Adds the finished group above the target, in steps as `build`."""
        document, result = self.place.document, Layer(group)
        records = with_record(document, self.record(result))
        yield False
        target, picked = self.check_place(), document.active_layer
        # First, so that nobody meets the group without its record.
        document.set_annotation(KEY, DESCRIPTION, records)
        target.node.parentNode().addChildNode(group, target.node)  # the one change to the artist's layers
        self.is_attached = True
        yield True  # Krita takes in the new layers, for its layer list among others,
        yield True  # and the window answers before the next long call
        if document.is_open:
            document.handle.refreshProjection()  # without it, layers that were made elsewhere show nothing
        yield True
        if document.is_open and picked is not None:
            # Krita picks the new group, a little after it was added; the artist's pick is put back.
            still_there = document.layer(picked.id)
            if still_there is not None:
                document.handle.setActiveNode(still_there.node)
        yield True
        return result.id

    def record(self, group: Layer) -> Record:
        return Record(
            group_id=group.id,
            form=self.form,
            target=self.place.target,
            primitive_group=self.place.group,
            primitives=self.place.primitives,
            region=(self.place.x, self.place.y, self.place.width, self.place.height),
            settings=self.settings,
            instances=self.instances,
            canvas=(self.place.canvas_width, self.place.canvas_height),
            space=(self.place.space.model, self.place.space.depth, self.place.space.profile),
        )

    def instance(self, index: int, layer: Layer) -> Instance:
        """layer: the finished one"""
        placements, document = self.placements, self.place.document
        seen = Seen.of(layer, document)
        live = layer.kind == "vectorlayer"
        x, y = placements.position[index]
        return Instance(
            position=(short(x + self.place.x), short(y + self.place.y)),
            rotation=short(placements.rotation[index]),
            scale=short(placements.scale[index]),
            opacity=short(placements.opacity[index]),
            color=tuple(short(value) for value in placements.color[index]),
            bitmap=int(placements.bitmap[index]),
            name=layer.name,
            layer_opacity=layer.node.opacity(),
            matrix=matrix_of(layer, resolution_of(document)) if live else None,
            print=seen.print if seen else "",
            shape=seen.shape if seen and not live else "",
            box=seen.box if seen else None,
            cells=cells_of(seen.raw) if seen and not live else "",
        )


def collapsed_group(document: Any, name: str) -> Any:
    """Krita spends seconds on the rows of a large group in its layer list unless the group is collapsed."""
    group = document.createGroupLayer(name)
    group.setCollapsed(True)
    return group


def filled_group(document: Any, name: str, nodes: Sequence[Any]) -> Any:
    """With these layers, the backmost first. `setChildNodes` fills an empty group without an undo step."""
    group = collapsed_group(document, name)
    group.setChildNodes(list(nodes))
    return group


def short(value: Any) -> float:
    """What a float32 knows, without the digits that it does not."""
    return float(f"{value:.9g}")
