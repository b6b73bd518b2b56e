"""How the sample bitmaps are laid out: shared by the demo inside Krita and the README's picture."""

from __future__ import annotations

from collections.abc import Sequence


def palette(sizes: Sequence[tuple[int, int]], width: int, height: int) -> list[tuple[int, int]]:
    """Where to put rectangles of these sizes (px) on a sheet so that they lie in rows, evenly spread.

    Left upper corners, in the order of the sizes.
    """
    total = sum(w for w, _ in sizes)
    count = -(-total * 10 // (width * 9))  # rows, with at least a tenth of each left free
    rows: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    before = 0
    for size in sizes:
        middle = before + size[0] / 2
        rows[int(middle * count / total)].append(size)
        before += size[0]
    rises = [max(h for _, h in row) for row in rows]
    gap = (height - sum(rises)) // (len(rows) + 1)
    places, y = [], gap
    for row, rise in zip(rows, rises, strict=True):
        room = (width - sum(w for w, _ in row)) // (len(row) + 1)
        x = room
        for w, h in row:
            places.append((x, y + (rise - h) // 2))
            x += w + room
        y += rise + gap
    return places
