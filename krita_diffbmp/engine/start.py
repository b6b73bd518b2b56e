"""Where a refinement begins: the artist's placements as parameters at working size, and back without a loss."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from krita_diffbmp.engine.initialize import Parameters, size_range
from krita_diffbmp.engine.scene import OPACITY_LIMIT
from krita_diffbmp.problem import DiffBmpError, FloatArray, Freeze, Placements, Problem, Start

# How near to 0 and 1 a logit stands: of what is frozen, and of what is to learn, which it hardly would further out.
FROZEN_MARGIN = 1e-12
FREE_MARGIN = 1e-3  # a quarter of an 8-bit level
HIDDEN = -30.0  # logit of the opacity of an instance that has no place yet
WINDOW_MARGIN = 16  # px, for what moves
WINDOW_WORTH = 0.7  # of the canvas; a larger part of it saves too little
FAR = 1e9  # px
SMALLEST_SIDE = 1e-3  # px, that a bitmap without instances is packed for

FREEZES = {
    "position": Freeze.POSITION,
    "rotation": Freeze.ROTATION,
    "log_size": Freeze.SIZE,
    "opacity": Freeze.OPACITY,
    "color": Freeze.COLOR,
}


@dataclass(frozen=True)
class Limits:
    """Between which values the parameters are held; what is frozen has a single one."""

    low: Parameters
    high: Parameters

    def to(self, device: torch.device | str) -> Limits:
        return Limits(self.low.to(device), self.high.to(device))

    @torch.no_grad()
    def hold(self, parameters: Parameters) -> None:
        """Puts the parameters within, in place."""
        for name in FREEZES:
            getattr(parameters, name).clamp_(getattr(self.low, name), getattr(self.high, name))


@dataclass(frozen=True)
class Window:
    """A part of the canvas, in px."""

    left: int
    top: int
    width: int
    height: int

    def of(self, image: Tensor) -> Tensor:
        """A view of this part of [..., height, width]."""
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Beginning:
    """The N instances of a refinement, backmost first: those that are given, and new ones that have no place yet."""

    placements: Placements  # as given, in pixels of the target
    parameters: Parameters
    limits: Limits
    source: npt.NDArray[np.int32]  # [N] index into the start's placements, -1 for a new one
    new: slice  # of the N
    alpha_max: float  # that opacities are relative to
    largest: list[float]  # [P] px, longest side that an instance of each bitmap may take
    window: Window  # what positions are relative to
    mu_blend: float  # of the scene

    def unlearned(self, device: torch.device) -> dict[str, Tensor | None]:
        """The fields of `Instances` that are no parameters, None where they do not differ from instance to instance."""
        mu_blend = self.placements.mu_blend
        differ = mu_blend is not None and (mu_blend != self.mu_blend).any()
        fields = {"stretch": self.placements.stretch, "mu_blend": mu_blend if differ else None}
        return {name: None if values is None else _tensor(values).to(device) for name, values in fields.items()}

    def restored(self, parameters: Parameters, found: Placements) -> tuple[Placements, npt.NDArray[np.int32]]:
        """What became of the placements, and of which: `found`, but what did not change bit for bit as it was given.

        `parameters`, on the CPU, are those of `found`. New instances that never found a place are left out.
        """
        given = self.placements
        there = np.ones(len(self.source), dtype=bool)
        there[self.new] = (parameters.opacity[self.new] > HIDDEN / 2).numpy()

        def kept(name: str, before: FloatArray, after: FloatArray) -> FloatArray:
            same = (getattr(parameters, name) == getattr(self.parameters, name)).numpy()
            same[self.new] = False
            values: FloatArray = np.where(same, before, after)[there].astype(np.float32)
            return values

        placements = Placements(
            position=kept("position", given.position, found.position),
            rotation=kept("rotation", given.rotation, found.rotation),
            scale=kept("log_size", given.scale, found.scale),
            opacity=kept("opacity", given.opacity, found.opacity),
            color=kept("color", given.color, found.color),
            bitmap=found.bitmap[there],
            stretch=None if given.stretch is None else given.stretch[there],
            mu_blend=None if given.mu_blend is None else given.mu_blend[there],
        )
        return placements, self.source[there]


def begin(
    problem: Problem,
    start: Start,
    height: int,
    width: int,
    generator: torch.Generator,
    selected: Tensor | None = None,
) -> Beginning:
    """The start of a problem on a canvas of the working size.

    Instances that do not reach to where `selected` [height, width] is more than 0 are frozen whole, and nothing is
    looked at but the part of the canvas that holds the others.

    Raises DiffBmpError if that leaves nothing to do.
    """
    settings, given = problem.settings, start.placements
    ratio = _ratio(problem, height, width)
    low, high = size_range(settings, height, width)
    window = Window(0, 0, width, height)
    if selected is not None:
        start = reaching(problem, start, selected)
        boxes = _boxes(problem, given, ratio)[start.frozen != Freeze.ALL]
        window = _window(boxes, selected, high if start.added else 0.0)
        if start.added == 0 and (start.frozen == Freeze.ALL).all():
            raise DiffBmpError(
                "No instance that may change lies within the selection. Select around some, or let new ones be added."
            )
    free = np.flatnonzero((start.frozen & Freeze.ALL) != Freeze.ALL)
    first = int(free[-1]) + 1 if len(free) else len(given.bitmap)
    new = slice(first, first + start.added)
    placements = _with_new(given, start, new, settings.mu_blend, generator)
    source = _inserted(np.arange(len(given.bitmap), dtype=np.int32), new, -1)
    frozen = _inserted(start.frozen, new, 0)

    alpha_max = max(settings.alpha_max, float(given.opacity.max(initial=0).clip(max=1)))
    most = min(alpha_max, OPACITY_LIMIT)
    sides = np.array([max(bitmap.pixels.shape[:2]) for bitmap in problem.bitmaps])
    margin = {bit: np.where(frozen & bit, FROZEN_MARGIN, FREE_MARGIN) for bit in (Freeze.OPACITY, Freeze.COLOR)}
    parameters = Parameters(
        position=_tensor(placements.position * ratio - [window.left, window.top]),
        rotation=_tensor(placements.rotation),
        log_size=_tensor(np.log(placements.scale * math.sqrt(ratio.prod()) * sides[placements.bitmap])),
        opacity=_logit(placements.opacity / np.float64(most), margin[Freeze.OPACITY]),
        color=_logit(placements.color, margin[Freeze.COLOR][:, None]),
        bitmap=torch.from_numpy(placements.bitmap.astype(np.int32)),
    )
    parameters.opacity[new] = HIDDEN
    parameters.log_size[new] = math.log(high)

    # What the artist took beyond the bounds of a first run is bounded there.
    reach = torch.exp(parameters.log_size)[:, None] / 2
    opaque = _logit(np.array([min(settings.alpha_max, most) / most]), np.array([FROZEN_MARGIN]))
    limits = Limits(
        replace(
            _filled(parameters, -math.inf),
            position=torch.minimum(parameters.position, -reach),
            log_size=parameters.log_size.clamp(max=math.log(low)),
        ),
        replace(
            _filled(parameters, math.inf),
            position=torch.maximum(parameters.position, torch.tensor([window.width, window.height]) + reach),
            log_size=parameters.log_size.clamp(min=math.log(high)),
            opacity=torch.maximum(parameters.opacity, opaque),
        ),
    )
    for name, bit in FREEZES.items():
        held = torch.from_numpy((frozen & bit) != 0)
        for bound in (limits.low, limits.high):
            getattr(bound, name)[held] = getattr(parameters, name)[held]

    largest = np.full(len(sides), SMALLEST_SIDE)
    np.maximum.at(largest, placements.bitmap, torch.exp(limits.high.log_size).numpy())
    if start.added:
        largest[: start.primitives] = np.maximum(largest[: start.primitives], high)
    blends = placements.mu_blend
    mu_blend = settings.mu_blend if blends is None or not len(blends) else float(blends[0].clip(0, 1))
    return Beginning(placements, parameters, limits, source, new, alpha_max, largest.tolist(), window, mu_blend)


def _boxes(problem: Problem, given: Placements, ratio: FloatArray) -> npt.NDArray[np.int64]:
    """Canvas boxes [N, 4] (x0, y0, x1, y1) that hold what instances show, however they are turned."""
    sizes = np.array([bitmap.pixels.shape[1::-1] for bitmap in problem.bitmaps])[given.bitmap] / 2  # [N, 2]
    corners = np.stack([sizes, sizes * [1, -1]], 2)  # [N, 2, 2]: two of them, the others lie opposite
    if given.stretch is not None:
        corners = given.stretch @ corners
    reach = np.hypot(corners[:, 0], corners[:, 1]).max(1, initial=0) * given.scale * math.sqrt(ratio.prod()) + 1  # px
    centre = (given.position * ratio).clip(-FAR, FAR)
    reach = reach.clip(max=FAR)[:, None]
    return np.concatenate([np.floor(centre - reach), np.ceil(centre + reach)], 1).astype(np.int64)


def reaching(problem: Problem, start: Start, selected: Tensor) -> Start:
    """The start, with those frozen whole that do not reach to where `selected`, at working size, is more than 0."""
    boxes = _boxes(problem, start.placements, _ratio(problem, *selected.shape))
    return replace(start, frozen=np.where(_are_selected(boxes, selected), start.frozen, Freeze.ALL))


def _ratio(problem: Problem, height: int, width: int) -> FloatArray:
    return np.array([width / problem.target.shape[1], height / problem.target.shape[0]])


def _are_selected(boxes: npt.NDArray[np.int64], selected: Tensor) -> npt.NDArray[np.bool_]:
    """In which boxes there is something of what is selected: [N]."""
    sums = np.zeros((selected.shape[0] + 1, selected.shape[1] + 1), np.int64)
    sums[1:, 1:] = (selected > 0).numpy().cumsum(0).cumsum(1)
    x0, y0, x1, y1 = boxes.clip(0, [*selected.shape[::-1]] * 2).T
    inside: npt.NDArray[np.bool_] = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0] > 0
    return inside


def _window(boxes: npt.NDArray[np.int64], selected: Tensor, reach: float) -> Window:
    """The part of the canvas that holds boxes [N, 4] and, with `reach` px around it, all that is selected."""
    height, width = selected.shape
    rows, columns = (np.flatnonzero((selected > 0).any(axis).numpy()) for axis in (1, 0))
    around = math.ceil(reach)
    chosen = [columns[0] - around, rows[0] - around, columns[-1] + 1 + around, rows[-1] + 1 + around]
    every = np.concatenate([boxes, [chosen]])
    left, top = (every[:, :2].min(0) - WINDOW_MARGIN).clip(0)
    right, bottom = (every[:, 2:].max(0) + WINDOW_MARGIN).clip(max=[width, height])
    if (right - left) * (bottom - top) > WINDOW_WORTH * width * height:
        return Window(0, 0, width, height)
    return Window(int(left), int(top), int(right - left), int(bottom - top))


def _filled(like: Parameters, value: float) -> Parameters:
    return replace(like, **{name: torch.full_like(getattr(like, name), value) for name in FREEZES})


def _with_new(given: Placements, start: Start, new: slice, mu_blend: float, generator: torch.Generator) -> Placements:
    """The placements with new ones among them, of which only the bitmaps mean something."""
    bitmap = torch.randint(max(start.primitives, 1), (start.added,), generator=generator).numpy()
    return Placements(
        position=_inserted(given.position, new, 0),
        rotation=_inserted(given.rotation, new, 0),
        scale=_inserted(given.scale, new, 1),
        opacity=_inserted(given.opacity, new, 0),
        color=_inserted(given.color, new, 0),
        bitmap=_inserted(given.bitmap, new, bitmap),
        stretch=None if given.stretch is None else _inserted(given.stretch, new, np.eye(2)),
        mu_blend=None if given.mu_blend is None else _inserted(given.mu_blend, new, mu_blend),
    )


def _inserted(values: npt.NDArray[Any], new: slice, what: npt.ArrayLike) -> npt.NDArray[Any]:
    """With `what` as the values of the new instances."""
    return np.insert(values, [new.start] * (new.stop - new.start), what, axis=0)


def _tensor(values: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _logit(values: npt.NDArray[Any], margin: npt.NDArray[np.float64]) -> Tensor:
    return torch.logit(torch.from_numpy(np.clip(values.astype(np.float64), margin, 1 - margin))).float()
