"""How the blur of the bitmaps and the learning rate change in the course of a run.

Both depend on the fraction of the run that is done, so that a short run goes through the same phases as a long one.
"""

from __future__ import annotations

# Standard deviations of the blur, as fractions of a bitmap's longest side, and the fraction of the run at which
# each begins: few stages, because the bitmaps are packed anew for each.
BLUR_STAGES = ((0.0, 0.05), (0.15, 0.02), (0.3, 0.0))
COARSE = 0.5  # size of the pictures that blurred bitmaps are optimised in, relative to those of sharp ones
PAUSES = 20  # in a whole run, evenly spaced: between steps, for what needs a look at the picture
RECYCLED = 0.08  # of the instances at the first pause, falling to nothing at RECYCLING_END
RECYCLING_END = 0.7  # fraction of the run, so that the last can settle
REFINEMENT = 0.5  # of the rates of a first run: what was optimised already is not shaken up
WARM_UP = 5  # steps of a refinement


def blur(done: float) -> float:
    """The blur of the bitmaps when a fraction `done` in [0, 1) of the run lies behind; see pyramid.soften."""
    return next(sigma for begin, sigma in reversed(BLUR_STAGES) if done >= begin)


def rate(done: float) -> float:
    """The factor on every learning rate, from 1 to 0: late steps are small enough to settle."""
    return 1 - done * done


def refinement_rate(step: int, total: int) -> float:
    """The factor on every learning rate after `step` steps of `total` of a refinement.

    It rises for a few steps, in which Adam learns how large gradients are, and then falls to 0.
    """
    done = step / total
    return REFINEMENT * min(1.0, (step + 1) / WARM_UP) * (1 - done * done)


def ratio(done: float) -> float:
    """The size of the pictures to optimise in, relative to the working size: small ones for what is blurred anyway."""
    return COARSE if blur(done) > 0 else 1.0


def pauses(step: int, total: int) -> bool:
    """Whether there is a pause after `step` steps of `total`."""
    return step * PAUSES // total != (step - 1) * PAUSES // total


def recycled(step: int, total: int) -> float:
    """The fraction of the instances to recycle after `step` steps of `total`: 0 after most."""
    if not pauses(step, total):
        return 0.0
    return RECYCLED * max(0.0, 1 - step / (RECYCLING_END * total))
