#!/usr/bin/env python3
"""How near the optimiser comes to a target, of what it owes that to, and how long it takes.

    python3 benchmarks/quality.py                                    the sample, as the docker would run it
    python3 benchmarks/quality.py --cases all --seeds 3 --out build/quality
    python3 benchmarks/quality.py --cases peer --peer FOLDER --seeds 3
    python3 benchmarks/quality.py --cases photo-sample --instances 100 300 1000 3000 --out build/quality
    python3 benchmarks/quality.py --cases photo-sample --steps 50 100 300 1000 --out build/quality
    python3 benchmarks/quality.py --cases photo-sample poster-sample --ablation --seeds 3

PSNR, SSIM and the uncovered part are those of the picture that is written back: sharp bitmaps, over white, colours and
opacities in 8 bits. Uncovered is the mean part of the background that is seen within the target. The same seed gives
the same figures on the same device. With --out there are pictures for each case (target, result, four times the error)
and curves. --peer brings in the cases that the paper's own code was measured with (N = 1000, white background) and its
figures; benchmarks/scenes.py says what the folder holds. --ablation leaves out one technique at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin would stall each other on a busy machine

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.charts import error_map, save_curves, save_side_by_side  # noqa: E402
from benchmarks.scenes import PEER_PSNR, PEER_SETTINGS, Case, all_cases  # noqa: E402
from krita_diffbmp.engine import losses, pyramid  # noqa: E402
from krita_diffbmp.engine.holes import uncovered  # noqa: E402
from krita_diffbmp.engine.render import render  # noqa: E402
from krita_diffbmp.engine.run import Run  # noqa: E402
from krita_diffbmp.engine.scene import OPACITY_LIMIT, Instances, Scene  # noqa: E402
from krita_diffbmp.engine.target import working_target  # noqa: E402
from krita_diffbmp.problem import FloatArray, Placements, Problem  # noqa: E402

SSIM_SIGMA, SSIM_REACH = 1.5, 5  # px, of the Gaussian window of Wang et al. 2004
PACKAGE = "krita_diffbmp.engine."


def random_structure(target: Tensor) -> Tensor:
    """In the place of `initialize.structure`: says nothing of the target, so that places and sizes are random."""
    return torch.rand(target.shape[1:], generator=torch.Generator().manual_seed(0))


# What is changed in the engine, by module and name, to do without a technique.
NO_BLUR: dict[str, Any] = {"schedule.BLUR_STAGES": ((0.0, 0.0),)}
NO_STRUCTURE: dict[str, Any] = {"initialize.structure": random_structure}
ABLATION: dict[str, dict[str, Any]] = {
    "all techniques": {},
    "no soft bitmaps": NO_BLUR,
    "no structure-aware start": NO_STRUCTURE,
    "neither of the two": NO_BLUR | NO_STRUCTURE,
    "soft bitmaps at full size": {"schedule.COARSE": 1.0},
    "no recycling": {"schedule.RECYCLED": 0.0},
    "one place tried instead of 8": {"propose.CANDIDATES": 1},
    "no weight of holes": {"holes.BEGIN": math.inf},
    "slim bitmaps turn as fast": {"optimize.SLIM": 1e-9},
    "rates that do not fall": {"schedule.rate": lambda done: 1.0},
    "Adam's usual memories (.9, .999)": {"optimize.BETAS": (0.9, 0.999), "fused.BETAS": (0.9, 0.999)},
}


@contextlib.contextmanager
def changed(changes: dict[str, Any]) -> Iterator[None]:
    """The engine with other values, and afterwards as it was."""
    places = []
    for path, value in changes.items():
        module, name = path.split(".")
        place = importlib.import_module(PACKAGE + module)
        places.append((place, name, getattr(place, name)))
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in places:
            setattr(place, name, value)


@dataclass(frozen=True)
class Outcome:
    """One run."""

    instances: int
    steps: int
    psnr: float  # dB
    ssim: float
    uncovered: float
    seconds: float
    curve: tuple[tuple[float, float], ...]  # (steps, PSNR in dB) at evaluations
    picture: FloatArray  # [h, w, C] over white
    target: FloatArray


def written(problem: Problem, found: Placements) -> Scene:
    """The placements as they are written back: colours and opacities in 8 bits."""
    height, width = problem.target.shape[:2]
    alpha_max = min(problem.settings.alpha_max, OPACITY_LIMIT)
    opacity = np.round(found.opacity.astype(np.float64) * 255) / 255
    color = np.round(found.color * 255) / 255
    most = [float(found.scale[found.bitmap == index].max(initial=1e-3)) for index in range(len(problem.bitmaps))]
    instances = Instances(
        position=torch.from_numpy(found.position),
        rotation=torch.from_numpy(found.rotation),
        scale=torch.from_numpy(found.scale),
        opacity=torch.logit(torch.from_numpy(opacity / alpha_max), eps=1e-9).float(),
        color=torch.from_numpy(color.astype(np.float32)),
        bitmap=torch.from_numpy(found.bitmap),
        stretch=None if found.stretch is None else torch.from_numpy(found.stretch),
        mu_blend=None if found.mu_blend is None else torch.from_numpy(found.mu_blend),
    )
    packed = pyramid.pack([bitmap.pixels for bitmap in problem.bitmaps], scales=[(0.0, scale) for scale in most])
    return Scene(packed, instances, height, width, alpha_max, problem.settings.mu_blend)


def ssim(first: Tensor, second: Tensor) -> float:
    """Structural similarity of two pictures [C, H, W] in [0, 1], mean over pixels and channels."""
    offsets = torch.arange(-SSIM_REACH, SSIM_REACH + 1.0)
    window = torch.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    window = window / window.sum()

    def mean(image: Tensor) -> Tensor:
        rows = F.conv2d(image[:, None], window.view(1, 1, -1, 1))
        return F.conv2d(rows, window.view(1, 1, 1, -1))[:, 0]

    a, b = mean(first), mean(second)
    variances = mean(first * first) - a * a + mean(second * second) - b * b
    covariance = mean(first * second) - a * b
    small, smaller = 0.03**2, 0.01**2
    likeness = (2 * a * b + smaller) * (2 * covariance + small) / ((a * a + b * b + smaller) * (variances + small))
    return float(likeness.mean())


def run(problem: Problem) -> Outcome:
    begin = time.perf_counter()
    optimization = Run(problem)
    curve: list[tuple[float, float]] = []
    for progress in optimization:
        if not math.isnan(progress.psnr) and (not curve or progress.psnr != curve[-1][1]):
            curve.append((float(progress.step), progress.psnr))
    result = optimization.result()
    seconds = time.perf_counter() - begin
    for note in result.notes:
        print(f"  note: {note}")
    with torch.no_grad():
        drawn = render(written(problem, result.placements))
    target = working_target(problem.target, max(problem.target.shape))
    white = losses.white(len(target) - 1)
    picture, wanted = drawn.over(white), target[:-1] + (1 - target[-1]) * white
    settings = problem.settings
    return Outcome(
        settings.instances,
        settings.steps,
        losses.psnr(float((picture - wanted).square().mean())),
        ssim(picture, wanted),
        uncovered(drawn.transmittance, target),
        seconds,
        tuple(curve),
        picture.permute(1, 2, 0).numpy(),
        wanted.permute(1, 2, 0).numpy(),
    )


def mean_and_spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.{digits}f} +-{spread:.{digits}f}"


HEADER = f"{'case':27}{'N':>6}{'steps':>6}{'PSNR':>14}{'SSIM':>14}{'s':>7}{'uncovered':>11}{'peer':>15}"


def table_row(name: str, outcomes: Sequence[Outcome]) -> str:
    first = outcomes[0]
    psnr = statistics.fmean(outcome.psnr for outcome in outcomes)
    row = f"{name:27}{first.instances:6}{first.steps:6}"
    row += f"{mean_and_spread([outcome.psnr for outcome in outcomes], 2):>14}"
    row += f"{mean_and_spread([outcome.ssim for outcome in outcomes], 3):>14}"
    row += f"{statistics.median(outcome.seconds for outcome in outcomes):7.1f}"
    row += f"{statistics.fmean(outcome.uncovered for outcome in outcomes):11.2%}"
    if name in PEER_PSNR and first.instances == PEER_SETTINGS["instances"]:
        peer = PEER_PSNR[name][1]
        row += f"{peer:8.2f} {psnr - peer:+6.2f}"
    return row


def save_pictures(folder: Path, name: str, outcome: Outcome) -> None:
    peer = f"\npaper's code, 500 steps: {PEER_PSNR[name][1]:.2f} dB" if name in PEER_PSNR else ""
    found = f"{outcome.instances} instances, {outcome.steps} steps\n{outcome.psnr:.2f} dB, SSIM {outcome.ssim:.3f}"
    panels = [
        (f"{name}{peer}", outcome.target),
        (found, outcome.picture),
        ("error x 4", error_map(outcome.picture, outcome.target)),
    ]
    save_side_by_side(folder / f"{name}.png", panels)


def compare(cases: Sequence[Case], options: argparse.Namespace, settings: dict[str, Any]) -> None:
    """The table, pictures and curves."""
    print(HEADER, flush=True)
    convergence: dict[str, Sequence[tuple[float, float]]] = {}
    by_instances: dict[str, list[tuple[float, float]]] = {}
    by_seconds: dict[str, list[tuple[float, float]]] = {}
    for case in cases:
        for instances in options.instances or [None]:
            for steps in options.steps:
                changes = settings | {"steps": steps} | ({} if instances is None else {"instances": instances})
                outcomes = [run(case.problem(**changes, seed=seed)) for seed in range(options.seeds)]
                print(table_row(case.name, outcomes), flush=True)
                psnr = statistics.fmean(outcome.psnr for outcome in outcomes)
                seconds = statistics.median(outcome.seconds for outcome in outcomes)
                by_instances.setdefault(f"{case.name}, {steps} steps", []).append((outcomes[0].instances, psnr))
                by_seconds.setdefault(f"{case.name}, N = {outcomes[0].instances}", []).append((seconds, psnr))
                convergence[case.name] = outcomes[0].curve
                if options.out:
                    save_pictures(options.out, case.name, outcomes[0])
    if options.out:
        save_curves(options.out / "convergence.png", convergence, "steps", "PSNR, dB")
        if len(options.instances or []) > 1:
            save_curves(options.out / "by_instances.png", by_instances, "instances", "PSNR, dB", logarithmic=True)
        if len(options.steps) > 1:
            save_curves(options.out / "by_seconds.png", by_seconds, "seconds", "PSNR, dB")


def ablate(cases: Sequence[Case], options: argparse.Namespace, settings: dict[str, Any]) -> None:
    """What is lost without each technique: the mean over cases and seeds, and how sure that is."""
    steps: int = options.steps[0]
    reference: dict[str, float] = {}
    print(f"{len(cases)} cases, {options.seeds} seeds, {steps} steps")
    print(f"{'':36}{'PSNR':>8}{'difference':>16}{'uncovered':>11}{'s':>7}   by case")
    for name, changes in ABLATION.items():
        differences, psnrs, holes, seconds, by_case = [], [], [], [], []
        with changed(changes):
            for case in cases:
                outcomes = [run(case.problem(**settings, steps=steps, seed=seed)) for seed in range(options.seeds)]
                psnr = statistics.fmean(outcome.psnr for outcome in outcomes)
                reference.setdefault(case.name, psnr)
                differences.append(psnr - reference[case.name])
                psnrs.append(psnr)
                holes.append(statistics.fmean(outcome.uncovered for outcome in outcomes))
                seconds.append(statistics.fmean(outcome.seconds for outcome in outcomes))
                by_case.append(f"{differences[-1]:+.2f}")
        spread = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
        print(
            f"{name:36}{statistics.fmean(psnrs):8.2f}{statistics.fmean(differences):+9.2f} +-{spread:.2f}"
            f"{statistics.fmean(holes):11.2%}{statistics.fmean(seconds):7.1f}   {' '.join(by_case)}",
            flush=True,
        )


def chosen(names: Sequence[str], cases: dict[str, Case]) -> list[Case]:
    groups: dict[str, Callable[[str], bool]] = {
        "all": lambda name: True,
        "peer": lambda name: name in PEER_PSNR,
        "own": lambda name: name not in PEER_PSNR,
    }
    found = []
    for name in names:
        if name not in groups and name not in cases:
            raise SystemExit(f"There is no case {name}: {' '.join([*groups, *cases])}")
        wanted = groups.get(name, name.__eq__)
        found += [case for case in cases.values() if wanted(case.name) and case not in found]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["sample", "sample-half", "sample-own"], help="or all, peer, own")
    parser.add_argument("--peer", type=Path, help="folder with the paper's targets/ and masks/")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", type=int, nargs="+", default=[300])
    parser.add_argument("--instances", type=int, nargs="+", help="instead of each case's own")
    parser.add_argument("--background", choices=["noise", "white", "transparent"], help="instead of each case's own")
    parser.add_argument("--working-size", type=int, help="px, instead of each case's own")
    parser.add_argument("--max-stretch", type=float, help="how far proportions may change, instead of each case's own")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with seeds from 0")
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--out", type=Path, help="where to leave pictures and curves")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = chosen(options.cases, all_cases(options.peer))
    if not cases:
        raise SystemExit("These cases need --peer FOLDER.")
    settings: dict[str, Any] = {"device": options.device}
    for name in ("background", "working_size", "max_stretch"):
        if getattr(options, name):
            settings[name] = getattr(options, name)
    device = Run(cases[0].problem(**settings)).device_name
    print(f"torch {torch.__version__}, {device}, {options.threads} threads on {os.cpu_count()} cores")
    (ablate if options.ablation else compare)(cases, options, settings)


if __name__ == "__main__":
    main()
