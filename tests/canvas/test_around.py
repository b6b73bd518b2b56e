"""What a refinement after an edit may change, and where its error counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from krita_diffbmp.canvas import around as module
from krita_diffbmp.canvas.around import extents_of
from krita_diffbmp.problem import Bitmap, DiffBmpError, Freeze, Placements, Problem, Start


def around(*arguments: Any) -> Any:
    """Typed as anything, as its parts that may be None are here what they are."""
    return module.around(*arguments)


def problem(positions: Any, scales: Any, frozen: Any = None, weight: Any = None, **more: Any) -> Any:
    """A canvas of 100 x 80 with instances of one bitmap of 10 x 20."""
    count = len(positions)
    placements = Placements(
        position=np.array(positions, np.float32),
        rotation=np.zeros(count, np.float32),
        scale=np.array(scales, np.float32),
        opacity=np.ones(count, np.float32),
        color=np.zeros((count, 3), np.float32),
        bitmap=np.zeros(count, np.int32),
        **more,
    )
    bits = np.zeros(count, np.uint8) if frozen is None else np.array(frozen, np.uint8)
    return Problem(
        np.ones((80, 100, 4), np.float32),
        (Bitmap("dab", np.ones((20, 10, 4), np.float32)),),
        start=Start(placements, bits, added=3),
        weight=weight,
    )


def test_only_instances_near_the_edit_may_change_and_none_is_added():
    found = around(problem([(20, 20), (30, 20), (90, 70)], [1, 1, 1], [0, Freeze.COLOR, 0]), [(15, 10, 10, 20)])
    assert found.start.frozen.tolist() == [0, Freeze.COLOR, Freeze.ALL]
    assert found.start.frozen.dtype == np.uint8 and found.start.added == 0


def test_the_error_counts_wherever_a_free_instance_reaches():
    found = around(problem([(50, 40)], [3.0]), [(48, 38, 4, 4)])
    rows, columns = np.flatnonzero(found.weight.any(axis=1)), np.flatnonzero(found.weight.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (1, 78, 26, 73)
    assert found.weight.shape == (80, 100) and found.weight.dtype == np.float32


def test_a_selection_still_weighs():
    selected = np.full((80, 100), 0.25, np.float32)
    found = around(problem([(50, 40)], [1.0], weight=selected), [(48, 38, 4, 4)])
    assert set(np.unique(found.weight)) == {np.float32(0), np.float32(0.25)}


def test_an_edit_beyond_the_canvas_does_no_harm():
    found = around(problem([(2, 2)], [1.0]), [(-300, -300, 310, 310)])
    assert found.weight.any()


def test_nothing_near_that_may_change_is_said():
    with pytest.raises(DiffBmpError, match="No instance near"):
        around(problem([(20, 20), (90, 70)], [1, 1], [Freeze.ALL, 0]), [(15, 15, 10, 10)])


def test_extents_follow_rotation_and_stretch():
    turned = problem([(0, 0)], [2.0], stretch=np.array([[[2, 0], [0, 0.5]]], np.float32))
    assert np.allclose(extents_of(turned, turned.start.placements), [[20, 10]])
