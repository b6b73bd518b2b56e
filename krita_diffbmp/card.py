"""The graphics card that CUDA would use: its name and memory, from NVIDIA's driver itself, without torch."""

from __future__ import annotations

import ctypes
import functools
import os
from dataclasses import dataclass

LIBRARY = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"  # comes with the driver
NAME_LENGTH = 256  # bytes


@dataclass(frozen=True)
class Card:
    """An NVIDIA card."""

    name: str
    memory: int  # bytes

    def __str__(self) -> str:
        return f"{self.name}, {self.memory / 2**30:.0f} GB"


@functools.cache
def find_card() -> Card | None:
    """The first card in CUDA's order; None where there is none, or no driver that works.

    Takes up to a few tenths of a second, once, and lets go of Python's lock meanwhile.
    """
    number, memory = ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(NAME_LENGTH)
    try:
        driver = ctypes.CDLL(LIBRARY)
        failed = (
            driver.cuInit(ctypes.c_uint(0))
            or driver.cuDeviceGet(ctypes.byref(number), ctypes.c_int(0))
            or driver.cuDeviceGetName(name, ctypes.c_int(NAME_LENGTH), number)
            or driver.cuDeviceTotalMem_v2(ctypes.byref(memory), number)
        )
    except (OSError, AttributeError):  # there is no such library, or it is no driver
        return None
    return None if failed else Card(name.value.decode(errors="replace"), memory.value)
