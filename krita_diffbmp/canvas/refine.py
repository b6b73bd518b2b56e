"""Captures a refinement: the instances of a group as they are on the canvas become the start of a Problem."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from krita_diffbmp.canvas.capture import (
    Capture,
    Refinement,
    check_document,
    check_target,
    padded,
    place_of,
    read_primitives,
    region_around,
    remarks,
    source_of,
    usable,
)
from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.looks import check_size, look_of
from krita_diffbmp.canvas.meanwhile import States
from krita_diffbmp.canvas.poses import pose_map
from krita_diffbmp.canvas.reading import Kind, Part, Reading
from krita_diffbmp.canvas.records import Source, check_version
from krita_diffbmp.problem import Bitmap, DiffBmpError, Freeze, Placements, Problem, Settings, Start
from krita_diffbmp.qt import QRect

INSIDE = 0.5  # of the box around an instance must be selected for it to take part


def check_refine(document: Document | None, target: Layer | None, group: Layer | None) -> None:
    """Whether a group of instances can be refined towards a target, as far as can be told without reading it.

    Raises DiffBmpError with a sentence for the docker.
    """
    if group is None:
        raise DiffBmpError("Select the group of instances to refine.")
    if target is None:
        raise DiffBmpError(
            f"The target of “{group.name}” is not in this document: undo its deletion, or Ctrl+click the layer to "
            "rebuild instead."
        )
    check_document(document)
    check_target(target, group)


def check_left(reading: Reading) -> None:
    """Raises DiffBmpError where nothing is left to refine."""
    if not reading.parts:
        raise DiffBmpError(f"No instance is left in “{reading.group.name}”: undo that, or optimize anew.")


def capture_refine(
    document: Document,
    target: Layer,
    reading: Reading,
    settings: Settings,
    *,
    freeze: Freeze = Freeze(0),  # noqa: B008  # an integer
    layers: Mapping[str, Freeze] | None = None,
    added: int = 0,
) -> Capture:
    """The target's picture, and the instances as they were read, to go on with.

    freeze: what of every instance stays as it is. layers: the same for single ones, by layer id. added: so many new
    instances, of the visible layers in the group of primitives. A selection restricts where the picture is rebuilt:
    its coverage is the weight, and instances that lie outside it are frozen. Hidden layers take no part.

    The document stays as it is. Raises DiffBmpError with a sentence for the docker.
    """
    group = document.layer(reading.group.id)
    check_refine(document, target, group)
    check_left(reading)
    check_version(document)
    document.handle.waitForDone()
    look = look_of(target, document, within=document.area)
    if look is None:
        raise DiffBmpError(f"The target “{target.name}” shows nothing on the canvas: paint on it or select another.")
    region = region_around(look, settings, document.area)
    check_size(region, f"The target “{target.name}”")
    notes = list(reading.notes)
    pictures = Pictures.of(document, reading, notes)
    if added and not pictures.primitives:
        raise DiffBmpError(
            f"There is no bitmap to make new instances of for “{reading.group.name}”: its group of bitmaps is gone or "
            "empty. Undo that, or add no instances."
        )
    scene = scene_of(document, reading, pictures, region, notes)
    coverage = document.selection(region)
    frozen = scene.frozen(freeze, layers or {})
    if coverage is not None:
        frozen[~selected(scene, coverage)] = int(Freeze.ALL)
    check_scene(reading, scene, frozen, added, coverage)
    placements = scene.placements(reading, document.space.channels)
    notes += remarks(f"The target “{target.name}”", target, look)
    states = States.of(document, reading)
    refinement = Refinement(reading, placements, tuple(scene.parts), frozenset(scene.remade), states)
    home = reading.primitive_group or Source("", "")
    place = place_of(document, target, region, home, tuple(pictures.sources), refinement)
    problem = Problem(
        target=padded(look, region),
        bitmaps=tuple(pictures.bitmaps),
        settings=settings,
        start=Start(placements, frozen, added, pictures.primitives),
        weight=None if coverage is None else (coverage / np.float32(255)).astype(np.float32),
    )
    return Capture(problem, place, tuple(dict.fromkeys(notes)))


@dataclass
class Pictures:
    """The bitmaps of a problem: those of the group of primitives, then others that instances are made of."""

    bitmaps: list[Bitmap]
    sources: list[Source]
    primitives: int  # so many of them are in the group of primitives and visible
    numbers: dict[str, int]  # by layer id

    @staticmethod
    def of(document: Document, reading: Reading, notes: list[str]) -> Pictures:
        home = document.layer(reading.primitive_group.id) if reading.primitive_group is not None else None
        bitmaps: tuple[Bitmap, ...] = ()
        sources: tuple[Source, ...] = ()
        if home is not None and home.is_group and usable(home):
            bitmaps, sources = read_primitives(document, home, notes)
        numbers = {source.id: number for number, source in enumerate(sources)}
        found = Pictures(list(bitmaps), list(sources), len(bitmaps), numbers)
        for source in reading.primitives:
            layer = document.layer(source.id) if source.id not in numbers and source.id not in reading.cut else None
            if layer is None or not layer.has_picture:
                continue
            look = look_of(layer, document, opaque=source.opaque)
            if look is not None:
                seen = replace(source_of(layer, document), opaque=source.opaque)
                numbers[source.id] = found.add(Bitmap(layer.name, look.pixels), seen)
        return found

    def add(self, bitmap: Bitmap, source: Source) -> int:
        self.bitmaps.append(bitmap)
        self.sources.append(source)
        return len(self.bitmaps) - 1


@dataclass
class Scene:
    """The parts that are seen, as placements; lengths in px of the region."""

    region: QRect
    parts: list[int] = field(default_factory=list)  # index into Reading.parts
    items: list[Part] = field(default_factory=list)  # those parts, with the pose of the bitmap that stands for them
    bitmaps: list[int] = field(default_factory=list)
    remade: set[int] = field(default_factory=set)
    sizes: list[tuple[int, int]] = field(default_factory=list)  # px, width and height of the bitmaps

    def frozen(self, freeze: Freeze, layers: Mapping[str, Freeze]) -> npt.NDArray[np.uint8]:
        bits = [int(part.frozen | freeze | layers.get(part.layer.id, Freeze(0))) for part in self.items]
        return np.array(bits, np.uint8)

    def placements(self, reading: Reading, channels: int) -> Placements:
        items, count = self.items, len(self.items)
        corner = np.array([self.region.x(), self.region.y()])
        position = np.array([part.position for part in items], np.float64).reshape(count, 2) - corner
        stretch = np.array([part.stretch or (1, 0, 0, 1) for part in items], np.float32).reshape(count, 2, 2)
        color = np.array([part.color or (0.5,) * channels for part in items], np.float32).reshape(count, channels)
        return Placements(
            position=position.astype(np.float32),
            rotation=np.array([part.rotation for part in items], np.float32),
            scale=np.array([part.scale for part in items], np.float32),
            opacity=np.clip(np.array([part.opacity for part in items], np.float32), 0, 1),
            color=color,
            bitmap=np.array(self.bitmaps, np.int32),
            stretch=stretch if any(part.stretch for part in items) else None,
            mu_blend=np.array([part.mu_blend for part in items], np.float32),
        )


def scene_of(document: Document, reading: Reading, pictures: Pictures, region: QRect, notes: list[str]) -> Scene:
    scene = Scene(region)
    gone: set[str] = set()
    for index, part in enumerate(reading.parts):
        if not part.visible or part.opacity == 0:
            continue
        source = reading.primitives[part.primitive] if part.kind is Kind.INSTANCE else None
        number = pictures.numbers.get(source.id) if source is not None and source.id not in reading.cut else None
        is_repainted = source is not None and source.id in reading.repainted
        item = with_tint(document, part) if number is not None else None
        if item is not None and number is not None and not (is_repainted and part.frozen == Freeze.ALL):
            if is_repainted:
                scene.remade.add(len(scene.items))
        else:
            if source is not None and number is None:
                gone.add(source.name)
            stand_in = own_picture(document, part, region, notes)
            if stand_in is None:
                continue
            item, bitmap, own = stand_in
            number = pictures.add(bitmap, own)
        scene.parts.append(index)
        scene.items.append(item)
        scene.bitmaps.append(number)
        height, width = pictures.bitmaps[number].pixels.shape[:2]
        scene.sizes.append((width, height))
    if gone:
        names = ", ".join(f"“{name}”" for name in sorted(gone))
        notes.append(
            f"{names}: no longer in the document, or cut off at its edge. The instances keep the pixels that they have."
        )
    return scene


def with_tint(document: Document, part: Part) -> Part | None:
    """An instance with a tint in the document's colour space; None where its layer does not tell."""
    if part.color:
        return part
    if part.mu_blend == 1:
        return replace(part, color=(0.5,) * document.space.channels)
    layer = document.layer(part.layer.id)
    look = look_of(layer, document, opaque=True) if layer is not None and part.mu_blend == 0 else None
    if look is None:
        return None
    color = np.average(look.pixels[..., :-1], axis=(0, 1), weights=look.pixels[..., -1])
    return replace(part, color=tuple(map(float, color)))


def own_picture(document: Document, part: Part, region: QRect, notes: list[str]) -> tuple[Part, Bitmap, Source] | None:
    """A part as an instance of its own pixels where they are; None where it shows nothing."""
    layer = document.layer(part.layer.id)
    if layer is None:
        raise DiffBmpError(f"“{part.layer.name}” was deleted a moment ago: try again.")
    fixed = part.kind is Kind.FIXED
    if not layer.has_picture:
        notes.append(f"“{layer.name}” has no picture of its own ({layer.kind}): it stays, and does not count.")
        return None
    look = look_of(layer, document, within=region if fixed else None, opaque=True)
    if look is None:
        return None
    notes.extend(remarks(f"“{layer.name}”", layer, look))
    if fixed and not layer.blends_normally:
        notes.append(f"The blending mode or style of “{layer.name}” counts as normal while instances are optimised.")
    height, width = look.pixels.shape[:2]
    stood = replace(
        part,
        opacity=layer.opacity * math.prod(folder.opacity for folder in folders_of(document, part)),
        position=(look.x + width / 2, look.y + height / 2),
        rotation=0.0,
        scale=1.0,
        stretch=None,
        mu_blend=1.0,
    )
    return stood, Bitmap(layer.name, look.pixels), replace(source_of(layer, document), opaque=True)


def folders_of(document: Document, part: Part) -> list[Layer]:
    found = (document.layer(folder.id) for folder in part.folders)
    return [folder for folder in found if folder is not None]


def selected(scene: Scene, coverage: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """[N] whether most of the box around each instance is selected."""
    if not scene.items:
        return np.zeros(0, bool)
    items = scene.items
    maps = pose_map(
        [part.position for part in items],
        [part.rotation for part in items],
        [part.scale for part in items],
        np.reshape([part.stretch or (1, 0, 0, 1) for part in items], (-1, 2, 2)),
    )
    half = (np.abs(maps[..., :2]) @ (np.array(scene.sizes, np.float64) / 2)[..., None])[..., 0]
    corner = np.array([scene.region.x(), scene.region.y()])
    high, wide = coverage.shape
    low = np.floor(maps[..., 2] - corner - half).astype(int)
    top = np.maximum(np.ceil(maps[..., 2] - corner + half).astype(int), low + 1)
    area = (top - low).prod(axis=1)
    low, top = np.clip(low, 0, (wide, high)), np.clip(top, 0, (wide, high))
    sums = np.zeros((high + 1, wide + 1), np.int64)
    sums[1:, 1:] = coverage.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    (x0, y0), (x1, y1) = low.T, top.T
    inside = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    found: npt.NDArray[np.bool_] = inside >= INSIDE * 255 * area
    return found


def check_scene(
    reading: Reading,
    scene: Scene,
    frozen: npt.NDArray[np.uint8],
    added: int,
    coverage: npt.NDArray[np.uint8] | None,
) -> None:
    """Raises DiffBmpError where there is nothing to refine."""
    if coverage is not None and not coverage.any():
        raise DiffBmpError("The selection does not touch the target: select a part of it, or deselect.")
    if added:
        return
    name = reading.group.name
    instances = [part for part in reading.parts if part.kind is not Kind.FIXED]
    if not instances:
        raise DiffBmpError(f"No instance is left in “{name}”: let new ones be added, or optimize anew.")
    if all(part.kind is Kind.FIXED for part in scene.items):
        raise DiffBmpError(f"Every instance in “{name}” is hidden or transparent: show some, or let new ones be added.")
    if all(part.frozen == Freeze.ALL for part in scene.items):
        raise DiffBmpError(
            f"Every instance in “{name}” is locked, or the group is: unlock some, or let new ones be added."
        )
    if (frozen == int(Freeze.ALL)).all():
        if coverage is not None:
            raise DiffBmpError(
                "No instance that may change lies in the selection: select more, deselect, or let new ones be added."
            )
        raise DiffBmpError("Everything is frozen: leave something of the instances free to change.")
