"""The main job in Krita's window: by actions, by the mouse, paused, stopped, cancelled."""

from __future__ import annotations

import gc
import sys

import numpy as np
from krita import Krita
from krita_harness.inside import composite, trigger, undo_rows
from krita_harness.steps import Until, limit
from studio import (
    Easel,
    at_step,
    click,
    docker,
    notice,
    over,
    panel,
    phase,
    save_picture,
    session,
    set_form,
    show_docker,
    start,
    warms_up,
)

from krita_diffbmp.job import Phase

PLUGIN = True


def test_krita_starts_without_loading_torch():
    assert "torch" not in sys.modules
    assert docker().windowTitle() == "DiffBMP"
    names = ("optimize", "pause", "stop", "cancel", "show")
    texts = [Krita.instance().action(f"diffbmp_{name}").text() for name in names]
    assert all(text.startswith("DiffBMP: ") for text in texts), texts


def test_the_docker_says_what_to_do_before_anything_is_open():
    yield from show_docker()
    session().look()
    assert "document" in panel().picks.problem.text()
    assert not panel().run.begin.isEnabled()
    yield from save_picture("empty")


def test_torch_is_loaded_once_something_is_picked():
    """So that the first run begins at once; nobody is told."""
    yield from show_docker()
    yield 0.5
    assert "torch" not in sys.modules
    easel = Easel()
    state = easel.state()
    yield from easel.choose()
    yield Until(lambda: "krita_diffbmp.engine.run" in sys.modules, 30, "the engine")
    yield Until(lambda: not warms_up())
    assert "torch" in sys.modules and phase() is Phase.IDLE and session().notice is None
    assert easel.state() == state


@limit(90)
def test_main_job_by_actions():
    easel = Easel()
    yield from show_docker()
    set_form(instances=30, steps=500)
    yield from easel.choose()
    assert panel().run.begin.isEnabled()
    yield from save_picture("ready")
    before, rows, picture = easel.state(), undo_rows(), composite(easel.document)
    trigger("diffbmp_optimize")
    assert phase() is Phase.STARTING, notice()
    yield at_step(30)
    yield Until(
        lambda: (
            not panel().preview.image().isNull() and panel().run.bar.value() > 0 and "dB" in panel().run.status.text()
        ),
        5,
        "preview and progress",
    )
    yield from save_picture("running")
    yield over()
    yield from save_picture("done")
    [group] = easel.results()
    assert [n.name() for n in easel.document.topLevelNodes()] == ["dabs", "photo", group.name()]
    assert len(group.childNodes()) == 30 and {n.type() for n in group.childNodes()} == {"vectorlayer"}
    assert notice().startswith("Done: 30 layers")
    assert undo_rows() == rows + 1
    assert np.any(composite(easel.document) != picture)
    group_ids = {n.uniqueId().toString() for n in easel.results()}
    trigger("edit_undo")
    yield Until(lambda: not easel.results(), 10, "undo")
    easel.document.waitForDone()
    assert easel.state() == before
    trigger("edit_redo")
    yield Until(lambda: {n.uniqueId().toString() for n in easel.results()} == group_ids, 10, "redo")
    return notice()


def test_loading_torch_leaves_python_as_it_was():
    assert sys.getswitchinterval() == 0.005
    assert gc.isenabled()
    assert gc.get_freeze_count() > 100_000  # torch's objects, which are not looked through for garbage


def test_main_job_by_the_mouse():
    easel = Easel()
    yield from show_docker()
    set_form(form="painted")
    yield from easel.choose()
    yield from click(panel().run.begin)
    yield Until(lambda: phase() is not Phase.IDLE or easel.results(), 5, "the run to start, unless it is over already")
    yield over()
    [group] = easel.results()
    assert {n.type() for n in group.childNodes()} == {"paintlayer"} and len(group.childNodes()) == 12


def test_a_16_bit_document_gets_painted_layers_and_the_docker_says_why():
    easel = Easel(depth="U16")
    yield from show_docker()
    set_form(form="live")
    yield from easel.choose()
    assert panel().form.form_note.isVisible() and "8-bit" in panel().form.form_note.text()
    assert panel().form.form.currentData() == "painted" and not panel().form.form.isEnabled()
    assert session().choices.form == "live", "the artist's choice is kept for the next document"
    yield from save_picture("sixteen_bit")
    trigger("diffbmp_optimize")
    yield over()
    [group] = easel.results()
    assert {n.type() for n in group.childNodes()} == {"paintlayer"}, notice()


def test_pause_and_resume():
    easel = Easel()
    yield from show_docker()
    yield from start(easel, 3)
    yield from click(panel().run.pause)
    assert phase() is Phase.PAUSED
    yield 0.5
    halted = session().job.progress.step
    yield 0.5
    assert session().job.progress.step == halted, "steps were done while paused"
    assert "Resume" in panel().run.pause.text() and "paused" in panel().run.status.text()
    yield from save_picture("paused")
    trigger("diffbmp_pause")
    assert phase() is Phase.RUNNING
    yield at_step(halted + 2)
    trigger("diffbmp_cancel")
    assert phase() is Phase.IDLE


def test_stop_and_keep_writes_what_there_is():
    easel = Easel()
    yield from start(easel, 12)
    trigger("diffbmp_stop")
    yield over()
    [group] = easel.results()
    assert len(group.childNodes()) == 12
    assert notice().startswith("Done")


def test_stop_works_while_paused():
    easel = Easel()
    yield from start(easel)
    trigger("diffbmp_pause")
    trigger("diffbmp_stop")
    yield over()
    assert len(easel.results()) == 1


def test_cancel_leaves_the_document_as_it_was():
    easel = Easel()
    yield from show_docker()
    easel.document.setModified(False)
    before, rows = easel.state(), undo_rows()
    yield from start(easel, 5)
    yield from click(panel().run.cancel)
    assert phase() is Phase.IDLE
    yield 0.5
    assert easel.state() == before and undo_rows() == rows and not easel.document.modified()
    assert "as it was" in notice()
    yield from save_picture("cancelled")


def test_cancel_while_layers_are_made_leaves_the_document_as_it_was():
    easel = Easel()
    set_form(instances=3000, steps=2, form="painted")
    yield from easel.choose()
    before, rows, open_documents = easel.state(), undo_rows(), len(Krita.instance().documents())
    trigger("diffbmp_optimize")
    yield Until(lambda: 0 < session().job.written[0] < 2000, 40, "the first layers")
    trigger("diffbmp_cancel")
    yield over()
    assert "as it was" in notice(), notice()
    yield 0.5
    assert undo_rows() == rows
    assert easel.state() == before
    assert len(Krita.instance().documents()) == open_documents


def test_a_cancelled_run_makes_way_for_the_next_at_once():
    easel = Easel()
    set_form(steps=20000)
    yield from easel.choose()
    for _ in range(3):
        trigger("diffbmp_optimize")
        assert phase() is Phase.STARTING, notice()
        trigger("diffbmp_cancel")
    set_form()
    trigger("diffbmp_optimize")
    yield over()
    assert len(easel.results()) == 1, notice()


def test_a_second_run_is_refused_while_one_is_on():
    easel = Easel()
    yield from show_docker()
    yield from start(easel)
    trigger("diffbmp_optimize")
    assert "already" in notice() and panel().notice.text.text() == notice() and panel().notice.isVisible()
    assert phase() is Phase.RUNNING, "the first run goes on"
    trigger("diffbmp_cancel")


def test_the_same_seed_gives_the_same_layers():
    easel = Easel()
    set_form(seed=5, form="painted")
    pictures = []
    for _ in range(2):
        yield from easel.choose()
        trigger("diffbmp_optimize")
        yield over()
        pictures.append(composite(easel.document))
        easel.results()[0].remove()
        easel.document.waitForDone()
    assert np.array_equal(*pictures)


def test_actions_say_that_nothing_is_running():
    Easel()
    said: list[str] = []
    session().float = said.append
    for name in ("pause", "stop", "cancel"):
        trigger(f"diffbmp_{name}")
        assert phase() is Phase.IDLE
    del session().float
    assert said == ["DiffBMP: nothing is running."] * 3


def test_an_action_shows_the_docker():
    docker().hide()
    trigger("diffbmp_show")
    yield Until(lambda: panel().isVisible(), 5, "the docker")
