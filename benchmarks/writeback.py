"""How long a write-back takes in real Krita, how long the window stands still, and what it costs in memory.

    python3 benchmarks/writeback.py [REPEATS]

Every measurement has a Krita of its own under Xvfb, with a document of 1024 x 1024 px in front. Times and gaps run
from `WriteBack.start` until 1 s after `done`; "gap" is the longest pause of a 20 ms timer. Memory is what the process
has grown by then. "levels" is the largest difference between the picture and that of the file, saved and opened again.
Between the runs' medians and their worst, judge by the median: other work on the machine shows.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests"), str(CHECKOUT / "tests/canvas")]

SIDE = 1024  # px of the document
CASES = {
    "live, 300": ("live", 300),
    "live, 1000": ("live", 1000),
    "painted, 1000": ("painted", 1000),
    "painted U16, 1000": ("painted U16", 1000),
}


def leaf(size: int, rotation: float, seed: int) -> Any:
    """[size, size, 4] straight alpha: a veined leaf, as large as it is drawn."""
    import numpy as np

    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size * 2 - 1
    u, v = x * np.cos(rotation) + y * np.sin(rotation), y * np.cos(rotation) - x * np.sin(rotation)
    veins = 0.5 + 0.5 * np.cos(18 * (u - np.abs(v)) + seed)
    alpha = np.clip((0.45 * (1 - u**2) - np.abs(v)) * 12, 0, 1)
    return np.stack([0.3 + 0.5 * veins, 0.5 + 0.2 * v, 0.2 + 0 * u, alpha], axis=-1).astype(np.float32)


def measure(form: str, count: int) -> Generator[Any, None, dict[str, float]]:
    """Runs inside Krita."""
    import numpy as np
    from krita import Krita
    from krita_harness.inside import Ticks, composite, memory, undo_rows
    from krita_harness.steps import Until
    from pieces import png
    from written import begin_with, filled, scene

    from krita_diffbmp.problem import LivePiece, PaintedPiece

    document, _, _, place = yield from scene(SIDE, SIDE, depth="U16" if "U16" in form else "U8")
    rng = np.random.default_rng(0)
    values: list[tuple[float, ...]] = []
    pieces: list[LivePiece | PaintedPiece] = []
    for index in range(count):
        size = int(rng.uniform(0.02, 0.2) * SIDE)
        x, y = rng.uniform(0, SIDE, 2)
        turn, opacity = float(rng.uniform(-3, 3)), float(rng.uniform(0.2, 1))
        values.append((x, y, turn, 1.0, opacity))
        if form == "live":
            a, b = np.cos(turn), np.sin(turn)
            matrix = (a, b, -b, a, x - (a - b) * size / 2, y - (a + b) * size / 2)
            pieces.append(LivePiece(png(leaf(size, 0.0, index)), size, size, matrix, opacity))
        else:
            pieces.append(PaintedPiece(int(x) - size // 2, int(y) - size // 2, leaf(size, turn, index), opacity))
        if index % 20 == 0:
            yield 0
    yield 1
    feed = filled(place, pieces)
    pieces.clear()
    rows, held, ticks, began = undo_rows(), memory(), Ticks(), time.monotonic()
    written = begin_with(feed, form == "live", place, values)
    yield Until(lambda: written.said, 300)
    seconds = time.monotonic() - began
    yield 1
    gap, grown = float(ticks.stop().max()), memory() - held
    assert written.outcome[0] == "done", written.outcome
    steps = undo_rows() - rows
    before = composite(document).astype(int)
    path = Path("benchmark.kra").absolute()
    began = time.monotonic()
    assert document.saveAs(str(path))
    saved = time.monotonic() - began
    began = time.monotonic()
    reopened = Krita.instance().openDocument(str(path))
    level = 257 if "U16" in form else 1

    def difference() -> float:
        return float(np.abs(composite(reopened).astype(int) - before).max() / level)

    while difference() > 2 and time.monotonic() - began < 20:  # Krita draws what it has opened
        yield 0.1
    return {
        "seconds": seconds,
        "gap": gap,
        "MB": grown,
        "undo steps": steps,
        "save s": saved,
        "reopen s": time.monotonic() - began,
        "file MB": path.stat().st_size / 2**20,
        "levels": difference(),
    }


def main() -> Generator[Any, None, dict[str, float]]:
    """What Krita runs: the case that the environment names."""
    form, count = CASES[os.environ["WRITEBACK_CASE"]]
    return (yield from measure(form, count))


main.limit = 600  # type: ignore[attr-defined]


def machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return f"{os.cpu_count()} cores of {model}, load {os.getloadavg()[0]:.1f} at the start"


def run(repeats: int) -> None:
    from krita_harness.launch import KritaRun

    print(machine())
    columns = ["seconds", "gap", "MB", "undo steps", "save s", "reopen s", "file MB", "levels"]
    print(f"{'':20}" + "".join(f"{column:>20}" for column in columns))
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            reports = []
            for _ in range(repeats):
                environment = {"WRITEBACK_CASE": case}
                with KritaRun(Path(__file__), ["main"], environment=environment, keep=Path(folder)) as krita:
                    outcome = krita.wait_for("main")
                if outcome.error:
                    sys.exit(outcome.error)
                reports.append(outcome.report)
            cells = []
            for column in columns:
                values = [report[column] for report in reports]
                cells.append(f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})")
            print(f"{case:20}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
