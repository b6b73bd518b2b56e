"""A layer as the rest of the project sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from krita_diffbmp.canvas.space import Space
from krita_diffbmp.qt import QImage, QRect, sip

MASKS_END_WITH = "mask"  # transparencymask, filtermask, transformmask, selectionmask, colorizemask
WITHOUT_EFFECT = ("selectionmask",)
WITHOUT_PICTURE = ("filterlayer",)  # they change what lies below and show nothing of their own


def owned(listed: Sequence[Any]) -> Sequence[Any]:
    """What Krita has handed out in a list, to be let go of with the list.

    Nobody else does: each node that was ever listed would stay in memory, with its pixels, long after it was deleted
    and its deletion forgotten.
    """
    for each in listed:
        sip.transferback(each)
    return listed


class Layer:
    """One layer of a document: a typed view of Krita's Node, compared by its unique id.

    A Layer is looked up when it is needed and not kept: what is kept is its `id`, with which
    `Document.layer` finds it again, or finds that it is gone.
    """

    def __init__(self, node: Any) -> None:
        self.node = node

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layer) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r}>"

    @property
    def id(self) -> str:
        """The unique id, without braces; it survives saving and reopening."""
        return str(self.node.uniqueId().toString()).strip("{}")

    @property
    def name(self) -> str:
        return str(self.node.name())

    @property
    def kind(self) -> str:
        """Krita's name of the type: "paintlayer", "grouplayer", "vectorlayer", "clonelayer", "filelayer", ..."""
        return str(self.node.type())

    @property
    def visible(self) -> bool:
        """Its own eye; see `shown` for that of the groups around it."""
        return bool(self.node.visible())

    @property
    def shown(self) -> bool:
        """Whether it and every group around it are visible."""
        return self.visible and all(group.visible for group in self.ancestors())

    @property
    def opacity(self) -> float:
        return float(self.node.opacity()) / 255

    @property
    def locked(self) -> bool:
        return bool(self.node.locked())

    @property
    def label(self) -> int:
        """Its colour label, as Krita counts them; 0 without one."""
        return int(self.node.colorLabel())

    @property
    def blends_normally(self) -> bool:
        """Whether blending mode, inherited alpha and style are those of a new layer."""
        node = self.node
        return str(node.blendingMode()) == "normal" and not node.inheritAlpha() and not self.style

    @property
    def space(self) -> Space:
        return Space.of(self.node)

    @property
    def style(self) -> str:
        """Its layer style as Krita writes it; empty without one."""
        return str(self.node.layerStyleToAsl() or "")

    @property
    def bounds(self) -> QRect:
        """The box of what it holds before its masks, in canvas pixels; it may reach beyond the canvas."""
        return self.node.bounds()

    @property
    def is_group(self) -> bool:
        return self.kind == "grouplayer"

    @property
    def is_mask(self) -> bool:
        return self.kind.endswith(MASKS_END_WITH)

    @property
    def is_masked(self) -> bool:
        """Whether a mask changes what it looks like."""
        masks = [layer for layer in map(Layer, owned(self.node.childNodes())) if layer.is_mask and layer.visible]
        return any(mask.kind not in WITHOUT_EFFECT for mask in masks)

    @property
    def passes_through(self) -> bool:
        """Whether it is a group that hands its layers on to what is below instead of having a picture itself."""
        return self.is_group and bool(self.node.passThroughMode())

    @property
    def has_picture(self) -> bool:
        """Whether it shows something of its own; masks and filter layers do not."""
        return not self.is_mask and self.kind not in WITHOUT_PICTURE

    @property
    def parent(self) -> Layer | None:
        """The group it lies in; None for a layer of the document's top level."""
        node = self.node.parentNode()
        return Layer(node) if node is not None and node.parentNode() is not None else None

    def ancestors(self) -> Iterator[Layer]:
        """The groups around it, the innermost first."""
        group = self.parent
        while group is not None:
            yield group
            group = group.parent

    def children(self) -> list[Layer]:
        """The layers in it, the backmost first; its masks are no layers."""
        return [layer for layer in map(Layer, owned(self.node.childNodes())) if not layer.is_mask]

    def thumbnail(self, width: int, height: int) -> QImage:
        """What it shows, in at most width x height pixels."""
        return self.node.thumbnail(width, height)
