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
    color: Tensor, transmittance: Tensor, target_color: Tensor, target_transmittance: Tensor, background: Tensor
) -> Tensor:
    """Mean squared difference of two images over one background ([C, H, W], or [C, 1, 1] of one colour)."""
    difference = torch.addcmul(color - target_color, transmittance - target_transmittance, background)
    return difference.square().mean()


def squared_error_with_alpha(
    color: Tensor, transmittance: Tensor, target_color: Tensor, target_transmittance: Tensor
) -> Tensor:
    """Mean squared difference of two images in premultiplied colour and alpha, C + 1 channels."""
    difference = torch.cat([color - target_color, (transmittance - target_transmittance)[None]])
    return difference.square().mean()


def psnr(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB, for a peak of 1."""
    if mean_squared_error <= 10 ** (-PSNR_LIMIT / 10):
        return PSNR_LIMIT
    return -10.0 * math.log10(mean_squared_error)
