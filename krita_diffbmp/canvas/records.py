"""What was done, kept in the document: each result's settings and the parameters of each of its layers.

It is one annotation of the document, a JSON text keyed by the layers' unique ids. Krita saves it with the file and
keeps both through saving, reopening and copies of the file. A layer that is duplicated inside a document gets a new
id and with it no record.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.problem import DiffBmpError, Settings

KEY = "diffbmp.results"
DESCRIPTION = "DiffBMP: the parameters of optimised layers"
SCHEMA = 1
GONE_KEPT = 10  # records of groups that are not in the document: undo and redo bring groups back


@dataclass(frozen=True)
class Source:
    """A layer that was read: what is kept of it."""

    id: str
    name: str


@dataclass(frozen=True)
class Instance:
    """One layer of a result."""

    position: tuple[float, float]  # canvas px, the bitmap's centre
    rotation: float  # radians, clockwise on screen
    scale: float  # canvas px per bitmap px
    opacity: float
    color: tuple[float, ...]  # the tint before mu_blend, in the document's colour space
    bitmap: int  # index into Record.primitives


@dataclass(frozen=True)
class Record:
    """One result: a group of layers, and what it was made of."""

    group_id: str
    form: str  # "live" or "painted"
    target: Source
    primitive_group: Source
    primitives: tuple[Source, ...]
    region: tuple[int, int, int, int]  # x, y, width, height of the optimised picture on the canvas, px
    settings: Settings
    instances: dict[str, Instance] = field(default_factory=dict)  # by layer id, the backmost first


def read_records(document: Document) -> dict[str, Record]:
    """The results that are in the document now, by the id of their group, with the layers that are left of each.

    Raises DiffBmpError when a newer version of the plugin wrote them, or when they cannot be read.
    """
    entries = load(document)
    present = document.layer_ids() if entries else frozenset()
    found = {}
    for group_id, entry in entries.items():
        if group_id in present:
            record = from_json(group_id, entry)
            left = {layer: instance for layer, instance in record.instances.items() if layer in present}
            found[group_id] = replace(record, instances=left)
    return found


def with_record(document: Document, record: Record) -> bytes:
    """The document's annotation KEY with one more result. Raises DiffBmpError as `read_records` does."""
    entries = load(document)
    present = document.layer_ids()
    gone = [group_id for group_id in entries if group_id not in present]
    for group_id in gone[: max(0, len(gone) - GONE_KEPT)]:
        del entries[group_id]
    entries[record.group_id] = to_json(record)
    return json.dumps({"schema": SCHEMA, "groups": entries}, separators=(",", ":")).encode()


def load(document: Document) -> dict[str, Any]:
    """The entries as they are stored; empty without any. Raises DiffBmpError as `read_records` does."""
    data = document.annotation(KEY)
    if not data:
        return {}
    try:
        content = json.loads(data)
        schema, groups = int(content["schema"]), dict(content["groups"])
    except (ValueError, KeyError, TypeError) as problem:
        raise unreadable() from problem
    if schema > SCHEMA:
        raise DiffBmpError(
            f"This document was made with a newer version of DiffBMP (its records are of kind {schema}; "
            f"this version knows up to {SCHEMA}): update the plugin."
        )
    return groups


def to_json(record: Record) -> dict[str, Any]:
    entry = asdict(record)
    del entry["group_id"]
    return entry


def from_json(group_id: str, entry: dict[str, Any]) -> Record:
    try:
        known = {f.name for f in fields(Settings)}
        return Record(
            group_id=group_id,
            form=entry["form"],
            target=Source(**entry["target"]),
            primitive_group=Source(**entry["primitive_group"]),
            primitives=tuple(Source(**source) for source in entry["primitives"]),
            region=tuple(entry["region"]),
            settings=Settings(**{name: value for name, value in entry["settings"].items() if name in known}),
            instances={layer: instance_from_json(values) for layer, values in entry["instances"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise unreadable() from problem


def instance_from_json(values: dict[str, Any]) -> Instance:
    x, y = values["position"]
    return Instance(**{**values, "position": (x, y), "color": tuple(values["color"])})


def unreadable() -> DiffBmpError:
    return DiffBmpError("What DiffBMP stored in this document cannot be read: copy its layers into a new document.")
