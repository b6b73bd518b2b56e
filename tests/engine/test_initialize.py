import math

import pytest
import torch

from krita_diffbmp.engine.initialize import (
    OPACITY_START,
    Parameters,
    initialize,
    sample_pixels,
    size_range,
    stretch,
    structure,
)
from krita_diffbmp.problem import Settings

FIELDS = ("position", "rotation", "log_size", "opacity", "color", "bitmap")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def half_busy(height=64, width=128, channels=3):
    """Calm gray on the left, noise on the right, opaque: [C + 1, H, W]."""
    target = torch.full((channels + 1, height, width), 0.6)
    target[:-1, :, width // 2 :] = torch.rand(channels, height, width // 2, generator=generator(1))
    target[-1] = 1
    return target


def test_structure_is_the_variance_of_a_window_normalised():
    busy = structure(half_busy())
    assert busy.shape == (64, 128) and busy.min() >= 0 and busy.max() == 1
    assert busy[:, :60].max() < 1e-5 and busy[:, 70:].mean() > 0.4
    step = torch.zeros(2, 20, 20)
    step[:, :, 10:] = 1
    # Of 7 columns the window has 3 bright ones on the last dark column, which is the most there is, and 1 two before.
    assert structure(step)[10, 9].item() == pytest.approx(1)
    assert structure(step)[10, 7].item() == pytest.approx(1 * 6 / (3 * 4), abs=1e-5)
    assert structure(torch.ones(4, 9, 9)).eq(0).all()


def test_busy_places_get_more_and_smaller_instances():
    start = initialize(half_busy(), 3, Settings(instances=4000), generator())
    right = start.position[:, 0] > 64
    assert right.sum() > 1.3 * (~right).sum()
    assert start.log_size[right].exp().mean() < 0.8 * start.log_size[~right].exp().mean()


def test_sizes_stay_within_the_settings():
    settings = Settings(instances=2000, min_size=0.05, max_size=0.3)
    low, high = size_range(settings, 64, 128)
    assert (low, high) == pytest.approx((0.05 * 128, 0.3 * 128))
    sizes = initialize(half_busy(), 1, settings, generator()).log_size.exp()
    assert sizes.min() >= low - 1e-4 and sizes.max() <= high + 1e-3


def test_larger_instances_lie_further_back():
    sizes = initialize(half_busy(), 1, Settings(), generator()).log_size
    assert sizes.diff().max() <= 0


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colours_are_logits_of_the_pixel(channels):
    """Peer's defect 2: pixel values served as logits, so that everything began between .50 and .73."""
    target = torch.ones(channels + 1, 40, 40)
    for channel, value in enumerate((0.1, 0.9, 0.4, 0.7)[:channels]):
        target[channel] = value
    start = initialize(target, 1, Settings(instances=200), generator())
    colors = torch.sigmoid(start.color)
    assert colors.shape == (200, channels)
    for channel, value in enumerate((0.1, 0.9, 0.4, 0.7)[:channels]):
        assert colors[:, channel].mean().item() == pytest.approx(value, abs=0.005)
        assert 0 < colors[:, channel].std() < 0.02
    assert start.opacity.eq(OPACITY_START).all() and OPACITY_START == -2


def test_black_and_white_have_finite_logits():
    target = torch.zeros(4, 20, 20)
    target[:, :, 10:] = 1
    target[-1] = 1
    start = initialize(target, 1, Settings(instances=100), generator())
    assert start.color.isfinite().all() and start.color.abs().max() < 6


def test_nothing_is_placed_where_the_target_is_transparent():
    target = half_busy()
    target[:, :, 40:] = 0
    start = initialize(target, 1, Settings(instances=500), generator())
    assert start.position[:, 0].max() < 40 and start.color.isfinite().all()


def test_translucent_pixels_give_their_straight_colour():
    target = torch.full((4, 30, 30), 0.25)
    target[:-1] = 0.25 * 0.8
    start = initialize(target, 1, Settings(instances=100), generator())
    assert torch.sigmoid(start.color).mean().item() == pytest.approx(0.8, abs=0.01)


def test_bitmaps_and_angles_are_uniform():
    start = initialize(half_busy(), 4, Settings(instances=8000), generator())
    counts = torch.bincount(start.bitmap.long(), minlength=4)
    assert start.bitmap.dtype == torch.int32 and counts.min() > 1800
    assert start.rotation.abs().max() <= math.pi and abs(start.rotation.mean()) < 0.1


def test_the_seed_decides():
    first, again, other = (initialize(half_busy(), 3, Settings(), generator(seed)) for seed in (5, 5, 6))
    for name in FIELDS:
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.position, other.position)


def test_pixels_are_sampled_in_proportion_to_the_density():
    density = torch.tensor([[0.0, 1.0], [3.0, 0.0]])
    row, column = sample_pixels(density, 4000, generator())
    assert set(zip(row.tolist(), column.tolist(), strict=True)) == {(0, 1), (1, 0)}
    assert row.float().mean().item() == pytest.approx(0.75, abs=0.03)


def test_a_stretch_keeps_the_area():
    aspect = torch.tensor([0.0, math.log(4), -math.log(2.25)])
    expected = [[[1, 0], [0, 1]], [[2, 0], [0, 0.5]], [[1 / 1.5, 0], [0, 1.5]]]
    torch.testing.assert_close(stretch(aspect), torch.tensor(expected))
    free, uniform = (initialize(half_busy(), 1, Settings(max_stretch=most), generator()) for most in (2.0, 1.0))
    assert free.aspect is not None and free.aspect.eq(0).all()
    assert uniform.aspect is None and uniform.instances(torch.tensor([9.0])).stretch is None
    assert all(torch.equal(getattr(free, name), getattr(uniform, name)) for name in FIELDS)


def test_scale_is_the_longest_side_over_that_of_the_bitmap():
    start = initialize(half_busy(), 2, Settings(instances=50), generator())
    sides = torch.tensor([10.0, 300.0])
    placed = start.instances(sides)
    torch.testing.assert_close(placed.scale * sides[start.bitmap.long()], start.log_size.exp())
    assert isinstance(start.copy(), Parameters) and start.copy().position is not start.position
