"""Where numpy and torch are found, and how torch is loaded while Krita's window stays alive."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib.util
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from krita_diffbmp.text import i18n

# A text file beside the package: folders, one a line, with libraries that Krita's own Python does not have.
PATH_FILE = Path(__file__).parent.with_suffix(".path")
EXTENSIONS = Path(__file__).parent / "engine" / "_lib"  # see engine/extension.py


def extend_path() -> None:
    """Makes the folders of PATH_FILE, where there is one, known to Python.

    Torch is found there first, even where the system has one, too: theirs is the one that suits the graphics card. All
    else is found there last, so that neither Krita nor its other plugins get other versions than their own.
    """
    if PATH_FILE.is_file():
        folders = [line.strip() for line in PATH_FILE.read_text(encoding="utf-8").splitlines() if line.strip()]
        sys.path.extend(folder for folder in folders if folder not in sys.path)
        if not any(isinstance(finder, TorchFinder) for finder in sys.meta_path):
            sys.meta_path.insert(0, TorchFinder(folders))


class TorchFinder(MetaPathFinder):
    """Finds torch in some folders before Python looks anywhere else, if it is one for this Python."""

    PACKAGES = ("torch", "torchgen", "functorch")  # what its wheel consists of

    def __init__(self, folders: list[str]) -> None:
        self._folders = folders

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.PACKAGES:
            return None
        suiting = [folder for folder in self._folders if is_for_this_python(Path(folder) / "torch")]
        return PathFinder.find_spec(fullname, suiting, target) if suiting else None


def is_for_this_python(torch: Path) -> bool:
    """Whether a torch's own module loads into this version of Python."""
    return any((torch / f"_C{suffix}").exists() for suffix in EXTENSION_SUFFIXES)


def cuda_obstacle() -> str:
    """Why torch could not use a graphics card, as far as that shows without loading torch, which takes seconds.

    A sentence without a full stop; empty if nothing is in the way.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return i18n("PyTorch is missing")
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
        version = re.findall(r"^__version__ *= *['\"](.+)['\"]", text, re.MULTILINE)[0]
    except (OSError, IndexError):
        return i18n("PyTorch is damaged")
    if not re.search(r"^cuda\b.*= *['\"]", text, re.MULTILINE):
        return i18n("PyTorch is built without CUDA")
    try:
        record = json.loads((EXTENSIONS / f"torch-{version}" / "build.json").read_text())
    except (OSError, ValueError):
        return i18n("the extension is not built for this PyTorch")
    return "" if record.get("cuda") else i18n("the extension is built without CUDA")


def load_torch() -> None:
    """Imports torch, which takes a second or two, and leaves one processor to Krita's window.

    Raises DiffBmpError when torch is not there, or does not load.
    """
    from krita_diffbmp.problem import DiffBmpError  # needs numpy, which extend_path() may have to find first

    version = ".".join(map(str, sys.version_info[:2]))
    with frequent_switches(), objects_kept():
        preload_torch()
        try:
            import torch
        except ModuleNotFoundError as missing:
            raise DiffBmpError(
                i18n(
                    "PyTorch is missing: Krita's Python ({version}) does not find “{module}”. Install it for that "
                    "Python, for example with the package python3-torch, then start Krita again; the README says how.",
                    version=version,
                    module=missing.name,
                )
            ) from missing
        except (ImportError, OSError) as broken:
            raise DiffBmpError(
                i18n(
                    "PyTorch is there but does not load ({reason}): install it again, for Python {version}.",
                    reason=(str(broken).strip().splitlines() or [type(broken).__name__])[-1],
                    version=version,
                )
            ) from broken
    let_waiting_threads_sleep()
    torch.set_num_threads(thread_count())


@functools.cache
def let_waiting_threads_sleep() -> None:
    """Makes torch's threads sleep while they wait for each other, so that a busy machine does not stop them.

    GNU's OpenMP has them spin for milliseconds, and while other programs keep the processors busy the one that they
    wait for does not get its turn: steps take ten to a hundred times as long. OMP_WAIT_POLICY would be too late, since
    Krita has loaded that library itself. But it spins no longer than a microsecond or so once it has more threads in
    its care than there are processors: here is a thread that holds as many, asleep, until Krita ends.
    """
    import torch

    count = (os.cpu_count() or 1) + 1
    held = threading.Event()

    def hold() -> None:
        torch.set_num_threads(count)
        torch.zeros(count << 16).add_(1)  # enough for each of them to get its part, and so to come into being
        held.set()
        threading.Event().wait()

    threading.Thread(target=hold, name="krita_diffbmp idle", daemon=True).start()
    held.wait()


def thread_count() -> int:
    """One processor is left to Krita's window, of those that this process may use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # there is no limit, or no such file, outside containers
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        available = min(available, round(quota / period))
    return max(1, available - 1)


def preload_torch() -> None:
    """Loads torch's shared libraries, where there is a torch: half a second's work, without holding Python's lock.

    Importing torch would load them with the lock held, and the window would stand still. A call of dlopen
    through ctypes lets go of it. What fails here fails again in the import, with a message.
    """
    spec = importlib.util.find_spec("torch")
    if os.name != "posix" or spec is None or not spec.submodule_search_locations:
        return
    folder = Path(next(iter(spec.submodule_search_locations)))
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype = ctypes.c_void_p
    # In torch's own order: the first brings in what the others expect to find in the process.
    for library in (*folder.glob("lib/libtorch_global_deps.*"), *folder.glob("_C.*.so")):
        mode = ctypes.RTLD_GLOBAL if "global_deps" in library.name else ctypes.RTLD_LOCAL
        dlopen(os.fsencode(library), os.RTLD_NOW | mode)


@contextlib.contextmanager
def frequent_switches() -> Iterator[None]:
    """Python's threads take turns every twentieth of a millisecond instead of every five, for the window's sake.

    A turn has to be shorter than the time between two system calls: around each, the loading thread lets go of
    Python's lock for so short a while that the window's thread wakes too late to get it, and begins to count anew.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.00005)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextlib.contextmanager
def objects_kept() -> Iterator[None]:
    """What is loaded inside is never looked through for garbage, neither now nor later: it stays anyway.

    Python would look through the half a million objects of torch again and again, each time for a twentieth of a
    second in which no other thread runs, the window's among them.
    """
    loaded, was_enabled = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > loaded:
            gc.freeze()
        if was_enabled:
            gc.enable()
