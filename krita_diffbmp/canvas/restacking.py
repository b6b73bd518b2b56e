"""Which layers have changed their depth since a group was written."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from krita_diffbmp.canvas.leaves import Book, Leaf


def out_of_order(leaves: Sequence[Leaf], book: Book) -> set[str]:
    """The fewest layers that must have changed their depth, those of other groups aside."""
    ranks: list[int] = []
    ids: list[str] = []
    owner = next((leaf.owner for leaf in leaves if leaf.owner), "")
    record = book.record(owner)
    if record is None:
        return set()
    order = {layer_id: rank for rank, layer_id in enumerate(record.instances)}
    for leaf in leaves:
        rank = order.get(leaf.replaces or leaf.id) if leaf.owner == owner else None
        if rank is not None:
            ranks.append(rank)
            ids.append(leaf.id)
    return {ids[i] for i in set(range(len(ids))) - set(longest_rise(ranks))}


def longest_rise(ranks: Sequence[int]) -> list[int]:
    """Indices of a longest rising subsequence."""
    tails: list[int] = []  # the smallest end of a rise of each length
    ends: list[int] = []  # and where that end lies
    before: list[int] = []
    for i, rank in enumerate(ranks):
        length = bisect_left(tails, rank)
        before.append(ends[length - 1] if length else -1)
        if length == len(tails):
            tails.append(rank)
            ends.append(i)
        else:
            tails[length], ends[length] = rank, i
    found = []
    at = ends[-1] if ends else -1
    while at >= 0:
        found.append(at)
        at = before[at]
    return found
