"""Continuous mode: a short refinement of the surroundings after each edit, ended at once by the next."""

from __future__ import annotations

import time
from collections.abc import Callable

SETTLED = 1.0  # s without a change after which an edit is over


class Continuous:
    """Decides when a refinement is due. What it is told comes from the session's poll."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._result = ""
        self._known: int | None = None  # the pulse of the result that asks for nothing
        self._before: int | None = None  # what that was before a refinement was asked for
        self.is_on = False

    def switch(self, on: bool) -> None:
        """What was done before is left to the Refine button."""
        self.is_on = on
        self._known = None

    def is_due(self, result: str, pulse: int, changed_at: float) -> bool:
        """Whether the result, now at rest, was edited since it was first seen or last asked about.

        pulse: of it now. changed_at: since when it has had that.
        """
        if not self.is_on:
            return False
        if result != self._result or self._known is None:
            self._result, self._known = result, pulse
        return pulse != self._known and self._clock() - changed_at >= SETTLED

    def note_asked(self, pulse: int) -> None:
        """A refinement of what has that pulse was asked for."""
        self._before, self._known = self._known, pulse

    def note_given_up(self) -> None:
        """It made way for the artist's hand: what it was about is still to be refined, once that has come to rest."""
        self._known = self._before
