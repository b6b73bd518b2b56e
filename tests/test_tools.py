"""The installer and the runner: what they change on a machine, and how commands end."""

from __future__ import annotations

import importlib.util
import os
import stat
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from tools import install

CHECKOUT = Path(__file__).parents[1]
TOOLS = CHECKOUT / "tools"


def run_installer(home: Path, *arguments: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in {"XDG_CONFIG_HOME", "XDG_DATA_HOME"}}
    command = [sys.executable, str(TOOLS / "install.py"), *arguments]
    done = subprocess.run(command, env={**kept, "HOME": str(home), **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "before",
    [
        "",
        "theme=Krita dark\n",
        "theme=Krita dark",
        "[python]\nenable_other=true\n[z]\na=b\n",
        "a=1\r\n[python]\r\nenable_other=true\r\n",
        "[python]\nenable_krita_diffbmp=false\nenable_other=true\n",
        "[pythonic]\nenable_other=true\n\n[python]\n",
        "name=\udce9\n",  # a byte that is no UTF-8
    ],
)
def test_the_switch_is_set_and_nothing_else_changes(before: str):
    on = install.switched(before, on=True)
    assert install.switched(on, on=True) == on
    lines = on.splitlines()
    assert lines.count("enable_krita_diffbmp=true") == 1
    assert lines[lines.index("enable_krita_diffbmp=true") - 1] == "[python]"
    kept = [line for line in before.splitlines() if "krita_diffbmp" not in line]
    assert [line for line in lines if "krita_diffbmp" not in line][: len(kept)] == kept
    assert "enable_krita_diffbmp" not in install.switched(on, on=False)
    assert ("\r\n" in on) == ("\r\n" in before) and "\n\r" not in on.replace("\r\n", "")


def test_install_twice_then_uninstall(tmp_path: Path):
    config = tmp_path / ".config/kritarc"
    config.parent.mkdir()
    config.write_text("theme=dark\n[python]\nenable_other=true\n")
    config.chmod(0o640)
    run_installer(tmp_path)
    first = files(tmp_path)
    resources = tmp_path / ".local/share/krita"
    assert (resources / "pykrita/diffbmp.desktop").exists()
    assert (resources / "pykrita/krita_diffbmp/problem.py").exists()
    assert "enable_krita_diffbmp=true" in config.read_text()
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    run_installer(tmp_path)
    assert files(tmp_path) == first
    run_installer(tmp_path, "--uninstall")
    assert list(files(tmp_path)) == [".config/kritarc"]
    assert config.read_text() == "theme=dark\n[python]\nenable_other=true\n"


def test_libraries_for_a_krita_with_a_python_of_its_own(tmp_path: Path):
    run_installer(tmp_path, "--libraries", str(tmp_path / "torch here"))
    path_file = tmp_path / ".local/share/krita/pykrita/krita_diffbmp.path"
    assert path_file.read_text() == f"{tmp_path / 'torch here'}\n"
    run_installer(tmp_path)
    assert path_file.exists()
    run_installer(tmp_path, "--uninstall")
    assert not path_file.exists()


def test_dry_run_says_what_it_would_do_and_does_nothing(tmp_path: Path):
    said = run_installer(tmp_path, "--dry-run")
    assert "would copy to" in said and "would switch the plugin on" in said
    assert files(tmp_path) == {}


def test_a_developers_link_is_replaced_and_not_followed(tmp_path: Path):
    pykrita = tmp_path / ".local/share/krita/pykrita"
    pykrita.mkdir(parents=True)
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout/precious.py").touch()
    (pykrita / "krita_diffbmp").symlink_to(tmp_path / "checkout")
    run_installer(tmp_path)
    assert not (pykrita / "krita_diffbmp").is_symlink()
    run_installer(tmp_path, "--uninstall")
    assert (tmp_path / "checkout/precious.py").exists()


def test_other_resource_folders(tmp_path: Path):
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config/kritarc").write_text(f"ResourceDirectory={tmp_path}/chosen\n")
    run_installer(tmp_path)
    assert (tmp_path / "chosen/pykrita/diffbmp.desktop").exists()
    run_installer(tmp_path, KRITA_RESOURCES=str(tmp_path / "named"), XDG_CONFIG_HOME=str(tmp_path / "config"))
    assert (tmp_path / "named/pykrita/diffbmp.desktop").exists()
    assert "enable_krita_diffbmp=true" in (tmp_path / "config/kritarc").read_text()


def test_run_hands_over_arguments_input_and_exit_code():
    done = subprocess.run(
        [TOOLS / "run", "sh", "-c", 'printf "%s|" "$@"; cat; exit 7', "sh", "a b", "", "$HOME", '"'],
        input="from outside",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (7, 'a b||$HOME|"|from outside')


def test_run_uses_the_python_that_krita_embeds():
    done = subprocess.run(
        [TOOLS / "run", "python3", "-c", "import sys; print(sys.executable, sys.path)"],
        env={**os.environ, "PYTHONPATH": "/elsewhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("/usr/bin/python3") and "/elsewhere" not in done.stdout


def test_where_follows_the_environment():
    for place in ("direct", "box"):
        done = subprocess.run(
            [TOOLS / "where"], env={**os.environ, "DIFFBMP_RUN": place}, capture_output=True, text=True
        )
        assert done.stdout == place + "\n"


def set_up_here(folder: Path, commands: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """tools/setup on a Debian 13 on which these commands (name: shell script) behave as said."""
    for name, script in commands.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    environment = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "DIFFBMP_RUN": "direct",
    }
    command = [str(TOOLS / "setup"), *arguments]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)


# A Debian 13 that lacks the packages of which the file `lacking` speaks.
DEBIAN_13 = {
    "apt-get": 'echo "apt-get $*"; rm -f "$HOME/lacking"',
    "dpkg": "exit 0",
    "dpkg-query": 'case "$*" in *Version*) echo 1:5.2.9; exit;; esac\n'
    'for last; do :; done\n[ -e "$HOME/lacking" ] && grep -qx "$last" "$HOME/lacking" || echo installed',
    "id": "echo 1000",
}


def test_set_up_has_nothing_to_do(tmp_path: Path):
    done = set_up_here(tmp_path, DEBIAN_13)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "set-up: ready: Krita 5.2.9 of this system\n"


def test_set_up_without_sudo_names_the_command_and_stops(tmp_path: Path):
    (tmp_path / "lacking").write_text("xvfb\nninja-build\n")
    done = set_up_here(tmp_path, {**DEBIAN_13, "sudo": "exit 1"})
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert said[1].strip() == "apt-get update && apt-get install -y --no-install-recommends ninja-build xvfb"
    assert (tmp_path / "lacking").exists()


def test_set_up_installs_with_sudo(tmp_path: Path):
    (tmp_path / "lacking").write_text("xvfb\n")
    done = set_up_here(tmp_path, {**DEBIAN_13, "sudo": '[ "$1" = -n ] && shift; exec "$@"'})
    assert done.returncode == 0 and "ready" in done.stdout
    log = (tmp_path / "cache/krita_diffbmp/setup.log").read_text()
    assert "apt-get install -y --no-install-recommends xvfb" in log


NO_PIP = {**DEBIAN_13, "nvidia-smi": "exit 0", "id": "echo 0"}


def test_set_up_adds_pip_where_there_is_a_card(tmp_path: Path):
    (tmp_path / "lacking").write_text("python3-pip\n")
    assert "would install python3-pip" in set_up_here(tmp_path, NO_PIP, "--dry-run").stdout
    assert (tmp_path / "lacking").exists()
    done = set_up_here(tmp_path, {**NO_PIP, "nvidia-smi": "exit 9"})
    assert done.returncode == 0 and "pip" not in done.stdout, "a card that does not work"
    done = set_up_here(tmp_path, {**NO_PIP, "apt-get": "exit 100"})
    assert done.returncode == 0 and "without pip" in done.stdout and "ready" in done.stdout
    done = set_up_here(tmp_path, {**NO_PIP, "id": "echo 1000", "sudo": "exit 1"})
    assert done.returncode == 0 and "run as root: apt-get install python3-pip" in done.stdout
    done = set_up_here(tmp_path, NO_PIP)
    assert done.returncode == 0 and not (tmp_path / "lacking").exists() and "without" not in done.stdout
    assert "pip" not in set_up_here(tmp_path, NO_PIP).stdout


def test_set_up_says_where_it_failed(tmp_path: Path):
    (tmp_path / "lacking").write_text("xvfb\n")
    commands = {**DEBIAN_13, "apt-get": "echo E: no network; exit 100", "id": "echo 0"}
    done = set_up_here(tmp_path, commands)
    assert done.returncode == 1
    assert "E: no network" in done.stdout and "setup.log" in done.stderr


def test_set_up_refuses_an_old_krita(tmp_path: Path):
    done = set_up_here(tmp_path, {**DEBIAN_13, "dpkg": "exit 1"})
    assert done.returncode == 1 and "5.2 or newer" in done.stderr


def test_set_up_dry_run_changes_nothing(tmp_path: Path):
    (tmp_path / "lacking").write_text("xvfb\n")
    done = set_up_here(tmp_path, {**DEBIAN_13, "id": "echo 0"}, "--dry-run")
    assert "would run as root" in done.stdout
    assert (tmp_path / "lacking").exists() and not (tmp_path / "cache").exists()


def box_is_usable() -> bool:
    """The box needs a system whose Krita is too old, root, and mounts of our own (not within another box)."""
    where = subprocess.run([TOOLS / "where"], capture_output=True, text=True).stdout.strip()
    return where == "box" and subprocess.run([TOOLS / "box", "true"], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def box() -> Path:
    if not box_is_usable():
        pytest.skip("the box is not used from here")
    return TOOLS / "box"


def running(words: str) -> bool:
    return subprocess.run(["pgrep", "-f", f"^{words}"], capture_output=True).returncode == 0


def test_the_box_ends_what_a_command_leaves_running(box: Path):
    mounts = Path("/proc/mounts").read_text()
    subprocess.run([box, "sh", "-c", "setsid sleep 86311 & sleep 0.2"], check=True)
    assert not running("sleep 86311")
    assert Path("/proc/mounts").read_text() == mounts


@pytest.mark.parametrize("ignores", [False, True])
def test_the_box_ends_when_asked_to(box: Path, ignores: bool):
    trap = "trap '' TERM; " if ignores else ""
    process = subprocess.Popen([box, "sh", "-c", f"{trap}echo ready; sleep 86312; sleep 86312"], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.wait(20) != 0
    assert not running("sleep 86312")


def test_the_box_sees_folders_at_their_own_paths(box: Path, tmp_path: Path):
    home = tmp_path / "a home"
    home.mkdir()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = os.environ.get("DIFFBMP_BOX") or f"{cache}/krita_diffbmp/debian-13"
    said = subprocess.run(
        [box, "sh", "-c", 'pwd; touch "$HOME/here"; cat /etc/debian_version'],
        env={**os.environ, "HOME": str(home), "DIFFBMP_BOX": root},
        cwd=CHECKOUT / "tests",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert said[0] == str(CHECKOUT / "tests") and said[1].startswith("13")
    assert (home / "here").exists()


def test_the_box_sees_the_nvidia_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    loader = SourceFileLoader("box", str(TOOLS / "box"))
    spec = importlib.util.spec_from_loader("box", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    libraries = "/usr/lib/x86_64-linux-gnu"
    known = (
        f"\tlibnvidia-ptxjitcompiler.so.1 (libc6,x86-64) => {libraries}/libnvidia-ptxjitcompiler.so.1\n"
        f"\tlibnvidia-ml.so.1 (libc6) => /usr/lib/i386-linux-gnu/libnvidia-ml.so.1\n"
        f"\tlibcudart.so.13 (libc6,x86-64) => /usr/local/cuda/lib64/libcudart.so.13\n"
        f"\tlibcuda.so.1 (libc6,x86-64, OS ABI: Linux 2.6.32) => {libraries}/libcuda.so.1\n"
    )
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, known))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module.driver_files() == [] and module.cuda_toolkit() == ""
    (tmp_path / "bin").mkdir()
    for name in ("nvidia-smi", "bin/nvcc"):
        (tmp_path / name).touch(0o755)
    assert module.driver_files() == [
        f"{tmp_path}/nvidia-smi",
        f"{libraries}/libnvidia-ptxjitcompiler.so.1",
        f"{libraries}/libcuda.so.1",
    ]
    assert module.cuda_toolkit() == str(tmp_path)
