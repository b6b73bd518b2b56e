"""Choices through Krita's settings file, which keeps text and which anybody may edit."""

from __future__ import annotations

import pytest

from krita_diffbmp.problem import Settings
from krita_diffbmp.ui import store
from krita_diffbmp.ui.store import Choices, RefineChoices

REFINE = RefineChoices(7, 18, True, 3, True, 20, 2.5)


class SettingsFile:
    """Krita's readSetting and writeSetting."""

    def __init__(self, **texts: str) -> None:
        self.texts = texts
        self.written: list[str] = []

    def read(self, section: str, key: str, default: str) -> str:
        assert section == "krita_diffbmp"
        return self.texts.get(key, default)

    def write(self, section: str, key: str, value: str) -> None:
        assert section == "krita_diffbmp" and isinstance(value, str)
        self.texts[key] = value
        self.written.append(key)


def test_nothing_stored_gives_the_defaults():
    assert store.load(SettingsFile().read) == Choices()


def test_what_is_saved_is_loaded():
    chosen = Choices(Settings(7, 0.01, 0.5, 11, 0.3, 0.7, "white", 5, "cpu", 333), "painted", True, REFINE)
    file = SettingsFile()
    store.save(file.write, chosen)
    assert store.load(file.read) == chosen


def test_what_a_refinement_freezes_is_one_of_what_can_be():
    for key, text in (("refine_freeze", "32"), ("refine_freeze", "-1"), ("refine_label", "9")):
        assert store.load(SettingsFile(**{key: text}).read) == Choices()


def test_only_what_changed_is_written():
    file = SettingsFile()
    store.save(file.write, Choices(Settings(seed=9)), Choices())
    assert file.written == ["seed"]


@pytest.mark.parametrize(
    "key",
    [
        *("instances", "min_size", "steps", "mu_blend", "background", "device", "form", "advanced", "seed"),
        *("refine_steps", "refine_freeze", "refine_selected_only", "refine_thin"),
    ],
)
@pytest.mark.parametrize("text", ["", "?", "12 apples", "None", "nan", "1e999", "9" * 400, "-9999999999", "\u0663"])
def test_nonsense_in_the_file_does_no_harm(key: str, text: str):
    loaded = store.flat(store.load(SettingsFile(**{key: text}).read))
    defaults = store.flat(Choices())
    assert {k: v for k, v in loaded.items() if k != key} == {k: v for k, v in defaults.items() if k != key}
    assert type(loaded[key]) is type(defaults[key])
    if isinstance(loaded[key], float):
        assert 0 <= loaded[key] < 1000
    if isinstance(loaded[key], int):
        assert 0 <= loaded[key] < 2**31
