"""Which layer is the target and which group holds the primitives: the artist's clicks, remembered."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, replace
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
        "picked group changes nothing, so that you can go on editing them.</p>"
        "<p>Click a result, or an instance in it, to refine it. To refine it towards another picture, Ctrl+click that "
        "layer, too.</p>"
    )


@dataclass(frozen=True)
class Picks:
    """What is picked in one document, as layer ids; empty where nothing is."""

    target: str = ""
    group: str = ""
    result: str = ""  # the group of instances to refine; empty: a new run is what is wanted
    towards: str = ""  # the target of that; empty: the one that it was made for

    def after(self, selection: Selection, results: Set[str], holds_instances: Callable[[Layer], bool]) -> Picks:
        """What is picked once the artist has this selection.

        results: ids of the groups that runs have made.
        holds_instances: whether a group outside of them holds instances, too; asked as seldom as can be.
        """
        active = selection.active
        if active is None:
            return self

        def result_of(layer: Layer) -> str:
            around = (layer, *layer.ancestors())
            known = next((group.id for group in around if group.id in results), "")
            return known or next((g.id for g in around if g.is_group and g.id != self.group and holds_instances(g)), "")

        result = result_of(active)
        others = [layer for layer in selection.selected if layer != active]
        if result:
            outside = [layer for layer in others if not result_of(layer)]
            groups = [layer for layer in outside if layer.is_group]
            if groups and active.id == result:
                return Picks(active.id, groups[0].id)
            towards = self.towards if self.result == result else ""
            return replace(self, result=result, towards=outside[0].id if outside else towards)
        groups = [layer for layer in others if layer.is_group]
        refined = next((group.id for group in groups if result_of(group)), "")
        if refined and not active.is_group:
            return replace(self, result=refined, towards=active.id)
        if groups and not refined:
            return Picks(active.id, groups[0].id)
        if others and active.is_group:
            return Picks(others[0].id, active.id)
        return self._after_click(active)

    def _after_click(self, layer: Layer) -> Picks:
        if self.group in {group.id for group in layer.ancestors()}:
            return self
        if layer.id == self.target:
            return replace(self, result="", towards="")
        if layer.is_group:
            return Picks(self.target, layer.id)
        return Picks(layer.id, self.group)
