"""What test_cards.py has Krita do on a machine with a graphics card."""

from __future__ import annotations

import sys

from krita_harness.inside import Ticks, trigger
from krita_harness.steps import Until
from studio import Easel, at_step, notice, over, panel, save_picture, session, set_form, show_docker

from krita_diffbmp.card import Card

WHY = "because this PyTorch is built without CUDA"


def texts():
    device = panel().form.device
    return [device.itemText(device.findData(key)) for key in ("auto", "cpu", "cuda")]


def card_of_no_use():
    """The card is named, torch is not loaded for that, and why a run does not use it is said."""
    ticks = Ticks()
    yield from show_docker()
    yield Until(lambda: session().found_card is not None, 10, "the card")
    gaps = ticks.stop()
    yield 0.2
    assert texts() == ["Automatic (CPU)", "Processor (CPU)", "CUDA: NVIDIA H100, 80 GB"]
    assert "Not usable yet: PyTorch is built without CUDA." in panel().form.device.toolTip()
    assert "torch" not in sys.modules
    panel().form.unfold.click()
    yield 0.2
    yield from save_picture("card")
    panel().form.unfold.click()

    easel = Easel()
    set_form(steps=20000, device="auto")
    yield from easel.choose()
    trigger("diffbmp_optimize")
    yield at_step(5)
    assert f"On the processor instead of the NVIDIA H100, {WHY}" in panel().notice.text.text(), session().job.notes
    assert panel().run.bar.format() == "%p% · CPU"
    yield from save_picture("card_running")
    trigger("diffbmp_stop")
    yield over()
    assert notice().startswith("Done") and f"On the processor instead of the NVIDIA H100, {WHY}" in notice()
    return {"longest ms": 1000 * gaps.max()}


def card_to_run_on():
    yield from show_docker()
    yield Until(lambda: session().found_card is not None, 10, "the card")
    panel().form.set_card(Card("NVIDIA H100", 80 * 2**30), "")
    assert texts() == ["Automatic (NVIDIA H100, 80 GB)", "Processor (CPU)", "CUDA: NVIDIA H100, 80 GB"]
    assert "Faster than the processor" in panel().form.device.toolTip()


def no_card():
    yield from show_docker()
    yield Until(lambda: session().found_card is not None, 10, "that there is none")
    yield 0.2
    assert texts() == ["Automatic (CPU)", "Processor (CPU)", "Graphics card (CUDA)"]
