"""The form of a refinement: what stays, what is added and taken away, and which version is shown."""

from __future__ import annotations

from typing import Any

from krita_diffbmp.problem import Freeze
from krita_diffbmp.qt import (
    QCheckBox,
    QColor,
    QComboBox,
    QGridLayout,
    QIcon,
    QPixmap,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
    pyqtSignal,
)
from krita_diffbmp.text import i18n
from krita_diffbmp.ui import fields
from krita_diffbmp.ui.store import RefineChoices

# Krita's colour labels as its own themes draw them, from 1 on.
LABEL_COLOURS = (
    (i18n("Blue"), (91, 173, 220)),
    (i18n("Green"), (151, 202, 63)),
    (i18n("Yellow"), (247, 229, 61)),
    (i18n("Orange"), (255, 170, 63)),
    (i18n("Brown"), (177, 102, 63)),
    (i18n("Red"), (238, 50, 51)),
    (i18n("Purple"), (191, 106, 209)),
    (i18n("Grey"), (118, 119, 114)),
)
SWATCH = 12  # px


class RefineForm(QWidget):
    """Shows and edits one `RefineChoices`; `changed` follows every edit by the artist."""

    changed = pyqtSignal()
    add_wanted = pyqtSignal()
    thin_wanted = pyqtSignal()
    version_wanted = pyqtSignal(str)  # a group's id
    continuous_wanted = pyqtSignal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        form = fields.form()
        column.addLayout(form)
        self._add_versions(form)
        self._add_run(form)
        self._add_freezing(form)
        self._add_numbers(form)
        fields.align((form,))
        fields.guard_from_wheel(self)
        self.set_choices(RefineChoices())
        self._show_scope()

    def _add_versions(self, form: Any) -> None:
        self.version = QComboBox()
        tip = i18n(
            "The versions that refining has made of this result. Choose one to show it and hide the others: "
            "none is ever deleted."
        )
        fields.row(form, i18n("Version:"), self.version, tip)
        self.version.activated.connect(lambda _: self.version_wanted.emit(self.version.currentData()))

    def _add_run(self, form: Any) -> None:
        self.steps = QSpinBox()
        self.steps.setRange(1, 20000)
        self.steps.setSingleStep(50)
        tip = i18n("How many times every instance that may change is improved, beginning with what is on the canvas.")
        self.continuous = QCheckBox(i18n("After each edit"))
        fields.row(form, i18n("Steps:"), self.steps, tip)
        tip = i18n(
            "Refines the surroundings of an edit by itself, about a second after it: the next edit ends that at "
            "once. Every time is a version and one undo step. Switching it off takes all but the latest three of "
            "them away, in one undo step."
        )
        fields.row(form, i18n("Refine:"), self.continuous, tip)
        self.steps.valueChanged.connect(self._edited)
        self.continuous.clicked.connect(self.continuous_wanted)

    def _add_freezing(self, form: Any) -> None:
        frozen = QWidget()
        grid = QGridLayout(frozen)
        grid.setContentsMargins(0, 0, 0, 0)
        self.freeze = {
            Freeze.POSITION: QCheckBox(i18n("Position")),
            Freeze.ROTATION: QCheckBox(i18n("Rotation")),
            Freeze.SIZE: QCheckBox(i18n("Size")),
            Freeze.COLOR: QCheckBox(i18n("Colour")),
            Freeze.OPACITY: QCheckBox(i18n("Opacity")),
        }
        for index, box in enumerate(self.freeze.values()):
            grid.addWidget(box, index // 2, index % 2)
            box.toggled.connect(self._show_scope)
            box.clicked.connect(self._edited)
        tip = i18n("What stays exactly as it is now. Locked layers stay as they are in any case.")
        fields.row(form, i18n("Freeze:"), frozen, tip, self.freeze[Freeze.POSITION])
        self.scope = fields.choice(
            ("all", i18n("All instances"), i18n("None of them changes what is checked above.")),
            (
                "selected",
                i18n("Selected layers"),
                i18n("Only the layers that are selected in the layer list keep it; the others may change."),
            ),
        )
        tip = fields.tips(i18n("Which instances keep what is checked above."), self.scope)
        fields.row(form, i18n("Applies to:"), self.scope, tip)
        self.label = QComboBox()
        self.label.addItem(i18n("No label"), 0)
        for number, (name, colour) in enumerate(LABEL_COLOURS, 1):
            self.label.addItem(swatch(colour), name, number)
        tip = i18n("Layers with this colour label are treated like locked ones: nothing of them changes.")
        fields.row(form, i18n("Lock label:"), self.label, tip)
        for combo in (self.scope, self.label):
            combo.activated.connect(self._edited)

    def _add_numbers(self, form: Any) -> None:
        self.replace_deleted = QCheckBox(i18n("Replace with new ones"))
        tip = i18n("For every instance that you have deleted a new one is begun where the picture is furthest off.")
        fields.row(form, i18n("Deleted:"), self.replace_deleted, tip)
        self.replace_deleted.clicked.connect(self._edited)
        self.add = QSpinBox()
        self.add.setRange(1, 5000)
        self.add.setSingleStep(10)
        self.add_button = QPushButton(i18n("&Add"))
        tip = i18n(
            "Refines with so many new instances, begun where the picture is furthest off: in the selection, if there "
            "is one."
        )
        fields.row(form, i18n("More:"), fields.side_by_side(self.add, self.add_button), tip, self.add)
        self.thin = fields.percent(0.1, 90.0)
        self.thin_button = QPushButton(i18n("&Thin out…"))
        tip = i18n(
            "Takes away so many of the instances, those that matter least. You are told what that costs before it is "
            "done; locked ones stay."
        )
        fields.row(form, i18n("Fewer:"), fields.side_by_side(self.thin, self.thin_button), tip, self.thin)
        for box in (self.add, self.thin):
            box.valueChanged.connect(self._edited)
        self.add_button.clicked.connect(lambda: self.add_wanted.emit())
        self.thin_button.clicked.connect(lambda: self.thin_wanted.emit())

    def choices(self) -> RefineChoices:
        return RefineChoices(
            steps=self.steps.value(),
            freeze=int(sum(part for part, box in self.freeze.items() if box.isChecked())),
            selected_only=self.scope.currentData() == "selected",
            label=self.label.currentData(),
            replace_deleted=self.replace_deleted.isChecked(),
            add=self.add.value(),
            thin=round(self.thin.value(), 1),
        )

    def set_choices(self, choices: RefineChoices) -> None:
        """Shows `choices` without a `changed`; numbers out of range are brought into it."""
        blocked = self.blockSignals(True)
        self.steps.setValue(choices.steps)
        for part, box in self.freeze.items():
            box.setChecked(bool(choices.freeze & part))
        self.scope.setCurrentIndex(self.scope.findData("selected" if choices.selected_only else "all"))
        self.label.setCurrentIndex(self.label.findData(choices.label))
        self.replace_deleted.setChecked(choices.replace_deleted)
        self.add.setValue(choices.add)
        self.thin.setValue(choices.thin)
        self.blockSignals(blocked)

    def show_versions(self, versions: tuple[tuple[str, str], ...], shown: str) -> None:
        """versions: (group id, what it is called), the first first; shown: the id of the one that is picked."""
        if [(self.version.itemData(i), self.version.itemText(i)) for i in range(self.version.count())] != [*versions]:
            self.version.clear()
            for group_id, name in versions:
                self.version.addItem(name, group_id)
        self.version.setCurrentIndex(self.version.findData(shown))
        self.version.setEnabled(len(versions) > 1)

    def show_ready(self, ready: bool) -> None:
        """Whether there can be a run; the versions can be looked at in any case."""
        self.add_button.setEnabled(ready)
        self.thin_button.setEnabled(ready)

    def _show_scope(self, *_: Any) -> None:
        self.scope.setEnabled(any(box.isChecked() for box in self.freeze.values()))

    def _edited(self, *_: Any) -> None:
        self.changed.emit()


def swatch(colour: tuple[int, int, int]) -> Any:
    """A small square of that colour, as a QIcon."""
    picture = QPixmap(SWATCH, SWATCH)
    picture.fill(QColor(*colour))
    return QIcon(picture)
