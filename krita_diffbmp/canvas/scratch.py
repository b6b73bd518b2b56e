"""A document that the artist never sees, in which colours are converted and pictures put together.

To make one and to close it stops the window for a twentieth of a second each: Krita then tells all its lists of
brushes and palettes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from krita import Krita

from krita_diffbmp.canvas.layers import owned
from krita_diffbmp.canvas.space import Space
from krita_diffbmp.problem import DiffBmpError


def open_scratch(width: int, height: int, space: Space) -> Any:
    """A new empty document without a view, as Krita's Document; `close_scratch` must follow.

    Raises DiffBmpError when Krita cannot make one in that colour space.
    """
    handle = Krita.instance().createDocument(
        width, height, "DiffBMP scratch", space.model, space.depth, space.profile, 72.0
    )
    if handle is None or Space.of(handle) != space:
        if handle is not None:
            close_scratch(handle)
        raise DiffBmpError(
            f"Krita does not find the document's colour profile “{space.profile}”: "
            "assign an installed one with Image > Properties > Image Color Space."
        )
    handle.setBatchmode(True)
    for node in owned(handle.topLevelNodes()):
        node.remove()
    return handle


def close_scratch(handle: Any) -> None:
    """Closes it without a question."""
    handle.waitForDone()
    handle.setModified(False)
    handle.close()


@contextmanager
def scratch(width: int, height: int, space: Space) -> Iterator[Any]:
    """`open_scratch` and `close_scratch` around a block."""
    handle = open_scratch(width, height, space)
    try:
        yield handle
    finally:
        close_scratch(handle)
