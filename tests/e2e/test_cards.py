"""The docker on a machine with a graphics card, as far as a library that stands for its driver goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from krita_harness.launch import KritaRun, missing_programs

from tests.ui.driver import build_driver

CHECKS = Path(__file__).with_name("cards.py")

pytestmark = pytest.mark.skipif(bool(missing_programs("krita")), reason="NOT TESTED IN KRITA: no Krita or Xvfb here")


@pytest.mark.parametrize(
    ("check", "card"), [("card_of_no_use", "slow"), ("card_to_run_on", ""), ("no_card", "no driver")]
)
def test_card(check: str, card: str, tmp_path: Path, krita_profile: Path):
    environment = {**build_driver(tmp_path), "FAKE_CARD": card}
    with KritaRun(CHECKS, [check], plugin=True, keep=krita_profile, environment=environment) as run:
        outcome = run.wait_for(check)
        assert outcome.error is None, f"{outcome.error}\n{run.log_tail()}"
        ended = run.wait_for_end()
        assert ended is None, ended
