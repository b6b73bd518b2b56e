"""Refinements of documents that were converted, damaged, copied or changed meanwhile: a sentence, and nothing lost."""

import json

import numpy as np
from krita_harness.inside import composite, new_document, paint_layer, refresh
from krita_harness.steps import Until, cases, limit
from readings import VALUES, close, errors, read, transformed, written
from written import everything, group_of, hair, refine

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.readback import holds_instances, read_back
from krita_diffbmp.canvas.reading import Kind
from krita_diffbmp.canvas.records import DAMAGED_KEY, KEY, SCHEMA
from krita_diffbmp.canvas.refine import capture_refine
from krita_diffbmp.problem import DiffBmpError, Settings


@cases("live", "painted")
@limit(180)
def test_write_read_write_shows_the_same(form):
    rng = np.random.default_rng(4)
    values = [
        (*rng.uniform((0, 0), (512, 384)), rng.uniform(-3, 3), rng.uniform(0.5, 1.6), rng.uniform(0.1, 1))
        for _ in range(300)
    ]
    document, target, _, group = yield from written(form, values, width=512, height=384)
    worst = []
    for round_ in range(2):
        # By hand, pieces are made of the primitive; so are those of the second and the third version.
        document.waitForDone()
        before = composite(document).astype(int)
        done = yield from refine(document, target, group, hair)
        group = group_of(document, done)
        document.waitForDone()
        reading = read(document, group)
        assert str(reading.changes) == "300 instances, nothing changed"
        assert close(errors(reading.parts, values))
        if round_:
            worst.append(int(np.abs(composite(document) - before).max()))
    assert max(worst) <= 1, worst
    return worst


@cases("painted U16", "painted gray", "live U16", "live gray", "live linear")
@limit(90)
def test_a_document_that_was_converted(what):
    form, _, change = what.partition(" ")
    document, target, _, group = yield from written(form)
    spaces = {"U16": ("RGBA", "U16", "sRGB-elle-V2-srgbtrc.icc"), "gray": ("GRAYA", "U8", ""),
              "linear": ("RGBA", "F32", "sRGB-elle-V2-g10.icc")}  # fmt: skip
    model, depth, profile = spaces[change]
    assert document.setColorSpace(model, depth, profile or "Gray-D50-elle-V2-srgbtrc.icc")
    document.waitForDone()
    yield 0.3
    refresh(document)
    reading = read(document, group)
    assert str(reading.changes) == "12 instances, nothing changed", str(reading.changes)
    assert any("converted" in note for note in reading.notes) is (change != "U16")
    assert close(errors(reading.parts))
    done = yield from refine(document, target, group, hair)
    captured = done.captured
    start = captured.problem.start.placements
    assert start.color.shape == (12, 1 if change == "gray" else 3)
    assert len(captured.problem.bitmaps) == 1
    spread = np.abs(start.color - start.color[0]).max()
    assert spread < 0.02, spread  # all had one tint
    result = group_of(document, done)
    assert {node.type() for node in result.childNodes()} == {"paintlayer"}
    assert str(read(document, result).changes) == "12 instances, nothing changed"


@cases("live", "painted")
@limit(90)
def test_damaged_records_are_set_aside_and_the_layers_read(form):
    document, target, _, group = yield from written(form)
    wrapped = Document(document)
    wrapped.set_annotation(KEY, "x", b"{damaged")
    assert holds_instances(wrapped, Layer(group))
    reading = read(document, group)
    assert any("cannot be read" in note for note in reading.notes), reading.notes
    assert [part.kind for part in reading.parts] == [Kind.OWN] * 12
    before = composite(document)
    done = yield from refine(document, target, group)
    assert wrapped.annotation(DAMAGED_KEY) == b"{damaged"
    np.testing.assert_array_equal(composite(document), before)
    result = group_of(document, done)
    again = read(document, result)
    assert str(again.changes) == "12 instances, nothing changed"
    assert {part.kind for part in again.parts} == {Kind.INSTANCE}


def test_one_damaged_entry_does_not_hide_the_others():
    document, _, _, group = yield from written("live")
    wrapped = Document(document)
    content = json.loads(wrapped.annotation(KEY))
    content["groups"]["00000000-0000-0000-0000-000000000000"] = {"form": 3}
    wrapped.set_annotation(KEY, "x", json.dumps(content).encode())
    assert str(read(document, group).changes) == "12 instances, nothing changed"


def test_records_of_a_newer_version_are_left_alone():
    document, target, _, group = yield from written("live")
    wrapped = Document(document)
    content = json.loads(wrapped.annotation(KEY))
    newer = json.dumps({**content, "schema": SCHEMA + 1}).encode()
    wrapped.set_annotation(KEY, "x", newer)
    reading = read(document, group)
    assert any("newer version" in note for note in reading.notes)
    assert reading.changes.total == 12
    try:
        capture_refine(wrapped, Layer(target), reading, Settings())
        raise AssertionError("captured without a word")
    except DiffBmpError as problem:
        assert "newer version" in str(problem)
    assert wrapped.annotation(KEY) == newer


@cases("live", "painted")
def test_records_of_the_first_kind_are_read(form):
    """What a version before this one has written."""
    document, _, _, group = yield from written(form)
    wrapped = Document(document)
    content = json.loads(wrapped.annotation(KEY))
    kept = ("position", "rotation", "scale", "opacity", "color", "bitmap")
    [entry] = content["groups"].values()
    entry = {name: entry[name] for name in ("form", "target", "primitive_group", "primitives", "region", "settings",
                                            "instances")}  # fmt: skip
    for source in (entry["target"], entry["primitive_group"], *entry["primitives"]):
        for name in set(source) - {"id", "name"}:
            del source[name]
    entry["instances"] = {layer: {name: values[name] for name in kept} for layer, values in content_of(content).items()}
    wrapped.set_annotation(KEY, "x", json.dumps({"schema": 1, "groups": {Layer(group).id: entry}}).encode())
    reading = read(document, group)
    if form == "live":
        assert str(reading.changes) == "12 instances, nothing changed", str(reading.changes)
        assert any("earlier version" in note for note in reading.notes)
        assert close(errors(reading.parts))
    else:
        assert reading.changes.total == 12


def content_of(content):
    [entry] = content["groups"].values()
    return entry["instances"]


@cases("live", "painted")
@limit(90)
def test_a_copy_in_another_document_says_what_it_cannot_match(form):
    _, _, _, group = yield from written(form)
    other = new_document(256, 192)
    copy = group.clone()
    other.rootNode().addChildNode(copy, None)
    target = other.createNode("photo", "paintlayer")
    other.rootNode().addChildNode(target, None)
    target.setPixelData(np.full((192, 256, 4), 120, np.uint8).tobytes(), 0, 0, 256, 192)
    refresh(other)
    yield 0.5
    refresh(other)
    [found] = [n for n in everything(other) if n.name() == group.name()]
    assert holds_instances(Document(other), Layer(found))
    reading = read_back(Document(other), Layer(found))
    assert reading.changes.total == 12 and {part.kind for part in reading.parts} == {Kind.OWN}
    assert any("could not be matched" in note for note in reading.notes), reading.notes
    before = composite(other).astype(int)
    done = yield from refine(other, target, found, hair)
    yield 0.2
    assert np.abs(composite(other) - before).max() <= 2
    assert len(done.captured.problem.bitmaps) == 12 and done.captured.problem.start.primitives == 0


@limit(90)
def test_a_duplicated_result_is_matched_with_the_first():
    document, _, _, group = yield from written("live")
    copy = group.clone()
    document.rootNode().addChildNode(copy, None)
    copy.setName(f"Copy of {group.name()}")
    refresh(document)
    reading = read(document, copy)
    assert {part.kind for part in reading.parts} == {Kind.INSTANCE}
    assert close(errors(reading.parts))


@cases("group", "layer", "undo")
@limit(90)
def test_what_disappears_while_the_version_is_written(what):
    document, target, _, group = yield from written("painted")
    before = [node.name() for node in document.topLevelNodes()]

    def vanish(start):
        if what == "layer":
            group.childNodes()[4].remove()
        else:
            group.remove()
        return start, np.arange(12, dtype=np.int32)

    done = yield from refine(document, target, group, vanish)
    kind, text = done.outcome
    if what == "layer":
        assert kind == "done"
        result = group_of(document, done)
        assert len(result.childNodes()) == 11
        assert str(read(document, result).changes) == "11 instances, nothing changed"
    else:
        assert kind == "failed" and "deleted" in text and "nothing was changed" in text
        assert [node.name() for node in document.topLevelNodes()] == [n for n in before if n != group.name()]


@limit(120)
def test_a_layer_that_is_moved_while_the_version_is_written_is_found_moved_later():
    document, target, _, group = yield from written("live")

    def move(start):
        transformed(group.childNodes()[4], (1, 0, 0, 1, 9, 0))
        return start, np.arange(12, dtype=np.int32)

    done = yield from refine(document, target, group, move)
    yield 0.3
    reading = read(document, group_of(document, done))
    assert str(reading.changes) == "12 instances: 1 moved"
    np.testing.assert_allclose(reading.parts[4].position, (VALUES[4][0] + 9, VALUES[4][1]), atol=1e-5)


MEANWHILE = {
    "nothing": (lambda d, g: None, 0),
    "moved": (lambda d, g: transformed(g.childNodes()[4], (1, 0, 0, 1, 9, 0)), 1),
    "several": (lambda d, g: several(d, g), 5),
    "order": (lambda d, g: to_the_front(g, g.childNodes()[2]), 1),
}


def several(document, group):
    nodes = group.childNodes()
    nodes[0].setVisible(False)
    nodes[1].setOpacity(99)
    nodes[2].remove()
    nodes[3].setLocked(True)
    paint_layer(document, "stroke", np.full((9, 30, 4), 255, np.uint8), 40, 40, group)
    nodes[5].setName("another")
    nodes[6].setColorLabel(2)


def to_the_front(group, node):
    group.removeChildNode(node)
    group.addChildNode(node, None)


@cases("live nothing", "painted nothing", "live moved", "live several", "painted several", "live order")
@limit(120)
def test_what_is_done_by_hand_while_it_runs_is_counted(what):
    form, _, edits = what.partition(" ")
    act, count = MEANWHILE[edits]
    document, target, _, group = yield from written(form)

    def change(start):
        act(document, group)
        return hair(start)

    done = yield from refine(document, target, group, change)
    assert done.writeback.changed_meanwhile == count, done.writeback.changed_meanwhile
    assert len(group_of(document, done).childNodes()) == 12


@limit(120)
def test_a_stroke_on_an_instance_while_it_runs_is_counted_once_it_is_not_copied():
    document, target, _, group = yield from written("painted")

    def paint():
        node = group.childNodes()[4]
        bounds = node.bounds()
        node.setPixelData(np.full((4, 4, 4), 255, np.uint8).tobytes(), bounds.x() + 9, bounds.y() + 9, 4, 4)

    def change(start):
        paint()
        return hair(start)

    def copy(start):
        paint()
        return start, np.arange(12, dtype=np.int32)

    done = yield from refine(document, target, group, change)
    assert done.writeback.changed_meanwhile == 1
    group.setVisible(True)
    group_of(document, done).remove()
    group.childNodes()[4].setPixelData(np.zeros((4, 4, 4), np.uint8).tobytes(), 140, 110, 4, 4)
    done = yield from refine(document, target, group, copy)
    assert done.writeback.changed_meanwhile == 0


def but_the_first(start):
    """As `hair`, and what is locked stays as it is."""
    changed, source = hair(start)
    changed.rotation[0] = start.rotation[0]
    return changed, source


@limit(170)
def test_ten_rounds_of_edits():
    document, target, _, group = yield from written("live")
    rng = np.random.default_rng(1)
    group.childNodes()[0].setLocked(True)
    locked = bytes(group.childNodes()[0].projectionPixelData(0, 0, 256, 192))
    expected = 12
    for round_ in range(10):
        nodes = group.childNodes()
        choice = round_ % 5
        node = nodes[int(rng.integers(1, len(nodes)))]
        if choice == 0:
            node.remove()
            expected -= 1
        elif choice == 1:
            node.setVisible(not node.visible())
        elif choice == 2:
            node.setOpacity(int(rng.integers(50, 255)))
        elif choice == 3:
            twin = node.duplicate()
            group.addChildNode(twin, node)
            expected += 1
        else:
            node.setColorLabel(2)
        refresh(document)
        yield 0.2
        done = yield from refine(document, target, group, but_the_first)
        group = group_of(document, done)
        reading = read(document, group)
        assert reading.changes.total == expected and not reading.changes.any, (round_, str(reading.changes))
        assert bytes(group.childNodes()[0].projectionPixelData(0, 0, 256, 192)) == locked
    assert len([n for n in document.topLevelNodes() if n.visible() and n.type() == "grouplayer"]) == 2
    yield Until(lambda: True)
