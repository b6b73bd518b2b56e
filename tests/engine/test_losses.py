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
    error = losses.SquaredError(target_color, target_transmittance)
    if kind == "transparent":
        found = error.with_alpha(color, transmittance)
        difference = torch.cat([color - target_color, (transmittance - target_transmittance)[None]])
        expected = difference.square().mean()
    else:
        background = torch.full((channels, 1, 1), losses.white(channels), dtype=torch.float64)
        if kind == "noise":
            background = torch.rand(channels, HEIGHT, WIDTH, dtype=torch.float64)
        found = error.over(background, color, transmittance)
        picture = color + transmittance * background
        target = target_color + target_transmittance * background
        expected = (picture - target).square().mean()
        arguments = (color, transmittance, target_color, target_transmittance, background)
        torch.testing.assert_close(losses.squared_error(*arguments), expected)
    torch.testing.assert_close(found[0], expected.detach())
    gradients = torch.autograd.grad(expected, (color, transmittance))
    torch.testing.assert_close(found[1], gradients[0])
    torch.testing.assert_close(found[2], gradients[1])


def test_white_is_light_or_no_ink():
    assert [losses.white(channels) for channels in (1, 3, 4)] == [1, 1, 0]


def test_psnr():
    assert losses.psnr(0.01) == pytest.approx(20)
    assert losses.psnr(0.0) == losses.PSNR_LIMIT
    assert math.isnan(losses.psnr(math.nan))
