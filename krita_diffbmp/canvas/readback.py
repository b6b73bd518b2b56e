"""Reads a group of instances back: what every layer is now, and what the artist has done to it since it was written.

A live layer tells its pose by its shape's matrix, exactly: what the matrix went through since it was written is what
the pose goes through. A painted layer tells by its pixels: the same ones elsewhere were moved, other ones are a bitmap
of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.fingerprint import Seen
from krita_diffbmp.canvas.following import follow, follow_primitive, is_primitive_cut, space_of
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.leaves import NUMBERED, Book, Leaf, is_live, leaves_of
from krita_diffbmp.canvas.poses import Array, after, is_plain, pose_map, pose_of
from krita_diffbmp.canvas.reading import Change, Changes, Kind, Part, Reading, Stretch
from krita_diffbmp.canvas.records import Instance, Record, Source, known_layers, load
from krita_diffbmp.canvas.registration import IDENTITY
from krita_diffbmp.canvas.restacking import out_of_order
from krita_diffbmp.canvas.space import Space
from krita_diffbmp.problem import DiffBmpError, Freeze

OPAQUE = 255
OUR_NAME = re.compile(r" \((live|painted), seed \d+\)")  # part of the name that a result has to begin with


def holds_instances(document: Document, group: Layer) -> bool:
    """Whether `read_back` has something to read in a group: a result, or instances in a group of the artist's.

    Quick enough for every poll. Where there are no records, as in a copy, names and layers speak for themselves.
    """
    if not group.is_group:
        return False
    if OUR_NAME.search(group.name):
        return bool(group.children())
    try:
        known = known_layers(document)
        if group.id in load(document):
            return True
    except DiffBmpError:
        known = {}
    children = group.children()
    first = children[0].children()[:1] if children and children[0].is_group else children[:1]
    return any(layer.id in known for layer in (*children, *first)) or any(
        is_live(layer) and NUMBERED.search(layer.name) for layer in first
    )


def read_back(document: Document, group: Layer, *, lock_label: int = 0) -> Reading:
    """What a group of instances is now. The document stays as it is.

    What lies in a locked group is locked. lock_label: layers and groups with this colour label (as `Layer.label`
    counts) count as locked, too; 0: none does.
    Raises DiffBmpError for a layer that is no group.
    """
    if not group.is_group:
        raise DiffBmpError(f"“{group.name}” is not a group: select a group of instances.")
    book = Book.of(document)
    record = book.record(group.id)
    leaves = leaves_of(group, book, lambda layer: layer.locked or (lock_label != 0 and layer.label == lock_label))
    common = follow(leaves, book, record)
    home = record or next(filter(None, (book.record(leaf.owner) for leaf in leaves if leaf.owner)), None)
    primitives: dict[str, Source] = {}
    for leaf in leaves:
        source = primitive_of(leaf, book)
        if source is not None:
            primitives.setdefault(source.id, source)
    written = Space(*home.space) if home is not None and home.space is not None else document.space
    if not written.has_colors_of(document.space):
        book.notes.append(
            "The document was converted to other colours since: the instances' tints are those they show."
        )
    bitmaps, repainted, cut = bitmaps_of(primitives, common, document, written != document.space)
    parts = tuple(parts_of(leaves, book, bitmaps))
    book.notes.extend(remarks(leaves))
    deleted = missing(leaves, record, book)
    return Reading(
        document=document,
        group=Source(group.id, group.name),
        record=record,
        primitive_group=home.primitive_group if home is not None else None,
        primitives=tuple(primitives.values()),
        repainted=frozenset(repainted),
        cut=frozenset(cut),
        parts=parts,
        changes=replace(count(parts, deleted), sources=len(repainted)),
        notes=tuple(dict.fromkeys(book.notes)),
    )


def primitive_of(leaf: Leaf, book: Book) -> Source | None:
    """The layer that holds the bitmap of an instance."""
    record = book.record(leaf.owner) if leaf.kind is Kind.INSTANCE else None
    if record is None or leaf.instance is None:
        return None
    return record.primitives[leaf.instance.bitmap]


def bitmaps_of(
    primitives: Mapping[str, Source], common: Array, document: Document, is_converted: bool
) -> tuple[dict[str, Array], list[str], list[str]]:
    """What `follow_primitive` finds of each primitive, by layer id: the maps, and the ids of the repainted ones.

    With them, the ids of those that were cut off with the image.
    """
    maps, repainted, cut = {}, [], []
    canvas = document.width, document.height
    for layer_id, source in primitives.items():
        layer = document.layer(layer_id) if source.print else None
        seen = Seen.of(layer, document) if layer is not None else None
        maps[layer_id] = IDENTITY
        if seen is not None and is_primitive_cut(source, seen, common, canvas):
            cut.append(layer_id)
        elif seen is not None:
            maps[layer_id], is_repainted = follow_primitive(source, seen, common, canvas, is_converted)
            repainted += [layer_id] * is_repainted
    return maps, repainted, cut


def parts_of(leaves: Sequence[Leaf], book: Book, bitmaps: Mapping[str, Array]) -> Iterator[Part]:
    """bitmaps: by the primitives' layer ids, from the bitmap that there is to the one that instances were written of"""
    moved = poses(leaves, book, bitmaps)
    numbers = {layer_id: number for number, layer_id in enumerate(bitmaps)}
    restacked = out_of_order(leaves, book)
    document_space = book.document.space
    for leaf in leaves:
        opacity = leaf.layer.node.opacity()
        instance = leaf.instance if leaf.kind is Kind.INSTANCE else None
        if instance is None:
            yield Part(
                layer=Source(leaf.id, leaf.name),
                kind=leaf.kind,
                live=leaf.is_live and leaf.kind is Kind.OWN,
                visible=leaf.visible,
                locked=leaf.locked,
                frozen=Freeze.ALL if leaf.locked or leaf.kind is Kind.FIXED else Freeze(0),
                changed=leaf.changed,
                opacity=opacity / OPAQUE * leaf.opacity,
                around=leaf.opacity,
                folders=leaf.folders,
            )
            continue
        record, written = book.record(leaf.owner), space_of(leaf, book) or document_space
        source = primitive_of(leaf, book)
        assert record is not None and source is not None
        changed, strength = leaf.changed, instance.opacity
        rounding = 1 if instance.layer_opacity is None else 0
        if abs(opacity - written_opacity(instance.layer_opacity, instance.opacity, leaf.is_live)) > rounding:
            changed |= Change.FADED
            strength = faded(opacity, instance.layer_opacity, instance.opacity, leaf.is_live)
        if leaf.id in restacked:
            changed |= Change.RESTACKED
        position, rotation, scale, stretch = moved.get(
            leaf.id, (instance.position, instance.rotation, instance.scale, instance.stretch)
        )
        yield Part(
            layer=Source(leaf.id, leaf.name),
            kind=leaf.kind,
            live=leaf.is_live,
            visible=leaf.visible,
            locked=leaf.locked,
            frozen=Freeze.ALL if leaf.locked else Freeze(instance.frozen),
            changed=changed,
            opacity=strength * leaf.opacity,
            around=leaf.opacity,
            position=position,
            rotation=rotation,
            scale=scale,
            stretch=stretch,
            color=leaf.color or color_in(document_space, written, instance),
            mu_blend=record.settings.mu_blend if instance.mu_blend is None else instance.mu_blend,
            primitive=numbers[source.id],
            folders=leaf.folders,
            written=instance,
            is_as_written=written == document_space
            and is_as_written(leaf, bitmaps[source.id])
            and changed in (Change.NONE, Change.RESTACKED),
            matrix=leaf.matrix,
        )


def color_in(space: Space, written: Space, instance: Instance) -> tuple[float, ...]:
    """An instance's tint; empty where it is not known in that space."""
    return instance.color if written.has_colors_of(space) and len(instance.color) == space.channels else ()


def is_as_written(leaf: Leaf, bitmap: Array) -> bool:
    """Whether what is kept of an instance's layer is true of it as it is."""
    assert leaf.instance is not None
    was_live = leaf.instance.matrix is not None
    return leaf.is_live == was_live and leaf.map is IDENTITY and bitmap is IDENTITY


Pose = tuple[tuple[float, float], float, float, Stretch | None]


def poses(leaves: Sequence[Leaf], book: Book, bitmaps: Mapping[str, Array]) -> dict[str, Pose]:
    """The poses of the instances that are no longer what they were written as, by layer id."""
    moved: list[Leaf] = []
    inner: list[Array] = []  # from the bitmap that there is to the one that the instance was written of
    for leaf in leaves:
        source = primitive_of(leaf, book)
        if source is None or leaf.map is None:
            continue
        bitmap = bitmaps[source.id]
        if not (np.array_equal(leaf.map, IDENTITY) and np.array_equal(bitmap, IDENTITY)):
            moved.append(leaf)
            inner.append(bitmap)
    written = [leaf.instance for leaf in moved if leaf.instance is not None]
    if not written:
        return {}
    before = pose_map(
        [instance.position for instance in written],
        [instance.rotation for instance in written],
        [instance.scale for instance in written],
        np.reshape([instance.stretch or (1, 0, 0, 1) for instance in written], (-1, 2, 2)),
    )
    maps = np.stack([leaf.map for leaf in moved if leaf.map is not None])
    bitmap = np.stack(inner)
    position, rotation, scale, stretch = pose_of(after(after(maps, before), bitmap))
    plain = is_plain(stretch)
    slid = ((maps[..., :2] == np.eye(2)) & (bitmap[..., :2] == np.eye(2))).all(axis=(1, 2))
    found: dict[str, Pose] = {}
    for i, (leaf, instance) in enumerate(zip(moved, written, strict=True)):
        place = (float(position[i, 0]), float(position[i, 1]))
        if slid[i]:
            found[leaf.id] = place, instance.rotation, instance.scale, instance.stretch
        else:
            a, c, b, d = map(float, stretch[i].ravel())
            found[leaf.id] = place, float(rotation[i]), float(scale[i]), None if plain[i] else (a, c, b, d)
    return found


def written_opacity(layer_opacity: int | None, opacity: float, live: bool) -> int:
    """Of 255, the layer's as it was written; worked out where no record says so."""
    if layer_opacity is not None:
        return layer_opacity
    return round(OPAQUE * opacity) if live else int(np.ceil(OPAQUE * opacity))


def faded(now: int, layer_opacity: int | None, opacity: float, live: bool) -> float:
    """An instance's opacity after its layer's was changed. Of painted ones, a part of it lies in the pixels' alpha."""
    was = written_opacity(layer_opacity, opacity, live)
    return now / OPAQUE if live or was == 0 else opacity * now / was


def missing(leaves: Sequence[Leaf], record: Record | None, book: Book) -> int:
    """How many instances of the group were deleted; of those that lie elsewhere now, there is a note."""
    if record is None:
        return 0
    present = {leaf.replaces or leaf.id for leaf in leaves}
    gone = [layer_id for layer_id in record.instances if layer_id not in present]
    outside = sum(book.document.layer(layer_id) is not None for layer_id in gone)
    if outside:
        book.notes.append(
            f"{outside} instances of this group lie outside it now: they stay as they are, and take no part."
            if outside > 1
            else "One instance of this group lies outside it now: it stays as it is, and takes no part."
        )
    return len(gone) - outside


def remarks(leaves: Sequence[Leaf]) -> Iterator[str]:
    """What of the layers is not optimised as it looks."""
    odd = [leaf.name for leaf in leaves if leaf.kind is not Kind.FIXED and not leaf.layer.blends_normally]
    if odd:
        yield (
            f"“{odd[0]}”{f' and {len(odd) - 1} more have' if len(odd) > 1 else ' has'} a blending mode or style: it "
            "counts as normal, and where the instance changes, it is not kept in the new version."
        )
    lost = [leaf.name for leaf in leaves if leaf.kind is Kind.OWN and Change.NEW in leaf.changed]
    if lost:
        yield (
            f"“{lost[0]}”{f' and {len(lost) - 1} more' if len(lost) > 1 else ''} could not be matched with a bitmap: "
            "taken with the pixels as they are."
        )


def count(parts: Sequence[Part], deleted: int) -> Changes:
    instances = [part for part in parts if part.kind is not Kind.FIXED]

    def having(change: Change) -> int:
        return sum(change in part.changed for part in instances)

    return Changes(
        total=len(instances),
        moved=having(Change.MOVED),
        repainted=having(Change.REPAINTED),
        recolored=having(Change.RECOLORED),
        faded=having(Change.FADED),
        restacked=having(Change.RESTACKED),
        hidden=sum(not part.visible for part in instances),
        locked=sum(part.locked for part in instances),
        new=having(Change.NEW),
        deleted=deleted,
        foreign=len(parts) - len(instances),
    )
