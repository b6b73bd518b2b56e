"""The compiled operators, torch.ops.diffbmp: finding, loading, and what autograd has to know of them.

`build_ext.py` leaves one folder per version of torch in `_lib`, since a library only fits the torch it was built for:
the library, and `build.json`, which says what it was built from and which instructions it uses.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PACKAGE_FOLDER = Path(__file__).resolve().parent
LIBRARY_FOLDER = PACKAGE_FOLDER / "_lib"
SOURCE_FOLDER = PACKAGE_FOLDER.parents[1] / "csrc"  # only there in a checkout
LIBRARY = "diffbmp.so"
RECORD = "build.json"
BUILD_COMMAND = "python3 build_ext.py"


@dataclass(frozen=True)
class Status:
    """Whether the operators can be called, and why not."""

    available: bool
    reason: str = ""  # a sentence without a full stop; empty if available
    cuda: bool = False  # whether it holds CUDA kernels, too


def folder_for(torch_version: str, libraries: Path = LIBRARY_FOLDER) -> Path:
    """Where the library for a version of torch stands."""
    return libraries / f"torch-{torch_version}"


def source_hash(cuda: bool, sources: Path = SOURCE_FOLDER) -> str:
    """Of everything the library is built from, with or without CUDA kernels; empty where there are no sources."""
    digest = hashlib.sha256()
    kernels = ["cpu", "cuda"] if cuda else ["cpu"]
    files = sorted(path for folder in ["", *kernels] for path in (sources / folder).glob("*") if path.is_file())
    for path in files:
        digest.update(path.relative_to(sources).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest() if files else ""


def processor_flags() -> frozenset[str]:
    """The instruction sets of this processor, in the words of /proc/cpuinfo; empty where that says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def unusable(libraries: Path = LIBRARY_FOLDER) -> str:
    """Why the library must not even be loaded; empty if it may."""
    folder = folder_for(torch.__version__, libraries)
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        others = sorted(path.parent.name.removeprefix("torch-") for path in libraries.glob(f"torch-*/{RECORD}"))
        if others:
            built = ", ".join(others)
            return f"the extension is built for torch {built}, but this is torch {torch.__version__}: {BUILD_COMMAND}"
        return f"the extension is not built: {BUILD_COMMAND}"
    if not (folder / LIBRARY).exists():
        return f"the extension's library {folder / LIBRARY} is missing: {BUILD_COMMAND}"
    here = processor_flags()
    missing = [flag for flag in record.get("cpu_flags", []) if flag not in here]
    if here and missing:
        return f"the extension was built on another computer, this one lacks {', '.join(missing)}: {BUILD_COMMAND}"
    sources = source_hash(bool(record.get("cuda")))
    if sources and record.get("source_hash") != sources:
        return f"the extension was built from other sources than those in {SOURCE_FOLDER}: {BUILD_COMMAND}"
    return ""


@functools.cache
def status() -> Status:
    """Loads the library, once for all, if that can be done."""
    return load(LIBRARY_FOLDER)


def load(libraries: Path) -> Status:
    """Loads the library that stands in a folder; a process can do that once."""
    reason = unusable(libraries)
    if reason:
        return Status(False, reason)
    folder = folder_for(torch.__version__, libraries)
    try:
        torch.ops.load_library(str(folder / LIBRARY))  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError) as error:
        return Status(False, f"the extension does not load: {str(error).splitlines()[0]}")
    _register()
    return Status(True, cuda=bool(json.loads((folder / RECORD).read_text()).get("cuda")))


def _register() -> None:
    """Shapes for torch.compile and the like, and the backward operator as the derivative of the forward one."""
    torch.library.register_fake("diffbmp::render", _fake_render)
    torch.library.register_fake("diffbmp::render_backward", _fake_render_backward)
    torch.library.register_autograd("diffbmp::render", _backward, setup_context=_save)


def _fake_render(*inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    position, color, height, width, mu_blend = (inputs[k] for k in (2, 6, 8, 9, 11))
    mapped = mu_blend > 0 or (len(inputs) > 13 and inputs[13] is not None)
    kept = torch.ops.diffbmp.kept_bytes(len(position), height, width, mapped) if position.is_cuda else 0
    return (
        position.new_empty(color.shape[1], height, width),
        position.new_empty(height, width),
        position.new_empty(height, width, dtype=torch.int32),
        position.new_empty(kept, dtype=torch.uint8),
    )


def _fake_render_backward(*inputs: Any) -> tuple[Tensor, ...]:
    stretch = inputs[16] if len(inputs) > 16 else None
    by_stretch = inputs[8].new_empty(0 if stretch is None or stretch.is_cuda else stretch.shape)
    return *(parameters.new_empty(parameters.shape) for parameters in inputs[8:13]), by_stretch


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, _, _, ctx.alpha_max, ctx.mu_blend, stretch, mu_blends = inputs
    ctx.save_for_backward(*output, *tensors, stretch, mu_blends)


def _backward(ctx: Any, grad_color: Tensor, grad_transmittance: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    *saved, stretch, mu_blends = ctx.saved_tensors
    *gradients, by_stretch = torch.ops.diffbmp.render_backward(
        grad_color, grad_transmittance, *saved, ctx.alpha_max, ctx.mu_blend, stretch, mu_blends
    )
    by_stretch = None if stretch is None else by_stretch
    return None, None, *gradients, None, None, None, None, None, by_stretch, None
