"""Every choice that cannot be rebuilt gets a sentence, and changes nothing."""

from known import choose, layers_bytes, leaves, solid, take
from krita import Krita, Selection
from krita_harness.inside import group_layer, new_document, paint_layer, refresh, write_pixels
from krita_harness.steps import cases

from krita_diffbmp.canvas.capture import MAX_PRIMITIVES, capture, check_choice, live_refusal
from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.looks import MAX_PIXELS
from krita_diffbmp.canvas.space import Space
from krita_diffbmp.problem import DiffBmpError, Settings

WHERE = "kritarunner"
RED = (0, 0, 255, 255)


def sentence(document, target, group, *, seen_without_pixels=True):
    """What the artist is told; whether the quick check sees it too."""
    before = layers_bytes(document.handle) if document else None
    if document:
        document.handle.setModified(False)
    said = None
    try:
        capture(document, target, group, Settings())
    except DiffBmpError as problem:
        said = str(problem)
    assert said is not None, "captured without a word"
    try:
        check_choice(document, target, group)
    except DiffBmpError as problem:
        assert seen_without_pixels and str(problem) == said
    else:
        assert not seen_without_pixels
    if document:
        assert layers_bytes(document.handle) == before
        assert not document.handle.modified()
        assert len(Krita.instance().documents()) == 1
    assert said[0].isupper() or said[0] == "“"
    assert said.endswith(".")
    return said


def scene():
    document = new_document()
    target = paint_layer(document, "photo", solid(50, 60, RED), 10, 10)
    group = leaves(document, RED, (255, 0, 0, 255))
    refresh(document)
    return document, target, group


def test_a_good_choice_passes():
    check_choice(*choose(*scene()))


def test_no_document():
    assert "Open a document" in sentence(None, None, None)


def test_nothing_selected():
    document, target, group = scene()
    assert "target" in sentence(Document(document), None, Layer(group))
    assert "group" in sentence(Document(document), Layer(target), None)
    assert "not a group" in sentence(*choose(document, target, target))


def test_target_and_group_in_each_other():
    document, _, group = scene()
    assert "at once" in sentence(*choose(document, group, group))
    child = group.childNodes()[0]
    assert "lies in the group" in sentence(*choose(document, child, group))
    nested = group_layer(document, "nested", group)
    deep = paint_layer(document, "deep", solid(4, 4, RED), 0, 0, nested)
    assert "lies in the group" in sentence(*choose(document, deep, group))
    assert "lies in the target" in sentence(*choose(document, group, nested))


def test_empty_group():
    document, target, _ = scene()
    assert "is empty" in sentence(*choose(document, target, group_layer(document, "empty")))


def test_hidden_and_transparent_bitmaps():
    document, target, group = scene()
    for child in group.childNodes():
        child.setVisible(False)
    assert "hidden" in sentence(*choose(document, target, group))
    clear = group_layer(document, "clear")
    paint_layer(document, "nothing", solid(5, 5, (9, 9, 9, 0)), 0, 0, clear)
    paint_layer(document, "nothing yet", solid(1, 1, (9, 9, 9, 0)), 0, 0, clear)
    paint_layer(document, "zero", solid(5, 5, RED), 0, 0, clear).setOpacity(0)
    refresh(document)
    said = sentence(*choose(document, target, clear), seen_without_pixels=False)
    assert "“nothing” was left out" in said and "“zero” was left out" in said


def test_bitmaps_without_a_picture():
    document, target, _ = scene()
    group = group_layer(document, "adjustments")
    everywhere = Selection()
    everywhere.select(0, 0, 128, 96, 255)
    adjustment = document.createFilterLayer("adjust", Krita.instance().filter("invert"), everywhere)
    group.addChildNode(adjustment, None)
    assert "no picture of its own" in sentence(*choose(document, target, group))


class Orphaned(Document):
    """A document whose colour profile Krita has no more."""

    @property
    def space(self):
        return Space("RGBA", "U8", "no profile of that name")


def test_a_profile_that_is_not_installed():
    document, target, group = scene()
    orphaned = Orphaned(document)
    assert "sRGB" in live_refusal(orphaned)
    said = sentence(orphaned, Layer(target), Layer(group), seen_without_pixels=False)
    assert "“no profile of that name”" in said and "assign" in said


def test_one_pixel_bitmaps():
    document, target, _ = scene()
    group = group_layer(document, "dots")
    paint_layer(document, "dot", solid(1, 1, RED), 5, 5, group)
    refresh(document)
    assert "single pixel" in sentence(*choose(document, target, group), seen_without_pixels=False)


def test_hidden_target():
    document, target, group = scene()
    target.setVisible(False)
    assert "hidden" in sentence(*choose(document, target, group))
    outer = group_layer(document, "outer")
    inside = paint_layer(document, "inside", solid(5, 5, RED), 0, 0, outer)
    outer.setVisible(False)
    assert "hidden" in sentence(*choose(document, inside, group))


def test_target_without_a_picture():
    document, _, group = scene()
    clear = paint_layer(document, "clear", solid(5, 5, (9, 9, 9, 0)))
    outside = paint_layer(document, "outside", solid(5, 5, RED), 500, 500)
    veiled = paint_layer(document, "veiled", solid(5, 5, RED))
    veiled.addChildNode(document.createTransparencyMask("mask"), None)
    everywhere = Selection()
    everywhere.select(0, 0, 128, 96, 255)
    adjustment = document.createFilterLayer("adjust", Krita.instance().filter("invert"), everywhere)
    document.rootNode().addChildNode(adjustment, None)
    refresh(document)
    for node in (clear, outside, veiled):
        said = sentence(*choose(document, node, group), seen_without_pixels=False)
        assert "shows nothing on the canvas" in said
    assert "no picture of its own" in sentence(*choose(document, adjustment, group))


def test_canvas_of_one_pixel():
    document = new_document(1, 1)
    target = paint_layer(document, "photo", solid(1, 1, RED))
    group = leaves(document, RED)
    assert "1 x 1" in sentence(*choose(document, target, group))


@cases("LABA", "XYZA", "YCbCrA")
def test_colour_models_that_are_not_read(model):
    document = new_document(64, 48, model, "U8" if model != "XYZA" else "U16")
    target = document.createNode("photo", "paintlayer")
    group = document.createGroupLayer("leaves")
    for node in (target, group):
        document.rootNode().addChildNode(node, None)
    said = None
    try:
        take(document, target, group, Settings())
    except DiffBmpError as problem:
        said = str(problem)
    assert said is not None and f"colour model {model}" in said and "Convert Image Color Space" in said


def test_a_layer_in_a_model_that_is_not_read():
    document, _, group = scene()
    layer = document.createNode("lab", "paintlayer")
    layer.setColorSpace("LABA", "U16", "Lab identity built-in")
    document.rootNode().addChildNode(layer, None)
    write_pixels(layer, solid(5, 5, (3000, 3000, 3000, 65535), "U16"))
    refresh(document)
    assert layer.colorModel() == "LABA"
    said = None
    try:
        take(document, layer, group, Settings())
    except DiffBmpError as problem:
        said = str(problem)
    assert said is not None and "“lab” uses the colour model LABA" in said


def test_too_many_bitmaps():
    document, target, _ = scene()
    group = document.createGroupLayer("many")
    for number in range(MAX_PRIMITIVES + 1):
        group.addChildNode(document.createNode(f"{number}", "paintlayer"), None)
    document.rootNode().addChildNode(group, None)
    assert f"more than the {MAX_PRIMITIVES}" in sentence(*choose(document, target, group))


def test_bitmaps_that_do_not_fit_in_memory():
    document = new_document(12000, 6000)
    target = paint_layer(document, "photo", solid(50, 60, RED), 10, 10)
    single = group_layer(document, "single")
    paint_layer(document, "huge", solid(6000, 12000, RED), 0, 0, single)
    refresh(document)
    said = sentence(*choose(document, target, single), seen_without_pixels=False)
    assert "“huge” shows 12000 x 6000 pixels" in said and f"({MAX_PIXELS >> 20} megapixels)" in said
