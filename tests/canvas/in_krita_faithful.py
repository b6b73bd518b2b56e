"""What Krita composites is what the engine has rendered: whole scenes, in both forms, every instance in its layer."""

from pathlib import Path

import numpy as np
from known import premultiplied, to_floats
from krita_harness.inside import composite, refresh
from krita_harness.steps import cases, limit
from pieces import psnr
from written import scene, write

from krita_diffbmp.problem import Bitmap, Placements, Problem, Settings
from krita_diffbmp.qt import QImage

SAMPLES = Path(__file__).resolve().parents[2] / "sample/bitmaps"
SIDE = 512
SRGB = "sRGB-elle-V2-srgbtrc.icc"


def sample(path):
    image = QImage(str(path)).convertToFormat(QImage.Format.Format_RGBA8888)
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    rows = np.frombuffer(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
    return (rows[:, : image.width() * 4].reshape(image.height(), image.width(), 4) / 255).astype(np.float32)


def problem(channels, mu_blend):
    bitmaps = []
    for path in sorted(SAMPLES.glob("*.png")):
        pixels = sample(path)
        if channels == 1:
            pixels = pixels[..., [1, 3]]
        elif channels == 4:
            pixels = np.concatenate([1 - pixels[..., :3], 0.2 * pixels[..., :1], pixels[..., 3:]], axis=-1)
        bitmaps.append(Bitmap(path.stem, pixels))
    target = np.zeros((SIDE, SIDE, channels + 1), np.float32)
    return Problem(target, tuple(bitmaps), Settings(mu_blend=mu_blend))


def random_placements(posed, count, most=1.0):
    """As a run leaves them: sizes from min_size to max_size, some over the edge, stretched up to `most` times."""
    rng = np.random.default_rng(3)
    bitmap = rng.integers(0, len(posed.bitmaps), count).astype(np.int32)
    longest = np.array([max(b.pixels.shape[:2]) for b in posed.bitmaps], np.float32)[bitmap]
    size = np.exp(rng.uniform(np.log(0.02), np.log(0.2), count)) * SIDE
    channels = posed.target.shape[2] - 1
    wider = np.exp(np.random.default_rng(4).uniform(-np.log(most), np.log(most), count) / 2)
    stretch = np.stack([wider, np.zeros(count), np.zeros(count), 1 / wider], 1).reshape(count, 2, 2)
    return Placements(
        position=rng.uniform(-10, SIDE + 10, (count, 2)).astype(np.float32),
        rotation=rng.uniform(-np.pi, np.pi, count).astype(np.float32),
        scale=(size / longest).astype(np.float32),
        opacity=rng.uniform(0.05, 1, count).astype(np.float32),
        color=rng.uniform(0, 1, (count, channels)).astype(np.float32),
        bitmap=bitmap,
        stretch=stretch.astype(np.float32) if most > 1 else None,
    )


def rendered(posed, placements):
    """The engine's picture [H, W, C + 1], premultiplied, over nothing."""
    import torch

    from krita_diffbmp.engine import pyramid
    from krita_diffbmp.engine.render import render
    from krita_diffbmp.engine.scene import Instances, Scene

    torch.set_num_threads(1)  # many small tensors: a second thread would only be woken and put to sleep
    opacity = torch.from_numpy(placements.opacity).double().clamp(max=0.999999)
    instances = Instances(
        position=torch.from_numpy(placements.position),
        rotation=torch.from_numpy(placements.rotation),
        scale=torch.from_numpy(placements.scale),
        opacity=torch.logit(opacity).float(),
        color=torch.from_numpy(placements.color),
        bitmap=torch.from_numpy(placements.bitmap),
        stretch=None if placements.stretch is None else torch.from_numpy(placements.stretch),
    )
    bitmaps = pyramid.pack([bitmap.pixels for bitmap in posed.bitmaps])
    with torch.no_grad():
        picture = render(Scene(bitmaps, instances, SIDE, SIDE, 1.0, posed.settings.mu_blend), use="reference")
    return torch.cat([picture.color, picture.alpha[None]]).permute(1, 2, 0).double().numpy()


@cases(
    "live RGBA U8 300", "live RGBA U8 1000", "painted RGBA U8 300", "painted RGBA U8 1000", "painted RGBA U16 300",
    "painted RGBA F32 300", "painted GRAYA U8 300", "painted CMYKA U8 300",
    "live RGBA U8 300 stretched", "painted RGBA U8 300 stretched",
)  # fmt: skip
@limit(240)
def test_krita_composites_what_the_engine_renders(case):
    from krita_diffbmp.engine.pieces import live_pieces, painted_pieces

    form, model, depth, count, *stretched = case.split()
    channels = {"GRAYA": 1, "RGBA": 3, "CMYKA": 4}[model]
    posed = problem(channels, mu_blend=0.5)
    placements = random_placements(posed, int(count), 3.0 if stretched else 1.0)
    expected = rendered(posed, placements)
    pieces = list((live_pieces if form == "live" else painted_pieces)(posed, placements))
    document, target, group, place = yield from scene(SIDE, SIDE, model, depth, SRGB if model == "RGBA" else "")
    yield 0.2
    values = [(0.0, 0.0, 0.0, 1.0, 1.0)] * len(pieces)
    written = yield from write(place, pieces, values)
    assert written.outcome[0] == "done", written.outcome
    target.setVisible(False)
    group.setVisible(False)
    refresh(document)
    found = premultiplied(to_floats(composite(document), model, depth))
    decibels = psnr(found, expected)
    assert decibels > 40
    return f"{decibels:.1f} dB, largest difference {np.abs(found - expected).max():.4f}"
