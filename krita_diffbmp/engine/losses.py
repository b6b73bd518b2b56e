"""What the optimiser minimises, and what the artist reads: mean squared error and PSNR.

Images are planar and premultiplied: colour [C, H, W] and transmittance [H, W], the part of the background that
is seen through. C = 1 is gray, 3 RGB, 4 CMYK.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from krita_diffbmp.problem import Background

NOISE_MEAN, NOISE_VARIANCE = 0.5, 1 / 12  # of U[0, 1]
PSNR_LIMIT = 100.0  # dB, for a difference of nothing


def white(channels: int) -> float:
    """The value of white in every channel: full light, or in CMYK no ink."""
    return 0.0 if channels == 4 else 1.0


def background_value(background: Background, channels: int) -> float:
    """What pictures are compared over, in every channel: white, the mean of noise, or nothing."""
    return {"noise": NOISE_MEAN, "white": white(channels), "transparent": 0.0}[background]


def squared_error(
    color: Tensor,
    transmittance: Tensor,
    target_color: Tensor,
    target_transmittance: Tensor,
    background: Tensor,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean squared difference of two images over one background ([C, H, W], or [C, 1, 1] of one colour).

    `weight` [H, W], of mean 1, is what each pixel counts.
    """
    square = torch.addcmul(color - target_color, transmittance - target_transmittance, background).square()
    return square.mean() if weight is None else (square * weight).mean()


class SquaredError:
    """The error to one target as a run counts it, and its gradients.

    It does without autograd, which would take a third of a step. With d = (color - target_color) + (transmittance -
    target_transmittance) b:

    - noise: what is to be expected of the mean of d^2 for b in U[0, 1], which is its value at the mean, b = 1/2, and
      the variance of b, 1/12, times the difference of transmittance squared. So no step differs from the next by
      chance. `hole_weight` is added to that 1/12.
    - white: the mean of d^2 for the b of white.
    - transparent: the mean square of differences in premultiplied colour and alpha, C + 1 channels alike.

    Keeps its buffers: what a call returns is overwritten by the next. `weight` [H, W], of mean 1, is what each pixel
    counts.
    """

    def __init__(
        self,
        background: Background,
        target_color: Tensor,
        target_transmittance: Tensor,
        weight: Tensor | None = None,
    ) -> None:
        self._target_color, self._target_transmittance = target_color, target_transmittance
        self.weight = weight
        self._root = None if weight is None else weight.sqrt()
        self._difference = torch.empty_like(target_color)
        self._through = torch.empty_like(target_transmittance)
        self._behind = torch.empty_like(target_transmittance)
        self._background = background
        self.value = background_value(background, len(target_color))
        self.hole_weight = 0.0

    @property
    def by_transmittance(self) -> float:
        """What the squared difference of transmittance counts, beside that of colour over one background."""
        match self._background:
            case "noise":
                return NOISE_VARIANCE + self.hole_weight
            case "white":
                return 0.0
            case "transparent":
                return 1 / len(self._target_color)

    @torch.no_grad()
    def __call__(self, color: Tensor, transmittance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The error, and its gradients by colour and transmittance."""
        torch.sub(transmittance, self._target_transmittance, out=self._through)
        torch.sub(color, self._target_color, out=self._difference)
        if self.value:
            self._difference.add_(self._through, alpha=self.value)
        planes = len(color) + (1 if self._background == "transparent" else 0)
        count = planes * self._through.numel()
        through = len(color) * self.by_transmittance
        error = (self._square_norm(self._difference) + through * self._square_norm(self._through)) / count
        self._difference.mul_(2 / count)
        torch.sum(self._difference, 0, out=self._behind).mul_(self.value).add_(self._through, alpha=2 * through / count)
        return error, self._difference, self._behind

    def planes(self, color: Tensor, transmittance: Tensor) -> Tensor:
        """A picture as [C + 1, H, W] whose squared distance from the target's is what the picture is compared by."""
        through = transmittance * math.sqrt(len(color) * self.by_transmittance)
        return torch.cat([torch.add(color, transmittance, alpha=self.value), through[None]])

    def target_planes(self) -> Tensor:
        """The target, as `planes`."""
        return self.planes(self._target_color, self._target_transmittance)

    def _square_norm(self, difference: Tensor) -> Tensor:
        """The weighted sum of squares; leaves the difference times the weight behind."""
        if self._root is not None:
            difference.mul_(self._root)
        square: Tensor = torch.linalg.vector_norm(difference).square()
        if self._root is not None:
            difference.mul_(self._root)
        return square


def psnr(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB, for a peak of 1."""
    if mean_squared_error <= 10 ** (-PSNR_LIMIT / 10):
        return PSNR_LIMIT
    return -10.0 * math.log10(mean_squared_error)
