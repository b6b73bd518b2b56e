"""Documents and layers that go away during a run, and every input that cannot be used."""

from __future__ import annotations

import random
import sys

from krita import Krita
from krita_harness.inside import new_document, paint_layer, refresh, trigger
from krita_harness.steps import Until, cases, limit
from studio import (
    Easel,
    at_step,
    dab,
    docker,
    notice,
    over,
    panel,
    phase,
    photo,
    sample,
    save_picture,
    session,
    set_form,
    show_docker,
    start,
)

from krita_diffbmp.job import LAYER_LIMIT, Phase

PLUGIN = True


def test_closing_the_document_ends_the_run():
    easel = Easel()
    first = Krita.instance().activeWindow().activeView()
    other = Easel()
    before = other.state()
    first.setVisible()
    yield 0.3
    yield from start(easel)
    easel.document.setModified(False)
    easel.document.close()
    yield Until(lambda: phase() is Phase.IDLE, 5, "the run to end")
    assert "closed" in notice()
    yield 0.5
    assert other.state() == before


def test_closing_the_document_while_layers_are_made():
    easel = Easel()
    set_form(instances=3000, steps=1, form="painted")
    yield from easel.choose()
    trigger("diffbmp_optimize")
    yield Until(lambda: 0 < session().job.written[0] < 2000, 40, "the first layers")
    easel.document.setModified(False)
    easel.document.close()
    yield over()
    assert "closed" in notice(), notice()
    assert not Krita.instance().documents()


@limit(120)
def test_cancelling_at_any_moment_while_layers_are_made():
    """Krita draws them in threads of its own, and must have come to rest before it loses one."""
    document = yield from sample(512)
    set_form(instances=300, steps=1, form="live", working_size=256, device="cpu")
    before, chance = [node.name() for node in document.topLevelNodes()], random.Random(1)
    for _ in range(20):
        made, later = chance.randrange(1, 280), 0.15 * chance.random()
        session().optimize()
        yield Until(lambda made=made: session().job.written[0] >= made, 30, "some layers")
        yield later
        session().job.cancel()
        yield over()
    assert [node.name() for node in document.topLevelNodes()] == before


def test_deleting_the_target_during_a_run():
    easel = Easel()
    yield from start(easel)
    easel.photo.remove()
    yield 0.5
    assert phase() is Phase.RUNNING
    trigger("diffbmp_stop")
    yield over()
    assert [n.name() for n in easel.document.topLevelNodes()] == ["dabs"]
    assert "deleted" in notice()


def test_deleting_the_group_during_a_run():
    easel = Easel()
    yield from start(easel)
    easel.group.remove()
    yield 0.5
    trigger("diffbmp_stop")
    yield over()
    names = [n.name() for n in easel.document.topLevelNodes()]
    assert names[0] == "photo" and len(names) == 2, names
    return notice()


def test_the_result_goes_to_the_document_it_came_from():
    easel = Easel()
    yield from start(easel)
    other = Easel()
    before = other.state()
    yield Until(lambda: Krita.instance().activeDocument() == other.document, 5, "the other document in front")
    trigger("diffbmp_pause")
    assert phase() is Phase.PAUSED
    yield 0.3
    trigger("diffbmp_pause")
    trigger("diffbmp_stop")
    yield over()
    assert other.state() == before
    assert len([n for n in easel.document.topLevelNodes() if n.name().startswith("photo from")]) == 1, notice()


def test_closing_the_docker_does_not_end_the_run():
    easel = Easel()
    yield from start(easel)
    docker().hide()
    reached = session().job.progress.step
    yield at_step(reached + 5)
    trigger("diffbmp_show")
    trigger("diffbmp_stop")
    yield over()
    assert len(easel.results()) == 1


def test_a_second_window_shows_the_same_run():
    easel = Easel()
    yield from start(easel)
    count = len(session().panels)
    window = Krita.instance().openWindow()
    yield Until(lambda: len(session().panels) == count + 1, 20, "the second docker")
    yield 0.5
    window.qwindow().close()
    yield Until(lambda: len(session().panels) == count, 10, "the second docker to go")
    assert phase() is Phase.RUNNING
    trigger("diffbmp_cancel")
    yield 0.3


@cases(0, 100000)
def test_impossible_numbers_of_instances(count):
    easel = Easel()
    yield from show_docker()
    set_form(instances=count)
    yield from easel.choose()
    before = easel.state()
    trigger("diffbmp_optimize")
    assert phase() is Phase.IDLE
    assert f"{count:,}" in notice() or str(count) in notice()
    assert panel().notice.isVisible() and panel().notice.text.text() == notice()
    assert easel.state() == before and LAYER_LIMIT < 100000
    yield from save_picture(f"instances_{count}")


def refused(easel: Easel, wanted: str):
    """Optimize is tried; the docker says `wanted`, and nothing has changed; a generator."""
    before = easel.state()
    set_form()
    yield from easel.choose()
    trigger("diffbmp_optimize")
    yield over()
    assert wanted in notice(), notice()
    assert easel.state() == before


def test_no_document():
    set_form()
    trigger("diffbmp_optimize")
    yield over()
    assert "document" in notice().lower()


def test_hidden_target():
    easel = Easel()
    easel.photo.setVisible(False)
    yield from refused(easel, "hidden")


def test_hidden_bitmaps():
    easel = Easel()
    for node in easel.dabs:
        node.setVisible(False)
    yield from refused(easel, "hidden")


def test_transparent_target():
    easel = Easel()
    easel.photo.setPixelData(bytes(96 * 72 * 4), 0, 0, 96, 72)
    refresh(easel.document)
    yield from refused(easel, "shows nothing")


def test_transparent_bitmaps():
    easel = Easel()
    for node in easel.dabs:
        node.setPixelData(bytes(96 * 72 * 4), 0, 0, 96, 72)
    refresh(easel.document)
    yield from refused(easel, "dabs")


def test_one_pixel_bitmaps_and_one_larger_than_the_canvas():
    easel = Easel()
    for node in easel.dabs[:2]:
        node.setPixelData(bytes(96 * 72 * 4), 0, 0, 96, 72)
        node.setPixelData(bytes((10, 20, 30, 255)), 5, 5, 1, 1)
    big = dab(300, (90, 20, 120))
    easel.dabs[2].setPixelData(big.tobytes(), -50, -50, 300, 300)
    refresh(easel.document)
    yield from easel.choose()
    set_form(form="painted")
    trigger("diffbmp_optimize")
    yield over()
    assert len(easel.results()) == 1, notice()
    return notice()


def test_a_canvas_of_one_pixel():
    document = new_document(1, 1)
    paint_layer(document, "photo", photo(1, 1))
    yield 0.3
    trigger("diffbmp_optimize")
    yield over()
    assert "1 x 1" in notice(), notice()


@limit(120)
def test_a_canvas_of_20000_pixels():
    """The canvas is large, what is on it is not."""
    easel = Easel()
    easel.document.resizeImage(0, 0, 20000, 20000)
    easel.document.waitForDone()
    set_form(steps=3)
    yield from easel.choose()
    trigger("diffbmp_optimize")
    yield over()
    assert len(easel.results()) == 1, notice()


def test_a_target_of_20000_pixels():
    """Spots in two far corners: its box is more than is captured."""
    easel = Easel()
    easel.document.resizeImage(0, 0, 20000, 20000)
    easel.photo.setPixelData(photo(96, 72).tobytes(), 19900, 19900, 96, 72)
    easel.document.waitForDone()
    yield from easel.choose()
    trigger("diffbmp_optimize")
    yield over()
    assert "19996 x 19972 pixels, more than fit in memory" in notice(), notice()
    assert not easel.results()


def test_no_torch():
    easel = Easel()
    yield from show_docker()
    loaded = sys.modules.get("torch")
    sys.modules["torch"] = None  # type: ignore[assignment]  # which is how Python remembers that there is none
    try:
        yield from refused(easel, "PyTorch is missing")
    finally:
        if loaded is None:
            del sys.modules["torch"]
        else:
            sys.modules["torch"] = loaded
    yield from save_picture("no_torch")


def test_without_a_fitting_extension_the_slow_renderer_runs_and_says_so():
    import torch

    from krita_diffbmp.engine import extension

    easel = Easel()
    yield from show_docker()
    set_form(steps=4)
    yield from easel.choose()
    actual = torch.__version__
    torch.__version__ = type(actual)("9.9.9")  # for which no extension is built
    extension.status.cache_clear()
    try:
        trigger("diffbmp_optimize")
        yield at_step(1)
        yield Until(lambda: "slow renderer" in panel().notice.text.text(), 5, "a word during the run")
        yield from save_picture("slow")
        yield over()
    finally:
        torch.__version__ = actual
        extension.status.cache_clear()
    assert len(easel.results()) == 1
    assert "slow renderer" in notice() and "this is torch 9.9.9" in notice(), notice()
