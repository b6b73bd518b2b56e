"""What lasts from one start of Krita to the next, and quitting with a run going on."""

from __future__ import annotations

from pathlib import Path

import pytest
from krita_harness.launch import KritaRun, missing_programs

CHECKS = Path(__file__).with_name("restarts.py")

pytestmark = pytest.mark.skipif(bool(missing_programs("krita")), reason="NOT TESTED IN KRITA: no Krita or Xvfb here")


def krita(check: str, profile: Path) -> None:
    """Runs one check in a Krita of its own, which must end well."""
    with KritaRun(CHECKS, [check], plugin=True, keep=profile, keep_settings=True) as run:
        outcome = run.wait_for(check)
        assert outcome.error is None, f"{outcome.error}\n{run.log_tail()}"
        ended = run.wait_for_end()
        assert ended is None, ended


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profile")


def test_settings_are_remembered_and_reset(profile: Path):
    for check in ("choose", "remembered", "reset_remembered"):
        krita(check, profile)


@pytest.mark.parametrize("check", ["run_and_quit", "load_and_quit", "warm_up_and_quit"])
def test_quitting_with_a_run_going_on(check: str, profile: Path):
    krita(check, profile)


@pytest.mark.parametrize("check", ["write_and_quit", "feed_and_quit"])
def test_quitting_while_layers_are_made(check: str, profile: Path):
    with KritaRun(CHECKS, [check], plugin=True, keep=profile, keep_settings=True) as run:
        assert run.process.wait(90) == 0, run.log_tail()


@pytest.mark.parametrize("check", ["quit_while_a_round_optimises", "quit_while_a_round_writes"])
def test_quitting_while_a_round_of_the_continuous_mode_goes_on(check: str, profile: Path):
    with KritaRun(CHECKS, [check], plugin=True, keep=profile, keep_settings=True) as run:
        assert run.process.wait(120) == 0, run.log_tail()
        assert "Traceback" not in run.log.read_text(errors="replace"), run.log_tail()
    krita("saved_before_is_whole", profile)
