"""One Krita, started for the functions of one Python file, in a profile and on a display of its own."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

HARNESS = Path(__file__).resolve().parent
CHECKOUT = HARNESS.parent.parent
SILENCE = 300.0  # s without a word from Krita after which it is ended; each check has its own, shorter limit
START = 120.0  # s for Krita to come up in a fresh profile


@dataclass(frozen=True)
class Outcome:
    """What became of one check."""

    error: str | None  # a traceback or a sentence; None: it passed
    seconds: float
    report: Any = None


def missing_programs(where: str) -> list[str]:
    """What `where` ("krita" or "kritarunner") needs and this machine has not."""
    needed = ["kritarunner"] if where == "kritarunner" else ["krita", "Xvfb"]
    return [name for name in needed if shutil.which(name) is None]


class Profile:
    """A home folder in which Krita has our plugins enabled and asks nothing. Kept, it makes later starts quick."""

    def __init__(self, folder: Path, plugin: bool, keep_settings: bool = False, libraries: Path | None = None) -> None:
        self.folder = folder
        plugins = folder / ".local/share/krita/pykrita"
        plugins.mkdir(parents=True, exist_ok=True)
        (folder / ".config").mkdir(exist_ok=True)
        for name in ("tmp", "run"):
            (folder / name).mkdir(exist_ok=True, mode=0o700)
        links = [HARNESS / "driver/diffbmp_driver.desktop", HARNESS / "driver/diffbmp_driver"]
        if plugin:
            links += [CHECKOUT / "diffbmp.desktop", CHECKOUT / "krita_diffbmp"]
        for old in plugins.iterdir():
            old.unlink()
        for link in links:
            (plugins / link.name).symlink_to(link)
        if libraries is not None:
            (plugins / "krita_diffbmp.path").write_text(f"{libraries}\n")
        # Drawn by Qt: Krita's canvas on a software OpenGL crashes now and then when layers come and go quickly.
        (folder / ".config/kritadisplayrc").write_text("[General]\nOpenGLRenderer=none\n")
        settings = folder / ".config/kritarc"
        if keep_settings and settings.exists():
            return
        settings.write_text(
            "ShowWelcomePage=false\nFirstRun=false\nHideSplashScreen=true\nLoadLastSession=0\nSessionOnStartup=0\n"
            f"[python]\nenable_diffbmp_driver=true\nenable_krita_diffbmp={str(plugin).lower()}\n"
        )

    def environment(self) -> dict[str, str]:
        dropped = ("PYTHONPATH", "PYTHONHOME", "DISPLAY", "WAYLAND_DISPLAY")
        kept = {k: v for k, v in os.environ.items() if k not in dropped and not k.startswith("XDG_")}
        here = {
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "ignore::SyntaxWarning",  # those of Krita's own plugins would fill the log
        }
        return {**kept, **here}


class Display:
    """An Xvfb; its number is drawn at random, so that parallel runs do not meet."""

    def __init__(self, log: Path, size: str = "1600x1000x24") -> None:
        for _ in range(5):
            number = random.SystemRandom().randrange(100, 50000)
            ready, announce = os.pipe()
            # Krita connects and disconnects before it connects to stay: a server that resets then may turn it away.
            options = ["-screen", "0", size, "-nolisten", "tcp", "-noreset", "-displayfd", str(announce)]
            with log.open("ab") as file:
                self.process = subprocess.Popen(
                    ["Xvfb", f":{number}", *options],
                    stdout=file,
                    stderr=file,
                    pass_fds=[announce],
                )
            os.close(announce)
            with os.fdopen(ready) as pipe:
                if pipe.readline().strip():
                    self.name = f":{number}"
                    return
            self.process.wait()
        raise RuntimeError(f"Xvfb does not start: {log.read_text(errors='replace')[-2000:]}")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


class KritaRun:
    """Krita running functions of `file`; a context manager that leaves no process behind.

    where: "krita" (a window under Xvfb) or "kritarunner" (offscreen, no window, no views).
    run: names of functions, "name" or "name[case]", in the order in which they run.
    plugin: whether Krita loads the project's plugin.
    environment: further variables for Krita.
    keep: a folder to keep as profile; by default one that is removed in the end.
    display: show the window on this X display instead of an Xvfb of its own.
    stay: do not close documents and do not quit when all has run.
    keep_settings: leave Krita's settings as the last start in this profile has left them.
    libraries: a folder in which the plugin finds another torch than the system's.
    """

    def __init__(
        self,
        file: Path,
        run: list[str],
        where: str = "krita",
        plugin: bool = False,
        environment: dict[str, str] | None = None,
        keep: Path | None = None,
        display: str | None = None,
        stay: bool = False,
        keep_settings: bool = False,
        libraries: Path | None = None,
    ) -> None:
        missing = missing_programs("kritarunner" if display else where)
        if missing:
            raise FileNotFoundError(f"{' and '.join(missing)} not found")
        self.temporary = None if keep else tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        profile = Profile(keep or Path(self.temporary.name), plugin, keep_settings, libraries)  # type: ignore[union-attr]
        self.log = profile.folder / "krita.log"
        self.log.write_text("")
        self.results = profile.folder / "results.jsonl"
        self.results.write_text("")
        self.display = None if display or where == "kritarunner" else Display(self.log)
        variables = {
            **profile.environment(),
            "DIFFBMP_DRIVE": str(file.resolve()),
            "DIFFBMP_DRIVE_RUN": json.dumps(run),
            "DIFFBMP_DRIVE_RESULTS": str(self.results),
            "DIFFBMP_DRIVE_PATH": os.pathsep.join([str(HARNESS.parent), str(CHECKOUT)]),
            **({"DIFFBMP_DRIVE_STAY": "1"} if stay else {}),
            **(environment or {}),
        }
        if where == "kritarunner":
            command = ["kritarunner", "-s", "krita_harness.steps", "-f", "start_without_event_loop"]
            variables["QT_QPA_PLATFORM"] = "offscreen"
            variables["PYTHONPATH"] = variables["DIFFBMP_DRIVE_PATH"]
        else:
            command = ["krita", "--nosplash"]
            variables["DISPLAY"] = display or (self.display.name if self.display else "")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env=variables,
                cwd=profile.folder / "tmp",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.outcomes: dict[str, Outcome] = {}
        self.running: str | None = None
        self.seen = 0
        self.failure: str | None = None
        self.finished = False
        self.started = self.last_word = time.monotonic()

    def __enter__(self) -> KritaRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def read(self) -> None:
        """Takes in what Krita has written since."""
        lines = self.results.read_text(encoding="utf-8").split("\n")[:-1]
        for line in lines[self.seen :]:
            self.last_word = time.monotonic()
            event = json.loads(line)
            if event["event"] == "start":
                self.running = event["name"]
            elif event["event"] == "end":
                self.running = None
                self.outcomes[event["name"]] = Outcome(event["error"], event["seconds"], event["report"])
            elif event["event"] == "not loaded":
                self.failure = event["error"]
            elif event["event"] == "finished":
                self.finished = True
        self.seen = len(lines)

    def wait_for(self, name: str) -> Outcome:
        """The outcome of one check, as soon as it is known; an Outcome with an error if Krita ends before."""
        while True:
            ended = self.process.poll()
            self.read()
            if name in self.outcomes:
                found = self.outcomes[name]
                return replace(found, error=f"{found.error}\n{self.log_tail()}") if found.error else found
            if self.failure is None and ended is not None:
                during = self.running or "its start or between checks"
                self.failure = f"Krita {how_it_ended(ended)} during {during}"
            patience = SILENCE if self.seen else START
            if self.failure is None and time.monotonic() - self.last_word > patience:
                self.failure = f"Krita said nothing for {patience:.0f} s during {self.running or 'its start'}"
                self.kill()
            if self.failure is not None:
                tail = self.log_tail() if self.running in (None, name) else "Its log stands at that check."
                return Outcome(f"{self.failure}\n{tail}", 0.0)
            time.sleep(0.02)

    def wait_for_end(self, seconds: float = 30.0) -> str | None:
        """None if Krita has quit of itself and cleanly, else what went wrong."""
        deadline = time.monotonic() + seconds
        while not self.finished and self.process.poll() is None and time.monotonic() < deadline + SILENCE:
            self.read()
            time.sleep(0.05)
        try:
            ended = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"Krita did not quit within {seconds:.0f} s\n{self.log_tail()}"
        return None if ended == 0 else f"Krita {how_it_ended(ended)} while quitting\n{self.log_tail()}"

    def log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        text = "\n".join(line for line in lines if not line.startswith("krita.lib.resources:"))
        return f"--- what Krita printed (its end) ---\n{text[-6000:]}"

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def close(self) -> None:
        self.kill()
        if self.display is not None:
            self.display.close()
        if self.temporary is not None:
            self.temporary.cleanup()


def report_of(file: Path, function: str, **options: Any) -> Any:
    """What a function of a file returns, run in a Krita of its own with the plugin; `options` are KritaRun's.

    Raises SystemExit with the reason if it fails.
    """
    with KritaRun(file, [function], plugin=True, **options) as run:
        outcome = run.wait_for(function)
        if outcome.error:
            raise SystemExit(f"{outcome.error}\n{run.log_tail()}")
        run.wait_for_end()
    return outcome.report


def how_it_ended(code: int) -> str:
    return f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit status {code}"
