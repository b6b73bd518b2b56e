"""Which instances matter least to the picture, and what it loses without them.

The picture is linear in the opacity o of a single instance, so that without it the squared error E changes by exactly
    -o dE/do + o^2 |dC/do|^2        dC/do: how the weighted picture changes with o
The backward pass has the first term. For the second, z . dC/do is its derivative for a loss z . C, and with random
signs z the mean of its square is |dC/do|^2 (Hutchinson's estimator).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from krita_diffbmp.engine import losses, pyramid
from krita_diffbmp.engine.checks import check_problem
from krita_diffbmp.engine.render import render
from krita_diffbmp.engine.scene import Scene
from krita_diffbmp.engine.start import begin, reaching
from krita_diffbmp.engine.target import aim, working_target, working_weight
from krita_diffbmp.problem import DiffBmpError, FloatArray, Freeze, Problem

# After each round what is left is looked at anew: what overlaps cannot be judged one by one.
ROUNDS = 32  # until all are gone
FEWEST_ROUNDS = 8  # however few are to go
ESTIMATE_SIZE = 256  # px, long side of the pictures that are compared for it
PROBES = 24  # of each round
MEMORY = 0.7  # what the estimate of a square keeps of that of the round before
APART = 0.6  # of their sizes lies between two that go in one round
MOST_OPAQUE = 8.0  # logit: the derivative by one further out would vanish


@dataclass(frozen=True)
class Thinning:
    """In which order instances should go."""

    order: npt.NDArray[np.int32]  # [K] indices into the start's placements, first the one that matters least
    psnr_after: FloatArray  # [K + 1] dB without the first 0, 1, ... K: rendered after each round, between them a line


def cheapest(problem: Problem, count: int | None = None, is_cancelled: Callable[[], bool] = lambda: False) -> Thinning:
    """The `count` instances of Problem.start, or all, without which the PSNR falls least.

    What is frozen whole, or lies outside what is selected, stays. The PSNR is that of `Result.start_psnr`;
    `psnr_without` has it for any of them. All this takes place on the CPU, where it is a matter of seconds: asked
    before each of its rounds, `is_cancelled` ends it with those that were found by then.

    Raises DiffBmpError for a problem that cannot be looked at, or in which nothing may go.
    """
    start = problem.start
    if start is None or not len(start.placements.bitmap):
        raise DiffBmpError("There are no instances to thin out. Start a first run.")
    large = _Canvas(problem, problem.settings.working_size)
    small = _Canvas(problem, min(problem.settings.working_size, ESTIMATE_SIZE))
    removable = large.removable
    if not removable.any():
        raise DiffBmpError(
            "Every instance is locked or outside the selection, so none can be taken out. Unlock some, or select more."
        )
    most = int(removable.sum())
    count = most if count is None else min(count, most)

    generator = torch.Generator().manual_seed(problem.settings.seed % 2**63)
    kept, fixed = torch.arange(len(removable)), torch.from_numpy(~removable)
    squares = torch.zeros(len(removable))
    order: list[int] = []
    known = {0: large.psnr(kept)}
    rounds = max(FEWEST_ROUNDS, math.ceil(ROUNDS * count / most))
    for turn in range(1, rounds + 1):
        size = count * turn // rounds - len(order)
        if size == 0:
            continue
        if is_cancelled():
            break
        change, square = small.terms(kept, PROBES, generator)
        first = len(order) == 0
        squares[kept] = square if first else MEMORY * squares[kept] + (1 - MEMORY) * square
        cost = torch.full((len(removable),), math.inf)
        cost[kept] = change + squares[kept]
        cost[fixed] = math.inf
        gone = small.apart(torch.argsort(cost, stable=True)[: len(kept) - int(fixed.sum())], size)
        order += gone.tolist()
        kept = kept[~torch.isin(kept, gone)]
        known[len(order)] = large.psnr(kept)
    psnr = np.interp(np.arange(len(order) + 1), list(known), list(known.values()))
    return Thinning(np.array(order, np.int32), psnr.astype(np.float32))


def psnr_without(problem: Problem, removed: npt.NDArray[np.int32]) -> float:
    """The PSNR in dB of Problem.start without some of its instances, rendered."""
    kept = np.setdiff1d(np.arange(len(problem.start.placements.bitmap) if problem.start else 0), removed)
    return _Canvas(problem, problem.settings.working_size).psnr(torch.from_numpy(kept))


class _Canvas:
    """The start and the target of a problem at one size."""

    def __init__(self, problem: Problem, size: int) -> None:
        """Raises DiffBmpError for a problem that has none, or is impossible otherwise."""
        if problem.start is None:
            raise DiffBmpError("There are no instances to look at. Start a first run.")
        start = replace(problem.start, added=0)
        check_problem(replace(problem, start=replace(start, frozen=np.zeros_like(start.frozen))))
        target = working_target(problem.target, size)
        weight = None if problem.weight is None else working_weight(problem.weight, target)
        channels, height, width = target.shape[0] - 1, *target.shape[1:]
        beginning = begin(problem, start, height, width, torch.Generator())
        parameters = beginning.parameters
        sides = [max(bitmap.pixels.shape[:2]) for bitmap in problem.bitmaps]
        scales = [(0.0, most / side) for most, side in zip(beginning.largest, sides, strict=True)]
        bitmaps = pyramid.pack([bitmap.pixels for bitmap in problem.bitmaps], scales=scales)
        instances = parameters.instances(torch.tensor(sides, dtype=torch.float32))
        self._reach = APART / 2 * torch.tensor(sides, dtype=torch.float32)[instances.bitmap.long()]
        unlearned: dict[str, Any] = beginning.unlearned(torch.device("cpu"))
        instances = replace(instances, **unlearned)
        self._scene = Scene(bitmaps, instances, height, width, beginning.alpha_max, beginning.mu_blend)
        self._images = target[:-1], 1 - target[-1]
        self._selected = weight
        self._weight = None if weight is None else weight / weight.mean()
        frozen = (start if weight is None else reaching(problem, start, weight)).frozen
        self.removable: npt.NDArray[np.bool_] = (frozen & Freeze.ALL) != Freeze.ALL
        self._white = torch.full((channels, 1, 1), losses.white(channels))

    def psnr(self, kept: Tensor) -> float:
        """Of these instances alone, in dB."""
        with torch.no_grad():
            drawn = render(self._of(kept))
            images = drawn.color, drawn.transmittance, *self._images
            return losses.psnr(losses.squared_error(*images, self._white, self._weight).item())

    def terms(self, kept: Tensor, probes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """By how much the mean squared error changes without each of these instances alone: [K] and [K], to be added.

        The second is an estimate. Outside what is selected, the error is the difference from what is there.
        """
        scene = self._of(kept)
        logit = scene.instances.opacity.clamp(max=MOST_OPAQUE).requires_grad_()
        drawn = render(replace(scene, instances=replace(scene.instances, opacity=logit)))

        def derivative(by_color: Tensor, by_transmittance: Tensor) -> Tensor:
            """By the opacity o, times o: do/dnu = o sigmoid(-nu)."""
            outputs = [drawn.color, drawn.transmittance]
            (found,) = torch.autograd.grad(outputs, logit, [by_color, by_transmittance], retain_graph=True)
            found = found / torch.sigmoid(-logit.detach())
            return found

        images = self._images
        if self._selected is not None:
            color, transmittance = drawn.color.detach(), drawn.transmittance.detach()
            aimed = aim(torch.cat([images[0], images[1][None]]), self._selected, color, transmittance)
            images = aimed[:-1], aimed[-1]
        error = losses.SquaredError("white", *images)
        _, *gradients = error(drawn.color, drawn.transmittance)
        change = -derivative(*gradients)
        amplitude = 1 / math.sqrt(drawn.color.numel())
        square = torch.zeros(len(kept))
        for _ in range(probes):
            signs = torch.randint(2, drawn.color.shape, generator=generator).to(drawn.color).mul_(2).sub_(1)
            probe = signs * amplitude
            square += derivative(probe, (probe * self._white).sum(0)).square() / probes
        return change, square

    def apart(self, candidates: Tensor, count: int) -> Tensor:
        """`count` of the candidates, the first ones that do not lie over each other; then, for want of them, others.

        Of two that do, each may be dispensable as long as the other is there.
        """
        instances = self._scene.instances
        centre, reach = instances.position.numpy(), (instances.scale * self._reach).numpy()
        taken: list[int] = []
        left: list[int] = []
        for i in candidates.tolist():
            if len(taken) == count:
                break
            distance = np.hypot(*(centre[taken] - centre[i]).T)
            (left if (distance < reach[taken] + reach[i]).any() else taken).append(i)
        return torch.tensor((taken + left)[:count], dtype=torch.int64)

    def _of(self, kept: Tensor) -> Scene:
        """The scene of some of its instances."""
        instances = self._scene.instances
        there: dict[str, Any] = {name: values for name, values in vars(instances).items() if values is not None}
        return replace(
            self._scene, instances=replace(instances, **{name: values[kept] for name, values in there.items()})
        )
