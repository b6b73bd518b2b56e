"""How torch's threads are kept from spinning. Which torch is found is in test_torch_cuda.py."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from krita_diffbmp.libraries import thread_count

HOLD = """
import os, torch
from krita_diffbmp import libraries
libraries.let_waiting_threads_sleep()
libraries.let_waiting_threads_sleep()  # once is enough
torch.set_num_threads(libraries.thread_count())
assert torch.arange(1 << 20, dtype=torch.float64).sum() == (1 << 19) * ((1 << 20) - 1)
print(torch.get_num_threads(), len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: threads are counted in /proc")
def test_more_threads_are_held_than_there_are_processors():
    """What that is worth on a busy machine is in benchmarks/busy_machine.py."""
    done = subprocess.run([sys.executable, "-c", HOLD], capture_output=True, text=True, check=True, timeout=100)
    used, all_of_them = map(int, done.stdout.split())
    assert used == thread_count()
    assert all_of_them > (os.cpu_count() or 1)
