import math

import numpy as np
import pytest
import torch

from krita_diffbmp.engine import pyramid
from krita_diffbmp.engine.scene import LEVEL_FIELDS


def bitmap(width, height, channels=3, seed=0):
    return np.random.default_rng(seed).random((height, width, channels + 1), dtype=np.float32)


def stored(packed, index, level):
    """The texels of a level that was not left out."""
    texels = pyramid.level_texels(packed, index, level)
    assert texels is not None
    return texels


def coverage(packed, index, level):
    """Sum of alpha times texel area, in square bitmap pixels of level 0."""
    texels = stored(packed, index, level)
    width, height = pyramid.level_size(packed, index, 0)
    return float(texels[-1].double().mean()) * width * height


def test_level_sizes_halve_the_area_down_to_one_texel():
    packed = pyramid.pack([bitmap(100, 30)])
    sizes = [pyramid.level_size(packed, 0, level) for level in range(packed.levels.shape[1])]
    assert sizes[:5] == [(100, 30), (71, 21), (50, 15), (35, 11), (25, 8)]
    assert sizes[-1] == (1, 1) and sizes[-2] != (1, 1)


def test_table_and_border():
    packed = pyramid.pack([bitmap(5, 3), bitmap(9, 9, seed=1)])
    assert packed.levels.dtype == torch.int32 and packed.levels.shape[2] == LEVEL_FIELDS
    used = packed.levels[:, :, 1] > 0
    assert used.sum(1).tolist() == [pyramid.level_count(5, 3), pyramid.level_count(9, 9)]
    end = 0
    for offset, width, height, *box in packed.levels[used].tolist():
        assert offset == end
        end += (width + 2) * (height + 2)
        framed = packed.texels[:, offset:end].view(4, height + 2, width + 2)
        assert box == [0, 0, width, height]
        for edge in (framed[:, 0], framed[:, -1], framed[:, :, 0], framed[:, :, -1]):
            assert not edge.any()
    assert end == packed.texels.shape[1]


def test_texels_are_premultiplied_and_transparent_colour_is_ignored():
    pixels = bitmap(6, 4)
    pixels[0, 0] = (np.nan, np.inf, 5, 0)
    texels = stored(pyramid.pack([pixels]), 0, 0)
    assert not texels[:, 0, 0].any()
    expected = pixels[1:, :, :3] * pixels[1:, :, 3:]
    np.testing.assert_array_equal(texels[:3, 1:].numpy(), np.moveaxis(expected, 2, 0))


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (7, 5), (128, 128), (33, 200), (1, 40)])
@pytest.mark.parametrize("sigma", [0.0, 0.002, 0.05])
def test_coverage_is_the_same_in_every_level(size, sigma):
    packed = pyramid.pack([bitmap(*size)], sigma=sigma, dtype=torch.float64)
    whole = coverage(pyramid.pack([bitmap(*size)], dtype=torch.float64), 0, 0)
    for level in range(packed.levels.shape[1]):
        # Three standard deviations hold all but .27 % of a Gaussian, in each direction.
        assert coverage(packed, 0, level) == pytest.approx(whole, rel=1e-9 if sigma == 0 else 6e-3)


@pytest.mark.parametrize("sigma", [0.0, 0.03])
def test_centroid_is_the_same_in_every_level(sigma):
    pixels = np.zeros((60, 90, 4), np.float32)
    pixels[5:20, 50:80] = 1
    packed = pyramid.pack([pixels], sigma=sigma, dtype=torch.float64)
    width, height = pyramid.level_size(packed, 0, 0)
    for level in range(8):
        alpha = stored(packed, 0, level)[-1]
        h, w = alpha.shape
        x = (alpha.sum(0) * (torch.arange(w) + 0.5)).sum() / alpha.sum() * width / w - width / 2
        y = (alpha.sum(1) * (torch.arange(h) + 0.5)).sum() / alpha.sum() * height / h - height / 2
        # Within .03 texels, and a texel is about a pixel of the canvas where its level is drawn.
        assert (float(x), float(y)) == pytest.approx((65 - 45, 12.5 - 30), abs=0.03 * width / w)


def test_stripes_average_out_and_do_not_alias():
    pixels = np.ones((64, 64, 4), np.float32)
    pixels[:, ::2, 3] = 0
    texels = stored(pyramid.pack([pixels]), 0, 4)
    assert texels.numpy() == pytest.approx(0.5)


def test_blur_is_a_gaussian_relative_to_the_longest_side():
    pixels = np.zeros((41, 81, 2), np.float32)
    pixels[20, 40] = 1
    packed = pyramid.pack([pixels], sigma=0.05, dtype=torch.float64)
    alpha = stored(packed, 0, 0)[-1].numpy()
    assert alpha.shape == (41 + 26, 81 + 26)
    y, x = np.mgrid[-33:34, -53:54]
    spread = 0.05 * 81
    # Averages over texel and cell add 1/12 each to the variance.
    variance = spread**2 + 2 / 12
    gaussian = np.exp(-(x**2 + y**2) / (2 * variance)) / (2 * math.pi * variance)
    assert np.abs(alpha - gaussian).max() < 0.005 * gaussian.max()


@pytest.mark.parametrize("sigma", [0.05, 0.15, 0.3])
def test_a_coarser_source_blurs_as_well(sigma, monkeypatch):
    packed = pyramid.pack([bitmap(200, 90)])
    quick = pyramid.soften(packed, sigma)
    monkeypatch.setattr(pyramid, "BLUR_TEXELS", float("inf"))
    exact = pyramid.soften(packed, sigma)
    assert torch.equal(quick.levels[..., :3], exact.levels[..., :3])
    assert (quick.texels - exact.texels).abs().max() < 0.004, "one level of 255"


def test_colour_is_softened_only_if_it_is_asked_for():
    packed = pyramid.pack([bitmap(20, 30)])
    with_color, without = pyramid.soften(packed, 0.1), pyramid.soften(packed, 0.1, color=False)
    torch.testing.assert_close(with_color.texels[-1], without.texels[-1])
    assert torch.equal(with_color.levels, without.levels)
    assert with_color.texels[:-1].any() and not without.texels[:-1].any()


def test_levels_finer_than_the_largest_scale_are_left_out():
    pixels = bitmap(400, 400)
    whole, part = pyramid.pack([pixels]), pyramid.pack([pixels], scales=[(0, 0.25)])
    assert part.texels.shape[1] < whole.texels.shape[1] / 10
    assert pyramid.level_size(part, 0, 0) == (400, 400)
    for level in range(4):
        assert pyramid.level_texels(part, 0, level) is None
    for level in range(4, part.levels.shape[1]):
        assert torch.equal(stored(part, 0, level), stored(whole, 0, level))
    assert pyramid.level_texels(pyramid.soften(part, 0.1), 0, 3) is None


def test_levels_coarser_than_the_smallest_scale_are_left_out():
    pixels = bitmap(400, 400)
    whole, part = pyramid.pack([pixels]), pyramid.pack([pixels], scales=[(0.25, 0.5)])
    assert part.levels.shape == whole.levels.shape and torch.equal(part.levels[..., 1:3], whole.levels[..., 1:3])
    kept = [level for level in range(part.levels.shape[1]) if pyramid.level_texels(part, 0, level) is not None]
    assert kept == [2, 3, 4]
    assert all(torch.equal(stored(part, 0, level), stored(whole, 0, level)) for level in kept)
    blurred, narrow = pyramid.soften(whole, 0.05), pyramid.soften(part, 0.05, scales=[(0.25, 0.5)])
    assert torch.equal(narrow.levels[..., 1:3], blurred.levels[..., 1:3])
    for level in range(narrow.levels.shape[1]):
        if level in kept:
            assert torch.equal(stored(narrow, 0, level), stored(blurred, 0, level))
        else:
            assert pyramid.level_texels(narrow, 0, level) is None


def test_what_is_drawn_softened_has_its_own_largest_scale():
    packed = pyramid.pack([bitmap(300, 200)])
    whole, part = pyramid.soften(packed, 0.05), pyramid.soften(packed, 0.05, scales=[(0, 0.5)])
    assert torch.equal(part.levels[0, :, 1:3], whole.levels[0, :, 1:3])
    assert [pyramid.level_texels(part, 0, level) is None for level in range(4)] == [True, True, False, False]
    for level in range(2, part.levels.shape[1]):
        assert torch.equal(stored(part, 0, level), stored(whole, 0, level))


def test_many_threads_are_there_again_after_small_bitmaps():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    pyramid.soften(pyramid.pack([bitmap(30, 20)]), 0.05)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_box_holds_what_is_not_transparent():
    pixels = np.zeros((10, 12, 4), np.float32)
    pixels[3:5, 4:9] = 1
    packed = pyramid.pack([pixels])
    assert packed.levels[0, 0].tolist() == [0, 12, 10, 4, 3, 9, 5]
    assert pyramid.pack([pixels * 0]).levels[0, 0, 3:].tolist() == [0, 0, 0, 0]


def test_nearest_level():
    packed = pyramid.pack([bitmap(64, 64), bitmap(2, 2)])
    assert pyramid.level_count(64, 64) == 12 and pyramid.level_count(2, 2) == 2
    scales = [8.0, 1.0, 0.85, 0.8, 0.5, 0.26, 1e-9]
    expected = [0, 0, 0, 1, 2, 4, 11]
    assert [pyramid.nearest_level(scale, 12) for scale in scales] == expected
    chosen = pyramid.nearest_levels(packed, torch.zeros(7, dtype=torch.int32), torch.tensor(scales))
    assert chosen.tolist() == expected
    assert pyramid.nearest_levels(packed, torch.ones(7, dtype=torch.int32), torch.tensor(scales)).max() == 1


def test_bad_input():
    with pytest.raises(ValueError, match="at least one"):
        pyramid.pack([])
    with pytest.raises(ValueError, match="channels"):
        pyramid.pack([bitmap(3, 3, 1), bitmap(3, 3, 3)])
