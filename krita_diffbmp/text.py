"""Text on its way to the artist: translated by Krita's own i18n where there is one."""

from __future__ import annotations

import builtins
from typing import Any


def i18n(text: str, **values: Any) -> str:
    """`text` translated, then its `{name}` fields filled in; `text` is a literal, so that it can be extracted."""
    translate = getattr(builtins, "i18n", None)  # Krita's krita package puts it there
    if translate is not None:
        text = translate(text)
    return text.format(**values) if values else text


def duration(seconds: float) -> str:
    """Time as one would say it: "8 s", "1 min 20 s", "1 h 5 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return i18n("{seconds} s", seconds=whole)
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return i18n("{minutes} min {seconds} s", minutes=minutes, seconds=rest)
    return i18n("{hours} h {minutes} min", hours=minutes // 60, minutes=minutes % 60)
