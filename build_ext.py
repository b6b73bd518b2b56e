#!/usr/bin/env python3
"""Builds the renderer's compiled operators for the torch of the Python that runs this.

Needs a C++20 compiler ($CXX, else c++, g++ or clang++), ninja, and torch with its headers; no header of Python's. The
library goes to krita_diffbmp/engine/_lib/torch-VERSION/, with a record of what it was built from. It uses all
instructions of this processor and says so in the record, so that another computer refuses it instead of crashing.
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
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "csrc"
OBJECTS = ROOT / "build" / "extension"
sys.path.insert(0, str(ROOT))

# at::parallel_for is OpenMP in a header. Its runtime is torch's own: linking another would double the threads.
COMPILE_FLAGS = ["-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-fopenmp"]
LINK_FLAGS = ["-shared", "-lc10", "-ltorch_cpu", "-ltorch"]
NVCC_FLAGS = ["-std=c++17", "-O3", "--threads", "0", "-Xcompiler", "-fPIC,-fvisibility=hidden"]


class BuildError(Exception):
    """Why nothing could be built, in one sentence."""


@dataclass(frozen=True)
class Built:
    """What `build` made."""

    library: Path
    compiler: str
    cuda: bool
    notes: tuple[str, ...]  # what was left out, and why
    seconds: float


def build(*, cuda: bool | None = None, arch: str = "", output: Path | None = None, verbose: bool = False) -> Built:
    """Compiles what has changed and links the library.

    `cuda`: True demands the CUDA kernels, False leaves them out, None takes them where they can be built. `arch`: GPU
    architectures for nvcc ("8.6 9.0+PTX", "native" or "all"); without it those of this machine's GPUs, or all where it
    has none. `output`: the folder instead of krita_diffbmp/engine/_lib.

    Raises BuildError, with one sentence.
    """
    started = time.monotonic()
    try:
        import torch
    except ImportError as error:
        raise BuildError(f"torch is missing for {sys.executable}: {error}") from error
    try:
        from torch.utils import cpp_extension
    except ImportError as error:
        raise BuildError(f"torch's extension builder needs another Python package: {error}") from error
    from krita_diffbmp.engine import extension

    ninja = _tool("ninja", "ninja-build")
    if not ninja:
        raise BuildError("ninja is missing: install ninja-build (apt) or ninja (pip)")
    compiler = os.environ.get("CXX") or _tool("c++", "g++", "clang++")
    if not compiler:
        raise BuildError("a C++ compiler is missing: install g++, or name one in $CXX")
    nvcc, notes = _cuda_compiler(cuda, torch.version.cuda, cpp_extension.CUDA_HOME)
    arch = arch or ("native" if nvcc and torch.cuda.is_available() else "all")

    native = _native_flags()
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    includes = [flag for folder in cpp_extension.include_paths() for flag in ("-isystem", folder)]
    folders = cpp_extension.library_paths()
    target = extension.folder_for(torch.__version__, output or extension.LIBRARY_FOLDER)
    objects = OBJECTS / target.name
    text = _ninja_file(
        compiler=compiler,
        cxx_flags=[*COMPILE_FLAGS, *native, abi, *includes, *(_cuda_includes(nvcc) if nvcc else [])],
        nvcc=nvcc,
        nvcc_flags=[*NVCC_FLAGS, *_arch_flags(arch)] if nvcc else [],
        link_flags=[*(f"-L{folder}" for folder in folders), *LINK_FLAGS, *(_cuda_libraries(nvcc) if nvcc else [])],
        library=objects / extension.LIBRARY,
    )
    objects.mkdir(parents=True, exist_ok=True)
    _write_if_changed(objects / "build.ninja", text)
    command = [ninja, "-C", str(objects), *(["-v"] if verbose else [])]
    done = subprocess.run(command, capture_output=not verbose, text=True)
    if done.returncode != 0:
        log = "" if verbose else f"\n{done.stdout}{done.stderr}"
        raise BuildError(f"{compiler} could not compile the extension.{log}")

    version = _first_line([*shlex.split(compiler), "--version"])
    record = {
        "torch": torch.__version__,
        "compiler": version,
        "flags": [*COMPILE_FLAGS, *native],
        "cpu_flags": _relied_upon(compiler, native, extension.processor_flags()),
        "cuda": torch.version.cuda if nvcc else None,
        "arch": arch if nvcc else "",
        "source_hash": extension.source_hash(bool(nvcc), SOURCES),
    }
    target.mkdir(parents=True, exist_ok=True)
    # By renaming: a process that has the old library open keeps it.
    for name in (extension.LIBRARY, extension.RECORD):
        temporary = target / f".{name}.{os.getpid()}"
        if name == extension.LIBRARY:
            shutil.copy2(objects / name, temporary)
        else:
            temporary.write_text(json.dumps(record, indent=1) + "\n")
        temporary.replace(target / name)
    return Built(target / extension.LIBRARY, version, bool(nvcc), notes, time.monotonic() - started)


def compile_kernels(nvcc: str, arch: str, objects: Path) -> list[Path]:
    """Compiles the CUDA kernels alone, without torch, and links nothing: whether they compile. Returns the objects.

    Raises BuildError with the compiler's words, warnings included.
    """
    made = []
    for source in sorted(SOURCES.glob("cuda/*.cu")):
        made.append(objects / f"{source.stem}.o")
        flags = [*NVCC_FLAGS, "-Werror", "all-warnings", *_arch_flags(arch)]
        done = subprocess.run([nvcc, *flags, "-c", str(source), "-o", str(made[-1])], capture_output=True, text=True)
        if done.returncode != 0:
            raise BuildError(f"{nvcc} could not compile {source.name}.\n{done.stdout}{done.stderr}")
    return made


def clean(output: Path | None = None) -> list[Path]:
    """Removes everything that was built; returns the folders that were there."""
    folders = [OBJECTS, output or ROOT / "krita_diffbmp" / "engine" / "_lib"]
    removed = [folder for folder in folders if folder.is_dir()]
    for folder in removed:
        shutil.rmtree(folder)
    return removed


def _tool(*names: str) -> str | None:
    beside = Path(sys.executable).parent  # where a virtual environment has its commands
    for name in names:
        found = shutil.which(name) or shutil.which(name, path=str(beside))
        if found:
            return found
    return None


def _first_line(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("\n")[0]
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(f"the compiler {command[0]} does not run: {error}") from error


def _native_flags() -> list[str]:
    return ["-march=native"] if platform.machine() in ("x86_64", "AMD64") else ["-mcpu=native"]


def _relied_upon(compiler: str, native: list[str], here: frozenset[str]) -> list[str]:
    """Those of this processor's flags (in the words of /proc/cpuinfo) that the compiler makes use of."""
    command = [*shlex.split(compiler), *native, "-dM", "-E", "-x", "c++", os.devnull]
    macros = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    names = {name.replace("_", "").lower() for name in re.findall(r"^#define __(\w+)__ 1$", macros, re.MULTILINE)}
    return sorted(flag for flag in here if flag.replace("_", "") in names)


def _cuda_compiler(wanted: bool | None, torch_cuda: str | None, home: str | None) -> tuple[str | None, tuple[str, ...]]:
    """nvcc, if the CUDA kernels are to be built; otherwise why not."""
    if wanted is False:
        return None, ()
    missing = ""
    nvcc = str(Path(home) / "bin" / "nvcc") if home else shutil.which("nvcc")
    if not torch_cuda:
        missing = "this torch is built without CUDA"
    elif not nvcc or not Path(nvcc).exists():
        missing = "nvcc was not found"
    if not missing:
        return nvcc, ()
    if wanted:
        raise BuildError(f"cannot build for CUDA: {missing}")
    return None, (f"without CUDA: {missing}",)


def _cuda_home(nvcc: str) -> Path:
    """The toolkit that a compiler is part of: its own word counts, since nvcc may be a script that calls it."""
    command = [nvcc, "-v", "-E", "-x", "cu", os.devnull, "-o", os.devnull]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    top = re.search(r"^#\$ TOP=(.*)$", said, re.MULTILINE)
    return Path(top[1].strip()).resolve() if top else Path(nvcc).resolve().parents[1]


def _cuda_includes(nvcc: str) -> list[str]:
    return ["-isystem", str(_cuda_home(nvcc) / "include")]


def _cuda_libraries(nvcc: str) -> list[str]:
    """torch's, and CUDA's runtime: the static one, which works beside whichever torch brings."""
    folders = [_cuda_home(nvcc) / name for name in ("lib64", "lib", f"targets/{platform.machine()}-linux/lib")]
    paths = [f"-L{folder}" for folder in folders if folder.is_dir()]
    return [*paths, "-lc10_cuda", "-ltorch_cuda", "-lcudart_static", "-ldl", "-lrt", "-lpthread"]


def _arch_flags(arch: str) -> list[str]:
    """nvcc's flags for "8.6 9.0+PTX", "native" (the GPUs of this machine) or "all" (from Turing on, PTX included)."""
    if arch == "native":
        return ["-arch=native"]
    if arch == "all":
        return ["-arch=all-major"]
    flags = []
    for name in arch.replace(",", " ").split():
        match = re.fullmatch(r"(\d+)\.(\d+)(\+PTX)?", name)
        if not match:
            raise BuildError(f"{name} is no GPU architecture: say --arch native, --arch all or --arch '8.6 9.0+PTX'")
        number = match[1] + match[2]
        flags += ["-gencode", f"arch=compute_{number},code=sm_{number}"]
        if match[3]:
            flags += ["-gencode", f"arch=compute_{number},code=compute_{number}"]
    return flags


def _ninja_file(
    *,
    compiler: str,
    cxx_flags: list[str],
    nvcc: str | None,
    nvcc_flags: list[str],
    link_flags: list[str],
    library: Path,
) -> str:
    def escaped(path: Path) -> str:
        return re.sub(r"([$ :])", r"$\1", str(path))

    def line(flags: list[str]) -> str:
        return shlex.join(flags).replace("$", "$$")

    lines = [
        "rule cxx",
        f"  command = {compiler} {line(cxx_flags)} -MMD -MF $out.d -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "rule link",
        f"  command = {compiler} $in {line(link_flags)} -o $out",
    ]
    sources = [SOURCES / "ops.cpp", *sorted(SOURCES.glob("cpu/*.cpp"))]
    if nvcc:
        sources += [SOURCES / "ops_cuda.cpp", *sorted(SOURCES.glob("cuda/*.cu"))]
        lines += [
            "rule nvcc",
            f"  command = {line([nvcc, *nvcc_flags])} -MMD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
        ]
    objects = []
    for source in sources:
        rule = "nvcc" if source.suffix == ".cu" else "cxx"
        objects.append(f"{source.parent.name}_{source.name}.o")
        lines.append(f"build {objects[-1]}: {rule} {escaped(source)}")
    lines += [f"build {escaped(Path(library.name))}: link {' '.join(objects)}", ""]
    return "\n".join(lines)


def _write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--cpu", action="store_true", help="leave the CUDA kernels out")
    which.add_argument("--cuda", action="store_true", help="fail where the CUDA kernels cannot be built")
    parser.add_argument("--arch", default="", metavar="LIST", help="GPU architectures: native, all, or '8.6 9.0+PTX'")
    parser.add_argument("--output", type=Path, metavar="DIR", help="instead of krita_diffbmp/engine/_lib")
    parser.add_argument("--clean", action="store_true", help="remove what was built, and stop")
    parser.add_argument("--verbose", action="store_true", help="show the compiler at work")
    options = parser.parse_args(arguments)
    if options.clean:
        removed = clean(options.output)
        print("\n".join(f"removed {folder}" for folder in removed) or "nothing was built")
        return 0
    cuda = True if options.cuda else False if options.cpu else None
    try:
        built = build(cuda=cuda, arch=options.arch, output=options.output, verbose=options.verbose)
    except BuildError as error:
        print(f"build_ext: {error}", file=sys.stderr)
        return 1
    print(f"built {built.library} ({'CPU and CUDA' if built.cuda else 'CPU'}) in {built.seconds:.1f} s")
    print(f"with {built.compiler}")
    for note in built.notes:
        print(note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
