"""How the blur of the bitmaps and the learning rate change in the course of a run.

Both depend on the fraction of the run that is done, so that a short run goes through the same phases as a long one.
"""

from __future__ import annotations

import math

# Standard deviations of the blur, as fractions of a bitmap's longest side, and the fraction of the run at which
# each begins: few stages, because the bitmaps are packed anew for each.
BLUR_STAGES = ((0.0, 0.03), (0.2, 0.015), (0.4, 0.007), (0.6, 0.0))
FINAL_RATE = 0.05  # of the learning rate at the start


def blur(done: float) -> float:
    """The blur of the bitmaps when a fraction `done` in [0, 1) of the run lies behind; see pyramid.soften."""
    return next(sigma for begin, sigma in reversed(BLUR_STAGES) if done >= begin)


def rate(done: float) -> float:
    """The factor on every learning rate: exponential decay from 1 to FINAL_RATE."""
    return math.exp(math.log(FINAL_RATE) * done)
