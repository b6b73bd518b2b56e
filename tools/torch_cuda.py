"""Gives Krita's own Python a torch for CUDA where there is an NVIDIA card for it; part of `make install`.

    python3 tools/torch_cuda.py [--dry-run]

To be run by the Python that Krita embeds (tools/run python3); a dry run may use any. Torch and what it needs go into
`krita_diffbmp-libraries` of Krita's resource folder, never to the system's or the user's Python, and the extension is
built for that torch. tools/install.py then tells the plugin of the folder, and removes it with the plugin.

Which build of torch suits follows from the card, its driver and nvcc. Whatever is in the way is said in a sentence and
no error: the plugin then runs on the processor. DIFFBMP_CUDA=no has torch left alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

from tools.install import LIBRARIES, remove, resource_folder, settings_file  # noqa: E402

TORCH = "torch>=2.9,<2.14"  # with the first of them came CUDA 13, the last is the newest that was tried
PYTHONS = ((3, 11), (3, 14))  # the oldest and the newest that these are built for
MACHINES = ("x86_64", "aarch64")
INDEX = "https://download.pytorch.org/whl/{cuda}"
OLDEST_CAPABILITY = 7.5  # Turing: what our kernels are built for
BLACKWELL = 10.0
FETCHED, KEPT = 3, 6  # GB, about
STAMP = "diffbmp.json"  # in the folder: what it was made for, written last
ANSWER = 20.0  # s for nvidia-smi, which hangs where the driver does


class Unsuitable(Exception):
    """Why there will be no torch for CUDA: a sentence, and what to do about it."""


@dataclass(frozen=True)
class Card:
    """The most capable of the NVIDIA cards."""

    name: str
    driver: str
    capability: float
    count: int  # cards in all


@dataclass(frozen=True)
class Plan:
    """What is fetched, for what, and where to."""

    cuda: str  # as torch's index calls it: "cu126"
    python: tuple[int, int]
    folder: Path

    @property
    def words(self) -> str:
        return f"torch for CUDA {self.cuda[2:4]}.{self.cuda[4:]} and Python {version(self.python)}"

    @property
    def stamp(self) -> str:
        return json.dumps({"torch": TORCH, "cuda": self.cuda, "python": version(self.python)}) + "\n"

    def pip(self, target: Path) -> list[str]:
        """What Python is called with to put torch, and what it needs, into a folder."""
        options = ["--target", str(target), "--index-url", INDEX.format(cuda=self.cuda)]
        options += ["--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check", "--retries", "2"]
        return ["-m", "pip", "install", *options, TORCH]


def version(numbers: tuple[int, int]) -> str:
    return f"{numbers[0]}.{numbers[1]}"


def find_card() -> Card | None:
    """None on a machine without NVIDIA's driver. Raises Unsuitable where that does not work."""
    if shutil.which("nvidia-smi") is None:
        return None
    rows = [row.rsplit(", ", 1) for row in ask_driver("name,driver_version")]
    if not rows or len(rows[0]) != 2:
        raise Unsuitable("nvidia-smi finds no card.")
    # Drivers too old for us do not know this question.
    capabilities = [number(row) for row in ask_driver("compute_cap")] if number(rows[0][1]) >= 525 else [0.0]
    best = capabilities.index(max(capabilities))
    return Card(rows[best][0], rows[best][1], capabilities[best], len(rows))


def ask_driver(fields: str) -> list[str]:
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER)
    except subprocess.TimeoutExpired as late:
        raise Unsuitable("nvidia-smi does not answer: restart the computer, then try again.") from late
    except OSError as broken:
        raise Unsuitable(f"nvidia-smi does not run ({broken.strerror}): install the NVIDIA driver again.") from broken
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines() or [f"exit status {done.returncode}"]
        raise Unsuitable(f"the NVIDIA driver does not work ({said[0].strip().rstrip('.')}).")
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def number(text: str) -> float:
    """The number that a text begins with: 535.183 of "535.183.01"; 0 where there is none."""
    found = re.match(r"\d+(\.\d+)?", text)
    return float(found[0]) if found else 0.0


def find_nvcc() -> Path | None:
    """CUDA's compiler, where torch's extension builder looks for it."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    places = [Path(home) / "bin/nvcc" for home in homes if home]
    if found := shutil.which("nvcc"):
        places.append(Path(found))
    places.append(Path("/usr/local/cuda/bin/nvcc"))
    return next((place for place in places if place.is_file()), None)


def cuda_of(nvcc: Path | None) -> int | None:
    """The major version of CUDA that a compiler is of; None without one."""
    if nvcc is None:
        return None
    try:
        said = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return None
    release = re.search(r"release (\d+)", said)
    return int(release[1]) if release else None


def choose(card: Card, python: tuple[int, int], compiler: int | None) -> str:
    """torch's name for the CUDA to take; `compiler` is nvcc's major version.

    CUDA 12 runs from driver 525 on, 13 from 580 on; a Blackwell card needs 12.8, and driver 570. Torch and the kernels
    should be of one major version, so nvcc decides where the driver leaves the choice.
    Raises Unsuitable.
    """
    driver = number(card.driver)
    if driver < 525:
        raise Unsuitable(f"the driver of the {card.name} is {card.driver}, and CUDA 12 needs 525 or newer: update it.")
    if card.capability < OLDEST_CAPABILITY:
        raise Unsuitable(f"the {card.name} is too old: cards from Turing on (GTX 16, RTX 20) are supported.")
    if not PYTHONS[0] <= python <= PYTHONS[1]:
        raise Unsuitable(
            f"Krita's Python is {version(python)}, and torch for CUDA is known for {version(PYTHONS[0])} to "
            f"{version(PYTHONS[1])} only."
        )
    if platform.machine() not in MACHINES:
        raise Unsuitable(f"there is no torch for CUDA on {platform.machine()}.")
    if driver >= 580 and compiler != 12:
        return "cu130"
    if card.capability < BLACKWELL:
        return "cu126"
    if driver < 570:
        raise Unsuitable(
            f"the driver of the {card.name} is {card.driver}, and this card needs 570 or newer: update it."
        )
    return "cu128"


def check_space(folder: Path) -> float:
    """GB that are free where a folder is to be. Raises Unsuitable if they do not suffice."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free < FETCHED + KEPT:
        raise Unsuitable(
            f"the disk of {folder.parent} has {free:.1f} GB free: it takes about {FETCHED + KEPT} GB to install torch "
            f"for CUDA, {KEPT} of which stay in use. Make room, then try again."
        )
    return free


def install(plan: Plan) -> None:
    """Puts torch into the folder, all of it or nothing; what was there before stays until then. Raises Unsuitable."""
    partial = plan.folder.with_suffix(".partial")
    remove(partial)
    target, temporary = partial / "libraries", partial / "temporary"
    temporary.mkdir(parents=True)
    # pip unpacks into the temporary folder first, and /tmp may be small, or memory.
    environment = {**os.environ, "TMPDIR": str(temporary)}
    try:
        if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
            raise Unsuitable("pip is missing for Krita's Python: install it (package python3-pip), then try again.")
        if subprocess.run([sys.executable, *plan.pip(target)], env=environment).returncode != 0:
            raise Unsuitable(f"pip could not fetch {plan.words}; it said why above. Try again.")
        check = subprocess.run(
            [sys.executable, "-c", "import torch; assert torch.version.cuda, 'it is without CUDA'"],
            env=environment_with(target),
            capture_output=True,
            text=True,
        )
        if check.returncode != 0:
            raise Unsuitable(f"the torch that was fetched does not load ({check.stderr.strip().splitlines()[-1]}).")
        (target / STAMP).write_text(plan.stamp)
        remove(plan.folder)
        target.rename(plan.folder)
    finally:
        remove(partial)


def environment_with(libraries: Path) -> dict[str, str]:
    """An environment in which Python finds the modules of a folder before its own."""
    return {**os.environ, "PYTHONPATH": str(libraries), "PYTHONDONTWRITEBYTECODE": "1"}


def build_extension(libraries: Path, nvcc: Path | None) -> None:
    """Builds the renderer for the torch of a folder, for CUDA where there is an nvcc that can."""
    command = [sys.executable, str(CHECKOUT / "build_ext.py")]
    environment = environment_with(libraries)
    if nvcc is not None and subprocess.run([*command, "--cuda"], env=environment).returncode == 0:
        return
    subprocess.run([*command, "--cpu"], env=environment, check=True)
    if nvcc is None:
        say(
            "nvcc is missing, so runs stay on the processor: install CUDA's compiler (package nvidia-cuda-toolkit, or "
            "CUDA from NVIDIA), then try again."
        )
    else:
        say(f"{nvcc} could not build the kernels, so runs stay on the processor; it said why above.")


def gigabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e9


def krita_python(dry_run: bool) -> tuple[int, int]:
    """The version of the Python that Krita embeds, and that this runs with unless it is a dry run."""
    if not dry_run:
        return sys.version_info[:2]
    run = [str(CHECKOUT / "tools/run"), "python3", "-c", "import sys; print(*sys.version_info[:2])"]
    done = subprocess.run(run, capture_output=True, text=True)
    if done.returncode != 0:
        return 3, 13  # that of the Debian 13 which the set-up will fetch
    first, second = map(int, done.stdout.split())
    return first, second


def say(words: str) -> None:
    print(f"CUDA: {words}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Give Krita's Python a torch for CUDA, where there is a card for it.")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    dry_run: bool = parser.parse_args().dry_run
    if os.environ.get("DIFFBMP_CUDA") == "no":
        say("left alone, as DIFFBMP_CUDA=no says")
        return 0
    try:
        card = find_card()
        if card is None:
            say("no NVIDIA card here (nvidia-smi is not found): torch stays as it is")
            return 0
        others = f" and {card.count - 1} more" if card.count > 1 else ""
        say(f"{card.name}{others}, driver {card.driver}")
        nvcc = find_nvcc()
        python = krita_python(dry_run)
        folder = resource_folder(settings_file()) / LIBRARIES
        plan = Plan(choose(card, python, cuda_of(nvcc)), python, folder)
        stamp = folder / STAMP
        if stamp.exists() and stamp.read_text() == plan.stamp:
            say(f"{plan.words} is in {folder} already")
        elif dry_run:
            free = check_space(folder)
            say(
                f"would put {plan.words} into {folder}: about {FETCHED} GB to fetch, {KEPT} GB on disk; "
                f"{free:.0f} GB are free"
            )
            say(f"would run: python3 {shlex.join(plan.pip(folder))}")
        else:
            check_space(folder)
            say(f"fetching {plan.words}: about {FETCHED} GB")
            install(plan)
            say(f"{plan.words} is in {folder}: {gigabytes(folder):.1f} GB")
    except Unsuitable as reason:
        say(f"not used: {reason}")
        return 0
    if not dry_run:
        build_extension(folder, nvcc)
    elif nvcc is None:
        say("would build the extension without CUDA, since nvcc is missing: install package nvidia-cuda-toolkit before")
    else:
        say(f"would build the extension for it with {nvcc}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
