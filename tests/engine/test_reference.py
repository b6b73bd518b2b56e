import math

import numpy as np
import pytest
import torch

from krita_diffbmp.engine import pyramid, reference
from krita_diffbmp.engine.scene import OPACITY_LIMIT, Instances, Scene


def instances(count, width, height, *, channels=3, bitmaps=1, seed=0, size=(0.2, 2.0)):
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    return Instances(
        position=uniform(0, 1, count, 2) * torch.tensor([width, height], dtype=torch.float64),
        rotation=uniform(-4, 4, count),
        scale=uniform(*size, count),
        opacity=uniform(-2, 2, count),
        color=uniform(0, 1, count, channels),
        bitmap=torch.randint(bitmaps, (count,), generator=generator, dtype=torch.int32),
    )


def scene(count=6, width=24, height=17, *, channels=3, mu_blend=0.5, alpha_max=0.9, seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    bitmaps = [rng.random((h, w, channels + 1), dtype=np.float32) for w, h in ((9, 7), (4, 12))]
    return Scene(
        bitmaps=pyramid.pack(bitmaps, dtype=torch.float64),
        instances=instances(count, width, height, channels=channels, bitmaps=2, seed=seed, **kwargs),
        height=height,
        width=width,
        alpha_max=alpha_max,
        mu_blend=mu_blend,
    )


def one(pixels, *, width=40, height=40, position=(20.0, 20.0), rotation=0.0, scale=1.0, opacity=30.0):
    return Scene(
        bitmaps=pyramid.pack([pixels], dtype=torch.float64),
        instances=Instances(
            position=torch.tensor([position], dtype=torch.float64),
            rotation=torch.tensor([rotation], dtype=torch.float64),
            scale=torch.tensor([scale], dtype=torch.float64),
            opacity=torch.tensor([opacity], dtype=torch.float64),
            color=torch.ones(1, pixels.shape[2] - 1, dtype=torch.float64),
            bitmap=torch.zeros(1, dtype=torch.int32),
        ),
        height=height,
        width=width,
    )


def pixel_by_pixel(scene):
    """The drawn equation in scalar Python, back to front."""
    image = np.zeros((scene.bitmaps.channels + 1, scene.height, scene.width))
    image[-1] = 1
    for i in range(len(scene.instances.scale)):
        x0, y0 = scene.instances.position[i].tolist()
        angle, scale = float(scene.instances.rotation[i]), float(scene.instances.scale[i])
        opacity = min(scene.alpha_max, OPACITY_LIMIT) / (1 + math.exp(-float(scene.instances.opacity[i])))
        tint, which = scene.instances.color[i].numpy(), int(scene.instances.bitmap[i])
        width, height = pyramid.level_size(scene.bitmaps, which, 0)
        level = pyramid.nearest_level(scale, pyramid.level_count(width, height))
        stored = pyramid.level_texels(scene.bitmaps, which, level)
        assert stored is not None
        texels = stored.numpy()
        _, rows, columns = texels.shape
        for row in range(scene.height):
            for column in range(scene.width):
                dx, dy = column + 0.5 - x0, row + 0.5 - y0
                u = (math.cos(angle) * dx + math.sin(angle) * dy) / scale + width / 2
                v = (-math.sin(angle) * dx + math.cos(angle) * dy) / scale + height / 2
                x, y = u * columns / width - 0.5, v * rows / height - 0.5
                sample = np.zeros(len(texels))
                for ty in (math.floor(y), math.floor(y) + 1):
                    for tx in (math.floor(x), math.floor(x) + 1):
                        if 0 <= tx < columns and 0 <= ty < rows:
                            sample += texels[:, ty, tx] * (1 - abs(x - tx)) * (1 - abs(y - ty))
                color = (1 - scene.mu_blend) * tint * sample[-1] + scene.mu_blend * sample[:-1]
                through = 1 - opacity * sample[-1]
                image[:-1, row, column] = opacity * color + through * image[:-1, row, column]
                image[-1, row, column] *= through
    return image


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("mu_blend", [0.0, 0.3, 1.0])
def test_draws_the_equation(channels, mu_blend, monkeypatch):
    monkeypatch.setattr(reference, "TILE", 10)
    monkeypatch.setattr(reference, "BATCH", 2)
    drawn = scene(channels=channels, mu_blend=mu_blend)
    color, transmittance = reference.render(drawn)
    assert color.shape == (channels, 17, 24) and transmittance.shape == (17, 24)
    expected = pixel_by_pixel(drawn)
    np.testing.assert_allclose(torch.cat([color, transmittance[None]]).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_gradients_are_those_of_what_is_drawn(seed):
    drawn = scene(count=4, width=12, height=10, seed=seed)
    parameters = [drawn.instances.position, drawn.instances.rotation, drawn.instances.scale]
    parameters += [drawn.instances.opacity, drawn.instances.color, drawn.bitmaps.texels]
    weights = torch.rand(4, 10, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

    def value():
        color, transmittance = reference.render(drawn)
        return (weights[:3] * color).sum() + (weights[3] * transmittance).sum()

    for tensor in parameters:
        tensor.requires_grad_()
    value().backward()
    step = 1e-7
    for tensor in parameters[:-1]:
        flat, gradient = tensor.detach().view(-1), tensor.grad.reshape(-1)
        for index in range(len(flat)):
            start = flat[index].item()
            sides = []
            for sign in (1, -1):
                flat[index] = start + sign * step
                with torch.no_grad():
                    sides.append(value().item())
            flat[index] = start
            # A texel line within the step would be a kink: at 1e-7 px it is not met.
            assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(gradient[index].item(), rel=1e-5, abs=1e-6)
    assert drawn.bitmaps.texels.grad.any()


def test_rotated_bitmaps_keep_their_corners():
    """Peer's defect 1: pixels were rejected by the axes of the canvas."""
    drawn = one(np.ones((20, 20, 4), np.float32), rotation=math.pi / 4)
    _, transmittance = reference.render(drawn)
    assert transmittance[20, 20 + 12] < 0.01 and transmittance[20 - 12, 20] < 0.01
    area = (1 - transmittance).sum().item()
    assert area == pytest.approx(20 * 20 * OPACITY_LIMIT, rel=1e-2)


@pytest.mark.parametrize("scale", [0.5, 0.3, 0.26, 0.1])
def test_minified_bitmaps_do_not_alias(scale):
    """Peer's defect 9: stripes were point-sampled."""
    pixels = np.ones((128, 128, 4), np.float32)
    pixels[:, ::4, 3] = 0
    _, transmittance = reference.render(one(pixels, scale=scale, position=(20.3, 19.9)))
    window = slice(max(20 - int(60 * scale), 0), 20 + int(60 * scale))
    inside = (1 - transmittance)[window, window]
    assert inside.mean().item() == pytest.approx(0.75, abs=0.02)
    # Point samples of the stripes would have a deviation of .43.
    assert inside.std().item() < 0.12


@pytest.mark.parametrize("scale", [3.0, 1.0, 0.7, 0.25, 0.05])
def test_area_follows_scale(scale):
    pixels = np.ones((40, 30, 2), np.float32)
    drawn = one(pixels, width=200, height=200, position=(100.2, 99.6), rotation=0.4, scale=scale)
    _, transmittance = reference.render(drawn)
    expected = 40 * 30 * scale * scale * OPACITY_LIMIT
    assert (1 - transmittance).sum().item() == pytest.approx(expected, rel=0.04)


def test_whole_pixel_shifts_and_quarter_turns_move_the_picture():
    drawn = scene(width=24, height=24)
    color, _ = reference.render(drawn)
    shift = torch.tensor([3.0, 2.0], dtype=torch.float64)
    drawn.instances.position.add_(shift)
    shifted, _ = reference.render(drawn)
    torch.testing.assert_close(shifted[:, 2:, 3:], color[:, :-2, :-3])
    drawn.instances.position.sub_(shift)
    x, y = drawn.instances.position.clone().unbind(1)
    drawn.instances.position[:, 0], drawn.instances.position[:, 1] = 24 - y, x
    drawn.instances.rotation.add_(math.pi / 2)
    turned, _ = reference.render(drawn)
    torch.testing.assert_close(turned, color.rot90(-1, (1, 2)))


def test_later_instances_lie_in_front():
    drawn = one(np.ones((20, 20, 4), np.float32))
    two = Instances(
        **{
            name: torch.cat([getattr(drawn.instances, name)] * 2)
            for name in ("position", "rotation", "scale", "opacity", "color", "bitmap")
        }
    )
    two.color[0] = 0
    color, _ = reference.render(Scene(drawn.bitmaps, two, 40, 40))
    assert color[:, 20, 20].tolist() == pytest.approx([OPACITY_LIMIT] * 3)


@pytest.mark.parametrize("name", ["position", "rotation", "scale", "opacity", "color"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_instances_that_are_not_finite_draw_nothing(name, value):
    drawn = scene(count=2)
    values = getattr(drawn.instances, name)
    values[1] = value
    values.requires_grad_()
    color, _ = reference.render(drawn)
    color.sum().backward()
    assert color.isfinite().all()
    assert not values.grad[1].any() and values.grad[0].any()


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_instances_without_extent_draw_nothing(scale):
    _, transmittance = reference.render(one(np.ones((8, 8, 4), np.float32), scale=scale))
    assert transmittance.eq(1).all()


def test_empty_canvas_and_huge_or_far_instances():
    pixels = np.ones((8, 8, 4), np.float32)
    far, tiny, huge = one(pixels, position=(1e6, -1e6)), one(pixels, scale=1e-6), one(pixels, scale=1e5)
    for drawn in (far, tiny, huge):
        color, transmittance = reference.render(drawn)
        assert color.isfinite().all() and transmittance.isfinite().all()
    assert reference.render(huge)[1].numpy() == pytest.approx(1 - OPACITY_LIMIT)
    nothing = one(pixels)
    none = Instances(
        **{
            name: getattr(nothing.instances, name)[:0]
            for name in ("position", "rotation", "scale", "opacity", "color", "bitmap")
        }
    )
    _, transmittance = reference.render(Scene(nothing.bitmaps, none, 5, 5))
    assert transmittance.eq(1).all()


def test_a_level_that_was_left_out_draws_nothing():
    bitmaps = pyramid.pack([np.ones((64, 64, 4), np.float32)], scales=[(0, 0.25)], dtype=torch.float64)
    drawn = one(np.ones((64, 64, 4), np.float32))
    _, transmittance = reference.render(Scene(bitmaps, drawn.instances, 40, 40))
    assert transmittance.eq(1).all()
