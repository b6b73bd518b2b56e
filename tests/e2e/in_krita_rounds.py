"""Round after round of edits by hand and refinements: nothing is lost, what is locked stays, memory stays steady."""

from __future__ import annotations

import random

import hands
from krita_harness.inside import memory, trigger
from krita_harness.steps import Until, cases, limit
from studio import Easel, click, first_run, notice, over, panel, session, set_refine, show_docker

PLUGIN = True
ROUNDS = 10


def shown_version(document):
    """The group that is refined next."""
    picked = session().picked
    assert picked.result is not None and picked.result.visible
    return picked.result.node


def pixels(document, node):
    return bytes(node.projectionPixelData(0, 0, document.width(), document.height()))


def locked_pixels(document, group):
    """Of the locked layers, the backmost first."""
    return [(pixels(document, node), node.opacity()) for node in group.childNodes() if node.locked()]


def edit_at_random(rng, document, group, form):
    """One edit by a tool or an action on a layer that is not locked; a generator that returns its name."""
    free = [node for node in group.childNodes() if not node.locked() and not node.bounds().isEmpty()]
    node = rng.choice(free)
    edits = ["move", "turn", "scale", "delete", "duplicate", "raise", "undo"]
    edits.append("shape" if form == "live" else "paint")
    edit = rng.choice(edits)
    if edit == "move":
        yield from hands.move(document, node, rng.randint(-20, 20), rng.randint(-15, 15))
    elif edit in ("turn", "scale"):
        yield from hands.transform(document, node, turn=edit == "turn")
    elif edit == "shape":
        yield from hands.edit_shape(document, node, rng.randint(-9, 9), rng.randint(-9, 9))
    elif edit == "paint":
        yield from hands.paint(document, node)
    elif edit == "delete":
        yield from hands.delete(document, node)
    elif edit == "duplicate":
        yield from hands.duplicate(document, node)
    elif edit == "raise":
        yield from hands.raise_up(document, node)
    else:
        yield from hands.move(document, node, 9, 9)
        yield from hands.undo(document)
        yield from hands.redo(document)
        yield from hands.undo(document)
    return edit


@cases("live", "painted")
@limit(280)
def test_ten_rounds(form):
    rng = random.Random(form)
    easel = Easel(240, 180)
    document = easel.document
    yield from show_docker()
    group = yield from first_run(easel, instances=24, form=form)
    set_refine(steps=10)
    for node in rng.sample(group.childNodes(), 3):
        yield from hands.lock(document, node)
    kept = locked_pixels(document, group)
    assert len(kept) == 3 and all(any(data) for data, _ in kept)
    old, done, held = group, [], []
    for _ in range(ROUNDS):
        for _ in range(2):
            done.append((yield from edit_at_random(rng, document, group, form)))
        count = len(group.childNodes())
        yield from click(panel().run.begin)
        yield Until(lambda: session().job.busy or session().notice, 5, "the run to start")
        yield over()
        assert notice().startswith("Refined: "), (done, notice())
        old, group = group, shown_version(document)
        assert not old.visible() and group != old
        assert len(group.childNodes()) == count, (done, count)
        assert locked_pixels(document, group) == kept, done
        held.append(round(memory()))
    trigger("edit_undo")
    yield Until(old.visible, 5, "the version before")
    return {"edits": done, "MB": held}
