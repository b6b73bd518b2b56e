#!/usr/bin/env python3
"""The demo: rebuilds the sample photo from the sample bitmaps in real Krita, through the plugin's own actions.

    python3 tools/demo.py [--out build/demo]

Leaves in the folder: sample.kra (before), result.kra (after), result.png (the rebuilt picture alone, on white
paper), running.png and screenshot.png (the Krita window with the docker, half way and in the end).

Krita runs in a profile of its own, so that the artist's is not touched. Where there is a display its window stays
open on the result; otherwise it runs in an Xvfb and is closed. Needs Krita, numpy and Pillow, and Xvfb where there
is no display.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(CHECKOUT / "tests"), str(CHECKOUT)]

from krita_harness.launch import KritaRun  # noqa: E402

from tools.install import own_libraries  # noqa: E402

STAGES = {
    "build": "sample document",
    "show": "opened in Krita",
    "select": "group and photo selected",
    "start": "first step of the job",
    "first_half": "first half of its steps",
    "second_half": "second half",
    "write_back": "instances written back as layers",
    "keep": "saved",
}


def usable_display() -> str | None:
    """The X display to show Krita on, if there is one and it answers."""
    display = os.environ.get("DISPLAY")
    if not display:
        return None
    try:
        subprocess.run(["xdpyinfo", "-display", display], capture_output=True, timeout=10, check=True)
    except FileNotFoundError:
        return display
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        print(f"demo: display {display} does not answer; Krita runs in an Xvfb instead", flush=True)
        return None
    return display


def psnr(picture: Path, photo: Path) -> float:
    """Peak signal-to-noise ratio in dB of an opaque picture against the photo, over 8-bit RGB."""
    a, b = (np.asarray(Image.open(path).convert("RGB"), dtype=np.float64) for path in (picture, photo))
    return float(10.0 * np.log10(255.0**2 / np.mean((a - b) ** 2)))


def say(seconds: float, words: str, report: Any = None) -> None:
    """One line about a stage; its report is a dictionary, a word, or nothing."""
    details = ", ".join(f"{key} {value}" for key, value in report.items()) if isinstance(report, dict) else report
    print(f"  {seconds:6.1f} s  {words}{f': {details}' if details else ''}", flush=True)


def run(out: Path, display: str | None) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for old in ("sample.kra", "result.kra", "result.png", "screenshot.png", "running.png"):
        (out / old).unlink(missing_ok=True)
    sample = CHECKOUT / "sample"
    environment = {"DIFFBMP_DEMO_OUT": str(out), "DIFFBMP_DEMO_SAMPLE": str(sample)}
    if display is not None:  # Krita gets a home folder of its own, but this is still the artist's display
        environment["XAUTHORITY"] = os.environ.get("XAUTHORITY", str(Path.home() / ".Xauthority"))
    print(f"demo: starting Krita {'on display ' + display if display else 'in an Xvfb'}", flush=True)
    begun = time.monotonic()
    file = CHECKOUT / "tools/demo_in_krita.py"
    stages = [*STAGES] if display else [*STAGES, "close"]
    options: dict[str, Any] = {"environment": environment, "display": display, "libraries": own_libraries()}
    with KritaRun(file, stages, plugin=True, stay=True, **options) as krita:
        for stage, words in STAGES.items():
            outcome = krita.wait_for(stage)
            if outcome.error:
                raise SystemExit(f"demo: failed at '{words}':\n{outcome.error}")
            if stage == "build":
                say(time.monotonic() - begun - outcome.seconds, "Krita started")
            say(outcome.seconds, words, outcome.report)
        db = psnr(out / "result.png", sample / "photo.jpg")
        print(f"demo: PSNR against the photo {db:.2f} dB; {time.monotonic() - begun:.1f} s in all")
        for name in ("result.kra", "result.png", "screenshot.png"):
            print(f"  {out / name}  {(out / name).stat().st_size / 1024:.0f} KB")
        if display:
            print("demo: Krita stays open on the result; close its window to end", flush=True)
            krita.process.wait()
            return
        problem = krita.wait_for_end()
        if problem:
            raise SystemExit(f"demo: {problem}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=CHECKOUT / "build/demo", help="folder for what the demo leaves")
    out: Path = parser.parse_args().out
    try:
        run(out.resolve(), usable_display())
    except FileNotFoundError as missing:
        raise SystemExit(f"demo: {missing}; 'make setup' puts everything in place") from missing


if __name__ == "__main__":
    main()
