"""The docker's content: what is picked, the settings, the run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.job import Phase
from krita_diffbmp.qt import (
    QApplication,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QStackedWidget,
    Qt,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from krita_diffbmp.text import duration, i18n
from krita_diffbmp.ui.picks import rules
from krita_diffbmp.ui.preview import Picture, Thumbnails, image_of, thumbnail
from krita_diffbmp.ui.refine import RefineForm
from krita_diffbmp.ui.session import Session
from krita_diffbmp.ui.settings import SettingsForm
from krita_diffbmp.ui.store import RefineChoices

THUMBNAIL = 48  # px, of the target
SHOWN_PRIMITIVES = 24  # thumbnails that are asked of Krita at most
SHOWN_LINES = 3  # of a notice; one of many sentences would take the whole docker
MARGIN = 6  # px


class Panel(QWidget):
    """Shows a session and turns clicks into its commands; one in each window."""

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(parent)
        self.session = session
        self._preview_shown: Any = None
        self.picks = PicksView()
        self.form = SettingsForm(session.krita.icon)
        self.form.changed.connect(lambda: session.choose(replace(self.form.choices(), refine=session.choices.refine)))
        self.refine_form = RefineForm()
        self.refine_form.changed.connect(
            lambda: session.choose(replace(session.choices, refine=self.refine_form.choices()))
        )
        self.refine_form.add_wanted.connect(session.add)
        self.refine_form.thin_wanted.connect(session.thin_out)
        self.refine_form.version_wanted.connect(session.show_version)
        self.refine_form.continuous_wanted.connect(session.set_continuous)
        self.preview = Picture()
        self.preview.setToolTip(i18n("The picture as it forms, from all instances so far."))
        self.preview.setAccessibleName(i18n("Preview"))
        self.notice = NoticeView(session.krita.icon)
        self.run = RunBar()
        self.run.begin.clicked.connect(session.begin)
        self.run.pause.clicked.connect(session.toggle_pause)
        self.run.stop.clicked.connect(session.stop)
        self.run.cancel.clicked.connect(session.cancel)

        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        column.addWidget(self.picks)
        column.addWidget(line())
        column.addWidget(self.form)
        column.addWidget(self.refine_form)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidget(content)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.pages = QStackedWidget()
        self.pages.addWidget(scroll)
        self.pages.addWidget(self.preview)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(self.pages, 1)
        foot = QVBoxLayout()
        foot.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        foot.setSpacing(MARGIN)
        foot.addWidget(self.notice)
        foot.addWidget(self.run)
        whole.addLayout(foot)

        session.picked_changed.connect(self.show_picked)
        session.choices_changed.connect(self.show_choices)
        session.noticed.connect(self.show_notice)
        session.continuous_changed.connect(self.show_continuous)
        session.card_found.connect(self.show_card)
        session.job.changed.connect(self.show_phase)
        session.job.progressed.connect(self.show_progress)
        session.show_in(self)
        self.show_choices()
        self.show_card()
        self.show_picked()
        self.show_continuous()
        self.show_phase()

    def enterEvent(self, event: Any) -> None:
        # Painting on a layer is announced nowhere, so thumbnails are looked at again when they may be looked at.
        self.show_thumbnails()
        super().enterEvent(event)

    def showEvent(self, event: Any) -> None:
        self.session.look_for_card()
        self.show_picked()
        super().showEvent(event)

    def show_choices(self) -> None:
        choices = self.session.choices
        if self.form.choices() != replace(choices, refine=RefineChoices()):
            self.form.set_choices(choices)
        if self.refine_form.choices() != choices.refine:
            self.refine_form.set_choices(choices.refine)

    def show_card(self) -> None:
        found = self.session.found_card
        if found is not None:
            self.form.set_card(found.card, found.obstacle)

    def show_picked(self) -> None:
        picked = self.session.picked
        self.picks.show_names(picked.target, picked.group, len(picked.primitives))
        self.picks.show_result(picked.result, picked.understood)
        self.picks.show_problem(picked.problem)
        self.form.set_painted_only(picked.live_refusal)
        self.form.setVisible(picked.result is None)
        self.refine_form.setVisible(picked.result is not None)
        if picked.result is not None:
            self.refine_form.show_versions(picked.versions, picked.result.id)
        self.show_thumbnails()
        self.show_phase()

    def show_thumbnails(self) -> None:
        if self.isVisible() and not self.session.shows_run:
            picked = self.session.picked
            self.picks.show_pictures(picked.target, picked.primitives if picked.result is None else ())

    def show_phase(self) -> None:
        job, picked, shown = self.session.job, self.session.picked, self.session.shows_run
        page = int(shown and not job.is_thinning)
        if self.pages.currentIndex() != page:
            self._preview_shown = None
            self.preview.set_image(None)
            self.pages.setCurrentIndex(page)
        self.refine_form.setEnabled(not shown)
        self.refine_form.show_ready(not picked.problem)
        self.run.show_begin(picked.result is not None, picked.problem)
        self.run.show_phase(job.phase, shown, job.can_pause, job.can_stop)
        self.show_notice()
        self.show_progress()

    def show_continuous(self) -> None:
        self.refine_form.continuous.setChecked(self.session.continuous.is_on)

    def show_notice(self) -> None:
        job, notice = self.session.job, self.session.notice
        if job.busy and job.is_quiet:
            self.notice.tell(i18n("Refining around your edit…"))
        elif notice is not None and notice.text != self.session.picked.problem:  # which stands at the picks already
            self.notice.tell(notice.text, notice.kind, notice.details)
        else:
            self.notice.tell("\n".join(job.notes) if self.session.shows_run else "", "warning")

    def show_progress(self) -> None:
        job = self.session.job
        if not self.session.shows_run or not self.isVisible():
            return
        if job.proposal is not None and job.phase is Phase.ASKING:
            return self.run.show_question(str(job.proposal))
        self.run.show_progress(job.phase, job.progress, job.written, job.device, job.is_thinning)
        if job.preview is not None and job.preview is not self._preview_shown:
            self._preview_shown = job.preview
            self.preview.set_image(image_of(job.preview))


class PicksView(QWidget):
    """The target with its picture, and the primitives with theirs."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.target_picture = Picture(THUMBNAIL)
        self.target_name = QLabel()
        self.primitives_name = QLabel()
        self.primitives_pictures = Thumbnails()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(MARGIN)
        grid.setColumnStretch(1, 1)
        grid.addWidget(self.target_picture, 0, 0)
        grid.addWidget(self.target_name, 0, 1, Qt.AlignmentFlag.AlignVCenter)
        grid.addWidget(self.primitives_name, 1, 0, 1, 2)
        grid.addWidget(self.primitives_pictures, 2, 0, 1, 2)
        self.understood = QLabel()
        self.understood.setToolTip(i18n("What you have done to the result by hand, as refining will take it."))
        self.problem = QLabel()
        for label in (self.understood, self.problem):
            label.setTextFormat(Qt.TextFormat.PlainText)
        grid.addWidget(self.understood, 3, 0, 1, 2)
        grid.addWidget(self.problem, 4, 0, 1, 2)
        for label in (self.target_name, self.primitives_name, self.understood, self.problem):
            label.setWordWrap(True)
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setToolTip(rules())

    def show_names(self, target: Layer | None, group: Layer | None, count: int) -> None:
        self.target_name.setText(two_lines(i18n("Target"), target.name if target else i18n("none yet")))
        if group is None:
            bitmaps = i18n("none yet")
        elif count == 1:
            bitmaps = i18n("{group}, 1 bitmap", group=group.name)
        else:
            bitmaps = i18n("{group}, {count} bitmaps", group=group.name, count=count)
        self.primitives_name.setText(two_lines(i18n("Primitives"), bitmaps))

    def show_result(self, result: Layer | None, understood: str) -> None:
        """What is refined takes the place of the primitives; None: nothing is."""
        if result is not None:
            self.primitives_name.setText(two_lines(i18n("Refine"), result.name))
            self.understood.setText(understood or i18n("Looking at what you have changed…"))
        self.understood.setVisible(result is not None)

    def show_problem(self, problem: str) -> None:
        self.problem.setText(problem)
        self.problem.setVisible(bool(problem))

    def show_pictures(self, target: Layer | None, primitives: tuple[Layer, ...]) -> None:
        ratio = self.devicePixelRatioF()
        self.target_picture.set_image(thumbnail(target, round(THUMBNAIL * ratio)) if target else None)
        pictures = [thumbnail(layer, round(Thumbnails.SIDE * ratio)) for layer in primitives[:SHOWN_PRIMITIVES]]
        self.primitives_pictures.set_images(pictures, len(primitives))
        self.primitives_pictures.setVisible(bool(primitives))


class NoticeView(QWidget):
    """How the last run went; an unexpected failure can be copied for a report."""

    def __init__(self, icon: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._icon = icon
        self._details = ""
        self.picture = QLabel()
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.text.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.copy = QToolButton()
        self.copy.setText(i18n("Copy details"))
        self.copy.setToolTip(i18n("Copies what happened, in full, to paste it into a report."))
        self.copy.clicked.connect(lambda: QApplication.clipboard().setText(self._details))
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        grid.addWidget(self.picture, 0, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self.text, 0, 1)
        grid.addWidget(self.copy, 1, 1, Qt.AlignmentFlag.AlignLeft)

    def tell(self, text: str, kind: str = "information", details: str = "") -> None:
        """kind: "information", "warning" or "error"; without a text nothing is shown."""
        self.setVisible(bool(text))
        self._details = details
        self.copy.setVisible(bool(details))
        if text:
            lines = text.splitlines()
            hidden = len(lines) - SHOWN_LINES
            if hidden > 0:
                lines[SHOWN_LINES:] = [i18n("And {count} more: rest the mouse here to read all.", count=hidden)]
            self.text.setText("\n".join(lines))
            self.text.setToolTip(text if hidden > 0 else "")
            self.picture.setPixmap(self._icon("dialog-warning").pixmap(16, 16))
            self.picture.setVisible(kind != "information")


class RunBar(QWidget):
    """Progress and the buttons: one to begin with, and those of a run."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.bar = QProgressBar()
        self.bar.setToolTip(i18n("How much of the run is done."))
        self.status = QLabel()
        self.status.setToolTip(i18n("Steps done, likeness to the target (PSNR, higher is closer), and time left."))
        self.status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.status.setWordWrap(True)
        self.begin = QPushButton()
        self.pause = QPushButton(i18n("&Pause"))
        self.stop = QPushButton(i18n("Stop and &keep"))
        self.cancel = QPushButton(i18n("&Cancel"))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.bar)
        column.addWidget(self.status)
        row = QHBoxLayout()
        for button, share in ((self.begin, 1), (self.pause, 3), (self.stop, 4), (self.cancel, 3)):
            button.setMinimumWidth(40)
            row.addWidget(button, share)
        column.addLayout(row)

    def show_begin(self, refines: bool, problem: str) -> None:
        """What the button begins; problem: why it cannot, empty where it can."""
        self.begin.setText(i18n("&Refine") if refines else i18n("&Optimize"))
        self.begin.setEnabled(not problem)
        if problem:
            tip = problem
        elif refines:
            tip = i18n(
                "Improves the instances from where they are now; the result is a new version beside this one, which "
                "is hidden. What is locked stays as it is."
            )
        else:
            tip = i18n("Rebuilds the target from the primitives; the result is a new group of layers above the target.")
        self.begin.setToolTip(tip)

    def show_phase(self, phase: Phase, shown: bool, can_pause: bool, can_stop: bool) -> None:
        """shown: whether a run that is on is shown; one of the continuous mode is not."""
        busy, asks = phase is not Phase.IDLE and shown, phase is Phase.ASKING
        self.begin.setVisible(not busy)
        for widget in (self.status, self.stop, self.cancel):
            widget.setVisible(busy)
        for widget in (self.bar, self.pause):
            widget.setVisible(busy and not asks)
        self.pause.setEnabled(can_pause)
        self.stop.setEnabled(can_stop)
        self.stop.setText(i18n("&Take them away") if asks else i18n("Stop and &keep"))
        self.cancel.setToolTip(
            i18n("Leaves all instances as they are.")
            if asks
            else i18n("Ends the run and leaves the document as it was.")
        )
        self.stop.setToolTip(
            i18n("Makes a new version without these instances; this one is hidden and stays.")
            if asks
            else i18n("Ends the run now and makes layers of the best picture so far.")
        )
        self.pause.setText(i18n("&Resume") if phase is Phase.PAUSED else i18n("&Pause"))
        self.pause.setToolTip(
            i18n("Goes on with the run.") if phase is Phase.PAUSED else i18n("Halts the run after its current step.")
        )

    def show_progress(
        self, phase: Phase, progress: Any, written: tuple[int, int], device: str, is_thinning: bool = False
    ) -> None:
        """progress: a Progress, or None before the first step; device: what is computed on, as far as known."""
        self.bar.setFormat(f"%p% · {device}" if device and phase is not Phase.WRITING else "%p%")
        if phase is Phase.WRITING:
            made, total = written
            self._show(made, total, i18n("Making layers: {made} of {total}", made=made, total=total))
        elif phase is Phase.FINISHING:
            done, total = (progress.step, progress.total) if progress is not None else (0, 0)
            self._show(done, total, i18n("Cutting out the instances…"))
        elif progress is None:
            ready = i18n("Looking for those that matter least…") if is_thinning else i18n("Getting ready…")
            self._show(0, 0, ready)
        else:
            if phase is Phase.PAUSED:
                last = i18n("paused")
            elif progress.seconds_left is None:
                last = i18n("estimating…")
            else:
                last = i18n("{time} left", time=duration(progress.seconds_left))
            text = i18n(
                "Step {step} of {total} · {psnr:.1f} dB · {last}",
                step=progress.step,
                total=progress.total,
                psnr=progress.psnr,
                last=last,
            )
            self._show(progress.step, progress.total, text)

    def show_question(self, text: str) -> None:
        self.status.setText(text)

    def _show(self, value: int, maximum: int, text: str) -> None:
        self.bar.setMaximum(maximum)
        self.bar.setValue(value)
        self.status.setText(text)


def two_lines(head: str, body: str) -> str:
    escaped = body.replace("&", "&amp;").replace("<", "&lt;")
    return f"{head}<br><b>{escaped}</b>"


def line() -> Any:
    frame = QFrame()
    frame.setFrameShape(QFrame.Shape.HLine)
    frame.setFrameShadow(QFrame.Shadow.Sunken)
    return frame
