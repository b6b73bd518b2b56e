"""Scenes to write into and a write-back to wait for. Runs inside Krita."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from known import leaves, random_raw, take
from krita import Krita
from krita_harness.inside import Ticks, new_document, paint_layer, refresh
from krita_harness.steps import Until
from pieces import placements

from krita_diffbmp.canvas.capture import Place
from krita_diffbmp.canvas.writeback import WriteBack
from krita_diffbmp.feed import Feed
from krita_diffbmp.problem import LivePiece, PaintedPiece, Settings


@dataclass
class Written:
    """What a write-back has said."""

    writeback: WriteBack
    said: list[tuple[str, str]]
    progress: list[tuple[int, int]]
    longest_gap: float = 0.0  # s

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


def begin_with(feed: Feed[Any], live: bool, place: Place, values: Sequence[tuple[float, ...]]) -> Written:
    writeback = WriteBack(place, feed, live, placements(values, place.space.channels), Settings())
    written = Written(writeback, [], [])
    writeback.done.connect(lambda group: written.said.append(("done", group)))
    writeback.failed.connect(lambda failure: written.said.append(("failed", str(failure))))
    writeback.cancelled.connect(lambda: written.said.append(("cancelled", "")))
    writeback.progress.connect(lambda made, total: written.progress.append((made, total)))
    writeback.start()
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
