"""Building the extension, and recognising a library that cannot be used, with a reason that can be acted on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import build_ext
from krita_diffbmp.engine import extension

ROOT = Path(build_ext.__file__).resolve().parent


def can_build():
    ninja, compiler = build_ext._tool("ninja", "ninja-build"), build_ext._tool("c++", "g++", "clang++")
    return bool(ninja and compiler)


needs_compiler = pytest.mark.skipif(not can_build(), reason="no ninja or no C++ compiler")


def run(code, **environment):
    """A fresh Python: (exit code, standard output, standard error)."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    return done.returncode, done.stdout, done.stderr


def write_record(libraries, *, version=torch.__version__, library=b"", **changes):
    folder = extension.folder_for(version, libraries)
    folder.mkdir(parents=True)
    record = {"torch": version, "cpu_flags": [], "cuda": None, "source_hash": extension.source_hash(False), **changes}
    (folder / extension.RECORD).write_text(json.dumps(record))
    if library is not None:
        (folder / extension.LIBRARY).write_bytes(library)


@needs_compiler
def test_build_makes_a_library_that_loads_and_says_what_it_is(tmp_path):
    code, out, err = run(
        f"import build_ext; raise SystemExit(build_ext.main(['--cpu', '--output', {str(tmp_path)!r}]))"
    )
    assert code == 0, err
    folder = extension.folder_for(torch.__version__, tmp_path)
    assert str(folder / extension.LIBRARY) in out
    assert "(CPU)" in out
    record = json.loads((folder / extension.RECORD).read_text())
    assert record["torch"] == torch.__version__
    assert record["compiler"] in out
    assert record["source_hash"] == extension.source_hash(False)
    assert set(record["cpu_flags"]) <= extension.processor_flags()
    assert "-O3" in record["flags"]
    assert extension.unusable(tmp_path) == ""
    load = f"import torch; torch.ops.load_library({str(folder / extension.LIBRARY)!r}); print(torch.ops.diffbmp.render)"
    code, out, err = run(load)
    assert code == 0, err
    assert "diffbmp.render" in out


@needs_compiler
def test_library_needs_neither_python_nor_a_thread_pool_of_its_own(tmp_path):
    """torch's OpenMP runtime is used; a second one would double the threads."""
    built = build_ext.build(cuda=False, output=tmp_path)
    needed = subprocess.run(["readelf", "-d", built.library], capture_output=True, text=True, check=True).stdout
    assert "libtorch_cpu" in needed
    assert "python" not in needed
    assert "omp" not in needed


def test_clean_removes_what_was_built(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build_ext, "OBJECTS", tmp_path / "objects")
    (tmp_path / "objects").mkdir()
    (tmp_path / "libraries").mkdir()
    assert build_ext.main(["--clean", "--output", str(tmp_path / "libraries")]) == 0
    assert list(tmp_path.iterdir()) == []
    assert "removed" in capsys.readouterr().out
    assert build_ext.main(["--clean", "--output", str(tmp_path / "libraries")]) == 0


# ---- what is missing gets one sentence, and no traceback


def failure(code, **environment):
    exit_code, _, err = run(f"import sys\n{code}\nimport build_ext\nsys.exit(build_ext.main(['--cpu']))", **environment)
    assert exit_code == 1
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if "No CUDA runtime is found" not in line]  # a torch with CUDA says so
    return "\n".join(lines).strip().removeprefix("build_ext: ")


def test_no_torch():
    said = failure("sys.modules['torch'] = None")
    assert said.startswith("torch is missing for")
    assert "\n" not in said


def test_no_ninja(tmp_path):
    hidden = (
        "import shutil; found = shutil.which; shutil.which = lambda n, **k: None if 'ninja' in n else found(n, **k)"
    )
    assert failure(hidden) == "ninja is missing: install ninja-build (apt) or ninja (pip)"


@pytest.mark.skipif(not build_ext._tool("ninja", "ninja-build"), reason="no ninja")
def test_no_compiler():
    hidden = "import shutil; found = shutil.which; shutil.which = lambda n, **k: None if '++' in n else found(n, **k)"
    said = failure(f"import os; os.environ.pop('CXX', None); {hidden}")
    assert said == "a C++ compiler is missing: install g++, or name one in $CXX"


def test_cuda_demanded_where_it_cannot_be(monkeypatch, capsys):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert build_ext.main(["--cuda"]) == 1
    assert capsys.readouterr().err.startswith(("build_ext: cannot build for CUDA: ", "build_ext: ninja is missing"))


def test_architectures():
    assert build_ext._arch_flags("8.6 9.0+PTX") == [
        "-gencode",
        "arch=compute_86,code=sm_86",
        "-gencode",
        "arch=compute_90,code=sm_90",
        "-gencode",
        "arch=compute_90,code=compute_90",
    ]
    with pytest.raises(build_ext.BuildError, match="fast is no GPU architecture"):
        build_ext._arch_flags("fast")


# ---- a library that cannot be used


def test_not_built(tmp_path):
    assert extension.unusable(tmp_path) == "the extension is not built: python3 build_ext.py"


def test_built_for_another_torch(tmp_path):
    write_record(tmp_path, version="1.13.1")
    reason = extension.unusable(tmp_path)
    assert reason.startswith(f"the extension is built for torch 1.13.1, but this is torch {torch.__version__}")


def test_built_for_another_processor(tmp_path, monkeypatch):
    monkeypatch.setattr(extension, "processor_flags", lambda: frozenset({"sse2", "avx2"}))
    write_record(tmp_path, cpu_flags=["avx2", "avx512f", "sse2"])
    assert "this one lacks avx512f" in extension.unusable(tmp_path)


def test_processor_that_says_nothing_is_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr(extension, "processor_flags", lambda: frozenset())
    write_record(tmp_path, cpu_flags=["avx512f"])
    assert extension.unusable(tmp_path) == ""


def test_built_from_other_sources(tmp_path):
    write_record(tmp_path, source_hash="0")
    assert "from other sources" in extension.unusable(tmp_path)


def test_record_without_library(tmp_path):
    write_record(tmp_path, library=None)
    assert "is missing" in extension.unusable(tmp_path)


def test_library_that_does_not_load(tmp_path):
    write_record(tmp_path, library=b"no library")
    status = extension.load(tmp_path)
    assert not status.available
    assert status.reason.startswith("the extension does not load: ")
