#!/usr/bin/env python3
"""How fast the renderer draws, differentiates and optimises, next to its plain-torch twin in the same run.

The scene is a structure-aware start: N instances of 2 to 50 px half-size on a picture of S x S px. One step is
render, mean squared error over noise, backward, Adam. Prints medians, and the minimum in brackets.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from krita_diffbmp.engine import losses, pyramid, reference  # noqa: E402
from krita_diffbmp.engine.initialize import Parameters, initialize  # noqa: E402
from krita_diffbmp.engine.render import Name, implementation, render  # noqa: E402
from krita_diffbmp.engine.scene import Bitmaps, Scene  # noqa: E402
from krita_diffbmp.problem import FloatArray, Settings  # noqa: E402

TILE = 32  # px, of the tiles that instances are counted in


def read_picture(path: Path | None, size: int) -> Tensor:
    """[4, S, S] premultiplied RGB and alpha; something busy and something calm if there is no file."""
    if path is None or not path.exists():
        generator = torch.Generator().manual_seed(1)
        coarse, fine = torch.rand(3, 8, 8, generator=generator), torch.rand(3, size, size, generator=generator)
        picture = torch.nn.functional.interpolate(coarse[None], (size, size), mode="bilinear")[0]
        picture[:, : size // 2] = (picture + fine)[:, : size // 2] / 2
    else:
        from PIL import Image

        image = Image.open(path).convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
        picture = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)
    return torch.cat([picture, torch.ones(1, size, size)])


def read_bitmap(path: Path) -> FloatArray:
    """[h, w, 4] straight alpha; a picture without colour or alpha is a mask."""
    from PIL import Image

    image = Image.open(path)
    if image.mode in ("L", "1"):
        mask = np.asarray(image.convert("L"), dtype=np.float32) / 255
        return np.concatenate([np.zeros((*mask.shape, 3), np.float32), mask[..., None]], axis=2)
    return np.asarray(image.convert("RGBA"), dtype=np.float32) / np.float32(255)


def read_bitmaps(paths: list[Path]) -> list[FloatArray]:
    if paths:
        return [read_bitmap(path) for path in paths]
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    disc = np.empty((128, 128, 4), np.float32)
    disc[..., :3] = (0.2, 0.5, 0.8)
    disc[..., 3] = np.clip(1.2 - np.hypot(x, y), 0, 1)
    return [disc]


class Optimisation:
    """The scene under Adam."""

    def __init__(self, target: Tensor, bitmaps: list[FloatArray], settings: Settings, use: Name) -> None:
        self.use, self.settings = use, settings
        self.target = target[:-1].contiguous()
        self.error = losses.SquaredError("noise", self.target, 1 - target[-1])
        self.bitmaps: Bitmaps = pyramid.pack(bitmaps)
        self.sides = torch.tensor([float(max(bitmap.shape[:2])) for bitmap in bitmaps])
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.parameters: Parameters = initialize(target, len(bitmaps), settings, self.generator)
        values = [getattr(self.parameters, name) for name in ("position", "rotation", "log_size", "opacity", "color")]
        self.adam = torch.optim.Adam([value.requires_grad_() for value in values], lr=1e-3)

    def scene(self) -> Scene:
        _, height, width = self.target.shape
        instances = self.parameters.instances(self.sides)
        return Scene(self.bitmaps, instances, height, width, mu_blend=self.settings.mu_blend)

    def draw(self) -> None:
        with torch.no_grad():
            render(self.scene(), self.use)

    def differentiate(self, gradient: Tensor) -> Callable[[], None]:
        """The backward pass alone: of a picture drawn beforehand, by its colour."""
        color = render(self.scene(), self.use).color
        return lambda: color.backward(gradient)

    def step(self) -> None:
        drawn = render(self.scene(), self.use)
        _, *gradients = self.error(drawn.color, drawn.transmittance)
        self.adam.zero_grad()
        torch.autograd.backward([drawn.color, drawn.transmittance], gradients)
        self.adam.step()

    def covered(self) -> tuple[int, float]:
        """Pairs of pixel and instance with the pixel in the instance's box, and box-meets-tile pairs per tile."""
        scene = self.scene()
        level = reference.mip_levels(scene.bitmaps, scene.instances)
        boxes = reference.bounding_boxes(scene.bitmaps, scene.instances, level)
        pairs, tiles = 0, 0
        for i, (left, top, right, bottom) in enumerate(boxes.tolist()):
            x0, x1 = max(int(left), 0), min(int(right) + 1, scene.width)
            y0, y1 = max(int(top), 0), min(int(bottom) + 1, scene.height)
            if x0 >= x1 or y0 >= y1:
                continue
            pixels = torch.cartesian_prod(torch.arange(x0, x1), torch.arange(y0, y1)).float() + 0.5
            x, y = reference.texel_coordinates(scene.bitmaps, scene.instances, level, torch.tensor([i]), pixels)
            _, _, _, low_x, low_y, high_x, high_y = level[i].tolist()
            inside = ((x > low_x - 1) & (x < high_x) & (y > low_y - 1) & (y < high_y))[0]
            pairs += int(inside.sum())
            tiles += len((pixels[inside] / TILE).long().unique(dim=0))
        return pairs, tiles / ((scene.width + TILE - 1) // TILE * ((scene.height + TILE - 1) // TILE))


def times(
    call: Callable[[], None], repeats: int, prepare: Callable[[], Callable[[], None]] | None = None
) -> list[float]:
    """Milliseconds of each call, after two that do not count; `prepare` makes what is called, untimed."""
    out = []
    for turn in range(-2 if repeats > 2 else 0, repeats):
        run = prepare() if prepare else call
        begin = time.perf_counter()
        run()
        if turn >= 0:
            out.append((time.perf_counter() - begin) * 1e3)
    return out


def resident() -> float:
    """MB of memory in use by this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def peak() -> float:
    """MB, the most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def warm_up() -> None:
    """What torch itself takes: its threads, its allocator, autograd and Adam."""
    value = torch.rand(3, 512, 512, requires_grad=True)
    adam = torch.optim.Adam([value])
    (value * value).mean().backward()
    adam.step()


def report(name: str, optimisation: Optimisation, repeats: int, *, parts: bool = True) -> float:
    """Prints the time of a step, and of its parts; the median of a step in ms."""
    gradient = torch.rand(optimisation.target.shape, generator=torch.Generator().manual_seed(2)) - 0.5
    measured = {}
    if parts:
        measured["forward"] = times(optimisation.draw, repeats)
        measured["backward"] = times(lambda: None, repeats, lambda: optimisation.differentiate(gradient))
    measured["step"] = times(optimisation.step, repeats)
    for part, values in measured.items():
        print(f"{name:10} {part:9} {statistics.median(values):9.2f} ms ({min(values):.2f})")
    return statistics.median(measured["step"])


def main() -> None:
    sample = ROOT / "sample"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, default=sample / "photo.jpg")
    parser.add_argument("--bitmaps", type=Path, nargs="*", default=sorted((sample / "bitmaps").glob("*.png")))
    parser.add_argument("--size", type=int, default=512, help="px, S")
    parser.add_argument("--instances", type=int, default=1000, help="N")
    parser.add_argument("--mu-blend", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--twin-repeats", type=int, default=1, help="0: leave the plain-torch twin out")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    print(f"{processor()}, {options.threads} threads, torch {torch.__version__}")
    if (chosen := implementation()).name != "extension":
        sys.exit(chosen.reason)
    # Half-sizes of 2 to 50 px at 512.
    settings = Settings(instances=options.instances, min_size=4 / 512, max_size=100 / 512, mu_blend=options.mu_blend)
    target, bitmaps = read_picture(options.image, options.size), read_bitmaps(options.bitmaps)
    names = ", ".join(path.stem for path in options.bitmaps) or "a soft disc"
    print(f"{options.size} x {options.size}, {options.instances} instances of {names}, mu_blend {options.mu_blend}")

    warm_up()
    before = resident()
    compiled = Optimisation(target, bitmaps, settings, "extension")
    step = report("extension", compiled, options.repeats)
    print(f"extension  memory    {max(peak() - before, 0):9.1f} MB beyond torch")
    pairs, per_tile = Optimisation(target, bitmaps, settings, "extension").covered()
    print(f"{pairs / 1e6:.2f} million pairs of pixel and instance, {per_tile:.0f} instances per {TILE} x {TILE} tile")
    if options.twin_repeats:
        plain = Optimisation(target, bitmaps, settings, "reference")
        twin = report("reference", plain, options.twin_repeats, parts=False)
        print(f"the extension's step is {twin / step:.0f} times faster")


if __name__ == "__main__":
    main()
