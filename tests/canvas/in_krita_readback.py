"""Reading a group of instances back: what the artist did with Krita's own means, and nothing that was not done."""

import math
from pathlib import Path

import numpy as np
from krita import Krita
from krita_harness.inside import composite, paint_layer, refresh, trigger
from krita_harness.steps import Until, cases, limit
from pieces import HEIGHT, WIDTH, matrix
from readings import VALUES, close, errors, read, transformed, written
from written import group_of, hair, refine

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.readback import holds_instances, read_back
from krita_diffbmp.canvas.reading import Change, Kind
from krita_diffbmp.problem import Freeze


@cases("live", "painted")
def test_nothing_changed_is_read_as_it_was_written(form):
    document, _, leaves, group = yield from written(form)
    assert holds_instances(Document(document), Layer(group))
    assert not holds_instances(Document(document), Layer(leaves))
    reading = read(document, group)
    assert str(reading.changes) == "12 instances, nothing changed" and not reading.changes.any
    assert [part.layer.id for part in reading.parts] == [Layer(node).id for node in group.childNodes()]
    assert [part.kind for part in reading.parts] == [Kind.INSTANCE] * 12
    assert {part.live for part in reading.parts} == {form == "live"}
    assert [np.float32(part.opacity) for part in reading.parts] == [np.float32(v[4]) for v in VALUES]
    assert [source.name for source in reading.primitives] == ["leaf 0"]
    worst = errors(reading.parts)
    assert (worst < 1e-5).all(), worst
    assert reading.notes == ()


@cases("live", "painted")
def test_nothing_changed_after_save_and_reopen(form):
    document, _, _, group = yield from written(form)
    path = Path(f"{form}.kra").absolute()
    assert document.saveAs(str(path))
    reopened = Krita.instance().openDocument(str(path))
    yield 0.3
    again = Document(reopened).layer(Layer(group).id)
    assert again is not None
    reading = read_back(Document(reopened), again)
    assert str(reading.changes) == "12 instances, nothing changed", (str(reading.changes), reading.notes)
    assert (errors(reading.parts) < 1e-5).all()


CHANGES = {
    "half": (lambda d: d.scaleImage(128, 96, 72, 72, "Bicubic"), (0.5, 0, 0, 0)),
    "twice": (lambda d: d.scaleImage(512, 384, 72, 72, "Bicubic"), (2, 0, 0, 0)),
    "crop": (lambda d: d.crop(30, 20, 150, 120), (1, 0, -30, -20)),
    "quarter": (lambda d: d.rotateImage(math.pi / 2), (1, math.pi / 2, 192, 0)),
    "half turn": (lambda d: d.rotateImage(math.pi), (1, math.pi, 256, 192)),
    "canvas": (lambda d: d.resizeImage(-10, -20, 300, 250), (1, 0, 10, 20)),
}


@cases(
    "live half", "live twice", "live crop", "live quarter", "live half turn", "live canvas",
    "painted half", "painted twice", "painted crop", "painted quarter", "painted half turn", "painted canvas",
)  # fmt: skip
def test_poses_follow_what_is_done_to_the_whole_image(what):
    form, _, change = what.partition(" ")
    document, _, _, group = yield from written(form)
    act, similarity = CHANGES[change]
    act(document)
    document.waitForDone()
    yield 0.3
    reading = read(document, group)
    assert str(reading.changes) == "12 instances, nothing changed", (str(reading.changes), reading.notes)
    worst = errors(reading.parts, change=similarity)
    assert close(worst), worst
    return [float(value) for value in worst]


@cases("live", "painted")
@limit(90)
def test_what_the_image_is_cropped_to_has_not_changed(form):
    """The bitmap is cut as well: the instances keep the pixels that they have."""
    document, target, _, group = yield from written(form)
    document.crop(10, 65, 140, 100)
    document.waitForDone()
    yield 0.3
    refresh(document)
    before = composite(document).astype(int)
    reading = read(document, group)
    assert str(reading.changes) == "12 instances, nothing changed", (str(reading.changes), reading.notes)
    worst = errors(reading.parts, change=(1, 0, -10, -65))
    assert close(worst), worst
    done = yield from refine(document, target, group, hair)
    assert any("cut off" in note for note in done.captured.notes), done.captured.notes
    assert np.abs(composite(document) - before).max() <= 40  # resampled
    assert np.abs(composite(document) - before).mean() < 0.5
    assert str(read(document, group_of(document, done)).changes) == "12 instances, nothing changed"


def test_another_resolution_changes_nothing():
    document, _, _, group = yield from written("live")
    document.setXRes(300)
    document.setYRes(150)
    document.waitForDone()
    reading = read(document, group)
    assert str(reading.changes) == "12 instances, nothing changed"
    assert (errors(reading.parts) < 1e-5).all()


def test_live_poses_go_through_what_the_matrix_goes_through():
    document, _, _, group = yield from written("live")
    nodes = group.childNodes()
    turned = (math.cos(0.3) * 1.2, math.sin(0.3) * 1.2, -math.sin(0.3) * 1.2, math.cos(0.3) * 1.2, 5.5, -7.25)
    changes = {1: (1, 0, 0, 1, 12.5, -3.25), 3: turned, 5: (1.5, 0, 0, 0.8, -20, 9), 7: (1, 0, 0.4, 1, -10, 0),
               9: (-1, 0, 0, 1, 256, 0)}  # fmt: skip
    for index, m in changes.items():
        transformed(nodes[index], m)
    yield 0.3
    reading = read(document, group)
    assert str(reading.changes) == "12 instances: 5 moved"
    for index, part in enumerate(reading.parts):
        a, b, c, d, e, f = changes.get(index, (1, 0, 0, 1, 0, 0))
        assert (Change.MOVED in part.changed) is (index in changes)
        x, y, rotation, scale, _ = VALUES[index]
        m = matrix(WIDTH, HEIGHT, x, y, rotation, scale)
        wanted = np.array([[a, c], [b, d]]) @ np.array([[m[0], m[2]], [m[1], m[3]]])
        cosine, sine = math.cos(part.rotation), math.sin(part.rotation)
        stretch = np.reshape(part.stretch or (1, 0, 0, 1), (2, 2))
        assert abs(abs(np.linalg.det(stretch)) - 1) < 1e-9
        found = part.scale * np.array([[cosine, -sine], [sine, cosine]]) @ stretch
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        np.testing.assert_allclose(part.position, (a * x + c * y + e, b * x + d * y + f), atol=1e-5)
        assert (part.stretch is None) is (index not in (5, 7, 9))


def test_painted_layers_that_were_moved_keep_their_instance():
    document, _, _, group = yield from written("painted")
    nodes = group.childNodes()
    nodes[2].move(nodes[2].position().x() + 7, nodes[2].position().y() - 4)
    refresh(document)
    reading = read(document, group)
    assert str(reading.changes) == "12 instances: 1 moved"
    part = reading.parts[2]
    np.testing.assert_allclose(part.position, (VALUES[2][0] + 7, VALUES[2][1] - 4), atol=1e-5)
    assert math.isclose(part.rotation, VALUES[2][2], abs_tol=1e-6)


@cases("live", "painted")
def test_eyes_locks_labels_opacity_and_order(form):
    document, _, _, group = yield from written(form)
    nodes = group.childNodes()
    nodes[0].setVisible(False)
    nodes[1].setLocked(True)
    nodes[2].setColorLabel(3)
    nodes[3].setOpacity(100)
    top = nodes[4]
    group.removeChildNode(top)
    group.addChildNode(top, None)
    refresh(document)
    reading = read(document, group)
    expected = "12 instances: 1 with another opacity, 1 restacked, 1 hidden, 1 locked"
    assert str(reading.changes) == expected
    assert [part.visible for part in reading.parts] == [False] + [True] * 11
    assert [part.frozen for part in reading.parts[:3]] == [Freeze(0), Freeze.ALL, Freeze(0)]
    assert reading.parts[-1].layer.id == Layer(top).id and Change.RESTACKED in reading.parts[-1].changed
    assert abs(reading.parts[3].opacity - 100 / 255) < 3e-3
    labelled = read(document, group, lock_label=3)
    assert [part.frozen for part in labelled.parts[:3]] == [Freeze(0), Freeze.ALL, Freeze.ALL]


@cases("live", "painted")
@limit(90)
def test_deleted_duplicated_and_foreign_layers(form):
    document, _, leaves, group = yield from written(form)
    nodes = group.childNodes()
    nodes[0].remove()
    nodes[1].remove()
    document.setActiveNode(nodes[5])
    yield 0.3
    trigger("duplicatelayer")
    yield Until(lambda: len(group.childNodes()) == 11, 10, "the copy")
    stroke = paint_layer(document, "stroke", np.full((9, 30, 4), 255, np.uint8), 40, 40, group)
    nodes[6].remove()
    leaves.addChildNode(nodes[6], None)
    refresh(document)
    yield 0.3
    reading = read(document, group)
    assert str(reading.changes) == "10 instances: 1 new, 2 deleted, 1 other layer fixed", str(reading.changes)
    assert any("outside" in note for note in reading.notes)
    [new] = [part for part in reading.parts if Change.NEW in part.changed and part.kind is Kind.INSTANCE]
    assert new.kind is Kind.INSTANCE and new.position == reading.parts[3].position
    fixed = reading.parts[-1]
    assert (fixed.kind, fixed.frozen, fixed.layer.id) == (Kind.FIXED, Freeze.ALL, Layer(stroke).id)


@limit(90)
def test_a_moved_copy_of_a_live_layer_is_an_instance_too():
    document, _, _, group = yield from written("live")
    document.setActiveNode(group.childNodes()[5])
    yield 0.3
    trigger("duplicatelayer")
    yield Until(lambda: len(group.childNodes()) == 13, 10, "the copy")
    yield 0.3
    transformed(document.activeNode(), (1, 0, 0, 1, 30, 0))
    yield 0.3
    reading = read(document, group)
    assert str(reading.changes) == "13 instances: 1 moved, 1 new", str(reading.changes)
    [new] = [part for part in reading.parts if Change.NEW in part.changed]
    np.testing.assert_allclose(new.position, (VALUES[5][0] + 30, VALUES[5][1]), atol=1e-5)


def test_repainted_and_recoloured_layers():
    document, _, _, group = yield from written("painted")
    nodes = group.childNodes()
    bounds = nodes[3].bounds()
    part = np.full((3, 3, 4), 200, np.uint8)
    nodes[3].setPixelData(part.tobytes(), bounds.x() + 8, bounds.y() + 8, 3, 3)
    yield 0.1
    refresh(document)
    recoloured = nodes[5]
    box = recoloured.bounds()
    place = (box.x(), box.y(), box.width(), box.height())
    pixels = np.frombuffer(bytes(recoloured.pixelData(*place)), np.uint8).reshape(box.height(), box.width(), 4).copy()
    pixels[..., :3] = (10, 200, 100)
    recoloured.setPixelData(pixels.tobytes(), *place)
    refresh(document)
    reading = read(document, group)
    assert str(reading.changes) == "12 instances: 1 repainted, 1 recoloured"
    assert reading.parts[3].kind is Kind.OWN and reading.parts[3].frozen == Freeze(0)
    part = reading.parts[5]
    assert part.kind is Kind.INSTANCE and part.changed == Change.RECOLORED
    np.testing.assert_allclose(part.color, (100 / 255, 200 / 255, 10 / 255), atol=1e-6)
    assert close(errors(reading.parts[5:6], VALUES[5:6]))


def test_a_live_layer_converted_to_paint_is_the_same_instance_until_it_is_painted_on():
    document, _, _, group = yield from written("live")
    for index in (4, 7):
        document.setActiveNode(group.childNodes()[index])
        yield 0.3
        trigger("convert_to_paint_layer")
        yield Until(lambda index=index: group.childNodes()[index].type() == "paintlayer", 10, "the conversion")
        yield 0.3
    node = group.childNodes()[7]
    bounds = node.bounds()
    node.setPixelData(np.full((4, 4, 4), 255, np.uint8).tobytes(), bounds.x() + 9, bounds.y() + 9, 4, 4)
    refresh(document)
    reading = read(document, group)
    assert str(reading.changes) == "12 instances: 1 repainted", str(reading.changes)
    assert (reading.parts[4].kind, reading.parts[4].live) == (Kind.INSTANCE, False)
    assert (reading.parts[7].kind, reading.parts[7].live) == (Kind.OWN, False)
