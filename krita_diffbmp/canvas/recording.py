"""What is kept of the layers of a result, each as an `Instance`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from krita_diffbmp.canvas.capture import Place
from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.fingerprint import Seen, cells_of
from krita_diffbmp.canvas.following import matrix_of, resolution_of
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.reading import Kind, Part
from krita_diffbmp.canvas.records import Instance
from krita_diffbmp.problem import Placements


def instance_of(
    placements: Placements, index: int, place: Place, layer: Layer, mu_blend: float, part: Part | None = None
) -> Instance:
    """Of a placement, and of its finished layer.

    mu_blend: where the placements have none. part: that it goes on from.
    """
    around = part.around if part is not None and part.around > 0 else 1.0
    x, y = placements.position[index]
    a, c, b, d = (1.0, 0.0, 0.0, 1.0) if placements.stretch is None else placements.stretch[index].ravel()
    instance = Instance(
        position=(short(x + place.x), short(y + place.y)),
        rotation=short(placements.rotation[index]),
        scale=short(placements.scale[index]),
        opacity=short(placements.opacity[index]) / around,
        color=tuple(short(value) for value in placements.color[index]),
        bitmap=int(placements.bitmap[index]),
        stretch=None if (a, c, b, d) == (1, 0, 0, 1) else (short(a), short(c), short(b), short(d)),
        mu_blend=mu_blend if placements.mu_blend is None else short(placements.mu_blend[index]),
        frozen=part.written.frozen if part is not None and part.written is not None else 0,
    )
    return observed(instance, layer, place.document)


def instance_of_copy(part: Part, layer: Layer, bitmap: int, document: Document) -> Instance:
    """Of a layer that was copied as it was read. bitmap: the new index of its primitive."""
    written = part.written
    assert written is not None
    if part.is_as_written:
        return replace(written, bitmap=bitmap, name=layer.name)
    instance = Instance(
        position=part.position,
        rotation=part.rotation,
        scale=part.scale,
        opacity=part.opacity / (part.around or 1.0),
        color=part.color,
        bitmap=bitmap,
        stretch=part.stretch,
        mu_blend=part.mu_blend,
        frozen=written.frozen,
    )
    found = observed(instance, layer, document)
    # Where the artist has moved it since it was read, the next reading finds that.
    return replace(found, matrix=part.matrix) if part.matrix is not None else found


def instance_of_own(part: Part, layer: Layer, bitmap: int, document: Document) -> Instance | None:
    """Of a layer that is an instance of its own pixels where they are; None where it shows nothing."""
    seen = Seen.of(layer, document)
    if part.kind is not Kind.OWN or seen is None:
        return None
    x, y, width, height = seen.box
    instance = Instance((x + width / 2, y + height / 2), 0.0, 1.0, layer.opacity, (), bitmap, mu_blend=1.0)
    return observed(instance, layer, document)


def observed(instance: Instance, layer: Layer, document: Document) -> Instance:
    """With what its layer is like."""
    seen = Seen.of(layer, document)
    live = layer.kind == "vectorlayer"
    return replace(
        instance,
        name=layer.name,
        layer_opacity=layer.node.opacity(),
        matrix=matrix_of(layer, resolution_of(document)) if live else None,
        print=seen.print if seen else "",
        shape=seen.shape if seen and not live and instance.mu_blend == 0 else "",
        box=seen.box if seen else None,
        cells=cells_of(seen.raw) if seen and not live else "",
    )


def short(value: Any) -> float:
    """What a float32 knows, without the digits that it does not."""
    return float(f"{value:.9g}")
