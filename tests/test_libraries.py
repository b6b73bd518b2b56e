"""How torch is loaded: that a busy machine does not stop it. Which torch is found is in test_torch_cuda.py."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from krita_diffbmp.libraries import thread_count

SUMS = """
import subprocess, sys, time, torch
from krita_diffbmp import libraries
if sys.argv[1] == "sleep":
    libraries.let_waiting_threads_sleep()
torch.set_num_threads(libraries.thread_count())
numbers = torch.zeros(1 << 20).add_(1)
busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * libraries.thread_count() + 2)]
try:
    time.sleep(0.5)
    began = time.perf_counter()
    count = 0
    while time.perf_counter() - began < 2:
        numbers.add_(1)
        count += 1
    print(count)
finally:
    for process in busy:
        process.kill()
"""


def sums_on_a_busy_machine(how: str) -> int:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-c", SUMS, how]
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(thread_count() < 2, reason="NOT TESTED: one thread waits for no other")
def test_threads_that_wait_sleep():
    """Beside twice as many busy programs as processors; on four of these, sleeping made a hundred times the sums."""
    assert sums_on_a_busy_machine("sleep") > 3 * sums_on_a_busy_machine("spin")
