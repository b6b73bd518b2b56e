"""Documents and layers that go away during a run, and every input that cannot be used."""

from __future__ import annotations

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
    picked_names,
    save_picture,
    session,
    set_form,
    show_docker,
)

from krita_diffbmp.job import LAYER_LIMIT, Phase

PLUGIN = True


def start(easel: Easel, **values):
    """A run that is well under way; a generator."""
    set_form(**{"steps": 20000, **values})
    yield from easel.choose()
    trigger("diffbmp_optimize")
    yield at_step(2)


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


@cases("photo", "dabs")
def test_deleting_a_layer_that_was_captured(name):
    easel = Easel()
    yield from start(easel)
    easel.document.nodeByName(name).remove()
    yield 0.5
    assert phase() is Phase.RUNNING
    trigger("diffbmp_stop")
    yield over()
    names = [n.name() for n in easel.document.topLevelNodes()]
    assert len(names) == 2 and name not in names, names
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
    window.close()
    yield 0.5
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
    save_picture(f"instances_{count}")


def refused(easel: Easel, wanted: str):
    """Optimize is tried; the docker says `wanted`, and nothing has changed; a generator."""
    before = easel.state()
    yield from easel.choose()
    trigger("diffbmp_optimize")
    yield over()
    assert wanted in notice(), notice()
    assert easel.state() == before


def test_no_document():
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
    """The canvas is large, the target on it is not."""
    easel = Easel.__new__(Easel)
    document = new_document(20000, 20000)
    from krita_harness.inside import group_layer

    easel.document = document
    easel.group = group_layer(document, "dabs")
    easel.dabs = [paint_layer(document, "dab 1", dab(40, (30, 60, 200)), parent=easel.group)]
    easel.photo = paint_layer(document, "photo", photo(200, 150), x=9000, y=9000)
    yield 0.5
    set_form(steps=5)
    yield from easel.choose()
    trigger("diffbmp_optimize")
    yield over()
    return notice()


class Blocked:
    """Keeps a module from being found, as on a machine that has not got it."""

    def __init__(self, name):
        self.name = name
        self.kept = {key: sys.modules.pop(key) for key in list(sys.modules) if key.split(".")[0] == name}

    def __enter__(self):
        sys.meta_path.insert(0, self)

    def __exit__(self, *_):
        sys.meta_path.remove(self)
        sys.modules.update(self.kept)

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_no_torch():
    easel = Easel()
    yield from show_docker()
    set_form()
    with Blocked("torch"):
        yield from refused(easel, "PyTorch is missing")
    save_picture("no_torch")
    assert picked_names() == ("photo", "dabs")
