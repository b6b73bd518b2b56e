"""What `make install` puts into a fresh home folder is what Krita loads from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.krita_harness.launch import Display, missing_programs

CHECKOUT = Path(__file__).parents[2]
PROBE = """
import os, sys
from krita import Krita
from krita_diffbmp.qt import QTimer

def look():
    dockers = [docker.objectName() for docker in Krita.instance().dockers()]
    if "diffbmp_docker" not in dockers:
        return
    timer.stop()
    result = os.environ["PROBE_RESULT"]
    with open(result + ".part", "w") as file:
        file.write(sys.modules["krita_diffbmp"].__file__)
    os.rename(result + ".part", result)

timer = QTimer()
timer.timeout.connect(look)
timer.start(200)
"""


def test_krita_loads_the_installed_plugin(tmp_path: Path):
    missing = missing_programs("krita")
    if missing:
        pytest.skip(f"NOT TESTED IN KRITA: {' and '.join(missing)} not found on this machine")
    dropped = {"PYTHONPATH", "DISPLAY", "WAYLAND_DISPLAY"}
    kept = {k: v for k, v in os.environ.items() if k not in dropped and not k.startswith("XDG_")}
    environment = {**kept, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    subprocess.run([sys.executable, CHECKOUT / "tools/install.py"], env=environment, check=True)
    pykrita = tmp_path / ".local/share/krita/pykrita"
    (pykrita / "probe").mkdir()
    (pykrita / "probe/__init__.py").write_text(PROBE)
    shutil.copy(pykrita / "diffbmp.desktop", pykrita / "probe.desktop")
    text = (pykrita / "probe.desktop").read_text()
    (pykrita / "probe.desktop").write_text(text.replace("=krita_diffbmp", "=probe").replace("Name=", "Name=Probe of "))
    settings = tmp_path / ".config/kritarc"
    settings.write_text(settings.read_text() + "enable_probe=true\n")
    result, log = tmp_path / "result", tmp_path / "krita.log"
    display = Display(log)
    with log.open("ab") as file:
        krita = subprocess.Popen(
            ["krita", "--nosplash"],
            env={**environment, "DISPLAY": display.name, "PROBE_RESULT": str(result)},
            stdout=file,
            stderr=file,
        )
    deadline = time.monotonic() + 120
    while not result.exists() and krita.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    krita.kill()
    krita.wait()
    display.close()
    assert result.exists(), log.read_text(errors="replace")[-3000:]
    assert Path(result.read_text()).parent == pykrita / "krita_diffbmp"
    assert "Duplicated action name" not in log.read_text(errors="replace")
