from dataclasses import replace

import pytest
import torch

from krita_diffbmp.engine import holes
from krita_diffbmp.engine.holes import HoleWeight, advice, uncovered
from krita_diffbmp.problem import Settings


def weight_after(parts, begin=holes.BEGIN, capacity=10.0):
    found = HoleWeight(capacity)
    for index, part in enumerate(parts):
        found.look(part, begin + 0.05 * index, 10 - index)
    return found.weight


def test_uncovered_is_what_is_seen_through_where_the_target_hides():
    target = torch.ones(4, 10, 10)
    target[-1, :, 5:] = 0
    transmittance = torch.zeros(10, 10)
    assert uncovered(transmittance, target) == 0
    transmittance[:, 5:] = 1
    assert uncovered(transmittance, target) == 0
    transmittance[:5, :5] = 0.5
    assert uncovered(transmittance, target) == pytest.approx(0.25)


def test_holes_weigh_more_the_more_there_are_and_the_later_it_is():
    assert weight_after([holes.UNCOVERED] * 5) == 0
    assert 0 < weight_after([0.01] * 3) < weight_after([0.02] * 3) < weight_after([0.02] * 9) <= holes.LIMIT


def test_holes_that_close_by_themselves_weigh_little():
    closing = [0.06 * 0.8**index for index in range(8)]
    assert weight_after(closing) < 0.01 * weight_after([0.06] * 8)


def test_what_cannot_be_covered_weighs_less():
    assert weight_after([0.3] * 9, capacity=1.0) < 0.1 * weight_after([0.3] * 9)


def test_nothing_is_weighed_at_the_beginning():
    assert weight_after([0.5] * 4, begin=0.1) == 0


def test_advice_where_instances_cannot_cover_the_target():
    few = Settings(instances=500, max_size=0.2)
    said = advice(0.85, 0.313, few)
    assert said is not None and "31 % of the target" in said
    assert "1,500 instances" in said and "35 %" in said, "enough times the area by count, or by the square of the size"
    assert advice(holes.ENOUGH, 0.3, few) is None, "what else leaves holes is not the artist's to mend like this"
    assert advice(0.85, 0.01, few) is None, "hardly any hole"
    assert advice(0.85, 0.3, replace(few, background="white")) is None, "paper may stay empty"
