"""Puts the plugin into the user's Krita, or takes it out; see `make install` and `make uninstall`.

    python3 tools/install.py [--uninstall] [--dry-run] [--libraries FOLDER]

Krita looks for Python plugins, and for the descriptions of their actions, in `pykrita` of its resource folder:
the one that KRITA_RESOURCES names, else `ResourceDirectory` of Krita's own settings, else the `krita` folder of
XDG_DATA_HOME (~/.local/share). The plugin is switched on in `kritarc` of XDG_CONFIG_HOME (~/.config).
Where Krita brings a Python of its own, --libraries names the folder in which that Python finds torch and numpy; the
folder that tools/torch_cuda.py makes is found without.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = "krita_diffbmp"
LIBRARIES = f"{PACKAGE}-libraries"  # in the resource folder: torch for CUDA, where tools/torch_cuda.py has put one
SWITCH = f"enable_{PACKAGE}"  # Krita's name for it, in the group [python]


def settings_file() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kritarc"


def resource_folder(settings: Path) -> Path:
    if named := os.environ.get("KRITA_RESOURCES"):
        return Path(named).expanduser()
    if settings.exists() and (chosen := re.search(r"^ResourceDirectory=(/.+)$", read(settings), re.MULTILINE)):
        return Path(chosen[1].strip())
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "krita"


def own_libraries() -> Path | None:
    """Where tools/torch_cuda.py has put a torch for CUDA; None if it has not."""
    folder = resource_folder(settings_file()) / LIBRARIES
    return folder if folder.is_dir() else None


def read(path: Path) -> str:
    """The text of a settings file, every byte kept, whatever its encoding and line ends."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def write(path: Path, text: str) -> None:
    """Replaces a file in one step, so that nothing is lost if this is interrupted."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with open(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)
    shutil.copymode(path, temporary) if path.exists() else os.chmod(temporary, 0o600)
    os.replace(temporary, path)


def switched(text: str, on: bool) -> str:
    """The settings with the plugin's switch set (or taken out), all else as it was."""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = [line for line in text.splitlines(keepends=True) if not re.match(rf"{SWITCH}\s*=", line)]
    if on:
        if lines and not lines[-1].endswith(("\n", "\r")):
            lines[-1] += end
        headers = [number for number, line in enumerate(lines) if line.strip() == "[python]"]
        if not headers:
            lines += [end] * bool(lines and lines[-1].strip()) + [f"[python]{end}"]
            headers = [len(lines) - 1]
        lines.insert(headers[0] + 1, f"{SWITCH}=true{end}")
    return "".join(lines)


def remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def put(source: Path, target: Path) -> None:
    """Copies a file or folder to `target` by renaming the finished copy: a running Krita keeps what it has loaded."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".diffbmp-") as name:
        copy = Path(name) / source.name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy)
        remove(target)
        copy.rename(target)


def parts(resources: Path) -> list[tuple[Path, Path]]:
    """What is copied, and where to."""
    return [(CHECKOUT / name, resources / "pykrita" / name) for name in (PACKAGE, "diffbmp.desktop")]


def main() -> int:
    parser = argparse.ArgumentParser(description="Install the DiffBMP plugin for Krita, or remove it.")
    parser.add_argument("--uninstall", action="store_true")
    parser.add_argument("--libraries", type=Path, metavar="FOLDER", help="where Krita's own Python finds torch")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    arguments = parser.parse_args()
    settings = settings_file()
    resources = resource_folder(settings)
    before = read(settings) if settings.exists() else ""
    after = switched(before, on=not arguments.uninstall)
    would = "would " if arguments.dry_run else ""
    for source, target in parts(resources):
        print(f"{PACKAGE}: {would}{'remove' if arguments.uninstall else 'copy to'} {target}")
        if arguments.dry_run:
            continue
        if arguments.uninstall:
            remove(target)
        else:
            put(source, target)
    path_file = resources / "pykrita" / f"{PACKAGE}.path"  # read by krita_diffbmp/libraries.py
    if arguments.uninstall:
        for path in (path_file, resources / LIBRARIES, resources / f"{LIBRARIES}.partial"):
            if path.exists():
                print(f"{PACKAGE}: {would}remove {path}")
                if not arguments.dry_run:
                    remove(path)
    elif libraries := arguments.libraries or own_libraries():
        print(f"{PACKAGE}: {would}look for torch in {libraries.resolve()} first")
        if not arguments.dry_run:
            write(path_file, f"{libraries.resolve()}\n")
    if after != before:
        print(f"{PACKAGE}: {would}switch the plugin {'off' if arguments.uninstall else 'on'} in {settings}")
        if not arguments.dry_run:
            write(settings, after)
    if not arguments.dry_run:
        print(f"{PACKAGE}: done; if Krita is open, close it and start it again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
