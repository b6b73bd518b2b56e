"""The optimisation on the GPU, with nothing between its steps: kernels of our own from the picture to Adam.

Steps are captured in CUDA graphs and queued ahead of the GPU, which never waits for the host; the host looks at the
reports that the GPU leaves behind. csrc/cuda/optimize_cuda.h says what a step computes: that of `Optimization`.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from krita_diffbmp.engine import losses
from krita_diffbmp.engine.initialize import Parameters
from krita_diffbmp.engine.optimize import BETAS, EVALUATE_EVERY, Optimization, Pace
from krita_diffbmp.engine.render import render
from krita_diffbmp.engine.scene import Bitmaps
from krita_diffbmp.engine.start import Limits
from krita_diffbmp.engine.target import coarser
from krita_diffbmp.problem import Background, Problem, Progress, Result

PREVIEW_EVERY = 0.05  # s
PLACES = 8  # for reports
AHEAD = 3  # stretches of steps that are queued before the host waits for the first of them
REPORT_FIELDS = 5  # steps done, loss, error of the last evaluation, the lowest error, after how many steps
STRETCH = 0.005  # s: what a stretch should take, so that pause and stop are heard


@dataclass(frozen=True)
class Report:
    """What the GPU says of itself at some point in the queue. To be read before PLACES others are asked for."""

    values: Tensor  # [REPORT_FIELDS] float64, a place in pinned memory
    ready: torch.cuda.Event

    def wait(self) -> list[float]:
        self.ready.synchronize()
        found: list[float] = self.values.tolist()
        return found


class Steps:
    """The state of a run on the GPU, and the queue of what happens to it."""

    def __init__(
        self,
        start: Parameters,
        *,
        sides: Tensor,
        target: Tensor,
        background: Background,
        white: float,
        mu_blend: float,
        alpha_max: float,
        rates: tuple[float, ...],
        factors: Tensor,
        log_sizes: tuple[float, float],
        weight: Tensor | None = None,
        limits: Limits | None = None,
        stretch: Tensor | None = None,
        mu_blends: Tensor | None = None,
    ) -> None:
        """`start` is copied; `target` [C + 1, H, W] is premultiplied colour and transmittance, all on one GPU.

        `white` is what evaluations are over, in every channel. `rates` are those of position, rotation, log size,
        opacity and colour at the start, `factors` [steps] what they are multiplied by. `weight` [H, W] weighs the
        squared error of each pixel. `limits` hold the parameters, and not `log_sizes` and the canvas; `stretch`
        [N, 2, 2] and `mu_blends` [N] are those of `Instances`.
        """
        device, count, channels = target.device, len(start.rotation), target.shape[0] - 1
        self.device = device
        self._state = torch.zeros(3, 5 + channels, count, device=device)
        self.bitmap = start.bitmap.to(device, copy=True)
        self.parameters, *moments = (_rows(values, self.bitmap) for values in self._state)
        for name in ("position", "rotation", "log_size", "opacity", "color"):
            getattr(self.parameters, name).copy_(getattr(start, name).detach())
        # As torch.optim has it, for whoever moves instances about.
        self.state = {
            getattr(self.parameters, name): {
                key: getattr(moment, name) for key, moment in zip(("exp_avg", "exp_avg_sq"), moments, strict=True)
            }
            for name in ("position", "rotation", "log_size", "opacity", "color")
        }
        self._best, self._best_bitmap = self._state[0].clone(), self.bitmap.clone()
        self._report = torch.zeros(REPORT_FIELDS, dtype=torch.float64, device=device)
        self._report[3] = math.inf
        # Pinned once: torch ends the process when pinned memory is freed after an error that stays.
        self._places = torch.empty(PLACES, REPORT_FIELDS, dtype=torch.float64, pin_memory=True)
        self._reports = 0
        workspace = torch.ops.diffbmp.optimize_workspace(count)
        self._workspace = torch.zeros(workspace, dtype=torch.uint8, device=device)
        self._sides, self._target = sides.to(device), target.contiguous()
        self._look = (alpha_max, mu_blend)
        self._white = white
        self._hole = torch.zeros(1, device=device)
        planes = channels + 1 if background == "transparent" else channels
        self._loss = (losses.background_value(background, channels), self._hole, planes)
        self._weight = weight
        self._aim: tuple[Tensor, Tensor | None] = (self._target, weight)  # of the steps
        self._ratio, self._view = 1.0, self._aim
        bounds = None if limits is None else torch.stack([_state(limits.low), _state(limits.high)]).to(device)
        self._given = (stretch, mu_blends, bounds)
        self._adam = (list(rates), factors.to(device, torch.float32), list(BETAS), list(log_sizes))
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._cells: tuple[Tensor, Tensor] | None = None
        self._stream.wait_stream(torch.cuda.current_stream(device))

    def aim(self, target: Tensor, weight: Tensor | None) -> None:
        """What the steps go for instead, before the first of them."""
        self._aim = self._view = target.contiguous(), weight

    def use(self, bitmaps: Bitmaps, ratio: float = 1.0) -> None:
        """What is drawn from here on, and how large, relative to the target; to be called when instances were moved."""
        with torch.cuda.stream(self._stream):
            cells = self._cells_of(bitmaps)
            if self._cells is None or cells[0] is not self._cells[0] or ratio != self._ratio:
                self._graphs.clear()
                self._cells, self._ratio = cells, ratio
                target, weight = self._aim
                self._view = coarser(target, ratio), None if weight is None else coarser(weight[None], ratio)[0]
            height, width = self._view[0].shape[1:]
            torch.ops.diffbmp.optimize_pack(*self._run(cells), height, width, *self._look, ratio)

    def weigh_holes(self, by_transmittance: float) -> None:
        """What the squared difference of transmittance counts from here on; see `SquaredError`."""
        with torch.cuda.stream(self._stream):
            self._hole.fill_(self._target[:-1].shape[0] * by_transmittance)

    def forget_best(self) -> None:
        """From the next evaluation on another state is the best."""
        with torch.cuda.stream(self._stream):
            self._report[3].fill_(math.inf)

    def advance(self, count: int) -> None:
        """Queues steps."""
        if count not in self._graphs:
            self._graphs[count] = self._captured(count)
        with torch.cuda.stream(self._stream):
            self._graphs[count].replay()

    def evaluate(self, bitmaps: Bitmaps) -> None:
        """Queues a comparison of the present state with the target, over white; the best so far is kept."""
        with torch.cuda.stream(self._stream):
            run = self._run(self._cells_of(bitmaps))
            torch.ops.diffbmp.optimize_evaluate(*run, self._target, self._weight, *self._look, self._white)

    def report(self) -> Report:
        """How things stand at the end of what is queued now."""
        self._reports += 1
        values = self._places[self._reports % PLACES]
        with torch.cuda.stream(self._stream):
            values.copy_(self._report, non_blocking=True)
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record()
        return Report(values, ready)

    def finish(self) -> None:
        """Waits until nothing is queued."""
        self._stream.synchronize()

    def best(self) -> Parameters:
        """The state with the lowest error of all evaluations, on the CPU."""
        self.finish()
        return _rows(self._best.cpu(), self._best_bitmap.cpu())

    def _run(self, cells: tuple[Tensor, Tensor]) -> tuple[Tensor | None, ...]:
        return (
            *cells,
            self.bitmap,
            self._sides,
            self._state,
            self._best,
            self._best_bitmap,
            self._report,
            self._workspace,
            *self._given,
        )

    def _cells_of(self, bitmaps: Bitmaps) -> tuple[Tensor, Tensor]:
        colors = self._look[1] > 0 or self._given[1] is not None
        return bitmaps.color_cells if colors else bitmaps.mask_cells

    def _captured(self, count: int) -> torch.cuda.CUDAGraph:
        assert self._cells is not None
        run = self._run(self._cells)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self._stream):
            # Other threads may go on using the GPU meanwhile.
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                for _ in range(count):
                    torch.ops.diffbmp.optimize_step(
                        *run, *self._view, *self._look, self._ratio, *self._loss, *self._adam
                    )
            finally:
                graph.capture_end()
        return graph


def _rows(values: Tensor, bitmap: Tensor) -> Parameters:
    """The rows of a state [5 + C, N], seen as parameters."""
    return Parameters(
        position=values[:2].T,
        rotation=values[2],
        log_size=values[3],
        opacity=values[4],
        color=values[5:].T,
        bitmap=bitmap,
    )


def _state(parameters: Parameters) -> Tensor:
    """Parameters as the rows of a state [5 + C, N]."""
    placed = torch.stack([parameters.rotation, parameters.log_size, parameters.opacity])
    return torch.cat([parameters.position.T, placed, parameters.color.T])


class FusedOptimization(Optimization):
    """A run of which every step takes place on the GPU; Progress comes every few milliseconds."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        settings = problem.settings
        total = settings.steps
        self._steps = Steps(
            self._parameters,
            sides=self._sides,
            target=self._target_planes(),
            background=settings.background,
            white=losses.white(self._channels),
            mu_blend=self._mu_blend,
            alpha_max=self._alpha_max,
            rates=self._rates,
            factors=torch.tensor([self._rate_factor(step) for step in range(total)]),
            log_sizes=self._size_bounds,
            weight=None if self._weight is None else self._weight.contiguous(),
            limits=None if self._beginning is None else self._limits,
            stretch=self._unlearned.get("stretch"),
            mu_blends=self._unlearned.get("mu_blend"),
        )
        self._parameters = self._steps.parameters
        del self._optimizer  # it takes memory, and the GPU has its own
        self._moments = self._steps.state
        self._stretch = EVALUATE_EVERY
        self._steps.weigh_holes(self._error.by_transmittance)
        self._steps.use(*self._view())
        self._steps.evaluate(self._sharp)
        if self._beginning is not None:
            self._start_psnr = losses.psnr(self._steps.report().wait()[2])
            self._change(self._look_around)

    def _look_around(self) -> None:
        rendering = render(self._scene(self._sharp))
        if self._selected is not None:
            aim = self._aim(self._selected, rendering)
            self._error = self._compare(aim, None)
            self._steps.aim(aim, None)
        if self._beginning is not None:
            self._draw_surroundings(self._beginning.window)
        self._place_new(rendering)

    def __iter__(self) -> Iterator[Progress]:
        total = self._problem.settings.steps
        pace = Pace()
        previewed = -math.inf
        queued: deque[Report] = deque()
        shown = self._step
        while queued or self._step < total:
            begin = time.perf_counter()
            while self._step < total and len(queued) < AHEAD:
                self._queue_stretch()
                queued.append(self._steps.report())
            done, loss, error, *_ = queued.popleft().wait()
            step = int(done)
            preview = None
            if step == total or time.perf_counter() - previewed > PREVIEW_EVERY:
                preview = self._preview()
                previewed = time.perf_counter()
            seconds = (time.perf_counter() - begin) / max(step - shown, 1)
            shown = step
            self._stretch = next((count for count in (10, 5, 2) if count * seconds < STRETCH), 1)
            left = self._time_left(pace, seconds, step)
            yield Progress(step, total, loss, losses.psnr(error), left, preview)

    def _coarse_saving(self, seconds: float) -> float:
        return seconds  # pictures of a quarter of the pixels take the GPU half the time

    def result(self) -> Result:
        _, _, _, error, step = self._steps.report().wait()
        return self._found(self._steps.best(), losses.psnr(error), int(step))

    def _queue_stretch(self) -> None:
        """Queues steps up to the next that something else follows: an evaluation, another blur, a pause."""
        total, begin = self._problem.settings.steps, self._step
        sigma = self._blur(begin)
        while True:
            self._step += 1
            pauses = self._pauses(self._step)
            evaluates = self._step == total or self._step % EVALUATE_EVERY == 0
            changes = self._step < total and self._blur(self._step) != sigma
            if pauses or evaluates or changes or self._step - begin >= self._stretch:
                break
        self._steps.advance(self._step - begin)
        if pauses:
            self._change(self._pause)
        elif changes:
            self._change()
        if evaluates:
            self._steps.evaluate(self._sharp)

    def _change(self, instances: Callable[[], None] = lambda: None) -> None:
        """What is drawn from here on, once all that is queued is done: other bitmaps, other instances."""
        self._steps.finish()
        with torch.no_grad():
            instances()
        torch.cuda.current_stream(self._steps.device).synchronize()
        self._steps.use(*self._view())

    def _set_hole_weight(self, weight: float) -> None:
        if weight != self._error.hole_weight:
            self._error.hole_weight = weight
            self._steps.weigh_holes(self._error.by_transmittance)
            self._steps.forget_best()

    @torch.no_grad()
    def _preview(self) -> npt.NDArray[np.uint8]:
        """Of the state after all that is queued, drawn as the next step will draw it."""
        self._steps.finish()
        rendering = render(self._scene(*self._view()))
        return self._preview_of(rendering)
