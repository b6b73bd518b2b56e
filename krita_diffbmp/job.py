"""A run as Krita's window sees it: at most one at a time, from the captured picture to the layers."""

from __future__ import annotations

from enum import Enum
from typing import Any

from krita_diffbmp.canvas.capture import Capture
from krita_diffbmp.canvas.writeback import WriteBack
from krita_diffbmp.engine.checks import check_settings
from krita_diffbmp.notice import Notice, notice_of
from krita_diffbmp.problem import DiffBmpError, Progress, Result, Settings
from krita_diffbmp.qt import QObject, QTimer, pyqtSignal
from krita_diffbmp.text import i18n
from krita_diffbmp.worker import Proposal, WarmUp, Worker

LAYER_LIMIT = 5000
POLL = 25  # ms between two looks at what goes on
PATIENCE = 5.0  # s that quitting waits for the worker to leave its step


class Phase(Enum):
    IDLE = "idle"
    STARTING = "starting"  # torch is being loaded, or the first step is on its way
    RUNNING = "running"
    PAUSED = "paused"
    ASKING = "asking"  # the artist is to say whether a proposal is wanted
    FINISHING = "finishing"  # the first piece is being made
    WRITING = "writing"  # the other pieces and the layers are being made


class Job(QObject):
    """Has a `Worker` optimise, looks at it now and then, and writes what it has found. Lives in Krita's thread."""

    changed = pyqtSignal()  # the phase
    progressed = pyqtSignal()  # step, preview or layers made
    attached = pyqtSignal(
        object, str, str
    )  # Document, id of the new group and of the one refined, if any; then `ended`
    ended = pyqtSignal(object)  # a Notice

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.phase = Phase.IDLE
        self.captured: Capture | None = None
        self.written = (0, 0)  # layers made, layers in all
        self.is_quiet = False  # the latest run is one that nobody has asked for by a button
        self._worker: Worker | None = None
        self._warm_up: WarmUp | None = None  # once it has begun
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
    def proposal(self) -> Proposal | None:
        """What the artist is asked to agree to"""
        return self._worker.proposal if self._worker else None

    @property
    def is_thinning(self) -> bool:
        return self._worker is not None and self._worker.removed > 0

    @property
    def can_pause(self) -> bool:
        return not self.is_thinning and self.phase in (Phase.STARTING, Phase.RUNNING, Phase.PAUSED)

    @property
    def can_stop(self) -> bool:
        """Whether there is something to write."""
        return self.can_pause or self.phase is Phase.ASKING

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

    def check_idle(self) -> None:
        """Raises DiffBmpError when a run is on."""
        if self.busy:
            raise DiffBmpError(i18n("A run is on already: stop or cancel it first."))

    def check(self, settings: Settings, count: int | None = None) -> None:
        """Raises DiffBmpError when no run can start: with these settings, or because one is on.

        count: instances; by default those of the settings.
        """
        self.check_idle()
        check_settings(settings)
        count = settings.instances if count is None else count
        if count > LAYER_LIMIT:
            raise DiffBmpError(
                i18n(
                    "{count} instances would be as many layers, more than Krita can "
                    "work with: choose {limit} or fewer.",
                    count=count,
                    limit=LAYER_LIMIT,
                )
            )

    def start(self, captured: Capture, live: bool = False, is_quiet: bool = False, removed: int = 0) -> None:
        """live: whether the instances of a first run become image shapes; paint layers otherwise. is_quiet: nobody has
        asked for the run by a button: it makes way for whatever else comes. removed: see `thin_out`.

        Raises DiffBmpError while another run is on.
        """
        start = captured.problem.start
        self.check(captured.problem.settings, None if start is None else len(start.frozen) + start.added)
        before = (thread for thread in (self._worker, self._warm_up) if thread is not None and thread.is_alive())
        predecessor = next(before, None)
        self.captured = captured
        self.written = (0, 0)
        self.is_quiet = is_quiet
        self._worker = Worker(captured, live, removed, predecessor)
        self._worker.start()
        self._timer.start()
        self._enter(Phase.STARTING)

    def warm_up(self, settings: Settings) -> None:
        """Makes the first run begin sooner, once: settings are what it may have."""
        if self._warm_up is None and self._worker is None:
            self._warm_up = WarmUp(settings)
            self._warm_up.start()

    def thin_out(self, captured: Capture, count: int) -> None:
        """Proposes to take away so many of the instances; `stop` agrees. Raises DiffBmpError while a run is on."""
        self.start(captured, removed=count)

    def yield_way(self) -> None:
        """Ends a run that nobody has asked for by a button, without a word."""
        if self.busy and self.is_quiet:
            self.cancel()

    def toggle_pause(self) -> None:
        """Pauses or goes on; the current step is finished first."""
        if self._worker is None or not self.can_pause:
            return
        if self.phase is Phase.PAUSED:
            self._worker.go.set()
            self._enter(Phase.RUNNING)
        else:
            self._worker.go.clear()
            self._enter(Phase.PAUSED)

    def stop(self) -> None:
        """Ends the optimisation and writes the best state so far; agrees to a proposal."""
        if self._worker is not None and self.can_stop:
            self._worker.stop()
            self._enter(Phase.FINISHING)

    def cancel(self, reason: str = "") -> None:
        """Ends the run and leaves the document as it was; `reason` is told instead of the usual sentence."""
        if self._writeback is not None:
            self._writeback.cancel()  # `_end` follows
        elif self.busy:
            self._end(Notice(reason, "warning") if reason else self._cancelled())

    def close(self) -> None:
        """Krita quits: ends the run, and the thread if it leaves its step in time."""
        if self._writeback is not None:
            self._writeback.cancel()
        self._timer.stop()
        if self._worker is not None:
            self._worker.cancel()
        for thread in (self._worker, self._warm_up):
            if thread is not None:
                thread.join(PATIENCE)

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
        if self._writeback is not None:
            self.progressed.emit()  # here, and not with each layer: to show it takes as long as half a layer
            return
        if not captured.place.document.is_open:
            return self.cancel(i18n("The document was closed, so the run was given up."))
        if self.phase is Phase.STARTING and worker.progress is not None:
            self._enter(Phase.RUNNING)
        if self.phase is Phase.STARTING and worker.proposal is not None and not worker.finishing:
            self._enter(Phase.ASKING)
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
        writeback.done.connect(lambda group_id: self._attached(group_id, result, captured))
        writeback.failed.connect(lambda failure: self._end(notice_of(failure)))
        writeback.cancelled.connect(lambda: self._end(self._cancelled()))
        self._writeback = writeback
        writeback.start()

    def _attached(self, group_id: str, result: Result, captured: Capture) -> None:
        document = captured.place.document
        refinement = captured.place.refinement
        self.attached.emit(document, group_id, refinement.reading.group.id if refinement is not None else "")
        changed = self._writeback.changed_meanwhile if self._writeback is not None else 0
        self._end(success(result, captured, group_id, changed))

    def _cancelled(self) -> Notice:
        """Without a word where nobody has asked for the run."""
        return Notice("" if self.is_quiet else i18n("Cancelled. The document is as it was."))

    def _layer_made(self, made: int, total: int) -> None:
        self.written = (made, total)

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


def success(result: Result, captured: Capture, group_id: str, changed: int) -> Notice:
    """changed: layers of the version before that were changed by hand while it ran."""
    place = captured.place
    notes = [*captured.notes, *result.notes]
    if place.refinement is None or result.start_psnr is None:
        text = i18n(
            "Done: {count} layers above “{target}”, {psnr:.1f} dB.",
            count=len(result.placements.bitmap),
            target=place.target.name,
            psnr=result.psnr,
        )
    else:
        made = place.document.layer(group_id)
        thinned = result.source is not None and len(result.source) < len(place.refinement.parts)
        text = i18n(
            "{done}: {psnr:.1f} dB, was {before:.1f}. “{new}” is above the version before, which is hidden.",
            done=i18n("Thinned out") if thinned else i18n("Refined"),
            psnr=result.psnr,
            before=result.start_psnr,
            new=made.name if made is not None else "",
        )
        if changed:
            notes.insert(
                0,
                i18n(
                    "Meanwhile you changed {layers} by hand: that is kept in “{old}” alone.",
                    layers=i18n("{count} layers", count=changed) if changed > 1 else i18n("a layer"),
                    old=place.refinement.reading.group.name,
                ),
            )
    return Notice("\n".join((text, *notes)), "warning" if notes else "information")
