"""What the picks come to: the layers, what has been read of them, and what stands against a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from krita_diffbmp.canvas.document import Document, Selection
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.reading import Reading
from krita_diffbmp.canvas.records import load
from krita_diffbmp.canvas.versions import Version, versions_of
from krita_diffbmp.problem import DiffBmpError
from krita_diffbmp.text import i18n
from krita_diffbmp.ui.picks import Picks


@dataclass(frozen=True)
class Picked:
    """What the picks come to at the moment."""

    document: Document | None = None
    target: Layer | None = None
    group: Layer | None = None
    result: Layer | None = None  # the group of instances to refine; None: a new run is what is wanted
    understood: str = ""  # what the artist has done to that; empty until it was read
    versions: tuple[tuple[str, str], ...] = ()  # of the result: (group id, what it is called), the first first
    primitives: tuple[Layer, ...] = ()  # the group's visible layers
    names: tuple[str, ...] = ()  # of all these, to notice when one is renamed
    problem: str = ""  # why there can be no run; empty when there can
    live_refusal: str = ""  # why there can be no live layers; empty when there can


@dataclass
class Memory:
    """What was picked in one document."""

    document: Document
    picks: Picks = field(default_factory=Picks)
    selection: Selection | None = None  # that the picks follow from
    reading: Reading | None = None  # of the result that is picked
    versions: tuple[tuple[str, str], ...] = ()
    rounds: list[str] = field(default_factory=list)  # ids of the versions that the continuous mode has made
    is_untidy: bool = False  # of these, more are to be taken away than are kept
    awaited: str = ""  # id of the layer that Krita is about to make current for us: until then selections mean nothing
    patience_ends: float = 0.0  # when it should have done so


def results_in(document: Document) -> set[str]:
    """The ids of the groups that runs have made, also of those deleted since; none where records cannot be read."""
    try:
        return set(load(document))
    except DiffBmpError:
        return set()


def problem_of(check: Callable[..., None], *picked: Any) -> str:
    """What stands against a run with what is picked; empty where nothing does."""
    try:
        check(*picked)
    except DiffBmpError as problem:
        return str(problem)
    return ""


def named_versions(document: Document, result: Layer) -> tuple[tuple[str, str], ...]:
    """(group id, what it is called) of all versions of a result, the first first."""
    try:
        versions = versions_of(document, result)
    except DiffBmpError:
        return ()
    return tuple((version.id, called(version)) for version in versions)


def called(version: Version) -> str:
    if version.psnr is None:
        return i18n("v{number}", number=version.number)
    return i18n("v{number} · {psnr:.1f} dB", number=version.number, psnr=version.psnr)
