"""Turns finished pieces into one group of layers above the target, in one undo step.

Every change through Krita's API is an undo step of its own, and there is no macro. So the group is built outside the
layer tree, in short steps between Krita's own events, and then added whole. Of a refinement, the group is a new version
above the one that it goes on from, which is hidden; `versions.py` says what undo does to that.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

from krita_diffbmp.canvas.capture import Place
from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.forms import Sheet, live_layer, painted_layer
from krita_diffbmp.canvas.groups import SUBGROUP, UNGROUPED, filled_group, like, refolded, split
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.meanwhile import changed_since, state_of
from krita_diffbmp.canvas.plan import Entry, Plan
from krita_diffbmp.canvas.reading import Kind, Part
from krita_diffbmp.canvas.recording import instance_of, instance_of_copy, instance_of_own
from krita_diffbmp.canvas.records import DESCRIPTION, KEY, Instance, Record, Source, load, with_record
from krita_diffbmp.canvas.scratch import close_scratch, open_scratch
from krita_diffbmp.canvas.space import RawPiece
from krita_diffbmp.canvas.tools import is_dialog_open
from krita_diffbmp.canvas.versions import hide_replaced, name_of_version, next_version
from krita_diffbmp.feed import Feed
from krita_diffbmp.problem import DiffBmpError, LivePiece, Placements, Settings
from krita_diffbmp.qt import QObject, QTimer, pyqtSignal

BUDGET = 0.010  # s of work before Krita's events have their turn
BREATH = 2  # ms until the next step: many API calls spin the event loop, and timers that are due fire in there instead
OPAQUE = 255  # Krita's opacity of 1
PAUSE = 10  # ms between two looks at something that Krita does meanwhile


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
        plan: Plan,
        placements: Placements,
        settings: Settings,
        name: str = "",
        psnr: float | None = None,
        parent: QObject | None = None,
    ) -> None:
        """feed: of a piece for each entry of the plan that is not copied, in that order: a LivePiece where the entry
        is live, a RawPiece otherwise. name: of the new group; by default made of the target's name and the settings.
        psnr: dB, of the result.
        """
        super().__init__(parent)
        self.place, self.feed, self.plan = place, feed, plan
        self.placements, self.settings, self.psnr = placements, settings, psnr
        self.total = len(plan)
        self.name = name or self.default_name()
        self.primitives = list(place.primitives)  # of which the instances are
        self.instances: dict[str, Instance] = {}  # by layer id, as far as the layers are made
        self.fixed: list[str] = []  # ids of the layers that are no instances
        self.sheets: list[Sheet] = []  # what Krita draws, and may draw once more
        self.steps: Generator[bool, None, str] | None = None
        self.is_cancelled = False
        self.is_attached = False
        self.is_unchecked = True  # Krita's events have had their turn since the document was looked at
        self.copied: dict[str, int] = {}  # what instances were like when they were copied, by layer id
        self.changed_meanwhile = 0  # layers that are not in the new version as the artist has left them

    @property
    def form(self) -> str:
        """Of most instances"""
        live = sum(entry.live for entry in self.plan)
        return "live" if 2 * live >= max(1, self.total) else "painted"

    def default_name(self) -> str:
        place = self.place
        if place.refinement is not None:
            return name_of_version(place.document, place.refinement.reading.group)
        return f"{place.target.name} from {self.total} {place.group.name} ({self.form}, seed {self.settings.seed})"

    def start(self) -> None:
        """Begins; returns at once."""
        self.steps = self.build()
        QTimer.singleShot(0, self.advance)

    def cancel(self) -> None:
        """Gives up; `cancelled` follows, unless it is over already."""
        self.is_cancelled = True

    def advance(self) -> None:
        """Works for a moment and comes back after Krita's events, once no dialog is open."""
        assert self.steps is not None
        if is_dialog_open() and not self.is_cancelled:
            QTimer.singleShot(PAUSE, self.advance)
            return
        self.is_unchecked = True
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
        if not any(entry.live and not entry.copied for entry in self.plan):
            group = yield from self.guarded(self.group(None))
            return (yield from self.attach(group))
        scratch = yield from self.guarded(self.workshop())
        try:
            group = yield from self.guarded(self.group(scratch))
            return (yield from self.attach(group))
        finally:
            scratch.waitForDone()  # or a layer would end in the thread that is drawing it, which crashes Krita
            self.sheets.clear()
            close_scratch(scratch)

    def guarded(self, steps: Generator[bool, None, Any]) -> Generator[bool, None, Any]:
        """The steps, as long as the artist's document is open and unchanged."""
        while True:
            try:
                waits = next(steps)
            except StopIteration as end:
                return end.value
            yield waits
            if self.is_unchecked:  # to look at Krita's documents costs as much as to make a layer
                self.check_document()
                self.is_unchecked = False

    def next_piece(self) -> Generator[bool, None, Any]:
        """The next piece once it is made; raises what has failed in making it."""
        while (piece := self.feed.take()) is None:
            yield True
        return piece

    def workshop(self) -> Generator[bool, None, Any]:
        """A document without a view, in which adding shapes leaves no trace in the artist's undo history.

        In a first run it is a clone, which is made in a few milliseconds, much quicker than a new document, and costs
        no memory while its pixels are those of the original. But it clones every version of a result as well.
        """
        handle = self.place.document.handle
        if self.place.refinement is not None:
            scratch = open_scratch(self.place.canvas_width, self.place.canvas_height, self.place.space)
            scratch.setXRes(handle.xRes())
            scratch.setYRes(handle.yRes())
            return scratch
        while not handle.tryBarrierLock():  # the image is at work
            yield True
        try:
            scratch = handle.clone()
        finally:
            handle.unlock()
        scratch.setBatchmode(True)
        return scratch

    def group(self, scratch: Any) -> Generator[bool, None, Any]:
        """The finished group. scratch: in which live layers are drawn; None where there are none to draw."""
        layers = yield from self.made(scratch)
        nodes, document = [node for _, node in layers], self.place.document
        folders = [entry.folders for entry, _ in layers]
        if any(folders):
            nodes = refolded(document, nodes, folders)
        elif len(nodes) > UNGROUPED:
            subgroups = []
            for subgroup in split(document.handle, nodes):
                subgroups.append(subgroup)
                yield False
            nodes = subgroups
        group = filled_group(document.handle, self.name, nodes)
        if self.place.refinement is not None:
            like(group, document, self.place.refinement.reading.group.id)
            group.setVisible(True)
        return group

    def made(self, scratch: Any) -> Generator[bool, None, list[tuple[Entry, Any]]]:
        """Each entry with its finished layer, which is recorded, the backmost first.

        What was deleted since it was read is left out.
        """
        place, document = self.place, self.place.document
        layers: list[tuple[Entry, Any]] = []
        sheets = self.sheets
        for made, entry in enumerate(self.plan):
            node: Any = None
            if entry.copied:
                original = self.original(entry)
                if original is not None:
                    node = original.node.clone()
                    part = self.part_of(entry)
                    if part is not None and part.kind is not Kind.FIXED:
                        self.copied[original.id] = state_of(original, document)
            elif entry.live:
                picture: LivePiece = yield from self.next_piece()
                while Document.active() is None:
                    yield True  # Krita cannot read a shape, and crashes, without any document in front
                if not sheets or len(sheets[-1].nodes) == SUBGROUP:
                    sheets.append(Sheet(scratch, place))
                sheets[-1].add(self.dressed(live_layer(scratch, entry.name, picture, place), entry), picture)
                if len(sheets[-1].nodes) == SUBGROUP:
                    sheets[-1].begin()
                layers.append((entry, None))
            else:
                piece: RawPiece = yield from self.next_piece()
                node = self.dressed(painted_layer(document.handle, entry.name, piece, place), entry)
            if node is not None:
                layers.append((entry, node))
                self.keep(entry, Layer(node))
            self.progress.emit(made + 1, self.total)
            yield False
        if sheets and len(sheets[-1].nodes) < SUBGROUP:
            sheets[-1].begin()
        waiting = iter([index for index, (_, node) in enumerate(layers) if node is None])
        for sheet in sheets:
            yield from sheet.wait()
            for drawn in sheet.nodes:
                index = next(waiting)
                entry, node = layers[index][0], drawn.clone()  # Krita may draw anew what it has drawn, but not a copy
                layers[index] = entry, node
                self.keep(entry, Layer(node))
                yield False
        order = [Layer(node).id for _, node in layers]  # which the record keeps to
        self.instances = {layer_id: self.instances[layer_id] for layer_id in order if layer_id in self.instances}
        return layers

    def dressed(self, node: Any, entry: Entry) -> Any:
        """A layer that was made anew, with what the artist has given the one that it goes on from."""
        part, original = self.part_of(entry), self.original(entry)
        if part is not None and part.around > 0:
            node.setOpacity(min(OPAQUE, round(node.opacity() / part.around)))
        if original is not None:
            node.setColorLabel(original.label)
            node.setInheritAlpha(original.node.inheritAlpha())
        return node

    def part_of(self, entry: Entry) -> Part | None:
        """What an entry goes on from."""
        refinement = self.place.refinement
        return refinement.reading.parts[entry.part] if refinement is not None and entry.part >= 0 else None

    def original(self, entry: Entry) -> Layer | None:
        """The layer that an entry goes on from, if it still exists."""
        part = self.part_of(entry)
        return self.place.document.layer(part.layer.id) if part is not None else None

    def keep(self, entry: Entry, layer: Layer) -> None:
        """Records a finished layer."""
        place, part = self.place, self.part_of(entry)
        if part is None or not entry.copied:
            self.instances[layer.id] = instance_of(
                self.placements, entry.index, place, layer, self.settings.mu_blend, part
            )
            return
        instance = None
        if part.kind is Kind.INSTANCE:
            assert place.refinement is not None
            bitmap = self.primitive(place.refinement.reading.primitives[part.primitive])
            instance = instance_of_copy(part, layer, bitmap, place.document)
        elif part.kind is Kind.OWN:
            own = replace(part.layer, opaque=True)
            instance = instance_of_own(part, layer, self.primitive(own), place.document)
        if instance is not None:
            self.instances[layer.id] = instance
        else:
            self.fixed.append(layer.id)

    def primitive(self, source: Source) -> int:
        """Index of a primitive; those of hidden instances may not have been captured."""
        for index, known in enumerate(self.primitives):
            if known.id == source.id:
                return index
        self.primitives.append(source)
        return len(self.primitives) - 1

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
        """The layer above which the result belongs: the target, or the group that it is a refinement of.

        Raises DiffBmpError where that does not exist any more.
        """
        self.check_document()
        place = self.place
        source = place.refinement.reading.group if place.refinement is not None else place.target
        layer = place.document.layer(source.id)
        if layer is None:
            what = "group" if place.refinement is not None else "target"
            raise DiffBmpError(
                f"The {what} “{source.name}” was deleted before the result could be written; "
                "nothing was changed. Undo the deletion and run again."
            )
        return layer

    def attach(self, group: Any) -> Generator[bool, None, str]:
        """Adds the finished group above the target, or the group that it replaces, in steps as `build`."""
        document, result = self.place.document, Layer(group)
        records = with_record(document, self.record(result))
        yield False
        self.changed_meanwhile = self.count_changes(self.check_place())
        yield False
        below, picked = self.check_place(), document.active_layer
        # First, so that nobody meets the group without its record.
        document.set_annotation(KEY, DESCRIPTION, records)
        if self.place.refinement is not None:
            below.node.setCollapsed(True)  # each new layer moves every row of the list, which takes seconds of many
        below.node.parentNode().addChildNode(group, below.node)  # the one change to the artist's layers
        if self.place.refinement is not None:
            hide_replaced(document, result.id)
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

    def count_changes(self, group: Layer) -> int:
        """How many layers of the version before were changed by hand since they were captured or copied."""
        refinement = self.place.refinement
        if refinement is None:
            return 0
        parts, states = refinement.reading.parts, refinement.states
        made = {parts[entry.part].layer.id for entry in self.plan if entry.part >= 0 and not entry.copied}
        expected = {layer_id: state for layer_id, state in states.instances.items() if layer_id in made}
        return changed_since(states, {**expected, **self.copied}, self.place.document, group)

    def record(self, group: Layer) -> Record:
        place = self.place
        reading = place.refinement.reading if place.refinement is not None else None
        return Record(
            group_id=group.id,
            form=self.form,
            target=place.target,
            primitive_group=place.group,
            primitives=tuple(self.primitives),
            region=(place.x, place.y, place.width, place.height),
            settings=self.settings,
            instances=self.instances,
            fixed=tuple(self.fixed),
            canvas=(place.canvas_width, place.canvas_height),
            space=(place.space.model, place.space.depth, place.space.profile),
            version=next_version(place.document, reading.group.id) if reading is not None else 1,
            previous=reading.group.id if reading is not None else "",
            psnr=self.psnr,
        )
