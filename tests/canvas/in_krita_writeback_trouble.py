"""What interrupts a write-back leaves the document as it was, and is said."""

import subprocess

from known import layers_bytes
from krita import Krita
from krita_harness.inside import composite, trigger, undo_rows
from krita_harness.steps import Until, cases
from pieces import blob, live, painted
from written import begin, open_documents, scene

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.records import KEY
from krita_diffbmp.qt import QApplication

VALUES = [(20 + i % 200, 20 + i % 150, 0.1 * i, 1.0, 0.8) for i in range(300)]


def state(document):
    return layers_bytes(document), bytes(composite(document)), undo_rows(), document.annotationTypes()


def pieces(form):
    return [(live if form == "live" else painted)(blob(), 60, 50, 0.3, 1)] * len(VALUES)


@cases("live", "painted")
def test_cancel_in_the_middle(form):
    document, _, _, place = yield from scene()
    before = state(document)
    document.setModified(False)
    written = begin(place, pieces(form), VALUES)
    yield Until(lambda: len(written.progress) > 20, 20, "some layers")
    assert open_documents() == 1
    written.writeback.cancel()
    yield Until(lambda: written.said)
    yield 0.3
    assert written.outcome == ("cancelled", "")
    assert len(written.progress) < len(VALUES)
    assert state(document) == before
    assert not document.modified()
    assert open_documents() == 1


def test_cancel_before_the_first_step_and_after_the_last():
    document, _, _, place = yield from scene()
    before = state(document)
    written = begin(place, pieces("painted"), VALUES)
    written.writeback.cancel()
    yield Until(lambda: written.said)
    assert written.outcome == ("cancelled", "")
    assert state(document) == before
    written = begin(place, pieces("painted"), VALUES)
    yield Until(lambda: written.said)
    written.writeback.cancel()
    yield 0.3
    assert written.outcome[0] == "done"


def test_the_document_is_closed():
    document, _, _, place = yield from scene()
    other, _, _, _ = yield from scene()
    before = layers_bytes(other)
    written = begin(place, pieces("live"), VALUES)
    yield Until(lambda: len(written.progress) > 20, 20, "some layers")
    document.setModified(False)
    document.close()
    yield Until(lambda: written.said)
    yield 0.3
    kind, sentence = written.outcome
    assert kind == "failed" and "closed" in sentence
    assert layers_bytes(other) == before
    assert Krita.instance().documents() == [other]


def test_the_last_document_is_closed_and_nothing_is_left_open():
    document, _, _, place = yield from scene()
    written = begin(place, pieces("live"), VALUES)
    yield Until(lambda: len(written.progress) > 20, 20, "some layers")
    document.setModified(False)
    document.close()
    yield Until(lambda: written.said)
    yield 0.3
    assert written.outcome[0] == "failed"
    assert open_documents() == 0


@cases("deleted", "its group deleted")
def test_the_target_is_deleted(how):
    document, target, _, place = yield from scene()
    written = begin(place, pieces("painted"), VALUES)
    yield Until(lambda: len(written.progress) > 20, 20, "some layers")
    if how == "deleted":
        target.remove()
    else:
        outer = document.createGroupLayer("outer")
        document.rootNode().addChildNode(outer, None)
        target.remove()
        outer.addChildNode(target, None)
        outer.remove()
    before = layers_bytes(document), undo_rows()
    yield Until(lambda: written.said)
    yield 0.3
    kind, sentence = written.outcome
    assert kind == "failed" and "“photo” was deleted" in sentence
    assert (layers_bytes(document), undo_rows()) == before
    assert open_documents() == 1


def test_the_group_of_bitmaps_may_go():
    document, _, group, place = yield from scene()
    written = begin(place, pieces("painted"), VALUES)
    yield Until(lambda: len(written.progress) > 20, 20, "some layers")
    group.remove()
    yield Until(lambda: written.said)
    assert written.outcome[0] == "done"
    assert len(document.topLevelNodes()) == 2


@cases("resized", "converted")
def test_the_document_is_changed(how):
    document, _, _, place = yield from scene()
    written = begin(place, pieces("painted"), VALUES)
    yield Until(lambda: len(written.progress) > 20, 20, "some layers")
    if how == "resized":
        document.resizeImage(0, 0, 300, 300)
    else:
        document.setColorSpace("RGBA", "U16", "sRGB-elle-V2-g10.icc")
    document.waitForDone()
    before = layers_bytes(document)
    yield Until(lambda: written.said)
    kind, sentence = written.outcome
    assert kind == "failed" and ("300 x 300" in sentence if how == "resized" else "colour space" in sentence)
    assert layers_bytes(document) == before
    assert open_documents() == 1


def test_records_of_a_newer_version_are_not_overwritten():
    document, _, _, place = yield from scene()
    Document(document).set_annotation(KEY, "x", b'{"schema": 99, "groups": {}}')
    before = state(document)
    written = begin(place, pieces("painted"), VALUES)
    yield Until(lambda: written.said)
    kind, sentence = written.outcome
    assert kind == "failed" and "newer version" in sentence
    assert state(document) == before
    assert open_documents() == 1


def test_undo_during_the_write_back():
    _, target, _, place = yield from scene()
    target.setName("photo, renamed")
    written = begin(place, pieces("live"), VALUES)
    yield Until(lambda: len(written.progress) > 20, 20, "some layers")
    trigger("edit_undo")  # takes away the last layer that the scene has made
    yield Until(lambda: written.said)
    assert written.outcome[0] == "done"


def is_at_rest(document):
    locked = document.tryBarrierLock()
    if locked:
        document.unlock()
    return locked


def test_a_stroke_of_the_artists_only_holds_it_up():
    document, _, _, place = yield from scene()
    trigger("KritaShape/KisToolBrush")
    canvas = Krita.instance().activeWindow().qwindow().centralWidget()
    middle = canvas.mapToGlobal(canvas.rect().center())
    subprocess.run(["xdotool", "mousemove", str(middle.x()), str(middle.y()), "sleep", "0.2", "mousedown", "1"])
    yield 0.2
    subprocess.run(["xdotool", "mousemove_relative", "20", "10"])
    yield Until(lambda: not is_at_rest(document), 10, "the stroke")
    written = begin(place, pieces("live"), VALUES)
    yield 0.3
    assert not written.said and not written.progress
    subprocess.run(["xdotool", "mouseup", "1"])
    yield Until(lambda: written.said, 30)
    assert written.outcome[0] == "done"


def test_an_empty_window_in_front_only_holds_it_up():
    document, _, _, place = yield from scene()
    written = begin(place, pieces("live"), VALUES)
    yield Until(lambda: len(written.progress) > 20, 20, "some layers")
    window = Krita.instance().openWindow().qwindow()
    window.show()
    QApplication.setActiveWindow(window)
    assert Document.active() is None
    yield 0.1
    made = len(written.progress)
    yield 0.5
    assert made == len(written.progress) < len(VALUES)
    window.close()
    yield Until(lambda: written.said, 30)
    assert written.outcome[0] == "done"
    assert len(document.topLevelNodes()) == 3
