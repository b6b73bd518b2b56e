"""What is done to a group by hand while a refinement of it is under way: the new version does not have it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.following import matrix_of, resolution_of
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.leaves import is_live
from krita_diffbmp.canvas.pulse import layers_in
from krita_diffbmp.canvas.reading import Kind, Reading
from krita_diffbmp.canvas.restacking import longest_rise


@dataclass(frozen=True)
class States:
    """What the layers of a group were like when it was captured."""

    instances: dict[str, int]  # by layer id, the backmost first: a number that changes with what the layer is
    others: frozenset[str]  # ids of the other layers in it, of its sub-groups too

    @staticmethod
    def of(document: Document, reading: Reading) -> States:
        group = document.layer(reading.group.id)
        there = {layer.id: layer for layer in layers_in(group)} if group is not None else {}
        instances = [part.layer.id for part in reading.parts if part.kind is not Kind.FIXED and part.layer.id in there]
        found = {layer_id: state_of(there[layer_id], document) for layer_id in instances}
        return States(found, frozenset(there.keys() - found.keys()))


def changed_since(before: States, expected: Mapping[str, int], document: Document, group: Layer) -> int:
    """How many layers of a group were changed, deleted, put in or restacked since.

    expected: the states of the instances that the new version has, by layer id: others count for nothing.
    """
    there = list(layers_in(group))
    present = {layer.id for layer in there}
    changed = {layer_id for layer_id in expected if layer_id not in present}
    for layer in there:
        if layer.id in expected:
            if state_of(layer, document) != expected[layer.id]:
                changed.add(layer.id)
        elif layer.id not in before.instances and layer.id not in before.others:
            changed.add(layer.id)
    ranks = {layer_id: rank for rank, layer_id in enumerate(before.instances)}
    order = [layer.id for layer in there if layer.id in ranks]
    rise = set(longest_rise([ranks[layer_id] for layer_id in order]))
    return len(changed | {layer_id for i, layer_id in enumerate(order) if i not in rise})


def state_of(layer: Layer, document: Document) -> int:
    """A number that changes with what the artist can change of an instance, but for its name and label."""
    node, box = layer.node, layer.bounds
    switches = (layer.kind, layer.opacity, layer.visible, layer.locked, node.blendingMode(), layer.is_masked)
    if is_live(layer):
        return zlib.crc32(repr((*switches, matrix_of(layer, resolution_of(document)))).encode())
    place = box.x(), box.y(), box.width(), box.height()
    return zlib.crc32(node.projectionPixelData(*place), zlib.crc32(repr((*switches, *place)).encode()))
