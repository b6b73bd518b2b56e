"""The artist's hands and the optimiser take turns: what is understood, what is refined, what one undo takes back."""

from __future__ import annotations

import hands
import numpy as np
from krita import Selection
from krita_harness.inside import composite, paint_layer, refresh, trigger, undo_rows
from krita_harness.steps import Until, cases
from studio import (
    Easel,
    click,
    click_layer,
    first_run,
    notice,
    over,
    panel,
    phase,
    photo,
    picked_names,
    save_picture,
    session,
    set_refine,
    show_docker,
)

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.readback import read_back
from krita_diffbmp.canvas.records import read_records
from krita_diffbmp.job import Phase
from krita_diffbmp.problem import Freeze

PLUGIN = True


def understood(words: str) -> Until:
    """Until the docker says so of the picked result."""
    said = panel().picks.understood
    return Until(lambda: said.text() == words, 5, f"“{words}”, which it is not yet: “{said.text()}”")


def test_a_result_turns_optimize_into_refine():
    easel = Easel()
    yield from show_docker()
    yield from first_run(easel)
    assert panel().run.begin.text() == "&Refine" and panel().run.begin.isEnabled()
    assert panel().refine_form.isVisible() and not panel().form.isVisible()
    yield understood("20 instances, nothing changed")
    yield from save_picture("refine_ready")
    yield from click_layer("photo")
    yield Until(lambda: panel().run.begin.text() == "&Optimize", 3, "a new run to be offered")
    assert panel().form.isVisible() and not panel().refine_form.isVisible()


def test_what_was_done_by_hand_is_understood():
    easel = Easel(240, 180)
    yield from show_docker()
    group = yield from first_run(easel)
    document = easel.document
    layers = sorted(group.childNodes(), key=lambda layer: hands.room(document, layer), reverse=True)
    yield from hands.move(document, layers[0], 12, 7)
    yield understood("20 instances: 1 moved")
    yield from hands.transform(document, layers[1], turn=True)
    yield from hands.transform(document, layers[2], turn=False)
    yield from hands.edit_shape(document, layers[3], -6, 5)
    yield understood("20 instances: 4 moved")
    yield from hands.lock(document, layers[4])
    yield from hands.duplicate(document, layers[5])
    yield from hands.delete(document, layers[6])
    yield from hands.delete(document, layers[7])
    yield understood("19 instances: 4 moved, 1 locked, 1 new, 2 deleted")
    yield from save_picture("refine_understood")
    yield from hands.undo(document)
    yield understood("20 instances: 4 moved, 1 locked, 1 new, 1 deleted")
    yield from hands.redo(document)
    yield understood("19 instances: 4 moved, 1 locked, 1 new, 2 deleted")


def test_another_target_is_ctrl_clicked():
    easel = Easel()
    other = paint_layer(easel.document, "other", photo(96, 72)[::-1])
    refresh(easel.document)
    yield from show_docker()
    group = yield from first_run(easel)
    group.setName("result")
    yield picked_to_refine("photo", "result")
    yield from click_layer("result")
    yield from click_layer("other", ctrl=True)
    yield picked_to_refine("other", "result")
    assert not panel().picks.problem.isVisible()
    yield from hands.make_current(easel.document, group.childNodes()[3])
    yield picked_to_refine("other", "result")
    yield from click_layer("other")
    yield Until(lambda: session().picked.result is None and picked_names() == ("other", "dabs"), 3, "a new run")
    other.remove()
    yield from click_layer("photo")
    yield from click_layer("result", ctrl=True)
    yield picked_to_refine("photo", "result")


def test_a_result_can_still_be_the_target_of_a_run():
    easel = Easel()
    yield from show_docker()
    group = yield from first_run(easel)
    group.setName("result")
    yield from click_layer("result")
    yield from click_layer("dabs", ctrl=True)
    yield Until(lambda: session().picked.result is None and picked_names() == ("result", "dabs"), 3, "a new run")


def picked_to_refine(target: str, result: str) -> Until:
    def is_so() -> bool:
        picked = session().picked
        return picked.result is not None and picked.result.name == result and picked_names()[0] == target

    return Until(is_so, 4, f"{result} to be refined towards {target}")


def versions():
    form = panel().refine_form
    return [form.version.itemText(i).partition(" ")[0] for i in range(form.version.count())]


@cases("live", "painted")
def test_refine_and_undo(form):
    easel = Easel(240, 180)
    document = easel.document
    yield from show_docker()
    group = yield from first_run(easel, form=form)
    yield from hands.move(document, group.childNodes()[5], 20, 10)
    yield understood("20 instances: 1 moved")
    yield from hands.make_current(document, group)
    set_refine(steps=30)
    before, rows, layers = composite(document), undo_rows(), pixels_of(document, group)
    yield from click(panel().run.begin)
    yield Until(lambda: session().shows_run or session().notice, 5, "the run to start")
    yield over()
    assert notice().startswith("Refined: "), notice()
    [first, second] = easel.results()
    assert first == group and not first.visible() and second.visible() and second.name().endswith(" v2")
    assert document.topLevelNodes()[-1] == second and len(second.childNodes()) == 20
    assert {n.type() for n in second.childNodes()} == {"vectorlayer" if form == "live" else "paintlayer"}
    assert undo_rows() == rows + 1, (undo_rows(), rows)
    assert pixels_of(document, group) == layers
    yield understood("20 instances, nothing changed")
    assert session().picked.result.node == second and versions() == ["v1", "v2"]
    yield from save_picture(f"refined_{form}")
    after = composite(document)
    trigger("edit_undo")
    yield Until(lambda: easel.results() == [first] and first.visible(), 5, "undo")
    document.waitForDone()
    assert np.array_equal(composite(document), before)
    trigger("edit_redo")
    yield Until(lambda: len(easel.results()) == 2 and not first.visible(), 5, "redo")
    yield 0.3
    document.waitForDone()
    assert np.array_equal(composite(document), after)
    return notice()


def pixels_of(document, group):
    whole = (0, 0, document.width(), document.height())
    return [bytes(node.projectionPixelData(*whole)) for node in group.childNodes()]


def names(group):
    return [node.name() for node in group.childNodes()]


def refine_by(action):
    """An action, until its run is over; a generator."""
    trigger(f"diffbmp_{action}")
    yield over()


def test_thinning_out_asks_before_it_is_done():
    easel = Easel()
    yield from show_docker()
    group = yield from first_run(easel)
    group.childNodes()[2].setLocked(True)
    set_refine(thin=20.0)
    yield from click(panel().refine_form.thin_button)
    yield Until(lambda: phase() is Phase.ASKING, 20, "the question")
    asked = panel().run.status.text()
    assert asked.startswith("Removing 4 of 20 costs ") and " dB" in asked
    assert panel().run.stop.isEnabled() and not panel().run.pause.isVisible()
    yield from save_picture("thin_out")
    yield from click(panel().run.cancel)
    assert phase() is Phase.IDLE and easel.results() == [group] and "as it was" in notice()
    trigger("diffbmp_thin")
    yield Until(lambda: phase() is Phase.ASKING, 20, "the question")
    trigger("diffbmp_pause")
    assert phase() is Phase.ASKING
    yield from click(panel().run.stop)
    yield over()
    [first, second] = easel.results()
    assert len(names(second)) == 16 and set(names(second)) < set(names(group))
    assert group.childNodes()[2].name() in names(second) and not first.visible()
    yield from hands.settled(easel.document)  # Krita undoes nothing while it is at work
    trigger("edit_undo")
    yield Until(lambda: easel.results() == [first] and first.visible(), 5, "undo")
    assert notice().startswith("Thinned out: ")
    return asked, notice()


def test_instances_are_added_and_deleted_ones_replaced():
    easel = Easel(240, 180)
    yield from show_docker()
    yield from first_run(easel, instances=8)
    set_refine(add=5)
    yield from click(panel().refine_form.add_button)
    yield Until(lambda: session().shows_run or session().notice, 5, "the run to start")
    yield over()
    [first, second] = easel.results()
    assert set(names(first)) < set(names(second)) and 8 < len(names(second)) <= 13, notice()
    yield from hands.delete(easel.document, second.childNodes()[1])
    yield from hands.make_current(easel.document, second)
    count = len(names(second))
    yield from refine_by("refine")
    assert len(names(easel.results()[-1])) == count, "deleted ones stay deleted"
    yield from hands.delete(easel.document, easel.results()[-1].childNodes()[0])
    panel().refine_form.replace_deleted.click()
    yield from refine_by("refine")
    assert len(names(easel.results()[-1])) == count, "and are replaced where that is chosen"


@cases("live", "painted")
def test_stretched_instances_are_written_read_back_and_refined(form):
    easel = Easel(240, 180)
    yield from show_docker()
    group = yield from first_run(easel, max_size=60, max_stretch=3, form=form)

    def proportions(version):
        parts = {part.layer.name: part for part in read_back(Document(easel.document), Layer(version)).parts}
        return {name: np.reshape(part.stretch or (1, 0, 0, 1), (2, 2)).diagonal() for name, part in parts.items()}

    before = proportions(group)
    widths = [np.log(width / height) for width, height in before.values()]
    assert len(before) == 20 and 0.1 < np.abs(widths).max() < np.log(3) + 1e-3, widths
    yield understood("20 instances, nothing changed")
    set_refine()
    yield from refine_by("refine")
    after = proportions(easel.results()[-1])
    assert all(np.abs(after[name] - before[name]).max() < 1e-3 for name in before), "a refinement keeps proportions"
    return notice()


def test_versions_are_shown_by_choice():
    easel = Easel()
    yield from show_docker()
    first = yield from first_run(easel)
    set_refine()
    yield from refine_by("refine")
    yield from refine_by("refine")
    [_, second, third] = easel.results()
    assert versions() == ["v1", "v2", "v3"]
    box = panel().refine_form.version
    assert box.currentText().startswith("v3 · ") and box.isEnabled()
    box.setCurrentIndex(0)
    box.activated.emit(0)
    assert first.visible() and not second.visible() and not third.visible()
    yield picked_to_refine("photo", first.name())
    yield Until(lambda: box.currentText().startswith("v1"), 4, "the choice to stay")
    yield from refine_by("refine")
    assert [node.name()[-3:] for node in easel.results() if node.visible()] == [" v4"]
    assert len(easel.results()) == 4


@cases("all", "selected", "label")
def test_what_is_frozen_stays(case):
    easel = Easel(240, 180)
    document = easel.document
    yield from show_docker()
    group = yield from first_run(easel, form="painted", steps=2)
    layers, before = group.childNodes(), pixels_of(document, group)
    if case == "label":
        for node in layers[:10]:
            node.setColorLabel(3)
        set_refine(label=3)
    else:
        set_refine(scope=case)
        for box in panel().refine_form.freeze.values():
            box.click()
        panel().refine_form.freeze[Freeze.OPACITY].click()
    yield from hands.make_current(document, layers[4])
    yield from refine_by("refine")
    kept = [now == was for now, was in zip(pixels_of(document, easel.results()[-1]), before, strict=True)]
    if case == "label":
        assert all(kept[:10]) and not all(kept[10:]), notice()
    elif case == "selected":
        assert not all(kept[:4]) and not all(kept[5:])
        record = read_records(Document(document))
        colours = [list(r.instances.values())[4].color for r in record.values()]
        assert colours[0] == colours[1]
    else:
        found = read_records(Document(document))
        poses = [[(i.position, i.rotation, i.scale, i.color) for i in r.instances.values()] for r in found.values()]
        assert poses[0] == poses[1] and not all(kept)


def test_a_selection_confines_it():
    easel = Easel(240, 180)
    document = easel.document
    yield from show_docker()
    yield from first_run(easel, instances=60, max_size=8, steps=5)
    before = composite(document)
    chosen = Selection()
    chosen.select(0, 0, 120, 180, 255)
    document.setSelection(chosen)
    set_refine()
    yield from refine_by("refine")
    changed = np.any(composite(document) != before, axis=(0, 2))
    assert changed[:120].any() and not changed[160:].any(), notice()
