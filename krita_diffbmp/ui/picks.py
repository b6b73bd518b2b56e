"""Which layer is the target and which group holds the primitives: the artist's clicks, remembered."""

from __future__ import annotations

from collections.abc import Callable
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
        "<p>To rebuild a group, click the group of bitmaps and then Ctrl+click the group to rebuild. "
        "A click on a layer inside the picked group, or on a result, changes nothing, so that you can go on editing "
        "them.</p>"
    )


@dataclass(frozen=True)
class Picks:
    """What is picked in one document, as layer ids; empty where nothing is."""

    target: str = ""
    group: str = ""

    def after(self, selection: Selection, is_result: Callable[[Layer], bool]) -> Picks:
        """What is picked once the artist has this selection.

        is_result: whether a layer is a group that a run has made.
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
        return self._after_click(active, is_result)

    def _after_click(self, layer: Layer, is_result: Callable[[Layer], bool]) -> Picks:
        above = list(layer.ancestors())
        if any(group.id == self.group for group in above) or any(is_result(part) for part in (layer, *above)):
            return self
        if layer.is_group:
            return Picks(self.target, layer.id)
        return Picks(layer.id, self.group)
