"""Adam (Kingma and Ba, 2015, algorithm 1) for a handful of small tensors.

torch.optim's brings torch's compiler into memory when the first optimizer is made: half a second in which Krita's
window stutters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

EPSILON = 1e-8


class Adam:
    """Leaves that require a gradient, and the moments of theirs."""

    def __init__(self, parameters: Iterable[Tensor], betas: tuple[float, float]) -> None:
        self.parameters = tuple(parameters)
        self.state = {
            values: {"exp_avg": torch.zeros_like(values), "exp_avg_sq": torch.zeros_like(values)}
            for values in self.parameters
        }
        self._betas = betas
        self._steps = 0

    @torch.no_grad()
    def step(self, rates: Sequence[float]) -> None:
        """Goes down the gradients, at the rate of each tensor, and clears them."""
        self._steps += 1
        first, second = self._betas
        bias, square_bias = 1 - first**self._steps, math.sqrt(1 - second**self._steps)
        for values, rate in zip(self.parameters, rates, strict=True):
            gradient = values.grad
            assert gradient is not None
            mean, square = self.state[values]["exp_avg"], self.state[values]["exp_avg_sq"]
            mean.lerp_(gradient, 1 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            values.addcdiv_(mean, square.sqrt().div_(square_bias).add_(EPSILON), value=-rate / bias)
            values.grad = None
