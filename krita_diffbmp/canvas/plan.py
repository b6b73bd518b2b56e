"""Which layer is written for what: made anew from a piece, or copied from the version before. numpy alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from krita_diffbmp.canvas.capture import Place, Refinement
from krita_diffbmp.canvas.reading import Kind, Part
from krita_diffbmp.canvas.records import Source
from krita_diffbmp.problem import Placements

NUMBER = re.compile(r"(\d{4,})$")


@dataclass(frozen=True)
class Entry:
    """One layer of a result."""

    index: int  # of Result.placements; -1: the layer takes no part in the picture
    live: bool = False  # whether it is made as an image shape; of a layer that is made
    name: str = ""
    part: int = -1  # of Reading.parts, that it goes on from; -1: it is new
    copied: bool = False  # whether it is a copy of that part's layer, as it is
    folders: tuple[Source, ...] = ()  # the groups around it, the outermost first


Plan = tuple[Entry, ...]


def plan_for(place: Place, placements: Placements, source: npt.NDArray[np.int32] | None, live: bool) -> Plan:
    """The layers of a result, the backmost first.

    source: `Result.source`. live: whether the instances of a first run become image shapes. In a refinement, what
    looks as before is copied, and each instance keeps the form of its layer, as far as the document allows.
    """
    if place.refinement is None:
        return first_plan(place.primitives, placements, live)
    assert source is not None
    return refined_plan(place, place.refinement, placements, source)


def first_plan(primitives: Sequence[Source], placements: Placements, live: bool) -> Plan:
    return tuple(
        Entry(index, live, f"{primitives[bitmap].name} {index + 1:04d}")
        for index, bitmap in enumerate(placements.bitmap.tolist())
    )


def refined_plan(place: Place, refinement: Refinement, placements: Placements, source: npt.NDArray[np.int32]) -> Plan:
    parts = refinement.reading.parts
    may_live = not place.live_refusal
    new_live = may_live and is_live_by_default(refinement)
    kept = unchanged(refinement, placements, source)
    free = free_numbers(parts)
    entries: list[Entry] = []
    folders: tuple[Source, ...] = ()
    for index, start in enumerate(source.tolist()):
        if start < 0:
            name = f"{place.primitives[int(placements.bitmap[index])].name} {free:04d}"
            free += 1
            entries.append(Entry(index, new_live, name, folders=folders))
            continue
        number = refinement.parts[start]
        part = parts[number]
        folders = part.folders
        copied = part.kind is Kind.FIXED or bool(kept[index])
        entries.append(Entry(index, part.live and may_live, part.layer.name, number, copied, folders))
    return tuple(with_others(entries, parts, set(refinement.parts)))


def unchanged(refinement: Refinement, placements: Placements, source: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """[N] whether nothing of a placement has changed, so that its layer shows it as it is."""
    same = source >= 0
    before = np.maximum(source, 0)
    if len(refinement.parts) == 0:
        return same
    for each in fields(Placements):
        now, start = getattr(placements, each.name), getattr(refinement.start, each.name)
        if now is not None and start is not None:
            same &= (now == start[before]).reshape(len(same), -1).all(axis=1)
    return same & ~np.isin(source, list(refinement.remade))


def with_others(entries: list[Entry], parts: Sequence[Part], pictured: set[int]) -> list[Entry]:
    """With the layers that take no part in the picture, each above what it lay on.

    pictured: those that did; one of which there is no entry was taken away.
    """
    taken = {entry.part for entry in entries}
    above: dict[int, list[Entry]] = {}  # by the part that they lie on, -1 being the ground
    ground = -1
    for number, part in enumerate(parts):
        if number in taken:
            ground = number
        elif number not in pictured:
            above.setdefault(ground, []).append(Entry(-1, False, part.layer.name, number, True, part.folders))
    found = above.get(-1, [])
    for entry in entries:
        found.append(entry)
        if entry.part >= 0:
            found += above.get(entry.part, [])
    return found


def is_live_by_default(refinement: Refinement) -> bool:
    """The form of new instances: that of most that there are, or of the group as it was written."""
    reading = refinement.reading
    instances = [part for part in reading.parts if part.kind is not Kind.FIXED]
    if not instances:
        return reading.record is not None and reading.record.form == "live"
    return 2 * sum(part.live for part in instances) >= len(instances)


def free_numbers(parts: Sequence[Part]) -> int:
    """From which on no layer's name has a number."""
    found = [NUMBER.search(part.layer.name) for part in parts]
    return 1 + max((int(number[1]) for number in found if number), default=len(parts))


def pick(placements: Placements, indices: Sequence[int]) -> Placements:
    """Some of them, in that order."""
    chosen = np.array(indices, np.int64)

    def of(values: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32] | None:
        return None if values is None else values[chosen]

    return Placements(
        position=placements.position[chosen],
        rotation=placements.rotation[chosen],
        scale=placements.scale[chosen],
        opacity=placements.opacity[chosen],
        color=placements.color[chosen],
        bitmap=placements.bitmap[chosen],
        stretch=of(placements.stretch),
        mu_blend=of(placements.mu_blend),
    )
