"""A problem's optimisation on the device that suits it, and what happens when a GPU does not go along."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import replace

import torch

from krita_diffbmp.card import find_card
from krita_diffbmp.engine import gpu
from krita_diffbmp.engine.checks import check_problem
from krita_diffbmp.engine.optimize import Optimization, choose_device
from krita_diffbmp.problem import DiffBmpError, Problem, Progress, Result

SMALLEST = 256  # px: a working size below this is not tried; the CPU is


class Run:
    """One run over a problem, as `Optimization` is, on a GPU or the CPU.

    When the GPU's memory is too small the run begins again at half the working size, and when the GPU fails for another
    reason it begins again on the CPU; the notes of the result say so.
    """

    def __init__(self, problem: Problem) -> None:
        """Raises DiffBmpError for a problem that cannot be optimised, or a device that cannot be used."""
        self._problem = problem
        self._device, self._notes = choose_device(problem)
        self._optimization = self._begun()

    @property
    def device_name(self) -> str:
        """Where it takes place: "CPU", or the GPU's name and memory."""
        card = find_card() if self._device.type == "cuda" else None
        return str(card) if card else "CPU"

    @property
    def notes(self) -> tuple[str, ...]:
        """What the artist should know of it, up to now."""
        return tuple(dict.fromkeys((*self._notes, *self._optimization.notes)))

    def __iter__(self) -> Iterator[Progress]:
        while True:
            try:
                yield from self._optimization
                return
            except RuntimeError as error:
                self._recover(error)
                self._optimization = self._begun()

    def result(self) -> Result:
        """The best state so far, in pixels of Problem.target."""
        try:
            found = self._optimization.result()
        except RuntimeError as error:
            self._recover(error)
            self._optimization = self._begun()
            found = self._optimization.result()
        return replace(found, notes=tuple(dict.fromkeys((*self.notes, *found.notes))))

    def _begun(self) -> Optimization:
        while True:
            if self._device.type == "cpu":
                settings = replace(self._problem.settings, device="cpu")
                return Optimization(replace(self._problem, settings=settings))
            self._fit()
            try:
                from krita_diffbmp.engine.fused import FusedOptimization

                return FusedOptimization(self._problem)
            except RuntimeError as error:
                self._recover(error)

    def _fit(self) -> None:
        """Chooses a working size that the GPU has the memory for, by estimate."""
        check_problem(self._problem)
        card = gpu.card()
        while card is not None and self._size() > SMALLEST and (needed := gpu.estimate(self._problem)) > card.usable:
            self._shrink(
                f"The run would take about {needed:.0f} MB of the GPU's memory and {card.usable:.0f} MB are free"
            )

    def _size(self) -> int:
        height, width = self._problem.target.shape[:2]
        return min(self._problem.settings.working_size, max(int(height), int(width)))

    def _shrink(self, reason: str) -> None:
        size = max(self._size() // 2, SMALLEST)
        self._problem = replace(self._problem, settings=replace(self._problem.settings, working_size=size))
        self._notes += (f"{reason}: the working size is {size} pixels instead.",)

    def _recover(self, error: RuntimeError) -> None:
        """Makes ready for another beginning, or raises what was no fault of the GPU's."""
        if self._device.type == "cpu" or not gpu.is_cuda_error(error):
            raise error
        explanation = gpu.explain(error)
        if gpu.is_out_of_memory(error) and self._size() > SMALLEST:
            self._shrink("The GPU's memory was full")
        elif self._problem.settings.device == "cuda" and gpu.is_out_of_memory(error):
            raise DiffBmpError("The GPU's memory is too small for this. Close other programs, or choose the CPU.")
        else:
            self._notes += (f"On the processor instead of the GPU, because {explanation}.",)
            self._device = torch.device("cpu")
            # Nothing of it may be freed: torch ends the process over a destructor that meets an error that stays.
            gpu.abandon(self.__dict__.pop("_optimization", None))
        # What failed holds the memory; a GPU in an error says so at every call, this one too.
        error.__traceback__ = None
        self.__dict__.pop("_optimization", None)
        gpu.cuda_trouble.cache_clear()
        gc.collect()
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()
