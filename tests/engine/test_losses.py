import math

import pytest
import torch

from krita_diffbmp.engine import losses

HEIGHT, WIDTH = 6, 9


def images(channels, seed=0):
    """Colour and transmittance of a picture and of a target, in float64."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(channels, HEIGHT, WIDTH), (HEIGHT, WIDTH)] * 2
    return [torch.rand(shape, generator=generator, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", ["noise", "white", "transparent"])
def test_error_and_gradients_are_those_of_autograd(channels, kind):
    color, transmittance, target_color, target_transmittance = images(channels)
    color.requires_grad_()
    transmittance.requires_grad_()
    error = losses.SquaredError(kind, target_color, target_transmittance)
    found = error(color, transmittance)
    if kind == "transparent":
        difference = torch.cat([color - target_color, (transmittance - target_transmittance)[None]])
        expected = difference.square().mean()
    else:
        background = torch.full((channels, 1, 1), losses.white(channels), dtype=torch.float64)
        picture = color + transmittance * background
        target = target_color + target_transmittance * background
        expected = (picture - target).square().mean()
        arguments = (color, transmittance, target_color, target_transmittance, background)
        torch.testing.assert_close(losses.squared_error(*arguments), expected)
        if kind == "noise":  # Simpson's rule is exact for a parabola
            ends = [losses.squared_error(*arguments[:-1], torch.tensor(value)) for value in (0.0, 0.5, 1.0)]
            expected = (ends[0] + 4 * ends[1] + ends[2]) / 6
    torch.testing.assert_close(found[0], expected.detach())
    gradients = torch.autograd.grad(expected, (color, transmittance))
    torch.testing.assert_close(found[1], gradients[0])
    torch.testing.assert_close(found[2], gradients[1])


@pytest.mark.parametrize("kind", ["noise", "white", "transparent"])
def test_pictures_are_compared_by_their_planes(kind):
    color, transmittance, target_color, target_transmittance = images(3)
    error = losses.SquaredError(kind, target_color, target_transmittance)
    planes = error.planes(color, transmittance) - error.target_planes()
    count = 4 if kind == "transparent" else 3
    torch.testing.assert_close(planes.square().sum(0).mean() / count, error(color, transmittance)[0])


def test_holes_have_a_weight_of_their_own():
    color, transmittance, target_color, target_transmittance = images(3)
    transmittance.requires_grad_()
    error = losses.SquaredError("noise", target_color, target_transmittance)
    (before, _, slope), through = error(color, transmittance), transmittance - target_transmittance
    slope = slope.clone()
    error.hole_weight = 0.7
    after = error(color, transmittance)
    expected = 0.7 * through.square().mean()
    torch.testing.assert_close(after[0] - before, expected.detach())
    torch.testing.assert_close(after[2] - slope, torch.autograd.grad(expected, transmittance)[0])


def test_white_is_light_or_no_ink():
    assert [losses.white(channels) for channels in (1, 3, 4)] == [1, 1, 0]


def test_psnr():
    assert losses.psnr(0.01) == pytest.approx(20)
    assert losses.psnr(0.0) == losses.PSNR_LIMIT
    assert math.isnan(losses.psnr(math.nan))
