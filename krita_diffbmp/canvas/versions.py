"""The versions of a result: each refinement is a group of its own above the one that it replaces, which is hidden.

Krita's undo takes a version away and brings it back, but it knows nothing of what the API shows and hides. So whoever
polls calls `follow_undo`: when a version disappears, the one that it had replaced is shown again, and hidden again once
the version is back. Only such transitions count: what the artist shows and hides meanwhile stays as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer, owned
from krita_diffbmp.canvas.records import Source, load
from krita_diffbmp.problem import DiffBmpError

SUFFIX = re.compile(r" v(\d+)$")


@dataclass(frozen=True)
class Version:
    """One version of a result that is in the document."""

    id: str  # of its group
    name: str
    number: int  # 1 for a first run
    visible: bool
    psnr: float | None  # dB; None where that was not kept


def versions_of(document: Document, group: Layer) -> list[Version]:
    """All versions of the result that a group is one of, the oldest first; of a group of another kind, it alone.

    Raises DiffBmpError where the records cannot be read.
    """
    entries = load(document)
    found = []
    for group_id in family(entries, group.id):
        layer = document.layer(group_id)
        if layer is not None:
            entry = entries.get(group_id, {})
            found.append(Version(group_id, layer.name, number_of(entry), layer.visible, psnr_of(entry)))
    return sorted(found, key=lambda version: version.number)


def show_version(document: Document, group_id: str) -> None:
    """Shows one version of a result and hides the others. Raises DiffBmpError where it is gone."""
    chosen = document.layer(group_id)
    if chosen is None:
        raise DiffBmpError("This version was deleted: undo that, or choose another.")
    for version in versions_of(document, chosen):
        layer = document.layer(version.id)
        if layer is not None:
            layer.node.setVisible(version.id == group_id)
    document.handle.refreshProjection()


def next_version(document: Document, group_id: str) -> int:
    """The number of a refinement of a group."""
    entries = load(document)
    return 1 + max((number_of(entries.get(member, {})) for member in family(entries, group_id)), default=1)


def name_of_version(document: Document, group: Source) -> str:
    """What a refinement of a group is called."""
    layer = document.layer(group.id)
    name = layer.name if layer is not None else group.name
    return f"{SUFFIX.sub('', name)} v{next_version(document, group.id)}"


def hide_replaced(document: Document, group_id: str) -> None:
    """Hides the version that a new one, which was just added, replaces; undo of the latter shows it again."""
    follow_undo(document)  # first what happened before
    previous = previous_of(load(document), group_id)
    layer = document.layer(previous) if previous else None
    if layer is not None and set_visible(document, previous, False):
        state = state_of(document)
        state.hidden[group_id] = previous
        state.visible.add(group_id)


def family(entries: dict[str, Any], group_id: str) -> list[str]:
    """The ids of all versions of a result, of deleted ones as well."""
    root = root_of(entries, group_id)
    found = [member for member in entries if root_of(entries, member) == root]
    return found if root in found else [root, *found]


def root_of(entries: dict[str, Any], group_id: str) -> str:
    seen = set()
    while group_id not in seen and (previous := previous_of(entries, group_id)):
        seen.add(group_id)
        group_id = previous
    return group_id


def previous_of(entries: dict[str, Any], group_id: str) -> str:
    entry = entries.get(group_id)
    return str(entry.get("previous", "")) if isinstance(entry, dict) else ""


def number_of(entry: Any) -> int:
    number = entry.get("version", 1) if isinstance(entry, dict) else 1
    return number if isinstance(number, int) else 1


def psnr_of(entry: Any) -> float | None:
    psnr = entry.get("psnr") if isinstance(entry, dict) else None
    return float(psnr) if isinstance(psnr, int | float) else None


# --- undo and redo


@dataclass
class State:
    """What is known of one document's versions."""

    document: Document
    hidden: dict[str, str] = field(default_factory=dict)  # by version, the group that we hid for it
    shown: dict[str, str] = field(default_factory=dict)  # by version that is gone, the group that we showed again
    visible: set[str] = field(default_factory=set)  # versions that were, at the last look

    def layers(self) -> dict[str, Layer]:
        """Of all groups that are known here, those that there are."""
        wanted = {*self.hidden, *self.hidden.values(), *self.shown, *self.shown.values()}
        top = map(Layer, owned(self.document.handle.topLevelNodes()))
        found = {layer.id: layer for layer in top if layer.id in wanted}
        for group_id in wanted - found.keys():  # for which Krita looks through every layer
            layer = self.document.layer(group_id)
            if layer is not None:
                found[group_id] = layer
        return found

    def note_visible(self, layers: dict[str, Layer]) -> None:
        # Of one that is gone it is known from before.
        gone = {version for version in self.visible if version not in layers}
        self.visible = gone | {version for version in self.hidden if version in layers and layers[version].visible}

    def was_up(self, version: str, there: dict[str, Layer]) -> bool:
        """Whether a version that is gone was seen, or would have been but for others that are gone as well."""
        return version in self.visible or any(
            later not in there and self.was_up(later, there)
            for later, previous in self.hidden.items()
            if previous == version
        )


_states: list[State] = []


def state_of(document: Document) -> State:
    _states[:] = [state for state in _states if state.document.is_open]
    for state in _states:
        if state.document == document:
            return state
    entries = entries_in(document)
    state = State(document)
    for group_id in entries:
        previous = previous_of(entries, group_id)
        layer = document.layer(previous) if previous and document.layer(group_id) is not None else None
        if layer is not None and not layer.visible:
            state.hidden[group_id] = previous
    state.note_visible(state.layers())
    _states.append(state)
    return state


def follow_undo(document: Document) -> bool:
    """Shows and hides what undo and redo of a refinement have left as it was; whether there was anything to do.

    Quick enough for every poll.
    """
    state = state_of(document)
    if not state.hidden and not state.shown:
        return False
    changed, there = False, state.layers()
    for version, previous in list(state.hidden.items()):
        # Where two steps were undone at once, the previous version is gone as well, and shown once it is back. One that
        # was hidden when it went has left no gap.
        if version not in there and previous in there and state.was_up(version, there):
            del state.hidden[version]
            if set_visible(document, previous, True):
                state.shown[version] = previous
                changed = True
    for version, previous in list(state.shown.items()):
        if version in there:
            del state.shown[version]
            if set_visible(document, previous, False):
                state.hidden[version] = previous
                changed = True
    state.note_visible(there)
    if changed:
        document.handle.refreshProjection()
    return changed


def set_visible(document: Document, group_id: str, visible: bool) -> bool:
    """Whether that was a change."""
    layer = document.layer(group_id)
    if layer is None or layer.visible == visible:
        return False
    layer.node.setVisible(visible)
    return True


def entries_in(document: Document) -> dict[str, Any]:
    try:
        return load(document)
    except DiffBmpError:
        return {}
