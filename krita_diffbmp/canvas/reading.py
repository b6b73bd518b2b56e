"""What a group of instances is now, after the artist has worked on it: what `readback.py` finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntFlag

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.records import Instance, Record, Source
from krita_diffbmp.problem import Freeze

Stretch = tuple[float, float, float, float]


class Kind(Enum):
    """What a layer of the group counts as."""

    INSTANCE = "instance"  # of one of Reading.primitives
    OWN = "own"  # an instance of the layer's own pixels: the artist has painted on it
    FIXED = "fixed"  # no instance, but a part of the picture that stays as it is


class Change(IntFlag):
    """What was done to an instance by hand since it was written."""

    NONE = 0
    MOVED = 1  # or turned, scaled, sheared, mirrored
    REPAINTED = 2
    RECOLORED = 4
    FADED = 8  # its layer's opacity
    RESTACKED = 16
    NEW = 32


@dataclass(frozen=True)
class Part:
    """One layer of the group. Lengths are canvas px; the pose is that of `Placements`."""

    layer: Source
    kind: Kind
    live: bool  # a vector layer with an image shape; a paint layer otherwise, for a FIXED part whatever it is
    visible: bool  # with the groups around it inside the group that was read; a hidden part is left out of the picture
    locked: bool  # by itself or with a group around it
    frozen: Freeze
    changed: Change
    opacity: float  # with that of groups around it inside the group that was read
    around: float  # the opacity of those groups
    position: tuple[float, float] = (0.0, 0.0)  # this and what follows: of an INSTANCE alone
    rotation: float = 0.0
    scale: float = 1.0
    stretch: Stretch | None = None
    color: tuple[float, ...] = ()  # empty where it is not known in the document's colour space
    mu_blend: float = 0.0
    primitive: int = -1  # index into Reading.primitives
    folders: tuple[Source, ...] = ()  # the groups around it inside the group that was read, the outermost first
    written: Instance | None = None  # as it was written, or what it is a copy of was
    is_as_written: bool = False  # whether its layer is exactly that
    matrix: tuple[float, ...] | None = None  # of a live INSTANCE, as `Instance.matrix`


@dataclass(frozen=True)
class Changes:
    """How many instances are what, for the docker."""

    total: int = 0  # instances, the hidden ones with them
    moved: int = 0
    repainted: int = 0
    recolored: int = 0
    faded: int = 0
    restacked: int = 0
    hidden: int = 0
    locked: int = 0
    new: int = 0
    deleted: int = 0
    foreign: int = 0  # layers that are fixed parts of the picture
    sources: int = 0  # primitives whose own layers were repainted

    @property
    def any(self) -> bool:
        """Whether anything was done by hand since the group was written; locks and eyes are no such thing."""
        return any(
            (
                self.moved,
                self.repainted,
                self.recolored,
                self.faded,
                self.restacked,
                self.new,
                self.deleted,
                self.sources,
            )
        )

    def __str__(self) -> str:
        """ "300 instances: 12 moved, 3 repainted, 5 locked, 2 new, 20 deleted" """
        words = (
            (self.moved, "moved"),
            (self.repainted, "repainted"),
            (self.recolored, "recoloured"),
            (self.faded, "with another opacity"),
            (self.restacked, "restacked"),
            (self.hidden, "hidden"),
            (self.locked, "locked"),
            (self.new, "new"),
            (self.deleted, "deleted"),
        )
        found = [f"{count} {word}" for count, word in words if count]
        if self.foreign:
            found.append(f"{self.foreign} other layer{'s' * (self.foreign > 1)} fixed")
        if self.sources:
            found.append(f"{self.sources} bitmap{'s' * (self.sources > 1)} repainted")
        total = f"{self.total} instance{'s' * (self.total != 1)}"
        if not self.any and not found:
            return f"{total}, nothing changed"
        return f"{total}: {', '.join(found)}"


@dataclass(frozen=True)
class Reading:
    """A group as it is now."""

    document: Document
    group: Source
    record: Record | None  # of the group, as it was written; None for a group that the artist made of instances
    primitive_group: Source | None  # where the primitives lie; None where nothing is known of it
    primitives: tuple[Source, ...]  # of which the parts are instances
    repainted: frozenset[str]  # ids of the primitives that were repainted since the instances were written
    cut: frozenset[str]  # ids of the primitives that lost a part when the image was cropped
    parts: tuple[Part, ...]  # the backmost first
    changes: Changes
    notes: tuple[str, ...]  # what could not be read as it was written, a sentence each
