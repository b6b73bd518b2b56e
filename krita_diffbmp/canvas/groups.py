"""Groups of finished layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.records import Source

UNGROUPED = 1000  # more layers than this go into sub-groups, without which edits in the group become slow
SUBGROUP = 50  # layers


def collapsed_group(document: Any, name: str) -> Any:
    """Krita spends seconds on the rows of a large group in its layer list unless the group is collapsed."""
    group = document.createGroupLayer(name)
    group.setCollapsed(True)
    return group


def filled_group(document: Any, name: str, nodes: Sequence[Any]) -> Any:
    """With these layers, the backmost first. `setChildNodes` fills an empty group without an undo step."""
    group = collapsed_group(document, name)
    group.setChildNodes(list(nodes))
    return group


def subgroup_name(index: int, total: int) -> str:
    """index: of its first layer"""
    return f"{index + 1:04d} to {min(index + SUBGROUP, total):04d}"


def split(document: Any, nodes: Sequence[Any]) -> Iterator[Any]:
    """Many layers in sub-groups, the backmost first."""
    for start in range(0, len(nodes), SUBGROUP):
        yield filled_group(document, subgroup_name(start, len(nodes)), nodes[start : start + SUBGROUP])


def refolded(
    document: Document, nodes: Sequence[Any], folders: Sequence[tuple[Source, ...]], depth: int = 0
) -> list[Any]:
    """Layers in groups like those they came from: `folders` names those around each, the outermost first."""
    found: list[Any] = []
    pairs = zip(nodes, folders, strict=True)
    for folder, run in groupby(pairs, lambda pair: pair[1][depth] if len(pair[1]) > depth else None):
        inner = list(run)
        if folder is None:
            found += [node for node, _ in inner]
            continue
        group = collapsed_group(document.handle, folder.name)
        group.setChildNodes(refolded(document, [node for node, _ in inner], [path for _, path in inner], depth + 1))
        like(group, document, folder.id)
        found.append(group)
    return found


def like(group: Any, document: Document, group_id: str) -> None:
    """Gives a new group the looks and the switches of another one, if that still exists.

    But not its blending mode: to set one is an undo step of its own.
    """
    original = document.layer(group_id)
    if original is None:
        return
    node = original.node
    group.setOpacity(node.opacity())
    group.setInheritAlpha(node.inheritAlpha())
    group.setPassThroughMode(node.passThroughMode())
    group.setColorLabel(node.colorLabel())
    group.setLocked(node.locked())
    group.setVisible(node.visible())
    if original.style:
        group.setLayerStyleFromAsl(original.style)
