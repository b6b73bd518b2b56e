"""What cannot be optimised, in sentences for the artist."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from krita_diffbmp.problem import Background, Device, DiffBmpError, FloatArray, Freeze, Problem, Settings, Start

INSTANCE_LIMIT = 100_000
SMALLEST_TARGET = 8  # px, long side
SMALLEST_WORKING_SIZE = 32  # px
MOST_STRETCHED = 10.0  # times
CHANNELS = (1, 3, 4)  # gray, RGB, CMYK
FAINTEST = 1e-6  # alpha; nothing fainter is seen at any depth, and averages of it might vanish


def check_problem(problem: Problem) -> None:
    """Raises DiffBmpError for the first thing that makes a problem impossible."""
    start = problem.start
    check_settings(problem.settings if start is None else replace(problem.settings, instances=INSTANCE_LIMIT))
    check_pixels(problem.target, "target layer")
    height, width, planes = problem.target.shape
    if max(height, width) < SMALLEST_TARGET:
        raise DiffBmpError(
            f"The target is only {width} x {height} pixels. Choose a layer of at least {SMALLEST_TARGET} pixels."
        )
    if not problem.bitmaps:
        raise DiffBmpError("There is no bitmap to build the picture from. Put one or more layers into the group.")
    for bitmap in problem.bitmaps:
        check_pixels(bitmap.pixels, f"bitmap “{bitmap.name}”")
        if bitmap.pixels.shape[2] != planes:
            raise DiffBmpError(
                f"The bitmap “{bitmap.name}” and the target differ in their number of colour channels "
                f"({bitmap.pixels.shape[2] - 1} and {planes - 1}). Convert both to the same colour model."
            )
    if start is not None:
        check_start(start, len(problem.bitmaps), planes - 1)
    weight = problem.weight
    if weight is not None and (weight.shape != (height, width) or not np.isfinite(weight).all()):
        raise DiffBmpError("The selection does not fit the target. Select anew, or deselect.")


def check_start(start: Start, bitmaps: int, channels: int) -> None:
    """Raises DiffBmpError for instances that a refinement cannot begin with, or that leave it nothing to do."""
    placed = start.placements
    count = len(placed.bitmap)
    if count + start.added > INSTANCE_LIMIT:
        raise DiffBmpError(
            f"There would be {count + start.added:,} instances, and {INSTANCE_LIMIT:,} are the most. Add fewer."
        )
    if count + start.added == 0:
        raise DiffBmpError("There are no instances to refine. Let new ones be added, or start a first run.")
    if start.added == 0 and ((start.frozen & Freeze.ALL) == Freeze.ALL).all():
        raise DiffBmpError(
            "Every instance is locked, so nothing can be refined. Unlock some, or let new ones be added."
        )
    if start.added > 0 and not 1 <= start.primitives <= bitmaps:
        raise DiffBmpError("There is no bitmap to make new instances of. Put one or more layers into the group.")
    shapes = {
        "position": (count, 2),
        "rotation": (count,),
        "scale": (count,),
        "opacity": (count,),
        "color": (count, channels),
        "stretch": (count, 2, 2),
        "mu_blend": (count,),
    }
    wrong = [name for name, shape in shapes.items() if not _are_numbers(getattr(placed, name), shape)]
    if not wrong:
        ranges = {"opacity": placed.opacity, "color": placed.color, "mu_blend": placed.mu_blend}
        wrong = [
            name for name, values in ranges.items() if values is not None and not _are_within(values, -1e-4, 1 + 1e-4)
        ]
    if not wrong and not (placed.scale > 0).all():
        wrong = ["scale"]
    if not wrong and placed.stretch is not None and not _are_within(np.abs(np.linalg.det(placed.stretch)), 0.9, 1.1):
        wrong = ["stretch"]
    if start.frozen.shape != (count,):
        wrong.append("frozen")
    if placed.bitmap.shape != (count,) or not _are_within(placed.bitmap, 0, bitmaps - 1):
        wrong.append("bitmap")
    if wrong:
        raise DiffBmpError(
            f"The instances cannot be made out ({', '.join(wrong)}). Undo what was last done to them, or optimize anew."
        )


def _are_numbers(values: FloatArray | None, shape: tuple[int, ...]) -> bool:
    return values is None or (values.shape == shape and bool(np.isfinite(values).all()))


def _are_within(values: npt.NDArray[Any], low: float, high: float) -> bool:
    return bool(((values >= low) & (values <= high)).all())


def check_pixels(pixels: FloatArray, name: str) -> None:
    """Raises DiffBmpError unless pixels are [h, w, C + 1] finite numbers, not all of them transparent."""
    if pixels.ndim != 3 or pixels.shape[2] - 1 not in CHANNELS:
        raise DiffBmpError(f"The {name} is in a colour model that is not supported. Use gray, RGB or CMYK.")
    if pixels.size == 0 or not (pixels[..., -1] > FAINTEST).any():
        raise DiffBmpError(f"The {name} is fully transparent. Paint something on it, or choose another.")
    # A sum is not finite when any part of it is not, and takes no mask as large as the picture.
    with np.errstate(all="ignore"):
        suspicious = not np.isfinite(pixels.sum(dtype=np.float64))
    if suspicious and not np.isfinite(pixels[pixels[..., -1] != 0]).all():
        raise DiffBmpError(
            f"The {name} has pixels that are not numbers (NaN or infinite). Paint over them, or convert it to 8 bit."
        )


def check_settings(settings: Settings) -> None:
    """Raises DiffBmpError for settings that make no sense."""
    if not 1 <= settings.instances <= INSTANCE_LIMIT:
        raise DiffBmpError(f"The number of instances is {settings.instances}. Choose between 1 and {INSTANCE_LIMIT:,}.")
    if settings.steps < 1:
        raise DiffBmpError(f"The number of steps is {settings.steps}. Choose 1 or more.")
    if not (0 < settings.min_size < math.inf and 0 < settings.max_size < math.inf):
        raise DiffBmpError("The smallest and the largest size must be greater than 0.")
    if settings.min_size > settings.max_size:
        raise DiffBmpError(
            f"The smallest size ({settings.min_size:.1%}) is larger than the largest ({settings.max_size:.1%}). "
            "Swap them, or widen the range."
        )
    if not 1 <= settings.max_stretch <= MOST_STRETCHED:
        raise DiffBmpError(
            f"Instances may be stretched {settings.max_stretch:g} times. Choose between 1 and {MOST_STRETCHED:g}."
        )
    if not 0 < settings.alpha_max <= 1:
        raise DiffBmpError(f"The maximum opacity is {settings.alpha_max:.1%}. Choose more than 0 % and at most 100 %.")
    if not 0 <= settings.mu_blend <= 1:
        raise DiffBmpError(f"The share of the original colours is {settings.mu_blend:.1%}. Choose between 0 and 100 %.")
    if settings.working_size < SMALLEST_WORKING_SIZE:
        raise DiffBmpError(
            f"The working size is {settings.working_size} pixels. Choose {SMALLEST_WORKING_SIZE} or more."
        )
    if settings.background not in get_args(Background):
        raise DiffBmpError(f"“{settings.background}” is not a background. Choose noise, white or transparent.")
    if settings.device not in get_args(Device):
        raise DiffBmpError(f"“{settings.device}” is not a device. Choose auto, CPU or CUDA.")
