"""When to look at what the artist has done to a group of instances: not in every poll, and not while it is done."""

from __future__ import annotations

import time
from collections.abc import Callable

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.pulse import pulse
from krita_diffbmp.canvas.tools import is_hand_on

PACE = 0.4  # s between two looks at whether anything has changed
SHARE = 20  # times as long as a look takes is waited until the next, where that is longer
LONGEST = 1.5  # s that are waited at most
REST = 0.4  # s without a change after which the group is read


class Watch:
    """Follows one group at a time. `look` is called from a poll."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key: tuple[object, ...] = ()
        self._next = 0.0  # time of the next look
        self.pulse = 0  # of the latest look
        self._read: int | None = None  # what it was when the group was read
        self.changed_at = 0.0  # when a look first found what the latest found

    def follow(self, *key: object) -> None:
        """From now on another group, if `key` is not that of the one before."""
        if key != self._key:
            self._key = key
            self._next = 0.0
            self._read = None

    def look(self, document: Document, group: Layer) -> bool:
        """Whether the group has changed since it was read and is at rest now."""
        now = self._clock()
        if is_hand_on():
            self.changed_at = now
            return False
        if now >= self._next:
            found = pulse(document, group)
            if found != self.pulse:
                self.pulse, self.changed_at = found, now
            self._next = now + min(max(PACE, SHARE * (self._clock() - now)), LONGEST)
        return self.pulse != self._read and now - self.changed_at >= REST

    def note_read(self) -> None:
        """The group was read as it is now."""
        self._read = self.pulse
