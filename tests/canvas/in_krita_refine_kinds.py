"""Layers of every kind in a group of instances: how they are read, and what a refined version makes of them."""

from pathlib import Path

import numpy as np
from krita import InfoObject, Krita, Selection
from krita_harness.inside import composite, paint_layer, refresh
from krita_harness.steps import cases, limit
from pieces import blob, painted
from readings import VALUES, read, written
from written import group_of, hair, refine, scene, shown, write

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.readback import holds_instances
from krita_diffbmp.canvas.reading import Kind
from krita_diffbmp.canvas.refine import check_refine
from krita_diffbmp.problem import DiffBmpError, PaintedPiece
from krita_diffbmp.qt import QImage

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="256px" height="192px" viewBox="0 0 256 192">{}</svg>'
STYLE = (
    '<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE asl><asl><node type="Descriptor" name="" classId="null">'
    '<node type="Descriptor" key="Lefx"/></node></asl>'
)
NAMES = ["", "“\n\t\u2603 \U0001f58c <b>&amp;</b>", "a" * 3000, "w " * 400, "{}", "%1 %s {0}", "leaf 0 0003",
         "leaf 0 0003", "0001", "\u202eabc", "v2 v3 v4", "x"]  # fmt: skip


def selected(x, y, width, height):
    selection = Selection()
    selection.select(x, y, width, height, 255)
    return selection


def hide_left_half(document, node):
    """By a transparency mask."""
    box = node.bounds()
    mask = document.createTransparencyMask("half")
    node.addChildNode(mask, None)
    mask.setSelection(selected(box.x() + box.width() // 2, 0, 500, 500))
    return box.x() + box.width() // 2


def folded(document, group, start, end):
    """These layers in a group of the artist's own."""
    nodes = group.childNodes()
    folder = document.createGroupLayer("mine")
    group.addChildNode(folder, nodes[start - 1])
    for node in nodes[start:end]:
        group.removeChildNode(node)
        folder.addChildNode(node, None)
    return folder


@cases("live", "painted")
@limit(90)
def test_a_masked_instance_is_taken_as_it_looks(form):
    document, target, _, group = yield from written(form)
    edge = hide_left_half(document, group.childNodes()[3])
    refresh(document)
    yield 0.3
    before = composite(document)
    reading = read(document, group)
    assert str(reading.changes) == "12 instances: 1 repainted", str(reading.changes)
    assert reading.parts[3].kind is Kind.OWN
    done = yield from refine(document, target, group)
    second = group_of(document, done)
    np.testing.assert_array_equal(composite(document), before)
    assert str(read(document, second).changes) == "12 instances, nothing changed"
    done = yield from refine(document, target, second, hair)
    third = group_of(document, done)
    alpha = shown(third.childNodes()[3], document)[..., -1]
    assert alpha.any() and not alpha[:, : edge - 2].any()
    assert str(read(document, third).changes) == "12 instances, nothing changed"


@cases("live", "painted")
def test_what_lies_in_a_locked_group_is_locked(form):
    document, target, _, group = yield from written(form)
    folder = folded(document, group, 4, 7)
    refresh(document)
    folder.setColorLabel(3)
    assert read(document, group).changes.locked == 0
    assert read(document, group, lock_label=3).changes.locked == 3
    folder.setLocked(True)
    reading = read(document, group)
    assert str(reading.changes) == "12 instances: 3 locked", str(reading.changes)
    done = yield from refine(document, target, group)
    assert done.captured.problem.start.frozen.tolist() == [0] * 4 + [31] * 3 + [0] * 5
    assert group_of(document, done).childNodes()[4].locked()
    group.setLocked(True)
    try:
        yield from refine(document, target, group)
        raise AssertionError("refined without a word")
    except DiffBmpError as problem:
        assert "locked" in str(problem)


def test_painted_instances_that_show_nothing_have_not_changed():
    document, _, _, place = yield from scene()
    empty = PaintedPiece(400, 400, np.zeros((0, 0, 4), np.float32), 0.5)
    pieces = [painted(blob(3), *VALUES[0]), empty, painted(blob(3), *VALUES[2])]
    done = yield from write(place, pieces, VALUES[:3])
    group = group_of(document, done)
    assert str(read(document, group).changes) == "3 instances, nothing changed"
    group.childNodes()[1].setPixelData(np.full((5, 5, 4), 255, np.uint8).tobytes(), 40, 40, 5, 5)
    refresh(document)
    assert str(read(document, group).changes) == "3 instances: 1 repainted"


@cases("live one by one", "painted one by one", "live in a group", "painted in a group")
@limit(90)
def test_hidden_instances_stay_hidden_and_as_they_are(what):
    form, _, how = what.partition(" ")
    document, target, _, group = yield from written(form)
    hidden = group.childNodes()[4:8]
    if how == "in a group":
        folded(document, group, 4, 8).setVisible(False)
    else:
        for node in hidden:
            node.setVisible(False)
    hidden[1].setLocked(True)
    hidden[2].setOpacity(99)
    hidden[3].setColorLabel(4)
    before = [shown(node, document) for node in hidden]
    refresh(document)
    for _ in range(2):
        reading = read(document, group)
        assert (reading.changes.hidden, reading.changes.locked, reading.changes.total) == (4, 1, 12)
        done = yield from refine(document, target, group, hair)
        assert len(done.captured.problem.start.frozen) == 8
        group = group_of(document, done)
        nodes = group.childNodes()
        if how == "in a group":
            assert [node.visible() for node in nodes] == [True] * 4 + [False] + [True] * 4
            hidden = nodes[4].childNodes()
        else:
            assert [node.visible() for node in nodes] == [True] * 4 + [False] * 4 + [True] * 4
            hidden = nodes[4:8]
        for node, was in zip(hidden, before, strict=True):
            np.testing.assert_array_equal(shown(node, document), was)
        assert hidden[1].locked() and hidden[2].opacity() == 99 and hidden[3].colorLabel() == 4


def put_in(document, group, kind):
    """A layer of some kind in the middle of the group."""
    nodes = group.childNodes()
    if kind == "clone":
        node = document.createCloneLayer("twin", nodes[2])
    elif kind == "file":
        path = str(Path("file.png").absolute())
        image = QImage(30, 20, QImage.Format.Format_ARGB32)
        image.fill(0xFF336699)
        assert image.save(path)
        node = document.createFileLayer("photo", path, "None")
    elif kind in ("drawing", "text"):
        node = document.createVectorLayer(f"{kind} 0001")
    elif kind in ("group", "group that passes through"):
        node = document.createGroupLayer("strokes")
        node.setPassThroughMode(kind != "group")
    elif kind == "filter":
        node = document.createFilterLayer("invert", Krita.instance().filter("invert"), selected(0, 0, 256, 192))
    else:
        node = document.createFillLayer("fill", "color", InfoObject(), selected(20, 20, 60, 60))
    group.addChildNode(node, nodes[6])
    if kind == "drawing":
        node.addShapesFromSvg(SVG.format('<rect x="20" y="20" width="60" height="30" fill="red"/>'))
    elif kind == "text":
        node.addShapesFromSvg(SVG.format('<text x="20" y="80" font-size="30">Hello</text>'))
    elif kind.startswith("group"):
        paint_layer(document, "stroke", np.full((9, 30, 4), 255, np.uint8), 40, 40, node)
    return node


@cases("clone", "file", "drawing", "text", "group", "group that passes through", "filter", "fill")
@limit(90)
def test_layers_that_are_no_instances_stay_as_they_are(kind):
    document, target, _, group = yield from written("live")
    node = put_in(document, group, kind)
    yield 0.5
    refresh(document)
    yield 0.3
    was, notes = shown(node, document), ""
    for _ in range(2):
        reading = read(document, group)
        assert str(reading.changes) == "12 instances: 1 other layer fixed", str(reading.changes)
        done = yield from refine(document, target, group, hair)
        group = group_of(document, done)
        copy = group.childNodes()[7]
        assert (copy.type(), copy.name()) == (node.type(), node.name())
        yield 0.3
        if kind != "filter":
            np.testing.assert_array_equal(shown(copy, document), was)
        notes = " ".join(done.captured.notes)
    assert ("has no picture of its own" in notes) is (kind == "filter"), notes


@cases("animated", "style", "names")
@limit(90)
def test_odd_instances_are_still_instances(what):
    document, target, _, group = yield from written("painted")
    nodes = group.childNodes()
    if what == "animated":
        nodes[6].enableAnimation()
    elif what == "style":
        nodes[6].setLayerStyleFromAsl(STYLE)
    else:
        for node, name in zip(nodes, NAMES, strict=True):
            node.setName(name)
        group.setName(NAMES[1])
    refresh(document)
    yield 0.3
    reading = read(document, group)
    assert str(reading.changes) == "12 instances, nothing changed"
    assert len(reading.notes) == (what == "style"), reading.notes
    done = yield from refine(document, target, group, hair)
    result = group_of(document, done)
    assert str(read(document, result).changes) == "12 instances, nothing changed"
    assert [node.name() for node in result.childNodes()] == [node.name() for node in nodes]


@cases("mask", "blending mode")
@limit(90)
def test_what_of_the_group_is_not_kept_is_said(what):
    document, target, _, group = yield from written("painted")
    if what == "mask":
        mask = document.createTransparencyMask("half")
        group.addChildNode(mask, None)
        mask.setSelection(selected(0, 0, 128, 192))
    else:
        group.setBlendingMode("multiply")
    refresh(document)
    done = yield from refine(document, target, group)
    assert any("not kept in the new version" in note for note in done.captured.notes), done.captured.notes
    assert str(read(document, group_of(document, done)).changes) == "12 instances, nothing changed"


@limit(150)
def test_more_than_a_thousand():
    rng = np.random.default_rng(4)
    low, high = (0, 0, -3, 0.5, 0.1), (256, 192, 3, 1.6, 1)
    values = [tuple(map(float, value)) for value in rng.uniform(low, high, (1200, 5))]
    document, target, _, group = yield from written("painted", values)
    assert holds_instances(Document(document), Layer(group))
    check_refine(Document(document), Layer(target), Layer(group))
    assert read(document, group).changes.total == 1200
    done = yield from refine(document, target, group, hair)
    result = group_of(document, done)
    assert len(result.childNodes()) == 24
    assert str(read(document, result).changes) == "1200 instances, nothing changed"
