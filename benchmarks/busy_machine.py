"""What torch's threads get done beside twice as many busy programs as processors: spinning, and asleep while waiting.

    tools/run python3 benchmarks/busy_machine.py

Prints how often in 2 s a million numbers are added to, with libraries.let_waiting_threads_sleep and without.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def additions(sleep: bool) -> int:
    """In this process, which then is of no use for another measurement."""
    import torch

    from krita_diffbmp import libraries

    if sleep:
        libraries.let_waiting_threads_sleep()
    torch.set_num_threads(libraries.thread_count())
    numbers = torch.zeros(1 << 20).add_(1)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        time.sleep(0.5)
        began = time.perf_counter()
        count = 0
        while time.perf_counter() - began < 2:
            numbers.add_(1)
            count += 1
        return count
    finally:
        for process in busy:
            process.kill()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(additions(sys.argv[1] == "sleeping"))
    else:
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        for how in ("spinning", "sleeping", "spinning", "sleeping"):
            done = subprocess.run(
                [sys.executable, __file__, how], env=environment, capture_output=True, text=True, check=True
            )
            print(f"{how}: {done.stdout.strip()} additions in 2 s, {os.cpu_count()} processors")
