"""The instances' parameters in the document: through saving, reopening, copies, undo, and other versions."""

import json
from dataclasses import replace
from pathlib import Path

from known import take
from krita import Krita
from krita_harness.inside import trigger
from krita_harness.steps import Until
from pieces import blob, live, painted
from written import begin, group_of, scene, write

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.records import DESCRIPTION, KEY, SCHEMA, Source, read_records, with_record
from krita_diffbmp.problem import DiffBmpError, Settings

VALUES = [(60.25 + i, 50.5, 0.1 * i, 1.5, 0.5 + 0.1 * i) for i in range(3)]


def result():
    document, target, group, place = yield from scene(corner=20)
    written = yield from write(place, [live(blob(), *value) for value in VALUES], VALUES)
    return document, target, group, group_of(document, written)


def test_a_record_holds_every_instance():
    document, target, group, node = yield from result()
    ((group_id, record),) = read_records(Document(document)).items()
    assert group_id == record.group_id == Layer(node).id
    assert record.form == "live"
    assert record.target == Source(Layer(target).id, "photo")
    assert record.primitive_group == Source(Layer(group).id, "leaves")
    [primitive] = record.primitives
    assert (primitive.id, primitive.name) == (Layer(group.childNodes()[0]).id, "leaf 0")
    assert primitive.print and primitive.box == (3, 4, 12, 9)
    assert record.region == (20, 20, 236, 172)
    assert record.settings == Settings()
    assert list(record.instances) == [Layer(child).id for child in node.childNodes()]
    for instance, (x, y, rotation, scale, opacity) in zip(record.instances.values(), VALUES, strict=True):
        assert instance.position == (x + 20, y + 20)
        assert abs(instance.rotation - rotation) < 1e-7 and abs(instance.opacity - opacity) < 1e-7
        assert (instance.scale, instance.color, instance.bitmap) == (scale, (0.5, 0.5, 0.5), 0)


def test_records_live_through_save_reopen_and_copies():
    document, _, _, _ = yield from result()
    before = read_records(Document(document))
    path = Path("records.kra").absolute()
    assert document.saveAs(str(path))
    copy = path.with_name("copy.kra")
    copy.write_bytes(path.read_bytes())
    for file in (path, copy):
        assert read_records(Document(Krita.instance().openDocument(str(file)))) == before
    assert read_records(Document(document.clone())) == before


def test_a_layer_duplicated_in_the_document_has_no_record_and_disturbs_none():
    document, _, _, node = yield from result()
    before = read_records(Document(document))
    for twin in (node.duplicate(), node.clone()):
        document.rootNode().addChildNode(twin, None)
        assert Layer(twin).id not in before
        assert not {Layer(child).id for child in twin.childNodes()} & set(next(iter(before.values())).instances)
    assert read_records(Document(document)) == before


def test_what_is_gone_is_passed_over_and_comes_back_with_undo():
    document, _, _, node = yield from result()
    before = read_records(Document(document))
    node.childNodes()[1].remove()
    (record,) = read_records(Document(document)).values()
    assert len(record.instances) == 2
    node.remove()
    assert read_records(Document(document)) == {}
    trigger("edit_undo")
    yield Until(lambda: len(read_records(Document(document))) == 1, 10, "the group to come back")
    assert read_records(Document(document)) != before
    trigger("edit_undo")
    yield Until(lambda: read_records(Document(document)) == before, 10, "its layer to come back")


def test_results_gather_and_only_so_many_of_those_gone():
    document, target, group, node = yield from result()
    first = Layer(node).id
    wrapped = Document(document)
    (record,) = read_records(wrapped).values()
    for number in range(30):
        wrapped.set_annotation(KEY, DESCRIPTION, with_record(wrapped, replace(record, group_id=f"gone {number}")))
    kept = json.loads(wrapped.annotation(KEY))["groups"]
    assert list(kept) == [first, *(f"gone {number}" for number in range(19, 30))]
    place = take(document, target, group, Settings(max_size=0.0)).place
    written = begin(place, [painted(blob(), *VALUES[0])], VALUES[:1])
    yield Until(lambda: written.said)
    found = read_records(wrapped)
    assert list(found) == [first, written.outcome[1]]
    assert [found[key].form for key in found] == ["live", "painted"]


def refusal(document, content):
    wrapped = Document(document)
    wrapped.set_annotation(KEY, "x", content)
    try:
        read_records(wrapped)
    except DiffBmpError as problem:
        return str(problem)
    raise AssertionError("read without a word")


def test_other_versions_and_damage_get_a_sentence():
    document, target, group, node = yield from result()
    good = json.loads(Document(document).annotation(KEY))
    newer = json.dumps({**good, "schema": SCHEMA + 1}).encode()
    assert "newer version" in refusal(document, newer)
    try:
        take(document, target, group, Settings())
        raise AssertionError("captured without a word")
    except DiffBmpError as problem:
        assert "newer version" in str(problem)
    entry = good["groups"][Layer(node).id]
    damaged = [b"\xff\xfe", b"{", b"[]", b'{"schema": 1}', b'{"schema": "x", "groups": {}}']
    for missing in ("form", "instances", "settings"):
        rest = {key: value for key, value in entry.items() if key != missing}
        damaged.append(json.dumps({**good, "groups": {Layer(node).id: rest}}).encode())
    shifted = {layer: {**values, "position": [1, 2, 3]} for layer, values in entry["instances"].items()}
    damaged.append(json.dumps({**good, "groups": {Layer(node).id: {**entry, "instances": shifted}}}).encode())
    for content in damaged:
        assert "cannot be read" in refusal(document, content)
    tolerated = {**entry, "settings": {**entry["settings"], "unknown to us": 3}}
    content = json.dumps({**good, "groups": {Layer(node).id: tolerated}}).encode()
    Document(document).set_annotation(KEY, "x", content)
    assert len(read_records(Document(document))) == 1


def test_a_document_without_records():
    document, _, _, _ = yield from scene()
    assert read_records(Document(document)) == {}
