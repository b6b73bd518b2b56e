"""The layers of a group that are parts by themselves, and which instance each of them was written as."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.fingerprint import Seen
from krita_diffbmp.canvas.layers import Layer, owned
from krita_diffbmp.canvas.poses import Array
from krita_diffbmp.canvas.reading import Change, Kind
from krita_diffbmp.canvas.records import KEY, Instance, Record, Source, known_layers, load, record_in
from krita_diffbmp.problem import DiffBmpError

IMAGE = "ImageShape"
NUMBERED = re.compile(r" \d{4}\b")  # the names of our layers end so; Krita adds to those of copies
UNREADABLE = "{problem} Meanwhile, what the layers themselves tell is read."


@dataclass
class Leaf:
    """A layer of the group that is a part by itself."""

    layer: Layer
    id: str
    name: str
    folders: tuple[Source, ...]
    visible: bool  # with the groups around it
    locked: bool  # it or a group around it
    opacity: float  # of the groups around it
    is_live: bool
    kind: Kind = Kind.FIXED
    owner: str = ""  # the group in which the instance was written that it is, or is a copy of
    instance: Instance | None = None  # as it was written
    changed: Change = Change.NONE
    seen: Seen | None = None  # its picture, of a layer that is not live
    map: Array | None = None  # [2, 3] what its pose went through since it was written
    color: tuple[float, ...] | None = None  # None: as it was written
    matrix: tuple[float, ...] | None = None  # of a live instance, from its image's own units to canvas px
    replaces: str = ""  # id of the instance whose place it took


@dataclass
class Book:
    """The document's records, each parsed when it is asked for."""

    document: Document
    data: bytes  # as stored
    entries: dict[str, Any]
    known: dict[str, str]  # the group in which each layer was written
    notes: list[str] = field(default_factory=list)
    records: dict[str, Record | None] = field(default_factory=dict)

    @staticmethod
    def of(document: Document) -> Book:
        try:
            return Book(document, document.annotation(KEY), load(document), dict(known_layers(document)))
        except DiffBmpError as problem:
            return Book(document, b"", {}, {}, [UNREADABLE.format(problem=problem)])

    def record(self, group_id: str) -> Record | None:
        if group_id not in self.records:
            found = None
            if group_id in self.entries:
                try:
                    found = record_in(self.data, group_id)
                except DiffBmpError as problem:
                    self.notes.append(UNREADABLE.format(problem=problem))
            self.records[group_id] = found
        return self.records[group_id]


def is_live(layer: Layer) -> bool:
    """Whether it is a vector layer with one image shape and nothing else."""
    return layer.kind == "vectorlayer" and [shape.type() for shape in owned(layer.node.shapes())] == [IMAGE]


def leaves_of(group: Layer, book: Book, is_locked: Callable[[Layer], bool]) -> list[Leaf]:
    """The backmost first; groups that hold instances are entered, others are one layer each.

    is_locked: whether a layer counts as locked by itself.
    """
    record = book.record(group.id)
    fixed = frozenset(record.fixed) if record else frozenset()
    leaves = list(walk(group, book, fixed, is_locked, (), True, is_locked(group), 1.0))
    strangers = []
    for leaf in leaves:
        owner = book.known.get(leaf.id, "")
        found = book.record(owner) if owner else None
        if found is not None and leaf.id in found.instances:
            leaf.owner, leaf.instance, leaf.kind = owner, found.instances[leaf.id], Kind.INSTANCE
        elif record is None or leaf.id not in record.fixed:
            strangers.append(leaf)
    if strangers:
        match(strangers, leaves, book, group)
    return leaves


def walk(
    group: Layer,
    book: Book,
    fixed: frozenset[str],
    is_locked: Callable[[Layer], bool],
    folders: tuple[Source, ...],
    visible: bool,
    locked: bool,
    opacity: float,
) -> Iterator[Leaf]:
    if not group.blends_normally or group.is_masked:
        book.notes.append(
            f"The blending mode, style and masks of the group “{group.name}” do not count while instances are "
            "optimised; its blending mode and its masks are not kept in the new version."
        )
    for layer in group.children():
        layer_id, is_shown, is_kept = layer.id, visible and layer.visible, locked or is_locked(layer)
        if layer_id not in fixed and layer.is_group and holds_ours(layer, book):
            inside = (*folders, Source(layer_id, layer.name))
            yield from walk(layer, book, fixed, is_locked, inside, is_shown, is_kept, opacity * layer.opacity)
        elif not (layer.is_group and not layer.children()):
            yield Leaf(layer, layer_id, layer.name, folders, is_shown, is_kept, opacity, is_live(layer))


def holds_ours(group: Layer, book: Book) -> bool:
    """Whether instances lie in it: known ones, or those that look like ours."""
    return any(
        holds_ours(layer, book)
        if layer.is_group
        else layer.id in book.known or (is_live(layer) and NUMBERED.search(layer.name) is not None)
        for layer in group.children()
    )


# --- layers that were never written


def match(strangers: list[Leaf], leaves: list[Leaf], book: Book, group: Layer) -> None:
    """Finds what they are copies of, by their names or by their pixels; some were an instance in another form."""
    by_name: dict[str, list[tuple[str, str]]] = {}  # owner and layer id
    by_print: dict[str, tuple[str, str]] = {}
    present = {leaf.id: leaf for leaf in leaves}
    for owner in owners(leaves, book, group):
        found = book.record(owner)
        for layer_id, instance in found.instances.items() if found else ():
            names = {instance.name, present[layer_id].name if layer_id in present else instance.name}
            for name in names:
                by_name.setdefault(name, []).append((owner, layer_id))
            if instance.print:
                by_print.setdefault(instance.print, (owner, layer_id))
    for leaf in strangers:
        same_name = [twin for name in names_in(leaf.name) for twin in by_name.get(name, ())]
        if leaf.is_live:
            leaf.kind = Kind.OWN
            twin = next((twin for twin in same_name if shows_the_same(leaf, twin[1], book)), None)
        elif leaf.layer.kind == "paintlayer":
            leaf.kind = Kind.OWN if same_name or NUMBERED.search(leaf.name) else Kind.FIXED
            leaf.seen = Seen.of(leaf.layer, book.document)
            twin = by_print.get(leaf.seen.print) if leaf.seen is not None else None
        else:
            twin = None
        if twin is not None:
            record = book.record(twin[0])
            assert record is not None
            leaf.kind, leaf.owner, leaf.instance = Kind.INSTANCE, twin[0], record.instances[twin[1]]
        elif leaf.kind is Kind.OWN:
            twin = same_name[0] if same_name else None
            leaf.changed |= Change.REPAINTED
        # One that took the place of an instance, as a layer does that is converted, is that instance.
        if twin is not None and twin[1] not in present:
            present[twin[1]] = leaf
            leaf.replaces = twin[1]
        elif leaf.kind is not Kind.FIXED:
            leaf.changed = Change.NEW


def owners(leaves: list[Leaf], book: Book, group: Layer) -> list[str]:
    """The groups in which instances like these were written, the most likely ones first."""
    found = dict.fromkeys(leaf.owner for leaf in leaves if leaf.owner)
    if book.record(group.id) is not None:
        found = {group.id: None, **found}
    return list(found) or list(reversed(book.entries))


def names_in(name: str) -> Iterator[str]:
    """Parts of a copy's name, without the words that Krita has added before or after in whatever language."""
    words = name.split(" ")
    for length in range(len(words), 0, -1):
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])


def shows_the_same(leaf: Leaf, layer_id: str, book: Book) -> bool:
    """Whether a live layer has the image of another one."""
    twin = book.document.layer(layer_id)
    if twin is None or not is_live(twin):
        return twin is None
    mine, other = owned(leaf.layer.node.shapes())[0], owned(twin.node.shapes())[0]
    if mine.absoluteTransformation() == other.absoluteTransformation():
        return True
    return image_in(mine) == image_in(other)


def image_in(shape: Any) -> str:
    text = str(shape.toSvg())
    return text[text.index('width="') :]
