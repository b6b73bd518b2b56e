"""A driver library without a card behind it, for tests of what is asked of the driver."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def build_driver(folder: Path) -> dict[str, str]:
    """Compiles fake_driver.c to libcuda.so.1; returns the environment in which a process finds it first."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("NOT TESTED: no C compiler here")
    source = Path(__file__).with_name("fake_driver.c")
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", folder / "libcuda.so.1"], check=True)
    return {"LD_LIBRARY_PATH": f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
