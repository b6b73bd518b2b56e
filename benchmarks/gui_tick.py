"""How long Krita's window cannot answer while the plugin works: the gaps between ticks of a 20 ms timer, by phase.

    tools/run python3 benchmarks/gui_tick.py [--instances N] [--steps N] [--form live|painted]

Starts real Krita under Xvfb, opens the sample photo and bitmaps at 512 px, and runs the main job once. Before it, in
the phase "idle", torch is loaded for the first time in this Krita. Nobody paints meanwhile; the docker is open and
shows the preview.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
OPTIONS = "DIFFBMP_BENCHMARK"  # the environment variable with the options, as JSON


def measure() -> Any:
    """Inside Krita: a generator for tests/krita_harness/steps.py that returns {phase: gaps in ms}."""
    sys.path.insert(0, str(CHECKOUT / "tests/e2e"))
    import studio
    from krita_harness.steps import Until

    from krita_diffbmp.job import Phase
    from krita_diffbmp.qt import Qt, QTimer

    options = json.loads(os.environ[OPTIONS])
    yield from studio.show_docker()
    studio.set_form(
        instances=options["instances"], steps=options["steps"], form=options["form"], working_size=512, device="cpu"
    )
    yield from studio.sample(512)

    gaps: dict[str, list[float]] = {}
    last = time.perf_counter()

    def tick() -> None:
        nonlocal last
        now = time.perf_counter()
        gaps.setdefault(studio.phase().value, []).append(1000 * (now - last))
        last = now

    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(tick)
    last = time.perf_counter()
    timer.start(20)
    yield 3
    began = time.perf_counter()
    studio.session().optimize()
    yield Until(lambda: studio.phase() is Phase.IDLE, 300, "the run to end")
    seconds = time.perf_counter() - began
    timer.stop()
    return {"gaps": gaps, "seconds": seconds, "notice": studio.notice()}


measure.limit = 400  # type: ignore[attr-defined]  # s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--form", choices=("live", "painted"), default="live")
    options = vars(parser.parse_args())
    sys.path.insert(0, str(CHECKOUT / "tests"))
    from krita_harness.launch import report_of

    report = report_of(Path(__file__), "measure", environment={OPTIONS: json.dumps(options)})
    print(f"{report['notice']} {report['seconds']:.1f} s in all, {os.cpu_count()} processors")
    print(f"{'phase':10} {'ticks':>6} {'median':>7} {'p99':>7} {'longest':>8}  ms between two ticks")
    for phase, gaps in report["gaps"].items():
        ordered = sorted(gaps)
        p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
        print(f"{phase:10} {len(gaps):6} {ordered[len(ordered) // 2]:7.1f} {p99:7.1f} {ordered[-1]:8.1f}")


if __name__ == "__main__":
    main()
