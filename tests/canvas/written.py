"""Scenes to write into and a write-back to wait for. Runs inside Krita."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from known import leaves, random_raw, take
from krita import Krita
from krita_harness.inside import Ticks, new_document, paint_layer, refresh
from krita_harness.steps import Until
from pieces import matrix, painted_under, placements, png

from krita_diffbmp.canvas.capture import Capture, Place
from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.plan import Entry, plan_for
from krita_diffbmp.canvas.readback import read_back
from krita_diffbmp.canvas.refine import capture_refine
from krita_diffbmp.canvas.space import RawPiece
from krita_diffbmp.canvas.writeback import WriteBack
from krita_diffbmp.feed import Feed
from krita_diffbmp.problem import LivePiece, PaintedPiece, Placements, Settings


@dataclass
class Written:
    """What a write-back has said."""

    writeback: WriteBack
    said: list[tuple[str, str]]
    progress: list[tuple[int, int]]
    longest_gap: float = 0.0  # s
    captured: Capture | None = None  # of a refinement

    @property
    def outcome(self) -> tuple[str, str]:
        assert len(self.said) == 1, self.said
        return self.said[0]


def scene(
    width: int = 256, height: int = 192, model: str = "RGBA", depth: str = "U8", profile: str = "", corner: int = 0
) -> Generator[Any, None, tuple[Any, Any, Any, Place]]:
    """A document with a view, "photo" and the group "leaves"; the target begins at (corner, corner)."""
    document = new_document(width, height, model, depth, profile)
    rng = np.random.default_rng(7)
    raw = random_raw(rng, height - corner, width - corner, model, depth)
    target = paint_layer(document, "photo", raw, corner, corner)
    group = leaves(document, (0, 0, 255, 255) if (model, depth) == ("RGBA", "U8") else tuple(raw[0, 0]), depth=depth)
    refresh(document)
    yield Until(lambda: document.activeNode() is not None, 10, "the view")
    document.setActiveNode(target)
    yield 0.3
    place = take(document, target, group, Settings(max_size=0.0)).place
    return document, target, group, place


def begin(place: Place, pieces: Sequence[LivePiece | PaintedPiece], values: Sequence[tuple[float, ...]]) -> Written:
    """With all pieces made beforehand."""
    live = isinstance(pieces[0], LivePiece)
    return begin_with(filled(place, pieces), live, place, values)


def filled(place: Place, pieces: Sequence[LivePiece | PaintedPiece]) -> Feed[Any]:
    feed: Feed[Any] = Feed()
    for piece in pieces:
        feed.put(place.space.raw_piece(piece) if isinstance(piece, PaintedPiece) else piece, 0)
    return feed


def refine(
    document: Any, target: Any, group: Any, change: Any = None, *, added: int = 0, **options: Any
) -> Generator[Any, None, Written]:
    """Captures a refinement, takes `change(placements)` for what became of the start, and writes that.

    change: returns Placements and their sources; the start by default. Pieces are made by hand, of the pixels of the
    problem's bitmaps.
    """
    reading = read_back(Document(document), Layer(group))
    captured = capture_refine(Document(document), Layer(target), reading, Settings(), added=added, **options)
    start = captured.problem.start
    assert start is not None
    placed, source = (change or whole)(start.placements)
    plan = plan_for(captured.place, placed, source, False)
    feed: Feed[Any] = Feed()
    for entry in plan:
        if not entry.copied:
            feed.put(piece_of(captured, placed, entry), 0)
    yield from ()
    writeback = WriteBack(captured.place, feed, plan, placed, Settings())
    written = listen(writeback)
    written.captured = captured
    writeback.start()
    yield Until(lambda: written.said, 60, "the refined version")
    yield 0.3
    return written


def whole(start: Placements) -> tuple[Placements, np.ndarray]:
    return start, np.arange(len(start.bitmap), dtype=np.int32)


def hair(start: Placements) -> tuple[Placements, np.ndarray]:
    """Everything changed by less than anybody sees, so that every layer is made anew."""
    rotation = np.nextafter(start.rotation, np.float32(9))
    return replace(start, rotation=rotation), np.arange(len(rotation), dtype=np.int32)


def piece_of(captured: Capture, placed: Placements, entry: Entry) -> LivePiece | RawPiece:
    i = entry.index
    pixels = captured.problem.bitmaps[placed.bitmap[i]].pixels.copy()
    mu = 0.0 if placed.mu_blend is None else float(placed.mu_blend[i])
    pixels[..., :-1] = mu * pixels[..., :-1] + (1 - mu) * placed.color[i]
    (x, y), turn, scale = placed.position[i], float(placed.rotation[i]), float(placed.scale[i])
    stretch = np.eye(2) if placed.stretch is None else placed.stretch[i]
    m = matrix(pixels.shape[1], pixels.shape[0], float(x), float(y), turn, scale, stretch)
    opacity = float(placed.opacity[i])
    if entry.live:
        return LivePiece(png(pixels), pixels.shape[1], pixels.shape[0], m, opacity)
    return captured.place.space.raw_piece(painted_under(pixels, m, opacity))


def begin_with(feed: Feed[Any], live: bool, place: Place, values: Sequence[tuple[float, ...]]) -> Written:
    placed = placements(values, place.space.channels)
    writeback = WriteBack(place, feed, plan_for(place, placed, None, live), placed, Settings())
    written = listen(writeback)
    writeback.start()
    return written


def listen(writeback: WriteBack) -> Written:
    """What it will say."""
    written = Written(writeback, [], [])
    writeback.done.connect(lambda group: written.said.append(("done", group)))
    writeback.failed.connect(lambda failure: written.said.append(("failed", str(failure))))
    writeback.cancelled.connect(lambda: written.said.append(("cancelled", "")))
    writeback.progress.connect(lambda made, total: written.progress.append((made, total)))
    return written


def write(
    place: Place, pieces: Sequence[LivePiece | PaintedPiece], values: Sequence[tuple[float, ...]]
) -> Generator[Any, None, Written]:
    """Writes back and waits until it is over, and a little longer for what comes after."""
    ticks = Ticks()
    written = begin(place, pieces, values)
    yield Until(lambda: written.said, 60, "the write-back")
    yield 0.3
    written.longest_gap = float(ticks.stop().max())
    return written


def group_of(document: Any, written: Written) -> Any:
    """The result as Krita's node."""
    kind, group_id = written.outcome
    assert kind == "done", written.outcome
    (found,) = [n for n in everything(document) if n.uniqueId().toString() == f"{{{group_id}}}"]
    return found


def everything(document: Any) -> list[Any]:
    """All nodes."""
    found, pending = [], list(document.topLevelNodes())
    while pending:
        node = pending.pop()
        found.append(node)
        pending += node.childNodes()
    return found


def shown(node: Any, document: Any) -> np.ndarray:
    """A layer's own picture on the canvas: stored pixels [H, W, C + 1]."""
    raw = bytes(node.projectionPixelData(0, 0, document.width(), document.height()))
    kind = {"U8": np.uint8, "U16": np.uint16, "F16": np.float16, "F32": np.float32}[node.colorDepth()]
    return np.frombuffer(raw, kind).reshape(document.height(), document.width(), -1)


def open_documents() -> int:
    return len(Krita.instance().documents())
