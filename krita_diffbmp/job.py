"""The background thread: the one place where canvas and engine meet.

A `Job` takes what was captured in Krita's own thread and has a `Worker` optimise it in another one. The worker then
makes the pieces one by one and feeds them to the write-back, in Krita's thread again. The worker never touches Krita's
API nor Qt; the two threads share a few attributes that one writes and the other reads, events and the feed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import traceback
from dataclasses import dataclass
from enum import Enum
from typing import Any

from krita_diffbmp.canvas.capture import Capture
from krita_diffbmp.canvas.plan import Plan, pick, plan_for
from krita_diffbmp.canvas.writeback import WriteBack
from krita_diffbmp.engine.checks import check_settings
from krita_diffbmp.feed import Feed
from krita_diffbmp.libraries import load_torch
from krita_diffbmp.problem import DiffBmpError, Placements, Progress, Result, Settings
from krita_diffbmp.qt import QObject, QTimer, pyqtSignal
from krita_diffbmp.text import i18n

log = logging.getLogger("krita_diffbmp")
LAYER_LIMIT = 5000
POLL = 50  # ms between two looks at the worker
NICENESS = 5  # of the worker's threads, so that the window goes first
PATIENCE = 5.0  # s that quitting waits for the worker to leave its step


class Phase(Enum):
    IDLE = "idle"
    STARTING = "starting"  # torch is being loaded, or the first step is on its way
    RUNNING = "running"
    PAUSED = "paused"
    FINISHING = "finishing"  # the first piece is being made
    WRITING = "writing"  # the other pieces and the layers are being made


@dataclass(frozen=True)
class Notice:
    """A sentence for the artist about how a run went, or why there is none."""

    text: str
    kind: str = "information"  # or "warning", "error"
    details: str = ""  # a traceback, for a bug report


class Worker(threading.Thread):
    """Optimises one problem and makes the pieces. Its attributes are written by this thread and read by Krita's."""

    progress: Progress | None = None  # the latest; those in between are not kept
    preview: Any = None  # the latest, uint8 [h, w, 4]
    notes: tuple[str, ...] = ()  # what the artist should know, such as that a slower path runs
    device = ""  # what is computed on, in words; empty until that is known
    finishing = False
    plan: Plan = ()  # of the layers, before there is a result
    result: Result | None = None  # before its pieces are made
    failure: BaseException | None = None  # before there is a result; the feed tells of one after that

    def __init__(self, captured: Capture, live: bool, predecessor: Worker | None) -> None:
        """live: the form of a first run's instances. predecessor: a cancelled worker that may be in its last step."""
        super().__init__(name="krita_diffbmp", daemon=True)
        self.problem, self.place, self.live, self.predecessor = captured.problem, captured.place, live, predecessor
        self.feed: Feed[Any] = Feed()
        self.go = threading.Event()  # cleared while paused
        self.go.set()
        self.stopped = threading.Event()
        self.cancelled = threading.Event()

    def stop(self) -> None:
        self.stopped.set()
        self.go.set()

    def cancel(self) -> None:
        self.cancelled.set()
        self.go.set()
        self.feed.close()

    def run(self) -> None:
        try:
            result = self._optimize()
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

    def _optimize(self) -> Result | None:
        """The best state; None once cancelled."""
        if self.predecessor is not None:
            self.predecessor.join()
            self.predecessor = None
        lower_priority()
        load_torch()
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
        """Feeds them to the write-back, until it wants no more."""
        from krita_diffbmp.engine.pieces import live_pieces, painted_pieces

        made = [entry for entry in self.plan if not entry.copied]
        live = live_pieces(self.problem, pick(placements, [entry.index for entry in made if entry.live]))
        painted = painted_pieces(self.problem, pick(placements, [entry.index for entry in made if not entry.live]))
        for entry in made:
            if entry.live:
                piece = next(live)
                wanted = self.feed.put(piece, len(piece.png))
            else:
                raw = self.place.space.raw_piece(next(painted))
                wanted = self.feed.put(raw, len(raw.raw))
            if not wanted:
                return


class Job(QObject):
    """At most one run at a time, from the captured picture to the layers. Lives in Krita's thread."""

    changed = pyqtSignal()  # the phase
    progressed = pyqtSignal()  # step, preview or layers made
    ended = pyqtSignal(object)  # a Notice

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.phase = Phase.IDLE
        self.captured: Capture | None = None
        self.written = (0, 0)  # layers made, layers in all
        self._worker: Worker | None = None
        self._writeback: WriteBack | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(POLL)
        self._timer.timeout.connect(self._tick)

    @property
    def busy(self) -> bool:
        return self.phase is not Phase.IDLE

    @property
    def progress(self) -> Progress | None:
        return self._worker.progress if self._worker else None

    @property
    def notes(self) -> tuple[str, ...]:
        return self._worker.notes if self._worker else ()

    @property
    def device(self) -> str:
        """What the run is computed on; empty until that is known"""
        return self._worker.device if self._worker else ""

    @property
    def preview(self) -> Any:
        """uint8 [h, w, 4], or None before the first"""
        return self._worker.preview if self._worker else None

    def check(self, settings: Settings) -> None:
        """Raises DiffBmpError when no run can start: with these settings, or because one is on."""
        if self.busy:
            raise DiffBmpError(i18n("A run is on already: stop or cancel it first."))
        check_settings(settings)
        if settings.instances > LAYER_LIMIT:
            raise DiffBmpError(
                i18n(
                    "{count} instances would be as many layers, more than Krita can "
                    "work with: choose {limit} or fewer.",
                    count=settings.instances,
                    limit=LAYER_LIMIT,
                )
            )

    def start(self, captured: Capture, live: bool) -> None:
        """live: whether the instances become image shapes; paint layers otherwise.

        Raises DiffBmpError while another run is on."""
        self.check(captured.problem.settings)
        predecessor = self._worker if self._worker is not None and self._worker.is_alive() else None
        self.captured = captured
        self.written = (0, 0)
        self._worker = Worker(captured, live, predecessor)
        self._worker.start()
        self._timer.start()
        self._enter(Phase.STARTING)

    def toggle_pause(self) -> None:
        """Pauses or goes on; the current step is finished first."""
        if self._worker is None:
            return
        if self.phase is Phase.PAUSED:
            self._worker.go.set()
            self._enter(Phase.RUNNING)
        elif self.phase in (Phase.STARTING, Phase.RUNNING):
            self._worker.go.clear()
            self._enter(Phase.PAUSED)

    def stop(self) -> None:
        """Ends the optimisation and writes the best state so far."""
        if self._worker is not None and self.phase in (Phase.STARTING, Phase.RUNNING, Phase.PAUSED):
            self._worker.stop()
            self._enter(Phase.FINISHING)

    def cancel(self, reason: str = "") -> None:
        """Ends the run and leaves the document as it was; `reason` is told instead of the usual sentence."""
        if self._writeback is not None:
            self._writeback.cancel()  # `_end` follows
        elif self.busy:
            self._end(
                Notice(reason or i18n("Cancelled. The document is as it was."), "warning" if reason else "information")
            )

    def close(self) -> None:
        """Krita quits: ends the run, and the thread if it leaves its step in time."""
        if self._writeback is not None:
            self._writeback.cancel()
        self._timer.stop()
        if self._worker is not None:
            self._worker.cancel()
            self._worker.join(PATIENCE)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.changed.emit()

    def _tick(self) -> None:
        try:
            self._look()
        except Exception as failure:
            self._end(notice_of(failure))

    def _look(self) -> None:
        """What has become of the worker since."""
        worker, captured = self._worker, self.captured
        if worker is None or captured is None:
            return
        if not captured.place.document.is_open:
            return self.cancel(i18n("The document was closed, so the run was given up."))
        if self.phase is Phase.STARTING and worker.progress is not None:
            self._enter(Phase.RUNNING)
        if self.phase in (Phase.RUNNING, Phase.PAUSED) and worker.finishing:  # too late to pause
            self._enter(Phase.FINISHING)
        self.progressed.emit()
        over = not worker.is_alive()
        if worker.result is not None and (worker.feed.is_ready or over):
            return self._write(worker, worker.result, captured)
        if over and worker.failure is not None:
            failure, worker.failure = worker.failure, None  # its traceback holds all that the run has made
            return self._end(notice_of(failure))
        return None

    def _write(self, worker: Worker, result: Result, captured: Capture) -> None:
        self._timer.stop()
        self.written = (0, len(worker.plan))
        self._enter(Phase.WRITING)
        writeback = WriteBack(
            captured.place,
            worker.feed,
            worker.plan,
            result.placements,
            captured.problem.settings,
            psnr=result.psnr,
            parent=self,
        )
        writeback.progress.connect(self._layer_made)
        writeback.done.connect(lambda group: self._end(success(result, captured)))
        writeback.failed.connect(lambda failure: self._end(notice_of(failure)))
        writeback.cancelled.connect(lambda: self._end(Notice(i18n("Cancelled. The document is as it was."))))
        self._writeback = writeback
        writeback.start()

    def _layer_made(self, made: int, total: int) -> None:
        self.written = (made, total)
        self.progressed.emit()

    def _end(self, notice: Notice) -> None:
        """Whatever the reason, the worker has nothing more to do."""
        self._timer.stop()
        if self._worker is not None:
            self._worker.cancel()
        if self._writeback is not None:
            self._writeback.deleteLater()
            self._writeback = None
        self.captured = None
        if self._worker is not None and not self._worker.is_alive():
            self._worker = None
        self._enter(Phase.IDLE)
        self.ended.emit(notice)


def success(result: Result, captured: Capture) -> Notice:
    text = i18n(
        "Done: {count} layers above “{target}”, {psnr:.1f} dB.",
        count=len(result.placements.bitmap),
        target=captured.place.target.name,
        psnr=result.psnr,
    )
    notes = (*captured.notes, *result.notes)
    return Notice("\n".join((text, *notes)), "warning" if notes else "information")


def notice_of(failure: BaseException) -> Notice:
    """What to tell the artist about an exception; one that is not ours goes to the log as well."""
    if isinstance(failure, DiffBmpError):
        return Notice(str(failure), "error")
    details = "".join(traceback.format_exception(failure))
    log.error("the run failed\n%s", details)
    if is_out_of_memory(failure):
        text = i18n(
            "The memory does not suffice for this run: choose a smaller working size or fewer instances, "
            "or close other documents."
        )
        return Notice(text, "error", details)
    return Notice(
        i18n("Something went wrong, and nothing was changed: {failure}", failure=last_line(failure)), "error", details
    )


def last_line(failure: BaseException) -> str:
    lines = str(failure).strip().splitlines()
    return lines[-1] if lines else type(failure).__name__


def is_out_of_memory(failure: BaseException) -> bool:
    """torch has an exception of its own for the graphics card only; its CPU allocator raises RuntimeError."""
    text = str(failure).lower()
    return (
        isinstance(failure, MemoryError)
        or "out of memory" in text
        or "not enough memory" in text
        or "can't allocate memory" in text
    )


def lower_priority() -> None:
    """Of the calling thread and of those that it will start, where the system knows priorities of threads."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
