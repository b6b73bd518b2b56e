"""What the docker shows and the actions drive: picks, choices and the one run of this Krita."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from krita_diffbmp.canvas.capture import Capture, capture, check_choice, live_refusal, usable
from krita_diffbmp.canvas.document import Document, find_selection
from krita_diffbmp.canvas.edits import around_edits
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.pulse import layers_in
from krita_diffbmp.canvas.readback import holds_instances, read_back
from krita_diffbmp.canvas.reading import Reading
from krita_diffbmp.canvas.refine import capture_refine, check_left, check_refine
from krita_diffbmp.canvas.removal import remove_at_once
from krita_diffbmp.canvas.tools import is_at_rest, is_hand_on
from krita_diffbmp.canvas.versions import follow_undo, show_version
from krita_diffbmp.card import Card, find_card
from krita_diffbmp.job import Job, Phase
from krita_diffbmp.libraries import cuda_obstacle
from krita_diffbmp.notice import Notice, notice_of
from krita_diffbmp.problem import DiffBmpError, Freeze, Settings
from krita_diffbmp.qt import QIcon, QObject, QTimer, pyqtSignal
from krita_diffbmp.text import i18n
from krita_diffbmp.ui import store
from krita_diffbmp.ui.continuous import Continuous
from krita_diffbmp.ui.picked import Memory, Picked, named_versions, problem_of, results_in
from krita_diffbmp.ui.reading import Watch

POLL = 150  # ms between two looks at what is selected
PATIENCE = 2.0  # s until Krita has made a layer current
ROUNDS_KEPT = 3  # hidden versions of the continuous mode
CONTINUOUS_STEPS = 50  # at most, of a run after an edit
MESSAGE = 4000  # ms that a message stays over the canvas


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
    continuous_changed = pyqtSignal()
    card_found = pyqtSignal()  # or that there is none

    def __init__(self, krita: Any) -> None:
        super().__init__()
        self.krita = krita
        self.job = Job(self)
        self.job.ended.connect(self._ended)
        self.job.progressed.connect(self._make_way)
        self.job.attached.connect(self._attached)
        self.notice: Notice | None = None
        self._refusal: Notice | None = None  # a notice that means what is picked now
        self.picked = Picked()
        self.choices = store.load(krita.readSetting)
        self.panels: list[Any] = []  # the dockers' contents, one for each window
        self.found_card: CardSearch | None = None
        self._search: CardSearch | None = None  # from when the docker is first seen
        self._memory: list[Memory] = []
        self._look_failed = False
        self._watch = Watch()
        self.continuous = Continuous()
        self._begun_at = 0  # the pulse of what a run after an edit began with
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
            if self.notice is not None and self.notice is self._refusal:
                self.notice = None
            self.picked_changed.emit()
        if picked.document is not None and not picked.problem and self._is_seen() and not is_hand_on():
            self.job.warm_up(self.choices.settings)

    def _picked(self) -> Picked:
        self._memory = [memory for memory in self._memory if memory.document.is_open]
        selection = find_selection()
        if selection is None:
            return Picked(problem=problem_of(check_choice, None, None, None))
        document = selection.document
        follow_undo(document)
        memory = self._memory_of(document)
        if memory is None:
            memory = Memory(document)
            self._memory.append(memory)
        if memory.is_untidy and not self.continuous.is_on and not self.job.busy and is_at_rest(document):
            self._tidy(memory)
        if memory.awaited and (selection.active is None or selection.active.id != memory.awaited):
            if time.monotonic() < memory.patience_ends:
                selection = memory.selection or selection
        else:
            memory.awaited = ""
        if memory.selection != selection:
            memory.selection = selection
            memory.picks = memory.picks.after(
                selection, results_in(document), lambda layer: holds_instances(document, layer)
            )
        result = document.layer(memory.picks.result) if memory.picks.result else None
        return self._picked_for_a_run(memory) if result is None else self._picked_to_refine(memory, result)

    def _picked_for_a_run(self, memory: Memory) -> Picked:
        document, picks = memory.document, memory.picks
        target = document.layer(picks.target) if picks.target else None
        group = document.layer(picks.group) if picks.group else None
        primitives = tuple(usable(group)) if group is not None else ()
        names = tuple(layer.name for layer in (target, group, *primitives) if layer is not None)
        problem = problem_of(check_choice, document, target, group)
        refusal = live_refusal(document)
        return Picked(document, target, group, None, "", (), primitives, names, problem, refusal)

    def _picked_to_refine(self, memory: Memory, result: Layer) -> Picked:
        document = memory.document
        self._watch.follow(result.id)
        if memory.reading is not None and memory.reading.group.id != result.id:
            memory.reading = None
        if not self.shows_run and (self.continuous.is_on or self._is_seen()):
            self._follow(memory, result)
        target, group = self._sources(memory)
        understood = problem = ""
        if memory.reading is not None:
            understood = str(memory.reading.changes)
            problem = problem_of(check_refine, document, target, result) or problem_of(check_left, memory.reading)
        names = tuple(layer.name for layer in (target, group, result) if layer is not None)
        return Picked(document, target, group, result, understood, memory.versions, (), names, problem, "")

    def _follow(self, memory: Memory, result: Layer) -> None:
        """Reads the result once an edit is over, and refines around it where that is wanted."""
        watch, document = self._watch, memory.document
        changed = watch.look(document, result)
        if self.job.busy:
            if watch.pulse != self._begun_at:
                self._yield_to_hand()
        elif changed and is_at_rest(document):
            self._read(memory, result)
        elif self.continuous.is_due(result.id, watch.pulse, watch.changed_at) and is_at_rest(document):
            self.continuous.note_asked(watch.pulse)
            self._begun_at = watch.pulse
            self._refine_around(memory, result)

    def _sources(self, memory: Memory) -> tuple[Layer | None, Layer | None]:
        """The target and the group of bitmaps that the picked result is refined with."""
        picks, reading = memory.picks, memory.reading
        record = reading.record if reading is not None else None
        home = reading.primitive_group if reading is not None else None
        target_id = picks.towards or (record.target.id if record is not None else picks.target)
        group_id = home.id if home is not None else picks.group
        document = memory.document
        return (
            document.layer(target_id) if target_id else None,
            document.layer(group_id) if group_id else None,
        )

    def _read(self, memory: Memory, result: Layer) -> Reading:
        memory.reading = read_back(memory.document, result, lock_label=self.choices.refine.label)
        memory.versions = named_versions(memory.document, result)
        self._watch.note_read()
        return memory.reading

    def _is_seen(self) -> bool:
        return any(panel.isVisible() for panel in self.panels)

    # --- what is chosen

    def choose(self, choices: store.Choices) -> None:
        """Remembers what the artist has chosen in the form."""
        previous, self.choices = self.choices, choices
        store.save(self.krita.writeSetting, choices, previous)
        self.choices_changed.emit()

    # --- what is done

    def begin(self) -> None:
        """What the docker's button does now."""
        self.look()
        if self.picked.result is not None:
            self.refine()
        else:
            self.optimize()

    def optimize(self) -> None:
        """Captures what is picked and starts a run; what is wrong is told."""
        self.look()
        try:
            self.job.yield_way()
            self.job.check(self.choices.settings)
            picked = self.picked
            captured = capture(picked.document, picked.target, picked.group, self.choices.settings)
            live = self.choices.form == "live" and not captured.place.live_refusal
            self.notice = None
            self.job.start(captured, live)
        except Exception as failure:
            return self._refuse(failure)
        self.noticed.emit()
        return self.float(i18n("DiffBMP: optimising “{target}”.", target=captured.place.target.name))

    def refine(self, added: int = 0) -> None:
        """Goes on from what is on the canvas, with so many new instances; what is wrong is told."""
        self._refine(lambda captured: self.job.start(captured), added)

    def add(self) -> None:
        """Refines with more instances."""
        self.refine(self.choices.refine.add)

    def thin_out(self) -> None:
        """Finds the instances that matter least and asks whether to take them away."""
        self._refine(lambda captured: self.job.thin_out(captured, self._thinned(captured)))

    def _thinned(self, captured: Capture) -> int:
        """How many instances are to go."""
        assert captured.place.refinement is not None
        return max(1, round(self.choices.refine.thin / 100 * captured.place.refinement.reading.changes.total))

    def _refine_around(self, memory: Memory, result: Layer) -> None:
        try:
            captured = self._captured(0, min(self.choices.refine.steps, CONTINUOUS_STEPS))
            self.job.start(around_edits(captured), is_quiet=True)
        except Exception as failure:
            self._refuse(failure)

    def _tidy(self, memory: Memory) -> None:
        """Takes away the hidden versions that edits have brought about, but for the latest few, in one undo step."""
        memory.is_untidy = False
        layers = [memory.document.layer(group_id) for group_id in memory.rounds]
        hidden = [layer for layer in layers if layer is not None and not layer.visible]
        if len(hidden) > ROUNDS_KEPT:
            remove_at_once(memory.document, hidden[:-ROUNDS_KEPT])

    def _captured(self, added: int, steps: int | None = None) -> Capture:
        """What is picked to be refined, read anew. Raises DiffBmpError with a sentence for the docker."""
        memory = self._memory_of(self.picked.document)
        document, result = self.picked.document, self.picked.result
        if memory is None or document is None or result is None:
            raise DiffBmpError(i18n("Select the group of instances to refine, or one of them."))
        document.handle.waitForDone()  # a tool may have something pending, which counts
        reading = self._read(memory, result)
        target, _ = self._sources(memory)
        check_refine(document, target, result)
        assert target is not None
        chosen = self.choices.refine
        freeze, selected = Freeze(chosen.freeze), memory.selection.selected if memory.selection is not None else ()
        kept = {layer.id: freeze for each in selected for layer in (each, *layers_in(each))}
        return capture_refine(
            document,
            target,
            reading,
            self._refine_settings(reading, steps or chosen.steps),
            freeze=Freeze(0) if chosen.selected_only else freeze,
            layers=kept if chosen.selected_only else None,
            added=added + (reading.changes.deleted if chosen.replace_deleted else 0),
        )

    def _refine_settings(self, reading: Reading, steps: int) -> Settings:
        """Those that the instances were made with, and of the docker what is about this run."""
        now = self.choices.settings
        made_with = reading.record.settings if reading.record is not None else now
        return replace(made_with, steps=steps, device=now.device, working_size=now.working_size, seed=now.seed)

    def _refine(self, start: Callable[[Capture], None], added: int = 0) -> None:
        self.look()
        try:
            self.job.yield_way()
            self.job.check_idle()
            captured = self._captured(added)
            self.notice = None
            start(captured)
        except Exception as failure:
            return self._refuse(failure)
        self.noticed.emit()
        return self.float(i18n("DiffBMP: refining “{group}”.", group=captured.place.group.name))

    def show_version(self, group_id: str) -> None:
        """Shows a version of the picked result, hides the others, and goes on with that one."""
        document, result = self.picked.document, self.picked.result
        if document is None or result is None:
            return
        try:
            show_version(document, group_id)
        except Exception as failure:
            return self._tell(notice_of(failure))
        self._go_on_with(document, group_id, result.id)

    def set_continuous(self, on: bool) -> None:
        """Whether an edit of the picked result is followed by a refinement of its surroundings."""
        self.continuous.switch(on)
        if not on:
            self.job.yield_way()
        for memory in self._memory:
            memory.is_untidy = not on and bool(memory.rounds)
        self.continuous_changed.emit()

    def toggle_continuous(self) -> None:
        self.set_continuous(not self.continuous.is_on)
        self.float(
            i18n("DiffBMP: refining after each edit.")
            if self.continuous.is_on
            else i18n("DiffBMP: refining when asked to.")
        )

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

    @property
    def shows_run(self) -> bool:
        """Whether a run is on that the docker is about; one after an edit goes on behind the scenes."""
        return self.job.busy and not self.job.is_quiet

    def _is_running(self) -> bool:
        if not self.shows_run:
            self.float(i18n("DiffBMP: nothing is running."))
        return self.shows_run

    # --- what a run leaves behind

    def _ended(self, notice: Notice) -> None:
        self.look()
        if not self.job.is_quiet:
            return self._tell(notice)
        if notice.kind == "error":
            if notice.details:  # what nobody has foreseen may happen again
                self.set_continuous(False)
            return self._tell(notice)
        self.notice = notice if notice.text else None  # in the docker alone: the canvas is the artist's
        self.noticed.emit()
        return None

    def _make_way(self) -> None:
        """The artist's hand comes before a run that nobody has asked for."""
        if is_hand_on():
            self._yield_to_hand()

    def _yield_to_hand(self) -> None:
        """Ends a run after an edit, for the edit that has come meanwhile or is about to come."""
        if self.job.busy and self.job.is_quiet:
            self.job.yield_way()
            self.continuous.note_given_up()

    def _attached(self, document: Document, group_id: str, before: str) -> None:
        memory = self._memory_of(document)
        if memory is not None and self.job.is_quiet:
            memory.rounds.append(group_id)
        self._go_on_with(document, group_id, before)

    def _go_on_with(self, document: Document, group_id: str, before: str) -> None:
        """A version takes the place of the one before, to be refined and to be edited, if the artist is still there."""
        memory = self._memory_of(document)
        chosen = document.layer(group_id)
        if memory is None or chosen is None or memory.picks.result not in (before, group_id) or not before:
            return
        active = document.active_layer
        memory.picks = replace(memory.picks, result=group_id)
        memory.versions = named_versions(document, chosen)
        if active is not None and any(layer.id == before for layer in (active, *active.ancestors())):
            twin = next((layer for layer in layers_in(chosen) if layer.name == active.name), chosen)
            awaited = chosen if active.id == before else twin
            document.handle.setActiveNode(awaited.node)
            hidden = document.layer(before)
            if hidden is not None and not hidden.visible:
                hidden.node.setCollapsed(True)  # which Krita has unfolded for the layer that was current
            memory.awaited, memory.patience_ends = awaited.id, time.monotonic() + PATIENCE

    def _memory_of(self, document: Document | None) -> Memory | None:
        return next((memory for memory in self._memory if memory.document == document), None)

    def _tell(self, notice: Notice) -> None:
        self.notice = notice
        self.noticed.emit()
        self.float(i18n("DiffBMP: {notice}", notice=notice.text))

    def _refuse(self, failure: Exception) -> None:
        """Tells why no run was begun, for as long as what is picked stays as it is."""
        self.look()  # it may have been read anew
        self._tell(notice_of(failure))
        self._refusal = self.notice

    def float(self, text: str) -> None:
        """Shows a message over the canvas, for an artist who does not see the docker."""
        window = self.krita.activeWindow()
        view = window.activeView() if window is not None else None
        if view is not None and not self._is_seen():
            view.showFloatingMessage(text, QIcon(), MESSAGE, 1)
