"""What a hole costs: as much as it takes for next to none to be left at the end of a run.

The error over noise counts what is seen of the background where the target hides it, but where covering it is dear, as
with thin or fissured bitmaps, some percent stay open. So the weight of holes rises with how many there will be.
"""

from __future__ import annotations

import math
from collections import deque

from torch import Tensor

from krita_diffbmp.problem import Settings

BEGIN = 0.5  # fraction of the run
UNCOVERED = 0.0065  # of the target: less is no reason for a weight
GROWTH = 20.0  # of the weight for the same holes, to the end of the run
SMOOTHING = 0.5
CLOSING = 2.0  # how much faster holes close in what is left of the run than at present
LIMIT = 20.0
LOOKS = 3  # that the pace at which holes close is taken over
FEW = 0.5  # times the square of the area that there is to cover with: a lower limit, where the target is hardly covered
# What there must be to cover with, times the target's area: from there on less than a percent is left open.
ENOUGH = 2.5
NOTEWORTHY = 0.015  # of the target, uncovered


def uncovered(transmittance: Tensor, target: Tensor) -> float:
    """The mean part of the background that is seen within a target [C + 1, H, W] that hides it."""
    alpha = target[-1]
    open_part = (transmittance - (1 - alpha)).clamp(min=0) * alpha
    return float(open_part.sum() / alpha.sum().clamp(min=1e-12))


class HoleWeight:
    """The weight of holes, from looks at the picture at even distances in the course of a run.

    `capacity` is the area of all instances at their largest, relative to the target's: where it is not much more than
    1, some holes must stay, and a heavy weight would spoil the rest.
    """

    def __init__(self, capacity: float) -> None:
        self.weight = 0.0
        self._limit = min(LIMIT, FEW * capacity * capacity)
        self._parts: deque[float] = deque(maxlen=LOOKS + 1)

    def look(self, part: float, done: float, left: int) -> None:
        """After a fraction `done` of the run, `part` of the target is uncovered; `left` looks are to come.

        Holes close by themselves while the steps become smaller, above all between thin bitmaps: what counts is what
        will be left of them if they go on closing as they do.
        """
        self._parts.append(max(part, 1e-9))
        if done < BEGIN:
            return
        closing = min(1.0, part / self._parts[0]) ** (1 / max(len(self._parts) - 1, 1))  # from look to look
        expected = part * closing ** (CLOSING * left)
        gain = GROWTH ** ((done - BEGIN) / (1 - BEGIN))
        wanted = gain * max(0.0, (expected / UNCOVERED) ** 2 - 1)
        self.weight = min(self._limit, SMOOTHING * self.weight + (1 - SMOOTHING) * wanted)


def advice(capacity: float, part: float, settings: Settings) -> str | None:
    """What the artist should know where the instances are too few and too small to cover the target, else None.

    `capacity` is that of `HoleWeight`, `part` what is uncovered of the target at the end of a run.
    """
    if capacity >= ENOUGH or part < NOTEWORTHY or settings.background == "white":
        return None
    lacking = ENOUGH / capacity
    count = math.ceil(settings.instances * lacking / 50) * 50
    size = math.ceil(settings.max_size * math.sqrt(lacking) * 100)
    return (
        f"{part * 100:.0f} % of the target is left uncovered: so few instances of this size cannot cover it. "
        f"Choose about {count:,} instances, or a largest size of about {size} %."
    )
