"""Rows of fields, as every form of the docker has them."""

from __future__ import annotations

from typing import Any

from krita_diffbmp.qt import (
    QComboBox,
    QDoubleSpinBox,
    QEvent,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QObject,
    QPushButton,
    QSizePolicy,
    QSlider,
    QSpinBox,
    Qt,
    QToolButton,
    QWidget,
)


class WheelGuard(QObject):
    """Scrolling the docker changes no field that the pointer happens to pass."""

    def eventFilter(self, widget: Any, event: Any) -> bool:
        if event.type() == QEvent.Type.Wheel and not widget.hasFocus():
            event.ignore()
            return True
        return False


def guard_from_wheel(owner: Any) -> None:
    """Puts a WheelGuard on every field in a widget."""
    guard = WheelGuard(owner)
    for kind in (QSpinBox, QDoubleSpinBox, QComboBox, QSlider):
        for field in owner.findChildren(kind):
            field.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            field.installEventFilter(guard)


def form(owner: Any = None) -> Any:
    """An empty QFormLayout."""
    layout = QFormLayout(owner) if owner is not None else QFormLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
    return layout


def align(forms: Any) -> None:
    """Gives the labels of all forms one width, so that the fields stand in one column."""
    labels = [each.itemAt(row, QFormLayout.ItemRole.LabelRole) for each in forms for row in range(each.rowCount())]
    labels = [item.widget() for item in labels if item is not None]
    width = max(label.sizeHint().width() for label in labels)
    for label in labels:
        label.setMinimumWidth(width)


def percent(low: float, high: float) -> Any:
    box = QDoubleSpinBox()
    box.setRange(low, high)
    box.setDecimals(1)
    box.setSuffix(" %")
    return box


def choice(*entries: tuple[str, str, str]) -> Any:
    """A QComboBox of (key, label, tooltip)."""
    combo = QComboBox()
    for index, (key, label, tip) in enumerate(entries):
        combo.addItem(label, key)
        combo.setItemData(index, tip, Qt.ItemDataRole.ToolTipRole)
    return combo


def tips(head: str, combo: Any) -> str:
    """A tooltip with a line for each entry."""
    lines = [
        f"<b>{combo.itemText(i)}</b>: {combo.itemData(i, Qt.ItemDataRole.ToolTipRole)}" for i in range(combo.count())
    ]
    return "<p>" + head + "</p><p>" + "</p><p>".join(lines) + "</p>"


def side_by_side(*widgets: Any) -> Any:
    """One widget with these in a row; labels and buttons take what they need, the others share the rest."""
    owner = QWidget()
    row = QHBoxLayout(owner)
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget, 0 if isinstance(widget, QLabel | QToolButton | QPushButton) else 1)
    return owner


def row(layout: Any, text: str, field: Any, tip: str, buddy: Any = None) -> None:
    """Adds a labelled field to a form; `buddy`: what the label's key goes to, where the field is of several."""
    label = QLabel(text)
    buddy = buddy if buddy is not None else field
    label.setBuddy(buddy)
    for box in (
        *field.findChildren(QSpinBox),
        *field.findChildren(QDoubleSpinBox),
        *field.findChildren(QComboBox),
        field,
    ):
        # Otherwise the longest entry, not the docker, would decide how narrow the form can get.
        if isinstance(box, QComboBox):
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(6)
        if isinstance(box, QSpinBox | QDoubleSpinBox | QComboBox):
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            box.setMinimumWidth(60)
            box.setAccessibleName(text.rstrip(":"))
    for widget in (label, field, *field.findChildren(QWidget)):
        if not widget.toolTip():
            widget.setToolTip(tip)
    layout.addRow(label, field)
