"""A refinement that is confined to the surroundings of some edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from krita_diffbmp.problem import DiffBmpError, Freeze, Placements, Problem

Box = tuple[float, float, float, float]  # x, y, width, height in px of Problem.target
REACH = 0.5  # of an edit's longest side: how far around it instances take part
LEAST = 8.0  # px that this is at least
SLACK = 0.15  # of an instance's longest side: how far around it the error counts, so that it does not wander off


def around(problem: Problem, edits: Sequence[Box]) -> Problem:
    """The problem with all instances frozen but those whose middles lie near an edit, and without new ones.

    The error counts around the edits and wherever a free instance reaches: nothing gets worse unseen.
    Raises DiffBmpError where no instance that may change is near.
    """
    start = problem.start
    assert start is not None
    placements = start.placements
    near = np.zeros(len(placements.bitmap), bool)
    areas = [grown(edit, max(REACH * max(edit[2:]), LEAST)) for edit in edits]
    for x, y, width, height in areas:
        inside = (placements.position >= (x, y)) & (placements.position <= (x + width, y + height))
        near |= inside.all(axis=1)
    frozen = np.where(near, start.frozen, np.uint8(Freeze.ALL)).astype(np.uint8)
    free = np.flatnonzero(frozen != Freeze.ALL)
    if not len(free):
        raise DiffBmpError("No instance near the edit may change: there is nothing to refine.")
    extents = extents_of(problem, placements)
    for i in free:
        (x, y), (width, height) = placements.position[i] - extents[i], 2 * extents[i]
        areas.append(grown((x, y, width, height), SLACK * max(width, height)))
    weight = np.zeros(problem.target.shape[:2], np.float32)
    for x, y, width, height in areas:
        top, left = max(0, int(np.floor(y))), max(0, int(np.floor(x)))
        weight[top : max(0, int(np.ceil(y + height))), left : max(0, int(np.ceil(x + width)))] = 1
    if problem.weight is not None:
        weight *= problem.weight
    return replace(problem, start=replace(start, frozen=frozen, added=0), weight=weight)


def grown(box: Box, by: float) -> Box:
    x, y, width, height = box
    return x - by, y - by, width + 2 * by, height + 2 * by


def extents_of(problem: Problem, placements: Placements) -> npt.NDArray[np.float64]:
    """[N, 2]: half the width and height of the box around each instance, px."""
    sizes = np.array([bitmap.pixels.shape[1::-1] for bitmap in problem.bitmaps], np.float64)[placements.bitmap]
    cosine, sine = np.cos(placements.rotation), np.sin(placements.rotation)
    linear = np.stack([np.stack([cosine, -sine], axis=-1), np.stack([sine, cosine], axis=-1)], axis=-2)
    if placements.stretch is not None:
        linear = linear @ placements.stretch
    extents: npt.NDArray[np.float64] = (np.abs(linear) @ (sizes / 2)[..., None])[..., 0]
    return extents * placements.scale[:, None]
