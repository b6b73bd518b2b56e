"""What is picked in the layer docker, and that looking at layers leaves no trace in the window."""

import time

import numpy as np
from known import layers_bytes, take
from krita import Krita
from krita_harness.inside import group_layer, trigger, undo_rows
from krita_harness.steps import Until
from written import scene

from krita_diffbmp.canvas.capture import check_choice
from krita_diffbmp.canvas.document import Document, find_selection
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.problem import Settings


def picked():
    selection = find_selection()
    assert selection is not None and selection.active is not None
    return selection.active.name, sorted(layer.name for layer in selection.selected)


def test_nothing_open():
    assert find_selection() is None
    assert Document.active() is None


def test_the_active_layer_and_those_selected_with_it():
    document, target, group, _ = yield from scene()
    selection = find_selection()
    assert selection is not None and selection.document == Document(document) == Document.active()
    assert picked() == ("photo", ["photo"])
    document.setActiveNode(group)
    yield Until(lambda: picked() == ("leaves", ["leaves"]), 5, "the group to be picked")
    trigger("select_all_layers")
    yield Until(lambda: {"photo", "leaves"} <= set(picked()[1]), 5, "all layers to be selected")
    document.setActiveNode(target)
    yield Until(lambda: picked()[0] == "photo", 5, "the photo to be picked")


def test_a_picked_mask_stands_for_its_layer():
    document, target, group, _ = yield from scene()
    for node in (target, group.childNodes()[0]):
        mask = document.createTransparencyMask("mask")
        node.addChildNode(mask, None)
        document.setActiveNode(mask)
        yield Until(lambda: document.activeNode().name() == "mask", 5, "the mask to be picked")
        assert picked() == (node.name(), [node.name()])
        document.setActiveNode(group)
        yield Until(lambda: document.activeNode().name() == "leaves", 5, "the group to be picked")


def test_a_layer_says_what_the_docker_shows():
    document, target, group, _ = yield from scene()
    photo, leaves = Layer(target), Layer(group)
    assert (photo.name, photo.kind, photo.is_group, photo.parent) == ("photo", "paintlayer", False, None)
    assert leaves.is_group and [layer.name for layer in leaves.children()] == ["leaf 0"]
    assert leaves.children()[0].parent == leaves
    image = photo.thumbnail(64, 64)
    assert 0 < image.width() <= 64 and 0 < image.height() <= 64
    assert Document(document).layer(photo.id) == photo
    target.remove()
    assert Document(document).layer(photo.id) is None


def test_capture_leaves_the_window_as_it_was():
    document, target, group, _ = yield from scene()
    document.setActiveNode(group)
    yield 0.2
    document.setModified(False)
    before = picked(), undo_rows(), document.modified(), layers_bytes(document), Krita.instance().activeDocument()
    for _ in range(3):
        take(document, target, group, Settings())
    yield 0.5
    after = picked(), undo_rows(), document.modified(), layers_bytes(document), Krita.instance().activeDocument()
    assert after == before
    assert len(Krita.instance().documents()) == 1
    assert len(Krita.instance().activeWindow().views()) == 1


def test_looking_is_quick_enough_to_poll():
    document, target, _, _ = yield from scene()
    many = document.createGroupLayer("many")
    many.setCollapsed(True)
    for number in range(1000):
        many.addChildNode(document.createNode(f"{number}", "paintlayer"), None)
    document.rootNode().addChildNode(many, None)
    yield 0.5
    times = []
    for _ in range(5):
        began = time.perf_counter()
        find_selection()
        selected = time.perf_counter()
        check_choice(Document(document), Layer(target), Layer(many))
        times.append((selected - began, time.perf_counter() - selected))
    milliseconds = 1000 * np.array(times).min(axis=0)
    assert milliseconds.sum() < 100
    return f"find_selection {milliseconds[0]:.2f} ms, check_choice with 1000 bitmaps {milliseconds[1]:.2f} ms"


def test_groups_in_groups_know_their_ancestors():
    document, _, group, _ = yield from scene()
    inner = group_layer(document, "inner", group)
    deep = group_layer(document, "deep", inner)
    assert [layer.name for layer in Layer(deep).ancestors()] == ["inner", "leaves"]
    assert Layer(deep).shown
    group.setVisible(False)
    assert Layer(deep).visible and not Layer(deep).shown
