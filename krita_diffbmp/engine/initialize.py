"""Where the optimisation starts: many small instances where the target is busy, few large ones where it is calm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from krita_diffbmp.engine.scene import Instances
from krita_diffbmp.problem import Settings

WINDOW = 7  # px, side of the square that the variance is taken over
BASE_DENSITY = 0.3  # of the calmest place, relative to the busiest
SIZE_NOISE = 0.1  # standard deviation, relative
COLOR_NOISE = 0.02  # standard deviation, logits
COLOR_MARGIN = 0.01  # colours start within [margin, 1 - margin]: a logit further out would hardly learn
OPACITY_START = -2.0  # logit


@dataclass(frozen=True)
class Parameters:
    """What Adam moves: N instances in unbounded numbers, on the canvas of the working size."""

    position: Tensor  # [N, 2] px, centre
    rotation: Tensor  # [N] rad
    log_size: Tensor  # [N] natural logarithm of the longest side in px
    opacity: Tensor  # [N] logit
    color: Tensor  # [N, C] logits
    bitmap: Tensor  # [N] int32, not optimised
    aspect: Tensor | None = None  # [N] natural logarithm of width over height, relative to the bitmap's; None: 0

    def copy(self) -> Parameters:
        """Detached from this one and from autograd."""
        return self._each(lambda values: values.detach().clone())

    def to(self, device: torch.device | str) -> Parameters:
        return self._each(lambda values: values.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Parameters:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return Parameters(**{name: change(values) for name, values in given.items() if values is not None})

    def instances(self, bitmap_sides: Tensor, ratio: float = 1.0) -> Instances:
        """As the renderer takes them; `bitmap_sides` [P] are longest sides in bitmap px.

        `ratio` is the size of the canvas to draw on, relative to that of the parameters.
        """
        return Instances(
            position=self.position * ratio,
            rotation=self.rotation,
            scale=torch.exp(self.log_size) * ratio / bitmap_sides[self.bitmap.long()],
            opacity=self.opacity,
            color=torch.sigmoid(self.color),
            bitmap=self.bitmap,
            stretch=None if self.aspect is None else stretch(self.aspect),
        )


def stretch(aspect: Tensor) -> Tensor:
    """The matrices [N, 2, 2] of determinant 1 that change width over height by the exponential of `aspect` [N]."""
    return torch.diag_embed(torch.stack([aspect / 2, -aspect / 2], 1).exp())


def structure(target: Tensor) -> Tensor:
    """How busy a target [C + 1, H, W] (premultiplied colour, alpha) is at each pixel: [H, W] in [0, 1].

    The variance of a 7x7 window in each channel, averaged over the channels and divided by its maximum.
    """
    reach = WINDOW // 2
    padded = F.pad(target[None], (reach, reach, reach, reach), mode="replicate")[0]
    variance = (_window_mean(padded.square()) - _window_mean(padded).square()).clamp(min=0).mean(0)
    return variance / variance.max().clamp(min=1e-12)


def _window_mean(planes: Tensor) -> Tensor:
    """The mean of each WINDOW x WINDOW square of planes [K, H, W]; on the CPU in a quarter of F.avg_pool2d's time."""
    for dim in (1, 2):
        size = planes.shape[dim] - WINDOW + 1
        total = planes.narrow(dim, 0, size).clone()
        for shift in range(1, WINDOW):
            total += planes.narrow(dim, shift, size)
        planes = total
    return planes / WINDOW**2


def sample_pixels(density: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draws `count` pixels (row [N], column [N]) in proportion to a density [H, W]."""
    cumulative = density.double().flatten().cumsum(0)
    chance = torch.rand(count, generator=generator, dtype=torch.float64).to(density.device) * cumulative[-1]
    index = torch.searchsorted(cumulative, chance, right=True).clamp(max=len(cumulative) - 1)
    return index // density.shape[1], index % density.shape[1]


def initialize(
    target: Tensor, bitmap_count: int, settings: Settings, generator: torch.Generator, weight: Tensor | None = None
) -> Parameters:
    """The structure-aware start for a target [C + 1, H, W] (premultiplied colour, alpha) at working size.

    Nothing is placed where the target is transparent or `weight` [H, W], what the error of each pixel counts, is 0.
    Larger instances lie further back.
    """
    _, height, width = target.shape
    count = settings.instances
    busy = structure(target)
    density = (BASE_DENSITY + (1 - BASE_DENSITY) * busy) * target[-1]
    row, column = sample_pixels(density if weight is None else density * weight, count, generator)

    low, high = size_range(settings, height, width)
    size = high - busy[row, column] * (high - low)
    size = size * (1 + SIZE_NOISE * torch.randn(count, generator=generator))
    size = size.clamp(low, high)
    back_to_front = torch.argsort(size, descending=True, stable=True)
    row, column, size = row[back_to_front], column[back_to_front], size[back_to_front]

    jitter = torch.rand(count, 2, generator=generator)
    pixel = target[:-1, row, column] / target[-1, row, column]
    noise = COLOR_NOISE * torch.randn(count, len(pixel), generator=generator)
    return Parameters(
        position=torch.stack([column, row], 1) + jitter,
        rotation=(torch.rand(count, generator=generator) * 2 - 1) * torch.pi,
        log_size=torch.log(size),
        opacity=torch.full((count,), OPACITY_START),
        color=torch.logit(pixel.T, eps=COLOR_MARGIN) + noise,
        bitmap=torch.randint(bitmap_count, (count,), generator=generator, dtype=torch.int32),
        aspect=torch.zeros(count) if settings.max_stretch > 1 else None,
    )


def size_range(settings: Settings, height: int, width: int) -> tuple[float, float]:
    """Smallest and largest longest side of an instance, in px of a canvas."""
    side = max(height, width)
    return settings.min_size * side, settings.max_size * side
