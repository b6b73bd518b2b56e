"""How long it takes in real Krita to read a group of instances back, and to write a refined version of it.

    python3 benchmarks/readback.py [REPEATS]

Every measurement has a Krita of its own under Xvfb, with a document of 1024 x 1024 px in front, and reads and writes
in it once. "poll" is what `holds_instances` and `follow_undo` take together, at every tick of the docker. "20 moved"
and "all new" are new versions in which so many instances changed, from `WriteBack.start` until `done`; "gap" is the
longest pause of a 20 ms timer until 1 s later. "px off" is how far the farthest pose lies from what was written.
Between the runs' medians and their worst, judge by the median: other work on the machine shows.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests"), str(CHECKOUT / "tests/canvas"), str(CHECKOUT / "benchmarks")]

SIDE = 1024  # px of the document
COUNT = 1000
CASES = ("live", "painted", "painted U16")


def timed(call: Callable[[], Any], times: int = 5) -> tuple[Any, float]:
    """What it returns, and the median of its seconds."""
    seconds = []
    result = None
    for _ in range(times):
        began = time.monotonic()
        result = call()
        seconds.append(time.monotonic() - began)
    return result, statistics.median(seconds)


def measure(form: str) -> Generator[Any, None, dict[str, float]]:
    """Runs inside Krita."""
    import numpy as np
    from krita_harness.inside import Ticks, memory
    from krita_harness.steps import Until
    from pieces import png
    from writeback import leaf
    from written import group_of, listen, scene, write

    from krita_diffbmp.canvas.document import Document
    from krita_diffbmp.canvas.layers import Layer
    from krita_diffbmp.canvas.plan import plan_for
    from krita_diffbmp.canvas.readback import holds_instances, read_back
    from krita_diffbmp.canvas.refine import capture_refine
    from krita_diffbmp.canvas.versions import follow_undo
    from krita_diffbmp.canvas.writeback import WriteBack
    from krita_diffbmp.feed import Feed
    from krita_diffbmp.problem import LivePiece, PaintedPiece, Settings

    document, target, _, place = yield from scene(SIDE, SIDE, depth="U16" if "U16" in form else "U8")
    rng = np.random.default_rng(0)

    def piece_at(index: int, x: float, y: float, turn: float, opacity: float) -> LivePiece | PaintedPiece:
        size = sizes[index]
        if form != "live":
            return PaintedPiece(int(x) - size // 2, int(y) - size // 2, leaf(size, turn, index), opacity)
        a, b = np.cos(turn), np.sin(turn)
        matrix = (a, b, -b, a, x - (a - b) * size / 2, y - (a + b) * size / 2)
        return LivePiece(png(leaf(size, 0.0, index)), size, size, matrix, opacity)

    sizes = [int(size) for size in rng.uniform(0.02, 0.2, COUNT) * SIDE]
    values = [
        (float(x), float(y), float(turn), 1.0, float(opacity))
        for x, y, turn, opacity in rng.uniform((0, 0, -3, 0.2), (SIDE, SIDE, 3, 1), (COUNT, 4))
    ]
    pieces = [piece_at(i, *values[i][:3], values[i][4]) for i in range(COUNT)]
    yield 1
    written = yield from write(place, pieces, values)
    wrapped, group = Document(document), group_of(document, written)
    _, poll = timed(lambda: (holds_instances(wrapped, Layer(group)), follow_undo(wrapped)))
    reading, read = timed(lambda: read_back(wrapped, Layer(group)))
    assert str(reading.changes) == f"{COUNT} instances, nothing changed", str(reading.changes)
    off = max(
        float(np.hypot(p.position[0] - v[0], p.position[1] - v[1])) for p, v in zip(reading.parts, values, strict=True)
    )
    captured, capture = timed(lambda: capture_refine(wrapped, Layer(target), reading, Settings()), 3)
    report = {"poll ms": 1000 * poll, "read ms": 1000 * read, "px off": off, "capture ms": 1000 * capture}
    start = captured.problem.start.placements
    for what, count in (("20 moved", 20), ("all new", COUNT)):
        position = start.position.copy()
        position[:count] += 3
        placed = replace(start, position=position)
        plan = plan_for(captured.place, placed, np.arange(COUNT, dtype=np.int32), False)
        feed: Feed[Any] = Feed()
        for entry in plan:
            if not entry.copied:
                piece = pieces[entry.index]
                feed.put(piece if isinstance(piece, LivePiece) else place.space.raw_piece(piece), 0)
        yield 1
        held, ticks, began = memory(), Ticks(), time.monotonic()
        writeback = WriteBack(captured.place, feed, plan, placed, Settings())
        said = listen(writeback).said
        writeback.start()
        yield Until(lambda said=said: said, 300)
        report[f"{what} s"] = time.monotonic() - began
        yield 1
        report[f"{what} gap"] = float(ticks.stop().max())
        report[f"{what} MB"] = memory() - held
        assert said[0][0] == "done", said
        version = wrapped.layer(said[0][1])
        assert version is not None
        version.node.remove()
        group.setVisible(True)
        document.refreshProjection()
        yield 1
    return report


def main() -> Generator[Any, None, dict[str, float]]:
    """What Krita runs: the case that the environment names."""
    return (yield from measure(os.environ["READBACK_CASE"]))


main.limit = 600  # type: ignore[attr-defined]


def run(repeats: int) -> None:
    from krita_harness.launch import KritaRun
    from writeback import machine

    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            reports = []
            for _ in range(repeats):
                environment = {"READBACK_CASE": case}
                with KritaRun(Path(__file__), ["main"], environment=environment, keep=Path(folder)) as krita:
                    outcome = krita.wait_for("main")
                if outcome.error:
                    sys.exit(outcome.error)
                reports.append(outcome.report)
            print(f"{case}, {COUNT}")
            for column in reports[0]:
                values = [report[column] for report in reports]
                spread = f"({min(values):.3f}-{max(values):.3f})"
                print(f"    {column:14}{statistics.median(values):10.3f} {spread}", flush=True)


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
