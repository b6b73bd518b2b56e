"""The docker's content: what is picked, the settings, the run."""

from __future__ import annotations

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
from krita_diffbmp.ui.session import Session
from krita_diffbmp.ui.settings import SettingsForm

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
        self.form.changed.connect(lambda: session.choose(self.form.choices()))
        self.preview = Picture()
        self.preview.setToolTip(i18n("The picture as it forms, from all instances so far."))
        self.preview.setAccessibleName(i18n("Preview"))
        self.notice = NoticeView(session.krita.icon)
        self.run = RunBar()
        self.run.optimize.clicked.connect(session.optimize)
        self.run.pause.clicked.connect(session.toggle_pause)
        self.run.stop.clicked.connect(session.stop)
        self.run.cancel.clicked.connect(session.cancel)

        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        column.addWidget(self.picks)
        column.addWidget(line())
        column.addWidget(self.form)
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
        session.card_found.connect(self.show_card)
        session.job.changed.connect(self.show_phase)
        session.job.progressed.connect(self.show_progress)
        session.show_in(self)
        self.show_choices()
        self.show_card()
        self.show_picked()
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
        if self.form.choices() != self.session.choices:
            self.form.set_choices(self.session.choices)

    def show_card(self) -> None:
        found = self.session.found_card
        if found is not None:
            self.form.set_card(found.card, found.obstacle)

    def show_picked(self) -> None:
        picked = self.session.picked
        self.picks.show_names(picked.target, picked.group, len(picked.primitives))
        self.picks.show_problem(picked.problem)
        self.form.set_painted_only(picked.live_refusal)
        self.show_thumbnails()
        self.show_phase()

    def show_thumbnails(self) -> None:
        if self.isVisible() and not self.session.job.busy:
            picked = self.session.picked
            self.picks.show_pictures(picked.target, picked.primitives)

    def show_phase(self) -> None:
        job = self.session.job
        if self.pages.currentIndex() != int(job.busy):
            self._preview_shown = None
            self.preview.set_image(None)
            self.pages.setCurrentIndex(int(job.busy))
        self.run.show_phase(job.phase, ready=not self.session.picked.problem)
        self.show_notice()
        self.show_progress()

    def show_notice(self) -> None:
        job, notice = self.session.job, self.session.notice
        if notice is not None:
            self.notice.tell(notice.text, notice.kind, notice.details)
        else:
            self.notice.tell("\n".join(job.notes) if job.busy else "", "warning")

    def show_progress(self) -> None:
        job = self.session.job
        if not job.busy or not self.isVisible():
            return
        self.run.show_progress(job.phase, job.progress, job.written, job.device)
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
        self.problem = QLabel()
        self.problem.setTextFormat(Qt.TextFormat.PlainText)
        grid.addWidget(self.problem, 3, 0, 1, 2)
        for label in (self.target_name, self.primitives_name, self.problem):
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
    """Progress and the four buttons."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.bar = QProgressBar()
        self.bar.setToolTip(i18n("How much of the run is done."))
        self.status = QLabel()
        self.status.setToolTip(i18n("Steps done, likeness to the target (PSNR, higher is closer), and time left."))
        self.status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.optimize = QPushButton(i18n("&Optimize"))
        self.pause = QPushButton(i18n("&Pause"))
        self.stop = QPushButton(i18n("Stop and &keep"))
        self.stop.setToolTip(i18n("Ends the run now and makes layers of the best picture so far."))
        self.cancel = QPushButton(i18n("&Cancel"))
        self.cancel.setToolTip(i18n("Ends the run and leaves the document as it was."))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.bar)
        column.addWidget(self.status)
        row = QHBoxLayout()
        for button, share in ((self.optimize, 1), (self.pause, 3), (self.stop, 4), (self.cancel, 3)):
            button.setMinimumWidth(40)
            row.addWidget(button, share)
        column.addLayout(row)

    def show_phase(self, phase: Phase, ready: bool) -> None:
        busy = phase is not Phase.IDLE
        self.optimize.setVisible(not busy)
        self.optimize.setEnabled(ready)
        self.optimize.setToolTip(
            i18n("Rebuilds the target from the primitives; the result is a new group of layers above the target.")
            if ready
            else i18n("Pick a target and a group of bitmaps first.")
        )
        for widget in (self.bar, self.status, self.pause, self.stop, self.cancel):
            widget.setVisible(busy)
        optimising = phase in (Phase.STARTING, Phase.RUNNING, Phase.PAUSED)
        self.pause.setEnabled(optimising)
        self.stop.setEnabled(optimising)
        self.pause.setText(i18n("&Resume") if phase is Phase.PAUSED else i18n("&Pause"))
        self.pause.setToolTip(
            i18n("Goes on with the run.") if phase is Phase.PAUSED else i18n("Halts the run after its current step.")
        )

    def show_progress(self, phase: Phase, progress: Any, written: tuple[int, int], device: str) -> None:
        """progress: a Progress, or None before the first step; device: what is computed on, as far as known."""
        self.bar.setFormat(f"%p% · {device}" if device and phase is not Phase.WRITING else "%p%")
        if phase is Phase.WRITING:
            made, total = written
            self._show(made, total, i18n("Making layers: {made} of {total}", made=made, total=total))
        elif progress is None:
            self._show(0, 0, i18n("Getting ready…"))
        elif phase is Phase.FINISHING:
            self._show(progress.step, progress.total, i18n("Cutting out the instances…"))
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
