"""Undo, redo, closing and deleting by hand while a refinement goes on: nothing is lost, and what matters is said."""

from __future__ import annotations

import hands
from krita import Krita
from krita_harness.inside import trigger
from krita_harness.steps import Until, cases
from studio import (
    WAIT,
    Easel,
    click,
    click_through,
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
    start_refining,
    switched_on,
)

from krita_diffbmp.job import Phase
from krita_diffbmp.qt import QApplication, QtWidgets

PLUGIN = True


def place(node):
    """Where a layer is, in whole pixels."""
    box = node.bounds()
    return box.x(), box.y()


def press(keys, document, condition):
    """Keys on the keyboard, which Krita's canvas has, until they have had their effect; a generator."""
    yield from mouse("key", keys)
    yield Until(condition, 5, f"{keys} to do something")
    yield from hands.settled(document)


@cases("refine", "continuous")
def test_undo_and_redo_by_the_keyboard_while_it_goes_on(mode):
    easel = Easel(240, 180)
    document = easel.document
    if mode == "refine":
        yield from show_docker()
        group = yield from first_run(easel, instances=40, max_size=12)
    else:
        group = yield from switched_on(easel)
    node = group.childNodes()[4]
    before = place(node)
    if mode == "refine":
        yield from hands.move(document, node, 14, 9)
        after = place(node)
        yield from start_refining()
    else:
        with long_rounds():
            yield from hands.move(document, node, 14, 9)
            after = place(node)
            yield Until(lambda: session().job.busy, WAIT, "a refinement to begin")
    assert after != before
    yield from press("ctrl+z", document, lambda: place(node) == before)
    yield from press("ctrl+shift+z", document, lambda: place(node) == after)
    if mode == "refine":
        assert phase() is Phase.RUNNING
        trigger("diffbmp_stop")
        yield over()
        assert notice().startswith("Refined: "), notice()
    else:
        yield Until(lambda: len(easel.results()) == 2 and phase() is Phase.IDLE, WAIT, "a round after that")
    assert easel.results()[0] == group and not group.visible() and place(node) == after
    yield from press("ctrl+z", document, lambda: easel.results() == [group] and group.visible())
    yield from press("ctrl+z", document, lambda: place(node) == before)


@cases("optimising", "writing")
def test_closing_the_document_while_a_round_after_an_edit_goes_on(when):
    easel = Easel(240, 180)
    group = yield from switched_on(easel, instances=300 if when == "writing" else 40)
    node = group.childNodes()[4]
    if when == "optimising":
        with long_rounds():
            yield from hands.move(easel.document, node, 14, 9)
            yield Until(lambda: session().job.busy, WAIT, "a refinement to begin")
    else:
        yield from hands.move(easel.document, node, 14, 9)
        yield Until(lambda: session().job.written[0] > 0 and phase() is Phase.WRITING, WAIT, "the first layers")
    easel.document.setModified(False)
    easel.document.close()
    yield over()
    assert not Krita.instance().documents() and session().continuous.is_on
    yield Until(lambda: session().picked.result is None, 2, "nothing to be picked")
    assert "closed" in notice() or (when == "writing" and notice().startswith("Refined")), notice()
    yield 1.5


@cases("No", "Cancel")
def test_closing_asks_whether_to_save_while_a_round_goes_on(answer):
    easel = Easel(240, 180)
    group = yield from switched_on(easel)
    easel.document.setBatchmode(False)
    with long_rounds():
        yield from hands.move(easel.document, group.childNodes()[4], 14, 9)
        yield Until(lambda: session().job.busy, WAIT, "a refinement to begin")
    yield from answered(easel, answer)
    if answer == "No":
        yield Until(lambda: phase() is Phase.IDLE and not Krita.instance().documents(), 5, "the document to close")
    else:
        session().job.stop()
        yield Until(lambda: len(easel.results()) == 2 and phase() is Phase.IDLE, WAIT, "the round")


@cases("No", "Cancel")
def test_a_round_ends_while_closing_asks_whether_to_save(answer):
    easel = Easel(240, 180)
    group = yield from switched_on(easel)
    easel.document.setBatchmode(False)
    yield from hands.move(easel.document, group.childNodes()[4], 14, 9)
    yield from answered(easel, answer)
    if answer == "No":
        yield Until(lambda: phase() is Phase.IDLE and not Krita.instance().documents(), 5, "the document to close")
    else:
        yield Until(lambda: len(easel.results()) == 2 and phase() is Phase.IDLE, WAIT, "the round")
        assert not group.visible() and easel.results()[1].visible()
        yield from hands.undo(easel.document)
        yield Until(lambda: easel.results() == [group] and group.visible(), 5, "undo")


def answered(easel, answer):
    """The document is closed by the keyboard, and Krita's question answered after a while; a generator."""
    yield from mouse("key", "ctrl+w")
    yield Until(question, 5, "the question")
    yield 5
    assert len(easel.results()) == 1, "a layer was added behind Krita's question"
    yield from click(question().button(getattr(QtWidgets.QMessageBox.StandardButton, answer)))
    yield Until(lambda: not question(), 5, "the question to close")


def question():
    """Krita's question whether to save, while it is open."""
    box = QApplication.activeModalWidget()
    return box if isinstance(box, QtWidgets.QMessageBox) else None


def test_closing_the_document_while_it_is_refined():
    easel = Easel(240, 180)
    yield from show_docker()
    yield from first_run(easel)
    yield from start_refining()
    easel.document.setModified(False)
    easel.document.close()
    yield over()
    assert "closed" in notice(), notice()


def test_the_target_is_deleted_while_it_is_refined():
    easel = Easel(240, 180)
    document = easel.document
    yield from show_docker()
    group = yield from first_run(easel)
    yield from start_refining()
    yield from hands.delete(document, easel.photo)
    trigger("diffbmp_stop")
    yield over()
    assert notice().startswith("Refined: ") and len(easel.results()) == 2, notice()
    yield from hands.undo(document)
    yield Until(group.visible, 5, "the version before")
    yield from hands.undo(document)
    assert easel.photo.parentNode() is not None


def test_the_target_is_deleted_in_continuous_mode():
    easel = Easel(240, 180)
    document = easel.document
    group = yield from switched_on(easel)
    yield from hands.delete(document, easel.photo)
    yield from click_through(document, group)
    problem = panel().picks.problem
    yield Until(lambda: "is not in this document" in problem.text() and problem.isVisible(), 4, "the sentence")
    form = panel().refine_form
    assert not panel().run.begin.isEnabled() and not form.add_button.isEnabled() and form.continuous.isEnabled()
    assert panel().run.begin.toolTip() == problem.text()
    yield from hands.move(document, group.childNodes()[4], 14, 9)
    yield Until(lambda: "is not in this document" in notice(), WAIT, "the sentence")
    assert phase() is Phase.IDLE and easel.results() == [group] and not panel().notice.isVisible()
    yield from save_picture("target_deleted")
    yield from hands.undo(document)
    yield from hands.undo(document)
    yield Until(lambda: not problem.isVisible() and not notice(), 4, "the sentence to go")
    yield from hands.move(document, group.childNodes()[4], 9, 14)
    yield Until(lambda: len(easel.results()) == 2 and phase() is Phase.IDLE, WAIT, "a round")


def test_a_refusal_is_told_for_as_long_as_it_holds():
    easel = Easel()
    yield from show_docker()
    group = yield from first_run(easel, instances=4)
    for node in group.childNodes():
        yield from hands.lock(easel.document, node)
    set_refine()
    yield from click(panel().run.begin)
    assert "locked" in notice() and panel().notice.isVisible()
    yield 1.5
    assert "locked" in notice()
    yield from hands.lock(easel.document, group.childNodes()[0])
    yield Until(lambda: not notice() and not panel().notice.isVisible(), 4, "the sentence to go")
