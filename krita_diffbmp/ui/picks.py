"""Which layer is the target and which group holds the primitives: the artist's clicks, remembered."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from krita_diffbmp.text import i18n

if TYPE_CHECKING:
    from krita_diffbmp.canvas.document import Selection
    from krita_diffbmp.canvas.layers import Layer


def rules() -> str:
    """The rules of `Picks`, for a tooltip."""
    return i18n(
        "<p>Click the group that holds your bitmaps, then the layer to rebuild, in either order: what you clicked "
        "before stays picked. Or select both with Ctrl+click.</p>"
        "<p>To rebuild a group, click it and then Ctrl+click the group of bitmaps. A click on a layer inside the "
        "picked group, or on a result, changes nothing, so that you can go on editing them.</p>"
    )


@dataclass(frozen=True)
class Picks:
    """What is picked in one document, as layer ids; empty where nothing is."""

    target: str = ""
    group: str = ""

    def after(self, selection: Selection, results: Set[str]) -> Picks:
        """What is picked once the artist has this selection.

        results: ids of the groups that runs have made.
        """
        active = selection.active
        if active is None:
            return self
        others = [layer for layer in selection.selected if layer != active]
        groups = [layer for layer in others if layer.is_group]
        if groups:
            return Picks(active.id, groups[0].id)
        if others and active.is_group:
            return Picks(others[0].id, active.id)
        return self._after_click(active, results)

    def _after_click(self, layer: Layer, results: Set[str]) -> Picks:
        above = {group.id for group in layer.ancestors()}
        if layer.id == self.target or self.group in above or not results.isdisjoint({layer.id, *above}):
            return self
        if layer.is_group:
            return Picks(self.target, layer.id)
        return Picks(layer.id, self.group)
