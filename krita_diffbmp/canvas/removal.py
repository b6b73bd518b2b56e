"""Takes several layers out of a document in one undo step, of which the API makes one for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from krita import Krita

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer, owned
from krita_diffbmp.qt import QtCore, QTreeView

LAYER_DOCKER = "KisLayerBox"  # Krita's names for it and for the list in it
LAYER_LIST = "listLayers"


def remove_at_once(document: Document, layers: Sequence[Layer]) -> None:
    """Removes layers of the document in front by Krita's own action, which takes what is selected in its layer list.

    Where the list does not have them, as under a filter, they go by the API, one step each. What the artist has
    picked stays picked.
    """
    picked = document.active_layer
    if is_selected(layers):
        Krita.instance().action("remove_layer").trigger()
    else:
        for layer in layers:
            layer.node.remove()
    if picked is not None and picked.id not in {layer.id for layer in layers}:
        document.handle.setActiveNode(picked.node)


def is_selected(layers: Sequence[Layer]) -> bool:
    """Whether these layers, and no others, could be selected in Krita's layer list."""
    docker = next((each for each in Krita.instance().dockers() if each.objectName() == LAYER_DOCKER), None)
    view: Any = docker.findChild(QTreeView, LAYER_LIST) if docker is not None else None
    window = Krita.instance().activeWindow()
    if view is None or window is None or window.activeView() is None:
        return False
    model, rows = view.model(), QtCore.QItemSelection()
    exactly = QtCore.Qt.MatchFlag.MatchExactly | QtCore.Qt.MatchFlag.MatchRecursive
    changes = QtCore.QItemSelectionModel.SelectionFlag
    for layer in layers:
        for index in model.match(model.index(0, 0), QtCore.Qt.ItemDataRole.DisplayRole, layer.name, 1, exactly):
            rows.merge(QtCore.QItemSelection(index, index), changes.Select)
    view.selectionModel().select(rows, changes.ClearAndSelect | changes.Rows)
    selected = [Layer(node).id for node in owned(window.activeView().selectedNodes())]
    return sorted(selected) == sorted(layer.id for layer in layers)
