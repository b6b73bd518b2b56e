#!/usr/bin/env python3
"""How fast the CUDA kernels draw, differentiate and optimise: the table of sizes, and how time grows.

The scene is a structure-aware start: N instances of 2 to 50 px half-size, at 512, on a picture of S x S px. Times are
medians of CUDA events around replays of a graph, after warm-up. Forward and backward by themselves are the operators
behind autograd; an iteration does both in one kernel, whose time is the profiler's. "Pairs" are pixels in the turned
support boxes of instances, from a sample of pixels. The floor counts 84 floating-point operations per pair, 24 forward
and 60 backward, at the FP32 rate of the card's clock during the run.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.render import read_bitmap, read_bitmaps, read_picture  # noqa: E402
from krita_diffbmp.engine import gpu, losses, pyramid, reference  # noqa: E402
from krita_diffbmp.engine.fused import Steps  # noqa: E402
from krita_diffbmp.engine.initialize import initialize  # noqa: E402
from krita_diffbmp.engine.render import render  # noqa: E402
from krita_diffbmp.engine.scene import Scene  # noqa: E402
from krita_diffbmp.problem import FloatArray, Settings  # noqa: E402

SIZES = [(512, 1000), (512, 2000), (1024, 1000), (1024, 2000), (2048, 1000), (2048, 2000)]
FLOPS_PER_PAIR = 84
LANES = 128  # FP32 lanes of a multiprocessor, from Ampere on (64 on Turing)
SAMPLE = 8192  # pixels
INNER = 10  # calls in a graph


def timed(call: Callable[[], object], repeats: int) -> float:
    """ms of a call: median over replays of a graph of them."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(INNER):
                call()
        times = []
        for turn in range(-3, repeats):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            if turn >= 0:
                times.append(begin.elapsed_time(end) / INNER)
    return float(statistics.median(times))


class Benchmark:
    """One scene on the GPU."""

    def __init__(
        self,
        image: Path,
        bitmaps: list[FloatArray],
        size: int,
        count: int,
        opacity: float = -2.0,
        mu_blend: float = 0.0,
    ) -> None:
        target = read_picture(image, size)
        settings = Settings(instances=count, min_size=4 / size, max_size=100 / 512, mu_blend=mu_blend, seed=1)
        generator = torch.Generator().manual_seed(1)
        self.start = initialize(target, len(bitmaps), settings, generator).to("cuda")
        self.start.opacity.fill_(opacity)
        self.bitmaps = pyramid.pack(bitmaps, device="cuda")
        self.sides = torch.tensor([float(max(bitmap.shape[:2])) for bitmap in bitmaps], device="cuda")
        self.target = torch.cat([target[:-1], 1 - target[-1:]]).cuda()
        self.size, self.mu_blend = size, mu_blend

    def scene(self) -> Scene:
        return Scene(self.bitmaps, self.start.instances(self.sides), self.size, self.size, mu_blend=self.mu_blend)

    def pairs(self) -> float:
        """Millions."""
        scene = self.scene()
        pixels = torch.rand(SAMPLE, 2, device="cuda") * self.size
        level = reference.mip_levels(scene.bitmaps, scene.instances)
        found = 0
        for batch in torch.arange(len(scene.instances.scale), device="cuda").split(1000):
            x, y = reference.texel_coordinates(scene.bitmaps, scene.instances, level, batch, pixels)
            low_x, low_y, high_x, high_y = (level[batch, k][:, None] for k in (3, 4, 5, 6))
            found += int(((x > low_x - 1) & (x < high_x) & (y > low_y - 1) & (y < high_y)).sum())
        return found / SAMPLE * self.size**2 / 1e6

    def draw_and_differentiate(self, repeats: int) -> tuple[float, float]:
        scene = self.scene()
        instances = scene.instances
        cells = scene.bitmaps.color_cells if self.mu_blend > 0 else scene.bitmaps.mask_cells
        values = (instances.position, instances.rotation, instances.scale, instances.opacity, instances.color)
        given = (*cells, *values, instances.bitmap)
        look = (scene.alpha_max, scene.mu_blend)
        drawn = torch.ops.diffbmp.render(*given, self.size, self.size, *look)
        gradient = torch.randn_like(drawn[0]), torch.randn_like(drawn[1])
        return (
            timed(lambda: torch.ops.diffbmp.render(*given, self.size, self.size, *look), repeats),
            timed(lambda: torch.ops.diffbmp.render_backward(*gradient, *drawn, *given, *look), repeats),
        )

    def iteration(self, repeats: int) -> tuple[float, float]:
        """An iteration, and of it the kernel that draws, compares and differentiates."""
        steps = Steps(
            self.start,
            sides=self.sides,
            target=self.target,
            background="noise",
            white=1.0,
            mu_blend=self.mu_blend,
            alpha_max=1.0,
            rates=(0.0,) * 5,
            factors=torch.ones(1),
            log_sizes=(0.0, 10.0),
        )
        steps.use(self.bitmaps)
        steps.advance(INNER)
        times = []
        for turn in range(-3, repeats):
            with torch.cuda.stream(steps._stream):
                begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                begin.record()
                steps.advance(INNER)
                end.record()
            end.synchronize()
            if turn >= 0:
                times.append(begin.elapsed_time(end) / INNER)
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            steps.advance(INNER)
            steps.finish()
        kernels = [event.device_time for event in profiled.events() if "descend" in event.name]
        return float(statistics.median(times)), float(statistics.median(kernels)) / 1e3

    def autograd_step(self, repeats: int) -> tuple[float, float]:
        """One step through autograd, by the host's clock: as Python issues it, and as a graph of it is replayed."""
        values = {name: value.clone() for name, value in vars(self.start).items() if value is not None}
        moved = [value.requires_grad_() for name, value in values.items() if name != "bitmap"]
        adam = torch.optim.Adam(moved, fused=True, capturable=True)
        parameters = type(self.start)(**values)
        error = losses.SquaredError("noise", self.target[:-1], self.target[-1])

        def step() -> None:
            scene = Scene(self.bitmaps, parameters.instances(self.sides), self.size, self.size, mu_blend=self.mu_blend)
            drawn = render(scene)
            _, *gradients = error(drawn.color, drawn.transmittance)
            adam.zero_grad()
            torch.autograd.backward([drawn.color, drawn.transmittance], gradients)
            adam.step()

        def seconds(call: Callable[[], object]) -> float:
            times = []
            for turn in range(-5, repeats):
                torch.cuda.synchronize()
                begin = time.perf_counter()
                call()
                torch.cuda.synchronize()
                if turn >= 0:
                    times.append(time.perf_counter() - begin)
            return statistics.median(times)

        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            issued = seconds(step)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            step()
        return issued * 1e3, seconds(graph.replay) * 1e3


def clock() -> float:
    """MHz of the multiprocessors, now."""
    command = ["nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits", "-i", "0"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])


def floor(pairs: float) -> float:
    """ms"""
    rate = torch.cuda.get_device_properties(0).multi_processor_count * LANES * 2 * clock() * 1e6
    return pairs * 1e6 * FLOPS_PER_PAIR / rate * 1e3


def row(name: str, benchmark: Benchmark, repeats: int) -> None:
    pairs: float = benchmark.pairs()
    forward, backward = benchmark.draw_and_differentiate(repeats)
    step, descend = benchmark.iteration(repeats)
    least = floor(pairs)
    print(
        f"{name:34} {pairs:8.1f} M pairs  forward {forward:7.4f}  backward {backward:7.4f}  both "
        f"{forward + backward:7.4f}  iteration {step:7.4f} ms, of it forward + backward {descend:7.4f}  "
        f"floor {least:.4f} = {least / step:4.0%}",
        flush=True,
    )


def main() -> None:
    sample = ROOT / "sample"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, default=sample / "photo.jpg")
    parser.add_argument("--bitmaps", type=Path, nargs="*", default=sorted((sample / "bitmaps").glob("*.png")))
    parser.add_argument("--growth", action="store_true", help="also how time grows with N, S, bitmaps and opacity")
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    if trouble := gpu.cuda_trouble():
        print(f"no figures: {trouble}")
        return
    card = gpu.card()
    assert card is not None
    print(f"{card.name}, {card.memory / 1000:.0f} GB, {clock():.0f} MHz now, torch {torch.__version__}")

    for path in options.bitmaps:
        for size, count in SIZES:
            benchmark = Benchmark(options.image, [read_bitmap(path)], size, count)
            row(f"{path.stem[:16]} {size} / {count}", benchmark, options.repeats)
            if count == SIZES[-1][1]:
                torch.cuda.reset_peak_memory_stats()
                benchmark.iteration(1)
                memory = torch.cuda.max_memory_allocated() / 1e6
                issued, replayed = benchmark.autograd_step(options.repeats)
                print(
                    f"  memory of an iteration {memory:.0f} MB; a step through autograd {issued:.3f} ms, "
                    f"{replayed:.3f} ms as a graph"
                )
    if not options.growth:
        return
    bitmaps = read_bitmaps(options.bitmaps)
    for count in (100, 1000, 10_000, 100_000):
        row(f"N = {count}", Benchmark(options.image, bitmaps[:1], 1024, count), 5)
    for size in (256, 512, 1024, 2048, 4096, 8192):
        row(f"S = {size}", Benchmark(options.image, bitmaps[:1], size, 1000), 5)
    for number in (1, 4, 16):
        row(f"{number} bitmaps", Benchmark(options.image, (bitmaps * 16)[:number], 1024, 1000), 5)
    for opacity in (-4.0, -2.0, 0.0, 4.0):
        row(f"opacity logit {opacity}", Benchmark(options.image, bitmaps[:1], 1024, 1000, opacity=opacity), 5)
    row("colour maps (mu_blend 0.5)", Benchmark(options.image, bitmaps[:1], 1024, 1000, mu_blend=0.5), 5)


if __name__ == "__main__":
    main()
