"""What was done, kept in the document: each result's settings and the parameters of each of its layers.

It is one annotation of the document, a JSON text keyed by the layers' unique ids. Krita saves it with the file and
keeps both through saving, reopening and copies of the file. A layer that is duplicated inside a document gets a new
id and with it no record.

Schema 2: {"schema": 2, "groups": {group id: entry}}, an entry being the fields of `Record` without its id, with
"instances" {layer id: the fields of `Instance` that differ from their defaults}. Schema 1, which knew first runs
alone, lacks all fields that have a default here, and is read as if they had it.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
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
        schema, groups = whole(content["schema"]), dict(content["groups"])
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


@lru_cache(maxsize=8)
def record_in(data: bytes, group_id: str) -> Record:
    """One of the entries that are stored as `data`. Raises DiffBmpError where it cannot be read."""
    return from_json(group_id, parse(data)[group_id])


def to_json(record: Record) -> dict[str, Any]:
    entry = asdict(replace(record, instances={}))
    del entry["group_id"]
    entry["instances"] = {layer: instance_to_json(instance) for layer, instance in record.instances.items()}
    return entry


def from_json(group_id: str, entry: dict[str, Any]) -> Record:
    """Raises DiffBmpError where anything in it is not what it should be."""
    try:
        primitives = tuple(source_from_json(source) for source in entry["primitives"])
        canvas, space, psnr = entry.get("canvas"), entry.get("space"), entry.get("psnr")
        return Record(
            group_id=group_id,
            form=text(entry["form"]),
            target=source_from_json(entry["target"]),
            primitive_group=source_from_json(entry["primitive_group"]),
            primitives=primitives,
            region=several(whole, entry["region"], 4),
            settings=settings_from_json(entry["settings"]),
            instances={
                layer: instance_from_json(values, len(primitives)) for layer, values in entry["instances"].items()
            },
            fixed=tuple(map(text, entry.get("fixed", ()))),
            canvas=several(whole, canvas, 2) if canvas is not None else None,
            space=several(text, space, 3) if space is not None else None,
            version=whole(entry.get("version", 1)),
            previous=text(entry.get("previous", "")),
            psnr=number(psnr) if psnr is not None else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as problem:
        raise unreadable() from problem


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(value)
    return value


def whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(value)
    return value


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def several(check: Callable[[Any], Any], values: Any, count: int) -> Any:
    """A tuple of so many values, checked."""
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(values)
    return tuple(map(check, values))


def settings_from_json(values: dict[str, Any]) -> Settings:
    """Those that this version of the plugin knows."""
    found: dict[str, Any] = {}
    for name, default in vars(Settings()).items():
        if name in values:
            check = text if isinstance(default, str) else whole if isinstance(default, int) else number
            found[name] = check(values[name])
    return Settings(**found)


DEFAULTS = {f.name: f.default for f in fields(Instance) if f.default is not MISSING}


def source_from_json(values: dict[str, Any]) -> Source:
    box, opaque = values.get("box"), values.get("opaque", False)
    if not isinstance(opaque, bool):
        raise ValueError(opaque)
    return Source(
        id=text(values["id"]),
        name=text(values["name"]),
        print=text(values.get("print", "")),
        box=several(whole, box, 4) if box is not None else None,
        cells=cells(values.get("cells", "")),
        opaque=opaque,
    )


def cells(value: Any) -> str:
    base64.b64decode(text(value), validate=True)
    return text(value)


def instance_to_json(instance: Instance) -> dict[str, Any]:
    values = {f.name: getattr(instance, f.name) for f in fields(Instance)}
    return {name: value for name, value in values.items() if name not in DEFAULTS or value != DEFAULTS[name]}


NUMBERS = {"position": 2, "stretch": 4, "matrix": 6}


def instance_from_json(values: dict[str, Any], primitives: int) -> Instance:
    """primitives: how many the record has."""
    given = {name: value for name, value in values.items() if value is not None}
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in NUMBERS:
            found[name] = several(number, value, NUMBERS[name])
        elif name == "box":
            found[name] = several(whole, value, 4)
        elif name == "color":
            found[name] = tuple(map(number, value))
        elif name in ("name", "print", "shape", "cells"):
            found[name] = cells(value) if name == "cells" else text(value)
        else:
            found[name] = whole(value) if name in ("bitmap", "frozen", "layer_opacity") else number(value)
    instance = Instance(**found)
    if not (0 <= instance.bitmap < primitives and 0 <= instance.frozen <= Freeze.ALL and instance.scale > 0):
        raise ValueError(values)
    return instance


def unreadable() -> DiffBmpError:
    return DiffBmpError("What DiffBMP stored in this document cannot be read: copy its layers into a new document.")
