"""PSNR that the optimiser reaches, and how long it takes on the CPU.

With a folder of targets and masks, in the setting of the paper's own implementation: N = 1000 tints of 128 px masks on
a white background, longest sides from 4 to 100 px of a 512 px picture (its half-sizes of 2 to 50 px, as limits here and
only as a start there), its figures beside ours. Without, the sample photo and bitmaps with the plugin's defaults.

    python3 benchmarks/quality.py [--peer FOLDER] [--steps 100 500] [--threads 4] [--out FOLDER]

FOLDER holds targets/astronaut.png, targets/chelsea.png and masks/fingerprint.png, paint_brush.png, soccerball2.png and
circle.png. Both steps are runs of their own: the schedules fit the length of a run.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin would stall each other on a busy machine

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from krita_diffbmp.engine.optimize import Optimization  # noqa: E402
from krita_diffbmp.problem import Bitmap, FloatArray, Problem, Settings  # noqa: E402

PEER_SETTINGS = {
    "instances": 1000,
    "min_size": 4 / 512,
    "max_size": 100 / 512,
    "background": "white",
    "seed": 42,
    "device": "cpu",
}
PEER_PSNR = {  # dB after 100 and 500 iterations
    ("astronaut", "fingerprint"): (19.1, 19.87),
    ("astronaut", "paint_brush"): (21.7, 22.59),
    ("astronaut", "soccerball2+circle"): (19.1, 20.04),
    ("chelsea", "fingerprint"): (24.5, 25.13),
    ("chelsea", "paint_brush"): (27.2, 27.78),
    ("chelsea", "soccerball2+circle"): (24.9, 25.75),
}


def straight(path: Path) -> FloatArray:
    """A picture as [h, w, 4]."""
    return np.asarray(Image.open(path).convert("RGBA"), np.float32) / np.float32(255)


def mask(path: Path) -> Bitmap:
    """A gray picture as the alpha of a white bitmap."""
    alpha = np.asarray(Image.open(path).convert("L"), np.float32) / np.float32(255)
    return Bitmap(path.stem, np.stack([*[np.ones_like(alpha)] * 3, alpha], 2))


def run(problem: Problem, save: Path | None) -> tuple[float, float]:
    """(PSNR of the result in dB, seconds from the problem to the result)."""
    begin = time.perf_counter()
    optimization = Optimization(problem)
    preview = None
    for progress in optimization:
        preview = progress.preview if progress.preview is not None else preview
    result = optimization.result()
    seconds = time.perf_counter() - begin
    for note in result.notes:
        print(f"  note: {note}")
    if save is not None and preview is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(preview).save(save)
    return result.psnr, seconds


def against_peer(folder: Path, steps: list[int], out: Path | None) -> None:
    print(f"{'target':10} {'mask':20}" + "".join(f"{f'{n} steps':>12} {'peer':>7} {'s':>6}" for n in steps))
    for (target, masks), figures in PEER_PSNR.items():
        line = f"{target:10} {masks:20}"
        for count in steps:
            problem = Problem(
                straight(folder / "targets" / f"{target}.png"),
                tuple(mask(folder / "masks" / f"{name}.png") for name in masks.split("+")),
                Settings(**PEER_SETTINGS, steps=count),  # type: ignore[arg-type]
            )
            save = out / f"{target}-{masks}-{count}.png" if out else None
            psnr, seconds = run(problem, save)
            peer = dict(zip((100, 500), figures, strict=True)).get(count)
            line += f"{psnr:12.2f} {'' if peer is None else f'{peer:.2f}':>7} {seconds:6.1f}"
        print(line, flush=True)


def with_defaults(folder: Path, out: Path | None) -> None:
    bitmaps = tuple(Bitmap(path.stem, straight(path)) for path in sorted((folder / "bitmaps").glob("*.png")))
    target = straight(folder / "photo.jpg")
    print(f"sample photo {target.shape[1]} x {target.shape[0]}, {len(bitmaps)} bitmaps, the plugin's defaults")
    for mu_blend in (0.0, 0.5, 1.0):
        settings = Settings(mu_blend=mu_blend, device="cpu")
        psnr, seconds = run(Problem(target, bitmaps, settings), out / f"sample-{mu_blend}.png" if out else None)
        print(f"  mu_blend {mu_blend:.1f}: {psnr:.2f} dB after {settings.steps} steps, {seconds:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="folder with targets/ and masks/")
    parser.add_argument("--sample", type=Path, default=ROOT / "sample", help="folder with photo.jpg and bitmaps/")
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--out", type=Path, help="where to leave the pictures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads on {os.cpu_count()} cores")
    if arguments.peer:
        against_peer(arguments.peer, arguments.steps, arguments.out)
    with_defaults(arguments.sample, arguments.out)


if __name__ == "__main__":
    main()
