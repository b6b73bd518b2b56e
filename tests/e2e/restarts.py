"""What test_restarts.py has Krita do in one start and then in another."""

from __future__ import annotations

from krita import Krita
from krita_harness.inside import trigger
from krita_harness.steps import Until
from studio import Easel, panel, session, set_form, start

from krita_diffbmp import worker
from krita_diffbmp.feed import Feed
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
