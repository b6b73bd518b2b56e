"""The feed between two threads: bounded, in order, and never a reason to wait for ever."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from krita_diffbmp.feed import Feed

SOON = 10.0  # s, for what must happen


@contextmanager
def maker(work: Callable[[], None]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield thread
    thread.join(SOON)
    assert not thread.is_alive()


def taken(feed: Feed[int], count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        piece = feed.take()
        if piece is not None:
            found.append(piece)
    return found


def test_pieces_arrive_in_order():
    feed: Feed[int] = Feed(10)

    def work() -> None:
        for piece in range(1000):
            assert feed.put(piece, 3)

    with maker(work):
        assert taken(feed, 1000) == list(range(1000))
    assert feed.take() is None


def test_no_more_waits_than_there_is_room_for():
    feed: Feed[int] = Feed(10)
    made: list[int] = []

    def work() -> None:
        for piece in range(20):
            assert feed.put(piece, 4)
            made.append(piece)

    with maker(work) as thread:
        for piece in range(20):
            thread.join(0.02)  # time enough to make too many
            assert len(made) <= piece + 2
            assert taken(feed, 1) == [piece]


def test_a_piece_larger_than_the_feed_passes_alone():
    feed: Feed[int] = Feed(10)

    def work() -> None:
        assert feed.put(1, 1)
        assert feed.put(2, 100)
        assert feed.put(3, 1)

    with maker(work) as thread:
        thread.join(0.05)
        assert taken(feed, 1) == [1]
        thread.join(0.05)
        assert taken(feed, 1) == [2]
        assert taken(feed, 1) == [3]


def test_nothing_is_there_yet():
    feed: Feed[int] = Feed()
    assert feed.take() is None
    assert not feed.is_ready
    feed.put(1, 1)
    assert feed.is_ready


def test_closing_frees_the_maker_and_drops_what_waits():
    feed: Feed[int] = Feed(1)
    answers: list[bool] = []

    def work() -> None:
        answers.extend(feed.put(piece, 1) for piece in range(3))

    with maker(work) as thread:
        thread.join(0.05)
        assert answers == [True]
        feed.close()
    assert answers == [True, False, False]
    assert feed.take() is None


def test_a_failure_comes_after_the_pieces_before_it_and_once():
    feed: Feed[int] = Feed()
    feed.put(1, 1)
    feed.fail(MemoryError("no more"))
    assert feed.take() == 1
    assert feed.is_ready
    with pytest.raises(MemoryError, match="no more"):
        feed.take()
    assert feed.take() is None


@pytest.mark.parametrize("how", ["raised", "closed", "after closing"])
def test_nothing_of_a_failure_is_kept(how: str):
    class Held:
        pass

    def fails(held: Held) -> None:
        raise ValueError

    feed: Feed[int] = Feed()
    held = Held()
    reference = weakref.ref(held)
    if how == "after closing":
        feed.close()
    gc.disable()  # what is kept in a cycle is kept for long
    try:
        try:
            fails(held)
        except ValueError as failure:
            feed.fail(failure)
        del held
        assert how == "after closing" or reference() is not None
        if how == "raised":
            with contextlib.suppress(ValueError):
                feed.take()
        elif how == "closed":
            feed.close()
        assert reference() is None
    finally:
        gc.enable()
