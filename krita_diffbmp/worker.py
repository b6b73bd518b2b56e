"""The background thread: the one place where canvas and engine meet.

A `Worker` takes what was captured in Krita's own thread and optimises it in another one. Then it makes the pieces one
by one and feeds them to the write-back, in Krita's thread again. It never touches Krita's API nor Qt; the two threads
share a few attributes that one writes and the other reads, events and the feed.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from krita_diffbmp.canvas.capture import Capture
from krita_diffbmp.canvas.plan import Plan, pick, plan_for
from krita_diffbmp.feed import Feed
from krita_diffbmp.libraries import load_torch
from krita_diffbmp.problem import Bitmap, Placements, Problem, Progress, Result, Settings
from krita_diffbmp.text import i18n

NICENESS = 5  # of the worker's threads, so that the window goes first


@dataclass(frozen=True)
class Proposal:
    """What thinning out comes to, before it is done."""

    removed: int
    total: int  # instances that there are
    before: float  # dB
    after: float

    def __str__(self) -> str:
        return i18n(
            "Removing {removed} of {total} costs {cost:.1f} dB ({before:.1f} dB to {after:.1f} dB).",
            removed=self.removed,
            total=self.total,
            cost=self.before - self.after,
            before=self.before,
            after=self.after,
        )


class WarmUp(threading.Thread):
    """Has everything loaded that a run needs, which takes seconds, before the artist asks for one.

    What fails here fails again in the run, which tells of it.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="krita_diffbmp warm-up", daemon=True)
        # Small, but with all that a run goes through.
        target = np.ones((256, 256, 4), np.float32)
        target[:, 100:] = 0.5
        chosen = Settings(instances=16, steps=20, device=settings.device)
        self.problem = Problem(target, (Bitmap("", target[:16, 92:108]),), chosen)

    def run(self) -> None:
        lower_priority()
        with contextlib.suppress(Exception):
            load_torch()
            from krita_diffbmp.engine.run import Run

            run = Run(self.problem)
            for _ in run:
                pass
            run.result()


class Worker(threading.Thread):
    """Optimises one problem and makes the pieces. Its attributes are written by this thread and read by Krita's."""

    progress: Progress | None = None  # the latest; those in between are not kept
    preview: Any = None  # the latest, uint8 [h, w, 4]
    notes: tuple[str, ...] = ()  # what the artist should know, such as that a slower path runs
    device = ""  # what is computed on, in words; empty until that is known
    finishing = False
    proposal: Proposal | None = None  # which waits for an answer: `stop` agrees, `cancel` does not
    plan: Plan = ()  # which layers are made and which copied, before there is a result
    result: Result | None = None  # before its pieces are made
    failure: BaseException | None = None  # before there is a result; the feed tells of one after that

    def __init__(self, captured: Capture, live: bool, removed: int, predecessor: threading.Thread | None) -> None:
        """live: whether the instances of a first run become image shapes. removed: so many instances of the start are
        to be taken away, instead of optimising. predecessor: what is to end before this one begins, such as a
        cancelled worker that may be in its last step.
        """
        super().__init__(name="krita_diffbmp", daemon=True)
        self.problem, self.place, self.live, self.predecessor = captured.problem, captured.place, live, predecessor
        self.removed = removed
        self.feed: Feed[Any] = Feed()
        self.go = threading.Event()  # cleared while paused
        self.go.set()
        self.stopped = threading.Event()
        self.cancelled = threading.Event()
        self.answered = threading.Event()

    def stop(self) -> None:
        self.stopped.set()
        self.go.set()
        self.answered.set()

    def cancel(self) -> None:
        self.cancelled.set()
        self.go.set()
        self.answered.set()
        self.feed.close()

    def run(self) -> None:
        try:
            result = self._found()
            if result is not None:
                self.plan = plan_for(self.place, result.placements, result.source, self.live)
                self.result = result
                self._make_pieces(result.placements)
        except BaseException as failure:
            if self.result is None:
                self.failure = failure
            else:
                self.feed.fail(failure)
        finally:
            del self.problem  # a cancelled worker is kept until the next run begins

    def _found(self) -> Result | None:
        """What is to be written; None once cancelled."""
        if self.predecessor is not None:
            self.predecessor.join()
            self.predecessor = None
        lower_priority()
        load_torch()
        return self._thinned() if self.removed else self._optimized()

    def _thinned(self) -> Result | None:
        """The start without the instances that matter least, once the artist has agreed to that."""
        from krita_diffbmp.engine.thin import cheapest

        thinning = cheapest(self.problem, self.removed, self.cancelled.is_set)
        if self.cancelled.is_set():
            return None
        start = self.problem.start
        assert start is not None and self.place.refinement is not None
        total = self.place.refinement.reading.changes.total
        before, after = float(thinning.psnr_after[0]), float(thinning.psnr_after[-1])
        self.proposal = Proposal(len(thinning.order), total, before, after)
        self.answered.wait()
        if self.cancelled.is_set():
            return None
        self.finishing = True
        kept = np.setdiff1d(np.arange(len(start.frozen), dtype=np.int32), thinning.order)
        return Result(pick(start.placements, kept.tolist()), after, 0, start_psnr=before, source=kept)

    def _optimized(self) -> Result | None:
        """The best state; None once cancelled."""
        from krita_diffbmp.engine.run import Run

        optimization = Run(self.problem)
        self.device = optimization.device_name
        self.notes = optimization.notes
        for progress in optimization:
            self.notes, self.device = optimization.notes, optimization.device_name
            self.progress = progress
            if progress.preview is not None:
                self.preview = progress.preview
            self.go.wait()
            if self.cancelled.is_set():
                return None
            if self.stopped.is_set():
                break
        self.finishing = True
        return optimization.result()

    def _make_pieces(self, placements: Placements) -> None:
        """Feeds those of the layers that are not copied to the write-back, until it wants no more."""
        from krita_diffbmp.engine.pieces import live_pieces, painted_pieces

        made = [entry for entry in self.plan if not entry.copied]
        chosen = {
            live: pick(placements, [entry.index for entry in made if entry.live is live]) for live in (True, False)
        }
        lives, painted = live_pieces(self.problem, chosen[True]), painted_pieces(self.problem, chosen[False])
        for entry in made:
            if entry.live:
                live = next(lives)
                wanted = self.feed.put(live, len(live.png))
            else:
                raw = self.place.space.raw_piece(next(painted))
                wanted = self.feed.put(raw, len(raw.raw))
            if not wanted:
                return


def lower_priority() -> None:
    """Of the calling thread and of those that it will start, where the system knows priorities of threads."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
