"""Layers are written while the pieces for the next ones are still being made: what goes wrong there, and memory."""

from __future__ import annotations

import time
from contextlib import contextmanager

from krita import Krita
from krita_harness.inside import forget_peak_memory, memory, peak_memory, trigger, undo_rows
from krita_harness.steps import Until, cases, limit
from studio import Easel, notice, over, panel, phase, sample, session, set_form, show_docker

from krita_diffbmp.job import Phase
from krita_diffbmp.problem import DiffBmpError

PLUGIN = True
FAILURES = {
    "memory": (MemoryError("12 GB"), "The memory does not suffice"),
    "ours": (DiffBmpError("This one cannot be made."), "This one cannot be made."),
    "unforeseen": (ValueError("a slip"), "Something went wrong, and nothing was changed: a slip"),
}


@contextmanager
def pieces_that(form, trouble):
    """`trouble(index)` happens before each piece of the form is made."""
    from krita_diffbmp.engine import pieces

    name = f"{form}_pieces"
    make = getattr(pieces, name)

    def troubled(problem, placements):
        for index, piece in enumerate(make(problem, placements)):
            trouble(index)
            yield piece

    setattr(pieces, name, troubled)
    try:
        yield
    finally:
        setattr(pieces, name, make)


def slow(index):
    time.sleep(0.1)


def worker_gone():
    worker = session().job._worker
    return Until(lambda: worker is None or not worker.is_alive(), 2, "the worker to be gone")


@cases("live memory", "painted memory", "live ours", "painted unforeseen", "painted unforeseen at once")
def test_a_piece_that_cannot_be_made_leaves_the_document_as_it_was(case):
    form, kind, *at_once = case.split(maxsplit=2)
    failure, sentence = FAILURES[kind]
    easel = Easel()
    set_form(instances=40, steps=2, form=form)
    yield from easel.choose()
    before, rows, documents = easel.state(), undo_rows(), len(Krita.instance().documents())
    easel.document.setModified(False)

    def fail(index):
        if index == (0 if at_once else 20):
            raise failure

    with pieces_that(form, fail):
        trigger("diffbmp_optimize")
        yield over()
    assert notice().startswith(sentence), notice()
    assert bool(session().notice.details) == (kind != "ours")
    yield 0.3
    assert easel.state() == before and undo_rows() == rows
    assert not easel.document.modified()
    assert len(Krita.instance().documents()) == documents
    yield worker_gone()


@cases("live", "painted")
def test_cancel_while_pieces_are_slow_to_come(form):
    easel = Easel()
    yield from show_docker()
    set_form(instances=300, steps=2, form=form)
    yield from easel.choose()
    before, rows = easel.state(), undo_rows()
    with pieces_that(form, slow):
        trigger("diffbmp_optimize")
        yield Until(lambda: session().job.written[0] > 3, 40, "the first layers")
        assert phase() is Phase.WRITING
        assert panel().run.status.text().endswith(" of 300"), panel().run.status.text()
        trigger("diffbmp_cancel")
        yield Until(lambda: phase() is Phase.IDLE, 1, "the run to end")
        yield worker_gone()
    assert "as it was" in notice(), notice()
    yield 0.3
    assert easel.state() == before and undo_rows() == rows
    set_form(form=form)
    trigger("diffbmp_optimize")
    yield over()
    assert len(easel.results()) == 1, notice()


def test_closing_the_document_while_pieces_are_slow_to_come():
    easel = Easel()
    set_form(instances=300, steps=2, form="painted")
    yield from easel.choose()
    with pieces_that("painted", slow):
        trigger("diffbmp_optimize")
        yield Until(lambda: session().job.written[0] > 3, 40, "the first layers")
        easel.document.setModified(False)
        easel.document.close()
        yield Until(lambda: phase() is Phase.IDLE, 1, "the run to end")
        yield worker_gone()
    assert "closed" in notice(), notice()
    assert not Krita.instance().documents()


@limit(180)
def test_memory_for_a_large_16_bit_photo_is_that_of_its_layers():
    """Beyond Krita's own layers only a few pieces exist at a time; all of them together are twice those layers."""
    document = yield from sample(4000, "U16")
    set_form(instances=150, steps=3, working_size=96)
    finishing = Until(lambda: phase() in (Phase.FINISHING, Phase.WRITING), 60, "the last step")
    trigger("diffbmp_optimize")
    yield finishing
    forget_peak_memory()
    held = memory()
    yield Until(lambda: phase() is Phase.IDLE, 120, "the run to end")
    peak = peak_memory() - held
    assert notice().startswith("Done: 150 layers"), notice()
    group = document.topLevelNodes()[-1]
    boxes = [node.bounds() for node in group.childNodes()]
    layers = sum(box.width() * box.height() * 8 for box in boxes) / 2**20
    assert len(boxes) == 150
    report = f"{peak:.0f} MB more at the peak, of which layers {layers:.0f} MB"
    assert peak - layers < 700, report
    return report
