"""The optimisation: an iterator of Progress, with the best state at hand at any time.

Everything that the result depends on comes from the problem and its seed. The clock decides only when a preview
is made and how much time is said to be left.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from krita_diffbmp.card import find_card
from krita_diffbmp.engine import losses, pyramid, schedule
from krita_diffbmp.engine.adam import Adam
from krita_diffbmp.engine.checks import check_problem
from krita_diffbmp.engine.gpu import cuda_trouble
from krita_diffbmp.engine.holes import HoleWeight, advice, uncovered
from krita_diffbmp.engine.initialize import Parameters, initialize, size_range
from krita_diffbmp.engine.propose import propose, thumbnails
from krita_diffbmp.engine.recycle import coverage, least_visible, recycle, visible_share
from krita_diffbmp.engine.render import Rendering, implementation, render
from krita_diffbmp.engine.scene import OPACITY_LIMIT, Bitmaps, Scene
from krita_diffbmp.engine.start import Beginning, Window, begin
from krita_diffbmp.engine.target import aim, coarser, preview_image, working_target, working_weight
from krita_diffbmp.problem import DiffBmpError, Placements, Problem, Progress, Result

# Learning rates at the start of a run, in the natural unit of each parameter and step.
POSITION_RATE = 0.01  # of the target's long side
ROTATION_RATE = 0.4  # rad, of bitmaps that are not slim: a turn moves the ends of slim ones far for their width
SLIM, SLOWEST_TURN = 0.45, 0.6
SIZE_RATE = 0.15  # relative
OPACITY_RATE = 0.45  # logit
COLOR_RATE = 0.3  # logit
ASPECT_RATE = 0.1  # relative
# Far shorter memories than Adam's defaults: what an instance is seen through changes with every step of the others.
BETAS = (0.8, 0.8)

EVALUATE_EVERY = 10  # steps
PREVIEW_EVERY = 0.05  # s at least, so that ten a second are seen, and
PREVIEW_SHARE = 0.04  # of the time at most
COARSE_FROM = 256  # px, shortest side of a picture that is worth optimising smaller at first
PASSES = 1.5  # what a step takes, beside all that does not depend on the size of the picture, in times of drawing it
PACE_WINDOW = 40  # steps that the time left is estimated from, at most
PACE_STEPS = 3  # as many at least, or, when they are slow,
PACE_SECONDS = 0.5  # s of them
OUTLIER = 6.0  # times the median: what a step counts at most


class Optimization:
    """One run over a problem. Iterate it for Progress, one per step; `result()` is the best state so far.

    An iteration that was left continues where it stopped when the object is iterated again.
    """

    def __init__(self, problem: Problem) -> None:
        """Raises DiffBmpError for a problem that cannot be optimised; its text says what to change."""
        check_problem(problem)
        settings = problem.settings
        self._problem = problem
        self._device, self.notes = choose_device(problem)
        self._generator = torch.Generator().manual_seed(settings.seed % 2**63)

        target = working_target(problem.target, settings.working_size)
        selected = None if problem.weight is None else working_weight(problem.weight, target)
        height, width = self._size = target.shape[1], target.shape[2]
        low, high = size_range(settings, height, width)
        self._size_bounds = math.log(low), math.log(high)
        self._alpha_max, self._mu_blend = settings.alpha_max, settings.mu_blend
        self._recycled = slice(0, settings.instances)  # of the instances
        self._unlearned: dict[str, Any] = {}  # of what makes up instances
        self._beginning: Beginning | None = None
        largest = [high] * len(problem.bitmaps)  # px, longest sides
        begins_any = problem.start is None or problem.start.added > 0
        if begins_any and selected is not None and not (selected * target[-1]).sum() > 0:
            raise DiffBmpError(
                "The target is transparent where it is selected. Select a part that has been painted on."
            )
        if problem.start is None:
            parameters = initialize(target, len(problem.bitmaps), settings, self._generator, selected)
        else:
            self._beginning = beginning = begin(problem, problem.start, height, width, self._generator, selected)
            parameters, largest = beginning.parameters.copy(), beginning.largest
            self._alpha_max, self._mu_blend = beginning.alpha_max, beginning.mu_blend
            self._recycled = beginning.new
            self._unlearned = beginning.unlearned(self._device)
            self._limits = beginning.limits.to(self._device)
            window = beginning.window
            target = window.of(target).contiguous()
            selected = None if selected is None else window.of(selected).contiguous()
        self._parameters = parameters.to(self._device)
        self._channels, self._height, self._width = target.shape[0] - 1, *target.shape[1:]
        self._target = target = target.to(self._device)
        self._selected = None if selected is None else selected.to(self._device)
        self._weight = None if self._selected is None else self._selected / self._selected.mean()
        self._target_color, self._target_transmittance = target[:-1], 1 - target[-1]
        self._white = torch.full((self._channels, 1, 1), losses.white(self._channels), device=self._device)
        self._error = self._compare(self._target_planes(), self._weight)
        self._coarse_error: losses.SquaredError | None = None

        sides = [max(bitmap.pixels.shape[:2]) for bitmap in problem.bitmaps]
        self._sides = torch.tensor(sides, dtype=torch.float32, device=self._device)  # [P] bitmap px
        shapes = torch.tensor([bitmap.pixels.shape[1::-1] for bitmap in problem.bitmaps], device=self._device)
        self._log_sides = torch.log(shapes / self._sides[:, None])  # [P, 2] of width, height over the longest
        least = low if self._beginning is None and settings.max_stretch == 1 else 0.0
        self._scales = [(least / side, most / side) for most, side in zip(largest, sides, strict=True)]
        scales = [(schedule.COARSE * least, most) for least, most in self._scales]
        self._packed = pyramid.pack([bitmap.pixels for bitmap in problem.bitmaps], scales=scales)
        self._sharp = self._packed.to(self._device)
        self._thumbnails = thumbnails(self._sharp)
        largest_areas = coverage(self._sharp) * (high / self._sides).square()
        capacity = largest_areas[self._parameters.bitmap.long()].sum() / target[-1].sum()
        self._capacity = float(capacity)
        self._holes = HoleWeight(self._capacity)
        self._softened: tuple[float, Bitmaps] = (0.0, self._sharp)
        slimness = float(self._thumbnails.slimness()[self._parameters.bitmap.long()].mean())
        self._optimizer, self._rates = _adam(self._parameters, max(self._size), slimness)
        self._moments: Mapping[Tensor, Mapping[str, Tensor]] = self._optimizer.state

        self._step = 0
        self._coarse_steps = sum(self._ratio(step) < 1 for step in range(settings.steps))
        self._drawing: dict[float, float] = {}  # s that a picture of each size takes, at least
        self._best: Parameters | None = None
        self._best_psnr, self._best_step = -math.inf, 0
        self._psnr = math.nan
        self._start_psnr: float | None = None
        self._surroundings: Rendering | None = None

    def __iter__(self) -> Iterator[Progress]:
        total = self._problem.settings.steps
        pace = Pace()
        preview_due = -math.inf
        self._begin()
        while self._step < total:
            begin = time.perf_counter()
            loss, rendering = self._advance()
            last = self._step == total
            if last or self._step % EVALUATE_EVERY == 0:
                sharp = self._evaluate()
                if last:
                    rendering = sharp
            preview = None
            before = time.perf_counter()
            if last or before > preview_due:
                preview = self._preview_of(rendering)
                now = time.perf_counter()
                preview_due = now + max(PREVIEW_EVERY, (now - before) / PREVIEW_SHARE)
            left = self._time_left(pace, time.perf_counter() - begin, self._step)
            yield Progress(self._step, total, loss, self._psnr, left, preview)

    def _time_left(self, pace: Pace, seconds: float, step: int) -> float | None:
        """After that step, which took so long. The pace is that of steps at full size."""
        saving = self._coarse_saving(seconds)
        pace.add(seconds + saving if step <= self._coarse_steps else seconds)
        left = pace.seconds(self._problem.settings.steps - step)
        return None if left is None else max(0.0, left - max(0, self._coarse_steps - step) * saving)

    def _coarse_saving(self, seconds: float) -> float:
        """How much less a coarse step takes than one at full size, about; `seconds`: what the latest step took."""
        whole = self._drawing.get(1.0, 0.0)
        return PASSES * max(0.0, whole - self._drawing.get(schedule.COARSE, whole))

    def result(self) -> Result:
        """The best state so far, in pixels of Problem.target."""
        self._begin()
        assert self._best is not None
        return self._found(self._best, self._best_psnr, self._best_step)

    def _found(self, best: Parameters, psnr: float, step: int) -> Result:
        placements = self._placements(best)
        if self._beginning is None:
            return Result(placements, psnr, step, (*self.notes, *self._remarks(best)))
        best = best.to("cpu")
        restored, source = self._beginning.restored(best, placements)
        return Result(restored, psnr, step, self.notes, self._start_psnr, source)

    @torch.no_grad()
    def _remarks(self, best: Parameters) -> tuple[str, ...]:
        """What the artist should know of the outcome of a first run of the whole target that was not stopped."""
        if self._step < self._problem.settings.steps or self._selected is not None:
            return ()
        rendering = render(self._scene(self._sharp, parameters=best.to(self._device)))
        part = uncovered(rendering.transmittance, self._target)
        remark = advice(self._capacity, part, self._problem.settings)
        return () if remark is None else (remark,)

    def _begin(self) -> None:
        """Looks at the state at the start, which a refinement must not fall behind."""
        if self._best is not None:
            return
        rendering = self._evaluate()
        if self._beginning is not None:
            self._start_psnr = self._psnr
            if self._selected is not None:
                self._error = self._compare(self._aim(self._selected, rendering), None)
            self._draw_surroundings(self._beginning.window)
            self._place_new(rendering)

    @torch.no_grad()
    def _draw_surroundings(self, window: Window) -> None:
        """All of the picture, for previews, where only a part of it is refined."""
        height, width = self._size
        if (window.height, window.width) == (height, width):
            return
        scene = self._scene(self._sharp)
        corner = torch.tensor([window.left, window.top], device=self._device)
        instances = replace(scene.instances, position=scene.instances.position + corner)
        self._surroundings = render(replace(scene, instances=instances, height=height, width=width))

    def _preview_of(self, rendering: Rendering) -> npt.NDArray[np.uint8]:
        whole = self._surroundings
        if whole is None or self._beginning is None:
            return preview_image(rendering.color, rendering.transmittance)
        window = self._beginning.window
        window.of(whole.color).copy_(rendering.color.detach())
        window.of(whole.transmittance).copy_(rendering.transmittance.detach())
        return preview_image(whole.color, whole.transmittance)

    def _aim(self, selected: Tensor, rendering: Rendering) -> Tensor:
        """Colour and transmittance that the steps go for, [C + 1, H, W]."""
        return aim(self._target_planes(), selected, rendering.color, rendering.transmittance)

    def _place_new(self, rendering: Rendering) -> None:
        """Gives new instances a place where the picture is worst."""
        first, end = self._recycled.start, self._recycled.stop
        if end > first:
            self._begin_anew(torch.arange(first, end, device=self._device), rendering)

    def _advance(self) -> tuple[float, Rendering]:
        """One step of Adam: its loss, and the rendering that it was taken from."""
        bitmaps, ratio = self._view()
        rendering = self._drawn(bitmaps, ratio)
        loss, *gradients = self._error_at(ratio)(rendering.color, rendering.transmittance)
        torch.autograd.backward([rendering.color, rendering.transmittance], gradients)
        self._optimizer.step([rate * self._rate_factor(self._step) for rate in self._rates])
        self._hold_bounds()
        self._step += 1
        if self._pauses(self._step):
            self._pause()
        return loss.item(), rendering

    def _blur(self, step: int) -> float:
        """Of the bitmaps, for the step after `step` steps: a refinement sees what is there."""
        return schedule.blur(step / self._problem.settings.steps) if self._beginning is None else 0.0

    def _rate_factor(self, step: int) -> float:
        total = self._problem.settings.steps
        return schedule.rate(step / total) if self._beginning is None else schedule.refinement_rate(step, total)

    def _ratio(self, step: int) -> float:
        """The size of the picture for the step after `step` steps, relative to the working size."""
        if self._beginning is not None or min(self._height, self._width) < COARSE_FROM:
            return 1.0
        return schedule.ratio(step / self._problem.settings.steps)

    def _view(self) -> tuple[Bitmaps, float]:
        """What the next step draws, and the size of its picture, relative to the working size."""
        return self._bitmaps(self._blur(self._step)), self._ratio(self._step)

    def _error_at(self, ratio: float) -> losses.SquaredError:
        if ratio == 1:
            return self._error
        if self._coarse_error is None:
            weight = None if self._weight is None else coarser(self._weight[None], ratio)[0]
            self._coarse_error = self._compare(coarser(self._target_planes(), ratio), weight)
        return self._coarse_error

    def _target_planes(self) -> Tensor:
        return torch.cat([self._target_color, self._target_transmittance[None]])

    def _compare(self, target: Tensor, weight: Tensor | None) -> losses.SquaredError:
        """`target` is [C + 1, H, W] colour and transmittance."""
        return losses.SquaredError(self._problem.settings.background, target[:-1], target[-1], weight)

    @torch.no_grad()
    def _evaluate(self) -> Rendering:
        """Draws the present state with sharp bitmaps and keeps it if it is the best so far."""
        rendering = self._drawn(self._sharp)
        images = rendering.color, rendering.transmittance, self._target_color, self._target_transmittance
        self._psnr = losses.psnr(losses.squared_error(*images, self._white, self._weight).item())
        if self._psnr > self._best_psnr:
            self._best_psnr, self._best_step = self._psnr, self._step
            self._best = self._parameters.copy()
        return rendering

    def _drawn(self, bitmaps: Bitmaps, ratio: float = 1.0) -> Rendering:
        begin = time.perf_counter()
        rendering = render(self._scene(bitmaps, ratio))
        self._drawing[ratio] = min(time.perf_counter() - begin, self._drawing.get(ratio, math.inf))
        return rendering

    def _pauses(self, step: int) -> bool:
        """Whether something is to be done between this step and the next."""
        total = self._problem.settings.steps
        return self._recycles(step) > 0 or (self._weighs_holes and step < total and schedule.pauses(step, total))

    def _recycles(self, step: int) -> int:
        """How many instances begin anew after `step` steps: in a refinement none, in which that gains nothing."""
        if self._beginning is not None:
            return 0
        count = self._recycled.stop - self._recycled.start
        return math.ceil(schedule.recycled(step, self._problem.settings.steps) * count)

    @property
    def _weighs_holes(self) -> bool:
        return self._problem.settings.background == "noise" and self._beginning is None

    @torch.no_grad()
    def _pause(self) -> None:
        """What needs a look at the picture: hidden instances begin anew, and holes are weighed."""
        rendering = render(self._scene(self._sharp))
        if count := self._recycles(self._step):
            share = visible_share(self._scene(self._sharp))
            self._begin_anew(least_visible(share, count, self._recycled), rendering)
        if self._weighs_holes:
            done = self._step / self._problem.settings.steps
            part = uncovered(rendering.transmittance, self._target)
            self._holes.look(part, done, round((1 - done) * schedule.PAUSES))
            self._set_hole_weight(self._holes.weight)

    def _set_hole_weight(self, weight: float) -> None:
        """From here on holes cost that; what was the best before may have had too many."""
        if weight != self._error.hole_weight:
            self._error.hole_weight = weight
            self._best_psnr = -math.inf

    def _begin_anew(self, chosen: Tensor, rendering: Rendering) -> None:
        settings = self._problem.settings
        fresh = propose(
            self._parameters.bitmap[chosen],
            rendering,
            self._error,
            self._target,
            self._thumbnails,
            self._size_bounds,
            self._alpha_max,
            settings.mu_blend,
            self._generator,
        )
        if fresh is not None:
            recycle(chosen, fresh, self._parameters, self._moments, self._recycled)

    @torch.no_grad()
    def _hold_bounds(self) -> None:
        """Sizes stay within what the artist chose, and centres so near that the instance can still be seen."""
        parameters = self._parameters
        if self._beginning is not None:
            self._limits.hold(parameters)
            return
        low, high = self._size_bounds
        parameters.log_size.clamp_(low, high)
        if parameters.aspect is not None:
            # What leaves no room to stretch is the size, not the other way round: it would take area away.
            width, height = self._log_sides[parameters.bitmap.long()].unbind(1)
            room, most = high - parameters.log_size, math.log(self._problem.settings.max_stretch)
            parameters.aspect.clamp_((2 * (height - room)).clamp(min=-most), (2 * (room - width)).clamp(max=most))
            longest = torch.maximum(width + parameters.aspect / 2, height - parameters.aspect / 2)
            parameters.log_size.clamp_(low - longest, torch.full_like(room, high))
        reach = torch.exp(parameters.log_size) / 2
        parameters.position[:, 0].clamp_(-reach, self._width + reach)
        parameters.position[:, 1].clamp_(-reach, self._height + reach)

    def _scene(self, bitmaps: Bitmaps, ratio: float = 1.0, parameters: Parameters | None = None) -> Scene:
        """Of the present state, or another; `ratio` is the size of the picture, relative to the working size."""
        instances = (parameters or self._parameters).instances(self._sides, ratio)
        instances = replace(instances, **self._unlearned)
        height, width = math.ceil(self._height * ratio), math.ceil(self._width * ratio)
        return Scene(bitmaps, instances, height, width, self._alpha_max, self._mu_blend)

    def _bitmaps(self, sigma: float) -> Bitmaps:
        if sigma == 0:
            return self._sharp
        if self._softened[0] != sigma:
            ratio = self._ratio(self._step)
            scales = [(ratio * least, ratio * most) for least, most in self._scales]
            softened = pyramid.soften(self._packed, sigma, color=self._mu_blend > 0, scales=scales)
            self._softened = sigma, softened.to(self._device)
        return self._softened[1]

    def _placements(self, parameters: Parameters) -> Placements:
        """Parameters at working size to numbers in pixels of Problem.target."""
        height, width = self._problem.target.shape[:2]
        parameters = parameters.to("cpu")
        stretch = torch.tensor([width / self._size[1], height / self._size[0]])
        window = None if self._beginning is None else self._beginning.window
        corner = torch.tensor([0, 0] if window is None else [window.left, window.top])
        with torch.no_grad():
            instances = parameters.instances(self._sides.cpu())
            opacity = min(self._alpha_max, OPACITY_LIMIT) * torch.sigmoid(instances.opacity)
            return Placements(
                position=_numpy((instances.position + corner) * stretch),
                rotation=_numpy(instances.rotation),
                scale=_numpy(instances.scale * stretch.prod().sqrt()),
                opacity=_numpy(opacity),
                color=_numpy(instances.color),
                bitmap=instances.bitmap.cpu().numpy().copy(),
                stretch=None if instances.stretch is None else _numpy(instances.stretch),
            )


class Pace:
    """How long steps take: the mean of the latest, of which none counts for much more than is usual.

    So the steps that do more than others count in full, and a pause of the machine hardly does; nor does the time that
    the consumer of the iterator spends. The first step is left out: it warms up.
    """

    def __init__(self) -> None:
        self._durations: deque[float] = deque(maxlen=PACE_WINDOW)
        self._warm = False

    def add(self, seconds: float) -> None:
        if self._warm:
            self._durations.append(seconds)
        self._warm = True

    def seconds(self, steps: int) -> float | None:
        """For the steps that are left; None while too little is known."""
        if steps == 0:
            return 0.0
        if len(self._durations) < PACE_STEPS and sum(self._durations) < PACE_SECONDS:
            return None
        most = OUTLIER * statistics.median(self._durations)
        return steps * statistics.fmean(min(duration, most) for duration in self._durations)


def choose_device(problem: Problem) -> tuple[torch.device, tuple[str, ...]]:
    """Where a run takes place, and what the artist should know about that.

    Raises DiffBmpError for CUDA that cannot be used.
    """
    device = problem.settings.device
    trouble = cuda_trouble()
    if problem.settings.max_stretch > 1 and problem.start is None:
        trouble = "only the processor optimises instances that may be stretched"
    if device != "cpu" and not trouble:
        return torch.device("cuda"), ()
    if device == "cuda":
        raise DiffBmpError(f"CUDA cannot be used: {trouble}. Choose the device auto or CPU.")
    notes = []  # shown both during a run and after it
    if device == "auto" and (card := find_card()):
        notes.append(f"On the processor instead of the {card.name}, because {trouble}.")
    chosen = implementation("cpu")
    if chosen.name != "extension":
        notes.append(f"With the slow renderer in plain PyTorch, because {chosen.reason}.")
    return torch.device("cpu"), tuple(notes)


def _adam(parameters: Parameters, side: int, slimness: float) -> tuple[Adam, tuple[float, ...]]:
    """Adam over the parameters, and the rate of each at the start of the run.

    `slimness` is the mean of that of `Thumbnails`.
    """
    rates = {
        "position": POSITION_RATE * side,
        "rotation": ROTATION_RATE * min(max(slimness / SLIM, SLOWEST_TURN), 1.0),
        "log_size": SIZE_RATE,
        "opacity": OPACITY_RATE,
        "color": COLOR_RATE,
    }
    if parameters.aspect is not None:
        rates["aspect"] = ASPECT_RATE
    leaves = [getattr(parameters, name).requires_grad_() for name in rates]
    return Adam(leaves, BETAS), tuple(rates.values())


def _numpy(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy().copy()
