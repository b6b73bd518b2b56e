"""Whether there is a GPU to run on, what it is called, and what its errors mean: in words for the artist."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

from krita_diffbmp.engine.render import implementation

MEGABYTE = 1e6
RESERVE = 200.0  # MB left to the screen and to others


@dataclass(frozen=True)
class Card:
    """An NVIDIA GPU."""

    name: str
    memory: float  # MB
    free: float  # MB


def card() -> Card | None:
    """The GPU that a run would take place on, or None where there is none."""
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return Card(torch.cuda.get_device_name(), total / MEGABYTE, free / MEGABYTE)


@functools.cache
def cuda_trouble() -> str:
    """Why CUDA cannot be used: a sentence without a full stop; empty if it can. Tries it out, once."""
    if torch.version.cuda is None:
        return "this PyTorch is built without CUDA"
    try:
        if not torch.cuda.is_available():
            return "PyTorch finds no NVIDIA GPU, or no driver for it"
    except RuntimeError as error:
        return explain(error)
    chosen = implementation("cuda")
    if chosen.name != "extension":
        return chosen.reason
    try:
        torch.ops.diffbmp.noise(torch.empty(1, device="cuda"), 1, 1, 1, 0, 0).item()
    except RuntimeError as error:
        return explain(error)
    return ""


def is_cuda_error(error: BaseException) -> bool:
    """Whether an exception comes from the GPU rather than from a mistake in the program."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and ("CUDA" in str(error) or "cuda" in str(error))


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)


def explain(error: BaseException) -> str:
    """A CUDA error in plain words, without a full stop."""
    text = str(error)
    if is_out_of_memory(error):
        return "the GPU's memory is full"
    for sign, words in (
        ("no kernel image", f"the extension holds no kernels for this GPU: {_rebuild()}"),
        ("unsupported toolchain", "the GPU's driver is older than the CUDA compiler that was used: update the driver"),
        ("driver version is insufficient", "the GPU's driver is too old for this PyTorch: update the driver"),
        ("no CUDA-capable device", "there is no NVIDIA GPU"),
        ("unknown error", "the GPU's driver does not answer; restarting the computer helps after a suspend"),
    ):
        if sign in text:
            return words
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return f"the GPU failed ({first.rstrip('.')}); it can be used again after Krita is restarted"


def _rebuild() -> str:
    if not torch.cuda.is_available():
        return "python3 build_ext.py --cuda"
    major, minor = torch.cuda.get_device_capability()
    return f"python3 build_ext.py --cuda --arch {major}.{minor}"


def estimate(count: int, height: int, width: int, channels: int, cells: int) -> float:
    """MB of the GPU's memory that a run takes: N instances on a canvas, `cells` of all bitmaps and planes."""
    pixels = height * width
    # The target and its transmittance; a picture with its backmost instances, for the preview, and its reductions.
    images = 4 * pixels * ((channels + 1) * 2 + channels + 2)
    # Cells, and texels, sharp and softened; 16 bytes to a cell.
    bitmaps = 2 * 20 * cells
    instances = count * (3 * 4 * (5 + channels) + 8 * 16 + 4 * 80)
    return (images + bitmaps + instances) / MEGABYTE


def fits(megabytes: float) -> bool:
    """Whether that much is free now."""
    found = card()
    return found is not None and megabytes + RESERVE < found.free
