import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from strategies import stretches

from krita_diffbmp.engine import pieces, pyramid, reference
from krita_diffbmp.engine.scene import Instances, Scene
from krita_diffbmp.problem import Bitmap, DiffBmpError, Placements, Problem, Settings

SIZE = (150, 120)  # px, width and height of the document


def soft_bitmap(width, height, channels, seed):
    """Smooth colours under a soft alpha that ends in a hard edge on one side."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x * rng.uniform(0.1, 0.5) + y * rng.uniform(0.1, 0.5) + rng.uniform(0, 6)) for _ in range(channels)]
    alpha = np.clip(1.5 - 2 * np.hypot(x / width - 0.3, y / height - 0.5), 0, 1)
    return (np.stack([*(0.5 + 0.5 * wave for wave in waves), alpha], 2)).astype(np.float32)


def problem(channels=3, mu_blend=0.5):
    bitmaps = [
        soft_bitmap(w, h, channels, seed) for seed, (w, h) in enumerate([(64, 40), (31, 90), (1, 1), (200, 170)])
    ]
    return Problem(
        target=np.ones((SIZE[1], SIZE[0], channels + 1), np.float32),
        bitmaps=tuple(Bitmap(str(index), pixels) for index, pixels in enumerate(bitmaps)),
        settings=Settings(mu_blend=mu_blend),
    )


def placements(problem, count=40, seed=0, plain=True):
    """`plain`: neither stretched nor with shares of colour of their own."""
    rng = np.random.default_rng(seed)
    bitmap = rng.integers(0, len(problem.bitmaps), count).astype(np.int32)
    sides = np.array([max(bitmap.pixels.shape[:2]) for bitmap in problem.bitmaps])
    return Placements(
        position=(rng.uniform(-0.1, 1.1, (count, 2)) * SIZE).astype(np.float32),
        rotation=rng.uniform(-7, 7, count).astype(np.float32),
        scale=(np.exp(rng.uniform(np.log(3), np.log(90), count)) / sides[bitmap]).astype(np.float32),
        opacity=rng.uniform(0.05, 0.99, count).astype(np.float32),
        color=rng.random((count, problem.target.shape[2] - 1), dtype=np.float32),
        bitmap=bitmap,
        stretch=None if plain else stretches(rng, count).numpy().astype(np.float32),
        mu_blend=None if plain else rng.uniform(-0.5, 1.5, count).clip(0, 1).astype(np.float32),
    )


def drawn(problem, placed):
    """The reference's rendering in float64: premultiplied [h, w, C + 1]."""
    scene = Scene(
        bitmaps=pyramid.pack([bitmap.pixels for bitmap in problem.bitmaps], dtype=torch.float64),
        instances=Instances(
            position=torch.from_numpy(placed.position).double(),
            rotation=torch.from_numpy(placed.rotation).double(),
            scale=torch.from_numpy(placed.scale).double(),
            opacity=torch.logit(torch.from_numpy(placed.opacity).double() / 0.9999),
            color=torch.from_numpy(placed.color).double(),
            bitmap=torch.from_numpy(placed.bitmap),
            stretch=None if placed.stretch is None else torch.from_numpy(placed.stretch).double(),
            mu_blend=None if placed.mu_blend is None else torch.from_numpy(placed.mu_blend).double(),
        ),
        height=SIZE[1],
        width=SIZE[0],
        mu_blend=problem.settings.mu_blend,
    )
    color, transmittance = reference.render(scene)
    return torch.cat([color, 1 - transmittance[None]]).permute(1, 2, 0).numpy()


def over(canvas, pixels, opacity):
    """Straight pixels over a premultiplied canvas of the same size."""
    alpha = pixels[..., -1:] * opacity
    canvas *= 1 - alpha
    canvas[..., :-1] += pixels[..., :-1] * alpha
    canvas[..., -1:] += alpha


def psnr(a, b):
    return -10 * math.log10(max(float(np.mean((a - b) ** 2)), 1e-30))


def composite_painted(problem, placed):
    canvas = np.zeros((SIZE[1], SIZE[0], problem.target.shape[2]))
    for piece in pieces.painted_pieces(problem, placed):
        h, w, _ = piece.pixels.shape
        left, top = max(piece.x, 0), max(piece.y, 0)
        right, bottom = min(piece.x + w, SIZE[0]), min(piece.y + h, SIZE[1])
        if left < right and top < bottom:
            window = piece.pixels[top - piece.y : bottom - piece.y, left - piece.x : right - piece.x]
            over(canvas[top:bottom, left:right], window.astype(np.float64), piece.opacity)
    return canvas


def sample_live(piece):
    """What an exact affine resample of a live piece shows on the document, straight [h, w, 4]."""
    image = np.asarray(Image.open(io.BytesIO(piece.png)), np.float64) / 255
    rows, columns, _ = image.shape
    a, b, c, d, e, f = piece.matrix
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]] + 0.5
    inverse = np.linalg.inv([[a, c, e], [b, d, f], [0, 0, 1]])
    u = (inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]) * columns / piece.width - 0.5
    v = (inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]) * rows / piece.height - 0.5
    image[..., :3] *= image[..., 3:]
    out = np.zeros((*x.shape, 4))
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = np.floor(u).astype(int) + dx, np.floor(v).astype(int) + dy
            inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
            weight = np.where(inside, (1 - np.abs(u - column)) * (1 - np.abs(v - row)), 0)
            out += weight[..., None] * image[row.clip(0, rows - 1), column.clip(0, columns - 1)]
    out[..., :3] /= np.maximum(out[..., 3:], 1e-9)
    return out


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("mu_blend", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_painted_pieces_composite_to_what_the_engine_draws(channels, mu_blend, plain):
    task = problem(channels, mu_blend)
    placed = placements(task, plain=plain)
    composite = composite_painted(task, placed)
    assert psnr(composite, drawn(task, placed)) > 90


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("mu_blend", [0.0, 0.4, 1.0])
def test_live_pieces_composite_to_what_the_engine_draws(mu_blend, plain):
    task = problem(3, mu_blend)
    placed = placements(task, plain=plain)
    canvas = np.zeros((SIZE[1], SIZE[0], 4))
    for piece in pieces.live_pieces(task, placed):
        over(canvas, sample_live(piece), piece.opacity)
    # 8-bit pixels: .29 levels RMS each before 40 of them are blended.
    assert psnr(canvas, drawn(task, placed)) > 50


def test_live_pieces_have_a_transparent_border_and_their_own_tint():
    task = problem(3, 0.25)
    placed = placements(task)
    for index, piece in enumerate(pieces.live_pieces(task, placed)):
        image = np.asarray(Image.open(io.BytesIO(piece.png)))
        assert (piece.width, piece.height) == image.shape[1::-1]
        for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
            assert not edge[:, 3].any()
        own = image[0, 0, :3] / 255
        np.testing.assert_allclose(own, 0.75 * placed.color[index], atol=0.003)
        assert piece.opacity == pytest.approx(placed.opacity[index])


def test_live_pieces_hold_about_one_texel_per_pixel():
    task = problem()
    placed = placements(task)
    placed.scale[:] = 0.26
    for piece, which in zip(pieces.live_pieces(task, placed), placed.bitmap, strict=True):
        height, width, _ = task.bitmaps[which].pixels.shape
        expected = [max(1, math.floor(side / 4 + 0.5)) for side in (width, height)]
        assert [piece.width - 2, piece.height - 2] == expected


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (40, 31)])
def test_pixels_come_back_from_a_png(size):
    width, height = size
    levels = np.random.default_rng(2).integers(0, 256, (height, width, 4), np.uint8)
    file = Image.open(io.BytesIO(pieces._png(levels)))
    assert file.mode == "RGBA" and file.size == size
    np.testing.assert_array_equal(np.asarray(file), levels)


def test_some_of_the_pieces_are_those_of_all():
    task = problem()
    placed = placements(task, plain=False)
    which = [3, 7, 30]
    painted, live = list(pieces.painted_pieces(task, placed)), list(pieces.live_pieces(task, placed))
    for index, some, alone in zip(
        which, pieces.painted_pieces(task, placed, which), pieces.live_pieces(task, placed, which), strict=True
    ):
        assert (some.x, some.y, some.opacity) == (painted[index].x, painted[index].y, painted[index].opacity)
        np.testing.assert_array_equal(some.pixels, painted[index].pixels)
        assert alone == live[index]
    assert list(pieces.painted_pieces(task, placed, [])) == [] == list(pieces.live_pieces(task, placed, []))


def test_live_pieces_are_for_rgb():
    task = problem(channels=4)
    with pytest.raises(DiffBmpError, match="RGB"):
        next(pieces.live_pieces(task, placements(task)))


def test_pieces_far_outside_and_smaller_than_a_pixel():
    task = problem()
    placed = placements(task, count=3)
    placed.position[0] = (-5000, 9000)
    placed.scale[1] = 1e-4
    painted = list(pieces.painted_pieces(task, placed))
    assert (painted[0].x, painted[0].y) < (-4000, 8000)
    assert all(min(piece.pixels.shape) > 0 for piece in painted)
    assert len(list(pieces.live_pieces(task, placed))) == 3
