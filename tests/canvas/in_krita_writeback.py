"""Write-back: where the layers land, what they look like, and what becomes of the document."""

import math
from pathlib import Path

import numpy as np
from known import alone, layers_bytes, premultiplied, take, to_floats
from krita import Krita
from krita_harness.inside import composite, group_layer, layout, paint_layer, refresh, trigger, undo_rows
from krita_harness.steps import Until, cases, limit
from pieces import HEIGHT, WIDTH, blob, centroid, live, matrix, over, painted, png, psnr, resample, scrap, shrunk
from written import group_of, open_documents, scene, shown, write

from krita_diffbmp.problem import LivePiece, PaintedPiece, Settings

# x, y, rotation, scale, opacity: any angle, quarter turns, scale exactly 1, and the levels of a pyramid
PLACES = [
    (60.3, 50.7, 0.0, 1.0, 1.0),
    (60.5, 50.5, 0.0, 1.0, 1.0),
    (100.25, 80.75, math.pi / 2, 1.0, 1.0),
    (100.0, 80.1, math.pi, 1.0, 1.0),
    (120.4, 90.9, -math.pi / 2, 0.75, 1.0),
    (90.1, 70.2, 0.7, 1.0, 1.0),
    (90.6, 70.8, 2.1, 1.37, 1.0),
    (130.9, 100.3, -2.9, 2.0, 1.0),
    (80.3, 60.4, 0.3, 0.8, 1.0),
    (128.0, 96.0, 1e-4, 1.0, 1.0),
]
SMALL = [(70.3, 60.6, 0.0, 0.5, 1.0, 2), (70.8, 60.1, 1.1, 0.5, 1.0, 2), (90.2, 80.4, 0.0, 0.25, 1.0, 4),
         (90.7, 80.9, -0.6, 0.3, 1.0, 2), (95.5, 84.5, math.pi / 2, 0.25, 1.0, 4)]  # fmt: skip


def on_canvas(pixels, values, document, offset=(0, 0)):
    """The exact picture of one instance on the canvas, straight [H, W, C + 1]."""
    x, y, rotation, scale = values[:4]
    m = matrix(WIDTH, HEIGHT, x + offset[0], y + offset[1], rotation, scale)
    return resample(pixels, m, document.width(), document.height())


@limit(120)
def test_live_layers_lie_where_the_matrix_says():
    document, _, _, place = yield from scene(corner=20)
    assert (place.x, place.y) == (20, 20)
    spot, values = blob(), PLACES + SMALL
    written = yield from write(place, [live(spot, *value) for value in values], values)
    centres, alphas = [], []
    for node, value in zip(group_of(document, written).childNodes(), values, strict=True):
        assert node.type() == "vectorlayer"
        expected = on_canvas(spot, value, document, (20, 20))[..., 3]
        alpha = shown(node, document)[..., 3] / 255
        (x, y), (x0, y0) = centroid(alpha), centroid(expected)
        centres.append(round(math.hypot(x - x0, y - y0), 4))
        alphas.append(round(255 * float(np.abs(alpha - expected).max()), 1))
    assert max(centres) < 0.05, centres
    assert max(alphas[: len(PLACES)]) < 8, alphas  # the small ones are drawn from a reduced bitmap, and softer
    return {"centroid errors, px": centres, "largest alpha errors, levels": alphas}


@cases((300.0, 300.0), (99.6, 99.6), (100.0, 50.0))
def test_live_layers_stay_where_they_are_at_any_resolution(resolution):
    """Krita keeps shapes in units of length: they show it once the file is opened again."""
    document, _, _, place = yield from scene()
    document.setXRes(resolution[0])
    document.setYRes(resolution[1])
    document.waitForDone()
    written = yield from write(place, [live(blob(), *value) for value in PLACES], PLACES)
    path = Path("resolution.kra").absolute()
    assert document.saveAs(str(path))
    reopened = Krita.instance().openDocument(str(path))
    reopened.waitForDone()
    yield 0.5
    refresh(reopened)
    for handle in (document, reopened):
        errors = []
        for node, value in zip(group_of(handle, written).childNodes(), PLACES, strict=True):
            found = centroid(shown(node, handle)[..., 3] / 255)
            errors.append(math.dist(found, centroid(on_canvas(blob(), value, handle)[..., 3])))
        assert max(errors) < 0.05, errors


@cases("RGBA U8", "RGBA U16", "RGBA F16", "RGBA F32", "GRAYA U8", "GRAYA F32", "CMYKA U8", "CMYKA U16", "CMYKA F32")
def test_painted_layers_hold_the_pieces_pixels_in_the_documents_space(space):
    model, depth = space.split()
    document, target, _, place = yield from scene(model=model, depth=depth, corner=20)
    spot = blob(place.space.channels)
    values = [*PLACES[:3], (3.2, 2.1, 0.5, 1.0, 0.371)]  # the last hangs over the region's corner
    pieces = [painted(spot, *value) for value in values]
    written = yield from write(place, pieces, values)
    worst = 0.0
    for node, value, piece in zip(group_of(document, written).childNodes(), values, pieces, strict=True):
        assert node.type() == "paintlayer"
        assert layout(node) == layout(target) and node.colorProfile() == target.colorProfile()
        found = premultiplied(to_floats(shown(node, document), model, depth)) * node.opacity() / 255
        expected = np.zeros_like(found)
        top, left = piece.y + 20, piece.x + 20
        height, width = piece.pixels.shape[:2]
        rows, columns = slice(max(0, -top), height), slice(max(0, -left), width)
        part = premultiplied(piece.pixels)[rows, columns] * value[4]
        expected[max(0, top) : top + height, max(0, left) : left + width] = part
        worst = max(worst, float(np.abs(found - expected).max()))
    step = {"U8": 1 / 255, "U16": 1 / 65535, "F16": 1e-3, "F32": 1e-5}[depth]
    assert worst <= 1.01 * step
    return f"largest difference {worst / step:.2f} steps of {depth}"


@cases("live RGBA U8", "painted RGBA U8", "painted RGBA U16", "painted RGBA F32")
@limit(120)
def test_the_composite_is_porter_duff_over_in_order(kind):
    form, model, depth = kind.split()
    profile = "sRGB-elle-V2-srgbtrc.icc"
    document, target, group, place = yield from scene(model=model, depth=depth, profile=profile)
    rng = np.random.default_rng(11)
    values = [
        (*rng.uniform((20, 20), (230, 170)), rng.uniform(-3, 3), rng.uniform(0.8, 2), rng.uniform(0.1, 1))
        for _ in range(40)
    ]
    pictures = [scrap(), blob()]
    make = live if form == "live" else painted
    written = yield from write(place, [make(pictures[i % 2], *v) for i, v in enumerate(values)], values)
    target.setVisible(False)
    group.setVisible(False)
    refresh(document)
    found = premultiplied(to_floats(composite(document), model, depth))
    exact = [(on_canvas(pictures[i % 2], value, document), value[4]) for i, value in enumerate(values)]
    decibels = psnr(found, over(exact))
    backwards = psnr(found, over(exact[::-1]))
    assert written.outcome[0] == "done"
    assert decibels > 40
    assert backwards < decibels - 10
    return f"PSNR {decibels:.1f} dB in order, {backwards:.1f} dB in the opposite order"


@cases("live", "painted")
def test_one_undo_step_and_the_artists_layers_as_they_were(form):
    document, target, _, place = yield from scene()
    mine, before, rows = layers_bytes(document), composite(document), undo_rows()
    recent = Krita.instance().recentDocuments()
    values = [(60 + i, 50 + i, 0.1 * i, 1.0, 0.6) for i in range(30)]
    written = yield from write(place, [(live if form == "live" else painted)(blob(), *v) for v in values], values)
    result = group_of(document, written)
    assert written.progress == [(i + 1, 30) for i in range(30)]
    assert undo_rows() == rows + 1
    assert [node.name() for node in document.topLevelNodes()] == ["photo", result.name(), "leaves"]
    assert "photo" in result.name() and "30" in result.name() and "leaves" in result.name()
    assert result.collapsed()
    assert [node.name() for node in result.childNodes()] == [f"leaf 0 {i + 1:04d}" for i in range(30)]
    assert [node.opacity() for node in result.childNodes()] == [153] * 30
    now = layers_bytes(document)
    assert {key: now[key] for key in mine} == mine
    assert document.activeNode() == target
    assert [node.name() for node in Krita.instance().activeWindow().activeView().selectedNodes()] == ["photo"]
    assert open_documents() == 1
    assert Krita.instance().recentDocuments() == recent
    after = composite(document)
    assert (after != before).any()
    trigger("edit_undo")
    yield Until(lambda: len(document.topLevelNodes()) == 2, 10, "the undo")
    yield 0.3
    np.testing.assert_array_equal(composite(document), before)
    assert layers_bytes(document) == mine
    trigger("edit_redo")
    yield Until(lambda: len(document.topLevelNodes()) == 3, 10, "the redo")
    yield 0.5
    np.testing.assert_array_equal(composite(document), after)


@cases("live", "painted", "painted U16")
def test_save_and_reopen_shows_the_same(form):
    document, _, _, place = yield from scene(depth="U16" if "U16" in form else "U8")
    values = [(60 + 4 * i, 50 + 3 * i, 0.4 * i, 0.8 + 0.05 * i, 0.5 + 0.02 * i) for i in range(20)]
    written = yield from write(place, [(live if form == "live" else painted)(scrap(), *v) for v in values], values)
    before = composite(document).astype(int)
    path = Path(f"written {form}.kra").absolute()
    assert document.saveAs(str(path))
    reopened = Krita.instance().openDocument(str(path))
    level = 257 if "U16" in form else 1
    yield Until(lambda: np.abs(composite(reopened) - before).max() <= 2 * level, 10, "the same picture within 2 levels")
    result = group_of(reopened, written)
    opacities = [node.opacity() for node in result.childNodes()]
    assert opacities == [node.opacity() for node in group_of(document, written).childNodes()]
    return f"largest difference {np.abs(composite(reopened) - before).max() / level:.2f} levels"


def test_the_group_lies_above_a_target_in_a_group():
    document, _, leaves_group, _ = yield from scene()
    outer = group_layer(document, "outer")
    inner = group_layer(document, "inner", outer)
    target = paint_layer(document, "deep", np.full((60, 80, 4), 200, np.uint8), 30, 30, inner)
    paint_layer(document, "over it", np.full((5, 5, 4), 200, np.uint8), 0, 0, inner)
    refresh(document)
    place = take(document, target, leaves_group, Settings()).place
    written = yield from write(place, [painted(blob(), 20, 20, 0, 1)], [(20, 20, 0, 1, 1)])
    result = group_of(document, written)
    assert result.parentNode() == inner
    assert [node.name() for node in inner.childNodes()] == ["deep", result.name(), "over it"]


def test_many_layers_go_into_sub_groups_in_order():
    document, _, _, place = yield from scene()
    dot = np.full((2, 2, 4), 1, np.float32)
    count = 1030
    pieces = [PaintedPiece(i % 250, i // 250, dot, 1.0) for i in range(count)]
    written = yield from write(place, pieces, [(i % 250, i // 250, 0, 1, 1) for i in range(count)])
    result = group_of(document, written)
    inner = result.childNodes()
    assert len(inner) == 21
    assert all(node.type() == "grouplayer" and node.collapsed() for node in inner)
    assert [inner[0].name(), inner[-1].name()] == ["0001 to 0050", "1001 to 1030"]
    names = [node.name() for sub in inner for node in sub.childNodes()]
    assert names == [f"leaf 0 {i + 1:04d}" for i in range(count)]
    assert alone(document, result)[:4, :, 3].sum() > 500


def test_pieces_that_show_nothing_do_not_hold_it_up():
    document, _, _, place = yield from scene()
    nothing = np.zeros((8, 8, 4), np.float32)
    pieces = [
        live(blob(), 60, 50, 0.3, 1),
        LivePiece(png(nothing), 8, 8, (1, 0, 0, 1, 30, 30), 1.0),
        live(blob(), -500, 50, 0.3, 1),
        live(blob(), 60, 50, 0.3, 0.004),
        live(blob(), 80, 50, 0.3, 1, 0.0),
        live(blob(), -14, -12, 0, 1),  # its box reaches the canvas, and nothing in it does
    ]
    written = yield from write(place, pieces, [(60, 50, 0, 1, 1)] * len(pieces))
    result = group_of(document, written)
    assert [node.bounds().isEmpty() for node in result.childNodes()] == [False, True, True, True, False, True]
    assert result.childNodes()[4].opacity() == 0


def test_painted_pieces_without_pixels_keep_their_layer():
    document, _, _, place = yield from scene()
    pieces = [PaintedPiece(0, 0, np.zeros((0, 0, 4), np.float32), 0.5), painted(blob(), 50, 50, 0, 1, 0.0)]
    written = yield from write(place, pieces, [(0, 0, 0, 1, 0.5)] * 2)
    assert [node.opacity() for node in group_of(document, written).childNodes()] == [128, 0]


def test_another_document_in_front_is_left_alone():
    document, _, _, place = yield from scene()
    other, _, _, _ = yield from scene()
    assert Krita.instance().activeDocument() == other
    before = layers_bytes(other)
    written = yield from write(place, [live(blob(), *v) for v in PLACES], PLACES)
    assert group_of(document, written).name() in [node.name() for node in document.topLevelNodes()]
    assert layers_bytes(other) == before
    assert Krita.instance().activeDocument() == other
    refresh(document)
    assert shown(group_of(document, written), document)[..., 3].sum() > 1000


def test_a_reduced_bitmap_does_not_alias():
    document, _, _, place = yield from scene()
    stripes = np.ones((HEIGHT, WIDTH, 4), np.float32)
    stripes[..., 3] = np.arange(WIDTH) % 4 == 1  # a quarter of each four columns
    values = [(100.0, 90.0, 0.0, 0.25, 1.0, 4)]
    written = yield from write(place, [live(stripes, *value) for value in values], values)
    (node,) = group_of(document, written).childNodes()
    alpha = shown(node, document)[87:94, 96:105, 3]
    assert shrunk(stripes, 4)[..., 3].std() == 0
    np.testing.assert_allclose(alpha, 64, atol=2)
