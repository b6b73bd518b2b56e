"""Where numpy and torch are found, and how torch is loaded while Krita's window stays alive."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from krita_diffbmp.text import i18n

# A text file beside the package: folders, one a line, with libraries that Krita's own Python does not have.
PATH_FILE = Path(__file__).parent.with_suffix(".path")


def extend_path() -> None:
    """Puts the folders of PATH_FILE, where there is one, behind those that Python looks in already."""
    if PATH_FILE.is_file():
        for line in PATH_FILE.read_text(encoding="utf-8").splitlines():
            if line.strip() and line.strip() not in sys.path:
                sys.path.append(line.strip())


def load_torch() -> None:
    """Imports torch, which takes a second or two, and leaves one processor to Krita's window.

    Raises DiffBmpError when torch is not there, or does not load.
    """
    from krita_diffbmp.problem import DiffBmpError  # needs numpy, which extend_path() may have to find first

    version = ".".join(map(str, sys.version_info[:2]))
    with frequent_switches():
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
                    reason=str(broken).strip().splitlines()[-1],
                    version=version,
                )
            ) from broken
    torch.set_num_threads(thread_count())


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
    """Python's threads take turns every millisecond instead of every five, for the window's sake."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.001)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
