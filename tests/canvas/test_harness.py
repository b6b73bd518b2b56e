"""The harness itself: what goes wrong in Krita must fail a test, and say why."""

from pathlib import Path

import pytest
from krita_harness.launch import KritaRun, missing_programs

pytestmark = pytest.mark.skipif(bool(missing_programs("kritarunner")), reason="NOT TESTED IN KRITA: no kritarunner")

CHECKS = """
import os
from krita_harness.steps import Until, cases, limit
from krita_diffbmp.qt import QTimer

@cases(3, 4)
def test_good(number):
    yield 0.05
    return {"number": number}

def test_bad():
    yield lambda: True
    raise ValueError("so it is")

def test_slot():
    QTimer.singleShot(0, lambda: 1 / 0)
    yield 0.1

@limit(0.3)
def test_slow():
    while True:
        yield 0.05

def test_waits():
    yield Until(lambda: False, 0.1, "godot")

def test_crash():
    os.abort()

def test_after():
    pass
"""


def test_failures_are_told_and_a_crash_too(tmp_path: Path, krita_profile: Path) -> None:
    file = tmp_path / "in_krita_checks.py"
    file.write_text(CHECKS)
    names = ["test_good[4]", "test_bad", "test_slot", "test_slow", "test_waits", "test_crash", "test_after"]
    with KritaRun(file, names, where="kritarunner", keep=krita_profile) as krita:
        good = krita.wait_for("test_good[4]")
        assert good.error is None
        assert good.report == {"number": 4}
        assert "ValueError: so it is" in str(krita.wait_for("test_bad").error)
        assert "ZeroDivisionError" in str(krita.wait_for("test_slot").error)
        assert "has not ended after 0.3 s" in str(krita.wait_for("test_slow").error)
        assert "waited 0.1 s for godot" in str(krita.wait_for("test_waits").error)
        crash = str(krita.wait_for("test_crash").error)
        assert "Krita crashed (SIGABRT) during test_crash" in crash
        assert "in_krita_checks.py" in crash  # the Python stack, from the log
        assert "crashed" in str(krita.wait_for("test_after").error)
        assert "crashed" in str(krita.wait_for_end())


def test_a_file_that_does_not_load_is_told(tmp_path: Path, krita_profile: Path) -> None:
    file = tmp_path / "in_krita_checks.py"
    file.write_text("import nothing_of_that_name\n")
    with KritaRun(file, ["test_x"], where="kritarunner", keep=krita_profile) as krita:
        assert "nothing_of_that_name" in str(krita.wait_for("test_x").error)
