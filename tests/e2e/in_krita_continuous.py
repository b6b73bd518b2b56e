"""Continuous mode: an edit by hand is followed by a refinement around it, which makes way for the next edit."""

from __future__ import annotations

import hands
import numpy as np
from krita_harness.inside import composite, memory, trigger, undo_rows
from krita_harness.steps import Until, limit
from studio import (
    WAIT,
    Easel,
    first_run,
    long_rounds,
    mouse,
    notice,
    over,
    panel,
    phase,
    save_picture,
    session,
    set_refine,
    show_docker,
    switched_on,
)

from krita_diffbmp.job import Phase

PLUGIN = True


def count(easel, number):
    return Until(lambda: len(easel.results()) == number and phase() is Phase.IDLE, WAIT, f"{number} versions")


def test_an_edit_is_followed_by_a_refinement_around_it():
    easel = Easel(240, 180)
    document = easel.document
    group = yield from switched_on(easel)
    node = next(n for n in group.childNodes() if hands.middle(n)[0] < 70)
    rows = undo_rows()
    yield from hands.move(document, node, 14, 9)
    edited = composite(document)
    yield count(easel, 2)
    yield from save_picture("continuous")
    assert undo_rows() == rows + 2, "the edit and the refinement"
    changed = np.any(composite(document) != edited, axis=(0, 2))
    assert changed.any() and not changed[170:].any()
    assert session().picked.result.node == easel.results()[1] and not group.visible()
    yield 3
    assert len(easel.results()) == 2, "once for each edit"
    trigger("edit_undo")
    yield Until(lambda: len(easel.results()) == 1 and group.visible(), 5, "undo")
    document.waitForDone()
    assert np.array_equal(composite(document), edited)
    yield 3
    assert len(easel.results()) == 1, "undo asks for nothing"


def test_the_move_tool_may_stay_in_the_hand():
    easel = Easel(240, 180)
    group = yield from switched_on(easel)
    yield from hands.make_current(easel.document, group.childNodes()[3])
    yield from hands.take(hands.MOVE)
    x, y = hands.middle(group.childNodes()[3])
    yield from hands.drag((x, y), (x + 4, y + 4), (x + 12, y + 8))
    yield count(easel, 2)


def test_nothing_happens_while_the_hand_is_on():
    easel = Easel(240, 180)
    group = yield from switched_on(easel)
    yield from hands.make_current(easel.document, group.childNodes()[3])
    yield from hands.take(hands.MOVE)
    x, y = hands.middle(group.childNodes()[3])
    start, end = hands.on_screen(x, y), hands.on_screen(x + 12, y + 8)
    yield from mouse("mousemove", str(start.x()), str(start.y()), "mousedown", "1")
    yield from mouse("mousemove", str(end.x()), str(end.y()))
    yield 3
    assert phase() is Phase.IDLE and len(easel.results()) == 1
    yield from mouse("mouseup", "1")
    yield count(easel, 2)


def test_an_open_transform_is_waited_for():
    easel = Easel(240, 180)
    group = yield from switched_on(easel)
    yield from hands.move(easel.document, group.childNodes()[2], 8, 8)
    yield from hands.make_current(easel.document, group.childNodes()[3])
    yield from hands.take(hands.TRANSFORM)
    yield 3
    assert phase() is Phase.IDLE and len(easel.results()) == 1
    yield from mouse("key", "Return")
    yield from hands.take(hands.BRUSH)
    yield count(easel, 2)


def test_the_next_edit_ends_it_at_once():
    easel = Easel(240, 180)
    document = easel.document
    group = yield from switched_on(easel)
    with long_rounds():
        yield from hands.move(document, group.childNodes()[2], 8, 8)
        yield Until(lambda: session().job.busy, WAIT, "a refinement to begin")
    assert not session().shows_run and panel().pages.currentIndex() == 0
    yield from hands.move(document, group.childNodes()[4], 8, 8)
    assert len(easel.results()) == 1
    yield count(easel, 2)
    assert session().picked.result is not None


def test_the_refine_button_comes_first():
    easel = Easel(240, 180)
    group = yield from switched_on(easel)
    with long_rounds():
        yield from hands.move(easel.document, group.childNodes()[2], 8, 8)
        yield Until(lambda: session().job.busy, WAIT, "a refinement to begin")
    set_refine(steps=20000)
    trigger("diffbmp_refine")
    assert session().shows_run, notice()
    trigger("diffbmp_stop")
    yield over()
    assert notice().startswith("Refined") and len(easel.results()) == 2
    trigger("diffbmp_continuous")
    assert not session().continuous.is_on and not panel().refine_form.continuous.isChecked()


def only_one_is_shown(easel):
    return Until(lambda: len([n for n in easel.results() if n.visible()]) == 1, 4, "one version to be shown")


@limit(150)
def test_each_round_is_one_undo_step_and_switching_off_leaves_few_versions():
    easel = Easel(240, 180)
    document = easel.document
    first = yield from switched_on(easel)
    held = []
    for number in range(7):
        group, rows = session().picked.result.node, undo_rows()
        yield from hands.move(document, group.childNodes()[3 * number], 10, -6)
        yield Until(lambda group=group: session().picked.result.node != group and phase() is Phase.IDLE, WAIT, "it")
        assert undo_rows() == rows + 2, "the edit and the round"
        held.append(round(memory()))
    yield only_one_is_shown(easel)
    everything = easel.results()
    assert len(everything) == 8 and everything[-1].visible()
    shown, current = composite(document), document.activeNode()
    trigger("diffbmp_continuous")
    yield Until(lambda: len(easel.results()) == 5, 5, "the older versions to go")
    yield 0.5
    there = easel.results()
    assert there == [first, *everything[4:]], [node.name() for node in there]
    assert document.activeNode() == current and session().picked.result.node == there[-1] and there[-1].visible()
    assert np.array_equal(composite(document), shown)
    yield from hands.undo(document)
    assert easel.results() == everything, "one undo step"
    yield from hands.redo(document)
    assert easel.results() == there
    for action in ("edit_undo", "edit_redo"):
        for _ in range(15):
            trigger(action)
            yield 0.4
            yield only_one_is_shown(easel)
    assert easel.results() == there and there[-1].visible()
    return held


def test_a_hidden_version_that_is_deleted_by_hand_leaves_no_gap():
    easel = Easel()
    yield from show_docker()
    first = yield from first_run(easel)
    for _ in range(2):
        trigger("diffbmp_refine")
        yield over()
    [_, second, third] = easel.results()
    yield from hands.delete(easel.document, second)
    yield 0.5
    assert third.visible() and not first.visible() and len(easel.results()) == 2
    yield from hands.undo(easel.document)
    yield 0.5
    assert [node.visible() for node in easel.results()] == [False, False, True]
