"""Documents with known pixels, in any colour space, and what must be read from them. Runs inside Krita."""

from __future__ import annotations

from typing import Any

import numpy as np
from krita_harness.inside import DTYPES, composite, group_layer, layout, paint_layer, refresh

from krita_diffbmp.canvas.capture import Capture, capture
from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.problem import Settings

# The factor from a stored number to [0, 1], and the stored order of our channels; written down here a second time,
# by hand, because the product's own table is what is tested.
COLOUR_FULL = {"U8": 255.0, "U16": 65535.0, "F16": 1.0, "F32": 1.0}
STORED = {"GRAYA": (0, 1), "CMYKA": (0, 1, 2, 3, 4)}


def to_floats(raw: np.ndarray, model: str, depth: str) -> np.ndarray:
    """Stored pixels [h, w, C + 1] as they must appear in a Problem."""
    order = STORED.get(model) or ((2, 1, 0, 3) if depth in ("U8", "U16") else (0, 1, 2, 3))
    values: np.ndarray = raw[..., list(order)].astype(np.float64)
    full = np.full(values.shape[-1], COLOUR_FULL[depth])
    if model == "CMYKA" and depth == "F32":
        full[:-1] = 100.0
    values /= full
    return values


def random_raw(rng: np.random.Generator, height: int, width: int, model: str, depth: str) -> np.ndarray:
    """Stored pixels with alpha well above 0 everywhere."""
    channels = {"GRAYA": 2, "RGBA": 4, "CMYKA": 5}[model]
    values = rng.uniform(0, 1, (height, width, channels))
    values[..., -1] = rng.uniform(0.2, 1, (height, width))
    if depth in ("U8", "U16"):
        return np.rint(values * COLOUR_FULL[depth]).astype(DTYPES[depth])
    if model == "CMYKA":
        values[..., :-1] *= 100
    return values.astype(DTYPES[depth])


def solid(height: int, width: int, pixel: tuple[float, ...], depth: str = "U8") -> np.ndarray:
    return np.tile(np.array(pixel, DTYPES[depth]), (height, width, 1))


def leaves(document: Any, *colours: tuple[float, ...], depth: str = "U8", name: str = "leaves") -> Any:
    """A group with one 12 x 9 px paint layer of each stored colour, the first backmost."""
    group = group_layer(document, name)
    for number, colour in enumerate(colours):
        paint_layer(document, f"leaf {number}", solid(9, 12, colour, depth), 3 + 2 * number, 4, group)
    return group


def alone(document: Any, node: Any) -> np.ndarray:
    """What the document shows [H, W, C + 1] in [0, 1] with nothing but this top-level node visible."""
    tops = document.topLevelNodes()
    states = [other.visible() for other in tops]
    for other in tops:
        other.setVisible(other.uniqueId() == node.uniqueId())
    refresh(document)
    shown = to_floats(composite(document), document.colorModel(), document.colorDepth())
    for other, state in zip(tops, states, strict=True):
        other.setVisible(state)
    refresh(document)
    return shown


def choose(document: Any, target: Any, group: Any) -> tuple[Document, Layer, Layer]:
    return Document(document), Layer(target), Layer(group)


def take(document: Any, target: Any, group: Any, settings: Settings) -> Capture:
    return capture(*choose(document, target, group), settings)


def on_canvas(place: Any, pixels: np.ndarray) -> np.ndarray:
    """A Problem's target at its place on a transparent canvas."""
    canvas = np.zeros((place.canvas_height, place.canvas_width, pixels.shape[2]))
    canvas[place.y : place.y + place.height, place.x : place.x + place.width] = pixels
    return canvas


def premultiplied(pixels: np.ndarray) -> np.ndarray:
    """The colour of transparent pixels means nothing: this takes it away."""
    return np.concatenate([pixels[..., :-1] * pixels[..., -1:], pixels[..., -1:]], axis=-1)


def layers_bytes(document: Any) -> dict[str, bytes]:
    """Every layer's own bytes, its place and its switches."""
    found = {}
    pending = list(document.topLevelNodes())
    while pending:
        node = pending.pop()
        pending += node.childNodes()
        box = node.bounds().adjusted(-2, -2, 2, 2)
        facts = (node.name(), node.type(), node.visible(), node.opacity(), node.blendingMode(), node.position(), box)
        data = b""
        if layout_known(node):
            data = bytes(node.pixelData(box.x(), box.y(), box.width(), box.height()))
        found[node.uniqueId().toString()] = repr(facts).encode() + data
    return found


def layout_known(node: Any) -> bool:
    try:
        layout(node)
    except KeyError:
        return False
    return True
