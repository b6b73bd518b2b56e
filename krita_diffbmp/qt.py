"""Qt under one name: PyQt5 in Krita 5, PyQt6 in Krita 6. No other file names either.

Importing the binding of the other Qt into Krita's process would end it, so the one that Krita's own
module has loaded already is taken. Enumerations are written in full everywhere (`Qt.AlignmentFlag.AlignLeft`):
PyQt6 knows no other spelling and PyQt5 understands it too.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or "PyQt6.QtCore" not in sys.modules:
    from PyQt5 import QtCore, QtGui, QtWidgets, sip
    from PyQt5.QtCore import (
        QBuffer,
        QByteArray,
        QEvent,
        QIODevice,
        QLocale,
        QObject,
        QPointF,
        QRect,
        QRectF,
        QSize,
        Qt,
        QTimer,
        pyqtSignal,
    )
    from PyQt5.QtGui import QColor, QFont, QFontMetrics, QIcon, QImage, QPainter, QPixmap, QTransform
    from PyQt5.QtWidgets import (
        QAction,
        QApplication,
        QCheckBox,
        QComboBox,
        QDoubleSpinBox,
        QFormLayout,
        QFrame,
        QGridLayout,
        QHBoxLayout,
        QLabel,
        QLayout,
        QProgressBar,
        QPushButton,
        QScrollArea,
        QSizePolicy,
        QSlider,
        QSpinBox,
        QStackedWidget,
        QStyle,
        QToolButton,
        QTreeView,
        QVBoxLayout,
        QWidget,
    )
else:
    from PyQt6 import QtCore, QtGui, QtWidgets, sip
    from PyQt6.QtCore import (
        QBuffer,
        QByteArray,
        QEvent,
        QIODevice,
        QLocale,
        QObject,
        QPointF,
        QRect,
        QRectF,
        QSize,
        Qt,
        QTimer,
        pyqtSignal,
    )
    from PyQt6.QtGui import QAction, QColor, QFont, QFontMetrics, QIcon, QImage, QPainter, QPixmap, QTransform
    from PyQt6.QtWidgets import (
        QApplication,
        QCheckBox,
        QComboBox,
        QDoubleSpinBox,
        QFormLayout,
        QFrame,
        QGridLayout,
        QHBoxLayout,
        QLabel,
        QLayout,
        QProgressBar,
        QPushButton,
        QScrollArea,
        QSizePolicy,
        QSlider,
        QSpinBox,
        QStackedWidget,
        QStyle,
        QToolButton,
        QTreeView,
        QVBoxLayout,
        QWidget,
    )

__all__ = [
    "QAction",
    "QApplication",
    "QBuffer",
    "QByteArray",
    "QCheckBox",
    "QColor",
    "QComboBox",
    "QDoubleSpinBox",
    "QEvent",
    "QFont",
    "QFontMetrics",
    "QFormLayout",
    "QFrame",
    "QGridLayout",
    "QHBoxLayout",
    "QIODevice",
    "QIcon",
    "QImage",
    "QLabel",
    "QLayout",
    "QLocale",
    "QObject",
    "QPainter",
    "QPixmap",
    "QPointF",
    "QProgressBar",
    "QPushButton",
    "QRect",
    "QRectF",
    "QScrollArea",
    "QSize",
    "QSizePolicy",
    "QSlider",
    "QSpinBox",
    "QStackedWidget",
    "QStyle",
    "QTimer",
    "QToolButton",
    "QTransform",
    "QTreeView",
    "QVBoxLayout",
    "QWidget",
    "Qt",
    "QtCore",
    "QtGui",
    "QtWidgets",
    "pyqtSignal",
    "sip",
]
