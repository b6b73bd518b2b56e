"""The name and memory of the graphics card, through real calls into a library that stands for the driver's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from krita_diffbmp import libraries
from krita_diffbmp.card import Card
from tests.ui.driver import build_driver


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return build_driver(tmp_path_factory.mktemp("driver"))


def ask(code: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", f"from krita_diffbmp.card import find_card; {code}"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_card_says_what_it_is(driver: dict[str, str]):
    assert ask("print(find_card())", driver) == "NVIDIA H100, 80 GB"


@pytest.mark.parametrize("trouble", ["no driver", "no card"])
def test_a_driver_without_a_card_that_works(trouble: str, driver: dict[str, str]):
    assert ask("print(find_card())", {**driver, "FAKE_CARD": trouble}) == "None"


@pytest.mark.parametrize("kind", ["none", "empty file", "another library"])
def test_no_driver(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from krita_diffbmp import card

    library = tmp_path / "libcuda.so.1"
    if kind == "empty file":
        library.touch()
    monkeypatch.setattr(card, "LIBRARY", "libm.so.6" if kind == "another library" else str(library))
    assert card.find_card.__wrapped__() is None


def test_other_threads_go_on_while_the_driver_wakes_up(driver: dict[str, str]):
    code = (
        "import threading, time; t = threading.Thread(target=find_card); t.start(); n = 0\n"
        "while t.is_alive(): time.sleep(0.01); n += 1\n"
        "print(n)"
    )
    assert int(ask(code, {**driver, "FAKE_CARD": "slow"})) > 20


def test_it_is_asked_once(driver: dict[str, str]):
    began = time.monotonic()
    assert ask("print(find_card() is find_card())", {**driver, "FAKE_CARD": "slow"}) == "True"
    assert time.monotonic() - began < 3.9


def test_memory_is_told_as_cards_are_sold():
    assert str(Card("NVIDIA GeForce RTX 3060", 12622168064)) == "NVIDIA GeForce RTX 3060, 12 GB"


def torch_of(folder: Path, cuda: str | None) -> str:
    """A torch of which version.py is all there is; returns its version."""
    (folder / "torch").mkdir(parents=True)
    (folder / "torch/__init__.py").touch()
    (folder / "torch/version.py").write_text(
        "from typing import Optional\n__all__ = ['cuda']\n__version__ = '2.11.0+cu126'\ndebug = False\n"
        f"cuda: Optional[str] = {cuda!r}\nhip: Optional[str] = None\n"
    )
    return "2.11.0+cu126"


@pytest.mark.parametrize(
    ("cuda", "record", "said"),
    [
        ("12.6", {"cuda": "12.6"}, ""),
        ("12.6", {"cuda": None}, "the extension is built without CUDA"),
        ("12.6", None, "the extension is not built for this PyTorch"),
        (None, {"cuda": None}, "PyTorch is built without CUDA"),
    ],
)
def test_what_is_in_the_way_shows_without_loading_torch(
    cuda: str | None,
    record: dict[str, str | None] | None,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    version = torch_of(tmp_path, cuda)
    monkeypatch.setattr(libraries, "EXTENSIONS", tmp_path / "_lib")
    if record is not None:
        (tmp_path / f"_lib/torch-{version}").mkdir(parents=True)
        (tmp_path / f"_lib/torch-{version}/build.json").write_text(json.dumps(record))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert libraries.cuda_obstacle() == said
    assert "torch" not in sys.modules


def test_no_torch_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert libraries.cuda_obstacle() == "PyTorch is missing"


def test_it_is_the_engines_record_that_is_read():
    from krita_diffbmp.engine import extension

    assert extension.folder_for("2.6.0") / extension.RECORD == libraries.EXTENSIONS / "torch-2.6.0" / "build.json"


def test_the_real_torch_is_understood():
    import torch

    assert (libraries.cuda_obstacle() == "PyTorch is built without CUDA") == (torch.version.cuda is None)
