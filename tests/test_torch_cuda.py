"""The torch for CUDA that `make install` fetches: which one, where to, whole or not at all, and that it is taken.

nvidia-smi is a script here and torch a wheel of a few bytes; pip and Python are real.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from tools import torch_cuda
from tools.torch_cuda import Card, Plan, Unsuitable

CHECKOUT = Path(__file__).parents[1]
HERE = sys.version_info[:2]

# Not by looking for the module: setuptools takes that for a sign that pip runs, and leaves distutils to Python.
has_pip = any(importlib.metadata.distributions(name="pip"))
needs_pip = pytest.mark.skipif(not has_pip, reason="NOT TESTED: this Python has no pip")


def card(driver: str, capability: float = 9.0) -> Card:
    return Card("NVIDIA Card", driver, capability, 1)


@pytest.mark.parametrize(
    ("driver", "capability", "compiler", "cuda"),
    [
        ("580.65.06", 9.0, None, "cu130"),
        ("610.1", 12.0, 13, "cu130"),
        ("580.65.06", 9.0, 12, "cu126"),
        ("580.65.06", 12.0, 12, "cu128"),
        ("575.57.08", 12.0, None, "cu128"),
        ("570.86.15", 8.6, None, "cu126"),
        ("525.60.13", 7.5, 13, "cu126"),
        ("535.183.01", 8.9, 12, "cu126"),
    ],
)
def test_driver_card_and_compiler_decide(driver: str, capability: float, compiler: int | None, cuda: str):
    assert torch_cuda.choose(card(driver, capability), (3, 13), compiler) == cuda


@pytest.mark.parametrize(
    ("driver", "capability", "python", "why"),
    [
        ("520.61.05", 9.0, (3, 13), "CUDA 12 needs 525"),
        ("470.1", 3.5, (3, 13), "CUDA 12 needs 525"),
        ("[N/A]", 9.0, (3, 13), "CUDA 12 needs 525"),
        ("550.54.14", 6.1, (3, 13), "from Turing on"),
        ("565.57.01", 12.0, (3, 13), "needs 570"),
        ("580.65.06", 9.0, (3, 10), "Krita's Python is 3.10"),
        ("580.65.06", 9.0, (3, 15), "3.11 to 3.14"),
    ],
)
def test_what_does_not_suit_is_said(driver: str, capability: float, python: tuple[int, int], why: str):
    with pytest.raises(Unsuitable, match=why):
        torch_cuda.choose(card(driver, capability), python, None)


def nvidia_smi(*cards: str, status: int = 0) -> str:
    """A script that answers as nvidia-smi does for cards of "name, driver, capability"."""
    rows = [card.rsplit(", ", 1) for card in cards]
    names, capabilities = "\n".join(row[0] for row in rows), "\n".join(row[-1] for row in rows)
    return f"case $1 in *compute_cap*) cat <<E\n{capabilities}\nE\n;; *) cat <<E\n{names}\nE\n;; esac\nexit {status}"


def run(home: Path, *arguments: str, nvcc: str = "", smi: str = "", **environment: str) -> str:
    """What tools/torch_cuda.py says in a home folder, on a machine with these two commands (as shell scripts)."""
    commands = home / "commands"
    commands.mkdir(exist_ok=True)
    for name, script in {"nvidia-smi": smi, "nvcc": nvcc}.items():
        if script:
            (commands / name).write_text(f"#!/bin/sh\n{script}\n")
            (commands / name).chmod(0o755)
    done = subprocess.run(
        [sys.executable, CHECKOUT / "tools/torch_cuda.py", *arguments],
        env={**clean_environment(home), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def clean_environment(home: Path) -> dict[str, str]:
    dropped = ("CUDA_HOME", "CUDA_PATH", "KRITA_RESOURCES", "PYTHONPATH", "DIFFBMP_CUDA")
    kept = {k: v for k, v in os.environ.items() if k not in dropped and not k.startswith(("XDG_", "PIP_"))}
    path = [str(home / "commands")]
    path += [f for f in kept["PATH"].split(":") if not any(Path(f, c).exists() for c in ("nvcc", "nvidia-smi"))]
    return {**kept, "HOME": str(home), "PATH": ":".join(path), "DIFFBMP_RUN": "direct"}


def folder_in(home: Path) -> Path:
    return home / ".local/share/krita/krita_diffbmp-libraries"


def test_a_dry_run_shows_the_plan_and_does_nothing(tmp_path: Path):
    said = run(tmp_path, "--dry-run", smi=nvidia_smi("NVIDIA H100 80GB HBM3, 570.86.15, 9.0"), nvcc="exit 0")
    assert "NVIDIA H100 80GB HBM3, driver 570.86.15" in said
    assert "would put torch for CUDA 12.6 and Python 3." in said and str(folder_in(tmp_path)) in said
    assert "GB to fetch" in said and "GB are free" in said
    assert "--target" in said and "https://download.pytorch.org/whl/cu126" in said
    assert f"would build the extension for it with {tmp_path}/commands/nvcc" in said
    assert [path.name for path in tmp_path.iterdir()] == ["commands"]


def test_a_dry_run_is_for_kritas_python_and_not_for_the_one_that_runs_it(tmp_path: Path):
    smi = nvidia_smi("NVIDIA RTX A4000, 580.95.05, 8.6")
    said = run(tmp_path, "--dry-run", smi=smi)
    python = subprocess.run(
        [CHECKOUT / "tools/run", "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        env={**os.environ, "DIFFBMP_RUN": "direct"},
        capture_output=True,
        text=True,
    ).stdout.strip()
    assert f"and Python {python} " in said


def test_of_several_cards_the_most_capable_counts(tmp_path: Path):
    smi = nvidia_smi("Quadro P400, 575.51, 6.1", "NVIDIA RTX 5090, 575.51, 12.0", "Quadro P400, 575.51, 6.1")
    said = run(tmp_path, "--dry-run", smi=smi)
    assert "NVIDIA RTX 5090 and 2 more, driver 575.51" in said and "CUDA 12.8" in said


def test_without_a_card_torch_stays_as_it_is(tmp_path: Path):
    assert "no NVIDIA card" in run(tmp_path)


@pytest.mark.parametrize(
    ("smi", "why"),
    [
        ("echo NVIDIA-SMI has failed because it could not communicate with the driver.; exit 9", "has failed because"),
        ("exit 6", "exit status 6"),
        (nvidia_smi("NVIDIA H100, 580.95.05, [N/A]"), "from Turing on"),
        ("true", "finds no card"),
        ("echo No devices were found", "finds no card"),
        (nvidia_smi("NVIDIA GeForce GTX 680, 470.256.02, 3.0"), "CUDA 12 needs 525"),
    ],
)
def test_a_driver_that_does_not_serve_is_no_error(tmp_path: Path, smi: str, why: str):
    said = run(tmp_path, smi=smi)
    assert "not used" in said and why in said
    assert not folder_in(tmp_path).parent.exists()


def test_a_driver_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(torch_cuda, "ANSWER", 0.2)
    with pytest.raises(Unsuitable, match="does not answer"):
        torch_cuda.find_card()


def test_a_full_disk_is_seen_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usage = type("usage", (), {"free": 4.2e9})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(Unsuitable, match=r"4\.2 GB free.*Make room"):
        torch_cuda.check_space(tmp_path / "not/there/yet")


def test_it_can_be_left_alone(tmp_path: Path):
    said = run(tmp_path, smi=nvidia_smi("NVIDIA RTX A4000, 580.95.05, 8.6"), DIFFBMP_CUDA="no")
    assert "left alone" in said and not folder_in(tmp_path).exists()


def wheel(folder: Path, name: str, number: str, files: dict[str, str], needs: str = "") -> None:
    """Writes a wheel for any Python."""
    info = f"{name}-{number}.dist-info"
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(folder / f"{name}-{number}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(text)}\n"
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")


def torch_wheels(folder: Path, cuda: str = "13.0") -> Path:
    """A torch that needs another package, for pip to find."""
    folder.mkdir()
    text = f"import nvidia_part\n__version__ = '2.13.0'\nclass version:\n    cuda = {cuda!r}\n"
    wheel(folder, "torch", "2.13.0", {"torch/__init__.py": text, f"torch/_C{EXTENSION_SUFFIXES[0]}": ""}, "nvidia_part")
    wheel(folder, "nvidia_part", "1.0", {"nvidia_part.py": ""})
    return folder


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan("cu130", HERE, tmp_path / "krita/krita_diffbmp-libraries")


def local_pip(monkeypatch: pytest.MonkeyPatch, wheels: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))


@needs_pip
def test_torch_and_what_it_needs_go_into_the_folder_and_nowhere_else(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
):
    local_pip(monkeypatch, torch_wheels(tmp_path / "wheels"))
    for _ in range(2):  # the second replaces the first
        torch_cuda.install(plan)
        assert {path.name for path in plan.folder.parent.iterdir()} == {plan.folder.name}
        names = {path.name for path in plan.folder.iterdir()}
        assert {"torch", "nvidia_part.py", torch_cuda.STAMP} <= names
        assert (plan.folder / torch_cuda.STAMP).read_text() == plan.stamp
        (plan.folder / "old").touch()


@needs_pip
@pytest.mark.parametrize("trouble", ["no wheel", "no cuda", "does not load"])
def test_what_fails_leaves_the_old_folder_and_nothing_else(
    trouble: str, tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
):
    wheels = torch_wheels(tmp_path / "wheels", cuda="" if trouble == "no cuda" else "13.0")
    if trouble == "no wheel":
        (wheels / "torch-2.13.0-py3-none-any.whl").unlink()
    elif trouble == "does not load":
        wheel(wheels, "nvidia_part", "1.0", {"nvidia_part.py": "raise OSError('libcudart.so.13: cannot open')"})
    local_pip(monkeypatch, wheels)
    plan.folder.mkdir(parents=True)
    (plan.folder / "old").touch()
    with pytest.raises(Unsuitable, match="could not fetch" if trouble == "no wheel" else "does not load"):
        torch_cuda.install(plan)
    assert {path.name for path in plan.folder.parent.iterdir()} == {plan.folder.name}
    assert {path.name for path in plan.folder.iterdir()} == {"old"}


@needs_pip
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_download_leaves_nothing_that_is_taken_for_torch(
    number: signal.Signals, tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
):
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never answers
        port = server.getsockname()[1]
        code = (  # shells have what they start in the background ignore SIGINT
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "from pathlib import Path; from tools.torch_cuda import *; "
            f"install(Plan('cu130', {HERE}, Path({str(plan.folder)!r})))"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=CHECKOUT,
            env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"http://127.0.0.1:{port}/"},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        server.settimeout(30)
        connection, _ = server.accept()
        os.killpg(process.pid, number)
        process.wait(20)
        connection.close()
    assert not plan.folder.exists()
    if number == signal.SIGINT:
        assert not list(plan.folder.parent.iterdir())
    local_pip(monkeypatch, torch_wheels(tmp_path / "wheels"))
    torch_cuda.install(plan)
    assert {path.name for path in plan.folder.parent.iterdir()} == {plan.folder.name}


@needs_pip
def test_the_whole_of_it_and_out_again(tmp_path: Path):
    """From the card to the path file, and uninstalling; the build fails here, since this torch is none."""
    environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(torch_wheels(tmp_path / "wheels"))}
    smi = nvidia_smi("NVIDIA RTX A4000, 580.95.05, 8.6")
    program = (
        "import sys; from tools import torch_cuda; torch_cuda.build_extension = lambda folder, nvcc: print('BUILD');"
        "torch_cuda.check_space = lambda folder: 99.0; sys.exit(torch_cuda.main())"
    )
    run(tmp_path, "--dry-run", smi=smi)  # which puts the command in place
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=CHECKOUT,
            env={**clean_environment(tmp_path), **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)
    folder = folder_in(tmp_path)
    assert "fetching torch for CUDA 13.0" in said[0] and f"is in {folder}: 0.0 GB" in said[0] and "BUILD" in said[0]
    assert "already" in said[1] and "fetching" not in said[1] and "BUILD" in said[1]
    installer = [sys.executable, str(CHECKOUT / "tools/install.py")]
    subprocess.run(installer, env=clean_environment(tmp_path), check=True, capture_output=True)
    path_file = folder.parent / "pykrita/krita_diffbmp.path"
    assert path_file.read_text() == f"{folder}\n"
    shown = subprocess.run(
        [*installer, "--uninstall", "--dry-run"], env=clean_environment(tmp_path), capture_output=True
    )
    assert f"would remove {folder}" in shown.stdout.decode() and folder.exists()
    subprocess.run([*installer, "--uninstall"], env=clean_environment(tmp_path), check=True, capture_output=True)
    assert not folder.exists() and not path_file.exists()


def test_the_extension_is_built_for_that_torch_and_without_nvcc_for_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    builds: list[tuple[str, str]] = []

    def fake_run(command: list[str], env: dict[str, str], check: bool = False) -> subprocess.CompletedProcess[str]:
        builds.append((command[-1], env["PYTHONPATH"]))
        return subprocess.CompletedProcess(command, int(command[-1] == "--cuda" and failing))

    monkeypatch.setattr(subprocess, "run", fake_run)
    failing = False
    torch_cuda.build_extension(tmp_path, Path("/nvcc"))
    assert builds == [("--cuda", str(tmp_path))] and capsys.readouterr().out == ""
    torch_cuda.build_extension(tmp_path, None)
    assert builds[1:] == [("--cpu", str(tmp_path))] and "nvidia-cuda-toolkit" in capsys.readouterr().out
    failing = True
    torch_cuda.build_extension(tmp_path, Path("/nvcc"))
    assert [build[0] for build in builds[2:]] == ["--cuda", "--cpu"] and "/nvcc could not" in capsys.readouterr().out


LOOK = """
import sys
sys.path.insert(0, {checkout!r})
sys.path[1:1] = [{system!r}]
import numpy
from krita_diffbmp import libraries
libraries.PATH_FILE = __import__("pathlib").Path({path_file!r})
libraries.extend_path()
libraries.extend_path()
import torch, other, extra
print(torch.where, numpy.where, other.where, extra.where, importlib.util.find_spec("torch.inner").origin)
"""


@pytest.mark.parametrize("suits", [True, False])
def test_the_folders_torch_wins_and_nothing_else_of_it(suits: bool, tmp_path: Path):
    def package(folder: str, name: str) -> Path:
        place = tmp_path / folder / name
        place.mkdir(parents=True)
        (place / "__init__.py").write_text(f"where = {folder!r}")
        return place

    for folder in ("system", "own"):
        for name in ("torch", "numpy", "other"):
            package(folder, name)
        (tmp_path / folder / "torch/inner.py").touch()
    package("own", "extra")
    suffix = EXTENSION_SUFFIXES[0] if suits else ".cpython-399-x86_64-linux-gnu.so"
    (tmp_path / "own/torch" / f"_C{suffix}").touch()
    (tmp_path / "x.path").write_text(f"{tmp_path}/own\n\n{tmp_path}/gone\n")
    code = LOOK.format(checkout=str(CHECKOUT), system=str(tmp_path / "system"), path_file=str(tmp_path / "x.path"))
    said = subprocess.run(
        [sys.executable, "-c", "import importlib.util\n" + code], capture_output=True, text=True, check=True
    ).stdout.split()
    chosen = "own" if suits else "system"
    assert said == [chosen, "system", "system", "own", str(tmp_path / chosen / "torch/inner.py")]
