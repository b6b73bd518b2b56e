"""What test_restarts.py has Krita do in one start and then in another."""

from __future__ import annotations

import os

import hands
from krita import Krita
from krita_harness.inside import trigger
from krita_harness.steps import Until
from studio import (
    Easel,
    click_through,
    long_rounds,
    panel,
    phase,
    session,
    set_form,
    show_docker,
    start,
    switched_on,
    warms_up,
)

from krita_diffbmp import worker
from krita_diffbmp.feed import Feed
from krita_diffbmp.job import Phase
from krita_diffbmp.problem import Settings
from krita_diffbmp.ui.store import Choices

CHOSEN = Choices(
    Settings(
        instances=123,
        min_size=0.031,
        max_size=0.402,
        steps=77,
        mu_blend=0.25,
        alpha_max=0.8,
        background="transparent",
        seed=99,
        device="cpu",
        working_size=640,
        max_stretch=1.75,
    ),
    "painted",
    True,
)


def choose():
    assert panel().form.choices() == Choices() == session().choices
    set_form(
        instances=123,
        min_size=3.1,
        max_size=40.2,
        steps=77,
        mu_blend=25,
        alpha_max=80,
        background="transparent",
        seed=99,
        device="cpu",
        working_size=640,
        max_stretch=1.75,
        form="painted",
    )
    panel().form.unfold.click()
    assert session().choices == CHOSEN


def remembered():
    assert session().choices == CHOSEN == panel().form.choices()
    panel().form.reset.click()
    assert session().choices == Choices(advanced=True) == panel().form.choices()


def reset_remembered():
    assert session().choices == Choices(advanced=True)


def run_and_quit():
    """Leaves with a run going on; Krita quits after the last check, as the artist would have it."""
    yield from start(Easel(), instances=200)


def load_and_quit():
    """Leaves while torch is being loaded."""
    easel = Easel()
    set_form(steps=20000)
    yield from easel.choose()
    trigger("diffbmp_optimize")
    yield 0.1


def warm_up_and_quit():
    """Leaves while torch is being loaded before anybody has asked for a run."""
    easel = Easel()
    yield from show_docker()
    yield from easel.choose()
    yield Until(warms_up)
    yield 0.1


def write_and_quit():
    """Leaves while layers are being made."""
    easel = Easel()
    set_form(instances=2000, steps=1, form="painted")
    yield from easel.choose()
    trigger("diffbmp_optimize")
    yield Until(lambda: session().job.written[0] > 0, 40, "the first layers")
    easel.document.setModified(False)
    Krita.instance().action("file_quit").trigger()
    yield 60


def feed_and_quit():
    """Leaves while the next piece waits for a place in the feed, which has one for one."""
    setattr(worker, "Feed", lambda: Feed(1))  # noqa: B010
    yield from write_and_quit()


def saved_file():
    """Of the document that is saved before Krita quits, in the profile's own folder for such files."""
    return os.path.join(os.environ["TMPDIR"], "continuous.kra")


def edit_save_and_quit(when):
    """Leaves while a round of the continuous mode goes on, in a document that is saved; its layers are the report."""
    easel = Easel(240, 180)
    document = easel.document
    group = yield from switched_on(easel, instances=300)
    assert document.saveAs(saved_file())
    if when is Phase.RUNNING:
        with long_rounds():
            yield from hands.move(document, group.childNodes()[4], 14, 9)
            yield Until(lambda: phase() is when, 20, "a round")
    else:
        yield from hands.move(document, group.childNodes()[4], 14, 9)
        assert document.save()
        yield Until(lambda: phase() is when and session().job.written[0] > 0, 20, "the first layers")
    if when is Phase.RUNNING:
        assert document.save() and phase() is when
    document.setModified(False)
    trigger("file_quit")
    yield 60


def quit_while_a_round_optimises():
    yield from edit_save_and_quit(Phase.RUNNING)


def quit_while_a_round_writes():
    yield from edit_save_and_quit(Phase.WRITING)


def saved_before_is_whole():
    document = Krita.instance().openDocument(saved_file())
    Krita.instance().activeWindow().addView(document)
    yield 0.5
    [result] = [node for node in document.topLevelNodes() if "seed" in node.name()]
    assert len(result.childNodes()) == 300 and result.visible()
    panel().parentWidget().show()
    yield from click_through(document, result)
    said = panel().picks.understood
    yield Until(lambda: said.text() == "300 instances: 1 moved", 5, "what was done before it was saved")
