"""Round after round of edits by hand and refinements: nothing is lost, what is locked stays, memory stays steady."""

from __future__ import annotations

import random

import hands
from krita_harness.inside import memory, trigger
from krita_harness.steps import Until, cases, limit
from studio import Easel, click, first_run, mouse, notice, over, panel, session, set_refine, show_docker

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
    """(name, what it shows) of the locked layers."""
    return [(node.name(), (pixels(document, node), node.opacity())) for node in group.childNodes() if node.locked()]


EDITS = ("move", "turn", "scale", "delete", "duplicate", "raise", "lock", "by the keyboard", "undo")


def edit_at_random(rng, document, group, edit):
    """An edit by a tool or an action on some layer that is not locked; a generator."""
    free = [node for node in group.childNodes() if not node.locked() and hands.room(document, node) > 0]
    node = rng.choice(free)
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
    elif edit == "lock":
        yield from hands.lock(document, node)
    else:
        yield from hands.move(document, node, 9, 9)
        for keys, action in (("ctrl+z", hands.undo), ("ctrl+shift+z", hands.redo), ("ctrl+z", hands.undo)):
            if edit == "undo":
                yield from action(document)
            else:
                yield from mouse("key", keys)
                yield from hands.settled(document)


@cases("live", "painted")
@limit(400)
def test_ten_rounds(form):
    rng = random.Random(form)
    easel = Easel(640, 480)
    document = easel.document
    yield from show_docker()
    group = yield from first_run(easel, instances=300, form=form, min_size=2, max_size=10)
    set_refine(steps=10)
    for node in rng.sample(group.childNodes(), 3):
        yield from hands.lock(document, node)
    kept = dict(locked_pixels(document, group))
    assert len(kept) == 3 and all(any(data) for data, _ in kept.values())
    edits = [*EDITS, "shape" if form == "live" else "paint"] * 2
    rng.shuffle(edits)
    old, held = group, []
    for _ in range(ROUNDS):
        done = [edits.pop(), edits.pop()]
        for edit in done:
            yield from edit_at_random(rng, document, group, edit)
        kept |= {name: seen for name, seen in locked_pixels(document, group) if name not in kept}
        names = sorted(node.name() for node in group.childNodes())
        yield from click(panel().run.begin)
        yield Until(lambda: session().job.busy or session().notice, 5, "the run to start")
        yield over()
        assert notice().startswith("Refined: "), (done, notice())
        old, group = group, shown_version(document)
        assert not old.visible() and group != old
        assert sorted(node.name() for node in group.childNodes()) == names, done
        assert dict(locked_pixels(document, group)) == kept, done
        held.append(round(memory()))
    assert len(kept) == 5 and not edits
    trigger("edit_undo")
    yield Until(old.visible, 5, "the version before")
    return {"MB": held}
