"""How exactly and how fast a group of instances is read back in real Krita, and how fast it is written anew.

    python3 benchmarks/readback.py [REPEATS]

Every measurement has a Krita of its own under Xvfb, with a document of 1024 x 1024 px in front and the engine's own
pieces in it. "poll" is what `holds_instances` and `follow_undo` take together, at every tick of the docker. "off" is by
how much poses differ at most from what was written, in px, radians and relative scale. "20 moved" and "all new" are new
versions in which so many instances changed, from `WriteBack.start` until `done`; "gap" is the longest pause of a 20 ms
timer until 1 s later. "round trip" is by how many levels of 255 any pixel of the document differs once all layers were
made anew of what was read. Then the file is saved, and opened and read again each time that Krita has scaled, cropped
or turned the whole image: "changed" instances are those taken for changed by hand.
Between the runs' medians and their worst, judge by the median: other work on the machine shows.
"""

from __future__ import annotations

import json
import math
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
LEAVES = (40, 90, 160)  # px
CASES = ("live", "painted", "painted U16")
# What Krita does to the whole image; the scale, turn in radians and shift in px that this is.
CHANGES: dict[str, tuple[Callable[[Any], Any], tuple[float, float, float, float]]] = {
    "reopened": (lambda d: None, (1, 0, 0, 0)),
    "50 %": (lambda d: d.scaleImage(SIDE // 2, SIDE // 2, 72, 72, "Bicubic"), (0.5, 0, 0, 0)),
    "200 %": (lambda d: d.scaleImage(2 * SIDE, 2 * SIDE, 72, 72, "Bicubic"), (2, 0, 0, 0)),
    "cropped": (lambda d: d.crop(100, 60, 800, 900), (1, 0, -100, -60)),
    "turned": (lambda d: d.rotateImage(math.pi / 2), (1, math.pi / 2, SIDE, 0)),
}
OFF = ("off px", "off rad", "off scale")


def timed(call: Callable[[], Any], times: int = 5) -> tuple[Any, float]:
    """What it returns, and the median of its milliseconds."""
    seconds = []
    result = None
    for _ in range(times):
        began = time.monotonic()
        result = call()
        seconds.append(time.monotonic() - began)
    return result, 1000 * statistics.median(seconds)


def pieces_of(problem: Any, placements: Any, place: Any, live: bool) -> list[Any]:
    from krita_diffbmp.engine.pieces import live_pieces, painted_pieces

    if live:
        return list(live_pieces(problem, placements))
    return [place.space.raw_piece(piece) for piece in painted_pieces(problem, placements)]


def first_run(form: str) -> Generator[Any, None, tuple[Any, ...]]:
    """A document, its target, a result with random instances, and their (x, y, rotation, scale)."""
    import numpy as np
    from known import take
    from krita_harness.inside import paint_layer, refresh
    from krita_harness.steps import Until
    from writeback import leaf
    from written import group_of, listen, scene

    from krita_diffbmp.canvas.plan import plan_for
    from krita_diffbmp.canvas.writeback import WriteBack
    from krita_diffbmp.feed import Feed
    from krita_diffbmp.problem import Placements, Settings

    document, target, group, _ = yield from scene(SIDE, SIDE, depth="U16" if "U16" in form else "U8")
    full, kind = (65535, np.uint16) if "U16" in form else (255, np.uint8)
    for size in LEAVES:
        pixels, middle = leaf(size, 0.0, size), slice(size // 2 - 1, size // 2 + 1)
        # It reaches to all four sides, which are even: halved, its box has the same centre.
        pixels[[0, -1], middle, 3] = pixels[middle, [0, -1], 3] = 1
        stored = np.rint(pixels[..., [2, 1, 0, 3]] * full).astype(kind)
        paint_layer(document, f"leaf of {size}", stored, 200, 200, group)
    group.childNodes()[0].remove()
    refresh(document)
    captured = take(document, target, group, Settings(max_size=0.0))
    rng = np.random.default_rng(0)
    bitmap = rng.integers(0, len(LEAVES), COUNT).astype(np.int32)
    sizes = np.exp(rng.uniform(np.log(0.02), np.log(0.2), COUNT)) * SIDE
    longest = np.array([max(each.pixels.shape[:2]) for each in captured.problem.bitmaps])
    placed = Placements(
        position=rng.uniform(0, SIDE, (COUNT, 2)).astype(np.float32),
        rotation=rng.uniform(-3, 3, COUNT).astype(np.float32),
        scale=(sizes / longest[bitmap]).astype(np.float32),
        opacity=rng.uniform(0.2, 1, COUNT).astype(np.float32),
        color=rng.uniform(0, 1, (COUNT, 3)).astype(np.float32),
        bitmap=bitmap,
    )
    feed: Feed[Any] = Feed()
    for piece in pieces_of(captured.problem, placed, captured.place, form == "live"):
        feed.put(piece, 0)
    writeback = WriteBack(
        captured.place, feed, plan_for(captured.place, placed, None, form == "live"), placed, Settings()
    )
    written = listen(writeback)
    yield 1
    writeback.start()
    yield Until(lambda: written.said, 300)
    yield 1
    poses = [
        (*map(float, placed.position[i]), float(placed.rotation[i]), float(placed.scale[i]), 1.0) for i in range(COUNT)
    ]
    return document, target, group_of(document, written), poses


def measure() -> Generator[Any, None, dict[str, float]]:
    """Runs inside Krita, on the case that the environment names."""
    import numpy as np
    from krita_harness.inside import Ticks, composite, memory
    from krita_harness.steps import Until
    from readings import errors
    from written import listen

    from krita_diffbmp.canvas.document import Document
    from krita_diffbmp.canvas.layers import Layer
    from krita_diffbmp.canvas.plan import plan_for
    from krita_diffbmp.canvas.readback import holds_instances, read_back
    from krita_diffbmp.canvas.refine import capture_refine
    from krita_diffbmp.canvas.versions import follow_undo
    from krita_diffbmp.canvas.writeback import WriteBack
    from krita_diffbmp.feed import Feed
    from krita_diffbmp.problem import Settings

    form = os.environ["READBACK_CASE"]
    document, target, group, poses = yield from first_run(form)
    path, group_id = str(Path("written.kra").absolute()), Layer(group).id
    assert document.saveAs(path)
    wrapped = Document(document)
    _, poll = timed(lambda: (holds_instances(wrapped, Layer(group)), follow_undo(wrapped)))
    reading, read = timed(lambda: read_back(wrapped, Layer(group)))
    assert str(reading.changes) == f"{COUNT} instances, nothing changed", str(reading.changes)
    report = {"poll ms": poll, "read ms": read, **dict(zip(OFF, map(float, errors(reading.parts, poses)), strict=True))}
    captured, report["capture ms"] = timed(lambda: capture_refine(wrapped, Layer(target), reading, Settings()), 3)
    start, place = captured.problem.start.placements, captured.place
    for what, count in (("20 moved", 20), ("all new", COUNT)):
        rotation = start.rotation.copy()
        rotation[:count] = np.nextafter(rotation[:count], np.float32(9))
        placed = replace(start, rotation=rotation)
        plan = plan_for(place, placed, np.arange(COUNT, dtype=np.int32), False)
        pieces = pieces_of(captured.problem, start, place, form == "live")
        feed: Feed[Any] = Feed()
        for entry in plan:
            if not entry.copied:
                feed.put(pieces[entry.index], 0)
        before = composite(document).astype(int)
        yield 1
        held, ticks, began = memory(), Ticks(), time.monotonic()
        writeback = WriteBack(place, feed, plan, placed, Settings())
        said = listen(writeback).said
        writeback.start()
        yield Until(lambda said=said: said, 300)
        report[f"{what} s"] = time.monotonic() - began
        yield 1
        report[f"{what} gap"] = float(ticks.stop().max())
        report[f"{what} MB"] = memory() - held
        assert said[0][0] == "done", said
        document.waitForDone()
        report[f"{what} round trip"] = np.abs(composite(document) - before).max() / (257 if "U16" in form else 1)
        version = wrapped.layer(said[0][1])
        assert version is not None
        again = read_back(wrapped, version)
        assert str(again.changes) == f"{COUNT} instances, nothing changed", str(again.changes)
        version.node.remove()
        group.setVisible(True)
        document.refreshProjection()
        yield 1
    Path("written.json").write_text(json.dumps([group_id, poses]))
    return report


def follow(what: str) -> Generator[Any, None, dict[str, float]]:
    """What was written by `measure` before, in the same Krita, once that was done to the whole image."""
    from krita import Krita
    from readings import errors

    from krita_diffbmp.canvas.document import Document
    from krita_diffbmp.canvas.readback import read_back

    group_id, poses = json.loads(Path("written.json").read_text())
    change, similarity = CHANGES[what]
    document = Krita.instance().openDocument(str(Path("written.kra").absolute()))
    Krita.instance().activeWindow().addView(document)
    yield 3
    change(document)
    document.waitForDone()
    yield 1
    document.waitForDone()
    wrapped = Document(document)
    group = wrapped.layer(group_id)
    assert group is not None
    reading, read = timed(lambda: read_back(wrapped, group), 3)
    changed = sum(bool(part.changed) for part in reading.parts) + reading.changes.deleted + reading.changes.sources
    off = dict(zip(OFF, map(float, errors(reading.parts, poses, similarity)), strict=True))
    return {f"{what}: {name}": value for name, value in {"read ms": read, "changed": changed, **off}.items()}


measure.limit = follow.limit = 280  # type: ignore[attr-defined]
follow.cases = tuple(CHANGES)  # type: ignore[attr-defined]


def run(repeats: int) -> None:
    from krita_harness.launch import KritaRun
    from writeback import machine

    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            reports = []
            for _ in range(repeats):
                environment = {"READBACK_CASE": case}
                names = ["measure", *(f"follow[{what}]" for what in CHANGES)]
                found: dict[str, float] = {}
                with KritaRun(Path(__file__), names, environment=environment, keep=Path(folder)) as krita:
                    for name in names:
                        outcome = krita.wait_for(name)
                        if outcome.error:
                            sys.exit(outcome.error)
                        found.update(outcome.report)
                reports.append(found)
            print(f"{case}, {COUNT}")
            for column in reports[0]:
                values = [report[column] for report in reports]
                spread = f"({min(values):.4g} to {max(values):.4g})"
                print(f"    {column:24}{statistics.median(values):10.4g} {spread}", flush=True)


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
