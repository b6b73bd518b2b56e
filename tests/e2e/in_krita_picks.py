"""What the docker takes as target and primitives, from clicks in Krita's layer docker."""

from __future__ import annotations

from krita import Krita, Selection
from krita_harness.inside import group_layer, paint_layer, refresh, trigger
from krita_harness.steps import Until
from studio import (
    Easel,
    click_layer,
    dab,
    notice,
    over,
    panel,
    picked_names,
    save_picture,
    session,
    set_form,
    show_docker,
)

PLUGIN = True


def picks(target: str, group: str) -> Until:
    """Until the docker has followed."""
    return Until(lambda: picked_names() == (target, group), 3, f"target {target!r} and primitives {group!r}")


def test_click_the_group_then_the_photo():
    Easel()
    yield from show_docker()
    yield from click_layer("dabs")
    yield picks("photo", "dabs") if picked_names()[0] else picks("", "dabs")
    yield from click_layer("photo")
    yield picks("photo", "dabs")
    assert "photo" in panel().picks.target_name.text()
    assert "3 bitmaps" in panel().picks.primitives_name.text()
    assert panel().run.begin.isEnabled() and not panel().picks.problem.isVisible()


def test_click_the_photo_then_the_group():
    Easel()
    yield from show_docker()
    yield from click_layer("photo")
    yield from click_layer("dabs")
    yield picks("photo", "dabs")


def test_ctrl_click_both():
    Easel()
    yield from show_docker()
    yield from click_layer("photo")
    yield from click_layer("dabs", ctrl=True)
    yield picks("photo", "dabs")
    assert len(Krita.instance().activeWindow().activeView().selectedNodes()) == 2


def test_ctrl_click_in_the_other_order():
    Easel()
    yield from show_docker()
    yield from click_layer("dabs")
    yield from click_layer("photo", ctrl=True)
    yield picks("photo", "dabs")


def test_with_several_selected_the_active_one_is_the_target():
    easel = Easel()
    paint_layer(easel.document, "sketch", dab(40, (0, 0, 0)))
    refresh(easel.document)
    yield from show_docker()
    yield from click_layer("sketch")
    yield from click_layer("photo", ctrl=True)
    yield from click_layer("dabs", ctrl=True)
    yield picks("sketch", "dabs")


def test_a_group_can_be_the_target():
    easel = Easel()
    scene = group_layer(easel.document, "scene")
    paint_layer(easel.document, "spot", dab(50, (9, 9, 9)), parent=scene)
    refresh(easel.document)
    yield from show_docker()
    yield from click_layer("scene")
    yield from click_layer("dabs", ctrl=True)
    yield picks("scene", "dabs")
    yield from click_layer("scene")
    yield 0.4
    assert picked_names() == ("scene", "dabs"), "a click on the target alone changes nothing"
    set_form(steps=5)
    trigger("diffbmp_optimize")
    yield over()
    assert len(easel.results()) == 2, notice()


def test_a_click_inside_the_picked_group_changes_nothing():
    easel = Easel()
    yield from easel.choose()
    easel.document.setActiveNode(easel.dabs[1])
    yield 0.4
    yield picks("photo", "dabs")


def test_a_click_on_a_result_changes_nothing():
    easel = Easel()
    set_form(steps=3)
    yield from easel.choose()
    trigger("diffbmp_optimize")
    yield over()
    [result] = easel.results()
    for node in (result, result.childNodes()[0]):
        easel.document.setActiveNode(node)
        yield Until(lambda node=node: easel.document.activeNode() == node, 5, "the result to be current")
        yield 0.4
        assert picked_names() == ("photo", "dabs")


def test_a_mask_stands_for_its_layer():
    easel = Easel()
    yield from easel.choose()
    mask = easel.document.createTransparencyMask("mask")
    other = paint_layer(easel.document, "other", dab(30, (1, 2, 3)))
    other.addChildNode(mask, None)
    everything = Selection()
    everything.select(0, 0, 96, 72, 255)
    mask.setSelection(everything)
    easel.document.setActiveNode(mask)
    yield picks("other", "dabs")


def test_each_document_keeps_its_own_picks():
    first = Easel()
    yield from first.choose()
    view = Krita.instance().activeWindow().activeView()
    second = Easel()
    second.photo.setName("painting")
    yield 0.4
    assert picked_names()[1] == "" or picked_names() == ("painting", "dabs")
    view.setVisible()
    yield picks("photo", "dabs")
    assert session().picked.document.handle == first.document


def test_deleted_picks_are_dropped_and_come_back_with_undo():
    easel = Easel()
    yield from easel.choose()
    easel.group.remove()
    yield Until(lambda: picked_names()[1] == "", 3, "the group to be dropped")
    assert not panel().run.begin.isEnabled() and panel().picks.problem.text()
    trigger("edit_undo")
    yield picks("photo", "dabs")


def test_a_new_name_shows():
    easel = Easel()
    yield from easel.choose()
    easel.photo.setName("a <b>photo</b> & more")
    yield Until(lambda: "&lt;b>photo" in panel().picks.target_name.text(), 3, "the new name")
    paint_layer(easel.document, "fourth", dab(30, (200, 30, 30)), parent=easel.group)
    yield Until(lambda: "4 bitmaps" in panel().picks.primitives_name.text(), 3, "the fourth bitmap")
    easel.dabs[0].setVisible(False)
    yield Until(lambda: "3 bitmaps" in panel().picks.primitives_name.text(), 3, "the hidden bitmap to be left out")


def test_the_docker_asks_for_what_is_missing():
    easel = Easel()
    yield from show_docker()
    yield from click_layer("photo")
    session()._memory.clear()  # of whatever Krita had made current before
    yield picks("photo", "")
    assert "group" in panel().picks.problem.text()
    yield from save_picture("group_missing")
    easel.document.setActiveNode(easel.group)
    yield picks("photo", "dabs")
    assert not panel().picks.problem.isVisible()


def test_bad_picks_are_explained():
    easel = Easel()
    yield from show_docker()
    yield from easel.choose()
    for wanted, prepare in (
        ("lies in the group", lambda: click_inside(easel)),
        ("is empty", lambda: empty_group(easel)),
    ):
        yield from prepare()
        yield Until(lambda wanted=wanted: wanted in panel().picks.problem.text(), 3, wanted)
        assert not panel().run.begin.isEnabled()


def click_inside(easel: Easel):
    """A bitmap of the group as target: it is selected together with its group."""
    yield from click_layer("dab 3")
    yield from click_layer("dabs", ctrl=True)


def empty_group(easel: Easel):
    group_layer(easel.document, "nothing")
    yield 0.3
    yield from click_layer("nothing")
    yield from click_layer("photo")
