"""Run by test_quit.py inside Krita: quits while a write-back is under way."""

from krita_harness.inside import trigger
from krita_harness.steps import later
from pieces import blob, live
from written import Written, begin, scene

kept: list[Written] = []  # the write-back outlives the check
VALUES = [(20 + i % 200, 20 + i % 150, 0.1 * i, 1.0, 0.8) for i in range(1000)]


def main():
    document, _, _, place = yield from scene()
    document.setModified(False)
    written = begin(place, [live(blob(), 60, 50, 0.3, 1)] * len(VALUES), VALUES)
    kept.append(written)
    while len(written.progress) < 100:
        yield 0.02
    later(0.05, lambda: trigger("file_quit"))
