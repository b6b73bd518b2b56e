"""A refined version of a group: what is captured, what is written, and what one undo takes back."""

from dataclasses import replace

import numpy as np
from krita import Krita
from krita_harness.inside import composite, paint_layer, refresh, trigger, undo_rows
from krita_harness.steps import Until, cases, limit
from readings import VALUES, close, errors, read, written
from written import group_of, refine, shown

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.reading import Kind
from krita_diffbmp.canvas.records import read_records
from krita_diffbmp.canvas.refine import capture_refine
from krita_diffbmp.canvas.versions import follow_undo, show_version, versions_of
from krita_diffbmp.problem import DiffBmpError, Freeze, Settings
from krita_diffbmp.qt import QtWidgets


def history():
    for docker in Krita.instance().dockers():
        if docker.objectName() == "History":
            model = docker.findChild(QtWidgets.QListView).model()
            return [model.index(i, 0).data() for i in range(model.rowCount())]


def some_moved(start):
    """The first three 5 px to the right."""
    position = start.position.copy()
    position[:3, 0] += 5
    return replace(start, position=position), np.arange(len(position), dtype=np.int32)


def with_new_ones(start):
    """Two more in front, in the middle of the canvas."""
    picks = np.array([*range(len(start.bitmap)), 0, 0])
    found = replace(start, **{n: getattr(start, n)[picks] for n in
                              ("position", "rotation", "scale", "opacity", "color", "bitmap", "mu_blend")})  # fmt: skip
    found.position[-2:] = (128, 96)
    return found, np.array([*range(len(start.bitmap)), -1, -1], np.int32)


@cases("live", "painted")
@limit(120)
def test_a_version_beside_the_old_one_in_one_undo_step(form):
    document, target, _, group = yield from written(form)
    before, rows = composite(document), undo_rows()
    old = [Layer(node).id for node in group.childNodes()]
    done = yield from refine(document, target, group, some_moved)
    result = group_of(document, done)
    assert [n.name() for n in document.topLevelNodes()] == ["photo", group.name(), result.name(), "leaves"]
    assert result.name() == f"{group.name()} v2"
    assert not group.visible() and result.visible() and result.collapsed()
    assert undo_rows() == rows + 1, history()
    assert [n.name() for n in result.childNodes()] == [n.name() for n in group.childNodes()]
    assert {n.type() for n in result.childNodes()} == {"vectorlayer" if form == "live" else "paintlayer"}
    assert not set(old) & {Layer(node).id for node in result.childNodes()}
    for index, (mine, other) in enumerate(zip(result.childNodes(), group.childNodes(), strict=True)):
        same = np.array_equal(shown(mine, document), shown(other, document))
        assert same is (index > 2), index
    reading = read(document, result)
    assert str(reading.changes) == "12 instances, nothing changed"
    moved = [(x + 5 * (i < 3), y, r, s, o) for i, (x, y, r, s, o) in enumerate(VALUES)]
    worst = errors(reading.parts, moved)
    assert close(worst), worst
    record = read_records(Document(document))[Layer(result).id]
    assert (record.version, record.previous) == (2, Layer(group).id)
    after = composite(document)
    assert (after != before).any()
    trigger("edit_undo")
    yield Until(lambda: len(document.topLevelNodes()) == 3, 10, "the undo")
    yield 0.3
    follow_undo(Document(document))  # the docker's poll may have been quicker
    assert group.visible()
    document.waitForDone()
    np.testing.assert_array_equal(composite(document), before)
    assert not follow_undo(Document(document))
    trigger("edit_redo")
    yield Until(lambda: len(document.topLevelNodes()) == 4, 10, "the redo")
    yield 0.3
    follow_undo(Document(document))
    assert not group.visible()
    document.waitForDone()
    np.testing.assert_array_equal(composite(document), after)


@cases("live", "painted")
@limit(120)
def test_locked_hidden_and_foreign_layers_are_copied_as_they_are(form):
    document, target, _, group = yield from written(form)
    nodes = group.childNodes()
    nodes[0].setLocked(True)
    nodes[1].setVisible(False)
    stroke = paint_layer(document, "stroke", np.full((9, 30, 4), 255, np.uint8), 40, 40, group)
    group.removeChildNode(stroke)
    group.addChildNode(stroke, nodes[4])
    refresh(document)
    before = composite(document)
    locked = shown(nodes[0], document)
    for round_ in range(2):
        done = yield from refine(document, target, group)
        group = group_of(document, done)
        captured = done.captured
        assert captured.problem.start.frozen.tolist() == [31, 0, 0, 0, 31, *[0] * 7]
        assert captured.problem.bitmaps[-1].name == "stroke"
        assert captured.problem.start.placements.mu_blend[4] == 1
        names = [node.name() for node in group.childNodes()]
        assert names.index("stroke") == 5 and len(names) == 13
        reading = read(document, group)
        assert str(reading.changes) == "12 instances: 1 hidden, 1 locked, 1 other layer fixed", round_
        again = group.childNodes()
        assert again[0].locked() and not again[1].visible()
        np.testing.assert_array_equal(shown(again[0], document), locked)
        document.waitForDone()
        np.testing.assert_array_equal(composite(document), before)
    versions = versions_of(Document(document), Layer(group))
    assert [version.number for version in versions] == [1, 2, 3]
    assert [version.visible for version in versions] == [False, False, True]
    assert versions[-1].name.endswith(" v3") and " v2" not in versions[-1].name
    show_version(Document(document), versions[0].id)
    assert [version.visible for version in versions_of(Document(document), Layer(group))] == [True, False, False]


@limit(120)
def test_repainted_layers_become_bitmaps_and_stay_so():
    document, target, _, group = yield from written("painted")
    node = group.childNodes()[3]
    bounds = node.bounds()
    node.setPixelData(np.full((4, 4, 4), 200, np.uint8).tobytes(), bounds.x() + 8, bounds.y() + 8, 4, 4)
    refresh(document)
    before = composite(document).astype(int)
    done = yield from refine(document, target, group)
    problem = done.captured.problem
    assert [bitmap.name for bitmap in problem.bitmaps] == ["leaf 0", node.name()]
    assert problem.start.primitives == 1 and problem.start.placements.bitmap.tolist() == [0, 0, 0, 1, *[0] * 8]
    second = group_of(document, done)
    assert np.abs(composite(document) - before).max() == 0
    assert str(read(document, second).changes) == "12 instances, nothing changed"
    done = yield from refine(document, target, second, some_moved)
    third = group_of(document, done)
    reading = read(document, third)
    assert str(reading.changes) == "12 instances, nothing changed"
    assert reading.parts[3].kind is Kind.INSTANCE and reading.parts[3].mu_blend == 1


@cases("live", "painted")
@limit(120)
def test_new_instances_are_in_front_and_deleted_ones_stay_deleted(form):
    document, target, _, group = yield from written(form)
    for node in group.childNodes()[5:7]:
        node.remove()
    refresh(document)
    done = yield from refine(document, target, group, with_new_ones, added=2)
    result = group_of(document, done)
    names = [node.name() for node in result.childNodes()]
    assert names[-2:] == ["leaf 0 0013", "leaf 0 0014"] and len(names) == 12
    assert done.captured.problem.start.added == 2 and done.captured.problem.start.primitives == 1
    assert {n.type() for n in result.childNodes()} == {"vectorlayer" if form == "live" else "paintlayer"}
    assert str(read(document, result).changes) == "12 instances, nothing changed"


@limit(120)
def test_the_artists_groups_inside_the_result_are_kept():
    document, target, _, group = yield from written("live")
    nodes = group.childNodes()
    folder = document.createGroupLayer("mine")
    group.addChildNode(folder, nodes[3])
    for node in nodes[4:7]:
        group.removeChildNode(node)
        folder.addChildNode(node, None)
    folder.setOpacity(128)
    refresh(document)
    before = composite(document).astype(int)
    reading = read(document, group)
    assert str(reading.changes) == "12 instances, nothing changed"
    assert [len(part.folders) for part in reading.parts] == [0] * 4 + [1] * 3 + [0] * 5
    done = yield from refine(document, target, group, some_moved)
    result = group_of(document, done)
    assert [n.name() for n in result.childNodes()] == [n.name() for n in group.childNodes()]
    assert result.childNodes()[4].opacity() == 128 and len(result.childNodes()[4].childNodes()) == 3
    assert str(read(document, result).changes) == "12 instances, nothing changed"
    done = yield from refine(document, target, result)
    assert np.abs(composite(document)[:, 140:] - before[:, 140:]).max() <= 1


def test_a_group_of_the_artists_own_that_holds_instances():
    document, target, _, group = yield from written("live")
    own = document.createGroupLayer("picked out")
    document.rootNode().addChildNode(own, None)
    for node in group.childNodes()[8:]:
        group.removeChildNode(node)
        own.addChildNode(node, None)
    refresh(document)
    yield 0.3
    reading = read(document, own)
    assert str(reading.changes) == "4 instances, nothing changed"
    assert close(errors(reading.parts, VALUES[8:]))
    assert reading.primitive_group is not None and reading.primitive_group.name == "leaves"
    rest = read(document, group)
    assert rest.changes.total == 8 and any("outside" in note for note in rest.notes)
    done = yield from refine(document, target, own)
    result = group_of(document, done)
    assert result.name() == "picked out v2" and not own.visible()


def test_a_repainted_primitive_is_taken_by_its_instances_but_not_by_locked_ones():
    document, target, leaves, group = yield from written("painted")
    group.childNodes()[2].setLocked(True)
    locked = shown(group.childNodes()[2], document)
    leaf = leaves.childNodes()[0]
    leaf.setPixelData(np.tile(np.array([0, 255, 0, 255], np.uint8), (9, 6, 1)).tobytes(), 3, 4, 6, 9)
    refresh(document)
    reading = read(document, group)
    assert "1 bitmap repainted" in str(reading.changes), str(reading.changes)
    done = yield from refine(document, target, group)
    result = group_of(document, done)
    same = [np.array_equal(shown(a, document), shown(b, document))
            for a, b in zip(result.childNodes(), group.childNodes(), strict=True)]  # fmt: skip
    assert same == [index == 2 for index in range(12)]
    np.testing.assert_array_equal(shown(result.childNodes()[2], document), locked)
    assert str(read(document, result).changes) == "12 instances: 1 locked"


def test_a_deleted_primitive_leaves_its_instances_as_they_are():
    document, target, leaves, group = yield from written("painted")
    leaves.remove()
    refresh(document)
    before = composite(document).astype(int)
    done = yield from refine(document, target, group)
    problem = done.captured.problem
    assert problem.start.primitives == 0 and len(problem.bitmaps) == 12
    assert any("no longer" in note for note in done.captured.notes)
    assert np.abs(composite(document) - before).max() == 0


def test_a_selection_freezes_what_lies_outside_and_weighs():
    from krita import Selection

    document, target, _, group = yield from written("live")
    selection = Selection()
    selection.select(0, 0, 128, 192, 255)
    selection.select(100, 0, 28, 192, 128)
    document.setSelection(selection)
    reading = read(document, group)
    problem = capture_refine(Document(document), Layer(target), reading, Settings()).problem
    assert problem.weight is not None and problem.start is not None
    assert problem.weight.shape == problem.target.shape[:2]
    assert problem.weight[0, 0] == 1 and problem.weight[0, 200] == 0
    assert abs(problem.weight[0, 110] - 128 / 255) < 1e-6
    frozen = problem.start.frozen == int(Freeze.ALL)
    assert frozen.any() and not frozen.all()
    assert not frozen[0] and frozen[-1]


def refusal(call):
    try:
        call()
    except DiffBmpError as problem:
        return str(problem)
    raise AssertionError("no word")


def test_what_cannot_be_refined_gets_a_sentence():
    document, target, _, group = yield from written("painted", VALUES[:3])
    wrapped, layer = Document(document), Layer(target)

    def capture(**options):
        return capture_refine(wrapped, layer, read(document, group), Settings(), **options)

    assert "frozen" in refusal(lambda: capture(freeze=Freeze.ALL))
    for node in group.childNodes():
        node.setLocked(True)
    assert "locked" in refusal(capture)
    capture(added=3)
    for node in group.childNodes():
        node.setLocked(False)
        node.setVisible(False)
    assert "hidden" in refusal(capture)
    target.setVisible(False)
    assert "target" in refusal(capture)
    target.setVisible(True)
    for node in group.childNodes():
        node.remove()
    assert "No instance" in refusal(capture)
