"""Capture, against pixels that the check has drawn and against what Krita itself composites."""

import time
from pathlib import Path

import numpy as np
from known import (
    alone,
    layers_bytes,
    leaves,
    on_canvas,
    premultiplied,
    random_raw,
    solid,
    take,
    to_floats,
)
from krita import InfoObject, Krita, Selection
from krita_harness.inside import group_layer, memory, new_document, paint_layer, refresh, write_pixels
from krita_harness.steps import Until, cases, limit

from krita_diffbmp.canvas.capture import live_refusal
from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.records import Source
from krita_diffbmp.problem import DiffBmpError, Settings

WHERE = "kritarunner"

NO_MARGIN = Settings(max_size=0.0)
SRGB = "sRGB-elle-V2-srgbtrc.icc"
TRANSFORM = """<!DOCTYPE transform_params><transform_params><main id="tooltransformparams"/><data mode="0">
<free_transform><transformedCenter type="pointf" x="{x}" y="{y}"/><originalCenter type="pointf" x="{cx}" y="{cy}"/>
<rotationCenterOffset type="pointf" x="0" y="0"/><transformAroundRotationCenter type="value" value="0"/>
<aX type="value" value="0"/><aY type="value" value="0"/><aZ type="value" value="{angle}"/>
<cameraPos type="vector3d" x="0" y="0" z="1024"/><scaleX type="value" value="{scale}"/>
<scaleY type="value" value="{scale}"/><shearX type="value" value="0"/><shearY type="value" value="0"/>
<keepAspectRatio type="value" value="0"/><flattenedPerspectiveTransform type="transform" m11="1" m12="0" m13="0"
 m21="0" m22="1" m23="0" m31="0" m32="0" m33="1"/><filterId type="value" value="Bicubic"/></free_transform></data>
</transform_params>"""
OVERLAY = (
    '<asl><node type="Patterns" key="Patterns"/><node type="Descriptor" name="" classId="null">'
    '<node type="Double" value="1" key="Scl " unit="#Prc"/><node type="Boolean" value="1" key="masterFXSwitch"/>'
    '<node type="Descriptor" name="" classId="SoFi" key="SoFi"><node type="Boolean" value="1" key="enab"/>'
    '<node type="Enum" key="Md  " typeId="BlnM" value="Nrml"/><node type="Double" value="100" key="Opct" unit="#Prc"/>'
    '<node type="Descriptor" name="" classId="RGBC" key="Clr "><node type="Double" value="10" key="Rd  "/>'
    '<node type="Double" value="200" key="Grn "/><node type="Double" value="30" key="Bl  "/></node></node></node></asl>'
)


@cases(
    "RGBA U8", "RGBA U16", "RGBA F16", "RGBA F32", "GRAYA U8", "GRAYA U16", "GRAYA F16", "GRAYA F32",
    "CMYKA U8", "CMYKA U16", "CMYKA F32",
)  # fmt: skip
def test_pixels_of_every_depth_are_read_as_drawn(space):
    model, depth = space.split()
    rng = np.random.default_rng(1)
    document = new_document(96, 80, model, depth)
    photo, leaf = random_raw(rng, 40, 50, model, depth), random_raw(rng, 11, 17, model, depth)
    target = paint_layer(document, "photo", photo, 20, 15)
    group = group_layer(document, "leaves")
    paint_layer(document, "leaf", leaf, 5, 6, group)
    refresh(document)
    taken = take(document, target, group, NO_MARGIN)
    assert taken.notes == ()
    assert (taken.place.x, taken.place.y, taken.place.width, taken.place.height) == (20, 15, 50, 40)
    assert taken.problem.target.dtype == np.float32
    np.testing.assert_allclose(taken.problem.target, to_floats(photo, model, depth), atol=1e-7)
    np.testing.assert_allclose(taken.problem.bitmaps[0].pixels, to_floats(leaf, model, depth), atol=1e-7)


@cases("GRAYA U8", "RGBA U8", "RGBA U16", "RGBA F32", "CMYKA U8", "CMYKA U16", "CMYKA F32")
def test_a_layer_of_another_colour_space_is_converted_as_krita_composites_it(space):
    model, depth = space.split()
    document = new_document(64, 48, model, depth)
    rng = np.random.default_rng(2)
    target = document.createNode("photo", "paintlayer")
    target.setColorSpace("RGBA", "U8", "WideRGB-elle-V2-g22.icc")
    document.rootNode().addChildNode(target, None)
    write_pixels(target, random_raw(rng, 30, 40, "RGBA", "U8"), 10, 8)
    group = group_layer(document, "leaves")
    leaf = document.createNode("white", "paintlayer")
    leaf.setColorSpace("RGBA", "F32", "sRGB-elle-V2-g10.icc")
    group.addChildNode(leaf, None)
    write_pixels(leaf, solid(6, 7, (1, 1, 1, 1), "F32"), 1, 2)
    refresh(document)
    expected = alone(document, target)
    taken = take(document, target, group, NO_MARGIN)
    assert Layer(target).space != Document(document).space
    np.testing.assert_allclose(
        premultiplied(on_canvas(taken.place, taken.problem.target)), premultiplied(expected.clip(0, 1)), atol=1e-6
    )
    white = taken.problem.bitmaps[0].pixels
    ink = 0.0 if model == "CMYKA" else 1.0
    np.testing.assert_allclose(white[..., :-1], ink, atol=0.005)  # white is no ink, and 1 elsewhere
    np.testing.assert_allclose(white[..., -1], 1, atol=1e-6)


def fill(document, parent):
    colour = InfoObject()
    colour.setProperty(
        "color", f'<!DOCTYPE color><color channeldepth="U8"><RGB r="1" g="0.5" b="0" space="{SRGB}"/></color>'
    )
    selection = Selection()
    selection.select(12, 10, 30, 20, 255)
    node = document.createFillLayer("fill", "color", colour, selection)
    parent.addChildNode(node, None)
    return node


def painted(document, parent):
    return paint_layer(document, "paint", random_raw(np.random.default_rng(3), 20, 30, "RGBA", "U8"), 12, 10, parent)


def masked(kind):
    def make(document, parent):
        node = painted(document, parent)
        if kind == "transparency":
            mask = document.createTransparencyMask("mask")
            node.addChildNode(mask, None)
            write_pixels(mask, np.tile(np.arange(0, 240, 12, dtype=np.uint8)[:, None, None], (1, 30, 1)), 12, 10)
        elif kind == "filter":
            everywhere = Selection()
            everywhere.select(0, 0, 64, 48, 255)
            node.addChildNode(document.createFilterMask("mask", Krita.instance().filter("invert"), everywhere), None)
        else:
            mask = document.createTransformMask("mask")
            node.addChildNode(mask, None)
            mask.fromXML(TRANSFORM.format(x=40, y=30, cx=27, cy=20, angle=0.4, scale=0.8))
        return node

    return make


def group(document, parent):
    node = group_layer(document, "group", parent)
    paint_layer(document, "seen", solid(10, 20, (10, 20, 200, 255)), 12, 10, node)
    paint_layer(document, "half", solid(10, 20, (200, 20, 10, 255)), 20, 14, node).setOpacity(100)
    paint_layer(document, "hidden", solid(30, 40, (0, 255, 0, 255)), 2, 2, node).setVisible(False)
    return node


def pass_through(document, parent):
    node = group(document, parent)
    node.childNodes()[1].setBlendingMode("multiply")
    inner = group_layer(document, "inner", node)
    paint_layer(document, "inside", solid(6, 6, (90, 90, 90, 200)), 30, 20, inner)
    inner.setPassThroughMode(True)
    node.setPassThroughMode(True)
    return node


def faint_pass_through(document, parent):
    node = pass_through(document, parent)
    node.setOpacity(150)
    node.childNodes()[-1].setOpacity(200)
    return node


def clone(document, parent):
    source = painted(document, parent)
    node = document.createCloneLayer("clone", source)
    parent.addChildNode(node, None)
    node.move(5, 7)
    source.setVisible(False)
    return node


def vector(document, parent):
    node = document.createVectorLayer("vector")
    parent.addChildNode(node, None)
    node.addShapesFromSvg(
        '<svg xmlns="http://www.w3.org/2000/svg" width="64px" height="48px" viewBox="0 0 64 48">'
        '<rect x="12" y="10" width="30" height="20" fill="#ff8000" fill-opacity="0.5"/></svg>'
    )
    return node


def file(document, parent):
    source = new_document(64, 48, view=False)
    painted(source, source.rootNode())
    refresh(source)
    path = Path("linked.kra").absolute()
    source.saveAs(str(path))
    source.close()
    node = document.createFileLayer("file", str(path), "None")
    parent.addChildNode(node, None)
    return node


def styled(document, parent):
    node = painted(document, parent)
    node.setLayerStyleFromAsl(OVERLAY)
    return node


def faint(document, parent):
    node = painted(document, parent)
    node.setOpacity(77)
    return node


KINDS = {
    "paint": painted,
    "fill": fill,
    "transparency mask": masked("transparency"),
    "filter mask": masked("filter"),
    "transform mask": masked("transform"),
    "group": group,
    "pass-through group": pass_through,
    "faint pass-through group": faint_pass_through,
    "clone": clone,
    "vector": vector,
    "file": file,
    "layer style": styled,
    "opacity": faint,
}


@cases(
    "paint", "fill", "transparency mask", "filter mask", "transform mask", "group", "pass-through group",
    "faint pass-through group", "clone", "vector", "file", "layer style", "opacity",
)  # fmt: skip
def test_every_kind_of_layer_is_what_it_looks_like(kind):
    document = new_document(64, 48)
    target = KINDS[kind](document, document.rootNode())
    primitives = group_layer(document, "leaves")
    primitive = KINDS[kind](document, primitives)
    refresh(document)
    yield 0.5
    if kind == "file":  # Krita reads it in the background
        yield Until(lambda: not (target.bounds().isEmpty() or primitive.bounds().isEmpty()), 20, "the file to be read")
    refresh(document)
    before = layers_bytes(document)
    document.setModified(False)
    taken = take(document, target, primitives, NO_MARGIN)
    assert not document.modified()
    assert layers_bytes(document) == before
    assert len(Krita.instance().documents()) == 1
    expected = alone(document, target)
    shown = premultiplied(on_canvas(taken.place, taken.problem.target))
    assert shown[..., -1].sum() > 50
    np.testing.assert_allclose(shown, premultiplied(expected), atol=0.55 / 255)
    (bitmap,) = taken.problem.bitmaps
    assert bitmap.name == taken.place.primitives[0].name
    alpha = expected[..., -1] > 0
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    np.testing.assert_allclose(premultiplied(bitmap.pixels), premultiplied(expected[box]), atol=0.55 / 255)


def test_children_become_bitmaps_backmost_first_without_the_hidden_and_the_empty():
    document = new_document()
    target = paint_layer(document, "photo", solid(50, 60, (1, 2, 3, 255)), 10, 10)
    primitives = leaves(document, (0, 0, 255, 255), (0, 255, 0, 255), (255, 0, 0, 255))
    primitives.childNodes()[1].setVisible(False)
    nested = group_layer(document, "nested", primitives)
    paint_layer(document, "a", solid(4, 4, (0, 0, 255, 255)), 0, 0, nested)
    paint_layer(document, "b", solid(4, 4, (255, 0, 0, 255)), 8, 2, nested)
    paint_layer(document, "empty", solid(4, 4, (255, 0, 0, 0)), 8, 2, primitives)
    paint_layer(document, "dot", solid(1, 1, (255, 0, 0, 255)), 8, 2, primitives)
    everywhere = Selection()
    everywhere.select(0, 0, 128, 96, 255)
    adjustment = document.createFilterLayer("adjust", Krita.instance().filter("invert"), everywhere)
    primitives.addChildNode(adjustment, None)
    mask = document.createTransparencyMask("group's own mask")
    primitives.addChildNode(mask, None)
    write_pixels(mask, solid(96, 128, (255,)))
    refresh(document)
    taken = take(document, target, primitives, Settings())
    assert [b.name for b in taken.problem.bitmaps] == ["leaf 0", "leaf 2", "nested"]
    shapes = [b.pixels.shape for b in taken.problem.bitmaps]
    assert shapes == [(9, 12, 4), (9, 12, 4), (6, 12, 4)], shapes
    np.testing.assert_array_equal(taken.problem.bitmaps[0].pixels[0, 0], (1, 0, 0, 1))
    np.testing.assert_array_equal(taken.problem.bitmaps[2].pixels[5, 11], (0, 0, 1, 1))
    assert taken.problem.bitmaps[2].pixels[5, 0, 3] == 0
    assert sorted(note.split("“")[1].split("”")[0] for note in taken.notes) == ["adjust", "dot", "empty"]
    children = [Layer(node) for node in primitives.childNodes()]
    named = {layer.name: layer.id for layer in children}
    found = {source.name: source.id for source in taken.place.primitives}
    assert found == {name: named[name] for name in ("leaf 0", "leaf 2", "nested")}
    assert taken.place.target == Source(Layer(target).id, "photo")
    assert taken.place.group == Source(Layer(primitives).id, "leaves")


def test_a_hidden_group_still_serves_as_a_box_of_bitmaps():
    document = new_document()
    target = paint_layer(document, "photo", solid(50, 60, (1, 2, 3, 255)), 10, 10)
    primitives = leaves(document, (0, 0, 255, 255), (0, 255, 0, 255))
    primitives.childNodes()[0].setVisible(False)
    primitives.setVisible(False)
    refresh(document)
    path = Path("hidden.kra").absolute()
    document.saveAs(str(path))
    reopened = Krita.instance().openDocument(str(path))
    for handle in (document, reopened):
        target, primitives = handle.nodeByName("photo"), handle.nodeByName("leaves")
        taken = take(handle, target, primitives, Settings())
        np.testing.assert_array_equal(taken.problem.bitmaps[0].pixels, np.tile((0, 1, 0, 1), (9, 12, 1)))
        assert len(taken.problem.bitmaps) == 1


def test_the_region_is_the_content_with_half_the_largest_instance_around_it():
    document = new_document(300, 200)
    target = paint_layer(document, "photo", solid(60, 100, (1, 2, 3, 255)), 150, 100)
    primitives = leaves(document, (0, 0, 255, 255))
    refresh(document)
    taken = take(document, target, primitives, Settings(max_size=0.3))
    place = taken.place  # 0.3 * 100 px / 2 = 15 px around
    assert (place.x, place.y, place.width, place.height) == (135, 85, 130, 90)
    assert taken.problem.target.shape == (90, 130, 4)
    alpha = taken.problem.target[..., 3]
    assert alpha[15:75, 15:115].all() and alpha.sum() == 60 * 100
    full = paint_layer(document, "full", solid(260, 340, (9, 9, 9, 255)), -20, -30)
    refresh(document)
    place = take(document, full, primitives, Settings()).place
    assert (place.x, place.y, place.width, place.height) == (0, 0, 300, 200)


def test_bitmaps_off_the_canvas_are_whole_and_large_ones_are_told_of():
    document = new_document()
    target = paint_layer(document, "photo", solid(50, 60, (1, 2, 3, 255)), 10, 10)
    primitives = group_layer(document, "leaves")
    paint_layer(document, "outside", solid(30, 40, (0, 0, 255, 255)), -60, 80, primitives)
    paint_layer(document, "large", solid(150, 200, (0, 0, 255, 255)), -20, -20, primitives)
    refresh(document)
    taken = take(document, target, primitives, Settings())
    assert [b.pixels.shape for b in taken.problem.bitmaps] == [(30, 40, 4), (150, 200, 4)]
    assert len(taken.notes) == 1 and "“large” (200 x 150 px) is larger than the canvas" in taken.notes[0]


@cases("F16", "F32")
def test_float_values_outside_0_to_1_are_cut_off_and_told_of(depth):
    document = new_document(64, 48, "RGBA", depth)
    raw = solid(20, 20, (0.25, 0.5, 0.75, 1), depth)
    raw[3, 4] = (1.5, -0.25, 0.5, 1)
    target = paint_layer(document, "photo", raw, 5, 5)
    primitives = leaves(document, (0.5, 2.0, 0.5, 1), depth=depth)
    refresh(document)
    taken = take(document, target, primitives, NO_MARGIN)
    np.testing.assert_array_equal(taken.problem.target[3, 4], (1, 0, 0.5, 1))
    np.testing.assert_array_equal(taken.problem.bitmaps[0].pixels[0, 0], (0.5, 1, 0.5, 1))
    assert len(taken.notes) == 2 and all("cut off" in note for note in taken.notes)


def test_filter_layers_of_a_pass_through_group_are_left_out_and_told_of():
    document = new_document(64, 48)
    target = pass_through(document, document.rootNode())
    everywhere = Selection()
    everywhere.select(0, 0, 64, 48, 255)
    adjustment = document.createFilterLayer("adjust", Krita.instance().filter("invert"), everywhere)
    target.childNodes()[-1].addChildNode(adjustment, None)
    primitives = leaves(document, (0, 0, 255, 255))
    refresh(document)
    (note,) = take(document, target, primitives, NO_MARGIN).notes
    assert note.startswith("The target “group” was read without its filter layers")
    adjustment.setVisible(False)
    assert take(document, target, primitives, NO_MARGIN).notes == ()
    adjustment.setVisible(True)
    target.setPassThroughMode(False)
    refresh(document)
    assert take(document, target, primitives, NO_MARGIN).notes == ()


@cases("U8 srgbtrc", "U8 g10", "U8 WideRGB", "U16 srgbtrc", "GRAYA")
def test_the_live_form_is_refused_where_it_is_not_faithful(space):
    profiles = {"srgbtrc": SRGB, "g10": "sRGB-elle-V2-g10.icc", "WideRGB": "WideRGB-elle-V2-g22.icc"}
    model, depth = ("GRAYA", "U8") if space == "GRAYA" else ("RGBA", space.split()[0])
    profile = "" if space == "GRAYA" else profiles[space.split()[1]]
    document = Document(new_document(64, 48, model, depth, profile))
    assert (live_refusal(document) == "") == (space == "U8 srgbtrc")
    assert live_refusal(Document(new_document(64, 48, "RGBA", "U8", "sRGB built-in"))) == ""


@limit(120)
def test_a_canvas_of_20000_px_takes_little_memory_or_a_sentence():
    document = new_document(20000, 20000)
    spot = paint_layer(document, "spot", solid(300, 400, (1, 2, 3, 255)), 15000, 12000)
    mask = document.createTransparencyMask("mask")
    spot.addChildNode(mask, None)
    write_pixels(mask, solid(200, 300, (255,)), 15000, 12000)
    wide = group_layer(document, "wide")
    for corner in (0, 19990):
        paint_layer(document, "corner", solid(10, 10, (1, 2, 3, 255)), corner, corner, wide)
    primitives = leaves(document, (0, 0, 255, 255))
    refresh(document)
    before, began = memory(), time.monotonic()
    taken = take(document, spot, primitives, NO_MARGIN)
    small = time.monotonic() - began
    assert (taken.place.x, taken.place.y) == (15000, 12000)
    assert taken.problem.target.shape == (200, 300, 4)
    began = time.monotonic()
    try:
        take(document, wide, primitives, Settings())
        raise AssertionError("no sentence")
    except DiffBmpError as problem:
        assert "20000 x 20000 pixels" in str(problem)
    grown = memory() - before
    assert grown < 300
    return {"masked content, s": round(small, 2), "sentence, s": round(time.monotonic() - began, 2), "MB": round(grown)}


@cases(1024, 4096)
@limit(120)
def test_capture_is_quick(side):
    document = new_document(side, side)
    target = paint_layer(document, "photo", random_raw(np.random.default_rng(5), side, side, "RGBA", "U8"))
    primitives = leaves(document, *[(0, 0, 255, 255)] * 10)
    refresh(document)
    times = []
    for _ in range(3):
        began = time.monotonic()
        take(document, target, primitives, Settings())
        times.append(round(1000 * (time.monotonic() - began)))
    assert min(times) < 5000
    return f"{side} x {side}: {times} ms"
