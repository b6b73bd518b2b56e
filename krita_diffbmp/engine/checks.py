"""What cannot be optimised, in sentences for the artist."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np

from krita_diffbmp.problem import Background, Device, DiffBmpError, FloatArray, Problem, Settings

INSTANCE_LIMIT = 100_000
SMALLEST_TARGET = 8  # px, long side
SMALLEST_WORKING_SIZE = 32  # px
CHANNELS = (1, 3, 4)  # gray, RGB, CMYK
FAINTEST = 1e-6  # alpha; nothing fainter is seen at any depth, and averages of it might vanish


def check_problem(problem: Problem) -> None:
    """Raises DiffBmpError for the first thing that makes a problem impossible."""
    check_settings(problem.settings)
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
