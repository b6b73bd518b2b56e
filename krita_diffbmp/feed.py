"""What one thread makes piece by piece and another takes, of which little exists at a time."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Piece = TypeVar("Piece")
CAPACITY = 64 << 20  # bytes that may wait to be taken: enough that neither thread stands idle


class Feed(Generic[Piece]):
    """A queue between two threads, bounded by the bytes in it. Holds one piece at least, however large.

    The maker calls `put` and, if it has to give up, `fail`. The taker calls `take`, and `close` when it wants no
    more.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        """capacity: bytes"""
        self._capacity = capacity
        self._waiting: deque[tuple[Piece, int]] = deque()
        self._size = 0  # bytes in it
        self._failure: BaseException | None = None
        self._is_closed = False
        self._changed = threading.Condition()

    @property
    def is_ready(self) -> bool:
        """Whether `take` would return a piece or raise what has failed."""
        with self._changed:
            return bool(self._waiting) or self._failure is not None

    def put(self, piece: Piece, size: int) -> bool:
        """Waits until there is room for `size` more bytes. False once the feed is closed: nobody wants the piece."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._waiting or self._size + size <= self._capacity)
            if self._is_closed:
                return False
            self._waiting.append((piece, size))
            self._size += size
            return True

    def fail(self, failure: BaseException) -> None:
        """There will be no more: `take` raises the failure after the pieces before it."""
        with self._changed:
            if not self._is_closed:
                self._failure = failure

    def take(self) -> Piece | None:
        """The next piece; None when there is none yet. Never waits.

        Raises what the maker has failed with, and keeps nothing of it: a traceback holds all that was being made.
        """
        with self._changed:
            if self._waiting:
                piece, size = self._waiting.popleft()
                self._size -= size
                self._changed.notify_all()
                return piece
            failure, self._failure = self._failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure
        return None

    def close(self) -> None:
        """Drops what is in it; `put` returns at once from now on, also where it waits."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            self._size = 0
            self._failure = None
            self._changed.notify_all()
