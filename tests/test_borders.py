"""Who may import whom: the borders between Krita, the window, the engine and what crosses them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "krita_diffbmp"
NAME = PACKAGE.name
QT = {"PyQt5", "PyQt6", "PySide2", "PySide6"}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, by its absolute name."""
    package = (NAME, *file.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"__import__", "importlib.import_module"}:
            yield ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else "?"


def part_of(file: Path) -> str:
    inner = file.relative_to(PACKAGE).parts
    return inner[0] if len(inner) > 1 else inner[0].removesuffix(".py")


def forbidden(file: Path, module: str) -> bool:
    top = module.split(".")[0]
    own = module.split(".")[1] if module.startswith(NAME + ".") else ""
    part = part_of(file)
    if top == "PIL":  # nothing but numpy and torch has to be installed for Krita's Python
        return True
    if part == "problem":
        return own != "" or top in {"torch", "krita"} | QT
    if part == "engine":
        return top == "krita" or top in QT or own not in {"", "engine", "problem", "card"}
    if top in QT:
        return part != "qt"
    if top == "krita":
        return part not in {"canvas", "__init__"}
    if top == "torch":
        return part not in {"job", "libraries"}
    if own == "engine":
        return part not in {"job", "worker"}
    if part in {"qt", "card"}:
        return own != ""
    return part == "canvas" and own in {"ui", "job"}


def test_the_package_is_there():
    assert {"engine", "canvas", "ui", "problem", "qt"} <= {part_of(file) for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_keep_to_their_side(file: Path):
    crossing = sorted({module for module in imports(file) if forbidden(file, module)})
    assert not crossing, f"{file.relative_to(PACKAGE.parent)} must not import {', '.join(crossing)}"


@pytest.mark.parametrize(
    ("file", "line", "wrong"),
    [
        ("engine/render.py", "from krita_diffbmp.qt import QTimer", True),
        ("engine/render.py", "from ..canvas import capture", True),
        ("engine/render.py", "def f():\n    import krita", True),
        ("engine/render.py", "from ..problem import Problem\nimport torch", False),
        ("engine/pieces.py", "from PIL import Image", True),
        ("engine/optimize.py", "from ..card import find_card", False),
        ("card.py", "import torch", True),
        ("card.py", "from krita_diffbmp.engine import gpu", True),
        ("canvas/capture.py", "from krita_diffbmp import engine", True),
        ("canvas/capture.py", "import torch.nn", True),
        ("canvas/capture.py", "from PyQt5.QtCore import QTimer", True),
        ("canvas/capture.py", "from krita import Krita\nfrom ..qt import QTimer", False),
        ("ui/docker.py", "from krita import DockWidget", True),
        ("ui/docker.py", "from ..problem import Settings", False),
        ("job.py", "from .engine import optimize", False),
        ("problem.py", "import numpy as np", False),
        ("problem.py", "import torch", True),
    ],
)
def test_a_crossing_is_seen(file: str, line: str, wrong: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: line)
    path = PACKAGE / file
    assert any(forbidden(path, module) for module in imports(path)) is wrong
