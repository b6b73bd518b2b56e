"""Runs the checks of one file inside Krita, one after the other, and writes what became of each as a JSON line.

A check is a function or a generator function. A generator returns to Krita's event loop with every `yield`:

    yield 0.2                     wait so many seconds
    yield condition               wait until condition() is true, 20 seconds at most
    yield Until(condition, 60, "the group to appear")

and goes on from there, through `QTimer.singleShot`: never a nested event loop, in which Krita postpones its own events.
Nor does it go on inside one of Krita's: API calls that wait for an image let timers run meanwhile, but no input, so
that what a check did then no artist could do, and closing a document then crashes Krita.
What a check returns is its report (anything JSON takes). A check has 60 seconds, or what `@limit(seconds)` says.
`@cases(a, b, ...)` runs it once for each literal, which is its only argument.

Environment: DIFFBMP_DRIVE is the file, DIFFBMP_DRIVE_RUN the JSON list of names to run ("name" or "name[case]";
["main"] when absent), DIFFBMP_DRIVE_RESULTS the file for the JSON lines, DIFFBMP_DRIVE_STAY leaves Krita open.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from krita import Krita

from krita_diffbmp.qt import QApplication, QTimer

Check = Callable[..., Any]
POLL = 0.01  # s between two looks at a condition
DEFAULT_LIMIT = 60.0  # s
top_level = 0  # Python frames below a slot that Krita's own event loop calls; `run` finds out
GRACE = 20.0  # s beyond its limit after which a check that does not come back ends Krita


def depth() -> int:
    """Python frames on the stack."""
    frame, count = sys._getframe(), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1  # type: ignore[assignment]
    return count


def later(seconds: float, call: Callable[[], Any]) -> None:
    """Calls from Krita's own event loop, as an artist's input would arrive: never from inside an API call."""

    def arrive() -> None:
        if is_nested():
            QTimer.singleShot(1, arrive)
        else:
            call()

    QTimer.singleShot(round(1000 * seconds), arrive)


def is_nested() -> bool:
    """Whether the calling slot runs while some Python code waits for a call into Krita to return."""
    return depth() > top_level + 3  # depth, is_nested and the slot


@dataclass(frozen=True)
class Until:
    """Wait for `condition()` to be true."""

    condition: Callable[[], Any]
    seconds: float = 20.0
    what: str = "the condition"


def limit(seconds: float) -> Callable[[Check], Check]:
    """Gives a check more (or less) time than a minute."""

    def mark(function: Check) -> Check:
        function.limit = seconds  # type: ignore[attr-defined]
        return function

    return mark


def cases(*literals: Any) -> Callable[[Check], Check]:
    """Runs a check once for each literal; the collection outside Krita reads them from the source."""

    def mark(function: Check) -> Check:
        function.cases = literals  # type: ignore[attr-defined]
        return function

    return mark


class Runner:
    def __init__(self, module: ModuleType, names: list[str], results: str | None, finish: Callable[[], None]) -> None:
        self.module, self.names, self.finish = module, list(names), finish
        self.results = open(results, "a", encoding="utf-8") if results else sys.stderr  # noqa: SIM115

    def write(self, **event: Any) -> None:
        print(json.dumps(event, default=plain), file=self.results, flush=True)

    def stray(self, kind: type[BaseException], problem: BaseException, at: Any) -> None:
        """An exception that some slot let out: it fails the check, where Krita would stop for a dialog."""
        self.strays.append(problem)

    def next(self) -> None:
        if not self.names:
            faulthandler.cancel_dump_traceback_later()
            self.write(event="finished")
            return self.finish()
        self.name = self.names.pop(0)
        self.strays: list[BaseException] = []
        self.began = time.monotonic()
        self.write(event="start", name=self.name)
        base, _, case = self.name.partition("[")
        try:
            function = getattr(self.module, base)
            self.limit = getattr(function, "limit", DEFAULT_LIMIT)
            faulthandler.dump_traceback_later(self.limit + GRACE, exit=True)
            arguments = [c for c in function.cases if str(c) == case[:-1]][:1] if case else []
            outcome = function(*arguments)
        except BaseException as problem:
            return self.end(problem)
        if isinstance(outcome, Generator):
            self.go_on(outcome)
        else:
            self.end(None, outcome)

    def go_on(self, check: Generator[Any, None, Any], problem: BaseException | None = None) -> None:
        try:
            if problem is None and time.monotonic() - self.began > self.limit:
                problem = TimeoutError(f"the check has not ended after {self.limit} s")
            wait = check.throw(problem) if problem else next(check)
        except StopIteration as stop:
            return self.end(None, stop.value)
        except BaseException as raised:
            return self.end(raised)
        if isinstance(wait, int | float):
            return later(wait, lambda: self.go_on(check))
        until = wait if isinstance(wait, Until) else Until(wait)
        deadline = time.monotonic() + until.seconds

        def look() -> None:
            try:
                met = until.condition()
            except BaseException as raised:
                return self.go_on(check, raised)
            if met:
                return self.go_on(check)
            if time.monotonic() > deadline:
                return self.go_on(check, TimeoutError(f"waited {until.seconds} s for {until.what}"))
            return later(POLL, look)

        return later(0, look)

    def end(self, problem: BaseException | None, report: Any = None) -> None:
        seconds = round(time.monotonic() - self.began, 3)
        problems = ([problem] if problem else []) + self.strays
        error = "".join("".join(traceback.format_exception(each)) for each in problems) or None
        self.write(event="end", name=self.name, error=error, seconds=seconds, report=report)
        if os.environ.get("DIFFBMP_DRIVE_STAY"):
            later(0, self.next)
        elif Krita.instance().activeWindow() is None:
            close_documents()
            later(0, self.next)
        else:
            # The layer docker follows changes 100 ms late, once the image is idle, and crashes Krita over nodes of a
            # document that was closed meanwhile.
            settle_documents()
            later(0.3, close_documents)
            later(0.35, self.next)


def plain(value: Any) -> Any:
    """What JSON has no word for: numpy's numbers become numbers, the rest text."""
    return value.item() if hasattr(value, "item") else str(value)


def settle_documents() -> None:
    """Lets every image come to rest."""
    for document in Krita.instance().documents():
        document.waitForDone()


def close_documents() -> None:
    """Closes every document without a question, so that one check does not see another's."""
    for document in Krita.instance().documents():
        document.waitForDone()
        document.setModified(False)
        document.close()


def load(path: str) -> ModuleType:
    sys.path.insert(0, os.path.dirname(path))
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def run(finish: Callable[[], None]) -> None:
    global top_level
    top_level = depth() - 3  # without depth, run and the slot that calls it
    faulthandler.enable()
    results = os.environ.get("DIFFBMP_DRIVE_RESULTS")
    try:
        module = load(os.environ["DIFFBMP_DRIVE"])
    except BaseException:
        with open(results, "a", encoding="utf-8") if results else contextlib.nullcontext(sys.stderr) as file:
            print(json.dumps({"event": "not loaded", "error": traceback.format_exc()}), file=file)
        finish()
        return
    names = json.loads(os.environ.get("DIFFBMP_DRIVE_RUN", '["main"]'))
    runner = Runner(module, names, results, finish)
    sys.excepthook = runner.stray  # this also keeps the runner alive
    runner.next()


def start_with_event_loop() -> None:
    """For `krita`: begins once the window is up, and quits Krita as the artist would."""

    def finish() -> None:
        if not os.environ.get("DIFFBMP_DRIVE_STAY"):
            later(0.1, lambda: Krita.instance().action("file_quit").trigger())

    QTimer.singleShot(500, lambda: run(finish))


def start_without_event_loop(arguments: object = None) -> None:
    """For `kritarunner -s krita_harness.steps -f start_without_event_loop`, which has no event loop of its own."""
    QTimer.singleShot(0, lambda: run(QApplication.quit))
    QApplication.exec()
