"""The form with everything the artist can choose."""

from __future__ import annotations

import random
from typing import Any

from krita_diffbmp.card import Card
from krita_diffbmp.problem import Settings
from krita_diffbmp.qt import (
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QSpinBox,
    Qt,
    QToolButton,
    QVBoxLayout,
    QWidget,
    pyqtSignal,
)
from krita_diffbmp.text import i18n
from krita_diffbmp.ui import fields
from krita_diffbmp.ui.store import Choices, Form

# What the quality presets stand for, in steps and working size in px; anything else is "Custom".
PRESETS = {"draft": (100, 512), "normal": (300, 1024), "fine": (1000, 2048)}
SEED_END = 2**31


class SettingsForm(QWidget):
    """Shows and edits one `Choices`; `changed` follows every edit by the artist."""

    changed = pyqtSignal()

    def __init__(self, icon: Any, parent: Any = None) -> None:
        """`icon(name)` gives Krita's icon of that name."""
        super().__init__(parent)
        self._icon = icon
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        basic = fields.form()
        column.addLayout(basic)
        self._add_basic(basic)

        self.unfold = QToolButton()
        self.unfold.setText(i18n("Advanced"))
        self.unfold.setToolTip(i18n("Settings that seldom need a change."))
        self.unfold.setCheckable(True)
        self.unfold.setAutoRaise(True)
        self.unfold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.unfold.toggled.connect(self._fold)
        self.reset = QPushButton(i18n("Reset"))
        self.reset.setToolTip(i18n("Puts every setting back to its default."))
        self.reset.clicked.connect(self._reset)
        row = QHBoxLayout()
        row.addWidget(self.unfold)
        row.addStretch(1)
        row.addWidget(self.reset)

        self.advanced = QWidget()
        advanced = fields.form(self.advanced)
        self._add_advanced(advanced)
        column.addLayout(row)
        column.addWidget(self.advanced)
        fields.align((basic, advanced))
        fields.guard_from_wheel(self)
        self._show_fold(False)
        self.set_choices(Choices())

    def _add_basic(self, form: Any) -> None:
        self.instances = QSpinBox()
        self.instances.setRange(0, 100000)
        self.instances.setSingleStep(50)
        fields.row(
            form,
            i18n("Instances:"),
            self.instances,
            i18n(
                "How many copies of your bitmaps rebuild the picture. Each becomes a layer: "
                "more show more detail and take longer."
            ),
        )

        self.min_size = fields.percent(0.1, 100.0)
        self.max_size = fields.percent(0.1, 200.0)
        tip = i18n(
            "The longest side of the smallest and of the largest instance, as a part of the picture's long side. "
            "Fine parts of the picture begin with small instances, calm parts with large ones."
        )
        fields.row(
            form,
            i18n("Size:"),
            fields.side_by_side(self.min_size, QLabel(i18n("to")), self.max_size),
            tip,
            self.min_size,
        )

        self.preset = QComboBox()
        for key, label in (
            ("draft", i18n("Draft")),
            ("normal", i18n("Normal")),
            ("fine", i18n("Fine")),
            ("", i18n("Custom")),
        ):
            self.preset.addItem(label, key)
        self.steps = QSpinBox()
        self.steps.setRange(1, 20000)
        self.steps.setSingleStep(50)
        self.steps.setSuffix(i18n(" steps"))
        tip = i18n(
            "How many times every instance is improved, and at which working size. Draft is for trying settings out, "
            "Fine for the final picture."
        )
        fields.row(form, i18n("Quality:"), fields.side_by_side(self.preset, self.steps), tip, self.preset)

        self.mu_blend = QSlider(Qt.Orientation.Horizontal)
        self.mu_blend.setRange(0, 100)
        self.mu_blend.setPageStep(10)
        tip = i18n(
            "Left: each instance takes one colour, found by the optimiser, and your bitmap gives its shape and "
            "transparency. "
            "Right: your bitmaps keep their own colours. In between, both are mixed."
        )
        ends = fields.side_by_side(QLabel(i18n("Tinted")), self.mu_blend, QLabel(i18n("Original")))
        fields.row(form, i18n("Colours:"), ends, tip, self.mu_blend)

        self.alpha_max = QSpinBox()
        self.alpha_max.setRange(5, 100)
        self.alpha_max.setSuffix(" %")
        fields.row(
            form,
            i18n("Opacity up to:"),
            self.alpha_max,
            i18n("No instance gets more opaque than this. Lower values give glazes and soft mixtures."),
        )

        self.background = fields.choice(
            (
                "noise",
                i18n("Covered (noise)"),
                i18n("Nothing is assumed behind the picture, so that the instances cover it without gaps."),
            ),
            ("white", i18n("White paper"), i18n("White shows wherever no instance lies: bright parts may stay empty.")),
            (
                "transparent",
                i18n("Transparent"),
                i18n("The picture's own transparency is rebuilt too: good for cut-outs."),
            ),
        )
        fields.row(
            form,
            i18n("Background:"),
            self.background,
            fields.tips(i18n("What lies behind the instances."), self.background),
        )

        self.painted_only = False
        self.form_wanted: Form = "live"  # what the artist chose, also while the document allows painted layers only
        self.form = fields.choice(
            (
                "live",
                i18n("Live"),
                i18n("Each instance stays your bitmap under a transform: move, turn and scale it later without loss."),
            ),
            (
                "painted",
                i18n("Painted"),
                i18n("Each instance is a paint layer with finished pixels: paint on it, erase it, smudge it."),
            ),
        )
        fields.row(form, i18n("Layers:"), self.form, fields.tips(i18n("What the result is made of."), self.form))
        self.form_note = QLabel()
        self.form_note.setWordWrap(True)
        self.form_note.hide()
        form.addRow(self.form_note)

        self.instances.valueChanged.connect(self._edited)
        self.min_size.valueChanged.connect(lambda value: self.max_size.setValue(max(value, self.max_size.value())))
        self.max_size.valueChanged.connect(lambda value: self.min_size.setValue(min(value, self.min_size.value())))
        for box in (self.min_size, self.max_size):
            box.valueChanged.connect(self._edited)
        self.preset.activated.connect(self._preset_chosen)
        self.steps.valueChanged.connect(self._quality_edited)
        for signal in (self.mu_blend.valueChanged, self.alpha_max.valueChanged):
            signal.connect(self._edited)
        self.background.activated.connect(self._edited)
        self.form.activated.connect(self._form_chosen)

    def _add_advanced(self, form: Any) -> None:
        self.max_stretch = QDoubleSpinBox()
        self.max_stretch.setRange(1.0, 4.0)
        self.max_stretch.setSingleStep(0.25)
        self.max_stretch.setSuffix(i18n(" times"))
        self.max_stretch.setSpecialValueText(i18n("Not at all"))  # at the least
        fields.row(
            form,
            i18n("Stretch:"),
            self.max_stretch,
            i18n(
                "How much wider or narrower than your bitmap an instance may become. The picture comes closer to the "
                "target; it is computed on the processor."
            ),
        )
        self.working_size = QSpinBox()
        self.working_size.setRange(32, 8192)
        self.working_size.setSingleStep(128)
        self.working_size.setSuffix(i18n(" px"))
        fields.row(
            form,
            i18n("Working size:"),
            self.working_size,
            i18n(
                "A picture with a longer side than this is optimised smaller, which is faster; "
                "the layers are made at full size."
            ),
        )
        self.seed = QSpinBox()
        self.seed.setRange(0, SEED_END - 1)
        dice = QToolButton()
        dice.setIcon(self._icon("view-refresh"))
        dice.setToolTip(i18n("Takes a new random seed."))
        dice.setAccessibleName(i18n("New seed"))
        dice.clicked.connect(lambda: self.seed.setValue(random.randrange(SEED_END)))
        self.new_seed = dice
        tip = i18n("The same seed gives the same result again; another seed gives another arrangement.")
        fields.row(form, i18n("Seed:"), fields.side_by_side(self.seed, dice), tip, self.seed)
        self.device = fields.choice(
            ("auto", i18n("Automatic"), i18n("The graphics card if it can be used, otherwise the processor.")),
            ("cpu", i18n("Processor (CPU)"), i18n("Runs on every machine.")),
            ("cuda", i18n("Graphics card (CUDA)"), i18n("Needs an NVIDIA card and a PyTorch with CUDA.")),
        )
        fields.row(form, i18n("Compute on:"), self.device, self._device_tips())
        self.max_stretch.valueChanged.connect(self._edited)
        self.working_size.valueChanged.connect(self._quality_edited)
        self.seed.valueChanged.connect(self._edited)
        self.device.activated.connect(self._edited)

    # --- what it shows

    def choices(self) -> Choices:
        settings = Settings(
            instances=self.instances.value(),
            min_size=round(self.min_size.value() / 100, 4),
            max_size=round(self.max_size.value() / 100, 4),
            steps=self.steps.value(),
            mu_blend=self.mu_blend.value() / 100,
            alpha_max=self.alpha_max.value() / 100,
            background=self.background.currentData(),
            seed=self.seed.value(),
            device=self.device.currentData(),
            working_size=self.working_size.value(),
            max_stretch=round(self.max_stretch.value(), 2),
        )
        return Choices(settings, self.form_wanted, self.unfold.isChecked())

    def set_choices(self, choices: Choices) -> None:
        """Shows `choices` without a `changed`; numbers out of range are brought into it."""
        settings = choices.settings
        blocked = self.blockSignals(True)
        self.instances.setValue(settings.instances)
        self.max_size.setValue(settings.max_size * 100)
        self.min_size.setValue(settings.min_size * 100)
        self.steps.setValue(settings.steps)
        self.mu_blend.setValue(round(settings.mu_blend * 100))
        self.alpha_max.setValue(round(settings.alpha_max * 100))
        self.working_size.setValue(settings.working_size)
        self.seed.setValue(settings.seed)
        self.max_stretch.setValue(settings.max_stretch)
        for combo, key in ((self.background, settings.background), (self.device, settings.device)):
            combo.setCurrentIndex(combo.findData(key))
        self.form_wanted = choices.form
        self._show_form()
        self.unfold.setChecked(choices.advanced)
        self.blockSignals(blocked)
        self._show_preset()

    def set_painted_only(self, reason: str) -> None:
        """`reason`: why live layers are not possible in this document; empty where they are."""
        self.painted_only = bool(reason)
        self.form_note.setText(reason)
        self.form_note.setVisible(self.painted_only)
        self.form.setEnabled(not self.painted_only)
        self._show_form()

    def set_card(self, card: Card | None, obstacle: str) -> None:
        """Names the NVIDIA card, if there is one; `obstacle`: why a run cannot take place on it, empty if it can."""
        chosen = card if card is not None and not obstacle else i18n("CPU")
        self.device.setItemText(self.device.findData("auto"), i18n("Automatic ({device})", device=chosen))
        if card is not None:
            index = self.device.findData("cuda")
            self.device.setItemText(index, i18n("CUDA: {card}", card=card))
            tip = obstacle and i18n("Not usable yet: {obstacle}.", obstacle=obstacle)
            self.device.setItemData(index, tip or i18n("Faster than the processor."), Qt.ItemDataRole.ToolTipRole)
        self.device.setToolTip(self._device_tips())
        view = self.device.view()
        view.setMinimumWidth(view.sizeHintForColumn(0) + 2 * view.frameWidth())

    def _device_tips(self) -> str:
        return fields.tips(i18n("Where the optimiser runs."), self.device)

    def _show_form(self) -> None:
        self.form.setCurrentIndex(self.form.findData("painted" if self.painted_only else self.form_wanted))

    def _form_chosen(self, *_: Any) -> None:
        self.form_wanted = self.form.currentData()
        self.changed.emit()

    def _edited(self, *_: Any) -> None:
        self.changed.emit()

    def _preset_chosen(self, *_: Any) -> None:
        preset = PRESETS.get(self.preset.currentData())
        if preset is None:
            self.steps.setFocus()
            self.steps.selectAll()
        else:
            blocked = self.blockSignals(True)
            self.steps.setValue(preset[0])
            self.working_size.setValue(preset[1])
            self.blockSignals(blocked)
            self._quality_edited()

    def _quality_edited(self, *_: Any) -> None:
        self._show_preset()
        self.changed.emit()

    def _show_preset(self) -> None:
        shown = self.steps.value(), self.working_size.value()
        key = next((name for name, preset in PRESETS.items() if preset == shown), "")
        self.preset.setCurrentIndex(self.preset.findData(key))

    def _show_fold(self, unfolded: bool) -> None:
        self.unfold.setArrowType(Qt.ArrowType.DownArrow if unfolded else Qt.ArrowType.RightArrow)
        self.advanced.setVisible(unfolded)

    def _fold(self, unfolded: bool) -> None:
        self._show_fold(unfolded)
        self.changed.emit()

    def _reset(self) -> None:
        self.set_choices(Choices(advanced=self.unfold.isChecked()))
        self.changed.emit()
