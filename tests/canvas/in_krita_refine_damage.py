"""Records that were damaged in any way: what can be read of the layers is read, with a sentence, and nothing breaks."""

import copy
import json

from krita_harness.steps import cases, limit
from readings import VALUES, read, written

from krita_diffbmp.canvas.document import Document
from krita_diffbmp.canvas.layers import Layer
from krita_diffbmp.canvas.readback import holds_instances
from krita_diffbmp.canvas.records import KEY
from krita_diffbmp.canvas.refine import capture_refine
from krita_diffbmp.canvas.versions import follow_undo, versions_of
from krita_diffbmp.problem import DiffBmpError, Settings

WRONG: tuple[object, ...] = (None, "x", -1, 1e400, float("nan"), 99, [], {}, [1], ["a", "b"], [[]], True)


def places(tree, path=()):
    """The path of every value in a JSON tree; of lists the first two items."""
    yield path
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from places(value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree[:2]):
            yield from places(value, (*path, index))


def put(tree, path, value):
    """A copy of the tree with another value there."""
    if not path:
        return value
    changed = copy.deepcopy(tree)
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return changed


@cases("live", "painted")
@limit(180)
def test_any_value_of_a_record_may_be_wrong(form):
    document, target, _, group = yield from written(form, VALUES[:2])
    wrapped, layer = Document(document), Layer(group)
    good = json.loads(wrapped.annotation(KEY))
    tried = said = refused = 0
    for path in list(places(good)):
        for number, wrong in enumerate(WRONG):
            wrapped.set_annotation(KEY, "x", json.dumps(put(good, path, wrong)).encode())
            where = path, wrong
            try:
                holds_instances(wrapped, layer)
                follow_undo(wrapped)
                reading = read(document, group)
                assert reading.changes.total == 2, where
                said += bool(reading.notes)
                if number % 3 == 0:
                    versions_of(wrapped, layer)
                    capture_refine(wrapped, Layer(target), reading, Settings())
            except DiffBmpError:
                refused += 1
            except Exception as problem:
                raise AssertionError(f"{where}: {problem!r}") from problem
            tried += 1
        yield 0
    return tried, said, refused
