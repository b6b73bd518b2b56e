"""A write-back whose pieces are still being made: what it waits for, and what ends it."""

import threading
import time

from known import layers_bytes
from krita import Krita
from krita_harness.inside import composite, undo_rows
from krita_harness.steps import Until, cases
from pieces import blob, live, painted
from written import begin_with, group_of, open_documents, scene

from krita_diffbmp.feed import Feed
from krita_diffbmp.problem import DiffBmpError

VALUES = [(20 + i % 200, 20 + i % 150, 0.1 * i, 1.0, 0.8) for i in range(300)]


def state(document):
    return layers_bytes(document), bytes(composite(document)), undo_rows(), document.annotationTypes()


class Maker(threading.Thread):
    """Feeds so many pieces, one every `interval` s, then fails if it is told to."""

    def __init__(self, form, place, count=300, interval=0.0, failure=None, capacity=1 << 20):
        super().__init__(daemon=True)
        self.feed: Feed[object] = Feed(capacity)
        self.count, self.interval, self.failure = count, interval, failure
        self.piece = live(blob(), 60, 50, 0.3, 1)
        if form == "painted":
            self.piece = place.space.raw_piece(painted(blob(), 60, 50, 0.3, 1))
        self.made = 0

    def run(self):
        for _ in range(self.count):
            time.sleep(self.interval)
            if not self.feed.put(self.piece, 1):
                return
            self.made += 1
        if self.failure is not None:
            self.feed.fail(self.failure)


def over(maker):
    return Until(lambda: not maker.is_alive(), 2, "the maker to be free")


@cases("live", "painted")
def test_pieces_are_written_while_the_next_are_made(form):
    document, _, _, place = yield from scene()
    maker = Maker(form, place, interval=0.004)
    written = begin_with(maker.feed, form == "live", place, VALUES)
    yield 0.1
    assert not written.progress
    maker.start()
    yield Until(lambda: len(written.progress) > 20, 20, "some layers")
    assert maker.made < len(VALUES)
    yield Until(lambda: written.said)
    assert len(group_of(document, written).childNodes()) == len(VALUES)
    assert written.progress == [(i + 1, len(VALUES)) for i in range(len(VALUES))]


@cases("live", "painted")
def test_no_more_are_made_than_the_feed_holds(form):
    document, _, _, place = yield from scene()
    maker = Maker(form, place, capacity=5)
    written = begin_with(maker.feed, form == "live", place, VALUES)
    ahead = []
    written.writeback.progress.connect(lambda made, total: ahead.append(maker.made - made))
    maker.start()
    yield Until(lambda: written.said)
    assert written.outcome[0] == "done"
    assert max(ahead) <= 6, ahead
    assert len(document.topLevelNodes()) == 3


@cases("live", "painted")
def test_a_piece_that_cannot_be_made_leaves_the_document_as_it_was(form):
    document, _, _, place = yield from scene()
    before = state(document)
    document.setModified(False)
    maker = Maker(form, place, 150, failure=DiffBmpError("This one cannot be made."))
    written = begin_with(maker.feed, form == "live", place, VALUES)
    maker.start()
    yield Until(lambda: written.said)
    yield 0.3
    assert written.outcome == ("failed", "This one cannot be made.")
    assert len(written.progress) == 150
    assert state(document) == before
    assert not document.modified()
    assert open_documents() == 1


@cases("live", "painted")
def test_cancel_while_pieces_are_slow_to_come(form):
    document, _, _, place = yield from scene()
    before = state(document)
    document.setModified(False)
    maker = Maker(form, place, interval=0.1)
    written = begin_with(maker.feed, form == "live", place, VALUES)
    maker.start()
    yield Until(lambda: len(written.progress) > 3, 20, "some layers")
    written.writeback.cancel()
    yield Until(lambda: written.said, 1, "the end")
    maker.feed.close()
    yield over(maker)
    yield 0.3
    assert written.outcome == ("cancelled", "")
    assert state(document) == before
    assert not document.modified()
    assert open_documents() == 1


@cases("live", "painted")
def test_the_document_is_closed_while_pieces_are_slow_to_come(form):
    document, _, _, place = yield from scene()
    other, _, _, _ = yield from scene()
    before = layers_bytes(other)
    maker = Maker(form, place, interval=0.1)
    written = begin_with(maker.feed, form == "live", place, VALUES)
    maker.start()
    yield Until(lambda: len(written.progress) > 3, 20, "some layers")
    document.setModified(False)
    document.close()
    yield Until(lambda: written.said, 1, "the end")
    maker.feed.close()
    yield over(maker)
    yield 0.3
    kind, sentence = written.outcome
    assert kind == "failed" and "closed" in sentence
    assert layers_bytes(other) == before
    assert Krita.instance().documents() == [other]
