"""What can come between the artist and a refinement: each time a sentence, and nothing is lost."""

from __future__ import annotations

import hands
import numpy as np
from krita import Krita
from krita_harness.inside import group_layer, paint_layer, refresh, trigger
from krita_harness.steps import Until, cases
from studio import (
    Easel,
    at_step,
    click_layer,
    first_run,
    notice,
    over,
    panel,
    phase,
    photo,
    picked_names,
    session,
    set_refine,
    show_docker,
    start_refining,
)

from krita_diffbmp.job import Phase

PLUGIN = True


def picture(easel, group):
    """The layers of the result with their pixels, and what is shown."""
    whole = (0, 0, easel.document.width(), easel.document.height())
    layers = [(n.uniqueId().toString(), n.visible(), bytes(n.projectionPixelData(*whole))) for n in group.childNodes()]
    return layers, group.visible(), bytes(easel.document.pixelData(*whole)), easel.state()


def test_refine_while_a_run_goes_on():
    easel = Easel()
    yield from show_docker()
    group = yield from first_run(easel)
    yield from start_refining()
    for name in ("refine", "add", "thin", "optimize"):
        trigger(f"diffbmp_{name}")
        assert "already" in notice(), notice()
        assert phase() is Phase.RUNNING
    trigger("diffbmp_cancel")
    yield over()
    assert group.visible() and easel.results() == [group]


def test_cancel_leaves_the_document_as_it_was():
    easel = Easel()
    yield from show_docker()
    group = yield from first_run(easel)
    easel.document.setModified(False)
    before = picture(easel, group)
    yield from start_refining()
    trigger("diffbmp_cancel")
    yield over()
    yield 0.3
    assert picture(easel, group) == before and not easel.document.modified()
    assert "as it was" in notice()


def test_undo_of_an_edit_while_a_run_goes_on():
    easel = Easel(240, 180)
    yield from show_docker()
    group = yield from first_run(easel)
    yield from hands.move(easel.document, group.childNodes()[4], 10, 5)
    yield from start_refining()
    yield from hands.undo(easel.document)
    trigger("diffbmp_stop")
    yield over()
    assert notice().startswith("Refined"), notice()
    assert len(easel.results()) == 2 and not group.visible()
    trigger("edit_undo")
    yield Until(group.visible, 5, "the version before")


def test_what_is_done_by_hand_while_a_run_goes_on_is_told():
    easel = Easel(240, 180)
    yield from show_docker()
    group = yield from first_run(easel)
    yield from start_refining()
    yield from hands.move(easel.document, group.childNodes()[4], 10, 5)
    yield from hands.delete(easel.document, group.childNodes()[7])
    trigger("diffbmp_stop")
    yield over()
    assert "Meanwhile you changed 2 layers by hand" in notice() and f"kept in “{group.name()}” alone" in notice()
    assert len(group.childNodes()) == 19 and len(easel.results()) == 2
    return notice()


@cases("smaller", "larger than the canvas")
def test_a_target_of_another_size(size):
    easel = Easel(240, 180)
    document = easel.document
    width, height, x, y = (90, 70, 20, 30) if size == "smaller" else (300, 240, -30, -20)
    paint_layer(document, "other", photo(width, height)[::-1], x, y)
    refresh(document)
    yield from show_docker()
    group = yield from first_run(easel, instances=40, max_size=12)
    yield from click_layer(group.name())
    yield from click_layer("other", ctrl=True)
    yield Until(lambda: session().picked.target is not None and session().picked.target.name == "other", 4, "it")
    set_refine(steps=20)
    trigger("diffbmp_refine")
    yield over()
    assert notice().startswith("Refined: "), notice()
    [first, second] = easel.results()
    assert first == group and len(second.childNodes()) == 40
    pictures = [np.frombuffer(bytes(each.projectionPixelData(0, 0, 240, 180)), np.uint8) for each in (first, second)]
    changed = (pictures[0] != pictures[1]).reshape(180, 240, 4).any(axis=-1)
    assert changed.any()
    if size == "smaller":
        assert not changed[:, 170:].any() and not changed[150:].any()
    return notice()


def test_undo_of_the_result_itself_while_it_is_refined():
    easel = Easel()
    yield from show_docker()
    yield from first_run(easel)
    yield from start_refining()
    yield from hands.undo(easel.document)
    assert not easel.results()
    trigger("diffbmp_stop")
    yield over()
    assert session().notice is not None and notice(), "nothing was said"
    trigger("edit_redo")
    yield Until(easel.results, 5, "the result again")


def test_everything_locked():
    easel = Easel()
    yield from show_docker()
    group = yield from first_run(easel, instances=4)
    for node in group.childNodes():
        node.setLocked(True)
    yield from refused("locked")
    assert easel.results() == [group]


def test_everything_deleted():
    easel = Easel()
    yield from show_docker()
    group = yield from first_run(easel, instances=3)
    for node in group.childNodes():
        yield from hands.delete(easel.document, node)
    yield from hands.make_current(easel.document, group)
    yield from refused("No instance is left")
    assert easel.results() == [group]


def test_everything_frozen():
    easel = Easel()
    yield from show_docker()
    yield from first_run(easel)
    set_refine()
    for box in panel().refine_form.freeze.values():
        box.click()
    yield from refused("frozen")


def test_nothing_picked():
    Easel()
    yield 0.3
    trigger("diffbmp_refine")
    assert "Select the group of instances" in notice()


def test_a_group_of_another_document():
    easel = Easel()
    yield from show_docker()
    group = yield from first_run(easel)
    yield from hands.act(easel.document, group, "copy_layer_clipboard")
    other = Easel()
    yield Until(lambda: Krita.instance().activeDocument() == other.document, 5, "the other document in front")
    yield from hands.make_current(other.document, other.photo)
    yield Until(lambda: picked_names()[0] == "photo", 4, "the photo to be picked")
    yield from hands.act(other.document, other.photo, "paste_layer_from_clipboard")
    yield Until(other.results, 5, "the group to be pasted")
    [copy] = other.results()
    yield from hands.make_current(other.document, copy)
    yield Until(lambda: session().picked.result is not None, 4, "its instances to be seen")
    yield Until(lambda: panel().picks.understood.text() == "20 instances: 20 new", 4, "to be understood")
    trigger("diffbmp_refine")
    yield over()
    said = notice()
    assert "could not be matched" in said, said
    assert copy.parentNode() is not None and len(copy.childNodes()) == 20
    return said


def test_an_empty_group_is_not_taken_for_a_result():
    easel = Easel()
    yield from show_docker()
    empty = group_layer(easel.document, "empty")
    yield from easel.choose()
    yield from hands.make_current(easel.document, empty)
    yield 0.4
    assert session().picked.result is None


def test_stop_takes_what_there_is():
    easel = Easel()
    yield from show_docker()
    yield from first_run(easel)
    yield from start_refining()
    yield at_step(9)
    trigger("diffbmp_stop")
    yield over()
    assert notice().startswith("Refined: ") and len(easel.results()) == 2


def refused(words: str):
    """Refine is tried, and says these words; a generator."""
    trigger("diffbmp_refine")
    yield over()
    assert words in notice(), notice()
