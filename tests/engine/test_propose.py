import math

import numpy as np
import pytest
import torch

from krita_diffbmp.engine import propose as proposals
from krita_diffbmp.engine import pyramid
from krita_diffbmp.engine.losses import SquaredError
from krita_diffbmp.engine.propose import error_density, propose, thumbnails
from krita_diffbmp.engine.render import Rendering, render
from krita_diffbmp.engine.scene import Scene

HEIGHT, WIDTH = 60, 80
LOG_SIZES = (math.log(4), math.log(30))


def bitmaps():
    """A white disc, and a bar of three colours; both of soft alpha."""
    y, x = (np.mgrid[0:20, 0:20] + 0.5) / 10 - 1
    disc = np.ones((20, 20, 4), np.float32)
    disc[..., 3] = np.clip(3 - 3 * np.hypot(x, y), 0, 1)
    bar = np.ones((8, 32, 4), np.float32)
    bar[..., :3] = (0.9, 0.4, 0.1)
    bar[..., 3] = 0.8
    return pyramid.pack([disc, bar])


def spot(value=0.2):
    """White, with a square of another value: [C + 1, H, W]."""
    target = torch.ones(4, HEIGHT, WIDTH)
    target[:3, 20:32, 40:52] = value
    return target


def nothing():
    return Rendering(torch.zeros(3, HEIGHT, WIDTH), torch.ones(HEIGHT, WIDTH))


def proposed(target, rendering, background="white", bitmap=None, mu_blend=0.0, seed=0, weight=None):
    compared = SquaredError(background, target[:-1], 1 - target[-1], weight)
    bitmap = torch.tensor([0, 1] * 10, dtype=torch.int32) if bitmap is None else bitmap
    generator = torch.Generator().manual_seed(seed)
    thumbs = thumbnails(bitmaps())
    return propose(bitmap, rendering, compared, target, thumbs, LOG_SIZES, 1.0, mu_blend, generator)


def error_with(fresh, target, background, mu_blend=0.0):
    """Of a picture of these alone."""
    scene = Scene(bitmaps(), fresh.instances(torch.tensor([20.0, 32.0])), HEIGHT, WIDTH, mu_blend=mu_blend)
    drawn = render(scene)
    return float(SquaredError(background, target[:-1], 1 - target[-1])(drawn.color, drawn.transmittance)[0])


def test_thumbnails_are_means():
    thumbs = thumbnails(bitmaps())
    assert thumbs.cells.shape == (2, 4, proposals.CELLS, proposals.CELLS)
    assert thumbs.sizes.tolist() == [[20, 20], [8, 32]]
    torch.testing.assert_close(thumbs.cells[1, :, 3, 3], torch.tensor([0.72, 0.32, 0.08, 0.8]))


def test_slimness_is_breadth_over_length_however_it_lies():
    disc, bar = thumbnails(bitmaps()).slimness().tolist()
    assert disc == pytest.approx(1, abs=1e-3) and bar == pytest.approx(8 / 32, abs=1e-3)
    y, x = np.mgrid[0:64, 0:64] + 0.5
    along, across = (x + y - 64) / math.sqrt(2), (y - x) / math.sqrt(2)
    diagonal = np.ones((64, 64, 4), np.float32)
    diagonal[..., 3] = (np.abs(along) < 36) & (np.abs(across) < 9)
    assert thumbnails(pyramid.pack([diagonal])).slimness().item() == pytest.approx(0.25, abs=0.05)


def test_a_place_is_sought_where_the_picture_is_worst_with_the_best_tint():
    fresh = proposed(spot(), nothing())
    reach = torch.exp(fresh.log_size)
    centre = torch.tensor([46.0, 26.0])
    assert ((fresh.position - centre).norm(dim=1) < 10 + 0.5 * reach).all()
    assert fresh.log_size.min() >= LOG_SIZES[0] and fresh.log_size.max() <= LOG_SIZES[1]
    # Nothing but the spot is worth covering over white: tints are dark, if not as dark as the spot where they overlap.
    assert torch.sigmoid(fresh.color).max() < 0.7 and fresh.opacity.eq(proposals.OPACITY_START).all()
    assert fresh.bitmap.tolist() == [0, 1] * 10


@pytest.mark.parametrize("mu_blend", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("background", ["noise", "white", "transparent"])
def test_every_proposal_mends(background, mu_blend):
    target = spot()
    before = SquaredError(background, target[:-1], 1 - target[-1])(*vars(nothing()).values())[0]
    fresh = proposed(target, nothing(), background, mu_blend=mu_blend)
    for index in range(len(fresh.rotation)):
        given = {name: values for name, values in vars(fresh).items() if values is not None}
        one = type(fresh)(**{name: values[index : index + 1] for name, values in given.items()})
        assert error_with(one, target, background, mu_blend) < before + 1e-4


def test_more_candidates_mend_more(monkeypatch):
    target = spot()
    errors = []
    for count in (1, 4, 32):
        monkeypatch.setattr(proposals, "CANDIDATES", count)
        found = []
        for seed in range(20):
            fresh = proposed(target, nothing(), "noise", torch.zeros(1, dtype=torch.int32), seed=seed)
            found.append(error_with(fresh, target, "noise"))
        errors.append(np.mean(found))
    assert errors[0] > errors[1] > errors[2]


def test_a_perfect_picture_and_what_does_not_count_get_none():
    target = spot()
    assert proposed(target, Rendering(target[:-1], 1 - target[-1])) is None
    weight = torch.ones(HEIGHT, WIDTH)
    weight[:, 36:56] = 0
    assert proposed(target, nothing(), weight=weight) is None


def test_error_density_is_zero_where_the_picture_is_right_or_the_target_transparent():
    target = torch.ones(4, 30, 60)
    target[:, :, 40:] = 0
    color = target[:-1].clone()
    color[:, 10:14, 10:14] = 0
    color[:, 10:14, 50:54] = 1
    error = SquaredError("noise", target[:-1], 1 - target[-1])
    density = error_density(error.planes(color, 1 - target[-1]), error.target_planes(), target)
    assert density[12, 12] > 0 and density[12, 30] == 0
    assert density[:, 40:].eq(0).all()
