"""Where the time of the whole job goes, from the click on Optimize to the layers, in ms: two runs in the same Krita.

    tools/run python3 benchmarks/timeline.py [--instances N] [--steps N] [--form live|painted] [--size PX]
                                                [--depth U8|U16] [--working-size PX] [--repeats N]

Starts real Krita under Xvfb and opens the sample photo and bitmaps at --size px; all else is at the docker's defaults.
Once a target and primitives are picked the plugin loads torch and warms up; the first run begins after that. Each line
is a median of several Kritas. With a graphics card that the plugin can use, the same follows for the processor. Memory
is the process's, from the last step on; Krita's layers are a part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
OPTIONS = "DIFFBMP_BENCHMARK"  # the environment variable with the options, as JSON
# Parts of a run, by what ends them.
PARTS = {
    "captured": "capture: layers to arrays",
    "device": "get ready: target, bitmaps, first instances",
    "first step": "first step",
    "finishing": "optimise: all other steps",
    "writing": "the first layer's picture, and the window's next look",
    "ended": "all pictures, and the layers from them",
}


def measure() -> Any:
    """Inside Krita: a generator for tests/krita_harness/steps.py that returns what both runs took."""
    sys.path.insert(0, str(CHECKOUT / "tests/e2e"))
    import studio
    from krita_harness.inside import forget_peak_memory, memory, peak_memory
    from krita_harness.steps import Until

    from krita_diffbmp import job
    from krita_diffbmp.job import Phase
    from krita_diffbmp.worker import WarmUp, Worker

    marks: dict[str, float] = {}
    held: list[float] = []  # MB

    def mark(name: str) -> None:
        marks.setdefault(name, time.perf_counter())

    class Watched(Worker):
        """Tells when it has got how far, in its own thread."""

        def start(self) -> None:
            mark("captured")
            super().start()

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name in ("device", "progress", "finishing"):
                mark("first step" if name == "progress" else name)
            if name == "finishing":
                forget_peak_memory()
                held.append(memory())

    class Timed(WarmUp):
        seconds = 0.0  # once it is over

        def run(self) -> None:
            began = time.perf_counter()
            super().run()
            Timed.seconds = time.perf_counter() - began

    def phase_changed() -> None:
        if studio.phase() is Phase.WRITING:
            mark("writing")

    setattr(job, "Worker", Watched)  # noqa: B010
    setattr(job, "WarmUp", Timed)  # noqa: B010
    session = studio.session()
    devices: list[str] = []
    session.job.changed.connect(phase_changed)
    session.job.progressed.connect(lambda: devices.append(session.job.device))
    session.job.ended.connect(lambda notice: mark("ended"))
    options = json.loads(os.environ[OPTIONS])
    yield from studio.show_docker()
    studio.set_form(
        instances=options["instances"],
        steps=options["steps"],
        form=options["form"],
        working_size=options["working_size"],
        device=options["device"],
    )
    runs = []
    for _ in range(2):
        yield from studio.sample(options["size"], options["depth"])
        yield Until(lambda: Timed.seconds > 0, 60, "the warm-up")
        yield 1
        marks.clear()
        held.clear()
        began = last = time.perf_counter()
        session.optimize()
        yield Until(lambda: studio.phase() is Phase.IDLE, 300, "the run to end")
        took = {}
        for name in PARTS:
            took[name] = 1000 * (marks[name] - last)
            last = marks[name]
        memories = {"peak": peak_memory() - held[0], "kept": memory() - held[0]}
        runs.append({"took": took, "whole": 1000 * (last - began), **memories})
        yield 1
    return {
        "runs": runs,
        "warm-up": Timed.seconds,
        "device": next(filter(None, devices)),
        "notice": studio.notice(),
    }


measure.limit = 700  # type: ignore[attr-defined]  # s


def show(reports: list[Any]) -> None:
    print(f"{reports[0]['device']}: {reports[0]['notice']}")
    warm_up = statistics.median(report["warm-up"] for report in reports)
    print(f"{warm_up:.1f} s before it, once something was picked, to load torch and warm up")
    print(f"{'ms':46} {'first run':>9} {'second run':>11}")

    def line(words: str, *cells: list[float]) -> None:
        print(f"{words:46} {statistics.median(cells[0]):9.0f} {statistics.median(cells[1]):11.0f}")

    for part, words in PARTS.items():
        line(words, *([report["runs"][run]["took"][part] for report in reports] for run in (0, 1)))
    for value, words in (("whole", "in all"), ("peak", "MB more at the peak"), ("kept", "MB more at the end")):
        line(words, *([report["runs"][run][value] for report in reports] for run in (0, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--form", choices=("live", "painted"), default="live")
    parser.add_argument("--size", type=int, default=1024, help="px, long side of the canvas")
    parser.add_argument("--depth", choices=("U8", "U16"), default="U8")
    parser.add_argument("--working-size", type=int, default=1024, help="px")
    parser.add_argument("--repeats", type=int, default=3)
    options = vars(parser.parse_args())
    sys.path[:0] = [str(CHECKOUT / "tests"), str(CHECKOUT)]
    from krita_harness.launch import report_of

    from tools.install import own_libraries

    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the start, median of {options['repeats']}")
    for device in ("auto", "cpu"):
        environment = {OPTIONS: json.dumps({**options, "device": device})}
        reports = [
            report_of(Path(__file__), "measure", environment=environment, libraries=own_libraries())
            for _ in range(options["repeats"])
        ]
        show(reports)
        if reports[0]["device"] == "CPU":
            break


if __name__ == "__main__":
    main()
