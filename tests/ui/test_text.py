from __future__ import annotations

import builtins

import pytest

from krita_diffbmp.text import duration, i18n


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (-3, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (3700, "1 h 1 min")],
)
def test_durations(seconds: float, said: str):
    assert duration(seconds) == said


def test_translations_are_filled_in_after_translating(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(builtins, "i18n", {"{n} layers": "{n} Ebenen"}.__getitem__, raising=False)
    assert i18n("{n} layers", n=3) == "3 Ebenen"
