"""The sample: small, at least six bitmaps with soft alpha and colour, and drawn by its own script."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.demo_layout import palette

SAMPLE = Path(__file__).resolve().parent.parent / "sample"
FILES = sorted((SAMPLE / "bitmaps").glob("*.png"))


@pytest.fixture(scope="module")
def drawn() -> dict[str, Image.Image]:
    spec = importlib.util.spec_from_file_location("make_bitmaps", SAMPLE / "make_bitmaps.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    images: dict[str, Image.Image] = module.draw()
    return images


def test_the_sample_is_small() -> None:
    assert len(FILES) >= 6
    assert sum(file.stat().st_size for file in FILES) < 300_000
    photo = SAMPLE / "photo.jpg"
    assert photo.stat().st_size < 300_000
    assert max(Image.open(photo).size) >= 768


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_bitmap_is_cropped_and_has_soft_alpha_and_colour(file: Path) -> None:
    image = Image.open(file)
    assert image.mode == "RGBA"
    assert 100 <= max(image.size) <= 220
    pixels = np.asarray(image)
    alpha = pixels[..., 3]
    assert all(side.max() > 0 for side in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))
    assert np.mean((alpha > 8) & (alpha < 247)) > 0.05
    visible = pixels[alpha > 128][:, :3].astype(int)
    assert len(np.unique(visible, axis=0)) > 50


def test_the_script_draws_these_very_bitmaps(drawn: dict[str, Image.Image]) -> None:
    assert sorted(drawn) == [file.stem for file in FILES]
    for file in FILES:
        stored, fresh = (np.asarray(i).astype(int) for i in (Image.open(file), drawn[file.stem]))
        assert stored.shape == fresh.shape, file.stem
        covered = np.minimum(stored[..., 3], fresh[..., 3]) > 0
        # Another processor's Fourier transform may round differently: one step of the colours' quantisation.
        assert np.abs(stored[..., 3] - fresh[..., 3]).max() <= 1, file.stem
        assert np.abs(stored - fresh)[covered].max() <= 4, file.stem


def test_the_bitmaps_lie_apart_on_the_photo() -> None:
    sizes = [Image.open(file).size for file in FILES]
    width, height = Image.open(SAMPLE / "photo.jpg").size
    taken = np.zeros((height, width), bool)
    for (w, h), (x, y) in zip(sizes, palette(sizes, width, height), strict=True):
        assert x >= 0 and x + w <= width and y >= 0 and y + h <= height
        assert not taken[y : y + h, x : x + w].any()
        taken[y : y + h, x : x + w] = True
