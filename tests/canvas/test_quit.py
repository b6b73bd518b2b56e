"""Krita quits while a result is being written: no crash, no hang, no question."""

from pathlib import Path

import pytest
from krita_harness.launch import KritaRun, missing_programs

pytestmark = pytest.mark.skipif(bool(missing_programs("krita")), reason="NOT TESTED IN KRITA: no krita or no Xvfb")


def test_quit_during_a_write_back(krita_profile: Path) -> None:
    file = Path(__file__).with_name("quits.py")
    with KritaRun(file, ["main"], keep=krita_profile, stay=True) as krita:
        assert krita.wait_for("main").error is None
        assert krita.wait_for_end() is None
