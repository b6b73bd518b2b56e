"""What the docker shows and the actions drive: picks, choices and the one run of this Krita."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from krita_diffbmp.canvas.capture import capture, check_choice, live_refusal, usable
from krita_diffbmp.canvas.document import Document, Selection, find_selection
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.records import load
from krita_diffbmp.card import Card, find_card
from krita_diffbmp.job import Job, Notice, Phase, notice_of
from krita_diffbmp.libraries import cuda_obstacle
from krita_diffbmp.problem import DiffBmpError
from krita_diffbmp.qt import QIcon, QObject, QTimer, pyqtSignal
from krita_diffbmp.text import i18n
from krita_diffbmp.ui import store
from krita_diffbmp.ui.picks import Picks

POLL = 150  # ms between two looks at what is selected
MESSAGE = 4000  # ms that a message stays over the canvas


@dataclass(frozen=True)
class Picked:
    """What the picks come to at the moment."""

    document: Document | None = None
    target: Layer | None = None
    group: Layer | None = None
    primitives: tuple[Layer, ...] = ()  # the group's visible layers
    names: tuple[str, ...] = ()  # of all these, to notice when one is renamed
    problem: str = ""  # why there can be no run; empty when there can
    live_refusal: str = ""  # why there can be no live layers; empty when there can


@dataclass
class Memory:
    """What was picked in one document."""

    document: Document
    picks: Picks = field(default_factory=Picks)
    selection: Selection | None = None  # that the picks follow from


class CardSearch(threading.Thread):
    """Looks for the graphics card, aside from Krita's thread: a driver may take its time to wake up."""

    def __init__(self) -> None:
        super().__init__(name="krita_diffbmp card", daemon=True)
        self.card: Card | None = None
        self.obstacle = ""  # why a run cannot take place on it

    def run(self) -> None:
        self.card = find_card()
        self.obstacle = cuda_obstacle() if self.card else ""


class Session(QObject):
    """One for all of Krita's windows."""

    picked_changed = pyqtSignal()
    choices_changed = pyqtSignal()
    noticed = pyqtSignal()
    card_found = pyqtSignal()  # or that there is none

    def __init__(self, krita: Any) -> None:
        super().__init__()
        self.krita = krita
        self.job = Job(self)
        self.job.ended.connect(self._tell)
        self.notice: Notice | None = None
        self.picked = Picked()
        self.choices = store.load(krita.readSetting)
        self.panels: list[Any] = []  # the dockers' contents, one for each window
        self.found_card: CardSearch | None = None
        self._search: CardSearch | None = None  # from when the docker is first seen
        self._memory: list[Memory] = []
        self._look_failed = False
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.look)
        self._timer.start(POLL)

    def show_in(self, panel: Any) -> None:
        """`panel` shows this session until its window closes."""
        self.panels.append(panel)
        panel.destroyed.connect(lambda: self.panels.remove(panel))

    # --- what it may run on

    def look_for_card(self) -> None:
        """Begins to find out which graphics card there is, once; `card_found` follows."""
        if self._search is None:
            self._search = CardSearch()
            self._search.start()

    # --- what is picked

    def look(self) -> None:
        """Follows what is selected in Krita."""
        if self._search is not self.found_card and self._search is not None and not self._search.is_alive():
            self.found_card = self._search
            self.card_found.emit()
        try:
            picked = self._picked()
        except Exception as failure:
            if not self._look_failed:  # told once: what fails now may fail with every tick
                self._look_failed = True
                self._tell(notice_of(failure))
            return
        self._look_failed = False
        if picked != self.picked:
            self.picked = picked
            self.picked_changed.emit()

    def _picked(self) -> Picked:
        self._memory = [memory for memory in self._memory if memory.document.is_open]
        selection = find_selection()
        if selection is None:
            return Picked(problem=problem_of(None, None, None))
        document = selection.document
        memory = next((memory for memory in self._memory if memory.document == document), None)
        if memory is None:
            memory = Memory(document)
            self._memory.append(memory)
        if memory.selection != selection:
            memory.selection = selection
            memory.picks = memory.picks.after(selection, results_in(document))
        picks = memory.picks
        target = document.layer(picks.target) if picks.target else None
        group = document.layer(picks.group) if picks.group else None
        primitives = tuple(usable(group)) if group is not None else ()
        names = tuple(layer.name for layer in (target, group, *primitives) if layer is not None)
        problem = problem_of(document, target, group)
        return Picked(document, target, group, primitives, names, problem, live_refusal(document))

    # --- what is chosen

    def choose(self, choices: store.Choices) -> None:
        """Remembers what the artist has chosen in the form."""
        previous, self.choices = self.choices, choices
        store.save(self.krita.writeSetting, choices, previous)
        self.choices_changed.emit()

    # --- what is done

    def optimize(self) -> None:
        """Captures what is picked and starts a run; what is wrong is told."""
        self.look()
        try:
            self.job.check(self.choices.settings)
            captured = capture(self.picked.document, self.picked.target, self.picked.group, self.choices.settings)
            live = self.choices.form == "live" and not captured.place.live_refusal
            self.notice = None
            self.job.start(captured, live)
        except Exception as failure:
            return self._tell(notice_of(failure))
        self.noticed.emit()
        return self.float(i18n("DiffBMP: optimising “{target}”.", target=captured.place.target.name))

    def toggle_pause(self) -> None:
        if not self._is_running():
            return
        self.job.toggle_pause()
        paused = self.job.phase is Phase.PAUSED
        self.float(i18n("DiffBMP: paused.") if paused else i18n("DiffBMP: going on."))

    def stop(self) -> None:
        if self._is_running():
            self.job.stop()
            self.float(i18n("DiffBMP: stopped, the layers are being made."))

    def cancel(self) -> None:
        if self._is_running():
            self.job.cancel()

    def close(self) -> None:
        """Krita quits."""
        self._timer.stop()
        self.job.close()

    def _is_running(self) -> bool:
        if not self.job.busy:
            self.float(i18n("DiffBMP: nothing is running."))
        return self.job.busy

    def _tell(self, notice: Notice) -> None:
        self.notice = notice
        self.noticed.emit()
        self.float(i18n("DiffBMP: {notice}", notice=notice.text))

    def float(self, text: str) -> None:
        """Shows a message over the canvas, for an artist who does not see the docker."""
        window = self.krita.activeWindow()
        view = window.activeView() if window is not None else None
        if view is not None and not any(panel.isVisible() for panel in self.panels):
            view.showFloatingMessage(text, QIcon(), MESSAGE, 1)


def results_in(document: Document) -> set[str]:
    """The ids of the groups that runs have made, also of those deleted since; none where records cannot be read."""
    try:
        return set(load(document))
    except DiffBmpError:
        return set()


def problem_of(document: Document | None, target: Layer | None, group: Layer | None) -> str:
    try:
        check_choice(document, target, group)
    except DiffBmpError as problem:
        return str(problem)
    return ""
