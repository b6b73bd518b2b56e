"""What the optimiser minimises, and what the artist reads: mean squared error and PSNR.

Images are planar and premultiplied: colour [C, H, W] and transmittance [H, W], the part of the background that
is seen through. C = 1 is gray, 3 RGB, 4 CMYK.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

PSNR_LIMIT = 100.0  # dB, for a difference of nothing


def white(channels: int) -> float:
    """The value of white in every channel: full light, or in CMYK no ink."""
    return 0.0 if channels == 4 else 1.0


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
    """`squared_error` to one target and its gradients, without autograd: it would take a third of a step.

    Keeps its buffers: what a call returns is overwritten by the next. `weight` [H, W], of mean 1, is what each pixel
    counts.
    """

    def __init__(self, target_color: Tensor, target_transmittance: Tensor, weight: Tensor | None = None) -> None:
        self._target_color, self._target_transmittance = target_color, target_transmittance
        self._root = None if weight is None else weight.sqrt()
        self._difference = torch.empty_like(target_color)
        self._through = torch.empty_like(target_transmittance)
        self._product = torch.empty_like(target_color)

    @torch.no_grad()
    def over(self, background: Tensor, color: Tensor, transmittance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The error over a background ([C, H, W], or [C, 1, 1]), and its gradients by colour and transmittance.

        d = (color - target_color) + (transmittance - target_transmittance) background; error = mean d^2.
        """
        torch.sub(transmittance, self._target_transmittance, out=self._through)
        torch.sub(color, self._target_color, out=self._difference).addcmul_(self._through, background)
        count = self._difference.numel()
        error = self._square_norm(self._difference) / count
        self._difference.mul_(2 / count)
        torch.mul(self._difference, background, out=self._product)
        return error, self._difference, torch.sum(self._product, 0, out=self._through)

    @torch.no_grad()
    def with_alpha(self, color: Tensor, transmittance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The error in premultiplied colour and alpha, C + 1 channels alike, and the same gradients."""
        torch.sub(transmittance, self._target_transmittance, out=self._through)
        torch.sub(color, self._target_color, out=self._difference)
        count = self._difference.numel() + self._through.numel()
        square = self._square_norm(self._difference) + self._square_norm(self._through)
        return square / count, self._difference.mul_(2 / count), self._through.mul_(2 / count)

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
