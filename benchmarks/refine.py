#!/usr/bin/env python3
"""How soon a refinement shows something, what it wins back, and how long thinning out takes, on this machine's CPU.

A first run places N instances on S x S px. Then MOVED of them are moved about and refined, as many new ones are added,
one is moved and refined in a small selection, and half of all are taken out. Prints medians of three.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin would stall each other on a busy machine

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from krita_diffbmp.engine.run import Run  # noqa: E402
from krita_diffbmp.engine.thin import cheapest, psnr_without  # noqa: E402
from krita_diffbmp.problem import Bitmap, FloatArray, Problem, Result, Settings, Start  # noqa: E402

REPEATS = 3


def straight(path: Path, size: int | None = None) -> FloatArray:
    """A picture as [h, w, 4]."""
    image = Image.open(path).convert("RGBA")
    image = image.resize((size, size), Image.Resampling.LANCZOS) if size else image
    return np.asarray(image, np.float32) / np.float32(255)


def refined(problem: Problem) -> tuple[Result, float, float]:
    """The result, and seconds to the first preview and to the result."""
    begin = time.perf_counter()
    run = Run(problem)
    first = 0.0
    for progress in run:
        if not first and progress.preview is not None:
            first = time.perf_counter() - begin
    return run.result(), first, time.perf_counter() - begin


def report(name: str, problem: Problem) -> None:
    runs = [refined(problem) for _ in range(REPEATS)]
    result = runs[0][0]
    first, all_of_it = statistics.median(run[1] for run in runs), statistics.median(run[2] for run in runs)
    print(
        f"{name:32} first preview {first:6.3f} s, {problem.settings.steps} steps {all_of_it:6.3f} s, "
        f"{result.start_psnr:.2f} -> {result.psnr:.2f} dB"
    )


def seconds_to_thin(problem: Problem, count: int) -> float:
    begin = time.perf_counter()
    cheapest(problem, count)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, default=ROOT / "sample" / "photo.jpg")
    parser.add_argument("--bitmaps", type=Path, nargs="*", default=sorted((ROOT / "sample" / "bitmaps").glob("*.png")))
    parser.add_argument("--size", type=int, default=1024, help="px, S")
    parser.add_argument("--instances", type=int, default=1000, help="N")
    parser.add_argument("--moved", type=int, default=20)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    bitmaps = tuple(Bitmap(path.stem, straight(path)) for path in options.bitmaps)
    settings = Settings(instances=options.instances, steps=150, device="cpu")
    problem = Problem(straight(options.image, options.size), bitmaps, settings)
    first, _, taken = refined(problem)
    print(
        f"{options.threads} threads, load {os.getloadavg()[0]:.1f}; {options.instances} instances on {options.size} px"
    )
    print(f"first run: {settings.steps} steps {taken:.1f} s, {first.psnr:.2f} dB")

    placed = first.placements
    count = len(placed.bitmap)
    rng = np.random.default_rng(0)
    chosen = rng.choice(count, min(options.moved, count), replace=False)
    position = placed.position.copy()
    position[chosen] += rng.uniform(-0.06, 0.06, (len(chosen), 2)).astype(np.float32) * options.size
    free = np.zeros(count, np.uint8)
    base = replace(problem, start=Start(placed, free), settings=replace(settings, steps=options.steps))
    moved = replace(base, start=Start(replace(placed, position=position), free))
    report(f"{len(chosen)} moved", moved)
    report(f"{len(chosen)} added", replace(base, start=Start(placed, free, len(chosen), len(bitmaps))))
    weight = np.zeros((options.size, options.size), np.float32)
    reach = options.size // 10
    x, y = np.clip(position[chosen[0]], reach, options.size - reach).astype(int)
    weight[y - reach : y + reach, x - reach : x + reach] = 1
    report("around one of them", replace(moved, weight=weight))

    for thinned in (count // 10, count // 2):
        found = cheapest(base, thinned)
        taken = statistics.median(seconds_to_thin(base, thinned) for _ in range(REPEATS))
        faintest = np.argsort(placed.opacity)[:thinned].astype(np.int32)
        print(
            f"{f'{thinned} taken out':32} {taken:6.3f} s, {found.psnr_after[0]:.2f} -> {found.psnr_after[-1]:.2f} dB; "
            f"the faintest: {psnr_without(base, faintest):.2f} dB"
        )


if __name__ == "__main__":
    main()
