"""Whether there is a GPU to run on, what it is called, and what its errors mean: in words for the artist."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass

import numpy as np
import torch

from krita_diffbmp.engine.render import implementation
from krita_diffbmp.problem import Problem

MEGABYTE = 1e6
RESERVE = 200.0  # MB left to the screen and to others
SCALE_ROUNDING = 1.2  # half an octave between levels: the one that is drawn may be this much too fine


@dataclass(frozen=True)
class Card:
    """An NVIDIA GPU."""

    name: str
    memory: float  # MB
    free: float  # MB, for everybody; that which this process keeps in store counts, too

    @property
    def usable(self) -> float:
        """MB that a run may take."""
        return self.free - RESERVE


def card() -> Card | None:
    """The GPU that a run would take place on, or None where there is none."""
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    stored = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return Card(torch.cuda.get_device_name(), total / MEGABYTE, (free + stored) / MEGABYTE)


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
        texel = torch.tensor([[[0, 1, 1, 0, 0, 1, 1]]], dtype=torch.int32)
        torch.ops.diffbmp.cells(torch.zeros(2, 9, device="cuda"), texel, False)[0].sum().item()
    except RuntimeError as error:
        return explain(error)
    return ""


def is_cuda_error(error: BaseException) -> bool:
    """Whether an exception comes from the GPU rather than from a mistake in the program."""
    return isinstance(error, torch.OutOfMemoryError) or "CUDA" in str(error)


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


def abandon(lost: object) -> None:
    """Keeps an object, and all that it refers to, from ever being freed."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(lost))


def estimate(problem: Problem) -> float:
    """MB of the GPU's memory that a run takes, about."""
    settings = problem.settings
    height, width, planes = problem.target.shape
    ratio = min(1.0, settings.working_size / max(height, width))
    pixels = height * width * ratio * ratio
    # The target, as read and as compared, and the pictures, gradients and errors that a recycling goes through.
    images = 4 * pixels * 9 * planes
    # All levels of a bitmap as large as it may become, in 4 bytes and in cells of 16; sharp and softened.
    start = problem.start
    largest = [settings.max_size * max(height, width) / max(bitmap.pixels.shape[:2]) for bitmap in problem.bitmaps]
    if start is not None:
        np.maximum.at(scales := np.array(largest), start.placements.bitmap, start.placements.scale)
        largest = scales.tolist()
    sizes = [min(1.0, scale * ratio * SCALE_ROUNDING) for scale in largest]
    texels = sum(
        2 * size * size * bitmap.pixels[..., 0].size for size, bitmap in zip(sizes, problem.bitmaps, strict=True)
    )
    blends = None if start is None else start.placements.mu_blend
    colors = settings.mu_blend > 0 if blends is None else bool((blends > 0).any())
    cells = 16 * texels * (planes if colors else 1)
    bitmaps = 2 * (cells + 4 * texels * planes)
    count = settings.instances if start is None else len(start.placements.bitmap) + start.added
    instances = count * 1024.0
    return float(images + bitmaps + instances) / MEGABYTE
