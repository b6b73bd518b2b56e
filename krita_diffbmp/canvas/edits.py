"""Where on the canvas a group of instances was worked on by hand, and a refinement of just that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from krita_diffbmp.canvas.around import Box, around
from krita_diffbmp.canvas.capture import Capture
from krita_diffbmp.canvas.reading import Reading
from krita_diffbmp.canvas.records import Instance


def around_edits(captured: Capture) -> Capture:
    """The refinement of what lies around all that was done by hand since the group was written.

    Raises DiffBmpError where no instance that may change is near.
    """
    place = captured.place
    assert place.refinement is not None
    edits = [(x - place.x, y - place.y, width, height) for x, y, width, height in edits_in(place.refinement.reading)]
    return replace(captured, problem=around(captured.problem, edits))


def edits_in(reading: Reading) -> Iterator[Box]:
    """Where things were done by hand, on the canvas: where a layer is now, and where it was or would be."""
    written = reading.record.instances if reading.record is not None else {}
    there = set()
    for part in reading.parts:
        there.add(part.layer.id)
        layer = reading.document.layer(part.layer.id) if part.changed else None
        if layer is not None:
            box = layer.bounds
            yield box.x(), box.y(), box.width(), box.height()
            if part.layer.id in written:
                yield from boxes_of(written[part.layer.id])
    for layer_id, instance in written.items():
        if layer_id not in there:
            yield from boxes_of(instance)


def boxes_of(instance: Instance) -> Iterator[Box]:
    """Where an instance was written, if it was seen there."""
    if instance.box is not None:
        yield instance.box
