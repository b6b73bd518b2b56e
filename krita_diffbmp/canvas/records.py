"""What was done, kept in the document: each result's settings and the parameters of each of its layers.

It is one annotation of the document, a JSON text keyed by the layers' unique ids. Krita saves it with the file and
keeps both through saving, reopening and copies of the file. A layer that is duplicated inside a document gets a new
id and with it no record.

Schema 2: {"schema": 2, "groups": {group id: entry}}, an entry being the fields of `Record` without its id, with
"instances" {layer id: the fields of `Instance` that differ from their defaults}. Schema 1, which knew first runs
alone, lacks all fields that have a default here, and is read as if they had it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.problem import DiffBmpError, Freeze, Settings

KEY = "diffbmp.results"
DESCRIPTION = "DiffBMP: the parameters of optimised layers"
DAMAGED_KEY = "diffbmp.results.damaged"  # records that could not be read, kept as they are
SCHEMA = 2
GONE_KEPT = 10  # records of groups that are not in the document: undo and redo bring groups back


class NewerRecordsError(DiffBmpError):
    """A newer version of the plugin wrote what is stored; nothing may be written over it."""


@dataclass(frozen=True)
class Source:
    """A layer that was read: what is kept of it."""

    id: str
    name: str
    print: str = ""  # this and what follows: of a primitive's picture, see `fingerprint.py`; empty where not known
    box: tuple[int, int, int, int] | None = None  # x, y, width, height of what is not transparent, canvas px
    cells: str = ""
    opaque: bool = False  # a layer of a result, whose opacity is the instance's and no part of the picture


@dataclass(frozen=True)
class Instance:
    """One layer of a result: an instance of a primitive, and what its layer was like when it was written.

    A point q of the bitmap, in bitmap px from its centre, lies at position + scale R(rotation) stretch q.
    """

    position: tuple[float, float]  # canvas px, the bitmap's centre
    rotation: float  # radians, clockwise on screen
    scale: float  # canvas px per bitmap px
    opacity: float
    color: tuple[float, ...]  # the tint before mu_blend, in the document's colour space
    bitmap: int  # index into Record.primitives
    stretch: tuple[float, float, float, float] | None = None  # row by row; None: the identity
    mu_blend: float | None = None  # None, in schema 1: that of Record.settings
    frozen: int = 0  # of Freeze: what the artist wants kept
    name: str = ""  # of the layer
    layer_opacity: int | None = None  # of 255
    matrix: tuple[float, ...] | None = None  # live: a b c d e f from the shape's own units to canvas px
    print: str = ""  # the fingerprint of the layer's picture, see `fingerprint.py`
    shape: str = ""  # painted: the fingerprint of its alpha alone
    box: tuple[int, int, int, int] | None = None  # x, y, width, height of what is not transparent, canvas px
    cells: str = ""  # painted: what the picture is like on a coarse grid


@dataclass(frozen=True)
class Record:
    """One result: a group of layers, and what it was made of."""

    group_id: str
    form: str  # "live" or "painted"
    target: Source
    primitive_group: Source
    primitives: tuple[Source, ...]  # layers; after those of the primitive group, layers that were painted on
    region: tuple[int, int, int, int]  # x, y, width, height of the optimised picture on the canvas, px
    settings: Settings
    instances: dict[str, Instance] = field(default_factory=dict)  # by layer id, the backmost first
    fixed: tuple[str, ...] = ()  # ids of the layers in the group that are no instances
    canvas: tuple[int, int] | None = None  # px, width and height of the canvas when this was written
    space: tuple[str, str, str] | None = None  # colour model, depth and profile of the colours and the pixels
    version: int = 1
    previous: str = ""  # id of the group that this one is a refinement of; empty for a first run
    psnr: float | None = None  # dB, of the run that made it


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


def freeze(document: Document, layers: dict[str, Freeze]) -> None:
    """Keeps what the artist wants kept of instances, by layer id. Layers without a record are passed over.

    Raises DiffBmpError as `read_records` does.
    """
    entries = copy.deepcopy(load(document))
    for entry in entries.values():
        for layer_id, bits in layers.items():
            if layer_id in entry["instances"]:
                entry["instances"][layer_id]["frozen"] = int(bits)
    document.set_annotation(KEY, DESCRIPTION, dump(entries))


def check_version(document: Document) -> None:
    """Raises DiffBmpError when a newer version of the plugin wrote the records; damaged ones are set aside."""
    try:
        load(document)
    except NewerRecordsError:
        raise
    except DiffBmpError:
        document.set_annotation(DAMAGED_KEY, DESCRIPTION, document.annotation(KEY))
        document.set_annotation(KEY, DESCRIPTION, dump({}))


def with_record(document: Document, record: Record) -> bytes:
    """The document's annotation KEY with one more result. Raises DiffBmpError as `read_records` does."""
    entries = load(document)
    present = document.layer_ids()
    gone = [group_id for group_id in entries if group_id not in present]
    for group_id in gone[: max(0, len(gone) - GONE_KEPT)]:
        del entries[group_id]
    entries[record.group_id] = to_json(record)
    return dump(entries)


def dump(entries: dict[str, Any]) -> bytes:
    return json.dumps({"schema": SCHEMA, "groups": entries}, separators=(",", ":")).encode()


def load(document: Document) -> dict[str, Any]:
    """The entries as they are stored, which must not be written to; empty without any.

    Raises DiffBmpError as `read_records` does.
    """
    return dict(parse(document.annotation(KEY)))


def known_layers(document: Document) -> Mapping[str, str]:
    """The id of the group in which each layer was written, by the layer's id; quick enough for every poll.

    Raises DiffBmpError as `read_records` does.
    """
    return layers_in(document.annotation(KEY))


@lru_cache(maxsize=4)
def parse(data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    try:
        content = json.loads(data)
        schema, groups = int(content["schema"]), dict(content["groups"])
    except (ValueError, KeyError, TypeError) as problem:
        raise unreadable() from problem
    if schema > SCHEMA:
        raise NewerRecordsError(
            f"This document was made with a newer version of DiffBMP (its records are of kind {schema}; "
            f"this version knows up to {SCHEMA}): update the plugin."
        )
    return groups


@lru_cache(maxsize=4)
def layers_in(data: bytes) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for group_id, entry in parse(data).items():
        instances = entry.get("instances") if isinstance(entry, dict) else None
        if isinstance(instances, dict):
            found.update(dict.fromkeys(instances, group_id))
    return found


def to_json(record: Record) -> dict[str, Any]:
    entry = asdict(replace(record, instances={}))
    del entry["group_id"]
    entry["instances"] = {layer: instance_to_json(instance) for layer, instance in record.instances.items()}
    return entry


def from_json(group_id: str, entry: dict[str, Any]) -> Record:
    try:
        known = {f.name for f in fields(Settings)}
        canvas, space = entry.get("canvas"), entry.get("space")
        return Record(
            group_id=group_id,
            form=entry["form"],
            target=Source(**entry["target"]),
            primitive_group=Source(**entry["primitive_group"]),
            primitives=tuple(source_from_json(source) for source in entry["primitives"]),
            region=tuple(entry["region"]),
            settings=Settings(**{name: value for name, value in entry["settings"].items() if name in known}),
            instances={layer: instance_from_json(values) for layer, values in entry["instances"].items()},
            fixed=tuple(entry.get("fixed", ())),
            canvas=(int(canvas[0]), int(canvas[1])) if canvas else None,
            space=(str(space[0]), str(space[1]), str(space[2])) if space else None,
            version=int(entry.get("version", 1)),
            previous=str(entry.get("previous", "")),
            psnr=entry.get("psnr"),
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as problem:
        raise unreadable() from problem


DEFAULTS = {f.name: f.default for f in fields(Instance) if f.default is not MISSING}
TUPLES = ("color", "stretch", "matrix", "box")


def source_from_json(values: dict[str, Any]) -> Source:
    box = values.get("box")
    return Source(**{**values, "box": tuple(box) if box else None})


def instance_to_json(instance: Instance) -> dict[str, Any]:
    values = {f.name: getattr(instance, f.name) for f in fields(Instance)}
    return {name: value for name, value in values.items() if name not in DEFAULTS or value != DEFAULTS[name]}


def instance_from_json(values: dict[str, Any]) -> Instance:
    x, y = values["position"]
    found = {name: tuple(values[name]) for name in TUPLES if values.get(name) is not None}
    return Instance(**{**values, **found, "position": (x, y)})


def unreadable() -> DiffBmpError:
    return DiffBmpError("What DiffBMP stored in this document cannot be read: copy its layers into a new document.")
