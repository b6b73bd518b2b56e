"""What the artist is told about how a run went."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass

from krita_diffbmp.problem import DiffBmpError
from krita_diffbmp.text import i18n

log = logging.getLogger("krita_diffbmp")


@dataclass(frozen=True)
class Notice:
    """A sentence for the artist about how a run went, or why there is none."""

    text: str
    kind: str = "information"  # or "warning", "error"
    details: str = ""  # a traceback, for a bug report


def notice_of(failure: BaseException) -> Notice:
    """What to tell the artist about an exception; one that is not ours goes to the log as well."""
    if isinstance(failure, DiffBmpError):
        return Notice(str(failure), "error")
    details = "".join(traceback.format_exception(failure))
    log.error("the run failed\n%s", details)
    if is_out_of_memory(failure):
        text = i18n(
            "The memory does not suffice for this run: choose a smaller working size or fewer instances, "
            "or close other documents."
        )
        return Notice(text, "error", details)
    return Notice(
        i18n("Something went wrong, and nothing was changed: {failure}", failure=last_line(failure)), "error", details
    )


def last_line(failure: BaseException) -> str:
    lines = str(failure).strip().splitlines()
    return lines[-1] if lines else type(failure).__name__


def is_out_of_memory(failure: BaseException) -> bool:
    """torch has an exception of its own for the graphics card only; its CPU allocator raises RuntimeError."""
    text = str(failure).lower()
    return (
        isinstance(failure, MemoryError)
        or "out of memory" in text
        or "not enough memory" in text
        or "can't allocate memory" in text
    )
