"""Random scenes for the tests of the renderers, and where on them a gradient is well defined."""

import dataclasses
import math

import numpy as np
import torch
from hypothesis import strategies as st

from krita_diffbmp.engine import pyramid, reference
from krita_diffbmp.engine.scene import Bitmaps, Instances, Scene

PARAMETERS = ("position", "rotation", "scale", "opacity", "color")
MARGINS = {torch.float32: 1e-3, torch.float64: 1e-6}  # texels


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a random scene is made of; ranges are uniform, that of the scale in its logarithm."""

    seed: int
    channels: int = 3
    mu_blend: float = 0.0
    alpha_max: float = 1.0
    width: int = 60
    height: int = 50
    count: int = 20
    sides: tuple[int, int] = (1, 40)  # px, of the bitmaps
    bitmaps: int = 3
    scale: tuple[float, float] = (0.05, 4.0)
    opacity: tuple[float, float] = (-4.0, 4.0)  # logits
    spread: float = 1.2  # of the positions, relative to the canvas
    solid: bool = False  # bitmaps without a transparent pixel
    stretched: bool = False  # turned over, sheared and of other proportions
    blended: bool = False  # each instance with a mu_blend of its own


def kinds():
    """Everything that a scene can be, degenerate ones included."""
    return st.builds(
        Kind,
        seed=st.integers(0, 2**32 - 1),
        channels=st.sampled_from([1, 3, 4]),
        mu_blend=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
        alpha_max=st.sampled_from([1.0, 0.9, 0.2]),
        width=st.sampled_from([1, 15, 16, 40, 64, 65, 90]),
        height=st.sampled_from([1, 17, 31, 32, 33, 70]),
        count=st.sampled_from([1, 2, 10, 40]),
        sides=st.sampled_from([(1, 3), (1, 40), (60, 90)]),
        bitmaps=st.integers(1, 4),
        # minified to nothing, strongly minified, usual, magnified, larger than the canvas
        scale=st.sampled_from([(1e-4, 1e-2), (0.02, 0.2), (0.3, 3.0), (3.0, 20.0), (20.0, 1000.0), (1e-3, 100.0)]),
        opacity=st.sampled_from([(-4.0, 4.0), (-1.0, 8.0), (-20.0, 20.0)]),
        spread=st.sampled_from([0.3, 1.2, 5.0]),
        solid=st.booleans(),
        stretched=st.booleans(),
        blended=st.booleans(),
    )


def scene_of(kind: Kind) -> Scene:
    """A scene in float64 whose numbers are all float32 numbers."""
    rng = np.random.default_rng(kind.seed)

    def uniform(low, high, *shape):
        return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32)).double()

    pictures = []
    for _ in range(kind.bitmaps):
        width, height = rng.integers(kind.sides[0], kind.sides[1], 2, endpoint=True)
        picture = rng.random((height, width, kind.channels + 1), dtype=np.float32)
        if kind.solid:
            picture[..., -1] = 1
        elif rng.random() < 0.5:  # content that is smaller than its bitmap
            picture[: height // 3, :, -1] = 0
            picture[:, : width // 4, -1] = 0
        pictures.append(picture)
    bitmaps = pyramid.pack(pictures)
    size = torch.tensor([kind.width, kind.height], dtype=torch.float64)
    instances = Instances(
        position=(size / 2 + uniform(-0.5, 0.5, kind.count, 2) * size * kind.spread).float().double(),
        rotation=uniform(-7, 7, kind.count),
        scale=uniform(*np.log(kind.scale), kind.count).exp().float().double(),
        opacity=uniform(*kind.opacity, kind.count),
        color=uniform(0, 1, kind.count, kind.channels),
        bitmap=torch.from_numpy(rng.integers(0, kind.bitmaps, kind.count).astype(np.int32)),
        stretch=stretches(rng, kind.count) if kind.stretched else None,
        mu_blend=uniform(-0.5, 1.5, kind.count).clamp(0, 1) if kind.blended else None,
    )
    return Scene(
        Bitmaps(bitmaps.texels.double(), bitmaps.levels),
        instances,
        kind.height,
        kind.width,
        kind.alpha_max,
        kind.mu_blend,
    )


def stretches(rng: np.random.Generator, count: int) -> torch.Tensor:
    """[count, 2, 2] of determinant 1 or -1 to a rounding, in float64 numbers that are float32 numbers."""
    longer, shear = np.exp(rng.uniform(-1, 1, count)), rng.uniform(-1, 1, count)
    mirrored = rng.choice([-1.0, 1.0], count)
    matrices = np.stack([longer, shear, np.zeros(count), mirrored / longer], 1).reshape(-1, 2, 2)
    return (
        torch.from_numpy(np.where(rng.random((count, 1, 1)) < 0.5, matrices, matrices.swapaxes(1, 2))).float().double()
    )


def parameters_of(scene: Scene) -> tuple[str, ...]:
    """What a gradient flows to."""
    return PARAMETERS if scene.instances.stretch is None else (*PARAMETERS, "stretch")


def scene_with(scene: Scene, **changes) -> Scene:
    """The same with other values for some of the instances' fields."""
    return dataclasses.replace(scene, instances=dataclasses.replace(scene.instances, **changes))


def cast(scene: Scene, dtype: torch.dtype) -> Scene:
    """The same in another type, its parameters leaves that require a gradient."""
    values = {name: getattr(scene.instances, name).detach().to(dtype).requires_grad_() for name in parameters_of(scene)}
    if scene.instances.mu_blend is not None:
        values["mu_blend"] = scene.instances.mu_blend.to(dtype)
    texels = scene.bitmaps.texels.to(dtype)
    return dataclasses.replace(scene_with(scene, **values), bitmaps=Bitmaps(texels, scene.bitmaps.levels))


def weights(scene: Scene, where: torch.Tensor | None = None, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A random derivative of a loss by the picture, float64: by colour [C, H, W] and transmittance [H, W].

    It is zero outside `where` [H, W].
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (scene.bitmaps.channels + 1, scene.height, scene.width)
    out = torch.rand(shape, generator=generator).double() * 2 - 1
    if where is not None:
        out = out * where
    return out[:-1], out[-1]


def smooth_pixels(scene: Scene, margin: float) -> torch.Tensor:
    """[H, W]: the pixels that no instance samples nearer than `margin` texels to a texel line.

    Bilinear sampling has kinks there: its slope jumps, and the last bit of a coordinate decides which slope counts.
    """
    y, x = torch.meshgrid(torch.arange(scene.height), torch.arange(scene.width), indexing="ij")
    pixels = torch.stack([x.flatten(), y.flatten()], 1).double() + 0.5
    instances = dataclasses.replace(
        scene.instances, **{name: getattr(scene.instances, name).detach().double() for name in parameters_of(scene)}
    )
    level = reference.mip_levels(scene.bitmaps, instances)
    every = torch.arange(len(instances.scale))
    x, y = reference.texel_coordinates(scene.bitmaps, instances, level, every, pixels)  # [N, H W]
    # Coordinates far outside are inexact, and nothing is sampled there.
    inside = (x > -1.5) & (x < level[:, 1:2] + 0.5) & (y > -1.5) & (y < level[:, 2:3] + 0.5)
    near = ((x - x.round()).abs() < margin) | ((y - y.round()).abs() < margin)
    return ~(inside & near).any(0).view(scene.height, scene.width)


def relative_error(value: torch.Tensor, truth: torch.Tensor, floor: float) -> float:
    """L2 of the difference relative to that of the truth, or to `floor` where the truth is smaller."""
    difference = float((value.double() - truth.double()).norm())
    assert math.isfinite(difference)
    return difference / max(float(truth.norm()), floor)
