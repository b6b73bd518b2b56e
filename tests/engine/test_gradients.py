"""Values and gradients: the extension against the float64 reference, and both against finite differences.

A gradient is compared for several random derivatives of the loss by the picture at once: for a single one the
contributions of the pixels may cancel, and then nothing is left but rounding.

They are compared with the derivative of the loss set to zero at pixels that some instance samples very near to a
texel line. The slope of bilinear sampling jumps there, and which side a sample lies on is decided by rounding.
"""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from strategies import (
    MARGINS,
    Kind,
    cast,
    kinds,
    parameters_of,
    relative_error,
    scene_of,
    scene_with,
    smooth_pixels,
    weights,
)

from krita_diffbmp.engine.render import implementation, render

pytestmark = pytest.mark.skipif(implementation().name != "extension", reason=implementation().reason)

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
FLOOR = 1e-2  # of a gradient's norm, for losses that change by up to 1 with every pixel and channel
OPAQUE = 1e-8  # transmittance below which the extension draws nothing more: kOpaque in csrc/render.h
IMAGE_TOLERANCE = {torch.float32: 2e-5, torch.float64: 1.1 * OPAQUE}


def gradients(scene, losses, use):
    """Parameter name to gradients, [len(losses), ...]."""
    names = parameters_of(scene)
    out: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    drawn = render(scene, use)
    for by_color, by_transmittance in losses:
        pulled = torch.autograd.grad(
            (drawn.color, drawn.transmittance),
            [getattr(scene.instances, name) for name in names],
            (by_color.to(drawn.color.dtype), by_transmittance.to(drawn.color.dtype)),
            retain_graph=True,
        )
        for name, gradient in zip(names, pulled, strict=True):
            out[name].append(gradient)
    return {name: torch.stack(values) for name, values in out.items()}


def compare(scene, dtype, *, opaque=False):
    where = smooth_pixels(scene, MARGINS[dtype])
    if not opaque:  # what is hidden by opaque pixels has a gradient of nearly nothing, and gets none
        where &= render(scene, "reference").transmittance > OPAQUE
    losses = [weights(scene, where, seed) for seed in range(4)]
    truth = gradients(cast(scene, torch.float64), losses, "reference")
    found = gradients(cast(scene, dtype), losses, "extension")
    for name in parameters_of(scene):
        assert relative_error(found[name], truth[name], FLOOR) < TOLERANCE[dtype], name


def loss(scene, losses, use):
    by_color, by_transmittance = losses
    drawn = render(scene, use)
    return ((drawn.color * by_color).sum() + (drawn.transmittance * by_transmittance).sum()).item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=150, deadline=None)
@given(kind=kinds())
def test_picture_is_that_of_the_reference(dtype, kind):
    scene = cast(scene_of(kind), dtype)
    with torch.no_grad():
        truth = render(cast(scene, torch.float64), "reference")
        found = render(scene, "extension")
    assert (found.color - truth.color).abs().max() < IMAGE_TOLERANCE[dtype]
    assert (found.transmittance - truth.transmittance).abs().max() < IMAGE_TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=200, deadline=None)
@given(kind=kinds())
def test_gradients_are_those_of_the_reference(dtype, kind):
    compare(scene_of(kind), dtype)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("mu_blend", [0.0, 0.5])
def test_gradients_of_an_opaque_stack_in_a_tile_that_is_not_opaque(seed, mu_blend):
    """Some pixels take no further instance, and their neighbours do."""
    kind = Kind(seed, width=64, height=32, count=60, mu_blend=mu_blend, solid=True, sides=(8, 8), scale=(1.0, 2.5))
    scene = scene_of(dataclasses.replace(kind, opacity=(-2.0, 20.0), spread=0.4))
    transmittance = render(scene, "reference").transmittance
    assert (transmittance < OPAQUE).any()
    assert (transmittance > 0.1).any()
    compare(scene, torch.float32, opaque=True)
    compare(scene, torch.float64)


STEPS = {"position": 1e-6, "rotation": 1e-6, "scale": 1e-7, "opacity": 1e-5, "color": 1e-5, "stretch": 1e-7}


@pytest.mark.parametrize("use", ["extension", "reference"])
@pytest.mark.parametrize("mu_blend", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_gradients_are_finite_differences(use, mu_blend, seed):
    kind = Kind(seed, channels=(1, 3, 4)[seed % 3], mu_blend=mu_blend, width=40, height=30, alpha_max=0.95)
    kind = dataclasses.replace(kind, stretched=seed >= 3, blended=seed >= 4)
    scene = scene_of(kind)
    losses = weights(scene, smooth_pixels(scene, 1e-3))
    found = gradients(cast(scene, torch.float64), [losses], use)
    generator = torch.Generator().manual_seed(seed)
    for name in parameters_of(scene):
        value = getattr(scene.instances, name)
        direction = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        step = STEPS[name] * direction
        with torch.no_grad():
            ahead, behind = (loss(scene_with(scene, **{name: value + s}), losses, use) for s in (step, -step))
        difference = (ahead - behind) / (2 * STEPS[name])
        expected = (found[name][0] * direction).sum().item()
        assert difference == pytest.approx(expected, rel=1e-5, abs=1e-5), name
