"""The plugin that starts `steps` once Krita's first window is up."""

import os
import sys

from krita import Extension, Krita

sys.path[:0] = os.environ["DIFFBMP_DRIVE_PATH"].split(os.pathsep)

from krita_harness import steps  # noqa: E402


class Driver(Extension):
    def setup(self) -> None:
        self.started = False

    def createActions(self, window: object) -> None:
        if not self.started:
            self.started = True
            steps.start_with_event_loop()


Krita.instance().addExtension(Driver(Krita.instance()))
