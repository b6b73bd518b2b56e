"""Reads the target and the primitives out of a document."""

from __future__ import annotations

from dataclasses import dataclass

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.problem import Problem, Settings


@dataclass(frozen=True)
class Source:
    """A layer that was read: what is kept of it."""

    id: str
    name: str


@dataclass(frozen=True)
class Place:
    """Where a Problem came from, which is where its result belongs."""

    document: Document
    x: int  # canvas px of the left edge of Problem.target
    y: int
    width: int  # px, Problem.target
    height: int
    target: Source
    group: Source
    primitives: tuple[Source, ...]  # one for each of Problem.bitmaps
    live_refusal: str  # why the live form is not faithful in this document; empty where it is


@dataclass(frozen=True)
class Capture:
    problem: Problem
    place: Place
    notes: tuple[str, ...]  # what the artist should know: a primitive left out, values clipped


def check_choice(document: Document | None, target: Layer | None, group: Layer | None) -> None:
    """Whether these can be captured, as far as can be told without reading pixels; quick enough for every poll.

    Raises DiffBmpError with a sentence for the docker.
    """
    raise NotImplementedError


def capture(document: Document | None, target: Layer | None, group: Layer | None, settings: Settings) -> Capture:
    """The target's picture and the group's visible children as bitmaps, as the document composites them.

    The layers, the document's undo history, its modified flag and what is selected stay as they are.
    Raises DiffBmpError with a sentence for the docker.
    """
    raise NotImplementedError
