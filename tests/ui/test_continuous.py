"""When an edit is over, and a refinement of its surroundings due."""

from __future__ import annotations

from krita_diffbmp.ui.continuous import Continuous


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.mode = Continuous(lambda: self.now)
        self.mode.switch(True)

    def is_due(self, at: float, pulse: int, since: float, result: str = "group") -> bool:
        self.now = at
        return self.mode.is_due(result, pulse, since)


def test_what_was_done_before_asks_for_nothing():
    scene = Scene()
    assert not scene.is_due(5, 1, 0) and not scene.is_due(9, 1, 0)


def test_an_edit_is_over_after_a_second_and_asks_once():
    scene = Scene()
    scene.is_due(0, 1, 0)
    assert not scene.is_due(1.9, 2, 1.0)
    assert scene.is_due(2.1, 2, 1.0)
    scene.mode.note_asked(2)
    assert not scene.is_due(9, 2, 1.0)
    assert scene.is_due(12, 3, 10)


def test_what_made_way_is_asked_for_again():
    scene = Scene()
    scene.is_due(0, 1, 0)
    assert scene.is_due(3, 2, 1)
    scene.mode.note_asked(2)
    scene.mode.note_given_up()
    assert not scene.is_due(6, 1, 4), "the edit was undone"
    assert scene.is_due(9, 2, 7), "and redone"


def test_another_result_begins_anew():
    scene = Scene()
    scene.is_due(0, 1, 0)
    assert not scene.is_due(5, 2, 0, "version 2") and not scene.is_due(6, 2, 0, "version 2")
    assert scene.is_due(9, 3, 7, "version 2")


def test_switched_off_and_on_it_forgets():
    scene = Scene()
    scene.is_due(0, 1, 0)
    scene.mode.switch(False)
    assert not scene.is_due(5, 2, 0)
    scene.mode.switch(True)
    assert not scene.is_due(6, 2, 0)
